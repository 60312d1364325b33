/* What the API shows of failed events, documents and workers, what is found by searching, and what operators
 * tell workers and queues through it. The shape of the answers is test_api_openapi's. */
#include "tests/support/api.h"

#include "base/buf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(api_dead, .timeout = 90);

enum { SOON = 20000 };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct rig rig;

/* `member` of each element of `list`, with commas between. */
static const char *members(const char *path, const char *list, const char *member)
{
    struct buf seen = {0};
    json_t *v = api_ask_json(&rig, "GET", path, NULL, 200), *one;
    size_t i;
    json_array_foreach(json_object_get(v, list), i, one)
        buf_printf(&seen, "%s%s", i ? "," : "", api_text(one, member));
    json_decref(v);
    return harness_hold(seen.data ? buf_detach(&seen) : strdup(""));
}

/* --- failed events ----------------------------------------------------------------------- */

Test(api_dead, failed_events_are_grouped_by_reason_the_most_frequent_first)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 2, "timed out");
    rig_fail_events(&rig, 2, 3, "HTTP 503");
    rig_fail_events(&rig, 2, 1, "HTTP 503");
    sql_exec(rig.db, "UPDATE webhook.change_events SET finished_at = '2026-01-01T00:00:00Z'"
                     " WHERE watch_id = 'w4'");
    sql_exec(rig.db, "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
                     " VALUES ('x', 'x', 'completed'), ('y', 'y', 'failed')");
    json_t *v = api_ask_json(&rig, "GET", "/api/dead", NULL, 200);
    const json_t *groups = json_object_get(v, "groups"), *first = json_array_get(groups, 0);
    cr_expect_eq(json_array_size(groups), 3);
    cr_expect_str_eq(api_text(first, "error"), "HTTP 503");
    cr_expect_eq(api_number(first, "events"), 4);
    cr_expect_eq(api_number(first, "urls"), 3);
    cr_expect_str_eq(api_text(first, "oldest_at"), "2026-01-01T00:00:00Z");
    cr_expect_eq(api_number(v, "counted"), 7);
    cr_expect(json_is_true(json_object_get(v, "complete")));
    cr_expect_eq(api_number(v, "change_letters"), 0);
    json_decref(v);
    cr_expect_str_eq(members("/api/dead", "groups", "error"), "HTTP 503,timed out,failed");
    cr_expect_str_eq(members("/api/dead?status=TIMED", "groups", "error"), "timed out");
    cr_expect_str_eq(
        members("/api/dead?until=2026-01-02T00:00:00Z", "groups", "error"), "HTTP 503");
    cr_expect_str_eq(members("/api/dead?status=none", "groups", "error"), "");
}

Test(api_dead, dead_letters_are_counted_where_redis_is)
{
    rig_start(&rig);
    for (int i = 0; i < 205; i++)
        redis_text(rig.redis, "XADD {hookline}:dead * reason x job x queue %s",
            i % 5 ? "change" : "crawl");
    json_t *v = api_ask_json(&rig, "GET", "/api/dead", NULL, 200);
    cr_expect_eq(api_number(v, "change_letters"), 164);
    cr_expect_eq(api_number(v, "crawl_letters"), 41);
    cr_expect(json_is_true(json_object_get(v, "letters_complete")));
    json_decref(v);
    test_redis_kill(rig.redis);
    v = api_ask_json(&rig, "GET", "/api/dead", NULL, 200);
    cr_expect(json_is_null(json_object_get(v, "change_letters")));
    cr_expect(json_is_null(json_object_get(v, "crawl_letters")));
    json_decref(v);
}

Test(api_dead, failed_events_are_listed_page_by_page)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 5, "HTTP 503");
    rig_fail_events(&rig, 6, 1, "timed out");
    cr_expect_str_eq(members("/api/dead/events?limit=4", "events", "watch_id"), "w6,w5,w4,w3");
    json_t *v = api_ask_json(&rig, "GET", "/api/dead/events?limit=4", NULL, 200);
    const char *next = harness_text("/api/dead/events?limit=4&after=%s", api_text(v, "next"));
    json_decref(v);
    cr_expect_str_eq(members(next, "events", "watch_id"), "w2,w1");
    v = api_ask_json(&rig, "GET", next, NULL, 200);
    cr_expect(json_is_null(json_object_get(v, "next")));
    json_decref(v);
    static const char *const cases[][2] = {
        {"error=TIMED",              "w6"               },
        {"url=" RIG_SITE "/p2",      "w2"               },
        {"watch=w3&error=503",       "w3"               },
        {"until=2026-01-01",         ""                 },
        {"since=2026-01-01&limit=6", "w6,w5,w4,w3,w2,w1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_str_eq(
            members(harness_text("/api/dead/events?%s", cases[i][0]), "events", "watch_id"),
            cases[i][1], "%s", cases[i][0]);
}

Test(api_dead, a_retry_is_written_down)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 1, "HTTP 503");
    const char *id = sql_text(rig.db, "SELECT event_id FROM webhook.change_events");
    const char *path = harness_text("/api/events/%s/retry", id);
    api_answer_text(&rig, "POST", path, NULL, 202, "status");
    api_answer_text(&rig, "POST", path, NULL, 409, "detail");
    api_answer_text(&rig, "POST", "/api/events/4711/retry", NULL, 404, "detail");
    cr_expect_str_eq(
        sql_text(rig.db, "SELECT string_agg(concat_ws('|', operator, command, affected, outcome),"
                         " ',' ORDER BY id) FROM webhook.operator_log"),
        "api@127.0.0.1|events retry|1|done,api@127.0.0.1|events retry|0|had not failed,"
        "api@127.0.0.1|events retry|0|no such event");
}

Test(api_dead, what_could_not_be_done_is_written_down_too)
{
    static const char *const paths[] = {"/api/queues/change/pause", "/api/events/1/retry",
        "/api/workers/w/orders", "/api/system/log-level"};
    rig_start(&rig);
    sql_exec(rig.db, "ALTER TABLE webhook.queues RENAME paused_by TO x;"
                     "ALTER TABLE webhook.change_events RENAME attempts TO x;"
                     "ALTER TABLE webhook.workers RENAME orders TO x;"
                     "ALTER TABLE webhook.log_level RENAME set_by TO x");
    for (size_t i = 0; i < COUNT(paths); i++)
        api_answer_text(&rig, "POST", paths[i],
            i == 2   ? "{\"order\":\"quiet\"}"
            : i == 3 ? "{\"level\":\"debug\"}"
                     : "{}",
            500, "detail");
    WAIT_FOR(strcmp(sql_text(rig.db, "SELECT string_agg(concat_ws('|', command, affected, outcome),"
                                     " ',' ORDER BY id) FROM webhook.operator_log"),
                 "pause|0|broken off,events retry|0|broken off,workers order|0|broken off,"
                 "log-level|0|broken off") == 0,
        SOON);
}

/* --- searching --------------------------------------------------------------------------- */

Test(api_dead, a_search_finds_parts_of_urls_rows_and_events)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 30, "HTTP 503");
    sql_exec(rig.db, "UPDATE webhook.change_events SET event_id ="
                     " '00000000-0000-4000-8000-000000000001' WHERE watch_id = 'w9'");
    static const char *const cases[][2] = {
        {"search=PAGE.test/p30",                                      "w30"    },
        {"search=/p1&watch=w12",                                      "w12"    },
        {"search=/p2&limit=2",                                        "w29,w28"},
        {"search=p7",                                                 "w7"     },
        {"search=00000000-0000-4000-8000-000000000001",               "w9"     },
        {"search=00000000-0000-4000-8000-000000000001&status=failed", "w9"     },
        {"search=00000000-0000-4000-8000-000000000001&status=queued", ""       },
        {"search=00000000-0000-4000-8000-000000000002",               ""       },
        {"search=nowhere",                                            ""       },
        {"search=%25",                                                ""       },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_str_eq(members(harness_text("/api/events?%s", cases[i][0]), "events", "watch_id"),
            cases[i][1], "%s", cases[i][0]);
    const char *row =
        sql_text(rig.db, "SELECT id FROM webhook.change_events WHERE watch_id = 'w5'");
    cr_expect(
        strstr(members(harness_text("/api/events?search=%s", row), "events", "watch_id"), "w5"));
}

Test(api_dead, an_event_is_found_by_its_id_however_old_it_is)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 1, "HTTP 503");
    sql_exec(rig.db, "UPDATE webhook.change_events SET event_id ="
                     " '00000000-0000-4000-8000-000000000001'");
    sql_exec(rig.db, "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
                     " SELECT 'x', 'x', 'completed' FROM generate_series(1, 20001)");
    cr_expect_str_eq(
        members("/api/events?search=00000000-0000-4000-8000-000000000001", "events", "watch_id"),
        "w1");
    json_t *v = api_ask_json(&rig, "GET", "/api/events?search=/p1", NULL, 200);
    cr_expect_eq(json_array_size(json_object_get(v, "events")), 0, "a page looks at so many");
    cr_expect(json_is_string(json_object_get(v, "next")), "and says that there is more behind it");
    json_decref(v);
}

/* --- documents --------------------------------------------------------------------------- */

Test(api_dead, a_document_is_shown_by_its_page_and_by_its_event)
{
    rig_start(&rig);
    rig_fleet(&rig, 1, NULL);
    struct rig_id id = rig_post(&rig, "/heron");
    WAIT_FOR(rig_status_is(&rig, id, "completed"), SOON);
    const char *paths[] = {harness_text("/api/documents?event=%s", id.text),
        harness_text("/api/documents?event=%s", rig_row(&rig, id, "id")),
        "/api/documents?url=HTTP://PAGE.test/heron%3Futm_source=x%23top"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        json_t *v = api_ask_json(&rig, "GET", paths[i], NULL, 200);
        const json_t *d = json_object_get(v, "document");
        cr_expect_str_eq(api_text(d, "canonical_url"), RIG_SITE "/heron", "%s", paths[i]);
        cr_expect(*api_text(d, "text"));
        cr_expect(json_is_false(json_object_get(d, "truncated")));
        cr_expect_eq(strlen(api_text(d, "content_hash")), 64);
        json_decref(v);
    }
    sql_exec(rig.db, "UPDATE webhook.documents SET text = repeat('é', 200000)");
    json_t *v = api_ask_json(&rig, "GET", paths[0], NULL, 200);
    const json_t *d = json_object_get(v, "document");
    cr_expect(json_is_true(json_object_get(d, "truncated")));
    cr_expect_eq(strlen(api_text(d, "text")), 262144);
    json_decref(v);
    v = api_ask_json(&rig, "GET", "/api/documents?url=http://page.test/none", NULL, 200);
    cr_expect(json_is_null(json_object_get(v, "document")));
    json_decref(v);
    static const char *const bad[] = {
        "url=ftp://page.test/", "url=x", "event=x", "event=", "event=1&url=http://page.test/"};
    for (size_t i = 0; i < COUNT(bad); i++)
        json_decref(
            api_ask_json(&rig, "GET", harness_text("/api/documents?%s", bad[i]), NULL, 422));
}

/* --- orders ------------------------------------------------------------------------------ */

static const char *worker(const char *member)
{
    json_t *v = api_ask_json(&rig, "GET", "/api/workers", NULL, 200);
    const json_t *w = json_array_get(json_object_get(v, "workers"), 0);
    const char *text = harness_text("%s", api_text(w, member));
    json_decref(v);
    return text;
}

Test(api_dead, orders_reach_a_worker_and_are_taken_back)
{
    rig_start(&rig);
    struct test_proc *fleet = rig_fleet(&rig, 1, NULL);
    WAIT_FOR(strcmp(worker("phase"), "working") == 0, SOON);
    const char *path = harness_text("/api/workers/%s/orders", worker("id"));
    cr_expect_str_eq(
        api_answer_text(&rig, "POST", path, "{\"order\":\"quiet\"}", 200, "order"), "quiet");
    WAIT_FOR(strcmp(worker("phase"), "quiet") == 0, SOON);
    cr_expect_str_eq(worker("orders"), "quiet");
    struct rig_id id = rig_post(&rig, "/page");
    api_answer_text(&rig, "POST", path, "{\"order\":null}", 200, "order");
    WAIT_FOR(rig_status_is(&rig, id, "completed"), SOON);
    cr_expect_str_eq(worker("orders"), "");
    api_answer_text(&rig, "POST", path, "{\"order\":\"kick\"}", 200, "order");
    pid_t before = rig_worker(&rig);
    WAIT_FOR(rig_gone(before), SOON);
    cr_expect(test_proc_running(fleet));
    cr_expect_str_eq(
        sql_text(rig.db, "SELECT string_agg(concat_ws('|', command, detail->>'order', outcome), ','"
                         " ORDER BY id) FROM webhook.operator_log"),
        "workers order|quiet|done,workers order|done,workers order|kick|done");
}

Test(api_dead, orders_that_make_no_sense_are_refused)
{
    rig_start(&rig);
    sql_exec(
        rig.db, "INSERT INTO webhook.workers (id, host, pid, dead_at) VALUES ('w', 'h', 1, now())");
    static const struct {
        const char *path, *body;
        int status;
    } cases[] = {
        {"/api/workers/w/orders",     "{\"order\":\"quiet\"}",               404},
        {"/api/workers/none/orders",  "{\"order\":\"quiet\"}",               404},
        {"/api/workers/w/orders",     "{}",                                  422},
        {"/api/workers/w/orders",     "{\"order\":\"\"}",                    422},
        {"/api/workers/w/orders",     "{\"order\":\"QUIET\"}",               422},
        {"/api/workers/w/orders",     "{\"order\":1}",                       422},
        {"/api/workers/w/orders",     "{\"order\":\"kick\",\"force\":true}", 422},
        {"/api/workers/w/orders",     "order=quiet",                         400},
        {"/api/queues/none/pause",    "{}",                                  404},
        {"/api/queues/CHANGE/pause",  "{}",                                  404},
        {"/api/queues/change/pause",  "{\"reason\":[]}",                     422},
        {"/api/queues/change/resume", "null",                                422},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        json_decref(api_ask_json(&rig, "POST", cases[i].path, cases[i].body, cases[i].status));
    cr_expect_eq(rig_rows(&rig, "true"), 0);
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(*) FROM webhook.queues WHERE paused_at IS NOT NULL"), 0);
}

Test(api_dead, a_paused_queue_starts_nothing_until_it_is_resumed)
{
    rig_start(&rig);
    rig_fleet(&rig, 1, NULL);
    json_t *v = api_ask_json(
        &rig, "POST", "/api/queues/change/pause", "{\"reason\":\"the site is down\"}", 200);
    cr_expect(json_is_true(json_object_get(v, "changed")));
    json_decref(v);
    v = api_ask_json(&rig, "POST", "/api/queues/change/pause", NULL, 200);
    cr_expect(json_is_false(json_object_get(v, "changed")), "it was paused already");
    json_decref(v);
    WAIT_FOR(
        sql_int(rig.db, "SELECT count(*) FROM webhook.workers WHERE status->'paused' ? 'change'"),
        SOON);
    struct rig_id id = rig_post(&rig, "/page");
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:change") == 1, SOON);
    cr_expect(rig_status_is(&rig, id, "queued"));
    v = api_ask_json(&rig, "POST", "/api/queues/change/resume", "{}", 200);
    cr_expect(json_is_true(json_object_get(v, "changed")));
    json_decref(v);
    WAIT_FOR(rig_status_is(&rig, id, "completed"), SOON);
    cr_expect_str_eq(
        sql_text(rig.db, "SELECT string_agg(concat_ws('|', command, reason, affected), ','"
                         " ORDER BY id) FROM webhook.operator_log"),
        "pause|the site is down|1,pause|0,resume|1");
}

/* --- traces ------------------------------------------------------------------------------ */

static json_t *told(const char *id)
{
    const char *out;
    cr_assert_eq(rig_ctl(&rig, (const char *const[]){"events", "trace", id, "--json", NULL}, &out),
        0, "%s", out);
    return rig_json(out);
}

/* Whether the API says what the tool says, moment by moment. */
static void expect_same(const char *id)
{
    json_t *tool = told(id);
    json_t *api = api_ask_json(&rig, "GET", harness_text("/api/events/%s/trace", id), NULL, 200);
    static const char *const same[] = {
        "event_id", "change_event_id", "status", "watch_url", "trace", "not_asked"};
    for (size_t i = 0; i < COUNT(same); i++) {
        const json_t *a = json_object_get(tool, same[i]), *b = json_object_get(api, same[i]);
        cr_expect(json_equal(a, b), "%s: %s\n%s", same[i],
            harness_hold(json_dumps(a, JSON_ENCODE_ANY)),
            harness_hold(json_dumps(b, JSON_ENCODE_ANY)));
    }
    json_decref(tool);
    json_decref(api);
}

Test(api_dead, a_trace_is_what_the_tool_tells)
{
    rig_start(&rig);
    struct rig_id id = rig_post(&rig, "/page");
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:change") == 1, SOON);
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM webhook.operation_metrics") > 0, SOON);
    expect_same(id.text);
    rig_fleet(&rig, 1, NULL);
    WAIT_FOR(rig_status_is(&rig, id, "completed") && rig_queue_empty(&rig), SOON);
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM webhook.operation_metrics WHERE"
                             " operation_name = 'complete'") == 1,
        SOON);
    expect_same(id.text);
    expect_same(rig_row(&rig, id, "id"));
}

Test(api_dead, a_trace_names_what_does_not_answer)
{
    rig_start(&rig);
    struct rig_id id = rig_post(&rig, "/page");
    test_redis_kill(rig.redis);
    json_t *v = api_ask_json(&rig, "GET", harness_text("/api/events/%s/trace", id.text), NULL, 200);
    const char *hole = json_string_value(json_array_get(json_object_get(v, "not_asked"), 0));
    cr_expect(hole && strncmp(hole, "Redis: ", 7) == 0, "%s", hole);
    cr_expect_gt(json_array_size(json_object_get(v, "trace")), 0);
    json_decref(v);
}
