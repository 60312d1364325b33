/* A whole crawl, as Firecrawl sends it: started, two hundred pages, completed; each event once, twice
 * or three times, in no order, over several connections, through the real producer to real workers.
 * Whatever the order, the same session row comes out, the same pages, the same documents. */
#include "tests/support/fleet.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(crawl, .timeout = 200);

enum { SOON = 60000, PAGES = 200, EVENTS = PAGES + 2, POSTERS = 4, MISSING_EVERY = 20 };

#define ROUTE "/api/webhook/firecrawl"
#define SITE  "http://crawled.test"

/* --- the events, in the form of recorded ones -------------------------------------------- */

static bool missing(int page)
{
    return page % MISSING_EVERY == 0;
}

static char *lifecycle(const char *crawl, const char *type)
{
    return mem_printf("{\"success\":true,\"type\":\"crawl.%s\",\"id\":\"%s\",\"data\":[],"
                      "\"metadata\":{\"url\":\"" SITE "\",\"initiated_at\":"
                      "\"2026-11-23T10:00:00Z\"}}",
        type, crawl);
}

static char *page_event(const char *crawl, int page)
{
    return mem_printf(
        "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"%s\",\"data\":[{\"markdown\":\"Page "
        "%d\\n======\\n\\nText of page %d, caf\xc3\xa9.\",\"metadata\":{\"title\":\"Page %d\","
        "\"language\":\"en\",\"ogLocaleAlternate\":[],\"scrapeId\":\"%08d-0000-4000-8000-%.12s\","
        "\"sourceURL\":\"" SITE "/%s/%d\",\"url\":\"" SITE "/%s/%d\",\"statusCode\":%d,"
        "\"contentType\":\"text/html; charset=utf-8\",\"proxyUsed\":\"basic\",\"creditsUsed\":1}}],"
        "\"metadata\":{\"url\":\"" SITE "\",\"initiated_at\":\"2026-11-23T10:00:00Z\"}}",
        crawl, page, page, page, page, crawl, crawl, page, crawl, page, missing(page) ? 404 : 200);
}

static char *event(const char *crawl, int n)
{
    if (n == 0)
        return lifecycle(crawl, "started");
    if (n == EVENTS - 1)
        return lifecycle(crawl, "completed");
    return page_event(crawl, n - 1);
}

/* --- delivery ---------------------------------------------------------------------------- */

struct order {
    int events[3 * EVENTS];
    int n;
};

/* Each event one to three times, shuffled; seed 0: once each, in order. */
static struct order order_of(unsigned seed)
{
    struct order o = {.n = 0};
    for (int i = 0; i < EVENTS; i++)
        for (int times = seed ? 1 + rand_r(&seed) % 3 : 1; times > 0; times--)
            o.events[o.n++] = i;
    for (int i = o.n - 1; seed && i > 0; i--) {
        int j = rand_r(&seed) % (i + 1), t = o.events[i];
        o.events[i] = o.events[j];
        o.events[j] = t;
    }
    return o;
}

static int answer_of(int event)
{
    return event == 0 || event == EVENTS - 1 ? 200 : 202;
}

/* Every POSTERS-th event of the order; the number of wrong answers. */
static int post_share(struct rig *r, const char *crawl, const struct order *o, int poster)
{
    static const char headers[] =
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n";
    int wrong = 0;
    for (int i = poster; i < o->n; i += POSTERS) {
        char *body = event(crawl, o->events[i]);
        struct test_reply reply =
            test_http(r->producer_port, "POST", ROUTE, headers, body, strlen(body));
        wrong += reply.status != answer_of(o->events[i]);
        free(body);
    }
    return wrong;
}

static void deliver(struct rig *r, const char *crawl, unsigned seed)
{
    struct order o = order_of(seed);
    pid_t posters[POSTERS];
    for (int p = 0; p < POSTERS; p++) {
        posters[p] = fork();
        if (posters[p] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(post_share(r, crawl, &o, p) ? 1 : 0);
        }
    }
    for (int p = 0; p < POSTERS; p++) {
        int status;
        cr_assert_eq(waitpid(posters[p], &status, 0), posters[p]);
        cr_assert_eq(status, 0, "an event was not accepted (seed %u)", seed);
    }
}

/* --- what is left ------------------------------------------------------------------------ */

static bool queue_done(struct rig *r)
{
    return redis_int(r->redis, "XLEN {hookline}:q:crawl") == 0 &&
           redis_int(r->redis, "ZCARD {hookline}:later:crawl") == 0;
}

/* All of the row that does not tell the time. */
static const char *session(struct rig *r, const char *crawl)
{
    return sql_text(r->db,
        "SELECT concat_ws('|', base_url, status, success, operation_type, total_pages,"
        " pages_indexed, pages_failed, total_urls, completed_urls, failed_urls, auto_index,"
        " extra_metadata, coalesce(error_message, '-'), initiated_at AT TIME ZONE 'UTC',"
        " completed_at > started_at OR completed_at = started_at,"
        " abs(duration_ms - extract(epoch FROM completed_at - started_at) * 1000) < 0.01,"
        " abs(e2e_duration_ms - extract(epoch FROM completed_at - initiated_at) * 1000) < 0.01)"
        " FROM webhook.crawl_sessions WHERE job_id = '%s'",
        crawl);
}

static const char *expected_session(void)
{
    return harness_text(SITE "|completed|t|crawl|%d|%d|%d|%d|%d|%d|t|"
                             "{\"url\": \"" SITE
                             "\", \"initiated_at\": \"2026-11-23T10:00:00Z\"}|-|"
                             "2026-11-23 10:00:00|t|t|t",
        PAGES, PAGES - PAGES / MISSING_EVERY, PAGES / MISSING_EVERY, PAGES,
        PAGES - PAGES / MISSING_EVERY, PAGES / MISSING_EVERY);
}

static void expect_crawl(struct rig *r, const char *crawl, unsigned seed)
{
    WAIT_FOR(queue_done(r), SOON);
    cr_expect_str_eq(session(r, crawl), expected_session(), "seed %u: %s", seed, session(r, crawl));
    cr_expect_eq(sql_int(r->db,
                     "SELECT count(*) FROM webhook.scraped_content WHERE crawl_session_id = '%s'"
                     " AND content_source = 'firecrawl_crawl' AND links = 'null'",
                     crawl),
        PAGES);
    cr_expect_eq(
        sql_int(
            r->db, "SELECT count(*) FROM webhook.documents WHERE url LIKE '" SITE "/%s/%%'", crawl),
        PAGES - PAGES / MISSING_EVERY);
    cr_expect_eq(
        sql_int(r->db, "SELECT count(*) FROM webhook.crawl_events WHERE crawl_id = '%s'", crawl),
        EVENTS, "each event is recorded once");
    cr_expect_eq(redis_int(r->redis, "EXISTS {hookline}:dead"), 0);
}

Test(crawl, any_order_and_any_repetition_end_in_the_same_session)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_CRAWL_RECONCILE=off"));
    unsigned seeds[] = {0, (unsigned)getpid(), (unsigned)getpid() * 7919u + 1};
    for (size_t i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
        const char *crawl = harness_text("%012d-crawl-%zu", (int)getpid(), i);
        deliver(&r, crawl, seeds[i]);
        expect_crawl(&r, crawl, seeds[i]);
    }
}

Test(crawl, no_event_is_lost_when_workers_are_killed_all_the_while)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2,
        RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_CRAWL_RECONCILE=off", "WEBHOOK_MAX_STARTS=100"));
    const char *crawl = harness_text("%012d-killed", (int)getpid());
    unsigned seed = (unsigned)getpid();
    for (int part = 0; part < 4; part++) {
        deliver(&r, crawl, seed + (unsigned)part);
        pid_t pid = rig_worker(&r);
        if (pid)
            kill(pid, SIGKILL);
    }
    expect_crawl(&r, crawl, seed);
}
