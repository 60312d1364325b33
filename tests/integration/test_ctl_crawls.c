/* hooklinectl crawls list: our sessions, and Firecrawl's queue in whatever form it is there. */
#include "tests/support/harness.h"

#include "base/json.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(ctl_crawls, .timeout = 60);

#define CRAWL "0b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11"
#define JOB   "00000000-0000-4000-8000-00000000000"

/* --- running it -------------------------------------------------------------------------- */

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        "crawls", "list", __VA_ARGS__, NULL                                                        \
    }

static int crawls(const char *url, const char *schema, const char *const *args, const char **out)
{
    const char *argv[12] = {harness_text("%s/hooklinectl", harness_build())};
    const char *env[3] = {harness_text("WEBHOOK_DATABASE_URL=%s", url)};
    if (schema)
        env[1] = harness_text("WEBHOOK_FIRECRAWL_SCHEMA=%s", schema);
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    struct test_proc *p = test_proc_start(argv, env, -1);
    int code = test_proc_wait(p, 20000);
    *out = test_proc_log(p);
    return code;
}

static json_t *parsed(const char *text)
{
    struct hl_err err;
    json_t *root = json_parse(text, strlen(text), &err);
    cr_assert(root, "%s: %s", err.msg, text);
    return root;
}

static json_t *job_of(const json_t *root, size_t i)
{
    return json_array_get(json_object_get(root, "jobs"), i);
}

/* --- Firecrawl's schema ------------------------------------------------------------------ */

/* As the present release makes it, as far as it matters here; schema as in SQL. */
static void make_queue(const char *url, const char *schema)
{
    sql_exec(url,
        "CREATE SCHEMA IF NOT EXISTS %s;"
        "CREATE TYPE %s.job_status AS ENUM ('queued', 'active', 'completed', 'failed');"
        "CREATE TABLE %s.queue_scrape (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
        "  status %s.job_status NOT NULL DEFAULT 'queued', data jsonb,"
        "  created_at timestamptz NOT NULL DEFAULT now(), priority int NOT NULL DEFAULT 0,"
        "  lock uuid, locked_at timestamptz, stalls int, finished_at timestamptz,"
        "  listen_channel_id text, returnvalue jsonb, failedreason text, owner_id uuid,"
        "  group_id uuid);"
        "CREATE TABLE %s.queue_scrape_backlog (id uuid PRIMARY KEY, data jsonb,"
        "  created_at timestamptz NOT NULL DEFAULT now(), priority int NOT NULL DEFAULT 0,"
        "  listen_channel_id text, owner_id uuid, group_id uuid, times_out_at timestamptz)",
        schema, schema, schema, schema, schema);
}

static void put_jobs(const char *url, const char *schema)
{
    sql_exec(url,
        "INSERT INTO %s.queue_scrape (id, status, data, created_at, finished_at, failedreason,"
        "  group_id) VALUES"
        " ('" JOB "1', 'queued', '{\"url\": \"http://one/\", \"mode\": \"single_urls\"}',"
        "  '2026-01-01 00:00:01Z', NULL, NULL, NULL),"
        " ('" JOB "2', 'failed', '{\"url\": \"http://two/\", \"crawl_id\": \"" CRAWL "\"}',"
        "  '2026-01-01 00:00:02Z', '2026-01-01 00:01Z', 'no such host', NULL),"
        " ('" JOB "3', 'queued', '{\"url\": \"http://three/\"}', '2026-01-01 00:00:03Z', NULL,"
        "  NULL, '" CRAWL "');"
        "INSERT INTO %s.queue_scrape_backlog (id, data, created_at) VALUES"
        " ('" JOB "4', '{\"url\": \"http://four/\"}', '2026-01-01 00:00:04Z')",
        schema, schema);
}

Test(ctl_crawls, upstream_lists_the_newest_jobs_first_and_counts_them_by_status)
{
    const char *url = harness_database(true), *out;
    make_queue(url, "nuq");
    put_jobs(url, "nuq");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    const char *four = strstr(out, JOB "4  backlog"), *three = strstr(out, JOB "3  queued");
    const char *two = strstr(out, JOB "2  failed"), *one = strstr(out, JOB "1  queued");
    cr_expect(four && four < three && three < two && two < one, "%s", out);
    cr_expect(strstr(two, "crawl " CRAWL "  http://two/"), "%s", out);
    cr_expect(strstr(two, "no such host\n"), "%s", out);
    cr_expect(strstr(one, "single "), "%s", out);
    cr_expect(strstr(out, "\nSchema nuq: 1 backlog, 1 failed, 2 queued\n"), "%s", out);
}

Test(ctl_crawls, upstream_takes_a_status_a_limit_and_json)
{
    const char *url = harness_database(true), *out;
    make_queue(url, "nuq");
    put_jobs(url, "nuq");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream", "--json", "--status", "queued"), &out), 0);
    json_t *root = parsed(out);
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    cr_expect_str_eq(json_get_string(root, "schema"), "nuq");
    cr_expect_eq(json_array_size(json_object_get(root, "jobs")), 2, "%s", out);
    cr_expect_str_eq(json_get_string(job_of(root, 0), "url"), "http://three/");
    cr_expect_str_eq(json_get_string(job_of(root, 0), "crawl_id"), CRAWL);
    cr_expect_str_eq(json_get_string(job_of(root, 1), "kind"), "single");
    cr_expect_str_eq(json_get_string(job_of(root, 1), "mode"), "single_urls");
    cr_expect(json_is_null(json_object_get(job_of(root, 1), "finished_at")));
    json_t *counts = json_object_get(root, "counts");
    cr_expect_eq(json_integer_value(json_object_get(counts, "queued")), 2, "%s", out);
    cr_expect(json_is_true(json_object_get(root, "counted_all")));
    json_decref(root);

    cr_assert_eq(crawls(url, NULL, ARGS("--upstream", "--json", "--limit", "1"), &out), 0);
    root = parsed(out);
    cr_expect_eq(json_array_size(json_object_get(root, "jobs")), 1, "%s", out);
    cr_expect_str_eq(json_get_string(job_of(root, 0), "status"), "backlog");
    json_decref(root);
}

Test(ctl_crawls, upstream_makes_do_with_the_columns_of_an_older_release)
{
    const char *url = harness_database(true), *out;
    sql_exec(url, "CREATE SCHEMA nuq; CREATE TABLE nuq.queue_scrape (id uuid, status text,"
                  "  data jsonb, gone int, created_at timestamptz);"
                  "ALTER TABLE nuq.queue_scrape DROP COLUMN gone;"
                  "INSERT INTO nuq.queue_scrape VALUES ('" JOB
                  "1', 'active', '{\"url\": \"http://x/\"}', now())");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    cr_expect(strstr(out, JOB "1  active  single  http://x/"), "%s", out);
    cr_expect(strstr(out, "Schema nuq: 1 active\n"), "%s", out);

    sql_exec(url, "DROP TABLE nuq.queue_scrape; CREATE TABLE nuq.queue_scrape (id bigint,"
                  "  data text); INSERT INTO nuq.queue_scrape VALUES (7, 'not json')");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    cr_expect(strstr(out, "7    unknown  single  -"), "%s", out);

    sql_exec(url, "DROP TABLE nuq.queue_scrape; CREATE TABLE nuq.queue_scrape ()");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    cr_expect(strstr(out, "Schema nuq: no jobs\n"), "%s", out);
}

Test(ctl_crawls, upstream_looks_in_public_when_there_is_no_queue_in_nuq)
{
    const char *url = harness_database(true), *out;
    sql_exec(url, "CREATE SCHEMA nuq");
    make_queue(url, "public");
    put_jobs(url, "public");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    cr_expect(strstr(out, "Schema public: 1 backlog, 1 failed, 2 queued\n"), "%s", out);
}

Test(ctl_crawls, upstream_takes_a_schema_by_any_name_and_no_other_then)
{
    static const char *const names[][2] = {
        {"We ird\"x",                   "\"We ird\"\"x\""                },
        {"a'; DROP SCHEMA webhook; --", "\"a'; DROP SCHEMA webhook; --\""},
        {"{a,b}",                       "\"{a,b}\""                      },
    };
    const char *url = harness_database(true), *out;
    make_queue(url, "nuq");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cr_expect_eq(crawls(url, names[i][0], ARGS("--upstream"), &out), 2, "%s", out);
        make_queue(url, names[i][1]);
        put_jobs(url, names[i][1]);
        cr_expect_eq(crawls(url, names[i][0], ARGS("--upstream", "--json"), &out), 0, "%s", out);
        json_t *root = parsed(out);
        cr_expect_str_eq(json_get_string(root, "schema"), names[i][0]);
        cr_expect_eq(json_array_size(json_object_get(root, "jobs")), 4, "%s", out);
        json_decref(root);
    }
    cr_expect_str_not_empty(sql_text(url, "SELECT to_regnamespace('webhook')"));
}

Test(ctl_crawls, upstream_that_is_not_there_is_2_and_says_where_it_looked)
{
    const char *url = harness_database(true), *out;
    cr_expect_eq(crawls(url, NULL, ARGS("--upstream"), &out), 2, "%s", out);
    cr_expect(strstr(out, "nuq and public") && strstr(out, "WEBHOOK_FIRECRAWL_SCHEMA"), "%s", out);
    cr_expect_eq(crawls(url, "firecrawl", ARGS("--upstream"), &out), 2, "%s", out);
    cr_expect(strstr(out, "\"firecrawl\"") && strstr(out, "WEBHOOK_FIRECRAWL_SCHEMA"), "%s", out);
}

/* --- rights ------------------------------------------------------------------------------ */

/* The database's URL as another role; the clusters of tests trust everybody. */
static const char *as_role(const char *url, const char *role)
{
    const char *at = strchr(url, '@');
    cr_assert(at && strncmp(url, "postgresql://", 13) == 0, "%s", url);
    return harness_text("postgresql://%s%s", role, at);
}

Test(ctl_crawls, upstream_names_the_grants_that_are_missing_and_they_suffice)
{
    const char *url = harness_database(true), *out;
    const char *role = sql_text(url, "SELECT 'reader_' || oid FROM pg_database"
                                     " WHERE datname = current_database()");
    make_queue(url, "nuq");
    put_jobs(url, "nuq");
    sql_exec(url, "CREATE ROLE %s LOGIN", role);
    cr_expect_eq(crawls(as_role(url, role), NULL, ARGS("--upstream"), &out), 1, "%s", out);
    const char *grants = strstr(out, "GRANT USAGE ON SCHEMA nuq TO ");
    cr_assert(grants, "%s", out);
    cr_expect(strstr(grants, "GRANT SELECT ON nuq.queue_scrape, nuq.queue_scrape_backlog TO "));

    sql_exec(url, "GRANT USAGE ON SCHEMA nuq TO %s", role);
    cr_expect_eq(crawls(as_role(url, role), NULL, ARGS("--upstream"), &out), 1, "%s", out);
    sql_exec(url, "%s", grants);
    cr_expect_eq(crawls(as_role(url, role), NULL, ARGS("--upstream"), &out), 0, "%s", out);
    cr_expect(strstr(out, JOB "4  backlog"), "%s", out);
    sql_exec(url, "DROP OWNED BY %s; DROP ROLE %s", role, role);
}

/* A view that would write when read stands for whatever might: the server refuses it. */
Test(ctl_crawls, upstream_cannot_write_even_when_reading_would)
{
    const char *url = harness_database(true), *out;
    sql_exec(url,
        "CREATE SCHEMA nuq; CREATE TABLE public.trap (n int);"
        "CREATE FUNCTION nuq.spring() RETURNS text LANGUAGE sql VOLATILE AS"
        " 'INSERT INTO public.trap VALUES (1); SELECT ''queued''::text';"
        "CREATE VIEW nuq.queue_scrape AS SELECT gen_random_uuid() AS id, nuq.spring() AS status");
    cr_assert_str_eq(sql_text(url, "SELECT status FROM nuq.queue_scrape"), "queued");
    cr_assert_eq(sql_int(url, "SELECT count(*) FROM public.trap"), 1, "the trap works");
    cr_expect_eq(crawls(url, NULL, ARGS("--upstream"), &out), 1, "%s", out);
    cr_expect(strstr(out, "read-only transaction"), "%s", out);
    cr_expect_eq(sql_int(url, "SELECT count(*) FROM public.trap"), 1);
}

Test(ctl_crawls, upstream_texts_cannot_steer_the_terminal_and_are_cut)
{
    const char *url = harness_database(true), *out;
    make_queue(url, "nuq");
    sql_exec(url,
        "INSERT INTO nuq.queue_scrape (status, data, failedreason, created_at) VALUES"
        " ('failed', jsonb_build_object('url', E'http://x/\\x1b[31m\\n\\u009b2Jfake  row',"
        "   'crawl_id', E'c\\x1b]0;t\\x07'), E'line\\nbreak ' || repeat('x', 100000), now()),"
        " ('failed', '[\"no object\"]', NULL, now() - interval '1 s'),"
        " ('failed', '{\"url\": {\"a\": [1]}, \"crawl_id\": 7}', '', now() - interval '2 s')");
    cr_assert_eq(crawls(url, NULL, ARGS("--upstream"), &out), 0, "%s", out);
    for (const char *p = out; *p; p++)
        cr_assert((unsigned char)*p >= 0x20 || *p == '\n', "byte %d: %s", *p, out);
    cr_expect_not(strstr(out, "\xc2\x9b"), "%s", out);
    cr_expect(strstr(out, "http://x/ [31m 2Jfake row  "), "%s", out);
    cr_expect(strstr(out, "line break xxx") && strstr(out, "xxx\n"), "%s", out);
    cr_expect_lt(strlen(out), 4000, "%s", out);

    cr_assert_eq(crawls(url, NULL, ARGS("--upstream", "--json"), &out), 0, "%s", out);
    json_t *root = parsed(out);
    cr_expect_eq(json_array_size(json_object_get(root, "jobs")), 3);
    cr_expect_eq(strlen(json_get_string(job_of(root, 0), "error")), 2000);
    cr_expect_not(strchr(out, '\x1b'), "%s", out);
    json_decref(root);
}

/* --- our own sessions -------------------------------------------------------------------- */

Test(ctl_crawls, list_says_when_there_is_nothing_to_show)
{
    const char *url = harness_database(true), *out;
    cr_expect_eq(crawls(url, NULL, ARGS("--limit=1"), &out), 0, "%s", out);
    cr_expect_str_eq(out, "There are no crawls.\n");
    cr_expect_eq(crawls(url, NULL, ARGS("--status=failed"), &out), 0, "%s", out);
    cr_expect_str_eq(out, "No crawl has this status.\n");
    cr_expect_eq(crawls(url, NULL, ARGS("--json"), &out), 0, "%s", out);
    cr_expect_str_eq(out, "{\"version\":1,\"crawls\":[]}\n");
}

Test(ctl_crawls, list_shows_our_sessions_newest_first)
{
    const char *url = harness_database(true), *out;
    sql_exec(url,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, completed_at,"
        "  status, total_pages, pages_indexed, pages_failed, operation_type) VALUES"
        " (gen_random_uuid(), 'old', 'http://a/', now() - interval '1 h', now(), 'completed', 5,"
        "  4, 1, 'crawl'),"
        " (gen_random_uuid(), 'new', 'http://b/', now(), NULL, 'in_progress', 0, 0, 0, 'crawl')");
    cr_assert_eq(crawls(url, NULL, ARGS("--limit=50"), &out), 0, "%s", out);
    const char *newer = strstr(out, "\nnew  http://b/  in_progress  ");
    const char *older = strstr(out, "\nold  http://a/  completed    ");
    cr_expect(newer && older && newer < older, "%s", out);
    cr_expect(strstr(newer, "    0        0       0\n"), "%s", out);
    cr_expect(strstr(older, "    5        4       1\n"), "%s", out);

    cr_assert_eq(crawls(url, NULL, ARGS("--json", "--status", "completed"), &out), 0, "%s", out);
    json_t *root = parsed(out), *list = json_object_get(root, "crawls");
    cr_assert_eq(json_array_size(list), 1, "%s", out);
    cr_expect_str_eq(json_get_string(json_array_get(list, 0), "job_id"), "old");
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(list, 0), "pages_indexed")), 4);
    json_decref(root);
}

Test(ctl_crawls, list_finds_a_status_behind_many_others)
{
    const char *url = harness_database(true), *out;
    sql_exec(url,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        "  operation_type) SELECT gen_random_uuid(), 'crawl-' || i, 'http://a/',"
        "  now() - i * interval '1 s', CASE WHEN i %% 3000 = 0 THEN 'failed' ELSE 'completed' END,"
        "  'crawl' FROM generate_series(1, 9000) i");
    cr_assert_eq(crawls(url, NULL, ARGS("--json", "--status", "failed"), &out), 0, "%s", out);
    json_t *root = parsed(out), *list = json_object_get(root, "crawls");
    cr_assert_eq(json_array_size(list), 3, "%s", out);
    cr_expect_str_eq(json_get_string(json_array_get(list, 2), "job_id"), "crawl-9000");
    json_decref(root);
    cr_assert_eq(crawls(url, NULL, ARGS("--json", "--status", "failed", "--limit", "2"), &out), 0);
    root = parsed(out);
    cr_expect_eq(json_array_size(json_object_get(root, "crawls")), 2, "%s", out);
    json_decref(root);
}

Test(ctl_crawls, show_has_the_session_and_its_steps)
{
    const char *url = harness_database(true), *out;
    const char *const show[] = {"crawls", "show", "--json", "the-crawl", NULL};
    const char *const text[] = {"crawls", "show", "the-crawl", NULL};
    cr_expect_eq(crawls(url, NULL, show, &out), 2, "%s", out);
    cr_expect(strstr(out, "there is no crawl the-crawl"), "%s", out);
    sql_exec(url,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        "  total_pages, operation_type, error_message, extra_metadata) VALUES (gen_random_uuid(),"
        "  'the-crawl', 'http://a/', '2026-01-02 03:04:05Z', 'failed', 7, 'crawl', 'no way',"
        "  '{\"a\": 1}');"
        "INSERT INTO webhook.operation_metrics (id, created_at, operation_type, operation_name,"
        "  duration_ms, success, crawl_id, document_url, \"timestamp\") VALUES"
        " (gen_random_uuid(), now(), 'queue', 'wait', 1500.5, true, 'the-crawl', NULL, now()),"
        " (gen_random_uuid(), now(), 'worker', 'index_document', 3, false, 'the-crawl',"
        "  'http://a/x', now() + '1 s')");
    cr_assert_eq(crawls(url, NULL, show, &out), 0, "%s", out);
    json_t *root = parsed(out);
    const json_t *crawl = json_object_get(root, "crawl"), *steps = json_object_get(root, "steps");
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    cr_expect_eq(strncmp(json_get_string(crawl, "started_at"), "2026-01-02T03:04:05", 19), 0);
    cr_expect_eq(json_integer_value(json_object_get(crawl, "total_pages")), 7);
    cr_expect(json_is_null(json_object_get(crawl, "completed_at")));
    cr_expect(json_is_object(json_object_get(crawl, "extra_metadata")));
    cr_assert_eq(json_array_size(steps), 2, "%s", out);
    cr_expect_str_eq(json_get_string(json_array_get(steps, 1), "document_url"), "http://a/x");
    cr_expect(json_is_false(json_object_get(json_array_get(steps, 1), "success")));
    cr_expect_eq(
        json_number_value(json_object_get(json_array_get(steps, 0), "duration_ms")), 1500.5);
    json_decref(root);
    cr_assert_eq(crawls(url, NULL, text, &out), 0, "%s", out);
    cr_expect(strstr(out, "no way\n") && strstr(out, "index_document"), "%s", out);
}

Test(ctl_crawls, wrong_usage_is_64)
{
    /* clang-format off */
    static const char *const cases[][6] = {
        {"crawls"},
        {"crawls", "conquer"},
        {"crawls", "list", "more"},
        {"crawls", "list", "--limit", "0"},
        {"crawls", "list", "--limit", "10x"},
        {"crawls", "list", "--limit", "10001"},
        {"crawls", "list", "--status", "\xff"},
        {"crawls", "show"},
        {"crawls", "show", "one", "two"},
        {"crawls", "show", "one", "--upstream"},
    };
    /* clang-format on */
    const char *out;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_eq(
            crawls("postgresql://127.0.0.1:1/x", NULL, cases[i], &out), 64, "%zu: %s", i, out);
    const char *long_name = "0123456789012345678901234567890123456789012345678901234567890123";
    cr_expect_eq(crawls("postgresql://127.0.0.1:1/x", long_name, ARGS("--json"), &out), 1);
    cr_expect(strstr(out, "WEBHOOK_FIRECRAWL_SCHEMA"), "%s", out);
    cr_expect_eq(
        crawls("postgresql://127.0.0.1:1/x", NULL, ARGS("--upstream"), &out), 69, "%s", out);
}
