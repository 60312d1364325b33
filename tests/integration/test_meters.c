/* What Prometheus is told, after one of each happening: the series that went up, by how much, and no
 * other of their families. Producer and worker are the real ones, and so is /metrics. */
#include "tests/support/fleet.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(meters, .timeout = 120);

enum { SOON = 20000 };

#define CHANGE "/api/webhook/changedetection"
#define CRAWL  "/api/webhook/firecrawl"

static struct rig rig;

/* --- reading --------------------------------------------------------------------------------- */

static const char *scrape(int port)
{
    struct test_reply r =
        test_http(port, "GET", "/metrics", "Authorization: Bearer " RIG_API_SECRET "\r\n", NULL, 0);
    cr_assert_eq(r.status, 200, "%s", r.body);
    return r.body;
}

/* Of "name{labels}"; -1 = there is no such series. */
static double value(const char *metrics, const char *series, size_t len)
{
    for (const char *at = metrics; (at = strstr(at, series)); at++)
        if ((at == metrics || at[-1] == '\n') && at[len] == ' ')
            return strtod(at + len, NULL);
    return -1;
}

static double gauge(int port, const char *series)
{
    return value(scrape(port), series, strlen(series));
}

static bool is_counter(const char *series, size_t len)
{
    const char *labels = memchr(series, '{', len);
    size_t n = labels ? (size_t)(labels - series) : len;
    return (n > 6 && strncmp(series + n - 6, "_total", 6) == 0) ||
           (n > 6 && strncmp(series + n - 6, "_count", 6) == 0);
}

static bool wanted(const char *series, const char *const *families)
{
    for (; *families; families++)
        if (strncmp(series, *families, strlen(*families)) == 0)
            return true;
    return false;
}

/* "series +n\n" of each counter, and each histogram's count, that has gone up. */
static const char *changes(const char *before, int port, const char *const *families)
{
    const char *after = scrape(port);
    struct buf out = {0};
    for (const char *line = after; *line; line += strcspn(line, "\n") + 1) {
        size_t len = strcspn(line, " \n");
        char *series = mem_strndup(line, len);
        if (*line != '#' && is_counter(line, len) && wanted(line, families)) {
            double was = value(before, series, len), is = value(after, series, len);
            if (is != was)
                buf_printf(&out, "%s +%g\n", series, is - (was < 0 ? 0 : was));
        }
        free(series);
        if (!strchr(line, '\n'))
            break;
    }
    const char *text = harness_text("%s", buf_str(&out));
    buf_release(&out);
    return text;
}

/* They come to be these, all of them and no more. */
static void expect_changes(
    const char *before, int port, const char *const *families, const char *expected)
{
    int64_t end = harness_now_ms() + SOON;
    const char *seen = changes(before, port, families);
    while (strcmp(seen, expected) != 0 && harness_now_ms() < end) {
        usleep(20000);
        seen = changes(before, port, families);
    }
    cr_expect_str_eq(seen, expected, "expected:\n%sgot:\n%s", expected, seen);
}

#define FAMILIES(...)                                                                              \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define WEBHOOKS FAMILIES("hookline_webhook")

/* --- posting --------------------------------------------------------------------------------- */

static const char *signed_by(const char *name, const char *secret, const char *body)
{
    return harness_text("Content-Type: application/json\r\n%s: sha256=%s\r\n", name,
        test_sign(secret, body, strlen(body)));
}

static struct test_reply post(int port, const char *path, const char *headers, const char *body)
{
    return test_http(port, "POST", path, headers, body, strlen(body));
}

#define TOKEN "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n"
#define NOTE(url)                                                                                  \
    "{\"watch_id\":\"w\",\"watch_url\":\"" RIG_SITE url "\",\"detected_at\":"                      \
    "\"2026-11-23T10:00:00Z\"}"
#define STARTED(id) "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"" id "\",\"data\":[]}"
#define OLD_STAMP                                                                                  \
    "webhook-id: m1\r\nwebhook-timestamp: 1600000000\r\nwebhook-signature: v1,AAAA\r\n"

#define REFUSED(source, reason)                                                                    \
    "hookline_webhooks_refused_total{source=\"" source "\",reason=\"" reason "\"} +1\n"
#define ACCEPTED(source, where)                                                                    \
    "hookline_webhooks_accepted_total{source=\"" source "\",safe_in=\"" where "\"} +1\n"           \
    "hookline_webhook_accept_seconds_count{source=\"" source "\"} +1\n"
#define DUPLICATE(source)                                                                          \
    "hookline_webhooks_duplicate_total{source=\"" source "\"} +1\n"                                \
    "hookline_webhook_accept_seconds_count{source=\"" source "\"} +1\n"

enum by { BY_HEADERS, BY_SIGNATURE, BY_FIRECRAWL };

static const char *headers_of(enum by by, const char *headers, const char *body)
{
    if (by == BY_HEADERS)
        return headers;
    return signed_by(
        by == BY_FIRECRAWL ? "X-Firecrawl-Signature" : "X-Signature", RIG_SECRET, body);
}

struct webhook {
    const char *path;
    enum by by;
    const char *headers, *body;
    int status;
    const char *expected;
};

static void check(int port, const struct webhook *w)
{
    const char *before = scrape(port);
    cr_expect_eq(post(port, w->path, headers_of(w->by, w->headers, w->body), w->body).status,
        w->status, "%s", w->expected);
    expect_changes(before, port, WEBHOOKS, w->expected);
}

/* --- intake ---------------------------------------------------------------------------------- */

Test(meters, every_webhook_is_counted_once_by_what_became_of_it)
{
    /* clang-format off */
    static const struct webhook webhooks[] = {
        {CHANGE, BY_SIGNATURE, NULL, NOTE("/ok/a"), 202, ACCEPTED("change", "row")},
        {CHANGE, BY_HEADERS, TOKEN "Idempotency-Key: k\r\n", NOTE("/ok/b"), 202, ACCEPTED("change", "row")},
        {CHANGE, BY_HEADERS, TOKEN "Idempotency-Key: k\r\n", NOTE("/ok/b"), 202, DUPLICATE("change")},
        {CHANGE, BY_HEADERS, TOKEN "Idempotency-Key: k\r\n", NOTE("/ok/c"), 409, REFUSED("change", "conflict")},
        {CHANGE, BY_HEADERS, "", NOTE("/ok/a"), 401, REFUSED("change", "credentials")},
        {CHANGE, BY_HEADERS, "X-Signature: sha256=00\r\n", NOTE("/ok/a"), 401, REFUSED("change", "signature")},
        {CHANGE, BY_HEADERS, "X-Webhook-Token: wrong\r\n", NOTE("/ok/a"), 401, REFUSED("change", "token")},
        {CHANGE, BY_HEADERS, OLD_STAMP, NOTE("/ok/a"), 401, REFUSED("change", "timestamp")},
        {CHANGE, BY_HEADERS, TOKEN, "[]", 400, REFUSED("change", "payload")},
        {CHANGE "x", BY_HEADERS, TOKEN, NOTE("/ok/a"), 404, REFUSED("change", "other")},
        {CRAWL, BY_FIRECRAWL, NULL, STARTED("c1"), 200, ACCEPTED("crawl", "redis")},
        {CRAWL, BY_FIRECRAWL, NULL, STARTED("c1"), 200, DUPLICATE("crawl")},
        {CRAWL, BY_HEADERS, "", STARTED("c1"), 401, REFUSED("crawl", "credentials")},
        {CRAWL, BY_HEADERS, "X-Firecrawl-Signature: 00\r\n", STARTED("c1"), 400, REFUSED("crawl", "signature")},
        {CRAWL, BY_HEADERS, "Authorization: Bearer wrong\r\n", STARTED("c1"), 401, REFUSED("crawl", "token")},
        {CRAWL, BY_FIRECRAWL, NULL, "[", 400, REFUSED("crawl", "payload")},
        {CRAWL, BY_FIRECRAWL, NULL, "{\"success\":true}", 422, REFUSED("crawl", "payload")},
    };
    /* clang-format on */
    rig_start(&rig);
    for (size_t i = 0; i < sizeof(webhooks) / sizeof(*webhooks); i++)
        check(rig.producer_port, &webhooks[i]);
}

Test(meters, a_fenced_queue_refuses_by_that_name)
{
    static const struct webhook change = {
        CHANGE, BY_HEADERS, TOKEN, NOTE("/ok/a"), 503, REFUSED("change", "fenced")};
    static const struct webhook crawl = {
        CRAWL, BY_FIRECRAWL, NULL, STARTED("c9"), 503, REFUSED("crawl", "fenced")};
    rig_start(&rig);
    sql_exec(rig.db, "UPDATE webhook.queues SET fenced_at = now()");
    WAIT_FOR(sql_int(rig.db,
                 "SELECT count(*) FROM webhook.producers WHERE fenced @> ARRAY['change','crawl']"),
        SOON);
    check(rig.producer_port, &change);
    check(rig.producer_port, &crawl);
}

/* A producer with other settings, beside the rig's. */
static int start_producer(const char *const *env)
{
    int port, fd = harness_listen(&port);
    rig_start_program(&rig, (const char *const[]){rig_program("hookline-producer"), NULL}, env, fd);
    close(fd);
    WAIT_FOR(test_http(port, "GET", "/livez", NULL, NULL, 0).status == 200, SOON);
    return port;
}

Test(meters, what_httpd_refuses_before_a_handler_sees_it_is_counted_too)
{
#define HEAD(path) "POST " path " HTTP/1.1\r\nHost: h\r\n"
    static const struct {
        const char *request, *expected;
    } requests[] = {
        {HEAD(CHANGE) "Content-Length: 99999999\r\n\r\n",                   REFUSED("change", "too_large")},
        {HEAD(CRAWL) "Content-Length: 999999999\r\n\r\n",                   REFUSED("crawl",  "too_large")},
        {HEAD(CHANGE) "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
         REFUSED("change",                                                                    "protocol") },
        {HEAD(CHANGE) "Content-Length: 10\r\n\r\nabc",                      REFUSED("change", "slow")     },
        {HEAD(CRAWL) "Content-Length: 2000000\r\n\r\n",                     REFUSED("crawl",  "busy")     },
        {"GET " CHANGE " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
         REFUSED("change",                                                                    "other")    },
    };
    rig_start(&rig);
    int port = start_producer(RIG_ENV("WEBHOOK_BODY_TIMEOUT=1s", "WEBHOOK_MAX_BUFFERED_BYTES=1m"));
    for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
        const char *before = scrape(port);
        test_http_raw(port, requests[i].request, strlen(requests[i].request), 1500);
        expect_changes(before, port, WEBHOOKS, requests[i].expected);
    }
}

Test(meters, without_postgresql_events_are_safe_in_the_spool_until_that_is_full)
{
    static const struct webhook taken = {
        CHANGE, BY_HEADERS, TOKEN, NOTE("/ok/a"), 202, ACCEPTED("change", "spool")};
    static const struct webhook refused = {
        CHANGE, BY_HEADERS, TOKEN, NOTE("/ok/b"), 503, REFUSED("change", "unavailable")};
    rig_start(&rig);
    int port = start_producer(RIG_ENV("WEBHOOK_DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing",
        harness_text("WEBHOOK_SPOOL_DIR=%s/alone", harness_dir()), "WEBHOOK_SPOOL_MAX_BYTES=1m"));
    cr_expect_eq(gauge(port, "hookline_intake_can_accept{process=\"producer-0\"}"), 1);
    check(port, &taken);
    WAIT_FOR(gauge(port, "hookline_spool_bytes{source=\"change\"}") > 0, SOON);
    WAIT_FOR(gauge(port, "hookline_spool_oldest_seconds{source=\"change\"}") > 0, SOON);
    cr_expect_eq(gauge(port, "hookline_spool_bytes{source=\"crawl\"}"), 0);

    const char *fill = harness_text("%s/alone/other.seg", harness_dir());
    int fd = open(fill, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(ftruncate(fd, 2 << 20), 0);
    close(fd);
    WAIT_FOR(gauge(port, "hookline_intake_can_accept{process=\"producer-0\"}") == 0, SOON);
    check(port, &refused);
}

Test(meters, with_ack_queue_redis_is_where_an_event_is_safe)
{
    static const struct webhook webhook = {
        CHANGE, BY_HEADERS, TOKEN, NOTE("/ok/a"), 202, ACCEPTED("change", "redis")};
    rig_start(&rig);
    int port = start_producer(RIG_ENV("WEBHOOK_ACK=queue"));
    WAIT_FOR(rig_serves(port), SOON);
    check(port, &webhook);
}

/* --- queues ---------------------------------------------------------------------------------- */

Test(meters, a_producer_shows_the_queues)
{
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        rig_post(&rig, "/ok/%d", i);
    sql_exec(rig.db, "UPDATE webhook.queues SET paused_at = now() WHERE name = 'change'");
    redis_text(rig.redis, "XADD {hookline}:dead * job x reason y");
#define SHOWS(series, n) WAIT_FOR(gauge(rig.producer_port, series) == (n), SOON)
    SHOWS("hookline_queue_jobs{queue=\"change\",place=\"undelivered\"}", 3);
    SHOWS("hookline_queue_paused{queue=\"change\"}", 1);
    SHOWS("hookline_queue_paused{queue=\"crawl\"}", 0);
    SHOWS("hookline_queue_jobs{queue=\"crawl\",place=\"undelivered\"}", 0);
    SHOWS("hookline_dead_letters", 1);
    WAIT_FOR(gauge(rig.producer_port, "hookline_queue_oldest_seconds{queue=\"change\"}") > 0, SOON);
    cr_expect_eq(gauge(rig.producer_port, "hookline_pool_connections_max{pool=\"work\"}"), 4);
    cr_expect_gt(gauge(rig.producer_port, "hookline_resident_bytes{process=\"producer-0\"}"), 1e6);
    WAIT_FOR(gauge(rig.producer_port, "hookline_loop_lag_seconds_count") > 0, SOON);
}

/* --- work ------------------------------------------------------------------------------------ */

#define JOBS                                                                                       \
    FAMILIES("hookline_jobs_total", "hookline_events_superseded", "hookline_fetches",              \
        "hookline_event_seconds", "hookline_fenced", "hookline_zombies", "hookline_workers_decl",  \
        "hookline_job_phase_seconds_count{phase=\"scrape\"}",                                      \
        "hookline_job_phase_seconds_count{phase=\"wait\"}")
#define PHASES(n)                                                                                  \
    "hookline_job_phase_seconds_count{phase=\"wait\"} +" n                                         \
    "\nhookline_job_phase_seconds_count{phase=\"scrape\"} +" n "\n"
#define ENDED(outcome)   "hookline_jobs_total{outcome=\"" outcome "\"} +1\n"
#define FETCHED(outcome) "hookline_fetches_total{outcome=\"" outcome "\"} +1\n"
#define EVENT_DONE       "hookline_event_seconds_count +1\n"

static int admin_port;

static struct test_proc *start_workers(const char *more)
{
    int fd = harness_listen(&admin_port);
    close(fd);
    struct test_proc *fleet = rig_fleet(&rig, 1,
        RIG_ENV(harness_text("WEBHOOK_ADMIN_PORT=%d", admin_port), "WEBHOOK_MAX_ATTEMPTS=2",
            "WEBHOOK_ADMIN_HOST=127.0.0.1", more));
    WAIT_FOR(test_http(admin_port, "GET", "/readyz", NULL, NULL, 0).status == 200, SOON);
    return fleet;
}

Test(meters, each_job_is_counted_once_by_how_it_ended)
{
    /* clang-format off */
    static const struct {
        const char *path, *status, *expected;
    } events[] = {
        {"/ok/a", "completed", ENDED("completed") PHASES("1") EVENT_DONE FETCHED("ok")},
        {"/target/404", "failed%", ENDED("failed") PHASES("1") FETCHED("page_error")},
        {"/flaky/1/x", "completed", ENDED("completed") ENDED("retried") PHASES("2") EVENT_DONE
            FETCHED("ok") FETCHED("upstream_error")},
    };
    /* clang-format on */
    rig_start(&rig);
    start_workers("WEBHOOK_BREAKER_FAILURES=0");
    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++) {
        const char *before = scrape(admin_port);
        struct rig_id id = rig_post(&rig, "%s", events[i].path);
        WAIT_FOR(sql_int(rig.db,
                     "SELECT count(*) FROM webhook.change_events WHERE event_id = '%s' AND "
                     "rescrape_status LIKE '%s'",
                     id.text, events[i].status),
            SOON);
        expect_changes(before, admin_port, JOBS, events[i].expected);
    }
}

Test(meters, events_answered_by_a_later_fetch_are_counted_for_themselves)
{
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        rig_post(&rig, "/ok/same");
    for (int i = 0; i < 2; i++)
        rig_post(&rig, "/ok/other");
    start_workers("WEBHOOK_CONCURRENCY=8");
    WAIT_FOR(rig_rows(&rig, "rescrape_status IN ('completed', 'superseded')") == 5, SOON);
    WAIT_FOR(rig_queue_empty(&rig), SOON);
    cr_expect_eq(gauge(admin_port, "hookline_jobs_total{outcome=\"completed\"}"),
        rig_rows(&rig, "rescrape_status = 'completed'"));
    cr_expect_eq(gauge(admin_port, "hookline_events_superseded_total"),
        rig_rows(&rig, "rescrape_status = 'superseded'"));
    cr_expect_gt(rig_rows(&rig, "rescrape_status = 'superseded'"), 0);
}

Test(meters, a_result_that_comes_too_late_is_a_fenced_write)
{
    rig_start(&rig);
    start_workers("WEBHOOK_CONCURRENCY=8");
    const char *before = scrape(admin_port);
    struct rig_id id = rig_post(&rig, "/hold/a");
    WAIT_FOR(rig_scrapes(&rig, "/hold/a") == 1, SOON);
    WAIT_FOR(gauge(admin_port, "hookline_jobs_in_flight{queue=\"change\"}") == 1, SOON);
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'completed', claim_epoch = "
        "claim_epoch + 1, finished_at = now() WHERE event_id = '%s'",
        id.text);
    rig_release(&rig);
    expect_changes(before, admin_port, JOBS,
        ENDED("lost") PHASES("1") FETCHED("ok") "hookline_fenced_writes_total +1\n");
    WAIT_FOR(gauge(admin_port, "hookline_jobs_in_flight{queue=\"change\"}") == 0, SOON);
}

Test(meters, a_killed_worker_is_declared_dead_and_its_events_are_taken_back_once)
{
    rig_start(&rig);
    start_workers("WEBHOOK_CONCURRENCY=8");
    const char *before = scrape(admin_port);
    struct rig_id id = rig_post(&rig, "/hold/a");
    WAIT_FOR(rig_scrapes(&rig, "/hold/a") == 1, SOON);
    kill(rig_worker(&rig), SIGKILL);
    WAIT_FOR(rig_scrapes(&rig, "/hold/a") == 2, SOON);
    rig_release(&rig);
    WAIT_FOR(rig_status_is(&rig, id, "completed"), SOON);
    expect_changes(before, admin_port, JOBS,
        ENDED("completed") "hookline_job_phase_seconds_count{phase=\"wait\"} +2\n"
                           "hookline_job_phase_seconds_count{phase=\"scrape\"} +1\n" EVENT_DONE
                               FETCHED("ok") "hookline_zombies_recovered_total +1\n"
                                             "hookline_workers_declared_dead_total +1\n");
}

Test(meters, an_open_circuit_is_shown_until_it_is_closed)
{
    rig_start(&rig);
    rig_firecrawl_fails(&rig, 429, 2);
    start_workers("WEBHOOK_BREAKER_PAUSE=1s");
    struct rig_id id = rig_post(&rig, "/ok/a");
    WAIT_FOR(gauge(admin_port, "hookline_circuits{state=\"open\"}") == 1, SOON);
    cr_expect_eq(gauge(admin_port, "hookline_fetches_total{outcome=\"throttled\"}"), 1);
    rig_firecrawl_fails(&rig, 0, 0);
    WAIT_FOR(rig_status_is(&rig, id, "completed"), SOON);
    WAIT_FOR(gauge(admin_port, "hookline_circuits{state=\"open\"}") == 0, SOON);
    WAIT_FOR(gauge(admin_port, "hookline_jobs_total{outcome=\"completed\"}") == 1, SOON);
    cr_expect_eq(gauge(admin_port, "hookline_jobs_total{outcome=\"retried\"}"), 1, "who opened it");
}

Test(meters, what_redis_has_lost_is_counted_when_it_is_published_again)
{
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        rig_post(&rig, "/ok/%d", i);
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:change") == 3, SOON);
    redis_text(rig.redis, "FLUSHALL");
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET created_at = created_at - interval '1 min', "
        "next_attempt_at = next_attempt_at - interval '1 min'"); /* nobody publishes them */
    start_workers("WEBHOOK_INDEX=postgres");
    WAIT_FOR(rig_rows(&rig, "rescrape_status = 'completed'") == 3, SOON);
    WAIT_FOR(gauge(admin_port, "hookline_jobs_total{outcome=\"completed\"}") == 3, SOON);
    cr_expect_eq(gauge(admin_port, "hookline_jobs_republished_total"), 3, "%g",
        gauge(admin_port, "hookline_jobs_republished_total"));
}

Test(meters, firecrawls_events_are_counted_apart)
{
    rig_start(&rig);
    start_workers("WEBHOOK_CONCURRENCY=8");
    const char *before = scrape(admin_port), *body = STARTED("c1");
    post(rig.producer_port, CRAWL, headers_of(BY_FIRECRAWL, NULL, body), body);
    expect_changes(before, admin_port, FAMILIES("hookline_crawl_", "hookline_jobs_total"),
        "hookline_crawl_jobs_total{outcome=\"done\"} +1\n");
    cr_expect_gt(gauge(admin_port, "hookline_batch_size_count{kind=\"crawl\"}"), 0);
    WAIT_FOR(gauge(admin_port, "hookline_measurements_total{fate=\"written\"}") > 0, SOON);
    cr_expect_eq(gauge(admin_port, "hookline_pool_connections_max{pool=\"lease\"}"), 1);
    cr_expect_eq(gauge(admin_port, "hookline_measurements_total{fate=\"dropped\"}"), 0);
    WAIT_FOR(gauge(admin_port, "hookline_lease_age_seconds{process=\"worker-0\"}") > 0, SOON);
}
