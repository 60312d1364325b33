/* store_private: what the files of the store share: how a kind of batched request is described,
 * and how a single statement is run. For store*.c only. */
#ifndef HL_DOMAIN_STORE_PRIVATE_H
#define HL_DOMAIN_STORE_PRIVATE_H

#include "domain/store.h"
#include "domain/store_sql.h"

/* Each kind of request has two lanes, with one flush in flight each. The second one opens when a
 * flush's worth waits in the first: two backends then share the work, where one alone would run on
 * one core. A quiet process uses the first only. */
enum op_kind { OP_ACCEPT, OP_CLAIM, OP_COMPLETE, OP_SETTLE, OP_CRAWL, NOPS };

struct op_spec {
    int nparams;
    bool owner_first;             /* $1 is the owner; arrays follow */
    bool see_again;               /* HL_RETRY of get: the next snapshot sees it; run it again */
    const struct db_stmt *before; /* runs first, in the same transaction; takes the first arrays */
    const struct db_stmt *stmt;   /* takes the next */
    const struct db_stmt *after;  /* runs last, takes the rest, and answers instead of stmt */
    /* Adds one request to the arrays; its place among them, from 1, is r->place. */
    void (*put)(struct store_req *r, struct buf *arrays);
    /* Reads one result row; returns the request's outcome. */
    enum hl_rc (*get)(struct store_req *r, const PGresult *rows, int row);
};
extern const struct op_spec store_crawl_spec;

/* Adds r to the flushes of its kind; bytes: about what it sends. */
void store_submit(struct store *s, enum op_kind kind, struct store_req *r, size_t bytes);
/* One statement, a transaction of its own; values are copied. timeout_ms 0: the pool's. */
void store_run(struct store *s, const struct store_stmt *stmt, int64_t timeout_ms, store_cb *cb,
    void *ctx, const char *const *values);

struct number {
    char text[24];
};
struct number store_number(int64_t v);

size_t store_length(const char *s); /* NULL: 0 */
/* What of a document's text is searched: its first 256 kB, whole characters. NULL: all of it. The
 * caller frees it. */
char *store_searched(const char *text);

/* One statement as a transaction of its own, in the store's timeout, waiting included. values: one
 * for each parameter, copied, NULL = SQL NULL. */
void store_ask(struct store *s, const struct store_stmt *stmt, store_cb *cb, void *ctx,
    const char *const *values);

#endif
