/* server: see server.h. Builds everything after the fork, serves until SIGTERM, drains. */
#include "producer/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "domain/migrate.h"
#include "producer/forward.h"
#include "producer/health.h"
#include "producer/intake.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEARTBEAT_MS = 500,
    SCHEMA_CHECK_MS = 1000,
    STORE_TIMEOUT_MS = 1000, /* of a T0 flush: behind it the spool takes over */
};

static const struct httpd_route routes[] = {
    {"GET",        "/", health_root, 0, 0},
    {"GET", "/health", health_get, 0, 0},
    {"POST",           "/api/webhook/changedetection", intake_changedetection, 0, HTTPD_ANY_SLASH},
    {0       },
};

/* Every answer carries its id and the time it took (reference contract section 1.1). */
static void on_reply(struct httpd_req *req, int status, void *ctx)
{
    struct uuid u = uuid_v4();
    char id[UUID_STRLEN + 1], took[32];
    (void)status;
    (void)ctx;
    uuid_format(&u, id);
    snprintf(took, sizeof(took), "%.2f", (double)(clock_mono_us() - httpd_started_us(req)) / 1000);
    httpd_add_header(req, "X-Request-ID", id);
    httpd_add_header(req, "X-Process-Time", took);
}

/* --- readiness ---------------------------------------------------------------------------------------- */

/* Redis that may evict our keys is no queue: only the row counts then. */
static void redis_state(struct redis *r, bool up, void *ctx)
{
    struct server *s = ctx;
    const struct redis_info *info = redis_info(r);
    s->redis_evicts = info->maxmemory > 0 && strcmp(info->maxmemory_policy, "noeviction") != 0;
    if (up && s->redis_evicts)
        log_error("redis_evicts", LOG_S("maxmemory_policy", info->maxmemory_policy),
            LOG_S("remedy", "set maxmemory-policy noeviction: an evicted job is a lost job"));
    else if (up && !info->aof_enabled)
        log_warn("redis_not_durable", LOG_S("remedy", "set appendonly yes"));
}

bool server_redis_ready(const struct server *s)
{
    return redis_up(s->redis) && !s->redis_evicts;
}

bool server_database_ready(const struct server *s)
{
    return s->schema_ready && dbpool_up(s->pool);
}

static void schema_answered(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct server *s = ctx;
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
    struct server *s = ctx;
    store_schema_version(s->store, schema_answered, s);
}

/* --- the end -------------------------------------------------------------------------------------------- */

static void leave_if_done(struct server *s)
{
    if (s->drained && s->intakes == 0)
        loop_stop(s->loop);
}

static void drained(void *ctx)
{
    struct server *s = ctx;
    s->drained = true;
    leave_if_done(s);
}

void server_intake_done(struct server *s)
{
    s->intakes--;
    leave_if_done(s);
}

/* What was answered 202 is safe; connections are cut. */
static void on_hurry(void *ctx)
{
    struct server *s = ctx;
    loop_stop(s->loop);
}

static void on_term(void *ctx)
{
    struct server *s = ctx;
    if (s->draining)
        return;
    s->draining = true;
    log_info("draining", LOG_I("connections", httpd_connections(s->httpd)),
        LOG_I("requests", s->intakes));
    httpd_drain(s->httpd, drained, s);
    close(s->listen_fd);
}

static void heartbeat(void *ctx)
{
    struct server *s = ctx;
    if (!prefork_beat(s->slot) && !s->draining)
        on_term(s); /* the supervisor is gone and its death signal was missed */
    timer_start(&s->heartbeat, HEARTBEAT_MS);
}

/* --- building --------------------------------------------------------------------------------------------- */

static bool open_stores(struct server *s, struct hl_err *err)
{
    const struct config *cfg = s->cfg;
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

    s->names = offload_new(s->loop, err);
    s->disk = s->names ? offload_new(s->loop, err) : NULL;
    s->pool = s->disk ? dbpool_new(s->loop, s->names, &db, err) : NULL;
    s->redis = s->pool ? redis_new(s->loop, s->names, &redis, err) : NULL;
    if (!s->redis)
        return false;
    s->store = store_new(s->loop, s->pool, NULL, STORE_TIMEOUT_MS);
    s->queue = queue_new(s->loop, s->redis, cfg->queue_prefix, NULL);
    redis_on_state(s->redis, redis_state, s);
    s->spool = spool_open(s->loop, s->disk, cfg->spool_dir, cfg->spool_max_bytes, err);
    return s->spool != NULL;
}

static void open_door(struct server *s, int listen_fd)
{
    const struct config *cfg = s->cfg;
    const struct httpd_conf conf = {
        .routes = routes,
        .ctx = s,
        .max_header = (size_t)cfg->max_header_bytes,
        .max_body = (size_t)cfg->max_body_bytes,
        .max_connections = (int)cfg->max_connections,
        .header_timeout_ms = cfg->header_timeout_ms,
        .body_timeout_ms = cfg->body_timeout_ms,
        .idle_timeout_ms = cfg->idle_timeout_ms,
        .write_timeout_ms = cfg->idle_timeout_ms,
        .on_reply = on_reply,
    };
    s->httpd = httpd_new(s->loop, listen_fd, &conf);
}

static void close_all(struct server *s)
{
    timer_stop(&s->heartbeat);
    timer_stop(&s->schema_check);
    sigwatch_stop(&s->term);
    sigwatch_stop(&s->hurry);
    httpd_free(s->httpd);
    dbpool_free(s->pool); /* answers what is in flight */
    redis_free(s->redis);
    store_free(s->store);
    queue_free(s->queue);
    forward_free(s->forward); /* its requests may have waited in the two above */
    offload_free(s->names);
    offload_free(s->disk);
    spool_close(s->spool);
    loop_free(s->loop);
}

int server_run(struct prefork_slot *slot, const struct config *cfg, int listen_fd)
{
    struct server s = {.cfg = cfg, .slot = slot, .listen_fd = listen_fd};
    struct hl_err err = {0};

    s.loop = loop_new(&err);
    if (!s.loop || !open_stores(&s, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EXIT_FAILURE; /* the supervisor tries again, slower each time */
    }
    sigwatch_start(s.loop, &s.term, SIGTERM, on_term, &s);
    sigwatch_start(s.loop, &s.hurry, PREFORK_HURRY, on_hurry, &s);
    timer_init(s.loop, &s.heartbeat, heartbeat, &s);
    timer_init(s.loop, &s.schema_check, check_schema, &s);
    heartbeat(&s);
    check_schema(&s);
    s.forward = forward_new(&s);
    open_door(&s, listen_fd);
    loop_run(s.loop);
    if (s.intakes)
        return EXIT_FAILURE; /* hurried: the kernel takes back the rest */
    close_all(&s);
    return EXIT_SUCCESS;
}
