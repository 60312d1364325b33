/* clock: the only place that asks the kernel for the time, replaceable in tests. */
#ifndef HL_BASE_CLOCK_H
#define HL_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void); /* monotonic, counts suspend (CLOCK_BOOTTIME); for deadlines, leases */
int64_t clock_mono_us(void); /* same clock, for durations */
int64_t clock_wall_us(void); /* microseconds since 1970 UTC; for stamps people read */

/* Tests: both clocks read these functions until called again with NULL. */
void clock_replace(int64_t (*mono_us)(void), int64_t (*wall_us)(void));

#endif
