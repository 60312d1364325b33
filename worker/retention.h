/* retention: what is too old goes, a little at a time. Lives in the janitor's process. Any number
 * may run side by side: rows that another one is deleting are skipped, partitions are made and
 * dropped by one at a time. */
#ifndef HL_WORKER_RETENTION_H
#define HL_WORKER_RETENTION_H

#include "base/config.h"
#include "domain/store.h"

struct retention;

/* cfg and store are borrowed. */
struct retention *retention_new(struct loop *l, const struct config *cfg, struct store *store);
/* The first pass starts at once, the others follow hourly: partitions of the metrics tables, then
 * metrics, crashes, events and documents beyond their days, in steps of a thousand rows with a pause between
 * them. A step that fails ends its pass; the next one begins anew. Logs what it did. */
void retention_start(struct retention *r);
/* No further step; the answer to one under way is still expected. */
void retention_stop(struct retention *r);
void retention_free(struct retention *r); /* NULL ok; when nothing is under way any more */

#endif
