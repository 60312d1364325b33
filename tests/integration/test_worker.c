/* hookline-worker as a program: what becomes of events while nothing else breaks. A real producer,
 * PostgreSQL and Redis; the pages' fate is chosen by their path (tests/support/prog_firecrawl.c).
 */
#include "tests/support/fleet.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(worker, .timeout = 90);

enum { SOON = 20000 };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- success ----------------------------------------------------------------------------- */

Test(worker, an_event_ends_completed_and_its_page_is_found)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/ok/heron");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);

    const char *row = rig_row(&r, id,
        "claim_epoch, starts, attempts, rescrape_job_id = event_id::text, next_attempt_at IS NULL,"
        "indexed_at IS NOT NULL, finished_at >= claimed_at, scrape_seq > accept_seq");
    cr_expect_str_eq(row, "1|0|0|t|t|t|t|t", "%s", row);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.change_events c JOIN webhook.workers w"
                               " ON w.id = c.claimed_by"),
        1, "the row names who did it");

    const char *metadata = rig_row(&r, id,
        "metadata->>'watch_title', metadata->>'diff_size', metadata->>'document_id',"
        "metadata ? 'firecrawl_status', metadata->'firecrawl_status' = 'null',"
        "metadata ? 'signature'");
    cr_expect_str_eq(metadata, "A page|10|" RIG_SITE "/ok/heron|t|t|t", "%s", metadata);

    const char *doc =
        sql_text(r.db, "SELECT concat_ws('|', d.url, d.title, d.language, d.event_id = c.event_id,"
                       " d.scrape_seq = c.scrape_seq, d.text LIKE '# Stand-in page%%Scrape 1 of%%')"
                       " FROM webhook.documents d, webhook.change_events c");
    cr_expect_str_eq(doc, RIG_SITE "/ok/heron|Stand-in page|en|t|t|t", "%s", doc);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, hooklinectl_finds_the_page_and_shows_the_fleet)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/ok/heron");
    WAIT_FOR(rig_status_is(&r, id, "completed") && rig_queue_empty(&r), SOON);

    cr_expect_eq(rig_ctl(&r, RIG_ENV("search", "stand-in"), &out), 0, "%s", out);
    cr_expect(strstr(out, RIG_SITE "/ok/heron"), "%s", out);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status", "--json"), &out), 0, "%s", out);
    cr_expect(strstr(out, "\"length\":0,\"pending\":0,"), "%s", out);
    cr_expect(strstr(out, "\"events\":{\"completed\":1}"), "%s", out);
    cr_expect(strstr(out, "\"state\":\"alive\""), "%s", out);
}

Test(worker, a_queued_row_of_the_replaced_service_is_done_too)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, "INSERT INTO webhook.change_events (watch_id, watch_url, detected_at, metadata,"
                   " rescrape_status, rescrape_job_id, created_at) VALUES ('w', '" RIG_SITE
                   "/ok/legacy', now(), '{\"watch_title\": \"Old\"}', 'queued', 'a-job-of-rq',"
                   " now() - interval '1 day')");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND metadata->>'watch_title' = 'Old'"
                          " AND rescrape_job_id = event_id::text") == 1,
        SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, what_is_older_than_its_days_goes_when_that_is_wanted)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, created_at)"
        " SELECT 'old', 'u', 'completed', now() - interval '10 days' FROM generate_series(1, 2500);"
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, created_at)"
        " VALUES ('young', 'u', 'completed', now());"
        "INSERT INTO webhook.documents (url_key, canonical_url, url, text, content_hash, search,"
        " scrape_seq, scraped_at) VALUES ('k', 'u', 'u', 't', '', '', 1, now() - interval '10 "
        "days')");
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_EVENT_RETENTION_DAYS=7"));
    WAIT_FOR(rig_rows(&r, "watch_id = 'old'") == 0, SOON);
    cr_expect_eq(rig_rows(&r, "watch_id = 'young'"), 1);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.documents"), 1, "off by default");
}

Test(worker, a_second_event_of_the_page_replaces_its_document)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id first = rig_post(&r, "/ok/again");
    WAIT_FOR(rig_status_is(&r, first, "completed"), SOON);
    struct rig_id second = rig_post(&r, "/ok/again");
    WAIT_FOR(rig_status_is(&r, second, "completed"), SOON);
    const char *doc = sql_text(r.db,
        "SELECT concat_ws('|', count(*), min(event_id::text) = '%s',"
        " bool_and(text LIKE '%%Scrape 2 of%%')) FROM webhook.documents",
        second.text);
    cr_expect_str_eq(doc, "1|t|t", "%s", doc);
}

/* --- failures ---------------------------------------------------------------------------- */

/* attempts: results that were recorded; scrapes: as the stand-in counts them. */
static void expect_failed(struct rig *r, struct rig_id id, const char *path, const char *status,
    const char *error, int attempts)
{
    WAIT_FOR(strncmp(rig_row(r, id, "rescrape_status"), "failed: ", 8) == 0, SOON);
    cr_expect_str_eq(rig_row(r, id, "rescrape_status"), status, "%s: %s", path,
        rig_row(r, id, "rescrape_status"));
    const char *row = rig_row(r, id,
        "attempts, starts, next_attempt_at IS NULL, finished_at IS NOT NULL, indexed_at IS NULL,"
        "metadata ? 'failed_at', metadata->>'watch_title'");
    const char *expected = attempts == 1 ? "1|0|t|t|t|t|A page" : "2|0|t|t|t|t|A page";
    cr_expect_str_eq(row, expected, "%s: %s", path, row);
    cr_expect(strstr(rig_row(r, id, "metadata->>'error'"), error), "%s: %s", path,
        rig_row(r, id, "metadata->>'error'"));
    cr_expect_eq(rig_scrapes(r, path), attempts, "%s", path);
    WAIT_FOR(*rig_dead_letter(r, id.text), SOON);
}

Test(worker, a_final_error_fails_the_event_at_once)
{
    /* clang-format off */
    static const struct {
        const char *path, *status, *error;
    } cases[] = {
        {"/fail/400",                               "failed: Firecrawl answered 400",       "as asked"},
        {"/fail/401",                               "failed: Firecrawl answered 401",       "as asked"},
        {"/fail/402",                               "failed: Firecrawl answered 402",       "as asked"},
        {"/fail/403",                               "failed: Firecrawl answered 403",       "as asked"},
        {"/fail/404",                               "failed: Firecrawl answered 404",       "as asked"},
        {"/fail/301",                               "failed: Firecrawl answered 301",       "as asked"},
        {"/fail/500/SCRAPE_UNSUPPORTED_FILE_ERROR", "failed: file type not supported",      "SCRAPE_UNSUPPORTED_FILE_ERROR: the stand-in"},
        {"/fail/200/SCRAPE_ZDR_VIOLATION_ERROR",    "failed: zero data retention violated", "SCRAPE_ZDR"},
        {"/target/404",                             "failed: target answered 404",          "target answered 404"},
        {"/target/401",                             "failed: target answered 401",          "target answered 401"},
        {"/big/0",   "failed: Indexing failed: No content after cleaning", "No content after cleaning"},
    };
    /* clang-format on */
    struct rig r;
    struct rig_id ids[COUNT(cases)];
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    for (size_t i = 0; i < COUNT(cases); i++)
        ids[i] = rig_post(&r, "%s", cases[i].path);
    for (size_t i = 0; i < COUNT(cases); i++)
        expect_failed(&r, ids[i], cases[i].path, cases[i].status, cases[i].error, 1);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), (long)COUNT(cases));
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.documents"), 0);
}

Test(worker, a_passing_error_is_tried_again_and_fails_after_the_last_attempt)
{
    /* clang-format off */
    static const struct {
        const char *path, *status, *error;
    } cases[] = {
        {"/fail/500",     "failed: Firecrawl answered 500",        "as asked"},
        {"/fail/502",     "failed: Firecrawl answered 502",        "as asked"},
        {"/fail/503",     "failed: Firecrawl answered 503",        "as asked"},
        {"/fail/408",     "failed: Scrape timed out",              "as asked"},
        {"/fail/429",     "failed: Firecrawl answered 429",        "retry after 2s"},
        {"/fail/500/SCRAPE_ALL_ENGINES_FAILED", "failed: All scraping engines failed", "SCRAPE_ALL_ENGINES_FAILED"},
        {"/fail/200/SCRAPE_DNS_RESOLUTION_ERROR", "failed: host name not found", "as asked"},
        {"/success-false", "failed: Firecrawl reported a failure", "reports a failure with 200"},
        {"/target/503",   "failed: target answered 503",           "target answered 503"},
        {"/target/429",   "failed: target answered 429",           "target answered 429"},
        {"/empty",        "failed: no text in Firecrawl's answer", "no text"},
        {"/nojson",       "failed: Firecrawl's answer is not JSON", ""},
        {"/hang",         "failed: Firecrawl: timed out",          "timed out"},
    };
    /* clang-format on */
    struct rig r;
    struct rig_id ids[COUNT(cases)];
    rig_start(&r);
    rig_fleet(&r, 1,
        RIG_ENV(
            "WEBHOOK_MAX_ATTEMPTS=2", "WEBHOOK_SCRAPE_TIMEOUT=1", "WEBHOOK_BREAKER_FAILURES=0"));
    for (size_t i = 0; i < COUNT(cases); i++)
        ids[i] = rig_post(&r, "%s", cases[i].path);
    for (size_t i = 0; i < COUNT(cases); i++)
        expect_failed(&r, ids[i], cases[i].path, cases[i].status, cases[i].error, 2);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, between_attempts_the_event_is_queued_with_its_time)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=10m", "WEBHOOK_RETRY_MAX=10m"));
    struct rig_id id = rig_post(&r, "/fail/503");
    WAIT_FOR(strcmp(rig_row(&r, id, "rescrape_status, attempts"), "queued|1") == 0, SOON);
    cr_expect_str_eq(
        rig_row(&r, id, "starts, next_attempt_at > now(), claimed_by IS NULL"), "0|t|t");
    cr_expect(strstr(rig_row(&r, id, "metadata->>'error'"), "as asked"));
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1 && rig_pending(&r) == 0, SOON);
    cr_expect_str_empty(rig_dead_letter(&r, id.text));
}

/* Backoff alone would be a second at most: WEBHOOK_RETRY_BASE=1. */
Test(worker, the_pause_that_firecrawl_asks_for_is_kept_up_to_the_longest_retry)
{
    static const struct {
        int asked_s;
        const char *longest, *due;
    } cases[] = {
        {100,   "WEBHOOK_RETRY_MAX=15m", "next_attempt_at - now() BETWEEN '80 s' AND '100 s'" },
        {86400, "WEBHOOK_RETRY_MAX=5m",  "next_attempt_at - now() BETWEEN '280 s' AND '300 s'"},
        {0,     "WEBHOOK_RETRY_MAX=15m", "next_attempt_at - now() < '2 s'"                    },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;
        rig_start(&r);
        rig_firecrawl_fails(&r, 503, cases[i].asked_s);
        struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(cases[i].longest));
        struct rig_id id = rig_post(&r, "/ok/%zu", i);
        WAIT_FOR(strncmp(rig_row(&r, id, "attempts"), "1", 1) == 0, SOON);
        cr_expect_str_eq(rig_row(&r, id, cases[i].due), "t", "%d s: %s", cases[i].asked_s,
            rig_row(&r, id, "next_attempt_at - now()"));
        cr_expect(strstr(rig_row(&r, id, "metadata->>'error'"), "fails everything"));
        test_proc_kill(fleet);
    }
}

Test(worker, a_crash_of_firecrawl_is_a_passing_error)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=2"));
    struct rig_id id = rig_post(&r, "/close");
    WAIT_FOR(strncmp(rig_row(&r, id, "rescrape_status"), "failed: Firecrawl: ", 19) == 0, SOON);
    cr_expect_str_eq(rig_row(&r, id, "attempts"), "2");
    cr_expect_leq(strlen(rig_row(&r, id, "rescrape_status")), 50);
}

Test(worker, a_page_that_fails_twice_is_completed_by_the_third_attempt)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/flaky/2");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/flaky/2"), 3);
    cr_expect_str_eq(rig_row(&r, id, "attempts, claim_epoch, starts"), "2|3|0");
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_str_empty(rig_dead_letter(&r, id.text));
}

/* The limit is a lease less than WEBHOOK_JOB_TIMEOUT: here 6 s. */
Test(worker, a_scrape_beyond_the_job_limit_is_charged_and_ends_the_event)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1,
        RIG_ENV("WEBHOOK_JOB_TIMEOUT=10", "WEBHOOK_LEASE_SECONDS=4", "WEBHOOK_SCRAPE_TIMEOUT=9",
            "WEBHOOK_MAX_ATTEMPTS=1"));
    struct rig_id id = rig_post(&r, "/hang/limit");
    expect_failed(&r, id, "/hang/limit", "failed: job timeout after 0 minutes", "job timeout", 1);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* --- one page, several events ------------------------------------------------------------ */

Test(worker, a_backlog_of_ten_events_of_one_page_costs_one_scrape)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 10; i++)
        rig_post(&r, "/ok/busy");
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    WAIT_FOR(rig_rows(&r, "rescrape_status IN ('completed', 'superseded')") == 10, SOON);
    cr_expect_leq(rig_scrapes(&r, "/ok/busy"), 2);
    cr_expect_geq(rig_rows(&r, "rescrape_status = 'superseded'"), 8);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'superseded' AND finished_at IS NOT NULL AND"
                              " metadata ? 'watch_title' AND metadata->>'superseded_by' IN (SELECT"
                              " event_id::text FROM webhook.change_events o"
                              " WHERE o.rescrape_status = 'completed')"),
        rig_rows(&r, "rescrape_status = 'superseded'"), "each names the event that saw its change");
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* Two processes: one page is still fetched by one of them at a time. */
Test(worker, without_superseding_every_event_of_a_page_has_its_own_scrape)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 3; i++)
        rig_post(&r, "/slow/200");
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_SUPERSEDE=off"));
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 3, SOON);
    cr_expect_eq(rig_scrapes(&r, "/slow/200"), 3);
    cr_expect_eq(
        sql_int(r.db, "SELECT count(*) FROM webhook.change_events a, webhook.change_events b"
                      " WHERE a.scrape_seq < b.scrape_seq AND b.claimed_at < a.finished_at"),
        0, "their scrapes do not overlap");
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, when_the_scrape_of_a_backlog_fails_the_next_event_runs)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 5; i++)
        rig_post(&r, "/flaky/1");
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_MAX_ATTEMPTS=1"));
    WAIT_FOR(rig_rows(&r, "rescrape_status IN ('queued', 'in_progress')") == 0, SOON);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'failed: Firecrawl answered 500'"), 1);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'completed'"), 1);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'superseded'"), 3);
    cr_expect_eq(rig_scrapes(&r, "/flaky/1"), 2);
}

Test(worker, an_event_waits_while_another_of_its_page_is_being_scraped)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    struct rig_id first = rig_post(&r, "/hold/one");
    WAIT_FOR(rig_scrapes(&r, "/hold/one") == 1, SOON);
    struct rig_id second = rig_post(&r, "/hold/one"), other = rig_post(&r, "/ok/other");
    WAIT_FOR(rig_status_is(&r, other, "completed"), SOON);
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1, SOON);
    cr_expect(rig_status_is(&r, second, "queued"));
    cr_expect_eq(rig_scrapes(&r, "/hold/one"), 1);
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, second, "completed"), SOON);
    cr_expect(rig_status_is(&r, first, "completed"), "a fetch before an event has not seen it");
    cr_expect_eq(
        sql_int(r.db, "SELECT count(*) FROM webhook.change_events a, webhook.change_events b"
                      " WHERE a.id < b.id AND a.watch_url = b.watch_url"
                      " AND b.claimed_at < a.finished_at"),
        0, "their scrapes do not overlap");
    cr_expect_eq(rig_scrapes(&r, "/hold/one"), 2);
}

/* --- the index ---------------------------------------------------------------------------- */

/* Longer than a statement's deadline, so that T3b fails and is repeated with the text at hand. */
Test(worker, while_the_index_cannot_be_written_the_page_is_not_scraped_again)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DB_STATEMENT_TIMEOUT=1", "WEBHOOK_LEASE_SECONDS=30"));
    PGconn *db = PQconnectdb(r.db);
    PQclear(PQexec(db, "BEGIN"));
    PGresult *locked = PQexec(db, "LOCK TABLE webhook.documents IN ACCESS EXCLUSIVE MODE");
    cr_assert_eq(PQresultStatus(locked), PGRES_COMMAND_OK, "%s", PQerrorMessage(db));
    PQclear(locked);
    struct rig_id id = rig_post(&r, "/ok/locked");
    WAIT_FOR(test_proc_logged_with(fleet, "job_step_repeats", "\"step\":\"COMPLETE\""), SOON);
    cr_expect(rig_status_is(&r, id, "in_progress"));
    PQfinish(db);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/ok/locked"), 1);
    cr_expect_str_eq(rig_row(&r, id, "attempts, claim_epoch"), "0|1");
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.documents"), 1);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

/* --- jobs that are not as they should be ------------------------------------------------- */

Test(worker, a_row_that_was_lost_is_written_again_and_completed)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = rig_post(&r, "/ok/lost");
    WAIT_FOR(rig_rows(&r, "true") == 1, SOON);
    const char *before =
        rig_row(&r, id, "watch_id, watch_url, detected_at, diff_summary, metadata");
    sql_exec(r.db, "DELETE FROM webhook.change_events");
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_rows(&r, "true"), 1);
    const char *after = rig_row(&r, id,
        "watch_id, watch_url, detected_at, diff_summary,"
        "metadata - 'document_id' - 'firecrawl_status'");
    cr_expect_str_eq(after, before, "%s\n%s", after, before);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, a_row_that_is_lost_during_the_scrape_is_written_again_and_completed)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/lost");
    WAIT_FOR(rig_scrapes(&r, "/hold/lost") == 1, SOON);
    sql_exec(r.db, "DELETE FROM webhook.change_events");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/lost"), 2, "the new claim has its own scrape");
    cr_expect_eq(rig_rows(&r, "true"), 1);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(worker, garbage_in_the_queue_is_put_aside_with_its_bytes)
{
    static const char *const garbage[] = {"\xff\xfe(garbage)", "\x81\xa1v\x01", "no-map-at-all"};
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    for (size_t i = 0; i < COUNT(garbage); i++) {
        redis_text(r.redis, "XADD {hookline}:q:change * id - job %s", garbage[i]);
        WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == (long)i + 1, SOON);
    }
    const char *letter = rig_dead_letter(&r, "-");
    cr_expect(strstr(letter, "|\xff\xfe(garbage)"), "%s", letter);
    struct rig_id id = rig_post(&r, "/ok/after");
    WAIT_FOR(rig_status_is(&r, id, "completed") && rig_queue_empty(&r), SOON);
}

Test(worker, a_job_of_a_newer_version_is_left_for_newer_programs)
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    redis_text(r.redis, "XADD {hookline}:q:change * id new job \x81\xa1v\x63");
    struct rig_id id = rig_post(&r, "/ok/old");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") == 1, SOON);
    cr_expect(test_proc_logged(fleet, "job_of_newer_version"));
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0);
    cr_expect(strstr(redis_text(r.redis, "XRANGE {hookline}:q:change - +"), "\x81\xa1v\x63"));
    cr_expect_eq(rig_pending(&r), 0, "it waits for whoever comes next");
    cr_expect_eq(redis_int(r.redis, "EXISTS {hookline}:dead"), 0);
}

/* No blanks in it: redis_text splits its line there. */
static const char copy_first_entry[] = "local\te=redis.call('XRANGE',KEYS[1],'-','+')[1]\n"
                                       "return\tredis.call('XADD',KEYS[1],'*',unpack(e[2]))";

/* As the janitor does where Redis lost its keys while the row was queued. */
Test(worker, a_second_entry_of_a_job_in_flight_does_not_stay_in_the_queue)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = rig_post(&r, "/hold/twice");
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") == 1, SOON);
    redis_text(r.redis, "EVAL %s 1 {hookline}:q:change", copy_first_entry);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_pending(&r) == 2 && rig_scrapes(&r, "/hold/twice") == 1, SOON);
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_eq(rig_scrapes(&r, "/hold/twice"), 1);
}
