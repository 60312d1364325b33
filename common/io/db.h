/* db: one PostgreSQL connection on the loop, through libpq without blocking.
 * Owns the PGconn, connecting (names looked up by offload.h), prepared statements, deadlines.
 * Does not decide who uses it: that is dbpool. Always in pipeline mode: all calls of one db_run go
 * out at once and are one implicit transaction, ended by one sync
 * (PostgreSQL documentation, "Pipeline Mode"); each call sees what the ones before it did and has a
 * snapshot of its own under READ COMMITTED. */
#ifndef HL_IO_DB_H
#define HL_IO_DB_H

#include "base/meter.h"
#include "io/loop.h"
#include "io/offload.h"

#include <libpq-fe.h>

/* A statement, in static storage: its address is its identity for preparing. */
struct db_stmt {
    const char *name; /* unique, for the server's prepared statement and for logs */
    const char *sql;
    int nparams;
};

/* One execution. values: nparams strings in text format, NULL = SQL NULL; borrowed until the
 * callback has run or the request was cancelled. */
struct db_call {
    const struct db_stmt *stmt;
    const char *const *values;
};

/* rc HL_OK: pg is the result of the last call (borrowed, valid during the callback only).
 * HL_RETRY: nothing was done (not connected, deadlock, serialization, server going down ...).
 * HL_FATAL: the server refused the statement or its data for good (err->sqlstate).
 * HL_UNSURE: the connection or the deadline broke after the statements were sent. */
struct db_result {
    enum hl_rc rc;
    const PGresult *pg;
    const struct hl_err *err; /* NULL when rc is HL_OK */
};
typedef void db_cb(const struct db_result *res, void *ctx);

struct db_conf {
    const char *url;              /* postgres:// (already without +driver); may hold a password */
    const char *application_name; /* shown in pg_stat_activity: program and instance */
    enum meter_POOL label;        /* of a pool, in its meters */
    bool prepared;                /* off: unnamed statements only (transaction poolers) */
    int pool_size;                /* connections kept */
    int max_overflow;             /* further ones under load, closed when returned */
    int max_waiters;              /* bound of the queue of waiting requests */
    int64_t pool_timeout_ms;      /* how long a request may wait for a connection */
    int64_t pre_ping_after_ms;    /* idle longer than this: ping before use; 0 = always */
    int64_t max_age_ms; /* a connection older than this (less up to a tenth) is replaced */
    int64_t connect_timeout_ms;
    int64_t statement_timeout_ms; /* default deadline of one db_run */
};

struct db_conn;

/* What an SQLSTATE means to the caller; "" or NULL (no word from the server) is HL_UNSURE. Exposed
 * for tests. */
enum hl_rc db_classify(const char *sqlstate);

/* Of a refusal (HL_FATAL): only the data itself is refused for good, classes 22 and 23, and 54, more
 * of it than the server can handle. Anything else that PostgreSQL says no to, a missing table or
 * right, is the installation's fault, and passes when somebody mends it. */
bool db_refuses_data(const struct hl_err *err);

#endif
