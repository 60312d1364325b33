/* jobmeters: what a job of a change event counts and measures (base/meter.h), from the edges of its
 * state machine. */
#ifndef HL_WORKER_JOBMETERS_H
#define HL_WORKER_JOBMETERS_H

#include "base/meter.h"
#include "worker/jobstate.h"

#include <stdbool.h>
#include <stdint.h>

/* The step is over: it took so long (0: it never began), and what followed was ev. *outcome: of the
 * job, if this edge decides it; OUTCOME_NOTHING to begin with. dead: a failure that is final. */
void jobmeters_step(enum job_state state, enum job_event ev, int64_t took_us, bool dead,
    enum meter_OUTCOME *outcome);
void jobmeters_wait(int64_t waited_ms); /* from when the event was due to its claim */
void jobmeters_end(enum meter_OUTCOME outcome);
/* T3b has gone through: so long after the event was accepted, and so many others are answered. */
void jobmeters_completed(int64_t age_us, int64_t superseded);

#endif
