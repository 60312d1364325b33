/* Through a real PgBouncer in transaction mode with two server connections: many clients take turns
 * on them, so whatever one left there would be another's. */
#include "base/mem.h"
#include "tests/support/harness_private.h"
#include "tests/support/pool_bench.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERVERS = 2, STORES = 4, EVENTS = 100, START_TIMEOUT_MS = 10000 };

/* --- the pooler -------------------------------------------------------------------------- */

/* Debian keeps it where only root's PATH leads. */
static const char *program(void)
{
    static const char *const places[] = {"/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return "pgbouncer";
}

/* 1.21 learned to follow prepared statements, 1.24 does so unless told not to. */
static bool can_follow_prepared(void)
{
    int major = 0, minor = 0;
    FILE *f = popen(harness_text("%s --version", program()), "re"); /* NOLINT: fixed command */
    cr_assert(f && fscanf(f, "PgBouncer %d.%d", &major, &minor) == 2);
    pclose(f);
    return major > 1 || minor >= 21;
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = harness_text("%s/%s", harness_dir(), name);
    FILE *f = fopen(path, "we");
    cr_assert(f && fputs(text, f) >= 0);
    fclose(f);
    test_pg_give(path);
    return path;
}

static bool accepts(const char *url)
{
    PGconn *c = PQconnectdb(url);
    bool ok = PQstatus(c) == CONNECTION_OK;
    PQfinish(c);
    return ok;
}

static bool comes_up(struct test_proc *proc, const char *url)
{
    int64_t end = harness_now_ms() + START_TIMEOUT_MS;
    while (test_proc_running(proc)) {
        if (accepts(url))
            return true;
        harness_wait_step(end, "PgBouncer accepts connections", __FILE__, __LINE__);
    }
    return false; /* its port was taken */
}

/* Starts one before the server of url; returns the same database's URL through it. */
static const char *pooled(const char *url)
{
    const char *users = write_file("users.txt", "\"postgres\" \"\"\n");
    int behind = atoi(strrchr(url, ':') + 1);

    for (int tries = 0; tries < 5; tries++) {
        int port = harness_free_port();
        const char *settings = write_file(
            "pgbouncer.ini", harness_text("[databases]\n* = host=127.0.0.1 port=%d\n"
                                          "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"
                                          "unix_socket_dir =\nauth_type = trust\nauth_file = %s\n"
                                          "pool_mode = transaction\ndefault_pool_size = %d\n%s",
                                 behind, port, users, SERVERS,
                                 can_follow_prepared() ? "max_prepared_statements = 0\n" : ""));
        const char *way =
            harness_text("postgresql://postgres@127.0.0.1:%d/%s", port, strrchr(url, '/') + 1);
        struct test_proc *proc = harness_spawn(&(struct spawn){
            .argv = (const char *const[]){program(), settings, NULL},
            .name = "pgbouncer",
            .listen_fd = -1,
            .death_signal = SIGKILL,
            .unprivileged = true
        });
        if (comes_up(proc, way))
            return way;
    }
    cr_assert_fail("PgBouncer does not start");
    return NULL;
}

/* --- what is left on its server connections ---------------------------------------------- */

static PGconn *hold_server(const char *way)
{
    PGconn *c = PQconnectdb(way);
    PGresult *r = PQexec(c, "BEGIN");
    cr_assert_eq(PQresultStatus(r), PGRES_COMMAND_OK, "%s", PQerrorMessage(c));
    PQclear(r);
    return c;
}

static const char *held_text(PGconn *c, const char *sql)
{
    PGresult *r = PQexec(c, sql);
    cr_assert_eq(PQresultStatus(r), PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(c));
    const char *text = harness_text("%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    return text;
}

/* Transactions held at the same time are on different server connections: as many as there are see
 * all of them. */
static void expect_clean_servers(const char *way, const char *url)
{
    PGconn *held[SERVERS];
    const char *pids[SERVERS];

    for (int i = 0; i < SERVERS; i++) {
        held[i] = hold_server(way);
        pids[i] = held_text(held[i], "SELECT pg_backend_pid()");
        cr_expect_str_eq(held_text(held[i], "SHOW statement_timeout"), "0");
        cr_expect_str_eq(held_text(held[i], "SELECT count(*) FROM pg_prepared_statements"), "0");
        cr_expect_str_eq(
            held_text(held[i], "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                               " AND pid = pg_backend_pid()"),
            "0");
    }
    cr_expect_str_neq(pids[0], pids[1]);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                              "current_database() AND pid <> pg_backend_pid()"),
        SERVERS, "the pooler has other server connections than those seen");
    for (int i = 0; i < SERVERS; i++)
        PQfinish(held[i]);
}

/* --- the store --------------------------------------------------------------------------- */

TestSuite(pgbouncer_store, .init = bench_start, .fini = bench_stop);

static int answered(const struct bench_got *got)
{
    int n = 0;
    for (int i = 0; i < EVENTS; i++)
        n += got[i].calls;
    return n;
}

static void expect_all_ok(const struct bench_got *got, const char *what)
{
    for (int i = 0; i < EVENTS; i++)
        cr_assert_eq(got[i].rc, HL_OK, "%s %d: %s", what, i, got[i].err.msg);
}

Test(pgbouncer_store, takes_every_request_of_many_clients_and_nothing_stays_behind)
{
    static struct bench_got accepted[EVENTS], claimed[EVENTS], completed[EVENTS];
    static struct store_accept accept[EVENTS];
    static struct store_claim claim[EVENTS];
    static struct store_complete complete[EVENTS];
    const char *way = pooled(bench_url());
    struct store *stores[STORES];
    struct bench_rows r;

    for (int i = 0; i < STORES; i++) {
        stores[i] = bench_store_pooled(way, harness_text("w%d", i));
        BENCH_ASK(r, store_register(stores[i], BENCH_CB(r)));
    }
    for (int i = 0; i < EVENTS; i++) {
        const char *page = harness_text("https://example.com/%d", i);
        accept[i] = (struct store_accept){.req = BENCH_REQ(&accepted[i]), .ev = bench_event(page)};
        store_accept(stores[i % STORES], &accept[i]);
    }
    BENCH_UNTIL(answered(accepted) == EVENTS);
    expect_all_ok(accepted, "accept");
    for (int i = 0; i < EVENTS; i++) {
        claim[i] = (struct store_claim){.req = BENCH_REQ(&claimed[i]), .ev = accept[i].ev};
        store_claim(stores[i % STORES], &claim[i]);
    }
    BENCH_UNTIL(answered(claimed) == EVENTS);
    expect_all_ok(claimed, "claim");
    for (int i = 0; i < EVENTS; i++) {
        cr_assert_eq(claim[i].state, CLAIM_OK);
        complete[i] = (struct store_complete){.req = BENCH_REQ(&completed[i]),
            .ev = accept[i].ev,
            .epoch = claim[i].epoch,
            .metadata = "{\"document_id\": \"d\"}",
            .doc = bench_document(accept[i].ev->watch_url, "a title", "some words")};
        store_complete(stores[i % STORES], &complete[i]);
    }
    BENCH_UNTIL(answered(completed) == EVENTS);
    expect_all_ok(completed, "complete");
    cr_expect_eq(bench_count("webhook.change_events"), EVENTS);
    cr_expect_eq(bench_count("webhook.documents"), EVENTS);
    expect_clean_servers(way, bench_url());
}

/* --- the pool ---------------------------------------------------------------------------- */

static const struct db_stmt pid = {"pid", "SELECT pg_backend_pid()", 0};
static const struct db_stmt limit_now = {"limit_now", "SHOW statement_timeout", 0};

/* Two clients, each with one connection to the pooler. */
static void start_two(const char *way, bool prepared, struct dbpool *out[2])
{
    struct db_conf conf = pool_conf(way);
    conf.pool_size = 1;
    conf.prepared = prepared;
    for (int i = 0; i < 2; i++)
        out[i] = pool_start(&conf);
}

static void end_two(struct dbpool *const pools[2])
{
    pool_use(pools[0]);
    pool_stop();
    pool_use(pools[1]);
    pool_end();
}

static struct pool_answer ask_through(struct dbpool *p, const struct db_stmt *stmt)
{
    pool_use(p);
    return pool_ask(stmt);
}

Test(pgbouncer, clients_take_turns_on_a_server_connection_and_leave_nothing_there)
{
    const char *url = harness_database(false), *way = pooled(url);
    struct dbpool *pools[2];
    struct pool_answer naps[2];
    static const struct db_stmt nap = {"nap", "SELECT pg_sleep(0.2)", 0};

    start_two(way, false, pools);
    for (int i = 0; i < 2; i++) { /* at once: both server connections come into being */
        pool_use(pools[i]);
        pool_send(&nap, 0, &naps[i]);
    }
    POOL_UNTIL(naps[0].times && naps[1].times, 5000);
    struct pool_answer first = ask_through(pools[0], &pid);
    for (int i = 1; i < 20; i++) {
        struct pool_answer a = ask_through(pools[i % 2], &pid);
        EXPECT_OK(a);
        cr_expect_str_eq(a.text, first.text, "the clients were on different server connections");
        cr_expect_str_neq(ask_through(pools[i % 2], &limit_now).text, "0", "no limit was in force");
    }
    expect_clean_servers(way, url);
    end_two(pools);
}

static void expect_remedy(struct pool_answer a, const char *sqlstate)
{
    EXPECT_FAILED(a, HL_RETRY, HL_WHY_OTHER);
    cr_expect_str_eq(a.err.sqlstate, sqlstate, "%s", a.err.msg);
    cr_expect(strstr(a.err.msg, "WEBHOOK_DB_PREPARED=off"), "%s", a.err.msg);
    cr_expect(strstr(a.err.msg, "PgBouncer 1.21"), "%s", a.err.msg);
    cr_expect(strstr(a.err.msg, "max_prepared_statements"), "%s", a.err.msg);
}

Test(pgbouncer, prepared_statements_that_it_does_not_follow_are_an_error_that_names_the_remedy)
{
    const char *way = pooled(harness_database(false));
    struct dbpool *pools[2];

    start_two(way, true, pools);
    EXPECT_OK(ask_through(pools[0], &pid));
    expect_remedy(ask_through(pools[1], &pid), "42P05"); /* the other client prepared it there */
    PGconn *held = hold_server(way);
    expect_remedy(ask_through(pools[0], &pid), "26000"); /* ours are on the one that is held */
    PQfinish(held);
    end_two(pools);
}
