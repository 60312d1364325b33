/* Events that crash their worker: found out, run alone, ended; everybody else's are done and
 * charged nothing. The crashes are real signals, sent when the stand-in is asked for the page. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

TestSuite(worker_poison, .timeout = 120);

enum { SOON = 20000, LONG_BEFORE_LEASE = 15000 };

#define LONG_LEASE  "WEBHOOK_LEASE_SECONDS=30"
#define POISON_PAGE "/hang/poison"

/* Of the process that has the event in hand; 0 = none has. */
static pid_t owner_of(struct rig *r, struct rig_id id)
{
    return (pid_t)sql_int(r->db,
        "SELECT coalesce((SELECT w.pid FROM webhook.workers w JOIN webhook.change_events c"
        " ON c.claimed_by = w.id WHERE c.event_id = '%s' AND c.rescrape_status = 'in_progress'"
        " AND w.dead_at IS NULL), 0)",
        id.text);
}

/* The nth time that the page is asked for, this happens to the process that does. */
static pid_t strike(struct rig *r, struct rig_id id, const char *path, int nth, int signo)
{
    WAIT_FOR(rig_scrapes(r, path) == nth, LONG_BEFORE_LEASE);
    WAIT_FOR(owner_of(r, id) > 0, SOON);
    pid_t pid = owner_of(r, id);
    kill(pid, signo);
    return pid;
}

static const char *crash_of(struct rig *r, pid_t pid, const char *columns)
{
    return sql_text(r->db, "SELECT concat_ws('|', %s) FROM webhook.worker_crashes WHERE pid = %d",
        columns, (int)pid);
}

static long crashes(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.worker_crashes WHERE %s", where);
}

/* --- the whole story --------------------------------------------------------------------- */

Test(worker_poison, is_condemned_after_two_crashes_in_company_and_two_alone)
{
    enum { INNOCENT = 50 };
    struct rig r;
    struct rig_id poison = {""};
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_MAX_STARTS=2"));
    for (int i = 0; i < INNOCENT; i++) {
        if (i == INNOCENT / 2)
            poison = rig_post(&r, POISON_PAGE);
        rig_post(&r, "/hold/innocent/%d", i);
    }
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == INNOCENT + 1, SOON);
    pid_t first = strike(&r, poison, POISON_PAGE, 1, SIGABRT);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress' AND claim_epoch = 3") == INNOCENT + 1,
        LONG_BEFORE_LEASE);
    cr_expect_eq(rig_rows(&r, "suspect = 1 AND starts = 1 AND attempts = 0"), INNOCENT + 1);
    pid_t second = strike(&r, poison, POISON_PAGE, 2, SIGABRT);
    WAIT_FOR(rig_rows(&r, "suspect = 2") > 0, SOON);
    rig_release(&r);

    /* Everybody is a suspect now. While they run alone, one after the other, work goes on. */
    struct rig_id late = rig_post(&r, "/ok/late");
    WAIT_FOR(rig_status_is(&r, late, "completed"), LONG_BEFORE_LEASE);
    strike(&r, poison, POISON_PAGE, 3, SIGABRT);
    pid_t alone = strike(&r, poison, POISON_PAGE, 4, SIGABRT);
    WAIT_FOR(rig_status_is(&r, poison, "failed: crashed its worker 4 times"), LONG_BEFORE_LEASE);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND attempts = 0 AND starts = 0"
                          " AND suspect = 0") == INNOCENT + 1,
        60000);

    cr_expect_str_eq(rig_row(&r, poison,
                         "attempts, finished_at IS NOT NULL, claimed_by IS NULL,"
                         " metadata ->> 'error' LIKE '%alone crashed: signal 6%'"),
        "0|t|t|t");
    WAIT_FOR(*rig_dead_letter(&r, poison.text), SOON);
    cr_expect_eq(strncmp(rig_dead_letter(&r, poison.text), "crashed its worker|", 19), 0);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
    cr_expect_eq(rig_scrapes(&r, POISON_PAGE), 4);

    cr_expect_str_eq(
        crash_of(&r, first, "role, signal, exit_code IS NULL, blamed"), "worker|6|t|t");
    cr_expect_str_eq(crash_of(&r, second, "jsonb_array_length(held) = 51"), "t");
    cr_expect_str_eq(crash_of(&r, alone, "role, blamed, jsonb_array_length(held)"), "solo|t|1");
    cr_expect_eq(crashes(&r, "true"), 4, "and nobody else crashed");
    cr_expect(test_proc_logged(fleet, "\"job_condemned\",\"event_id\":\""));
}

/* --- what is a crash --------------------------------------------------------------------- */

Test(worker_poison, a_dossier_says_what_happened_and_what_was_held)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/a");
    pid_t pid = strike(&r, id, "/hold/a", 1, SIGABRT);
    WAIT_FOR(crashes(&r, "true") == 1, LONG_BEFORE_LEASE);
    cr_expect_str_eq(crash_of(&r, pid,
                         "role, signal, exit_code IS NULL, cause, blamed, max_rss_kb > 1000,"
                         " lived_ms > 0, host <> '', worker LIKE '%-' || pid || '-%'"),
        "worker|6|t|signal 6 (Aborted)|t|t|t|t|t");
    cr_expect_str_eq(crash_of(&r, pid, "held -> 0 ->> 'event_id', held -> 0 ->> 'step'"),
        sql_text(r.db, "SELECT '%s|SCRAPE'", id.text));
    cr_expect(test_proc_logged(fleet, "\"worker_crashed\""));
    cr_expect(test_proc_logged(fleet, "\"step\":\"SCRAPE\""));
    cr_expect(test_proc_logged(fleet, "\"held\":1"));
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), LONG_BEFORE_LEASE);
    cr_expect_str_eq(rig_row(&r, id, "suspect, starts, attempts"), "0|0|0", "it was not to blame");
}

Test(worker_poison, a_kill_from_outside_makes_nobody_suspect)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    struct rig_id id = rig_post(&r, "/hold/killed");
    for (int i = 1; i <= 3; i++) {
        pid_t pid = strike(&r, id, "/hold/killed", i, SIGKILL);
        WAIT_FOR(*crash_of(&r, pid, "blamed"), LONG_BEFORE_LEASE);
        cr_expect_str_eq(crash_of(&r, pid, "signal, cause, blamed, jsonb_array_length(held)"),
            "9|signal 9 (Killed)|f|1");
    }
    WAIT_FOR(rig_scrapes(&r, "/hold/killed") == 4, LONG_BEFORE_LEASE);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, suspect, starts"), "in_progress|0|4");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), LONG_BEFORE_LEASE);
}

/* Twice the watchdog ends a process that holds it, and then the solo process. */
Test(worker_poison, a_job_that_hangs_its_process_is_condemned_too)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE, "WEBHOOK_WATCHDOG_SECONDS=1"));
    struct rig_id id = rig_post(&r, POISON_PAGE);
    for (int i = 1; i <= 4; i++)
        strike(&r, id, POISON_PAGE, i, SIGSTOP);
    WAIT_FOR(rig_status_is(&r, id, "failed: crashed its worker 4 times"), LONG_BEFORE_LEASE);
    cr_expect_eq(crashes(&r, "blamed AND cause = 'hung'"), 4);
}

/* --- alone ------------------------------------------------------------------------------- */

/* The janitor's sweeps find it as they find every queued row: only a solo process may run it. */
static struct rig_id suspect(struct rig *r, const char *path)
{
    struct rig_id id = rig_post(r, "%s", path);
    WAIT_FOR(rig_status_is(r, id, "queued"), SOON);
    sql_exec(r->db, "UPDATE webhook.change_events SET suspect = 2 WHERE event_id = '%s'", id.text);
    return id;
}

/* A row of the replaced service, younger than all others: when the janitor has published it, it has
 * looked at every row before it. */
static void expect_sweep(struct rig *r)
{
    sql_exec(r->db, "INSERT INTO webhook.change_events (watch_id, watch_url, detected_at,"
                    " rescrape_status, created_at) VALUES ('w', '" RIG_SITE "/ok/swept',"
                    " now(), 'queued', now() - interval '1 hour')");
    WAIT_FOR(rig_scrapes(r, "/ok/swept") == 1, SOON);
}

Test(worker_poison, a_suspect_waits_for_the_solo_process_while_others_run)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, "/ok/suspect");
    sql_exec(r.db, "UPDATE webhook.change_events SET created_at = now() - interval '1 hour',"
                   " next_attempt_at = now() + interval '1 hour'");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    kill(rig_child(fleet, "solo"), SIGSTOP);
    WAIT_FOR(rig_queue_empty(&r), SOON); /* its entry was acked */
    sql_exec(r.db, "UPDATE webhook.change_events SET next_attempt_at = NULL");
    expect_sweep(&r);
    cr_expect_eq(rig_scrapes(&r, "/ok/suspect"), 0);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, claim_epoch"), "queued|0");

    kill(rig_child(fleet, "solo"), SIGCONT);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect(test_proc_logged(fleet, "\"suspect_runs_alone\""));
    cr_expect_eq(rig_scrapes(&r, "/ok/suspect"), 1);
    cr_expect_str_eq(rig_row(&r, id, "suspect, attempts, starts"), "0|0|0");
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
}

Test(worker_poison, an_ordinary_failure_alone_clears_the_suspicion)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, "/flaky/1/suspect");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect(test_proc_logged(fleet, "\"suspect_runs_alone\""));
    cr_expect_eq(rig_scrapes(&r, "/flaky/1/suspect"), 2);
    cr_expect_str_eq(rig_row(&r, id, "suspect, attempts"), "0|1");
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
}

/* The row says what became of it: the process does not wait for Redis to come back. */
Test(worker_poison, a_suspect_is_run_without_redis)
{
    struct rig r;
    rig_start(&r);
    struct rig_id done = suspect(&r, "/ok/suspect"), later = suspect(&r, "/flaky/1/suspect");
    test_redis_kill(r.redis);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_status_is(&r, done, "completed"), SOON);
    WAIT_FOR(
        strcmp(rig_row(&r, later, "rescrape_status, suspect, attempts"), "queued|0|1") == 0, SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.workers") == 1, SOON);
    test_redis_restart(r.redis);
    sql_exec(r.db, "UPDATE webhook.change_events SET created_at = now() - interval '1 hour'");
    WAIT_FOR(rig_status_is(&r, later, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/flaky/1/suspect"), 2);
}

Test(worker_poison, who_is_condemned_without_redis_is_a_dead_letter_when_it_is_back)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, POISON_PAGE);
    test_redis_kill(r.redis);
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    strike(&r, id, POISON_PAGE, 1, SIGABRT);
    strike(&r, id, POISON_PAGE, 2, SIGABRT);
    WAIT_FOR(rig_status_is(&r, id, "failed: crashed its worker 4 times"), LONG_BEFORE_LEASE);
    test_redis_restart(r.redis);
    WAIT_FOR(*rig_dead_letter(&r, id.text), SOON);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 1);
}

/* It does not wait for Redis, so it says what it could not leave there. */
Test(worker_poison, a_suspect_that_fails_without_redis_has_a_line_in_the_log)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, "/fail/400");
    test_redis_kill(r.redis);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(strncmp(rig_row(&r, id, "rescrape_status"), "failed: ", 8) == 0, SOON);
    WAIT_FOR(test_proc_logged(fleet, "\"dead_letter_not_written\""), SOON);
}

Test(worker_poison, a_solo_process_killed_from_outside_condemns_nobody)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, "/hold/suspect");
    rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    strike(&r, id, "/hold/suspect", 1, SIGKILL);
    WAIT_FOR(rig_scrapes(&r, "/hold/suspect") == 2, LONG_BEFORE_LEASE);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, suspect, starts"), "in_progress|2|2");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), LONG_BEFORE_LEASE);
    cr_expect_eq(crashes(&r, "role = 'solo' AND NOT blamed"), 1);
}

Test(worker_poison, a_drain_gives_a_suspect_back_uncharged_and_suspect)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = suspect(&r, "/hold/drained");
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(LONG_LEASE));
    WAIT_FOR(rig_scrapes(&r, "/hold/drained") == 1, LONG_BEFORE_LEASE);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, suspect, starts, attempts"), "queued|2|0|0");
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.workers"), 0, "nobody is left behind");
}
