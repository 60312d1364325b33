/* hooklinectl: the operator's tool. Owns the table of verbs and what is said before one of them
 * runs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/ctl/ctl.h"

/* clang-format off */
static const struct {
    const char *name;
    ctl_verb_fn *run;
    const char *summary;
} verbs[] = {
    {"migrate", cmd_migrate, "bring the database schema up to date"},
    {"send", cmd_send, "sign a change event and post it to a producer"},
    {"status", cmd_status, "show queues, events by status, workers"},
    {"search", cmd_search, "search the documents"},
    {"crawls", cmd_crawls, "list crawl sessions, or the jobs of Firecrawl's own queue"},
    {"rejects", cmd_rejects, "show the webhooks that were refused, and post them again"},
    {"audit", cmd_audit, "prove that no accepted event is missing, doubled or stuck"},
};
/* clang-format on */

#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static int print_help(void)
{
    struct buf settings = {0};
    config_help(CFG_CTL, &settings);
    puts("Usage: hooklinectl [OPTION...] VERB [OPTION...]\n"
         "Looks after a Hookline installation.\n\nVerbs:");
    for (size_t i = 0; i < N_VERBS; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    printf("\n'hooklinectl VERB --help' explains a verb.\n\n"
           "Options:\n"
           "  --config FILE   read settings from FILE (NAME=value lines; the environment wins)\n"
           "  --print-config  show the settings in effect, secrets masked\n"
           "  --version       show the version\n"
           "  --help          show this text\n\n"
           "Exit codes: %d done, %d error, %d nothing found, %d discrepancy found,\n"
           "            %d wrong usage, %d unreachable, %d timed out\n\n"
           "Settings:\n%s",
        CTL_OK, CTL_ERROR, CTL_NOT_EMPTY, CTL_DISCREPANCY, CTL_USAGE, CTL_UNREACHABLE, CTL_TIMEOUT,
        buf_str(&settings));
    buf_release(&settings);
    return CTL_OK;
}

static int print_version(void)
{
    puts("hooklinectl " HOOKLINE_VERSION);
    return CTL_OK;
}

static int print_config(const struct ctl *ctl)
{
    struct config cfg;
    struct buf out = {0};
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    config_print(&cfg, CFG_CTL, &out);
    fputs(buf_str(&out), stdout);
    buf_release(&out);
    config_release(&cfg);
    return CTL_OK;
}

static int run_verb(struct ctl *ctl, int argc, char **argv)
{
    const char *hint = "'hooklinectl --help' lists the verbs";
    if (argc < 1)
        return ctl_fail(CTL_USAGE, "no verb given; %s", hint);
    if (argv[0][0] == '-')
        return ctl_fail(CTL_USAGE, "unknown option '%s'; %s", argv[0], hint);
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(argv[0], verbs[i].name) == 0)
            return verbs[i].run(ctl, argc, argv);
    return ctl_fail(CTL_USAGE, "unknown verb '%s'; %s", argv[0], hint);
}

static int run(int argc, char **argv)
{
    struct config_args args;
    struct hl_err err;
    if (config_args(argc, argv, &args, &err) != HL_OK)
        return ctl_fail(CTL_USAGE, "%s", err.msg);

    struct ctl ctl = {.config_file = args.config_file};
    if (args.help)
        return print_help();
    if (args.version)
        return print_version();
    if (args.print_config)
        return print_config(&ctl);
    return run_verb(&ctl, argc - args.rest, argv + args.rest);
}

int main(int argc, char **argv)
{
    /* A reader that went away (| head) shows as a failed write, not as a silent death. */
    signal(SIGPIPE, SIG_IGN);
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout))
        return ctl_fail(CTL_ERROR, "cannot write to standard output: %s", strerror(errno));
    return code;
}
