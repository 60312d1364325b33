/* vitals: what a worker process knows about itself, says when asked (SIGUSR2), and tells with its
 * orders. */
#ifndef HL_WORKER_VITALS_H
#define HL_WORKER_VITALS_H

#include "base/buf.h"
#include "base/list.h"
#include "domain/metrics.h"
#include "domain/queue.h"
#include "domain/store.h"
#include "worker/lease.h"

/* All borrowed. */
struct vitals {
    const char *instance;
    const struct list *jobs; /* of struct job_link.all, oldest first */
    int64_t jobs_done;
    int64_t crawls;  /* crawl jobs that it has */
    int restarts;    /* unexpected ends in its place of the fleet */
    int connections; /* that the pool may open */
    bool working, quiet, draining;
    const struct lease *lease; /* NULL = none yet */
    const struct store *store;
    const struct queue *queue;
    const struct metrics *metrics;
    const struct dbpool *pool, *lease_pool;
};

/* Several log lines: the process, how many jobs are in which step, the oldest of them, the pools.
 */
void vitals_log(const struct vitals *v);

/* Appends the members of webhook.workers.status: phase, jobs, crawls, age of the oldest, pool, metrics
 * waiting and dropped, memory, jobs done, restarts. */
void vitals_put(const struct vitals *v, struct buf *json);

/* Sets the gauges of jobs in hand and of the lease (base/meter.h). */
void vitals_show(const struct vitals *v);

#endif
