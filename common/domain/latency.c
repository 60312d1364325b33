/* latency: see latency.h. */
#include "domain/latency.h"

#include "base/meter.h"

#include <ctype.h>
#include <stdlib.h>

_Static_assert(LATENCY_CELLS == METER_BUCKETS_MAX + 1, "as many as there can be");

void latency_read(struct latency *l, const char *array)
{
    *l = (struct latency){0};
    for (int i = 0; i < LATENCY_CELLS && *array; i++) {
        array += *array == '{' || *array == ',';
        l->n[i] = isdigit((unsigned char)*array) ? strtoll(array, NULL, 10) : 0;
        l->sum += l->n[i];
        while (*array && *array != ',')
            array++;
    }
}

int64_t latency_ms(const struct latency *l, double share)
{
    const double *bounds;
    int n = meter_bounds(M_EVENT, &bounds);
    double rank = share * (double)l->sum, below = 0;
    int i = 0;
    if (!l->sum)
        return -1;
    while (i < n && below + (double)l->n[i] < rank)
        below += (double)l->n[i++];
    if (i == n)
        return (int64_t)(bounds[n - 1] * 1000 + 0.5);
    double from = i ? bounds[i - 1] : 0;
    double part = l->n[i] ? (rank - below) / (double)l->n[i] : 0;
    return (int64_t)((from + (bounds[i] - from) * part) * 1000 + 0.5);
}
