/* ctl: what the verbs of hooklinectl share: the shape of a command, options, exit codes, messages. A
 * command is a row of the tables in commands.c and a file cmd_NOUN.c, which includes common/ and
 * worker/ctl/ only. Results go to standard output, everything else to standard error. */
#ifndef HL_WORKER_CTL_H
#define HL_WORKER_CTL_H

#include "base/config.h"
#include "base/err.h"

#include <stddef.h>

/* Exit codes, as --help prints them. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_ERROR = 1,        /* refused, or broken */
    CTL_NOT_EMPTY = 2,    /* something is left, or in the way; nothing was found */
    CTL_DISCREPANCY = 3,  /* events are missing, doubled, stuck or in two places */
    CTL_USAGE = 64,       /* the command line is wrong */
    CTL_UNREACHABLE = 69, /* no connection to what the verb needs, or to a standby only */
    CTL_TIMEOUT = 124,    /* a deadline passed */
};

/* What the command line says before the verb; strings are borrowed from argv. */
struct ctl {
    const char *config_file; /* NULL = none */
    int argc;                /* all of it, for the operator log */
    char **argv;
};

/* --- commands ---------------------------------------------------------------------------- */

struct ctl_option {
    int key; /* what ctl_next returns: 1 and up, below CTL_SHARED_KEYS */
    const char *name;
    const char *value; /* what --help calls its value; NULL = takes none; "[=X]" = may take one */
    const char *help;
};
#define CTL_MAX_OPTIONS 32

/* argv[0] is the last word of the command's name. Returns an exit code. */
typedef int ctl_run_fn(struct ctl *ctl, int argc, char **argv);

/* A verb, or an action of a noun, in static storage. --help, the shells' completion and the test of
 * the man pages are made of these. */
struct ctl_command {
    const char *name;                 /* "drain", "events list" */
    const char *summary;              /* one line without a full stop */
    const char *words;                /* what may follow the options, for --help; NULL = nothing */
    const char *about;                /* paragraphs for --help, each line ended */
    const char *examples;             /* command lines for --help, each ended; NULL for a noun */
    const struct ctl_option *options; /* ends with a zero key; NULL = none of its own */
    const struct ctl_command *const *actions; /* of a noun, NULL at the end; it has no run then */
    ctl_run_fn *run;
};

/* Every verb and noun in the order of --help, NULL at the end (commands.c). */
extern const struct ctl_command *const ctl_commands[];

/* Their names and summaries, under headings. */
void ctl_print_commands(void);

/* The last word of a command's name. */
const char *ctl_word(const struct ctl_command *c);
/* The one of that word; NULL = there is none. */
const struct ctl_command *ctl_find(const struct ctl_command *const *among, const char *word);
/* The one that was probably meant; NULL = nothing is like it. */
const char *ctl_nearest(const struct ctl_command *const *among, const char *word);
/* How unlike two words are: 0 when the first is the beginning of the other, CTL_UNLIKE and more when
 * neither was meant by the other. */
size_t ctl_unlike(const char *word, const char *candidate);
enum { CTL_UNLIKE = 3 };
/* Finds the command that argv begins with and runs it; its --help for a noun without a word. */
int ctl_dispatch(struct ctl *ctl, int argc, char **argv);

/* --- options ----------------------------------------------------------------------------- */

/* Options that mean the same wherever they are taken; ctl_next reads them into ctl_args.shared. A
 * command takes those that stand in its table, by these rows. */
enum {
    CTL_SHARED_KEYS = 0x1000,
    CTL_JSON,
    CTL_WATCH,
    CTL_YES,
    CTL_DRY_RUN,
    CTL_REASON,
    CTL_STATUS,
    CTL_URL,
    CTL_WATCH_ID,
    CTL_SINCE,
    CTL_UNTIL,
    CTL_ERROR_LIKE,
    CTL_LIMIT,
};
/* clang-format off */
#define CTL_JSON_OPTION {CTL_JSON, "json", NULL, "print one JSON object"}
#define CTL_READER_OPTIONS                                                                         \
    CTL_JSON_OPTION,                                                                               \
    {CTL_WATCH, "watch", "[=DURATION]", "show it again every 2s, or as often as told"}
#define CTL_WRITER_OPTIONS                                                                         \
    {CTL_YES, "yes", NULL, "do not ask"},                                                          \
    {CTL_DRY_RUN, "dry-run", NULL, "show what would be touched, change nothing"},                  \
    {CTL_REASON, "reason", "TEXT", "why, for webhook.operator_log"}
#define CTL_LIMIT_OPTION {CTL_LIMIT, "limit", "N", "at most N (default 50, at most 10000)"}
#define CTL_FILTER_OPTIONS                                                                         \
    {CTL_STATUS, "status", "WORD", "queued, in_progress, completed, superseded or failed"},        \
    {CTL_URL, "url", "URL", "of this page only"},                                                  \
    {CTL_WATCH_ID, "watch-id", "ID", "of this watch only"},                                        \
    {CTL_SINCE, "since", "TIME", "not older: ISO 8601, or a duration ago as 2h"},                  \
    {CTL_UNTIL, "until", "TIME", "older: likewise"},                                               \
    {CTL_ERROR_LIKE, "error", "TEXT", "whose error has this text in it, in any case"},             \
    CTL_LIMIT_OPTION
/* clang-format on */
enum { CTL_DEFAULT_LIMIT = 50, CTL_MAX_LIMIT = 10000 };

struct ctl_shared {
    bool json;
    int64_t watch_ms; /* 0 = once */
    bool yes, dry_run;
    const char *reason;
    const char *status, *url, *watch_id, *error; /* NULL = any */
    const int64_t *since, *until;                /* microseconds since 1970 UTC; NULL = ever */
    int64_t since_us, until_us;                  /* what they point to */
    int limit;
};

struct ctl_args {
    const struct ctl_command *command;
    struct ctl *ctl;
    int argc;
    char **argv;
    bool started;
    const char *value; /* of the option just returned, NULL = none; borrowed from argv */
    int rest;          /* index of the first word after the options */
    int done;          /* exit code when there is nothing left to do (--help, an error), else -1 */
    struct ctl_shared shared;
};
#define CTL_ARGS(command_, ctl_, argc_, argv_)                                                     \
    {                                                                                              \
        .command = (command_), .ctl = (ctl_), .argc = (argc_), .argv = (argv_), .done = -1,        \
        .shared.limit = CTL_DEFAULT_LIMIT                                                          \
    }

/* The next option's key, or 0 after the last one: then look at args->done. --help, --config FILE
 * and the shared options are handled here. Do not copy args once it has begun. */
int ctl_next(struct ctl_args *args);
/* For commands whose options are all shared: args->done. */
int ctl_parse(struct ctl_args *args);

/* A duration given to an option, in ms ("30", "500ms", "2m"); false after saying what is wrong, and
 * setting args->done. */
bool ctl_duration(struct ctl_args *args, const char *option, int64_t *ms);
/* A number from 1 to max given to an option; false as above. */
bool ctl_count(struct ctl_args *args, const char *option, int max, int *n);
/* A time given to an option, in microseconds since 1970: ISO 8601, or a duration ago ("2h"); false as
 * above. */
bool ctl_time(struct ctl_args *args, const char *option, int64_t *us);
/* Says what is wrong with the command line and where to read on; returns CTL_USAGE. */
int ctl_usage_error(const struct ctl_command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Those that every command has: --config, --help. Ends with a zero key. */
extern const struct ctl_option ctl_common_options[];
/* As --help prints it. */
void ctl_print_help(const struct ctl_command *command);

/* --- everything else --------------------------------------------------------------------- */

/* Loads the settings; false after printing every fault. */
bool ctl_config(const struct ctl *ctl, struct config *cfg);

/* "hooklinectl: ..." to standard error; returns code. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for an error of the library; the exit code follows from its reason. */
int ctl_fail_err(const struct hl_err *err);

/* Runs show once, or with --watch again and again until SIGINT or SIGTERM, on a terminal each time on
 * a fresh screen. The last exit code; a failure does not end a watch. */
int ctl_watch(const struct ctl_shared *shared, int (*show)(void *ctx), void *ctx);
/* Around what may take long and prints nothing: SIGINT and SIGTERM end a watch there and then. */
void ctl_watch_waits(bool waits);

#endif
