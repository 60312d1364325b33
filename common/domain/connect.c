/* connect: see connect.h. */
#include "domain/connect.h"

#include "base/log.h"
#include "domain/migrate.h"

enum { ASK_MS = 1000, MAX_WAITERS = 65536, MAX_PENDING = 65536, REDIS_MS = 5000 };

struct db_conf connect_db_conf(const struct config *cfg, const char *name)
{
    return (struct db_conf){
        .url = cfg->database_url,
        .application_name = name,
        .prepared = cfg->db_prepared,
        .pool_size = (int)cfg->db_pool_size,
        .max_overflow = (int)cfg->db_max_overflow,
        .max_waiters = MAX_WAITERS,
        .pool_timeout_ms = cfg->db_pool_timeout_ms,
        .pre_ping_after_ms = cfg->db_pre_ping_after_ms,
        .max_age_ms = cfg->db_max_age_ms,
        .connect_timeout_ms = cfg->db_connect_timeout_ms,
        .statement_timeout_ms = cfg->db_statement_timeout_ms,
    };
}

struct redis_conf connect_redis_conf(const struct config *cfg, const char *name)
{
    return (struct redis_conf){
        .url = cfg->redis_url,
        .client_name = name,
        .connect_timeout_ms = REDIS_MS,
        .command_timeout_ms = REDIS_MS,
        .max_pending = MAX_PENDING,
    };
}

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct schema_wait *w = ctx;
    if (rc == HL_OK && db_int(rows, 0, 0) >= migrate_latest()) {
        if (w->said_waiting)
            log_info("database_ready");
        w->ready(w->ctx);
        return;
    }
    if (!w->said_waiting)
        log_warn("waiting_for_database",
            LOG_S("error", err ? err->msg : "the schema is older than this program"),
            LOG_S("remedy", w->remedy));
    w->said_waiting = true;
    timer_start(&w->again, ASK_MS);
}

static void ask(void *ctx)
{
    struct schema_wait *w = ctx;
    store_schema_version(w->store, answered, w);
}

void schema_wait_start(struct loop *l, struct schema_wait *w, struct store *store,
    const char *remedy, void (*ready)(void *ctx), void *ctx)
{
    *w = (struct schema_wait){.store = store, .remedy = remedy, .ready = ready, .ctx = ctx};
    timer_init(l, &w->again, ask, w);
    ask(w);
}

void schema_wait_stop(struct schema_wait *w)
{
    timer_stop(&w->again);
}

void connect_log_pool(const char *name, const struct dbpool *p)
{
    struct dbpool_stats st;
    dbpool_stats(p, &st);
    log_info("state_pool", LOG_S("pool", name), LOG_B("up", dbpool_up(p)), LOG_I("open", st.open),
        LOG_I("idle", st.idle), LOG_I("busy", st.busy), LOG_I("waiting", st.waiting),
        LOG_I("connects", st.connects), LOG_I("exhausted", st.exhausted),
        LOG_I("unreachable", st.unreachable), LOG_I("refused", st.refused),
        LOG_I("read_only", st.read_only), LOG_I("timed_out", st.timed_out));
}
