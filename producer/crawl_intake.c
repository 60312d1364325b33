/* crawl_intake: see crawl_intake.h. One struct per request. A large body is verified, read and encoded
 * in a helper thread, so that other requests do not wait for it. Then two steps, each with its
 * deadline: publish, else spool. A step that comes late still holds the job, so the struct lives until
 * both have answered; the client's answer goes out once. */
#include "producer/crawl_intake.h"

#include "base/clock.h"
#include "base/crawl_job.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "producer/admission.h"
#include "producer/crawl_hook.h"
#include "producer/measure.h"
#include "producer/refusals.h"
#include "producer/stores.h"
#include "producer/tally.h"

#include <stdlib.h>
#include <string.h>

#define SOURCE "firecrawl"

enum {
    LARGE = 256 * 1024, /* bytes of a body from which on the thread reads it */
    MAX_CRUNCHING = 32, /* large bodies that wait for the thread */
    PUBLISH_MS = 300,
    SPOOL_MS = 400,
    BYTES_A_MS =
        16 * 1024, /* the slowest store that a large job is given time for: 16 MiB a second;
                               senders wait 10 s */
};

_Static_assert(SPOOL_MAX_RECORD >= CRAWL_MAX_BODY + 4096, "any event can be spooled");

struct crawl_intake {
    struct stores *stores;
    struct httpd_req *req; /* NULL once answered */
    struct crawl_request request;
    char *traceparent; /* the request's; NULL = none came */
    struct crawl_hooked hooked;
    struct trace trace; /* of the event, once it is known */
    struct offload_job crunch;
    struct queue_req publish;
    struct spool_append append;
    struct timer deadline;
    int pending; /* steps under way */
    bool let_in; /* counted as such: no fence was heard when it was judged */
    bool publishing, spool_tried, spooling;
};

static void start_spool(struct crawl_intake *in);

/* --- the end ----------------------------------------------------------------------------- */

static void finish(struct crawl_intake *in)
{
    struct stores *s = in->stores;
    if (in->req || in->pending)
        return;
    timer_stop(&in->deadline);
    crawl_hooked_release(&in->hooked);
    free(in->traceparent);
    s->taking[TAKES_CRAWL] -= in->let_in;
    free(in);
    stores_intake_ends(s);
}

/* Before the answer. h: NULL = it is not known what it is. */
static void measure(struct stores *s, struct httpd_req *req, const struct crawl_hooked *h,
    int status, const char *error)
{
    char id[UUID_STRLEN + 1] = "";
    bool known = h && h->accepted;
    struct trace trace;
    if (known) {
        uuid_format(&h->id, id);
        trace = trace_of(&h->id, httpd_header(req, "traceparent"));
    }
    measure_webhook(s->metrics, req,
        &(struct measure_webhook){.event = known && *h->type ? h->type : "crawl",
            .status = status,
            .error = error,
            .job_id = known ? id : NULL,
            .crawl_id = known ? h->crawl_id : NULL,
            .document_url = known ? h->document_url : NULL,
            .trace = known ? &trace : NULL});
}

/* Its span is known by its event only where it is the one that took it in. */
static void add_span(const struct crawl_intake *in, int status, const char *outcome, bool took_in)
{
    struct span span = {.trace = in->trace,
        .name = "intake",
        .kind = SPAN_SERVER,
        .ended_at = clock_wall_us(),
        .error = status < 400 ? NULL : outcome,
        .event_id = &in->hooked.id,
        .url = in->hooked.document_url,
        .outcome = outcome,
        .status = status};
    struct trace sender = {0};
    if (!in->hooked.accepted)
        return;
    measure_trace(in->req, &sender);
    span.began_at = span.ended_at - (clock_mono_us() - httpd_started_us(in->req));
    memcpy(span.trace.parent, sender.parent, sizeof(sender.parent));
    if (took_in)
        trace_intake_span(&in->hooked.id, span.id);
    spans_add(in->stores->spans, &span);
}

/* The one place where a request of this route is refused; before the answer. */
static void refused(struct stores *s, struct httpd_req *req, const struct crawl_hooked *h,
    int status, enum meter_REASON why, const char *reason, bool authenticated)
{
    tally_refused(req, why);
    measure(s, req, h, status, reason);
    refusal_note(s, req, SOURCE, status, reason, authenticated);
    log_warn("webhook_refused", LOG_S("route", SOURCE), LOG_S("peer", httpd_peer(req)),
        LOG_I("status", status), LOG_S("reason", reason), LOG_B("authenticated", authenticated));
}

static void reply(struct crawl_intake *in)
{
    timer_stop(&in->deadline);
    httpd_reply(in->req, in->hooked.status, "application/json", in->hooked.answer.data,
        in->hooked.answer.len);
    in->req = NULL;
}

static void reply_accepted(struct crawl_intake *in, enum meter_SAFE where, bool again)
{
    if (!in->req)
        return;
    measure(in->stores, in->req, &in->hooked, in->hooked.status, NULL);
    if (again) {
        tally_duplicate(in->req);
        httpd_add_header(in->req, "Hookline-Duplicate", "true");
    } else {
        tally_accepted(in->req, where);
    }
    add_span(in, in->hooked.status,
        again                 ? "again"
        : where == SAFE_SPOOL ? "spool"
                              : "redis",
        !again);
    reply(in);
}

static void reply_detail(
    struct crawl_intake *in, int status, enum meter_REASON why, const char *detail)
{
    if (!in->req)
        return;
    timer_stop(&in->deadline);
    refused(in->stores, in->req, &in->hooked, status, why, detail, true);
    add_span(in, status, status == 409 ? "conflict" : "unavailable", false);
    httpd_reply_detail(in->req, status, "%s", detail);
    in->req = NULL;
}

static void reply_conflict(struct crawl_intake *in)
{
    reply_detail(in, 409, REASON_CONFLICT,
        "Another event came under this id before, with a different body; each event needs a "
        "webhookId, and each page a scrapeId, of its own");
}

static void reply_unavailable(struct crawl_intake *in, const struct hl_err *err)
{
    if (!in->req)
        return;
    log_error("intake_refused", LOG_S("why", hl_why_name(err->why)), LOG_S("error", err->msg));
    httpd_add_header(in->req, "Retry-After", "5");
    reply_detail(in, 503, REASON_UNAVAILABLE, "The event cannot be stored now; try again later");
}

static void reply_fenced(struct crawl_intake *in)
{
    httpd_add_header(in->req, "Retry-After", ADMISSION_FENCED_RETRY);
    reply_detail(in, 503, REASON_FENCED, ADMISSION_FENCED);
}

/* --- the steps --------------------------------------------------------------------------- */

static int64_t patience(const struct crawl_intake *in, int64_t ms)
{
    return ms + (int64_t)(in->hooked.job.len / BYTES_A_MS);
}

/* A disk that hangs gathers no events that are safe elsewhere, or were refused. */
static void undo_spool(struct crawl_intake *in)
{
    if (in->spooling && spool_append_undo(in->stores->crawl_spool, &in->append)) {
        in->spooling = false;
        in->pending--;
    }
}

static void publish_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct crawl_intake *in = req->ctx;
    LOG_SCOPE(&in->trace);
    in->pending--;
    in->publishing = false;
    if (rc == HL_OK) {
        undo_spool(in);
        if (req->was == QUEUE_CONFLICT)
            reply_conflict(in);
        else
            reply_accepted(in, SAFE_REDIS, req->was == QUEUE_DUPLICATE);
    } else if (!in->spool_tried) {
        log_warn("publish_failed", LOG_S("outcome", hl_rc_name(rc)), LOG_S("error", err->msg));
        start_spool(in);
    } else if (!in->spooling) {
        reply_unavailable(in, err);
    }
    finish(in);
}

static void spool_done(struct spool_append *append, enum hl_rc rc, const struct hl_err *err)
{
    struct crawl_intake *in = append->ctx;
    LOG_SCOPE(&in->trace);
    in->pending--;
    in->spooling = false;
    if (rc == HL_OK)
        reply_accepted(in, SAFE_SPOOL, false);
    else if (!in->publishing)
        reply_unavailable(in, err);
    finish(in);
}

static void timed_out(void *ctx)
{
    struct crawl_intake *in = ctx;
    LOG_SCOPE(&in->trace);
    struct hl_err err;

    if (!in->spool_tried) {
        if (queue_undo(in->stores->crawl_queue, QUEUE_PUBLISH, &in->publish)) {
            in->publishing = false;
            in->pending--;
        }
        start_spool(in);
    } else {
        undo_spool(in);
        hl_fail_why(&err, HL_RETRY, HL_WHY_TIMEOUT, "Redis and the spool did not answer in time");
        reply_unavailable(in, &err);
    }
    finish(in);
}

static void start_spool(struct crawl_intake *in)
{
    in->pending++;
    in->spool_tried = in->spooling = true;
    in->append = (struct spool_append){
        .data = in->hooked.job.data, .len = in->hooked.job.len, .done = spool_done, .ctx = in};
    timer_start(&in->deadline, patience(in, SPOOL_MS));
    spool_append(in->stores->crawl_spool, &in->append);
}

static void start_publish(struct crawl_intake *in)
{
    in->pending++;
    in->publishing = true;
    in->publish = (struct queue_req){.id = in->hooked.id,
        .job = in->hooked.job.data,
        .len = in->hooked.job.len,
        .digest = in->hooked.digest,
        .done = publish_done,
        .ctx = in};
    timer_start(&in->deadline, patience(in, PUBLISH_MS));
    queue_do(in->stores->crawl_queue, QUEUE_PUBLISH, &in->publish);
}

/* --- the request ------------------------------------------------------------------------- */

/* What is only being read does not hold up the note of a fence: it will be refused by it. */
static void let_in(struct crawl_intake *in)
{
    in->let_in = true;
    in->stores->taking[TAKES_CRAWL]++;
    if (stores_redis_ready(in->stores))
        start_publish(in);
    else
        start_spool(in);
}

/* The request has been read. */
static void judged(struct crawl_intake *in)
{
    bool admitted = gate_admits(in->hooked.gate);
    in->trace = trace_of(&in->hooked.id, in->traceparent);
    LOG_SCOPE(&in->trace);
    if (admitted)
        admission_count(in->stores, in->hooked.gate, httpd_peer(in->req));
    if (!in->hooked.accepted) {
        refused(in->stores, in->req, &in->hooked, in->hooked.status,
            admitted ? REASON_PAYLOAD : tally_reason(in->hooked.gate), in->hooked.reason, admitted);
        reply(in);
        finish(in);
    } else if (in->stores->fenced[TAKES_CRAWL]) {
        reply_fenced(in);
        finish(in);
    } else {
        let_in(in);
    }
}

static void crunch(struct offload_job *job)
{
    struct crawl_intake *in = LIST_OF(job, struct crawl_intake, crunch);
    crawl_hook_read(&in->request, &in->hooked);
}

static void crunched(struct offload_job *job)
{
    struct crawl_intake *in = LIST_OF(job, struct crawl_intake, crunch);
    in->stores->crunching--;
    judged(in);
}

static void begin(struct crawl_intake *in)
{
    if (in->request.creds.len <= LARGE) {
        crawl_hook_read(&in->request, &in->hooked);
        judged(in);
        return;
    }
    in->stores->crunching++;
    in->crunch.work = crunch;
    in->crunch.done = crunched;
    offload_run(in->stores->crunch, &in->crunch);
}

static void refuse_for_now(struct stores *s, struct httpd_req *req)
{
    static const char *detail = "Too many large events at a time; try again later";
    refused(s, req, NULL, 503, REASON_BUSY, detail, false);
    httpd_add_header(req, "Retry-After", "5");
    httpd_reply_detail(req, 503, "%s", detail);
}

void crawl_intake(struct httpd_req *req, void *stores)
{
    struct stores *s = stores;
    const struct crawl_request request = {.gate = admission_gate(s),
        .creds = admission_credentials(req, "X-Firecrawl-Signature"),
        .request_id = httpd_request_id(req)};

    if (request.creds.len > LARGE && s->crunching >= MAX_CRUNCHING) {
        refuse_for_now(s, req);
        return;
    }
    struct crawl_intake *in = mem_new(struct crawl_intake);
    stores_intake_begins(s);
    in->stores = s;
    in->req = req;
    in->request = request;
    in->request.traceparent = in->traceparent = trace_carried(httpd_header(req, "traceparent"));
    timer_init(s->loop, &in->deadline, timed_out, in);
    begin(in);
}
