/* orders: see orders.h. Owns what is known of the orders, and when they are asked for. A paused queue is
 * noted in the status only when no claim that began before we knew is under way: T1 refuses those that
 * begin later by itself. */
#include "worker/orders.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "domain/store_orders.h"

#include <stdlib.h>
#include <string.h>

enum {
    ASK_MS = 1000,
    ASK_SOON_MS = 100, /* while something is to be noted that cannot be yet */
    WRITE_MS = 2000,   /* the status, at most so often unless what is noted changes */
};

struct known {
    bool paused[ORDERS_NQUEUES];
    bool quiet, kicked;
};

struct orders {
    struct orders_conf conf;
    struct timer ask;
    struct known now;
    bool noted[ORDERS_NQUEUES];
    bool told[ORDERS_NQUEUES]; /* the row may say that it is noted */
    bool heard, stopped;
    bool asking, writing, outdated; /* outdated: the answer to come counts for nothing */
    bool unwritten;                 /* what is noted */
    int64_t written_ms;
    struct buf status;
};

static const char *const names[ORDERS_NQUEUES] = {
    [ORDERS_CHANGE] = "change", [ORDERS_CRAWL] = "crawl"};

/* --- what is told ------------------------------------------------------------------------ */

/* Crawl jobs are claimed by nothing but a read, and what a read still brings goes back. */
static bool may_note(const struct orders *o, int queue)
{
    return queue != ORDERS_CHANGE || !o->conf.claiming(o->conf.ctx);
}

/* False: not everything that is paused is noted yet. */
static bool take_note(struct orders *o)
{
    bool all = true;
    for (int i = 0; i < ORDERS_NQUEUES; i++) {
        bool note = o->now.paused[i] && (o->noted[i] || may_note(o, i));
        o->unwritten |= note != o->noted[i];
        o->noted[i] = note;
        all = all && note == o->now.paused[i];
    }
    return all;
}

/* The row is written. What was noted is as it was then: it changes only between two questions. */
static void written(struct orders *o)
{
    bool opens = false;
    for (int i = 0; o->writing && i < ORDERS_NQUEUES; i++) {
        opens |= o->told[i] && !o->noted[i];
        o->told[i] = o->noted[i];
    }
    if (opens)
        o->conf.changed(o->conf.ctx);
}

static const char *status(struct orders *o)
{
    struct buf *b = &o->status;
    const char *comma = "";
    buf_clear(b);
    buf_putc(b, '{');
    o->conf.tell(b, o->conf.ctx);
    json_put_text(b, "orders", o->now.quiet ? "quiet" : o->now.kicked ? "kick" : NULL);
    json_put_key(b, "paused");
    buf_putc(b, '[');
    for (int i = 0; i < ORDERS_NQUEUES; i++) {
        if (!o->noted[i])
            continue;
        buf_printf(b, "%s\"%s\"", comma, names[i]);
        comma = ",";
    }
    buf_puts(b, "]}");
    return buf_str(b);
}

/* --- asking ------------------------------------------------------------------------------ */

static bool same(const struct known *a, const struct known *b)
{
    return a->paused[ORDERS_CHANGE] == b->paused[ORDERS_CHANGE] &&
           a->paused[ORDERS_CRAWL] == b->paused[ORDERS_CRAWL] && a->quiet == b->quiet &&
           a->kicked == b->kicked;
}

static struct known read_orders(const PGresult *rows)
{
    const char *order = db_text(rows, 0, 2);
    return (struct known){
        .paused = {*db_text(rows, 0, 0) == 't', *db_text(rows, 0, 1) == 't'},
        .quiet = strcmp(order, "quiet") == 0,
        .kicked = strcmp(order, "kick") == 0,
    };
}

static void obey(struct orders *o, const struct known *known)
{
    bool news = !o->heard || !same(known, &o->now);
    bool silent = !o->heard && same(known, &(struct known){0});
    o->now = *known;
    o->heard = true;
    if (!news)
        return;
    if (!silent)
        log_info("orders", LOG_B("change_paused", known->paused[ORDERS_CHANGE]),
            LOG_B("crawl_paused", known->paused[ORDERS_CRAWL]), LOG_B("quiet", known->quiet),
            LOG_B("kicked", known->kicked));
    o->unwritten = true;
    o->conf.changed(o->conf.ctx);
}

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct orders *o = ctx;
    (void)err; /* the lease says what is wrong with PostgreSQL */
    o->asking = false;
    if (o->stopped)
        return;
    if (o->outdated) {
        o->unwritten = true;
        orders_begin(o);
        return;
    }
    if (rc != HL_OK) {
        o->unwritten = true;
        timer_start(&o->ask, ASK_MS);
        return;
    }
    log_order(db_text(rows, 0, 3), db_int(rows, 0, 4));
    const struct known known = read_orders(rows);
    obey(o, &known);
    written(o);
    bool all = take_note(o);
    timer_start(&o->ask, o->unwritten || !all ? ASK_SOON_MS : ASK_MS);
}

static void ask(void *ctx)
{
    struct orders *o = ctx;
    int64_t now = clock_mono_ms();
    take_note(o);
    o->writing = o->unwritten || now - o->written_ms >= WRITE_MS;
    for (int i = 0; o->writing && i < ORDERS_NQUEUES; i++)
        o->told[i] |= o->noted[i];
    if (o->writing) {
        o->unwritten = false;
        o->written_ms = now;
    }
    o->asking = true;
    store_orders(o->conf.store, o->conf.instance, o->writing ? status(o) : NULL, answered, o);
}

/* --- for the process --------------------------------------------------------------------- */

bool orders_allow(const struct orders *o, enum orders_queue queue)
{
    return o->heard && !o->now.quiet && !o->now.paused[queue] && !o->told[queue];
}

bool orders_quiet(const struct orders *o)
{
    return o->now.quiet;
}

bool orders_kicked(const struct orders *o)
{
    return o->now.kicked;
}

struct orders *orders_new(const struct orders_conf *conf)
{
    struct orders *o = mem_new(struct orders);
    o->conf = *conf;
    timer_init(conf->loop, &o->ask, ask, o);
    return o;
}

void orders_begin(struct orders *o)
{
    o->heard = false;
    o->outdated = o->asking;
    if (!o->asking)
        timer_start(&o->ask, 0);
}

void orders_stop(struct orders *o)
{
    if (!o)
        return;
    o->stopped = true;
    timer_stop(&o->ask);
}

void orders_free(struct orders *o)
{
    if (!o)
        return;
    buf_release(&o->status);
    free(o);
}
