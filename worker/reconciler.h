/* reconciler: keeps Redis a true picture of the rows. It notices when Redis has lost something (its
 * generation is gone or another's, it was restarted or replaced, the group is gone) and publishes
 * what is queued and due without a job. Publishing is idempotent, so looking twice does no harm.
 *
 *   - what became due since the last look, once it had its time to be published by others;
 *   - everything, from the oldest on and at a bounded rate, when there is a reason to;
 *   - otherwise one page per look in the background, for reasons that nobody knew.
 *
 * Of the janitors of a queue one at a time does so: an office in Redis (queue_attend). */
#ifndef HL_WORKER_RECONCILER_H
#define HL_WORKER_RECONCILER_H

#include "domain/queue.h"
#include "domain/store.h"

struct reconciler;

struct reconciler_conf {
    struct loop *loop;
    struct store *store;
    struct redis *redis; /* takes its redis_on_state hook */
    struct queue *queue;
    int64_t every_ms; /* between two looks */
};

struct reconciler *reconciler_new(const struct reconciler_conf *conf);
void reconciler_free(struct reconciler *r); /* NULL ok; after pool and Redis */

void reconciler_start(struct reconciler *r);
void reconciler_stop(struct reconciler *r);
/* Something may have been lost: all rows are looked at. why: for the log, static. */
void reconciler_walk(struct reconciler *r, const char *why);
/* Requests under way own memory of it. */
bool reconciler_busy(const struct reconciler *r);

#endif
