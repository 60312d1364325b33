/* redrives: see redrives.h. Owns the runs. A run is a chain of callbacks: each question to PostgreSQL, each
 * batch of jobs to Redis, or a pause leads to the next step, and there is never more than one of them. */
#include "producer/redrives.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "domain/letter_sweep.h"
#include "domain/store_operator.h"
#include "producer/publish.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLAN_MS = 600000, /* a plan that takes longer is forgotten */
    AGAIN_MS = 1000,  /* after a question that was not answered, */
    TRIES = 30,       /* so often in a row */
};

struct redrives {
    struct stores *stores;
    struct list runs;
    bool draining;
};

struct run {
    struct list_node node;
    struct redrives *owner;
    char token[REDRIVE_TOKEN_LEN + 1];
    int64_t log_id;
    struct timer timer;
    const char *outcome; /* for the log */
    struct hl_err err;

    /* planning */
    struct failed_filter filter; /* its texts are ours, its times: */
    int64_t since, until;
    int64_t started_ms, after, n;
    enum planned how;
    redrives_planned_cb *cb; /* NULL: nobody waits */
    void *ctx;

    /* applying */
    struct redrive_walk walk;
    struct letter_sweep letters; /* of what is put back */
    int max, got;                /* of the batch under way */
    int pending;                 /* jobs on their way to Redis, and one for us */
    int failures;                /* in a row */
    bool crowded;                /* many letters wait to be swept */
};

static struct run *run_at(struct list_node *n)
{
    return (struct run *)((char *)n - offsetof(struct run, node));
}

static struct store *store_of(const struct run *run)
{
    return run->owner->stores->reads;
}

/* --- a run, from its beginning to its end ------------------------------------------------ */

static struct run *run_new(
    struct redrives *r, const char *token, int64_t log_id, void (*step)(void *ctx))
{
    struct run *run = mem_new(struct run);
    run->owner = r;
    run->log_id = log_id;
    run->started_ms = clock_mono_ms();
    snprintf(run->token, sizeof(run->token), "%s", token);
    timer_init(r->stores->loop, &run->timer, step, run);
    list_push(&r->runs, &run->node);
    stores_intake_begins(r->stores);
    return run;
}

static void run_free(struct run *run)
{
    struct stores *s = run->owner->stores;
    timer_stop(&run->timer);
    letter_sweep_release(&run->letters);
    list_remove(&run->owner->runs, &run->node);
    free((char *)run->filter.url);
    free((char *)run->filter.watch);
    free((char *)run->filter.error);
    free(run);
    stores_intake_ends(s);
}

static void log_ended(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    (void)rows;
    if (rc != HL_OK)
        log_warn("operator_log_behind", LOG_I("id", run->log_id), LOG_S("error", err->msg));
    if (run->cb)
        run->cb(run->how, run->how == PLANNED_FAILED ? &run->err : NULL, run->ctx);
    run_free(run);
}

static void end_log(struct run *run, int64_t affected)
{
    log_info("redrive_ended", LOG_S("token", run->token), LOG_S("outcome", run->outcome),
        LOG_I("events", affected));
    store_operator_end(store_of(run), run->log_id, affected, run->outcome, log_ended, run);
}

/* --- planning ---------------------------------------------------------------------------- */

static void dropped(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    (void)rows;
    if (rc != HL_OK) /* it says 'planning' for ever, and cannot be applied */
        log_warn("redrive_not_forgotten", LOG_S("token", run->token), LOG_S("error", err->msg));
    end_log(run, 0);
}

static void forget_plan(struct run *run, enum planned how, const char *outcome)
{
    run->how = how;
    run->outcome = outcome;
    store_redrive_drop(store_of(run), run->token, dropped, run);
}

static void fail_plan(struct run *run, const struct hl_err *err)
{
    run->err = *err;
    forget_plan(run, PLANNED_FAILED, "broken off");
}

static void plan_made(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    (void)rows;
    if (rc != HL_OK) {
        fail_plan(run, err);
        return;
    }
    run->how = PLANNED_DONE;
    run->outcome = "done";
    end_log(run, run->n);
}

static void page_added(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    if (rc != HL_OK) {
        fail_plan(run, err);
        return;
    }
    bool end = PQgetisnull(rows, 0, 0);
    if (!end) {
        run->after = db_int(rows, 0, 0);
        run->n += db_int(rows, 0, 1);
    }
    if (!end && run->n < REDRIVE_EVENTS)
        timer_start(&run->timer, 0);
    else if (run->n)
        store_redrive_planned(store_of(run), run->token, run->n, plan_made, run);
    else
        forget_plan(run, PLANNED_NOTHING, "nothing was meant");
}

static void plan_step(void *ctx)
{
    struct run *run = ctx;
    if (run->owner->draining)
        forget_plan(run, PLANNED_INTERRUPTED, "interrupted");
    else if (clock_mono_ms() - run->started_ms > PLAN_MS)
        forget_plan(run, PLANNED_INTERRUPTED, "took too long");
    else
        store_redrive_add(store_of(run), run->token, &run->filter, run->after, run->n,
            (int)(REDRIVE_EVENTS - run->n), page_added, run);
}

static void plan_begun(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    (void)rows;
    if (rc != HL_OK)
        fail_plan(ctx, err);
    else
        plan_step(ctx);
}

static char *copy(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

void redrives_plan(struct redrives *r, const struct redrive *plan, const struct failed_filter *f,
    int64_t log_id, redrives_planned_cb *cb, void *ctx)
{
    struct run *run = run_new(r, plan->token, log_id, plan_step);
    run->since = f->since ? *f->since : 0;
    run->until = f->until ? *f->until : 0;
    run->filter = (struct failed_filter){.url = copy(f->url),
        .watch = copy(f->watch),
        .since = f->since ? &run->since : NULL,
        .until = f->until ? &run->until : NULL,
        .error = copy(f->error)};
    run->cb = cb;
    run->ctx = ctx;
    store_redrive_begin(store_of(run), plan, plan_begun, run);
}

void redrives_leave(struct redrives *r, const char *token)
{
    LIST_EACH(&r->runs, n)
    if (strcmp(run_at(n)->token, token) == 0)
        run_at(n)->cb = NULL;
}

/* --- applying ---------------------------------------------------------------------------- */

static void let_go(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    (void)rows;
    if (rc != HL_OK)
        log_warn("redrive_still_applying", LOG_S("token", run->token), LOG_S("error", err->msg));
    end_log(run, run->walk.queued);
}

/* What is not done by now is left to whoever applies it next. Where others are at the rest of it, or
 * somebody has stopped it, the state is theirs. */
static void concluded(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    bool stopped = strcmp(run->outcome, "stopped") == 0;
    bool done = strcmp(run->outcome, "done") == 0;
    if (rc == HL_OK && (stopped || done || PQntuples(rows)))
        let_go(rc, rows, err, run);
    else
        store_redrive_state(store_of(run), run->token, "stopped", let_go, run);
}

static void conclude(void *ctx)
{
    struct run *run = ctx;
    store_redrive_state(store_of(run), run->token, "done", concluded, run);
}

/* Who is in a hurry leaves the letters. */
static void end_apply(struct run *run, const char *outcome)
{
    run->outcome = outcome;
    if (run->owner->draining || !letter_sweep_walk(&run->letters, conclude, run))
        conclude(run);
}

static void batch_over(void *ctx)
{
    struct run *run = ctx;
    bool all = run->got == run->max;
    if (run->max && !run->got && redrive_walk_over(&run->walk))
        end_apply(run, "done");
    else
        timer_start(
            &run->timer, all && !run->owner->draining ? redrive_walk_wait_ms(&run->walk) : 0);
}

static void job_told(void *ctx)
{
    struct run *run = ctx;
    if (--run->pending)
        return;
    bool sweeps = run->crowded && letter_sweep_walk(&run->letters, batch_over, run);
    run->crowded = false;
    if (!sweeps)
        batch_over(run);
}

static void tell_redis(struct run *run, const PGresult *rows)
{
    run->pending = 1;
    for (int row = 0; row < PQntuples(rows); row++) {
        if (PQgetisnull(rows, row, AGAIN_ROW_ID))
            continue;
        run->crowded |= letter_sweep_note(&run->letters, db_text(rows, row, 0));
        run->pending += publish_row(run->owner->stores, rows, row, job_told, run);
    }
    job_told(run);
}

/* A batch of which it is not known whether it happened may be asked for again: the plan knows. */
static void batch_failed(struct run *run, const struct hl_err *err)
{
    log_warn("redrive_waits", LOG_S("token", run->token), LOG_S("error", err->msg));
    if (++run->failures == TRIES)
        end_apply(run, "broken off");
    else
        timer_start(&run->timer, AGAIN_MS);
}

static void batch_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct run *run = ctx;
    if (rc != HL_OK) {
        batch_failed(run, err);
        return;
    }
    run->failures = 0;
    if (PQgetisnull(rows, 0, AGAIN_STATE)) {
        end_apply(run, "stopped");
        return;
    }
    run->got = redrive_walk_take(&run->walk, rows);
    tell_redis(run, rows);
}

static void apply_step(void *ctx)
{
    struct run *run = ctx;
    if (run->owner->draining) {
        end_apply(run, "interrupted");
        return;
    }
    run->max = redrive_walk_allowed(&run->walk, clock_mono_ms());
    store_redrive_apply(store_of(run), run->token, run->walk.after, run->max, 0, batch_read, run);
}

void redrives_apply(struct redrives *r, const char *token, double per_second, int64_t log_id)
{
    struct run *run = run_new(r, token, log_id, apply_step);
    redrive_walk_begin(&run->walk, per_second, clock_mono_ms());
    letter_sweep_begin(&run->letters, r->stores->queue, apply_step, run);
}

/* --- all of them ------------------------------------------------------------------------- */

struct redrives *redrives_new(struct stores *s)
{
    struct redrives *r = mem_new(struct redrives);
    r->stores = s;
    list_init(&r->runs);
    return r;
}

bool redrives_free_place(const struct redrives *r)
{
    return !r->draining && r->runs.len < REDRIVES_AT_ONCE;
}

/* A pause is over at once; whatever else is under way leads to the next step by itself. */
void redrives_drain(struct redrives *r)
{
    r->draining = true;
    LIST_EACH(&r->runs, n)
    if (timer_running(&run_at(n)->timer))
        timer_start(&run_at(n)->timer, 0);
}

void redrives_free(struct redrives *r)
{
    free(r);
}
