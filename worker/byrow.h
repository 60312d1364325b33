/* byrow: claims events straight from PostgreSQL while the queue in Redis cannot be used. A worker
 * tells it how its dealings with Redis go; after three seconds of nothing but trouble it claims what
 * is due, in the order of the rows, as much as the worker has room for; with the first success it
 * stops. The claim is T1's: that no event runs twice, whatever Redis says meanwhile, is decided by
 * the row. */
#ifndef HL_WORKER_BYROW_H
#define HL_WORKER_BYROW_H

#include "domain/store.h"

struct byrow;

enum byrow_sign { /* what may be wrong with Redis, each by itself */
    BYROW_READS,  /* connection down, or reads refused */
    BYROW_WRITES, /* reads work, but nothing can be added to the queue: OOM */
    BYROW_NSIGNS
};

struct byrow_conf {
    struct loop *loop;
    struct store *store;
    int64_t (*room)(void *ctx); /* how many jobs may be claimed now */
    /* One claimed event; takes *ev. */
    void (*claimed)(
        struct change_event *ev, int64_t epoch, int64_t attempts, int64_t waited_ms, void *ctx);
    void (*idle)(void *ctx);  /* a claim has been answered, and all of it was handed over */
    void (*probe)(void *ctx); /* see whether Redis takes writes again; about every second */
    void *ctx;
};

struct byrow *byrow_new(const struct byrow_conf *conf);
void byrow_free(struct byrow *b); /* NULL ok; after the pool: no claim may be under way */

/* A read was sent that should be answered within `ms`; without an answer it counts as trouble. */
void byrow_expect(struct byrow *b, int64_t ms);
void byrow_trouble(struct byrow *b, enum byrow_sign sign);
void byrow_works(struct byrow *b, enum byrow_sign sign);
void byrow_room(struct byrow *b); /* room has come free */

bool byrow_claims(const struct byrow *b); /* Redis is away */
/* A claim is under way: what it brings may be what Redis brings as well. */
bool byrow_asking(const struct byrow *b);

#endif
