/* histogram: how often which value was seen, in cells that grow with the value: exact below 256, and
 * never more than one in 128 too high above (as HdrHistogram does it). Pure. */
#ifndef HL_WORKER_CTL_HISTOGRAM_H
#define HL_WORKER_CTL_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_HALF = 128, /* cells of each power of two */
    HISTOGRAM_POWERS = 40,
    HISTOGRAM_CELLS = (HISTOGRAM_POWERS - 6) * HISTOGRAM_HALF,
};

/* Zero-initialised is empty. */
struct histogram {
    int64_t n, max;
    int64_t cells[HISTOGRAM_CELLS];
};
/* Below 0 counts as 0, from 2 to the power of 40 on as the largest that fits; max is exact. */
void histogram_add(struct histogram *h, int64_t value);
/* The value that so many of a hundred do not exceed; 0 when it is empty. */
int64_t histogram_at(const struct histogram *h, double percent);

#endif
