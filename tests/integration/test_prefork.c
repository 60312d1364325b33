/* prefork: a supervisor in a forked child of the test, with children that behave as the test
 * wants. What they do is written down in memory shared by all; time passes faster where the test
 * says so. */
#include "io/prefork.h"

#include "base/clock.h"
#include "base/mem.h"
#include "io/board.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STARTS = 256, PATIENCE_MS = 20000 };

/* Shared by the test, the supervisor and its children. */
struct notebook {
    _Atomic int64_t ahead_us; /* the clock of prefork is this much ahead */
    _Atomic int starts, exits, terms;
    _Atomic int fail_first;   /* so many children leave at once, with status 3 */
    _Atomic int may_be_ready; /* careful ones say that they are ready from now on */
    _Atomic int tired;        /* so many of them have had enough */
    _Atomic int quiets, states, reloads;
    _Atomic int alive, most_alive;    /* careful ones, at once */
    _Atomic int bad_settings;         /* what on_reload finds */
    _Atomic int count;                /* children of the first role, as it finds; 0 = as before */
    _Atomic int settings[MAX_STARTS]; /* each start's: how often they were read before */
    _Atomic int quiet_at[MAX_STARTS]; /* its slot said so at the start */
    _Atomic int pids[MAX_STARTS];
    struct place_note {
        char process[32];
        int64_t requests, connections, starts, crashes, ready;
    } place[MAX_STARTS];                    /* what its place on the board said at its start */
    _Atomic int64_t started_at[MAX_STARTS]; /* clock_mono_ms */
    struct exit_note {
        char role[16], instance[32], extra[16];
        int index, pid, code, signo, expected, hung, unready, oom, crash, crashes;
        int64_t lived_ms;
        size_t name_len, extra_size;
    } exit[MAX_STARTS];
};
static struct notebook *board;
static pid_t supervisor;
static struct prefork_role fleet[4]; /* the supervisor's own copy counts */
static int64_t ready_timeout_ms, drain_delay_ms;

static int64_t real_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t shifted_us(void)
{
    return real_us() + atomic_load(&board->ahead_us);
}

static void pass_time(int64_t ms)
{
    atomic_fetch_add(&board->ahead_us, ms * 1000);
}

/* --- children ---------------------------------------------------------------------------- */

static void begin(struct prefork_slot *slot, int index)
{
    int n = atomic_load(&board->starts);
    if (slot->instance[0] || slot->extra[0])
        exit(99); /* of the one before */
    snprintf(slot->instance, sizeof(slot->instance), "instance-%d", index);
    snprintf((char *)slot->extra, 16, "extra-%d", index);
    while (!atomic_compare_exchange_weak(&board->starts, &n, n + 1))
        ;
    if (n < MAX_STARTS) {
        atomic_store(&board->started_at[n], clock_mono_ms());
        atomic_store(&board->settings[n], atomic_load(&board->reloads));
        atomic_store(&board->quiet_at[n], prefork_quiet(slot));
        atomic_store(&board->pids[n], getpid());
    }
}

static volatile sig_atomic_t got_term;

static void on_term(int signo)
{
    (void)signo;
    got_term++;
}

static void watch_term(void)
{
    struct sigaction sa = {.sa_handler = on_term};
    sigaction(SIGTERM, &sa, NULL);
}

static bool nap(struct prefork_slot *slot)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    return prefork_beat(slot);
}

/* Works until told to leave, or until its supervisor is gone. */
static int good(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    watch_term();
    begin(slot, index);
    while (!got_term && nap(slot))
        ;
    atomic_fetch_add(&board->terms, got_term);
    return 0;
}

/* Its death signal got lost. */
static int unprotected(struct prefork_slot *slot, int index, void *ctx)
{
    prctl(PR_SET_PDEATHSIG, 0);
    return good(slot, index, ctx);
}

static void on_quiet(int signo)
{
    (void)signo;
    atomic_fetch_add(&board->quiets, 1);
}

static void on_state(int signo)
{
    (void)signo;
    atomic_fetch_add(&board->states, 1);
}

static void come(void)
{
    int now = atomic_fetch_add(&board->alive, 1) + 1;
    int most = atomic_load(&board->most_alive);
    while (now > most && !atomic_compare_exchange_weak(&board->most_alive, &most, now))
        ;
}

/* Does all that a child may do. */
static int careful(struct prefork_slot *slot, int index, void *ctx)
{
    bool said = false;
    (void)ctx;
    watch_term();
    signal(PREFORK_QUIET, on_quiet);
    signal(PREFORK_STATE, on_state);
    come();
    begin(slot, index);
    while (!got_term && nap(slot)) {
        if (atomic_load(&board->may_be_ready))
            prefork_ready(slot);
        if (!said && atomic_load(&board->tired) > 0 && atomic_fetch_sub(&board->tired, 1) > 0) {
            said = true;
            prefork_retire(slot);
        }
    }
    atomic_fetch_sub(&board->alive, 1);
    return 0;
}

static int first_dies_young(struct prefork_slot *slot, int index, void *ctx)
{
    if (index > 0)
        return good(slot, index, ctx);
    begin(slot, index);
    return 3;
}

static int dies_young(struct prefork_slot *slot, int index, void *ctx)
{
    if (atomic_fetch_sub(&board->fail_first, 1) > 0) {
        begin(slot, index);
        return 3;
    }
    return good(slot, index, ctx);
}

static int asks_again(struct prefork_slot *slot, int index, void *ctx)
{
    if (atomic_fetch_sub(&board->fail_first, 1) > 0) {
        begin(slot, index);
        return PREFORK_AGAIN;
    }
    return good(slot, index, ctx);
}

static volatile sig_atomic_t got_hurry;

static void on_hurry(int signo)
{
    (void)signo;
    got_hurry = 1;
}

/* Leaves only when hurried. */
static int stubborn(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    signal(PREFORK_HURRY, on_hurry);
    watch_term();
    begin(slot, index);
    while (!got_hurry) {
        nap(slot);
        atomic_store(&board->terms, got_term);
    }
    return 0;
}

static int deaf(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    signal(SIGTERM, SIG_IGN);
    begin(slot, index);
    while (true)
        nap(slot);
    return 1;
}

static int silent(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    begin(slot, index);
    while (true)
        pause();
    return 1;
}

/* Beats and does nothing about signals, so that what it inherited shows. */
static int plain(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    begin(slot, index);
    while (true)
        nap(slot);
    return 1;
}

/* The same without a sanitizer's handler. */
static int unguarded(struct prefork_slot *slot, int index, void *ctx)
{
    signal(SIGSEGV, SIG_DFL);
    return plain(slot, index, ctx);
}

/* Takes memory until it is stopped. */
static int greedy(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    begin(slot, index);
    for (size_t size = 1 << 20; nap(slot);) {
        char *volatile p = malloc(size); /* clang leaves out what nobody looks at */
        if (p)
            memset(p, 1, size);
    }
    return 1;
}

/* Counts itself, and notes what was counted before. */
static int counts(struct prefork_slot *slot, int index, void *ctx)
{
    const struct board_place *p = &slot->board->places[slot->place];
    struct place_note *note = &board->place[atomic_load(&board->starts)];
    int all, ready;
    (void)ctx;
    board_count(slot->board, p->role, &all, &ready);
    *note = (struct place_note){.requests = meter_get(M_REQUESTS, 0, 0),
        .connections = meter_get(M_CONNECTIONS, 0, 0),
        .starts = atomic_load(&p->starts),
        .crashes = atomic_load(&p->crashes),
        .ready = ready};
    snprintf(note->process, sizeof(note->process), "%s", p->process);
    meter_inc(M_REQUESTS, 0, 0);
    meter_set(M_CONNECTIONS, 0, 0, 7);
    return good(slot, index, ctx);
}

/* Overwrites all that it can reach, and crashes. */
static int wild(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    begin(slot, index);
    memset(slot, 'x', sizeof(*slot) + slot->extra_size);
    abort();
}

static int signals_as_promised(struct prefork_slot *slot, int index, void *ctx)
{
    struct sigaction on_int, on_pipe, on_chld, on_term_;
    sigset_t blocked;
    int death = 0;
    (void)ctx;
    begin(slot, index);
    sigaction(SIGINT, NULL, &on_int);
    sigaction(SIGPIPE, NULL, &on_pipe);
    sigaction(SIGCHLD, NULL, &on_chld);
    sigaction(SIGTERM, NULL, &on_term_);
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    prctl(PR_GET_PDEATHSIG, &death);
    bool ok = on_int.sa_handler == SIG_IGN && on_pipe.sa_handler == SIG_IGN &&
              on_chld.sa_handler == SIG_DFL && on_term_.sa_handler == SIG_DFL &&
              !sigismember(&blocked, SIGTERM) && !sigismember(&blocked, SIGINT) &&
              !sigismember(&blocked, SIGCHLD) && death == SIGTERM;
    const int shared[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
        struct sigaction on_shared;
        sigaction(shared[i], NULL, &on_shared);
        ok = ok && on_shared.sa_handler == SIG_IGN && !sigismember(&blocked, shared[i]);
    }
    return ok ? 42 : 1;
}

/* --- the supervisor ---------------------------------------------------------------------- */

static void note_exit(const struct prefork_exit *e, void *ctx)
{
    int n = atomic_load(&board->exits);
    cr_assert_eq(ctx, board);
    if (n < MAX_STARTS) {
        struct exit_note *x = &board->exit[n];
        snprintf(x->role, sizeof(x->role), "%s", e->role);
        snprintf(x->instance, sizeof(x->instance), "%.31s", e->slot->instance);
        snprintf(x->extra, sizeof(x->extra), "%.15s", (const char *)e->slot->extra);
        x->index = e->index;
        x->pid = e->pid;
        x->code = e->code;
        x->signo = e->signo;
        x->expected = e->expected;
        x->hung = e->hung;
        x->oom = e->oom;
        x->crash = e->crash;
        x->unready = e->unready;
        x->crashes = e->slot->crashes;
        x->lived_ms = e->lived_ms;
        x->name_len = strlen(e->slot->instance);
        x->extra_size = e->slot->extra_size;
    }
    atomic_store(&board->exits, n + 1);
}

static struct prefork_conf conf;
static int64_t drain_timeout_ms = 1000; /* as the settings say when they are read again */

static bool read_settings(void *ctx)
{
    int count = atomic_load(&board->count);
    (void)ctx;
    atomic_fetch_add(&board->reloads, 1);
    if (atomic_load(&board->bad_settings))
        return false;
    if (count)
        fleet[0].count = count;
    conf.drain_timeout_ms = drain_timeout_ms;
    return true;
}

#ifdef __SANITIZE_ADDRESS__
/* The supervisor and its children are copies of a test of Criterion's: what that allocated is no
 * leak of theirs. Runs before the leak check. */
static void leave(int status, void *ctx)
{
    (void)ctx;
    _exit(status);
}
#define NO_LEAK_CHECK() on_exit(leave, NULL)
#else
#define NO_LEAK_CHECK() ((void)0)
#endif

/* In a process group of its own, so that whatever a failing test leaves can be killed. */
static void supervise(const struct prefork_role *roles, int64_t watchdog_ms)
{
    supervisor = fork();
    if (supervisor) {
        setpgid(supervisor, supervisor);
        return;
    }
    NO_LEAK_CHECK();
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    clock_replace(shifted_us, NULL);
    for (int i = 0; roles[i].name; i++)
        fleet[i] = roles[i];
    conf = (struct prefork_conf){.roles = fleet,
        .slot_extra = 16,
        .ready_timeout_ms = ready_timeout_ms,
        .watchdog_ms = watchdog_ms,
        .drain_delay_ms = drain_delay_ms,
        .drain_timeout_ms = 1000,
        .quiets = true,
        .on_reload = read_settings,
        .on_exit = note_exit,
        .ctx = board};
    exit(prefork_run(&conf));
}

static void start(void)
{
    harness_dir(); /* this process adopts orphans, so that it can see them end */
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(board, MAP_FAILED);
}

static void stop(void)
{
    if (supervisor > 0) {
        killpg(supervisor, SIGKILL);
        while (waitpid(-supervisor, NULL, 0) > 0)
            ;
    }
}

TestSuite(prefork, .init = start, .fini = stop, .timeout = 60);

/* One role with so many children, all of them up. */
static void supervise_all(
    int count, int (*run)(struct prefork_slot *, int, void *), int64_t watchdog_ms)
{
    const struct prefork_role roles[] = {
        {.name = "worker", .count = count, .run = run},
        {.name = NULL     }
    };
    supervise(roles, watchdog_ms);
    WAIT_FOR(atomic_load(&board->starts) >= count, PATIENCE_MS);
}

static int pid_of_start(int n)
{
    WAIT_FOR(atomic_load(&board->starts) > n && atomic_load(&board->pids[n]), PATIENCE_MS);
    return atomic_load(&board->pids[n]);
}

static const struct exit_note *exit_of(int n)
{
    WAIT_FOR(atomic_load(&board->exits) > n, PATIENCE_MS);
    return &board->exit[n];
}

/* Exit status of the supervisor, or 128 + signal. */
static int ended(void)
{
    int status = 0;
    WAIT_FOR(waitpid(supervisor, &status, WNOHANG) == supervisor, PATIENCE_MS);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- restarts ---------------------------------------------------------------------------- */

Test(prefork, a_child_that_is_killed_is_replaced)
{
    supervise_all(1, good, 0);
    int first = pid_of_start(0);
    kill(first, SIGKILL);
    const struct exit_note *e = exit_of(0);
    cr_expect_eq(e->pid, first);
    cr_expect_eq(e->signo, SIGKILL);
    cr_expect_eq(e->code, -1);
    cr_expect(!e->expected && !e->hung && e->crashes == 1);
    cr_expect_str_eq(e->role, "worker");
    cr_expect_str_eq(e->instance, "instance-0");
    cr_expect_str_eq(e->extra, "extra-0");
    cr_expect_neq(pid_of_start(1), first);
    cr_expect(harness_proc_state(pid_of_start(1)) != 0);
}

/* Only what a process does to itself is a crash: others send SIGKILL and SIGTERM. */
Test(prefork, a_crash_is_told_from_a_kill)
{
    static const struct {
        int signo, crash;
    } cases[] = {
        {SIGKILL, 0},
        {SIGTERM, 0},
        {SIGABRT, 1},
        {SIGSEGV, 1},
        {SIGALRM, 0},
    };
    supervise_all(1, unguarded, 0);
    for (int i = 0; i < (int)(sizeof(cases) / sizeof(*cases)); i++) {
        pass_time(60000); /* no backoff */
        kill(pid_of_start(i), cases[i].signo);
        const struct exit_note *e = exit_of(i);
        cr_expect_eq(e->signo, cases[i].signo);
        cr_expect_eq(e->crash, cases[i].crash, "signal %d", cases[i].signo);
        cr_expect(!e->oom && !e->hung);
    }
}

Test(prefork, leaving_with_a_status_is_no_crash)
{
    atomic_store(&board->fail_first, 1);
    supervise_all(1, dies_young, 0);
    const struct exit_note *e = exit_of(0);
    cr_expect_eq(e->code, 3);
    cr_expect(!e->crash && !e->oom);
}

/* --- out of memory ----------------------------------------------------------------------- */

static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A memory cgroup of 48 MiB with this process in it, so that the supervisor and its children will
 * be. Its name; NULL when this machine does not let us. */
static const char *small_cgroup(void)
{
    static const struct {
        const char *root, *limit, *swap;
    } versions[] = {
        {"/sys/fs/cgroup",        "memory.max",            "memory.swap.max"            },
        {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
    };
    static char folder[128];
    for (int i = 0; i < 2; i++) {
        snprintf(folder, sizeof(folder), "%s/hookline-test-%d", versions[i].root, (int)getpid());
        if (mkdir(folder, 0755) < 0)
            continue;
        if (write_file(folder, versions[i].limit, "50331648") &&
            write_file(folder, "cgroup.procs", "0")) {
            write_file(folder, versions[i].swap, i == 0 ? "0" : "50331648");
            return folder;
        }
        rmdir(folder);
    }
    return NULL;
}

static void leave_cgroup(const char *folder)
{
    char parent[128];
    snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(folder, '/') - folder), folder);
    write_file(parent, "cgroup.procs", "0");
    WAIT_FOR(rmdir(folder) == 0, PATIENCE_MS);
}

Test(prefork, a_child_killed_for_want_of_memory_has_crashed)
{
    const char *folder = small_cgroup();
    if (!folder)
        cr_skip_test("no memory cgroup can be made here");
    supervise_all(1, greedy, 0);
    const struct exit_note *e = exit_of(0);
    cr_expect_eq(e->signo, SIGKILL);
    cr_expect(e->oom && e->crash && !e->hung);
    int next = pid_of_start(1);
    WAIT_FOR(atomic_load(&board->exits) > 1, PATIENCE_MS);
    cr_expect(exit_of(1)->oom && exit_of(1)->pid == next, "every time");
    stop();
    supervisor = 0;
    leave_cgroup(folder);
}

/* The supervisor writes down a start when the child may be at work already. */
static const struct place_note *place_of_start(int n)
{
    pid_of_start(n);
    return &board->place[n];
}

Test(prefork, what_a_place_counted_stays_and_its_gauges_go_with_the_process)
{
    supervise_all(1, counts, 0);
    cr_expect_str_eq(place_of_start(0)->process, "worker-0");
    cr_expect_eq(place_of_start(0)->requests, 0);
    for (int i = 0; i < 2; i++) {
        kill(pid_of_start(i), SIGKILL);
        const struct place_note *p = place_of_start(i + 1);
        cr_expect_str_eq(p->process, "worker-0");
        cr_expect_eq(p->requests, i + 1);
        cr_expect_eq(p->connections, 0);
        cr_expect_eq(p->crashes, i + 1);
        cr_expect_geq(p->starts, i + 1);
        cr_expect_eq(p->ready, 0);
    }
}

Test(prefork, a_successor_has_a_place_of_its_own_while_both_are_there)
{
    supervise_all(1, counts, 0);
    kill(supervisor, SIGHUP);
    const struct place_note *p = place_of_start(1);
    cr_expect_str_eq(p->process, "worker-0.1");
    cr_expect_eq(p->requests, 0);
    cr_expect_eq(p->crashes, 0);
    WAIT_FOR(atomic_load(&board->exits) == 1, PATIENCE_MS);
    kill(supervisor, SIGHUP);
    p = place_of_start(2);
    cr_expect_str_eq(p->process, "worker-0");
    cr_expect_eq(p->requests, 1, "of the first one");
}

Test(prefork, a_child_that_leaves_is_replaced)
{
    atomic_store(&board->fail_first, 1);
    supervise_all(1, dies_young, 0);
    const struct exit_note *e = exit_of(0);
    cr_expect_eq(e->code, 3);
    cr_expect_eq(e->signo, 0);
    cr_expect(!e->expected && e->crashes == 1);
    pid_of_start(1);
}

Test(prefork, every_role_gets_its_children_and_each_its_slot)
{
    const struct prefork_role roles[] = {
        {.name = "worker",  .count = 3, .run = good},
        {.name = "janitor",      .count = 1, .run = good},
        {.name = NULL}
    };
    static const char *const extras[] = {"extra-0", "extra-1", "extra-2", "extra-0"};
    bool seen[4] = {false};
    supervise(roles, 0);
    for (int i = 0; i < 4; i++)
        pid_of_start(i);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
    cr_assert_eq(atomic_load(&board->exits), 4);
    for (int i = 0; i < 4; i++) {
        const struct exit_note *e = exit_of(i);
        int at = strcmp(e->role, "janitor") == 0 ? 3 : e->index;
        cr_assert(at >= 0 && at < 4 && !seen[at]);
        seen[at] = true;
        cr_expect_str_eq(e->extra, extras[at]);
    }
}

Test(prefork, who_dies_young_waits_longer_each_time)
{
    enum { DEATHS = 5, SLOW_MS = 50 }; /* at once, then after 100, 200, 400, 800 ms */
    atomic_store(&board->fail_first, DEATHS);
    supervise_all(1, dies_young, 0);
    pid_of_start(DEATHS);
    for (int i = 1; i <= DEATHS; i++) {
        int64_t gap = atomic_load(&board->started_at[i]) - atomic_load(&board->started_at[i - 1]);
        int64_t delay = i == 1 ? 0 : 100 << (i - 2);
        cr_expect_geq(gap, delay - SLOW_MS, "start %d after %lld ms", i, (long long)gap);
    }
}

Test(prefork, who_lived_long_enough_is_replaced_at_once_and_starts_anew)
{
    enum { DEATHS = 4 };
    atomic_store(&board->fail_first, DEATHS);
    supervise_all(1, dies_young, 0);
    int proven = pid_of_start(DEATHS); /* the next death would wait 800 ms, by now */
    pass_time(10000);
    int64_t killed_at = harness_now_ms();
    kill(proven, SIGKILL);
    int next = pid_of_start(DEATHS + 1);
    cr_expect_lt(harness_now_ms() - killed_at, 700, "it waited");
    cr_expect_geq(exit_of(DEATHS)->lived_ms, 10000);
    kill(next, SIGKILL); /* dies young, for the first time again */
    killed_at = harness_now_ms();
    pid_of_start(DEATHS + 2);
    cr_expect_lt(harness_now_ms() - killed_at, 700, "the backoff had not vanished");
}

static void let_pass(int ms)
{
    int64_t end = harness_now_ms() + ms;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
}

Test(prefork, what_a_child_lived_is_taken_off_its_pause)
{
    enum { DEATHS = 5 };
    atomic_store(&board->fail_first, DEATHS);
    supervise_all(1, dies_young, 0);
    int next = pid_of_start(DEATHS); /* its death would make a pause of 1600 ms */
    pass_time(5000);                 /* not enough to have proven itself */
    int64_t killed_at = harness_now_ms();
    kill(next, SIGKILL);
    pid_of_start(DEATHS + 1);
    cr_expect_lt(harness_now_ms() - killed_at, 800);
    cr_expect_lt(exit_of(DEATHS)->lived_ms, 10000);
}

Test(prefork, who_dies_young_for_ever_is_started_for_ever_and_the_others_go_on)
{
    supervise_all(2, first_dies_young, 0);
    int other = 0;
    for (int n = 2; n < 40; n++) {
        pass_time(10000); /* no pause is longer */
        pid_of_start(n);
    }
    for (int n = 0; n < 40; n++)
        if (harness_proc_state(pid_of_start(n)))
            other++;
    cr_expect_geq(other, 1, "the other one has not died");
    for (int n = 0; n < atomic_load(&board->exits); n++)
        cr_expect_eq(exit_of(n)->index, 0);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, who_asks_for_a_replacement_gets_it_at_once)
{
    enum { TIMES = 8 }; /* with backoff this would take more than 6 s */
    atomic_store(&board->fail_first, TIMES);
    supervise_all(1, asks_again, 0);
    pid_of_start(TIMES);
    int64_t took = atomic_load(&board->started_at[TIMES]) - atomic_load(&board->started_at[0]);
    cr_expect_lt(took, 3000, "%lld ms", (long long)took);
    cr_expect_eq(exit_of(0)->code, PREFORK_AGAIN);
}

/* --- the watchdog ------------------------------------------------------------------------ */

Test(prefork, a_silent_child_is_aborted)
{
    supervise_all(1, silent, 5000);
    pass_time(5000);
    const struct exit_note *e = exit_of(0);
    cr_expect(e->hung && e->crash && !e->oom);
    cr_expect_eq(e->signo, SIGABRT);
    cr_expect_not(e->expected);
    pid_of_start(1);
}

static bool is_pending(int pid, int signo)
{
    char path[64], line[256];
    unsigned long long set = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "ShdPnd: %llx", &set) == 1)
            break;
    if (f)
        fclose(f);
    return set >> (signo - 1) & 1;
}

Test(prefork, a_stopped_child_is_killed)
{
    supervise_all(1, good, 5000);
    int pid = pid_of_start(0);
    kill(pid, SIGSTOP);
    WAIT_FOR(harness_proc_state(pid) == 'T', PATIENCE_MS);
    pass_time(5000); /* SIGABRT stays pending */
    WAIT_FOR(is_pending(pid, SIGABRT), PATIENCE_MS);
    cr_expect_eq(harness_proc_state(pid), 'T');
    pass_time(3000);
    const struct exit_note *e = exit_of(0);
    cr_expect(e->hung);
    cr_expect_eq(e->pid, pid);
    cr_expect(e->signo == SIGKILL || e->signo == SIGABRT);
    pid_of_start(1);
}

Test(prefork, a_child_that_beats_is_left_alone)
{
    supervise_all(1, good, 2000);
    int pid = pid_of_start(0);
    for (int i = 0; i < 10; i++) {
        int64_t end = harness_now_ms() + 150; /* each second of theirs, with many beats in it */
        pass_time(1000);
        WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    }
    cr_expect_eq(atomic_load(&board->exits), 0);
    cr_expect_eq(atomic_load(&board->starts), 1);
    cr_expect_neq(harness_proc_state(pid), 0);
}

Test(prefork, without_a_watchdog_nobody_is_judged)
{
    supervise_all(1, silent, 0);
    int64_t end = harness_now_ms() + 400;
    pass_time(3600000);
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0);
}

/* --- coming up --------------------------------------------------------------------------- */

Test(prefork, a_child_without_a_sign_of_life_is_killed_as_not_ready)
{
    ready_timeout_ms = 5000;
    supervise_all(1, silent, 0);
    pass_time(4000);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0, "not before its time");
    pass_time(1000);
    const struct exit_note *e = exit_of(0);
    cr_expect(e->unready && !e->hung && !e->expected);
    cr_expect_eq(e->signo, SIGABRT);
    pid_of_start(1);
}

Test(prefork, a_child_stopped_before_its_first_sign_of_life_is_killed)
{
    ready_timeout_ms = 5000;
    supervise_all(1, silent, 0);
    int pid = pid_of_start(0);
    kill(pid, SIGSTOP);
    WAIT_FOR(harness_proc_state(pid) == 'T', PATIENCE_MS);
    pass_time(5000);
    WAIT_FOR(is_pending(pid, SIGABRT), PATIENCE_MS);
    pass_time(3000);
    cr_expect(exit_of(0)->unready);
    pid_of_start(1);
}

Test(prefork, the_watchdog_waits_for_the_first_sign_of_life)
{
    ready_timeout_ms = 20000;
    supervise_all(1, silent, 2000);
    pass_time(10000);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0);
    pass_time(10000);
    cr_expect(exit_of(0)->unready && !exit_of(0)->hung);
}

Test(prefork, who_is_up_is_the_watchdogs_business)
{
    ready_timeout_ms = 2000;
    supervise_all(1, good, 60000);
    let_pass(100); /* beats */
    pass_time(5000);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0);
}

/* --- new settings, successors ------------------------------------------------------------ */

static void supervise_careful(int count)
{
    const struct prefork_role roles[] = {
        {.name = "worker", .count = count, .run = careful, .says_ready = true},
        {0 }
    };
    supervise(roles, 0);
    WAIT_FOR(atomic_load(&board->starts) >= count, PATIENCE_MS);
    pid_of_start(count - 1);
}

Test(prefork, sighup_replaces_one_after_another_when_the_next_is_ready)
{
    supervise_careful(3);
    kill(supervisor, SIGHUP);
    pid_of_start(3);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), 4, "the first successor is not ready");
    cr_expect_eq(atomic_load(&board->exits), 0, "nobody leaves before");
    atomic_store(&board->may_be_ready, 1);
    for (int i = 0; i < 3; i++) {
        cr_expect(exit_of(i)->expected && exit_of(i)->code == 0 && exit_of(i)->crashes == 0);
        cr_expect_eq(atomic_load(&board->settings[3 + i]), 1);
        pid_of_start(3 + i);
    }
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), 6);
    cr_expect_eq(atomic_load(&board->alive), 3);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, settings_that_are_refused_change_nobody)
{
    atomic_store(&board->may_be_ready, 1);
    atomic_store(&board->bad_settings, 1);
    supervise_careful(2);
    kill(supervisor, SIGHUP);
    WAIT_FOR(atomic_load(&board->reloads) == 1, PATIENCE_MS);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), 2);
    atomic_store(&board->bad_settings, 0);
    kill(supervisor, SIGHUP);
    exit_of(1);
    WAIT_FOR(atomic_load(&board->starts) == 4, PATIENCE_MS);
}

/* The first reload was a mistake: its successor never becomes ready. */
Test(prefork, the_next_reload_drops_a_successor_that_does_not_become_ready)
{
    supervise_careful(1);
    kill(supervisor, SIGHUP);
    int stuck = pid_of_start(1);
    kill(supervisor, SIGHUP);
    cr_expect_eq(exit_of(0)->pid, stuck);
    cr_expect(exit_of(0)->expected);
    pid_of_start(2);
    cr_expect_neq(harness_proc_state(pid_of_start(0)), 0, "the old one works on");
    atomic_store(&board->may_be_ready, 1);
    cr_expect_eq(exit_of(1)->pid, pid_of_start(0));
    cr_expect_eq(atomic_load(&board->settings[2]), 2);
}

Test(prefork, a_successor_that_dies_is_started_again_and_the_old_one_stays)
{
    supervise_careful(1);
    kill(supervisor, SIGHUP);
    kill(pid_of_start(1), SIGKILL);
    cr_expect_eq(exit_of(0)->signo, SIGKILL);
    pid_of_start(2);
    cr_expect_neq(harness_proc_state(pid_of_start(0)), 0);
    atomic_store(&board->may_be_ready, 1);
    cr_expect_eq(exit_of(1)->pid, pid_of_start(0));
    cr_expect(exit_of(1)->expected);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), 3);
}

Test(prefork, a_role_that_is_alone_leaves_before_its_successor_starts)
{
    const struct prefork_role roles[] = {
        {.name = "janitor", .count = 1, .run = careful, .alone = true},
        {0  }
    };
    supervise(roles, 0);
    int old = pid_of_start(0);
    for (int i = 1; i <= 3; i++) {
        kill(supervisor, SIGHUP);
        pid_of_start(i);
        cr_expect_eq(atomic_load(&board->settings[i]), i);
        cr_expect(exit_of(i - 1)->expected && exit_of(i - 1)->crashes == 0);
    }
    cr_expect_eq(exit_of(0)->pid, old);
    cr_expect_eq(atomic_load(&board->most_alive), 1);
}

Test(prefork, who_has_had_enough_works_until_its_successor_is_ready)
{
    enum { N = 3 };
    supervise_careful(N);
    atomic_store(&board->tired, N);
    WAIT_FOR(atomic_load(&board->tired) <= 0, PATIENCE_MS);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), N, "too young to be replaced");
    pass_time(1000);
    pid_of_start(N);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0);
    atomic_store(&board->may_be_ready, 1);
    for (int i = 0; i < N; i++)
        cr_expect(exit_of(i)->expected && exit_of(i)->code == 0 && exit_of(i)->crashes == 0);
    WAIT_FOR(atomic_load(&board->alive) == N, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->starts), 2 * N, "one for each, without a pause");
}

/* Successors that are not ready are what is counted: one at a time. */
Test(prefork, one_successor_is_started_at_a_time)
{
    enum { N = 4 };
    supervise_careful(N);
    atomic_store(&board->tired, N);
    WAIT_FOR(atomic_load(&board->tired) <= 0, PATIENCE_MS);
    pass_time(1000);
    pid_of_start(N);
    kill(supervisor, SIGHUP); /* the first successor leaves, another takes its turn */
    exit_of(0);
    pid_of_start(N + 1);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->alive), N + 1);
    cr_expect_leq(atomic_load(&board->most_alive), N + 2);
}

Test(prefork, who_does_not_leave_for_its_successor_is_killed)
{
    const struct prefork_role roles[] = {
        {.name = "worker", .count = 1, .run = deaf},
        {0    }
    };
    supervise(roles, 0);
    int old = pid_of_start(0);
    kill(supervisor, SIGHUP);
    pid_of_start(1);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0, "not before its time is over");
    pass_time(6000); /* the drain's second, and what a child may take beyond it */
    cr_expect_eq(exit_of(0)->pid, old);
    cr_expect_eq(exit_of(0)->signo, SIGKILL);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->starts), 2);
}

/* Shorter by the new settings, but the old process goes by those it has. */
Test(prefork, who_leaves_has_the_time_that_its_own_settings_give)
{
    const struct prefork_role roles[] = {
        {.name = "worker", .count = 1, .run = deaf},
        {0    }
    };
    drain_timeout_ms = 0;
    supervise(roles, 0);
    pid_of_start(0);
    kill(supervisor, SIGHUP);
    pid_of_start(1);
    pass_time(5100); /* more than the new ones give, less than its own second and the grace */
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0);
    pass_time(1000);
    cr_expect_eq(exit_of(0)->signo, SIGKILL);
}

/* --- more, fewer ------------------------------------------------------------------------- */

static bool living(int n)
{
    return atomic_load(&board->alive) == n;
}

Test(prefork, sigttin_and_sigttou_add_and_remove_one)
{
    atomic_store(&board->may_be_ready, 1);
    supervise_careful(1);
    kill(supervisor, SIGTTOU);
    let_pass(300);
    cr_expect(living(1), "at least one stays");
    for (int n = 2; n <= 3; n++) {
        kill(supervisor, SIGTTIN);
        WAIT_FOR(living(n), PATIENCE_MS);
    }
    kill(supervisor, SIGTTOU);
    const struct exit_note *e = exit_of(0);
    cr_expect(e->expected && e->code == 0);
    cr_expect_eq(e->index, 2, "the last one leaves");
    WAIT_FOR(living(2), PATIENCE_MS);
    kill(supervisor, SIGHUP); /* the number stays: the settings name the one they named */
    exit_of(2);
    WAIT_FOR(living(2), PATIENCE_MS);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, new_settings_may_name_another_number)
{
    atomic_store(&board->may_be_ready, 1);
    supervise_careful(2);
    atomic_store(&board->count, 4);
    kill(supervisor, SIGHUP);
    exit_of(1); /* two are replaced, two are new */
    WAIT_FOR(living(4), PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->starts), 6);
    atomic_store(&board->count, 1);
    kill(supervisor, SIGHUP);
    exit_of(5); /* three leave, one is replaced */
    WAIT_FOR(living(1), PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->starts), 7);
}

/* --- quiet, state ------------------------------------------------------------------------ */

Test(prefork, sigusr1_makes_quiet_until_the_settings_are_read_again)
{
    atomic_store(&board->may_be_ready, 1);
    supervise_careful(2);
    kill(supervisor, SIGUSR1);
    WAIT_FOR(atomic_load(&board->quiets) == 2, PATIENCE_MS);
    kill(supervisor, SIGUSR1);
    WAIT_FOR(atomic_load(&board->quiets) == 4, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0, "quiet processes stay");
    kill(pid_of_start(0), SIGKILL);
    pid_of_start(2);
    cr_expect_eq(atomic_load(&board->quiet_at[2]), 1, "a process that replaces one is quiet too");
    kill(supervisor, SIGHUP);
    exit_of(2);
    pid_of_start(4);
    for (int i = 3; i < 5; i++)
        cr_expect_eq(atomic_load(&board->quiet_at[i]), 0);
}

Test(prefork, sigusr2_asks_everybody_for_its_state)
{
    supervise_careful(3);
    kill(supervisor, SIGUSR2);
    WAIT_FOR(atomic_load(&board->states) == 3, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0);
}

Test(prefork, what_is_sent_to_the_whole_group_kills_nobody)
{
    static const int shared[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};
    supervise_all(2, plain, 0); /* handles no signal */
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof(shared) / sizeof(shared[0]); k++)
            kill(pid_of_start(i), shared[k]);
    let_pass(300);
    cr_expect_eq(atomic_load(&board->exits), 0);
    for (int i = 0; i < 2; i++)
        cr_expect_neq(harness_proc_state(pid_of_start(i)), 'T');
}

/* --- the end ----------------------------------------------------------------------------- */

static void drains_on(int signo)
{
    supervise_all(3, good, 0);
    kill(supervisor, signo);
    cr_expect_eq(ended(), 0);
    cr_expect_eq(atomic_load(&board->starts), 3, "someone was started again");
    cr_expect_eq(atomic_load(&board->terms), 3, "one SIGTERM each");
    cr_expect_eq(atomic_load(&board->exits), 3);
    for (int i = 0; i < 3; i++) {
        cr_expect(exit_of(i)->expected && exit_of(i)->code == 0);
        cr_expect_eq(exit_of(i)->crashes, 0);
    }
}

Test(prefork, sigterm_drains)
{
    drains_on(SIGTERM);
}

Test(prefork, sigint_drains)
{
    drains_on(SIGINT);
}

Test(prefork, a_child_that_fails_during_the_drain_is_not_replaced)
{
    supervise_all(2, stubborn, 0);
    kill(supervisor, SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) > 0, PATIENCE_MS);
    kill(pid_of_start(0), SIGKILL);
    cr_expect_eq(exit_of(0)->signo, SIGKILL);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0, "it was not the supervisor who killed");
    cr_expect_eq(atomic_load(&board->starts), 2);
}

Test(prefork, a_second_sigterm_hurries_the_children)
{
    supervise_all(1, stubborn, 0);
    kill(supervisor, SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 1, PATIENCE_MS);
    cr_expect_eq(waitpid(supervisor, NULL, WNOHANG), 0, "it waits for its child");
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, a_log_reader_that_goes_away_does_not_take_the_supervisor_along)
{
    supervise_all(1, good, 0);
    pid_of_start(0);
    kill(supervisor, SIGPIPE);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, a_drain_that_is_delayed_begins_when_the_time_is_over)
{
    drain_delay_ms = 60000;
    supervise_all(2, good, 0);
    kill(supervisor, SIGTERM);
    kill(pid_of_start(0),
        SIGKILL); /* both signals are pending: the supervisor sees the first one first */
    pid_of_start(2);
    cr_expect_eq(atomic_load(&board->terms), 0, "nobody was asked to leave");
    cr_expect(!exit_of(0)->expected);
    pass_time(59000);
    cr_expect_eq(waitpid(supervisor, NULL, WNOHANG), 0);
    pass_time(1000);
    cr_expect_eq(ended(), 0);
    cr_expect_eq(atomic_load(&board->terms), 2);
    cr_expect_eq(atomic_load(&board->starts), 3);
}

Test(prefork, a_second_sigterm_ends_the_delay_and_a_third_hurries)
{
    drain_delay_ms = 60000;
    supervise_all(1, stubborn, 0);
    kill(supervisor, SIGTERM);
    WAIT_FOR(!is_pending(supervisor, SIGTERM), PATIENCE_MS); /* two that wait are one */
    kill(supervisor, SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 1, PATIENCE_MS);
    cr_expect_eq(waitpid(supervisor, NULL, WNOHANG), 0, "it waits for its child");
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

/* Leaves as soon as it must, and notes what came before. */
static int obedient(struct prefork_slot *slot, int index, void *ctx)
{
    (void)ctx;
    watch_term();
    begin(slot, index);
    while (!prefork_must_leave(slot) && nap(slot))
        atomic_store(&board->terms, got_term);
    return 0;
}

Test(prefork, a_child_knows_its_supervisors_sigterm_from_any_other)
{
    supervise_all(1, obedient, 0);
    kill(pid_of_start(0), SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 1, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
    cr_expect(exit_of(0)->expected && exit_of(0)->code == 0);
}

Test(prefork, the_longest_drain_counts_every_role_that_has_children)
{
    const struct prefork_role roles[] = {
        {.name = "worker", .count = 9},
        {.name = "solo",                .count = 1},
        {.name = "none",.count = 0},
        {.name = "admin",   .count = 1, .watches = true},
        {0               }
    };
    const struct prefork_conf one = {.roles = roles, .drain_timeout_ms = 130000};
    const struct prefork_conf two = {
        .roles = roles + 2, .drain_delay_ms = 15000, .drain_timeout_ms = 30000};
    cr_expect_eq(prefork_longest_drain(&one), 130000 + 5000 + 5000 + 500);
    cr_expect_eq(prefork_longest_drain(&two), 15000 + 30000 + 500);
}

/* A service manager sends SIGTERM to the whole group, and the supervisor passes its own on. */
Test(prefork, a_sigterm_from_elsewhere_is_no_hurry)
{
    supervise_all(1, stubborn, 0);
    kill(pid_of_start(0), SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 1, PATIENCE_MS);
    kill(supervisor, SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 2, PATIENCE_MS);
    cr_expect_eq(waitpid(supervisor, NULL, WNOHANG), 0, "it waits for its child");
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
}

Test(prefork, a_role_is_asked_to_leave_when_the_one_before_it_has_left)
{
    const struct prefork_role roles[] = {
        {.name = "worker",  .count = 1, .run = stubborn},
        {.name = "janitor",  .count = 1, .run = good},
        {0}
    };
    supervise(roles, 0);
    WAIT_FOR(atomic_load(&board->starts) == 2, PATIENCE_MS);
    kill(supervisor, SIGTERM);
    WAIT_FOR(atomic_load(&board->terms) == 1, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0, "the janitor stays while the worker drains");
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
    cr_expect_eq(atomic_load(&board->exits), 2);
    cr_expect_str_eq(exit_of(0)->role, "worker");
}

Test(prefork, who_does_not_leave_in_time_is_killed)
{
    supervise_all(2, deaf, 0);
    kill(supervisor, SIGTERM);
    int64_t end = harness_now_ms() + 300;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0, "not before the deadline");
    pass_time(6000); /* the drain's second, and what a child may take beyond it */
    cr_expect_eq(ended(), 1);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(exit_of(i)->signo, SIGKILL);
}

Test(prefork, whose_turn_to_leave_has_not_come_outlives_those_who_are_killed)
{
    const struct prefork_role roles[] = {
        {.name = "worker",  .count = 1, .run = deaf},
        {.name = "janitor",      .count = 1, .run = good},
        {0}
    };
    supervise(roles, 0);
    WAIT_FOR(atomic_load(&board->starts) == 2, PATIENCE_MS);
    kill(supervisor, SIGTERM);
    int64_t end = harness_now_ms() + 300;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    pass_time(6000);
    cr_expect_eq(ended(), 1);
    cr_expect_eq(exit_of(0)->signo, SIGKILL);
    cr_expect_str_eq(exit_of(1)->role, "janitor");
    cr_expect_eq(exit_of(1)->code, 0);
}

Test(prefork, a_second_signal_does_not_extend_the_deadline)
{
    supervise_all(1, deaf, 0);
    kill(supervisor, SIGTERM);
    int64_t end = harness_now_ms() + 300;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    pass_time(4000);
    kill(supervisor, SIGTERM);
    end = harness_now_ms() + 300;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    pass_time(2000);
    cr_expect_eq(ended(), 1);
}

static bool all_gone(int n)
{
    for (int i = 0; i < n; i++) {
        int pid = pid_of_start(i);
        waitpid(pid, NULL, WNOHANG); /* orphans become ours */
        if (harness_proc_state(pid))
            return false;
    }
    return true;
}

Test(prefork, children_die_with_their_supervisor)
{
    static int (*const kinds[])(struct prefork_slot *, int, void *) = {
        plain, silent, good, unprotected};
    for (int i = 0; i < 4; i++) {
        memset(board, 0, sizeof(*board));
        supervise_all(2, kinds[i], 0);
        pid_of_start(0);
        pid_of_start(1);
        kill(supervisor, SIGKILL);
        cr_expect_eq(ended(), 128 + SIGKILL);
        WAIT_FOR(all_gone(2), PATIENCE_MS);
    }
}

Test(prefork, an_interrupt_of_the_terminal_is_the_supervisors_alone)
{
    supervise_all(2, plain, 0);
    for (int i = 0; i < 2; i++)
        kill(pid_of_start(i), SIGINT);
    int64_t end = harness_now_ms() + 300;
    WAIT_FOR(harness_now_ms() >= end, PATIENCE_MS);
    cr_expect_eq(atomic_load(&board->exits), 0);
    killpg(supervisor, SIGINT); /* as Ctrl-C does */
    cr_expect_eq(ended(), 0);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(exit_of(i)->signo, SIGTERM);
}

Test(prefork, children_run_with_the_signals_they_were_promised)
{
    supervise_all(1, signals_as_promised, 0);
    cr_expect_eq(exit_of(0)->code, 42);
}

Test(prefork, a_slot_is_clean_for_the_next_child)
{
    atomic_store(&board->fail_first, 1);
    supervise_all(1, dies_young, 0);
    pid_of_start(1);
    cr_expect_str_eq(exit_of(0)->extra, "extra-0");
    kill(pid_of_start(1), SIGKILL);
    cr_expect_eq(exit_of(1)->signo, SIGKILL, "it found what the first had left");
    cr_expect_eq(exit_of(1)->crashes, 2, "crashes of a slot add up");
}

Test(prefork, a_slot_that_its_child_spoiled_is_safe_to_read)
{
    supervise_all(1, wild, 0);
    cr_expect_eq(exit_of(0)->signo, SIGABRT);
    cr_expect_lt(exit_of(0)->name_len, sizeof(((struct prefork_slot *)0)->instance));
    cr_expect_eq(exit_of(0)->extra_size, 16);
    cr_expect_eq(exit_of(0)->crashes, 1);
}

/* --- the service manager ----------------------------------------------------------------- */

/* The test is the manager: what the supervisor tells it comes here. "@...": in no folder. */
static int manage(const char *name, const char *watchdog_usec)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(at.sun_path, name, len);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_eq(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
        0);
    setenv("NOTIFY_SOCKET", name, 1);
    if (watchdog_usec)
        setenv("WATCHDOG_USEC", watchdog_usec, 1);
    return fd;
}

static int manage_here(const char *watchdog_usec)
{
    char *name = mem_printf("%s/notify", harness_dir());
    int fd = manage(name, watchdog_usec);
    free(name);
    return fd;
}

/* Reads one message; "" when there is none. */
static const char *next_message(int fd)
{
    static char message[256];
    ssize_t n = recv(fd, message, sizeof(message) - 1, 0);
    message[n > 0 ? n : 0] = '\0';
    return message;
}

static bool hears(int fd, const char *wanted)
{
    for (const char *message; *(message = next_message(fd));)
        if (strcmp(message, wanted) == 0)
            return true;
    return false;
}

Test(prefork, a_service_manager_hears_when_everybody_is_ready)
{
    int fd = manage_here(NULL);
    supervise_careful(2);
    WAIT_FOR(hears(fd, "STATUS=0 of 2 worker processes are ready"), PATIENCE_MS);
    atomic_store(&board->may_be_ready, 1);
    WAIT_FOR(hears(fd, "READY=1\nSTATUS=2 of 2 worker processes are ready"), PATIENCE_MS);
    kill(pid_of_start(0), SIGKILL);
    WAIT_FOR(hears(fd, "STATUS=1 of 2 worker processes are ready"), PATIENCE_MS);
    WAIT_FOR(hears(fd, "STATUS=2 of 2 worker processes are ready"), PATIENCE_MS);
}

Test(prefork, a_service_manager_is_not_kept_waiting_for_what_is_missing)
{
    char name[64];
    snprintf(name, sizeof(name), "@hookline-test-%d", (int)getpid());
    int fd = manage(name, NULL);
    supervise_careful(2);
    WAIT_FOR(hears(fd, "STATUS=0 of 2 worker processes are ready"), PATIENCE_MS);
    pass_time(30000);
    WAIT_FOR(hears(fd, "READY=1\nSTATUS=0 of 2 worker processes are ready"), PATIENCE_MS);
    atomic_store(&board->may_be_ready, 1);
    WAIT_FOR(hears(fd, "STATUS=2 of 2 worker processes are ready"), PATIENCE_MS);
}

Test(prefork, a_service_manager_hears_that_the_drain_has_begun)
{
    int fd = manage_here(NULL);
    supervise_all(1, stubborn, 0);
    WAIT_FOR(hears(fd, "READY=1\nSTATUS=1 of 1 worker processes are ready"), PATIENCE_MS);
    kill(supervisor, SIGTERM);
    WAIT_FOR(hears(fd, "STOPPING=1\nSTATUS=Finishes what it has, and leaves"), PATIENCE_MS);
    cr_expect_eq(waitpid(supervisor, NULL, WNOHANG), 0, "its child has not left");
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
    cr_expect_str_eq(next_message(fd), "", "it is told once");
}

Test(prefork, a_service_manager_with_a_watchdog_hears_signs_of_life_also_while_it_drains)
{
    int fd = manage_here("60000000");
    supervise_all(1, stubborn, 0);
    WAIT_FOR(hears(fd, "WATCHDOG=1"), PATIENCE_MS);
    pass_time(20000); /* less than half of it */
    kill(supervisor, SIGTERM);
    WAIT_FOR(hears(fd, "STOPPING=1\nSTATUS=Finishes what it has, and leaves"), PATIENCE_MS);
    cr_expect_str_eq(next_message(fd), "");
    pass_time(10000);
    WAIT_FOR(hears(fd, "WATCHDOG=1"), PATIENCE_MS);
}

/* Who has a shell in between, for example: the manager waits for that, not for us. */
Test(prefork, a_watchdog_for_another_process_hears_nothing)
{
    int fd = manage_here("1000000");
    setenv("WATCHDOG_PID", "1", 1);
    supervise_all(1, good, 0);
    WAIT_FOR(hears(fd, "READY=1\nSTATUS=1 of 1 worker processes are ready"), PATIENCE_MS);
    pass_time(60000);
    kill(supervisor, SIGTERM);
    cr_expect_eq(ended(), 0);
    cr_expect_not(hears(fd, "WATCHDOG=1"));
}

Test(prefork, a_message_that_could_not_be_sent_is_sent_later)
{
    char *name = mem_printf("%s/notify", harness_dir()), *away = mem_printf("%s-away", name);
    int fd = manage(name, NULL);
    cr_assert_eq(rename(name, away), 0);
    supervise_all(1, good, 0);
    WAIT_FOR(atomic_load(&board->starts) == 1, PATIENCE_MS);
    pass_time(60000);
    cr_expect_str_eq(next_message(fd), "");
    cr_assert_eq(rename(away, name), 0);
    WAIT_FOR(hears(fd, "READY=1\nSTATUS=1 of 1 worker processes are ready"), PATIENCE_MS);
    free(name);
    free(away);
}

/* A cgroup for processor time with this process in it; NULL when this machine does not let us. */
static const char *slow_cgroup(int quota_us)
{
    static char folder[128];
    char quota[32];
    for (int v2 = 0; v2 < 2; v2++) {
        snprintf(folder, sizeof(folder), "/sys/fs/cgroup%s/hookline-test-%d", v2 ? "" : "/cpu",
            (int)getpid());
        snprintf(quota, sizeof(quota), v2 ? "%d 100000" : "%d", quota_us);
        if (mkdir(folder, 0755) < 0)
            continue;
        if (write_file(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", quota) &&
            write_file(folder, "cgroup.procs", "0"))
            return folder;
        rmdir(folder);
    }
    return NULL;
}

Test(prefork, a_quota_of_processor_time_bounds_the_cores)
{
    int all = prefork_cores();
    const char *folder = slow_cgroup(100000);
    if (!folder)
        cr_skip_test("no cgroup for processor time can be made here");
    int one = prefork_cores();
    write_file(folder, "cpu.cfs_quota_us", "110000");
    write_file(folder, "cpu.max", "110000 100000");
    int rounded_up = prefork_cores();
    write_file(folder, "cpu.cfs_quota_us", "100000000");
    write_file(folder, "cpu.max", "100000000 100000");
    int plenty = prefork_cores();
    leave_cgroup(folder);
    cr_expect_eq(one, 1);
    cr_expect_eq(rounded_up, all > 1 ? 2 : 1);
    cr_expect_eq(plenty, all);
}

Test(prefork, there_is_at_least_one_core)
{
    cr_expect_geq(prefork_cores(), 1);
}
