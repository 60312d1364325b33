/* Databases of the replaced service against a real PostgreSQL: adopted without losing a row or
 * rebuilding a table, or refused untouched. tests/support/reference has its tables. */
#include "tests/support/fleet.h"
#include "tests/support/harness.h"

#include "domain/adopt.h"
#include "domain/migrate.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"

#define WAIT_MS 20000

TestSuite(adopt, .timeout = 120);

/* --- databases --------------------------------------------------------------------------- */

static void load_path(const char *url, const char *path, const char *before)
{
    char text[8192];
    FILE *f = fopen(path, "re");
    cr_assert(f, "cannot open %s", path);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    cr_assert_lt(n, sizeof(text) - 1, "%s is too long", path);
    text[n] = '\0';
    fclose(f);
    sql_exec(url, "%s%s", before, text);
}

static void load(const char *url, const char *name, const char *before)
{
    load_path(url, harness_text("tests/support/reference/%s.sql", name), before);
}

static void load_revision(const char *url, int last)
{
    for (int i = 1; i <= last; i++) {
        glob_t found;
        const char *pattern = harness_text("tests/support/reference/%d_*.sql", i);
        cr_assert_eq(glob(pattern, 0, NULL, &found), 0, "%s", pattern);
        load_path(url, found.gl_pathv[0], "");
        globfree(&found);
    }
}

/* The replaced service inserts and updates, 300 rows a table. */
static void original_writes(const char *url, const char *run)
{
    load(url, "write", harness_text("SET test.run = '%s';", run));
}

/* Remembers the tables of now with their columns and files; test.rows() is a checksum of what is in
 * those columns, test.rebuilt() counts files that went or changed, test.held() and test.claimed()
 * show locks on those tables in one form. */
static const char remember[] =
    "CREATE SCHEMA test;"
    "CREATE TABLE test.tables AS SELECT c.oid, string_agg(quote_ident(attname), ',') AS cols"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a"
    "   ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped"
    " WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema', 'test')"
    " GROUP BY 1;"
    "CREATE TABLE test.files AS SELECT c.oid, relfilenode FROM pg_class c JOIN test.tables t"
    " ON t.oid = c.oid OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = t.oid);"
    "CREATE FUNCTION test.rows() RETURNS text LANGUAGE plpgsql AS $$"
    "DECLARE t record; sum text; sums text := ''; BEGIN FOR t IN TABLE test.tables ORDER BY oid"
    " LOOP EXECUTE format('SELECT count(*) || md5(coalesce(string_agg(x::text, ''|'' ORDER BY"
    "   x::text), '''')) FROM (SELECT %s FROM %s) x', t.cols, t.oid::regclass) INTO sum;"
    " sums := sums || t.oid::regclass || ' ' || sum || E'\\n'; END LOOP; RETURN sums; END $$;"
    "CREATE FUNCTION test.rebuilt() RETURNS bigint LANGUAGE sql AS $$"
    "SELECT count(*) FROM test.files f LEFT JOIN pg_class c USING (oid)"
    " WHERE c.relfilenode IS DISTINCT FROM f.relfilenode $$;"
    "CREATE FUNCTION test.held(who int) RETURNS text LANGUAGE sql AS $$"
    "SELECT coalesce(string_agg(mode || ' on ' || relname, '; ' ORDER BY relname), 'none') FROM ("
    " SELECT DISTINCT ON (relname) relname, upper(regexp_replace(replace(mode, 'Lock', ''),"
    "   '([a-z])([A-Z])', '\\1 \\2', 'g')) AS mode"
    " FROM pg_locks l JOIN test.tables t ON t.oid = relation JOIN pg_class c ON c.oid = t.oid"
    " WHERE pid = who AND granted AND locktype = 'relation' ORDER BY relname,"
    "   array_position('{AccessExclusiveLock,ExclusiveLock,ShareRowExclusiveLock,ShareLock,"
    "ShareUpdateExclusiveLock,RowExclusiveLock,RowShareLock,AccessShareLock}'::text[], mode)) h $$;"
    "CREATE FUNCTION test.claimed(claim text) RETURNS text LANGUAGE sql AS $$"
    "SELECT string_agg(split_part(p, ' on ', 1) || ' on ' || t, '; ' ORDER BY t)"
    " FROM regexp_split_to_table(claim, '; ') p,"
    "   regexp_split_to_table(split_part(p, ' on ', 2), ', ') t $$";

enum kind { SEED, HEAD, CACHE, MODELS };

static const char *database(enum kind kind)
{
    const char *url = harness_database(false);
    if (kind == MODELS)
        load(url, "models", "");
    else
        load_revision(url, kind == SEED ? 8 : 9);
    if (kind == CACHE || kind == MODELS)
        load(url, "scrape_cache", "");
    sql_exec(url, "CREATE SCHEMA nuq; CREATE TABLE nuq.queue (id int PRIMARY KEY, webhook text);"
                  "CREATE TABLE webhook.of_somebody (change_events int);"
                  "INSERT INTO webhook.of_somebody VALUES (1)");
    original_writes(url, "before");
    sql_exec(url, "%s", remember);
    return url;
}

static const char *const found[] = {
    [SEED] = "at revision 413191e2eb2c",
    [HEAD] = "at revision 04f2514440fd",
    [CACHE] = "at revision 04f2514440fd",
    [MODELS] = "made from its models",
};

struct outcome {
    enum hl_rc rc;
    struct hl_err err;
    const char *lines;
};

static struct outcome run(const char *url, enum migrate_mode mode, int64_t wait_ms)
{
    struct outcome o = {0};
    struct buf out = {0};
    o.rc = migrate_run(url, mode, wait_ms, &out, &o.err);
    o.lines = harness_text("%s", buf_str(&out));
    buf_release(&out);
    return o;
}

static void apply_ok(const char *url)
{
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
}

/* Everything of the schemas, as one text. */
static const char *catalog(const char *url)
{
    return sql_text(url,
        "SELECT md5(string_agg(x, E'\\n' ORDER BY x)) FROM ("
        " SELECT format('%%s %%s', oid::regclass, relfilenode) FROM pg_class WHERE relnamespace"
        "  NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace) UNION ALL"
        " SELECT format('%%s %%s %%s', attrelid::regclass, attname, atthasdef) FROM pg_attribute"
        "  UNION ALL SELECT nspname FROM pg_namespace UNION ALL"
        " SELECT conrelid::regclass || conname FROM pg_constraint) AS c (x)");
}

static void expect_complete(const char *url)
{
    cr_expect_eq(
        sql_int(url, "SELECT max(version) FROM webhook.schema_migrations"), migrate_latest());
    cr_expect_eq(sql_int(url, "SELECT min(version) FROM webhook.schema_migrations"), 1);
    for (int i = 0; i < ADOPT_STEPS; i++)
        cr_expect_str_eq(
            sql_text(url, "%s", adopt_steps[i].needed), "f", "%s is not done", adopt_steps[i].name);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
    cr_expect_eq(sql_int(url, "SELECT test.rebuilt()"), 0, "files went or changed");
}

/* --- adopted ----------------------------------------------------------------------------- */

static void expect_accepts_events(const char *url)
{
    for (int i = 0; i < 2; i++)
        sql_exec(url,
            "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key,"
            "  detected_at, diff_summary, snapshot_url, rescrape_job_id, rescrape_status, metadata,"
            "  body_digest, accept_seq)"
            " VALUES ('01234567-89ab-cdef-0123-456789abcdef', 'ours', 'http://o/', '\\x00', now(),"
            "  NULL, NULL, 'j', 'queued', '{}', '\\x00', nextval('webhook.scrape_clock'))"
            " ON CONFLICT (event_id) DO NOTHING");
    cr_expect_eq(
        sql_int(url, "SELECT count(created_at) FROM webhook.change_events WHERE watch_id = 'ours'"),
        1);
}

Test(adopt, databases_of_the_replaced_service_are_taken_over_in_place)
{
    for (enum kind k = SEED; k <= MODELS; k++) {
        const char *url = database(k);
        const char *rows = sql_text(url, "SELECT test.rows()");
        struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
        cr_assert_eq(o.rc, HL_OK, "kind %d: %s", k, o.err.msg);
        cr_expect(strstr(o.lines, found[k]), "%s", o.lines);
        cr_expect_str_eq(sql_text(url, "SELECT test.rows()"), rows, "kind %d", k);
        expect_complete(url);
        original_writes(url, "after");
        cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.change_events"
                                  " WHERE watch_id LIKE 'after%%' AND claim_epoch = 0"),
            300);
        expect_accepts_events(url);
    }
}

Test(adopt, running_again_changes_nothing)
{
    for (enum kind k = SEED; k <= MODELS; k++) {
        const char *url = database(k);
        apply_ok(url);
        const char *before = catalog(url);
        struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
        cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
        cr_expect_str_eq(catalog(url), before);
        cr_expect_not(strstr(o.lines, " now"), "%s", o.lines);
        cr_expect_not(strstr(o.lines, "found"), "%s", o.lines);
    }
}

Test(adopt, a_table_that_adoption_makes_is_the_one_that_a_new_database_has)
{
    static const char shape[] =
        "SELECT string_agg(x, E'\\n' ORDER BY x) FROM ("
        " SELECT format('%%s %%s %%s %%s', attname, format_type(atttypid, atttypmod), attnotnull,"
        "  pg_get_expr(adbin, adrelid)) FROM pg_attribute LEFT JOIN pg_attrdef"
        "  ON adrelid = attrelid AND adnum = attnum"
        "  WHERE attrelid = 'webhook.scraped_content'::regclass AND attnum > 0 UNION ALL"
        " SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid ="
        "  'webhook.scraped_content'::regclass UNION ALL"
        " SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid ="
        "  'webhook.scraped_content'::regclass) AS c (x)";
    const char *adopted = database(SEED), *new = harness_database(false);
    apply_ok(adopted);
    apply_ok(new);
    cr_expect_str_eq(sql_text(adopted, shape), sql_text(new, shape));
}

Test(adopt, defaults_become_those_of_a_new_database)
{
    static const char defaults[] =
        "SELECT string_agg(format('%%s.%%s %%s', adrelid::regclass, attname,"
        "   pg_get_expr(adbin, adrelid)), E'\\n' ORDER BY adrelid::regclass::text, attname)"
        " FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum"
        " WHERE adrelid IN ('webhook.change_events'::regclass, 'webhook.crawl_sessions'::regclass,"
        "   'webhook.scraped_content'::regclass)";
    const char *adopted = database(MODELS), *new = harness_database(false);
    apply_ok(adopted);
    apply_ok(new);
    cr_expect_str_eq(sql_text(adopted, defaults), sql_text(new, defaults));
}

Test(adopt, a_default_that_is_there_stays_and_foreign_neighbours_do_too)
{
    const char *url = database(MODELS);
    sql_exec(url, "ALTER TABLE webhook.crawl_sessions ALTER status SET DEFAULT 'mine'");
    apply_ok(url);
    cr_expect_str_eq(
        sql_text(url, "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute"
                      " ON attrelid = adrelid AND attnum = adnum WHERE attname = 'status'"
                      " AND adrelid = 'webhook.crawl_sessions'::regclass"),
        "'mine'::character varying");
}

Test(adopt, an_empty_schema_beside_foreign_ones_gets_every_migration)
{
    const char *url = harness_database(false);
    sql_exec(url, "CREATE SCHEMA webhook; CREATE SCHEMA nuq; CREATE SCHEMA cron;"
                  "CREATE TABLE nuq.change_events (id int); CREATE TABLE cron.job (id int);"
                  "CREATE TABLE public.alembic_version (version_num text);"
                  "INSERT INTO public.alembic_version VALUES ('of another program');");
    sql_exec(url, "%s", remember);
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
    cr_expect_not(strstr(o.lines, "found"), "%s", o.lines);
    expect_complete(url);
}

/* --- side by side, and back -------------------------------------------------------------- */

/* The replaced service takes five events in, leaves one queued and one in progress, and ends three. */
static void original_serves(const char *url, const char *run)
{
    load(url, "serve", harness_text("SET test.run = '%s';", run));
}

static const char *status_of(struct rig *r, const char *run, const char *name)
{
    return sql_text(r->db,
        "SELECT rescrape_status FROM webhook.change_events WHERE watch_id = '%s-%s'", run, name);
}

/* What it has ended stays as it left it: status, metadata and job. */
static void expect_ends_are_theirs(struct rig *r, const char *run)
{
    cr_expect_str_eq(status_of(r, run, "done"), "completed");
    cr_expect_str_eq(status_of(r, run, "failed"), "failed: All connection attempts failed");
    cr_expect_str_eq(status_of(r, run, "zombie"), "failed: job timeout after 15 minutes");
    cr_expect_eq(rig_rows(r, harness_text("watch_id LIKE '%s-%%' AND event_id IS NULL"
                                          " AND rescrape_job_id = 'rq-' || watch_id AND metadata"
                                          " ?| '{document_id,failed_at,zombie_cleanup_at}'",
                                 run)),
        3, "%s", run);
}

/* Left in progress by the replaced service: a worker's rows name it. */
#define UNOWNED "rescrape_status = 'in_progress' AND claimed_by IS NULL"

static bool is_completed(struct rig *r, const char *run, const char *name)
{
    return strcmp(status_of(r, run, name), "completed") == 0;
}

static void let_job_timeout_pass(struct rig *r)
{
    WAIT_FOR(rig_rows(r, UNOWNED " AND claimed_at IS NULL") == 0, WAIT_MS);
    sql_exec(r->db, "UPDATE webhook.change_events SET claimed_at = now() - interval '16 minutes'"
                    " WHERE " UNOWNED);
}

static void expect_taken_over(struct rig *r, struct rig_id ours)
{
    WAIT_FOR(is_completed(r, "left", "queued") && is_completed(r, "left", "held"), WAIT_MS);
    WAIT_FOR(is_completed(r, "beside", "queued") && rig_status_is(r, ours, "completed"), WAIT_MS);
    expect_ends_are_theirs(r, "left");
    expect_ends_are_theirs(r, "beside");
}

static void expect_drained(struct rig *r)
{
    const char *out;
    cr_expect_eq(
        rig_ctl(r, RIG_ENV("drain", "--fence", "--yes", "--timeout", "15"), &out), 0, "%s", out);
}

static void expect_way_back(struct rig *r, struct test_proc *fleet)
{
    test_proc_signal(fleet, SIGTERM);
    cr_expect_eq(test_proc_wait(fleet, WAIT_MS), 0);
    original_serves(r->db, "back");
    cr_expect_str_eq(status_of(r, "back", "queued"), "queued");
    cr_expect_str_eq(status_of(r, "back", "held"), "in_progress");
    expect_ends_are_theirs(r, "back");
    sql_exec(r->db, "UPDATE webhook.change_events SET rescrape_status = 'in_progress',"
                    "  rescrape_job_id = 'rq' WHERE watch_url LIKE '%%/ours';"
                    "UPDATE webhook.change_events SET rescrape_status = 'completed',"
                    "  indexed_at = now(), metadata = '{}' WHERE watch_url LIKE '%%/ours'");
}

/* All kinds at once: most of the time is the janitor's. */
Test(adopt, a_fleet_does_what_the_replaced_service_left_and_leaves_it_a_database_to_go_back_to)
{
    struct rig r[MODELS + 1];
    struct rig_id ours[MODELS + 1];
    struct test_proc *fleet[MODELS + 1];
    for (enum kind k = SEED; k <= MODELS; k++) {
        const char *url = database(k);
        original_serves(url, "left");
        apply_ok(url);
        rig_start_on(&r[k], url);
        fleet[k] = rig_fleet(&r[k], 1, NULL);
        original_serves(url, "beside"); /* its API still takes events in */
        ours[k] = rig_post(&r[k], "/ok/ours");
    }
    for (enum kind k = SEED; k <= MODELS; k++)
        let_job_timeout_pass(&r[k]);
    for (enum kind k = SEED; k <= MODELS; k++)
        expect_taken_over(&r[k], ours[k]);
    expect_drained(&r[MODELS]); /* a proof takes seconds: one of them will do */
    for (enum kind k = SEED; k <= MODELS; k++)
        expect_way_back(&r[k], fleet[k]);
}

/* Its API has a clean-up that takes an event from whoever works on it. */
Test(adopt, an_event_that_the_clean_up_condemns_meanwhile_stays_so_until_it_is_retried)
{
    struct rig r;
    const char *out;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold");
    WAIT_FOR(rig_status_is(&r, id, "in_progress"), WAIT_MS);
    sql_exec(r.db, "UPDATE webhook.change_events SET rescrape_status ="
                   " 'failed: job timeout after 15 minutes'");
    rig_release(&r);
    WAIT_FOR(rig_queue_empty(&r), WAIT_MS);
    cr_expect(rig_status_is(&r, id, "failed: job timeout after 15 minutes"));
    cr_expect_eq(rig_ctl(&r, RIG_ENV("events", "retry", id.text, "--yes"), &out), 0, "%s", out);
    WAIT_FOR(rig_status_is(&r, id, "completed"), WAIT_MS);
}

/* --- refused ----------------------------------------------------------------------------- */

static void expect_refused(const char *url, const char *words)
{
    const char *before = catalog(url);
    for (enum migrate_mode mode = MIGRATE_APPLY; mode <= MIGRATE_STATUS; mode++) {
        struct outcome o = run(url, mode, 0);
        cr_expect_eq(o.rc, HL_FATAL, "%s", words);
        cr_expect(strstr(o.err.msg, words), "%s", o.err.msg);
        cr_expect(strstr(o.err.msg, "nothing was changed"), "%s", o.err.msg);
    }
    cr_expect_str_eq(catalog(url), before);
}

Test(adopt, earlier_revisions_are_refused_with_the_way_forward)
{
    static const char *const revisions[] = {"57f2f0e22bad", "20251109_100516", "20251110_000000",
        "20251113_add_fk", "d4a3f655d912", "3a4d9b64ac20", "376d1cbc1ea8"};
    for (int i = 0; i < 7; i++) {
        const char *url = harness_database(false);
        load_revision(url, i + 1);
        expect_refused(url, harness_text("revision %s;", revisions[i]));
        struct outcome o = run(url, MIGRATE_APPLY, 0);
        cr_expect(strstr(o.err.msg, "`alembic upgrade 04f2514440fd`"), "%s", o.err.msg);
        o = run(url, MIGRATE_STATUS, 0);
        cr_expect(strstr(o.lines, revisions[i]) && strstr(o.lines, "pending"), "%s", o.lines);
    }
}

Test(adopt, what_does_not_fit_is_refused_by_name)
{
    static const struct {
        const char *change, *words;
    } cases[] = {
        {"DROP TABLE webhook.operation_metrics",                                     "webhook.operation_metrics: the table is missing"         },
        {"ALTER TABLE webhook.change_events ALTER rescrape_status TYPE varchar(20)",
         "webhook.change_events.rescrape_status: the type is character varying(20) instead of "
            "varchar(50)"                                                                                                                      },
        {"ALTER TABLE webhook.change_events ALTER metadata TYPE json",
         "webhook.change_events.metadata: the type is json instead of jsonb"                                                                   },
        {"ALTER TABLE webhook.change_events ADD tenant text NOT NULL DEFAULT 'x';"
         "ALTER TABLE webhook.change_events ALTER tenant DROP DEFAULT",     "webhook.change_events.tenant: NOT NULL without a default"},
        {"ALTER TABLE webhook.change_events ALTER id DROP DEFAULT",
         "webhook.change_events.id: NOT NULL without a default"                                                                                },
        {"ALTER TABLE webhook.change_events ADD starts text",                        "webhook.change_events.starts: "                          },
        {"CREATE TABLE webhook.documents (id int)",                                  "webhook.documents: it has a name that"                   },
        {"DROP TABLE webhook.scraped_content; ALTER TABLE webhook.crawl_sessions"
         " DROP CONSTRAINT crawl_sessions_crawl_id_key CASCADE",            "webhook.crawl_sessions.job_id: there is no unique"       },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *url = database(HEAD);
        sql_exec(url, "%s", cases[i].change);
        expect_refused(url, cases[i].words);
    }
}

static void in_transaction(PGconn *pg, const char *sql)
{
    PGresult *res = PQexec(pg, sql);
    cr_assert(PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK,
        "%s%s", sql, PQerrorMessage(pg));
    PQclear(res);
}

Test(adopt, every_single_column_of_the_first_migration_is_asked_for)
{
    static const char columns[] =
        "SELECT string_agg(format('%%s.%%s %%s', relname, attname,"
        "   format_type(atttypid, atttypmod)), ',' ORDER BY relname, attname)"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
        " WHERE relnamespace = 'webhook'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0"
        "   AND relname IN ('change_events', 'crawl_sessions', 'scraped_content',"
        "     'request_metrics', 'operation_metrics')";
    const char *url = harness_database(false), *new = harness_database(false);
    load_revision(url, 9);
    sql_exec(new, "%s", migrations[0].sql);
    cr_assert_str_eq(sql_text(url, columns), sql_text(new, columns));

    PGconn *pg = PQconnectdb(url);
    in_transaction(pg, "SET client_min_messages = error");
    PGresult *all = PQexec(pg,
        "SELECT relname || '.' || attname, format('ALTER TABLE webhook.%I DROP %I CASCADE',"
        " relname, attname) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
        " WHERE relnamespace = 'webhook'::regnamespace AND relkind = 'r' AND attnum > 0");
    cr_assert_eq(PQntuples(all), 76, "%d columns", PQntuples(all));
    for (int i = 0; i < PQntuples(all); i++) {
        struct adoption a;
        struct hl_err err;
        in_transaction(pg, "BEGIN");
        in_transaction(pg, PQgetvalue(all, i, 1));
        cr_expect_eq(adopt_inspect(pg, &a, &err), HL_FATAL, "%s", PQgetvalue(all, i, 0));
        cr_expect(strstr(err.msg, PQgetvalue(all, i, 0)), "%s", err.msg);
        in_transaction(pg, "ROLLBACK");
    }
    PQclear(all);
    PQfinish(pg);
}

Test(adopt, wider_types_are_fine)
{
    const char *url = database(HEAD);
    sql_exec(url, "ALTER TABLE webhook.change_events ALTER rescrape_status TYPE text,"
                  " ALTER watch_id TYPE varchar(1000), ALTER rescrape_job_id TYPE varchar,"
                  " ALTER id TYPE bigint");
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_expect_eq(o.rc, HL_OK, "%s", o.err.msg);
}

/* --- interrupted ------------------------------------------------------------------------- */

/* Somebody reads a table for long: DDL on it has to wait. */
static PGconn *reader_of(const char *url, const char *table)
{
    PGconn *pg = PQconnectdb(url);
    in_transaction(pg, "BEGIN");
    in_transaction(pg, harness_text("LOCK TABLE webhook.%s IN ACCESS SHARE MODE", table));
    return pg;
}

static const struct {
    enum kind kind;
    const char *busy, *done_before;
} interruptions[] = {
    {SEED,   "operation_metrics", "SELECT to_regclass('webhook.scraped_content') IS NOT NULL"  },
    {MODELS, "crawl_sessions",
     "SELECT atthasdef FROM pg_attribute WHERE attname = 'created_at'"
        " AND attrelid = 'webhook.change_events'::regclass"                                    },
    {HEAD,   "change_events",     "SELECT to_regclass('webhook.schema_migrations') IS NOT NULL"},
};
#define N_INTERRUPTIONS (sizeof(interruptions) / sizeof(interruptions[0]))

Test(adopt, a_lock_that_is_not_to_be_had_leaves_what_the_next_run_completes)
{
    for (size_t i = 0; i < N_INTERRUPTIONS; i++) {
        const char *url = database(interruptions[i].kind);
        const char *rows = sql_text(url, "SELECT test.rows()");
        PGconn *reader = reader_of(url, interruptions[i].busy);
        struct outcome o = run(url, MIGRATE_APPLY, 0);
        cr_expect_eq(o.rc, HL_RETRY);
        cr_expect(strstr(o.err.msg, "busy"), "%s", o.err.msg);
        cr_expect_str_eq(sql_text(url, "%s", interruptions[i].done_before), "t", "case %zu", i);
        PQfinish(reader);
        apply_ok(url);
        expect_complete(url);
        cr_expect_str_eq(sql_text(url, "SELECT test.rows()"), rows);
    }
}

static const char *waiting_migrator(const char *url)
{
    return sql_text(url, "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                         " AND wait_event_type = 'Lock' AND application_name = 'hookline migrate'");
}

Test(adopt, a_migrator_that_is_killed_between_steps_leaves_what_the_next_run_completes)
{
    for (size_t i = 0; i < N_INTERRUPTIONS; i++) {
        const char *url = database(interruptions[i].kind), *pid;
        const char *rows = sql_text(url, "SELECT test.rows()");
        PGconn *reader = reader_of(url, interruptions[i].busy);
        pid_t child = fork();
        if (child == 0)
            _exit((int)migrate_run(url, MIGRATE_APPLY, WAIT_MS, &(struct buf){0}, NULL));
        WAIT_FOR(*(pid = waiting_migrator(url)), 10000);
        sql_text(url, "SELECT pg_terminate_backend(%s)", pid);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == HL_RETRY);
        cr_expect_str_eq(sql_text(url, "%s", interruptions[i].done_before), "t", "case %zu", i);
        PQfinish(reader);
        apply_ok(url);
        expect_complete(url);
        cr_expect_str_eq(sql_text(url, "SELECT test.rows()"), rows);
    }
}

/* --- the plan ---------------------------------------------------------------------------- */

Test(adopt, a_dry_run_shows_steps_and_locks_and_changes_nothing)
{
    for (enum kind k = SEED; k <= MODELS; k++) {
        const char *url = database(k);
        const char *before = catalog(url);
        struct outcome o = run(url, MIGRATE_DRY_RUN, 0);
        cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
        cr_expect_str_eq(catalog(url), before);
        cr_expect(strstr(o.lines, found[k]), "%s", o.lines);
        cr_expect(strstr(o.lines, "would be recorded as applied"), "%s", o.lines);
        for (int i = 0; i < ADOPT_STEPS; i++) {
            bool needed = *sql_text(url, "%s", adopt_steps[i].needed) == 't';
            cr_expect_eq(!!strstr(o.lines, adopt_steps[i].name), needed, "%s", o.lines);
            cr_expect(!needed || strstr(o.lines, adopt_steps[i].locks), "%s", o.lines);
        }
        for (const struct migration *m = migrations; m->version; m++)
            cr_expect(strstr(o.lines, m->name), "%s", o.lines);
        o = run(url, MIGRATE_STATUS, 0);
        cr_expect_eq(o.rc, HL_OK, "%s", o.err.msg);
        cr_expect(strstr(o.lines, found[k]) && strstr(o.lines, "pending"), "%s", o.lines);
    }
}

Test(adopt, every_migration_says_what_it_locks)
{
    for (const struct migration *m = migrations; m->version; m++)
        cr_expect(migrate_locks(m->version), "%s has no entry in the table of locks", m->name);
}

static void expect_locks(const char *url, const char *name, const char *sql, const char *claim)
{
    PGconn *pg = PQconnectdb(url);
    in_transaction(pg, "SET client_min_messages = error; BEGIN");
    in_transaction(pg, sql);
    PGresult *held = PQexec(pg, "SELECT test.held(pg_backend_pid())");
    cr_expect_str_eq(
        PQgetvalue(held, 0, 0), sql_text(url, "SELECT test.claimed('%s')", claim), "%s", name);
    PQclear(held);
    PQfinish(pg);
}

Test(adopt, steps_and_migrations_lock_what_they_claim)
{
    int tried[ADOPT_STEPS] = {0};
    for (enum kind k = SEED; k <= MODELS; k++) {
        const char *url = database(k);
        sql_exec(
            url, "ALTER TABLE IF EXISTS webhook.scraped_content ALTER created_at DROP DEFAULT");
        for (int i = 0; i < ADOPT_STEPS; i++) {
            const struct adopt_step *s = &adopt_steps[i];
            if (*sql_text(url, "%s", s->needed) != 't')
                continue;
            expect_locks(url, s->name, s->sql, s->locks);
            tried[i]++;
        }
        expect_locks(url, migrations[1].name, migrations[1].sql, migrate_locks(2)->locks);
    }
    for (int i = 0; i < ADOPT_STEPS; i++)
        cr_expect_gt(tried[i], 0, "%s was never needed", adopt_steps[i].name);
}

/* A writer with an open transaction makes the build wait: others write meanwhile. */
Test(adopt, indexes_are_built_beside_writers)
{
    static const char write[] = "INSERT INTO webhook.change_events (watch_id, watch_url, created_at"
                                ") VALUES ('w', 'u', now())";
    const char *url = database(HEAD), *pid;
    apply_ok(url);
    sql_exec(url, "DELETE FROM webhook.schema_migrations WHERE version = 3");
    sql_exec(url, "DROP INDEX webhook.change_events_event_id_key");
    PGconn *writer = PQconnectdb(url);
    in_transaction(writer, "BEGIN");
    in_transaction(writer, write);
    pid_t child = fork();
    if (child == 0)
        _exit((int)migrate_run(url, MIGRATE_APPLY, WAIT_MS, &(struct buf){0}, NULL));
    WAIT_FOR(*(pid = waiting_migrator(url)), 10000);
    cr_expect_str_eq(sql_text(url, "SELECT test.held(%s)", pid), migrate_locks(3)->locks);
    sql_exec(url, "SET lock_timeout = '1s'; %s", write);
    in_transaction(writer, "COMMIT");
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == HL_OK);
    PQfinish(writer);
    expect_complete(url);
}
