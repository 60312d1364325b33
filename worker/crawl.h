/* crawl: one crawl job in flight: its bytes, what they will leave in PostgreSQL, one transaction, the
 * ack. All it does may be done twice, so it has no claim and no fence: whoever is given the entry does
 * it. What passes is repeated until it goes through or the process has to leave; what never will
 * becomes a dead letter. */
#ifndef HL_WORKER_CRAWL_H
#define HL_WORKER_CRAWL_H

#include "domain/metrics.h"
#include "domain/queue.h"
#include "domain/spans.h"
#include "domain/store.h"
#include "io/offload.h"

struct crawl;

/* Shared by all crawl jobs of a process; borrowed. */
struct crawl_env {
    struct loop *loop;
    struct store *store;
    struct queue *queue;     /* of QUEUE_CRAWL */
    struct offload *offload; /* whose thread reads the jobs */
    struct metrics *metrics; /* NULL ok */
    struct spans *spans;     /* NULL ok */
    const char *instance;    /* this process */
    bool index;              /* pages go into the index */
    int64_t max_starts;      /* a job that so many readers have died with is a dead letter */
    /* May it be read now, which makes its event crawl_swell bytes? Otherwise it is parked. */
    bool (*admits)(struct crawl *c, void *ctx);
    /* It has ended, and is freed after this. again: its entry is still ours, and to be looked at
     * again. */
    void (*done)(struct crawl *c, bool again, void *ctx);
    /* Aborted while an answer is awaited that may be long in coming: its entry may be given to others
     * already; done runs when the answer is there. */
    void (*orphaned)(struct crawl *c, void *ctx);
    void *ctx;
};

/* Copies what it needs of e, which has a job, here or beside. Nothing happens before crawl_start. */
struct crawl *crawl_new(const struct crawl_env *env, const struct queue_entry *e);
void crawl_free(struct crawl *c); /* NULL ok; one that was never started */
void crawl_start(struct crawl *c);
void crawl_unpark(struct crawl *c); /* asks again; nothing happens to one that is not parked */
/* Lets go at the next opportunity, without a word to Redis. */
void crawl_abort(struct crawl *c);
/* Gives one that was never started back to the queue. */
void crawl_hand_back(struct crawl *c);

struct list_node *crawl_link(struct crawl *c); /* for its owner's list */
struct crawl *crawl_of(struct list_node *link);
const char *crawl_entry(const struct crawl *c);
size_t crawl_bytes(const struct crawl *c); /* of the job, as it travels */
size_t crawl_swell(const struct crawl *c); /* of its event, decoded; 0 = not known yet */
bool crawl_parked(const struct crawl *c);
bool crawl_orphan(const struct crawl *c);
/* A reader died with it: it had better run alone. */
bool crawl_suspect(const struct crawl *c);

#endif
