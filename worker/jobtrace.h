/* jobtrace: the spans of a rescrape (PROTOCOL.md, "Traces"): how long its row waited, the job, and below
 * it its steps. */
#ifndef HL_WORKER_JOBTRACE_H
#define HL_WORKER_JOBTRACE_H

#include "base/event.h"
#include "domain/spans.h"
#include "worker/jobstate.h"

struct jobtrace {
    struct trace trace; /* of the event; above: the span of its intake */
    uint8_t job[8], step[8];
    int64_t began_us, step_us; /* clock_mono_us() */
    bool claimed;              /* otherwise the job came to nothing, and has no spans */
    const char *outcome;       /* static; NULL: not known yet */
};

/* What is known of the job when a span ends; borrowed. */
struct jobtrace_facts {
    const struct change_event *ev;
    const char *worker;
    const char *upstream; /* host:port; NULL = none, or not known */
    int64_t attempt;
    long target_status;
    const char *reason; /* why it failed; NULL: it did not */
};

void jobtrace_begin(struct jobtrace *t, const struct change_event *ev);
/* A step begins to do what it is there for; a repeat belongs to it. */
void jobtrace_step_begins(struct jobtrace *t);
/* The header for whoever is asked in this step. Allocated. recorded: our spans go somewhere. */
char *jobtrace_header(const struct jobtrace *t, const struct change_event *ev, bool recorded);

void jobtrace_waited(
    struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f, int64_t ms);
void jobtrace_step_ends(struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f,
    enum job_state state, enum job_event event);
void jobtrace_end(const struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f);

#endif
