/* queue_transfer: see queue_transfer.h. Owns the form of a record and the keys {prefix}:import:*. */
#include "domain/queue_transfer.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "domain/lua_scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 30000, PIECE = 512 * 1024 };
#define PAGE_KEYS    "2000"
#define PAGE_LATER   "8"
#define PAGE_BYTES   "1048576" /* of entries: a page ends behind the one that exceeds them */
#define PAGE_ENTRIES "100"
#define NOTE_KEPT    "2592000000" /* ms: 30 days */
#define DEAD_KEPT    "100000"
#define NO_DIGEST    "0000000000000000000000000000000000000000000000000000000000000000"

const struct transfer_kind_info transfer_kinds[TRANSFER_NKINDS] = {
    [TRANSFER_SEEN] = {"seen",     {"key", "until"}                  },
    [TRANSFER_DONE] = {"done",     {"id", "digest", "until"}         },
    [TRANSFER_LATER] = {"later",    {"queue", "id", "digest", "due"}  },
    [TRANSFER_JOB] = {"job",      {"queue", "entry", "id", "digest"}},
    [TRANSFER_BLOB] = {"blob",     {"name", "offset"}                },
    [TRANSFER_DEAD] = {"dead",     {"entry"}                         },
    [TRANSFER_REJECT] = {"reject",   {"entry"}                         },
    [TRANSFER_FINISHED] = {"finished", {"queue", "id", "digest", "until"}},
    [TRANSFER_END] = {"end",      {"generation"}                    },
};

const char *const transfer_places[TRANSFER_NPLACES] = {
    [TRANSFER_AT_SEEN] = "seen",
    [TRANSFER_AT_DONE] = "done",
    [TRANSFER_AT_LATER] = "later",
    [TRANSFER_AT_LATER_CRAWL] = "later:crawl",
    [TRANSFER_AT_DEAD] = "dead",
    [TRANSFER_AT_REJECTS] = "rejects",
    [TRANSFER_AT_CRAWL] = "q:crawl",
    [TRANSFER_AT_CHANGE] = "q:change",
};

struct transfer {
    struct redis *redis;
    char *prefix; /* "{hookline}:" */
};

struct transfer *transfer_new(struct redis *redis, const char *prefix)
{
    struct transfer *t = mem_new(struct transfer);
    *t = (struct transfer){.redis = redis, .prefix = mem_printf("{%s}:", prefix)};
    return t;
}

void transfer_free(struct transfer *t)
{
    if (!t)
        return;
    free(t->prefix);
    free(t);
}

bool transfer_is_stream(enum transfer_place place)
{
    return place >= TRANSFER_AT_DEAD;
}

/* --- calling a script -------------------------------------------------------------------- */

struct call {
    struct buf bytes;
    size_t *lens;
    size_t n, room;
};

static void arg(struct call *c, const void *data, size_t len)
{
    if (c->n == c->room) {
        c->room = c->room ? 2 * c->room : 64;
        c->lens = mem_grow(c->lens, c->room * sizeof(*c->lens));
    }
    buf_append(&c->bytes, data, len);
    c->lens[c->n++] = len;
}

static void arg_text(struct call *c, const char *text)
{
    arg(c, text, strlen(text));
}

static void arg_number(struct call *c, int64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    arg_text(c, text);
}

static void arg_key(struct call *c, const struct transfer *t, const char *name)
{
    char *key = mem_printf("%s%s", t->prefix, name);
    arg_text(c, key);
    free(key);
}

static void send_call(struct transfer *t, struct redis_script *script, struct call *c, int nkeys,
    redis_cb *cb, void *ctx)
{
    const char **argv = mem_array(c->n, sizeof(*argv)), *at = buf_str(&c->bytes);
    for (size_t i = 0; i < c->n; at += c->lens[i++])
        argv[i] = at;
    redis_eval(t->redis, script, TIMEOUT_MS, cb, ctx, nkeys, (int)c->n, argv, c->lens);
    free(argv);
    free(c->lens);
    buf_release(&c->bytes);
}

/* --- reading ----------------------------------------------------------------------------- */

struct page {
    struct transfer *t;
    enum transfer_place place;
    transfer_each *each;
    transfer_page_done *done;
    void *ctx;
    char next[48];
};

static bool is_array(const redisReply *r, size_t at_least)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements >= at_least;
}

static bool is_bytes(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING;
}

/* "" for what is no text: then it is none of ours. */
static const char *text_of(const redisReply *r)
{
    return is_bytes(r) && strlen(r->str) == r->len && text_utf8_valid(r->str, r->len) ? r->str : "";
}

static struct transfer_value value_of(const redisReply *r)
{
    return is_bytes(r) ? (struct transfer_value){r->str, r->len} : (struct transfer_value){"", 0};
}

/* name, value, until */
static void show_key(const struct page *p, redisReply *const *e)
{
    const struct transfer_value value = value_of(e[1]);
    const char *name = text_of(e[0]), *until = text_of(e[2]);
    if (!*name)
        return;
    if (p->place == TRANSFER_AT_SEEN)
        p->each(
            &(struct transfer_record){
                .kind = TRANSFER_SEEN, .texts = {name, until, "", ""},
                     .values = &value, .n = 1
        },
            p->ctx);
    else if (strncmp(text_of(e[1]), "done ", 5) == 0)
        p->each(
            &(struct transfer_record){
                .kind = TRANSFER_DONE, .texts = {name, text_of(e[1]) + 5, until, ""}
        },
            p->ctx);
}

/* id, due, job, digest, bytes beside */
static void show_later(const struct page *p, redisReply *const *e)
{
    const struct transfer_value job = value_of(e[2]);
    const char *queue = p->place == TRANSFER_AT_LATER ? "change" : "crawl";
    const char *id = text_of(e[0]);
    if (!*id)
        return;
    p->each(
        &(struct transfer_record){
            .kind = TRANSFER_LATER,
            .texts = {queue, id, text_of(e[3]), text_of(e[1])},
            .values = &job,
            .n = 1,
            .blob = e[4]->integer > 0 ? id : NULL,
            .blob_len = e[4]->integer
    },
        p->ctx);
}

static const struct {
    size_t width;
    void (*show)(const struct page *p, redisReply *const *e);
} flat[] = {
    [TRANSFER_AT_SEEN] = {3, show_key  },
    [TRANSFER_AT_DONE] = {3, show_key  },
    [TRANSFER_AT_LATER] = {5, show_later},
    [TRANSFER_AT_LATER_CRAWL] = {5, show_later},
};

/* {next cursor, rows} */
static void show_flat(struct page *p, const redisReply *reply)
{
    const size_t width = flat[p->place].width;
    if (!is_array(reply, 1))
        return;
    for (size_t i = 1; i + width <= reply->elements; i += width)
        flat[p->place].show(p, &reply->element[i]);
    snprintf(p->next, sizeof(p->next), "%s", text_of(reply->element[0]));
    if (strcmp(p->next, "0") == 0)
        *p->next = '\0';
}

/* The event's id; "" where it is no job. */
static const char *job_id(const redisReply *fields)
{
    struct uuid id;
    for (size_t i = 0; is_array(fields, i + 2); i += 2)
        if (strcmp(text_of(fields->element[i]), "id") == 0) {
            const char *text = text_of(fields->element[i + 1]);
            return uuid_parse(text, &id) ? text : "";
        }
    return "";
}

static struct transfer_record entry_record(const struct page *p, redisReply *const *e)
{
    const char *entry = text_of(e[0]);
    if (p->place == TRANSFER_AT_DEAD || p->place == TRANSFER_AT_REJECTS)
        return (struct transfer_record){
            .kind = p->place == TRANSFER_AT_DEAD ? TRANSFER_DEAD : TRANSFER_REJECT,
            .texts = {entry, "", "", ""}
        };
    return (struct transfer_record){
        .kind = TRANSFER_JOB,
        .texts = {p->place == TRANSFER_AT_CHANGE ? "change" : "crawl", entry, job_id(e[1]),
                  text_of(e[2])}
    };
}

/* entry, fields, digest, name of what is beside, bytes of that */
static void show_entry(struct page *p, redisReply *const *e)
{
    const size_t n = e[1]->elements;
    struct transfer_value *values = mem_array(n + 1, sizeof(*values));
    struct transfer_record r = entry_record(p, e);
    for (size_t i = 0; i < n; i++)
        values[i] = value_of(e[1]->element[i]);
    r.values = values;
    r.n = n;
    r.blob_len = e[4]->integer;
    r.blob = r.blob_len > 0 ? text_of(e[3]) : NULL;
    p->each(&r, p->ctx);
    snprintf(p->next, sizeof(p->next), "%s", text_of(e[0]));
    free(values);
}

static void show_entries(struct page *p, const redisReply *reply)
{
    for (size_t i = 0; is_array(reply, i + 1); i++)
        if (is_array(reply->element[i], 5) && is_array(reply->element[i]->element[1], 0))
            show_entry(p, reply->element[i]->element);
}

static void got_page(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct page *p = ctx;
    if (!err && transfer_is_stream(p->place))
        show_entries(p, reply);
    else if (!err)
        show_flat(p, reply);
    p->done(err ? err->rc : HL_OK, p->next, err, p->ctx);
    free(p);
}

static void ask_keys(struct transfer *t, struct page *p, const char *after)
{
    struct call c = {0};
    bool seen = p->place == TRANSFER_AT_SEEN;
    arg_key(&c, t, seen ? "seen:" : "job:");
    arg_text(&c, *after ? after : "0");
    arg_text(&c, PAGE_KEYS);
    arg_text(&c, seen ? "" : "done ");
    send_call(t, &lua_transfer_keys, &c, 1, got_page, p);
}

static void ask_later(struct transfer *t, struct page *p, const char *after)
{
    struct call c = {0};
    bool change = p->place == TRANSFER_AT_LATER;
    arg_key(&c, t, change ? "later" : "later:crawl");
    arg_key(&c, t, change ? "later:jobs" : "later:crawl:jobs");
    arg_text(&c, *after ? after : "0");
    arg_text(&c, PAGE_LATER);
    arg_key(&c, t, "job:");
    arg_key(&c, t, "blob:");
    send_call(t, &lua_transfer_later, &c, 2, got_page, p);
}

static void ask_entries(struct transfer *t, struct page *p, const char *after)
{
    struct call c = {0};
    arg_key(&c, t, transfer_places[p->place]);
    arg_text(&c, after);
    arg_text(&c, PAGE_ENTRIES);
    arg_key(&c, t, "job:");
    arg_key(&c, t, "blob:");
    arg_text(&c, PAGE_BYTES);
    send_call(t, &lua_transfer_entries, &c, 1, got_page, p);
}

void transfer_page(struct transfer *t, enum transfer_place place, const char *after,
    transfer_each *each, transfer_page_done *done, void *ctx)
{
    struct page *p = mem_new(struct page);
    *p = (struct page){.t = t, .place = place, .each = each, .done = done, .ctx = ctx};
    if (transfer_is_stream(place))
        ask_entries(t, p, after);
    else if (place == TRANSFER_AT_SEEN || place == TRANSFER_AT_DONE)
        ask_keys(t, p, after);
    else
        ask_later(t, p, after);
}

/* --- what is kept beside ------------------------------------------------------------------ */

struct blob_call {
    transfer_blob_cb *cb;
    void *ctx;
};

static void got_blob(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct blob_call call = *(struct blob_call *)ctx;
    const struct transfer_value v = err ? (struct transfer_value){"", 0} : value_of(reply);
    free(ctx);
    call.cb(err ? err->rc : HL_OK, v.data, v.len, err, call.ctx);
}

void transfer_blob(
    struct transfer *t, const char *name, int64_t offset, transfer_blob_cb *cb, void *ctx)
{
    struct blob_call *call = mem_new(struct blob_call);
    char *key = mem_printf("%sblob:%s", t->prefix, name), from[24], to[24];
    *call = (struct blob_call){cb, ctx};
    snprintf(from, sizeof(from), "%lld", (long long)offset);
    snprintf(to, sizeof(to), "%lld", (long long)offset + PIECE - 1);
    redis_call(t->redis, TIMEOUT_MS, got_blob, call, "GETRANGE", key, from, to, NULL);
    free(key);
}

void transfer_generation(struct transfer *t, transfer_blob_cb *cb, void *ctx)
{
    struct blob_call *call = mem_new(struct blob_call);
    char *key = mem_printf("%sgeneration", t->prefix);
    *call = (struct blob_call){cb, ctx};
    redis_call(t->redis, TIMEOUT_MS, got_blob, call, "GET", key, NULL);
    free(key);
}

/* --- putting ----------------------------------------------------------------------------- */

struct put_call {
    transfer_put_cb *cb;
    void *ctx;
};

static void got_state(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct put_call call = *(struct put_call *)ctx;
    struct transfer_state s = {0};
    struct hl_err fault;
    free(ctx);
    if (!err && !is_array(reply, 6)) {
        hl_fail(&fault, HL_FATAL, "Redis answered transfer_put with something else than a state");
        err = &fault;
    }
    if (!err)
        s = (struct transfer_state){.done = reply->element[0]->integer == 1,
            .records = reply->element[1]->integer,
            .put = reply->element[2]->integer,
            .known = reply->element[3]->integer,
            .finished = reply->element[4]->integer,
            .whole = reply->element[5]->integer == 1};
    call.cb(err ? err->rc : HL_OK, &s, err, call.ctx);
}

static void arg_record(struct call *c, const struct transfer_record *r)
{
    arg_text(c, transfer_kinds[r->kind].name);
    for (size_t i = 0; i < TRANSFER_TEXTS; i++)
        arg_text(c, r->texts[i] ? r->texts[i] : "");
    arg_number(c, (int64_t)r->n);
    for (size_t i = 0; i < r->n; i++)
        arg(c, r->values[i].data, r->values[i].len);
}

void transfer_put(struct transfer *t, const char *file, int64_t before, int64_t after,
    const struct transfer_record *records, size_t n, transfer_put_cb *cb, void *ctx)
{
    static const char *const keys[] = {"q:change", "later", "later:jobs", "q:crawl", "later:crawl",
        "later:crawl:jobs", "dead", "rejects", "rejects:open", "generation"};
    struct put_call *call = mem_new(struct put_call);
    char *note = mem_printf("import:%s", file);
    struct call c = {0};

    *call = (struct put_call){cb, ctx};
    arg_key(&c, t, note);
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        arg_key(&c, t, keys[i]);
    int nkeys = (int)c.n;
    arg_number(&c, n ? before : -1);
    arg_number(&c, after);
    arg_text(&c, NOTE_KEPT);
    arg_key(&c, t, "job:");
    arg_key(&c, t, "blob:");
    arg_key(&c, t, "seen:");
    arg_text(&c, DEAD_KEPT);
    arg_text(&c, NO_DIGEST);
    for (size_t i = 0; i < n; i++)
        arg_record(&c, &records[i]);
    send_call(t, &lua_transfer_put, &c, nkeys, got_state, call);
    free(note);
}
