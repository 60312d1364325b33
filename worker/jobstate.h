/* jobstate: the rescrape job as a table of state x event. Pure. Three short transactions and no
 * other: T1 (CLAIM), T3a (FAIL, RELEASE), T3b (COMPLETE). SCRAPE and INDEX hold none. SETTLE tells
 * Redis, only after PostgreSQL knows. */
#ifndef HL_WORKER_JOBSTATE_H
#define HL_WORKER_JOBSTATE_H

#define JOB_STATES(X)                                                                              \
    X(CLAIM)    /* T1 */                                                                           \
    X(INSERT)   /* T0 again: the row was lost, or never written */                                 \
    X(SCRAPE)   /* phase 2: no transaction, up to WEBHOOK_SCRAPE_TIMEOUT */                        \
    X(INDEX)    /* phase 2: the document is prepared */                                            \
    X(COMPLETE) /* T3b, the document in the same statement */                                      \
    X(FAIL)     /* T3a: queued again, or failed */                                                 \
    X(RELEASE)  /* T3a without charge: given back */                                               \
    X(SETTLE)   /* ack, requeue or bury in Redis */                                                \
    X(DONE)

#define JOB_EVENTS(X)                                                                              \
    X(OK)                                                                                          \
    X(MISSING) /* there is no row */                                                               \
    X(WAIT)    /* not now: early, its URL is being scraped, or its upstream is left alone */       \
    X(LOST)    /* terminal, or somebody else's */                                                  \
    X(RETRY)   /* nothing happened; may work later */                                              \
    X(UNSURE)  /* it may have happened; repeating recognises it */                                 \
    X(FATAL)   /* will never work */                                                               \
    X(ABORT)   /* we must let go: drain deadline, lost lease, job limit */

enum job_state {
#define X(name) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_NSTATES
};

enum job_event {
#define X(name) EV_##name,
    JOB_EVENTS(X)
#undef X
        EV_COUNT
};

const char *job_state_name(enum job_state s);
const char *job_event_name(enum job_event e);

/* The state that follows, or -1 for an edge that must not happen. */
int job_next(enum job_state s, enum job_event e);

#endif
