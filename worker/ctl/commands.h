/* commands: the verbs and nouns of hooklinectl, one row each, in the order of --help. Each is defined
 * in cmd_NAME.c. */
#ifndef HL_WORKER_CTL_COMMANDS_H
#define HL_WORKER_CTL_COMMANDS_H

#include "worker/ctl/ctl.h"

/* clang-format off */
#define CTL_COMMANDS(X)                                                                            \
    X(status)                                                                                      \
    X(top)                                                                                         \
    X(events)                                                                                      \
    X(zombies)                                                                                     \
    X(dead)                                                                                        \
    X(redrive)                                                                                     \
    X(workers)                                                                                     \
    X(pause)                                                                                       \
    X(resume)                                                                                      \
    X(queues)                                                                                      \
    X(drain)                                                                                       \
    X(crawls)                                                                                      \
    X(search)                                                                                      \
    X(rejects)                                                                                     \
    X(audit)                                                                                       \
    X(config)                                                                                      \
    X(doctor)                                                                                      \
    X(spool)                                                                                       \
    X(send)                                                                                        \
    X(migrate)                                                                                     \
    X(export)                                                                                      \
    X(import)
/* clang-format on */

#define CTL_COMMAND_DECLARE(name) extern const struct ctl_command cmd_##name;
CTL_COMMANDS(CTL_COMMAND_DECLARE)

#endif
