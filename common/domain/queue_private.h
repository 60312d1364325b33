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

#endif
