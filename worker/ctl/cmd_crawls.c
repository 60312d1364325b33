/* hooklinectl crawls: our crawl sessions, or the jobs of Firecrawl's own queue. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "domain/store_read.h"
#include "domain/store_view.h"
#include "domain/upstream.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_STATUS = 1, OPT_UPSTREAM };
enum { UPSTREAM_MS = 15000, MESSAGE_CHARS = 2000 };

/* clang-format off */
static const struct ctl_option list_options[] = {
    {OPT_UPSTREAM, "upstream", NULL, "jobs of Firecrawl's own queue; it is only looked at"},
    {OPT_STATUS, "status", "WORD", "only those of this status"},
    CTL_LIMIT_OPTION,
    CTL_READER_OPTIONS,
    {0},
};
static const struct ctl_option show_options[] = {
    CTL_LIMIT_OPTION,
    CTL_READER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run_list, run_show;

static const struct ctl_command list = {
    .name = "crawls list",
    .summary = "list crawl sessions, or the jobs of Firecrawl's own queue",
    .about =
        "Lists the crawl sessions of webhook.crawl_sessions, newest first. With --upstream: the\n"
        "jobs of Firecrawl's own queue, where its PostgreSQL schema lives in the same database\n"
        "(WEBHOOK_FIRECRAWL_SCHEMA); their status is queued, active, completed, failed, or\n"
        "backlog (waiting for their turn). Exits with 2 when there is no such schema.\n",
    .examples = "hooklinectl crawls list --status failed\n"
                "hooklinectl crawls list --upstream --status backlog --watch\n"
                "hooklinectl crawls list --json | jq -r '.crawls[].job_id'\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command show = {
    .name = "crawls show",
    .summary = "show one crawl session and its steps",
    .words = "CRAWL",
    .about =
        "Shows the session of the crawl with this id, as Firecrawl gave it, and what was done\n"
        "for it, oldest first (at most --limit steps). Exits with 2 when there is none.\n",
    .examples =
        "hooklinectl crawls show 0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11\n"
        "hooklinectl crawls show --json --limit 1000 0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11\n",
    .options = show_options,
    .run = run_show,
};

static const struct ctl_command *const actions[] = {&list, &show, NULL};

const struct ctl_command cmd_crawls = {
    .name = "crawls",
    .summary = "crawl sessions, and the jobs of Firecrawl's own queue: list, show",
    .about = "The crawls that Firecrawl told of, and those that it has still to do.\n",
    .actions = actions,
};

struct crawls {
    struct ctl_args *args;
    struct session session;
    const struct config *cfg;
    const char *status; /* NULL = any */
    const char *id;     /* of show */
    bool upstream;
    int code; /* of a question to Firecrawl's queue */
};

#define LISTING(columns_)                                                                          \
    {                                                                                              \
        .columns = (columns_), .n = sizeof(columns_) / sizeof((columns_)[0])                       \
    }

/* --- our sessions ------------------------------------------------------------------------ */

/* From CRAWL_JOB_ID on. */
static const struct column session_columns[] = {
    {"job_id",          "JOB",       COLUMN_TEXT,     0 },
    {"base_url",        "URL",       COLUMN_TEXT,     20},
    {"status",          "STATUS",    COLUMN_STATE,    0 },
    {"success",         NULL,        COLUMN_BOOL,     0 },
    {"started_at",      "STARTED",   COLUMN_TIME,     0 },
    {"completed_at",    "COMPLETED", COLUMN_TIME,     0 },
    {"duration_ms",     "TOOK",      COLUMN_DURATION, 0 },
    {"e2e_duration_ms", NULL,        COLUMN_DURATION, 0 },
    {"total_pages",     "PAGES",     COLUMN_INT,      0 },
    {"pages_indexed",   "INDEXED",   COLUMN_INT,      0 },
    {"pages_failed",    "FAILED",    COLUMN_INT,      0 },
};

/* False where the store did not answer. after: in and out; "" of the second = that was all. */
static int add_sessions(struct crawls *c, struct listing *l, int64_t *after, char **after_id)
{
    struct answer a = {.session = &c->session};
    const size_t limit = (size_t)c->args->shared.limit;
    const struct view_crawls q = {.status = c->status,
        .before = *after,
        .before_id = *after_id,
        .limit = c->args->shared.limit};
    view_crawls(c->session.store, &q, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    free(*after_id);
    *after_id = NULL;
    int n = code == CTL_OK ? PQntuples(a.rows) : 0;
    for (int i = 0; i < n && listing_rows(l) < limit; i++)
        if (!PQgetisnull(a.rows, i, CRAWL_ID))
            listing_add_row(l, a.rows, i, CRAWL_JOB_ID);
    if (n && !PQgetisnull(a.rows, 0, CRAWL_EDGE)) {
        *after = db_int(a.rows, 0, CRAWL_EDGE);
        *after_id = mem_strdup(db_text(a.rows, 0, CRAWL_EDGE_ID));
    }
    answer_release(&a);
    return code;
}

/* "key":[...] in an object of its own. */
static void print_json(const char *key, const struct listing *l)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1");
    json_put_key(&b, key);
    listing_put_json(l, &b);
    buf_putc(&b, '}');
    print_line(&b);
    buf_release(&b);
}

static int show_sessions(void *ctx)
{
    struct crawls *c = ctx;
    struct listing l = LISTING(session_columns);
    int64_t after = 0;
    char *after_id = NULL;
    int code;
    do
        code = add_sessions(c, &l, &after, &after_id);
    while (code == CTL_OK && after_id && listing_rows(&l) < (size_t)c->args->shared.limit);
    free(after_id);
    if (code == CTL_OK && c->args->shared.json)
        print_json("crawls", &l);
    else if (code == CTL_OK && listing_rows(&l))
        listing_print(&l);
    else if (code == CTL_OK)
        puts(c->status ? "No crawl has this status." : "There are no crawls.");
    listing_release(&l);
    return code;
}

/* --- one session ------------------------------------------------------------------------- */

/* In the order of READ_CRAWL_ID and the following. */
static const struct column crawl_columns[] = {
    {"job_id",             "crawl",                  COLUMN_TEXT,     0},
    {"base_url",           "url",                    COLUMN_TEXT,     0},
    {"status",             "status",                 COLUMN_STATE,    0},
    {"success",            "success",                COLUMN_BOOL,     0},
    {"started_at",         "started",                COLUMN_TIME,     0},
    {"completed_at",       "completed",              COLUMN_TIME,     0},
    {"duration_ms",        "took",                   COLUMN_DURATION, 0},
    {"e2e_duration_ms",    "since it was asked for", COLUMN_DURATION, 0},
    {"total_pages",        "pages",                  COLUMN_INT,      0},
    {"pages_indexed",      "indexed",                COLUMN_INT,      0},
    {"pages_failed",       "failed",                 COLUMN_INT,      0},
    {"total_chunking_ms",  NULL,                     COLUMN_FLOAT,    0},
    {"total_embedding_ms", NULL,                     COLUMN_FLOAT,    0},
    {"total_qdrant_ms",    NULL,                     COLUMN_FLOAT,    0},
    {"total_bm25_ms",      "indexing",               COLUMN_DURATION, 0},
    {"error_message",      "error",                  COLUMN_TEXT,     0},
    {"extra_metadata",     NULL,                     COLUMN_JSON,     0},
};

/* In the order of READ_STEP_URL and the following. */
static const struct column step_columns[] = {
    {"document_url", "URL",   COLUMN_TEXT,     20},
    {"type",         "STEP",  COLUMN_TEXT,     0 },
    {"name",         "WHAT",  COLUMN_TEXT,     0 },
    {"duration_ms",  "TOOK",  COLUMN_DURATION, 0 },
    {"success",      "FINE",  COLUMN_BOOL,     0 },
    {"at",           "BEGAN", COLUMN_TIME,     0 },
};

static void print_crawl(
    const struct crawls *c, const struct listing *crawl, const struct listing *l)
{
    struct buf b = {0};
    if (c->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"crawl\":");
        listing_put_json_row(crawl, 0, &b);
        buf_puts(&b, ",\"steps\":");
        listing_put_json(l, &b);
        buf_putc(&b, '}');
        print_line(&b);
    } else {
        listing_print_one(crawl, 0);
        if (listing_rows(l))
            puts("");
        listing_print(l);
    }
    buf_release(&b);
}

static int show_crawl(void *ctx)
{
    struct crawls *c = ctx;
    struct answer crawl = {.session = &c->session}, steps = {.session = &c->session};
    struct listing one = LISTING(crawl_columns), l = LISTING(step_columns);
    store_read_crawl(c->session.store, c->id, answer_keep, answer_asked(&crawl));
    store_read_crawl_steps(
        c->session.store, c->id, c->args->shared.limit, answer_keep, answer_asked(&steps));
    int code = answer_wait(&crawl);
    if (code == CTL_OK)
        code = answer_wait(&steps);
    if (code == CTL_OK && PQntuples(crawl.rows) == 0)
        code = ctl_fail(
            CTL_NOT_EMPTY, "there is no crawl %s; 'hooklinectl crawls list' shows them", c->id);
    if (code == CTL_OK) {
        listing_add_rows(&one, crawl.rows);
        listing_add_rows(&l, steps.rows);
        print_crawl(c, &one, &l);
    }
    listing_release(&one);
    listing_release(&l);
    answer_release(&crawl);
    answer_release(&steps);
    return code;
}

/* --- Firecrawl's jobs -------------------------------------------------------------------- */

/* In a table kind and crawl are one: few jobs have both. */
static const struct column job_columns[] = {
    {"id",          "JOB",      COLUMN_TEXT,  0 },
    {"status",      "STATUS",   COLUMN_STATE, 0 },
    {NULL,          "KIND",     COLUMN_TEXT,  0 },
    {"kind",        NULL,       COLUMN_TEXT,  0 },
    {"crawl_id",    NULL,       COLUMN_TEXT,  0 },
    {"mode",        NULL,       COLUMN_TEXT,  0 },
    {"url",         "URL",      COLUMN_TEXT,  20},
    {"created_at",  "CREATED",  COLUMN_TEXT,  0 },
    {"finished_at", "FINISHED", COLUMN_TEXT,  0 },
    {"error",       "ERROR",    COLUMN_TEXT,  20},
};

static const char *cell(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) ? NULL : PQgetvalue(rows, row, col);
}

static bool is_job(const PGresult *rows, int row)
{
    return row < PQntuples(rows) && strcmp(db_text(rows, row, UPSTREAM_PART), "job") == 0;
}

static bool counted_all(const PGresult *rows)
{
    int64_t sum = 0;
    for (int i = 0; i < PQntuples(rows); i++)
        sum += is_job(rows, i) ? 0 : db_int(rows, i, UPSTREAM_ID);
    return sum < UPSTREAM_COUNTED;
}

static void add_job(struct listing *l, const PGresult *rows, int i)
{
    const char *crawl = cell(rows, i, UPSTREAM_CRAWL);
    char *kind = crawl ? mem_printf("crawl %s", crawl) : mem_strdup("single");
    listing_add(l, (const char *[]){cell(rows, i, UPSTREAM_ID), cell(rows, i, UPSTREAM_STATUS),
                       kind, crawl ? "crawl" : "single", crawl, cell(rows, i, UPSTREAM_MODE),
                       cell(rows, i, UPSTREAM_URL), cell(rows, i, UPSTREAM_CREATED),
                       cell(rows, i, UPSTREAM_FINISHED), cell(rows, i, UPSTREAM_ERROR)});
    free(kind);
}

/* counts: index of the first row that is no job. */
static void print_jobs_json(const struct upstream_list *u, const struct listing *l, int counts)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":1");
    json_put_text(&b, "schema", u->found);
    buf_puts(&b, ",\"jobs\":");
    listing_put_json(l, &b);
    buf_puts(&b, ",\"counts\":{");
    for (int i = counts; i < PQntuples(u->rows); i++) {
        json_put_key(&b, db_text(u->rows, i, UPSTREAM_STATUS));
        buf_puts(&b, db_text(u->rows, i, UPSTREAM_ID));
    }
    buf_printf(&b, "},\"counted_all\":%s}", counted_all(u->rows) ? "true" : "false");
    print_line(&b);
    buf_release(&b);
}

static void print_jobs(const struct upstream_list *u, const struct listing *l, int counts)
{
    struct buf sum = {0}, line = {0};
    int n = PQntuples(u->rows);

    listing_print(l);
    buf_printf(&sum, "Schema %s: %s", u->found, counted_all(u->rows) ? "" : "at least ");
    if (counts == n)
        buf_puts(&sum, "no jobs");
    for (int i = counts; i < n; i++)
        buf_printf(&sum, "%s%s %s", i > counts ? ", " : "", db_text(u->rows, i, UPSTREAM_ID),
            db_text(u->rows, i, UPSTREAM_STATUS));
    put_cell(&line, buf_str(&sum), MESSAGE_CHARS);
    printf("\n%s\n", buf_str(&line));
    buf_release(&sum);
    buf_release(&line);
}

static int refuse(const struct upstream_list *u)
{
    struct buf line = {0};
    text_one_line(u->explained, MESSAGE_CHARS, &line);
    int code =
        ctl_fail(u->place == UPSTREAM_MISSING ? CTL_NOT_EMPTY : CTL_ERROR, "%s", buf_str(&line));
    buf_release(&line);
    return code;
}

static void got_jobs(struct upstream_list *u, enum hl_rc rc, const struct hl_err *err)
{
    struct crawls *c = u->ctx;
    struct listing l = LISTING(job_columns);
    int counts = 0;
    if (rc != HL_OK) {
        c->code = err->why == HL_WHY_READ_ONLY /* the transaction is so by our own wish */
                      ? ctl_fail(CTL_ERROR, "%s", err->msg)
                      : ctl_fail_err(err);
    } else if (u->place != UPSTREAM_FOUND) {
        c->code = refuse(u);
    } else {
        for (; is_job(u->rows, counts); counts++)
            add_job(&l, u->rows, counts);
        if (c->args->shared.json)
            print_jobs_json(u, &l, counts);
        else
            print_jobs(u, &l, counts);
    }
    listing_release(&l);
    session_answered(&c->session);
}

static int show_jobs(void *ctx)
{
    struct crawls *c = ctx;
    struct upstream_list u = {.schema = c->cfg->firecrawl_schema,
        .status = c->status,
        .limit = c->args->shared.limit,
        .timeout_ms = UPSTREAM_MS,
        .done = got_jobs,
        .ctx = c};
    c->code = CTL_OK;
    session_asked(&c->session);
    upstream_list(c->session.pool, &u);
    session_wait(&c->session);
    return c->code;
}

/* --- the actions ------------------------------------------------------------------------- */

static int look(struct crawls *c, int (*shown)(void *ctx))
{
    struct config cfg;
    struct hl_err err;
    if (!ctl_config(c->args->ctl, &cfg))
        return CTL_ERROR;
    c->cfg = &cfg;
    int code = session_open(&c->session, &cfg, &err) == HL_OK
                   ? ctl_watch(&c->args->shared, shown, c)
                   : ctl_fail_err(&err);
    session_close(&c->session);
    config_release(&cfg);
    return code;
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&list, ctl, argc, argv);
    struct crawls c = {.args = &args};
    int key;

    while ((key = ctl_next(&args)) != 0) {
        c.upstream |= key == OPT_UPSTREAM;
        if (key == OPT_STATUS)
            c.status = args.value;
    }
    if (args.done >= 0)
        return args.done;
    if (c.status && !text_utf8_valid(c.status, strlen(c.status)))
        return ctl_usage_error(&list, "--status takes a word in UTF-8");
    return look(&c, c.upstream ? show_jobs : show_sessions);
}

static int run_show(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&show, ctl, argc, argv);
    struct crawls c = {.args = &args};
    int code = ctl_parse(&args);
    if (code >= 0)
        return code;
    if (args.rest != argc - 1 || !text_utf8_valid(argv[args.rest], strlen(argv[args.rest])))
        return ctl_usage_error(&show, "name one crawl by its id");
    c.id = argv[args.rest];
    return look(&c, show_crawl);
}
