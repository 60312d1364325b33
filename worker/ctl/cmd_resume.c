/* hooklinectl resume: takes `pause` back. */
#include "worker/ctl/commands.h"

#include "worker/ctl/halt.h"

/* clang-format off */
static const struct ctl_option options[] = {
    {HALT_INTAKE, "intake", NULL, "open the intake only"},
    HALT_TIMEOUT_OPTION,
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static int run(struct ctl *ctl, int argc, char **argv)
{
    return halt_run(&cmd_resume, ctl, argc, argv, false);
}

const struct ctl_command cmd_resume = {
    .name = "resume",
    .summary = "let paused queues go on, and take events in again",
    .words = "[change] [crawl]",
    .about = "Takes 'hooklinectl pause' back: jobs of these queues begin again, both when none is\n"
             "named, and events are taken in again. With --intake a paused queue stays paused.\n"
             "Returns when every process has noted it; exits with 124 when one has not in time.\n",
    .examples = "hooklinectl resume\n"
                "hooklinectl resume change --yes\n"
                "hooklinectl resume --intake\n",
    .options = options,
    .run = run,
};
