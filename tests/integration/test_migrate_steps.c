/* How single migrations are applied, with a list of our own in place of sql/ (this object's
 * `migrations` wins over the library's): all or nothing, piece by piece, and beside people who use
 * the tables. */
#include "tests/support/harness.h"

#include "domain/migrate.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char pieces[] = "-- no-transaction\n"
                             "DO $$ BEGIN\n"
                             "PERFORM 1;\n"
                             "END $$;\n"
                             "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_n ON webhook.t (n);\n"
                             "\n"
                             "ALTER TABLE webhook.t ADD COLUMN IF NOT EXISTS m int;\n";
/* Succeeds in an empty database; a test that wants trouble makes the table public.obstacle. */
static const char obstacle[] = "CREATE TABLE webhook.whole (n int);\n"
                               "DO $$ BEGIN IF to_regclass('public.obstacle') IS NOT NULL THEN\n"
                               "INSERT INTO public.obstacle VALUES (1);\n"
                               "END IF; END $$;\n";

static const char base[] = "CREATE TABLE webhook.t (n int);\n";

const struct migration migrations[] = {
    {.version = 1,   .name = "001_base.sql", .sql = base},
    {.version = 2,   .name = "002_pieces.sql", .sql = pieces},
    {.version = 7,   .name = "007_obstacle.sql", .sql = obstacle},
    {.version = 0},
};

TestSuite(migrate_steps, .timeout = 60);

static enum hl_rc apply(const char *url, int64_t wait_ms, struct hl_err *err)
{
    struct buf out = {0};
    enum hl_rc rc = migrate_run(url, MIGRATE_APPLY, wait_ms, &out, err);
    buf_release(&out);
    return rc;
}

static const char *applied(const char *url)
{
    return sql_text(url,
        "SELECT string_agg(version::text, ' ' ORDER BY version) FROM webhook.schema_migrations");
}

Test(migrate_steps, a_failing_migration_leaves_nothing_and_keeps_those_before_it)
{
    const char *url = harness_database(false);
    struct hl_err err;
    sql_exec(url, "CREATE TABLE public.obstacle (n int CONSTRAINT never CHECK (n <> 1))");
    cr_assert_eq(apply(url, 0, &err), HL_FATAL);
    cr_expect(strstr(err.msg, "007_obstacle.sql"), "%s", err.msg);
    cr_expect_str_eq(err.sqlstate, "23514");
    cr_expect_str_eq(applied(url), "1 2");
    cr_expect_str_empty(sql_text(url, "SELECT to_regclass('webhook.whole')"));

    sql_exec(url, "ALTER TABLE public.obstacle DROP CONSTRAINT never");
    cr_assert_eq(apply(url, 0, &err), HL_OK, "%s", err.msg);
    cr_expect_str_eq(applied(url), "1 2 7");
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM public.obstacle"), 1);
}

Test(migrate_steps, a_file_without_transaction_runs_piece_by_piece)
{
    const char *url = harness_database(false);
    struct hl_err err;
    cr_assert_eq(apply(url, 0, &err), HL_OK, "%s", err.msg);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM pg_index WHERE indexrelid ="
                              " 'webhook.t_n'::regclass AND indisvalid"),
        1);
    cr_expect_eq(sql_int(url, "SELECT count(m) FROM webhook.t"), 0);
}

/* Somebody who keeps a table of the third step locked, in a session of his own. */
static PGconn *lock_obstacle(const char *url)
{
    sql_exec(url, "CREATE TABLE public.obstacle (n int)");
    PGconn *pg = PQconnectdb(url);
    PGresult *res = PQexec(pg, "BEGIN; LOCK TABLE public.obstacle IN ACCESS EXCLUSIVE MODE");
    cr_assert_eq(PQresultStatus(res), PGRES_COMMAND_OK);
    PQclear(res);
    return pg;
}

Test(migrate_steps, a_busy_table_gives_a_message_that_says_so)
{
    const char *url = harness_database(false);
    struct hl_err err;
    PGconn *holder = lock_obstacle(url);
    cr_expect_eq(apply(url, 0, &err), HL_RETRY);
    cr_expect(strstr(err.msg, "007_obstacle.sql") && strstr(err.msg, "busy"), "%s", err.msg);
    PQfinish(holder);
    cr_expect_eq(apply(url, 0, &err), HL_OK, "%s", err.msg);
}

/* When the transaction began that now waits for a table lock; "" = nobody waits. */
static const char *waiting_since(const char *url)
{
    return sql_text(url,
        "SELECT xact_start FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND application_name = 'hookline migrate'");
}

Test(migrate_steps, a_busy_table_is_tried_again_while_there_is_time)
{
    const char *url = harness_database(false), *first;
    struct hl_err err;
    PGconn *holder = lock_obstacle(url);
    pid_t pid = fork();
    if (pid == 0)
        _exit((int)apply(url, 30000, &err));

    WAIT_FOR(*(first = waiting_since(url)), 10000);
    const char *now;
    WAIT_FOR(*(now = waiting_since(url)) && strcmp(first, now) != 0, 10000);
    PQclear(PQexec(holder, "ROLLBACK"));
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == HL_OK);
    cr_expect_str_eq(applied(url), "1 2 7");
    PQfinish(holder);
}

Test(migrate_steps, a_migrator_that_keeps_the_lock_is_waited_for_until_time_is_up)
{
    const char *url = harness_database(false);
    struct hl_err err;
    PGconn *holder = PQconnectdb(url);
    PQclear(PQexec(holder, "SELECT pg_advisory_lock(7525356009530420837)"));
    int64_t start = harness_now_ms();
    cr_expect_eq(apply(url, 500, &err), HL_RETRY);
    cr_expect_geq(harness_now_ms() - start, 500);
    cr_expect(strstr(err.msg, "another migrator"), "%s", err.msg);
    cr_expect_str_empty(sql_text(url, "SELECT to_regclass('webhook.schema_migrations')"));
    PQfinish(holder);
}

Test(migrate_steps, the_lock_is_free_again_after_success_and_after_failure)
{
    const char *url = harness_database(false);
    struct hl_err err;
    sql_exec(url, "CREATE TABLE public.obstacle (n int CHECK (n <> 1))");
    cr_assert_eq(apply(url, 0, &err), HL_FATAL);
    sql_exec(url, "DROP TABLE public.obstacle");
    cr_assert_eq(apply(url, 0, &err), HL_OK, "%s", err.msg);
    cr_expect_str_eq(sql_text(url, "SELECT pg_try_advisory_lock(7525356009530420837)"), "t");
}

Test(migrate_steps, a_server_that_takes_no_writes_is_worth_a_retry)
{
    const char *url = harness_database(false);
    struct hl_err err;
    sql_exec(url,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET default_transaction_read_only = on',"
        " current_database()); END $$");
    cr_expect_eq(apply(url, 0, &err), HL_RETRY);
    cr_expect_eq(err.why, HL_WHY_READ_ONLY, "%s", err.msg);
}
