/* As an image runs them: each program the first process of its name space, under a number that is no user,
 * without a home, without standard input, on a file system of which only the spool can be written. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(container, .timeout = 120);

enum { SOON = 20000, USER = 10001 };

#define NAME_SPACES "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation=private"

static bool permitted(void)
{
    struct test_proc *p = test_proc_start(
        (const char *const[]){NAME_SPACES, "--", "mount", "-o", "remount,bind,ro", "/", NULL}, NULL,
        -1);
    return test_proc_wait(p, SOON) == 0;
}

#define NEEDS_NAME_SPACES()                                                                        \
    if (!permitted())                                                                              \
    cr_skip_test("name spaces of one's own need root and a kernel that lets it make them")

static const char *spool(void)
{
    return harness_text("%s/spool-of-10001", harness_dir());
}

/* A copy that anybody may run. */
static const char *copy_of(const char *name)
{
    const char *copy = harness_text("%s/%s", harness_dir(), name);
    struct test_proc *p = test_proc_start(
        (const char *const[]){"install", "-m", "755", rig_program(name), copy, NULL}, NULL, -1);
    cr_assert_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
    return copy;
}

/* Words of one program, and settings besides the rig's. */
static struct test_proc *boxed(
    struct rig *r, const char *name, const char *words, const char *const *env)
{
    chmod(harness_dir(), 0711);
    mkdir(spool(), 0700);
    cr_assert_eq(chown(spool(), USER, USER), 0);
    const char *script = harness_text("mount --bind %s %s && mount -o remount,bind,ro / && cd / && "
                                      "exec env -u HOME -u TMPDIR setpriv --reuid=%d --regid=%d "
                                      "--clear-groups --no-new-privs --bounding-set=-all %s %s <&-",
        spool(), spool(), USER, USER, copy_of(name), words);
    return rig_start_program(
        r, (const char *const[]){NAME_SPACES, "--", "/bin/sh", "-c", script, NULL}, env, -1);
}

/* The program itself, as we see it from outside. */
static pid_t first_process(struct test_proc *p, const char *name)
{
    pid_t pid = 0;
    WAIT_FOR(harness_children(test_proc_pid(p), name, &pid, 1) == 1, SOON);
    return pid;
}

static bool is_first(pid_t pid)
{
    char line[256] = "";
    FILE *f = fopen(harness_text("/proc/%d/status", (int)pid), "re");
    bool first = false;
    while (f && fgets(line, sizeof(line), f))
        first |= strncmp(line, "NSpid:", 6) == 0 && strstr(line, "\t1\n") != NULL;
    if (f)
        fclose(f);
    return first;
}

/* A process whose parent has left it to the first of its name space. */
static pid_t give_orphan(pid_t to)
{
    pid_t orphan = 0;
    struct test_proc *p =
        test_proc_start((const char *const[]){"nsenter", harness_text("--target=%d", (int)to),
                            "--pid", "--", "/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 &", NULL},
            NULL, -1);
    cr_assert_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
    WAIT_FOR(harness_children(to, "sleep", &orphan, 1) == 1, SOON);
    return orphan;
}

static void expect_reaped(pid_t first)
{
    pid_t orphan = give_orphan(first);
    kill(orphan, SIGKILL);
    WAIT_FOR(harness_proc_state(orphan) == 0, SOON); /* a zombie would be Z */
}

Test(container, a_worker_runs_as_process_1_reaps_orphans_and_ends_with_0)
{
    NEEDS_NAME_SPACES();
    struct rig r = {0};
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = boxed(&r, "hookline-worker", "",
        RIG_ENV(harness_text("WEBHOOK_ADMIN_PORT=%d", port), "WEBHOOK_ADMIN_HOST=127.0.0.1"));
    pid_t first = first_process(p, "hookline-worker");
    WAIT_FOR(test_http(port, "GET", "/readyz", NULL, NULL, 0).status == 200, SOON);
    cr_expect(is_first(first));
    struct rig_id id = rig_post(&r, "/x");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);

    expect_reaped(first);
    pid_t children[8];
    int n = harness_children(first, NULL, children, 8);
    cr_assert_geq(n, 4);
    kill(children[0], SIGKILL);
    WAIT_FOR(harness_proc_state(children[0]) == 0, SOON);
    WAIT_FOR(harness_children(first, NULL, children, 8) == n, SOON);

    kill(first, SIGTERM);
    cr_expect_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
}

Test(container, a_producer_runs_as_process_1_and_spools_where_it_may)
{
    NEEDS_NAME_SPACES();
    struct rig r = {0};
    rig_start_own_pg(&r);
    int port = harness_free_port();
    struct test_proc *p = boxed(&r, "hookline-producer", "",
        RIG_ENV(harness_text("WEBHOOK_PORT=%d", port), "WEBHOOK_HOST=127.0.0.1",
            "WEBHOOK_PRODUCERS=2", harness_text("WEBHOOK_SPOOL_DIR=%s", spool())));
    pid_t first = first_process(p, "hookline-producer");
    WAIT_FOR(rig_serves(port), SOON);
    cr_expect(is_first(first));
    expect_reaped(first);

    struct rig_id id;
    int before = r.producer_port;
    r.producer_port = port;
    test_pg_kill(r.pg);
    cr_expect(rig_try_post(&r, "/x", &id), "into the spool: %s", test_proc_log(p));
    test_pg_restart(r.pg);
    WAIT_FOR(rig_rows(&r, "true") == 1, SOON);
    r.producer_port = before;

    kill(first, SIGTERM);
    cr_expect_eq(test_proc_wait(p, SOON), 0, "%s", test_proc_log(p));
}

/* What descriptor fd of a process is. */
static const char *what_is(pid_t pid, int fd)
{
    char *to = harness_text("%256s", "");
    ssize_t n = readlink(harness_text("/proc/%d/fd/%d", (int)pid, fd), to, 256);
    to[n > 0 ? n : 0] = '\0';
    return to;
}

Test(container, no_connection_gets_the_number_of_a_closed_standard_file)
{
    struct rig r = {0};
    int port = harness_free_port();
    rig_start(&r);
    struct test_proc *p = rig_start_program(&r,
        (const char *const[]){"/bin/sh", "-c",
            harness_text("exec %s <&- >&- 2>&-", rig_program("hookline-producer")), NULL},
        RIG_ENV(harness_text("WEBHOOK_PORT=%d", port), "WEBHOOK_HOST=127.0.0.1",
            harness_text("WEBHOOK_SPOOL_DIR=%s/spool2", harness_dir())),
        -1);
    WAIT_FOR(rig_serves(port), SOON);
    pid_t pids[8];
    int n = harness_children(test_proc_pid(p), NULL, pids, 7);
    pids[n++] = test_proc_pid(p);
    for (int i = 0; i < n; i++)
        for (int fd = 0; fd < 3; fd++)
            cr_expect_str_eq(what_is(pids[i], fd), "/dev/null", "fd %d", fd);
    test_proc_signal(p, SIGTERM);
    cr_expect_eq(test_proc_wait(p, SOON), 0);
}

Test(container, hooklinectl_needs_no_home_and_no_name)
{
    NEEDS_NAME_SPACES();
    static const struct {
        const char *words, *says;
    } rows[] = {
        {"--help",                  "hooklinectl"  },
        {"migrate --await 1s",      "is at version"},
        {"migrate",                 "applied"      },
        {"status",                  "QUEUE"        },
        {"health producer --ready", "producer: ok" },
        {"pause crawl --yes",       ""             },
        {"doctor",                  " ok, "        },
    };
    struct rig r = {0};
    rig_start(&r);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct test_proc *p = boxed(&r, "hooklinectl", rows[i].words,
            RIG_ENV(harness_text("WEBHOOK_PORT=%d", r.producer_port),
                harness_text("WEBHOOK_SPOOL_DIR=%s", spool())));
        int code = test_proc_wait(p, SOON);
        bool doctor = strcmp(rows[i].words, "doctor") == 0; /* has its say about this machine */
        cr_expect(code == 0 || (doctor && code == 1), "%s: %d\n%s", rows[i].words, code,
            test_proc_log(p));
        cr_expect(
            strstr(test_proc_log(p), rows[i].says), "%s:\n%s", rows[i].words, test_proc_log(p));
    }
}
