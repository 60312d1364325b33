/* What whoever looks after a fleet gets to know: metrics that promtool is content with and whose counters
 * never fall, and health that says what is so, whatever is stopped, killed or away. */
#include "base/buf.h"
#include "base/clock.h"
#include "io/admin.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(admin, .timeout = 120);

enum { SOON = 20000, MAX_CHILDREN = 16 };

#define LOCAL  "WEBHOOK_ADMIN_HOST=127.0.0.1"
#define BEARER "Authorization: Bearer "

/* --- asking ------------------------------------------------------------------------------ */

static struct test_reply ask(int port, const char *path)
{
    return test_http(port, "GET", path, NULL, NULL, 0);
}

/* The answer has this status and names this. */
static bool says(int port, const char *path, int status, const char *text)
{
    struct test_reply r = ask(port, path);
    return r.status == status && strstr(r.body, text);
}

static const char *metrics(int port)
{
    struct test_reply r = ask(port, "/metrics");
    cr_assert_eq(r.status, 200, "%s", r.body);
    cr_expect_str_eq(
        test_reply_header(&r, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    return r.body;
}

/* Of the series, written as Prometheus does; -1: there is none. */
static double value(const char *text, const char *series)
{
    size_t len = strlen(series);
    for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, series, len) == 0 && at[len] == ' ')
            return strtod(at + len, NULL);
    return -1;
}

/* --- programs ---------------------------------------------------------------------------- */

static struct test_proc *worker(struct rig *r, int port, int processes)
{
    return rig_fleet(r, processes,
        RIG_ENV(harness_text("WEBHOOK_ADMIN_PORT=%d", port), LOCAL,
            harness_text("WEBHOOK_WORKERS=%d", processes)));
}

static struct test_proc *producer(struct rig *r, int admin_port, int processes, int *port)
{
    int fd = harness_listen(port);
    struct test_proc *p =
        rig_start_program(r, (const char *const[]){rig_program("hookline-producer"), NULL},
            RIG_ENV(harness_text("WEBHOOK_PRODUCER_ADMIN_PORT=%d", admin_port), LOCAL,
                harness_text("WEBHOOK_PRODUCERS=%d", processes),
                harness_text("WEBHOOK_SPOOL_DIR=%s/spool2", harness_dir()),
                "WEBHOOK_API_SECRET_READONLY=another-secret-that-is-long-enough"),
            fd);
    close(fd);
    return p;
}

static void signal_children(struct test_proc *p, pid_t but, int signo)
{
    pid_t pids[MAX_CHILDREN];
    int n = harness_children(test_proc_pid(p), NULL, pids, MAX_CHILDREN);
    for (int i = 0; i < n; i++)
        if (pids[i] != but)
            kill(pids[i], signo);
}

/* --- metrics ----------------------------------------------------------------------------- */

static void expect_clean(const char *text)
{
    const char *path = harness_text("%s/metrics", harness_dir());
    FILE *f = fopen(path, "we");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    struct test_proc *p = test_proc_start(
        (const char *const[]){"sh", "-c", "promtool check metrics <\"$0\"", path, NULL}, NULL, -1);
    cr_expect_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
    cr_expect_str_empty(test_proc_log(p));
}

static bool is_counter(const char *line, size_t len)
{
    static const char *const suffixes[] = {"_total", "_bucket", "_count", "_sum"};
    size_t name = strcspn(line, "{ ");
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (*line != '#' && len > name && name > n && strncmp(line + name - n, suffixes[i], n) == 0)
            return true;
    }
    return false;
}

/* Every counter of the one text is in the other, and not less. Returns how many. */
static int expect_grown(const char *before, const char *after)
{
    int n = 0;
    for (const char *at = before; *at; at += strcspn(at, "\n") + 1) {
        size_t len = strcspn(at, "\n");
        const char *line = harness_text("%.*s", (int)len, at);
        if (!is_counter(line, len))
            continue;
        char *blank = strrchr((char *)line, ' ');
        *blank = '\0';
        cr_assert_geq(value(after, line), strtod(blank + 1, NULL), "%s fell", line);
        n++;
    }
    return n;
}

/* Every process of it is killed once, the one that answers last of all. */
static void kill_one_by_one(struct test_proc *p, int port, const char *role, int processes)
{
    pid_t pids[MAX_CHILDREN], admin = rig_child(p, "admin");
    const char *ready = harness_text("hookline_processes{role=\"%s\",state=\"ready\"}", role);
    const char *crashes = harness_text("hookline_process_crashes_total{role=\"%s\"}", role);
    WAIT_FOR(value(metrics(port), ready) == processes, SOON);
    const char *last = metrics(port);
    int n = harness_children(test_proc_pid(p), NULL, pids, MAX_CHILDREN);
    for (int i = 0; i < n; i++) {
        if (pids[i] == admin)
            continue;
        kill(pids[i], SIGKILL);
        WAIT_FOR(rig_gone(pids[i]), SOON);
        const char *now = metrics(port);
        cr_expect_gt(expect_grown(last, now), 20);
        last = now;
    }
    WAIT_FOR(value(metrics(port), crashes) == processes, SOON);
    kill(admin, SIGKILL);
    WAIT_FOR(ask(port, "/metrics").status == 200 && rig_gone(admin), SOON);
    expect_grown(last, metrics(port));
    WAIT_FOR(value(metrics(port), ready) == processes, SOON);
    cr_expect_eq(value(metrics(port), "hookline_process_crashes_total{role=\"admin\"}"), 1);
    expect_clean(metrics(port));
}

/* A successor that starts is no reason to send nothing; the port is away for a moment. */
static void reload(struct test_proc *p, int port)
{
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    const char *before = metrics(port);
    test_proc_signal(p, SIGHUP);
    while (!test_proc_logged(p, "\"reload_finished\"")) {
        struct test_reply a = ask(port, "/readyz");
        cr_assert(a.status == 200 || a.status == 0, "%d %s", a.status, a.body);
    }
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    expect_grown(before, metrics(port));
    cr_expect_eq(value(metrics(port), "hookline_process_starts_total{role=\"worker\"}"), 4);
    cr_expect_eq(value(metrics(port), "hookline_process_crashes_total{role=\"worker\"}"), 0);
}

Test(admin, counters_never_fall_whichever_worker_process_is_replaced_or_killed)
{
    struct rig r;
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = worker(&r, port, 2);
    for (int i = 0; i < 5; i++)
        rig_post(&r, "/%d", i);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 5, SOON);
    reload(p, port);
    kill_one_by_one(p, port, "worker", 2);
    cr_expect_geq(value(metrics(port), "hookline_process_starts_total{role=\"worker\"}"), 6);
    cr_expect_eq(value(metrics(port), "hookline_build_info{version=\"" HOOKLINE_VERSION
                                      "\",program=\"hookline-worker\"}"),
        1);
}

Test(admin, counters_never_fall_whichever_producer_process_is_killed)
{
    struct rig r;
    int port, admin_port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = producer(&r, admin_port, 2, &port);
    WAIT_FOR(says(admin_port, "/readyz", 200, "ok"), SOON);
    r.producer_port = port;
    rig_post(&r, "/one");
    kill_one_by_one(p, admin_port, "producer", 2);
    cr_expect_eq(ask(port, "/metrics").status, 404, "it has a port of its own");
    cr_expect_eq(ask(port, "/livez").status, 404);
}

Test(admin, on_the_producers_port_metrics_need_a_secret_and_probes_none)
{
    struct rig r;
    int port;
    rig_start(&r);
    struct test_proc *p = producer(&r, 0, 1, &port);
    WAIT_FOR(says(port, "/readyz", 200, "ok\n"), SOON);
    static const struct {
        const char *path, *headers;
        int status;
        const char *body;
    } cases[] = {
        {"/livez",    NULL,                                            200, "ok\n"                        },
        {"/startupz", NULL,                                            200, "ok\n"                        },
        {"/metrics",  NULL,                                            401, "Missing Authorization header"},
        {"/metrics",  BEARER "wrong\r\n",                              401, "Invalid credentials"         },
        {"/metrics",  BEARER RIG_SECRET "\r\n",                        401, "Invalid credentials"         },
        {"/metrics",  BEARER RIG_API_SECRET "\r\n",                    200, "hookline_build_info"         },
        {"/metrics",  BEARER "another-secret-that-is-long-enough\r\n", 200, "hookline_build_info"         },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct test_reply a = test_http(port, "GET", cases[i].path, cases[i].headers, NULL, 0);
        cr_expect_eq(a.status, cases[i].status, "%zu: %d", i, a.status);
        cr_expect(strstr(a.body, cases[i].body), "%zu: %s", i, a.body);
        cr_expect(i || strcmp(test_reply_header(&a, "Cache-Control"), "no-store") == 0);
    }
    test_proc_signal(p, SIGTERM); /* what was measured is written by then */
    cr_assert_eq(test_proc_wait(p, SOON), 0);
    cr_expect_eq(
        sql_int(r.db, "SELECT count(*) FROM webhook.request_metrics WHERE path LIKE '%%z'"), 0,
        "probes are not measured");
}

/* --- the port ---------------------------------------------------------------------------- */

Test(admin, a_port_that_is_taken_is_told_and_work_goes_on_until_it_is_free)
{
    struct rig r;
    int port, taken = harness_listen(&port);
    rig_start(&r);
    struct test_proc *p = worker(&r, port, 1);
    struct rig_id id = rig_post(&r, "/work");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(test_proc_logged(p, "admin_port_failed"), SOON);
    const char *line = strstr(test_proc_log(p), "admin_port_failed");
    line = harness_text("%.*s", (int)strcspn(line, "\n"), line);
    cr_expect(strstr(line, "127.0.0.1"), "%s", line);
    cr_expect(strstr(line, harness_text("port %d", port)), "%s", line);
    cr_expect(strstr(line, "\"setting\":\"WEBHOOK_ADMIN_PORT\""), "%s", line);
    close(taken);
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    cr_expect_null(strstr(strstr(test_proc_log(p), line) + 1, "admin_port_failed"), "said twice");
}

Test(admin, with_port_0_there_is_no_such_process)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *p = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_ADMIN_PORT=0"));
    WAIT_FOR(test_proc_logged(p, "\"role\":\"janitor\""), SOON);
    cr_expect_not(test_proc_logged(p, "\"role\":\"admin\""));
    cr_expect_eq(harness_children(test_proc_pid(p), NULL, (pid_t[MAX_CHILDREN]){0}, MAX_CHILDREN),
        3, "worker, solo, janitor");
}

/* --- health ------------------------------------------------------------------------------ */

Test(admin, a_worker_is_ready_while_each_process_renews_its_lease)
{
    struct rig r;
    int port = harness_free_port();
    rig_start_own_pg(&r);
    test_pg_kill(r.pg);
    struct test_proc *p =
        rig_start_program(&r, (const char *const[]){rig_program("hookline-worker"), NULL},
            RIG_ENV(harness_text("WEBHOOK_ADMIN_PORT=%d", port), LOCAL, "WEBHOOK_WORKERS=2"), -1);
    WAIT_FOR(says(port, "/startupz", 503, "worker-0 is not ready"), SOON);
    cr_expect(says(port, "/livez", 200, "ok"));
    cr_expect(says(port, "/readyz", 503, "worker-0 is not ready"));
    test_pg_restart(r.pg);
    WAIT_FOR(says(port, "/startupz", 200, "ok"), SOON);
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    test_redis_kill(r.redis);
    pid_t stopped = rig_worker(&r);
    kill(stopped, SIGSTOP);
    WAIT_FOR(says(port, "/readyz", 503, "has not renewed its lease for"), SOON);
    cr_expect(says(port, "/livez", 200, "ok"), "that is no reason to kill them all");
    cr_expect(says(port, "/startupz", 200, "ok"));
    kill(stopped, SIGCONT);
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON); /* without Redis */
    test_pg_kill(r.pg);
    WAIT_FOR(says(port, "/readyz", 503, "lease"), SOON);
    test_pg_restart(r.pg);
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    cr_expect(test_proc_running(p));
}

Test(admin, a_producer_is_ready_while_it_can_keep_an_event)
{
    struct rig r;
    int port, admin_port = harness_free_port();
    rig_start_own_pg(&r);
    producer(&r, admin_port, 2, &port);
    const char *spool = harness_text("%s/spool2", harness_dir());
    const char *away = harness_text("%s/away", harness_dir());
    WAIT_FOR(says(admin_port, "/readyz", 200, "ok"), SOON);
    test_redis_kill(r.redis);
    cr_assert_eq(rename(spool, away), 0);
    WAIT_FOR(strstr(ask(port, "/health").body, "\"redis\":\"unhealthy"), SOON);
    cr_expect(says(admin_port, "/readyz", 200, "ok"), "PostgreSQL is enough");
    cr_assert_eq(rename(away, spool), 0);
    test_pg_kill(r.pg);
    WAIT_FOR(strstr(ask(port, "/health").body, "\"postgres\":\"unhealthy"), SOON);
    cr_expect(says(admin_port, "/readyz", 200, "ok"), "the spool is enough");
    cr_assert_eq(rename(spool, away), 0);
    WAIT_FOR(says(admin_port, "/readyz", 503, "the spool takes none"), SOON);
    cr_expect(says(admin_port, "/livez", 200, "ok"));
    cr_expect(says(admin_port, "/startupz", 200, "ok"));
    cr_assert_eq(rename(away, spool), 0);
    WAIT_FOR(says(admin_port, "/readyz", 200, "ok"), SOON);
}

/* Nothing but the board is asked: neither the processes at work nor the supervisor notice. */
Test(admin, all_is_answered_while_everybody_else_is_stopped)
{
    struct rig r;
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = worker(&r, port, 2);
    WAIT_FOR(says(port, "/readyz", 200, "ok"), SOON);
    pid_t admin = rig_child(p, "admin");
    test_proc_signal(p, SIGSTOP);
    signal_children(p, admin, SIGSTOP);
    for (int i = 0; i < 20; i++)
        cr_assert_geq(value(metrics(port), "hookline_supervisor_beat_age_seconds"), 0);
    cr_expect(says(port, "/livez", 200, "ok"), "10 s are not over");
    WAIT_FOR(value(metrics(port), "hookline_supervisor_beat_age_seconds") > 0.5, SOON);
    test_proc_signal(p, SIGCONT);
    signal_children(p, admin, SIGCONT);
    WAIT_FOR(says(port, "/livez", 200, "ok") && says(port, "/readyz", 200, "ok"), SOON);
}

/* The process that answers, and a board that nobody but the test writes. */
static struct board *board_with(int processes, int port, pid_t *admin)
{
    static struct prefork_slot slot;
    struct board *b = board_new();
    for (int i = 0; i < processes; i++)
        board_start(b, board_take(b, "worker", harness_text("worker-%d", i), false), 1);
    slot = (struct prefork_slot){.board = b, .place = board_take(b, "admin", "admin", false)};
    slot.supervisor = getpid();
    *admin = fork();
    if (*admin == 0)
        _exit(admin_run(&slot, &(struct admin_conf){.program = METER_W,
                                   .address = "127.0.0.1",
                                   .port = port,
                                   .lease_ms = 60000,
                                   .setting = "WEBHOOK_ADMIN_PORT"}));
    WAIT_FOR(ask(port, "/metrics").status == 200, SOON);
    return b;
}

Test(admin, health_is_what_stands_on_the_board)
{
    pid_t admin;
    int port = harness_free_port();
    struct board *b = board_with(2, port, &admin);
    cr_expect(says(port, "/startupz", 503, "worker-0 is not ready: it has no lease yet"));
    for (int i = 0; i < 2; i++)
        atomic_store(&b->places[i].state, BOARD_READY);
    cr_expect(says(port, "/readyz", 200, "ok"));
    cr_expect(says(port, "/startupz", 503, "not every process was ready yet"));
    atomic_store(&b->was_ready, true);
    cr_expect(says(port, "/startupz", 200, "ok"));
    atomic_store(board_beat(b, 1), clock_mono_ms() - 59000);
    cr_expect(says(port, "/readyz", 200, "ok"));
    atomic_store(board_beat(b, 1), clock_mono_ms() - 61000);
    cr_expect(says(port, "/readyz", 503, "worker-1 has not renewed its lease for 61."));
    atomic_store(&b->places[1].extra, true);
    cr_expect(says(port, "/readyz", 200, "ok"), "it is on its way out");
    atomic_store(&b->beat_ms, clock_mono_ms() - ADMIN_LIVE_MS + 2000);
    cr_expect(says(port, "/livez", 200, "ok"));
    atomic_store(&b->beat_ms, clock_mono_ms() - ADMIN_LIVE_MS);
    cr_expect(says(port, "/livez", 503, "the supervisor has not come round for 10."));
    cr_expect_geq(value(metrics(port), "hookline_supervisor_beat_age_seconds"), 10);
    atomic_store(&b->draining, true);
    cr_expect(says(port, "/readyz", 503, "draining"));
    kill(admin, SIGKILL);
    cr_assert_eq(waitpid(admin, NULL, 0), admin);
    board_free(b);
}

static int half_a_question(int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
    cr_assert_eq(send(fd, "GET /livez HTTP/1.1\r\n", 21, MSG_NOSIGNAL), 21);
    return fd;
}

Test(admin, clients_that_never_finish_their_question_keep_no_probe_from_its_answer)
{
    enum { SLOW = 200 };
    pid_t admin;
    int port = harness_free_port(), fds[SLOW];
    struct board *b = board_with(1, port, &admin);
    for (int i = 0; i < SLOW; i++)
        fds[i] = half_a_question(port);
    int64_t before = clock_mono_ms();
    cr_expect(says(port, "/livez", 200, "ok"));
    cr_expect_lt(clock_mono_ms() - before, 1000, "a probe waits no longer");
    for (int i = 0; i < SLOW; i++)
        close(fds[i]);
    kill(admin, SIGKILL);
    cr_assert_eq(waitpid(admin, NULL, 0), admin);
    board_free(b);
}

/* --- the drain --------------------------------------------------------------------------- */

Test(admin, health_is_answered_until_the_last_worker_has_left)
{
    struct rig r;
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = worker(&r, port, 1);
    struct rig_id id = rig_post(&r, "/hold");
    WAIT_FOR(rig_status_is(&r, id, "in_progress"), SOON);
    pid_t admin = rig_child(p, "admin");
    kill(admin, SIGTERM); /* a service manager tells the whole group, in any order ... */
    test_proc_signal(p, SIGTERM);
    WAIT_FOR(says(port, "/readyz", 503, "draining"), SOON);
    kill(admin, SIGTERM); /* ... and may insist */
    cr_expect(says(port, "/livez", 200, "ok"));
    cr_expect(says(port, "/readyz", 503, "draining"));
    cr_expect_gt(value(metrics(port), "hookline_processes{role=\"worker\",state=\"ready\"}"), 0);
    rig_release(&r);
    cr_assert_eq(test_proc_wait(p, SOON), 0);
    cr_expect(rig_status_is(&r, id, "completed"));
    cr_expect(rig_gone(admin) && ask(port, "/livez").status == 0);
    cr_expect_eq(rig_child(p, "admin"), admin, "it was never started again");
}

Test(admin, a_process_for_monitoring_that_hangs_holds_no_drain_up)
{
    struct rig r;
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = worker(&r, port, 1);
    WAIT_FOR(says(port, "/livez", 200, "ok"), SOON);
    kill(rig_child(p, "admin"), SIGSTOP);
    test_proc_signal(p, SIGTERM);
    cr_expect_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
    cr_expect_not(test_proc_logged(p, "drain_timed_out"));
}
