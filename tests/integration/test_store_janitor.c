/* store, the lease and the janitor: beats, deaths, zombies, what is to be published again; and what
 * people read. Against a real PostgreSQL. */
#include "base/buf.h"
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(store_janitor, .init = bench_start, .fini = bench_stop, .timeout = 120);

static const char page[] = "https://example.com/page";
static const struct store_limits limits = {
    .job_timeout_ms = 900000, .lease_ms = 30000, .max_starts = 3};

static const char *worker(const char *id, const char *column)
{
    return sql_text(
        bench_url(), "SELECT (%s)::text FROM webhook.workers WHERE id = '%s'", column, id);
}

/* --- the lease --------------------------------------------------------------------------- */

Test(store_janitor, a_worker_registers_once_and_resigns)
{
    struct store *s = bench_store("w1");
    struct bench_rows r;
    cr_expect_str_eq(worker("w1", "pid"), sql_text(bench_url(), "SELECT %d", (int)getpid()));
    cr_expect_str_eq(worker("w1", "beat"), "0");
    BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
    BENCH_ASK(r, store_register(s, BENCH_CB(r)));
    cr_expect_str_eq(worker("w1", "beat"), "1", "a repeated registration changes nothing");
    BENCH_ASK(r, store_resign(s, BENCH_CB(r)));
    cr_expect_eq(bench_count("webhook.workers"), 0);
}

Test(store_janitor, renewing_beats_and_returns_one_row)
{
    struct store *s = bench_store("w1");
    struct change_event ev;
    struct bench_rows r;
    for (int i = 1; i <= 3; i++) {
        sql_exec(bench_url(), "UPDATE webhook.workers SET seen_at = now() - interval '1 hour'");
        BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
        cr_assert_eq(bench_nrows(&r), 1);
        cr_expect_not(store_event(r.rows, 0, &ev), "nothing was given back");
        cr_expect_eq(atoi(worker("w1", "beat")), i);
        cr_expect_str_eq(worker("w1", "seen_at > now() - interval '1 minute'"), "true");
    }
}

Test(store_janitor, who_was_declared_dead_cannot_renew_and_gives_nothing_back)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    struct bench_rows r;
    bench_begin(s, ev);
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now()");
    BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
    cr_expect_str_eq(worker("w1", "beat"), "0");
    cr_expect(bench_is(ev, "rescrape_status = 'in_progress' AND claimed_by = 'w1'"));
}

Test(store_janitor, claims_that_we_do_not_know_of_come_back_uncharged)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *held = bench_event("https://a/"), *lost = bench_event("https://b/");
    struct change_event *done = bench_event("https://c/"), *foreign = bench_event("https://d/");
    struct bench_rows r;
    struct buf ids = {0};
    bench_begin(s, held);
    bench_begin(s, lost);
    bench_set(lost, "starts = 2");
    bench_settle(s, done, bench_begin(s, done), (struct bench_settle){.status = "failed: x"}, NULL);
    bench_begin(t, foreign);
    buf_printf(&ids, "{%s}", bench_id(held));

    struct change_event back;
    for (int beats = 0; beats < 3; beats++) { /* three make a lease */
        BENCH_ASK(r, store_renew(s, buf_str(&ids), 0, BENCH_CB(r)));
        cr_expect_not(store_event(r.rows, 0, &back), "its answer may be on its way");
    }
    BENCH_ASK(r, store_renew(s, buf_str(&ids), 0, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_assert(store_event(r.rows, 0, &back));
    cr_expect(uuid_equal(&back.id, &lost->id));
    cr_expect_str_eq(back.watch_id, lost->watch_id);
    cr_expect_str_eq(back.watch_url, lost->watch_url);
    cr_expect_str_eq(back.diff_summary, lost->diff_summary);
    cr_expect_str_eq(back.metadata, lost->metadata);
    cr_expect_null(back.snapshot_url);
    cr_expect_eq(back.detected_at, lost->detected_at);
    cr_expect_arr_eq(back.body_digest, lost->body_digest, DIGEST_LEN);
    event_release(&back);
    cr_expect(bench_is(lost, "rescrape_status = 'queued' AND claimed_by IS NULL"));
    cr_expect(bench_is(lost, "claim_epoch = 2 AND starts = 1 AND attempts = 0"));
    cr_expect(bench_is(held, "rescrape_status = 'in_progress' AND claim_epoch = 1"));
    cr_expect(bench_is(foreign, "rescrape_status = 'in_progress' AND claimed_by = 'w2'"));
    cr_expect_str_eq(bench_col(done, "rescrape_status"), "failed: x");
    cr_expect_eq(bench_settle(s, lost, 1, (struct bench_settle){0}, NULL), HL_LOST);

    bench_set(held, "starts = 0");
    BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
    cr_expect_str_eq(bench_col(held, "starts"), "0", "never below nothing");
    buf_release(&ids);
}

/* --- deaths ------------------------------------------------------------------------------ */

Test(store_janitor, death_is_declared_only_on_the_beat_that_was_seen)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
    BENCH_ASK(r, store_workers(j, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "w1");
    cr_expect_str_eq(bench_cell(&r, 0, 1), "1");

    BENCH_ASK(r, store_declare_dead(j, "w1", 0, "silent", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "it has beaten since");
    cr_expect_str_eq(worker("w1", "dead_at IS NULL"), "true");
    BENCH_ASK(r, store_declare_dead(j, "w1", 1, "silent", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(worker("w1", "dead_at IS NOT NULL AND cause = 'silent'"), "true");
    BENCH_ASK(r, store_declare_dead(j, "w1", 1, "again", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "only once");
    cr_expect_str_eq(worker("w1", "cause"), "silent");
    BENCH_ASK(r, store_workers(j, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
    BENCH_ASK(r, store_dead_workers(j, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "w1");
}

Test(store_janitor, a_known_death_needs_no_beat)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_renew(s, "{}", 0, BENCH_CB(r)));
    BENCH_ASK(r, store_declare_dead(j, "w1", -1, "killed", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    BENCH_ASK(r, store_declare_dead(j, "nobody", -1, "killed", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0);
}

Test(store_janitor, of_two_janitors_one_declares_a_death)
{
    struct store *j[] = {bench_store(NULL), bench_store(NULL)};
    for (int i = 0; i < 30; i++) {
        struct bench_rows r[2] = {0};
        char id[16];
        snprintf(id, sizeof(id), "w%d", i);
        sql_exec(
            bench_url(), "INSERT INTO webhook.workers (id, host, pid) VALUES ('%s', 'h', 1)", id);
        for (int k = 0; k < 2; k++)
            store_declare_dead(j[k], id, 0, "silent", bench_answered, &r[k]);
        BENCH_UNTIL(r[0].calls && r[1].calls);
        cr_assert_eq(bench_nrows(&r[0]) + bench_nrows(&r[1]), 1);
    }
}

Test(store_janitor, a_dead_worker_is_forgotten_when_it_owns_nothing)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page), *finished = bench_event("https://b/");
    struct bench_rows r;
    bench_settle(
        s, finished, bench_begin(s, finished), (struct bench_settle){.status = "failed: x"}, NULL);
    int64_t epoch = bench_begin(s, ev);
    bench_claim(s, ev);
    BENCH_ASK(r, store_forget_worker(j, "w1", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "it lives");
    BENCH_ASK(r, store_declare_dead(j, "w1", -1, "killed", BENCH_CB(r)));
    BENCH_ASK(r, store_forget_worker(j, "w1", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "it owns a row in progress");
    cr_assert_eq(bench_settle(s, ev, epoch + 1, (struct bench_settle){0}, NULL), HL_OK);
    BENCH_ASK(r, store_forget_worker(j, "w1", BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1, "a finished row that names it does not matter");
    cr_expect_eq(bench_count("webhook.workers"), 0);
}

/* --- zombies ----------------------------------------------------------------------------- */

static int reap(struct store *j, int max, struct bench_rows *r)
{
    BENCH_ASK(*r, store_reap(j, &limits, max, bench_answered, r));
    return bench_nrows(r);
}

Test(store_janitor, only_zombies_are_reaped)
{
    static const struct {
        const char *set;
        bool reaped;
    } cases[] = {
        {"starts = 1",                                                                 false},
        {"claimed_beat = -93",                                                         false}, /* the owner's turn */
        {"claimed_beat = -94",                                                         true }, /* 10 s each */
        {"claimed_at = now() - interval '1 hour'",                                     false}, /* a clock was set ... */
        {"claimed_at = now() + interval '1 hour'",                                     false},
        {"claimed_by = 'gone', claimed_at = now() + interval '1 hour'",                true }, /* ... or back */
        {"claimed_beat = NULL, claimed_at = now() - interval '15 minutes'",            false},
        {"claimed_beat = NULL, claimed_at = now() - interval '15 minutes 31 seconds'", true },
        {"claimed_by = 'dead'",                                                        true },
        {"claimed_by = 'gone'",                                                        true },
        {"claimed_by = 'dead', rescrape_status = 'queued'",                            false},
        {"claimed_by = 'dead', rescrape_status = 'completed'",                         false},
        {"claimed_by = 'dead', rescrape_status = 'failed: x'",                         false},
        {"detected_at = now() - interval '10 years'",                                  false}, /* the sender's clock */
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *evs[N];
    struct bench_rows r;
    int zombies = 0;
    sql_exec(bench_url(), "INSERT INTO webhook.workers (id, host, pid, dead_at) "
                          "VALUES ('dead', 'h', 1, now())");
    for (int i = 0; i < N; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        bench_begin(s, evs[i]);
        bench_set(evs[i], cases[i].set);
        zombies += cases[i].reaped;
    }
    cr_expect_eq(reap(j, 100, &r), zombies);
    for (int i = 0; i < N; i++)
        cr_expect_eq(bench_is(evs[i], "claim_epoch = 2"), cases[i].reaped, "%s", cases[i].set);
    cr_expect_eq(reap(j, 100, &r), 0);
}

Test(store_janitor, a_zombie_with_starts_left_is_queued_again)
{
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct change_event *ev = bench_event(page), back;
    struct bench_rows r;
    int64_t epoch = bench_begin(s, ev);
    bench_set(ev, "starts = 2, attempts = 1, claimed_by = 'gone'");
    cr_assert_eq(reap(j, 10, &r), 1);
    cr_assert(store_event(r.rows, 0, &back));
    cr_expect(uuid_equal(&back.id, &ev->id));
    event_release(&back);
    cr_expect_str_eq(bench_cell(&r, 0, 8), "queued");
    cr_expect(
        bench_is(ev, "rescrape_status = 'queued' AND claimed_by IS NULL AND claim_epoch = 2"));
    cr_expect(bench_is(ev, "starts = 2 AND attempts = 1 AND finished_at IS NULL"));
    cr_expect(bench_is(ev, "metadata ? 'zombie_cleanup_at' AND metadata ? 'original_detected_at'"));
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "x"), NULL), HL_LOST,
        "its owner comes too late");
    struct store_claim c = bench_claim(s, ev);
    cr_expect(c.state == CLAIM_OK && c.epoch == 3 && c.starts == 3);
}

Test(store_janitor, a_zombie_without_starts_left_has_failed)
{
    static const struct {
        const char *set, *status;
    } cases[] = {
        {"starts = 3, claimed_by = 'gone'",  "failed: worker died 3 times"         },
        {"starts = 7, claimed_by = 'gone'",  "failed: worker died 7 times"         },
        {"starts = 3, claimed_beat = -1000", "failed: job timeout after 15 minutes"},
    };
    struct store *s = bench_store("w1"), *j = bench_store(NULL);
    struct bench_rows r;
    for (int i = 0; i < 3; i++) {
        struct change_event *ev = bench_event(page);
        bench_begin(s, ev);
        bench_set(ev, cases[i].set);
        cr_assert_eq(reap(j, 10, &r), 1);
        cr_expect_str_eq(bench_cell(&r, 0, 8), cases[i].status);
        cr_expect_str_eq(bench_col(ev, "rescrape_status"), cases[i].status);
        cr_expect(bench_is(ev, "finished_at IS NOT NULL AND claimed_by IS NULL"));
        cr_expect_eq(bench_claim(s, ev).state, CLAIM_DONE);
    }
}

static void make_zombies(struct store *s, int n)
{
    for (int i = 0; i < n; i++)
        bench_accept(s, bench_event(page), NULL);
    sql_exec(bench_url(), "UPDATE webhook.change_events SET rescrape_status = 'in_progress', "
                          "claimed_by = 'gone', starts = 1 WHERE rescrape_status = 'queued'");
}

Test(store_janitor, zombies_are_reaped_a_few_at_a_time_oldest_first)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    make_zombies(j, 7);
    cr_expect_eq(reap(j, 3, &r), 3);
    cr_expect_str_eq(bench_cell(&r, 0, 0),
        sql_text(bench_url(), "SELECT event_id FROM webhook.change_events ORDER BY id LIMIT 1"));
    cr_expect_eq(reap(j, 3, &r), 3);
    cr_expect_eq(reap(j, 3, &r), 1);
}

Test(store_janitor, a_janitor_does_not_wait_for_rows_that_another_holds)
{
    struct store *j = bench_store(NULL);
    struct bench_rows r;
    make_zombies(j, 5);
    PGconn *other = PQconnectdb(bench_url());
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "SELECT FROM webhook.change_events ORDER BY id LIMIT 2 FOR UPDATE"));
    cr_expect_eq(reap(j, 10, &r), 3);
    PQfinish(other);
    WAIT_FOR(
        sql_int(bench_url(), "SELECT count(*) FROM webhook.change_events c WHERE id IN (SELECT "
                             "id FROM webhook.change_events FOR UPDATE SKIP LOCKED)") == 5,
        5000);
    cr_expect_eq(reap(j, 10, &r), 2);
}

Test(store_janitor, two_janitors_share_the_zombies)
{
    struct store *j[] = {bench_store(NULL), bench_store(NULL)};
    for (int round = 0; round < 10; round++) {
        struct bench_rows r[2] = {0};
        make_zombies(j[0], 20);
        for (int k = 0; k < 2; k++)
            store_reap(j[k], &limits, 100, bench_answered, &r[k]);
        BENCH_UNTIL(r[0].calls && r[1].calls);
        cr_assert(r[0].rc == HL_OK && r[1].rc == HL_OK);
        cr_assert_eq(bench_nrows(&r[0]) + bench_nrows(&r[1]), 20);
        cr_assert_eq(bench_count("webhook.change_events WHERE claim_epoch <> 1"), 0);
        sql_exec(bench_url(), "DELETE FROM webhook.change_events");
    }
}

/* --- what is to be published ------------------------------------------------------------- */

Test(store_janitor, unpublished_are_queued_due_and_not_brand_new)
{
    static const struct {
        const char *set;
        bool listed;
    } cases[] = {
        {"created_at = now() - interval '1 minute'",                                             true },
        {"created_at = now()",                                                                   false},
        {"created_at = now() - interval '1 day', next_attempt_at = now() + interval '1 hour'",
         false                                                                                        },
        {"created_at = now() - interval '1 day', next_attempt_at = now() - interval '1 s'",      false},
        {"created_at = now() - interval '1 day', next_attempt_at = now() - interval '1 minute'",
         true                                                                                         },
        {"created_at = now() - interval '1 day', suspect = 2",                                   false},
        {"created_at = now() - interval '1 day', rescrape_status = 'in_progress'",               false},
        {"created_at = now() - interval '1 day', rescrape_status = 'completed'",                 false},
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    struct store *s = bench_store(NULL);
    struct change_event *evs[N];
    struct bench_rows r;
    int wanted = 0, listed = 0;
    for (int i = 0; i < N; i++) {
        evs[i] = bench_event(page);
        bench_accept(s, evs[i], NULL);
        bench_set(evs[i], cases[i].set);
        wanted += cases[i].listed;
    }
    sql_exec(bench_url(),
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, "
        "created_at) VALUES ('legacy', 'u', 'queued', now() - interval '1 day')");
    BENCH_ASK(r, store_unpublished(s, &(struct store_place){0}, 30000, 100, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), wanted);
    for (int i = 0; i < N; i++)
        if (cases[i].listed)
            cr_expect_str_eq(
                bench_cell(&r, listed++, 0), bench_id(evs[i]), "those due longest first");
}

/* Events found from a place on; the place moves behind them. */
static int walk(struct store *s, struct store_place *place, int64_t grace_ms, int limit)
{
    struct bench_rows r;
    struct change_event ev;
    int n = 0;
    BENCH_ASK(r, store_unpublished(s, place, grace_ms, limit, BENCH_CB(r)));
    for (int i = 0; i < bench_nrows(&r); i++) {
        n += store_event(r.rows, i, &ev);
        event_release(&ev);
    }
    cr_expect_eq(store_went(r.rows, limit, place), n == limit);
    return n;
}

Test(store_janitor, unpublished_are_paged_by_the_time_they_became_due)
{
    struct store *s = bench_store(NULL);
    struct store_place place = {0};
    for (int i = 0; i < 25; i++)
        bench_accept(s, bench_event(page), NULL);
    cr_expect_eq(walk(s, &place, 0, 10), 10);
    cr_expect_eq(walk(s, &place, 0, 10), 10);
    cr_expect_eq(walk(s, &place, 0, 10), 5);
}

Test(store_janitor, a_walk_that_has_come_to_the_end_sees_only_what_is_due_since)
{
    struct store *s = bench_store(NULL);
    struct store_place place = {0};
    struct change_event *retry = bench_event("https://a/");
    bench_accept(s, retry, NULL);
    bench_set(retry, "next_attempt_at = now() + interval '1 hour'");
    bench_accept(s, bench_event(page), NULL);
    cr_expect_eq(walk(s, &place, 0, 10), 1);
    cr_expect_eq(walk(s, &place, 0, 10), 0);
    cr_expect_eq(walk(s, &place, 0, 10), 0, "an empty look moves the place on, too");
    bench_accept(s, bench_event("https://b/"), NULL);
    cr_expect_eq(walk(s, &place, 0, 10), 1);
    bench_set(retry, "next_attempt_at = now()");
    cr_expect_eq(walk(s, &place, 0, 10), 1, "its time has come since");
    cr_expect_eq(walk(s, &place, 0, 10), 0);
}

Test(store_janitor, the_generation_is_told_once)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_generation(s, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_eq(strlen(bench_cell(&r, 0, 0)), 36);
    cr_expect_str_eq(bench_cell(&r, 0, 1), "f");
    BENCH_ASK(r, store_announced(s, BENCH_CB(r)));
    BENCH_ASK(r, store_generation(s, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 1), "t");
}

/* --- claims without Redis ---------------------------------------------------------------- */

enum { ALL = 1000 };

static int claim_due(struct store *s, int max, int look, struct store_place *place, int64_t *looked)
{
    struct bench_rows r;
    struct change_event ev;
    int n = 0;
    int64_t seen;
    BENCH_ASK(r, store_claim_due(s, place, max, look, BENCH_CB(r)));
    for (int i = 0; i < bench_nrows(&r); i++) {
        n += store_event(r.rows, i, &ev);
        event_release(&ev);
    }
    seen = store_looked(r.rows, place);
    if (looked)
        *looked = seen;
    return n;
}

static int claim_first(struct store *s, int max)
{
    struct store_place start = {0};
    return claim_due(s, max, ALL, &start, NULL);
}

Test(store_janitor, only_what_is_due_and_free_is_claimed_by_row)
{
    static const struct {
        const char *set;
        bool claimed;
    } cases[] = {
        {"suspect = 0",                                          true },
        {"suspect = 1",                                          true },
        {"suspect = 2",                                          false},
        {"next_attempt_at = now() + interval '1 hour'",          false},
        {"next_attempt_at = now() - interval '1 second'",        true },
        {"rescrape_status = 'in_progress', claimed_by = 'gone'", false}, /* the janitor's */
        {"rescrape_status = 'completed'",                        false},
        {"rescrape_status = 'superseded'",                       false},
        {"event_id = NULL",                                      false},
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    struct store *s = bench_store("w1");
    for (int i = 0; i < N; i++) {
        struct change_event *ev = bench_event(page);
        bench_accept(s, ev, NULL);
        bench_set(ev, cases[i].set);
        cr_expect_eq(claim_first(s, 10), cases[i].claimed, "%s", cases[i].set);
        if (cases[i].claimed) {
            cr_expect(bench_is(ev, "rescrape_status = 'in_progress' AND claimed_by = 'w1'"));
            cr_expect(bench_is(ev, "claim_epoch = 1 AND starts = 1 AND next_attempt_at IS NULL"));
            cr_expect(bench_is(ev, "scrape_seq > accept_seq AND claimed_at IS NOT NULL"));
        }
        sql_exec(bench_url(), "DELETE FROM webhook.change_events");
    }
}

Test(store_janitor, claims_by_row_carry_what_a_job_needs)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page), got;
    struct bench_rows r;
    bench_accept(s, ev, NULL);
    bench_set(ev, "claim_epoch = 6, attempts = 2, starts = 1");
    BENCH_ASK(r, store_claim_due(s, &(struct store_place){0}, 5, ALL, BENCH_CB(r)));
    cr_assert(store_event(r.rows, 0, &got));
    cr_expect(uuid_equal(&got.id, &ev->id));
    cr_expect_str_eq(got.watch_url, page);
    event_release(&got);
    cr_expect_eq(db_int(r.rows, 0, DUE_EPOCH), 7);
    cr_expect_eq(db_int(r.rows, 0, DUE_STARTS), 2);
    cr_expect_eq(db_int(r.rows, 0, DUE_ATTEMPTS), 2);
    cr_expect_eq(bench_complete(s, ev, 7, bench_document(page, "t", "x"), NULL), HL_OK);
}

Test(store_janitor, a_paused_queue_and_a_dead_worker_claim_nothing_by_row)
{
    struct store *s = bench_store("w1");
    bench_accept(s, bench_event(page), NULL);
    sql_exec(bench_url(), "UPDATE webhook.queues SET paused_at = now()");
    cr_expect_eq(claim_first(s, 10), 0);
    sql_exec(bench_url(), "UPDATE webhook.queues SET paused_at = NULL");
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now()");
    cr_expect_eq(claim_first(s, 10), 0);
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = NULL");
    cr_expect_eq(claim_first(s, 10), 1);
}

Test(store_janitor, one_event_of_a_page_at_a_time_is_claimed_by_row)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *first = bench_event(page);
    bench_accept(s, first, NULL);
    for (int i = 0; i < 5; i++)
        bench_accept(s, bench_event(page), NULL);
    bench_accept(s, bench_event("https://other/"), NULL);
    cr_expect_eq(claim_first(s, 10), 2, "the oldest of each page");
    cr_expect(bench_is(first, "rescrape_status = 'in_progress'"));
    cr_expect_eq(claim_first(t, 10), 0, "somebody is at it");
    cr_assert_eq(
        bench_settle(s, first, 1, (struct bench_settle){.status = "failed: x"}, NULL), HL_OK);
    cr_expect_eq(claim_first(t, 10), 1);
}

Test(store_janitor, a_claim_by_row_takes_those_due_longest_and_goes_on_behind_them)
{
    struct store *s = bench_store("w1");
    struct change_event *evs[6];
    struct store_place place = {0};
    int64_t looked;
    for (int i = 0; i < 6; i++) {
        char url[40], set[80];
        snprintf(url, sizeof(url), "https://example.com/%d", i);
        evs[i] = bench_event(url);
        bench_accept(s, evs[i], NULL);
        snprintf(set, sizeof(set), "created_at = now() - interval '%d minutes'", i + 1);
        bench_set(evs[i], set);
    }
    bench_set(evs[5], "suspect = 2");
    cr_expect_eq(claim_due(s, 10, 2, &place, &looked), 1, "of the two oldest one is held back");
    cr_expect_eq(looked, 2);
    cr_expect(bench_is(evs[4], "rescrape_status = 'in_progress'"));
    cr_expect_eq(claim_due(s, 1, 3, &place, &looked), 1);
    cr_expect_eq(looked, 3);
    cr_expect(bench_is(evs[3], "rescrape_status = 'in_progress'"));
    cr_expect_eq(claim_due(s, 10, 3, &place, &looked), 1, "behind the three it looked at");
    cr_expect_eq(looked, 1);
    cr_expect(bench_is(evs[0], "rescrape_status = 'in_progress'"));
    cr_expect_eq(claim_due(s, 10, 3, &place, &looked), 0);
    cr_expect_eq(looked, 0);
    cr_expect_eq(claim_first(s, 10), 2);
}

Test(store_janitor, claims_by_row_and_by_entry_never_share_a_page_or_an_event)
{
    enum { ROUNDS = 20, EVENTS = 60, PAGES = 20 };
    struct store *s[] = {bench_store("w1"), bench_store("w2"), bench_store("w3")};
    for (int round = 0; round < ROUNDS; round++) {
        struct change_event *evs[EVENTS];
        struct store_claim claims[EVENTS] = {0};
        struct bench_got got[EVENTS] = {0};
        struct bench_rows rows[2] = {0};
        int answered = 0;
        for (int i = 0; i < EVENTS; i++) {
            char url[40];
            snprintf(url, sizeof(url), "https://example.com/%d", i % PAGES);
            evs[i] = bench_event(url);
            bench_accept(s[2], evs[i], NULL);
        }
        for (int i = 0; i < EVENTS; i++) {
            claims[i] = (struct store_claim){.ev = evs[i], .req = BENCH_REQ(&got[i])};
            store_claim(s[2], &claims[i]);
        }
        for (int k = 0; k < 2; k++)
            store_claim_due(s[k], &(struct store_place){0}, 100, ALL, bench_answered, &rows[k]);
        while (answered < EVENTS + 2) {
            answered = rows[0].calls + rows[1].calls;
            for (int i = 0; i < EVENTS; i++)
                answered += got[i].calls;
            bench_turn(harness_now_ms() + 20000, "all are answered", __FILE__, __LINE__);
        }
        cr_assert_eq(bench_count("(SELECT FROM webhook.change_events"
                                 " WHERE rescrape_status = 'in_progress' GROUP BY watch_url"
                                 " HAVING count(*) > 1) twice"),
            0);
        cr_assert_eq(bench_count("webhook.change_events WHERE claim_epoch > 1"), 0);
        cr_assert_eq(
            bench_count("webhook.change_events WHERE rescrape_status = 'in_progress'"), PAGES);
        sql_exec(bench_url(), "DELETE FROM webhook.change_events");
    }
}

/* --- readers for people ------------------------------------------------------------------ */

Test(store_janitor, search_ranks_title_over_description_over_text)
{
    struct store *s = bench_store("w1");
    static const struct store_document docs[] = {
        {"https://text/",  "https://text/",  "Other", "other", "en", "about the heron, a bird"},
        {"https://title/", "https://title/", "Heron", "other", "en", "another page"           },
        {"https://descr/", "https://descr/", "Other", "heron", "en", "yet another page"       },
        {"https://none/",  "https://none/",  "Other", "other", "en", "nothing of the kind"    },
    };
    static const char *const order[] = {"https://title/", "https://descr/", "https://text/"};
    struct bench_rows r;
    for (int i = 0; i < 4; i++) {
        struct change_event *ev = bench_event(docs[i].url);
        cr_assert_eq(bench_complete(s, ev, bench_begin(s, ev), docs[i], NULL), HL_OK);
    }
    BENCH_ASK(r, store_search(s, "HERON", 10, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 3);
    for (int i = 0; i < 3; i++)
        cr_expect_str_eq(bench_cell(&r, i, 0), order[i]);
    cr_expect_str_eq(bench_cell(&r, 0, 1), "Heron");
    cr_expect_str_eq(bench_cell(&r, 1, 2), "heron");
    cr_expect(strstr(bench_cell(&r, 2, 3), "«heron»"), "%s", bench_cell(&r, 2, 3));
    cr_expect_gt(atof(bench_cell(&r, 0, 4)), atof(bench_cell(&r, 1, 4)));
    cr_expect_neq(*bench_cell(&r, 0, 5), '\0');

    BENCH_ASK(r, store_search(s, "heron bird", 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1, "all words");
    BENCH_ASK(r, store_search(s, "heron -bird", 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 2);
    BENCH_ASK(r, store_search(s, "heron", 2, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 2);
    BENCH_ASK(r, store_search(s, "' ) & | ! :* \"", 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 0, "whatever people type is no error");
}

Test(store_janitor, counts_group_the_failures)
{
    static const char *const statuses[] = {
        "completed", "failed: a", "failed: b", "in_progress", "queued", "queued", "queued"};
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    struct buf got = {0};
    for (int i = 0; i < 7; i++)
        sql_exec(bench_url(),
            "INSERT INTO webhook.change_events (watch_id, watch_url, "
            "rescrape_status) VALUES ('w', 'u', '%s')",
            statuses[i]);
    sql_exec(bench_url(), "INSERT INTO webhook.change_events (watch_id, watch_url) "
                          "VALUES ('w', 'u')");
    BENCH_ASK(r, store_count_by_status(s, BENCH_CB(r)));
    for (int i = 0; i < bench_nrows(&r); i++)
        buf_printf(&got, "%s=%s ", bench_cell(&r, i, 0), bench_cell(&r, i, 1));
    cr_expect_str_eq(buf_str(&got), "completed=1 failed=2 in_progress=1 none=1 queued=3 ");
    buf_release(&got);
}

Test(store_janitor, workers_are_listed_with_what_they_hold)
{
    struct store *s = bench_store("w1"), *j = bench_store("w2");
    struct bench_rows r;
    bench_begin(s, bench_event("https://a/"));
    bench_begin(s, bench_event("https://b/"));
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now(), started_at = now() + "
                          "interval '1 s' WHERE id = 'w2'");
    sql_exec(bench_url(), "UPDATE webhook.workers SET seen_at = now() - interval '90 s'");
    BENCH_ASK(r, store_list_workers(j, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 2);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "w1");
    cr_expect_neq(*bench_cell(&r, 0, 1), '\0');
    cr_expect_eq(atoi(bench_cell(&r, 0, 2)), (int)getpid());
    cr_expect_str_eq(bench_cell(&r, 0, 3), "alive");
    cr_expect_neq(*bench_cell(&r, 0, 4), '\0');
    cr_expect_geq(atoi(bench_cell(&r, 0, 5)), 90);
    cr_expect_str_eq(bench_cell(&r, 0, 6), "2");
    cr_expect_str_eq(bench_cell(&r, 1, 3), "dead");
    cr_expect_str_eq(bench_cell(&r, 1, 6), "0");
}

Test(store_janitor, the_schema_says_its_version_or_that_it_is_not_there)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_ping(s, 1000, BENCH_CB(r)));
    BENCH_ASK(r, store_schema_version(s, BENCH_CB(r)));
    cr_expect_geq(atoi(bench_cell(&r, 0, 0)), 3);
    sql_exec(bench_url(), "TRUNCATE webhook.schema_migrations");
    BENCH_ASK(r, store_schema_version(s, BENCH_CB(r)));
    cr_expect_str_eq(bench_cell(&r, 0, 0), "0");
    sql_exec(bench_url(), "DROP SCHEMA webhook CASCADE");
    r = (struct bench_rows){0};
    store_schema_version(s, bench_answered, &r);
    BENCH_UNTIL(r.calls);
    cr_expect_eq(r.rc, HL_FATAL);
    cr_expect(!strcmp(r.err.sqlstate, "42P01") || !strcmp(r.err.sqlstate, "3F000"));
}
