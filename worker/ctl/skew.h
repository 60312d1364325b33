/* skew: how far a clock elsewhere is ahead of ours, by some looks at it. Pure. */
#ifndef HL_WORKER_CTL_SKEW_H
#define HL_WORKER_CTL_SKEW_H

#include "domain/redis_exam.h"

/* Microseconds; how much of `ahead` may be the way there is `unsure`. */
struct skew {
    int64_t ahead, unsure, round_trip;
};
/* By the look that took least, whose answer was made about half-way. */
struct skew skew_of(const struct clock_look *looks, int n);

#endif
