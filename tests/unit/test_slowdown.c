/* Who fails waits, longer each time; nobody else does, and what is old is forgotten. */
#include "producer/slowdown.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define START 1000000

static struct slowdown slow;

Test(slowdown, each_failure_takes_twice_as_long_up_to_a_bound)
{
    static const int64_t delays[] = {250, 500, 1000, 2000, 4000, 4000, 4000};
    int64_t now = START;
    for (size_t i = 0; i < sizeof(delays) / sizeof(*delays); i++) {
        cr_expect_eq(slowdown_wait_ms(&slow, "192.0.2.1", now), 0);
        int64_t delay = slowdown_failed(&slow, "192.0.2.1", now);
        cr_expect_eq(delay, delays[i], "%zu: %lld", i, (long long)delay);
        cr_expect_eq(slowdown_wait_ms(&slow, "192.0.2.1", now), delay);
        cr_expect_eq(slowdown_wait_ms(&slow, "192.0.2.1", now + delay - 1), 1);
        cr_expect_eq(slowdown_wait_ms(&slow, "192.0.2.10", now), 0, "another one");
        now += delay;
    }
}

Test(slowdown, failures_are_forgiven_and_forgotten)
{
    for (int i = 0; i < 10; i++)
        slowdown_failed(&slow, "::1", START);
    slowdown_forgive(&slow, "::1");
    cr_expect_eq(slowdown_wait_ms(&slow, "::1", START), 0);
    cr_expect_eq(slowdown_failed(&slow, "::1", START), 250);
    cr_expect_eq(slowdown_failed(&slow, "::1", START + SLOWDOWN_FORGET_MS - 1), 500);
    cr_expect_eq(slowdown_failed(&slow, "::1", START + 2 * SLOWDOWN_FORGET_MS - 1), 250);
    slowdown_forgive(&slow, "192.0.2.1"); /* that never failed */
}

Test(slowdown, the_one_that_failed_longest_ago_makes_room)
{
    char client[CLIENT_LEN + 1];
    slowdown_failed(&slow, "first", START);
    slowdown_failed(&slow, "second", START + 1);
    for (int i = 2; i < SLOWDOWN_CLIENTS; i++) {
        snprintf(client, sizeof(client), "192.0.2.%d", i);
        slowdown_failed(&slow, client, START + i);
    }
    slowdown_failed(&slow, "first", START + 1000);
    slowdown_failed(&slow, "one more", START + 1001);
    cr_expect_gt(slowdown_wait_ms(&slow, "first", START + 1001), 0);
    cr_expect_eq(slowdown_failed(&slow, "first", START + 2000), 1000);
    cr_expect_eq(slowdown_failed(&slow, "one more", START + 2001), 500);
    cr_expect_eq(slowdown_failed(&slow, "second", START + 2002), 250, "it was forgotten");
}
