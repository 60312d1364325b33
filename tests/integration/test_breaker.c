/* The circuit of Firecrawl: what reaches it while it is in trouble, who is charged, what people see,
 * and that everything completes once it is back. Two worker processes that know each other through
 * PostgreSQL only. */
#include "tests/support/canned.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

TestSuite(breaker, .timeout = 90);

enum { SOON = 30000, EVENTS = 20 };

#define FLEET                                                                                      \
    RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_CONCURRENCY=4", "WEBHOOK_BREAKER_FAILURES=3",            \
        "WEBHOOK_BREAKER_PAUSE=2", "WEBHOOK_MAX_ATTEMPTS=5", "WEBHOOK_RETRY_MAX=20")

static bool state_is(struct rig *r, const char *state)
{
    return strcmp(sql_text(r->db, "SELECT state FROM webhook.upstreams"), state) == 0;
}

static void post_many(struct rig *r)
{
    for (int i = 0; i < EVENTS; i++)
        rig_post(r, "/ok/%d", i);
}

static long sum_of_attempts(struct rig *r)
{
    return sql_int(r->db, "SELECT coalesce(sum(attempts), 0) FROM webhook.change_events");
}

static int logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

static void expect_all_completed(struct rig *r)
{
    WAIT_FOR(rig_rows(r, "rescrape_status = 'completed'") == EVENTS, SOON);
    WAIT_FOR(state_is(r, "closed"), SOON);
    WAIT_FOR(rig_queue_empty(r), SOON);
    cr_expect_eq(redis_int(r->redis, "EXISTS {hookline}:dead"), 0);
}

/* Whatever is under way has come back: nothing changes any more but by probes. */
static void wait_until_open(struct rig *r)
{
    WAIT_FOR(state_is(r, "open") && rig_rows(r, "rescrape_status = 'in_progress'") == 0, SOON);
}

Test(breaker, while_firecrawl_fails_only_probes_reach_it_and_one_at_a_time)
{
    struct rig r;
    rig_start(&r);
    rig_firecrawl_fails(&r, 503, -1);
    post_many(&r);
    struct test_proc *fleet = rig_fleet(&r, 2, FLEET);
    wait_until_open(&r);
    /* Both processes may be full when it opens. */
    cr_expect_leq(rig_asked(&r), 2 * 4 + logged(fleet, "upstream_half_open"));
    int asked = rig_asked(&r), probes = logged(fleet, "upstream_half_open");

    WAIT_FOR(logged(fleet, "upstream_half_open") >= probes + 2, SOON);
    cr_expect_leq(rig_asked(&r) - asked, logged(fleet, "upstream_half_open") - probes + 1);
    cr_expect_leq(sum_of_attempts(&r), 2 * 3 + logged(fleet, "upstream_half_open"),
        "those that opened it, and the probes");
    cr_expect_eq(rig_rows(&r, "rescrape_status LIKE 'failed%'"), 0);
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.upstreams"), 1);

    rig_firecrawl_fails(&r, 0, 0);
    expect_all_completed(&r);
    cr_expect(test_proc_logged(fleet, "upstream_closed"));
}

Test(breaker, pages_that_always_fail_do_not_hold_up_the_others)
{
    enum { BAD = 12 };
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < BAD; i++)
        rig_post(&r, "/fail/500/x%d", i);
    post_many(&r);
    struct test_proc *fleet = rig_fleet(&r, 2,
        RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_CONCURRENCY=4", "WEBHOOK_BREAKER_FAILURES=3",
            "WEBHOOK_BREAKER_PAUSE=2", "WEBHOOK_MAX_ATTEMPTS=3"));
    WAIT_FOR(test_proc_logged(fleet, "upstream_opened"), SOON);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == EVENTS, SOON);
    WAIT_FOR(rig_rows(&r, "rescrape_status LIKE 'failed%'") == BAD, SOON);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'completed' AND attempts > 0"), 0);
}

Test(breaker, nobody_is_charged_while_firecrawl_is_down_but_for_the_first_failures)
{
    struct rig r;
    rig_start(&r);
    rig_firecrawl_kill(&r);
    post_many(&r);
    struct test_proc *fleet = rig_fleet(&r, 2, FLEET);
    wait_until_open(&r);
    long charged = sum_of_attempts(&r);
    cr_expect_leq(charged, 2 * 3, "%ld", charged);
    WAIT_FOR(logged(fleet, "upstream_half_open") >= 2, SOON);
    wait_until_open(&r);
    cr_expect_eq(sum_of_attempts(&r), charged, "a probe without a connection is no page's fault");

    rig_firecrawl_restart(&r);
    expect_all_completed(&r);
    cr_expect_eq(sum_of_attempts(&r), charged);
    cr_expect_eq(rig_asked(&r), EVENTS);
}

Test(breaker, one_429_opens_it_for_as_long_as_firecrawl_asks)
{
    struct rig r;
    rig_start(&r);
    rig_firecrawl_fails(&r, 429, 8);
    struct test_proc *fleet = rig_fleet(&r, 2, FLEET);
    struct rig_id id = rig_post(&r, "/ok/first");
    WAIT_FOR(state_is(&r, "open"), SOON);
    cr_expect_eq(rig_asked(&r), 1);
    cr_expect_eq(sql_int(r.db, "SELECT (open_until - changed_at > interval '7.9 s' AND"
                               " open_until - changed_at <= interval '8 s')::int"
                               " FROM webhook.upstreams"),
        1);
    WAIT_FOR(strcmp(rig_row(&r, id, "rescrape_status, attempts"), "queued|1") == 0, SOON);
    cr_expect_str_eq(rig_row(&r, id, "next_attempt_at > now() + interval '5 seconds'"), "t");
    WAIT_FOR(logged(fleet, "upstream_opened") >= 2, SOON); /* the other process knows, too */
    struct rig_id other = rig_post(&r, "/ok/other");
    rig_firecrawl_fails(&r, 0, 0);
    WAIT_FOR(rig_status_is(&r, id, "completed") && rig_status_is(&r, other, "completed"), SOON);
    cr_expect_str_eq(rig_row(&r, other, "attempts, claim_epoch"), "0|1",
        "it waited in the stream, not even claimed");
    cr_expect_eq(sql_int(r.db, "SELECT (min(claimed_at) >= (SELECT max(created_at)"
                               " FROM webhook.change_events) + interval '2 s')::int"
                               " FROM webhook.change_events"),
        1, "nobody asked before the time was over");
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(breaker, status_shows_it)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status", "--json"), &out), 0, "%s", out);
    cr_expect(strstr(out, "\"upstreams\":[]"), "%s", out);
    rig_firecrawl_fails(&r, 429, 600);
    rig_post(&r, "/ok/first");
    WAIT_FOR(state_is(&r, "open"), SOON);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status", "--json"), &out), 0, "%s", out);
    const char *at = strstr(out, "\"upstreams\":[{\"host\":\"127.0.0.1:");
    cr_expect(at && strstr(at, "\"state\":\"open\",\"failures\":5,\"seconds_left\":"), "%s", out);
    cr_expect(strstr(out, "\"last_error\":\"Firecrawl answered 429\""), "%s", out);
    cr_expect_eq(rig_ctl(&r, RIG_ENV("status"), &out), 0, "%s", out);
    cr_expect(strstr(out, "UPSTREAM"), "%s", out);
}

Test(breaker, zero_switches_it_off)
{
    struct rig r;
    rig_start(&r);
    rig_firecrawl_fails(&r, 429, 1);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_BREAKER_FAILURES=0", "WEBHOOK_MAX_ATTEMPTS=2"));
    for (int i = 0; i < 6; i++)
        rig_post(&r, "/ok/%d", i);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'failed: Firecrawl answered 429'") == 6, SOON);
    cr_expect_eq(rig_asked(&r), 12);
    cr_expect_not(test_proc_logged(fleet, "upstream_opened"));
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.upstreams"), 0);
}

Test(breaker, failures_of_pages_never_open_it)
{
    static const char *const paths[] = {"/target/500", "/target/404", "/target/429", "/empty",
        "/fail/500/SCRAPE_ALL_ENGINES_FAILED", "/fail/408", "/fail/403", "/success-false"};
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_BREAKER_FAILURES=1", "WEBHOOK_MAX_ATTEMPTS=2"));
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        rig_post(&r, "%s", paths[i]);
    WAIT_FOR(rig_rows(&r, "rescrape_status LIKE 'failed: %'") == 8, SOON);
    cr_expect_not(test_proc_logged(fleet, "upstream_opened"), "%s", test_proc_log(fleet));
    cr_expect_eq(sql_int(r.db, "SELECT count(*) FROM webhook.upstreams"), 0);
}

/* The worker that tries Firecrawl dies: another one tries at once, not when the probe is overdue. */
Test(breaker, a_probe_whose_worker_died_is_taken_over)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.upstreams (host, state, failures, open_until, probe_by) VALUES"
        " ('127.0.0.1:%d', 'half_open', 5, now() + interval '1 hour', 'worker-long-dead')",
        r.firecrawl_port);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(test_proc_logged(fleet, "upstream_opened"), SOON);
    struct rig_id id = rig_post(&r, "/ok/heron");
    WAIT_FOR(rig_status_is(&r, id, "completed") && state_is(&r, "closed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(breaker, what_another_process_opened_holds_this_one_back)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.upstreams (host, state, failures, open_until) VALUES"
        " ('127.0.0.1:%d', 'open', 5, now() + interval '1 hour')",
        r.firecrawl_port);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    WAIT_FOR(test_proc_logged(fleet, "upstream_opened"), SOON);
    struct rig_id id = rig_post(&r, "/ok/heron");
    rig_post(&r, "/ok/egret");
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:change") +
                     redis_int(r.redis, "ZCARD {hookline}:later") ==
                 2,
        SOON);
    cr_expect_eq(rig_asked(&r), 0);
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, claim_epoch"), "queued|0");
    sql_exec(r.db, "UPDATE webhook.upstreams SET state = 'closed', open_until = NULL");
    WAIT_FOR(test_proc_logged(fleet, "upstream_closed"), SOON);
    struct rig_id next = rig_post(&r, "/ok/ibis");
    WAIT_FOR(rig_status_is(&r, next, "completed"), SOON);
}

/* What one process finds out while PostgreSQL is away, the fleet learns afterwards. */
Test(breaker, an_opening_is_written_down_when_postgres_is_back)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1,
        RIG_ENV(
            "WEBHOOK_LEASE_SECONDS=30", "WEBHOOK_BREAKER_FAILURES=1", "WEBHOOK_BREAKER_PAUSE=8"));
    struct rig_id id = rig_post(&r, "/hold/outage");
    WAIT_FOR(rig_scrapes(&r, "/hold/outage") == 1, SOON);
    test_pg_kill(r.pg);
    rig_firecrawl_kill(&r);
    WAIT_FOR(test_proc_logged(fleet, "upstream_opened"), SOON);
    test_pg_restart(r.pg);
    WAIT_FOR(state_is(&r, "open"), SOON);
    WAIT_FOR(strcmp(rig_row(&r, id, "rescrape_status, attempts"), "queued|1") == 0, SOON);

    rig_release(&r);
    rig_firecrawl_restart(&r);
    WAIT_FOR(rig_status_is(&r, id, "completed") && state_is(&r, "closed"), SOON);
    cr_expect_str_eq(rig_row(&r, id, "attempts"), "1");
}

/* --- direct: each page's host has a circuit of its own ------------------------------------ */

static atomic_bool throttles;

static bool shop(const struct canned_request *r)
{
    if (atomic_load(&throttles))
        canned_answer(r, 429, "Retry-After: 3\r\n", "");
    else
        canned_answer(r, 200, "Content-Type: text/plain\r\n", "Readable text.");
    return true;
}

static bool library(const struct canned_request *r)
{
    canned_answer(r, 200, "Content-Type: text/plain\r\n", "Readable text.");
    return true;
}

/* What the rig puts before the path becomes a user's name. */
#define AT "@127.0.0.1:%d/%d"

Test(breaker, a_throttling_host_is_left_alone_while_others_are_fetched)
{
    struct rig r;
    rig_start(&r);
    atomic_store(&throttles, true);
    struct canned *one = canned_start("127.0.0.1", shop, NULL);
    struct canned *two = canned_start("127.0.0.1", library, NULL);
    struct test_proc *fleet = rig_fleet(&r, 1,
        RIG_ENV("WEBHOOK_SCRAPER=direct", "WEBHOOK_DIRECT_ALLOW_PRIVATE=true",
            "WEBHOOK_DIRECT_PER_HOST=1", "WEBHOOK_RETRY_MAX=10"));
    rig_post(&r, AT, canned_port(one), 0);
    WAIT_FOR(test_proc_logged(fleet, "upstream_opened"), SOON);
    int asked = canned_requests(one);
    for (int i = 1; i <= 5; i++) {
        rig_post(&r, AT, canned_port(one), i);
        rig_post(&r, AT, canned_port(two), i);
    }
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 5, SOON);
    atomic_store(&throttles, false);
    cr_expect_eq(asked, 1);
    cr_expect_leq(canned_requests(one), 2, "the first, and at most a probe");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 11, SOON);
    cr_expect_eq(sum_of_attempts(&r), 1, "the one that opened it");
    cr_expect(state_is(&r, "closed"));
    WAIT_FOR(rig_queue_empty(&r), SOON);
    canned_stop(one);
    canned_stop(two);
}
