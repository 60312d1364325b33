/* hooklinectl status: what is waiting, what runs, who works. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "base/mem.h"
#include "worker/ctl/session.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPT_JSON = 1 };

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_JSON, "json", NULL, "print one JSON object"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_status = {
    .name = "status",
    .summary = "show queues, events by status, workers",
    .about =
        "Shows the queues in Redis, the events by status and the workers in PostgreSQL. Exits\n"
        "with 69 when one of the two cannot be reached, after showing what the other says.\n",
    .examples = "hooklinectl status\n"
                "hooklinectl status --json | jq .queue\n",
    .options = options,
    .run = run,
};

struct counted {
    char *status;
    int64_t events;
};

struct worker {
    char *cells[7]; /* as store_list_workers has them */
};

struct upstream {
    char *cells[7]; /* as store_list_upstreams has them */
};

struct status {
    struct session session;
    struct hl_err redis_err, db_err;
    struct queue_stats queue, crawls; /* dead letters of both are in one place */
    struct counted *counts;
    int ncounts;
    struct worker *workers;
    int nworkers;
    struct upstream *upstreams;
    int nupstreams;
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

static void got_counts(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    s->ncounts = rc == HL_OK ? PQntuples(rows) : 0;
    s->counts = mem_array((size_t)s->ncounts, sizeof(*s->counts));
    for (int i = 0; i < s->ncounts; i++)
        s->counts[i] = (struct counted){mem_strdup(db_text(rows, i, 0)), db_int(rows, i, 1)};
    session_answered(&s->session);
}

static void got_workers(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    s->nworkers = rc == HL_OK ? PQntuples(rows) : 0;
    s->workers = mem_array((size_t)s->nworkers, sizeof(*s->workers));
    for (int i = 0; i < s->nworkers; i++)
        for (int k = 0; k < 7; k++)
            s->workers[i].cells[k] = mem_strdup(db_text(rows, i, k));
    session_answered(&s->session);
}

static void got_upstreams(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct status *s = ctx;
    note(&s->db_err, err);
    s->nupstreams = rc == HL_OK ? PQntuples(rows) : 0;
    s->upstreams = mem_array((size_t)s->nupstreams, sizeof(*s->upstreams));
    for (int i = 0; i < s->nupstreams; i++)
        for (int k = 0; k < 7; k++)
            s->upstreams[i].cells[k] = mem_strdup(db_text(rows, i, k));
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

/* --- output ------------------------------------------------------------------------------ */

static void put_number(struct buf *b, const char *key, int64_t v)
{
    json_put_key(b, key);
    if (v < 0)
        buf_puts(b, "null");
    else
        buf_printf(b, "%lld", (long long)v);
}

static void put_error(struct buf *b, const char *key, const struct hl_err *err)
{
    json_put_key(b, key);
    if (err->rc == HL_OK)
        buf_puts(b, "null");
    else
        json_put_string(b, err->msg);
}

static void put_upstreams(struct buf *b, const struct status *s)
{
    static const char *const keys[] = {
        "host", "state", "failures", "seconds_left", "probe_by", "last_error", "changed_at"};
    json_put_key(b, "upstreams");
    buf_putc(b, '[');
    for (int i = 0; i < s->nupstreams; i++) {
        buf_puts(b, i ? ",{" : "{");
        for (int k = 0; k < 7; k++) {
            const char *cell = s->upstreams[i].cells[k];
            json_put_key(b, keys[k]);
            if (!*cell)
                buf_puts(b, "null");
            else if (k == 2 || k == 3)
                buf_puts(b, cell);
            else
                json_put_string(b, cell);
        }
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

static void print_json(const struct status *s)
{
    static const char *const keys[] = {
        "id", "host", "pid", "state", "started_at", "seen_seconds_ago", "in_progress"};
    struct buf b = {0};

    buf_puts(&b, "{\"schema\":1,\"queue\":{");
    put_number(&b, "length", s->queue.length);
    put_number(&b, "pending", s->queue.pending);
    put_number(&b, "lag", s->queue.lag);
    put_number(&b, "later", s->queue.later);
    put_number(&b, "dead", s->queue.dead);
    put_error(&b, "error", &s->redis_err);
    buf_puts(&b, "},\"crawl_queue\":{");
    put_number(&b, "length", s->crawls.length);
    put_number(&b, "pending", s->crawls.pending);
    put_number(&b, "lag", s->crawls.lag);
    put_number(&b, "later", s->crawls.later);
    buf_puts(&b, "},\"events\":{");
    for (int i = 0; i < s->ncounts; i++)
        put_number(&b, s->counts[i].status, s->counts[i].events);
    buf_puts(&b, "},\"workers\":[");
    for (int i = 0; i < s->nworkers; i++) {
        buf_puts(&b, i ? ",{" : "{");
        for (int k = 0; k < 7; k++) {
            json_put_key(&b, keys[k]);
            if (k == 2 || k >= 5)
                buf_puts(&b, s->workers[i].cells[k]);
            else
                json_put_string(&b, s->workers[i].cells[k]);
        }
        buf_putc(&b, '}');
    }
    buf_putc(&b, ']');
    put_upstreams(&b, s);
    put_error(&b, "database_error", &s->db_err);
    buf_puts(&b, "}\n");
    fputs(buf_str(&b), stdout);
    buf_release(&b);
}

static void print_queue(const struct status *s)
{
    const struct queue_stats *q = &s->queue;
    if (s->redis_err.rc != HL_OK) {
        puts("Queue: not known");
        return;
    }
    printf("Queue    %lld in the stream, %lld of them with a worker; %lld later, %lld dead\n",
        (long long)q->length, (long long)q->pending, (long long)q->later, (long long)q->dead);
    q = &s->crawls;
    printf("Crawls   %lld in the stream, %lld of them with a worker; %lld later\n",
        (long long)q->length, (long long)q->pending, (long long)q->later);
}

/* Only when one was in trouble. */
static void print_upstreams(const struct status *s)
{
    struct ctl_table table = {.columns = 6};
    if (!s->nupstreams)
        return;
    puts("");
    ctl_table_row(&table,
        (const char *[]){"UPSTREAM", "CIRCUIT", "FAILURES", "LEFT(S)", "TRIED BY", "LAST ERROR"});
    for (int i = 0; i < s->nupstreams; i++)
        ctl_table_row(&table, (const char *const *)s->upstreams[i].cells);
    ctl_table_print(&table);
}

static void print_text(const struct status *s)
{
    struct ctl_table events = {.columns = 2}, workers = {.columns = 7};
    char number[24];

    print_queue(s);
    if (s->db_err.rc != HL_OK) {
        puts("Events and workers: not known");
        return;
    }
    puts("");
    ctl_table_row(&events, (const char *[]){"STATUS", "EVENTS"});
    for (int i = 0; i < s->ncounts; i++) {
        snprintf(number, sizeof(number), "%lld", (long long)s->counts[i].events);
        ctl_table_row(&events, (const char *[]){s->counts[i].status, number});
    }
    ctl_table_print(&events);
    puts("");
    ctl_table_row(&workers,
        (const char *[]){"WORKER", "HOST", "PID", "STATE", "STARTED", "SEEN(S)", "IN PROGRESS"});
    for (int i = 0; i < s->nworkers; i++)
        ctl_table_row(&workers, (const char *const *)s->workers[i].cells);
    ctl_table_print(&workers);
    print_upstreams(s);
}

static void release(struct status *s)
{
    for (int i = 0; i < s->ncounts; i++)
        free(s->counts[i].status);
    for (int i = 0; i < s->nworkers; i++)
        for (int k = 0; k < 7; k++)
            free(s->workers[i].cells[k]);
    for (int i = 0; i < s->nupstreams; i++)
        for (int k = 0; k < 7; k++)
            free(s->upstreams[i].cells[k]);
    free(s->upstreams);
    free(s->counts);
    free(s->workers);
    session_close(&s->session);
}

static int show(const struct config *cfg, bool json)
{
    struct status s = {0};
    struct hl_err err;
    int code = CTL_OK;

    if (session_open(&s.session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    ask(&s);
    if (json)
        print_json(&s);
    else
        print_text(&s);
    fflush(stdout);
    if (s.redis_err.rc != HL_OK)
        code = ctl_fail_err(&s.redis_err);
    if (s.db_err.rc != HL_OK)
        code = ctl_fail_err(&s.db_err);
    release(&s);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_status, ctl, argc, argv);
    bool json = false;
    int key;

    while ((key = ctl_next(&args)) != 0)
        json |= key == OPT_JSON;
    if (args.done >= 0)
        return args.done;
    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    int code = show(&cfg, json);
    config_release(&cfg);
    return code;
}
