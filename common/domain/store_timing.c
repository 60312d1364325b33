/* store_timing: see store_timing.h. */
#include "domain/store_timing.h"

#include "domain/store_private.h"

STMT(clock, "timing", ROWS_ONE, 0,
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");

STMT(finished, "timing", ROWS_ANY, 1,
    "SELECT j.n, split_part(c.rescrape_status, ':', 1),"
    "  (extract(epoch FROM c.finished_at) * 1000000)::bigint"
    " FROM unnest($1::uuid[]) WITH ORDINALITY AS j (event_id, n)"
    "  JOIN webhook.change_events c ON c.event_id = j.event_id"
    " WHERE c.rescrape_status NOT IN ('queued', 'in_progress') AND c.finished_at IS NOT NULL");

void store_clock(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_clock, cb, ctx, NULL);
}

void store_finished(struct store *s, const char *ids, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_finished, cb, ctx, (const char *[]){ids});
}
