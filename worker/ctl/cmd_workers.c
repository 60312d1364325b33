/* hooklinectl workers: the worker processes, and what they are told. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/pgarray.h"
#include "domain/store_orders.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/obey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, SILENT_LEASES = 2 };

/* In the order of FLEET_ID and so on. */
/* clang-format off */
static const struct column columns[FLEET_COLUMNS] = {
    {"id",                "WORKER",   COLUMN_TEXT,     20},
    {"host",              NULL,       COLUMN_TEXT,     0},
    {"pid",               NULL,       COLUMN_INT,      0},
    {"state",             "STATE",    COLUMN_STATE,    0},
    {"started_at",        "STARTED",  COLUMN_AGO,      0},
    {"seen_at",           "SEEN",     COLUMN_AGO,      0},
    {"silent_ms",         NULL,       COLUMN_INT,      0},
    {"orders",            "ORDERS",   COLUMN_TEXT,     0},
    {"phase",             "PHASE",    COLUMN_STATE,    0},
    {"jobs",              "JOBS",     COLUMN_INT,      0},
    {"crawls",            "CRAWLS",   COLUMN_INT,      0},
    {"oldest_ms",         "OLDEST",   COLUMN_DURATION, 0},
    {"connections_open",  NULL,       COLUMN_INT,      0},
    {"connections_busy",  "BUSY",     COLUMN_INT,      0},
    {"connections_max",   "OF",       COLUMN_INT,      0},
    {"memory_bytes",      "MEMORY",   COLUMN_BYTES,    0},
    {"done",              "DONE",     COLUMN_INT,      0},
    {"restarts",          "RESTARTS", COLUMN_INT,      0},
    {"noted_pause_change", NULL,      COLUMN_BOOL,     0},
    {"noted_pause_crawl", NULL,       COLUMN_BOOL,     0},
    {"noted_orders",      NULL,       COLUMN_TEXT,     0},
    {"rows",              "ROWS",     COLUMN_INT,      0},
};
/* clang-format on */

static struct listing new_listing(void)
{
    return (struct listing){.columns = columns, .n = FLEET_COLUMNS};
}

/* --- list -------------------------------------------------------------------------------- */

struct list_verb {
    struct ctl_args args;
    struct session session;
};

static void print_list(const struct listing *l, bool json)
{
    struct buf b = {0};
    if (json) {
        buf_puts(&b, "{\"version\":1,\"workers\":");
        listing_put_json(l, &b);
        buf_putc(&b, '}');
        print_line(&b);
    } else if (listing_rows(l)) {
        listing_print(l);
    } else {
        puts("There are no worker processes.");
    }
    buf_release(&b);
}

static int show_list(void *ctx)
{
    struct list_verb *v = ctx;
    struct listing l = new_listing();
    struct answer a = {.session = &v->session};
    store_fleet(v->session.store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK) {
        listing_add_rows(&l, a.rows);
        print_list(&l, v->args.shared.json);
    }
    listing_release(&l);
    answer_release(&a);
    return code;
}

static ctl_run_fn run_list, run_quiet, run_kick;

/* clang-format off */
static const struct ctl_option list_options[] = {CTL_READER_OPTIONS, {0}};
/* clang-format on */

static const struct ctl_command workers_list = {
    .name = "workers list",
    .summary = "list the worker processes, what they do and what they were told",
    .about =
        "Lists the worker processes of all hosts, the oldest first: phase (working, quiet,\n"
        "draining, fenced), jobs and crawl jobs in flight and the age of the oldest, database\n"
        "connections in use and at most, memory, jobs done, unexpected ends in its place of the\n"
        "fleet, and rows in progress. What a process says of itself is up to two seconds old. A\n"
        "dead one is listed until its rows are given back.\n",
    .examples = "hooklinectl workers list --watch\n"
                "hooklinectl workers list --json | jq '.workers[] | select(.jobs > 0) | .id'\n",
    .options = list_options,
    .run = run_list,
};

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct list_verb v = {.args = CTL_ARGS(&workers_list, ctl, argc, argv)};
    int code = ctl_parse(&v.args);
    return code >= 0 ? code : session_watch(&v.args, &v.session, show_list, &v);
}

/* --- quiet, kick ------------------------------------------------------------------------- */

enum { OPT_ALL = 1, OPT_OFF, OPT_TIMEOUT };

struct order_verb {
    struct ctl_args args;
    const char *order; /* NULL: none any more */
    bool kick, all, off;
    int64_t timeout_ms;
    struct config cfg;
    struct session session;
    char **words; /* ids, or what they begin with */
    int nwords;
    struct listing chosen;
    struct buf list, detail; /* their ids as an array; for the log */
    int64_t affected;
};

static bool is_alive(const PGresult *rows, int row)
{
    return strcmp(db_text(rows, row, FLEET_STATE), "alive") == 0;
}

static bool begins(const PGresult *rows, int row, const char *word)
{
    return *word && is_alive(rows, row) &&
           strncmp(db_text(rows, row, FLEET_ID), word, strlen(word)) == 0;
}

/* The row of the living worker of that name, or the only one whose name begins so; else -1. */
static int find(const PGresult *rows, const char *word, int *matches)
{
    int found = -1;
    *matches = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (!begins(rows, i, word))
            continue;
        if (strcmp(db_text(rows, i, FLEET_ID), word) == 0) {
            *matches = 1;
            return i;
        }
        found = i;
        ++*matches;
    }
    return *matches == 1 ? found : -1;
}

static bool has(const struct listing *l, const char *id)
{
    for (size_t i = 0; i < listing_rows(l); i++)
        if (strcmp(listing_cell(l, i, FLEET_ID), id) == 0)
            return true;
    return false;
}

static void take(struct order_verb *v, const PGresult *rows, int row)
{
    if (!has(&v->chosen, db_text(rows, row, FLEET_ID)))
        listing_add_row(&v->chosen, rows, row, 0);
}

static int choose_words(struct order_verb *v, const PGresult *rows)
{
    for (int i = 0; i < v->nwords; i++) {
        int matches, row = find(rows, v->words[i], &matches);
        if (matches > 1)
            return ctl_fail(CTL_ERROR, "%d worker processes have names that begin with '%s'",
                matches, v->words[i]);
        if (row < 0)
            return ctl_fail(CTL_NOT_EMPTY,
                "no living worker process is called '%s': 'hooklinectl workers list' names them",
                v->words[i]);
        take(v, rows, row);
    }
    return CTL_OK;
}

static int choose(struct order_verb *v)
{
    struct answer a = {.session = &v->session};
    store_fleet(v->session.store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK && !v->all)
        code = choose_words(v, a.rows);
    for (int i = 0; code == CTL_OK && v->all && i < PQntuples(a.rows); i++)
        if (is_alive(a.rows, i))
            take(v, a.rows, i);
    answer_release(&a);
    return code;
}

static void describe(struct order_verb *v)
{
    pgarray_begin(&v->list);
    buf_puts(&v->detail, "{\"workers\":[");
    for (size_t i = 0; i < listing_rows(&v->chosen); i++) {
        const char *id = listing_cell(&v->chosen, i, FLEET_ID);
        pgarray_text(&v->list, id);
        if (i)
            buf_putc(&v->detail, ',');
        json_put_string(&v->detail, id);
    }
    pgarray_end(&v->list);
    buf_puts(&v->detail, "]");
    json_put_text(&v->detail, "order", v->order);
    buf_putc(&v->detail, '}');
}

static enum obey has_noted(const PGresult *rows, int row, void *ctx)
{
    const struct order_verb *v = ctx;
    if (!has(&v->chosen, db_text(rows, row, FLEET_ID)))
        return OBEY_NOT_CONCERNED;
    const char *order = v->order ? v->order : "";
    return strcmp(db_text(rows, row, FLEET_NOTED_ORDERS), order) == 0 ? OBEY_NOTED : OBEY_NOT_YET;
}

static void print_result(const struct order_verb *v, const struct obeyed *o)
{
    struct buf b = {0};
    if (v->args.shared.json) {
        buf_printf(&b, "{\"version\":1,\"dry_run\":%s", v->args.shared.dry_run ? "true" : "false");
        json_put_text(&b, "order", v->order);
        obeyed_put(&b, "workers", o);
        json_put_int(&b, "affected", v->affected);
        buf_putc(&b, '}');
        print_line(&b);
        buf_release(&b);
        return;
    }
    printf("%lld told; %d of %d that still run have noted it.\n", (long long)v->affected, o->noted,
        o->processes);
}

static int wait_until_noted(struct order_verb *v)
{
    struct obeyed o = {0};
    struct buf within = {0};
    int code =
        obey_workers(&v->session, v->timeout_ms, SILENT_LEASES * v->cfg.lease_ms, has_noted, v, &o);
    if (code == CTL_OK || code == CTL_TIMEOUT)
        print_result(v, &o);
    if (o.silent.len)
        ctl_fail(code, "workers not heard of for long: %s", buf_str(&o.silent));
    put_duration(&within, v->timeout_ms);
    if (code == CTL_TIMEOUT)
        ctl_fail(
            code, "workers that did not note it within %s: %s", buf_str(&within), buf_str(&o.late));
    buf_release(&within);
    obeyed_release(&o);
    return code;
}

static int give_order(struct order_verb *v)
{
    struct answer a = {.session = &v->session};
    struct oplog log;
    int code = oplog_begin(&v->session, &v->args, buf_str(&v->detail), &log);
    if (code != CTL_OK)
        return code;
    store_order(v->session.store, buf_str(&v->list), v->order, answer_keep, answer_asked(&a));
    code = answer_wait(&a);
    v->affected = code == CTL_OK ? PQntuples(a.rows) : 0;
    answer_release(&a);
    int logged = oplog_end(&v->session, &log, v->affected, code == CTL_OK ? "done" : "failed");
    if (code == CTL_OK)
        code = wait_until_noted(v);
    return code ? code : logged;
}

static int run_order(struct order_verb *v)
{
    int code = choose(v);
    if (code != CTL_OK)
        return code;
    size_t n = listing_rows(&v->chosen);
    if (!n) {
        print_list(&v->chosen, v->args.shared.json);
        return CTL_OK;
    }
    describe(v);
    if (!v->args.shared.json)
        listing_print(&v->chosen);
    code = confirm(&v->args, "%s %zu worker process%s?",
        v->kick  ? "Replace"
        : v->off ? "Let work again"
                 : "Make quiet",
        n, n == 1 ? "" : "es");
    if (code < 0)
        return give_order(v);
    if (v->args.shared.json && v->args.shared.dry_run)
        print_result(v, &(struct obeyed){.processes = (int)n});
    return code;
}

/* -1: go on; else the exit code. */
static int parse_order(struct order_verb *v)
{
    struct ctl_args *args = &v->args;
    for (int key; (key = ctl_next(args)) != 0;) {
        v->all |= key == OPT_ALL;
        v->off |= key == OPT_OFF;
        if (key == OPT_TIMEOUT && !ctl_duration(args, "timeout", &v->timeout_ms))
            break;
    }
    if (args->done >= 0)
        return args->done;
    v->words = args->argv + args->rest;
    v->nwords = args->argc - args->rest;
    if (v->all == (v->nwords > 0))
        return ctl_usage_error(args->command, "give the IDs of worker processes, or --all");
    v->order = v->off ? NULL : v->kick ? "kick" : "quiet";
    return confirm_possible(args);
}

static int run_with(
    const struct ctl_command *command, struct ctl *ctl, int argc, char **argv, bool kick)
{
    struct order_verb v = {.args = CTL_ARGS(command, ctl, argc, argv),
        .kick = kick,
        .timeout_ms = TIMEOUT_MS,
        .chosen = new_listing()};
    struct hl_err err;
    int code = parse_order(&v);
    if (code < 0 && !ctl_config(ctl, &v.cfg))
        code = CTL_ERROR;
    if (code < 0) {
        code = session_open(&v.session, &v.cfg, &err) == HL_OK ? run_order(&v) : ctl_fail_err(&err);
        session_close(&v.session);
        config_release(&v.cfg);
    }
    listing_release(&v.chosen);
    buf_release(&v.list);
    buf_release(&v.detail);
    return code;
}

/* clang-format off */
#define ALL_OPTION     {OPT_ALL, "all", NULL, "all that live"}
#define TIMEOUT_OPTION                                                                             \
    {OPT_TIMEOUT, "timeout", "DURATION", "wait so long until they have noted it (default 10s)"}
static const struct ctl_option quiet_options[] = {
    ALL_OPTION,
    {OPT_OFF, "off", NULL, "let them work again"},
    TIMEOUT_OPTION,
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
static const struct ctl_option kick_options[] = {
    ALL_OPTION,
    TIMEOUT_OPTION,
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static const struct ctl_command workers_quiet = {
    .name = "workers quiet",
    .summary = "let worker processes finish what they have and take nothing new",
    .words = "[ID...]",
    .about =
        "Quiet worker processes take no new work, finish what they have, and stay. IDs may be\n"
        "cut where what is left names one process. Returns when they have noted it; exits with\n"
        "124 when one has not in time, with 2 when there is no such process. A process that\n"
        "replaces a quiet one works.\n",
    .examples = "hooklinectl workers quiet host7-4711\n"
                "hooklinectl workers quiet --all --reason 'database moves' --yes\n"
                "hooklinectl workers quiet --all --off\n",
    .options = quiet_options,
    .run = run_quiet,
};

static const struct ctl_command workers_kick = {
    .name = "workers kick",
    .summary = "replace worker processes by fresh ones",
    .words = "[ID...]",
    .about =
        "Each of these worker processes works on until its successor is ready, finishes what it\n"
        "has, and leaves; no job is lost or charged. Of a host's processes one at a time is\n"
        "replaced. Returns when they have noted it; exits with 124 when one has not in time,\n"
        "with 2 when there is no such process.\n",
    .examples = "hooklinectl workers kick host7-4711\n"
                "hooklinectl workers kick --all --yes\n",
    .options = kick_options,
    .run = run_kick,
};

static int run_quiet(struct ctl *ctl, int argc, char **argv)
{
    return run_with(&workers_quiet, ctl, argc, argv, false);
}

static int run_kick(struct ctl *ctl, int argc, char **argv)
{
    return run_with(&workers_kick, ctl, argc, argv, true);
}

/* --- the noun ---------------------------------------------------------------------------- */

static const struct ctl_command *const actions[] = {
    &workers_list, &workers_quiet, &workers_kick, NULL};

const struct ctl_command cmd_workers = {
    .name = "workers",
    .summary = "the worker processes: list, quiet, kick",
    .about = "Shows the worker processes of all hosts, makes them quiet, replaces them.\n",
    .actions = actions,
};
