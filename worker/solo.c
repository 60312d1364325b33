/* solo: see solo.h. Looks for a suspect; with one found it builds what a worker has, gets a lease,
 * runs the job, resigns and leaves. */
#include "worker/solo.h"

#include "base/log.h"
#include "base/pgarray.h"
#include "base/uuid.h"
#include "io/pulse.h"
#include "worker/breaker.h"
#include "worker/job.h"
#include "worker/lease.h"
#include "worker/letters.h"
#include "worker/obituary.h"
#include "worker/orders.h"
#include "worker/vitals.h"
#include "worker/wires.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum {
    CONNECTIONS = 2,
    LOOK_MS = 2000,
    LOOK_SPREAD_MS = 500, /* so that the fleets of a site do not ask as one */
    HEARTBEAT_MS = 500,
    SETTLE_MS = 5000, /* for Redis to hear of the result; the row has it, and is published again */
    LAST_METRICS_MS = 1000,
    LAST_SPANS_MS = 1000,
    LAST_SAMPLE_MS = 500,
    LEAVE_MS = 4000, /* giving back and resigning; less than the supervisor's grace */
};

struct solo {
    const struct config *cfg;
    struct prefork_slot *slot;
    struct held *held;
    char instance[sizeof(((struct prefork_slot *)0)->instance)];
    struct wires wires;
    struct dbpool *lease_pool;
    struct store *lease_store;
    struct lease *lease;
    struct scraper *scraper;
    struct breaker *breaker;
    struct job_env env;
    struct orders *orders;   /* of operators: T1 obeys them; that it does is told */
    struct sampler *sampler; /* NULL: it has found no suspect yet */

    struct change_event suspect; /* found, and not yet the job's */
    bool found;
    struct job *job;
    struct list jobs;       /* it, or none */
    bool claimed;           /* the job got beyond T1 */
    bool draining, leaving; /* asked to leave; resigning */
    int exit_code;
    struct buf held_ids;
    struct pulse pulse;
    struct timer heartbeat, look, linger, settle_limit, leave_limit;
    struct sigwatch term;
};

static void stop(struct solo *s, int exit_code)
{
    s->leaving = true;
    s->exit_code = exit_code;
    loop_stop(s->wires.loop);
}

/* --- the end ----------------------------------------------------------------------------- */

static void leave(void *ctx)
{
    struct solo *s = ctx;
    loop_stop(s->wires.loop);
}

static void measured(void *ctx)
{
    struct solo *s = ctx;
    spans_drain(s->wires.spans, LAST_SPANS_MS, leave, s);
}

static void sampled(void *ctx)
{
    struct solo *s = ctx;
    metrics_drain(s->wires.metrics, LAST_METRICS_MS, measured, s);
}

static void resigned(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct solo *s = ctx;
    (void)rows;
    (void)err;
    if (rc != HL_OK)
        s->exit_code = EXIT_FAILURE; /* the supervisor tells the janitor, which declares us dead */
    else
        s->exit_code = s->draining ? EXIT_SUCCESS : PREFORK_AGAIN;
    sampler_leave(s->sampler, LAST_SAMPLE_MS, sampled, s);
}

static void resign(void *ctx)
{
    struct solo *s = ctx;
    if (s->leaving)
        return;
    s->leaving = true;
    if (!timer_running(&s->leave_limit))
        timer_start(&s->leave_limit, LEAVE_MS);
    store_resign(s->lease_store, resigned, s);
}

static void give_up_leaving(void *ctx)
{
    struct solo *s = ctx;
    log_warn("left_hurriedly", LOG_I("jobs", s->job ? 1 : 0));
    stop(s, EXIT_FAILURE);
}

/* The job is given back, uncharged and suspect as before. */
static void on_term(void *ctx)
{
    struct solo *s = ctx;
    if (s->draining)
        return;
    s->draining = true;
    if (!s->lease) {
        stop(s, EXIT_SUCCESS);
        return;
    }
    timer_start(&s->leave_limit, LEAVE_MS);
    if (s->job)
        job_abort(s->job);
    else
        resign(s);
}

/* --- the job ----------------------------------------------------------------------------- */

static bool may_work(void *ctx)
{
    const struct solo *s = ctx;
    return !s->draining && lease_good(s->lease);
}

static void settle_limit(void *ctx)
{
    struct solo *s = ctx;
    job_abort(s->job);
}

static void job_moved(struct job *j, void *ctx)
{
    struct solo *s = ctx;
    s->held->state = (uint8_t)(job_state(j) + 1);
    s->claimed |= job_state(j) == JOB_SCRAPE;
    if (job_state(j) == JOB_SETTLE)
        timer_start(&s->settle_limit, SETTLE_MS);
}

/* Who could not claim what it had found finds it again at once: not without a pause. */
static void job_done(struct job *j, void *ctx)
{
    struct solo *s = ctx;
    list_remove(&s->jobs, &job_link(j)->all);
    s->job = NULL;
    s->held->state = 0;
    timer_stop(&s->settle_limit);
    if (s->claimed || s->draining)
        resign(s);
    else
        timer_start(&s->linger, LOOK_MS);
}

/* We do not wait for Redis: the row says that the event has failed. */
static void no_letter(const struct change_event *ev, const char *reason, void *ctx)
{
    (void)ctx;
    letters_report(ev, reason);
}

static void start_job(struct solo *s)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&s->suspect.id, id);
    log_warn("suspect_runs_alone", LOG_S("event_id", id), LOG_S("instance", s->instance));
    s->found = false;
    s->job = job_start(&s->env, &s->suspect, "");
    list_push(&s->jobs, &job_link(s->job)->all);
    s->held->id = *job_id(s->job);
    job_moved(s->job, s);
}

/* --- the lease --------------------------------------------------------------------------- */

static const char *held_ids(void *ctx)
{
    struct solo *s = ctx;
    char id[UUID_STRLEN + 1];
    pgarray_begin(&s->held_ids);
    if (s->job) {
        uuid_format(job_id(s->job), id);
        pgarray_text(&s->held_ids, id);
    }
    return pgarray_end(&s->held_ids);
}

static void lease_granted(void *ctx)
{
    struct solo *s = ctx;
    if (s->found && !s->leaving)
        start_job(s);
}

static void lease_fenced(void *ctx)
{
    struct solo *s = ctx;
    if (s->job)
        job_abort(s->job);
}

static void lease_dead(void *ctx)
{
    struct solo *s = ctx;
    log_error("declared_dead", LOG_S("instance", s->instance), LOG_I("jobs", s->job ? 1 : 0));
    stop(s, PREFORK_AGAIN);
}

/* Nobody needs to hear of it: it is a suspect still, and found again. */
static void lease_freed(const struct change_event *ev, void *ctx)
{
    char id[UUID_STRLEN + 1];
    (void)ctx;
    uuid_format(&ev->id, id);
    log_warn("claim_returned", LOG_S("event_id", id));
}

/* --- orders ------------------------------------------------------------------------------ */

static struct vitals vitals_of(const struct solo *s)
{
    return (struct vitals){.jobs = &s->jobs,
        .restarts = s->slot->crashes,
        .connections = CONNECTIONS,
        .working = true,
        .draining = s->draining || s->leaving,
        .lease = s->lease,
        .metrics = s->wires.metrics,
        .pool = s->wires.pool};
}

static void tell_vitals(struct buf *json, void *ctx)
{
    const struct solo *s = ctx;
    const struct vitals v = vitals_of(s);
    vitals_put(&v, json);
}

static bool claiming(void *ctx)
{
    const struct solo *s = ctx;
    return s->job && job_state(s->job) == JOB_CLAIM;
}

static void orders_changed(void *ctx)
{
    (void)ctx; /* the one job that it has is finished, and then it leaves */
}

/* --- from looking to working ------------------------------------------------------------- */

static int64_t in_flight(void *ctx)
{
    const struct solo *s = ctx;
    return s->job ? 1 : 0;
}

static bool build(struct solo *s, struct hl_err *err)
{
    if (!wires_open_queue(&s->wires, s->cfg, s->instance, false, err) ||
        !wires_open_spans(&s->wires, s->cfg, s->instance, err))
        return false;
    s->scraper = scraper_new(s->wires.loop, s->cfg, err);
    s->lease_pool =
        s->scraper ? wires_pool(&s->wires, s->cfg, s->instance, POOL_LEASE, 1, err) : NULL;
    if (!s->lease_pool)
        return false;
    s->lease_store = store_new(s->wires.loop, s->lease_pool, s->instance, 0);
    s->breaker = breaker_new(s->wires.loop, s->cfg, s->wires.store);
    s->sampler = sampler_new(&(struct sampler_conf){
        .loop = s->wires.loop, .store = s->wires.store, .in_flight = in_flight, .ctx = s});
    sampler_start(s->sampler);
    scraper_guard(s->scraper, job_may_ask);
    s->env = (struct job_env){.loop = s->wires.loop,
        .instance = s->instance,
        .cfg = s->cfg,
        .store = s->wires.store,
        .queue = s->wires.queue,
        .scraper = s->scraper,
        .breaker = s->breaker,
        .metrics = s->wires.metrics,
        .spans = s->wires.spans,
        .sampler = s->sampler,
        .alone = true,
        .may_work = may_work,
        .moved = job_moved,
        .done = job_done,
        .unburied = no_letter,
        .ctx = s};
    s->orders = orders_new(&(struct orders_conf){.loop = s->wires.loop,
        .store = s->wires.store,
        .instance = s->instance,
        .tell = tell_vitals,
        .claiming = claiming,
        .changed = orders_changed,
        .ctx = s});
    orders_begin(s->orders);
    s->lease = lease_new(s->wires.loop, s->lease_store,
        &(struct lease_conf){.lease_ms = s->cfg->lease_ms,
            .held = held_ids,
            .granted = lease_granted,
            .fenced = lease_fenced,
            .dead = lease_dead,
            .freed = lease_freed,
            .ctx = s});
    return true;
}

/* Failures are not logged: workers and janitor say what is wrong with the database. */
static void looked(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct solo *s = ctx;
    struct hl_err fault;
    (void)err;
    if (s->leaving)
        return;
    s->found = rc == HL_OK && PQntuples(rows) && store_event(rows, 0, &s->suspect);
    if (!s->found) {
        timer_start(&s->look, LOOK_MS + (int64_t)arc4random_uniform(LOOK_SPREAD_MS));
    } else if (!build(s, &fault)) {
        log_error("start_failed", LOG_S("error", fault.msg));
        stop(s, EX_CONFIG);
    }
}

static void look(void *ctx)
{
    struct solo *s = ctx;
    if (prefork_quiet(s->slot))
        timer_start(&s->look, LOOK_MS);
    else
        store_next_suspect(s->wires.store, looked, s);
}

/* --- life -------------------------------------------------------------------------------- */

static void heartbeat(void *ctx)
{
    struct solo *s = ctx;
    if (!prefork_beat(s->slot) && !s->draining)
        on_term(s);
    const struct vitals v = vitals_of(s);
    vitals_show(&v);
    breaker_show(s->breaker);
    pulse_beat(&s->pulse, HEARTBEAT_MS);
    log_tick();
    timer_start(&s->heartbeat, HEARTBEAT_MS);
}

static void tear_down(struct solo *s)
{
    s->leaving = true;
    timer_stop(&s->heartbeat);
    timer_stop(&s->look);
    timer_stop(&s->linger);
    timer_stop(&s->settle_limit);
    timer_stop(&s->leave_limit);
    sigwatch_stop(&s->term);
    breaker_stop(s->breaker);
    orders_stop(s->orders);
    sampler_stop(s->sampler);
    redis_free(s->wires.redis);
    s->wires.redis = NULL;
    dbpool_free(s->lease_pool);
    lease_free(s->lease);
    store_free(s->lease_store);
    scraper_free(s->scraper);
    buf_release(&s->held_ids);
    if (s->found)
        event_release(&s->suspect);
    wires_close(&s->wires);
    breaker_free(s->breaker);
    orders_free(s->orders);
    sampler_free(s->sampler);
}

int solo_run(struct prefork_slot *slot, const struct config *cfg)
{
    static struct solo s; /* static: what is in flight at the end is no leak */
    struct hl_err err = {0};

    s.cfg = cfg;
    s.slot = slot;
    s.held = (struct held *)(void *)slot->extra;
    s.exit_code = EXIT_FAILURE;
    list_init(&s.jobs);
    wires_name(s.instance, sizeof(s.instance));
    snprintf(slot->instance, sizeof(slot->instance), "%s", s.instance);
    if (!wires_open_store(&s.wires, cfg, s.instance, true, CONNECTIONS, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_CONFIG;
    }
    sigwatch_start(s.wires.loop, &s.term, SIGTERM, on_term, &s);
    timer_init(s.wires.loop, &s.heartbeat, heartbeat, &s);
    timer_init(s.wires.loop, &s.look, look, &s);
    timer_init(s.wires.loop, &s.linger, resign, &s);
    timer_init(s.wires.loop, &s.settle_limit, settle_limit, &s);
    timer_init(s.wires.loop, &s.leave_limit, give_up_leaving, &s);
    timer_start(&s.look, 0);
    heartbeat(&s);
    loop_run(s.wires.loop);
    if (!s.job)
        tear_down(&s);
    return s.exit_code;
}
