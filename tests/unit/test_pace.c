/* pace: when the n-th of so many a second is due. */
#include "worker/ctl/pace.h"

#include <criterion/criterion.h>

Test(pace, an_even_rate_is_even)
{
    const struct pace p = {.rate = 50};
    for (int64_t n = 0; n < 1000; n++)
        cr_assert_eq(pace_due_us(&p, n), n * 20000, "%lld", (long long)n);
}

Test(pace, a_ramp_begins_slowly_and_ends_at_the_rate)
{
    const struct pace p = {.rate = 1000, .ramp_us = 4000000};
    cr_expect_eq(pace_due_us(&p, 0), 0);
    cr_expect_eq(pace_due_us(&p, 500), 2000000, "in half of the time a quarter of them");
    cr_expect_eq(pace_due_us(&p, 2000), 4000000, "half of what the rate would have been");
    cr_expect_eq(pace_due_us(&p, 3000), 5000000);
    for (int64_t n = 1; n < 4000; n++)
        cr_assert_leq(pace_due_us(&p, n - 1), pace_due_us(&p, n), "%lld", (long long)n);
}

Test(pace, what_is_counted_is_what_is_due)
{
    static const struct pace paces[] = {
        {.rate = 20000},
        {           .rate = 0.5            },
        { .rate = 333,             .ramp_us = 1700000}
    };
    for (size_t i = 0; i < sizeof(paces) / sizeof(paces[0]); i++) {
        for (int64_t us = 0; us < 5000000; us += 9973) {
            int64_t n = pace_count(&paces[i], us);
            cr_assert(
                n == 0 || pace_due_us(&paces[i], n - 1) <= us + 1, "%zu: %lld", i, (long long)us);
            cr_assert_geq(pace_due_us(&paces[i], n) + 1, us, "%zu: %lld", i, (long long)us);
        }
    }
}

Test(pace, a_rate_is_a_number_above_nothing)
{
    static const char *const bad[] = {
        "", "0", "-1", "x", "5x", "1e9", "nan", "5/m", "/s", "inf", "1e-300"};
    double rate = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(pace_rate(bad[i], &rate), "%s", bad[i]);
    cr_expect_eq(rate, 7, "what is wrong changes nothing");
    cr_expect(pace_rate("0.00001", &rate) && rate == 0.00001);
    cr_expect(pace_rate("0.5", &rate) && rate == 0.5);
    cr_expect(pace_rate("20000/s", &rate) && rate == 20000);
}
