/* api: see api.h. Owns a call from its request to its answer. */
#include "producer/api.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/url.h"
#include "producer/api_act.h"
#include "producer/api_body.h"
#include "producer/api_query.h"
#include "producer/client.h"
#include "producer/dashboard.h"
#include "producer/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER "5" /* seconds */

/* --- the end of a call ------------------------------------------------------------------- */

static void call_free(struct api_call *call)
{
    stores_intake_ends(call->stores);
    for (int i = 0; i < API_MAX_PLACES; i++)
        free(call->places[i]);
    free(call->path);
    for (int i = 0; i < API_MAX_PARAMS; i++)
        free(call->values[i].text);
    for (int i = 0; i < API_MAX_MEMBERS; i++)
        free(call->members[i].text);
    buf_release(&call->out);
    free(call->own);
    free(call);
}

void api_reply(struct api_call *call, int status)
{
    if (call->req)
        httpd_reply(call->req, status, "application/json", buf_str(&call->out), call->out.len);
    else
        call->sink(status, buf_str(&call->out), call->out.len, call->sink_ctx);
    call_free(call);
}

static void put_detail(struct api_call *call, const char *fmt, va_list ap)
{
    struct buf text = {0};
    buf_vprintf(&text, fmt, ap);
    buf_clear(&call->out);
    buf_putc(&call->out, '{');
    json_put_text(&call->out, "detail", buf_str(&text));
    buf_putc(&call->out, '}');
    buf_release(&text);
}

void api_put_detail(struct api_call *call, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_detail(call, fmt, ap);
    va_end(ap);
}

void api_detail(struct api_call *call, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    put_detail(call, fmt, ap);
    va_end(ap);
    api_reply(call, status);
}

static const char *trouble(const struct api_call *call, enum hl_rc rc, const struct hl_err *err)
{
    if (!call->stores->schema_ready)
        return "The database is not ready yet";
    if (rc != HL_RETRY && rc != HL_UNSURE)
        return NULL;
    switch (err->why) {
    case HL_WHY_EXHAUSTED: return "Too many questions at once";
    case HL_WHY_TIMEOUT: return "The answer takes too long; ask for less";
    case HL_WHY_UNREACHABLE:
    case HL_WHY_REFUSED: return "The database cannot be reached";
    case HL_WHY_READ_ONLY:
    case HL_WHY_FULL:
    case HL_WHY_OTHER: break;
    }
    return "The database cannot answer now";
}

/* The shape of a 500 is the contract's; its text names no statement and no value. */
static void fail_for_good(struct api_call *call, const struct hl_err *err)
{
    log_error("api_failed", LOG_S("request_id", api_request_id(call)),
        LOG_S("path", call->entry->path), LOG_S("sqlstate", err->sqlstate),
        LOG_S("error", err->msg));
    buf_clear(&call->out);
    buf_puts(&call->out, "{\"detail\":\"Internal server error\",\"error\":\"the log has the cause"
                         ", under this answer's X-Request-ID\"}");
    api_reply(call, 500);
}

void api_fail(struct api_call *call, enum hl_rc rc, const struct hl_err *err)
{
    const char *why = trouble(call, rc, err);
    api_act_break(call, rc);
    if (!why) {
        fail_for_good(call, err);
        return;
    }
    api_header(call, "Retry-After", RETRY_AFTER);
    api_detail(call, 503, "%s", why);
}

/* --- the way in -------------------------------------------------------------------------- */

static void refuse(struct api_call *call, const char *why)
{
    api_header(call, "WWW-Authenticate", "Bearer");
    api_detail(call, 401, "%s", why);
}

static void refuse_query(struct api_call *call, const struct buf *faults)
{
    buf_printf(&call->out, "{\"detail\":[%s]}", faults->data);
    api_reply(call, 422);
}

static void admitted(struct api_call *call)
{
    struct buf faults = {0};
    api_query_read(call->entry->route->params, call->query, call->values, &faults);
    if (faults.len)
        refuse_query(call, &faults);
    else if (api_body_read(call))
        call->entry->route->go(call);
    buf_release(&faults);
}

static void authenticate(struct api_call *call)
{
    bool write = strcmp(call->entry->method, "GET") != 0;
    if (call->entry->route->open) {
        admitted(call);
        return;
    }
    switch (session_of(call->stores->cfg, call->req, write)) {
    case SESSION_NONE: refuse(call, "Missing Authorization header"); return;
    case SESSION_WRONG: refuse(call, "Invalid credentials"); return;
    case SESSION_FORGED: api_detail(call, 403, "%s", SESSION_FORGED_SAYS); return;
    case SESSION_READS:
        if (!write)
            break;
        api_detail(call, 403, "This secret may look, but change nothing");
        return;
    case SESSION_WRITES: break;
    }
    admitted(call);
}

bool api_may_read(const struct stores *s, const struct httpd_req *req)
{
    return session_of(s->cfg, req, false) >= SESSION_READS;
}

struct httpd_req *api_take(struct api_call *call)
{
    struct httpd_req *req = call->req;
    call_free(call);
    return req;
}

static void counted(int64_t wait_s, void *ctx)
{
    struct api_call *call = ctx;
    char seconds[24];
    if (!wait_s) {
        authenticate(call);
        return;
    }
    snprintf(seconds, sizeof(seconds), "%lld", (long long)wait_s);
    api_header(call, "Retry-After", seconds);
    buf_printf(&call->out, "{\"error\":\"Rate limit exceeded: %lld per 1 minute\"}",
        (long long)limits_max(call->stores->limits));
    api_reply(call, 429);
}

static struct api_call *call_new(struct stores *s, const struct api_entry *entry)
{
    struct api_call *call = mem_new(struct api_call);
    call->stores = s;
    call->entry = entry;
    stores_intake_begins(s);
    return call;
}

static const struct api_entry *entry_of(const char *method, const char *pattern)
{
    const struct api_entry *e = api_routes;
    while (e->method && (strcmp(e->path, pattern) != 0 || strcmp(e->method, method) != 0))
        e++;
    return e;
}

void api_serve(struct httpd_req *req, void *stores)
{
    const struct api_entry *entry = entry_of(httpd_method(req), httpd_route_path(req));
    struct api_call *call = call_new(stores, entry);
    char client[CLIENT_LEN + 1];
    call->req = req;
    call->query = httpd_query(req);
    if (!entry->route->limited || !call->stores->limits) {
        authenticate(call);
        return;
    }
    client_address(req, client);
    limits_take(call->stores->limits, client, httpd_path(req), counted, call);
}

/* --- a question without a request ---------------------------------------------------------- */

/* path is of this form; "{name}" stands for one segment. */
static bool fits(const char *pattern, const char *path)
{
    for (;;) {
        size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
        bool any = *pattern == '{' && have > 0;
        if (!any && (want != have || strncmp(pattern, path, want) != 0))
            return false;
        pattern += want;
        path += have;
        if (!*pattern || !*path)
            return *pattern == *path;
        pattern++;
        path++;
    }
}

static const struct api_entry *entry_for(const char *path)
{
    for (const struct api_entry *e = api_routes; e->method; e++)
        if (strcmp(e->method, "GET") == 0 && !e->route->streams && fits(e->path, path))
            return e;
    return NULL;
}

bool api_can_ask(const char *target)
{
    char *path = mem_strndup(target, strcspn(target, "?"));
    bool can = entry_for(path) != NULL;
    free(path);
    return can;
}

bool api_ask(struct stores *s, const char *target, api_sink *sink, void *ctx)
{
    size_t len = strcspn(target, "?");
    char *path = mem_strndup(target, len);
    const struct api_entry *entry = entry_for(path);
    if (!entry) {
        free(path);
        return false;
    }
    struct api_call *call = call_new(s, entry);
    call->path = path;
    call->query = target[len] ? target + len + 1 : "";
    call->sink = sink;
    call->sink_ctx = ctx;
    admitted(call);
    return true;
}

/* The segment of path where the pattern says {name}; allocated, NULL = none. */
static char *segment(const char *pattern, const char *path, const char *name)
{
    size_t name_len = strlen(name);
    for (; *pattern && *path; pattern++, path++) {
        size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
        if (*pattern == '{' && want == name_len + 2 && strncmp(pattern + 1, name, name_len) == 0)
            return mem_strndup(path, have);
        pattern += want;
        path += have;
        if (!*pattern || !*path)
            break;
    }
    return NULL;
}

const char *api_place(struct api_call *call, const char *name)
{
    int i = 0;
    if (call->req)
        return httpd_param(call->req, name);
    while (i < API_MAX_PLACES - 1 && call->places[i])
        i++;
    char *raw = segment(call->entry->path, call->path, name);
    if (!raw)
        return NULL;
    struct buf b = {0};
    text_append_utf8(&b, raw, url_decode(raw, false));
    free(raw);
    free(call->places[i]);
    return call->places[i] = buf_detach(&b);
}

void api_header(struct api_call *call, const char *name, const char *value)
{
    if (call->req)
        httpd_add_header(call->req, name, value);
}

const char *api_request_id(struct api_call *call)
{
    return call->req ? httpd_request_id(call->req) : "";
}

bool api_before(struct httpd_req *req, void *stores)
{
    const struct stores *s = stores;
    /* Pages of other origins may call with a secret of their own, never with the dashboard's session. */
    if (dashboard_owns(httpd_path(req)) || session_is_offered(req))
        return false;
    return cors_before(s->cors, req);
}

/* --- members ----------------------------------------------------------------------------- */

/* Puts the key; true when there is a value to put, otherwise null was. */
static bool has_value(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    json_put_key(&call->out, key);
    if (!PQgetisnull(r, row, col))
        return true;
    buf_puts(&call->out, "null");
    return false;
}

void api_put_text(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        json_put_string(&call->out, db_text(r, row, col));
}

void api_put_int(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        buf_printf(&call->out, "%lld", (long long)db_int(r, row, col));
}

void api_put_2dp(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        json_put_2dp(&call->out, strtod(db_text(r, row, col), NULL));
}

void api_put_double(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        json_put_double(&call->out, strtod(db_text(r, row, col), NULL));
}

void api_put_bool(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        buf_puts(&call->out, *db_text(r, row, col) == 't' ? "true" : "false");
}

void api_put_json(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    if (has_value(call, key, r, row, col))
        json_put_compact(&call->out, db_text(r, row, col));
}

void api_put_eastern(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    char text[TIMESTAMP_EASTERN_LEN + 1];
    if (!has_value(call, key, r, row, col))
        return;
    timestamp_eastern(db_int(r, row, col), text);
    json_put_string(&call->out, text);
}

void api_put_iso(struct api_call *call, const char *key, const PGresult *r, int row, int col)
{
    char text[TIMESTAMP_ISO_LEN + 1];
    if (!has_value(call, key, r, row, col))
        return;
    timestamp_iso(db_int(r, row, col), text);
    json_put_string(&call->out, text);
}
