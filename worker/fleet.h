/* fleet: the worker program as a whole: which roles its supervisor runs, and what it does when one
 * dies. */
#ifndef HL_WORKER_FLEET_H
#define HL_WORKER_FLEET_H

#include "base/program.h"

/* Runs supervisor, workers, solo process and janitor until drained; returns the exit status. SIGHUP reads *cfg
 * again from where program, argc and argv say it came from. */
int fleet_run(const struct program *program, int argc, char **argv, struct config *cfg);

#endif
