/* batch: natural batching. While one flush is in flight, callers queue up; when it returns, all
 * that queued goes out in one. No timers, no added latency when idle, large batches under load. A
 * flush starts at the end of the loop turn, so that everything asked for in one turn shares it.
 * The user supplies "how to send n of these" and calls batch_done when they are answered. */
#ifndef HL_IO_BATCH_H
#define HL_IO_BATCH_H

#include "base/list.h"
#include "base/meter.h"
#include "io/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct batch;

/* Embedded in the caller's request, zero-initialised; borrowed until it is flushed or removed. */
struct batch_item {
    struct list_node node;
    size_t bytes; /* its weight against max_bytes; set before batch_add */
};

/* items now belong to the flush; never empty. Exactly one batch_done must follow, from the loop. */
typedef void batch_flush_fn(struct list *items, void *ctx);

struct batch_conf {
    enum meter_STATEMENT label; /* of M_BATCH and M_FLUSH */
    size_t max_items;           /* of one flush */
    size_t max_bytes;           /* of one flush; a single larger item still goes, alone */
    size_t max_waiting;         /* items; more are refused */
    batch_flush_fn *flush;
    /* An item that found the queue full, or that a flush gave to batch_refuse; from the loop. */
    void (*refused)(struct batch_item *item, void *ctx);
    void *ctx;
};

struct batch *batch_new(struct loop *l, const struct batch_conf *conf);
void batch_free(
    struct batch *b); /* NULL ok; waiting items are forgotten, their owners still own them */

void batch_add(struct batch *b, struct batch_item *item);
void batch_refuse(struct batch *b, struct batch_item *item); /* for an item of the running flush */
/* Takes back an item that no flush has taken yet; false when it is too late. */
bool batch_remove(struct batch *b, struct batch_item *item);
void batch_done(struct batch *b); /* the flush in flight was answered */
size_t batch_waiting(const struct batch *b);

#endif
