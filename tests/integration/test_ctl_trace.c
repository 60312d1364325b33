/* hooklinectl events trace: everything that is known of an event, in order, also where some of those who
 * know are away. */
#include "tests/support/fleet.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(ctl_trace, .timeout = 120);

enum { SOON = 30000 };
#define NOBODY "00000000-0000-4000-8000-000000000001"

/* --- a rig whose producer keeps receipts ------------------------------------------------- */

static struct test_proc *producer;

static void start_producer(struct rig *r)
{
    const char *argv[] = {rig_program("hookline-producer"), NULL};
    int fd = harness_listen(&r->producer_port);
    producer = rig_start_program(r, argv,
        RIG_ENV(harness_text("WEBHOOK_RECEIPTS_DIR=%s/receipts", harness_dir()),
            harness_text("WEBHOOK_SPOOL_DIR=%s/own-spool", harness_dir())),
        fd);
    close(fd);
    WAIT_FOR(rig_serves(r->producer_port), SOON);
}

static void start(struct rig *r)
{
    rig_start(r);
    start_producer(r);
}

static json_t *trace_code(struct rig *r, const char *id, int expected, const char **log)
{
    struct hl_err err;
    const char *receipts = harness_text("%s/receipts", harness_dir());
    const char *spool = harness_text("%s/own-spool", harness_dir());
    const char *args[] = {
        "events", "trace", id, "--json", "--receipts", receipts, "--spool", spool, NULL};
    cr_assert_eq(rig_ctl(r, args, log), expected, "%s", *log);
    const char *from = strstr(*log, "{\"version\":1");
    if (!from)
        return NULL;
    json_t *root = json_parse(from, strcspn(from, "\n"), &err);
    cr_assert(root, "%s: %s", err.msg, *log);
    return root;
}

static json_t *trace(struct rig *r, const char *id)
{
    const char *log;
    json_t *root = trace_code(r, id, 0, &log);
    cr_assert(root, "%s", log);
    return root;
}

/* The first moment from *at on with this place and word; *at goes behind it. NULL: there is none. */
static json_t *next(const json_t *root, const char *place, const char *what, size_t *at)
{
    json_t *moments = json_object_get(root, "trace");
    while (*at < json_array_size(moments)) {
        json_t *m = json_array_get(moments, (*at)++);
        if (strcmp(json_get_string(m, "place"), place) == 0 &&
            strcmp(json_get_string(m, "what"), what) == 0)
            return m;
    }
    return NULL;
}

static json_t *moment(const json_t *root, const char *place, const char *what)
{
    size_t at = 0;
    json_t *m = next(root, place, what, &at);
    cr_assert(m, "no %s %s in %s", place, what, harness_hold(json_dumps(root, JSON_INDENT(1))));
    return m;
}

static bool has(const json_t *root, const char *place, const char *what)
{
    size_t at = 0;
    return next(root, place, what, &at) != NULL;
}

static json_int_t number(const json_t *m, const char *key)
{
    return json_integer_value(json_object_get(m, key));
}

static const char *first_hole(const json_t *root)
{
    const char *s = json_string_value(json_array_get(json_object_get(root, "not_asked"), 0));
    return s ? s : "";
}

static bool measured(struct rig *r, struct rig_id id, const char *name, long times)
{
    return sql_int(r->db,
               "SELECT count(*) FROM webhook.operation_metrics WHERE job_id = '%s'"
               " AND operation_name = '%s'",
               id.text, name) == times;
}

/* --- an event from end to end ------------------------------------------------------------ */

Test(ctl_trace, a_completed_event_is_told_from_receipt_to_ack)
{
    struct rig r;
    start(&r);
    struct rig_id id = rig_post(&r, "/flaky/1");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(measured(&r, id, "complete", 1) && measured(&r, id, "scrape", 2), SOON);
    WAIT_FOR(measured(&r, id, "change", 1), SOON);
    json_t *root = trace(&r, id.text);
    cr_expect_str_eq(json_get_string(root, "event_id"), id.text);
    cr_expect_str_eq(json_get_string(root, "status"), "completed");
    cr_expect_eq(json_array_size(json_object_get(root, "not_asked")), 0);

    static const char *const order[][2] = {
        {"row",     "accepted"         },
        {"receipt", "answered 202"     },
        {"metrics", "rescrape/claim"   },
        {"metrics", "rescrape/scrape"  },
        {"metrics", "rescrape/claim"   },
        {"metrics", "rescrape/scrape"  },
        {"metrics", "rescrape/complete"},
        {"row",     "completed"        },
        {"redis",   "acknowledged"     },
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
        cr_expect(next(root, order[i][0], order[i][1], &at), "%s %s is not where it should be: %s",
            order[i][0], order[i][1], harness_hold(json_dumps(root, JSON_INDENT(1))));

    at = 0;
    json_t *first = next(root, "metrics", "rescrape/scrape", &at);
    json_t *second = next(root, "metrics", "rescrape/scrape", &at);
    cr_expect(json_is_false(json_object_get(first, "success")));
    cr_expect_eq(number(first, "epoch"), 1);
    cr_expect(json_is_number(json_object_get(first, "duration_ms")));
    cr_expect(
        strstr(json_get_string(first, "detail"), "500"), "%s", json_get_string(first, "detail"));
    cr_expect_eq(number(second, "http_status"), 200);
    cr_expect_eq(number(second, "epoch"), 2);
    cr_expect_str_eq(json_get_string(second, "by"), rig_row(&r, id, "claimed_by"));
    json_t *claimed = moment(root, "row", "claimed last");
    cr_expect_eq(number(claimed, "epoch"), 2);
    cr_expect_str_eq(json_get_string(claimed, "by"), rig_row(&r, id, "claimed_by"));
    cr_expect_eq(number(moment(root, "request", "POST"), "http_status"), 202);
    cr_expect(strstr(json_get_string(moment(root, "receipt", "answered 202"), "detail"), "row"));
    cr_expect_eq(number(moment(root, "index", "document written"), "epoch"), 2);
    json_decref(root);

    const char *args[] = {"events", "trace", id.text, NULL}, *out;
    cr_expect_eq(rig_ctl(&r, args, &out), 0);
    cr_expect(strstr(out, "rescrape/complete"), "%s", out);

    root = trace(&r, rig_row(&r, id, "id"));
    cr_expect_str_eq(json_get_string(root, "event_id"), id.text);
    cr_expect(has(root, "receipt", "answered 202"), "a number of a row leads to the id");
    json_decref(root);
}

Test(ctl_trace, a_failure_shows_its_letter_and_what_an_operator_did_about_it)
{
    struct rig r;
    const char *out;
    start(&r);
    struct rig_id id = rig_post(&r, "/target/404");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(strncmp(rig_row(&r, id, "rescrape_status"), "failed", 6) == 0, SOON);
    WAIT_FOR(*rig_dead_letter(&r, id.text), SOON);
    json_t *root = trace(&r, id.text);
    cr_expect(has(root, "row", "failed"));
    cr_expect(has(root, "redis", "dead letter"));
    cr_expect_not(has(root, "operator", "events retry"));
    json_decref(root);

    test_proc_signal(fleet, 15);
    test_proc_wait(fleet, SOON);
    const char *args[] = {"events", "retry", id.text, "--yes", "--reason", "page is back", NULL};
    cr_assert_eq(rig_ctl(&r, args, &out), 0, "%s", out);
    root = trace(&r, id.text);
    json_t *retried = moment(root, "operator", "events retry");
    cr_expect_str_eq(json_get_string(retried, "detail"), "page is back; done");
    cr_expect(has(root, "row", "tried again"));
    cr_expect(has(root, "redis", "on the stream"));
    json_decref(root);
}

Test(ctl_trace, bytes_that_are_orders_to_a_terminal_or_no_text_are_not_passed_on)
{
    struct rig r;
    const char *out;
    start(&r);
    struct rig_id id = rig_post(&r, "/page");
    WAIT_FOR(rig_status_is(&r, id, "queued"), SOON);
    sql_exec(r.db, "UPDATE webhook.change_events SET watch_url = watch_url || E'\\x1b[31m\\u009b'");
    redis_text(r.redis,
        "EVAL return\tredis.call('XADD',KEYS[1],'*','id',ARGV[1],'reason',string.char(255,27)) 1 "
        "{hookline}:dead %s",
        id.text);
    json_t *root = trace(&r, id.text);
    cr_expect(has(root, "redis", "dead letter"));
    json_decref(root);
    cr_assert_eq(rig_ctl(&r, RIG_ENV("events", "trace", id.text), &out), 0, "%s", out);
    cr_expect(strstr(out, "/page"), "%s", out);
    cr_expect_not(strchr(out, 27) || strstr(out, "\xC2\x9B") || strchr(out, 255), "%s", out);
}

Test(ctl_trace, what_waits_is_shown_where_it_waits)
{
    struct rig r;
    start(&r);
    struct rig_id fresh = rig_post(&r, "/ok");
    json_t *root = trace(&r, fresh.text);
    cr_expect(strstr(
        json_get_string(moment(root, "redis", "on the stream"), "detail"), "not delivered yet"));
    json_decref(root);

    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=600", "WEBHOOK_RETRY_MAX=600"));
    struct rig_id held = rig_post(&r, "/hold"), late = rig_post(&r, "/fail/500");
    WAIT_FOR(rig_status_is(&r, held, "in_progress"), SOON);
    WAIT_FOR(atoi(rig_row(&r, late, "attempts")) == 1, SOON);
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1, SOON);
    sql_exec(r.db,
        "INSERT INTO webhook.worker_crashes (worker, host, pid, role, signal, cause, blamed, held)"
        " VALUES ('vm-1-dead', 'vm', 1, 'worker', 11, 'signal 11', true,"
        "  '[{\"event_id\": \"%s\", \"step\": \"SCRAPE\"}]')",
        held.text);
    root = trace(&r, held.text);
    cr_expect_str_eq(json_get_string(moment(root, "crash", "died with it"), "by"), "vm-1-dead");
    cr_expect_str_eq(json_get_string(moment(root, "crash", "died with it"), "detail"), "signal 11");
    cr_expect_str_eq(
        json_get_string(moment(root, "redis", "delivered"), "by"), rig_row(&r, held, "claimed_by"));
    json_decref(root);
    root = trace(&r, late.text);
    cr_expect_not(has(root, "crash", "died with it"), "it was not held by that one");
    cr_expect(has(root, "redis", "due in later"));
    cr_expect(has(root, "row", "due"));
    json_decref(root);
    rig_release(&r);
}

/* --- who knows is away ------------------------------------------------------------------- */

Test(ctl_trace, without_postgresql_spool_receipt_and_redis_still_tell)
{
    struct rig r;
    const char *log;
    rig_start_own_pg(&r);
    start_producer(&r);
    test_pg_kill(r.pg);
    struct rig_id id = rig_post(&r, "/ok");
    json_t *root = trace(&r, id.text);
    cr_expect(has(root, "spool", "record"));
    cr_expect(strstr(json_get_string(moment(root, "receipt", "answered 202"), "detail"), "spool"));
    cr_expect_eq(strncmp(first_hole(root), "PostgreSQL: ", 12), 0, "%s", first_hole(root));
    cr_expect(json_is_null(json_object_get(root, "change_event_id")));
    json_decref(root);
    trace_code(&r, NOBODY, 69, &log);
    cr_expect(strstr(log, "nothing is known"), "%s", log);
}

Test(ctl_trace, without_redis_the_row_still_tells)
{
    struct rig r;
    const char *log;
    start(&r);
    struct rig_id id = rig_post(&r, "/ok");
    trace_code(&r, NOBODY, 2, &log);
    cr_expect(strstr(log, "nobody knows an event"), "%s", log);
    trace_code(&r, "no-id", 64, &log);
    test_redis_kill(r.redis);
    json_t *root = trace(&r, id.text);
    cr_expect(has(root, "row", "accepted"));
    cr_expect_eq(strncmp(first_hole(root), "Redis: ", 7), 0, "%s", first_hole(root));
    json_decref(root);
}

/* --- Firecrawl's events ------------------------------------------------------------------ */

Test(ctl_trace, an_event_of_firecrawl_and_its_document_lead_to_the_same_trace)
{
    static const char body[] =
        "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"crawl-1\",\"data\":[{\"markdown\":"
        "\"text\","
        "\"metadata\":{\"url\":\"https://site.test/a\",\"statusCode\":200,\"scrapeId\":\"s-1\"}}]}";
    struct rig r;
    start(&r);
    rig_fleet(&r, 1, NULL);
    struct test_reply reply = test_http(r.producer_port, "POST", "/api/webhook/firecrawl",
        harness_text("Content-Type: application/json\r\nX-Firecrawl-Signature: sha256=%s\r\n",
            test_sign(RIG_SECRET, body, strlen(body))),
        body, strlen(body));
    cr_assert_eq(reply.status / 100, 2, "%s", reply.body);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_pages") == 1, SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.operation_metrics WHERE operation_name ="
                           " 'store_batch' OR operation_type = 'worker' OR operation_name ="
                           " 'crawl.page'") == 3,
        SOON);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:crawl") == 0, SOON);
    const char *event = sql_text(r.db, "SELECT event_id FROM webhook.crawl_events");
    json_t *root = trace(&r, event);
    cr_expect(strstr(json_get_string(moment(root, "crawl", "crawl.page"), "detail"), "crawl-1"));
    cr_expect_eq(number(moment(root, "crawl", "page indexed"), "http_status"), 200);
    cr_expect(has(root, "redis", "acknowledged"), "its tombstone says so");
    cr_expect(has(root, "metrics", "content_storage/store_batch"));
    json_decref(root);

    const char *document = sql_text(r.db, "SELECT job_id FROM webhook.operation_metrics"
                                          " WHERE operation_type = 'worker'");
    root = trace(&r, document);
    cr_expect(has(root, "metrics", "worker/index_document"));
    cr_expect(has(root, "metrics", "content_storage/store_batch"));
    json_decref(root);
}
