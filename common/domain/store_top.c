/* store_top: see store_top.h. */
#include "domain/store_top.h"

#include "domain/store_private.h"

/* clang-format off */
#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)
#define US(time)   "(extract(epoch FROM " time ") * 1000000)::bigint"
/* greatest() passes over a NULL: of no time there is no age. */
#define AGE(time)                                                                                  \
    "CASE WHEN " time " IS NOT NULL"                                                               \
    " THEN greatest(0, extract(epoch FROM now() - " time ") * 1000)::bigint END"
#define DUE_SINCE  "coalesce(c.next_attempt_at, c.created_at, '-infinity'::timestamptz)"

STMT(top_queues, "reader", ROWS_ANY, 0,
    "SELECT q.name, " US("q.paused_at") ", q.paused_by, " US("q.fenced_at") ","
    "  CASE WHEN q.name = 'change' THEN (SELECT " AGE("d.due") " FROM ("
    "    SELECT " DUE_SINCE " AS due FROM webhook.change_events c"
    "    WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " <= now()"
    "    ORDER BY " DUE_SINCE ", c.id LIMIT 1) d WHERE isfinite(d.due)) END"
    " FROM webhook.queues q ORDER BY q.name");

/* $1: a lease, in ms. */
STMT(top_workers, "reader", ROWS_ANY, 1,
    "SELECT w.id, w.host, w.pid, CASE WHEN w.dead_at IS NOT NULL THEN 'dead'"
    "    WHEN w.seen_at < now() - 2 * $1::bigint * interval '1 millisecond' THEN 'silent'"
    "    ELSE 'alive' END, " US("w.started_at") ", w.orders, left(w.status::text, 4096),"
    "  held.jobs, " AGE("held.since")
    " FROM (SELECT * FROM webhook.workers ORDER BY dead_at IS NOT NULL, started_at, id"
    "   LIMIT " AS_TEXT(TOP_WORKERS) ") w"
    " CROSS JOIN LATERAL (SELECT count(*) AS jobs, min(c.claimed_at) AS since"
    "   FROM webhook.change_events c"
    "   WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress') held"
    " ORDER BY w.dead_at IS NOT NULL, w.started_at, w.id");

/* clang-format on */

void store_top_queues(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_top_queues, cb, ctx, NULL);
}

void store_top_workers(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_top_workers, cb, ctx, (const char *[]){store_number(lease_ms).text});
}
