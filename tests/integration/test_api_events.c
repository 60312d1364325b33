/* What the API shows of events, crawls, queues and workers, and that a failed event can be tried
 * again through it: a real producer, real workers. The shape of the answers is test_api_openapi's. */
#include "base/buf.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(api_events, .timeout = 90);

enum { SOON = 20000 };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define AUTH     "Authorization: Bearer " RIG_API_SECRET "\r\n"

/* --- asking ------------------------------------------------------------------------------ */

static json_t *ask(struct rig *r, const char *method, const char *path, int status)
{
    struct test_reply reply = test_http(r->producer_port, method, path, AUTH, NULL, 0);
    cr_assert_eq(reply.status, status, "%s %s: %d %s", method, path, reply.status, reply.body);
    json_t *body = json_loads(reply.body, 0, NULL);
    cr_assert_not_null(body, "%s", reply.body);
    return body;
}

static const char *text(const json_t *at, const char *key)
{
    const char *s = json_string_value(json_object_get(at, key));
    return s ? s : "";
}

static json_int_t number(const json_t *at, const char *key)
{
    const json_t *n = json_object_get(at, key);
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

/* Asks page after page; `member` of each element of `list`, with commas between. *pages: how many. */
static const char *walk(
    struct rig *r, const char *path, const char *list, const char *member, int *pages)
{
    struct buf seen = {0};
    const char *after = "";
    *pages = 0;
    do {
        const char *mark = strchr(path, '?') ? "&" : "?";
        json_t *page =
            ask(r, "GET", *after ? harness_text("%s%safter=%s", path, mark, after) : path, 200);
        size_t i;
        json_t *one;
        json_array_foreach(json_object_get(page, list), i, one)
            buf_printf(&seen, "%s%s", seen.len ? "," : "", text(one, member));
        after = harness_text("%s", text(page, "next"));
        json_decref(page);
    } while (++*pages < 50 && *after);
    return harness_hold(buf_detach(&seen));
}

/* --- the list ---------------------------------------------------------------------------- */

/* Events w1 to w<n>, w1 the oldest, an hour apart, the last one at 2026-01-02T00:00:00Z. */
static void put_events(struct rig *r, int n, const char *status)
{
    sql_exec(r->db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, event_id, rescrape_status,"
        " created_at) SELECT 'w' || n, 'http://page.test/' || n %% 5, gen_random_uuid(), %s,"
        " timestamptz '2026-01-02T00:00:00Z' - (%d - n) * interval '1 hour'"
        " FROM generate_series(1, %d) n",
        status, n, n);
}

Test(api_events, pages_show_each_event_once_the_newest_first)
{
    struct rig r;
    int pages;
    rig_start(&r);
    put_events(&r, 7, "'completed'");
    cr_expect_str_eq(
        walk(&r, "/api/events?limit=3", "events", "watch_id", &pages), "w7,w6,w5,w4,w3,w2,w1");
    cr_expect_eq(pages, 3, "%d", pages);
    cr_expect_str_eq(
        walk(&r, "/api/events?limit=7", "events", "watch_id", &pages), "w7,w6,w5,w4,w3,w2,w1");
    cr_expect_eq(pages, 1, "the last page says that it is: %d", pages);
}

Test(api_events, what_comes_between_two_pages_moves_nothing)
{
    struct rig r;
    rig_start(&r);
    put_events(&r, 4, "'completed'");
    json_t *first = ask(&r, "GET", "/api/events?limit=2", 200);
    put_events(&r, 4, "'queued'");
    json_t *second =
        ask(&r, "GET", harness_text("/api/events?limit=2&after=%s", text(first, "next")), 200);
    const json_t *events = json_object_get(second, "events");
    cr_expect_eq(json_array_size(events), 2);
    cr_expect_str_eq(text(json_array_get(events, 0), "watch_id"), "w2");
    cr_expect(json_is_null(json_object_get(second, "next")));
    json_decref(first);
    json_decref(second);
}

Test(api_events, filters_leave_only_what_was_asked_for)
{
    struct rig r;
    int pages;
    rig_start(&r);
    put_events(&r, 8,
        "(ARRAY['queued', 'in_progress', 'completed', 'superseded', 'failed: HTTP 404', 'failed: "
        "gone',"
        " 'queued', 'completed'])[n]");
    static const struct {
        const char *query, *seen;
    } cases[] = {
        {"status=queued",                                               "w7,w1"                  },
        {"status=in_progress",                                          "w2"                     },
        {"status=completed",                                            "w8,w3"                  },
        {"status=superseded",                                           "w4"                     },
        {"status=failed",                                               "w6,w5"                  },
        {"status=",                                                     "w8,w7,w6,w5,w4,w3,w2,w1"},
        {"watch=w4",                                                    "w4"                     },
        {"watch=w",                                                     ""                       },
        {"url=http://page.test/3",                                      "w8,w3"                  },
        {"url=http%3A%2F%2Fpage.test%2F3&status=completed&watch=w3",    "w3"                     },
        {"url=http://page.test",                                        ""                       },
        {"status=queued&url=http://page.test/1",                        "w1"                     },
        {"status=in_progress&watch=w1",                                 ""                       },
        {"since=2026-01-01T23:00:00Z",                                  "w8,w7"                  },
        {"until=2026-01-01T18:00:00Z",                                  "w1"                     },
        {"since=2026-01-01T19:00:00%2B00:00&until=2026-01-01T21:00:00", "w4,w3"                  },
        {"since=2026-01-01T20:00:00Z&status=failed&limit=1",            "w6,w5"                  },
        {"until=2026-01-01T21:00:00Z&status=queued",                    "w1"                     },
        {"since=2027-01-01",                                            ""                       },
        {"until=2025-01-01",                                            ""                       },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *seen =
            walk(&r, harness_text("/api/events?%s", cases[i].query), "events", "watch_id", &pages);
        cr_expect_str_eq(seen, cases[i].seen, "%s: %s", cases[i].query, seen);
    }
}

/* Whatever is made of a place or a time: an answer, never an error of PostgreSQL's. */
Test(api_events, places_and_times_are_taken_to_their_ends_and_no_further)
{
#define ID "00000000-0000-4000-8000-000000000001"
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/api/events?after=999999999999999999",                           200},
        {"/api/events?after=9999999999999999999",                          422},
        {"/api/events?after=0",                                            422},
        {"/api/events?after=-1",                                           422},
        {"/api/events?after=1%00",                                         422},
        {"/api/events?after=1%20OR%201",                                   422},
        {"/api/events?after=1-" ID,                                        422},
        {"/api/events?since=0001-01-01&until=9999-12-31T23:59:59.999999Z", 200},
        {"/api/events?since=9999-12-31&until=0001-01-01T00:00:00%2B14:00", 422},
        {"/api/events?since=infinity",                                     422},
        {"/api/events?url=%FF%FE&watch=%C0%80",                            200},
        {"/api/crawls?after=999999999999999999-" ID,                       200},
        {"/api/crawls?after=1-" ID,                                        200},
        {"/api/crawls?after=1-" ID "x",                                    422},
        {"/api/crawls?after=1-" ID "%00",                                  422},
        {"/api/crawls?after=1-",                                           422},
        {"/api/crawls?status=%F0%28%8C%28",                                200},
        {"/api/rejects?before=99999999999999999999-99999999999999999999",  422},
        {"/api/rejects?before=18446744073709551615-18446744073709551616",  422},
        {"/api/rejects?before=18446744073709551615-18446744073709551615",  200},
        {"/api/rejects?before=0-0",                                        200},
        {"/api/rejects?before=1-",                                         422},
        {"/api/events/999999999999999999",                                 404},
        {"/api/events/9999999999999999999",                                404},
        {"/api/events/%00",                                                404},
        {"/api/search?q=%FF%20%22%20-%28%3A%2A",                           200},
    };
#undef ID
    struct rig r;
    rig_start(&r);
    put_events(&r, 3, "'queued'");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct test_reply reply = test_http(r.producer_port, "GET", cases[i].path, AUTH, NULL, 0);
        cr_expect_eq(
            reply.status, cases[i].status, "%s: %d %s", cases[i].path, reply.status, reply.body);
    }
}

Test(api_events, an_empty_table_is_an_empty_page)
{
    struct rig r;
    int pages;
    rig_start(&r);
    cr_expect_str_eq(
        walk(&r, "/api/events?since=2026-01-01&until=2026-02-01", "events", "watch_id", &pages),
        "");
    cr_expect_eq(pages, 1);
}

Test(api_events, a_rare_event_of_a_long_history_is_found_a_bounded_page_at_a_time)
{
    struct rig r;
    int pages;
    rig_start(&r);
    put_events(&r, 1, "'failed: gone'");
    sql_exec(r.db, "SELECT setval('webhook.change_events_id_seq', 1000)");
    sql_exec(r.db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status,"
        " created_at) SELECT 'many', 'u', 'completed', timestamptz '2026-02-01' + n * interval"
        " '1 second' FROM generate_series(1, 45000) n; ANALYZE webhook.change_events");
    cr_expect_str_eq(walk(&r, "/api/events?status=failed", "events", "watch_id", &pages), "w1");
    cr_expect_eq(pages, 3, "45001 rows, 20000 a page: %d", pages);
    cr_expect_str_eq(
        walk(&r, "/api/events?until=2026-01-15T00:00:00Z", "events", "watch_id", &pages), "w1");
    cr_expect_eq(pages, 1, "a time is found without a walk: %d", pages);
    json_t *page = ask(&r, "GET",
        "/api/events?limit=1000&since=2026-02-01T03:00:00Z&until=2026-02-01T03:10:00Z", 200);
    cr_expect_eq(json_array_size(json_object_get(page, "events")), 600);
    json_decref(page);
}

/* --- one event, and trying it again ------------------------------------------------------ */

/* "received,rescrape/scrape,..." */
static const char *timeline(struct rig *r, const char *id)
{
    struct buf b = {0};
    size_t i;
    json_t *event = ask(r, "GET", harness_text("/api/events/%s", id), 200), *one;
    const char *last = "";
    json_array_foreach(json_object_get(event, "timeline"), i, one)
    {
        const char *at = harness_text("%.19s", text(one, "at"));
        cr_expect(strcmp(last, at) <= 0, "%s is told before %s", last, at);
        last = at;
        buf_printf(&b, ",%s", text(one, "what"));
    }
    json_decref(event);
    return harness_hold(buf_detach(&b));
}

static struct rig_id failed_event(struct rig *r, const char *path)
{
    rig_firecrawl_fails(r, 404, -1);
    struct rig_id id = rig_post(r, "%s", path);
    WAIT_FOR(strncmp(rig_row(r, id, "rescrape_status"), "failed", 6) == 0, SOON);
    rig_firecrawl_fails(r, 0, 0);
    return id;
}

Test(api_events, a_failed_event_is_completed_once_it_is_tried_again)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = failed_event(&r, "/ok/again");
    cr_expect(strstr(timeline(&r, id.text), ",failed"), "%s", timeline(&r, id.text));

    json_t *answer = ask(&r, "POST", harness_text("/api/events/%s/retry", id.text), 202);
    cr_expect_str_eq(text(answer, "status"), "queued");
    cr_expect_str_eq(text(answer, "event_id"), id.text);
    json_decref(answer);
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    WAIT_FOR(rig_queue_empty(&r), SOON);

    const char *row = rig_row(&r, id,
        "attempts, starts, metadata->>'retried_by', metadata ? 'retried_at',"
        "next_attempt_at IS NULL, metadata->>'watch_title'");
    cr_expect_str_eq(row, "0|0|api|t|t|A page", "%s", row);
    const char *told = timeline(&r, id.text);
    cr_expect(strstr(told, ",received") == told, "%s", told);
    cr_expect(strstr(told, ",retried,claimed") && strstr(told, ",completed"), "%s", told);

    json_t *refused = ask(&r, "POST", harness_text("/api/events/%s/retry", id.text), 409);
    cr_expect_str_eq(
        text(refused, "detail"), "Event is completed; only failed events can be retried");
    json_decref(refused);
    cr_expect_eq(rig_scrapes(&r, "/ok/again"), 2);
}

Test(api_events, an_event_is_tried_again_while_redis_is_away)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = failed_event(&r, "/ok/without");
    test_redis_kill(r.redis);
    json_decref(ask(&r, "POST", harness_text("/api/events/%s/retry", id.text), 202));
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    test_redis_restart(r.redis);
}

Test(api_events, a_failed_row_of_the_replaced_service_is_tried_too)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status)"
                   " VALUES ('w', '" RIG_SITE "/ok/legacy', 'failed: 500')");
    const char *id = sql_text(r.db, "SELECT id FROM webhook.change_events");
    json_t *answer = ask(&r, "POST", harness_text("/api/events/%s/retry", id), 202);
    cr_expect(json_is_null(json_object_get(answer, "event_id")));
    json_decref(answer);
    rig_fleet(&r, 1, NULL);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") == 1, SOON);
}

Test(api_events, who_may_not_read_may_not_retry)
{
    struct rig r;
    rig_start(&r);
    put_events(&r, 1, "'failed: gone'");
    const char *id = sql_text(r.db, "SELECT event_id FROM webhook.change_events");
    struct test_reply reply = test_http(r.producer_port, "POST",
        harness_text("/api/events/%s/retry", id), "Authorization: " RIG_TOKEN "\r\n", NULL, 0);
    cr_expect_eq(reply.status, 401);
    cr_expect_eq(rig_rows(&r, "rescrape_status = 'failed: gone'"), 1);
}

Test(api_events, the_signature_of_a_request_is_not_shown)
{
    struct rig r;
    rig_start(&r);
    struct rig_id id = rig_post(&r, "/ok/secret");
    WAIT_FOR(strcmp(rig_row(&r, id, "metadata ? 'signature'"), "t") == 0, SOON);
    json_t *event = ask(&r, "GET", harness_text("/api/events/%s", id.text), 200);
    const json_t *metadata = json_object_get(event, "metadata");
    cr_expect_str_eq(text(metadata, "watch_title"), "A page");
    cr_expect_null(json_object_get(metadata, "signature"));
    json_decref(event);
}

/* --- crawls ------------------------------------------------------------------------------ */

Test(api_events, crawls_are_paged_even_when_they_began_together)
{
    struct rig r;
    int pages;
    rig_start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status, "
        "operation_type)"
        " SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'c' || n, 'u',"
        " timestamptz '2026-01-01T00:00:00.123456Z' + (n > 5)::int * interval '1 microsecond',"
        " CASE WHEN n %% 3 = 0 THEN 'failed' ELSE 'completed' END, 'crawl'"
        " FROM generate_series(1, 7) n");
    cr_expect_str_eq(
        walk(&r, "/api/crawls?limit=2", "crawls", "crawl_id", &pages), "c7,c6,c5,c4,c3,c2,c1");
    cr_expect_eq(pages, 4, "%d", pages);
    cr_expect_str_eq(
        walk(&r, "/api/crawls?status=failed&limit=1", "crawls", "crawl_id", &pages), "c6,c3");
    cr_expect_str_eq(walk(&r, "/api/crawls?status=pending", "crawls", "crawl_id", &pages), "");
}

/* Else a page of a thousand could be of any size. */
Test(api_events, metadata_too_large_for_a_page_are_shown_with_their_crawl_alone)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, status,"
        " operation_type, error_message, extra_metadata)"
        " SELECT gen_random_uuid(), 'c' || n, 'u', now() - n * interval '1 second', 'failed',"
        " 'crawl', repeat('e', 5000), jsonb_build_object('m', repeat('x', 65000 + n * 500))"
        " FROM generate_series(1, 2) n");
    json_t *page = ask(&r, "GET", "/api/crawls", 200), *list = json_object_get(page, "crawls");
    const json_t *fits = json_array_get(list, 0), *large = json_array_get(list, 1);
    cr_expect_eq(strlen(text(json_object_get(fits, "extra_metadata"), "m")), 65500);
    cr_expect(json_is_null(json_object_get(large, "extra_metadata")));
    cr_expect_eq(strlen(text(large, "error_message")), 4096);
    json_t *alone = ask(&r, "GET", "/api/metrics/crawls/c2", 200);
    cr_expect_eq(strlen(text(json_object_get(alone, "extra_metadata"), "m")), 66000);
    cr_expect_eq(strlen(text(alone, "error_message")), 5000);
    json_decref(page);
    json_decref(alone);
}

/* --- the fleet --------------------------------------------------------------------------- */

static json_t *change_queue(struct rig *r, json_t **whole)
{
    *whole = ask(r, "GET", "/api/queues", 200);
    return json_object_get(json_object_get(*whole, "queues"), "change");
}

Test(api_events, queues_tell_what_waits_with_redis_and_without)
{
    struct rig r;
    json_t *whole, *q;
    rig_start(&r);
    rig_post(&r, "/ok/1");
    rig_post(&r, "/ok/2");
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'queued'") == 2, SOON);
    sql_exec(r.db,
        "UPDATE webhook.change_events SET created_at = now() - interval '1 minute'"
        " WHERE id = (SELECT min(id) FROM webhook.change_events);"
        "UPDATE webhook.queues SET paused_at = now() WHERE name = 'change';"
        "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
        " ('a', 'one', '/', 'p', 5), ('b', 'one', '/', 'p', 7), ('c', 'two', '/', 'p', 1)");

    q = change_queue(&r, &whole);
    cr_expect(json_is_true(json_object_get(whole, "redis")));
    cr_expect_eq(number(q, "length"), 2);
    cr_expect_eq(number(q, "pending"), 0);
    cr_expect_eq(number(q, "dead"), 0);
    cr_expect(json_is_true(json_object_get(q, "paused")));
    cr_expect(number(q, "oldest_age_ms") >= 60000 && number(q, "oldest_age_ms") < 120000);
    const json_t *spools = json_object_get(whole, "spools");
    cr_expect_eq(json_array_size(spools), 2);
    cr_expect_eq(number(json_array_get(spools, 0), "bytes"), 12, "of a host, all segments");
    json_decref(whole);

    test_redis_kill(r.redis);
    q = change_queue(&r, &whole);
    cr_expect(json_is_false(json_object_get(whole, "redis")));
    cr_expect(json_is_null(json_object_get(q, "length")));
    cr_expect(number(q, "oldest_age_ms") >= 60000, "the rows still tell");
    json_decref(whole);
}

Test(api_events, workers_are_told_with_those_that_crashed)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/hold/long");
    WAIT_FOR(rig_status_is(&r, id, "in_progress"), SOON);
    pid_t pid = rig_worker(&r);
    json_t *before = ask(&r, "GET", "/api/workers", 200), *one;
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(before, "workers"), i, one) found |=
        number(one, "pid") == pid && number(one, "in_progress") == 1 &&
        strcmp(text(one, "state"), "alive") == 0;
    cr_expect(found, "worker %d works on one", (int)pid);
    cr_expect_eq(json_array_size(json_object_get(before, "crashes")), 0);
    json_decref(before);

    kill(pid, SIGABRT);
    WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.worker_crashes") == 1, SOON);
    json_t *after = ask(&r, "GET", "/api/workers", 200);
    one = json_array_get(json_object_get(after, "crashes"), 0);
    cr_expect_eq(number(one, "pid"), pid);
    cr_expect_eq(number(one, "signal"), SIGABRT);
    json_decref(after);
    cr_expect(strstr(timeline(&r, id.text), ",crashed"), "%s", timeline(&r, id.text));
    rig_release(&r);
}

/* --- documents and rejects --------------------------------------------------------------- */

Test(api_events, a_page_is_found_by_its_words)
{
    struct rig r;
    rig_start(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id id = rig_post(&r, "/ok/heron");
    WAIT_FOR(rig_status_is(&r, id, "completed"), SOON);
    json_t *found = ask(&r, "GET", "/api/search?q=%22stand-in%20page%22+-nowhere", 200);
    const json_t *best = json_array_get(json_object_get(found, "results"), 0);
    cr_expect_eq(number(found, "total"), 1);
    cr_expect_str_eq(text(found, "query"), "\"stand-in page\" -nowhere");
    cr_expect_str_eq(text(best, "url"), RIG_SITE "/ok/heron");
    cr_expect(strstr(text(best, "snippet"), "«"), "%s", text(best, "snippet"));
    json_decref(found);
}

Test(api_events, refused_webhooks_are_shown_page_by_page_without_their_secrets)
{
    struct rig r;
    rig_start(&r);
    for (int i = 0; i < 3; i++) {
        const char *body = harness_text("{\"watch_url\":%d}\xff", i);
        struct test_reply reply = test_http(r.producer_port, "POST", "/api/webhook/changedetection",
            "X-Webhook-Token: " RIG_TOKEN "\r\n", body, strlen(body));
        cr_assert_eq(reply.status, 400);
        WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:rejects") == i + 1, SOON);
    }
    json_t *page = ask(&r, "GET", "/api/rejects?limit=2", 200);
    const json_t *newest = json_array_get(json_object_get(page, "rejects"), 0);
    cr_expect_eq(json_array_size(json_object_get(page, "rejects")), 2);
    cr_expect_str_eq(text(newest, "body"), "{\"watch_url\":2}\xef\xbf\xbd");
    cr_expect_eq(number(newest, "body_bytes"), 16);
    cr_expect(json_is_true(json_object_get(newest, "authenticated")));
    char *shown = json_dumps(page, 0);
    cr_expect(!strstr(shown, RIG_TOKEN), "%s", shown);
    free(shown);
    json_t *rest =
        ask(&r, "GET", harness_text("/api/rejects?limit=2&before=%s", text(page, "next")), 200);
    cr_expect_eq(json_array_size(json_object_get(rest, "rejects")), 1);
    cr_expect(json_is_null(json_object_get(rest, "next")));
    json_decref(page);
    json_decref(rest);
}
