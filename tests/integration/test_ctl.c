/* hooklinectl as a program: its verbs, what they print, and the exit codes scripts rely on. */
#include "tests/support/harness.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET   "a-secret-that-is-long-enough-for-everyone"
#define MAX_ARGS 16

TestSuite(ctl, .timeout = 60);

/* Strings are kept until the test ends, so that leak checkers see only real leaks. */
static char *keep(char *s)
{
    static char *kept[128];
    static size_t n;
    cr_assert_lt(n, sizeof(kept) / sizeof(kept[0]));
    return kept[n++] = s;
}

/* --- running it -------------------------------------------------------------------------- */

/* Strings of a child's environment, on a port and a database of the test. */
static const char *const *environment(int port, const char *database)
{
    static const char *env[5];
    env[0] = "WEBHOOK_SECRET=" SECRET;
    env[1] = keep(mem_printf("WEBHOOK_PORT=%d", port));
    env[2] = "WEBHOOK_API_SECRET=another-secret-that-is-long-enough-for-all";
    env[3] = keep(
        mem_printf("WEBHOOK_DATABASE_URL=%s", database ? database : "postgresql://127.0.0.1/x"));
    return env;
}

static struct test_proc *start(const char *const *env, const char *const *args)
{
    const char *argv[MAX_ARGS + 2] = {keep(mem_printf("%s/hooklinectl", harness_build()))};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    return test_proc_start(argv, env, -1);
}

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static int ctl(const char *const *env, const char *const *args, const char **out)
{
    struct test_proc *p = start(env, args);
    int code = test_proc_wait(p, 20000);
    *out = test_proc_log(p);
    return code;
}

/* --- a producer's stand-in that answers one request -------------------------------------- */

struct peer {
    int listener, port;
};

static struct peer peer_open(void)
{
    struct peer p;
    p.listener = harness_listen(&p.port);
    return p;
}

static size_t body_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at ? (size_t)atol(at + strlen("\r\ncontent-length:")) : 0;
}

/* Takes one whole request, sends `answer`; the request is returned. */
static const char *peer_serve(struct peer *p, const char *answer)
{
    struct buf got = {0};
    int fd = accept(p->listener, NULL, NULL);
    cr_assert_geq(fd, 0);
    const char *end = NULL;
    while (!end || got.len < (size_t)(end + 4 - got.data) + body_length(got.data)) {
        ssize_t n = read(fd, buf_reserve(&got, 65536), 65536);
        cr_assert_gt(n, 0, "the request ends early:\n%s", buf_str(&got));
        got.len += (size_t)n;
        got.data[got.len] = '\0';
        end = strstr(got.data, "\r\n\r\n");
    }
    cr_assert_eq(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
    close(fd);
    return keep(buf_detach(&got));
}

static const char *answer(const char *status, const char *body)
{
    return keep(
        mem_printf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                   "Connection: close\r\n\r\n%s",
            status, strlen(body), body));
}

static const char *body_of(const char *request)
{
    return strstr(request, "\r\n\r\n") + 4;
}

#define ACCEPTED                                                                                   \
    "{\"status\":\"queued\",\"job_id\":\"7b0c0f6e-5d52-4b3c-8b1f-0d3f0e6a3c11\","                  \
    "\"change_event_id\":41,\"url\":\"http://page/\"}"

static const char *sign_line(const char *body)
{
    return keep(mem_printf("X-Signature: sha256=%s\r\n", test_sign(SECRET, body, strlen(body))));
}

/* --- send -------------------------------------------------------------------------------- */

Test(ctl, send_builds_and_signs_an_event_and_shows_the_answer)
{
    struct peer peer = peer_open();
    struct test_proc *p =
        start(environment(peer.port, NULL), ARGS("send", "--url", "http://page/", "--title",
                                                "A \"title\" \xc3\xa9", "--snapshot", "new"));
    const char *request = peer_serve(&peer, answer("202 Accepted", ACCEPTED));
    cr_expect_eq(test_proc_wait(p, 10000), 0, "%s", test_proc_log(p));

    const char *body = body_of(request);
    cr_expect(strstr(request, "POST /api/webhook/changedetection HTTP/1.1\r\n") == request);
    cr_expect(strstr(request, sign_line(body)), "%s", request);
    cr_expect(strstr(request, "Content-Type: application/json\r\n"));
    cr_expect(strstr(body, "\"watch_url\":\"http://page/\""), "%s", body);
    cr_expect(strstr(body, "\"watch_id\":\"hooklinectl\""), "%s", body);
    cr_expect(strstr(body, "\"watch_title\":\"A \\\"title\\\" \xc3\xa9\""), "%s", body);
    cr_expect(strstr(body, "\"snapshot\":\"new\""), "%s", body);
    int year = 0;
    const char *when = strstr(body, "\"detected_at\":\"");
    cr_expect(when && sscanf(when, "\"detected_at\":\"%4d-", &year) == 1 && year >= 2024 &&
                  strstr(when, "Z\""),
        "%s", body);
    cr_expect_not(strstr(body, "diff_url"), "what was not given is left out: %s", body);
    cr_expect(test_proc_logged(p, "7b0c0f6e-5d52-4b3c-8b1f-0d3f0e6a3c11"));
    cr_expect(test_proc_logged(p, "row     41"), "%s", test_proc_log(p));
}

Test(ctl, send_posts_a_file_byte_for_byte)
{
    static const char odd[] = " {\"watch_id\" : \"\xc3\xa9\\u00e9\",\r\n\t\"x\":1.50}  \n";
    const char *path = keep(mem_printf("%s/event.json", harness_dir()));
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(odd, f) >= 0 && fclose(f) == 0);
    struct peer peer = peer_open();
    struct test_proc *p =
        start(environment(peer.port, NULL), ARGS("send", "--file", path, "--json"));
    const char *request = peer_serve(&peer, answer("202 Accepted", ACCEPTED));
    cr_expect_eq(test_proc_wait(p, 10000), 0, "%s", test_proc_log(p));
    cr_expect_str_eq(body_of(request), odd);
    cr_expect(strstr(request, sign_line(odd)));
    cr_expect_str_eq(test_proc_log(p), ACCEPTED "\n");
}

Test(ctl, send_tells_a_refusal_its_reason_and_the_remedy)
{
    /* clang-format off */
    static const struct {
        const char *status, *body, *shown, *advice;
    } cases[] = {
        {"401 Unauthorized", "{\"detail\":\"Invalid signature\"}", "401: Invalid signature",
            "WEBHOOK_SECRET"},
        {"422 Unprocessable Entity", "{\"detail\":[{\"a\":1}]}", "422: [{\"a\":1}]", "log"},
        {"502 Bad Gateway", "<h1>no\x1b[31m</h1>", "HTTP 502: <h1>no", "log"},
        {"200 OK", "{}", "HTTP 200", "only 202"},
        {"307 Temporary Redirect", "", "HTTP 307", "--to"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer peer = peer_open();
        struct test_proc *p =
            start(environment(peer.port, NULL), ARGS("send", "--url", "http://page/"));
        peer_serve(&peer, answer(cases[i].status, cases[i].body));
        cr_expect_eq(test_proc_wait(p, 10000), 1, "%s", cases[i].status);
        cr_expect(test_proc_logged(p, cases[i].shown), "%s", test_proc_log(p));
        cr_expect(test_proc_logged(p, cases[i].advice), "%s", test_proc_log(p));
        cr_expect_not(test_proc_logged(p, "\x1b"), "the terminal is not to be steered");
    }
}

Test(ctl, send_says_when_nobody_answers)
{
    const char *out;
    int code =
        ctl(environment(harness_free_port(), NULL), ARGS("send", "--url", "http://x/"), &out);
    cr_expect_eq(code, 69, "%d: %s", code, out);
    cr_expect_not(strstr(out, SECRET));

    struct peer silent = peer_open(); /* the kernel accepts, nobody answers */
    code = ctl(environment(silent.port, NULL),
        ARGS("send", "--url", "http://x/", "--timeout", "300ms"), &out);
    cr_expect_eq(code, 124, "%d: %s", code, out);
}

Test(ctl, send_to_another_address)
{
    struct peer peer = peer_open();
    const char *to = keep(mem_printf("http://127.0.0.1:%d/hook?x=1", peer.port));
    struct test_proc *p = start(
        environment(harness_free_port(), NULL), ARGS("send", "--url", "http://page/", "--to", to,
                                                    "--detected-at", "2026-01-01", "--key", "k1"));
    const char *request = peer_serve(&peer, answer("202 Accepted", ACCEPTED));
    cr_expect_eq(test_proc_wait(p, 10000), 0, "%s", test_proc_log(p));
    cr_expect(strstr(request, "POST /hook?x=1 HTTP/1.1\r\n") == request);
    cr_expect(
        strstr(request, "\"detected_at\":\"2026-01-01\""), "times are sent as they were given");
    cr_expect(strstr(request, "\r\nIdempotency-Key: k1\r\n"), "%s", request);
}

Test(ctl, send_refuses_a_key_that_is_no_header)
{
    static const char *const keys[] = {"", "a b", "k\r\nX-Other: 1", "caf\xc3\xa9"};
    const char *out;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int code = ctl(environment(harness_free_port(), NULL),
            ARGS("send", "--url", "http://x/", "--key", keys[i]), &out);
        cr_expect_eq(code, 64, "%zu: %d %s", i, code, out);
        cr_expect(strstr(out, "--key takes"), "%s", out);
    }
}

/* --- migrate ----------------------------------------------------------------------------- */

Test(ctl, migrate_plans_applies_and_reports)
{
    const char *url = harness_database(false), *out;
    const char *const *env = environment(1, url);
    cr_expect_eq(ctl(env, ARGS("migrate", "--dry-run"), &out), 0, "%s", out);
    cr_expect(strstr(out, "would be applied"), "%s", out);
    cr_expect_str_empty(sql_text(url, "SELECT to_regnamespace('webhook')"));

    cr_expect_eq(ctl(env, ARGS("migrate"), &out), 0, "%s", out);
    cr_expect(strstr(out, "applied now"), "%s", out);
    cr_expect_str_not_empty(sql_text(url, "SELECT to_regclass('webhook.change_events')"));

    cr_expect_eq(ctl(env, ARGS("migrate", "--status"), &out), 0, "%s", out);
    cr_expect(strstr(out, " applied 20") && !strstr(out, "pending"), "%s", out);
}

Test(ctl, migrate_that_is_refused_or_finds_nobody_says_so_by_its_exit_code)
{
    const char *url = harness_database(false), *out;
    sql_exec(url, "CREATE SCHEMA webhook; CREATE TABLE webhook.change_events (id int)");
    cr_expect_eq(ctl(environment(1, url), ARGS("migrate"), &out), 1);
    cr_expect(strstr(out, "cannot be adopted"), "%s", out);

    const char *nobody =
        keep(mem_printf("postgresql://u:s3cr3t@127.0.0.1:%d/x", harness_free_port()));
    cr_expect_eq(ctl(environment(1, nobody), ARGS("migrate"), &out), 69, "%s", out);
    cr_expect_not(strstr(out, "s3cr3t"), "%s", out);
}

/* Connections that may read everything, and write nothing. */
static const char *reader_of(const char *url)
{
    return keep(mem_printf(
        "%s%soptions=-c%%20role%%3Dpg_read_all_data", url, strchr(url, '?') ? "&" : "?"));
}

Test(ctl, migrate_await_returns_when_another_has_applied_what_this_release_needs)
{
    const char *url = harness_database(false), *out;
    struct test_proc *p = start(environment(1, reader_of(url)), ARGS("migrate", "--await", "1m"));
    WAIT_FOR(test_proc_logged(p, "waiting: there is no schema yet"), 20000);
    cr_expect(test_proc_running(p));
    cr_expect_eq(ctl(environment(1, url), ARGS("migrate"), &out), 0, "%s", out);
    cr_expect_eq(test_proc_wait(p, 20000), 0, "%s", test_proc_log(p));
    cr_expect(strstr(test_proc_log(p), "the schema is at version "), "%s", test_proc_log(p));

    sql_exec(url, "INSERT INTO webhook.schema_migrations VALUES (9999, 'newer', '')");
    cr_expect_eq(ctl(environment(1, reader_of(url)), ARGS("migrate", "--await", "0"), &out), 0,
        "one that is newer will do: %s", out);
}

Test(ctl, migrate_await_applies_nothing_and_gives_up_in_time)
{
    const char *url = harness_database(false), *out;
    cr_expect_eq(ctl(environment(1, url), ARGS("migrate", "--await", "300ms"), &out), 124);
    cr_expect(strstr(out, "gave up waiting: there is no schema yet"), "%s", out);
    cr_expect_str_empty(sql_text(url, "SELECT to_regnamespace('webhook')"));

    const char *old = harness_database(true);
    sql_exec(old, "DELETE FROM webhook.schema_migrations WHERE version > 3");
    cr_expect_eq(ctl(environment(1, old), ARGS("migrate", "--await", "300ms"), &out), 124);
    cr_expect(strstr(out, "is at version 3, this release needs "), "%s", out);

    int port; /* takes connections, and says nothing */
    int silent = harness_listen(&port);
    const char *nobody = keep(mem_printf("postgresql://u:s3cr3t@127.0.0.1:%d/x", port));
    cr_expect_eq(ctl(environment(1, nobody), ARGS("migrate", "--await", "300ms"), &out), 124);
    cr_expect(strstr(out, "gave up waiting") && !strstr(out, "s3cr3t"), "%s", out);
    close(silent);

    cr_expect_eq(ctl(environment(1, url), ARGS("migrate", "--await", "1", "--status"), &out), 64);
    cr_expect_eq(
        ctl(environment(1, url), ARGS("migrate", "--await", "1", "--wait", "1"), &out), 64);
}

/* --- the command line -------------------------------------------------------------------- */

Test(ctl, wrong_usage_is_64_and_names_what_is_wrong)
{
    /* clang-format off */
    static const struct {
        const char *args[5];
        const char *said;
    } cases[] = {
        {{"conquer"},                                "unknown verb 'conquer'"},
        {{"migrate", "--sideways"},                  "--sideways"            },
        {{"migrate", "now"},                         "'now'"                 },
        {{"migrate", "--wait"},                      "needs a value"         },
        {{"migrate", "--wait", "soon"},              "not a duration"        },
        {{"migrate", "--status", "--dry-run"},       "not both"              },
        {{"send"},                                   "--url"                 },
        {{"send", "--file", "x", "--url=http://x/"}, "no --url beside it"    },
        {{"send", "--url", "http://\xff/"},          "UTF-8"                 },
        {{"send", "--url=x", "--timeout", "0"},      "more than 0"           },
    };
    /* clang-format on */
    const char *const *env = environment(1, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *out;
        int code = ctl(env, cases[i].args, &out);
        cr_expect_eq(code, 64, "case %zu: %d", i, code);
        cr_expect(strstr(out, cases[i].said), "case %zu: %s", i, out);
    }
    const char *out;
    cr_expect_eq(ctl(env, (const char *const[]){NULL}, &out), 64);
}

Test(ctl, help_lists_verbs_and_exit_codes)
{
    static const char *const mentioned[] = {"migrate", "send", "69", "124", "WEBHOOK_DATABASE_URL"};
    const char *out;
    cr_expect_eq(ctl(environment(1, NULL), ARGS("--help"), &out), 0);
    for (size_t i = 0; i < sizeof(mentioned) / sizeof(mentioned[0]); i++)
        cr_expect(strstr(out, mentioned[i]), "%s is missing in:\n%s", mentioned[i], out);
    cr_expect_eq(ctl(NULL, ARGS("send", "--help"), &out), 0, "needs no settings");
    cr_expect(strstr(out, "--snapshot"));
    cr_expect_eq(ctl(NULL, ARGS("--version"), &out), 0);
    cr_expect(strstr(out, "hooklinectl "));
}
