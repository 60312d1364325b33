/* metrics: see metrics.h. Owns the ring of what was measured and not written yet, and the one batch
 * under way. Everything about a row is fixed when it is recorded, its id too; what a flush sends is
 * only put together from it, so that sending it again sends the same. */
#include "domain/metrics.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "base/text.h"
#include "base/uuid.h"
#include "domain/store_sql.h"

#include <stdlib.h>
#include <string.h>

enum {
    FLUSH_ROWS = 1000,
    FLUSH_BYTES = 1 << 20,
    FLUSH_AFTER_MS = 1000, /* fewer rows wait so long for company */
    FLUSH_TIMEOUT_MS = 5000,
    RETRY_BASE_MS = 500,
    RETRY_MAX_MS = 10000,
    TELL_EVERY_MS = 60000,
    ROW_BYTES = 1024, /* a row may have on average, for the bound of the ring in bytes */
    ERROR_CHARS = 4096,
    MAX_TEXTS = 8,
    MAX_PARAMS = 4 + MAX_TEXTS,
    MILLION = 1000000,
};

enum kind { REQUEST, OPERATION, NKINDS };

/* A text column: where the caller's struct has it, and what fits. */
struct column {
    size_t offset;
    size_t chars; /* 0: JSON, which cannot be cut */
    bool needed;  /* NOT NULL */
};

/* Columns in the order of the statement's parameters, behind id, time, duration and outcome. */
#define R(member) offsetof(struct metrics_request, member)
#define O(member) offsetof(struct metrics_operation, member)
/* clang-format off */
static const struct {
    const struct db_stmt *first, *again; /* again: some of the rows may be there already */
    int ntexts;
    struct column texts[MAX_TEXTS];
} kinds[NKINDS] = {
    [REQUEST] = {&stmt_metrics_requests.db, &stmt_metrics_requests_again.db, 6,
        {{R(method), 10, true}, {R(path), 500, true}, {R(request_id), 100, false},
         {R(client_ip), 50, false}, {R(user_agent), 500, false}, {R(extra), 0, false}}},
    [OPERATION] = {&stmt_metrics_operations.db, &stmt_metrics_operations_again.db, 8,
        {{O(type), 50, true}, {O(name), 100, true}, {O(error), ERROR_CHARS, false},
         {O(request_id), 100, false}, {O(job_id), 100, false}, {O(crawl_id), 255, false},
         {O(document_url), 500, false}, {O(extra), 0, false}}},
};
/* clang-format on */

struct row {
    struct list_node node;
    uint64_t serial;
    int64_t at, took_us;
    int32_t outcome; /* status of a request; 1 or 0 of an operation */
    uint32_t bytes;  /* of texts */
    enum kind kind;
    char texts[]; /* each "-", NULL, or "+" and the text; and a NUL */
};

struct metrics {
    struct loop *loop;
    struct dbpool *pool;
    size_t capacity;
    int64_t sample;
    uint64_t random; /* of the sample; a state of xorshift */
    struct uuid base;
    struct list waiting, sent; /* of struct row, oldest first; sent: the batch under way */
    size_t bytes;              /* of the waiting rows */
    size_t limit;              /* rows of the next batch */
    size_t halved;             /* so many of the oldest were in a batch that was refused */
    bool in_flight;
    int failures; /* in a row; the timer is the pause */
    struct timer timer;
    struct defer flush;
    struct buf text;
    struct buf params[NKINDS][MAX_PARAMS];
    const char *values[NKINDS][MAX_PARAMS];
    struct metrics_stats stats;
    struct hl_err err; /* the last failure, for the log */
    int64_t told_ms;   /* 0 = never */
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct timer drain_limit;
};

static void free_rows(struct list *rows)
{
    for (struct list_node *n; (n = list_pop(rows));)
        free(LIST_OF(n, struct row, node));
}

/* --- losses ------------------------------------------------------------------------------ */

static void tell(struct metrics *m, const char *event)
{
    int64_t now = clock_mono_ms();
    if (m->told_ms && now - m->told_ms < TELL_EVERY_MS)
        return;
    m->told_ms = now;
    log_warn(event, LOG_I("dropped", m->stats.dropped), LOG_I("refused", m->stats.refused),
        LOG_I("waiting", m->waiting.len), LOG_S("error", m->err.msg));
}

static struct row *pop(struct metrics *m)
{
    struct row *r = LIST_OF(list_pop(&m->waiting), struct row, node);
    m->bytes -= r->bytes;
    return r;
}

/* The oldest go. */
static void trim(struct metrics *m)
{
    bool any = false;
    while (m->waiting.len > m->capacity || m->bytes > m->capacity * ROW_BYTES) {
        free(pop(m));
        m->stats.dropped++;
        any = true;
    }
    if (any)
        tell(m, "metrics_dropped");
}

/* --- flushing ---------------------------------------------------------------------------- */

/* Version 7, unique by the process's own random bytes and the row's serial. */
static void put_id(const struct metrics *m, const struct row *r, struct buf *out)
{
    char text[UUID_STRLEN + 1];
    struct uuid u = m->base;
    uint64_t ms = (uint64_t)(r->at / 1000), low = 0;
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    for (int i = 9; i < 16; i++)
        low = low << 8 | u.b[i];
    low += r->serial;
    for (int i = 15; i >= 9; i--, low >>= 8)
        u.b[i] = (uint8_t)low;
    uuid_format(&u, text);
    pgarray_text(out, text);
}

static void put_row(struct metrics *m, const struct row *r)
{
    struct buf *b = m->params[r->kind];
    const char *text = r->texts;
    put_id(m, r, &b[0]);
    pgarray_int(&b[1], r->at);
    pgarray_int(&b[2], r->took_us);
    pgarray_int(&b[3], r->outcome);
    for (int i = 0; i < kinds[r->kind].ntexts; i++) {
        pgarray_text(&b[4 + i], *text == '+' ? text + 1 : NULL);
        text += strlen(text) + 1;
    }
}

static void on_flushed(const struct db_result *res, void *ctx);

static void send_batch(struct metrics *m, const size_t rows[NKINDS])
{
    struct db_call calls[1 + NKINDS] = {
        {&stmt_metrics_manners.db, NULL}
    };
    bool again = m->failures || m->halved;
    int n = 1;
    for (int k = 0; k < NKINDS; k++) {
        if (!rows[k])
            continue;
        for (int i = 0; i < kinds[k].first->nparams; i++)
            m->values[k][i] = pgarray_end(&m->params[k][i]);
        calls[n++] = (struct db_call){again ? kinds[k].again : kinds[k].first, m->values[k]};
    }
    m->in_flight = true;
    dbpool_exec(m->pool, calls, n, FLUSH_TIMEOUT_MS, on_flushed, m);
}

static void flush(void *ctx)
{
    struct metrics *m = ctx;
    size_t rows[NKINDS] = {0}, bytes = 0;

    timer_stop(&m->timer);
    if (m->in_flight || !m->waiting.len)
        return;
    for (int k = 0; k < NKINDS; k++)
        for (int i = 0; i < kinds[k].first->nparams; i++)
            pgarray_begin(&m->params[k][i]);
    while (m->waiting.len && m->sent.len < m->limit && bytes < FLUSH_BYTES) {
        struct row *r = pop(m);
        list_push(&m->sent, &r->node);
        put_row(m, r);
        rows[r->kind]++;
        bytes += r->bytes;
    }
    send_batch(m, rows);
}

static void finish_drain(struct metrics *m)
{
    void (*drained)(void *ctx) = m->drained;
    m->drained = NULL;
    timer_stop(&m->drain_limit);
    if (drained)
        drained(m->drained_ctx);
}

static void drain_over(void *ctx)
{
    finish_drain(ctx);
}

/* A full batch goes at once, anything else when it has waited a moment: fewer and larger batches
 * cost PostgreSQL less, and nobody waits for them. */
static void schedule(struct metrics *m)
{
    if (m->in_flight || m->failures || !m->waiting.len)
        return;
    if (m->drained || m->waiting.len >= FLUSH_ROWS || m->halved)
        loop_defer(m->loop, &m->flush, flush, m);
    else if (!timer_running(&m->timer))
        timer_start(&m->timer, FLUSH_AFTER_MS);
}

/* Ahead of what came meanwhile. */
static void put_back(struct metrics *m)
{
    for (struct list_node *n; (n = list_last(&m->sent));) {
        list_remove(&m->sent, n);
        list_push_front(&m->waiting, n);
        m->bytes += LIST_OF(n, struct row, node)->bytes;
    }
    trim(m);
}

static void failed(struct metrics *m, const struct hl_err *err)
{
    m->failures++;
    m->err = *err;
    put_back(m);
    if (err->rc == HL_FATAL)
        tell(m, "metrics_not_written"); /* nobody else would say so */
    timer_start(&m->timer, backoff_ms(m->failures, RETRY_BASE_MS,
                               m->drained ? RETRY_BASE_MS : RETRY_MAX_MS, arc4random()));
}

/* The batch is through, with this or that end. */
static void settled(struct metrics *m)
{
    m->limit = FLUSH_ROWS;
    m->halved -= m->sent.len < m->halved ? m->sent.len : m->halved;
    free_rows(&m->sent);
}

/* PostgreSQL does not take one of these: halved until it stands alone. */
static void refused(struct metrics *m, const struct hl_err *err)
{
    size_t n = m->sent.len;
    if (n > 1) {
        m->limit = n / 2;
        m->halved = n > m->halved ? n : m->halved;
        put_back(m);
        return;
    }
    m->err = *err;
    m->stats.refused++;
    settled(m);
    tell(m, "metrics_dropped");
}

static void on_flushed(const struct db_result *res, void *ctx)
{
    struct metrics *m = ctx;
    m->in_flight = false;
    if (res->rc == HL_OK) {
        m->stats.written += m->sent.len;
        m->failures = 0;
        settled(m);
    } else if (res->rc == HL_FATAL && db_refuses_data(res->err)) {
        m->failures = 0;
        refused(m, res->err);
    } else {
        failed(m, res->err);
    }
    schedule(m);
    if (m->drained && !m->in_flight && !m->waiting.len)
        finish_drain(m);
}

/* --- recording --------------------------------------------------------------------------- */

static void put_text(struct buf *b, const struct column *c, const char *s)
{
    size_t max = c->chars ? c->chars * 4 : METRICS_EXTRA_MAX + 1; /* bytes worth a look */
    if (!s && c->needed)
        s = "";
    size_t len = s ? strnlen(s, max) : 0;
    if (!s || (!c->chars && len == max)) {
        buf_append(b, "-", 2);
        return;
    }
    buf_putc(b, '+');
    size_t from = b->len;
    text_append_utf8(b, s, len);
    if (c->chars)
        b->len = from + text_prefix_chars(b->data + from, c->chars);
    buf_append(b, "", 1);
}

/* Microseconds; whatever was measured, a number that the column takes. */
static int64_t micros(double ms)
{
    const double max_us = 1e15;
    if (!(ms > 0))
        return 0;
    return (int64_t)(ms * 1000 < max_us ? ms * 1000 + 0.5 : max_us);
}

/* from: the caller's struct. */
static void record(struct metrics *m, enum kind kind, const void *from, const struct row *fixed)
{
    buf_clear(&m->text);
    for (int i = 0; i < kinds[kind].ntexts; i++) {
        const struct column *c = &kinds[kind].texts[i];
        put_text(&m->text, c, *(const char *const *)((const char *)from + c->offset));
    }
    struct row *r = mem_alloc(sizeof(*r) + m->text.len);
    *r = *fixed; /* without its texts */
    r->kind = kind;
    r->serial = m->stats.recorded++;
    r->bytes = (uint32_t)m->text.len;
    memcpy(r->texts, m->text.data, m->text.len);
    list_push(&m->waiting, &r->node);
    m->bytes += r->bytes;
    trim(m);
    schedule(m);
}

static bool sampled(struct metrics *m)
{
    if (m->sample >= MILLION)
        return true;
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (int64_t)(m->random % MILLION) < m->sample;
}

void metrics_request(struct metrics *m, const struct metrics_request *r)
{
    if (!m || (r->status < 400 && !sampled(m)))
        return;
    record(m, REQUEST, r,
        &(struct row){.at = r->at, .took_us = micros(r->duration_ms), .outcome = r->status});
}

void metrics_operation(struct metrics *m, const struct metrics_operation *o)
{
    if (!m)
        return;
    record(m, OPERATION, o,
        &(struct row){.at = o->at, .took_us = micros(o->duration_ms), .outcome = o->success});
}

/* --- life -------------------------------------------------------------------------------- */

struct metrics *metrics_new(struct loop *l, struct dbpool *pool, int64_t capacity, int64_t sample)
{
    if (capacity <= 0)
        return NULL;
    struct metrics *m = mem_new(struct metrics);
    m->loop = l;
    m->pool = pool;
    m->capacity = (size_t)capacity;
    m->sample = sample;
    m->base = uuid_v7(0);
    memcpy(&m->random, &m->base.b[8], sizeof(m->random)); /* never 0: the variant is in it */
    m->limit = FLUSH_ROWS;
    list_init(&m->waiting);
    list_init(&m->sent);
    timer_init(l, &m->timer, flush, m);
    timer_init(l, &m->drain_limit, drain_over, m);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    if (m->waiting.len)
        log_warn("metrics_lost", LOG_I("rows", m->waiting.len), LOG_S("error", m->err.msg));
    timer_stop(&m->timer);
    timer_stop(&m->drain_limit);
    loop_defer_cancel(m->loop, &m->flush);
    free_rows(&m->waiting);
    free_rows(&m->sent);
    buf_release(&m->text);
    for (int i = 0; i < NKINDS * MAX_PARAMS; i++)
        buf_release(&m->params[i / MAX_PARAMS][i % MAX_PARAMS]);
    free(m);
}

void metrics_drain(struct metrics *m, int64_t deadline_ms, void (*done)(void *ctx), void *ctx)
{
    if (!m) {
        done(ctx);
        return;
    }
    m->drained = done;
    m->drained_ctx = ctx;
    bool idle = !m->waiting.len && !m->in_flight;
    timer_start(&m->drain_limit, idle ? 0 : deadline_ms);
    if (!m->in_flight)
        timer_start(&m->timer, 0);
}

void metrics_stats(const struct metrics *m, struct metrics_stats *out)
{
    *out = m ? m->stats : (struct metrics_stats){0};
    out->waiting = m ? (int64_t)(m->waiting.len + m->sent.len) : 0;
}

void metrics_put(const struct metrics *m, struct buf *json)
{
    struct metrics_stats st;
    metrics_stats(m, &st);
    buf_printf(json, "{\"waiting\":%lld,\"dropped\":%llu}", (long long)st.waiting,
        (unsigned long long)st.dropped);
}

void metrics_log(const struct metrics *m)
{
    struct metrics_stats st;
    metrics_stats(m, &st);
    log_info("state_metrics", LOG_I("recorded", st.recorded), LOG_I("written", st.written),
        LOG_I("dropped", st.dropped), LOG_I("refused", st.refused), LOG_I("waiting", st.waiting));
}
