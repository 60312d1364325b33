/* jobmeters: see jobmeters.h. */
#include "worker/jobmeters.h"

/* One more than the label, so that a state left out is 0 = not measured. */
static const signed char phases[JOB_NSTATES] = {
    [JOB_CLAIM] = PHASE_CLAIM + 1,
    [JOB_SCRAPE] = PHASE_SCRAPE + 1,
    [JOB_INDEX] = PHASE_INDEX + 1,
    [JOB_COMPLETE] = PHASE_COMPLETE + 1,
    [JOB_FAIL] = PHASE_FAIL + 1,
    [JOB_SETTLE] = PHASE_SETTLE + 1,
};

/* Edges that decide how the job ends, likewise. A failure that is not final is RETRIED. An answer
 * that we did not wait for to the end may have gone either way: others find out. */
/* clang-format off */
static const signed char outcomes[JOB_NSTATES][EV_COUNT] = {
    [JOB_CLAIM] = {[EV_FATAL] = OUTCOME_FAILED + 1},
    [JOB_INSERT] = {[EV_FATAL] = OUTCOME_FAILED + 1},
    [JOB_COMPLETE] = {[EV_OK] = OUTCOME_COMPLETED + 1,
                      [EV_LOST] = OUTCOME_LOST + 1,
                      [EV_ABORT] = OUTCOME_LOST + 1},
    [JOB_FAIL] = {[EV_OK] = OUTCOME_FAILED + 1,
                      [EV_LOST] = OUTCOME_LOST + 1,
                      [EV_FATAL] = OUTCOME_LOST + 1,
                      [EV_ABORT] = OUTCOME_LOST + 1},
    [JOB_RELEASE] = {[EV_OK] = OUTCOME_RELEASED + 1,
                      [EV_MISSING] = OUTCOME_LOST + 1,
                      [EV_LOST] = OUTCOME_LOST + 1,
                      [EV_FATAL] = OUTCOME_LOST + 1,
                      [EV_ABORT] = OUTCOME_LOST + 1},
};
/* clang-format on */

static bool is_t3(enum job_state state)
{
    return state == JOB_COMPLETE || state == JOB_FAIL || state == JOB_RELEASE;
}

void jobmeters_step(enum job_state state, enum job_event ev, int64_t took_us, bool dead,
    enum meter_OUTCOME *outcome)
{
    int decided = outcomes[state][ev] - 1;
    if (phases[state] && took_us > 0)
        meter_observe(M_PHASE, phases[state] - 1, took_us);
    if (is_t3(state) && ev == EV_LOST)
        meter_inc(M_FENCED_WRITES, 0, 0);
    if (decided >= 0)
        *outcome = (enum meter_OUTCOME)decided;
    if (state == JOB_FAIL && ev == EV_OK && !dead)
        *outcome = OUTCOME_RETRIED;
}

void jobmeters_wait(int64_t waited_ms)
{
    meter_observe(M_PHASE, PHASE_WAIT, waited_ms * 1000);
}

void jobmeters_end(enum meter_OUTCOME outcome)
{
    meter_inc(M_JOBS, (int)outcome, 0);
}

void jobmeters_completed(int64_t age_us, int64_t superseded)
{
    meter_observe(M_EVENT, 0, age_us);
    meter_add(M_SUPERSEDED, 0, 0, superseded);
}
