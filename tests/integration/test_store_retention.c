/* store, what the janitor does for the table's history: rows of the replaced service get what ours
 * have, and what is too old goes. Against a real PostgreSQL. */
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(store_retention, .init = bench_start, .fini = bench_stop, .timeout = 120);

static const struct store_limits limits = {
    .job_timeout_ms = 900000, .lease_ms = 30000, .max_starts = 3};

/* As the replaced service writes a row: its own columns only. Returns the id. */
static long legacy(const char *status)
{
    return sql_int(bench_url(),
        "INSERT INTO webhook.change_events (watch_id, watch_url, detected_at, rescrape_status,"
        " metadata, created_at) VALUES ('w', 'https://old.test/', now(), '%s', '{\"a\": 1}',"
        " now() - interval '1 hour') RETURNING id",
        status);
}

static bool row_is(long id, const char *condition)
{
    return sql_int(bench_url(),
               "SELECT count(*) FROM webhook.change_events WHERE id = %ld AND (%s)", id,
               condition) == 1;
}

static int identify(struct store *j, int max)
{
    struct bench_rows r;
    BENCH_ASK(r, store_identify(j, max, BENCH_CB(r)));
    return bench_nrows(&r);
}

/* --- rows of the replaced service -------------------------------------------------------- */

Test(store_retention, unfinished_rows_of_the_replaced_service_are_identified_once)
{
    struct store *j = bench_store(NULL);
    long queued = legacy("queued"), running = legacy("in_progress");
    long done = legacy("completed"), failed = legacy("failed: x");
    struct change_event *own = bench_event("https://b/");
    bench_accept(j, own, NULL);

    cr_expect_eq(identify(j, 1), 1, "oldest first, as many as asked for");
    cr_expect(row_is(queued, "event_id IS NOT NULL"));
    cr_expect(row_is(running, "event_id IS NULL"));
    cr_expect_eq(identify(j, 10), 1);
    cr_expect_eq(identify(j, 10), 0);
    cr_expect(row_is(queued, "url_key = sha256('https://old.test/') AND accept_seq > 0"
                             " AND claimed_at IS NULL AND rescrape_status = 'queued'"
                             " AND metadata = '{\"a\": 1}'"));
    cr_expect(row_is(running, "claimed_at > now() - interval '1 minute' AND claimed_by IS NULL"
                              " AND rescrape_status = 'in_progress'"));
    cr_expect(row_is(done, "event_id IS NULL"), "history stays as it is");
    cr_expect(row_is(failed, "event_id IS NULL"));
}

Test(store_retention, the_event_id_of_a_row_is_always_the_same)
{
    struct store *j = bench_store(NULL);
    long id = legacy("queued");
    identify(j, 10);
    const char *first =
        sql_text(bench_url(), "SELECT event_id FROM webhook.change_events WHERE id = %ld", id);
    cr_expect(row_is(id, "event_id::text ~ '^.{14}8.{4}[89ab]'"), "version 8: %s", first);
    sql_exec(bench_url(), "UPDATE webhook.change_events SET event_id = NULL WHERE id = %ld", id);
    identify(j, 10);
    const char *second =
        sql_text(bench_url(), "SELECT event_id FROM webhook.change_events WHERE id = %ld", id);
    cr_expect_str_eq(first, second);
}

Test(store_retention, an_identified_row_is_published_and_claimed_like_any_other)
{
    struct store *s = bench_store("w1");
    struct bench_rows r;
    struct change_event ev;
    legacy("queued");
    BENCH_ASK(r, store_unpublished(s, &(struct store_place){0}, 0, 10, BENCH_CB(r)));
    cr_expect_not(store_event(r.rows, 0, &ev), "without an id it cannot be a job");
    identify(s, 10);
    BENCH_ASK(r, store_unpublished(s, &(struct store_place){0}, 0, 10, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_assert(store_event(r.rows, 0, &ev));
    cr_expect_eq(bench_claim_ok(s, &ev), 1);
    cr_expect_eq(
        bench_complete(s, &ev, 1, bench_document("https://old.test/", "t", "x"), NULL), HL_OK);
    event_release(&ev);
}

Test(store_retention, a_legacy_row_in_progress_is_held_until_the_job_limit_counted_from_first_sight)
{
    struct store *s = bench_store("w1");
    struct bench_rows r;
    struct change_event ev;
    long id = legacy("in_progress");
    BENCH_ASK(r, store_reap(s, &limits, 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "not seen before: no id, no time");
    identify(s, 10);
    BENCH_ASK(r, store_reap(s, &limits, 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "the original may be at it");

    sql_exec(bench_url(),
        "UPDATE webhook.change_events SET claimed_at = now() - interval '16 minutes'"
        " WHERE id = %ld",
        id);
    BENCH_ASK(r, store_reap(s, &limits, 10, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_assert(store_event(r.rows, 0, &ev));
    cr_expect(row_is(id, "rescrape_status = 'queued' AND claim_epoch = 1"));
    cr_expect_eq(bench_claim_ok(s, &ev), 2);
    event_release(&ev);
}

Test(store_retention, a_legacy_row_in_progress_is_nobodys_to_claim)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event("https://c/");
    bench_accept(s, ev, NULL);
    bench_set(ev, "rescrape_status = 'in_progress', claimed_by = NULL, claimed_at = now()");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_HELD);
}

/* --- partitions -------------------------------------------------------------------------- */

#define PARTITIONS                                                                                 \
    "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid"                       \
    " WHERE inhparent = 'webhook.request_metrics'::regclass AND relname ~ '_[0-9]{8}$'"

static void insert_request(const char *when)
{
    sql_exec(bench_url(),
        "INSERT INTO webhook.request_metrics (id, timestamp, method, path, status_code,"
        " duration_ms, created_at) SELECT gen_random_uuid(), %s, 'GET', '/', 200, 1, now()",
        when);
}

static const char *partition_of_newest(void)
{
    return sql_text(bench_url(), "SELECT tableoid::regclass::text FROM webhook.request_metrics"
                                 " ORDER BY timestamp DESC LIMIT 1");
}

Test(store_retention, partitions_are_made_ahead_and_used)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    cr_expect_eq(sql_int(bench_url(), PARTITIONS), 4, "the migration makes today and three more");
    sql_exec(bench_url(),
        "DO $$ DECLARE c regclass; BEGIN FOR c IN SELECT inhrelid FROM pg_inherits"
        " JOIN pg_class ON oid = inhrelid WHERE relname ~ '_metrics_[0-9]{8}$'"
        " LOOP EXECUTE format('DROP TABLE %%s', c); END LOOP; END $$");
    BENCH_ASK(r, store_partitions(j, 90, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "8", "%s", bench_cell(&r, 0, 0));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "0");
    BENCH_ASK(r, store_partitions(j, 90, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0", "all there");
    insert_request("now() + interval '1 day'");
    cr_expect_str_eq(partition_of_newest(),
        sql_text(bench_url(), "SELECT 'webhook.request_metrics_'"
                              " || to_char((now() + interval '1 day') AT TIME ZONE 'UTC',"
                              " 'YYYYMMDD')"));
}

Test(store_retention, a_day_that_has_rows_in_the_default_partition_stays_there)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(), "DO $$ BEGIN EXECUTE 'DROP TABLE webhook.request_metrics_'"
                          " || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'); END $$");
    insert_request("now()");
    BENCH_ASK(r, store_partitions(j, 90, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
    cr_expect_str_eq(partition_of_newest(), "webhook.request_metrics_default");
}

Test(store_retention, old_partitions_are_dropped_and_nothing_else)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(),
        "CREATE TABLE webhook.request_metrics_20200101 PARTITION OF webhook.request_metrics"
        " FOR VALUES FROM ('2020-01-01 00:00Z') TO ('2020-01-02 00:00Z');"
        "CREATE TABLE webhook.request_metrics_20200102 (x int);"
        "CREATE TABLE webhook.request_metrics_archive PARTITION OF webhook.request_metrics"
        " FOR VALUES FROM ('2019-01-01 00:00Z') TO ('2019-02-01 00:00Z')");
    BENCH_ASK(r, store_partitions(j, 0, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "0", "0 days: for ever");
    BENCH_ASK(r, store_partitions(j, 90, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "1", "%s", bench_cell(&r, 0, 1));
    cr_expect_str_eq(sql_text(bench_url(),
                         "SELECT concat_ws(' ', to_regclass('webhook.request_metrics_20200101'),"
                         " to_regclass('webhook.request_metrics_20200102'),"
                         " to_regclass('webhook.request_metrics_archive'))"),
        "webhook.request_metrics_20200102 webhook.request_metrics_archive");
    cr_expect_eq(sql_int(bench_url(), PARTITIONS), 4);
}

Test(store_retention, partitions_are_kept_by_a_role_that_may_create_nothing)
{
    struct bench_rows r;
    sql_exec(bench_url(),
        "DO $$ BEGIN IF to_regrole('hookline_worker') IS NULL THEN"
        " CREATE ROLE hookline_worker LOGIN; END IF; END $$;"
        "GRANT USAGE ON SCHEMA webhook TO hookline_worker;"
        "CREATE TABLE webhook.request_metrics_20200101 PARTITION OF webhook.request_metrics"
        " FOR VALUES FROM ('2020-01-01 00:00Z') TO ('2020-01-02 00:00Z')");
    const char *url =
        sql_text(bench_url(), "SELECT replace('%s', 'postgres@', 'hookline_worker@')", bench_url());
    struct store *j = bench_store_at(url, NULL);
    BENCH_ASK(r, store_partitions(j, 90, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "1");
}

/* --- rows that are too old --------------------------------------------------------------- */

Test(store_retention, metrics_outside_partitions_are_deleted_a_few_at_a_time)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    for (int i = 0; i < 5; i++)
        insert_request("now() - interval '91 days'");
    insert_request("now() - interval '89 days'");
    BENCH_ASK(r, store_prune_metrics(j, METRICS_REQUESTS, 90, 3, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "3");
    BENCH_ASK(r, store_prune_metrics(j, METRICS_REQUESTS, 90, 3, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "2");
    BENCH_ASK(r, store_prune_metrics(j, METRICS_OPERATIONS, 90, 3, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
    cr_expect_eq(bench_count("webhook.request_metrics"), 1);
}

Test(store_retention, only_finished_events_beyond_their_days_are_deleted)
{
    static const struct {
        const char *status, *created, *finished;
        bool kept;
    } cases[] = {
        {"completed",   "40 days", "39 days", false},
        {"queued",      "40 days", NULL,      true },
        {"failed: x",   "40 days", NULL,      false}, /* of the replaced service */
        {"in_progress", "40 days", NULL,      true },
        {"superseded",  "40 days", "29 days", true },
        {"completed",   "29 days", "29 days", true },
        {"completed",   "50 days", "50 days", true }, /* behind a younger one: another day */
    };
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        sql_exec(bench_url(),
            "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, created_at,"
            " finished_at) VALUES ('%zu', 'u', '%s', now() - interval '%s', now() - %s%s%s)",
            i, cases[i].status, cases[i].created, cases[i].finished ? "interval '" : "",
            cases[i].finished ? cases[i].finished : "NULL::interval", cases[i].finished ? "'" : "");
    int64_t after = 0;
    int deleted = 0;
    for (bool younger = false; !younger;) {
        BENCH_ASK(r, store_prune_events(j, 30, after, 3, BENCH_CB(r)));
        deleted += atoi(bench_cell(&r, 0, 0));
        after = db_int(r.rows, 0, 1);
        younger = bench_cell(&r, 0, 2)[0] == 't';
        cr_assert(younger || after, "the end was reached without a younger row");
    }
    cr_expect_eq(deleted, 2, "%d", deleted);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases) - 1; i++)
        cr_expect_eq(sql_int(bench_url(),
                         "SELECT count(*) FROM webhook.change_events WHERE watch_id = '%zu'", i),
            cases[i].kept, "case %zu", i);
    BENCH_ASK(r, store_prune_events(j, 30, INT64_MAX, 3, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "", "nothing behind the last");
}

Test(store_retention, documents_are_walked_in_the_order_of_their_keys)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(),
        "INSERT INTO webhook.documents (url_key, canonical_url, url, text, content_hash, search,"
        " scrape_seq, scraped_at) SELECT sha256(n::text::bytea), n::text, n::text, 't', '', '', 1,"
        " now() - n * interval '1 day' FROM generate_series(1, 20) n");
    int deleted = 0, steps = 0;
    const char *after = "";
    do {
        BENCH_ASK(r, store_prune_documents(j, 10, after, 6, BENCH_CB(r)));
        deleted += atoi(bench_cell(&r, 0, 0));
        after = bench_cell(&r, 0, 1);
        steps++;
    } while (*after);
    cr_expect_eq(steps, 5, "%d", steps);
    cr_expect(deleted == 10 || deleted == 11, "%d", deleted);
    cr_expect_eq(bench_count("webhook.documents WHERE scraped_at < now() - interval '10 days'"), 0);
    cr_expect_eq(bench_count("webhook.documents"), 20 - deleted);
}

/* --- one at a time ----------------------------------------------------------------------- */

enum { LEASE_MS = 300000, EVERY_MS = 3600000 };

static bool holds(struct store *j, const char *holder)
{
    struct bench_rows r;
    BENCH_ASK(r, store_retention_hold(j, holder, LEASE_MS, EVERY_MS, BENCH_CB(r)));
    return bench_nrows(&r) == 1;
}

static void ends(struct store *j, const char *holder)
{
    struct bench_rows r;
    BENCH_ASK(r, store_retention_done(j, holder, BENCH_CB(r)));
}

static void set_duty(const char *assignments)
{
    sql_exec(bench_url(), "UPDATE webhook.duties SET %s WHERE name = 'retention'", assignments);
}

Test(store_retention, one_holds_it_until_it_is_done_and_nobody_before_the_interval_is_over)
{
    struct store *j = bench_store(NULL), *k = bench_store(NULL);
    cr_expect(holds(j, "a"), "never done before");
    cr_expect_not(holds(k, "b"));
    cr_expect(holds(j, "a"), "the same again");
    ends(k, "b");
    cr_expect_not(holds(k, "b"), "who does not have it ends nothing");
    ends(j, "a");
    cr_expect_not(holds(j, "a"));
    cr_expect_not(holds(k, "b"));
    set_duty("done_at = now() - interval '59 minutes'");
    cr_expect_not(holds(k, "b"));
    set_duty("done_at = now() - interval '61 minutes'");
    cr_expect(holds(k, "b"));
    cr_expect(holds(k, "b"), "while it runs the interval does not count");
}

Test(store_retention, who_is_silent_for_its_lease_is_succeeded)
{
    struct store *j = bench_store(NULL);
    cr_expect(holds(j, "a"));
    set_duty("held_until = now() - interval '1 second'");
    cr_expect(holds(j, "b"));
    cr_expect_not(holds(j, "a"), "it was taken for dead");
    ends(j, "b");
    cr_expect_not(holds(j, "a"), "and its work was done");
}

Test(store_retention, a_clock_that_was_wrong_stops_it_for_no_longer_than_a_lease)
{
    struct store *j = bench_store(NULL);
    cr_expect(holds(j, "a"));
    set_duty("held_until = now() + interval '1 year'");
    cr_expect(holds(j, "b"));
    ends(j, "b");
    set_duty("done_at = now() + interval '1 year'");
    cr_expect(holds(j, "c"));
}

/* --- fire and forget --------------------------------------------------------------------- */

Test(store_retention, a_statement_may_be_fired_and_forgotten)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(), "INSERT INTO webhook.workers (id, host, pid, dead_at)"
                          " VALUES ('gone', 'h', 1, now())");
    store_forget_worker(j, "gone", NULL, NULL);
    BENCH_ASK(r, store_ping(j, 0, BENCH_CB(r)));
    BENCH_UNTIL(bench_count("webhook.workers") == 0);
    sql_exec(bench_url(), "ALTER TABLE webhook.workers RENAME TO away");
    store_forget_worker(j, "gone", NULL, NULL); /* fails, and nobody minds */
    BENCH_ASK(r, store_ping(j, 0, BENCH_CB(r)));
}
