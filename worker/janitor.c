/* janitor: see janitor.h. A sweep is a row of steps, one after the other; each ends in
 * next_step(). Two connections to PostgreSQL at most. */
#include "worker/janitor.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "domain/connect.h"
#include "domain/queue_gauges.h"
#include "domain/store_orders.h"
#include "io/pulse.h"
#include "worker/dossier.h"
#include "worker/letters.h"
#include "worker/reconciler.h"
#include "worker/recrawl.h"
#include "worker/retention.h"
#include "worker/watchlist.h"
#include "worker/wires.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    CONNECTIONS = 2,
    SWEEP_MAX_MS = 5000,
    PROMOTE_MS = 250,
    HEARTBEAT_MS = 500,
    REAP_MAX = 500,
    PAGE = 500, /* rows or jobs of one step */
    TAKEOVER_MAX = 100,
    LAST_WORDS_MS = 3000, /* for the last steps; less than the supervisor's grace */
};
#define NO_JOB_LIMIT (100LL * 365 * 86400 * 1000) /* ms */

/* A queue whose dead readers and delayed jobs a janitor looks after. */
struct ward {
    struct janitor *janitor;
    struct queue *queue;
    char **consumers; /* of the group, as read in this sweep */
    size_t nconsumers, at;
    struct timer promote;
    bool promoting;
};
enum { CHANGES, CRAWLS, NWARDS };

struct janitor {
    const struct config *cfg;
    struct prefork_slot *slot;
    struct obituaries *dead; /* workers our supervisor saw die */
    struct wires wires;
    struct watchlist *watchlist;
    struct retention *retention;
    struct reconciler *reconciler;
    struct recrawl *recrawl;
    struct letters *letters;
    struct queue_gauges *queues;
    struct schema_wait schema;
    struct sigwatch term, state;
    struct watch deaths;
    struct timer heartbeat, sweep;
    struct pulse pulse;
    int64_t beats;
    bool has_schema, asking_level;
    bool sweeping, again, stopping;
    size_t step, last_step;
    struct timer last_words;

    struct queue *crawl_queue;
    struct ward wards[NWARDS];
    bool database_failed, redis_failed; /* in this sweep */
    int moves;                          /* queue requests under way */
    bool page_done;                     /* all of them were started */
};

static void next_step(struct janitor *j);
static void start_sweep(void *ctx);

static int64_t sweep_every(const struct janitor *j)
{
    int64_t ms = j->cfg->lease_ms / 4;
    return ms < SWEEP_MAX_MS ? ms : SWEEP_MAX_MS;
}

static bool database_failed(struct janitor *j, enum hl_rc rc, const struct hl_err *err)
{
    if (rc == HL_OK)
        return false;
    if (!j->database_failed)
        log_warn("sweep_failed", LOG_S("error", err->msg));
    j->database_failed = true;
    return true;
}

/* --- events that go back to the queue, or to the dead ------------------------------------ */

struct move {
    struct queue_req req;
    enum queue_op op;
    struct change_event ev;
    struct janitor *janitor;
};

static void page_end(struct janitor *j)
{
    if (j->page_done && j->moves == 0)
        next_step(j);
}

static void moved(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct move *m = req->ctx;
    struct janitor *j = m->janitor;
    (void)err;
    if (rc != HL_OK && m->op == QUEUE_BURY)
        letters_keep(j->letters, &m->ev, req->reason);
    else if (rc != HL_OK)
        reconciler_walk(j->reconciler, "a job could not be put back");
    j->redis_failed |= rc != HL_OK;
    j->moves--;
    event_release(&m->ev);
    free(m);
    page_end(j);
}

/* reason: static. */
static void move_row(
    struct janitor *j, const PGresult *rows, int row, enum queue_op op, const char *reason)
{
    struct move *m = mem_new(struct move);
    m->janitor = j;
    m->op = op;
    if (!store_event(rows, row, &m->ev)) {
        free(m);
        return;
    }
    m->req = (struct queue_req){.ev = &m->ev, .reason = reason, .done = moved, .ctx = m};
    j->moves++;
    CRASH_POINT("janitor.move");
    queue_do(j->wires.queue, op, &m->req);
}

/* --- step: the dead our supervisor saw die ----------------------------------------------- */

static void bury_next(struct janitor *j);

static void obituaries_end(struct janitor *j)
{
    j->page_done = true;
    page_end(j);
}

static void next_obituary(struct janitor *j)
{
    CRASH_POINT("janitor.dead");
    obituaries_done(j->dead);
    bury_next(j);
}

static void death_declared(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    struct obituary o;
    if (database_failed(j, rc, err)) {
        obituaries_end(j);
        return;
    }
    if (PQntuples(rows)) {
        meter_inc(M_DEAD_WORKERS, 0, 0);
        reconciler_walk(j->reconciler, "a worker died");
    }
    if (PQntuples(rows) && obituaries_first(j->dead, &o))
        log_info("worker_declared_dead", LOG_S("worker", o.instance), LOG_S("cause", o.cause));
    next_obituary(j);
}

/* Who crashed alone with it is known: the event has failed, and is a dead letter. */
static void condemn(struct janitor *j, const PGresult *rows, int row)
{
    if (PQgetisnull(rows, row, 0))
        return;
    meter_inc(M_ZOMBIES, 0, 0);
    log_error("job_condemned", LOG_S("event_id", db_text(rows, row, 0)),
        LOG_S("status", db_text(rows, row, 8)));
    move_row(j, rows, row, QUEUE_BURY, "crashed its worker");
}

/* A dossier that PostgreSQL refuses for good must not hold up the others: the blame is lost, and
 * said to be; the death is declared all the same. */
static void crash_written(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    struct obituary o;
    if (!obituaries_first(j->dead, &o)) {
        obituaries_end(j);
        return;
    }
    if (rc == HL_FATAL) {
        log_error("crash_not_recorded", LOG_S("worker", o.instance),
            LOG_I("jobs", (int64_t)o.nheld), LOG_S("error", err->msg));
        store_declare_dead(j->wires.store, o.instance, -1, o.cause, death_declared, j);
        return;
    }
    if (database_failed(j, rc, err)) {
        obituaries_end(j);
        return;
    }
    if (PQntuples(rows)) {
        meter_add(M_DEAD_WORKERS, 0, 0, db_int(rows, 0, 11));
        reconciler_walk(j->reconciler, "a worker died");
        log_info("worker_declared_dead", LOG_S("worker", o.instance), LOG_S("cause", o.cause),
            LOG_I("suspected", db_int(rows, 0, 9)), LOG_I("to_run_alone", db_int(rows, 0, 10)));
    }
    for (int i = 0; i < PQntuples(rows); i++)
        condemn(j, rows, i);
    next_obituary(j);
}

static void bury_next(struct janitor *j)
{
    struct obituary o;
    j->page_done = false;
    if (!obituaries_first(j->dead, &o))
        obituaries_end(j);
    else if (o.signo || o.nheld)
        dossier_write(j->wires.store, j->dead, &o, crash_written, j);
    else /* it gave up by itself, and held nothing */
        store_declare_dead(j->wires.store, o.instance, -1, o.cause, death_declared, j);
}

/* --- step: who reads the queues ---------------------------------------------------------- */

static void forget_consumers(struct ward *w)
{
    for (size_t i = 0; i < w->nconsumers; i++)
        free(w->consumers[i]);
    free(w->consumers);
    w->consumers = NULL;
    w->nconsumers = w->at = 0;
}

static bool last_ward(const struct ward *w)
{
    return w == &w->janitor->wards[NWARDS - 1];
}

static void consumers_read(enum hl_rc rc, const char *const *names, size_t n, void *ctx)
{
    struct ward *w = ctx;
    struct janitor *j = w->janitor;
    forget_consumers(w);
    j->redis_failed |= rc == HL_RETRY || rc == HL_UNSURE;
    w->consumers = mem_array(n, sizeof(*w->consumers));
    for (; w->nconsumers < n; w->nconsumers++)
        w->consumers[w->nconsumers] = mem_strdup(names[w->nconsumers]);
    if (last_ward(w))
        next_step(j);
    else
        queue_consumers(w[1].queue, consumers_read, &w[1]);
}

/* Before the workers are read: whoever is a consumer now has registered before, so that a living
 * one cannot be missing there. */
static void read_consumers(struct janitor *j)
{
    queue_consumers(j->wards[0].queue, consumers_read, &j->wards[0]);
}

/* --- step: who has not moved for a lease ------------------------------------------------- */

static void declared(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    (void)err;
    if (rc != HL_OK || !PQntuples(rows))
        return;
    meter_inc(M_DEAD_WORKERS, 0, 0);
    log_warn("worker_declared_dead", LOG_S("worker", db_text(rows, 0, 0)),
        LOG_S("cause", "lease ran out"));
    reconciler_walk(j->reconciler, "a worker died");
}

static void workers_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    if (database_failed(j, rc, err)) {
        next_step(j);
        return;
    }
    watchlist_begin(j->watchlist, clock_mono_ms());
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *name = db_text(rows, i, 0);
        if (watchlist_seen(j->watchlist, name, db_int(rows, i, 1)))
            store_declare_dead(
                j->wires.store, name, db_int(rows, i, 1), "lease ran out", declared, j);
    }
    watchlist_end(j->watchlist);
    next_step(j);
}

static void read_workers(struct janitor *j)
{
    store_workers(j->wires.store, workers_read, j);
}

/* --- step: zombies ----------------------------------------------------------------------- */

static void reaped(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    if (database_failed(j, rc, err)) {
        next_step(j);
        return;
    }
    j->page_done = false;
    meter_add(M_ZOMBIES, 0, 0, PQntuples(rows));
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *status = db_text(rows, i, 8);
        bool again = strcmp(status, "queued") == 0;
        log_warn("zombie_reaped", LOG_S("event_id", db_text(rows, i, 0)), LOG_S("status", status));
        if (!again || db_text(rows, i, 9)[0] != 't') /* a suspect is a solo process's */
            move_row(
                j, rows, i, again ? QUEUE_REQUEUE : QUEUE_BURY, "worker died or job timed out");
    }
    /* All of them, before their entries go to others: who claims counts no starts. */
    size_t *step = j->stopping ? &j->last_step : &j->step;
    if (PQntuples(rows) == REAP_MAX && *step)
        --*step;
    j->page_done = true;
    page_end(j);
}

/* After an outage of the database a job may be over its limit only because its owner could not give
 * it back: then it has a lease to do so. Who is known to be dead needs none. */
static void reap(struct janitor *j)
{
    bool settled = watchlist_settled(j->watchlist) && !j->database_failed;
    const struct store_limits limits = {
        .job_timeout_ms = settled ? j->cfg->job_timeout_ms : NO_JOB_LIMIT,
        .lease_ms = j->cfg->lease_ms,
        .max_starts = j->cfg->max_starts};
    store_reap(j->wires.store, &limits, REAP_MAX, reaped, j);
}

/* --- step: entries given to consumers that are gone -------------------------------------- */

static void take_over_next(struct ward *w);

static void taken_over(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    struct ward *w = ctx;
    if (n)
        log_info("entries_taken_over", LOG_S("worker", w->consumers[w->at]), LOG_I("entries", n));
    w->janitor->redis_failed |= rc != HL_OK;
    CRASH_POINT("janitor.taken");
    if (!left)
        w->at++;
    take_over_next(w);
}

static void take_over_next(struct ward *w)
{
    struct janitor *j = w->janitor;
    while (w->at < w->nconsumers && watchlist_has(j->watchlist, w->consumers[w->at]))
        w->at++;
    /* Who lives is known only when the workers could be read in this sweep. */
    if (j->database_failed || j->redis_failed || (w->at >= w->nconsumers && last_ward(w)))
        next_step(j);
    else if (w->at >= w->nconsumers)
        take_over_next(&w[1]);
    else
        queue_takeover(w->queue, w->consumers[w->at], true, TAKEOVER_MAX, taken_over, w);
}

static void take_over(struct janitor *j)
{
    take_over_next(&j->wards[0]);
}

/* --- step: dead workers that own nothing any more ---------------------------------------- */

static void dead_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    if (!database_failed(j, rc, err))
        for (int i = 0; i < PQntuples(rows); i++)
            store_forget_worker(j->wires.store, db_text(rows, i, 0), NULL, NULL);
    next_step(j);
}

static void forget_dead(struct janitor *j)
{
    store_dead_workers(j->wires.store, dead_read, j);
}

/* --- step: rows of the replaced service -------------------------------------------------- */

static void identified(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    if (!database_failed(j, rc, err) && PQntuples(rows)) {
        log_info("events_adopted", LOG_I("events", PQntuples(rows)));
        j->again |= PQntuples(rows) == PAGE;
        reconciler_walk(j->reconciler, "rows of the replaced service");
    }
    next_step(j);
}

/* They go the way of all others from the next steps on. */
static void identify(struct janitor *j)
{
    store_identify(j->wires.store, PAGE, identified, j);
}

/* --- a sweep ----------------------------------------------------------------------------- */

static void (*const steps[])(struct janitor *) = {
    bury_next,
    read_consumers,
    read_workers,
    reap,
    take_over,
    forget_dead,
    identify,
};
enum { NSTEPS = sizeof(steps) / sizeof(*steps) };

static void leave(void *ctx)
{
    struct janitor *j = ctx;
    loop_stop(j->wires.loop);
}

/* The last worker may have died a moment ago: its death is told, and its jobs freed, before we
 * leave. */
static void last_steps(struct janitor *j)
{
    static void (*const last[])(struct janitor *) = {bury_next, reap};
    if (j->last_step < sizeof(last) / sizeof(*last) && !j->database_failed)
        last[j->last_step++](j);
    else
        leave(j);
}

static void next_step(struct janitor *j)
{
    if (j->stopping) {
        last_steps(j);
        return;
    }
    if (j->step < NSTEPS) {
        steps[j->step++](j);
        return;
    }
    j->sweeping = false;
    timer_start(&j->sweep, j->again ? sweep_every(j) / 8 : sweep_every(j));
}

static void start_sweep(void *ctx)
{
    struct janitor *j = ctx;
    if (j->sweeping || j->stopping)
        return;
    j->sweeping = true;
    j->again = j->database_failed = j->redis_failed = false;
    j->step = 0;
    if (redis_up(j->wires.redis))
        letters_send(j->letters);
    next_step(j);
}

static void somebody_died(int what, void *ctx)
{
    struct janitor *j = ctx;
    uint64_t n;
    (void)what;
    if (read(obituaries_fd(j->dead), &n, sizeof(n)) < 0)
        return;
    if (j->sweeping)
        j->again = true;
    else
        timer_start(&j->sweep, 0);
}

/* --- beside the sweeps: delayed jobs whose time has come --------------------------------- */

static void promoted(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    struct ward *w = ctx;
    (void)rc;
    (void)n;
    w->promoting = false;
    timer_start(&w->promote, left ? 0 : PROMOTE_MS);
}

static void promote(void *ctx)
{
    struct ward *w = ctx;
    if (!redis_up(w->janitor->wires.redis)) {
        timer_start(&w->promote, PROMOTE_MS);
        return;
    }
    w->promoting = true;
    queue_promote(w->queue, PAGE, promoted, w);
}

static void take_charge(struct janitor *j)
{
    j->crawl_queue =
        queue_new(j->wires.loop, j->wires.redis, j->cfg->queue_prefix, QUEUE_CRAWL, NULL);
    j->wards[CHANGES].queue = j->wires.queue;
    j->wards[CRAWLS].queue = j->crawl_queue;
    for (int i = 0; i < NWARDS; i++) {
        j->wards[i].janitor = j;
        timer_init(j->wires.loop, &j->wards[i].promote, promote, &j->wards[i]);
    }
    j->queues = queue_gauges_new(&(struct queue_gauges_conf){.loop = j->wires.loop,
        .store = j->wires.store,
        .redis = j->wires.redis,
        .change = j->wires.queue,
        .crawl = j->crawl_queue});
}

/* --- life -------------------------------------------------------------------------------- */

static void heartbeat(void *ctx);

static void on_term(void *ctx)
{
    struct janitor *j = ctx;
    if (j->stopping)
        return;
    j->stopping = true;
    queue_gauges_stop(j->queues);
    retention_stop(j->retention);
    reconciler_stop(j->reconciler);
    recrawl_stop(j->recrawl);
    timer_start(&j->last_words, LAST_WORDS_MS);
    if (!j->sweeping)
        last_steps(j);
}

static void on_state(void *ctx)
{
    const struct janitor *j = ctx;
    log_info("state", LOG_B("sweeping", j->sweeping), LOG_I("step", j->step),
        LOG_I("steps", NSTEPS), LOG_B("draining", j->stopping),
        LOG_B("database_failed", j->database_failed), LOG_B("redis_failed", j->redis_failed),
        LOG_I("consumers", j->wards[CHANGES].nconsumers), LOG_I("moves", j->moves),
        LOG_I("queue_waiting", queue_waiting(j->wires.queue)));
    connect_log_pool("work", j->wires.pool);
}

static void log_ordered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct janitor *j = ctx;
    (void)err; /* the sweeps say what is wrong with PostgreSQL */
    j->asking_level = false;
    if (rc == HL_OK)
        log_order(db_text(rows, 0, 0), db_int(rows, 0, 1));
}

/* With every second beat. */
static void ask_level(struct janitor *j)
{
    j->beats++;
    if (j->beats % 2 || j->asking_level || j->stopping || !j->has_schema)
        return;
    j->asking_level = true;
    store_log_level(j->wires.store, log_ordered, j);
}

static void heartbeat(void *ctx)
{
    struct janitor *j = ctx;
    ask_level(j);
    log_tick();
    if (!prefork_beat(j->slot) && !j->stopping)
        on_term(j);
    pulse_beat(&j->pulse, HEARTBEAT_MS);
    timer_start(&j->heartbeat, HEARTBEAT_MS);
}

static void schema_ready(void *ctx)
{
    struct janitor *j = ctx;
    j->has_schema = true;
    timer_start(&j->sweep, 0);
    for (int i = 0; i < NWARDS; i++)
        timer_start(&j->wards[i].promote, 0);
    queue_gauges_start(j->queues);
    retention_start(j->retention);
    reconciler_start(j->reconciler);
    recrawl_start(j->recrawl);
    watch_start(j->wires.loop, &j->deaths, obituaries_fd(j->dead), WATCH_READ, somebody_died, j);
}

static void tear_down(struct janitor *j)
{
    j->database_failed = true; /* whatever is answered from here on starts no further step */
    queue_gauges_stop(j->queues);
    retention_stop(j->retention);
    reconciler_stop(j->reconciler);
    recrawl_stop(j->recrawl);
    watch_stop(&j->deaths);
    sigwatch_stop(&j->term);
    sigwatch_stop(&j->state);
    timer_stop(&j->heartbeat);
    timer_stop(&j->sweep);
    timer_stop(&j->last_words);
    schema_wait_stop(&j->schema);
    for (int i = 0; i < NWARDS; i++) {
        timer_stop(&j->wards[i].promote);
        forget_consumers(&j->wards[i]);
    }
    watchlist_free(j->watchlist);
    recrawl_free(j->recrawl);
    wires_close(&j->wires); /* answers what is under way */
    queue_free(j->crawl_queue);
    queue_gauges_free(j->queues);
    retention_free(j->retention);
    reconciler_free(j->reconciler);
}

int janitor_run(struct prefork_slot *slot, const struct config *cfg, struct obituaries *dead)
{
    static struct janitor j; /* static: what is in flight at the end is no leak */
    struct hl_err err = {0};

    j.cfg = cfg;
    j.slot = slot;
    j.dead = dead;
    if (!wires_open(&j.wires, j.cfg, "janitor", false, CONNECTIONS, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_CONFIG;
    }
    /* Sweeps are at most a quarter of a lease apart: twice that is an outage, and after one as
     * short as that a worker still has time to renew. */
    j.watchlist = watchlist_new(j.cfg->lease_ms, j.cfg->lease_ms / 2);
    j.letters = letters_new(j.wires.queue);
    j.retention = retention_new(j.wires.loop, j.cfg, j.wires.store);
    j.reconciler = reconciler_new(&(struct reconciler_conf){.loop = j.wires.loop,
        .store = j.wires.store,
        .redis = j.wires.redis,
        .queue = j.wires.queue,
        .every_ms = sweep_every(&j)});
    sigwatch_start(j.wires.loop, &j.term, SIGTERM, on_term, &j);
    sigwatch_start(j.wires.loop, &j.state, PREFORK_STATE, on_state, &j);
    timer_init(j.wires.loop, &j.heartbeat, heartbeat, &j);
    timer_init(j.wires.loop, &j.last_words, leave, &j);
    timer_init(j.wires.loop, &j.sweep, start_sweep, &j);
    take_charge(&j);
    j.recrawl = recrawl_new(&(struct recrawl_conf){.loop = j.wires.loop,
                                .cfg = cfg,
                                .store = j.wires.store,
                                .redis = j.wires.redis,
                                .queue = j.crawl_queue},
        &err);
    if (!j.recrawl) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_CONFIG;
    }
    heartbeat(&j);
    schema_wait_start(
        j.wires.loop, &j.schema, j.wires.store, "run `hooklinectl migrate`", schema_ready, &j);
    loop_run(j.wires.loop);
    /* Requests under way own memory; the kernel takes it back. */
    if (!j.moves && !j.wards[CHANGES].promoting && !j.wards[CRAWLS].promoting &&
        !reconciler_busy(j.reconciler) && !recrawl_busy(j.recrawl))
        tear_down(&j);
    letters_free(j.letters);
    return EXIT_SUCCESS;
}
