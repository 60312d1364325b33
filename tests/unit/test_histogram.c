/* histogram: percentiles of what was counted. */
#include "worker/ctl/histogram.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct histogram h;

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

Test(histogram, an_empty_one_has_nothing)
{
    cr_expect_eq(histogram_at(&h, 50), 0);
    cr_expect_eq(histogram_at(&h, 100), 0);
}

Test(histogram, one_value_is_every_percentile)
{
    static const int64_t values[] = {0, 1, 255, 256, 257, 65535, 65536, 1234567, 1000000000000};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct histogram *one = calloc(1, sizeof(*one));
        cr_assert(one);
        histogram_add(one, values[i]);
        cr_expect_eq(histogram_at(one, 0), values[i]);
        cr_expect_eq(histogram_at(one, 50), values[i]);
        cr_expect_eq(histogram_at(one, 100), values[i]);
        free(one);
    }
}

Test(histogram, small_values_are_exact)
{
    for (int64_t v = 1; v <= 200; v++)
        histogram_add(&h, v);
    cr_expect_eq(histogram_at(&h, 50), 100);
    cr_expect_eq(histogram_at(&h, 90), 180);
    cr_expect_eq(histogram_at(&h, 99), 198);
    cr_expect_eq(histogram_at(&h, 99.9), 200);
    cr_expect_eq(h.n, 200);
}

Test(histogram, no_percentile_is_too_low_or_much_too_high)
{
    enum { N = 20000 };
    static int64_t values[N];
    static const double percents[] = {0.01, 1, 10, 50, 90, 99, 99.9, 99.99, 100};
    srandom(7);
    for (int i = 0; i < N; i++) {
        values[i] = random() >> (i % 24);
        histogram_add(&h, values[i]);
    }
    qsort(values, N, sizeof(values[0]), ascending);
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        int64_t rank = (int64_t)(N * percents[i] / 100 + 0.999999);
        int64_t truth = values[rank > 0 ? rank - 1 : 0], said = histogram_at(&h, percents[i]);
        cr_expect_geq(said, truth, "%g", percents[i]);
        cr_expect_leq((double)said, (double)truth * (1 + 1.0 / 128), "%g", percents[i]);
    }
    cr_expect_eq(histogram_at(&h, 100), values[N - 1], "the largest is exact");
}

Test(histogram, what_is_out_of_range_is_counted_at_its_ends)
{
    histogram_add(&h, -5);
    histogram_add(&h, INT64_MAX);
    cr_expect_eq(h.n, 2);
    cr_expect_eq(histogram_at(&h, 50), 0);
    cr_expect_eq(histogram_at(&h, 100), INT64_MAX);
}
