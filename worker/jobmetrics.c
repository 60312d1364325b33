/* jobmetrics: see jobmetrics.h. */
#include "worker/jobmetrics.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

static const char *const names[JOB_NSTATES] = {
    [JOB_CLAIM] = "claim",
    [JOB_SCRAPE] = "scrape",
    [JOB_COMPLETE] = "complete", /* the embedded index is written by the same statement */
};

/* Of a step that ended without a reason of its own. */
static const char *const endings[EV_COUNT] = {
    [EV_MISSING] = "the row is gone",
    [EV_LOST] = "somebody else has the event now",
    [EV_ABORT] = "given back",
};

static const char *error_of(const struct jobmetric *j)
{
    if (j->event == EV_OK)
        return NULL;
    if (j->reason)
        return j->reason;
    return endings[j->event] ? endings[j->event] : job_event_name(j->event);
}

static void put(struct metrics *m, const struct jobmetric *j, struct metrics_operation o)
{
    char id[UUID_STRLEN + 1];
    char trace_id[TRACE_ID_LEN + 1];
    struct buf extra = {0};

    trace_format_id(j->trace, trace_id);
    uuid_format(&j->ev->id, id);
    buf_printf(
        &extra, "{\"attempt\":%lld,\"epoch\":%lld", (long long)j->attempt, (long long)j->epoch);
    if (j->target_status)
        buf_printf(&extra, ",\"target_status\":%ld", j->target_status);
    json_put_text(&extra, "worker", j->worker);
    json_put_text(&extra, "trace_id", trace_id);
    buf_putc(&extra, '}');
    o.request_id = j->ev->request_id;
    o.job_id = id;
    o.document_url = j->ev->watch_url;
    o.extra = extra.data;
    metrics_operation(m, &o);
    buf_release(&extra);
}

void jobmetrics_wait(struct metrics *m, const struct jobmetric *j, int64_t waited_ms)
{
    if (!m)
        return;
    put(m, j,
        (struct metrics_operation){.type = "queue",
            .name = "wait",
            .at = clock_wall_us() - waited_ms * 1000,
            .duration_ms = (double)waited_ms,
            .success = true});
}

void jobmetrics_step(struct metrics *m, const struct jobmetric *j)
{
    bool nothing =
        j->state == JOB_CLAIM && j->event != EV_OK && j->event != EV_FATAL && j->event != EV_ABORT;
    if (!m || !names[j->state] || !j->began_us || nothing)
        return;
    int64_t took = clock_mono_us() - j->began_us;
    put(m, j,
        (struct metrics_operation){.type = "rescrape",
            .name = names[j->state],
            .at = clock_wall_us() - took,
            .duration_ms = (double)took / 1000,
            .success = j->event == EV_OK,
            .error = error_of(j)});
}
