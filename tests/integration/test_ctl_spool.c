/* hooklinectl spool: what lies in a folder is shown as it is; push brings it home once, takes nothing
 * from a living process, and removes nothing before it is safe. */
#include "tests/support/fleet.h"

#include "base/crawl_job.h"
#include "base/digest.h"
#include "base/event.h"
#include "base/json.h"
#include "io/spool_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *db, *dir, *out;
static struct test_redis *redis;

static void start(void)
{
    db = harness_database(true);
    redis = test_redis_start();
    dir = harness_text("%s/spool", harness_dir());
    cr_assert_eq(mkdir(dir, 0700), 0);
}

static void stop(void)
{
    test_redis_free(redis);
}

TestSuite(ctl_spool, .init = start, .fini = stop, .timeout = 60);

/* --- running it -------------------------------------------------------------------------- */

#define WORDS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define RUN(...) run(WORDS("spool", __VA_ARGS__))
#define PUSH()   RUN("push", "--yes", "--json", "--quiet")

static struct test_proc *begin(const char *const *args)
{
    const char *argv[12] = {harness_text("%s/hooklinectl", harness_build())};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", dir), NULL};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    return test_proc_start(argv, env, -1);
}

static int run(const char *const *args)
{
    struct test_proc *p = begin(args);
    int code = test_proc_wait(p, 40000);
    out = test_proc_log(p);
    return code;
}

/* The line of JSON among what was printed. */
static json_t *answer(void)
{
    struct hl_err err;
    const char *line = strstr(out, "{\"version\":1");
    cr_assert(line, "%s", out);
    json_t *root = json_parse(line, strcspn(line, "\n"), &err);
    cr_assert(root, "%s: %s", err.msg, out);
    return root;
}

static long told(const char *key)
{
    json_t *root = answer();
    const json_t *v = json_object_get(root, key);
    cr_assert(json_is_integer(v), "%s: %s", key, out);
    long n = (long)json_integer_value(v);
    json_decref(root);
    return n;
}

static long rows(void)
{
    return sql_int(db, "SELECT count(*) FROM webhook.change_events");
}

static long log_rows(void)
{
    return sql_int(db, "SELECT count(*) FROM webhook.operator_log");
}

/* --- making segments --------------------------------------------------------------------- */

static const char *path_of(const char *segment)
{
    return harness_text("%s/%s", dir, segment);
}

static bool is_there(const char *segment)
{
    return access(path_of(segment), F_OK) == 0;
}

/* Appended to a segment, which is made when it is missing. */
static void append(const char *segment, const void *data, size_t len)
{
    FILE *f = fopen(path_of(segment), "a");
    cr_assert(f);
    if (ftell(f) == 0)
        fwrite(SPOOL_MAGIC, 1, SPOOL_START, f);
    cr_assert_eq(fwrite(data, 1, len, f), len);
    cr_assert_eq(fclose(f), 0);
}

static void append_frame(const char *segment, const void *data, size_t len)
{
    struct buf frame = {0};
    spool_put_frame(&frame, data, len);
    append(segment, frame.data, frame.len);
    buf_release(&frame);
}

static const char *id_of(int n)
{
    return harness_text("00000000-0000-4000-8000-%012d", n);
}

/* version: of the record; another one than EVENT_VERSION is one of a newer program. */
static void change_of(const char *segment, int n, const char *url, int version)
{
    struct buf job = {0};
    struct change_event ev = {
        .watch_id = (char *)"w", .watch_url = (char *)url, .metadata = (char *)"{}"};
    cr_assert(uuid_parse(id_of(n), &ev.id));
    ev.body_digest[0] = (uint8_t)strlen(url);
    event_encode(&ev, &job);
    job.data[3] = (char)version; /* map, "v", its value */
    append_frame(segment, job.data, job.len);
    buf_release(&job);
}

static void change(const char *segment, int n)
{
    change_of(segment, n, "http://page.test/", EVENT_VERSION);
}

static void crawl(const char *segment, int n)
{
    struct buf bytes = {0};
    struct crawl_job job = {.received_at = 1, .body = (char *)"{\"a\":1}", .len = 7};
    cr_assert(uuid_parse(id_of(n), &job.id));
    digest_sha256(job.body, job.len, job.digest);
    crawl_job_encode(&job, &bytes);
    append_frame(segment, bytes.data, bytes.len);
    buf_release(&bytes);
}

/* As a living producer does. */
static int hold(const char *segment)
{
    int fd = open(path_of(segment), O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    return fd;
}

static void row_of(const char *segment, const char *host, int silent_s)
{
    sql_exec(db,
        "INSERT INTO webhook.spools (segment, host, folder, holder, bytes, seen_at)"
        " VALUES ('%s', '%s', '/far', '%s-1', 4711, now() - %d * interval '1 s')",
        segment, host, host, silent_s);
}

static const char *text_of(const char *segment)
{
    const char *path = path_of(segment);
    char *text = harness_hold(calloc(1, 4096));
    FILE *f = fopen(path, "r");
    cr_assert(f, "%s", path);
    cr_assert_lt(fread(text, 1, 4095, f), 4095);
    fclose(f);
    return text;
}

/* --- list -------------------------------------------------------------------------------- */

static const json_t *listed(const json_t *root, const char *segment)
{
    const json_t *all = json_object_get(root, "spools");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(json_get_string(json_array_get(all, i), "segment"), segment) == 0)
            return json_array_get(all, i);
    cr_assert_fail("%s is not listed in %s", segment, out);
    return NULL;
}

static long number_of(const json_t *spool, const char *key)
{
    return (long)json_integer_value(json_object_get(spool, key));
}

Test(ctl_spool, list_shows_each_segment_with_its_records_its_holder_and_what_is_damaged)
{
    change("a.seg", 1);
    change("a.seg", 2);
    append("a.seg", "torn off", 8);
    append_frame("a.seg", "no event", 8);
    crawl("b.crawl", 3);
    change("c.seg", 4);
    append("d.seg", "", 0);
    int fd = hold("c.seg");
    row_of("a.seg", "dead-host", 3600);
    row_of("far.seg", "other", 1);
    row_of("gone.crawl", "other", 3600);

    cr_assert_eq(RUN("list", "--json"), 0, "%s", out);
    json_t *root = answer();
    cr_expect(json_is_true(json_object_get(root, "complete")));
    cr_expect_eq(json_array_size(json_object_get(root, "spools")), 6, "%s", out);
    const json_t *a = listed(root, "a.seg"), *b = listed(root, "b.crawl");
    cr_expect_str_eq(json_get_string(a, "state"), "orphan");
    cr_expect_eq(number_of(a, "records"), 3, "%s", out);
    cr_expect_eq(number_of(a, "unreadable"), 1, "%s", out);
    cr_expect_eq(number_of(a, "damaged_bytes"), 8, "%s", out);
    cr_expect_str_eq(json_get_string(a, "host"), "dead-host");
    cr_expect_str_eq(json_get_string(b, "queue"), "crawl");
    cr_expect_eq(number_of(b, "records"), 1);
    cr_expect_eq(number_of(b, "unreadable"), 0);
    const json_t *c = listed(root, "c.seg");
    cr_expect_str_eq(json_get_string(c, "state"), "held");
    const char *pid = json_get_string(c, "held_by"); /* not on every file system */
    cr_expect(!pid || atoi(pid) == getpid(), "%s", out);
    cr_expect_str_eq(json_get_string(listed(root, "d.seg"), "state"), "empty");
    cr_expect_str_eq(json_get_string(listed(root, "far.seg"), "state"), "elsewhere");
    cr_expect_str_eq(json_get_string(listed(root, "gone.crawl"), "state"), "silent");
    cr_expect_str_eq(json_get_string(listed(root, "gone.crawl"), "queue"), "crawl");
    json_decref(root);
    cr_assert_eq(RUN("list"), 0);
    cr_expect(strstr(out, "SEGMENT"), "%s", out);
    close(fd);
}

Test(ctl_spool, list_says_when_there_is_nothing_and_when_the_folder_is_none)
{
    cr_expect_eq(RUN("list"), 0);
    cr_expect_str_eq(out, "There is nothing in the spools.\n");
    cr_expect_eq(RUN("list", "--spool", "/nowhere"), 1, "%s", out);
    cr_expect(strstr(out, "/nowhere"), "%s", out);
}

Test(ctl_spool, list_shows_what_is_here_when_postgresql_is_away)
{
    change("a.seg", 1);
    db = harness_text("postgresql://x:y@127.0.0.1:%d/none", harness_free_port());
    cr_expect_eq(RUN("list", "--json"), 69, "%s", out);
    json_t *root = answer();
    cr_expect(json_is_false(json_object_get(root, "complete")));
    cr_expect_eq(number_of(listed(root, "a.seg"), "records"), 1);
    json_decref(root);
}

/* --- push -------------------------------------------------------------------------------- */

Test(ctl_spool, push_brings_both_kinds_home_and_leaves_nothing_behind)
{
    change("a.seg", 1);
    change("a.seg", 2);
    change("b.seg", 3);
    crawl("c.crawl", 4);
    append("empty.seg", "", 0);
    row_of("a.seg", "dead-host", 3600);
    row_of("c.crawl", "dead-host", 3600);

    cr_assert_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("change"), 3, "%s", out);
    cr_expect_eq(told("crawl"), 1, "%s", out);
    cr_expect_eq(told("affected"), 4, "%s", out);
    cr_expect_eq(rows(), 3);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 3);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:crawl"), 1);
    cr_expect_eq(sql_int(db, "SELECT count(*) FROM webhook.spools"), 0);
    cr_expect(!is_there("a.seg") && !is_there("b.seg") && !is_there("c.crawl"));
    cr_expect_str_eq(sql_text(db, "SELECT command || ' ' || affected || ' ' || outcome"
                                  " FROM webhook.operator_log"),
        "spool push 4 done");

    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("affected"), 0, "%s", out);
    cr_expect_eq(log_rows(), 1, "nothing was done");
}

Test(ctl_spool, push_of_a_copy_doubles_nothing)
{
    change("a.seg", 1);
    crawl("b.crawl", 2);
    cr_assert_eq(PUSH(), 0, "%s", out);
    change("copy.seg", 1);
    crawl("copy.crawl", 2);
    cr_assert_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("known_before"), 2, "%s", out);
    cr_expect_eq(rows(), 1);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:change"), 1);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:crawl"), 1);
}

Test(ctl_spool, push_takes_nothing_from_a_living_process)
{
    change("a.seg", 1);
    change("held.seg", 2);
    int fd = hold("held.seg");
    cr_assert_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("affected"), 1, "%s", out);
    cr_expect_eq(told("held_segments"), 1, "%s", out);
    cr_expect(is_there("held.seg") && !is_there("a.seg"));
    cr_expect_eq(rows(), 1);
    close(fd);
}

Test(ctl_spool, push_asks_first_and_a_dry_run_changes_nothing)
{
    change("a.seg", 1);
    cr_expect_eq(RUN("push"), 64, "nobody is there to answer: %s", out);
    cr_expect_eq(RUN("push", "--dry-run"), 0, "%s", out);
    cr_expect(strstr(out, "a.seg"), "%s", out);
    cr_expect_eq(rows(), 0);
    cr_expect_eq(log_rows(), 0);
    cr_expect(is_there("a.seg"));
}

Test(ctl_spool, push_works_off_more_segments_than_it_holds_at_a_time)
{
    for (int i = 0; i < 150; i++)
        change(harness_text("s%03d.seg", i), i);
    cr_assert_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("affected"), 150, "%s", out);
    cr_expect_eq(rows(), 150);
    cr_expect(!is_there("s000.seg") && !is_there("s149.seg"));
}

Test(ctl_spool, push_keeps_everything_while_postgresql_is_away)
{
    change("a.seg", 1);
    db = harness_text("postgresql://x:y@127.0.0.1:%d/none", harness_free_port());
    cr_expect_eq(PUSH(), 69, "%s", out);
    cr_expect(is_there("a.seg"));
}

Test(ctl_spool, push_leaves_publishing_to_the_janitor_while_redis_is_away)
{
    change("a.seg", 1);
    test_redis_kill(redis);
    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("unpublished"), 1, "%s", out);
    cr_expect_eq(rows(), 1);
    cr_expect(!is_there("a.seg"));
}

Test(ctl_spool, push_begins_nothing_that_needs_redis_while_it_is_away)
{
    change("a.seg", 1);
    crawl("b.crawl", 2);
    test_redis_kill(redis);
    cr_expect_eq(PUSH(), 69, "%s", out);
    cr_expect(is_there("a.seg") && is_there("b.crawl"));
    cr_expect_eq(log_rows(), 0);
    test_redis_restart(redis);
    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:q:crawl"), 1);
}

/* For this test's processes. */
static bool mounted_read_only(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(dir, dir, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

Test(ctl_spool, push_begins_nothing_in_a_folder_that_cannot_be_written)
{
    change("a.seg", 1);
    if (!mounted_read_only())
        cr_skip_test("mounting is not allowed here");
    cr_expect_eq(PUSH(), 1, "%s", out);
    cr_expect(strstr(out, "cannot be written"), "%s", out);
    cr_expect_eq(log_rows(), 0);
    cr_expect_eq(rows(), 0);
}

Test(ctl_spool, push_refuses_firecrawls_events_to_a_redis_that_evicts)
{
    crawl("b.crawl", 2);
    redis_text(redis, "CONFIG SET maxmemory 100mb");
    redis_text(redis, "CONFIG SET maxmemory-policy allkeys-lru");
    cr_expect_eq(PUSH(), 1, "%s", out);
    cr_expect(strstr(out, "noeviction"), "%s", out);
    cr_expect(is_there("b.crawl"));
}

Test(ctl_spool, push_makes_dead_letters_of_what_can_never_be_a_row_each_once)
{
    change("a.seg", 1);
    append_frame("a.seg", "no event", 8);
    change("a.seg", 2);
    change_of("a.seg", 1, "http://page.test/another", EVENT_VERSION);
    change("a.seg", 3);
    crawl("b.crawl", 4);
    append_frame("b.crawl", "no job", 6);
    cr_assert_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("dead_letters"), 3, "%s", out);
    cr_expect_eq(told("change"), 3, "%s", out);
    cr_expect_eq(told("affected"), 7, "%s", out);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:dead"), 3);
    cr_expect_eq(rows(), 3);
    cr_expect(!is_there("a.seg") && !is_there("b.crawl"));
}

Test(ctl_spool, push_keeps_a_record_that_can_be_no_row_while_redis_takes_no_dead_letter)
{
    change("a.seg", 1);
    append_frame("a.seg", "no event", 8);
    change("a.seg", 2);
    test_redis_kill(redis);
    cr_expect_eq(PUSH(), 69, "%s", out);
    cr_expect(is_there("a.seg"));
    test_redis_restart(redis);
    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(redis_int(redis, "XLEN {hookline}:dead"), 1);
    cr_expect_eq(rows(), 2);
    cr_expect(!is_there("a.seg"));
}

Test(ctl_spool, push_leaves_the_records_of_a_newer_release_and_says_so)
{
    change("a.seg", 1);
    change_of("a.seg", 2, "http://page.test/", EVENT_VERSION + 1);
    change("b.seg", 3);
    cr_expect_eq(PUSH(), 2, "%s", out);
    cr_expect_eq(told("left_segments"), 1, "%s", out);
    cr_expect(strstr(out, "newer release"), "%s", out);
    cr_expect_eq(rows(), 2, "what is before it is home, and the other segment");
    cr_expect(is_there("a.seg") && !is_there("b.seg"));
    cr_expect_eq(redis_int(redis, "EXISTS {hookline}:dead"), 0);
}

Test(ctl_spool, push_keeps_damaged_bytes_beside_and_goes_on_behind_them)
{
    change("a.seg", 1);
    append("a.seg", "torn off", 8);
    change("a.seg", 2);
    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("cut_bytes"), 8, "%s", out);
    cr_expect_eq(rows(), 2);
    cr_expect(!is_there("a.seg") && is_there("a.seg.cut"));
    cr_expect_str_eq(text_of("a.seg.cut"), "torn off");
}

Test(ctl_spool, push_that_is_killed_halfway_is_simply_repeated)
{
    for (int i = 0; i < 300; i++)
        change("a.seg", i);
    /* The first dozens become rows; publishing them hangs. */
    redis_text(redis, "CLIENT PAUSE 30000 WRITE");
    struct test_proc *p = begin(WORDS("spool", "push", "--yes", "--json", "--quiet"));
    WAIT_FOR(rows() > 0, 10000);
    test_proc_kill(p);
    cr_expect_lt(rows(), 300);
    cr_expect(is_there("a.seg"));
    redis_text(redis, "CLIENT UNPAUSE");

    cr_expect_eq(PUSH(), 0, "%s", out);
    cr_expect_eq(told("affected"), 300, "%s", out);
    cr_expect_eq(rows(), 300);
    cr_expect(!is_there("a.seg"));
    cr_expect_eq(sql_int(db, "SELECT count(DISTINCT event_id) FROM webhook.change_events"), 300);
}

/* --- with a real producer ---------------------------------------------------------------- */

TestSuite(ctl_spool_producer, .timeout = 120);

Test(ctl_spool_producer, push_brings_home_what_a_producer_kept_before_it_died_and_not_before)
{
    struct rig rig;
    struct rig_id ids[20];
    rig_start_own_pg(&rig);
    test_pg_kill(rig.pg);
    for (int i = 0; i < 20; i++)
        ids[i] = rig_post(&rig, "/page-%d", i);
    test_proc_signal(rig.producer, SIGSTOP); /* it lives, and cannot bring them home itself */
    test_pg_restart(rig.pg);

    const char *const push[] = {"spool", "push", "--yes", "--json", NULL};
    cr_assert_eq(rig_ctl(&rig, push, &out), 0, "%s", out);
    cr_expect_eq(told("affected"), 0, "%s", out);
    cr_expect_geq(told("held_segments"), 1, "%s", out);

    test_proc_kill(rig.producer);
    cr_assert_eq(rig_ctl(&rig, push, &out), 0, "%s", out);
    cr_expect_eq(told("left_segments"), 0, "%s", out);
    cr_expect_eq(told("change"), 20, "%s", out);
    for (int i = 0; i < 20; i++)
        cr_expect(rig_status_is(&rig, ids[i], "queued"), "%d: %s", i, out);
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.spools"), 0);
    test_pg_free(rig.pg);
}
