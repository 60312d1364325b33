/* store_orders: what operators tell the fleet (paused and fenced queues, orders for a worker), and what
 * the processes tell of themselves (webhook.workers.status, webhook.producers). All texts are borrowed
 * during the call; cb as in store.h; NULL: fire and forget. */
#ifndef HL_DOMAIN_STORE_ORDERS_H
#define HL_DOMAIN_STORE_ORDERS_H

#include "domain/store.h"

/* Of what a process asks and tells every second: a row that it wrote is of what it knew no longer
 * before. */
#define ORDERS_TIMEOUT_MS 2000

/* --- a worker process -------------------------------------------------------------------- */

/* Writes the worker's status (a JSON object; NULL: it stays as it is), and asks: whether the queue of
 * changes is paused, whether that of crawl jobs is, the order for this worker ("" = none), level of the
 * log and ms left (log_order's; NULLs: no order). One row. */
void store_orders(struct store *s, const char *worker, const char *status, store_cb *cb, void *ctx);

/* --- a producer process ------------------------------------------------------------------ */

struct store_producer {
    const char *id, *host;
    int64_t pid;
    const char *fenced; /* text of an array of queue names: nothing is taken in for them */
    const char *status; /* a JSON object */
};
/* Writes its row, and asks: whether the queue of changes is fenced, whether that of crawl jobs is, level
 * of the log and ms left. One row. */
void store_attend(struct store *s, const struct store_producer *p, store_cb *cb, void *ctx);
/* Asks that only. */
void store_fences(struct store *s, store_cb *cb, void *ctx);
/* Takes a producer's row away. No columns. */
void store_producer_left(struct store *s, const char *id, store_cb *cb, void *ctx);
/* Processes of this host with this spool folder (as the status has it): id, pid, place (of the status),
 * ms since it was heard of. */
enum { NEIGHBOUR_ID, NEIGHBOUR_PID, NEIGHBOUR_PLACE, NEIGHBOUR_SILENT_MS };
void store_neighbours(
    struct store *s, const char *host, const char *folder, store_cb *cb, void *ctx);
/* Rows of producers of which nothing was heard for a week. No columns. */
void store_forget_producers(struct store *s, store_cb *cb, void *ctx);

/* --- any other process ------------------------------------------------------------------- */

/* Level of the log and ms left, as above. One row. */
void store_log_level(struct store *s, store_cb *cb, void *ctx);

/* --- an operator ------------------------------------------------------------------------- */

/* What was ordered and holds: level, until (microseconds since 1970), by whom; no row: nothing. */
void store_log_order(struct store *s, store_cb *cb, void *ctx);
/* For so long; one row as above. level NULL: ends it; a row (level) if there was one. */
void store_set_log_level(
    struct store *s, const char *level, int64_t ms, const char *by, store_cb *cb, void *ctx);

/* name, paused_at (microseconds since 1970), paused_by, fenced_at, fenced_by of every queue */
void store_queue_orders(struct store *s, store_cb *cb, void *ctx);
/* queues: text of an array. One row (name) for each that was changed. */
void store_pause(
    struct store *s, const char *queues, bool on, const char *by, store_cb *cb, void *ctx);
void store_fence(
    struct store *s, const char *queues, bool on, const char *by, store_cb *cb, void *ctx);

/* Of every worker process: id, host, pid, state (alive, dead), started_at, seen_at (microseconds), ms
 * since then, order, phase (of its status, as all that follows), jobs, crawls, age of its oldest job
 * (ms; none: empty), connections open, busy, at most, bytes of memory, jobs done, restarts, whether it has noted that
 * the queue of changes is paused, whether that of crawl jobs; the order that
 * it has noted; rows in progress. */
enum {
    FLEET_ID,
    FLEET_HOST,
    FLEET_PID,
    FLEET_STATE,
    FLEET_STARTED,
    FLEET_SEEN,
    FLEET_SILENT_MS,
    FLEET_ORDERS,
    FLEET_PHASE,
    FLEET_JOBS,
    FLEET_CRAWLS,
    FLEET_OLDEST_MS,
    FLEET_OPEN,
    FLEET_BUSY,
    FLEET_MAX,
    FLEET_MEMORY,
    FLEET_DONE,
    FLEET_RESTARTS,
    FLEET_NOTED_CHANGE,
    FLEET_NOTED_CRAWL,
    FLEET_NOTED_ORDERS,
    FLEET_ROWS,
    FLEET_COLUMNS
};
void store_fleet(struct store *s, store_cb *cb, void *ctx);
/* order: "quiet", "kick" or NULL for none. workers: text of an array of ids. One row (id) for each
 * living one. Nobody is kept from being kicked. */
void store_order(struct store *s, const char *workers, const char *order, store_cb *cb, void *ctx);
/* id, host, pid, ms since it was heard of, whether it takes in no changes, whether no crawl jobs, of
 * every producer process */
enum {
    PRODUCER_ID,
    PRODUCER_HOST,
    PRODUCER_PID,
    PRODUCER_SILENT_MS,
    PRODUCER_FENCED_CHANGE,
    PRODUCER_FENCED_CRAWL
};
void store_producers(struct store *s, store_cb *cb, void *ctx);

#endif
