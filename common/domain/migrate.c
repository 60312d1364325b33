/* migrate: see migrate.h. Owns one synchronous connection per run, the advisory lock, and the table
 * webhook.schema_migrations. A checksum is the SHA-256 of the file, the same that sha256sum shows.
 *
 * A "-- no-transaction" file is cut into statements, because CREATE INDEX CONCURRENTLY refuses to
 * share a query string: a statement ends at a ';' that ends a line outside $$ ... $$. */
#include "domain/migrate.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "io/db.h"

#define OLDEST_SERVER   130000
#define LOCK_POLL_MS    200
#define TABLE_WAIT_MS   3000
#define CONNECT_SECONDS "10"

/* Key of the session advisory lock, "hookline" in ASCII. Locks of this kind are per database. */
#define LOCK_KEY "7525356009530420837"

struct run {
    PGconn *pg;
    enum migrate_mode mode;
    int64_t deadline; /* clock_mono_ms() */
    struct buf *out;
    struct hl_err *err; /* never NULL */
    bool has_table;     /* webhook.schema_migrations exists */
};

int migrate_latest(void)
{
    int latest = 0;
    for (const struct migration *m = migrations; m->version; m++)
        latest = m->version;
    return latest;
}

static const struct migration *find(int version)
{
    for (const struct migration *m = migrations; m->version; m++)
        if (m->version == version)
            return m;
    return NULL;
}

static void checksum(const struct migration *m, char hex[DIGEST_HEXLEN + 1])
{
    uint8_t digest[DIGEST_LEN];
    digest_sha256(m->sql, strlen(m->sql), digest);
    digest_hex(digest, sizeof(digest), hex);
}

static int64_t left_ms(const struct run *r)
{
    int64_t left = r->deadline - clock_mono_ms();
    return left > 0 ? left : 0;
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* --- statements -------------------------------------------------------------------------- */

static enum hl_rc sql_failed(struct run *r, const PGresult *res, const char *what)
{
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    if (PQstatus(r->pg) == CONNECTION_BAD)
        return hl_fail_why(r->err, HL_RETRY, HL_WHY_UNREACHABLE,
            "%s: the connection to PostgreSQL broke; run the migration again, it goes on where it "
            "was",
            what);
    if (!state)
        state = "";
    if (!text)
        text = "no answer that libpq understands";

    enum hl_rc rc = db_classify(state) == HL_RETRY ? HL_RETRY : HL_FATAL;
    if (strcmp(state, "25006") == 0)
        hl_fail_why(r->err, HL_RETRY, HL_WHY_READ_ONLY,
            "%s: this server takes no writes (a standby?); give the URL of the primary", what);
    else if (strcmp(state, "42501") == 0)
        hl_fail_why(r->err, HL_FATAL, HL_WHY_REFUSED,
            "%s: %s; migrate as the owner of schema webhook", what, text);
    else
        hl_fail(r->err, rc, "%s: %s (SQLSTATE %s)", what, text, state);
    snprintf(r->err->sqlstate, sizeof(r->err->sqlstate), "%s", state);
    return r->err->rc;
}

/* Runs one string of SQL; *out (may be NULL) is the result, caller clears it. */
static enum hl_rc query(struct run *r, const char *what, const char *sql, PGresult **out)
{
    PGresult *res = PQexec(r->pg, sql);
    enum hl_rc rc = HL_OK;
    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY: break;
    default: rc = sql_failed(r, res, what);
    }
    if (rc == HL_OK && out)
        *out = res;
    else
        PQclear(res);
    return rc;
}

static enum hl_rc query_bool(struct run *r, const char *what, const char *sql, bool *yes)
{
    PGresult *res;
    enum hl_rc rc = query(r, what, sql, &res);
    if (rc != HL_OK)
        return rc;
    *yes = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return HL_OK;
}

/* --- connecting -------------------------------------------------------------------------- */

static const char *option(const PQconninfoOption *opts, const char *name)
{
    for (const PQconninfoOption *o = opts; o->keyword; o++)
        if (strcmp(o->keyword, name) == 0 && o->val)
            return o->val;
    return "";
}

/* A password with a bare '@', '/' or ':' in it ends up in the host, port or database name, and
 * libpq would print those. Refused here, before any message can hold a piece of it. */
static enum hl_rc check_url(const char *url, struct hl_err *err)
{
    PQconninfoOption *opts = PQconninfoParse(url, NULL);
    bool fine = opts && !strchr(option(opts, "host"), '@') &&
                !strchr(option(opts, "dbname"), '@') &&
                strspn(option(opts, "port"), "0123456789,") == strlen(option(opts, "port"));
    PQconninfoFree(opts);
    if (fine)
        return HL_OK;
    return hl_fail(err, HL_FATAL,
        "the database URL is malformed: expected postgresql://user:password@host:port/database, "
        "with "
        "%%-escapes for special characters in user and password (%%40 for @, %%2F for /)");
}

/* Notices ("already exists, skipping") are the normal case here. */
static void drop_notice(void *ctx, const PGresult *res)
{
    (void)ctx, (void)res;
}

static enum hl_rc connect_failed(struct run *r, const char *const *names, const char *const *values)
{
    const char *text = PQerrorMessage(r->pg);
    bool answered = PQpingParams(names, values, 1) == PQPING_OK;
    return hl_fail_why(r->err, HL_RETRY, answered ? HL_WHY_REFUSED : HL_WHY_UNREACHABLE,
        "PostgreSQL %s: %.*s", answered ? "refused the connection" : "is not reachable",
        (int)strcspn(text, "\n"), text);
}

static enum hl_rc open_connection(struct run *r, const char *url)
{
    /* What the URL says wins: it comes last. A peer that is gone is noticed within a minute. */
    static const char *const names[] = {"connect_timeout", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "fallback_application_name", "dbname", NULL};
    const char *const values[] = {
        CONNECT_SECONDS, "30", "10", "3", "60000", "hookline migrate", url, NULL};
    enum hl_rc rc = check_url(url, r->err);
    if (rc != HL_OK)
        return rc;

    r->pg = PQconnectdbParams(names, values, 1);
    if (PQstatus(r->pg) != CONNECTION_OK)
        return connect_failed(r, names, values);
    PQsetNoticeReceiver(r->pg, drop_notice, NULL);
    if (PQserverVersion(r->pg) < OLDEST_SERVER)
        return hl_fail(r->err, HL_FATAL, "PostgreSQL %d is too old: 13 or later is needed",
            PQserverVersion(r->pg) / 10000);
    return query(r, "set up the session",
        r->mode == MIGRATE_APPLY ? "SET statement_timeout = 0"
                                 : "SET default_transaction_read_only = on",
        NULL);
}

static enum hl_rc take_lock(struct run *r)
{
    for (;;) {
        bool mine = false;
        enum hl_rc rc = query_bool(
            r, "take the migration lock", "SELECT pg_try_advisory_lock(" LOCK_KEY ")", &mine);
        if (rc != HL_OK || mine)
            return rc;
        if (left_ms(r) == 0)
            return hl_fail_why(r->err, HL_RETRY, HL_WHY_TIMEOUT,
                "another migrator is at work on this database; wait for it, or find it in "
                "pg_stat_activity under \"hookline migrate\"");
        pause_ms(left_ms(r) < LOCK_POLL_MS ? left_ms(r) : LOCK_POLL_MS);
    }
}

/* --- what is there ----------------------------------------------------------------------- */

/* Tables that sql/001 would silently take over: without our own table beside them, this is an
 * installation of the reference. */
static enum hl_rc refuse_foreign_tables(struct run *r)
{
    PGresult *res;
    enum hl_rc rc = query(r, "look for existing tables",
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('webhook')"
        " AND relname IN ('change_events', 'crawl_sessions', 'operation_metrics', "
        "'request_metrics',"
        " 'scraped_content') ORDER BY 1 LIMIT 1",
        &res);
    if (rc != HL_OK)
        return rc;
    if (PQntuples(res))
        rc = hl_fail(r->err, HL_FATAL,
            "table webhook.%s exists but webhook.schema_migrations does not: adoption of an "
            "existing "
            "installation is not supported by this version; nothing was changed. Use an empty "
            "database",
            PQgetvalue(res, 0, 0));
    PQclear(res);
    return rc;
}

/* *applied (caller clears) has the columns version, name, checksum, time; no rows when the table is
 * missing. */
static enum hl_rc read_applied(struct run *r, PGresult **applied)
{
    enum hl_rc rc = query_bool(r, "look for webhook.schema_migrations",
        "SELECT to_regclass('webhook.schema_migrations') IS NOT NULL", &r->has_table);
    if (rc == HL_OK && !r->has_table)
        rc = refuse_foreign_tables(r);
    if (rc != HL_OK)
        return rc;
    return query(r, "read webhook.schema_migrations",
        r->has_table ? "SELECT version, name, checksum,"
                       " to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"')"
                       " FROM webhook.schema_migrations ORDER BY version"
                     : "SELECT 0, '', '', '' WHERE false",
        applied);
}

static int row_of(const PGresult *applied, int version)
{
    for (int i = 0; i < PQntuples(applied); i++)
        if (atoi(PQgetvalue(applied, i, 0)) == version)
            return i;
    return -1;
}

/* Every applied migration must be one of ours, unchanged. */
static enum hl_rc check_applied(struct run *r, const PGresult *applied)
{
    for (int i = 0; i < PQntuples(applied); i++) {
        int version = atoi(PQgetvalue(applied, i, 0));
        const char *name = PQgetvalue(applied, i, 1);
        const struct migration *m = find(version);
        if (!m)
            return hl_fail(r->err, HL_FATAL,
                "the database has migration %s (version %d), this program knows up to version %d: "
                "the "
                "database is newer; use the programs of its release",
                name, version, migrate_latest());
        char sum[DIGEST_HEXLEN + 1];
        checksum(m, sum);
        if (strcmp(sum, PQgetvalue(applied, i, 2)) != 0)
            return hl_fail(r->err, HL_FATAL,
                "migration %s was edited after it was applied (checksum differs); restore the file "
                "and "
                "put the change into a new migration",
                m->name);
    }
    return HL_OK;
}

static void describe(struct run *r, const PGresult *applied)
{
    for (const struct migration *m = migrations; m->version; m++) {
        int row = row_of(applied, m->version);
        if (row >= 0)
            buf_printf(r->out, "%-36s applied %s\n", m->name, PQgetvalue(applied, row, 3));
        else
            buf_printf(r->out, "%-36s %s\n", m->name,
                r->mode == MIGRATE_DRY_RUN ? "would be applied" : "pending");
    }
}

/* --- applying ---------------------------------------------------------------------------- */

static enum hl_rc create_own_table(struct run *r)
{
    return query(r, "create webhook.schema_migrations",
        "DO $$ BEGIN IF to_regnamespace('webhook') IS NULL THEN CREATE SCHEMA webhook; END IF; END "
        "$$;"
        "CREATE TABLE IF NOT EXISTS webhook.schema_migrations ("
        " version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())",
        NULL);
}

static enum hl_rc record(struct run *r, const struct migration *m)
{
    char version[16], sum[DIGEST_HEXLEN + 1];
    snprintf(version, sizeof(version), "%d", m->version);
    checksum(m, sum);
    const char *const values[] = {version, m->name, sum};
    PGresult *res = PQexecParams(r->pg,
        "INSERT INTO webhook.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)", 3,
        NULL, values, NULL, NULL, 0);
    enum hl_rc rc = PQresultStatus(res) == PGRES_COMMAND_OK ? HL_OK : sql_failed(r, res, m->name);
    PQclear(res);
    return rc;
}

static enum hl_rc limit_lock_wait(struct run *r, int64_t ms, const char *scope)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "SET %s lock_timeout = %lld", scope, (long long)ms);
    return query(r, "limit the wait for locks", sql, NULL);
}

/* While a DDL statement waits for its lock, everybody else waits behind it: hence a short limit. */
static enum hl_rc apply_whole(struct run *r, const struct migration *m)
{
    enum hl_rc rc = query(r, m->name, "BEGIN", NULL);
    if (rc == HL_OK)
        rc = limit_lock_wait(r, TABLE_WAIT_MS, "LOCAL");
    if (rc == HL_OK)
        rc = query(r, m->name, m->sql, NULL);
    if (rc == HL_OK)
        rc = record(r, m);
    if (rc == HL_OK)
        return query(r, m->name, "COMMIT", NULL);
    PQclear(PQexec(r->pg, "ROLLBACK"));
    return rc;
}

/* Length of the first statement of sql, with its ';' and the line's end. */
static size_t statement_len(const char *sql)
{
    bool quoted = false;
    for (const char *p = sql; *p; p++) {
        if (p[0] == '$' && p[1] == '$') {
            quoted = !quoted;
            p++;
        } else if (p[0] == ';' && p[1] == '\n' && !quoted) {
            return (size_t)(p + 2 - sql);
        }
    }
    return strlen(sql);
}

/* Nobody waits behind a concurrent build, so it may wait as long as the caller does. */
static enum hl_rc apply_pieces(struct run *r, const struct migration *m)
{
    int64_t wait_ms = left_ms(r) > TABLE_WAIT_MS ? left_ms(r) : TABLE_WAIT_MS;
    enum hl_rc rc = limit_lock_wait(r, wait_ms, "SESSION");
    for (const char *p = m->sql; rc == HL_OK && *p; p += statement_len(p)) {
        char *one = mem_strndup(p, statement_len(p));
        rc = query(r, m->name, one, NULL);
        free(one);
    }
    return rc == HL_OK ? record(r, m) : rc;
}

static bool is_piecewise(const struct migration *m)
{
    static const char mark[] = "-- no-transaction\n";
    return strncmp(m->sql, mark, sizeof(mark) - 1) == 0;
}

/* Lock not to be had, or deadlock: somebody uses the table right now. */
static bool table_was_busy(const struct hl_err *err)
{
    return strcmp(err->sqlstate, "55P03") == 0 || strcmp(err->sqlstate, "40P01") == 0;
}

static enum hl_rc apply(struct run *r, const struct migration *m)
{
    for (;;) {
        int64_t start = clock_mono_ms();
        enum hl_rc rc = is_piecewise(m) ? apply_pieces(r, m) : apply_whole(r, m);
        if (rc == HL_OK) {
            buf_printf(r->out, "%-36s applied now, in %lld ms\n", m->name,
                (long long)(clock_mono_ms() - start));
            return HL_OK;
        }
        if (!table_was_busy(r->err))
            return rc;
        if (left_ms(r) == 0)
            return hl_fail_why(r->err, HL_RETRY, HL_WHY_TIMEOUT,
                "%s: a table it changes is busy, another session holds a lock on it; end long "
                "transactions (see pg_locks) or try again later",
                m->name);
        pause_ms(left_ms(r) < LOCK_POLL_MS ? left_ms(r) : LOCK_POLL_MS);
    }
}

static enum hl_rc apply_pending(struct run *r, const PGresult *applied)
{
    enum hl_rc rc = r->has_table ? HL_OK : create_own_table(r);
    for (const struct migration *m = migrations; rc == HL_OK && m->version; m++) {
        int row = row_of(applied, m->version);
        if (row >= 0)
            buf_printf(r->out, "%-36s applied %s\n", m->name, PQgetvalue(applied, row, 3));
        else
            rc = apply(r, m);
    }
    return rc;
}

static enum hl_rc carry_out(struct run *r)
{
    PGresult *applied;
    enum hl_rc rc = read_applied(r, &applied);
    if (rc != HL_OK)
        return rc;
    if (r->mode == MIGRATE_STATUS) /* shown even when it turns out to be refused */
        describe(r, applied);
    rc = check_applied(r, applied);
    if (rc == HL_OK && r->mode == MIGRATE_DRY_RUN)
        describe(r, applied);
    if (rc == HL_OK && r->mode == MIGRATE_APPLY)
        rc = apply_pending(r, applied);
    PQclear(applied);
    return rc;
}

enum hl_rc migrate_run(const char *database_url, enum migrate_mode mode, int64_t wait_ms,
    struct buf *out, struct hl_err *err)
{
    struct hl_err own;
    struct run r = {
        .mode = mode, .deadline = clock_mono_ms() + wait_ms, .out = out, .err = err ? err : &own};
    memset(r.err, 0, sizeof(*r.err));

    enum hl_rc rc = open_connection(&r, database_url);
    if (rc == HL_OK && mode == MIGRATE_APPLY) {
        rc = take_lock(&r);
        if (rc == HL_OK) {
            rc = carry_out(&r);
            /* Ending the session frees the lock too, but not behind a connection pooler. */
            PQclear(PQexec(r.pg, "SELECT pg_advisory_unlock(" LOCK_KEY ")"));
        }
    } else if (rc == HL_OK) {
        rc = carry_out(&r);
    }
    PQfinish(r.pg);
    return rc;
}
