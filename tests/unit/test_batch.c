/* batch: what goes together, what waits, what is refused; on a real loop. */
#include "io/batch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { MAX = 64 };

struct thing {
    struct batch_item item;
    char name;
};

static struct loop *loop;
static struct batch *batch;
static struct batch_conf conf;
static struct thing things[MAX];
static char flights[512]; /* "abc|de|": names in order, one bar per flush */
static char refused[MAX];
static struct list in_flight;
static bool inside_add;

static void note(char *to, size_t size, char c)
{
    size_t n = strlen(to);
    cr_assert_lt(n + 1, size);
    to[n] = c;
    to[n + 1] = '\0';
}

static void flush(struct list *items, void *ctx)
{
    cr_assert_not(inside_add, "flushed inside the call that added");
    cr_assert_eq(ctx, &conf);
    cr_assert_gt(items->len, 0);
    cr_assert_eq(in_flight.len, 0, "two flights at once");
    list_splice(&in_flight, items);
    LIST_EACH(&in_flight, n)
    {
        note(flights, sizeof(flights), LIST_OF(n, struct thing, item.node)->name);
    }
    note(flights, sizeof(flights), '|');
}

static void refuse(struct batch_item *item, void *ctx)
{
    cr_assert_not(inside_add, "refused inside the call that added");
    cr_assert_eq(ctx, &conf);
    note(refused, sizeof(refused), LIST_OF(item, struct thing, item)->name);
}

static void start(void)
{
    struct hl_err err;
    loop = loop_new(&err);
    cr_assert(loop);
    list_init(&in_flight);
    conf = (struct batch_conf){.max_items = 8,
        .max_bytes = 1000,
        .max_waiting = 20,
        .flush = flush,
        .refused = refuse,
        .ctx = &conf};
    batch = batch_new(loop, &conf);
    for (int i = 0; i < MAX; i++)
        things[i].name = (char)('a' + i);
}

static void stop(void)
{
    batch_free(batch);
    loop_free(loop);
}

TestSuite(batch, .init = start, .fini = stop, .timeout = 10);

static void restart(void)
{
    batch_free(batch);
    batch = batch_new(loop, &conf);
}

/* --- turns of the loop: what a callback does, then everything that follows from it ------- */

static void turn_ends(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

/* One full turn: timers run first, deferred calls at its end. */
static void turn(loop_fn *fn, void *ctx)
{
    struct timer work, end;
    timer_init(loop, &work, fn, ctx);
    timer_init(loop, &end, turn_ends, NULL);
    timer_start(&work, 0);
    timer_start(&end, 1);
    loop_run(loop);
    timer_stop(&work);
    timer_stop(&end);
}

static void add(int i)
{
    inside_add = true;
    batch_add(batch, &things[i].item);
    inside_add = false;
}

static void add_names(void *ctx)
{
    for (const char *p = ctx; *p; p++)
        add(*p - 'a');
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void land(void *ctx)
{
    (void)ctx;
    while (list_pop(&in_flight))
        ;
    batch_done(batch);
}

#define ADD(names) turn(add_names, (char[]){names})

Test(batch, what_is_added_in_one_turn_goes_in_one_flush_in_order)
{
    ADD("abcde");
    cr_expect_str_eq(flights, "abcde|");
    cr_expect_eq(batch_waiting(batch), 0);
    turn(land, NULL);
    ADD("f");
    cr_expect_str_eq(flights, "abcde|f|");
}

Test(batch, nothing_is_sent_before_the_turn_ends)
{
    add(0);
    cr_expect_str_eq(flights, "");
    cr_expect_eq(batch_waiting(batch), 1);
    turn(nothing, NULL);
    cr_expect_str_eq(flights, "a|");
}

Test(batch, what_comes_during_a_flight_goes_together_in_the_next)
{
    ADD("a");
    ADD("b");
    ADD("cd");
    ADD("e");
    cr_expect_str_eq(flights, "a|");
    cr_expect_eq(batch_waiting(batch), 4);
    turn(land, NULL);
    cr_expect_str_eq(flights, "a|bcde|");
    turn(land, NULL);
    turn(nothing, NULL);
    cr_expect_str_eq(flights, "a|bcde|", "nothing is left to send");
}

Test(batch, a_flush_takes_at_most_max_items)
{
    ADD("abcdefghijklmnopqr");
    cr_expect_str_eq(flights, "abcdefgh|");
    turn(land, NULL);
    turn(land, NULL);
    cr_expect_str_eq(flights, "abcdefgh|ijklmnop|qr|");
}

Test(batch, a_flush_takes_at_most_max_bytes_and_one_larger_item_goes_alone)
{
    static const size_t bytes[] = {400, 600, 1, 5000, 1000, 999, 1, 1};
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++)
        things[i].item.bytes = bytes[i];
    ADD("abcdefgh");
    for (int i = 0; i < 6; i++)
        turn(land, NULL);
    cr_expect_str_eq(flights, "ab|c|d|e|fg|h|");
}

static void land_once(void *ctx)
{
    if (in_flight.len)
        land(ctx);
}

Test(batch, more_than_max_waiting_are_refused_from_the_loop)
{
    conf.max_waiting = 3;
    restart();
    ADD("abcdef");
    cr_expect_str_eq(flights, "abc|");
    cr_expect_str_eq(refused, "def");
    ADD("ghijk"); /* a flight does not count as waiting */
    cr_expect_str_eq(refused, "defjk");
    turn(land_once, NULL);
    cr_expect_str_eq(flights, "abc|ghi|");
    turn(land_once, NULL);
    ADD("j");
    cr_expect_str_eq(flights, "abc|ghi|j|", "a refused item may be added again");
}

static void add_and_take_back(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 4; i++)
        add(i);
    cr_expect(batch_remove(batch, &things[1].item));
    cr_expect_not(batch_remove(batch, &things[1].item), "it is not there any more");
    cr_expect(batch_remove(batch, &things[3].item));
}

Test(batch, what_was_taken_back_is_not_sent)
{
    turn(add_and_take_back, NULL);
    cr_expect_str_eq(flights, "ac|");
}

static void add_and_take_back_all(void *ctx)
{
    (void)ctx;
    add(0);
    cr_expect(batch_remove(batch, &things[0].item));
}

Test(batch, an_empty_flush_does_not_happen)
{
    turn(add_and_take_back_all, NULL);
    cr_expect_str_eq(flights, "");
    ADD("b");
    cr_expect_str_eq(flights, "b|", "and did not block the next");
}

Test(batch, a_flushed_item_cannot_be_taken_back_but_a_waiting_one_can)
{
    ADD("ab");
    ADD("cd");
    cr_expect_not(batch_remove(batch, &things[0].item));
    cr_expect(batch_remove(batch, &things[2].item));
    turn(land, NULL);
    cr_expect_str_eq(flights, "ab|d|");
}

static void refuse_second(void *ctx)
{
    (void)ctx;
    inside_add = true; /* not inside batch_refuse either */
    list_remove(&in_flight, &things[1].item.node);
    batch_refuse(batch, &things[1].item);
    inside_add = false;
}

Test(batch, a_flush_may_refuse_an_item_of_its_own)
{
    ADD("abc");
    turn(refuse_second, NULL);
    cr_expect_str_eq(refused, "b");
    turn(land, NULL);
    cr_expect_str_eq(flights, "abc|");
}

/* Requests that are repeated when they are answered, as callers do. */
static void land_and_add_again(void *ctx)
{
    land(NULL);
    add_names(ctx);
}

Test(batch, what_is_added_while_a_flight_is_answered_joins_those_who_waited)
{
    ADD("ab");
    ADD("c");
    turn(land_and_add_again, (char[]){"ab"});
    cr_expect_str_eq(flights, "ab|cab|");
}

Test(batch, what_waits_or_was_refused_is_free_when_the_batch_goes)
{
    conf.max_waiting = 2;
    restart();
    for (int i = 0; i < 4; i++)
        add(i);
    batch_free(batch);
    batch = NULL;
    for (int i = 0; i < 4; i++)
        cr_expect_not(list_linked(&things[i].item.node), "%c", things[i].name);
    turn(nothing, NULL);
    cr_expect_str_eq(flights, "");
    cr_expect_str_eq(refused, "");
}
