/* retention: what is too old goes, a little at a time. Lives in the janitor's process. Of all in the
 * fleet one is at it (webhook.duties): a lease of five minutes, renewed with each step, in no
 * session, so that it works through a pooler. Two at once would do no harm. */
#ifndef HL_WORKER_RETENTION_H
#define HL_WORKER_RETENTION_H

#include "base/config.h"
#include "domain/store.h"

struct retention;

/* cfg and store are borrowed. */
struct retention *retention_new(struct loop *l, const struct config *cfg, struct store *store);
/* Asks at once and again and again: a pass begins when the last one of anybody ended
 * WEBHOOK_RETENTION_EVERY ago. Metrics, crashes, crawls, events and documents beyond their days go in
 * steps of at most a thousand rows with a pause between them. Each time it asks, partitions of the
 * metrics tables are made ahead and dropped. A step that fails ends its pass; the next one
 * begins anew. Logs what it did. */
void retention_start(struct retention *r);
/* No further step; the answer to one under way is still expected. */
void retention_stop(struct retention *r);
void retention_free(struct retention *r); /* NULL ok; when nothing is under way any more */

#endif
