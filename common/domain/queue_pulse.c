/* queue_pulse: see queue_pulse.h. */
#include "domain/queue_pulse.h"

#include "base/mem.h"
#include "domain/queue_private.h"

#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000 };

struct pulse_call {
    queue_pulse_cb *cb;
    void *ctx;
};

/* Of an entry's id: its time. */
static int64_t time_of(const redisReply *entry)
{
    bool has_id = entry->type == REDIS_REPLY_ARRAY && entry->elements > 0 &&
                  entry->element[0]->type == REDIS_REPLY_STRING;
    return has_id ? strtoll(entry->element[0]->str, NULL, 10) : -1;
}

/* XINFO STREAM: [name, value, ...]; `entries-added` is there since Redis 7. */
static void read_info(const redisReply *r, struct queue_pulse *p)
{
    size_t n = r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        const redisReply *name = r->element[i], *value = r->element[i + 1];
        if (name->type != REDIS_REPLY_STRING)
            continue;
        if (strcmp(name->str, "length") == 0)
            p->length = value->integer;
        if (strcmp(name->str, "entries-added") == 0)
            p->added = value->integer;
        if (strcmp(name->str, "first-entry") == 0)
            p->oldest_ms = time_of(value);
    }
}

static void got_info(const redisReply *r, const struct hl_err *err, void *ctx)
{
    struct pulse_call *c = ctx;
    struct queue_pulse pulse = {.added = -1, .oldest_ms = -1};
    bool no_stream = err && err->rc == HL_FATAL && r && strstr(r->str, "no such key");
    if (no_stream)
        pulse.added = 0;
    if (!err)
        read_info(r, &pulse);
    if (no_stream || !err)
        c->cb(HL_OK, &pulse, NULL, c->ctx);
    else
        c->cb(err->rc, &pulse, err, c->ctx);
    free(c);
}

void queue_pulse(struct queue *q, queue_pulse_cb *cb, void *ctx)
{
    struct queue_keys keys = queue_keys(q);
    struct pulse_call *c = mem_new(struct pulse_call);
    c->cb = cb;
    c->ctx = ctx;
    redis_call(keys.redis, TIMEOUT_MS, got_info, c, "XINFO", "STREAM", keys.stream, NULL);
}
