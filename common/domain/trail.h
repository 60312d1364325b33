/* trail: everything that is known of one event, in the order of time: put together from what PostgreSQL
 * says (store_trace), what Redis says (queue_trace), and what else its maker knows. Who cannot be asked is
 * named. Does no I/O. Zero-initialised it is empty. */
#ifndef HL_DOMAIN_TRAIL_H
#define HL_DOMAIN_TRAIL_H

#include "domain/queue_trace.h"
#include "domain/store_events.h"

enum { TRAIL_CELLS = TRACE_DETAIL + 1 };

struct trail_moment {
    int64_t at;               /* microseconds since 1970; INT64_MAX: no time of its own */
    size_t n;                 /* in the order in which they were added */
    char *cells[TRAIL_CELLS]; /* by enum trace_col; NULL = nothing */
};
struct trail {
    struct trail_moment *moments;
    size_t n;
    char **holes; /* what could not be asked, and why */
    size_t nholes;
};
void trail_release(struct trail *t);

/* What no store has as rows. at_us 0: no time of its own. by, NULL = nobody; detail (NULL ok) is taken. */
void trail_note(struct trail *t, int64_t at_us, const char *place, const char *what, const char *by,
    char *detail);
void trail_hole(struct trail *t, const char *what, const struct hl_err *err);
/* The answer of store_trace. */
void trail_rows(struct trail *t, const PGresult *rows);

/* What queue_trace said of one queue. */
struct trail_queue {
    bool known; /* it has answered; otherwise err says why not */
    struct hl_err err;
    struct queue_traced found;
};
enum { TRAIL_NQUEUES = 2 }; /* changes, crawls */
/* status: of the event's row; NULL = it has none. */
void trail_redis(
    struct trail *t, const struct trail_queue queues[TRAIL_NQUEUES], const char *status);
/* From when on queue_trace is to look for letters of a row made then (0 = not known): ms. */
int64_t trail_letters_since(int64_t created_us);

/* Oldest first; what has no time comes last. */
void trail_sort(struct trail *t);

#endif
