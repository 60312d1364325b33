/* prefork: a supervisor and its children. Forks the processes of each role, restarts what dies
 * (with backoff that a process resets by living), kills what hangs, drains on SIGTERM/SIGINT, role
 * after role, hurries on the second signal. The supervisor itself has no event loop and no
 * connection: nothing it depends on can fail or block, so it can be PID 1. Children are its direct
 * children, in its process group, and get SIGTERM when it dies (prctl PR_SET_PDEATHSIG). */
#ifndef HL_IO_PREFORK_H
#define HL_IO_PREFORK_H

#include "base/err.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a child shows its supervisor, in shared memory. */
struct prefork_slot {
    _Atomic int64_t beat_ms; /* clock_mono_ms() of its last sign of life; the watchdog reads it */
    char instance[96];       /* name the child gave itself; "" until it has one */
    pid_t pid, supervisor;   /* written by the supervisor */
    int crashes;             /* unexpected ends in this slot so far */
    _Alignas(
        16) unsigned char extra[]; /* conf.slot_extra bytes of the program's own, zeroed at fork */
};

struct prefork_role {
    const char *name; /* "worker", "janitor"; static */
    int count;
    /* The child's life; its return value is the exit status. Runs with default signal actions,
     * SIGINT ignored (a terminal sends it to everyone; the supervisor decides), SIGPIPE ignored. */
    int (*run)(struct prefork_slot *slot, int index, void *ctx);
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
    int64_t max_rss_kb;
    int64_t lived_ms;
    const struct prefork_slot *slot; /* as the child left it */
};

struct prefork_conf {
    const struct prefork_role *roles; /* ends with name == NULL */
    size_t slot_extra;
    int64_t watchdog_ms;         /* no beat for this long: SIGABRT, then SIGKILL; 0 = off */
    int64_t drain_timeout_ms;    /* after SIGTERM; then SIGKILL */
    void (*on_drain)(void *ctx); /* in the supervisor, once, when the drain begins; NULL ok */
    void (*on_exit)(const struct prefork_exit *e, void *ctx); /* in the supervisor; NULL ok */
    void *ctx;
};

/* Drain: a child gets SIGTERM when every child of the roles before its own has left. A further
 * SIGTERM may reach it from elsewhere (a service manager tells the whole group, the kernel tells
 * of a dead parent) and means no more than the first; only PREFORK_HURRY means "now". */
#define PREFORK_HURRY SIGRTMIN

/* Exit status with which a child asks for a replacement at once (it lost its identity). */
#define PREFORK_AGAIN 75

/* Returns the supervisor's exit status: 0 when every child left by itself after the drain, 1 when
 * some had to be killed or the fleet could not be started. Logs every start and end. */
int prefork_run(const struct prefork_conf *conf);

/* A child's sign of life, to be given several times within watchdog_ms, from its event loop. False
 * when the supervisor is gone: drain and leave. */
bool prefork_beat(struct prefork_slot *slot);

/* Cores this process may use (sched_getaffinity), at least 1. */
int prefork_cores(void);

#endif
