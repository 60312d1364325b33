/* store_samples_sql: the statements of store_samples. */
#include "domain/store_samples.h"
#include "domain/store_sql.h"

/* clang-format off */

#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)
#define SLOT       AS_TEXT(SAMPLES_SLOT_S)
#define DAYS       AS_TEXT(SAMPLES_DAYS)
#define LOOK       AS_TEXT(OVERVIEW_LOOK)
#define ERRORS     AS_TEXT(OVERVIEW_ERRORS)
#define TALLIES    AS_TEXT(TALLIES_LOOK)

#define US(time)   "(extract(epoch FROM " time ") * 1000000)::bigint"
/* greatest() passes over a NULL: of no time there is no age. */
#define MS_SINCE(time)                                                                             \
    "CASE WHEN " time " IS NOT NULL"                                                               \
    " THEN greatest(0, extract(epoch FROM now() - " time ") * 1000)::bigint END"
#define ISO(time)  "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define DUE_SINCE  "coalesce(c.next_attempt_at, c.created_at, '-infinity'::timestamptz)"
#define THIS_SLOT  "to_timestamp(floor(extract(epoch FROM now()) / " SLOT ") * " SLOT ")"
#define SILENT     "now() - 2 * $1::bigint * interval '1 ms'" /* $1: a lease, in ms */

/* --- writing ------------------------------------------------------------------------------------ */

/* Rows of tallies are locked in order, behind the sample's: processes that tell at once wait for each
 * other, and never in a circle. */
STMT(samples_add, "samples", ROWS_NONE, 18,
    "WITH manners AS MATERIALIZED ("
    "  SELECT set_config('synchronous_commit', 'off', true) AS off"
    "), tallied AS ("
    "  INSERT INTO webhook.tallies AS t (hour, kind, name, outcome, n, took_ms)"
    "  SELECT date_trunc('hour', now(), 'UTC'), kind, left(name, 300), outcome, sum(n), sum(took_ms)"
    "  FROM unnest($14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[])"
    "    AS u (kind, name, outcome, n, took_ms)"
    "  GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    "  ON CONFLICT (hour, kind, name, outcome) DO UPDATE"
    "    SET n = t.n + excluded.n, took_ms = t.took_ms + excluded.took_ms"
    ") "
    "INSERT INTO webhook.samples AS s (at, accepted, crawl_accepted, refused, completed, superseded,"
    "  retried, failed, crawl_done, in_flight, depth, crawl_depth, oldest_ms, latency)"
    " SELECT " THIS_SLOT ", $1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint,"
    "  $7::bigint, $8::bigint, $9::bigint, nullif($10::bigint, -1), nullif($11::bigint, -1),"
    "  nullif($12::bigint, -1), $13::bigint[]"
    " FROM manners"
    " ON CONFLICT (at) DO UPDATE SET accepted = s.accepted + excluded.accepted,"
    "  crawl_accepted = s.crawl_accepted + excluded.crawl_accepted,"
    "  refused = s.refused + excluded.refused, completed = s.completed + excluded.completed,"
    "  superseded = s.superseded + excluded.superseded, retried = s.retried + excluded.retried,"
    "  failed = s.failed + excluded.failed, crawl_done = s.crawl_done + excluded.crawl_done,"
    "  in_flight = s.in_flight + excluded.in_flight,"
    "  depth = coalesce(s.depth, excluded.depth),"
    "  crawl_depth = coalesce(s.crawl_depth, excluded.crawl_depth),"
    "  oldest_ms = coalesce(s.oldest_ms, excluded.oldest_ms),"
    "  latency = coalesce((SELECT array_agg(coalesce(u.a, 0) + coalesce(u.b, 0) ORDER BY u.place)"
    "    FROM unnest(s.latency, excluded.latency) WITH ORDINALITY u (a, b, place)), '{}')");

STMT(prune_samples, "retention", ROWS_ONE, 1,
    "WITH gone AS (DELETE FROM webhook.samples WHERE at = ANY (ARRAY("
    "   SELECT at FROM webhook.samples WHERE at < now() - " DAYS " * interval '1 day'"
    "   ORDER BY at LIMIT $1::integer)) RETURNING 1) SELECT count(*) FROM gone");

STMT(prune_tallies, "retention", ROWS_ONE, 1,
    "WITH gone AS (DELETE FROM webhook.tallies WHERE ctid = ANY (ARRAY("
    "   SELECT ctid FROM webhook.tallies WHERE hour < now() - " DAYS " * interval '1 day'"
    "   ORDER BY hour LIMIT $1::integer FOR UPDATE SKIP LOCKED)) RETURNING 1) SELECT count(*) FROM gone");

/* --- the series --------------------------------------------------------------------------------- */

#define CELL(n)    "sum(latency[" #n "])"
#define LATENCY                                                                                    \
    "ARRAY[" CELL(1) "," CELL(2) "," CELL(3) "," CELL(4) "," CELL(5) "," CELL(6) "," CELL(7) ","   \
    CELL(8) "," CELL(9) "," CELL(10) "," CELL(11) "," CELL(12) "," CELL(13) "," CELL(14) ","       \
    CELL(15) "," CELL(16) "," CELL(17) "]::bigint[]"
_Static_assert(SAMPLES_CELLS == 17, "LATENCY has as many");

/* The present slot is not over: what processes still add to it belongs there. */
STMT(series, "view", ROWS_ANY, 2,
    "WITH edge AS MATERIALIZED ("
    "  SELECT ceil((extract(epoch FROM " THIS_SLOT ") - $1::bigint * 60) / $2::bigint)::bigint"
    "      * $2::bigint AS since, extract(epoch FROM " THIS_SLOT ")::bigint AS until"
    ") "
    "SELECT e.since, e.until, p.* FROM edge e LEFT JOIN LATERAL ("
    "  SELECT floor(extract(epoch FROM s.at) / $2::bigint)::bigint * $2::bigint AS step,"
    "    sum(s.accepted + s.crawl_accepted), sum(s.completed), sum(s.failed), sum(s.superseded),"
    "    sum(s.retried), sum(s.refused), max(s.depth), max(s.oldest_ms), max(s.in_flight), " LATENCY
    "  FROM webhook.samples s"
    "  WHERE s.at >= to_timestamp(e.since) AND s.at < to_timestamp(e.until) GROUP BY 1) p ON true"
    " ORDER BY p.step");

#define SUM(column) "coalesce(sum(" column ") FILTER (WHERE at >= " THIS_SLOT " - interval '1 minute'), 0)"
#define HOUR(column) "coalesce(sum(" column "), 0)"
#define FIVE(n)    "sum(latency[" #n "]) FILTER (WHERE at >= " THIS_SLOT " - interval '5 minutes')"
STMT(rates, "view", ROWS_ONE, 0,
    "SELECT " SUM("accepted + crawl_accepted") ", " SUM("completed") ", "
    SUM("failed") ", " SUM("superseded") ", " SUM("retried") ", " SUM("refused") ", "
    SUM("accepted") ", " HOUR("failed") ", " HOUR("retried") ", " HOUR("completed") ","
    " ARRAY[" FIVE(1) "," FIVE(2) "," FIVE(3) "," FIVE(4) "," FIVE(5) "," FIVE(6) "," FIVE(7) ","
    FIVE(8) "," FIVE(9) "," FIVE(10) "," FIVE(11) "," FIVE(12) "," FIVE(13) "," FIVE(14) ","
    FIVE(15) "," FIVE(16) "," FIVE(17) "]::bigint[]"
    " FROM webhook.samples WHERE at >= " THIS_SLOT " - interval '1 hour' AND at < " THIS_SLOT);

/* --- tallies ------------------------------------------------------------------------------------ */

#define TALLIED(of_kind, since)                                                                    \
    "tallied AS MATERIALIZED ("                                                                    \
    "  SELECT hour, name, outcome, n, took_ms FROM webhook.tallies"                                \
    "  WHERE hour > " since " AND kind = '" of_kind "' ORDER BY hour DESC LIMIT " TALLIES ")"
#define HOURS_AGO  "now() - $1::integer * interval '1 hour'"

STMT(sources, "view", ROWS_ANY, 1,
    "WITH " TALLIED("source", HOURS_AGO)
    " SELECT name, outcome, sum(n)::bigint, " US("max(hour)")
    " FROM tallied GROUP BY name, outcome ORDER BY name, sum(n) DESC, outcome LIMIT 100");

/* What a host says about one page is no fault of its own. */
#define IS_ERROR   "outcome IN ('upstream_error', 'timeout', 'connection')"

STMT(upstreams_seen, "view", ROWS_ANY, 1,
    "WITH " TALLIED("upstream", HOURS_AGO) ", by_outcome AS ("
    "  SELECT name, outcome, sum(n)::bigint AS n, sum(took_ms) AS took_ms FROM tallied"
    "  GROUP BY name, outcome"
    "), by_host AS ("
    "  SELECT name, sum(n)::bigint AS n, sum(took_ms) AS took_ms,"
    "    coalesce(sum(n) FILTER (WHERE " IS_ERROR "), 0)::bigint AS errors,"
    "    coalesce(sum(n) FILTER (WHERE outcome = 'throttled'), 0)::bigint AS throttled,"
    "    json_object_agg(outcome, n ORDER BY n DESC, outcome)::text AS outcomes"
    "  FROM by_outcome GROUP BY name ORDER BY 2 DESC, name LIMIT " AS_TEXT(TALLIES_HOSTS)
    "), circuits AS ("
    "  SELECT * FROM webhook.upstreams ORDER BY state = 'closed', host LIMIT " AS_TEXT(TALLIES_HOSTS)
    ") "
    "SELECT coalesce(u.host, t.name), coalesce(u.state, 'closed'), coalesce(u.failures, 0),"
    "  CASE WHEN u.state <> 'closed' THEN greatest(0, extract(epoch FROM u.open_until - now()) * 1000)::bigint END,"
    "  u.probe_by, u.last_error, " US("u.changed_at") ", coalesce(t.n, 0), coalesce(t.errors, 0),"
    "  coalesce(t.throttled, 0), t.took_ms / nullif(t.n, 0), coalesce(t.outcomes, '{}')"
    " FROM by_host t FULL JOIN circuits u ON u.host = t.name"
    " ORDER BY coalesce(u.state, 'closed') = 'closed', coalesce(t.n, 0) DESC, 1"
    " LIMIT " AS_TEXT(TALLIES_HOSTS));

/* --- the system --------------------------------------------------------------------------------- */

/* Living producers beat every two seconds: who watches is told of every fifth. */
#define SEEN_AT    "to_timestamp(floor(extract(epoch FROM r.seen_at) / 10) * 10)"
#define METRICS_OF(t) "'metrics', " t ".status->'metrics', 'pool', " t ".status->'pool',"             \
    " 'rss_kb', " t ".status->'rss_kb'"
STMT(system, "view", ROWS_ONE, 1,
    "SELECT (SELECT max(version) FROM webhook.schema_migrations),"
    "  (SELECT json_agg(json_build_object('version', version, 'name', name, 'applied_at', "
    ISO("applied_at") ") ORDER BY version) FROM webhook.schema_migrations)::text,"
    "  (SELECT json_object_agg(name, json_build_object('id', generation, 'announced_at', "
    ISO("announced_at") ") ORDER BY name) FROM webhook.queues)::text,"
    "  coalesce((SELECT json_agg(p.one ORDER BY p.kind, p.host, p.id) FROM ("
    "    (SELECT 'worker' AS kind, w.host, w.id, json_build_object('id', w.id, 'kind', 'worker', 'host', w.host,"
    "       'pid', w.pid, 'state', CASE WHEN w.dead_at IS NOT NULL THEN 'dead'"
    "         WHEN w.seen_at < " SILENT " THEN 'silent' ELSE 'alive' END,"
    "       'started_at', " ISO("w.started_at") ", 'seen_at', " ISO("w.seen_at") ", " METRICS_OF("w") ") AS one"
    "     FROM webhook.workers w ORDER BY w.dead_at IS NOT NULL, w.started_at, w.id LIMIT 500)"
    "    UNION ALL"
    "    (SELECT 'producer', r.host, r.id, json_build_object('id', r.id, 'kind', 'producer', 'host', r.host,"
    "       'pid', r.pid, 'state', CASE WHEN r.seen_at < now() - interval '30 s' THEN 'silent' ELSE 'alive' END,"
    "       'started_at', " ISO("r.started_at") ", 'seen_at', " ISO(SEEN_AT) ", " METRICS_OF("r") ")"
    "     FROM webhook.producers r ORDER BY r.seen_at DESC, r.id LIMIT 500)) p)::text, '[]'),"
    "  coalesce((SELECT json_agg(json_build_object('segment', g.segment, 'host', g.host, 'folder', g.folder,"
    "     'holder', g.holder, 'bytes', g.bytes, 'seen_at', " ISO("g.seen_at") ")) FROM ("
    "     SELECT * FROM webhook.spools ORDER BY segment LIMIT 200) g)::text, '[]'),"
    "  (SELECT json_build_object('level', level, 'until', " ISO("until") ", 'by', set_by)::text"
    "   FROM webhook.log_level WHERE until > now())");

/* --- at a glance -------------------------------------------------------------------------------- */

#define IS_FAILED   "starts_with(c.rescrape_status, 'failed')"
#define FAILED_TIME "coalesce(c.finished_at, c.created_at)"
#define REASON      "left(coalesce(c.metadata->>'error', c.rescrape_status), 200)"

/* In the order in which they became due: those that are come first. */
STMT(glance, "view", ROWS_ONE, 1,
    "WITH waiting AS MATERIALIZED ("
    "  SELECT " DUE_SINCE " AS due, coalesce(c.attempts, 0) AS attempts FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'queued' ORDER BY " DUE_SINCE ", c.id LIMIT " LOOK
    "), held AS MATERIALIZED ("
    "  SELECT c.claimed_by, c.claimed_at FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'in_progress' ORDER BY c.claimed_by LIMIT " LOOK
    "), orphans AS ("
    "  SELECT count(*) AS n, min(h.claimed_at) AS since FROM held h"
    "  LEFT JOIN webhook.workers w ON w.id = h.claimed_by AND w.dead_at IS NULL AND w.seen_at >= " SILENT
    "  WHERE w.id IS NULL"
    ") "
    "SELECT q.*, (SELECT count(*) FROM held),"
    "  (SELECT count(*) FROM held WHERE claimed_at > now() - interval '1 minute'), o.n, " MS_SINCE("o.since") ","
    "  (SELECT count(*) FROM (SELECT FROM webhook.change_events c WHERE " IS_FAILED
    "     AND " FAILED_TIME " > '-infinity' ORDER BY " FAILED_TIME " DESC LIMIT " LOOK ") f),"
    "  (SELECT count(*) FROM (SELECT FROM webhook.change_events c WHERE c.suspect >= 2"
    "     AND c.rescrape_status IN ('queued', 'in_progress') ORDER BY c.id LIMIT " LOOK ") s)"
    " FROM orphans o, (SELECT count(*), count(*) FILTER (WHERE due <= now()),"
    "   count(*) FILTER (WHERE attempts > 0),"
    "   CASE WHEN min(due) <= now() THEN " MS_SINCE("min(due) FILTER (WHERE isfinite(due))") " END"
    "   FROM waiting) q");

#define QUEUE(of, column) "(SELECT " column " FROM webhook.queues WHERE name = '" of "')"
#define HELD_BYTES(t)                                                                              \
    "(coalesce((" t ".status->>'spool_bytes')::bigint, 0)"                                         \
    " + coalesce((" t ".status->>'crawl_spool_bytes')::bigint, 0))"
STMT(glance_fleet, "view", ROWS_ONE, 1,
    "SELECT w.*, p.*, x.id, x.host, x.bytes, x.ms, g.*, k.*, "
    QUEUE("change", MS_SINCE("paused_at")) ", " QUEUE("change", "paused_by") ", "
    QUEUE("change", MS_SINCE("fenced_at")) ", " QUEUE("change", "fenced_by") ", "
    QUEUE("crawl", MS_SINCE("paused_at")) ", " QUEUE("crawl", "paused_by") ", "
    QUEUE("crawl", MS_SINCE("fenced_at")) ", " QUEUE("crawl", "fenced_by")
    " FROM (SELECT count(*) FILTER (WHERE dead_at IS NULL AND seen_at >= " SILENT "),"
    "    count(*) FILTER (WHERE dead_at IS NULL AND seen_at < " SILENT "),"
    "    count(*) FILTER (WHERE dead_at IS NOT NULL),"
    "    count(*) FILTER (WHERE dead_at IS NULL AND seen_at >= " SILENT " AND orders = 'quiet'),"
    "    " MS_SINCE("min(started_at) FILTER (WHERE dead_at IS NULL AND seen_at >= " SILENT ")")
    "  FROM (SELECT * FROM webhook.workers LIMIT 10000) l) w,"
    "  (SELECT count(*) FILTER (WHERE seen_at >= now() - interval '30 s'),"
    "    count(*) FILTER (WHERE seen_at < now() - interval '30 s')"
    "  FROM (SELECT * FROM webhook.producers LIMIT 10000) l) p"
    "  LEFT JOIN (SELECT r.id, r.host, " HELD_BYTES("r") " AS bytes, " MS_SINCE("r.seen_at") " AS ms"
    "    FROM (SELECT * FROM webhook.producers LIMIT 10000) r"
    "    WHERE r.seen_at < now() - interval '30 s' AND " HELD_BYTES("r") " > 0"
    "    ORDER BY 3 DESC, 1 LIMIT 1) x ON true,"
    "  (SELECT coalesce(sum(bytes), 0)::bigint, count(DISTINCT host) FROM ("
    "     SELECT * FROM webhook.spools ORDER BY segment LIMIT 10000) l) g,"
    "  (SELECT count(*), (array_agg(cause ORDER BY crashed_at DESC))[1] FROM ("
    "     SELECT cause, crashed_at FROM webhook.worker_crashes"
    "     WHERE crashed_at > now() - interval '1 hour' ORDER BY crashed_at DESC LIMIT 1000) l) k");

#define LAST_MINUTE "now() - interval '1 minute'"
#define LAST_HOURS "now() - interval '2 hours'"
STMT(glance_troubles, "view", ROWS_ONE, 0,
    "WITH dead AS MATERIALIZED ("
    "  SELECT " REASON " AS reason FROM webhook.change_events c"
    "  WHERE " IS_FAILED " AND " FAILED_TIME " > now() - interval '1 hour'"
    "  ORDER BY " FAILED_TIME " DESC LIMIT " ERRORS
    "), again AS MATERIALIZED ("
    "  SELECT q.reason FROM (SELECT c.attempts, " REASON " AS reason FROM webhook.change_events c"
    "    WHERE c.rescrape_status = 'queued' ORDER BY c.id DESC LIMIT " ERRORS ") q"
    "  WHERE q.attempts > 0 AND q.reason <> 'queued'"
    "), fetched AS MATERIALIZED ("
    "  SELECT name, outcome, sum(n)::bigint AS n FROM (SELECT * FROM webhook.tallies"
    "    WHERE hour > " LAST_HOURS " AND kind = 'upstream' ORDER BY hour DESC LIMIT " TALLIES ") t"
    "  GROUP BY name, outcome"
    "), refused AS MATERIALIZED ("
    "  SELECT outcome, sum(n)::bigint AS n FROM (SELECT * FROM webhook.tallies"
    "    WHERE hour > " LAST_HOURS " AND kind = 'source'"
    "      AND outcome NOT IN ('accepted', 'duplicate') ORDER BY hour DESC LIMIT 1000) t GROUP BY outcome"
    "), circuits AS MATERIALIZED ("
    "  SELECT * FROM webhook.upstreams WHERE state <> 'closed' ORDER BY changed_at LIMIT 1000"
    ") "
    "SELECT (SELECT count(*) FROM dead), d.reason, d.n, a.reason, a.n,"
    "  (SELECT count(*) FROM circuits), c.host, c.last_error,"
    "  CASE WHEN c.host IS NOT NULL THEN"
    "   greatest(0, extract(epoch FROM c.open_until - now()) * 1000)::bigint END,"
    "  (SELECT coalesce(sum(n), 0)::bigint FROM fetched),"
    "  (SELECT coalesce(sum(n), 0)::bigint FROM fetched WHERE " IS_ERROR "), f.name, f.outcome,"
    "  (SELECT coalesce(sum(n), 0)::bigint FROM refused), r.outcome,"
    "  (SELECT count(*) FROM (SELECT FROM webhook.upstreams WHERE state = 'closed'"
    "     AND changed_at > " LAST_MINUTE " LIMIT 1) u) +"
    "  (SELECT count(*) FROM (SELECT command FROM webhook.operator_log WHERE at > " LAST_MINUTE
    "     ORDER BY at DESC LIMIT 100) l WHERE command IN ('resume', 'unquiet', 'workers order'))"
    " FROM (SELECT 1) one"
    " LEFT JOIN (SELECT reason, count(*) AS n FROM dead GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1) d ON true"
    " LEFT JOIN (SELECT reason, count(*) AS n FROM again GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1) a ON true"
    " LEFT JOIN (SELECT * FROM circuits ORDER BY changed_at LIMIT 1) c ON true"
    " LEFT JOIN (SELECT * FROM fetched WHERE " IS_ERROR " ORDER BY n DESC, name LIMIT 1) f ON true"
    " LEFT JOIN (SELECT * FROM refused ORDER BY n DESC, outcome LIMIT 1) r ON true");
