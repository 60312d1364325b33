/* bench_http: see bench_http.h. Owns the sockets. A connection that breaks is opened again by the next
 * request that needs it, never by itself. */
#include "worker/ctl/bench_http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

enum { MAX_HEAD = 16384, MAX_BODY = 1 << 20, READ_SIZE = 4096 };

struct line {
    struct bench_http *owner;
    int fd; /* -1: not connected */
    bool busy, connecting;
    struct watch watch;
    struct defer broken; /* it failed inside bench_http_send */
    enum bench_end fault;
    struct buf out, in;
    size_t written;
    int64_t tag, sent_us;
    struct line *next; /* of the idle */
};

struct bench_http {
    struct loop *loop;
    struct bench_target to;
    int64_t timeout_us;
    bench_done *done;
    void *ctx;
    struct line *lines, *idle;
    int n, busy;
};

/* --- connections ------------------------------------------------------------------------- */

static void line_close(struct line *l)
{
    watch_stop(&l->watch);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    l->connecting = false;
}

static void on_event(int what, void *ctx);

/* Begins to connect; 0, or an errno. */
static int line_connect(struct line *l)
{
    const struct bench_target *to = &l->owner->to;
    const int one = 1;
    l->fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return errno;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(l->fd, (const struct sockaddr *)&to->address, to->len) != 0 && errno != EINPROGRESS)
        return errno;
    l->connecting = true;
    watch_start(l->owner->loop, &l->watch, l->fd, WATCH_WRITE, on_event, l);
    return 0;
}

/* What became of it; 0, or an errno. */
static int line_connected(struct line *l)
{
    int fault = 0;
    socklen_t len = sizeof(fault);
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &fault, &len) != 0)
        fault = errno;
    if (fault == 0) {
        l->connecting = false;
        watch_set(&l->watch, WATCH_READ);
    }
    return fault;
}

/* --- the end of a request ---------------------------------------------------------------- */

static void line_idle(struct line *l)
{
    struct bench_http *h = l->owner;
    l->busy = false;
    l->next = h->idle;
    h->idle = l;
    h->busy--;
}

/* The line is free again before the caller is told, who may send the next by it. */
static void line_done(struct line *l, enum bench_end end, const struct bench_answer *answer)
{
    struct bench_http *h = l->owner;
    int64_t tag = l->tag, us = clock_mono_us() - l->sent_us;
    struct buf in = l->in; /* the answer is in there */
    l->in = (struct buf){0};
    loop_defer_cancel(h->loop, &l->broken);
    if (end != BENCH_ANSWERED)
        line_close(l);
    line_idle(l);
    h->done(tag, end, answer, us, h->ctx);
    buf_clear(&in); /* nothing is read before the next turn of the loop */
    l->in = in;
}

static void on_broken(void *ctx)
{
    struct line *l = ctx;
    if (l->busy)
        line_done(l, l->fault, NULL);
}

/* Tells of it later. */
static void line_fail_later(struct line *l, enum bench_end fault)
{
    line_close(l);
    l->fault = fault;
    loop_defer(l->owner->loop, &l->broken, on_broken, l);
}

/* --- answers ----------------------------------------------------------------------------- */

struct head {
    int status;
    int64_t length; /* -1: not said */
    bool close, duplicate;
};

static bool named(const char *line, size_t len, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    *value = line + n + 1 + strspn(line + n + 1, " \t");
    return true;
}

/* text: the head, with the line end of its last field. */
static bool read_head(const char *text, const char *end, struct head *h)
{
    const char *value;
    *h = (struct head){.length = -1, .close = strncmp(text, "HTTP/1.0", 8) == 0};
    if (strncmp(text, "HTTP/1.", 7) != 0 || (h->status = atoi(text + 8)) < 100 || h->status > 599)
        return false;
    while ((text = memchr(text, '\n', (size_t)(end - text))) && ++text < end) {
        size_t len = (size_t)(end - text);
        if (named(text, len, "content-length", &value))
            h->length = strtoll(value, NULL, 10);
        else if (named(text, len, "connection", &value))
            h->close = strncasecmp(value, "close", 5) == 0;
        else if (named(text, len, "hookline-duplicate", &value))
            h->duplicate = true;
    }
    return h->length >= 0 && h->length <= MAX_BODY;
}

static void line_read(struct line *l)
{
    struct head head;
    const char *start = buf_str(&l->in), *end = strstr(start, "\r\n\r\n");
    if (!end) {
        if (l->in.len > MAX_HEAD)
            line_done(l, BENCH_UNREADABLE, NULL);
        return;
    }
    if (!read_head(start, end + 2, &head)) {
        line_done(l, BENCH_UNREADABLE, NULL);
        return;
    }
    size_t at = (size_t)(end + 4 - start);
    if (l->in.len < at + (size_t)head.length)
        return;
    if (head.close || l->owner->to.fresh)
        line_close(l);
    line_done(l, BENCH_ANSWERED,
        &(struct bench_answer){.status = head.status,
            .duplicate = head.duplicate,
            .body = start + at,
            .len = (size_t)head.length});
}

/* --- bytes ------------------------------------------------------------------------------- */

static void line_write(struct line *l)
{
    while (l->written < l->out.len) {
        ssize_t n = send(l->fd, l->out.data + l->written, l->out.len - l->written, MSG_NOSIGNAL);
        if (n > 0) {
            l->written += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            watch_set(&l->watch, WATCH_READ | WATCH_WRITE);
            return;
        } else if (errno != EINTR) {
            line_fail_later(l, BENCH_CLOSED);
            return;
        }
    }
}

static void on_readable(struct line *l)
{
    ssize_t n = recv(l->fd, buf_reserve(&l->in, READ_SIZE), READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && l->busy) {
        l->in.len += (size_t)n;
        l->in.data[l->in.len] = '\0';
        line_read(l);
    } else if (l->busy) {
        line_done(l, BENCH_CLOSED, NULL);
    } else {
        line_close(l); /* an idle one was closed, or talks out of turn */
        buf_clear(&l->in);
    }
}

static void on_event(int what, void *ctx)
{
    struct line *l = ctx;
    if (l->connecting && line_connected(l) != 0) {
        if (l->busy)
            line_done(l, BENCH_NO_CONNECTION, NULL);
        else
            line_close(l);
        return;
    }
    if (what & WATCH_WRITE && l->busy) {
        watch_set(&l->watch, WATCH_READ);
        line_write(l);
    }
    if (what & WATCH_READ && l->fd >= 0)
        on_readable(l);
}

/* --- public ------------------------------------------------------------------------------ */

bool bench_http_send(struct bench_http *h, const void *request, size_t len, int64_t tag)
{
    struct line *l = h->idle;
    if (!l)
        return false;
    h->idle = l->next;
    h->busy++;
    l->busy = true;
    l->tag = tag;
    l->sent_us = clock_mono_us();
    l->written = 0;
    buf_clear(&l->out);
    buf_append(&l->out, request, len);
    if (l->fd < 0 && line_connect(l) != 0)
        line_fail_later(l, BENCH_NO_CONNECTION);
    else if (!l->connecting)
        line_write(l);
    return true;
}

int bench_http_busy(const struct bench_http *h)
{
    return h->busy;
}

void bench_http_sweep(struct bench_http *h)
{
    int64_t before = clock_mono_us() - h->timeout_us;
    for (int i = 0; i < h->n; i++)
        if (h->lines[i].busy && h->lines[i].sent_us < before)
            line_done(&h->lines[i], BENCH_TIMEOUT, NULL);
}

/* So that no measured request pays for a handshake. */
static enum hl_rc connect_all(struct bench_http *h, struct hl_err *err)
{
    int64_t end = clock_mono_us() + h->timeout_us;
    int n = h->to.fresh ? 1 : h->n;
    for (int i = 0; i < n; i++) {
        struct line *l = &h->lines[i];
        int fault = line_connect(l);
        struct pollfd p = {.fd = l->fd, .events = POLLOUT};
        int64_t left = (end - clock_mono_us()) / 1000;
        if (fault == 0 && poll(&p, 1, left > 0 ? (int)left : 0) != 1)
            fault = ETIMEDOUT;
        if (fault == 0)
            fault = line_connected(l);
        if (fault)
            return hl_fail_why(err, HL_RETRY, HL_WHY_UNREACHABLE,
                "connection %d of %d cannot be opened: %s", i + 1, n, strerror(fault));
    }
    if (h->to.fresh)
        line_close(&h->lines[0]);
    return HL_OK;
}

struct bench_http *bench_http_new(struct loop *l, const struct bench_target *to, int connections,
    int64_t timeout_ms, bench_done *done, void *ctx, struct hl_err *err)
{
    struct bench_http *h = mem_new(struct bench_http);
    *h = (struct bench_http){.loop = l,
        .to = *to,
        .timeout_us = timeout_ms * 1000,
        .done = done,
        .ctx = ctx,
        .n = connections,
        .busy = connections,
        .lines = mem_array((size_t)connections, sizeof(*h->lines))};
    for (int i = 0; i < connections; i++) {
        h->lines[i].owner = h;
        h->lines[i].fd = -1;
        line_idle(&h->lines[i]);
    }
    if (connect_all(h, err) == HL_OK)
        return h;
    bench_http_free(h);
    return NULL;
}

void bench_http_free(struct bench_http *h)
{
    if (!h)
        return;
    for (int i = 0; i < h->n; i++) {
        struct line *l = &h->lines[i];
        loop_defer_cancel(h->loop, &l->broken);
        line_close(l);
        buf_release(&l->out);
        buf_release(&l->in);
    }
    free(h->lines);
    free(h);
}
