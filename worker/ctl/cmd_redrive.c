/* hooklinectl redrive: failed events are tried again as planned: which ones is decided, and looked at,
 * before the first of them is put back. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "domain/redrive.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/redrive_apply.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RATE "10/s"
enum { SAMPLE = 10, MAX_RATE = 100000 };
enum { MAX_JITTER_MS = 86400000 };

/* --- what its actions share -------------------------------------------------------------- */

static const struct column plan_columns[REDRIVE_COLS] = {
    {"token",      "TOKEN",      COLUMN_TEXT,  0 },
    {"state",      "STATE",      COLUMN_STATE, 0 },
    {"total",      "EVENTS",     COLUMN_INT,   0 },
    {"left",       "LEFT",       COLUMN_INT,   0 },
    {"queued",     "PUT BACK",   COLUMN_INT,   0 },
    {"changed",    "LEFT ALONE", COLUMN_INT,   0 },
    {"scrapes",    NULL,         COLUMN_INT,   0 },
    {"planned_at", "PLANNED",    COLUMN_TIME,  0 },
    {"changed_at", "TOUCHED",    COLUMN_AGO,   0 },
    {"planned_by", "BY",         COLUMN_TEXT,  12},
    {"reason",     "REASON",     COLUMN_TEXT,  10},
    {"filter",     NULL,         COLUMN_JSON,  0 },
};
static const struct column error_columns[] = {
    {"status", "STATUS", COLUMN_TEXT, 20},
    {"events", "EVENTS", COLUMN_INT,  0 },
    {"urls",   "URLS",   COLUMN_INT,  0 },
};
static const struct column item_columns[] = {
    {"n",               "#",       COLUMN_INT,   0 },
    {"change_event_id", "ROW",     COLUMN_INT,   0 },
    {"event_id",        "EVENT",   COLUMN_TEXT,  0 },
    {"watch_id",        NULL,      COLUMN_TEXT,  0 },
    {"watch_url",       "URL",     COLUMN_TEXT,  24},
    {"error",           "ERROR",   COLUMN_TEXT,  16},
    {"outcome",         "OUTCOME", COLUMN_TEXT,  0 },
    {"status",          "NOW",     COLUMN_STATE, 0 },
};
#define LISTING(table)                                                                             \
    {                                                                                              \
        .columns = (table), .n = sizeof(table) / sizeof((table)[0])                                \
    }

/* One plan, as it is now. */
struct plan {
    struct listing row, errors, items;
    char state[16];
    int64_t total, left, scrapes;
};
#define PLAN                                                                                       \
    {                                                                                              \
        .row = LISTING(plan_columns), .errors = LISTING(error_columns),                            \
        .items = LISTING(item_columns)                                                             \
    }

static void plan_release(struct plan *p)
{
    listing_release(&p->row);
    listing_release(&p->errors);
    listing_release(&p->items);
}

/* CTL_OK, or the exit code after saying why not. */
static int plan_read(struct session *s, const char *token, int limit, struct plan *p)
{
    struct answer row = {.session = s}, errors = {.session = s}, items = {.session = s};
    store_redrives(s->store, token, 1, REDRIVE_EVENTS, answer_keep, answer_asked(&row));
    store_redrive_errors(s->store, token, REDRIVE_EVENTS, answer_keep, answer_asked(&errors));
    store_redrive_items(s->store, token, limit, answer_keep, answer_asked(&items));
    int code = answer_wait(&row);
    code = code ? code : answer_wait(&errors);
    code = code ? code : answer_wait(&items);
    if (code == CTL_OK && PQntuples(row.rows) == 0) {
        code = ctl_fail(CTL_NOT_EMPTY,
            "there is no plan %s; 'hooklinectl redrive list' shows those there are", token);
    } else if (code == CTL_OK) {
        listing_add_rows(&p->row, row.rows);
        listing_add_rows(&p->errors, errors.rows);
        listing_add_rows(&p->items, items.rows);
        snprintf(p->state, sizeof(p->state), "%s", db_text(row.rows, 0, REDRIVE_STATE));
        p->total = db_int(row.rows, 0, REDRIVE_TOTAL);
        p->left = db_int(row.rows, 0, REDRIVE_LEFT);
        p->scrapes = db_int(row.rows, 0, REDRIVE_URLS);
    }
    answer_release(&row);
    answer_release(&errors);
    answer_release(&items);
    return code;
}

static void plan_put_json(const struct plan *p, struct buf *b)
{
    buf_puts(b, "{\"version\":1,\"redrive\":");
    listing_put_json_row(&p->row, 0, b);
    buf_puts(b, ",\"errors\":");
    listing_put_json(&p->errors, b);
    buf_puts(b, ",\"events\":");
    listing_put_json(&p->items, b);
    buf_putc(b, '}');
}

static void plan_print(const struct plan *p)
{
    listing_print_one(&p->row, 0);
    printf("\n%lld left, on %lld different pages: at most so many scrapes.\n", (long long)p->left,
        (long long)p->scrapes);
    if (listing_rows(&p->errors)) {
        putchar('\n');
        listing_print(&p->errors);
    }
    if (listing_rows(&p->items)) {
        putchar('\n');
        listing_print(&p->items);
        if ((int64_t)listing_rows(&p->items) < p->total)
            printf(
                "... and %lld more.\n", (long long)p->total - (long long)listing_rows(&p->items));
    }
}

static void plan_show(const struct plan *p, bool json)
{
    struct buf b = {0};
    if (!json) {
        plan_print(p);
        return;
    }
    plan_put_json(p, &b);
    print_line(&b);
    buf_release(&b);
}

/* Opens the session that the settings name and runs action; an exit code. */
static int with_session(struct ctl *ctl, int (*action)(struct session *s, void *ctx), void *ctx)
{
    struct config cfg;
    struct session s;
    struct hl_err err;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    bool open = session_open(&s, &cfg, &err) == HL_OK;
    int code = open ? action(&s, ctx) : ctl_fail_err(&err);
    if (open)
        session_close(&s);
    config_release(&cfg);
    return code;
}

/* The one word behind the options; NULL after saying that it is missing, or is no token. */
static const char *token_of(struct ctl_args *args)
{
    const char *token = args->rest < args->argc ? args->argv[args->rest] : "";
    if (args->rest == args->argc - 1 && redrive_is_token(token))
        return token;
    args->done = ctl_usage_error(args->command,
        "say which: %s TOKEN, eight digits as 'redrive list' shows them", args->command->name);
    return NULL;
}

/* --- plan -------------------------------------------------------------------------------- */

enum { OPT_PLAN_LIMIT = 1, OPT_RATE, OPT_JITTER, OPT_QUIET };

/* clang-format off */
static const struct ctl_option plan_options[] = {
    {CTL_URL, "url", "URL", "of this page only"},
    {CTL_WATCH_ID, "watch-id", "ID", "of this watch only"},
    {CTL_SINCE, "since", "TIME", "failed then or later: ISO 8601, or a duration ago as 2h"},
    {CTL_UNTIL, "until", "TIME", "failed before: likewise"},
    {CTL_ERROR_LIKE, "error", "TEXT", "whose error has this text in it, in any case"},
    {OPT_PLAN_LIMIT, "limit", "N", "at most N, the oldest (default: all)"},
    {CTL_REASON, "reason", "TEXT", "why, for the plan"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run_plan;

static const struct ctl_command redrive_plan = {
    .name = "redrive plan",
    .summary = "decide which failed events are to be tried again",
    .about =
        "Writes down which failed events are to be tried again, and as what they were seen, and\n"
        "prints the plan's token, why the events failed, the first of them, and how many pages\n"
        "they are of. No event is touched. What fails later is not part of the plan; what is\n"
        "tried by other means before its turn is left alone. Plans are kept for 30 days after\n"
        "they were touched last. Exits with 2 when no failed event is meant.\n",
    .examples = "hooklinectl redrive plan --since 2h --error 'HTTP 503'\n"
                "hooklinectl redrive plan --watch-id 7c9e --reason 'template mended' --json\n",
    .options = plan_options,
    .run = run_plan,
};

struct planning {
    const struct ctl_args *args;
    struct failed_filter filter;
    int limit;
};

static int begin(struct session *s, const struct planning *p, const char *token)
{
    struct answer a = {.session = s};
    struct buf filter = {0};
    char *by = operator_name();
    redrive_put_filter(&p->filter, &filter);
    store_redrive_begin(s->store,
        &(struct redrive){token, by, p->args->shared.reason, buf_str(&filter)}, answer_keep,
        answer_asked(&a));
    int code = answer_wait(&a);
    answer_release(&a);
    buf_release(&filter);
    free(by);
    return code;
}

/* Walks along all events; *n: how many are in the plan. */
static int collect(struct session *s, const struct planning *p, const char *token, int64_t *n)
{
    int64_t after = 0;
    for (*n = 0; *n < p->limit;) {
        struct answer a = {.session = s};
        store_redrive_add(s->store, token, &p->filter, after, *n, p->limit - (int)*n, answer_keep,
            answer_asked(&a));
        int code = answer_wait(&a);
        bool end = code != CTL_OK || PQgetisnull(a.rows, 0, 0);
        if (!end) {
            after = db_int(a.rows, 0, 0);
            *n += db_int(a.rows, 0, 1);
        }
        answer_release(&a);
        if (end)
            return code;
    }
    return CTL_OK;
}

/* The plan is valid, or, with no event in it, gone. */
static int conclude(struct session *s, const char *token, int64_t n)
{
    struct answer a = {.session = s};
    if (n)
        store_redrive_planned(s->store, token, n, answer_keep, answer_asked(&a));
    else
        store_redrive_drop(s->store, token, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    answer_release(&a);
    return code;
}

static int make_plan(struct session *s, void *ctx)
{
    const struct planning *p = ctx;
    struct plan plan = PLAN;
    char token[REDRIVE_TOKEN_LEN + 1];
    int64_t n = 0;
    redrive_token(token);
    int code = begin(s, p, token);
    code = code ? code : collect(s, p, token, &n);
    code = code ? code : conclude(s, token, n);
    if (code != CTL_OK)
        return code;
    if (!n)
        return ctl_fail(CTL_NOT_EMPTY, "no failed event is meant; nothing was planned");
    code = plan_read(s, token, SAMPLE, &plan);
    if (code == CTL_OK)
        plan_show(&plan, p->args->shared.json);
    else
        ctl_fail(code, "the plan is made: 'hooklinectl redrive show %s' shows it", token);
    if (code == CTL_OK && !p->args->shared.json)
        printf("\nNothing is put back before: hooklinectl redrive apply %s\n", token);
    plan_release(&plan);
    return code;
}

static int run_plan(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&redrive_plan, ctl, argc, argv);
    struct planning p = {.args = &args, .limit = REDRIVE_EVENTS};
    int key;
    while ((key = ctl_next(&args)) != 0)
        if (key == OPT_PLAN_LIMIT && !ctl_count(&args, "limit", REDRIVE_EVENTS, &p.limit))
            break;
    if (args.done >= 0)
        return args.done;
    const struct ctl_shared *f = &args.shared;
    p.filter = (struct failed_filter){f->url, f->watch_id, f->since, f->until, f->error};
    return with_session(ctl, make_plan, &p);
}

/* --- list, show -------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option list_options[] = {
    CTL_LIMIT_OPTION,
    CTL_READER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run_list, run_show;

static const struct ctl_command redrive_list = {
    .name = "redrive list",
    .summary = "list the plans, and how far they are",
    .about =
        "Lists the plans, the newest first: planned, applying (or broken off, when it was not\n"
        "touched for some seconds), stopped, done; planning, or abandoned when who made it is "
        "gone.\n",
    .examples = "hooklinectl redrive list\n"
                "hooklinectl redrive list --watch=5s\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command redrive_show = {
    .name = "redrive show",
    .summary = "show a plan and its events",
    .words = "TOKEN",
    .about =
        "Shows a plan, why the events that are left had failed, and its events with what became\n"
        "of them: queued (put back) or changed (left alone, because they had been tried\n"
        "meanwhile). Exits with 2 when there is no such plan.\n",
    .examples = "hooklinectl redrive show 1f0c93ab\n"
                "hooklinectl redrive show 1f0c93ab --limit 10000 --json\n",
    .options = list_options,
    .run = run_show,
};

struct viewing {
    struct session *session;
    const struct ctl_args *args;
    const char *token;
};

static int list_once(void *ctx)
{
    const struct viewing *v = ctx;
    struct answer a = {.session = v->session};
    struct listing l = LISTING(plan_columns);
    struct buf b = {0};
    store_redrives(
        v->session->store, NULL, v->args->shared.limit, 0, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        listing_add_rows(&l, a.rows);
    if (code == CTL_OK && v->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"redrives\":");
        listing_put_json(&l, &b);
        buf_putc(&b, '}');
        print_line(&b);
    } else if (code == CTL_OK && !listing_rows(&l)) {
        puts("There are no plans.");
    } else {
        listing_print(&l);
    }
    answer_release(&a);
    listing_release(&l);
    buf_release(&b);
    return code;
}

static int show_once(void *ctx)
{
    const struct viewing *v = ctx;
    struct plan p = PLAN;
    int code = plan_read(v->session, v->token, v->args->shared.limit, &p);
    if (code == CTL_OK)
        plan_show(&p, v->args->shared.json);
    plan_release(&p);
    return code;
}

static int watch_list(struct session *s, void *ctx)
{
    struct viewing *v = ctx;
    v->session = s;
    return ctl_watch(&v->args->shared, v->token ? show_once : list_once, v);
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&redrive_list, ctl, argc, argv);
    struct viewing v = {.args = &args};
    return ctl_parse(&args) >= 0 ? args.done : with_session(ctl, watch_list, &v);
}

static int run_show(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&redrive_show, ctl, argc, argv);
    struct viewing v = {.args = &args};
    if (ctl_parse(&args) >= 0 || !(v.token = token_of(&args)))
        return args.done;
    return with_session(ctl, watch_list, &v);
}

/* --- apply ------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option apply_options[] = {
    {OPT_RATE, "rate", "N[/s|/m|/h]", "at most so many events (default " DEFAULT_RATE ")"},
    {OPT_JITTER, "jitter", "DURATION", "each becomes due at random within so long (default 0)"},
    {OPT_QUIET, "quiet", NULL, "no progress"},
    CTL_WRITER_OPTIONS,
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run_apply;

static const struct ctl_command redrive_apply_command = {
    .name = "redrive apply",
    .summary = "put the events of a plan back, so many a second",
    .words = "TOKEN",
    .about =
        "Puts the events of a plan back as if they had never been tried, in the order of the\n"
        "plan. One that was tried since it was planned is left alone. Ends when all are put\n"
        "back, or 'redrive stop' stops it, or a signal; the same command then goes on where it\n"
        "ended, after a kill, too. Exits with 2 when it was stopped, or others still apply a\n"
        "part of it.\n",
    .examples = "hooklinectl redrive apply 1f0c93ab\n"
                "hooklinectl redrive apply 1f0c93ab --rate 5/s --jitter 30s --yes --quiet\n",
    .options = apply_options,
    .run = run_apply,
};

struct applying {
    const struct ctl_args *args;
    const char *token;
    double per_second;
    int64_t jitter_ms;
    bool quiet;
};

/* "5", "5/s", "300/m", "100/h" */
static bool read_rate(struct ctl_args *args, double *per_second)
{
    static const struct {
        const char *unit;
        int seconds;
    } units[] = {
        {"",   1   },
        {"/s", 1   },
        {"/m", 60  },
        {"/h", 3600},
    };
    char *end;
    long n = isdigit((unsigned char)*args->value) ? strtol(args->value, &end, 10) : 0;
    for (size_t i = 0; n >= 1 && n <= MAX_RATE && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        *per_second = (double)n / units[i].seconds;
        return true;
    }
    args->done = ctl_usage_error(args->command,
        "--rate %s: expected 1 to %d, as 5, 5/s, 300/m or 100/h", args->value, MAX_RATE);
    return false;
}

static bool read_jitter(struct ctl_args *args, int64_t *ms)
{
    if (!ctl_duration(args, "jitter", ms))
        return false;
    if (*ms <= MAX_JITTER_MS)
        return true;
    args->done = ctl_usage_error(args->command, "--jitter takes at most 24h");
    return false;
}

/* true: the plan is in that state now. */
static int set_state(struct session *s, const char *token, const char *state, bool *done)
{
    struct answer a = {.session = s};
    store_redrive_state(s->store, token, state, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    *done = code == CTL_OK && PQntuples(a.rows) == 1;
    answer_release(&a);
    return code;
}

static void report_json(
    const struct applying *p, const struct redrive_apply *a, const char *state, int64_t left)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1,\"dry_run\":");
    buf_puts(&b, p->args->shared.dry_run ? "true" : "false");
    json_put_text(&b, "token", a->token);
    json_put_text(&b, "state", state);
    json_put_int(&b, "affected", a->queued);
    json_put_int(&b, "changed", a->changed);
    json_put_int(&b, "left", left);
    json_put_int(&b, "unpublished", a->jobs.left);
    buf_putc(&b, '}');
    print_line(&b);
}

static int report(const struct applying *p, const struct redrive_apply *a, int64_t left)
{
    const char *state = !left ? "done" : a->end == REDRIVE_ALL_DONE ? "applying" : "stopped";
    if (p->args->shared.json) {
        report_json(p, a, state, left);
    } else {
        printf("%lld put back, %lld left alone because they were tried meanwhile, %lld left.\n",
            (long long)a->queued, (long long)a->changed, (long long)left);
    }
    putback_explain(&a->jobs);
    if (!left)
        return CTL_OK;
    if (a->end == REDRIVE_ALL_DONE)
        return ctl_fail(CTL_NOT_EMPTY, "another 'redrive apply' is at the rest of %s", a->token);
    return ctl_fail(CTL_NOT_EMPTY, "%s; 'hooklinectl redrive apply %s' goes on",
        a->end == REDRIVE_INTERRUPTED ? "interrupted" : "somebody stopped it", a->token);
}

/* After the last batch: the plan's state, the log, what is said. */
static int finish(struct session *s, const struct applying *p, const struct redrive_apply *a,
    const struct oplog *log)
{
    static const char *const outcomes[] = {
        [REDRIVE_ALL_DONE] = "done",
        [REDRIVE_WAS_STOPPED] = "stopped",
        [REDRIVE_INTERRUPTED] = "interrupted",
    };
    struct plan plan = PLAN;
    bool done, stopped;
    int code = set_state(s, a->token, "done", &done);
    if (!code && !done && a->end == REDRIVE_INTERRUPTED)
        code = set_state(s, a->token, "stopped", &stopped);
    code = code ? code : oplog_end(s, log, a->queued, outcomes[a->end]);
    code = code ? code : plan_read(s, a->token, 1, &plan);
    code = code ? code : report(p, a, plan.left);
    plan_release(&plan);
    return code;
}

static int broken_off(struct session *s, const struct applying *p, const struct redrive_apply *a,
    const struct oplog *log, int code)
{
    if (p->args->shared.json)
        report_json(p, a, "applying", a->left - a->queued - a->changed);
    ctl_fail(code, "broken off after %lld; 'hooklinectl redrive apply %s' goes on",
        (long long)a->queued, a->token);
    oplog_end(s, log, a->queued, "broken off");
    return code;
}

static int apply_left(struct session *s, const struct applying *p, const struct plan *plan)
{
    struct redrive_apply a = {.session = s,
        .token = p->token,
        .per_second = p->per_second,
        .jitter_ms = p->jitter_ms,
        .left = plan->left,
        .progress = !p->quiet};
    struct oplog log;
    bool applying;
    struct buf detail = {0};

    buf_putc(&detail, '{');
    json_put_text(&detail, "token", p->token);
    json_put_int(&detail, "left", plan->left);
    buf_putc(&detail, '}');
    int code = oplog_begin(s, p->args, buf_str(&detail), &log);
    buf_release(&detail);
    code = code ? code : set_state(s, p->token, "applying", &applying);
    if (code != CTL_OK)
        return code;
    if (!applying) {
        oplog_end(s, &log, 0, "refused");
        return ctl_fail(CTL_ERROR, "the plan %s was finished or forgotten meanwhile", p->token);
    }
    code = redrive_apply(&a);
    return code ? broken_off(s, p, &a, &log, code) : finish(s, p, &a, &log);
}

static int apply_plan(struct session *s, void *ctx)
{
    const struct applying *p = ctx;
    struct plan plan = PLAN;
    int code = plan_read(s, p->token, SAMPLE, &plan);
    if (code == CTL_OK && strcmp(plan.state, "done") == 0) {
        code = report(p, &(struct redrive_apply){.token = p->token}, 0);
    } else if (code == CTL_OK &&
               (strcmp(plan.state, "planning") == 0 || strcmp(plan.state, "abandoned") == 0)) {
        code = ctl_fail(CTL_ERROR,
            "the plan %s was never finished, so it may lack events: make another", p->token);
    } else if (code == CTL_OK) {
        if (!p->args->shared.json)
            plan_print(&plan);
        code = confirm(p->args, "Put %lld events back, at most %g a second?", (long long)plan.left,
            p->per_second);
        if (code == CTL_OK && p->args->shared.json)
            report_json(p, &(struct redrive_apply){.token = p->token}, plan.state, plan.left);
        interrupt_watch();
        code = code >= 0 ? code : apply_left(s, p, &plan);
        interrupt_leave();
    }
    plan_release(&plan);
    return code;
}

static int run_apply(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&redrive_apply_command, ctl, argc, argv);
    struct applying p = {.args = &args, .per_second = 10};
    int key;
    while ((key = ctl_next(&args)) != 0) {
        p.quiet |= key == OPT_QUIET;
        if (key == OPT_RATE && !read_rate(&args, &p.per_second))
            break;
        if (key == OPT_JITTER && !read_jitter(&args, &p.jitter_ms))
            break;
    }
    if (args.done >= 0 || !(p.token = token_of(&args)))
        return args.done;
    int code = confirm_possible(&args);
    return code >= 0 ? code : with_session(ctl, apply_plan, &p);
}

/* --- stop -------------------------------------------------------------------------------- */

/* clang-format off */
static const struct ctl_option stop_options[] = {
    CTL_WRITER_OPTIONS,
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run_stop;

static const struct ctl_command redrive_stop = {
    .name = "redrive stop",
    .summary = "stop a plan that is being applied",
    .words = "TOKEN",
    .about = "Stops a plan that is being applied, wherever that is: once this has returned, no\n"
             "further event is put back. Does not ask, because nothing is lost by it: 'redrive\n"
             "apply' goes on with what is left. Exits with 2 when it is not being applied.\n",
    .examples = "hooklinectl redrive stop 1f0c93ab\n",
    .options = stop_options,
    .run = run_stop,
};

static int stop_now(struct session *s, const struct applying *p, const struct plan *plan)
{
    struct buf b = {0};
    struct oplog log;
    bool stopped;
    buf_putc(&b, '{');
    json_put_text(&b, "token", p->token);
    buf_putc(&b, '}');
    int code = oplog_begin(s, p->args, buf_str(&b), &log);
    buf_release(&b);
    code = code ? code : set_state(s, p->token, "stopped", &stopped);
    code = code ? code : oplog_end(s, &log, stopped, stopped ? "done" : "was not applied");
    if (code != CTL_OK)
        return code;
    if (p->args->shared.json)
        printf("{\"version\":1,\"dry_run\":false,\"affected\":%d}\n", stopped);
    else if (stopped)
        printf("%s is stopped.\n", p->token);
    return stopped ? CTL_OK
                   : ctl_fail(
                         CTL_NOT_EMPTY, "%s is not being applied; it is %s", p->token, plan->state);
}

static int stop_plan(struct session *s, void *ctx)
{
    const struct applying *p = ctx;
    struct plan plan = PLAN;
    int code = plan_read(s, p->token, 1, &plan);
    if (code == CTL_OK && p->args->shared.dry_run) {
        if (p->args->shared.json)
            puts("{\"version\":1,\"dry_run\":true,\"affected\":0}");
        code = confirm(p->args, "Stop %s?", p->token);
    } else if (code == CTL_OK)
        code = stop_now(s, p, &plan);
    plan_release(&plan);
    return code;
}

static int run_stop(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&redrive_stop, ctl, argc, argv);
    struct applying p = {.args = &args};
    if (ctl_parse(&args) >= 0 || !(p.token = token_of(&args)))
        return args.done;
    return with_session(ctl, stop_plan, &p);
}

/* --- the noun ---------------------------------------------------------------------------- */

static const struct ctl_command *const actions[] = {
    &redrive_plan, &redrive_list, &redrive_show, &redrive_apply_command, &redrive_stop, NULL};

const struct ctl_command cmd_redrive = {
    .name = "redrive",
    .summary = "failed events, tried again as planned: plan, list, show, apply, stop",
    .about =
        "Tries failed events again in two steps: 'plan' decides which, 'apply' puts them back so\n"
        "many a second. What fails meanwhile is not touched.\n",
    .actions = actions,
};
