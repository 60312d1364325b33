/* session: see session.h. */
#include "worker/ctl/session.h"

#include "base/clock.h"
#include "base/mem.h"
#include "domain/connect.h"
#include "domain/store_operator.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_MS = 10000 };

static bool connect_all(struct session *s, struct hl_err *err)
{
    const struct config *cfg = s->cfg;
    struct db_conf db = connect_db_conf(cfg, "hooklinectl");
    const struct redis_conf redis = connect_redis_conf(cfg, "hooklinectl");

    db.prepared = false; /* each statement runs once */
    db.pool_size = 2;
    db.max_overflow = 0;
    db.pool_timeout_ms = TIMEOUT_MS;
    s->pool = dbpool_new(s->loop, s->offload, &db, err);
    s->redis = s->pool ? redis_new(s->loop, s->offload, &redis, err) : NULL;
    if (!s->redis)
        return false;
    s->store = store_new(s->loop, s->pool, NULL, 0);
    s->queue = queue_new(s->loop, s->redis, cfg->queue_prefix, QUEUE_CHANGE, NULL);
    s->crawl_queue = queue_new(s->loop, s->redis, cfg->queue_prefix, QUEUE_CRAWL, NULL);
    return true;
}

/* What is not answered fails from inside this call. */
static void disconnect_all(struct session *s)
{
    dbpool_free(s->pool);
    redis_free(s->redis);
    store_free(s->store);
    queue_free(s->queue);
    queue_free(s->crawl_queue);
    s->pool = NULL;
    s->redis = NULL;
    s->store = NULL;
    s->queue = s->crawl_queue = NULL;
}

enum hl_rc session_open(struct session *s, const struct config *cfg, struct hl_err *err)
{
    *s = (struct session){.cfg = cfg, .loop = loop_new(err)};
    s->offload = s->loop ? offload_new(s->loop, err) : NULL;
    if (s->offload && connect_all(s, err))
        return HL_OK;
    session_close(s);
    return HL_FATAL;
}

void session_close(struct session *s)
{
    disconnect_all(s);
    offload_free(s->offload);
    loop_free(s->loop);
    *s = (struct session){0};
}

int session_watch(const struct ctl_args *args, struct session *s, int (*show)(void *ctx), void *ctx)
{
    struct config cfg;
    struct hl_err err;
    if (!ctl_config(args->ctl, &cfg))
        return CTL_ERROR;
    int code = session_open(s, &cfg, &err) == HL_OK ? ctl_watch(&args->shared, show, ctx)
                                                    : ctl_fail_err(&err);
    session_close(s);
    config_release(&cfg);
    return code;
}

/* --- questions --------------------------------------------------------------------------- */

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
    if (!s->open)
        return;
    ctl_watch_waits(true);
    loop_run(s->loop);
    ctl_watch_waits(false);
}

static void too_late(void *ctx)
{
    struct session *s = ctx;
    loop_stop(s->loop);
}

bool session_wait_until(struct session *s, int64_t until_ms)
{
    struct timer limit;
    struct hl_err err;
    int64_t left = until_ms - clock_mono_ms();
    timer_init(s->loop, &limit, too_late, s);
    timer_start(&limit, left > 0 ? left : 0);
    session_wait(s);
    timer_stop(&limit);
    if (!s->open)
        return true;
    disconnect_all(s);
    if (!connect_all(s, &err)) /* it could, with the same settings */
        abort();
    return false;
}

static void pause_over(void *ctx)
{
    session_answered(ctx);
}

void session_pause(struct session *s, int64_t ms)
{
    struct timer timer;
    timer_init(s->loop, &timer, pause_over, s);
    session_asked(s);
    timer_start(&timer, ms);
    session_wait(s);
    timer_stop(&timer);
}

struct answer *answer_asked(struct answer *a)
{
    session_asked(a->session);
    return a;
}

void answer_keep(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct answer *a = ctx;
    a->rc = rc;
    if (rc == HL_OK)
        a->rows = PQcopyResult(rows, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
    else
        a->err = *err;
    session_answered(a->session);
}

int answer_wait(struct answer *a)
{
    session_wait(a->session);
    return a->rc == HL_OK ? CTL_OK : ctl_fail_err(&a->err);
}

void answer_release(struct answer *a)
{
    PQclear(a->rows);
    a->rows = NULL;
}

bool session_redis_evicts(const struct session *s)
{
    const struct redis_info *info = redis_info(s->redis);
    if (info->maxmemory <= 0 || strcmp(info->maxmemory_policy, "noeviction") == 0)
        return false;
    ctl_fail(CTL_ERROR,
        "Redis evicts keys (maxmemory-policy %s), and Firecrawl's events would be nowhere else: "
        "set noeviction",
        info->maxmemory_policy);
    return true;
}

/* --- the operator log -------------------------------------------------------------------- */

char *operator_name(void)
{
    char host[65] = "";
    const struct passwd *user = getpwuid(geteuid());
    gethostname(host, sizeof(host) - 1);
    return user ? mem_printf("%s@%s", user->pw_name, host)
                : mem_printf("uid %u@%s", (unsigned)geteuid(), host);
}

int oplog_begin(
    struct session *s, const struct ctl_args *args, const char *detail, struct oplog *log)
{
    struct answer a = {.session = s};
    char *who = operator_name();
    const struct operator_act act = {.operator= who,
        .command = args->command->name,
        .reason = args->shared.reason,
        .detail = detail ? detail : "{}"};
    store_operator_begin(s->store, &act, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    log->id = code == CTL_OK ? db_int(a.rows, 0, 0) : 0;
    answer_release(&a);
    free(who);
    return code;
}

int oplog_end(struct session *s, const struct oplog *log, int64_t affected, const char *outcome)
{
    struct answer a = {.session = s};
    store_operator_end(s->store, log->id, affected, outcome, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    answer_release(&a);
    return code;
}
