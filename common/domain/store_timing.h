/* store_timing: what time it is in PostgreSQL, and when events came to their end there: for whoever measures
 * how long something took. */
#ifndef HL_DOMAIN_STORE_TIMING_H
#define HL_DOMAIN_STORE_TIMING_H

#include "domain/store.h"

/* PostgreSQL's clock at this moment: microseconds since 1970. */
void store_clock(struct store *s, store_cb *cb, void *ctx);
/* Of those among ids (a PostgreSQL array of UUIDs, borrowed during the call) that are at an end: place
 * in the array from 1, first word of the status, finished_at in microseconds since 1970. */
void store_finished(struct store *s, const char *ids, store_cb *cb, void *ctx);

#endif
