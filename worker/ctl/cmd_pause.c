/* hooklinectl pause: nothing of a queue begins any more, or nothing is taken in. */
#include "worker/ctl/commands.h"

#include "worker/ctl/halt.h"

/* clang-format off */
static const struct ctl_option options[] = {
    {HALT_INTAKE, "intake", NULL, "fence the intake instead: producers refuse events (503)"},
    HALT_TIMEOUT_OPTION,
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static int run(struct ctl *ctl, int argc, char **argv)
{
    return halt_run(&cmd_pause, ctl, argc, argv, true);
}

const struct ctl_command cmd_pause = {
    .name = "pause",
    .summary = "let nothing of a queue begin, or take nothing in",
    .words = "[change] [crawl]",
    .about =
        "Pauses queues, both when none is named: what is in flight is finished, nothing else\n"
        "begins, and events are taken in as before. Returns when every worker process has noted\n"
        "it: from then on no job starts. With --intake the queues go on, but producers refuse new\n"
        "events with 503 and Retry-After; it returns when all have noted it and nothing that they\n"
        "let in before is under way. 'hooklinectl resume' takes either back. Exits with 124 when\n"
        "somebody has not noted it in time, and with 2 when a producer that must note it has not\n"
        "been heard of for a minute; the order stands in both cases.\n",
    .examples = "hooklinectl pause change --reason 'index is being rebuilt'\n"
                "hooklinectl pause --intake --yes\n"
                "hooklinectl pause crawl --dry-run\n",
    .options = options,
    .run = run,
};
