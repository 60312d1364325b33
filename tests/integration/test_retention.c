/* retention as janitors run it: one of them at a time, a little at a time, again after the interval. */
#include "worker/retention.h"

#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>

enum { JANITORS = 2, OLD = 2500, STEP = 1000 };

static struct retention *janitors[JANITORS];
static struct config cfg = {.retention_every_ms = 60000, .retention_days = 90};

/* What was deleted in each transaction, and who held the duty when, as PostgreSQL saw it. */
static void watch_tables(void)
{
    sql_exec(bench_url(),
        "CREATE TABLE public.steps (at xid8, n bigint);"
        "CREATE TABLE public.holders (holder text);"
        "CREATE FUNCTION public.note_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.steps SELECT pg_current_xact_id(), count(*) FROM gone;"
        " RETURN NULL; END $$;"
        "CREATE FUNCTION public.note_holder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.holders VALUES (NEW.holder); RETURN NULL; END $$;"
        "CREATE TRIGGER note_step AFTER DELETE ON webhook.worker_crashes"
        " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.note_step();"
        "CREATE TRIGGER note_holder AFTER INSERT OR UPDATE ON webhook.duties"
        " FOR EACH ROW EXECUTE FUNCTION public.note_holder()");
}

static void put_old_crashes(int n)
{
    sql_exec(bench_url(),
        "INSERT INTO webhook.worker_crashes (worker, host, pid, role, cause, blamed, crashed_at)"
        " SELECT gen_random_uuid()::text, 'h', 1, 'worker', 'signal 9', false,"
        "  now() - interval '91 days' FROM generate_series(1, %d)",
        n);
}

static void set_up(void)
{
    bench_start();
    watch_tables();
    for (int i = 0; i < JANITORS; i++)
        janitors[i] = retention_new(bench_loop(), &cfg, bench_store(NULL));
}

static void tear_down(void)
{
    for (int i = 0; i < JANITORS; i++)
        retention_stop(janitors[i]);
    bench_stop();
    for (int i = 0; i < JANITORS; i++)
        retention_free(janitors[i]);
}

TestSuite(retention, .init = set_up, .fini = tear_down, .timeout = 120);

static bool is_done(void)
{
    return bench_count("webhook.duties WHERE done_at IS NOT NULL AND holder IS NULL") == 1;
}

Test(retention, of_two_janitors_one_works_in_bounded_steps)
{
    put_old_crashes(OLD);
    for (int i = 0; i < JANITORS; i++)
        retention_start(janitors[i]);
    BENCH_UNTIL(is_done());
    cr_expect_eq(bench_count("webhook.worker_crashes"), 0);
    cr_expect_eq(sql_int(bench_url(), "SELECT count(DISTINCT holder) FROM public.holders"), 1);
    cr_expect_eq(sql_int(bench_url(), "SELECT max(n) FROM public.steps"), STEP);
    cr_expect_eq(sql_int(bench_url(), "SELECT count(*) FROM public.steps WHERE n > 0"), 3);
    cr_expect_eq(sql_int(bench_url(), "SELECT sum(n) FROM public.steps"), OLD);
}

Test(retention, each_table_has_its_days)
{
    static const struct {
        const char *table, *insert; /* one row, so many days old */
        int kept[3];                /* of rows that are 91, 41 and 11 days old */
    } cases[] = {
        {"webhook.operation_metrics",
         "(id, timestamp, operation_type, operation_name, duration_ms, success, created_at)"
            " SELECT gen_random_uuid(), old, 't', 'n', 1, true, old",                         {0, 1, 1}},
        {"webhook.crawl_sessions",
         "(id, job_id, base_url, started_at, completed_at, status, operation_type, updated_at)"
            " SELECT gen_random_uuid(), old::text, 'u', old, old, 'completed', 'crawl', old", {0, 0, 1}},
        {"webhook.change_events",
         "(watch_id, watch_url, rescrape_status, created_at, finished_at)"
            " SELECT 'w', 'u', 'completed', old, old",                                        {0, 0, 0}},
        {"webhook.documents",
         "(url_key, canonical_url, url, text, content_hash, search, scrape_seq, scraped_at)"
            " SELECT sha256(old::text::bytea), 'u', 'u', 't', '', '', 1, old",                {1, 1, 1}},
    };
    static const int ages[] = {91, 41, 11};
    cfg.crawl_retention_days = 40;
    cfg.event_retention_days = 10;
    cfg.document_retention_days = 0; /* for ever */
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (int k = 0; k < 3; k++)
            sql_exec(bench_url(),
                "INSERT INTO %s %s FROM (SELECT now() - interval '%d days' AS old) a",
                cases[i].table, cases[i].insert, ages[k]);
    retention_start(janitors[0]);
    BENCH_UNTIL(is_done());
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_expect_eq(bench_count(cases[i].table),
            cases[i].kept[0] + cases[i].kept[1] + cases[i].kept[2], "%s: %ld", cases[i].table,
            bench_count(cases[i].table));
}

Test(retention, the_next_pass_waits_for_the_interval)
{
    retention_start(janitors[0]);
    BENCH_UNTIL(is_done());
    put_old_crashes(1);
    sql_exec(bench_url(), "TRUNCATE public.holders");
    retention_start(janitors[1]); /* asks at once: it is done */
    int64_t partitions_after_ms = harness_now_ms() + 1000;
    BENCH_UNTIL(harness_now_ms() > partitions_after_ms);
    cr_expect_eq(bench_count("public.holders"), 0);
    cr_expect_eq(bench_count("webhook.worker_crashes"), 1);
    sql_exec(bench_url(), "UPDATE webhook.duties SET done_at = now() - interval '61 seconds'");
    BENCH_UNTIL(bench_count("webhook.worker_crashes") == 0); /* asks six times in an interval */
}

Test(retention, whoever_was_taken_for_dead_goes_no_further)
{
    put_old_crashes(3 * STEP);
    retention_start(janitors[0]);
    BENCH_UNTIL(bench_count("webhook.worker_crashes") == 2 * STEP);
    sql_exec(bench_url(), "UPDATE webhook.duties SET holder = 'another'");
    sql_exec(bench_url(), "TRUNCATE public.holders");
    int64_t end_ms = harness_now_ms() + 1500; /* a dozen steps */
    BENCH_UNTIL(harness_now_ms() > end_ms);
    cr_expect_geq(bench_count("webhook.worker_crashes"), STEP, "one step may have been under way");
    cr_expect_eq(bench_count("public.holders"), 0);
    cr_expect_eq(bench_count("webhook.duties WHERE holder = 'another' AND done_at IS NULL"), 1);
}

Test(retention, a_step_that_fails_ends_the_pass_for_the_interval)
{
    put_old_crashes(1);
    sql_exec(bench_url(), "ALTER TABLE webhook.request_metrics RENAME COLUMN id TO gone");
    retention_start(janitors[0]);
    BENCH_UNTIL(is_done());
    cr_expect_eq(bench_count("webhook.worker_crashes"), 1);
}
