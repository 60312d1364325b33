/* SIGTERM: no new work, what runs is finished until the drain deadline, the rest is handed back
 * uncharged. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

TestSuite(worker_drain, .timeout = 90);

enum { SOON = 20000, JOBS = 5 };

static void post_jobs(struct rig *r, const char *path)
{
    for (int i = 0; i < JOBS; i++)
        rig_post(r, "%s/%d", path, i);
}

static void expect_no_trace(struct rig *r)
{
    cr_expect(rig_only_living(r, 0), "no worker's row and no consumer is left");
    cr_expect_eq(rig_pending(r), 0);
}

Test(worker_drain, jobs_in_flight_are_finished)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    struct rig_id late = rig_post(&r, "/ok/late");
    rig_release(&r);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'completed' AND claim_epoch = 1"), JOBS);
    cr_expect(rig_status_is(&r, late, "queued"), "no new work");
    cr_expect_str_eq(rig_row(&r, late, "claim_epoch, starts, attempts"), "0|0|0");
    expect_no_trace(&r);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:change"), 1);

    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_status_is(&r, late, "completed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

static void expect_handed_back(struct rig *r)
{
    cr_expect_eq(rig_rows(r, "rescrape_status = 'queued' AND attempts = 0 AND starts = 0"
                             " AND claimed_by IS NULL AND next_attempt_at IS NULL"
                             " AND NOT metadata ? 'error'"),
        JOBS);
    cr_expect_eq(redis_int(r->redis, "XLEN {hookline}:q:change"), JOBS);
    cr_expect_eq(redis_int(r->redis, "ZCARD {hookline}:later"), 0);
    expect_no_trace(r);
}

Test(worker_drain, after_the_deadline_the_rest_is_handed_back_to_another_fleet)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DRAIN_TIMEOUT=1"));
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect(test_proc_logged(fleet, "drain_timed_out"));
    expect_handed_back(&r);

    rig_release(&r);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND attempts = 0") == JOBS, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker_drain, the_second_signal_hands_back_at_once)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DRAIN_TIMEOUT=1h"));
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    expect_handed_back(&r);
}

/* The row is lost and PostgreSQL takes no new one: the entry is all there is of the event. */
Test(worker_drain, a_job_without_a_row_goes_back_when_its_row_cannot_be_written)
{
    struct rig r;
    rig_start(&r);
    rig_post(&r, "/ok");
    sql_exec(r.db, "DELETE FROM webhook.change_events;"
                   "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END$$;"
                   "CREATE TRIGGER refuse BEFORE INSERT ON webhook.change_events "
                   "FOR EACH ROW EXECUTE FUNCTION refuse()");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(test_proc_logged(fleet, "\"step\":\"INSERT\""), SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:change"), 1, "the event is not lost");

    sql_exec(r.db, "DROP TRIGGER refuse ON webhook.change_events");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 1, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* Events arrive at the very moment of the signal, again and again: what the last read brings is
 * neither started nor forgotten. */
Test(worker_drain, what_arrives_with_the_signal_waits_for_the_next_fleet)
{
    struct rig r;
    rig_start(&r);
    for (int round = 1; round <= 5; round++) {
        struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DRAIN_TIMEOUT=0"));
        test_proc_signal(fleet, SIGTERM);
        for (int i = 0; i < JOBS; i++)
            rig_post(&r, "/hold/%d/%d", round, i);
        cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
        expect_no_trace(&r);
        cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND attempts = 0 AND starts = 0"),
            (long)round * JOBS);
        cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:change"), (long)round * JOBS);
    }
    rig_release(&r);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 5L * JOBS, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker_drain, while_redis_is_away_ends_all_the_same)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/alone");
    WAIT_FOR(rig_scrapes(&r, "/hold/alone") == 1, SOON);
    test_redis_kill(r.redis);
    test_proc_signal(fleet, SIGTERM);
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    test_proc_signal(fleet, SIGTERM); /* the ack waits for Redis; hurry */
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.workers"), 0);

    test_redis_restart(r.redis);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/alone"), 1);
}

/* Its jobs are in nobody's hands then: the janitor outlives it and hands them back. */
Test(worker_drain, what_a_worker_held_that_would_not_leave_is_handed_back)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DRAIN_TIMEOUT=1", "WEBHOOK_LEASE_SECONDS=60"));
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    kill(rig_worker(&r), SIGSTOP);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 1, "it had to be killed");
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND attempts = 0"), JOBS);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:change"), JOBS);
}

/* It leaves after the workers, which may take their time. */
Test(worker_drain, the_solo_process_takes_no_new_work_while_the_workers_finish)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    rig_post(&r, "/hold/a");
    WAIT_FOR(rig_scrapes(&r, "/hold/a") == 1, SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    struct rig_id suspect = rig_post(&r, "/ok/suspect");
    sql_exec(
        r.db, "UPDATE webhook.change_events SET suspect = 2 WHERE event_id = '%s'", suspect.text);
    int64_t until = harness_now_ms() + 5000; /* it looks every two seconds and a bit */
    WAIT_FOR(harness_now_ms() >= until, 10000);
    cr_expect_eq(rig_scrapes(&r, "/ok/suspect"), 0);
    rig_release(&r);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect_str_eq(rig_row(&r, suspect, "rescrape_status, claim_epoch"), "queued|0");
}

/* A draining worker reads nothing, so no read tells it that Redis is back. */
Test(worker_drain, a_dead_letter_that_waited_for_redis_is_sent_before_leaving)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    rig_post(&r, "/hold/long");
    WAIT_FOR(rig_scrapes(&r, "/hold/long") == 1, SOON);
    test_redis_kill(r.redis);
    WAIT_FOR(test_proc_logged(fleet, "\"claiming_by_row\""), SOON);
    struct rig_id bad = rig_post(&r, "/fail/400");
    WAIT_FOR(strncmp(rig_row(&r, bad, "rescrape_status"), "failed: ", 8) == 0, SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    test_redis_restart(r.redis);
    rig_release(&r);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect(*rig_dead_letter(&r, bad.text));
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 1);
    cr_expect_not(test_proc_logged(fleet, "dead_letter_not_written"));
}

/* It has fenced itself, and is about to leave: only Redis, which hangs, holds
 * it up. */
Test(worker_drain, a_lease_that_comes_back_while_leaving_changes_nothing)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_LEASE_SECONDS=6"));
    test_pg_pause(r.pg);
    WAIT_FOR(test_proc_logged(fleet, "\"lease_fenced\""), SOON);
    test_redis_pause(r.redis);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    test_pg_resume(r.pg);
    WAIT_FOR(test_proc_logged(fleet, "\"left_hurriedly\"") ||
                 test_proc_logged(fleet, "\"worker_crashed\""),
        SOON);
    test_redis_resume(r.redis);
    test_proc_wait(fleet, SOON);
    cr_expect_not(test_proc_logged(fleet, "\"worker_crashed\""), "%s", test_proc_log(fleet));
}
