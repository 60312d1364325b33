/* What people tell a running fleet by signals, and what it does by itself: new settings, quiet,
 * more or fewer processes, fresh processes for worn ones, and a supervisor that is killed. Through
 * all of it no job is lost, run twice or charged. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(worker_signals, .timeout = 120);
TestSuite(producer_signals, .timeout = 120);

enum { SOON = 20000, JOBS = 5, A_WHILE = 1000 };

#define UNTOUCHED "attempts = 0 AND starts = 0 AND next_attempt_at IS NULL"
#define ONCE      "rescrape_status = 'completed' AND claim_epoch = 1 AND " UNTOUCHED

static const char *settings_file(const char *text)
{
    const char *path = harness_text("%s/settings", harness_dir());
    FILE *f = fopen(path, "we");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static int count_logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

static bool all_gone(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++)
        if (!rig_gone(pids[i]))
            return false;
    return true;
}

/* Something that must not happen gets the time for it. */
static void let_pass(int ms)
{
    int64_t end = harness_now_ms() + ms;
    WAIT_FOR(harness_now_ms() >= end, SOON);
}

static void post_jobs(struct rig *r, const char *path)
{
    for (int i = 0; i < JOBS; i++)
        rig_post(r, "%s/%d", path, i);
}

static struct test_proc *fleet_with_file(struct rig *r, const char *settings)
{
    struct test_proc *p = rig_start_program(r,
        (const char *const[]){
            rig_program("hookline-worker"), "--config", settings_file(settings), NULL},
        NULL, -1);
    WAIT_FOR(test_proc_logged(p, "\"working\""), SOON);
    return p;
}

/* --- quiet, state ------------------------------------------------------------------------ */

Test(worker_signals, usr1_finishes_what_runs_takes_nothing_new_and_stays)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    test_proc_signal(fleet, SIGUSR1);
    WAIT_FOR(count_logged(fleet, "\"quiet\"") == 2, SOON); /* the supervisor, its worker */
    struct rig_id late = rig_post(&r, "/ok/late");
    rig_release(&r);
    WAIT_FOR(rig_rows(&r, ONCE) == JOBS, SOON);
    test_proc_signal(fleet, SIGUSR1); /* stays quiet */
    let_pass(A_WHILE);
    cr_expect_str_eq(rig_row(&r, late, "rescrape_status, claim_epoch, starts"), "queued|0|0");
    cr_expect(test_proc_running(fleet));
    cr_expect(rig_only_living(&r, 1), "its lease goes on");

    test_proc_signal(fleet, SIGHUP);
    WAIT_FOR(rig_rows(&r, ONCE) == JOBS + 1, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker_signals, usr2_tells_who_works_on_what)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/shown");
    WAIT_FOR(rig_scrapes(&r, "/hold/shown") == 1, SOON);
    test_proc_signal(fleet, SIGUSR2);
    /* clang-format off */
    const char *const said[] = {
        "\"state_child\"", "\"role\":\"worker\"", "\"role\":\"janitor\"", "\"condition\":\"works\"",
        "\"steps\":\"SCRAPE 1\"", "\"lease_age_ms\":", "\"sweeping\":", "\"state_job\"", id.text,
        "\"pool\":\"work\"", "\"pool\":\"lease\"", "\"store_waiting\":0", "\"queue_waiting\":0",
    };
    /* clang-format on */
    WAIT_FOR(count_logged(fleet, "\"state_pool\"") == 3, SOON);
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++)
        cr_expect(
            test_proc_logged(fleet, said[i]), "%s is not in\n%s", said[i], test_proc_log(fleet));
    rig_release(&r);
    WAIT_FOR(rig_rows(&r, ONCE) == 1, SOON);
}

/* --- new settings ------------------------------------------------------------------------ */

Test(worker_signals, hup_brings_new_settings_and_drops_no_job)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = fleet_with_file(&r, "WEBHOOK_CONCURRENCY=5\n");
    cr_expect(test_proc_logged(fleet, "\"concurrency\":5"));
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    pid_t old = rig_worker(&r);

    settings_file("WEBHOOK_CONCURRENCY=700\n");
    test_proc_signal(fleet, SIGHUP);
    WAIT_FOR(test_proc_logged(fleet, "\"concurrency\":700"), SOON);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    struct rig_id late = rig_post(&r, "/ok/late");
    WAIT_FOR(rig_status_is(&r, late, "completed"), SOON);
    cr_expect_not(rig_gone(old), "it finishes what it has");
    rig_release(&r);
    WAIT_FOR(rig_gone(old), SOON);
    cr_expect_eq(rig_rows(&r, ONCE), JOBS + 1);
    WAIT_FOR(test_proc_logged(fleet, "\"reload_finished\""), SOON);
    WAIT_FOR(rig_queue_empty(&r) && rig_only_living(&r, 1), SOON);
    cr_expect_not(test_proc_logged(fleet, "worker_declared_dead"), "%s", test_proc_log(fleet));
}

Test(worker_signals, hup_with_faulty_settings_names_the_fault_and_changes_nothing)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = fleet_with_file(&r, "WEBHOOK_CONCURRENCY=5\n");
    pid_t worker = rig_worker(&r);
    settings_file("WEBHOOK_CONCURRENCY=many\nWEBHOOK_MAX_ATTEMPTS=0\n");
    test_proc_signal(fleet, SIGHUP);
    WAIT_FOR(test_proc_logged(fleet, "\"reload_refused\""), SOON);
    cr_expect(test_proc_logged(fleet, "WEBHOOK_CONCURRENCY in "), "%s", test_proc_log(fleet));
    cr_expect(test_proc_logged(fleet, "WEBHOOK_MAX_ATTEMPTS in "));
    rig_post(&r, "/ok");
    WAIT_FOR(rig_rows(&r, ONCE) == 1, SOON);
    cr_expect_eq(rig_worker(&r), worker);

    settings_file("WEBHOOK_CONCURRENCY=6\n");
    test_proc_signal(fleet, SIGHUP);
    WAIT_FOR(test_proc_logged(fleet, "\"concurrency\":6"), SOON);
    WAIT_FOR(rig_gone(worker), SOON);
}

Test(worker_signals, hup_again_and_again_under_load_does_every_job_once)
{
    enum { ROUNDS = 4, EACH = 25 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < EACH; i++)
            rig_post(&r, "/slow/%d?%d", 20 * (i % 5), round * EACH + i);
        test_proc_signal(fleet, SIGHUP);
        for (int i = 0; i < EACH; i++)
            rig_post(&r, "/ok/%d/%d", round, i);
        WAIT_FOR(count_logged(fleet, "\"reload_finished\"") == round, SOON);
    }
    WAIT_FOR(rig_rows(&r, ONCE) == 2L * ROUNDS * EACH, SOON);
    WAIT_FOR(rig_queue_empty(&r) && rig_only_living(&r, 2), SOON);
    cr_expect_not(test_proc_logged(fleet, "worker_declared_dead"));
}

/* --- more, fewer, fresh ------------------------------------------------------------------ */

Test(worker_signals, ttin_and_ttou_add_and_remove_a_worker)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    test_proc_signal(fleet, SIGTTIN);
    WAIT_FOR(rig_only_living(&r, 2), SOON);
    WAIT_FOR(count_logged(fleet, "\"working\"") == 2, SOON);
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    test_proc_signal(fleet, SIGTTOU);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    rig_release(&r);
    WAIT_FOR(rig_rows(&r, ONCE) == JOBS, SOON);
    WAIT_FOR(rig_only_living(&r, 1), SOON);
    test_proc_signal(fleet, SIGTTOU);
    WAIT_FOR(count_logged(fleet, "\"fleet_resized\"") == 3, SOON);
    rig_post(&r, "/ok/after");
    WAIT_FOR(rig_rows(&r, ONCE) == JOBS + 1, SOON);
    cr_expect(rig_only_living(&r, 1), "at least one stays");
}

Test(worker_signals, a_process_that_has_done_its_jobs_is_replaced)
{
    enum { MANY = 60 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_JOBS_PER_PROCESS=20"));
    pid_t first = rig_worker(&r);
    for (int i = 0; i < MANY; i++)
        rig_post(&r, "/slow/100?%d", i);
    WAIT_FOR(rig_gone(first), SOON);
    post_jobs(&r, "/ok/later");
    WAIT_FOR(rig_rows(&r, ONCE) == MANY + JOBS, SOON);
    cr_expect(test_proc_logged(fleet, "\"process_worn\""));
    cr_expect_geq(sql_int(r.db, "SELECT count(DISTINCT claimed_by) FROM webhook.change_events"), 2);
    WAIT_FOR(rig_queue_empty(&r) && rig_only_living(&r, 1), SOON);
    cr_expect_not(test_proc_logged(fleet, "worker_declared_dead"), "it resigned");
    cr_expect_not(test_proc_logged(fleet, "zombie_reaped"));
}

/* Ten notices of a page that is being fetched. */
Test(worker_signals, a_job_that_has_to_wait_wears_nobody)
{
    enum { NOTICES = 10 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_JOBS_PER_PROCESS=5"));
    rig_post(&r, "/hold/page");
    WAIT_FOR(rig_scrapes(&r, "/hold/page") == 1, SOON);
    for (int i = 0; i < NOTICES; i++)
        rig_post(&r, "/hold/page");
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == NOTICES, SOON);
    let_pass(A_WHILE);
    cr_expect_not(test_proc_logged(fleet, "\"process_worn\""));
    rig_release(&r);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* Large texts that cannot be written yet are memory. */
Test(worker_signals, a_process_with_too_much_memory_is_replaced)
{
    enum { PAGES = 5 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_RSS=20m", "WEBHOOK_LEASE_SECONDS=30"));
    pid_t first = rig_worker(&r);
    PGconn *lock = PQconnectdb(r.db);
    PQclear(PQexec(lock, "BEGIN; LOCK TABLE webhook.documents IN SHARE MODE"));
    for (int i = 0; i < PAGES; i++)
        rig_post(&r, "/big/%d", 2500000 + i);
    WAIT_FOR(test_proc_logged(fleet, "\"process_worn\""), SOON);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    PQfinish(lock);
    WAIT_FOR(rig_gone(first), SOON);
    WAIT_FOR(rig_rows(&r, ONCE) == PAGES, SOON);
    cr_expect_not(test_proc_logged(fleet, "worker_declared_dead"));
}

/* --- the supervisor is killed ------------------------------------------------------------ */

/* A process that blocks SIGTERM never hears the signal that the kernel sends when its parent dies;
 * it looks at its parent's pid with each heartbeat. */
static struct test_proc *start_deaf(
    struct rig *r, const char *name, const char *const *env, int listen_fd)
{
    const char *const argv[] = {"/usr/bin/env", "--block-signal=TERM", rig_program(name), NULL};
    return rig_start_program(r, argv, env, listen_fd);
}

static void workers_leave(bool deaf)
{
    static const char *const env[] = {"WEBHOOK_WORKERS=2", "WEBHOOK_DRAIN_TIMEOUT=1", NULL};
    struct rig r;
    pid_t pids[8];
    rig_start(&r);
    struct test_proc *fleet =
        deaf ? start_deaf(&r, "hookline-worker", env, -1) : rig_fleet(&r, 2, env);
    WAIT_FOR(count_logged(fleet, "\"working\"") == 2, SOON);
    post_jobs(&r, "/hold");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'in_progress'") == JOBS, SOON);
    int n = harness_children(test_proc_pid(fleet), NULL, pids, 8);
    cr_assert_eq(n, 4, "two workers, a solo process, a janitor");

    test_proc_signal(fleet, SIGKILL);
    WAIT_FOR(count_logged(fleet, "\"draining\"") == 2, SOON);
    struct rig_id late = rig_post(&r, "/ok/late");
    WAIT_FOR(all_gone(pids, n), SOON);
    cr_expect_str_eq(rig_row(&r, late, "rescrape_status, claim_epoch"), "queued|0");
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND claimed_by IS NULL AND " UNTOUCHED),
        JOBS + 1, "what they held is given back, uncharged");
    cr_expect(rig_only_living(&r, 0), "no lease is left behind");
    rig_release(&r);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND attempts = 0") == JOBS + 1, SOON);
}

Test(worker_signals, workers_stop_claiming_and_leave_when_their_supervisor_is_killed)
{
    workers_leave(false);
}

Test(worker_signals, workers_leave_though_the_signal_of_their_supervisors_death_got_lost)
{
    workers_leave(true);
}

/* --- the producer ------------------------------------------------------------------------ */

static void producers_leave(bool deaf)
{
    static const char *const env[] = {"WEBHOOK_PRODUCERS=2", NULL};
    struct rig r;
    pid_t pids[8];
    int port;
    rig_start(&r);
    int fd = harness_listen(&port);
    struct test_proc *p =
        deaf ? start_deaf(&r, "hookline-producer", env, fd)
             : rig_start_program(
                   &r, (const char *const[]){rig_program("hookline-producer"), NULL}, env, fd);
    close(fd);
    WAIT_FOR(rig_serves(port), SOON);
    int n = harness_children(test_proc_pid(p), NULL, pids, 8);
    cr_assert_eq(n, 2);
    test_proc_signal(p, SIGKILL);
    WAIT_FOR(all_gone(pids, n), SOON);
    cr_expect_eq(test_http(port, "GET", "/", NULL, NULL, 0).status, 0, "the port is closed");
}

Test(producer_signals, processes_leave_when_their_supervisor_is_killed)
{
    producers_leave(false);
}

Test(producer_signals, processes_leave_though_the_signal_of_its_death_got_lost)
{
    producers_leave(true);
}

Test(producer_signals, hup_replaces_every_process_and_no_event_is_refused)
{
    enum { ROUNDS = 3, EACH = 30 };
    struct rig r;
    rig_start(&r);
    pid_t first;
    cr_assert_eq(harness_children(test_proc_pid(r.producer), NULL, &first, 1), 1);
    for (int round = 1; round <= ROUNDS; round++) {
        test_proc_signal(r.producer, SIGHUP);
        for (int i = 0; i < EACH; i++)
            rig_post(&r, "/ok/%d/%d", round, i); /* fails the test unless accepted */
        WAIT_FOR(count_logged(r.producer, "\"reload_finished\"") == round, SOON);
    }
    WAIT_FOR(rig_gone(first), SOON); /* it may still write down what it counted */
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'queued'") == ROUNDS * EACH, SOON);
}

Test(producer_signals, new_settings_come_with_hup_and_the_address_stays)
{
    static const char body[] = "a body that is longer than allowed";
    static char large[3000];
    struct rig r;
    int port;
    rig_start(&r);
    int fd = harness_listen(&port);
    struct test_proc *p = rig_start_program(&r,
        (const char *const[]){rig_program("hookline-producer"), "--config",
            settings_file("WEBHOOK_MAX_BODY_BYTES=2k\n"), NULL},
        NULL, fd);
    close(fd);
    WAIT_FOR(rig_serves(port), SOON);
    memset(large, 'x', sizeof(large) - 1);
    memcpy(large, body, sizeof(body) - 1);
    const char *path = "/api/webhook/changedetection";
    cr_expect_eq(test_http(port, "POST", path, NULL, large, sizeof(large) - 1).status, 413);
    settings_file("WEBHOOK_MAX_BODY_BYTES=8k\nWEBHOOK_PORT=1\n");
    test_proc_signal(p, SIGHUP);
    WAIT_FOR(test_proc_logged(p, "\"reload_finished\""), SOON);
    cr_expect(test_proc_logged(p, "\"address_kept\""), "%s", test_proc_log(p));
    WAIT_FOR(test_http(port, "POST", path, NULL, large, sizeof(large) - 1).status == 401, SOON);
}

Test(producer_signals, ttin_ttou_and_usr2_work_as_with_workers)
{
    struct rig r;
    pid_t pids[8];
    rig_start(&r);
    test_proc_signal(r.producer, SIGTTIN);
    WAIT_FOR(harness_children(test_proc_pid(r.producer), NULL, pids, 8) == 2, SOON);
    WAIT_FOR(count_logged(r.producer, "\"child_started\"") == 2, SOON);
    test_proc_signal(r.producer, SIGUSR1); /* nothing to be quiet about */
    test_proc_signal(r.producer, SIGUSR2);
    WAIT_FOR(count_logged(r.producer, "\"spool_bytes\":0") >= 1, SOON);
    cr_expect_eq(count_logged(r.producer, "\"state_child\""), 2);
    test_proc_signal(r.producer, SIGTTOU);
    WAIT_FOR(harness_children(test_proc_pid(r.producer), NULL, pids, 8) == 1, SOON);
    cr_expect_not(test_proc_logged(r.producer, "\"quiet\":true"));
    rig_post(&r, "/ok");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'queued'") == 1, SOON);
}
