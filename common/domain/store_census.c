/* store_census: see store_census.h. */
#include "domain/store_census.h"

#include "domain/store_private.h"

/* clang-format off */

#define US(time)  "(extract(epoch FROM " time ") * 1000000)::bigint"
#define AGE(time) "(extract(epoch FROM now() - " time ") * 1000)::bigint"
#define DUE_SINCE "coalesce(c.next_attempt_at, c.created_at, '-infinity'::timestamptz)"
#define WAITS     "c.rescrape_status = 'queued' AND c.next_attempt_at > now()"

STMT(census, "operator", ROWS_ONE, 0,
    "WITH open AS ("
    "  SELECT c.rescrape_status = 'queued' AS queued, c.suspect >= 2 AS suspect, c.created_at,"
    "    c.event_id IS NULL AS unidentified,"
    "    CASE WHEN " WAITS " THEN c.next_attempt_at END AS due,"
    "    c.rescrape_status = 'in_progress' AND w.id IS NULL AS orphaned"
    "  FROM webhook.change_events c"
    "  LEFT JOIN webhook.workers w ON w.id = c.claimed_by AND w.dead_at IS NULL"
    "  WHERE c.rescrape_status IN ('queued', 'in_progress')"
    "), n AS ("
    "  SELECT count(*) FILTER (WHERE queued AND due IS NULL) AS due,"
    "    count(*) FILTER (WHERE due IS NOT NULL) AS later, min(due) AS next_due,"
    "    count(*) FILTER (WHERE NOT queued) AS in_progress,"
    "    count(*) FILTER (WHERE orphaned) AS orphaned, count(*) FILTER (WHERE suspect) AS suspects,"
    "    count(*) FILTER (WHERE unidentified) AS unidentified, min(created_at) AS oldest FROM open"
    ") "
    "SELECT n.due, n.later, " US("n.next_due") ", n.in_progress, n.orphaned, n.suspects,"
    "  n.unidentified, " US("n.oldest") ", k.last_value + k.is_called::integer,"
    "  pg_sequence_last_value(pg_get_serial_sequence('webhook.change_events', 'id')::regclass),"
    "  " US("pg_postmaster_start_time()") " || '/' ||"
    "    (SELECT oid FROM pg_database WHERE datname = current_database()),"
    "  pg_is_in_recovery(), q.generation, q.announced_at IS NOT NULL,"
    "  (SELECT generation FROM webhook.queues WHERE name = 'crawl'), " US("clock_timestamp()") ","
    "  (SELECT count(*) FROM webhook.crawl_sessions WHERE reconcile_at IS NOT NULL)"
    " FROM n CROSS JOIN webhook.scrape_clock k"
    " LEFT JOIN webhook.queues q ON q.name = 'change'");

/* A producer that says of itself that it has something on its disk is believed, whether or not its
 * segments have rows already. */
#define TOLD(member)                                                                               \
    "CASE WHEN jsonb_typeof(status->'" member "') = 'number'"                                      \
    " THEN (status->>'" member "')::numeric::bigint END"
#define TEXT(n)    #n
#define AS_TEXT(n) TEXT(n)
STMT(census_fleet, "operator", ROWS_ANY, 0,
    "SELECT m.*, " US("now()") " FROM ("
    "SELECT 'spool', segment, host, folder, " AGE("seen_at") ", bytes, NULL,"
    "  NULL::bigint, NULL::bigint, NULL::bigint"
    " FROM webhook.spools WHERE bytes > 0"
    " UNION ALL SELECT 'producer', id, host, array_to_string(fenced, ','), " AGE("seen_at") ", "
    TOLD("spool_bytes") ", NULL, " TOLD("crawl_spool_bytes") ", " TOLD("in_memory") ", "
    TOLD("crawl_in_memory") " FROM webhook.producers"
    " UNION ALL SELECT 'worker', id, host, coalesce(status->>'phase', orders), " AGE("seen_at") ", "
    TOLD("jobs") ", NULL, NULL, NULL, NULL FROM webhook.workers WHERE dead_at IS NULL"
    " UNION ALL SELECT 'upstream', host, NULL, state,"
    "  greatest(0, extract(epoch FROM open_until - now()) * 1000)::bigint, failures, NULL,"
    "  NULL, NULL, NULL FROM webhook.upstreams WHERE state <> 'closed'"
    " UNION ALL SELECT 'queue', name, NULL, NULL, " AGE("paused_at") ", " AGE("fenced_at") ","
    "  coalesce(fenced_by, paused_by), NULL, NULL, NULL FROM webhook.queues"
    " ORDER BY 1, 5 DESC, 2 LIMIT " AS_TEXT(CENSUS_MEMBERS) ") m");

#define NAMED "coalesce(c.event_id::text, 'row ' || c.id), c.watch_url"
STMT(census_names, "operator", ROWS_ANY, 1,
    "(SELECT 'due', " NAMED ", " US("coalesce(c.next_attempt_at, c.created_at)") ", NULL"
    " FROM webhook.change_events c WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " <= now()"
    " ORDER BY " DUE_SINCE ", c.id LIMIT $1::integer)"
    " UNION ALL"
    " (SELECT 'later', " NAMED ", " US("c.next_attempt_at") ", NULL"
    " FROM webhook.change_events c WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " > now()"
    " ORDER BY " DUE_SINCE ", c.id LIMIT $1::integer)"
    " UNION ALL"
    " (SELECT 'in_progress', " NAMED ", " US("coalesce(c.claimed_at, c.created_at)") ", c.claimed_by"
    " FROM webhook.change_events c WHERE c.rescrape_status = 'in_progress'"
    " ORDER BY c.claimed_at NULLS FIRST, c.id LIMIT $1::integer)");

STMT(hasten, "operator", ROWS_ANY, 1,
    "WITH waiting AS MATERIALIZED (" /* the limit holds once, however the join is run */
    "  SELECT c.id FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'queued' AND " DUE_SINCE " > now()"
    "  ORDER BY " DUE_SINCE ", c.id LIMIT $1::integer FOR UPDATE OF c SKIP LOCKED"
    ") "
    "UPDATE webhook.change_events h SET next_attempt_at = now()"
    " FROM waiting w WHERE h.id = w.id AND h.rescrape_status = 'queued' RETURNING h.event_id");

/* clang-format on */

void store_census(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_census, cb, ctx, NULL);
}

void store_census_fleet(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_census_fleet, cb, ctx, NULL);
}

void store_census_names(struct store *s, int most, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_census_names, cb, ctx, (const char *[]){store_number(most).text});
}

void store_hasten(struct store *s, int max, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_hasten, cb, ctx, (const char *[]){store_number(max).text});
}
