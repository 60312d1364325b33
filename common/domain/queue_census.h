/* queue_census: what both queues hold, counted in one moment (a script), so that nothing moves from
 * one place to another while it is counted. Only reads. */
#ifndef HL_DOMAIN_QUEUE_CENSUS_H
#define HL_DOMAIN_QUEUE_CENSUS_H

#include "domain/queue.h"

#define QUEUE_CENSUS_IDS 20 /* named of each place */

/* Names of events; of an entry without one its place in the stream. */
struct queue_ids {
    char *texts[QUEUE_CENSUS_IDS];
    size_t n;
};

/* One queue. */
struct queue_tally {
    int64_t length, pending;
    int64_t added;  /* entries ever added; -1 = a Redis before 7.0 */
    char *last_id;  /* ever given to an entry; "" = none */
    char *first_id; /* the oldest entry; "" = none */
    bool group;     /* it is there */
    int64_t later, later_due, later_jobs;
    int64_t orphans; /* of those jobs: `later` does not name them; the others are a place of it */
    int64_t next_due_ms; /* since 1970; -1 = nothing waits */
    struct queue_ids waiting, delivered, later_ids, later_orphans;
};

struct queue_tallies {
    int64_t at_ms;                /* Redis' clock, since 1970 */
    int64_t dead;                 /* letters of both */
    char *generation;             /* "" = none, "rebuilding" */
    char run_id[41];              /* of the server that answered */
    bool replica;                 /* it copies another server, and may be behind */
    struct queue_tally queues[2]; /* by enum queue_kind */
};

/* Borrowed during the callback; NULL unless HL_OK. */
typedef void queue_tally_cb(
    enum hl_rc rc, const struct queue_tallies *t, const struct hl_err *err, void *ctx);
/* Both of one Redis and prefix. */
void queue_tally(struct queue *change, struct queue *crawl, queue_tally_cb *cb, void *ctx);

/* Jobs that wait in `later` are due now, at most max at a time (left: call again). */
void queue_hasten(struct queue *q, int max, queue_moved_cb *cb, void *ctx);

#endif
