/* redis_exam: see redis_exam.h. The clock first, one question at a time: the least of several round
 * trips tells the most. Then INFO, then what only CONFIG knows, and may refuse. */
#include "domain/redis_exam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { TIMEOUT_MS = 5000 };

/* The value of a line "name:value" of INFO; false when there is none. */
static bool info_text(const char *info, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *p = info; p && *p; p = strchr(p, '\n'), p += p != NULL) {
        if (strncmp(p, name, len) != 0 || p[len] != ':')
            continue;
        p += len + 1;
        snprintf(out, size, "%.*s", (int)strcspn(p, "\r\n"), p);
        return true;
    }
    return false;
}

static int64_t info_number(const char *info, const char *name)
{
    char text[24];
    return info_text(info, name, text, sizeof(text)) ? strtoll(text, NULL, 10) : -1;
}

static bool info_is(const char *info, const char *name, const char *word)
{
    char text[24];
    return info_text(info, name, text, sizeof(text)) && strcmp(text, word) == 0;
}

static void got_config(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct redis_exam *e = ctx;
    if (!err && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
        snprintf(e->appendfsync, sizeof(e->appendfsync), "%s", reply->element[1]->str);
    e->done(e, HL_OK, NULL);
}

static void got_info(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct redis_exam *e = ctx;
    if (err) {
        e->done(e, err->rc, err);
        return;
    }
    const char *info = reply->str ? reply->str : "";
    info_text(info, "redis_version", e->version, sizeof(e->version));
    info_text(info, "role", e->role, sizeof(e->role));
    info_text(info, "maxmemory_policy", e->policy, sizeof(e->policy));
    e->aof_enabled = info_is(info, "aof_enabled", "1");
    e->aof_broken = info_is(info, "aof_last_write_status", "err");
    e->snapshot_broken = info_is(info, "rdb_last_bgsave_status", "err");
    e->memory = info_number(info, "used_memory");
    e->max_memory = info_number(info, "maxmemory");
    e->clients = info_number(info, "connected_clients");
    e->max_clients = info_number(info, "maxclients");
    e->evicted = info_number(info, "evicted_keys");
    redis_call(e->redis, TIMEOUT_MS, got_config, e, "CONFIG", "GET", "appendfsync", NULL);
}

static void ask_time(struct redis_exam *e);

static void got_time(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct redis_exam *e = ctx;
    struct clock_look *look = &e->looks[e->asked];
    look->after = clock_wall_us();
    if (err) {
        e->done(e, err->rc, err);
        return;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
        look->there = strtoll(reply->element[0]->str, NULL, 10) * 1000000 +
                      strtoll(reply->element[1]->str, NULL, 10);
    e->asked++;
    ask_time(e);
}

static void ask_time(struct redis_exam *e)
{
    if (e->asked == EXAM_TIMES) {
        redis_call(e->redis, TIMEOUT_MS, got_info, e, "INFO", NULL);
        return;
    }
    e->looks[e->asked].before = clock_wall_us();
    redis_call(e->redis, TIMEOUT_MS, got_time, e, "TIME", NULL);
}

/* The first one finds the connection open. */
static void connected(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct redis_exam *e = ctx;
    (void)reply;
    if (err)
        e->done(e, err->rc, err);
    else
        ask_time(e);
}

void redis_exam(struct redis *r, struct redis_exam *e)
{
    e->redis = r;
    e->asked = 0;
    redis_call(r, TIMEOUT_MS, connected, e, "PING", NULL);
}
