/* bench_wait: when the events of a load came to their end, by PostgreSQL's clock, compared with ours. */
#ifndef HL_WORKER_CTL_BENCH_WAIT_H
#define HL_WORKER_CTL_BENCH_WAIT_H

#include "worker/ctl/bench_load.h"
#include "worker/ctl/session.h"
#include "worker/ctl/skew.h"

struct bench_wait {
    struct skew skew; /* of PostgreSQL's clock */
    int64_t completed, superseded, failed, unfinished;
    struct histogram completed_us; /* from when an event was due until it was completed */
    bool broken_off;               /* by a signal, or PostgreSQL could not be asked on */
};
/* Measures the skew. CTL_OK, or the exit code after saying why not. */
int bench_wait_clock(struct session *s, struct bench_wait *w);
/* Looks until all that the load kept are at an end, or for so long. CTL_OK, also where some are not
 * (unfinished); else the exit code. Of a load that was broken off it looks once. Reorders
 * load->kept. */
int bench_wait_run(struct session *s, struct bench_wait *w, const struct bench_plan *plan,
    struct bench_load *load, int64_t timeout_ms);

#endif
