/* registry: see registry.h. One request at a time, so that a segment's row and the removal of that
 * row cannot overtake each other. */
#include "producer/registry.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "producer/stores.h"

#include <stdlib.h>
#include <unistd.h>

enum { LOOK_MS = 500, REFRESH_MS = 5000 };

struct entry {
    struct list_node node;
    char *segment;
    int64_t bytes; /* 0: its row is to go */
};

struct registry {
    struct stores *stores;
    struct spool *spool;
    struct timer look;
    char host[64];
    char *holder;
    struct list todo;     /* the first one is under way while busy */
    int64_t refreshed_at; /* when all were told; 0 = they have to be */
    bool refresh;         /* in this look */
    bool busy, failing, stopped;
};

static void drop_first(struct registry *r)
{
    struct entry *e = LIST_OF(list_pop(&r->todo), struct entry, node);
    free(e->segment);
    free(e);
}

static void forget_all(struct registry *r)
{
    while (r->todo.len)
        drop_first(r);
    r->refreshed_at = 0;
}

/* --- what is to be told ------------------------------------------------------------------ */

static void consider(const struct spool_segment *g, void *ctx)
{
    struct registry *r = ctx;
    bool tell = g->bytes ? !g->listed || r->refresh : g->listed;
    if (!tell)
        return;
    struct entry *e = mem_new(struct entry);
    e->segment = mem_strdup(g->name);
    e->bytes = g->bytes;
    list_push(&r->todo, &e->node);
}

static void send_next(struct registry *r);

/* Whether rows are behind what is on the disk. */
static void tell_stores(const struct registry *r)
{
    struct stores *s = r->stores;
    s->spool_rows_behind[r->spool == s->crawl_spool ? TAKES_CRAWL : TAKES_CHANGE] =
        r->busy || r->failing;
}

static void told(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct registry *r = ctx;
    const struct entry *e = LIST_OF(list_first(&r->todo), struct entry, node);
    (void)rows;
    r->busy = false;
    if (rc != HL_OK) {
        if (!r->failing && !r->stopped)
            log_warn("spool_not_registered", LOG_S("segment", e->segment),
                LOG_S("outcome", hl_rc_name(rc)), LOG_S("error", err->msg));
        r->failing = true;
        forget_all(r); /* the next look begins anew */
        tell_stores(r);
        return;
    }
    r->failing = false;
    if (!e->bytes)
        spool_unlist(r->spool, e->segment);
    drop_first(r);
    send_next(r);
}

static void send_next(struct registry *r)
{
    struct stores *s = r->stores;
    while (!r->busy && !r->stopped && r->todo.len) {
        const struct entry *e = LIST_OF(list_first(&r->todo), struct entry, node);
        if (!spool_list(r->spool, e->segment)) {
            drop_first(r); /* let go of meanwhile */
            continue;
        }
        r->busy = true;
        if (e->bytes)
            store_spool_note(
                s->store, e->segment, r->host, s->cfg->spool_dir, r->holder, e->bytes, told, r);
        else
            store_spool_gone(s->store, e->segment, told, r);
    }
    tell_stores(r);
}

void registry_look(struct registry *r)
{
    if (r->busy || r->stopped)
        return;
    if (!stores_database_ready(r->stores)) {
        r->refreshed_at = 0;
        return;
    }
    int64_t now = clock_mono_ms();
    r->refresh = !r->refreshed_at || now - r->refreshed_at >= REFRESH_MS;
    if (r->refresh)
        r->refreshed_at = now;
    spool_each(r->spool, consider, r);
    send_next(r);
}

static void look(void *ctx)
{
    struct registry *r = ctx;
    registry_look(r);
    timer_start(&r->look, LOOK_MS);
}

/* --- life -------------------------------------------------------------------------------- */

struct registry *registry_new(struct stores *s, struct spool *spool)
{
    struct registry *r = mem_new(struct registry);
    r->stores = s;
    r->spool = spool;
    gethostname(r->host, sizeof(r->host) - 1);
    r->holder = mem_printf("%s-%d", r->host, (int)getpid());
    list_init(&r->todo);
    spool_keep_listed(spool);
    timer_init(s->loop, &r->look, look, r);
    timer_start(&r->look, 0);
    return r;
}

void registry_stop(struct registry *r)
{
    r->stopped = true;
    timer_stop(&r->look);
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    timer_stop(&r->look);
    forget_all(r);
    free(r->holder);
    free(r);
}
