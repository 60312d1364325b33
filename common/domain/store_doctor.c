/* store_doctor: see store_doctor.h. */
#include "domain/store_doctor.h"

#include "domain/store_private.h"

/* pg_stat_activity tells how many there are even to those who may not see what they do. */
STMT(doctor_server, "reader", ROWS_ONE, 0,
    "SELECT current_setting('server_version'), current_setting('server_version_num')::integer,"
    "  pg_encoding_to_char(d.encoding), current_setting('max_connections')::integer,"
    "  current_setting('superuser_reserved_connections')::integer"
    "    + coalesce(current_setting('reserved_connections', true)::integer, 0),"
    "  (SELECT count(*) FROM pg_stat_activity"
    "   WHERE backend_type IS NULL OR backend_type = 'client backend'),"
    "  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), d.datconnlimit,"
    "  current_setting('synchronous_commit'), current_setting('fsync'),"
    "  current_setting('full_page_writes'), inet_server_port()"
    " FROM pg_database d WHERE d.datname = current_database()");

#define POOL_MAX                                                                                   \
    "CASE WHEN status #>> '{pool,max}' ~ '^[0-9]{1,9}$'"                                           \
    " THEN (status #>> '{pool,max}')::bigint END"
#define QUEUES(column)                                                                             \
    "(SELECT string_agg(name, ', ' ORDER BY name) FROM webhook.queues"                             \
    " WHERE " column " IS NOT NULL)"

STMT(doctor_fleet, "reader", ROWS_ONE, 1,
    "WITH edge AS (SELECT now() - $1::bigint * interval '1 ms' AS at)"
    " SELECT w.*, p.*, g.*, " QUEUES("paused_at") ", " QUEUES(
        "fenced_at") " FROM edge,"
                     "  LATERAL (SELECT count(*), count(" POOL_MAX "), coalesce(sum(" POOL_MAX
                     "), 0)"
                     "    FROM webhook.workers WHERE dead_at IS NULL AND seen_at >= edge.at) w,"
                     "  LATERAL (SELECT count(*) FILTER (WHERE seen_at >= edge.at),"
                     "      count(" POOL_MAX ") FILTER (WHERE seen_at >= edge.at),"
                     "      coalesce(sum(" POOL_MAX ") FILTER (WHERE seen_at >= edge.at), 0),"
                     "      count(*) FILTER (WHERE seen_at < edge.at)"
                     "    FROM webhook.producers) p,"
                     "  LATERAL (SELECT count(*), coalesce(sum(bytes), 0)"
                     "    FROM webhook.spools WHERE seen_at < edge.at) g");

void store_doctor_server(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_doctor_server, cb, ctx, NULL);
}

void store_doctor_fleet(struct store *s, int64_t silent_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_doctor_fleet, cb, ctx, (const char *[]){store_number(silent_ms).text});
}
