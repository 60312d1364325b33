/* sampler: see sampler.h. `told` is what the meters showed when they were last written down; the
 * difference is what is news. One write under way at a time. */
#include "domain/sampler.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "domain/fetch_tally.h"
#include "domain/store_samples.h"

#include <stdlib.h>
#include <string.h>

enum field { ACCEPTED, CRAWLS, REFUSED, COMPLETED, SUPERSEDED, RETRIED, FAILED, DONE, NFIELDS };
enum { OUT_ACCEPTED, OUT_DUPLICATE, OUT_REASONS, NOUTCOMES = OUT_REASONS + REASON_COUNT };

/* Of the counters that this module is about. */
struct counts {
    int64_t field[NFIELDS];
    int64_t source[SOURCE_COUNT][NOUTCOMES];
    int64_t latency[SAMPLES_CELLS];
};
enum { NCOUNTS = sizeof(struct counts) / sizeof(int64_t) };

struct columns {
    struct buf kinds, names, outcomes, counts, took;
};

struct sampler {
    struct sampler_conf conf;
    struct counts told, sent;
    struct fetch_tally *fetches;
    struct columns columns;
    struct buf latency;
    struct timer tick, limit;
    struct defer left;
    int64_t moment_ms; /* of ours within the five seconds */
    int64_t written_ms;
    bool busy, stopped, leaving;
    void (*done)(void *ctx);
    void *done_ctx;
};

/* The texts of the labels. */
#define LIST_ID(list, label, values)    LIST_##list,
#define LIST_TEXTS(list, label, values) [LIST_##list] = (const char *const[]){values},
#define V(list, value, text)            text,
enum { METER_LABELS(LIST_ID) };
static const char *const *const texts[] = {METER_LABELS(LIST_TEXTS)};
#undef V

/* --- what is counted --------------------------------------------------------------------- */

static int64_t accepted(int source)
{
    int64_t n = 0;
    for (int safe = 0; safe < SAFE_COUNT; safe++)
        n += meter_get(M_ACCEPTED, source, safe);
    return n;
}

static void count_source(struct counts *c, int source)
{
    int64_t *out = c->source[source];
    out[OUT_ACCEPTED] = accepted(source);
    out[OUT_DUPLICATE] = meter_get(M_DUPLICATES, source, 0);
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        out[OUT_REASONS + reason] = meter_get(M_REFUSED, source, reason);
        c->field[REFUSED] += out[OUT_REASONS + reason];
    }
}

static struct counts counted(void)
{
    struct counts c = {0};
    const double *bounds;
    int n = meter_bounds(M_EVENT, &bounds);
    for (int source = 0; source < SOURCE_COUNT; source++)
        count_source(&c, source);
    c.field[ACCEPTED] = c.source[SOURCE_CHANGE][OUT_ACCEPTED];
    c.field[CRAWLS] = c.source[SOURCE_CRAWL][OUT_ACCEPTED];
    c.field[COMPLETED] = meter_get(M_JOBS, OUTCOME_COMPLETED, 0);
    c.field[SUPERSEDED] = meter_get(M_SUPERSEDED, 0, 0);
    c.field[RETRIED] = meter_get(M_JOBS, OUTCOME_RETRIED, 0);
    c.field[FAILED] = meter_get(M_JOBS, OUTCOME_FAILED, 0);
    c.field[DONE] = meter_get(M_CRAWL_JOBS, CRAWLED_DONE, 0);
    for (int i = 0; i <= n && i < SAMPLES_CELLS; i++)
        c.latency[i] = meter_bucket(M_EVENT, 0, i);
    return c;
}

/* a += sign * b; whether any of b is not 0. */
static bool add(struct counts *a, const struct counts *b, int sign)
{
    int64_t *to = (int64_t *)(void *)a;
    const int64_t *from = (const int64_t *)(const void *)b;
    bool any = false;
    for (int i = 0; i < NCOUNTS; i++) {
        to[i] += sign * from[i];
        any |= from[i] != 0;
    }
    return any;
}

/* --- a row ------------------------------------------------------------------------------- */

static void put_tally(struct columns *c, const char *kind, const char *name, const char *outcome,
    int64_t n, int64_t took_ms)
{
    pgarray_text(&c->kinds, kind);
    pgarray_text(&c->names, name);
    pgarray_text(&c->outcomes, outcome);
    pgarray_int(&c->counts, n);
    pgarray_int(&c->took, took_ms);
}

static void put_fetches(
    void *ctx, const char *host, enum meter_FETCH outcome, int64_t n, int64_t took_ms)
{
    put_tally(ctx, "upstream", host, texts[LIST_FETCH][outcome], n, took_ms);
}

static void put_sources(struct columns *c, const struct counts *sent)
{
    for (int source = 0; source < SOURCE_COUNT; source++)
        for (int i = 0; i < NOUTCOMES; i++) {
            const char *outcome = i == OUT_ACCEPTED    ? "accepted"
                                  : i == OUT_DUPLICATE ? "duplicate"
                                                       : texts[LIST_REASON][i - OUT_REASONS];
            int64_t n = sent->source[source][i];
            if (n)
                put_tally(c, "source", texts[LIST_SOURCE][source], outcome, n, 0);
        }
}

static void begin_columns(struct columns *c)
{
    pgarray_begin(&c->kinds);
    pgarray_begin(&c->names);
    pgarray_begin(&c->outcomes);
    pgarray_begin(&c->counts);
    pgarray_begin(&c->took);
}

/* No buckets where there is nothing in them: such a row has none, or those of others. */
static const char *latency(struct sampler *s)
{
    int64_t sum = 0;
    pgarray_begin(&s->latency);
    for (int i = 0; i < SAMPLES_CELLS; i++)
        sum += s->sent.latency[i];
    for (int i = 0; sum && i < SAMPLES_CELLS; i++)
        pgarray_int(&s->latency, s->sent.latency[i]);
    return pgarray_end(&s->latency);
}

static void written(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx);

static void submit(struct sampler *s, const struct store_sample *gauges)
{
    struct columns *c = &s->columns;
    const int64_t *n = s->sent.field;
    struct store_sample row = *gauges;
    row.accepted = n[ACCEPTED];
    row.crawl_accepted = n[CRAWLS];
    row.refused = n[REFUSED];
    row.completed = n[COMPLETED];
    row.superseded = n[SUPERSEDED];
    row.retried = n[RETRIED];
    row.failed = n[FAILED];
    row.crawl_done = n[DONE];
    row.latency = latency(s);
    row.kinds = pgarray_end(&c->kinds);
    row.names = pgarray_end(&c->names);
    row.outcomes = pgarray_end(&c->outcomes);
    row.counts = pgarray_end(&c->counts);
    row.took_ms = pgarray_end(&c->took);
    s->busy = true;
    s->written_ms = clock_mono_ms();
    store_samples_add(s->conf.store, &row, written, s);
}

/* Whether the gauges are worth a row: what waits, or is in hand, or that nobody knows; and now and then
 * a sign of life. */
static bool tells(const struct sampler *s, const struct store_sample *gauges)
{
    if (gauges->in_flight > 0)
        return true;
    return s->conf.queues &&
           (gauges->queues.jobs[QUEUED_CHANGE] != 0 || gauges->queues.jobs[QUEUED_CRAWL] != 0 ||
               clock_mono_ms() - s->written_ms >= SAMPLER_SIGN_MS);
}

static void has_left(void *ctx)
{
    struct sampler *s = ctx;
    sampler_stop(s);
    s->done(s->done_ctx);
}

static void write_row(struct sampler *s, const struct store_sample *gauges)
{
    struct counts now = counted();
    add(&now, &s->told, -1);
    s->sent = now;
    begin_columns(&s->columns);
    put_sources(&s->columns, &s->sent);
    bool news = add(&(struct counts){0}, &s->sent, 1);
    news |= fetch_tally_send(s->fetches, put_fetches, &s->columns);
    if (news || tells(s, gauges))
        submit(s, gauges);
    else if (s->leaving)
        loop_defer(s->conf.loop, &s->left, has_left, s);
}

static void write_last(struct sampler *s)
{
    write_row(s, &(struct store_sample){.queues = queues_unseen});
}

/* Only of what was surely not written is there to be another attempt. */
static void written(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct sampler *s = ctx;
    bool over = rc != HL_RETRY, again = s->leaving && s->done;
    (void)rows;
    (void)err;
    s->busy = false;
    if (over)
        add(&s->told, &s->sent, 1);
    fetch_tally_written(s->fetches, over, clock_wall_us() / 3600000000);
    if (s->stopped || !again)
        return;
    if (over)
        write_last(s); /* of the time since; there is nothing, then that is the end */
    else
        loop_defer(s->conf.loop, &s->left, has_left, s);
}

/* --- every five seconds ------------------------------------------------------------------ */

static void start_timer(struct sampler *s)
{
    int64_t every = s->conf.every_ms;
    timer_start(&s->tick, every - (clock_wall_us() / 1000 - s->moment_ms) % every);
}

static void tick(void *ctx)
{
    struct sampler *s = ctx;
    const struct sampler_conf *c = &s->conf;
    start_timer(s);
    if (s->busy || (c->ready && !c->ready(c->ctx)))
        return;
    write_row(s, &(struct store_sample){.in_flight = c->in_flight ? c->in_flight(c->ctx) : 0,
                     .queues = c->queues ? c->queues(c->ctx) : queues_unseen});
}

void sampler_fetched(struct sampler *s, const char *host, enum meter_FETCH outcome, int64_t took_ms)
{
    if (s && host)
        fetch_tally_count(s->fetches, host, outcome, took_ms);
}

/* --- life -------------------------------------------------------------------------------- */

struct sampler *sampler_new(const struct sampler_conf *conf)
{
    struct sampler *s = mem_new(struct sampler);
    s->conf = *conf;
    s->told = counted();
    s->fetches = fetch_tally_new();
    if (!s->conf.every_ms)
        s->conf.every_ms = SAMPLER_EVERY_MS;
    s->moment_ms = arc4random_uniform((uint32_t)s->conf.every_ms);
    s->written_ms = -SAMPLER_SIGN_MS;
    timer_init(conf->loop, &s->tick, tick, s);
    timer_init(conf->loop, &s->limit, has_left, s);
    return s;
}

void sampler_start(struct sampler *s)
{
    start_timer(s);
}

void sampler_leave(struct sampler *s, int64_t deadline_ms, void (*done)(void *ctx), void *ctx)
{
    const struct sampler_conf *c = &s->conf;
    s->done = done;
    s->done_ctx = ctx;
    s->leaving = true;
    timer_stop(&s->tick);
    timer_start(&s->limit, deadline_ms);
    if (c->ready && !c->ready(c->ctx))
        loop_defer(c->loop, &s->left, has_left, s);
    else if (!s->busy) /* else the answer to that leads on */
        write_last(s);
}

void sampler_stop(struct sampler *s)
{
    if (!s)
        return;
    s->stopped = true;
    timer_stop(&s->tick);
    timer_stop(&s->limit);
    loop_defer_cancel(s->conf.loop, &s->left);
}

static void release(struct columns *c)
{
    buf_release(&c->kinds);
    buf_release(&c->names);
    buf_release(&c->outcomes);
    buf_release(&c->counts);
    buf_release(&c->took);
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    fetch_tally_free(s->fetches);
    release(&s->columns);
    buf_release(&s->latency);
    free(s);
}
