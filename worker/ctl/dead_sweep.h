/* dead_sweep: letter_sweep for a verb, which waits for each of its answers. */
#ifndef HL_WORKER_CTL_DEAD_SWEEP_H
#define HL_WORKER_CTL_DEAD_SWEEP_H

#include "domain/letter_sweep.h"
#include "worker/ctl/session.h"

struct dead_sweep {
    struct session *session; /* borrowed */
    struct letter_sweep letters;
};
/* Before the first event is put back. */
void dead_sweep_begin(struct dead_sweep *sweep, struct session *s);
/* This event was put back. Now and then that takes a walk along the letters. */
void dead_sweep_note(struct dead_sweep *sweep, const char *event_id);
/* After the last one; releases it. */
void dead_sweep_end(struct dead_sweep *sweep);

#endif
