/* The migrations of sql/ against a real PostgreSQL: what they build, what the migrator refuses. */
#include "tests/support/harness.h"

#include "domain/migrate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

TestSuite(migrate, .timeout = 60);

/* Strings are kept until the test ends, so that leak checkers see only real leaks. */
static char *keep(char *s)
{
    static char *kept[128];
    static size_t n;
    cr_assert_lt(n, sizeof(kept) / sizeof(kept[0]));
    return kept[n++] = s;
}

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
    o.lines = keep(buf_detach(&out));
    return o;
}

static void apply_ok(const char *url)
{
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
}

static long built_in(void)
{
    long n = 0;
    while (migrations[n].version)
        n++;
    return n;
}

/* Everything a migration could leave behind, as one text: the schema, relations and columns. */
static const char *snapshot(const char *url)
{
    return sql_text(url,
        "SELECT coalesce(string_agg(format('%%s.%%s %%s %%s', n.nspname, c.relname, c.relkind,"
        "   (SELECT string_agg(attname || ' ' || atttypid::regtype, ',' ORDER BY attnum)"
        "    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)), E'\\n' ORDER BY 1), '')"
        " || (SELECT count(*) FROM pg_namespace WHERE nspname = 'webhook')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('webhook', 'public')");
}

/* --- what is built ----------------------------------------------------------------------- */

Test(migrate, an_empty_database_gets_every_migration)
{
    const char *url = harness_database(false);
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.schema_migrations"), built_in());
    cr_expect_eq(
        sql_int(url, "SELECT max(version) FROM webhook.schema_migrations"), migrate_latest());
    for (const struct migration *m = migrations; m->version; m++)
        cr_expect(strstr(o.lines, m->name), "%s is missing in:\n%s", m->name, o.lines);
    cr_expect(strstr(o.lines, "applied now"));
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
    cr_expect_str_empty(sql_text(url, "SELECT to_regclass('alembic_version')"));
}

Test(migrate, names_of_the_reference_are_kept)
{
    static const char *const relations[] = {"change_events", "change_events_id_seq",
        "change_events_pkey", "idx_change_events_watch_id", "idx_change_events_detected_at",
        "crawl_sessions", "crawl_sessions_pkey", "crawl_sessions_crawl_id_key",
        "ix_webhook_crawl_sessions_started_at", "ix_webhook_crawl_sessions_status",
        "scraped_content", "scraped_content_id_seq", "scraped_content_pkey",
        "uq_content_per_session_url", "idx_scraped_content_url", "idx_scraped_content_session",
        "idx_scraped_content_hash", "idx_scraped_content_created",
        "idx_scraped_content_url_created", "request_metrics", "request_metrics_pkey",
        "uq_request_metrics_request_id", "ix_request_metrics_timestamp",
        "ix_request_metrics_method", "ix_request_metrics_path", "ix_request_metrics_status_code",
        "ix_request_metrics_duration_ms", "ix_request_metrics_request_id", "operation_metrics",
        "operation_metrics_pkey", "ix_operation_metrics_timestamp",
        "ix_operation_metrics_operation_type", "ix_operation_metrics_operation_name",
        "ix_operation_metrics_duration_ms", "ix_operation_metrics_success",
        "ix_operation_metrics_request_id", "ix_operation_metrics_job_id",
        "ix_operation_metrics_document_url", "ix_webhook_operation_metrics_crawl_id",
        "change_events_event_id_key", "scrape_clock", "workers", "documents"};
    const char *url = harness_database(false);
    apply_ok(url);
    for (size_t i = 0; i < sizeof(relations) / sizeof(relations[0]); i++)
        cr_expect_str_not_empty(sql_text(url, "SELECT to_regclass('webhook.%s')", relations[i]),
            "webhook.%s does not exist", relations[i]);
}

Test(migrate, an_insert_that_knows_only_the_reference_columns_works)
{
    const char *url = harness_database(false);
    apply_ok(url);
    sql_exec(url, "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
                  " VALUES ('w', 'http://a/', 'queued')");
    cr_expect_str_eq(sql_text(url, "SELECT format('%%s %%s %%s %%s %%s', id, claim_epoch, starts, "
                                   "attempts, suspect) FROM webhook.change_events"),
        "1 0 0 0 0");
}

Test(migrate, one_event_id_makes_one_row)
{
    const char *url = harness_database(false);
    apply_ok(url);
    for (int i = 0; i < 2; i++)
        sql_exec(url, "INSERT INTO webhook.change_events (watch_id, watch_url, event_id)"
                      " VALUES ('w', 'u', '01234567-89ab-cdef-0123-456789abcdef')"
                      " ON CONFLICT (event_id) DO NOTHING");
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.change_events"), 1);
}

static void insert_metric(const char *url, const char *when)
{
    sql_exec(url,
        "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type, operation_name,"
        " duration_ms, success, request_id, crawl_id, created_at)"
        " VALUES (gen_random_uuid(), '%s', 't', 'n', 1, true, 'nobody', 'no session', now())",
        when);
}

static const char *where_is(const char *url, const char *when)
{
    return sql_text(url,
        "SELECT tableoid::regclass FROM webhook.operation_metrics WHERE \"timestamp\" = '%s'",
        when);
}

Test(migrate, metrics_go_to_the_partition_of_their_day_and_else_to_the_default)
{
    const char *url = harness_database(false);
    apply_ok(url);
    sql_exec(url, "CREATE TABLE webhook.operation_metrics_20260102 PARTITION OF"
                  " webhook.operation_metrics FOR VALUES FROM ('2026-01-02 00:00Z') TO"
                  " ('2026-01-03 00:00Z')");
    insert_metric(url, "2026-01-01 23:59:59Z");
    insert_metric(url, "2026-01-02 00:00:00Z");
    insert_metric(url, "2026-01-03 00:00:00Z");
    cr_expect_str_eq(where_is(url, "2026-01-01 23:59:59Z"), "webhook.operation_metrics_default");
    cr_expect_str_eq(where_is(url, "2026-01-02 00:00:00Z"), "webhook.operation_metrics_20260102");
    cr_expect_str_eq(where_is(url, "2026-01-03 00:00:00Z"), "webhook.operation_metrics_default");
    cr_expect_str_eq(sql_text(url, "SELECT relkind FROM pg_class WHERE oid ="
                                   " 'webhook.request_metrics'::regclass"),
        "p");
}

/* --- again, at once, into what is there -------------------------------------------------- */

Test(migrate, running_twice_changes_nothing)
{
    const char *url = harness_database(false);
    apply_ok(url);
    const char *before = snapshot(url);
    const char *stamp =
        sql_text(url, "SELECT string_agg(xmin::text, ',') FROM webhook.schema_migrations");
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
    cr_expect_str_eq(snapshot(url), before);
    cr_expect_str_eq(
        sql_text(url, "SELECT string_agg(xmin::text, ',') FROM webhook.schema_migrations"), stamp);
    cr_expect_not(strstr(o.lines, "applied now"));
}

Test(migrate, two_migrators_at_once_both_succeed_and_apply_each_migration_once)
{
    const char *url = harness_database(false);
    pid_t pids[2];
    int applied = 0;
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
            _exit(o.rc != HL_OK ? 2 : strstr(o.lines, "applied now") ? 1 : 0);
        }
    }
    for (int i = 0; i < 2; i++) {
        int status;
        cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
        applied += WEXITSTATUS(status);
    }
    cr_expect_eq(applied, 1, "%d migrators say that they applied something", applied);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.schema_migrations"), built_in());
}

Test(migrate, an_empty_schema_is_no_obstacle)
{
    const char *url = harness_database(false);
    sql_exec(url, "CREATE SCHEMA webhook");
    apply_ok(url);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.schema_migrations"), built_in());
}

Test(migrate, a_dry_run_shows_the_plan_and_changes_nothing)
{
    const char *url = harness_database(false);
    const char *before = snapshot(url);
    struct outcome o = run(url, MIGRATE_DRY_RUN, 0);
    cr_assert_eq(o.rc, HL_OK, "%s", o.err.msg);
    for (const struct migration *m = migrations; m->version; m++)
        cr_expect(strstr(o.lines, m->name));
    cr_expect(strstr(o.lines, "would be applied"));
    cr_expect_str_eq(snapshot(url), before);
}

Test(migrate, status_tells_pending_from_applied)
{
    const char *url = harness_database(false);
    struct outcome before = run(url, MIGRATE_STATUS, 0);
    cr_assert_eq(before.rc, HL_OK, "%s", before.err.msg);
    cr_expect(strstr(before.lines, "pending") && !strstr(before.lines, " applied "));
    apply_ok(url);
    sql_exec(url, "DELETE FROM webhook.schema_migrations WHERE version = %d", migrate_latest());
    struct outcome after = run(url, MIGRATE_STATUS, 0);
    cr_assert_eq(after.rc, HL_OK, "%s", after.err.msg);
    cr_expect(
        strstr(after.lines, "pending") && strstr(after.lines, " applied 20"), "%s", after.lines);
}

/* --- refusals ---------------------------------------------------------------------------- */

Test(migrate, an_edited_migration_is_refused_by_name)
{
    const char *url = harness_database(false);
    apply_ok(url);
    sql_exec(
        url, "UPDATE webhook.schema_migrations SET checksum = repeat('0', 64) WHERE version = 2");
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_expect_eq(o.rc, HL_FATAL);
    cr_expect(
        strstr(o.err.msg, "002_hookline.sql") && strstr(o.err.msg, "edited"), "%s", o.err.msg);
    struct outcome status = run(url, MIGRATE_STATUS, 0);
    cr_expect_eq(status.rc, HL_FATAL);
    cr_expect(strstr(status.lines, "002_hookline.sql"), "the status is shown all the same");
}

Test(migrate, a_newer_database_is_refused)
{
    const char *url = harness_database(false);
    apply_ok(url);
    sql_exec(
        url, "INSERT INTO webhook.schema_migrations VALUES (9000, '9000_future.sql', 'x', now())");
    struct outcome o = run(url, MIGRATE_APPLY, WAIT_MS);
    cr_expect_eq(o.rc, HL_FATAL);
    cr_expect(strstr(o.err.msg, "9000_future.sql") && strstr(o.err.msg, "newer"), "%s", o.err.msg);
}

/* Enough of an installation of the reference: the metrics tables are plain, with foreign keys. */
static const char reference[] =
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
    "CREATE SCHEMA webhook;"
    "CREATE TABLE webhook.crawl_sessions (id uuid PRIMARY KEY, job_id varchar(255) NOT NULL"
    " CONSTRAINT crawl_sessions_crawl_id_key UNIQUE, started_at timestamptz, status varchar(50));"
    "CREATE TABLE webhook.request_metrics (id uuid PRIMARY KEY, \"timestamp\" timestamptz NOT NULL,"
    " method varchar(10), path varchar(500), status_code int, duration_ms float8,"
    " request_id varchar(100) CONSTRAINT uq_request_metrics_request_id UNIQUE);"
    "CREATE TABLE webhook.operation_metrics (id uuid PRIMARY KEY, \"timestamp\" timestamptz NOT "
    "NULL,"
    " operation_type varchar(50), operation_name varchar(100), duration_ms float8, success boolean,"
    " request_id varchar(100) REFERENCES webhook.request_metrics (request_id), job_id varchar(100),"
    " document_url varchar(500), crawl_id varchar(255));"
    "CREATE TABLE webhook.change_events (id serial PRIMARY KEY, watch_id varchar(255) NOT NULL,"
    " watch_url text NOT NULL, detected_at timestamptz NOT NULL DEFAULT now(),"
    " rescrape_status varchar(50), metadata jsonb);"
    "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
    " VALUES ('old', 'http://old/', 'completed')";

/* The files themselves must not be what stands in the way of adopting such a database. */
Test(migrate, the_sql_files_leave_tables_of_the_reference_and_their_rows_in_place)
{
    const char *url = harness_database(false);
    sql_exec(url, "%s", reference);
    sql_exec(url, "%s", migrations[0].sql);
    sql_exec(url, "%s", migrations[1].sql);
    cr_expect_str_eq(sql_text(url, "SELECT relkind FROM pg_class WHERE oid ="
                                   " 'webhook.request_metrics'::regclass"),
        "r");
    cr_expect_str_eq(
        sql_text(url, "SELECT format('%%s %%s %%s', watch_id, rescrape_status, claim_epoch)"
                      " FROM webhook.change_events"),
        "old completed 0");
}

Test(migrate, an_unreachable_database_is_worth_a_retry_and_shows_no_password)
{
    char url[128];
    snprintf(url, sizeof(url), "postgresql://user:s3cr3t@127.0.0.1:%d/db", harness_free_port());
    struct outcome o = run(url, MIGRATE_APPLY, 0);
    cr_expect_eq(o.rc, HL_RETRY);
    cr_expect_eq(o.err.why, HL_WHY_UNREACHABLE);
    cr_expect(strstr(o.err.msg, "127.0.0.1"), "%s", o.err.msg);
    cr_expect_not(strstr(o.err.msg, "s3cr3t"), "%s", o.err.msg);
}

Test(migrate, a_malformed_url_is_refused_without_showing_any_of_it)
{
    static const char *const urls[] = {
        "postgresql://user:s3cr3t@x@127.0.0.1/db",  /* bare @ in the password */
        "postgresql://user:s3cr3t/x@127.0.0.1/db",  /* bare / */
        "postgresql://user:12/s3cr3t@127.0.0.1/db", /* looks like a port */
        "postgresql://user:s3cr3t%zz@127.0.0.1/db", /* broken escape */
        "postgresql://user:pw@127.0.0.1:s3cr3t/db", /* not a port */
        "postgresql://u:p@127.0.0.1/db?s3cr3t=x",   /* unknown option */
        "s3cr3t",
    };
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct outcome o = run(urls[i], MIGRATE_APPLY, 0);
        cr_expect_eq(o.rc, HL_FATAL, "case %zu", i);
        cr_expect_not(strstr(o.err.msg, "s3cr3t"), "case %zu: %s", i, o.err.msg);
        cr_expect(strstr(o.err.msg, "malformed"), "case %zu: %s", i, o.err.msg);
    }
}

Test(migrate, a_database_that_refuses_the_login_is_told_from_an_unreachable_one)
{
    const char *url = harness_database(false);
    char other[256];
    snprintf(other, sizeof(other), "%s_missing", url);
    struct outcome o = run(other, MIGRATE_APPLY, 0);
    cr_expect_eq(o.rc, HL_RETRY);
    cr_expect_eq(o.err.why, HL_WHY_REFUSED, "%s", o.err.msg);
}

/* What an interrupted CREATE INDEX CONCURRENTLY leaves behind. */
Test(migrate, an_invalid_index_left_by_an_interrupted_run_is_built_again)
{
    const char *url = harness_database(false);
    apply_ok(url);
    sql_exec(
        url, "DELETE FROM webhook.schema_migrations WHERE name = '003_change_event_indexes.sql'");
    sql_exec(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid ="
                  " 'webhook.change_events_event_id_key'::regclass");
    apply_ok(url);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM webhook.schema_migrations"), built_in());
}
