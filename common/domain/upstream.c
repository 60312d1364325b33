/* upstream: see upstream.h. First transaction: what is there, from the catalog. Second: the jobs,
 * by a SELECT made of that. Names from the catalog enter it as the server quoted them. */
#include "domain/upstream.h"

#include "base/mem.h"
#include "base/pgarray.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE   "queue_scrape"
#define BACKLOG "queue_scrape_backlog" /* waits for its turn in QUEUE; not in every release */

/* Pages' addresses and errors are somebody else's text: they are cut to what a cell may hold. */
#define CUT(sql)  "left(" sql ", 2000)"
#define DATA(key) CUT("t.data->>'" key "'")

/* For the transaction only. Without a search path nobody's functions or operators stand in for
 * those of the system. */
static const struct db_stmt stmt_read_only = {"upstream_read_only",
    "SELECT pg_catalog.set_config('transaction_read_only', 'on', true),"
    "  pg_catalog.set_config('search_path', 'pg_catalog', true)",
    0};

/* One row per table there is, those of the schema asked for first come first; QUEUE sorts before
 * BACKLOG. Only columns known here are named, data only when it is what it was. */
enum { TABLE_SCHEMA, TABLE_SCHEMA_SQL, TABLE_NAME, TABLE_SQL, TABLE_READABLE, TABLE_COLUMNS, ROLE };
static const struct db_stmt stmt_tables = {"upstream_tables",
    "SELECT n.nspname, format('%I', n.nspname), c.relname, format('%I.%I', n.nspname, c.relname),"
    "  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),"
    "  (SELECT string_agg(a.attname, ' ') FROM pg_attribute a"
    "   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "     AND a.attname IN ('id', 'status', 'data', 'created_at', 'finished_at', 'failedreason',"
    "       'group_id')"
    "     AND (a.attname <> 'data' OR a.atttypid = 'jsonb'::regtype)),"
    "  format('%I', current_user)"
    " FROM unnest($1::text[]) WITH ORDINALITY AS s (name, n)"
    " JOIN pg_namespace n ON n.nspname::text = s.name"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname IN ('" QUEUE "', '" BACKLOG "')"
    "   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    " ORDER BY s.n, c.relname",
    1};

struct look {
    struct dbpool *pool;
    struct upstream_list *list;
    struct buf schemas; /* array, the parameter of stmt_tables */
    struct buf sql;
    struct db_stmt jobs;
    char limit[16];
    const char *values[2];
    char *found;
};

static void finish(struct look *k, enum hl_rc rc, const struct hl_err *err)
{
    k->list->done(k->list, rc, err);
    buf_release(&k->schemas);
    buf_release(&k->sql);
    free(k->found);
    free(k);
}

/* Runs one statement behind stmt_read_only, in the same transaction. */
static void ask(struct look *k, const struct db_stmt *stmt, db_cb *cb)
{
    const struct db_call calls[] = {
        {&stmt_read_only, NULL     },
        {stmt,            k->values}
    };
    dbpool_exec(k->pool, calls, 2, k->list->timeout_ms, cb, k);
}

/* --- the statement ----------------------------------------------------------------------- */

static bool has_column(const char *columns, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = columns; (p = strstr(p, name)); p += n)
        if ((p == columns || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static void put_column(struct buf *b, const char *columns, const char *column, const char *sql,
    const char *otherwise, const char *as)
{
    buf_printf(b, "%s AS %s, ", has_column(columns, column) ? sql : otherwise, as);
}

/* SELECT of one table with columns of the same names and types, whatever the table has. */
static void put_jobs(struct buf *b, const char *table, const char *columns, const char *status)
{
    buf_puts(b, "SELECT ");
    put_column(b, columns, "id", "t.id::text", "NULL::text", "id");
    put_column(b, columns, "status", "t.status::text", status, "status");
    buf_puts(b, has_column(columns, "group_id") ? "coalesce(t.group_id::text, " : "(");
    put_column(b, columns, "data", DATA("crawl_id") ")", "NULL::text)", "crawl");
    put_column(b, columns, "data", DATA("mode"), "NULL::text", "mode");
    put_column(b, columns, "data", DATA("url"), "NULL::text", "url");
    put_column(b, columns, "finished_at", "t.finished_at::text", "NULL::text", "finished");
    put_column(b, columns, "failedreason", CUT("t.failedreason::text"), "NULL::text", "error");
    buf_printf(b, "%s::timestamptz AS made FROM %s t",
        has_column(columns, "created_at") ? "t.created_at" : "NULL", table);
}

static void put_newest(struct buf *b, const PGresult *tables, int row, const char *status)
{
    buf_puts(b, "(SELECT * FROM (");
    put_jobs(b, db_text(tables, row, TABLE_SQL), db_text(tables, row, TABLE_COLUMNS), status);
    buf_puts(b, ") q WHERE $1::text IS NULL OR q.status = $1"
                " ORDER BY q.made DESC LIMIT $2::integer)");
}

static void put_statuses(struct buf *b, const PGresult *tables, int row, const char *status)
{
    buf_puts(b, "(SELECT q.status FROM (");
    put_jobs(b, db_text(tables, row, TABLE_SQL), db_text(tables, row, TABLE_COLUMNS), status);
    buf_printf(b, ") q LIMIT %d)", UPSTREAM_COUNTED);
}

typedef void put_fn(struct buf *b, const PGresult *tables, int row, const char *status);

static void put_tables(struct buf *b, const PGresult *tables, int first, int n, put_fn *put)
{
    put(b, tables, first, "'unknown'");
    if (n > 1) {
        buf_puts(b, " UNION ALL ");
        put(b, tables, first + 1, "'backlog'");
    }
}

static void make_statement(struct look *k, const PGresult *tables, int first, int n)
{
    struct buf *b = &k->sql;
    buf_puts(b, "WITH job AS (SELECT * FROM (");
    put_tables(b, tables, first, n, put_newest);
    buf_puts(b, ") j ORDER BY made DESC, id LIMIT $2::integer), seen AS (SELECT status FROM (");
    put_tables(b, tables, first, n, put_statuses);
    buf_printf(b,
        ") s LIMIT %d), part AS ("
        "  SELECT 'job' AS part, row_number() OVER (ORDER BY made DESC, id) AS n, job.* FROM job"
        "  UNION ALL SELECT 'count', row_number() OVER (ORDER BY status), count(*)::text, status,"
        "    NULL, NULL, NULL, NULL, NULL, NULL FROM seen GROUP BY status)"
        " SELECT part, id, status, crawl, mode, url, made::text, finished, error FROM part"
        " ORDER BY part DESC, n",
        UPSTREAM_COUNTED);
    k->jobs = (struct db_stmt){"upstream_jobs", buf_str(b), 2};
}

/* --- steps ------------------------------------------------------------------------------- */

static void got_jobs(const struct db_result *res, void *ctx)
{
    struct look *k = ctx;
    k->list->found = k->found;
    k->list->rows = res->pg;
    finish(k, res->rc, res->err);
}

static void explain(struct look *k, enum upstream_place place, struct buf *text)
{
    k->list->place = place;
    k->list->explained = buf_str(text);
    finish(k, HL_OK, NULL);
    buf_release(text);
}

static void explain_missing(struct look *k)
{
    const char *schema = k->list->schema;
    struct buf text = {0};
    buf_puts(&text, "this database has no table " QUEUE " of Firecrawl's; looked in the schema");
    if (schema)
        buf_printf(&text, " \"%s\" (WEBHOOK_FIRECRAWL_SCHEMA)", schema);
    else
        buf_puts(&text, "s nuq and public; name another with WEBHOOK_FIRECRAWL_SCHEMA");
    if (schema)
        buf_puts(&text, "; name the right one there, or unset it for nuq and public");
    explain(k, UPSTREAM_MISSING, &text);
}

static void explain_forbidden(struct look *k, const PGresult *tables, int first, int n)
{
    const char *role = db_text(tables, first, ROLE), *schema = db_text(tables, first, 1);
    struct buf text = {0};
    buf_printf(&text,
        "role %s may not read Firecrawl's queue in the schema %s; its owner can allow it: "
        "GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON ",
        role, schema, schema, role);
    for (int i = 0; i < n; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", db_text(tables, first + i, TABLE_SQL));
    buf_printf(&text, " TO %s;", role);
    explain(k, UPSTREAM_FORBIDDEN, &text);
}

static bool readable(const PGresult *tables, int first, int n)
{
    for (int i = 0; i < n; i++)
        if (db_text(tables, first + i, TABLE_READABLE)[0] != 't')
            return false;
    return true;
}

/* Row of the first QUEUE, or -1; *n: 2 when its schema has a BACKLOG, in the next row. */
static int find_queue(const PGresult *tables, int *n)
{
    for (int i = 0; i < PQntuples(tables); i++) {
        if (strcmp(db_text(tables, i, TABLE_NAME), QUEUE) != 0)
            continue;
        const char *schema = db_text(tables, i, TABLE_SCHEMA);
        *n = strcmp(db_text(tables, i + 1, TABLE_SCHEMA), schema) == 0 ? 2 : 1;
        return i;
    }
    return -1;
}

static void got_tables(const struct db_result *res, void *ctx)
{
    struct look *k = ctx;
    if (res->rc != HL_OK) {
        finish(k, res->rc, res->err);
        return;
    }
    int n = 0, first = find_queue(res->pg, &n);
    if (first < 0) {
        explain_missing(k);
        return;
    }
    if (!readable(res->pg, first, n)) {
        explain_forbidden(k, res->pg, first, n);
        return;
    }
    make_statement(k, res->pg, first, n);
    k->found = mem_strdup(db_text(res->pg, first, TABLE_SCHEMA));
    snprintf(k->limit, sizeof(k->limit), "%d", k->list->limit);
    k->values[0] = k->list->status;
    k->values[1] = k->limit;
    ask(k, &k->jobs, got_jobs);
}

void upstream_list(struct dbpool *pool, struct upstream_list *list)
{
    struct look *k = mem_new(struct look);
    k->pool = pool;
    k->list = list;
    pgarray_begin(&k->schemas);
    pgarray_text(&k->schemas, list->schema ? list->schema : "nuq");
    if (!list->schema)
        pgarray_text(&k->schemas, "public");
    k->values[0] = pgarray_end(&k->schemas);
    ask(k, &stmt_tables, got_tables);
}
