/* measure: see measure.h. No secret gets into a row: none of our own, of a query only the values whose
 * names say that they are none, of the headers only the user agent. */
#include "producer/measure.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/url.h"
#include "producer/client.h"
#include "producer/dashboard.h"
#include "producer/secrets.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMS_BYTES = 8192 }; /* of path and query parameters, as JSON */

#define NO_PARAMS "{\"path_params\":{},\"query_params\":{}}"

/* --- what is not measured ---------------------------------------------------------------- */

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_quiet(const struct httpd_req *req, int status)
{
    static const char *const probes[] = {"/", "/health", "/openapi.json"};
    const char *path = httpd_path(req), *method = httpd_method(req);

    if (status == 429)
        return true;
    if (status >= 400)
        return false;
    if (strcmp(method, "OPTIONS") == 0 && httpd_header(req, "Access-Control-Request-Method"))
        return true;
    for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++)
        if (strcmp(method, "GET") == 0 && strcmp(path, probes[i]) == 0)
            return true;
    return dashboard_owns(path) || starts_with(path, "/metrics") ||
           starts_with(path, "/api/metrics/");
}

/* --- parameters -------------------------------------------------------------------------- */

static bool holds_ours(const struct config *cfg, const char *text)
{
    return secrets_in(cfg, text, strlen(text));
}

/* One that does not fit is left out. */
static void put_param(const struct config *cfg, struct buf *b, const char *name, const char *value)
{
    size_t before = b->len;
    json_put_key(b, holds_ours(cfg, name) ? "***" : name);
    json_put_string(b, secrets_named(name) || holds_ours(cfg, value) ? "***" : value);
    if (b->len > MAX_PARAMS_BYTES)
        b->len = before;
}

/* Decoded, as UTF-8. Allocated. */
static char *decoded(const char *s, size_t len, bool plus)
{
    struct buf b = {0};
    char *raw = mem_strndup(s, len);
    text_append_utf8(&b, raw, url_decode(raw, plus));
    free(raw);
    return buf_detach(&b);
}

/* Each {name} of the route, with the segment of the path that stands there. */
static void put_path_params(
    const struct config *cfg, struct buf *b, const char *route, const char *path)
{
    for (const char *at; (at = strchr(route, '{'));) {
        size_t before = (size_t)(at - route), name_len = strcspn(at + 1, "}");
        if (strnlen(path, before) < before)
            return;
        size_t len = strcspn(path + before, "/");
        char *name = mem_strndup(at + 1, name_len);
        char *value = decoded(path + before, len, false);
        put_param(cfg, b, name, value);
        free(name);
        free(value);
        path += before + len;
        route = at + 1 + name_len + (at[1 + name_len] == '}');
    }
}

/* Of a repeated name jsonb keeps the last. */
static void put_query_params(const struct config *cfg, struct buf *b, const char *query)
{
    for (size_t len; *query; query += len + (query[len] == '&')) {
        len = strcspn(query, "&");
        if (!len)
            continue;
        const char *equals = memchr(query, '=', len);
        size_t name_len = equals ? (size_t)(equals - query) : len;
        char *name = decoded(query, name_len, true);
        char *value = equals ? decoded(equals + 1, len - name_len - 1, true) : mem_strdup("");
        put_param(cfg, b, name, value);
        free(name);
        free(value);
    }
}

/* Caller frees; NULL = NO_PARAMS. */
static char *params_of(const struct config *cfg, const struct httpd_req *req)
{
    const char *query = httpd_query(req), *route = httpd_route_path(req);
    bool has_params = route && strchr(route, '{');
    struct buf b = {0};

    if (!*query && !has_params)
        return NULL;
    buf_putc(&b, '{');
    if (has_params) {
        json_put_key(&b, "route");
        json_put_string(&b, route);
    }
    json_put_key(&b, "path_params");
    buf_putc(&b, '{');
    if (has_params)
        put_path_params(cfg, &b, route, httpd_path(req));
    buf_putc(&b, '}');
    json_put_key(&b, "query_params");
    buf_putc(&b, '{');
    put_query_params(cfg, &b, query);
    buf_puts(&b, "}}");
    return buf_detach(&b);
}

/* --- measuring --------------------------------------------------------------------------- */

static int64_t took_us(const struct httpd_req *req)
{
    return clock_mono_us() - httpd_started_us(req);
}

void measure_request(struct metrics *m, const struct config *cfg, struct httpd_req *req, int status)
{
    char client[CLIENT_LEN + 1];

    if (!m || is_quiet(req, status))
        return;
    int64_t took = took_us(req);
    char *params = params_of(cfg, req), *path = secrets_path(cfg, httpd_path(req));
    client_address(req, client);
    metrics_request(m, &(struct metrics_request){.at = clock_wall_us() - took,
                           .duration_ms = (double)took / 1000,
                           .status = status,
                           .method = httpd_method(req),
                           .path = path,
                           .request_id = httpd_request_id(req),
                           .client_ip = client,
                           .user_agent = httpd_header(req, "User-Agent"),
                           .extra = params ? params : NO_PARAMS});
    free(params);
    free(path);
}

void measure_webhook(
    struct metrics *m, struct httpd_req *req, const struct measure_webhook *webhook)
{
    if (!m)
        return;
    int64_t took = took_us(req);
    metrics_operation(m, &(struct metrics_operation){.at = clock_wall_us() - took,
                             .duration_ms = (double)took / 1000,
                             .success = webhook->status < 400,
                             .type = "webhook",
                             .name = webhook->event,
                             .error = webhook->status < 400 ? NULL : webhook->error,
                             .request_id = httpd_request_id(req),
                             .job_id = webhook->job_id,
                             .crawl_id = webhook->crawl_id,
                             .document_url = webhook->document_url});
}
