/* ctl: what the verbs of hooklinectl share: options, exit codes, output. A verb is one cmd_NAME.c
 * and one row of the table in main.c; it includes only common/ and this header. Results go to
 * standard output, everything else to standard error. */
#ifndef HL_WORKER_CTL_H
#define HL_WORKER_CTL_H

#include "base/config.h"
#include "base/err.h"

#include <stddef.h>

/* Exit codes, as --help prints them. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_ERROR = 1,        /* refused, or broken */
    CTL_NOT_EMPTY = 2,    /* something is left, or in the way */
    CTL_DISCREPANCY = 3,  /* events are missing, doubled, stuck or in two places */
    CTL_USAGE = 64,       /* the command line is wrong */
    CTL_UNREACHABLE = 69, /* no connection to what the verb needs */
    CTL_TIMEOUT = 124,    /* a deadline passed */
};

/* What the command line says for every verb; strings are borrowed from argv. */
struct ctl {
    const char *config_file; /* NULL = none */
};

/* --- verbs ------------------------------------------------------------------------------- */
/* argv[0] is the verb. Returns an exit code. */
typedef int ctl_verb_fn(struct ctl *ctl, int argc, char **argv);
ctl_verb_fn cmd_migrate;
ctl_verb_fn cmd_send;
ctl_verb_fn cmd_status;
ctl_verb_fn cmd_search;
ctl_verb_fn cmd_crawls;
ctl_verb_fn cmd_audit;
ctl_verb_fn cmd_rejects;

/* --- options ----------------------------------------------------------------------------- */
#define CTL_MAX_OPTIONS 24

struct ctl_option {
    int key; /* what ctl_next returns: 1 and up */
    const char *name;
    const char *value; /* what --help calls its value; NULL = takes none; "[=X]" = may take one */
    const char *help;
};

/* A verb's command line, in static storage. */
struct ctl_usage {
    const char *verb;
    const char *words;                /* what may follow the options, for --help; NULL = nothing */
    const char *about;                /* paragraphs for --help, each line ended */
    const struct ctl_option *options; /* at most CTL_MAX_OPTIONS, ends with a zero key */
};

struct ctl_args {
    const struct ctl_usage *usage;
    struct ctl *ctl;
    int argc;
    char **argv;
    bool started;
    const char *value; /* of the option just returned, NULL = none; borrowed from argv */
    int rest;          /* index of the first word after the options */
    int done;          /* exit code when there is nothing left to do (--help, an error), else -1 */
};

/* The next option's key, or 0 after the last one: then look at args->done. --help and --config FILE
 * are known to every verb and handled here. */
int ctl_next(struct ctl_args *args);
#define CTL_ARGS(usage_, ctl_, argc_, argv_)                                                       \
    {                                                                                              \
        .usage = (usage_), .ctl = (ctl_), .argc = (argc_), .argv = (argv_), .done = -1             \
    }

/* A duration given to an option, in ms ("30", "500ms", "2m"); false after saying what is wrong, and
 * setting args->done. */
bool ctl_duration(struct ctl_args *args, const char *option, int64_t *ms);
/* A number from 1 to max given to an option; false as above. */
bool ctl_count(struct ctl_args *args, const char *option, int max, int *n);
/* Says what is wrong with the command line and where to read on; returns CTL_USAGE. */
int ctl_usage_error(const struct ctl_usage *usage, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* --- everything else --------------------------------------------------------------------- */
/* Loads the settings; false after printing every fault. */
bool ctl_config(const struct ctl *ctl, struct config *cfg);

/* "hooklinectl: ..." to standard error; returns code. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for an error of the library; the exit code follows from its reason. */
int ctl_fail_err(const struct hl_err *err);

/* Rows of text printed in aligned columns. Zero-initialise with .columns set. */
struct ctl_table {
    size_t columns;
    char **cells; /* rows one after the other */
    size_t used;
};
/* cells: one string per column, copied as one printable line each; NULL prints "-". */
void ctl_table_row(struct ctl_table *t, const char *const *cells);
/* Prints to standard output and empties the table. */
void ctl_table_print(struct ctl_table *t);

#endif
