/* store_view_sql: the statements of store_view, for people who look. There is no index for every
 * question: a list is a walk along the index that fits best, and ends after so many rows. */
#include "domain/store_sql.h"
#include "domain/store_view.h"

/* clang-format off */

#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)
#define LOOK       AS_TEXT(VIEW_LOOK)

#define US(time)   "(extract(epoch FROM " time ") * 1000000)::bigint"
#define TIME(us)   "(timestamptz 'epoch' + " us "::bigint * interval '1 microsecond')"

/* --- events ------------------------------------------------------------------------------------- */

#define SHOWN_EVENT(t)                                                                             \
    t ".id, " t ".event_id, " t ".watch_id, " t ".watch_url, " t ".rescrape_status, "              \
    US(t ".detected_at") ", " US(t ".created_at") ", coalesce(" t ".attempts, 0), "                \
    "coalesce(" t ".starts, 0), " US(t ".next_attempt_at") ", " US(t ".finished_at") ", "          \
    US(t ".indexed_at") ", left(" t ".metadata->>'error', 4096)"

/* Ids are given in the order of created_at, or nearly: a binary search finds the first row of a time,
 * in thirty looks into the primary key. A minute on both sides covers what was under way. */
#define FIRST_OF(name, us, slack)                                                                  \
    name " (low, high) AS ("                                                                       \
    "  SELECT 0::bigint, (SELECT coalesce(max(id), 0) + 1 FROM webhook.change_events)::bigint"     \
    "    WHERE " us "::bigint IS NOT NULL"                                                         \
    "  UNION ALL"                                                                                  \
    "  SELECT CASE WHEN m.older THEN m.mid + 1 ELSE s.low END,"                                    \
    "    CASE WHEN m.older THEN s.high ELSE m.mid END"                                             \
    "  FROM " name " s CROSS JOIN LATERAL (SELECT (s.low + s.high) / 2 AS mid, (SELECT"            \
    "      c.created_at < " TIME(us) " " slack " FROM webhook.change_events c"                     \
    "      WHERE c.id >= (s.low + s.high) / 2 ORDER BY c.id LIMIT 1) AS older) m"                  \
    "  WHERE s.low < s.high)"

/* $1 id before which the page begins (NULL: newest), $2 since, $3 until, $4 status, $5 url, $6 watch,
 * $7 how many, $8 a part of the error, $9 what is searched for: a part of the URL or a row id, and $10 the
 * same where it is an event id: then the walk is that row alone. One more is answered, if there is one.
 * `source` of rows c, newest first by their ids: the walk. The place where it ended counts only if that
 * was why the page did. */
#define WALK(source)                                                                               \
    "FROM " source " c WHERE c.id < (SELECT high FROM span) AND c.id >= (SELECT low FROM span)"    \
    " ORDER BY c.id DESC"
#define EVENTS(before, source)                                                                     \
    "WITH RECURSIVE " FIRST_OF("since", "$2", "- interval '1 minute'") ", "                        \
    FIRST_OF("until", "$3", "+ interval '1 minute'") ", span AS MATERIALIZED ("                    \
    "  SELECT greatest((SELECT max(low) FROM since), o.id, 0) AS low,"                             \
    "    least($1::bigint, (SELECT max(low) FROM until), o.id + 1, 9223372036854775807) AS high"   \
    "  FROM (SELECT CASE WHEN $10::uuid IS NOT NULL THEN coalesce((SELECT e.id"                    \
    "    FROM webhook.change_events e WHERE e.event_id = $10::uuid)::bigint, 0) END AS id) o"      \
    ")" before ", page AS MATERIALIZED ("                                                          \
    "  SELECT c.* FROM (SELECT c.* " WALK(source) " LIMIT " LOOK ") c"                             \
    "  WHERE ($2::bigint IS NULL OR c.created_at >= " TIME("$2") ")"                               \
    "    AND ($3::bigint IS NULL OR c.created_at < " TIME("$3") ")"                                \
    "    AND ($4::text IS NULL OR CASE $4 WHEN 'failed'"                                           \
    "      THEN starts_with(c.rescrape_status, 'failed') ELSE c.rescrape_status = $4 END)"         \
    "    AND ($5::text IS NULL OR c.watch_url = $5) AND ($6::text IS NULL OR c.watch_id = $6)"     \
    "    AND ($8::text IS NULL OR position(lower($8) IN lower(c.metadata->>'error')) > 0"          \
    "      OR (starts_with(c.rescrape_status, 'failed')"                                           \
    "        AND position(lower($8) IN lower(c.rescrape_status)) > 0))"                            \
    "    AND ($9::text IS NULL OR $10::uuid IS NOT NULL OR c.id::text = $9"                        \
    "      OR position(lower($9) IN lower(c.watch_url)) > 0)"                                      \
    "  ORDER BY c.id DESC LIMIT $7::integer + 1"                                                   \
    "), edge AS ("                                                                                 \
    "  SELECT CASE WHEN (SELECT count(*) FROM page) <= $7::integer THEN"                           \
    "    (SELECT c.id " WALK(source) " OFFSET " LOOK " - 1 LIMIT 1) END AS id"                     \
    ") "                                                                                           \
    "SELECT edge.id, " SHOWN_EVENT("p") " FROM edge LEFT JOIN page p ON true ORDER BY p.id DESC"

STMT(view_events, "view", ROWS_ANY, 10, EVENTS("", "webhook.change_events"));
STMT(view_queued, "view", ROWS_ANY, 10,
    EVENTS("", "(SELECT * FROM webhook.change_events q WHERE q.rescrape_status = 'queued')"));
/* Few are in progress, a watch has not many: found by their own indexes, then put in order. */
STMT(view_held, "view", ROWS_ANY, 10,
    EVENTS(", held AS MATERIALIZED (SELECT * FROM webhook.change_events"
        " WHERE rescrape_status = 'in_progress')", "held"));
STMT(view_watch, "view", ROWS_ANY, 10,
    EVENTS(", watched AS MATERIALIZED (SELECT * FROM webhook.change_events"
        " WHERE watch_id = $6::text)", "watched"));

/* Of $1, an event id, or $2, a row id. */
#define THE_EVENT                                                                                  \
    "c.id = coalesce($2::bigint,"                                                                  \
    " (SELECT e.id FROM webhook.change_events e WHERE e.event_id = $1::uuid)::bigint)"

STMT(view_event, "view", ROWS_ANY, 2,
    "SELECT NULL, " SHOWN_EVENT("c") ", " US("c.claimed_at") ", c.claimed_by,"
    "  coalesce(c.claim_epoch, 0), coalesce(c.suspect, 0), c.diff_summary, c.snapshot_url,"
    "  CASE WHEN jsonb_typeof(c.metadata) = 'object' THEN c.metadata - 'signature' END::text"
    " FROM webhook.change_events c WHERE " THE_EVENT);

/* What the row itself tells, what was measured, and who died of it. The row knows its last claim only;
 * the measurements know all of them, as long as they are kept. */
#define MOMENT(at, rank, what, by, epoch, detail)                                                  \
    " UNION ALL SELECT " at ", " rank ", " what ", " by ", " epoch ", NULL::float8, NULL::boolean, "\
    detail " FROM ev WHERE " at " IS NOT NULL"
STMT(view_timeline, "view", ROWS_ANY, 2,
    "WITH ev AS MATERIALIZED (SELECT c.*, CASE WHEN c.metadata->>'retried_at' ~"
    "      '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$'"
    "      THEN (c.metadata->>'retried_at')::timestamptz END AS retried_at"
    "    FROM webhook.change_events c WHERE " THE_EVENT
    "), moment (at, rank, what, by, epoch, duration_ms, success, detail) AS ("
    "  (SELECT o.\"timestamp\", 2, o.operation_type || '/' || o.operation_name, NULL::text,"
    "     NULL::bigint, o.duration_ms, o.success, left(o.error_message, 4096)"
    "   FROM webhook.operation_metrics o"
    "   WHERE o.job_id = (SELECT event_id::text FROM ev)"
    "     AND o.\"timestamp\" >= (SELECT created_at - interval '1 hour' FROM ev)"
    "   ORDER BY o.\"timestamp\" DESC LIMIT 170)"
    " UNION ALL"
    "  (SELECT w.crashed_at, 3, 'crashed', w.worker, NULL, NULL, false, w.cause FROM ("
    "     SELECT * FROM webhook.worker_crashes"
    "     WHERE crashed_at >= (SELECT created_at FROM ev)"
    "       AND crashed_at <= (SELECT coalesce(finished_at + interval '1 hour', now()) FROM ev)"
    "     ORDER BY crashed_at LIMIT 1000) w"
    "   WHERE w.held @> (SELECT jsonb_build_array(jsonb_build_object('event_id', event_id)) FROM ev)"
    "   ORDER BY w.crashed_at DESC LIMIT 20)"
    MOMENT("created_at", "0", "'received'", "NULL", "NULL", "watch_id")
    MOMENT("claimed_at", "1", "'claimed'", "claimed_by", "claim_epoch", "NULL")
    MOMENT("retried_at", "4", "'retried'", "metadata->>'retried_by'", "NULL", "NULL")
    MOMENT("next_attempt_at", "5", "'next_attempt'", "NULL", "NULL",
        "CASE WHEN attempts > 0 THEN metadata->>'error' END")
    MOMENT("finished_at", "6", "split_part(rescrape_status, ':', 1)", "claimed_by", "claim_epoch",
        "CASE WHEN rescrape_status = 'superseded' THEN 'by ' || (metadata->>'superseded_by')"
        " WHEN starts_with(rescrape_status, 'failed') THEN metadata->>'error' END")
    ") "
    "SELECT " US("at") ", what, by, epoch, duration_ms, success, detail"
    " FROM moment ORDER BY at, rank LIMIT " AS_TEXT(VIEW_TIMELINE));

/* Due now and not since it was accepted: the janitor, which looks for what became due since it looked
 * last, is to see it. */
STMT(retry, "view", ROWS_ANY, 2,
    "WITH found AS MATERIALIZED ("
    "  SELECT c.id, c.event_id, c.rescrape_status FROM webhook.change_events c WHERE " THE_EVENT
    "  FOR UPDATE"
    "), again AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'queued', starts = 0, attempts = 0,"
    "    suspect = 0, claim_epoch = coalesce(c.claim_epoch, 0) + 1, claimed_by = NULL,"
    "    finished_at = NULL, next_attempt_at = now(),"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || jsonb_build_object('retried_by', 'api',"
    "      'retried_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
    "  FROM found f WHERE c.id = f.id AND starts_with(f.rescrape_status, 'failed')"
    "    AND starts_with(c.rescrape_status, 'failed')"
    "  RETURNING c.*"
    ") "
    "SELECT a.event_id, a.watch_id, a.watch_url, " US("a.detected_at") ", a.diff_summary,"
    "  a.snapshot_url, coalesce(a.metadata, '{}'::jsonb)::text, encode(a.body_digest, 'hex'),"
    "  f.id, f.event_id, f.rescrape_status, a.id IS NOT NULL"
    " FROM found f LEFT JOIN again a ON a.id = f.id");

/* --- crawls --------------------------------------------------------------------------------------- */

/* A page has up to a thousand of them: the metadata of each has its bound, so that the page has one. */
#define METADATA AS_TEXT(VIEW_CRAWL_METADATA)

/* $1 started_at and $2 id behind which the page begins (NULL: newest), $3 status, $4 how many. */
#define CRAWL_WALK                                                                                 \
    "FROM webhook.crawl_sessions s WHERE (s.started_at, s.id) < (coalesce(" TIME("$1") ","         \
    "   timestamptz 'infinity'), coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))"\
    " ORDER BY s.started_at DESC, s.id DESC"
STMT(view_crawls, "view", ROWS_ANY, 4,
    "WITH page AS MATERIALIZED ("
    "  SELECT s.* FROM (SELECT s.* " CRAWL_WALK " LIMIT " LOOK ") s"
    "  WHERE $3::text IS NULL OR s.status = $3"
    "  ORDER BY s.started_at DESC, s.id DESC LIMIT $4::integer + 1"
    ") "
    "SELECT " US("e.started_at") ", e.id, p.id, p.job_id, p.base_url, p.status, p.success, "
    US("p.started_at") ", " US("p.completed_at") ", p.duration_ms, p.e2e_duration_ms,"
    "  p.total_pages, p.pages_indexed, p.pages_failed, p.total_chunking_ms, p.total_embedding_ms,"
    "  p.total_qdrant_ms, p.total_bm25_ms, left(p.error_message, 4096),"
    "  CASE WHEN pg_column_size(p.extra_metadata) <= " METADATA " THEN"
    "    CASE WHEN octet_length(p.extra_metadata::text) <= " METADATA " THEN p.extra_metadata::text"
    "    END END,"
    "  p.operation_type, p.total_urls, p.completed_urls, p.failed_urls"
    " FROM (SELECT) x LEFT JOIN (SELECT s.started_at, s.id " CRAWL_WALK " OFFSET " LOOK " - 1 LIMIT 1) e"
    "   ON (SELECT count(*) FROM page) <= $4::integer"
    " LEFT JOIN page p ON true ORDER BY p.started_at DESC, p.id DESC");

/* --- the fleet ------------------------------------------------------------------------------------ */

#define DUE_SINCE "coalesce(c.next_attempt_at, c.created_at, '-infinity'::timestamptz)"

STMT(view_queues, "view", ROWS_ANY, 0,
    "SELECT q.name, q.paused_at IS NOT NULL, CASE WHEN q.name = 'change' THEN"
    "   (SELECT greatest(0, extract(epoch FROM now() - d.due) * 1000)::bigint FROM ("
    "      SELECT " DUE_SINCE " AS due FROM webhook.change_events c"
    "      WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " <= now()"
    "      ORDER BY " DUE_SINCE ", c.id LIMIT 1) d WHERE isfinite(d.due)) END"
    " FROM webhook.queues q ORDER BY q.name");

STMT(view_spools, "view", ROWS_ANY, 0,
    "SELECT host, sum(bytes)::bigint, count(*), " US("max(seen_at)")
    " FROM webhook.spools GROUP BY host ORDER BY sum(bytes) DESC, host LIMIT 1000");

STMT(view_workers, "view", ROWS_ANY, 0,
    "SELECT w.id, w.host, w.pid, CASE WHEN w.dead_at IS NULL THEN 'alive' ELSE 'dead' END, "
    US("w.started_at") ", " US("w.seen_at") ", (SELECT count(*) FROM webhook.change_events c"
    "   WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress'), w.orders,"
    "  w.status->>'phase', (w.status->>'jobs')::bigint, (w.status->>'crawls')::bigint,"
    "  nullif(w.status->>'oldest_ms', '0')::bigint, (w.status->>'rss_kb')::bigint,"
    "  (w.status->>'done')::bigint, (w.status->>'restarts')::bigint, (w.status->'pool')::text,"
    "  (w.status->'paused')::text"
    " FROM webhook.workers w ORDER BY w.started_at DESC, w.id LIMIT 1000");

STMT(view_crashes, "view", ROWS_ANY, 0,
    "SELECT worker, host, pid, role, signal, exit_code, cause, blamed, max_rss_kb, lived_ms,"
    "  held::text, " US("crashed_at")
    " FROM webhook.worker_crashes WHERE crashed_at <= now() ORDER BY crashed_at DESC LIMIT "
    AS_TEXT(VIEW_CRASHES));

/* --- documents ------------------------------------------------------------------------------------ */

STMT(view_document, "view", ROWS_ANY, 1,
    "SELECT d.url, d.canonical_url, d.title, d.description, d.language,"
    "  left(d.text, " AS_TEXT(VIEW_TEXT) "), octet_length(d.text) > " AS_TEXT(VIEW_TEXT) ", "
    US("d.scraped_at") ", encode(d.content_hash, 'hex')"
    " FROM webhook.documents d WHERE d.url_key = sha256(convert_to($1, 'UTF8'))");

/* The first so many matches are ranked and counted, however common the words are. */
STMT(view_search, "view", ROWS_ANY, 2,
    "WITH hit AS MATERIALIZED ("
    "  SELECT d.url_key, ts_rank(d.search, q) AS score, d.scraped_at"
    "  FROM webhook.documents d, websearch_to_tsquery('simple', $1) q WHERE d.search @@ q"
    "  LIMIT " AS_TEXT(VIEW_MATCHES)
    "), best AS MATERIALIZED ("
    "  SELECT * FROM hit ORDER BY score DESC, scraped_at DESC LIMIT $2::integer"
    ") "
    "SELECT t.total, d.url, d.title, d.description, d.language,"
    "  ts_headline('simple', left(d.text, 100000), websearch_to_tsquery('simple', $1),"
    "    'StartSel=«, StopSel=», MaxWords=30, MinWords=15, MaxFragments=1'),"
    "  b.score, " US("b.scraped_at")
    " FROM (SELECT count(*) AS total FROM hit) t LEFT JOIN best b ON true"
    "  LEFT JOIN webhook.documents d ON d.url_key = b.url_key"
    " ORDER BY b.score DESC, b.scraped_at DESC");
