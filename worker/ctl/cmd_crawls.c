/* hooklinectl crawls: our crawl sessions, or the jobs of Firecrawl's own queue. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/text.h"
#include "domain/upstream.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_JSON = 1, OPT_LIMIT, OPT_STATUS, OPT_UPSTREAM };
enum { DEFAULT_LIMIT = 50, MAX_LIMIT = 1000, UPSTREAM_MS = 15000 };
enum { URL_CHARS = 100, ERROR_CHARS = 80, MESSAGE_CHARS = 2000 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_UPSTREAM, "upstream", NULL, "jobs of Firecrawl's own queue; it is only looked at"},
    {OPT_STATUS, "status", "WORD", "only those of this status"},
    {OPT_LIMIT, "limit", "N", "at most N, the newest (default 50, at most 1000)"},
    {OPT_JSON, "json", NULL, "print one JSON object"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_crawls = {
    .name = "crawls",
    .summary = "crawl sessions, and the jobs of Firecrawl's own queue",
    .words = "list",
    .about =
        "Lists the crawl sessions of webhook.crawl_sessions, newest first. With --upstream: the\n"
        "jobs of Firecrawl's own queue, where its PostgreSQL schema lives in the same database\n"
        "(WEBHOOK_FIRECRAWL_SCHEMA); their status is queued, active, completed, failed, or\n"
        "backlog (waiting for their turn). Exits with 2 when there is no such schema.\n",
    .examples = "hooklinectl crawls list --status failed\n",
    .options = options,
    .run = run,
};

struct crawls {
    struct session session;
    struct upstream_list upstream;
    const char *status; /* NULL = any */
    int limit;
    bool json;
    int code;
};

/* --- what both lists share --------------------------------------------------------------- */

static const char *cell(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) ? NULL : PQgetvalue(rows, row, col);
}

static void print(struct buf *b)
{
    puts(buf_str(b));
    buf_release(b);
}

/* --- our sessions ------------------------------------------------------------------------ */

enum { CRAWL_COLUMNS = 8, FIRST_NUMBER = 3, LAST_NUMBER = 5 };

static void print_sessions_json(const PGresult *rows)
{
    static const char *const keys[CRAWL_COLUMNS] = {"job_id", "status", "base_url", "total_pages",
        "pages_indexed", "pages_failed", "started_at", "completed_at"};
    struct buf b = {0};

    buf_puts(&b, "{\"version\":1,\"crawls\":[");
    for (int i = 0; i < PQntuples(rows); i++) {
        buf_puts(&b, i ? ",{" : "{");
        for (int k = 0; k < CRAWL_COLUMNS; k++) {
            if (k < FIRST_NUMBER || k > LAST_NUMBER) {
                json_put_text(&b, keys[k], cell(rows, i, k));
                continue;
            }
            json_put_key(&b, keys[k]);
            buf_puts(&b, db_text(rows, i, k));
        }
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}");
    print(&b);
}

static void print_sessions(const PGresult *rows)
{
    struct ctl_table t = {.columns = CRAWL_COLUMNS};
    ctl_table_row(&t, (const char *[]){"JOB", "STATUS", "URL", "PAGES", "INDEXED", "FAILED",
                          "STARTED", "COMPLETED"});
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *cells[CRAWL_COLUMNS];
        for (int k = 0; k < CRAWL_COLUMNS; k++)
            cells[k] = cell(rows, i, k);
        ctl_table_row(&t, cells);
    }
    ctl_table_print(&t);
}

static void got_sessions(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct crawls *c = ctx;
    if (rc != HL_OK)
        c->code = ctl_fail_err(err);
    else if (c->json)
        print_sessions_json(rows);
    else if (PQntuples(rows))
        print_sessions(rows);
    else
        puts(c->status ? "No crawl has this status." : "There are no crawls.");
    session_answered(&c->session);
}

/* --- Firecrawl's jobs -------------------------------------------------------------------- */

static bool is_job(const PGresult *rows, int row)
{
    return strcmp(db_text(rows, row, UPSTREAM_PART), "job") == 0;
}

static bool counted_all(const PGresult *rows)
{
    int64_t sum = 0;
    for (int i = 0; i < PQntuples(rows); i++)
        sum += is_job(rows, i) ? 0 : db_int(rows, i, UPSTREAM_ID);
    return sum < UPSTREAM_COUNTED;
}

static void put_job(struct buf *b, const PGresult *rows, int i)
{
    const char *crawl = cell(rows, i, UPSTREAM_CRAWL);
    buf_putc(b, '{');
    json_put_text(b, "id", cell(rows, i, UPSTREAM_ID));
    json_put_text(b, "status", cell(rows, i, UPSTREAM_STATUS));
    json_put_text(b, "kind", crawl ? "crawl" : "single");
    json_put_text(b, "crawl_id", crawl);
    json_put_text(b, "mode", cell(rows, i, UPSTREAM_MODE));
    json_put_text(b, "url", cell(rows, i, UPSTREAM_URL));
    json_put_text(b, "created_at", cell(rows, i, UPSTREAM_CREATED));
    json_put_text(b, "finished_at", cell(rows, i, UPSTREAM_FINISHED));
    json_put_text(b, "error", cell(rows, i, UPSTREAM_ERROR));
    buf_putc(b, '}');
}

static void print_jobs_json(const struct upstream_list *l)
{
    struct buf b = {0};
    int i = 0, n = PQntuples(l->rows);

    buf_puts(&b, "{\"version\":1");
    json_put_text(&b, "schema", l->found);
    buf_puts(&b, ",\"jobs\":[");
    for (; i < n && is_job(l->rows, i); i++) {
        if (i)
            buf_putc(&b, ',');
        put_job(&b, l->rows, i);
    }
    buf_puts(&b, "],\"counts\":{");
    for (; i < n; i++) {
        json_put_key(&b, db_text(l->rows, i, UPSTREAM_STATUS));
        buf_puts(&b, db_text(l->rows, i, UPSTREAM_ID));
    }
    buf_printf(&b, "},\"counted_all\":%s}", counted_all(l->rows) ? "true" : "false");
    print(&b);
}

/* One line of at most max_chars; an ellipsis stands for what was cut. */
static void cut(struct buf *out, const char *text, size_t max_chars)
{
    text_one_line(text, max_chars + 1, out);
    size_t keep = text_prefix_chars(buf_str(out), max_chars);
    if (keep == out->len)
        return;
    out->len = keep;
    buf_puts(out, "…");
}

static void add_job(struct ctl_table *t, const PGresult *rows, int i)
{
    const char *crawl = cell(rows, i, UPSTREAM_CRAWL), *error = cell(rows, i, UPSTREAM_ERROR);
    const char *address = cell(rows, i, UPSTREAM_URL);
    struct buf kind = {0}, url = {0}, why = {0};

    buf_printf(&kind, crawl ? "crawl %s" : "single", crawl);
    cut(&url, address ? address : "-", URL_CHARS);
    cut(&why, error ? error : "-", ERROR_CHARS);
    ctl_table_row(t, (const char *[]){cell(rows, i, UPSTREAM_ID), cell(rows, i, UPSTREAM_STATUS),
                         buf_str(&kind), buf_str(&url), cell(rows, i, UPSTREAM_CREATED),
                         cell(rows, i, UPSTREAM_FINISHED), buf_str(&why)});
    buf_release(&kind);
    buf_release(&url);
    buf_release(&why);
}

static void print_jobs(const struct upstream_list *l)
{
    struct ctl_table t = {.columns = 7};
    struct buf sum = {0}, line = {0};
    int i = 0, n = PQntuples(l->rows);

    ctl_table_row(
        &t, (const char *[]){"JOB", "STATUS", "KIND", "URL", "CREATED", "FINISHED", "ERROR"});
    for (; i < n && is_job(l->rows, i); i++)
        add_job(&t, l->rows, i);
    ctl_table_print(&t);
    buf_printf(&sum, "Schema %s: %s", l->found, counted_all(l->rows) ? "" : "at least ");
    if (i == n)
        buf_puts(&sum, "no jobs");
    for (int first = i; i < n; i++)
        buf_printf(&sum, "%s%s %s", i > first ? ", " : "", db_text(l->rows, i, UPSTREAM_ID),
            db_text(l->rows, i, UPSTREAM_STATUS));
    text_one_line(buf_str(&sum), MESSAGE_CHARS, &line);
    printf("\n%s\n", buf_str(&line));
    buf_release(&sum);
    buf_release(&line);
}

static int refuse(const struct upstream_list *l)
{
    struct buf line = {0};
    text_one_line(l->explained, MESSAGE_CHARS, &line);
    int code =
        ctl_fail(l->place == UPSTREAM_MISSING ? CTL_NOT_EMPTY : CTL_ERROR, "%s", buf_str(&line));
    buf_release(&line);
    return code;
}

static void got_jobs(struct upstream_list *l, enum hl_rc rc, const struct hl_err *err)
{
    struct crawls *c = l->ctx;
    if (rc != HL_OK)
        c->code = ctl_fail_err(err);
    else if (l->place != UPSTREAM_FOUND)
        c->code = refuse(l);
    else if (c->json)
        print_jobs_json(l);
    else
        print_jobs(l);
    session_answered(&c->session);
}

/* --- the verb ---------------------------------------------------------------------------- */

static int list(struct crawls *c, const struct config *cfg, bool upstream)
{
    struct hl_err err;
    if (session_open(&c->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    session_asked(&c->session);
    if (upstream) {
        c->upstream = (struct upstream_list){.schema = cfg->firecrawl_schema,
            .status = c->status,
            .limit = c->limit,
            .timeout_ms = UPSTREAM_MS,
            .done = got_jobs,
            .ctx = c};
        upstream_list(c->session.pool, &c->upstream);
    } else {
        store_list_crawls(c->session.store, c->status, c->limit, got_sessions, c);
    }
    session_wait(&c->session);
    session_close(&c->session);
    return c->code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_crawls, ctl, argc, argv);
    struct crawls c = {.limit = DEFAULT_LIMIT};
    bool upstream = false;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        c.json |= key == OPT_JSON;
        upstream |= key == OPT_UPSTREAM;
        if (key == OPT_LIMIT && !ctl_count(&args, "limit", MAX_LIMIT, &c.limit))
            break;
        if (key == OPT_STATUS)
            c.status = args.value;
    }
    if (args.done >= 0)
        return args.done;
    if (c.status && !text_utf8_valid(c.status, strlen(c.status)))
        return ctl_usage_error(&cmd_crawls, "--status takes a word in UTF-8");
    if (args.rest != argc - 1 || strcmp(argv[args.rest], "list") != 0)
        return ctl_usage_error(&cmd_crawls, "say what to do: crawls list");
    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    int code = list(&c, &cfg, upstream);
    config_release(&cfg);
    return code;
}
