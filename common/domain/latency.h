/* latency: percentiles of what is kept in buckets, as webhook.samples has them. Pure. */
#ifndef HL_DOMAIN_LATENCY_H
#define HL_DOMAIN_LATENCY_H

#include <stdint.h>

#define LATENCY_CELLS 17 /* METER_BUCKETS_MAX and those beyond the last bound */

struct latency {
    int64_t n[LATENCY_CELLS]; /* by the bounds of hookline_event_seconds; then those beyond */
    int64_t sum;              /* of all */
};
/* From text of a PostgreSQL array of numbers and NULLs ("" = none): whatever is not there is 0. */
void latency_read(struct latency *l, const char *array);
/* The time within which `share` of them were done (0.95), ms, by a straight line within its bucket;
 * beyond the last bound: that bound. -1 = there are none. */
int64_t latency_ms(const struct latency *l, double share);

#endif
