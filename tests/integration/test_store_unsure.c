/* store, when the outcome is unknown: the connection breaks after a statement was sent. Whether it
 * went through or not, whoever repeats it ends right. A relay between store and PostgreSQL does
 * the breaking. */
#include "base/mem.h"
#include "tests/support/harness.h"
#include "tests/support/relay.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(store_unsure, .init = bench_start, .fini = bench_stop, .timeout = 60);

static const char page[] = "https://example.com/page";
static struct store *s, *direct;

static void warm_up(void);

/* The worker w1, behind the relay; `direct` is it too, past the relay. */
static void start(void)
{
    direct = bench_store("w1");
    s = bench_store_at(relay_start(bench_url()), "w1");
    warm_up();
}

/* Every statement was prepared, so that the next bytes are the statement that counts. */
static void warm_up(void)
{
    struct change_event *ev = bench_event("https://warm/");
    int64_t epoch = bench_begin(s, ev);
    bench_settle(s, ev, epoch, (struct bench_settle){0}, NULL);
    epoch = bench_claim_ok(s, ev);
    bench_complete(s, ev, epoch, (struct store_document){0}, NULL);
}

/* Until it is no longer a matter of repeating; the connection comes back after its backoff. */
#define REPEATED(call)                                                                             \
    ({                                                                                             \
        enum hl_rc rc_;                                                                            \
        int64_t end_ = harness_now_ms() + 10000;                                                   \
        while ((rc_ = (call)) == HL_RETRY || rc_ == HL_UNSURE) {                                   \
            cr_assert_lt(harness_now_ms(), end_, "never answered");                                \
            bench_turn(end_, "reconnect", __FILE__, __LINE__);                                     \
        }                                                                                          \
        rc_;                                                                                       \
    })

static void expect_broken(enum hl_rc rc)
{
    cr_assert_eq(rc, HL_UNSURE, "%s", hl_rc_name(rc));
    cr_assert(relay_broke());
}

static const enum mishap mishaps[] = {LOSE_REQUEST, LOSE_ANSWER};

Test(store_unsure, an_accept_is_one_row)
{
    start();
    for (int i = 0; i < 2; i++) {
        struct change_event *ev = bench_event(page);
        struct store_accept a;
        relay_break_next(mishaps[i]);
        expect_broken(bench_accept(s, ev, NULL));
        cr_expect_eq(REPEATED(bench_accept(s, ev, &a)), HL_OK);
        cr_expect_eq(a.existed, mishaps[i] == LOSE_ANSWER);
        cr_expect_eq(a.row_id, atol(bench_col(ev, "id")));
    }
    cr_expect_eq(bench_count("webhook.change_events"), 3);
}

static enum hl_rc try_claim(const struct change_event *ev, struct store_claim *c)
{
    struct bench_got got = {0};
    *c = (struct store_claim){.req = BENCH_REQ(&got), .ev = ev};
    store_claim(s, c);
    BENCH_UNTIL(got.calls);
    return got.rc;
}

Test(store_unsure, a_claim_is_one_start)
{
    start();
    for (int i = 0; i < 2; i++) {
        struct change_event *ev = bench_event(i ? page : "https://other/");
        struct store_claim c;
        cr_assert_eq(bench_accept(s, ev, NULL), HL_OK);
        relay_break_next(mishaps[i]);
        expect_broken(try_claim(ev, &c));
        cr_expect_eq(REPEATED(try_claim(ev, &c)), HL_OK);
        cr_expect_eq(c.state, CLAIM_OK);
        cr_expect_eq(c.starts, 1);
        cr_expect_eq(c.epoch, mishaps[i] == LOSE_ANSWER ? 2 : 1);
        cr_expect_eq(atol(bench_col(ev, "claim_epoch")), c.epoch);
        cr_expect_eq(bench_complete(s, ev, c.epoch, (struct store_document){0}, NULL), HL_OK);
    }
}

Test(store_unsure, a_completion_is_one_document)
{
    start();
    for (int i = 0; i < 2; i++) {
        struct change_event *older = bench_event(page), *ev = bench_event(page);
        bench_accept(s, older, NULL);
        int64_t epoch = bench_begin(s, ev);
        relay_break_next(mishaps[i]);
        expect_broken(bench_complete(s, ev, epoch, bench_document(page, "t", "text"), NULL));
        cr_expect_eq(
            REPEATED(bench_complete(s, ev, epoch, bench_document(page, "t", "text"), NULL)), HL_OK);
        cr_expect_str_eq(bench_col(ev, "rescrape_status"), "completed");
        cr_expect_str_eq(bench_col(older, "rescrape_status"), "superseded");
    }
    cr_expect_eq(bench_count("webhook.documents"), 1);
}

Test(store_unsure, a_failed_attempt_is_charged_once)
{
    start();
    for (int i = 0; i < 2; i++) {
        struct change_event *ev = bench_event(page);
        struct bench_settle retry = {.charge = true, .delay_ms = 1000};
        int64_t epoch = bench_begin(s, ev);
        relay_break_next(mishaps[i]);
        expect_broken(bench_settle(s, ev, epoch, retry, NULL));
        cr_expect_eq(REPEATED(bench_settle(s, ev, epoch, retry, NULL)), HL_OK);
        cr_expect(bench_is(ev, "rescrape_status = 'queued' AND attempts = 1"));
    }
}

Test(store_unsure, a_server_that_ends_the_connection_before_the_commit_has_done_nothing)
{
    start();
    sql_exec(bench_url(), "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                          "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;"
                          "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON webhook.change_events "
                          "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
    struct change_event *ev = bench_event(page);
    struct store_accept a;
    enum hl_rc rc = bench_accept(s, ev, NULL);
    cr_expect(rc == HL_RETRY || rc == HL_UNSURE, "%s", hl_rc_name(rc));
    sql_exec(bench_url(), "DROP TRIGGER die ON webhook.change_events");
    cr_expect_eq(REPEATED(bench_accept(s, ev, &a)), HL_OK);
    cr_expect_not(a.existed);
}

/* --- the first one is still under way when it is repeated -------------------------------- */

static PGconn *gate;

static void gate_sql(const char *sql)
{
    PGresult *r = PQexec(gate, sql);
    cr_assert(PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK);
    PQclear(r);
}

/* Updates of the table stop behind the statement, before its commit, while the gate is closed. */
static void close_gate(void)
{
    sql_exec(bench_url(), "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                          "PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;"
                          "CREATE TRIGGER wait AFTER UPDATE ON webhook.change_events "
                          "FOR EACH STATEMENT EXECUTE FUNCTION wait()");
    gate = PQconnectdb(bench_url());
    gate_sql("SELECT pg_advisory_lock(4711)");
}

static void open_gate(void)
{
    gate_sql("SELECT pg_advisory_unlock(4711)");
    PQfinish(gate);
}

static bool waiting(const char *event)
{
    return sql_int(bench_url(),
               "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
               "AND wait_event_type = 'Lock' AND wait_event = '%s'",
               event) > 0;
}

/* Sends `first` past the relay, `second` while it has not committed, and then lets both go. */
#define OVERLAP(send_first, send_second, got)                                                      \
    do {                                                                                           \
        close_gate();                                                                              \
        send_first;                                                                                \
        BENCH_UNTIL(waiting("advisory"));                                                          \
        send_second;                                                                               \
        BENCH_UNTIL(waiting("transactionid") || waiting("tuple"));                                 \
        cr_assert_not((got)[1].calls, "it did not wait for the first");                            \
        open_gate();                                                                               \
        BENCH_UNTIL((got)[0].calls && (got)[1].calls);                                             \
    } while (0)

Test(store_unsure, a_completion_repeated_before_the_first_has_committed_is_not_lost)
{
    start();
    struct change_event *ev = bench_event(page);
    struct bench_got got[2] = {0};
    struct store_complete c[2];
    int64_t epoch = bench_begin(s, ev);
    for (int i = 0; i < 2; i++)
        c[i] = (struct store_complete){
            .req = BENCH_REQ(&got[i]), .ev = ev, .epoch = epoch, .metadata = "{}"};
    OVERLAP(store_complete(direct, &c[0]), store_complete(s, &c[1]), got);
    cr_expect_eq(got[0].rc, HL_OK);
    cr_expect_eq(got[1].rc, HL_RETRY, "%s", hl_rc_name(got[1].rc));
    cr_expect_eq(bench_complete(s, ev, epoch, (struct store_document){0}, NULL), HL_OK);
}

Test(store_unsure, a_failure_repeated_before_the_first_has_committed_is_not_lost)
{
    start();
    struct change_event *ev = bench_event(page);
    struct bench_got got[2] = {0};
    struct store_settle f[2];
    int64_t epoch = bench_begin(s, ev);
    for (int i = 0; i < 2; i++)
        f[i] = (struct store_settle){.req = BENCH_REQ(&got[i]),
            .ev = ev,
            .epoch = epoch,
            .status = "queued",
            .charge = true,
            .delay_ms = 1000,
            .metadata = "{}"};
    OVERLAP(store_settle(direct, &f[0]), store_settle(s, &f[1]), got);
    cr_expect_eq(got[0].rc, HL_OK);
    cr_expect_eq(got[1].rc, HL_RETRY, "%s", hl_rc_name(got[1].rc));
    cr_expect_eq(bench_settle(s, ev, epoch, (struct bench_settle){.charge = true}, NULL), HL_OK);
    cr_expect_str_eq(bench_col(ev, "attempts"), "1");
}

/* --- two flushes ------------------------------------------------------------------------- */

/* While somebody holds the row with the lower id, a flush that has both, the higher one first, must
 * not hold the higher one: that is how two flushes would deadlock. */
static void locks_by_id(void (*send)(const struct change_event *ev, int64_t epoch, int i))
{
    struct change_event *ev[] = {bench_event("https://a/"), bench_event("https://b/")};
    int64_t epoch[2];
    for (int i = 0; i < 2; i++)
        epoch[i] = bench_begin(s, ev[i]);
    const char *low = bench_col(ev[0], "id"), *high = bench_col(ev[1], "id");
    cr_assert_lt(atol(low), atol(high));

    gate = PQconnectdb(bench_url());
    gate_sql("BEGIN");
    gate_sql(harness_text("SELECT id FROM webhook.change_events WHERE id = %s FOR UPDATE", low));
    send(ev[1], epoch[1], 0);
    send(ev[0], epoch[0], 1);
    BENCH_UNTIL(waiting("transactionid"));
    cr_expect_eq(sql_int(bench_url(),
                     "SELECT count(*) FROM (SELECT FROM webhook.change_events WHERE id = %s"
                     " FOR UPDATE SKIP LOCKED) unlocked",
                     high),
        1, "the flush holds the higher row while it waits for the lower");
    gate_sql("COMMIT");
    PQfinish(gate);
}

static struct bench_got both[2];

static void send_complete(const struct change_event *ev, int64_t epoch, int i)
{
    static struct store_complete c[2];
    c[i] = (struct store_complete){
        .req = BENCH_REQ(&both[i]), .ev = ev, .epoch = epoch, .metadata = "{}"};
    store_complete(s, &c[i]);
}

static void send_settle(const struct change_event *ev, int64_t epoch, int i)
{
    static struct store_settle f[2];
    f[i] = (struct store_settle){
        .req = BENCH_REQ(&both[i]), .ev = ev, .epoch = epoch, .status = "queued", .metadata = "{}"};
    store_settle(s, &f[i]);
}

Test(store_unsure, a_flush_of_completions_locks_in_the_order_of_ids)
{
    start();
    locks_by_id(send_complete);
    BENCH_UNTIL(both[0].calls && both[1].calls);
    cr_expect(both[0].rc == HL_OK && both[1].rc == HL_OK);
}

Test(store_unsure, a_flush_of_results_locks_in_the_order_of_ids)
{
    start();
    locks_by_id(send_settle);
    BENCH_UNTIL(both[0].calls && both[1].calls);
    cr_expect(both[0].rc == HL_OK && both[1].rc == HL_OK);
}
