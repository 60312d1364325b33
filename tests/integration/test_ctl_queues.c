/* hooklinectl queues: what each holds, how fast it moves, and when it cannot be told. */
#include "tests/support/fleet.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_queues, .timeout = 60);

static const char *db;
static struct test_redis *redis;

static struct test_proc *start(const char *option)
{
    const char *const argv[] = {rig_program("hooklinectl"), "queues", option, NULL};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis)), NULL};
    return test_proc_start(argv, env, -1);
}

static int queues(const char *option, const char **out)
{
    struct test_proc *p = start(option);
    int code = test_proc_wait(p, 20000);
    *out = test_proc_log(p);
    return code;
}

static void stores(void)
{
    db = harness_database(true);
    redis = test_redis_start();
}

static json_t *parsed(const char *out, int n)
{
    struct hl_err err;
    for (; n > 0 && out; n--)
        out = strchr(out, '\n') ? strchr(out, '\n') + 1 : NULL;
    json_t *root = out ? json_parse(out, strcspn(out, "\n"), &err) : NULL;
    cr_assert(root, "%s", out);
    return root;
}

static json_t *member(const json_t *root, size_t queue, const char *key)
{
    return json_object_get(json_array_get(json_object_get(root, "queues"), queue), key);
}

static int number(const json_t *root, size_t queue, const char *key)
{
    return (int)json_integer_value(member(root, queue, key));
}

Test(ctl_queues, shows_what_each_queue_holds)
{
    const char *out;
    stores();
    redis_text(redis, "XGROUP CREATE {hookline}:q:change workers 0 MKSTREAM");
    for (int i = 0; i < 3; i++)
        redis_text(redis, "XADD {hookline}:q:change * id n%d job x", i);
    redis_text(redis, "XREADGROUP GROUP workers w COUNT 1 STREAMS {hookline}:q:change >");
    redis_text(redis, "ZADD {hookline}:later:crawl 1 a 2 b");
    redis_text(redis, "XADD {hookline}:dead * id a reason r job x");
    sql_exec(db, "UPDATE webhook.queues SET paused_at = now() WHERE name = 'crawl';"
                 "UPDATE webhook.queues SET fenced_at = now() WHERE name = 'change';"
                 "INSERT INTO webhook.workers (id, host, pid) VALUES ('w', 'h', 1), ('v', 'h', 2);"
                 "INSERT INTO webhook.workers (id, host, pid, seen_at) VALUES"
                 " ('silent', 'h', 3, now() - interval '1 hour');"
                 "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status,"
                 "  created_at) VALUES ('w', 'http://x/', 'queued', now() - interval '1 hour')");
    cr_assert_eq(queues("--json", &out), 0, "%s", out);
    json_t *root = parsed(out, 0);
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    cr_expect_str_eq(json_string_value(member(root, 0, "queue")), "change");
    cr_expect_eq(number(root, 0, "ready"), 2, "%s", out);
    cr_expect_eq(number(root, 0, "pending"), 1);
    cr_expect_geq(number(root, 0, "oldest_ms"), 3600000);
    cr_expect_eq(number(root, 0, "workers"), 2, "the silent one takes no jobs: %s", out);
    cr_expect(json_is_true(member(root, 0, "fenced")) && json_is_false(member(root, 0, "paused")));
    cr_expect(json_is_true(member(root, 1, "paused")) && json_is_false(member(root, 1, "fenced")));
    cr_expect_eq(number(root, 1, "later"), 2);
    cr_expect(json_is_null(member(root, 1, "oldest_ms")), "%s", out);
    cr_expect_eq(json_real_value(member(root, 0, "in_per_second")), 0.0, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(root, "dead_letters")), 1);
    json_decref(root);

    cr_assert_eq(queues(NULL, &out), 0, "%s", out);
    cr_expect(strstr(out, "QUEUE") == out && strstr(out, "\nchange  "), "%s", out);
    cr_expect(strstr(out, "1h00m") && strstr(out, "1 dead letters"), "%s", out);
}

/* What comes and goes between two looks is counted, whether or not it is still there. */
Test(ctl_queues, watching_tells_how_many_come_and_go)
{
    stores();
    redis_text(redis, "XADD {hookline}:q:crawl * id a job x");
    const char *const argv[] = {
        rig_program("hooklinectl"), "queues", "--json", "--watch=500ms", NULL};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis)), NULL};
    struct test_proc *p = test_proc_start(argv, env, -1);
    WAIT_FOR(test_proc_logged(p, "\n"), 20000);
    for (int i = 0; i < 10; i++) {
        const char *id = redis_text(redis, "XADD {hookline}:q:crawl * id n%d job x", i);
        if (i % 2)
            redis_text(redis, "XDEL {hookline}:q:crawl %s", id);
    }
    const char *first = test_proc_log(p);
    WAIT_FOR(strlen(test_proc_log(p)) > 3 * strlen(first), 20000);
    test_proc_signal(p, SIGTERM);
    cr_expect_eq(test_proc_wait(p, 10000), 0, "%s", test_proc_log(p));
    double in = 0, out = 0;
    for (int i = 1; i < 3; i++) { /* the ten came between two of these looks */
        json_t *root = parsed(test_proc_log(p), i);
        in += json_real_value(member(root, 1, "in_per_second"));
        out += json_real_value(member(root, 1, "out_per_second"));
        json_decref(root);
    }
    cr_expect(in > 0 && out > 0 && in > out, "%f in, %f out: %s", in, out, test_proc_log(p));
}

Test(ctl_queues, a_store_that_is_away_is_69_and_names_it)
{
    const char *out;
    stores();
    test_redis_kill(redis);
    cr_expect_eq(queues("--json", &out), 69, "%s", out);
    cr_expect(strstr(out, "redis"), "%s", out);
    cr_expect_eq(queues("more", &out), 64, "%s", out);
}
