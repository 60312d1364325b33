/* ctl: see ctl.h. Owns the look of hooklinectl: its help and its messages, and what every option
 * means that several commands share. */
#include "worker/ctl/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"

#define MAX_REASON       2000
#define DEFAULT_WATCH_MS 2000
#define MIN_WATCH_MS     200
#define PICTURE          65536

/* Options that every command has. */
enum { KEY_HELP = 0x10000, KEY_CONFIG };

static const struct ctl_option no_options[] = {{0}};

const struct ctl_option ctl_common_options[] = {
    {.key = KEY_CONFIG, .name = "config", .value = "FILE", .help = "read settings from FILE"},
    {.key = KEY_HELP,  .name = "help", .help = "show this text"},
    {0                },
};

/* --- messages ---------------------------------------------------------------------------- */

static void complain(const char *fmt, va_list ap)
{
    struct buf text = {0};
    buf_vprintf(&text, fmt, ap);
    text_tame(text.data, text.len);
    fflush(stdout); /* what was said before stands before it */
    fprintf(stderr, "hooklinectl: %s\n", buf_str(&text));
    buf_release(&text);
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
    /* One that only reads is a standby: where writing is possible is somewhere else, or nowhere. */
    bool away = err->why == HL_WHY_UNREACHABLE || err->why == HL_WHY_READ_ONLY;
    int code = away ? CTL_UNREACHABLE : err->why == HL_WHY_TIMEOUT ? CTL_TIMEOUT : CTL_ERROR;
    return ctl_fail(code, "%s", err->msg);
}

int ctl_usage_error(const struct ctl_command *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try 'hooklinectl %s --help'.\n", command->name);
    return CTL_USAGE;
}

/* --- help -------------------------------------------------------------------------------- */

static const struct ctl_option *options_of(const struct ctl_command *c)
{
    return c->options ? c->options : no_options;
}

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

static void print_actions(const struct ctl_command *c)
{
    for (const struct ctl_command *const *a = c->actions; *a; a++)
        printf("  %-18s %s\n", (*a)->name, (*a)->summary);
}

static void print_examples(const char *examples)
{
    puts("\nExamples:");
    while (*examples) {
        int len = (int)strcspn(examples, "\n");
        printf("  %.*s\n", len, examples);
        examples += len + (examples[len] == '\n');
    }
}

void ctl_print_help(const struct ctl_command *c)
{
    if (c->actions) {
        printf("Usage: hooklinectl %s ACTION [OPTION...]\n\n%s\nActions:\n", c->name, c->about);
        print_actions(c);
        printf("\n'hooklinectl %s ACTION --help' explains an action.\n", c->name);
        return;
    }
    printf("Usage: hooklinectl %s [OPTION...]%s%s\n\n%s\nOptions:\n", c->name, c->words ? " " : "",
        c->words ? c->words : "", c->about);
    print_options(options_of(c));
    print_options(ctl_common_options);
    if (c->examples)
        print_examples(c->examples);
}

/* --- options ----------------------------------------------------------------------------- */

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

static const char *nearest_option(const struct ctl_option *o, const char *word, size_t *best)
{
    const char *nearest = NULL;
    for (; o->key; o++) {
        size_t d = ctl_unlike(word, o->name);
        if (d < *best) {
            *best = d;
            nearest = o->name;
        }
    }
    return nearest;
}

/* given: with its dashes, and perhaps a value. The one that was probably meant; NULL = none. */
static const char *meant_option(const struct ctl_command *c, const char *given)
{
    size_t best = CTL_UNLIKE;
    char *word = mem_strndup(given + 2, strcspn(given + 2, "="));
    const char *own = nearest_option(options_of(c), word, &best),
               *common = nearest_option(ctl_common_options, word, &best);
    free(word);
    return common ? common : own;
}

/* getopt's own messages name the verb as if it were a program; these say the same in our words. */
static int bad_option(struct ctl_args *args, int c)
{
    const char *given = args->argv[optind - 1];
    const struct ctl_command *command = args->command;
    if (c == ':')
        return stop(args, ctl_usage_error(command, "option '%s' needs a value", given));
    bool is_long = strncmp(given, "--", 2) == 0;
    const char *meant = is_long && optopt == 0 ? meant_option(command, given) : NULL;
    if (meant)
        return stop(args,
            ctl_usage_error(command, "unknown option '%s'; did you mean '--%s'?", given, meant));
    return stop(args,
        ctl_usage_error(command, "option '%s' is unknown, ambiguous or takes no value", given));
}

static int end_of_options(struct ctl_args *args)
{
    args->rest = optind;
    if (optind < args->argc && !args->command->words)
        return stop(args,
            ctl_usage_error(args->command, "'%s' is one argument too many; %s takes options only",
                args->argv[optind], args->command->name));
    return 0;
}

static bool take_text(struct ctl_args *args, const char *option, size_t max, const char **to)
{
    size_t len = strlen(args->value);
    *to = args->value;
    if (len > 0 && len <= max && text_utf8_valid(args->value, len))
        return true;
    args->done = ctl_usage_error(args->command, "--%s takes 1 to %zu bytes of UTF-8", option, max);
    return false;
}

static bool take_status(struct ctl_args *args)
{
    static const char *const words[] = {
        "queued", "in_progress", "completed", "superseded", "failed"};
    args->shared.status = args->value;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(args->value, words[i]) == 0)
            return true;
    args->done = ctl_usage_error(args->command,
        "--status %s: expected queued, in_progress, completed, superseded or failed", args->value);
    return false;
}

static bool take_watch(struct ctl_args *args)
{
    args->shared.watch_ms = DEFAULT_WATCH_MS;
    if (!args->value)
        return true;
    if (!ctl_duration(args, "watch", &args->shared.watch_ms))
        return false;
    if (args->shared.watch_ms < MIN_WATCH_MS)
        args->shared.watch_ms = MIN_WATCH_MS;
    return true;
}

static bool take_shared(struct ctl_args *args, int key)
{
    struct ctl_shared *s = &args->shared;
    switch (key) {
    case CTL_JSON: s->json = true; return true;
    case CTL_WATCH: return take_watch(args);
    case CTL_YES: s->yes = true; return true;
    case CTL_DRY_RUN: s->dry_run = true; return true;
    case CTL_REASON: return take_text(args, "reason", MAX_REASON, &s->reason);
    case CTL_STATUS: return take_status(args);
    case CTL_URL: return take_text(args, "url", 8192, &s->url);
    case CTL_WATCH_ID: return take_text(args, "watch-id", 1020, &s->watch_id);
    case CTL_SINCE: s->since = &s->since_us; return ctl_time(args, "since", &s->since_us);
    case CTL_UNTIL: s->until = &s->until_us; return ctl_time(args, "until", &s->until_us);
    case CTL_ERROR_LIKE: return take_text(args, "error", 1000, &s->error);
    default: return ctl_count(args, "limit", CTL_MAX_LIMIT, &s->limit);
    }
}

int ctl_next(struct ctl_args *args)
{
    struct option all[CTL_MAX_OPTIONS + 3] = {0};
    size_t n = add_options(all, options_of(args->command));
    add_options(all + n, ctl_common_options);

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
    case KEY_HELP: ctl_print_help(args->command); return stop(args, CTL_OK);
    case KEY_CONFIG: args->ctl->config_file = optarg; return ctl_next(args);
    default: break;
    }
    if (key < CTL_SHARED_KEYS)
        return key;
    return take_shared(args, key) ? ctl_next(args) : 0;
}

int ctl_parse(struct ctl_args *args)
{
    while (ctl_next(args))
        ;
    return args->done;
}

bool ctl_duration(struct ctl_args *args, const char *option, int64_t *ms)
{
    if (config_duration(args->value, ms))
        return true;
    args->done = ctl_usage_error(args->command,
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
    args->done = ctl_usage_error(args->command, "--%s takes a number from 1 to %d", option, max);
    return false;
}

bool ctl_time(struct ctl_args *args, const char *option, int64_t *us)
{
    int64_t ms, days;
    char *end;
    if (timestamp_parse_iso(args->value, us))
        return true;
    days = strtoll(args->value, &end, 10);
    if (end > args->value && strcmp(end, "d") == 0 && days >= 0 && days <= 36500) {
        *us = clock_wall_us() - days * 86400 * INT64_C(1000000);
        return true;
    }
    if (config_duration(args->value, &ms)) {
        *us = clock_wall_us() - ms * 1000;
        return true;
    }
    args->done = ctl_usage_error(args->command,
        "--%s %s is no time: expected ISO 8601 as 2026-01-31T12:00:00Z, or a duration ago as 90m, "
        "2h, 7d",
        option, args->value);
    return false;
}

/* --- settings ---------------------------------------------------------------------------- */

bool ctl_config(const struct ctl *ctl, struct config *cfg)
{
    struct buf faults = {0};
    bool fine = config_load(cfg, CFG_CTL, ctl->config_file, environ, &faults) == HL_OK;
    if (!fine)
        fprintf(stderr, "hooklinectl: the settings are not usable:\n%s", buf_str(&faults));
    buf_release(&faults);
    return fine;
}

/* --- watching ---------------------------------------------------------------------------- */

static struct {
    bool on;
    sigset_t ends;
    volatile sig_atomic_t code; /* of the last look; nothing was seen yet: an error */
} watching = {.code = CTL_ERROR};

/* Waits for ms; true when a signal of the set came instead. */
static bool interrupted(const sigset_t *ends, int64_t ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    int signo;
    do
        signo = sigtimedwait(ends, NULL, &t);
    while (signo < 0 && errno == EINTR); /* stopped and continued: a little longer */
    return signo > 0;
}

/* While a store lets us wait, nothing is half shown. */
static void leave(int signo)
{
    (void)signo;
    _exit(watching.code);
}

void ctl_watch_waits(bool waits)
{
    if (watching.on)
        sigprocmask(waits ? SIG_UNBLOCK : SIG_BLOCK, &watching.ends, NULL);
}

/* Held back while something is shown: nobody is cut off amid a table. */
static void hold_ends(void)
{
    static const int ends[] = {SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = leave};
    sigemptyset(&watching.ends);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        sigaddset(&watching.ends, ends[i]);
    watching.on = true;
    ctl_watch_waits(false);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        sigaction(ends[i], &action, NULL);
}

int ctl_watch(const struct ctl_shared *shared, int (*show)(void *ctx), void *ctx)
{
    if (!shared->watch_ms)
        return show(ctx);
    bool fresh = isatty(STDOUT_FILENO) && !shared->json;
    if (fresh) /* a picture is one write: nothing flickers */
        setvbuf(stdout, NULL, _IOFBF, PICTURE);
    hold_ends();
    do {
        if (fresh)
            fputs("\033[H\033[2J", stdout);
        watching.code = show(ctx);
        if (fflush(stdout) != 0 || ferror(stdout))
            return CTL_ERROR; /* main says why */
    } while (!interrupted(&watching.ends, shared->watch_ms));
    return watching.code;
}
