/* url: see url.h. It owns the split of a URL into its parts and the list of tracking parameters. */
#include "base/url.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A part of the URL, not copied; p is NULL when the part is missing. */
struct slice {
    const char *p;
    size_t n;
};

struct raw_url {
    struct slice scheme, authority, userinfo, host, path, query, fragment;
    struct slice host_port; /* authority without userinfo */
    int port;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

static size_t scheme_length(const char *url)
{
    size_t n = 0;
    if (!is_alpha(url[0]))
        return 0;
    while (is_alpha(url[n]) || is_digit(url[n]) || url[n] == '+' || url[n] == '-' || url[n] == '.')
        n++;
    return strncmp(url + n, "://", 3) == 0 ? n : 0;
}

/* Nothing, ":" or ":1" to ":65535". */
static bool split_port(const char *p, const char *end, int *port)
{
    *port = 0;
    if (p == end)
        return true;
    if (*p++ != ':' || end - p > 5)
        return false;
    bool given = p < end;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return false;
        *port = *port * 10 + (*p - '0');
    }
    return *port <= 65535 && (*port > 0 || !given);
}

static bool split_host(struct raw_url *u)
{
    const char *p = u->host_port.p, *end = p + u->host_port.n;
    for (const char *q = p; q < end; q++)
        if (*q == ' ')
            return false;
    if (memchr(p, ',', u->host_port.n)) {
        u->host = u->host_port;
        return true;
    }
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', u->host_port.n);
        if (!close || close == p + 1 || memchr(p + 1, '[', (size_t)(close - p - 1)))
            return false;
        u->host = (struct slice){p + 1, (size_t)(close - p - 1)};
        return split_port(close + 1, end, &u->port);
    }
    const char *colon = memchr(p, ':', u->host_port.n);
    const char *host_end = colon ? colon : end;
    if (host_end > p)
        u->host = (struct slice){p, (size_t)(host_end - p)};
    for (const char *q = p; q < host_end; q++)
        if (*q == '[' || *q == ']')
            return false;
    return split_port(host_end, end, &u->port);
}

static bool split_authority(struct raw_url *u)
{
    u->host_port = u->authority;
    const char *at = memrchr(u->authority.p, '@', u->authority.n);
    if (at) {
        u->userinfo = (struct slice){u->authority.p, (size_t)(at - u->authority.p)};
        u->host_port = (struct slice){at + 1, u->authority.n - u->userinfo.n - 1};
    }
    return split_host(u);
}

static bool split(const char *url, struct raw_url *u)
{
    *u = (struct raw_url){0};
    size_t n = scheme_length(url);
    if (n == 0 || has_control(url))
        return false;
    u->scheme = (struct slice){url, n};
    const char *p = url + n + 3;
    u->authority = (struct slice){p, strcspn(p, "/?#")};
    p += u->authority.n;
    if (*p == '/') {
        u->path = (struct slice){p, strcspn(p, "?#")};
        p += u->path.n;
    }
    if (*p == '?') {
        u->query = (struct slice){p + 1, strcspn(p + 1, "#")};
        p += 1 + u->query.n;
    }
    if (*p == '#')
        u->fragment = (struct slice){p + 1, strlen(p + 1)};
    return split_authority(u);
}

static bool is_http(const struct raw_url *u)
{
    return (u->scheme.n == 4 && strncasecmp(u->scheme.p, "http", 4) == 0) ||
           (u->scheme.n == 5 && strncasecmp(u->scheme.p, "https", 5) == 0);
}

static int nibble(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t url_decode(char *s, bool plus)
{
    char *to = s;
    for (const char *p = s; *p; p++) {
        int high = p[0] == '%' ? nibble(p[1]) : -1;
        int low = high >= 0 ? nibble(p[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            p += 2;
        } else {
            *to++ = plus && *p == '+' ? ' ' : *p;
        }
    }
    *to = '\0';
    return (size_t)(to - s);
}

static char *copy(struct slice s)
{
    return mem_strndup(s.p, s.n);
}

/* NULL when the decoded text holds a NUL: it would be cut there unseen. */
static char *copy_decoded(const char *p, size_t n)
{
    char *s = mem_strndup(p, n);
    if (url_decode(s, false) == strlen(s))
        return s;
    free(s);
    return NULL;
}

static bool copy_userinfo(struct slice info, struct url_parts *out)
{
    if (!info.p)
        return true;
    const char *colon = memchr(info.p, ':', info.n);
    size_t user_len = colon ? (size_t)(colon - info.p) : info.n;
    out->user = copy_decoded(info.p, user_len);
    if (!out->user)
        return false;
    if (!colon)
        return true;
    out->password = copy_decoded(colon + 1, info.n - user_len - 1);
    return out->password != NULL;
}

bool url_parse(const char *url, struct url_parts *out)
{
    struct raw_url u;
    *out = (struct url_parts){0};
    if (!split(url, &u))
        return false;
    if (!copy_userinfo(u.userinfo, out)) {
        url_parts_release(out);
        return false;
    }
    out->scheme = copy(u.scheme);
    for (char *p = out->scheme; *p; p++)
        *p = lower(*p);
    out->host = copy(u.host);
    out->port = u.port;
    out->path = copy(u.path);
    out->query = copy(u.query);
    out->fragment = copy(u.fragment);
    return true;
}

void url_parts_release(struct url_parts *u)
{
    free(u->scheme);
    free(u->user);
    free(u->password);
    free(u->host);
    free(u->path);
    free(u->query);
    free(u->fragment);
    *u = (struct url_parts){0};
}

bool url_is_web(const char *url)
{
    struct raw_url u;
    if (!split(url, &u) || !is_http(&u) || u.host.n == 0 || strchr(url, ' '))
        return false;
    if (memchr(u.authority.p, '\\', u.authority.n) || memchr(u.host.p, ',', u.host.n) ||
        memchr(u.host.p, '%', u.host.n))
        return false;
    return !u.userinfo.p || !memchr(u.userinfo.p, '@', u.userinfo.n);
}

/* --- query strings ----------------------------------------------------------------------- */

/* One name=value of a query string, as written; value.p is NULL without '='. */
struct pair {
    struct slice name, value;
};

/* Takes the next pair that is not empty off *query; false at the end. */
static bool next_pair(struct slice *query, struct pair *pair)
{
    while (query->n > 0) {
        const char *amp = memchr(query->p, '&', query->n);
        size_t n = amp ? (size_t)(amp - query->p) : query->n;
        const char *equals = memchr(query->p, '=', n);
        *pair = (struct pair){
            .name = {query->p, n}
        };
        if (equals) {
            pair->name.n = (size_t)(equals - query->p);
            pair->value = (struct slice){equals + 1, n - pair->name.n - 1};
        }
        query->p += n + (amp != NULL);
        query->n -= n + (amp != NULL);
        if (n > 0)
            return true;
    }
    return false;
}

/* Decoded copy (caller frees) and its length. */
static char *form_decoded(struct slice s, size_t *len)
{
    char *text = mem_strndup(s.p ? s.p : "", s.n);
    *len = url_decode(text, true);
    return text;
}

static bool is_tracking(const char *name)
{
    static const char *const names[] = {"utm_source", "utm_medium", "utm_campaign", "utm_term",
        "utm_content", "gclid", "gclsrc", "fbclid", "msclkid", "twclid", "li_fat_id", "mc_cid",
        "mc_eid", "_hsenc", "_hsmi", "_ga", "_gac", "_gl"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Python's quote_plus: bytes that are not UTF-8 have become U+FFFD before. */
static void put_form_encoded(struct buf *out, const char *s, size_t len)
{
    struct buf utf8 = {0};
    for (size_t n; (n = strnlen(s, len)) < len; s += n + 1, len -= n + 1) {
        text_append_utf8(&utf8, s, n);
        buf_append(&utf8, "", 1); /* text_append_utf8 would drop the NUL */
    }
    text_append_utf8(&utf8, s, len);
    for (size_t i = 0; i < utf8.len; i++) {
        char c = utf8.data[i];
        if (is_alpha(c) || is_digit(c) || c == '_' || c == '.' || c == '-' || c == '~')
            buf_putc(out, c);
        else if (c == ' ')
            buf_putc(out, '+');
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
    buf_release(&utf8);
}

static void put_canonical_query(struct buf *out, struct slice query)
{
    struct pair pair;
    char separator = '?';
    while (next_pair(&query, &pair)) {
        size_t name_len, value_len;
        char *name = form_decoded(pair.name, &name_len);
        char *value = form_decoded(pair.value, &value_len);
        if (!is_tracking(name) || strlen(name) != name_len) {
            buf_putc(out, separator);
            put_form_encoded(out, name, name_len);
            buf_putc(out, '=');
            put_form_encoded(out, value, value_len);
            separator = '&';
        }
        free(name);
        free(value);
    }
}

bool url_canonical(const char *url, struct buf *out)
{
    struct raw_url u;
    if (!split(url, &u) || !is_http(&u) || u.host.n == 0)
        return false;
    for (size_t i = 0; i < u.scheme.n; i++)
        buf_putc(out, lower(u.scheme.p[i]));
    buf_puts(out, "://");
    buf_append(out, u.authority.p, u.authority.n - u.host_port.n);
    for (size_t i = 0; i < u.host_port.n; i++)
        buf_putc(out, lower(u.host_port.p[i]));
    buf_append(out, u.path.p, u.path.n);
    put_canonical_query(out, u.query);
    return true;
}

/* Value of the next argument of that name; NULL: there is none. */
static char *next_value(struct slice *rest, const char *name, size_t *len)
{
    size_t want = strlen(name);
    struct pair pair;

    while (next_pair(rest, &pair)) {
        size_t n;
        char *given = form_decoded(pair.name, &n);
        bool found = n == want && memcmp(given, name, n) == 0;
        free(given);
        if (found)
            return form_decoded(pair.value, len ? len : &n);
    }
    return NULL;
}

char *url_query_get(const char *query, const char *name, size_t *len)
{
    struct slice rest = {query, strlen(query)};
    return next_value(&rest, name, len);
}

char *url_query_last(const char *query, const char *name, size_t *len)
{
    struct slice rest = {query, strlen(query)};
    char *last = NULL;
    for (char *v; (v = next_value(&rest, name, len)); last = v)
        free(last);
    return last;
}

/* --- masking ----------------------------------------------------------------------------- */

/* Where the userinfo ends (its @), NULL without one. A password may hold a raw '/', '?' or '#',
 * which seem to end the authority: the last @ of all counts then. Only web addresses use @
 * elsewhere. */
static const char *userinfo_end(const char *url, const char *start)
{
    struct raw_url u;
    bool sound = split(url, &u);
    if (sound && (u.userinfo.p || is_http(&u)))
        return u.userinfo.p ? u.userinfo.p + u.userinfo.n : NULL;
    return memrchr(start, '@', strlen(start));
}

static void put_masked_args(struct buf *out, const char *rest)
{
    static const char *const secrets[] = {"password=", "sslpassword="};
    while (*rest) {
        bool at_arg = *rest == '?' || *rest == '&';
        buf_putc(out, *rest++);
        for (size_t i = 0; at_arg && i < sizeof(secrets) / sizeof(secrets[0]); i++) {
            size_t n = strlen(secrets[i]);
            if (strncasecmp(rest, secrets[i], n) == 0) {
                buf_append(out, rest, n);
                buf_puts(out, "***");
                rest += n + strcspn(rest + n, "&#");
                break;
            }
        }
    }
}

void url_mask(const char *url, struct buf *out)
{
    const char *mark = strstr(url, "://");
    if (!mark) {
        buf_puts(out, *url ? "***" : "");
        return;
    }
    const char *rest = mark + 3;
    const char *at = userinfo_end(url, rest);
    buf_append(out, url, (size_t)(rest - url));
    if (at) {
        const char *colon = memchr(rest, ':', (size_t)(at - rest));
        buf_append(out, rest, (size_t)((colon ? colon : at) - rest));
        buf_puts(out, colon ? ":***" : "");
        rest = at;
    }
    put_masked_args(out, rest);
}
