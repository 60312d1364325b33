/* store_metrics_sql: the statements of metrics.c; see store_sql.h. A row has its id before it is
 * sent, so that a batch may be sent again after an unsure commit, by the statements `_again`: what is
 * there already stays. They cost a quarter more. No constraint is named, since adopted tables have
 * others than ours (sql/001). */
#include "domain/store_sql.h"

#define BEGAN "'epoch'::timestamptz + at * interval '1 microsecond', took / 1000.0::float8"
#define AGAIN " ON CONFLICT DO NOTHING"

#define REQUESTS                                                                                   \
    "INSERT INTO webhook.request_metrics (id, \"timestamp\", duration_ms, status_code, method,"    \
    "  path, request_id, client_ip, user_agent, extra_metadata, created_at)"                       \
    " SELECT id, " BEGAN ", status, method, path, request_id, client_ip, user_agent,"              \
    "  extra::jsonb, now()"                                                                        \
    " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[],"              \
    "  $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])"                               \
    " AS r (id, at, took, status, method, path, request_id, client_ip, user_agent, extra)"

#define OPERATIONS                                                                                 \
    "INSERT INTO webhook.operation_metrics (id, \"timestamp\", duration_ms, success,"              \
    "  operation_type, operation_name, error_message, request_id, job_id, crawl_id,"               \
    "  document_url, extra_metadata, created_at)"                                                  \
    " SELECT id, " BEGAN ", success <> 0, type, name, error, request_id, job_id, crawl_id,"        \
    "  document_url, extra::jsonb, now()"                                                          \
    " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[],"              \
    "  $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])"     \
    " AS o (id, at, took, success, type, name, error, request_id, job_id, crawl_id,"               \
    "  document_url, extra)"

/* Before each batch, in its transaction. A table that is locked, be it for the moments in which a
 * partition is made, must not keep a connection of the pool. And nobody waits for these rows: the
 * disk gets them along with what others sync, not the other way round. */
STMT(metrics_manners, "metrics", ROWS_ONE, 0,
    "SELECT set_config('lock_timeout', '250ms', true),"
    " set_config('synchronous_commit', 'off', true)");
STMT(metrics_requests, "metrics", ROWS_NONE, 10, REQUESTS);
STMT(metrics_requests_again, "metrics", ROWS_NONE, 10, REQUESTS AGAIN);
STMT(metrics_operations, "metrics", ROWS_NONE, 12, OPERATIONS);
STMT(metrics_operations_again, "metrics", ROWS_NONE, 12, OPERATIONS AGAIN);
