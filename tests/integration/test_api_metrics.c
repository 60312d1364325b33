/* The API as its callers meet it: a real producer, a real PostgreSQL with rows that the test
 * wrote, a real Redis. Bodies are compared byte for byte (reference contract section 1). */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(api_metrics, .timeout = 120);

#define SECRET     "0123456789abcdef0123456789abcdef"
#define API_SECRET "an-api-secret-that-is-long-enough-for-all"
#define AUTH       "Authorization: Bearer " API_SECRET "\r\n"
#define HOOK       "/api/webhook/changedetection"

/* --- a producer and its stores ----------------------------------------------------------- */

struct world {
    struct test_pg *pg; /* NULL: a database in the suite's cluster */
    struct test_redis *redis;
    struct test_proc *producer;
    const char *db;
    int port;
};

static struct test_reply get(const struct world *w, const char *path, const char *headers)
{
    return test_http(w->port, "GET", path, headers, NULL, 0);
}

static struct test_reply ask(const struct world *w, const char *path)
{
    return get(w, path, AUTH);
}

static bool is_healthy(const struct world *w, const char *headers)
{
    return strstr(get(w, "/health", headers).body, "\"status\":\"healthy\"");
}

/* As somebody new each time, whom no rate limit has seen. */
static bool is_ready(const struct world *w)
{
    static int n;
    const char *who = harness_text(AUTH "X-Forwarded-For: 198.51.100.%d\r\n", ++n % 250 + 1);
    return is_healthy(w, who) && get(w, "/api/metrics/crawls/none", who).status != 503;
}

static struct world start_on(
    const char *db, struct test_pg *pg, const char *const *settings, const char *secret)
{
    struct world w = {.pg = pg, .db = db, .redis = test_redis_start()};
    const char *env[24] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_SECRET=" SECRET,
        "WEBHOOK_METRICS_BUFFER=0", /* the test writes all rows there are */
        harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w.redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s/spool", harness_dir())};
    int n = 6, fd = harness_listen(&w.port);
    if (secret)
        env[n++] = secret;
    for (; settings && *settings; settings++)
        env[n++] = *settings;
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    w.producer = test_proc_start(argv, env, fd);
    close(fd);
    WAIT_FOR(is_ready(&w), 30000);
    return w;
}

static struct world start_with(const char *const *settings)
{
    return start_on(harness_database(true), NULL, settings, "WEBHOOK_API_SECRET=" API_SECRET);
}

static struct world start(void)
{
    return start_with((const char *const[]){"WEBHOOK_RATE_LIMIT=0", NULL});
}

static void stop(struct world *w)
{
    test_proc_signal(w->producer, SIGTERM);
    cr_expect_eq(test_proc_wait(w->producer, 30000), 0, "%s", test_proc_log(w->producer));
    test_redis_free(w->redis);
    test_pg_free(w->pg);
}

static void expect(const struct test_reply *r, int status, const char *body, const char *what)
{
    cr_expect_eq(r->status, status, "%s: %d %s", what, r->status, r->body);
    cr_expect_str_eq(r->body, body, "%s", what);
}

static void expect_header(
    const struct test_reply *r, const char *name, const char *value, const char *what)
{
    const char *given = test_reply_header(r, name);
    if (!value)
        cr_expect_null(given, "%s: %s: %s", what, name, given);
    else
        cr_expect(given && strcmp(given, value) == 0, "%s: %s: %s", what, name,
            given ? given : "(absent)");
}

/* --- rows -------------------------------------------------------------------------------- */

struct request_row {
    const char *id;
    int hours_ago;
    const char *method, *path;
    int status;
    const char *duration, *shown;
    const char *request_id, *client_ip, *route; /* as SQL */
};
/* clang-format off */
static const struct request_row request_rows[] = {
    {"00000000-0000-4000-8000-000000000001", 1, "POST", HOOK, 202, "7.956", "7.96", "'r-1'",
     "'203.0.113.7'", "NULL"},
    {"00000000-0000-4000-8000-000000000002", 2, "GET", "/health", 200, "100", "100.0", "NULL",
     "NULL", "'{\"path_params\": {}}'"},
    {"00000000-0000-4000-8000-000000000003", 3, "GET", "/api/events/7", 500, "0.004", "0.0",
     "'r-3'", "NULL", "'{\"route\": \"/api/events/{id}\"}'"},
    {"00000000-0000-4000-8000-000000000004", 30, "GET", "/api/events/8", 200, "2.04", "2.04",
     "NULL", "NULL", "'{\"route\": \"/api/events/{id}\"}'"},
};
/* clang-format on */

static const char *eastern(const struct world *w, const char *table, const char *id)
{
    return sql_text(w->db,
        "SELECT to_char(\"timestamp\" AT TIME ZONE 'America/New_York',"
        " 'HH12:MI:SS AM | MM/DD/YYYY') FROM webhook.%s WHERE id = '%s'",
        table, id);
}

static void insert_requests(const struct world *w)
{
    for (size_t i = 0; i < sizeof(request_rows) / sizeof(*request_rows); i++) {
        const struct request_row *r = &request_rows[i];
        sql_exec(w->db,
            "INSERT INTO webhook.request_metrics (id, \"timestamp\", method, path, status_code,"
            " duration_ms, request_id, client_ip, extra_metadata, created_at) VALUES"
            " ('%s', now() - interval '%d hours', '%s', '%s', %d, %s, %s, %s, %s, now())",
            r->id, r->hours_ago, r->method, r->path, r->status, r->duration, r->request_id,
            r->client_ip, r->route);
    }
}

/* An SQL literal as JSON. */
static const char *literal(const char *sql)
{
    if (strcmp(sql, "NULL") == 0)
        return "null";
    return harness_text("\"%.*s\"", (int)strlen(sql) - 2, sql + 1);
}

static const char *request_shown(const struct world *w, const struct request_row *r)
{
    return harness_text("{\"id\":\"%s\",\"timestamp\":\"%s\",\"method\":\"%s\",\"path\":\"%s\","
                        "\"status_code\":%d,\"duration_ms\":%s,\"request_id\":%s,\"client_ip\":%s}",
        r->id, eastern(w, "request_metrics", r->id), r->method, r->path, r->status, r->shown,
        literal(r->request_id), literal(r->client_ip));
}

struct operation_row {
    const char *id;
    int hours_ago;
    const char *type, *name, *duration, *shown;
    bool success;
    const char *error, *request_id, *job_id, *url; /* as SQL */
};
/* clang-format off */
static const struct operation_row operation_rows[] = {
    {"00000000-0000-4000-8000-00000000000a", 1, "rescrape", "scrape", "12.346", "12.35", true,
     "NULL", "'r-1'", "'j-1'", "'https://example.com/a?b=c'"},
    {"00000000-0000-4000-8000-00000000000b", 2, "rescrape", "claim", "20", "20.0", false,
     "'HTTP 503'", "NULL", "NULL", "NULL"},
    {"00000000-0000-4000-8000-00000000000c", 3, "bm25", "index_document", "1", "1.0", true,
     "NULL", "NULL", "'j-3'", "'https://example.com/ä'"},
    {"00000000-0000-4000-8000-00000000000d", 30, "queue", "wait", "3", "3.0", false,
     "NULL", "NULL", "NULL", "NULL"},
};
/* clang-format on */

static void insert_operations(const struct world *w)
{
    for (size_t i = 0; i < sizeof(operation_rows) / sizeof(*operation_rows); i++) {
        const struct operation_row *o = &operation_rows[i];
        sql_exec(w->db,
            "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type,"
            " operation_name, duration_ms, success, error_message, request_id, job_id,"
            " document_url, created_at) VALUES"
            " ('%s', now() - interval '%d hours', '%s', '%s', %s, %s, %s, %s, %s, %s, now())",
            o->id, o->hours_ago, o->type, o->name, o->duration, o->success ? "true" : "false",
            o->error, o->request_id, o->job_id, o->url);
    }
}

static const char *operation_shown(const struct world *w, const struct operation_row *o)
{
    return harness_text(
        "{\"id\":\"%s\",\"timestamp\":\"%s\",\"operation_type\":\"%s\",\"operation_name\":\"%s\","
        "\"duration_ms\":%s,\"success\":%s,\"error_message\":%s,\"request_id\":%s,\"job_id\":%s,"
        "\"document_url\":%s}",
        o->id, eastern(w, "operation_metrics", o->id), o->type, o->name, o->shown,
        o->success ? "true" : "false", literal(o->error), literal(o->request_id),
        literal(o->job_id), literal(o->url));
}

/* --- lists ------------------------------------------------------------------------------- */

struct list_case {
    const char *query;
    const char *rows; /* their numbers, in order */
    int total;
    const char *limit, *offset, *summary;
};

#define ALL_REQUESTS                                                                               \
    "{\"avg_duration_ms\":35.99,\"min_duration_ms\":0.0,\"max_duration_ms\":100.0,"                \
    "\"total_requests\":3}"

/* clang-format off */
static const struct list_case request_cases[] = {
    {"", "012", 3, "100", "0", ALL_REQUESTS},
    {"?limit=1", "0", 3, "1", "0", ALL_REQUESTS},
    {"?limit=1&offset=1", "1", 3, "1", "1", ALL_REQUESTS},
    {"?limit=7&limit=1", "0", 3, "1", "0", ALL_REQUESTS},
    {"?offset=50", "", 3, "100", "50", ALL_REQUESTS},
    {"?hours=168&limit=1000", "0123", 4, "1000", "0",
     "{\"avg_duration_ms\":27.5,\"min_duration_ms\":0.0,\"max_duration_ms\":100.0,"
     "\"total_requests\":4}"},
    {"?hours=1", "", 0, "100", "0",
     "{\"avg_duration_ms\":0.0,\"min_duration_ms\":0.0,\"max_duration_ms\":0.0,"
     "\"total_requests\":0}"},
    {"?path=%2Fhealth", "1", 1, "100", "0",
     "{\"avg_duration_ms\":100.0,\"min_duration_ms\":100.0,\"max_duration_ms\":100.0,"
     "\"total_requests\":1}"},
    {"?method=get", "12", 2, "100", "0",
     "{\"avg_duration_ms\":50.0,\"min_duration_ms\":0.0,\"max_duration_ms\":100.0,"
     "\"total_requests\":2}"},
    {"?min_duration_ms=7.956", "01", 2, "100", "0", ALL_REQUESTS},
    {"?method=GET&min_duration_ms=1e1", "1", 1, "100", "0",
     "{\"avg_duration_ms\":50.0,\"min_duration_ms\":0.0,\"max_duration_ms\":100.0,"
     "\"total_requests\":2}"},
    {"?min_duration_ms=nan", "", 0, "100", "0", ALL_REQUESTS},
    {"?min_duration_ms=-nan", "", 0, "100", "0", ALL_REQUESTS},
    {"?min_duration_ms=1e400", "", 0, "100", "0", ALL_REQUESTS},
    {"?min_duration_ms=-Infinity", "012", 3, "100", "0", ALL_REQUESTS},
    {"?min_duration_ms=1e-320", "012", 3, "100", "0", ALL_REQUESTS},
    {"?min_duration_ms=%20-1e-400", "012", 3, "100", "0", ALL_REQUESTS},
    {"?offset=9223372036854775807", "", 3, "100", "9223372036854775807", ALL_REQUESTS},
    {"?path=&method=&min_duration_ms=&limit=&offset=&hours=", "012", 3, "100", "0", ALL_REQUESTS},
    {"?path=%27%20OR%201%3D1--", "", 0, "100", "0",
     "{\"avg_duration_ms\":0.0,\"min_duration_ms\":0.0,\"max_duration_ms\":0.0,"
     "\"total_requests\":0}"},
    {"?of=no&interest=%FF", "012", 3, "100", "0", ALL_REQUESTS},
};

#define BM25     "\"bm25\":{\"avg_duration_ms\":1.0,\"min_duration_ms\":1.0,\"max_duration_ms\":1.0,"  \
                 "\"total_operations\":1,\"successful_operations\":1,\"failed_operations\":0,"         \
                 "\"success_rate\":100.0}"
#define QUEUE    "\"queue\":{\"avg_duration_ms\":3.0,\"min_duration_ms\":3.0,\"max_duration_ms\":3.0," \
                 "\"total_operations\":1,\"successful_operations\":0,\"failed_operations\":1,"         \
                 "\"success_rate\":0.0}"
#define RESCRAPE "\"rescrape\":{\"avg_duration_ms\":16.17,\"min_duration_ms\":12.35,"                  \
                 "\"max_duration_ms\":20.0,\"total_operations\":2,\"successful_operations\":1,"        \
                 "\"failed_operations\":1,\"success_rate\":50.0}"

static const struct list_case operation_cases[] = {
    {"", "012", 3, "100", "0", "{" BM25 "," RESCRAPE "}"},
    {"?limit=1&offset=2", "2", 3, "1", "2", "{" BM25 "," RESCRAPE "}"},
    {"?hours=48", "0123", 4, "100", "0", "{" BM25 "," QUEUE "," RESCRAPE "}"},
    {"?operation_type=rescrape", "01", 2, "100", "0", "{" RESCRAPE "}"},
    {"?operation_name=claim", "1", 1, "100", "0", "{" BM25 "," RESCRAPE "}"},
    {"?document_url=https://example.com/a%3Fb=c", "0", 1, "100", "0",
     "{" BM25 "," RESCRAPE "}"},
    {"?document_url=https://example.com/%C3%A4", "2", 1, "100", "0",
     "{" BM25 "," RESCRAPE "}"},
    {"?success=No", "1", 1, "100", "0", "{" BM25 "," RESCRAPE "}"},
    {"?success=1", "02", 2, "100", "0", "{" BM25 "," RESCRAPE "}"},
    {"?operation_type=none", "", 0, "100", "0", "{}"},
    {"?offset=99", "", 3, "100", "99", "{" BM25 "," RESCRAPE "}"},
    {"?offset=9223372036854775807", "", 3, "100", "9223372036854775807",
     "{" BM25 "," RESCRAPE "}"},
};
/* clang-format on */

static const char *list_body(const struct world *w, const struct list_case *c, bool operations)
{
    struct buf b = {0};
    buf_puts(&b, "{\"metrics\":[");
    for (const char *n = c->rows; *n; n++) {
        buf_puts(&b, n > c->rows ? "," : "");
        buf_puts(&b, operations ? operation_shown(w, &operation_rows[*n - '0'])
                                : request_shown(w, &request_rows[*n - '0']));
    }
    buf_printf(&b, "],\"total\":%d,\"limit\":%s,\"offset\":%s,\"%s\":%s}", c->total, c->limit,
        c->offset, operations ? "summary_by_type" : "summary", c->summary);
    return harness_hold(buf_detach(&b));
}

static void check_list(const struct world *w, const struct list_case *c, bool operations)
{
    const char *path = operations ? "/api/metrics/operations" : "/api/metrics/requests";
    struct test_reply r = ask(w, harness_text("%s%s", path, c->query));
    expect(&r, 200, list_body(w, c, operations), c->query);
    expect_header(&r, "Content-Type", "application/json", c->query);
}

Test(api_metrics, requests_and_operations_are_listed_filtered_and_summed_up)
{
    struct world w = start();
    insert_requests(&w);
    insert_operations(&w);
    for (size_t i = 0; i < sizeof(request_cases) / sizeof(*request_cases); i++)
        check_list(&w, &request_cases[i], false);
    for (size_t i = 0; i < sizeof(operation_cases) / sizeof(*operation_cases); i++)
        check_list(&w, &operation_cases[i], true);
    stop(&w);
}

Test(api_metrics, the_newest_thousand_of_many_come_in_order_from_all_partitions)
{
    struct world w = start();
    sql_exec(w.db, "INSERT INTO webhook.request_metrics (id, \"timestamp\", method, path,"
                   " status_code, duration_ms, created_at) SELECT gen_random_uuid(),"
                   " now() - i * interval '1 minute', 'GET', '/' || i, 200, 1, now()"
                   " FROM generate_series(1, 3000) i");
    struct test_reply r = ask(&w, "/api/metrics/requests?hours=168&limit=1000&offset=1900");
    const char *at = r.body;
    for (int i = 1901; i <= 2900 && at; i++)
        at = strstr(at, harness_text("\"path\":\"/%d\",", i));
    cr_expect(at, "%.300s", r.body);
    cr_expect_str_eq(test_reply_member(&r, "total"), "3000");
    stop(&w);
}

/* --- summary ----------------------------------------------------------------------------- */

Test(api_metrics, the_summary_counts_groups_by_pattern_and_says_null_about_nothing)
{
    static const char path[] = "/api/metrics/summary";
    struct world w = start();
    struct test_reply r = ask(&w, path);
    expect(&r, 200,
        "{\"time_period_hours\":24,\"requests\":{\"total\":0,\"avg_duration_ms\":0.0,"
        "\"error_count\":null},\"operations_by_type\":{},\"slowest_endpoints\":[]}",
        "of nothing");
    insert_requests(&w);
    insert_operations(&w);
    r = ask(&w, path);
    expect(&r, 200,
        "{\"time_period_hours\":24,\"requests\":{\"total\":3,\"avg_duration_ms\":35.99,"
        "\"error_count\":1},\"operations_by_type\":{"
        "\"bm25\":{\"total_operations\":1,\"avg_duration_ms\":1.0,\"error_count\":0},"
        "\"rescrape\":{\"total_operations\":2,\"avg_duration_ms\":16.17,\"error_count\":1}},"
        "\"slowest_endpoints\":["
        "{\"path\":\"/health\",\"avg_duration_ms\":100.0,\"request_count\":1},"
        "{\"path\":\"" HOOK "\",\"avg_duration_ms\":7.96,\"request_count\":1},"
        "{\"path\":\"/api/events/{id}\",\"avg_duration_ms\":0.0,\"request_count\":1}]}",
        "of a day");
    r = ask(&w, "/api/metrics/summary?hours=40");
    cr_expect(strstr(r.body, "{\"path\":\"/api/events/{id}\",\"avg_duration_ms\":1.02,"
                             "\"request_count\":2}]}"),
        "%s", r.body);
    cr_expect_str_eq(test_reply_member(&r, "time_period_hours"), "40");
    sql_exec(w.db, "INSERT INTO webhook.request_metrics (id, \"timestamp\", method, path,"
                   " status_code, duration_ms, created_at) SELECT gen_random_uuid(), now(), 'GET',"
                   " '/' || i, 200, 1000 + i, now() FROM generate_series(1, 12) i");
    r = ask(&w, path);
    cr_expect(strstr(r.body, "\"slowest_endpoints\":[{\"path\":\"/12\","));
    cr_expect(strstr(r.body, "{\"path\":\"/3\",\"avg_duration_ms\":1003.0,\"request_count\":1}]}"));
    stop(&w);
}

/* --- crawls ------------------------------------------------------------------------------ */

static void insert_crawls(const struct world *w)
{
    sql_exec(w->db,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, completed_at,"
        " status, success, total_pages, pages_indexed, pages_failed, total_chunking_ms,"
        " total_embedding_ms, total_qdrant_ms, total_bm25_ms, duration_ms, e2e_duration_ms,"
        " extra_metadata, error_message, operation_type) VALUES"
        " (gen_random_uuid(), 'crawl-1', 'https://example.com/', '2026-11-23 04:40:14.782852+00',"
        "  '2026-11-23 05:00:00+00', 'completed', true, 3, 2, 1, 185.1409319999675, 0.1, 100, 1e16,"
        "  1185217.148, 1e-7, '{\"a\": [1, 2.50], \"b c\": \"d : e, \\\"f\\\"\"}', NULL, 'crawl'),"
        " (gen_random_uuid(), 'crawl/ä', 'unknown', '2026-11-23 04:40:14+00', NULL, 'failed', NULL,"
        "  0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, 'it \"broke\"', 'crawl')");
    sql_exec(w->db,
        "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type, operation_name,"
        " duration_ms, success, document_url, crawl_id, created_at) VALUES"
        " (gen_random_uuid(), '2026-11-23 04:41:00+00', 'worker', 'index_document', 12.3456, true,"
        "  'https://example.com/1', 'crawl-1', now()),"
        " (gen_random_uuid(), '2026-11-23 04:40:59.5+00', 'bm25', 'index_document', 2, false, NULL,"
        "  'crawl-1', now()), (gen_random_uuid(), now(), 'bm25', 'index_document', 2, false, NULL,"
        "  'crawl-2', now())");
}

#define CRAWL_BEGIN                                                                                \
    "{\"crawl_id\":\"crawl-1\",\"crawl_url\":\"https://example.com/\",\"status\":\"completed\","   \
    "\"success\":true,\"started_at\":\"2026-11-23T04:40:14.782852Z\","                             \
    "\"completed_at\":\"2026-11-23T05:00:00Z\",\"duration_ms\":1185217.148,"                       \
    "\"e2e_duration_ms\":1e-07,\"total_pages\":3,\"pages_indexed\":2,\"pages_failed\":1,"          \
    "\"aggregate_timing\":{\"chunking_ms\":185.1409319999675,\"embedding_ms\":0.1,"                \
    "\"qdrant_ms\":100.0,\"bm25_ms\":1e+16},\"per_page_metrics\":"
#define CRAWL_END                                                                                  \
    ",\"error_message\":null,\"extra_metadata\":{\"a\":[1,2.50],"                                  \
    "\"b c\":\"d : e, \\\"f\\\"\"}}"
#define CRAWL_STEPS                                                                                \
    "[{\"url\":null,\"operation_type\":\"bm25\",\"operation_name\":\"index_document\","            \
    "\"duration_ms\":2.0,\"success\":false,\"timestamp\":\"2026-11-23T04:40:59.500000Z\"},"        \
    "{\"url\":\"https://example.com/1\",\"operation_type\":\"worker\","                            \
    "\"operation_name\":\"index_document\",\"duration_ms\":12.3456,\"success\":true,"              \
    "\"timestamp\":\"2026-11-23T04:41:00Z\"}]"
#define NOTHING_KNOWN(url, status, steps, error)                                                   \
    "\"crawl_url\":\"" url "\",\"status\":\"" status "\",\"success\":null,"                        \
    "\"started_at\":\"2026-11-23T04:40:14Z\",\"completed_at\":null,\"duration_ms\":null,"          \
    "\"e2e_duration_ms\":null,\"total_pages\":0,\"pages_indexed\":0,\"pages_failed\":0,"           \
    "\"aggregate_timing\":{\"chunking_ms\":0.0,\"embedding_ms\":0.0,\"qdrant_ms\":0.0,"            \
    "\"bm25_ms\":0.0},\"per_page_metrics\":" steps ",\"error_message\":" error                     \
    ",\"extra_metadata\":null}"

Test(api_metrics, a_crawl_is_told_unrounded_with_its_steps_where_wanted)
{
    static const struct {
        const char *path;
        int status;
        const char *body;
    } cases[] = {
        {"crawl-1",                           200,                                        CRAWL_BEGIN "null" CRAWL_END                     },
        {"crawl-1?include_per_page=false",    200,                                        CRAWL_BEGIN "null" CRAWL_END                     },
        {"crawl-1?include_per_page=TRUE",     200,                                        CRAWL_BEGIN CRAWL_STEPS CRAWL_END                },
        {"%63rawl-1?include_per_page=on",     200,                                        CRAWL_BEGIN CRAWL_STEPS CRAWL_END                },
        {"crawl%2F%C3%A4?include_per_page=y", 200,
         "{\"crawl_id\":\"crawl/ä\"," NOTHING_KNOWN(
                "unknown",                                                                                                                   "failed", "[]", "\"it \\\"broke\\\"\"")},
        {"crawl-2",                               404,                                                  "{\"detail\":\"Crawl not found: crawl-2\"}"                                                                                                  },
        {"a%22b%00c%FF",  404,
         "{\"detail\":\"Crawl not found: a\\\"b\xef\xbf\xbd"
            "c\xef\xbf\xbd\"}"},
        {"",                               404,                                                           "{\"detail\":\"Not Found\"}"                                                                                                                                                                                                             },
        {"a/b",  404,"{\"detail\":\"Not Found\"}"},
    };
    struct world w = start();
    insert_crawls(&w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct test_reply r = ask(&w, harness_text("/api/metrics/crawls/%s", cases[i].path));
        expect(&r, cases[i].status, cases[i].body, cases[i].path);
    }
    stop(&w);
}

Test(api_metrics, a_crawl_of_very_many_steps_is_cut_and_says_so)
{
    struct world w = start();
    insert_crawls(&w);
    sql_exec(w.db, "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type,"
                   " operation_name, duration_ms, success, crawl_id, created_at)"
                   " SELECT gen_random_uuid(), now(), 'worker', 'index_document', 1, true,"
                   " 'crawl-1', now() FROM generate_series(1, 10000)");
    struct test_reply r = ask(&w, "/api/metrics/crawls/crawl-1?include_per_page=1");
    int n = 0;
    for (const char *at = r.body; (at = strstr(at, "\"operation_type\"")); at++)
        n++;
    cr_expect_eq(n, 10000);
    expect_header(&r, "Hookline-Truncated", "per_page_metrics", "10002 steps");
    cr_expect(strstr(r.body, "],\"error_message\":null,"));
    stop(&w);
}

/* --- who may ask ------------------------------------------------------------------------- */

#define MISSING "{\"detail\":\"Missing Authorization header\"}"
#define INVALID "{\"detail\":\"Invalid credentials\"}"

static const struct {
    const char *headers;
    int status;
    const char *body;
} logins[] = {
    {NULL,                                        401, MISSING},
    {"Authorization:\r\n",                        401, MISSING},
    {"Authorization: Bearer " API_SECRET "\r\n",  404, NULL   },
    {"Authorization: " API_SECRET "\r\n",         404, NULL   },
    {"authorization: Bearer " API_SECRET "\r\n",  404, NULL   },
    {"Authorization: bearer " API_SECRET "\r\n",  401, INVALID},
    {"Authorization: Bearer  " API_SECRET "\r\n", 401, INVALID},
    {"Authorization: Bearer\r\n",                 401, INVALID},
    {"Authorization: Basic " API_SECRET "\r\n",   401, INVALID},
    {"Authorization: Bearer " API_SECRET "x\r\n", 401, INVALID},
    {"Authorization: Bearer " SECRET "\r\n",      401, INVALID},
    {"Authorization: Bearer \xc3\xa4\r\n",        401, INVALID},
    {AUTH AUTH,                                   401, INVALID},
};

Test(api_metrics, only_the_secret_opens_and_it_comes_before_the_query)
{
    static const char *const paths[] = {"/api/metrics/requests?limit=x",
        "/api/metrics/operations?limit=x", "/api/metrics/summary?hours=x",
        "/api/metrics/crawls/none"};
    struct world w = start();
    for (size_t i = 0; i < sizeof(logins) / sizeof(*logins); i++) {
        struct test_reply r = get(&w, "/api/metrics/crawls/none", logins[i].headers);
        const char *body = logins[i].body;
        expect(&r, logins[i].status, body ? body : "{\"detail\":\"Crawl not found: none\"}",
            logins[i].headers ? logins[i].headers : "none");
        expect_header(&r, "WWW-Authenticate", body ? "Bearer" : NULL, "login");
    }
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        struct test_reply r = get(&w, paths[i], NULL);
        expect(&r, 401, MISSING, paths[i]);
    }
    stop(&w);
}

Test(api_metrics, without_a_secret_nobody_may_ask)
{
    struct world w = start_on(harness_database(true), NULL, NULL, NULL);
    struct test_reply r = get(&w, "/api/metrics/summary", NULL);
    expect(&r, 401, MISSING, "nothing");
    r = ask(&w, "/api/metrics/summary");
    expect(&r, 401, INVALID, "something");
    r = get(&w, "/api/metrics/summary", "Authorization: Bearer \r\n");
    expect(&r, 401, INVALID, "an empty secret");
    stop(&w);
}

/* --- what may be asked ------------------------------------------------------------------- */

#define INT_MSG "\"msg\":\"Input should be a valid integer, unable to parse string as an integer\""
#define FAULT(type, name, msg, input)                                                              \
    "{\"type\":\"" type "\",\"loc\":[\"query\",\"" name "\"]," msg ",\"input\":" input

/* clang-format off */
static const struct {
    const char *path, *faults;
} bad_queries[] = {
    {"requests?limit=0",
     FAULT("greater_than_equal", "limit", "\"msg\":\"Input should be greater than or equal to 1\"",
           "\"0\"") ",\"ctx\":{\"ge\":1}}"},
    {"requests?limit=1001",
     FAULT("less_than_equal", "limit", "\"msg\":\"Input should be less than or equal to 1000\"",
           "\"1001\"") ",\"ctx\":{\"le\":1000}}"},
    {"requests?offset=-1",
     FAULT("greater_than_equal", "offset", "\"msg\":\"Input should be greater than or equal to 0\"",
           "\"-1\"") ",\"ctx\":{\"ge\":0}}"},
    {"summary?hours=169",
     FAULT("less_than_equal", "hours", "\"msg\":\"Input should be less than or equal to 168\"",
           "\"169\"") ",\"ctx\":{\"le\":168}}"},
    {"summary?hours=99999999999999999999999",
     FAULT("less_than_equal", "hours", "\"msg\":\"Input should be less than or equal to 168\"",
           "\"99999999999999999999999\"") ",\"ctx\":{\"le\":168}}"},
    {"summary?hours=-99999999999999999999999",
     FAULT("greater_than_equal", "hours", "\"msg\":\"Input should be greater than or equal to 1\"",
           "\"-99999999999999999999999\"") ",\"ctx\":{\"ge\":1}}"},
    {"requests?limit=ten", FAULT("int_parsing", "limit", INT_MSG, "\"ten\"") "}"},
    {"requests?limit=%22%C3%A4%FF+", FAULT("int_parsing", "limit", INT_MSG,
           "\"\\\"ä\xef\xbf\xbd \"") "}"},
    {"requests?limit=1.5", FAULT("int_parsing", "limit", INT_MSG, "\"1.5\"") "}"},
    {"requests?limit=0x10", FAULT("int_parsing", "limit", INT_MSG, "\"0x10\"") "}"},
    {"requests?min_duration_ms=fast",
     FAULT("float_parsing", "min_duration_ms",
           "\"msg\":\"Input should be a valid number, unable to parse string as a number\"",
           "\"fast\"") "}"},
    {"operations?success=maybe",
     FAULT("bool_parsing", "success",
           "\"msg\":\"Input should be a valid boolean, unable to interpret input\"",
           "\"maybe\"") "}"},
    {"crawls/none?include_per_page=2",
     FAULT("bool_parsing", "include_per_page",
           "\"msg\":\"Input should be a valid boolean, unable to interpret input\"", "\"2\"") "}"},
    {"requests?min_duration_ms=x&hours=0&limit=y",
     FAULT("int_parsing", "limit", INT_MSG, "\"y\"") "},"
     FAULT("greater_than_equal", "hours", "\"msg\":\"Input should be greater than or equal to 1\"",
           "\"0\"") ",\"ctx\":{\"ge\":1}},"
     FAULT("float_parsing", "min_duration_ms",
           "\"msg\":\"Input should be a valid number, unable to parse string as a number\"",
           "\"x\"") "}"},
    {"requests?path=a%00b",
     FAULT("value_error", "path", "\"msg\":\"Value error, holds a NUL character\"", "\"ab\"") "}"},
};
/* clang-format on */

Test(api_metrics, a_query_that_does_not_fit_is_refused_with_every_fault_in_it)
{
    struct world w = start();
    for (size_t i = 0; i < sizeof(bad_queries) / sizeof(*bad_queries); i++) {
        struct test_reply r = ask(&w, harness_text("/api/metrics/%s", bad_queries[i].path));
        expect(
            &r, 422, harness_text("{\"detail\":[%s]}", bad_queries[i].faults), bad_queries[i].path);
        cr_expect(test_reply_header(&r, "X-Request-ID"));
        cr_expect(test_reply_header(&r, "X-Process-Time"));
    }
    stop(&w);
}

Test(api_metrics, what_is_no_question_has_the_usual_answers)
{
    struct world w = start();
    struct test_reply r = ask(&w, "/api/metrics");
    expect(&r, 404, "{\"detail\":\"Not Found\"}", "unknown");
    r = test_http(w.port, "POST", "/api/metrics/summary", AUTH, "", 0);
    expect(&r, 405, "{\"detail\":\"Method Not Allowed\"}", "POST");
    expect_header(&r, "Allow", "GET", "POST");
    r = test_http(w.port, "HEAD", "/api/metrics/crawls/x", AUTH, NULL, 0);
    cr_expect_eq(r.status, 405);
    r = ask(&w, "/api/metrics/crawls/x/?include_per_page=1");
    expect(&r, 307, "", "a slash too many");
    cr_expect(
        strstr(test_reply_header(&r, "Location"), "/api/metrics/crawls/x?include_per_page=1"));
    stop(&w);
}

/* --- rate limits ------------------------------------------------------------------------- */

#define LIMITED "{\"error\":\"Rate limit exceeded: 3 per 1 minute\"}"

static int allowed_of(const struct world *w, const char *path, const char *headers, int n)
{
    int passed = 0;
    for (int i = 0; i < n; i++)
        passed += get(w, path, headers).status != 429;
    return passed;
}

Test(api_metrics, a_client_may_ask_for_one_path_so_often_a_minute)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_RATE_LIMIT=3", NULL});
    cr_expect_eq(allowed_of(&w, "/api/metrics/summary", AUTH, 3), 3);
    struct test_reply r = ask(&w, "/api/metrics/summary?hours=2");
    expect(&r, 429, LIMITED, "the fourth");
    int wait = atoi(test_reply_header(&r, "Retry-After"));
    cr_expect(wait >= 1 && wait <= 61, "%d", wait);
    cr_expect(test_reply_header(&r, "X-Request-ID"));

    cr_expect_eq(allowed_of(&w, "/api/metrics/crawls/a", AUTH, 5), 3, "each path on its own");
    cr_expect_eq(allowed_of(&w, "/api/metrics/crawls/b", NULL, 5), 3, "before authentication");
    cr_expect_eq(allowed_of(&w, "/api/metrics/crawls/c?include_per_page=x", AUTH, 5), 3);
    cr_expect_eq(allowed_of(&w, "/", NULL, 5), 3);
    cr_expect_eq(allowed_of(&w, "/health", NULL, 5), 3);
    cr_expect_eq(allowed_of(&w, "/nowhere", NULL, 5), 5, "no route");
    for (int i = 0; i < 5; i++)
        cr_expect_eq(test_http(w.port, "POST", HOOK, NULL, "{}", 2).status, 401);

    static const char another[] = AUTH "X-Forwarded-For: 203.0.113.9\r\n";
    static const char forged[] = AUTH "X-Forwarded-For: 192.0.2.1, 203.0.113.9, 127.0.0.1\r\n";
    static const char strange[] = AUTH "X-Forwarded-For: 192.0.2.1, unknown\r\n";
    cr_expect_eq(allowed_of(&w, "/api/metrics/summary", another, 5), 3, "each client on its own");
    cr_expect_eq(allowed_of(&w, "/api/metrics/summary", forged, 5), 0, "the last one counts");
    cr_expect_eq(allowed_of(&w, "/api/metrics/summary", strange, 5), 0, "as the proxy");
    cr_expect_eq(redis_int(w.redis, "EXISTS {hookline}:q:change"), 0);
    cr_expect(strstr(redis_text(w.redis, "KEYS {hookline}:limit:203.0.113.9:*"), "{hookline}"));
    stop(&w);
}

Test(api_metrics, ever_new_paths_do_not_fill_redis)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_RATE_LIMIT=3", NULL});
    int passed = 0;
    for (int i = 0; i < 1100; i++)
        passed += get(&w, harness_text("/api/metrics/crawls/%d", i), NULL).status == 401;
    cr_expect_eq(passed, 1003, "%d", passed);
    cr_expect_eq(get(&w, "/api/metrics/crawls/7", NULL).status, 401, "it has its own counter");
    cr_expect_leq(redis_int(w.redis, "DBSIZE"), 1100);
    WAIT_FOR(is_ready(&w), 10000); /* others are not concerned */
    stop(&w);
}

Test(api_metrics, where_redis_cannot_count_everybody_may)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_RATE_LIMIT=1", NULL});
    cr_expect_eq(allowed_of(&w, "/api/metrics/summary", AUTH, 2), 1);
    test_redis_pause(w.redis);
    double waited = 0;
    for (int i = 0; i < 20; i++) {
        struct test_reply r = ask(&w, "/api/metrics/summary");
        cr_expect_eq(r.status, 200);
        cr_expect(r.seconds < 1, "%f s", r.seconds);
        waited += r.seconds;
    }
    cr_expect(waited < 1.5, "%f s: not each of them waits for Redis", waited);
    test_redis_resume(w.redis);
    test_redis_kill(w.redis);
    WAIT_FOR(strstr(get(&w, "/health", NULL).body, "\"redis\":\"unhealthy"), 10000);
    cr_expect_eq(allowed_of(&w, "/api/metrics/crawls/a", AUTH, 5), 5);
    stop(&w);
}

/* --- CORS -------------------------------------------------------------------------------- */

#define ORIGIN "https://a.example"

static void check_simple(const struct world *w, const char *headers, const char *allowed_origin,
    const char *credentials, const char *vary)
{
    static const char *const paths[] = {"/", "/nowhere", "/api/metrics/summary", "/health"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        struct test_reply r = get(w, paths[i], headers);
        expect_header(&r, "Access-Control-Allow-Origin", allowed_origin, paths[i]);
        expect_header(&r, "Access-Control-Allow-Credentials", credentials, paths[i]);
        expect_header(&r, "Vary", vary, paths[i]);
    }
}

static struct test_reply preflight(const struct world *w, const char *headers)
{
    return test_http(w->port, "OPTIONS", "/api/metrics/summary", headers, NULL, 0);
}

static void check_listed_origins(const char *setting)
{
    struct world w = start_with((const char *const[]){setting, "WEBHOOK_RATE_LIMIT=0", NULL});
    check_simple(&w, NULL, NULL, NULL, NULL);
    check_simple(&w, "Origin: " ORIGIN "\r\n", ORIGIN, "true", "Origin");
    check_simple(&w, "Origin: https://a.example.evil\r\n", NULL, "true", NULL);

    struct test_reply r = preflight(&w, "Origin: " ORIGIN "\r\n"
                                        "Access-Control-Request-Method: GET\r\n"
                                        "Access-Control-Request-Headers: Authorization, X-A\r\n");
    expect(&r, 200, "OK", "preflight");
    expect_header(&r, "Content-Type", "text/plain; charset=utf-8", "preflight");
    expect_header(&r, "Access-Control-Max-Age", "600", "preflight");
    expect_header(&r, "Access-Control-Allow-Origin", ORIGIN, "preflight");
    expect_header(&r, "Access-Control-Allow-Credentials", "true", "preflight");
    expect_header(&r, "Access-Control-Allow-Headers", "Authorization, X-A", "preflight");
    expect_header(&r, "Access-Control-Allow-Methods",
        "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", "preflight");
    expect_header(&r, "Vary", "Origin", "preflight");
    cr_expect(test_reply_header(&r, "X-Request-ID"));

    r = preflight(&w, "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n");
    expect(&r, 400, "Disallowed CORS origin", "foreign preflight");
    expect_header(&r, "Access-Control-Allow-Origin", NULL, "foreign preflight");
    expect_header(&r, "Access-Control-Allow-Headers", NULL, "foreign preflight");
    r = preflight(&w, "Origin: " ORIGIN "\r\nAccess-Control-Request-Method: BREW\r\n");
    expect(&r, 400, "Disallowed CORS method", "strange method");
    r = preflight(&w, "Origin: http://x\r\nAccess-Control-Request-Method: BREW\r\n");
    expect(&r, 400, "Disallowed CORS origin, method", "both");
    r = preflight(&w, "Origin: " ORIGIN "\r\n");
    expect(&r, 405, "{\"detail\":\"Method Not Allowed\"}", "no preflight");
    stop(&w);
}

Test(api_metrics, listed_origins_may_call_from_browsers)
{
    check_listed_origins("WEBHOOK_CORS_ORIGINS=https://b.example, " ORIGIN);
}

Test(api_metrics, origins_may_be_listed_as_json)
{
    check_listed_origins("WEBHOOK_CORS_ORIGINS=[\"" ORIGIN "\",\"https://b.example\"]");
}

Test(api_metrics, a_star_lets_every_origin_in)
{
    struct world w =
        start_with((const char *const[]){"WEBHOOK_CORS_ORIGINS=*", "WEBHOOK_RATE_LIMIT=0", NULL});
    check_simple(&w, "Origin: " ORIGIN "\r\n", "*", "true", NULL);
    check_simple(&w, "Origin: " ORIGIN "\r\nCookie: a=b\r\n", ORIGIN, "true", "Origin");
    struct test_reply r =
        preflight(&w, "Origin: http://x\r\nAccess-Control-Request-Method: PUT\r\n");
    expect(&r, 200, "OK", "preflight");
    expect_header(&r, "Access-Control-Allow-Origin", "http://x", "preflight");
    stop(&w);
}

/* --- when PostgreSQL is slow, away or broken --------------------------------------------- */

static PGconn *lock_requests(const struct world *w)
{
    PGconn *db = PQconnectdb(w->db);
    PQclear(PQexec(db, "BEGIN"));
    PGresult *r = PQexec(db, "LOCK TABLE webhook.request_metrics IN ACCESS EXCLUSIVE MODE");
    cr_assert_eq(PQresultStatus(r), PGRES_COMMAND_OK, "%s", PQerrorMessage(db));
    PQclear(r);
    return db;
}

/* In a process of its own; its exit status tells whether the answer was the expected one. */
static pid_t ask_aside(const struct world *w)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    struct test_reply r = ask(w, "/api/metrics/requests");
    const char *again = test_reply_header(&r, "Retry-After");
    bool fine = r.status == 503 && r.seconds < 2.5 && again && strcmp(again, "5") == 0 &&
                strncmp(r.body, "{\"detail\":\"", 11) == 0;
    if (!fine)
        fprintf(stderr, "%d %s after %f s\n", r.status, r.body, r.seconds);
    _exit(fine ? 0 : 1);
}

static void post_event(const struct world *w, int i)
{
    const char *body = harness_text("{\"watch_id\":\"w\",\"watch_url\":\"https://example.com/%d\","
                                    "\"detected_at\":\"2026-01-02T03:04:05Z\"}",
        i);
    const char *signature =
        harness_text("X-Signature: sha256=%s\r\n", test_sign(SECRET, body, strlen(body)));
    struct test_reply r = test_http(w->port, "POST", HOOK, signature, body, strlen(body));
    cr_expect_eq(r.status, 202, "%s", r.body);
    cr_expect(r.seconds < 0.5, "%f s", r.seconds);
    cr_expect_str_neq(test_reply_member(&r, "change_event_id"), "null");
}

Test(api_metrics, slow_questions_get_503_in_time_and_hold_up_nobody_else)
{
    enum { ASKING = 8 };
    struct world w = start_with((const char *const[]){
        "WEBHOOK_RATE_LIMIT=0", "WEBHOOK_READ_CONNECTIONS=2", "WEBHOOK_READ_TIMEOUT=1", NULL});
    pid_t pids[ASKING];
    PGconn *db = lock_requests(&w);
    for (int i = 0; i < ASKING; i++)
        pids[i] = ask_aside(&w);
    WAIT_FOR(sql_int(w.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                           " AND datname = current_database()") == 2,
        10000);
    for (int i = 0; i < 20; i++)
        post_event(&w, i);
    cr_expect(is_healthy(&w, NULL));
    for (int i = 0; i < ASKING; i++) {
        int status;
        cr_expect_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_expect_eq(status, 0);
    }
    PQfinish(db);
    WAIT_FOR(ask(&w, "/api/metrics/requests").status == 200, 10000);
    stop(&w);
}

/* Sends the question; the answer stays in the socket. */
static int ask_and_wait(const struct world *w)
{
    static const char question[] = "GET /api/metrics/requests HTTP/1.1\r\nHost: h\r\n" AUTH "\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    cr_assert_eq(send(fd, question, sizeof(question) - 1, 0), (ssize_t)sizeof(question) - 1);
    return fd;
}

/* How many of them have the answer that says so. */
static int answered(const int *fds, int n, const char *detail)
{
    char text[2048];
    int found = 0;
    for (int i = 0; i < n; i++) {
        ssize_t got = recv(fds[i], text, sizeof(text) - 1, MSG_DONTWAIT | MSG_PEEK);
        text[got > 0 ? got : 0] = '\0';
        found += strncmp(text, "HTTP/1.1 503 ", 13) == 0 && strstr(text, "Retry-After: 5") &&
                 strstr(text, detail);
    }
    return found;
}

Test(api_metrics, of_very_many_questions_256_wait_and_the_others_are_sent_back_at_once)
{
    enum { ASKING = 1 + 256 + 20 };
    int fds[ASKING];
    struct world w = start_with((const char *const[]){
        "WEBHOOK_RATE_LIMIT=0", "WEBHOOK_READ_CONNECTIONS=1", "WEBHOOK_READ_TIMEOUT=4", NULL});
    PGconn *db = lock_requests(&w);
    int64_t began = clock_mono_ms();
    for (int i = 0; i < ASKING; i++)
        fds[i] = ask_and_wait(&w);
    WAIT_FOR(answered(fds, ASKING, "Too many questions at once") == 20, 3000);
    cr_expect_lt(clock_mono_ms() - began, 3500);
    cr_expect_eq(answered(fds, ASKING, "{\"detail\":"), 20, "the others wait");
    post_event(&w, 1);
    WAIT_FOR(answered(fds, ASKING, "{\"detail\":") == ASKING, 10000);
    for (int i = 0; i < ASKING; i++)
        close(fds[i]);
    PQfinish(db);
    WAIT_FOR(ask(&w, "/api/metrics/requests").status == 200, 10000);
    stop(&w);
}

/* The program ends only when it has answered all that it was asked. */
Test(api_metrics, who_leaves_before_the_answer_leaves_nothing_behind)
{
    enum { ASKING = 12 };
    int fds[ASKING];
    struct world w = start_with((const char *const[]){
        "WEBHOOK_RATE_LIMIT=0", "WEBHOOK_READ_CONNECTIONS=2", "WEBHOOK_READ_TIMEOUT=2", NULL});
    PGconn *db = lock_requests(&w);
    for (int i = 0; i < ASKING; i++)
        fds[i] = ask_and_wait(&w);
    WAIT_FOR(sql_int(w.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                           " AND datname = current_database()") == 2,
        10000);
    for (int i = 0; i < ASKING; i++)
        close(fds[i]);
    cr_expect(is_healthy(&w, NULL));
    PQfinish(db);
    WAIT_FOR(ask(&w, "/api/metrics/requests").status == 200, 10000);
    stop(&w);
}

Test(api_metrics, without_postgresql_questions_get_503_at_once)
{
    struct test_pg *pg = test_pg_start();
    struct world w = start_on(test_pg_url(pg), pg,
        (const char *const[]){"WEBHOOK_RATE_LIMIT=0", NULL}, "WEBHOOK_API_SECRET=" API_SECRET);
    cr_expect_eq(ask(&w, "/api/metrics/summary").status, 200);
    test_pg_kill(pg);
    struct test_reply r;
    WAIT_FOR(
        (r = ask(&w, "/api/metrics/summary")).status == 503 && strstr(r.body, "cannot be reached"),
        10000);
    expect(&r, 503, "{\"detail\":\"The database cannot be reached\"}", "no PostgreSQL");
    expect_header(&r, "Retry-After", "5", "no PostgreSQL");
    test_pg_restart(pg);
    WAIT_FOR(ask(&w, "/api/metrics/summary").status == 200, 20000);
    stop(&w);
}

Test(api_metrics, an_error_of_postgresql_is_logged_and_not_told)
{
    struct world w = start();
    sql_exec(w.db, "ALTER TABLE webhook.crawl_sessions RENAME TO gone");
    struct test_reply r = ask(&w, "/api/metrics/crawls/very-private");
    expect(&r, 500,
        "{\"detail\":\"Internal server error\",\"error\":\"the log has the cause, under this"
        " answer's X-Request-ID\"}",
        "no table");
    const char *id = test_reply_header(&r, "X-Request-ID");
    cr_assert(id);
    WAIT_FOR(test_proc_logged(w.producer, id), 5000);
    cr_expect(test_proc_logged(w.producer, "api_failed"));
    cr_expect(test_proc_logged(w.producer, "42P01"));
    stop(&w);
}

Test(api_metrics, a_question_under_way_is_answered_before_the_producer_leaves)
{
    struct world w =
        start_with((const char *const[]){"WEBHOOK_RATE_LIMIT=0", "WEBHOOK_READ_TIMEOUT=1", NULL});
    PGconn *db = lock_requests(&w);
    pid_t pid = ask_aside(&w);
    int status;
    WAIT_FOR(sql_int(w.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                           " AND datname = current_database()") == 1,
        10000);
    stop(&w);
    cr_expect_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    PQfinish(db);
}
