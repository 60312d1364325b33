/* hooklinectl pause, resume and workers against real fleets: what they say is so, when they return it
 * holds, and who does not obey is named. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_fleet, .timeout = 120);

enum { SOON = 20000, A_WHILE = 3500 };
enum { DONE = 0, ERROR = 1, BLOCKED = 2, USAGE = 64, UNREACHABLE = 69, TIMED_OUT = 124 };

/* --- running it -------------------------------------------------------------------------- */

#define CTL(r, out, ...) rig_ctl((r), (const char *const[]){__VA_ARGS__, NULL}, (out))

static void must(struct rig *r, const char *const *args)
{
    const char *out;
    int code = rig_ctl(r, args, &out);
    cr_assert_eq(code, DONE, "%s: exit %d: %s", args[0], code, out);
}
#define MUST(r, ...) must((r), (const char *const[]){__VA_ARGS__, NULL})

/* Its object; kept until the test ends. */
static json_t *json_of(const char *out)
{
    json_error_t err;
    json_t *v = json_loads(out, 0, &err);
    cr_assert(v, "%s in: %s", err.text, out);
    cr_expect_eq(json_integer_value(json_object_get(v, "version")), 1);
    return v;
}

static long number(const json_t *v, const char *object, const char *key)
{
    const json_t *in = object ? json_object_get(v, object) : v;
    const json_t *n = json_object_get(in, key);
    cr_assert(json_is_integer(n), "%s", key);
    return (long)json_integer_value(n);
}

static void let_pass(int ms)
{
    int64_t end = harness_now_ms() + ms;
    WAIT_FOR(harness_now_ms() >= end, SOON);
}

static const char *queue(struct rig *r, const char *name, const char *expression)
{
    return sql_text(
        r->db, "SELECT (%s)::text FROM webhook.queues WHERE name = '%s'", expression, name);
}

static long workers(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.workers WHERE %s", where);
}

static int post_status(struct rig *r, const char *path)
{
    struct rig_id id;
    return rig_try_post(r, path, &id) ? 202 : 0;
}

/* --- pause, resume ----------------------------------------------------------------------- */

Test(ctl_fleet, after_pause_has_returned_no_job_starts)
{
    enum { JOBS = 150 };
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_CONCURRENCY=4"));
    for (int i = 0; i < JOBS; i++)
        rig_post(&r, "/slow/200?%d", i);
    WAIT_FOR(rig_rows(&r, "claim_epoch > 0") > 8, SOON);
    MUST(&r, "pause", "change", "--yes", "--reason", "a test");
    const char *paused = sql_text(r.db, "SELECT clock_timestamp()");
    for (int i = 0; i < JOBS; i++)
        rig_post(&r, "/ok/%d", i);
    let_pass(A_WHILE);
    cr_expect_eq(rig_rows(&r, harness_text("claimed_at > '%s'", paused)), 0);
    cr_expect_gt(rig_rows(&r, "rescrape_status = 'queued'"), JOBS - 1);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'in_progress'"), 0, "what ran was finished");
    cr_expect_str_eq(queue(&r, "crawl", "paused_at IS NULL"), "true");
    cr_expect_str_eq(sql_text(r.db, "SELECT concat_ws('|', command, reason, detail->'queues'->>0,"
                                    " affected, outcome) FROM webhook.operator_log"),
        "pause|a test|change|1|done");

    MUST(&r, "resume", "--yes");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND attempts = 0") == 2L * JOBS, SOON * 2);
}

Test(ctl_fleet, pause_says_who_has_noted_it_and_a_second_one_changes_nothing)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    cr_expect_eq(CTL(&r, &out, "pause", "--yes", "--json"), DONE, "%s", out);
    json_t *v = json_of(out);
    cr_expect_eq(number(v, NULL, "affected"), 2);
    cr_expect_eq(number(v, "workers", "processes"), 2);
    cr_expect_eq(number(v, "workers", "noted"), 2);
    cr_expect(json_is_null(json_object_get(json_object_get(v, "workers"), "late")));
    cr_expect_eq(json_array_size(json_object_get(v, "queues")), 2);
    json_decref(v);
    const char *by = queue(&r, "change", "paused_by"), *at = queue(&r, "change", "paused_at");
    cr_expect(strchr(by, '@'), "%s", by);

    cr_expect_eq(CTL(&r, &out, "pause", "--yes", "--json"), DONE, "%s", out);
    v = json_of(out);
    cr_expect_eq(number(v, NULL, "affected"), 0);
    json_decref(v);
    cr_expect_str_eq(queue(&r, "change", "paused_at"), at);
    cr_expect_eq(CTL(&r, &out, "pause", "--yes"), DONE);
    cr_expect(strstr(out, "2 of 2 worker processes have noted it"), "%s", out);
}

Test(ctl_fleet, a_fenced_intake_refuses_and_resume_lifts_what_it_is_told_to)
{
    struct rig r;
    rig_start(&r);
    MUST(&r, "pause", "--intake", "--yes");
    cr_expect_neq(post_status(&r, "/fenced"), 202);
    cr_expect_str_eq(queue(&r, "change", "paused_at IS NULL AND fenced_at IS NOT NULL"), "true");
    MUST(&r, "pause", "--yes");
    MUST(&r, "resume", "change", "--intake", "--yes");
    cr_expect_eq(post_status(&r, "/open"), 202);
    cr_expect_str_eq(queue(&r, "change", "paused_at IS NOT NULL AND fenced_at IS NULL"), "true");
    cr_expect_str_eq(queue(&r, "crawl", "paused_at IS NOT NULL AND fenced_at IS NOT NULL"), "true");
    MUST(&r, "resume", "--yes");
    cr_expect_str_eq(queue(&r, "change", "paused_at IS NULL AND fenced_at IS NULL"), "true");
    cr_expect_str_eq(queue(&r, "crawl", "paused_at IS NULL AND fenced_at IS NULL"), "true");
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log"), 4);
}

/* A process that never asks: nobody can say what it does. */
Test(ctl_fleet, who_does_not_note_it_in_time_is_named)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    sql_exec(r.db, "INSERT INTO webhook.workers (id, host, pid) VALUES ('ghost-w', 'h', 1)");
    cr_expect_eq(CTL(&r, &out, "pause", "--yes", "--timeout", "300ms"), TIMED_OUT, "%s", out);
    cr_expect(strstr(out, "ghost-w"), "%s", out);
    cr_expect_str_eq(queue(&r, "change", "paused_at IS NOT NULL"), "true", "the order stands");
    sql_exec(r.db, "UPDATE webhook.workers SET seen_at = now() - interval '1 minute'");
    cr_expect_eq(CTL(&r, &out, "pause", "--yes", "--timeout", "300ms"), DONE, "%s", out);
    cr_expect(strstr(out, "ghost-w"), "its lease is over: %s", out);

    sql_exec(r.db, "INSERT INTO webhook.producers (id, host, pid) VALUES ('ghost-p', 'h', 1)");
    cr_expect_eq(
        CTL(&r, &out, "pause", "--intake", "--yes", "--timeout", "2s"), TIMED_OUT, "%s", out);
    cr_expect(strstr(out, "ghost-p"), "%s", out);
    sql_exec(r.db, "UPDATE webhook.producers SET seen_at = now() - interval '2 minutes'"
                   " WHERE id = 'ghost-p'");
    cr_expect_eq(CTL(&r, &out, "pause", "--intake", "--yes"), BLOCKED, "%s", out);
    cr_expect(strstr(out, "ghost-p"), "%s", out);
}

Test(ctl_fleet, a_dry_run_changes_nothing_and_nobody_is_changed_without_a_yes)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    cr_expect_eq(CTL(&r, &out, "pause", "--dry-run"), DONE, "%s", out);
    cr_expect(strstr(out, "change") && strstr(out, "crawl"), "%s", out);
    cr_expect_eq(CTL(&r, &out, "workers", "quiet", "--all", "--dry-run"), DONE, "%s", out);
    cr_expect_eq(CTL(&r, &out, "pause"), USAGE, "%s", out);
    cr_expect_eq(CTL(&r, &out, "pause", "events", "--yes"), USAGE, "%s", out);
    cr_expect_eq(CTL(&r, &out, "workers", "kick", "--yes"), USAGE, "%s", out);
    cr_expect_eq(CTL(&r, &out, "workers", "quiet", "x", "--all", "--yes"), USAGE, "%s", out);
    cr_expect_str_eq(queue(&r, "change", "paused_at IS NULL"), "true");
    cr_expect_eq(workers(&r, "orders IS NOT NULL"), 0);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log"), 0);
}

Test(ctl_fleet, without_postgresql_nothing_is_claimed_to_be_paused)
{
    struct rig r;
    const char *out;
    rig_start_own_pg(&r);
    test_pg_kill(r.pg);
    cr_expect_eq(CTL(&r, &out, "pause", "--yes"), UNREACHABLE, "%s", out);
    cr_expect_eq(CTL(&r, &out, "workers", "list"), UNREACHABLE, "%s", out);
}

/* --- workers ----------------------------------------------------------------------------- */

Test(ctl_fleet, the_list_shows_what_each_process_does)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    cr_expect_eq(CTL(&r, &out, "workers", "list"), DONE);
    cr_expect_str_eq(out, "There are no worker processes.\n");
    rig_fleet(&r, 1, NULL);
    rig_post(&r, "/hold/one");
    WAIT_FOR(workers(&r, "status->>'jobs' = '1' AND (status->>'oldest_ms')::int > 0") == 1, SOON);
    cr_expect_eq(CTL(&r, &out, "workers", "list", "--json"), DONE, "%s", out);
    json_t *v = json_of(out), *w = json_array_get(json_object_get(v, "workers"), 0);
    cr_expect_eq(json_array_size(json_object_get(v, "workers")), 1);
    cr_expect_str_eq(json_string_value(json_object_get(w, "id")),
        sql_text(r.db, "SELECT id FROM webhook.workers"));
    cr_expect_str_eq(json_string_value(json_object_get(w, "phase")), "working");
    cr_expect_str_eq(json_string_value(json_object_get(w, "state")), "alive");
    cr_expect_eq(number(w, NULL, "jobs"), 1);
    cr_expect_eq(number(w, NULL, "rows"), 1);
    cr_expect_gt(number(w, NULL, "oldest_ms"), 0);
    cr_expect_eq(number(w, NULL, "connections_max"), 4);
    cr_expect_gt(number(w, NULL, "memory_bytes"), 1000000);
    cr_expect(json_is_null(json_object_get(w, "orders")));
    cr_expect(json_is_false(json_object_get(w, "noted_pause_change")));
    json_decref(v);
    cr_expect_eq(CTL(&r, &out, "workers", "list"), DONE);
    cr_expect(strstr(out, "PHASE") && strstr(out, "working") && strstr(out, "MEMORY"), "%s", out);
    rig_release(&r);
}

Test(ctl_fleet, a_worker_is_made_quiet_by_the_beginning_of_its_name_and_works_again)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    const char *id = sql_text(r.db, "SELECT id FROM webhook.workers ORDER BY id LIMIT 1");
    char cut[128];
    snprintf(cut, sizeof(cut), "%.*s", (int)strlen(id) - 1, id);
    cr_expect_eq(CTL(&r, &out, "workers", "quiet", cut, "--yes", "--json"), DONE, "%s", out);
    json_t *v = json_of(out);
    cr_expect_eq(number(v, NULL, "affected"), 1);
    cr_expect_eq(number(v, "workers", "noted"), 1);
    json_decref(v);
    cr_expect_eq(workers(&r, harness_text("id = '%s' AND status->>'phase' = 'quiet'", id)), 1);
    cr_expect_eq(workers(&r, "orders IS NULL AND status->>'phase' = 'working'"), 1);
    MUST(&r, "workers", "quiet", "--all", "--off", "--yes");
    cr_expect_eq(workers(&r, "orders IS NULL AND status->>'phase' = 'working'"), 2);

    char host[128];
    snprintf(host, sizeof(host), "%.*s", 3, id);
    cr_expect_eq(CTL(&r, &out, "workers", "quiet", host, "--yes"), ERROR, "%s", out);
    cr_expect_eq(CTL(&r, &out, "workers", "quiet", "nobody", "--yes"), BLOCKED, "%s", out);
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(concat_ws('|', command, detail->>'order',"
                                    " affected), ' ' ORDER BY id) FROM webhook.operator_log"),
        "workers quiet|quiet|1 workers quiet|2");
}

Test(ctl_fleet, kicked_workers_are_all_replaced_and_no_job_is_lost)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    const char *before = sql_text(r.db, "SELECT string_agg(id, ',') FROM webhook.workers");
    for (int i = 0; i < 20; i++)
        rig_post(&r, "/slow/300?%d", i);
    MUST(&r, "workers", "kick", "--all", "--yes");
    WAIT_FOR(workers(&r, harness_text("id = ANY (string_to_array('%s', ','))", before)) == 0, SOON);
    WAIT_FOR(
        rig_rows(&r, "rescrape_status = 'completed' AND claim_epoch = 1 AND attempts = 0") == 20,
        SOON);
    WAIT_FOR(rig_only_living(&r, 2), SOON);
}
