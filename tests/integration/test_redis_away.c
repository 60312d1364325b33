/* Redis cannot be used while events come and run: dead, hanging, read-only, full, unable to save,
 * evicting. Workers claim from the rows meanwhile and go back to the queue by themselves; every
 * event is fetched once, whichever way it came. */
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(redis_away, .timeout = 120);

enum { SOON = 30000 };

static void wait_ms(int64_t ms) /* where it is the time that passes which is looked at */
{
    int64_t until = harness_now_ms() + ms;
    WAIT_FOR(harness_now_ms() >= until, (int)ms + 5000);
}

static int times_logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

/* Events about pages that nobody else is about: /slow/20/FIRST and on. */
static void post_pages(struct rig *r, int first, int n)
{
    for (int i = first; i < first + n; i++)
        rig_post(r, "/slow/20/%d", i);
}

static void expect_each_fetched_once(struct rig *r, int n)
{
    WAIT_FOR(rig_rows(r, "rescrape_status = 'completed'") == n, SOON);
    cr_expect_eq(rig_rows(r, "attempts = 0 AND starts = 0"), n);
    for (int i = 0; i < n; i++)
        cr_expect_eq(rig_scrapes(r, harness_text("/slow/20/%d", i)), 1, "page %d", i);
}

static void expect_way_back(struct rig *r, struct test_proc *fleet, int page)
{
    WAIT_FOR(test_proc_logged(fleet, "\"queue_is_back\""), SOON);
    post_pages(r, page, 1);
    expect_each_fetched_once(r, page + 1);
    WAIT_FOR(rig_queue_empty(r), SOON);
}

/* --- dead -------------------------------------------------------------------------------- */

Test(redis_away, events_are_done_though_redis_never_was_there)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    post_pages(&r, 0, 20);
    expect_each_fetched_once(&r, 20);
    cr_expect(test_proc_logged(fleet, "\"claiming_by_row\""));
    cr_expect_not(test_proc_logged(fleet, "\"queue_is_back\""));
}

Test(redis_away, no_event_runs_twice_when_redis_dies_and_comes_back_under_flow)
{
    enum { ROUNDS = 3, BATCH = 25 };
    struct rig r;
    int n = 0;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_LEASE_SECONDS=30"));
    for (int round = 1; round <= ROUNDS; round++) {
        post_pages(&r, n, BATCH);
        test_redis_kill(r.redis);
        post_pages(&r, n + BATCH, BATCH);
        WAIT_FOR(times_logged(fleet, "\"claiming_by_row\"") >= 2 * round, SOON);
        post_pages(&r, n + 2 * BATCH, BATCH);
        test_redis_restart(r.redis);
        post_pages(&r, n + 3 * BATCH, BATCH);
        n += 4 * BATCH;
        WAIT_FOR(times_logged(fleet, "\"queue_is_back\"") >= 2 * round, SOON);
    }
    expect_each_fetched_once(&r, n);
    cr_expect_eq(rig_rows(&r, "claim_epoch = 1"), n, "each was claimed once");
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(redis_away, what_comes_both_ways_at_once_runs_once)
{
    enum { PAGES = 20 };
    struct rig r;
    rig_start_own_pg(&r);
    redis_text(r.redis, "XGROUP CREATE {hookline}:q:change workers 0 MKSTREAM");
    for (int i = 0; i < PAGES; i++)
        rig_post(&r, "/slow/1000/%d", i);
    test_redis_kill(r.redis);
    struct test_proc *fleet = rig_fleet(&r, 1, RIG_ENV("WEBHOOK_LEASE_SECONDS=30"));
    test_pg_pause(r.pg); /* the claim by row is under way ... */
    WAIT_FOR(test_proc_logged(fleet, "\"claiming_by_row\""), SOON);
    test_redis_restart(r.redis);
    WAIT_FOR(rig_pending(&r) == PAGES, SOON); /* ... while the entries of the same rows arrive */
    test_pg_resume(r.pg);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == PAGES, SOON);
    for (int i = 0; i < PAGES; i++)
        cr_expect_eq(rig_scrapes(&r, harness_text("/slow/1000/%d", i)), 1, "page %d", i);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(redis_away, several_fleets_share_the_rows)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_LEASE_SECONDS=30"));
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2", "WEBHOOK_LEASE_SECONDS=30"));
    post_pages(&r, 0, 150);
    expect_each_fetched_once(&r, 150);
    cr_expect_eq(rig_rows(&r, "claim_epoch = 1"), 150);
}

Test(redis_away, retries_wait_for_their_time)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=60", "WEBHOOK_RETRY_MAX=60"));
    struct rig_id id = rig_post(&r, "/flaky/1");
    WAIT_FOR(strcmp(rig_row(&r, id, "rescrape_status, attempts"), "queued|1") == 0, SOON);
    sql_exec(r.db, "UPDATE webhook.change_events SET next_attempt_at = now() + interval '1 hour'");
    wait_ms(3000); /* looked for in vain a few times */
    cr_expect_str_eq(rig_row(&r, id, "rescrape_status, attempts"), "queued|1");
    sql_exec(r.db, "UPDATE webhook.change_events SET next_attempt_at = now()");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    cr_expect_eq(rig_scrapes(&r, "/flaky/1"), 2);
}

Test(redis_away, a_retry_of_that_time_is_in_the_queue_when_redis_is_back)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=60", "WEBHOOK_RETRY_MAX=60"));
    struct rig_id id = rig_post(&r, "/flaky/1");
    WAIT_FOR(strcmp(rig_row(&r, id, "rescrape_status, attempts"), "queued|1") == 0, SOON);
    test_redis_restart(r.redis);
    WAIT_FOR(test_proc_logged(fleet, "\"queue_is_back\""), SOON);
    sql_exec(r.db, "UPDATE webhook.change_events SET next_attempt_at = now()");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(redis_away, a_paused_queue_rests)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    sql_exec(r.db, "UPDATE webhook.queues SET paused_at = now()");
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    post_pages(&r, 0, 3);
    WAIT_FOR(test_proc_logged(fleet, "\"claiming_by_row\""), SOON);
    wait_ms(2500);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND claim_epoch = 0"), 3);
    sql_exec(r.db, "UPDATE webhook.queues SET paused_at = NULL");
    expect_each_fetched_once(&r, 3);
}

Test(redis_away, a_failure_for_good_holds_up_nothing_and_is_a_dead_letter_when_redis_is_back)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_CONCURRENCY=1"));
    struct rig_id id = rig_post(&r, "/fail/400");
    WAIT_FOR(strncmp(rig_row(&r, id, "rescrape_status"), "failed: ", 8) == 0, SOON);
    post_pages(&r, 0, 2);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 2, 5000);
    test_redis_restart(r.redis);
    WAIT_FOR(*rig_dead_letter(&r, id.text), SOON);
    cr_expect(strncmp(rig_dead_letter(&r, id.text), "Firecrawl", 9) == 0, "%s",
        rig_dead_letter(&r, id.text));
    WAIT_FOR(rig_queue_empty(&r), SOON);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 1);
}

/* While the old job still tries to tell Redis how it ended, its event is due again, and found by its
 * row. */
Test(redis_away, a_retry_does_not_wait_for_the_job_before_it_to_reach_redis)
{
    enum { PAGES = 8 };
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet =
        rig_fleet(&r, 1, RIG_ENV("WEBHOOK_LEASE_SECONDS=60", "WEBHOOK_BREAKER_FAILURES=0"));
    for (int i = 0; i < PAGES; i++)
        rig_post(&r, "/hold/%d", i);
    WAIT_FOR(rig_asked(&r) == PAGES, SOON);
    test_redis_pause(r.redis);
    WAIT_FOR(test_proc_logged(fleet, "\"claiming_by_row\""), SOON);
    rig_release(&r);
    rig_firecrawl_kill(&r); /* each fails and is due again within a second */
    rig_firecrawl_restart(&r);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == PAGES, SOON);
    test_redis_resume(r.redis);
    WAIT_FOR(rig_queue_empty(&r), SOON);
}

Test(redis_away, a_fleet_drains_without_redis)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/drained");
    WAIT_FOR(rig_scrapes(&r, "/hold/drained") == 1, SOON);
    test_proc_signal(fleet, SIGTERM);
    WAIT_FOR(test_proc_logged(fleet, "\"draining\""), SOON);
    rig_release(&r);
    cr_expect_eq(test_proc_wait(fleet, SOON), 0, "%s", test_proc_log(fleet));
    cr_expect(rig_status_is(&r, id, "completed"));
    cr_expect_eq(rig_rows(&r, "claimed_by IS NOT NULL AND rescrape_status = 'in_progress'"), 0);
}

/* --- there, but of no use ---------------------------------------------------------------- */

/* Words with blanks in them. */
static void redis_words(struct test_redis *redis, const char *const *words)
{
    const char *port = strrchr(test_redis_url(redis), ':');
    int n = 0;
    while (words[n])
        n++;
    redisContext *c = redisConnect("127.0.0.1", atoi(port + 1));
    redisReply *reply = redisCommandArgv(c, n, (const char **)words, NULL);
    cr_assert(reply && reply->type != REDIS_REPLY_ERROR, "%s %s", words[0], reply->str);
    freeReplyObject(reply);
    redisFree(c);
}

static void hang(struct test_redis *redis)
{
    test_redis_pause(redis);
}

static void go_on(struct test_redis *redis)
{
    test_redis_resume(redis);
}

static void fill(struct test_redis *redis)
{
    redis_text(redis, "CONFIG SET maxmemory 1");
}

static void enlarge(struct test_redis *redis)
{
    redis_text(redis, "CONFIG SET maxmemory 0");
}

static void demote(struct test_redis *redis)
{
    redis_text(redis, "REPLICAOF 127.0.0.1 %d", harness_free_port());
}

static void promote(struct test_redis *redis)
{
    redis_text(redis, "REPLICAOF NO ONE");
}

static const char *snapshot(struct test_redis *redis)
{
    return harness_text("%s/dump.rdb", strchr(redis_text(redis, "CONFIG GET dir"), '\n') + 1);
}

/* It cannot replace a folder by its snapshot. */
static void stop_saving(struct test_redis *redis)
{
    cr_assert_eq(mkdir(snapshot(redis), 0755), 0);
    redis_words(redis, (const char *[]){"CONFIG", "SET", "save", "3600 1000000", NULL});
    redis_text(redis, "BGSAVE");
    WAIT_FOR(strstr(redis_text(redis, "INFO persistence"), "rdb_last_bgsave_status:err"), SOON);
}

static void save_again(struct test_redis *redis)
{
    cr_assert_eq(rmdir(snapshot(redis)), 0);
    redis_text(redis, "BGSAVE");
    WAIT_FOR(strstr(redis_text(redis, "INFO persistence"), "rdb_last_bgsave_status:ok"), SOON);
}

static void evict(struct test_redis *redis)
{
    redis_text(redis, "CONFIG SET maxmemory-policy allkeys-lru");
    redis_text(redis, "CONFIG SET maxmemory 1000000000");
    redis_text(redis, "CLIENT KILL TYPE normal"); /* it is looked at with each connection */
}

static void keep_all(struct test_redis *redis)
{
    redis_text(redis, "CONFIG SET maxmemory-policy noeviction");
    redis_text(redis, "CLIENT KILL TYPE normal");
}

/* While Redis is in trouble events are done within seconds; afterwards the queue is used again, by
 * the same processes. */
static void check_trouble(
    void (*begin)(struct test_redis *redis), void (*end)(struct test_redis *redis))
{
    struct rig r;
    rig_start(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    const char *worker = sql_text(r.db, "SELECT id FROM webhook.workers");
    post_pages(&r, 0, 5);
    begin(r.redis);
    post_pages(&r, 5, 10);
    WAIT_FOR(test_proc_logged(fleet, "\"claiming_by_row\""), SOON);
    expect_each_fetched_once(&r, 15);
    end(r.redis);
    expect_way_back(&r, fleet, 15);
    cr_expect_str_eq(sql_text(r.db, "SELECT string_agg(id, ',') FROM webhook.workers"), worker);
}

Test(redis_away, redis_hangs)
{
    check_trouble(hang, go_on);
}

Test(redis_away, redis_is_full)
{
    check_trouble(fill, enlarge);
}

Test(redis_away, redis_is_read_only)
{
    check_trouble(demote, promote);
}

Test(redis_away, redis_cannot_save)
{
    check_trouble(stop_saving, save_again);
}

Test(redis_away, redis_evicts)
{
    check_trouble(evict, keep_all);
}
