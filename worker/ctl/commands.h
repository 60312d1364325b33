/* commands: the verbs and nouns of hooklinectl, one row each, in the order of --help. Each is defined
 * in cmd_NAME.c. */
#ifndef HL_WORKER_CTL_COMMANDS_H
#define HL_WORKER_CTL_COMMANDS_H

#include "worker/ctl/ctl.h"

/* clang-format off */
#define CTL_COMMANDS(X)                                                                            \
    X(status)                                                                                      \
    X(crawls)                                                                                      \
    X(search)                                                                                      \
    X(rejects)                                                                                     \
    X(audit)                                                                                       \
    X(send)                                                                                        \
    X(bench)                                                                                       \
    X(migrate)                                                                                     \
    X(completion)
/* clang-format on */

#define CTL_COMMAND_DECLARE(name) extern const struct ctl_command cmd_##name;
CTL_COMMANDS(CTL_COMMAND_DECLARE)

#endif
