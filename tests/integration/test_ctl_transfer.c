/* hooklinectl export and import: a loaded installation moves to another Redis, whenever the tool is
 * killed meanwhile; each event is completed once. */
#include "tests/support/fleet.h"

#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(ctl_transfer, .timeout = 240);

enum { SOON = 60000, NOT_EMPTY = 2, BLOB = 30000000, MANY = 600, PAGES = 12 };

#define CRAWL "5b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c11"
#define BLOBS "{hookline}:blob:"
#define ID    "6b9d3c52-86c1-4d5a-a0a3-3f4f3a6f2c1"

static struct rig rig;
static const char *out; /* of the last command */

/* --- an installation that rests ------------------------------------------------------------ */

static const char *file(void)
{
    return harness_text("%s/queue.jsonl", harness_dir());
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void rest(void)
{
    sql_exec(rig.db, "UPDATE webhook.queues SET paused_at = now(), fenced_at = now()");
    sql_exec(rig.db, "DELETE FROM webhook.producers");
    sql_exec(rig.db, "UPDATE webhook.workers SET seen_at = now() - interval '1 hour'");
}

static void go_on(void)
{
    sql_exec(rig.db, "UPDATE webhook.queues SET paused_at = NULL, fenced_at = NULL");
}

static int ctl(const char *const *args)
{
    return rig_ctl(&rig, args, &out);
}

#define CTL(...) ctl((const char *const[]){__VA_ARGS__, NULL})

/* The JSON that the last command printed: its last line. */
static json_t *answer(void)
{
    struct hl_err err;
    const char *at = strstr(out, "{\"version\"");
    json_t *root = at ? json_parse(at, strlen(at), &err) : NULL;
    cr_assert(root, "%s", out);
    return root;
}

static int64_t number(const json_t *root, const char *key)
{
    const json_t *v = json_object_get(root, key);
    cr_assert(json_is_integer(v), "%s in %s", key, out);
    return json_integer_value(v);
}

static struct test_proc *start_ctl(const char *const *args)
{
    const char *argv[16] = {rig_program("hooklinectl")};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    return rig_start_program(&rig, argv, NULL, -1);
}

/* Runs it, killing it ever later, until it comes to its end (or has made `made`); how often it was
 * killed. */
static int run_with_kills(const char *made, const char *const *args)
{
    for (int kills = 0;; kills++) {
        struct test_proc *p = start_ctl(args);
        int64_t end = harness_now_ms() + 10 + 25 * kills;
        WAIT_FOR(!test_proc_running(p) || harness_now_ms() >= end, SOON);
        if (test_proc_running(p)) {
            test_proc_kill(p);
            if (exists(made))
                return kills + 1;
            continue;
        }
        int code = test_proc_wait(p, SOON);
        cr_assert_eq(code, 0, "%s", test_proc_log(p));
        out = test_proc_log(p);
        return kills;
    }
}

static void post_page(int i, const char *text)
{
    char *body = mem_printf("{\"success\":true,\"type\":\"crawl.page\",\"id\":\"" CRAWL
                            "\",\"data\":[{\"markdown\":\"%s\",\"metadata\":{"
                            "\"url\":\"https://site.test/%d\",\"statusCode\":200,"
                            "\"title\":\"T\",\"scrapeId\":\"s-%d\"}}]}",
        text, i, i);
    struct test_reply reply = test_http(rig.producer_port, "POST", "/api/webhook/firecrawl",
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", body,
        strlen(body));
    cr_assert_eq(reply.status, 202, "%s", reply.body);
    free(body);
}

/* Text that does not become small by compression. */
static char *noise(size_t len)
{
    char *text = mem_alloc(len + 1);
    uint32_t x = 1;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        text[i] = i % 12 == 11 ? ' ' : (char)('a' + (x >> 24) % 26);
    }
    text[len] = '\0';
    return text;
}

static void post_pages(int first, int n)
{
    char *large = noise(300000);
    for (int i = first; i < first + n; i++)
        post_page(i, i % 4 ? "Some words." : large);
    free(large);
}

static void put_dead(void)
{
    redis_text(rig.redis, "SETRANGE " BLOBS ID "1:dead %d end", BLOB);
    redis_text(rig.redis,
        "XADD {hookline}:dead 7-1 id " ID "1 reason no queue crawl blob " BLOBS ID "1:dead len %d",
        BLOB + 3);
    redis_text(rig.redis, "XADD {hookline}:dead 7-2 id - reason why job \xff\x01\xfe");
    redis_text(rig.redis, "XADD {hookline}:rejects 8-1 source x status 401 authenticated 0 at 1");
    redis_text(rig.redis, "RPUSH {hookline}:rejects:open 8-1");
    redis_text(rig.redis, "SET {hookline}:seen:changedetection:id:abc value PX 600000");
}

/* Events done, in hand of a worker that was killed, waiting for their time, and waiting. */
static void load(void)
{
    struct test_proc *fleet = rig_fleet(&rig, 1, NULL);
    struct rig_id done = rig_post(&rig, "/done");
    WAIT_FOR(rig_status_is(&rig, done, "completed"), SOON);
    post_pages(0, 2);
    WAIT_FOR(rig_rows(&rig, "true") == 1 &&
                 sql_int(rig.db, "SELECT count(*) FROM webhook.crawl_events") == 2,
        SOON);
    struct rig_id held = rig_post(&rig, "/hold");
    WAIT_FOR(rig_scrapes(&rig, "/hold") == 1, SOON);
    rig_firecrawl_fails(&rig, 503, 3);
    struct rig_id later = rig_post(&rig, "/later");
    WAIT_FOR(redis_int(rig.redis, "ZCARD {hookline}:later") == 1, SOON);
    test_proc_kill(fleet);
    rig_firecrawl_fails(&rig, 0, 0);
    rig_release(&rig);
    for (int i = 0; i < MANY; i++)
        rig_post(&rig, "/many/%d", i);
    post_pages(2, PAGES);
    put_dead();
    cr_assert_eq(redis_int(rig.redis, "XLEN {hookline}:q:change"), MANY + 1);
    cr_assert_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), PAGES);
    (void)held;
    (void)later;
}

static void stop_producer(void)
{
    test_proc_signal(rig.producer, SIGTERM);
    test_proc_wait(rig.producer, SOON);
    rest();
}

/* --- moving --------------------------------------------------------------------------------- */

Test(ctl_transfer, a_loaded_installation_moves_whenever_the_tool_is_killed)
{
    rig_start(&rig);
    load();
    stop_producer();
    sql_exec(rig.db, "UPDATE webhook.queues SET generation = generation WHERE name = 'change'");
    redis_text(rig.redis, "SET {hookline}:generation %s",
        sql_text(rig.db, "SELECT generation FROM webhook.queues WHERE name = 'change'"));

    int kills = run_with_kills(file(), (const char *const[]){"export", "--json", file(), NULL});
    cr_expect_geq(kills, 2);
    cr_expect(!exists(harness_text("%s.part", file())));
    struct stat st;
    cr_assert_eq(stat(file(), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    struct test_redis *old = rig.redis;
    rig.redis = test_redis_start();
    kills = run_with_kills(
        "/nowhere", (const char *const[]){"import", "--yes", "--json", file(), NULL});
    cr_expect_geq(kills, 2);
    json_t *said = answer();
    cr_expect_eq(number(said, "put"), MANY + 1 + 1 + PAGES);
    cr_expect_eq(number(said, "jobs"), MANY + 1 + 1 + PAGES);
    cr_expect_eq(number(said, "later"), 1);
    cr_expect_eq(number(said, "dead"), 2);
    cr_expect_eq(number(said, "rejects"), 1);
    cr_expect_eq(number(said, "done"), 2);
    cr_expect_eq(number(said, "seen"), 1);
    cr_expect_eq(number(said, "there_already"), 0);
    cr_expect_eq(number(said, "finished_meanwhile"), 0);
    json_decref(said);
    static const char *const same[] = {"XRANGE {hookline}:dead - +",
        "XRANGE {hookline}:rejects - +", "LRANGE {hookline}:rejects:open 0 -1",
        "GET {hookline}:seen:changedetection:id:abc", "GET {hookline}:generation",
        "STRLEN " BLOBS ID "1:dead", "GETRANGE " BLOBS ID "1:dead -5 -1",
        "ZRANGE {hookline}:later 0 -1 WITHSCORES", "HGETALL {hookline}:later:jobs",
        "XLEN {hookline}:q:change", "XLEN {hookline}:q:crawl"};
    for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
        cr_expect_str_eq(
            redis_text(rig.redis, "%s", same[i]), redis_text(old, "%s", same[i]), "%s", same[i]);
    cr_expect_gt(redis_int(rig.redis, "PTTL {hookline}:seen:changedetection:id:abc"), 0);
    cr_expect_leq(redis_int(rig.redis, "PTTL {hookline}:seen:changedetection:id:abc"), 600000);
    /* Who is killed behind its last step has done everything, and is a row without an end. */
    cr_expect_geq(sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log WHERE"
                                  " command = 'import' AND detail->>'sha256' <> ''"),
        1);

    go_on();
    struct test_proc *fleet = rig_fleet(&rig, 1, NULL);
    WAIT_FOR(rig_rows(&rig, "rescrape_status = 'completed'") == MANY + 3, SOON);
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM webhook.crawl_events") == 2 + PAGES, SOON);
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:change") == 0, SOON);
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:crawl") == 0, SOON);
    for (int i = 0; i < MANY; i++)
        cr_expect_eq(rig_scrapes(&rig, harness_text("/many/%d", i)), 1);
    cr_expect(!test_proc_logged(fleet, "redis_amnesia"));
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:dead"), 2);
    cr_expect_eq(CTL("audit", "--json"), 0, "%s", out);

    cr_expect_eq(CTL("import", "--yes", "--json", file()), 0, "%s", out);
    said = answer();
    cr_expect(json_is_true(json_object_get(said, "imported_before")));
    cr_expect_eq(number(said, "affected"), 0);
    json_decref(said);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:change"), 0);
    test_redis_free(old);
}

/* --- as an operator does it ------------------------------------------------------------------ */

static void stop(struct test_proc *p)
{
    test_proc_signal(p, SIGTERM);
    test_proc_wait(p, SOON);
}

/* Jobs that are under way when the queues are paused end first: until then it exits with 2. */
static void export_once_it_rests(void)
{
    int64_t end = harness_now_ms() + SOON;
    int code = NOT_EMPTY;
    while (code == NOT_EMPTY && harness_now_ms() < end)
        code = CTL("export", "--json", file());
    cr_assert_eq(code, 0, "%s", out);
}

static void start_producer(void)
{
    int fd = harness_listen(&rig.producer_port);
    rig.producer = rig_start_program(
        &rig, (const char *const[]){rig_program("hookline-producer"), NULL}, NULL, fd);
    close(fd);
    WAIT_FOR(rig_serves(rig.producer_port), SOON);
}

Test(ctl_transfer, a_working_fleet_moves_by_pause_export_import_resume)
{
    rig_start(&rig);
    struct test_proc *fleet =
        rig_fleet(&rig, 1, RIG_ENV("WEBHOOK_CONCURRENCY=1", "WEBHOOK_CRAWL_CONCURRENCY=1"));
    for (int i = 0; i < MANY; i++) {
        rig_post(&rig, "/many/%d", i);
        if (i % 50 == 0)
            post_page(i, "Some words.");
    }
    rig_firecrawl_fails(&rig, 503, 2);
    WAIT_FOR(redis_int(rig.redis, "ZCARD {hookline}:later") > 0, SOON);
    rig_firecrawl_fails(&rig, 0, 0);

    cr_assert_eq(CTL("pause", "--yes"), 0, "%s", out);
    cr_assert_eq(CTL("pause", "--intake", "--yes"), 0, "%s", out);
    export_once_it_rests();
    json_t *said = answer();
    int64_t jobs = number(said, "jobs");
    cr_expect_gt(jobs, 0);
    json_decref(said);
    stop(fleet);
    stop(rig.producer);
    rig.redis = test_redis_start();
    cr_assert_eq(CTL("import", "--yes", "--json", file()), 0, "%s", out);
    said = answer();
    cr_expect_eq(number(said, "put") + number(said, "there_already"), jobs);
    json_decref(said);

    fleet = rig_fleet(&rig, 1, NULL);
    start_producer();
    cr_assert_eq(CTL("resume", "--yes"), 0, "%s", out);
    struct rig_id after;
    WAIT_FOR(
        rig_try_post(&rig, "/after", &after), SOON); /* a producer hears of it within a second */
    WAIT_FOR(rig_rows(&rig, "rescrape_status = 'completed'") == MANY + 1, SOON);
    WAIT_FOR(
        sql_int(rig.db, "SELECT count(*) FROM webhook.crawl_events") == (MANY + 49) / 50, SOON);
    WAIT_FOR(redis_int(rig.redis, "XLEN {hookline}:q:change") == 0, SOON);
    cr_expect_eq(rig_rows(&rig, "true"), MANY + 1);
    cr_expect(!test_proc_logged(fleet, "redis_amnesia"));
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), 0);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:dead"), 0);
    cr_expect_eq(CTL("audit", "--json"), 0, "%s", out);
}

/* --- a small installation, its rows and keys made by hand ----------------------------------- */

static void small(void)
{
    rig = (struct rig){.db = harness_database(true), .redis = test_redis_start()};
    redis_text(rig.redis, "XADD {hookline}:q:change 1-1 id " ID "2 job a");
    redis_text(rig.redis, "SET {hookline}:job:" ID "2 gone");
    redis_text(rig.redis, "XADD {hookline}:q:crawl 1-1 id " ID "3 job b starts 2");
    rest();
}

static void row(const char *id, const char *status)
{
    sql_exec(rig.db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, detected_at, event_id,"
        " rescrape_job_id, rescrape_status) VALUES ('w', 'http://page.test/', now(), '%s', '%s',"
        " '%s')",
        id, id, status);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "r");
    cr_assert(f);
    char *bytes = mem_alloc(1 << 20);
    *len = fread(bytes, 1, (1 << 20) - 1, f);
    bytes[*len] = '\0';
    fclose(f);
    return bytes;
}

static const char *write_file(const char *bytes, size_t len)
{
    const char *path = harness_text("%s/other.jsonl", harness_dir());
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0);
    return path;
}

static void move_to_another(void)
{
    cr_assert_eq(CTL("export", file()), 0, "%s", out);
    rig.redis = test_redis_start();
}

Test(ctl_transfer, export_refuses_what_moves_and_says_what)
{
    small();
    sql_exec(rig.db, "UPDATE webhook.queues SET fenced_at = NULL WHERE name = 'crawl'");
    cr_expect_eq(CTL("export", file()), NOT_EMPTY);
    cr_expect(strstr(out, "paused and fenced"), "%s", out);
    rest();
    sql_exec(rig.db, "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
                     " ('a.seg', 'h', '/s', 'h-1', 5)");
    cr_expect_eq(CTL("export", file()), NOT_EMPTY);
    cr_expect(strstr(out, "1 spool segments"), "%s", out);
    sql_exec(rig.db, "DELETE FROM webhook.spools; INSERT INTO webhook.producers (id, host, pid)"
                     " VALUES ('p', 'h', 1)");
    cr_expect_eq(CTL("export", file()), NOT_EMPTY);
    cr_expect(strstr(out, "1 producers"), "%s", out);
    sql_exec(rig.db, "UPDATE webhook.producers SET fenced = '{change,crawl}',"
                     " seen_at = now() - interval '61 s'");
    cr_expect_eq(CTL("export", file()), NOT_EMPTY);
    cr_expect(strstr(out, "1 producers have not been heard of"), "%s", out);
    cr_expect_eq(CTL("export", "--ignore-silent", harness_text("%s.other", file())), 0, "%s", out);
    sql_exec(rig.db, "UPDATE webhook.producers SET seen_at = now(); INSERT INTO"
                     " webhook.workers (id, host, pid) VALUES ('w', 'h', 1)");
    row(ID "2", "in_progress");
    sql_exec(rig.db, "UPDATE webhook.change_events SET claimed_by = 'w'");
    cr_expect_eq(CTL("export", file()), NOT_EMPTY);
    cr_expect(strstr(out, "1 events are being worked on"), "%s", out);
    cr_expect(!exists(file()) && !exists(harness_text("%s.part", file())));
    cr_expect_eq(CTL("export", "--live", file()), 0, "%s", out);
    cr_expect(strstr(out, "This is a copy, not a move"), "%s", out);
    cr_expect_eq(CTL("export", "--live", file()), 1);
    cr_expect(strstr(out, "is there already"), "%s", out);
    rest();
    rig.redis = test_redis_start();
    cr_expect_eq(CTL("import", "--yes", file()), NOT_EMPTY);
    cr_expect(strstr(out, "was made while the queues moved"), "%s", out);
    cr_expect_eq(redis_int(rig.redis, "DBSIZE"), 0);
}

Test(ctl_transfer, what_was_finished_meanwhile_is_left_out)
{
    small();
    redis_text(rig.redis, "XADD {hookline}:q:change 2-1 id " ID "4 job c");
    redis_text(rig.redis, "ZADD {hookline}:later:crawl 5 " ID "5");
    redis_text(rig.redis, "HSET {hookline}:later:crawl:jobs " ID "5 packed");
    redis_text(rig.redis, "SET " BLOBS ID "5 bytes");
    move_to_another();
    row(ID "2", "completed");
    row(ID "4", "queued");
    sql_exec(rig.db,
        "INSERT INTO webhook.crawl_events (event_id, crawl_id, type, kind, received_at, success,"
        " documents) VALUES ('" ID "5', 'c', 'crawl.page', 'page', now(), true, 1)");
    cr_assert_eq(CTL("import", "--yes", "--json", file()), 0, "%s", out);
    json_t *said = answer();
    cr_expect_eq(number(said, "put"), 2);
    cr_expect_eq(number(said, "finished_meanwhile"), 2);
    json_decref(said);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:change"), 1);
    cr_expect_eq(redis_int(rig.redis, "EXISTS {hookline}:later:crawl " BLOBS ID "5"), 0);
    cr_expect(strncmp(redis_text(rig.redis, "GET {hookline}:job:" ID "5"), "done ", 5) == 0);
    cr_expect_gt(redis_int(rig.redis, "PTTL {hookline}:job:" ID "5"), 0);
}

/* Nothing has them but the hash: in no set, they would wait for good. */
Test(ctl_transfer, jobs_that_wait_for_no_time_are_carried_and_leftovers_are_not)
{
    small();
    redis_text(rig.redis, "HSET {hookline}:later:jobs " ID "4 lost");
    redis_text(rig.redis, "SET {hookline}:job:" ID "4 later");
    redis_text(rig.redis, "HSET {hookline}:later:crawl:jobs " ID "5 packed " ID "3 old");
    redis_text(rig.redis,
        "EVAL redis.call('SET','{hookline}:job:" ID
        "3','{hookline}:q:crawl'..string.char(32)..'1-1'..string.char(32)..'d') 0");
    redis_text(rig.redis, "ZADD {hookline}:later 5 " ID "6");
    move_to_another();
    cr_assert_eq(CTL("import", "--yes", "--json", file()), 0, "%s", out);
    json_t *said = answer();
    cr_expect_eq(number(said, "put"), 4);
    cr_expect_eq(number(said, "later"), 2);
    json_decref(said);
    cr_expect_str_eq(redis_text(rig.redis, "HGETALL {hookline}:later:jobs"), ID "4\nlost");
    cr_expect_str_eq(redis_text(rig.redis, "ZRANGE {hookline}:later 0 -1"), ID "4");
    cr_expect_str_eq(redis_text(rig.redis, "HGETALL {hookline}:later:crawl:jobs"), ID "5\npacked");
    cr_expect_str_eq(redis_text(rig.redis, "ZRANGE {hookline}:later:crawl 0 -1"), ID "5");
}

/* What was put back to wait, from a stream not read yet to a set that was read, leaves the number of
 * jobs as it is. */
Test(ctl_transfer, a_job_that_went_back_while_it_was_interrupted_is_in_the_file)
{
    size_t len;
    small();
    cr_assert_eq(CTL("export", file()), 0, "%s", out);
    char *bytes = read_file(file(), &len);
    cr_assert_eq(unlink(file()), 0);
    *strstr(bytes, "{\"kind\":\"job\",\"queue\":\"change\"") = '\0';
    const char *part = write_file(bytes, strlen(bytes));
    cr_assert_eq(rename(part, harness_text("%s.part", file())), 0);
    redis_text(rig.redis, "XDEL {hookline}:q:change 1-1");
    redis_text(rig.redis, "ZADD {hookline}:later 5 " ID "2");
    redis_text(rig.redis, "HSET {hookline}:later:jobs " ID "2 a");
    redis_text(rig.redis, "SET {hookline}:job:" ID "2 later");
    move_to_another();
    cr_assert_eq(CTL("import", "--yes", file()), 0, "%s", out);
    cr_expect_str_eq(redis_text(rig.redis, "HGETALL {hookline}:later:jobs"), ID "2\na");
    struct stat st;
    cr_assert_eq(stat(file(), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    free(bytes);
}

Test(ctl_transfer, import_keeps_what_is_there_and_adds_what_is_not)
{
    small();
    move_to_another();
    redis_text(rig.redis, "XADD {hookline}:q:crawl 9-1 id " ID "3 job other");
    redis_text(rig.redis,
        "EVAL "
        "redis.call('SET','{hookline}:job:" ID
        "3','{hookline}:q:crawl'..string.char(32)..'9-1'..string.char(32)..'d') 0");
    cr_expect_eq(CTL("import", "--yes", file()), NOT_EMPTY);
    cr_expect(strstr(out, "has 1 jobs already"), "%s", out);
    cr_expect_eq(CTL("import", "--merge", "--dry-run", file()), 0, "%s", out);
    cr_expect_eq(redis_int(rig.redis, "DBSIZE"), 2);
    cr_expect_eq(CTL("import", "--merge", "--yes", "--json", file()), 0, "%s", out);
    json_t *said = answer();
    cr_expect_eq(number(said, "put"), 1);
    cr_expect_eq(number(said, "there_already"), 1);
    json_decref(said);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), 1);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:change"), 1);
}

/* --- files that are not as they were -------------------------------------------------------- */

static int left_in(int fd)
{
    int n = -1;
    cr_assert_eq(ioctl(fd, FIONREAD, &n), 0);
    return n;
}

Test(ctl_transfer, a_file_that_is_not_whole_changes_nothing)
{
    size_t len;
    small();
    move_to_another();
    char *bytes = read_file(file(), &len);
    for (size_t cut = 1; cut < len; cut += 37) {
        cr_expect_eq(CTL("import", "--yes", write_file(bytes, len - cut)), 1, "%zu", cut);
        cr_expect(strstr(out, "nothing was changed"), "%s", out);
    }
    char *at = strstr(bytes, "\"values\":[\"");
    at[12] = at[12] == 'A' ? 'B' : 'A';
    cr_expect_eq(CTL("import", "--yes", write_file(bytes, len)), 1);
    cr_expect(strstr(out, "its digest is another"), "%s", out);
    cr_expect_eq(CTL("import", "--yes", write_file("{\"a\":1}\n", 8)), 1, "%s", out);
    cr_expect_eq(CTL("import", "--yes", "/nowhere"), 1, "%s", out);
    cr_expect_eq(redis_int(rig.redis, "DBSIZE"), 0);
    free(bytes);
}

/* A pipe gives its bytes once. What was read through would be gone when it is to be put. */
Test(ctl_transfer, import_refuses_what_it_cannot_read_twice)
{
    size_t len;
    small();
    move_to_another();
    char *bytes = read_file(file(), &len);
    const char *path = harness_text("%s/pipe", harness_dir());
    cr_assert_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    struct test_proc *p = start_ctl((const char *const[]){"import", "--yes", path, NULL});
    WAIT_FOR(!test_proc_running(p) || left_in(fd) == 0, SOON);
    close(fd);
    cr_expect_eq(test_proc_wait(p, SOON), 1, "%s", test_proc_log(p));
    cr_expect(test_proc_logged(p, "is read twice"), "%s", test_proc_log(p));
    cr_expect_eq(redis_int(rig.redis, "DBSIZE"), 0);
    free(bytes);
}

static bool mounted_small(const char *dir)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, "size=64k") == 0;
}

Test(ctl_transfer, export_goes_on_when_a_full_disk_has_room_again)
{
    small();
    for (int i = 0; i < 200; i++)
        redis_text(rig.redis, "XADD {hookline}:rejects %d-1 source x body %0999d", i + 1, i);
    const char *dir = harness_text("%s/disk", harness_dir());
    cr_assert_eq(mkdir(dir, 0700), 0);
    if (!mounted_small(dir))
        cr_skip_test("mounting is not allowed here");
    const char *path = harness_text("%s/queue.jsonl", dir);
    cr_expect_eq(CTL("export", path), 1, "%s", out);
    cr_expect(strstr(out, "No space left"), "%s", out);
    cr_expect(!exists(path));
    cr_assert_eq(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=8m"), 0);
    cr_assert_eq(CTL("export", "--json", path), 0, "%s", out);
    json_t *said = answer();
    cr_expect_gt(number(said, "resumed"), 0);
    cr_expect_eq(number(said, "rejects"), 200);
    json_decref(said);
    rig.redis = test_redis_start();
    cr_assert_eq(CTL("import", "--yes", path), 0, "%s", out);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:rejects"), 200);
    umount(dir);
}

/* --- targets that do not take it -------------------------------------------------------------- */

Test(ctl_transfer, import_refuses_a_redis_that_evicts_and_goes_on_after_a_full_one)
{
    small();
    redis_text(rig.redis, "ZADD {hookline}:later 5 " ID "4");
    redis_text(rig.redis, "HSET {hookline}:later:jobs " ID "4 c");
    redis_text(rig.redis, "XADD {hookline}:rejects 8-1 source x status 401 authenticated 0 at 1");
    move_to_another();
    redis_text(rig.redis, "CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru");
    cr_expect_eq(CTL("import", "--yes", file()), 1, "%s", out);
    cr_expect(strstr(out, "set noeviction"), "%s", out);
    redis_text(rig.redis, "CONFIG SET maxmemory 1 maxmemory-policy noeviction");
    cr_expect_eq(CTL("import", "--yes", file()), 1, "%s", out);
    cr_expect(strstr(out, "OOM") && strstr(out, "it goes on where it was"), "%s", out);
    cr_expect_eq(redis_int(rig.redis, "DBSIZE"), 0);
    redis_text(rig.redis, "CONFIG SET maxmemory 0");
    cr_assert_eq(CTL("import", "--yes", "--json", file()), 0, "%s", out);
    json_t *said = answer();
    cr_expect_eq(number(said, "put"), 3);
    json_decref(said);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:rejects"), 1);
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log WHERE outcome IS NULL"), 0);
}

/* A script that is refused in its middle has done what came before: it is not done again. */
Test(ctl_transfer, import_that_may_not_do_everything_says_so_and_doubles_nothing_later)
{
    small();
    redis_text(rig.redis, "XADD {hookline}:rejects 8-1 source x status 401 authenticated 0 at 1");
    redis_text(rig.redis, "XADD {hookline}:dead 8-1 id - reason why job x");
    move_to_another();
    redis_text(rig.redis, "ACL SETUSER default -set");
    cr_expect_neq(CTL("import", "--yes", file()), 0, "%s", out);
    cr_expect(strstr(out, "can't run this command"), "%s", out);
    redis_text(rig.redis, "ACL SETUSER default +set");
    cr_assert_eq(CTL("import", "--yes", file()), 0, "%s", out);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:rejects"), 1);
    cr_expect_eq(redis_int(rig.redis, "LLEN {hookline}:rejects:open"), 1);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:dead"), 1);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:change"), 1);
    cr_expect_eq(redis_int(rig.redis, "XLEN {hookline}:q:crawl"), 1);
}

Test(ctl_transfer, the_command_line_is_checked_first)
{
    small();
    cr_expect_eq(CTL("export"), 64);
    cr_expect_eq(CTL("import"), 64);
    cr_expect_eq(CTL("import", "/nowhere"), 64, "%s", out);
    cr_expect(strstr(out, "--yes"), "%s", out);
    move_to_another();
    test_redis_kill(rig.redis);
    cr_expect_eq(CTL("import", "--yes", file()), 69, "%s", out);
}
