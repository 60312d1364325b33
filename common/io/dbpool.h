/* dbpool: the PostgreSQL connections of one process, see ARCHITECTURE.md.
 * Lazy, LIFO reuse of idle ones, pre-ping, maximum age with jitter, bounded FIFO of waiters with
 * deadlines, jittered reconnect. Created after fork. A connection is used again after an error only
 * when the server reported it and is idle, outside any transaction; after a deadline, a cancelled
 * statement or a protocol fault it is closed. While no connection is open and an attempt failed,
 * requests are refused at once; the pool goes on trying by itself.
 *
 * A unit of work is one dbpool_exec: its statements are one transaction, which commits when all of
 * them went well and is rolled back by the first error; the connection returns to the pool either
 * way. There is no other: nothing can hold a transaction open between two calls, so none is open
 * while a program waits for somebody else. Work in several transactions is several units of work.
 */
#ifndef HL_IO_DBPOOL_H
#define HL_IO_DBPOOL_H

#include "io/db.h"

struct dbpool;
struct db_req;

/* conf's strings are copied. NULL when the URL cannot be parsed (err names what). Opens nothing. */
struct dbpool *dbpool_new(
    struct loop *l, struct offload *o, const struct db_conf *conf, struct hl_err *err);
/* NULL ok. Every outstanding request is answered HL_RETRY (waiting) or HL_UNSURE (sent) by then,
 * from inside this call: the one exception to the rule of callbacks. */
void dbpool_free(struct dbpool *p);

/* Runs ncalls statements as one transaction on any connection. calls (the array) is copied, the
 * values are borrowed until cb. timeout_ms covers waiting and running together; 0 = the waiting
 * time plus the statement time of the configuration. Nobody waits longer than pool_timeout_ms for a
 * connection. cb runs exactly once, from the loop. */
struct db_req *dbpool_exec(struct dbpool *p, const struct db_call *calls, int ncalls,
    int64_t timeout_ms, db_cb *cb, void *ctx);
/* cb will not run. If it was sent already, its connection is closed. */
void db_req_cancel(struct db_req *r);

struct dbpool_stats {
    int open, idle, busy, waiting;
    uint64_t connects, exhausted, unreachable, refused, read_only, timed_out;
};
void dbpool_stats(const struct dbpool *p, struct dbpool_stats *out);
/* False after a failed connection attempt until the next one succeeds: callers with another way
 * (the spool) need not wait for a deadline. */
bool dbpool_up(const struct dbpool *p);

/* Result helpers; row and column from 0. NULL becomes "" / 0. */
const char *db_text(const PGresult *r, int row, int col);
int64_t db_int(const PGresult *r, int row, int col);

#endif
