/* GET /api/overview and its neighbours: what a stranger is told of a fleet that is in trouble, and that
 * it goes away with the trouble. A real producer, real workers, PostgreSQL and Redis. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

TestSuite(api_overview, .timeout = 60);

enum { SOON = 15000 };

static const char authorization[] = "Authorization: Bearer " RIG_API_SECRET "\r\n"
                                    "Content-Type: application/json\r\n";

static json_t *ask(struct rig *r, const char *path)
{
    struct test_reply reply = test_http(r->producer_port, "GET", path, authorization, NULL, 0);
    cr_assert_eq(reply.status, 200, "%s: %d %s", path, reply.status, reply.body);
    return json_loads(reply.body, 0, NULL);
}

/* The sentence of this alert; NULL: it is not told. */
static const char *alert(struct rig *r, const char *what)
{
    size_t i;
    json_t *one, *all = ask(r, "/api/overview");
    const char *text = NULL;
    json_array_foreach(json_object_get(all, "alerts"), i, one)
    {
        if (strcmp(json_get_string(one, "what"), what) == 0)
            text = harness_text("%s", json_get_string(one, "text"));
    }
    json_decref(all);
    return text;
}

static bool says(struct rig *r, const char *what, const char *words)
{
    const char *text = alert(r, what);
    return text && strstr(text, words);
}

static long count(struct rig *r, const char *of)
{
    json_t *all = ask(r, "/api/overview");
    long n = (long)json_integer_value(json_object_get(json_object_get(all, "counts"), of));
    json_decref(all);
    return n;
}

Test(api_overview, work_without_a_worker_is_an_error_until_there_is_one)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/one");
    rig_post(&r, "/two");
    cr_expect(says(&r, "no_worker", "2 events are due"), "%s", alert(&r, "no_worker"));
    cr_expect_eq(count(&r, "due"), 2);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(count(&r, "queued") + count(&r, "in_progress") == 0, SOON);
    cr_expect_null(alert(&r, "no_worker"));
}

Test(api_overview, what_stands_still_is_told_with_who_and_why)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "UPDATE webhook.queues SET paused_at = now() - interval '2 hours', paused_by = 'ann@host'"
        " WHERE name = 'change';"
        "INSERT INTO webhook.workers (id, host, pid, dead_at) VALUES ('gone', 'h', 1, now());"
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, claimed_by, "
        "claimed_at)"
        " VALUES ('w', 'u', 'in_progress', 'gone', now() - interval '10 minutes');"
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, finished_at, "
        "metadata)"
        " SELECT 'w', 'u', 'failed: x', now(), '{\"error\": \"target answered 410\"}'"
        " FROM generate_series(1, 3);"
        "INSERT INTO webhook.upstreams (host, state, open_until, last_error) VALUES"
        " ('shop.test:443', 'open', now() + interval '1 minute', 'HTTP 503');"
        "INSERT INTO webhook.producers (id, host, pid, seen_at, status) VALUES ('p-9', 'web9', 9,"
        " now() - interval '1 hour', '{\"spool_bytes\": 5000}')");
    cr_expect(says(&r, "paused", "ann@host for 2 h"), "%s", alert(&r, "paused"));
    cr_expect(says(&r, "orphans", "1 event is in progress"), "%s", alert(&r, "orphans"));
    cr_expect(says(&r, "failing", "3 times): target answered 410"), "%s", alert(&r, "failing"));
    cr_expect(says(&r, "circuit_open", "shop.test:443"), "%s", alert(&r, "circuit_open"));
    cr_expect(says(&r, "silent_producer", "p-9 on web9"), "%s", alert(&r, "silent_producer"));
    cr_expect_eq(count(&r, "failed"), 3);
}

Test(api_overview, redis_away_is_told_and_the_rest_still_answered)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    WAIT_FOR(alert(&r, "redis_away"), SOON);
    test_redis_restart(r.redis);
    WAIT_FOR(!alert(&r, "redis_away"), SOON);
}

Test(api_overview, the_level_of_the_log_is_ordered_shown_and_ended)
{
    static const char order[] = "{\"level\":\"debug\",\"minutes\":5}", end[] = "{\"level\":null}";
    static const char headers[] =
        "Authorization: Bearer " RIG_API_SECRET "\r\nContent-Type: application/json\r\n";
    struct rig r;
    rig_start(&r);
    struct test_reply reply =
        test_http(r.producer_port, "POST", "/api/system/log-level", headers, order, strlen(order));
    cr_assert_eq(reply.status, 200, "%s", reply.body);
    json_t *all = ask(&r, "/api/system");
    const char *level = json_get_string(json_object_get(all, "log_level"), "level");
    cr_expect(level && strcmp(level, "debug") == 0);
    json_decref(all);
    test_http(r.producer_port, "POST", "/api/system/log-level", headers, end, strlen(end));
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.log_level"), 0);
    cr_expect_eq(
        sql_int(r.db, "SELECT count(*) FROM webhook.operator_log WHERE command = 'log-level'"
                      " AND operator = 'api@127.0.0.1'"),
        2);
}
