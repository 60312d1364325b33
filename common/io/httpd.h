/* httpd: HTTP/1.1 server on the loop; Hookline's front door.
 * A strict reader (RFC 9112): Content-Length or exactly "chunked", CRLF only, refuses everything
 * ambiguous. Routes, limits, whole-request deadlines, deferred answers, keep-alive, pipelining in
 * order, Expect: 100-continue, HTTP/1.0, clean drain. No TLS (a proxy's job).
 * One descriptor registration per connection. */
#ifndef HL_IO_HTTPD_H
#define HL_IO_HTTPD_H

#include "io/loop.h"

#include <stddef.h>
#include <stdint.h>

struct httpd;
struct httpd_req;

/* The handler answers now or later, exactly once, with httpd_reply; the request lives until then,
 * even when the client has gone. */
typedef void httpd_handler(struct httpd_req *req, void *ctx);

enum { HTTPD_ANY_SLASH = 1 }; /* route flag: one trailing slash more is the same route */

struct httpd_route {
    const char *method; /* "GET", "POST", "DELETE" */
    const char *path;   /* exact, but that "{name}" stands for one segment that is not empty
                           (httpd_param); percent-decoding is not applied before matching */
    httpd_handler *handler;
    size_t max_body; /* 0 = the server's default */
    int flags;
};

struct httpd_conf {
    const struct httpd_route *routes; /* borrowed for the server's life; ends with method == NULL */
    void *ctx;                        /* given to every handler and hook */
    size_t max_header;                /* request line and headers, bytes; above: 431 */
    size_t max_body;                  /* default body limit; above: 413 */
    size_t
        max_buffered; /* bytes of all bodies in memory; a body over 64 KiB beyond it: 503; 0 = any */
    int max_connections;       /* further ones wait in the kernel's queue */
    int64_t header_timeout_ms; /* first byte of a request to the end of its headers; 408 */
    int64_t body_timeout_ms;   /* end of headers to end of body; 408 */
    int64_t idle_timeout_ms;   /* keep-alive without a request; closed silently */
    int64_t write_timeout_ms;  /* an answer the client does not take; closed */
    /* Called for every request that was read to its end, before its handler or the answer that no
     * route gives: may add headers; true = it has answered. NULL ok. */
    bool (*before)(struct httpd_req *req, void *ctx);
    /* Called for every answer that follows a readable request line, before it is written:
     * may add headers (httpd_add_header) and record. NULL ok. */
    void (*on_reply)(struct httpd_req *req, int status, void *ctx);
};

/* listen_fd: a bound, listening, non-blocking socket, borrowed: several processes may share it. */
struct httpd *httpd_new(struct loop *l, int listen_fd, const struct httpd_conf *conf);
void httpd_free(struct httpd *h); /* NULL ok; closes every connection; unanswered requests must have
                                     been answered (httpd_drain) or are freed here */
/* Accepts who has connected so far, then no more (the socket may be closed from here on); closes
 * idle connections, answers what is under way with Connection: close. done runs from the loop once
 * no connection and no unanswered request is left. */
void httpd_drain(struct httpd *h, void (*done)(void *ctx), void *ctx);
int httpd_connections(const struct httpd *h);

/* Request; all strings are borrowed until httpd_reply. */
const char *httpd_method(const struct httpd_req *req);
const char *httpd_path(const struct httpd_req *req);  /* as sent, without query */
const char *httpd_query(const struct httpd_req *req); /* after '?', as sent; "" when none */
const char *httpd_header(const struct httpd_req *req, const char *name); /* any case; NULL = absent;
                                        a repeated header is joined with ", " (RFC 9110 5.3) */
/* A path segment that its route calls {name}, percent-decoded, as UTF-8 (what is none is replaced);
 * NULL when the route has no such. Borrowed until httpd_reply. */
const char *httpd_param(struct httpd_req *req, const char *name);
/* The pattern of the route that was found; NULL = none. */
const char *httpd_route_path(const struct httpd_req *req);
/* A UUID of version 4 that names this request in headers, rows and logs; made when first asked for. */
const char *httpd_request_id(struct httpd_req *req);
/* The value of header number i from 0 as it was sent, and its name (not NUL-terminated); NULL behind
 * the last. */
const char *httpd_header_at(
    const struct httpd_req *req, int i, const char **name, size_t *name_len);
/* False in on_reply: httpd has refused the request before it was read to its end. */
bool httpd_is_whole(const struct httpd_req *req);
const char *httpd_reason(int status);                             /* "Not Found"; static */
const char *httpd_body(const struct httpd_req *req, size_t *len); /* NUL-terminated after len */
const char *httpd_peer(const struct httpd_req *req);              /* numeric address, no port */
int64_t httpd_started_us(const struct httpd_req *req); /* clock_mono_us() at the first byte */
/* A place for the owner of the program, NULL at first. */
void httpd_set_user(struct httpd_req *req, void *user);
void *httpd_user(const struct httpd_req *req);

/* Before the reply. value is copied. Values with CR, LF or NUL are refused (the header is left
 * out). */
void httpd_add_header(struct httpd_req *req, const char *name, const char *value);
/* In on_reply: the answer is the last of its connection, and says so. */
void httpd_last(struct httpd_req *req);
/* Answers; body is copied; the request is gone afterwards. content_type NULL: none is sent. */
void httpd_reply(
    struct httpd_req *req, int status, const char *content_type, const void *body, size_t len);
/* {"detail":"<text>"}, application/json, the text escaped as JSON. */
void httpd_reply_detail(struct httpd_req *req, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The client broke or closed the connection, or its sending half: the answer will probably go
 * nowhere. It is still tried. */
bool httpd_client_gone(const struct httpd_req *req);

/* --- answers without an end (server-sent events) ------------------------------------------- */

/* Begins the answer: 200, these headers and what httpd_add_header added, no length (chunked for
 * HTTP/1.1, until the end of the connection for 1.0). on_reply runs now. The request, and with it the
 * stream, lives until httpd_stream_end, or until `closed`, which runs once, from the loop, never inside
 * a call of these, when the stream is over by itself:
 * - the client closed the connection or its sending half, or broke it, written to or not;
 * - it took nothing for write_timeout_ms while bytes waited (a machine that does not answer counts);
 * - it sent more behind the request than httpd keeps (16 KiB; further requests up to there wait);
 * - the server drains: who has taken everything is told the end as by httpd_stream_end.
 * Until closed runs the other calls are harmless; when it returns the request is gone. httpd_free drops
 * streams without it. No other deadline ends a stream. */
struct httpd_stream; /* the request, as a stream */
struct httpd_stream *httpd_stream_begin(
    struct httpd_req *req, const char *content_type, void (*closed)(void *ctx), void *ctx);
/* Copied, and sent at the end of this turn of the loop; 0 bytes: nothing happens. */
void httpd_stream_write(struct httpd_stream *st, const void *data, size_t len);
/* Bytes that the client's kernel and ours have not taken: who writes more only when there are few holds
 * a bounded number in memory. */
size_t httpd_stream_unsent(const struct httpd_stream *st);
void httpd_stream_end(struct httpd_stream *st); /* the answer is complete; closed will not run */

/* Answers made by httpd itself, JSON like the contract's section 1.1: 400 {"detail":"Bad Request:
 * <fault>"}, 404 {"detail":"Not Found"}, 405 {"detail":"Method Not Allowed"} with Allow, 408, 413,
 * 414, 417, 431, 501, 505; 307 with an absolute Location for one extra trailing slash on a GET
 * route that lacks HTTPD_ANY_SLASH. */

/* Creates the listening socket. address: numeric IPv4/IPv6 or a host name; port 0 = any free one.
 * Uses an inherited socket when the process was given one (LISTEN_PID, LISTEN_FDS=1: the
 * systemd socket activation protocol, sd_listen_fds(3)). -1 and err on failure: names address, port
 * and remedy. *bound_port is filled. */
int httpd_listen(const char *address, int port, int backlog, int *bound_port, struct hl_err *err);

#endif
