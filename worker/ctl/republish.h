/* republish: jobs of rows that an operator gave back to the queue go to Redis. The rows are the
 * truth: what Redis does not take, a janitor publishes. */
#ifndef HL_WORKER_CTL_REPUBLISH_H
#define HL_WORKER_CTL_REPUBLISH_H

#include "worker/ctl/session.h"

/* Zero-initialise with .session set. */
struct republish {
    struct session *session;
    int64_t moved;     /* jobs that Redis has taken */
    int64_t left;      /* jobs that it has not */
    struct hl_err err; /* why, of the first of them */
};
/* Starts with the event of this row (columns as store_event reads them); session_wait ends it. Once
 * Redis has not taken one, the others are not tried. reason: of a bury; static. */
void republish_row(
    struct republish *r, const PGresult *rows, int row, enum queue_op op, const char *reason);
/* Says what Redis has not taken, and who will see to it; nothing where it has all. */
void republish_explain(const struct republish *r);

#endif
