/* forward: see forward.h. One window of records at a time: the window is committed to the spool
 * only when every record in it has a row or, refused for good, is a dead letter. A dead letter that
 * cannot be written now goes to the end of the spool, so that it holds up nobody. */
#include "producer/forward.h"

#include "base/crashpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "producer/registry.h"
#include "producer/spool_report.h"
#include "producer/stores.h"

#include <stdlib.h>

enum {
    WINDOW = 64,     /* records per round */
    ROUND_MS = 50,   /* between rounds while there is work: at most WINDOW * 20 events a second */
    IDLE_MS = 500,   /* between looks at an empty spool */
    RETRY_MS = 1000, /* after a round that failed, or brought nothing home */
    ADOPT_MS = 5000,
};

struct record {
    struct forward *f;
    struct spool_record bytes; /* the spool's, until the window ends */
    struct change_event ev;
    struct store_accept accept;
    struct queue_req publish;
    struct spool_append append;
    const char *refusal;      /* why it is a dead letter; NULL = it is none */
    char id[UUID_STRLEN + 1]; /* for the log; "" = it has none */
};

struct forward {
    struct stores *stores;
    struct registry *registry;
    struct timer round, adopt;
    struct record *records;
    struct spool_faults told; /* what was logged */
    size_t n, put_back;
    int pending;
    bool failed, newer, burying; /* in this round */
    bool waiting;                /* dead letters were put back in the last one: they are known */
    bool stopped;
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

/* --- dead letters ------------------------------------------------------------------------ */

static void was_put_back(struct spool_append *append, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = append->ctx;
    (void)err;
    r->f->failed |= rc != HL_OK;
    r->f->put_back++;
    end_round(r->f);
}

static void put_back(struct record *r)
{
    r->append = (struct spool_append){.data = r->bytes.data,
        .len = r->bytes.len,
        .kept_already = true,
        .done = was_put_back,
        .ctx = r};
    spool_append(r->f->stores->spool, &r->append);
}

static void buried(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct record *r = ctx;
    (void)moved;
    (void)left;
    if (rc != HL_OK && !r->f->stopped) {
        put_back(r);
        return;
    }
    if (rc == HL_OK)
        log_error("event_buried", LOG_S("event_id", r->id), LOG_S("reason", r->refusal));
    end_round(r->f);
}

/* By it an audit finds what has no row. In a conflict another event has the id, and its row. */
static const char *id_in_letter(const struct record *r)
{
    return *r->id && !r->accept.conflict ? r->id : NULL;
}

/* Once, when all else of the window is safe: a window that is run again must not bury them again.
 * As they are in the spool. */
static void bury_refused(struct forward *f)
{
    f->burying = true;
    f->pending = 1;
    for (size_t i = 0; i < f->n; i++) {
        struct record *r = &f->records[i];
        if (!r->refusal)
            continue;
        f->pending++;
        queue_quarantine(f->stores->queue, id_in_letter(r), "", r->bytes.data, r->bytes.len,
            r->refusal, buried, r);
    }
    end_round(f);
}

/* --- a round ----------------------------------------------------------------------------- */

static int64_t pause_after(const struct forward *f)
{
    return f->newer || f->failed || f->put_back == f->n ? RETRY_MS : ROUND_MS;
}

static void end_round(struct forward *f)
{
    struct spool *spool = f->stores->spool;
    if (--f->pending || f->stopped)
        return;
    if (!f->failed && !f->newer && !f->burying) {
        bury_refused(f);
        return;
    }
    int64_t pause_ms = pause_after(f);
    if (f->put_back && !f->waiting)
        log_warn("dead_letters_wait", LOG_I("events", f->put_back),
            LOG_S("remedy", "Redis is away; they stay in the spool"));
    f->waiting = f->put_back > 0;
    size_t home = f->n - f->put_back;
    release_window(f);
    if (f->newer) {
        spool_skip(spool);
    } else if (f->failed) {
        spool_rewind(spool);
    } else {
        CRASH_POINT("forward.after");
        spool_commit(spool);
        registry_look(f->registry);
        if (home)
            log_info(
                "spool_forwarded", LOG_I("events", home), LOG_I("left_bytes", spool_depth(spool)));
    }
    timer_start(&f->round, pause_ms);
}

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    (void)rc; /* the janitor publishes rows that have no job */
    (void)err;
    end_round(r->f);
}

static void publish(struct record *r)
{
    r->publish = (struct queue_req){.ev = &r->ev, .done = published, .ctx = r};
    queue_do(r->f->stores->queue, QUEUE_PUBLISH, &r->publish);
}

static void accepted(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    enum log_level level = r->f->waiting ? LOG_DEBUG : LOG_ERROR;

    if (rc == HL_OK && !r->accept.existed) {
        publish(r);
        return;
    }
    if (rc == HL_OK && r->accept.conflict) {
        LOG_LINE(level, "event_conflict", LOG_S("event_id", r->id));
        r->refusal = "same id, other body";
    } else if (rc == HL_FATAL) {
        LOG_LINE(level, "event_refused", LOG_S("event_id", r->id), LOG_S("sqlstate", err->sqlstate),
            LOG_S("error", err->msg));
        r->refusal = "refused by PostgreSQL";
    } else {
        r->f->failed |= rc != HL_OK;
    }
    end_round(r->f);
}

/* False: not an event for us. A record of a newer program is for that program: its segment is let
 * go of. Bytes that are no event become a dead letter. */
static bool decode(struct record *r)
{
    struct hl_err err;
    enum hl_rc rc = event_decode(r->bytes.data, r->bytes.len, &r->ev, &err);

    if (rc == HL_OK) {
        uuid_format(&r->ev.id, r->id);
        return true;
    }
    LOG_LINE(r->f->waiting ? LOG_DEBUG : LOG_ERROR, "spool_record_unreadable",
        LOG_S("error", err.msg), LOG_I("bytes", r->bytes.len));
    if (rc == HL_LOST)
        r->f->newer = true;
    else
        r->refusal = "unreadable spool record";
    return false;
}

static void run_round(void *ctx)
{
    struct forward *f = ctx;
    struct spool_record window[WINDOW];
    size_t n = stores_database_ready(f->stores) ? spool_read(f->stores->spool, window, WINDOW) : 0;

    spool_report(f->stores->spool, f->stores->cfg->spool_dir, &f->told);
    if (!n) {
        timer_start(&f->round, IDLE_MS);
        return;
    }
    f->records = mem_array(n, sizeof(*f->records));
    f->n = n;
    f->put_back = 0;
    f->failed = f->newer = f->burying = false;
    f->pending = 1; /* until all are on their way */
    for (size_t i = 0; i < n; i++) {
        struct record *r = &f->records[i];
        r->f = f;
        r->bytes = window[i];
        if (!decode(r))
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
    registry_look(f->registry);
    timer_start(&f->adopt, ADOPT_MS);
}

struct forward *forward_new(struct stores *s)
{
    struct forward *f = mem_new(struct forward);
    f->stores = s;
    f->registry = registry_new(s, s->spool);
    timer_init(s->loop, &f->round, run_round, f);
    timer_init(s->loop, &f->adopt, adopt, f);
    timer_start(&f->round, 0);
    timer_start(&f->adopt, 0);
    return f;
}

void forward_stop(struct forward *f)
{
    f->stopped = true;
    timer_stop(&f->round);
    timer_stop(&f->adopt);
    registry_stop(f->registry);
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    timer_stop(&f->round);
    timer_stop(&f->adopt);
    registry_free(f->registry);
    release_window(f);
    free(f);
}
