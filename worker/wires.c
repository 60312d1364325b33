/* wires: see wires.h. */
#include "worker/wires.h"

#include "base/uuid.h"
#include "domain/connect.h"

#include <stdio.h>
#include <unistd.h>

enum { EVERY_ONE = 1000000 }; /* the sample is of requests, which workers have none of */

void wires_name(char *out, size_t size)
{
    char host[49] = "host", nonce[UUID_STRLEN + 1];
    struct uuid u = uuid_v4();
    gethostname(host, sizeof(host) - 1);
    uuid_format(&u, nonce);
    snprintf(out, size, "%s-%d-%.8s", host, (int)getpid(), nonce);
}

struct dbpool *wires_pool(struct wires *w, const struct config *cfg, const char *instance,
    enum meter_POOL label, int connections, struct hl_err *err)
{
    char name[64]; /* PostgreSQL cuts at 63 bytes */
    int keep = connections < cfg->db_pool_size ? connections : (int)cfg->db_pool_size;
    snprintf(name, sizeof(name), "hookline-worker:%s", instance);
    struct db_conf conf = connect_db_conf(cfg, name);
    conf.label = label;
    conf.pool_size = keep;
    conf.max_overflow = connections - keep;
    return dbpool_new(w->loop, w->offload, &conf, err);
}

struct redis *wires_redis(
    struct wires *w, const struct config *cfg, const char *instance, struct hl_err *err)
{
    char name[128];
    snprintf(name, sizeof(name), "hookline-worker:%s", instance);
    const struct redis_conf conf = connect_redis_conf(cfg, name);
    return redis_new(w->loop, w->offload, &conf, err);
}

bool wires_open_store(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    int connections, struct hl_err *err)
{
    *w = (struct wires){.loop = loop_new(err)};
    w->offload = w->loop ? offload_new(w->loop, err) : NULL;
    w->pool = w->offload ? wires_pool(w, cfg, instance, POOL_WORK, connections, err) : NULL;
    if (!w->pool)
        return false;
    w->store = store_new(w->loop, w->pool, consume ? instance : NULL, 0);
    w->metrics = metrics_new(w->loop, w->pool, cfg->metrics_buffer, EVERY_ONE);
    return true;
}

bool wires_open_queue(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    struct hl_err *err)
{
    w->redis = wires_redis(w, cfg, instance, err);
    if (!w->redis)
        return false;
    w->queue =
        queue_new(w->loop, w->redis, cfg->queue_prefix, QUEUE_CHANGE, consume ? instance : NULL);
    return true;
}

bool wires_open(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    int connections, struct hl_err *err)
{
    return wires_open_store(w, cfg, instance, consume, connections, err) &&
           wires_open_queue(w, cfg, instance, consume, err);
}

bool wires_open_spans(
    struct wires *w, const struct config *cfg, const char *instance, struct hl_err *err)
{
    *err = (struct hl_err){0};
    w->spans = spans_new(w->loop, cfg, instance, err);
    return w->spans || err->rc == HL_OK;
}

void wires_close(struct wires *w)
{
    dbpool_free(w->pool);
    store_free(w->store);
    metrics_free(w->metrics);
    spans_free(w->spans);
    redis_free(w->redis); /* answers what the queue still waits for */
    queue_free(w->queue);
    offload_free(w->offload);
    loop_free(w->loop);
    *w = (struct wires){0};
}
