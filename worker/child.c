/* child: see child.h. */
#include "worker/child.h"

#include "base/log.h"
#include "base/mem.h"
#include "domain/connect.h"
#include "io/pulse.h"
#include "worker/byrow.h"
#include "worker/crawls.h"
#include "worker/inflight.h"
#include "worker/job.h"
#include "worker/lease.h"
#include "worker/letters.h"
#include "worker/orders.h"
#include "worker/vitals.h"
#include "worker/wires.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    READ_COUNT = 100, /* entries per read */
    READ_BLOCK_MS = 2000,
    READ_RETRY_MS = 500,
    POLICY_CHECK_MS = 30000, /* a Redis that evicts is asked again whether it still does */
    OWN_CHECK_MS = 60000,    /* entries given to us that nobody works on are looked for */
    HEARTBEAT_MS = 500,
    LAST_METRICS_MS = 1000,
    LAST_SPANS_MS = 1000,
    LAST_SAMPLE_MS = 500,
    LEAVE_MS = 4000, /* handing back what is left and resigning; less than the supervisor's grace */
};

struct child {
    const struct config *cfg;
    struct prefork_slot *slot;
    char instance[sizeof(((struct prefork_slot *)0)->instance)];
    struct wires wires;
    struct dbpool *lease_pool;
    struct store *lease_store;
    struct lease *lease;
    struct schema_wait schema;
    struct redis *reader;
    struct scraper *scraper;
    struct breaker *breaker;
    char *upstream; /* the only one, Firecrawl; NULL: each page has its own */
    struct job_env env;

    struct inflight flight;
    /* Our own entries are being looked through: those behind this one. */
    char own_after[QUEUE_ENTRY_MAX];
    bool reading, read_own; /* a read is under way; the next one asks for our own entries first */
    bool said_evicting, refused; /* Redis evicts: nothing is read from it */
    struct byrow *byrow;
    struct letters *letters; /* dead letters that Redis has not taken yet */
    struct crawls *crawls;   /* the crawl jobs, beside all this */
    struct orders *orders;   /* of operators */
    struct sampler *sampler;
    bool working; /* lease granted, not fenced */
    bool draining, leaving;
    bool worn; /* a successor is asked for */
    int64_t jobs_done;
    int exit_code;
    struct defer kick;
    struct defer idle;
    struct pulse pulse;
    struct timer heartbeat, own_check, read_retry, policy_check, drain_limit, leave_limit;
    struct sigwatch term, hurry, quiet, state;
};

static void read_more(void *ctx);

static int connections(const struct config *cfg)
{
    return (int)(cfg->db_pool_size + cfg->db_max_overflow);
}

/* --- the jobs in flight ------------------------------------------------------------------ */

static void job_moved(struct job *j, void *ctx)
{
    struct child *c = ctx;
    job_link(j)->ran |= job_state(j) == JOB_COMPLETE || job_state(j) == JOB_FAIL;
    inflight_moved(&c->flight, j);
}

static void leave_if_idle(struct child *c);

static void job_done(struct job *j, void *ctx)
{
    struct child *c = ctx;
    c->read_own |= job_link(j)->again;
    c->jobs_done += job_link(j)->ran; /* those that only had to wait wear nobody */
    inflight_remove(&c->flight, j);
    leave_if_idle(c);
    byrow_room(c->byrow);
    loop_defer(c->wires.loop, &c->kick, read_more, c);
}

static bool may_work(void *ctx)
{
    struct child *c = ctx;
    return c->working && lease_good(c->lease);
}

/* Neither on its way out nor quiet, and the queue is not paused: nothing new is taken then, and what
 * a read under way still brings goes back. */
static bool takes(const struct child *c, enum orders_queue queue)
{
    return !c->draining && !prefork_quiet(c->slot) && orders_allow(c->orders, queue);
}

static bool takes_work(const struct child *c)
{
    return takes(c, ORDERS_CHANGE);
}

/* --- what goes back to Redis -------------------------------------------------------------- */

struct handed_back {
    struct queue_req req;
    struct change_event ev;
};

static void hand_back_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct handed_back *h = req->ctx;
    (void)rc; /* left pending it goes back when we leave; a queued row without a job is published */
    (void)err;
    event_release(&h->ev);
    free(h);
}

/* The job goes back to the stream, for whoever reads next. Takes *ev. */
static void hand_back(struct child *c, struct change_event *ev)
{
    struct handed_back *h = mem_new(struct handed_back);
    h->ev = *ev;
    h->req = (struct queue_req){.ev = &h->ev, .done = hand_back_done, .ctx = h};
    queue_do(c->wires.queue, QUEUE_REQUEUE, &h->req);
}

/* The row says that the event has failed. */
static void keep_letter(const struct change_event *ev, const char *reason, void *ctx)
{
    struct child *c = ctx;
    letters_keep(c->letters, ev, reason);
}

/* --- reading ----------------------------------------------------------------------------- */

static void start_job(struct child *c, const struct queue_entry *e)
{
    struct change_event ev;
    struct hl_err err;

    switch (event_decode(e->job, e->len, &ev, &err)) {
    case HL_OK: break;
    case HL_LOST: /* stays pending; it goes back to the stream when we leave */
        log_warn("job_of_newer_version", LOG_S("entry", e->entry), LOG_S("error", err.msg));
        return;
    case HL_RETRY:
    case HL_UNSURE:
    case HL_FATAL:
        log_error("job_quarantined", LOG_S("entry", e->entry), LOG_S("error", err.msg));
        queue_quarantine(c->wires.queue, NULL, e->entry, e->job, e->len, err.msg, NULL, NULL);
        return;
    }
    /* The read was under way when our lease was lost. Others may have theirs; and what is in flight
     * here is letting go, so that this may be the very entry by which it did. */
    if (!c->working) {
        hand_back(c, &ev);
        return;
    }
    struct job *same = inflight_find(&c->flight, &ev.id);
    if (same) { /* read again after a reconnect; a second entry is looked at when the first job ends */
        job_link(same)->again |= strcmp(job_entry(same), e->entry) != 0;
        event_release(&ev);
        return;
    }
    if (!takes_work(c)) { /* the read was under way when the signal came */
        hand_back(c, &ev);
        return;
    }
    if (!c->flight.room) { /* the rest comes later */
        c->read_own = true;
        event_release(&ev);
        return;
    }
    inflight_add(&c->flight, job_start(&c->env, &ev, e->entry));
}

static void read_done(
    const struct queue_entry *entries, size_t n, enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    struct child *c = ctx;
    c->reading = false;
    if (c->own_after[0]) /* the next page, or the end of our own entries */
        snprintf(c->own_after, sizeof(c->own_after), "%s", n ? entries[n - 1].entry : "");
    /* A claim by row under way may bring the same events. Ours by now, these entries are looked at
     * again when it is known which. */
    bool wait = byrow_asking(c->byrow) && n > 0;
    c->read_own |= wait;
    for (size_t i = 0; i < n; i++)
        if (entries[i].job && !wait)
            start_job(c, &entries[i]);
    if (c->leaving)
        return;
    if (rc == HL_OK) {
        byrow_works(c->byrow, BYROW_READS);
        letters_send(c->letters);
    }
    if (wait) {
        c->own_after[0] = '\0';
        return;
    }
    if (rc != HL_OK) {
        log_warn("queue_read_failed", LOG_S("error", err->msg));
        byrow_trouble(c->byrow, BYROW_READS);
        c->read_own = true; /* an answer may have been lost on its way */
        c->own_after[0] = '\0';
        timer_start(&c->read_retry, READ_RETRY_MS);
        return;
    }
    read_more(c);
}

/* Full processes read again when an eighth is free, not for each single job. */
static bool room_enough(const struct child *c)
{
    int64_t room = c->flight.room;
    return room > 0 && room >= c->cfg->concurrency / 8;
}

static void read_more(void *ctx)
{
    struct child *c = ctx;
    int64_t room = c->flight.room;

    if (c->reading || !takes_work(c) || c->refused || !redis_up(c->reader) || !room_enough(c))
        return;
    if (!may_work(c)) { /* between two renewals, or lost: then `granted` starts us again */
        timer_start(&c->read_retry, READ_RETRY_MS);
        return;
    }
    if (c->read_own && !c->own_after[0])
        snprintf(c->own_after, sizeof(c->own_after), "0");
    bool own = c->own_after[0] != '\0';
    if (!own)
        room = breaker_room(c->breaker, c->upstream, room);
    if (!own && !room) { /* what waits in the stream costs nothing */
        timer_start(&c->read_retry, READ_RETRY_MS);
        return;
    }
    c->read_own = c->read_own && !own;
    c->reading = true;
    byrow_expect(c->byrow, READ_BLOCK_MS);
    queue_read(c->wires.queue, c->reader, own ? c->own_after : NULL,
        (int)(own || room > READ_COUNT ? READ_COUNT : room), READ_BLOCK_MS, read_done, c);
}

/* Redis that may evict our keys is no queue: refuse to read from it, and say what to change. */
static bool evicts(struct child *c)
{
    const struct redis_info *info = redis_info(c->reader);
    bool bad = info->maxmemory > 0 && strcmp(info->maxmemory_policy, "noeviction") != 0;
    if (bad && !c->said_evicting)
        log_error("redis_evicts", LOG_S("maxmemory_policy", info->maxmemory_policy),
            LOG_S("remedy", "set maxmemory-policy noeviction: an evicted job is a lost job"));
    if (!bad && !c->said_evicting && !info->aof_enabled)
        log_warn("redis_not_durable", LOG_S("remedy", "set appendonly yes"));
    c->said_evicting = true;
    return bad;
}

/* The policy is known from the handshake only, so it takes another one to see that it was mended. */
static void check_policy(void *ctx)
{
    struct child *c = ctx;
    redis_reset(c->reader);
}

static void reader_state(struct redis *r, bool up, void *ctx)
{
    struct child *c = ctx;
    (void)r;
    c->refused = up && evicts(c);
    if (c->refused)
        timer_start(&c->policy_check, POLICY_CHECK_MS);
    if (c->refused || !up) {
        byrow_trouble(c->byrow, BYROW_READS);
        return;
    }
    c->read_own = true;
    letters_send(c->letters);
    loop_defer(c->wires.loop, &c->kick, read_more, c);
}

/* --- without Redis ----------------------------------------------------------------------- */

static int64_t room_by_row(void *ctx)
{
    struct child *c = ctx;
    if (!takes_work(c) || !may_work(c) || !room_enough(c))
        return 0;
    return breaker_room(c->breaker, c->upstream, c->flight.room);
}

static void claimed_by_row(
    struct change_event *ev, int64_t epoch, int64_t attempts, int64_t waited_ms, void *ctx)
{
    struct child *c = ctx;
    struct job *same = inflight_find(&c->flight, &ev->id);
    /* Being claimed through its entry: that one finds the row to be ours. One that has only to tell
     * Redis is of the past. The stray rule of the lease covers what we have no room for. */
    if ((same && job_state(same) != JOB_SETTLE) || !c->flight.room) {
        event_release(ev);
        return;
    }
    struct job *j = job_start_claimed(&c->env, ev, epoch, attempts, waited_ms);
    inflight_add(&c->flight, j);
    if (c->draining) /* asked for before the signal came */
        job_abort(j);
}

static void claim_answered(void *ctx)
{
    struct child *c = ctx;
    leave_if_idle(c);
    if (!c->leaving)
        loop_defer(c->wires.loop, &c->kick, read_more, c);
}

static void alive_told(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    struct child *c = ctx;
    (void)err;
    if (rc == HL_OK)
        byrow_works(c->byrow, BYROW_WRITES);
    else
        byrow_trouble(c->byrow, BYROW_WRITES);
}

static void tell_alive(void *ctx)
{
    struct child *c = ctx;
    queue_alive(c->wires.queue, c->cfg->lease_ms, alive_told, c);
}

/* --- the lease --------------------------------------------------------------------------- */

static const char *held_ids(void *ctx)
{
    struct child *c = ctx;
    tell_alive(c);
    return inflight_ids(&c->flight);
}

static void lease_granted(void *ctx)
{
    struct child *c = ctx;
    if (c->leaving) /* fenced before, and come back too late */
        return;
    c->working = true;
    c->read_own = true; /* what was let go of without a word to Redis */
    prefork_ready(c->slot);
    log_info("working", LOG_S("instance", c->instance), LOG_I("concurrency", c->cfg->concurrency));
    if (!redis_up(c->reader))
        byrow_trouble(c->byrow, BYROW_READS);
    orders_begin(c->orders); /* they start the reading */
}

static void lease_fenced(void *ctx)
{
    struct child *c = ctx;
    c->working = false;
    log_warn("work_dropped", LOG_I("jobs", c->flight.jobs.len));
    inflight_abort(&c->flight);
}

/* Somebody judged us dead: everything we hold belongs to others now. The supervisor starts a
 * process with a new name in our place. */
static void lease_dead(void *ctx)
{
    struct child *c = ctx;
    if (c->leaving) /* resigned */
        return;
    c->working = false;
    log_error("declared_dead", LOG_S("instance", c->instance), LOG_I("jobs", c->flight.jobs.len));
    c->exit_code = PREFORK_AGAIN;
    loop_stop(c->wires.loop);
}

static void lease_freed(const struct change_event *ev, void *ctx)
{
    struct child *c = ctx;
    struct change_event copy;
    char id[UUID_STRLEN + 1];

    uuid_format(&ev->id, id);
    log_warn("claim_returned", LOG_S("event_id", id));
    event_copy(&copy, ev);
    hand_back(c, &copy);
}

/* --- the end ----------------------------------------------------------------------------- */

static void give_up_leaving(void *ctx)
{
    struct child *c = ctx;
    log_warn("left_hurriedly", LOG_I("jobs", c->flight.jobs.len));
    c->exit_code = EXIT_FAILURE; /* the supervisor declares us dead; nothing waits for a lease */
    loop_stop(c->wires.loop);
}

static void leave(void *ctx)
{
    struct child *c = ctx;
    loop_stop(c->wires.loop);
}

static void measured(void *ctx)
{
    struct child *c = ctx;
    spans_drain(c->wires.spans, LAST_SPANS_MS, leave, c);
}

static void sampled(void *ctx)
{
    struct child *c = ctx;
    metrics_drain(c->wires.metrics, LAST_METRICS_MS, measured, c);
}

static void resigned(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct child *c = ctx;
    (void)rows;
    (void)err;
    c->exit_code = rc == HL_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    sampler_leave(c->sampler, LAST_SAMPLE_MS, sampled, c);
}

static void entries_left(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct child *c = ctx;
    if (moved)
        log_info("entries_handed_back", LOG_I("entries", moved));
    if (rc == HL_OK && left)
        queue_takeover(c->wires.queue, c->instance, false, READ_COUNT, entries_left, c);
    else
        store_resign(c->lease_store, resigned, c);
}

static void crawls_left(void *ctx)
{
    struct child *c = ctx;
    queue_takeover(c->wires.queue, c->instance, false, READ_COUNT, entries_left, c);
}

/* Nothing in flight any more: dead letters that Redis has not taken yet get a last chance, entries
 * read but never started go back, then our name. */
static void leave_if_idle(struct child *c)
{
    if (!c->draining || c->leaving || c->flight.jobs.len || byrow_asking(c->byrow) ||
        !crawls_idle(c->crawls))
        return;
    c->leaving = true;
    if (!timer_running(&c->leave_limit))
        timer_start(&c->leave_limit, LEAVE_MS);
    timer_stop(&c->read_retry);
    timer_stop(&c->policy_check);
    redis_free(c->reader);
    c->reader = NULL;
    letters_send(c->letters);
    crawls_leave(c->crawls, crawls_left, c);
}

static void idle_now(void *ctx)
{
    leave_if_idle(ctx);
}

static void drain_timed_out(void *ctx)
{
    struct child *c = ctx;
    log_warn("drain_timed_out", LOG_I("jobs", c->flight.jobs.len));
    timer_start(&c->leave_limit, LEAVE_MS);
    inflight_abort(&c->flight);
    crawls_abort(c->crawls);
    loop_defer(c->wires.loop, &c->idle, idle_now, c);
}

/* Give back now what runs. */
static void on_hurry(void *ctx)
{
    struct child *c = ctx;
    if (c->draining && !c->leaving)
        drain_timed_out(c);
}

/* Finish what runs, until the drain deadline. */
static void on_term(void *ctx)
{
    struct child *c = ctx;
    if (c->draining)
        return;
    c->draining = true;
    log_info("draining", LOG_I("jobs", c->flight.jobs.len));
    timer_start(&c->drain_limit, c->cfg->drain_timeout_ms);
    loop_defer(c->wires.loop, &c->idle, idle_now, c);
}

/* --- while it works ---------------------------------------------------------------------- */

static void on_quiet(void *ctx)
{
    struct child *c = ctx;
    log_info("quiet", LOG_I("jobs", c->flight.jobs.len));
}

static struct vitals vitals_of(const struct child *c)
{
    return (struct vitals){.instance = c->instance,
        .jobs = &c->flight.jobs,
        .jobs_done = c->jobs_done,
        .crawls = (int64_t)crawls_jobs(c->crawls),
        .restarts = c->slot->crashes,
        .connections = connections(c->cfg),
        .working = c->working,
        .quiet = prefork_quiet(c->slot) || orders_quiet(c->orders),
        .draining = c->draining,
        .lease = c->lease,
        .store = c->wires.store,
        .queue = c->wires.queue,
        .metrics = c->wires.metrics,
        .pool = c->wires.pool,
        .lease_pool = c->lease_pool};
}

static void on_state(void *ctx)
{
    const struct child *c = ctx;
    const struct vitals v = vitals_of(c);
    vitals_log(&v);
    crawls_log(c->crawls);
}

/* --- orders ------------------------------------------------------------------------------ */

static void tell_vitals(struct buf *json, void *ctx)
{
    const struct vitals v = vitals_of(ctx);
    vitals_put(&v, json);
}

static bool claiming(void *ctx)
{
    const struct child *c = ctx;
    LIST_EACH(&c->flight.jobs, n)
    {
        if (job_state(job_of(LIST_OF(n, struct job_link, all))) == JOB_CLAIM)
            return true;
    }
    return byrow_asking(c->byrow);
}

/* We work on until our successor is ready. */
static void retire(struct child *c)
{
    c->worn = true;
    prefork_retire(c->slot);
}

static void orders_changed(void *ctx)
{
    struct child *c = ctx;
    if (orders_kicked(c->orders) && !c->worn && !c->draining)
        retire(c);
    loop_defer(c->wires.loop, &c->kick, read_more, c);
    crawls_read(c->crawls);
}

/* After so many jobs, or with so much memory, another process does better. */
static void retire_when_worn(struct child *c)
{
    const struct config *cfg = c->cfg;
    int64_t rss = cfg->max_rss ? pulse_rss() : 0;
    bool worn = (cfg->max_jobs && c->jobs_done >= cfg->max_jobs) || rss > cfg->max_rss;

    if (!worn || c->worn || c->draining)
        return;
    log_info("process_worn", LOG_I("jobs_done", c->jobs_done), LOG_I("rss_bytes", rss));
    retire(c);
}

/* --- building ---------------------------------------------------------------------------- */

static void show(const struct child *c)
{
    const struct vitals v = vitals_of(c);
    vitals_show(&v);
    breaker_show(c->breaker);
}

static void heartbeat(void *ctx)
{
    struct child *c = ctx;
    if (!prefork_beat(c->slot) && !c->draining)
        on_term(c); /* the supervisor is gone and its death signal was missed */
    retire_when_worn(c);
    log_tick();
    show(c);
    pulse_beat(&c->pulse, HEARTBEAT_MS);
    timer_start(&c->heartbeat, HEARTBEAT_MS);
}

/* The safety net below every way in which an entry of ours could be forgotten. */
static void check_own(void *ctx)
{
    struct child *c = ctx;
    c->read_own = true;
    timer_start(&c->own_check, OWN_CHECK_MS);
}

static void start_lease(void *ctx)
{
    struct child *c = ctx;
    const struct lease_conf conf = {.lease_ms = c->cfg->lease_ms,
        .held = held_ids,
        .granted = lease_granted,
        .fenced = lease_fenced,
        .dead = lease_dead,
        .freed = lease_freed,
        .ctx = c};
    c->lease = lease_new(c->wires.loop, c->lease_store, &conf);
    sampler_start(c->sampler);
}

static int64_t in_flight(void *ctx)
{
    const struct child *c = ctx;
    return (int64_t)(c->flight.jobs.len + crawls_jobs(c->crawls));
}

static bool takes_crawls(void *ctx)
{
    return takes(ctx, ORDERS_CRAWL);
}

static bool build_crawls(struct child *c, struct hl_err *err)
{
    c->crawls = crawls_new(&(struct crawls_conf){.wires = &c->wires,
                               .cfg = c->cfg,
                               .instance = c->instance,
                               .may_work = may_work,
                               .takes_work = takes_crawls,
                               .idle = idle_now,
                               .ctx = c},
        err);
    return c->crawls != NULL;
}

static bool build(struct child *c, struct hl_err *err)
{
    const struct config *cfg = c->cfg;

    if (!wires_open(&c->wires, cfg, c->instance, true, connections(cfg), err) ||
        !wires_open_spans(&c->wires, cfg, c->instance, err))
        return false;
    c->lease_pool = wires_pool(&c->wires, cfg, c->instance, POOL_LEASE, 1, err);
    c->reader = c->lease_pool ? wires_redis(&c->wires, cfg, c->instance, err) : NULL;
    c->scraper = c->reader ? scraper_new(c->wires.loop, cfg, err) : NULL;
    if (!c->scraper || !build_crawls(c, err))
        return false;
    c->lease_store = store_new(c->wires.loop, c->lease_pool, c->instance, 0);
    c->breaker = breaker_new(c->wires.loop, cfg, c->wires.store);
    c->upstream = scrape_upstream(cfg, NULL);
    c->letters = letters_new(c->wires.queue);
    c->sampler = sampler_new(&(struct sampler_conf){
        .loop = c->wires.loop, .store = c->wires.store, .in_flight = in_flight, .ctx = c});
    scraper_guard(c->scraper, job_may_ask);
    c->env = (struct job_env){.loop = c->wires.loop,
        .instance = c->instance,
        .cfg = cfg,
        .store = c->wires.store,
        .queue = c->wires.queue,
        .scraper = c->scraper,
        .breaker = c->breaker,
        .metrics = c->wires.metrics,
        .spans = c->wires.spans,
        .sampler = c->sampler,
        .may_work = may_work,
        .moved = job_moved,
        .done = job_done,
        .unburied = keep_letter,
        .ctx = c};
    c->orders = orders_new(&(struct orders_conf){.loop = c->wires.loop,
        .store = c->wires.store,
        .instance = c->instance,
        .tell = tell_vitals,
        .claiming = claiming,
        .changed = orders_changed,
        .ctx = c});
    c->byrow = byrow_new(&(struct byrow_conf){.loop = c->wires.loop,
        .store = c->wires.store,
        .room = room_by_row,
        .claimed = claimed_by_row,
        .idle = claim_answered,
        .probe = tell_alive,
        .ctx = c});
    redis_on_state(c->reader, reader_state, c);
    sigwatch_start(c->wires.loop, &c->term, SIGTERM, on_term, c);
    sigwatch_start(c->wires.loop, &c->hurry, PREFORK_HURRY, on_hurry, c);
    sigwatch_start(c->wires.loop, &c->quiet, PREFORK_QUIET, on_quiet, c);
    sigwatch_start(c->wires.loop, &c->state, PREFORK_STATE, on_state, c);
    timer_init(c->wires.loop, &c->heartbeat, heartbeat, c);
    timer_init(c->wires.loop, &c->read_retry, read_more, c);
    timer_init(c->wires.loop, &c->policy_check, check_policy, c);
    timer_init(c->wires.loop, &c->own_check, check_own, c);
    timer_start(&c->own_check, OWN_CHECK_MS);
    timer_init(c->wires.loop, &c->drain_limit, drain_timed_out, c);
    timer_init(c->wires.loop, &c->leave_limit, give_up_leaving, c);
    return true;
}

/* Only on the way out with nothing in flight; otherwise the kernel takes everything back. */
static void tear_down(struct child *c)
{
    c->leaving = true; /* whatever is answered from here on leads nowhere */
    timer_stop(&c->heartbeat);
    timer_stop(&c->read_retry);
    timer_stop(&c->policy_check);
    timer_stop(&c->own_check);
    timer_stop(&c->drain_limit);
    timer_stop(&c->leave_limit);
    breaker_stop(c->breaker);
    orders_stop(c->orders);
    sampler_stop(c->sampler);
    schema_wait_stop(&c->schema);
    sigwatch_stop(&c->term);
    sigwatch_stop(&c->hurry);
    sigwatch_stop(&c->quiet);
    sigwatch_stop(&c->state);
    loop_defer_cancel(c->wires.loop, &c->kick);
    loop_defer_cancel(c->wires.loop, &c->idle);
    crawls_free(c->crawls);
    redis_free(c->wires.redis); /* may still ask to resign */
    c->wires.redis = NULL;
    dbpool_free(c->lease_pool);
    lease_free(c->lease);
    store_free(c->lease_store);
    redis_free(c->reader);
    scraper_free(c->scraper);
    dbpool_free(c->wires.pool); /* answers a claim by row */
    c->wires.pool = NULL;
    loop_defer_cancel(c->wires.loop, &c->kick);
    byrow_free(c->byrow);
    orders_free(c->orders);
    sampler_free(c->sampler);
    inflight_release(&c->flight);
    wires_close(&c->wires);
    breaker_free(c->breaker);
    free(c->upstream);
}

int child_run(struct prefork_slot *slot, const struct config *cfg)
{
    static struct child c; /* static: what is in flight at the end is no leak */
    struct hl_err err = {0};

    c.cfg = cfg;
    c.slot = slot;
    c.exit_code = EXIT_FAILURE;
    inflight_init(&c.flight, (struct held *)(void *)slot->extra, (int)cfg->concurrency);
    wires_name(c.instance, sizeof(c.instance));
    snprintf(c.slot->instance, sizeof(c.slot->instance), "%s", c.instance);
    if (!build(&c, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_CONFIG;
    }
    heartbeat(&c);
    schema_wait_start(
        c.wires.loop, &c.schema, c.wires.store, "run `hooklinectl migrate`", start_lease, &c);
    loop_run(c.wires.loop);
    /* Their thread may be at work with what exit() takes apart (OpenSSL's tables): it would look as if
     * a job had crashed us. */
    if (!crawls_settled(c.crawls)) {
        log_flush();
        _exit(c.exit_code);
    }
    if (!c.flight.jobs.len)
        tear_down(&c);
    letters_free(c.letters);
    return c.exit_code;
}
