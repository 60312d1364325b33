/* store_view: see store_view.h; the statements are in store_view_sql.c. */
#include "domain/store_view.h"

#include "base/uuid.h"
#include "domain/store_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The index that fits the question best. */
static const struct store_stmt *walk_for(const struct view_events *q)
{
    if (q->status && strcmp(q->status, "queued") == 0)
        return &stmt_view_queued;
    if (q->status && strcmp(q->status, "in_progress") == 0)
        return &stmt_view_held;
    return q->watch ? &stmt_view_watch : &stmt_view_events;
}

void view_events(struct store *s, const struct view_events *q, store_cb *cb, void *ctx)
{
    struct number since = store_number(q->since ? *q->since : 0),
                  until = store_number(q->until ? *q->until : 0);
    struct uuid id;
    store_ask(s, walk_for(q), cb, ctx,
        (const char *[]){q->before ? store_number(q->before).text : NULL,
            q->since ? since.text : NULL, q->until ? until.text : NULL, q->status, q->url, q->watch,
            store_number(q->limit).text, q->error, q->search,
            q->search && uuid_parse(q->search, &id) ? q->search : NULL});
}

static void run_keyed(struct store *s, const struct store_stmt *stmt, const struct view_key *key,
    store_cb *cb, void *ctx)
{
    store_ask(s, stmt, cb, ctx,
        (const char *[]){key->event_id, key->event_id ? NULL : store_number(key->row_id).text});
}

void view_event(struct store *s, const struct view_key *key, store_cb *cb, void *ctx)
{
    run_keyed(s, &stmt_view_event, key, cb, ctx);
}

void view_timeline(struct store *s, const struct view_key *key, store_cb *cb, void *ctx)
{
    run_keyed(s, &stmt_view_timeline, key, cb, ctx);
}

void view_retry(struct store *s, const struct view_key *key, store_cb *cb, void *ctx)
{
    run_keyed(s, &stmt_retry, key, cb, ctx);
}

void view_crawls(struct store *s, const struct view_crawls *q, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_crawls, cb, ctx,
        (const char *[]){q->before_id ? store_number(q->before).text : NULL, q->before_id,
            q->status, store_number(q->limit).text});
}

void view_queues(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_queues, cb, ctx, NULL);
}

void view_spools(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_spools, cb, ctx, NULL);
}

void view_workers(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_workers, cb, ctx, NULL);
}

void view_crashes(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_crashes, cb, ctx, NULL);
}

void view_document(struct store *s, const char *canonical, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_document, cb, ctx, (const char *[]){canonical});
}

void view_search(struct store *s, const char *words, int limit, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_view_search, cb, ctx, (const char *[]){words, store_number(limit).text});
}
