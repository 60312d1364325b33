/* wires: see wires.h. */
#include "worker/wires.h"

#include <stdio.h>

struct dbpool *wires_pool(struct wires *w, const struct config *cfg, const char *instance,
    int connections, struct hl_err *err)
{
    char name[64]; /* PostgreSQL cuts at 63 bytes */
    int keep = connections < cfg->db_pool_size ? connections : (int)cfg->db_pool_size;
    snprintf(name, sizeof(name), "hookline-worker:%s", instance);
    const struct db_conf conf = {
        .url = cfg->database_url,
        .application_name = name,
        .prepared = cfg->db_prepared,
        .pool_size = keep,
        .max_overflow = connections - keep,
        .max_waiters = 65536,
        .pool_timeout_ms = cfg->db_pool_timeout_ms,
        .pre_ping_after_ms = cfg->db_pre_ping_after_ms,
        .max_age_ms = cfg->db_max_age_ms,
        .connect_timeout_ms = cfg->db_connect_timeout_ms,
        .statement_timeout_ms = cfg->db_statement_timeout_ms,
    };
    return dbpool_new(w->loop, w->offload, &conf, err);
}

struct redis *wires_redis(
    struct wires *w, const struct config *cfg, const char *instance, struct hl_err *err)
{
    char name[128];
    snprintf(name, sizeof(name), "hookline-worker:%s", instance);
    const struct redis_conf conf = {.url = cfg->redis_url,
        .client_name = name,
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 5000,
        .max_pending = 65536};
    return redis_new(w->loop, w->offload, &conf, err);
}

bool wires_open(struct wires *w, const struct config *cfg, const char *instance, bool consume,
    int connections, struct hl_err *err)
{
    *w = (struct wires){.loop = loop_new(err)};
    w->offload = w->loop ? offload_new(w->loop, err) : NULL;
    w->pool = w->offload ? wires_pool(w, cfg, instance, connections, err) : NULL;
    w->redis = w->pool ? wires_redis(w, cfg, instance, err) : NULL;
    if (!w->redis)
        return false;
    w->store = store_new(w->loop, w->pool, consume ? instance : NULL, 0);
    w->queue = queue_new(w->loop, w->redis, cfg->queue_prefix, consume ? instance : NULL);
    return true;
}

void wires_close(struct wires *w)
{
    dbpool_free(w->pool);
    store_free(w->store);
    redis_free(w->redis); /* answers what the queue still waits for */
    queue_free(w->queue);
    offload_free(w->offload);
    loop_free(w->loop);
    *w = (struct wires){0};
}
