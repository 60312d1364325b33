/* dead_retry: what died is put back. Each thing in one step, so that nothing is lost when it is broken
 * off, and nothing doubled when it is repeated. */
#ifndef HL_WORKER_CTL_DEAD_RETRY_H
#define HL_WORKER_CTL_DEAD_RETRY_H

#include "worker/ctl/dead_look.h"
#include "worker/ctl/putback.h"

struct dead_retry {
    struct session *session;       /* borrowed, like the items */
    const struct dead_item *items; /* as they were seen */
    size_t n;

    int64_t done;        /* out: put back */
    int64_t changed;     /* out: no longer dead: tried, done or in the queue already */
    int64_t refused;     /* out: cannot be put back; each was named */
    struct putback jobs; /* out: of the rows put back */
};
/* CTL_OK, or the exit code after saying what went wrong. Ends early once interrupted() is true. */
int dead_retry(struct dead_retry *r);

#endif
