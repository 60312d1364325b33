/* stores: see stores.h. */
#include "producer/stores.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    REDIS_MS = 2000,
    STORE_TIMEOUT_MS = 1000, /* of a T0 flush: behind it the spool takes over */
    READS_WAITING = 256,     /* questions that wait for a connection */
    CRAWL_SHARE = 2,         /* of the spool's room: the rest is change events' alone */
};

/* --- readiness --------------------------------------------------------------------------- */

/* Redis that may evict our keys is no queue: only the row counts then. */
static void redis_state(struct redis *r, bool up, void *ctx)
{
    struct stores *s = ctx;
    const struct redis_info *info = redis_info(r);
    s->redis_evicts = info->maxmemory > 0 && strcmp(info->maxmemory_policy, "noeviction") != 0;
    if (up && s->redis_evicts)
        log_error("redis_evicts", LOG_S("maxmemory_policy", info->maxmemory_policy),
            LOG_S("remedy", "set maxmemory-policy noeviction: an evicted job is a lost job"));
    else if (up && !info->aof_enabled)
        log_warn("redis_not_durable", LOG_S("remedy", "set appendonly yes"));
    if (up)
        rejects_again(s->rejects);
}

bool stores_redis_ready(const struct stores *s)
{
    return redis_up(s->redis) && !s->redis_evicts;
}

bool stores_database_ready(const struct stores *s)
{
    return s->schema_ready && dbpool_up(s->pool);
}

bool stores_can_accept(const struct stores *s)
{
    return stores_database_ready(s) || spool_takes(s->spool);
}

static void schema_ready(void *ctx)
{
    struct stores *s = ctx;
    s->schema_ready = true;
}

void stores_intake_begins(struct stores *s)
{
    s->intakes++;
}

void stores_intake_ends(struct stores *s)
{
    if (--s->intakes == 0 && s->idle)
        s->idle(s->idle_ctx);
}

/* --- the API ------------------------------------------------------------------------ */

/* A budget of its own: whatever is asked, intake keeps its connections. */
static bool open_reads(struct stores *s, const struct db_conf *db, struct hl_err *err)
{
    struct db_conf conf = *db;
    conf.label = POOL_READS;
    conf.pool_size = (int)s->cfg->read_connections;
    conf.max_overflow = 0;
    conf.max_waiters = READS_WAITING;
    conf.pool_timeout_ms = conf.statement_timeout_ms = s->cfg->read_timeout_ms;
    s->read_pool = dbpool_new(s->loop, s->names, &conf, err);
    if (!s->read_pool)
        return false;
    s->reads = store_new(s->loop, s->read_pool, NULL, s->cfg->read_timeout_ms);
    s->limits = limits_new(s->loop, s->redis, s->cfg->queue_prefix, s->cfg->rate_limit);
    s->cors = cors_new(s->cfg->cors_origins ? s->cfg->cors_origins : "");
    return true;
}

static void close_reads(struct stores *s)
{
    dbpool_free(s->read_pool);
    store_free(s->reads);
    limits_free(s->limits);
    cors_free(s->cors);
}

/* --- life -------------------------------------------------------------------------------- */

bool stores_open(struct stores *s, struct loop *l, const struct config *cfg, struct hl_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "hookline-producer:%d", (int)getpid());
    const struct db_conf db = connect_db_conf(cfg, name);
    struct redis_conf redis = connect_redis_conf(cfg, name);
    redis.connect_timeout_ms = redis.command_timeout_ms = REDIS_MS;

    *s = (struct stores){.cfg = cfg, .loop = l};
    *err = (struct hl_err){0};
    s->receipts = receipts_new(cfg->receipts_dir);
    s->names = offload_new(l, err);
    s->disk = s->names ? offload_new(l, err) : NULL;
    s->crawl_disk = s->disk ? offload_new(l, err) : NULL;
    s->crunch = s->crawl_disk ? offload_new(l, err) : NULL;
    s->pool = s->crunch ? dbpool_new(l, s->names, &db, err) : NULL;
    s->redis = s->pool ? redis_new(l, s->names, &redis, err) : NULL;
    if (!s->redis || !open_reads(s, &db, err))
        return false;
    s->store = store_new(l, s->pool, NULL, STORE_TIMEOUT_MS);
    s->metrics = metrics_new(l, s->pool, cfg->metrics_buffer, cfg->metrics_sample);
    s->spans = spans_new(l, cfg, name, err);
    if (!s->spans && err->rc != HL_OK)
        return false;
    s->queue = queue_new(l, s->redis, cfg->queue_prefix, QUEUE_CHANGE, NULL);
    s->crawl_queue = queue_new(l, s->redis, cfg->queue_prefix, QUEUE_CRAWL, NULL);
    s->rejects = rejects_new(s->redis, cfg->queue_prefix, cfg->rejects_kept);
    redis_on_state(s->redis, redis_state, s);
    s->spool = spool_open(l, s->disk, cfg->spool_dir, cfg->spool_max_bytes, err);
    if (s->spool)
        s->crawl_spool = spool_open_kind(
            l, s->crawl_disk, cfg->spool_dir, SPOOL_CRAWL, cfg->spool_max_bytes / CRAWL_SHARE, err);
    schema_wait_start(l, &s->schema, s->store,
        "run `hooklinectl migrate`; events go to the spool meanwhile", schema_ready, s);
    return s->crawl_spool != NULL;
}

void stores_close(struct stores *s)
{
    schema_wait_stop(&s->schema);
    dbpool_free(s->pool); /* answers what is in flight */
    redis_free(s->redis);
    close_reads(s);
    store_free(s->store);
    metrics_free(s->metrics);
    spans_free(s->spans);
    queue_free(s->queue);
    queue_free(s->crawl_queue);
    rejects_free(s->rejects);
    offload_free(s->names);
    offload_free(s->disk);
    offload_free(s->crawl_disk);
    offload_free(s->crunch);
    spool_close(s->spool);
    spool_close(s->crawl_spool);
    receipts_free(s->receipts);
}
