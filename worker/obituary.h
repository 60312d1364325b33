/* obituary: what the supervisor tells the janitor about workers that died, in shared memory, and
 * what a worker shows of its jobs for the case. Made before the fork; the supervisor writes, the
 * janitor works off. */
#ifndef HL_WORKER_OBITUARY_H
#define HL_WORKER_OBITUARY_H

#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One job a worker holds, in its slot of the shared memory (prefork_slot.extra). */
struct held {
    struct uuid id;
    uint8_t state; /* enum job_state + 1; 0 = free. Of the dead: any value, it may have run wild */
};

/* Name of the step for people; "?" for a value that is none. */
const char *held_step(const struct held *h);
/* Whether the process worked on the job: between T1 and T3, when the row was its own. A job that is
 * only being claimed has touched nothing but the store. */
bool held_in_work(const struct held *h);

struct obituary {
    char instance[96]; /* the worker's name */
    char role[16];
    char cause[64]; /* how it died, for people */
    pid_t pid;
    int signo, code; /* 0 and -1: not so */
    bool crash;      /* what it worked on is suspect */
    int64_t max_rss_kb, lived_ms;
    size_t nheld; /* jobs it held, as far as they are kept here */
    size_t nlost; /* those for which there was no room */
    uint64_t held_at;
};

struct obituaries;

/* Deaths that can wait for the janitor; more of them are lost. */
enum { OBITUARIES_KEPT = 64 };

/* held: so many jobs are kept at the same time, of all the dead together. NULL: no memory or
 * descriptors; errno says. */
struct obituaries *obituaries_new(size_t held);
void obituaries_free(struct obituaries *o); /* NULL ok */

/* Written for one death; slots: the jobs of the dead, copied, those that are free left out. Sets
 * one->nheld and nlost. False when the list is full: the janitor cannot reach PostgreSQL, and the
 * worker's lease runs out instead. */
bool obituaries_add(
    struct obituaries *o, struct obituary *one, const struct held *slots, size_t nslots);

/* The janitor's side. The descriptor is readable (an eventfd) whenever somebody died. */
int obituaries_fd(const struct obituaries *o);
/* The first that was not handled yet, copied out; false when there is none. obituaries_done marks
 * it handled: a janitor that dies in between leaves it to the next one. */
bool obituaries_first(const struct obituaries *o, struct obituary *out);
struct held obituaries_held(const struct obituaries *o, const struct obituary *one, size_t i);
void obituaries_done(struct obituaries *o);

#endif
