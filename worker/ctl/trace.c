/* trace: see trace.h. Each source (PostgreSQL, Redis, the folders here) adds its moments to one trail;
 * one that cannot be asked is named, and the others are shown. */
#include "worker/ctl/trace.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/url.h"
#include "base/uuid.h"
#include "domain/store_view.h"
#include "domain/trail.h"
#include "worker/ctl/event_id.h"
#include "worker/ctl/folders.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"
#include "worker/ctl/trace_local.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_RECEIPTS = 1, OPT_SPOOL };

/* clang-format off */
static const struct ctl_option options[] = {
    CTL_READER_OPTIONS,
    {OPT_RECEIPTS, "receipts", "DIR", "folder of producers' receipts; may be repeated"},
    {OPT_SPOOL, "spool", "DIR", "folder of a spool; may be repeated"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command events_trace = {
    .name = "events trace",
    .summary = "show everything that happened to one event, in order",
    .words = "ID",
    .about =
        "Shows everything that is known of one event, in the order of time: its receipt, its\n"
        "record in a spool of this host, its row, its place in Redis (stream, later, dead\n"
        "letters), each step that was measured (rescrape/claim is T1, rescrape/scrape the fetch\n"
        "with the page's status, rescrape/complete T3), processes that died with it, what\n"
        "operators did, its document. ID is an event id, the number of a row, or the id of an\n"
        "event or a document of Firecrawl's.\n"
        "\n"
        "What has no time of its own comes last. Times are those of whoever wrote them down:\n"
        "producers and workers, PostgreSQL, Redis. What cannot be asked is named, and the rest\n"
        "is shown. Exits with 2 when nobody knows the event.\n",
    .examples = "hooklinectl events trace 0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11\n"
                "hooklinectl events trace 4711 --json | jq '.trace[] | [.at, .what, .detail]'\n"
                "hooklinectl events trace 4711 --receipts /mnt/old-host/receipts\n",
    .options = options,
    .run = run,
};

/* --- the verb's state -------------------------------------------------------------------- */

struct in_redis { /* one queue */
    struct trace *trace;
    struct trail_queue *queue;
};

struct trace {
    const struct ctl_args *args;
    struct session session;
    struct folders journals, spools; /* borrowed from argv and the settings */
    const char *given;               /* the id */

    /* of one look: */
    struct view_key key;
    bool has_id;
    struct uuid id;
    char id_text[UUID_STRLEN + 1];
    char *row_id, *url, *status; /* of the row; NULL = none */
    int64_t created_us;          /* 0 = not known */
    struct in_redis redis[TRAIL_NQUEUES];
    struct trail_queue queues[TRAIL_NQUEUES];
    struct trail trail;
};

static void look_release(struct trace *t)
{
    free(t->row_id);
    free(t->url);
    free(t->status);
    t->row_id = t->url = t->status = NULL;
    t->created_us = 0;
    trail_release(&t->trail);
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

static void take_row(struct trace *t, const PGresult *rows)
{
    t->row_id = mem_strdup(db_text(rows, 0, VIEW_ID));
    t->url = mem_strdup(db_text(rows, 0, VIEW_WATCH_URL));
    t->status = mem_strdup(db_text(rows, 0, VIEW_STATUS));
    t->created_us = db_int(rows, 0, VIEW_CREATED);
    if (!t->has_id && uuid_parse(db_text(rows, 0, VIEW_EVENT_ID), &t->id))
        t->has_id = true;
}

/* The row tells where else to look. False: PostgreSQL cannot be asked. */
static bool read_row(struct trace *t)
{
    struct answer a = {.session = &t->session};
    view_event(t->session.store, &t->key, answer_keep, answer_asked(&a));
    session_wait(&t->session);
    if (a.rc != HL_OK)
        trail_hole(&t->trail, "PostgreSQL", &a.err);
    else if (PQntuples(a.rows))
        take_row(t, a.rows);
    answer_release(&a);
    return a.rc == HL_OK;
}

static void take_moments(struct trace *t, const struct answer *a)
{
    if (a->rc == HL_OK)
        trail_rows(&t->trail, a->rows);
    else
        trail_hole(&t->trail, "PostgreSQL", &a->err);
}

static void ask_store(struct trace *t, struct answer *a)
{
    struct buf canonical = {0};
    bool known = t->url && url_canonical(t->url, &canonical);
    const struct store_trace q = {.event_id = t->key.event_id,
        .row_id = t->key.row_id,
        .canonical = known ? buf_str(&canonical) : NULL};
    store_trace(t->session.store, &q, answer_keep, answer_asked(a));
    buf_release(&canonical);
}

/* --- Redis ------------------------------------------------------------------------------- */

static void traced(
    enum hl_rc rc, const struct queue_traced *found, const struct hl_err *err, void *ctx)
{
    struct in_redis *r = ctx;
    *r->queue = (struct trail_queue){.known = rc == HL_OK};
    if (r->queue->known)
        r->queue->found = *found;
    else
        r->queue->err = *err;
    session_answered(&r->trace->session);
}

static void ask_redis(struct trace *t)
{
    struct queue *const queues[TRAIL_NQUEUES] = {t->session.queue, t->session.crawl_queue};
    for (int i = 0; i < TRAIL_NQUEUES; i++) {
        t->redis[i] = (struct in_redis){.trace = t, .queue = &t->queues[i]};
        session_asked(&t->session);
        queue_trace(queues[i], &t->id, trail_letters_since(t->created_us), traced, &t->redis[i]);
    }
}

/* --- the folders here -------------------------------------------------------------------- */

static void got_receipt(int64_t at_us, const char *way, const char *file, void *ctx)
{
    trail_note(ctx, at_us, "receipt", "answered 202", NULL, mem_printf("%s, in %s", way, file));
}

static void got_record(const char *segment, void *ctx)
{
    trail_note(ctx, 0, "spool", "record", NULL,
        mem_printf("in %s; it may have been brought home already", segment));
}

static void read_folders(struct trace *t)
{
    struct hl_err err;
    for (int i = 0; i < t->journals.n; i++)
        if (trace_receipts(t->journals.dirs[i], &t->id, got_receipt, &t->trail, &err) != HL_OK)
            trail_hole(&t->trail, "Receipts", &err);
    for (int i = 0; i < t->spools.n; i++)
        if (trace_spool(t->spools.dirs[i], &t->id, got_record, &t->trail, &err) != HL_OK)
            trail_hole(&t->trail, "Spool", &err);
}

/* --- showing it -------------------------------------------------------------------------- */

static const struct column columns[] = {
    {"at",          "AT",     COLUMN_TIME,     0 },
    {NULL,          "AFTER",  COLUMN_TEXT,     0 }, /* the first of them */
    {"place",       "WHERE",  COLUMN_TEXT,     0 },
    {"what",        "WHAT",   COLUMN_STATE,    0 },
    {"by",          "BY",     COLUMN_TEXT,     10},
    {"epoch",       "EPOCH",  COLUMN_INT,      0 },
    {"duration_ms", "TOOK",   COLUMN_DURATION, 0 },
    {"success",     "OK",     COLUMN_BOOL,     0 },
    {"http_status", "HTTP",   COLUMN_INT,      0 },
    {"detail",      "DETAIL", COLUMN_TEXT,     16},
};
#define COLUMNS (sizeof(columns) / sizeof(*columns))
_Static_assert(COLUMNS == TRAIL_CELLS + 1, "and one for the time since the first");

/* Steps are of milliseconds, pauses of hours. */
static void put_after(struct buf *out, int64_t us)
{
    buf_putc(out, '+');
    if (us < INT64_C(1000000000))
        buf_printf(out, "%.3fs", (double)us / 1e6);
    else
        put_duration(out, us / 1000);
}

static void fill(const struct trail *t, struct listing *l)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct trail_moment *m = &t->moments[i];
        const char *cells[COLUMNS] = {m->cells[TRACE_AT]};
        struct buf after = {0};
        if (m->at != INT64_MAX)
            put_after(&after, m->at - t->moments[0].at);
        cells[1] = after.len ? buf_str(&after) : NULL;
        for (int k = TRACE_PLACE; k < TRAIL_CELLS; k++)
            cells[k + 1] = m->cells[k];
        listing_add(l, cells);
        buf_release(&after);
    }
}

static void print_json(const struct trace *t, const struct listing *l)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1");
    json_put_text(&b, "event_id", t->has_id ? t->id_text : NULL);
    json_put_key(&b, "change_event_id");
    buf_puts(&b, t->row_id ? t->row_id : "null");
    json_put_text(&b, "status", t->status);
    json_put_text(&b, "watch_url", t->url);
    json_put_key(&b, "trace");
    listing_put_json(l, &b);
    json_put_key(&b, "not_asked");
    buf_putc(&b, '[');
    for (size_t i = 0; i < t->trail.nholes; i++) {
        if (i)
            buf_putc(&b, ',');
        json_put_string(&b, t->trail.holes[i]);
    }
    buf_puts(&b, "]}");
    print_line(&b);
}

static void print_text(const struct trace *t, const struct listing *l)
{
    struct buf head = {0};
    buf_printf(&head, "Event %s", t->has_id ? t->id_text : t->given);
    if (t->row_id) {
        buf_printf(&head, ", row %s, ", t->row_id);
        put_cell(&head, t->status, INT_MAX);
        buf_puts(&head, ": ");
        put_cell(&head, t->url, INT_MAX);
    }
    buf_putc(&head, '\n');
    print_tamed(&head);
    listing_print(l);
    for (size_t i = 0; i < t->trail.nholes; i++)
        ctl_fail(CTL_UNREACHABLE, "not asked: %s", t->trail.holes[i]);
}

static int unknown(const struct trace *t)
{
    for (size_t i = 0; i < t->trail.nholes; i++)
        ctl_fail(CTL_UNREACHABLE, "not asked: %s", t->trail.holes[i]);
    if (t->trail.nholes)
        return ctl_fail(
            CTL_UNREACHABLE, "nothing is known of event %s to those that answer", t->given);
    return ctl_fail(CTL_NOT_EMPTY, "nobody knows an event %s", t->given);
}

static int tell(struct trace *t)
{
    struct listing l = {.columns = columns, .n = COLUMNS};
    if (!t->trail.n)
        return unknown(t);
    trail_sort(&t->trail);
    fill(&t->trail, &l);
    if (t->args->shared.json)
        print_json(t, &l);
    else
        print_text(t, &l);
    listing_release(&l);
    return CTL_OK;
}

/* --- one look ---------------------------------------------------------------------------- */

static int show(void *ctx)
{
    struct trace *t = ctx;
    struct answer a = {.session = &t->session};
    t->has_id = t->key.event_id && uuid_parse(t->key.event_id, &t->id);
    bool answers = read_row(t);
    if (t->has_id) {
        uuid_format(&t->id, t->id_text);
        ask_redis(t);
    }
    if (answers)
        ask_store(t, &a);
    session_wait(&t->session);
    if (answers)
        take_moments(t, &a);
    if (t->has_id) {
        trail_redis(&t->trail, t->queues, t->row_id ? t->status : NULL);
        read_folders(t);
    }
    answer_release(&a);
    int code = tell(t);
    look_release(t);
    return code;
}

/* --- the action -------------------------------------------------------------------------- */

static int trace_with(struct trace *t, const struct config *cfg)
{
    struct hl_err err;
    if (session_open(&t->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    folders_default(&t->journals, cfg->receipts_dir);
    folders_default(&t->spools, cfg->spool_dir);
    int code = ctl_watch(&t->args->shared, show, t);
    session_close(&t->session);
    return code;
}

/* What is wrong with the words; -1: nothing. */
static int read_words(struct ctl_args *args, struct trace *t)
{
    int key;
    while ((key = ctl_next(args)) != 0)
        if (!folders_add(args, key == OPT_RECEIPTS ? &t->journals : &t->spools))
            break;
    if (args->done >= 0)
        return args->done;
    if (args->rest != args->argc - 1)
        return ctl_usage_error(&events_trace, "give the id of one event");
    t->given = args->argv[args->rest];
    return event_id_read(&events_trace, t->given, &t->key);
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&events_trace, ctl, argc, argv);
    struct trace t = {.args = &args};
    struct config cfg;
    int code = read_words(&args, &t);
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    code = trace_with(&t, &cfg);
    config_release(&cfg);
    return code;
}
