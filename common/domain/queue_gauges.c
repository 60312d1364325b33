/* queue_gauges: see queue_gauges.h. A round: PostgreSQL, then Redis about one queue and the other. What a
 * round was not told stays in the meters as it was seen last. */
#include "domain/queue_gauges.h"

#include "base/mem.h"
#include "domain/store_view.h"

#include <stdlib.h>
#include <string.h>

struct queue_gauges {
    struct queue_gauges_conf conf;
    struct timer next;
    bool running, busy;
    struct queues_seen seen;
};

const struct queues_seen queues_unseen = {
    .jobs = {-1, -1},
      .oldest_ms = -1
};
_Static_assert(QUEUED_COUNT == 2, "queues_unseen has all");

static void round_ends(struct queue_gauges *g)
{
    g->busy = false;
    if (g->running)
        timer_start(&g->next, QUEUE_GAUGES_MS);
}

static void show_jobs(struct queue_gauges *g, enum meter_QUEUED queue, const struct queue_stats *s)
{
    g->seen.jobs[queue] = s->length + s->later;
    int64_t undelivered = s->length - s->pending; /* without a group there is no lag to ask for */
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_UNDELIVERED, undelivered > 0 ? undelivered : 0);
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_DELIVERED, s->pending);
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_LATER, s->later);
    meter_set(M_DEAD_LETTERS, 0, 0, s->dead); /* both have one place for them */
}

static void forget_jobs(struct queue_gauges *g)
{
    memcpy(g->seen.jobs, queues_unseen.jobs, sizeof(g->seen.jobs));
}

static void crawl_counted(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    g->seen.jobs[QUEUED_CRAWL] = -1;
    if (rc == HL_OK && g->running)
        show_jobs(g, QUEUED_CRAWL, s);
    round_ends(g);
}

static void change_counted(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    if (rc != HL_OK || !g->running) { /* no second deadline for the other one */
        forget_jobs(g);
        round_ends(g);
        return;
    }
    show_jobs(g, QUEUED_CHANGE, s);
    queue_stats(g->conf.crawl, crawl_counted, g);
}

static void show_row(struct queue_gauges *g, const PGresult *rows, int row)
{
    const char *name = db_text(rows, row, 0);
    bool crawl = strcmp(name, "crawl") == 0;
    if (!crawl && strcmp(name, "change") != 0)
        return;
    int queue = crawl ? QUEUED_CRAWL : QUEUED_CHANGE;
    meter_set(M_QUEUE_PAUSED, queue, 0, db_text(rows, row, 1)[0] == 't');
    meter_set(M_QUEUE_OLDEST, queue, 0, db_int(rows, row, 2) * 1000);
    if (!crawl && !PQgetisnull(rows, row, 2))
        g->seen.oldest_ms = db_int(rows, row, 2);
}

static void rows_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    g->seen.oldest_ms = -1;
    for (int i = 0; rc == HL_OK && g->running && i < PQntuples(rows); i++)
        show_row(g, rows, i);
    if (g->running && redis_up(g->conf.redis)) {
        queue_stats(g->conf.change, change_counted, g);
        return;
    }
    forget_jobs(g);
    round_ends(g);
}

static void look(void *ctx)
{
    struct queue_gauges *g = ctx;
    g->busy = true;
    view_queues(g->conf.store, rows_read, g);
}

struct queue_gauges *queue_gauges_new(const struct queue_gauges_conf *conf)
{
    struct queue_gauges *g = mem_new(struct queue_gauges);
    g->conf = *conf;
    g->seen = queues_unseen;
    timer_init(conf->loop, &g->next, look, g);
    return g;
}

struct queues_seen queue_gauges_seen(const struct queue_gauges *g)
{
    return g->seen;
}

void queue_gauges_start(struct queue_gauges *g)
{
    if (g->running)
        return;
    g->running = true;
    if (!g->busy)
        timer_start(&g->next, 0);
}

/* What was seen gets old: whoever looks on has the say. */
static void forget(struct queue_gauges *g)
{
    g->seen = queues_unseen;
    for (int queue = 0; queue < QUEUED_COUNT; queue++) {
        for (int place = 0; place < PLACE_COUNT; place++)
            meter_set(M_QUEUE_JOBS, queue, place, 0);
        meter_set(M_QUEUE_PAUSED, queue, 0, 0);
        meter_set(M_QUEUE_OLDEST, queue, 0, 0);
    }
    meter_set(M_DEAD_LETTERS, 0, 0, 0);
}

void queue_gauges_stop(struct queue_gauges *g)
{
    if (!g || !g->running)
        return;
    g->running = false;
    timer_stop(&g->next);
    forget(g);
}

void queue_gauges_free(struct queue_gauges *g)
{
    free(g);
}
