/* httpmsg: a strict, pure reader of HTTP/1.x requests (RFC 9112): head and chunked body. No
 * sockets, no allocation, no clock. Whatever two readers could understand differently is refused:
 * bare LF or CR, obs-fold, blanks before the colon, framing fields that are repeated, contradictory
 * or not written plainly. How the bytes are cut into pieces never changes the outcome. */
#ifndef HL_IO_HTTPMSG_H
#define HL_IO_HTTPMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum httpmsg_rc {
    HTTPMSG_MORE, /* all given bytes were fine, further ones are needed */
    HTTPMSG_DONE,
    HTTPMSG_BAD, /* fault says which answer the client deserves */
};

enum { HTTPMSG_MAX_FIELDS = 100 };

struct httpmsg_fault {
    int status;       /* 400, 413, 414, 417, 431, 501, 505; 0 = none */
    const char *text; /* static; names the fault, never quotes the client */
};

struct httpmsg_span { /* offset into the data given to httpmsg_head_feed */
    uint32_t at, len;
};

struct httpmsg_field {
    struct httpmsg_span name, value; /* value without surrounding white space */
};

struct httpmsg_head {
    bool has_line; /* the request line was readable: method, path, query, minor are set */
    struct httpmsg_span method;
    struct httpmsg_span path;  /* len 0 = "/" (absolute form without a path) */
    struct httpmsg_span query; /* after '?'; len 0 = none */
    struct httpmsg_span host;  /* authority of the target or else Host; len 0 = none */
    int minor;                 /* HTTP/1.minor */
    bool chunked;
    int64_t content_length; /* -1 = not given */
    bool expect_continue;
    bool keep_alive; /* what the client wishes, by version and Connection */
    size_t len;      /* bytes of the whole head with its blank line; 0 until DONE */
    struct httpmsg_fault fault;
    /* private */
    size_t limit, line_at, scanned;
    bool has_host, host_in_target, has_te, te_other, expect_other, says_close, says_keep;
    int n_fields;
    struct httpmsg_field fields[HTTPMSG_MAX_FIELDS];
};

/* limit: bytes of request line and fields; a longer head is 431, a longer request line 414. */
void httpmsg_head_init(struct httpmsg_head *h, size_t limit);
/* data: everything since the first byte of this request, not only what is new; it may have moved.
 * DONE: h->len bytes are the head, the body follows. */
enum httpmsg_rc httpmsg_head_feed(struct httpmsg_head *h, const char *data, size_t len);
/* Next field called name (any case) from index *i on; raises *i. NULL = no more. */
const struct httpmsg_field *httpmsg_head_find(
    const struct httpmsg_head *h, const char *data, const char *name, int *i);

/* Decoder of one chunked body. Extensions and trailers are checked, bounded and dropped. */
struct httpmsg_chunks {
    struct httpmsg_fault fault;
    /* private */
    int state;
    int digits;
    uint64_t left;  /* bytes of this chunk still to come */
    uint64_t room;  /* bytes the body may still grow by */
    size_t trimmed; /* bytes of extensions and trailers so far */
};

void httpmsg_chunks_init(struct httpmsg_chunks *d, size_t max_body); /* larger: 413 */
/* Decodes in place: afterwards data starts with *out body bytes. *used of the given bytes belong to
 * this body: all of them unless DONE. */
enum httpmsg_rc httpmsg_chunks_feed(
    struct httpmsg_chunks *d, char *data, size_t len, size_t *used, size_t *out);

bool httpmsg_is_token(const char *s, size_t len); /* RFC 9110 section 5.6.2 */
bool httpmsg_is_value(const char *s, size_t len); /* a field value without control characters */

#endif
