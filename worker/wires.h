/* wires: the connections every process of the worker fleet builds after its fork. */
#ifndef HL_WORKER_WIRES_H
#define HL_WORKER_WIRES_H

#include "base/config.h"
#include "domain/metrics.h"
#include "domain/queue.h"
#include "domain/spans.h"
#include "domain/store.h"

struct wires {
    struct loop *loop;
    struct offload *offload;
    struct dbpool *pool;
    struct store *store;
    struct metrics *metrics; /* NULL: none are taken */
    struct spans *spans;     /* NULL: none are made; wires_open_spans */
    struct redis *redis;
    struct queue *queue;
};

/* instance: name of the process, "" ok: shown to PostgreSQL and Redis, owner of claims, consumer of
 * the group when consume is set. connections: at most so many to PostgreSQL. */
bool wires_open(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    int connections, struct hl_err *err);
/* Its two halves: what a process needs that only looks into PostgreSQL; Redis beside it, when that
 * is done already. consume: the store claims for `instance`. */
bool wires_open_store(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    int connections, struct hl_err *err);
bool wires_open_queue(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    struct hl_err *err);
/* For who works on events. True where none are wanted. */
bool wires_open_spans(
    struct wires *w, const struct config *cfg, const char *instance, struct hl_err *err);
void wires_close(struct wires *w); /* everything that was opened; half-open is fine */

/* host-pid-nonce: no two processes ever share a name, and people can tell where it runs. */
void wires_name(char *out, size_t size);

/* A pool of one connection for the lease, and a further Redis connection for blocking reads. */
struct dbpool *wires_pool(struct wires *w, const struct config *cfg, const char *instance,
    enum meter_POOL label, int connections, struct hl_err *err);
struct redis *wires_redis(
    struct wires *w, const struct config *cfg, const char *instance, struct hl_err *err);

#endif
