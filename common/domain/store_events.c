/* store_events: see store_events.h. */
#include "domain/store_events.h"

#include "base/pgarray.h"
#include "domain/store_private.h"

/* clang-format off */

#define US(time) "(extract(epoch FROM " time ") * 1000000)::bigint"

/* Due now and not since it was accepted: the janitor, which looks for what became due since it looked
 * last, is to see it. */
STMT(retry_events, "operator", ROWS_ANY, 3,
    "WITH shown AS MATERIALIZED ("
    "  SELECT * FROM unnest($1::bigint[], $2::bigint[]) s (id, finished)"
    "), found AS MATERIALIZED ("
    "  SELECT c.id FROM shown s JOIN webhook.change_events c ON c.id = s.id"
    "  WHERE starts_with(c.rescrape_status, 'failed')"
    "    AND " US("c.finished_at") " IS NOT DISTINCT FROM s.finished"
    "  ORDER BY c.id FOR UPDATE OF c"
    "), again AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'queued', starts = 0, attempts = 0,"
    "    suspect = 0, claim_epoch = coalesce(c.claim_epoch, 0) + 1, claimed_by = NULL,"
    "    finished_at = NULL, next_attempt_at = now(),"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || jsonb_build_object('retried_by', $3::text,"
    "      'retried_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
    "  FROM found f WHERE c.id = f.id AND starts_with(c.rescrape_status, 'failed')"
    "  RETURNING c.*"
    ") "
    "SELECT a.event_id, a.watch_id, a.watch_url, " US("a.detected_at") ", a.diff_summary,"
    "  a.snapshot_url, coalesce(a.metadata, '{}'::jsonb)::text, encode(a.body_digest, 'hex'), a.id"
    " FROM again a ORDER BY a.id");

/* $1 the job limit, $2 the lease, $3 how many. The first cases are those of `reap`. */
STMT(zombies, "view", ROWS_ANY, 3,
    "WITH running AS MATERIALIZED ("
    "  SELECT c.*, w.host, w.seen_at, CASE"
    "    WHEN c.claimed_by IS NOT NULL AND w.id IS NULL THEN 'gone'"
    "    WHEN w.dead_at IS NOT NULL THEN 'dead'"
    "    WHEN CASE WHEN c.claimed_beat IS NOT NULL"
    "        THEN (w.beat - c.claimed_beat) * ($2::bigint / 3) > $1::bigint + $2::bigint"
    "        ELSE c.claimed_at < now() - ($1::bigint + $2::bigint) * interval '1 millisecond' END"
    "      THEN 'late'"
    "    WHEN c.claimed_by IS NULL THEN 'unowned'"
    "    WHEN w.seen_at < now() - $2::bigint * interval '2 milliseconds' THEN 'silent'"
    "    END AS why"
    "  FROM webhook.change_events c LEFT JOIN webhook.workers w ON w.id = c.claimed_by"
    "  WHERE c.rescrape_status = 'in_progress'"
    ") "
    "SELECT r.id, r.event_id, r.watch_url, r.why,"
    "  r.event_id IS NOT NULL AND r.why IN ('gone', 'dead', 'late'), " US("r.claimed_at") ","
    "  r.claimed_by, coalesce(r.claim_epoch, 0), coalesce(r.starts, 0), coalesce(r.suspect, 0),"
    "  r.host, " US("r.seen_at")
    " FROM running r WHERE r.why IS NOT NULL ORDER BY r.claimed_at, r.id LIMIT $3::integer");

/* clang-format on */

void store_retry(struct store *s, const struct store_failed *events, size_t n, const char *by,
    store_cb *cb, void *ctx)
{
    struct buf ids = {0}, finished = {0};
    pgarray_begin(&ids);
    pgarray_begin(&finished);
    for (size_t i = 0; i < n; i++) {
        pgarray_int(&ids, events[i].id);
        if (events[i].finished_at)
            pgarray_int(&finished, events[i].finished_at);
        else
            pgarray_null(&finished);
    }
    const char *values[] = {pgarray_end(&ids), pgarray_end(&finished), by};
    store_ask(s, &stmt_retry_events, cb, ctx, values);
    buf_release(&ids);
    buf_release(&finished);
}

void store_zombies(
    struct store *s, const struct store_limits *limits, int max, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_zombies, cb, ctx,
        (const char *[]){store_number(limits->job_timeout_ms).text,
            store_number(limits->lease_ms).text, store_number(max).text});
}
