/* breaker: the circuits of upstream hosts, as this process knows them, shared with the fleet through
 * webhook.upstreams: opened by whoever sees the failures, read by all every few seconds, tried by
 * one job of the whole fleet at a time. Where PostgreSQL is away each process keeps its own.
 *
 * Every function takes NULL for "no breaker": everything is allowed, everything charged. */
#ifndef HL_WORKER_BREAKER_H
#define HL_WORKER_BREAKER_H

#include "base/config.h"
#include "domain/store.h"
#include "worker/scrape_outcome.h"

struct breaker;

/* cfg and store (with an owner) are borrowed. NULL when WEBHOOK_BREAKER_FAILURES is 0. Reads from
 * now on. */
struct breaker *breaker_new(struct loop *l, const struct config *cfg, struct store *store);
void breaker_show(const struct breaker *b); /* NULL ok; sets the gauge of circuits (base/meter.h) */
void breaker_stop(struct breaker *b);       /* NULL ok; no further reads: before the loop goes */
void breaker_free(struct breaker *b); /* NULL ok; stopped, and after the pool: nothing in flight */

/* A host that is asked for: not held off now, be it for one job only. host NULL: always. */
bool breaker_allows(const struct breaker *b, const char *host);
/* How many of `wanted` jobs may be started for this host: all, one to try it, or none. */
int64_t breaker_room(const struct breaker *b, const char *host, int64_t wanted);

/* A job's leave to ask a host; zero-initialised, embedded, lives until breaker_report or
 * breaker_return. */
struct breaker_leave {
    const char *host; /* borrowed; NULL = no circuit */
    void (*answer)(struct breaker_leave *leave, bool granted, void *ctx);
    void *ctx;
    bool again;      /* its page has failed before; set before breaker_report */
    bool probe;      /* half open, and this job tries it */
    int64_t wait_ms; /* out, when refused: come back then */
};
enum breaker_says {
    BREAKER_GO,
    BREAKER_WAIT,
    BREAKER_ASKS /* answer comes later, from the loop */
};
enum breaker_says breaker_ask(struct breaker *b, struct breaker_leave *leave);

/* What came of it. retry_after_ms: -1 = none; error: short, no secrets. True: the failure is not to
 * be charged; come back after leave->wait_ms. */
bool breaker_report(struct breaker *b, struct breaker_leave *leave, enum upstream_sign sign,
    int64_t retry_after_ms, const char *error);
/* The host was not asked after all. Also cancels breaker_ask: no answer will come. */
void breaker_return(struct breaker *b, struct breaker_leave *leave);

#endif
