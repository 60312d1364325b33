/* queue_gauges: see queue_gauges.h. A round: PostgreSQL, then Redis about one queue and the other. What a
 * round was not told stays as it was seen last. */
#include "domain/queue_gauges.h"

#include "base/mem.h"
#include "base/meter.h"
#include "domain/store_view.h"

#include <stdlib.h>
#include <string.h>

struct queue_gauges {
    struct queue_gauges_conf conf;
    struct timer next;
    bool running, busy;
};

static void round_ends(struct queue_gauges *g)
{
    g->busy = false;
    if (g->running)
        timer_start(&g->next, QUEUE_GAUGES_MS);
}

static void show_jobs(enum meter_QUEUED queue, const struct queue_stats *s)
{
    int64_t undelivered = s->length - s->pending; /* without a group there is no lag to ask for */
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_UNDELIVERED, undelivered > 0 ? undelivered : 0);
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_DELIVERED, s->pending);
    meter_set(M_QUEUE_JOBS, (int)queue, PLACE_LATER, s->later);
    meter_set(M_DEAD_LETTERS, 0, 0, s->dead); /* both have one place for them */
}

static void crawl_counted(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    if (rc == HL_OK && g->running)
        show_jobs(QUEUED_CRAWL, s);
    round_ends(g);
}

static void change_counted(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    if (rc == HL_OK && g->running)
        show_jobs(QUEUED_CHANGE, s);
    if (rc == HL_OK && g->running)
        queue_stats(g->conf.crawl, crawl_counted, g);
    else
        round_ends(g);
}

static void show_row(const PGresult *rows, int row)
{
    const char *name = db_text(rows, row, 0);
    bool crawl = strcmp(name, "crawl") == 0;
    if (!crawl && strcmp(name, "change") != 0)
        return;
    int queue = crawl ? QUEUED_CRAWL : QUEUED_CHANGE;
    meter_set(M_QUEUE_PAUSED, queue, 0, db_text(rows, row, 1)[0] == 't');
    meter_set(M_QUEUE_OLDEST, queue, 0, db_int(rows, row, 2) * 1000);
}

static void rows_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct queue_gauges *g = ctx;
    (void)err;
    for (int i = 0; rc == HL_OK && g->running && i < PQntuples(rows); i++)
        show_row(rows, i);
    if (g->running && redis_up(g->conf.redis))
        queue_stats(g->conf.change, change_counted, g);
    else
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
    timer_init(conf->loop, &g->next, look, g);
    return g;
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
static void forget(void)
{
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
    forget();
}

void queue_gauges_free(struct queue_gauges *g)
{
    free(g);
}
