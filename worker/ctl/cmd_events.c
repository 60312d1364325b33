/* hooklinectl events: change events, as their rows have them: looked at, and tried again. What
 * happened to one is trace's. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "domain/store_events.h"
#include "domain/store_view.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/dead_sweep.h"
#include "worker/ctl/event_id.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/putback.h"
#include "worker/ctl/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE = 20, MAX_IDS = 1000 };

/* clang-format off */
static const struct ctl_option list_options[] = {CTL_READER_OPTIONS, CTL_FILTER_OPTIONS, {0}};
static const struct ctl_option show_options[] = {CTL_READER_OPTIONS, {0}};
static const struct ctl_option retry_options[] = {
    CTL_WRITER_OPTIONS, CTL_JSON_OPTION, CTL_FILTER_OPTIONS, {0}};
/* clang-format on */

static ctl_run_fn run_list, run_show, run_retry;

static const struct ctl_command list = {
    .name = "events list",
    .summary = "list change events, the newest first",
    .about =
        "Lists change events, the newest first, as their rows have them. --status failed takes\n"
        "all kinds of failure; --error looks into the whole text of the error.\n",
    .examples = "hooklinectl events list --status failed --since 2h\n"
                "hooklinectl events list --url https://shop.example.com/ --json | jq '.events[0]'\n"
                "hooklinectl events list --status in_progress --watch\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command show = {
    .name = "events show",
    .summary = "show one change event",
    .words = "ID",
    .about =
        "Shows all columns of one event: by its event id (job_id of the receipt) or by the number\n"
        "of its row. Exits with 2 when there is no such event. What happened to it, where it is\n"
        "and who had it: events trace.\n",
    .examples = "hooklinectl events show 0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11\n"
                "hooklinectl events show 4711 --json\n",
    .options = show_options,
    .run = run_show,
};

static const struct ctl_command retry = {
    .name = "events retry",
    .summary = "try failed events again",
    .words = "[ID...]",
    .about =
        "Failed events become queued again, as if they had never been tried: those of the given\n"
        "ids (event ids, or numbers of rows), or those that a filter finds, the newest first, at\n"
        "most --limit of them. Only failed ones can be tried again; one to which something\n"
        "happened since it was shown is left alone. Their jobs go to Redis at once; what it does\n"
        "not take, a janitor brings there. For thousands of them: redrive.\n",
    .examples = "hooklinectl events retry 0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11\n"
                "hooklinectl events retry --error 'connection refused' --since 1h --reason 'back'\n"
                "hooklinectl events retry --status failed --limit 1000 --dry-run\n",
    .options = retry_options,
    .run = run_retry,
};

static const struct ctl_command *const actions[] = {&list, &show, &retry, &events_trace, NULL};

const struct ctl_command cmd_events = {
    .name = "events",
    .summary = "change events: list, show, retry, trace",
    .about = "Change events, from the rows of webhook.change_events.\n",
    .actions = actions,
};

/* In the order of enum view_event_col, from VIEW_ID on. */
static const struct column columns[] = {
    {"change_event_id", "ROW",    COLUMN_INT,   0 },
    {"event_id",        "EVENT",  COLUMN_TEXT,  0 },
    {"watch_id",        NULL,     COLUMN_TEXT,  0 },
    {"watch_url",       "URL",    COLUMN_TEXT,  20},
    {"status",          "STATUS", COLUMN_STATE, 12},
    {"detected_at",     NULL,     COLUMN_TIME,  0 },
    {"created_at",      "AGE",    COLUMN_AGO,   0 },
    {"attempts",        "TRIES",  COLUMN_INT,   0 },
    {"starts",          NULL,     COLUMN_INT,   0 },
    {"next_attempt_at", NULL,     COLUMN_TIME,  0 },
    {"finished_at",     NULL,     COLUMN_TIME,  0 },
    {"indexed_at",      NULL,     COLUMN_TIME,  0 },
    {"error",           "ERROR",  COLUMN_TEXT,  12},
};
_Static_assert(sizeof(columns) / sizeof(*columns) == VIEW_EVENT_COLS - VIEW_ID, "one for each");

static const struct column columns_alone[] = {
    {"change_event_id", "Row",          COLUMN_INT,   0},
    {"event_id",        "Event",        COLUMN_TEXT,  0},
    {"watch_id",        "Watch",        COLUMN_TEXT,  0},
    {"watch_url",       "URL",          COLUMN_TEXT,  0},
    {"status",          "Status",       COLUMN_STATE, 0},
    {"detected_at",     "Detected",     COLUMN_TIME,  0},
    {"created_at",      "Received",     COLUMN_TIME,  0},
    {"attempts",        "Attempts",     COLUMN_INT,   0},
    {"starts",          "Starts",       COLUMN_INT,   0},
    {"next_attempt_at", "Next attempt", COLUMN_TIME,  0},
    {"finished_at",     "Finished",     COLUMN_TIME,  0},
    {"indexed_at",      "Indexed",      COLUMN_TIME,  0},
    {"error",           "Error",        COLUMN_TEXT,  0},
    {"claimed_at",      "Claimed",      COLUMN_TIME,  0},
    {"claimed_by",      "By",           COLUMN_TEXT,  0},
    {"claim_epoch",     "Epoch",        COLUMN_INT,   0},
    {"suspect",         "Crashes",      COLUMN_INT,   0},
    {"diff_summary",    "Summary",      COLUMN_TEXT,  0},
    {"snapshot_url",    "Snapshot",     COLUMN_TEXT,  0},
    {"metadata",        NULL,           COLUMN_JSON,  0},
};
_Static_assert(
    sizeof(columns_alone) / sizeof(*columns_alone) == VIEW_METADATA - VIEW_ID + 1, "one for each");

/* --- a list of events -------------------------------------------------------------------- */

struct found {
    struct listing events;
    bool more; /* than --limit */
};
#define FOUND                                                                                      \
    {                                                                                              \
        .events = {.columns = columns, .n = sizeof(columns) / sizeof(*columns) }                   \
    }

/* A page of the walk: the place where the next one begins; 0 at the end. */
static int64_t take_page(struct found *f, const PGresult *rows, int limit)
{
    int n = PQgetisnull(rows, 0, VIEW_ID) ? 0 : PQntuples(rows); /* no event is one row, too */
    f->more = n > limit;                                         /* the one row more says so */
    for (int row = 0; row < (f->more ? limit : n); row++)
        listing_add_row(&f->events, rows, row, VIEW_ID);
    return f->more || PQgetisnull(rows, 0, VIEW_EDGE) ? 0 : db_int(rows, 0, VIEW_EDGE);
}

/* status: instead of the filter's. */
static int find(
    struct session *s, const struct ctl_shared *filter, const char *status, struct found *f)
{
    struct view_events q = {.status = status,
        .url = filter->url,
        .watch = filter->watch_id,
        .error = filter->error,
        .since = filter->since,
        .until = filter->until};
    int code;
    do {
        struct answer a = {.session = s};
        q.limit = filter->limit - (int)listing_rows(&f->events);
        view_events(s->store, &q, answer_keep, answer_asked(&a));
        code = answer_wait(&a);
        q.before = code == CTL_OK ? take_page(f, a.rows, q.limit) : 0;
        answer_release(&a);
    } while (q.before);
    return code;
}

static void print_found_json(const struct found *f)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1,\"events\":");
    listing_put_json(&f->events, &b);
    buf_printf(&b, ",\"more\":%s}", f->more ? "true" : "false");
    print_line(&b);
}

static bool is_filtered(const struct ctl_shared *f)
{
    return f->status || f->url || f->watch_id || f->since || f->until || f->error;
}

struct reader {
    const struct ctl_args *args;
    struct session session;
    struct view_key key; /* show */
};

static int show_list(void *ctx)
{
    struct reader *r = ctx;
    const struct ctl_shared *filter = &r->args->shared;
    struct found f = FOUND;
    int code = find(&r->session, filter, filter->status, &f);
    if (code == CTL_OK && filter->json) {
        print_found_json(&f);
    } else if (code == CTL_OK) {
        listing_print(&f.events);
        if (f.more)
            printf("There are more than these %zu (--limit).\n", listing_rows(&f.events));
        else if (!listing_rows(&f.events))
            puts(is_filtered(filter) ? "No event is like this." : "There are no events.");
    }
    listing_release(&f.events);
    return code;
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&list, ctl, argc, argv);
    struct reader r = {.args = &args};
    int code = ctl_parse(&args);
    return code >= 0 ? code : session_watch(&args, &r.session, show_list, &r);
}

/* --- one event --------------------------------------------------------------------------- */

static int no_such_event(const char *id)
{
    return ctl_fail(CTL_NOT_EMPTY, "there is no event %s", id);
}

static void print_event(const struct listing *l, bool json)
{
    struct buf b = {0};
    if (!json) {
        listing_print_one(l, 0);
        return;
    }
    buf_puts(&b, "{\"version\":1,\"event\":");
    listing_put_json_row(l, 0, &b);
    buf_putc(&b, '}');
    print_line(&b);
}

static int show_event(void *ctx)
{
    struct reader *r = ctx;
    struct listing l = {columns_alone, sizeof(columns_alone) / sizeof(*columns_alone), NULL, 0};
    struct answer a = {.session = &r->session};
    view_event(r->session.store, &r->key, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK && PQntuples(a.rows) == 0) {
        code = no_such_event(r->args->argv[r->args->rest]);
    } else if (code == CTL_OK) {
        listing_add_row(&l, a.rows, 0, VIEW_ID);
        print_event(&l, r->args->shared.json);
    }
    listing_release(&l);
    answer_release(&a);
    return code;
}

static int run_show(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&show, ctl, argc, argv);
    struct reader r = {.args = &args};
    int code = ctl_parse(&args);
    if (code >= 0)
        return code;
    if (args.rest != argc - 1)
        return ctl_usage_error(&show, "give the id of one event");
    code = event_id_read(&show, argv[args.rest], &r.key);
    return code >= 0 ? code : session_watch(&args, &r.session, show_event, &r);
}

/* --- tried again ------------------------------------------------------------------------- */

struct retrying {
    const struct ctl_args *args;
    struct session session;
    struct found found; /* failed events */
    int others;         /* given events that have not failed */
    size_t tried;
    int64_t queued;
    struct putback jobs;
    struct dead_sweep sweep;
};

static bool is_there(const struct listing *l, const char *row_id)
{
    for (size_t i = 0; i < listing_rows(l); i++)
        if (strcmp(listing_cell(l, i, 0), row_id) == 0)
            return true;
    return false;
}

/* The given events: those that have failed are kept, each once, the others told. */
static int take_given(struct retrying *r, const struct answer *a, const char *id)
{
    if (a->rc != HL_OK)
        return ctl_fail_err(&a->err);
    if (PQntuples(a->rows) == 0)
        return no_such_event(id);
    const char *status = db_text(a->rows, 0, VIEW_STATUS);
    if (strncmp(status, "failed", strlen("failed")) == 0) {
        if (!is_there(&r->found.events, db_text(a->rows, 0, VIEW_ID)))
            listing_add_row(&r->found.events, a->rows, 0, VIEW_ID);
        return CTL_OK;
    }
    r->others++;
    ctl_fail(0, "event %s is %s; only failed events can be tried again", id,
        *status ? status : "without a status");
    return CTL_OK;
}

static int find_given(struct retrying *r)
{
    const struct ctl_args *args = r->args;
    size_t n = (size_t)(args->argc - args->rest);
    char **ids = args->argv + args->rest;
    struct answer *answers = mem_array(n, sizeof(*answers));
    int code = CTL_OK;

    for (size_t i = 0; i < n; i++) {
        struct view_key key;
        event_id_read(&retry, ids[i], &key); /* checked before */
        answers[i].session = &r->session;
        view_event(r->session.store, &key, answer_keep, answer_asked(&answers[i]));
    }
    session_wait(&r->session);
    for (size_t i = 0; i < n && code == CTL_OK; i++)
        code = take_given(r, &answers[i], ids[i]);
    for (size_t i = 0; i < n; i++)
        answer_release(&answers[i]);
    free(answers);
    return code;
}

static void print_sample(const struct retrying *r)
{
    struct found sample = FOUND;
    size_t n = listing_rows(&r->found.events);
    for (size_t i = 0; i < n && i < SAMPLE; i++)
        listing_add(
            &sample.events, (const char *const *)r->found.events.cells + i * r->found.events.n);
    listing_print(&sample.events);
    if (n > SAMPLE)
        printf("... and %zu more\n", n - SAMPLE);
    if (r->found.more)
        printf("There are more than these %zu (--limit).\n", n);
    listing_release(&sample.events);
}

static void print_retried_json(const struct retrying *r)
{
    struct buf b = {0};
    size_t n = listing_rows(&r->found.events);
    bool dry = r->args->shared.dry_run;
    buf_printf(&b, "{\"version\":1,\"dry_run\":%s,\"found\":%zu,\"more\":%s",
        dry ? "true" : "false", n, r->found.more ? "true" : "false");
    json_put_int(&b, "affected", r->queued);
    json_put_int(&b, "changed_meanwhile", (int64_t)r->tried - r->queued);
    json_put_int(&b, "in_redis", r->jobs.taken);
    json_put_key(&b, "events");
    listing_put_json(&r->found.events, &b);
    buf_putc(&b, '}');
    print_line(&b);
}

/* The filter, and ids of what is touched, not all of very many, for the log. */
static char *detail_of(const struct retrying *r)
{
    const struct ctl_shared *f = &r->args->shared;
    const struct listing *l = &r->found.events;
    struct buf b = {0};
    buf_putc(&b, '{');
    json_put_text(&b, "url", f->url);
    json_put_text(&b, "watch_id", f->watch_id);
    json_put_text(&b, "error", f->error);
    json_put_key(&b, "events");
    buf_putc(&b, '[');
    for (size_t i = 0; i < listing_rows(l) && i < MAX_IDS; i++) {
        const char *id = listing_cell(l, i, VIEW_EVENT_ID - VIEW_ID);
        if (i)
            buf_putc(&b, ',');
        json_put_string(&b, id ? id : listing_cell(l, i, 0));
    }
    buf_puts(&b, "]}");
    return buf_detach(&b);
}

static int retry_batch(struct retrying *r, size_t from, size_t n)
{
    const struct listing *l = &r->found.events;
    struct store_failed failed[STORE_RETRY_MAX];
    struct answer a = {.session = &r->session};
    for (size_t i = 0; i < n; i++) {
        const char *finished = listing_cell(l, from + i, VIEW_FINISHED - VIEW_ID);
        failed[i] = (struct store_failed){
            atoll(listing_cell(l, from + i, 0)), finished ? atoll(finished) : 0};
    }
    store_retry(r->session.store, failed, n, "operator", answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    for (int row = 0; code == CTL_OK && row < PQntuples(a.rows); row++) {
        r->queued++;
        putback_row(&r->jobs, a.rows, row, QUEUE_PUBLISH, 0, NULL);
        dead_sweep_note(&r->sweep, db_text(a.rows, row, 0));
    }
    session_wait(&r->session);
    r->tried += code == CTL_OK ? n : 0;
    answer_release(&a);
    return code;
}

static size_t untried(const struct retrying *r)
{
    return listing_rows(&r->found.events) - r->tried;
}

static int retry_all(struct retrying *r)
{
    struct oplog log;
    char *detail = detail_of(r);
    int code = oplog_begin(&r->session, r->args, detail, &log);
    free(detail);
    if (code != CTL_OK)
        return code;
    dead_sweep_begin(&r->sweep, &r->session);
    while (code == CTL_OK && untried(r) && !interrupted())
        code =
            retry_batch(r, r->tried, untried(r) < STORE_RETRY_MAX ? untried(r) : STORE_RETRY_MAX);
    dead_sweep_end(&r->sweep);
    int logged = oplog_end(&r->session, &log, r->queued,
        code != CTL_OK ? "PostgreSQL failed"
        : untried(r)   ? "interrupted"
                       : "done");
    if (code == CTL_OK && untried(r))
        return ctl_fail(CTL_NOT_EMPTY, "interrupted; %zu were not tried", untried(r));
    return code == CTL_OK ? logged : code;
}

static void tell_retried(const struct retrying *r)
{
    int64_t changed = (int64_t)r->tried - r->queued;
    if (r->args->shared.json)
        print_retried_json(r);
    else
        printf("%lld events are queued again.\n", (long long)r->queued);
    if (changed)
        fprintf(stderr, "hooklinectl: %lld were left alone: something happened to them meanwhile\n",
            (long long)changed);
    putback_explain(&r->jobs);
}

/* The events are known: shown, asked for, done. */
static int retry_found(struct retrying *r)
{
    size_t n = listing_rows(&r->found.events);
    if (!n && !r->args->shared.json)
        puts("There are no failed events to try again.");
    if (!n) {
        if (r->args->shared.json)
            print_retried_json(r);
        return r->others ? CTL_NOT_EMPTY : CTL_OK;
    }
    if (!r->args->shared.json)
        print_sample(r);
    else if (r->args->shared.dry_run)
        print_retried_json(r);
    int code = confirm(r->args, "Try %zu failed event%s again?", n, n == 1 ? "" : "s");
    if (code >= 0)
        return code;
    interrupt_watch();
    code = retry_all(r);
    interrupt_leave();
    tell_retried(r);
    return code == CTL_OK && r->others ? CTL_NOT_EMPTY : code;
}

static int retry_with(struct retrying *r, const struct config *cfg)
{
    struct hl_err err;
    if (session_open(&r->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    r->jobs.session = &r->session;
    int code = r->args->rest < r->args->argc
                   ? find_given(r)
                   : find(&r->session, &r->args->shared, "failed", &r->found);
    if (code == CTL_OK)
        code = retry_found(r);
    listing_release(&r->found.events);
    session_close(&r->session);
    return code;
}

/* What is wrong with the words; -1: nothing. */
static int check_words(const struct ctl_args *args)
{
    int n = args->argc - args->rest;
    if (n == 0 && !is_filtered(&args->shared))
        return ctl_usage_error(&retry, "give ids, or a filter as --error or --status failed");
    if (n && is_filtered(&args->shared))
        return ctl_usage_error(&retry, "give ids or a filter, not both");
    if (n > MAX_IDS)
        return ctl_usage_error(&retry, "at most %d ids", MAX_IDS);
    if (args->shared.status && strcmp(args->shared.status, "failed") != 0)
        return ctl_usage_error(&retry, "only failed events can be tried again");
    for (int i = args->rest; i < args->argc; i++) {
        struct view_key key;
        int code = event_id_read(&retry, args->argv[i], &key);
        if (code >= 0)
            return code;
    }
    return -1;
}

static int run_retry(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&retry, ctl, argc, argv);
    struct retrying r = {.args = &args, .found = FOUND};
    struct config cfg;
    int code = ctl_parse(&args);
    if (code >= 0)
        return code;
    code = check_words(&args);
    if (code < 0)
        code = confirm_possible(&args);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    code = retry_with(&r, &cfg);
    config_release(&cfg);
    return code;
}
