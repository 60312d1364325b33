/* What the programs measure, from outside: a whole Hookline, its answers and jobs, and the rows that
 * speak of them. */
#include "base/mem.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(measure, .timeout = 120);

#define HOOK  "/api/webhook/changedetection"
#define TOKEN "X-Webhook-Token: " RIG_TOKEN "\r\n"
#define AGENT "User-Agent: a-sender/1.0\r\n"
#define BODY                                                                                       \
    "{\"watch_id\":\"w\",\"watch_url\":\"" RIG_SITE "/measured\","                                 \
    "\"detected_at\":\"2026-11-23T10:00:00Z\"}"
#define MASKED_TOKEN "*********************************************"
#define NO_PARAMS    "{\"path_params\": {}, \"query_params\": {}}"

static struct test_reply ask(
    struct rig *r, const char *method, const char *path, const char *headers, const char *body)
{
    return test_http(r->producer_port, method, path, headers, body, strlen(body));
}

/* Of the row of that answer. */
static const char *request_row(struct rig *r, const char *request_id, const char *columns)
{
    return sql_text(r->db,
        "SELECT concat_ws('|', %s) FROM webhook.request_metrics WHERE request_id = '%s'", columns,
        request_id);
}

static bool row_is_there(struct rig *r, const char *request_id)
{
    return *request_row(r, request_id, "id");
}

/* --- requests ---------------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *method, *path, *headers, *body, *row;
} requests[] = {
    {"POST", HOOK, TOKEN AGENT, BODY, "POST|" HOOK "|202|127.0.0.1|a-sender/1.0|" NO_PARAMS},
    {"POST", HOOK, AGENT, BODY, "POST|" HOOK "|401|127.0.0.1|a-sender/1.0|" NO_PARAMS},
    {"POST", HOOK, TOKEN, "{", "POST|" HOOK "|400|127.0.0.1|" NO_PARAMS},
    {"GET", HOOK, AGENT, "", "GET|" HOOK "|405|127.0.0.1|a-sender/1.0|" NO_PARAMS},
    {"GET", "/nothing/here", AGENT, "",
     "GET|/nothing/here|404|127.0.0.1|a-sender/1.0|" NO_PARAMS},
    {"GET", "/metrics/none", "", "", "GET|/metrics/none|404|127.0.0.1|" NO_PARAMS},
    {"GET", "/health/", "", "", "GET|/health/|307|127.0.0.1|" NO_PARAMS},
    {"GET", "/x?a=1&b=x%20y+z&a=2&&c", "", "",
     "GET|/x|404|127.0.0.1|{\"path_params\": {}, \"query_params\": "
     "{\"a\": \"2\", \"b\": \"x y z\", \"c\": \"\"}}"},
    {"GET", "/x?Api_Key=k&TOKEN=t&x-signature=s&q=%ff%00%22", "", "",
     "GET|/x|404|127.0.0.1|{\"path_params\": {}, \"query_params\": "
     "{\"q\": \"\xef\xbf\xbd\\\"\", \"TOKEN\": \"***\", \"Api_Key\": \"***\","
     " \"x-signature\": \"***\"}}"},
    {"GET", "/x?passwd=p&sid_cookie=c&a=x%61-token-for-senders-that-cannot-sign-webhooks&" RIG_SECRET, "", "",
     "GET|/x|404|127.0.0.1|{\"path_params\": {}, \"query_params\": {\"a\": \"***\", \"***\": \"***\","
     " \"passwd\": \"***\", \"sid_cookie\": \"***\"}}"},
    {"POST", HOOK "/a%2Dtoken-for-senders-that-cannot-sign-webhooks", "", "",
     "POST|" HOOK "/" MASKED_TOKEN "|404|127.0.0.1|" NO_PARAMS},
    {"GET", "/f", "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n", "",
     "GET|/f|404|203.0.113.9|" NO_PARAMS},
    {"GET", "/f", "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n", "",
     "GET|/f|404|203.0.113.9|" NO_PARAMS},
    {"GET", "/f", "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 2001:db8::1 \r\n", "",
     "GET|/f|404|2001:db8::1|" NO_PARAMS},
    {"GET", "/f?auth=a&Pass=p&idempotency-key=i", "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n", "",
     "GET|/f|404|203.0.113.9|{\"path_params\": {}, \"query_params\": "
     "{\"Pass\": \"***\", \"auth\": \"***\", \"idempotency-key\": \"i\"}}"},
    {"GET", "/f", "X-Forwarded-For: '; DROP TABLE\r\n", "", "GET|/f|404|127.0.0.1|" NO_PARAMS},
};
/* clang-format on */

Test(measure, every_answer_is_a_row_under_the_id_that_it_carries)
{
    struct rig r;
    rig_start(&r);
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
        struct test_reply reply =
            ask(&r, requests[i].method, requests[i].path, requests[i].headers, requests[i].body);
        const char *id = test_reply_header(&reply, "X-Request-ID");
        cr_assert_not_null(id);
        WAIT_FOR(row_is_there(&r, id), 10000);
        cr_expect_str_eq(
            request_row(&r, id, "method, path, status_code, client_ip, user_agent, extra_metadata"),
            requests[i].row);
        cr_expect_str_eq(request_row(&r, id,
                             "duration_ms > 0 AND duration_ms < 60000 AND created_at >= "
                             "\"timestamp\" AND \"timestamp\" > now() - interval '1 minute'"),
            "t");
    }
}

/* Of which the row of a route needs its pattern: the summary groups by it. */
Test(measure, arguments_too_long_for_a_row_are_left_out_alone)
{
    struct rig r;
    rig_start(&r);
    char *long_one = harness_hold(mem_zero(9001));
    memset(long_one, 'x', 9000);
    struct test_reply reply =
        ask(&r, "GET", harness_text("/api/events/7?a=1&b=%s&c=3", long_one), "", "");
    cr_assert_eq(reply.status, 401, "%d", reply.status);
    const char *id = test_reply_header(&reply, "X-Request-ID");
    WAIT_FOR(row_is_there(&r, id), 10000);
    cr_expect_str_eq(request_row(&r, id, "extra_metadata"),
        "{\"route\": \"/api/events/{id}\", \"path_params\": {\"id\": \"7\"},"
        " \"query_params\": {\"a\": \"1\", \"c\": \"3\"}}");
}

/* Whoever looks often must not be what is seen most. */
Test(measure, probes_are_no_rows_but_where_they_fail)
{
    struct rig r;
    rig_start(&r);
    cr_assert_eq(ask(&r, "GET", "/health", "", "").status, 200);
    cr_assert_eq(ask(&r, "GET", "/", "", "").status, 200);
    struct test_reply wrong = ask(&r, "POST", "/health", "", "");
    WAIT_FOR(row_is_there(&r, test_reply_header(&wrong, "X-Request-ID")), 10000);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.request_metrics"), 1);
}

/* --- operations -------------------------------------------------------------------------- */

/* "type/name success error|..." of a job, as they began. */
static const char *operations(struct rig *r, const char *where)
{
    return sql_text(r->db,
        "SELECT string_agg(concat_ws(' ', operation_type || '/' || operation_name, success,"
        " error_message), '|' ORDER BY \"timestamp\", operation_name DESC)"
        " FROM webhook.operation_metrics WHERE %s",
        where);
}

static long count(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.operation_metrics WHERE %s", where);
}

Test(measure, all_operations_of_an_event_carry_the_id_of_its_request)
{
    struct rig r;
    rig_start(&r);
    struct test_reply reply = ask(&r, "POST", HOOK, TOKEN, BODY);
    const char *id = test_reply_header(&reply, "X-Request-ID");
    const char *where = harness_text("request_id = '%s' AND job_id = '%s' AND document_url = '%s'",
        id, test_reply_member(&reply, "job_id"), RIG_SITE "/measured");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(count(&r, where) == 5, 20000);
    cr_expect_eq(count(&r, harness_text("NOT (%s)", where)), 0);
    cr_expect(count(&r, harness_text("%s AND success AND error_message IS NULL"
                                     " AND created_at >= \"timestamp\"",
                            where)) == 5,
        "%s", operations(&r, where));
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(operation_type || '/' || operation_name,"
                                    " ' ' ORDER BY operation_type, operation_name)"
                                    " FROM webhook.operation_metrics"),
        "queue/wait rescrape/claim rescrape/complete rescrape/scrape webhook/change");
    cr_expect_str_eq(
        sql_text(r.db,
            "SELECT extra_metadata - 'worker' - 'trace_id' FROM webhook.operation_metrics"
            " WHERE operation_name = 'scrape'"),
        "{\"epoch\": 1, \"attempt\": 1, \"target_status\": 200}");
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(DISTINCT extra_metadata->>'worker', ' ')"
                                    " FROM webhook.operation_metrics WHERE operation_type IN"
                                    " ('queue', 'rescrape')"),
        sql_text(r.db, "SELECT claimed_by FROM webhook.change_events LIMIT 1"));
    /* The wait began when the row was made, and ended with the claim. */
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.operation_metrics w,"
                               " webhook.operation_metrics c, webhook.change_events e"
                               " WHERE w.operation_name = 'wait' AND c.operation_name = 'claim'"
                               "   AND abs(extract(epoch FROM w.\"timestamp\" - e.created_at)) < 1"
                               "   AND abs(extract(epoch FROM w.\"timestamp\" - c.\"timestamp\")"
                               "     + w.duration_ms / 1000) < 1"),
        1);
    test_proc_signal(fleet, SIGUSR2);
    WAIT_FOR(test_proc_logged(fleet, "\"state_metrics\""), 10000);
    test_proc_signal(r.producer, SIGUSR2);
    WAIT_FOR(test_proc_logged(r.producer, "\"state_metrics\""), 10000);
}

Test(measure, what_fails_says_why)
{
    struct rig r;
    rig_start(&r);
    ask(&r, "POST", HOOK, "", BODY);
    ask(&r, "POST", HOOK, TOKEN, "{");
    rig_firecrawl_fails(&r, 500, -1);
    struct rig_id id = rig_post(&r, "/fails");
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=2", "WEBHOOK_BREAKER_FAILURES=0"));
    const char *of_job = harness_text("job_id = '%s'", id.text);
    WAIT_FOR(count(&r, harness_text("%s AND operation_name = 'scrape'", of_job)) == 2, 20000);
    WAIT_FOR(count(&r, "operation_type = 'webhook'") == 3, 10000);
    cr_expect_eq(count(&r, harness_text("%s AND operation_name = 'scrape' AND NOT success"
                                        " AND error_message LIKE '%%500%%'",
                               of_job)),
        2, "%s", operations(&r, of_job));
    cr_expect_eq(count(&r, harness_text("%s AND operation_name = 'claim' AND success", of_job)), 2);
    cr_expect_eq(count(&r, harness_text("%s AND operation_name = 'complete'", of_job)), 0);
    cr_expect_eq(count(&r, harness_text("%s AND extra_metadata->>'attempt' = '2'", of_job)), 3);
    cr_expect_eq(count(&r, "operation_type = 'webhook' AND NOT success AND job_id IS NULL"
                           " AND error_message = 'Missing X-Signature header'"),
        1);
    cr_expect_eq(count(&r, "operation_type = 'webhook' AND NOT success AND job_id IS NULL"
                           " AND error_message LIKE '%%ends too early%%'"),
        1, "%s", operations(&r, "operation_type = 'webhook'"));
}

/* The row does not know the request; all else is measured. */
Test(measure, a_job_claimed_from_its_row_is_measured_too)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    struct rig_id id = rig_post(&r, "/by-row");
    rig_fleet(&r, 1, NULL);
    const char *of_worker = harness_text("job_id = '%s' AND operation_type <> 'webhook'", id.text);
    WAIT_FOR(count(&r, of_worker) == 3, 30000);
    cr_expect_eq(count(&r, harness_text("%s AND request_id IS NULL AND success"
                                        " AND operation_name IN ('wait', 'scrape', 'complete')",
                               of_worker)),
        3, "%s", operations(&r, of_worker));
    cr_expect_eq(
        count(&r, harness_text("%s AND operation_name = 'wait' AND duration_ms > 1000", of_worker)),
        1, "three seconds pass before rows are claimed");
}

/* --- nobody waits for them --------------------------------------------------------------- */

enum { EVENTS = 200 };

Test(measure, no_request_and_no_job_waits_for_tables_that_are_locked)
{
    struct rig r;
    double slowest = 0;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    PGconn *other = PQconnectdb(r.db);
    PGresult *locked =
        PQexec(other, "BEGIN; LOCK TABLE webhook.request_metrics, webhook.operation_metrics"
                      " IN ACCESS EXCLUSIVE MODE");
    cr_assert_eq(PQresultStatus(locked), PGRES_COMMAND_OK);
    PQclear(locked);
    for (int i = 0; i < EVENTS; i++) {
        const char *body = harness_text("{\"watch_id\":\"w\",\"watch_url\":\"%s/%d\","
                                        "\"detected_at\":\"2026-11-23T10:00:00Z\"}",
            RIG_SITE, i);
        struct test_reply reply = ask(&r, "POST", HOOK, TOKEN, body);
        cr_assert_eq(reply.status, 202);
        cr_assert_str_neq(test_reply_member(&reply, "change_event_id"), "null", "it was spooled");
        slowest = reply.seconds > slowest ? reply.seconds : slowest;
    }
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == EVENTS, 60000);
    cr_expect_lt(slowest, 1.0);
    cr_expect_eq(PQtransactionStatus(other), PQTRANS_INTRANS, "locked all the time");
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    WAIT_FOR(count(&r, "true") == 5 * EVENTS, 30000);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.request_metrics"), EVENTS);
}

Test(measure, what_was_measured_last_is_written_before_the_programs_leave)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/last");
    WAIT_FOR(rig_status_is(&r, id, "completed"), 20000);
    test_proc_signal(fleet, SIGTERM);
    test_proc_signal(r.producer, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, 20000), 0);
    cr_expect_eq(test_proc_wait(r.producer, 20000), 0);
    cr_expect_eq(count(&r, "true"), 5);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.request_metrics"), 1);
}
