/* dbpool over TLS against a server with a certificate of our own making: what is trusted, what is
 * not, and a certificate replaced while everything runs. */
#include "tests/support/harness.h"
#include "tests/support/pool_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct db_stmt tls = {
    "tls", "SELECT ssl::text || ' ' || version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", 0};

/* --- certificates ------------------------------------------------------------------------ */

static const char *file(const char *name, const char *ending)
{
    return harness_text("%s/%s.%s", harness_dir(), name, ending);
}

static void openssl(const char *const *argv)
{
    struct test_proc *p = test_proc_start(argv, NULL, -1);
    int status = test_proc_wait(p, 20000);
    cr_assert_eq(status, 0, "%s", test_proc_log(p));
}

static void make_ca(const char *name)
{
    openssl((const char *const[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        harness_text("/CN=%s", name), "-keyout", file(name, "key"), "-out", file(name, "crt"),
        NULL});
}

/* For the given DNS names, "DNS:a,DNS:b"; the files are the server's. */
static void make_certificate(const char *name, const char *ca, const char *names)
{
    openssl((const char *const[]){"openssl", "req", "-x509", "-CA", file(ca, "crt"), "-CAkey",
        file(ca, "key"), "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=hookline-test", "-addext",
        harness_text("subjectAltName=%s", names), "-keyout", file(name, "key"), "-out",
        file(name, "crt"), NULL});
    test_pg_give(file(name, "key"));
    test_pg_give(file(name, "crt"));
}

/* --- the server -------------------------------------------------------------------------- */

static struct test_pg *pg;

static void start_server(void)
{
    make_ca("ca");
    make_certificate("server", "ca", "DNS:db.hookline.test,DNS:localhost");
    pg = test_pg_start_with((const char *const[]){"-c", "ssl=on", "-c",
        harness_text("ssl_cert_file=%s", file("server", "crt")), "-c",
        harness_text("ssl_key_file=%s", file("server", "key")), NULL});
}

static const char *url_of(const char *host, const char *root)
{
    int port = atoi(strrchr(test_pg_url(pg), ':') + 1);
    return harness_text("postgresql://postgres@%s:%d/hookline?hostaddr=127.0.0.1&"
                        "sslmode=verify-full&sslrootcert=%s",
        host, port, file(root, "crt"));
}

static void start_pool(const char *url)
{
    struct db_conf conf = pool_conf(url);
    pool_start(&conf);
}

/* What one new connection says. */
static struct pool_answer connect_to(const char *host, const char *root)
{
    start_pool(url_of(host, root));
    struct pool_answer a = pool_ask(&tls);
    pool_stop();
    return a;
}

Test(db_tls, a_server_whose_certificate_is_good_is_used_over_tls)
{
    start_server();
    struct pool_answer a = connect_to("db.hookline.test", "ca");
    EXPECT_OK(a);
    cr_expect_str_eq(a.text, "true TLSv1.3");

    /* We look the name up ourselves, and the certificate is still checked against the name. */
    start_pool(harness_text("postgresql://postgres@localhost:%s?sslmode=verify-full&sslrootcert=%s",
        strrchr(test_pg_url(pg), ':') + 1, file("ca", "crt")));
    a = pool_ask(&tls);
    EXPECT_OK(a);
    cr_expect_str_eq(a.text, "true TLSv1.3");
    test_pg_free(pg);
    pool_end();
}

Test(db_tls, a_server_that_cannot_be_verified_is_refused_with_the_reason)
{
    static const struct {
        const char *host, *root, *says;
    } rows[] = {
        {"db.hookline.test",    "other_ca", "certificate verify failed"  },
        {"other.hookline.test", "ca",       "does not match host name"   },
        {"db.hookline.test",    "nosuch",   "nosuch.crt\" does not exist"},
    };
    start_server();
    make_ca("other_ca");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start_pool(url_of(rows[i].host, rows[i].root));
        struct pool_answer a = pool_ask(&tls);
        EXPECT_FAILED(a, HL_RETRY, HL_WHY_UNREACHABLE);
        cr_expect(strstr(a.err.msg, rows[i].says), "%s", a.err.msg);
        cr_expect(strstr(a.err.msg, "certificate"), "%s", a.err.msg);
        cr_expect_eq(pool_stats().unreachable, 1);
        cr_expect_eq(pool_stats().connects, 0);
        cr_expect_not(dbpool_up(pool_now()));
        pool_stop();
    }
    test_pg_free(pg);
    pool_end();
}

static void replace(const char *name, const char *with, const char *ending)
{
    cr_assert_eq(rename(file(with, ending), file(name, ending)), 0);
}

Test(db_tls, a_certificate_replaced_while_the_server_runs_is_taken_by_new_connections)
{
    start_server();
    const char *url = test_pg_url(pg);
    const char *began = sql_text(url, "SELECT pg_postmaster_start_time()");
    start_pool(url_of("db.hookline.test", "ca"));
    EXPECT_OK(pool_ask(&tls));
    struct dbpool *lasting = pool_now();
    EXPECT_FAILED(connect_to("new.hookline.test", "ca"), HL_RETRY, HL_WHY_UNREACHABLE);

    make_certificate("next", "ca", "DNS:db.hookline.test,DNS:new.hookline.test");
    replace("server", "next", "key");
    replace("server", "next", "crt");
    sql_exec(url, "SELECT pg_reload_conf()");
    struct pool_answer a;
    WAIT_FOR((a = connect_to("new.hookline.test", "ca")).rc == HL_OK, 10000);
    cr_expect_str_eq(a.text, "true TLSv1.3");
    EXPECT_OK(connect_to("db.hookline.test", "ca"));

    pool_use(lasting);
    EXPECT_OK(pool_ask(&tls));
    cr_expect_eq(pool_stats().connects, 1, "an open connection was closed");
    cr_expect_str_eq(sql_text(url, "SELECT pg_postmaster_start_time()"), began);
    test_pg_free(pg);
    pool_end();
}
