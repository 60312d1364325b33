/* top_look: see top_look.h. */
#include "worker/ctl/top_look.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/store_top.h"
#include "domain/store_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 100, EVENTS_SEARCHED = 500, MIN_SPAN_MS = 100, MAX_CELLS = 16 };

/* clang-format off */
static const struct column queue_columns[] = {
    {NULL, "QUEUE",     COLUMN_TEXT,     0 },
    {NULL, "STATE",     COLUMN_STATE,    0 },
    {NULL, "READY",     COLUMN_INT,      0 },
    {NULL, "PENDING",   COLUMN_INT,      0 },
    {NULL, "LATER",   COLUMN_INT,      0 },
    {NULL, "DEAD",      COLUMN_INT,      0 },
    {NULL, "OLDEST",    COLUMN_DURATION, 0 },
    {NULL, "IN/S",      COLUMN_FLOAT,    0 },
    {NULL, "OUT/S",     COLUMN_FLOAT,    0 },
    {NULL, "PAUSED BY", COLUMN_TEXT,     8 },
};
static const struct column upstream_columns[] = {
    {NULL, "UPSTREAM",   COLUMN_TEXT,     12},
    {NULL, "CIRCUIT",    COLUMN_STATE,    0 },
    {NULL, "FAILURES",   COLUMN_INT,      0 },
    {NULL, "LEFT",       COLUMN_DURATION, 0 },
    {NULL, "TRIED BY",   COLUMN_TEXT,     8 },
    {NULL, "LAST ERROR", COLUMN_TEXT,     16},
};
enum { WORKER_DONE = 12 };
static const struct column worker_columns[] = {
    {NULL, "WORKER", COLUMN_TEXT,     12},
    {NULL, "HOST",   COLUMN_TEXT,     6 },
    {NULL, "PID",    COLUMN_INT,      0 },
    {NULL, "STATE",  COLUMN_STATE,    0 },
    {NULL, "PHASE",  COLUMN_STATE,    0 },
    {NULL, "ORDERS", COLUMN_STATE,    0 },
    {NULL, "JOBS",   COLUMN_INT,      0 },
    {NULL, "CRAWLS", COLUMN_INT,      0 },
    {NULL, "OLDEST", COLUMN_DURATION, 0 },
    {NULL, "POOL",   COLUMN_TEXT,     0 },
    {NULL, "MEMORY", COLUMN_BYTES,    0 },
    {NULL, "DONE/S", COLUMN_FLOAT,    0 },
    {NULL, NULL,     COLUMN_INT,      0 }, /* done, ever: for the next look */
};
static const struct column event_columns[] = {
    {NULL, "ROW",    COLUMN_INT,   0 },
    {NULL, "STATUS", COLUMN_STATE, 11},
    {NULL, "AGE",    COLUMN_AGO,   0 },
    {NULL, "TRIES",  COLUMN_INT,   0 },
    {NULL, "URL",    COLUMN_TEXT,  16},
    {NULL, "ERROR",  COLUMN_TEXT,  16},
};
static const struct column shown_columns[] = {
    {NULL, "event",        COLUMN_TEXT,  0},
    {NULL, "row",          COLUMN_INT,   0},
    {NULL, "status",       COLUMN_STATE, 0},
    {NULL, "URL",          COLUMN_TEXT,  0},
    {NULL, "watch",        COLUMN_TEXT,  0},
    {NULL, "detected",     COLUMN_TIME,  0},
    {NULL, "received",     COLUMN_TIME,  0},
    {NULL, "attempts",     COLUMN_INT,   0},
    {NULL, "next attempt", COLUMN_TIME,  0},
    {NULL, "claimed",      COLUMN_TIME,  0},
    {NULL, "claimed by",   COLUMN_TEXT,  0},
    {NULL, "finished",     COLUMN_TIME,  0},
    {NULL, "error",        COLUMN_TEXT,  0},
};
static const int shown_sources[] = {VIEW_EVENT_ID, VIEW_ID, VIEW_STATUS, VIEW_WATCH_URL,
    VIEW_WATCH_ID, VIEW_DETECTED, VIEW_CREATED, VIEW_ATTEMPTS, VIEW_NEXT_ATTEMPT, VIEW_CLAIMED_AT,
    VIEW_CLAIMED_BY, VIEW_FINISHED, VIEW_ERROR};
static const struct column timeline_columns[] = {
    {NULL, "AT",     COLUMN_TIME,     0 },
    {NULL, "WHAT",   COLUMN_STATE,    0 },
    {NULL, "TOOK",   COLUMN_DURATION, 0 },
    {NULL, "FINE",   COLUMN_BOOL,     0 },
    {NULL, "BY",     COLUMN_TEXT,     8 },
    {NULL, "EPOCH",  COLUMN_INT,      0 },
    {NULL, "DETAIL", COLUMN_TEXT,     10},
};
/* clang-format on */
#define SET(to, of) ((to) = (struct listing){.columns = (of), .n = sizeof(of) / sizeof((of)[0])})

/* A number as text; the struct keeps it. */
struct digits {
    char text[32];
};
static const char *whole(struct digits *d, int64_t n)
{
    snprintf(d->text, sizeof(d->text), "%lld", (long long)n);
    return d->text;
}
static const char *known(struct digits *d, int64_t n)
{
    return n < 0 ? NULL : whole(d, n);
}
static const char *rate(struct digits *d, double n)
{
    snprintf(d->text, sizeof(d->text), n < 9.95 ? "%.1f" : "%.0f", n);
    return n < 0 ? NULL : d->text;
}

static const char *cell(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) ? NULL : PQgetvalue(rows, row, col);
}

/* --- rounds ------------------------------------------------------------------------------ */

static void put_queues(struct top_look *l);
static void begin_round(struct top_look *l, enum top_store store);

static void end_round(struct top_look *l, enum top_store store)
{
    struct top_health *h = &l->stores[store];
    h->err = l->errs[store];
    if (h->err.rc == HL_OK) {
        h->answered = true;
        h->away_us = 0;
    } else if (!h->away_us) {
        h->away_us = clock_wall_us();
    }
    put_queues(l);
    l->changed(l->ctx);
    if (l->again[store])
        begin_round(l, store);
}

/* Every answer ends with it. */
static void answered(struct top_look *l, enum top_store store, const struct hl_err *err)
{
    if (err && l->errs[store].rc == HL_OK)
        l->errs[store] = *err;
    if (--l->asked[store] == 0)
        end_round(l, store);
}

/* --- Redis ------------------------------------------------------------------------------- */

static void got_stats(struct top_look *l, struct top_queue *q, enum hl_rc rc,
    const struct queue_stats *stats, const struct hl_err *err)
{
    if (l->closing)
        return;
    if (rc == HL_OK) {
        q->stats = *stats;
        q->counted = true;
    }
    answered(l, TOP_REDIS, rc == HL_OK ? NULL : err);
}

/* What came and went since the last look; a stream that was emptied from outside starts over. */
static void measure(struct top_queue *q, const struct queue_pulse *now)
{
    int64_t at = clock_mono_ms(), span = at - q->pulse_ms;
    int64_t in = now->added - q->pulse.added;
    int64_t out = in + q->pulse.length - now->length;
    bool comparable = q->pulse_ms && q->pulse.added >= 0 && now->added >= 0 && in >= 0 && out >= 0;
    if (comparable && span < MIN_SPAN_MS)
        return; /* too short to tell: measured from the same beginning next time */
    q->in = comparable ? (double)in * 1000 / (double)span : -1;
    q->out = comparable ? (double)out * 1000 / (double)span : -1;
    q->pulse = *now;
    q->pulse_ms = at;
}

static void got_pulse(struct top_look *l, struct top_queue *q, enum hl_rc rc,
    const struct queue_pulse *pulse, const struct hl_err *err)
{
    if (l->closing)
        return;
    if (rc == HL_OK)
        measure(q, pulse);
    else
        q->in = q->out = -1;
    answered(l, TOP_REDIS, rc == HL_OK ? NULL : err);
}

/* One pair for each queue. */
#define QUEUE_ANSWERS(name, i)                                                                     \
    static void got_stats_##name(                                                                  \
        enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)       \
    {                                                                                              \
        struct top_look *l = ctx;                                                                  \
        got_stats(l, &l->queues[i], rc, stats, err);                                               \
    }                                                                                              \
    static void got_pulse_##name(                                                                  \
        enum hl_rc rc, const struct queue_pulse *pulse, const struct hl_err *err, void *ctx)       \
    {                                                                                              \
        struct top_look *l = ctx;                                                                  \
        got_pulse(l, &l->queues[i], rc, pulse, err);                                               \
    }
QUEUE_ANSWERS(change, 0)
QUEUE_ANSWERS(crawl, 1)

static void ask_redis(struct top_look *l)
{
    l->asked[TOP_REDIS] = 4;
    queue_stats(l->session->queue, got_stats_change, l);
    queue_pulse(l->session->queue, got_pulse_change, l);
    queue_stats(l->session->crawl_queue, got_stats_crawl, l);
    queue_pulse(l->session->crawl_queue, got_pulse_crawl, l);
}

/* --- queues: what both say --------------------------------------------------------------- */

static void got_queues(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    if (l->closing)
        return;
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++) {
        for (size_t k = 0; k < TOP_QUEUES; k++) {
            struct top_queue *q = &l->queues[k];
            if (strcmp(q->name, db_text(rows, i, TOP_QUEUE_NAME)) != 0)
                continue;
            q->told = true;
            q->paused = !PQgetisnull(rows, i, TOP_QUEUE_PAUSED);
            q->fenced = !PQgetisnull(rows, i, TOP_QUEUE_FENCED);
            q->oldest_ms = PQgetisnull(rows, i, TOP_QUEUE_OLDEST_MS)
                               ? -1
                               : db_int(rows, i, TOP_QUEUE_OLDEST_MS);
            free(q->paused_by);
            q->paused_by = mem_strdup(cell(rows, i, TOP_QUEUE_PAUSED_BY));
        }
    }
    answered(l, TOP_POSTGRES, err);
}

static const char *queue_state(const struct top_queue *q)
{
    static const char *const words[2][2] = {
        {"running", "fenced"        },
        {"paused",  "paused, fenced"}
    };
    return q->told ? words[q->paused][q->fenced] : NULL;
}

/* The rows know what is due and waits, whatever Redis says; of crawl jobs there are none. */
static int64_t oldest_of(const struct top_queue *q)
{
    int64_t now = clock_wall_us() / 1000;
    if (q->oldest_ms >= 0)
        return q->oldest_ms;
    if (!q->pulse_ms || q->pulse.oldest_ms < 0)
        return -1;
    return q->pulse.oldest_ms < now ? now - q->pulse.oldest_ms : 0;
}

static void put_queues(struct top_look *l)
{
    struct listing *to = &l->panes[PANE_QUEUES];
    listing_release(to);
    for (size_t i = 0; i < TOP_QUEUES; i++) {
        const struct top_queue *q = &l->queues[i];
        struct digits d[7];
        listing_add(to, (const char *[]){q->name, queue_state(q),
                            q->counted ? known(&d[0], q->stats.length - q->stats.pending) : NULL,
                            q->counted ? whole(&d[1], q->stats.pending) : NULL,
                            q->counted ? whole(&d[2], q->stats.later) : NULL,
                            q->counted && i == 0 ? whole(&d[3], q->stats.dead) : NULL,
                            known(&d[4], oldest_of(q)), rate(&d[5], q->in), rate(&d[6], q->out),
                            q->paused_by ? q->paused_by : ""});
    }
}

/* --- upstreams --------------------------------------------------------------------------- */

static void got_upstreams(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    struct listing *to = &l->panes[PANE_UPSTREAMS];
    if (l->closing)
        return;
    if (rc == HL_OK)
        listing_release(to);
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++) {
        struct digits left;
        const char *seconds = cell(rows, i, 3);
        listing_add(to, (const char *[]){cell(rows, i, 0), cell(rows, i, 1), cell(rows, i, 2),
                            seconds ? whole(&left, atoll(seconds) * 1000) : NULL,
                            PQgetvalue(rows, i, 4), PQgetvalue(rows, i, 5)});
    }
    answered(l, TOP_POSTGRES, err);
}

/* --- workers ----------------------------------------------------------------------------- */

/* What a worker tells of itself; -1 = it did not. */
struct told {
    json_t *root;
    const char *phase; /* NULL = not told */
    int64_t crawls, oldest_ms, open, busy, max, rss_kb, done;
};

static int64_t told_number(const json_t *of, const char *key)
{
    const json_t *v = json_object_get(of, key);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static struct told told_by(const char *status)
{
    struct told t = {0};
    struct hl_err err;
    t.root = status ? json_parse(status, strlen(status), &err) : NULL;
    const json_t *pool = json_object_get(t.root, "pool");
    t.phase = json_get_string(t.root, "phase");
    t.crawls = told_number(t.root, "crawls");
    t.oldest_ms = told_number(t.root, "oldest_ms");
    t.rss_kb = told_number(t.root, "rss_kb");
    t.done = told_number(t.root, "done");
    t.open = told_number(pool, "open");
    t.busy = told_number(pool, "busy");
    t.max = told_number(pool, "max");
    return t;
}

static void add_to_pool(struct top_pool *pool, const struct told *t, const char *state)
{
    if (t->open < 0 || t->busy < 0 || t->max < 0 || strcmp(state, "dead") == 0)
        return;
    pool->workers++;
    pool->open += t->open;
    pool->busy += t->busy;
    pool->max += t->max;
}

/* Jobs a second since the last look, when the worker was there. */
static double done_rate(const struct listing *before, int64_t span_ms, const char *id, int64_t done)
{
    for (size_t i = 0; span_ms >= MIN_SPAN_MS && done >= 0 && i < listing_rows(before); i++) {
        const char *old = listing_cell(before, i, WORKER_DONE);
        if (strcmp(listing_cell(before, i, 0), id) == 0 && old && atoll(old) <= done)
            return (double)(done - atoll(old)) * 1000 / (double)span_ms;
    }
    return -1;
}

static void add_worker(
    struct top_look *l, const struct listing *before, int64_t span_ms, const PGresult *rows, int i)
{
    struct digits crawls, oldest, memory, done, speed;
    struct told t = told_by(cell(rows, i, TOP_WORKER_STATUS));
    const char *id = db_text(rows, i, TOP_WORKER_ID), *state = db_text(rows, i, TOP_WORKER_STATE);
    const char *since = cell(rows, i, TOP_WORKER_OLDEST_MS); /* by the rows */
    bool at_work = t.crawls > 0 || db_int(rows, i, TOP_WORKER_JOBS) > 0;
    char *pool = t.max < 0 ? NULL : mem_printf("%lld/%lld", (long long)t.busy, (long long)t.max);
    add_to_pool(&l->pool, &t, state);
    listing_add(&l->panes[PANE_WORKERS],
        (const char *[]){id, cell(rows, i, TOP_WORKER_HOST), cell(rows, i, TOP_WORKER_PID), state,
            t.phase, cell(rows, i, TOP_WORKER_ORDERS), cell(rows, i, TOP_WORKER_JOBS),
            known(&crawls, t.crawls),
            since     ? since
            : at_work ? known(&oldest, t.oldest_ms)
                      : NULL,
            pool ? pool : NULL, t.rss_kb < 0 ? NULL : whole(&memory, t.rss_kb * 1024),
            rate(&speed, done_rate(before, span_ms, id, t.done)), known(&done, t.done)});
    free(pool);
    json_decref(t.root);
}

static void got_workers(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    if (l->closing)
        return;
    if (rc == HL_OK) {
        int64_t now = clock_mono_ms();
        struct listing before = l->panes[PANE_WORKERS];
        SET(l->panes[PANE_WORKERS], worker_columns);
        l->pool = (struct top_pool){0};
        for (int i = 0; i < PQntuples(rows); i++)
            add_worker(l, &before, l->workers_ms ? now - l->workers_ms : 0, rows, i);
        l->workers_ms = now;
        listing_release(&before);
    }
    answered(l, TOP_POSTGRES, err);
}

/* --- events ------------------------------------------------------------------------------ */

static bool is_status(const char *word)
{
    static const char *const words[] = {
        "queued", "in_progress", "completed", "superseded", "failed"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* The next word of *words, which moves on; "" = there is none. */
static char *next_word(const char **words)
{
    *words += strspn(*words, " ");
    size_t len = strcspn(*words, " ");
    char *word = mem_strndup(*words, len);
    *words += len;
    return word;
}

/* The status among the words (the last one), for PostgreSQL; NULL = none. The caller frees it. */
static char *status_of(const char *words, bool *others)
{
    char *status = NULL;
    *others = false;
    for (;;) {
        char *word = next_word(&words);
        if (!*word) {
            free(word);
            return status;
        }
        if (is_status(word)) {
            free(status);
            status = word;
        } else {
            *others = true;
            free(word);
        }
    }
}

static bool has_word(const PGresult *rows, int i, const char *word)
{
    static const int columns[] = {
        VIEW_EVENT_ID, VIEW_WATCH_ID, VIEW_WATCH_URL, VIEW_STATUS, VIEW_ERROR};
    for (size_t k = 0; k < sizeof(columns) / sizeof(columns[0]); k++)
        if (strcasestr(PQgetvalue(rows, i, columns[k]), word))
            return true;
    return false;
}

static bool has_words(const PGresult *rows, int i, const char *words)
{
    bool has = true;
    for (;;) {
        char *word = next_word(&words);
        bool end = !*word;
        has = end || is_status(word) || has_word(rows, i, word);
        free(word);
        if (end || !has)
            return has;
    }
}

static void got_events(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    struct listing *to = &l->panes[PANE_EVENTS];
    if (l->closing)
        return;
    if (rc == HL_OK)
        listing_release(to);
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++)
        if (!PQgetisnull(rows, i, VIEW_ID) && has_words(rows, i, l->search))
            listing_add(to, (const char *[]){cell(rows, i, VIEW_ID), cell(rows, i, VIEW_STATUS),
                                cell(rows, i, VIEW_CREATED), cell(rows, i, VIEW_ATTEMPTS),
                                cell(rows, i, VIEW_WATCH_URL), PQgetvalue(rows, i, VIEW_ERROR)});
    answered(l, TOP_POSTGRES, err);
}

static void got_event(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    const char *cells[MAX_CELLS];
    bool wanted =
        !l->closing && rc == HL_OK && PQntuples(rows) == 1 && db_int(rows, 0, VIEW_ID) == l->opened;
    if (wanted) {
        for (size_t i = 0; i < l->event.n; i++)
            cells[i] = cell(rows, 0, shown_sources[i]);
        listing_release(&l->event);
        listing_add(&l->event, cells);
    }
    if (!l->closing)
        answered(l, TOP_POSTGRES, err);
}

static void got_timeline(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct top_look *l = ctx;
    if (l->closing)
        return;
    bool wanted = rc == HL_OK && l->opened == l->asked_event;
    if (wanted)
        listing_release(&l->timeline);
    for (int i = 0; wanted && i < PQntuples(rows); i++)
        listing_add(&l->timeline,
            (const char *[]){cell(rows, i, 0), cell(rows, i, 1), cell(rows, i, 4), cell(rows, i, 5),
                PQgetvalue(rows, i, 2), cell(rows, i, 3), PQgetvalue(rows, i, 6)});
    answered(l, TOP_POSTGRES, err);
}

static void ask_postgres(struct top_look *l)
{
    struct store *s = l->session->store;
    struct view_key key = {.row_id = l->opened};
    bool others;
    char *status = status_of(l->search, &others);
    struct view_events events = {.status = status, .limit = others ? EVENTS_SEARCHED : EVENTS};

    l->asked[TOP_POSTGRES] = l->opened ? 6 : 4;
    l->asked_event = l->opened;
    store_top_queues(s, got_queues, l);
    store_top_workers(s, l->lease_ms, got_workers, l);
    store_list_upstreams(s, got_upstreams, l);
    view_events(s, &events, got_events, l);
    if (l->opened) {
        view_event(s, &key, got_event, l);
        view_timeline(s, &key, got_timeline, l);
    }
    free(status);
}

/* --- life -------------------------------------------------------------------------------- */

static void begin_round(struct top_look *l, enum top_store store)
{
    static void (*const ask[])(struct top_look *) = {
        [TOP_POSTGRES] = ask_postgres, [TOP_REDIS] = ask_redis};
    l->again[store] = false;
    l->errs[store] = (struct hl_err){0};
    ask[store](l);
}

void look_again(struct top_look *l)
{
    for (enum top_store i = 0; i < TOP_STORES; i++)
        if (!l->asked[i])
            begin_round(l, i);
}

void look_now(struct top_look *l)
{
    for (enum top_store i = 0; i < TOP_STORES; i++)
        l->again[i] = l->asked[i] > 0;
    look_again(l);
}

bool look_busy(const struct top_look *l)
{
    return l->asked[TOP_POSTGRES] || l->asked[TOP_REDIS];
}

void look_search(struct top_look *l, const char *words)
{
    free(l->search);
    l->search = mem_strdup(words);
    look_now(l);
}

void look_open(struct top_look *l, int64_t row_id)
{
    listing_release(&l->event);
    listing_release(&l->timeline);
    l->opened = row_id;
    if (row_id)
        look_now(l);
}

void look_init(struct top_look *l, struct session *session, int64_t lease_ms,
    void (*changed)(void *ctx), void *ctx)
{
    static const char *const names[TOP_QUEUES] = {"change", "crawl"};
    *l =
        (struct top_look){.session = session, .lease_ms = lease_ms, .changed = changed, .ctx = ctx};
    l->search = mem_strdup("");
    SET(l->panes[PANE_QUEUES], queue_columns);
    SET(l->panes[PANE_UPSTREAMS], upstream_columns);
    SET(l->panes[PANE_WORKERS], worker_columns);
    SET(l->panes[PANE_EVENTS], event_columns);
    SET(l->event, shown_columns);
    SET(l->timeline, timeline_columns);
    for (size_t i = 0; i < TOP_QUEUES; i++)
        l->queues[i] = (struct top_queue){.name = names[i], .in = -1, .out = -1, .oldest_ms = -1};
    put_queues(l);
}

void look_end(struct top_look *l)
{
    l->closing = true;
}

void look_release(struct top_look *l)
{
    for (size_t i = 0; i < TOP_PANES; i++)
        listing_release(&l->panes[i]);
    for (size_t i = 0; i < TOP_QUEUES; i++)
        free(l->queues[i].paused_by);
    listing_release(&l->event);
    listing_release(&l->timeline);
    free(l->search);
}
