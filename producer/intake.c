/* intake: see intake.h. One struct per request, stepped by the answers of T0, the queue and the
 * spool, each with a deadline. A step that comes late still holds the event, so the struct lives
 * until all have answered; the client's answer goes out once, at the first point where the event
 * is safe. */
#include "producer/intake.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "producer/admission.h"
#include "producer/hook.h"
#include "producer/measure.h"
#include "producer/refusals.h"
#include "producer/stores.h"
#include "producer/tally.h"

#include <stdlib.h>
#include <string.h>

#define CONFLICT "same id, other body" /* reason of the dead letter */
#define SOURCE   "changedetection"     /* in logs and among the refused */

/* Deadlines of the steps; together below the two seconds that senders wait at least. */
enum { ACCEPT_MS = 900, SPOOL_MS = 400, PUBLISH_MS = 300 };

struct intake {
    struct stores *stores;
    struct httpd_req *req; /* NULL once answered */
    struct change_event ev;
    struct trace trace;
    struct identity who;
    struct store_accept accept;
    struct spool_append append;
    struct queue_req publish;
    struct buf job; /* as the spool keeps it; empty until it is needed */
    struct timer deadline;
    int pending; /* steps under way */
    int64_t row_id;
    bool accept_tried, spool_tried, publish_tried;
    bool committed, spooled, published;
};

static void start_accept(struct intake *in);
static void start_spool(struct intake *in);
static void start_publish(struct intake *in);

/* --- the end ----------------------------------------------------------------------------- */

static void finish(struct intake *in)
{
    struct stores *s = in->stores;
    if (in->req || in->pending)
        return;
    timer_stop(&in->deadline);
    event_release(&in->ev);
    buf_release(&in->job);
    free(in);
    s->taking[TAKES_CHANGE]--;
    stores_intake_ends(s);
}

/* Before the answer. */
static void measure(const struct intake *in, int status, const char *error)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&in->ev.id, id);
    measure_webhook(in->stores->metrics, in->req,
        &(struct measure_webhook){.event = "change",
            .status = status,
            .error = error,
            .job_id = id,
            .document_url = in->ev.watch_url,
            .trace = &in->trace});
}

/* Its span is known by its event only where it is the one that took it in. */
static void add_span(const struct intake *in, int status, const char *outcome, const char *error)
{
    struct span span = {.trace = in->trace,
        .name = "intake",
        .kind = SPAN_SERVER,
        .ended_at = clock_wall_us(),
        .error = error,
        .event_id = &in->ev.id,
        .url = in->ev.watch_url,
        .outcome = outcome,
        .status = status};
    struct trace sender = {0};
    measure_trace(in->req, &sender);
    span.began_at = span.ended_at - (clock_mono_us() - httpd_started_us(in->req));
    memcpy(span.trace.parent, sender.parent, sizeof(sender.parent));
    if (status == 202 && strcmp(outcome, "again") != 0)
        trace_intake_span(&in->ev.id, span.id);
    spans_add(in->stores->spans, &span);
}

static void reply_accepted(struct intake *in)
{
    char id[UUID_STRLEN + 1];
    struct buf b = {0};
    bool again = in->accept.existed || in->publish.was == QUEUE_DUPLICATE;

    if (!in->req)
        return;
    const char *where = again ? "again" : in->committed ? "row" : in->spooled ? "spool" : "redis";
    receipts_note(in->stores->receipts, &in->ev, where);
    uuid_format(&in->ev.id, id);
    buf_printf(&b, "{\"status\":\"queued\",\"job_id\":\"%s\",\"change_event_id\":", id);
    if (in->row_id)
        buf_printf(&b, "%lld", (long long)in->row_id);
    else
        buf_puts(&b, "null");
    buf_puts(&b, ",\"url\":");
    json_put_string(&b, in->ev.watch_url);
    buf_putc(&b, '}');
    timer_stop(&in->deadline);
    if (again) {
        tally_duplicate(in->req);
        httpd_add_header(in->req, "Hookline-Duplicate", "true");
    } else {
        tally_accepted(in->req, in->committed ? SAFE_ROW : in->spooled ? SAFE_SPOOL : SAFE_REDIS);
    }
    CRASH_POINT("reply.before");
    measure(in, 202, NULL);
    add_span(in, 202, where, NULL);
    httpd_reply(in->req, 202, "application/json", b.data, b.len);
    in->req = NULL;
    buf_release(&b);
}

static void refuse_event(struct intake *in, int status, enum meter_REASON why, const char *detail)
{
    tally_refused(in->req, why);
    refusal_note(in->stores, in->req, SOURCE, status, detail, true);
    httpd_reply_detail(in->req, status, "%s", detail);
    in->req = NULL;
}

static void reply_unavailable(struct intake *in, const struct hl_err *err)
{
    if (!in->req)
        return;
    log_error("intake_refused", LOG_S("why", hl_why_name(err->why)), LOG_S("error", err->msg));
    timer_stop(&in->deadline);
    httpd_add_header(in->req, "Retry-After", "5");
    measure(in, 503, err->msg);
    add_span(in, 503, "unavailable", err->msg);
    refuse_event(in, 503, REASON_UNAVAILABLE, "The event cannot be stored now; try again later");
}

static void log_conflict(const struct intake *in)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&in->ev.id, id);
    log_warn("event_conflict", LOG_S("event_id", id), LOG_S("watch_id", in->ev.watch_id),
        LOG_S("answer", in->req ? "409" : "202"), LOG_S("reason", CONFLICT));
}

static void reply_conflict(struct intake *in)
{
    if (!in->req)
        return;
    log_conflict(in);
    timer_stop(&in->deadline);
    measure(in, 409, CONFLICT);
    add_span(in, 409, "conflict", CONFLICT);
    refuse_event(in, 409, REASON_CONFLICT,
        "Another event came under this key before, with a different body; each event needs a key "
        "of its own (webhook-id, Idempotency-Key, webhookId or scrapeId)");
}

/* The row decides where there is one; else what Redis remembers. */
static bool conflicts(const struct intake *in)
{
    return in->committed ? in->accept.conflict : in->publish.was == QUEUE_CONFLICT;
}

static void reply(struct intake *in)
{
    if (conflicts(in))
        reply_conflict(in);
    else
        reply_accepted(in);
}

/* --- the steps --------------------------------------------------------------------------- */

/* Enough for a 202. */
static bool safe(const struct intake *in)
{
    bool in_redis = in->published && in->stores->cfg->ack == ACK_QUEUE;
    return in->committed || in->spooled || in_redis;
}

/* The event is on disk: Redis is told, if it is there, then the client. What Redis does not take, a
 * janitor publishes from the row. A row that was there before has been published before. */
static void stored(struct intake *in)
{
    bool known = in->committed && in->accept.existed;
    if (!in->publish_tried && !known && stores_redis_ready(in->stores))
        start_publish(in);
    else
        reply(in);
}

static void encode(struct intake *in)
{
    if (!in->job.len)
        event_encode(&in->ev, &in->job);
}

static void buried(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct intake *in = ctx;
    LOG_SCOPE(&in->trace);
    (void)moved;
    (void)left;
    in->pending--;
    if (rc != HL_OK)
        start_spool(in); /* the forwarder buries it when that can be done */
    finish(in);
}

/* Found out behind a 202: the event has no place but among the dead letters. What is in the spool
 * gets there from there. */
static void bury_conflict(struct intake *in)
{
    log_conflict(in);
    if (in->spool_tried)
        return;
    in->pending++;
    encode(in);
    queue_quarantine(in->stores->queue, NULL, "", in->job.data, in->job.len, CONFLICT, buried, in);
}

static void accept_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct intake *in = req->ctx;
    LOG_SCOPE(&in->trace);
    in->pending--;
    in->committed = rc == HL_OK;
    if (in->committed) {
        CRASH_POINT("t0.after");
        in->row_id = in->accept.row_id;
        if (in->accept.conflict && !in->req)
            bury_conflict(in);
        stored(in);
    } else {
        log_warn("accept_failed", LOG_S("outcome", hl_rc_name(rc)), LOG_S("error", err->msg));
        if (!in->spool_tried)
            start_spool(in);
    }
    finish(in);
}

static void spool_done(struct spool_append *append, enum hl_rc rc, const struct hl_err *err)
{
    struct intake *in = append->ctx;
    LOG_SCOPE(&in->trace);
    in->pending--;
    in->spooled = rc == HL_OK;
    if (in->spooled)
        stored(in);
    else if (!in->committed)
        reply_unavailable(in, err);
    else if (in->accept.conflict)
        log_error("conflict_not_buried", LOG_S("error", err->msg));
    finish(in);
}

static void publish_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct intake *in = req->ctx;
    LOG_SCOPE(&in->trace);
    (void)err;
    in->pending--;
    in->published = rc == HL_OK;
    CRASH_POINT("enqueue.after");
    if (safe(in) && !(conflicts(in) && in->pending)) /* the row that is under way decides */
        reply(in);
    if (!in->accept_tried && !conflicts(in))
        start_accept(in); /* WEBHOOK_ACK=queue: T0 follows behind, or has to do without Redis */
    finish(in);
}

static void timed_out(void *ctx)
{
    struct intake *in = ctx;
    LOG_SCOPE(&in->trace);
    struct hl_err err;

    if (safe(in)) {
        reply(in);
    } else if (in->spool_tried) {
        if (spool_append_undo(in->stores->spool, &in->append))
            in->pending--; /* a disk that hangs gathers no events that were refused */
        hl_fail_why(&err, HL_RETRY, HL_WHY_TIMEOUT, "the spool did not answer in time");
        reply_unavailable(in, &err);
    } else if (in->accept_tried) {
        if (store_accept_undo(in->stores->store, &in->accept))
            in->pending--; /* the spool brings it home */
        start_spool(in);
    } else {
        start_accept(in);
    }
    finish(in);
}

static void start_accept(struct intake *in)
{
    if (!stores_database_ready(in->stores)) {
        in->accept_tried = true;
        start_spool(in);
        return;
    }
    in->pending++;
    in->accept_tried = true;
    in->accept.ev = &in->ev;
    in->accept.req.done = accept_done;
    in->accept.req.ctx = in;
    timer_start(&in->deadline, ACCEPT_MS);
    CRASH_POINT("t0.before");
    store_accept(in->stores->store, &in->accept);
}

static void start_spool(struct intake *in)
{
    in->pending++;
    in->spool_tried = true;
    encode(in);
    in->append.data = in->job.data;
    in->append.len = in->job.len;
    in->append.done = spool_done;
    in->append.ctx = in;
    timer_start(&in->deadline, SPOOL_MS);
    spool_append(in->stores->spool, &in->append);
}

static void start_publish(struct intake *in)
{
    in->pending++;
    in->publish_tried = true;
    in->publish.ev = &in->ev;
    in->publish.seen = in->who.seen[0] && in->stores->cfg->dedup_window_ms ? in->who.seen : NULL;
    in->publish.seen_ms = in->stores->cfg->dedup_window_ms;
    in->publish.done = publish_done;
    in->publish.ctx = in;
    timer_start(&in->deadline, PUBLISH_MS);
    CRASH_POINT("enqueue.before");
    queue_do(in->stores->queue, QUEUE_PUBLISH, &in->publish);
}

static void begin(struct stores *s, struct httpd_req *req, const struct change_event *ev,
    const struct identity *who)
{
    struct intake *in = mem_new(struct intake);
    stores_intake_begins(s);
    s->taking[TAKES_CHANGE]++;
    in->stores = s;
    in->req = req;
    in->ev = *ev;
    in->ev.request_id = mem_strdup(httpd_request_id(req));
    in->ev.traceparent = trace_carried(httpd_header(req, "traceparent"));
    in->trace = trace_of(&ev->id, in->ev.traceparent);
    LOG_SCOPE(&in->trace);
    in->who = *who;
    timer_init(s->loop, &in->deadline, timed_out, in);
    if (s->cfg->ack == ACK_QUEUE && stores_redis_ready(s))
        start_publish(in);
    else
        start_accept(in);
}

/* --- the request ------------------------------------------------------------------------- */

/* Before it is known which event it is. */
static void refuse(struct stores *s, struct httpd_req *req, int status, enum meter_REASON why,
    const char *reason, bool authenticated)
{
    tally_refused(req, why);
    log_warn("webhook_refused", LOG_S("route", SOURCE), LOG_S("peer", httpd_peer(req)),
        LOG_I("status", status), LOG_S("reason", reason), LOG_B("authenticated", authenticated));
    refusal_note(s, req, SOURCE, status, reason, authenticated);
    measure_webhook(s->metrics, req,
        &(struct measure_webhook){.event = "change", .status = status, .error = reason});
    if (authenticated)
        httpd_reply_detail(req, status, "Invalid payload: %s", reason);
    else
        httpd_reply_detail(req, status, "%s", reason);
}

static void turn_away(struct stores *s, struct httpd_req *req, enum gate_verdict verdict)
{
    static const char *const details[] = {
        [GATE_MISSING] = "Missing X-Signature header",
        [GATE_BAD_SIGNATURE] = "Invalid signature",
        [GATE_BAD_TOKEN] = "Invalid token",
        [GATE_NO_ID] = "Missing webhook-id header",
        [GATE_NO_TIMESTAMP] = "Missing webhook-timestamp header",
        [GATE_BAD_TIMESTAMP] = "Invalid webhook-timestamp header: must be seconds since 1970",
        [GATE_TOO_OLD] = "The webhook-timestamp is more than 5 minutes old",
        [GATE_TOO_NEW] = "The webhook-timestamp is more than 5 minutes ahead of this clock",
    };
    refuse(s, req, 401, tally_reason(verdict), details[verdict], false);
}

static void refuse_fenced(struct stores *s, struct httpd_req *req)
{
    tally_refused(req, REASON_FENCED);
    refusal_note(s, req, SOURCE, 503, ADMISSION_FENCED, true);
    measure_webhook(s->metrics, req,
        &(struct measure_webhook){.event = "change", .status = 503, .error = ADMISSION_FENCED});
    httpd_add_header(req, "Retry-After", ADMISSION_FENCED_RETRY);
    httpd_reply_detail(req, 503, "%s", ADMISSION_FENCED);
}

/* The header that was judged; NULL = a token was. */
static const char *signature_of(const struct gate_request *creds, enum gate_verdict verdict)
{
    if (verdict == GATE_TOKEN)
        return NULL;
    return creds->standard && *creds->standard ? creds->standard : creds->signature;
}

static bool admitted(
    struct stores *s, struct httpd_req *req, struct gate_request *creds, enum gate_verdict *verdict)
{
    const struct gate gate = admission_gate(s);
    *creds = admission_credentials(req, "X-Signature");
    *verdict = gate_check(&gate, creds);
    if (gate_admits(*verdict)) {
        admission_count(s, *verdict, httpd_peer(req));
        return true;
    }
    turn_away(s, req, *verdict);
    return false;
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

void intake_changedetection(struct httpd_req *req, void *stores)
{
    struct stores *s = stores;
    struct gate_request creds;
    enum gate_verdict verdict;
    struct change_event ev;
    struct identity who;
    struct hl_err err;

    if (!admitted(s, req, &creds, &verdict))
        return;
    if (s->fenced[TAKES_CHANGE]) {
        refuse_fenced(s, req);
        return;
    }
    const struct hook_input in = {.body = creds.body,
        .len = creds.len,
        .query = httpd_query(req),
        .content_type = or_empty(httpd_header(req, "Content-Type")),
        .signature = signature_of(&creds, verdict),
        .now = creds.now,
        .webhook_id = creds.id,
        .idempotency_key = httpd_header(req, "Idempotency-Key"),
        .dedup = s->cfg->dedup_window_ms > 0};
    if (hook_read(&in, &ev, &who, &err) != HL_OK) {
        refuse(s, req, 400, REASON_PAYLOAD, err.msg, true);
        return;
    }
    begin(s, req, &ev, &who);
}
