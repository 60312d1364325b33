/* hooklinectl events: what it lists and shows of the rows, and what it tries again. */
#include "tests/support/fleet.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <string.h>

TestSuite(ctl_events, .timeout = 60);

#define MAX_ARGS 20
#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        "events", __VA_ARGS__, NULL                                                                \
    }
#define EVENT "0b9d3c52-86c1-4d5a-a0a3-00000000000"

static const char *db;
static struct test_redis *redis;

/* --- running it -------------------------------------------------------------------------- */

static struct test_proc *start(const char *const *args)
{
    const char *argv[MAX_ARGS + 2] = {harness_text("%s/hooklinectl", harness_build())};
    const char *env[3] = {harness_text("WEBHOOK_DATABASE_URL=%s", db)};
    if (redis)
        env[1] = harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis));
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    return test_proc_start(argv, env, -1);
}

static int events(const char *const *args, const char **out)
{
    struct test_proc *p = start(args);
    int code = test_proc_wait(p, 30000);
    *out = test_proc_log(p);
    return code;
}

static json_int_t number(const json_t *root, const char *key)
{
    return json_integer_value(json_object_get(root, key));
}

/* The row ids that it lists, as "3 2 1". */
static const char *listed(const char *const *args)
{
    const char *out, *ids = "";
    size_t i;
    json_t *event;
    cr_assert_eq(events(args, &out), 0, "%s", out);
    json_t *root = rig_json(out);
    json_array_foreach(json_object_get(root, "events"), i, event)
    {
        ids = harness_text(
            "%s%s%lld", ids, *ids ? " " : "", (long long)number(event, "change_event_id"));
    }
    json_decref(root);
    return ids;
}

/* --- rows -------------------------------------------------------------------------------- */

/* Five events, an hour apart: 1 is the oldest. */
static void put_events(void)
{
    db = harness_database(true);
    sql_exec(db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, rescrape_status,"
        "  metadata, created_at, finished_at, body_digest, url_key, accept_seq, attempts, suspect)"
        " SELECT ('" EVENT "' || i)::uuid, 'watch-' || i %% 2, 'https://a.test/' || i %% 3,"
        "  (ARRAY['failed: HTTP 500', 'completed', 'failed: timeout', 'queued', 'failed: x'])[i],"
        "  CASE i WHEN 1 THEN '{\"error\": \"Firecrawl: Connection REFUSED by peer\"}'"
        "    WHEN 5 THEN '{\"error\": \"x\", \"signature\": \"s\"}' ELSE '{}' END::jsonb,"
        "  now() - (6 - i) * interval '1 hour',"
        "  CASE WHEN i NOT IN (4) THEN now() - interval '1 minute' END, sha256('x'::bytea),"
        "  sha256(('https://a.test/' || i %% 3)::bytea), nextval('webhook.scrape_clock'), 5, 0"
        " FROM generate_series(1, 5) i");
}

static const char *status_of(int row)
{
    return sql_text(db, "SELECT rescrape_status FROM webhook.change_events WHERE id = %d", row);
}

/* --- list -------------------------------------------------------------------------------- */

Test(ctl_events, list_heeds_every_filter)
{
    put_events();
    cr_expect_str_eq(listed(ARGS("list", "--json")), "5 4 3 2 1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--status", "failed")), "5 3 1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--status", "queued")), "4");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--url", "https://a.test/1")), "4 1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--watch-id", "watch-0")), "4 2");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--since", "150m")), "5 4");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--until", "150m")), "3 2 1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--error", "connection refused")), "1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--error", "TIMEOUT")), "3");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--error", "%")), "");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--watch-id", "watch-1", "--error", "x")), "5");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--limit", "2")), "5 4");
}

Test(ctl_events, list_says_that_there_are_more_and_only_then)
{
    const char *out;
    put_events();
    cr_expect_eq(events(ARGS("list", "--limit", "4"), &out), 0);
    cr_expect(strstr(out, "There are more than these 4"), "%s", out);
    cr_expect_eq(events(ARGS("list", "--limit", "5"), &out), 0);
    cr_expect_not(strstr(out, "There are more"), "%s", out);
    cr_expect(strstr(out, "failed: HTTP 500"), "%s", out);
    cr_expect(strstr(out, "Connection REFUSED"), "%s", out);
    cr_expect_eq(events(ARGS("list", "--url", "https://nowhere.test/"), &out), 0);
    cr_expect_str_eq(out, "No event is like this.\n");
}

Test(ctl_events, list_walks_on_to_what_lies_behind_a_page_of_others)
{
    put_events();
    sql_exec(db, "INSERT INTO webhook.change_events (event_id, watch_id, watch_url,"
                 "  rescrape_status, created_at) SELECT gen_random_uuid(), 'w', 'https://b.test/',"
                 "  'completed', now() FROM generate_series(1, 41000)");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--status", "failed")), "5 3 1");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--status", "failed", "--limit", "3")), "5 3 1");
}

/* There is a page of others behind the limit, and nothing in it. */
Test(ctl_events, list_does_not_say_more_of_a_page_without_any)
{
    db = harness_database(true);
    sql_exec(db, "INSERT INTO webhook.change_events (event_id, watch_id, watch_url,"
                 "  rescrape_status, created_at) SELECT gen_random_uuid(), 'w', 'https://b.test/',"
                 "  CASE WHEN i > 25000 THEN 'queued' ELSE 'completed' END, now()"
                 " FROM generate_series(1, 25003) i");
    cr_expect_str_eq(listed(ARGS("list", "--json", "--error", "no")), "");
    const char *out;
    sql_exec(db, "UPDATE webhook.change_events SET metadata = '{\"error\": \"no\"}'"
                 " WHERE rescrape_status = 'queued'");
    cr_expect_eq(events(ARGS("list", "--json", "--error", "no", "--limit", "3"), &out), 0);
    cr_expect(strstr(out, "\"more\":false"), "%s", out);
    cr_expect_eq(events(ARGS("list", "--json", "--error", "no", "--limit", "2"), &out), 0);
    cr_expect(strstr(out, "\"more\":true"), "%s", out);
}

Test(ctl_events, an_empty_table_is_a_sentence_and_no_database_is_69)
{
    const char *out;
    db = harness_database(true);
    cr_expect_eq(events(ARGS("list"), &out), 0);
    cr_expect_str_eq(out, "There are no events.\n");
    db = harness_text("postgresql://127.0.0.1:%d/x", harness_free_port());
    cr_expect_eq(events(ARGS("list"), &out), 69, "%s", out);
    cr_expect_eq(events(ARGS("list", "--status", "dead"), &out), 64, "%s", out);
    cr_expect_eq(events(ARGS("lsit"), &out), 64);
    cr_expect(strstr(out, "did you mean 'events list'?"), "%s", out);
}

/* --- show -------------------------------------------------------------------------------- */

Test(ctl_events, show_takes_both_kinds_of_ids_and_keeps_the_signature_to_itself)
{
    const char *out;
    put_events();
    cr_assert_eq(events(ARGS("show", EVENT "5", "--json"), &out), 0, "%s", out);
    json_t *root = rig_json(out), *event = json_object_get(root, "event");
    cr_expect_eq(number(event, "change_event_id"), 5);
    cr_expect_str_eq(json_get_string(event, "status"), "failed: x");
    cr_expect_str_eq(json_get_string(event, "error"), "x");
    cr_expect(json_is_null(json_object_get(event, "indexed_at")));
    cr_expect(strchr(json_get_string(event, "created_at"), 'T'), "%s", out);
    cr_expect(json_is_object(json_object_get(event, "metadata")));
    cr_expect_not(strstr(out, "signature"), "%s", out);
    json_decref(root);
    cr_expect_eq(events(ARGS("show", "5"), &out), 0);
    cr_expect(strstr(out, EVENT "5"), "%s", out);
    cr_expect_eq(events(ARGS("show", EVENT "9"), &out), 2, "%s", out);
    cr_expect_eq(events(ARGS("show", "no-id"), &out), 64, "%s", out);
    cr_expect_eq(events(ARGS("show"), &out), 64, "%s", out);
}

/* --- retry ------------------------------------------------------------------------------- */

Test(ctl_events, retry_queues_failed_events_with_their_jobs_and_keeps_why)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    cr_assert_eq(
        events(ARGS("retry", EVENT "1", "3", "3", "--yes", "--json", "--reason", "peer is back"),
            &out),
        0, "%s", out);
    json_t *root = rig_json(out);
    cr_expect_eq(number(root, "found"), 2);
    cr_expect_eq(number(root, "affected"), 2);
    cr_expect_eq(number(root, "changed_meanwhile"), 0);
    cr_expect_eq(number(root, "in_redis"), 2);
    json_decref(root);
    cr_expect_str_eq(status_of(1), "queued");
    cr_expect_str_eq(status_of(3), "queued");
    cr_expect_str_eq(status_of(5), "failed: x");
    cr_expect_str_eq(sql_text(db, "SELECT attempts || ' ' || (metadata->>'retried_by') || ' ' ||"
                                  "  (finished_at IS NULL) || ' ' || claim_epoch"
                                  " FROM webhook.change_events WHERE id = 1"),
        "0 operator true 1");
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 2);
    cr_expect_str_eq(sql_text(db, "SELECT command || '|' || reason || '|' || affected || '|' ||"
                                  "  outcome || '|' || (detail->'events'->>1) || '|' ||"
                                  "  (ended_at IS NOT NULL) FROM webhook.operator_log"),
        "events retry|peer is back|2|done|" EVENT "3|true");
}

Test(ctl_events, retry_by_filter_takes_failed_ones_only_up_to_the_limit)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    cr_assert_eq(events(ARGS("retry", "--since", "1d", "--limit", "2", "--yes"), &out), 0);
    cr_expect(strstr(out, "2 events are queued again"), "%s", out);
    cr_expect(strstr(out, "There are more than these 2"), "%s", out);
    cr_expect_str_eq(status_of(5), "queued");
    cr_expect_str_eq(status_of(3), "queued");
    cr_expect_str_eq(status_of(1), "failed: HTTP 500");
    cr_expect_str_eq(status_of(2), "completed");
    cr_expect_eq(events(ARGS("retry", "--error", "nothing like it", "--yes"), &out), 0);
    cr_expect_str_eq(out, "There are no failed events to try again.\n");
}

Test(ctl_events, a_dry_run_changes_nothing_not_even_the_log)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    cr_expect_eq(events(ARGS("retry", "--status", "failed", "--dry-run"), &out), 0, "%s", out);
    cr_expect(strstr(out, EVENT "1"), "%s", out);
    cr_expect_eq(events(ARGS("retry", "--status", "failed", "--dry-run", "--json"), &out), 0);
    json_t *root = rig_json(out);
    cr_expect_eq(number(root, "found"), 3);
    cr_expect_eq(number(root, "affected"), 0);
    json_decref(root);
    cr_expect_str_eq(status_of(1), "failed: HTTP 500");
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.operator_log"), 0);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 0);
}

Test(ctl_events, retry_asks_first_and_says_what_it_cannot_do)
{
    const char *out;
    put_events();
    cr_expect_eq(events(ARGS("retry", "1"), &out), 64, "%s", out);
    cr_expect(strstr(out, "--yes"), "%s", out);
    cr_expect_eq(events(ARGS("retry", "--yes"), &out), 64, "%s", out);
    cr_expect_eq(events(ARGS("retry", "1", "--url", "u", "--yes"), &out), 64, "%s", out);
    cr_expect_eq(events(ARGS("retry", "--status", "queued", "--yes"), &out), 64, "%s", out);
    cr_expect_eq(events(ARGS("retry", "1", "99", "--yes"), &out), 2, "%s", out);
    cr_expect(strstr(out, "there is no event 99"), "%s", out);
    cr_expect_str_eq(status_of(1), "failed: HTTP 500", "all or nothing where an id is wrong");
    cr_expect_eq(events(ARGS("retry", "2", "--yes"), &out), 2, "%s", out);
    cr_expect(strstr(out, "event 2 is completed; only failed"), "%s", out);
}

Test(ctl_events, retry_without_redis_leaves_the_jobs_to_a_janitor)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    test_redis_kill(redis);
    cr_expect_eq(events(ARGS("retry", "1", "--yes", "--json"), &out), 0, "%s", out);
    cr_expect(strstr(out, "a janitor brings them there"), "%s", out);
    cr_expect(strstr(out, "\"affected\":1"), "%s", out);
    cr_expect(strstr(out, "\"in_redis\":0"), "%s", out);
    cr_expect_str_eq(status_of(1), "queued");
}

/* It has no id by which Redis could know it, until a janitor gives it one. */
Test(ctl_events, a_row_of_the_replaced_service_keeps_no_other_out_of_redis)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    sql_exec(db, "UPDATE webhook.change_events SET event_id = NULL, finished_at = NULL,"
                 " body_digest = NULL, claim_epoch = NULL WHERE id = 1");
    cr_expect_eq(events(ARGS("retry", "1", "3", "5", "--yes", "--json"), &out), 0, "%s", out);
    cr_expect(strstr(out, "\"affected\":3"), "%s", out);
    cr_expect(strstr(out, "\"in_redis\":2"), "%s", out);
    cr_expect(strstr(out, "1 of them are not in Redis yet"), "%s", out);
    cr_expect_str_eq(status_of(1), "queued");
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 2);
}

Test(ctl_events, retry_takes_the_letters_of_what_it_put_back_and_no_others)
{
    const char *out;
    put_events();
    redis = test_redis_start();
    for (int i = 1; i <= 3; i++)
        redis_text(redis, "XADD {hookline}:dead * id " EVENT "%d reason x job y", i);
    cr_expect_eq(events(ARGS("retry", "1", "3", "--yes"), &out), 0, "%s", out);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:dead"), 1, "that of the second: %s", out);
}

/* Somebody changes the row between the showing and the doing: he has it locked when the doing comes. */
Test(ctl_events, retry_leaves_alone_what_was_changed_meanwhile)
{
    put_events();
    redis = test_redis_start();
    PGconn *other = PQconnectdb(db);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "UPDATE webhook.change_events SET finished_at = now(),"
                          " rescrape_status = 'failed: again' WHERE id = 1"));
    struct test_proc *p = start(ARGS("retry", "1", "3", "--yes", "--json"));
    WAIT_FOR(sql_int(db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                         " AND datname = current_database()") == 1,
        10000);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    cr_expect_eq(test_proc_wait(p, 20000), 0, "%s", test_proc_log(p));
    cr_expect(
        strstr(test_proc_log(p), "\"affected\":1,\"changed_meanwhile\":1"), "%s", test_proc_log(p));
    cr_expect_str_eq(status_of(1), "failed: again");
    cr_expect_str_eq(status_of(3), "queued");
}
