/* hooklinectl status: what it tells people and programs, also while a store is away. */
#include "tests/support/terminal.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

TestSuite(ctl_status, .timeout = 60);

enum { SOON = 20000 };

static json_t *parsed(const char *text)
{
    struct hl_err err;
    json_t *root = json_parse(text, strlen(text), &err);
    cr_assert(root, "%s: %s", err.msg, text);
    return root;
}

static json_t *status(struct rig *r)
{
    const char *out;
    cr_assert_eq(rig_ctl(r, RIG_ENV("status", "--json"), &out), 0, "%s", out);
    return parsed(out);
}

static json_int_t number(const json_t *root, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(root, object), key));
}

Test(ctl_status, json_has_both_versions_first_and_every_member)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok/one");
    rig_post(&r, "/ok/two");
    const char *out;
    cr_assert_eq(rig_ctl(&r, RIG_ENV("status", "--json"), &out), 0, "%s", out);
    cr_expect(strstr(out, "{\"version\":1,\"schema\":1,\"queue\":{") == out, "%s", out);
    cr_expect(strchr(out, '\n') == out + strlen(out) - 1, "one line: %s", out);
    json_t *root = parsed(out);
    cr_expect_eq(number(root, "queue", "length"), 2, "%s", out);
    cr_expect_eq(number(root, "queue", "dead"), 0);
    cr_expect_eq(number(root, "crawl_queue", "length"), 0);
    cr_expect_eq(number(root, "events", "queued"), 2, "%s", out);
    cr_expect(json_is_null(json_object_get(json_object_get(root, "queue"), "error")));
    cr_expect(json_is_null(json_object_get(root, "database_error")), "%s", out);
    cr_expect_eq(json_array_size(json_object_get(root, "workers")), 0);
    cr_expect(json_is_array(json_object_get(root, "upstreams")));
    json_decref(root);
}

Test(ctl_status, workers_are_numbers_and_texts_as_they_were)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, "INSERT INTO webhook.workers (id, host, pid, started_at, seen_at) VALUES"
                   " ('w-1', 'near', 17, '2026-01-02 03:04:05.678Z', now() - interval '90 s')");
    json_t *root = status(&r), *w = json_array_get(json_object_get(root, "workers"), 0);
    cr_expect_str_eq(json_get_string(w, "id"), "w-1");
    cr_expect_eq(json_integer_value(json_object_get(w, "pid")), 17);
    cr_expect_str_eq(json_get_string(w, "state"), "alive");
    cr_expect(strstr(json_get_string(w, "started_at"), "2026-01-02 03:04:05.678"));
    cr_expect_geq(json_integer_value(json_object_get(w, "seen_seconds_ago")), 90);
    cr_expect_eq(json_object_size(w), 7);
    json_decref(root);

    const char *out;
    cr_assert_eq(rig_ctl(&r, RIG_ENV("status"), &out), 0, "%s", out);
    cr_expect(strstr(out, "WORKER"), "%s", out);
    cr_expect(strstr(out, "  1m3"), "seen so long ago: %s", out);
    cr_expect(strstr(out, "There are no events."), "%s", out);
}

Test(ctl_status, a_store_that_is_away_is_69_and_the_other_is_shown)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_post(&r, "/ok/one");
    test_redis_kill(r.redis);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status"), &out), 69, "%s", out);
    cr_expect(strstr(out, "Queues: not known"), "%s", out);
    cr_expect(strstr(out, "queued"), "%s", out);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status", "--json"), &out), 69, "%s", out);
    cr_expect_not(strstr(out, "\"error\":null"), "%s", out);
    cr_expect(strstr(out, "\"events\":{\"queued\":1}"), "%s", out);
}

Test(ctl_status, watch_shows_it_again_until_it_is_told_to_end)
{
    struct rig r;
    rig_start(&r);
    const char *argv[] = {rig_program("hooklinectl"), "status", "--json", "--watch=200ms", NULL};
    struct test_proc *p = rig_start_program(&r, argv, NULL, -1);
    WAIT_FOR(test_proc_logged(p, "\"length\":0"), SOON);
    rig_post(&r, "/ok/one");
    WAIT_FOR(test_proc_logged(p, "\"length\":1"), SOON);
    test_proc_signal(p, SIGTERM);
    cr_expect_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
}

Test(ctl_status, ctrl_c_ends_a_watch_also_while_a_store_hangs)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct terminal *t = terminal_start(
        &r, 100, 24, NULL, "exec %s status --watch=200ms", rig_program("hooklinectl"));
    WAIT_FOR(terminal_shows(t, "There are no events."), SOON);
    test_pg_pause(r.pg);
    int64_t begun = harness_now_ms();
    WAIT_FOR(harness_now_ms() - begun > 1000, SOON); /* it looks again, and is not answered */
    begun = harness_now_ms();
    terminal_type(t, "\003");
    int code = terminal_wait(t, SOON);
    int64_t took = harness_now_ms() - begun;
    test_pg_resume(r.pg);
    cr_expect_eq(code, 0);
    cr_expect_lt(took, 2000, "%lld ms", (long long)took);
}

Test(ctl_status, on_a_terminal_a_watch_keeps_the_error_in_sight)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = terminal_start(&r, 100, 24,
        RIG_ENV("WEBHOOK_DATABASE_URL=postgresql://hookline@127.0.0.1:1/hookline"),
        "exec %s workers list --watch=1h", rig_program("hooklinectl"));
    WAIT_FOR(terminal_shows(t, "hooklinectl: "), SOON);
    terminal_type(t, "\003");
    cr_expect_eq(terminal_wait(t, SOON), 69);
    cr_expect(terminal_shows(t, "Connection refused"), "%s", terminal_text(t));
}

Test(ctl_status, a_watch_ends_without_a_word_when_nobody_reads_it)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 2; i++) {
        struct terminal *t = terminal_start(&r, 100, 24, NULL,
            "%s status --watch=200ms %s | head -n1 >/dev/null; exit ${PIPESTATUS[0]}",
            rig_program("hooklinectl"), i ? "--json" : "");
        cr_expect_eq(terminal_wait(t, SOON), 1);
        cr_expect_not(terminal_shows(t, "hooklinectl"), "%s", terminal_text(t));
    }
}

Test(ctl_status, what_cannot_be_written_is_said_and_is_no_success)
{
    struct rig r;
    rig_start(&r);
    struct terminal *t = terminal_start(
        &r, 100, 24, NULL, "%s status >/dev/full; exit $?", rig_program("hooklinectl"));
    cr_expect_eq(terminal_wait(t, SOON), 1);
    cr_expect(terminal_shows(t, "No space left on device"), "%s", terminal_text(t));
    t = terminal_start(&r, 100, 24, NULL, "%s status <&- >&-; exit $?", rig_program("hooklinectl"));
    cr_expect_eq(terminal_wait(t, SOON), 1);
    cr_expect(terminal_shows(t, "Bad file descriptor"), "%s", terminal_text(t));
    cr_expect_not(terminal_shows(t, "redis"), "%s", terminal_text(t));
}
