/* prefork: a supervisor and its children. Forks the processes of each role, restarts what dies
 * (with backoff that a process resets by living; it never gives up), kills what hangs or does not
 * come up, replaces who asks for it, drains on SIGTERM/SIGINT, at once or after a delay that
 * the second signal ends, role after role, hurries on the next. The supervisor itself has no event loop and no connection: nothing it depends on
 * can fail or block, so it can be PID 1. Children are its direct children, in its process group,
 * and get SIGTERM when it dies (prctl PR_SET_PDEATHSIG). What they do is on a board in shared memory
 * (io/board.h): each process counts into its place there from its first line on.
 *
 * Further signals to the supervisor: SIGHUP reads the settings again (conf.on_reload) and replaces
 * the children one after another; SIGUSR1 makes them quiet until then; SIGUSR2 logs each child and
 * is passed on; SIGTTIN and SIGTTOU add and remove a child of the first role. */
#ifndef HL_IO_PREFORK_H
#define HL_IO_PREFORK_H

#include "base/err.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* At most so many children of the first role; SIGTTIN stops there. */
#define PREFORK_MAX 256

struct board; /* io/board.h */

/* What a child shows its supervisor, in shared memory of its own: new for each process. */
struct prefork_slot {
    _Atomic int64_t beat_ms; /* clock_mono_ms() of its last sign of life; the watchdog reads it */
    char instance[96];       /* name the child gave itself; "" until it has one */
    pid_t pid, supervisor;   /* written by the supervisor */
    int crashes;             /* unexpected ends in this place of the fleet so far */
    _Atomic bool alive;      /* it has given a sign of life */
    _Atomic bool ready;      /* prefork_ready */
    _Atomic bool tired;      /* prefork_retire */
    _Atomic bool quiet;      /* written by the supervisor: prefork_quiet */
    _Atomic bool leave;      /* written by the supervisor: prefork_must_leave */
    struct board *board;     /* of the fleet */
    int place;               /* the process's own on it; -1: none was free */
    size_t extra_size;       /* conf.slot_extra when it was started */
    _Alignas(16) unsigned char extra[]; /* so many bytes of the program's own, zero at fork */
};

struct prefork_role {
    const char *name; /* "worker", "janitor"; static */
    int count;
    /* The child's life; its return value is the exit status. Runs with default signal actions,
     * SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN and SIGTTOU ignored (a terminal or a service
     * manager sends them to everyone; the supervisor decides), SIGPIPE ignored. */
    int (*run)(struct prefork_slot *slot, int index, void *ctx);
    bool says_ready; /* it calls prefork_ready; otherwise its first beat counts as that */
    bool alone; /* never two at once: it leaves before its successor starts. All others leave when
                   their successor is ready */
    bool
        watches; /* it only looks at the others (io/admin): has half a second to leave at the end of a
                     drain, and whether it does is no part of its outcome */
};

/* How a child ended. */
struct prefork_exit {
    const char *role;
    int index;
    pid_t pid;
    int code;      /* exit status, or -1 */
    int signo;     /* signal, or 0 */
    bool expected; /* while draining, or asked for */
    bool hung;     /* the watchdog killed it */
    bool oom;      /* the kernel's OOM killer did */
    /* Its own fault, or that of what it worked on: a signal of a fault (SIGSEGV, SIGABRT, ...),
     * hung, or out of memory. Not what others send: SIGKILL, SIGTERM. */
    bool crash;
    bool unready; /* it gave no sign of life in time */
    int64_t max_rss_kb;
    int64_t lived_ms;
    const struct prefork_slot *slot; /* as the child left it */
};

/* Borrowed while prefork_run runs; counts, times and slot_extra are looked at anew after on_reload,
 * which may change them. */
struct prefork_conf {
    const struct prefork_role *roles; /* ends with name == NULL */
    size_t slot_extra;
    int64_t ready_timeout_ms; /* no beat since the fork for this long: SIGABRT, then SIGKILL; 0 =
                                 left to the watchdog, which otherwise starts with the first beat */
    int64_t watchdog_ms;      /* no beat for this long: SIGABRT, then SIGKILL; 0 = off */
    int64_t
        drain_delay_ms; /* SIGTERM is on the board at once (draining), the drain begins so much later;
                               a second SIGTERM begins it at once */
    int64_t drain_timeout_ms; /* from the drain's beginning; then SIGKILL */
    int64_t grace_ms; /* what whoever stops us waits until SIGKILL; 0 = not known. Shorter than
                         prefork_longest_drain: a warning (grace_too_short) at the start and with new
                         settings */
    bool quiets;      /* SIGUSR1 means something to these children */
    void (*on_drain)(void *ctx); /* in the supervisor, once, when the drain begins; NULL ok */
    /* SIGHUP, in the supervisor: new settings are in place; false: there is something wrong with
     * them, which it has logged, and the children stay as they are. NULL: SIGHUP only replaces. */
    bool (*on_reload)(void *ctx);
    void (*on_exit)(const struct prefork_exit *e, void *ctx); /* in the supervisor; NULL ok */
    void *ctx;
};

/* Drain: a child gets SIGTERM when every child of the roles before its own has left. A further
 * SIGTERM may reach it from elsewhere (a service manager tells the whole group, the kernel tells
 * of a dead parent) and means no more than the first; only PREFORK_HURRY means "now". */
#define PREFORK_HURRY SIGRTMIN

/* Of a child that got SIGTERM: whether its supervisor sent it, or is gone. Otherwise it came from elsewhere;
 * with a drain_delay_ms the child works on then, and the supervisor's own follows. */
bool prefork_must_leave(const struct prefork_slot *slot);

/* What may pass from SIGTERM until the supervisor is gone, in ms, when everybody takes all the time there is:
 * the delay, the drain, and the grace of each role that has children. */
int64_t prefork_longest_drain(const struct prefork_conf *conf);

/* Sent to children when they have become quiet, and when their state is wanted in the log. */
#define PREFORK_QUIET SIGUSR1
#define PREFORK_STATE SIGUSR2

/* Exit status with which a child asks for a replacement at once (it lost its identity). */
#define PREFORK_AGAIN 75

/* Returns the supervisor's exit status: 0 when every child left by itself after the drain, 1 when
 * some had to be killed or the fleet could not be started. Logs every start and end. */
int prefork_run(const struct prefork_conf *conf);

/* A child's sign of life, to be given several times within watchdog_ms, from its event loop. False
 * when the supervisor is gone: drain and leave. */
bool prefork_beat(struct prefork_slot *slot);
/* It does its work from now on: whoever it replaces may leave. */
void prefork_ready(struct prefork_slot *slot);
/* It has had enough (jobs, memory) and works on until its successor is ready; then it gets SIGTERM.
 * One child of the fleet at a time. */
void prefork_retire(struct prefork_slot *slot);
/* Take nothing new, finish what runs, stay. Never ends for this process. */
bool prefork_quiet(const struct prefork_slot *slot);

/* Cores this process may use: those of its affinity, no more than its cgroup's quota of processor time
 * rounded up, at least 1. */
int prefork_cores(void);

#endif
