/* queue_dead: see queue_dead.h. */
#include "domain/queue_dead.h"

#include "base/mem.h"
#include "domain/lua_scripts.h"
#include "domain/queue_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000 };

static bool is_text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING;
}

static bool is_array(const redisReply *r, size_t at_least)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements >= at_least;
}

bool queue_letter_is_entry(const char *text)
{
    static const char digits[] = "0123456789";
    size_t ms = strspn(text, digits);
    if (ms == 0 || ms > 20 || text[ms] != '-')
        return false;
    size_t seq = strspn(text + ms + 1, digits);
    return seq > 0 && seq <= 20 && !text[ms + 1 + seq];
}

int64_t queue_letter_us(const char *entry)
{
    const unsigned long long ms = strtoull(entry, NULL, 10), most = INT64_MAX / 1000;
    return (int64_t)(ms < most ? ms : most) * 1000;
}

/* --- reading ----------------------------------------------------------------------------- */

struct letters_call {
    queue_letters_cb *cb;
    void *ctx;
};

static void take_field(struct queue_letter *l, const char *name, const redisReply *value)
{
    if (strcmp(name, "id") == 0)
        l->id = value->str;
    else if (strcmp(name, "reason") == 0)
        l->reason = value->str;
    else if (strcmp(name, "queue") == 0)
        l->crawl = strcmp(value->str, "crawl") == 0;
    else if (strcmp(name, "blob") == 0)
        l->blob = value->str;
    else if (strcmp(name, "len") == 0 && !l->job) /* what is here has the length that it has */
        l->len = strtoul(value->str, NULL, 10);
    else if (strcmp(name, "job") == 0) {
        l->job = value->str;
        l->len = value->len;
    }
}

/* [entry, [field, value, ...]] */
static bool letter_of(const redisReply *r, struct queue_letter *l)
{
    if (!is_array(r, 2) || !is_text(r->element[0]))
        return false;
    const redisReply *fields = r->element[1];
    *l = (struct queue_letter){.entry = r->element[0]->str, .reason = "", .id = "-"};
    for (size_t i = 0; is_array(fields, i + 2); i += 2)
        if (is_text(fields->element[i]) && is_text(fields->element[i + 1]))
            take_field(l, fields->element[i]->str, fields->element[i + 1]);
    return true;
}

static void got_letters(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct letters_call call = *(struct letters_call *)ctx;
    struct queue_letter *letters =
        mem_array(is_array(reply, 1) ? reply->elements : 1, sizeof(*letters));
    size_t n = 0;
    free(ctx);
    for (size_t i = 0; !err && is_array(reply, i + 1); i++)
        n += letter_of(reply->element[i], &letters[n]);
    call.cb(err ? err->rc : HL_OK, letters, n, err, call.ctx);
    free(letters);
}

static struct letters_call *letters_call(queue_letters_cb *cb, void *ctx)
{
    struct letters_call *call = mem_new(struct letters_call);
    *call = (struct letters_call){cb, ctx};
    return call;
}

void queue_letters(struct queue *q, const char *before, int count, queue_letters_cb *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    char from[QUEUE_ENTRY_MAX + 1], max[16];
    snprintf(from, sizeof(from), *before ? "(%s" : "+", before);
    snprintf(max, sizeof(max), "%d", count < QUEUE_LETTERS_MAX ? count : QUEUE_LETTERS_MAX);
    redis_call(k.redis, TIMEOUT_MS, got_letters, letters_call(cb, ctx), "XREVRANGE", k.dead, from,
        "-", "COUNT", max, NULL);
}

void queue_letter(struct queue *q, const char *entry, queue_letters_cb *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    redis_call(k.redis, TIMEOUT_MS, got_letters, letters_call(cb, ctx), "XRANGE", k.dead, entry,
        entry, NULL);
}

void queue_letter_fetch(struct queue *q, const char *blob, queue_fetch_cb *cb, void *ctx)
{
    queue_fetch_key(q, blob, cb, ctx);
}

/* --- putting back ------------------------------------------------------------------------ */

struct revive_call {
    queue_revived_cb *cb;
    void *ctx;
};

static void revived(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct revive_call call = *(struct revive_call *)ctx;
    bool said = !err && reply->type == REDIS_REPLY_INTEGER;
    free(ctx);
    call.cb(err ? err->rc : HL_OK, said ? (enum queue_revived)reply->integer : REVIVED_NO_JOB, err,
        call.ctx);
}

static void eval(struct redis *r, struct redis_script *script, redis_cb *cb, void *ctx, int nkeys,
    int argc, const char *const *argv)
{
    size_t *lens = mem_array((size_t)argc, sizeof(*lens));
    for (int i = 0; i < argc; i++)
        lens[i] = strlen(argv[i]);
    redis_eval(r, script, TIMEOUT_MS, cb, ctx, nkeys, argc, argv, lens);
    free(lens);
}

void queue_revive(struct queue *q, const char *entry, const struct uuid *id, const uint8_t *digest,
    queue_revived_cb *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    struct revive_call *call = mem_new(struct revive_call);
    char text[UUID_STRLEN + 1], hex[DIGEST_HEXLEN + 1] = "";
    uuid_format(id, text);
    if (digest)
        digest_hex(digest, DIGEST_LEN, hex);
    char *marker = mem_printf("%s%s", k.marker_prefix, text);
    char *blob = mem_printf("%s%s", k.blob_prefix, text);
    *call = (struct revive_call){cb, ctx};
    if (k.kind == QUEUE_CRAWL)
        eval(k.redis, &lua_crawl_revive, revived, call, 5, 8,
            (const char *[]){k.stream, k.later, k.dead, marker, blob, entry, text, hex});
    else
        eval(k.redis, &lua_dead_revive, revived, call, 4, 6,
            (const char *[]){k.stream, k.later, k.dead, marker, entry, text});
    free(marker);
    free(blob);
}

/* --- gone for good ----------------------------------------------------------------------- */

struct drop_call {
    queue_moved_cb *cb;
    void *ctx;
};

static void dropped(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct drop_call call = *(struct drop_call *)ctx;
    int64_t n = !err && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    free(ctx);
    call.cb(err ? err->rc : HL_OK, n, false, call.ctx);
}

void queue_letters_drop(
    struct queue *q, const char *const *entries, size_t n, queue_moved_cb *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    const char *argv[2 + QUEUE_LETTERS_MAX] = {k.dead, k.blob_prefix};
    struct drop_call *call = mem_new(struct drop_call);
    *call = (struct drop_call){cb, ctx};
    if (n > QUEUE_LETTERS_MAX)
        abort();
    memcpy(argv + 2, entries, n * sizeof(*argv));
    eval(k.redis, &lua_dead_drop, dropped, call, 1, (int)n + 2, argv);
}
