/* The loop: when deferred calls, timers, descriptors and signals run, and when they do not. */
#include "io/loop.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static char trace[64]; /* one letter per happening, in order */
static struct timer guard;

static void note(char c)
{
    size_t n = strlen(trace);
    cr_assert_lt(n, sizeof(trace) - 1);
    trace[n] = c;
}

static void stop(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void note_ctx(void *ctx)
{
    note(*(const char *)ctx);
}

static void setup(void)
{
    struct hl_err err;
    loop = loop_new(&err);
    cr_assert_not_null(loop, "%s", err.msg);
}

static void overdue(void *ctx)
{
    (void)ctx;
    cr_assert(0, "the loop was still running after 10 s; seen so far: '%s'", trace);
}

/* Runs until something calls stop; fails when nothing does. */
static void run(void)
{
    timer_init(loop, &guard, overdue, NULL);
    timer_start(&guard, 10000);
    loop_run(loop);
    timer_stop(&guard);
}

TestSuite(loop, .init = setup, .timeout = 30);

/* --- deferred calls ---------------------------------------------------------------------- */

static struct defer first, second, third;

Test(loop, a_deferred_call_runs_after_the_call_that_armed_it_and_once)
{
    loop_defer(loop, &first, note_ctx, "1");
    loop_defer(loop, &first, note_ctx, "x"); /* armed already: nothing */
    loop_defer(loop, &second, stop, NULL);
    cr_expect_str_eq(trace, "");
    run();
    cr_expect_str_eq(trace, "1");
    loop_defer(loop, &third, stop, NULL);
    run();
    cr_expect_str_eq(trace, "1");
    loop_free(loop);
}

static void fast_timer(void *ctx)
{
    (void)ctx;
    note('t');
}

static void defer_again(void *ctx)
{
    int *left = ctx;
    note('d');
    if (--*left > 0)
        loop_defer(loop, &first, defer_again, left);
    else
        loop_stop(loop);
}

Test(loop, a_call_deferred_by_a_deferred_call_runs_in_the_next_turn)
{
    struct timer t = {0};
    int left = 3;
    timer_init(loop, &t, fast_timer, NULL);
    timer_start(&t, 0);
    loop_defer(loop, &second, note_ctx, "2");
    loop_defer(loop, &first, defer_again, &left);
    run();
    cr_expect_str_eq(trace, "t2ddd");
    loop_free(loop);
}

static int ends[2];
static struct watch watch;

static void defer_forever(void *ctx)
{
    loop_defer(loop, &first, defer_forever, ctx);
}

static void note_once(int what, void *ctx)
{
    cr_expect_eq(what, WATCH_READ);
    note_ctx(ctx);
    watch_stop(&watch);
}

Test(loop, an_endless_chain_of_deferred_calls_starves_neither_timers_nor_descriptors)
{
    struct timer t = {0};
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    watch_start(loop, &watch, ends[0], WATCH_READ, note_once, "r");
    timer_init(loop, &t, stop, NULL);
    timer_start(&t, 20);
    loop_defer(loop, &first, defer_forever, NULL);
    run();
    cr_expect_str_eq(trace, "r");
    loop_defer_cancel(loop, &first);
    loop_free(loop);
}

static void cancel_others(void *ctx)
{
    (void)ctx;
    note('c');
    loop_defer_cancel(loop, &second); /* of this batch, not run yet */
    loop_defer_cancel(loop, &first);  /* itself: no longer armed */
    loop_defer(loop, &third, stop, NULL);
}

Test(loop, a_deferred_call_can_cancel_a_later_one_of_its_own_batch)
{
    loop_defer(loop, &first, cancel_others, NULL);
    loop_defer(loop, &second, note_ctx, "x");
    run();
    cr_expect_str_eq(trace, "c");
    loop_free(loop);
}

Test(loop, a_cancelled_call_does_not_run_and_may_be_armed_again)
{
    loop_defer_cancel(loop, &first); /* never armed */
    loop_defer(loop, &first, note_ctx, "x");
    loop_defer(loop, &second, note_ctx, "2");
    loop_defer_cancel(loop, &first);
    loop_defer_cancel(loop, &first);
    loop_defer(loop, &first, note_ctx, "1");
    loop_defer(loop, &third, stop, NULL);
    run();
    cr_expect_str_eq(trace, "21");
    loop_free(loop);
}

static struct timer pair[2];

static void defer_a_stop(void *ctx)
{
    note_ctx(ctx);
    loop_defer(loop, &first, note_ctx, "d");
    loop_defer(loop, &second, stop, NULL);
}

Test(loop, a_deferred_call_sees_everything_else_of_its_turn_first)
{
    timer_init(loop, &pair[0], defer_a_stop, "a");
    timer_init(loop, &pair[1], defer_a_stop, "b");
    timer_start(&pair[0], 1);
    timer_start(&pair[1], 1);
    int64_t until = clock_mono_ms() + 5;
    while (clock_mono_ms() < until) /* both are due before the loop looks */
        continue;
    run();
    cr_expect_str_eq(trace, "abd");
    loop_free(loop);
}

/* --- timers ------------------------------------------------------------------------------ */

Test(loop, timers_fire_in_the_order_of_their_time)
{
    struct timer t[4] = {0};
    static const int ms[] = {60, 20, 40, 80};
    timer_init(loop, &t[0], note_ctx, "c");
    timer_init(loop, &t[1], note_ctx, "a");
    timer_init(loop, &t[2], note_ctx, "b");
    timer_init(loop, &t[3], stop, NULL);
    int64_t start = clock_mono_ms();
    for (int i = 0; i < 4; i++)
        timer_start(&t[i], ms[i]);
    run();
    cr_expect_str_eq(trace, "abc");
    cr_expect_geq(
        clock_mono_ms() - start, 70); /* libevent's clock is coarse: a tick, 10 ms at most */
    for (int i = 0; i < 4; i++)
        cr_expect_not(timer_running(&t[i]));
    loop_free(loop);
}

Test(loop, a_stopped_timer_does_not_fire_and_a_started_one_moves)
{
    struct timer stopped = {0}, moved = {0}, end = {0}, never = {0};
    timer_init(loop, &stopped, note_ctx, "x");
    timer_init(loop, &moved, note_ctx, "m");
    timer_init(loop, &end, stop, NULL);
    timer_start(&stopped, 5);
    timer_start(&moved, 100000);
    timer_start(&end, 40);
    cr_expect(timer_running(&stopped));
    timer_stop(&stopped);
    timer_stop(&stopped);
    cr_expect_not(timer_running(&stopped));
    timer_start(&moved, 10);
    timer_stop(&never);
    cr_expect_not(timer_running(&never));
    run();
    cr_expect_str_eq(trace, "m");
    loop_free(loop);
}

static void stop_the_other(void *ctx)
{
    note_ctx(ctx);
    timer_stop(&pair[0]);
    timer_stop(&pair[1]);
    loop_stop(loop);
}

Test(loop, a_timer_can_stop_one_that_is_due_in_the_same_turn)
{
    timer_init(loop, &pair[0], stop_the_other, "1");
    timer_init(loop, &pair[1], stop_the_other, "1");
    timer_start(&pair[0], 1);
    timer_start(&pair[1], 1);
    int64_t until = clock_mono_ms() + 5;
    while (clock_mono_ms() < until)
        continue;
    run();
    cr_expect_str_eq(trace, "1");
    loop_free(loop);
}

static void repeat(void *ctx)
{
    (void)ctx;
    note('r');
    cr_expect_not(timer_running(&pair[0]));
    if (strlen(trace) < 3)
        timer_start(&pair[0], -5); /* as soon as possible, but not now */
    else
        loop_stop(loop);
}

Test(loop, a_timer_may_start_itself_again)
{
    timer_init(loop, &pair[0], repeat, NULL);
    timer_start(&pair[0], 0);
    cr_expect_str_eq(trace, "");
    run();
    cr_expect_str_eq(trace, "rrr");
    loop_free(loop);
}

Test(loop, stopping_ends_the_run_but_not_the_loop)
{
    struct timer t = {0};
    timer_init(loop, &t, stop, NULL);
    for (int i = 0; i < 3; i++) {
        timer_start(&t, 1);
        run();
    }
    cr_expect_leq(clock_mono_ms() - loop_now_ms(loop), 1000);
    loop_free(loop);
    loop_free(NULL);
}

/* --- descriptors ------------------------------------------------------------------------- */

static void on_ready(int what, void *ctx)
{
    char c;
    (void)ctx;
    if (what & WATCH_READ) {
        note('r');
        cr_expect_eq(read(ends[0], &c, 1), 1);
        watch_set(&watch, WATCH_READ | WATCH_WRITE);
        return;
    }
    cr_expect_eq(what, WATCH_WRITE);
    note('w');
    watch_set(&watch, 0);
    loop_stop(loop);
}

Test(loop, a_watch_listens_to_what_it_is_set_to)
{
    struct timer quiet = {0};
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    timer_init(loop, &quiet, stop, NULL);

    watch_start(loop, &watch, ends[0], WATCH_READ, on_ready, NULL);
    timer_start(&quiet, 20);
    run(); /* nothing to read, and nobody asked for write */
    cr_expect_str_eq(trace, "");

    cr_assert_eq(write(ends[1], "ab", 2), 2);
    run();
    cr_expect_str_eq(trace, "rrw"); /* level-triggered: once per byte */

    cr_assert_eq(write(ends[1], "c", 1), 1);
    timer_start(&quiet, 20);
    run(); /* set to nothing */
    cr_expect_str_eq(trace, "rrw");

    watch_set(&watch, WATCH_READ);
    run();
    cr_expect_str_eq(trace, "rrwrw");

    watch_stop(&watch);
    watch_stop(&watch);
    cr_assert_eq(write(ends[1], "d", 1), 1);
    timer_start(&quiet, 20);
    run();
    cr_expect_str_eq(trace, "rrwrw");
    loop_free(loop);
}

Test(loop, a_watch_of_zeros_may_be_stopped)
{
    struct watch w = {0};
    struct sigwatch s = {0};
    watch_stop(&w);
    sigwatch_stop(&s);
    loop_free(loop);
}

static void on_hangup(int what, void *ctx)
{
    char c;
    (void)ctx;
    cr_expect(what & WATCH_READ);
    cr_expect_eq(read(ends[0], &c, 1), 0);
    watch_stop(&watch);
    loop_stop(loop);
}

Test(loop, a_closed_peer_is_readable)
{
    cr_assert_eq(pipe(ends), 0);
    watch_start(loop, &watch, ends[0], WATCH_READ, on_hangup, NULL);
    close(ends[1]);
    run();
    loop_free(loop);
}

/* --- signals ----------------------------------------------------------------------------- */

Test(loop, signals_run_from_the_loop_until_stopped)
{
    struct sigwatch usr = {0}, term = {0};
    sigwatch_start(loop, &usr, SIGUSR1, note_ctx, "u");
    sigwatch_start(loop, &term, SIGTERM, stop, NULL);
    for (int i = 0; i < 2; i++) {
        raise(SIGUSR1);
        raise(SIGTERM);
        cr_expect_eq(strlen(trace), (size_t)i, "ran inside raise()");
        run();
        cr_expect_eq(strlen(trace), (size_t)i + 1);
    }
    sigwatch_stop(&usr);
    sigwatch_stop(&term);
    sigwatch_stop(&usr);
    loop_free(loop);
}
