/* The HTTP client against servers that answer well, badly, late, too much or not at all. */
#include "io/http.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/canned.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct loop *loop;
static struct http *http;
static struct canned *server;

struct outcome {
    bool done;
    enum hl_rc rc;
    enum hl_why why;
    char msg[200];
    long status;
    struct buf body;
    char type[80], url[200];
    int64_t retry_after_ms;
    bool denied, too_large;
};

static void record(const struct http_response *res, void *ctx)
{
    struct outcome *o = ctx;
    cr_assert_not(o->done, "the callback runs once");
    o->done = true;
    o->rc = res->rc;
    o->why = res->err ? res->err->why : HL_WHY_OTHER;
    snprintf(o->msg, sizeof(o->msg), "%s", res->err ? res->err->msg : "");
    o->status = res->status;
    if (res->body_len > 0)
        buf_append(&o->body, res->body, res->body_len);
    snprintf(o->type, sizeof(o->type), "%s", res->content_type);
    snprintf(o->url, sizeof(o->url), "%s", res->effective_url);
    o->retry_after_ms = res->retry_after_ms;
    o->denied = res->denied;
    o->too_large = res->too_large;
}

static void turn(void *ctx)
{
    loop_stop(ctx);
}

/* Runs the loop until the flag is up; gives up after 20 s. */
static void run_until(const bool *flag)
{
    time_t end = time(NULL) + 20;
    struct timer t = {0};
    timer_init(loop, &t, turn, loop);
    while (!*flag) {
        cr_assert(time(NULL) < end, "no outcome within 20 s");
        timer_start(&t, 20);
        loop_run(loop);
    }
    timer_stop(&t);
}

static struct http_request get(const char *url)
{
    return (struct http_request){.method = "GET",
        .url = url,
        .connect_timeout_ms = 5000,
        .timeout_ms = 10000,
        .max_body = 100000,
        .max_redirects = 5};
}

/* The URL of a path on the server, in one of a few buffers. */
static const char *at(const char *path)
{
    static char urls[4][200];
    static int next;
    char *url = urls[next++ % 4];
    snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%d%s", canned_port(server), path);
    return url;
}

static struct outcome fetch(const struct http_request *req)
{
    struct outcome o = {0};
    http_start(http, req, record, &o);
    cr_assert_not(o.done, "the callback never runs inside http_start");
    run_until(&o.done);
    return o;
}

static struct outcome fetch_path(const char *path)
{
    struct http_request req = get(at(path));
    return fetch(&req);
}

static void open_http(canned_fn *fn)
{
    struct hl_err err;
    signal(SIGPIPE, SIG_IGN);
    loop = loop_new(&err);
    http = http_new(loop, "Hookline/test", &err);
    cr_assert(loop && http);
    server = canned_start("127.0.0.1", fn, NULL);
}

static void close_http(void)
{
    http_free(http);
    loop_free(loop);
    canned_stop(server);
}

/* --- answers ----------------------------------------------------------------------------- */

static bool echo(const struct canned_request *r)
{
    canned_answer(r, 404, "Content-Type: text/plain; charset=x\r\n", r->text);
    return true;
}

Test(http, hands_over_any_status_with_type_body_and_final_url)
{
    open_http(echo);
    struct outcome o = fetch_path("/page?x=1");
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_eq(o.status, 404);
    cr_expect_str_eq(o.type, "text/plain; charset=x");
    cr_expect_str_eq(o.url, at("/page?x=1"));
    cr_expect_eq(o.retry_after_ms, -1);
    cr_expect(strstr(buf_str(&o.body), "GET /page?x=1 HTTP/1.1\r\n"));
    cr_expect(strstr(buf_str(&o.body), "User-Agent: Hookline/test\r\n"));
    cr_expect(strstr(buf_str(&o.body), "gzip"), "decompression is offered");
    buf_release(&o.body);
    close_http();
}

Test(http, posts_the_copied_body_and_headers)
{
    open_http(echo);
    char body[] = "{\"a\":1}", header[] = "X-Test: yes";
    const char *const headers[] = {header, NULL};
    struct http_request req = get(at("/post"));
    req.method = "POST";
    req.headers = headers;
    req.body = body;
    req.body_len = strlen(body);
    struct outcome o = {0};
    http_start(http, &req, record, &o);
    memset(body, 'x', sizeof(body) - 1);
    memset(header, 'x', sizeof(header) - 1);
    run_until(&o.done);
    cr_expect(strstr(buf_str(&o.body), "POST /post HTTP/1.1\r\n"));
    cr_expect(strstr(buf_str(&o.body), "X-Test: yes\r\n"));
    cr_expect(strstr(buf_str(&o.body), "\r\n\r\n{\"a\":1}"));
    buf_release(&o.body);
    close_http();
}

Test(http, proxies_and_credentials_of_the_environment_are_ignored)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    open_http(echo);
    struct outcome o = fetch_path("/");
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_not(strstr(buf_str(&o.body), "Authorization"));
    buf_release(&o.body);
    close_http();
}

Test(http, runs_many_calls_at_once)
{
    enum { CALLS = 100 };
    struct outcome o[CALLS] = {0};
    open_http(echo);
    for (int i = 0; i < CALLS; i++) {
        struct http_request req = get(at("/many"));
        http_start(http, &req, record, &o[i]);
    }
    for (int i = 0; i < CALLS; i++) {
        run_until(&o[i].done);
        cr_expect_eq(o[i].status, 404);
        buf_release(&o[i].body);
    }
    close_http();
}

static bool retry_after(const struct canned_request *r)
{
    const char *value = strchr(strchr(r->text, '?'), '=') + 1;
    char line[200];
    snprintf(line, sizeof(line), "Retry-After: %.*s\r\n", (int)strcspn(value, " "), value);
    for (char *p = line + strlen("Retry-After: "); *p; p++)
        *p = *p == '_' ? ' ' : *p;
    canned_answer(r, 429, line, "");
    return true;
}

Test(http, reads_retry_after_in_both_forms)
{
    static const struct {
        const char *value;
        int64_t ms;
    } cases[] = {
        {"0",                             0              },
        {"120",                           120000         },
        {"99999999999999999999",          30LL * 86400000},
        {"Wed,_21_Oct_2015_07:28:00_GMT", 0              },
        {"soon",                          -1             },
        {"12_parsecs",                    -1             },
        {"-5",                            -1             },
    };
    open_http(retry_after);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[100];
        snprintf(path, sizeof(path), "/?v=%s", cases[i].value);
        struct outcome o = fetch_path(path);
        cr_expect_eq(
            o.retry_after_ms, cases[i].ms, "%s gave %ld", cases[i].value, (long)o.retry_after_ms);
    }
    /* The three dates of RFC 9110 section 5.6.7. */
    static const char *const dates[] = {
        "/?v=%a,_%d_%b_%Y_%T_GMT", "/?v=%A,_%d-%b-%y_%T_GMT", "/?v=%a_%b_%e_%T_%Y"};
    time_t later = time(NULL) + 100;
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        char path[100];
        strftime(path, sizeof(path), dates[i], gmtime(&later));
        for (char *p = path; *p; p++)
            *p = *p == ' ' ? '_' : *p; /* %e */
        struct outcome o = fetch_path(path);
        cr_expect(o.retry_after_ms > 80000 && o.retry_after_ms <= 100000, "%s gave %ld", path,
            (long)o.retry_after_ms);
    }
    close_http();
}

/* --- trouble ----------------------------------------------------------------------------- */

static bool misbehave(const struct canned_request *r)
{
    if (canned_path_is(r, "/nothing"))
        return false;
    if (canned_path_is(r, "/hang"))
        return true;
    if (canned_path_is(r, "/short"))
        canned_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    if (canned_path_is(r, "/noise"))
        canned_printf(r, "this is not HTTP at all\r\n\r\n");
    if (canned_path_is(r, "/gzip"))
        canned_answer(r, 200, "Content-Encoding: gzip\r\n", "not gzip");
    if (canned_path_is(r, "/loop"))
        canned_answer(r, 302, "Location: /loop\r\n", "");
    if (canned_path_is(r, "/to-file"))
        canned_answer(r, 302, "Location: file:///etc/passwd\r\n", "");
    if (canned_path_is(r, "/to-ftp"))
        canned_answer(r, 302, "Location: ftp://127.0.0.1/x\r\n", "");
    return false;
}

static int unused_port(void)
{
    struct canned *gone = canned_start("127.0.0.1", misbehave, NULL);
    int port = canned_port(gone);
    canned_stop(gone);
    return port;
}

Test(http, tells_trouble_that_may_pass_from_trouble_that_stays)
{
    open_http(misbehave);
    char refused[60];
    snprintf(refused, sizeof(refused), "http://127.0.0.1:%d/", unused_port());
    const struct {
        const char *url;
        enum hl_rc rc;
        enum hl_why why;
        const char *reason;
    } cases[] = {
        {refused,                HL_RETRY, HL_WHY_UNREACHABLE, "connection failed: "           },
        {at("/nothing"),         HL_RETRY, HL_WHY_OTHER,       "connection closed, no answer: "},
        {at("/short"),           HL_RETRY, HL_WHY_OTHER,       "answer cut short: "            },
        {at("/noise"),           HL_RETRY, HL_WHY_OTHER,       "not an HTTP answer: "          },
        {"http://",              HL_FATAL, HL_WHY_OTHER,       "unusable address: "            },
        {"http://a b/",          HL_FATAL, HL_WHY_OTHER,       "unusable address: "            },
        {"ftp://127.0.0.1/x",    HL_FATAL, HL_WHY_OTHER,       "not an http or https address: "},
        {"file:///etc/passwd",   HL_FATAL, HL_WHY_OTHER,       "not an http or https address: "},
        {"gopher://127.0.0.1/x", HL_FATAL, HL_WHY_OTHER,       "not an http or https address: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_request req = get(cases[i].url);
        struct outcome o = fetch(&req);
        cr_expect_eq(o.rc, cases[i].rc, "%s: %s", cases[i].url, hl_rc_name(o.rc));
        cr_expect_eq(o.why, cases[i].why, "%s: %s", cases[i].url, hl_why_name(o.why));
        cr_expect_eq(strncmp(o.msg, cases[i].reason, strlen(cases[i].reason)), 0, "%s: %s",
            cases[i].url, o.msg);
        cr_expect_eq(o.body.len, 0);
        cr_expect_not(o.denied || o.too_large);
    }
    close_http();
}

Test(http, redirects_leave_neither_the_web_nor_their_number)
{
    static const struct {
        const char *path, *reason;
    } cases[] = {
        {"/loop",    "too many redirects: "          },
        {"/to-file", "not an http or https address: "},
        {"/to-ftp",  "not an http or https address: "},
    };
    open_http(misbehave);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome o = fetch_path(cases[i].path);
        cr_expect_eq(o.rc, HL_FATAL);
        cr_expect_eq(strncmp(o.msg, cases[i].reason, strlen(cases[i].reason)), 0, "%s", o.msg);
    }
    cr_expect_eq(canned_requests(server), 1 + 5 + 1 + 1, "%d", canned_requests(server));
    close_http();
}

Test(http, without_redirects_a_redirect_is_the_answer)
{
    open_http(misbehave);
    struct http_request req = get(at("/loop"));
    req.max_redirects = 0;
    struct outcome o = fetch(&req);
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_eq(o.status, 302);
    cr_expect_eq(canned_requests(server), 1);
    close_http();
}

Test(http, broken_compression_may_pass)
{
    open_http(misbehave);
    struct outcome o = fetch_path("/gzip");
    cr_expect_eq(o.rc, HL_RETRY, "%s", o.msg);
    close_http();
}

/* --- bounds ------------------------------------------------------------------------------ */

static bool too_much(const struct canned_request *r)
{
    char chunk[1000];
    memset(chunk, 'a', sizeof(chunk));
    if (canned_path_is(r, "/exact")) {
        canned_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for (int i = 0; i < 100; i++)
            canned_send(r, chunk, sizeof(chunk));
    } else if (canned_path_is(r, "/over")) {
        canned_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\nb");
        for (int i = 0; i < 100; i++)
            canned_send(r, chunk, sizeof(chunk));
    } else if (canned_path_is(r, "/endless")) {
        canned_printf(r, "HTTP/1.1 200 OK\r\n\r\n");
        for (int i = 0; i < 10000; i++)
            canned_send(r, chunk, sizeof(chunk));
    } else if (canned_path_is(r, "/headers")) {
        canned_printf(r, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 100; i++)
            canned_printf(r, "X-%d: %.*s\r\n", i, 1000, chunk);
        canned_printf(r, "Content-Length: 0\r\n\r\n");
    } else if (canned_path_is(r, "/bomb")) {
        static char packed[20000];
        FILE *gzip = popen("head -c 8000000 /dev/zero | gzip -9c", "r");
        size_t n = gzip ? fread(packed, 1, sizeof(packed), gzip) : 0;
        cr_assert(gzip && pclose(gzip) == 0 && n > 0 && n < sizeof(packed));
        canned_printf(
            r, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", n);
        canned_send(r, packed, n);
    }
    return false;
}

Test(http, takes_a_body_of_exactly_the_bound)
{
    open_http(too_much);
    struct outcome o = fetch_path("/exact");
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_eq(o.body.len, 100000);
    buf_release(&o.body);
    close_http();
}

Test(http, refuses_what_is_larger_than_its_bound)
{
    static const char *const paths[] = {"/over", "/endless", "/headers", "/bomb"};
    open_http(too_much);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct outcome o = fetch_path(paths[i]);
        cr_expect_eq(o.rc, HL_FATAL, "%s: %s", paths[i], o.msg);
        cr_expect(o.too_large, "%s: %s", paths[i], o.msg);
        cr_expect_eq(o.body.len, 0);
    }
    close_http();
}

static bool dribble(const struct canned_request *r)
{
    canned_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    const struct timespec pause = {.tv_nsec = 20000000};
    char c;
    while (recv(r->fd, &c, 1, MSG_DONTWAIT) < 0 && nanosleep(&pause, NULL) == 0)
        canned_send(r, "x", 1);
    return false;
}

static void expect_deadline(const char *path)
{
    struct http_request req = get(at(path));
    req.timeout_ms = 300;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    struct outcome o = fetch(&req);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    cr_expect_eq(o.rc, HL_RETRY);
    cr_expect_eq(o.why, HL_WHY_TIMEOUT, "%s", o.msg);
    cr_expect_eq(strncmp(o.msg, "timed out: ", 11), 0, "%s", o.msg);
    cr_expect(ms >= 299 && ms < 5000, "%s took %.0f ms", path, ms);
}

Test(http, the_deadline_ends_a_silent_answer)
{
    open_http(misbehave);
    expect_deadline("/hang");
    close_http();
}

Test(http, the_deadline_ends_an_answer_that_dribbles)
{
    open_http(dribble);
    expect_deadline("/");
    close_http();
}

/* --- connections ------------------------------------------------------------------------- */

static bool polite(const struct canned_request *r)
{
    canned_answer(r, 200, "", "hello");
    return true;
}

Test(http, reuses_a_connection)
{
    open_http(polite);
    for (int i = 0; i < 3; i++) {
        struct outcome o = fetch_path("/");
        cr_expect_eq(o.rc, HL_OK);
        buf_release(&o.body);
    }
    cr_expect_eq(canned_connections(server), 1);
    close_http();
}

static bool closes_under_the_second(const struct canned_request *r)
{
    if (r->nth == 2)
        return false; /* what a server's idle limit looks like when a request crosses it */
    canned_answer(r, 200, "", "hello");
    return true;
}

Test(http, a_kept_connection_closed_under_a_request_is_replaced)
{
    open_http(closes_under_the_second);
    struct http_request req = get(at("/"));
    req.method = "POST";
    req.body = "x=1";
    req.body_len = 3;
    for (int i = 1; i <= 3; i++) {
        struct outcome o = fetch(&req);
        cr_expect_eq(o.rc, HL_OK, "%d: %s", i, o.msg);
        cr_expect_str_eq(buf_str(&o.body), "hello");
        buf_release(&o.body);
    }
    cr_expect_eq(canned_connections(server), 3);
    close_http();
}

static bool closes_after_each(const struct canned_request *r)
{
    canned_answer(r, 200, "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", "hello");
    return false;
}

Test(http, a_kept_connection_closed_between_requests_is_replaced)
{
    open_http(closes_after_each);
    for (int i = 0; i < 5; i++) {
        struct outcome o = fetch_path("/");
        cr_expect_eq(o.rc, HL_OK, "%s", o.msg);
        buf_release(&o.body);
    }
    close_http();
}

/* --- look-ups ---------------------------------------------------------------------------- */

static pthread_mutex_t lookup_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t lookup_change = PTHREAD_COND_INITIALIZER;
static int lookups_hanging;
static bool lookups_released;

/* Stands before libc's for libcurl too: a name server that does not answer for slow.example. */
int getaddrinfo(
    const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!node || strcmp(node, "slow.example") != 0) {
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
        return real(node, service, hints, result);
    }
    pthread_mutex_lock(&lookup_lock);
    lookups_hanging++;
    while (!lookups_released)
        pthread_cond_wait(&lookup_change, &lookup_lock);
    lookups_hanging--;
    pthread_cond_broadcast(&lookup_change);
    pthread_mutex_unlock(&lookup_lock);
    return EAI_AGAIN;
}

static void must_not_run(const struct http_response *res, void *ctx);

Test(http, a_look_up_that_hangs_holds_up_nobody, .timeout = 15)
{
    open_http(polite);
    struct http_request req = get("http://slow.example/");
    req.timeout_ms = 300;
    struct outcome o = fetch(&req); /* its look-up still hangs when it has timed out */
    cr_expect_eq(o.rc, HL_RETRY);
    cr_expect_eq(o.why, HL_WHY_TIMEOUT, "%s", o.msg);

    req.timeout_ms = 10000;
    struct http_call *dropped = http_start(http, &req, must_not_run, NULL);
    http_start(http, &req, must_not_run, NULL); /* dropped with the client */
    o = fetch_path("/");
    cr_expect_eq(o.rc, HL_OK, "others go on: %s", o.msg);
    buf_release(&o.body);
    http_cancel(dropped);
    http_free(http);
    http = NULL;

    pthread_mutex_lock(&lookup_lock);
    cr_expect_geq(lookups_hanging, 1);
    lookups_released = true;
    pthread_cond_broadcast(&lookup_change);
    while (lookups_hanging > 0)
        pthread_cond_wait(&lookup_change, &lookup_lock);
    pthread_mutex_unlock(&lookup_lock);
    close_http();
}

/* --- cancel ------------------------------------------------------------------------------ */

static void must_not_run(const struct http_response *res, void *ctx)
{
    (void)res;
    (void)ctx;
    cr_assert(false, "a cancelled call has no callback");
}

Test(http, a_cancelled_call_has_no_callback)
{
    open_http(misbehave);
    struct http_request req = get(at("/hang")), broken = get("http://");
    struct http_call *at_once = http_start(http, &req, must_not_run, NULL);
    http_cancel(at_once);
    struct http_call *failed = http_start(http, &broken, must_not_run, NULL);
    http_cancel(failed);
    struct http_call *in_flight = http_start(http, &req, must_not_run, NULL);
    for (int before = canned_requests(server); canned_requests(server) == before;) {
        bool over = true;
        struct timer t = {0};
        timer_init(loop, &t, turn, loop);
        timer_start(&t, 5);
        loop_run(loop);
        timer_stop(&t);
        run_until(&over);
    }
    http_cancel(in_flight);
    struct outcome o = fetch_path("/short"); /* the rest goes on */
    cr_expect_eq(o.rc, HL_RETRY);
    close_http();
}

struct pair {
    struct http_call *calls[2];
    bool done;
};

static void cancel_both(const struct http_response *res, void *ctx)
{
    struct pair *p = ctx;
    cr_expect_eq(res->status, 200);
    cr_assert_not(p->done, "the first callback has cancelled the second call");
    http_cancel(p->calls[0]);
    http_cancel(p->calls[1]);
    cr_expect_str_eq(res->body, "hello", "the answer lives as long as its callback");
    p->done = true;
}

Test(http, a_callback_may_cancel_its_own_and_other_calls)
{
    open_http(polite);
    struct pair p = {0};
    struct http_request req = get(at("/"));
    for (int i = 0; i < 2; i++)
        p.calls[i] = http_start(http, &req, cancel_both, &p);
    run_until(&p.done);
    struct outcome o = fetch(&req);
    cr_expect_eq(o.rc, HL_OK);
    buf_release(&o.body);
    close_http();
}

static void free_client(const struct http_response *res, void *ctx)
{
    http_free(http);
    http = NULL;
    cr_expect_str_eq(res->body, "hello");
    *(bool *)ctx = true;
}

Test(http, a_callback_may_free_the_client)
{
    open_http(polite);
    bool freed = false;
    struct http_request req = get(at("/"));
    http_start(http, &req, free_client, &freed);
    run_until(&freed);
    close_http();
}

Test(http, freeing_the_client_drops_running_calls)
{
    open_http(misbehave);
    struct http_request req = get(at("/hang"));
    for (int i = 0; i < 5; i++)
        http_start(http, &req, must_not_run, NULL);
    struct outcome o = fetch_path("/short");
    cr_expect_eq(o.rc, HL_RETRY);
    close_http();
}

/* --- private addresses ------------------------------------------------------------------- */

Test(http, private_addresses_are_refused_however_they_are_written)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "2130706433", "0x7f.1", "0",
        "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "[fe80::1]"};
    open_http(polite);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char url[100];
        snprintf(url, sizeof(url), "http://%s:%d/", hosts[i], canned_port(server));
        struct http_request req = get(url);
        req.deny_private = true;
        struct outcome o = fetch(&req);
        cr_expect_eq(o.rc, HL_FATAL, "%s", url);
        cr_expect(o.denied, "%s", url);
        cr_expect_str_eq(o.msg, "address is private");
    }
    cr_expect_eq(canned_connections(server), 0);
    close_http();
}

Test(http, a_guarded_call_never_rides_on_a_trusted_connection)
{
    open_http(polite);
    struct outcome o = fetch_path("/"); /* leaves a kept connection to a private address */
    cr_expect_eq(o.rc, HL_OK);
    buf_release(&o.body);
    struct http_request req = get(at("/"));
    req.deny_private = true;
    o = fetch(&req);
    cr_expect(o.denied);
    cr_expect_eq(canned_requests(server), 1);
    close_http();
}

/* A public address of our own: a network namespace in which the loopback device has one more. */
static bool own_public_address(const char *address)
{
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    static const char *const addresses[] = {"127.0.0.1", NULL};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0;
    for (int i = 0; ok && i < 2; i++) {
        struct ifreq ifr = {0};
        struct sockaddr_in sa = {.sin_family = AF_INET};
        inet_pton(AF_INET, addresses[i] ? addresses[i] : address, &sa.sin_addr);
        memcpy(&ifr.ifr_addr, &sa, sizeof(sa));
        snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), i ? "lo:%d" : "lo", i);
        ok = ioctl(fd, SIOCSIFADDR, &ifr) == 0;
        ifr.ifr_flags = IFF_UP | IFF_RUNNING;
        ok = ok && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
    }
    if (fd >= 0)
        close(fd);
    return ok;
}

static int private_port;

static bool lure(const struct canned_request *r)
{
    char location[100];
    snprintf(location, sizeof(location), "Location: http://127.0.0.1:%d/inside\r\n", private_port);
    if (canned_path_is(r, "/lure"))
        canned_answer(r, 302, location, "");
    else
        canned_answer(r, 200, "", "hello");
    return true;
}

Test(http, a_public_page_cannot_redirect_into_private_addresses)
{
    if (!own_public_address("8.1.2.3"))
        cr_skip("needs the right to make a network namespace");
    open_http(polite);
    private_port = canned_port(server);
    struct canned *outside = canned_start("8.1.2.3", lure, NULL);
    char url[100], plain[100];
    snprintf(url, sizeof(url), "http://8.1.2.3:%d/lure", canned_port(outside));
    snprintf(plain, sizeof(plain), "http://8.1.2.3:%d/plain", canned_port(outside));
    struct http_request trusted = get(url), guarded = get(url), harmless = get(plain);
    guarded.deny_private = harmless.deny_private = true;

    struct outcome o = fetch(&trusted); /* leaves kept connections to both servers */
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_eq(canned_requests(server), 1);
    buf_release(&o.body);

    o = fetch(&guarded);
    cr_expect_eq(o.rc, HL_FATAL);
    cr_expect(o.denied, "%s", o.msg);
    cr_expect_eq(canned_requests(server), 1);
    cr_expect_eq(canned_requests(outside), 2);

    o = fetch(&harmless);
    cr_expect_eq(o.rc, HL_OK);
    cr_expect_str_eq(buf_str(&o.body), "hello");
    buf_release(&o.body);
    canned_stop(outside);
    close_http();
}
