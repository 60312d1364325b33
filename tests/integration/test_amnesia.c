/* Redis forgets, under load and while events wait: flushed, emptied and started again, its group
 * taken away. The same processes go on; every event is done, from one row, fetched once. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(amnesia, .timeout = 120);

enum { SOON = 30000, LOAD = 300 };

static const char alarm_said[] = "\"redis_amnesia\"";

static int times_logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

static const char *generation(struct rig *r)
{
    return sql_text(r->db, "SELECT generation FROM webhook.queues WHERE name = 'change'");
}

static bool is_remembered(struct rig *r)
{
    return strcmp(redis_text(r->redis, "GET {hookline}:generation"), generation(r)) == 0;
}

static const char *workers(struct rig *r)
{
    return sql_text(r->db, "SELECT string_agg(id, ',' ORDER BY id) FROM webhook.workers");
}

/* --- under load -------------------------------------------------------------------------- */

static void flush_all(struct rig *r)
{
    redis_text(r->redis, "FLUSHALL");
}

static void reload(struct rig *r)
{
    redis_text(r->redis, "DEBUG RELOAD");
}

static void destroy_group(struct rig *r)
{
    redis_text(r->redis, "XGROUP DESTROY {hookline}:q:change workers");
}

static void delete_stream(struct rig *r)
{
    redis_text(r->redis, "DEL {hookline}:q:change");
}

/* Another server in its place, which has nothing. */
static void replace(struct rig *r)
{
    const char *dir = strchr(redis_text(r->redis, "CONFIG GET dir"), '\n') + 1;
    const char *log = harness_text("%s/appendonlydir", dir);
    struct dirent *e;
    test_redis_kill(r->redis);
    DIR *d = opendir(log);
    cr_assert_not_null(d);
    while ((e = readdir(d)))
        unlink(harness_text("%s/%s", log, e->d_name));
    closedir(d);
    test_redis_restart(r->redis);
    cr_assert_eq(redis_int(r->redis, "DBSIZE") <= 8, 1, "it has nothing but what came since");
}

/* LOAD events, trouble after each third. bound_ms: from the last trouble to the last event done. */
static void check_load(void (*trouble)(struct rig *r), int bound_ms)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(
        &r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_LEASE_SECONDS=30", "WEBHOOK_CONCURRENCY=8"));
    const char *names = workers(&r);
    WAIT_FOR(is_remembered(&r), SOON);
    for (int i = 0; i < LOAD; i++) {
        rig_post(&r, "/slow/100/%d", i);
        if (i % (LOAD / 3) == LOAD / 3 - 1)
            trouble(&r);
    }
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == LOAD, bound_ms);
    cr_expect_eq(rig_rows(&r, "attempts = 0 AND starts = 0"), LOAD);
    cr_expect_eq(rig_rows(&r, "true"), LOAD);
    for (int i = 0; i < LOAD; i++)
        cr_expect_eq(rig_scrapes(&r, harness_text("/slow/100/%d", i)), 1, "page %d", i);
    WAIT_FOR(is_remembered(&r) && rig_queue_empty(&r), SOON);
    cr_expect_str_eq(workers(&r), names, "no process was replaced");
}

Test(amnesia, redis_is_flushed_under_load)
{
    check_load(flush_all, SOON);
}

Test(amnesia, redis_is_reloaded_under_load)
{
    check_load(reload, SOON);
}

Test(amnesia, the_group_is_destroyed_under_load)
{
    check_load(destroy_group, SOON);
}

Test(amnesia, the_stream_is_deleted_under_load)
{
    check_load(delete_stream, SOON);
}

Test(amnesia, an_empty_server_takes_the_place_of_redis_under_load)
{
    check_load(replace, SOON);
}

/* --- what is said ------------------------------------------------------------------------ */

Test(amnesia, a_new_redis_is_no_alarm_and_a_flushed_one_is_one)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(is_remembered(&r), SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(announced_at) FROM webhook.queues") == 1, SOON);
    cr_expect_not(test_proc_logged(fleet, alarm_said), "%s", test_proc_log(fleet));
    flush_all(&r);
    WAIT_FOR(is_remembered(&r), SOON);
    cr_expect_eq(times_logged(fleet, alarm_said), 1, "%s", test_proc_log(fleet));
    cr_expect(test_proc_logged(fleet, "\"found\":\"nothing\""));
}

Test(amnesia, the_data_of_another_queue_are_an_alarm)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(is_remembered(&r), SOON);
    redis_text(r.redis, "SET {hookline}:generation 00000000-0000-4000-8000-000000000000");
    WAIT_FOR(test_proc_logged(fleet, alarm_said), SOON);
    WAIT_FOR(is_remembered(&r), SOON);
    cr_expect(test_proc_logged(fleet, "\"found\":\"00000000-0000-4000-8000-000000000000\""));
}

Test(amnesia, of_several_janitors_one_sees_to_it)
{
    struct rig r;
    struct test_proc *fleets[3];
    int alarms = 0;
    rig_start(&r);
    for (int i = 0; i < 3; i++)
        fleets[i] = rig_fleet(&r, 1, NULL);
    WAIT_FOR(is_remembered(&r), SOON);
    flush_all(&r);
    WAIT_FOR(is_remembered(&r), SOON);
    for (int i = 0; i < 3; i++)
        alarms += times_logged(fleets[i], alarm_said);
    cr_expect_eq(alarms, 1);
}

Test(amnesia, the_office_of_a_janitor_that_died_goes_to_another)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *first = rig_fleet(&r, 1, NULL);
    WAIT_FOR(is_remembered(&r), SOON);
    struct test_proc *second = rig_fleet(&r, 1, NULL);
    test_proc_kill(first);
    WAIT_FOR(test_proc_logged(second, "\"because\":\"took office\""), SOON);
    flush_all(&r);
    WAIT_FOR(is_remembered(&r), SOON);
    cr_expect_eq(times_logged(second, alarm_said), 1);
}

/* --- what waits -------------------------------------------------------------------------- */

/* Rows as intake writes them, which no entry brings. The fleet works on something else. */
static void add_rows(struct rig *r, int n)
{
    sql_exec(r->db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        "  created_at, rescrape_status, metadata, body_digest, accept_seq)"
        " SELECT gen_random_uuid(), 'w', url, sha256(convert_to(url, 'UTF8')), now(),"
        "  now() - interval '1 hour', 'queued', '{}', sha256(''), nextval('webhook.scrape_clock')"
        " FROM generate_series(1, %d) i, LATERAL (SELECT '" RIG_SITE "/ok/' || i AS url) u",
        n);
}

Test(amnesia, thousands_that_wait_are_published_again_within_seconds)
{
    enum { ROWS = 5000 };
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_CONCURRENCY=1", "WEBHOOK_LEASE_SECONDS=30"));
    rig_post(&r, "/hold/busy");
    WAIT_FOR(rig_scrapes(&r, "/hold/busy") == 1 && is_remembered(&r), SOON);
    add_rows(&r, ROWS);
    flush_all(&r);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") == ROWS, 15000);
    WAIT_FOR(is_remembered(&r), SOON);
}

Test(amnesia, a_flush_in_the_middle_of_the_rebuilding_begins_it_anew)
{
    enum { ROWS = 5000 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_CONCURRENCY=1", "WEBHOOK_LEASE_SECONDS=30"));
    rig_post(&r, "/hold/busy");
    WAIT_FOR(rig_scrapes(&r, "/hold/busy") == 1 && is_remembered(&r), SOON);
    add_rows(&r, ROWS);
    flush_all(&r);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") >= 1000, SOON);
    flush_all(&r);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") == ROWS && is_remembered(&r), SOON);
    cr_expect_eq(times_logged(fleet, alarm_said), 2);
}

Test(amnesia, a_rebuilding_that_its_janitor_did_not_live_to_end_is_done_by_the_next)
{
    struct rig r;
    rig_start(&r);
    redis_text(r.redis, "XGROUP CREATE {hookline}:q:change workers 0 MKSTREAM");
    sql_exec(r.db, "UPDATE webhook.queues SET announced_at = now()");
    redis_int(r.redis, "DBSIZE");
    redis_text(r.redis, "SET {hookline}:generation rebuilding-by-another");
    add_rows(&r, 3);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 3, SOON);
    WAIT_FOR(is_remembered(&r), SOON);
}

Test(amnesia, a_retry_that_redis_forgot_comes_when_it_is_due)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=3", "WEBHOOK_RETRY_MAX=3"));
    WAIT_FOR(is_remembered(&r), SOON);
    struct rig_id id = rig_post(&r, "/flaky/1");
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1, SOON);
    flush_all(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/flaky/1"), 2);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* --- with nothing to do ------------------------------------------------------------------ */

Test(amnesia, rows_that_wait_for_their_time_cost_the_janitor_next_to_nothing)
{
    enum { ROWS = 50000, WATCHED_MS = 4000 };
    struct rig r;
    rig_start_own_pg(&r);
    add_rows(&r, ROWS);
    sql_exec(r.db, "UPDATE webhook.change_events SET next_attempt_at = now() + interval '1 day'");
    sql_exec(r.db, "VACUUM ANALYZE webhook.change_events");
    /* What the producer's sessions read while the rows came is counted when they end, not later. */
    sql_exec(r.db, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                   " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(is_remembered(&r), SOON);
    static const char reads[] =
        "SELECT sum(idx_tup_read) + sum(pg_stat_get_tuples_returned(i.indrelid"
        ")) FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)"
        " WHERE s.relname = 'change_events'";
    long before = sql_int(r.db, "%s", reads);
    int64_t until = harness_now_ms() + WATCHED_MS; /* eight sweeps */
    WAIT_FOR(harness_now_ms() >= until, WATCHED_MS + 5000);
    long after = sql_int(r.db, "%s", reads);
    cr_expect_lt(
        after - before, 5000, "%ld rows and index entries read in eight sweeps", after - before);
}
