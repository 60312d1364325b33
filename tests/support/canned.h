/* canned: a web server of the test's own. It reads requests and sends exactly the bytes the test's
 * function sends; nothing is polite on its own. One thread accepts, one more per connection. */
#ifndef HL_TESTS_CANNED_H
#define HL_TESTS_CANNED_H

#include <stdbool.h>
#include <stddef.h>

struct canned;

struct canned_request {
    int fd;           /* answer here */
    int connection;   /* 1 for the first connection accepted, ... */
    int nth;          /* 1 for the first request of its connection, ... */
    const char *text; /* head and body (Content-Length only), NUL-terminated */
    void *ctx;
};

/* Runs in a thread of the connection. False closes the connection; true reads the next request. */
typedef bool canned_fn(const struct canned_request *r);

/* address: numeric IPv4; a free port is chosen. Aborts when it cannot listen. */
struct canned *canned_start(const char *address, canned_fn *fn, void *ctx);
int canned_port(const struct canned *c);
int canned_connections(struct canned *c); /* accepted so far */
int canned_requests(struct canned *c);    /* read so far */
void canned_stop(struct canned *c);       /* closes everything and waits for the threads */

bool canned_path_is(const struct canned_request *r, const char *path); /* query included */
/* Errors are ignored: clients may go away at any time. */
void canned_send(const struct canned_request *r, const void *data, size_t len);
void canned_printf(const struct canned_request *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A whole answer, kept alive: status, header lines ("Name: value\r\n" each, "" = none), body. */
void canned_answer(
    const struct canned_request *r, int status, const char *headers, const char *body);

#endif
