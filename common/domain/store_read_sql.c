/* store_read_sql: the statements of store_read.c. Lists of different lengths come side by side, in
 * rows numbered alike, so that one statement, with one snapshot and one deadline, answers all. */
#include "domain/store_sql.h"

#define MICROSECONDS(t) "(extract(epoch FROM " t ") * 1000000)::bigint"

/* Rows m of the last $1 hours. */
#define IN_WINDOW "m.\"timestamp\" >= now() - $1::integer * interval '1 hour'"

/* The parameter is NULL, or it is what the column holds. */
#define IS_IF_GIVEN(column, param, type)                                                           \
    "(" param "::" type " IS NULL OR " column " = " param "::" type ")"

/* Filters of the list of requests, but for the duration. */
#define REQUESTS_ASKED                                                                             \
    IN_WINDOW " AND " IS_IF_GIVEN("m.path", "$4", "text") " AND " IS_IF_GIVEN(                     \
        "m.method", "upper($5)", "text")

#define SLOW_ENOUGH "($6::float8 IS NULL OR m.duration_ms >= $6::float8)"

STMT(read_requests, "API", ROWS_ANY, 6,
    "SELECT s.total, s.n, s.mean, s.least, s.most, p.* FROM ("
    "  SELECT count(*) FILTER (WHERE " SLOW_ENOUGH ") AS total, count(*) AS n,"
    "    avg(m.duration_ms) AS mean, min(m.duration_ms) AS least, max(m.duration_ms) AS most"
    "  FROM webhook.request_metrics m WHERE " REQUESTS_ASKED ") s LEFT JOIN ("
    "  SELECT m.id, " MICROSECONDS(
        "m.\"timestamp\"") " AS at, m.method, m.path, m.status_code,"
                           "    m.duration_ms, m.request_id, m.client_ip"
                           "  FROM webhook.request_metrics m WHERE " REQUESTS_ASKED
                           " AND " SLOW_ENOUGH "  ORDER BY m.\"timestamp\" DESC, m.id LIMIT "
                           "$2::bigint OFFSET $3::bigint"
                           ") p ON true ORDER BY p.at DESC, p.id");

#define OPERATIONS_ASKED                                                                           \
    IN_WINDOW " AND " IS_IF_GIVEN("m.operation_type", "$4", "text") " AND " IS_IF_GIVEN(           \
        "m.operation_name", "$5", "text") " AND " IS_IF_GIVEN("m.document_url", "$6",              \
        "text") " AND " IS_IF_GIVEN("m.success", "$7", "boolean")

STMT(read_operations, "API", ROWS_ANY, 7,
    "WITH page AS ("
    "  SELECT row_number() OVER (ORDER BY m.\"timestamp\" DESC, m.id) AS n, m.*"
    "  FROM webhook.operation_metrics m WHERE " OPERATIONS_ASKED
    "  ORDER BY m.\"timestamp\" DESC, m.id LIMIT $2::bigint OFFSET $3::bigint"
    "), types AS ("
    "  SELECT row_number() OVER (ORDER BY m.operation_type) + $3::bigint AS n, m.operation_type,"
    "    avg(m.duration_ms) AS mean, min(m.duration_ms) AS least, max(m.duration_ms) AS most,"
    "    count(*) AS total, count(*) FILTER (WHERE m.success) AS good"
    "  FROM webhook.operation_metrics m"
    "  WHERE " IN_WINDOW " AND " IS_IF_GIVEN("m.operation_type", "$4",
        "text") "  GROUP BY m.operation_type LIMIT 1000"
                ") "
                "SELECT s.total, b.* FROM ("
                "  SELECT count(*) AS total FROM webhook.operation_metrics m "
                "WHERE " OPERATIONS_ASKED ") s LEFT JOIN ("
                "  SELECT p.id, " MICROSECONDS(
                    "p.\"timestamp\"") ", p.operation_type, p.operation_name,"
                                       "    p.duration_ms, p.success, left(p.error_message, 4096), "
                                       "p.request_id, p.job_id, p.document_url,"
                                       "    t.operation_type, t.mean, t.least, t.most, t.total, "
                                       "t.good, t.total - t.good,"
                                       "    t.good::float8 / t.total * 100, n"
                                       "  FROM page p FULL JOIN types t USING (n)"
                                       ") b ON true ORDER BY b.n");

STMT(read_summary, "API", ROWS_ANY, 1,
    "WITH types AS ("
    "  SELECT row_number() OVER (ORDER BY m.operation_type) AS n, m.operation_type,"
    "    count(*) AS total, avg(m.duration_ms) AS mean,"
    "    count(*) FILTER (WHERE NOT m.success) AS bad"
    "  FROM webhook.operation_metrics m WHERE " IN_WINDOW " GROUP BY m.operation_type LIMIT 1000"
    "), paths AS ("
    "  SELECT row_number() OVER (ORDER BY mean DESC, path) AS n, path, mean, total FROM ("
    "    SELECT coalesce(m.extra_metadata->>'route', m.path) AS path,"
    "      avg(m.duration_ms) AS mean, count(*) AS total"
    "    FROM webhook.request_metrics m WHERE " IN_WINDOW " GROUP BY 1"
    "    ORDER BY 2 DESC, 1 LIMIT 10) slowest"
    ") "
    "SELECT s.total, s.mean, s.bad, b.* FROM ("
    "  SELECT count(*) AS total, avg(m.duration_ms) AS mean,"
    "    sum((m.status_code >= 400)::integer) AS bad"
    "  FROM webhook.request_metrics m WHERE " IN_WINDOW ") s LEFT JOIN ("
    "  SELECT t.operation_type, t.total, t.mean, t.bad, p.path, p.mean, p.total, n"
    "  FROM types t FULL JOIN paths p USING (n)"
    ") b ON true ORDER BY b.n");

STMT(read_crawl, "API", ROWS_ANY, 1,
    "SELECT job_id, base_url, status, success, " MICROSECONDS("started_at") ", " MICROSECONDS(
        "completed_at") ", duration_ms, e2e_duration_ms, total_pages, pages_indexed,"
                        "  pages_failed, total_chunking_ms, total_embedding_ms, total_qdrant_ms, "
                        "total_bm25_ms,"
                        "  error_message, extra_metadata FROM webhook.crawl_sessions WHERE job_id "
                        "= $1");

STMT(read_crawl_steps, "API", ROWS_ANY, 2,
    "SELECT document_url, operation_type, operation_name, duration_ms, success, " MICROSECONDS(
        "\"timestamp\"") " FROM webhook.operation_metrics WHERE crawl_id = $1"
                         " ORDER BY \"timestamp\", id LIMIT $2::bigint");
