/* Retry delays: their ceiling, their spread, and the corners of the arithmetic. */
#include "base/backoff.h"

#include <criterion/criterion.h>

#define HIGHEST UINT32_MAX

Test(backoff, ceiling_doubles_with_each_attempt_until_the_maximum)
{
    static const struct {
        int attempt;
        int64_t base, max, ceiling;
    } cases[] = {
        {1,         1000, 60000,     1000     },
        {2,         1000, 60000,     2000     },
        {3,         1000, 60000,     4000     },
        {6,         1000, 60000,     32000    },
        {7,         1000, 60000,     60000    },
        {100,       1000, 60000,     60000    },
        {INT32_MAX, 1000, 60000,     60000    },
        {1,         1000, 500,       500      },
        {0,         1000, 60000,     1000     },
        {-5,        1000, 60000,     1000     },
        {3,         0,    60000,     4        },
        {9,         1000, 0,         1        },
        {200,       3,    INT64_MAX, INT64_MAX},
        {63,        1,    INT64_MAX, 1LL << 62},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t top = backoff_ms(cases[i].attempt, cases[i].base, cases[i].max, HIGHEST);
        cr_expect_leq(top, cases[i].ceiling, "row %zu: %lld", i, (long long)top);
        /* the highest random number stops less than one part in 2^32 below the ceiling */
        cr_expect_geq(top, cases[i].ceiling - (cases[i].ceiling >> 32), "row %zu", i);
        cr_expect_eq(backoff_ms(cases[i].attempt, cases[i].base, cases[i].max, 0), 1, "row %zu", i);
    }
}

Test(backoff, delays_are_spread_evenly_over_the_whole_range)
{
    int hits[10] = {0};
    for (uint32_t i = 0; i < 100000; i++) {
        int64_t ms = backoff_ms(1, 10, 10, i * 42949u);
        cr_assert(ms >= 1 && ms <= 10);
        hits[ms - 1]++;
    }
    for (int i = 0; i < 10; i++)
        cr_expect(hits[i] > 9900 && hits[i] < 10100, "%d ms: %d times", i + 1, hits[i]);
}

Test(backoff, jitter_takes_at_most_a_tenth)
{
    cr_expect_eq(backoff_jitter(10000, 0), 10000);
    cr_expect_eq(backoff_jitter(10000, HIGHEST), 9000);
    cr_expect_eq(backoff_jitter(10000, HIGHEST / 2), 9500);
    cr_expect_eq(backoff_jitter(5, HIGHEST), 5);
    cr_expect_eq(backoff_jitter(0, HIGHEST), 0);
    cr_expect_eq(backoff_jitter(-3, HIGHEST), -3);
    cr_expect_geq(backoff_jitter(INT64_MAX, HIGHEST), INT64_MAX - INT64_MAX / 10 - 1);
}
