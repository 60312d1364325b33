/* store, the three transactions: T0 makes one row, T1 gives it to one worker, T3 counts only while
 * the claim holds. Against a real PostgreSQL. */
#include "domain/store.h"

#include "base/mem.h"
#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(store, .init = bench_start, .fini = bench_stop, .timeout = 120);

enum { MANY = 300 }; /* more than one flush takes */

static const char page[] = "https://example.com/page";

static void set_string(char **to, const char *s)
{
    free(*to);
    *to = mem_strdup(s);
}

/* --- T0 ---------------------------------------------------------------------------------- */

Test(store, accept_writes_every_column)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event("https://example.com/\xc3\xa9?a=\"b\"&c={d,e}\\");
    set_string(&ev->snapshot_url, "https://changes.example.com/1");
    struct store_accept a;

    cr_assert_eq(bench_accept(s, ev, &a), HL_OK);
    cr_expect_not(a.existed);
    cr_expect_eq(a.row_id, atol(bench_col(ev, "id")));
    cr_expect_str_eq(bench_col(ev, "watch_id"), ev->watch_id);
    cr_expect_str_eq(bench_col(ev, "watch_url"), ev->watch_url);
    cr_expect_str_eq(bench_col(ev, "diff_summary"), ev->diff_summary);
    cr_expect_str_eq(bench_col(ev, "snapshot_url"), ev->snapshot_url);
    cr_expect_str_eq(bench_col(ev, "metadata"), ev->metadata);
    cr_expect_str_eq(
        bench_col(ev, "(extract(epoch FROM detected_at) * 1000000)::bigint"), "1767323045123456");
    cr_expect_str_eq(bench_col(ev, "rescrape_job_id"), bench_id(ev));
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "queued");
    cr_expect(bench_is(ev, "url_key = sha256(convert_to(watch_url, 'UTF8'))"));
    cr_expect(bench_is(ev, "body_digest = decode(repeat('5a', 32), 'hex')"));
    cr_expect(bench_is(ev, "accept_seq > 0 AND scrape_seq IS NULL AND claimed_by IS NULL"));
    cr_expect(bench_is(ev, "claim_epoch = 0 AND starts = 0 AND attempts = 0"));
    cr_expect(
        bench_is(ev, "next_attempt_at IS NULL AND finished_at IS NULL AND indexed_at IS NULL"));
}

Test(store, accept_keeps_null_apart_from_empty)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    free(ev->diff_summary);
    ev->diff_summary = NULL;
    set_string(&ev->snapshot_url, "");
    cr_assert_eq(bench_accept(s, ev, NULL), HL_OK);
    cr_expect(bench_is(ev, "diff_summary IS NULL AND snapshot_url = ''"));
}

static struct bench_got gots[MANY];
static struct store_accept accepts[MANY];

static void accept_many(struct store *s, struct change_event *const *evs, int n)
{
    memset(gots, 0, sizeof(gots));
    for (int i = 0; i < n; i++) {
        accepts[i] = (struct store_accept){.req = BENCH_REQ(&gots[i]), .ev = evs[i]};
        store_accept(s, &accepts[i]);
    }
}

static bool all_answered(int n)
{
    for (int i = 0; i < n; i++)
        if (!gots[i].calls)
            return false;
    return true;
}

static void flushes_of(int n, int statements)
{
    struct store *s = bench_store(NULL);
    struct change_event *evs[100];
    sql_exec(bench_url(), "CREATE TABLE statements (n serial);"
                          "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                          "$$ BEGIN INSERT INTO statements DEFAULT VALUES; RETURN NULL; END $$;"
                          "CREATE TRIGGER note AFTER INSERT ON webhook.change_events "
                          "FOR EACH STATEMENT EXECUTE FUNCTION note()");
    for (int i = 0; i < n; i++)
        evs[i] = bench_event(page);
    accept_many(s, evs, n);
    BENCH_UNTIL(all_answered(n));
    for (int i = 0; i < n; i++) {
        cr_assert_eq(gots[i].rc, HL_OK, "%s", gots[i].err.msg);
        cr_expect_eq(accepts[i].row_id, atol(bench_col(evs[i], "id")), "answer of another event");
    }
    cr_expect_eq(bench_count("webhook.change_events"), n);
    cr_expect_eq(
        sql_int(bench_url(), "SELECT count(DISTINCT xmin::text) FROM webhook.change_events"),
        statements);
    cr_expect_eq(bench_count("statements"), statements);
}

Test(store, events_of_one_turn_are_one_statement_and_one_transaction)
{
    flushes_of(32, 1);
}

Test(store, many_events_of_one_turn_are_shared_by_two_connections)
{
    flushes_of(100, 2);
}

Test(store, more_than_a_flush_takes_all_arrive)
{
    struct store *s = bench_store(NULL);
    static struct change_event *evs[MANY];
    for (int i = 0; i < MANY; i++)
        evs[i] = bench_event(page);
    accept_many(s, evs, MANY);
    BENCH_UNTIL(all_answered(MANY));
    cr_expect_eq(bench_count("webhook.change_events"), MANY);
    cr_expect_eq(
        sql_int(bench_url(), "SELECT count(DISTINCT xmin::text) FROM webhook.change_events"), 2);
}

Test(store, a_repeated_event_gets_the_same_row)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page), *same = bench_event("https://example.com/other");
    struct store_accept first, second;
    same->id = ev->id;
    cr_assert_eq(bench_accept(s, ev, &first), HL_OK);
    cr_assert_eq(bench_accept(s, same, &second), HL_OK);
    cr_expect_not(first.existed);
    cr_expect(second.existed);
    cr_expect_eq(first.row_id, second.row_id);
    cr_expect_str_eq(bench_col(ev, "watch_url"), page, "the first stays");
    cr_expect_eq(bench_count("webhook.change_events"), 1);
}

Test(store, an_event_twice_in_one_flush_is_one_row)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page), *other = bench_event(page);
    accept_many(s, (struct change_event *[]){ev, other, ev}, 3);
    BENCH_UNTIL(all_answered(3));
    for (int i = 0; i < 3; i++)
        cr_expect_eq(gots[i].rc, HL_OK, "%s", gots[i].err.msg);
    cr_expect(!accepts[0].existed && !accepts[1].existed && accepts[2].existed, "the first is new");
    cr_expect_eq(accepts[0].row_id, accepts[2].row_id);
    cr_expect_neq(accepts[0].row_id, accepts[1].row_id);
    cr_expect_eq(bench_count("webhook.change_events"), 2);
}

Test(store, an_id_that_comes_again_with_another_body_conflicts_and_changes_nothing)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page), *forged = bench_event("https://example.com/other");
    struct store_accept first, same, other;
    forged->id = ev->id;
    forged->body_digest[31] ^= 1;
    cr_assert_eq(bench_accept(s, ev, &first), HL_OK);
    cr_assert_eq(bench_accept(s, ev, &same), HL_OK);
    cr_assert_eq(bench_accept(s, forged, &other), HL_OK);
    cr_expect(!first.conflict && !same.conflict);
    cr_expect(other.conflict && other.existed);
    cr_expect_eq(other.row_id, first.row_id);
    cr_expect_str_eq(bench_col(ev, "watch_url"), page);
    cr_expect_eq(bench_count("webhook.change_events"), 1);
}

Test(store, of_two_bodies_under_one_id_in_one_flush_the_first_is_the_row)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page), *forged = bench_event("https://example.com/other");
    forged->id = ev->id;
    forged->body_digest[0] ^= 1;
    accept_many(s, (struct change_event *[]){ev, forged, ev}, 3);
    BENCH_UNTIL(all_answered(3));
    cr_expect(!accepts[0].existed && accepts[1].existed && accepts[2].existed);
    cr_expect(!accepts[0].conflict && accepts[1].conflict && !accepts[2].conflict);
    cr_expect_str_eq(bench_col(ev, "watch_url"), page);
}

Test(store, a_row_without_a_digest_conflicts_with_nothing)
{
    struct store *s = bench_store(NULL);
    struct change_event *ev = bench_event(page);
    struct store_accept a;
    cr_assert_eq(bench_accept(s, ev, &a), HL_OK);
    sql_exec(bench_url(), "UPDATE webhook.change_events SET body_digest = NULL");
    cr_assert_eq(bench_accept(s, ev, &a), HL_OK);
    cr_expect(a.existed && !a.conflict);
}

/* At once: a row that another made meanwhile is looked for again by T0 itself. */
static void accept_surely(struct bench_got *got)
{
    BENCH_UNTIL(got->calls);
    cr_assert_eq(got->rc, HL_OK, "%s", got->err.msg);
}

Test(store, two_stores_with_the_same_events_make_one_row_each)
{
    enum { ROUNDS = 30, EACH = 30 };
    struct store *stores[] = {bench_store(NULL), bench_store(NULL)};
    for (int round = 0; round < ROUNDS; round++) {
        static struct bench_got got[2][EACH];
        static struct store_accept acc[2][EACH];
        struct change_event *evs[EACH];
        memset(got, 0, sizeof(got));
        for (int i = 0; i < EACH; i++)
            evs[i] = bench_event(page);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < EACH; i++) { /* in opposite order */
                acc[k][i] = (struct store_accept){
                    .req = BENCH_REQ(&got[k][i]), .ev = evs[k ? EACH - 1 - i : i]};
                store_accept(stores[k], &acc[k][i]);
            }
        for (int i = 0; i < EACH; i++) {
            accept_surely(&got[0][i]);
            accept_surely(&got[1][EACH - 1 - i]);
            cr_assert_eq(acc[0][i].row_id, acc[1][EACH - 1 - i].row_id);
            cr_assert(
                acc[0][i].existed != acc[1][EACH - 1 - i].existed, "one made it, one did not");
        }
    }
    cr_expect_eq(bench_count("webhook.change_events"), ROUNDS * EACH);
}

/* Row `bad` of n is refused for good, with this SQLSTATE; its neighbours are written. */
static void expect_one_refused(
    struct change_event *const *evs, int n, int bad, const char *sqlstate)
{
    struct store *s = bench_store(NULL);
    accept_many(s, evs, n);
    BENCH_UNTIL(all_answered(n));
    for (int i = 0; i < n; i++) {
        cr_expect_eq(gots[i].calls, 1);
        cr_expect_eq(gots[i].rc, i == bad ? HL_FATAL : HL_OK, "%d: %s", i, gots[i].err.msg);
    }
    cr_expect_str_eq(gots[bad].err.sqlstate, sqlstate);
    cr_expect_eq(bench_count("webhook.change_events"), n - 1);
}

Test(store, a_watch_id_that_is_too_long_fails_alone)
{
    struct change_event *evs[37];
    char too_long[257];
    memset(too_long, 'w', 256);
    too_long[256] = '\0';
    for (int i = 0; i < 37; i++)
        evs[i] = bench_event(page);
    set_string(&evs[20]->watch_id, too_long);
    expect_one_refused(evs, 37, 20, "22001");
}

Test(store, metadata_that_is_not_json_fails_alone)
{
    struct change_event *evs[8];
    for (int i = 0; i < 8; i++)
        evs[i] = bench_event(page);
    set_string(&evs[0]->metadata, "{not json");
    expect_one_refused(evs, 8, 0, "22P02");
}

Test(store, a_single_refused_row_is_told_at_once)
{
    struct change_event *ev = bench_event(page);
    set_string(&ev->metadata, "{\"zero\": \"\\u0000\"}"); /* JSON, but nothing jsonb can hold */
    expect_one_refused(&ev, 1, 0, "22P05");
}

/* Nested deeper than PostgreSQL's parser goes (SQLSTATE 54001): to try again would be in vain. */
Test(store, metadata_beyond_a_limit_of_the_server_fails_alone)
{
    enum { DEPTH = 32000 };
    struct change_event *evs[3];
    struct buf deep = {0};
    for (int i = 0; i < 3; i++)
        evs[i] = bench_event(page);
    buf_puts(&deep, "{\"a\":");
    for (int i = 0; i < 2 * DEPTH; i++)
        buf_putc(&deep, i < DEPTH ? '[' : ']');
    buf_puts(&deep, "}");
    set_string(&evs[1]->metadata, deep.data);
    buf_release(&deep);
    expect_one_refused(evs, 3, 1, "54001");
}

Test(store, several_refused_rows_fail_and_the_others_stay)
{
    struct store *s = bench_store(NULL);
    static struct change_event *evs[256];
    for (int i = 0; i < 256; i++) {
        evs[i] = bench_event(page);
        if (i % 50 == 7)
            set_string(&evs[i]->metadata, "no");
    }
    accept_many(s, evs, 256);
    BENCH_UNTIL(all_answered(256));
    for (int i = 0; i < 256; i++)
        cr_expect_eq(gots[i].rc, i % 50 == 7 ? HL_FATAL : HL_OK, "%d: %s", i, gots[i].err.msg);
    cr_expect_eq(bench_count("webhook.change_events"), 256 - 5);
}

/* The installation's fault, not the event's: it waits until somebody mends it. */
Test(store, a_missing_table_or_right_is_not_the_events_fault)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page), *other = bench_event(page);
    sql_exec(bench_url(), "ALTER TABLE webhook.change_events RENAME TO gone");
    accept_many(s, (struct change_event *[]){ev, other}, 2);
    BENCH_UNTIL(all_answered(2));
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(gots[i].rc, HL_RETRY);
        cr_expect_str_eq(gots[i].err.sqlstate, "42P01");
    }
    struct bench_got got = {0};
    struct store_claim c = {.req = BENCH_REQ(&got), .ev = ev};
    store_claim(s, &c);
    BENCH_UNTIL(got.calls);
    cr_expect_eq(got.rc, HL_RETRY);
    cr_expect_eq(bench_complete(s, ev, 1, (struct store_document){0}, NULL), HL_RETRY);
    cr_expect_eq(bench_settle(s, ev, 1, (struct bench_settle){0}, NULL), HL_RETRY);

    sql_exec(bench_url(), "ALTER TABLE webhook.gone RENAME TO change_events");
    cr_expect_eq(bench_accept(s, ev, NULL), HL_OK, "mended");
}

/* --- T1 ---------------------------------------------------------------------------------- */

Test(store, a_claim_takes_the_row)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    cr_assert_eq(bench_accept(s, ev, NULL), HL_OK);
    bench_set(ev, "attempts = 2, next_attempt_at = now() - interval '1 second'");

    struct store_claim c = bench_claim(s, ev);
    cr_expect_eq(c.state, CLAIM_OK);
    cr_expect_eq(c.row_id, atol(bench_col(ev, "id")));
    cr_expect_eq(c.epoch, 1);
    cr_expect_eq(c.starts, 1);
    cr_expect_eq(c.attempts, 2);
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "in_progress");
    cr_expect_str_eq(bench_col(ev, "rescrape_job_id"), bench_id(ev));
    cr_expect(bench_is(ev, "claim_epoch = 1 AND starts = 1 AND attempts = 2"));
    cr_expect(bench_is(ev, "claimed_by = 'w1' AND claimed_at > now() - interval '1 minute'"));
    cr_expect(bench_is(ev, "scrape_seq > accept_seq AND next_attempt_at IS NULL"));
}

Test(store, an_event_without_a_row_is_missing)
{
    struct store *s = bench_store("w1");
    cr_expect_eq(bench_claim(s, bench_event(page)).state, CLAIM_MISSING);
}

Test(store, a_row_that_is_not_due_is_early_and_says_for_how_long)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    bench_accept(s, ev, NULL);
    bench_set(ev, "next_attempt_at = now() + interval '100 seconds'");
    struct store_claim c = bench_claim(s, ev);
    cr_expect_eq(c.state, CLAIM_EARLY);
    cr_expect(c.wait_ms > 60000 && c.wait_ms <= 100000, "%lld", (long long)c.wait_ms);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND claim_epoch = 0 AND starts = 0"));
}

Test(store, a_page_that_is_being_scraped_is_busy)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *first = bench_event(page), *second = bench_event(page);
    struct change_event *elsewhere = bench_event("https://example.com/page/");
    int64_t epoch = bench_begin(s, first);
    bench_accept(s, second, NULL);
    bench_accept(s, elsewhere, NULL);
    cr_expect_eq(bench_claim(s, second).state, CLAIM_BUSY, "by ourselves");
    cr_expect_eq(bench_claim(t, second).state, CLAIM_BUSY, "by another");
    cr_expect_eq(bench_claim(t, elsewhere).state, CLAIM_OK, "exactly the same URL only");
    cr_expect_eq(
        bench_settle(s, first, epoch, (struct bench_settle){.status = "failed: x"}, NULL), HL_OK);
    cr_expect_eq(bench_claim(t, second).state, CLAIM_OK);
}

Test(store, a_row_of_a_living_worker_is_held)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *ev = bench_event(page);
    bench_begin(s, ev);
    cr_expect_eq(bench_claim(t, ev).state, CLAIM_HELD);
    cr_expect(bench_is(ev, "claimed_by = 'w1' AND claim_epoch = 1"));
}

/* Of a conflict that Redis could not know of: to claim the row by it would fetch another page. */
Test(store, a_job_of_another_body_does_not_get_the_row)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page), *other = bench_event("https://example.com/other");
    other->id = ev->id;
    other->body_digest[31] ^= 1;
    bench_accept(s, ev, NULL);
    cr_expect_eq(bench_claim(s, other).state, CLAIM_HELD);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND claim_epoch = 0 AND starts = 0"));
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_OK);
    cr_expect_eq(bench_claim(s, other).state, CLAIM_HELD, "nor while it is ours");
    struct change_event *old = bench_event("https://example.com/old");
    bench_accept(s, old, NULL);
    bench_set(old, "body_digest = NULL"); /* of the replaced service */
    cr_expect_eq(bench_claim(s, old).state, CLAIM_OK);
}

Test(store, a_row_of_a_dead_or_forgotten_worker_is_free)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *ev = bench_event(page);
    bench_begin(s, ev);
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now() WHERE id = 'w1'");
    struct store_claim c = bench_claim(t, ev);
    cr_expect_eq(c.state, CLAIM_OK);
    cr_expect_eq(c.epoch, 2);
    cr_expect_eq(c.starts, 2, "the one that died counts");
    sql_exec(bench_url(), "DELETE FROM webhook.workers WHERE id = 'w2'");
    struct store *u = bench_store("w3");
    c = bench_claim(u, ev);
    cr_expect_eq(c.state, CLAIM_OK);
    cr_expect_eq(c.epoch, 3);
    cr_expect_eq(c.starts, 3);
}

Test(store, a_finished_row_is_done)
{
    static const char *const finished[] = {"completed", "superseded", "failed: whatever", "none"};
    struct store *s = bench_store("w1");
    for (int i = 0; i < 4; i++) {
        struct change_event *ev = bench_event(page);
        bench_accept(s, ev, NULL);
        sql_exec(bench_url(),
            "UPDATE webhook.change_events SET rescrape_status = '%s' WHERE event_id = '%s'",
            finished[i], bench_id(ev));
        cr_expect_eq(bench_claim(s, ev).state, CLAIM_DONE, "%s", finished[i]);
        cr_expect_str_eq(bench_col(ev, "rescrape_status"), finished[i]);
    }
}

Test(store, a_repeated_claim_of_our_own_is_ours_and_counts_no_second_start)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    cr_expect_eq(bench_begin(s, ev), 1);
    struct store_claim c = bench_claim(s, ev);
    cr_expect_eq(c.state, CLAIM_OK);
    cr_expect_eq(c.epoch, 2);
    cr_expect_eq(c.starts, 1);
    cr_expect_eq(bench_settle(s, ev, 1, (struct bench_settle){0}, NULL), HL_LOST, "the old epoch");
    cr_expect_eq(bench_settle(s, ev, 2, (struct bench_settle){0}, NULL), HL_OK);
    cr_expect(bench_is(ev, "claim_epoch = 2 AND starts = 0"));
    cr_expect_eq(bench_claim(s, ev).starts, 1, "starts of a row that is queued again");
}

Test(store, starts_and_epoch_of_legacy_rows_begin_at_nothing)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    bench_accept(s, ev, NULL);
    bench_set(ev, "claim_epoch = NULL, starts = NULL, attempts = NULL");
    struct store_claim c = bench_claim(s, ev);
    cr_expect_eq(c.state, CLAIM_OK);
    cr_expect(c.epoch == 1 && c.starts == 1 && c.attempts == 0);
}

Test(store, who_was_declared_dead_or_never_registered_gets_nothing)
{
    struct store *dead = bench_store("w1"), *unknown = bench_store_at(bench_url(), "w2");
    struct change_event *ev = bench_event(page);
    bench_accept(dead, ev, NULL);
    sql_exec(bench_url(), "UPDATE webhook.workers SET dead_at = now()");
    cr_expect_neq(bench_claim(dead, ev).state, CLAIM_OK);
    cr_expect_neq(bench_claim(unknown, ev).state, CLAIM_OK);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND claim_epoch = 0 AND starts = 0"));
}

static struct store_claim claims[MANY];

static void claim_many(struct store *s, struct change_event *const *evs, int n)
{
    memset(gots, 0, sizeof(gots));
    for (int i = 0; i < n; i++) {
        claims[i] = (struct store_claim){.req = BENCH_REQ(&gots[i]), .ev = evs[i]};
        store_claim(s, &claims[i]);
    }
    BENCH_UNTIL(all_answered(n));
    for (int i = 0; i < n; i++)
        cr_assert_eq(gots[i].rc, HL_OK, "%s", gots[i].err.msg);
}

Test(store, of_two_events_of_a_page_in_one_flush_one_is_claimed)
{
    struct store *s = bench_store("w1");
    struct change_event *evs[] = {bench_event(page), bench_event(page), bench_event("https://b/")};
    for (int i = 0; i < 3; i++)
        bench_accept(s, evs[i], NULL);
    claim_many(s, evs, 3);
    cr_expect_eq(claims[0].state, CLAIM_OK, "the older one");
    cr_expect_eq(claims[1].state, CLAIM_BUSY);
    cr_expect_eq(claims[2].state, CLAIM_OK);
}

Test(store, one_flush_tells_every_event_its_own_state)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *evs[6];
    for (int i = 0; i < 6; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        if (i != CLAIM_MISSING)
            bench_accept(s, evs[i], NULL);
    }
    bench_set(evs[CLAIM_EARLY], "next_attempt_at = now() + interval '1 hour'");
    bench_set(evs[CLAIM_DONE], "rescrape_status = 'completed'");
    bench_claim_ok(t, evs[CLAIM_HELD]);
    bench_begin(t, bench_event(evs[CLAIM_BUSY]->watch_url));
    claim_many(s, evs, 6);
    for (int i = 0; i < 6; i++)
        cr_expect_eq((int)claims[i].state, i, "wanted %d, got %d", i, (int)claims[i].state);
}

/* Two workers after the same events; every page has two events. Who wins is left to chance, that
 * one wins is not. */
Test(store, of_two_workers_exactly_one_gets_an_event_and_a_page)
{
    enum { ROUNDS = 40, PAGES = 10 };
    struct store *stores[] = {bench_store("w1"), bench_store("w2")};
    static struct store_claim c[2][2 * PAGES];
    static struct bench_got got[2][2 * PAGES];
    for (int round = 0; round < ROUNDS; round++) {
        struct change_event *evs[2 * PAGES];
        memset(got, 0, sizeof(got));
        for (int i = 0; i < 2 * PAGES; i++) {
            char at[64];
            snprintf(at, sizeof(at), "https://example.com/%d/%d", round, i / 2);
            evs[i] = bench_event(at);
        }
        accept_many(stores[0], evs, 2 * PAGES);
        BENCH_UNTIL(all_answered(2 * PAGES));
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 2 * PAGES; i++) {
                c[k][i] = (struct store_claim){
                    .req = BENCH_REQ(&got[k][i]), .ev = evs[k ? 2 * PAGES - 1 - i : i]};
                store_claim(stores[k], &c[k][i]);
            }
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 2 * PAGES; i++) {
                BENCH_UNTIL(got[k][i].calls);
                cr_assert_eq(got[k][i].rc, HL_OK, "%s", got[k][i].err.msg);
            }
        for (int p = 0; p < PAGES; p++) {
            int won = 0;
            for (int e = 2 * p; e < 2 * p + 2; e++)
                won += (c[0][e].state == CLAIM_OK) + (c[1][2 * PAGES - 1 - e].state == CLAIM_OK);
            cr_assert_eq(won, 1, "page %d of round %d was won %d times", p, round, won);
        }
    }
    cr_expect_eq(
        bench_count("webhook.change_events WHERE rescrape_status = 'in_progress'"), ROUNDS * PAGES);
    cr_expect_eq(bench_count("webhook.change_events WHERE claim_epoch > 1 OR starts > 1"), 0);
}

/* --- T3b --------------------------------------------------------------------------------- */

static const char *document(const char *column)
{
    return sql_text(bench_url(), "SELECT (%s)::text FROM webhook.documents", column);
}

Test(store, complete_writes_row_and_document)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    struct store_document doc = {.canonical_url = "https://c/",
        .url = page,
        .title = "Title",
        .description = "{\"a\\b\", NULL}",
        .language = "en",
        .text = "Words of the page"};
    int64_t epoch = bench_begin(s, ev);
    struct store_complete c;

    cr_assert_eq(bench_complete(s, ev, epoch, doc, &c), HL_OK);
    cr_expect_not(c.gone);
    cr_expect_eq(c.superseded, 0);
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "completed");
    cr_expect(bench_is(ev, "indexed_at IS NOT NULL AND finished_at IS NOT NULL AND starts = 0"));
    cr_expect(bench_is(ev, "metadata = '{\"title\": \"t\", \"document_id\": \"d\"}'"), "merged");
    cr_expect_str_eq(document("url"), page);
    cr_expect_str_eq(document("canonical_url"), "https://c/");
    cr_expect_str_eq(document("title"), doc.title);
    cr_expect_str_eq(document("description"), doc.description);
    cr_expect_str_eq(document("language"), "en");
    cr_expect_str_eq(document("text"), doc.text);
    cr_expect_str_eq(document("event_id"), bench_id(ev));
    cr_expect_str_eq(document("url_key = sha256('https://c/')"), "true");
    cr_expect_str_eq(document("content_hash = sha256('Words of the page')"), "true");
    cr_expect_str_eq(document("scrape_seq"), bench_col(ev, "scrape_seq"));
    cr_expect_str_eq(document("claim_epoch"), "1");
}

Test(store, complete_without_a_text_writes_no_document)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    cr_expect_eq(bench_complete(s, ev, epoch, (struct store_document){0}, NULL), HL_OK);
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "completed");
    cr_expect_eq(bench_count("webhook.documents"), 0);
}

/* Whatever makes a claim void: nothing at all is written. */
Test(store, complete_of_a_claim_that_is_void_writes_nothing)
{
    static const char *const voids[] = {"claim_epoch = claim_epoch + 1", "claimed_by = 'w2'",
        "claimed_by = NULL", "rescrape_status = 'queued'", "rescrape_status = 'failed: x'",
        "rescrape_status = 'superseded'"};
    struct store *s = bench_store("w1");
    for (size_t i = 0; i < sizeof(voids) / sizeof(*voids); i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%zu", i);
        struct change_event *ev = bench_event(at), *waiting = bench_event(at);
        struct store_complete c;
        bench_accept(s, waiting, NULL);
        int64_t epoch = bench_begin(s, ev);
        bench_set(ev, voids[i]);
        const char *row = bench_col(ev, "xmin || ctid::text");
        cr_expect_eq(bench_complete(s, ev, epoch, bench_document(at, "t", "text"), &c), HL_LOST,
            "%s", voids[i]);
        cr_expect_not(c.gone);
        cr_expect_str_eq(bench_col(ev, "xmin || ctid::text"), row, "%s", voids[i]);
        cr_expect_str_eq(bench_col(waiting, "rescrape_status"), "queued", "%s", voids[i]);
    }
    cr_expect_eq(bench_count("webhook.documents"), 0);
}

Test(store, complete_of_a_lost_row_says_that_it_is_gone)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    struct store_complete c;
    int64_t epoch = bench_begin(s, ev);
    sql_exec(bench_url(), "DELETE FROM webhook.change_events");
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "text"), &c), HL_LOST);
    cr_expect(c.gone);
    cr_expect_eq(bench_count("webhook.documents"), 0);
}

Test(store, complete_repeated_is_ok_and_changes_nothing)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page), *late = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    cr_assert_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "text"), NULL), HL_OK);
    bench_accept(s, late, NULL);
    const char *row = bench_col(ev, "xmin || ctid::text"), *doc = document("xmin || ctid::text");
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "other"), NULL), HL_OK);
    cr_expect_str_eq(bench_col(ev, "xmin || ctid::text"), row);
    cr_expect_str_eq(document("xmin || ctid::text"), doc);
    cr_expect_eq(bench_complete(s, ev, epoch + 1, bench_document(page, "t", "x"), NULL), HL_LOST);
}

Test(store, an_older_scrape_never_replaces_a_newer_text)
{
    struct store *s = bench_store("w1");
    struct change_event *older = bench_event("https://a/1"), *newer = bench_event("https://a/2");
    int64_t e1 = bench_begin(s, older), e2 = bench_begin(s, newer);
    cr_assert_eq(
        bench_complete(s, newer, e2, bench_document(page, "new", "new text"), NULL), HL_OK);
    cr_expect_eq(
        bench_complete(s, older, e1, bench_document(page, "old", "old text"), NULL), HL_OK);
    cr_expect_str_eq(bench_col(older, "rescrape_status"), "completed");
    cr_expect_str_eq(document("title || text"), "newnew text");
    cr_expect_str_eq(document("event_id"), bench_id(newer));

    struct change_event *newest = bench_event("https://a/3");
    int64_t e3 = bench_begin(s, newest);
    cr_expect_eq(bench_complete(s, newest, e3, bench_document(page, "3rd", "third"), NULL), HL_OK);
    cr_expect_str_eq(document("title || text"), "3rdthird");
    cr_expect_eq(bench_count("webhook.documents"), 1);
}

Test(store, unchanged_content_keeps_the_time_of_its_change)
{
    struct store *s = bench_store("w1");
    static const struct {
        const char *title, *text;
        bool changed;
    } scrapes[] = {
        {"a", "text",  false},
        {"b", "text",  false},
        {"b", "other", true },
    };
    for (int i = 0; i < 3; i++) {
        struct change_event *ev = bench_event(page);
        int64_t epoch = bench_begin(s, ev);
        const char *before = i ? document("changed_at") : "";
        sql_exec(
            bench_url(), "UPDATE webhook.documents SET scraped_at = scraped_at - interval '1 h'");
        cr_assert_eq(bench_complete(s, ev, epoch,
                         bench_document(page, scrapes[i].title, scrapes[i].text), NULL),
            HL_OK);
        cr_expect_str_eq(document("title"), scrapes[i].title);
        cr_expect_str_eq(document("scraped_at > now() - interval '1 minute'"), "true");
        if (i)
            cr_expect_eq(strcmp(document("changed_at"), before) != 0, scrapes[i].changed, "%d", i);
    }
}

static struct store_complete completes[MANY];

static void complete_many(struct store *s, struct change_event *const *evs, const int64_t *epochs,
    const struct store_document *docs, int n)
{
    memset(gots, 0, sizeof(gots));
    for (int i = 0; i < n; i++) {
        completes[i] = (struct store_complete){.req = BENCH_REQ(&gots[i]),
            .ev = evs[i],
            .epoch = epochs[i],
            .metadata = "{}",
            .doc = docs[i]};
        store_complete(s, &completes[i]);
    }
    BENCH_UNTIL(all_answered(n));
}

Test(store, of_two_scrapes_of_a_page_in_one_flush_the_later_is_kept)
{
    struct store *s = bench_store("w1");
    struct change_event *evs[] = {
        bench_event("https://a/1"), bench_event("https://a/2"), bench_event("https://a/3")};
    int64_t epochs[3];
    for (int i = 0; i < 3; i++)
        epochs[i] = bench_begin(s, evs[i]);
    const struct store_document docs[] = {bench_document(page, "first", "1"),
        bench_document(page, "last", "2"), bench_document("https://b/", "b", "3")};
    complete_many(s, (struct change_event *[]){evs[1], evs[0], evs[2]},
        (int64_t[]){epochs[1], epochs[0], epochs[2]},
        (struct store_document[]){docs[1], docs[0], docs[2]}, 3);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(gots[i].rc, HL_OK, "%s", gots[i].err.msg);
    cr_expect_eq(bench_count("webhook.documents"), 2);
    cr_expect_eq(bench_count("webhook.documents WHERE title IN ('last', 'b')"), 2);
}

Test(store, void_claims_in_a_flush_do_not_touch_the_others)
{
    struct store *s = bench_store("w1");
    struct change_event *evs[3];
    int64_t epochs[3];
    struct store_document docs[3];
    for (int i = 0; i < 3; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        epochs[i] = bench_begin(s, evs[i]);
        docs[i] = bench_document(evs[i]->watch_url, "t", "text");
    }
    bench_set(evs[1], "claim_epoch = 9");
    complete_many(s, evs, epochs, docs, 3);
    cr_expect(gots[0].rc == HL_OK && gots[1].rc == HL_LOST && gots[2].rc == HL_OK);
    cr_expect_eq(bench_count("webhook.documents"), 2);
}

Test(store, a_document_that_is_refused_fails_alone)
{
    struct store *s = bench_store("w1");
    struct change_event *evs[4];
    int64_t epochs[4];
    struct store_document docs[4];
    for (int i = 0; i < 4; i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%d", i);
        evs[i] = bench_event(at);
        epochs[i] = bench_begin(s, evs[i]);
        docs[i] = bench_document(evs[i]->watch_url, "t", i == 2 ? "bad \xff" : "text");
    }
    complete_many(s, evs, epochs, docs, 4);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(gots[i].rc, i == 2 ? HL_FATAL : HL_OK, "%d: %s", i, gots[i].err.msg);
    cr_expect_str_eq(bench_col(evs[2], "rescrape_status"), "in_progress");
}

/* Only part of a very long text is searched; all of it is kept. */
Test(store, a_text_of_any_length_is_kept_whole)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    size_t len = 3 << 20;
    char *text = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++) /* two-byte letters, so that a careless cut shows */
        text[i] = i % 14 == 0 ? ' ' : i % 14 == 1 ? 'x' : (i % 2 ? '\xa9' : '\xc3');
    text[len] = '\0';
    memcpy(text, "needle needle ", 14);
    int64_t epoch = bench_begin(s, ev);
    cr_expect_eq(bench_complete(s, ev, epoch, bench_document(page, "t", text), NULL), HL_OK);
    free(text);
    cr_expect_str_eq(document("octet_length(text) > 3000000"), "true");
    cr_expect_str_eq(document("search @@ to_tsquery('simple', 'needle')"), "true");
}

Test(store, only_what_was_accepted_before_the_scrape_is_superseded)
{
    struct store *s = bench_store("w1");
    struct change_event *before = bench_event(page), *ev = bench_event(page);
    struct change_event *after = bench_event(page), *delayed = bench_event(page);
    struct change_event *failed = bench_event(page),
                        *like = bench_event("https://example.com/Page");
    struct store_complete c;

    bench_accept(s, before, NULL);
    bench_accept(s, like, NULL);
    bench_accept(s, failed, NULL);
    bench_set(failed, "rescrape_status = 'failed: x'");
    bench_accept(s, delayed, NULL);
    bench_set(delayed, "next_attempt_at = now() + interval '1 hour'");
    int64_t epoch = bench_begin(s, ev);
    bench_accept(s, after, NULL);

    cr_assert_eq(bench_complete(s, ev, epoch, bench_document(page, "t", "text"), &c), HL_OK);
    cr_expect_eq(c.superseded, 2);
    cr_expect_str_eq(bench_col(before, "rescrape_status"), "superseded");
    cr_expect_str_eq(bench_col(before, "metadata->>'superseded_by'"), bench_id(ev));
    cr_expect_str_eq(bench_col(before, "metadata->>'title'"), "t");
    cr_expect(bench_is(before, "finished_at IS NOT NULL"));
    cr_expect_str_eq(bench_col(delayed, "rescrape_status"), "superseded");
    cr_expect(bench_is(delayed, "next_attempt_at IS NULL"));
    cr_expect_str_eq(bench_col(after, "rescrape_status"), "queued",
        "it may have come of a change "
        "that this scrape has not seen");
    cr_expect_str_eq(bench_col(failed, "rescrape_status"), "failed: x");
    cr_expect_str_eq(bench_col(like, "rescrape_status"), "queued", "another URL");
}

/* --- T3a --------------------------------------------------------------------------------- */

Test(store, a_retry_is_queued_for_later_and_charged)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    struct bench_settle retry = {
        .charge = true, .delay_ms = 3600000, .metadata = "{\"error\": \"e\"}"};
    cr_assert_eq(bench_settle(s, ev, epoch, retry, NULL), HL_OK);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND claimed_by IS NULL AND starts = 0"));
    cr_expect(bench_is(ev, "attempts = 1 AND claim_epoch = 1 AND finished_at IS NULL"));
    cr_expect(bench_is(ev, "next_attempt_at BETWEEN now() + interval '59 min' AND now() + interval "
                           "'61 min'"));
    cr_expect(bench_is(ev, "metadata = '{\"title\": \"t\", \"error\": \"e\"}'"));
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_EARLY);
}

Test(store, a_failure_is_final_and_charged)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    struct bench_settle fail = {.status = "failed: it did not work", .charge = true};
    cr_assert_eq(bench_settle(s, ev, epoch, fail, NULL), HL_OK);
    cr_expect_str_eq(bench_col(ev, "rescrape_status"), "failed: it did not work");
    cr_expect(bench_is(ev, "attempts = 1 AND starts = 0 AND finished_at IS NOT NULL"));
    cr_expect(bench_is(ev, "next_attempt_at IS NULL AND claimed_by = 'w1'"));
    cr_expect_eq(bench_claim(s, ev).state, CLAIM_DONE);
}

Test(store, a_release_is_due_at_once_and_free_of_charge)
{
    struct store *s = bench_store("w1"), *t = bench_store("w2");
    struct change_event *ev = bench_event(page);
    int64_t epoch = bench_begin(s, ev);
    cr_assert_eq(bench_settle(s, ev, epoch, (struct bench_settle){0}, NULL), HL_OK);
    cr_expect(bench_is(ev, "rescrape_status = 'queued' AND claimed_by IS NULL"));
    cr_expect(bench_is(ev, "attempts = 0 AND starts = 0 AND next_attempt_at IS NULL"));
    cr_expect_eq(bench_claim_ok(t, ev), 2);
}

Test(store, settle_repeated_is_recognised_until_the_row_is_claimed_again)
{
    static const char *const statuses[] = {"queued", "failed: x"};
    for (int i = 0; i < 2; i++) {
        struct store *s = bench_store(i ? "w2" : "w1");
        struct change_event *ev = bench_event(page);
        int64_t epoch = bench_begin(s, ev);
        struct bench_settle how = {.status = statuses[i], .charge = true};
        cr_assert_eq(bench_settle(s, ev, epoch, how, NULL), HL_OK);
        cr_expect_eq(bench_settle(s, ev, epoch, how, NULL), HL_OK);
        cr_expect_str_eq(bench_col(ev, "attempts"), "1", "charged once");
        bench_set(ev, "rescrape_status = 'queued', next_attempt_at = NULL");
        bench_claim_ok(s, ev);
        cr_expect_eq(bench_settle(s, ev, epoch, how, NULL), HL_LOST);
        cr_expect_str_eq(bench_col(ev, "rescrape_status"), "in_progress");
        bench_set(ev, "rescrape_status = 'completed'");
    }
}

Test(store, settle_of_a_claim_that_is_void_changes_nothing)
{
    static const char *const voids[] = {"claim_epoch = claim_epoch + 1", "claimed_by = 'w2'",
        "claimed_by = NULL", "rescrape_status = 'completed'", "rescrape_status = 'superseded'"};
    struct store *s = bench_store("w1");
    struct store_settle f;
    for (size_t i = 0; i < sizeof(voids) / sizeof(*voids); i++) {
        char at[40];
        snprintf(at, sizeof(at), "https://example.com/%zu", i);
        struct change_event *ev = bench_event(at);
        int64_t epoch = bench_begin(s, ev);
        bench_set(ev, voids[i]);
        const char *row = bench_col(ev, "xmin || ctid::text");
        cr_expect_eq(bench_settle(s, ev, epoch, (struct bench_settle){.charge = true}, &f), HL_LOST,
            "%s", voids[i]);
        cr_expect_not(f.gone);
        cr_expect_str_eq(bench_col(ev, "xmin || ctid::text"), row, "%s", voids[i]);
    }
    sql_exec(bench_url(), "DELETE FROM webhook.change_events");
    cr_expect_eq(bench_settle(s, bench_event(page), 1, (struct bench_settle){0}, &f), HL_LOST);
    cr_expect(f.gone);
}
