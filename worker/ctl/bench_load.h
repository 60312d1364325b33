/* bench_load: an open-loop load: events are sent when they are due, however slowly answers come, and a
 * latency is counted from the moment at which its event was due. What waits because every connection
 * is busy is thereby seen (coordinated omission). */
#ifndef HL_WORKER_CTL_BENCH_LOAD_H
#define HL_WORKER_CTL_BENCH_LOAD_H

#include "base/uuid.h"
#include "worker/ctl/bench_http.h"
#include "worker/ctl/bench_request.h"
#include "worker/ctl/histogram.h"
#include "worker/ctl/pace.h"

struct bench_plan {
    struct pace pace;
    int64_t first, total; /* events that are measured begin with that one; how many there are */
    struct bench_target target;
    struct bench_request request;
    int connections;
    int64_t timeout_ms; /* of an answer, and of all that is late at the end */
    bool keep_ids;      /* of what was accepted */
    bool progress;      /* a line each second to standard error */
};

struct bench_kept {
    struct uuid id;
    int64_t n; /* of the event */
};

/* Numbers are of measured events only, but for sent_all and accepted_all. Times in microseconds. */
struct bench_load {
    int64_t sent_all, accepted_all;
    int64_t sent, accepted, duplicates;
    int64_t unsent;        /* were due, and found no free connection until the end */
    int64_t statuses[600]; /* answers that are no acceptance, by status */
    int64_t ends[BENCH_ENDS];
    /* Of what was accepted, and of what had no answer as long as it waited. */
    struct histogram response; /* from when it was due; with what was unsent */
    struct histogram service;  /* from when it was sent */
    struct histogram late;     /* how late this program was for what found a free connection */
    int64_t
        span_us; /* from when the first measured one was due until the last answer was in and all were due */
    int64_t start_us;        /* clock_wall_us() when event 0 was due */
    bool broken_off;         /* SIGINT, SIGTERM */
    struct bench_kept *kept; /* owned */
    size_t n_kept;
};
/* Runs it. HL_OK, whatever became of the events; else nothing was sent. Release in any case. */
enum hl_rc bench_load_run(
    struct bench_load *load, const struct bench_plan *plan, struct hl_err *err);
void bench_load_release(struct bench_load *load);

#endif
