/* stores: what a producer process keeps events in: PostgreSQL, Redis, the spool, and whether each
 * may be used now. The handlers of its routes get this as their context. */
#ifndef HL_PRODUCER_STORES_H
#define HL_PRODUCER_STORES_H

#include "base/config.h"
#include "domain/connect.h"
#include "domain/limits.h"
#include "domain/metrics.h"
#include "domain/queue.h"
#include "domain/rejects.h"
#include "domain/spans.h"
#include "io/admin.h"
#include "io/spool.h"
#include "producer/cors.h"
#include "producer/receipts.h"
#include "producer/signin.h"

/* What webhooks bring events for. */
enum { TAKES_CHANGE, TAKES_CRAWL, TAKES_NQUEUES };

struct stores {
    const struct config *cfg;
    struct admin admin; /* of the fleet that this process is of */
    struct loop *loop;
    struct offload *names, *disk; /* apart: a look-up that hangs must not hold up the spool */
    struct offload *crawl_disk;   /* large writes, which take longer */
    struct offload *crunch;       /* reads large bodies */
    int crunching;                /* those that it has */
    struct dbpool *pool;
    struct store *store;
    struct redis *redis;
    struct queue *queue;
    struct spool *spool;
    struct receipts *receipts; /* NULL: none are wanted */
    struct dbpool *read_pool;  /* the read API's, so that it takes none of intake's */
    struct store *reads;
    struct limits *limits; /* NULL: none is wanted */
    struct cors *cors;
    struct signins *signins; /* who failed to sign in to the dashboard */
    struct queue *crawl_queue;
    struct spool *crawl_spool;
    struct metrics *metrics; /* NULL: none are taken */
    struct rejects *rejects; /* NULL: none are kept */
    struct spans *spans;     /* NULL: none are made */
    struct live *live;       /* the server's, for its route */
    struct redrives *redrives;
    struct schema_wait schema;
    bool schema_ready; /* the migrations this program needs are applied */
    bool redis_evicts;

    int64_t signed_now, signed_previous; /* requests, by the key that their signature was under */
    int64_t previous_told_ms; /* when the log last heard of the previous one; 0 = never */

    bool fenced[TAKES_NQUEUES];            /* by an operator: nothing is taken in (attendance) */
    int taking[TAKES_NQUEUES];             /* requests let in, and not finished */
    bool spool_rows_behind[TAKES_NQUEUES]; /* webhook.spools may lack what is on the disk */
    int64_t accepted, refused;             /* webhooks, by their answers */
    int64_t spool_since_us[TAKES_NQUEUES]; /* it has held records so long, wall clock; 0 = none */
    int intakes;             /* requests accepted and not finished, questions included */
    void (*idle)(void *ctx); /* the last of them has finished */
    void *idle_ctx;
};

/* On a loop of the process's own; cfg is borrowed. Opens the spool (err names folder and remedy),
 * connects to the rest as needed. False: half-open, stores_close is due. */
bool stores_open(struct stores *s, struct loop *l, const struct config *cfg, struct hl_err *err);
/* What is under way is answered by dying connections, or forgotten: who has requests waiting
 * (forward) is freed behind it. */
void stores_close(struct stores *s);

/* True when T0 may be tried: PostgreSQL answers and has the schema. */
bool stores_database_ready(const struct stores *s);
/* True when an event can be taken in durably now: PostgreSQL is ready, or the spool takes it. */
bool stores_can_accept(const struct stores *s);
/* True when Redis may be told: it answers, and does not evict. */
bool stores_redis_ready(const struct stores *s);

/* Counts a request from its acceptance to its end. */
void stores_intake_begins(struct stores *s);
void stores_intake_ends(struct stores *s);

#endif
