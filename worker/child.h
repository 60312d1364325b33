/* child: one worker process. Reads jobs, runs up to WEBHOOK_CONCURRENCY of them side by side,
 * keeps its lease, drains. */
#ifndef HL_WORKER_CHILD_H
#define HL_WORKER_CHILD_H

#include "base/config.h"
#include "io/prefork.h"

/* The life of a worker process; returns its exit status. slot->extra holds a struct held
 * (obituary.h) for each of cfg->concurrency jobs. */
int child_run(struct prefork_slot *slot, const struct config *cfg);

#endif
