/* pool_bench: see pool_bench.h. */
#include "tests/support/pool_bench.h"

#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { HEART_MS = 10, STANDSTILL_MS = 300 };

/* --- the loop, its heart beat, and the pool ---------------------------------------------- */

static struct loop *loop;
static struct offload *offload;
static struct dbpool *pool;
static struct timer heart;
static int64_t last_beat, longest_pause;
static bool inside_exec;

static void beat(void *ctx)
{
    int64_t now = harness_now_ms();
    (void)ctx;
    if (now - last_beat > longest_pause)
        longest_pause = now - last_beat;
    last_beat = now;
    timer_start(&heart, HEART_MS);
    loop_stop(loop);
}

void pool_beat(void)
{
    last_beat = harness_now_ms();
}

void pool_turn(int64_t end_ms, const char *what, const char *file, int line)
{
    cr_assert_lt(harness_now_ms(), end_ms, "%s:%d: waited in vain for: %s", file, line, what);
    loop_run(loop);
}

struct db_conf pool_conf(const char *url)
{
    return (struct db_conf){.url = url,
        .application_name = "dbpool-test",
        .prepared = true,
        .pool_size = 2,
        .max_overflow = 0,
        .max_waiters = 100,
        .pool_timeout_ms = 5000,
        .pre_ping_after_ms = 60000,
        .max_age_ms = 600000,
        .connect_timeout_ms = 3000,
        .statement_timeout_ms = 5000};
}

struct dbpool *pool_start(const struct db_conf *conf)
{
    struct hl_err err = {0};
    if (!loop) {
        loop = loop_new(&err);
        cr_assert(loop);
        offload = offload_new(loop, &err);
        cr_assert(offload);
        timer_init(loop, &heart, beat, NULL);
        timer_start(&heart, HEART_MS);
    }
    pool = dbpool_new(loop, offload, conf, &err);
    cr_assert(pool, "%s", err.msg);
    return pool;
}

struct dbpool *pool_now(void)
{
    return pool;
}

void pool_use(struct dbpool *p)
{
    pool = p;
}

void pool_stop(void)
{
    dbpool_free(pool);
    pool = NULL;
}

void pool_end(void)
{
    pool_stop();
    offload_free(offload);
    timer_stop(&heart);
    loop_free(loop);
    cr_expect_lt(
        longest_pause, STANDSTILL_MS, "the loop stood still for %lld ms", (long long)longest_pause);
}

struct dbpool_stats pool_stats(void)
{
    struct dbpool_stats s;
    dbpool_stats(pool, &s);
    return s;
}

/* --- requests ---------------------------------------------------------------------------- */

static void on_answer(const struct db_result *res, void *ctx)
{
    struct pool_answer *a = ctx;
    cr_assert_not(inside_exec, "a callback ran inside the call that armed it");
    a->times++;
    a->rc = res->rc;
    cr_assert_eq(res->err == NULL, res->rc == HL_OK);
    if (res->err)
        a->err = *res->err;
    if (res->rc != HL_OK)
        return;
    a->rows = PQntuples(res->pg);
    snprintf(a->text, sizeof(a->text), "%s", db_text(res->pg, 0, 0));
}

void pool_send_calls(const struct db_call *calls, int n, int64_t timeout_ms, struct pool_answer *a)
{
    *a = (struct pool_answer){0};
    inside_exec = true;
    a->req = dbpool_exec(pool, calls, n, timeout_ms, on_answer, a);
    inside_exec = false;
}

void pool_send(const struct db_stmt *stmt, int64_t timeout_ms, struct pool_answer *a)
{
    pool_send_calls(&(struct db_call){stmt, NULL}, 1, timeout_ms, a);
}

struct pool_answer pool_ask_for(const struct db_stmt *stmt, const char *const *values)
{
    struct pool_answer a;
    pool_send_calls(&(struct db_call){stmt, values}, 1, 0, &a);
    POOL_UNTIL(a.times, 15000);
    return a;
}

struct pool_answer pool_ask(const struct db_stmt *stmt)
{
    return pool_ask_for(stmt, NULL);
}

void pool_expect(
    const char *file, int line, const struct pool_answer *a, enum hl_rc rc, enum hl_why why)
{
    cr_assert_eq(a->rc, rc, "%s:%d: %s: %s", file, line, hl_rc_name(a->rc), a->err.msg);
    cr_assert_eq(a->err.why, why, "%s:%d: %s: %s", file, line, hl_why_name(a->err.why), a->err.msg);
}
