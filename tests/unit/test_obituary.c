/* obituary: what the supervisor writes is what the janitor reads, however many die and however much
 * they held; what has no room is counted. */
#include "worker/obituary.h"

#include "worker/jobstate.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

enum { KEPT = 64, ROOM = 10 };

static struct obituaries *all;

static void start(void)
{
    all = obituaries_new(ROOM);
    cr_assert_not_null(all);
}

static void stop(void)
{
    obituaries_free(all);
}

TestSuite(obituary, .init = start, .fini = stop);

static struct held job(int id, enum job_state state)
{
    struct held h = {.state = (uint8_t)(state + 1)};
    h.id.b[15] = (uint8_t)id;
    return h;
}

static struct obituary death(const struct held *slots, size_t n, bool *added)
{
    struct obituary o = {.instance = "host-1-abc", .role = "worker", .signo = 11, .code = -1};
    *added = obituaries_add(all, &o, slots, n);
    return o;
}

static bool readable(void)
{
    struct pollfd p = {.fd = obituaries_fd(all), .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

Test(obituary, is_read_as_it_was_written)
{
    const struct held slots[] = {
        {.state = 0}, job(1, JOB_CLAIM), {.state = 0}, job(2, JOB_SCRAPE), job(3, JOB_SETTLE)};
    bool added;
    struct obituary got;
    cr_expect(!obituaries_first(all, &got) && !readable());
    struct obituary o = death(slots, 5, &added);
    cr_expect(added && o.nheld == 3 && o.nlost == 0);
    cr_assert(obituaries_first(all, &got) && readable());
    cr_expect_str_eq(got.instance, "host-1-abc");
    cr_expect(got.signo == 11 && got.code == -1 && got.nheld == 3);
    cr_expect_eq(obituaries_held(all, &got, 0).id.b[15], 2, "what it worked on comes first");
    cr_expect_eq(obituaries_held(all, &got, 1).id.b[15], 1);
    cr_expect_eq(obituaries_held(all, &got, 2).id.b[15], 3);
    obituaries_done(all);
    cr_expect(!obituaries_first(all, &got));
}

Test(obituary, what_has_no_room_is_counted_and_room_comes_back)
{
    struct held slots[ROOM];
    bool added;
    struct obituary got;
    for (int i = 0; i < ROOM; i++)
        slots[i] = job(i, i < 6 ? JOB_CLAIM : JOB_SCRAPE);
    struct obituary first = death(slots, 7, &added), second = death(slots, ROOM, &added);
    cr_expect(added && first.nheld == 7 && first.nlost == 0);
    cr_expect(second.nheld == 3 && second.nlost == 7);
    for (int round = 0; round < 100; round++) { /* around the ring, many times */
        cr_assert(obituaries_first(all, &got));
        obituaries_done(all);
        death(slots, 7, &added);
    }
    while (obituaries_first(all, &got))
        obituaries_done(all);
    second = death(slots, ROOM, &added);
    cr_assert(obituaries_first(all, &got));
    cr_expect(second.nheld == ROOM && second.nlost == 0);
    for (size_t i = 0; i < ROOM; i++)
        cr_expect_eq(obituaries_held(all, &got, i).id.b[15], (i + 6) % ROOM);
}

Test(obituary, a_full_list_says_so)
{
    bool added;
    struct obituary got;
    for (int i = 0; i < KEPT; i++) {
        death(NULL, 0, &added);
        cr_expect(added);
    }
    death(NULL, 0, &added);
    cr_expect(!added);
    cr_assert(obituaries_first(all, &got));
    obituaries_done(all);
    death(NULL, 0, &added);
    cr_expect(added);
}

/* Between T1 and T3, and at no other time. */
Test(obituary, only_what_was_worked_on_is_blamed)
{
    for (int s = 0; s < JOB_NSTATES; s++) {
        struct held h = job(1, (enum job_state)s);
        bool blamed = s != JOB_CLAIM && s != JOB_INSERT && s != JOB_SETTLE && s != JOB_DONE;
        cr_expect_eq(held_in_work(&h), blamed, "%s", held_step(&h));
        cr_expect_str_eq(held_step(&h), job_state_name((enum job_state)s));
    }
}

Test(obituary, a_slot_that_ran_wild_is_no_step)
{
    for (int state = JOB_NSTATES + 1; state < 256; state++) {
        struct held h = {.state = (uint8_t)state};
        cr_expect(!held_in_work(&h));
        cr_expect_str_eq(held_step(&h), "?");
    }
}
