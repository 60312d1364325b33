/* pace: when the n-th of so many a second is due. Pure. */
#ifndef HL_WORKER_CTL_PACE_H
#define HL_WORKER_CTL_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_MAX_RATE 1000000
#define PACE_MIN_RATE 0.00001 /* one a day: microseconds to the next fit a number */

struct pace {
    double rate;     /* a second, more than 0 */
    int64_t ramp_us; /* for so long it grows from nothing to that; 0 = it is there at once */
};
/* Microseconds from the start, for n from 0. */
int64_t pace_due_us(const struct pace *p, int64_t n);
/* How many are due before that moment. */
int64_t pace_count(const struct pace *p, int64_t us);
/* "50", "0.5", "50/s"; false: no number from PACE_MIN_RATE to PACE_MAX_RATE. */
bool pace_rate(const char *text, double *rate);

#endif
