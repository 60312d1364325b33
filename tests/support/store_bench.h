/* store_bench: a loop, a fresh migrated database and stores on it, for tests of the store.
 * Requests may be sent one by one and waited for, or several in one turn, so that they share a
 * flush. */
#ifndef HL_TESTS_STORE_BENCH_H
#define HL_TESTS_STORE_BENCH_H

#include "domain/store.h"
#include "tests/support/harness.h"

/* TestSuite .init and .fini. */
void bench_start(void);
void bench_stop(void);
const char *bench_url(void); /* of the database */
struct loop *bench_loop(void);

/* A store with a pool of its own. worker: registers it, and it claims under that name; NULL:
 * neither. */
struct store *bench_store(const char *worker);
/* The same over another way to the database, with one connection, not registered. */
struct store *bench_store_at(const char *url, const char *worker);
/* The same with several connections and nothing prepared: through a pooler. */
struct store *bench_store_pooled(const char *url, const char *worker);

/* Turns the loop until the condition holds. */
#define BENCH_UNTIL(cond)                                                                          \
    do {                                                                                           \
        int64_t bench_end_ = harness_now_ms() + 20000;                                             \
        while (!(cond))                                                                            \
            bench_turn(bench_end_, #cond, __FILE__, __LINE__);                                     \
    } while (0)
void bench_turn(int64_t end_ms, const char *what, const char *file, int line);

/* A new event of a page, kept until bench_stop. */
struct change_event *bench_event(const char *watch_url);
const char *bench_id(const struct change_event *ev); /* kept until exit */
/* One column (or expression) of the event's row as text; "" for NULL. */
const char *bench_col(const struct change_event *ev, const char *expression);
bool bench_is(const struct change_event *ev, const char *condition); /* of its row */
/* UPDATE webhook.change_events SET ... of its row. */
void bench_set(const struct change_event *ev, const char *assignments);
long bench_count(const char *table_and_condition); /* "webhook.documents WHERE ..." */

/* What became of a batched request: `.req = BENCH_REQ(&got)`. */
struct bench_got {
    int calls;
    enum hl_rc rc;
    struct hl_err err;
};
void bench_done(struct store_req *req, enum hl_rc rc, const struct hl_err *err);
#define BENCH_REQ(got)                                                                             \
    {                                                                                              \
        .done = bench_done, .ctx = (got)                                                           \
    }

/* One request and its end. Outputs are copied to out where that is not NULL. */
enum hl_rc bench_accept(struct store *s, const struct change_event *ev, struct store_accept *out);
struct store_claim bench_claim(struct store *s, const struct change_event *ev); /* must be HL_OK */
int64_t bench_claim_ok(struct store *s, const struct change_event *ev); /* and ours: the epoch */
/* The whole way there: accepted and claimed; returns the epoch. */
int64_t bench_begin(struct store *s, const struct change_event *ev);
struct store_document bench_document(const char *url, const char *title, const char *text);
enum hl_rc bench_complete(struct store *s, const struct change_event *ev, int64_t epoch,
    struct store_document doc, struct store_complete *out);
struct bench_settle {
    const char *status, *metadata; /* NULL: "queued", "{}" */
    bool charge;
    int64_t delay_ms;
};
enum hl_rc bench_settle(struct store *s, const struct change_event *ev, int64_t epoch,
    struct bench_settle how, struct store_settle *out);

/* What a single statement answered; rows are a copy, kept until bench_stop. */
struct bench_rows {
    int calls;
    enum hl_rc rc;
    struct hl_err err;
    PGresult *rows;
};
void bench_answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx);
/* BENCH_ASK(rows, store_reap(s, &limits, 10, BENCH_CB(rows))); must be HL_OK. */
#define BENCH_CB(rows) bench_answered, &(rows)
#define BENCH_ASK(rows, call)                                                                      \
    do {                                                                                           \
        (rows) = (struct bench_rows){0};                                                           \
        call;                                                                                      \
        BENCH_UNTIL((rows).calls);                                                                 \
        bench_must_be_ok(&(rows), #call, __LINE__);                                                \
    } while (0)
void bench_must_be_ok(const struct bench_rows *rows, const char *call, int line);
int bench_nrows(const struct bench_rows *rows);
const char *bench_cell(const struct bench_rows *rows, int row, int col);

#endif
