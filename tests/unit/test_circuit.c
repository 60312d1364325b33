/* circuit: what opens it, for how long, who may try, what closes it, who is charged. */
#include "worker/circuit.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { PAUSE = 30000, PROBE = 150000, LONGEST = 900000, NOW = 1000000 };

static const struct circuit_conf conf = {
    .failures = 3, .pause_ms = PAUSE, .longest_ms = LONGEST, .probe_ms = PROBE};

static enum circuit_change report(
    struct circuit *c, enum upstream_sign sign, bool probe, int64_t retry_after_ms)
{
    const struct circuit_report r = {sign, probe, retry_after_ms, false};
    return circuit_report(c, &conf, &r, NOW, 0);
}

static struct circuit opened(int64_t failures)
{
    return (struct circuit){.state = CIRCUIT_OPEN, .failures = failures, .until_ms = NOW + PAUSE};
}

static struct circuit probing(int64_t failures)
{
    struct circuit c = opened(failures);
    circuit_try(&c, &conf, NOW);
    return c;
}

Test(circuit, only_failures_in_a_row_open_it)
{
    /* w works, f fails, d down, s silent; the last letter is to open it, or not */
    static const struct {
        const char *signs;
        bool opens;
    } cases[] = {
        {"fff",      true },
        {"ddd",      true },
        {"fdf",      true },
        {"ff",       false},
        {"ffwff",    false},
        {"ffwfff",   true },
        {"fsfsf",    true },
        {"wwwwwwww", false},
        {"ssssssss", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct circuit c = {0};
        for (const char *s = cases[i].signs; *s; s++) {
            enum upstream_sign sign = *s == 'w'   ? UPSTREAM_WORKS
                                      : *s == 'f' ? UPSTREAM_FAILS
                                      : *s == 'd' ? UPSTREAM_DOWN
                                                  : UPSTREAM_SILENT;
            cr_expect_eq(circuit_ask(&c, NOW), CIRCUIT_GO, "%s at %s", cases[i].signs, s);
            cr_expect_eq(report(&c, sign, false, -1),
                cases[i].opens && !s[1] ? CIRCUIT_OPENS : CIRCUIT_SAME, "%s at %s", cases[i].signs,
                s);
        }
        cr_expect_eq(c.state, cases[i].opens ? CIRCUIT_OPEN : CIRCUIT_CLOSED);
    }
}

Test(circuit, pauses_are_those_of_the_table)
{
    static const struct {
        const char *what;
        int64_t failures; /* before; 0: it is closed, otherwise our probe is out */
        enum upstream_sign sign;
        int64_t retry_after_ms, pause_ms;
    } cases[] = {
        {"the first failure of a throttled one", 0,  UPSTREAM_THROTTLES, -1,          PAUSE     },
        {"the pause that was asked for",         0,  UPSTREAM_THROTTLES, 7000,        7000      },
        {"a shorter one than ours too",          0,  UPSTREAM_THROTTLES, 2000,        2000      },
        {"none at all is not taken literally",   0,  UPSTREAM_THROTTLES, 0,           1000      },
        {"a month is too long",                  0,  UPSTREAM_THROTTLES, 2592000000L, LONGEST   },
        {"doubled",                              5,  UPSTREAM_FAILS,     -1,          2 * PAUSE },
        {"again",                                6,  UPSTREAM_DOWN,      -1,          4 * PAUSE },
        {"and again",                            11, UPSTREAM_FAILS,     -1,          8 * PAUSE },
        {"up to ten times",                      14, UPSTREAM_FAILS,     -1,          10 * PAUSE},
        {"never more",                           29, UPSTREAM_FAILS,     -1,          10 * PAUSE},
        {"a 503 may ask for more",               3,  UPSTREAM_FAILS,     100000,      100000    },
        {"but not for less",                     5,  UPSTREAM_FAILS,     1000,        2 * PAUSE },
        {"a throttled probe: as asked",          7,  UPSTREAM_THROTTLES, 5000,        5000      },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct circuit c = {0};
        if (cases[i].failures)
            c = probing(cases[i].failures);
        cr_expect_eq(report(&c, cases[i].sign, cases[i].failures > 0, cases[i].retry_after_ms),
            cases[i].failures ? CIRCUIT_REOPENS : CIRCUIT_OPENS, "%s", cases[i].what);
        cr_expect_eq(c.until_ms - NOW, cases[i].pause_ms, "%s: %lld", cases[i].what,
            (long long)(c.until_ms - NOW));
        cr_expect_eq(c.state, CIRCUIT_OPEN);
        cr_expect_not(c.ours);
    }
}

Test(circuit, a_pause_is_jittered_by_a_tenth_at_most)
{
    for (uint64_t random = 0; random <= UINT32_MAX; random += UINT32_MAX / 7) {
        struct circuit c = {.failures = conf.failures - 1};
        const struct circuit_report r = {UPSTREAM_FAILS, false, -1, false};
        circuit_report(&c, &conf, &r, NOW, (uint32_t)random);
        cr_expect(c.until_ms - NOW <= PAUSE && c.until_ms - NOW >= PAUSE * 9 / 10, "%lld",
            (long long)(c.until_ms - NOW));
    }
}

Test(circuit, nobody_asks_while_it_is_open_and_one_may_try_afterwards)
{
    struct circuit c = opened(3);
    cr_expect_eq(circuit_ask(&c, NOW), CIRCUIT_WAIT);
    cr_expect_eq(circuit_ask(&c, NOW + PAUSE - 1), CIRCUIT_WAIT);
    cr_expect_eq(circuit_ask(&c, NOW + PAUSE), CIRCUIT_TRY);
    circuit_try(&c, &conf, NOW + PAUSE);
    cr_expect_eq(circuit_ask(&c, NOW + PAUSE), CIRCUIT_WAIT, "the others wait for the one");
    cr_expect_eq(circuit_ask(&c, NOW + PAUSE + PROBE - 1), CIRCUIT_WAIT);
    cr_expect_eq(circuit_ask(&c, NOW + PAUSE + PROBE), CIRCUIT_TRY, "nothing was heard of it");
}

Test(circuit, who_waits_comes_back_when_it_may_be_tried)
{
    struct circuit c = opened(3);
    cr_expect_eq(circuit_wait_ms(&c, NOW, 0), PAUSE);
    for (uint32_t random = 1; random < 100000; random += 97) {
        int64_t ms = circuit_wait_ms(&c, NOW, random);
        cr_expect(ms >= PAUSE && ms < PAUSE + 1000, "%lld", (long long)ms);
    }
    c = probing(3);
    for (uint32_t random = 1; random < 100000; random += 97) {
        int64_t ms = circuit_wait_ms(&c, NOW, random);
        cr_expect(ms >= 2000 && ms < 6000, "a probe's end comes sooner than its deadline");
    }
}

Test(circuit, the_probe_decides)
{
    struct circuit c = probing(5);
    cr_expect_eq(report(&c, UPSTREAM_WORKS, true, -1), CIRCUIT_CLOSES);
    cr_expect(c.state == CIRCUIT_CLOSED && c.failures == 0);
    cr_expect_eq(report(&c, UPSTREAM_FAILS, false, -1), CIRCUIT_SAME, "it starts from none");

    c = probing(5);
    cr_expect_eq(report(&c, UPSTREAM_SILENT, true, -1), CIRCUIT_RETURNS);
    cr_expect_eq(circuit_ask(&c, NOW), CIRCUIT_TRY, "the next one may try at once");
    cr_expect_eq(c.failures, 5);
}

Test(circuit, a_page_that_fails_again_does_not_open_it)
{
    struct circuit c = {0};
    for (int i = 0; i < 10; i++) {
        const struct circuit_report r = {UPSTREAM_FAILS, false, -1, true};
        cr_expect_eq(circuit_report(&c, &conf, &r, NOW, 0), CIRCUIT_SAME);
        cr_expect_not(circuit_spares(&c, &r), "and is charged");
    }
    const struct circuit_report down = {UPSTREAM_DOWN, false, -1, true};
    for (int i = 1; i < conf.failures; i++)
        cr_expect_eq(circuit_report(&c, &conf, &down, NOW, 0), CIRCUIT_SAME);
    cr_expect_eq(circuit_report(&c, &conf, &down, NOW, 0), CIRCUIT_OPENS, "no page's fault");
}

Test(circuit, pages_that_always_fail_do_not_keep_it_open)
{
    struct circuit c = probing(3);
    for (int i = 1; i < conf.failures; i++) {
        cr_expect_eq(report(&c, UPSTREAM_FAILS, true, -1), CIRCUIT_RETURNS, "it may be the page");
        cr_expect_eq(circuit_ask(&c, NOW), CIRCUIT_TRY, "another page tries at once");
        cr_expect_eq(c.failures, 3 + i);
        circuit_try(&c, &conf, NOW);
    }
    struct circuit well = c;
    cr_expect_eq(report(&c, UPSTREAM_FAILS, true, -1), CIRCUIT_REOPENS, "three pages in a row");
    cr_expect_eq(c.until_ms, NOW + 2 * PAUSE);
    cr_expect_eq(report(&well, UPSTREAM_WORKS, true, -1), CIRCUIT_CLOSES);

    c = probing(4);
    cr_expect_eq(report(&c, UPSTREAM_DOWN, true, -1), CIRCUIT_REOPENS, "that is no page's fault");
    cr_expect_eq(c.failures, 6);
}

Test(circuit, what_was_under_way_when_it_opened_changes_nothing)
{
    static const enum upstream_sign signs[] = {
        UPSTREAM_SILENT, UPSTREAM_WORKS, UPSTREAM_FAILS, UPSTREAM_DOWN, UPSTREAM_THROTTLES};
    for (size_t i = 0; i < COUNT(signs); i++) {
        struct circuit c = opened(3);
        cr_expect_eq(report(&c, signs[i], false, 600000), CIRCUIT_SAME);
        cr_expect(c.state == CIRCUIT_OPEN && c.until_ms == NOW + PAUSE && c.failures == 3);
        c = probing(3);
        cr_expect_eq(report(&c, signs[i], false, 600000), CIRCUIT_SAME);
        cr_expect(c.state == CIRCUIT_HALF_OPEN && c.ours);
        c.ours = false; /* our probe was given up, and somebody else's is out */
        cr_expect_eq(report(&c, signs[i], true, 600000), CIRCUIT_SAME);
        cr_expect(c.state == CIRCUIT_HALF_OPEN && !c.ours);
    }
}

Test(circuit, who_is_charged)
{
    static const struct {
        enum circuit_state state;
        enum upstream_sign sign;
        bool probe, spared;
    } cases[] = {
        {CIRCUIT_CLOSED,    UPSTREAM_FAILS,     false, false},
        {CIRCUIT_CLOSED,    UPSTREAM_DOWN,      false, false},
        {CIRCUIT_CLOSED,    UPSTREAM_THROTTLES, false, false},
        {CIRCUIT_OPEN,      UPSTREAM_FAILS,     false, true },
        {CIRCUIT_OPEN,      UPSTREAM_DOWN,      false, true },
        {CIRCUIT_OPEN,      UPSTREAM_THROTTLES, false, true },
        {CIRCUIT_OPEN,      UPSTREAM_WORKS,     false, false}, /* the page's own failure */
        {CIRCUIT_OPEN,      UPSTREAM_SILENT,    false, false},
        {CIRCUIT_HALF_OPEN, UPSTREAM_FAILS,     false, true },
        {CIRCUIT_HALF_OPEN, UPSTREAM_FAILS,     true,  false},
        {CIRCUIT_HALF_OPEN, UPSTREAM_DOWN,      true,  true },
        {CIRCUIT_HALF_OPEN, UPSTREAM_THROTTLES, true,  true },
        {CIRCUIT_HALF_OPEN, UPSTREAM_WORKS,     true,  false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct circuit c = {.state = cases[i].state, .failures = 3, .until_ms = NOW + 1};
        const struct circuit_report r = {cases[i].sign, cases[i].probe, -1, false};
        cr_expect_eq(circuit_spares(&c, &r), cases[i].spared, "case %zu", i);
    }
}
