/* orders: what operators tell this process: queues that are paused, to be quiet, to make room for another
 * (webhook.queues, webhook.workers.orders). Asked for every second, with one statement that also writes
 * what the process tells of itself (webhook.workers.status): people read that, and whoever pauses a
 * queue reads from it that nothing of the queue begins here any more. While PostgreSQL is away what was
 * known last stays. */
#ifndef HL_WORKER_ORDERS_H
#define HL_WORKER_ORDERS_H

#include "base/buf.h"
#include "domain/store.h"

#include <stdbool.h>

struct orders;

enum orders_queue { ORDERS_CHANGE, ORDERS_CRAWL, ORDERS_NQUEUES };

struct orders_conf {
    struct loop *loop;
    struct store *store;
    const char *instance; /* name of this process; borrowed */
    /* Appends the members of the status. */
    void (*tell)(struct buf *json, void *ctx);
    /* An event is being claimed: the claim may have begun before the queue was paused. */
    bool (*claiming)(void *ctx);
    void (*changed)(void *ctx); /* there are other orders */
    void *ctx;
};

/* Asks for nothing before orders_begin. */
struct orders *orders_new(const struct orders_conf *conf);
/* With every lease, the first and those after one that ran out: nobody waits for a process without one
 * to note an order, so that what it heard before counts for nothing, until it hears it anew. */
void orders_begin(struct orders *o);
void orders_stop(struct orders *o); /* NULL ok; calls nobody any more */
/* NULL ok; stopped, and after the pool: no question may be under way. */
void orders_free(struct orders *o);

/* New work of this queue may begin: the orders are known, nothing in them is against it, and the row does
 * not say any more that a pause is noted (whoever gives the next one would believe it). */
bool orders_allow(const struct orders *o, enum orders_queue queue);
bool orders_quiet(const struct orders *o);
bool orders_kicked(const struct orders *o); /* finish, and let another take over */

#endif
