/* dbpool through the loss of a real primary: requests flow all the time while it is killed, its
 * standby promoted, and that one killed and started again. What was acknowledged must be there, and
 * what was said not to have happened must not. */
#include "tests/support/harness.h"
#include "tests/support/pool_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 4, MAX_REQUESTS = 20000 };

static const struct db_stmt insert = {
    "insert", "INSERT INTO t VALUES ($1) RETURNING inet_server_port()", 1};

/* --- requests that flow: each lane sends the next one when the last was answered ---------- */

static struct lane {
    int id; /* of the request under way; 0 = none */
    char text[12];
    const char *value;
    struct pool_answer answer;
} lanes[LANES];

static struct outcome {
    enum hl_rc rc;
    bool answered;
} outcomes[MAX_REQUESTS + 1];
static int last_id, counts[HL_UNSURE + 1];
static bool flowing;
static char port[8]; /* that took the last acknowledged row */

static void note(struct lane *l)
{
    outcomes[l->id] = (struct outcome){l->answer.rc, true};
    counts[l->answer.rc]++;
    if (l->answer.rc == HL_OK)
        snprintf(port, sizeof(port), "%s", l->answer.text);
    l->id = 0;
}

static void send_next(struct lane *l)
{
    cr_assert_lt(last_id, MAX_REQUESTS);
    l->id = ++last_id;
    l->value = l->text;
    snprintf(l->text, sizeof(l->text), "%d", l->id);
    pool_send_calls(&(struct db_call){&insert, &l->value}, 1, 0, &l->answer);
}

/* Keeps the lanes going; true when none has a request under way. */
static bool flow(void)
{
    bool quiet = true;
    for (int i = 0; i < LANES; i++) {
        struct lane *l = &lanes[i];
        if (l->id && l->answer.times)
            note(l);
        if (!l->id && flowing)
            send_next(l);
        quiet = quiet && !l->id;
    }
    return quiet;
}

/* Evaluates cond with the requests flowing. */
#define FLOW_UNTIL(cond, timeout_ms) POOL_UNTIL((flow(), (cond)), timeout_ms)

static const char *port_of(struct test_pg *pg)
{
    return harness_text("%d", atoi(strrchr(test_pg_url(pg), ':') + 1));
}

static void expect_told_the_truth(const char *url)
{
    char *there = harness_hold(calloc(MAX_REQUESTS + 1, 1));
    const char *ids = sql_text(url, "SELECT coalesce(string_agg(id::text, ' '), '') FROM t");
    char *end;

    for (long id; (id = strtol(ids, &end, 10)) > 0; ids = end)
        there[id] = 1;
    for (int id = 1; id <= last_id; id++) {
        cr_assert(outcomes[id].answered, "request %d was not answered", id);
        if (outcomes[id].rc == HL_OK)
            cr_expect(there[id], "acknowledged row %d is lost", id);
        else if (outcomes[id].rc == HL_RETRY)
            cr_expect_not(there[id], "row %d is there, though it was said not to be", id);
        else
            cr_expect_eq(outcomes[id].rc, HL_UNSURE, "request %d was refused for good", id);
    }
}

Test(db_failover, requests_succeed_again_on_the_promoted_standby)
{
    struct test_pg *old = test_pg_start();
    const char *url = test_pg_url(old);
    sql_exec(url, "CREATE TABLE t (id int PRIMARY KEY)");
    struct test_pg *standby = test_pg_standby(old);
    /* So that acknowledged means kept. Only now: the standby's copy of the settings is without. */
    sql_exec(url, "ALTER SYSTEM SET synchronous_standby_names = '*'");
    sql_exec(url, "SELECT pg_reload_conf()");
    WAIT_FOR(
        sql_int(url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1,
        10000);

    struct db_conf conf =
        pool_conf(harness_text("postgresql://postgres@127.0.0.1:%s,127.0.0.1:%s/hookline",
            port_of(standby), port_of(old)));
    conf.pool_size = LANES;
    pool_start(&conf);
    flowing = true;
    FLOW_UNTIL(counts[HL_OK] >= 50, 10000);
    cr_expect_str_eq(port, port_of(old));
    cr_expect_eq(pool_stats().read_only + pool_stats().unreachable, 0);
    cr_expect_eq(counts[HL_OK] + LANES, last_id, "a request failed in good times");

    test_pg_kill(old); /* only a standby is left: it is told from a server that is away */
    FLOW_UNTIL(pool_stats().read_only > 0, 10000);
    cr_expect_eq(pool_stats().unreachable, 0);
    FLOW_UNTIL(!dbpool_up(pool_now()) && counts[HL_RETRY] > 0, 10000);
    test_pg_promote(standby);
    int before = counts[HL_OK];
    FLOW_UNTIL(counts[HL_OK] >= before + 50, 15000);
    cr_expect_str_eq(port, port_of(standby));
    cr_expect(dbpool_up(pool_now()));

    uint64_t read_only = pool_stats().read_only;
    test_pg_kill(standby); /* and now there is none */
    FLOW_UNTIL(pool_stats().unreachable > 0, 10000);
    cr_expect_eq(pool_stats().read_only, read_only);
    test_pg_restart(standby);
    before = counts[HL_OK];
    FLOW_UNTIL(counts[HL_OK] >= before + 50, 15000);

    flowing = false;
    POOL_UNTIL(flow(), 15000);
    expect_told_the_truth(test_pg_url(standby));
    test_pg_free(old);
    test_pg_free(standby);
    pool_end();
}
