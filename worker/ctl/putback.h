/* putback: jobs of rows that were given back to the queue go to Redis. The rows are the truth: what
 * Redis does not take costs nothing, a janitor publishes it. */
#ifndef HL_WORKER_CTL_PUTBACK_H
#define HL_WORKER_CTL_PUTBACK_H

#include "worker/ctl/session.h"

/* Zero-initialise with .session set. */
struct putback {
    struct session *session;
    int64_t taken;     /* jobs that Redis has taken */
    int64_t left;      /* jobs that it has not */
    struct hl_err err; /* why, of the first of them. While it is set no further one is tried */
};
/* Starts with the event of this row (columns as store_event reads them); session_wait ends it. A row of
 * the replaced service, which has no id yet, is left. delay_ms: of a requeue. reason: of a bury; static. */
void putback_row(struct putback *p, const PGresult *rows, int row, enum queue_op op,
    int64_t delay_ms, const char *reason);
/* The events that store_failed_again or store_redrive_apply has put back; returns when Redis has
 * answered. */
void putback_again(struct putback *p, const PGresult *rows);
/* Says what Redis has not taken, and who will see to it; nothing where it has all. */
void putback_explain(const struct putback *p);

#endif
