/* backoff: how long to wait before trying again. Pure: the caller brings the random number.
 * The scheme is "full jitter" of "Exponential Backoff And Jitter", AWS Architecture Blog, 2015:
 * many clients that failed together do not come back together. */
#ifndef HL_BASE_BACKOFF_H
#define HL_BASE_BACKOFF_H

#include <stdint.h>

/* Delay before attempt number `attempt` + 1: evenly spread over 1 .. min(max, base * 2^(attempt-1))
 * milliseconds. attempt counts from 1 (less counts as 1); base and max below 1 count as 1. */
int64_t backoff_ms(int attempt, int64_t base_ms, int64_t max_ms, uint32_t random);

/* ms less up to 10 %, for periods that several processes would otherwise share. */
int64_t backoff_jitter(int64_t ms, uint32_t random);

#endif
