/* queue_gauges: shows now and then how full the queues are, how old the oldest event that is due, and
 * whether an operator has paused them (base/meter.h: QUEUE_JOBS, DEAD_LETTERS, QUEUE_OLDEST,
 * QUEUE_PAUSED). One question at a time. */
#ifndef HL_DOMAIN_QUEUE_GAUGES_H
#define HL_DOMAIN_QUEUE_GAUGES_H

#include "base/meter.h"
#include "domain/queue.h"
#include "domain/store.h"

#define QUEUE_GAUGES_MS 5000 /* from one answer to the next question */

struct queue_gauges;

struct queue_gauges_conf { /* borrowed */
    struct loop *loop;
    struct store *store;
    struct redis *redis;
    struct queue *change, *crawl;
};
struct queue_gauges *queue_gauges_new(const struct queue_gauges_conf *conf);

/* What is known of them now; -1 = nothing. */
struct queues_seen {
    int64_t jobs[QUEUED_COUNT]; /* that wait, or are in somebody's hands */
    int64_t oldest_ms;          /* age of the change event that has been due longest; -1: none is */
};
extern const struct queues_seen queues_unseen;
struct queues_seen queue_gauges_seen(const struct queue_gauges *g);

void queue_gauges_start(struct queue_gauges *g); /* when the schema is there */
void queue_gauges_stop(
    struct queue_gauges *g); /* and forgets them. NULL ok; before the loop goes */
void queue_gauges_free(struct queue_gauges *g); /* NULL ok; stopped, nothing in flight */

#endif
