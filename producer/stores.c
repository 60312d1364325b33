/* stores: see stores.h. */
#include "producer/stores.h"

#include "base/log.h"
#include "domain/migrate.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SCHEMA_CHECK_MS = 1000,
    STORE_TIMEOUT_MS = 1000, /* of a T0 flush: behind it the spool takes over */
};

/* --- readiness ---------------------------------------------------------------------------------------- */

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
}

bool stores_redis_ready(const struct stores *s)
{
    return redis_up(s->redis) && !s->redis_evicts;
}

bool stores_database_ready(const struct stores *s)
{
    return s->schema_ready && dbpool_up(s->pool);
}

static void schema_answered(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct stores *s = ctx;
    s->schema_ready = rc == HL_OK && db_int(rows, 0, 0) >= migrate_latest();
    if (s->schema_ready) {
        if (s->said_waiting)
            log_info("database_ready");
        return;
    }
    if (!s->said_waiting)
        log_warn("waiting_for_database",
            LOG_S("error", err ? err->msg : "the schema is older than this program"),
            LOG_S("remedy", "run `hooklinectl migrate`; events go to the spool meanwhile"));
    s->said_waiting = true;
    timer_start(&s->schema_check, SCHEMA_CHECK_MS);
}

static void check_schema(void *ctx)
{
    struct stores *s = ctx;
    store_schema_version(s->store, schema_answered, s);
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

/* --- life ------------------------------------------------------------------------------------------------- */

bool stores_open(struct stores *s, struct loop *l, const struct config *cfg, struct hl_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "hookline-producer:%d", (int)getpid());
    const struct db_conf db = {
        .url = cfg->database_url,
        .application_name = name,
        .prepared = cfg->db_prepared,
        .pool_size = (int)cfg->db_pool_size,
        .max_overflow = (int)cfg->db_max_overflow,
        .max_waiters = 4096,
        .pool_timeout_ms = cfg->db_pool_timeout_ms,
        .pre_ping_after_ms = cfg->db_pre_ping_after_ms,
        .max_age_ms = cfg->db_max_age_ms,
        .connect_timeout_ms = cfg->db_connect_timeout_ms,
        .statement_timeout_ms = cfg->db_statement_timeout_ms,
    };
    const struct redis_conf redis = {.url = cfg->redis_url,
        .client_name = name,
        .connect_timeout_ms = 2000,
        .command_timeout_ms = 2000,
        .max_pending = 65536};

    *s = (struct stores){.cfg = cfg, .loop = l};
    timer_init(l, &s->schema_check, check_schema, s);
    s->names = offload_new(l, err);
    s->disk = s->names ? offload_new(l, err) : NULL;
    s->pool = s->disk ? dbpool_new(l, s->names, &db, err) : NULL;
    s->redis = s->pool ? redis_new(l, s->names, &redis, err) : NULL;
    if (!s->redis)
        return false;
    s->store = store_new(l, s->pool, NULL, STORE_TIMEOUT_MS);
    s->queue = queue_new(l, s->redis, cfg->queue_prefix, NULL);
    redis_on_state(s->redis, redis_state, s);
    s->spool = spool_open(l, s->disk, cfg->spool_dir, cfg->spool_max_bytes, err);
    check_schema(s);
    return s->spool != NULL;
}

void stores_stop(struct stores *s)
{
    timer_stop(&s->schema_check);
    dbpool_free(s->pool); /* answers what is in flight */
    redis_free(s->redis);
    store_free(s->store);
    queue_free(s->queue);
}

void stores_close(struct stores *s)
{
    offload_free(s->names);
    offload_free(s->disk);
    spool_close(s->spool);
}
