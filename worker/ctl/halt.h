/* halt: what `pause` and `resume` share: both look at the same queues, tell the fleet, and wait until it
 * has noted it. */
#ifndef HL_WORKER_CTL_HALT_H
#define HL_WORKER_CTL_HALT_H

#include "worker/ctl/ctl.h"

enum { HALT_INTAKE = 1, HALT_TIMEOUT };
/* clang-format off */
#define HALT_TIMEOUT_OPTION                                                                        \
    {HALT_TIMEOUT, "timeout", "DURATION", "wait so long until all have noted it (default 10s)"}
/* clang-format on */

/* on: stop the queues, or their intake; otherwise let them go on. */
int halt_run(const struct ctl_command *command, struct ctl *ctl, int argc, char **argv, bool on);

#endif
