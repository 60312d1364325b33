/* store_transfer: see store_transfer.h. */
#include "domain/store_transfer.h"

#include "domain/store_private.h"

STMT(transfer_state, "operator", ROWS_ONE, 0,
    "SELECT (SELECT generation::text FROM webhook.queues WHERE name = 'change'),"
    " (SELECT string_agg(concat_ws(' ', name, extract(epoch FROM paused_at),"
    "    extract(epoch FROM fenced_at)), ', ' ORDER BY name)"
    "  FROM webhook.queues HAVING bool_and(paused_at IS NOT NULL AND fenced_at IS NOT NULL)),"
    " (SELECT count(*) FROM webhook.change_events c JOIN webhook.workers w ON w.id = c.claimed_by"
    "  WHERE c.rescrape_status = 'in_progress' AND w.dead_at IS NULL"
    "   AND w.seen_at > now() - interval '1 minute'),"
    " (SELECT count(*) FROM webhook.spools),"
    " (SELECT count(*) FROM webhook.producers WHERE seen_at > now() - interval '1 minute'"
    "  AND NOT fenced @> ARRAY['change', 'crawl']),"
    " (SELECT count(*) FROM webhook.producers WHERE seen_at <= now() - interval '1 minute')");

STMT(transfer_finished, "operator", ROWS_ANY, 1,
    "SELECT event_id::text FROM webhook.change_events WHERE event_id = ANY ($1::uuid[])"
    "  AND rescrape_status NOT IN ('queued', 'in_progress')"
    " UNION ALL SELECT event_id::text FROM webhook.crawl_events WHERE event_id = ANY ($1::uuid[])");

void store_transfer_state(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_transfer_state, cb, ctx, NULL);
}

void store_transfer_finished(struct store *s, const char *ids, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_transfer_finished, cb, ctx, (const char *[]){ids});
}
