/* jobstate: exactly the edges below, written out once more, and what follows from them. */
#include "worker/jobstate.h"

#include <criterion/criterion.h>

enum { NO = -1 };

/* clang-format off */
static const int expected[JOB_NSTATES][EV_COUNT] = {
    /* OK            MISSING     WAIT        LOST        RETRY         UNSURE        FATAL
     * ABORT */
    [JOB_CLAIM]    = {JOB_SCRAPE,   JOB_INSERT, JOB_SETTLE, JOB_SETTLE, JOB_CLAIM,    JOB_CLAIM,    JOB_SETTLE, JOB_SETTLE},
    [JOB_INSERT]   = {JOB_CLAIM,    NO,         NO,         NO,         JOB_INSERT,   JOB_INSERT,   JOB_SETTLE, JOB_SETTLE},
    [JOB_SCRAPE]   = {JOB_INDEX,    NO,         JOB_RELEASE, NO,        JOB_FAIL,     NO,           JOB_FAIL,   JOB_RELEASE},
    [JOB_INDEX]    = {JOB_COMPLETE, NO,         NO,         NO,         JOB_FAIL,     NO,           JOB_FAIL,   JOB_RELEASE},
    [JOB_COMPLETE] = {JOB_SETTLE,   JOB_INSERT, NO,         JOB_SETTLE, JOB_COMPLETE, JOB_COMPLETE, JOB_FAIL,   JOB_DONE},
    [JOB_FAIL]     = {JOB_SETTLE,   JOB_INSERT, NO,         JOB_SETTLE, JOB_FAIL,     JOB_FAIL,     JOB_DONE,   JOB_DONE},
    [JOB_RELEASE]  = {JOB_SETTLE,   JOB_SETTLE, NO,         JOB_SETTLE, JOB_RELEASE,  JOB_RELEASE,  JOB_DONE,   JOB_DONE},
    [JOB_SETTLE]   = {JOB_DONE,     NO,         NO,         NO,         JOB_SETTLE,   JOB_SETTLE,   JOB_DONE,   JOB_DONE},
    [JOB_DONE]     = {NO,           NO,         NO,         NO,         NO,           NO,           NO,         NO},
};
/* clang-format on */

static int next(int s, int e)
{
    return job_next((enum job_state)s, (enum job_event)e);
}

Test(jobstate, exactly_the_allowed_edges_exist)
{
    for (int s = 0; s < JOB_NSTATES; s++)
        for (int e = 0; e < EV_COUNT; e++)
            cr_expect_eq(next(s, e), expected[s][e], "%s x %s leads to %d",
                job_state_name((enum job_state)s), job_event_name((enum job_event)e), next(s, e));
}

Test(jobstate, done_is_the_only_end)
{
    for (int s = 0; s < JOB_NSTATES; s++) {
        int leaving = 0;
        for (int e = 0; e < EV_COUNT; e++)
            leaving += next(s, e) >= 0 && next(s, e) != s;
        cr_expect_eq(leaving == 0, s == JOB_DONE, "%s", job_state_name((enum job_state)s));
    }
}

static bool reaches_done(int s, int steps)
{
    if (s == JOB_DONE)
        return true;
    for (int e = 0; steps > 0 && e < EV_COUNT; e++)
        if (next(s, e) >= 0 && reaches_done(next(s, e), steps - 1))
            return true;
    return false;
}

Test(jobstate, every_state_reaches_done)
{
    for (int s = 0; s < JOB_NSTATES; s++)
        cr_expect(reaches_done(s, JOB_NSTATES), "%s", job_state_name((enum job_state)s));
}

/* Whoever must let go is rid of the job in a fixed number of steps, without a retry on the way. */
Test(jobstate, letting_go_ends_within_three_steps)
{
    for (int s = 0; s < JOB_DONE; s++) {
        int at = s;
        for (int step = 0; step < 3 && at != JOB_DONE; step++) {
            cr_assert_neq(next(at, EV_ABORT), at);
            at = next(at, EV_ABORT);
        }
        cr_expect_eq(at, JOB_DONE, "%s", job_state_name((enum job_state)s));
    }
}

/* Redis hears of a job only after PostgreSQL knows, or when PostgreSQL is not asked at all. */
Test(jobstate, work_on_a_page_never_settles_without_a_transaction)
{
    for (int e = 0; e < EV_COUNT; e++) {
        cr_expect_neq(next(JOB_SCRAPE, e), JOB_SETTLE);
        cr_expect_neq(next(JOB_INDEX, e), JOB_SETTLE);
        cr_expect_neq(next(JOB_SCRAPE, e), JOB_DONE);
        cr_expect_neq(next(JOB_INDEX, e), JOB_DONE);
    }
}

Test(jobstate, states_and_events_have_their_names)
{
    static const char *const states[] = {
        "CLAIM", "INSERT", "SCRAPE", "INDEX", "COMPLETE", "FAIL", "RELEASE", "SETTLE", "DONE"};
    static const char *const events[] = {
        "OK", "MISSING", "WAIT", "LOST", "RETRY", "UNSURE", "FATAL", "ABORT"};
    cr_assert_eq(sizeof(states) / sizeof(*states), JOB_NSTATES);
    cr_assert_eq(sizeof(events) / sizeof(*events), EV_COUNT);
    for (int s = 0; s < JOB_NSTATES; s++)
        cr_expect_str_eq(job_state_name((enum job_state)s), states[s]);
    for (int e = 0; e < EV_COUNT; e++)
        cr_expect_str_eq(job_event_name((enum job_event)e), events[e]);
}
