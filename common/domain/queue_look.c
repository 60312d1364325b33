/* queue_look: see queue_look.h. */
#include "domain/queue_look.h"

#include "base/mem.h"
#include "domain/queue_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000 };
#define PAGE     "200" /* whole jobs: some hundred KiB as a rule */
#define PAGE_IDS "1000"

struct look {
    struct queue_keys keys;
    enum queue_place place;
    queue_look_each *each;
    queue_look_done *done;
    void *ctx;
    char
        after[QUEUE_ENTRY_MAX + 1]; /* XRANGE: "-", then "(" and the last entry; SCAN: the cursor */
    char given[QUEUE_ENTRY_MAX];    /* what the group was given last; "" = nothing */
};

static bool is_text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING;
}

static bool is_array(const redisReply *r, size_t at_least)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements >= at_least;
}

/* --- what a page shows ------------------------------------------------------------------- */

/* A job of a newer version is one, too. */
static bool is_job(const redisReply *job)
{
    struct change_event ev;
    if (!is_text(job))
        return false;
    enum hl_rc rc = event_decode(job->str, job->len, &ev, NULL);
    if (rc == HL_OK)
        event_release(&ev);
    return rc == HL_OK || rc == HL_LOST;
}

/* a <= b, of "<ms>-<seq>" */
static bool entry_up_to(const char *a, const char *b)
{
    unsigned long long ms[2] = {0}, seq[2] = {0};
    if (sscanf(a, "%llu-%llu", &ms[0], &seq[0]) != 2 ||
        sscanf(b, "%llu-%llu", &ms[1], &seq[1]) != 2)
        return false;
    return ms[0] < ms[1] || (ms[0] == ms[1] && seq[0] <= seq[1]);
}

static void show(const struct look *l, const redisReply *id, const redisReply *job,
    const char *entry, bool judged)
{
    struct queue_sight sight = {.place = l->place, .entry = entry};
    sight.is_job = is_text(id) && uuid_parse(id->str, &sight.id) && (!judged || is_job(job));
    sight.delivered = l->place == QUEUE_AT_STREAM && *l->given && entry_up_to(entry, l->given);
    l->each(&sight, l->ctx);
}

static const redisReply *field(const redisReply *fields, const char *name)
{
    for (size_t i = 0; is_array(fields, i + 2); i += 2)
        if (is_text(fields->element[i]) && strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1];
    return NULL;
}

/* Dead letters of both queues stand in one stream; those of crawl jobs say so. */
static bool of_this_queue(const struct look *l, const redisReply *fields)
{
    bool crawl = field(fields, "queue") != NULL;
    return l->place != QUEUE_AT_DEAD || crawl == (l->keys.kind == QUEUE_CRAWL);
}

/* [[entry, [field, value, ...]], ...]; false at the end. */
static bool show_entries(struct look *l, const redisReply *page)
{
    for (size_t i = 0; is_array(page, i + 1); i++) {
        const redisReply *e = page->element[i];
        if (!is_array(e, 2) || !is_text(e->element[0]))
            return false;
        if (of_this_queue(l, e->element[1]))
            show(l, field(e->element[1], "id"), field(e->element[1], "job"), e->element[0]->str,
                l->place == QUEUE_AT_STREAM);
        snprintf(l->after, sizeof(l->after), "(%s", e->element[0]->str);
    }
    return is_array(page, 1);
}

/* [cursor, [member, score or value, ...]]; false at the end. */
static bool show_pairs(struct look *l, const redisReply *page)
{
    if (!is_array(page, 2) || !is_text(page->element[0]))
        return false;
    const redisReply *pairs = page->element[1];
    for (size_t i = 0; is_array(pairs, i + 2); i += 2)
        show(l, pairs->element[i], pairs->element[i + 1], "", l->place == QUEUE_AT_LATER_JOBS);
    snprintf(l->after, sizeof(l->after), "%s", page->element[0]->str);
    return strcmp(l->after, "0") != 0;
}

/* --- page by page ------------------------------------------------------------------------ */

static void ask(struct look *l);

static void finish(struct look *l, const struct hl_err *err)
{
    l->done(err ? err->rc : HL_OK, err, l->ctx);
    free(l);
}

static bool is_stream(const struct look *l)
{
    return l->place == QUEUE_AT_STREAM || l->place == QUEUE_AT_DEAD;
}

static void got_page(const redisReply *page, const struct hl_err *err, void *ctx)
{
    struct look *l = ctx;
    if (!err && (is_stream(l) ? show_entries(l, page) : show_pairs(l, page)))
        ask(l);
    else
        finish(l, err);
}

static void ask(struct look *l)
{
    const struct queue_keys *k = &l->keys;
    struct redis *r = k->redis;
    switch (l->place) {
    case QUEUE_AT_STREAM:
    case QUEUE_AT_DEAD:
        redis_call(r, TIMEOUT_MS, got_page, l, "XRANGE",
            l->place == QUEUE_AT_DEAD ? k->dead : k->stream, l->after, "+", "COUNT", PAGE, NULL);
        break;
    case QUEUE_AT_LATER:
        redis_call(
            r, TIMEOUT_MS, got_page, l, "ZSCAN", k->later, l->after, "COUNT", PAGE_IDS, NULL);
        break;
    case QUEUE_AT_LATER_JOBS:
        redis_call(
            r, TIMEOUT_MS, got_page, l, "HSCAN", k->later_jobs, l->after, "COUNT", PAGE, NULL);
        break;
    case QUEUE_NPLACES: abort();
    }
}

/* XINFO GROUPS: [[name, value, ...], ...]; a stream that is not there is an error reply: then
 * nothing was given to anybody. */
static void got_groups(const redisReply *groups, const struct hl_err *err, void *ctx)
{
    struct look *l = ctx;
    if (err && err->rc != HL_FATAL) {
        finish(l, err);
        return;
    }
    for (size_t i = 0; !err && is_array(groups, i + 1); i++) {
        const redisReply *name = field(groups->element[i], "name");
        const redisReply *last = field(groups->element[i], "last-delivered-id");
        if (is_text(name) && is_text(last) && strcmp(name->str, l->keys.group) == 0)
            snprintf(l->given, sizeof(l->given), "%s", last->str);
    }
    ask(l);
}

void queue_look(struct queue *q, enum queue_place place, queue_look_each *each,
    queue_look_done *done, void *ctx)
{
    struct look *l = mem_new(struct look);
    *l = (struct look){
        .keys = queue_keys(q), .place = place, .each = each, .done = done, .ctx = ctx};
    snprintf(l->after, sizeof(l->after), "%s", is_stream(l) ? "-" : "0");
    if (place == QUEUE_AT_STREAM)
        redis_call(
            l->keys.redis, TIMEOUT_MS, got_groups, l, "XINFO", "GROUPS", l->keys.stream, NULL);
    else
        ask(l);
}

/* --- single places, markers -------------------------------------------------------------- */

struct there_call {
    queue_look_there *there;
    void *ctx;
};

static void got_place(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct there_call call = *(struct there_call *)ctx;
    free(ctx);
    bool there = !err && (is_text(reply) || is_array(reply, 1));
    call.there(err ? err->rc : HL_OK, there, err, call.ctx);
}

void queue_look_at(
    struct queue *q, const struct uuid *id, const char *entry, queue_look_there *there, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    struct there_call *call = mem_new(struct there_call);
    char text[UUID_STRLEN + 1];

    *call = (struct there_call){there, ctx};
    uuid_format(id, text);
    if (*entry)
        redis_call(k.redis, TIMEOUT_MS, got_place, call, "XRANGE", k.stream, entry, entry, NULL);
    else
        redis_call(k.redis, TIMEOUT_MS, got_place, call, "ZSCORE", k.later, text, NULL);
}

struct marked_call {
    queue_look_marked *cb;
    void *ctx;
    size_t n;
};

static void got_markers(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct marked_call call = *(struct marked_call *)ctx;
    bool *marked = mem_array(call.n + 1, sizeof(*marked));
    free(ctx);
    for (size_t i = 0; !err && i < call.n && is_array(reply, i + 1); i++)
        marked[i] = is_text(reply->element[i]);
    call.cb(err ? err->rc : HL_OK, marked, call.n, err, call.ctx);
    free(marked);
}

void queue_look_markers(
    struct queue *q, const struct uuid *ids, size_t n, queue_look_marked *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    const size_t prefix = strlen(k.marker_prefix), len = prefix + UUID_STRLEN;
    const char **argv = mem_array(n + 1, sizeof(*argv));
    size_t *lens = mem_array(n + 1, sizeof(*lens));
    char *keys = mem_array(n + 1, len + 1);
    struct marked_call *call = mem_new(struct marked_call);

    *call = (struct marked_call){cb, ctx, n};
    argv[0] = "MGET";
    lens[0] = strlen(argv[0]);
    for (size_t i = 0; i < n; i++) {
        char *key = keys + i * (len + 1);
        memcpy(key, k.marker_prefix, prefix);
        uuid_format(&ids[i], key + prefix);
        argv[i + 1] = key;
        lens[i + 1] = len;
    }
    redis_command(k.redis, TIMEOUT_MS, got_markers, call, (int)n + 1, argv, lens);
    free(keys);
    free(argv);
    free(lens);
}
