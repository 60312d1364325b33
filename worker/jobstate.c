/* jobstate: see jobstate.h. */
#include "worker/jobstate.h"

#define NAME(n) #n,
static const char *const state_names[] = {JOB_STATES(NAME)};
static const char *const event_names[] = {JOB_EVENTS(NAME)};
#undef NAME

/* One more than the state, so that an edge left out is 0 = forbidden. */
#define TO(s) (JOB_##s + 1)

static const signed char next_state[JOB_NSTATES][EV_COUNT] = {
    [JOB_CLAIM] =
        {
                     [EV_OK] = TO(SCRAPE),
                     [EV_MISSING] = TO(INSERT),
                     [EV_WAIT] = TO(SETTLE),
                     [EV_LOST] = TO(SETTLE),
                     [EV_RETRY] = TO(CLAIM),
                     [EV_UNSURE] = TO(CLAIM),
                     [EV_FATAL] = TO(SETTLE),
                     [EV_ABORT] = TO(SETTLE),
                     },
    [JOB_INSERT] =
        {
                     [EV_OK] = TO(CLAIM),
                     [EV_RETRY] = TO(INSERT),
                     [EV_UNSURE] = TO(INSERT),
                     [EV_FATAL] = TO(SETTLE),
                     [EV_ABORT] = TO(SETTLE),
                     },
    [JOB_SCRAPE] =
        {
                     [EV_OK] = TO(INDEX),
                     [EV_WAIT] = TO(RELEASE),
                     [EV_RETRY] = TO(FAIL),
                     [EV_FATAL] = TO(FAIL),
                     [EV_ABORT] = TO(RELEASE),
                     },
    [JOB_INDEX] =
        {
                     [EV_OK] = TO(COMPLETE),
                     [EV_RETRY] = TO(FAIL),
                     [EV_FATAL] = TO(FAIL),
                     [EV_ABORT] = TO(RELEASE),
                     },
    [JOB_COMPLETE] =
        {
                     [EV_OK] = TO(SETTLE),
                     [EV_MISSING] = TO(INSERT),
                     [EV_LOST] = TO(SETTLE),
                     [EV_RETRY] = TO(COMPLETE),
                     [EV_UNSURE] = TO(COMPLETE),
                     [EV_FATAL] = TO(FAIL),
                     [EV_ABORT] = TO(DONE),
                     },
    [JOB_FAIL] =
        {
                     [EV_OK] = TO(SETTLE),
                     [EV_MISSING] = TO(INSERT),
                     [EV_LOST] = TO(SETTLE),
                     [EV_RETRY] = TO(FAIL),
                     [EV_UNSURE] = TO(FAIL),
                     [EV_FATAL] = TO(DONE),
                     [EV_ABORT] = TO(DONE),
                     },
    [JOB_RELEASE] =
        {
                     [EV_OK] = TO(SETTLE),
                     [EV_MISSING] = TO(SETTLE),
                     [EV_LOST] = TO(SETTLE),
                     [EV_RETRY] = TO(RELEASE),
                     [EV_UNSURE] = TO(RELEASE),
                     [EV_FATAL] = TO(DONE),
                     [EV_ABORT] = TO(DONE),
                     },
    [JOB_SETTLE] =
        {
                     [EV_OK] = TO(DONE),
                     [EV_RETRY] = TO(SETTLE),
                     [EV_UNSURE] = TO(SETTLE),
                     [EV_FATAL] = TO(DONE),
                     [EV_ABORT] = TO(DONE),
                     },
};

const char *job_state_name(enum job_state s)
{
    return state_names[s];
}

const char *job_event_name(enum job_event e)
{
    return event_names[e];
}

int job_next(enum job_state s, enum job_event e)
{
    return next_state[s][e] - 1;
}
