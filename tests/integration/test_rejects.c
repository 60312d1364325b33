/* rejects against a real Redis: what is kept, in which order, for how long, and what a Redis that is
 * away costs. */
#include "domain/rejects.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "{t}:rejects"

enum { PATIENCE_MS = 15000, MAX_ENTRIES = 200 };

static struct loop *loop;
static struct offload *offload;
static struct test_redis *server;
static struct redis *redis;
static struct rejects *rejects;

#define RUN_UNTIL(cond)                                                                            \
    do {                                                                                           \
        int64_t end_ = harness_now_ms() + PATIENCE_MS;                                             \
        while (!(cond)) {                                                                          \
            cr_assert_lt(                                                                          \
                harness_now_ms(), end_, "line %d: waited in vain for %s", __LINE__, #cond);        \
            loop_turn(loop);                                                                       \
        }                                                                                          \
    } while (0)

static void on_state(struct redis *r, bool up, void *ctx)
{
    (void)r;
    (void)ctx;
    if (up)
        rejects_again(rejects);
}

static void start_with(int64_t kept)
{
    const struct redis_conf conf = {.url = test_redis_url(server),
        .client_name = "rejects-test",
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 5000,
        .max_pending = 10000};
    struct hl_err err = {0};
    redis = redis_new(loop, offload, &conf, &err);
    cr_assert(redis, "%s", err.msg);
    rejects = rejects_new(redis, "t", kept);
    redis_on_state(redis, on_state, NULL);
    RUN_UNTIL(redis_up(redis));
}

static void start(void)
{
    struct hl_err err = {0};
    server = test_redis_start();
    loop = loop_new(&err);
    offload = loop ? offload_new(loop, &err) : NULL;
    cr_assert(offload, "%s", err.msg);
}

static void stop(void)
{
    redis_free(redis);
    rejects_free(rejects);
    offload_free(offload);
    loop_free(loop);
    test_redis_free(server);
}

TestSuite(rejects, .init = start, .fini = stop, .timeout = 60);

/* --- writing and reading ----------------------------------------------------------------- */

static struct reject sample(bool authenticated, const char *reason)
{
    return (struct reject){.at = 1700000000000000,
        .source = "changedetection",
        .method = "POST",
        .path = "/api/webhook/changedetection",
        .query = "a=b",
        .peer = "192.0.2.7",
        .request_id = "an-id",
        .status = 400,
        .reason = reason,
        .authenticated = authenticated,
        .headers = "{\"User-Agent\":\"x\"}",
        .body = "a body",
        .len = 6};
}

static void note(bool authenticated, const char *reason)
{
    struct reject x = sample(authenticated, reason);
    rejects_note(rejects, &x);
}

/* A copy of what one question brought. */
static struct listing {
    int calls;
    enum hl_rc rc;
    char error[200];
    size_t n;
    char ids[MAX_ENTRIES][48], reasons[MAX_ENTRIES][40];
    struct reject_entry first; /* texts are copied as far as the tests look */
    char path[64], headers[64], body[REJECT_BODY_KEPT + 1], query[64];
} got;

static void keep_first(const struct reject_entry *e)
{
    got.first = *e;
    snprintf(got.path, sizeof(got.path), "%s", e->reject.path);
    snprintf(got.query, sizeof(got.query), "%s", e->reject.query ? e->reject.query : "(none)");
    snprintf(got.headers, sizeof(got.headers), "%s", e->reject.headers);
    memcpy(got.body, e->reject.body, e->kept);
}

static void on_entries(enum hl_rc rc, const struct reject_entry *entries, size_t n,
    const struct hl_err *err, void *ctx)
{
    (void)ctx;
    got = (struct listing){.calls = 1, .rc = rc, .n = n};
    snprintf(got.error, sizeof(got.error), "%s", err ? err->msg : "");
    for (size_t i = 0; i < n && i < MAX_ENTRIES; i++) {
        snprintf(got.ids[i], sizeof(got.ids[i]), "%s", entries[i].id);
        snprintf(got.reasons[i], sizeof(got.reasons[i]), "%s", entries[i].reject.reason);
    }
    if (n)
        keep_first(&entries[0]);
}

static size_t list(const char *before, int limit)
{
    got.calls = 0;
    rejects_list(rejects, before, limit, on_entries, NULL);
    cr_assert_eq(got.calls, 0, "never inside the call");
    RUN_UNTIL(got.calls);
    return got.n;
}

static size_t get(const char *id)
{
    got.calls = 0;
    rejects_get(rejects, id, on_entries, NULL);
    RUN_UNTIL(got.calls);
    return got.n;
}

static bool is_kept(long n)
{
    return redis_int(server, "XLEN " STREAM) == n;
}

Test(rejects, an_entry_comes_back_as_it_was_noted)
{
    start_with(10);
    struct reject x = sample(true, "no url");
    x.body = "a\0b";
    x.len = 3;
    x.query = NULL;
    rejects_note(rejects, &x);
    RUN_UNTIL(is_kept(1));
    cr_assert_eq(list(NULL, 10), 1, "%s", got.error);
    const struct reject *r = &got.first.reject;
    cr_expect_eq(r->at, 1700000000000000);
    cr_expect_eq(r->status, 400);
    cr_expect(r->authenticated);
    cr_expect_eq(r->len, 3);
    cr_expect_eq(got.first.kept, 3);
    cr_expect_arr_eq(got.body, "a\0b", 3);
    cr_expect_str_eq(got.path, "/api/webhook/changedetection");
    cr_expect_str_eq(got.headers, "{\"User-Agent\":\"x\"}");
    cr_expect_str_eq(got.query, "(none)");
    cr_expect_str_eq(got.reasons[0], "no url");
    char id[48];
    snprintf(id, sizeof(id), "%s", got.ids[0]);
    cr_expect_eq(get(id), 1);
    cr_expect_str_eq(got.ids[0], id);
}

Test(rejects, of_a_long_body_the_beginning_is_kept_and_its_length)
{
    start_with(10);
    char *body = harness_hold(mem_zero(10000));
    memset(body, 'x', 10000);
    struct reject x = sample(false, "r");
    x.body = body;
    x.len = 10000;
    rejects_note(rejects, &x);
    RUN_UNTIL(is_kept(1));
    list(NULL, 1);
    cr_expect_eq(got.first.kept, REJECT_BODY_KEPT);
    cr_expect_eq(got.first.reject.len, 10000);
    cr_expect_eq(strspn(got.body, "x"), REJECT_BODY_KEPT);
}

Test(rejects, what_is_no_text_becomes_one)
{
    start_with(10);
    struct reject x = sample(true, "r");
    x.query = "a=\xff";
    rejects_note(rejects, &x);
    RUN_UNTIL(is_kept(1));
    cr_assert_eq(list(NULL, 1), 1, "%s", got.error);
    cr_expect_str_eq(got.query, "a=\xef\xbf\xbd");
}

Test(rejects, the_list_is_newest_first_and_goes_on_before_an_entry)
{
    start_with(10);
    for (int i = 0; i < 5; i++)
        note(true, harness_text("%d", i));
    RUN_UNTIL(is_kept(5));
    cr_assert_eq(list(NULL, 2), 2);
    cr_expect_str_eq(got.reasons[0], "4");
    cr_expect_str_eq(got.reasons[1], "3");
    char last[48];
    snprintf(last, sizeof(last), "%s", got.ids[1]);
    cr_assert_eq(list(last, 10), 3);
    cr_expect_str_eq(got.reasons[0], "2");
    cr_expect_str_eq(got.reasons[2], "0");
}

Test(rejects, what_is_no_id_stands_for_no_entry)
{
    static const char *const ids[] = {"", "-", "+", "1", "1-", "-1", "1-2-3", "(1-1", "x", "1-1\n"};
    start_with(10);
    note(true, "r");
    RUN_UNTIL(is_kept(1));
    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        cr_expect_not(rejects_is_id(ids[i]), "%s", ids[i]);
        cr_expect_eq(get(ids[i]), 0, "%s", ids[i]);
        cr_expect_eq(got.rc, HL_OK, "%s: %s", ids[i], got.error);
        cr_expect_eq(list(ids[i], 10), 0, "%s", ids[i]);
    }
    cr_expect_eq(get("1-1"), 0);
    cr_expect_eq(list("99999999999999999-0", 10), 1);
}

/* --- bounds ------------------------------------------------------------------------------ */

Test(rejects, as_many_as_asked_for_are_kept)
{
    start_with(8);
    for (int i = 0; i < 40; i++)
        note(true, harness_text("%d", i));
    RUN_UNTIL(list(NULL, 1) == 1 && strcmp(got.reasons[0], "39") == 0);
    cr_expect(is_kept(8));
}

Test(rejects, a_flood_without_credentials_pushes_out_none_of_the_others)
{
    start_with(8);
    for (int i = 0; i < 6; i++)
        note(true, harness_text("good %d", i));
    for (int i = 0; i < 60; i++)
        note(false, harness_text("bad %d", i));
    RUN_UNTIL(list(NULL, 1) == 1 && strcmp(got.reasons[0], "bad 59") == 0);
    cr_assert_eq(list(NULL, 100), 8);
    cr_expect_str_eq(got.reasons[1], "bad 58");
    for (size_t i = 2; i < 8; i++)
        cr_expect_str_eq(got.reasons[i], harness_text("good %zu", 7 - i));
    note(true, "good 6");
    RUN_UNTIL(list(NULL, 1) == 1 && strcmp(got.reasons[0], "good 6") == 0);
    cr_expect_eq(list(NULL, 100), 8, "the oldest made room");
    cr_expect_leq(redis_int(server, "LLEN " STREAM ":open"), 2);
}

Test(rejects, none_are_kept_where_none_are_wanted)
{
    start_with(0);
    cr_expect_null(rejects);
    note(true, "r");
    rejects_again(rejects);
    cr_expect_eq(rejects_dropped(rejects), 0);
}

/* --- Redis away -------------------------------------------------------------------------- */

Test(rejects, the_last_hundred_wait_while_redis_is_away)
{
    start_with(1000);
    note(true, "before");
    RUN_UNTIL(is_kept(1));
    test_redis_kill(server);
    RUN_UNTIL(!redis_up(redis));
    for (int i = 0; i < 80; i++) {
        note(true, harness_text("good %d", i));
        note(false, harness_text("bad %d", i));
        loop_turn(loop);
    }
    RUN_UNTIL(rejects_dropped(rejects) == 5 + 55);
    test_redis_restart(server);
    RUN_UNTIL(redis_up(redis));
    RUN_UNTIL(is_kept(101));
    list(NULL, 200);
    int good = 0, bad = 0;
    for (size_t i = 0; i < got.n; i++) {
        good += strncmp(got.reasons[i], "good", 4) == 0;
        bad += strncmp(got.reasons[i], "bad", 3) == 0;
        cr_expect_str_neq(got.reasons[i], "good 4", "the oldest went");
    }
    cr_expect_eq(good, 75);
    cr_expect_eq(bad, 25);
}

Test(rejects, a_redis_that_hangs_costs_a_bounded_number)
{
    start_with(1000);
    test_redis_pause(server);
    for (int i = 0; i < 500; i++)
        note(true, "r");
    cr_expect_eq(rejects_dropped(rejects), 500 - 64 - 75);
    test_redis_resume(server);
    RUN_UNTIL(is_kept(64 + 75));
}

Test(rejects, a_list_without_redis_says_so)
{
    start_with(10);
    test_redis_kill(server);
    RUN_UNTIL(!redis_up(redis));
    list(NULL, 10);
    cr_expect_neq(got.rc, HL_OK);
    cr_expect_neq(got.error[0], '\0');
}

/* --- what is not ours -------------------------------------------------------------------- */

Test(rejects, an_entry_of_something_else_is_named)
{
#define GOOD "at 1 status 400 authenticated 1 len 1 body x"
    static const struct {
        const char *fields;
        bool ours;
    } cases[] = {
        {GOOD,                                                           true },
        {GOOD " later-version y",                                        true },
        {"a b",                                                          false},
        {"at 1 status 400 authenticated 1 len 1",                        false},
        {"at x status 400 authenticated 1 len 1 body x",                 false},
        {"at -1 status 400 authenticated 1 len 1 body x",                false},
        {"at 1 status 400 authenticated 1 len 0 body x",                 false},
        {"at 1 status 400 authenticated 1 len 1e3 body x",               false},
        {"at 1 authenticated 1 len 1 body x",                            false},
        {GOOD " headers []",                                             false},
        {GOOD " headers {",                                              false},
        {"at 9999999999999999999 status 4 len 1 authenticated 1 body x", false},
    };
    start_with(10);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        redis_text(server, "DEL " STREAM);
        redis_text(server, "XADD " STREAM " 7-%zu %s", i + 1, cases[i].fields);
        list(NULL, 10);
        cr_expect_eq(got.rc, cases[i].ours ? HL_OK : HL_FATAL, "%s", cases[i].fields);
        if (!cases[i].ours)
            cr_expect(strstr(got.error, harness_text("7-%zu", i + 1)), "%s", got.error);
    }
    redis_text(server, "DEL " STREAM);
    redis_text(server, "SET " STREAM " x");
    note(true, "r");
    RUN_UNTIL(rejects_dropped(rejects) == 1);
    list(NULL, 10);
    cr_expect_eq(got.rc, HL_FATAL);
}
