/* spans: see spans.h. Owns the ring of spans, each written as JSON already, and the one batch that is
 * under way. */
#include "domain/spans.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/text.h"
#include "base/url.h"
#include "io/http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The latest time that 64 bits hold in nanoseconds: the year 2262. */
#define MAX_TIME_US (INT64_MAX / 1000)

enum {
    MAX_HEADERS = 32,
    MAX_URL = 1024,
    MAX_TEXT = 255, /* of any other attribute, bytes */
    MAX_ANSWER = 64 * 1024,
    CONNECT_MS = 2000,
    ANSWER_MS = 10000,
    RETRY_BASE_MS = 1000,
    RETRY_MAX_MS = 30000,
    SAY_EVERY_MS = 60000,
    STATUS_ERROR = 2, /* OTLP's STATUS_CODE_ERROR */
};

struct spans {
    struct loop *loop;
    struct http *http;
    char *url;
    char *headers[MAX_HEADERS + 2]; /* and the type of the content */
    char *resource;                 /* everything before the spans of a request */
    char *ring[SPANS_RING];         /* JSON of a span each */
    size_t first, len;
    struct timer flush; /* when what waits goes out, or the batch once more */
    struct http_call *call;
    struct buf batch; /* under way, or to be tried again; empty = none */
    int64_t batch_spans;
    int tries;
    int64_t dropped, said_ms; /* since the log had a line of it */
    struct hl_err trouble;    /* why the last request came to nothing; msg "": it did not */
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct timer deadline;
};

/* --- one span ---------------------------------------------------------------------------- */

/* Any bytes; `max` of them. */
static void put_string(struct buf *b, const char *s, size_t max)
{
    struct buf text = {0};
    text_append_utf8(&text, s, text_prefix_bytes(s, max));
    json_put_string(b, buf_str(&text));
    buf_release(&text);
}

static void put_attribute(struct buf *b, const char *key, const char *value, size_t max)
{
    if (!value || !*value)
        return;
    buf_printf(b,
        "%s{\"key\":\"%s\",\"value\":{\"stringValue\":", b->data[b->len - 1] == '[' ? "" : ",",
        key);
    put_string(b, value, max);
    buf_puts(b, "}}");
}

/* 64-bit numbers are strings in OTLP's JSON. */
static void put_number(struct buf *b, const char *key, int64_t n)
{
    if (n)
        buf_printf(b, "%s{\"key\":\"%s\",\"value\":{\"intValue\":\"%lld\"}}",
            b->data[b->len - 1] == '[' ? "" : ",", key, (long long)n);
}

/* The values of a query may be somebody's tokens: only their names are told. */
static void put_query(struct buf *b, const char *query)
{
    while (*query && *query != '#') {
        size_t name = strcspn(query + 1, "=&#") + 1;
        buf_append(b, query, name);
        query += name;
        if (*query == '=')
            buf_puts(b, "=REDACTED");
        query += strcspn(query, "&#");
    }
}

/* Without user, password and fragment. */
static void put_url(struct buf *b, const char *url)
{
    struct buf clean = {0};
    const char *host = url ? strstr(url, "://") : NULL;
    if (!host)
        return;
    host += 3;
    buf_append(&clean, url, (size_t)(host - url));
    const char *at = memrchr(host, '@', strcspn(host, "/?#"));
    host = at ? at + 1 : host;
    size_t path = strcspn(host, "?#");
    buf_append(&clean, host, path);
    put_query(&clean, host + path);
    put_attribute(b, "url.full", buf_str(&clean), MAX_URL);
    buf_release(&clean);
}

static void put_id(struct buf *b, const char *key, const uint8_t *id, size_t len)
{
    char hex[TRACE_ID_LEN + 1];
    digest_hex(id, len, hex);
    json_put_text(b, key, hex);
}

static void put_time(struct buf *b, const char *key, int64_t at)
{
    int64_t us = at < 0 ? 0 : at > MAX_TIME_US ? MAX_TIME_US : at;
    json_put_key(b, key);
    buf_printf(b, "\"%lld\"", (long long)us * 1000);
}

static void put_attributes(struct buf *b, const struct span *span)
{
    char event_id[UUID_STRLEN + 1] = "";
    if (span->event_id)
        uuid_format(span->event_id, event_id);
    json_put_key(b, "attributes");
    buf_putc(b, '[');
    put_attribute(b, "hookline.event_id", event_id, MAX_TEXT);
    put_url(b, span->url);
    put_attribute(b, "server.address", span->host, MAX_TEXT);
    put_number(b, "http.response.status_code", span->status);
    put_number(b, "hookline.attempt", span->attempt);
    put_attribute(b, "hookline.worker", span->worker, MAX_TEXT);
    put_attribute(b, "hookline.outcome", span->outcome, MAX_TEXT);
    buf_putc(b, ']');
}

static void put_status(struct buf *b, const char *error)
{
    json_put_key(b, "status");
    buf_putc(b, '{');
    if (error) {
        json_put_int(b, "code", STATUS_ERROR);
        json_put_key(b, "message");
        put_string(b, error, MAX_TEXT);
    }
    buf_putc(b, '}');
}

static bool is_zero(const uint8_t id[8])
{
    static const uint8_t zero[8];
    return memcmp(id, zero, sizeof(zero)) == 0;
}

static void put_span(struct buf *b, const struct span *span)
{
    uint8_t id[8];
    memcpy(id, span->id, sizeof(id));
    if (is_zero(id))
        trace_new_span(id);
    buf_putc(b, '{');
    put_id(b, "traceId", span->trace.id, sizeof(span->trace.id));
    put_id(b, "spanId", id, sizeof(id));
    if (!is_zero(span->trace.parent))
        put_id(b, "parentSpanId", span->trace.parent, sizeof(span->trace.parent));
    json_put_int(b, "flags", 1);
    json_put_text(b, "name", span->name);
    json_put_int(b, "kind", span->kind);
    put_time(b, "startTimeUnixNano", span->began_at);
    put_time(
        b, "endTimeUnixNano", span->ended_at > span->began_at ? span->ended_at : span->began_at);
    put_attributes(b, span);
    put_status(b, span->error);
    buf_putc(b, '}');
}

/* --- what is lost ------------------------------------------------------------------------ */

static void drop(struct spans *s, int64_t n, const char *why)
{
    int64_t now = clock_mono_ms();
    meter_add(M_SPANS, FATE_DROPPED, 0, n);
    s->dropped += n;
    if (s->said_ms && now - s->said_ms < SAY_EVERY_MS)
        return;
    log_warn("spans_dropped", LOG_I("spans", s->dropped), LOG_S("error", why));
    s->said_ms = now;
    s->dropped = 0;
}

/* --- sending ----------------------------------------------------------------------------- */

static void send_batch(struct spans *s);

static void drain_ends(void *ctx)
{
    struct spans *s = ctx;
    if (!s->drained)
        return;
    int64_t left = (int64_t)s->len + (s->batch.len ? s->batch_spans : 0);
    if (left)
        drop(s, left, "the process ends");
    void (*done)(void *) = s->drained;
    s->drained = NULL;
    timer_stop(&s->deadline);
    done(s->drained_ctx);
}

/* The batch is no longer ours to send. */
static void batch_ends(struct spans *s, bool well)
{
    buf_clear(&s->batch);
    s->tries = 0;
    if (s->draining && (!well || !s->len))
        timer_start(&s->deadline, 0);
    else if (s->len)
        timer_start(&s->flush, s->draining || s->len >= SPANS_BATCH ? 0 : SPANS_FLUSH_MS);
}

static int64_t rejected_of(const struct http_response *res)
{
    json_t *root = json_parse(res->body, res->body_len, NULL);
    json_t *n = json_object_get(json_object_get(root, "partialSuccess"), "rejectedSpans");
    int64_t rejected = json_is_integer(n)  ? json_integer_value(n)
                       : json_is_string(n) ? strtoll(json_string_value(n), NULL, 10)
                                           : 0;
    json_decref(root);
    return rejected;
}

static void delivered(struct spans *s, const struct http_response *res)
{
    int64_t rejected = rejected_of(res);
    if (rejected < 0 || rejected > s->batch_spans)
        rejected = 0;
    meter_add(M_SPANS, FATE_WRITTEN, 0, s->batch_spans - rejected);
    meter_add(M_SPANS, FATE_REFUSED, 0, rejected);
    batch_ends(s, true);
}

static bool says_later(const struct http_response *res)
{
    if (res->rc != HL_OK)
        return res->rc == HL_RETRY;
    return res->status == 429 || (res->status >= 502 && res->status <= 504);
}

static int64_t pause_of(const struct spans *s, const struct http_response *res)
{
    int64_t ms = res->retry_after_ms >= 0 ? res->retry_after_ms : RETRY_BASE_MS << s->tries;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static void answered(const struct http_response *res, void *ctx)
{
    struct spans *s = ctx;
    s->call = NULL;
    if (res->rc == HL_OK && res->status >= 200 && res->status < 300) {
        s->trouble.msg[0] = '\0';
        delivered(s, res);
        return;
    }
    if (res->rc == HL_OK)
        hl_fail(&s->trouble, HL_RETRY, "the collector answered %ld", res->status);
    else
        s->trouble = *res->err;
    if (says_later(res) && !s->draining && s->tries < SPANS_TRIES) {
        timer_start(&s->flush, pause_of(s, res));
    } else {
        drop(s, s->batch_spans, s->trouble.msg);
        batch_ends(s, false);
    }
}

static void send_batch(struct spans *s)
{
    const struct http_request req = {.method = "POST",
        .url = s->url,
        .headers = (const char *const *)s->headers,
        .body = s->batch.data,
        .body_len = s->batch.len,
        .connect_timeout_ms = CONNECT_MS,
        .timeout_ms = ANSWER_MS,
        .max_body = MAX_ANSWER};
    s->tries++;
    s->call = http_start(s->http, &req, answered, s);
}

static void fill_batch(struct spans *s)
{
    buf_puts(&s->batch, s->resource);
    for (s->batch_spans = 0; s->len && s->batch_spans < SPANS_BATCH; s->batch_spans++) {
        if (s->batch_spans)
            buf_putc(&s->batch, ',');
        buf_puts(&s->batch, s->ring[s->first]);
        free(s->ring[s->first]);
        s->first = (s->first + 1) % SPANS_RING;
        s->len--;
    }
    buf_puts(&s->batch, "]}]}]}");
}

static void flush(void *ctx)
{
    struct spans *s = ctx;
    if (s->call)
        return;
    if (!s->batch.len) {
        if (!s->len)
            return;
        fill_batch(s);
    }
    send_batch(s);
}

void spans_add(struct spans *s, const struct span *span)
{
    struct buf b = {0};
    if (!s || !span->trace.sampled)
        return;
    if (s->len == SPANS_RING) {
        drop(s, 1, *s->trouble.msg ? s->trouble.msg : "too many wait for the collector");
        return;
    }
    put_span(&b, span);
    s->ring[(s->first + s->len++) % SPANS_RING] = buf_detach(&b);
    if (s->call || s->batch.len)
        return;
    if (s->len == SPANS_BATCH || s->draining)
        timer_start(&s->flush, 0);
    else if (!timer_running(&s->flush))
        timer_start(&s->flush, SPANS_FLUSH_MS);
}

/* --- life -------------------------------------------------------------------------------- */

/* Characters of a header's name and value; anything else would end the line. How the body is framed,
 * and what it is, is not theirs to say. */
static bool is_header(const char *name, const char *value, size_t value_len)
{
    static const char *const ours[] = {"Content-Type", "Content-Length", "Transfer-Encoding"};
    for (const char *p = name; *p; p++)
        if (!strchr("!#$%&'*+-.^_`|~", *p) && !isalnum((unsigned char)*p))
            return false;
    for (size_t i = 0; i < value_len; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return false;
    for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return false;
    return *name && value_len;
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len && strchr(" \t", text[len - 1]))
        len--;
    text[len] = '\0';
    return text;
}

/* "name=value"; NULL: no header. Allocated. */
static char *header_of(char *pair)
{
    char *value = strchr(pair, '=');
    if (!value)
        return NULL;
    *value++ = '\0';
    const char *name = trim(pair);
    value = trim(value);
    size_t len = url_decode(value, false);
    return is_header(name, value, len) ? mem_printf("%s: %.*s", name, (int)len, value) : NULL;
}

/* "name=value,name=value", values percent-encoded. What is no header is left out. */
static void read_headers(struct spans *s, const char *text)
{
    size_t n = 0, refused = 0;
    s->headers[n++] = mem_strdup("Content-Type: application/json");
    for (size_t len; text && *text && n <= MAX_HEADERS; text += len + (text[len] == ',')) {
        len = strcspn(text, ",");
        char *pair = mem_strndup(text, len);
        char *header = header_of(pair);
        if (header)
            s->headers[n++] = header;
        else
            refused += *trim(pair) != '\0';
        free(pair);
    }
    if (refused)
        log_warn("span_headers_refused", LOG_I("headers", refused),
            LOG_S("setting", "OTEL_EXPORTER_OTLP_HEADERS"),
            LOG_S("remedy", "write name=value, with commas between, values percent-encoded"));
}

/* {endpoint}/v1/traces; a query stays behind it. */
static char *url_of(const char *endpoint)
{
    size_t path = strcspn(endpoint, "?#"), len = path;
    const char *query = endpoint + path;
    while (len && endpoint[len - 1] == '/')
        len--;
    return mem_printf("%.*s/v1/traces%.*s", (int)len, endpoint, (int)strcspn(query, "#"), query);
}

static char *resource_of(const struct config *cfg, const char *instance)
{
    struct buf b = {0};
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    buf_puts(&b, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    put_attribute(&b, "service.name", cfg->otel_service_name, MAX_TEXT);
    put_attribute(&b, "service.version", HOOKLINE_VERSION, MAX_TEXT);
    put_attribute(&b, "service.instance.id", instance, MAX_TEXT);
    put_attribute(&b, "host.name", host, MAX_TEXT);
    put_number(&b, "process.pid", getpid());
    buf_puts(&b,
        "]},\"scopeSpans\":[{\"scope\":{\"name\":\"hookline\",\"version\":\"" HOOKLINE_VERSION
        "\"},\"spans\":[");
    return buf_detach(&b);
}

struct spans *spans_new(
    struct loop *l, const struct config *cfg, const char *instance, struct hl_err *err)
{
    if (!cfg->otlp_endpoint || !*cfg->otlp_endpoint)
        return NULL;
    struct http *http = http_new(l, "Hookline/" HOOKLINE_VERSION, err);
    if (!http)
        return NULL;
    struct spans *s = mem_new(struct spans);
    s->loop = l;
    s->http = http;
    s->url = url_of(cfg->otlp_endpoint);
    s->resource = resource_of(cfg, instance);
    read_headers(s, cfg->otlp_headers);
    timer_init(l, &s->flush, flush, s);
    timer_init(l, &s->deadline, drain_ends, s);
    return s;
}

void spans_drain(struct spans *s, int64_t deadline_ms, void (*done)(void *ctx), void *ctx)
{
    if (!s) {
        done(ctx);
        return;
    }
    s->draining = true;
    s->drained = done;
    s->drained_ctx = ctx;
    bool idle = !s->len && !s->batch.len;
    timer_start(&s->deadline, idle ? 0 : deadline_ms);
    if (!idle)
        timer_start(&s->flush, 0);
}

void spans_free(struct spans *s)
{
    if (!s)
        return;
    timer_stop(&s->flush);
    timer_stop(&s->deadline);
    http_free(s->http);
    for (; s->len; s->len--) {
        free(s->ring[s->first]);
        s->first = (s->first + 1) % SPANS_RING;
    }
    for (size_t i = 0; s->headers[i]; i++)
        free(s->headers[i]);
    buf_release(&s->batch);
    free(s->resource);
    free(s->url);
    free(s);
}
