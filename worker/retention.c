/* retention: see retention.h. A pass is a row of tasks, a task a row of steps: one statement each,
 * whose answer tells whether the task goes on. Before each step the pass is held again: whoever was
 * taken for dead meanwhile goes no further. */
#include "worker/retention.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "domain/store_crawl.h"
#include "domain/store_samples.h"

#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

enum {
    LEASE_MS = 5 * 60 * 1000,    /* longer than any step may take */
    ASK_MAX_MS = 10 * 60 * 1000, /* whether it is time for a pass */
    ASKS = 6,                    /* in an interval, at least */
    STEP_ROWS = 1000,
    STEP_CRAWLS = 10, /* each has many rows */
    PAUSE_MS = 100,   /* after a step: others want the disk, too */
};

struct retention {
    const struct config *cfg;
    struct store *store;
    char holder[UUID_STRLEN + 1]; /* who we are to the others */
    struct timer next;            /* of a step or a pass */
    bool running, held;
    size_t task;
    int64_t deleted;      /* by the task */
    int64_t event_after;  /* where the events' task is */
    char *document_after; /* the same of documents, hex */
};

struct task {
    const char *name;
    int64_t (*days)(const struct config *cfg);
    bool by_all; /* cares itself that one is at it; runs with 0 days as well */
    void (*step)(struct retention *r, int64_t days);
    /* Whether there may be more. */
    bool (*more)(struct retention *r, const PGresult *rows);
};

/* --- tasks ------------------------------------------------------------------------------- */

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx);

static int64_t metrics_days(const struct config *cfg)
{
    return cfg->retention_days;
}

static int64_t event_days(const struct config *cfg)
{
    return cfg->event_retention_days;
}

static int64_t document_days(const struct config *cfg)
{
    return cfg->document_retention_days;
}

static int64_t crawl_days(const struct config *cfg)
{
    return cfg->crawl_retention_days;
}

static int64_t sample_days(const struct config *cfg)
{
    (void)cfg;
    return SAMPLES_DAYS;
}

static void partitions(struct retention *r, int64_t days)
{
    store_partitions(r->store, days, answered, r);
}

static bool partitions_done(struct retention *r, const PGresult *rows)
{
    (void)r;
    if (db_int(rows, 0, 0) || db_int(rows, 0, 1))
        log_info("metrics_partitions", LOG_I("made", db_int(rows, 0, 0)),
            LOG_I("dropped", db_int(rows, 0, 1)));
    return false;
}

static void prune_requests(struct retention *r, int64_t days)
{
    store_prune_metrics(r->store, METRICS_REQUESTS, days, STEP_ROWS, answered, r);
}

static void prune_operations(struct retention *r, int64_t days)
{
    store_prune_metrics(r->store, METRICS_OPERATIONS, days, STEP_ROWS, answered, r);
}

static bool full_step(struct retention *r, const PGresult *rows)
{
    r->deleted += db_int(rows, 0, 0);
    return db_int(rows, 0, 0) == STEP_ROWS;
}

static void prune_crashes(struct retention *r, int64_t days)
{
    store_prune_crashes(r->store, days, STEP_ROWS, answered, r);
}

static void prune_samples(struct retention *r, int64_t days)
{
    (void)days;
    store_prune_samples(r->store, STEP_ROWS, answered, r);
}

static void prune_tallies(struct retention *r, int64_t days)
{
    (void)days;
    store_prune_tallies(r->store, STEP_ROWS, answered, r);
}

static void prune_crawls(struct retention *r, int64_t days)
{
    store_prune_crawls(r->store, days, STEP_CRAWLS, answered, r);
}

static bool some(struct retention *r, const PGresult *rows)
{
    r->deleted += db_int(rows, 0, 0);
    return db_int(rows, 0, 0) > 0;
}

static void prune_events(struct retention *r, int64_t days)
{
    store_prune_events(r->store, days, r->event_after, STEP_ROWS, answered, r);
}

static bool more_events(struct retention *r, const PGresult *rows)
{
    bool younger = db_text(rows, 0, 2)[0] == 't';
    r->deleted += db_int(rows, 0, 0);
    r->event_after = younger ? 0 : db_int(rows, 0, 1);
    return r->event_after > 0;
}

static void prune_documents(struct retention *r, int64_t days)
{
    const char *after = r->document_after ? r->document_after : "";
    store_prune_documents(r->store, days, after, STEP_ROWS, answered, r);
}

static bool more_documents(struct retention *r, const PGresult *rows)
{
    r->deleted += db_int(rows, 0, 0);
    free(r->document_after);
    r->document_after = *db_text(rows, 0, 1) ? mem_strdup(db_text(rows, 0, 1)) : NULL;
    return r->document_after != NULL;
}

/* clang-format off */
static const struct task tasks[] = {
    {"partitions", metrics_days, true, partitions, partitions_done},
    {"request_metrics", metrics_days, false, prune_requests, full_step},
    {"operation_metrics", metrics_days, false, prune_operations, full_step},
    {"worker_crashes", metrics_days, false, prune_crashes, full_step},
    {"samples", sample_days, false, prune_samples, full_step},
    {"tallies", sample_days, false, prune_tallies, full_step},
    {"crawl_sessions", crawl_days, false, prune_crawls, some},
    {"change_events", event_days, false, prune_events, more_events},
    {"documents", document_days, false, prune_documents, more_documents},
};
/* clang-format on */
enum { NTASKS = sizeof(tasks) / sizeof(*tasks) };

/* --- a pass ------------------------------------------------------------------------------ */

static void end_task(struct retention *r)
{
    if (r->deleted)
        log_info("retention", LOG_S("table", tasks[r->task].name), LOG_I("deleted", r->deleted));
    r->deleted = 0;
    r->task++;
}

/* The others' clocks and ours drift apart, so that they seldom ask together. */
static void end_pass(struct retention *r)
{
    int64_t ask = MIN(r->cfg->retention_every_ms / ASKS, ASK_MAX_MS);
    r->held = false;
    r->task = 0;
    r->deleted = 0;
    r->event_after = 0;
    free(r->document_after);
    r->document_after = NULL;
    timer_start(&r->next, ask - (int64_t)arc4random_uniform((uint32_t)ask / 10));
}

static void done(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct retention *r = ctx;
    (void)rows;
    if (!r->running)
        return;
    if (rc != HL_OK)
        log_warn("retention_failed", LOG_S("table", "duties"), LOG_S("error", err->msg));
    end_pass(r);
}

/* Who failed comes back after the interval, as does everybody: the next one would fail as well. */
static void give_up(struct retention *r, const char *what, const struct hl_err *err)
{
    log_warn("retention_failed", LOG_S("table", what), LOG_S("error", err->msg));
    if (r->held)
        store_retention_done(r->store, r->holder, done, r);
    else
        end_pass(r);
}

static void held(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct retention *r = ctx;
    if (!r->running)
        return;
    if (rc != HL_OK) {
        r->held = false; /* nobody knows; the lease ends by itself */
        give_up(r, "duties", err);
        return;
    }
    bool before = r->held;
    r->held = PQntuples(rows) == 1;
    if (r->held) {
        const struct task *t = &tasks[r->task];
        t->step(r, t->days(r->cfg));
        return;
    }
    if (before)
        log_warn("retention_taken_over", LOG_S("table", tasks[r->task].name));
    end_pass(r);
}

static void run_step(void *ctx)
{
    struct retention *r = ctx;
    while (r->task < NTASKS && !tasks[r->task].by_all && tasks[r->task].days(r->cfg) <= 0)
        r->task++;
    if (r->task == NTASKS && r->held)
        store_retention_done(r->store, r->holder, done, r);
    else if (r->task == NTASKS)
        end_pass(r);
    else if (tasks[r->task].by_all)
        tasks[r->task].step(r, tasks[r->task].days(r->cfg));
    else
        store_retention_hold(r->store, r->holder, LEASE_MS, r->cfg->retention_every_ms, held, r);
}

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct retention *r = ctx;
    if (!r->running)
        return;
    if (rc != HL_OK) {
        give_up(r, tasks[r->task].name, err);
        return;
    }
    if (!tasks[r->task].more(r, rows))
        end_task(r);
    timer_start(&r->next, PAUSE_MS);
}

/* --- public ------------------------------------------------------------------------------ */

struct retention *retention_new(struct loop *l, const struct config *cfg, struct store *store)
{
    struct retention *r = mem_new(struct retention);
    r->cfg = cfg;
    r->store = store;
    const struct uuid id = uuid_v4();
    uuid_format(&id, r->holder);
    timer_init(l, &r->next, run_step, r);
    return r;
}

void retention_start(struct retention *r)
{
    r->running = true;
    timer_start(&r->next, 0);
}

void retention_stop(struct retention *r)
{
    r->running = false;
    timer_stop(&r->next);
}

void retention_free(struct retention *r)
{
    if (!r)
        return;
    free(r->document_after);
    free(r);
}
