/* hook: see hook.h. */
#include "producer/hook.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SOURCE "changedetection"

/* The fields as found, all owned; NULL = absent or null. */
struct payload {
    char *watch_id, *watch_url, *detected_at, *title, *diff_url, *snapshot;
    char *key;          /* the body's own name for the event */
    bool query_counted; /* the identity came from there */
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
    free(p->key);
}

/* PostgreSQL takes nothing but UTF-8 without NUL. Caller frees. */
static char *as_text(const char *bytes, size_t len)
{
    struct buf text = {0};
    text_append_utf8(&text, bytes, len);
    return buf_detach(&text);
}

/* --- the body ---------------------------------------------------------------------------- */

/* Of no meaning to the contract: what is no text is ignored, like any unknown member. */
static void take_key(const json_t *obj, struct payload *p)
{
    const char *key = json_get_string(obj, "webhookId");
    if (!key || !*key)
        key = json_get_string(obj, "scrapeId");
    if (key && *key && !p->key)
        p->key = mem_strdup(key);
}

/* Strict types: a number for a string field is refused. What the query gave already stays. */
static enum hl_rc take_object(const json_t *obj, struct payload *p, struct hl_err *err)
{
    take_key(obj, p);
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
    char *text = raw ? as_text(raw, len) : NULL;
    free(raw);
    return text;
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
    p->query_counted = p->watch_id && *p->watch_id && p->watch_url && *p->watch_url;
    if (p->query_counted)
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

/* --- limits ------------------------------------------------------------------------------ */

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

/* --- which event it is ------------------------------------------------------------------- */

/* Of everything that was heeded. */
static void digest_of(const struct hook_input *in, const struct payload *p, uint8_t out[DIGEST_LEN])
{
    struct buf all = {0};
    if (!p->query_counted) {
        digest_sha256(in->body, in->len, out);
        return;
    }
    buf_append(&all, in->body, in->len);
    buf_putc(&all, '\0');
    buf_puts(&all, in->query);
    digest_sha256(all.data, all.len, out);
    buf_release(&all);
}

/* A time that tells two changes of one day apart. */
static bool has_time_of_day(const char *text)
{
    text += strspn(text, " \t\r\n");
    text += strcspn(text, "T ");
    return *text && isdigit((unsigned char)text[1]);
}

struct sender_key {
    const char *name, *value;
};

static struct sender_key sender_key(const struct hook_input *in, const struct payload *p)
{
    if (in->webhook_id && *in->webhook_id)
        return (struct sender_key){"webhook-id", in->webhook_id};
    if (in->idempotency_key && *in->idempotency_key)
        return (struct sender_key){"Idempotency-Key", in->idempotency_key};
    return (struct sender_key){"webhookId or scrapeId", p->key};
}

/* timed: p->detected_at is the sender's, and was understood. */
static enum hl_rc identify(const struct hook_input *in, const struct payload *p, bool timed,
    const uint8_t digest[DIGEST_LEN], struct identity *who, struct hl_err *err)
{
    const struct sender_key key = sender_key(in, p);
    char hex[DIGEST_HEXLEN + 1];

    if (key.value && strlen(key.value) > IDENTITY_MAX_KEY)
        return hl_fail(err, HL_FATAL, "%s: at most %d bytes", key.name, IDENTITY_MAX_KEY);
    digest_hex(digest, DIGEST_LEN, hex);
    if (key.value)
        *who = identity_of(SOURCE, IDENTITY_ID, key.value);
    else if (in->dedup && timed && has_time_of_day(p->detected_at))
        *who = identity_of(SOURCE, IDENTITY_DIGEST, hex);
    else
        *who = identity_fresh(in->now);
    return HL_OK;
}

/* --- the event --------------------------------------------------------------------------- */

/* Sets *at, *timed (it is the sender's); *raw is the text to keep when it was not understood. */
static enum hl_rc read_time(const struct hook_input *in, const struct payload *p, int64_t *at,
    bool *timed, const char **raw, struct hl_err *err)
{
    const char *text = p->detected_at;
    *raw = NULL;
    *timed = true;
    if (text && (timestamp_parse_iso(text, at) || timestamp_parse_cdio(text, at)))
        return HL_OK;
    if (in->signature)
        return text ? hl_fail(err, HL_FATAL, "detected_at: not an ISO 8601 time")
                    : hl_fail(err, HL_FATAL, "detected_at: field required");
    *at = in->now;
    *raw = text;
    *timed = false;
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
    if (in->signature) {
        char *text = as_text(in->signature, strlen(in->signature));
        put_cut(&b, "signature", text, 256);
        free(text);
    }
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

static enum hl_rc build(const struct hook_input *in, struct payload *p, struct change_event *ev,
    struct identity *who, struct hl_err *err)
{
    int64_t at;
    bool timed;
    const char *raw_time;
    uint8_t digest[DIGEST_LEN];

    digest_of(in, p, digest);
    if (check_limits(p, err) != HL_OK || read_time(in, p, &at, &timed, &raw_time, err) != HL_OK ||
        identify(in, p, timed, digest, who, err) != HL_OK)
        return HL_FATAL;
    *ev = (struct change_event){
        .id = who->id,
        .detected_at = at,
        .metadata = metadata(in, p, at, raw_time),
    };
    memcpy(ev->body_digest, digest, sizeof(digest));
    if (p->snapshot && *p->snapshot)
        ev->diff_summary = mem_strndup(p->snapshot, text_prefix_chars(p->snapshot, EVENT_MAX_DIFF));
    ev->watch_id = take(&p->watch_id);
    ev->watch_url = take(&p->watch_url);
    ev->snapshot_url = take(&p->diff_url);
    return HL_OK;
}

enum hl_rc hook_read(
    const struct hook_input *in, struct change_event *ev, struct identity *who, struct hl_err *err)
{
    struct payload p = {0};
    enum hl_rc rc = HL_OK;

    if (read_query(in, &p))
        read_any_body(in, &p);
    else
        rc = read_body(in, &p, err);
    if (rc == HL_OK)
        rc = build(in, &p, ev, who, err);
    payload_release(&p);
    return rc;
}
