/* httpd: see httpd.h. Owns connections, their deadlines, routing and answers; the grammar is
 * httpmsg's, the listening socket the caller's.
 *
 * A connection works on one request at a time: bytes of further ones wait, bounded, in conn.in.
 * An answer given inside the handler is written when everything that has arrived is worked through;
 * one given later is written at once, and further requests are taken up by a deferred call, so no
 * handler ever runs inside httpd_reply.
 *
 * A stream is a pending request whose answer has begun. It is read on behind it, for that alone tells
 * that the client is gone; what is written is sent at the end of the turn, so that nothing is freed, and
 * `closed` does not run, inside httpd_stream_begin and httpd_stream_write. */
#include "io/httpd.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"
#include "base/uuid.h"
#include "io/httpmsg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_HEAD = 16 * 1024,    /* bytes read per event, so that no client starves the others ... */
    READ_BODY = 64 * 1024,    /* ... more where a body is known to follow */
    AHEAD_MAX = 16 * 1024,    /* bytes taken of requests whose turn has not come */
    BATCH_MAX = 64 * 1024,    /* answers of one turn held back to be sent together */
    ACCEPT_MAX = 64,          /* connections accepted per event */
    ACCEPT_PAUSE_MS = 100,    /* after the process ran out of descriptors */
    LINGER_MS = 2000,         /* a closed connection is read on so that the answer is not ... */
    LINGER_BYTES = 4 << 20,   /* ... destroyed by a reset (RFC 9112 section 9.6) */
    STREAM_AHEAD = 16 * 1024, /* bytes of a stream that the kernel takes before it can send them */
    SMALL_BODY = 64 * 1024,   /* bytes that are always taken, however much is buffered */
};

#define LAST_CHUNK "0\r\n\r\n" /* RFC 9112 section 7.1 */

/* What a connection waits for; has_deadline says which states end by themselves. */
enum state {
    IDLE,    /* for the first byte of a request */
    HEAD,    /* for the end of the headers */
    BODY,    /* for the end of the body */
    PENDING, /* for httpd_reply: the owner of the handler has a deadline, not we */
    WRITE,   /* for the client to take the answer */
    STREAM,  /* for httpd_stream_write or _end: all that was written is taken */
    STALLED, /* for the client to take some more of a stream */
    LINGER,  /* for the client to close after us */
    N_STATES,
};

struct conn {
    struct httpd *h;
    struct watch watch;
    struct defer more;     /* takes up what waits in in */
    struct list_node node; /* in httpd.waiting[state] */
    enum state state;
    int64_t deadline_us;
    int fd;
    struct httpd_req *req; /* being read or pending; NULL = between requests */
    struct buf in;         /* bytes after the present request */
    struct buf out;        /* answers not yet taken by the kernel */
    size_t lingered;
    bool busy;   /* inside conn_run: httpd_reply leaves the rest to it */
    bool eof;    /* the client sends no more; it may still read */
    bool broken; /* nobody is there */
    bool last;   /* the connection ends with the answer in out */
    bool linger; /* ... and the client may not know that, or still be sending */
    char peer[INET6_ADDRSTRLEN];
};

struct joined { /* a text made of others, kept for the life of the request */
    struct joined *next;
    const struct httpmsg_field *first; /* of the headers joined here; NULL = of something else */
    struct buf value;
};

struct httpd_stream { /* a part of its request */
    bool open;        /* begun, and not ended */
    bool chunked;
    void (*closed)(void *ctx);
    void *ctx;
    struct defer gone; /* runs closed */
};

struct httpd_req {
    struct httpd *h;
    struct conn *conn;     /* NULL: the client is gone */
    struct list_node node; /* in httpd.requests */
    const struct httpd_route *route;
    int refusal;      /* answered instead of calling a handler: 307, 404, 405; 0 = none */
    struct buf msg;   /* head, then the decoded body */
    struct buf extra; /* header lines of the answer */
    struct joined *joined;
    struct httpmsg_chunks chunks;
    size_t buffered; /* bytes of its body, come or announced */
    bool pending;    /* wholly read, given to the handler */
    bool last;       /* httpd_last */
    int64_t started_us;
    void *user;
    struct httpd_stream stream;
    char peer[INET6_ADDRSTRLEN];
    char id[UUID_STRLEN + 1]; /* "" = not asked for yet */
    struct httpmsg_head head; /* last: its field table is not zeroed */
};

struct httpd {
    struct loop *loop;
    struct httpd_conf conf;
    int listen_fd;
    struct watch listen;
    struct timer accept_pause;
    struct timer deadline;         /* armed for the earliest of all connections */
    int64_t deadline_at_us;        /* 0 = not armed */
    struct list waiting[N_STATES]; /* each state has one timeout, so each list is in order */
    struct list requests;
    int n_conns;
    size_t buffered; /* bytes of the bodies of all requests */
    bool draining;
    struct defer sweep, drained;
    void (*drain_done)(void *ctx);
    void *drain_ctx;
    char scratch[READ_BODY];
};

static const struct status {
    int code;
    const char *reason;
} statuses[] = {
    {200, "OK"                             },
    {201, "Created"                        },
    {202, "Accepted"                       },
    {204, "No Content"                     },
    {207, "Multi-Status"                   },
    {304, "Not Modified"                   },
    {307, "Temporary Redirect"             },
    {400, "Bad Request"                    },
    {401, "Unauthorized"                   },
    {403, "Forbidden"                      },
    {404, "Not Found"                      },
    {405, "Method Not Allowed"             },
    {406, "Not Acceptable"                 },
    {408, "Request Timeout"                },
    {409, "Conflict"                       },
    {413, "Content Too Large"              },
    {414, "URI Too Long"                   },
    {415, "Unsupported Media Type"         },
    {417, "Expectation Failed"             },
    {422, "Unprocessable Content"          },
    {429, "Too Many Requests"              },
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"          },
    {501, "Not Implemented"                },
    {502, "Bad Gateway"                    },
    {503, "Service Unavailable"            },
    {504, "Gateway Timeout"                },
    {505, "HTTP Version Not Supported"     },
    {507, "Insufficient Storage"           },
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].code == status)
            return statuses[i].reason;
    return "Unknown"; /* the phrase is for people only */
}

/* --- deadlines --------------------------------------------------------------------------- */

static int64_t timeout_us(const struct httpd *h, enum state s)
{
    switch (s) {
    case IDLE: return h->conf.idle_timeout_ms * 1000;
    case HEAD: return h->conf.header_timeout_ms * 1000;
    case BODY: return h->conf.body_timeout_ms * 1000;
    case WRITE:
    case STALLED: return h->conf.write_timeout_ms * 1000;
    case LINGER: return LINGER_MS * 1000;
    case PENDING:
    case STREAM:
    case N_STATES: break;
    }
    return 0;
}

static bool has_deadline(enum state s)
{
    return s != PENDING && s != STREAM;
}

static void arm_deadline(struct httpd *h, int64_t at_us, int64_t now_us)
{
    if (h->deadline_at_us && h->deadline_at_us <= at_us)
        return;
    h->deadline_at_us = at_us;
    timer_start(&h->deadline, (at_us - now_us) / 1000 + 1);
}

/* The timer is only moved forward: one that fires too early finds that out, which is cheaper than
 * moving it with every request. */
static void conn_enter(struct conn *c, enum state s, int64_t now_us)
{
    struct httpd *h = c->h;
    if (list_linked(&c->node))
        list_remove(&h->waiting[c->state], &c->node);
    c->state = s;
    list_push(&h->waiting[s], &c->node);
    if (!has_deadline(s))
        return;
    c->deadline_us = now_us + timeout_us(h, s);
    arm_deadline(h, c->deadline_us, now_us);
}

/* --- requests: life ---------------------------------------------------------------------- */

static struct httpd_req *req_new(struct conn *c, int64_t now_us)
{
    struct httpd_req *req = mem_alloc(sizeof(*req));
    memset(req, 0, offsetof(struct httpd_req, head));
    httpmsg_head_init(&req->head, c->h->conf.max_header);
    req->h = c->h;
    req->conn = c;
    req->started_us = now_us;
    memcpy(req->peer, c->peer, sizeof(req->peer));
    list_push(&c->h->requests, &req->node);
    return req;
}

static void check_drained(struct httpd *h);

static void req_free(struct httpd_req *req)
{
    list_remove(&req->h->requests, &req->node);
    loop_defer_cancel(req->h->loop, &req->stream.gone);
    req->h->buffered -= req->buffered;
    buf_release(&req->msg);
    buf_release(&req->extra);
    for (struct joined *j = req->joined, *next; j; j = next) {
        next = j->next;
        buf_release(&j->value);
        free(j);
    }
    free(req);
}

/* Turns the spans of the head into strings: each is followed by a byte of punctuation. */
static void req_seal(struct httpd_req *req)
{
    const struct httpmsg_head *head = &req->head;
    char *s = req->msg.data;
    if (!head->has_line)
        return;
    s[head->method.at + head->method.len] = '\0';
    s[head->path.at + head->path.len] = '\0';
    if (head->query.len)
        s[head->query.at + head->query.len] = '\0';
    for (int i = 0; i < head->n_fields; i++)
        s[head->fields[i].value.at + head->fields[i].value.len] = '\0';
}

/* --- connections: end -------------------------------------------------------------------- */

static void listen_again(struct httpd *h)
{
    bool room = h->n_conns < h->conf.max_connections;
    if (room && !h->draining && !timer_running(&h->accept_pause))
        watch_set(&h->listen, WATCH_READ);
}

static bool is_streaming(const struct conn *c)
{
    return c->req && c->req->stream.open;
}

static void run_closed(void *ctx)
{
    struct httpd_req *req = ctx;
    struct httpd *h = req->h;
    req->stream.closed(req->stream.ctx);
    req_free(req);
    check_drained(h);
}

/* The request outlives its connection: its handler has it still. */
static void req_orphan(struct httpd_req *req)
{
    req->conn = NULL;
    if (req->stream.open)
        loop_defer(req->h->loop, &req->stream.gone, run_closed, req);
}

static void conn_free(struct conn *c)
{
    struct httpd *h = c->h;
    watch_stop(&c->watch);
    loop_defer_cancel(h->loop, &c->more);
    list_remove(&h->waiting[c->state], &c->node);
    close(c->fd);
    if (c->req && c->req->pending)
        req_orphan(c->req); /* httpd_reply frees it, or the end of its stream */
    else if (c->req)
        req_free(c->req);
    buf_release(&c->in);
    buf_release(&c->out);
    free(c);
    h->n_conns--;
    listen_again(h);
    check_drained(h);
}

static void watch_conn(struct conn *c)
{
    bool reads = c->state == LINGER || is_streaming(c) || (c->req && !c->req->pending) ||
                 (!c->last && c->in.len < AHEAD_MAX);
    watch_set(&c->watch, (reads && !c->eof ? WATCH_READ : 0) | (c->out.len ? WATCH_WRITE : 0));
}

/* Closes after the last answer. A socket with unread bytes answers close() with a reset, which can
 * destroy an answer the client has not read: unless it asked for the end and is silent, we stop
 * sending and go on reading for a while. */
static void conn_close(struct conn *c)
{
    if (c->eof || (!c->linger && !c->in.len) || shutdown(c->fd, SHUT_WR) < 0) {
        conn_free(c);
        return;
    }
    buf_release(&c->in);
    conn_enter(c, LINGER, clock_mono_us());
    watch_conn(c);
}

/* --- answers ----------------------------------------------------------------------------- */

/* True: the client has taken some of it. */
static bool flush(struct conn *c)
{
    size_t sent = 0;
    while (sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + sent, c->out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->broken = errno != EAGAIN && errno != EWOULDBLOCK;
            break;
        }
        sent += (size_t)n;
    }
    if (sent == c->out.len)
        buf_release(&c->out);
    else if (sent)
        buf_consume(&c->out, sent);
    return sent > 0;
}

static void put_number(struct buf *b, size_t n)
{
    char digits[24];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_append(b, digits + at, sizeof(digits) - at);
}

static void put_status(
    struct buf *out, const struct httpd_req *req, int status, const char *content_type)
{
    buf_puts(out, "HTTP/1.1 ");
    put_number(out, (size_t)status);
    buf_putc(out, ' ');
    buf_puts(out, reason_of(status));
    buf_puts(out, "\r\n");
    buf_append(out, req->extra.data, req->extra.len);
    if (content_type) {
        buf_puts(out, "Content-Type: ");
        buf_puts(out, content_type);
        buf_puts(out, "\r\n");
    }
}

static void put_head_end(struct buf *out, const struct httpd_req *req)
{
    if (req->conn->last)
        buf_puts(out, "Connection: close\r\n");
    else if (req->head.minor == 0)
        buf_puts(out, "Connection: keep-alive\r\n");
    buf_puts(out, "\r\n");
}

static void put_answer(struct buf *out, const struct httpd_req *req, int status,
    const char *content_type, const void *body, size_t len)
{
    bool has_length = status >= 200 && status != 204 && status != 304;
    bool has_body = has_length && !(req->head.has_line && !strcmp(httpd_method(req), "HEAD"));

    buf_reserve(out, 256 + req->extra.len + (has_body ? len : 0));
    put_status(out, req, status, content_type);
    if (has_length) {
        buf_puts(out, "Content-Length: ");
        put_number(out, len);
        buf_puts(out, "\r\n");
    }
    put_head_end(out, req);
    if (has_body)
        buf_append(out, body, len);
}

/* Before an answer: does the connection end with it? */
static void decide_end(struct conn *c, const struct httpd_req *req, bool by_its_end)
{
    bool asked_to_close = req->pending && !req->head.keep_alive;
    c->linger = c->last || !asked_to_close;
    c->last =
        c->last || asked_to_close || !req->pending || req->last || by_its_end || c->h->draining;
}

static void tell_on_reply(struct httpd_req *req, int status)
{
    if (req->h->conf.on_reply && req->head.has_line)
        req->h->conf.on_reply(req, status, req->h->conf.ctx);
}

static void conn_settle(struct conn *c);

void httpd_last(struct httpd_req *req)
{
    req->last = true;
}

void httpd_reply(
    struct httpd_req *req, int status, const char *content_type, const void *body, size_t len)
{
    struct httpd *h = req->h;
    struct conn *c = req->conn;
    tell_on_reply(req, status);
    if (c) {
        decide_end(c, req, false);
        put_answer(&c->out, req, status, content_type, body, len);
        c->req = NULL;
    }
    req_free(req);
    if (!c)
        check_drained(h);
    else if (!c->busy)
        conn_settle(c);
}

static void put_json(struct buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            buf_putc(out, '\\');
        if (ch < 0x20)
            buf_printf(out, "\\u%04x", ch);
        else
            buf_putc(out, *s);
    }
}

void httpd_reply_detail(struct httpd_req *req, int status, const char *fmt, ...)
{
    struct buf raw = {0}, text = {0}, body = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&raw, fmt, ap);
    va_end(ap);
    text_append_utf8(&text, buf_str(&raw), raw.len);
    buf_puts(&body, "{\"detail\":\"");
    put_json(&body, buf_str(&text));
    buf_puts(&body, "\"}");
    httpd_reply(req, status, "application/json", body.data, body.len);
    buf_release(&raw);
    buf_release(&text);
    buf_release(&body);
}

/* An answer to a request that is not read to its end: what follows cannot be framed, so the
 * connection ends with it. */
static void req_fail(struct httpd_req *req, int status, const char *fault)
{
    req_seal(req);
    httpd_reply_detail(req, status, "%s: %s", reason_of(status), fault);
}

static size_t body_limit(const struct httpd_req *req)
{
    bool own = req->route && req->route->max_body;
    return own ? req->route->max_body : req->h->conf.max_body;
}

static void req_too_large(struct httpd_req *req)
{
    httpd_reply_detail(
        req, 413, "%s: a body may have at most %zu bytes here", reason_of(413), body_limit(req));
}

/* The body has, or will have, len bytes. False: it is a large one, and there is no room for it. */
static bool make_room(struct httpd_req *req, size_t len)
{
    struct httpd *h = req->h;
    h->buffered += len - req->buffered;
    req->buffered = len;
    return len <= SMALL_BODY || !h->conf.max_buffered || h->buffered <= h->conf.max_buffered;
}

static void req_no_room(struct httpd_req *req)
{
    httpd_add_header(req, "Retry-After", "5");
    httpd_reply_detail(req, 503, "%s: too many large bodies at once", reason_of(503));
}

/* --- routes ------------------------------------------------------------------------------ */

/* What is left of path behind the pattern; NULL: it does not fit. With name, the segment that the
 * pattern calls so: from path on, n bytes; NULL where it has none. */
static const char *match(const char *pattern, const char *path, const char *name, size_t *n)
{
    while (*pattern) {
        size_t len = strcspn(path, "/"), named;
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return NULL;
            continue;
        }
        if (!len)
            return NULL;
        named = strcspn(++pattern, "}");
        if (name && strlen(name) == named && !memcmp(name, pattern, named)) {
            *n = len;
            return path;
        }
        pattern += named + 1;
        path += len;
    }
    return name ? NULL : path;
}

/* Same path, or one slash more where the route allows it. */
static bool path_fits(const struct httpd_route *r, const char *path)
{
    const char *rest = match(r->path, path, NULL, NULL);
    return rest && (!*rest || ((r->flags & HTTPD_ANY_SLASH) && !strcmp(rest, "/")));
}

static bool slash_too_many(const struct httpd_route *r, const char *path)
{
    const char *rest = match(r->path, path, NULL, NULL);
    return rest && !strcmp(r->method, "GET") && !strcmp(rest, "/");
}

/* Sets route, or refusal when there is none. */
static void find_route(struct httpd_req *req)
{
    const char *method = httpd_method(req), *path = httpd_path(req);
    req->refusal = 404;
    for (const struct httpd_route *r = req->h->conf.routes; r->method; r++) {
        if (path_fits(r, path)) {
            req->refusal = 405;
            if (!strcmp(r->method, method)) {
                req->route = r;
                req->refusal = 0;
                return;
            }
        } else if (req->refusal == 404 && !strcmp(method, "GET") && slash_too_many(r, path)) {
            req->refusal = 307;
        }
    }
}

static void add_allow(struct httpd_req *req)
{
    struct buf allow = {0};
    for (const struct httpd_route *r = req->h->conf.routes; r->method; r++) {
        if (!path_fits(r, httpd_path(req)) || strstr(buf_str(&allow), r->method))
            continue; /* no method's name is part of another's */
        buf_puts(&allow, allow.len ? ", " : "");
        buf_puts(&allow, r->method);
    }
    httpd_add_header(req, "Allow", buf_str(&allow));
    buf_release(&allow);
}

/* The path without its last slash; absolute where the client named a host. */
static void redirect(struct httpd_req *req)
{
    const char *path = httpd_path(req), *query = httpd_query(req);
    const struct httpmsg_span *host = &req->head.host;
    struct buf to = {0};
    if (host->len) {
        buf_puts(&to, "http://");
        buf_append(&to, req->msg.data + host->at, host->len);
    }
    buf_append(&to, path, strlen(path) - 1);
    if (*query) {
        buf_putc(&to, '?');
        buf_puts(&to, query);
    }
    httpd_add_header(req, "Location", buf_str(&to));
    buf_release(&to);
    httpd_reply(req, 307, NULL, NULL, 0);
}

static void refuse(struct httpd_req *req)
{
    if (req->refusal == 307) {
        redirect(req);
        return;
    }
    if (req->refusal == 405)
        add_allow(req);
    httpd_reply_detail(req, req->refusal, "%s", reason_of(req->refusal));
}

/* --- reading a request ------------------------------------------------------------------- */

/* The bytes of msg from at on belong to the next request. */
static void cut_surplus(struct httpd_req *req, size_t at)
{
    if (at >= req->msg.len)
        return;
    buf_append(&req->conn->in, req->msg.data + at, req->msg.len - at);
    req->msg.len = at;
    req->msg.data[at] = '\0';
}

static void req_dispatch(struct httpd_req *req)
{
    req->pending = true;
    conn_enter(req->conn, PENDING, 0);
    if (req->h->conf.before && req->h->conf.before(req, req->h->conf.ctx))
        return;
    if (req->refusal)
        refuse(req);
    else
        req->route->handler(req, req->h->conf.ctx);
}

/* True: the connection can go on with what it has. */
static bool plain_body(struct httpd_req *req)
{
    int64_t length = req->head.content_length > 0 ? req->head.content_length : 0;
    size_t need = req->head.len + (size_t)length;
    if (req->msg.len < need)
        return false;
    cut_surplus(req, need);
    req_dispatch(req);
    return true;
}

/* msg is body up to its end, but for what is raw from raw on: decoded, that becomes body too. */
static bool chunked_body(struct httpd_req *req, size_t raw)
{
    size_t used, out;
    enum httpmsg_rc rc =
        httpmsg_chunks_feed(&req->chunks, req->msg.data + raw, req->msg.len - raw, &used, &out);
    if (rc == HTTPMSG_BAD) {
        if (req->chunks.fault.status == 413)
            req_too_large(req);
        else
            req_fail(req, req->chunks.fault.status, req->chunks.fault.text);
        return true;
    }
    if (!make_room(req, raw + out - req->head.len)) {
        req_no_room(req);
        return true;
    }
    if (rc == HTTPMSG_DONE)
        cut_surplus(req, raw + used);
    req->msg.len = raw + out;
    req->msg.data[req->msg.len] = '\0';
    if (rc == HTTPMSG_DONE)
        req_dispatch(req);
    return rc == HTTPMSG_DONE;
}

/* The head is complete: decide what need not wait for the body. */
static bool head_done(struct httpd_req *req)
{
    const struct httpmsg_head *head = &req->head;
    struct conn *c = req->conn;
    bool has_body = head->chunked || head->content_length > 0;

    req_seal(req);
    find_route(req);
    if (!has_body)
        return plain_body(req);
    if (head->content_length > 0 && (uint64_t)head->content_length > body_limit(req)) {
        req_too_large(req);
        return true;
    }
    if (head->content_length > 0 && !make_room(req, (size_t)head->content_length)) {
        req_no_room(req);
        return true;
    }
    if (head->expect_continue && req->refusal) {
        c->last = true; /* the body may come or not: nothing after it could be framed */
        req_dispatch(req);
        return true;
    }
    if (head->expect_continue && req->msg.len == head->len)
        buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    conn_enter(c, BODY, clock_mono_us());
    httpmsg_chunks_init(&req->chunks, body_limit(req));
    return head->chunked ? chunked_body(req, head->len) : plain_body(req);
}

static bool read_head(struct httpd_req *req)
{
    switch (httpmsg_head_feed(&req->head, req->msg.data, req->msg.len)) {
    case HTTPMSG_MORE: return false;
    case HTTPMSG_BAD: req_fail(req, req->head.fault.status, req->head.fault.text); return true;
    case HTTPMSG_DONE: break;
    }
    return head_done(req);
}

/* Starts on the bytes that wait, if nothing speaks against it. */
static bool next_request(struct conn *c)
{
    if (c->out.len > BATCH_MAX)
        flush(c);
    if (c->broken || c->last || !c->in.len || c->out.len > BATCH_MAX)
        return false;
    int64_t now_us = clock_mono_us();
    c->req = req_new(c, now_us);
    c->req->msg = c->in;
    c->in = (struct buf){0};
    conn_enter(c, HEAD, now_us);
    return read_head(c->req);
}

/* Takes up what waits until it is used up or an answer is pending. */
static void conn_run(struct conn *c)
{
    c->busy = true;
    while (!c->req && next_request(c))
        ;
    c->busy = false;
    conn_settle(c);
}

static void run_more(void *ctx)
{
    conn_run(ctx);
}

/* Nothing more comes of it: the client is gone, or may not go on. Whoever has taken all so far learns
 * that we have ended it. */
static void stream_cut(struct conn *c)
{
    if (!c->out.len && c->req->stream.chunked) {
        buf_puts(&c->out, LAST_CHUNK);
        flush(c);
    }
    conn_free(c);
}

/* Who sends on and on behind a stream could not be read any more, and its end not be seen. */
static void stream_settle(struct conn *c, bool took)
{
    enum state s = c->out.len ? STALLED : STREAM;
    if (c->eof || c->h->draining || c->in.len >= AHEAD_MAX) {
        stream_cut(c);
        return;
    }
    if (c->state != s || took)
        conn_enter(c, s, clock_mono_us());
    watch_conn(c);
}

/* Sends what is to be sent, then decides what the connection waits for. May free it. */
static void conn_settle(struct conn *c)
{
    bool pending = c->req && c->req->pending;
    bool took = flush(c);
    if (c->broken) {
        conn_free(c);
        return;
    }
    if (is_streaming(c)) {
        stream_settle(c, took);
        return;
    }
    if (c->out.len && !c->req) {
        if (c->state != WRITE)
            conn_enter(c, WRITE, clock_mono_us());
    } else if (!c->req && (c->last || (c->h->draining && !c->in.len))) {
        conn_close(c);
        return;
    } else if (!c->req && c->in.len) {
        loop_defer(c->h->loop, &c->more, run_more, c);
    } else if (c->eof && !pending && !c->out.len) {
        conn_free(c);
        return;
    } else if (!c->req && c->state != IDLE) {
        conn_enter(c, IDLE, clock_mono_us());
    }
    watch_conn(c);
}

/* --- events ------------------------------------------------------------------------------ */

/* The message has grown from had bytes on. */
static bool read_on(struct httpd_req *req, size_t had)
{
    if (req->conn->state == HEAD)
        return read_head(req);
    return req->head.chunked ? chunked_body(req, had) : plain_body(req);
}

/* n bytes have come into scratch. */
static void conn_take(struct conn *c, size_t n)
{
    struct httpd_req *req = c->req;
    char *scratch = c->h->scratch;
    if (!req || req->pending) {
        buf_append(&c->in, scratch, n);
        if (!req)
            conn_run(c);
        else
            conn_settle(c); /* stops reading once enough is buffered behind the pending request */
        return;
    }
    size_t had = req->msg.len;
    buf_append(&req->msg, scratch, n);
    c->busy = true;
    bool on = read_on(req, had);
    c->busy = false;
    if (on)
        conn_run(c);
    else
        conn_settle(c);
}

static void linger_take(struct conn *c, size_t n)
{
    c->lingered += n;
    if (c->lingered > LINGER_BYTES)
        conn_free(c);
}

/* Reads once: what is left makes the next event, after everybody else's. May free c. */
static void conn_read(struct conn *c)
{
    size_t want = c->state == BODY || c->state == LINGER ? READ_BODY : READ_HEAD;
    ssize_t n = recv(c->fd, c->h->scratch, want, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n > 0) {
        if (c->state == LINGER)
            linger_take(c, (size_t)n);
        else
            conn_take(c, (size_t)n);
        return;
    }
    c->eof = true;
    c->broken = n < 0;
    if (c->broken || c->state == LINGER)
        conn_free(c);
    else
        conn_settle(c);
}

static void on_conn(int what, void *ctx)
{
    struct conn *c = ctx;
    if (what & WATCH_WRITE)
        conn_settle(c); /* what there is to read makes an event of its own */
    else
        conn_read(c);
}

static void expire(struct conn *c)
{
    if (c->state == HEAD)
        req_fail(c->req, 408, "the headers did not arrive in time");
    else if (c->state == BODY)
        req_fail(c->req, 408, "the body did not arrive in time");
    else
        conn_free(c);
}

static struct conn *first_waiting(struct httpd *h, enum state s)
{
    struct list_node *n = list_first(&h->waiting[s]);
    return n ? LIST_OF(n, struct conn, node) : NULL;
}

static void on_deadline(void *ctx)
{
    struct httpd *h = ctx;
    int64_t now_us = clock_mono_us(), next_us = 0;
    h->deadline_at_us = 0;
    for (enum state s = 0; s < N_STATES; s++) {
        struct conn *c;
        if (!has_deadline(s))
            continue;
        while ((c = first_waiting(h, s)) && c->deadline_us <= now_us)
            expire(c);
    }
    for (enum state s = 0; s < N_STATES; s++) {
        struct conn *c = has_deadline(s) ? first_waiting(h, s) : NULL;
        if (c && (!next_us || c->deadline_us < next_us))
            next_us = c->deadline_us;
    }
    if (next_us)
        arm_deadline(h, next_us, now_us);
}

/* --- accepting --------------------------------------------------------------------------- */

static void name_peer(char peer[INET6_ADDRSTRLEN], const struct sockaddr_storage *at)
{
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
    const struct in_addr *four = &((const struct sockaddr_in *)(const void *)at)->sin_addr;
    if (at->ss_family == AF_INET)
        inet_ntop(AF_INET, four, peer, INET6_ADDRSTRLEN);
    else if (at->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(six))
        inet_ntop(AF_INET, six->s6_addr + 12, peer, INET6_ADDRSTRLEN);
    else if (at->ss_family == AF_INET6)
        inet_ntop(AF_INET6, six, peer, INET6_ADDRSTRLEN);
    else
        snprintf(peer, INET6_ADDRSTRLEN, "unix");
}

static void conn_new(struct httpd *h, int fd, const struct sockaddr_storage *at)
{
    struct conn *c = mem_new(struct conn);
    c->h = h;
    c->fd = fd;
    name_peer(c->peer, at);
    h->n_conns++;
    conn_enter(c, IDLE, clock_mono_us());
    watch_start(h->loop, &c->watch, fd, WATCH_READ, on_conn, c);
}

static void accept_resume(void *ctx)
{
    listen_again(ctx);
}

/* Accepts some of those who wait; false when nobody is left, or nobody more can be taken. */
static bool accept_some(struct httpd *h)
{
    for (int i = 0; i < ACCEPT_MAX && h->n_conns < h->conf.max_connections; i++) {
        struct sockaddr_storage at = {0};
        socklen_t len = sizeof(at);
        int fd = accept4(h->listen_fd, (struct sockaddr *)&at, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            conn_new(h, fd, &at);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) { /* EMFILE, ENFILE, ENOMEM, ... would come */
            watch_set(&h->listen, 0);                  /* again with every turn of the loop */
            timer_start(&h->accept_pause, ACCEPT_PAUSE_MS);
        }
        return false;
    }
    if (h->n_conns < h->conf.max_connections)
        return true;
    watch_set(&h->listen, 0);
    return false;
}

static void on_listen(int what, void *ctx)
{
    (void)what;
    accept_some(ctx);
}

/* --- server: life ------------------------------------------------------------------------ */

struct httpd *httpd_new(struct loop *l, int listen_fd, const struct httpd_conf *conf)
{
    struct httpd *h = mem_new(struct httpd);
    h->loop = l;
    h->conf = *conf;
    h->listen_fd = listen_fd;
    for (enum state s = 0; s < N_STATES; s++)
        list_init(&h->waiting[s]);
    list_init(&h->requests);
    timer_init(l, &h->deadline, on_deadline, h);
    timer_init(l, &h->accept_pause, accept_resume, h);
    watch_start(l, &h->listen, listen_fd, WATCH_READ, on_listen, h);
    return h;
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    h->draining = true; /* nothing is accepted any more, and drained is cancelled below */
    watch_stop(&h->listen);
    for (enum state s = 0; s < N_STATES; s++)
        for (struct conn *c; (c = first_waiting(h, s));)
            conn_free(c);
    for (struct list_node *n; (n = list_first(&h->requests));)
        req_free(LIST_OF(n, struct httpd_req, node));
    timer_stop(&h->deadline);
    timer_stop(&h->accept_pause);
    loop_defer_cancel(h->loop, &h->sweep);
    loop_defer_cancel(h->loop, &h->drained);
    free(h);
}

static void run_drained(void *ctx)
{
    struct httpd *h = ctx;
    void (*done)(void *) = h->drain_done;
    h->drain_done = NULL; /* once */
    if (done)
        done(h->drain_ctx);
}

/* Requests whose client is gone are waited for as well: their handlers still hold them. */
static void check_drained(struct httpd *h)
{
    if (h->draining && h->drain_done && !h->n_conns && !h->requests.len)
        loop_defer(h->loop, &h->drained, run_drained, h);
}

static void sweep_streams(struct httpd *h)
{
    static const enum state states[] = {STREAM, STALLED};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        LIST_EACH(&h->waiting[states[i]], n)
    stream_cut(LIST_OF(n, struct conn, node));
}

/* Idle connections end, but for those whose next request is here already: closing these would
 * destroy it, so they are read and answered like any request under way. */
static void sweep_idle(void *ctx)
{
    struct httpd *h = ctx;
    LIST_EACH(&h->waiting[IDLE], n)
    {
        struct conn *c = LIST_OF(n, struct conn, node);
        char byte;
        if (!c->in.len && recv(c->fd, &byte, 1, MSG_PEEK) <= 0)
            conn_free(c);
    }
    sweep_streams(h);
    check_drained(h);
}

void httpd_drain(struct httpd *h, void (*done)(void *ctx), void *ctx)
{
    while (accept_some(h)) /* who is connected already is served */
        ;
    h->draining = true;
    h->drain_done = done;
    h->drain_ctx = ctx;
    timer_stop(&h->accept_pause);
    watch_set(&h->listen, 0);
    loop_defer(h->loop, &h->sweep, sweep_idle, h);
}

int httpd_connections(const struct httpd *h)
{
    return h->n_conns;
}

/* --- streams ----------------------------------------------------------------------------- */

static struct httpd_req *req_of(const struct httpd_stream *st)
{
    return (struct httpd_req *)(void *)((char *)st - offsetof(struct httpd_req, stream));
}

/* The kernel takes little more than the client does, so that what waits is known here, and no old news
 * wait there; and what nobody acknowledges counts as not taken: a machine that fell asleep is noticed as
 * soon as one that does not read. Where the socket knows no such limits (AF_UNIX), it has none. */
static void limit_kernel(const struct conn *c)
{
    const unsigned int silence_ms = (unsigned int)c->h->conf.write_timeout_ms, ahead = STREAM_AHEAD;
    setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &ahead, sizeof(ahead));
}

struct httpd_stream *httpd_stream_begin(
    struct httpd_req *req, const char *content_type, void (*closed)(void *ctx), void *ctx)
{
    struct httpd_stream *st = &req->stream;
    struct conn *c = req->conn;
    *st = (struct httpd_stream){
        .open = true, .chunked = req->head.minor > 0, .closed = closed, .ctx = ctx};
    tell_on_reply(req, 200);
    if (!c) {
        req_orphan(req);
        return st;
    }
    decide_end(c, req, !st->chunked);
    put_status(&c->out, req, 200, content_type);
    if (st->chunked)
        buf_puts(&c->out, "Transfer-Encoding: chunked\r\n");
    put_head_end(&c->out, req);
    limit_kernel(c);
    loop_defer(c->h->loop, &c->more, run_more, c);
    return st;
}

void httpd_stream_write(struct httpd_stream *st, const void *data, size_t len)
{
    struct conn *c = req_of(st)->conn;
    if (!c || !len) /* a chunk of no bytes would be the last one */
        return;
    if (st->chunked)
        buf_printf(&c->out, "%zx\r\n", len);
    buf_append(&c->out, data, len);
    if (st->chunked)
        buf_puts(&c->out, "\r\n");
    loop_defer(c->h->loop, &c->more, run_more, c);
}

size_t httpd_stream_unsent(const struct httpd_stream *st)
{
    const struct conn *c = req_of(st)->conn;
    return c ? c->out.len : 0;
}

void httpd_stream_end(struct httpd_stream *st)
{
    struct httpd_req *req = req_of(st);
    struct httpd *h = req->h;
    struct conn *c = req->conn;
    if (c && st->chunked)
        buf_puts(&c->out, LAST_CHUNK);
    if (c)
        c->req = NULL;
    req_free(req);
    if (!c)
        check_drained(h);
    else if (!c->busy)
        conn_settle(c);
}

/* --- what a handler sees ----------------------------------------------------------------- */

const char *httpd_method(const struct httpd_req *req)
{
    return req->msg.data + req->head.method.at;
}

const char *httpd_path(const struct httpd_req *req)
{
    return req->head.path.len ? req->msg.data + req->head.path.at : "/";
}

const char *httpd_query(const struct httpd_req *req)
{
    return req->head.query.len ? req->msg.data + req->head.query.at : "";
}

static struct joined *keep(struct httpd_req *req)
{
    struct joined *j = mem_new(struct joined);
    j->next = req->joined;
    req->joined = j;
    return j;
}

/* Once for each name, since a stream may ask again and again. */
static const char *join(
    struct httpd_req *req, const struct httpmsg_field *first, const char *name, int i)
{
    const char *data = req->msg.data;
    for (const struct joined *j = req->joined; j; j = j->next)
        if (j->first == first)
            return buf_str(&j->value);
    struct joined *made = keep(req);
    struct buf *value = &made->value;
    made->first = first;
    buf_puts(value, data + first->value.at);
    for (const struct httpmsg_field *f; (f = httpmsg_head_find(&req->head, data, name, &i));) {
        buf_puts(value, ", ");
        buf_puts(value, data + f->value.at);
    }
    return buf_str(value);
}

const char *httpd_header(const struct httpd_req *req, const char *name)
{
    const char *data = req->msg.data;
    int i = 0;
    const struct httpmsg_field *f = httpmsg_head_find(&req->head, data, name, &i);
    if (!f)
        return NULL;
    int next = i;
    if (!httpmsg_head_find(&req->head, data, name, &i))
        return data + f->value.at;
    return join((struct httpd_req *)req, f, name, next); /* const for the caller's eyes */
}

const char *httpd_param(struct httpd_req *req, const char *name)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD, for NUL too */
    size_t n = 0;
    const char *at = req->route ? match(req->route->path, httpd_path(req), name, &n) : NULL;
    if (!at)
        return NULL;
    char *raw = mem_strndup(at, n);
    struct buf *value = &keep(req)->value;
    n = url_decode(raw, false);
    for (const char *p = raw, *end = raw + n; p < end;) {
        size_t plain = strnlen(p, (size_t)(end - p));
        text_append_utf8(value, p, plain);
        p += plain;
        if (p < end) {
            buf_puts(value, replacement);
            p++;
        }
    }
    free(raw);
    return buf_str(value);
}

const char *httpd_header_at(const struct httpd_req *req, int i, const char **name, size_t *name_len)
{
    if (i >= req->head.n_fields)
        return NULL;
    const struct httpmsg_field *f = &req->head.fields[i];
    *name = req->msg.data + f->name.at;
    *name_len = f->name.len;
    return req->msg.data + f->value.at;
}

bool httpd_is_whole(const struct httpd_req *req)
{
    return req->pending;
}

const char *httpd_reason(int status)
{
    return reason_of(status);
}

const char *httpd_body(const struct httpd_req *req, size_t *len)
{
    *len = req->pending ? req->msg.len - req->head.len : 0;
    return req->msg.data + req->msg.len - *len;
}

const char *httpd_peer(const struct httpd_req *req)
{
    return req->peer;
}

int64_t httpd_started_us(const struct httpd_req *req)
{
    return req->started_us;
}

const char *httpd_route_path(const struct httpd_req *req)
{
    return req->route ? req->route->path : NULL;
}

const char *httpd_request_id(struct httpd_req *req)
{
    if (!req->id[0]) {
        struct uuid u = uuid_v4();
        uuid_format(&u, req->id);
    }
    return req->id;
}

void httpd_set_user(struct httpd_req *req, void *user)
{
    req->user = user;
}

void *httpd_user(const struct httpd_req *req)
{
    return req->user;
}

bool httpd_client_gone(const struct httpd_req *req)
{
    return !req->conn || req->conn->eof;
}

void httpd_add_header(struct httpd_req *req, const char *name, const char *value)
{
    if (!httpmsg_is_token(name, strlen(name)) || !httpmsg_is_value(value, strlen(value)))
        return;
    buf_puts(&req->extra, name);
    buf_puts(&req->extra, ": ");
    buf_puts(&req->extra, value);
    buf_puts(&req->extra, "\r\n");
}
