/* PostgreSQL or Redis away while events wait and run: nobody is charged, every event ends
 * completed once. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(worker_outage, .timeout = 90);

enum { SOON = 30000, GRACE = 10000 };

#define LONG_LEASE "WEBHOOK_LEASE_SECONDS=30"

static void expect_completed_once(struct rig *r, struct rig_id id)
{
    WAIT_FOR(rig_status_is(r, id, "completed"), SOON);
    cr_expect_str_eq(rig_row(r, id, "attempts, starts"), "0|0");
    cr_expect_eq(rig_rows(r, "true"), 1);
    WAIT_FOR(rig_queue_empty(r), SOON);
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

Test(worker_outage, postgres_killed_before_the_claim)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    test_pg_kill(r.pg);
    struct rig_id id = rig_post(&r, "/ok/t1"); /* in the spool, and in Redis */
    WAIT_FOR(test_proc_logged_with(fleet, "job_step_repeats", "\"step\":\"CLAIM\""), SOON);
    test_pg_restart(r.pg);
    expect_completed_once(&r, id);
    cr_expect_eq(rig_scrapes(&r, "/ok/t1"), 1);
}

Test(worker_outage, postgres_killed_before_the_result_is_written)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/t3");
    WAIT_FOR(rig_scrapes(&r, "/hold/t3") == 1, SOON);
    test_pg_kill(r.pg);
    rig_release(&r);
    WAIT_FOR(test_proc_logged_with(fleet, "job_step_repeats", "\"step\":\"COMPLETE\""), SOON);
    test_pg_restart(r.pg);
    expect_completed_once(&r, id);
    cr_expect_eq(rig_scrapes(&r, "/hold/t3"), 1, "within the lease the result is kept");
    cr_expect_str_eq(rig_row(&r, id, "claim_epoch"), "1");
}

Test(worker_outage, postgres_killed_while_a_failure_is_recorded)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_SCRAPE_TIMEOUT=1", "WEBHOOK_MAX_ATTEMPTS=1"));
    struct rig_id id = rig_post(&r, "/hang/t3a");
    WAIT_FOR(rig_scrapes(&r, "/hang/t3a") == 1, SOON);
    test_pg_kill(r.pg);
    WAIT_FOR(test_proc_logged_with(fleet, "job_step_repeats", "\"step\":\"FAIL\""), SOON);
    test_pg_restart(r.pg);
    WAIT_FOR(rig_status_is(&r, id, "failed: Firecrawl: timed out"), SOON);
    cr_expect_str_eq(rig_row(&r, id, "attempts"), "1", "charged once");
    WAIT_FOR(*rig_dead_letter(&r, id.text) && rig_queue_empty(&r), SOON);
}

Test(worker_outage, postgres_away_for_longer_than_the_lease)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/fenced");
    WAIT_FOR(rig_scrapes(&r, "/hold/fenced") == 1, SOON);
    test_pg_kill(r.pg);
    WAIT_FOR(test_proc_logged(fleet, "\"work_dropped\""), SOON);
    rig_release(&r);
    test_pg_restart(r.pg);
    expect_completed_once(&r, id);
}

Test(worker_outage, a_postgres_that_hangs_declares_nobody_dead)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/paused");
    WAIT_FOR(rig_scrapes(&r, "/hold/paused") == 1, SOON);
    const char *name = sql_text(r.db, "SELECT id FROM webhook.workers");
    test_pg_pause(r.pg);
    WAIT_FOR(test_proc_logged(fleet, "\"work_dropped\""), SOON);
    int64_t until =
        harness_now_ms() + 2500; /* more than a lease, the outage itself is the subject */
    WAIT_FOR(harness_now_ms() >= until, 5000);
    rig_release(&r);
    test_pg_resume(r.pg);
    expect_completed_once(&r, id);
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(id, ',') FROM webhook.workers"), name);
    cr_expect_not(test_proc_logged(fleet, "declared_dead"), "%s", test_proc_log(fleet));
}

Test(worker_outage, a_postgres_that_hangs_before_the_claim)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    test_pg_pause(r.pg);
    struct rig_id id = rig_post(&r, "/ok/hanging"); /* in the spool, and in Redis */
    WAIT_FOR(rig_pending(&r) == 1 || test_proc_logged(fleet, "\"lease_fenced\""), SOON);
    test_pg_resume(r.pg);
    expect_completed_once(&r, id);
}

Test(worker_outage, drained_while_postgres_is_away)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_DRAIN_TIMEOUT=1"));
    struct rig_id id = rig_post(&r, "/hold/drained");
    WAIT_FOR(rig_scrapes(&r, "/hold/drained") == 1, SOON);
    test_pg_kill(r.pg);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    test_pg_restart(r.pg);
    rig_release(&r);
    rig_fleet(&r, 1, NULL);
    expect_completed_once(&r, id);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
}

Test(worker_outage, postgres_restarts_under_a_load_of_events)
{
    struct rig r;
    rig_start_own_pg(&r);
    rig_fleet(&r, 2, RIG_ENV(LONG_LEASE, "WEBHOOK_WORKERS=2"));
    for (int i = 0; i < 60; i++) {
        rig_post(&r, "/slow/100/%d", i);
        if (i % 20 == 10)
            test_pg_restart(r.pg);
    }
    WAIT_FOR(
        rig_rows(&r, "rescrape_status = 'completed' AND attempts = 0 AND starts = 0") == 60, SOON);
    cr_expect_eq(rig_rows(&r, "true"), 60);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker_outage, no_job_is_over_its_limit_before_reads_have_succeeded_for_a_lease)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_LEASE_SECONDS=8"));
    int64_t started = harness_now_ms();
    rig_post(&r, "/hold/old");
    WAIT_FOR(rig_scrapes(&r, "/hold/old") == 1, SOON);
    sql_exec(r.db, "UPDATE webhook.change_events SET claimed_beat = -100000");
    WAIT_FOR(test_proc_logged(fleet, "\"zombie_reaped\""), SOON);
    cr_expect_geq(harness_now_ms() - started, 6000, "a lease, less what starting took");
}

/* --- Redis ------------------------------------------------------------------------------- */

Test(worker_outage, redis_killed_while_events_are_accepted)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    test_redis_kill(r.redis);
    struct rig_id id = rig_post(&r, "/ok/unqueued");
    test_redis_restart(r.redis);
    WAIT_FOR(rig_status_is(&r, id, "completed"), GRACE + SOON);
    expect_completed_once(&r, id);
    cr_expect_eq(rig_scrapes(&r, "/ok/unqueued"), 1);
}

Test(worker_outage, redis_killed_while_events_wait)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 20; i++)
        rig_post(&r, "/ok/%d", i);
    test_redis_kill(r.redis);
    test_redis_restart(r.redis); /* what its log had not on disk comes from the rows */
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 20, GRACE + SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker_outage, redis_killed_during_the_scrape)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/unackable");
    WAIT_FOR(rig_scrapes(&r, "/hold/unackable") == 1, SOON);
    test_redis_kill(r.redis);
    rig_release(&r);
    WAIT_FOR(test_proc_logged_with(fleet, "job_step_repeats", "\"step\":\"SETTLE\""), SOON);
    cr_expect(rig_status_is(&r, id, "completed"), "PostgreSQL knows before Redis does");
    test_redis_restart(r.redis);
    expect_completed_once(&r, id);
    cr_expect_eq(rig_scrapes(&r, "/hold/unackable"), 1);
    struct rig_id next = rig_post(&r, "/ok/next");
    WAIT_FOR(rig_status_is(&r, next, "completed"), SOON);
}

Test(worker_outage, redis_that_forgets_everything_is_filled_again_from_the_rows)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 5; i++)
        rig_post(&r, "/ok/%d", i);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") == 5, SOON);
    redis_text(r.redis, "FLUSHALL");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 5, GRACE + SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(
            rig_scrapes(&r, (const char *[]){"/ok/0", "/ok/1", "/ok/2", "/ok/3", "/ok/4"}[i]), 1);
}

Test(worker_outage, redis_that_forgets_a_running_fleet_is_used_on)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=3", "WEBHOOK_RETRY_MAX=3"));
    struct rig_id running = rig_post(&r, "/hold/flushed"), later = rig_post(&r, "/flaky/1");
    WAIT_FOR(rig_scrapes(&r, "/hold/flushed") == 1, SOON);
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1, SOON);
    redis_text(r.redis, "FLUSHALL");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, running, "completed"), SOON);
    struct rig_id next = rig_post(&r, "/ok/next");
    WAIT_FOR(rig_status_is(&r, next, "completed"), SOON);
    WAIT_FOR(rig_status_is(&r, later, "completed"), GRACE + SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/flushed"), 1);
}
