/* jobmetrics: what is measured of a rescrape (PROTOCOL.md, "Metrics"): how long its row waited to
 * be claimed, and each of its steps. */
#ifndef HL_WORKER_JOBMETRICS_H
#define HL_WORKER_JOBMETRICS_H

#include "base/event.h"
#include "base/trace.h"
#include "domain/metrics.h"
#include "worker/jobstate.h"

struct jobmetric { /* borrowed */
    const struct change_event *ev;
    const struct trace *trace;
    const char *worker; /* this process */
    int64_t epoch, attempt;
    /* Of a step: */
    enum job_state state;
    enum job_event event; /* by which it ended */
    int64_t began_us;     /* clock_mono_us(); 0: it came to nothing, and is not measured */
    long target_status;   /* the page's own; 0 = not known */
    const char *reason;   /* why it failed; NULL: the event says it all */
};

/* queue/wait: from when the row was due to its claim, a moment ago. */
void jobmetrics_wait(struct metrics *m, const struct jobmetric *j, int64_t waited_ms);
/* rescrape/claim, rescrape/scrape or rescrape/complete; other steps are not measured, nor is a claim
 * that found nothing to claim. */
void jobmetrics_step(struct metrics *m, const struct jobmetric *j);

#endif
