/* bench_http: an HTTP/1.1 client for load: plain http to one address, connections that stay (or are new
 * for each request), one request at a time on each, answers with a Content-Length. io/http.h can do more and costs ten times as
 * much. */
#ifndef HL_WORKER_CTL_BENCH_HTTP_H
#define HL_WORKER_CTL_BENCH_HTTP_H

#include "io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum bench_end {
    BENCH_ANSWERED,
    BENCH_NO_CONNECTION,
    BENCH_CLOSED,     /* by the other side, before its answer was whole */
    BENCH_TIMEOUT,    /* no whole answer in time */
    BENCH_UNREADABLE, /* no HTTP, or of a form that this client does not read */
    BENCH_ENDS
};

struct bench_answer { /* borrowed */
    int status;
    bool duplicate; /* Hookline-Duplicate */
    const char *body;
    size_t len;
};
/* tag: as given. us: since it was sent. answer: NULL unless BENCH_ANSWERED. */
typedef void bench_done(
    int64_t tag, enum bench_end end, const struct bench_answer *answer, int64_t us, void *ctx);

struct bench_target {
    struct sockaddr_storage address;
    socklen_t len;
    bool fresh; /* each request has a connection of its own */
};

struct bench_http;
/* Connects all of them, of a fresh target one; NULL, err filled, when one cannot be had within the
 * timeout. */
struct bench_http *bench_http_new(struct loop *l, const struct bench_target *to, int connections,
    int64_t timeout_ms, bench_done *done, void *ctx, struct hl_err *err);
void bench_http_free(struct bench_http *h); /* NULL ok; done runs for none */
/* The bytes of a whole request, copied. False: every connection is busy. */
bool bench_http_send(struct bench_http *h, const void *request, size_t len, int64_t tag);
int bench_http_busy(const struct bench_http *h);
/* To be called now and then: ends what waits beyond the timeout. */
void bench_http_sweep(struct bench_http *h);

#endif
