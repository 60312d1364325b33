/* crawl_forward: see crawl_forward.h. One window of records at a time, committed to the spool when
 * Redis has every job in it; what it had before is recognised there. Bytes that are no job, and jobs in
 * conflict, become dead letters, once all else of the window is safe, each once. */
#include "producer/crawl_forward.h"

#include "base/crawl_job.h"
#include "base/log.h"
#include "base/mem.h"
#include "producer/registry.h"
#include "producer/spool_report.h"

#include <stdlib.h>

enum {
    WINDOW = 64,     /* records per round */
    ROUND_MS = 50,   /* between rounds while there is work */
    IDLE_MS = 500,   /* between looks at an empty spool, or at Redis */
    RETRY_MS = 1000, /* after a round that failed */
    ADOPT_MS = 5000,
};

struct record {
    struct crawl_forward *f;
    struct spool_record bytes; /* the spool's, until the window ends */
    struct crawl_job job;      /* without its body */
    struct queue_req publish;
    const char *refusal;      /* why it is a dead letter; NULL = it is none */
    char id[UUID_STRLEN + 1]; /* for the log; "" = it has none */
};

struct crawl_forward {
    struct stores *stores;
    struct registry *registry;
    struct timer round, adopt;
    struct record *records;
    size_t n;
    int pending;
    struct spool_faults told;
    bool failed, newer;
    bool burying; /* all else of the window is in Redis */
    bool stopped;
};

static void release_window(struct crawl_forward *f)
{
    for (size_t i = 0; i < f->n; i++)
        crawl_job_release(&f->records[i].job);
    free(f->records);
    f->records = NULL;
    f->n = 0;
}

/* --- the end of a round ------------------------------------------------------------------ */

static void step_done(struct crawl_forward *f);

static void buried(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct record *r = ctx;
    (void)moved;
    (void)left;
    if (rc == HL_OK) {
        log_error("event_buried", LOG_S("event_id", r->id), LOG_S("reason", r->refusal));
        r->refusal = NULL;
    }
    r->f->failed |= rc != HL_OK;
    step_done(r->f);
}

/* Without their ids: those of the conflicts are other events'. */
static void bury_refused(struct crawl_forward *f)
{
    f->burying = true;
    f->failed = false;
    f->pending = 1;
    for (size_t i = 0; i < f->n; i++) {
        struct record *r = &f->records[i];
        if (!r->refusal)
            continue;
        f->pending++;
        queue_quarantine(
            f->stores->crawl_queue, NULL, "", r->bytes.data, r->bytes.len, r->refusal, buried, r);
    }
    step_done(f);
}

static void finish_round(struct crawl_forward *f)
{
    struct spool *spool = f->stores->crawl_spool;
    int64_t pause_ms = f->newer || f->failed ? RETRY_MS : ROUND_MS;
    size_t n = f->n;
    bool home = !f->newer && !f->failed;

    release_window(f);
    if (f->newer)
        spool_skip(spool);
    else if (f->failed)
        spool_rewind(spool);
    else
        spool_commit(spool);
    if (home)
        log_info(
            "crawl_events_forwarded", LOG_I("events", n), LOG_I("left_bytes", spool_depth(spool)));
    timer_start(&f->round, pause_ms);
}

/* One of the window's requests was answered, or all have been made. */
static void step_done(struct crawl_forward *f)
{
    if (--f->pending || f->stopped)
        return;
    if (f->burying && f->failed)
        timer_start(&f->round, RETRY_MS); /* those that are left */
    else if (!f->burying && !f->failed && !f->newer)
        bury_refused(f);
    else
        finish_round(f);
}

/* --- a round ----------------------------------------------------------------------------- */

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    if (rc != HL_OK && !r->f->failed)
        log_warn(
            "crawl_forward_failed", LOG_S("outcome", hl_rc_name(rc)), LOG_S("error", err->msg));
    r->f->failed |= rc != HL_OK;
    if (rc == HL_OK && req->was == QUEUE_CONFLICT) {
        log_error("event_conflict", LOG_S("event_id", r->id));
        r->refusal = "same id, other body";
    }
    step_done(r->f);
}

/* False: no job for us. A record of a newer program is for that program: its segment is let go of. */
static bool peek(struct record *r)
{
    struct hl_err err;
    enum hl_rc rc = crawl_job_peek(r->bytes.data, r->bytes.len, &r->job, &err);

    if (rc == HL_OK) {
        uuid_format(&r->job.id, r->id);
        return true;
    }
    log_error("spool_record_unreadable", LOG_S("error", err.msg), LOG_I("bytes", r->bytes.len));
    if (rc == HL_LOST)
        r->f->newer = true;
    else
        r->refusal = "unreadable spool record";
    return false;
}

static void take(struct crawl_forward *f, const struct spool_record *window, size_t n)
{
    f->records = mem_array(n, sizeof(*f->records));
    f->n = n;
    f->failed = f->newer = f->burying = false;
    f->pending = 1; /* until all are on their way */
    for (size_t i = 0; i < n; i++) {
        struct record *r = &f->records[i];
        r->f = f;
        r->bytes = window[i];
        if (!peek(r))
            continue;
        f->pending++;
        r->publish = (struct queue_req){.id = r->job.id,
            .job = r->bytes.data,
            .len = r->bytes.len,
            .digest = r->job.digest,
            .done = published,
            .ctx = r};
        queue_do(f->stores->crawl_queue, QUEUE_PUBLISH, &r->publish);
    }
    step_done(f);
}

static void run_round(void *ctx)
{
    struct crawl_forward *f = ctx;
    struct spool *spool = f->stores->crawl_spool;
    struct spool_record window[WINDOW];

    if (f->burying && f->n) {
        bury_refused(f);
        return;
    }
    size_t n = stores_redis_ready(f->stores) ? spool_read(spool, window, WINDOW) : 0;
    spool_report(spool, f->stores->cfg->spool_dir, &f->told);
    if (n)
        take(f, window, n);
    else
        timer_start(&f->round, IDLE_MS);
}

static void adopt(void *ctx)
{
    struct crawl_forward *f = ctx;
    struct spool *spool = f->stores->crawl_spool;
    int n = spool_adopt(spool);
    if (n)
        log_info("spool_adopted", LOG_I("segments", n), LOG_I("bytes", spool_depth(spool)));
    registry_look(f->registry);
    timer_start(&f->adopt, ADOPT_MS);
}

/* --- life -------------------------------------------------------------------------------- */

struct crawl_forward *crawl_forward_new(struct stores *s)
{
    struct crawl_forward *f = mem_new(struct crawl_forward);
    f->stores = s;
    f->registry = registry_new(s, s->crawl_spool);
    timer_init(s->loop, &f->round, run_round, f);
    timer_init(s->loop, &f->adopt, adopt, f);
    timer_start(&f->round, 0);
    timer_start(&f->adopt, 0);
    return f;
}

void crawl_forward_stop(struct crawl_forward *f)
{
    f->stopped = true;
    timer_stop(&f->round);
    timer_stop(&f->adopt);
    registry_stop(f->registry);
}

void crawl_forward_free(struct crawl_forward *f)
{
    if (!f)
        return;
    registry_free(f->registry);
    release_window(f);
    free(f);
}
