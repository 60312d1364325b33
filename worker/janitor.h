/* janitor: the process that looks after what others left behind. Every supervisor has one; any
 * number may run side by side. */
#ifndef HL_WORKER_JANITOR_H
#define HL_WORKER_JANITOR_H

#include "base/config.h"
#include "io/prefork.h"
#include "worker/obituary.h"

/* The life of the janitor process; returns its exit status. */
int janitor_run(struct prefork_slot *slot, const struct config *cfg, struct obituaries *dead);

#endif
