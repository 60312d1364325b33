/* pool_bench: a loop whose heart tells how long it stood still, and a pool on it, for tests of
 * dbpool. One pool is the current one; what is asked goes to it. */
#ifndef HL_TESTS_POOL_BENCH_H
#define HL_TESTS_POOL_BENCH_H

#include "io/dbpool.h"
#include "tests/support/harness.h"

/* Small, patient enough for a busy machine, as "dbpool-test". */
struct db_conf pool_conf(const char *url);
/* Makes a pool, and the loop when there is none; the pool becomes the current one. */
struct dbpool *pool_start(const struct db_conf *conf);
struct dbpool *pool_now(void);
void pool_use(struct dbpool *p); /* makes it the current one */
void pool_stop(void);            /* frees the current one */
/* Frees the loop too and checks its heart. In test bodies: Criterion drops failures in .fini. */
void pool_end(void);
struct dbpool_stats pool_stats(void);

/* Runs the loop until cond; the heart gives the turns. */
#define POOL_UNTIL(cond, timeout_ms)                                                               \
    do {                                                                                           \
        int64_t pool_end_ = harness_now_ms() + (timeout_ms);                                       \
        pool_beat();                                                                               \
        while (!(cond))                                                                            \
            pool_turn(pool_end_, #cond, __FILE__, __LINE__);                                       \
    } while (0)
void pool_beat(void);
void pool_turn(int64_t end_ms, const char *what, const char *file, int line);

struct pool_answer {
    int times;
    enum hl_rc rc;
    struct hl_err err;
    int rows;
    char text[64]; /* row 0, column 0 */
    struct db_req *req;
};

/* out is filled by the answer; it and the values must stay until then. */
void pool_send_calls(
    const struct db_call *calls, int n, int64_t timeout_ms, struct pool_answer *out);
void pool_send(const struct db_stmt *stmt, int64_t timeout_ms, struct pool_answer *out);
/* One request and its end. */
struct pool_answer pool_ask_for(const struct db_stmt *stmt, const char *const *values);
struct pool_answer pool_ask(const struct db_stmt *stmt);

/* Each evaluates its answer once: it may be a request. */
#define EXPECT_FAILED(a, rc_, why_)                                                                \
    do {                                                                                           \
        struct pool_answer got_ = (a);                                                             \
        pool_expect(__FILE__, __LINE__, &got_, rc_, why_);                                         \
    } while (0)
#define EXPECT_OK(a) EXPECT_FAILED(a, HL_OK, HL_WHY_OTHER)
void pool_expect(
    const char *file, int line, const struct pool_answer *a, enum hl_rc rc, enum hl_why why);

#endif
