/* commands: the verbs and nouns of hooklinectl, one row each, in the order and under the headings of
 * --help. Each is defined in cmd_NAME.c. */
#ifndef HL_WORKER_CTL_COMMANDS_H
#define HL_WORKER_CTL_COMMANDS_H

#include "worker/ctl/ctl.h"

/* clang-format off */
#define CTL_COMMANDS(GROUP, X)                                                                     \
    GROUP("Looking")                                                                               \
    X(status)                                                                                      \
    X(top)                                                                                         \
    X(queues)                                                                                      \
    X(workers)                                                                                     \
    X(events)                                                                                      \
    X(crawls)                                                                                      \
    X(search)                                                                                      \
    X(rejects)                                                                                     \
    GROUP("Working")                                                                               \
    X(pause)                                                                                       \
    X(resume)                                                                                      \
    X(drain)                                                                                       \
    X(zombies)                                                                                     \
    X(dead)                                                                                        \
    X(redrive)                                                                                     \
    X(spool)                                                                                       \
    X(log_level)                                                                                   \
    GROUP("Making sure")                                                                           \
    X(audit)                                                                                       \
    X(doctor)                                                                                      \
    X(health)                                                                                      \
    X(config)                                                                                      \
    GROUP("Moving")                                                                                \
    X(migrate)                                                                                     \
    X(export)                                                                                      \
    X(import)                                                                                      \
    GROUP("Trying")                                                                                \
    X(send)                                                                                        \
    X(bench)                                                                                       \
    X(completion)
/* clang-format on */

#define CTL_NO_GROUP(title)
#define CTL_COMMAND_DECLARE(name) extern const struct ctl_command cmd_##name;
CTL_COMMANDS(CTL_NO_GROUP, CTL_COMMAND_DECLARE)

#endif
