/* drain: waits until nothing is left, and proves it. What cmd_drain.c (the command) and drain_show.c
 * (what people and programs see of it) share. */
#ifndef HL_WORKER_CTL_DRAIN_H
#define HL_WORKER_CTL_DRAIN_H

#include "worker/ctl/census.h"
#include "worker/ctl/confirm.h"

enum drain_state {
    DRAIN_LOOKING,
    DRAIN_FENCING, /* producers have to confirm */
    DRAIN_DRAINING,
    DRAIN_STUCK,       /* what is left does not go by itself */
    DRAIN_UNREACHABLE, /* a store does not answer */
    DRAIN_SETTLING,    /* nothing was left; the second look has to say the same */
    /* and how it ended: */
    DRAIN_EMPTY,
    DRAIN_NOT_EMPTY,
    DRAIN_TIMEOUT,
    DRAIN_INTERRUPTED,
};
const char *drain_state_name(enum drain_state s);

struct drain {
    struct session session;
    const struct ctl_args *args;
    struct census_ask ask;
    int64_t settle_ms, patience_ms, timeout_ms; /* timeout -1: as long as it takes; 0: look once */
    bool fence, unfence, quiet;

    struct census now, first; /* the last look; the one before that found nothing, too */
    bool has_first;           /* it may be compared with the next */
    bool compared;            /* the last look was, with the one before */
    enum drain_state state;
    int64_t started_ms, trouble_ms; /* trouble: since when it is stuck or unreachable; 0 = is not */
    int64_t fences;                 /* queues fenced, or opened again */
    int64_t done, hastened;         /* events that went; retries that were made due */
    double rate;                    /* events a second, lately */
    int64_t last_events, last_ms;   /* for that; -1 = no look yet */
    int64_t said_ms;                /* when a line was last written */
    enum drain_state said;
    bool bar; /* one stands on the terminal */
};

/* After each look. */
void drain_progress(struct drain *d);
/* No bar stands on the terminal any more. */
void drain_progress_ends(struct drain *d);
/* At the end: the proof, or what is left. */
void drain_report(struct drain *d);

#endif
