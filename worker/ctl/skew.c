/* skew: see skew.h. */
#include "worker/ctl/skew.h"

struct skew skew_of(const struct clock_look *looks, int n)
{
    struct skew best = {.round_trip = INT64_MAX};
    for (int i = 0; i < n; i++) {
        int64_t trip = looks[i].after - looks[i].before;
        if (trip < 0 || trip >= best.round_trip)
            continue; /* below 0: our clock was set meanwhile */
        best.round_trip = trip;
        best.ahead = looks[i].there - looks[i].before - trip / 2;
        best.unsure = trip / 2;
    }
    return best;
}
