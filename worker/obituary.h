/* obituary: what the supervisor tells the janitor about workers that died, in shared memory, and
 * what a worker shows of its jobs for the case. Made before the fork; the supervisor writes, the
 * janitor works off. */
#ifndef HL_WORKER_OBITUARY_H
#define HL_WORKER_OBITUARY_H

#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

/* One job a worker holds, in its slot of the shared memory (prefork_slot.extra). */
struct held {
    struct uuid id;
    uint8_t state; /* enum job_state + 1; 0 = free */
};

struct obituary {
    char instance[96]; /* the worker's name */
    char cause[64];    /* how it died */
};

struct obituaries;

struct obituaries *obituaries_new(void);    /* NULL: no memory or descriptors; errno says */
void obituaries_free(struct obituaries *o); /* NULL ok */

/* Written for one death. A full list drops it: then the janitor cannot reach PostgreSQL, and the
 * worker's lease runs out instead. */
void obituaries_add(struct obituaries *o, const struct obituary *one);

/* The janitor's side. The descriptor is readable (an eventfd) whenever somebody died. */
int obituaries_fd(const struct obituaries *o);
/* The first that was not handled yet, copied out; false when there is none. obituaries_done marks
 * it handled: a janitor that dies in between leaves it to the next one. */
bool obituaries_first(const struct obituaries *o, struct obituary *out);
void obituaries_done(struct obituaries *o);

#endif
