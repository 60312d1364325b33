/* session: see session.h. */
#include "worker/ctl/session.h"

#include "domain/connect.h"

enum { TIMEOUT_MS = 10000 };

enum hl_rc session_open(struct session *s, const struct config *cfg, struct hl_err *err)
{
    struct db_conf db = connect_db_conf(cfg, "hooklinectl");
    const struct redis_conf redis = connect_redis_conf(cfg, "hooklinectl");

    db.prepared = false; /* each statement runs once */
    db.pool_size = 2;
    db.max_overflow = 0;
    db.pool_timeout_ms = TIMEOUT_MS;
    *s = (struct session){.loop = loop_new(err)};
    s->offload = s->loop ? offload_new(s->loop, err) : NULL;
    s->pool = s->offload ? dbpool_new(s->loop, s->offload, &db, err) : NULL;
    s->redis = s->pool ? redis_new(s->loop, s->offload, &redis, err) : NULL;
    if (!s->redis) {
        session_close(s);
        return HL_FATAL;
    }
    s->store = store_new(s->loop, s->pool, NULL, 0);
    s->queue = queue_new(s->loop, s->redis, cfg->queue_prefix, QUEUE_CHANGE, NULL);
    s->crawl_queue = queue_new(s->loop, s->redis, cfg->queue_prefix, QUEUE_CRAWL, NULL);
    return HL_OK;
}

void session_close(struct session *s)
{
    dbpool_free(s->pool);
    redis_free(s->redis);
    store_free(s->store);
    queue_free(s->queue);
    queue_free(s->crawl_queue);
    offload_free(s->offload);
    loop_free(s->loop);
    *s = (struct session){0};
}

void session_asked(struct session *s)
{
    s->open++;
}

void session_answered(struct session *s)
{
    if (--s->open == 0)
        loop_stop(s->loop);
}

void session_wait(struct session *s)
{
    if (s->open)
        loop_run(s->loop);
}
