/* forward: see forward.h. One window of records at a time: the window is committed to the spool
 * only when every record in it has a row or, refused by PostgreSQL for good, is a dead letter. */
#include "producer/forward.h"

#include "base/crashpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "producer/stores.h"

#include <stdlib.h>

enum {
    WINDOW = 64,     /* records per round */
    ROUND_MS = 50,   /* between rounds while there is work: at most WINDOW * 20 events a second */
    IDLE_MS = 500,   /* between looks at an empty spool */
    RETRY_MS = 1000, /* after a failed round */
    ADOPT_MS = 5000,
};

struct record {
    struct forward *f;
    struct change_event ev;
    struct store_accept accept;
    struct queue_req publish;       /* or bury */
    struct spool_record unreadable; /* the bytes, where they are no event */
};

struct forward {
    struct stores *stores;
    struct timer round, adopt;
    struct record *records;
    size_t n;
    int pending;
    bool failed, newer, quarantined; /* in this round */
};

static void release_window(struct forward *f)
{
    for (size_t i = 0; i < f->n; i++)
        event_release(&f->records[i].ev);
    free(f->records);
    f->records = NULL;
    f->n = 0;
}

static void end_round(struct forward *f);

static void quarantined(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct forward *f = ctx;
    (void)moved;
    (void)left;
    f->failed |= rc != HL_OK;
    end_round(f);
}

/* Once, when all else of the window is safe: a window that is run again must not bury them again.
 */
static void quarantine_unreadable(struct forward *f)
{
    f->quarantined = true;
    f->pending = 1;
    for (size_t i = 0; i < f->n; i++) {
        const struct spool_record *bytes = &f->records[i].unreadable;
        if (!bytes->data)
            continue;
        f->pending++;
        queue_quarantine(f->stores->queue, "", bytes->data, bytes->len, "unreadable spool record",
            quarantined, f);
    }
    end_round(f);
}

static void end_round(struct forward *f)
{
    size_t n = f->n;
    if (--f->pending)
        return;
    if (!f->failed && !f->newer && !f->quarantined) {
        quarantine_unreadable(f);
        return;
    }
    release_window(f);
    if (f->newer)
        spool_skip(f->stores->spool);
    else if (f->failed)
        spool_rewind(f->stores->spool);
    if (f->newer || f->failed) {
        timer_start(&f->round, RETRY_MS);
        return;
    }
    CRASH_POINT("forward.after");
    spool_commit(f->stores->spool);
    log_info(
        "spool_forwarded", LOG_I("events", n), LOG_I("left_bytes", spool_depth(f->stores->spool)));
    timer_start(&f->round, ROUND_MS);
}

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    (void)rc; /* the janitor publishes rows that have no job */
    (void)err;
    end_round(r->f);
}

static void buried(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    (void)err;
    r->f->failed |= rc != HL_OK;
    end_round(r->f);
}

static void ask_queue(struct record *r, enum queue_op op,
    void (*done)(struct queue_req *, enum hl_rc, const struct hl_err *), const char *reason)
{
    r->publish = (struct queue_req){.ev = &r->ev, .done = done, .ctx = r, .reason = reason};
    queue_do(r->f->stores->queue, op, &r->publish);
}

static void accepted(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    if (rc == HL_OK && !r->accept.existed) {
        ask_queue(r, QUEUE_PUBLISH, published, NULL);
    } else if (rc == HL_FATAL) {
        log_error("event_refused", LOG_S("sqlstate", err->sqlstate), LOG_S("error", err->msg));
        ask_queue(r, QUEUE_BURY, buried, "refused by PostgreSQL");
    } else {
        r->f->failed |= rc != HL_OK;
        end_round(r->f);
    }
}

/* False: not an event for us. A record of a newer program is for that program: its segment is let
 * go of. Bytes that are no event become a dead letter. */
static bool decode(struct record *r, const struct spool_record *bytes)
{
    struct hl_err err;
    enum hl_rc rc = event_decode(bytes->data, bytes->len, &r->ev, &err);

    if (rc == HL_OK)
        return true;
    log_error("spool_record_unreadable", LOG_S("error", err.msg), LOG_I("bytes", bytes->len));
    if (rc == HL_LOST)
        r->f->newer = true;
    else
        r->unreadable = *bytes;
    return false;
}

static void run_round(void *ctx)
{
    struct forward *f = ctx;
    struct spool_record window[WINDOW];
    size_t n = stores_database_ready(f->stores) ? spool_read(f->stores->spool, window, WINDOW) : 0;

    if (!n) {
        timer_start(&f->round, IDLE_MS);
        return;
    }
    f->records = mem_array(n, sizeof(*f->records));
    f->n = n;
    f->failed = f->newer = f->quarantined = false;
    f->pending = 1; /* until all are on their way */
    for (size_t i = 0; i < n; i++) {
        struct record *r = &f->records[i];
        r->f = f;
        if (!decode(r, &window[i]))
            continue;
        f->pending++;
        r->accept.ev = &r->ev;
        r->accept.req.done = accepted;
        r->accept.req.ctx = r;
        store_accept(f->stores->store, &r->accept);
    }
    end_round(f);
}

static void adopt(void *ctx)
{
    struct forward *f = ctx;
    int n = spool_adopt(f->stores->spool);
    if (n)
        log_info(
            "spool_adopted", LOG_I("segments", n), LOG_I("bytes", spool_depth(f->stores->spool)));
    timer_start(&f->adopt, ADOPT_MS);
}

struct forward *forward_new(struct stores *s)
{
    struct forward *f = mem_new(struct forward);
    f->stores = s;
    timer_init(s->loop, &f->round, run_round, f);
    timer_init(s->loop, &f->adopt, adopt, f);
    timer_start(&f->round, 0);
    timer_start(&f->adopt, 0);
    return f;
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    timer_stop(&f->round);
    timer_stop(&f->adopt);
    release_window(f);
    free(f);
}
