/* prefork: see prefork.h. One thread of thought: wait for a signal or the next due moment, reap,
 * start what is due, kill what hangs. All decisions are taken in supervise(). */
#include "io/prefork_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/cgroup.h"
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
    FORK_RETRY_MS = 1000,
    PROVEN_MS = 10000,     /* a child that lived this long restarts without delay */
    ABORT_GRACE_MS = 3000, /* from SIGABRT to SIGKILL */
    DRAIN_GRACE_MS = 5000, /* what a child may take beyond its own drain deadline */
    WATCHES_GRACE_MS = 500,
    START_PATIENCE_MS = 30000, /* of a service manager, which waits with others meanwhile */
};

int prefork_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int64_t n = CPU_COUNT(&set), millis = cgroup_cpu_millis("");
    int64_t quota = (millis + 999) / 1000;
    if (millis >= 0 && quota < n)
        n = quota;
    return n > 0 ? (int)n : 1;
}

bool prefork_beat(struct prefork_slot *slot)
{
    int64_t now = clock_mono_ms();
    atomic_store(&slot->beat_ms, now);
    if (slot->place >= 0)
        atomic_store(board_beat(slot->board, slot->place), now);
    atomic_store(&slot->alive, true);
    return getppid() == slot->supervisor;
}

void prefork_ready(struct prefork_slot *slot)
{
    atomic_store(&slot->ready, true);
}

void prefork_retire(struct prefork_slot *slot)
{
    atomic_store(&slot->tired, true);
}

bool prefork_quiet(const struct prefork_slot *slot)
{
    return atomic_load(&slot->quiet);
}

bool prefork_must_leave(const struct prefork_slot *slot)
{
    return atomic_load(&slot->leave) || getppid() != slot->supervisor;
}

int64_t prefork_longest_drain(const struct prefork_conf *conf)
{
    int64_t ms = conf->drain_delay_ms + conf->drain_timeout_ms;
    for (const struct prefork_role *r = conf->roles; r->name; r++)
        if (r->count > 0)
            ms += r->watches ? WATCHES_GRACE_MS : DRAIN_GRACE_MS;
    return ms;
}

/* --- places ------------------------------------------------------------------------------ */

struct child *child_new(struct supervisor *s, const struct prefork_role *role, int index)
{
    struct child *c = mem_new(struct child);
    c->role = role;
    c->index = index;
    c->place = -1;
    list_push(&s->children, &c->node);
    return c;
}

static void forget_slot(struct child *c)
{
    if (c->slot)
        munmap(c->slot, c->slot_size);
    c->slot = NULL;
}

void child_free(struct supervisor *s, struct child *c)
{
    list_remove(&s->children, &c->node);
    if (c->place >= 0)
        board_leave(s->board, c->place);
    forget_slot(c);
    free(c);
}

bool child_is_ready(const struct child *c)
{
    return c->pid && atomic_load(c->role->says_ready ? &c->slot->ready : &c->slot->alive);
}

void child_ask_to_leave(struct child *c)
{
    if (!c->hung && !c->unready)
        c->kill_at = clock_mono_ms() + c->drain_timeout_ms + DRAIN_GRACE_MS;
    atomic_store(&c->slot->leave, true);
    kill(c->pid, SIGTERM);
}

void child_retire(struct supervisor *s, struct child *c)
{
    c->replaces = NULL;
    if (!c->pid) {
        child_free(s, c);
        return;
    }
    if (!c->retired)
        child_ask_to_leave(c);
    c->retired = true;
}

/* --- start ------------------------------------------------------------------------------- */

/* What a terminal or a service manager sends to the whole group is the supervisor's business. */
static void ignore_signals(void)
{
    const int ignored[] = {SIGINT, SIGHUP, SIGPIPE, SIGTTIN, SIGTTOU, PREFORK_QUIET, PREFORK_STATE,
        PREFORK_HURRY}; /* the last three until the child listens */
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
}

/* What they show the supervisor is not for this one to write. */
static void forget_others(struct supervisor *s, const struct child *c)
{
    LIST_EACH(&s->children, n)
    {
        if (child_at(n) != c)
            forget_slot(child_at(n));
    }
}

static void child_enter(struct supervisor *s, struct child *c, pid_t parent)
{
    char role[32];

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(PREFORK_AGAIN); /* the supervisor died before the line above */
    ignore_signals();
    sigprocmask(SIG_SETMASK, &s->inherited, NULL);
    snprintf(role, sizeof(role), "%s-%d", c->role->name, c->index);
    log_role(c->role->count > 1 || c->index ? role : c->role->name);
    board_enter(s->board, c->place);
    forget_others(s, c);
    exit(c->role->run(c->slot, c->index, s->conf->ctx));
}

/* Shared with this child alone, and new each time: its size may have changed with the settings. */
static bool make_slot(struct supervisor *s, struct child *c)
{
    forget_slot(c);
    c->slot_size = sizeof(*c->slot) + s->conf->slot_extra;
    void *p = mmap(NULL, c->slot_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    c->slot = p;
    c->slot->board = s->board;
    c->slot->place = c->place;
    c->slot->extra_size = s->conf->slot_extra;
    c->slot->crashes = c->crashes;
    c->slot->supervisor = getpid();
    atomic_store(&c->slot->quiet, s->quiet);
    atomic_store(&c->slot->beat_ms, clock_mono_ms());
    return true;
}

/* Kept until the child is no more, whatever its processes do. Those of the first role are numbered. */
static void take_place(struct supervisor *s, struct child *c)
{
    char process[48];
    if (c->place >= 0)
        return;
    if (c->role == s->conf->roles || c->index)
        snprintf(process, sizeof(process), "%s-%d", c->role->name, c->index);
    else
        snprintf(process, sizeof(process), "%s", c->role->name);
    c->place = board_take(s->board, c->role->name, process, c->replaces != NULL);
}

static void start(struct supervisor *s, struct child *c)
{
    pid_t parent = getpid();

    take_place(s, c);
    c->started_at = clock_mono_ms();
    c->kill_at = 0;
    c->hung = c->unready = false;
    c->generation = s->generation;
    c->drain_timeout_ms = s->conf->drain_timeout_ms;
    c->proving |= c->renewed;
    c->renewed = false;
    pid_t pid = make_slot(s, c) ? fork() : -1;
    if (pid == 0)
        child_enter(s, c, parent);
    if (pid < 0) {
        log_error("fork_failed", LOG_S("role", c->role->name), LOG_S("error", strerror(errno)));
        c->start_at = clock_mono_ms() + FORK_RETRY_MS;
        return;
    }
    c->pid = c->slot->pid = pid;
    if (c->place >= 0)
        board_start(s->board, c->place, pid);
    log_info("child_started", LOG_S("role", c->role->name), LOG_I("index", c->index),
        LOG_I("child", pid));
}

/* --- end --------------------------------------------------------------------------------- */

/* A child that has proven itself starts again at once. Those that die young start further and
 * further apart, from one start to the next: what a child lived counts, so that whoever can make it
 * crash cannot make it rest for longer than it worked. */
static int64_t restart_delay(struct child *c, const struct prefork_exit *e)
{
    if (e->lived_ms >= PROVEN_MS || e->code == PREFORK_AGAIN || e->expected) {
        c->backoff_ms = 0;
        return 0;
    }
    int64_t delay = c->backoff_ms - e->lived_ms;
    c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : RESTART_MIN_MS;
    if (c->backoff_ms > RESTART_MAX_MS)
        c->backoff_ms = RESTART_MAX_MS;
    return delay > 0 ? delay : 0;
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

/* The process could write to all of it, and may have run wild: what others go by is put right. */
static void mend_slot(const struct supervisor *s, const struct child *c)
{
    c->slot->board = s->board;
    c->slot->place = c->place;
    c->slot->instance[sizeof(c->slot->instance) - 1] = '\0';
    c->slot->extra_size = c->slot_size - sizeof(*c->slot);
    c->slot->crashes = c->crashes;
}

static void report(const struct prefork_exit *e)
{
    LOG_LINE(e->expected && e->code == 0 ? LOG_INFO : LOG_WARN, "child_ended",
        LOG_S("role", e->role), LOG_I("index", e->index), LOG_I("child", e->pid),
        LOG_S("instance", e->slot->instance), LOG_I("code", e->code),
        LOG_S("signal", e->signo ? strsignal(e->signo) : ""), LOG_B("hung", e->hung),
        LOG_B("oom", e->oom), LOG_B("unready", e->unready), LOG_I("max_rss_kb", e->max_rss_kb),
        LOG_I("lived_ms", e->lived_ms));
}

static void leave_place(struct supervisor *s, const struct child *c, const struct prefork_exit *e)
{
    bool last = c->retired || (e->expected && s->draining);
    enum board_end how = e->expected ? BOARD_EXPECTED : e->hung ? BOARD_HUNG : BOARD_CRASHED;
    if (c->place >= 0)
        board_end(s->board, c->place, how, last ? BOARD_FREE : BOARD_GONE);
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
        .expected = c->retired || c->renewed || (s->draining && c->role <= s->leaving),
        .hung = c->hung,
        .unready = c->unready,
        .max_rss_kb = usage->ru_maxrss,
        .lived_ms = now - c->started_at,
        .slot = c->slot,
    };
    e.oom = e.signo == SIGKILL && !e.hung && !s->killed_some && oom_watch_claim(&s->oom);
    e.crash = is_fault(e.signo) || e.oom || (e.hung && e.signo);
    c->pid = c->slot->pid = 0;
    if (!e.expected)
        c->crashes++;
    mend_slot(s, c);
    leave_place(s, c, &e);
    report(&e);
    if (s->conf->on_exit)
        s->conf->on_exit(&e, s->conf->ctx);
    if (c->retired)
        child_free(s, c);
    else
        c->start_at = now + restart_delay(c, &e);
}

static void reap(struct supervisor *s)
{
    struct rusage usage;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        LIST_EACH(&s->children, n)
        {
            if (child_at(n)->pid == pid) {
                ended(s, child_at(n), status, &usage);
                break;
            }
        }
    /* any other pid was an orphan adopted by PID 1: reaped is all it needs */
}

/* --- drain ------------------------------------------------------------------------------- */

static bool role_left(const struct supervisor *s, const struct prefork_role *role)
{
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->pid && child_at(n)->role == role)
            return true;
    }
    return false;
}

static void tell_leaving(struct supervisor *s, int signo)
{
    LIST_EACH(&s->children, n)
    {
        struct child *c = child_at(n);
        if (!c->pid || c->role != s->leaving)
            continue;
        atomic_store(&c->slot->leave, true);
        kill(c->pid, signo);
    }
}

/* The next role is asked to leave when the last of the one before has left: what looks after the
 * dead (a janitor) stays until nobody can die any more. */
static void drain_next_role(struct supervisor *s)
{
    while (s->leaving->name && !role_left(s, s->leaving)) {
        s->leaving++;
        int64_t now = clock_mono_ms();
        if (s->leaving->watches)
            s->drain_until = now + WATCHES_GRACE_MS;
        else if (s->drain_until < now + DRAIN_GRACE_MS)
            s->drain_until = now + DRAIN_GRACE_MS;
        if (s->leaving->name)
            tell_leaving(s, SIGTERM);
    }
}

/* Some may have older settings than others. */
static int64_t longest_drain(const struct supervisor *s)
{
    int64_t longest = s->conf->drain_timeout_ms;
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->pid && child_at(n)->drain_timeout_ms > longest)
            longest = child_at(n)->drain_timeout_ms;
    }
    return longest;
}

static void begin_drain(struct supervisor *s)
{
    log_info("drain_started", LOG_S("signal", strsignal(s->drain_signal)));
    s->draining = true;
    atomic_store(&s->board->draining, true);
    change_quiet(s); /* who is asked to leave later takes nothing new either */
    s->drain_until = clock_mono_ms() + longest_drain(s) + DRAIN_GRACE_MS;
    s->leaving = s->conf->roles;
    if (s->conf->on_drain)
        s->conf->on_drain(s->conf->ctx);
    tell_leaving(s, SIGTERM);
}

/* Everything goes on as before, but whoever asks the board is told to send nothing any more. */
static void delay_drain(struct supervisor *s)
{
    log_info("drain_delayed", LOG_S("signal", strsignal(s->drain_signal)),
        LOG_I("delay_ms", s->conf->drain_delay_ms));
    atomic_store(&s->board->draining, true);
}

/* The first signal to end, the next, and any further one. */
static void drain(struct supervisor *s, int signo)
{
    if (s->draining) {
        log_info("drain_hurried", LOG_S("signal", strsignal(signo)));
        tell_leaving(s, PREFORK_HURRY);
        return;
    }
    bool first = s->drain_at == 0;
    if (first)
        notify_tell(&s->manager, "STOPPING=1\nSTATUS=Finishes what it has, and leaves");
    s->drain_signal = signo;
    s->drain_at = clock_mono_ms() + (first ? s->conf->drain_delay_ms : 0);
    if (first && s->conf->drain_delay_ms)
        delay_drain(s);
    else
        begin_drain(s);
}

void drain_check_grace(struct supervisor *s)
{
    int64_t needed = prefork_longest_drain(s->conf), grace = s->conf->grace_ms;
    bool said = s->warned_needed_ms == needed && s->warned_grace_ms == grace;
    if (!grace || grace >= needed || said)
        return;
    s->warned_needed_ms = needed;
    s->warned_grace_ms = grace;
    log_warn("grace_too_short", LOG_I("needed_ms", needed), LOG_I("grace_ms", grace),
        LOG_S("remedy",
            "whoever stops this program has to wait longer before SIGKILL "
            "(terminationGracePeriodSeconds, stop_grace_period, TimeoutStopSec), or the "
            "drain must be shorter"));
}

/* --- the watchdog ------------------------------------------------------------------------ */

/* A stopped process keeps SIGABRT pending, so SIGKILL follows. */
static void abort_child(struct child *c, const char *event, int64_t now, int64_t silent)
{
    c->kill_at = now + ABORT_GRACE_MS;
    log_error(event, LOG_S("role", c->role->name), LOG_I("index", c->index), LOG_I("child", c->pid),
        LOG_I("silent_ms", silent));
    kill(c->pid, SIGABRT);
}

static void watch(struct supervisor *s, struct child *c, int64_t now)
{
    const struct prefork_conf *conf = s->conf;

    if (!c->pid)
        return;
    if (c->kill_at && now >= c->kill_at) {
        if (!c->hung && !c->unready)
            log_error("drain_timed_out", LOG_I("child", c->pid));
        kill(c->pid, SIGKILL);
        c->kill_at = 0;
        return;
    }
    if (c->hung || c->unready)
        return;
    int64_t silent = now - atomic_load(&c->slot->beat_ms);
    if (conf->ready_timeout_ms && !atomic_load(&c->slot->alive)) {
        if (silent < conf->ready_timeout_ms)
            return;
        c->unready = true;
        abort_child(c, "child_not_ready", now, silent);
    } else if (conf->watchdog_ms && silent >= conf->watchdog_ms) {
        c->hung = true;
        abort_child(c, "child_hung", now, silent);
    }
}

/* --- life -------------------------------------------------------------------------------- */

/* Those behind them (a janitor) still have something to do: after these deaths. */
static void kill_leaving(struct supervisor *s)
{
    LIST_EACH(&s->children, n)
    {
        struct child *c = child_at(n);
        if (c->pid && c->role == s->leaving && !c->role->watches)
            log_error("drain_timed_out", LOG_I("child", c->pid));
    }
    s->killed_some |= !s->leaving->watches;
    tell_leaving(s, SIGKILL);
    s->drain_until = clock_mono_ms() + DRAIN_GRACE_MS;
}

static bool anyone_left(const struct supervisor *s)
{
    LIST_EACH(&s->children, n)
    {
        if (child_at(n)->pid)
            return true;
    }
    return false;
}

static void wait_signal(struct supervisor *s)
{
    const struct timespec tick = {
        .tv_nsec = 100000000}; /* restarts, watchdog and drain run on it */
    int signo = sigtimedwait(&s->signals, NULL, &tick);
    if (signo == SIGTERM || signo == SIGINT)
        drain(s, signo);
    else
        change_signal(s, signo);
}

static void look_after(struct supervisor *s, struct child *c, int64_t now)
{
    if (!c->pid && now >= c->start_at && (!s->draining || c->role > s->leaving))
        start(s, c);
    watch(s, c, now);
}

/* What stands on the board is for others: no decision is taken by it. */
static void tell_board(struct supervisor *s, int64_t now)
{
    bool all_ready = true;
    LIST_EACH(&s->children, n)
    {
        const struct child *c = child_at(n);
        bool ready = child_is_ready(c);
        all_ready &= ready || c->role != s->conf->roles;
        if (c->place < 0)
            continue;
        struct board_place *p = &s->board->places[c->place];
        atomic_store(&p->extra, c->replaces || c->retired);
        if (ready)
            atomic_store(&p->state, BOARD_READY);
    }
    atomic_store(&s->board->beat_ms, now);
    if (all_ready)
        atomic_store(&s->board->was_ready, true);
}

/* Up is who is ready, or has waited for long enough: a store that is away is waited for as long as it
 * takes, and must not hold up what the service manager starts after us. The status says how it stands. */
static void tell_manager(struct supervisor *s, int64_t now)
{
    const char *role = s->conf->roles->name;
    char message[128];
    int all, ready;

    notify_alive(&s->manager, now);
    if (s->drain_at || !s->manager.to_len)
        return;
    board_count(s->board, role, &all, &ready);
    bool announce = !s->announced && (atomic_load(&s->board->was_ready) || now >= s->announce_at);
    if (!announce && all == s->told_all && ready == s->told_ready)
        return;
    snprintf(message, sizeof(message), "%sSTATUS=%d of %d %s processes are ready",
        announce ? "READY=1\n" : "", ready, all, role);
    if (!notify_tell(&s->manager, message))
        return;
    s->announced |= announce;
    s->told_all = all;
    s->told_ready = ready;
}

static void supervise(struct supervisor *s)
{
    for (;;) {
        int64_t now = clock_mono_ms();
        reap(s);
        tell_board(s, now);
        tell_manager(s, now);
        oom_watch_tick(&s->oom, now);
        log_tick();
        if (s->drain_at && !s->draining && now >= s->drain_at)
            begin_drain(s);
        if (s->draining)
            drain_next_role(s);
        else
            change_goes_on(s);
        if (s->draining && !anyone_left(s))
            return;
        if (s->draining && now >= s->drain_until)
            kill_leaving(s);
        LIST_EACH(&s->children, n)
        {
            look_after(s, child_at(n), now);
        }
        wait_signal(s);
    }
}

int prefork_run(const struct prefork_conf *conf)
{
    struct supervisor s = {.conf = conf, .drain_until = INT64_MAX, .board = board_new()};

    if (!s.board) {
        log_error("start_failed", LOG_S("error", strerror(errno)),
            LOG_S("remedy", "there is no memory for what the processes share"));
        return 1;
    }
    meter_use(board_cells(s.board, BOARD_PLACES));
    list_init(&s.children);
    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGTERM);
    sigaddset(&s.signals, SIGINT);
    sigaddset(&s.signals, SIGCHLD);
    change_signals(&s.signals);
    sigprocmask(SIG_BLOCK, &s.signals, &s.inherited);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN); /* a log reader that goes away must not take the fleet along */
    oom_watch_init(&s.oom, clock_mono_ms());
    notify_init(&s.manager);
    s.announce_at = clock_mono_ms() + START_PATIENCE_MS;
    change_begins(&s);
    drain_check_grace(&s);
    supervise(&s);
    while (s.children.len)
        child_free(&s, child_at(list_first(&s.children)));
    free(s.counts);
    meter_use(NULL);
    board_free(s.board);
    return s.killed_some ? 1 : 0;
}
