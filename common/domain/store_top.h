/* store_top: what somebody who watches the fleet looks at every few seconds. Each is one bounded statement. Times are microseconds since 1970 UTC; cb as in store.h. */
#ifndef HL_DOMAIN_STORE_TOP_H
#define HL_DOMAIN_STORE_TOP_H

#include "domain/store.h"

#define TOP_WORKERS 500 /* the living first */

enum {
    TOP_QUEUE_NAME,
    TOP_QUEUE_PAUSED, /* since when; NULL = it is not */
    TOP_QUEUE_PAUSED_BY,
    TOP_QUEUE_FENCED,
    TOP_QUEUE_OLDEST_MS, /* age of what has been due longest; of the queue of changes only */
};
void store_top_queues(struct store *s, store_cb *cb, void *ctx);

enum {
    TOP_WORKER_ID,
    TOP_WORKER_HOST,
    TOP_WORKER_PID,
    TOP_WORKER_STATE, /* alive, silent (not seen for two leases), dead */
    TOP_WORKER_STARTED,
    TOP_WORKER_ORDERS,
    TOP_WORKER_STATUS, /* what it tells of itself, JSON; NULL = nothing */
    TOP_WORKER_JOBS,   /* rows in progress */
    TOP_WORKER_OLDEST_MS,
};
void store_top_workers(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);

#endif
