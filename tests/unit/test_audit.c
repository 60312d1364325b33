/* audit: the verdict over every combination of what can be seen of an event, by rules told apart
 * from the table; and the set that gathers what was seen. */
#include "domain/audit.h"

#include <criterion/criterion.h>
#include <string.h>

/* --- the verdict ------------------------------------------------------------------------- */

/* Everything that an event can look like: 8 rows, 0 to 2 entries of each kind, 64 flags. */
#define EACH_FACT(f)                                                                               \
    for (unsigned n_ = 0; n_ < AUDIT_NROWS * 9 * 64; n_++)                                         \
        for (struct audit_fact f = {.row = (uint8_t)(n_ / 576),                                    \
                                   .waiting = (uint8_t)(n_ / 64 % 3),                              \
                                   .delivered = (uint8_t)(n_ / 192 % 3),                           \
                                   .flags = (uint8_t)(n_ % 64)},                                   \
                               *once_ = &f;                                                        \
             once_; once_ = NULL)

static int jobs(const struct audit_fact *f)
{
    bool later = (f->flags & AUDIT_LATER) && (f->flags & AUDIT_LATER_JOB);
    return f->waiting + f->delivered + (later ? 1 : 0);
}

static bool terminal(const struct audit_fact *f)
{
    return f->row >= AUDIT_ROW_COMPLETED;
}

/* Anything of it in Redis that is not for people only. */
static bool in_redis(const struct audit_fact *f)
{
    return jobs(f) || (f->flags & (AUDIT_LATER | AUDIT_LATER_JOB));
}

static const char *shown(const struct audit_fact *f)
{
    static struct buf b;
    buf_clear(&b);
    audit_where(f, &b);
    return buf_str(&b);
}

#define EXPECT(f, mode, expected, when)                                                            \
    cr_expect_eq(audit_judge(&(f), &(mode)), AUDIT_##expected##_, "%s: %s, not " #expected ": %s", \
        when, audit_verdict_info(audit_judge(&(f), &(mode)))->word, shown(&(f)))

static const struct audit_mode at_work, settled = {.settled = true},
                                        elsewhere = {.elsewhere = true};

Test(audit, an_event_in_progress_without_a_living_owner_is_stuck_whatever_else)
{
    EACH_FACT(f)
    {
        bool stuck = audit_judge(&f, &settled) == AUDIT_STUCK_;
        if (f.row == AUDIT_ROW_ALONE)
            EXPECT(f, at_work, STUCK, "alone");
        else
            cr_expect_eq(stuck,
                f.row == AUDIT_ROW_NONE && in_redis(&f) && !jobs(&f) && !(f.flags & AUDIT_SPOOL),
                "%s", shown(&f));
    }
}

Test(audit, more_than_one_job_in_redis_is_doubled)
{
    EACH_FACT(f)
    {
        if (f.row == AUDIT_ROW_ALONE)
            continue;
        cr_expect_eq(audit_judge(&f, &at_work) == AUDIT_DOUBLED_, jobs(&f) > 1, "%s", shown(&f));
        cr_expect_eq(audit_judge(&f, &settled) == AUDIT_DOUBLED_, jobs(&f) > 1, "%s", shown(&f));
    }
}

Test(audit, a_finished_event_is_at_its_end_unless_a_copy_stayed_behind)
{
    static const enum audit_verdict ends[] = {[AUDIT_ROW_COMPLETED] = AUDIT_COMPLETED_,
        [AUDIT_ROW_SUPERSEDED] = AUDIT_SUPERSEDED_,
        [AUDIT_ROW_FAILED] = AUDIT_FAILED_,
        [AUDIT_ROW_FINISHED] = AUDIT_FINISHED_};
    EACH_FACT(f)
    {
        if (!terminal(&f) || jobs(&f) > 1)
            continue;
        if (in_redis(&f) || (f.flags & AUDIT_SPOOL)) {
            EXPECT(f, at_work, LEAVING, "at work");
            EXPECT(f, settled, TWO_PLACES, "settled");
        } else {
            cr_expect_eq(audit_judge(&f, &at_work), ends[f.row], "%s", shown(&f));
            cr_expect_eq(audit_judge(&f, &settled), ends[f.row], "%s", shown(&f));
        }
    }
}

Test(audit, an_unfinished_row_and_a_spool_are_two_places_once_it_is_quiet)
{
    EACH_FACT(f)
    {
        if ((f.row != AUDIT_ROW_QUEUED && f.row != AUDIT_ROW_HELD) || jobs(&f) > 1 ||
            !(f.flags & AUDIT_SPOOL))
            continue;
        EXPECT(f, at_work, LEAVING, "at work");
        EXPECT(f, settled, TWO_PLACES, "settled");
    }
}

Test(audit, a_copy_in_a_spool_that_is_being_worked_off_leaves_with_its_segment)
{
    static const struct audit_mode forwarding = {.settled = true, .forwarding = true};
    EACH_FACT(f)
    {
        enum audit_verdict v = audit_judge(&f, &settled);
        bool spooled = f.flags & AUDIT_SPOOL;
        if (v == AUDIT_TWO_PLACES_ && spooled)
            EXPECT(f, forwarding, LEAVING, "spooled");
        else
            cr_expect_eq(audit_judge(&f, &forwarding), v, "%s", shown(&f));
    }
}

Test(audit, an_unfinished_row_is_under_way_whether_redis_knows_or_not)
{
    EACH_FACT(f)
    {
        if (jobs(&f) > 1 || (f.flags & AUDIT_SPOOL))
            continue;
        if (f.row == AUDIT_ROW_HELD)
            EXPECT(f, settled, IN_PROGRESS, "held");
        if (f.row == AUDIT_ROW_QUEUED && jobs(&f))
            EXPECT(f, settled, QUEUED, "with a job");
        if (f.row == AUDIT_ROW_QUEUED && !jobs(&f))
            EXPECT(f, settled, UNPUBLISHED, "without");
    }
}

Test(audit, an_event_without_a_row_is_where_it_was_seen_or_missing)
{
    EACH_FACT(f)
    {
        if (f.row != AUDIT_ROW_NONE || jobs(&f) > 1)
            continue;
        if (f.flags & AUDIT_SPOOL) {
            EXPECT(f, settled, SPOOL_ONLY, "spool");
        } else if (jobs(&f)) {
            EXPECT(f, settled, REDIS_ONLY, "Redis");
        } else if (in_redis(&f)) {
            EXPECT(f, settled, STUCK, "half a job");
        } else if (f.flags & AUDIT_DEAD) {
            EXPECT(f, settled, BURIED, "dead letter");
        } else {
            EXPECT(f, at_work, MISSING, "at work");
            EXPECT(f, settled, MISSING, "settled");
            EXPECT(f, elsewhere, ELSEWHERE, "another host's spool");
        }
    }
}

Test(audit, only_what_is_missing_may_be_elsewhere_and_markers_and_receipts_decide_nothing)
{
    EACH_FACT(f)
    {
        struct audit_fact bare = f;
        enum audit_verdict v = audit_judge(&f, &at_work);
        bare.flags &= (uint8_t) ~(AUDIT_MARKER | AUDIT_RECEIPT);
        cr_expect_eq(audit_judge(&bare, &at_work), v, "%s", shown(&f));
        if (v != AUDIT_MISSING_)
            cr_expect_eq(audit_judge(&f, &elsewhere), v, "%s", shown(&f));
    }
}

Test(audit, every_verdict_is_reached_and_has_words)
{
    bool reached[AUDIT_NVERDICTS] = {false};
    EACH_FACT(f)
    {
        reached[audit_judge(&f, &at_work)] = true;
        reached[audit_judge(&f, &settled)] = true;
        reached[audit_judge(&f, &elsewhere)] = true;
    }
    for (int v = 0; v < AUDIT_NVERDICTS; v++) {
        cr_expect(reached[v], "%s", audit_verdict_info((enum audit_verdict)v)->word);
        cr_expect_str_not_empty(audit_verdict_info((enum audit_verdict)v)->about);
    }
}

/* --- words ------------------------------------------------------------------------------- */

Test(audit, a_status_that_nobody_knows_is_an_end)
{
    cr_expect_eq(audit_row_of("queued"), AUDIT_ROW_QUEUED);
    cr_expect_eq(audit_row_of("held"), AUDIT_ROW_HELD);
    cr_expect_eq(audit_row_of("alone"), AUDIT_ROW_ALONE);
    cr_expect_eq(audit_row_of("failed"), AUDIT_ROW_FAILED);
    cr_expect_eq(audit_row_of("skipped"), AUDIT_ROW_FINISHED);
    cr_expect_eq(audit_row_of(""), AUDIT_ROW_FINISHED);
}

Test(audit, where_names_every_place)
{
    struct audit_fact nothing = {.flags = AUDIT_RECEIPT};
    struct audit_fact all = {.row = AUDIT_ROW_FAILED, .waiting = 2, .delivered = 1, .flags = 63};
    struct audit_fact half = {.flags = AUDIT_LATER};
    cr_expect_str_eq(shown(&nothing), "nowhere");
    cr_expect_str_eq(shown(&all), "row failed, stream (waiting) 2 times, stream (delivered), later,"
                                  " spool, marker, dead letter");
    cr_expect_str_eq(shown(&half), "later, without its job");
}

/* --- the set ----------------------------------------------------------------------------- */

static struct uuid id_of(unsigned n)
{
    struct uuid id = {{0}};
    id.b[0] = (uint8_t)(n * 37); /* not in order */
    id.b[14] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    return id;
}

Test(audit, what_is_seen_of_one_event_adds_up_in_any_order)
{
    enum { EVENTS = 5000 };
    struct audit_set s = {0};
    for (unsigned n = 0; n < EVENTS; n++)
        audit_see(&s, &(struct audit_fact){.id = id_of(n), .flags = AUDIT_RECEIPT});
    for (unsigned n = EVENTS; n-- > 0;)
        audit_see(&s, &(struct audit_fact){.id = id_of(n), .row = AUDIT_ROW_QUEUED, .waiting = 1});
    for (unsigned n = 0; n < EVENTS; n += 2)
        audit_see(&s, &(struct audit_fact){
                          .id = id_of(n), .row = AUDIT_ROW_HELD, .waiting = 1, .delivered = 1});
    audit_merge(&s);
    cr_assert_eq(s.n, EVENTS);
    for (unsigned n = 0; n < EVENTS; n++) {
        struct uuid id = id_of(n);
        const struct audit_fact *f = audit_find(&s, &id);
        cr_assert(f && uuid_equal(&f->id, &id));
        cr_expect_eq(f->row, n % 2 ? AUDIT_ROW_QUEUED : AUDIT_ROW_HELD);
        cr_expect_eq(f->waiting, n % 2 ? 1 : 2);
        cr_expect_eq(f->delivered, n % 2 ? 0 : 1);
        cr_expect_eq(f->flags, AUDIT_RECEIPT);
    }
    struct uuid stranger = id_of(EVENTS);
    cr_expect_null(audit_find(&s, &stranger));
    audit_set_release(&s);
}

Test(audit, sightings_without_number_take_no_more_room_than_events)
{
    struct audit_set s = {0};
    for (unsigned n = 0; n < 1000000; n++)
        audit_see(&s, &(struct audit_fact){.id = id_of(n % 100), .waiting = 1});
    audit_merge(&s);
    cr_expect_eq(s.n, 100);
    cr_expect_leq(s.room, 4096);
    cr_expect_eq(s.facts[0].waiting, 255, "the count stands still, it does not wrap");
    cr_expect_eq(sizeof(struct audit_fact), 20);
    audit_set_release(&s);
}

Test(audit, a_closed_set_learns_of_its_own_events_only)
{
    struct audit_set s = {0};
    audit_see(&s, &(struct audit_fact){.id = id_of(1)});
    audit_merge(&s);
    s.closed = true;
    audit_see(&s, &(struct audit_fact){.id = id_of(2), .flags = AUDIT_SPOOL});
    audit_see(&s, &(struct audit_fact){.id = id_of(1), .flags = AUDIT_SPOOL});
    audit_merge(&s);
    cr_expect_eq(s.n, 1);
    cr_expect_eq(s.facts[0].flags, AUDIT_SPOOL);
    audit_set_release(&s);
}

Test(audit, an_empty_set_is_a_set)
{
    struct audit_set s = {0};
    struct uuid id = id_of(1);
    audit_merge(&s);
    cr_expect_eq(s.n, 0);
    cr_expect_null(audit_find(&s, &id));
    audit_set_release(&s);
}
