/* queue_trace: see queue_trace.h. */
#include "domain/queue_trace.h"

#include "base/mem.h"
#include "domain/lua_scripts.h"
#include "domain/queue_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000 };
#define PAGE "500" /* letters */

struct trace_call {
    struct queue_keys keys;
    char id[UUID_STRLEN + 1];
    char after[QUEUE_ENTRY_MAX + 1]; /* of the letters: where the next page begins */
    struct queue_traced t;
    queue_trace_cb *cb;
    void *ctx;
};

static void finish(struct trace_call *c, const struct hl_err *err)
{
    c->cb(err ? err->rc : HL_OK, err ? NULL : &c->t, err, c->ctx);
    free(c);
}

static const redisReply *at(const redisReply *r, size_t i)
{
    return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

static const char *text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING ? r->str : "";
}

static int64_t number(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
}

/* --- dead letters ------------------------------------------------------------------------ */

static const char *field(const redisReply *fields, const char *name)
{
    for (size_t i = 0; at(fields, i + 1); i += 2)
        if (strcmp(text(at(fields, i)), name) == 0)
            return text(at(fields, i + 1));
    return NULL;
}

/* Letters of both queues stand in one stream; those of crawl jobs say so. */
static bool is_ours(const struct trace_call *c, const redisReply *fields)
{
    const char *id = field(fields, "id");
    bool crawl = field(fields, "queue") != NULL;
    return id && strcmp(id, c->id) == 0 && crawl == (c->keys.kind == QUEUE_CRAWL);
}

static void keep_letter(struct queue_traced *t, const char *entry, const char *reason)
{
    if (t->nletters == QUEUE_TRACE_LETTERS) {
        t->nletters--;
        memmove(t->letters, t->letters + 1, t->nletters * sizeof(*t->letters));
    }
    struct queue_traced_letter *l = &t->letters[t->nletters++];
    snprintf(l->entry, sizeof(l->entry), "%s", entry);
    snprintf(l->reason, sizeof(l->reason), "%s", reason ? reason : "");
}

static void ask_letters(struct trace_call *c);

static void got_letters(const redisReply *page, const struct hl_err *err, void *ctx)
{
    struct trace_call *c = ctx;
    const redisReply *letter = NULL;
    for (size_t i = 0; !err && (letter = at(page, i)); i++) {
        const char *entry = text(at(letter, 0));
        snprintf(c->after, sizeof(c->after), "(%s", entry);
        if (is_ours(c, at(letter, 1)))
            keep_letter(&c->t, entry, field(at(letter, 1), "reason"));
    }
    if (!err && at(page, 0))
        ask_letters(c);
    else
        finish(c, err);
}

static void ask_letters(struct trace_call *c)
{
    redis_call(c->keys.redis, TIMEOUT_MS, got_letters, c, "XRANGE", c->keys.dead, c->after, "+",
        "COUNT", PAGE, NULL);
}

/* --- the job ----------------------------------------------------------------------------- */

/* See common/lua/trace.lua. */
static void read_place(struct queue_traced *t, const redisReply *r)
{
    t->now = number(at(r, 0));
    snprintf(t->marker, sizeof(t->marker), "%s", text(at(r, 1)));
    t->marker_ttl = number(at(r, 2));
    snprintf(t->entry, sizeof(t->entry), "%s", text(at(r, 3)));
    snprintf(t->consumer, sizeof(t->consumer), "%s", text(at(r, 4)));
    t->idle_ms = number(at(r, 5));
    t->deliveries = number(at(r, 6));
    t->later = *text(at(r, 7)) != '\0';
    t->due = (int64_t)strtod(text(at(r, 7)), NULL);
    t->later_job = number(at(r, 8)) == 1;
}

static void got_place(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct trace_call *c = ctx;
    if (err) {
        finish(c, err);
        return;
    }
    read_place(&c->t, reply);
    ask_letters(c);
}

void queue_trace(
    struct queue *q, const struct uuid *id, int64_t letters_since, queue_trace_cb *cb, void *ctx)
{
    struct trace_call *c = mem_new(struct trace_call);
    *c = (struct trace_call){.keys = queue_keys(q), .cb = cb, .ctx = ctx};
    uuid_format(id, c->id);
    snprintf(c->after, sizeof(c->after), "%lld", (long long)letters_since);
    char *marker = mem_printf("%s%s", c->keys.marker_prefix, c->id);
    const char *argv[] = {
        c->keys.stream, c->keys.later, c->keys.later_jobs, marker, c->keys.group, c->id};
    size_t lens[6];
    for (size_t i = 0; i < 6; i++)
        lens[i] = strlen(argv[i]);
    redis_eval(c->keys.redis, &lua_trace, TIMEOUT_MS, got_place, c, 4, 6, argv, lens);
    free(marker);
}
