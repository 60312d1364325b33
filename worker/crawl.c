/* crawl: see crawl.h. A job is in one step at a time; each ends in one of its callbacks, which goes on to
 * the next step, repeats this one later, or ends the job:
 *
 *     fetch -> read -> store -> ack
 *                 \        \-> bury
 *                  \-> bury          (fetch only for jobs kept beside the stream) */
#include "worker/crawl.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/mutant.h"
#include "base/trace.h"
#include "worker/crawl_effects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RETRY_BASE_MS = 200, /* a step that did not go through is tried again after ... */
    RETRY_MAX_MS = 5000,
    TELL_MS = 3000, /* Redis is told how a job ended, for so long */
    REASON_MAX = 240,
};
/* Of pages that go into one transaction: less than a second's work. */
#define STORE_BYTES ((size_t)1 << 20)

struct crawl {
    struct list_node link;
    const struct crawl_env *env;
    char entry[QUEUE_ENTRY_MAX];
    char id[UUID_STRLEN + 1]; /* as the entry has it; "" = it has none */
    void *bytes;              /* NULL: kept beside, or read already */
    size_t len, weight;
    size_t swell; /* bytes of its event; 0 = not known yet */
    bool parked;  /* there is no room to read it now */
    int64_t starts;
    enum meter_CRAWLED outcome;

    const char *step_name;
    void (*step)(struct crawl *c);
    int tries;          /* of this step */
    int64_t entered_ms; /* this step */
    bool asking;        /* PostgreSQL, or Redis for the bytes: an answer will come */
    bool aborting, orphan;
    struct timer retry; /* the step is tried again */

    struct offload_job reading;
    enum hl_rc read_rc; /* of the thread */
    struct hl_err read_err;
    struct crawl_effects effects;

    size_t page, npages; /* those that are being stored */
    size_t singly;       /* PostgreSQL refuses something: pages before this one go one at a time */
    bool all_stored;
    bool spoiled; /* the present page goes without what may be refused */
    struct store_crawl store;
    struct queue_req req;
    char reason[REASON_MAX]; /* bury */

    int64_t began_at, began_us, store_at, store_us; /* wall clock, monotonic */
    int64_t store_took_us, stored;
    struct trace trace; /* of its event; its own until it is read */
    uint8_t span[8];
};

static void add_job_span(const struct crawl *c);

static void end(struct crawl *c, bool again)
{
    add_job_span(c);
    meter_inc(M_CRAWL_JOBS, (int)c->outcome, 0);
    c->env->done(c, again, c->env->ctx);
    timer_stop(&c->retry);
    crawl_effects_release(&c->effects);
    free(c->bytes);
    free(c);
}

static void enter(struct crawl *c, const char *name, void (*step)(struct crawl *c))
{
    c->step_name = name;
    c->step = step;
    c->tries = 0;
    c->entered_ms = clock_mono_ms();
    step(c);
}

/* What is under way may still happen, and does no harm: nobody waits for its answer. */
static void let_go(struct crawl *c)
{
    c->orphan = true;
    c->env->orphaned(c, c->env->ctx);
}

static void repeat_now(void *ctx)
{
    struct crawl *c = ctx;
    LOG_SCOPE(&c->trace);
    if (!c->aborting)
        c->step(c);
    else if (c->asking)
        let_go(c);
    else
        end(c, true);
}

static void repeat(struct crawl *c, const struct hl_err *err)
{
    if (c->tries++ == 0)
        log_warn("crawl_step_repeats", LOG_S("event_id", c->id), LOG_S("step", c->step_name),
            LOG_S("error", err->msg));
    timer_start(&c->retry,
        c->aborting ? 0 : backoff_ms(c->tries, RETRY_BASE_MS, RETRY_MAX_MS, arc4random()));
}

static bool passes(enum hl_rc rc)
{
    return rc == HL_RETRY || rc == HL_UNSURE;
}

/* --- telling Redis ----------------------------------------------------------------------- */

static void ack(struct crawl *c);

/* A Redis that cannot be told must not hold up other jobs: the entry is read again, and all is done
 * once more, to the same end. */
static void told(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct crawl *c = req->ctx;
    LOG_SCOPE(&c->trace);
    CRASH_POINT("crawl.after_ack");
    if (passes(rc) && !c->aborting && clock_mono_ms() - c->entered_ms < TELL_MS) {
        repeat(c, err);
        return;
    }
    if (rc != HL_OK)
        log_warn("crawl_end_not_told", LOG_S("event_id", c->id), LOG_S("step", c->step_name),
            LOG_S("error", err->msg));
    else
        c->outcome = c->step == ack ? CRAWLED_DONE : CRAWLED_DEAD;
    end(c, rc != HL_OK);
}

static void request(struct crawl *c)
{
    c->req = (struct queue_req){.done = told, .ctx = c, .reason = c->reason};
    uuid_parse(c->id, &c->req.id);
    memcpy(c->req.entry, c->entry, sizeof(c->entry));
}

static void ack(struct crawl *c)
{
    request(c);
    queue_do(c->env->queue, QUEUE_ACK, &c->req);
}

static void send_bury(struct crawl *c)
{
    request(c);
    queue_do(c->env->queue, QUEUE_BURY, &c->req);
}

/* Its bytes stay, as they are in Redis, with the letter. */
static void bury(struct crawl *c)
{
    log_error("crawl_job_buried", LOG_S("event_id", c->id), LOG_S("entry", c->entry),
        LOG_S("reason", c->reason));
    enter(c, "bury", send_bury);
}

/* --- measurements ------------------------------------------------------------------------ */

static double ms_of(int64_t us)
{
    return us > 0 ? (double)us / 1000.0 : 0;
}

static struct metrics_operation operation(const struct crawl *c, const char *type, const char *name)
{
    return (struct metrics_operation){.at = c->store_at,
        .success = true,
        .type = type,
        .name = name,
        .request_id = c->effects.job.request_id,
        .crawl_id = c->effects.ev.id};
}

/* Every row of an event names its trace. */
static const char *end_extra(const struct crawl *c, struct buf *extra)
{
    char id[TRACE_ID_LEN + 1];
    trace_format_id(&c->trace, id);
    json_put_text(extra, "trace_id", id);
    buf_putc(extra, '}');
    return buf_str(extra);
}

static void measure_wait(const struct crawl *c)
{
    struct metrics_operation o = operation(c, "queue", "wait");
    struct buf extra = {0};
    o.at = c->effects.job.received_at;
    o.duration_ms = ms_of(c->began_at - o.at);
    o.job_id = c->id;
    buf_putc(&extra, '{');
    o.extra = end_extra(c, &extra);
    metrics_operation(c->env->metrics, &o);
    buf_release(&extra);
}

/* Where pages are kept: reference contract section 7.2. */
static void put_source(const struct crawl *c, char *out, size_t size)
{
    const char *family = c->effects.family;
    snprintf(out, size, "firecrawl_%s", strcmp(family, "batch_scrape") == 0 ? "batch" : family);
}

static void measure_batch(const struct crawl *c)
{
    struct metrics_operation o = operation(c, "content_storage", "store_batch");
    char source[CRAWL_FAMILY_MAX + 16];
    struct buf extra = {0};

    put_source(c, source, sizeof(source));
    buf_printf(&extra, "{\"document_count\":%zu,\"source\":", c->effects.npages);
    json_put_string(&extra, source);
    buf_printf(&extra, ",\"stored_count\":%lld", (long long)c->stored);
    o.duration_ms = ms_of(c->store_took_us);
    o.job_id = c->id;
    o.extra = end_extra(c, &extra);
    metrics_operation(c->env->metrics, &o);
    buf_release(&extra);
}

/* The pages of an event share its transaction: each has its part of that, and what it took to make it
 * ready. */
static void measure_page(const struct crawl *c, size_t i)
{
    const struct store_crawl_page *row = &c->effects.rows[i];
    int64_t took = c->effects.pages[i].took_us + c->store_took_us / (int64_t)c->effects.npages;
    char id[UUID_STRLEN + 1];
    struct buf extra = {0};
    struct uuid place = crawl_document_id(&c->effects.job.id, i);
    struct metrics_operation o = operation(c, "worker", "index_document");

    uuid_format(&place, id);
    o.at = c->began_at;
    o.duration_ms = ms_of(took);
    o.job_id = id;
    o.document_url = row->url;
    o.error = row->error;
    o.success = !row->error;
    buf_putc(&extra, '{');
    o.extra = end_extra(c, &extra);
    metrics_operation(c->env->metrics, &o);
    buf_clear(&extra);
    if (row->doc.text) {
        buf_printf(&extra, "{\"text_length\":%zu", strlen(row->doc.text));
        o.type = "bm25";
        o.extra = end_extra(c, &extra);
        metrics_operation(c->env->metrics, &o);
    }
    buf_release(&extra);
}

static struct span span_of(
    const struct crawl *c, const char *name, enum span_kind kind, int64_t began_at)
{
    return (struct span){.trace = c->trace,
        .name = name,
        .kind = kind,
        .began_at = began_at,
        .ended_at = clock_wall_us(),
        .event_id = &c->effects.job.id,
        .worker = c->env->instance};
}

static void add_wait_span(const struct crawl *c)
{
    struct span span = span_of(c, "queue wait", SPAN_INTERNAL, c->effects.job.received_at);
    span.ended_at = c->began_at;
    spans_add(c->env->spans, &span);
}

static void add_store_span(const struct crawl *c)
{
    struct span span = span_of(c, "store", SPAN_CLIENT, c->store_at);
    memcpy(span.trace.parent, c->span, sizeof(c->span));
    span.error = *c->reason ? c->reason : NULL;
    spans_add(c->env->spans, &span);
}

/* Of one that was read; otherwise nothing is known of it. */
static void add_job_span(const struct crawl *c)
{
    if (!c->store_at)
        return;
    struct span span = span_of(c, "crawl", SPAN_CONSUMER, c->began_at);
    memcpy(span.id, c->span, sizeof(span.id));
    span.error = *c->reason ? c->reason : NULL;
    span.outcome = *c->reason ? "dead" : c->all_stored ? "done" : "returned";
    spans_add(c->env->spans, &span);
}

static void measure(const struct crawl *c)
{
    if (!c->env->metrics)
        return;
    measure_wait(c);
    if (c->effects.npages)
        measure_batch(c);
    for (size_t i = 0; i < c->effects.npages; i++)
        measure_page(c, i);
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

static void store(struct crawl *c);

static void all_stored(struct crawl *c)
{
    c->store_took_us = clock_mono_us() - c->store_us;
    c->all_stored = true;
    measure(c);
    add_wait_span(c);
    add_store_span(c);
    CRASH_POINT("crawl.after_store");
    if (*c->reason)
        bury(c);
    else
        enter(c, "ack", ack);
}

/* As many pages from c->page on as make a short transaction; at least one, unless there is none. */
static size_t next_pages(const struct crawl *c)
{
    const struct crawl_effects *e = &c->effects;
    size_t n = 0, bytes = 0;
    if (c->page < c->singly)
        return 1;
    while (c->page + n < e->npages) {
        bytes += e->pages[c->page + n].bytes;
        if (n && bytes > STORE_BYTES)
            break;
        n++;
    }
    return n;
}

static void store_next(struct crawl *c)
{
    c->page += c->npages;
    c->npages = next_pages(c);
    c->spoiled = false;
    c->tries = 0;
    if (c->npages)
        store(c);
    else
        all_stored(c);
}

/* PostgreSQL refuses a value for good. It is found by giving each page on its own; the page that has
 * it is recorded as failed, without its texts. What cannot be recorded even so is a dead letter. */
static void refused(struct crawl *c, const struct hl_err *err)
{
    if (c->npages > 1) {
        c->singly = c->page + c->npages;
        c->npages = 1;
        store(c);
    } else if (c->npages && !c->spoiled) {
        log_error("crawl_page_refused", LOG_S("event_id", c->id),
            LOG_S("url", c->effects.rows[c->page].url), LOG_S("error", err->msg));
        c->spoiled = true;
        crawl_effects_spoil(&c->effects, c->page, err->msg);
        store(c);
    } else {
        snprintf(c->reason, sizeof(c->reason), "the database refuses it: %s", err->msg);
        if (c->npages)
            store_next(c);
        else
            bury(c);
    }
}

static void store_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct crawl *c = req->ctx;
    LOG_SCOPE(&c->trace);
    c->asking = false;
    if (c->aborting) { /* stored or not: whoever reads the entry next finds out */
        end(c, true);
        return;
    }
    if (passes(rc) || rc == HL_LOST) {
        repeat(c, err);
    } else if (rc != HL_OK) {
        refused(c, err);
    } else {
        c->stored += c->store.stored;
        meter_add(M_CRAWL_PAGES, 0, 0, c->store.stored);
        store_next(c);
    }
}

static void store(struct crawl *c)
{
    c->store = crawl_effects_view(&c->effects);
    c->store.req = (struct store_req){.done = store_done, .ctx = c};
    c->store.pages += c->page;
    c->store.npages = c->npages;
    c->asking = true;
    CRASH_POINT("crawl.before_store");
    store_crawl(c->env->store, &c->store);
}

/* --- reading, in the helper thread ------------------------------------------------------- */

static void read_in_thread(struct offload_job *job)
{
    struct crawl *c = LIST_OF(job, struct crawl, reading);
    c->read_rc = crawl_effects_read(c->bytes, c->len, c->env->index, &c->effects, &c->read_err);
    CRASH_POINT("crawl.read");
    struct uuid id;
    if (c->read_rc != HL_OK || (uuid_parse(c->id, &id) && uuid_equal(&id, &c->effects.job.id)))
        return;
    crawl_effects_release(&c->effects);
    c->read_rc = hl_fail(&c->read_err, HL_FATAL, "its entry names another event");
}

#if MUTANT_CRAWL_ACK_FIRST
static void early_ack_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    (void)rc;
    (void)err;
    free(req);
}

static void ack_early(struct crawl *c)
{
    struct queue_req *req = mem_new(struct queue_req);
    *req = (struct queue_req){.done = early_ack_done};
    uuid_parse(c->id, &req->id);
    memcpy(req->entry, c->entry, sizeof(c->entry));
    queue_do(c->env->queue, QUEUE_ACK, req);
}
#endif

static void read_done(struct offload_job *job)
{
    struct crawl *c = LIST_OF(job, struct crawl, reading);
    if (c->read_rc == HL_OK)
        c->trace = trace_of(&c->effects.job.id, c->effects.job.traceparent);
    LOG_SCOPE(&c->trace);
    free(c->bytes);
    c->bytes = NULL;
    if (c->aborting) {
        end(c, true);
        return;
    }
    if (c->read_rc == HL_OK) {
        c->store_at = clock_wall_us();
        c->store_us = clock_mono_us();
        c->npages = next_pages(c);
#if MUTANT_CRAWL_ACK_FIRST
        ack_early(c);
#endif
        enter(c, "store", store);
        return;
    }
    if (c->read_rc == HL_LOST) { /* stays pending; it goes back to the stream when we leave */
        log_warn("job_of_newer_version", LOG_S("entry", c->entry), LOG_S("error", c->read_err.msg));
        end(c, false);
        return;
    }
    snprintf(c->reason, sizeof(c->reason), "%s", c->read_err.msg);
    bury(c);
}

/* What cannot be read at all needs no room: the thread says why. */
static size_t swell_of(const struct crawl *c)
{
    struct crawl_job job = {0};
    struct hl_err ignored;
    size_t len = 1;
    if (crawl_job_peek(c->bytes, c->len, &job, &ignored) == HL_OK)
        len += job.len;
    crawl_job_release(&job);
    return len;
}

static void read_job(struct crawl *c)
{
    if (!c->swell)
        c->swell = swell_of(c);
    c->parked = !c->env->admits(c, c->env->ctx);
    if (c->parked)
        return;
    c->reading = (struct offload_job){.work = read_in_thread, .done = read_done};
    offload_run(c->env->offload, &c->reading);
}

/* --- a large job's bytes ----------------------------------------------------------------- */

static void fetched(enum hl_rc rc, const void *job, size_t len, const struct hl_err *err, void *ctx)
{
    struct crawl *c = ctx;
    LOG_SCOPE(&c->trace);
    c->asking = false;
    if (rc == HL_OK && job && !c->aborting) {
        c->bytes = mem_alloc(len + 1);
        memcpy(c->bytes, job, len);
        c->len = len;
        enter(c, "read", read_job);
    } else if (c->aborting) {
        end(c, true);
    } else if (rc == HL_OK) { /* done by another meanwhile: then there is nothing to bury */
        snprintf(c->reason, sizeof(c->reason), "its bytes are no longer in Redis");
        bury(c);
    } else if (passes(rc)) {
        repeat(c, err);
    } else {
        snprintf(c->reason, sizeof(c->reason), "%s", err->msg);
        bury(c);
    }
}

static void fetch(struct crawl *c)
{
    c->asking = true;
    queue_fetch(c->env->queue, c->id, fetched, c);
}

/* --- life -------------------------------------------------------------------------------- */

struct crawl *crawl_new(const struct crawl_env *env, const struct queue_entry *e)
{
    struct crawl *c = mem_new(struct crawl);
    c->outcome = CRAWLED_RETURNED;
    c->env = env;
    c->len = c->weight = e->len;
    c->starts = e->starts;
    snprintf(c->entry, sizeof(c->entry), "%s", e->entry);
    snprintf(c->id, sizeof(c->id), "%s", e->id);
    struct uuid id = {0};
    uuid_parse(c->id, &id);
    c->trace = trace_of(&id, NULL);
    trace_new_span(c->span);
    if (e->job) {
        c->bytes = mem_alloc(e->len + 1);
        memcpy(c->bytes, e->job, e->len);
    }
    timer_init(env->loop, &c->retry, repeat_now, c);
    return c;
}

void crawl_free(struct crawl *c)
{
    if (!c)
        return;
    free(c->bytes);
    free(c);
}

void crawl_start(struct crawl *c)
{
    LOG_SCOPE(&c->trace);
    c->began_at = clock_wall_us();
    c->began_us = clock_mono_us();
    if (c->starts >= c->env->max_starts) {
        snprintf(
            c->reason, sizeof(c->reason), "crashed its worker %lld times", (long long)c->starts);
        bury(c);
    } else if (c->bytes) {
        enter(c, "read", read_job);
    } else {
        enter(c, "fetch", fetch);
    }
}

void crawl_abort(struct crawl *c)
{
    c->aborting = true;
    if (timer_running(&c->retry) || c->asking || c->parked)
        timer_start(&c->retry, 0);
}

void crawl_unpark(struct crawl *c)
{
    LOG_SCOPE(&c->trace);
    if (c->parked && !c->aborting)
        read_job(c);
}

struct handed_back {
    struct queue_req req;
};

static void hand_back_done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    (void)rc; /* left pending it goes back when we leave, or is read again */
    (void)err;
    free(req->ctx);
}

void crawl_hand_back(struct crawl *c)
{
    struct handed_back *h = mem_new(struct handed_back);
    h->req = (struct queue_req){.done = hand_back_done, .ctx = h};
    uuid_parse(c->id, &h->req.id);
    memcpy(h->req.entry, c->entry, sizeof(c->entry));
    queue_do(c->env->queue, QUEUE_REQUEUE, &h->req);
    meter_inc(M_CRAWL_JOBS, CRAWLED_RETURNED, 0);
    crawl_free(c);
}

struct list_node *crawl_link(struct crawl *c)
{
    return &c->link;
}

struct crawl *crawl_of(struct list_node *link)
{
    return LIST_OF(link, struct crawl, link);
}

const char *crawl_entry(const struct crawl *c)
{
    return c->entry;
}

size_t crawl_bytes(const struct crawl *c)
{
    return c->weight;
}

size_t crawl_swell(const struct crawl *c)
{
    return c->swell;
}

bool crawl_parked(const struct crawl *c)
{
    return c->parked;
}

bool crawl_orphan(const struct crawl *c)
{
    return c->orphan;
}

bool crawl_suspect(const struct crawl *c)
{
    return c->starts > 0;
}
