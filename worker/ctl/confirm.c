/* confirm: see confirm.h. */
#include "worker/ctl/confirm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/text.h"

enum { LINE = 64 };

int confirm_possible(const struct ctl_args *args)
{
    if (args->shared.yes || args->shared.dry_run || isatty(STDIN_FILENO))
        return -1;
    return ctl_usage_error(args->command,
        "%s asks before it changes something, and nobody is there to answer: give --yes, or "
        "--dry-run to see what it would do",
        args->command->name);
}

/* A line without its end; false at the end of input. */
static bool read_line(char line[LINE])
{
    fflush(stdout);
    if (!fgets(line, LINE, stdin))
        return false;
    size_t len = strcspn(line, "\n");
    for (int c = line[len] ? '\n' : 0; c != '\n' && c != EOF;)
        c = getchar(); /* the rest of a line that is too long */
    line[len] = '\0';
    return true;
}

static int refused(void)
{
    return ctl_fail(CTL_ERROR, "nothing was changed");
}

static bool said_yes(const char *line)
{
    return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}

static int ask(const struct ctl_args *args, const char *fmt, va_list ap)
{
    char line[LINE];
    if (args->shared.dry_run) {
        fputs("Nothing was changed (--dry-run).\n", stderr);
        return CTL_OK;
    }
    if (args->shared.yes)
        return -1;
    struct buf question = {0};
    buf_vprintf(&question, fmt, ap);
    text_tame(question.data, question.len);
    fflush(stdout);
    fprintf(stderr, "%s [y/N] ", buf_str(&question));
    buf_release(&question);
    return read_line(line) && said_yes(line) ? -1 : refused();
}

int confirm(const struct ctl_args *args, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int code = ask(args, fmt, ap);
    va_end(ap);
    return code;
}

static bool is_number(const char *text, int64_t n)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)n);
    return strcmp(text, number) == 0;
}

int confirm_loss(
    const struct ctl_args *args, int64_t n, const char *confirmed, const char *fmt, ...)
{
    char line[LINE];
    va_list ap;
    va_start(ap, fmt);
    int code = ask(args, fmt, ap);
    va_end(ap);
    if (code >= 0)
        return code;
    if (confirmed)
        return is_number(confirmed, n)
                   ? -1
                   : ctl_fail(CTL_ERROR, "--confirm %s, but there are %lld: nothing was changed",
                         confirmed, (long long)n);
    if (!isatty(STDIN_FILENO))
        return ctl_usage_error(args->command,
            "this cannot be had back, and nobody is there to answer: give --confirm %lld, too",
            (long long)n);
    fprintf(stderr, "This cannot be had back. Type how many (%lld) to go on: ", (long long)n);
    return read_line(line) && is_number(line, n) ? -1 : refused();
}
