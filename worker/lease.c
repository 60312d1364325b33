/* lease: see lease.h. */
#include "worker/lease.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct lease {
    struct store *store;
    struct lease_conf conf;
    struct timer renew, fence;
    bool registered, good;
    int64_t asked_at;   /* when the renewal under way was sent */
    int64_t renewed_at; /* when the last successful one was sent: the lease counts from there */
};

/* Three renewals in a lease; the fence falls after two thirds of it without one. */
static int64_t renew_every(const struct lease *l)
{
    return l->conf.lease_ms / 3;
}

static int64_t fence_after(const struct lease *l)
{
    return l->conf.lease_ms * 2 / 3;
}

bool lease_good(const struct lease *l)
{
    return l->good && clock_mono_ms() - l->renewed_at < fence_after(l);
}

int64_t lease_age_ms(const struct lease *l)
{
    return l->renewed_at ? clock_mono_ms() - l->renewed_at : -1;
}

static void fence(void *ctx)
{
    struct lease *l = ctx;
    if (!l->good)
        return;
    l->good = false;
    log_error("lease_fenced", LOG_I("silent_ms", clock_mono_ms() - l->renewed_at));
    l->conf.fenced(l->conf.ctx);
}

static void report_freed(struct lease *l, const PGresult *rows)
{
    struct change_event ev;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (!store_event(rows, i, &ev))
            continue;
        l->conf.freed(&ev, l->conf.ctx);
        event_release(&ev);
    }
}

static void renewed(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct lease *l = ctx;
    bool was_good = l->good;

    timer_start(&l->renew, rc == HL_OK ? renew_every(l) : renew_every(l) / 4);
    if (rc != HL_OK) {
        if (was_good)
            log_warn("lease_not_renewed", LOG_S("error", err->msg));
        return;
    }
    if (PQntuples(rows) == 0) {
        l->good = false;
        timer_stop(&l->renew);
        l->conf.dead(l->conf.ctx);
        return;
    }
    l->good = true;
    l->renewed_at = l->asked_at;
    timer_start(&l->fence, fence_after(l) - (clock_mono_ms() - l->asked_at));
    report_freed(l, rows);
    if (!was_good)
        l->conf.granted(l->conf.ctx);
}

static void renew(void *ctx);

static void registered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct lease *l = ctx;
    (void)rows;
    l->registered = rc == HL_OK;
    if (!l->registered)
        log_warn("register_failed", LOG_S("error", err->msg));
    timer_start(&l->renew, l->registered ? 0 : renew_every(l) / 4);
}

static void renew(void *ctx)
{
    struct lease *l = ctx;
    l->asked_at = clock_mono_ms();
    if (!l->registered)
        store_register(l->store, registered, l);
    else
        store_renew(l->store, l->conf.held(l->conf.ctx), l->conf.lease_ms, renewed, l);
}

struct lease *lease_new(struct loop *loop, struct store *store, const struct lease_conf *conf)
{
    struct lease *l = mem_new(struct lease);
    l->store = store;
    l->conf = *conf;
    timer_init(loop, &l->renew, renew, l);
    timer_init(loop, &l->fence, fence, l);
    timer_start(&l->renew, 0);
    return l;
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    timer_stop(&l->renew);
    timer_stop(&l->fence);
    free(l);
}
