/* inflight: the jobs of a worker process that have not ended: found by event id, and each with a line
 * in shared memory, where the supervisor finds it should the process die. */
#ifndef HL_WORKER_INFLIGHT_H
#define HL_WORKER_INFLIGHT_H

#include "base/buf.h"
#include "worker/job.h"
#include "worker/obituary.h"

enum { INFLIGHT_BUCKETS = 1024 };

struct inflight {
    struct list jobs;                      /* of struct job_link.all, oldest first */
    struct list buckets[INFLIGHT_BUCKETS]; /* the same, by event id */
    struct held *held;
    int *free_lines; /* of `held` */
    int room;        /* how many there are: so many jobs may be added */
    struct buf ids;
};

/* held: `max` lines, all free; borrowed. */
void inflight_init(struct inflight *f, struct held *held, int max);
void inflight_release(struct inflight *f);

/* There must be room. */
void inflight_add(struct inflight *f, struct job *j);
void inflight_remove(struct inflight *f, struct job *j);
/* It has entered a new state. */
void inflight_moved(struct inflight *f, struct job *j);

/* NULL: none. Of two of one event (see child.c, claimed_by_row) the older. */
struct job *inflight_find(struct inflight *f, const struct uuid *id);
void inflight_abort(struct inflight *f);
/* The event ids, as text of a uuid array; until the next call. */
const char *inflight_ids(struct inflight *f);

#endif
