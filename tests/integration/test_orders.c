/* What operators tell a running fleet through its rows: queues that are paused, workers that are to be
 * quiet or replaced; and what the processes tell of themselves. T1 itself claims nothing of a paused
 * queue, whoever has not heard of it yet. */
#include "tests/support/fleet.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const char page[] = "https://shop.example.com/page";

enum { SOON = 20000, A_WHILE = 3500 /* a read's longest wait, and more */ };

#define PAUSE(what)  "UPDATE webhook.queues SET paused_at = now() WHERE name = '" what "'"
#define RESUME(what) "UPDATE webhook.queues SET paused_at = NULL WHERE name = '" what "'"
/* Of the living workers. */
#define NOTED(what) "dead_at IS NULL AND status->'paused' ? '" what "'"

/* --- T1 ---------------------------------------------------------------------------------- */

TestSuite(orders_t1, .init = bench_start, .fini = bench_stop, .timeout = 60);

Test(orders_t1, a_paused_queue_claims_nothing_and_says_come_later)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page), *later = bench_event("https://other/");
    bench_accept(s, ev, NULL);
    bench_accept(s, later, NULL);
    bench_set(later, "next_attempt_at = now() + interval '1 hour'");
    sql_exec(bench_url(), PAUSE("change"));
    struct store_claim c = bench_claim(s, ev);
    cr_expect_eq(c.state, CLAIM_EARLY);
    cr_expect_eq(c.wait_ms, 5000);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND starts = 0 AND claim_epoch = 0"));
    c = bench_claim(s, later);
    cr_expect_eq(c.state, CLAIM_EARLY);
    cr_expect_gt(c.wait_ms, 3500000, "its own time is the longer one");

    sql_exec(bench_url(), RESUME("change"));
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_OK);
}

Test(orders_t1, the_pause_of_another_queue_is_nothing_to_events)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    bench_accept(s, ev, NULL);
    sql_exec(bench_url(), PAUSE("crawl"));
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_OK);
}

Test(orders_t1, a_paused_queue_lets_an_unsure_claim_be_repeated_but_takes_nothing_from_the_dead)
{
    struct store *a = bench_store("w1"), *b = bench_store("w2");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(a, ev);
    sql_exec(bench_url(), PAUSE("change"));
    cr_expect_eq(bench_claim_ok(a, ev), epoch + 1, "it is ours");
    cr_expect_eq(bench_claim(b, ev).state, CLAIM_HELD);
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now() WHERE id = 'w1'");
    cr_expect_eq(bench_claim(b, ev).state, CLAIM_EARLY);
    sql_exec(bench_url(), RESUME("change"));
    cr_expect_eq(bench_claim(b, ev).state, CLAIM_OK);
}

Test(orders_t1, what_is_over_is_over_in_a_paused_queue_as_well)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    sql_exec(bench_url(), PAUSE("change"));
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "x"), NULL), HL_OK);
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_DONE);
}

/* --- the fleet --------------------------------------------------------------------------- */

TestSuite(orders, .timeout = 120);

static void let_pass(int ms)
{
    int64_t end = harness_now_ms() + ms;
    WAIT_FOR(harness_now_ms() >= end, SOON);
}

static long workers(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.workers WHERE %s", where);
}

static void post(struct rig *r, const char *path, int n)
{
    for (int i = 0; i < n; i++)
        rig_post(r, "%s/%d", path, i);
}

Test(orders, of_a_paused_queue_nothing_begins_and_what_runs_is_finished)
{
    enum { LATE = 20 };
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 2, RIG_ENV("WEBHOOK_WORKERS=2"));
    struct rig_id running = rig_post(&r, "/hold/one");
    WAIT_FOR(rig_scrapes(&r, "/hold/one") == 1, SOON);
    sql_exec(r.db, PAUSE("change"));
    WAIT_FOR(workers(&r, NOTED("change")) == 2, SOON);
    post(&r, "/ok", LATE);
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, running, "completed"), SOON);
    let_pass(A_WHILE);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND claim_epoch = 0"), LATE);

    sql_exec(r.db, RESUME("change"));
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed' AND claim_epoch = 1 AND attempts = 0"
                          " AND starts = 0") == LATE + 1,
        SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);
    WAIT_FOR(workers(&r, NOTED("change")) == 0, SOON);
}

Test(orders, a_fleet_that_starts_on_a_paused_queue_begins_nothing)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, PAUSE("change"));
    post(&r, "/ok", 5);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(workers(&r, NOTED("change")) == 1, SOON);
    let_pass(A_WHILE);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'queued' AND claim_epoch = 0"), 5);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:change"), 5, "nor is anything read");
    sql_exec(r.db, RESUME("change"));
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 5, SOON);
}

/* Who pauses a queue waits for the processes that it finds: one that is registered a moment later must
 * not go by what it heard a moment before. */
Test(orders, what_a_worker_heard_before_it_had_a_lease_counts_for_nothing)
{
    struct rig r;
    rig_start(&r);
    redis_text(r.redis, "XADD {hookline}:q:crawl * job nonsense");
    sql_exec(r.db,
        "CREATE FUNCTION webhook.register_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " WHILE NOT EXISTS (SELECT FROM webhook.queues WHERE paused_at IS NOT NULL) LOOP"
        "  PERFORM pg_sleep(0.01); END LOOP; RETURN new; END $$;"
        "CREATE TRIGGER register_late BEFORE INSERT ON webhook.workers"
        " FOR EACH ROW EXECUTE FUNCTION webhook.register_late()");
    rig_start_program(&r, (const char *const[]){rig_program("hookline-worker"), NULL}, NULL, -1);
    WAIT_FOR(
        sql_int(r.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), SOON);
    let_pass(200);
    sql_exec(r.db, PAUSE("crawl"));
    WAIT_FOR(workers(&r, NOTED("crawl")) >= 1, SOON);
    let_pass(A_WHILE);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 0);
    sql_exec(r.db, RESUME("crawl"));
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == 1, SOON);
}

/* Who pauses it again would go by the row. */
Test(orders, a_queue_goes_on_only_when_the_row_says_its_pause_is_noted_no_more)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    sql_exec(r.db, PAUSE("crawl"));
    WAIT_FOR(workers(&r, NOTED("crawl")) == 1, SOON);
    let_pass(A_WHILE); /* a read that was under way is over */
    redis_text(r.redis, "XADD {hookline}:q:crawl * job nonsense");
    sql_exec(r.db,
        "CREATE FUNCTION webhook.tell_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.7); RETURN new; END $$;"
        "CREATE TRIGGER tell_late BEFORE UPDATE OF status ON webhook.workers FOR EACH ROW"
        " WHEN (old.status->'paused' <> new.status->'paused')"
        " EXECUTE FUNCTION webhook.tell_late();" RESUME("crawl"));
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == 1, SOON);
    cr_expect_eq(workers(&r, NOTED("crawl")), 0);
}

/* Bytes that are no job become a dead letter as soon as they are read. */
Test(orders, of_a_paused_crawl_queue_nothing_is_read_and_events_go_on)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    sql_exec(r.db, PAUSE("crawl"));
    WAIT_FOR(workers(&r, NOTED("crawl")) == 1, SOON);
    let_pass(A_WHILE); /* a read that was under way is over */
    redis_text(r.redis, "XADD {hookline}:q:crawl * job nonsense");
    struct rig_id id = rig_post(&r, "/ok");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    let_pass(A_WHILE);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:crawl"), 1);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 0);
    sql_exec(r.db, RESUME("crawl"));
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == 1, SOON);
}

Test(orders, a_quiet_worker_takes_nothing_until_it_may_again)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id running = rig_post(&r, "/hold/one");
    WAIT_FOR(rig_scrapes(&r, "/hold/one") == 1, SOON);
    sql_exec(r.db, "UPDATE webhook.workers SET orders = 'quiet'");
    WAIT_FOR(workers(&r, "status->>'phase' = 'quiet'") == 1, SOON);
    struct rig_id late = rig_post(&r, "/ok");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, running, "completed"), SOON);
    let_pass(A_WHILE);
    cr_expect_str_eq(rig_row(&r, late, "rescrape_status, claim_epoch"), "queued|0");
    cr_expect(rig_only_living(&r, 1), "its lease goes on");
    sql_exec(r.db, "UPDATE webhook.workers SET orders = NULL");
    WAIT_FOR(rig_status_is(&r, late, "completed"), SOON);
    WAIT_FOR(workers(&r, "status->>'phase' = 'working'") == 1, SOON);
}

Test(orders, a_kicked_worker_finishes_and_another_takes_over)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id running = rig_post(&r, "/hold/one");
    WAIT_FOR(rig_scrapes(&r, "/hold/one") == 1, SOON);
    const char *old = sql_text(r.db, "SELECT id FROM webhook.workers");
    pid_t pid = rig_worker(&r);
    sql_exec(r.db, "UPDATE webhook.workers SET orders = 'kick'");
    WAIT_FOR(
        sql_int(r.db, "SELECT count(*) FROM webhook.workers WHERE id <> '%s' AND orders IS NULL",
            old) == 1,
        SOON);
    struct rig_id late = rig_post(&r, "/ok");
    WAIT_FOR(rig_status_is(&r, late, "completed"), SOON);
    cr_expect_not(rig_gone(pid), "it has a job");
    rig_release(&r);
    WAIT_FOR(rig_status_is(&r, running, "completed"), SOON);
    WAIT_FOR(rig_gone(pid) && rig_only_living(&r, 1), SOON);
    cr_expect_eq(rig_rows(&r, "claim_epoch = 1 AND attempts = 0 AND starts = 0"), 2);
}

Test(orders, a_worker_tells_its_jobs_their_age_its_pool_and_its_memory)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_DB_POOL_SIZE=3", "WEBHOOK_DB_MAX_OVERFLOW=4"));
    WAIT_FOR(workers(&r, "status->>'phase' = 'working' AND (status->>'jobs')::int = 0") == 1, SOON);
    rig_post(&r, "/ok");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 1, SOON);
    rig_post(&r, "/hold/one");
    WAIT_FOR(workers(&r, "(status->>'jobs')::int = 1 AND (status->>'oldest_ms')::int > 1000"
                         " AND (status->>'done')::int = 1 AND (status->>'crawls')::int = 0") == 1,
        SOON);
    WAIT_FOR(workers(&r, "(status->'pool'->>'max')::int = 7 AND (status->'pool'->>'open')::int >= 1"
                         " AND (status->'pool'->>'busy')::int <= (status->'pool'->>'open')::int"
                         " AND (status->>'rss_kb')::int > 1000"
                         " AND (status->>'restarts')::int = 0") == 1,
        SOON);
    rig_release(&r);
}

Test(orders, without_postgresql_what_was_told_last_stays)
{
    struct rig r;
    rig_start_own_pg(&r);
    struct test_proc *fleet = rig_fleet(&r, 1, NULL);
    sql_exec(r.db, PAUSE("crawl"));
    WAIT_FOR(workers(&r, NOTED("crawl")) == 1, SOON);
    test_pg_kill(r.pg);
    WAIT_FOR(test_proc_logged(fleet, "\"lease_fenced\""), SOON);
    redis_text(r.redis, "XADD {hookline}:q:crawl * job nonsense");
    test_pg_restart(r.pg);
    struct rig_id id = rig_post(&r, "/ok");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    let_pass(A_WHILE);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:dead"), 0);
    sql_exec(r.db, RESUME("crawl"));
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:dead") == 1, SOON);
}
