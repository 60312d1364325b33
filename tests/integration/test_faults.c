/* What the machines below do: a host cut off from the network, a wrong clock, a full disk of
 * PostgreSQL, a process that stops in the middle of everything. Every event ends completed once. */
#include "tests/support/fleet.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(faults, .timeout = 90);

enum { SOON = 30000 };

/* --- a host that is cut off ------------------------------------------------------------------ */

struct island { /* a network namespace with one cable to us */
    char name[16], cable[16], ours[16], theirs[16];
};

static bool run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool run(const char *fmt, ...)
{
    char command[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    return system(command) == 0; /* NOLINT(cert-env33-c): fixed words and numbers only */
}

static struct island island;

static void remove_island(void)
{
    run("ip link del %s 2>/dev/null", island.cable);
    run("ip netns del %s 2>/dev/null", island.name);
}

static bool make_island(void)
{
    unsigned n = (unsigned)getpid();
    snprintf(island.name, sizeof(island.name), "hk%u", n);
    snprintf(island.cable, sizeof(island.cable), "hv%u", n);
    snprintf(island.ours, sizeof(island.ours), "10.77.%u.1", n % 250);
    snprintf(island.theirs, sizeof(island.theirs), "10.77.%u.2", n % 250);
    atexit(remove_island);
    return run("ip netns add %s 2>/dev/null", island.name) &&
           run("ip link add %s type veth peer name eth0 netns %s", island.cable, island.name) &&
           run("ip addr add %s/24 dev %s", island.ours, island.cable) &&
           run("ip link set %s up", island.cable) &&
           run("ip -n %s addr add %s/24 dev eth0", island.name, island.theirs) &&
           run("ip -n %s link set eth0 up", island.name) &&
           run("ip -n %s link set lo up", island.name);
}

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ? fd : -1;
}

static bool pass(int from, int to)
{
    char bytes[16384];
    ssize_t n = read(from, bytes, sizeof(bytes));
    return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void pump(int a, int b)
{
    struct pollfd p[2] = {
        {a, POLLIN, 0},
        {b, POLLIN, 0}
    };
    while (b >= 0 && poll(p, 2, -1) > 0)
        if ((p[0].revents && !pass(a, b)) || (p[1].revents && !pass(b, a)))
            return;
}

/* The island's door to a server on our loopback: same port, our end of the cable. A process for
 * each connection; they end with the test. */
static void open_door(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, island.ours, &at.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    cr_assert_eq(listen(fd, 64), 0);
    pid_t parent = getpid(), pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_IGN);
        for (int c; getppid() == parent && (c = accept(fd, NULL, NULL)) >= 0; close(c)) {
            if (fork() == 0) {
                pump(c, dial(port));
                _exit(0);
            }
        }
        _exit(0);
    }
    close(fd);
}

static int port_in(const char *url)
{
    return atoi(strrchr(url, ':') + 1);
}

static struct test_proc *fleet_on_the_island(struct rig *r)
{
    open_door(port_in(r->db));
    open_door(port_in(test_redis_url(r->redis)));
    open_door(r->firecrawl_port);
    r->netns = island.name;
    struct test_proc *fleet = rig_fleet(r, 1,
        RIG_ENV(harness_text("WEBHOOK_DATABASE_URL=postgresql://postgres@%s:%d/%s", island.ours,
                    port_in(r->db), strrchr(r->db, '/') + 1),
            harness_text(
                "WEBHOOK_REDIS_URL=redis://%s:%d", island.ours, port_in(test_redis_url(r->redis))),
            harness_text(
                "WEBHOOK_FIRECRAWL_API_URL=http://%s:%d", island.ours, r->firecrawl_port)));
    r->netns = NULL;
    return fleet;
}

Test(faults, a_host_cut_off_lets_go_and_another_does_its_work)
{
    struct rig r;
    if (geteuid() != 0 || !make_island())
        cr_skip_test("making a network namespace is not permitted here");
    rig_start(&r);
    struct test_proc *cut = fleet_on_the_island(&r);
    struct rig_id id = rig_post(&r, "/hold/island");
    WAIT_FOR(rig_scrapes(&r, "/hold/island") == 1, SOON);
    const char *owner = rig_row(&r, id, "claimed_by");
    struct test_proc *other = rig_fleet(&r, 1, NULL);

    cr_assert(run("ip link set %s down", island.cable)); /* nobody is told that it is gone */
    WAIT_FOR(test_proc_logged(cut, "\"work_dropped\""), SOON);
    WAIT_FOR(rig_scrapes(&r, "/hold/island") == 2, SOON);
    cr_expect(test_proc_logged(other, "\"lease ran out\""), "%s", test_proc_log(other));
    cr_expect_str_neq(rig_row(&r, id, "claimed_by"), owner);
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    const char *row = rig_row(&r, id, "change_events");

    cr_assert(run("ip link set %s up", island.cable));
    WAIT_FOR(test_proc_logged(cut, "\"declared_dead\""), SOON);
    WAIT_FOR(rig_only_living(&r, 2), SOON); /* it works again, under a new name */
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_str_eq(rig_row(&r, id, "change_events"), row, "the late one changed nothing");
    cr_expect_eq(rig_scrapes(&r, "/hold/island"), 2);
}

/* --- a clock that is wrong ------------------------------------------------------------------- */

#define FAKETIME "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

static void clock_is_off(const char *offset)
{
    struct rig r;
    if (access(FAKETIME, R_OK) != 0 || getenv("SANITIZED"))
        cr_skip_test("libfaketime is not there, or does not go together with sanitizers");
    rig_start(&r);
    struct test_proc *right = rig_fleet(&r, 1, NULL);
    struct test_proc *wrong = rig_fleet(&r, 1,
        RIG_ENV("LD_PRELOAD=" FAKETIME, harness_text("FAKETIME=%s", offset),
            "FAKETIME_DONT_FAKE_MONOTONIC=1"));
    const char *names =
        sql_text(r.db, "SELECT string_agg(id, ',' ORDER BY id) FROM webhook.workers");
    for (int i = 0; i < 40; i++)
        rig_post(&r, "/slow/100/%d", i);
    /* Twice the lease and more: each of the two has judged the other's beats. */
    long beats = sql_int(r.db, "SELECT min(beat) FROM webhook.workers");
    WAIT_FOR(sql_int(r.db, "SELECT min(beat) FROM webhook.workers") >= beats + 8, SOON);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND claim_epoch = 1") == 40, SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(DISTINCT claimed_by) FROM webhook.change_events"), 2);
    cr_expect_str_eq(
        sql_text(r.db, "SELECT string_agg(id, ',' ORDER BY id) FROM webhook.workers"), names);
    cr_expect_not(test_proc_logged(right, "declared_dead"), "%s", test_proc_log(right));
    cr_expect_not(test_proc_logged(wrong, "declared_dead"), "%s", test_proc_log(wrong));
}

Test(faults, a_clock_an_hour_ahead_ends_no_lease)
{
    clock_is_off("+1h");
}

Test(faults, a_clock_an_hour_behind_ends_no_lease)
{
    clock_is_off("-1h");
}

/* --- a disk of PostgreSQL that is full ------------------------------------------------------- */

static void small_tablespace(struct rig *r, const char *dir)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0777") < 0)
        cr_skip_test("mounting a small file system is not permitted here");
    (void)r;
}

Test(faults, while_the_disk_of_postgres_is_full_events_are_spooled)
{
    struct rig r;
    const char *dir = harness_text("%s/disk", harness_dir());
    cr_assert_eq(mkdir(dir, 0700), 0);
    small_tablespace(&r, dir); /* before PostgreSQL starts: it must see the mount */
    test_pg_give(dir);
    rig_start_own_pg(&r);
    sql_exec(r.db, "CREATE TABLESPACE small LOCATION '%s'", dir);
    sql_exec(r.db, "ALTER TABLE webhook.change_events SET TABLESPACE small");
    sql_exec(r.db, "CREATE TABLE filler (t text) TABLESPACE small");
    sql_exec(r.db, "ALTER TABLE filler ALTER t SET STORAGE PLAIN");
    struct rig_id before = rig_post(&r, "/ok/before");
    cr_expect_str_eq(rig_row(&r, before, "rescrape_status"), "queued");
    /* Full to the last block: then events of some size find no room in the table. */
    PGconn *pg = PQconnectdb(r.db);
    for (;;) {
        PGresult *res = PQexec(pg, "INSERT INTO filler SELECT repeat('x', 7000)");
        bool full = PQresultStatus(res) != PGRES_COMMAND_OK;
        if (full)
            cr_expect_str_eq(PQresultErrorField(res, PG_DIAG_SQLSTATE), "53100");
        PQclear(res);
        if (full)
            break;
    }
    PQfinish(pg);
    enum { EVENTS = 120 };
    for (int i = 0; i < EVENTS; i++)
        rig_post(&r, "/ok/%d", i); /* each is answered 202 */
    WAIT_FOR(test_proc_logged(r.producer, "accept_failed"), SOON);
    cr_expect_lt(rig_rows(&r, "true"), EVENTS + 1, "the disk was not full");

    sql_exec(r.db, "DROP TABLE filler");
    sql_exec(r.db, "CHECKPOINT"); /* only then are the files of a dropped table gone */
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == EVENTS + 1, SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* --- a process that stops anywhere ----------------------------------------------------------- */

/* Of events: those that hold a lock on their table. Measurements go in several packets, so that their
 * transaction may be cut in two; nobody waits for what it locks. */
static long open_transactions(struct rig *r)
{
    return sql_int(r->db, "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()"
                          " AND database = (SELECT oid FROM pg_database"
                          "   WHERE datname = current_database())"
                          " AND relation = 'webhook.change_events'::regclass");
}

Test(faults, a_process_stopped_anywhere_leaves_no_transaction_open)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_LEASE_SECONDS=30"));
    pid_t pid = rig_worker(&r);
    enum { STOPS = 25, EACH = 12 };
    for (int i = 0; i < STOPS; i++) {
        for (int k = 0; k < EACH; k++)
            rig_post(&r, "/ok/%d-%d", i, k);
        WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") > i * EACH, SOON);
        kill(pid, SIGSTOP); /* in the midst of its transactions, more often than not */
        WAIT_FOR(harness_proc_state(pid) == 'T', SOON);
        WAIT_FOR(open_transactions(&r) == 0, SOON);
        kill(pid, SIGCONT);
    }
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == STOPS * EACH, SOON);
}

Test(faults, a_session_that_idles_in_a_transaction_only_delays_what_it_locks)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DB_STATEMENT_TIMEOUT=1"));
    struct rig_id held = rig_post(&r, "/hold/locked");
    WAIT_FOR(rig_scrapes(&r, "/hold/locked") == 1, SOON);
    PGconn *idler = PQconnectdb(r.db);
    PQclear(PQexec(idler, "BEGIN; SELECT * FROM webhook.change_events FOR UPDATE"));
    rig_release(&r);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, SOON);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 0, SOON);
    cr_expect_str_eq(rig_row(&r, held, "rescrape_status"), "in_progress", "its deadline passed");
    PQfinish(idler);
    WAIT_FOR(rig_status_is(&r, held, "completed"), SOON);
    cr_expect_str_eq(rig_row(&r, held, "claim_epoch, attempts"), "1|0");
    cr_expect_eq(rig_scrapes(&r, "/hold/locked"), 1);
}
