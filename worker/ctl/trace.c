/* trace: see trace.h. Each source (PostgreSQL, Redis, the folders here) adds its moments to one trail;
 * one that cannot be asked is named, and the others are shown. */
#include "worker/ctl/trace.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"
#include "base/uuid.h"
#include "domain/queue_dead.h"
#include "domain/queue_trace.h"
#include "domain/store_events.h"
#include "domain/store_view.h"
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
enum { CELLS = TRACE_DETAIL + 1 };
#define TOMBSTONE_MS INT64_C(86400000) /* PROTOCOL.md, "Redis": for which `done` is remembered */
#define HOUR_MS      INT64_C(3600000)

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

/* --- the trail --------------------------------------------------------------------------- */

struct moment {
    int64_t at;         /* microseconds since 1970; INT64_MAX: no time of its own */
    size_t n;           /* in the order in which they were added */
    char *cells[CELLS]; /* by enum trace_col */
};

struct trail {
    struct moment *moments;
    size_t n;
    char **holes; /* what could not be asked, and why */
    size_t nholes;
};

/* cells: copied; NULL = nothing. */
static void add(struct trail *t, const char *const cells[CELLS])
{
    t->moments = mem_grow(t->moments, (t->n + 1) * sizeof(*t->moments));
    struct moment *m = &t->moments[t->n];
    m->n = t->n++;
    m->at = cells[TRACE_AT] ? atoll(cells[TRACE_AT]) : INT64_MAX;
    for (int k = 0; k < CELLS; k++)
        m->cells[k] = text_utf8_copy(cells[k]);
}

/* What no store has as rows. at_us 0: no time of its own. detail: taken. */
static void note(struct trail *t, int64_t at_us, const char *place, const char *what,
    const char *by, char *detail)
{
    char *at = at_us ? mem_printf("%lld", (long long)at_us) : NULL;
    const char *cells[CELLS] = {
        [TRACE_AT] = at, [TRACE_PLACE] = place, [TRACE_WHAT] = what, [TRACE_BY] = by};
    cells[TRACE_DETAIL] = detail;
    add(t, cells);
    free(at);
    free(detail);
}

static void hole(struct trail *t, const char *what, const struct hl_err *err)
{
    t->holes = mem_grow(t->holes, (t->nholes + 1) * sizeof(*t->holes));
    char *text = mem_printf("%s: %s", what, err->msg);
    t->holes[t->nholes++] = text_utf8_copy(text);
    free(text);
}

static int earlier(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->n < y->n ? -1 : 1;
}

static void trail_release(struct trail *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < CELLS; k++)
            free(t->moments[i].cells[k]);
    for (size_t i = 0; i < t->nholes; i++)
        free(t->holes[i]);
    free(t->moments);
    free(t->holes);
    *t = (struct trail){0};
}

/* --- the verb's state -------------------------------------------------------------------- */

struct in_redis { /* one queue */
    struct trace *trace;
    bool known;
    struct hl_err err;
    struct queue_traced t;
};
enum { CHANGES, CRAWLS, NQUEUES };

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
    int64_t created_ms;          /* 0 = not known */
    struct in_redis redis[NQUEUES];
    struct trail trail;
};

static void look_release(struct trace *t)
{
    free(t->row_id);
    free(t->url);
    free(t->status);
    t->row_id = t->url = t->status = NULL;
    t->created_ms = 0;
    trail_release(&t->trail);
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

static void take_row(struct trace *t, const PGresult *rows)
{
    t->row_id = mem_strdup(db_text(rows, 0, VIEW_ID));
    t->url = mem_strdup(db_text(rows, 0, VIEW_WATCH_URL));
    t->status = mem_strdup(db_text(rows, 0, VIEW_STATUS));
    t->created_ms = db_int(rows, 0, VIEW_CREATED) / 1000;
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
        hole(&t->trail, "PostgreSQL", &a.err);
    else if (PQntuples(a.rows))
        take_row(t, a.rows);
    answer_release(&a);
    return a.rc == HL_OK;
}

static void take_moments(struct trace *t, const struct answer *a)
{
    if (a->rc != HL_OK) {
        hole(&t->trail, "PostgreSQL", &a->err);
        return;
    }
    for (int row = 0; row < PQntuples(a->rows); row++) {
        const char *cells[CELLS];
        for (int k = 0; k < CELLS; k++)
            cells[k] = PQgetisnull(a->rows, row, k) ? NULL : PQgetvalue(a->rows, row, k);
        add(&t->trail, cells);
    }
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
    r->known = rc == HL_OK;
    if (r->known)
        r->t = *found;
    else
        r->err = *err;
    session_answered(&r->trace->session);
}

static void ask_redis(struct trace *t)
{
    struct queue *const queues[NQUEUES] = {
        [CHANGES] = t->session.queue, [CRAWLS] = t->session.crawl_queue};
    int64_t since = t->created_ms > HOUR_MS ? t->created_ms - HOUR_MS : 0;
    for (int i = 0; i < NQUEUES; i++) {
        t->redis[i] = (struct in_redis){.trace = t};
        session_asked(&t->session);
        queue_trace(queues[i], &t->id, since, traced, &t->redis[i]);
    }
}

static void tell_stream(struct trail *to, const struct queue_traced *t)
{
    note(to, queue_letter_us(t->entry), "redis", "on the stream", NULL,
        mem_printf("entry %s%s", t->entry, *t->consumer ? "" : ", not delivered yet"));
    if (*t->consumer)
        note(to, (t->now - t->idle_ms) * 1000, "redis", "delivered", t->consumer,
            mem_printf("not acknowledged; delivered %lld time%s", (long long)t->deliveries,
                t->deliveries == 1 ? "" : "s"));
}

static void tell_marker(struct trail *to, const struct queue_traced *t)
{
    if (strncmp(t->marker, "done ", strlen("done ")) == 0)
        note(to, (t->now - TOMBSTONE_MS + t->marker_ttl) * 1000, "redis", "acknowledged", NULL,
            mem_strdup("the job is done, and remembered for a day"));
    else if (*t->marker && !*t->entry && !t->later)
        note(to, 0, "redis", "marker", NULL,
            mem_printf("says '%s', and nothing is there: what publishes it next puts it right",
                t->marker));
}

/* Whether it told anything. */
static bool tell_queue(struct trail *to, const struct queue_traced *t)
{
    size_t before = to->n;
    if (*t->entry)
        tell_stream(to, t);
    if (t->later)
        note(to, t->due * 1000, "redis", "due in later", NULL,
            t->later_job ? NULL : mem_strdup("its job is missing there"));
    tell_marker(to, t);
    for (size_t i = 0; i < t->nletters; i++)
        note(to, queue_letter_us(t->letters[i].entry), "redis", "dead letter", NULL,
            mem_printf("%s (%s)", t->letters[i].reason, t->letters[i].entry));
    return to->n > before;
}

static bool is_under_way(const struct trace *t)
{
    return t->status && (strcmp(t->status, "queued") == 0 || strcmp(t->status, "in_progress") == 0);
}

static void tell_redis(struct trace *t)
{
    bool known = true, any = false;
    for (int i = 0; i < NQUEUES; i++) {
        known &= t->redis[i].known;
        if (t->redis[i].known)
            any |= tell_queue(&t->trail, &t->redis[i].t);
    }
    if (!known)
        hole(&t->trail, "Redis", &t->redis[t->redis[CHANGES].known ? CRAWLS : CHANGES].err);
    else if (!any && t->row_id)
        note(&t->trail, 0, "redis", is_under_way(t) ? "no job" : "acknowledged", NULL,
            mem_strdup(
                is_under_way(t) ? "a janitor publishes it" : "nothing of it is left in Redis"));
}

/* --- the folders here -------------------------------------------------------------------- */

static void got_receipt(int64_t at_us, const char *way, const char *file, void *ctx)
{
    note(ctx, at_us, "receipt", "answered 202", NULL, mem_printf("%s, in %s", way, file));
}

static void got_record(const char *segment, void *ctx)
{
    note(ctx, 0, "spool", "record", NULL,
        mem_printf("in %s; it may have been brought home already", segment));
}

static void read_folders(struct trace *t)
{
    struct hl_err err;
    for (int i = 0; i < t->journals.n; i++)
        if (trace_receipts(t->journals.dirs[i], &t->id, got_receipt, &t->trail, &err) != HL_OK)
            hole(&t->trail, "Receipts", &err);
    for (int i = 0; i < t->spools.n; i++)
        if (trace_spool(t->spools.dirs[i], &t->id, got_record, &t->trail, &err) != HL_OK)
            hole(&t->trail, "Spool", &err);
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
_Static_assert(COLUMNS == CELLS + 1, "and one for the time since the first");

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
        const struct moment *m = &t->moments[i];
        const char *cells[COLUMNS] = {m->cells[TRACE_AT]};
        struct buf after = {0};
        if (m->at != INT64_MAX)
            put_after(&after, m->at - t->moments[0].at);
        cells[1] = after.len ? buf_str(&after) : NULL;
        for (int k = TRACE_PLACE; k < CELLS; k++)
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
    qsort(t->trail.moments, t->trail.n, sizeof(*t->trail.moments), earlier);
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
        tell_redis(t);
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
