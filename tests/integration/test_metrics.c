/* metrics: what is measured gets into its tables, and nothing waits for that. Against real
 * PostgreSQL: partitioned tables as ours, plain ones as an adopted database has them. */
#include "base/mem.h"
#include "domain/metrics.h"
#include "domain/migrate.h"
#include "tests/support/harness.h"
#include "tests/support/relay.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(metrics, .timeout = 60);

/* --- a loop, a pool, a database ---------------------------------------------------------- */

static struct loop *loop;
static struct offload *offload;
static struct dbpool *pool;
static struct metrics *m;
static const char *url;

static void start(const char *database, int64_t capacity, int64_t sample)
{
    struct hl_err err = {0};
    const struct db_conf conf = {.url = database,
        .application_name = "metrics-test",
        .prepared = true,
        .pool_size = 2,
        .max_waiters = 100,
        .pool_timeout_ms = 5000,
        .pre_ping_after_ms = 60000,
        .max_age_ms = 600000,
        .connect_timeout_ms = 3000,
        .statement_timeout_ms = 5000};
    loop = loop_new(&err);
    offload = offload_new(loop, &err);
    pool = dbpool_new(loop, offload, &conf, &err);
    cr_assert(pool, "%s", err.msg);
    m = metrics_new(loop, pool, capacity, sample);
}

static void stop(void)
{
    dbpool_free(pool);
    metrics_free(m);
    offload_free(offload);
    loop_free(loop);
}

/* Turns the loop until the condition holds. */
#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        int64_t end_ = harness_now_ms() + 20000;                                                   \
        while (!(cond)) {                                                                          \
            cr_assert_lt(harness_now_ms(), end_, "waited in vain for: " #cond);                    \
            loop_turn(loop);                                                                       \
        }                                                                                          \
    } while (0)

static struct metrics_stats stats(void)
{
    struct metrics_stats st;
    metrics_stats(m, &st);
    return st;
}

static bool all_written(void)
{
    return stats().waiting == 0;
}

#define AT INT64_C(1767323045678901) /* 2026-01-02T03:04:05.678901Z */

static const struct metrics_request request = {.at = AT,
    .duration_ms = 12.345,
    .status = 202,
    .method = "POST",
    .path = "/api/webhook/changedetection",
    .request_id = "r-1",
    .client_ip = "192.0.2.7",
    .user_agent = "sender/1",
    .extra = "{\"path_params\":{},\"query_params\":{\"a\":\"b\"}}"};

static const struct metrics_operation operation = {.at = AT,
    .duration_ms = 0.5,
    .success = true,
    .type = "rescrape",
    .name = "scrape",
    .request_id = "r-1",
    .job_id = "j-1",
    .crawl_id = "c-1",
    .document_url = "https://example.com/",
    .extra = "{\"attempt\":1}"};

static void record_request(const char *path, int status)
{
    struct metrics_request r = request;
    r.path = path;
    r.request_id = path;
    r.status = status;
    metrics_request(m, &r);
}

#define ALL_REQUESTS                                                                               \
    "SELECT concat_ws('|', extract(epoch FROM \"timestamp\") * 1000000, method, path,"             \
    " status_code, duration_ms, request_id, client_ip, user_agent, extra_metadata)"                \
    " FROM webhook.request_metrics"
#define ALL_OPERATIONS                                                                             \
    "SELECT concat_ws('|', extract(epoch FROM \"timestamp\") * 1000000, operation_type,"           \
    " operation_name, duration_ms, success, error_message, request_id, job_id, crawl_id,"          \
    " document_url, extra_metadata) FROM webhook.operation_metrics"

static long rows(const char *table)
{
    return sql_int(url, "SELECT count(*) FROM webhook.%s", table);
}

/* --- rows -------------------------------------------------------------------------------- */

static void expect_rows_of_both_kinds(void)
{
    metrics_request(m, &request);
    metrics_operation(m, &operation);
    UNTIL(all_written());
    cr_expect_eq(stats().written, 2);
    cr_expect_str_eq(sql_text(url, ALL_REQUESTS),
        "1767323045678901.000000|POST|/api/webhook/changedetection|202|12.345|r-1|192.0.2.7|"
        "sender/1|{\"path_params\": {}, \"query_params\": {\"a\": \"b\"}}");
    cr_expect_str_eq(sql_text(url, ALL_OPERATIONS),
        "1767323045678901.000000|rescrape|scrape|0.5|t|r-1|j-1|c-1|https://example.com/|"
        "{\"attempt\": 1}");
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.request_metrics r,"
                              " webhook.operation_metrics o"
                              " WHERE r.created_at = o.created_at AND r.id <> o.id"
                              "   AND r.created_at > now() - interval '1 minute'"),
        1, "one transaction for both");
}

Test(metrics, rows_have_what_was_measured_and_when_it_began)
{
    start(url = harness_database(true), 1000, 1000000);
    expect_rows_of_both_kinds();
    stop();
}

static void load_reference(const char *database)
{
    glob_t found;
    cr_assert_eq(glob("tests/support/reference/[1-9]_*.sql", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char text[65536];
        FILE *f = fopen(found.gl_pathv[i], "r");
        cr_assert_not_null(f);
        text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
        fclose(f);
        sql_exec(database, "%s", text);
    }
    globfree(&found);
}

Test(metrics, plain_tables_of_an_adopted_database_take_them_too)
{
    struct buf lines = {0};
    struct hl_err err = {0};
    url = harness_database(false);
    load_reference(url);
    cr_assert_eq(migrate_run(url, MIGRATE_APPLY, 20000, &lines, &err), HL_OK, "%s", err.msg);
    buf_release(&lines);
    cr_assert_str_eq(sql_text(url, "SELECT relkind FROM pg_class WHERE oid ="
                                   " 'webhook.request_metrics'::regclass"),
        "r");
    start(url, 1000, 1000000);
    expect_rows_of_both_kinds();
    metrics_request(m, &request); /* there request_id alone is unique */
    record_request("/other", 200);
    UNTIL(all_written());
    cr_expect_eq(rows("request_metrics"), 2, "the double goes, its neighbour does not");
    stop();
}

static char *repeated(const char *unit, size_t n)
{
    struct buf b = {0};
    while (n--)
        buf_puts(&b, unit);
    return harness_hold(buf_detach(&b));
}

Test(metrics, over_long_values_are_cut_to_their_columns_in_characters)
{
    start(url = harness_database(true), 1000, 1000000);
    const char *wide = repeated("\xe2\x82\xac", 600);
    struct metrics_request r = request;
    r.method = r.path = r.request_id = r.client_ip = r.user_agent = wide;
    metrics_request(m, &r);
    struct metrics_operation o = operation;
    o.type = o.name = o.request_id = o.job_id = o.crawl_id = o.document_url = wide;
    o.error = repeated("\xe2\x82\xac", 5000);
    metrics_operation(m, &o);
    UNTIL(all_written());
    cr_expect_str_eq(
        sql_text(url, "SELECT concat_ws(',', length(method), length(path), length(request_id),"
                      " length(client_ip), length(user_agent)) FROM webhook.request_metrics"),
        "10,500,100,50,500");
    cr_expect_str_eq(
        sql_text(url, "SELECT concat_ws(',', length(operation_type), length(operation_name),"
                      " length(error_message), length(request_id), length(job_id),"
                      " length(crawl_id), length(document_url)) FROM webhook.operation_metrics"),
        "50,100,4096,100,100,255,500");
    stop();
}

Test(metrics, any_bytes_will_do)
{
    static const struct {
        const char *path, *kept;
    } table[] = {
        {"/a\xff"
         "b",       "/a\xef\xbf\xbd"
            "b"          },
        {"/\xe2\x82",        "/\xef\xbf\xbd"   },
        {"/\"quoted\\\"{,}", "/\"quoted\\\"{,}"},
        {"NULL",             "NULL"            },
        {"",                 ""                },
        {NULL,               ""                },
        {"/\x01\n\t",        "/\x01\n\t"       },
    };
    start(url = harness_database(true), 1000, 1000000);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        struct metrics_request r = request;
        r.path = table[i].path;
        r.at = AT + (int64_t)i;
        r.request_id = r.client_ip = r.user_agent = r.extra = NULL;
        metrics_request(m, &r);
    }
    UNTIL(all_written());
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        cr_expect_str_eq(
            sql_text(url,
                "SELECT path FROM webhook.request_metrics ORDER BY \"timestamp\" OFFSET %zu", i),
            table[i].kept);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.request_metrics WHERE num_nulls("
                              "request_id, client_ip, user_agent, extra_metadata) = 4"),
        (long)(sizeof(table) / sizeof(*table)));
    stop();
}

Test(metrics, durations_that_are_none_lose_no_row)
{
    static const double odd[] = {-1, 0.0 / 0.0, 1e300, 0};
    start(url = harness_database(true), 1000, 1000000);
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        struct metrics_operation o = operation;
        o.duration_ms = odd[i];
        metrics_operation(m, &o);
    }
    UNTIL(all_written());
    cr_expect_eq(rows("operation_metrics"), 4);
    stop();
}

Test(metrics, more_than_a_batch_is_written_without_waiting_for_a_timer)
{
    start(url = harness_database(true), 65536, 1000000);
    for (int i = 0; i < 5000; i++) {
        metrics_request(m, &request);
        metrics_operation(m, &operation);
    }
    UNTIL(all_written());
    cr_expect_eq(stats().written, 10000);
    /* Of one process: the ids make each a row of its own, however alike (request_id apart). */
    cr_expect_eq(rows("operation_metrics"), 5000);
    cr_expect_eq(rows("request_metrics"), 1);
    stop();
}

Test(metrics, a_sample_is_taken_of_what_went_well_and_every_error_is_kept)
{
    start(url = harness_database(true), 65536, 250000);
    for (int i = 0; i < 8000; i++) {
        const char *path = harness_text("/%d", i);
        record_request(path, 200);
        if (i < 500)
            record_request(harness_text("/e%d", i), 400 + i % 200);
    }
    UNTIL(all_written());
    long fine =
        sql_int(url, "SELECT count(*) FROM webhook.request_metrics WHERE status_code < 400");
    cr_expect(fine > 1700 && fine < 2300, "%ld of 8000", fine);
    cr_expect_eq(rows("request_metrics"), fine + 500);
    stop();
}

static void note_time(void *ctx)
{
    *(int64_t *)ctx = harness_now_ms();
}

Test(metrics, none_are_taken_without_a_buffer)
{
    int64_t done = 0;
    cr_assert_null(metrics_new(NULL, NULL, 0, 1000000));
    metrics_request(NULL, &request);
    metrics_operation(NULL, &operation);
    cr_expect_eq(stats().recorded, 0);
    metrics_drain(NULL, 1000, note_time, &done);
    cr_expect(done);
    metrics_free(NULL);
}

/* --- trouble ----------------------------------------------------------------------------- */

static const char *log_path;

static void log_to_file(void)
{
    log_path = harness_text("%s/log", harness_dir());
    int fd = open(log_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static int logged(const char *event)
{
    char text[65536];
    int n = 0;
    FILE *f = fopen(log_path, "r");
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    for (const char *at = text; (at = strstr(at, event)); at++)
        n++;
    return n;
}

/* Also: one line for all the losses of a minute. */
Test(metrics, a_full_ring_drops_the_oldest_and_counts_them)
{
    log_to_file();
    url = harness_database(true);
    start(url, 100, 1000000);
    for (int i = 0; i < 250; i++)
        record_request(harness_text("/%d", i), 200);
    cr_expect_eq(stats().recorded, 250);
    cr_expect_eq(stats().dropped, 150);
    cr_expect_eq(stats().waiting, 100);
    UNTIL(all_written());
    cr_expect_str_eq(sql_text(url, "SELECT concat_ws(',', count(*), min(substr(path, 2)::int),"
                                   " max(substr(path, 2)::int)) FROM webhook.request_metrics"),
        "100,150,249");
    cr_expect_eq(logged("metrics_dropped"), 1);
    stop();
}

Test(metrics, the_ring_is_bounded_in_bytes_too)
{
    log_to_file();
    start(url = harness_database(true), 100, 1000000);
    struct metrics_request r = request;
    r.extra = harness_text("{\"a\":\"%s\"}", repeated("x", 10000));
    for (int i = 0; i < 50; i++)
        metrics_request(m, &r);
    cr_expect(stats().waiting >= 5 && stats().waiting <= 10, "%lld", (long long)stats().waiting);
    r.extra = repeated("x", METRICS_EXTRA_MAX + 1);
    r.request_id = "too much of extra";
    metrics_request(m, &r);
    UNTIL(all_written());
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.request_metrics WHERE request_id ="
                              " 'too much of extra' AND extra_metadata IS NULL"),
        1, "left out, the row is kept");
    stop();
}

Test(metrics, what_is_recorded_while_the_database_is_dead_is_written_when_it_is_back)
{
    struct test_pg *pg = test_pg_start();
    start(url = test_pg_url(pg), 1000, 1000000);
    record_request("/before", 200);
    UNTIL(all_written());
    sql_exec(url, "CHECKPOINT"); /* else a killed PostgreSQL may forget what it has just taken */
    test_pg_kill(pg);
    record_request("/first", 200);
    UNTIL(!dbpool_up(pool)); /* a flush was tried */
    int64_t began = harness_now_ms();
    for (int i = 0; i < 1500; i++)
        record_request(harness_text("/%d", i), 200);
    cr_expect_lt(harness_now_ms() - began, 1000);
    cr_expect_eq(stats().written, 1);
    cr_expect_eq(stats().waiting, 1000);
    test_pg_restart(pg);
    UNTIL(all_written());
    cr_expect_eq(rows("request_metrics"), 1001);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.request_metrics WHERE path = '/499'"),
        0, "the oldest went");
    stop();
    test_pg_free(pg);
}

static const struct {
    enum mishap how;
    const char *what;
} mishaps[] = {
    {LOSE_REQUEST, "the batch is lost"                        },
    {LOSE_ANSWER,  "only its answer is lost: it has committed"},
};

Test(metrics, a_batch_of_unknown_fate_is_written_once)
{
    url = harness_database(true);
    start(relay_start(url), 1000, 1000000);
    record_request("/warm-up", 200);
    metrics_operation(m, &operation);
    UNTIL(all_written());
    for (size_t i = 0; i < sizeof(mishaps) / sizeof(*mishaps); i++) {
        long requests = rows("request_metrics"), operations = rows("operation_metrics");
        for (int k = 0; k < 10; k++) {
            record_request(harness_text("/%zu/%d", i, k), 200);
            metrics_operation(m, &operation);
        }
        relay_break_next(mishaps[i].how);
        UNTIL(all_written());
        cr_expect(relay_broke());
        cr_expect_eq(rows("request_metrics"), requests + 10, "%s", mishaps[i].what);
        cr_expect_eq(rows("operation_metrics"), operations + 10, "%s", mishaps[i].what);
    }
    stop();
}

Test(metrics, a_row_that_is_refused_is_lost_alone)
{
    log_to_file();
    start(url = harness_database(true), 65536, 1000000);
    sql_exec(url, "ALTER TABLE webhook.request_metrics ADD CHECK (path <> '/refused')");
    for (int i = 0; i < 700; i++) {
        bool bad = i == 0 || i == 333 || i == 699;
        struct metrics_request r = request;
        r.request_id = NULL;
        r.path = bad ? "/refused" : "/taken";
        r.extra = i == 500 ? "no JSON" : r.extra;
        metrics_request(m, &r);
        metrics_operation(m, &operation);
    }
    UNTIL(all_written());
    cr_expect_eq(stats().refused, 4);
    cr_expect_eq(stats().written, 1396);
    cr_expect_eq(rows("request_metrics"), 696);
    cr_expect_eq(rows("operation_metrics"), 700);
    cr_expect_eq(logged("metrics_dropped"), 1);
    stop();
}

/* That is the installation's fault, and mended some day. */
Test(metrics, a_missing_table_costs_no_row)
{
    log_to_file();
    start(url = harness_database(true), 1000, 1000000);
    sql_exec(url, "ALTER TABLE webhook.request_metrics RENAME TO gone");
    record_request("/", 200);
    record_request("/2", 200);
    UNTIL(logged("metrics_not_written"));
    sql_exec(url, "ALTER TABLE webhook.gone RENAME TO request_metrics");
    UNTIL(all_written());
    cr_expect_eq(rows("request_metrics"), 2);
    stop();
}

Test(metrics, a_locked_table_keeps_a_connection_for_moments_only)
{
    start(url = harness_database(true), 1000, 1000000);
    record_request("/warm-up", 200);
    UNTIL(all_written());
    PGconn *other = PQconnectdb(url);
    PQclear(PQexec(other, "BEGIN; LOCK TABLE webhook.request_metrics"));
    record_request("/", 200);
    struct dbpool_stats st = {0};
    UNTIL((dbpool_stats(pool, &st), st.busy == 1));
    int64_t began = harness_now_ms();
    UNTIL((dbpool_stats(pool, &st), st.busy == 0));
    cr_expect_lt(harness_now_ms() - began, 1500);
    cr_expect_eq(stats().waiting, 1);
    PQclear(PQexec(other, "COMMIT"));
    UNTIL(all_written());
    cr_expect_eq(rows("request_metrics"), 2);
    PQfinish(other);
    stop();
}

/* --- the end ----------------------------------------------------------------------------- */

Test(metrics, a_drain_writes_what_waits_at_once)
{
    int64_t done = 0;
    start(url = harness_database(true), 1000, 1000000);
    metrics_drain(m, 10000, note_time, &done);
    cr_expect_eq(done, 0, "never inside the call");
    UNTIL(done);
    done = 0;
    record_request("/", 200);
    metrics_drain(m, 10000, note_time, &done);
    UNTIL(done);
    cr_expect_eq(rows("request_metrics"), 1);
    stop();
}

Test(metrics, a_drain_ends_at_its_deadline_and_says_what_was_lost)
{
    int64_t done = 0, began;
    log_to_file();
    start(harness_text("postgresql://postgres@127.0.0.1:%d/none", harness_free_port()), 1000,
        1000000);
    for (int i = 0; i < 3; i++)
        record_request("/", 200);
    began = harness_now_ms();
    metrics_drain(m, 500, note_time, &done);
    UNTIL(done);
    cr_expect(done - began >= 490 && done - began < 3000, "%lld", (long long)(done - began));
    cr_expect_eq(stats().waiting, 3);
    stop();
    cr_expect_eq(logged("metrics_lost"), 1);
}
