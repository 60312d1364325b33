/* hook: see hook.h. */
#include "producer/hook.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The fields as found, all owned; NULL = absent or null. */
struct payload {
    char *watch_id, *watch_url, *detected_at, *title, *diff_url, *snapshot;
};

/* One row per field: its name in the payload, changedetection.io's name for it, where it goes. */
static const struct {
    const char *name, *alias;
    size_t offset;
    bool required;
} fields[] = {
    {"watch_id",    "watch_uuid",      offsetof(struct payload, watch_id),    true },
    {"watch_url",   NULL,              offsetof(struct payload, watch_url),   true },
    {"detected_at", "change_datetime", offsetof(struct payload, detected_at), false},
    {"watch_title", NULL,              offsetof(struct payload, title),       false},
    {"diff_url",    NULL,              offsetof(struct payload, diff_url),    false},
    {"snapshot",    NULL,              offsetof(struct payload, snapshot),    false},
};
enum { NFIELDS = sizeof(fields) / sizeof(*fields) };

static char **field_of(struct payload *p, int i)
{
    return (char **)(void *)((char *)p + fields[i].offset);
}

static void payload_release(struct payload *p)
{
    for (int i = 0; i < NFIELDS; i++)
        free(*field_of(p, i));
}

/* --- the body ---------------------------------------------------------------------------- */

/* Strict types: a number for a string field is refused. What the query gave already stays. */
static enum hl_rc take_object(const json_t *obj, struct payload *p, struct hl_err *err)
{
    for (int i = 0; i < NFIELDS; i++) {
        const char *name = fields[i].name;
        const json_t *v = json_object_get(obj, name);
        if (!v && fields[i].alias)
            v = json_object_get(obj, name = fields[i].alias);
        if (!v || json_is_null(v))
            continue;
        if (!json_is_string(v))
            return hl_fail(err, HL_FATAL, "%s: must be a string", name);
        if (!*field_of(p, i))
            *field_of(p, i) = mem_strdup(json_string_value(v));
    }
    return HL_OK;
}

/* Apprise's json:// envelope: version, title, message, ...; the payload is the text in message. */
static const char *envelope_message(const json_t *obj)
{
    const char *message = json_get_string(obj, "message");
    if (!message || !json_object_get(obj, "version"))
        return NULL;
    for (int i = 0; i < NFIELDS; i++)
        if (json_object_get(obj, fields[i].name) ||
            (fields[i].alias && json_object_get(obj, fields[i].alias)))
            return NULL;
    return message;
}

/* Why a body is no JSON, in words that say what to change in changedetection.io. One row per cause,
 * the first that fits speaks. */
static enum hl_rc explain(
    const struct hook_input *in, const char *text, const char *fault, struct hl_err *err)
{
    static const char use_template[] = "use json:// or post:// with a JSON notification body";
    while (*text == ' ' || *text == '\n' || *text == '\r' || *text == '\t')
        text++;
    if (strncasecmp(in->content_type, "application/x-www-form-urlencoded", 33) == 0 ||
        strncmp(text, "version=", 8) == 0)
        return hl_fail(err, HL_FATAL, "the body is a form (form://); %s", use_template);
    if (strncasecmp(in->content_type, "application/xml", 15) == 0 || strncmp(text, "<?xml", 5) == 0)
        return hl_fail(err, HL_FATAL, "the body is XML (xml://); %s", use_template);
    if (strstr(text, "<br") || strstr(text, "&nbsp;") || strstr(text, "<span ") ||
        strncmp(text, "<p>", 3) == 0)
        return hl_fail(err, HL_FATAL,
            "the JSON was broken by an HTML format: set the "
            "notification format to Plain Text");
    if (*text == '{')
        return hl_fail(err, HL_FATAL, "%s; in a template write values as {{ name|tojson }}", fault);
    return hl_fail(err, HL_FATAL, "%s; %s", fault, use_template);
}

static json_t *parse_object(
    const struct hook_input *in, const char *text, size_t len, struct hl_err *err)
{
    struct hl_err fault;
    json_t *obj = json_parse(text, len, &fault);
    if (!obj) {
        explain(in, text, fault.msg, err);
        return NULL;
    }
    if (json_is_object(obj))
        return obj;
    json_decref(obj);
    hl_fail(err, HL_FATAL, "must be a JSON object");
    return NULL;
}

/* The payload object, unwrapped; NULL and err when there is none. */
static json_t *body_object(const struct hook_input *in, struct hl_err *err)
{
    json_t *obj = parse_object(in, in->body, in->len, err);
    const char *message = obj ? envelope_message(obj) : NULL;
    if (!message)
        return obj;
    json_t *inner = parse_object(in, message, strlen(message), err);
    json_decref(obj);
    return inner;
}

static enum hl_rc read_body(const struct hook_input *in, struct payload *p, struct hl_err *err)
{
    json_t *obj = body_object(in, err);
    if (!obj)
        return HL_FATAL;
    enum hl_rc rc = take_object(obj, p, err);
    json_decref(obj);
    for (int i = 0; rc == HL_OK && i < NFIELDS; i++)
        if (fields[i].required && !*field_of(p, i))
            rc = hl_fail(err, HL_FATAL, "%s: field required", fields[i].name);
    return rc;
}

/* --- identity in the query, with a token only -------------------------------------------- */

static char *query_text(const struct hook_input *in, const char *name)
{
    size_t len;
    char *raw = url_query_get(in->query, name, &len);
    if (!raw)
        return NULL;
    struct buf clean = {0};
    text_append_utf8(&clean, raw, len);
    free(raw);
    return buf_detach(&clean);
}

static bool read_query(const struct hook_input *in, struct payload *p)
{
    if (in->signature)
        return false;
    for (int i = 0; i < NFIELDS; i++) {
        char *v = query_text(in, fields[i].name);
        if (!v && fields[i].alias)
            v = query_text(in, fields[i].alias);
        *field_of(p, i) = v;
    }
    if (!p->title)
        p->title = query_text(in, "title");
    if (p->watch_id && *p->watch_id && p->watch_url && *p->watch_url)
        return true;
    payload_release(p);
    *p = (struct payload){0};
    return false;
}

/* A body that is a payload, in an envelope or not, adds its fields; any other text is the
 * snapshot. */
static void read_any_body(const struct hook_input *in, struct payload *p)
{
    struct hl_err ignored;
    struct buf text = {0};
    json_t *obj = json_parse(in->body, in->len, &ignored);
    const char *message = json_is_object(obj) ? envelope_message(obj) : NULL;
    json_t *inner = message ? json_parse(message, strlen(message), &ignored) : json_incref(obj);

    if (json_is_object(inner))
        take_object(inner, p, &ignored);
    if (!p->snapshot && message)
        buf_puts(&text, message);
    else if (!p->snapshot)
        text_append_utf8(&text, in->body, in->len);
    if (text.len)
        p->snapshot = buf_detach(&text);
    buf_release(&text);
    json_decref(inner);
    json_decref(obj);
}

/* --- the event --------------------------------------------------------------------------- */

static enum hl_rc check_limits(const struct payload *p, struct hl_err *err)
{
    if (text_chars(p->watch_id) > EVENT_MAX_WATCH_ID)
        return hl_fail(err, HL_FATAL, "watch_id: at most %d characters", EVENT_MAX_WATCH_ID);
    if (strlen(p->watch_url) > EVENT_MAX_URL)
        return hl_fail(err, HL_FATAL, "watch_url: at most %d bytes", EVENT_MAX_URL);
    if (p->diff_url && strlen(p->diff_url) > EVENT_MAX_URL)
        return hl_fail(err, HL_FATAL, "diff_url: at most %d bytes", EVENT_MAX_URL);
    return HL_OK;
}

/* Sets *at; *raw is the text to keep when it could not be understood. */
static enum hl_rc read_time(const struct hook_input *in, const struct payload *p, int64_t *at,
    const char **raw, struct hl_err *err)
{
    const char *text = p->detected_at;
    *raw = NULL;
    if (text && (timestamp_parse_iso(text, at) || timestamp_parse_cdio(text, at)))
        return HL_OK;
    if (in->signature)
        return text ? hl_fail(err, HL_FATAL, "detected_at: not an ISO 8601 time")
                    : hl_fail(err, HL_FATAL, "detected_at: field required");
    *at = in->now;
    *raw = text;
    return HL_OK;
}

static void put_cut(struct buf *b, const char *key, const char *value, size_t max_bytes)
{
    json_put_key(b, key);
    if (!value) {
        buf_puts(b, "null");
        return;
    }
    char *cut = mem_strndup(value, text_prefix_bytes(value, max_bytes));
    json_put_string(b, cut);
    free(cut);
}

static char *metadata(
    const struct hook_input *in, const struct payload *p, int64_t detected_at, const char *raw_time)
{
    char received[TIMESTAMP_EASTERN_LEN + 1], detected[TIMESTAMP_EASTERN_LEN + 1];
    struct buf b = {0};

    timestamp_eastern(in->now, received);
    timestamp_eastern(detected_at, detected);
    buf_putc(&b, '{');
    put_cut(&b, "watch_title", p->title, EVENT_MAX_TITLE);
    put_cut(&b, "webhook_received_at", received, sizeof(received));
    if (in->signature)
        put_cut(&b, "signature", in->signature, 256);
    json_put_key(&b, "diff_size");
    buf_printf(&b, "%zu", p->snapshot ? text_chars(p->snapshot) : 0);
    put_cut(&b, "raw_payload_version", "1.0", 3);
    put_cut(&b, "detected_at", detected, sizeof(detected));
    if (raw_time)
        put_cut(&b, "detected_at_raw", raw_time, 256);
    buf_putc(&b, '}');
    return buf_detach(&b);
}

static char *take(char **from)
{
    char *s = *from;
    *from = NULL;
    return s;
}

static enum hl_rc build(
    const struct hook_input *in, struct payload *p, struct change_event *ev, struct hl_err *err)
{
    int64_t at;
    const char *raw_time;

    if (check_limits(p, err) != HL_OK || read_time(in, p, &at, &raw_time, err) != HL_OK)
        return HL_FATAL;
    *ev = (struct change_event){
        .id = uuid_v7(in->now / 1000),
        .detected_at = at,
        .metadata = metadata(in, p, at, raw_time),
    };
    if (p->snapshot && *p->snapshot)
        ev->diff_summary = mem_strndup(p->snapshot, text_prefix_chars(p->snapshot, EVENT_MAX_DIFF));
    ev->watch_id = take(&p->watch_id);
    ev->watch_url = take(&p->watch_url);
    ev->snapshot_url = take(&p->diff_url);
    digest_sha256(in->body, in->len, ev->body_digest);
    return HL_OK;
}

enum hl_rc hook_read(const struct hook_input *in, struct change_event *ev, struct hl_err *err)
{
    struct payload p = {0};
    enum hl_rc rc = HL_OK;

    if (read_query(in, &p))
        read_any_body(in, &p);
    else
        rc = read_body(in, &p, err);
    if (rc == HL_OK)
        rc = build(in, &p, ev, err);
    payload_release(&p);
    return rc;
}
