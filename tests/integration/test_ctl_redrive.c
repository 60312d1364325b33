/* hooklinectl redrive on a real installation: what was planned is put back once, whatever happens
 * meanwhile, and nothing else is. */
#include "tests/support/fleet.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(ctl_redrive, .timeout = 120);

static struct rig rig;
static const char *out; /* of the last command */

/* --- running it -------------------------------------------------------------------------- */

static int run(const char *const *args)
{
    return rig_ctl(&rig, args, &out);
}
#define RUN(...) run((const char *const[]){"redrive", __VA_ARGS__, NULL})

#define EXPECT_SAID(text) cr_expect(strstr(out, text), "'%s' is missing: %s", text, out)

static long number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    cr_assert(json_is_integer(v), "%s: %s", key, out);
    return (long)json_integer_value(v);
}

static long answered(const char *key)
{
    json_t *root = rig_json(out);
    long n = number(root, key);
    json_decref(root);
    return n;
}

/* Plans with these options; the token. */
static const char *planned(const char *const *options)
{
    const char *args[16] = {"redrive", "plan", "--json"};
    for (int i = 0; i < 12 && options && options[i]; i++)
        args[3 + i] = options[i];
    cr_assert_eq(run(args), 0, "%s", out);
    json_t *root = rig_json(out);
    const char *token =
        harness_text("%s", json_get_string(json_object_get(root, "redrive"), "token"));
    json_decref(root);
    return token;
}
#define PLANNED(...) planned((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* n rows of failed events, as the fleet leaves them. */
static void fail_events(int first, int n, const char *error)
{
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        "  rescrape_status, metadata, body_digest, accept_seq, claim_epoch, attempts, finished_at)"
        " SELECT gen_random_uuid(), 'w' || i, '" RIG_SITE "/p' || i,"
        "  sha256(convert_to('" RIG_SITE "/p' || i, 'UTF8')), now(), left('failed: %s', 50),"
        "  jsonb_build_object('error', '%s'), sha256(int8send(i)), i, 3, 5, now()"
        " FROM generate_series(%d, %d) i",
        error, error, first, first + n - 1);
}

static long queued(void)
{
    return rig_rows(&rig, "rescrape_status = 'queued'");
}

static const char *state(const char *token)
{
    return sql_text(rig.db, "SELECT state FROM webhook.redrives WHERE token = '%s'", token);
}

static long jobs(void)
{
    return redis_int(rig.redis, "XLEN {hookline}:q:change");
}

static struct test_proc *apply_slowly(const char *token, const char *rate)
{
    return rig_start_program(&rig,
        (const char *const[]){rig_program("hooklinectl"), "redrive", "apply", token, "--rate", rate,
            "--yes", "--json", "--quiet", NULL},
        NULL, -1);
}

/* --- plans ------------------------------------------------------------------------------- */

Test(ctl_redrive, a_plan_touches_nothing_and_says_how_many_of_what)
{
    rig_start(&rig);
    fail_events(1, 3, "HTTP 503");
    fail_events(3, 2, "timed out");
    cr_assert_eq(RUN("plan", "--json", "--reason", "firecrawl was down"), 0, "%s", out);
    json_t *root = rig_json(out);
    const json_t *plan = json_object_get(root, "redrive");
    cr_expect_eq(number(plan, "total"), 5);
    cr_expect_eq(number(plan, "left"), 5);
    cr_expect_eq(number(plan, "scrapes"), 4, "two events are of one page");
    cr_expect_str_eq(json_get_string(plan, "state"), "planned");
    cr_expect_str_eq(json_get_string(plan, "reason"), "firecrawl was down");
    const json_t *most = json_array_get(json_object_get(root, "errors"), 0);
    cr_expect_str_eq(json_get_string(most, "status"), "failed: HTTP 503");
    cr_expect_eq(number(most, "events"), 3);
    const json_t *first = json_array_get(json_object_get(root, "events"), 0);
    cr_expect_str_eq(json_get_string(first, "watch_url"), RIG_SITE "/p1");
    cr_expect_str_eq(json_get_string(first, "error"), "HTTP 503");
    json_decref(root);
    cr_expect_eq(rig_rows(&rig, "rescrape_status LIKE 'failed%' AND claim_epoch = 3"), 5);
    cr_expect_eq(jobs(), 0);
    cr_assert_eq(RUN("list"), 0);
    EXPECT_SAID("planned");
}

Test(ctl_redrive, a_plan_has_the_events_that_are_meant_and_no_others)
{
    rig_start(&rig);
    fail_events(1, 4, "HTTP 503 Service Unavailable");
    fail_events(5, 2, "connection refused");
    sql_exec(rig.db, "UPDATE webhook.change_events SET finished_at = now() - interval '3 hours'"
                     " WHERE watch_id = 'w2'");
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'completed' WHERE watch_id = 'w4'");
    static const struct {
        const char *options[5];
        long n;
    } cases[] = {
        {{NULL},                                     5},
        {{"--url", RIG_SITE "/p1"},                  1},
        {{"--watch-id", "w6"},                       1},
        {{"--error", "http 503 SERVICE"},            3},
        {{"--since", "2h"},                          4},
        {{"--until", "2h"},                          1},
        {{"--limit", "2"},                           2},
        {{"--error", "refused", "--watch-id", "w5"}, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *token = planned(cases[i].options);
        cr_expect_eq(
            sql_int(rig.db, "SELECT total FROM webhook.redrives WHERE token = '%s'", token),
            cases[i].n, "case %zu", i);
    }
    cr_expect_eq(RUN("plan", "--error", "no such text"), 2, "%s", out);
    cr_expect_eq(RUN("plan", "--watch-id", "w4"), 2, "only failed events: %s", out);
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(*) FROM webhook.redrives"), 8, "a plan of nothing is none");
}

/* --- applied ----------------------------------------------------------------------------- */

Test(ctl_redrive, what_changed_since_the_plan_or_failed_later_is_left_alone)
{
    rig_start(&rig);
    fail_events(1, 4, "HTTP 503");
    const char *token = PLANNED();
    sql_exec(rig.db, "UPDATE webhook.change_events SET claim_epoch = 4 WHERE watch_id = 'w1'");
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'completed' WHERE watch_id = 'w2'");
    fail_events(5, 1, "HTTP 503");
    cr_assert_eq(RUN("apply", token, "--rate", "1000", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 2);
    cr_expect_eq(answered("changed"), 2);
    cr_expect_eq(answered("left"), 0);
    cr_expect_eq(rig_rows(&rig, "rescrape_status = 'queued' AND claim_epoch = 4 AND attempts = 0"
                                " AND watch_id IN ('w3', 'w4')"),
        2);
    cr_expect_eq(rig_rows(&rig, "rescrape_status LIKE 'failed%' AND watch_id IN ('w1', 'w5')"), 2);
    cr_expect_eq(rig_rows(&rig, "rescrape_status = 'completed' AND watch_id = 'w2'"), 1);
    cr_expect_eq(jobs(), 2);
    cr_expect_str_eq(state(token), "done");

    cr_expect_eq(RUN("apply", token, "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 0);
    cr_expect_eq(jobs(), 2, "once is enough");
    cr_assert_eq(RUN("show", token, "--json"), 0, "%s", out);
    json_t *root = rig_json(out);
    const json_t *items = json_object_get(root, "events");
    cr_expect_eq(json_array_size(items), 4);
    cr_expect_str_eq(json_get_string(json_array_get(items, 0), "outcome"), "changed");
    cr_expect_str_eq(json_get_string(json_array_get(items, 3), "outcome"), "queued");
    json_decref(root);
}

Test(ctl_redrive, an_apply_that_was_killed_goes_on_where_it_ended)
{
    rig_start(&rig);
    fail_events(1, 40, "HTTP 503");
    const char *token = PLANNED();
    struct test_proc *apply = apply_slowly(token, "10/s");
    WAIT_FOR(queued() >= 5, 20000);
    test_proc_kill(apply);
    long before = queued();
    cr_assert_lt(before, 40);
    cr_expect_str_eq(state(token), "applying");
    cr_assert_eq(RUN("apply", token, "--rate", "1000", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 40 - before);
    cr_expect_eq(rig_rows(&rig, "rescrape_status = 'queued' AND claim_epoch = 4"), 40,
        "each was put back exactly once");
    cr_expect_str_eq(state(token), "done");
}

Test(ctl_redrive, once_stop_has_returned_no_further_event_is_put_back)
{
    rig_start(&rig);
    fail_events(1, 60, "HTTP 503");
    const char *token = PLANNED();
    struct test_proc *apply = apply_slowly(token, "20/s");
    WAIT_FOR(queued() >= 3, 20000);
    cr_assert_eq(RUN("stop", token, "--reason", "too much"), 0, "%s", out);
    long then = queued();
    cr_expect_eq(test_proc_wait(apply, 10000), 2, "%s", test_proc_log(apply));
    cr_expect_eq(queued(), then);
    cr_assert_lt(then, 60);
    cr_expect_str_eq(state(token), "stopped");
    cr_expect_eq(RUN("stop", token), 2, "%s", out);
    cr_assert_eq(RUN("apply", token, "--rate", "1000", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(queued(), 60);
}

Test(ctl_redrive, a_signal_ends_it_in_order)
{
    rig_start(&rig);
    fail_events(1, 60, "HTTP 503");
    const char *token = PLANNED();
    struct test_proc *apply = apply_slowly(token, "20/s");
    WAIT_FOR(queued() >= 3, 20000);
    test_proc_signal(apply, SIGTERM);
    cr_expect_eq(test_proc_wait(apply, 10000), 2);
    cr_expect(test_proc_logged(apply, "goes on"), "%s", test_proc_log(apply));
    cr_expect_str_eq(state(token), "stopped");
    cr_expect_str_eq(sql_text(rig.db, "SELECT outcome FROM webhook.operator_log"
                                      " WHERE command = 'redrive apply'"),
        "interrupted");
}

Test(ctl_redrive, two_at_once_put_each_event_back_once)
{
    rig_start(&rig);
    fail_events(1, 200, "HTTP 503");
    const char *token = PLANNED();
    struct test_proc *one = apply_slowly(token, "100/s"), *two = apply_slowly(token, "100/s");
    test_proc_wait(one, 30000);
    test_proc_wait(two, 30000);
    cr_expect_eq(rig_rows(&rig, "rescrape_status = 'queued' AND claim_epoch = 4"), 200, "%s%s",
        test_proc_log(one), test_proc_log(two));
    cr_expect_eq(jobs(), 200);
}

Test(ctl_redrive, workers_complete_what_was_put_back_and_jitter_spreads_it)
{
    rig_start(&rig);
    struct rig_id ids[4];
    for (int i = 0; i < 4; i++)
        ids[i] = rig_post(&rig, "/page%d", i);
    WAIT_FOR(queued() == 4 && jobs() == 4, 10000);
    sql_exec(rig.db, "UPDATE webhook.change_events SET rescrape_status = 'failed: HTTP 500',"
                     " finished_at = now()");
    redis_text(rig.redis, "DEL {hookline}:q:change");
    const char *token = PLANNED();
    cr_assert_eq(
        RUN("apply", token, "--rate", "100", "--jitter", "2s", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 4);
    cr_expect_gt(rig_rows(&rig, "next_attempt_at > now() - interval '1 minute'"), 0);
    cr_expect_eq(jobs() + redis_int(rig.redis, "ZCARD {hookline}:later"), 4);
    rig_fleet(&rig, 1, NULL);
    for (int i = 0; i < 4; i++) {
        WAIT_FOR(rig_status_is(&rig, ids[i], "completed"), 30000);
        cr_expect_eq(rig_scrapes(&rig, harness_text("/page%d", i)), 1);
    }
    WAIT_FOR(rig_queue_empty(&rig), 10000);
}

Test(ctl_redrive, without_redis_the_rows_are_put_back_and_that_is_told)
{
    rig_start(&rig);
    fail_events(1, 3, "HTTP 503");
    const char *token = PLANNED();
    test_redis_kill(rig.redis);
    cr_assert_eq(RUN("apply", token, "--rate", "1000", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 3);
    cr_expect_eq(answered("unpublished"), 3);
    EXPECT_SAID("janitor");
    cr_expect_eq(queued(), 3);
}

/* --- manners ----------------------------------------------------------------------------- */

Test(ctl_redrive, nothing_happens_unasked_and_the_log_tells_who_did_it)
{
    rig_start(&rig);
    fail_events(1, 2, "HTTP 503");
    const char *token = PLANNED();
    cr_expect_eq(RUN("apply", token), 64, "nobody is there to answer: %s", out);
    EXPECT_SAID("--yes");
    cr_expect_eq(RUN("apply", token, "--dry-run"), 0, "%s", out);
    EXPECT_SAID(RIG_SITE "/p1");
    cr_expect_eq(RUN("apply", token, "--dry-run", "--json"), 0, "%s", out);
    cr_expect_eq(answered("left"), 2);
    cr_expect_eq(answered("affected"), 0);
    cr_expect_eq(RUN("stop", token, "--dry-run", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 0);
    cr_expect_eq(queued(), 0);
    cr_expect_str_eq(state(token), "planned");
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log"), 0);
    cr_assert_eq(RUN("apply", token, "--yes", "--reason", "mended"), 0, "%s", out);
    cr_expect_str_eq(sql_text(rig.db,
                         "SELECT concat_ws('|', command, reason, affected, outcome,"
                         " detail->>'token' = '%s') FROM webhook.operator_log",
                         token),
        "redrive apply|mended|2|done|t");
    cr_expect_str_eq(
        sql_text(rig.db, "SELECT DISTINCT metadata->>'retried_by' FROM webhook.change_events"),
        harness_text("redrive %s", token));
}

Test(ctl_redrive, command_lines_that_make_no_sense_are_refused)
{
    rig_start(&rig);
    /* clang-format off */
    static const struct {
        const char *args[6];
        int code;
    } cases[] = {
        {{"redrive", "show"}, 64},
        {{"redrive", "show", "1234567"}, 64},
        {{"redrive", "show", "12345678"}, 2},
        {{"redrive", "apply", "12345678", "--yes"}, 2},
        {{"redrive", "apply", "12345678", "--rate", "0"}, 64},
        {{"redrive", "apply", "12345678", "--rate", "5/d"}, 64},
        {{"redrive", "apply", "12345678", "--jitter", "25h"}, 64},
        {{"redrive", "stop", "12345678"}, 2},
        {{"redrive", "plan", "--limit", "0"}, 64},
        {{"redrive", "plan", "--since", "yesterday"}, 64},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_expect_eq(run(cases[i].args), cases[i].code, "case %zu: %s", i, out);
    cr_assert_eq(RUN("list"), 0);
    EXPECT_SAID("There are no plans.");
}
