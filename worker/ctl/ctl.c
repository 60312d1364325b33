/* ctl: see ctl.h. Owns the look of hooklinectl: its help, its messages, its tables. */
#include "worker/ctl/ctl.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"

#define MAX_CELL_CHARS 500

/* Keys of the options that every verb has; above anything a verb uses. */
enum { KEY_HELP = 0x10000, KEY_CONFIG };

static const struct ctl_option common_options[] = {
    {.key = KEY_CONFIG, .name = "config", .value = "FILE", .help = "read settings from FILE"},
    {.key = KEY_HELP,  .name = "help", .help = "show this text"},
    {0                },
};

/* --- messages ---------------------------------------------------------------------------- */

static void complain(const char *fmt, va_list ap)
{
    fputs("hooklinectl: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

int ctl_fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    return code;
}

int ctl_fail_err(const struct hl_err *err)
{
    int code = err->why == HL_WHY_UNREACHABLE ? CTL_UNREACHABLE
               : err->why == HL_WHY_TIMEOUT   ? CTL_TIMEOUT
                                              : CTL_ERROR;
    return ctl_fail(code, "%s", err->msg);
}

int ctl_usage_error(const struct ctl_usage *usage, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try 'hooklinectl %s --help'.\n", usage->verb);
    return CTL_USAGE;
}

/* --- options ----------------------------------------------------------------------------- */

static bool may_take(const struct ctl_option *o)
{
    return o->value && o->value[0] == '[';
}

static void print_options(const struct ctl_option *options)
{
    for (const struct ctl_option *o = options; o->key; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value && !may_take(o) ? " " : "",
            o->value ? o->value : "");
        printf("  %-24s %s\n", left, o->help);
    }
}

static void print_usage(const struct ctl_usage *u)
{
    printf("Usage: hooklinectl %s [OPTION...]%s%s\n\n%s\nOptions:\n", u->verb, u->words ? " " : "",
        u->words ? u->words : "", u->about);
    print_options(u->options);
    print_options(common_options);
}

static size_t add_options(struct option *to, const struct ctl_option *from)
{
    size_t n = 0;
    for (; from[n].key; n++)
        to[n] = (struct option){.name = from[n].name,
            .has_arg = may_take(&from[n]) ? optional_argument
                       : from[n].value    ? required_argument
                                          : no_argument,
            .val = from[n].key};
    return n;
}

static int stop(struct ctl_args *args, int exit_code)
{
    args->done = exit_code;
    return 0;
}

/* getopt's own messages name the verb as if it were a program; these say the same in our words. */
static int bad_option(struct ctl_args *args, int c)
{
    const char *given = args->argv[optind - 1];
    return stop(args, c == ':' ? ctl_usage_error(args->usage, "option '%s' needs a value", given)
                               : ctl_usage_error(args->usage,
                                     "option '%s' is unknown, ambiguous or "
                                     "takes no value",
                                     given));
}

static int end_of_options(struct ctl_args *args)
{
    args->rest = optind;
    if (optind < args->argc && !args->usage->words)
        return stop(args,
            ctl_usage_error(args->usage, "'%s' is one argument too many; %s takes options only",
                args->argv[optind], args->usage->verb));
    return 0;
}

int ctl_next(struct ctl_args *args)
{
    struct option all[CTL_MAX_OPTIONS + 3] = {0};
    size_t n = add_options(all, args->usage->options);
    add_options(all + n, common_options);

    if (!args->started)
        optind = 0; /* glibc: start over, forget what was parsed before */
    args->started = true;
    opterr = 0;
    int key = getopt_long(args->argc, args->argv, ":h", all, NULL);
    args->value = optarg;
    switch (key) {
    case -1: return end_of_options(args);
    case ':':
    case '?': return bad_option(args, key);
    case 'h':
    case KEY_HELP: print_usage(args->usage); return stop(args, CTL_OK);
    case KEY_CONFIG: args->ctl->config_file = optarg; return ctl_next(args);
    default: return key;
    }
}

bool ctl_duration(struct ctl_args *args, const char *option, int64_t *ms)
{
    if (config_duration(args->value, ms))
        return true;
    args->done = ctl_usage_error(args->usage,
        "--%s %s is not a duration: expected seconds, or a number with ms, s, m or h", option,
        args->value);
    return false;
}

bool ctl_count(struct ctl_args *args, const char *option, int max, int *n)
{
    char *end;
    long value = strtol(args->value, &end, 10);
    if (*args->value && !*end && value >= 1 && value <= max) {
        *n = (int)value;
        return true;
    }
    args->done = ctl_usage_error(args->usage, "--%s takes a number from 1 to %d", option, max);
    return false;
}

bool ctl_config(const struct ctl *ctl, struct config *cfg)
{
    struct buf faults = {0};
    bool fine = config_load(cfg, CFG_CTL, ctl->config_file, environ, &faults) == HL_OK;
    if (!fine)
        fprintf(stderr, "hooklinectl: the settings are not usable:\n%s", buf_str(&faults));
    buf_release(&faults);
    return fine;
}

/* --- tables ------------------------------------------------------------------------------ */

void ctl_table_row(struct ctl_table *t, const char *const *cells)
{
    t->cells = mem_grow(t->cells, (t->used + t->columns) * sizeof(*t->cells));
    for (size_t i = 0; i < t->columns; i++) {
        struct buf line = {0};
        text_one_line(cells[i] ? cells[i] : "-", MAX_CELL_CHARS, &line);
        t->cells[t->used++] = buf_detach(&line);
    }
}

static size_t column_width(const struct ctl_table *t, size_t column)
{
    size_t width = 0;
    for (size_t i = column; i < t->used; i += t->columns) {
        size_t chars = text_chars(t->cells[i]);
        width = chars > width ? chars : width;
    }
    return width;
}

static void print_cell(const struct ctl_table *t, size_t i)
{
    size_t column = i % t->columns;
    if (column == t->columns - 1) {
        puts(t->cells[i]);
        return;
    }
    /* printf pads by bytes, columns are of characters. */
    size_t pad = column_width(t, column) - text_chars(t->cells[i]);
    printf("%s%*s  ", t->cells[i], (int)pad, "");
}

void ctl_table_print(struct ctl_table *t)
{
    for (size_t i = 0; i < t->used; i++)
        print_cell(t, i);
    for (size_t i = 0; i < t->used; i++)
        free(t->cells[i]);
    free(t->cells);
    t->cells = NULL;
    t->used = 0;
}
