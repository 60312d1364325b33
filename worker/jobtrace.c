/* jobtrace: see jobtrace.h. */
#include "worker/jobtrace.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum span_kind kind;
} steps[JOB_NSTATES] = {
    [JOB_CLAIM] = {"claim",    SPAN_CLIENT  },
    [JOB_SCRAPE] = {"scrape",   SPAN_CLIENT  },
    [JOB_INDEX] = {"index",    SPAN_INTERNAL},
    [JOB_COMPLETE] = {"complete", SPAN_CLIENT  },
};

/* What a step that ends so makes of the job. */
static const char *outcome_of(enum job_state state, enum job_event event)
{
    if (event == EV_LOST || event == EV_MISSING)
        return "lost";
    if (event != EV_OK)
        return NULL;
    switch (state) {
    case JOB_COMPLETE: return "completed";
    case JOB_RELEASE: return "released";
    default: return NULL;
    }
}

static struct span span_of(
    const struct jobtrace *t, const struct jobtrace_facts *f, int64_t began_us)
{
    int64_t now = clock_wall_us();
    return (struct span){.trace = t->trace,
        .began_at = now - (clock_mono_us() - began_us),
        .ended_at = now,
        .event_id = &f->ev->id,
        .url = f->ev->watch_url,
        .worker = f->worker,
        .attempt = f->attempt};
}

void jobtrace_begin(struct jobtrace *t, const struct change_event *ev)
{
    *t =
        (struct jobtrace){.trace = trace_of(&ev->id, ev->traceparent), .began_us = clock_mono_us()};
    trace_new_span(t->job);
}

void jobtrace_step_begins(struct jobtrace *t)
{
    if (t->step_us)
        return;
    t->step_us = clock_mono_us();
    trace_new_span(t->step);
}

char *jobtrace_header(const struct jobtrace *t, const struct change_event *ev, bool recorded)
{
    struct trace trace = t->trace;
    trace.sampled &= recorded || ev->traceparent;
    return trace_header(&trace, t->step);
}

void jobtrace_waited(
    struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f, int64_t ms)
{
    int64_t waited_us = ms > 0 ? ms * 1000 : 0; /* PostgreSQL's clock, which may be set back */
    struct span span = span_of(t, f, clock_mono_us() - waited_us);
    t->claimed = true;
    span.name = "queue wait";
    span.kind = SPAN_INTERNAL;
    spans_add(s, &span);
}

void jobtrace_step_ends(struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f,
    enum job_state state, enum job_event event)
{
    const char *outcome = outcome_of(state, event);
    char host[256];

    if (outcome)
        t->outcome = outcome;
    if (s && t->claimed && t->step_us && steps[state].name) {
        struct span span = span_of(t, f, t->step_us);
        memcpy(span.id, t->step, sizeof(span.id));
        memcpy(span.trace.parent, t->job, sizeof(t->job));
        span.name = steps[state].name;
        span.kind = steps[state].kind;
        span.error = event == EV_OK ? NULL : f->reason ? f->reason : job_event_name(event);
        if (state == JOB_SCRAPE && f->upstream) {
            const char *port = strrchr(f->upstream, ':');
            int len = port ? (int)(port - f->upstream) : (int)strlen(f->upstream);
            snprintf(host, sizeof(host), "%.*s", len, f->upstream);
            span.host = host;
            span.status = f->target_status;
        }
        spans_add(s, &span);
    }
    t->step_us = 0;
}

void jobtrace_end(const struct jobtrace *t, struct spans *s, const struct jobtrace_facts *f)
{
    if (!s || !t->claimed)
        return;
    struct span span = span_of(t, f, t->began_us);
    memcpy(span.id, t->job, sizeof(span.id));
    span.name = "job";
    span.kind = SPAN_CONSUMER;
    span.outcome = t->outcome ? t->outcome : "abandoned";
    span.error = strcmp(span.outcome, "completed") == 0 ? NULL : f->reason;
    spans_add(s, &span);
}
