/* queue: every Redis key and script of Hookline (PROTOCOL.md, "Redis"). Redis is the fast path and
 * may lose everything: PostgreSQL decides who may work. Requests are batched naturally
 * (io/batch.h), one script call per flush; all keys of a queue share one hash tag. */
#ifndef HL_DOMAIN_QUEUE_H
#define HL_DOMAIN_QUEUE_H

#include "base/event.h"
#include "io/batch.h"
#include "io/redis.h"

struct queue;

/* Jobs of a crawl queue are bytes (base/crawl_job.h): nothing in PostgreSQL answers for them before
 * they are done. So a publish tells whether the job is, or was, there already: its marker stays as a
 * tombstone for a day after the ack. Large ones are kept beside the stream, in a key that leaves with
 * the job. And the entries count how often their reader died (`starts`). */
enum queue_kind { QUEUE_CHANGE, QUEUE_CRAWL };

/* redis is borrowed; free it before the queue, so that it can answer. consumer: this worker's
 * instance id, NULL in programs that only publish or look. The group is made when it is needed. */
struct queue *queue_new(struct loop *l, struct redis *redis, const char *prefix,
    enum queue_kind kind, const char *consumer);
/* NULL ok; after its redis: requests still waiting are forgotten */
void queue_free(struct queue *q);
size_t queue_waiting(const struct queue *q); /* requests that no flush has taken yet */

/* What Redis remembered of this `seen`. */
enum queue_seen {
    QUEUE_NEW,       /* nothing: it is on the stream, and remembered */
    QUEUE_DUPLICATE, /* the same event: it was put there before, and is not again */
    QUEUE_CONFLICT,  /* an event of another body: nothing was done */
    QUEUE_HELD,      /* it was not asked, and the job was there already (of change events) */
};

#define QUEUE_ENTRY_MAX 44 /* "<ms>-<seq>" of a stream entry and NUL */

/* One request, embedded in its owner, zero-initialised; borrowed until done has run. done runs
 * from the loop, once. rc: HL_OK; HL_RETRY nothing happened; HL_UNSURE it may have: every
 * operation here may be repeated; HL_FATAL refused by Redis for good. */
struct queue_req {
    struct batch_item item;        /* private */
    const struct change_event *ev; /* what it is about; borrowed. Not in a crawl queue: there */
    struct uuid id;                /* the event, */
    const void *job;               /* publish: its job, encoded, borrowed; the others move what */
    size_t len;                    /* the entry has (bury without an entry: these bytes), */
    const uint8_t *digest;         /* and publish: of its body, DIGEST_LEN bytes, borrowed */
    char entry[QUEUE_ENTRY_MAX];   /* all but publish: the stream entry in hand; "" = none */
    int64_t delay_ms;              /* requeue: 0 = at once */
    const char *reason;            /* bury; borrowed */
    /* publish: "<source>:<kind>:<digest of the sender's key>", borrowed; NULL = none. Remembered
     * for seen_ms together with the job, never without one. */
    const char *seen;
    int64_t seen_ms;
    enum queue_seen was; /* out */
    void (*done)(struct queue_req *req, enum hl_rc rc, const struct hl_err *err);
    void *ctx;
};

enum queue_op {
    QUEUE_PUBLISH, /* put on the stream unless it is there already (ev) */
    QUEUE_REQUEUE, /* put back, now or after delay_ms (ev, entry, delay_ms) */
    QUEUE_ACK,     /* done for good: leaves the stream (ev id, entry) */
    QUEUE_BURY,    /* dead letter (ev, entry, reason) */
    QUEUE_NOPS
};
void queue_do(struct queue *q, enum queue_op op, struct queue_req *req);
/* Takes back a request that was not sent yet; false when it is under way (done will run). */
bool queue_undo(struct queue *q, enum queue_op op, struct queue_req *req);

/* Reading. `reader` is a connection of its own: the command blocks up to block_ms. */
struct queue_entry {
    const char *entry; /* borrowed during the callback */
    const void *job; /* NULL with len 0: see below; with len: kept beside, queue_fetch brings it */
    size_t len;
    const char *id; /* event id as the entry has it; "" = none */
    int64_t starts; /* crawl queue: readers that died with it */
};
typedef void queue_read_cb(const struct queue_entry *entries, size_t n, enum hl_rc rc,
    const struct hl_err *err, void *ctx);
/* At most count entries. after NULL: new ones. Otherwise those delivered to this consumer before
 * and never acknowledged, behind the entry `after` ("0" = from the first): no entry means that was
 * all. One that was deleted meanwhile comes with job NULL and has been let go of. One read at a
 * time. A lost group is created again and reported HL_RETRY. */
void queue_read(struct queue *q, struct redis *reader, const char *after, int count,
    int64_t block_ms, queue_read_cb *cb, void *ctx);

/* Crawl queue: a large job, by its id; borrowed during the callback. job NULL with HL_OK: it is gone. */
typedef void queue_fetch_cb(
    enum hl_rc rc, const void *job, size_t len, const struct hl_err *err, void *ctx);
void queue_fetch(struct queue *q, const char *id, queue_fetch_cb *cb, void *ctx);

/* cb: how many were moved; left is true when more wait (call again). */
typedef void queue_moved_cb(enum hl_rc rc, int64_t moved, bool left, void *ctx);

/* Bytes become a dead letter as they are. id: of the event that has no other place; NULL = they are
 * no job, or the id is another event's. entry "" = not in the stream; markers stay. cb may be NULL; it
 * gets moved 1, left false. */
void queue_quarantine(struct queue *q, const char *id, const char *entry, const void *bytes,
    size_t len, const char *reason, queue_moved_cb *cb, void *ctx);
void queue_promote(struct queue *q, int limit, queue_moved_cb *cb, void *ctx);
/* died: crawl queue: the consumer did not leave by itself, which its entries remember. */
void queue_takeover(
    struct queue *q, const char *consumer, bool died, int limit, queue_moved_cb *cb, void *ctx);

/* Names of the group's consumers; borrowed during the callback. */
typedef void queue_names_cb(enum hl_rc rc, const char *const *names, size_t n, void *ctx);
void queue_consumers(struct queue *q, queue_names_cb *cb, void *ctx);

/* cb may be NULL in what follows. */
typedef void queue_done_cb(enum hl_rc rc, const struct hl_err *err, void *ctx);

/* Mirrors this worker's lease: a key with a TTL, a hint for people and tools. How it went tells
 * whether Redis takes writes. */
void queue_alive(struct queue *q, int64_t ttl_ms, queue_done_cb *cb, void *ctx);

/* What Redis knows of itself: `generation` names its contents, "" = it has forgotten, or was never
 * told; borrowed during the callback. */
struct queue_census {
    const char *generation;
    bool in_office;     /* we are the one who rebuilds the queue */
    bool group_created; /* the group was not there */
};
typedef void queue_census_cb(
    enum hl_rc rc, const struct queue_census *census, const struct hl_err *err, void *ctx);
/* Creates the group where it is gone, and takes or keeps the office of rebuilding the queue, which
 * nobody else gets for office_ms. who: not shared with others. */
void queue_attend(
    struct queue *q, const char *who, int64_t office_ms, queue_census_cb *cb, void *ctx);
void queue_remember(struct queue *q, const char *generation, queue_done_cb *cb, void *ctx);

struct queue_stats {
    int64_t length, pending, lag, later, dead; /* lag: not delivered yet; -1 = unknown */
};
typedef void queue_stats_cb(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx);
void queue_stats(struct queue *q, queue_stats_cb *cb, void *ctx);

#endif
