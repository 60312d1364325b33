/* hooklinectl status: what is waiting, what runs, who works. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/timestamp.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const struct ctl_option options[] = {
    CTL_READER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_status = {
    .name = "status",
    .summary = "show queues, events by status, workers",
    .about =
        "Shows the queues in Redis, the events by status and the workers in PostgreSQL, and the\n"
        "upstream hosts that were in trouble. Exits with 69 when one of the two stores cannot be\n"
        "reached, after showing what the other says.\n",
    .examples = "hooklinectl status\n"
                "hooklinectl status --watch=5s\n"
                "hooklinectl status --json | jq .queue\n",
    .options = options,
    .run = run,
};

/* --- what is shown ----------------------------------------------------------------------- */

/* JSON has the same numbers as members of their own: "queue" and "crawl_queue". */
static const struct column queue_columns[] = {
    {NULL, "QUEUE",     COLUMN_TEXT, 0},
    {NULL, "IN STREAM", COLUMN_INT,  0},
    {NULL, "PENDING",   COLUMN_INT,  0},
    {NULL, "LATER",     COLUMN_INT,  0},
    {NULL, "DEAD",      COLUMN_INT,  0},
};
static const struct column event_columns[] = {
    {"status", "STATUS", COLUMN_STATE, 0},
    {"events", "EVENTS", COLUMN_INT,   0},
};
/* Of times JSON has PostgreSQL's text, tables what people read. */
enum { WORKER_STARTED = 4, WORKER_STARTED_SHOWN, WORKER_SEEN, WORKER_SEEN_SHOWN, WORKER_JOBS };
static const struct column worker_columns[] = {
    {"id",               "WORKER",      COLUMN_TEXT,     12},
    {"host",             "HOST",        COLUMN_TEXT,     8 },
    {"pid",              "PID",         COLUMN_INT,      0 },
    {"state",            "STATE",       COLUMN_STATE,    0 },
    {"started_at",       NULL,          COLUMN_TEXT,     0 },
    {NULL,               "STARTED",     COLUMN_TIME,     0 },
    {"seen_seconds_ago", NULL,          COLUMN_INT,      0 },
    {NULL,               "SEEN",        COLUMN_DURATION, 0 },
    {"in_progress",      "IN PROGRESS", COLUMN_INT,      0 },
};
enum { UPSTREAM_LEFT = 3, UPSTREAM_LEFT_SHOWN };
static const struct column upstream_columns[] = {
    {"host",         "UPSTREAM",   COLUMN_TEXT,     12},
    {"state",        "CIRCUIT",    COLUMN_STATE,    0 },
    {"failures",     "FAILURES",   COLUMN_INT,      0 },
    {"seconds_left", NULL,         COLUMN_INT,      0 },
    {NULL,           "LEFT",       COLUMN_DURATION, 0 },
    {"probe_by",     "TRIED BY",   COLUMN_TEXT,     8 },
    {"last_error",   "LAST ERROR", COLUMN_TEXT,     20},
    {"changed_at",   NULL,         COLUMN_TEXT,     0 },
};
#define LISTING(of)                                                                                \
    {                                                                                              \
        .columns = (of), .n = sizeof(of) / sizeof((of)[0])                                         \
    }
enum { MAX_COLUMNS = 12 };

struct status {
    struct session session;
    bool json;
    struct hl_err redis_err, db_err;
    struct queue_stats queue, crawls; /* dead letters of both are in one place */
    struct listing events, workers, upstreams;
};

/* --- answers ----------------------------------------------------------------------------- */

static void note(struct hl_err *to, const struct hl_err *err)
{
    if (err && to->rc == HL_OK)
        *to = *err;
}

static void got_queue(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->redis_err, rc == HL_OK ? NULL : err);
    s->queue = *stats;
    session_answered(&s->session);
}

static void got_crawls(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->redis_err, rc == HL_OK ? NULL : err);
    s->crawls = *stats;
    session_answered(&s->session);
}

static const char *cell(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) || !*PQgetvalue(rows, row, col) ? NULL
                                                                       : PQgetvalue(rows, row, col);
}

/* A number as text; the struct keeps it. */
struct digits {
    char text[24];
};
static const char *put_digits(struct digits *d, int64_t n)
{
    snprintf(d->text, sizeof(d->text), "%lld", (long long)n);
    return d->text;
}

static void add_worker(struct listing *l, const PGresult *rows, int i)
{
    struct digits started, seen;
    int64_t us;
    const char *cells[MAX_COLUMNS] = {0};
    for (int k = 0; k <= WORKER_STARTED; k++)
        cells[k] = cell(rows, i, k);
    if (cells[WORKER_STARTED] && timestamp_parse_iso(cells[WORKER_STARTED], &us))
        cells[WORKER_STARTED_SHOWN] = put_digits(&started, us);
    cells[WORKER_SEEN] = cell(rows, i, 5);
    if (cells[WORKER_SEEN])
        cells[WORKER_SEEN_SHOWN] = put_digits(&seen, db_int(rows, i, 5) * 1000);
    cells[WORKER_JOBS] = cell(rows, i, 6);
    listing_add(l, cells);
}

static void add_upstream(struct listing *l, const PGresult *rows, int i)
{
    struct digits left;
    const char *cells[MAX_COLUMNS] = {0};
    for (int k = 0; k < PQnfields(rows); k++)
        cells[k < UPSTREAM_LEFT_SHOWN ? k : k + 1] = cell(rows, i, k);
    if (cells[UPSTREAM_LEFT])
        cells[UPSTREAM_LEFT_SHOWN] = put_digits(&left, db_int(rows, i, UPSTREAM_LEFT) * 1000);
    listing_add(l, cells);
}

static void got_counts(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    if (rc == HL_OK)
        listing_add_rows(&s->events, rows);
    session_answered(&s->session);
}

static void got_workers(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++)
        add_worker(&s->workers, rows, i);
    session_answered(&s->session);
}

static void got_upstreams(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++)
        add_upstream(&s->upstreams, rows, i);
    session_answered(&s->session);
}

static void ask(struct status *s)
{
    session_asked(&s->session);
    queue_stats(s->session.queue, got_queue, s);
    session_asked(&s->session);
    queue_stats(s->session.crawl_queue, got_crawls, s);
    session_asked(&s->session);
    store_count_by_status(s->session.store, got_counts, s);
    session_asked(&s->session);
    store_list_workers(s->session.store, got_workers, s);
    session_asked(&s->session);
    store_list_upstreams(s->session.store, got_upstreams, s);
    session_wait(&s->session);
}

/* What was seen is forgotten, for the next look. */
static void forget(struct status *s)
{
    listing_release(&s->events);
    listing_release(&s->workers);
    listing_release(&s->upstreams);
    s->redis_err = s->db_err = (struct hl_err){0};
}

/* --- output ------------------------------------------------------------------------------ */

/* Negative: not known. */
static void put_number(struct buf *b, const char *key, int64_t v)
{
    if (v < 0)
        json_put_text(b, key, NULL);
    else
        json_put_int(b, key, v);
}

static void put_error(struct buf *b, const char *key, const struct hl_err *err)
{
    json_put_text(b, key, err->rc == HL_OK ? NULL : err->msg);
}

static void put_queue(struct buf *b, const struct queue_stats *q)
{
    put_number(b, "length", q->length);
    put_number(b, "pending", q->pending);
    put_number(b, "lag", q->lag);
    put_number(b, "later", q->later);
}

static void put_rows(struct buf *b, const char *key, const struct listing *rows)
{
    json_put_key(b, key);
    listing_put_json(rows, b);
}

static void print_json(const struct status *s)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1,\"schema\":1,\"queue\":{");
    put_queue(&b, &s->queue);
    put_number(&b, "dead", s->queue.dead);
    put_error(&b, "error", &s->redis_err);
    buf_puts(&b, "},\"crawl_queue\":{");
    put_queue(&b, &s->crawls);
    buf_puts(&b, "},\"events\":{");
    for (size_t i = 0; i < listing_rows(&s->events); i++) {
        json_put_key(&b, listing_cell(&s->events, i, 0));
        buf_puts(&b, listing_cell(&s->events, i, 1));
    }
    buf_putc(&b, '}');
    put_rows(&b, "workers", &s->workers);
    put_rows(&b, "upstreams", &s->upstreams);
    put_error(&b, "database_error", &s->db_err);
    buf_putc(&b, '}');
    print_line(&b);
}

static void add_queue(
    struct listing *l, const char *name, const struct queue_stats *q, bool has_dead)
{
    struct digits length, pending, later, dead;
    listing_add(
        l, (const char *[]){name, put_digits(&length, q->length), put_digits(&pending, q->pending),
               put_digits(&later, q->later), has_dead ? put_digits(&dead, q->dead) : NULL});
}

static void print_queues(const struct status *s)
{
    struct listing l = LISTING(queue_columns);
    if (s->redis_err.rc != HL_OK) {
        puts("Queues: not known");
        return;
    }
    add_queue(&l, "change", &s->queue, true);
    add_queue(&l, "crawl", &s->crawls, false);
    listing_print(&l);
    listing_release(&l);
}

static void print_text(const struct status *s)
{
    print_queues(s);
    if (s->db_err.rc != HL_OK) {
        puts("Events and workers: not known");
        return;
    }
    puts("");
    if (listing_rows(&s->events))
        listing_print(&s->events);
    else
        puts("There are no events.");
    puts("");
    if (listing_rows(&s->workers))
        listing_print(&s->workers);
    else
        puts("There are no workers.");
    if (listing_rows(&s->upstreams))
        puts("");
    listing_print(&s->upstreams);
}

static int show(void *ctx)
{
    struct status *s = ctx;
    int code = CTL_OK;
    ask(s);
    if (s->json)
        print_json(s);
    else
        print_text(s);
    if (s->redis_err.rc != HL_OK)
        code = ctl_fail_err(&s->redis_err);
    if (s->db_err.rc != HL_OK)
        code = ctl_fail_err(&s->db_err);
    forget(s);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_status, ctl, argc, argv);
    struct status s = {.events = LISTING(event_columns),
        .workers = LISTING(worker_columns),
        .upstreams = LISTING(upstream_columns)};
    int code = ctl_parse(&args);
    s.json = args.shared.json;
    return code >= 0 ? code : session_watch(&args, &s.session, show, &s);
}
