/* store_bench: see store_bench.h. */
#include "tests/support/store_bench.h"

#include "base/mem.h"
#include "tests/support/harness_private.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STORES = 8, MAX_EVENTS = 2048, MAX_ROWS = 512, TICK_MS = 5 };

static struct loop *loop;
static struct offload *offload;
static struct timer tick;
static const char *url;
static struct dbpool *pools[MAX_STORES];
static struct store *stores[MAX_STORES];
static int nstores;
static struct change_event events[MAX_EVENTS];
static int nevents;
static PGresult *results[MAX_ROWS];
static int nresults;

static void on_tick(void *ctx)
{
    (void)ctx;
    timer_start(&tick, TICK_MS);
    loop_stop(loop);
}

void bench_start(void)
{
    struct hl_err err;
    url = harness_database(true);
    loop = loop_new(&err);
    offload = loop ? offload_new(loop, &err) : NULL;
    cr_assert(offload, "%s", err.msg);
    timer_init(loop, &tick, on_tick, NULL);
    timer_start(&tick, TICK_MS);
}

void bench_stop(void)
{
    for (int i = 0; i < nstores; i++) {
        dbpool_free(pools[i]);
        store_free(stores[i]);
    }
    for (int i = 0; i < nevents; i++)
        event_release(&events[i]);
    for (int i = 0; i < nresults; i++)
        PQclear(results[i]);
    offload_free(offload);
    timer_stop(&tick);
    loop_free(loop);
}

struct loop *bench_loop(void)
{
    return loop;
}

const char *bench_url(void)
{
    return url;
}

void bench_turn(int64_t end_ms, const char *what, const char *file, int line)
{
    cr_assert_lt(harness_now_ms(), end_ms, "%s:%d: waited in vain for: %s", file, line, what);
    loop_run(loop);
}

static struct store *open_store(const char *at, const char *worker, int connections, bool prepared)
{
    const struct db_conf conf = {.url = at,
        .application_name = "store-test",
        .prepared = prepared,
        .pool_size = connections,
        .max_waiters = 10000,
        .pool_timeout_ms = 10000,
        .pre_ping_after_ms = 60000,
        .max_age_ms = 600000,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 15000};
    struct hl_err err;
    cr_assert_lt(nstores, MAX_STORES);
    struct dbpool *pool = dbpool_new(loop, offload, &conf, &err);
    cr_assert(pool, "%s", err.msg);
    pools[nstores] = pool;
    return stores[nstores++] = store_new(loop, pool, worker, 0);
}

struct store *bench_store(const char *worker)
{
    struct store *s = open_store(url, worker, 4, true);
    struct bench_rows r;
    if (worker)
        BENCH_ASK(r, store_register(s, BENCH_CB(r)));
    return s;
}

struct store *bench_store_at(const char *at, const char *worker)
{
    return open_store(at, worker, 1, true);
}

struct store *bench_store_pooled(const char *at, const char *worker)
{
    return open_store(at, worker, 4, false);
}

/* --- events ------------------------------------------------------------------------------ */

struct change_event *bench_event(const char *watch_url)
{
    cr_assert_lt(nevents, MAX_EVENTS);
    struct change_event *ev = &events[nevents++];
    *ev = (struct change_event){.id = uuid_v4(),
        .watch_id = mem_strdup("watch-1"),
        .watch_url = mem_strdup(watch_url),
        .detected_at = INT64_C(1767323045123456),
        .diff_summary = mem_strdup("+ new, \"quoted\" {braces} \\ back"),
        .metadata = mem_strdup("{\"title\": \"t\"}")};
    memset(ev->body_digest, 0x5a, sizeof(ev->body_digest));
    return ev;
}

const char *bench_id(const struct change_event *ev)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&ev->id, id);
    return harness_keep(mem_strdup(id));
}

const char *bench_col(const struct change_event *ev, const char *expression)
{
    return sql_text(url, "SELECT (%s)::text FROM webhook.change_events WHERE event_id = '%s'",
        expression, bench_id(ev));
}

bool bench_is(const struct change_event *ev, const char *condition)
{
    return strcmp(bench_col(ev, condition), "true") == 0;
}

void bench_set(const struct change_event *ev, const char *assignments)
{
    sql_exec(url, "UPDATE webhook.change_events SET %s WHERE event_id = '%s'", assignments,
        bench_id(ev));
}

long bench_count(const char *table_and_condition)
{
    return sql_int(url, "SELECT count(*) FROM %s", table_and_condition);
}

/* --- batched requests -------------------------------------------------------------------- */

void bench_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct bench_got *got = req->ctx;
    cr_assert_eq(err == NULL, rc == HL_OK || rc == HL_LOST);
    got->calls++;
    got->rc = rc;
    if (err)
        got->err = *err;
}

static enum hl_rc wait_for(struct bench_got *got)
{
    cr_assert_eq(got->calls, 0, "a callback ran inside the call that armed it");
    BENCH_UNTIL(got->calls);
    cr_assert_eq(got->calls, 1);
    return got->rc;
}

enum hl_rc bench_accept(struct store *s, const struct change_event *ev, struct store_accept *out)
{
    struct bench_got got = {0};
    struct store_accept a = {.req = BENCH_REQ(&got), .ev = ev};
    store_accept(s, &a);
    wait_for(&got);
    if (out)
        *out = a;
    return got.rc;
}

struct store_claim bench_claim(struct store *s, const struct change_event *ev)
{
    struct bench_got got = {0};
    struct store_claim c = {.req = BENCH_REQ(&got), .ev = ev};
    store_claim(s, &c);
    cr_assert_eq(wait_for(&got), HL_OK, "%s", got.err.msg);
    return c;
}

int64_t bench_claim_ok(struct store *s, const struct change_event *ev)
{
    struct store_claim c = bench_claim(s, ev);
    cr_assert_eq(c.state, CLAIM_OK, "state %d", c.state);
    return c.epoch;
}

int64_t bench_begin(struct store *s, const struct change_event *ev)
{
    cr_assert_eq(bench_accept(s, ev, NULL), HL_OK);
    return bench_claim_ok(s, ev);
}

struct store_document bench_document(const char *at, const char *title, const char *text)
{
    return (struct store_document){
        .canonical_url = at, .url = at, .title = title, .text = text, .language = "en"};
}

enum hl_rc bench_complete(struct store *s, const struct change_event *ev, int64_t epoch,
    struct store_document doc, struct store_complete *out)
{
    struct bench_got got = {0};
    struct store_complete c = {.req = BENCH_REQ(&got),
        .ev = ev,
        .epoch = epoch,
        .metadata = "{\"document_id\": \"d\"}",
        .doc = doc};
    store_complete(s, &c);
    wait_for(&got);
    if (out)
        *out = c;
    return got.rc;
}

enum hl_rc bench_settle(struct store *s, const struct change_event *ev, int64_t epoch,
    struct bench_settle how, struct store_settle *out)
{
    struct bench_got got = {0};
    struct store_settle f = {.req = BENCH_REQ(&got),
        .ev = ev,
        .epoch = epoch,
        .status = how.status ? how.status : "queued",
        .charge = how.charge,
        .delay_ms = how.delay_ms,
        .metadata = how.metadata ? how.metadata : "{}"};
    store_settle(s, &f);
    wait_for(&got);
    if (out)
        *out = f;
    return got.rc;
}

/* --- single statements ------------------------------------------------------------------- */

void bench_answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct bench_rows *r = ctx;
    r->calls++;
    r->rc = rc;
    if (err)
        r->err = *err;
    cr_assert_eq(rows != NULL, rc == HL_OK);
    if (!rows)
        return;
    cr_assert_lt(nresults, MAX_ROWS);
    r->rows = results[nresults++] = PQcopyResult(rows, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
}

void bench_must_be_ok(const struct bench_rows *rows, const char *call, int line)
{
    cr_assert_eq(rows->rc, HL_OK, "line %d: %s: %s", line, call, rows->err.msg);
    cr_assert_eq(rows->calls, 1);
}

int bench_nrows(const struct bench_rows *rows)
{
    return PQntuples(rows->rows);
}

const char *bench_cell(const struct bench_rows *rows, int row, int col)
{
    return db_text(rows->rows, row, col);
}
