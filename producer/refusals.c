/* refusals: see refusals.h. Credentials are left out by their names; and whatever the name: none of
 * our own secrets leaves this file. */
#include "producer/refusals.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "base/url.h"
#include "producer/credential.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/param.h>

#define WEBHOOKS "/api/webhook/"

enum {
    HEADERS_MAX = 4096,                   /* bytes of names and values */
    BODY_LOOKED_AT = 2 * REJECT_BODY_KEPT /* a secret across the cut is found whole */
};

/* --- what is secret ---------------------------------------------------------------------- */

static bool is_any(const char *name, const char *const *names)
{
    while (*names && strcasecmp(name, *names) != 0)
        names++;
    return *names != NULL;
}

static void mask(char *data, size_t len, const char *secret)
{
    size_t n = secret ? strlen(secret) : 0;
    char *end = data + len, *at;
    while (n && (at = memmem(data, (size_t)(end - data), secret, n))) {
        memset(at, '*', n);
        data = at + n;
    }
}

/* Our own secrets, wherever they were put. */
static void scrub(const struct config *cfg, struct buf *b)
{
    const char *const secrets[] = {
        cfg->webhook_secret, cfg->webhook_secret_previous, cfg->intake_token, cfg->api_secret};
    for (size_t i = 0; b->len && i < sizeof(secrets) / sizeof(*secrets); i++)
        mask(b->data, b->len, secrets[i]);
}

/* --- headers ----------------------------------------------------------------------------- */

/* "sha256=[64 characters]": that there was one, and of which kind. */
static void put_summary(struct buf *out, const char *value)
{
    static const char *const schemes[] = {"sha256=", "sha1=", "sha512=", "v1,", "v1="};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncmp(value, schemes[i], n) != 0)
            continue;
        buf_puts(out, schemes[i]);
        value += n;
        break;
    }
    buf_printf(out, "[%zu characters]", strlen(value));
}

static void add_header(
    const struct config *cfg, json_t *headers, const char *name, const char *value, size_t *room)
{
    static const char *const left_out[] = {
        "Authorization", "Proxy-Authorization", "X-Webhook-Token", "Cookie", NULL};
    const char *before = json_get_string(headers, name);
    struct buf b = {0};
    if (is_any(name, left_out))
        return;
    if (before)
        buf_printf(&b, "%s, ", before);
    if (credential_is_named(name))
        put_summary(&b, value);
    else
        text_append_utf8(&b, value, strlen(value));
    scrub(cfg, &b);
    size_t size = strlen(name) + b.len;
    if (size <= *room) {
        json_object_set_new(headers, name, json_string(buf_str(&b)));
        *room -= size;
    }
    buf_release(&b);
}

/* Caller frees. */
static char *headers_of(const struct config *cfg, const struct httpd_req *req)
{
    json_t *headers = json_object();
    size_t len, room = HEADERS_MAX;
    const char *at, *value;
    for (int i = 0; (value = httpd_header_at(req, i, &at, &len)); i++) {
        struct buf name = {0};
        buf_append(&name, at, len);
        add_header(cfg, headers, buf_str(&name), value, &room);
        buf_release(&name);
    }
    char *text = json_dumps(headers, JSON_COMPACT);
    json_decref(headers);
    return text;
}

/* --- path, query, body ------------------------------------------------------------------- */

static void put_pair(struct buf *out, const char *pair, size_t len)
{
    const char *equals = memchr(pair, '=', len);
    size_t name_len = equals ? (size_t)(equals - pair) : len;
    struct buf name = {0};
    buf_append(&name, pair, name_len);
    if (name.data)
        url_decode(name.data, true);
    if (equals && credential_is_named(buf_str(&name)))
        buf_printf(out, "%.*s=***", (int)name_len, pair);
    else
        buf_append(out, pair, len);
    buf_release(&name);
}

static void put_query(const struct config *cfg, struct buf *out, const char *query)
{
    for (;; query++) {
        size_t len = strcspn(query, "&");
        put_pair(out, query, len);
        query += len;
        if (!*query)
            break;
        buf_putc(out, '&');
    }
    scrub(cfg, out);
}

/* Returns the length of the whole: of one that was not read, what its sender said. */
static size_t put_body(const struct config *cfg, struct buf *out, struct httpd_req *req)
{
    size_t len;
    const char *body = httpd_body(req, &len);
    buf_append(out, body, MIN(len, BODY_LOOKED_AT));
    scrub(cfg, out);
    if (httpd_is_whole(req))
        return len;
    const char *said = httpd_header(req, "Content-Length");
    long long n = said ? strtoll(said, NULL, 10) : 0;
    return n > 0 ? (size_t)n : 0;
}

/* --- public ------------------------------------------------------------------------------ */

void refusal_note(struct stores *s, struct httpd_req *req, const char *source, int status,
    const char *reason, bool authenticated)
{
    struct buf path = {0}, query = {0}, body = {0};
    if (!s->rejects)
        return;
    buf_puts(&path, httpd_path(req));
    scrub(s->cfg, &path);
    put_query(s->cfg, &query, httpd_query(req));
    char *headers = headers_of(s->cfg, req);
    size_t len = put_body(s->cfg, &body, req);
    rejects_note(s->rejects, &(struct reject){.at = clock_wall_us(),
                                 .source = source,
                                 .method = httpd_method(req),
                                 .path = buf_str(&path),
                                 .query = query.len ? query.data : NULL,
                                 .peer = httpd_peer(req),
                                 .request_id = httpd_request_id(req),
                                 .status = status,
                                 .reason = reason,
                                 .authenticated = authenticated,
                                 .headers = headers,
                                 .body = body.len ? body.data : NULL,
                                 .len = len});
    free(headers);
    buf_release(&path);
    buf_release(&query);
    buf_release(&body);
}

void refusal_by_httpd(struct stores *s, struct httpd_req *req, int status)
{
    bool handled = httpd_is_whole(req) && httpd_route_path(req);
    if (status < 400 || handled || strncmp(httpd_path(req), WEBHOOKS, strlen(WEBHOOKS)) != 0)
        return;
    const char *source = httpd_path(req) + strlen(WEBHOOKS);
    bool crawl = strncmp(source, "firecrawl", strlen("firecrawl")) == 0;
    refusal_note(
        s, req, crawl ? "firecrawl" : "changedetection", status, httpd_reason(status), false);
}
