/* hooklinectl bench with a real producer: what it counts is what happened, what it measures includes
 * the waiting, and it loads no other machine unasked. */
#include "tests/support/canned.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(ctl_bench, .timeout = 120);

static struct rig rig;
static const char *out; /* of the last command */
static json_t *result;

static int run(const char *const *args)
{
    int code = rig_ctl(&rig, args, &out);
    const char *at = strstr(out, "{\"version\":1");
    json_decref(result);
    result = at ? json_loads(at, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    return code;
}
#define BENCH(...) run((const char *const[]){"bench", __VA_ARGS__, NULL})

static const char *to(const char *source)
{
    return harness_text("http://127.0.0.1:%d/api/webhook/%s", rig.producer_port, source);
}

static json_int_t count(const char *key)
{
    return json_integer_value(json_object_get(result, key));
}

static double ms(const char *of, const char *percentile)
{
    return json_real_value(json_object_get(json_object_get(result, of), percentile));
}

#define EXPECT_SAID(text) cr_expect(strstr(out, text), "'%s' is missing: %s", text, out)

/* --- counting ---------------------------------------------------------------------------- */

Test(ctl_bench, each_event_that_is_counted_is_a_row)
{
    rig_start(&rig);
    cr_assert_eq(BENCH("--rate", "200", "--duration", "1", "--warmup", "500ms", "--json", "--to",
                     to("changedetection")),
        0, "%s", out);
    cr_expect_eq(count("sent"), 200);
    cr_expect_eq(count("accepted"), 200);
    cr_expect_eq(count("sent_all"), 300, "with those of the warm-up");
    cr_expect_eq(count("unsent"), 0);
    cr_expect_eq(count("duplicates"), 0);
    const char *run_name = json_string_value(json_object_get(result, "run"));
    cr_assert(run_name);
    const char *mine = harness_text("watch_id = '%s'", run_name);
    WAIT_FOR(rig_rows(&rig, mine) == 300, 10000);
    cr_expect(ms("response_ms", "p50") > 0 && ms("response_ms", "p50") <= ms("response_ms", "max"));
    cr_expect(ms("service_ms", "p50") <= ms("response_ms", "max"));
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(DISTINCT watch_url) FROM webhook.change_events"), 300);
}

Test(ctl_bench, pages_of_firecrawls_and_a_list_of_addresses_are_taken)
{
    rig_start(&rig);
    cr_expect_eq(BENCH("--source=firecrawl", "--rate=50", "--duration=1", "--warmup=0", "--size",
                     "5000", "--token", "--json", "--to", to("firecrawl")),
        0, "%s", out);
    cr_expect_eq(count("accepted"), 50);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), 50);

    const char *list = harness_text("%s/urls", harness_dir());
    FILE *f = fopen(list, "we");
    cr_assert(f && fputs("http://page.test/1\r\n\nhttp://page.test/2\n", f) >= 0 && fclose(f) == 0);
    cr_expect_eq(BENCH("--rate", "10", "--duration", "1", "--warmup", "0", "--urls", list, "--json",
                     "--to", to("changedetection")),
        0, "%s", out);
    cr_expect_eq(rig_rows(&rig, "watch_url = 'http://page.test/1'"), 5);
    cr_expect_eq(rig_rows(&rig, "watch_url = 'http://page.test/2'"), 5);
}

Test(ctl_bench, refusals_are_counted_by_their_status)
{
    rig_start(&rig);
    cr_expect_eq(BENCH("--rate", "50", "--duration", "1", "--warmup", "0", "--json", "--to",
                     harness_text("http://127.0.0.1:%d/nowhere", rig.producer_port)),
        1, "%s", out);
    cr_expect_eq(count("accepted"), 0);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(result, "errors"), "http_404")),
        50, "%s", out);
}

/* --- measuring --------------------------------------------------------------------------- */

Test(ctl_bench, a_stall_is_felt_by_all_that_was_due_meanwhile)
{
    rig_start(&rig);
    const char *const argv[] = {rig_program("hooklinectl"), "bench", "--rate", "200", "--duration",
        "2", "--warmup", "0", "--connections", "4", "--progress", "--json", "--to",
        to("changedetection"), NULL};
    struct test_proc *p = rig_start_program(&rig, argv, NULL, -1);
    WAIT_FOR(rig_rows(&rig, "true") > 20, 10000);
    test_proc_signal(rig.producer, SIGSTOP);
    pid_t children[8];
    int n = harness_children(test_proc_pid(rig.producer), NULL, children, 8);
    for (int i = 0; i < n; i++)
        kill(children[i], SIGSTOP);
    WAIT_FOR(test_proc_logged(p, " waiting\n"), 10000); /* a line each second */
    int64_t stopped = harness_now_ms();
    WAIT_FOR(harness_now_ms() - stopped > 700, 10000); /* the length of the stall itself */
    for (int i = 0; i < n; i++)
        kill(children[i], SIGCONT);
    test_proc_signal(rig.producer, SIGCONT);
    cr_expect_eq(test_proc_wait(p, 20000), 0, "%s", test_proc_log(p));
    out = test_proc_log(p);
    result = json_loads(strstr(out, "{\"version\""), JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(result, "%s", out);
    cr_expect_eq(count("accepted"), 400, "%s", out);
    cr_expect_gt(ms("response_ms", "p90"), 300, "a hundred or more were due meanwhile: %s", out);
    cr_expect_lt(ms("service_ms", "p90"), 300, "only four were under way: %s", out);
}

Test(ctl_bench, waiting_measures_until_the_row_was_completed)
{
    rig_start(&rig);
    rig_fleet(&rig, 1, NULL);
    cr_expect_eq(BENCH("--rate", "20", "--duration", "1", "--warmup", "0", "--site", RIG_SITE,
                     "--wait=30", "--json", "--to", to("changedetection")),
        0, "%s", out);
    json_t *completed = json_object_get(result, "completed");
    cr_assert(json_is_object(completed), "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(completed, "completed")), 20, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(completed, "unfinished")), 0);
    double p50 = json_real_value(json_object_get(json_object_get(completed, "ms"), "p50"));
    double truth = strtod(
        sql_text(rig.db, "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM"
                         " finished_at - created_at) * 1000) FROM webhook.change_events"),
        NULL);
    cr_expect_gt(p50, truth * 0.9, "%f, %f", p50, truth);
    cr_expect_lt(p50, truth + 100, "%f, %f", p50, truth);
}

Test(ctl_bench, each_end_that_an_event_came_to_is_counted_as_what_it_is)
{
    rig_start(&rig); /* no worker: the test decides */
    const char *const argv[] = {rig_program("hooklinectl"), "bench", "--rate", "10", "--duration",
        "1", "--warmup", "0", "--wait=30", "--progress", "--json", "--to", to("changedetection"),
        NULL};
    struct test_proc *p = rig_start_program(&rig, argv, NULL, -1);
    WAIT_FOR(test_proc_logged(p, "waiting for 10 events"), 20000);
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET finished_at = now(), rescrape_status ="
        " CASE WHEN n <= 5 THEN 'completed' WHEN n <= 8 THEN 'superseded' ELSE 'failed: gone' END"
        " FROM (SELECT id AS i, row_number() OVER (ORDER BY id) AS n FROM webhook.change_events) x"
        " WHERE id = i");
    cr_expect_eq(test_proc_wait(p, 20000), 1, "%s", test_proc_log(p));
    out = test_proc_log(p);
    result = json_loads(strstr(out, "{\"version\""), JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *ends = json_object_get(result, "completed");
    cr_expect_eq(json_integer_value(json_object_get(ends, "completed")), 5, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(ends, "superseded")), 3, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(ends, "failed")), 2, "%s", out);
    cr_expect_eq(json_integer_value(json_object_get(ends, "unfinished")), 0, "%s", out);
}

Test(ctl_bench, a_signal_ends_the_waiting_too_and_what_was_measured_is_told)
{
    rig_start(&rig); /* no worker: nothing is ever completed */
    const char *const argv[] = {rig_program("hooklinectl"), "bench", "--rate", "50", "--duration",
        "60", "--warmup", "0", "--wait=10m", "--json", "--to", to("changedetection"), NULL};
    struct test_proc *p = rig_start_program(&rig, argv, NULL, -1);
    WAIT_FOR(rig_rows(&rig, "true") > 10, 10000);
    test_proc_signal(p, SIGINT);
    cr_expect_eq(test_proc_wait(p, 10000), 1, "%s", test_proc_log(p));
    cr_expect(test_proc_logged(p, "\"broken_off\":true"), "%s", test_proc_log(p));
}

Test(ctl_bench, what_was_measured_is_told_when_postgresql_goes_away_meanwhile)
{
    struct test_pg *pg = test_pg_start();
    rig_start(&rig);
    const char *const argv[] = {rig_program("hooklinectl"), "bench", "--rate", "50", "--duration",
        "1", "--warmup", "0", "--wait=10m", "--progress", "--json", "--to", to("changedetection"),
        NULL};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", test_pg_url(pg)), NULL};
    struct test_proc *p = rig_start_program(&rig, argv, env, -1);
    WAIT_FOR(test_proc_logged(p, "waiting for 50 events"), 20000);
    test_pg_free(pg);
    cr_expect_eq(test_proc_wait(p, 40000), 69, "%s", test_proc_log(p));
    cr_expect(test_proc_logged(p, "\"accepted\":50"), "%s", test_proc_log(p));
}

Test(ctl_bench, what_is_not_completed_in_time_is_told)
{
    rig_start(&rig); /* no worker */
    cr_expect_eq(BENCH("--rate", "10", "--duration", "1", "--warmup", "0", "--wait=500ms", "--json",
                     "--to", to("changedetection")),
        124, "%s", out);
    cr_expect_eq(
        json_integer_value(json_object_get(json_object_get(result, "completed"), "unfinished")), 10,
        "%s", out);
}

/* --- servers of all kinds ---------------------------------------------------------------- */

static const char accepted[] = "{\"status\":\"queued\",\"job_id\":\"x\"}";

static bool stall(const struct canned_request *r)
{
    int64_t *until = r->ctx, now = harness_now_ms();
    if (now < *until)
        usleep((useconds_t)(*until - now) * 1000);
    canned_answer(r, 202, "", accepted);
    return true;
}

/* 200 of 300 events are due before the stall ends: by connections that wait a closed loop would have
 * felt four. */
Test(ctl_bench, a_server_that_stands_still_for_a_second_is_in_the_percentiles)
{
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    int64_t until = harness_now_ms() + 1200; /* it takes some time to start */
    struct canned *server = canned_start("127.0.0.1", stall, &until);
    cr_expect_eq(BENCH("--rate", "100", "--duration", "3", "--warmup", "0", "--connections", "4",
                     "--json", "--to", harness_text("http://127.0.0.1:%d/", canned_port(server))),
        0, "%s", out);
    cr_expect_eq(count("accepted"), 300, "%s", out);
    double most = ms("response_ms", "max");
    cr_expect(most > 700 && most < 1500, "%s", out);
    cr_expect_gt(ms("response_ms", "p99"), most - 100, "%s", out);
    cr_expect_gt(ms("response_ms", "p90"), most * 0.5, "%s", out);
    cr_expect_lt(ms("service_ms", "p90"), 300, "%s", out);
    canned_stop(server);
}

static bool plain(const struct canned_request *r)
{
    canned_answer(r, 202, "", accepted);
    return true;
}

static bool last_words(const struct canned_request *r)
{
    canned_answer(r, 202, "Connection: close\r\n", accepted);
    return false;
}

static bool closes_silently(const struct canned_request *r)
{
    canned_answer(r, 202, "", accepted);
    return false;
}

/* Closes after its answer was read: who takes the connection for alive sends into the void. */
static bool old(const struct canned_request *r)
{
    canned_printf(r, "HTTP/1.0 202 OK\r\nContent-Length: 2\r\n\r\n{}");
    usleep(20000);
    return false;
}

static bool half(const struct canned_request *r)
{
    canned_printf(r, "HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\n{\"status\"");
    return false;
}

static bool chunked(const struct canned_request *r)
{
    canned_printf(r, "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0"
                     "\r\n\r\n");
    return true;
}

/* A packet for each byte, which the pause between them sees to. */
static bool in_pieces(const struct canned_request *r)
{
    static const char text[] = "HTTP/1.1 202 Accepted\r\ncontent-length:2\r\n\r\n{}";
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        canned_send(r, text + i, 1);
        usleep(500);
    }
    return true;
}

static bool silent(const struct canned_request *r)
{
    canned_printf(r, "HTTP/1.1 202 Acc");
    return true;
}

static bool no_http(const struct canned_request *r)
{
    canned_printf(r, "220 mail.example ESMTP\r\n\r\n");
    return true;
}

static bool busy(const struct canned_request *r)
{
    canned_answer(r, 503, "", "{\"detail\":\"no\"}");
    return true;
}

Test(ctl_bench, answers_of_every_form_are_counted_as_what_they_are)
{
    static const struct {
        const char *name;
        canned_fn *fn;
        int accepted;
        const char *error;
    } servers[] = {
        {"plain",                  plain,           20, NULL        },
        {"Connection: close",      last_words,      20, NULL        },
        {"closed behind it",       closes_silently, 20, NULL        },
        {"HTTP/1.0",               old,             20, NULL        },
        {"byte by byte",           in_pieces,       20, NULL        },
        {"half an answer",         half,            0,  "closed"    },
        {"chunks",                 chunked,         0,  "unreadable"},
        {"none that would be one", no_http,         0,  "unreadable"},
        {"begun and left",         silent,          0,  "timeout"   },
        {"refusals",               busy,            0,  "http_503"  },
    };
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        const char *name = servers[i].name;
        struct canned *server = canned_start("127.0.0.1", servers[i].fn, NULL);
        cr_expect_eq(BENCH("--rate", "20", "--duration", "1", "--warmup", "0", "--timeout", "200ms",
                         "--connections", "20", "--json", "--to",
                         harness_text("http://127.0.0.1:%d/", canned_port(server))),
            servers[i].error ? 1 : 0, "%s: %s", name, out);
        cr_expect_eq(count("sent"), 20, "%s: %s", name, out);
        cr_expect_eq(count("accepted"), servers[i].accepted, "%s: %s", name, out);
        const json_t *errors = json_object_get(result, "errors");
        cr_expect_eq(json_object_size(errors), servers[i].error ? 1 : 0, "%s: %s", name, out);
        if (servers[i].error)
            cr_expect_eq(json_integer_value(json_object_get(errors, servers[i].error)), 20,
                "%s: %s", name, out);
        bool measured = servers[i].accepted || strcmp(servers[i].error, "timeout") == 0;
        cr_expect((ms("response_ms", "p50") > 0) == measured,
            "%s: a quick refusal is no good answer: %s", name, out);
        canned_stop(server);
    }
}

Test(ctl_bench, the_rate_that_is_told_is_never_more_than_what_was_asked)
{
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    struct canned *server = canned_start("127.0.0.1", plain, NULL);
    const char *there = harness_text("http://127.0.0.1:%d/", canned_port(server));
    cr_expect_eq(BENCH("--rate", "4", "--duration", "1", "--warmup", "0", "--json", "--to", there),
        0, "%s", out);
    double rate = json_number_value(json_object_get(result, "accepted_rate"));
    cr_expect(rate > 3.5 && rate <= 4, "four events take a second, not three quarters: %f", rate);
    canned_stop(server);
}

Test(ctl_bench, a_name_with_several_addresses_leads_to_the_one_that_answers)
{
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    struct canned *server = canned_start("127.0.0.1", plain, NULL);
    cr_expect_eq(BENCH("--rate", "50", "--duration", "1", "--warmup", "0", "--json", "--to",
                     harness_text("http://localhost:%d/", canned_port(server))),
        0, "%s", out);
    cr_expect_eq(count("accepted"), 50, "%s", out);
    canned_stop(server);
}

Test(ctl_bench, fresh_gives_each_event_a_connection_of_its_own)
{
    rig_start(&rig);
    struct canned *server = canned_start("127.0.0.1", plain, NULL);
    cr_expect_eq(
        BENCH("--rate", "50", "--duration", "1", "--warmup", "0", "--connections", "4", "--fresh",
            "--json", "--to", harness_text("http://127.0.0.1:%d/", canned_port(server))),
        0, "%s", out);
    cr_expect_eq(count("accepted"), 50, "%s", out);
    cr_expect_eq(canned_connections(server), 51, "and one to see that somebody is there");
    canned_stop(server);
}

/* --- what it does not do ----------------------------------------------------------------- */

Test(ctl_bench, another_machine_is_not_loaded_unasked)
{
    rig = (struct rig){.db = "postgresql://127.0.0.1/x", .redis = test_redis_start()};
    cr_expect_eq(BENCH("--to", "http://192.0.2.1:9/"), 1, "%s", out);
    EXPECT_SAID("another machine");
    cr_expect_eq(BENCH("--rate", "20000", "--duration", "10m"), 64, "%s", out);
    EXPECT_SAID("--max allows more");
    cr_expect_eq(BENCH("--to", "https://127.0.0.1/"), 64, "%s", out);
    EXPECT_SAID("producers speak http");
    cr_expect_eq(BENCH("--to", "http://[2001:db8::1]:9/"), 1, "%s", out);
    EXPECT_SAID("another machine");
    cr_expect_eq(BENCH("--to", "http://me:sesame@127.0.0.1:9/"), 64, "%s", out);
    cr_expect_null(strstr(out, "sesame"), "%s", out);
    cr_expect_eq(BENCH("--rate", "0.01", "--duration", "10"), 64, "%s", out);
    EXPECT_SAID("nothing would be measured");
    cr_expect_eq(BENCH("--duration", "999999999999999"), 64, "%s", out);
    EXPECT_SAID("at most a week");
    cr_expect_eq(BENCH("--source", "firecrawl", "--wait"), 64, "%s", out);
    cr_expect_eq(
        BENCH("--to", harness_text("http://127.0.0.1:%d/", harness_free_port())), 69, "%s", out);
    EXPECT_SAID("Is a producer running there?");
}

Test(ctl_bench, a_dry_run_sends_nothing_and_a_signal_ends_early_with_a_report)
{
    rig_start(&rig);
    cr_expect_eq(BENCH("--dry-run", "--to", to("changedetection")), 0, "%s", out);
    EXPECT_SAID("1100 events of changedetection");
    cr_expect_eq(rig_rows(&rig, "true"), 0);
    const char *const argv[] = {rig_program("hooklinectl"), "bench", "--rate", "100", "--duration",
        "60", "--warmup", "0", "--json", "--to", to("changedetection"), NULL};
    struct test_proc *p = rig_start_program(&rig, argv, NULL, -1);
    WAIT_FOR(rig_rows(&rig, "true") > 10, 10000);
    test_proc_signal(p, SIGINT);
    cr_expect_eq(test_proc_wait(p, 10000), 1, "%s", test_proc_log(p));
    cr_expect(test_proc_logged(p, "\"broken_off\":true"), "%s", test_proc_log(p));
}
