/* hooklinectl doctor: what is wrong is found, said with its remedy, and gives the exit code; what is
 * well is called well. */
#include "tests/support/canned.h"
#include "tests/support/fleet.h"
#include "tests/support/relay.h"

#include "base/json.h"
#include "base/mem.h"
#include "domain/migrate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(ctl_doctor, .timeout = 120);

#define STRONG "f3d9b1a07c55e2486b9d0c1ffa3472e8"
#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static const char *out; /* of the last run */
static json_t *root;    /* its JSON */

/* Settings, later ones win: a database and a Redis that are well, no Firecrawl. */
static int doctor(const char *db, const char *redis, const char *const *more)
{
    static const char *const argv[] = {"", "doctor", "--json", NULL};
    const char *args[4] = {rig_program("hooklinectl"), argv[1], argv[2]};
    const char *env[16] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", redis), "WEBHOOK_SECRET=" STRONG,
        "WEBHOOK_SCRAPER=direct", harness_text("WEBHOOK_SPOOL_DIR=%s", harness_dir()),
        "WEBHOOK_SPOOL_MAX_BYTES=1m"};
    for (int i = 0; more && more[i]; i++)
        env[6 + i] = more[i];
    struct test_proc *p = test_proc_start(args, env, -1);
    int code = test_proc_wait(p, 30000);
    out = test_proc_log(p);
    json_decref(root);
    root = rig_json(out);
    return code;
}

/* The first finding of a check at a level; NULL = none. */
static const json_t *finding(const char *check, const char *level)
{
    const json_t *all = json_object_get(root, "findings");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *f = json_array_get(all, i);
        if (strcmp(json_get_string(f, "check"), check) == 0 &&
            strcmp(json_get_string(f, "level"), level) == 0)
            return f;
    }
    return NULL;
}

#define FOUND(check, level, text)                                                                  \
    do {                                                                                           \
        const json_t *f_ = finding(check, level);                                                  \
        cr_assert(f_, "no %s of %s in %s", level, check, out);                                     \
        cr_expect(strstr(json_get_string(f_, "what"), text), "%s", out);                           \
        cr_expect(json_get_string(f_, "why"), "%s", out);                                          \
        cr_expect(strcmp(level, "ok") == 0 || json_get_string(f_, "remedy"), "%s", out);           \
    } while (0)

static long number(const char *key)
{
    return (long)json_integer_value(json_object_get(root, key));
}

/* --- all is well ------------------------------------------------------------------------- */

/* The suite's PostgreSQL runs without fsync, its Redis with appendfsync no. */
Test(ctl_doctor, finds_nothing_else_in_a_whole_installation_than_that_its_servers_sync_nothing)
{
    struct rig rig;
    rig_start(&rig);
    rig_fleet(&rig, 1, NULL);
    const char *const env[] = {
        harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", rig.firecrawl_port),
        "WEBHOOK_SCRAPER=firecrawl", harness_text("WEBHOOK_SPOOL_DIR=%s/spool", harness_dir()),
        "WEBHOOK_DB_POOL_SIZE=3", "WEBHOOK_DB_MAX_OVERFLOW=1", "WEBHOOK_MAX_RSS=64m", NULL};
    cr_expect_eq(doctor(rig.db, test_redis_url(rig.redis), env), 1, "%s", out);
    cr_expect_eq(number("version"), 1);
    cr_expect_eq(number("errors"), 1, "%s", out);
    FOUND("postgresql", "error", "fsync is off");
    FOUND("redis durability", "warning", "appendfsync no");
    FOUND("settings", "ok", "would start");
    FOUND("secrets", "ok", "strong");
    FOUND("redis", "ok", "Redis ");
    FOUND("redis memory", "ok", "noeviction");
    FOUND("schema", "ok", "are applied");
    FOUND("connections", "ok", "1 worker ");
    FOUND("clocks", "ok", "Redis");
    FOUND("fleet", "ok", "1 worker ");
    FOUND("firecrawl", "ok", "answers");
    FOUND("spool", "ok", "/spool");
    FOUND("spool disk", finding("spool disk", "ok") ? "ok" : "warning", "fdatasyncs");
    cr_expect_null(strstr(out, STRONG), "%s", out);
}

/* --- stores that are away ---------------------------------------------------------------- */

Test(ctl_doctor, runs_the_other_checks_and_exits_with_69_when_redis_is_away)
{
    const char *url = harness_text("redis://127.0.0.1:%d", harness_free_port());
    cr_expect_eq(doctor(harness_database(true), url, NULL), 69, "%s", out);
    FOUND("redis", "error", "cannot connect");
    cr_expect(finding("latency", "ok") || finding("latency", "warning"), "%s", out);
    FOUND("schema", "ok", "applied");
    cr_expect_null(finding("redis memory", "ok"), "nothing is known of it: %s", out);
}

Test(ctl_doctor, runs_the_other_checks_and_exits_with_69_when_postgresql_is_away)
{
    struct test_redis *redis = test_redis_start();
    const char *url = harness_text("postgresql://nobody:x@127.0.0.1:%d/none", harness_free_port());
    cr_expect_eq(doctor(url, test_redis_url(redis), NULL), 69, "%s", out);
    FOUND("postgresql", "error", "refused");
    FOUND("redis", "ok", "Redis ");
    FOUND("spool", finding("spool", "ok") ? "ok" : "warning", harness_dir());
    test_redis_free(redis);
}

/* --- one thing wrong at a time ----------------------------------------------------------- */

/* Servers as they should be; the suite's own sync nothing. */
static struct test_redis *redis;
static struct test_pg *pg;
static const char *db;

static void start_stores(void)
{
    redis = test_redis_start_with(WORDS("--appendfsync", "everysec"));
    pg = test_pg_start_with(WORDS("-c", "fsync=on", "-c", "full_page_writes=on"));
    db = test_pg_url(pg);
}

static void stop_stores(void)
{
    test_redis_free(redis);
    test_pg_free(pg);
}

TestSuite(ctl_doctor_finds, .init = start_stores, .fini = stop_stores, .timeout = 60);

static int with(const char *const *more)
{
    return doctor(db, test_redis_url(redis), more);
}

Test(ctl_doctor_finds, no_error_where_there_is_none)
{
    cr_expect_eq(with(NULL), 0, "%s", out);
    cr_expect_eq(number("errors"), 0, "%s", out);
    FOUND("postgresql", "ok", "PostgreSQL ");
    FOUND("redis durability", "ok", "appendfsync everysec");
}

Test(ctl_doctor_finds, settings_that_a_program_would_not_start_with)
{
    cr_expect_eq(with(WORDS("WEBHOOK_CONCURRENCY=lots")), 1, "%s", out);
    FOUND("settings", "error", "the worker would not start: WEBHOOK_CONCURRENCY");
    cr_expect_eq(with(WORDS("WEBHOOK_SECRET=short")), 1, "%s", out);
    FOUND("settings", "error", "the producer would not start: WEBHOOK_SECRET");
    cr_expect_eq(with(WORDS("WEBHOOK_REDIS_URL=carrier-pigeon")), 1, "%s", out);
    FOUND("settings", "error", "WEBHOOK_REDIS_URL");
    cr_expect_null(finding("postgresql", "ok"), "no guess is asked: %s", out);
}

Test(ctl_doctor_finds, secrets_that_are_easy_to_guess_or_used_twice)
{
    cr_expect_eq(
        with(WORDS("WEBHOOK_SECRET=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")), 0, "%s", out);
    FOUND("secrets", "warning", "WEBHOOK_SECRET is made of very few");
    with(WORDS("WEBHOOK_SECRET=this-is-our-webhook-password-of-2026"));
    FOUND("secrets", "warning", "word in it");
    cr_expect_null(strstr(out, "of-2026"), "%s", out);
    with(WORDS("WEBHOOK_SECRET=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM"));
    FOUND("secrets", "warning", "too regular");
    with(WORDS("WEBHOOK_SECRET=k3J9xQ2pLmTk3J9xQ2pLmTk3J9xQ2pLmTk3J9xQ2pLmT"));
    FOUND("secrets", "warning", "too regular");
    with(WORDS("WEBHOOK_SECRET=replace_me_with_openssl_rand_hex_32"));
    FOUND("secrets", "warning", "word in it");
    with(WORDS("WEBHOOK_SECRET=f9d9b1a07c55e2a86b9d0c1ffaa972e8")); /* 3 and 4 are missing */
    FOUND("secrets", "ok", "strong enough");
    with(WORDS("WEBHOOK_API_SECRET=" STRONG));
    FOUND("secrets", "warning", "WEBHOOK_SECRET and WEBHOOK_API_SECRET are the same");
    with(WORDS("WEBHOOK_API_SECRET_READONLY=" STRONG));
    FOUND("secrets", "warning", "WEBHOOK_SECRET and WEBHOOK_API_SECRET_READONLY are the same");
    with(WORDS("WEBHOOK_TEST_MODE=on"));
    FOUND("secrets", "warning", "WEBHOOK_TEST_MODE");
}

Test(ctl_doctor_finds, a_redis_that_evicts_and_forgets)
{
    struct test_redis *bad = test_redis_start_with(
        WORDS("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no"));
    cr_expect_eq(doctor(db, test_redis_url(bad), NULL), 1, "%s", out);
    FOUND("redis memory", "error", "allkeys-lru");
    FOUND("redis durability", "warning", "no append-only file");
    test_redis_free(bad);
}

Test(ctl_doctor_finds, a_database_without_the_schema_and_one_of_an_older_release)
{
    cr_expect_eq(doctor(harness_database(false), test_redis_url(redis), NULL), 1, "%s", out);
    FOUND("schema", "error", "no schema");
    cr_expect(strstr(json_get_string(finding("schema", "error"), "remedy"), "migrate"));
    sql_exec(db, "DELETE FROM webhook.schema_migrations WHERE version = %d", migrate_latest());
    cr_expect_eq(with(NULL), 1, "%s", out);
    FOUND("schema", "error", "this release needs");
}

Test(ctl_doctor_finds, a_postgresql_that_forgets_what_it_confirmed)
{
    sql_exec(db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET synchronous_commit = off',"
                 " current_database()); END $$");
    cr_expect_eq(with(NULL), 1, "%s", out);
    FOUND("postgresql", "error", "synchronous_commit is off");
}

Test(ctl_doctor_finds, more_connections_wanted_than_there_are)
{
    sql_exec(db, "INSERT INTO webhook.workers (id, host, pid) SELECT 'w' || i, 'h', i"
                 " FROM generate_series(1, 7) i");
    cr_expect_eq(with(WORDS("WEBHOOK_DB_POOL_SIZE=2", "WEBHOOK_DB_MAX_OVERFLOW=1")), 0, "%s", out);
    FOUND("connections", "ok", "7 worker and 0 producer processes may open 38 connections of ");
    long most = sql_int(db, "SHOW max_connections");
    const char *pool = harness_text("WEBHOOK_DB_POOL_SIZE=%ld", most / 7 + 1);
    cr_expect_eq(with(WORDS(pool)), 1, "%s", out);
    FOUND("connections", "error", "7 worker ");

    /* What is in between may be a pooler, which lets more in than it passes on. */
    cr_expect_eq(doctor(relay_start(db), test_redis_url(redis), WORDS(pool)), 0, "%s", out);
    FOUND("connections", "warning", "something between us and its port");

    /* What processes tell of themselves counts more than our settings; the dead need none. */
    sql_exec(db, "UPDATE webhook.workers SET status = '{\"pool\":{\"max\":1}}'");
    cr_expect_eq(with(WORDS(pool)), 0, "%s", out);
    FOUND("connections", "ok", "may open 24 connections of ");
    sql_exec(db, "UPDATE webhook.workers SET dead_at = now(), status = NULL");
    cr_expect_eq(with(WORDS(pool)), 0, "%s", out);
    FOUND("fleet", "warning", "no worker process");
}

/* doctor --json with further words. */
static int planned(const char *words, const char *const *more)
{
    const char *const settings[] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis)), "WEBHOOK_SECRET=" STRONG,
        "WEBHOOK_SCRAPER=direct", harness_text("WEBHOOK_SPOOL_DIR=%s", harness_dir()),
        "WEBHOOK_SPOOL_MAX_BYTES=1m", more[0], more[1], more[2], more[3], more[4], NULL};
    struct test_proc *p = test_proc_start(
        (const char *const[]){"/bin/sh", "-c",
            harness_text("exec %s doctor --json %s", rig_program("hooklinectl"), words), NULL},
        settings, -1);
    int code = test_proc_wait(p, 30000);
    out = test_proc_log(p);
    if (code > 1)
        return code;
    json_decref(root);
    root = rig_json(out);
    return code;
}

/* The first finding of the check is about what runs. */
static const char *plan(void)
{
    const json_t *all = json_object_get(root, "findings");
    const char *what = "";
    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(json_get_string(json_array_get(all, i), "check"), "connections") == 0)
            what = json_get_string(json_array_get(all, i), "what");
    return what;
}

Test(ctl_doctor_finds, a_plan_that_wants_more_connections_than_there_are)
{
    const char *const settings[] = {"WEBHOOK_PRODUCERS=2", "WEBHOOK_WORKERS=3",
        "WEBHOOK_DB_POOL_SIZE=2", "WEBHOOK_DB_MAX_OVERFLOW=1", "WEBHOOK_READ_CONNECTIONS=1"};
    /* 2 * 2 * (3 + 1) + 1 * (3 * (3 + 1) + 5) + 10 */
    cr_expect_eq(planned("--producers 2 --workers 1", settings), 0, "%s", out);
    cr_expect(
        strstr(plan(),
            "2 producer and 1 worker replicas (of 2 and 3 processes) may open 43 connections of "),
        "%s", plan());
    cr_expect_eq(planned("--producers 2 --workers 999", settings), 1, "%s", out);
    cr_expect(strstr(plan(), "may open 17009 connections; PostgreSQL gives us "), "%s", plan());
    cr_expect_eq(planned("--workers 0", settings), 64, "%s", out);

    db = harness_database(false);
    cr_expect_eq(planned("--producers 2 --workers 1", settings), 1, "%s", out);
    FOUND("schema", "error", "no schema");
    cr_expect(
        strstr(plan(), "may open 43 connections of "), "before the first migration: %s", plan());
}

Test(ctl_doctor_finds, what_the_fleet_left_lying)
{
    sql_exec(db, "INSERT INTO webhook.workers (id, host, pid) VALUES ('w', 'h', 1);"
                 "UPDATE webhook.queues SET paused_at = now() WHERE name = 'change';"
                 "UPDATE webhook.queues SET fenced_at = now() WHERE name = 'crawl';"
                 "INSERT INTO webhook.producers (id, host, pid, seen_at)"
                 " VALUES ('p', 'h', 2, now() - interval '1 hour');"
                 "INSERT INTO webhook.spools (segment, host, folder, holder, bytes, seen_at)"
                 " VALUES ('x.seg', 'h', '/f', 'h-2', 4711, now() - interval '1 hour')");
    cr_expect_eq(with(NULL), 0, "%s", out);
    FOUND("fleet", "warning", "paused: change");
    cr_expect(strstr(out, "fenced the intake of: crawl"), "%s", out);
    cr_expect(strstr(out, "1 producer processes went silent"), "%s", out);
    cr_expect(strstr(out, "1 spool segments (4711 bytes)"), "%s", out);
}

Test(ctl_doctor_finds, no_firecrawl)
{
    const char *url =
        harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", harness_free_port());
    cr_expect_eq(with(WORDS("WEBHOOK_SCRAPER=firecrawl", url)), 1, "%s", out);
    FOUND("firecrawl", "error", "connection");
}

static bool refuses(const struct canned_request *r)
{
    bool knows = strstr(r->text, "Authorization: Bearer fc-key-of-ours\r\n") != NULL;
    canned_answer(r, knows ? 200 : 401, "", "{}");
    return true;
}

static bool leads_elsewhere(const struct canned_request *r)
{
    canned_answer(r, 301, "Location: https://fc.example/\r\n", "");
    return true;
}

static bool says_nothing(const struct canned_request *r)
{
    (void)r;
    return true;
}

Test(ctl_doctor_finds, a_firecrawl_that_refuses_leads_elsewhere_or_is_silent)
{
    struct canned *server = canned_start("127.0.0.1", refuses, NULL);
    const char *url = harness_text(
        "WEBHOOK_FIRECRAWL_API_URL=http://me:sesame@127.0.0.1:%d", canned_port(server));
    cr_expect_eq(with(WORDS("WEBHOOK_SCRAPER=firecrawl", url)), 0, "%s", out);
    FOUND("firecrawl", "warning", "refuses us (401)");
    cr_expect_null(strstr(out, "sesame"), "%s", out);
    url = harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", canned_port(server));
    with(WORDS("WEBHOOK_SCRAPER=firecrawl", url, "WEBHOOK_FIRECRAWL_API_KEY=fc-key-of-ours"));
    FOUND("firecrawl", "ok", "answers (200)");
    cr_expect_null(strstr(out, "fc-key-of-ours"), "%s", out);
    canned_stop(server);

    server = canned_start("127.0.0.1", leads_elsewhere, NULL);
    url = harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", canned_port(server));
    with(WORDS("WEBHOOK_SCRAPER=firecrawl", url));
    FOUND("firecrawl", "warning", "leads elsewhere (301)");
    canned_stop(server);

    server = canned_start("127.0.0.1", says_nothing, NULL);
    url = harness_text("WEBHOOK_FIRECRAWL_API_URL=http://127.0.0.1:%d", canned_port(server));
    cr_expect_eq(with(WORDS("WEBHOOK_SCRAPER=firecrawl", url)), 1, "%s", out);
    FOUND("firecrawl", "error", "timed out");
    canned_stop(server);
}

Test(ctl_doctor_finds, a_redis_user_that_may_not_do_what_the_programs_do)
{
    redis_text(redis, "ACL SETUSER guest on >sesame ~* +@all -time -config");
    const char *url = strstr(test_redis_url(redis), "://");
    cr_assert(url);
    cr_expect_eq(doctor(db, harness_text("redis://guest:sesame@%s", url + 3), NULL), 69, "%s", out);
    FOUND("redis", "error", "'time'");
    cr_expect(strstr(json_get_string(finding("redis", "error"), "remedy"), "ACL"), "%s", out);
    cr_expect_null(strstr(out, "sesame"), "%s", out);
    redis_text(redis, "ACL SETUSER guest +time");
    cr_expect_eq(doctor(db, harness_text("redis://guest:sesame@%s", url + 3), NULL), 0, "%s", out);
    FOUND("redis durability", "ok", "append-only file on");
}

Test(ctl_doctor_finds, a_replica_and_a_database_that_takes_no_writes)
{
    struct test_redis *replica = test_redis_start_with(WORDS("--replicaof", "127.0.0.1", "1"));
    sql_exec(db, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET default_transaction_read_only"
                 " = on', current_database()); END $$");
    cr_expect_eq(doctor(db, test_redis_url(replica), NULL), 69, "%s", out);
    FOUND("redis", "error", "replica");
    FOUND("postgresql", "error", "read-only");
    cr_expect(strstr(json_get_string(finding("postgresql", "error"), "remedy"), "primary"));
    test_redis_free(replica);
}

Test(ctl_doctor_finds, that_a_newer_release_was_here)
{
    sql_exec(db,
        "INSERT INTO webhook.schema_migrations SELECT (jsonb_populate_record(m, '{"
        "\"version\":9999}')).* FROM webhook.schema_migrations m WHERE version = %d",
        migrate_latest());
    cr_expect_eq(with(NULL), 0, "%s", out);
    FOUND("schema", "warning", "another one is newer");
}

Test(ctl_doctor_finds, a_spool_folder_that_is_none_or_has_no_room_for_the_quota)
{
    const char *path = harness_text("%s/file", harness_dir());
    FILE *f = fopen(path, "w");
    cr_assert(f && fclose(f) == 0);
    cr_expect_eq(with(WORDS(harness_text("WEBHOOK_SPOOL_DIR=%s", path))), 1, "%s", out);
    FOUND("spool", "error", "cannot be written to");
    cr_expect_eq(with(WORDS("WEBHOOK_SPOOL_DIR=/nowhere/spool")), 0, "%s", out);
    FOUND("spool", "warning", "/nowhere/spool");
    cr_expect_eq(with(WORDS("WEBHOOK_SPOOL_MAX_BYTES=1024g")), 0, "%s", out);
    FOUND("spool", "warning", "may take 1");
}

Test(ctl_doctor_finds, warnings_are_errors_when_strict_and_text_says_why_and_what_to_do)
{
    const char *const args[] = {rig_program("hooklinectl"), "doctor", "--strict", NULL};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis)), "WEBHOOK_SECRET=" STRONG,
        "WEBHOOK_SCRAPER=direct", "WEBHOOK_SPOOL_DIR=/nowhere/spool", NULL};
    struct test_proc *p = test_proc_start(args, env, -1);
    cr_expect_eq(test_proc_wait(p, 30000), 1, "%s", test_proc_log(p));
    const char *text = strstr(test_proc_log(p), "warning  spool ");
    cr_assert(text, "%s", test_proc_log(p));
    cr_expect(strstr(text, "Why: There events are safe"), "%s", text);
    cr_expect(strstr(text, "Do:  A producer makes it"), "%s", text);
    cr_expect(strstr(text, " 0 errors\n"), "%s", text);
}

Test(ctl_doctor_finds, stores_that_hang_within_a_bounded_time)
{
    test_redis_pause(redis);
    test_pg_pause(pg);
    int64_t began = harness_now_ms();
    cr_expect_eq(with(NULL), 69, "%s", out);
    cr_expect_lt(harness_now_ms() - began, 25000);
    test_redis_resume(redis);
    test_pg_resume(pg);
    cr_expect(finding("redis", "error"), "%s", out);
    cr_expect(finding("postgresql", "error"), "%s", out);
    cr_expect(finding("spool", "ok"), "%s", out);
}
