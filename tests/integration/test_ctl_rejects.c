/* hooklinectl rejects with a real producer: what was refused is seen, mended and posted again. */
#include "tests/support/fleet.h"

#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_rejects, .timeout = 120);

#define ROUTE        "/api/webhook/changedetection"
#define STREAM       "{hookline}:rejects"
#define TOKEN_HEADER "X-Webhook-Token: " RIG_TOKEN "\r\n"
#define GOOD                                                                                       \
    "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/a\","                                    \
    "\"detected_at\":\"2026-01-02T03:04:05Z\"}"

static struct rig rig;
static const char *out; /* of the last command */

/* --- posting and running ----------------------------------------------------------------- */

static struct test_reply post_as(const char *headers, const char *path, const char *body)
{
    return test_http(rig.producer_port, "POST", path, headers, body, strlen(body));
}

static struct test_reply post_signed(const char *more, const char *body)
{
    const char *headers = harness_text(
        "%sX-Signature: sha256=%s\r\n", more, test_sign(RIG_SECRET, body, strlen(body)));
    return post_as(headers, ROUTE, body);
}

/* The same key comes with another body until the producer knows that at once: on a busy machine it may
 * answer 202 from its spool, and find out behind that. */
#define REFUSED_AS_CONFLICT(post)                                                                  \
    do {                                                                                           \
        WAIT_FOR(rig_rows(&rig, "true") == 1, 10000);                                              \
        WAIT_FOR((post).status == 409, 20000);                                                     \
    } while (0)

/* The id of the newest entry, once there are n. */
static const char *id_of(long n)
{
    WAIT_FOR(redis_int(rig.redis, "XLEN " STREAM) == n, 5000);
    const char *id = redis_text(rig.redis,
        "EVAL return\tredis.call('XREVRANGE',KEYS[1],'+','-','COUNT',1)[1][1] 1 " STREAM);
    cr_assert(strchr(id, '-'), "%s", id);
    return id;
}

static int run(const char *const *args)
{
    return rig_ctl(&rig, args, &out);
}
#define RUN(...) run((const char *const[]){"rejects", __VA_ARGS__, NULL})

static const char *url(void)
{
    return harness_text("http://127.0.0.1:%d", rig.producer_port);
}

static const char *file_of(const char *body)
{
    static int serial;
    const char *name = harness_text("%s/body%d", harness_dir(), ++serial);
    FILE *f = fopen(name, "we");
    cr_assert(f);
    cr_assert(fputs(body, f) >= 0);
    cr_assert_eq(fclose(f), 0);
    return name;
}

#define EXPECT_SAID(text) cr_expect(strstr(out, text), "'%s' is missing: %s", text, out)

/* --- the way it is meant ----------------------------------------------------------------- */

Test(ctl_rejects, a_broken_template_is_seen_mended_and_posted_again)
{
    rig_start(&rig);
    const char *broken = "{\"watch_id\": {{ broken }}}";
    cr_assert_eq(post_signed("Idempotency-Key: k1\r\n", broken).status, 400);
    const char *id = id_of(1);
    cr_assert_eq(RUN("list"), 0, "%s", out);
    EXPECT_SAID(id);
    EXPECT_SAID("changedetection");
    EXPECT_SAID("right");
    EXPECT_SAID("127.0.0.1");
    EXPECT_SAID("not valid JSON");
    cr_assert_eq(RUN("show", id), 0, "%s", out);
    EXPECT_SAID(broken);
    EXPECT_SAID("header Idempotency-Key  k1");

    cr_expect_eq(RUN("resubmit", id, "--url", url(), "--yes"), 1, "as broken as before: %s", out);
    EXPECT_SAID("refused with HTTP 400");
    cr_assert_eq(
        RUN("resubmit", id, "--url", url(), "--body", file_of(GOOD), "--yes"), 0, "%s", out);
    EXPECT_SAID("http://page.test/a");
    WAIT_FOR(rig_rows(&rig, "watch_url = 'http://page.test/a'") == 1, 10000);
    struct test_reply again = post_signed("Idempotency-Key: k1\r\n", GOOD);
    cr_expect_eq(again.status, 202);
    cr_expect_not_null(test_reply_header(&again, "Hookline-Duplicate"), "under its sender's key");
}

Test(ctl_rejects, what_came_with_the_token_goes_with_the_token_and_its_query)
{
    rig_start(&rig);
    const char *path = ROUTE "?watch_id=w&watch_url=http://page.test/from-the-query";
    const char *headers = TOKEN_HEADER "Idempotency-Key: k\r\n";
    cr_assert_eq(post_as(headers, path, "some text").status, 202);
    REFUSED_AS_CONFLICT(post_as(headers, path, "another text"));
    const char *id = id_of(1);
    WAIT_FOR(RUN("resubmit", id, "--url", url(), "--yes") == 1, 20000);
    EXPECT_SAID("refused with HTTP 409");
    EXPECT_SAID("hooklinectl send --key");
    sql_exec(rig.db, "TRUNCATE webhook.change_events");
    cr_assert_eq(RUN("resubmit", id, "--url", url(), "--yes"), 0, "%s", out);
    WAIT_FOR(rig_rows(&rig, "watch_url = 'http://page.test/from-the-query'") == 1, 10000);
}

Test(ctl_rejects, several_are_posted_and_the_first_that_fails_gives_the_exit_code)
{
    rig_start(&rig);
    post_signed("", "[1]");
    const char *bad = id_of(1);
    post_signed("Idempotency-Key: k\r\n", GOOD);
    REFUSED_AS_CONFLICT(post_signed("Idempotency-Key: k\r\n",
        "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/b\","
        "\"detected_at\":\"2026-01-02T03:04:06Z\"}"));
    const char *conflict = id_of(2);
    sql_exec(rig.db, "TRUNCATE webhook.change_events");
    cr_expect_eq(RUN("resubmit", bad, "7-7", conflict, "--url", url(), "--yes"), 2, "%s", out);
    EXPECT_SAID("7-7");
    cr_expect_eq(rig_rows(&rig, "true"), 0, "nothing is posted where one is missing");
    cr_expect_eq(RUN("resubmit", bad, conflict, "--url", url(), "--yes"), 1, "%s", out);
    EXPECT_SAID("HTTP 400");
    WAIT_FOR(rig_rows(&rig, "watch_url = 'http://page.test/b'") == 1, 10000); /* the other one is */
    cr_expect_str_eq(sql_text(rig.db, "SELECT concat_ws(' ', affected, outcome, detail->>'url')"
                                      " FROM webhook.operator_log WHERE command ="
                                      " 'rejects resubmit'"),
        harness_text("1 not all of them were taken %s", url()));
}

/* --- what is not posted ------------------------------------------------------------------ */

Test(ctl_rejects, what_nobody_had_signed_is_not_posted)
{
    rig_start(&rig);
    cr_assert_eq(post_as("", ROUTE, GOOD).status, 401);
    const char *id = id_of(1);
    cr_expect_eq(RUN("resubmit", id, "--url", url(), "--yes"), 1, "%s", out);
    EXPECT_SAID("neither signature nor token had been right");
    cr_expect_eq(
        RUN("resubmit", id, "--url", url(), "--yes", "--body", file_of(GOOD)), 1, "%s", out);
    cr_expect_eq(rig_rows(&rig, "true"), 0);
}

Test(ctl_rejects, a_body_that_was_cut_is_not_posted)
{
    rig_start(&rig);
    char *body = harness_hold(mem_zero(6001));
    memset(body, 'x', 6000);
    cr_assert_eq(post_signed("", body).status, 400);
    const char *id = id_of(1);
    cr_expect_eq(RUN("resubmit", id, "--url", url(), "--yes"), 1, "%s", out);
    EXPECT_SAID("--body");
    cr_assert_eq(RUN("show", id), 0);
    EXPECT_SAID("6000, of which 4096 are kept");
    EXPECT_SAID("The body's beginning");
    cr_expect_eq(
        RUN("resubmit", id, "--url", url(), "--yes", "--body", file_of(GOOD)), 0, "%s", out);
}

Test(ctl_rejects, a_dry_run_says_what_it_would_do_and_does_nothing)
{
    rig_start(&rig);
    post_signed("", "[]");
    const char *id = id_of(1), *body = file_of(GOOD);
    cr_assert_eq(RUN("resubmit", id, "--url", url(), "--body", body, "--dry-run"), 0, "%s", out);
    EXPECT_SAID(id);
    EXPECT_SAID(harness_text("%s" ROUTE, url()));
    cr_expect_eq(RUN("resubmit", id, "--url", url(), "--body", body), 64, "%s", out);
    EXPECT_SAID("--yes");
    cr_expect_eq(rig_rows(&rig, "true"), 0);
    cr_expect_eq(redis_int(rig.redis, "XLEN " STREAM), 1);
}

/* --- looking ----------------------------------------------------------------------------- */

static json_t *parsed(void)
{
    struct hl_err err;
    json_t *root = json_parse(out, strlen(out), &err);
    cr_assert(root, "%s: %s", err.msg, out);
    return root;
}

static const json_t *entry_of(const json_t *root, size_t i)
{
    return json_array_get(json_object_get(root, "rejects"), i);
}

Test(ctl_rejects, json_has_everything_and_bytes_in_hex)
{
    rig_start(&rig);
    cr_assert_eq(RUN("list"), 0);
    EXPECT_SAID("Nothing was refused.");
    post_signed("", "[]");
    id_of(1);
    post_as(TOKEN_HEADER, ROUTE "?a=b", "\xff\x01");
    const char *newest = id_of(2);

    cr_assert_eq(RUN("list", "--json"), 0, "%s", out);
    json_t *root = parsed();
    cr_expect_eq(json_integer_value(json_object_get(root, "version")), 1);
    const json_t *e = entry_of(root, 0);
    cr_expect_str_eq(json_get_string(e, "id"), newest);
    cr_expect_str_eq(json_get_string(e, "query"), "a=b");
    cr_expect(json_is_null(json_object_get(e, "body")));
    cr_expect_str_eq(json_get_string(e, "body_hex"), "ff01");
    cr_expect(json_is_true(json_object_get(e, "authenticated")));
    cr_expect_eq(json_integer_value(json_object_get(e, "length")), 2);
    cr_expect(json_is_object(json_object_get(e, "headers")));
    cr_expect_str_eq(json_get_string(entry_of(root, 1), "body"), "[]");
    json_decref(root);

    cr_assert_eq(RUN("list", "--json", "--before", newest, "--limit", "5"), 0, "%s", out);
    root = parsed();
    cr_expect_eq(json_array_size(json_object_get(root, "rejects")), 1);
    json_decref(root);
    cr_assert_eq(RUN("show", newest), 0);
    EXPECT_SAID("The body, in hex:\nff01\n");
    cr_expect_not(strstr(out, "\x01"), "the terminal is not to be steered");
}

Test(ctl_rejects, command_lines_that_make_no_sense_are_refused)
{
    /* clang-format off */
    static const char *const lines[][6] = {
        {"rejects"},
        {"rejects", "look"},
        {"rejects", "list", "1-1"},
        {"rejects", "list", "--yes"},
        {"rejects", "list", "--limit", "0"},
        {"rejects", "list", "--before", "x"},
        {"rejects", "show"},
        {"rejects", "show", "1-1", "1-2"},
        {"rejects", "show", "latest"},
        {"rejects", "show", "1-1", "--body", "f"},
        {"rejects", "resubmit"},
        {"rejects", "resubmit", "1-1"},
        {"rejects", "resubmit", "1-1", "--yes", "--json"},
        {"rejects", "resubmit", "1-1", "1-2", "--yes", "--body=f"},
        {"rejects", "resubmit", "1-1", "--yes", "--timeout", "0"},
    };
    /* clang-format on */
    const char *env[] = {"WEBHOOK_SECRET=" RIG_SECRET, NULL};
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        const char *argv[8] = {rig_program("hooklinectl")};
        for (size_t k = 0; k < 6 && lines[i][k]; k++)
            argv[k + 1] = lines[i][k];
        struct test_proc *p = test_proc_start(argv, env, -1);
        cr_expect_eq(test_proc_wait(p, 10000), 64, "line %zu: %s", i, test_proc_log(p));
    }
    const char *const help[] = {rig_program("hooklinectl"), "rejects", "--help", NULL};
    struct test_proc *p = test_proc_start(help, env, -1);
    cr_expect_eq(test_proc_wait(p, 10000), 0);
    cr_expect(test_proc_logged(p, "rejects resubmit"));
}

Test(ctl_rejects, what_is_missing_or_away_has_its_exit_code)
{
    rig_start(&rig);
    cr_expect_eq(RUN("show", "1-1"), 2, "%s", out);
    EXPECT_SAID("1-1");
    post_signed("", "[]");
    const char *id = id_of(1);
    const char *nobody = harness_text("http://127.0.0.1:%d", harness_free_port());
    cr_expect_eq(RUN("resubmit", id, "--url", nobody, "--yes"), 69, "%s", out);
    EXPECT_SAID("--url");
    test_redis_kill(rig.redis);
    cr_expect_eq(RUN("list"), 69, "%s", out);
}
