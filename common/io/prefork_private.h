/* prefork_private: what the two halves of prefork share. prefork.c: children start, end, hang,
 * drain. prefork_change.c: the fleet changes while it runs (signals other than those that end it).
 */
#ifndef HL_IO_PREFORK_PRIVATE_H
#define HL_IO_PREFORK_PRIVATE_H

#include "base/list.h"
#include "io/board.h"
#include "io/notify.h"
#include "io/oom.h"
#include "io/prefork.h"

/* One place in the fleet: a process, or the pause before the next. */
struct child {
    struct list_node node;
    const struct prefork_role *role;
    int index;
    struct prefork_slot *slot; /* of the present or last process; NULL before the first */
    size_t slot_size;
    pid_t pid; /* 0 = not running */
    int place; /* on the board; -1 = none */
    int crashes;
    int64_t started_at, start_at, kill_at;
    int64_t backoff_ms;
    int64_t drain_timeout_ms; /* in the settings that its process has */
    unsigned generation;      /* of the settings its process was started with */
    bool hung, unready;
    bool retired;           /* asked to leave; its place goes with it */
    bool renewed;           /* asked to leave; the next one starts in its place ... */
    bool proving;           /* ... and has started; further changes wait until it is ready */
    struct child *replaces; /* retires when this one is ready */
};

struct supervisor {
    const struct prefork_conf *conf;
    struct list children;
    struct board *board;
    int *counts; /* of each role, as conf had them last */
    sigset_t signals;
    sigset_t inherited;
    unsigned generation; /* of the settings */
    bool reloading;      /* not everybody has the newest */
    bool quiet;
    int64_t drain_at; /* a SIGTERM came, and the drain begins then; 0 = none came */
    int drain_signal; /* it was this one */
    bool draining;
    bool killed_some;
    int64_t drain_until;
    const struct prefork_role *leaving;        /* asked to leave; those behind it still work */
    int64_t warned_needed_ms, warned_grace_ms; /* by grace_too_short */
    struct oom_watch oom;
    struct notify manager;
    int64_t announce_at; /* the service manager hears "ready" by then, whatever is missing */
    bool announced;
    int told_ready, told_all; /* what it heard last of the first role */
};

static inline struct child *child_at(struct list_node *n)
{
    return LIST_OF(n, struct child, node);
}

/* A new place for a process of that role; it starts with the supervisor's next turn. */
struct child *child_new(struct supervisor *s, const struct prefork_role *role, int index);
/* Its process, if there is one, leaves and is not replaced. */
void child_retire(struct supervisor *s, struct child *c);
void child_free(struct supervisor *s, struct child *c); /* its process is gone */
bool child_is_ready(const struct child *c);
/* Tells its process to leave, and gives it the time for that. */
void child_ask_to_leave(struct child *c);
/* Warns when whoever stops us will not wait for the end of a drain; once for each pair of values. */
void drain_check_grace(struct supervisor *s);

/* prefork_change.c */
void change_begins(struct supervisor *s);            /* every role gets its places */
void change_signal(struct supervisor *s, int signo); /* others than its own do nothing */
void change_signals(sigset_t *set);                  /* adds them */
void change_quiet(struct supervisor *s);             /* nobody takes anything new */
void change_goes_on(struct supervisor *s);           /* with every turn, unless it drains */

#endif
