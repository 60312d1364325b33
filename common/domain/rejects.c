/* rejects: see rejects.h. Owns the keys {prefix}:rejects and {prefix}:rejects:open, the form of their
 * entries, and what waits in memory to become one. */
#include "domain/rejects.h"

#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/text.h"
#include "domain/lua_scripts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

enum {
    TIMEOUT_MS = 2000,
    IN_FLIGHT_MAX = 64,
    WAITING_AUTHENTICATED = 75,
    WAITING_OPEN = 25,
    OPEN_SHARE = 4, /* one in so many entries may be of an unauthenticated request */
    LIST_MAX = 1000,
    ENTRY_ID_MAX = 41, /* two numbers of 20 digits */
};
#define NO_ENTRY "0-0" /* a name that no entry has */

/* The fields of an entry. Texts may be absent. */
static const struct {
    const char *name;
    size_t at;  /* in struct reject */
    size_t max; /* bytes kept */
} texts[] = {
    {"source",     offsetof(struct reject, source),     64  },
    {"method",     offsetof(struct reject, method),     32  },
    {"path",       offsetof(struct reject, path),       1024},
    {"query",      offsetof(struct reject, query),      8192},
    {"peer",       offsetof(struct reject, peer),       64  },
    {"request_id", offsetof(struct reject, request_id), 64  },
    {"reason",     offsetof(struct reject, reason),     1000},
    {"headers",    offsetof(struct reject, headers),    8192},
};
enum number { AT, STATUS, AUTHENTICATED, LEN, N_NUMBERS };
static const char *const number_names[N_NUMBERS] = {
    [AT] = "at", [STATUS] = "status", [AUTHENTICATED] = "authenticated", [LEN] = "len"};
#define BODY "body"
enum {
    N_TEXTS = sizeof(texts) / sizeof(*texts),
    MAX_ARGS = 2 + 3 + 2 * (N_TEXTS + N_NUMBERS + 1), /* keys, what is kept, fields */
};

/* One that is under way or waits for it: the arguments of its script, one after the other. */
struct note {
    struct list_node node; /* in rejects.waiting */
    struct rejects *rejects;
    bool authenticated;
    struct buf args;
    size_t lens[MAX_ARGS];
    int nargs;
};

struct rejects {
    struct redis *redis;
    char *stream, *open;
    int64_t kept;
    struct list waiting[2]; /* by authenticated; oldest first */
    int in_flight;
    uint64_t dropped;
};

static const size_t waiting_max[2] = {WAITING_OPEN, WAITING_AUTHENTICATED};

/* --- writing ----------------------------------------------------------------------------- */

static void put(struct note *n, const void *data, size_t len)
{
    buf_append(&n->args, data, len);
    n->lens[n->nargs++] = len;
}

static void put_text(struct note *n, const char *text)
{
    put(n, text, strlen(text));
}

static void put_number(struct note *n, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    put_text(n, text);
}

static const char *text_of(const struct reject *x, size_t i)
{
    return *(const char *const *)((const char *)x + texts[i].at);
}

/* Whatever a client sent becomes UTF-8 without NUL. */
static void put_field(struct note *n, const char *name, const char *value, size_t max)
{
    struct buf clean = {0};
    if (!value)
        return;
    text_append_utf8(&clean, value, strlen(value));
    put_text(n, name);
    put(n, buf_str(&clean), text_prefix_bytes(buf_str(&clean), max));
    buf_release(&clean);
}

static struct note *note_new(struct rejects *r, const struct reject *x)
{
    const int64_t numbers[N_NUMBERS] = {[AT] = x->at,
        [STATUS] = x->status,
        [AUTHENTICATED] = x->authenticated,
        [LEN] = (int64_t)x->len};
    struct note *n = mem_new(struct note);
    n->rejects = r;
    n->authenticated = x->authenticated;
    put_text(n, r->stream);
    put_text(n, r->open);
    put_number(n, r->kept);
    put_number(n, (r->kept + OPEN_SHARE - 1) / OPEN_SHARE);
    put_number(n, x->authenticated);
    for (size_t i = 0; i < N_TEXTS; i++)
        put_field(n, texts[i].name, text_of(x, i), texts[i].max);
    for (int i = 0; i < N_NUMBERS; i++) {
        put_text(n, number_names[i]);
        put_number(n, numbers[i]);
    }
    put_text(n, BODY);
    put(n, x->body ? x->body : "", x->body ? MIN(x->len, REJECT_BODY_KEPT) : 0);
    return n;
}

static void note_free(struct note *n)
{
    buf_release(&n->args);
    free(n);
}

/* The newest stay. */
static void wait_again(struct rejects *r, struct note *n)
{
    struct list *l = &r->waiting[n->authenticated];
    list_push(l, &n->node);
    if (l->len <= waiting_max[n->authenticated])
        return;
    note_free(LIST_OF(list_pop(l), struct note, node));
    r->dropped++;
}

/* HL_UNSURE is repeated, too: two entries of one request are better than none. */
static void answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct note *n = ctx;
    struct rejects *r = n->rejects;
    (void)reply;
    r->in_flight--;
    if (err && err->rc != HL_FATAL) {
        wait_again(r, n);
        return;
    }
    r->dropped += err != NULL;
    note_free(n);
    if (!err)
        rejects_again(r);
}

static void send_note(struct rejects *r, struct note *n)
{
    const char *argv[MAX_ARGS], *at = buf_str(&n->args);
    for (int i = 0; i < n->nargs; at += n->lens[i++])
        argv[i] = at;
    r->in_flight++;
    redis_eval(r->redis, &lua_reject, TIMEOUT_MS, answered, n, 2, n->nargs, argv, n->lens);
}

void rejects_note(struct rejects *r, const struct reject *x)
{
    if (!r)
        return;
    struct note *n = note_new(r, x);
    if (r->in_flight < IN_FLIGHT_MAX)
        send_note(r, n);
    else
        wait_again(r, n);
}

void rejects_again(struct rejects *r)
{
    for (int kind = 1; r && kind >= 0; kind--) {
        struct list_node *node;
        while (r->in_flight < IN_FLIGHT_MAX && (node = list_pop(&r->waiting[kind])))
            send_note(r, LIST_OF(node, struct note, node));
    }
}

uint64_t rejects_dropped(const struct rejects *r)
{
    return r ? r->dropped : 0;
}

/* --- reading ----------------------------------------------------------------------------- */

static bool read_number(const redisReply *r, int64_t *out)
{
    *out = 0;
    if (r->len == 0 || r->len > 18)
        return false;
    for (size_t i = 0; i < (size_t)r->len; i++) {
        if (r->str[i] < '0' || r->str[i] > '9')
            return false;
        *out = *out * 10 + (r->str[i] - '0');
    }
    return true;
}

static bool read_text(const redisReply *r, const char **out)
{
    size_t len = (size_t)r->len;
    *out = r->str;
    return strlen(r->str) == len && text_utf8_valid(r->str, len);
}

/* Which it is; false: of our fields, but not as we write it. Others are a newer version's. */
static bool read_field(
    struct reject_entry *e, int64_t numbers[N_NUMBERS], const char *name, const redisReply *value)
{
    for (size_t i = 0; i < N_TEXTS; i++)
        if (strcmp(name, texts[i].name) == 0)
            return read_text(value, (const char **)((char *)&e->reject + texts[i].at));
    for (int i = 0; i < N_NUMBERS; i++)
        if (strcmp(name, number_names[i]) == 0)
            return read_number(value, &numbers[i]);
    if (strcmp(name, BODY) == 0) {
        e->reject.body = value->str;
        e->kept = (size_t)value->len;
    }
    return true;
}

static bool is_object(const char *text)
{
    json_t *tree = json_parse(text, strlen(text), NULL);
    bool is = json_is_object(tree);
    json_decref(tree);
    return is;
}

static bool is_pair(const redisReply *r, int first, int second)
{
    return r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == first &&
           r->element[1]->type == second;
}

/* [id, [field, value, ...]] */
static bool read_entry(const redisReply *r, struct reject_entry *e)
{
    int64_t numbers[N_NUMBERS] = {-1, -1, -1, -1};
    *e = (struct reject_entry){0};
    if (!is_pair(r, REDIS_REPLY_STRING, REDIS_REPLY_ARRAY))
        return false;
    const redisReply *fields = r->element[1];
    e->id = r->element[0]->str;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i], *value = fields->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING ||
            !read_field(e, numbers, name->str, value))
            return false;
    }
    for (int i = 0; i < N_NUMBERS; i++)
        if (numbers[i] < 0)
            return false;
    e->reject.at = numbers[AT];
    e->reject.status = (int)(numbers[STATUS] % 1000);
    e->reject.authenticated = numbers[AUTHENTICATED] == 1;
    e->reject.len = (size_t)numbers[LEN];
    return e->reject.body && e->kept <= e->reject.len &&
           (!e->reject.headers || is_object(e->reject.headers));
}

struct ask {
    rejects_cb *cb;
    void *ctx;
    char *stream;
};

static void ask_end(
    struct ask *a, const struct reject_entry *entries, size_t n, const struct hl_err *err)
{
    a->cb(err ? err->rc : HL_OK, entries, n, err, a->ctx);
    free(a->stream);
    free(a);
}

static void got_entries(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct ask *a = ctx;
    struct hl_err strange;
    size_t n = !err && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    struct reject_entry *entries = mem_array(n + 1, sizeof(*entries));

    for (size_t i = 0; !err && i < n; i++) {
        if (read_entry(reply->element[i], &entries[i]))
            continue;
        hl_fail(&strange, HL_FATAL, "redis: entry %s of %s is no refused webhook; XDEL it",
            entries[i].id ? entries[i].id : "?", a->stream);
        err = &strange;
    }
    ask_end(a, entries, err ? 0 : n, err);
    free(entries);
}

/* Behind a number of 64 bits, as Redis has them; NULL = there is none. */
static const char *number_end(const char *s)
{
    size_t digits = strspn(s, "0123456789");
    errno = 0;
    strtoull(s, NULL, 10);
    return digits > 0 && digits <= 20 && errno != ERANGE ? s + digits : NULL;
}

bool rejects_is_id(const char *id)
{
    const char *ms = number_end(id), *seq = ms && *ms == '-' ? number_end(ms + 1) : NULL;
    return seq && !*seq;
}

static struct ask *ask_new(const struct rejects *r, rejects_cb *cb, void *ctx)
{
    struct ask *a = mem_new(struct ask);
    *a = (struct ask){.cb = cb, .ctx = ctx, .stream = mem_strdup(r->stream)};
    return a;
}

void rejects_list(struct rejects *r, const char *before, int limit, rejects_cb *cb, void *ctx)
{
    char from[ENTRY_ID_MAX + 2] = "+", count[16];
    if (before && rejects_is_id(before) && before[strspn(before, "0-")])
        snprintf(from, sizeof(from), "(%s", before);
    else if (before) /* Redis refuses to name what is before the first of all */
        snprintf(from, sizeof(from), "%s", NO_ENTRY);
    snprintf(count, sizeof(count), "%d", limit < 1 ? 1 : limit > LIST_MAX ? LIST_MAX : limit);
    redis_call(r->redis, 0, got_entries, ask_new(r, cb, ctx), "XREVRANGE", r->stream, from, "-",
        "COUNT", count, NULL);
}

void rejects_get(struct rejects *r, const char *id, rejects_cb *cb, void *ctx)
{
    if (!rejects_is_id(id))
        id = NO_ENTRY;
    redis_call(r->redis, 0, got_entries, ask_new(r, cb, ctx), "XRANGE", r->stream, id, id, NULL);
}

/* --- life -------------------------------------------------------------------------------- */

struct rejects *rejects_new(struct redis *redis, const char *prefix, int64_t kept)
{
    if (kept <= 0)
        return NULL;
    struct rejects *r = mem_new(struct rejects);
    r->redis = redis;
    r->stream = mem_printf("{%s}:rejects", prefix);
    r->open = mem_printf("{%s}:rejects:open", prefix);
    r->kept = kept;
    for (int i = 0; i < 2; i++)
        list_init(&r->waiting[i]);
    return r;
}

void rejects_free(struct rejects *r)
{
    struct list_node *node;
    if (!r)
        return;
    for (int i = 0; i < 2; i++)
        while ((node = list_pop(&r->waiting[i])))
            note_free(LIST_OF(node, struct note, node));
    free(r->stream);
    free(r->open);
    free(r);
}
