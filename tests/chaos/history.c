/* history: see chaos.h. Triggers write down every change of every event and document, in the same
 * transaction and with the name of the connection that made it; the stand-in writes down every
 * scrape, the clients every answer. After the run all of it lies in schema chaos, and each check is
 * one query for what must not be there. */
#include "tests/chaos/chaos.h"

#include <dirent.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_NOTES = 16384, SHOWN = 3, OUTAGE_NOTE_US = 200000, LOG_MAX = 256 << 20 };

/* The writer is the application_name; PostgreSQL cuts names at 63 bytes. */
#define WRITER_OF(owner) "left('hookline-worker:' || " owner ", 63)"

static const char install_sql[] =
    "CREATE SCHEMA chaos;"
    "CREATE TABLE chaos.history (n bigserial PRIMARY KEY,"
    "  at timestamptz NOT NULL DEFAULT clock_timestamp(), what text, event_id uuid, url text,"
    "  writer text, old_status text, status text, old_epoch bigint, epoch bigint, old_owner text,"
    "  owner text, old_alive boolean, old_seq bigint, seq bigint, wrong boolean);"
    "CREATE INDEX ON chaos.history (event_id, n);"
    "CREATE TABLE chaos.posts (at timestamptz, key text, status integer, event_id uuid, url text,"
    "  begun bigint);"
    "CREATE TABLE chaos.scrapes (n bigint, at timestamptz, url text);"
    "CREATE TABLE chaos.scrape_ends (n bigint, at timestamptz, status integer);"
    "CREATE TABLE chaos.deaths (n bigint, at timestamptz, pid integer, how text);"
    "CREATE TABLE chaos.outages (at timestamptz);"

    "CREATE FUNCTION chaos.note_event() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
    "  INSERT INTO chaos.history (what, event_id, url, writer, old_status, status, old_epoch,"
    "    epoch, old_owner, owner, old_alive, old_seq, seq, wrong) VALUES ('event', NEW.event_id,"
    "    NEW.watch_url, current_setting('application_name'), OLD.rescrape_status,"
    "    NEW.rescrape_status, OLD.claim_epoch, NEW.claim_epoch, OLD.claimed_by, NEW.claimed_by,"
    "    EXISTS (SELECT FROM webhook.workers w WHERE w.id = OLD.claimed_by AND dead_at IS NULL),"
    "    OLD.scrape_seq, NEW.scrape_seq,"
    "    NEW.rescrape_status = 'in_progress' AND EXISTS (SELECT FROM webhook.change_events o"
    "      WHERE o.url_key = NEW.url_key AND o.id <> NEW.id"
    "        AND o.rescrape_status = 'in_progress'));"
    "  RETURN NULL; END $f$;"
    "CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON webhook.change_events"
    "  FOR EACH ROW EXECUTE FUNCTION chaos.note_event();"

    "CREATE FUNCTION chaos.note_document() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
    "  INSERT INTO chaos.history (what, event_id, url, writer, old_epoch, epoch, old_seq, seq,"
    "    wrong) VALUES ('document', NEW.event_id, NEW.canonical_url,"
    "    current_setting('application_name'),"
    "    CASE WHEN OLD.event_id = NEW.event_id THEN OLD.claim_epoch END, NEW.claim_epoch,"
    "    OLD.scrape_seq, NEW.scrape_seq,"
    "    NOT EXISTS (SELECT FROM webhook.change_events c WHERE c.event_id = NEW.event_id"
    "      AND c.rescrape_status = 'completed' AND c.claim_epoch = NEW.claim_epoch"
    "      AND " WRITER_OF(
        "c.claimed_by") " = current_setting('application_name')));"
                        "  RETURN NULL; END $f$;"
                        "CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON webhook.documents"
                        "  FOR EACH ROW WHEN (NEW.claim_epoch IS NOT NULL)"
                        "  EXECUTE FUNCTION chaos.note_document();";

void history_install(struct stack *s)
{
    sql_exec(s->db, "%s", install_sql);
    sql_exec(s->db, "%s", crawls_install_sql);
    sql_exec(s->db, "%s", operators_install_sql);
}

/* --- what the driver notes --------------------------------------------------------------- */

static struct {
    int64_t at;
    pid_t pid;
    const char *how; /* NULL = a store was away; "flush" */
} notes[MAX_NOTES];
static int nnotes;

static void note(pid_t pid, const char *how)
{
    if (nnotes == MAX_NOTES)
        return;
    notes[nnotes].at = wall_us();
    notes[nnotes].pid = pid;
    notes[nnotes++].how = how;
}

void history_death(pid_t pid, const char *how)
{
    note(pid, how);
}

void history_flush(void)
{
    note(0, "flush");
}

/* Not each time: the driver looks fifty times a second. */
void history_outage(void)
{
    static int64_t last;
    int64_t now = wall_us();
    if (now - last < OUTAGE_NOTE_US)
        return;
    last = now;
    note(0, NULL);
}

static bool crash_noted(pid_t pid)
{
    for (int i = 0; i < nnotes; i++)
        if (notes[i].how && strcmp(notes[i].how, "crash") == 0 && notes[i].pid == pid)
            return true;
    return false;
}

/* --- loading ----------------------------------------------------------------------------- */

static PGconn *open_db(struct stack *s)
{
    PGconn *c = PQconnectdb(s->db);
    if (PQstatus(c) != CONNECTION_OK)
        harness_fail("%s", PQerrorMessage(c));
    return c;
}

void history_copy(struct stack *s, const char *into, const struct buf *text)
{
    PGconn *c = open_db(s);
    char *sql = mem_printf("COPY chaos.%s FROM STDIN", into);
    PGresult *r = PQexec(c, sql);
    bool good = PQresultStatus(r) == PGRES_COPY_IN &&
                PQputCopyData(c, text->len ? text->data : "", (int)text->len) == 1 &&
                PQputCopyEnd(c, NULL) == 1;
    PQclear(r);
    r = PQgetResult(c);
    if (!good || PQresultStatus(r) != PGRES_COMMAND_OK)
        harness_fail("%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    free(sql);
}

static void put_time(struct buf *b, int64_t us)
{
    char text[40];
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    buf_printf(b, "%s.%06d+00", text, (int)(us % 1000000));
}

static void load_posts(struct stack *s, const struct load *l)
{
    struct buf out = {0};
    char key[64], event[64], path[160];
    for (int i = 0; l && i < CLIENTS; i++) {
        char *text = harness_slurp(l->files[i], 64 << 20), *rest;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            long long begun, at;
            int status;
            if (sscanf(line, "%lld\t%lld\t%63[^\t]\t%d\t%63[^\t]\t%159s", &begun, &at, key, &status,
                    event, path) != 6)
                harness_fail("a client wrote: %s", line);
            put_time(&out, at);
            buf_printf(&out, "\t%s\t%d\t%s\thttp://page.test%s\t%lld\n", key, status,
                strcmp(event, "-") == 0 ? "\\N" : event, path, begun);
        }
        free(text);
    }
    history_copy(s, "posts", &out);
    buf_release(&out);
}

static void load_scrapes(struct stack *s)
{
    struct buf starts = {0}, ends = {0};
    char word[16], last[256], *text = harness_slurp(s->scrapes, 64 << 20), *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        long long n, at;
        if (sscanf(line, "%15[^\t]\t%lld\t%lld\t%255s", word, &n, &at, last) != 4)
            harness_fail("the stand-in wrote: %s", line);
        struct buf *to = strcmp(word, "start") == 0 ? &starts : &ends;
        buf_printf(to, "%lld\t", n);
        put_time(to, at);
        buf_printf(to, "\t%s\n", last);
    }
    free(text);
    history_copy(s, "scrapes", &starts);
    history_copy(s, "scrape_ends", &ends);
    buf_release(&starts);
    buf_release(&ends);
}

static void load_notes(struct stack *s)
{
    struct buf deaths = {0}, outages = {0}, flushes = {0};
    for (int i = 0; i < nnotes; i++) {
        struct buf *to = notes[i].how ? &deaths : &outages;
        if (notes[i].how && strcmp(notes[i].how, "flush") == 0) {
            buf_printf(&flushes, "%lld\n", (long long)notes[i].at);
            continue;
        }
        if (notes[i].how)
            buf_printf(to, "%d\t", i);
        put_time(to, notes[i].at);
        if (notes[i].how)
            buf_printf(to, "\t%d\t%s", (int)notes[i].pid, notes[i].how);
        buf_putc(to, '\n');
    }
    history_copy(s, "deaths", &deaths);
    history_copy(s, "outages", &outages);
    history_copy(s, "flushes", &flushes);
    buf_release(&flushes);
    buf_release(&deaths);
    buf_release(&outages);
}

/* --- the checks -------------------------------------------------------------------------- */

static const struct check checks[] = {
    {"a 202 without a row",
     "SELECT DISTINCT p.event_id || ' key ' || p.key FROM chaos.posts p WHERE p.status = 202"
        " AND NOT EXISTS (SELECT FROM webhook.change_events c WHERE c.event_id = p.event_id)", IS_LOST,          false},
    {"a 202 without an event id",
     "SELECT key FROM chaos.posts WHERE status = 202"
        " AND event_id IS NULL",                                                               IS_LOST,          false},
    {"an answer nobody foresaw",
     "SELECT key || ' ' || status FROM chaos.posts"
        " WHERE status NOT IN (0, 202, 409, 503)",                                             JUST_A_VIOLATION, false},
    {"one key, several rows",
     "SELECT watch_id || ': ' || count(*) FROM webhook.change_events"
        " WHERE EXISTS (SELECT FROM chaos.posts) GROUP BY watch_id HAVING count(*) > 1",       IS_DOUBLED,       true },
    {"more rows of a key than it was posted",
     "SELECT c.watch_id FROM (SELECT watch_id, count(*) FROM webhook.change_events"
        "   WHERE watch_id ~ '^c[0-9]' GROUP BY 1) c"
        " LEFT JOIN (SELECT key, count(*) FROM chaos.posts GROUP BY 1) p ON p.key = c.watch_id"
        /* + 1: a client that was told to stop did not note its last */
        " WHERE c.count > coalesce(p.count, 0) + 1",                                           IS_DOUBLED,       false},
    {"an event that does not end",
     "SELECT event_id || ' ' || rescrape_status || ' epoch ' || claim_epoch || ' '"
        " || coalesce(claimed_by, '-') || ' ' || watch_url FROM webhook.change_events"
        " WHERE rescrape_status IN ('queued', 'in_progress')",                                 JUST_A_VIOLATION, false},
    {"a row written by an older epoch",
     "SELECT event_id || ' ' || old_epoch || ' -> ' || epoch FROM chaos.history"
        " WHERE what = 'event' AND epoch < old_epoch",                                         JUST_A_VIOLATION, false},
    {"a finished event that changes",
     "SELECT event_id || ' ' || old_status || ' -> ' || status || ' by ' || writer"
        " FROM chaos.history WHERE what = 'event'"
        " AND old_status NOT IN ('queued', 'in_progress')"
        " AND (status <> old_status OR epoch <> old_epoch)"
        /* an operator puts failed ones back, or has a producer do it */
        " AND NOT ((writer = 'hooklinectl' OR writer LIKE 'hookline-producer%')"
        "   AND old_status LIKE 'failed%' AND status = 'queued')",                             JUST_A_VIOLATION, false},
    {"an event taken from its living owner",
     "SELECT event_id || ' of ' || old_owner || ' by ' || writer || ' -> ' || status"
        " FROM chaos.history WHERE what = 'event' AND old_status = 'in_progress' AND old_alive"
        " AND writer <> " WRITER_OF("old_owner") " AND (status <> 'in_progress' OR owner <> "
                                                 "old_owner OR epoch <> old_epoch)",           JUST_A_VIOLATION, false},
    {"a result by a worker that does not own the event",
     "SELECT event_id || ' of ' || coalesce(old_owner, '-') || ' by ' || writer || ' -> '"
        " || status FROM chaos.history WHERE what = 'event' AND old_status IS NOT NULL"
        " AND status NOT IN ('in_progress', 'superseded') AND status <> old_status"
        " AND writer LIKE 'hookline-worker:%-%'"
        " AND (old_status <> 'in_progress' OR writer <> " WRITER_OF("old_owner") ")",
     JUST_A_VIOLATION,                                                                                           false},
    {"two claims of one page at once",
     "SELECT event_id || ' ' || url FROM chaos.history WHERE what = 'event' AND wrong",        JUST_A_VIOLATION, false},
    {"an older fetch over a newer document",
     "SELECT url || ' ' || old_seq || ' -> ' || seq FROM chaos.history"
        " WHERE what = 'document' AND seq <= old_seq",                                         JUST_A_VIOLATION, false},
    {"a document of an older epoch, or of a claim that was lost",
     "SELECT event_id || ' epoch ' || epoch || ' by ' || writer FROM chaos.history"
        " WHERE what = 'document' AND (wrong OR epoch < old_epoch)",                           JUST_A_VIOLATION, false},
    {"a scrape without a claim of its own",
     "SELECT url || ' at ' || at FROM (SELECT url, at,"
        "   sum(claim) OVER (PARTITION BY url ORDER BY at, claim DESC) AS claims,"
        "   sum(1 - claim) OVER (PARTITION BY url ORDER BY at, claim DESC) AS scrapes, claim"
        "  FROM (SELECT url, at, 1 AS claim FROM chaos.history WHERE what = 'event'"
        "      AND status = 'in_progress' AND (old_status <> status OR epoch <> old_epoch)"
        "    UNION ALL SELECT url, at, 0 FROM chaos.scrapes) x) y"
        " WHERE claim = 0 AND scrapes > claims",                                               JUST_A_VIOLATION, false},
    {"a scrape that Firecrawl would refuse",
     "SELECT e.n || ' ' || s.url FROM chaos.scrape_ends e JOIN chaos.scrapes s USING (n)"
        " WHERE e.status IN (400, 401)",                                                       JUST_A_VIOLATION, false},
    {"a completed event without a document as new as its fetch",
     "SELECT c.event_id || ' ' || c.watch_url FROM webhook.change_events c"
        " WHERE c.rescrape_status = 'completed' AND NOT EXISTS (SELECT FROM webhook.documents d"
        "   WHERE d.url_key = sha256(convert_to(split_part(c.watch_url, '#', 1), 'UTF8'))"
        "     AND d.scrape_seq >= c.scrape_seq)",                                              JUST_A_VIOLATION, false},
    {"an event condemned that crashed no solo process",
     "SELECT c.event_id || ' ' || c.rescrape_status FROM webhook.change_events c"
        " WHERE c.rescrape_status LIKE 'failed: crashed%' AND NOT EXISTS (SELECT FROM"
        "   webhook.worker_crashes d WHERE d.role = 'solo' AND d.blamed AND d.held @>"
        "   jsonb_build_array(jsonb_build_object('event_id', c.event_id)))",                   JUST_A_VIOLATION, false},
    {"an event superseded by no later fetch",
     "SELECT q.event_id || ' ' || q.watch_url FROM webhook.change_events q"
        " WHERE q.rescrape_status = 'superseded' AND NOT EXISTS (SELECT FROM"
        "   webhook.change_events c WHERE c.watch_url = q.watch_url"
        "   AND c.rescrape_status = 'completed' AND c.scrape_seq > q.accept_seq)",             JUST_A_VIOLATION, false},
};

void verdict_add(struct verdict *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    v->violations++;
    buf_puts(&v->text, "VIOLATION  ");
    buf_vprintf(&v->text, fmt, ap);
    buf_putc(&v->text, '\n');
    va_end(ap);
}

static void run_check(PGconn *c, const struct check *k, struct verdict *v)
{
    PGresult *r = PQexec(c, k->sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        harness_fail("check \"%s\": %s", k->name, PQerrorMessage(c));
    int n = PQntuples(r);
    if (k->tally == IS_LOST)
        v->lost += n;
    else if (k->tally == IS_DOUBLED)
        v->doubled += n;
    if (n)
        verdict_add(v, "%s: %d", k->name, n);
    for (int i = 0; i < n && i < SHOWN; i++)
        buf_printf(&v->text, "           %s\n", PQgetvalue(r, i, 0));
    PQclear(r);
}

/* --- crashes that nobody brought about ---------------------------------------------------- */

/* As the supervisor's log tells of a child; or a sanitizer of its process. A hung one is aborted. */
static bool tells_of_crash(const char *line)
{
    static const char *const signs[] = {"\"signal\":\"Segmentation fault\"",
        "\"signal\":\"Aborted\",\"hung\":false", "\"signal\":\"Bus error\"",
        "\"signal\":\"Floating point exception\"", "\"signal\":\"Illegal instruction\"",
        "AddressSanitizer:", "runtime error:"};
    const char *child = strstr(line, "\"child\":");
    if (strstr(line, "\"unready\":true") ||
        (child && crash_noted((pid_t)atoi(child + strlen("\"child\":")))))
        return false;
    for (size_t i = 0; i < COUNT(signs); i++)
        if (strstr(line, signs[i]))
            return true;
    return false;
}

static void read_log(const char *path, struct verdict *v)
{
    char *text = harness_slurp(path, LOG_MAX), *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (tells_of_crash(line))
            verdict_add(v, "a crash that nobody brought about: %s\n           %s", path, line);
    free(text);
}

static void read_logs(struct stack *s, struct verdict *v)
{
    DIR *d = opendir(s->dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, "hookline-", 9) == 0)
            read_log(harness_text("%s/%s", s->dir, e->d_name), v);
    if (d)
        closedir(d);
}

/* --- recovery ---------------------------------------------------------------------------- */

/* What a process held when it was killed, and when it was free and in progress again. Where
 * a store was away meanwhile that would be measured instead: such jobs are left out. */
static const char recovery_sql[] =
    "WITH held AS (SELECT d.at, h.event_id, h.n, h.owner FROM chaos.deaths d CROSS JOIN LATERAL ("
    "    SELECT DISTINCT ON (event_id) event_id, n, status, owner FROM chaos.history"
    "    WHERE what = 'event' AND at <= d.at ORDER BY event_id, n DESC) h"
    "  WHERE d.how = '%s' AND h.status = 'in_progress' AND h.owner LIKE '%%-' || d.pid || '-%%'"
    "), again AS (SELECT h.*,"
    "    (SELECT min(x.at) FROM chaos.history x WHERE x.event_id = h.event_id AND x.n > h.n"
    "      AND x.writer <> " WRITER_OF(
        "h.owner") ") AS freed,"
                   "    (SELECT min(x.at) FROM chaos.history x WHERE x.event_id = h.event_id AND "
                   "x.n > h.n"
                   "      AND x.status = 'in_progress') AS runs"
                   "  FROM held h)"
                   "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch "
                   "FROM runs - at)), max(extract(epoch FROM runs - at)),"
                   "  percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM freed - at)), "
                   "max(extract(epoch FROM freed - at)) FROM again"
                   " WHERE runs IS NOT NULL AND NOT EXISTS (SELECT FROM chaos.outages o"
                   "   WHERE o.at BETWEEN again.at - interval '1 s' AND runs)";

static void measure(PGconn *c, const char *how, struct recovery *out)
{
    char *sql = mem_printf(recovery_sql, how);
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        harness_fail("recovery: %s", PQerrorMessage(c));
    out->jobs = atol(PQgetvalue(r, 0, 0));
    out->median_ms = atof(PQgetvalue(r, 0, 1)) * 1000;
    out->worst_ms = atof(PQgetvalue(r, 0, 2)) * 1000;
    out->median_free_ms = atof(PQgetvalue(r, 0, 3)) * 1000;
    out->worst_free_ms = atof(PQgetvalue(r, 0, 4)) * 1000;
    PQclear(r);
    free(sql);
}

static long count(struct stack *s, const char *what)
{
    return sql_int(s->db, "SELECT count(*) FROM %s", what);
}

void history_check(struct stack *s, const struct load *l, bool keys, struct verdict *v)
{
    load_posts(s, l);
    if (l)
        crawls_load(s, l->files + CLIENTS, CRAWLERS);
    load_scrapes(s);
    load_notes(s);
    PGconn *c = open_db(s);
    for (size_t i = 0; i < COUNT(checks); i++)
        if (keys || !checks[i].needs_keys)
            run_check(c, &checks[i], v);
    for (const struct check *k = crawl_checks; k->name; k++)
        run_check(c, k, v);
    for (const struct check *k = operator_checks; k->name; k++)
        run_check(c, k, v);
    for (const struct check *k = viewer_checks; k->name; k++)
        run_check(c, k, v);
    read_logs(s, v);
    measure(c, "process", &v->process);
    measure(c, "host", &v->host);
    PQfinish(c);
    v->posted = count(s, "chaos.posts");
    v->accepted = count(s, "(SELECT DISTINCT event_id FROM chaos.posts WHERE status = 202) x");
    v->duplicates = count(s, "chaos.posts WHERE status = 202") - v->accepted;
    v->conflicts = count(s, "chaos.posts WHERE status = 409");
    v->refused = count(s, "chaos.posts WHERE status = 503");
    v->unanswered = count(s, "chaos.posts WHERE status = 0");
    v->rows = count(s, "webhook.change_events");
    v->crawls = count(s, "webhook.crawl_sessions");
    v->crawl_posts = count(s, "chaos.crawl_posts");
    v->crawl_accepted =
        count(s, "(SELECT DISTINCT event_id FROM chaos.crawl_posts WHERE status IN (200, 202)) x");
    v->crawl_waited = sql_int(s->db,
        "SELECT coalesce(max(extract(epoch FROM t.at) * 1000"
        " - p.begun / 1000), 0)::bigint FROM chaos.crawl_stored t JOIN (SELECT event_id,"
        "   min(begun) AS begun FROM chaos.crawl_posts WHERE status IN (200, 202)"
        "   AND begun > coalesce((SELECT max(at) FROM chaos.flushes), 0) GROUP BY 1) p"
        " USING (event_id)");
    v->put_back = count(s, "chaos.history WHERE what = 'event' AND status = 'queued'"
                           " AND old_status LIKE 'failed%%' AND writer LIKE 'hookline-producer%%'");
    v->crawl_events = count(s, "webhook.crawl_events");
    v->crawl_pages = count(s, "webhook.crawl_pages");
}
