/* fleet: what the supervisor and its children share: the roles, what each worker holds (seen by the
 * supervisor when it dies), and the list of the dead that the janitor works off. */
#ifndef HL_WORKER_FLEET_H
#define HL_WORKER_FLEET_H

#include "base/config.h"
#include "base/uuid.h"
#include "io/prefork.h"

#include <stdbool.h>
#include <stdint.h>

/* One job a worker holds, in its slot of the shared memory (prefork_slot.extra). */
struct held {
    struct uuid id;
    uint8_t state; /* enum job_state + 1; 0 = free */
};

#define FLEET_OBITUARIES 64
#define FLEET_NAME       96

struct fleet;

/* Runs supervisor, workers and janitor until drained; returns the exit status. */
int fleet_run(const struct config *cfg);

const struct config *fleet_config(const struct fleet *f);

/* The janitor's side: readable whenever somebody died. */
int fleet_obituary_fd(const struct fleet *f);
/* The next dead worker that was not handled yet, its name and how it died copied out; false when there is
 * none. fleet_obituary_done marks it handled: a janitor that dies in between leaves it to the next one. */
struct obituary {
    char instance[FLEET_NAME];
    char cause[64];
};
bool fleet_obituary(struct fleet *f, struct obituary *out);
void fleet_obituary_done(struct fleet *f);

#endif
