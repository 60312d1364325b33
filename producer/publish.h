/* publish: jobs of rows that were given back to the queue of changes go to Redis. The rows are the truth:
 * what Redis does not take costs nothing, a janitor publishes it. */
#ifndef HL_PRODUCER_PUBLISH_H
#define HL_PRODUCER_PUBLISH_H

#include "producer/stores.h"

/* Starts with the event of this row (columns as store_event reads them); done (NULL ok) runs from the loop
 * when Redis has answered. False: nothing is under way, since Redis is away, or the row is one of the
 * replaced service, which has no id yet. */
bool publish_row(
    struct stores *s, const PGresult *rows, int row, void (*done)(void *ctx), void *ctx);

#endif
