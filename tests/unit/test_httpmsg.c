/* httpmsg: what is accepted, what is refused and how, whatever the pieces the bytes come in. */
#include "io/httpmsg.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 4096 };

/* Feeds the bytes in pieces of a size, in exact allocations so that sanitizers see overruns. */
static enum httpmsg_rc feed(struct httpmsg_head *h, const char *text, size_t len, size_t piece)
{
    enum httpmsg_rc rc = HTTPMSG_MORE;
    for (size_t have = 0; have < len && rc == HTTPMSG_MORE;) {
        have = have + piece < len ? have + piece : len;
        char *copy = malloc(have);
        memcpy(copy, text, have);
        rc = httpmsg_head_feed(h, copy, have);
        free(copy);
    }
    return rc;
}

struct row {
    const char *text;
    size_t len; /* 0 = strlen */
    int status; /* 0 = accepted */
};
#define R(s, st)                                                                                   \
    {                                                                                              \
        .text = s, .len = sizeof(s) - 1, .status = st                                              \
    }
#define GET  "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: a\r\n"

static const struct row rows[] = {
    R(GET HOST "\r\n", 0),
    R("\r\n" GET HOST "\r\n", 0),
    R("\r\n\r\n" GET HOST "\r\n", 400),
    R("GET / HTTP/1.0\r\n\r\n", 0),
    R("GET / HTTP/1.0\n\n", 400),
    R("GET /a?b=c&d[]={e}|f HTTP/1.1\r\nHost: a.example:80\r\n\r\n", 0),
    R("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0),
    R("GET / HTTP/1.1\r\nHost:\r\n\r\n", 0),
    R("GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    R("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    R("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    R("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    R(POST "Content-Length: 49\r\n\r\n", 0),
    R(POST "Content-Length:49\r\n\r\n", 0),
    R(POST "content-LENGTH: 0\r\n\r\n", 0),
    R(POST "Transfer-Encoding: chunked\r\n\r\n", 0),
    R(POST "transfer-encoding: CHUNKED\r\n\r\n", 0),
    R(POST "Expect: 100-Continue\r\n\r\n", 0),
    R(POST "X-Any: \t caf\xc3\xa9 \t\r\n\r\n", 0),
    R(POST "X-Empty:\r\n\r\n", 0),

    /* line ends, folding, control characters */
    R("GET / HTTP/1.1\nHost: a\n\n", 400),
    R(GET "Host: a\nX: b\r\n\r\n", 400),
    R(GET HOST "\n", 400),
    R(GET "Host: a\rX: b\r\n\r\n", 400),
    R(GET HOST "X: a\r\r\n\r\n", 400),
    R("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    R(GET HOST "X: a\r\n b\r\n\r\n", 400),
    R(GET HOST "X: a\r\n\tb\r\n\r\n", 400),
    R(GET " Host: a\r\n\r\n", 400),
    R(GET HOST "X: a\0b\r\n\r\n", 400),
    R(GET HOST "X\0: b\r\n\r\n", 400),
    R(GET HOST "X: a\x7f\r\n\r\n", 400),
    R("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),

    /* names */
    R(GET "Host : a\r\n\r\n", 400),
    R(GET HOST "X : b\r\n\r\n", 400),
    R(GET HOST ": b\r\n\r\n", 400),
    R(GET HOST "no colon\r\n\r\n", 400),
    R(GET HOST "X(y): b\r\n\r\n", 400),

    /* request line */
    R("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    R("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET\r\n\r\n", 400),
    R("GET /\r\n\r\n", 400),
    R("GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET http://u@b/c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    R("PRI * HTTP/2.0\r\n\r\n", 505),
    R("GET / HTTP/0.9\r\n\r\n", 505),
    R("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    R("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    R("GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    R("GET / HTTP/+1.1\r\nHost: a\r\n\r\n", 400),
    R("\x16\x03\x01", 400),

    /* Host */
    R(GET "\r\n", 400),
    R("GET http://b/ HTTP/1.1\r\n\r\n", 400),
    R(GET HOST HOST "\r\n", 400),
    R(GET "Host: a b\r\n\r\n", 400),
    R(GET "Host: a/b\r\n\r\n", 400),
    R(GET "Host: u@a\r\n\r\n", 400),

    /* framing */
    R(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
    R(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    R(POST "Content-Length: 5, 5\r\n\r\n", 400),
    R(POST "Content-Length: +49\r\n\r\n", 400),
    R(POST "Content-Length: -1\r\n\r\n", 400),
    R(POST "Content-Length:  49 \r\n\r\n", 400),
    R(POST "Content-Length:\t49\r\n\r\n", 400),
    R(POST "Content-Length: 4 9\r\n\r\n", 400),
    R(POST "Content-Length: 0x10\r\n\r\n", 400),
    R(POST "Content-Length: 1e3\r\n\r\n", 400),
    R(POST "Content-Length:\r\n\r\n", 400),
    R(POST "Content-Length: 9999999999999999999\r\n\r\n", 400),
    R(POST "Content-Length: 18446744073709551616\r\n\r\n", 400),
    R(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    R(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
    R(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    R(POST "Transfer-Encoding: xchunked\r\n\r\n", 501),
    R(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    R(POST "Transfer-Encoding: chunked, identity\r\n\r\n", 501),
    R(POST "Transfer-Encoding: \tchunked\r\n\r\n", 501),
    R(POST "Transfer-Encoding: chunked \r\n\r\n", 501),
    R(POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 501),
    R(POST "Transfer-Encoding:\r\n\r\n", 501),
    R(POST "Transfer-Encoding\t: chunked\r\n\r\n", 400),
    R("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    R(POST "Expect: 200-ok\r\n\r\n", 417),
    R("POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", 0),
};

Test(httpmsg, heads_are_accepted_or_refused_alike_in_pieces_of_any_size)
{
    static const size_t pieces[] = {100000, 1, 2, 3, 7};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        const char *first_fault = NULL;
        for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
            struct httpmsg_head h;
            httpmsg_head_init(&h, LIMIT);
            enum httpmsg_rc rc = feed(&h, r->text, r->len, pieces[p]);
            cr_expect(rc == (r->status ? HTTPMSG_BAD : HTTPMSG_DONE),
                "row %zu piece %zu: rc %d\n%s", i, pieces[p], rc, r->text);
            cr_expect(h.fault.status == r->status, "row %zu piece %zu: %d (%s) instead of %d\n%s",
                i, pieces[p], h.fault.status, h.fault.text, r->status, r->text);
            if (!r->status)
                cr_expect(h.len == r->len);
            if (p == 0)
                first_fault = h.fault.text;
            cr_expect(h.fault.text == first_fault, "row %zu: the fault depends on the pieces", i);
        }
    }
}

static bool is(const char *data, struct httpmsg_span s, const char *want)
{
    return strlen(want) == s.len && memcmp(data + s.at, want, s.len) == 0;
}

Test(httpmsg, parts_of_a_head_are_found)
{
    static const char text[] =
        "\r\nPOST /a/b?c=d?e HTTP/1.1\r\nHost: h:1\r\nX-A:  one \r\nx-a: two\r\n"
        "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabcGET";
    struct httpmsg_head h;
    int i = 0;
    httpmsg_head_init(&h, LIMIT);
    cr_assert(httpmsg_head_feed(&h, text, sizeof(text) - 1) == HTTPMSG_DONE);
    cr_expect(is(text, h.method, "POST"));
    cr_expect(is(text, h.path, "/a/b"));
    cr_expect(is(text, h.query, "c=d?e"));
    cr_expect(is(text, h.host, "h:1"));
    cr_expect(h.minor == 1 && h.content_length == 3 && h.expect_continue && !h.chunked);
    cr_expect(memcmp(text + h.len, "abcGET", 6) == 0);
    const struct httpmsg_field *f = httpmsg_head_find(&h, text, "X-a", &i);
    cr_assert(f && is(text, f->value, "one"));
    f = httpmsg_head_find(&h, text, "X-a", &i);
    cr_assert(f && is(text, f->value, "two"));
    cr_expect(!httpmsg_head_find(&h, text, "X-a", &i));
}

Test(httpmsg, the_host_of_an_absolute_target_wins)
{
    static const char text[] = "GET http://b:2?q HTTP/1.1\r\nHost: a\r\n\r\n";
    struct httpmsg_head h;
    httpmsg_head_init(&h, LIMIT);
    cr_assert(httpmsg_head_feed(&h, text, sizeof(text) - 1) == HTTPMSG_DONE);
    cr_expect(is(text, h.host, "b:2"));
    cr_expect(h.path.len == 0);
    cr_expect(is(text, h.query, "q"));
}

Test(httpmsg, keep_alive_follows_version_and_connection)
{
    static const struct {
        const char *line;
        const char *connection;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1", "X: y",                                true },
        {"GET / HTTP/1.1", "Connection: close",                   false},
        {"GET / HTTP/1.1", "Connection: TE , Close",              false},
        {"GET / HTTP/1.1", "Connection: te\r\nConnection: close", false},
        {"GET / HTTP/1.1", "Connection: closed",                  true },
        {"GET / HTTP/1.0", "X: y",                                false},
        {"GET / HTTP/1.0", "Connection: Keep-Alive",              true },
        {"GET / HTTP/1.0", "Connection: keep-alive, close",       false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct httpmsg_head h;
        char text[200];
        int n = snprintf(
            text, sizeof(text), "%s\r\nHost: a\r\n%s\r\n\r\n", cases[i].line, cases[i].connection);
        httpmsg_head_init(&h, LIMIT);
        cr_assert(httpmsg_head_feed(&h, text, (size_t)n) == HTTPMSG_DONE);
        cr_expect(h.keep_alive == cases[i].keep, "%s", cases[i].connection);
    }
}

Test(httpmsg, heads_above_the_limit_are_refused_even_unfinished)
{
    static char text[2 * LIMIT];
    for (size_t piece = 1; piece <= sizeof(text); piece += sizeof(text) - 1) {
        struct httpmsg_head h;
        memset(text, 'a', sizeof(text));
        memcpy(text, "GET /", 5);
        httpmsg_head_init(&h, LIMIT);
        cr_expect(feed(&h, text, sizeof(text), piece) == HTTPMSG_BAD);
        cr_expect(h.fault.status == 414);
        memcpy(text, GET HOST "X: ", strlen(GET HOST "X: "));
        httpmsg_head_init(&h, LIMIT);
        cr_expect(feed(&h, text, sizeof(text), piece) == HTTPMSG_BAD);
        cr_expect(h.fault.status == 431);
        cr_expect(h.has_line);
    }
}

Test(httpmsg, a_head_of_exactly_the_limit_is_taken)
{
    struct httpmsg_head h;
    const char *text = GET HOST "\r\n";
    httpmsg_head_init(&h, strlen(text));
    cr_expect(feed(&h, text, strlen(text), 1) == HTTPMSG_DONE);
    httpmsg_head_init(&h, strlen(text) - 1);
    cr_expect(feed(&h, text, strlen(text), 1) == HTTPMSG_BAD);
    cr_expect(h.fault.status == 431);
}

Test(httpmsg, a_hundred_headers_are_taken_and_one_more_is_refused)
{
    for (int n = 99; n <= 100; n++) { /* and Host */
        struct httpmsg_head h;
        char text[LIMIT] = GET HOST;
        for (int i = 0; i < n; i++)
            strcat(text, "X: y\r\n");
        strcat(text, "\r\n");
        httpmsg_head_init(&h, LIMIT);
        enum httpmsg_rc rc = httpmsg_head_feed(&h, text, strlen(text));
        cr_expect(rc == (n == 99 ? HTTPMSG_DONE : HTTPMSG_BAD));
        cr_expect(h.fault.status == (n == 99 ? 0 : 431));
    }
}

/* --- chunked ----------------------------------------------------------------------------- */

struct decoded {
    enum httpmsg_rc rc;
    int status;
    size_t used, len;
    char body[8192];
};

static void decode(struct decoded *d, const char *text, size_t len, size_t piece, size_t limit)
{
    struct httpmsg_chunks c;
    httpmsg_chunks_init(&c, limit);
    *d = (struct decoded){.rc = HTTPMSG_MORE};
    for (size_t at = 0; at < len && d->rc == HTTPMSG_MORE;) {
        size_t n = len - at < piece ? len - at : piece, used, out;
        char *copy = malloc(n);
        memcpy(copy, text + at, n);
        d->rc = httpmsg_chunks_feed(&c, copy, n, &used, &out);
        memcpy(d->body + d->len, copy, out);
        d->len += out;
        at += used;
        d->used = at;
        free(copy);
    }
    d->status = c.fault.status;
}

#define C(t, b, st)                                                                                \
    {                                                                                              \
        .text = t, .len = sizeof(t) - 1, .body = b, .status = st                                   \
    }
static const struct {
    const char *text;
    size_t len;
    const char *body; /* NULL = refused with status; text after "0\r\n\r\n" is "NEXT" */
    int status;
} chunked[] = {
    C("0\r\n\r\n", "", 0),
    C("3\r\nabc\r\n0\r\n\r\n", "abc", 0),
    C("3\r\nabc\r\n00000002\r\nde\r\n0\r\n\r\nNEXT", "abcde", 0),
    C("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0),
    C("3;x=y;z=\"q\"\r\nabc\r\n0;last\r\n\r\n", "abc", 0),
    C("3\r\na\r\n\r\n0\r\n\r\n", "a\r\n", 0),
    C("1\r\na\r\n0\r\nX-T: v\r\nY:\r\n\r\nNEXT", "a", 0),
    C("\r\n", NULL, 400),
    C(";x\r\n", NULL, 400),
    C("g\r\n", NULL, 400),
    C("0x3\r\nabc\r\n", NULL, 400),
    C("+3\r\nabc\r\n", NULL, 400),
    C("-1\r\n", NULL, 400),
    C(" 3\r\nabc\r\n", NULL, 400),
    C("3 \r\nabc\r\n", NULL, 400),
    C("3\nabc\r\n", NULL, 400),
    C("3\r\r\nabc", NULL, 400),
    C("000000003\r\nabc\r\n", NULL, 400),
    C("ffffffffffffffff3\r\n", NULL, 400),
    C("3;x\nabc", NULL, 400),
    C("3;\0\r\nabc", NULL, 400),
    C("3\r\nabcd\r\n", NULL, 400),
    C("3\r\nabc\n0\r\n", NULL, 400),
    C("3\r\nabc\r0\r\n", NULL, 400),
    C("0\r\n\n", NULL, 400),
    C("0\r\nX: y\n\r\n", NULL, 400),
    C("0\r\n X: y\r\n\r\n", NULL, 400),
    C("0\r\nX : y\r\n\r\n", NULL, 400),
    C("0\r\nno colon\r\n\r\n", NULL, 400),
    C("0\r\nabc\r\n\r\n", NULL, 400),
    C("0\r\n: y\r\n\r\n", NULL, 400),
    C("0\r\nX: \0\r\n\r\n", NULL, 400),
    C("0\r\n\rX", NULL, 400),
    C("41\r\n", NULL, 413),
    C("ffffffff\r\n", NULL, 413),
    C("40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n1\r\n", NULL, 413),
};

Test(httpmsg, chunked_bodies_decode_alike_in_pieces_of_any_size)
{
    struct decoded *d = malloc(sizeof(*d));
    for (size_t i = 0; i < sizeof(chunked) / sizeof(chunked[0]); i++) {
        const char *next = strstr(chunked[i].text, "NEXT");
        size_t whole = next ? (size_t)(next - chunked[i].text) : chunked[i].len;
        for (size_t piece = 1; piece <= 64; piece++) {
            decode(d, chunked[i].text, chunked[i].len, piece, 64);
            cr_expect(d->status == chunked[i].status, "row %zu piece %zu: %d\n%s", i, piece,
                d->status, chunked[i].text);
            cr_expect(d->rc == (chunked[i].body ? HTTPMSG_DONE : HTTPMSG_BAD), "row %zu: %d\n%s", i,
                d->rc, chunked[i].text);
            if (!chunked[i].body)
                continue;
            cr_expect(d->used == whole);
            cr_expect(d->len == strlen(chunked[i].body));
            cr_expect(memcmp(d->body, chunked[i].body, d->len) == 0, "row %zu: %s", i, d->body);
        }
    }
    free(d);
}

Test(httpmsg, extensions_and_trailers_are_bounded_over_the_whole_body)
{
    static char text[40000];
    static const char *const forms[] = {"1;%0500d\r\na\r\n", "0\r\nX:%05000d\r\n"};
    struct decoded *d = malloc(sizeof(*d));
    for (int f = 0; f < 2; f++) {
        size_t len = 0;
        for (int i = 0; i < 20 && len < sizeof(text) - 6000; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, forms[f], 1);
        decode(d, text, len, 7, 8000);
        cr_expect(d->rc == HTTPMSG_BAD);
        cr_expect(d->status == 400);
    }
    free(d);
}
