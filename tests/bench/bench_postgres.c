/* bench_postgres: how many events a second go through claim (T1) and completion (T3b), with no HTTP
 * between, and one row a transaction by plain libpq, on the same server, in the same run: once with
 * the same work (one scrape per URL, living owners, superseding), once without all that, two bare
 * guarded updates. The three take turns; see CONTRIBUTING.md, "Measure". Owns: the rows of each
 * cell, the ways of working on them, what is read off the server around them, table and JSON. */
#include "base/clock.h"
#include "base/config.h"
#include "base/mem.h"
#include "domain/connect.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OWNER "bench-worker"

enum {
    MAX_ROUNDS = 50,
    MAX_EVENTS = 400000,
    MIN_EVENTS = 100,
    DOC_BYTES = 2048,
    SETTLE_MS = 10000
};

static struct {
    int rounds;
    int history; /* finished events that are in the table besides */
    double seconds;
    const char *json;
    const char *url;    /* the database that is measured */
    const char *beside; /* another of the same server: asking there is no commit in ours */
} options = {.rounds = 5, .history = 20000, .seconds = 1.5};

static const char *const words[] = {"the", "price", "of", "release", "notes", "changed", "status",
    "page", "version", "today", "security", "update", "contact", "opening", "hours", "download",
    "archive", "product", "stock", "delivery"};

_Noreturn static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bench_postgres: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

/* --- plain libpq ------------------------------------------------------------------------- */

static PGconn *connect_to(const char *url)
{
    PGconn *pg = PQconnectdb(url);
    if (PQstatus(pg) != CONNECTION_OK)
        die("cannot connect: %s", PQerrorMessage(pg));
    return pg;
}

static PGresult *checked(PGconn *pg, PGresult *res, const char *what)
{
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        die("%s: %s", what, PQerrorMessage(pg));
    return res;
}

static void sql(PGconn *pg, const char *text)
{
    PQclear(checked(pg, PQexec(pg, text), text));
}

static double sql_number(PGconn *pg, const char *text)
{
    PGresult *res = checked(pg, PQexec(pg, text), text);
    double value = strtod(db_text(res, 0, 0), NULL);
    PQclear(res);
    return value;
}

/* --- the events of a cell ---------------------------------------------------------------- */

static struct change_event *events;
static char **texts; /* of each event; NULL in the series without documents */
static int nevents;

static char *make_text(unsigned seed)
{
    struct buf b = {0};
    while (b.len < DOC_BYTES - 16) {
        seed = seed * 1664525 + 1013904223;
        unsigned pick = seed >> 16;
        if (pick % 3)
            buf_printf(&b, "%s ", words[pick % (sizeof(words) / sizeof(*words))]);
        else
            buf_printf(&b, "w%u ", pick % 5000);
    }
    return buf_detach(&b);
}

static void forget_events(void)
{
    for (int i = 0; i < nevents; i++) {
        event_release(&events[i]);
        free(texts[i]);
    }
    free(events);
    free(texts);
    nevents = 0;
}

static void insert_events(PGconn *pg, const char *status, int n)
{
    char insert[700];
    snprintf(insert, sizeof(insert),
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        "  rescrape_status, metadata, body_digest, accept_seq)"
        " SELECT gen_random_uuid(), 'watch-' || i, u, sha256(convert_to(u, 'UTF8')), now(), '%s',"
        "  '{\"title\": \"a page\"}', decode(repeat('5a', 32), 'hex'),"
        "  nextval('webhook.scrape_clock')"
        " FROM generate_series(1, %d) i,"
        "  LATERAL (SELECT 'https://example.com/%s/' || i) l (u)",
        status, n, status);
    sql(pg, insert);
}

/* Both ways get the same: a history, so that the planner sees no toy table, so many queued rows,
 * nothing dead, statistics, and every page's first change after a checkpoint. */
static void prepare_events(int n, bool documents)
{
    PGconn *pg = connect_to(options.url);

    sql(pg, "TRUNCATE webhook.change_events, webhook.documents, webhook.workers RESTART IDENTITY");
    insert_events(pg, "completed", options.history);
    insert_events(pg, "queued", n);
    sql(pg, "VACUUM ANALYZE webhook.change_events, webhook.documents, webhook.workers");
    sql(pg, "CHECKPOINT");

    PGresult *rows = checked(pg,
        PQexec(pg, "SELECT event_id, watch_url FROM webhook.change_events"
                   " WHERE rescrape_status = 'queued' ORDER BY id"),
        "reading the events");
    forget_events();
    nevents = PQntuples(rows);
    if (nevents != n)
        die("%d events were prepared instead of %d", nevents, n);
    events = mem_array((size_t)n, sizeof(*events));
    texts = mem_array((size_t)n, sizeof(*texts));
    for (int i = 0; i < n; i++) {
        uuid_parse(db_text(rows, i, 0), &events[i].id);
        events[i].watch_url = mem_strdup(db_text(rows, i, 1));
        memset(events[i].body_digest, 0x5a, DIGEST_LEN); /* as insert_events has it */
        texts[i] = documents ? make_text((unsigned)i) : NULL;
    }
    PQclear(rows);
    PQfinish(pg);
}

/* Every event claimed once and completed once, every document that of its event. */
static void verify_events(const char *way, bool documents)
{
    PGconn *pg = connect_to(options.url);
    double done = sql_number(pg,
        "SELECT count(*) FROM webhook.change_events WHERE rescrape_status = 'completed'"
        " AND claim_epoch = 1 AND starts = 0 AND claimed_by = '" OWNER "'"
        " AND indexed_at IS NOT NULL AND finished_at IS NOT NULL AND scrape_seq > accept_seq"
        " AND metadata = '{\"title\": \"a page\", \"document_id\": \"d\"}'");
    double rows = sql_number(pg, "SELECT count(*) FROM webhook.change_events");
    double docs = sql_number(pg,
        "SELECT count(*) FROM webhook.documents d JOIN webhook.change_events c USING (event_id)"
        " WHERE d.scrape_seq = c.scrape_seq AND d.claim_epoch = 1 AND d.url = c.watch_url"
        "  AND length(d.search) > 0");
    PQfinish(pg);
    if (done != nevents || rows != nevents + options.history)
        die("%s: %d events went in, %.0f are completed exactly once; %.0f rows in all", way,
            nevents, done, rows);
    if (docs != (documents ? nevents : 0))
        die("%s: %d events, but %.0f documents", way, nevents, docs);
}

/* --- one row a transaction: one connection, one statement and commit after the other ------- */

static PGresult *run_row(PGconn *pg, const char *name, int n, const char *const *values)
{
    PGresult *res = checked(pg, PQexecPrepared(pg, name, n, values, NULL, NULL, 0), name);
    if (strcmp(PQcmdTuples(res), "1") != 0)
        die("one row a transaction, %s: %s rows instead of 1", name, PQcmdTuples(res));
    return res;
}

/* clang-format off */
#define CLAIM                                                                                      \
    "UPDATE webhook.change_events c SET rescrape_status = 'in_progress',"                          \
    "  rescrape_job_id = event_id::text, claim_epoch = coalesce(claim_epoch, 0) + 1,"              \
    "  starts = coalesce(starts, 0) + 1, claimed_by = $2, claimed_at = clock_timestamp(),"         \
    "  next_attempt_at = NULL, scrape_seq = nextval('webhook.scrape_clock')"                       \
    " WHERE event_id = $1::uuid AND rescrape_status = 'queued'"
#define FREE                                                                                       \
    "  AND (next_attempt_at IS NULL OR next_attempt_at <= now())"                                  \
    "  AND EXISTS (SELECT FROM webhook.workers WHERE id = $2 AND dead_at IS NULL)"                 \
    "  AND NOT EXISTS (SELECT FROM webhook.change_events o WHERE o.url_key = c.url_key"            \
    "    AND o.watch_url = c.watch_url AND o.rescrape_status IN ('queued', 'in_progress')"         \
    "    AND o.rescrape_status IS NOT DISTINCT FROM 'in_progress' AND o.id <> c.id)"
#define COMPLETION                                                                                 \
    "UPDATE webhook.change_events SET rescrape_status = 'completed', indexed_at = now(),"          \
    "  finished_at = now(), starts = 0,"                                                           \
    "  metadata = coalesce(metadata, '{}'::jsonb) || $4::jsonb"                                    \
    " WHERE event_id = $1::uuid AND rescrape_status = 'in_progress'"                               \
    "  AND claim_epoch = $2::bigint AND claimed_by = $3"
#define WON "WITH won AS (" COMPLETION " RETURNING *)"
#define DOCUMENT                                                                                   \
    "INSERT INTO webhook.documents AS d (url_key, canonical_url, url, title, description,"         \
    "  language, text, content_hash, search, event_id, claim_epoch, scrape_seq)"                   \
    " SELECT sha256(convert_to($5, 'UTF8')), $5, $5, $6, $7, $8, $9,"                              \
    "  sha256(convert_to($9, 'UTF8')), setweight(to_tsvector('simple', $6), 'A')"                  \
    "  || setweight(to_tsvector('simple', $7), 'B')"                                               \
    "  || setweight(to_tsvector('simple', $9), 'C'), event_id, claim_epoch, scrape_seq"            \
    " FROM won ON CONFLICT (url_key) DO UPDATE SET url = EXCLUDED.url,"                            \
    "  title = EXCLUDED.title, description = EXCLUDED.description,"                                \
    "  language = EXCLUDED.language, text = EXCLUDED.text,"                                        \
    "  content_hash = EXCLUDED.content_hash, search = EXCLUDED.search,"                            \
    "  event_id = EXCLUDED.event_id, claim_epoch = EXCLUDED.claim_epoch,"                          \
    "  scrape_seq = EXCLUDED.scrape_seq, scraped_at = now(),"                                      \
    "  changed_at = CASE WHEN d.content_hash = EXCLUDED.content_hash THEN d.changed_at"            \
    "    ELSE now() END"                                                                           \
    " WHERE d.scrape_seq < EXCLUDED.scrape_seq"
#define SUPERSEDED                                                                                 \
    ", superseded AS (UPDATE webhook.change_events c SET rescrape_status = 'superseded',"          \
    "  finished_at = now(), next_attempt_at = NULL, metadata = coalesce(c.metadata, '{}'::jsonb)"  \
    "    || jsonb_build_object('superseded_by', won.event_id)"                                     \
    "  FROM won WHERE c.url_key = won.url_key AND c.watch_url = won.watch_url"                     \
    "    AND c.rescrape_status = 'queued' AND c.accept_seq < won.scrape_seq)"

static const char *const row_statements[][2] = {
    {"lock", "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"},
    {"claim", CLAIM FREE " RETURNING claim_epoch"},
    {"complete", WON SUPERSEDED " SELECT FROM won"},
    {"complete_document", WON SUPERSEDED DOCUMENT},
    {"bare_claim", CLAIM " RETURNING claim_epoch"},
    {"bare_complete", COMPLETION},
    {"bare_complete_document", WON DOCUMENT},
};
/* clang-format on */

static void prepare_rows(PGconn *pg)
{
    for (size_t i = 0; i < sizeof(row_statements) / sizeof(*row_statements); i++)
        PQclear(checked(pg, PQprepare(pg, row_statements[i][0], row_statements[i][1], 0, NULL),
            row_statements[i][0]));
}

/* T1 is a transaction of its own: whoever claims another event of this URL waits for it. */
static PGresult *claim_row(PGconn *pg, const char *id, const char *url, bool bare)
{
    const char *const values[] = {id, OWNER};
    if (bare)
        return run_row(pg, "bare_claim", 2, values);
    sql(pg, "BEGIN");
    PQclear(run_row(pg, "lock", 1, &url));
    PGresult *res = run_row(pg, "claim", 2, values);
    sql(pg, "COMMIT");
    return res;
}

static void one_row(PGconn *pg, int i, bool bare)
{
    static const char *const complete[2][2] = {
        {"complete",      "complete_document"     },
        {"bare_complete", "bare_complete_document"}
    };
    char id[UUID_STRLEN + 1], epoch[24];
    const char *url = events[i].watch_url;

    uuid_format(&events[i].id, id);
    PGresult *res = claim_row(pg, id, url, bare);
    snprintf(epoch, sizeof(epoch), "%s", db_text(res, 0, 0));
    PQclear(res);
    const char *const values[] = {id, epoch, OWNER, "{\"document_id\": \"d\"}", url, "A page",
        "What it says", "en", texts[i]};
    PQclear(run_row(pg, complete[bare][texts[i] != NULL], texts[i] ? 9 : 4, values));
}

/* --- our way: one process's loop, pool and store, as a worker has them -------------------- */

struct ours {
    struct config cfg;
    struct loop *loop;
    struct offload *offload;
    struct dbpool *pool;
    struct store *store;
    int next, active;
};

struct job { /* one of those that a worker process has in hand at once */
    struct ours *ours;
    int event;
    struct store_claim claim;
    struct store_complete complete;
};

static void must_be_ok(enum hl_rc rc, const struct hl_err *err, const char *what)
{
    if (rc != HL_OK)
        die("our way, %s: rc %d: %s", what, (int)rc, err ? err->msg : "lost");
}

static void next_event(struct job *j);

static void completed(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    must_be_ok(rc, err, "completion");
    next_event(j);
}

static void claimed(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct job *j = req->ctx;
    const struct change_event *ev = &events[j->event];

    must_be_ok(rc, err, "claim");
    if (j->claim.state != CLAIM_OK)
        die("our way: event %d was not claimed: state %d", j->event, (int)j->claim.state);
    j->complete = (struct store_complete){
        .req = {.done = completed, .ctx = j},
        .ev = ev,
        .epoch = j->claim.epoch,
        .metadata = "{\"document_id\": \"d\"}",
        .doc = { .canonical_url = ev->watch_url,
                .url = ev->watch_url,
                .title = "A page",
                .description = "What it says",
                .language = "en",
                .text = texts[j->event]}
    };
    store_complete(j->ours->store, &j->complete);
}

static void next_event(struct job *j)
{
    struct ours *o = j->ours;
    if (o->next == nevents) {
        if (--o->active == 0)
            loop_stop(o->loop);
        return;
    }
    j->event = o->next++;
    j->claim = (struct store_claim){
        .req = {.done = claimed, .ctx = j},
          .ev = &events[j->event]
    };
    store_claim(o->store, &j->claim);
}

static void registered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct ours *o = ctx;
    (void)rows;
    must_be_ok(rc, err, "registration");
    loop_stop(o->loop);
}

static void ours_open(struct ours *o)
{
    char url[300];
    struct buf faults = {0};
    struct hl_err err;

    *o = (struct ours){0};
    snprintf(url, sizeof(url), "WEBHOOK_DATABASE_URL=%s", options.url);
    if (config_load(&o->cfg, CFG_CTL, NULL, (char *[]){url, NULL}, &faults) != HL_OK)
        die("%s", buf_str(&faults));
    buf_release(&faults);
    o->loop = loop_new(&err);
    o->offload = o->loop ? offload_new(o->loop, &err) : NULL;
    struct db_conf conf = connect_db_conf(&o->cfg, "bench-postgres");
    o->pool = o->offload ? dbpool_new(o->loop, o->offload, &conf, &err) : NULL;
    if (!o->pool)
        die("%s", err.msg);
    o->store = store_new(o->loop, o->pool, OWNER, 0);
    store_register(o->store, registered, o);
    loop_run(o->loop);
}

static void ours_run(struct ours *o, int njobs)
{
    struct job *jobs = mem_array((size_t)njobs, sizeof(*jobs));
    o->active = njobs;
    for (int i = 0; i < njobs; i++) {
        jobs[i].ours = o;
        next_event(&jobs[i]);
    }
    if (o->active)
        loop_run(o->loop);
    free(jobs);
}

static void ours_close(struct ours *o)
{
    dbpool_free(o->pool);
    store_free(o->store);
    offload_free(o->offload);
    loop_free(o->loop);
    config_release(&o->cfg);
}

/* --- what the server and we spent -------------------------------------------------------- */

struct reading {
    double commits, wal, server_cpu_us, client_cpu_us;
};

static double cpu_us_of(int pid)
{
    char path[64], line[1024];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0; /* it has ended */
    const char *rest = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
    if (rest)
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    fclose(f);
    return (double)(user + kernel) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static void read_cpu(PGconn *beside, struct reading *r)
{
    struct rusage self;
    PGresult *res = checked(beside, PQexec(beside, "SELECT pid FROM pg_stat_activity"), "pids");
    r->server_cpu_us = 0;
    for (int i = 0; i < PQntuples(res); i++)
        r->server_cpu_us += cpu_us_of((int)db_int(res, i, 0));
    PQclear(res);
    getrusage(RUSAGE_SELF, &self);
    r->client_cpu_us = (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec) * 1e6 +
                       (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec);
}

static double read_wal(PGconn *beside)
{
    return sql_number(beside, "SELECT pg_current_wal_insert_lsn() - '0/0'");
}

/* A backend hands in its statistics before it leaves pg_stat_activity. */
static double read_commits(PGconn *beside)
{
    int64_t end = clock_mono_ms() + SETTLE_MS;
    while (sql_number(beside, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'hookline'"
                              " AND backend_type = 'client backend'") > 0) {
        if (clock_mono_ms() > end)
            die("the connections of a cell did not end within %d ms", SETTLE_MS);
        usleep(2000);
    }
    return sql_number(
        beside, "SELECT xact_commit FROM pg_stat_database WHERE datname = 'hookline'");
}

/* --- cells ------------------------------------------------------------------------------- */

enum way { BARE_ROW, ONE_ROW, OURS, NWAYS };
static const char *const way_names[NWAYS] = {
    [BARE_ROW] = "bare_row", [ONE_ROW] = "one_row", [OURS] = "hookline"};

enum measure { RATE, COMMITS, WAL, SERVER_CPU, CLIENT_CPU, NMEASURES };
static const char *const measure_names[NMEASURES] = {[RATE] = "events_per_second",
    [COMMITS] = "commits_per_event",
    [WAL] = "wal_bytes_per_event",
    [SERVER_CPU] = "server_cpu_us_per_event",
    [CLIENT_CPU] = "client_cpu_us_per_event"};

/* clang-format off */
static struct cell { /* our way and, each time right before it, the others */
    bool documents;
    int jobs;
    int first;         /* events of our round that sets the pace */
    int events[NWAYS]; /* of the rounds that count */
    double rounds[NWAYS][NMEASURES][MAX_ROUNDS];
    double ratio[NWAYS][MAX_ROUNDS]; /* our rate to that one's */
} cells[] = {
    {.jobs = 1, .first = 500},
    {.jobs = 64, .first = 8000},
    {.jobs = 1024, .first = 8000},
    {.documents = true, .jobs = 1, .first = 500},
    {.documents = true, .jobs = 64, .first = 4000},
    {.documents = true, .jobs = 1024, .first = 4000},
};
/* clang-format on */
enum { NCELLS = sizeof(cells) / sizeof(*cells), FIRST_ROWS = 500 };

static double run_rows(PGconn *beside, bool bare, struct reading *before, struct reading *after)
{
    PGconn *pg = connect_to(options.url);
    prepare_rows(pg);
    sql(pg, "INSERT INTO webhook.workers (id, host, pid) VALUES ('" OWNER "', 'bench', 1)");
    read_cpu(beside, before);
    int64_t start = clock_mono_us();
    for (int i = 0; i < nevents; i++)
        one_row(pg, i, bare);
    double seconds = (double)(clock_mono_us() - start) / 1e6;
    read_cpu(beside, after);
    PQfinish(pg);
    return seconds;
}

static double run_ours(PGconn *beside, int jobs, struct reading *before, struct reading *after)
{
    struct ours o;
    ours_open(&o);
    read_cpu(beside, before);
    int64_t start = clock_mono_us();
    ours_run(&o, jobs);
    double seconds = (double)(clock_mono_us() - start) / 1e6;
    read_cpu(beside, after);
    ours_close(&o);
    return seconds;
}

static void run_cell(enum way way, int n, const struct cell *p, double out[NMEASURES])
{
    struct reading before, after;
    PGconn *beside = connect_to(options.beside);

    prepare_events(n, p->documents);
    before.commits = read_commits(beside);
    before.wal = read_wal(beside);
    double seconds = way == OURS ? run_ours(beside, p->jobs, &before, &after)
                                 : run_rows(beside, way == BARE_ROW, &before, &after);
    after.wal = read_wal(beside);
    after.commits = read_commits(beside);
    PQfinish(beside);
    verify_events(way_names[way], p->documents);
    out[RATE] = n / seconds;
    out[COMMITS] = (after.commits - before.commits) / n;
    out[WAL] = (after.wal - before.wal) / n;
    out[SERVER_CPU] = (after.server_cpu_us - before.server_cpu_us) / n;
    out[CLIENT_CPU] = (after.client_cpu_us - before.client_cpu_us) / n;
}

static void set_pace(struct cell *p)
{
    for (int way = 0; way < NWAYS; way++) {
        double got[NMEASURES];
        run_cell((enum way)way, way == OURS ? p->first : FIRST_ROWS, p, got);
        double n = got[RATE] * options.seconds;
        p->events[way] = n < MIN_EVENTS ? MIN_EVENTS : n > MAX_EVENTS ? MAX_EVENTS : (int)n;
    }
}

static void run_round(struct cell *p, int round)
{
    for (int way = 0; way < NWAYS; way++) {
        double got[NMEASURES];
        run_cell((enum way)way, p->events[way], p, got);
        for (int m = 0; m < NMEASURES; m++)
            p->rounds[way][m][round] = got[m];
    }
    for (int way = 0; way < NWAYS; way++)
        p->ratio[way][round] = p->rounds[OURS][RATE][round] / p->rounds[way][RATE][round];
    fprintf(stderr,
        "round %d, %-14s %4d jobs: %6.0f /s; one row a transaction %6.0f /s, %.2f times; bare "
        "%6.0f /s, %.2f times\n",
        round + 1, p->documents ? "2 kB documents" : "no document", p->jobs,
        p->rounds[OURS][RATE][round], p->rounds[ONE_ROW][RATE][round], p->ratio[ONE_ROW][round],
        p->rounds[BARE_ROW][RATE][round], p->ratio[BARE_ROW][round]);
}

/* --- what came out ----------------------------------------------------------------------- */

struct spread {
    double median, min, max;
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread spread_of(const double *rounds)
{
    double sorted[MAX_ROUNDS];
    int n = options.rounds;
    memcpy(sorted, rounds, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_size);
    return (struct spread){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

static void print_table(void)
{
    printf("\nEvents a second through claim and completion; medians of %d rounds (min-max).\n"
           "one row: the same work, one row a transaction. bare: without one scrape per URL, "
           "living owners\nand superseding. commits, WAL (bytes), CPU (PostgreSQL's, "
           "microseconds): per event, hookline / one row / bare.\n\n"
           "%-8s %5s  %-22s %-18s %-19s %-18s %-19s %-18s %-18s %s\n",
        options.rounds, "document", "jobs", "hookline", "one row", "times", "bare", "times",
        "commits", "WAL", "CPU");
    for (int i = 0; i < NCELLS; i++) {
        const struct cell *p = &cells[i];
        struct spread s[NWAYS][NMEASURES];
        char rate[NWAYS][64], times[NWAYS][64], cost[3][64];
        for (int way = 0; way < NWAYS; way++) {
            struct spread t = spread_of(p->ratio[way]);
            for (int m = 0; m < NMEASURES; m++)
                s[way][m] = spread_of(p->rounds[way][m]);
            snprintf(rate[way], sizeof(rate[way]), "%.0f (%.0f-%.0f)", s[way][RATE].median,
                s[way][RATE].min, s[way][RATE].max);
            snprintf(times[way], sizeof(times[way]), "%.2f (%.2f-%.2f)", t.median, t.min, t.max);
        }
        snprintf(cost[0], sizeof(cost[0]), "%.4f/%.2f/%.2f", s[OURS][COMMITS].median,
            s[ONE_ROW][COMMITS].median, s[BARE_ROW][COMMITS].median);
        snprintf(cost[1], sizeof(cost[1]), "%.0f/%.0f/%.0f", s[OURS][WAL].median,
            s[ONE_ROW][WAL].median, s[BARE_ROW][WAL].median);
        snprintf(cost[2], sizeof(cost[2]), "%.0f/%.0f/%.0f", s[OURS][SERVER_CPU].median,
            s[ONE_ROW][SERVER_CPU].median, s[BARE_ROW][SERVER_CPU].median);
        printf("%-8s %5d  %-22s %-18s %-19s %-18s %-19s %-18s %-18s %s\n",
            p->documents ? "2 kB" : "none", p->jobs, rate[OURS], rate[ONE_ROW], times[ONE_ROW],
            rate[BARE_ROW], times[BARE_ROW], cost[0], cost[1], cost[2]);
    }
}

static void put_numbers(FILE *f, const char *name, const double *rounds)
{
    struct spread s = spread_of(rounds);
    fprintf(f, "\"%s\": {\"median\": %.4f, \"min\": %.4f, \"max\": %.4f, \"rounds\": [", name,
        s.median, s.min, s.max);
    for (int i = 0; i < options.rounds; i++)
        fprintf(f, "%s%.4f", i ? ", " : "", rounds[i]);
    fputs("]}", f);
}

static void write_json(void)
{
    FILE *f = fopen(options.json, "w");
    if (!f)
        die("cannot write %s: %m", options.json);
    fprintf(f, "{\"rounds\": %d, \"seconds\": %g, \"history\": %d, \"cells\": [", options.rounds,
        options.seconds, options.history);
    for (int i = 0; i < NCELLS; i++) {
        const struct cell *p = &cells[i];
        fprintf(f, "%s\n  {\"document_bytes\": %d, \"jobs\": %d,\n   ", i ? "," : "",
            p->documents ? DOC_BYTES : 0, p->jobs);
        put_numbers(f, "times_one_row", p->ratio[ONE_ROW]);
        fputs(",\n   ", f);
        put_numbers(f, "times_bare_row", p->ratio[BARE_ROW]);
        for (int way = 0; way < NWAYS; way++) {
            fprintf(f, ",\n   \"%s\": {\"events\": %d", way_names[way], p->events[way]);
            for (int m = 0; m < NMEASURES; m++) {
                fputs(",\n     ", f);
                put_numbers(f, measure_names[m], p->rounds[way][m]);
            }
            fputs("}", f);
        }
        fputs("}", f);
    }
    fputs("\n]}\n", f);
    if (fclose(f) != 0)
        die("cannot write %s: %m", options.json);
}

/* --- the program ------------------------------------------------------------------------- */

static void usage(FILE *to)
{
    fputs("usage: bench_postgres [--rounds N] [--seconds S] [--history N] [--json FILE]\n"
          "Measures claim and completion against one row a transaction. `make bench-postgres`\n"
          "gives it a PostgreSQL of its own: BENCH_DATABASE_URL is the migrated database (its\n"
          "rows are thrown away!), BENCH_BESIDE_URL another one of the same server.\n"
          "  --rounds N   rounds that count, 1 to 50 (default 5); one more sets the pace\n"
          "  --seconds S  how long each cell takes, about, 0.1 to 60 (default 1.5)\n"
          "  --history N  finished events in the table besides, 0 to 1000000 (default 20000)\n"
          "  --json FILE  writes every number there as well\n",
        to);
}

static void parse_options(int argc, char **argv)
{
    /* clang-format off */
    static const struct option known[] = {{"rounds", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'}, {"json", required_argument, NULL, 'j'},
        {"history", required_argument, NULL, 'y'}, {"help", no_argument, NULL, 'h'}, {0}};
    /* clang-format on */
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        if (c == 'h') {
            usage(stdout);
            exit(0);
        } else if (c == 'r') {
            options.rounds = atoi(optarg);
        } else if (c == 'y') {
            options.history = atoi(optarg);
        } else if (c == 's') {
            options.seconds = strtod(optarg, NULL);
        } else if (c == 'j') {
            options.json = optarg;
        } else {
            usage(stderr);
            exit(2);
        }
    }
    if (optind < argc || options.rounds < 1 || options.rounds > MAX_ROUNDS || options.history < 0 ||
        options.history > 1000000 || !(options.seconds >= 0.1 && options.seconds <= 60)) {
        usage(stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    options.url = getenv("BENCH_DATABASE_URL");
    options.beside = getenv("BENCH_BESIDE_URL");
    if (!options.url || !options.beside)
        die("BENCH_DATABASE_URL and BENCH_BESIDE_URL are not set; use `make bench-postgres`");
    for (int i = 0; i < NCELLS; i++)
        set_pace(&cells[i]);
    for (int round = 0; round < options.rounds; round++)
        for (int i = 0; i < NCELLS; i++)
            run_round(&cells[i], round);
    forget_events();
    print_table();
    if (options.json)
        write_json();
    return 0;
}
