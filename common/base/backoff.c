/* backoff: see backoff.h. */
#include "base/backoff.h"

/* random / 2^32 of n, without a product that overflows: 0 .. n-1 for n > 0. */
static int64_t share(int64_t n, uint32_t random)
{
    uint64_t high = (uint64_t)n >> 32, low = (uint64_t)n & UINT32_MAX;
    return (int64_t)(high * random + (low * random >> 32));
}

static int64_t ceiling(int attempt, int64_t base_ms, int64_t max_ms)
{
    int64_t ms = base_ms < 1 ? 1 : base_ms;
    int64_t max = max_ms < 1 ? 1 : max_ms;
    for (int i = 1; i < attempt && ms < max; i++)
        ms = ms > max / 2 ? max : ms * 2;
    return ms < max ? ms : max;
}

int64_t backoff_ms(int attempt, int64_t base_ms, int64_t max_ms, uint32_t random)
{
    return 1 + share(ceiling(attempt, base_ms, max_ms), random);
}

int64_t backoff_jitter(int64_t ms, uint32_t random)
{
    return ms > 0 ? ms - share(ms / 10 + 1, random) : ms;
}
