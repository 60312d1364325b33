/* program: see program.h. */
#include "base/program.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int print(struct buf *text, FILE *to, int status)
{
    fputs(buf_str(text), to);
    buf_release(text);
    return status;
}

static int help(const struct program *p)
{
    struct buf text = {0};
    buf_printf(&text,
        "Usage: %s [--config FILE] [--print-config] [--help] [--version]\n\n%s\n"
        "Settings (environment, or KEY=value lines of FILE or ./.env; NAME_FILE reads a file):\n",
        p->name, p->about);
    config_help(p->settings, &text);
    return print(&text, stdout, EXIT_SUCCESS);
}

void program_hold_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int program_settings(const struct program *p, int argc, char **argv, struct config *cfg)
{
    struct config_args args;
    struct hl_err err;
    struct buf text = {0};

    program_hold_standard_files();
    if (config_args(argc, argv, &args, &err) != HL_OK) {
        fprintf(stderr, "%s: %s; see --help\n", p->name, err.msg);
        return EX_USAGE;
    }
    if (args.rest < argc) {
        fprintf(stderr, "%s: unexpected argument '%s'; see --help\n", p->name, argv[args.rest]);
        return EX_USAGE;
    }
    if (args.help)
        return help(p);
    if (args.version) {
        printf("%s %s\n", p->name, HOOKLINE_VERSION);
        return EXIT_SUCCESS;
    }
    if (config_load(cfg, p->settings, args.config_file, environ, &text) != HL_OK)
        return print(&text, stderr, EX_CONFIG);
    if (args.print_config) {
        config_print(cfg, p->settings, &text);
        return print(&text, stdout, EXIT_SUCCESS);
    }
    return -1;
}

static void log_faults(struct buf *faults)
{
    char *at = faults->len ? faults->data : NULL;
    for (char *end; at && (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        log_error("settings_fault", LOG_S("error", at));
    }
}

bool program_settings_again(const struct program *p, int argc, char **argv, struct config *cfg)
{
    struct config_args args;
    struct config fresh;
    struct buf faults = {0};
    struct hl_err err;

    if (config_args(argc, argv, &args, &err) != HL_OK)
        return false; /* they were fine at the start */
    bool usable = config_load(&fresh, p->settings, args.config_file, environ, &faults) == HL_OK;
    log_faults(&faults);
    buf_release(&faults);
    if (!usable)
        return false;
    config_release(cfg);
    *cfg = fresh;
    return true;
}
