/* child: one worker process. Reads jobs, runs up to WEBHOOK_CONCURRENCY of them side by side, keeps its
 * lease, drains. */
#ifndef HL_WORKER_CHILD_H
#define HL_WORKER_CHILD_H

#include "worker/fleet.h"

/* The life of a worker process; returns its exit status. */
int child_run(struct prefork_slot *slot, struct fleet *fleet);

#endif
