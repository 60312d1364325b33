/* dbpool against a real PostgreSQL: what callers get in good times and bad, and that the loop never
 * stands still meanwhile. */
#include "io/dbpool.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/pool_bench.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const struct db_stmt add = {"add", "SELECT $1::int + $2::int", 2};
static const struct db_stmt pid = {"pid", "SELECT pg_backend_pid()", 0};
static const struct db_stmt nap = {"nap", "SELECT pg_sleep(0.3)", 0};
static const struct db_stmt sleep_long = {"sleep_long", "SELECT pg_sleep(60)", 0};
static const struct db_stmt insert = {"insert", "INSERT INTO t VALUES ($1)", 1};
static const struct db_stmt count_rows = {"count_rows", "SELECT count(*) FROM t", 0};
static const struct db_stmt end_others = {"end_others",
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE application_name = 'dbpool-test' AND datname = current_database() "
    "AND pid <> pg_backend_pid()",
    0};

static long connected(const char *url)
{
    return sql_int(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                        "'dbpool-test' AND datname = current_database()");
}

static bool running(const char *url, const char *what)
{
    return sql_int(url,
               "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND "
               "application_name = 'dbpool-test' AND datname = current_database() AND query LIKE "
               "'%%%s%%'",
               what) > 0;
}

/* The loop turns and the server is asked in between, which may take longer than a beat. */
#define LOOP_UNTIL_RUNNING(url, what)                                                              \
    do {                                                                                           \
        POOL_UNTIL(pool_stats().busy > 0 && pool_stats().waiting == 0, 5000);                      \
        WAIT_FOR(running(url, what), 5000);                                                        \
    } while (0)

/* --- a relay: the network between, to be cut or made deaf -------------------------------- */

struct relay {
    int listen_fd, port; /* of the server behind */
    atomic_bool swallow; /* answers from the server are dropped, and the link with the next one */
    pthread_t thread;
};

static int connect_loopback(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool pass(int from, int to)
{
    char bytes[16384];
    ssize_t n = read(from, bytes, sizeof(bytes));
    return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *relay_main(void *arg)
{
    struct relay *r = arg;
    for (int client; (client = accept(r->listen_fd, NULL, NULL)) >= 0; close(client)) {
        struct pollfd p[2] = {
            {client,                    POLLIN, 0},
            {connect_loopback(r->port), POLLIN, 0}
        };
        while (p[1].fd >= 0 && poll(p, 2, -1) > 0) {
            if (p[1].revents && r->swallow)
                break;
            if (p[0].revents && !pass(client, p[1].fd))
                break;
            if (p[1].revents && !pass(p[1].fd, client))
                break;
        }
        if (p[1].fd >= 0)
            close(p[1].fd);
    }
    return NULL;
}

static void relay_start(struct relay *r, int listen_fd, const char *url)
{
    r->listen_fd = listen_fd;
    r->port = atoi(strrchr(url, ':') + 1);
    cr_assert_eq(pthread_create(&r->thread, NULL, relay_main, r), 0);
}

/* postgresql://postgres@127.0.0.1:PORT/NAME -> the same with another host list. */
static const char *url_with_host(const char *url, const char *hosts)
{
    static char out[8][512];
    static int next;
    char *to = out[next++ % 8];
    snprintf(to, sizeof(out[0]), "postgresql://postgres@%s/%s", hosts, strrchr(url, '/') + 1);
    return to;
}

static const char *port_of(const char *url)
{
    static char port[8];
    snprintf(port, sizeof(port), "%d", atoi(strrchr(url, ':') + 1));
    return port;
}

/* --- in good times ----------------------------------------------------------------------- */

Test(dbpool, exec_returns_the_rows_prepared_or_not)
{
    const char *url = harness_database(false);
    for (int prepared = 0; prepared < 2; prepared++) {
        struct db_conf conf = pool_conf(url);
        conf.prepared = prepared;
        pool_start(&conf);
        cr_expect_eq(pool_stats().open, 0, "opened before anyone asked");
        for (int i = 0; i < 3; i++) {
            struct pool_answer a = pool_ask_for(&add, (const char *[]){"40", "2"});
            EXPECT_OK(a);
            cr_expect_str_eq(a.text, "42");
            a = pool_ask_for(&add, (const char *[]){"40", NULL});
            EXPECT_OK(a);
            cr_expect_eq(a.rows, 1);
            cr_expect_str_eq(a.text, "");
        }
        cr_expect_eq(pool_stats().connects, 1);
        pool_stop();
    }
    pool_end();
}

Test(dbpool, a_statement_is_prepared_once_per_connection)
{
    static const struct db_stmt prepared = {
        "prepared", "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_prepared_statements", 0};
    struct db_conf conf = pool_conf(harness_database(false));
    pool_start(&conf);
    EXPECT_OK(pool_ask_for(&add, (const char *[]){"1", "2"}));
    EXPECT_OK(pool_ask_for(&add, (const char *[]){"1", "2"}));
    cr_expect_str_eq(pool_ask(&prepared).text, "add limit prepared");
    pool_stop();

    conf.prepared = false;
    pool_start(&conf);
    EXPECT_OK(pool_ask_for(&add, (const char *[]){"1", "2"}));
    cr_expect_str_eq(pool_ask(&prepared).text, "");
    pool_end();
}

Test(dbpool, calls_are_one_transaction_and_see_each_other)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer a;
    const struct db_call good[] = {
        {&insert,     (const char *[]){"1"}},
        {&insert,     (const char *[]){"2"}},
        {&count_rows, NULL                 }
    };
    const struct db_call bad[] = {
        {&insert, (const char *[]){"3"}},
        {&insert, (const char *[]){"1"}},
        {&insert, (const char *[]){"4"}}
    };

    sql_exec(url, "CREATE TABLE t (id int PRIMARY KEY)");
    pool_start(&conf);
    pool_send_calls(good, 3, 0, &a);
    POOL_UNTIL(a.times, 5000);
    EXPECT_OK(a);
    cr_expect_str_eq(a.text, "2");
    pool_send_calls(bad, 3, 0, &a);
    POOL_UNTIL(a.times, 5000);
    EXPECT_FAILED(a, HL_FATAL, HL_WHY_OTHER);
    cr_expect_str_eq(a.err.sqlstate, "23505");
    cr_expect_str_eq(pool_ask(&count_rows).text, "2", "a part of a failed transaction stayed");
    cr_expect_eq(pool_stats().connects, 1, "an error that the server reported costs no connection");
    pool_end();
}

Test(dbpool, values_larger_than_the_socket_takes_arrive_whole)
{
    static const struct db_stmt length = {"length", "SELECT length($1)", 1};
    struct db_conf conf = pool_conf(harness_database(false));
    char *big = mem_zero((16 << 20) + 1);
    memset(big, 'x', 16 << 20);
    pool_start(&conf);
    struct pool_answer a = pool_ask_for(&length, (const char *[]){big});
    EXPECT_OK(a);
    cr_expect_str_eq(a.text, "16777216");
    free(big);
    pool_end();
}

Test(dbpool, every_form_of_url_reaches_the_server)
{
    const char *url = harness_database(false), *port = port_of(url);
    char dead_first[128], unix_url[256], localhost[64], names[128];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct relay relay = {0};

    snprintf(at.sun_path, sizeof(at.sun_path), "%s/.s.PGSQL.5432", harness_dir());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    cr_assert_eq(listen(fd, 8), 0);
    relay_start(&relay, fd, url);

    snprintf(localhost, sizeof(localhost), "localhost:%s", port);
    snprintf(
        dead_first, sizeof(dead_first), "127.0.0.1:%d,127.0.0.1:%s", harness_free_port(), port);
    snprintf(names, sizeof(names), "nosuch.invalid:1,localhost:%s", port);
    snprintf(unix_url, sizeof(unix_url), "host=%s port=5432 user=postgres dbname=%s", harness_dir(),
        strrchr(url, '/') + 1);
    const char *const urls[] = {url, url_with_host(url, localhost), url_with_host(url, dead_first),
        url_with_host(url, names), unix_url};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct db_conf conf = pool_conf(urls[i]);
        pool_start(&conf);
        struct pool_answer a = pool_ask_for(&add, (const char *[]){"1", "1"});
        cr_expect_eq(a.rc, HL_OK, "%s: %s", urls[i], a.err.msg);
        pool_stop();
    }
    pool_end();
}

Test(dbpool, a_quiet_process_uses_one_connection)
{
    struct db_conf conf = pool_conf(harness_database(false));
    struct pool_answer burst[4];
    conf.pool_size = 4;
    pool_start(&conf);
    for (int i = 0; i < 10; i++)
        EXPECT_OK(pool_ask(&pid));
    cr_expect_eq(pool_stats().connects, 1);

    for (int i = 0; i < 4; i++)
        pool_send(&nap, 0, &burst[i]);
    POOL_UNTIL(burst[0].times && burst[1].times && burst[2].times && burst[3].times, 5000);
    cr_expect_eq(pool_stats().idle, 4);
    struct pool_answer first = pool_ask(&pid);
    for (int i = 0; i < 10; i++)
        cr_expect_str_eq(pool_ask(&pid).text, first.text, "not the one used last");
    pool_end();
}

Test(dbpool, overflow_is_closed_after_use)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer burst[9];
    int open_at_most = 0, done = 0;
    conf.max_overflow = 2;
    pool_start(&conf);
    for (int i = 0; i < 9; i++)
        pool_send(&nap, 0, &burst[i]);
    while (done < 9) {
        int before = done;
        POOL_UNTIL((done = burst[0].times + burst[1].times + burst[2].times + burst[3].times +
                           burst[4].times + burst[5].times + burst[6].times + burst[7].times +
                           burst[8].times) > before,
            5000);
        if (pool_stats().open > open_at_most)
            open_at_most = pool_stats().open;
    }
    for (int i = 0; i < 9; i++)
        EXPECT_OK(burst[i]);
    cr_expect_eq(open_at_most, 4);
    cr_expect_eq(pool_stats().connects, 4);
    cr_expect_eq(pool_stats().open, 2);
    WAIT_FOR(connected(url) == 2, 5000);
    pool_end();
}

Test(dbpool, a_connection_is_replaced_at_its_age)
{
    struct db_conf conf = pool_conf(harness_database(false));
    struct pool_answer a;
    conf.max_age_ms = 100;
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    POOL_UNTIL(pool_stats().open == 0, 5000);
    pool_send(&nap, 0, &a); /* comes of age while it is busy */
    POOL_UNTIL(a.times, 5000);
    EXPECT_OK(a);
    cr_expect_eq(pool_stats().open, 0);
    cr_expect_eq(pool_stats().connects, 2);
    pool_end();
}

/* --- what the server refuses ------------------------------------------------------------- */

#define RAISE(code) "DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '" code "'; END $$"

Test(dbpool, errors_are_classed_and_the_connection_lives_on)
{
    static const struct {
        struct db_stmt stmt;
        enum hl_rc rc;
        enum hl_why why;
        const char *sqlstate;
    } rows[] = {
        {{"unique", "INSERT INTO t VALUES (1), (1)", 0},  HL_FATAL, HL_WHY_OTHER,   "23505"},
        {{"deferred", "INSERT INTO child VALUES (7)", 0}, HL_FATAL, HL_WHY_OTHER,   "23503"},
        {{"syntax", "SELEKT", 0},                         HL_FATAL, HL_WHY_OTHER,   "42601"},
        {{"no_table", "SELECT * FROM nosuch", 0},         HL_FATAL, HL_WHY_OTHER,   "42P01"},
        {{"data", "SELECT 'top secret'::text::int", 0},   HL_FATAL, HL_WHY_OTHER,   "22P02"},
        {{"serialize", RAISE("40001"), 0},                HL_RETRY, HL_WHY_OTHER,   "40001"},
        {{"deadlock", RAISE("40P01"), 0},                 HL_RETRY, HL_WHY_OTHER,   "40P01"},
        {{"locked", RAISE("55P03"), 0},                   HL_RETRY, HL_WHY_OTHER,   "55P03"},
        {{"disk", RAISE("53100"), 0},                     HL_RETRY, HL_WHY_FULL,    "53100"},
        {{"cancelled", RAISE("57014"), 0},                HL_RETRY, HL_WHY_TIMEOUT, "57014"},
    };
    const char *url = harness_database(false);
    sql_exec(url, "CREATE TABLE t (id int PRIMARY KEY);"
                  "CREATE TABLE child (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
    for (int prepared = 0; prepared < 2; prepared++) {
        struct db_conf conf = pool_conf(url);
        conf.prepared = prepared;
        pool_start(&conf);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            for (int again = 0; again < 2; again++) {
                struct pool_answer a = pool_ask(&rows[i].stmt);
                EXPECT_FAILED(a, rows[i].rc, rows[i].why);
                cr_expect_str_eq(a.err.sqlstate, rows[i].sqlstate, "%s", a.err.msg);
                cr_expect(strstr(a.err.msg, rows[i].stmt.name) || strstr(a.err.msg, "commit"), "%s",
                    a.err.msg);
                cr_expect_null(strstr(a.err.msg, "secret"), "%s", a.err.msg);
            }
        }
        EXPECT_OK(pool_ask(&pid));
        cr_expect_eq(pool_stats().connects, 1);
        pool_stop();
    }
    pool_end();
}

Test(dbpool, a_statement_that_failed_to_prepare_is_prepared_again)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    pool_start(&conf);
    EXPECT_FAILED(pool_ask(&count_rows), HL_FATAL, HL_WHY_OTHER);
    sql_exec(url, "CREATE TABLE t (id int)");
    EXPECT_OK(pool_ask(&count_rows));
    cr_expect_eq(pool_stats().connects, 1);
    pool_end();
}

Test(dbpool, a_plan_spoilt_by_a_migration_is_prepared_again)
{
    static const struct db_stmt all = {"all", "SELECT * FROM t", 0};
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    sql_exec(url, "CREATE TABLE t (id int)");
    pool_start(&conf);
    EXPECT_OK(pool_ask(&all));
    sql_exec(url, "ALTER TABLE t ADD more text");
    EXPECT_FAILED(pool_ask(&all), HL_RETRY, HL_WHY_OTHER);
    EXPECT_OK(pool_ask(&all));
    pool_end();
}

Test(dbpool, a_read_only_server_is_its_own_error)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    sql_exec(url, "CREATE TABLE t (id int)");
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    sql_exec(
        url, "ALTER DATABASE %s SET default_transaction_read_only = on", strrchr(url, '/') + 1);
    pool_stop();

    pool_start(&conf);
    EXPECT_FAILED(pool_ask(&pid), HL_RETRY, HL_WHY_READ_ONLY);
    cr_expect_eq(pool_stats().read_only, 1);
    cr_expect_not(dbpool_up(pool_now()));
    pool_stop();

    const char *any = "?target_session_attrs=any";
    char any_url[512];
    snprintf(any_url, sizeof(any_url), "%s%s", url, any);
    conf.url = any_url;
    pool_start(&conf);
    EXPECT_FAILED(pool_ask_for(&insert, (const char *[]){"1"}), HL_RETRY, HL_WHY_READ_ONLY);
    cr_expect_eq(pool_stats().open, 0, "a connection to a demoted server was kept");
    cr_expect_eq(pool_stats().read_only, 1);
    pool_end();
}

static void set_read_only(const char *url, const char *value)
{
    sql_exec(url, "ALTER SYSTEM SET default_transaction_read_only = %s", value);
    sql_exec(url, "SELECT pg_reload_conf()");
    WAIT_FOR(strcmp(sql_text(url, "SHOW transaction_read_only"), value) == 0, 5000);
}

Test(dbpool, a_demoted_primary_is_left_for_the_new_one)
{
    struct test_pg *a = test_pg_start(), *b = test_pg_start();
    static const struct db_stmt port = {"port", "SELECT inet_server_port()", 0};
    const char *a_url = test_pg_url(a), *b_url = test_pg_url(b);
    char a_port[8], b_port[8], hosts[128];
    strcpy(a_port, port_of(a_url));
    strcpy(b_port, port_of(b_url));
    sql_exec(a_url, "CREATE TABLE t (id int)");
    sql_exec(b_url, "CREATE TABLE t (id int)");
    set_read_only(b_url, "on");
    snprintf(hosts, sizeof(hosts), "127.0.0.1:%s,127.0.0.1:%s", b_port, a_port);
    struct db_conf conf = pool_conf(url_with_host(a_url, hosts));
    pool_start(&conf);
    cr_expect_str_eq(pool_ask(&port).text, a_port, "the standby comes first in the URL");

    set_read_only(a_url, "on");
    set_read_only(b_url, "off");
    EXPECT_FAILED(pool_ask_for(&insert, (const char *[]){"1"}), HL_RETRY, HL_WHY_READ_ONLY);
    EXPECT_OK(pool_ask_for(&insert, (const char *[]){"1"}));
    cr_expect_str_eq(pool_ask(&port).text, b_port);
    test_pg_free(a);
    test_pg_free(b);
    pool_end();
}

Test(dbpool, a_wrong_password_is_refused_and_not_shown)
{
    struct test_pg *pg = test_pg_start();
    const char *url = test_pg_url(pg);
    const char *hba = sql_text(url, "SHOW hba_file");
    sql_exec(url, "CREATE ROLE guarded LOGIN PASSWORD 'right'");
    sql_exec(url,
        "COPY (VALUES ('host all guarded 127.0.0.1/32 scram-sha-256'), "
        "('host all all 127.0.0.1/32 trust')) TO '%s'",
        hba);
    sql_exec(url, "SELECT pg_reload_conf()");
    static const struct {
        const char *login;
        bool ok;
    } rows[] = {
        {"guarded:right", true },
        {"guarded:wr0ng", false},
        {"guarded",       false}
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char with[256];
        snprintf(with, sizeof(with), "postgresql://%s@127.0.0.1:%s/hookline", rows[i].login,
            port_of(url));
        struct db_conf conf = pool_conf(with);
        pool_start(&conf);
        struct pool_answer a = pool_ask(&pid);
        if (rows[i].ok) {
            EXPECT_OK(a);
        } else {
            EXPECT_FAILED(a, HL_RETRY, HL_WHY_REFUSED);
            cr_expect_eq(pool_stats().refused, 1);
            cr_expect_null(strstr(a.err.msg, "wr0ng"), "%s", a.err.msg);
        }
        pool_stop();
    }
    test_pg_free(pg);
    pool_end();
}

Test(dbpool, too_many_connections_only_means_waiting)
{
    const char *url = harness_database(false);
    char limited[256];
    struct pool_answer a[4];
    sql_exec(url, "CREATE ROLE l%d LOGIN CONNECTION LIMIT 1", (int)getpid());
    snprintf(limited, sizeof(limited), "postgresql://l%d@127.0.0.1:%s/%s", (int)getpid(),
        port_of(url), strrchr(url, '/') + 1);
    struct db_conf conf = pool_conf(limited);
    conf.pool_size = 4;
    pool_start(&conf);
    for (int i = 0; i < 4; i++)
        pool_send(&nap, 0, &a[i]);
    POOL_UNTIL(a[0].times && a[1].times && a[2].times && a[3].times, 10000);
    for (int i = 0; i < 4; i++)
        EXPECT_OK(a[i]);
    cr_expect_gt(pool_stats().refused, 0);
    cr_expect_eq(pool_stats().connects, 1);
    cr_expect(dbpool_up(pool_now()));
    pool_end();
}

/* --- waiting ----------------------------------------------------------------------------- */

static int64_t waits(void)
{
    int64_t n = 0;
    for (int i = 0; i < METER_BUCKETS_MAX; i++)
        n += meter_bucket(M_POOL_WAIT, POOL_WORK, i);
    return n;
}

Test(dbpool, waiters_are_bounded_in_time_and_number)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer holder, waiting[2], one_too_many, patient;
    conf.pool_size = 1;
    conf.max_waiters = 2;
    conf.pool_timeout_ms = 200;
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    pool_send(&nap, 0, &holder);
    pool_send(&pid, 0, &waiting[0]);
    pool_send(&pid, 50, &waiting[1]);
    pool_send(&pid, 0, &one_too_many);
    POOL_UNTIL(one_too_many.times, 5000);
    EXPECT_FAILED(one_too_many, HL_RETRY, HL_WHY_EXHAUSTED);
    cr_expect_eq(waiting[0].times + waiting[1].times, 0);
    POOL_UNTIL(waiting[1].times, 5000);
    cr_expect_eq(waiting[0].times, 0, "its own deadline was later");
    POOL_UNTIL(waiting[0].times, 5000);
    cr_expect_eq(holder.times, 0);
    EXPECT_FAILED(waiting[0], HL_RETRY, HL_WHY_EXHAUSTED);
    EXPECT_FAILED(waiting[1], HL_RETRY, HL_WHY_EXHAUSTED);
    pool_send(&pid, 0, &patient);
    POOL_UNTIL(holder.times && patient.times, 5000);
    EXPECT_OK(holder);
    EXPECT_OK(patient);
    cr_expect_eq(pool_stats().exhausted, 3);
    cr_expect_eq(meter_get(M_POOL_REFUSED, POOL_WORK, REFUSAL_EXHAUSTED), 3);
    cr_expect_eq(waits(), 3, "of those that got a connection: the first, who held it, the patient");
    cr_expect_eq(meter_get(M_POOL, POOL_WORK, USE_IDLE), 1);
    cr_expect_eq(meter_get(M_POOL, POOL_WORK, USE_BUSY), 0);
    cr_expect_eq(meter_get(M_POOL, POOL_WORK, USE_WAITING), 0);
    pool_end();
}

Test(dbpool, a_cancelled_request_is_not_answered)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer sent, waiting, next;
    conf.pool_size = 1;
    pool_start(&conf);
    pool_send(&sleep_long, 0, &sent);
    pool_send(&pid, 0, &waiting);
    pool_send(&pid, 0, &next);
    POOL_UNTIL(pool_stats().busy == 1, 5000);
    db_req_cancel(waiting.req);
    db_req_cancel(sent.req);
    POOL_UNTIL(next.times, 5000);
    EXPECT_OK(next);
    cr_expect_eq(sent.times + waiting.times, 0);
    cr_expect_eq(
        pool_stats().connects, 2, "the connection of a cancelled statement was used again");
    pool_end();
}

Test(dbpool, freeing_answers_everyone)
{
    struct db_conf conf = pool_conf(harness_database(false));
    struct pool_answer sent, waiting;
    conf.pool_size = 1;
    pool_start(&conf);
    pool_send(&sleep_long, 0, &sent);
    pool_send(&pid, 0, &waiting);
    POOL_UNTIL(pool_stats().busy == 1, 5000);
    pool_stop();
    cr_expect_eq(sent.times, 1);
    cr_expect_eq(sent.rc, HL_UNSURE);
    cr_expect_eq(waiting.times, 1);
    cr_expect_eq(waiting.rc, HL_RETRY);
    pool_end();
}

/* --- in bad times ------------------------------------------------------------------------ */

/* The server ends it a little before we would, so that the outcome is known. */
Test(dbpool, a_statement_over_its_deadline_is_ended_by_the_server_and_the_pool_goes_on)
{
    struct db_conf conf = pool_conf(harness_database(false));
    struct pool_answer a, b;
    conf.pool_size = 1;
    conf.statement_timeout_ms = 300;
    pool_start(&conf);
    pool_send(&sleep_long, 0, &a);
    pool_send(&sleep_long, 600, &b);
    POOL_UNTIL(a.times && b.times, 5000);
    EXPECT_FAILED(a, HL_RETRY, HL_WHY_TIMEOUT);
    EXPECT_FAILED(b, HL_RETRY, HL_WHY_TIMEOUT);
    cr_expect_str_eq(a.err.sqlstate, "57014");
    EXPECT_OK(pool_ask(&pid));
    cr_expect_eq(pool_stats().connects, 1);
    pool_end();
}

/* What a host without power holds is free soon: the server looks whether we are there. */
Test(dbpool, the_server_asks_for_signs_of_life_amid_a_transaction)
{
    static const struct db_stmt keepalives = {"keepalives",
        "SELECT concat_ws(' ', current_setting('tcp_keepalives_idle'),"
        " current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count'))",
        0};
    struct db_conf conf = pool_conf(harness_database(false));
    pool_start(&conf);
    struct pool_answer a = pool_ask(&keepalives);
    EXPECT_OK(a);
    cr_expect_str_eq(a.text, "10 5 3");
    pool_end();
}

/* Preparing takes locks too: behind DDL it waits under the same limit, the limit's own statement
 * being prepared in the same run or before. */
Test(dbpool, a_statement_whose_preparing_waits_behind_ddl_is_ended_by_the_server)
{
    static const struct db_stmt blocked = {"blocked", "SELECT count(*) FROM t", 0};
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    sql_exec(url, "CREATE TABLE t (id int PRIMARY KEY)");
    PGconn *ddl = PQconnectdb(url);
    PQclear(PQexec(ddl, "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE"));
    cr_assert_eq(PQtransactionStatus(ddl), PQTRANS_INTRANS);
    conf.pool_size = 1;
    conf.statement_timeout_ms = 1500; /* a busy machine answers what is not blocked within it */
    pool_start(&conf);
    for (uint64_t i = 1; i <= 2; i++) {
        struct pool_answer a = pool_ask(&blocked);
        EXPECT_FAILED(a, HL_RETRY, HL_WHY_TIMEOUT);
        cr_expect_str_eq(a.err.sqlstate, "57014", "%s", a.err.msg);
        cr_expect(strstr(a.err.msg, "blocked"), "%s", a.err.msg);
        cr_expect_eq(pool_stats().timed_out, i);
        cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_locks WHERE NOT granted AND "
                                  "relation = 't'::regclass"),
            0, "a backend goes on waiting");
    }
    PQfinish(ddl);
    EXPECT_OK(pool_ask(&blocked));
    cr_expect_eq(pool_stats().connects, 1);
    pool_end();
}

Test(dbpool, after_an_error_only_what_was_not_prepared_is_prepared_again)
{
    static const struct db_stmt late = {"late", "SELECT 'late'", 0};
    const struct db_call calls[] = {
        {&add,        (const char *[]){"1", "1"}},
        {&count_rows, NULL                      },
        {&late,       NULL                      },
        {&add,        (const char *[]){"1", "2"}},
    };
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer a;
    conf.pool_size = 1;
    pool_start(&conf);
    for (int i = 0; i < 3; i++) {
        enum hl_rc rc = i < 1 ? HL_FATAL : HL_OK;
        pool_send_calls(calls, 4, 0, &a);
        POOL_UNTIL(a.times, 5000);
        EXPECT_FAILED(a, rc, HL_WHY_OTHER);
        if (i == 0)
            sql_exec(url, "CREATE TABLE t (id int)");
        else
            cr_expect_str_eq(a.text, "3");
    }
    cr_expect_eq(pool_stats().connects, 1);
    pool_end();
}

Test(dbpool, connections_ended_while_idle_are_replaced_unnoticed)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer a[2];
    conf.pre_ping_after_ms = 0;
    pool_start(&conf);
    pool_send(&nap, 0, &a[0]);
    pool_send(&nap, 0, &a[1]);
    POOL_UNTIL(a[0].times && a[1].times, 5000);
    cr_expect_eq(pool_stats().idle, 2);
    sql_exec(url, "%s", end_others.sql);
    WAIT_FOR(connected(url) == 0, 5000);
    EXPECT_OK(pool_ask(&pid)); /* the loop has not turned since: only the ping can tell */

    sql_exec(url, "%s", end_others.sql);
    POOL_UNTIL(pool_stats().open == 0, 5000); /* noticed without any request */
    EXPECT_OK(pool_ask(&pid));
    pool_end();
}

Test(dbpool, a_statement_ended_by_the_administrator_was_rolled_back)
{
    const char *url = harness_database(false);
    struct db_conf conf = pool_conf(url);
    struct pool_answer a;
    pool_start(&conf);
    pool_send(&sleep_long, 0, &a);
    LOOP_UNTIL_RUNNING(url, "pg_sleep(60)");
    sql_exec(url, "%s", end_others.sql);
    POOL_UNTIL(a.times, 5000);
    EXPECT_FAILED(a, HL_RETRY, HL_WHY_UNREACHABLE);
    cr_expect_str_eq(a.err.sqlstate, "57P01");
    EXPECT_OK(pool_ask(&pid));
    pool_end();
}

Test(dbpool, a_commit_whose_answer_is_lost_is_unsure)
{
    const char *url = harness_database(false);
    struct relay relay = {0};
    struct pool_answer a;
    int port;
    char host[64];
    relay_start(&relay, harness_listen(&port), url);
    snprintf(host, sizeof(host), "127.0.0.1:%d", port);
    sql_exec(url, "CREATE TABLE t (id int PRIMARY KEY)");
    struct db_conf conf = pool_conf(url_with_host(url, host));
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    relay.swallow = true;
    pool_send_calls(&(struct db_call){&insert, (const char *[]){"1"}}, 1, 0, &a);
    POOL_UNTIL(a.times, 5000);
    EXPECT_FAILED(a, HL_UNSURE, HL_WHY_UNREACHABLE);
    WAIT_FOR(sql_int(url, "SELECT count(*) FROM t") == 1, 5000);
    relay.swallow = false;
    EXPECT_OK(pool_ask(&count_rows));
    pool_end();
}

/* --- a server by script ------------------------------------------------------------------ */

static void put(struct buf *out, char type, const char *body, size_t len)
{
    uint32_t size = htonl((uint32_t)len + 4);
    buf_putc(out, type);
    buf_append(out, &size, sizeof(size));
    buf_append(out, body, len);
}
#define PUT(out, type, body) put(out, type, body, sizeof(body) - 1)

/* Accepts anyone, answers the first statement with the given bytes, hangs up. */
struct script {
    int listen_fd;
    struct buf answer;
    pthread_t thread;
};

static void *script_main(void *arg)
{
    struct script *s = arg;
    struct buf hello = {0};
    char bytes[4096];
    int fd = accept(s->listen_fd, NULL, NULL);

    PUT(&hello, 'R', "\0\0\0\0");
    PUT(&hello, 'S', "server_version\00015.0\0");
    PUT(&hello, 'S', "in_hot_standby\0off\0");
    PUT(&hello, 'S', "default_transaction_read_only\0off\0");
    PUT(&hello, 'Z', "I");
    if (read(fd, bytes, sizeof(bytes)) > 0 && write(fd, hello.data, hello.len) > 0 &&
        read(fd, bytes, sizeof(bytes)) > 0 && write(fd, s->answer.data, s->answer.len) > 0)
        shutdown(fd, SHUT_WR);
    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
    close(fd);
    buf_release(&hello);
    return NULL;
}

Test(dbpool, an_error_of_a_connection_that_ends_decides_only_if_nothing_can_have_committed)
{
    static const struct {
        bool completed; /* the statement's own answer came before the error */
        const char *sqlstate;
        bool synced;
        enum hl_rc rc;
    } rows[] = {
        {false, "57P01", false, HL_RETRY },
        {true,  "57P01", false, HL_UNSURE},
        {false, "08P01", false, HL_UNSURE},
        {false, "23505", false, HL_FATAL },
        {true,  "23503", true,  HL_FATAL },
        {true,  "40001", true,  HL_RETRY },
        {true,  NULL,    false, HL_UNSURE},
        {true,  NULL,    true,  HL_OK    },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct script s = {0};
        char url[128], error[64];
        int port;
        s.listen_fd = harness_listen(&port);
        for (int statement = 0; statement < 2; statement++) { /* the limit, then ours */
            PUT(&s.answer, '1', "");
            PUT(&s.answer, '2', "");
            PUT(&s.answer, 'n', "");
            if (statement == 0)
                PUT(&s.answer, 'C', "SELECT 1\0");
        }
        if (rows[i].completed)
            PUT(&s.answer, 'C', "INSERT 0 1\0");
        if (rows[i].sqlstate) {
            int n = snprintf(
                error, sizeof(error), "SFATAL%cVFATAL%cC%s%cMgone%c", 0, 0, rows[i].sqlstate, 0, 0);
            put(&s.answer, 'E', error, (size_t)n + 1);
        }
        if (rows[i].synced)
            PUT(&s.answer, 'Z', "I");
        cr_assert_eq(pthread_create(&s.thread, NULL, script_main, &s), 0);

        snprintf(url, sizeof(url), "postgresql://u@127.0.0.1:%d/x?sslmode=disable", port);
        struct db_conf conf = pool_conf(url);
        conf.prepared = false;
        pool_start(&conf);
        struct pool_answer a = pool_ask(&pid);
        cr_expect_eq(a.rc, rows[i].rc, "row %zu: %s %s", i, hl_rc_name(a.rc), a.err.msg);
        pool_stop();
        pthread_join(s.thread, NULL);
        close(s.listen_fd);
        buf_release(&s.answer);
    }
    pool_end();
}

Test(dbpool, a_killed_server_is_unsure_then_unreachable_then_back)
{
    struct test_pg *pg = test_pg_start();
    struct db_conf conf = pool_conf(test_pg_url(pg));
    struct pool_answer a, b;
    pool_start(&conf);
    pool_send(&sleep_long, 0, &a);
    LOOP_UNTIL_RUNNING(test_pg_url(pg), "pg_sleep(60)");
    test_pg_kill(pg);
    POOL_UNTIL(a.times, 5000);
    EXPECT_FAILED(a, HL_UNSURE, HL_WHY_UNREACHABLE);

    EXPECT_FAILED(pool_ask(&pid), HL_RETRY, HL_WHY_UNREACHABLE);
    cr_expect_not(dbpool_up(pool_now()));
    int64_t before = harness_now_ms();
    pool_send(&pid, 0, &a);
    pool_send(&pid, 0, &b);
    POOL_UNTIL(a.times && b.times, 5000);
    cr_expect_lt(harness_now_ms() - before, 1000, "who asks while it is down waits for nothing");
    EXPECT_FAILED(a, HL_RETRY, HL_WHY_UNREACHABLE);

    uint64_t attempts = pool_stats().unreachable;
    POOL_UNTIL(pool_stats().unreachable > attempts, 6000);
    test_pg_restart(pg);
    POOL_UNTIL(dbpool_up(pool_now()), 8000); /* without a request */
    EXPECT_OK(pool_ask(&pid));
    test_pg_free(pg);
    pool_end();
}

Test(dbpool, a_hung_server_is_bounded_by_the_deadlines)
{
    struct test_pg *pg = test_pg_start();
    struct db_conf conf = pool_conf(test_pg_url(pg));
    struct pool_answer old, fresh;
    conf.connect_timeout_ms = 600;
    conf.statement_timeout_ms = 400;
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    test_pg_pause(pg);
    int64_t before = harness_now_ms();
    pool_send(&pid, 0, &old);
    pool_send(&pid, 2000, &fresh); /* needs another connection */
    POOL_UNTIL(old.times && fresh.times, 5000);
    cr_expect_lt(harness_now_ms() - before, 2500);
    EXPECT_FAILED(old, HL_UNSURE, HL_WHY_TIMEOUT);
    EXPECT_FAILED(fresh, HL_RETRY, HL_WHY_UNREACHABLE);
    cr_expect_eq(pool_stats().timed_out, 1);
    cr_expect_gt(pool_stats().unreachable, 0);
    cr_expect_not(dbpool_up(pool_now()));
    test_pg_resume(pg);
    POOL_UNTIL(dbpool_up(pool_now()), 8000);
    EXPECT_OK(pool_ask(&pid));
    test_pg_free(pg);
    pool_end();
}

Test(dbpool, a_hung_host_of_several_does_not_keep_from_the_next)
{
    const char *url = harness_database(false);
    int port, deaf = harness_listen(&port); /* takes connections into its backlog, says nothing */
    char hosts[128];
    snprintf(hosts, sizeof(hosts), "127.0.0.1:%d,127.0.0.1:%s", port, port_of(url));
    struct db_conf conf = pool_conf(url_with_host(url, hosts));
    conf.connect_timeout_ms = 300;
    conf.max_age_ms = 100;
    pool_start(&conf);
    EXPECT_OK(pool_ask(&pid));
    POOL_UNTIL(pool_stats().open == 0, 5000);
    int64_t before = harness_now_ms();
    EXPECT_OK(pool_ask(&pid));
    cr_expect_lt(harness_now_ms() - before, 300, "the host that answered last was not tried first");
    close(deaf);
    pool_end();
}

Test(dbpool, a_name_that_does_not_exist_is_unreachable)
{
    struct db_conf conf = pool_conf("postgresql://u@nosuch.invalid/x");
    pool_start(&conf);
    struct pool_answer a = pool_ask(&pid);
    EXPECT_FAILED(a, HL_RETRY, HL_WHY_UNREACHABLE);
    cr_expect(strstr(a.err.msg, "nosuch.invalid"), "%s", a.err.msg);
    struct dbpool_stats s = pool_stats();
    cr_expect_eq(s.unreachable, 1);
    cr_expect_eq(s.exhausted + s.refused + s.read_only + s.timed_out, 0);
    pool_end();
}
