/* Signing in to the dashboard, with real producers: who gets a session, what it may, how long and where
 * it counts; what is refused, and how slowly; what every answer tells the browser. */
#include "base/clock.h"
#include "producer/api.h"
#include "producer/dashboard.h"
#include "producer/session.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(dashboard_session, .timeout = 60);

enum { SOON = 20000 };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SESSION  "/dashboard/session"
#define JSON     "Content-Type: application/json\r\n"
#define AUTH     "Authorization: Bearer " RIG_API_SECRET "\r\n"
#define GOOD     "{\"secret\":\"" RIG_API_SECRET "\"}"
#define RETRY    "/api/events/00000000-0000-4000-8000-000000000001/retry" /* no such event: 404 */

/* --- asking ------------------------------------------------------------------------------ */

static struct test_reply ask(int port, const char *method, const char *path, const char *headers)
{
    return test_http(port, method, path, headers, NULL, 0);
}

static struct test_reply sign_in_from(int port, const char *client, const char *secret)
{
    const char *body = harness_text("{\"secret\":\"%s\"}", secret);
    const char *headers = harness_text(JSON "X-Forwarded-For: %s\r\n", client);
    return test_http(port, "POST", SESSION, headers, body, strlen(body));
}

struct signed_in {
    const char *value, *cookie, *csrf; /* header lines, but for the first */
};

static struct signed_in sign_in(int port, const char *secret)
{
    struct test_reply reply = sign_in_from(port, "192.0.2.200", secret);
    cr_assert_eq(reply.status, 200, "%d %s", reply.status, reply.body);
    const char *set = test_reply_header(&reply, "Set-Cookie");
    cr_assert(set && strncmp(set, SESSION_COOKIE "=", strlen(SESSION_COOKIE) + 1) == 0, "%s", set);
    const char *value = harness_text("%.*s", SESSION_LEN, set + strlen(SESSION_COOKIE) + 1);
    return (struct signed_in){value, harness_text("Cookie: " SESSION_COOKIE "=%s\r\n", value),
        harness_text(SESSION_CSRF ": %s\r\n", test_reply_member(&reply, "csrf"))};
}

static struct test_proc *start(
    struct rig *r, const char *const *argv, const char *const *env, int *port)
{
    int fd = harness_listen(port);
    struct test_proc *p = rig_start_program(r, argv, env, fd);
    close(fd);
    WAIT_FOR(ask(*port, "GET", "/openapi.json", NULL).status == 200, SOON);
    return p;
}

/* Another producer with these settings besides. */
static struct test_proc *producer(struct rig *r, const char *const *env, int *port)
{
    return start(r, (const char *const[]){rig_program("hookline-producer"), NULL}, env, port);
}
#define PRODUCER(r, port, setting)                                                                 \
    producer(r,                                                                                    \
        RIG_ENV(setting, harness_text("WEBHOOK_SPOOL_DIR=%s/spool-%d", harness_dir(), __LINE__)),  \
        port)

/* One without any secret to sign in with. */
static void start_closed(struct rig *r, int *port)
{
    const char *const argv[] = {"/usr/bin/env", "-u", "WEBHOOK_API_SECRET", "-u",
        "WEBHOOK_API_SECRET_READONLY", rig_program("hookline-producer"), NULL};
    start(r, argv, RIG_ENV(harness_text("WEBHOOK_SPOOL_DIR=%s/spool-closed", harness_dir())), port);
}

static int logged(struct test_proc *p, const char *text)
{
    int n = 0;
    for (const char *at = test_proc_log(p); (at = strstr(at, text)); at++)
        n++;
    return n;
}

/* --- the session ------------------------------------------------------------------------- */

static void a_secret_is_exchanged_for_a_cookie_that_reads_and_writes(struct rig *r)
{
    int port = r->producer_port;
    struct test_reply reply = sign_in_from(port, "192.0.2.1", RIG_API_SECRET);
    cr_expect_str_eq(test_reply_member(&reply, "role"), "write");
    cr_expect_str_eq(test_reply_header(&reply, "Cache-Control"), "no-store");
    const char *set = test_reply_header(&reply, "Set-Cookie");
    cr_expect(strstr(set, "; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "%s", set);
    cr_expect_null(strstr(set, "Secure"), "%s", set);
    WAIT_FOR(test_proc_logged(r->producer, "\"signed_in\""), SOON);

    struct signed_in w = sign_in(port, RIG_API_SECRET), l = sign_in(port, RIG_READ_SECRET);
    reply = ask(port, "GET", SESSION, w.cookie);
    cr_expect_eq(reply.status, 200);
    cr_expect(strstr(w.csrf, test_reply_member(&reply, "csrf")));
    reply = ask(port, "GET", SESSION, l.cookie);
    cr_expect_str_eq(test_reply_member(&reply, "role"), "read");
    reply = ask(port, "GET", SESSION, harness_text("%sSec-Fetch-Site: cross-site\r\n", w.cookie));
    cr_expect_str_eq(test_reply_member(&reply, "role"), "none");
    cr_expect_str_eq(test_reply_member(&reply, "csrf"), "null");
    /* clang-format off */
    const struct {
        const char *method, *path, *headers;
        int status;
    } cases[] = {
        {"GET",  "/api/events", w.cookie, 200},
        {"GET",  "/api/events", l.cookie, 200},
        {"POST", RETRY, harness_text("%s%s", w.cookie, w.csrf), 404},
        {"POST", RETRY, harness_text("%s%s", l.cookie, l.csrf), 403},
        {"POST", RETRY, w.cookie, 403},
        {"POST", RETRY, harness_text("%s" SESSION_CSRF ": \r\n", w.cookie), 403},
        {"POST", RETRY, harness_text("%s" SESSION_CSRF ": x\r\n", w.cookie), 403},
        {"POST", RETRY, harness_text("%s%s", w.cookie, l.csrf), 403},
        {"POST", RETRY, harness_text("%s%sSec-Fetch-Site: same-origin\r\n", w.cookie, w.csrf), 404},
        {"POST", RETRY, harness_text("%s%sSec-Fetch-Site: cross-site\r\n", w.cookie, w.csrf), 403},
        {"POST", RETRY, harness_text("%s%sSec-Fetch-Site: same-site\r\n", w.cookie, w.csrf), 403},
        {"GET",  "/api/events", harness_text("%sSec-Fetch-Site: same-site\r\n", w.cookie), 401},
        {"GET",  "/api/events", harness_text("%sAuthorization: Bearer no\r\n", w.cookie), 401},
        {"POST", RETRY, harness_text("%s" AUTH, l.cookie), 404},
        {"POST", RETRY, AUTH "Sec-Fetch-Site: cross-site\r\n", 404},
        {"GET",  "/api/events", "Authorization: " RIG_READ_SECRET "\r\n", 200},
        {"POST", RETRY, "Authorization: Bearer " RIG_READ_SECRET "\r\n", 403},
        {"GET",  "/api/events", harness_text("%sCookie: a=b\r\n", w.cookie), 200},
        {"GET",  "/api/events", harness_text("%s%s", w.cookie, w.cookie), 401},
        {"GET",  "/api/events", harness_text("%s%s", w.cookie, l.cookie), 401},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(cases); i++) {
        reply = ask(port, cases[i].method, cases[i].path, cases[i].headers);
        cr_expect_eq(reply.status, cases[i].status, "%zu: %d %s", i, reply.status, reply.body);
    }
}

/* Whatever the routes are: none is forgotten. */
static void no_route_changes_anything_without_right_and_token(struct rig *r)
{
    int port = r->producer_port, writers = 0;
    struct signed_in w = sign_in(port, RIG_API_SECRET), l = sign_in(port, RIG_READ_SECRET);
    const char *const refused[] = {w.cookie, harness_text("%s%s", l.cookie, l.csrf),
        harness_text("%s%s", w.cookie, l.csrf), "Authorization: Bearer " RIG_READ_SECRET "\r\n",
        harness_text("%s%sSec-Fetch-Site: cross-site\r\n", w.cookie, w.csrf),
        harness_text("%s%sSec-Fetch-Site: same-site\r\n", w.cookie, w.csrf)};
    for (const struct api_entry *e = api_routes; e->method; e++) {
        if (strcmp(e->method, "GET") == 0)
            continue;
        writers++;
        for (size_t i = 0; i < COUNT(refused); i++) {
            struct test_reply reply =
                test_http(port, e->method, e->path, harness_text(JSON "%s", refused[i]), "{}", 2);
            cr_expect_eq(reply.status, 403, "%s %zu: %d", e->path, i, reply.status);
        }
        cr_expect_eq(ask(port, e->method, e->path, NULL).status, 401, "%s", e->path);
        cr_expect_eq(ask(port, e->method, e->path, "Cookie: hookline_session=x\r\n").status, 401);
    }
    cr_expect_geq(writers, 8, "%d", writers);
    cr_expect_eq(sql_int(r->db, "SELECT count(*) FROM webhook.operator_log"), 0);
}

/* What is wrong with a cookie, and that nothing comes of it. */
static void an_altered_or_expired_cookie_is_none(struct rig *r)
{
    int port = r->producer_port;
    const char *good = sign_in(port, RIG_API_SECRET).value;
    const struct config ours = {.api_secret = (char[]){RIG_API_SECRET}};
    const struct config other = {.api_secret = (char[]){RIG_READ_SECRET}};
    const int64_t now_s = clock_wall_us() / 1000000;
    const struct session late = {.right = SESSION_WRITES, .expires_s = now_s - 1};
    const struct session fine = {.right = SESSION_WRITES, .expires_s = now_s + 60};
    char expired[SESSION_LEN + 1], made[SESSION_LEN + 1], forged[SESSION_LEN + 1];
    session_write(&ours, &late, expired);
    session_write(&ours, &fine, made);
    session_write(&other, &fine, forged);
    /* clang-format off */
    const struct {
        const char *value;
        int status;
    } cases[] = {
        {good,                                                       200},
        {made,                                                       200},
        {expired,                                                    401},
        {forged,                                                     401},
        {"",                                                         401},
        {"x",                                                        401},
        {harness_text("%.*s", SESSION_LEN - 1, good),                401},
        {harness_text("%sA", good),                                  401},
        {harness_text("%c%s", *good == 'A' ? 'B' : 'A', good + 1),   401},
        {harness_text("\xc3\xa9%s", good + 2),                       401},
        {harness_text("\"%s\"", good),                               401},
        {harness_text("%.36s%s", made, good + 36),                   401},
        {harness_text("%.36s", good),                                401},
        {harness_text("%s; " SESSION_COOKIE "=%s", good, made),      401},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *headers = harness_text("Cookie: " SESSION_COOKIE "=%s\r\n", cases[i].value);
        struct test_reply reply = ask(port, "GET", "/api/events", headers);
        cr_expect_eq(reply.status, cases[i].status, "%zu: %d", i, reply.status);
        reply = ask(port, "GET", SESSION, headers);
        cr_expect_str_eq(
            test_reply_member(&reply, "role"), cases[i].status == 200 ? "write" : "none", "%zu", i);
    }
}

static void signing_out_takes_the_cookie_back(struct rig *r)
{
    int port = r->producer_port;
    struct signed_in w = sign_in(port, RIG_API_SECRET);
    cr_expect_eq(ask(port, "DELETE", SESSION, w.cookie).status, 403);
    struct test_reply reply = ask(port, "DELETE", SESSION, harness_text("%s%s", w.cookie, w.csrf));
    cr_expect_eq(reply.status, 204);
    cr_expect_str_eq(reply.body, "");
    cr_expect_null(test_reply_header(&reply, "Content-Length"));
    cr_expect_str_eq(test_reply_header(&reply, "Set-Cookie"),
        SESSION_COOKIE "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    cr_expect_eq(ask(port, "DELETE", SESSION, NULL).status, 204, "there was none");
    cr_expect_eq(ask(port, "DELETE", SESSION, "Cookie: hookline_session=x\r\n").status, 204);
    reply = ask(port, "PUT", SESSION, NULL);
    cr_expect_eq(reply.status, 405);
    cr_expect_str_eq(test_reply_header(&reply, "Allow"), "POST, GET, DELETE");
}

static void a_session_counts_at_every_producer_that_has_its_secret(struct rig *r)
{
    int two, changed, closed;
    PRODUCER(r, &two, "WEBHOOK_PRODUCERS=2");
    PRODUCER(r, &changed, "WEBHOOK_API_SECRET=" RIG_API_SECRET "-changed");
    PRODUCER(r, &closed, "WEBHOOK_DASHBOARD=off");
    struct signed_in w = sign_in(r->producer_port, RIG_API_SECRET);
    const char *whole = harness_text("%s%s", w.cookie, w.csrf);
    for (int i = 0; i < 20; i++)
        cr_expect_eq(ask(two, "POST", RETRY, whole).status, 404);
    cr_expect_eq(ask(changed, "GET", "/api/events", w.cookie).status, 401);
    cr_expect_eq(ask(closed, "GET", "/api/events", w.cookie).status, 401);
    cr_expect_eq(ask(closed, "GET", "/api/events", AUTH).status, 200);
    static const char *const gone[] = {"/dashboard", "/dashboard/", "/dashboard/app.js", SESSION};
    for (size_t i = 0; i < COUNT(gone); i++)
        cr_expect_eq(ask(closed, "GET", gone[i], NULL).status, 404, "%s", gone[i]);
    cr_expect_eq(sign_in_from(closed, "192.0.2.1", RIG_API_SECRET).status, 404);
}

/* Whether the cookie is for TLS only. */
static bool is_secure(int port, const char *header)
{
    static const char body[] = "{\"secret\":\"" RIG_READ_SECRET "\"}";
    struct test_reply reply =
        test_http(port, "POST", SESSION, harness_text(JSON "%s", header), body, strlen(body));
    const char *set = test_reply_header(&reply, "Set-Cookie");
    cr_assert(set, "%d %s", reply.status, reply.body);
    return strstr(set, "; Secure") != NULL;
}

static void behind_tls_the_cookie_is_for_tls(struct rig *r)
{
    cr_expect(is_secure(r->producer_port, "X-Forwarded-Proto: https\r\n"));
    cr_expect(is_secure(r->producer_port, "X-Forwarded-Proto: http, HTTPS\r\n"));
    cr_expect_not(is_secure(r->producer_port, "X-Forwarded-Proto: https, http\r\n"));
    cr_expect_not(is_secure(r->producer_port, "X-Forwarded-Proto: httpsx\r\n"));
    cr_expect_not(is_secure(r->producer_port, ""));
}

/* --- refused sign-ins -------------------------------------------------------------------- */

static void what_is_no_attempt_is_refused_at_once(struct rig *r)
{
    int open;
    start_closed(r, &open);
    static const struct {
        const char *headers, *body;
        int status;
    } cases[] = {
        {NULL,                                                GOOD,                415},
        {"Content-Type: text/plain\r\n",                      GOOD,                415},
        {JSON "Sec-Fetch-Site: cross-site\r\n",               GOOD,                403},
        {JSON,                                                "",                  422},
        {JSON,                                                "{",                 422},
        {JSON,                                                "[]",                422},
        {JSON,                                                "{\"secret\":17}",   422},
        {JSON,                                                "{\"secret\":\"\"}", 422},
        {JSON "Sec-Fetch-Site: same-origin\r\n",              GOOD,                200},
        {"Content-Type: Application/JSON; charset=utf-8\r\n", GOOD,                200},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *body = cases[i].body;
        struct test_reply reply =
            test_http(r->producer_port, "POST", SESSION, cases[i].headers, body, strlen(body));
        cr_expect_eq(reply.status, cases[i].status, "%zu: %d %s", i, reply.status, reply.body);
    }
    struct test_reply reply = sign_in_from(open, "192.0.2.1", RIG_API_SECRET);
    cr_expect_eq(reply.status, 503);
    cr_expect(strstr(reply.body, "WEBHOOK_API_SECRET"), "%s", reply.body);
    cr_expect_eq(ask(open, "GET", "/dashboard", NULL).status, 200);
}

/* Sends an attempt and goes away. */
static void fail_and_leave(int port, const char *client)
{
    static const char body[] = "{\"secret\":\"guessed\"}";
    const char *request = harness_text("POST " SESSION " HTTP/1.1\r\nHost: h\r\n" JSON
                                       "X-Forwarded-For: %s\r\nContent-Length: %zu\r\n\r\n%s",
        client, strlen(body), body);
    test_http_raw(port, request, strlen(request), 1);
}

static void each_failure_takes_twice_as_long_and_others_wait_for_none(struct rig *r)
{
    int port = r->producer_port;
    static const double least[] = {0.25, 0.5, 1};
    for (size_t i = 0; i < COUNT(least); i++) {
        struct test_reply reply = sign_in_from(port, "192.0.2.1", "guessed");
        cr_expect_eq(reply.status, 401, "%d %s", reply.status, reply.body);
        cr_expect(reply.seconds >= least[i] - 0.005, "%zu: %f", i, reply.seconds);
        cr_expect(test_reply_header(&reply, "WWW-Authenticate"));
        cr_expect_null(test_reply_header(&reply, "Set-Cookie"));
    }
    fail_and_leave(port, "192.0.2.1"); /* two seconds */
    struct test_reply reply = sign_in_from(port, "192.0.2.1", RIG_API_SECRET);
    cr_expect_eq(reply.status, 429, "%d %s", reply.status, reply.body);
    const char *after = test_reply_header(&reply, "Retry-After");
    cr_expect(after && (strcmp(after, "2") == 0 || strcmp(after, "1") == 0), "%s", after);
    cr_expect_eq(sign_in_from(port, "192.0.2.2", RIG_API_SECRET).status, 200);
    WAIT_FOR(sign_in_from(port, "192.0.2.1", RIG_API_SECRET).status == 200, SOON);
    cr_expect_eq(sign_in_from(port, "192.0.2.1", "guessed").status, 401);
    WAIT_FOR(logged(r->producer, "\"sign_in_failed\"") == 5, SOON);
    cr_expect_eq(logged(r->producer, "\"delay_ms\":250"), 2, "who got in is forgiven");
    cr_expect_eq(logged(r->producer, "\"delay_ms\":2000"), 1);
    cr_expect_null(
        strstr(test_proc_log(r->producer), "guessed"), "no secret is logged, nor a guess");
}

static void who_waits_for_an_answer_gets_it_before_the_producer_ends(struct rig *r)
{
    fail_and_leave(r->producer_port, "192.0.2.77");
    WAIT_FOR(test_proc_logged(r->producer, "\"peer\":\"192.0.2.77\""), SOON);
    test_proc_signal(r->producer, SIGTERM);
    cr_expect_eq(test_proc_wait(r->producer, SOON), 0);
}

static bool is_full(int port, int *round)
{
    for (int i = 0; i < 80; i++)
        fail_and_leave(port, harness_text("198.51.100.%d", i));
    return sign_in_from(port, harness_text("203.0.113.%d", ++*round), "guessed").status == 429;
}

static void those_who_wait_are_bounded_and_keep_nobody_out(struct rig *r)
{
    int round = 0;
    WAIT_FOR(is_full(r->producer_port, &round), SOON);
    struct test_reply reply = sign_in_from(r->producer_port, "192.0.2.1", RIG_API_SECRET);
    cr_expect_eq(reply.status, 200, "%d %s", reply.status, reply.body);
}

static void attempts_are_counted_by_all_producers_together(struct rig *r)
{
    int one, two, taken = 0;
    PRODUCER(r, &one, "WEBHOOK_RATE_LIMIT=3");
    PRODUCER(r, &two, "WEBHOOK_RATE_LIMIT=3");
    for (int i = 0; i < 6; i++)
        taken += sign_in_from(i % 2 ? one : two, "192.0.2.1", RIG_API_SECRET).status == 200;
    cr_expect_eq(taken, 3, "%d", taken);
    struct test_reply reply = sign_in_from(one, "192.0.2.1", RIG_API_SECRET);
    cr_expect_eq(reply.status, 429);
    cr_expect(test_reply_header(&reply, "Retry-After"));
    cr_expect_eq(sign_in_from(two, "192.0.2.2", RIG_API_SECRET).status, 200);
    for (int i = 0; i < 6; i++)
        cr_expect_eq(ask(one, "GET", "/dashboard", NULL).status, 200, "pages are not counted");
}

/* --- what the browser is told ------------------------------------------------------------ */

static void expect_headers(const struct test_reply *reply, const char *path)
{
    static const char *const wanted[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
        {"X-Content-Type-Options",     "nosniff"                                             },
        {"X-Frame-Options",            "DENY"                                                },
        {"Referrer-Policy",            "no-referrer"                                         },
        {"Cross-Origin-Opener-Policy", "same-origin"                                         },
    };
    for (size_t i = 0; i < COUNT(wanted); i++) {
        const char *has = test_reply_header(reply, wanted[i][0]);
        cr_expect(has && strcmp(has, wanted[i][1]) == 0, "%s: %s: %s", path, wanted[i][0], has);
    }
    cr_expect(test_reply_header(reply, "Permissions-Policy"), "%s", path);
    cr_expect(!strstr(reply->headers, "Access-Control-"), "%s: %s", path, reply->headers);
}

static void every_answer_there_binds_the_browser(struct rig *r)
{
    static const struct {
        const char *method, *path, *headers;
        int status;
    } cases[] = {
        {"GET",     "/dashboard",               NULL,                                      200},
        {"GET",     "/dashboard/",              NULL,                                      200},
        {"GET",     "/dashboard/app.js",        NULL,                                      200},
        {"GET",     "/dashboard/app.js",        "Accept-Encoding: br\r\n",                 406},
        {"GET",     "/dashboard/none.js",       NULL,                                      404},
        {"GET",     "/dashboard/..%2fserver.c", NULL,                                      404},
        {"GET",     "/dashboard/a/b",           NULL,                                      404},
        {"GET",     SESSION,                    NULL,                                      200},
        {"POST",    SESSION,                    NULL,                                      415},
        {"POST",    "/dashboard",               NULL,                                      405},
        {"DELETE",  SESSION,                    NULL,                                      204},
        {"OPTIONS", SESSION,                    "Access-Control-Request-Method: POST\r\n", 405},
        {"POST",    SESSION,                    "Content-Length: 999999\r\n",              413},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *headers = harness_text(
            "Origin: http://localhost:3000\r\n%s", cases[i].headers ? cases[i].headers : "");
        struct test_reply reply = ask(r->producer_port, cases[i].method, cases[i].path, headers);
        cr_expect_eq(reply.status, cases[i].status, "%s %s: %d", cases[i].method, cases[i].path,
            reply.status);
        expect_headers(&reply, cases[i].path);
    }
}

static void no_page_of_another_origin_may_use_the_cookie(struct rig *r)
{
    int port;
    PRODUCER(r, &port, "WEBHOOK_CORS_ORIGINS=http://friend.test");
    struct signed_in w = sign_in(port, RIG_API_SECRET);
    struct test_reply reply =
        ask(port, "GET", "/api/events", "Origin: http://friend.test\r\n" AUTH);
    cr_expect_str_eq(
        test_reply_header(&reply, "Access-Control-Allow-Origin"), "http://friend.test");
    static const char *const paths[] = {"/api/events", SESSION, "/health", "/dashboard/app.js"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        reply =
            ask(port, "GET", paths[i], harness_text("Origin: http://friend.test\r\n%s", w.cookie));
        cr_expect(!strstr(reply.headers, "Access-Control-"), "%s: %s", paths[i], reply.headers);
    }
}

/* --- pages ------------------------------------------------------------------------------- */

static const char *type_of(const char *name)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"      },
        {".js",   "text/javascript; charset=utf-8"},
        {".css",  "text/css; charset=utf-8"       },
        {".svg",  "image/svg+xml"                 },
        {".txt",  "text/plain; charset=utf-8"     },
    };
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < COUNT(types); i++)
        if (strcmp(types[i][0], ending) == 0)
            return types[i][1];
    return "a type that the dashboard does not know";
}

/* What a program says, whole. */
static const char *said_by(const char *command, size_t *len)
{
    FILE *f = popen(command, "r");
    cr_assert(f, "%s", command);
    char *data = harness_hold(malloc(1 << 20));
    *len = fread(data, 1, (1 << 20) - 1, f);
    data[*len] = '\0';
    cr_assert_eq(pclose(f), 0, "%s", command);
    return data;
}

Test(dashboard_session, every_file_is_embedded_as_gzip_makes_it)
{
    int n = 0;
    for (const struct dashboard_file *f = dashboard_files; f->name; f++, n++) {
        bool chart = strncmp(f->name, "dygraph.", 8) == 0;
        bool licence = strcmp(f->name, "dygraphs.txt") == 0;
        const char *folder = chart     ? "/usr/share/javascript/dygraphs"
                             : licence ? harness_text("%s/gen", harness_build())
                                       : "producer/dashboard";
        size_t len;
        const char *data = said_by(harness_text("gzip -9n <%s/%s", folder, f->name), &len);
        cr_expect(f->len == len && memcmp(f->data, data, len) == 0, "%s", f->name);
        cr_expect_eq(strlen(f->etag), 34, "%s: %s", f->name, f->etag);
    }
    cr_expect_geq(n, 5, "%d", n);
}

Test(dashboard_session, a_form_of_the_pages_suits_who_does_not_refuse_it)
{
    static const struct {
        const char *accepted;
        bool may;
    } cases[] = {
        {NULL,                     true },
        {"gzip",                   true },
        {"gzip, deflate, br",      true },
        {"br;q=1, X-GZIP ; q=0.5", true },
        {"GZip;Q=0.001",           true },
        {"*",                      true },
        {"identity, *;q=0.1",      true },
        {"*;q=0, gzip",            true },
        {",, gzip,",               true },
        {"",                       false},
        {"identity",               false},
        {"br, zstd",               false},
        {"gzipped",                false},
        {"gzip;q=0",               false},
        {"gzip; q=0.000, *",       false},
        {"gzip;q=0.,br",           false},
        {"*;q=0",                  false},
        {"br, gzip \t;\t Q=0",     false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_eq(dashboard_may_zip(cases[i].accepted), cases[i].may, "%s", cases[i].accepted);
}

static void a_page_that_the_browser_has_is_not_sent_again(struct rig *r)
{
    for (const struct dashboard_file *f = dashboard_files; f->name; f++) {
        const char *path = harness_text("/dashboard/%s", f->name);
        struct test_reply reply = ask(r->producer_port, "GET", path, NULL);
        cr_expect_eq(reply.status, 200, "%s", path);
        cr_expect_str_eq(test_reply_header(&reply, "Content-Type"), type_of(f->name));
        cr_expect_str_eq(test_reply_header(&reply, "ETag"), f->etag);
        cr_expect_str_eq(test_reply_header(&reply, "Cache-Control"), "no-cache");
        cr_expect_str_eq(test_reply_header(&reply, "Content-Encoding"), "gzip");
        cr_expect_str_eq(test_reply_header(&reply, "Vary"), "Accept-Encoding");
        cr_assert_eq(atol(test_reply_header(&reply, "Content-Length")), (long)f->len, "%s", path);
        cr_expect_arr_eq(reply.body, f->data, f->len, "%s", path);
        const struct {
            const char *known;
            int status;
        } cases[] = {
            {f->etag,             304     },
            {"*",                 304     },
            {harness_text("W/%s", f->etag), 304},
            {harness_text("\"a\" , %s",                   f->etag),   304},
            {"\"a\", \"b\"",                200                     },
            {harness_text("%sx", f->etag),200},
            {"",           200                            },
        };
        for (size_t i = 0; i < COUNT(cases); i++) {
            reply = ask(r->producer_port, "GET", path,
                harness_text("If-None-Match: %s\r\n", cases[i].known));
            cr_expect_eq(reply.status, cases[i].status, "%s %s", path, cases[i].known);
            cr_expect_str_eq(test_reply_header(&reply, "ETag"), f->etag);
            if (reply.status == 304)
                cr_expect(!*reply.body && !test_reply_header(&reply, "Content-Type") &&
                          !test_reply_header(&reply, "Content-Length") &&
                          !test_reply_header(&reply, "Content-Encoding"));
        }
    }
}

static void answers_without_a_body_end_where_they_end(struct rig *r)
{
    const char *all = harness_text("GET /dashboard HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n"
                                   "DELETE " SESSION " HTTP/1.1\r\nHost: h\r\n\r\n"
                                   "GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    const char *said = test_http_raw(r->producer_port, all, strlen(all), SOON);
    const char *deleted = strstr(said, "\r\n\r\nHTTP/1.1 204 No Content\r\n");
    cr_assert(deleted, "%s", said);
    cr_expect(strstr(deleted, "\r\n\r\nHTTP/1.1 404 Not Found\r\n"), "%s", said);
}

static void pages_are_no_measurements(struct rig *r)
{
    cr_expect_eq(ask(r->producer_port, "GET", "/dashboard", NULL).status, 200);
    cr_expect_eq(ask(r->producer_port, "GET", "/dashboard/app.js", NULL).status, 200);
    cr_expect_eq(ask(r->producer_port, "GET", "/api/events", AUTH).status, 200);
    WAIT_FOR(
        sql_int(r->db, "SELECT count(*) FROM webhook.request_metrics WHERE path = '/api/events'"),
        SOON);
    cr_expect_eq(
        sql_int(r->db, "SELECT count(*) FROM webhook.request_metrics WHERE path LIKE '/dash%%'"),
        0);
}

/* --- the tests ---------------------------------------------------------------------------- */

Test(dashboard_session, one_producer_keeps_a_session)
{
    struct rig r;
    rig_start(&r);
    pages_are_no_measurements(&r); /* only what fails is one */
    no_route_changes_anything_without_right_and_token(&r);
    a_secret_is_exchanged_for_a_cookie_that_reads_and_writes(&r);
    an_altered_or_expired_cookie_is_none(&r);
    signing_out_takes_the_cookie_back(&r);
    behind_tls_the_cookie_is_for_tls(&r);
    answers_without_a_body_end_where_they_end(&r);
    every_answer_there_binds_the_browser(&r);
    a_page_that_the_browser_has_is_not_sent_again(&r);
}

Test(dashboard_session, several_producers_keep_it_as_their_settings_say)
{
    struct rig r;
    rig_start(&r);
    a_session_counts_at_every_producer_that_has_its_secret(&r);
    no_page_of_another_origin_may_use_the_cookie(&r);
    attempts_are_counted_by_all_producers_together(&r);
    what_is_no_attempt_is_refused_at_once(&r);
}

Test(dashboard_session, one_producer_slows_down_who_guesses)
{
    struct rig r;
    rig_start(&r);
    each_failure_takes_twice_as_long_and_others_wait_for_none(&r);
    those_who_wait_are_bounded_and_keep_nobody_out(&r);
    who_waits_for_an_answer_gets_it_before_the_producer_ends(&r);
}
