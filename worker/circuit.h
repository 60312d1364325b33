/* circuit: may one upstream host be asked? Closed: yes. Open: not before a pause is over. Half open:
 * one job tries, everyone else waits for what it finds. Pure: the caller brings time and dice, and
 * sees to it that the fleet has one probe only (breaker.h). */
#ifndef HL_WORKER_CIRCUIT_H
#define HL_WORKER_CIRCUIT_H

#include "worker/scrape_outcome.h"

#include <stdbool.h>
#include <stdint.h>

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

struct circuit_conf {
    int64_t
        failures; /* so many in a row open it; so many probes that may have failed by their pages
                         leave it open */
    int64_t pause_ms;   /* for so long; doubled each time probing fails, up to ten times as much */
    int64_t longest_ms; /* bound of a pause that the upstream asks for */
    int64_t probe_ms;   /* a probe not heard of for so long is given up */
};

struct circuit { /* zeros: closed */
    enum circuit_state state;
    int64_t failures; /* in a row */
    int64_t until_ms; /* open: may be tried from then on; half open: the probe is given up then */
    bool ours;        /* half open: the probe is this process's */
};

/* TRY: it may be asked by one job, if nobody else in the fleet does. */
enum circuit_leave { CIRCUIT_GO, CIRCUIT_TRY, CIRCUIT_WAIT };
enum circuit_leave circuit_ask(const struct circuit *c, int64_t now_ms);
/* How long a job that has to wait should wait: spread, so that not all come back together. */
int64_t circuit_wait_ms(const struct circuit *c, int64_t now_ms, uint32_t random);

/* The probe is ours. */
void circuit_try(struct circuit *c, const struct circuit_conf *conf, int64_t now_ms);

struct circuit_report {
    enum upstream_sign sign;
    bool probe;             /* of the job that was let through half open */
    int64_t retry_after_ms; /* -1 = none */
    bool again;             /* this page has failed before */
};
/* True when a failure is not to be charged to its job: the circuit knew already. A probe's failure
 * is charged where its page may have brought it about: that page must not probe for ever. */
bool circuit_spares(const struct circuit *c, const struct circuit_report *r);

enum circuit_change {
    CIRCUIT_SAME,
    CIRCUIT_OPENS,
    CIRCUIT_REOPENS, /* the probe failed */
    CIRCUIT_CLOSES,
    CIRCUIT_RETURNS, /* the probe came to nothing, or its failure may be its page's: another job may
                        try at once */
};
enum circuit_change circuit_report(struct circuit *c, const struct circuit_conf *conf,
    const struct circuit_report *r, int64_t now_ms, uint32_t random);

#endif
