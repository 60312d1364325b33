/* Redrives through the API: what was planned is put back once, whatever becomes of the client, the producer,
 * or PostgreSQL meanwhile, and nothing else is. */
#include "tests/support/api.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(api_redrive, .timeout = 90);

enum { SOON = 20000 };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct rig rig;

/* --- asking ------------------------------------------------------------------------------ */

static const char *planned(const char *body)
{
    return api_answer_text(&rig, "POST", "/api/redrives", body, 201, "token");
}

static json_t *plan(const char *token)
{
    return api_ask_json(&rig, "GET", harness_text("/api/redrives/%s", token), NULL, 200);
}

static const char *state(const char *token)
{
    return sql_text(rig.db, "SELECT state FROM webhook.redrives WHERE token = '%s'", token);
}

static bool is(const char *token, const char *what)
{
    return strcmp(state(token), what) == 0;
}

/* What a request to do something with a plan is answered; NULL = the answer shows the plan. */
static const char *tell(const char *token, const char *what, const char *body, int status)
{
    return api_answer_text(
        &rig, "POST", harness_text("/api/redrives/%s/%s", token, what), body, status, "detail");
}

static void apply(const char *token, int per_second)
{
    tell(token, "apply", harness_text("{\"per_second\":%d}", per_second), 202);
}

static long queued(void)
{
    return rig_rows(&rig, "rescrape_status = 'queued'");
}

static long put_back_once(void)
{
    return rig_rows(&rig, "rescrape_status = 'queued' AND claim_epoch = 4");
}

static long jobs(void)
{
    return redis_int(rig.redis, "XLEN {hookline}:q:change");
}

static const char *logged(const char *command)
{
    return sql_text(rig.db,
        "SELECT string_agg(concat_ws('|', split_part(operator, '@', 1), affected, outcome), ','"
        " ORDER BY id) FROM webhook.operator_log WHERE command = '%s'",
        command);
}

/* --- planned ----------------------------------------------------------------------------- */

Test(api_redrive, a_plan_shows_what_is_meant_and_touches_nothing)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 3, "HTTP 503");
    rig_fail_events(&rig, 3, 2, "timed out");
    rig_fail_events(&rig, 30, 1, "HTTP 404");
    json_t *p = api_ask_json(&rig, "POST", "/api/redrives",
        "{\"filter\":{\"url\":null,\"since\":\"2026-01-01T00:00:00Z\",\"error\":\"http 5\"},"
        "\"reason\":\"firecrawl was down\"}",
        201);
    cr_expect_eq(api_number(p, "total"), 3);
    cr_expect_eq(api_number(p, "left"), 3);
    cr_expect_eq(api_number(p, "urls"), 3);
    cr_expect_str_eq(api_text(p, "state"), "planned");
    cr_expect_str_eq(api_text(p, "reason"), "firecrawl was down");
    cr_expect_str_eq(api_text(json_object_get(p, "filter"), "error"), "http 5");
    const json_t *error = json_array_get(json_object_get(p, "errors"), 0);
    cr_expect_str_eq(api_text(error, "status"), "failed: HTTP 503");
    cr_expect_eq(api_number(error, "events"), 3);
    const json_t *items = json_object_get(p, "items");
    cr_expect_eq(json_array_size(items), 3);
    cr_expect_str_eq(api_text(json_array_get(items, 0), "url"), RIG_SITE "/p1");
    cr_expect_eq(queued(), 0);
    cr_expect_str_eq(logged("redrive plan"), "api|3|done");

    json_t *list = api_ask_json(&rig, "GET", "/api/redrives", NULL, 200);
    const json_t *first = json_array_get(json_object_get(list, "redrives"), 0);
    cr_expect_str_eq(api_text(first, "token"), api_text(p, "token"));
    json_decref(list);
    json_decref(p);
}

Test(api_redrive, a_filter_means_the_events_it_says_and_no_others)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 4, "HTTP 503 Service Unavailable");
    rig_fail_events(&rig, 5, 2, "connection refused");
    sql_exec(rig.db, "UPDATE webhook.change_events SET finished_at = '2026-01-01T00:00:00Z'"
                     " WHERE watch_id = 'w2'");
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'completed' WHERE watch_id = 'w4'");
    static const struct {
        const char *body;
        json_int_t n;
    } cases[] = {
        {"{}",                                                    5},
        {"{\"filter\":null}",                                     5},
        {"{\"filter\":{\"url\":\"" RIG_SITE "/p1\"}}",            1},
        {"{\"filter\":{\"watch\":\"w6\"}}",                       1},
        {"{\"filter\":{\"error\":\"http 503 SERVICE\"}}",         3},
        {"{\"filter\":{\"since\":\"2026-01-02T00:00:00Z\"}}",     4},
        {"{\"filter\":{\"until\":\"2026-01-02T00:00:00Z\"}}",     1},
        {"{\"filter\":{\"error\":\"refused\",\"watch\":\"w5\"}}", 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *p = api_ask_json(&rig, "POST", "/api/redrives", cases[i].body, 201);
        cr_expect_eq(api_number(p, "total"), cases[i].n, "%s", cases[i].body);
        json_decref(p);
    }
    const char *none = "{\"filter\":{\"watch\":\"w4\"}}";
    api_answer_text(&rig, "POST", "/api/redrives", none, 404, "detail");
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.redrives"), (int)COUNT(cases),
        "a plan of nothing is none");
}

/* Holds off whoever adds events to plans. */
static PGconn *hold_plans(void)
{
    PGconn *db = PQconnectdb(rig.db);
    PQclear(PQexec(db, "BEGIN"));
    PGresult *r = PQexec(db, "LOCK TABLE webhook.redrive_items IN EXCLUSIVE MODE");
    cr_assert_eq(PQresultStatus(r), PGRES_COMMAND_OK, "%s", PQerrorMessage(db));
    PQclear(r);
    return db;
}

Test(api_redrive, a_plan_that_takes_long_is_made_behind_the_answer)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 3, "HTTP 503");
    PGconn *holder = hold_plans();
    json_t *p = api_ask_json(&rig, "POST", "/api/redrives", "{}", 202);
    const char *token = harness_text("%s", api_text(p, "token"));
    cr_expect_str_eq(api_text(p, "state"), "planning");
    json_decref(p);
    cr_expect(strstr(tell(token, "apply", "{}", 409), "still being made"));
    cr_expect(strstr(tell(token, "stop", NULL, 409), "planning"));
    PQfinish(holder);
    WAIT_FOR(is(token, "planned"), SOON);
    p = plan(token);
    cr_expect_eq(api_number(p, "total"), 3);
    json_decref(p);
}

Test(api_redrive, a_plan_that_a_producer_cannot_finish_is_forgotten)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 3, "HTTP 503");
    PGconn *holder = hold_plans();
    api_answer_text(&rig, "POST", "/api/redrives", "{}", 202, "token");
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                             " AND datname = current_database()") == 1,
        SOON);
    test_proc_signal(rig.producer, SIGTERM);
    WAIT_FOR(test_proc_logged(rig.producer, "draining"), SOON);
    sql_exec(rig.db, "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
                     " SELECT 'x', 'x', 'completed' FROM generate_series(1, 20000)");
    PQfinish(holder);
    cr_expect_eq(test_proc_wait(rig.producer, SOON), 0, "%s", test_proc_log(rig.producer));
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(*) FROM webhook.redrives WHERE state <> 'planned'"), 0);
}

Test(api_redrive, a_plan_whose_maker_was_killed_says_so_and_goes_with_the_next_one)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 1, "HTTP 503");
    sql_exec(rig.db, "INSERT INTO webhook.redrives (token, planned_by, total, state, changed_at)"
                     " VALUES ('0badcafe', 'x', 0, 'planning', now() - interval '2 minutes');"
                     "INSERT INTO webhook.redrive_items (token, n, row_id, claim_epoch) VALUES "
                     "('0badcafe', 1, 1, 1)");
    json_t *p = plan("0badcafe");
    cr_expect_str_eq(api_text(p, "state"), "abandoned");
    json_decref(p);
    cr_expect(strstr(tell("0badcafe", "apply", "{}", 409), "make another"));
    planned("{}");
    cr_expect_str_eq(state("0badcafe"), "");
}

/* --- applied ----------------------------------------------------------------------------- */

Test(api_redrive, workers_complete_what_was_put_back)
{
    rig_start(&rig);
    struct rig_id ids[4];
    for (int i = 0; i < 4; i++)
        ids[i] = rig_post(&rig, "/page%d", i);
    WAIT_FOR(queued() == 4 && jobs() == 4, SOON);
    sql_exec(rig.db, "UPDATE webhook.change_events SET rescrape_status = 'failed: HTTP 500',"
                     " finished_at = now()");
    redis_text(rig.redis, "DEL {hookline}:q:change");
    const char *token = planned("{\"filter\":{\"error\":\"HTTP 500\"}}");
    apply(token, 100);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(jobs(), 4);
    rig_fleet(&rig, 1, NULL);
    for (int i = 0; i < 4; i++) {
        WAIT_FOR(rig_status_is(&rig, ids[i], "completed"), SOON);
        cr_expect_eq(rig_scrapes(&rig, harness_text("/page%d", i)), 1);
    }
    WAIT_FOR(strcmp(logged("redrive apply"), "api|4|done") == 0, SOON);
    cr_expect(strstr(tell(token, "apply", "{}", 409), "done"));
    json_t *p = plan(token);
    cr_expect_eq(api_number(p, "queued"), 4);
    cr_expect_eq(api_number(p, "left"), 0);
    json_decref(p);
}

Test(api_redrive, what_changed_since_the_plan_is_left_alone)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 4, "HTTP 503");
    const char *token = planned("{}");
    sql_exec(rig.db, "UPDATE webhook.change_events SET claim_epoch = 7 WHERE watch_id = 'w1'");
    rig_fail_events(&rig, 5, 1, "HTTP 503");
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 3);
    cr_expect_eq(rig_rows(&rig, "rescrape_status LIKE 'failed%'"), 2);
    json_t *p = plan(token);
    cr_expect_eq(api_number(p, "changed"), 1);
    json_decref(p);
}

Test(api_redrive, once_stop_has_answered_no_further_event_is_put_back)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 60, "HTTP 503");
    const char *token = planned("{}");
    apply(token, 20);
    WAIT_FOR(queued() >= 3, SOON);
    cr_expect(strstr(tell(token, "apply", "{}", 409), "stop it first"), "one at a time");
    tell(token, "stop", NULL, 200);
    long then = queued();
    cr_assert_lt(then, 60);
    WAIT_FOR(strstr(logged("redrive apply"), "stopped"), SOON);
    cr_expect_eq(queued(), then);
    cr_expect_str_eq(state(token), "stopped");
    cr_expect(strstr(tell(token, "stop", NULL, 409), "it is stopped"));
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 60);
    cr_expect_str_eq(logged("redrive stop"), "api|1|done,api|0|refused");
}

/* --- broken off -------------------------------------------------------------------------- */

Test(api_redrive, a_producer_that_drains_stops_it_in_order)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 60, "HTTP 503");
    const char *token = planned("{}");
    apply(token, 20);
    WAIT_FOR(queued() >= 3, SOON);
    test_proc_signal(rig.producer, SIGTERM);
    cr_expect_eq(test_proc_wait(rig.producer, SOON), 0, "%s", test_proc_log(rig.producer));
    cr_expect_str_eq(state(token), "stopped");
    long then = queued();
    cr_assert_lt(then, 60);
    cr_expect_str_eq(logged("redrive apply"), harness_text("api|%ld|interrupted", then));
    rig_producer_again(&rig);
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 60);
    cr_expect_eq(jobs(), 60);
}

Test(api_redrive, a_producer_that_is_killed_leaves_a_plan_that_goes_on_where_it_ended)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 60, "HTTP 503");
    const char *token = planned("{}");
    apply(token, 20);
    WAIT_FOR(queued() >= 3, SOON);
    test_proc_kill(rig.producer);
    cr_expect_str_eq(state(token), "applying");
    cr_assert_lt(queued(), 60);
    rig_producer_again(&rig);
    cr_expect(strstr(tell(token, "apply", "{}", 409), "stop it first"),
        "nobody can know yet that it is not being applied");
    sql_exec(rig.db, "UPDATE webhook.redrives SET changed_at = changed_at - interval '11 s'");
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 60, "each exactly once");
}

Test(api_redrive, who_does_not_want_to_wait_after_a_kill_stops_it_first)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 60, "HTTP 503");
    const char *token = planned("{}");
    apply(token, 20);
    WAIT_FOR(queued() >= 3, SOON);
    test_proc_kill(rig.producer);
    rig_producer_again(&rig);
    tell(token, "stop", "{}", 200);
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 60, "each exactly once");
}

Test(api_redrive, it_outlives_an_absence_of_postgresql)
{
    rig_start_own_pg(&rig);
    rig_fail_events(&rig, 1, 60, "HTTP 503");
    const char *token = planned("{}");
    apply(token, 30);
    WAIT_FOR(queued() >= 3, SOON);
    test_pg_kill(rig.pg);
    WAIT_FOR(test_proc_logged(rig.producer, "redrive_waits"), SOON);
    test_pg_restart(rig.pg);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 60, "each exactly once");
}

Test(api_redrive, letters_of_what_was_put_back_go_and_others_stay)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 205, "HTTP 503");
    rig_fail_events(&rig, 300, 1, "timed out");
    for (int i = 1; i <= 206; i++)
        redis_text(rig.redis, "XADD {hookline}:dead * reason x job x id %s",
            sql_text(rig.db,
                "SELECT event_id FROM webhook.change_events ORDER BY id OFFSET %d"
                " LIMIT 1",
                i - 1));
    redis_text(rig.redis, "XADD {hookline}:dead * reason x job x id -");
    const char *token = planned("{\"filter\":{\"error\":\"HTTP 503\"}}");
    apply(token, 100000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:dead"), 2);
}

Test(api_redrive, without_redis_the_rows_are_put_back)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 3, "HTTP 503");
    const char *token = planned("{}");
    test_redis_kill(rig.redis);
    apply(token, 1000);
    WAIT_FOR(is(token, "done"), SOON);
    cr_expect_eq(put_back_once(), 3);
}

/* --- bad input --------------------------------------------------------------------------- */

Test(api_redrive, what_is_wrong_with_a_body_is_named)
{
    rig_start(&rig);
    rig_fail_events(&rig, 1, 1, "HTTP 503");
    const char *apply_path = harness_text("/api/redrives/%s/apply", planned("{}"));
    const struct {
        const char *path, *body, *type, *loc;
    } cases[] = {
        {"/api/redrives", "[]",                                    "dict_type",        "[\"body\"]"                          },
        {"/api/redrives", "{\"filter\":[]}",                       "dict_type",        "[\"body\",\"filter\"]"               },
        {"/api/redrives", "{\"filter\":{\"error\":5}}",            "string_type",
         "[\"body\",\"filter\",\"error\"]"                                                                                   },
        {"/api/redrives", "{\"filter\":{\"until\":\"soon\"}}",     "datetime_parsing",
         "[\"body\",\"filter\",\"until\"]"                                                                                   },
        {"/api/redrives", "{\"filter\":{\"since\":5}}",            "datetime_parsing",
         "[\"body\",\"filter\",\"since\"]"                                                                                   },
        {"/api/redrives", "{\"filter\":{\"status\":\"failed\"}}",  "extra_forbidden",
         "[\"body\",\"filter\",\"status\"]"                                                                                  },
        {"/api/redrives", "{\"error\":\"x\"}",                     "extra_forbidden",  "[\"body\",\"error\"]"                },
        {"/api/redrives", "{\"filter.error\":\"x\"}",              "extra_forbidden",  NULL                                  },
        {"/api/redrives", harness_text("{\"reason\":\"%01001d\"}", 0),                 "string_too_long",
         "[\"body\",\"reason\"]"},
        {apply_path,               "{\"per_second\":0}",                                             "greater_than_equal",                             "[\"body\",\"per_second\"]"  },
        {apply_path,               "{\"per_second\":100001}",                                             "less_than_equal",                        "[\"body\",\"per_second\"]"},
        {apply_path,               "{\"per_second\":1.5}",                                             "int_type",                           "[\"body\",\"per_second\"]"            },
        {apply_path,               "{\"per_second\":\"5\"}",                                             "int_type",                         "[\"body\",\"per_second\"]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *v = api_ask_json(&rig, "POST", cases[i].path, cases[i].body, 422);
        const json_t *fault = json_array_get(json_object_get(v, "detail"), 0);
        char *loc = json_dumps(json_object_get(fault, "loc"), JSON_COMPACT);
        cr_expect_str_eq(api_text(fault, "type"), cases[i].type, "%s", cases[i].body);
        cr_expect(!cases[i].loc || strcmp(loc, cases[i].loc) == 0, "%s: %s", cases[i].body, loc);
        free(loc);
        json_decref(v);
    }
    api_answer_text(&rig, "POST", "/api/redrives", "{\"filter\":", 400, "detail");
    api_answer_text(
        &rig, "POST", "/api/redrives", harness_text("{\"reason\":\"%016384d\"}", 0), 413, "detail");
    api_answer_text(&rig, "GET", "/api/redrives/ABCDEF01", NULL, 404, "detail");
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.redrives"), 1);
    cr_expect_eq(queued(), 0);
}
