/* solo: the process of each fleet in which suspects run: events that were in flight when a process
 * crashed, twice. One at a time and nothing beside it, so that the next crash tells who did it; and
 * a process of its own for each, so that what one has done to its memory harms no other. Without
 * suspects it has one connection and asks one question every two seconds. */
#ifndef HL_WORKER_SOLO_H
#define HL_WORKER_SOLO_H

#include "base/config.h"
#include "io/prefork.h"

/* The life of a solo process, until one suspect is done (PREFORK_AGAIN) or it is asked to leave;
 * returns its exit status. slot->extra: its one job is the first struct held (obituary.h). */
int solo_run(struct prefork_slot *slot, const struct config *cfg);

#endif
