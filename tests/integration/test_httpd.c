/* httpd on a real socket: a server in a child process, plain sockets on this side. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "io/httpd.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the server -------------------------------------------------------------------------- */

struct server {
    struct loop *loop;
    struct httpd *http;
    struct sigwatch term;
    struct httpd_req *held[200];
    int n_held;
};

struct later {
    struct timer timer;
    struct httpd_req *req;
};

static void echo(struct httpd_req *req, void *ctx)
{
    size_t len;
    const char *body = httpd_body(req, &len);
    (void)ctx;
    httpd_add_header(req, "X-Good", "yes");
    httpd_add_header(req, "X-Split", "a\r\nX-Evil: b");
    httpd_reply(req, 200, "text/plain", body, len);
}

static void later_now(void *ctx)
{
    struct later *l = ctx;
    echo(l->req, NULL);
    free(l);
}

/* Answers from a timer, the sooner the longer the body: order must come from httpd. */
static void later(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    struct later *l = mem_new(struct later);
    size_t len;
    httpd_body(req, &len);
    l->req = req;
    timer_init(s->loop, &l->timer, later_now, l);
    timer_start(&l->timer, len < 5 ? 5 - (int)len : 0);
}

static void hold(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    s->held[s->n_held++] = req;
}

static void let_go(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    for (int i = 0; i < s->n_held; i++)
        echo(s->held[i], s);
    s->n_held = 0;
    httpd_reply(req, 204, NULL, NULL, 0);
}

static void show(struct httpd_req *req, void *ctx)
{
    struct buf b = {0};
    const char *repeated = httpd_header(req, "x-list");
    (void)ctx;
    buf_printf(&b, "%s %s?%s peer=%s list=%s", httpd_method(req), httpd_path(req), httpd_query(req),
        httpd_peer(req), repeated ? repeated : "none");
    httpd_reply(req, 200, "text/plain", b.data, b.len);
    buf_release(&b);
}

static void stats(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    struct buf b = {0};
    int gone = 0;
    for (int i = 0; i < s->n_held; i++)
        gone += httpd_client_gone(s->held[i]);
    buf_printf(&b, "connections=%d held=%d gone=%d", httpd_connections(s->http), s->n_held, gone);
    httpd_reply(req, 200, "text/plain", b.data, b.len);
    buf_release(&b);
}

static void large(struct httpd_req *req, void *ctx)
{
    static char body[8 << 20];
    (void)ctx;
    memset(body, 'x', sizeof(body));
    httpd_reply(req, 200, NULL, body, sizeof(body));
}

static void wrong(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    httpd_reply_detail(req, 422, "a \"quoted\"\n%s", "\\ text");
}

/* "pattern|value of {one}|value of {two}"; "-": none. */
static void show_params(struct httpd_req *req, void *ctx)
{
    struct buf b = {0};
    const char *one = httpd_param(req, "one"), *two = httpd_param(req, "two");
    (void)ctx;
    buf_printf(&b, "%s|%s|%s", httpd_route_path(req), one ? one : "-", two ? two : "-");
    if (httpd_param(req, "on") || httpd_param(req, "ones") || httpd_param(req, ""))
        buf_puts(&b, " and what was not asked for");
    httpd_reply(req, 200, "text/plain", b.data, b.len);
    buf_release(&b);
}

/* Answers requests with X-Before itself, adds a header to all. */
static bool before(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    httpd_add_header(req, "X-Before", "was here");
    if (!httpd_header(req, "X-Before"))
        return false;
    httpd_reply(req, 202, "text/plain", "before", 6);
    return true;
}

static const struct httpd_route routes[] = {
    {"POST",           "/echo", echo, 0, HTTPD_ANY_SLASH},
    {"POST",            "/later", later, 0, 0},
    {"POST", "/hold", hold, 0, 0},
    {"POST",           "/go", let_go, 0, 0},
    {"POST",           "/small", echo, 10, 0},
    {"POST",               "/show", show, 0, 0},
    {"GET",           "/show", show, 0, 0},
    {"GET",            "/any", show, 0, HTTPD_ANY_SLASH},
    {"GET",               "/stats", stats, 0, 0},
    {"GET",           "/large", large, 0, 0},
    {"GET",          "/wrong", wrong, 0, 0},
    {"GET",               "/p/{one}", show_params, 0, 0},
    {"GET",           "/p/{one}/and/{two}", show_params, 0, 0},
    {"POST",            "/q/{one}", show_params, 0, HTTPD_ANY_SLASH},
    {"GET",               "/p/{one}/end", show_params, 0, 0},
    {0          },
};

static void on_reply(struct httpd_req *req, int status, void *ctx)
{
    char seen[100];
    (void)ctx;
    snprintf(seen, sizeof(seen), "%s %d", httpd_path(req), status);
    httpd_add_header(req, "X-Seen", seen);
}

static void stop(void *ctx)
{
    struct server *s = ctx;
    loop_stop(s->loop);
}

static void drain(void *ctx)
{
    struct server *s = ctx;
    httpd_drain(s->http, stop, s);
}

static struct httpd_conf conf = {
    .routes = routes,
    .max_header = 4096,
    .max_body = 1 << 20,
    .max_connections = 200,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 10000,
    .idle_timeout_ms = 10000,
    .write_timeout_ms = 10000,
    .before = before,
    .on_reply = on_reply,
};
static int port;
static pid_t child;

static void serve(int listen_fd)
{
    struct server s = {0};
    struct hl_err err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    s.loop = loop_new(&err);
    conf.ctx = &s;
    s.http = httpd_new(s.loop, listen_fd, &conf);
    sigwatch_start(s.loop, &s.term, SIGTERM, drain, &s);
    loop_run(s.loop);
    sigwatch_stop(&s.term);
    httpd_free(s.http);
    loop_free(s.loop);
    close(listen_fd);
    _exit(s.n_held ? 2 : 0);
}

static void start(void)
{
    struct hl_err err = {0};
    int fd = httpd_listen("127.0.0.1", 0, 128, &port, &err);
    cr_assert(fd >= 0, "%s", err.msg);
    child = fork();
    if (!child)
        serve(fd);
    close(fd);
}

static void finish(void)
{
    int status = 0;
    if (!child)
        return;
    kill(child, SIGTERM);
    cr_expect(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %x", status);
}

TestSuite(httpd, .fini = finish, .timeout = 30);

/* --- the client -------------------------------------------------------------------------- */

static int dial(void)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    cr_assert(connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0, "%s", strerror(errno));
    return fd;
}

static void say_n(int fd, const char *text, size_t n)
{
    cr_assert(send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n, "%s", strerror(errno));
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

struct answer {
    int status; /* 0: closed without an answer; -1: reset; -2: nothing in time */
    char head[4096];
    char *body;
    size_t len;
    bool closes;
};

static ssize_t get(int fd, char *to, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = recv(fd, to + have, n - have, 0);
        if (got <= 0)
            return have ? (ssize_t)have : got;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static char *keep(char *body)
{
    static char **kept;
    static size_t n;
    kept = mem_grow(kept, (n + 1) * sizeof(*kept));
    return kept[n++] = body;
}

/* Reads exactly one answer. Bodies are kept until the test ends. */
static struct answer hear_for(int fd, bool body)
{
    struct answer a = {0};
    size_t n = 0;
    while (n < 4 || memcmp(a.head + n - 4, "\r\n\r\n", 4) != 0) {
        ssize_t got = n < sizeof(a.head) - 1 ? get(fd, a.head + n, 1) : 0;
        if (got <= 0) {
            a.status = n || !got ? 0 : errno == ECONNRESET ? -1 : -2;
            return a;
        }
        a.head[++n] = '\0';
    }
    cr_expect(strncmp(a.head, "HTTP/1.1 ", 9) == 0);
    a.status = atoi(a.head + 9);
    a.closes = strstr(a.head, "\r\nConnection: close\r\n") != NULL;
    const char *length = strstr(a.head, "\r\nContent-Length: ");
    cr_expect(length || a.status == 100 || a.status == 204, "no length: %s", a.head);
    a.len = length && body ? (size_t)atol(length + 18) : 0;
    a.body = keep(mem_zero(a.len + 1));
    if (a.len)
        cr_expect(get(fd, a.body, a.len) == (ssize_t)a.len);
    return a;
}

static struct answer hear(int fd)
{
    return hear_for(fd, true);
}

static struct answer ask(const char *text)
{
    int fd = dial();
    say(fd, text);
    struct answer a = hear(fd);
    close(fd);
    return a;
}

static bool says(const struct answer *a, const char *text)
{
    return strcmp(a->body, text) == 0;
}

static long stat_of(const char *name)
{
    struct answer a = ask("GET /stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const char *at = a.body ? strstr(a.body, name) : NULL;
    return at ? atol(at + strlen(name)) : -1;
}

static void wait_for(const char *name, long want)
{
    int64_t end = clock_mono_ms() + 10000;
    while (stat_of(name) != want) {
        cr_assert(
            clock_mono_ms() < end, "%s never became %ld but is %ld", name, want, stat_of(name));
        poll(NULL, 0, 5);
    }
}

#define HOST "Host: a\r\n"

/* --- what is answered -------------------------------------------------------------------- */

/* clang-format off */
static const struct {
    const char *text;
    int status;
    bool closes;
    const char *body; /* NULL = any */
} exchanges[] = {
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, false, "abc"},
    {"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, false, "abc"},
    {"POST /echo HTTP/1.1\r\nHost: a\r\n\r\n", 200, false, ""},
    {"POST http://b/echo HTTP/1.1\r\nHost: a\r\n\r\n", 200, false, ""},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, true, ""},
    {"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", 200, true, "x"},
    {"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, false, ""},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n", 200, false, "abcde"},
    {"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, false, "abc"},
    {"GET /show?a=b HTTP/1.1\r\nHost: a\r\nX-List: 1\r\nX-list: 2\r\n\r\n",
        200, false, "GET /show?a=b peer=127.0.0.1 list=1, 2"},
    {"GET /any/ HTTP/1.1\r\nHost: a\r\n\r\n", 200, false, "GET /any/? peer=127.0.0.1 list=none"},
    {"GET /wrong HTTP/1.1\r\nHost: a\r\n\r\n",
        422, false, "{\"detail\":\"a \\\"quoted\\\"\\u000a\\\\ text\"}"},
    {"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404, false, "{\"detail\":\"Not Found\"}"},
    {"GET /later/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, false, NULL},
    {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 404, false, NULL},
    {"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", 405, false, "{\"detail\":\"Method Not Allowed\"}"},
    {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        404, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n",
        413, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: tea\r\n\r\n", 417, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\nabc", 413, true, NULL},
    {"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890", 413, true, NULL},
    {"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", 413, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400, true, "{\"detail\":\"Bad Request: Content-Length together with Transfer-Encoding\"}"},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        400, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        400, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        501, true, NULL},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, true, NULL},
    {"GET /show HTTP/1.1\r\nHost : a\r\n\r\n", 400, true, NULL},
    {"GET /show HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, true, NULL},
    {"GET /show HTTP/1.1\nHost: a\n\n", 400, true, NULL},
    {"GET /show HTTP/1.1\r\n\r\n", 400, true, NULL},
    {"GET /show HTTP/2.0\r\nHost: a\r\n\r\n", 505, true, NULL},
    {"\x16\x03\x01", 400, true, NULL},
};
/* clang-format on */

Test(httpd, every_exchange_gets_its_answer_and_the_connection_its_fate)
{
    start();
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
        int fd = dial();
        say(fd, exchanges[i].text);
        struct answer a = hear(fd), again;
        cr_expect(a.status == exchanges[i].status, "%d for\n%s", a.status, exchanges[i].text);
        cr_expect(a.closes == exchanges[i].closes, "%s\n%s", exchanges[i].text, a.head);
        if (exchanges[i].body && a.body)
            cr_expect(says(&a, exchanges[i].body), "%s\n%s", exchanges[i].text, a.body);
        if (!a.closes)
            say(fd, "GET /show HTTP/1.1\r\nHost: a\r\n\r\n");
        again = hear(fd);
        cr_expect(
            again.status == (a.closes ? 0 : 200), "%d after\n%s", again.status, exchanges[i].text);
        close(fd);
    }
}

Test(httpd, every_exchange_ends_the_same_byte_by_byte)
{
    start();
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
        int fd = dial();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        for (const char *s = exchanges[i].text; *s && poll(&p, 1, 0) == 0; s++)
            say_n(fd, s, 1);
        struct answer a = hear(fd);
        cr_expect(a.status == exchanges[i].status, "%d for\n%s", a.status, exchanges[i].text);
        cr_expect(a.closes == exchanges[i].closes, "%s", exchanges[i].text);
        close(fd);
    }
}

Test(httpd, headers_of_an_answer_are_whole_and_cannot_be_split)
{
    start();
    struct answer a = ask("POST /echo HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(strstr(a.head, "\r\nX-Good: yes\r\n"));
    cr_expect(strstr(a.head, "\r\nX-Seen: /echo 200\r\n"));
    cr_expect(strstr(a.head, "\r\nContent-Type: text/plain\r\n"));
    cr_expect(!strstr(a.head, "X-Split"));
    cr_expect(!strstr(a.head, "X-Evil"));
}

Test(httpd, head_on_a_get_route_is_405_with_allow_and_no_body)
{
    start();
    int fd = dial();
    say(fd, "HEAD /show HTTP/1.1\r\n" HOST "\r\nGET /show HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = hear_for(fd, false);
    cr_expect(a.status == 405);
    cr_expect(strstr(a.head, "\r\nAllow: POST, GET\r\n"));
    cr_expect(strstr(a.head, "\r\nContent-Length: 31\r\n"));
    cr_expect(hear(fd).status == 200);
    close(fd);
}

Test(httpd, one_slash_too_many_on_a_get_route_is_redirected)
{
    start();
    struct answer a = ask("GET /show/?a=b HTTP/1.1\r\nHost: h.example:81\r\n\r\n");
    cr_expect(a.status == 307);
    cr_expect(a.len == 0);
    cr_expect(strstr(a.head, "\r\nLocation: http://h.example:81/show?a=b\r\n"), "%s", a.head);
    a = ask("GET /show/ HTTP/1.0\r\n\r\n");
    cr_expect(strstr(a.head, "\r\nLocation: /show\r\n"), "%s", a.head);
    cr_expect(ask("GET /show// HTTP/1.1\r\n" HOST "\r\n").status == 404);
}

/* clang-format off */
static const struct {
    const char *method, *path;
    int status;
    const char *body;
} patterns[] = {
    {"GET", "/p/abc", 200, "/p/{one}|abc|-"},
    {"GET", "/p/a%2Fb%20c+d", 200, "/p/{one}|a/b c+d|-"},
    {"GET", "/p/%C3%A4%FF%00%zz", 200, "/p/{one}|\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd%zz|-"},
    {"GET", "/p/x/and/y?one=z", 200, "/p/{one}/and/{two}|x|y"},
    {"GET", "/p/x/end", 200, "/p/{one}/end|x|-"},
    {"GET", "/p/%7Bone%7D", 200, "/p/{one}|{one}|-"},
    {"POST", "/q/x/", 200, "/q/{one}|x|-"},
    {"GET", "/p/x/", 307, ""},
    {"GET", "/p/", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/p", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/p//and/y", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/p/x/an", 404, "{\"detail\":\"Not Found\"}"},
    {"GET", "/p/x/and/y/z", 404, "{\"detail\":\"Not Found\"}"},
    {"PUT", "/p/x", 405, "{\"detail\":\"Method Not Allowed\"}"},
};
/* clang-format on */

Test(httpd, a_segment_in_braces_is_any_and_is_given_decoded)
{
    start();
    for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
        char text[200];
        snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n" HOST "\r\n", patterns[i].method,
            patterns[i].path);
        struct answer a = ask(text);
        cr_expect(a.status == patterns[i].status, "%s: %d", patterns[i].path, a.status);
        cr_expect(says(&a, patterns[i].body), "%s: %s", patterns[i].path, a.body);
    }
    struct answer a = ask("PUT /p/x HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(strstr(a.head, "\r\nAllow: GET\r\n"), "%s", a.head);
}

Test(httpd, the_hook_before_sees_every_request_and_may_answer_it)
{
    static const char *const targets[] = {
        "GET /show", "GET /nothing", "PUT /show", "GET /show/", "OPTIONS /x"};
    static const int statuses[] = {200, 404, 405, 307, 404};
    start();
    for (int i = 0; i < 5; i++) {
        char text[200];
        snprintf(text, sizeof(text), "%s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        struct answer a = ask(text);
        cr_expect(a.status == statuses[i], "%s: %d", targets[i], a.status);
        cr_expect(strstr(a.head, "\r\nX-Before: was here\r\n"), "%s", a.head);
        snprintf(text, sizeof(text), "%s HTTP/1.1\r\n" HOST "X-Before: 1\r\n\r\n", targets[i]);
        a = ask(text);
        cr_expect(a.status == 202 && says(&a, "before"), "%s: %d %s", targets[i], a.status, a.body);
        cr_expect(!a.closes);
    }
}

/* --- how much is held in memory ---------------------------------------------------------- */

static int post_of(size_t announced, bool chunked)
{
    char head[200];
    int fd = dial();
    if (chunked)
        snprintf(head, sizeof(head),
            "POST /hold HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    else
        snprintf(head, sizeof(head), "POST /hold HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
            announced);
    say(fd, head);
    return fd;
}

static void expect_full(int fd)
{
    struct answer a = hear(fd);
    cr_expect(a.status == 503, "%d", a.status);
    cr_expect(strstr(a.head, "\r\nRetry-After: 5\r\n"), "%s", a.head);
    cr_expect(a.closes);
    close(fd);
}

Test(httpd, large_bodies_are_refused_while_too_many_are_in_memory)
{
    static char body[100 * 1024 + 1];
    memset(body, 'x', sizeof(body) - 1);
    conf.max_buffered = 250 * 1024;
    start();
    int one = post_of(100 * 1024, false), two = post_of(100 * 1024, false);
    say(one, body); /* whole, and held by its handler; the other is only announced */
    wait_for("held=", 1);
    expect_full(post_of(100 * 1024, false));

    int small = post_of(3, false), chunked = post_of(0, true);
    say(small, "abc"); /* always has room */
    wait_for("held=", 2);
    say(chunked, "19000\r\n"); /* 100 KiB: refused as it grows */
    say(chunked, body);
    expect_full(chunked);

    close(two); /* makes room again, as an answer does */
    wait_for("connections=", 3);
    int three = post_of(100 * 1024, false);
    say(three, body);
    wait_for("held=", 3);
    expect_full(post_of(100 * 1024, false));
    cr_expect(ask("POST /go HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n").status == 204);
    cr_expect(hear(one).status == 200);
    cr_expect(hear(small).status == 200);
    cr_expect(hear(three).status == 200);
    int four = post_of(200 * 1024, false);
    say(four, body);
    say(four, body);
    wait_for("held=", 1);
    cr_expect(ask("POST /go HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n").status == 204);
    cr_expect(hear(four).status == 200);
    close(one);
    close(small);
    close(three);
    close(four);
}

/* --- expectations, limits ---------------------------------------------------------------- */

Test(httpd, a_client_that_expects_100_is_told_to_continue)
{
    start();
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    cr_expect(hear(fd).status == 100);
    say(fd, "abc");
    struct answer a = hear(fd);
    cr_expect(a.status == 200);
    cr_expect(says(&a, "abc"));
    close(fd);
}

Test(httpd, headers_above_the_limit_are_431_and_targets_414)
{
    start();
    char text[9000] = "GET /show HTTP/1.1\r\nHost: a\r\nX: ";
    memset(text + strlen(text), 'x', 5000);
    cr_expect(ask(text).status == 431);
    memset(text + 5, 'x', 5000);
    cr_expect(ask(text).status == 414);
}

Test(httpd, a_body_far_above_the_limit_is_sent_to_its_end_and_413_is_read)
{
    start();
    static char block[65536];
    int fd = dial();
    say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2097152\r\n\r\n");
    for (int i = 0; i < 32; i++)
        say_n(fd, block, sizeof(block));
    struct answer a = hear(fd);
    cr_expect(a.status == 413);
    cr_expect(a.closes);
    cr_expect(hear(fd).status == 0);
    close(fd);
}

Test(httpd, a_megabyte_comes_back_unharmed_plain_and_chunked)
{
    start();
    size_t len = 1 << 20;
    char *body = mem_alloc(len), size[80];
    for (size_t i = 0; i < len; i++)
        body[i] = (char)(i * 7 + i / 251);
    for (int chunks = 0; chunks < 2; chunks++) {
        int fd = dial();
        say(fd, "POST /echo HTTP/1.1\r\n" HOST);
        say(fd, chunks ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 1048576\r\n\r\n");
        for (size_t at = 0, n; at < len; at += n) {
            n = len - at < 9973 ? len - at : 9973;
            snprintf(size, sizeof(size), "%zx\r\n", n);
            say(fd, chunks ? size : "");
            say_n(fd, body + at, n);
            say(fd, chunks ? "\r\n" : "");
        }
        say(fd, chunks ? "0\r\n\r\n" : "");
        struct answer a = hear(fd);
        cr_expect(a.status == 200);
        cr_expect(a.len == len && memcmp(a.body, body, len) == 0);
        close(fd);
    }
    free(body);
}

/* --- pipelining -------------------------------------------------------------------------- */

static void pipeline(const char *path, int n, size_t pad)
{
    struct buf all = {0};
    char want[32];
    int fd = dial();
    for (int i = 0; i < n; i++) {
        snprintf(want, sizeof(want), "%0*d", i % 5 + 3, i);
        buf_printf(&all, "POST %s HTTP/1.1\r\nHost: a\r\nX: %0*d\r\nContent-Length: %zu\r\n\r\n%s",
            path, (int)pad, 0, strlen(want), want);
    }
    say_n(fd, all.data, all.len);
    shutdown(fd, SHUT_WR); /* a client that has said everything still gets every answer */
    for (int i = 0; i < n; i++) {
        struct answer a = hear(fd);
        snprintf(want, sizeof(want), "%0*d", i % 5 + 3, i);
        cr_assert(a.status == 200, "answer %d: %d", i, a.status);
        cr_assert(says(&a, want), "answer %d is %s instead of %s", i, a.body, want);
    }
    cr_expect(hear(fd).status == 0);
    close(fd);
    buf_release(&all);
}

Test(httpd, forty_pipelined_requests_with_late_answers_are_answered_in_order)
{
    start();
    pipeline("/later", 40, 1);
}

Test(httpd, pipelined_requests_beyond_every_buffer_are_answered_in_order)
{
    start();
    pipeline("/later", 100, 1500);
    pipeline("/echo", 3000, 1);
}

/* --- deadlines --------------------------------------------------------------------------- */

/* One byte each 50 ms: an inactivity timer would never fire. *ms: how long until the answer. */
static struct answer drip(int fd, const char *text, int64_t *ms)
{
    int64_t begin = clock_mono_ms();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (; *text && poll(&p, 1, 50) == 0; text++)
        say_n(fd, text, 1);
    struct answer a = hear(fd);
    *ms = clock_mono_ms() - begin;
    return a;
}

Test(httpd, a_slow_loris_in_the_headers_gets_408_at_the_deadline)
{
    int64_t ms;
    conf.header_timeout_ms = 300;
    start();
    int fd = dial();
    struct answer a =
        drip(fd, "GET /show HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &ms);
    cr_expect(a.status == 408);
    cr_expect(a.closes);
    cr_expect(ms >= 290 && ms < 2000, "%d ms", (int)ms);
    cr_expect(hear(fd).status == 0);
    close(fd);
}

Test(httpd, a_slow_loris_in_the_body_gets_408_at_the_deadline)
{
    static const char *const forms[] = {
        "Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n"};
    int64_t ms;
    conf.body_timeout_ms = 300;
    start();
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        say(fd, "POST /echo HTTP/1.1\r\n" HOST);
        say(fd, forms[i]);
        struct answer a =
            drip(fd, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &ms);
        cr_expect(a.status == 408);
        cr_expect(ms >= 290 && ms < 2000, "%d ms", (int)ms);
        close(fd);
    }
}

Test(httpd, an_idle_connection_is_closed_silently)
{
    conf.idle_timeout_ms = 200;
    start();
    int fresh = dial(), used = dial();
    say(used, "GET /show HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(hear(used).status == 200);
    cr_expect(hear(fresh).status == 0);
    cr_expect(hear(used).status == 0);
    close(fresh);
    close(used);
}

Test(httpd, a_client_that_does_not_read_is_dropped)
{
    conf.write_timeout_ms = 200;
    start();
    int fd = dial();
    say(fd, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    wait_for("connections=", 2);
    wait_for("connections=", 1); /* the asking one */
    close(fd);
}

Test(httpd, a_large_answer_is_sent_whole_to_a_slow_reader)
{
    start();
    int fd = dial();
    say(fd, "GET /large HTTP/1.1\r\n" HOST "\r\nGET /show HTTP/1.1\r\n" HOST "\r\n");
    struct answer a = hear(fd);
    cr_expect(a.status == 200);
    cr_expect(a.len == 8 << 20);
    cr_expect(hear(fd).status == 200);
    close(fd);
}

/* --- clients that vanish ----------------------------------------------------------------- */

Test(httpd, forty_clients_may_vanish_while_their_answers_are_pending)
{
    const struct linger reset = {.l_onoff = 1};
    int fds[40];
    start();
    for (int i = 0; i < 40; i++) {
        fds[i] = dial();
        say(fds[i], "POST /hold HTTP/1.1\r\n" HOST "\r\nPOST /hold HTTP/1.1\r\n" HOST "\r\n");
    }
    wait_for("held=", 40);
    for (int i = 0; i < 40; i++) { /* half of them politely */
        if (i % 2)
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fds[i]);
    }
    wait_for("gone=", 40);
    cr_expect(ask("POST /go HTTP/1.1\r\n" HOST "\r\n").status == 204);
    wait_for("held=", 20); /* what the polite ones had sent before they closed is not lost */
    cr_expect(ask("POST /go HTTP/1.1\r\n" HOST "\r\n").status == 204);
    wait_for("connections=", 1);
    cr_expect(ask("POST /echo HTTP/1.1\r\n" HOST "\r\n").status == 200);
}

Test(httpd, half_a_request_and_gone_leaves_nothing_behind)
{
    static const char *const halves[] = {"", "G", "GET /show HTTP/1.1\r\n",
        "GET /show HTTP/1.1\r\nHost: a",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na"};
    start();
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++) {
        int fd = dial();
        say(fd, halves[i]);
        close(fd);
    }
    wait_for("connections=", 1);
}

/* --- limits ------------------------------------------------------------------------------ */

Test(httpd, connections_above_the_limit_wait_for_their_turn)
{
    conf.max_connections = 2;
    start();
    int a = dial(), b = dial(), c = dial();
    say(a, "GET /show HTTP/1.1\r\n" HOST "\r\n");
    say(b, "GET /show HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(hear(a).status == 200);
    cr_expect(hear(b).status == 200);
    say(c, "GET /stats HTTP/1.1\r\n" HOST "\r\n");
    struct pollfd p = {.fd = c, .events = POLLIN};
    cr_expect(poll(&p, 1, 150) == 0, "the third connection was served");
    close(a);
    struct answer late = hear(c);
    cr_expect(late.status == 200);
    cr_expect(strncmp(late.body, "connections=2 ", 14) == 0, "%s", late.body);
    close(b);
    close(c);
}

static int64_t cpu_ms(pid_t pid)
{
    char path[64], line[512] = "";
    unsigned long user = 0, sys = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    cr_assert(f && fgets(line, sizeof(line), f));
    fclose(f);
    const char *at = strrchr(line, ')');
    cr_assert(at && sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                        &sys) == 2);
    return (int64_t)(user + sys) * 1000 / sysconf(_SC_CLK_TCK);
}

Test(httpd, running_out_of_descriptors_neither_spins_nor_ends_the_server)
{
    int fds[40];
    start();
    wait_for("connections=", 1);
    const struct rlimit few = {.rlim_cur = 24, .rlim_max = 24};
    cr_assert(prlimit(child, RLIMIT_NOFILE, &few, NULL) == 0);
    for (int i = 0; i < 40; i++)
        fds[i] = dial(); /* the kernel's queue takes what the server cannot */
    int64_t before = cpu_ms(child);
    struct pollfd p = {.fd = fds[39], .events = POLLIN};
    say(fds[39], "GET /show HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(poll(&p, 1, 500) == 0);
    cr_expect(cpu_ms(child) - before < 200, "%d ms of CPU", (int)(cpu_ms(child) - before));
    for (int i = 0; i < 39; i++)
        close(fds[i]);
    cr_expect(hear(fds[39]).status == 200);
    close(fds[39]);
}

/* --- the end ----------------------------------------------------------------------------- */

Test(httpd, draining_closes_idle_connections_and_answers_what_is_under_way)
{
    start();
    int idle = dial(), held = dial(), half = dial();
    say(idle, "GET /show HTTP/1.1\r\n" HOST "\r\n");
    cr_expect(hear(idle).status == 200);
    say(half, "POST /later HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    say(held, "POST /later HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n");
    wait_for("connections=", 4);
    kill(child, SIGTERM);
    cr_expect(hear(idle).status == 0);
    say(half, "bc");
    say(held, "abc");
    struct answer a = hear(half), b = hear(held);
    cr_expect(a.status == 200 && a.closes && says(&a, "abc"));
    cr_expect(b.status == 200 && b.closes && says(&b, "abc"));
    close(half);
    close(held);
    close(idle);
}

Test(httpd, draining_waits_for_an_answer_that_is_being_taken)
{
    start();
    int fd = dial();
    say(fd, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    char byte;
    cr_assert(recv(fd, &byte, 1, MSG_PEEK) == 1); /* it has begun, and is too large to be done */
    kill(child, SIGTERM);
    struct answer a = hear(fd);
    cr_expect(a.status == 200);
    cr_expect(a.len == 8 << 20);
    cr_expect(hear(fd).status == 0);
    close(fd);
}

/* --- listening --------------------------------------------------------------------------- */

Test(httpd_listen, a_port_in_use_is_named_with_its_remedy)
{
    struct hl_err err = {0};
    int bound, again, fd = httpd_listen("127.0.0.1", 0, 8, &bound, &err);
    char want[32];
    cr_assert(fd >= 0 && bound > 0);
    cr_expect(httpd_listen("127.0.0.1", bound, 8, &again, &err) == -1);
    snprintf(want, sizeof(want), "127.0.0.1 port %d", bound);
    cr_expect(strstr(err.msg, want) && strstr(err.msg, "choose another port"), "%s", err.msg);
    close(fd);
}

Test(httpd_listen, an_address_that_is_not_ours_is_refused)
{
    struct hl_err err = {0};
    int bound;
    cr_expect(httpd_listen("192.0.2.1", 0, 8, &bound, &err) == -1);
    cr_expect(strstr(err.msg, "192.0.2.1"), "%s", err.msg);
    cr_expect(httpd_listen("no such host", 80, 8, &bound, &err) == -1);
    cr_expect(strstr(err.msg, "no such host"), "%s", err.msg);
    cr_expect(httpd_listen("127.0.0.1", 70000, 8, &bound, &err) == -1);
    cr_expect(strstr(err.msg, "70000"), "%s", err.msg);
}

/* Runs fn with fd handed over as by systemd; in a child, whose descriptor 3 is nobody else's. */
static bool activated(int fd, bool (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();
    if (!pid) {
        char number[16];
        snprintf(number, sizeof(number), "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
        setenv("LISTEN_FDS", "1", 1);
        _exit(dup2(fd, 3) == 3 && fn() ? 0 : 1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool takes_it_once(void)
{
    struct hl_err err = {0};
    int bound = 0, other = 0;
    bool took = httpd_listen("192.0.2.1", 1, 8, &bound, &err) == 3 && bound == port;
    return took && httpd_listen("127.0.0.1", 0, 8, &other, &err) > 3 && other != port;
}

static bool refuses_it(void)
{
    struct hl_err err = {0};
    int bound;
    return httpd_listen("127.0.0.1", 0, 8, &bound, &err) == -1 &&
           strstr(err.msg, "socket activation");
}

Test(httpd_listen, an_inherited_socket_is_used_once)
{
    struct hl_err err = {0};
    int fd = httpd_listen("127.0.0.1", 0, 8, &port, &err);
    cr_assert(fd >= 0);
    cr_expect(activated(fd, takes_it_once));
    close(fd);
}

Test(httpd_listen, a_promised_socket_that_does_not_listen_is_refused)
{
    int pair[2];
    cr_assert(pipe(pair) == 0);
    cr_expect(activated(pair[0], refuses_it));
    close(pair[0]);
    close(pair[1]);
}
