/* Streams of httpd on a real socket: a server in a child process, plain sockets on this side. */
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

enum { MANY = 1000, FILL = 1 << 20 };

struct server {
    struct loop *loop;
    struct httpd *http;
    struct sigwatch term;
    struct list streams;
    struct httpd_req *held;
    int closed, replies;
    bool inside, wrong; /* in a call of httpd's: nothing may be closed there */
    struct timer fill;  /* writes what has a number, to whoever has taken all before */
    long number;
    size_t most_unsent;
};

struct one {
    struct server *s;
    struct list_node node;
    struct httpd_stream *st;
};

static void closed(void *ctx)
{
    struct one *o = ctx;
    o->s->wrong |= o->s->inside;
    o->s->closed++;
    httpd_stream_write(o->st, "into nothing", 12);
    o->s->wrong |= httpd_stream_unsent(o->st) != 0;
    list_remove(&o->s->streams, &o->node);
    free(o);
}

static void begin(struct server *s, struct httpd_req *req)
{
    struct one *o = mem_new(struct one);
    o->s = s;
    list_push(&s->streams, &o->node);
    httpd_add_header(req, "X-Good", "yes");
    s->inside = true;
    o->st = httpd_stream_begin(req, "text/event-stream", closed, o);
    s->inside = false;
}

static void open_now(struct httpd_req *req, void *ctx)
{
    begin(ctx, req);
}

static void hold(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    s->held = req;
}

static void begin_held(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    begin(s, s->held);
    s->held = NULL;
    httpd_reply(req, 204, NULL, NULL, 0);
}

static void write_all(struct server *s, const void *data, size_t len)
{
    s->inside = true;
    LIST_EACH(&s->streams, n)
    {
        struct one *o = LIST_OF(n, struct one, node);
        httpd_stream_write(o->st, data, len);
    }
    s->inside = false;
}

static void write_body(struct httpd_req *req, void *ctx)
{
    size_t len;
    const char *body = httpd_body(req, &len);
    write_all(ctx, body, len);
    httpd_reply(req, 204, NULL, NULL, 0);
}

static void end_all(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    for (struct list_node *n; (n = list_pop(&s->streams));) {
        struct one *o = LIST_OF(n, struct one, node);
        httpd_stream_end(o->st);
        free(o);
    }
    httpd_reply(req, 204, NULL, NULL, 0);
}

static void keep_filling(void *ctx)
{
    static char text[FILL];
    struct server *s = ctx;
    int head = snprintf(text, sizeof(text), "\n%ld", ++s->number);
    memset(text + head, '.', sizeof(text) - (size_t)head);
    LIST_EACH(&s->streams, n)
    {
        struct one *o = LIST_OF(n, struct one, node);
        size_t unsent = httpd_stream_unsent(o->st);
        if (unsent > s->most_unsent)
            s->most_unsent = unsent;
        if (!unsent)
            httpd_stream_write(o->st, text, sizeof(text));
    }
    timer_start(&s->fill, 1);
}

static void fill(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    if (!timer_running(&s->fill))
        timer_start(&s->fill, 1);
    httpd_reply(req, 204, NULL, NULL, 0);
}

static void stats(struct httpd_req *req, void *ctx)
{
    struct server *s = ctx;
    struct buf b = {0};
    buf_printf(&b,
        "connections=%d open=%zu closed=%d replies=%d held=%d wrong=%d number=%ld most=%zu ",
        httpd_connections(s->http), s->streams.len, s->closed, s->replies, s->held != NULL,
        s->wrong, s->number, s->most_unsent);
    httpd_reply(req, 200, "text/plain", b.data, b.len);
    buf_release(&b);
}

/* clang-format off */
static const struct httpd_route routes[] = {
    {"GET", "/stream", open_now, 0, 0},
    {"GET", "/hold", hold, 0, 0},
    {"GET", "/stats", stats, 0, 0},
    {"POST", "/begin", begin_held, 0, 0},
    {"POST", "/write", write_body, 0, 0},
    {"POST", "/end", end_all, 0, 0},
    {"POST", "/fill", fill, 0, 0},
    {0},
};
/* clang-format on */

static void on_reply(struct httpd_req *req, int status, void *ctx)
{
    struct server *s = ctx;
    char seen[100];
    snprintf(seen, sizeof(seen), "%s %d", httpd_path(req), status);
    httpd_add_header(req, "X-Seen", seen);
    s->replies += strcmp(httpd_path(req), "/stream") == 0;
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
    .max_connections = MANY + 10,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 10000,
    .idle_timeout_ms = 10000,
    .write_timeout_ms = 10000,
    .on_reply = on_reply,
};
static int port;
static pid_t child;
static bool freed_open; /* the server is freed with its streams, not drained */

static void serve(int listen_fd)
{
    struct server s = {0};
    struct hl_err err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    s.loop = loop_new(&err);
    list_init(&s.streams);
    timer_init(s.loop, &s.fill, keep_filling, &s);
    conf.ctx = &s;
    s.http = httpd_new(s.loop, listen_fd, &conf);
    sigwatch_start(s.loop, &s.term, SIGTERM, freed_open ? stop : drain, &s);
    loop_run(s.loop);
    sigwatch_stop(&s.term);
    timer_stop(&s.fill);
    httpd_free(s.http);
    size_t left = s.streams.len;
    for (struct list_node *n; (n = list_pop(&s.streams));)
        free(LIST_OF(n, struct one, node));
    loop_free(s.loop);
    close(listen_fd);
    _exit(s.wrong ? 3 : left && !freed_open ? 2 : 0);
}

static void start(void)
{
    struct hl_err err = {0};
    int fd = httpd_listen("127.0.0.1", 0, 1024, &port, &err);
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

TestSuite(httpd_stream, .fini = finish, .timeout = 30);

/* --- the client -------------------------------------------------------------------------- */

static int dial_with(int receive_bytes)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (receive_bytes)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    cr_assert(connect(fd, (const struct sockaddr *)&at, sizeof(at)) == 0, "%s", strerror(errno));
    return fd;
}

static int dial(void)
{
    return dial_with(0);
}

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    cr_assert(send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n, "%s", strerror(errno));
}

/* Takes exactly this. */
static void expect(int fd, const char *want)
{
    char have[4096];
    size_t n = 0, len = strlen(want);
    while (n < len) {
        ssize_t got = recv(fd, have + n, len - n, 0);
        cr_assert(got > 0, "%zd (%s) after %zu bytes of\n%s", got, strerror(errno), n, want);
        n += (size_t)got;
    }
    have[n] = '\0';
    cr_assert(strcmp(have, want) == 0, "%s\ninstead of\n%s", have, want);
}

/* The connection is over, and nothing came before that. */
static bool over(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

#define HOST   "Host: a\r\n"
#define STREAM "GET /stream HTTP/1.1\r\n" HOST "\r\n"
#define STATS  "GET /stats HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nX-Good: yes\r\nX-Seen: /stream 200\r\nContent-Type: text/event-stream\r\n" \
    "Transfer-Encoding: chunked\r\n"
#define ENDLESS                                                                                    \
    "HTTP/1.1 200 OK\r\nX-Good: yes\r\nX-Seen: /stream 200\r\nContent-Type: text/event-stream\r\n"

static int open_stream(void)
{
    int fd = dial();
    say(fd, STREAM);
    expect(fd, HEAD "\r\n");
    return fd;
}

/* The whole of an answer after which the server closes. */
static const char *ask(const char *text)
{
    static char answer[4096];
    size_t n = 0;
    int fd = dial();
    say(fd, text);
    for (ssize_t got; (got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0)) > 0;)
        n += (size_t)got;
    answer[n] = '\0';
    close(fd);
    return answer;
}

static void post(const char *path, const char *body)
{
    struct buf b = {0};
    buf_printf(&b, "POST %s HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
        path, strlen(body), body);
    const char *answer = ask(b.data);
    cr_assert(strncmp(answer, "HTTP/1.1 204 ", 13) == 0, "%s", answer);
    buf_release(&b);
}

static long stat_of(const char *name)
{
    const char *at = strstr(ask(STATS), name);
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

/* --- what is sent ------------------------------------------------------------------------ */

Test(httpd_stream, each_write_is_a_chunk_and_the_end_is_the_last_one)
{
    start();
    int fd = open_stream();
    post("/write", "hello");
    expect(fd, "5\r\nhello\r\n");
    post("/write", "");
    post("/write", "data: 12345678\r\n\n");
    expect(fd, "11\r\ndata: 12345678\r\n\n\r\n");
    post("/end", "");
    expect(fd, "0\r\n\r\n");
    cr_expect(stat_of("closed=") == 0, "who ends a stream knows that");
    cr_expect(stat_of("replies=") == 1);
    close(fd);
}

Test(httpd_stream, an_older_client_gets_it_bare_up_to_the_end_of_the_connection)
{
    static const char *const asks[] = {
        "GET /stream HTTP/1.0\r\n\r\n", "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"};
    start();
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        say(fd, asks[i]);
        expect(fd, ENDLESS "Connection: close\r\n\r\n");
        post("/write", "hello");
        expect(fd, "hello");
        post("/end", "");
        cr_expect(over(fd));
        close(fd);
    }
}

Test(httpd_stream, who_asked_for_the_end_of_the_connection_gets_it_after_the_last_chunk)
{
    start();
    int fd = dial();
    say(fd, "GET /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    expect(fd, HEAD "Connection: close\r\n\r\n");
    post("/write", "x");
    post("/end", "");
    expect(fd, "1\r\nx\r\n0\r\n\r\n");
    cr_expect(over(fd));
    close(fd);
}

Test(httpd_stream, the_connection_is_kept_after_its_end)
{
    start();
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, STREAM);
        expect(fd, HEAD "\r\n");
        post("/end", "");
        expect(fd, "0\r\n\r\n");
    }
    wait_for("connections=", 2);
    close(fd);
    wait_for("connections=", 1);
    cr_expect(stat_of("closed=") == 0);
}

Test(httpd_stream, requests_behind_it_wait_for_its_end_and_are_answered_in_order)
{
    start();
    int fd = dial();
    say(fd, STREAM STREAM "GET /stats HTTP/1.1\r\n" HOST "\r\n");
    expect(fd, HEAD "\r\n");
    say(fd, "GET /nothing HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    post("/write", "one");
    expect(fd, "3\r\none\r\n");
    cr_expect(stat_of("replies=") == 1);
    post("/end", "");
    expect(fd, "0\r\n\r\n" HEAD "\r\n");
    post("/end", "");
    expect(fd, "0\r\n\r\nHTTP/1.1 200 OK\r\nX-Seen: /stats 200\r\n");
    char rest[2000] = "";
    for (size_t n = 0; n < sizeof(rest) - 1;) {
        ssize_t got = recv(fd, rest + n, sizeof(rest) - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    cr_expect(strstr(rest, "HTTP/1.1 404 Not Found\r\n"), "%s", rest);
    close(fd);
}

/* --- clients that vanish ----------------------------------------------------------------- */

Test(httpd_stream, a_client_that_closes_or_breaks_it_is_noticed_though_nothing_is_written)
{
    const struct linger reset = {.l_onoff = 1};
    static const char *const asks[] = {STREAM, "GET /stream HTTP/1.0\r\n\r\n",
        "GET /stream HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"};
    start();
    for (int i = 0; i < 9; i++) {
        int fd = dial();
        say(fd, asks[i % 3]);
        wait_for("open=", 1);
        if (i / 3 == 0)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (i / 3 == 1)
            shutdown(fd, SHUT_WR);
        else
            close(fd);
        wait_for("open=", 0);
        wait_for("connections=", 1);
        if (i / 3 == 1)
            close(fd);
    }
    cr_expect(stat_of("closed=") == 9);
}

Test(httpd_stream, a_client_that_was_gone_before_it_began_is_told_as_one_that_goes)
{
    const struct linger reset = {.l_onoff = 1};
    start();
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
        wait_for("held=", 1);
        if (i)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        if (i)
            wait_for("connections=", 1);
        post("/begin", "");
        wait_for("closed=", i + 1);
        wait_for("connections=", 1);
    }
}

Test(httpd_stream, one_that_vanishes_while_it_is_written_to_is_closed_once)
{
    const struct linger reset = {.l_onoff = 1};
    start();
    post("/fill", "");
    for (int i = 0; i < 40; i++) {
        int fd = open_stream();
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
    }
    wait_for("closed=", 40);
    cr_expect(stat_of("open=") == 0);
    wait_for("connections=", 1);
}

Test(httpd_stream, who_sends_on_and_on_behind_it_is_cut)
{
    static char pad[3000];
    start();
    int fd = open_stream();
    memset(pad, 'x', sizeof(pad) - 1);
    for (int i = 0; i < 5; i++)
        say(fd, pad);
    cr_expect(stat_of("open=") == 1, "15 KiB may wait");
    for (int i = 0; i < 2; i++)
        send(fd, pad, sizeof(pad) - 1, MSG_NOSIGNAL);
    wait_for("closed=", 1);
    close(fd);
}

/* --- readers ----------------------------------------------------------------------------- */

Test(httpd_stream, no_deadline_ends_one_that_nothing_is_written_to)
{
    conf.idle_timeout_ms = conf.header_timeout_ms = conf.write_timeout_ms = 100;
    start();
    int fd = open_stream();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    cr_expect(poll(&p, 1, 400) == 0);
    post("/write", "x");
    expect(fd, "1\r\nx\r\n");
    close(fd);
}

Test(httpd_stream, a_reader_that_stops_is_closed_after_the_write_timeout)
{
    conf.write_timeout_ms = 300;
    start();
    int fd = dial_with(4096);
    say(fd, STREAM);
    post("/fill", "");
    wait_for("open=", 1);
    int64_t begin_ms = clock_mono_ms();
    wait_for("closed=", 1);
    cr_expect(clock_mono_ms() - begin_ms >= 250, "%d ms", (int)(clock_mono_ms() - begin_ms));
    wait_for("connections=", 1);
    close(fd);
}

/* The write timeout is for a reader that takes nothing; and what it gets is whole, and new. */
Test(httpd_stream, a_slow_reader_is_not_closed_and_skips_to_the_newest)
{
    char text[8192];
    int64_t last = 0, seen = 0;
    conf.write_timeout_ms = 600; /* less than one text takes */
    start();
    int fd = dial_with(32 * 1024);
    say(fd, "GET /stream HTTP/1.0\r\n\r\n");
    wait_for("open=", 1);
    post("/fill", "");
    int64_t end = clock_mono_ms() + 4000;
    struct buf all = {0};
    while (clock_mono_ms() < end) {
        ssize_t n = recv(fd, text, sizeof(text), 0);
        cr_assert(n > 0, "closed after %zu bytes", all.len);
        buf_append(&all, text, (size_t)n);
        poll(NULL, 0, 10); /* 800 KB/s, of more than ten times that */
    }
    for (char *at = all.data, *next; at && (at = strchr(at, '\n')) != NULL; at++) {
        next = strchr(at + 1, '\n');
        if (at > all.data && at[-1] == '\r')
            continue; /* the head */
        long number = atol(at + 1);
        if (next && number) {
            cr_expect(
                number > last && next - at == FILL, "%ld, %d bytes", number, (int)(next - at));
            last = number;
            seen++;
        }
    }
    cr_expect(seen >= 2 && last > 2 * seen, "%ld seen up to %ld", (long)seen, (long)last);
    cr_expect(stat_of("most=") <= FILL + 200);
    cr_expect(stat_of("closed=") == 0);
    close(fd);
    buf_release(&all);
}

static long resident_kb(void)
{
    char path[64];
    long size = 0, resident = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)child);
    FILE *f = fopen(path, "re");
    cr_assert(f && fscanf(f, "%ld %ld", &size, &resident) == 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

Test(httpd_stream, a_thousand_are_open_at_once_in_bounded_memory)
{
    static int fds[MANY];
    const struct rlimit files = {.rlim_cur = MANY + 100, .rlim_max = MANY + 100};
    cr_assert(setrlimit(RLIMIT_NOFILE, &files) == 0, "%s", strerror(errno));
    start();
    wait_for("connections=", 1);
    long before = resident_kb();
    for (int i = 0; i < MANY; i++) {
        fds[i] = dial();
        say(fds[i], STREAM);
    }
    wait_for("open=", MANY);
    for (int i = 0; i < MANY; i++)
        expect(fds[i], HEAD "\r\n");
    post("/write", "hello");
    for (int i = 0; i < MANY; i++)
        expect(fds[i], "5\r\nhello\r\n");
    long each = (resident_kb() - before) * 1024 / MANY;
    cr_expect(getenv("ASAN_OPTIONS") || each < 24 * 1024, "%ld bytes each", each);
    for (int i = 0; i < MANY; i += 2)
        close(fds[i]);
    wait_for("open=", MANY / 2);
    cr_expect(stat_of("closed=") == MANY / 2);
    for (int i = 1; i < MANY; i += 2)
        close(fds[i]);
    wait_for("connections=", 1);
}

/* --- the end ----------------------------------------------------------------------------- */

static void expect_ended(int64_t within_ms)
{
    int status = 0;
    int64_t begin_ms = clock_mono_ms();
    kill(child, SIGTERM);
    cr_expect(waitpid(child, &status, 0) == child);
    child = 0;
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %x", status);
    cr_expect(clock_mono_ms() - begin_ms < within_ms, "%d ms", (int)(clock_mono_ms() - begin_ms));
}

Test(httpd_stream, a_drain_ends_them_all_at_once)
{
    start();
    int idle = open_stream(), old = dial(), stuck = dial_with(4096);
    say(old, "GET /stream HTTP/1.0\r\n\r\n");
    expect(old, ENDLESS "Connection: close\r\n\r\n");
    post("/write", "x");
    expect(idle, "1\r\nx\r\n");
    expect(old, "x");
    say(stuck, STREAM);
    wait_for("open=", 3);
    static char much[500 * 1024];
    memset(much, 'x', sizeof(much) - 1);
    for (int i = 0; i < 12; i++) {
        post("/write", much); /* the others take none of it either: their sockets hold it */
    }
    expect_ended(2000);
    close(idle);
    close(old);
    close(stuck);
}

Test(httpd_stream, who_has_taken_everything_is_told_the_end_when_the_server_drains)
{
    start();
    int fd = open_stream();
    expect_ended(2000);
    expect(fd, "0\r\n\r\n");
    cr_expect(over(fd));
    close(fd);
}

Test(httpd_stream, one_that_begins_while_the_server_drains_is_ended_at_once)
{
    start();
    int fd = dial(), idle = open_stream(), begins = dial();
    say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
    wait_for("held=", 1);
    say(begins, "POST /begin HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n");
    wait_for("connections=", 4);
    kill(child, SIGTERM);
    expect(idle, "0\r\n\r\n");
    say(begins, "x");
    expect(fd, "HTTP/1.1 200 OK\r\nX-Good: yes\r\nX-Seen: /hold 200\r\n"
               "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
               "Connection: close\r\n\r\n");
    expect(fd, "0\r\n\r\n");
    cr_expect(over(fd));
    expect(begins, "HTTP/1.1 204 ");
    close(fd);
    close(idle);
    close(begins);
}

Test(httpd_stream, a_server_that_is_freed_drops_them)
{
    freed_open = true;
    start();
    int fd = open_stream(), other = open_stream();
    expect_ended(2000);
    close(fd);
    close(other);
}
