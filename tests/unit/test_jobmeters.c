/* jobmeters: a job counts once, by the edge that decided how it ends. */
#include "worker/jobmeters.h"

#include <criterion/criterion.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { STEPS = 8, TOOK_US = 3000 };

struct step {
    enum job_state state;
    enum job_event ev;
};

/* clang-format off */
#define FETCHED {JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_OK}, {JOB_INDEX, EV_OK}
static const struct {
    const char *what;
    struct step steps[STEPS]; /* the last one leads to DONE */
    bool dead;
    enum meter_OUTCOME outcome;
    int fenced;
} jobs[] = {
    {"completed", {FETCHED, {JOB_COMPLETE, EV_OK}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_COMPLETED, 0},
    {"Redis not told", {FETCHED, {JOB_COMPLETE, EV_OK}, {JOB_SETTLE, EV_ABORT}}, false, OUTCOME_COMPLETED, 0},
    {"retried", {{JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_RETRY}, {JOB_FAIL, EV_OK}, {JOB_SETTLE, EV_OK}},
        false, OUTCOME_RETRIED, 0},
    {"failed", {{JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_FATAL}, {JOB_FAIL, EV_OK}, {JOB_SETTLE, EV_OK}},
        true, OUTCOME_FAILED, 0},
    {"the document is refused", {FETCHED, {JOB_COMPLETE, EV_FATAL}, {JOB_FAIL, EV_OK}, {JOB_SETTLE, EV_OK}},
        true, OUTCOME_FAILED, 0},
    {"the event is refused", {{JOB_CLAIM, EV_FATAL}, {JOB_SETTLE, EV_OK}}, true, OUTCOME_FAILED, 0},
    {"released", {{JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_ABORT}, {JOB_RELEASE, EV_OK}, {JOB_SETTLE, EV_OK}},
        false, OUTCOME_RELEASED, 0},
    {"another's result", {FETCHED, {JOB_COMPLETE, EV_LOST}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_LOST, 1},
    {"another's failure", {{JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_RETRY}, {JOB_FAIL, EV_LOST},
        {JOB_SETTLE, EV_OK}}, false, OUTCOME_LOST, 1},
    {"another's to give back", {{JOB_CLAIM, EV_OK}, {JOB_SCRAPE, EV_WAIT}, {JOB_RELEASE, EV_LOST},
        {JOB_SETTLE, EV_OK}}, false, OUTCOME_LOST, 1},
    {"no answer in the end", {FETCHED, {JOB_COMPLETE, EV_ABORT}}, false, OUTCOME_LOST, 0},
    {"done already", {{JOB_CLAIM, EV_LOST}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_NOTHING, 0},
    {"early", {{JOB_CLAIM, EV_WAIT}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_NOTHING, 0},
    {"let go of before T1", {{JOB_CLAIM, EV_ABORT}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_NOTHING, 0},
    {"the row was lost, and made again", {FETCHED, {JOB_COMPLETE, EV_MISSING}, {JOB_INSERT, EV_OK},
        {JOB_CLAIM, EV_LOST}, {JOB_SETTLE, EV_OK}}, false, OUTCOME_NOTHING, 0},
};
/* clang-format on */

Test(jobmeters, every_job_counts_once_by_what_became_of_it)
{
    for (size_t i = 0; i < COUNT(jobs); i++) {
        const struct step *at = jobs[i].steps;
        enum meter_OUTCOME outcome = OUTCOME_NOTHING;
        int64_t before = meter_get(M_JOBS, (int)jobs[i].outcome, 0), all = 0;
        int64_t fenced = meter_get(M_FENCED_WRITES, 0, 0);
        for (int next;; at++) {
            jobmeters_step(at->state, at->ev, TOOK_US, jobs[i].dead, &outcome);
            next = job_next(at->state, at->ev);
            if (next == JOB_DONE)
                break;
            cr_assert_eq(next, (int)at[1].state, "%s: no such way", jobs[i].what);
        }
        jobmeters_end(outcome);
        for (int o = 0; o < OUTCOME_COUNT; o++)
            all += meter_get(M_JOBS, o, 0);
        cr_expect_eq(meter_get(M_JOBS, (int)jobs[i].outcome, 0), before + 1, "%s", jobs[i].what);
        cr_expect_eq(all, (int64_t)i + 1, "%s", jobs[i].what);
        cr_expect_eq(meter_get(M_FENCED_WRITES, 0, 0) - fenced, jobs[i].fenced, "%s", jobs[i].what);
    }
}

static int64_t observed(enum meter_PHASE phase)
{
    int64_t n = 0;
    for (int i = 0; i < METER_BUCKETS_MAX; i++)
        n += meter_bucket(M_PHASE, (int)phase, i);
    return n;
}

Test(jobmeters, a_step_that_never_began_has_no_time)
{
    enum meter_OUTCOME outcome = OUTCOME_NOTHING;
    jobmeters_step(JOB_CLAIM, EV_WAIT, 0, false, &outcome);
    cr_expect_eq(observed(PHASE_CLAIM), 0);
    jobmeters_step(JOB_CLAIM, EV_OK, TOOK_US, false, &outcome);
    jobmeters_step(JOB_SCRAPE, EV_OK, TOOK_US, false, &outcome);
    jobmeters_wait(20);
    cr_expect_eq(observed(PHASE_CLAIM), 1);
    cr_expect_eq(observed(PHASE_SCRAPE), 1);
    cr_expect_eq(observed(PHASE_WAIT), 1);
    cr_expect_eq(observed(PHASE_COMPLETE), 0);
    cr_expect_eq(meter_bucket(M_PHASE, PHASE_WAIT, 1), 1, "20 ms are in the second bucket");
}
