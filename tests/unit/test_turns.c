/* turns: how many at once, who is next, who gives up. */
#include "worker/turns.h"

#include <criterion/criterion.h>

enum { MANY = 10 };

static struct turns *ts;
static struct turn turns[MANY];
static int order[MANY], started;

static void go(struct turn *t)
{
    order[started++] = (int)(t - turns);
}

static void start(void)
{
    ts = turns_new(2, go);
}

static void stop(void)
{
    turns_free(ts);
}

TestSuite(turns, .init = start, .fini = stop);

Test(turns, so_many_at_once_and_the_others_in_order)
{
    for (int i = 0; i < 5; i++)
        cr_expect_eq(turn_take(ts, &turns[i], "a"), i < 2, "%d", i);
    turn_end(ts, &turns[1]);
    cr_expect(started == 1 && order[0] == 2);
    turn_end(ts, &turns[0]);
    turn_end(ts, &turns[2]);
    cr_expect(started == 3 && order[1] == 3 && order[2] == 4);
    turn_end(ts, &turns[3]);
    turn_end(ts, &turns[4]);
    cr_expect(started == 3);
    cr_expect(turn_take(ts, &turns[5], "a"), "free again");
    turn_end(ts, &turns[5]);
}

Test(turns, names_do_not_hold_each_other_up)
{
    cr_expect(turn_take(ts, &turns[0], "a") && turn_take(ts, &turns[1], "a"));
    cr_expect(turn_take(ts, &turns[2], "b") && turn_take(ts, &turns[3], "b"));
    cr_expect_not(turn_take(ts, &turns[4], "b"));
    turn_end(ts, &turns[0]);
    cr_expect_eq(started, 0);
    turn_end(ts, &turns[2]);
    cr_expect(started == 1 && order[0] == 4);
}

Test(turns, who_gives_up_waiting_is_passed_over_and_frees_nothing)
{
    for (int i = 0; i < 4; i++)
        turn_take(ts, &turns[i], "a");
    turn_end(ts, &turns[2]);
    cr_expect_eq(started, 0);
    turn_end(ts, &turns[2]);
    turn_end(ts, &turns[0]);
    cr_expect(started == 1 && order[0] == 3);
    turn_end(ts, &turns[9]); /* never taken */
}
