/* health: see health.h. Probes run side by side, each with a deadline; services that this
 * configuration does not use say "disabled" and do not count. */
#include "producer/health.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/timestamp.h"
#include "producer/stores.h"

#include <stdlib.h>

enum { PROBE_MS = 1000 };

struct probe {
    struct httpd_req *req;
    int pending;
    struct hl_err redis, postgres;
};

void health_root(struct httpd_req *req, void *stores)
{
    static const char body[] = "{\"service\":\"Firecrawl Search Bridge\",\"version\":\"0.1.0\","
                               "\"status\":\"running\",\"docs\":\"/docs\",\"health\":\"/health\"}";
    (void)stores;
    httpd_reply(req, 200, "application/json", body, sizeof(body) - 1);
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

static void finish(struct probe *p)
{
    char now[TIMESTAMP_EASTERN_LEN + 1];
    struct buf b = {0};

    if (--p->pending)
        return;
    bool healthy = p->redis.rc == HL_OK && p->postgres.rc == HL_OK;
    timestamp_eastern(clock_wall_us(), now);
    buf_printf(&b, "{\"status\":\"%s\",\"services\":{", healthy ? "healthy" : "degraded");
    put_service(&b, "redis", &p->redis);
    buf_puts(&b, ",\"qdrant\":\"disabled\",\"tei\":\"disabled\"");
    put_service(&b, "postgres", &p->postgres);
    buf_puts(&b, "},\"timestamp\":");
    json_put_string(&b, now);
    buf_putc(&b, '}');
    httpd_reply(p->req, 200, "application/json", b.data, b.len);
    buf_release(&b);
    free(p);
}

static void redis_answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct probe *p = ctx;
    (void)reply;
    if (err)
        p->redis = *err;
    finish(p);
}

static void postgres_answered(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct probe *p = ctx;
    (void)rows;
    if (rc != HL_OK)
        p->postgres = *err;
    finish(p);
}

void health_get(struct httpd_req *req, void *stores)
{
    struct stores *s = stores;
    struct probe *p = mem_new(struct probe);
    p->req = req;
    p->pending = 2;
    redis_call(s->redis, PROBE_MS, redis_answered, p, "PING", NULL);
    store_ping(s->store, PROBE_MS, postgres_answered, p);
}
