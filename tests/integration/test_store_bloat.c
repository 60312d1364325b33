/* store, what three updates for each event leave behind: dead versions are reclaimed and used again,
 * so that the table does not grow with its history of claims. Against a real PostgreSQL; the suite
 * runs without autovacuum, so the test vacuums as often as sql/004 would have it. */
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(store_bloat, .init = bench_start, .fini = bench_stop, .timeout = 120);

enum { ROWS = 400, ROUNDS = 12 };

static struct change_event *evs[ROWS];
static struct bench_got got[ROWS];
static struct store_claim claims[ROWS];
static struct store_settle settles[ROWS];

static void wait_for_all(void)
{
    for (int i = 0; i < ROWS; i++) {
        BENCH_UNTIL(got[i].calls);
        cr_assert_eq(got[i].rc, HL_OK, "%s", got[i].err.msg);
        got[i] = (struct bench_got){0};
    }
}

static void claim_and_return(struct store *s)
{
    for (int i = 0; i < ROWS; i++) {
        claims[i] = (struct store_claim){.req = BENCH_REQ(&got[i]), .ev = evs[i]};
        store_claim(s, &claims[i]);
    }
    wait_for_all();
    for (int i = 0; i < ROWS; i++) {
        cr_assert_eq(claims[i].state, CLAIM_OK);
        settles[i] = (struct store_settle){.req = BENCH_REQ(&got[i]),
            .ev = evs[i],
            .epoch = claims[i].epoch,
            .status = "queued",
            .metadata = "{}"};
        store_settle(s, &settles[i]);
    }
    wait_for_all();
}

static long size_after_rounds(struct store *s)
{
    for (int i = 0; i < ROUNDS; i++) {
        claim_and_return(s);
        sql_exec(bench_url(), "VACUUM webhook.change_events");
    }
    return sql_int(bench_url(), "SELECT pg_total_relation_size('webhook.change_events')");
}

Test(store_bloat, a_table_that_is_vacuumed_does_not_grow_with_its_claims)
{
    static struct store_accept accepts[ROWS];
    struct store *s = bench_store("w1");
    for (int i = 0; i < ROWS; i++) {
        char at[64];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        accepts[i] = (struct store_accept){.req = BENCH_REQ(&got[i]), .ev = evs[i]};
        store_accept(s, &accepts[i]);
    }
    wait_for_all();
    long settled = size_after_rounds(s), later = size_after_rounds(s);
    cr_expect_leq(later, settled + settled / 10, "%ld bytes became %ld", settled, later);
    cr_expect_eq(bench_count("webhook.change_events WHERE claim_epoch = 24"), ROWS);
}

/* autovacuum: 2 % and a thousand rows, so that a long history does not put it off. */
Test(store_bloat, the_tables_that_are_updated_say_how_they_are_vacuumed)
{
    cr_expect_str_eq(sql_text(bench_url(), "SELECT array_to_string(reloptions, ' ') FROM pg_class"
                                           " WHERE oid = 'webhook.change_events'::regclass"),
        "fillfactor=80 autovacuum_vacuum_scale_factor=0.02 autovacuum_vacuum_threshold=1000"
        " autovacuum_analyze_scale_factor=0.02 autovacuum_analyze_threshold=1000");
    cr_expect_str_eq(sql_text(bench_url(), "SELECT array_to_string(reloptions, ' ') FROM pg_class"
                                           " WHERE oid = 'webhook.workers'::regclass"),
        "fillfactor=20");
}
