/* health: see health.h. Probes run side by side, each with a deadline; services that this
 * configuration does not use say "disabled" and do not count. */
#include "producer/health.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/timestamp.h"
#include "producer/api.h"

#include <stdlib.h>

enum { PROBE_MS = 1000 };

struct probe {
    struct hl_err redis, postgres;
};

static void tell_root(struct api_call *call)
{
    buf_puts(&call->out, "{\"service\":\"Firecrawl Search Bridge\",\"version\":\"0.1.0\","
                         "\"status\":\"running\",\"docs\":\"/docs\",\"health\":\"/health\"}");
    api_reply(call, 200);
}

static void put_service(struct buf *b, const char *name, const struct hl_err *err)
{
    json_put_key(b, name);
    if (err->rc == HL_OK) {
        json_put_string(b, "healthy");
        return;
    }
    char *text = mem_printf("unhealthy: %s", hl_why_name(err->why));
    json_put_string(b, text);
    free(text);
}

static void finish(struct api_call *call)
{
    const struct probe *p = call->own;
    char now[TIMESTAMP_EASTERN_LEN + 1];
    struct buf *b = &call->out;

    if (--call->pending)
        return;
    bool healthy = p->redis.rc == HL_OK && p->postgres.rc == HL_OK;
    timestamp_eastern(clock_wall_us(), now);
    buf_printf(b, "{\"status\":\"%s\",\"services\":{", healthy ? "healthy" : "degraded");
    put_service(b, "redis", &p->redis);
    buf_puts(b, ",\"qdrant\":\"disabled\",\"tei\":\"disabled\"");
    put_service(b, "postgres", &p->postgres);
    buf_puts(b, "},\"timestamp\":");
    json_put_string(b, now);
    buf_putc(b, '}');
    api_reply(call, 200);
}

static void redis_answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct probe *p = call->own;
    (void)reply;
    if (err)
        p->redis = *err;
    finish(call);
}

static void postgres_answered(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct probe *p = call->own;
    (void)rows;
    if (rc != HL_OK)
        p->postgres = *err;
    finish(call);
}

static void probe(struct api_call *call)
{
    call->own = mem_new(struct probe);
    call->pending = 2;
    redis_call(call->stores->redis, PROBE_MS, redis_answered, call, "PING", NULL);
    store_ping(call->stores->store, PROBE_MS, postgres_answered, call);
}

/* --- routes ------------------------------------------------------------------------------ */

const struct api_route health_root = {.limited = true, .open = true, .go = tell_root};

const struct api_route health_get = {.limited = true, .open = true, .go = probe};
