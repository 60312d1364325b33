/* job: see job.h. job_step is the only writer of j->state. Callbacks only turn answers into
 * events. */
#include "worker/job.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/url.h"
#include "worker/document.h"
#include "worker/jobmeters.h"
#include "worker/jobmetrics.h"
#include "worker/jobtrace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP_RETRY_BASE_MS = 200, /* a transaction that did not go through is tried again after ... */
    STEP_RETRY_MAX_MS = 5000,
    WAIT_MS = 2000,         /* a busy URL is looked at again after ... */
    WAIT_SPREAD_MS = 4000,  /* ... and a bit, so that a backlog of one URL does not come at once */
    MAX_STATUS_CHARS = 50,  /* width of rescrape_status */
    MAX_ERROR_BYTES = 4096, /* of metadata.error */
    MS_PER_MINUTE = 60000,
    SETTLE_MS = 3000, /* Redis is told how a job with an entry ended, for so long */
};

/* What SETTLE tells Redis. */
enum settle_as { AS_DONE, AS_LATER, AS_DEAD };

struct job {
    struct job_link link;
    const struct job_env *env;
    enum job_state state;
    struct change_event ev;
    struct buf url; /* for the log: without its password */
    char entry[QUEUE_ENTRY_MAX];
    bool aborting;
    bool waiting_for_answer; /* a transaction or a queue call is under way */
    int tries;               /* of the present state */
    int64_t entered_ms;      /* the present state */
    struct timer retry, limit;
    int64_t started_us;
    int64_t began_us; /* what the present state does; 0 = not yet. For the metrics */
    struct jobtrace traced;
    enum meter_OUTCOME outcome;
    long target_status;

    int64_t epoch, attempts;
    struct breaker_leave leave; /* to ask the upstream */
    char *upstream;             /* host:port; NULL = not known, or none */
    void (*go)(struct job *j);  /* what leave was asked for */
    struct defer refuse;
    int64_t hold_ms; /* given back: not before so much time has passed */
    struct scrape *scrape;
    struct document doc;
    char *metadata;

    /* the failure, for T3a */
    bool retryable;
    bool plain; /* PostgreSQL refused our words: write the bare outcome */
    int64_t retry_after_ms;
    char *reason, *detail;
    char status[MAX_STATUS_CHARS * 4 + 1];

    enum settle_as settle_as;
    int64_t delay_ms;

    struct store_accept accept;
    struct store_claim claim;
    struct store_complete complete;
    struct store_settle settle;
    struct queue_req queue;
};

static void job_step(struct job *j, enum job_event ev);

static void set_text(char **to, const char *s)
{
    free(*to);
    *to = mem_strdup(s);
}

/* --- metrics ----------------------------------------------------------------------------- */

/* A repeat belongs to its step. */
static void step_begins(struct job *j)
{
    if (!j->began_us)
        j->began_us = clock_mono_us();
    jobtrace_step_begins(&j->traced);
}

static struct jobmetric metric_of(const struct job *j)
{
    return (struct jobmetric){.ev = &j->ev,
        .trace = &j->traced.trace,
        .worker = j->env->instance,
        .epoch = j->epoch,
        .attempt = j->attempts + 1,
        .state = j->state,
        .began_us = j->began_us,
        .target_status = j->state == JOB_SCRAPE ? j->target_status : 0,
        .reason = j->reason};
}

static struct jobtrace_facts facts_of(const struct job *j)
{
    return (struct jobtrace_facts){.ev = &j->ev,
        .worker = j->env->instance,
        .upstream = j->upstream,
        .attempt = j->attempts + 1,
        .target_status = j->target_status,
        .reason = j->reason};
}

static void step_ends(struct job *j, enum job_event ev)
{
    const struct jobtrace_facts facts = facts_of(j);
    jobtrace_step_ends(&j->traced, j->env->spans, &facts, j->state, ev);
    struct jobmetric metric = metric_of(j);
    metric.event = ev;
    jobmetrics_step(j->env->metrics, &metric);
    jobmeters_step(j->state, ev, j->began_us ? clock_mono_us() - j->began_us : 0,
        j->settle_as == AS_DEAD, &j->outcome);
    j->began_us = 0;
}

static void waited(struct job *j, int64_t ms)
{
    struct jobmetric metric = metric_of(j);
    const struct jobtrace_facts facts = facts_of(j);
    jobtrace_waited(&j->traced, j->env->spans, &facts, ms);
    jobmetrics_wait(j->env->metrics, &metric, ms);
    jobmeters_wait(ms);
}

/* --- the upstream's circuit --------------------------------------------------------------- */

/* Waits uncharged: before T1 in `later`, afterwards by giving the row back. */
static void refused(void *ctx)
{
    struct job *j = ctx;
    LOG_SCOPE(&j->traced.trace);
    j->waiting_for_answer = false;
    if (j->aborting) {
        job_step(j, EV_ABORT);
        return;
    }
    j->settle_as = AS_LATER;
    j->delay_ms = j->hold_ms = j->leave.wait_ms;
    job_step(j, EV_WAIT);
}

static void leave_answered(struct breaker_leave *leave, bool granted, void *ctx)
{
    struct job *j = ctx;
    LOG_SCOPE(&j->traced.trace);
    (void)leave;
    j->waiting_for_answer = false;
    if (granted && !j->aborting)
        j->go(j);
    else
        refused(j);
}

/* Goes on with `go` when the upstream may be asked. Leave to probe it lasts; any other is asked for
 * again before the fetch, since it may be gone by then. */
static void with_leave(struct job *j, void (*go)(struct job *j))
{
    if (!j->upstream)
        j->upstream = scrape_upstream(j->env->cfg, j->ev.watch_url);
    if (j->leave.probe) {
        go(j);
        return;
    }
    j->go = go;
    j->leave = (struct breaker_leave){.host = j->upstream, .answer = leave_answered, .ctx = j};
    switch (breaker_ask(j->env->breaker, &j->leave)) {
    case BREAKER_GO: go(j); return;
    case BREAKER_WAIT: loop_defer(j->env->loop, &j->refuse, refused, j); break;
    case BREAKER_ASKS: break;
    }
    j->waiting_for_answer = true;
}

bool job_may_ask(void *job)
{
    const struct job *j = job;
    return j->leave.probe || breaker_allows(j->env->breaker, j->upstream);
}

/* --- answers become events --------------------------------------------------------------- */

static const enum job_event event_of[] = {
    [HL_OK] = EV_OK,
    [HL_RETRY] = EV_RETRY,
    [HL_FATAL] = EV_FATAL,
    [HL_LOST] = EV_LOST,
    [HL_UNSURE] = EV_UNSURE,
};

/* PostgreSQL knows how the event ended; a Redis that cannot be told must not hold up the next one.
 * What it did not hear comes right without us: an entry is read again and its row looked at, a retry
 * is published when it is due. Only a dead letter would be missing. */
static bool told_enough(const struct job *j)
{
    int64_t patience = *j->entry ? SETTLE_MS : 0;
    return j->state == JOB_SETTLE && clock_mono_ms() - j->entered_ms >= patience;
}

static void not_told(struct job *j, enum job_event ev)
{
    j->link.again |= ev == EV_ABORT && *j->entry;
    if (j->settle_as == AS_DEAD && j->env->unburied)
        j->env->unburied(&j->ev, j->reason, j->env->ctx);
}

/* Transactions and queue calls are repeated until they go through, or until we have to let go. */
static void answered(struct job *j, enum job_event ev, const struct hl_err *err)
{
    j->waiting_for_answer = false;
    bool again = ev == EV_RETRY || ev == EV_UNSURE;
    if (again && j->tries == 0)
        log_warn("job_step_repeats", LOG_S("step", job_state_name(j->state)),
            LOG_S("outcome", job_event_name(ev)), LOG_S("error", err ? err->msg : ""));
    job_step(j, again && (j->aborting || told_enough(j)) ? EV_ABORT : ev);
}

static void claim_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    static const enum job_event by_state[] = {
        [CLAIM_OK] = EV_OK,
        [CLAIM_MISSING] = EV_MISSING,
        [CLAIM_EARLY] = EV_WAIT,
        [CLAIM_BUSY] = EV_WAIT,
        [CLAIM_HELD] = EV_LOST,
        [CLAIM_DONE] = EV_LOST,
    };
    struct job *j = req->ctx;
    LOG_SCOPE(&j->traced.trace);
    CRASH_POINT("claim.after");
    if (rc == HL_OK) {
        j->epoch = j->claim.epoch;
        j->attempts = j->claim.attempts;
        if (j->claim.state == CLAIM_OK)
            waited(j, j->claim.waited_ms);
        j->settle_as = by_state[j->claim.state] == EV_WAIT ? AS_LATER : AS_DONE;
        j->delay_ms = j->claim.state == CLAIM_EARLY && j->claim.wait_ms > 0
                          ? j->claim.wait_ms
                          : WAIT_MS + arc4random() % WAIT_SPREAD_MS;
        answered(j, by_state[j->claim.state], NULL);
        return;
    }
    if (rc == HL_FATAL) {
        set_text(&j->reason, err->msg);
        j->settle_as = AS_DEAD;
    }
    answered(j, event_of[rc], err);
}

static void accept_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    LOG_SCOPE(&j->traced.trace);
    if (rc == HL_FATAL) {
        set_text(&j->reason, err->msg);
        j->settle_as = AS_DEAD;
    }
    answered(j, event_of[rc], err);
}

static void complete_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    LOG_SCOPE(&j->traced.trace);
    if (rc == HL_FATAL) { /* the row or the document is refused: that is how the event ends */
        set_text(&j->reason, "the database refuses the document");
        set_text(&j->detail, err->msg);
        j->retryable = false;
    }
    if (rc == HL_OK)
        jobmeters_completed(j->complete.age_us, j->complete.superseded);
    CRASH_POINT("t3.after");
    answered(j, rc == HL_LOST && j->complete.gone ? EV_MISSING : event_of[rc], err);
}

static void settle_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    LOG_SCOPE(&j->traced.trace);
    if (rc == HL_FATAL && !j->plain) { /* our texts are refused: the outcome still has to stand */
        log_error("failure_refused", LOG_S("error", err->msg));
        j->plain = true;
        rc = HL_RETRY;
    }
    if (rc == HL_LOST && !j->settle.gone)
        j->settle_as = AS_DONE; /* somebody else answers for the row: only our entry goes */
    CRASH_POINT("t3.after");
    answered(j, rc == HL_LOST && j->settle.gone ? EV_MISSING : event_of[rc], err);
}

static void queue_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    LOG_SCOPE(&j->traced.trace);
    CRASH_POINT("ack.after");
    answered(j, event_of[rc], err);
}

/* Of the present step. */
static int64_t took_ms(const struct job *j)
{
    return j->began_us ? (clock_mono_us() - j->began_us) / 1000 : 0;
}

static void scraped(struct scrape_result *res, void *ctx)
{
    struct job *j = ctx;
    LOG_SCOPE(&j->traced.trace);
    j->scrape = NULL;
    CRASH_POINT("scrape.after");
    enum hl_rc rc = res->rc;
    struct hl_err err = res->err;
    j->target_status = res->target_status;
    if (!res->held_off)
        meter_inc(M_FETCHES, (int)res->fetch, 0);
    j->leave.again = j->attempts > 0;
    if (res->sign != UPSTREAM_SILENT)
        sampler_fetched(j->env->sampler, j->upstream, res->fetch, took_ms(j));
    bool spared =
        breaker_report(j->env->breaker, &j->leave, res->sign, res->retry_after_ms, res->err.msg);
    if (spared || res->held_off) {
        set_text(&j->reason, err.msg);
        j->hold_ms = spared ? j->leave.wait_ms : WAIT_MS + arc4random() % WAIT_SPREAD_MS;
        job_step(j, EV_WAIT);
        return;
    }
    if (rc == HL_OK)
        rc = document_init(
            &j->doc, j->ev.watch_url, res->title, res->description, res->language, res->text, &err);
    if (rc != HL_OK) {
        j->retryable = rc == HL_RETRY;
        j->retry_after_ms = res->retry_after_ms;
        set_text(&j->reason, err.msg);
        set_text(&j->detail, res->detail);
    }
    job_step(j, event_of[rc]);
}

/* --- entering a state -------------------------------------------------------------------- */

static void claim(struct job *j)
{
    step_begins(j);
    j->waiting_for_answer = true;
    j->claim = (struct store_claim){
        .ev = &j->ev, .alone = j->env->alone, .req = {.done = claim_done, .ctx = j}
    };
    CRASH_POINT("claim.before");
    store_claim(j->env->store, &j->claim);
}

/* A repeated T1 is not held up: the first one may have gone through. */
static void enter_claim(struct job *j)
{
    if (j->tries > 0)
        claim(j);
    else
        with_leave(j, claim);
}

static void enter_insert(struct job *j)
{
    j->waiting_for_answer = true;
    document_release(&j->doc);
    j->accept = (struct store_accept){
        .ev = &j->ev, .req = {.done = accept_done, .ctx = j}
    };
    store_accept(j->env->store, &j->accept);
}

static void fetch(struct job *j)
{
    log_debug("job_claimed", LOG_S("url", buf_str(&j->url)), LOG_I("epoch", j->epoch));
    CRASH_POINT("scrape.before");
    step_begins(j);
    char *header = jobtrace_header(&j->traced, &j->ev, j->env->spans != NULL);
    j->scrape = scrape_start_traced(j->env->scraper, j->ev.watch_url, header, scraped, j);
    free(header);
}

/* Lease and circuit are looked at once more before the fetch: the claim may have taken long. */
static void enter_scrape(struct job *j)
{
    if (j->aborting || !j->env->may_work(j->env->ctx))
        job_step(j, EV_ABORT);
    else
        with_leave(j, fetch);
}

/* The embedded index is written by T3b itself; there is nothing to wait for. */
static void enter_index(struct job *j)
{
    step_begins(j);
    job_step(j, j->aborting ? EV_ABORT : EV_OK);
}

#if MUTANT_ACK_FIRST
static void early_ack_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    (void)rc;
    (void)err;
    free(req);
}

static void ack_early(struct job *j)
{
    struct queue_req *req = mem_new(struct queue_req);
    *req = (struct queue_req){.ev = &j->ev, .done = early_ack_done};
    memcpy(req->entry, j->entry, sizeof(j->entry));
    queue_do(j->env->queue, QUEUE_ACK, req);
}
#else
#define ack_early(j) ((void)0)
#endif

static void enter_complete(struct job *j)
{
    ack_early(j);
    struct buf meta = {0};
    buf_puts(&meta, "{");
    json_put_key(&meta, "document_id");
    json_put_string(&meta, j->ev.watch_url);
    buf_puts(&meta, ",\"firecrawl_status\":null}");
    free(j->metadata);
    j->metadata = buf_detach(&meta);
    j->settle_as = AS_DONE;
    step_begins(j);
    j->waiting_for_answer = true;
    j->complete = (struct store_complete){
        .ev = &j->ev,
        .epoch = j->epoch,
        .metadata = j->metadata,
        .keep_older = !j->env->cfg->supersede,
        .req = {.done = complete_done, .ctx = j}
    };
    if (j->env->cfg->index == INDEX_POSTGRES)
        j->complete.doc = document_view(&j->doc);
    CRASH_POINT("t3.before");
    store_complete(j->env->store, &j->complete);
}

static char *failure_metadata(const struct job *j)
{
    char now[TIMESTAMP_EASTERN_LEN + 1];
    struct buf text = {0}, meta = {0};

    timestamp_eastern(clock_wall_us(), now);
    const char *full = j->detail ? j->detail : j->reason;
    text_append_utf8(&text, full, text_prefix_bytes(full, MAX_ERROR_BYTES));
    buf_puts(&meta, "{");
    json_put_key(&meta, "error");
    json_put_string(&meta, buf_str(&text));
    json_put_key(&meta, "failed_at");
    json_put_string(&meta, now);
    buf_puts(&meta, "}");
    buf_release(&text);
    return buf_detach(&meta);
}

static void start_settle(struct job *j, const char *status, bool charge)
{
    j->waiting_for_answer = true;
    j->settle = (struct store_settle){
        .ev = &j->ev,
        .epoch = j->epoch,
        .status = status,
        .charge = charge,
        .delay_ms = j->delay_ms,
        .metadata = j->metadata,
        .req = {.done = settle_done, .ctx = j}
    };
    CRASH_POINT("t3.before");
    store_settle(j->env->store, &j->settle);
}

/* Decided once: a repeat of T3a must write the same again. */
static void decide_failure(struct job *j)
{
    const struct config *cfg = j->env->cfg;
    int64_t attempt = j->attempts + 1;

    free(j->metadata);
    j->metadata = failure_metadata(j);
    j->delay_ms = 0;
    if (j->retryable && attempt < cfg->max_attempts) {
        j->delay_ms = backoff_ms((int)attempt, cfg->retry_base_ms, cfg->retry_max_ms, arc4random());
        if (j->delay_ms < j->retry_after_ms)
            j->delay_ms =
                j->retry_after_ms < cfg->retry_max_ms ? j->retry_after_ms : cfg->retry_max_ms;
        j->settle_as = AS_LATER;
        snprintf(j->status, sizeof(j->status), "queued");
    } else {
        j->settle_as = AS_DEAD;
        snprintf(j->status, sizeof(j->status), "failed: %s", j->reason);
        j->status[text_prefix_chars(j->status, MAX_STATUS_CHARS)] = '\0';
    }
    j->traced.outcome = j->settle_as == AS_LATER ? "retried" : "failed";
    log_warn("job_failed", LOG_S("url", buf_str(&j->url)), LOG_I("attempt", attempt),
        LOG_S("status", j->status), LOG_S("error", j->reason), LOG_I("retry_in_ms", j->delay_ms));
}

static void enter_fail(struct job *j)
{
    if (j->tries == 0)
        decide_failure(j);
    if (j->plain)
        set_text(&j->metadata, "{}");
    step_begins(j);
    start_settle(j, j->plain && j->settle_as == AS_DEAD ? "failed" : j->status, true);
}

static void enter_release(struct job *j)
{
    set_text(&j->metadata, "{}");
    j->settle_as = AS_LATER;
    j->delay_ms = j->hold_ms;
    start_settle(j, "queued", false);
}

static void enter_settle(struct job *j)
{
    static const enum queue_op ops[] = {
        [AS_DONE] = QUEUE_ACK, [AS_LATER] = QUEUE_REQUEUE, [AS_DEAD] = QUEUE_BURY};
    breaker_return(j->env->breaker, &j->leave); /* where it came to no fetch */
    if (j->settle_as == AS_DONE && !*j->entry) {
        job_step(j, EV_OK);
        return;
    }
    step_begins(j);
    j->waiting_for_answer = true;
    j->queue = (struct queue_req){
        .ev = &j->ev, .delay_ms = j->delay_ms, .reason = j->reason, .done = queue_done, .ctx = j};
    memcpy(j->queue.entry, j->entry, sizeof(j->entry));
    CRASH_POINT("ack.before");
    queue_do(j->env->queue, ops[j->settle_as], &j->queue);
}

static void job_free(struct job *j)
{
    const struct jobtrace_facts facts = facts_of(j);
    jobtrace_end(&j->traced, j->env->spans, &facts);
    timer_stop(&j->retry);
    timer_stop(&j->limit);
    breaker_return(j->env->breaker, &j->leave);
    free(j->upstream);
    event_release(&j->ev);
    buf_release(&j->url);
    document_release(&j->doc);
    free(j->metadata);
    free(j->reason);
    free(j->detail);
    free(j);
}

static void enter_done(struct job *j)
{
    log_debug("job_ended", LOG_S("url", buf_str(&j->url)),
        LOG_I("took_ms", (clock_mono_us() - j->started_us) / 1000));
    jobmeters_end(j->outcome);
    j->env->done(j, j->env->ctx);
    job_free(j);
}

static void (*const on_enter[JOB_NSTATES])(struct job *) = {
    [JOB_CLAIM] = enter_claim,
    [JOB_INSERT] = enter_insert,
    [JOB_SCRAPE] = enter_scrape,
    [JOB_INDEX] = enter_index,
    [JOB_COMPLETE] = enter_complete,
    [JOB_FAIL] = enter_fail,
    [JOB_RELEASE] = enter_release,
    [JOB_SETTLE] = enter_settle,
    [JOB_DONE] = enter_done,
};

/* --- the machine ------------------------------------------------------------------------- */

static void retry_now(void *ctx)
{
    struct job *j = ctx;
    LOG_SCOPE(&j->traced.trace);
    on_enter[j->state](j);
}

static void job_step(struct job *j, enum job_event ev)
{
    int next = job_next(j->state, ev);
    if (next < 0) {
        log_error("job_edge_forbidden", LOG_S("state", job_state_name(j->state)),
            LOG_S("event", job_event_name(ev)));
        abort(); /* a fault of ours; the supervisor tells what was in flight */
    }
    /* Letting go before T1 has found a row: the entry goes back, as if it had never been read. */
    if ((j->state == JOB_CLAIM || j->state == JOB_INSERT) && ev == EV_ABORT) {
        j->settle_as = AS_LATER;
        j->delay_ms = 0;
    }
    if ((enum job_state)next == j->state) {
        j->tries++;
        timer_start(
            &j->retry, backoff_ms(j->tries, STEP_RETRY_BASE_MS, STEP_RETRY_MAX_MS, arc4random()));
        return;
    }
    if (j->state == JOB_SETTLE && ev != EV_OK)
        not_told(j, ev);
    step_ends(j, ev);
    j->state = (enum job_state)next;
    j->tries = 0;
    j->entered_ms = clock_mono_ms();
    j->env->moved(j, j->env->ctx);
    on_enter[j->state](j);
}

/* A scrape that takes so long is a failure of the page, and charged: given back it would run for
 * ever. One that has not begun is not. */
static void limit_reached(void *ctx)
{
    struct job *j = ctx;
    LOG_SCOPE(&j->traced.trace);
    log_error(
        "job_over_limit", LOG_S("url", buf_str(&j->url)), LOG_S("step", job_state_name(j->state)));
    if (j->state != JOB_SCRAPE || !j->scrape || scrape_waits(j->scrape)) {
        job_abort(j);
        return;
    }
    scrape_cancel(j->scrape);
    j->scrape = NULL;
    j->retryable = true;
    meter_inc(M_FETCHES, FETCH_TIMEOUT, 0);
    free(j->reason);
    j->reason = mem_printf(
        "job timeout after %lld minutes", (long long)j->env->cfg->job_timeout_ms / MS_PER_MINUTE);
    job_step(j, EV_RETRY);
}

static struct job *job_new(const struct job_env *env, struct change_event *ev)
{
    struct job *j = mem_new(struct job);
    j->env = env;
    j->ev = *ev;
    url_mask(j->ev.watch_url, &j->url);
    j->retry_after_ms = -1;
    jobtrace_begin(&j->traced, &j->ev);
    j->outcome = OUTCOME_NOTHING;
    j->started_us = clock_mono_us();
    timer_init(env->loop, &j->retry, retry_now, j);
    timer_init(env->loop, &j->limit, limit_reached, j);
    timer_start(&j->limit, env->cfg->job_timeout_ms - env->cfg->lease_ms);
    return j;
}

struct job *job_start(const struct job_env *env, struct change_event *ev, const char *entry)
{
    struct job *j = job_new(env, ev);
    LOG_SCOPE(&j->traced.trace);
    j->state = JOB_CLAIM;
    snprintf(j->entry, sizeof(j->entry), "%s", entry);
    enter_claim(j);
    return j;
}

struct job *job_start_claimed(const struct job_env *env, struct change_event *ev, int64_t epoch,
    int64_t attempts, int64_t waited_ms)
{
    struct job *j = job_new(env, ev);
    LOG_SCOPE(&j->traced.trace);
    j->state = JOB_SCRAPE;
    j->epoch = epoch;
    j->attempts = attempts;
    waited(j, waited_ms);
    timer_start(&j->retry, 0); /* the caller does not know the job yet */
    return j;
}

void job_abort(struct job *j)
{
    LOG_SCOPE(&j->traced.trace);
    j->aborting = true;
    if (j->waiting_for_answer)
        return; /* its answer decides */
    timer_stop(&j->retry);
    scrape_cancel(j->scrape);
    j->scrape = NULL;
    job_step(j, EV_ABORT);
}

const struct uuid *job_id(const struct job *j)
{
    return &j->ev.id;
}

const char *job_entry(const struct job *j)
{
    return j->entry;
}

enum job_state job_state(const struct job *j)
{
    return j->state;
}

int64_t job_age_ms(const struct job *j)
{
    return (clock_mono_us() - j->started_us) / 1000;
}

struct job_link *job_link(struct job *j)
{
    return &j->link;
}

struct job *job_of(struct job_link *link)
{
    return LIST_OF(link, struct job, link);
}
