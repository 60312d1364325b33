/* hooklinectl log-level: how much every process writes to its log, for a while. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/timestamp.h"
#include "domain/store_orders.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FOR = 1, DEFAULT_MS = 10 * 60 * 1000, MAX_MS = 168 * 3600 * 1000 };

/* clang-format off */
static const struct ctl_option options[] = {
    {FOR, "for", "DURATION", "how long it is to hold (default 10m, at most 168h)"},
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_log_level = {
    .name = "log-level",
    .summary = "have every process write more to its log, or less, for a while",
    .words = "[debug|info|warn|error|normal]",
    .about =
        "Orders a level for the logs of all producers and workers. They follow within two\n"
        "seconds, and return by themselves to what their settings say (WEBHOOK_LOG_LEVEL) when "
        "the\n"
        "time is over; 'normal' ends it at once. Without a word it shows what is ordered. The\n"
        "supervisors, which ask no database, follow their settings only.\n",
    .examples = "hooklinectl log-level\n"
                "hooklinectl log-level debug --for 5m --yes\n"
                "hooklinectl log-level normal --yes\n",
    .options = options,
    .run = run,
};

struct order {
    struct ctl_args args;
    struct config cfg;
    struct session session;
    const char *word;  /* NULL: only look */
    const char *level; /* NULL with a word: normal */
    int64_t for_ms;
};

static int64_t until_of(const PGresult *rows)
{
    return db_int(rows, 0, 1);
}

/* rows: level, until, by; NULL, or none: nothing is ordered. */
static void print_json(const struct order *o, const PGresult *rows, int64_t affected)
{
    bool any = rows && PQntuples(rows) > 0;
    char until[TIMESTAMP_ISO_LEN + 1];
    struct buf b = {0};
    if (any)
        timestamp_iso(until_of(rows), until);
    buf_printf(&b, "{\"version\":1,\"dry_run\":%s", o->args.shared.dry_run ? "true" : "false");
    json_put_text(&b, "level", any ? db_text(rows, 0, 0) : NULL);
    json_put_text(&b, "until", any ? until : NULL);
    json_put_text(&b, "by", any ? db_text(rows, 0, 2) : NULL);
    json_put_int(&b, "affected", affected);
    buf_putc(&b, '}');
    print_line(&b);
    buf_release(&b);
}

static void print(const struct order *o, const PGresult *rows, int64_t affected)
{
    char until[TIMESTAMP_ISO_LEN + 1];
    if (o->args.shared.json) {
        print_json(o, rows, affected);
    } else if (rows && PQntuples(rows) > 0) {
        timestamp_iso(until_of(rows), until);
        printf("%s until %s, ordered by %s\n", db_text(rows, 0, 0), until, db_text(rows, 0, 2));
    } else {
        printf("every process follows its settings\n");
    }
}

static int show(struct order *o)
{
    struct answer a = {.session = &o->session};
    store_log_order(o->session.store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        print(o, a.rows, 0);
    answer_release(&a);
    return code;
}

static int write_order(struct order *o)
{
    struct answer a = {.session = &o->session};
    char *by = operator_name();
    struct buf detail = {0};
    struct oplog log;

    buf_printf(&detail, "{\"level\":\"%s\",\"for_ms\":%lld}", o->word, (long long)o->for_ms);
    int code = oplog_begin(&o->session, &o->args, buf_str(&detail), &log);
    if (code == CTL_OK) {
        store_set_log_level(
            o->session.store, o->level, o->for_ms, by, answer_keep, answer_asked(&a));
        code = answer_wait(&a);
        int64_t n = code == CTL_OK ? PQntuples(a.rows) : 0;
        int logged = oplog_end(&o->session, &log, n, code == CTL_OK ? "done" : "failed");
        if (code == CTL_OK)
            print(o, o->level ? a.rows : NULL, n);
        code = code ? code : logged;
    }
    answer_release(&a);
    buf_release(&detail);
    free(by);
    return code;
}

static int work(struct order *o)
{
    if (!o->word)
        return show(o);
    int code = o->level ? confirm(&o->args, "Log at level %s for %llds, in every process?",
                              o->level, (long long)o->for_ms / 1000)
                        : confirm(&o->args, "Have every process log as its settings say?");
    if (code < 0)
        return write_order(o);
    if (o->args.shared.dry_run)
        return show(o); /* what holds, and goes on holding */
    return code;
}

/* --- the command line -------------------------------------------------------------------- */

static bool choose(struct order *o, const char *word)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    o->word = word;
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        if (strcmp(word, levels[i]) == 0)
            o->level = levels[i];
    return o->level || strcmp(word, "normal") == 0;
}

/* -1: go on; else the exit code. */
static int parse(struct order *o)
{
    struct ctl_args *args = &o->args;
    bool timed = false;
    for (int key; (key = ctl_next(args)) != 0;) {
        timed |= key == FOR;
        if (key == FOR && !ctl_duration(args, "for", &o->for_ms))
            break;
    }
    if (args->done >= 0)
        return args->done;
    if (o->for_ms < 1000 || o->for_ms > MAX_MS)
        return ctl_usage_error(args->command, "--for takes 1s to 168h");
    if (args->argc - args->rest > 1)
        return ctl_usage_error(args->command, "takes one word: debug, info, warn, error or normal");
    if (args->rest < args->argc && !choose(o, args->argv[args->rest]))
        return ctl_usage_error(args->command,
            "there is no level '%s': expected debug, info, warn, error or normal",
            args->argv[args->rest]);
    if (timed && !o->level)
        return ctl_usage_error(args->command, "--for belongs to debug, info, warn or error");
    return o->word ? confirm_possible(args) : -1;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct order o = {.args = CTL_ARGS(&cmd_log_level, ctl, argc, argv), .for_ms = DEFAULT_MS};
    struct hl_err err;
    int code = parse(&o);
    if (code < 0 && !ctl_config(ctl, &o.cfg))
        code = CTL_ERROR;
    if (code < 0) {
        code = session_open(&o.session, &o.cfg, &err) == HL_OK ? work(&o) : ctl_fail_err(&err);
        session_close(&o.session);
        config_release(&o.cfg);
    }
    return code;
}
