/* hooklinectl: the operator's tool. Owns what is said before a command runs. */
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/program.h"
#include "worker/ctl/ctl.h"

static int print_help(void)
{
    struct buf settings = {0};
    config_help(CFG_CTL, &settings);
    puts("Usage: hooklinectl [OPTION...] VERB [OPTION...]\n"
         "Looks after a Hookline installation.\n");
    ctl_print_commands();
    printf("\n'hooklinectl VERB --help' explains a verb.\n\n"
           "Options:\n"
           "  --config FILE   read settings from FILE (NAME=value lines; the environment wins)\n"
           "  --print-config  show the settings in effect, secrets masked\n"
           "  --version       show the version\n"
           "  --help          show this text\n\n"
           "Exit codes: %d done, %d error, %d not empty or blocked, or nothing found,\n"
           "            %d discrepancy found, %d wrong usage, %d unreachable, %d timed out\n\n"
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

static int run(int argc, char **argv)
{
    struct config_args args;
    struct hl_err err;
    if (config_args(argc, argv, &args, &err) != HL_OK)
        return ctl_fail(CTL_USAGE, "%s", err.msg);

    struct ctl ctl = {.config_file = args.config_file, .argc = argc, .argv = argv};
    if (args.help)
        return print_help();
    if (args.version)
        return print_version();
    if (args.print_config)
        return print_config(&ctl);
    return ctl_dispatch(&ctl, argc - args.rest, argv + args.rest);
}

/* Says what went wrong, but not that a reader has seen enough (| head). Why an earlier write failed
 * may be forgotten. */
static bool all_written(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    int why = errno;
    if (poll(&out, 1, 0) < 1 || !(out.revents & POLLERR))
        ctl_fail(CTL_ERROR, "cannot write to standard output%s%s", why ? ": " : "",
            why ? strerror(why) : "");
    return false;
}

int main(int argc, char **argv)
{
    program_hold_standard_files();
    /* A reader that went away (| head) is seen as a failed write: no order is cut short by it. */
    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_CTYPE, "C.UTF-8"); /* how wide characters are; our texts are UTF-8 anywhere */
    int code = run(argc, argv);
    return all_written() ? code : CTL_ERROR;
}
