/* adopt: see adopt.h. Owns the columns that a database must have, the revisions of the replaced
 * service and the adoption steps. Everything is found by what it is, not by its name: the replaced
 * service makes its tables in two ways (reference contract sections 3.1 and 3.4) that differ in the
 * names of indexes and constraints. */
#include "domain/adopt.h"

#include <stdio.h>
#include <string.h>

#include "domain/pgsync.h"

/* --- what sql/001 asks for ---------------------------------------------------------------- */

/* clang-format off */
#define COLUMNS                                                                                    \
    "('change_events', 'id int4, watch_id varchar 255, watch_url text, detected_at timestamptz,"   \
    " diff_summary text, snapshot_url text, rescrape_job_id varchar 255,"                          \
    " rescrape_status varchar 50, indexed_at timestamptz, metadata jsonb,"                         \
    " created_at timestamptz'),"                                                                   \
    "('crawl_sessions', 'id uuid, job_id varchar 255, base_url varchar 500,"                       \
    " started_at timestamptz, completed_at timestamptz, status varchar 50, success bool,"          \
    " total_pages int4, pages_indexed int4, pages_failed int4, total_chunking_ms float8,"          \
    " total_embedding_ms float8, total_qdrant_ms float8, total_bm25_ms float8,"                    \
    " duration_ms float8, initiated_at timestamptz, e2e_duration_ms float8,"                       \
    " extra_metadata jsonb, error_message text, created_at timestamptz,"                           \
    " operation_type varchar 50, total_urls int4, completed_urls int4, failed_urls int4,"          \
    " auto_index bool, expires_at timestamptz, updated_at timestamptz'),"                          \
    "('scraped_content', 'id int8, crawl_session_id varchar 255, url text, source_url text,"       \
    " content_source varchar 50, markdown text, html text, links jsonb, screenshot text,"          \
    " metadata jsonb, content_hash varchar 64, scraped_at timestamptz, created_at timestamptz,"    \
    " updated_at timestamptz'),"                                                                   \
    "('request_metrics', 'id uuid, timestamp timestamptz, method varchar 10, path varchar 500,"    \
    " status_code int4, duration_ms float8, request_id varchar 100, client_ip varchar 50,"         \
    " user_agent varchar 500, extra_metadata jsonb, created_at timestamptz'),"                     \
    "('operation_metrics', 'id uuid, timestamp timestamptz, operation_type varchar 50,"            \
    " operation_name varchar 100, duration_ms float8, success bool, error_message text,"           \
    " request_id varchar 100, job_id varchar 100, document_url varchar 500,"                       \
    " extra_metadata jsonb, created_at timestamptz, crawl_id varchar 255')"

/* The defaults that inserts of ours and of the replaced service rely on. */
#define DEFAULTS                                                                                   \
    "('change_events', 'detected_at', 'now()'), ('change_events', 'created_at', 'now()'),"         \
    "('crawl_sessions', 'status', '''in_progress'''), ('crawl_sessions', 'total_pages', '0'),"     \
    "('crawl_sessions', 'pages_indexed', '0'), ('crawl_sessions', 'pages_failed', '0'),"           \
    "('crawl_sessions', 'total_chunking_ms', '''0'''),"                                            \
    "('crawl_sessions', 'total_embedding_ms', '''0'''),"                                           \
    "('crawl_sessions', 'total_qdrant_ms', '''0'''),"                                              \
    "('crawl_sessions', 'total_bm25_ms', '''0'''), ('crawl_sessions', 'created_at', 'now()'),"     \
    "('crawl_sessions', 'total_urls', '0'), ('crawl_sessions', 'completed_urls', '0'),"            \
    "('crawl_sessions', 'failed_urls', '0'), ('crawl_sessions', 'auto_index', 'true'),"            \
    "('crawl_sessions', 'updated_at', 'now()'), ('scraped_content', 'metadata', '''{}'''),"        \
    "('scraped_content', 'scraped_at', 'now()'), ('scraped_content', 'created_at', 'now()'),"      \
    "('scraped_content', 'updated_at', 'now()')"

/* What sql/002 makes: found before it ran, it is somebody else's. */
#define OUR_RELATIONS "('scrape_clock'), ('workers'), ('documents')"
#define OUR_COLUMNS                                                                                \
    "'event_id', 'body_digest', 'url_key', 'accept_seq', 'claim_epoch', 'claimed_by',"             \
    " 'claimed_at', 'scrape_seq', 'starts', 'attempts', 'suspect', 'next_attempt_at',"             \
    " 'finished_at'"
/* clang-format on */

/* The first thing that does not fit: its name and the fault. Wider types are fine. */
static const char misfit_sql[] =
    "WITH want AS ("
    "  SELECT tab, split_part(c, ' ', 1) AS col, split_part(c, ' ', 2) AS type,"
    "    nullif(split_part(c, ' ', 3), '')::int AS len"
    "  FROM (VALUES " COLUMNS ") AS v (tab, cols), regexp_split_to_table(cols, ', *') AS c"
    "), have AS ("
    "  SELECT c.relname AS tab, a.attname AS col, t.typname AS type, a.atttypmod AS typmod,"
    "    format_type(a.atttypid, a.atttypmod) AS shown, a.attnotnull AND NOT a.atthasdef"
    "      AND a.attidentity = '' AS demands"
    "  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = atttypid"
    "  WHERE c.relnamespace = to_regnamespace('webhook') AND c.relkind IN ('r', 'p')"
    "    AND a.attnum > 0 AND NOT a.attisdropped"
    "), fault AS ("
    "  SELECT 1 AS rank, tab AS thing, 'the table is missing' AS fault FROM want"
    "  WHERE tab <> 'scraped_content' AND tab NOT IN (SELECT tab FROM have)"
    " UNION ALL"
    "  SELECT 2, w.tab || '.' || w.col, 'the column is missing' FROM want w"
    "  LEFT JOIN have h USING (tab, col)"
    "  WHERE h.tab IS NULL AND w.tab IN (SELECT tab FROM have)"
    " UNION ALL"
    "  SELECT 3, w.tab || '.' || w.col, format('the type is %s instead of %s', h.shown,"
    "    w.type || coalesce('(' || w.len || ')', ''))"
    "  FROM want w JOIN have h USING (tab, col)"
    "  WHERE NOT (h.type = w.type OR (w.type, h.type::text) IN (('int4', 'int8'),"
    "      ('varchar', 'text')))"
    "    OR (h.type = 'varchar' AND h.typmod <> -1 AND h.typmod - 4 < w.len)"
    " UNION ALL"
    "  SELECT 4, tab || '.' || col, 'NOT NULL without a default, so that new events would fail'"
    "  FROM have WHERE tab = 'change_events' AND demands"
    "    AND col NOT IN ('watch_id', 'watch_url', 'detected_at', 'created_at')"
    " UNION ALL"
    "  SELECT 5, tab || '.' || col, 'the column has a name that Hookline needs' FROM have"
    "  WHERE tab = 'change_events' AND col IN (" OUR_COLUMNS ")"
    " UNION ALL"
    "  SELECT 5, name, 'it has a name that Hookline needs' FROM (VALUES " OUR_RELATIONS ") v (name)"
    "  WHERE to_regclass('webhook.' || name) IS NOT NULL"
    " UNION ALL" /* the target of a foreign key of scraped_content */
    "  SELECT 6, 'crawl_sessions.job_id', 'there is no unique constraint on it'"
    "  WHERE to_regclass('webhook.scraped_content') IS NULL AND NOT EXISTS ("
    "    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
    "    WHERE i.indrelid = to_regclass('webhook.crawl_sessions') AND a.attname = 'job_id'"
    "      AND i.indkey::text = a.attnum::text AND i.indisunique AND i.indisvalid"
    "      AND i.indimmediate AND i.indpred IS NULL)"
    ") SELECT thing, fault FROM fault ORDER BY rank, thing LIMIT 1";

/* --- revisions ---------------------------------------------------------------------------- */

#define HEAD "04f2514440fd"

/* Oldest first (reference contract section 3.2). */
static const struct {
    const char *id;
    bool adoptable;
} revisions[] = {
    {"57f2f0e22bad",    false},
    {"20251109_100516", false},
    {"20251110_000000", false},
    {"20251113_add_fk", false},
    {"d4a3f655d912",    false},
    {"3a4d9b64ac20",    false},
    {"376d1cbc1ea8",    false},
    {"413191e2eb2c",    true },
    {HEAD,              true },
};
#define N_REVISIONS ((int)(sizeof(revisions) / sizeof(revisions[0])))

static const char tables_sql[] =
    "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('webhook')"
    " AND relname IN ('change_events', 'crawl_sessions', 'operation_metrics', 'request_metrics',"
    "   'scraped_content'))";

/* The query that lists the rows of every alembic_version: the service puts its own into the first
 * schema of its search path, and other programs may have theirs. */
static const char revisions_sql[] =
    "SELECT coalesce(string_agg(format('SELECT version_num::text FROM %s', c.oid::regclass),"
    "   ' UNION ALL '), 'SELECT NULL WHERE false')"
    " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relname = 'alembic_version' AND c.relkind = 'r' AND a.attname = 'version_num'"
    "   AND has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";

static int rank_of(const char *id)
{
    for (int i = 0; i < N_REVISIONS; i++)
        if (strcmp(revisions[i].id, id) == 0)
            return i;
    return N_REVISIONS;
}

/* *rank: the oldest revision of the service's own that is recorded; N_REVISIONS when there is none,
 * and then `other` (caller's, size bytes) is one of somebody else's, or empty. */
static enum hl_rc read_revision(PGconn *pg, int *rank, char *other, size_t size, struct hl_err *err)
{
    PGresult *list, *rows;
    enum hl_rc rc = pgsync_query(pg, "look for alembic_version", revisions_sql, &list, err);
    if (rc != HL_OK)
        return rc;
    rc = pgsync_query(pg, "read alembic_version", PQgetvalue(list, 0, 0), &rows, err);
    PQclear(list);
    if (rc != HL_OK)
        return rc;
    *rank = N_REVISIONS;
    *other = '\0';
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *id = PQgetvalue(rows, i, 0);
        if (rank_of(id) < *rank)
            *rank = rank_of(id);
        if (rank_of(id) == N_REVISIONS)
            snprintf(other, size, "%s", id);
    }
    PQclear(rows);
    return HL_OK;
}

static void describe(struct adoption *a, int rank, const char *other)
{
    if (rank < N_REVISIONS)
        snprintf(a->found, sizeof(a->found), "a database of the replaced service at revision %s",
            revisions[rank].id);
    else if (!*other)
        snprintf(a->found, sizeof(a->found),
            "a database of the replaced service, made from its models (no alembic_version)");
    else
        snprintf(a->found, sizeof(a->found),
            "tables of the replaced service; alembic_version has revision %.40s, which is not its "
            "own",
            other);
}

/* --- steps -------------------------------------------------------------------------------- */

#define MISSING_DEFAULTS(table)                                                                    \
    " FROM (VALUES " DEFAULTS ") AS w (tab, col, def) JOIN pg_attribute a"                         \
    " ON a.attrelid = to_regclass('webhook." table "') AND a.attname = w.col"                      \
    " WHERE w.tab = '" table "' AND NOT a.atthasdef"

/* Only the catalog changes: rows that are there keep their values. */
#define DEFAULTS_STEP(table)                                                                       \
    {                                                                                              \
        .name = "defaults of " table,                                                              \
        .needed = "SELECT EXISTS (SELECT" MISSING_DEFAULTS(table) ")",                             \
        .locks = "ACCESS EXCLUSIVE on " table, .writers = "wait for moments",                      \
        .sql = "DO $$ DECLARE missing record; BEGIN FOR missing IN SELECT w.*" MISSING_DEFAULTS(   \
            table) " LOOP EXECUTE format('ALTER TABLE webhook.%I ALTER COLUMN %I SET DEFAULT %s'," \
                   " missing.tab, missing.col, missing.def); END LOOP; END $$",                    \
    }

/* Metrics arrive out of order: a key would drop those whose partner is late or lost (sql/001). */
#define METRICS_KEYS                                                                               \
    " FROM pg_constraint WHERE contype = 'f'"                                                      \
    " AND conrelid = to_regclass('webhook.operation_metrics')"                                     \
    " AND confrelid IN (to_regclass('webhook.request_metrics'),"                                   \
    "   to_regclass('webhook.crawl_sessions'))"

const struct adopt_step adopt_steps[ADOPT_STEPS] = {
    {
     .name = "table scraped_content",
     .needed = "SELECT to_regclass('webhook.scraped_content') IS NULL",
     .locks = "SHARE ROW EXCLUSIVE on crawl_sessions",
     .writers = "wait for moments",
     .sql =
            "CREATE TABLE IF NOT EXISTS webhook.scraped_content ("
            " id bigserial,"
            " crawl_session_id varchar(255) NOT NULL,"
            " url text NOT NULL,"
            " source_url text,"
            " content_source varchar(50) NOT NULL,"
            " markdown text,"
            " html text,"
            " links jsonb,"
            " screenshot text,"
            " metadata jsonb NOT NULL DEFAULT '{}',"
            " content_hash varchar(64) NOT NULL,"
            " scraped_at timestamptz NOT NULL DEFAULT now(),"
            " created_at timestamptz NOT NULL DEFAULT now(),"
            " updated_at timestamptz NOT NULL DEFAULT now(),"
            " CONSTRAINT scraped_content_pkey PRIMARY KEY (id),"
            " CONSTRAINT uq_content_per_session_url UNIQUE (crawl_session_id, url, content_hash),"
            " CONSTRAINT fk_scraped_content_crawl_session FOREIGN KEY (crawl_session_id)"
            "  REFERENCES webhook.crawl_sessions (job_id) ON DELETE CASCADE);"
            "CREATE INDEX IF NOT EXISTS idx_scraped_content_url"
            " ON webhook.scraped_content (url);"
            "CREATE INDEX IF NOT EXISTS idx_scraped_content_session"
            " ON webhook.scraped_content (crawl_session_id);"
            "CREATE INDEX IF NOT EXISTS idx_scraped_content_hash"
            " ON webhook.scraped_content (content_hash);"
            "CREATE INDEX IF NOT EXISTS idx_scraped_content_created"
            " ON webhook.scraped_content (created_at);"
            "CREATE INDEX IF NOT EXISTS idx_scraped_content_url_created"
            " ON webhook.scraped_content (url, created_at DESC)", },
    {
     .name = "metrics without foreign keys",
     .needed = "SELECT EXISTS (SELECT" METRICS_KEYS ")",
     .locks = "ACCESS EXCLUSIVE on operation_metrics, request_metrics, crawl_sessions",
     .writers = "wait for moments",
     .sql = "DO $$ DECLARE key name; BEGIN FOR key IN SELECT conname" METRICS_KEYS
               " LOOP EXECUTE format('ALTER TABLE webhook.operation_metrics DROP CONSTRAINT %I',"
               " key); END LOOP; END $$", },
    DEFAULTS_STEP("change_events"),
    DEFAULTS_STEP("crawl_sessions"),
    DEFAULTS_STEP("scraped_content"),
};

/* --- inspection --------------------------------------------------------------------------- */

static enum hl_rc refuse_misfits(PGconn *pg, struct hl_err *err)
{
    PGresult *res;
    enum hl_rc rc = pgsync_query(pg, "compare the existing tables", misfit_sql, &res, err);
    if (rc != HL_OK)
        return rc;
    if (PQntuples(res))
        rc = hl_fail(err, HL_FATAL,
            "existing database cannot be adopted: webhook.%s: %s; mend that, or use another "
            "database; nothing was changed",
            PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1));
    PQclear(res);
    return rc;
}

static enum hl_rc find_steps(PGconn *pg, struct adoption *a, struct hl_err *err)
{
    enum hl_rc rc = HL_OK;
    for (int i = 0; rc == HL_OK && i < ADOPT_STEPS; i++)
        rc = pgsync_bool(pg, adopt_steps[i].name, adopt_steps[i].needed, &a->todo[i], err);
    return rc;
}

enum hl_rc adopt_inspect(PGconn *pg, struct adoption *a, struct hl_err *err)
{
    int rank = N_REVISIONS;
    char other[64];
    bool tables = false;

    memset(a, 0, sizeof(*a));
    enum hl_rc rc = pgsync_bool(pg, "look for existing tables", tables_sql, &tables, err);
    if (rc == HL_OK)
        rc = read_revision(pg, &rank, other, sizeof(other), err);
    if (rc != HL_OK)
        return rc;
    a->needed = tables || rank < N_REVISIONS;
    if (!a->needed)
        return HL_OK;
    describe(a, rank, other);
    if (rank < N_REVISIONS && !revisions[rank].adoptable)
        return hl_fail(err, HL_FATAL,
            "the replaced service's database is at revision %s; bring it to " HEAD
            " with its own `alembic upgrade " HEAD "`, then run migrate again; nothing was changed",
            revisions[rank].id);
    rc = refuse_misfits(pg, err);
    return rc == HL_OK ? find_steps(pg, a, err) : rc;
}
