/* hooklinectl zombies: which events in progress it takes for dead, and what becomes of them. */
#include "tests/support/fleet.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(ctl_zombies, .timeout = 60);

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        "zombies", __VA_ARGS__, NULL                                                               \
    }
#define EVENT "0b9d3c52-86c1-4d5a-a0a3-00000000000"

static const char *db;
static struct test_redis *redis;

/* Lease 30 s, job limit 15 min, five starts. */
static int zombies(const char *const *args, const char **out)
{
    const char *argv[12] = {harness_text("%s/hooklinectl", harness_build())};
    const char *env[3] = {harness_text("WEBHOOK_DATABASE_URL=%s", db)};
    if (redis)
        env[1] = harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis));
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, 30000);
    *out = test_proc_log(p);
    return code;
}

static json_int_t number(const json_t *root, const char *key)
{
    return json_integer_value(json_object_get(root, key));
}

/* 1 of a living worker, 2 of a dead one, 3 of one that is gone, 4 of a living one for an hour, 5 of a
 * silent one, 6 of the replaced service's, 7 of a dead one for the fifth time, 8 of a dead one and a
 * suspect. */
static void put_events(void)
{
    db = harness_database(true);
    sql_exec(db, "INSERT INTO webhook.workers (id, host, pid, beat, seen_at, dead_at) VALUES"
                 " ('living', 'h', 1, 900, now(), NULL), ('dead', 'h', 2, 900, now(), now()),"
                 " ('silent', 'h', 3, 900, now() - interval '2 minutes', NULL)");
    sql_exec(db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, rescrape_status,"
        "  claimed_by, claimed_at, claimed_beat, claim_epoch, starts, suspect, metadata, "
        "body_digest,"
        "  url_key, accept_seq)"
        " SELECT CASE WHEN i <> 6 THEN ('" EVENT "' || i)::uuid END, 'w', 'https://a.test/' || i,"
        "  'in_progress',"
        "  (ARRAY['living', 'dead', 'gone', 'living', 'silent', NULL, 'dead', 'dead'])[i],"
        "  now() - CASE i WHEN 4 THEN interval '1 hour' ELSE i * interval '1 second' END,"
        "  CASE WHEN i = 6 THEN NULL WHEN i = 4 THEN 10 ELSE 899 END, 3,"
        "  CASE i WHEN 7 THEN 5 ELSE 1 END, CASE i WHEN 8 THEN 2 ELSE 0 END, '{}',"
        "  sha256('x'::bytea), sha256(('https://a.test/' || i)::bytea),"
        "  nextval('webhook.scrape_clock') FROM generate_series(1, 8) i");
}

static const char *statuses(void)
{
    return sql_text(db, "SELECT string_agg(id || ' ' || rescrape_status, ', ' ORDER BY id)"
                        " FROM webhook.change_events");
}

Test(ctl_zombies, list_names_each_kind_and_leaves_out_who_is_at_work)
{
    const char *out, *seen = "";
    size_t i;
    json_t *zombie;
    put_events();
    cr_assert_eq(zombies(ARGS("list", "--json"), &out), 0, "%s", out);
    json_t *root = rig_json(out);
    json_array_foreach(json_object_get(root, "zombies"), i, zombie)
    {
        seen = harness_text("%s%lld %s %s, ", seen, (long long)number(zombie, "change_event_id"),
            json_get_string(zombie, "why"),
            json_is_true(json_object_get(zombie, "reapable")) ? "yes" : "no");
    }
    json_decref(root);
    cr_expect_str_eq(seen, "4 late yes, 8 dead yes, 7 dead yes, 6 unowned no, 5 silent no, "
                           "3 gone yes, 2 dead yes, ");
    cr_expect_eq(zombies(ARGS("list"), &out), 0);
    cr_expect(strstr(out, EVENT "2  https://a.test/2"), "%s", out);
    cr_expect_eq(zombies(ARGS("list", "--limit", "1"), &out), 0);
    cr_expect(strstr(out, EVENT "4") && !strstr(out, EVENT "8"), "%s", out);
}

Test(ctl_zombies, reap_does_what_the_janitor_does)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    cr_assert_eq(
        zombies(ARGS("reap", "--yes", "--json", "--reason", "host lost"), &out), 0, "%s", out);
    json_t *root = rig_json(out);
    cr_expect_eq(number(root, "found"), 5);
    cr_expect_eq(number(root, "affected"), 5);
    cr_expect_eq(number(root, "queued"), 4);
    cr_expect_eq(number(root, "failed"), 1);
    cr_expect_eq(number(root, "in_redis"), 4, "the suspect goes to no queue: %s", out);
    json_decref(root);
    cr_expect_str_eq(statuses(),
        "1 in_progress, 2 queued, 3 queued, 4 queued, 5 in_progress, 6 in_progress, "
        "7 failed: worker died 5 times, 8 queued");
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 3);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:dead"), 1);
    cr_expect_str_eq(sql_text(db, "SELECT command || '|' || reason || '|' || affected || '|' ||"
                                  " outcome || '|' || (detail->'events' @> '[\"" EVENT "7\"]') ||"
                                  " jsonb_array_length(detail->'events')"
                                  " FROM webhook.operator_log"),
        "zombies reap|host lost|5|done|true5");
    cr_expect_eq(zombies(ARGS("reap", "--yes"), &out), 0);
    cr_expect(strstr(out, "There are no zombies to reap."), "%s", out);
    cr_expect(strstr(out, "2 are not to be reaped yet"), "%s", out);
}

Test(ctl_zombies, a_dry_run_changes_nothing_and_nobody_is_reaped_unasked)
{
    const char *out;
    put_events();
    const char *before = statuses();
    cr_expect_eq(zombies(ARGS("reap", "--dry-run"), &out), 0, "%s", out);
    cr_expect(strstr(out, EVENT "3"), "%s", out);
    cr_expect_eq(zombies(ARGS("reap"), &out), 64, "%s", out);
    cr_expect_str_eq(statuses(), before);
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.operator_log"), 0);
}

Test(ctl_zombies, none_is_a_sentence)
{
    const char *out;
    db = harness_database(true);
    cr_expect_eq(zombies(ARGS("list"), &out), 0);
    cr_expect_str_eq(out, "There are no zombies.\n");
    cr_expect_eq(zombies(ARGS("list", "--json"), &out), 0);
    cr_expect_str_eq(out, "{\"version\":1,\"zombies\":[]}\n");
}

/* --- a standby --------------------------------------------------------------------------- */

Test(ctl_zombies, a_database_that_takes_no_writes_is_as_good_as_away)
{
    const char *out;
    db = harness_database(true);
    sql_exec(db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET"
                 " default_transaction_read_only = on', current_database()); END $$");
    cr_expect_eq(zombies(ARGS("reap", "--yes"), &out), 69, "%s", out);
    cr_expect(strstr(out, "read-only"), "%s", out);
}
