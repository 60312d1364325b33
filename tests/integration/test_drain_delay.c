/* WEBHOOK_DRAIN_DELAY: a producer that was told to leave is not ready, and takes everything as before until
 * the delay is over. WEBHOOK_TERMINATION_GRACE: who will be killed amid that says so at the start. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(drain_delay, .timeout = 60);

enum { SOON = 20000 };

struct door {
    struct rig r;
    struct test_proc *p;
    int port, admin_port;
};

/* One process; further settings, NULL-terminated. */
static void open_door(struct door *d, const char *delay, const char *grace)
{
    rig_start(&d->r);
    d->admin_port = harness_free_port();
    int fd = harness_listen(&d->port);
    d->p = rig_start_program(&d->r, (const char *const[]){rig_program("hookline-producer"), NULL},
        RIG_ENV(harness_text("WEBHOOK_PRODUCER_ADMIN_PORT=%d", d->admin_port),
            "WEBHOOK_ADMIN_HOST=127.0.0.1", "WEBHOOK_PRODUCERS=2",
            harness_text("WEBHOOK_SPOOL_DIR=%s/spool2", harness_dir()),
            harness_text("WEBHOOK_DRAIN_DELAY=%s", delay),
            harness_text("WEBHOOK_TERMINATION_GRACE=%s", grace)),
        fd);
    close(fd);
    d->r.producer_port = d->port;
    WAIT_FOR(rig_serves(d->port), SOON);
    WAIT_FOR(test_http(d->admin_port, "GET", "/readyz", NULL, NULL, 0).status == 200, SOON);
}

static bool takes_events(struct door *d)
{
    struct rig_id id;
    for (int i = 0; i < 20; i++) /* each by a connection of its own */
        if (!rig_try_post(&d->r, "/x", &id))
            return false;
    return true;
}

/* A connection that is kept. */
static int connect_to(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* The answer's text; the body is short enough to come with it. */
static const char *ask_by(int fd)
{
    static const char request[] = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    static char answer[1024];
    cr_assert_eq(write(fd, request, sizeof(request) - 1), (ssize_t)sizeof(request) - 1);
    ssize_t n = recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL);
    cr_assert_gt(n, 0, "nobody answered");
    answer[n] = '\0';
    return answer;
}

static bool says_draining(int port)
{
    struct test_reply r = test_http(port, "GET", "/readyz", NULL, NULL, 0);
    return r.status == 503 && strstr(r.body, "draining");
}

Test(drain_delay, everything_is_taken_until_it_is_over_and_nobody_calls_it_ready)
{
    struct door d = {0};
    open_door(&d, "5m", "0");
    int kept = connect_to(d.port), late = connect_to(d.port);
    cr_expect(!strstr(ask_by(kept), "Connection: close"));
    close(kept);
    kept = connect_to(d.port);

    test_proc_signal(d.p, SIGTERM);
    WAIT_FOR(says_draining(d.admin_port), SOON);
    cr_expect_eq(test_http(d.admin_port, "GET", "/livez", NULL, NULL, 0).status, 200);
    cr_expect(takes_events(&d));
    const char *answer = ask_by(kept);
    cr_expect(strncmp(answer, "HTTP/1.1 200", 12) == 0 && strstr(answer, "Connection: close"), "%s",
        answer);
    cr_expect(test_proc_logged_with(d.p, "drain_delayed", "300000"), "%s", test_proc_log(d.p));
    cr_expect(!test_proc_logged(d.p, "drain_started"));
    answer = ask_by(late); /* idle until now */
    cr_expect(strncmp(answer, "HTTP/1.1 200", 12) == 0, "%s", answer);

    test_proc_signal(d.p, SIGTERM); /* ends it */
    cr_expect_eq(test_proc_wait(d.p, SOON), 0, "%s", test_proc_log(d.p));
    cr_expect(!test_proc_logged(d.p, "drain_hurried"));
    cr_expect(!takes_events(&d));
    close(kept);
    close(late);
}

Test(drain_delay, it_ends_by_itself)
{
    struct door d = {0};
    open_door(&d, "300ms", "0");
    test_proc_signal(d.p, SIGTERM);
    cr_expect_eq(test_proc_wait(d.p, SOON), 0, "%s", test_proc_log(d.p));
    cr_expect(test_proc_logged(d.p, "drain_delayed") && test_proc_logged(d.p, "drain_started"));
}

Test(drain_delay, whoever_tells_the_whole_group_does_not_cut_it_short)
{
    struct door d = {0};
    open_door(&d, "5m", "0");
    killpg(test_proc_pid(d.p), SIGTERM);
    WAIT_FOR(says_draining(d.admin_port), SOON);
    cr_expect(takes_events(&d));
    cr_expect(!test_proc_logged_with(d.p, "child_ended", "producer"), "%s", test_proc_log(d.p));
    killpg(test_proc_pid(d.p), SIGTERM);
    cr_expect_eq(test_proc_wait(d.p, SOON), 0, "%s", test_proc_log(d.p));
}

Test(drain_delay, its_children_leave_when_their_supervisor_is_gone)
{
    struct door d = {0};
    pid_t pids[8];
    open_door(&d, "5m", "0");
    int n = harness_children(test_proc_pid(d.p), NULL, pids, 8);
    cr_assert_geq(n, 3);
    test_proc_signal(d.p, SIGKILL);
    cr_expect_eq(test_proc_wait(d.p, SOON), 128 + SIGKILL);
    for (int i = 0; i < n; i++)
        WAIT_FOR(rig_gone(pids[i]), SOON);
}

Test(drain_delay, a_grace_that_is_too_short_is_said_at_the_start)
{
    struct door d = {0};
    open_door(&d, "15s", "30s"); /* 15 s, 20 + 10 s for requests, 5.5 s for processes */
    cr_expect(test_proc_logged_with(d.p, "grace_too_short", "50500"), "%s", test_proc_log(d.p));
    cr_expect(test_proc_logged_with(d.p, "grace_too_short", "30000"));
    test_proc_kill(d.p);

    struct test_proc *w =
        rig_fleet(&d.r, 1, RIG_ENV("WEBHOOK_TERMINATION_GRACE=146s", "WEBHOOK_DRAIN_TIMEOUT=130s"));
    cr_expect(!test_proc_logged(w, "grace_too_short"), "%s", test_proc_log(w));
}
