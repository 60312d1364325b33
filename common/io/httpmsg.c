/* httpmsg: see httpmsg.h. Owns the grammar; httpd.c owns connections, answers and time. */
#include "io/httpmsg.h"

#include <string.h>
#include <strings.h>

enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };
enum {
    MAX_METHOD = 32,
    MAX_HEAD = 16 * 1024 * 1024, /* offsets are 32 bits wide */
    MAX_LENGTH_DIGITS = 18,      /* fits int64_t */
    MAX_CHUNK_DIGITS = 8,
    MAX_TRIMMED = 4096, /* extensions and trailers of one body */
};

/* Which characters may stand where. A target takes every visible character but '#': senders do not
 * always escape what RFC 3986 wants escaped, and none of it is ambiguous to us. */
static const uint8_t classes[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = TOKEN | VALUE | TARGET | HOST,
    ['"'] = VALUE | TARGET,
    ['#'] = TOKEN | VALUE,
    ['$' ... '\''] = TOKEN | VALUE | TARGET | HOST,
    ['('] = VALUE | TARGET | HOST,
    [')'] = VALUE | TARGET | HOST,
    ['*'] = TOKEN | VALUE | TARGET | HOST,
    ['+'] = TOKEN | VALUE | TARGET | HOST,
    [','] = VALUE | TARGET | HOST,
    ['-'] = TOKEN | VALUE | TARGET | HOST,
    ['.'] = TOKEN | VALUE | TARGET | HOST,
    ['/'] = VALUE | TARGET,
    ['0' ... '9'] = TOKEN | VALUE | TARGET | HOST,
    [':'] = VALUE | TARGET | HOST,
    [';'] = VALUE | TARGET | HOST,
    ['<'] = VALUE | TARGET,
    ['='] = VALUE | TARGET | HOST,
    ['>' ... '@'] = VALUE | TARGET,
    ['A' ... 'Z'] = TOKEN | VALUE | TARGET | HOST,
    ['['] = VALUE | TARGET | HOST,
    ['\\'] = VALUE | TARGET,
    [']'] = VALUE | TARGET | HOST,
    ['^'] = TOKEN | VALUE | TARGET,
    ['_'] = TOKEN | VALUE | TARGET | HOST,
    ['`'] = TOKEN | VALUE | TARGET,
    ['a' ... 'z'] = TOKEN | VALUE | TARGET | HOST,
    ['{'] = VALUE | TARGET,
    ['|'] = TOKEN | VALUE | TARGET,
    ['}'] = VALUE | TARGET,
    ['~'] = TOKEN | VALUE | TARGET | HOST,
    [0x80 ... 0xff] = VALUE,
};

static bool all(const char *s, size_t n, int class)
{
    int both = class;
    for (size_t i = 0; i < n; i++)
        both &= classes[(unsigned char)s[i]];
    return both == class;
}

bool httpmsg_is_token(const char *s, size_t len)
{
    return len && all(s, len, TOKEN);
}

bool httpmsg_is_value(const char *s, size_t len)
{
    return all(s, len, VALUE);
}

static bool bad(struct httpmsg_fault *fault, int status, const char *text)
{
    *fault = (struct httpmsg_fault){.status = status, .text = text};
    return false;
}

static bool same(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && strncasecmp(s, word, n) == 0;
}

static struct httpmsg_span span(const char *data, const char *at, size_t len)
{
    return (struct httpmsg_span){.at = (uint32_t)(at - data), .len = (uint32_t)len};
}

/* --- request line ------------------------------------------------------------------------ */

/* s, n: "path[?query]", perhaps empty. */
static void split_path(struct httpmsg_head *h, const char *data, const char *s, size_t n)
{
    const char *q = memchr(s, '?', n);
    size_t path_len = q ? (size_t)(q - s) : n;
    h->path = span(data, s, path_len);
    if (q)
        h->query = span(data, q + 1, n - path_len - 1);
}

/* http://authority[/path][?query]: proxies send it, and servers must take it (RFC 9112 3.2.2). */
static bool absolute_form(
    struct httpmsg_head *h, const char *data, const char *s, size_t n, size_t scheme_len)
{
    const char *host = s + scheme_len;
    size_t rest = n - scheme_len, len = 0;
    while (len < rest && host[len] != '/' && host[len] != '?')
        len++;
    if (!len || !all(host, len, HOST))
        return bad(&h->fault, 400, "the request target is invalid");
    h->host = span(data, host, len);
    h->host_in_target = true;
    split_path(h, data, host + len, rest - len);
    return true;
}

static bool target(struct httpmsg_head *h, const char *data, const char *s, size_t n)
{
    if (!n || !all(s, n, TARGET))
        return bad(&h->fault, 400, "the request target is invalid");
    bool options = same(data + h->method.at, h->method.len, "OPTIONS");
    if (*s == '/' || (options && n == 1 && *s == '*')) {
        split_path(h, data, s, n);
        return true;
    }
    if (n > 7 && strncasecmp(s, "http://", 7) == 0)
        return absolute_form(h, data, s, n, 7);
    if (n > 8 && strncasecmp(s, "https://", 8) == 0)
        return absolute_form(h, data, s, n, 8);
    return bad(&h->fault, 400, "the request target is invalid");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool version(struct httpmsg_head *h, const char *s, size_t n)
{
    if (n != 8 || memcmp(s, "HTTP/", 5) != 0 || !is_digit(s[5]) || s[6] != '.' || !is_digit(s[7]))
        return bad(&h->fault, 400, "the request line is invalid");
    if (s[5] != '1')
        return bad(&h->fault, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->minor = s[7] - '0';
    return true;
}

static bool request_line(struct httpmsg_head *h, const char *data, const char *s, size_t n)
{
    const char *sp = memchr(s, ' ', n);
    size_t method_len = sp ? (size_t)(sp - s) : n;
    if (method_len > MAX_METHOD || !httpmsg_is_token(s, method_len))
        return bad(&h->fault, 400, "the method is invalid");
    h->method = span(data, s, method_len);

    const char *at = sp ? sp + 1 : s + n;
    size_t rest = n - (size_t)(at - s);
    const char *sp2 = memchr(at, ' ', rest);
    if (!sp2)
        return bad(&h->fault, 400, "the request line is invalid");
    if (!version(h, sp2 + 1, rest - (size_t)(sp2 + 1 - at)))
        return false;
    return h->has_line = target(h, data, at, (size_t)(sp2 - at));
}

/* --- fields ------------------------------------------------------------------------------ */

/* A field that matters for framing or the connection. plain: written as "Name: value" with at most
 * one blank before the value and none after; framing fields are taken in no other form. */
struct value {
    const char *s;
    size_t len;
    bool plain;
};

static bool take_length(struct httpmsg_head *h, const char *data, const struct value *v)
{
    int64_t n = 0;
    (void)data;
    if (h->content_length >= 0)
        return bad(&h->fault, 400, "Content-Length is repeated");
    if (!v->plain || !v->len || v->len > MAX_LENGTH_DIGITS)
        return bad(&h->fault, 400, "Content-Length is invalid");
    for (size_t i = 0; i < v->len; i++) {
        if (!is_digit(v->s[i]))
            return bad(&h->fault, 400, "Content-Length is invalid");
        n = n * 10 + (v->s[i] - '0');
    }
    h->content_length = n;
    return true;
}

static bool take_encoding(struct httpmsg_head *h, const char *data, const struct value *v)
{
    (void)data;
    if (h->has_te)
        return bad(&h->fault, 400, "Transfer-Encoding is repeated");
    h->has_te = true;
    h->te_other = !v->plain || !same(v->s, v->len, "chunked");
    return true;
}

static bool take_host(struct httpmsg_head *h, const char *data, const struct value *v)
{
    if (h->has_host)
        return bad(&h->fault, 400, "Host is repeated");
    if (!all(v->s, v->len, HOST))
        return bad(&h->fault, 400, "Host is invalid");
    h->has_host = true;
    if (!h->host_in_target)
        h->host = span(data, v->s, v->len);
    return true;
}

static bool take_expect(struct httpmsg_head *h, const char *data, const struct value *v)
{
    (void)data;
    if (same(v->s, v->len, "100-continue"))
        h->expect_continue = true;
    else
        h->expect_other = true;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **s, size_t *n)
{
    for (; *n && is_blank(**s); (*s)++)
        --*n;
    while (*n && is_blank((*s)[*n - 1]))
        --*n;
}

static bool take_connection(struct httpmsg_head *h, const char *data, const struct value *v)
{
    const char *end = v->s + v->len;
    (void)data;
    for (const char *s = v->s; s < end;) {
        const char *comma = memchr(s, ',', (size_t)(end - s));
        const char *word = s, *next = comma ? comma : end;
        size_t n = (size_t)(next - s);
        trim(&word, &n);
        h->says_close |= same(word, n, "close");
        h->says_keep |= same(word, n, "keep-alive");
        s = next + 1;
    }
    return true;
}

static const struct {
    const char *name;
    bool (*take)(struct httpmsg_head *h, const char *data, const struct value *v);
} known[] = {
    {"host",              take_host      },
    {"content-length",    take_length    },
    {"transfer-encoding", take_encoding  },
    {"connection",        take_connection},
    {"expect",            take_expect    },
};

static bool field_line(struct httpmsg_head *h, const char *data, const char *s, size_t n)
{
    if (is_blank(*s))
        return bad(&h->fault, 400, "a header line starts with white space (obs-fold)");
    const char *colon = memchr(s, ':', n);
    size_t name_len = colon ? (size_t)(colon - s) : n;
    if (!colon || !httpmsg_is_token(s, name_len))
        return bad(&h->fault, 400, "a header name is invalid");
    if (h->n_fields == HTTPMSG_MAX_FIELDS)
        return bad(&h->fault, 431, "more than 100 headers");

    struct value v = {.s = colon + 1, .len = n - name_len - 1};
    if (!httpmsg_is_value(v.s, v.len))
        return bad(&h->fault, 400, "a header value holds a control character");
    size_t raw_len = v.len;
    trim(&v.s, &v.len);
    v.plain = raw_len == v.len + (colon[1] == ' ');
    h->fields[h->n_fields++] = (struct httpmsg_field){
        .name = span(data, s, name_len),
        .value = span(data, v.s, v.len),
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (same(s, name_len, known[i].name))
            return known[i].take(h, data, &v);
    return true;
}

/* --- the whole head ---------------------------------------------------------------------- */

/* What can only be judged with all fields known. */
static bool head_end(struct httpmsg_head *h)
{
    if (h->minor >= 1 && !h->has_host)
        return bad(&h->fault, 400, "Host is missing");
    if (h->has_te && h->content_length >= 0)
        return bad(&h->fault, 400, "Content-Length together with Transfer-Encoding");
    if (h->has_te && h->minor == 0)
        return bad(&h->fault, 400, "Transfer-Encoding in an HTTP/1.0 request");
    if (h->te_other)
        return bad(&h->fault, 501, "the only Transfer-Encoding taken is chunked");
    if (h->minor == 0) /* RFC 9110 section 10.1.1: ignored, the client cannot mean it */
        h->expect_continue = h->expect_other = false;
    if (h->expect_other)
        return bad(&h->fault, 417, "the only expectation met is 100-continue");
    h->chunked = h->has_te;
    h->keep_alive = !h->says_close && (h->minor >= 1 || h->says_keep);
    return true;
}

/* at, n: a line with its LF. */
static bool take_line(struct httpmsg_head *h, const char *data, size_t at, size_t n)
{
    const char *s = data + at;
    if (n < 2 || s[n - 2] != '\r')
        return bad(&h->fault, 400, "a line does not end in CR LF");
    if (!h->has_line) { /* one empty line before it is forgiven (RFC 9112 section 2.2) */
        bool leading_blank = at == 0 && n == 2;
        return leading_blank || request_line(h, data, s, n - 2);
    }
    if (n > 2)
        return field_line(h, data, s, n - 2);
    if (!head_end(h))
        return false;
    h->len = at + n;
    return true;
}

void httpmsg_head_init(struct httpmsg_head *h, size_t limit)
{
    memset(h, 0, offsetof(struct httpmsg_head, fields));
    h->limit = limit < MAX_HEAD ? limit : MAX_HEAD;
    h->content_length = -1;
}

static enum httpmsg_rc too_long(struct httpmsg_head *h)
{
    if (h->has_line)
        bad(&h->fault, 431, "request line and headers are too long");
    else
        bad(&h->fault, 414, "the request line is too long");
    return HTTPMSG_BAD;
}

enum httpmsg_rc httpmsg_head_feed(struct httpmsg_head *h, const char *data, size_t len)
{
    /* Something that is not HTTP at all (a TLS hello) may never send a line. */
    if (len && !(classes[(unsigned char)data[0]] & TOKEN) && data[0] != '\r')
        bad(&h->fault, 400, "the request line is invalid");

    while (!h->fault.status && !h->len) {
        const char *lf = memchr(data + h->scanned, '\n', len - h->scanned);
        size_t end = lf ? (size_t)(lf - data) + 1 : len;
        if (end > h->limit)
            return too_long(h);
        h->scanned = end;
        if (!lf)
            return HTTPMSG_MORE;
        take_line(h, data, h->line_at, end - h->line_at);
        h->line_at = end;
    }
    return h->len ? HTTPMSG_DONE : HTTPMSG_BAD;
}

const struct httpmsg_field *httpmsg_head_find(
    const struct httpmsg_head *h, const char *data, const char *name, int *i)
{
    while (*i < h->n_fields) {
        const struct httpmsg_field *f = &h->fields[(*i)++];
        if (same(data + f->name.at, f->name.len, name))
            return f;
    }
    return NULL;
}

/* --- chunked body ------------------------------------------------------------------------ */

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    NAME,
    TEXT,
    TEXT_LF,
    LAST_LF,
    END
};

void httpmsg_chunks_init(struct httpmsg_chunks *d, size_t max_body)
{
    *d = (struct httpmsg_chunks){.state = SIZE, .room = max_body};
}

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_byte(struct httpmsg_chunks *d, char c)
{
    int digit = hex(c);
    if (digit >= 0 && d->digits < MAX_CHUNK_DIGITS) {
        d->left = d->left * 16 + (uint64_t)digit;
        d->digits++;
        return true;
    }
    if (!d->digits || digit >= 0 || (c != ';' && c != '\r'))
        return bad(&d->fault, 400, "a chunk size is invalid");
    d->state = c == ';' ? EXTENSION : SIZE_LF;
    return true;
}

/* A byte that is read and dropped, of a class; CR goes on to the state next. */
static bool dropped_byte(struct httpmsg_chunks *d, char c, int next)
{
    if (c == '\r') {
        d->state = next;
        return true;
    }
    if (!(classes[(unsigned char)c] & VALUE))
        return bad(&d->fault, 400, "a chunk extension or trailer holds a control character");
    if (++d->trimmed > MAX_TRIMMED)
        return bad(&d->fault, 400, "chunk extensions or trailers are too long");
    return true;
}

static bool name_byte(struct httpmsg_chunks *d, char c)
{
    bool first = d->state == TRAILER;
    if (first && c == '\r') {
        d->state = LAST_LF;
        return true;
    }
    d->state = !first && c == ':' ? TEXT : NAME;
    if (d->state == NAME && !(classes[(unsigned char)c] & TOKEN))
        return bad(&d->fault, 400, "a trailer name is invalid");
    return dropped_byte(d, c, NAME);
}

static bool expected(struct httpmsg_chunks *d, char c, char want, int next)
{
    if (c != want)
        return bad(&d->fault, 400, "a chunk does not end in CR LF");
    d->state = next;
    return true;
}

static bool size_done(struct httpmsg_chunks *d, char c)
{
    if (!expected(d, c, '\n', d->left ? DATA : TRAILER))
        return false;
    if (d->left > d->room)
        return bad(&d->fault, 413, "the body is too large");
    d->room -= d->left;
    d->digits = 0;
    return true;
}

/* One byte of anything but chunk data. */
static bool frame_byte(struct httpmsg_chunks *d, char c)
{
    switch (d->state) {
    case SIZE: return size_byte(d, c);
    case EXTENSION: return dropped_byte(d, c, SIZE_LF);
    case SIZE_LF: return size_done(d, c);
    case DATA_CR: return expected(d, c, '\r', DATA_LF);
    case DATA_LF: return expected(d, c, '\n', SIZE);
    case TRAILER:
    case NAME: return name_byte(d, c);
    case TEXT: return dropped_byte(d, c, TEXT_LF);
    case TEXT_LF: return expected(d, c, '\n', TRAILER);
    default: return expected(d, c, '\n', END);
    }
}

enum httpmsg_rc httpmsg_chunks_feed(
    struct httpmsg_chunks *d, char *data, size_t len, size_t *used, size_t *out)
{
    size_t at = 0, to = 0;
    while (at < len && d->state != END && !d->fault.status) {
        if (d->state != DATA) {
            frame_byte(d, data[at++]);
            continue;
        }
        size_t n = len - at < d->left ? len - at : (size_t)d->left;
        memmove(data + to, data + at, n);
        at += n;
        to += n;
        d->left -= n;
        if (!d->left)
            d->state = DATA_CR;
    }
    *used = at;
    *out = to;
    if (d->fault.status)
        return HTTPMSG_BAD;
    return d->state == END ? HTTPMSG_DONE : HTTPMSG_MORE;
}
