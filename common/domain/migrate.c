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
#include "domain/adopt.h"
#include "domain/pgsync.h"

#define OLDEST_SERVER   130000
#define LOCK_POLL_MS    200
#define TABLE_WAIT_MS   3000
#define CONNECT_SECONDS "10"
#define ADOPTED_VERSION 1 /* sql/001, whose tables an adopted database has already */

/* Key of the session advisory lock, "hookline" in ASCII. Locks of this kind are per database. */
#define LOCK_KEY "7525356009530420837"

struct run {
    PGconn *pg;
    enum migrate_mode mode;
    int64_t deadline; /* clock_mono_ms() */
    struct buf *out;
    struct hl_err *err; /* never NULL */
    bool has_table;     /* webhook.schema_migrations exists */
    struct adoption adoption;
};

int migrate_latest(void)
{
    int latest = 0;
    for (const struct migration *m = migrations; m->version; m++)
        latest = m->version;
    return latest;
}

/* --- what a migration means for others ---------------------------------------------------- */

/* For the plan. Kept beside the files, not in them: an applied file is never edited. */
/* clang-format off */
static const struct migrate_locks locks[] = {
    {1, "none", "go on"},
    {2, "ACCESS EXCLUSIVE on change_events", "wait for moments"},
    {3, "SHARE UPDATE EXCLUSIVE on change_events",
     "go on while the indexes are built (they wait for moments while an invalid index"
     " of an interrupted run is dropped)"},
    {4, "SHARE UPDATE EXCLUSIVE on change_events, documents; where the metrics tables are "
        "partitioned, ACCESS EXCLUSIVE on request_metrics, operation_metrics",
     "go on; those of the metrics tables wait for moments"},
    {5, "SHARE UPDATE EXCLUSIVE on change_events",
     "go on while the index is built (they wait for moments while an invalid index"
     " of an interrupted run is dropped)"},
    {6, "none", "go on"},
    {7, "SHARE UPDATE EXCLUSIVE on change_events",
     "go on while the index is built (they wait for moments while an invalid index"
     " of an interrupted run is dropped)"},
    {8, "SHARE UPDATE EXCLUSIVE on change_events, ACCESS EXCLUSIVE on queues",
     "go on while the index is built (they wait for moments while an invalid index"
     " of an interrupted run is dropped)"},
    {9, "SHARE on worker_crashes", "go on"},
    {10, "ACCESS EXCLUSIVE on change_events", "wait for moments"},
    {11, "ACCESS EXCLUSIVE on crawl_sessions", "wait for moments; those of change_events go on"},
    {12, "none", "go on"},
    {13, "ACCESS EXCLUSIVE on queues, workers", "wait for moments"},
    {14, "none", "go on"},
    {15, "SHARE UPDATE EXCLUSIVE on change_events",
     "go on while the index is built (they wait for moments while an invalid index"
     " of an interrupted run is dropped)"},
};
/* clang-format on */

const struct migrate_locks *migrate_locks(int version)
{
    for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++)
        if (locks[i].version == version)
            return &locks[i];
    return NULL;
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

static enum hl_rc query(struct run *r, const char *what, const char *sql, PGresult **out)
{
    return pgsync_query(r->pg, what, sql, out, r->err);
}

static enum hl_rc query_bool(struct run *r, const char *what, const char *sql, bool *yes)
{
    return pgsync_bool(r->pg, what, sql, yes, r->err);
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

/* *applied (caller clears) has the columns version, name, checksum, time; no rows when the table is
 * missing. */
static enum hl_rc read_applied(struct run *r, PGresult **applied)
{
    enum hl_rc rc = query_bool(r, "look for webhook.schema_migrations",
        "SELECT to_regclass('webhook.schema_migrations') IS NOT NULL", &r->has_table);
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

static void describe_locks(struct run *r, const char *what, const char *writers)
{
    if (r->mode == MIGRATE_DRY_RUN)
        buf_printf(r->out, "    locks: %s; writers %s\n", what, writers);
}

static void describe_adoption(struct run *r)
{
    const struct adoption *a = &r->adoption;
    if (!a->needed)
        return;
    buf_printf(r->out, "found: %s\n", a->found);
    for (int i = 0; i < ADOPT_STEPS; i++) {
        if (!a->todo[i])
            continue;
        buf_printf(r->out, "adopt: %-29s %s\n", adopt_steps[i].name,
            r->mode == MIGRATE_DRY_RUN ? "would be done" : "pending");
        describe_locks(r, adopt_steps[i].locks, adopt_steps[i].writers);
    }
}

static void describe_pending(struct run *r, const struct migration *m)
{
    const struct migrate_locks *l = migrate_locks(m->version);
    bool recorded = r->adoption.needed && m->version == ADOPTED_VERSION;
    const char *would = recorded ? "would be recorded as applied" : "would be applied";

    buf_printf(r->out, "%-36s %s\n", m->name, r->mode == MIGRATE_DRY_RUN ? would : "pending");
    if (recorded)
        describe_locks(r, "none", "go on");
    else if (l)
        describe_locks(r, l->locks, l->writers);
    else
        describe_locks(r, "not known", "may have to wait");
}

static void describe(struct run *r, const PGresult *applied)
{
    describe_adoption(r);
    for (const struct migration *m = migrations; m->version; m++) {
        int row = row_of(applied, m->version);
        if (row >= 0)
            buf_printf(r->out, "%-36s applied %s\n", m->name, PQgetvalue(applied, row, 3));
        else
            describe_pending(r, m);
    }
}

/* --- applying ---------------------------------------------------------------------------- */

static const char own_table_sql[] =
    "DO $$ BEGIN IF to_regnamespace('webhook') IS NULL THEN CREATE SCHEMA webhook; END IF; END $$;"
    "CREATE TABLE IF NOT EXISTS webhook.schema_migrations ("
    " version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT now())";

/* One thing to do, with its line in the output: a migration or a step of an adoption. */
struct work {
    const char *name;
    const char *sql;
    const char *done;          /* said of it afterwards */
    const struct migration *m; /* recorded as applied; NULL = nothing to record */
    bool piecewise;
};

static enum hl_rc record(struct run *r, const struct migration *m)
{
    char version[16], sum[DIGEST_HEXLEN + 1];
    if (!m)
        return HL_OK;
    snprintf(version, sizeof(version), "%d", m->version);
    checksum(m, sum);
    const char *const values[] = {version, m->name, sum};
    return pgsync_params(r->pg, m->name,
        "INSERT INTO webhook.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        values, 3, r->err);
}

static enum hl_rc limit_lock_wait(struct run *r, int64_t ms, const char *scope)
{
    char sql[64];
    snprintf(sql, sizeof(sql), "SET %s lock_timeout = %lld", scope, (long long)ms);
    return query(r, "limit the wait for locks", sql, NULL);
}

/* While a DDL statement waits for its lock, everybody else waits behind it: hence a short limit. */
static enum hl_rc apply_whole(struct run *r, const struct work *w)
{
    enum hl_rc rc = query(r, w->name, "BEGIN", NULL);
    if (rc == HL_OK)
        rc = limit_lock_wait(r, TABLE_WAIT_MS, "LOCAL");
    if (rc == HL_OK)
        rc = query(r, w->name, w->sql, NULL);
    if (rc == HL_OK)
        rc = record(r, w->m);
    if (rc == HL_OK)
        return query(r, w->name, "COMMIT", NULL);
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
static enum hl_rc apply_pieces(struct run *r, const struct work *w)
{
    int64_t wait_ms = left_ms(r) > TABLE_WAIT_MS ? left_ms(r) : TABLE_WAIT_MS;
    enum hl_rc rc = limit_lock_wait(r, wait_ms, "SESSION");
    for (const char *p = w->sql; rc == HL_OK && *p; p += statement_len(p)) {
        char *one = mem_strndup(p, statement_len(p));
        rc = query(r, w->name, one, NULL);
        free(one);
    }
    return rc == HL_OK ? record(r, w->m) : rc;
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

static enum hl_rc apply(struct run *r, const struct work *w)
{
    for (;;) {
        int64_t start = clock_mono_ms();
        enum hl_rc rc = w->piecewise ? apply_pieces(r, w) : apply_whole(r, w);
        if (rc == HL_OK) {
            buf_printf(r->out, "%-36s %s now, in %lld ms\n", w->name, w->done,
                (long long)(clock_mono_ms() - start));
            return HL_OK;
        }
        if (!table_was_busy(r->err))
            return rc;
        if (left_ms(r) == 0)
            return hl_fail_why(r->err, HL_RETRY, HL_WHY_TIMEOUT,
                "%s: a table it changes is busy, another session holds a lock on it; end long "
                "transactions (see pg_locks) or try again later",
                w->name);
        pause_ms(left_ms(r) < LOCK_POLL_MS ? left_ms(r) : LOCK_POLL_MS);
    }
}

/* In place of sql/001. Our table comes last: until it is there, an interrupted adoption is found
 * and gone on with by the next run. */
static enum hl_rc carry_out_adoption(struct run *r)
{
    enum hl_rc rc = HL_OK;
    buf_printf(r->out, "found: %s\n", r->adoption.found);
    for (int i = 0; rc == HL_OK && i < ADOPT_STEPS; i++) {
        const struct adopt_step *s = &adopt_steps[i];
        struct work w = {.name = s->name, .sql = s->sql, .done = "done"};
        if (r->adoption.todo[i])
            rc = apply(r, &w);
    }
    if (rc != HL_OK)
        return rc;
    const struct migration *m = find(ADOPTED_VERSION);
    struct work last = {.name = m->name, .sql = own_table_sql, .done = "recorded", .m = m};
    return apply(r, &last);
}

static enum hl_rc apply_pending(struct run *r, const PGresult *applied)
{
    enum hl_rc rc = HL_OK;
    if (r->adoption.needed)
        rc = carry_out_adoption(r);
    else if (!r->has_table)
        rc = query(r, "create webhook.schema_migrations", own_table_sql, NULL);
    for (const struct migration *m = migrations; rc == HL_OK && m->version; m++) {
        int row = row_of(applied, m->version);
        struct work w = {.name = m->name,
            .sql = m->sql,
            .done = "applied",
            .m = m,
            .piecewise = is_piecewise(m)};
        if (row >= 0)
            buf_printf(r->out, "%-36s applied %s\n", m->name, PQgetvalue(applied, row, 3));
        else if (!r->adoption.needed || m->version != ADOPTED_VERSION)
            rc = apply(r, &w);
    }
    return rc;
}

static enum hl_rc carry_out(struct run *r)
{
    PGresult *applied;
    enum hl_rc rc = read_applied(r, &applied);
    if (rc != HL_OK)
        return rc;
    if (row_of(applied, ADOPTED_VERSION) < 0)
        rc = adopt_inspect(r->pg, &r->adoption, r->err);
    if (r->mode == MIGRATE_STATUS) /* shown even when it turns out to be refused */
        describe(r, applied);
    if (rc == HL_OK)
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
