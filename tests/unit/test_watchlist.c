/* watchlist: who is dead, judged by beats and this process's own clock alone. */
#include "worker/watchlist.h"

#include <criterion/criterion.h>

enum { LEASE = 30000, GAP = 20000, EVERY = 5000 };

static struct watchlist *w;
static int64_t now;

static void start(void)
{
    w = watchlist_new(LEASE, GAP);
    now = 1000000;
}

static void stop(void)
{
    watchlist_free(w);
}

TestSuite(watchlist, .init = start, .fini = stop);

/* One read with one worker in it, `after` ms later than the last. */
static bool read_one(int64_t after, const char *name, int64_t beat)
{
    now += after;
    watchlist_begin(w, now);
    bool dead = watchlist_seen(w, name, beat);
    watchlist_end(w);
    return dead;
}

Test(watchlist, a_worker_is_dead_when_its_beat_stood_still_for_a_whole_lease)
{
    cr_expect_not(read_one(0, "a", 7));
    for (int64_t age = EVERY; age < LEASE; age += EVERY)
        cr_expect_not(read_one(EVERY, "a", 7), "after %lld ms", (long long)age);
    cr_expect(read_one(EVERY, "a", 7), "a whole lease");
    cr_expect(read_one(EVERY, "a", 7), "and still");
}

Test(watchlist, the_last_millisecond_counts)
{
    read_one(0, "a", 1);
    read_one(GAP, "a", 1);
    cr_expect_not(read_one(LEASE - GAP - 1, "a", 1));
    cr_expect(read_one(1, "a", 1));
}

Test(watchlist, a_beat_that_moves_starts_the_lease_again)
{
    read_one(0, "a", 1);
    read_one(GAP, "a", 1);
    cr_expect_not(read_one(LEASE - GAP, "a", 2), "it moved just in time");
    read_one(GAP, "a", 2);
    cr_expect_not(read_one(LEASE - GAP - 1, "a", 2));
    cr_expect(read_one(1, "a", 2));
    cr_expect_not(read_one(EVERY, "a", 3), "it is back");
}

Test(watchlist, a_beat_that_went_back_is_a_new_beat)
{
    read_one(0, "a", 5);
    read_one(GAP, "a", 5);
    cr_expect_not(read_one(LEASE - GAP, "a", 4), "another life under the same name");
}

Test(watchlist, an_outage_declares_nobody_dead)
{
    read_one(0, "a", 1);
    read_one(GAP, "a", 1);
    cr_expect_not(read_one(GAP + 1, "a", 1), "reads this far apart prove nothing");
    read_one(GAP, "a", 1);
    cr_expect_not(read_one(LEASE - GAP - 1, "a", 1), "the age began with the first read after it");
    cr_expect(read_one(1, "a", 1));
}

Test(watchlist, a_gap_as_long_as_allowed_is_no_outage)
{
    read_one(0, "a", 1);
    read_one(GAP, "a", 1);
    cr_expect(read_one(GAP, "a", 1));
}

Test(watchlist, a_gap_resets_the_ages_of_all)
{
    static const char *const names[] = {"a", "b", "c"};
    for (int round = 0; round < 3; round++) {
        now += round == 2 ? 10 * LEASE : GAP;
        watchlist_begin(w, now);
        for (int i = 0; i < 3; i++)
            cr_expect_not(watchlist_seen(w, names[i], i), "%s in round %d", names[i], round);
        watchlist_end(w);
    }
}

Test(watchlist, a_long_outage_never_ends_in_a_death_however_often_it_comes)
{
    for (int i = 0; i < 100; i++)
        cr_expect_not(read_one(GAP + 1, "a", 1));
}

Test(watchlist, workers_are_judged_one_by_one)
{
    for (int i = 0; i <= LEASE / EVERY; i++) {
        now += EVERY;
        watchlist_begin(w, now);
        bool still = watchlist_seen(w, "still", 1), lively = watchlist_seen(w, "lively", i);
        watchlist_end(w);
        cr_expect_eq(still, i == LEASE / EVERY);
        cr_expect_not(lively);
    }
}

Test(watchlist, who_is_not_in_a_read_is_forgotten)
{
    cr_expect_not(watchlist_has(w, "a"));
    read_one(0, "a", 1);
    cr_expect(watchlist_has(w, "a"));
    read_one(GAP, "b", 1);
    cr_expect_not(watchlist_has(w, "a"));
    cr_expect(watchlist_has(w, "b"));
    cr_expect_not(read_one(LEASE - GAP, "a", 1), "seen again: its age begins anew");
    cr_expect_not(watchlist_has(w, "b"));
}

Test(watchlist, names_are_copied)
{
    char name[] = "first";
    read_one(0, name, 1);
    name[0] = 'x';
    cr_expect(watchlist_has(w, "first"));
    cr_expect_not(watchlist_has(w, name));
}

Test(watchlist, an_empty_read_forgets_everyone)
{
    read_one(0, "a", 1);
    watchlist_begin(w, ++now);
    watchlist_end(w);
    cr_expect_not(watchlist_has(w, "a"));
}

Test(watchlist, nobody_is_judged_before_a_lease_of_unbroken_reads)
{
    cr_expect_not(watchlist_settled(w), "nothing was read");
    for (int outage = 0; outage < 3; outage++) {
        read_one(GAP + 1, "a", outage);
        cr_expect_not(watchlist_settled(w), "reads have just begun");
        for (int64_t age = EVERY; age < LEASE; age += EVERY) {
            read_one(EVERY, "a", outage);
            cr_expect_not(watchlist_settled(w), "after %lld ms", (long long)age);
        }
        read_one(EVERY, "a", outage);
        cr_expect(watchlist_settled(w));
        read_one(GAP, "a", outage);
        cr_expect(watchlist_settled(w), "this is no outage");
    }
}
