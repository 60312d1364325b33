/* dead_sweep: the letters of events that are queued again have had their day, and go; those of what
 * happened since stay. Only tidying: a letter that stays is told from its row, and goes with the next
 * 'dead retry'. */
#ifndef HL_WORKER_CTL_DEAD_SWEEP_H
#define HL_WORKER_CTL_DEAD_SWEEP_H

#include "domain/queue_dead.h"
#include "worker/ctl/session.h"

struct dead_sweep {
    struct session *session;      /* borrowed */
    char newest[QUEUE_ENTRY_MAX]; /* letter, when it began; "" = there was none, or no answer */
    char (*ids)[UUID_STRLEN + 1];
    size_t n;

    /* of the page under way */
    char before[QUEUE_ENTRY_MAX];
    char found[QUEUE_LETTERS_MAX][QUEUE_ENTRY_MAX];
    size_t nfound, got;
};
/* Before the first event is put back. */
void dead_sweep_begin(struct dead_sweep *sweep, struct session *s);
/* This event was put back. Now and then that takes a walk along the letters. */
void dead_sweep_note(struct dead_sweep *sweep, const char *event_id);
/* After the last one; releases it. */
void dead_sweep_end(struct dead_sweep *sweep);

#endif
