/* hooklinectl send with a real producer: both sources, both credentials, one and many. */
#include "tests/support/canned.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_send, .timeout = 120);

static struct rig rig;
static const char *out; /* of the last command */

static int run(const char *const *args)
{
    return rig_ctl(&rig, args, &out);
}
/* --to is a macro of its own: rig_ctl knows no port. */
#define SEND(...) run((const char *const[]){"send", __VA_ARGS__, NULL})
#define TO        "--to", change_route()
#define TO_CRAWL  "--to", crawl_route()

static const char *change_route(void)
{
    return harness_text("http://127.0.0.1:%d/api/webhook/changedetection", rig.producer_port);
}

static const char *crawl_route(void)
{
    return harness_text("http://127.0.0.1:%d/api/webhook/firecrawl", rig.producer_port);
}

static const char *file_of(const char *text)
{
    static int serial;
    const char *name = harness_text("%s/file%d", harness_dir(), ++serial);
    FILE *f = fopen(name, "we");
    cr_assert(f);
    cr_assert(fputs(text, f) >= 0);
    cr_assert_eq(fclose(f), 0);
    return name;
}

#define EXPECT_SAID(text) cr_expect(strstr(out, text), "'%s' is missing: %s", text, out)

/* A number of the summary; -1: it has none. */
static json_int_t summed(const char *key)
{
    const char *at = strstr(out, "{\"version\":1");
    json_t *v = at ? json_loads(at, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    json_t *n = json_object_get(v, key);
    json_int_t sum = json_is_integer(n) ? json_integer_value(n) : -1;
    json_decref(v);
    return sum;
}

#define LINE(n)                                                                                    \
    "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/" n "\","                                \
    "\"detected_at\":\"2026-01-02T03:04:0" n "Z\"}\n"

/* --- one --------------------------------------------------------------------------------- */

Test(ctl_send, a_change_goes_signed_or_with_the_token)
{
    rig_start(&rig);
    cr_expect_eq(SEND("--url", "http://page.test/signed", TO), 0, "%s", out);
    EXPECT_SAID("event ");
    cr_expect_eq(SEND("--url", "http://page.test/token", "--token", TO), 0, "%s", out);
    cr_expect_eq(rig_rows(&rig, "watch_url LIKE '%/signed' AND metadata ? 'signature'"), 1);
    cr_expect_eq(rig_rows(&rig, "watch_url LIKE '%/token' AND NOT metadata ? 'signature'"), 1);
}

Test(ctl_send, a_page_of_firecrawls_is_taken_with_either_credential)
{
    rig_start(&rig);
    cr_expect_eq(SEND("--source", "firecrawl", "--url", "http://page.test/a", "--snapshot",
                     "# Mackerel", "--title", "Fish", TO_CRAWL),
        0, "%s", out);
    EXPECT_SAID("\"queued_jobs\":1");
    cr_expect_eq(SEND("--source", "firecrawl", "--url", "http://page.test/b", "--token", TO_CRAWL),
        0, "%s", out);
    EXPECT_SAID("\"queued_jobs\":1");
    cr_expect_eq(SEND("--source", "firecrawl", "--type", "crawl.started", "--crawl", "c7", "--url",
                     "http://page.test/", TO_CRAWL),
        0, "%s", out);
    EXPECT_SAID("crawl.started");
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), 3);
}

/* --- many -------------------------------------------------------------------------------- */

Test(ctl_send, repeated_events_are_events_of_their_own_and_keep_to_the_rate)
{
    rig_start(&rig);
    int64_t began = harness_now_ms();
    cr_expect_eq(
        SEND("--url", "http://page.test/r", "--repeat", "11", "--rate", "20/s", TO), 0, "%s", out);
    cr_expect_geq(
        harness_now_ms() - began, 500, "the eleventh is due half a second after the first");
    EXPECT_SAID("11 sent, 11 accepted, 0 refused");
    cr_expect_eq(rig_rows(&rig, "watch_url LIKE '%/r'"), 11);
    cr_expect_eq(SEND("--url", "http://page.test/k", "--repeat", "5", "--key", "one", "--json", TO),
        0, "%s", out);
    cr_expect_eq(summed("accepted"), 5, "%s", out);
    cr_expect_eq(rig_rows(&rig, "watch_url LIKE '%/k'"), 1, "under a key it is one event");
}

Test(ctl_send, lines_are_events_and_a_bad_one_does_not_stop_the_others)
{
    rig_start(&rig);
    const char *name = file_of(LINE("1") "\n"
                                         "{\"watch_id\":3}\n" LINE("2") "  \n" LINE("3"));
    cr_expect_eq(SEND("--file", name, "--lines", TO), 1, "%s", out);
    EXPECT_SAID("4 sent, 3 accepted, 1 refused");
    EXPECT_SAID("That was line 3.");
    EXPECT_SAID("watch_id: must be a string");
    cr_expect_eq(rig_rows(&rig, "true"), 3);
    cr_expect_eq(SEND("--file", name, "--lines", "--json", TO), 1, "%s", out);
    cr_expect_eq(summed("sent"), 4, "%s", out);
    cr_expect_eq(summed("refused"), 1);
    cr_expect_eq(summed("last_line"), 6);
}

/* The sender of the line goes on, and would for ever. */
Test(ctl_send, a_line_too_long_for_any_producer_is_refused_before_it_is_whole)
{
    rig_start(&rig);
    const char *script =
        harness_text("{ printf '%%s\\n' '%s'; head -c 16777217 /dev/zero; exec sleep 60; } |"
                     " { %s send --file - --lines --to %s; echo \"exit $?\"; }",
            "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/1\","
            "\"detected_at\":\"2026-01-02T03:04:05Z\"}",
            rig_program("hooklinectl"), change_route());
    struct test_proc *p =
        rig_start_program(&rig, (const char *const[]){"/bin/sh", "-c", script, NULL}, NULL, -1);
    WAIT_FOR(test_proc_logged(p, "exit 1\n"), 20000);
    out = test_proc_log(p);
    EXPECT_SAID("line 2 is longer than 16777216 bytes");
    EXPECT_SAID("1 sent, 1 accepted, 0 refused");
}

Test(ctl_send, a_line_of_nul_bytes_is_no_blank_one)
{
    rig_start(&rig);
    const char *name = harness_text("%s/nul", harness_dir());
    FILE *f = fopen(name, "we");
    cr_assert(f && fwrite("\0{}\n", 1, 4, f) == 4 && fclose(f) == 0);
    cr_expect_eq(SEND("--file", name, "--lines", "--json", TO), 1, "%s", out);
    cr_expect_eq(summed("refused"), 1, "%s", out);
}

/* The producer stands still for half a second, in which ten would have been due. */
Test(ctl_send, a_slow_answer_is_not_made_up_for_by_a_burst)
{
    rig_start(&rig);
    const char *const argv[] = {rig_program("hooklinectl"), "send", "--url", "http://page.test/",
        "--repeat", "20", "--rate", "20", "--to", change_route(), NULL};
    struct test_proc *p = rig_start_program(&rig, argv, NULL, -1);
    WAIT_FOR(rig_rows(&rig, "true") >= 2, 10000);
    pid_t children[8];
    int n = harness_children(test_proc_pid(rig.producer), NULL, children, 8);
    for (int i = 0; i < n; i++)
        kill(children[i], SIGSTOP);
    int64_t stopped = harness_now_ms();
    WAIT_FOR(harness_now_ms() - stopped > 500, 10000); /* the length of the stall itself */
    for (int i = 0; i < n; i++)
        kill(children[i], SIGCONT);
    cr_expect_eq(test_proc_wait(p, 20000), 0, "%s", test_proc_log(p));
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM (SELECT created_at - lag(created_at, 4) OVER"
                                 " (ORDER BY created_at) AS took FROM webhook.change_events) t"
                                 " WHERE took < interval '100 ms'"),
        0, "five of them take 200 ms");
}

Test(ctl_send, sending_ends_where_nobody_answers_and_tells_the_line_to_go_on_from)
{
    rig_start(&rig);
    const char *to = harness_text("http://127.0.0.1:%d/", harness_free_port());
    const char *name = file_of("\n" LINE("1") LINE("2"));
    cr_expect_eq(SEND("--file", name, "--lines", "--to", to), 69, "%s", out);
    EXPECT_SAID("1 sent, 0 accepted, 0 refused, 1 unanswered");
    EXPECT_SAID("broken off at line 2");
    cr_expect_eq(SEND("--url", "http://page.test/", "--repeat", "9", "--json", "--to", to), 69);
    cr_expect_eq(summed("sent"), 1, "%s", out);
}

/* --- what is no such command ------------------------------------------------------------- */

Test(ctl_send, options_that_contradict_each_other_are_named)
{
    static const struct {
        const char *args[8];
        const char *said;
    } cases[] = {
        {{"--source", "github", "--url", "http://x/"},                  "changedetection or firecrawl"    },
        {{"--source", "firecrawl", "--url", "http://x/", "--key", "k"},
         "--key is nothing that fire"                                                                     },
        {{"--url", "http://x/", "--crawl", "c"},                        "--crawl is nothing that chang"   },
        {{"--file", "f", "--title", "t"},                               "no --title beside it"            },
        {{"--url", "http://x/", "--lines"},                             "--lines needs --file"            },
        {{"--file", "f", "--lines", "--repeat", "2"},                   "neither --repeat nor --key"      },
        {{"--url", "http://x/", "--rate", "0"},                         "--rate takes a number from 1e-05"},
        {{"--url", "http://x/", "--rate", "5x"},                        "--rate takes a number from 1e-05"},
        {{"--url", "http://x/", "--repeat", "0"},                       "--repeat takes a number"         },
        {{"--title", "t"},                                              "give --url, or --file"           },
    };
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *args[10] = {"send"};
        for (int k = 0; cases[i].args[k]; k++)
            args[k + 1] = cases[i].args[k];
        cr_expect_eq(run(args), 64, "%zu: %s", i, out);
        EXPECT_SAID(cases[i].said);
    }
}

static bool no_producer(const struct canned_request *r)
{
    canned_answer(r, 202, "", "\033]0;owned\007<html>");
    return true;
}

Test(ctl_send, what_is_no_answer_of_a_producers_never_reaches_the_terminal_as_it_is)
{
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    struct canned *server = canned_start("127.0.0.1", no_producer, NULL);
    const char *to = harness_text("http://127.0.0.1:%d/", canned_port(server));
    cr_expect_eq(SEND("--url", "http://x/", "--json", "--to", to), 0, "%s", out);
    EXPECT_SAID("the answer is no JSON");
    cr_expect_null(strchr(out, 033), "%s", out);
    cr_expect_eq(SEND("--source", "firecrawl", "--url", "http://x/", "--to", to), 0, "%s", out);
    cr_expect_null(strchr(out, 033), "%s", out);
    canned_stop(server);
}

Test(ctl_send, a_credential_that_is_not_set_is_named)
{
    const char *program = rig_program("hooklinectl");
    const char *const argv[] = {program, "send", "--url", "http://x/", "--token", NULL};
    const char *const env[] = {"WEBHOOK_SECRET=" RIG_SECRET, NULL};
    struct test_proc *p = test_proc_start(argv, env, -1);
    cr_expect_eq(test_proc_wait(p, 10000), 1, "%s", test_proc_log(p));
    cr_expect(test_proc_logged(p, "WEBHOOK_INTAKE_TOKEN is not set"), "%s", test_proc_log(p));
}
