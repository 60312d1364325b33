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

/* --- trace -------------------------------------------------------------------------------------- */

#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)

/* One column of the event's row, where it is set. */
#define MOMENT(at, rank, what, by, epoch, detail)                                                  \
    " UNION ALL SELECT " at ", " rank ", 'row', " what ", " by ", " epoch ", NULL::float8,"        \
    " NULL::boolean, NULL::bigint, " detail " FROM ev WHERE " at " IS NOT NULL"

/* Steps of an event of Firecrawl's, and those of its documents, go back to one request. Ids of requests
 * are the sender's, too: who repeats one gets what belongs to it within an hour. */
STMT(trace, "view", ROWS_ANY, 3,
    "WITH ev AS MATERIALIZED (SELECT c.*, CASE WHEN c.metadata->>'retried_at' ~"
    "      '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$'"
    "      THEN (c.metadata->>'retried_at')::timestamptz END AS retried_at"
    "    FROM webhook.change_events c WHERE c.id = coalesce($2::bigint,"
    "      (SELECT e.id FROM webhook.change_events e WHERE e.event_id = $1::uuid)::bigint)"
    "), subject (id) AS MATERIALIZED ("
    "  SELECT coalesce($1::uuid, (SELECT event_id FROM ev))"
    "), own AS MATERIALIZED ("
    "  SELECT o.* FROM webhook.operation_metrics o WHERE o.job_id = (SELECT id::text FROM subject)"
    "  ORDER BY o.\"timestamp\" DESC LIMIT 400"
    "), request (id, at) AS MATERIALIZED ("
    "  SELECT request_id, min(\"timestamp\") FROM own WHERE request_id IS NOT NULL"
    "  GROUP BY request_id ORDER BY 2 LIMIT 50"
    "), kin AS MATERIALIZED (" /* crawls only */
    "  SELECT o.* FROM request r CROSS JOIN LATERAL ("
    "    SELECT * FROM webhook.operation_metrics o WHERE o.request_id = r.id"
    "      AND o.crawl_id IS NOT NULL AND o.job_id IS DISTINCT FROM (SELECT id::text FROM subject)"
    "      AND o.\"timestamp\" BETWEEN r.at - interval '1 hour' AND r.at + interval '1 hour'"
    "    ORDER BY o.\"timestamp\" LIMIT 200) o LIMIT 400"
    "), crawl AS MATERIALIZED ("
    "  SELECT e.* FROM webhook.crawl_events e WHERE e.event_id IN ("
    "    SELECT id FROM subject UNION SELECT k.job_id::uuid FROM kin k"
    "    WHERE k.operation_type = 'webhook' AND k.job_id ~ '^[0-9a-f-]{36}$')"
    "), moment (at, rank, place, what, by, epoch, duration_ms, success, http_status, detail) AS ("
    "  SELECT q.\"timestamp\", 0, 'request', q.method, q.client_ip, NULL::bigint, q.duration_ms,"
    "    q.status_code < 400, q.status_code::bigint, q.path"
    "  FROM request r CROSS JOIN LATERAL (SELECT * FROM webhook.request_metrics q"
    "    WHERE q.request_id = r.id AND q.\"timestamp\" BETWEEN r.at - interval '1 hour'"
    "      AND r.at + interval '1 hour' ORDER BY q.\"timestamp\" LIMIT 20) q"
    " UNION ALL"
    "  SELECT o.\"timestamp\", 3, 'metrics', o.operation_type || '/' || o.operation_name,"
    "    o.extra_metadata->>'worker',"
    "    CASE WHEN jsonb_typeof(o.extra_metadata->'epoch') = 'number'"
    "      THEN (o.extra_metadata->>'epoch')::numeric::bigint END,"
    "    o.duration_ms, o.success,"
    "    CASE WHEN jsonb_typeof(o.extra_metadata->'target_status') = 'number'"
    "      THEN (o.extra_metadata->>'target_status')::numeric::bigint END,"
    "    coalesce(left(o.error_message, 4096), CASE WHEN o.crawl_id IS NOT NULL THEN o.document_url END)"
    "  FROM (SELECT * FROM own UNION ALL SELECT * FROM kin) o"
    " UNION ALL"
    "  (SELECT w.crashed_at, 4, 'crash', 'died with it', w.worker, NULL, NULL, false, NULL, w.cause"
    "   FROM ("
    "     SELECT * FROM webhook.worker_crashes"
    "     WHERE crashed_at >= (SELECT created_at FROM ev)"
    "       AND crashed_at <= (SELECT coalesce(finished_at + interval '1 hour', now()) FROM ev)"
    "     ORDER BY crashed_at LIMIT 1000) w"
    "   WHERE w.held @> (SELECT jsonb_build_array(jsonb_build_object('event_id', id)) FROM subject)"
    "   ORDER BY w.crashed_at DESC LIMIT 20)"
    " UNION ALL" /* whatever an operator did: its id stands somewhere in the detail */
    "  (SELECT l.at, 5, 'operator', l.command, l.operator, NULL, NULL, l.outcome = 'done', NULL,"
    "     concat_ws('; ', l.reason, coalesce(l.outcome, 'broken off'))"
    "   FROM (SELECT * FROM webhook.operator_log"
    "     WHERE at >= coalesce((SELECT created_at FROM ev), '-infinity')"
    "     ORDER BY at DESC LIMIT 10000) l"
    "   WHERE position((SELECT id::text FROM subject) IN l.detail::text) > 0"
    "   ORDER BY l.at DESC LIMIT 50)"
    " UNION ALL"
    "  SELECT d.scraped_at, 8, 'index', CASE WHEN d.event_id = s.id THEN 'document written'"
    "      ELSE 'document of another event' END, NULL, d.claim_epoch, NULL, NULL, NULL,"
    "    d.canonical_url || CASE WHEN d.event_id <> s.id THEN ' by ' || d.event_id ELSE '' END"
    "  FROM subject s, webhook.documents d WHERE $3::text IS NOT NULL"
    "    AND d.url_key = sha256(convert_to($3::text, 'UTF8'))"
    "    AND (d.event_id = s.id OR EXISTS (SELECT FROM ev WHERE rescrape_status = 'completed'))"
    " UNION ALL"
    "  SELECT c.received_at, 1, 'crawl', c.type, NULL, NULL, NULL, c.success, NULL,"
    "    concat_ws('; ', 'crawl ' || c.crawl_id, c.documents || ' documents',"
    "      CASE WHEN c.reconciled THEN 'asked for' END, left(c.error, 4096)) FROM crawl c"
    " UNION ALL"
    "  (SELECT NULL, 9, 'crawl', CASE WHEN p.indexed THEN 'page indexed' ELSE 'page failed' END, NULL,"
    "     NULL, NULL, p.indexed, p.status_code, concat_ws('; ', p.url, left(p.error, 4096))"
    "   FROM crawl c JOIN webhook.crawl_pages p ON p.crawl_id = c.crawl_id AND p.event_id = c.event_id"
    "   ORDER BY p.url LIMIT 100)"
    MOMENT("created_at", "1", "'accepted'", "NULL", "NULL", "'watch ' || watch_id")
    MOMENT("claimed_at", "2", "'claimed last'", "claimed_by", "claim_epoch",
        "CASE WHEN claimed_by IS NULL THEN 'given back' END")
    MOMENT("retried_at", "6", "'tried again'", "metadata->>'retried_by'", "NULL", "NULL")
    " UNION ALL SELECT next_attempt_at, 7, 'row', 'due', NULL, NULL, NULL, NULL, NULL,"
    "   CASE WHEN attempts > 0 THEN concat('attempt ', attempts + 1, ' after: ', metadata->>'error') END"
    "   FROM ev WHERE next_attempt_at IS NOT NULL AND rescrape_status = 'queued'"
    MOMENT("finished_at", "8", "split_part(rescrape_status, ':', 1)", "claimed_by", "claim_epoch",
        "CASE WHEN rescrape_status = 'superseded' THEN 'by ' || (metadata->>'superseded_by')"
        " WHEN starts_with(rescrape_status, 'failed')"
        "   THEN coalesce(metadata->>'error', rescrape_status) END")
    ") "
    "SELECT " US("at") ", place, what, by, epoch, duration_ms, success, http_status, detail"
    " FROM moment ORDER BY at, rank LIMIT " AS_TEXT(TRACE_ROWS));

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

void store_trace(struct store *s, const struct store_trace *t, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_trace, cb, ctx,
        (const char *[]){
            t->event_id, t->event_id ? NULL : store_number(t->row_id).text, t->canonical});
}
