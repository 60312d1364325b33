/* crawl_job: see crawl_job.h. */
#include "base/crawl_job.h"

#include "base/flatmap.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/trace.h"

#include <msgpack.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define KIND              "crawl"
#define MAX_KEYS          64
#define MAX_REQUEST_ID    128  /* bytes */
#define COMPRESS_FROM     1024 /* bytes */
#define COMPRESSION_LEVEL 1
#define MAX_RECEIVED_AT   INT64_C(253402300799999999) /* the year 9999 */

void crawl_job_release(struct crawl_job *j)
{
    free(j->request_id);
    free(j->traceparent);
    free(j->body);
    *j = (struct crawl_job){0};
}

/* --- encoding ---------------------------------------------------------------------------- */

/* Compressed only where that makes it shorter: by its length a reader knows. */
static void put_body(msgpack_packer *pk, const struct crawl_job *j)
{
    size_t room = j->len < COMPRESS_FROM ? 0 : ZSTD_compressBound(j->len);
    char *small = room ? mem_alloc(room) : NULL;
    size_t len = small ? ZSTD_compress(small, room, j->body, j->len, COMPRESSION_LEVEL) : j->len;

    if (!ZSTD_isError(len) && len < j->len)
        flatmap_put_bytes(pk, "b", small, len);
    else
        flatmap_put_bytes(pk, "b", j->body, j->len);
    free(small);
}

void crawl_job_encode(const struct crawl_job *j, struct buf *out)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, flatmap_to_buf);
    msgpack_pack_map(&pk, j->traceparent ? 10 : 9);
    flatmap_put_int(&pk, "v", CRAWL_JOB_VERSION);
    flatmap_put_text(&pk, "k", KIND);
    flatmap_put_bytes(&pk, "id", j->id.b, sizeof(j->id.b));
    flatmap_put_int(&pk, "t", j->received_at);
    flatmap_put_text(&pk, "q", j->request_id);
    flatmap_put_bool(&pk, "c", j->reconciled);
    flatmap_put_bytes(&pk, "h", j->digest, sizeof(j->digest));
    flatmap_put_int(&pk, "n", (int64_t)j->len);
    if (j->traceparent)
        flatmap_put_text(&pk, "p", j->traceparent);
    put_body(&pk, j);
}

/* --- decoding ---------------------------------------------------------------------------- */

/* As read; bytes is borrowed from the data. */
struct parts {
    struct crawl_job job; /* without its body */
    const char *bytes;
    size_t nbytes;
};

/* Each takes one value: NULL when taken, else what is wrong. */
static const char *take_exactly(const msgpack_object *o, void *to, size_t len)
{
    if (o->type != MSGPACK_OBJECT_BIN || o->via.bin.size != len)
        return "is not bytes of the right length";
    memcpy(to, o->via.bin.ptr, len);
    return NULL;
}

static const char *take_id(const msgpack_object *o, struct parts *p)
{
    return take_exactly(o, p->job.id.b, sizeof(p->job.id.b));
}

static const char *take_digest(const msgpack_object *o, struct parts *p)
{
    return take_exactly(o, p->job.digest, sizeof(p->job.digest));
}

static const char *take_time(const msgpack_object *o, struct parts *p)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > MAX_RECEIVED_AT)
        return "is not a time of the years 1970 to 9999";
    p->job.received_at = (int64_t)o->via.u64;
    return NULL;
}

static const char *take_request_id(const msgpack_object *o, struct parts *p)
{
    if (o->type == MSGPACK_OBJECT_NIL)
        return NULL;
    if (o->type != MSGPACK_OBJECT_STR)
        return "is not a string";
    size_t len = o->via.str.size;
    const char *s = len ? o->via.str.ptr : ""; /* msgpack-c leaves NULL for an empty string */
    if (len > MAX_REQUEST_ID)
        return "is too long";
    if (memchr(s, '\0', len) || !text_utf8_valid(s, len))
        return "is not UTF-8 without NUL";
    p->job.request_id = mem_strndup(s, len);
    return NULL;
}

/* One that is none is as if it were not there: no event is lost for the sake of its trace. */
static const char *take_trace(const msgpack_object *o, struct parts *p)
{
    char text[TRACE_PARENT_LEN + 1] = "";
    if (o->type == MSGPACK_OBJECT_STR && o->via.str.size == TRACE_PARENT_LEN)
        memcpy(text, o->via.str.ptr, TRACE_PARENT_LEN);
    p->job.traceparent = trace_carried(text);
    return NULL;
}

static const char *take_reconciled(const msgpack_object *o, struct parts *p)
{
    if (o->type != MSGPACK_OBJECT_BOOLEAN)
        return "is neither true nor false";
    p->job.reconciled = o->via.boolean;
    return NULL;
}

static const char *take_len(const msgpack_object *o, struct parts *p)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > CRAWL_MAX_BODY)
        return "is not a length that can be";
    p->job.len = (size_t)o->via.u64;
    return NULL;
}

static const char *take_body(const msgpack_object *o, struct parts *p)
{
    if (o->type != MSGPACK_OBJECT_BIN)
        return "is not bytes";
    p->bytes = o->via.bin.size ? o->via.bin.ptr : "";
    p->nbytes = o->via.bin.size;
    return NULL;
}

static const struct field {
    const char *key, *name; /* name: for people */
    const char *(*take)(const msgpack_object *o, struct parts *p);
    bool absent; /* may be left out */
} fields[] = {
    {"id", "event id",          take_id,         false},
    {"t",  "time of receipt",   take_time,       false},
    {"q",  "request id",        take_request_id, false},
    {"c",  "mark (reconciled)", take_reconciled, false},
    {"h",  "body digest",       take_digest,     false},
    {"n",  "body length",       take_len,        false},
    {"b",  "body",              take_body,       false},
    {"p",  "traceparent",       take_trace,      true },
};
enum { NFIELDS = sizeof(fields) / sizeof(*fields) };

static const struct field *field_of(const msgpack_object *key)
{
    for (size_t i = 0; i < NFIELDS; i++)
        if (flatmap_is(key, fields[i].key))
            return &fields[i];
    return NULL;
}

/* What every version begins with. 0 and err when it is something else. */
static uint64_t read_head(struct flatmap *m, int pairs, struct hl_err *err)
{
    uint64_t version = 0;
    const msgpack_object *o = pairs >= 2 ? flatmap_next(m) : NULL;
    if (o && flatmap_is(o, "v") && (o = flatmap_next(m)) &&
        o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        version = o->via.u64;
    o = version ? flatmap_next(m) : NULL;
    if (o && flatmap_is(o, "k") && (o = flatmap_next(m)) && flatmap_is(o, KIND))
        return version;
    hl_fail(err, HL_FATAL, "not a crawl job: does not begin with \"v\" and \"k\"");
    return 0;
}

static enum hl_rc read_pair(struct flatmap *m, struct parts *p, unsigned *seen, struct hl_err *err)
{
    const msgpack_object *key = flatmap_next(m);
    if (!key || key->type != MSGPACK_OBJECT_STR)
        return hl_fail(err, HL_FATAL, "crawl job is cut short or has a key that is no string");
    const struct field *f = field_of(key);
    const msgpack_object *value = flatmap_next(m);
    if (!value)
        return hl_fail(err, HL_FATAL, "crawl job is cut short or holds a nested value");
    if (!f)
        return HL_OK; /* from a later minor change of the same version */
    unsigned bit = 1U << (f - fields);
    if (*seen & bit)
        return hl_fail(err, HL_FATAL, "crawl job has its %s twice", f->name);
    *seen |= bit;
    const char *wrong = f->take(value, p);
    if (wrong)
        return hl_fail(err, HL_FATAL, "%s of the crawl job %s", f->name, wrong);
    return HL_OK;
}

static enum hl_rc read_parts(struct flatmap *m, int pairs, struct parts *p, struct hl_err *err)
{
    unsigned seen = 0;
    uint64_t version = read_head(m, pairs, err);
    if (!version)
        return HL_FATAL;
    if (version > CRAWL_JOB_VERSION)
        return hl_fail(err, HL_LOST, "crawl job of version %llu, newer than this program's %d",
            (unsigned long long)version, CRAWL_JOB_VERSION);
    if (pairs > MAX_KEYS)
        return hl_fail(err, HL_FATAL, "crawl job has %d keys, more than %d", pairs, MAX_KEYS);
    for (int i = 2; i < pairs; i++)
        if (read_pair(m, p, &seen, err) != HL_OK)
            return HL_FATAL;
    for (size_t i = 0; i < NFIELDS; i++)
        if (!(seen & 1U << i) && !fields[i].absent)
            return hl_fail(err, HL_FATAL, "crawl job has no %s", fields[i].name);
    if (m->at != m->len)
        return hl_fail(err, HL_FATAL, "%zu bytes follow the crawl job", m->len - m->at);
    return HL_OK;
}

/* Exactly one frame, of exactly the length that was told: known before anything is allocated. */
static bool decompress(const struct parts *p, char *to)
{
    return ZSTD_decompress(to, p->job.len, p->bytes, p->nbytes) == p->job.len;
}

static bool is_frame(const struct parts *p)
{
    return ZSTD_getFrameContentSize(p->bytes, p->nbytes) == p->job.len &&
           ZSTD_findFrameCompressedSize(p->bytes, p->nbytes) == p->nbytes;
}

static enum hl_rc check_form(const struct parts *p, struct hl_err *err)
{
    if (p->nbytes > p->job.len || (p->nbytes < p->job.len && !is_frame(p)))
        return hl_fail(err, HL_FATAL, "body of the crawl job is not of the length it tells");
    return HL_OK;
}

static enum hl_rc unpack_body(struct parts *p, struct hl_err *err)
{
    struct crawl_job *j = &p->job;
    uint8_t digest[DIGEST_LEN];

    j->body = mem_alloc(j->len + 1);
    if (p->nbytes == j->len)
        memcpy(j->body, p->bytes, j->len);
    else if (!decompress(p, j->body))
        return hl_fail(err, HL_FATAL, "body of the crawl job cannot be decompressed");
    j->body[j->len] = '\0';
    digest_sha256(j->body, j->len, digest);
    if (memcmp(digest, j->digest, sizeof(digest)) != 0)
        return hl_fail(err, HL_FATAL, "body of the crawl job is not the one of its digest");
    return HL_OK;
}

static enum hl_rc decode(
    const void *data, size_t len, bool whole, struct crawl_job *j, struct hl_err *err)
{
    struct flatmap m;
    struct parts p = {0};
    int pairs = flatmap_open(&m, data, len);
    enum hl_rc rc = read_parts(&m, pairs, &p, err);

    flatmap_close(&m);
    if (rc == HL_OK)
        rc = check_form(&p, err);
    if (rc == HL_OK && whole)
        rc = unpack_body(&p, err);
    if (rc == HL_OK)
        *j = p.job;
    else
        crawl_job_release(&p.job);
    return rc;
}

enum hl_rc crawl_job_decode(const void *data, size_t len, struct crawl_job *j, struct hl_err *err)
{
    return decode(data, len, true, j, err);
}

enum hl_rc crawl_job_peek(const void *data, size_t len, struct crawl_job *j, struct hl_err *err)
{
    return decode(data, len, false, j, err);
}

bool crawl_job_is(const void *data, size_t len)
{
    struct flatmap m;
    struct hl_err ignored;
    int pairs = flatmap_open(&m, data, len);
    bool is = read_head(&m, pairs, &ignored) != 0;
    flatmap_close(&m);
    return is;
}

/* --- documents --------------------------------------------------------------------------- */

struct uuid crawl_document_id(const struct uuid *event, size_t place)
{
    struct buf text = {0};
    uint8_t digest[DIGEST_LEN];

    buf_append(&text, "hookline/crawl-document", sizeof("hookline/crawl-document")); /* with NUL */
    buf_append(&text, event->b, sizeof(event->b));
    buf_printf(&text, "%zu", place);
    digest_sha256(text.data, text.len, digest);
    buf_release(&text);
    return uuid_from_digest(digest);
}
