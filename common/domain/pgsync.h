/* pgsync: SQL over one synchronous libpq connection, for the migrator: its errors as ours. Never
 * used on a loop. `what` names the operation in error texts. err is never NULL. */
#ifndef HL_DOMAIN_PGSYNC_H
#define HL_DOMAIN_PGSYNC_H

#include "base/err.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* Runs one string of SQL; *out (may be NULL) is the result on success, caller clears it. HL_RETRY:
 * the connection broke, or the server says that it may work later. */
enum hl_rc pgsync_query(
    PGconn *pg, const char *what, const char *sql, PGresult **out, struct hl_err *err);
/* The same for SQL with text parameters and no result. */
enum hl_rc pgsync_params(PGconn *pg, const char *what, const char *sql, const char *const *values,
    int n, struct hl_err *err);
/* The same for SQL that gives one boolean. */
enum hl_rc pgsync_bool(
    PGconn *pg, const char *what, const char *sql, bool *yes, struct hl_err *err);

#endif
