/* Asking Firecrawl what became of its crawls: webhooks that were lost are made up for by the real
 * fleet, and Firecrawl in trouble does no harm. */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(recrawl, .timeout = 180);

enum { SOON = 40000, MANY = 250 };

#define CRAWL "0b8f71aa-51ab-4fa7-9cd6-515a079d8e47"
#define QUIET "WEBHOOK_CRAWL_QUIET=1"

/* --- what Firecrawl knows, and what it says ---------------------------------------------- */

static void put_document(struct buf *b, int i)
{
    buf_printf(b,
        "{\"markdown\":\"# Page %d\",\"metadata\":{\"title\":\"T\",\"sourceURL\":"
        "\"https://site.test/%d\",\"url\":\"https://site.test/%d\",\"scrapeId\":\"scrape-%d\","
        "\"statusCode\":%d}}",
        i, i, i, i, i % 50 == 3 ? 404 : 200);
}

static void set_crawls(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set_crawls(struct rig *r, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    struct test_reply reply = test_http(r->firecrawl_port, "POST", "/crawls", NULL, b.data, b.len);
    cr_assert_eq(reply.status, 200, "%s", reply.body);
    buf_release(&b);
}

/* A crawl of n pages, first .. first + n - 1. */
static void knows(struct rig *r, bool batch, const char *status, int first, int n, int total)
{
    struct buf docs = {0};
    for (int i = 0; i < n; i++) {
        if (i)
            buf_putc(&docs, ',');
        put_document(&docs, first + i);
    }
    set_crawls(r,
        "{\"" CRAWL "\":{\"batch\":%s,\"status\":\"%s\",\"completed\":%d,\"total\":%d,"
        "\"data\":[%s]}}",
        batch ? "true" : "false", status, n, total, n ? buf_str(&docs) : "");
    buf_release(&docs);
}

static int asked(struct rig *r, const char *route)
{
    struct test_reply reply = test_http(
        r->firecrawl_port, "GET", harness_text("/count?url=/v2/%s/" CRAWL, route), NULL, NULL, 0);
    return atoi(test_reply_member(&reply, "count"));
}

static int post(struct rig *r, const char *type, const char *data)
{
    const char *body = harness_text("{\"success\":true,\"type\":\"%s\",\"id\":\"" CRAWL "\","
                                    "\"data\":[%s],\"metadata\":{}}",
        type, data);
    return test_http(r->producer_port, "POST", "/api/webhook/firecrawl",
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", body,
        strlen(body))
        .status;
}

static void post_page(struct rig *r, int i)
{
    struct buf b = {0};
    put_document(&b, i);
    cr_assert_eq(post(r, "crawl.page", buf_str(&b)), 202);
    buf_release(&b);
}

static const char *session(struct rig *r, const char *expression)
{
    return sql_text(r->db,
        "SELECT (%s)::text FROM webhook.crawl_sessions WHERE job_id = '" CRAWL "'", expression);
}

static bool session_is(struct rig *r, const char *condition)
{
    return strcmp(session(r, condition), "true") == 0;
}

/* Its turn is now. */
static void set_due(struct rig *r)
{
    sql_exec(r->db, "UPDATE webhook.crawl_sessions SET reconcile_at = now()");
}

/* --- the tests --------------------------------------------------------------------------- */

Test(recrawl, pages_and_an_end_that_were_lost_make_a_whole_session)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, MANY, MANY);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    for (int i = 0; i < MANY; i += 5)
        post_page(&r, i);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 250"), SOON);
    WAIT_FOR(test_proc_logged(fleet, "crawl_reconciled"), SOON);
    cr_expect_str_eq(
        session(&r, "pages_failed || ' ' || pages_indexed || ' ' || total_urls"), "5 245 250");
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_events WHERE reconciled"), 201);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.scraped_content"), MANY);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.documents"), 245);
    cr_expect_eq(asked(&r, "crawl"), 3, "a page of a hundred at a time");
    cr_expect(strstr(test_proc_log(fleet), "\"filled_in\":200"), "%s", test_proc_log(fleet));
}

/* The fence falls when the session has been taken in hand. */
Test(recrawl, behind_a_fence_nothing_is_filled_in_until_it_is_gone)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, 3, 3);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    sql_exec(r.db,
        "CREATE FUNCTION webhook.put_fence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE webhook.queues SET fenced_at = now() WHERE name = 'crawl'; RETURN NULL; END $$;"
        "CREATE TRIGGER put_fence AFTER UPDATE OF reconcile_tries ON webhook.crawl_sessions"
        " FOR EACH ROW WHEN (new.reconcile_tries > 0) EXECUTE FUNCTION webhook.put_fence()");
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(test_proc_logged(fleet, "crawl_not_reconciled"), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_events"), 1);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:crawl"), 0);
    sql_exec(r.db, "DROP TRIGGER put_fence ON webhook.crawl_sessions;"
                   "UPDATE webhook.queues SET fenced_at = NULL WHERE name = 'crawl'");
    set_due(&r);
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 3"), SOON);
}

Test(recrawl, a_webhook_that_comes_after_all_is_a_duplicate)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, 3, 3);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 3"), SOON);
    long events = sql_int(r.db, "SELECT count(*) FROM webhook.crawl_events");
    for (int i = 0; i < 3; i++)
        post_page(&r, i);
    cr_expect_eq(post(&r, "crawl.completed", ""), 200);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:crawl") == 0, SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_events"), events);
}

Test(recrawl, batches_are_asked_about_by_their_own_route)
{
    struct rig r;
    rig_start(&r);
    knows(&r, true, "completed", 0, 2, 2);
    cr_assert_eq(post(&r, "batch_scrape.started", ""), 200);
    rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 2"), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_events"
                               " WHERE type = 'batch_scrape.page' AND reconciled"),
        2);
    cr_expect_eq(asked(&r, "crawl"), 0);
}

Test(recrawl, an_ended_crawl_with_a_page_lost_is_filled_in)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, 4, 4);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    for (int i = 0; i < 3; i++)
        post_page(&r, i);
    cr_assert_eq(post(&r, "crawl.completed", ""), 200);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_CRAWL_QUIET=10m"));
    WAIT_FOR(session_is(&r, "reconcile_at IS NOT NULL"), SOON);
    cr_expect_eq(asked(&r, "crawl"), 0, "its last pages may be on their way");
    set_due(&r);
    WAIT_FOR(session_is(&r, "total_pages = 4"), SOON);
    WAIT_FOR(session_is(&r, "reconciled_at IS NOT NULL AND reconcile_at > now()"), SOON);
    set_due(&r);
    WAIT_FOR(session_is(&r, "reconcile_at IS NULL"), SOON); /* nothing was missing any more */
    cr_expect_eq(asked(&r, "crawl"), 2);
    cr_expect_not(test_proc_logged(fleet, "crawl_not_reconciled"));
}

Test(recrawl, a_crawl_still_running_is_asked_about_again)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "scraping", 0, 2, 9);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "total_pages = 2 AND total_urls = 9"), SOON);
    cr_expect_str_eq(session(&r, "status"), "in_progress");
    knows(&r, false, "cancelled", 0, 3, 9);
    WAIT_FOR(session_is(&r, "status = 'cancelled' AND total_pages = 3"), SOON);
}

Test(recrawl, what_firecrawl_does_not_know_is_not_asked_about_again)
{
    struct rig r;
    rig_start(&r);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(test_proc_logged(fleet, "crawl_unknown"), SOON);
    WAIT_FOR(session_is(&r, "reconciled_at IS NOT NULL AND reconcile_at IS NULL"), SOON);
    cr_expect_eq(asked(&r, "crawl"), 1);
}

Test(recrawl, firecrawl_in_trouble_is_asked_less_and_less_often)
{
    struct rig r;
    rig_start(&r);
    set_crawls(&r, "{\"" CRAWL "\":{\"fail\":500}}");
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(test_proc_logged(fleet, "Firecrawl answered 500"), SOON);
    WAIT_FOR(session_is(&r, "reconcile_at BETWEEN now() + interval '30 s' AND now() + interval"
                            " '61 s'"),
        SOON);
    rig_firecrawl_kill(&r);
    sql_exec(r.db, "UPDATE webhook.crawl_sessions SET reconcile_at = now(), reconcile_tries = 3");
    WAIT_FOR(session_is(&r, "reconcile_tries = 4 AND reconcile_at BETWEEN now() + interval '400 s'"
                            " AND now() + interval '481 s'"),
        SOON);
    rig_firecrawl_restart(&r);
    knows(&r, false, "completed", 0, 1, 1);
    set_due(&r);
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 1"), SOON);
}

Test(recrawl, what_can_never_be_asked_does_not_hold_up_the_rest)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, 1, 1);
    sql_exec(r.db,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        "  operation_type, reconcile_at) VALUES (gen_random_uuid(), '../../admin?x=', 'unknown',"
        "  now(), 'pending', 'crawl', now() - interval '1 hour'), (gen_random_uuid(), '" CRAWL
        "', 'unknown', now(), 'pending', 'crawl', now())");
    rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 1"), SOON);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.crawl_sessions"
                               " WHERE job_id LIKE '..%%' AND reconcile_at IS NULL"),
        1);
}

Test(recrawl, pages_that_lead_round_in_a_circle_are_read_a_few_times)
{
    struct rig r;
    struct buf docs = {0};
    rig_start(&r);
    for (int i = 0; i < 5; i++) {
        buf_puts(&docs, i ? "," : "");
        put_document(&docs, i);
    }
    set_crawls(&r,
        "{\"" CRAWL "\":{\"batch\":false,\"status\":\"completed\",\"completed\":5,\"total\":5,"
        "\"per_page\":1,\"circle\":true,\"data\":[%s]}}",
        docs.data);
    buf_release(&docs);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    rig_fleet(&r, 1, RIG_ENV(QUIET));
    WAIT_FOR(session_is(&r, "status = 'completed' AND total_pages = 5"), SOON);
    cr_expect_leq(asked(&r, "crawl"), 20, "%d", asked(&r, "crawl"));
}

Test(recrawl, switched_off_nobody_is_asked)
{
    struct rig r;
    rig_start(&r);
    knows(&r, false, "completed", 0, 1, 1);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV(QUIET, "WEBHOOK_CRAWL_RECONCILE=off"));
    WAIT_FOR(
        session_is(&r, "status = 'in_progress' AND updated_at < now() - interval '3 s'"), SOON);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0);
    cr_expect_str_eq(session(&r, "reconcile_at IS NULL AND reconciled_at IS NULL"), "true");
    cr_expect_eq(asked(&r, "crawl"), 0);
}

Test(recrawl, who_leaves_does_not_wait_for_firecrawl)
{
    struct rig r;
    int port, fd = harness_listen(&port); /* takes requests, and never answers */
    rig_start(&r);
    cr_assert_eq(post(&r, "crawl.started", ""), 200);
    struct test_proc *fleet = rig_fleet(
        &r, 1, RIG_ENV(QUIET, harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", port)));
    WAIT_FOR(session_is(&r, "reconcile_tries = 1"), SOON);
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, 15000), 0);
    cr_expect_str_eq(
        session(&r, "reconcile_at > now() + interval '10 m'"), "true", "its turn comes again");
    close(fd);
}
