/* prefork: see prefork.h. One thread of thought: wait for a signal or the next due moment, reap,
 * start what is due, kill what hangs. All decisions are taken in supervise(). */
#include "io/prefork.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/oom.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RESTART_MIN_MS = 100,
    RESTART_MAX_MS = 10000,
    PROVEN_MS = 10000,     /* a child that lived this long restarts without delay */
    ABORT_GRACE_MS = 3000, /* from SIGABRT to SIGKILL */
    DRAIN_GRACE_MS = 5000, /* what a child may take beyond its own drain deadline */
};

struct child {
    const struct prefork_role *role;
    int index;
    struct prefork_slot *slot;
    pid_t pid; /* 0 = not running */
    int64_t started_at, start_at, kill_at;
    int64_t backoff_ms;
    bool hung;
};

struct supervisor {
    const struct prefork_conf *conf;
    struct child *children;
    int n;
    sigset_t signals;
    sigset_t inherited;
    bool draining;
    bool killed_some;
    int64_t drain_until;
    const struct prefork_role *leaving; /* asked to leave; those behind it still work */
    struct oom_watch oom;
};

int prefork_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

bool prefork_beat(struct prefork_slot *slot)
{
    atomic_store(&slot->beat_ms, clock_mono_ms());
    return getppid() == slot->supervisor;
}

static void child_enter(struct supervisor *s, struct child *c, pid_t parent)
{
    char role[32];

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(PREFORK_AGAIN); /* the supervisor died before the line above */
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(PREFORK_HURRY, SIG_IGN); /* until the child listens */
    sigprocmask(SIG_SETMASK, &s->inherited, NULL);
    snprintf(role, sizeof(role), "%s-%d", c->role->name, c->index);
    log_role(c->role->count > 1 ? role : c->role->name);
    exit(c->role->run(c->slot, c->index, s->conf->ctx));
}

static void start(struct supervisor *s, struct child *c)
{
    pid_t parent = getpid();

    memset(c->slot->instance, 0, sizeof(c->slot->instance));
    memset(c->slot->extra, 0, s->conf->slot_extra);
    atomic_store(&c->slot->beat_ms, clock_mono_ms());
    c->slot->supervisor = parent;
    c->started_at = clock_mono_ms();
    c->kill_at = 0;
    c->hung = false;
    pid_t pid = fork();
    if (pid == 0)
        child_enter(s, c, parent);
    if (pid < 0) {
        log_error("fork_failed", LOG_S("role", c->role->name), LOG_S("error", strerror(errno)));
        c->start_at = clock_mono_ms() + RESTART_MAX_MS;
        return;
    }
    c->pid = c->slot->pid = pid;
    log_info("child_started", LOG_S("role", c->role->name), LOG_I("index", c->index),
        LOG_I("child", pid));
}

/* A child that has proven itself starts again at once; one that dies young waits longer each time.
 */
static int64_t restart_delay(struct child *c, const struct prefork_exit *e)
{
    if (e->lived_ms >= PROVEN_MS || e->code == PREFORK_AGAIN) {
        c->backoff_ms = 0;
        return 0;
    }
    int64_t delay = c->backoff_ms;
    c->backoff_ms = delay ? delay * 2 : RESTART_MIN_MS;
    if (c->backoff_ms > RESTART_MAX_MS)
        c->backoff_ms = RESTART_MAX_MS;
    return delay;
}

/* Signals that a process earns itself. */
static bool is_fault(int signo)
{
    static const int faults[] = {
        SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGXCPU, SIGXFSZ};
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        if (faults[i] == signo)
            return true;
    return false;
}

static void report(const struct prefork_exit *e)
{
    LOG_LINE(e->expected && e->code == 0 ? LOG_INFO : LOG_WARN, "child_ended",
        LOG_S("role", e->role), LOG_I("index", e->index), LOG_I("child", e->pid),
        LOG_S("instance", e->slot->instance), LOG_I("code", e->code),
        LOG_S("signal", e->signo ? strsignal(e->signo) : ""), LOG_B("hung", e->hung),
        LOG_B("oom", e->oom), LOG_I("max_rss_kb", e->max_rss_kb), LOG_I("lived_ms", e->lived_ms));
}

static void ended(struct supervisor *s, struct child *c, int status, const struct rusage *usage)
{
    int64_t now = clock_mono_ms();
    struct prefork_exit e = {
        .role = c->role->name,
        .index = c->index,
        .pid = c->pid,
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .expected = s->draining && c->role <= s->leaving,
        .hung = c->hung,
        .max_rss_kb = usage->ru_maxrss,
        .lived_ms = now - c->started_at,
        .slot = c->slot,
    };
    e.oom = e.signo == SIGKILL && !e.hung && !s->killed_some && oom_watch_claim(&s->oom);
    e.crash = is_fault(e.signo) || e.oom || (e.hung && e.signo);
    c->pid = c->slot->pid = 0;
    if (!e.expected)
        c->slot->crashes++;
    report(&e);
    if (s->conf->on_exit)
        s->conf->on_exit(&e, s->conf->ctx);
    c->start_at = now + restart_delay(c, &e);
}

static void reap(struct supervisor *s)
{
    struct rusage usage;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        for (int i = 0; i < s->n; i++)
            if (s->children[i].pid == pid)
                ended(s, &s->children[i], status, &usage);
    /* any other pid was an orphan adopted by PID 1: reaped is all it needs */
}

static bool role_left(const struct supervisor *s, const struct prefork_role *role)
{
    for (int i = 0; i < s->n; i++)
        if (s->children[i].pid && s->children[i].role == role)
            return true;
    return false;
}

/* The next role is asked to leave when the last of the one before has left: what looks after the
 * dead (a janitor) stays until nobody can die any more. */
static void drain_next_role(struct supervisor *s)
{
    while (s->leaving->name && !role_left(s, s->leaving)) {
        s->leaving++;
        int64_t grace = clock_mono_ms() + DRAIN_GRACE_MS;
        if (s->drain_until < grace)
            s->drain_until = grace;
        for (int i = 0; s->leaving->name && i < s->n; i++)
            if (s->children[i].pid && s->children[i].role == s->leaving)
                kill(s->children[i].pid, SIGTERM);
    }
}

static void drain(struct supervisor *s, int signo)
{
    bool again = s->draining;
    log_info(again ? "drain_hurried" : "drain_started", LOG_S("signal", strsignal(signo)));
    if (!again) {
        s->draining = true;
        s->drain_until = clock_mono_ms() + s->conf->drain_timeout_ms + DRAIN_GRACE_MS;
        s->leaving = s->conf->roles;
        if (s->conf->on_drain)
            s->conf->on_drain(s->conf->ctx);
    }
    for (int i = 0; i < s->n; i++)
        if (s->children[i].pid && s->children[i].role == s->leaving)
            kill(s->children[i].pid, again ? PREFORK_HURRY : SIGTERM);
}

/* A stopped process keeps SIGABRT pending, so SIGKILL follows. */
static void watch(struct supervisor *s, struct child *c, int64_t now)
{
    if (!c->pid)
        return;
    if (c->kill_at && now >= c->kill_at) {
        kill(c->pid, SIGKILL);
        c->kill_at = 0;
        return;
    }
    int64_t silent = now - atomic_load(&c->slot->beat_ms);
    if (!s->conf->watchdog_ms || c->hung || silent < s->conf->watchdog_ms)
        return;
    c->hung = true;
    c->kill_at = now + ABORT_GRACE_MS;
    log_error("child_hung", LOG_S("role", c->role->name), LOG_I("index", c->index),
        LOG_I("child", c->pid), LOG_I("silent_ms", silent));
    kill(c->pid, SIGABRT);
}

static void kill_all(struct supervisor *s)
{
    for (int i = 0; i < s->n; i++) {
        if (!s->children[i].pid)
            continue;
        log_error("drain_timed_out", LOG_I("child", s->children[i].pid));
        s->killed_some = true;
        kill(s->children[i].pid, SIGKILL);
    }
    s->drain_until = INT64_MAX;
}

static bool anyone_left(const struct supervisor *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->children[i].pid)
            return true;
    return false;
}

static void wait_signal(struct supervisor *s)
{
    const struct timespec tick = {
        .tv_nsec = 100000000}; /* restarts, watchdog and drain run on it */
    int signo = sigtimedwait(&s->signals, NULL, &tick);
    if (signo == SIGTERM || signo == SIGINT)
        drain(s, signo);
}

static void supervise(struct supervisor *s)
{
    for (;;) {
        int64_t now = clock_mono_ms();
        reap(s);
        oom_watch_tick(&s->oom, now);
        if (s->draining)
            drain_next_role(s);
        if (s->draining && !anyone_left(s))
            return;
        if (s->draining && now >= s->drain_until)
            kill_all(s);
        for (int i = 0; i < s->n; i++) {
            struct child *c = &s->children[i];
            if (!c->pid && now >= c->start_at && !s->killed_some &&
                (!s->draining || c->role > s->leaving))
                start(s, c);
            watch(s, c, now);
        }
        wait_signal(s);
    }
}

static size_t slot_size(const struct prefork_conf *conf)
{
    size_t size = sizeof(struct prefork_slot) + conf->slot_extra;
    return (size + 63) & ~(size_t)63;
}

/* Every child of every role gets its slot of the shared memory. */
static bool lay_out(struct supervisor *s)
{
    size_t size = slot_size(s->conf);
    for (const struct prefork_role *r = s->conf->roles; r->name; r++)
        s->n += r->count;
    unsigned char *shm =
        mmap(NULL, size * (size_t)s->n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shm == MAP_FAILED)
        return false;
    s->children = mem_array((size_t)s->n, sizeof(*s->children));
    struct child *c = s->children;
    for (const struct prefork_role *r = s->conf->roles; r->name; r++)
        for (int i = 0; i < r->count; i++, c++, shm += size)
            *c = (struct child){.role = r, .index = i, .slot = (struct prefork_slot *)(void *)shm};
    return true;
}

int prefork_run(const struct prefork_conf *conf)
{
    struct supervisor s = {.conf = conf, .drain_until = INT64_MAX};

    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGTERM);
    sigaddset(&s.signals, SIGINT);
    sigaddset(&s.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &s.signals, &s.inherited);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN); /* a log reader that goes away must not take the fleet along */
    if (!lay_out(&s)) {
        log_error("start_failed", LOG_S("error", strerror(errno)));
        return 1;
    }
    oom_watch_init(&s.oom, clock_mono_ms());
    supervise(&s);
    free(s.children);
    return s.killed_some ? 1 : 0;
}
