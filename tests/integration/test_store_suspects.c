/* store, crashes: the dossier, who is suspected, who is condemned; and who keeps off suspects.
 * Against a real PostgreSQL. */
#include "base/buf.h"
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(store_suspects, .init = bench_start, .fini = bench_stop, .timeout = 120);

static const char page[] = "https://example.com/page";
static const struct store_limits limits = {
    .job_timeout_ms = 900000, .lease_ms = 30000, .max_starts = 3};

/* Worker w1 dies holding these events. Rows of the answer. */
static int crash(struct store *j, const char *role, bool blamed, struct change_event *const *evs,
    size_t n, struct bench_rows *r)
{
    struct buf ids = {0};
    struct store_crash c = {.worker = "w1",
        .host = "h",
        .role = role,
        .cause = "signal 11",
        .pid = 7,
        .signo = 11,
        .exit_code = -1,
        .blamed = blamed,
        .max_rss_kb = 1000,
        .lived_ms = 5000,
        .held = "[{\"event_id\": \"x\", \"step\": \"SCRAPE\"}]"};
    buf_puts(&ids, "{");
    for (size_t i = 0; i < n; i++)
        buf_printf(&ids, "%s%s", i ? "," : "", bench_id(evs[i]));
    buf_puts(&ids, "}");
    c.suspects = buf_str(&ids);
    BENCH_ASK(*r, store_crash(j, &c, BENCH_CB(*r)));
    buf_release(&ids);
    return bench_nrows(r);
}

static struct store_claim claim_alone(struct store *s, const struct change_event *ev)
{
    struct bench_got got = {0};
    struct store_claim c = {.ev = ev, .alone = true, .req = BENCH_REQ(&got)};
    store_claim(s, &c);
    BENCH_UNTIL(got.calls);
    cr_assert_eq(got.rc, HL_OK);
    return c;
}

/* --- a crash ----------------------------------------------------------------------------- */

Test(store_suspects, a_crash_is_written_down_and_the_worker_is_dead)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    struct bench_rows r;
    bench_begin(s, ev);
    cr_assert_eq(crash(j, "worker", true, &ev, 1, &r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "", "nobody is condemned");
    cr_expect_str_eq(bench_cell(&r, 0, 9), "1");
    cr_expect_str_eq(bench_cell(&r, 0, 10), "0");
    cr_expect_str_eq(sql_text(bench_url(), "SELECT concat_ws('|', worker, host, pid, role, signal,"
                                           " exit_code IS NULL, cause, blamed, max_rss_kb,"
                                           " lived_ms, held -> 0 ->> 'step')"
                                           " FROM webhook.worker_crashes"),
        "w1|h|7|worker|11|t|signal 11|t|1000|5000|SCRAPE");
    cr_expect_eq(
        bench_count("webhook.workers WHERE dead_at IS NOT NULL AND cause = 'signal 11'"), 1);
    cr_expect(bench_is(ev, "suspect = 1 AND starts = 0 AND rescrape_status = 'in_progress'"));
}

/* Nobody may know whether the first time was committed. */
Test(store_suspects, a_crash_written_twice_counts_once)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    struct bench_rows r;
    bench_begin(s, ev);
    bench_set(ev, "starts = 3");
    crash(j, "worker", true, &ev, 1, &r);
    cr_expect_eq(crash(j, "worker", true, &ev, 1, &r), 0);
    cr_expect(bench_is(ev, "suspect = 1 AND starts = 2"));
    cr_expect_eq(bench_count("webhook.worker_crashes"), 1);
}

Test(store_suspects, who_is_condemned_is_told_again_when_the_answer_was_lost)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    struct bench_rows r;
    bench_begin(s, ev);
    bench_set(ev, "suspect = 3");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(crash(j, "solo", true, &ev, 1, &r), 1);
        cr_expect_str_eq(bench_cell(&r, 0, 0), bench_id(ev));
        cr_expect_str_eq(bench_cell(&r, 0, 8), "failed: crashed its worker 4 times");
    }
    cr_expect_eq(bench_count("webhook.worker_crashes"), 1);
}

Test(store_suspects, who_is_not_to_blame_leaves_no_suspect_and_is_charged)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    struct bench_rows r;
    bench_begin(s, ev);
    cr_assert_eq(crash(j, "worker", false, &ev, 1, &r), 1);
    cr_expect(bench_is(ev, "suspect = 0 AND starts = 1"));
    cr_expect_eq(bench_count("webhook.worker_crashes WHERE NOT blamed"), 1);
}

Test(store_suspects, only_what_the_dead_worked_on_is_suspected)
{
    static const struct {
        const char *set;
        int suspect, starts; /* afterwards; starts were 2 */
        bool named;
    } cases[] = {
        {"starts = 2",                                                1, 1, true },
        {"starts = 2",                                                0, 1, false}, /* was claiming */
        {"starts = 2, claimed_by = NULL, rescrape_status = 'queued'", 1, 1, true }, /* reaped */
        {"starts = 2, claimed_by = NULL, rescrape_status = 'queued'", 0, 2, false},
        {"starts = 2, claimed_by = 'w2'",                             0, 2, true }, /* another has it */
        {"starts = 2, rescrape_status = 'completed'",                 0, 2, true },
        {"starts = 2, rescrape_status = 'failed: x'",                 0, 2, true },
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *evs[N], *named[N];
    struct bench_rows r;
    size_t n = 0;
    bench_store("w2");
    for (int i = 0; i < N; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        bench_begin(s, evs[i]);
        bench_set(evs[i], cases[i].set);
        if (cases[i].named)
            named[n++] = evs[i];
    }
    cr_assert_eq(crash(j, "worker", true, named, n, &r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 9), "2");
    for (int i = 0; i < N; i++) {
        cr_expect_eq(
            atoi(bench_col(evs[i], "suspect")), cases[i].suspect, "%d: %s", i, cases[i].set);
        cr_expect_eq(atoi(bench_col(evs[i], "starts")), cases[i].starts, "%d: %s", i, cases[i].set);
    }
}

Test(store_suspects, who_crashes_alone_twice_has_failed)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page), back;
    struct bench_rows r;
    int64_t epoch = bench_begin(s, ev);
    bench_set(ev, "suspect = 2");
    cr_assert_eq(crash(j, "solo", true, &ev, 1, &r), 1);
    cr_expect_not(store_event(r.rows, 0, &back), "once may be chance");
    cr_expect_str_eq(bench_col(ev, "suspect"), "3");
    sql_exec(bench_url(), "TRUNCATE webhook.worker_crashes");
    cr_assert_eq(crash(j, "solo", true, &ev, 1, &r), 1);
    cr_assert(store_event(r.rows, 0, &back));
    cr_expect(uuid_equal(&back.id, &ev->id));
    event_release(&back);
    cr_expect_str_eq(bench_cell(&r, 0, 8), "failed: crashed its worker 4 times");
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "failed: crashed its worker 4 times");
    cr_expect(bench_is(ev, "claimed_by IS NULL AND claim_epoch = 2 AND finished_at IS NOT NULL"));
    cr_expect(bench_is(ev, "attempts = 0 AND metadata ->> 'error' LIKE '%signal 11'"));
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "x"), NULL), HL_LOST);
    BENCH_ASK(r, store_reap(j, &limits, 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
}

Test(store_suspects, a_crash_of_somebody_unknown_is_written_down_too)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    cr_expect_eq(crash(j, "worker", true, NULL, 0, &r), 1);
    cr_expect_eq(bench_count("webhook.worker_crashes"), 1);
}

/* As much as a process may have in hand. */
Test(store_suspects, a_crash_with_sixteen_thousand_jobs_is_one_statement)
{
    enum { MANY = 16384 };
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    bench_store("w1");
    sql_exec(bench_url(),
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        " rescrape_status, claimed_by, claim_epoch, starts)"
        " SELECT gen_random_uuid(), 'w', 'https://m/' || i, sha256(int8send(i)), now(),"
        "  'in_progress', 'w1', 1, 1 FROM generate_series(1, %d) i",
        MANY);
    const struct store_crash c = {.worker = "w1",
        .host = "h",
        .role = "worker",
        .cause = "hung",
        .exit_code = -1,
        .blamed = true,
        .held = sql_text(bench_url(), "SELECT jsonb_agg(jsonb_build_object('event_id', event_id,"
                                      " 'step', 'SCRAPE')) FROM webhook.change_events"),
        .suspects = sql_text(bench_url(), "SELECT array_agg(event_id) FROM webhook.change_events")};
    int64_t began = harness_now_ms();
    BENCH_ASK(r, store_crash(j, &c, BENCH_CB(r)));
    cr_log_info("%lld ms", (long long)(harness_now_ms() - began));
    cr_expect_eq(atoi(bench_cell(&r, 0, 9)), MANY);
    cr_expect_eq(bench_count("webhook.change_events WHERE suspect = 1 AND starts = 0"), MANY);
    cr_expect_eq(bench_count("webhook.worker_crashes WHERE jsonb_array_length(held) = 16384"), 1);
}

/* --- who keeps off suspects, and who does not -------------------------------------------- */

Test(store_suspects, a_suspect_is_claimed_by_a_process_that_is_alone_only)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    bench_accept(s, ev, NULL);
    bench_set(ev, "suspect = 1");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_OK, "once may be chance");
    bench_set(ev, "suspect = 2");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_OK, "our own, whose answer was lost");
    bench_set(ev, "rescrape_status = 'in_progress', claimed_by = 'gone'");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_HELD, "of a dead worker");
    bench_set(ev, "rescrape_status = 'queued', claimed_by = NULL");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_HELD);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND starts = 1"));
    cr_expect_eq(claim_alone(s, ev).state, CLAIM_OK);
    cr_expect(bench_is(ev, "rescrape_status = 'in_progress' AND claimed_by = 'w1'"));
    bench_set(ev, "rescrape_status = 'failed: crashed its worker 4 times'");
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_DONE);
}

Test(store_suspects, a_suspect_goes_to_no_queue)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page), *other = bench_event("https://b/");
    struct bench_rows r;
    bench_begin(s, ev);
    bench_begin(s, other);
    bench_set(ev, "suspect = 2, claimed_by = 'gone'");
    bench_set(other, "suspect = 1, claimed_by = 'gone'");
    BENCH_ASK(r, store_reap(j, &limits, 10, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 2);
    for (int i = 0; i < 2; i++)
        cr_expect_str_eq(
            bench_cell(&r, i, 9), strcmp(bench_cell(&r, i, 0), bench_id(ev)) == 0 ? "t" : "f");
    BENCH_ASK(r, store_unpublished(j, &(struct store_place){0}, 0, 10, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), bench_id(other));
}

Test(store_suspects, the_next_suspect_is_the_oldest_that_may_run)
{
    static const char *const not_now[] = {
        "suspect = 1",
        "suspect = NULL",
        "next_attempt_at = now() + interval '1 minute'",
        "rescrape_status = 'in_progress', claimed_by = 'w1'",
        "rescrape_status = 'failed: x'",
        "watch_url = 'https://busy/', url_key = sha256('https://busy/')",
    };
    enum { N = sizeof(not_now) / sizeof(*not_now) };
    struct store *s = bench_store("w1");
    struct change_event *busy = bench_event("https://busy/"), *first, *second;
    struct bench_rows r;
    BENCH_ASK(r, store_next_suspect(s, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
    bench_begin(s, busy);
    for (int i = 0; i < N; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        struct change_event *ev = bench_event(at);
        bench_accept(s, ev, NULL);
        bench_set(ev, "suspect = 2");
        bench_set(ev, not_now[i]);
    }
    bench_accept(s, first = bench_event("https://first/"), NULL);
    bench_accept(s, second = bench_event("https://second/"), NULL);
    bench_set(second, "suspect = 3");
    bench_set(first, "suspect = 2, next_attempt_at = now() - interval '1 second'");
    BENCH_ASK(r, store_next_suspect(s, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), bench_id(first));
    cr_expect_str_eq(bench_cell(&r, 0, 8), "2");
    sql_exec(bench_url(), "UPDATE webhook.queues SET paused_at = now()");
    BENCH_ASK(r, store_next_suspect(s, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "the queue is paused");
}

Test(store_suspects, a_result_clears_the_suspicion_and_a_release_does_not)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    bench_set(ev, "suspect = 2");
    bench_settle(s, ev, epoch, (struct bench_settle){0}, NULL);
    cr_expect_str_eq(bench_col(ev, "suspect"), "2");
    epoch = claim_alone(s, ev).epoch;
    bench_settle(s, ev, epoch, (struct bench_settle){.charge = true}, NULL);
    cr_expect_str_eq(bench_col(ev, "suspect"), "0");
    epoch = bench_claim_ok(s, ev);
    bench_set(ev, "suspect = 1");
    bench_complete(s, ev, epoch, bench_document(page, "t", "x"), NULL);
    cr_expect_str_eq(bench_col(ev, "suspect"), "0");
}

/* --- retention --------------------------------------------------------------------------- */

Test(store_suspects, old_dossiers_are_deleted_a_few_at_a_time)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    sql_exec(bench_url(),
        "INSERT INTO webhook.worker_crashes (worker, host, pid, role, cause, blamed, crashed_at)"
        " SELECT 'w' || i, 'h', i, 'worker', 'x', true, now() - i * interval '1 day'"
        " FROM generate_series(1, 5) i");
    BENCH_ASK(r, store_prune_crashes(j, 2, 2, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "2");
    cr_expect_eq(bench_count("webhook.worker_crashes WHERE worker IN ('w1', 'w2', 'w3')"), 3,
        "the oldest go first");
    BENCH_ASK(r, store_prune_crashes(j, 2, 10, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "2", "two days old to the moment is too old as well");
    BENCH_ASK(r, store_prune_crashes(j, 2, 10, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
}
