/* One Redis connection against a real server: order, deadlines, handshake, loss and return. A few
 * cases need a server that misbehaves; a socket in the same loop plays that part. */
#include "io/redis.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };

static struct loop *loop;
static struct offload *offload;
static struct test_redis *server;

/* Turns the loop until cond holds. The loop's own tick makes it come round. */
#define RUN_UNTIL(cond)                                                                            \
    do {                                                                                           \
        int64_t end_ = harness_now_ms() + PATIENCE_MS;                                             \
        while (!(cond)) {                                                                          \
            cr_assert(harness_now_ms() < end_, "waited in vain for %s", #cond);                    \
            loop_turn(loop);                                                                       \
        }                                                                                          \
    } while (0)

static void set_up(void)
{
    signal(SIGPIPE, SIG_DFL); /* the connection must not need it ignored */
    struct hl_err err = {0};
    loop = loop_new(&err);
    cr_assert(loop, "%s", err.msg);
    offload = offload_new(loop, &err);
    cr_assert(offload, "%s", err.msg);
}

static void set_up_with_server(void)
{
    set_up();
    server = test_redis_start();
}

static void tear_down(void)
{
    test_redis_free(server);
    server = NULL;
    offload_free(offload);
    loop_free(loop);
}

TestSuite(redis, .init = set_up_with_server, .fini = tear_down, .timeout = 60);
TestSuite(redis_alone, .init = set_up, .fini = tear_down, .timeout = 60);

static int server_port(void)
{
    return atoi(strrchr(test_redis_url(server), ':') + 1);
}

static struct redis_conf conf_for(const char *url)
{
    return (struct redis_conf){
        .url = url,
        .client_name = "test",
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 10000,
        .max_pending = 10000,
    };
}

static struct redis *open_conf(const struct redis_conf *conf)
{
    struct hl_err err = {0};
    struct redis *r = redis_new(loop, offload, conf, &err);
    cr_assert(r, "%s", err.msg);
    return r;
}

static struct redis *open_url(const char *url)
{
    struct redis_conf conf = conf_for(url);
    return open_conf(&conf);
}

static struct redis *open_up(void)
{
    struct redis *r = open_url(test_redis_url(server));
    RUN_UNTIL(redis_up(r));
    return r;
}

/* What one command came to. */
struct got {
    int calls;
    struct hl_err err; /* rc HL_OK on success */
    int type;          /* of the reply, 0 = none */
    long long integer;
    char text[256];
    size_t len;
};

static void record(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct got *g = ctx;
    g->calls++;
    g->err = err ? *err : (struct hl_err){0};
    if (!reply)
        return;
    g->type = reply->type;
    g->integer = reply->integer;
    if (!reply->str)
        return;
    g->len = (size_t)reply->len;
    memcpy(g->text, reply->str, g->len < sizeof(g->text) ? g->len : sizeof(g->text) - 1);
}

#define ASK(r, ...)                                                                                \
    ({                                                                                             \
        struct got g_ = {0};                                                                       \
        redis_call(r, 0, record, &g_, __VA_ARGS__, NULL);                                          \
        cr_assert(g_.calls == 0, "a callback ran inside the call that armed it");                  \
        RUN_UNTIL(g_.calls);                                                                       \
        g_;                                                                                        \
    })

#define ASSERT_OUTCOME(g, want_rc, want_why)                                                       \
    do {                                                                                           \
        const struct got o_ = (g); /* once: it may ask */                                          \
        cr_assert(o_.calls == 1 && o_.err.rc == (want_rc) && o_.err.why == (want_why),             \
            "%d calls, %s/%s: %s", o_.calls, hl_rc_name(o_.err.rc), hl_why_name(o_.err.why),       \
            o_.err.msg);                                                                           \
    } while (0)

#define ASSERT_TEXT(g, want)                                                                       \
    do {                                                                                           \
        const struct got o_ = (g);                                                                 \
        cr_assert(o_.err.rc == HL_OK && strcmp(o_.text, want) == 0,                                \
            "\"%s\" instead of \"%s\" (%s)", o_.text, want, o_.err.msg);                           \
    } while (0)

/* "+" for up and "-" for down, in order. */
static struct buf states;

static void note_state(struct redis *r, bool up, void *ctx)
{
    (void)ctx;
    cr_assert(redis_up(r) == up);
    buf_putc(&states, up ? '+' : '-');
}

/* --- commands and answers ---------------------------------------------------------------- */

static long long last_in_order;

static void in_order(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    cr_assert(!err, "%s", err->msg);
    cr_assert(reply->integer == last_in_order + 1);
    last_in_order = reply->integer;
    cr_assert(*(long long *)ctx == reply->integer, "an answer went to another command");
}

Test(redis, a_thousand_pipelined_commands_are_answered_in_order)
{
    static long long wanted[1000];
    struct redis *r = open_url(test_redis_url(server));
    for (int i = 0; i < 1000; i++) { /* the first half waits for the connection */
        wanted[i] = i + 1;
        redis_call(r, 0, in_order, &wanted[i], "INCR", "n", NULL);
        if (i == 499)
            RUN_UNTIL(last_in_order == 500);
    }
    RUN_UNTIL(last_in_order == 1000);
    redis_free(r);
}

static long reads_processed(struct redis *r)
{
    struct got g = ASK(
        r, "EVAL", "return redis.call('INFO', 'stats'):match('total_reads_processed:(%d+)')", "0");
    cr_assert(g.err.rc == HL_OK, "%s", g.err.msg);
    return atol(g.text);
}

Test(redis, commands_of_one_turn_leave_in_one_write)
{
    struct redis *r = open_up();
    struct got last = {0};
    long before = reads_processed(r);
    for (int i = 0; i < 99; i++)
        redis_call(r, 0, NULL, NULL, "PING", NULL);
    redis_call(r, 0, record, &last, "PING", NULL);
    RUN_UNTIL(last.calls);
    cr_assert_eq(reads_processed(r) - before, 2); /* one for all of them, one for the question */
    redis_free(r);
}

Test(redis, values_are_binary_safe_and_may_be_large)
{
    struct redis *r = open_up();
    const char value[] = "a\0\r\n\xff$3\r\n";
    const char *const set[] = {"SET", "k", value};
    const size_t lens[] = {3, 1, sizeof(value) - 1};
    struct got g = {0};
    redis_command(r, 0, record, &g, 3, set, lens);
    RUN_UNTIL(g.calls);
    g = ASK(r, "GET", "k");
    cr_assert(g.len == sizeof(value) - 1 && memcmp(g.text, value, g.len) == 0);

    size_t big = 20 << 20; /* more than a socket takes at once */
    char *filler = mem_alloc(big);
    memset(filler, 'x', big);
    const char *const append[] = {"APPEND", "big", filler};
    const size_t append_lens[] = {6, 3, big};
    g = (struct got){0};
    redis_command(r, 0, record, &g, 3, append, append_lens);
    memset(filler, 'y', big); /* arguments are copied */
    free(filler);
    RUN_UNTIL(g.calls);
    cr_assert(g.integer == (long long)big);
    g = ASK(r, "GET", "big");
    cr_assert(g.len == big && g.text[0] == 'x' && g.text[254] == 'x');
    redis_free(r);
}

Test(redis, error_replies_say_what_the_caller_can_do)
{
    static const struct {
        const char *reply;
        enum hl_rc rc;
        enum hl_why why;
    } cases[] = {
        {"LOADING Redis is loading the dataset in memory", HL_RETRY, HL_WHY_OTHER    },
        {"BUSY Redis is busy running a script",            HL_RETRY, HL_WHY_OTHER    },
        {"BUSYGROUP Consumer Group name already exists",   HL_FATAL, HL_WHY_OTHER    },
        {"OOM command not allowed",                        HL_RETRY, HL_WHY_FULL     },
        {"READONLY You can't write",                       HL_RETRY, HL_WHY_READ_ONLY},
        {"MISCONF unable to persist",                      HL_RETRY, HL_WHY_FULL     },
        {"CLUSTERDOWN The cluster is down",                HL_RETRY, HL_WHY_OTHER    },
        {"MASTERDOWN Link with MASTER is down",            HL_RETRY, HL_WHY_OTHER    },
        {"TRYAGAIN Multiple keys request",                 HL_RETRY, HL_WHY_OTHER    },
        {"NOPERM this user has no permissions",            HL_FATAL, HL_WHY_REFUSED  },
        {"NOGROUP No such key",                            HL_FATAL, HL_WHY_OTHER    },
        {"ERR syntax error",                               HL_FATAL, HL_WHY_OTHER    },
    };
    struct redis *r = open_up();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct got g = ASK(r, "EVAL", "return redis.error_reply(ARGV[1])", "0", cases[i].reply);
        ASSERT_OUTCOME(g, cases[i].rc, cases[i].why);
        cr_assert(g.type == REDIS_REPLY_ERROR);
        cr_assert(strstr(g.err.msg, cases[i].reply), "%s", g.err.msg);
    }
    redis_free(r);
}

Test(redis, errors_of_a_real_server_are_told_apart)
{
    struct redis *r = open_up();
    ASSERT_TEXT(ASK(r, "SET", "k", "v"), "OK");
    ASSERT_OUTCOME(ASK(r, "LPUSH", "k", "v"), HL_FATAL, HL_WHY_OTHER); /* WRONGTYPE */
    redis_text(server, "CONFIG SET maxmemory 1");
    ASSERT_OUTCOME(ASK(r, "SET", "k", "v"), HL_RETRY, HL_WHY_FULL);
    redis_text(server, "CONFIG SET maxmemory 0");
    redis_text(server, "REPLICAOF 127.0.0.1 %d", harness_free_port());
    ASSERT_OUTCOME(ASK(r, "SET", "k", "v"), HL_RETRY, HL_WHY_READ_ONLY);
    redis_free(r);
}

Test(redis, arguments_quoted_by_the_server_do_not_reach_the_error_text)
{
    struct redis *r = open_up();
    struct got g = ASK(r, "NOSUCHCOMMAND", "private body");
    ASSERT_OUTCOME(g, HL_FATAL, HL_WHY_OTHER);
    cr_assert(strstr(g.text, "private body") && !strstr(g.err.msg, "private"), "%s", g.err.msg);
    redis_free(r);
}

/* --- handshake --------------------------------------------------------------------------- */

Test(redis, info_of_the_handshake_is_kept)
{
    redis_text(server, "CONFIG SET maxmemory 104857600");
    struct redis *r = open_up();
    const struct redis_info *info = redis_info(r);
    cr_assert_eq(strlen(info->run_id), 40);
    cr_assert_eq(strlen(info->replication_id), 40);
    cr_assert(strstr(redis_text(server, "INFO server"), info->run_id));
    cr_assert(strstr(redis_text(server, "INFO replication"), info->replication_id));
    cr_assert(strchr(info->version, '.') && strlen(info->version) >= 5, "%s", info->version);
    cr_assert_str_eq(info->maxmemory_policy, "noeviction");
    cr_assert_eq(info->maxmemory, 104857600);
    cr_assert(info->aof_enabled && !info->loading && !info->is_replica);
    ASSERT_TEXT(ASK(r, "CLIENT", "GETNAME"), "test");
    redis_free(r);
}

Test(redis, a_replica_is_recognised)
{
    redis_text(server, "REPLICAOF 127.0.0.1 %d", harness_free_port());
    struct redis *r = open_up();
    cr_assert(redis_info(r)->is_replica);
    redis_free(r);
}

Test(redis, an_acl_user_logs_in_with_a_percent_encoded_password)
{
    char url[128];
    redis_text(server, "ACL SETUSER app on >p@s:s/%%20 ~* +@all");
    snprintf(url, sizeof(url), "redis://app:p%%40s%%3as%%2F%%2520@127.0.0.1:%d", server_port());
    struct redis *r = open_url(url);
    ASSERT_TEXT(ASK(r, "ACL", "WHOAMI"), "app");
    redis_free(r);
}

Test(redis_alone, a_password_alone_logs_the_default_user_in)
{
    char url[128];
    server = test_redis_start_with((const char *[]){"--requirepass", "secret", NULL});
    snprintf(url, sizeof(url), "redis://:secret@127.0.0.1:%d", server_port());
    struct redis *r = open_url(url);
    ASSERT_TEXT(ASK(r, "ACL", "WHOAMI"), "default");
    redis_free(r);
}

Test(redis_alone, a_wrong_or_missing_password_is_refused_and_not_shown)
{
    static const char *const credentials[] = {"", ":wrongpw@", "nobody:wrongpw@"};
    server = test_redis_start_with((const char *[]){"--requirepass", "secret", NULL});
    for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
        char url[128];
        snprintf(url, sizeof(url), "redis://%s127.0.0.1:%d/0", credentials[i], server_port());
        struct redis *r = open_url(url);
        struct got g = ASK(r, "PING"); /* waits for the attempt, shares its fate */
        ASSERT_OUTCOME(g, HL_RETRY, HL_WHY_REFUSED);
        cr_assert(!strstr(g.err.msg, "wrongpw") && !redis_up(r), "%s", g.err.msg);
        redis_free(r);
    }
}

Test(redis, a_server_with_too_many_clients_refuses_distinctly)
{
    redis_text(server, "CONFIG SET maxclients 1");
    struct redis *first = open_up(), *second = open_url(test_redis_url(server));
    ASSERT_OUTCOME(ASK(second, "PING"), HL_RETRY, HL_WHY_REFUSED);
    redis_free(first);
    redis_free(second);
}

Test(redis, the_database_number_is_selected)
{
    char url[64];
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d/3", server_port());
    struct redis *three = open_url(url), *zero = open_up();
    ASSERT_TEXT(ASK(three, "SET", "k", "three"), "OK");
    cr_assert(ASK(zero, "EXISTS", "k").integer == 0);
    ASSERT_TEXT(ASK(zero, "SELECT", "3"), "OK");
    ASSERT_TEXT(ASK(zero, "GET", "k"), "three");
    redis_free(three);
    redis_free(zero);
}

Test(redis, a_database_the_server_does_not_have_is_refused)
{
    char url[64];
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d/999", server_port());
    struct redis *r = open_url(url);
    ASSERT_OUTCOME(ASK(r, "PING"), HL_RETRY, HL_WHY_REFUSED);
    redis_free(r);
}

Test(redis, a_host_name_is_looked_up)
{
    char url[64];
    snprintf(url, sizeof(url), "redis://localhost:%d", server_port());
    struct redis *r = open_url(url);
    RUN_UNTIL(redis_up(r)); /* ::1 may be tried, and refused, first */
    ASSERT_TEXT(ASK(r, "PING"), "PONG");
    redis_free(r);
}

Test(redis_alone, a_unix_socket_takes_credentials_and_database)
{
    char path[96], url[160];
    snprintf(path, sizeof(path), "%s/r s.sock", harness_dir());
    server = test_redis_start_with(
        (const char *[]){"--unixsocket", path, "--requirepass", "secret", NULL});
    snprintf(url, sizeof(url), "unix://default:secret@%s/r%%20s.sock?db=2", harness_dir());
    struct redis *r = open_url(url);
    ASSERT_TEXT(ASK(r, "SET", "k", "v"), "OK");
    cr_assert(strstr(redis_text(server, "INFO keyspace"), "db2:keys=1"));
    redis_free(r);
}

Test(redis_alone, an_unusable_url_is_named_without_its_password)
{
    static const char *const urls[] = {"", "localhost:6379", "http://h/", "rediss://h/",
        "redis://:hidden@h/zero", "redis://:hidden@h/-1", "redis://:hidden@h/0/1",
        "redis://h/65536", "redis:///0", "unix://", "unix:///", "unix://relative/path",
        "unix:///run/r.sock?db=x"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct hl_err err = {0};
        struct redis_conf conf = conf_for(urls[i]);
        cr_assert(!redis_new(loop, offload, &conf, &err), "%s was taken", urls[i]);
        cr_assert(err.rc == HL_FATAL && err.msg[0] && !strstr(err.msg, "hidden"), "%s", err.msg);
    }
}

/* --- scripts ----------------------------------------------------------------------------- */

static struct got eval(struct redis *r, struct redis_script *s, int nkeys, int argc,
    const char *const *argv, const size_t *lens)
{
    struct got g = {0};
    redis_eval(r, s, 0, record, &g, nkeys, argc, argv, lens);
    cr_assert_eq(g.calls, 0);
    RUN_UNTIL(g.calls);
    cr_assert_eq(g.calls, 1);
    return g;
}

Test(redis, a_script_unknown_to_the_server_is_sent_once_and_known_then)
{
    struct redis_script s = {.name = "store",
        .body = "redis.call('SET', KEYS[1], ARGV[1])\nreturn redis.call('STRLEN', KEYS[1])"};
    const char *const argv[] = {"k", "a\0\r\nb"};
    const size_t lens[] = {1, 5};
    struct redis *r = open_up();
    cr_assert(eval(r, &s, 1, 2, argv, lens).integer == 5);
    cr_assert(strstr(redis_text(server, "INFO commandstats"), "cmdstat_eval:calls=1,"));
    cr_assert(eval(r, &s, 1, 2, argv, lens).integer == 5);
    redis_text(server, "SCRIPT FLUSH");
    cr_assert(eval(r, &s, 1, 2, argv, lens).integer == 5);
    cr_assert(strstr(redis_text(server, "INFO commandstats"), "cmdstat_eval:calls=2,"));
    struct got g = ASK(r, "SCRIPT", "LOAD", s.body);
    ASSERT_TEXT(g, s.sha1);
    redis_free(r);
}

Test(redis, a_script_that_says_noscript_itself_is_not_sent_for_ever)
{
    struct redis_script s = {
        .name = "stubborn", .body = "return redis.error_reply('NOSCRIPT never')"};
    struct redis *r = open_up();
    ASSERT_OUTCOME(eval(r, &s, 0, 0, NULL, NULL), HL_FATAL, HL_WHY_OTHER);
    redis_free(r);
}

Test(redis, an_error_inside_a_script_keeps_its_class_and_names_the_script)
{
    struct redis_script s = {.name = "writer", .body = "return redis.pcall('LPUSH', 'str', 'x')"};
    struct redis *r = open_up();
    ASSERT_TEXT(ASK(r, "SET", "str", "v"), "OK");
    struct got g = eval(r, &s, 0, 0, NULL, NULL);
    ASSERT_OUTCOME(g, HL_FATAL, HL_WHY_OTHER);
    cr_assert(strstr(g.err.msg, "writer: WRONGTYPE"), "%s", g.err.msg);
    redis_free(r);
}

/* --- loss and return --------------------------------------------------------------------- */

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

/* Sends to a stopped server; the command is on its way when this returns. */
static void ask_stopped_server(struct redis *r, struct got *g)
{
    struct defer after = {0}; /* runs behind the connection's own end of the turn */
    bool written = false;
    test_redis_pause(server);
    redis_call(r, 0, record, g, "INCR", "n", NULL);
    loop_defer(loop, &after, set_true, &written);
    RUN_UNTIL(written);
}

Test(redis, commands_in_flight_are_unsure_when_the_server_dies_and_it_comes_back)
{
    struct got sent = {0};
    struct redis *r = open_url(test_redis_url(server));
    redis_on_state(r, note_state, NULL);
    RUN_UNTIL(redis_up(r));
    char first_run[41];
    snprintf(first_run, sizeof(first_run), "%s", redis_info(r)->run_id);

    ask_stopped_server(r, &sent);
    test_redis_kill(server);
    RUN_UNTIL(sent.calls);
    ASSERT_OUTCOME(sent, HL_UNSURE, HL_WHY_UNREACHABLE);
    cr_assert_str_eq(states.data, "+-");

    for (int i = 0; i < 5; i++) { /* refused at once, in backoff and by a refused attempt alike */
        int64_t start = harness_now_ms();
        ASSERT_OUTCOME(ASK(r, "PING"), HL_RETRY, HL_WHY_UNREACHABLE);
        cr_assert_lt(harness_now_ms() - start, 1000);
    }
    test_redis_restart(server);
    RUN_UNTIL(redis_up(r));
    ASSERT_TEXT(ASK(r, "PING"), "PONG");
    cr_assert_str_eq(states.data, "+-+");
    cr_assert_str_neq(redis_info(r)->run_id, first_run);
    redis_free(r);
    cr_assert_str_eq(states.data, "+-+");
    buf_release(&states);
}

Test(redis, a_missed_deadline_is_unsure_and_closes_the_connection)
{
    struct got late = {0}, behind = {0};
    struct redis *r = open_url(test_redis_url(server));
    redis_on_state(r, note_state, NULL);
    RUN_UNTIL(redis_up(r));
    ASSERT_TEXT(ASK(r, "SET", "n", "0"), "OK");

    redis_call(r, 60000, record, &behind, "GET", "n", NULL); /* its own deadline is far */
    RUN_UNTIL(behind.calls);
    behind = (struct got){0};
    test_redis_pause(server);
    redis_call(r, 60000, record, &behind, "GET", "n", NULL);
    redis_call(r, 200, record, &late, "INCR", "n", NULL);
    int64_t start = harness_now_ms();
    RUN_UNTIL(late.calls);
    cr_assert(harness_now_ms() - start >= 190 && harness_now_ms() - start < 5000);
    ASSERT_OUTCOME(late, HL_UNSURE, HL_WHY_TIMEOUT);
    RUN_UNTIL(behind.calls);
    ASSERT_OUTCOME(behind, HL_UNSURE, HL_WHY_UNREACHABLE);

    test_redis_resume(server);
    RUN_UNTIL(redis_up(r));
    ASSERT_TEXT(ASK(r, "GET", "n"), "1"); /* it was carried out: unsure was the truth */
    cr_assert_str_eq(states.data, "+-+");
    redis_free(r);
    buf_release(&states);
}

Test(redis, answers_in_time_keep_the_connection_although_earlier_deadlines_have_passed)
{
    struct redis *r = open_url(test_redis_url(server));
    redis_on_state(r, note_state, NULL);
    RUN_UNTIL(redis_up(r));
    struct got quick = {0}, slow = {0};
    redis_call(r, 300, record, &quick, "PING", NULL);
    redis_call(r, 10000, record, &slow, "BLPOP", "none", "1", NULL);
    RUN_UNTIL(slow.calls);
    ASSERT_OUTCOME(quick, HL_OK, HL_WHY_OTHER);
    ASSERT_OUTCOME(slow, HL_OK, HL_WHY_OTHER);
    cr_assert_str_eq(states.data, "+");
    redis_free(r);
    buf_release(&states);
}

Test(redis_alone, nothing_listening_is_unreachable)
{
    char url[64];
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", harness_free_port());
    struct redis *r = open_url(url);
    struct got g = ASK(r, "PING");
    ASSERT_OUTCOME(g, HL_RETRY, HL_WHY_UNREACHABLE);
    cr_assert(strstr(g.err.msg, "127.0.0.1"), "%s", g.err.msg);
    redis_free(r);
}

Test(redis_alone, a_waiting_command_keeps_its_own_deadline)
{
    int port, fd = harness_listen(&port); /* accepts by the kernel, never answers */
    char url[64];
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", port);
    struct redis_conf conf = conf_for(url);
    conf.connect_timeout_ms = 1000;
    struct redis *r = open_conf(&conf);
    struct got own = {0}, whole = {0};
    redis_call(r, 100, record, &own, "PING", NULL);
    redis_call(r, 9000, record, &whole, "PING", NULL);
    int64_t start = harness_now_ms();
    RUN_UNTIL(own.calls);
    ASSERT_OUTCOME(own, HL_RETRY, HL_WHY_TIMEOUT);
    cr_assert_eq(whole.calls, 0);
    RUN_UNTIL(whole.calls);
    ASSERT_OUTCOME(whole, HL_RETRY, HL_WHY_UNREACHABLE); /* the attempt ran out of time */
    cr_assert(harness_now_ms() - start >= 950 && harness_now_ms() - start < 8000);
    redis_free(r);
    close(fd);
}

Test(redis, a_blocking_read_ends_with_a_reset)
{
    struct got blocked = {0}, behind = {0};
    struct redis *r = open_url(test_redis_url(server));
    redis_on_state(r, note_state, NULL);
    RUN_UNTIL(redis_up(r));
    ASSERT_TEXT(ASK(r, "XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"), "OK");
    redis_call(r, 60000, record, &blocked, "XREADGROUP", "GROUP", "g", "me", "BLOCK", "0",
        "STREAMS", "s", ">", NULL);
    RUN_UNTIL(strstr(redis_text(server, "INFO clients"), "blocked_clients:1"));
    redis_call(r, 0, record, &behind, "PING", NULL); /* not written yet: certainly not sent */
    redis_reset(r);
    cr_assert(blocked.calls == 0 && behind.calls == 0 && !redis_up(r));
    struct got after = ASK(r, "PING"); /* waits for the new connection */
    ASSERT_OUTCOME(blocked, HL_UNSURE, HL_WHY_UNREACHABLE);
    ASSERT_OUTCOME(behind, HL_RETRY, HL_WHY_UNREACHABLE);
    ASSERT_TEXT(after, "PONG");
    cr_assert_str_eq(states.data, "+-+");
    redis_free(r);
    buf_release(&states);
}

Test(redis, a_reset_while_connecting_answers_what_waits_and_connects_all_the_same)
{
    struct got waiting = {0};
    struct redis *r = open_url(test_redis_url(server));
    redis_call(r, 0, record, &waiting, "PING", NULL);
    redis_reset(r);
    cr_assert_eq(waiting.calls, 0);
    RUN_UNTIL(redis_up(r));
    ASSERT_OUTCOME(waiting, HL_RETRY, HL_WHY_UNREACHABLE);
    redis_free(r);
}

Test(redis, more_than_max_pending_is_refused_without_harm_to_the_rest)
{
    struct redis_conf conf = conf_for(test_redis_url(server));
    conf.max_pending = 3;
    struct redis *r = open_conf(&conf);
    for (int round = 0; round < 2; round++) { /* waiting for the connection, then in flight */
        struct got g[5] = {0};
        for (int i = 0; i < 5; i++)
            redis_call(r, 0, record, &g[i], "PING", NULL);
        for (int i = 0; i < 5; i++) {
            RUN_UNTIL(g[i].calls);
            ASSERT_OUTCOME(g[i], i < 3 ? HL_OK : HL_RETRY, i < 3 ? HL_WHY_OTHER : HL_WHY_EXHAUSTED);
        }
    }
    redis_free(r);
}

/* --- freeing and re-entering from callbacks ---------------------------------------------- */

static struct redis *victim;

static void free_inside(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    record(reply, err, ctx);
    redis_free(victim);
}

Test(redis, freeing_from_a_callback_answers_the_rest_once)
{
    struct got g[4] = {0};
    victim = open_up();
    redis_call(victim, 0, record, &g[0], "PING", NULL);
    redis_call(victim, 0, free_inside, &g[1], "PING", NULL);
    redis_call(victim, 0, record, &g[2], "PING", NULL); /* its answer is in the same read */
    redis_call(victim, 0, free_inside, &g[3], "PING", NULL);
    RUN_UNTIL(g[1].calls);
    ASSERT_OUTCOME(g[0], HL_OK, HL_WHY_OTHER);
    ASSERT_OUTCOME(g[1], HL_OK, HL_WHY_OTHER);
    ASSERT_OUTCOME(g[2], HL_UNSURE, HL_WHY_UNREACHABLE);
    ASSERT_OUTCOME(g[3], HL_UNSURE, HL_WHY_UNREACHABLE);
}

static struct got reissued;

static void free_after_failure(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    record(reply, err, ctx);
    redis_call(victim, 0, record, &reissued, "PING", NULL);
    redis_free(victim);
}

Test(redis_alone, freeing_from_a_failed_command_answers_the_rest_once)
{
    char url[64];
    struct got g[3] = {0};
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", harness_free_port());
    victim = open_url(url);
    redis_call(victim, 0, free_after_failure, &g[0], "PING", NULL);
    redis_call(victim, 0, record, &g[1], "PING", NULL);
    redis_call(victim, 0, free_inside, &g[2], "PING", NULL);
    RUN_UNTIL(g[0].calls);
    for (int i = 0; i < 3; i++)
        ASSERT_OUTCOME(g[i], HL_RETRY, HL_WHY_UNREACHABLE);
    ASSERT_OUTCOME(reissued, HL_RETRY, HL_WHY_UNREACHABLE);
}

static void ask_the_freed(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    record(reply, err, ctx);
    redis_call(victim, 0, record, &reissued, "PING", NULL);
}

Test(redis, a_command_given_while_freeing_is_refused_for_good)
{
    struct got g = {0};
    victim = open_url(test_redis_url(server));
    redis_call(victim, 0, ask_the_freed, &g, "PING", NULL);
    redis_free(victim);
    ASSERT_OUTCOME(g, HL_RETRY, HL_WHY_UNREACHABLE);
    ASSERT_OUTCOME(reissued, HL_FATAL, HL_WHY_OTHER);
    redis_free(NULL);
}

static int frees_at;

static void free_on_state(struct redis *r, bool up, void *ctx)
{
    (void)ctx;
    if (up == (frees_at == 1)) {
        redis_free(r);
        frees_at = -1;
    }
}

Test(redis, freeing_from_the_state_callback_is_fine)
{
    for (int at = 0; at <= 1; at++) { /* 1: when up, 0: when down */
        struct got g = {0};
        struct redis *r = open_url(test_redis_url(server));
        frees_at = at;
        redis_on_state(r, free_on_state, NULL);
        redis_call(r, 0, record, &g, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no", NULL);
        RUN_UNTIL(frees_at == -1);
        RUN_UNTIL(g.calls == 1);
    }
}

static void reset_inside(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    record(reply, err, ctx);
    redis_reset(victim);
    redis_call(victim, 0, record, &reissued, "INCR", "n", NULL);
}

Test(redis, a_reset_from_a_callback_spares_what_is_asked_after_it)
{
    struct got first = {0}, second = {0};
    victim = open_up();
    redis_call(victim, 0, reset_inside, &first, "PING", NULL);
    redis_call(victim, 0, record, &second, "PING", NULL);
    RUN_UNTIL(reissued.calls);
    ASSERT_OUTCOME(first, HL_OK, HL_WHY_OTHER);
    ASSERT_OUTCOME(second, HL_UNSURE, HL_WHY_UNREACHABLE);
    ASSERT_OUTCOME(reissued, HL_OK, HL_WHY_OTHER);
    cr_assert(reissued.integer == 1);
    redis_free(victim);
}

/* --- a server that misbehaves ------------------------------------------------------------ */

/* Answers connection number i with answers[i] (the last one again and again) as soon as something
 * was asked, and leaves it open. */
struct standin {
    int listen_fd, port;
    const char *const *answers;
    int connections;
    struct watch accepting;
    struct watch conns[16];
    int fds[16];
};

static struct standin standin;

static void standin_asked(int what, void *ctx)
{
    char asked[4096];
    int i = (int)((struct watch *)ctx - standin.conns);
    (void)what;
    if (recv(standin.fds[i], asked, sizeof(asked), 0) <= 0) {
        watch_stop(ctx);
        return;
    }
    for (int n = 0; standin.answers[n]; n++)
        if (n == i || (n < i && !standin.answers[n + 1]))
            send(standin.fds[i], standin.answers[n], strlen(standin.answers[n]), MSG_NOSIGNAL);
}

static void standin_accept(int what, void *ctx)
{
    (void)what;
    (void)ctx;
    int i = standin.connections++;
    cr_assert_lt(i, 16);
    standin.fds[i] = accept(standin.listen_fd, NULL, NULL);
    watch_start(
        loop, &standin.conns[i], standin.fds[i], WATCH_READ, standin_asked, &standin.conns[i]);
}

static struct redis *open_standin(const char *const *answers)
{
    char url[64];
    standin = (struct standin){.answers = answers};
    standin.listen_fd = harness_listen(&standin.port);
    watch_start(loop, &standin.accepting, standin.listen_fd, WATCH_READ, standin_accept, NULL);
    snprintf(url, sizeof(url), "redis://127.0.0.1:%d", standin.port);
    struct redis_conf conf = conf_for(url);
    conf.client_name = NULL; /* INFO is all that is asked */
    return open_conf(&conf);
}

static void standin_close(void)
{
    watch_stop(&standin.accepting);
    close(standin.listen_fd);
    for (int i = 0; i < standin.connections; i++) {
        watch_stop(&standin.conns[i]);
        close(standin.fds[i]);
    }
}

Test(redis_alone, a_loading_server_is_not_up_yet_and_asked_again_soon)
{
#define LOADING "$11\r\nloading:1\r\n\r\n"
    static const char *const answers[] = {LOADING,
        "-LOADING Redis is loading the dataset in memory\r\n", LOADING, LOADING, LOADING, LOADING,
        LOADING, LOADING, "$26\r\nloading:0\r\nrole:master\r\n\r\n\r\n", NULL};
    int64_t start = harness_now_ms();
    struct redis *r = open_standin(answers);
    ASSERT_OUTCOME(ASK(r, "PING"), HL_RETRY, HL_WHY_UNREACHABLE);
    RUN_UNTIL(redis_up(r));
    cr_assert_eq(standin.connections, 9);
    cr_assert_lt(harness_now_ms() - start, 4000); /* doubling would need 4.5 s at the least */
    redis_free(r);
    standin_close();
}

Test(redis_alone, an_answer_that_is_not_resp_closes_the_connection)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", NULL};
    struct redis *r = open_standin(answers);
    struct got g = ASK(r, "PING");
    ASSERT_OUTCOME(g, HL_RETRY, HL_WHY_UNREACHABLE);
    cr_assert(strstr(g.err.msg, "protocol error"), "%s", g.err.msg);
    redis_free(r);
    standin_close();
}

Test(redis_alone, an_answer_to_no_command_closes_the_connection)
{
    static const char *const answers[] = {"$11\r\nloading:0\r\n\r\n:1\r\n", NULL};
    struct redis *r = open_standin(answers);
    redis_on_state(r, note_state, NULL);
    RUN_UNTIL(states.len >= 2);
    cr_assert(strncmp(states.data, "+-", 2) == 0);
    redis_free(r);
    standin_close();
    buf_release(&states);
}
