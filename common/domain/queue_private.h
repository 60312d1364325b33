/* The keys of a queue, for common/domain/queue*.c only. */
#ifndef HL_DOMAIN_QUEUE_PRIVATE_H
#define HL_DOMAIN_QUEUE_PRIVATE_H

#include "domain/queue.h"

/* Borrowed from the queue. */
struct queue_keys {
    enum queue_kind kind;
    struct redis *redis;
    const char *stream, *group, *later, *later_jobs, *dead, *marker_prefix, *blob_prefix;
    const char *generation;
};
struct queue_keys queue_keys(const struct queue *q);

/* queue_fetch of a key of any name. */
void queue_fetch_key(struct queue *q, const char *key, queue_fetch_cb *cb, void *ctx);

#endif
