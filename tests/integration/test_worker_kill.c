/* Worker processes that die, stop or hang: whatever they held ends completed once, and nothing of
 * them stays. Where the lease is 30 s, the supervisor's notice of a death must be what hands the
 * work on. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <string.h>

TestSuite(worker_kill, .timeout = 90);

enum { SOON = 20000, LONG_BEFORE_LEASE = 12000 };

#define LONG_LEASE "WEBHOOK_LEASE_SECONDS=30"

static bool is_completed(struct rig *r, struct rig_id id)
{
    return rig_status_is(r, id, "completed");
}

/* One row, nothing in Redis, so many workers and no trace of others. */
static void expect_clean(struct rig *r, int processes)
{
    WAIT_FOR(rig_queue_empty(r), SOON);
    WAIT_FOR(rig_only_living(r, processes), SOON);
    cr_expect_eq(rig_rows(r, "true"), 1);
    cr_expect_eq(rig_rows(r, "rescrape_status = 'completed' AND attempts = 0 AND starts = 0"), 1);
}

/* --- kill -9 ----------------------------------------------------------------------------- */

Test(worker_kill, before_its_claim_the_event_is_delivered_to_the_next)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    PGconn *lock = PQconnectdb(r.db);
    PQclear(PQexec(lock, "BEGIN; LOCK TABLE webhook.change_events IN SHARE MODE"));
    pid_t pid = rig_worker(&r);
    /* The row cannot be written now: the event is in Redis first, its row comes with the spool. */
    struct rig_id id = rig_post(&r, "/ok/unclaimed");
    WAIT_FOR(rig_pending(&r) == 1, SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                           " AND relation = 'webhook.change_events'::regclass") > 0,
        SOON);
    kill(pid, SIGKILL);
    WAIT_FOR(rig_gone(pid), SOON);
    PQfinish(lock);
    WAIT_FOR(is_completed(&r, id), LONG_BEFORE_LEASE);
    expect_clean(&r, 1);
}

/* The dead process's claim waits in PostgreSQL, and commits after its death. */
Test(worker_kill, with_its_claim_under_way_the_event_does_not_stay_claimed)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = rig_post(&r, "/ok/claiming");
    WAIT_FOR(rig_rows(&r, "true") == 1, SOON);
    PGconn *lock = PQconnectdb(r.db);
    PQclear(PQexec(lock, "BEGIN; SELECT * FROM webhook.change_events FOR UPDATE"));
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1, SOON);
    pid_t pid = rig_worker(&r);
    kill(pid, SIGKILL);
    WAIT_FOR(sql_int(r.db,
                 "SELECT count(*) FROM webhook.workers WHERE pid = %d"
                 " AND dead_at IS NULL",
                 (int)pid) == 0,
        SOON);
    PQfinish(lock);
    WAIT_FOR(is_completed(&r, id), LONG_BEFORE_LEASE);
    expect_clean(&r, 1);
}

Test(worker_kill, during_the_scrape_the_event_runs_again_at_once)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/killed");
    WAIT_FOR(rig_scrapes(&r, "/hold/killed") == 1, SOON);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, claim_epoch, starts"), "in_progress|1|1");
    kill(rig_worker(&r), SIGKILL);
    WAIT_FOR(rig_scrapes(&r, "/hold/killed") == 2, LONG_BEFORE_LEASE);
    cr_expect(test_proc_logged(fleet, "\"job_orphaned\",\"event_id\":\""), "its jobs are named");
    cr_expect(test_proc_logged(fleet, id.text));
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, starts"), "in_progress|2");
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), LONG_BEFORE_LEASE);
    cr_expect_eq(rig_scrapes(&r, "/hold/killed"), 2);
    expect_clean(&r, 1);
}

Test(worker_kill, between_commit_and_ack_the_event_is_not_run_again)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/unacked");
    WAIT_FOR(rig_scrapes(&r, "/hold/unacked") == 1, SOON);
    test_redis_pause(r.redis);
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), SOON);
    const char *row = rig_row(&r, id, "change_events");
    kill(rig_worker(&r), SIGKILL);
    test_redis_resume(r.redis);
    expect_clean(&r, 1);
    cr_expect_eq(rig_scrapes(&r, "/hold/unacked"), 1);
    cr_expect_str_eq(rig_row(&r, id, "change_events"), row, "the row is left as it was");
}

Test(worker_kill, of_a_supervisor_lets_its_children_finish_and_leave)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    pid_t children[8];
    int n = harness_children(test_proc_pid(fleet), NULL, children, 8);
    cr_assert_eq(n, 3, "a worker, a solo process and a janitor");
    struct rig_id id = rig_post(&r, "/hold/orphan");
    WAIT_FOR(rig_scrapes(&r, "/hold/orphan") == 1, SOON);
    test_proc_signal(fleet, SIGKILL);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), SOON);
    for (int i = 0; i < n; i++)
        WAIT_FOR(rig_gone(children[i]), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/orphan"), 1);
    expect_clean(&r, 0);
}

Test(worker_kill, of_a_whole_fleet_hands_its_work_to_another_after_the_lease)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *first = rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    struct rig_id id = rig_post(&r, "/hold/fleet");
    WAIT_FOR(rig_scrapes(&r, "/hold/fleet") == 1, SOON);
    test_proc_kill(first);
    rig_fleet(&r, 1, NULL);
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/fleet"), 2);
    expect_clean(&r, 1);
}

Test(worker_kill, again_and_again_ends_the_event_as_failed)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_MAX_STARTS=3"));
    struct rig_id id = rig_post(&r, "/hold/deadly");
    for (int i = 1; i <= 3; i++) {
        WAIT_FOR(rig_scrapes(&r, "/hold/deadly") == i, LONG_BEFORE_LEASE);
        kill(rig_worker(&r), SIGKILL);
    }
    WAIT_FOR(rig_status_is(&r, id, "failed: worker died 3 times"), LONG_BEFORE_LEASE);
    cr_expect_str_eq(rig_row(&r, id,
                         "finished_at IS NOT NULL, claimed_by IS NULL, attempts, metadata ?"
                         " 'zombie_cleanup_at', metadata ? 'watch_title'"),
        "t|t|0|t|t");
    WAIT_FOR(*rig_dead_letter(&r, id.text), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/deadly"), 3);
}

/* --- stopped, and hung ------------------------------------------------------------------- */

static const char *everything(struct rig *r)
{
    return sql_text(r->db,
        "SELECT concat((SELECT string_agg(c::text, ';') FROM webhook.change_events c),"
        "(SELECT string_agg(d::text, ';') FROM webhook.documents d))");
}

Test(worker_kill, who_slept_through_its_lease_changes_nothing_when_it_wakes)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *first = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/slept");
    WAIT_FOR(rig_scrapes(&r, "/hold/slept") == 1, SOON);
    pid_t sleeper = rig_worker(&r);
    kill(sleeper, SIGSTOP);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_scrapes(&r, "/hold/slept") == 2, SOON);
    rig_release(&r); /* both get their answer, one while it sleeps */
    WAIT_FOR(is_completed(&r, id), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    const char *before = everything(&r);

    kill(sleeper, SIGCONT);
    WAIT_FOR(test_proc_logged(first, "\"declared_dead\""), SOON);
    WAIT_FOR(rig_gone(sleeper), SOON);
    WAIT_FOR(rig_only_living(&r, 2), SOON);
    const char *after = everything(&r);
    cr_expect_str_eq(after, before, "%s\n%s", before, after);
    expect_clean(&r, 2);
    struct rig_id next = rig_post(&r, "/ok/next");
    WAIT_FOR(is_completed(&r, next), SOON);
}

/* Its result waits in PostgreSQL behind the other's claim. */
Test(worker_kill, a_result_that_comes_after_anothers_claim_changes_nothing)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/late");
    WAIT_FOR(rig_scrapes(&r, "/hold/late") == 1, SOON);
    PGconn *other = PQconnectdb(r.db);
    PQclear(
        PQexec(other, "BEGIN; INSERT INTO webhook.workers (id, host, pid) VALUES ('other', '', 1);"
                      "UPDATE webhook.change_events SET claimed_by = 'other',"
                      " claim_epoch = claim_epoch + 1"));
    rig_release(&r);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1, SOON);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_str_eq(
        rig_row(&r, id, "rescrape_status, claimed_by, claim_epoch, metadata ? 'document_id'"),
        "in_progress|other|2|f");
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.documents"), 0);
}

Test(worker_kill, a_hung_process_is_killed_by_the_watchdog_and_replaced)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_WATCHDOG_SECONDS=1"));
    struct rig_id id = rig_post(&r, "/hold/hung");
    WAIT_FOR(rig_scrapes(&r, "/hold/hung") == 1, SOON);
    pid_t hung = rig_worker(&r);
    kill(hung, SIGSTOP);
    WAIT_FOR(test_proc_logged(fleet, "\"child_hung\""), SOON);
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), LONG_BEFORE_LEASE);
    cr_expect(rig_gone(hung));
    cr_expect(test_proc_logged(fleet, "\"hung\":true"));
    expect_clean(&r, 1);
}

Test(worker_kill, of_the_janitor_starts_another_that_works_on)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    pid_t worker = rig_worker(&r), janitor = rig_child(fleet, "janitor");
    struct rig_id id = rig_post(&r, "/hold/both");
    WAIT_FOR(rig_scrapes(&r, "/hold/both") == 1, SOON);
    kill(janitor, SIGSTOP); /* it must not see the other's death before its own */
    kill(worker, SIGKILL);
    WAIT_FOR(rig_gone(worker), SOON);
    kill(janitor, SIGKILL);
    rig_release(&r);
    WAIT_FOR(is_completed(&r, id), LONG_BEFORE_LEASE);
    expect_clean(&r, 1);
}

/* More than the janitor reaps at once: all of them before any entry goes to another process, which
 * would claim past the limit of starts. */
Test(worker_kill, of_a_process_with_many_jobs_reaps_every_one)
{
    enum { MANY = 600 };
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_CONCURRENCY=1000", "WEBHOOK_MAX_STARTS=1"));
    for (int i = 0; i < MANY; i++)
        rig_post(&r, "/hold/many/%d", i);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == MANY, SOON);
    kill(rig_worker(&r), SIGKILL);
    WAIT_FOR(rig_rows(&r, "rescrape_status LIKE 'failed: %'") == MANY, LONG_BEFORE_LEASE);
    cr_expect_eq(
        rig_rows(&r, "claim_epoch = 2 AND rescrape_status = 'failed: worker died 1 times'"), MANY,
        "claimed once, reaped once");
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == MANY, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}
