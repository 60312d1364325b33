/* http: HTTP client on the loop, libcurl multi underneath with its own resolver. No proxy from the
 * environment, http and https only, bounded answers, one total deadline per call. */
#ifndef HL_IO_HTTP_H
#define HL_IO_HTTP_H

#include "io/loop.h"

#include <stddef.h>
#include <stdint.h>

struct http;
struct http_call;

struct http *http_new(struct loop *l, const char *user_agent, struct hl_err *err);
void http_free(struct http *h); /* NULL ok; running calls are dropped without callback */

struct http_request {
    const char *method;         /* "GET" or "POST" */
    const char *url;            /* copied */
    const char *const *headers; /* "Name: value" lines, NULL-terminated, NULL ok; copied */
    const char *body;           /* copied; NULL = none */
    size_t body_len;
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* total, from http_start to the callback */
    size_t max_body;    /* bytes after decompression; more is HL_FATAL */
    int max_redirects;  /* 0 = redirects are not followed and returned as they are */
    bool deny_private;  /* refuse loopback, private, link-local, ... addresses, checked on the
                             address actually connected to, after each redirect too */
};

/* rc HL_OK: an answer came, whatever its status. HL_RETRY: transport trouble (look-up, connect,
 * timeout, broken answer). HL_FATAL: will not work next time either (unusable URL, address denied,
 * too large, too many redirects). All pointers are borrowed, valid during the callback. */
struct http_response {
    enum hl_rc rc;
    const struct hl_err *err; /* NULL when HL_OK; msg: "short reason" or "short reason: detail" */
    long status;
    const char *body; /* NUL-terminated after body_len bytes */
    size_t body_len;
    const char *content_type;  /* "" when absent */
    const char *effective_url; /* after redirects */
    int64_t retry_after_ms; /* Retry-After in either form (RFC 9110 section 10.2.3); -1 = absent */
    bool sent;              /* the request went out, whatever came of it; false: no connection */
    bool denied;            /* refused by deny_private */
    bool too_large;
};
typedef void http_cb(const struct http_response *res, void *ctx);

struct http_call *http_start(
    struct http *h, const struct http_request *req, http_cb *cb, void *ctx);
void http_cancel(struct http_call *c); /* NULL ok; cb will not run; no-op inside its own cb */

/* True for an address that deny_private refuses (loopback, unspecified, RFC 1918, 100.64/10,
 * link-local, unique-local, multicast, reserved, documentation, IPv4 mapped or embedded in IPv6).
 */
struct sockaddr;
bool http_address_is_private(const struct sockaddr *sa);

#endif
