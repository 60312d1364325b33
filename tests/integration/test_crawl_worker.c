/* Crawl jobs in the real worker fleet: what Firecrawl's events leave in PostgreSQL, once, whoever dies
 * meanwhile; and what becomes of those that can never be done. The jobs are put into Redis as the
 * producer puts them there. */
#include "base/buf.h"
#include "base/crawl_job.h"
#include "base/mem.h"
#include "domain/queue.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(crawl_worker, .timeout = 120);

enum { SOON = 30000, PAGES = 200, MIB = 1024 * 1024 };

#define STREAM "{hookline}:q:crawl"
#define CRAWL  "crawl-1"

/* --- publishing, as the producer does ----------------------------------------------------- */

static struct loop *loop;

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    (void)req;
    cr_assert_eq(rc, HL_OK, "%s", err ? err->msg : "");
    loop_stop(loop);
}

static enum queue_seen put_bytes(
    struct rig *r, const struct uuid *id, const void *bytes, size_t len, const uint8_t *digest)
{
    struct hl_err err = {0};
    loop = loop_new(&err);
    struct offload *offload = loop ? offload_new(loop, &err) : NULL;
    cr_assert(offload, "%s", err.msg);
    const struct redis_conf conf = {.url = test_redis_url(r->redis),
        .client_name = "test",
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 10000,
        .max_pending = 100};
    struct redis *redis = redis_new(loop, offload, &conf, &err);
    struct queue *queue = queue_new(loop, redis, "hookline", QUEUE_CRAWL, NULL);
    struct queue_req req = {
        .id = *id, .job = bytes, .len = len, .digest = digest, .done = published};
    queue_do(queue, QUEUE_PUBLISH, &req);
    loop_run(loop);
    redis_free(redis);
    queue_free(queue);
    offload_free(offload);
    loop_free(loop);
    return req.was;
}

static struct uuid number(int n)
{
    struct uuid id;
    char text[40];
    snprintf(text, sizeof(text), "00000000-0000-7000-8000-%012d", n);
    cr_assert(uuid_parse(text, &id));
    return id;
}

static struct uuid event_id(void)
{
    static int n;
    return number(++n);
}

/* Takes body, of malloc. */
static struct uuid put_body(struct rig *r, char *body)
{
    struct crawl_job j = {.id = event_id(),
        .received_at = INT64_C(1767323045123456),
        .body = body,
        .len = strlen(body)};
    struct buf bytes = {0};
    digest_sha256(j.body, j.len, j.digest);
    crawl_job_encode(&j, &bytes);
    cr_assert_eq(put_bytes(r, &j.id, bytes.data, bytes.len, j.digest), QUEUE_NEW);
    struct uuid id = j.id;
    buf_release(&bytes);
    crawl_job_release(&j);
    return id;
}

static struct uuid put_event(struct rig *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static struct uuid put_event(struct rig *r, const char *fmt, ...)
{
    char *body = NULL;
    va_list ap;
    va_start(ap, fmt);
    cr_assert_geq(vasprintf(&body, fmt, ap), 0);
    va_end(ap);
    return put_body(r, body);
}

#define ENVELOPE "{\"success\":true,\"type\":\"crawl.%s\",\"id\":\"" CRAWL "\""
#define DOCUMENT                                                                                   \
    "{\"markdown\":\"%s\",\"metadata\":{\"url\":\"https://site.test/%s\",\"statusCode\":%d,"       \
    "\"title\":\"T\",\"scrapeId\":\"s-%s\"}}"

static void put_page(struct rig *r, const char *path, int status, const char *text)
{
    put_event(r, ENVELOPE ",\"data\":[" DOCUMENT "]}", "page", text, path, status, path);
}

static void put_started(struct rig *r)
{
    put_event(
        r, ENVELOPE ",\"metadata\":{\"url\":\"https://site.test/\",\"team\":\"blue\"}}", "started");
}

static void put_completed(struct rig *r)
{
    put_event(r, ENVELOPE "}", "completed");
}

/* Does not compress. */
static char *noise(size_t len)
{
    char *text = mem_alloc(len + 1);
    uint32_t x = 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = i % 12 == 11
                      ? ' '
                      : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[x >> 26];
    }
    text[len] = '\0';
    return text;
}

/* --- looking ------------------------------------------------------------------------------ */

static long pending(struct rig *r)
{
    return redis_int(r->redis, "EXISTS " STREAM)
               ? atol(redis_text(r->redis, "XPENDING " STREAM " workers"))
               : 0;
}

static bool nothing_left(struct rig *r)
{
    return redis_int(r->redis, "XLEN " STREAM) == 0 && pending(r) == 0 &&
           redis_int(r->redis, "EXISTS {hookline}:later:crawl") == 0 &&
           *redis_text(r->redis, "KEYS {hookline}:blob:*") == '\0';
}

/* No blanks in it: redis_text splits its line there. */
static const char find_starts[] =
    "local\tn=0\nfor\t_,e\tin\tipairs(redis.call('XRANGE',KEYS[1],'-','+'))do\n"
    "for\tk=1,#e[2],2\tdo\nif\te[2][k]=='starts'\tthen\nn=math.max(n,tonumber(e[2][k+1]))\n"
    "end\nend\nend\nreturn\tn";

/* With how many readers one of the jobs has died. */
static long most_starts(struct rig *r)
{
    return redis_int(r->redis, "EVAL %s 1 " STREAM, find_starts);
}

static const char *session(struct rig *r, const char *columns)
{
    return sql_text(r->db,
        "SELECT concat_ws('|', %s) FROM webhook.crawl_sessions WHERE job_id = '" CRAWL "'",
        columns);
}

static long count(struct rig *r, const char *table, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.%s WHERE %s", table, where);
}

static long dead(struct rig *r)
{
    return redis_int(r->redis, "XLEN {hookline}:dead");
}

/* Nobody gets an event recorded until it is let go of. */
static PGconn *hold_up(struct rig *r)
{
    PGconn *lock = PQconnectdb(r->db);
    PQclear(PQexec(lock, "BEGIN; LOCK TABLE webhook.crawl_events IN SHARE MODE"));
    cr_assert_eq(PQtransactionStatus(lock), PQTRANS_INTRANS);
    return lock;
}

static pid_t some_worker(struct rig *r)
{
    pid_t pid = 0;
    WAIT_FOR((pid = rig_worker(r)) > 0, SOON);
    return pid;
}

/* --- what is left ------------------------------------------------------------------------- */

Test(crawl_worker, a_crawl_is_a_session_its_pages_contents_and_documents)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    put_started(&r);
    put_page(&r, "good", 200, "Some words about otters.");
    put_page(&r, "gone", 404, "No such page.");
    put_page(&r, "empty", 200, " ");
    put_completed(&r);
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_events", "true") == 5, SOON);
    cr_expect_str_eq(session(&r, "status, base_url, operation_type, total_pages, pages_indexed,"
                                 " pages_failed, extra_metadata->>'team'"),
        "completed|https://site.test/|crawl|3|1|2|blue");
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(url || ' ' || coalesce(error, '-'), ', '"
                                    " ORDER BY url) FROM webhook.crawl_pages"),
        "https://site.test/empty No content after cleaning, https://site.test/gone HTTP 404, "
        "https://site.test/good -");
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(title || ': ' || text, ',') FROM"
                                    " webhook.documents"),
        "T: Some words about otters.");
    cr_expect_eq(count(&r, "scraped_content",
                     "url = 'https://site.test/gone' AND"
                     " metadata->>'statusCode' = '404' AND metadata ?"
                     " 'creditsUsed'"),
        1);
    cr_expect_eq(dead(&r), 0);
}

Test(crawl_worker, each_step_of_a_job_is_measured)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    put_event(&r, ENVELOPE ",\"data\":[" DOCUMENT "," DOCUMENT "]}", "page", "words", "good", 200,
        "good", "words", "gone", 404, "gone");
    WAIT_FOR(count(&r, "operation_metrics", "crawl_id = '" CRAWL "'") == 5, SOON);
    cr_expect_str_eq(
        sql_text(r.db, "SELECT string_agg(concat_ws(' ', operation_type || '/' || operation_name,"
                       " success, error_message, replace(document_url, 'https://site.test/', '')),"
                       " ', ' ORDER BY operation_type, operation_name, document_url)"
                       " FROM webhook.operation_metrics"),
        "bm25/index_document t good, content_storage/store_batch t, queue/wait t, "
        "worker/index_document f HTTP 404 gone, worker/index_document t good");
    cr_expect_str_eq(
        sql_text(r.db, "SELECT concat_ws(' ', extra_metadata->>'document_count',"
                       " extra_metadata->>'stored_count', extra_metadata->>'source')"
                       " FROM webhook.operation_metrics WHERE operation_type = 'content_storage'"),
        "2 2 firecrawl_crawl");
    struct uuid event = number(1), document = crawl_document_id(&event, 1);
    char id[UUID_STRLEN + 1];
    uuid_format(&document, id);
    cr_expect_str_eq(
        sql_text(r.db, "SELECT job_id FROM webhook.operation_metrics WHERE NOT success"), id);
}

Test(crawl_worker, without_an_index_pages_are_kept_all_the_same)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_INDEX=none"));
    put_page(&r, "good", 200, "Some words.");
    WAIT_FOR(nothing_left(&r) && count(&r, "scraped_content", "true") == 1, SOON);
    cr_expect_eq(count(&r, "documents", "true"), 0);
    cr_expect_eq(count(&r, "crawl_pages", "error IS NULL"), 1);
}

Test(crawl_worker, a_large_event_is_stored_and_its_bytes_leave_redis)
{
    struct rig r;
    struct buf body = {0};
    rig_start(&r);
    buf_printf(&body, ENVELOPE ",\"data\":[", "page");
    for (int i = 0; i < 10; i++) {
        char *text = noise(400000), path[16];
        snprintf(path, sizeof(path), "large-%d", i);
        buf_puts(&body, i ? "," : "");
        buf_printf(&body, DOCUMENT, text, path, 200, path);
        free(text);
    }
    buf_puts(&body, "]}");
    put_body(&r, buf_detach(&body));
    cr_expect(*redis_text(r.redis, "KEYS {hookline}:blob:*"));
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(nothing_left(&r) && count(&r, "documents", "true") == 10, SOON);
    cr_expect_eq(count(&r, "scraped_content", "length(markdown) = 400000"), 10);
}

/* Text that compresses to nothing. */
static char *dull(size_t len)
{
    static const char words[] = "the same few words over and over ";
    char *text = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = words[i % (sizeof(words) - 1)];
    text[len] = '\0';
    return text;
}

/* The most memory that a process ever had, in MiB. */
static long peak_mib(pid_t pid)
{
    char line[128];
    long kib = 0;
    FILE *f = fopen(harness_text("/proc/%d/status", (int)pid), "r");
    cr_assert(f);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = atol(line + 6);
    fclose(f);
    return kib / 1024;
}

enum { HEAVY = 12, HEAVY_PAGES = 20, HEAVY_TEXT = MIB };

/* Some KiB in Redis, and 20 MiB behind that. Nothing of it goes into the index. */
static void put_heavy(struct rig *r, int n)
{
    struct buf body = {0};
    char *text = dull(HEAVY_TEXT);
    buf_printf(&body, ENVELOPE ",\"data\":[", "page");
    for (int i = 0; i < HEAVY_PAGES; i++) {
        char path[32];
        snprintf(path, sizeof(path), "%d-%d", n, i);
        buf_puts(&body, i ? "," : "");
        buf_printf(&body, DOCUMENT, text, path, 404, path);
    }
    buf_puts(&body, "]}");
    free(text);
    put_body(r, buf_detach(&body));
}

Test(crawl_worker, an_event_of_many_pages_is_many_short_transactions)
{
    struct rig r;
    struct buf body = {0};
    char *text = dull(30000);
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    buf_printf(&body, ENVELOPE ",\"data\":[", "page");
    for (int i = 0; i < 100; i++) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i % 90); /* of two with one address the first counts */
        buf_puts(&body, i ? "," : "");
        buf_printf(&body, DOCUMENT, i < 90 ? text : "not this", path, 200, path);
    }
    buf_puts(&body, "]}");
    put_body(&r, buf_detach(&body));
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_events", "documents = 100") == 1, SOON);
    cr_expect_geq(sql_int(r.db, "SELECT count(DISTINCT xmin::text) FROM webhook.crawl_pages"), 4);
    cr_expect_eq(count(&r, "documents", "length(text) > 29000"), 90);
    cr_expect_str_eq(session(&r, "total_pages, pages_indexed"), "90|90");
    free(text);
}

Test(crawl_worker, jobs_that_swell_when_they_are_read_do_not_swell_all_at_once)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < HEAVY; i++)
        put_heavy(&r, i);
    PGconn *lock = hold_up(&r);
    rig_fleet(&r, 1, NULL);
    pid_t pid = some_worker(&r);
    WAIT_FOR(pending(&r) == HEAVY, SOON);
    PQfinish(lock);
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_events", "true") == HEAVY, 2 * SOON);
    if (!getenv("SANITIZED")) /* which gives nothing back at once */
        cr_expect_leq(peak_mib(pid), 120, "%ld MiB", peak_mib(pid));
    cr_expect_eq(count(&r, "crawl_pages", "true"), HEAVY * HEAVY_PAGES);
}

Test(crawl_worker, an_unsuccessful_event_is_recorded_and_fails_its_session)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    put_event(&r, "{\"success\":false,\"type\":\"crawl.failed\",\"id\":\"" CRAWL
                  "\",\"error\":\"out of credits\"}");
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_events", "NOT success") == 1, SOON);
    cr_expect_str_eq(session(&r, "status, error_message"), "failed|out of credits");
}

/* --- what PostgreSQL refuses --------------------------------------------------------------- */

static void refuse(struct rig *r, const char *when)
{
    sql_exec(r->db,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF %s THEN RAISE EXCEPTION 'not this' USING ERRCODE = '22000'; END IF;"
        " RETURN NEW; END $$",
        when);
}

Test(crawl_worker, a_page_that_postgres_refuses_does_not_lose_the_others)
{
    struct rig r;
    rig_start(&r);
    refuse(&r, "NEW.markdown = 'two'");
    sql_exec(r.db, "CREATE TRIGGER refuse BEFORE INSERT ON webhook.scraped_content FOR EACH ROW"
                   " EXECUTE FUNCTION refuse()");
    rig_fleet(&r, 1, NULL);
    put_event(&r, ENVELOPE ",\"data\":[" DOCUMENT "," DOCUMENT "," DOCUMENT "]}", "page", "one",
        "a", 200, "a", "two", "bad", 200, "bad", "three", "c", 200, "c");
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_pages", "true") == 3, SOON);
    cr_expect_eq(count(&r, "crawl_pages", "error IS NULL"), 2);
    cr_expect_eq(count(&r, "crawl_pages", "url LIKE '%%/bad' AND error LIKE '%%not this%%'"), 1);
    cr_expect_eq(count(&r, "scraped_content", "markdown IS NOT NULL"), 2);
    cr_expect_eq(count(&r, "documents", "true"), 2);
    cr_expect_eq(count(&r, "crawl_events", "documents = 3"), 1);
    cr_expect_eq(dead(&r), 0);
}

Test(crawl_worker, an_event_that_postgres_refuses_is_a_dead_letter_with_its_bytes)
{
    struct rig r;
    rig_start(&r);
    refuse(&r, "NEW.type = 'crawl.started'");
    sql_exec(r.db, "CREATE TRIGGER refuse BEFORE INSERT ON webhook.crawl_events FOR EACH ROW"
                   " EXECUTE FUNCTION refuse()");
    rig_fleet(&r, 1, NULL);
    put_started(&r);
    WAIT_FOR(nothing_left(&r) && dead(&r) == 1, SOON);
    const char *letter = redis_text(r.redis, "XRANGE {hookline}:dead - +");
    cr_expect(strstr(letter, "reason\nthe database refuses it: "), "%.300s", letter);
    cr_expect(strstr(letter, "queue\ncrawl\njob\n"), "%.300s", letter);
}

/* --- what is no job ------------------------------------------------------------------------ */

Test(crawl_worker, bytes_that_are_no_job_become_a_dead_letter_and_hold_up_nobody)
{
    static const uint8_t digest[DIGEST_LEN];
    struct rig r;
    rig_start(&r);
    struct uuid id = event_id(), beside = event_id();
    char *large = noise(100000);
    put_bytes(&r, &id, "gibberish", 9, digest);
    put_bytes(&r, &beside, large, strlen(large), digest);
    redis_text(r.redis, "XADD " STREAM " * what ever");
    put_event(&r, "{\"type\":\"crawl.page\",\"success\":true}"); /* no event that we know */
    rig_fleet(&r, 1, NULL);
    put_started(&r);
    WAIT_FOR(count(&r, "crawl_events", "true") == 1 && dead(&r) == 4, SOON);
    WAIT_FOR(redis_int(r.redis, "XLEN " STREAM) == 0 && pending(&r) == 0, SOON);
    const char *letters = redis_text(r.redis, "XRANGE {hookline}:dead - +");
    cr_expect(strstr(letters, "job\ngibberish"), "%.2000s", letters);
    cr_expect_eq(redis_int(r.redis, "STRLEN {hookline}:blob:00000000-0000-7000-8000-000000000002"
                                    ":dead"),
        (long)strlen(large));
    free(large);
}

/* --- workers that die ---------------------------------------------------------------------- */

static void put_crawl(struct rig *r)
{
    put_started(r);
    for (int i = 0; i < PAGES; i++) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i);
        put_page(r, path, i % 10 ? 200 : 500, "Words.");
    }
    put_completed(r);
}

static void expect_crawl(struct rig *r)
{
    WAIT_FOR(nothing_left(r) && count(r, "crawl_events", "true") == PAGES + 2, SOON);
    cr_expect_str_eq(
        session(r, "status, total_pages, pages_indexed, pages_failed"), "completed|200|180|20");
    cr_expect_eq(count(r, "crawl_pages", "true"), PAGES);
    cr_expect_eq(count(r, "scraped_content", "true"), PAGES);
    cr_expect_eq(count(r, "documents", "true"), PAGES - PAGES / 10);
    cr_expect_eq(dead(r), 0);
}

Test(crawl_worker, whoever_is_killed_meanwhile_everything_is_done_once)
{
    struct rig r;
    rig_start(&r);
    put_crawl(&r);
    PGconn *lock = hold_up(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_MAX_STARTS=50"));
    for (int i = 0; i < 4; i++) {
        WAIT_FOR(pending(&r) > 0, SOON);
        if (i == 3)
            PQfinish(lock); /* the last one dies between two transactions */
        pid_t pid = some_worker(&r);
        kill(pid, SIGKILL);
        WAIT_FOR(rig_gone(pid), SOON);
        WAIT_FOR(rig_worker(&r) != pid && rig_worker(&r) != 0, SOON);
    }
    expect_crawl(&r);
    WAIT_FOR(rig_only_living(&r, 2), SOON);
}

Test(crawl_worker, a_job_that_every_reader_dies_with_is_a_dead_letter)
{
    struct rig r;
    rig_start(&r);
    put_page(&r, "poison", 200, "Words.");
    PGconn *lock = hold_up(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_STARTS=3"));
    for (int i = 0; i < 3; i++) {
        WAIT_FOR(pending(&r) == 1, SOON);
        pid_t pid = some_worker(&r);
        kill(pid, SIGKILL);
        WAIT_FOR(rig_gone(pid), SOON);
        WAIT_FOR(most_starts(&r) == i + 1 || dead(&r), SOON);
    }
    WAIT_FOR(dead(&r) == 1 && nothing_left(&r), SOON);
    PQfinish(lock);
    const char *letter = redis_text(r.redis, "XRANGE {hookline}:dead - +");
    cr_expect(strstr(letter, "reason\ncrashed its worker 3 times\n"), "%.300s", letter);
    put_started(&r); /* the worker that buried it lives */
    WAIT_FOR(count(&r, "crawl_events", "type = 'crawl.started'") == 1, SOON);
}

Test(crawl_worker, only_the_one_that_runs_alone_is_blamed_again)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 10; i++) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i);
        put_page(&r, path, 200, "Words.");
    }
    PGconn *lock = hold_up(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_STARTS=2"));
    for (int died = 1; died <= 2; died++) {
        WAIT_FOR(pending(&r) == (died == 1 ? 10 : 1), SOON);
        pid_t pid = some_worker(&r);
        kill(pid, SIGKILL);
        WAIT_FOR(rig_gone(pid), SOON);
        WAIT_FOR(most_starts(&r) == died, SOON);
    }
    PQfinish(lock);
    WAIT_FOR(nothing_left(&r), SOON);
    cr_expect_geq(count(&r, "crawl_pages", "true"), 9, "its own may have come through after all");
    cr_expect_eq(dead(&r), 1);
}

/* --- drain --------------------------------------------------------------------------------- */

Test(crawl_worker, a_drain_gives_back_what_cannot_be_finished_and_blames_nobody)
{
    struct rig r;
    rig_start(&r);
    put_crawl(&r);
    PGconn *lock = hold_up(&r);
    struct test_proc *first = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DRAIN_TIMEOUT=1"));
    WAIT_FOR(pending(&r) > 10, SOON);
    test_proc_signal(first, SIGTERM);
    cr_expect_eq(test_proc_wait(first, SOON), 0);
    cr_expect_eq(pending(&r), 0, "%ld", pending(&r));
    cr_expect_eq(redis_int(r.redis, "XLEN " STREAM), PAGES + 2);
    cr_expect_eq(most_starts(&r), 0);
    PQfinish(lock);
    rig_fleet(&r, 1, NULL);
    expect_crawl(&r);
}

Test(crawl_worker, a_drain_waits_for_what_runs)
{
    struct rig r;
    rig_start(&r);
    put_started(&r);
    PGconn *lock = hold_up(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM pg_locks WHERE NOT granted"
                           " AND relation = 'webhook.crawl_events'::regclass") == 1,
        SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    PQfinish(lock);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0);
    cr_expect_eq(count(&r, "crawl_events", "true"), 1);
    cr_expect(nothing_left(&r));
}

/* --- outages ------------------------------------------------------------------------------- */

Test(crawl_worker, jobs_wait_while_postgres_is_down)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    test_pg_kill(r.pg);
    put_crawl(&r);
    WAIT_FOR(
        test_proc_logged(fleet, "crawl_step_repeats") || test_proc_logged(fleet, "lease_fenced"),
        SOON);
    test_pg_restart(r.pg);
    expect_crawl(&r);
}

Test(crawl_worker, jobs_come_through_while_redis_is_killed)
{
    struct rig r;
    rig_start(&r);
    put_crawl(&r);
    PGconn *lock = hold_up(&r);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(pending(&r) > 10, SOON);
    test_redis_kill(r.redis);
    PQfinish(lock);
    WAIT_FOR(count(&r, "crawl_events", "true") > 0, SOON); /* done, and Redis cannot be told */
    test_redis_restart(r.redis);
    WAIT_FOR(redis_int(r.redis, "XLEN " STREAM) < PAGES, SOON);
    expect_crawl(&r);
}

Test(crawl_worker, a_redis_that_forgot_everything_is_read_from_again)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    put_started(&r);
    WAIT_FOR(count(&r, "crawl_events", "true") == 1 && nothing_left(&r), SOON);
    redis_text(r.redis, "FLUSHALL");
    put_completed(&r);
    WAIT_FOR(count(&r, "crawl_events", "true") == 2 && nothing_left(&r), SOON);
}

/* --- from the request to the rows ---------------------------------------------------------- */

static struct test_reply post(struct rig *r, const char *body)
{
    return test_http(r->producer_port, "POST", "/api/webhook/firecrawl",
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", body,
        strlen(body));
}

/* Posts it twice: a delivery may be repeated. */
static void post_twice(struct rig *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void post_twice(struct rig *r, int status, const char *fmt, ...)
{
    char *body = NULL;
    va_list ap;
    va_start(ap, fmt);
    cr_assert_geq(vasprintf(&body, fmt, ap), 0);
    va_end(ap);
    for (int i = 0; i < 2; i++) {
        struct test_reply reply = post(r, body);
        cr_assert_eq(reply.status, status, "%d %s", reply.status, reply.body);
    }
    free(body);
}

Test(crawl_worker, a_posted_crawl_with_repetitions_and_kills_is_one_exact_session)
{
    struct rig r;
    char *large = noise(200000);
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_MAX_STARTS=50"));
    post_twice(&r, 200, ENVELOPE "}", "completed"); /* the order does not matter */
    for (int i = 0; i < 30; i++) {
        char path[16];
        snprintf(path, sizeof(path), "%d", i);
        post_twice(&r, 202, ENVELOPE ",\"data\":[" DOCUMENT "]}", "page", i % 10 ? "Words." : large,
            path, 200, path);
        if (i % 10 != 5)
            continue;
        kill(some_worker(&r), SIGKILL);
    }
    post_twice(&r, 200, ENVELOPE ",\"metadata\":{\"url\":\"https://site.test/\"}}", "started");
    WAIT_FOR(nothing_left(&r) && count(&r, "crawl_events", "true") == 32, SOON);
    cr_expect_str_eq(session(&r, "status, base_url, total_pages, pages_indexed, pages_failed"),
        "completed|https://site.test/|30|30|0");
    cr_expect_eq(count(&r, "scraped_content", "true"), 30);
    cr_expect_eq(count(&r, "documents", "true"), 30);
    cr_expect_eq(dead(&r), 0);
    free(large);
}
