/* store_census: unfinished work is counted and named wherever it stands in the rows; whatever happens
 * moves something of the fingerprint. Against a real PostgreSQL. */
#include "domain/store_census.h"
#include "domain/store_orders.h"

#include "tests/support/harness.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(store_census, .init = bench_start, .fini = bench_stop, .timeout = 120);

static const char page[] = "https://example.com/page";

static struct bench_rows census(struct store *s)
{
    struct bench_rows r;
    BENCH_ASK(r, store_census(s, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    return r;
}

static int number(const struct bench_rows *r, enum census_col col)
{
    return atoi(bench_cell(r, 0, col));
}

static int unfinished(const struct bench_rows *r)
{
    return number(r, CENSUS_DUE) + number(r, CENSUS_LATER) + number(r, CENSUS_IN_PROGRESS);
}

static void put_row(const char *status, const char *next_attempt, const char *more)
{
    sql_exec(bench_url(),
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status, event_id,"
        "  next_attempt_at) VALUES ('w', 'http://x/', '%s', gen_random_uuid(), %s);"
        "UPDATE webhook.change_events SET %s",
        status, next_attempt, more);
}

Test(store_census, every_unfinished_row_is_counted_once_and_no_finished_one)
{
    static const struct {
        const char *status, *next, *more;
        enum census_col where;
        int unfinished;
    } cases[] = {
        {"queued",      "NULL",                      "starts = 0",       CENSUS_DUE,          1},
        {"queued",      "now() - interval '1 s'",    "starts = 0",       CENSUS_DUE,          1},
        {"queued",      "now() + interval '1 hour'", "attempts = 1",     CENSUS_LATER,        1},
        {"in_progress", "NULL",                      "claimed_by = 'x'", CENSUS_IN_PROGRESS,  1},
        {"in_progress", "NULL",                      "claimed_by = 'x'", CENSUS_ORPHANED,     1},
        {"queued",      "NULL",                      "suspect = 2",      CENSUS_SUSPECTS,     1},
        {"queued",      "NULL",                      "event_id = NULL",  CENSUS_UNIDENTIFIED, 1},
        {"in_progress", "NULL",                      "event_id = NULL",  CENSUS_UNIDENTIFIED, 1},
        {"completed",   "NULL",                      "starts = 0",       CENSUS_DUE,          0},
        {"superseded",  "NULL",                      "starts = 0",       CENSUS_DUE,          0},
        {"failed: x",   "NULL",                      "suspect = 2",      CENSUS_SUSPECTS,     0},
    };
    struct store *s = bench_store(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sql_exec(bench_url(), "DELETE FROM webhook.change_events");
        put_row(cases[i].status, cases[i].next, cases[i].more);
        struct bench_rows r = census(s);
        cr_expect_eq(unfinished(&r), cases[i].unfinished, "case %zu", i);
        cr_expect_eq(number(&r, cases[i].where), cases[i].unfinished, "case %zu", i);
    }
}

Test(store_census, accepting_and_claiming_move_the_clock_and_looking_does_not)
{
    struct store *s = bench_store("w1");
    struct change_event *ev = bench_event(page);
    int before = number(&(struct bench_rows[]){census(s)}[0], CENSUS_CLOCK);
    struct bench_rows again = census(s);
    cr_expect_eq(number(&again, CENSUS_CLOCK), before);
    bench_accept(s, ev, NULL);
    struct bench_rows accepted = census(s);
    cr_expect_gt(number(&accepted, CENSUS_CLOCK), before);
    bench_claim_ok(s, ev);
    struct bench_rows claimed = census(s);
    cr_expect_gt(number(&claimed, CENSUS_CLOCK), number(&accepted, CENSUS_CLOCK));
    cr_expect_eq(number(&claimed, CENSUS_IN_PROGRESS), 1);
    cr_expect_eq(number(&claimed, CENSUS_ORPHANED), 0, "its owner lives");
}

Test(store_census, a_row_that_somebody_else_inserts_moves_the_serial)
{
    struct store *s = bench_store(NULL);
    struct bench_rows before = census(s);
    put_row("completed", "NULL", "starts = 0");
    struct bench_rows after = census(s);
    cr_expect_gt(number(&after, CENSUS_SERIAL), number(&before, CENSUS_SERIAL));
    cr_expect_str_eq(bench_cell(&after, 0, CENSUS_STANDBY), "f");
    cr_expect_str_eq(bench_cell(&after, 0, CENSUS_SERVER), bench_cell(&before, 0, CENSUS_SERVER));
    cr_expect_str_eq(bench_cell(&after, 0, CENSUS_GENERATION),
        sql_text(bench_url(), "SELECT generation FROM webhook.queues WHERE name = 'change'"));
}

Test(store_census, the_unfinished_are_named_with_where_they_are)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    put_row("queued", "now() + interval '1 hour'", "starts = 0");
    put_row("in_progress", "NULL", "claimed_by = 'x'");
    sql_exec(bench_url(), "INSERT INTO webhook.change_events (watch_id, watch_url,"
                          " rescrape_status) VALUES ('w', 'http://old/', 'queued')");
    BENCH_ASK(r, store_census_names(s, 20, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 3);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "due");
    cr_expect(strncmp(bench_cell(&r, 0, 1), "row ", 4) == 0);
    cr_expect_str_eq(bench_cell(&r, 0, 2), "http://old/");
    cr_expect_str_eq(bench_cell(&r, 1, 0), "later");
    cr_expect_str_eq(bench_cell(&r, 2, 0), "in_progress");
    cr_expect_str_eq(bench_cell(&r, 2, 4), "x");
    for (int i = 0; i < 30; i++)
        put_row("queued", "NULL", "starts = 0");
    BENCH_ASK(r, store_census_names(s, 20, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 22);
}

Test(store_census, hastening_makes_due_what_waited_and_nothing_else)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    put_row("failed: x", "now() + interval '1 hour'", "starts = 0");
    put_row("queued", "now() + interval '1 hour'", "starts = 0");
    put_row("queued", "now() + interval '1 hour'", "starts = 0");
    BENCH_ASK(r, store_hasten(s, 1, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    BENCH_ASK(r, store_hasten(s, 10, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 1);
    struct bench_rows c = census(s);
    cr_expect_eq(number(&c, CENSUS_DUE), 2);
    cr_expect_eq(number(&c, CENSUS_LATER), 0);
    cr_expect_eq(bench_count("webhook.change_events WHERE next_attempt_at > now()"), 1,
        "the failed one is as it was");
}

Test(store_census, fencing_names_what_it_changed_and_lifting_is_the_opposite)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    BENCH_ASK(r, store_fence(s, "{change}", true, "me@host", BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "change");
    BENCH_ASK(r, store_fence(s, "{change,crawl}", true, "you@host", BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 1, "change was fenced already");
    cr_expect_eq(bench_count("webhook.queues WHERE fenced_by = 'me@host'"), 1);
    BENCH_ASK(r, store_fence(s, "{change,crawl}", false, NULL, BENCH_CB(r)));
    cr_expect_eq(bench_nrows(&r), 2);
    cr_expect_eq(
        bench_count("webhook.queues WHERE fenced_at IS NOT NULL OR fenced_by IS NOT NULL"), 0);
}

Test(store_census, the_fleet_is_told_as_it_is)
{
    struct store *s = bench_store("w1");
    struct bench_rows r;
    sql_exec(bench_url(),
        "INSERT INTO webhook.producers (id, host, pid, seen_at, fenced, status) VALUES ('p', 'h', "
        "1,"
        "  now() - interval '2 min', '{change,crawl}', '{\"spool_bytes\": 77}');"
        "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
        "  ('a.crawl', 'h', '/s', 'p', 9), ('b.seg', 'h', '/s', 'p', 0);"
        "INSERT INTO webhook.upstreams (host, state, failures, open_until) VALUES"
        "  ('up:80', 'open', 5, now() + interval '1 min'), ('fine:80', 'closed', 0, NULL);"
        "UPDATE webhook.queues SET paused_at = now(), paused_by = 'me' WHERE name = 'crawl'");
    BENCH_ASK(r, store_census_fleet(s, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 6);
    cr_expect_str_eq(bench_cell(&r, 0, MEMBER_WHAT), "producer");
    cr_expect_str_eq(bench_cell(&r, 0, MEMBER_TEXT), "change,crawl");
    cr_expect_geq(atol(bench_cell(&r, 0, MEMBER_AGE)), 120000);
    cr_expect_str_eq(bench_cell(&r, 0, MEMBER_N), "77");
    cr_expect_str_eq(bench_cell(&r, 3, MEMBER_NAME), "a.crawl");
    cr_expect_str_eq(bench_cell(&r, 3, MEMBER_N), "9");
    cr_expect_str_eq(bench_cell(&r, 4, MEMBER_NAME), "up:80");
    cr_expect_str_eq(bench_cell(&r, 5, MEMBER_NAME), "w1");
}
