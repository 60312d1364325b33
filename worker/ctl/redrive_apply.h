/* redrive_apply: the events of a plan are put back, so many a second, until all are, or somebody stops
 * it. Whatever breaks it off, nothing is put back twice: the plan remembers each event. */
#ifndef HL_WORKER_CTL_REDRIVE_APPLY_H
#define HL_WORKER_CTL_REDRIVE_APPLY_H

#include "worker/ctl/putback.h"

enum redrive_end { REDRIVE_ALL_DONE, REDRIVE_WAS_STOPPED, REDRIVE_INTERRUPTED };

struct redrive_apply {
    struct session *session; /* borrowed, like token */
    const char *token;       /* of a plan in the state 'applying' */
    double per_second;
    int64_t jitter_ms;
    int64_t left;  /* events to begin with */
    bool progress; /* to standard error: a line on a terminal, else one now and then */

    int64_t queued, changed; /* out: put back; left alone, because they were tried meanwhile */
    struct putback jobs;     /* out: of those put back */
    enum redrive_end end;    /* out, where CTL_OK is returned */
};
/* CTL_OK, or the exit code after saying what went wrong. SIGINT and SIGTERM interrupt it. */
int redrive_apply(struct redrive_apply *a);

#endif
