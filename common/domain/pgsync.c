/* pgsync: see pgsync.h. Owns nothing: connections and results belong to the callers. */
#include "domain/pgsync.h"

#include <stdio.h>
#include <string.h>

#include "io/db.h"

static enum hl_rc failed(PGconn *pg, const PGresult *res, const char *what, struct hl_err *err)
{
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    if (PQstatus(pg) == CONNECTION_BAD)
        return hl_fail_why(err, HL_RETRY, HL_WHY_UNREACHABLE,
            "%s: the connection to PostgreSQL broke; run the migration again, it goes on where it "
            "was",
            what);
    if (!state)
        state = "";
    if (!text)
        text = "no answer that libpq understands";

    enum hl_rc rc = db_classify(state) == HL_RETRY ? HL_RETRY : HL_FATAL;
    if (strcmp(state, "25006") == 0)
        hl_fail_why(err, HL_RETRY, HL_WHY_READ_ONLY,
            "%s: this server takes no writes (a standby?); give the URL of the primary", what);
    else if (strcmp(state, "42501") == 0)
        hl_fail_why(err, HL_FATAL, HL_WHY_REFUSED,
            "%s: %s; migrate as the owner of schema webhook and its tables", what, text);
    else
        hl_fail(err, rc, "%s: %s (SQLSTATE %s)", what, text, state);
    snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", state);
    return err->rc;
}

static enum hl_rc finish(
    PGconn *pg, const char *what, PGresult *res, PGresult **out, struct hl_err *err)
{
    enum hl_rc rc = HL_OK;
    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY: break;
    default: rc = failed(pg, res, what, err);
    }
    if (rc == HL_OK && out)
        *out = res;
    else
        PQclear(res);
    return rc;
}

enum hl_rc pgsync_query(
    PGconn *pg, const char *what, const char *sql, PGresult **out, struct hl_err *err)
{
    return finish(pg, what, PQexec(pg, sql), out, err);
}

enum hl_rc pgsync_params(PGconn *pg, const char *what, const char *sql, const char *const *values,
    int n, struct hl_err *err)
{
    return finish(pg, what, PQexecParams(pg, sql, n, NULL, values, NULL, NULL, 0), NULL, err);
}

enum hl_rc pgsync_bool(PGconn *pg, const char *what, const char *sql, bool *yes, struct hl_err *err)
{
    PGresult *res;
    enum hl_rc rc = pgsync_query(pg, what, sql, &res, err);
    if (rc != HL_OK)
        return rc;
    *yes = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return HL_OK;
}
