/* hooklinectl dead on a real installation: what died is seen once, put back once, and deleted only by
 * who asked for that twice. */
#include "tests/support/fleet.h"

#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

TestSuite(ctl_dead, .timeout = 120);

#define DEAD   "{hookline}:dead"
#define STREAM "{hookline}:q:change"
#define CRAWLS "{hookline}:q:crawl"

static struct rig rig;
static const char *out; /* of the last command */

/* --- running it -------------------------------------------------------------------------- */

static int run(const char *const *args)
{
    return rig_ctl(&rig, args, &out);
}
#define RUN(...) run((const char *const[]){"dead", __VA_ARGS__, NULL})

#define EXPECT_SAID(text) cr_expect(strstr(out, text), "'%s' is missing: %s", text, out)

static long answered(const char *key)
{
    json_t *root = rig_json(out);
    const json_t *v = json_object_get(root, key);
    cr_assert(json_is_integer(v), "%s: %s", key, out);
    long n = (long)json_integer_value(v);
    json_decref(root);
    return n;
}

/* The one of that kind in the list; NULL = none. *all: the document, the caller's. */
static const json_t *listed(const char *kind, json_t **all)
{
    size_t i;
    json_t *item;
    cr_assert_eq(RUN("list", "--json"), 0, "%s", out);
    *all = rig_json(out);
    json_array_foreach(json_object_get(*all, "dead"), i, item)
    {
        if (strcmp(json_get_string(item, "kind"), kind) == 0)
            return item;
    }
    return NULL;
}

static size_t listed_in_all(void)
{
    json_t *all;
    listed("", &all);
    size_t n = json_array_size(json_object_get(all, "dead"));
    json_decref(all);
    return n;
}

/* --- what dies --------------------------------------------------------------------------- */

/* The first job of a stream becomes a dead letter, as a worker makes one; the letter. */
static const char *bury(const char *stream, const char *more)
{
    return redis_text(rig.redis,
        "EVAL local\te=redis.call('XRANGE',KEYS[1],'-','+','COUNT',1)[1]\tlocal\tf=e[2]\t"
        "redis.call('XDEL',KEYS[1],e[1])\tredis.call('DEL',KEYS[3]..f[2])\t"
        "if\tf[3]=='len'\tthen\tlocal\tb='{hookline}:blob:'..f[2]\tredis.call('RENAME',b,b..':dead'"
        ")\t"
        "return\tredis.call('XADD',KEYS[2],'*','id',f[2],'reason','refused-for-good','queue','"
        "crawl',"
        "'blob',b..':dead','len',f[4])\tend\t"
        "return\tredis.call('XADD',KEYS[2],'*','id',f[2],'reason','refused-for-good','job',f[4]%s)"
        " 3 %s " DEAD " {hookline}:job:",
        more, stream);
}
#define AS_CRAWL ",'queue','crawl'"

/* Row and job are there: a busy machine's producer may have answered from its spool. */
static struct rig_id accepted(const char *path)
{
    struct rig_id id = rig_post(&rig, "%s", path);
    WAIT_FOR(rig_status_is(&rig, id, "queued"), 10000);
    WAIT_FOR(redis_int(rig.redis, "XLEN " STREAM) == 1, 10000);
    return id;
}

static void fail_row(struct rig_id id)
{
    sql_exec(rig.db,
        "UPDATE webhook.change_events SET rescrape_status = 'failed: HTTP 503', attempts = 5,"
        " metadata = metadata || '{\"error\": \"HTTP 503 of Firecrawl\"}', finished_at = now()"
        " WHERE event_id = '%s'",
        id.text);
}

/* A failed event with its letter. */
static struct rig_id failed_event(const char *path, const char **letter)
{
    struct rig_id id = accepted(path);
    fail_row(id);
    *letter = bury(STREAM, "");
    return id;
}

/* An event that PostgreSQL does not have. */
static struct rig_id lone_letter(const char *path, const char **letter)
{
    struct rig_id id = accepted(path);
    sql_exec(rig.db, "DELETE FROM webhook.change_events WHERE event_id = '%s'", id.text);
    *letter = bury(STREAM, "");
    return id;
}

static const char *bytes_letter(void)
{
    return redis_text(rig.redis, "XADD " DEAD " * id - reason no-job job rubbish");
}

/* A crawl's page with about so many bytes, dead. */
static const char *crawl_letter(const char *crawl, size_t bytes)
{
    char *text = harness_hold(mem_zero(bytes + 1));
    uint32_t seed = 1;
    for (size_t i = 0; i < bytes; i++) /* not to be compressed */
        text[i] = (char)('a' + (seed = seed * 1664525 + 1013904223) / 171798692 % 26);
    const char *body = harness_text(
        "{\"type\":\"crawl.page\",\"id\":\"%s\",\"success\":true,\"data\":[{"
        "\"markdown\":\"%s\",\"metadata\":{\"url\":\"" RIG_SITE "/%s\",\"statusCode\":200}}]}",
        crawl, text, crawl);
    struct test_reply reply = test_http(rig.producer_port, "POST", "/api/webhook/firecrawl",
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", body,
        strlen(body));
    cr_assert(reply.status == 200 || reply.status == 202, "%d %s", reply.status, reply.body);
    WAIT_FOR(redis_int(rig.redis, "XLEN " CRAWLS) == 1, 5000);
    return bury(CRAWLS, AS_CRAWL);
}

static long letters(void)
{
    return redis_int(rig.redis, "XLEN " DEAD);
}

static long jobs(void)
{
    return redis_int(rig.redis, "XLEN " STREAM);
}

static long blobs(void)
{
    return redis_int(rig.redis, "EVAL return\t#redis.call('KEYS','{hookline}:blob:*') 0");
}

/* --- looking ----------------------------------------------------------------------------- */

Test(ctl_dead, each_kind_is_listed_and_a_failed_row_with_its_letter_once)
{
    const char *of_row, *alone;
    json_t *all;
    rig_start(&rig);
    cr_assert_eq(RUN("list"), 0);
    EXPECT_SAID("There are no dead letters");
    struct rig_id failed = failed_event("/failed", &of_row), lost = lone_letter("/lost", &alone);
    const char *bytes = bytes_letter(), *crawl = crawl_letter("c1", 300000);

    cr_expect_eq(listed_in_all(), 4, "%s", out);
    const json_t *item = listed("event", &all);
    cr_expect_str_eq(json_get_string(item, "id"), failed.text);
    cr_expect_str_eq(json_get_string(item, "url"), RIG_SITE "/failed");
    cr_expect_str_eq(json_get_string(item, "error"), "HTTP 503 of Firecrawl");
    cr_expect_eq(json_integer_value(json_object_get(item, "attempts")), 5);
    json_decref(all);
    item = listed("letter", &all);
    cr_expect_str_eq(json_get_string(item, "id"), alone);
    cr_expect_str_eq(json_get_string(item, "event_id"), lost.text);
    cr_expect_str_eq(json_get_string(item, "url"), RIG_SITE "/lost");
    json_decref(all);
    item = listed("bytes", &all);
    cr_expect_str_eq(json_get_string(item, "id"), bytes);
    json_decref(all);
    item = listed("crawl", &all);
    cr_expect_str_eq(json_get_string(item, "id"), crawl);
    cr_expect_gt(json_integer_value(json_object_get(item, "bytes")), 65536);
    json_decref(all);

    cr_assert_eq(RUN("list", "--error", "http 503"), 0);
    EXPECT_SAID(failed.text);
    cr_expect_not(strstr(out, alone));
    cr_assert_eq(RUN("list", "--error", "failed: http"), 0);
    cr_expect(strstr(out, failed.text), "in its status, as 'events list' has it: %s", out);
    cr_assert_eq(RUN("list", "--url", RIG_SITE "/lost"), 0);
    EXPECT_SAID(alone);
    cr_expect_not(strstr(out, failed.text));
    cr_assert_eq(RUN("list", "--until", "1h"), 0);
    EXPECT_SAID("There are no dead letters");
    cr_assert_eq(RUN("list", "--limit", "2"), 0);
    EXPECT_SAID("There are more than --limit 2");
}

Test(ctl_dead, one_is_shown_by_the_id_of_its_event_its_row_or_its_letter)
{
    const char *of_row, *alone;
    rig_start(&rig);
    struct rig_id failed = failed_event("/failed", &of_row), lost = lone_letter("/lost", &alone);
    const char *ids[] = {failed.text, rig_row(&rig, failed, "id"), of_row};
    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        cr_assert_eq(RUN("show", ids[i], "--json"), 0, "%s", out);
        json_t *root = rig_json(out);
        const json_t *item = json_object_get(root, "dead");
        cr_expect_str_eq(json_get_string(item, "id"), failed.text);
        cr_expect_str_eq(json_get_string(item, "letter"), of_row);
        cr_expect_str_eq(json_get_string(json_object_get(root, "detail"), "detected_at"),
            "2026-11-23T10:00:00Z");
        json_decref(root);
    }
    cr_assert_eq(RUN("show", lost.text), 0, "%s", out);
    EXPECT_SAID(alone);
    EXPECT_SAID("refused-for-good");
    cr_assert_eq(RUN("show", bytes_letter()), 0, "%s", out);
    EXPECT_SAID("72756262697368"); /* "rubbish" */
    cr_expect_eq(RUN("show", "7-7"), 2, "%s", out);
    struct rig_id queued = rig_post(&rig, "/queued");
    cr_expect_eq(RUN("show", queued.text), 2, "it is not dead: %s", out);
}

/* --- put back ---------------------------------------------------------------------------- */

Test(ctl_dead, a_failed_row_is_queued_again_and_its_letter_is_gone)
{
    const char *letter;
    rig_start(&rig);
    struct rig_id id = failed_event("/page", &letter);
    cr_assert_eq(
        RUN("retry", letter, id.text, "--yes", "--json", "--reason", "mended"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 1, "both name the same");
    cr_expect(rig_status_is(&rig, id, "queued"));
    cr_expect_eq(jobs(), 1);
    cr_expect_eq(letters(), 0);
    cr_expect_str_eq(sql_text(rig.db, "SELECT concat_ws('|', command, reason, affected, outcome,"
                                      " detail->'ids'->>0) FROM webhook.operator_log"),
        harness_text("dead retry|mended|1|done|%s", id.text));
    cr_expect_eq(RUN("retry", id.text, "--yes"), 2, "once is enough: %s", out);
    rig_fleet(&rig, 1, NULL);
    WAIT_FOR(rig_status_is(&rig, id, "completed"), 20000);
    cr_expect_eq(rig_scrapes(&rig, "/page"), 1);
}

Test(ctl_dead, a_redrive_leaves_no_letters_of_what_it_put_back)
{
    const char *letter, *other;
    rig_start(&rig);
    failed_event("/page", &letter);
    lone_letter("/other", &other);
    cr_assert_eq(rig_ctl(&rig, RIG_ENV("redrive", "plan", "--json"), &out), 0, "%s", out);
    json_t *root = rig_json(out);
    const char *token =
        harness_text("%s", json_get_string(json_object_get(root, "redrive"), "token"));
    json_decref(root);
    cr_assert_eq(rig_ctl(&rig, RIG_ENV("redrive", "apply", token, "--yes"), &out), 0, "%s", out);
    cr_expect_eq(jobs(), 1);
    cr_expect_eq(letters(), 1);
    cr_expect_eq(RUN("show", other), 0, "what is no part of the plan stays: %s", out);
}

Test(ctl_dead, an_event_without_a_row_gets_one_and_is_done_once)
{
    const char *letter;
    rig_start(&rig);
    struct rig_id id = lone_letter("/page", &letter);
    cr_assert_eq(RUN("retry", "--all", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 1);
    cr_expect_eq(letters(), 0);
    rig_fleet(&rig, 1, NULL);
    WAIT_FOR(rig_status_is(&rig, id, "completed"), 20000);
    cr_expect_eq(rig_scrapes(&rig, "/page"), 1);
    WAIT_FOR(rig_queue_empty(&rig), 10000);
}

Test(ctl_dead, crawl_letters_are_done_with_what_was_kept_beside_them)
{
    rig_start(&rig);
    crawl_letter("small", 100);
    crawl_letter("large", 300000);
    cr_expect_eq(blobs(), 1);
    cr_assert_eq(RUN("retry", "--all", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 2, "%s", out);
    cr_expect_eq(letters(), 0);
    cr_expect_eq(redis_int(rig.redis, "XLEN " CRAWLS), 2);
    rig_fleet(&rig, 1, NULL);
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM webhook.crawl_pages WHERE indexed") == 2, 20000);
    WAIT_FOR(redis_int(rig.redis, "XLEN " CRAWLS) == 0, 10000);
    cr_expect_eq(blobs(), 0);
}

Test(ctl_dead, what_was_put_back_already_is_not_doubled)
{
    const char *of_row, *alone;
    rig_start(&rig);
    /* As if an earlier retry had been killed before the letter left. */
    struct rig_id id = failed_event("/row", &of_row);
    sql_exec(rig.db, "UPDATE webhook.change_events SET rescrape_status = 'queued'");
    struct rig_id lost = lone_letter("/lost", &alone);
    redis_text(rig.redis,
        "EVAL local\tf=redis.call('XRANGE',KEYS[1],ARGV[1],ARGV[1])[1][2]\t"
        "local\te=redis.call('XADD',KEYS[2],'*','id',f[2],'job',f[6])\t"
        "return\tredis.call('SET',KEYS[3],KEYS[2]..string.char(32)..e) 3 " DEAD " " STREAM
        " {hookline}:job:%s %s",
        lost.text, alone);
    cr_assert_eq(jobs(), 1);
    cr_assert_eq(RUN("retry", "--all", "--yes", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 0);
    cr_expect_eq(answered("changed"), 2);
    cr_expect_eq(letters(), 0);
    cr_expect_eq(jobs(), 1);
    cr_expect(rig_status_is(&rig, id, "queued"));
}

/* Without jobs in Redis. */
static void fail_rows(int n)
{
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        "  rescrape_status, metadata, body_digest, accept_seq, claim_epoch, finished_at)"
        " SELECT gen_random_uuid(), 'w', 'http://page.test/' || i, sha256(int8send(i)), now(),"
        "  'failed: HTTP 503', '{}', sha256(int8send(i)), i, 3, now() FROM generate_series(1, %d) "
        "i",
        n);
}

static struct test_proc *retry_all(void)
{
    return rig_start_program(&rig,
        (const char *const[]){rig_program("hooklinectl"), "dead", "retry", "--all", "--limit",
            "10000", "--yes", "--json", NULL},
        NULL, -1);
}

Test(ctl_dead, a_retry_that_was_killed_and_repeated_puts_each_row_back_once)
{
    enum { N = 6000 };
    rig_start(&rig);
    fail_rows(N);
    struct test_proc *retry = retry_all();
    WAIT_FOR(rig_rows(&rig, "rescrape_status = 'queued'") > 0, 20000);
    test_proc_kill(retry);
    cr_assert_eq(test_proc_wait(retry_all(), 30000), 0);
    cr_expect_eq(rig_rows(&rig, "rescrape_status = 'queued' AND claim_epoch = 4"), N);
    cr_expect_leq(jobs(), N);
}

Test(ctl_dead, a_retry_that_was_killed_and_repeated_puts_each_letter_back_once)
{
    enum { N = 200 };
    const char *letter;
    rig_start(&rig);
    for (int i = 0; i < N; i++)
        lone_letter(harness_text("/page%d", i), &letter);
    struct test_proc *retry = retry_all();
    WAIT_FOR(letters() < N, 20000);
    test_proc_kill(retry);
    cr_expect_eq(jobs() + letters(), N, "each is in one place");
    test_proc_wait(retry_all(), 30000);
    cr_expect_eq(jobs(), N);
    cr_expect_eq(letters(), 0);
}

Test(ctl_dead, what_is_no_job_stays_and_is_named)
{
    rig_start(&rig);
    const char *bytes = bytes_letter();
    cr_expect_eq(RUN("retry", bytes, "--yes", "--json"), 2, "%s", out);
    EXPECT_SAID(bytes);
    cr_expect_eq(answered("refused"), 1);
    cr_expect_eq(letters(), 1);
    /* A large job whose bytes are gone. */
    const char *crawl = crawl_letter("c1", 300000);
    redis_text(
        rig.redis, "EVAL return\tredis.call('DEL',redis.call('KEYS','{hookline}:blob:*')[1]) 0");
    cr_expect_eq(RUN("retry", crawl, "--yes"), 2, "%s", out);
    cr_expect_eq(letters(), 2);
    cr_expect_eq(redis_int(rig.redis, "XLEN " CRAWLS), 0);
}

/* A redrive is slow: what is put back first fails again before the last is. */
Test(ctl_dead, what_fails_again_during_a_redrive_keeps_its_new_letter)
{
    const char *letter;
    rig_start(&rig);
    struct rig_id first = failed_event("/first", &letter);
    failed_event("/second", &letter);
    cr_assert_eq(rig_ctl(&rig, RIG_ENV("redrive", "plan", "--json"), &out), 0, "%s", out);
    json_t *root = rig_json(out);
    const char *token =
        harness_text("%s", json_get_string(json_object_get(root, "redrive"), "token"));
    json_decref(root);
    struct test_proc *apply = rig_start_program(&rig,
        (const char *const[]){
            rig_program("hooklinectl"), "redrive", "apply", token, "--rate", "30/m", "--yes", NULL},
        NULL, -1);
    WAIT_FOR(rig_status_is(&rig, first, "queued") && jobs() == 1, 10000);
    fail_row(first);
    const char *again = bury(STREAM, "");
    cr_assert_eq(test_proc_wait(apply, 20000), 0, "%s", test_proc_log(apply));
    cr_expect_eq(letters(), 1);
    cr_assert_eq(RUN("show", first.text, "--json"), 0, "%s", out);
    root = rig_json(out);
    cr_expect_str_eq(json_get_string(json_object_get(root, "dead"), "letter"), again);
    json_decref(root);
}

Test(ctl_dead, a_signal_ends_a_retry_between_two_steps_and_the_log_says_so)
{
    enum { N = 6000 };
    rig_start(&rig);
    fail_rows(N);
    struct test_proc *retry = retry_all();
    WAIT_FOR(rig_rows(&rig, "rescrape_status = 'queued'") > 0, 20000);
    test_proc_signal(retry, SIGTERM);
    cr_assert_eq(test_proc_wait(retry, 20000), 2, "%s", test_proc_log(retry));
    out = test_proc_log(retry);
    const long done = rig_rows(&rig, "rescrape_status = 'queued'");
    cr_assert_lt(done, N);
    cr_expect_eq(answered("affected"), done);
    EXPECT_SAID("were not tried");
    cr_expect_eq(jobs(), done);
    cr_expect_str_eq(
        sql_text(rig.db, "SELECT concat_ws('|', affected, outcome) FROM webhook.operator_log"),
        harness_text("%ld|interrupted", done));
}

Test(ctl_dead, whatever_bytes_a_letter_has_it_is_shown_and_its_json_is_valid)
{
    static const char *const letter[] = {"* 'id','-','reason',string.char(27)..'[31mred'..string."
                                         "char(255,0),'job',string.char(200,0,7)",
        "* "
        "'id','0b9d3c52-86c1-4d5a-a0a3-000000000001','reason','long','job','abc','len','99999999'",
        "* 'id','0b9d3c52-86c1-4d5a-a0a3-000000000002','queue','crawl','blob',string.char(194,155,"
        "255),'len','7'",
        "18446744073709551615-1 'no','fields'"};
    rig_start(&rig);
    for (size_t i = 0; i < sizeof(letter) / sizeof(*letter); i++) {
        const char *entry = strtok(harness_hold(mem_strdup(letter[i])), " ");
        redis_text(rig.redis, "EVAL return\tredis.call('XADD',KEYS[1],ARGV[1],%s) 1 " DEAD " %s",
            strchr(letter[i], ' ') + 1, entry);
    }
    cr_assert_eq(listed_in_all(), 4, "%s", out);
    cr_assert_eq(RUN("list"), 0, "%s", out);
    EXPECT_SAID("[31mred");
    cr_expect_not(strchr(out, 27), "%s", out);
    json_t *all, *item;
    size_t i;
    listed("", &all);
    json_array_foreach(json_object_get(all, "dead"), i, item)
    {
        cr_expect_eq(RUN("show", json_get_string(item, "id"), "--json"), 0, "%s", out);
        json_decref(rig_json(out));
        cr_expect_eq(RUN("show", json_get_string(item, "id")), 0, "%s", out);
        cr_expect_not(strchr(out, 27) || strstr(out, "\xC2\x9B"), "%s", out);
    }
    json_decref(all);
    cr_expect_eq(RUN("retry", "--all", "--yes", "--json"), 2, "%s", out);
    cr_expect_eq(answered("refused"), 4, "%s", out);
    cr_expect_eq(RUN("purge", "--all", "--yes", "--confirm", "4", "--json"), 0, "%s", out);
    cr_expect_eq(letters(), 0);
}

/* --- deleted ----------------------------------------------------------------------------- */

Test(ctl_dead, purge_asks_twice_and_leaves_the_rows)
{
    const char *of_row;
    rig_start(&rig);
    struct rig_id id = failed_event("/row", &of_row);
    crawl_letter("c1", 300000);
    bytes_letter();
    cr_expect_eq(RUN("purge", "--all"), 64, "%s", out);
    cr_expect_eq(RUN("purge", "--all", "--yes"), 64, "%s", out);
    EXPECT_SAID("--confirm 3");
    cr_expect_eq(RUN("purge", "--all", "--yes", "--confirm", "2"), 1, "%s", out);
    cr_expect_eq(RUN("purge", "--all", "--dry-run"), 0, "%s", out);
    cr_expect_eq(RUN("purge", "--all", "--dry-run", "--json"), 0, "%s", out);
    cr_expect_eq(answered("found"), 3, "%s", out);
    cr_expect_eq(answered("affected"), 0, "%s", out);
    cr_expect_eq(letters(), 3);
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log"), 0);
    cr_assert_eq(RUN("purge", of_row, "--yes", "--confirm", "1", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 1);
    cr_expect_eq(letters(), 2);
    cr_assert_eq(RUN("purge", "--all", "--yes", "--confirm", "2", "--json"), 0, "%s", out);
    cr_expect_eq(answered("affected"), 2);
    cr_expect_eq(letters(), 0);
    cr_expect_eq(blobs(), 0);
    cr_expect(rig_status_is(&rig, id, "failed: HTTP 503"));
    cr_expect_eq(RUN("purge", "--all", "--yes", "--confirm", "0"), 0, "%s", out);
}

/* --- manners ----------------------------------------------------------------------------- */

Test(ctl_dead, nothing_happens_unasked_or_to_everything_by_accident)
{
    const char *letter;
    rig_start(&rig);
    struct rig_id id = failed_event("/row", &letter);
    cr_expect_eq(RUN("retry", "--yes"), 64, "%s", out);
    EXPECT_SAID("--all");
    cr_expect_eq(RUN("retry", id.text, "--all", "--yes"), 64, "%s", out);
    cr_expect_eq(RUN("retry", "--all"), 64, "nobody is there to answer: %s", out);
    cr_expect_eq(RUN("retry", "--all", "--dry-run"), 0, "%s", out);
    EXPECT_SAID(id.text);
    cr_expect_eq(RUN("retry", "--all", "--dry-run", "--json"), 0, "%s", out);
    cr_expect_eq(answered("found"), 1, "%s", out);
    cr_expect_eq(answered("affected"), 0, "%s", out);
    cr_expect_eq(RUN("retry", "--error", "no such text", "--yes"), 0, "%s", out);
    cr_expect_eq(RUN("show"), 64);
    cr_expect_eq(RUN("lst"), 64);
    EXPECT_SAID("dead list");
    cr_expect(rig_status_is(&rig, id, "failed: HTTP 503"));
    cr_expect_eq(letters(), 1);
    test_redis_kill(rig.redis);
    cr_expect_eq(RUN("list"), 69, "%s", out);
    cr_expect_eq(RUN("retry", "--all", "--yes"), 69, "%s", out);
    cr_expect(rig_status_is(&rig, id, "failed: HTTP 503"));
}
