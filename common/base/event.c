/* event: the change event and its msgpack form; see event.h. */
#include "base/event.h"

#include "base/flatmap.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/trace.h"

#include <msgpack.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 64
/* Years 1 to 9999: what timestamps can be written as. */
#define MIN_DETECTED_AT INT64_C(-62135596800000000)
#define MAX_DETECTED_AT INT64_C(253402300799999999)

void event_release(struct change_event *ev)
{
    free(ev->watch_id);
    free(ev->watch_url);
    free(ev->diff_summary);
    free(ev->snapshot_url);
    free(ev->metadata);
    free(ev->request_id);
    free(ev->traceparent);
    *ev = (struct change_event){0};
}

void event_copy(struct change_event *to, const struct change_event *from)
{
    *to = *from;
    to->watch_id = mem_strdup(from->watch_id);
    to->watch_url = mem_strdup(from->watch_url);
    to->diff_summary = mem_strdup(from->diff_summary);
    to->snapshot_url = mem_strdup(from->snapshot_url);
    to->metadata = mem_strdup(from->metadata);
    to->request_id = mem_strdup(from->request_id);
    to->traceparent = mem_strdup(from->traceparent);
}

/* --- encoding ---------------------------------------------------------------------------- */

void event_encode(const struct change_event *ev, struct buf *out)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, flatmap_to_buf);
    msgpack_pack_map(&pk, 9U + (ev->request_id != NULL) + (ev->traceparent != NULL));
    flatmap_put_int(&pk, "v", EVENT_VERSION);
    flatmap_put_bytes(&pk, "id", ev->id.b, sizeof(ev->id.b));
    flatmap_put_text(&pk, "w", ev->watch_id);
    flatmap_put_text(&pk, "u", ev->watch_url);
    flatmap_put_int(&pk, "t", ev->detected_at);
    flatmap_put_text(&pk, "d", ev->diff_summary);
    flatmap_put_text(&pk, "s", ev->snapshot_url);
    flatmap_put_text(&pk, "m", ev->metadata);
    flatmap_put_bytes(&pk, "h", ev->body_digest, sizeof(ev->body_digest));
    if (ev->request_id)
        flatmap_put_text(&pk, "q", ev->request_id);
    if (ev->traceparent)
        flatmap_put_text(&pk, "p", ev->traceparent);
}

/* --- decoding ---------------------------------------------------------------------------- */

struct field {
    const char *key;
    const char *name; /* for people */
    /* NULL when taken, else what is wrong. */
    const char *(*take)(const struct field *f, const msgpack_object *o, void *to);
    size_t offset;
    size_t bytes;  /* at most; of take_bytes exactly */
    size_t chars;  /* at most; 0 = only bytes are limited */
    bool optional; /* may be nil */
    bool absent;   /* may be left out */
};

static const char *take_text(const struct field *f, const msgpack_object *o, void *to)
{
    if (o->type == MSGPACK_OBJECT_NIL && f->optional)
        return NULL;
    if (o->type != MSGPACK_OBJECT_STR)
        return "is not a string";
    size_t len = o->via.str.size;
    const char *s = len ? o->via.str.ptr : ""; /* msgpack-c leaves NULL for an empty string */
    if (len > f->bytes)
        return "is too long";
    if (memchr(s, '\0', len))
        return "holds a NUL byte";
    if (!text_utf8_valid(s, len))
        return "is not valid UTF-8";
    char *copy = mem_strndup(s, len);
    if (f->chars && text_chars(copy) > f->chars) {
        free(copy);
        return "is too long";
    }
    *(char **)to = copy;
    return NULL;
}

/* A row's jsonb column takes objects only, and one that is refused would fail its whole batch. */
static const char *take_json(const struct field *f, const msgpack_object *o, void *to)
{
    const char *wrong = take_text(f, o, to);
    if (wrong)
        return wrong;
    json_t *root = json_parse(*(char **)to, o->via.str.size, NULL);
    wrong = json_is_object(root) ? NULL : "is not a JSON object";
    json_decref(root);
    return wrong;
}

static const char *take_bytes(const struct field *f, const msgpack_object *o, void *to)
{
    if (o->type != MSGPACK_OBJECT_BIN || o->via.bin.size != f->bytes)
        return "is not bytes of the right length";
    memcpy(to, o->via.bin.ptr, f->bytes);
    return NULL;
}

static const char *take_time(const struct field *f, const msgpack_object *o, void *to)
{
    (void)f;
    int64_t us;
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= MAX_DETECTED_AT)
        us = (int64_t)o->via.u64;
    else if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && o->via.i64 >= MIN_DETECTED_AT)
        us = o->via.i64;
    else
        return "is not a time of the years 1 to 9999";
    *(int64_t *)to = us;
    return NULL;
}

/* One that is none is as if it were not there: no event is lost for the sake of its trace. */
static const char *take_trace(const struct field *f, const msgpack_object *o, void *to)
{
    char *text = NULL;
    if (take_text(f, o, &text) == NULL)
        *(char **)to = trace_carried(text);
    free(text);
    return NULL;
}

#define AT(member) .offset = offsetof(struct change_event, member)
/* clang-format off */
static const struct field fields[] = {
    {.key = "id", .name = "event id", AT(id), .take = take_bytes, .bytes = sizeof(struct uuid)},
    {.key = "w", .name = "watch_id", AT(watch_id), .take = take_text,
        .bytes = EVENT_MAX_WATCH_ID * 4, .chars = EVENT_MAX_WATCH_ID},
    {.key = "u", .name = "watch_url", AT(watch_url), .take = take_text, .bytes = EVENT_MAX_URL},
    {.key = "t", .name = "detected_at", AT(detected_at), .take = take_time},
    {.key = "d", .name = "diff_summary", AT(diff_summary), .take = take_text,
        .bytes = EVENT_MAX_DIFF * 4, .chars = EVENT_MAX_DIFF, .optional = true},
    {.key = "s", .name = "snapshot_url", AT(snapshot_url), .take = take_text,
        .bytes = EVENT_MAX_URL, .optional = true},
    {.key = "m", .name = "metadata", AT(metadata), .take = take_json, .bytes = EVENT_MAX_METADATA},
    {.key = "h", .name = "body digest", AT(body_digest), .take = take_bytes, .bytes = DIGEST_LEN},
    {.key = "q", .name = "request id", AT(request_id), .take = take_text,
        .bytes = EVENT_MAX_REQUEST, .absent = true},
    {.key = "p", .name = "traceparent", AT(traceparent), .take = take_trace,
        .bytes = TRACE_PARENT_LEN, .absent = true},
};
/* clang-format on */
#define NFIELDS (sizeof(fields) / sizeof(*fields))

/* The version comes first, so that a newer job is recognised before anything else is judged. */
static enum hl_rc read_version(struct flatmap *m, struct hl_err *err)
{
    const msgpack_object *key = flatmap_next(m);
    if (!key || !flatmap_is(key, "v"))
        return hl_fail(err, HL_FATAL, "not a job: its first key is not \"v\"");
    const msgpack_object *v = flatmap_next(m);
    if (!v || v->type != MSGPACK_OBJECT_POSITIVE_INTEGER || v->via.u64 == 0)
        return hl_fail(err, HL_FATAL, "not a job: its version is not a positive number");
    if (v->via.u64 > EVENT_VERSION)
        return hl_fail(err, HL_LOST, "job of version %llu, newer than this program's %d",
            (unsigned long long)v->via.u64, EVENT_VERSION);
    return HL_OK;
}

static const struct field *field_of(const msgpack_object *key)
{
    for (size_t i = 0; i < NFIELDS; i++)
        if (flatmap_is(key, fields[i].key))
            return &fields[i];
    return NULL;
}

static enum hl_rc read_pair(
    struct flatmap *m, struct change_event *ev, unsigned *seen, struct hl_err *err)
{
    const msgpack_object *key = flatmap_next(m);
    if (!key || key->type != MSGPACK_OBJECT_STR)
        return hl_fail(err, HL_FATAL, "job is cut short or has a key that is no string");
    const struct field *f = field_of(key);
    const msgpack_object *value = flatmap_next(m);
    if (!value)
        return hl_fail(err, HL_FATAL, "job is cut short or holds a nested value");
    if (!f)
        return HL_OK; /* from a later minor change of the same version */
    unsigned bit = 1U << (f - fields);
    if (*seen & bit)
        return hl_fail(err, HL_FATAL, "job has its %s twice", f->name);
    *seen |= bit;
    const char *wrong = f->take(f, value, (char *)ev + f->offset);
    if (wrong)
        return hl_fail(err, HL_FATAL, "%s of the job %s", f->name, wrong);
    return HL_OK;
}

static enum hl_rc read_event(
    struct flatmap *m, int pairs, struct change_event *ev, struct hl_err *err)
{
    if (pairs < 0)
        return hl_fail(err, HL_FATAL, "not a job: not a msgpack map");
    enum hl_rc rc = read_version(m, err);
    if (rc != HL_OK)
        return rc;
    if (pairs > MAX_KEYS)
        return hl_fail(err, HL_FATAL, "job has %d keys, more than %d", pairs, MAX_KEYS);
    unsigned seen = 0;
    for (int i = 1; i < pairs; i++)
        if ((rc = read_pair(m, ev, &seen, err)) != HL_OK)
            return rc;
    for (size_t i = 0; i < NFIELDS; i++)
        if (!(seen & 1U << i) && !fields[i].absent)
            return hl_fail(err, HL_FATAL, "job has no %s", fields[i].name);
    if (m->at != m->len)
        return hl_fail(err, HL_FATAL, "%zu bytes follow the job", m->len - m->at);
    return HL_OK;
}

enum hl_rc event_decode(const void *data, size_t len, struct change_event *ev, struct hl_err *err)
{
    struct flatmap m;
    struct change_event got = {0};
    int pairs = flatmap_open(&m, data, len);
    enum hl_rc rc = read_event(&m, pairs, &got, err);
    flatmap_close(&m);
    if (rc == HL_OK)
        *ev = got;
    else
        event_release(&got);
    return rc;
}
