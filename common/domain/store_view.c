/* store_view: see store_view.h; the statements are in store_view_sql.c. Owns the values of a
 * statement under way. */
#include "domain/store_view.h"

#include "base/mem.h"
#include "domain/store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 8

struct view {
    store_cb *cb;
    void *ctx;
    char *values[MAX_VALUES];
};

static void answered(const struct db_result *res, void *ctx)
{
    struct view *v = ctx;
    v->cb(res->rc, res->pg, res->err, v->ctx);
    for (int i = 0; i < MAX_VALUES; i++)
        free(v->values[i]);
    free(v);
}

static void run(struct dbpool *p, const struct store_stmt *stmt, int64_t timeout_ms, store_cb *cb,
    void *ctx, const char *const *values)
{
    struct view *v = mem_new(struct view);
    v->cb = cb;
    v->ctx = ctx;
    for (int i = 0; i < stmt->db.nparams; i++)
        v->values[i] = mem_strdup(values[i]);
    const struct db_call call = {&stmt->db, (const char *const *)v->values};
    dbpool_exec(p, &call, 1, timeout_ms, answered, v);
}

struct number {
    char text[24];
};

static struct number number(int64_t v)
{
    struct number n;
    snprintf(n.text, sizeof(n.text), "%lld", (long long)v);
    return n;
}

/* The index that fits the question best. */
static const struct store_stmt *walk_for(const struct view_events *q)
{
    if (q->status && strcmp(q->status, "queued") == 0)
        return &stmt_view_queued;
    if (q->status && strcmp(q->status, "in_progress") == 0)
        return &stmt_view_held;
    return q->watch ? &stmt_view_watch : &stmt_view_events;
}

void view_events(struct dbpool *p, const struct view_events *q, store_cb *cb, void *ctx)
{
    struct number since = number(q->since ? *q->since : 0),
                  until = number(q->until ? *q->until : 0);
    run(p, walk_for(q), 0, cb, ctx,
        (const char *[]){q->before ? number(q->before).text : NULL, q->since ? since.text : NULL,
            q->until ? until.text : NULL, q->status, q->url, q->watch, number(q->limit).text});
}

static void run_keyed(struct dbpool *p, const struct store_stmt *stmt, const struct view_key *key,
    int64_t timeout_ms, store_cb *cb, void *ctx)
{
    run(p, stmt, timeout_ms, cb, ctx,
        (const char *[]){key->event_id, key->event_id ? NULL : number(key->row_id).text});
}

void view_event(struct dbpool *p, const struct view_key *key, store_cb *cb, void *ctx)
{
    run_keyed(p, &stmt_view_event, key, 0, cb, ctx);
}

void view_timeline(struct dbpool *p, const struct view_key *key, store_cb *cb, void *ctx)
{
    run_keyed(p, &stmt_view_timeline, key, 0, cb, ctx);
}

void view_retry(
    struct dbpool *p, const struct view_key *key, int64_t timeout_ms, store_cb *cb, void *ctx)
{
    run_keyed(p, &stmt_retry, key, timeout_ms, cb, ctx);
}

void view_crawls(struct dbpool *p, const struct view_crawls *q, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_crawls, 0, cb, ctx,
        (const char *[]){q->before_id ? number(q->before).text : NULL, q->before_id, q->status,
            number(q->limit).text});
}

void view_queues(struct dbpool *p, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_queues, 0, cb, ctx, NULL);
}

void view_spools(struct dbpool *p, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_spools, 0, cb, ctx, NULL);
}

void view_workers(struct dbpool *p, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_workers, 0, cb, ctx, NULL);
}

void view_crashes(struct dbpool *p, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_crashes, 0, cb, ctx, NULL);
}

void view_search(struct dbpool *p, const char *words, int limit, store_cb *cb, void *ctx)
{
    run(p, &stmt_view_search, 0, cb, ctx, (const char *[]){words, number(limit).text});
}
