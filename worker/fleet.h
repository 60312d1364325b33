/* fleet: the worker program as a whole: which roles its supervisor runs, and what it does when one
 * dies. */
#ifndef HL_WORKER_FLEET_H
#define HL_WORKER_FLEET_H

#include "base/config.h"

/* Runs supervisor, workers, solo process and janitor until drained; returns the exit status. */
int fleet_run(const struct config *cfg);

#endif
