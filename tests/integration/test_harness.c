/* The test harness itself: what other tests lean on must hold. */
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(harness, .timeout = 60);

static const char *cat(const char *path)
{
    static char text[256];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    return text;
}

Test(harness, databases_are_fresh_and_apart)
{
    const char *a = harness_database(false), *b = harness_database(false);
    sql_exec(a, "CREATE TABLE t (n int); INSERT INTO t VALUES (%d)", 7);
    cr_assert_eq(sql_int(a, "SELECT n FROM t"), 7);
    cr_assert_str_eq(sql_text(b, "SELECT to_regclass('t')"), "");
}

Test(harness, data_survives_the_killing_of_postgres)
{
    struct test_pg *pg = test_pg_start();
    sql_exec(test_pg_url(pg), "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)");
    test_pg_kill(pg);
    test_pg_restart(pg);
    cr_assert_eq(sql_int(test_pg_url(pg), "SELECT sum(n) FROM t"), 3);
    test_pg_free(pg);
}

Test(harness, a_paused_postgres_stops_every_process_and_goes_on)
{
    struct test_pg *pg = test_pg_start();
    const char *const psql[] = {"psql", test_pg_url(pg), "-c", "SELECT pg_sleep(0.3)", NULL};
    struct test_proc *p = test_proc_start(psql, NULL, -1);
    WAIT_FOR(sql_int(test_pg_url(pg), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = "
                                      "'PgSleep'") == 1,
        10000);
    test_pg_pause(pg);
    int64_t end = harness_now_ms() + 600; /* twice what the query would need */
    WAIT_FOR(harness_now_ms() > end, 1000);
    cr_assert(test_proc_running(p));
    test_pg_resume(pg);
    cr_assert_eq(test_proc_wait(p, 10000), 0);
    test_pg_free(pg);
}

Test(harness, redis_keeps_what_was_written_before_it_was_killed)
{
    struct test_redis *r = test_redis_start();
    cr_assert_eq(redis_int(r, "XLEN {hookline}:q:%s", "change"), 0);
    cr_assert_str_eq(redis_text(r, "SET a %d", 5), "OK");
    test_redis_kill(r);
    test_redis_restart(r);
    cr_assert_eq(redis_int(r, "GET a"), 5);
    cr_assert_str_eq(redis_text(r, "GET absent"), "");
    cr_assert_str_eq(redis_text(r, "CONFIG GET maxmemory-policy"), "maxmemory-policy\nnoeviction");
    test_redis_free(r);
}

Test(harness, redis_takes_further_options)
{
    struct test_redis *r =
        test_redis_start_with((const char *const[]){"--requirepass", "open sesame", NULL});
    cr_assert_str_eq(redis_text(r, "PING"), "PONG");
    test_redis_free(r);
}

Test(harness, a_program_gets_only_the_environment_it_was_given)
{
    setenv("HOOKLINE_LEAK", "1", 1);
    const char *const argv[] = {"sh", "-c", "env; exit 3", NULL};
    const char *const env[] = {"WEBHOOK_PORT=1", NULL};
    struct test_proc *p = test_proc_start(argv, env, -1);
    cr_assert_eq(test_proc_wait(p, 10000), 3);
    cr_assert(test_proc_logged(p, "WEBHOOK_PORT=1"));
    cr_assert(!test_proc_logged(p, "HOOKLINE_LEAK"));
    cr_assert(strstr(test_proc_log(p), "PATH="));
}

Test(harness, a_program_inherits_a_listening_socket)
{
    int port, fd = harness_listen(&port);
    const char *const argv[] = {"sh", "-c",
        "test $LISTEN_PID = $$ && test $LISTEN_FDS = 1 && readlink /proc/self/fd/3", NULL};
    struct test_proc *p = test_proc_start(argv, NULL, fd);
    cr_assert_eq(test_proc_wait(p, 10000), 0);
    cr_assert(test_proc_logged(p, "socket:"));
    cr_assert(port > 0);
    close(fd);
}

Test(harness, a_signal_is_told_as_128_plus_its_number)
{
    struct test_proc *p = test_proc_start((const char *const[]){"sleep", "60", NULL}, NULL, -1);
    test_proc_signal(p, SIGTERM);
    cr_assert_eq(test_proc_wait(p, 10000), 128 + SIGTERM);
    cr_assert_eq(harness_proc_state(test_proc_pid(p)), 0);
}

Test(harness, killing_a_program_takes_its_orphans_along)
{
    const char *const argv[] = {"sh", "-c", "sleep 61 & sleep 62 & wait", NULL};
    struct test_proc *p = test_proc_start(argv, NULL, -1);
    pid_t kids[4];
    WAIT_FOR(harness_children(test_proc_pid(p), "sleep", kids, 4) == 2, 10000);
    test_proc_kill(p);
    cr_assert_eq(harness_proc_state(kids[0]), 0);
    cr_assert_eq(harness_proc_state(kids[1]), 0);
}

Test(harness, an_orphan_is_seen_to_end)
{
    const char *const argv[] = {"sh", "-c", "sleep 63 & wait", NULL};
    struct test_proc *p = test_proc_start(argv, NULL, -1);
    pid_t kid;
    WAIT_FOR(harness_children(test_proc_pid(p), "sleep", &kid, 1) == 1, 10000);
    test_proc_signal(p, SIGKILL);
    cr_assert_eq(test_proc_wait(p, 10000), 128 + SIGKILL);
    cr_assert_neq(harness_proc_state(kid), 0);
    kill(kid, SIGKILL);
    WAIT_FOR(harness_proc_state(kid) == 0, 10000);
}

Test(harness, a_stopped_program_shows_its_state)
{
    struct test_proc *p = test_proc_start((const char *const[]){"sleep", "64", NULL}, NULL, -1);
    test_proc_signal(p, SIGSTOP);
    WAIT_FOR(harness_proc_state(test_proc_pid(p)) == 'T', 10000);
    test_proc_kill(p);
}

/* A server for one exchange, in a forked copy of the test: reads until `until`, answers, ends. */
static void serve_once(int fd, const char *until, const char *answer, const char *save)
{
    if (fork() != 0)
        return;
    char in[4096] = "";
    size_t len = 0;
    int c = accept(fd, NULL, NULL);
    while (len < sizeof(in) - 1 && !strstr(in, until)) {
        ssize_t n = read(c, in + len, sizeof(in) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        in[len] = '\0';
    }
    FILE *f = fopen(save, "we");
    fputs(in, f);
    fclose(f);
    send(c, answer, strlen(answer), 0);
    _exit(0);
}

Test(harness, http_sends_a_request_and_reads_the_answer)
{
    int port, fd = harness_listen(&port);
    char save[256];
    snprintf(save, sizeof(save), "%s/request", harness_dir());
    serve_once(fd, "hello", "HTTP/1.1 202 Accepted\r\nX-One: first\r\nX-Two:  b \r\n\r\n{}", save);
    struct test_reply r = test_http(port, "POST", "/a?b=c", "X-Host: no\r\n", "hello", 5);
    cr_assert_eq(r.status, 202);
    cr_assert_str_eq(r.body, "{}");
    cr_assert_str_eq(test_reply_header(&r, "x-one"), "first");
    cr_assert_null(test_reply_header(&r, "x-thr"));
    const char *got = cat(save);
    cr_assert(strstr(got, "POST /a?b=c HTTP/1.1\r\n") == got);
    cr_assert(strstr(got, "Content-Length: 5\r\n") && strstr(got, "\r\nHost: 127.0.0.1:"));
    close(fd);
}

Test(harness, http_tells_a_refused_connection_by_status_0)
{
    cr_assert_eq(test_http(harness_free_port(), "GET", "/", NULL, NULL, 0).status, 0);
}

Test(harness, http_raw_reads_until_the_peer_is_quiet)
{
    int port, fd = harness_listen(&port);
    char save[256];
    snprintf(save, sizeof(save), "%s/request", harness_dir());
    serve_once(fd, "x", "anything", save);
    cr_assert_str_eq(test_http_raw(port, "xyz", 3, 2000), "anything");
    close(fd);
}

/* RFC 4231, test case 2. */
Test(harness, signatures_are_hex_hmac_sha256)
{
    cr_assert_str_eq(test_sign("Jefe", "what do ya want for nothing?", 28),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
