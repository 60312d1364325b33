/* hooklinectl drain, and everything that might fool it: one item in each place, whatever happens between
 * the two looks, producers that race. It never says empty when it is not. */
#include "tests/support/terminal.h"

#include "base/clock.h"
#include "base/json.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(ctl_drain, .timeout = 120);

#define ARGS(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        "drain", __VA_ARGS__, NULL                                                                 \
    }

/* --- stores without a fleet, and the tool ------------------------------------------------ */

static struct {
    const char *db, *spool;
    struct test_redis *redis;
} at;

static void stores(void)
{
    at.db = harness_database(true);
    at.redis = test_redis_start();
    at.spool = harness_text("%s/spool", harness_dir());
    mkdir(at.spool, 0700);
}

static struct test_proc *start(const char *const *args)
{
    const char *argv[20] = {rig_program("hooklinectl")};
    const char *env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", at.db),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(at.redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", at.spool), NULL};
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    return test_proc_start(argv, env, -1);
}

static int drain(const char *const *args, const char **out)
{
    struct test_proc *p = start(args);
    int code = test_proc_wait(p, 40000);
    *out = test_proc_log(p);
    return code;
}

/* The last JSON line of the output: how it ended. */
static json_t *end_of(const char *out)
{
    const char *last = NULL;
    struct hl_err err;
    for (const char *line = out; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == '{')
            last = line;
    }
    cr_assert(last, "%s", out);
    json_t *end = json_parse(last, strcspn(last, "\n"), &err);
    cr_assert(end, "%s: %s", err.msg, out);
    return end;
}

static bool says_empty(const char *out)
{
    json_t *end = end_of(out);
    bool empty = json_is_true(json_object_get(end, "empty"));
    cr_expect_eq(empty, json_is_object(json_object_get(end, "proof")), "%s", out);
    json_decref(end);
    return empty;
}

/* The queue and place of what is left are among what it names. */
static bool names(const char *out, const char *queue, const char *place, const char *id)
{
    json_t *end = end_of(out), *left = json_object_get(end, "left"), *l;
    bool found = false;
    size_t i;
    json_array_foreach(left, i, l)
    {
        const char *q = json_get_string(l, "queue"), *p = json_get_string(l, "place");
        char *text = json_dumps(l, 0);
        found |= (!queue || (q && strcmp(q, queue) == 0)) && strcmp(p, place) == 0 &&
                 (!id || strstr(text, id));
        free(text);
    }
    json_decref(end);
    return found;
}

static void clear(void)
{
    sql_exec(at.db, "DELETE FROM webhook.change_events; DELETE FROM webhook.spools;"
                    "DELETE FROM webhook.producers; UPDATE webhook.queues SET announced_at = NULL,"
                    "  fenced_at = NULL, fenced_by = NULL, paused_at = NULL");
    redis_text(at.redis, "FLUSHALL");
}

/* --- nothing there ----------------------------------------------------------------------- */

Test(ctl_drain, an_empty_installation_is_empty_and_the_proof_says_what_was_seen)
{
    const char *out;
    stores();
    cr_assert_eq(drain(ARGS("--json", "--timeout", "0"), &out), 0, "%s", out);
    cr_assert(says_empty(out));
    json_t *end = end_of(out), *proof = json_object_get(end, "proof");
    cr_expect_eq(json_integer_value(json_object_get(end, "version")), 1);
    cr_expect_eq(json_array_size(json_object_get(proof, "reads")), 2);
    cr_expect(json_is_object(json_object_get(proof, "fingerprint")));
    cr_expect_eq(json_integer_value(json_object_get(proof, "spool_folders")), 1);
    cr_expect_str_eq(json_get_string(json_object_get(end, "intake"), "change"), "open");
    json_decref(end);
    cr_assert_eq(drain(ARGS("--timeout", "0"), &out), 0, "%s", out);
    cr_expect(strstr(out, "Empty: nothing was left") && strstr(out, "change: open"), "%s", out);
}

/* --- one item in each place, alone ------------------------------------------------------- */

#define GROUP(stream) "XGROUP CREATE " stream " workers 0 MKSTREAM"
#define ROW(status, more)                                                                          \
    "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status) VALUES"              \
    " ('w', 'http://x/', '" status "'); UPDATE webhook.change_events SET " more
#define ID "0190a000-0000-7000-8000-00000000000a"

static const struct hidden {
    const char *redis[3]; /* commands */
    const char *sql;
    const char *queue, *place, *id; /* as it must be named */
} hidden[] = {
  /* clang-format off */
    {{"XADD {hookline}:q:change * id " ID " job x"}, NULL, "change", "stream", ID},
    {{"XADD {hookline}:q:crawl * id " ID " job x"}, NULL, "crawl", "stream", ID},
    {{GROUP("{hookline}:q:change"), "XADD {hookline}:q:change * id " ID " job x",
      "XREADGROUP GROUP workers w STREAMS {hookline}:q:change >"}, NULL, "change", "pending", ID},
    {{GROUP("{hookline}:q:crawl"), "XADD {hookline}:q:crawl * id " ID " job x",
      "XREADGROUP GROUP workers w STREAMS {hookline}:q:crawl >"}, NULL, "crawl", "pending", ID},
    {{"ZADD {hookline}:later 99999999999999 " ID}, NULL, "change", "later", ID},
    {{"ZADD {hookline}:later 1 " ID}, NULL, "change", "later without its job", ID},
    {{"HSET {hookline}:later:jobs " ID " x"}, NULL, "change", "job that later does not name", ID},
    {{"ZADD {hookline}:later:crawl 99999999999999 " ID}, NULL, "crawl", "later", ID},
    {{"HSET {hookline}:later:crawl:jobs " ID " x"}, NULL, "crawl", "job that later does not name", ID},
    {{NULL}, ROW("queued", "event_id = '" ID "'"), "change", "rows queued", ID},
    {{NULL}, ROW("queued", "event_id = '" ID "', suspect = 2"), "change", "rows queued", ID},
    {{NULL}, ROW("queued", "event_id = NULL"), "change", "rows queued", "row "},
    {{NULL}, ROW("queued", "event_id = '" ID "', next_attempt_at = now() + interval '1 day'"),
     "change", "rows waiting for a later attempt", ID},
    {{NULL}, ROW("in_progress", "event_id = '" ID "', claimed_by = 'gone'"), "change",
     "rows in progress", ID},
    {{NULL}, ROW("in_progress", "event_id = NULL"), "change", "rows in progress", "row "},
    {{NULL}, "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
     " ('elsewhere-1-a.seg', 'elsewhere', '/s', 'elsewhere-1', 100)", "change",
     "spool on a producer's disk", "elsewhere:/s/elsewhere-1-a.seg"},
    {{NULL}, "INSERT INTO webhook.spools (segment, host, folder, holder, bytes, seen_at) VALUES"
     " ('elsewhere-1-a.crawl', 'elsewhere', '/s', 'x', 100, now() - interval '1 day')", "crawl",
     "spool on a producer's disk", "spool push"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, seen_at) VALUES"
     " ('p-1', 'far', 1, now() - interval '2 minutes')", NULL, "producer", "--ignore-silent"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, seen_at) VALUES"
     " ('p-1', 'far', 1, now() - interval '20 s')", NULL, "producer", "p-1"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, status) VALUES"
     " ('p-1', 'far', 1, '{\"spool_bytes\": 5}')", "change", "spool on a producer's disk", "p-1"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, status) VALUES"
     " ('p-1', 'far', 1, '{\"crawl_spool_bytes\": 5}')", "crawl", "spool on a producer's disk", "p-1"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, status) VALUES"
     " ('p-1', 'far', 1, '{\"in_memory\": 1}')", "change", "a producer's memory", "p-1"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, status) VALUES"
     " ('p-1', 'far', 1, '{\"crawl_in_memory\": 1}')", "crawl", "a producer's memory", "p-1"},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, status) VALUES"
     " ('cut-off', 'far', 1, '{\"spool_bytes\": 0}')", NULL, "producer", "cut-off"},
    {{NULL}, "UPDATE webhook.queues SET announced_at = now()", NULL, "generation", "forgotten"},
    {{"SET {hookline}:generation another"}, NULL, NULL, "generation", "another"},
    {{"SET {hookline}:generation rebuilding"}, NULL, NULL, "generation", "filled again"},
  /* clang-format on */
};

static void hide(const struct hidden *h)
{
    for (int i = 0; i < 3 && h->redis[i]; i++)
        redis_text(at.redis, "%s", h->redis[i]);
    if (h->sql)
        sql_exec(at.db, "%s", h->sql);
}

Test(ctl_drain, one_item_in_any_place_is_found_and_named)
{
    const char *out;
    stores();
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        clear();
        hide(&hidden[i]);
        cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 2, "case %zu: %s", i, out);
        cr_expect_not(says_empty(out), "case %zu: %s", i, out);
        cr_expect(
            names(out, hidden[i].queue, hidden[i].place, hidden[i].id), "case %zu: %s", i, out);
    }
}

static void put_segment(const char *name, size_t bytes)
{
    FILE *f = fopen(harness_text("%s/%s", at.spool, name), "we");
    cr_assert(f);
    fprintf(f, "HKSPOOL1%.*s", (int)bytes, "0123456789");
    fclose(f);
}

Test(ctl_drain, spool_files_here_are_found_held_or_not_and_emptied_ones_are_not)
{
    static const char *const kinds[][2] = {
        {"seg",   "change"},
        {"crawl", "crawl" }
    };
    const char *out;
    stores();
    put_segment("a-1-x.seg", 0);
    put_segment("a-1-x.crawl", 0);
    put_segment("a-1-x.seg.cut", 9);
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 0, "%s", out);
    for (int i = 0; i < 2; i++) {
        const char *file = harness_text("b-1-y.%s", kinds[i][0]);
        put_segment(file, 9);
        cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 2, "%s", out);
        cr_expect(names(out, kinds[i][1], "spool", "no process holds"), "%s", out);
        int fd = open(harness_text("%s/%s", at.spool, file), O_RDONLY | O_CLOEXEC);
        cr_assert_eq(flock(fd, LOCK_EX), 0);
        cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 2, "%s", out);
        cr_expect(names(out, kinds[i][1], "spool", file), "%s", out);
        cr_expect_not(strstr(out, "no process holds"), "%s", out);
        close(fd);
        const char *other = kinds[1 - i][1];
        cr_expect_eq(drain(ARGS("--json", "--timeout", "0", "--queue", other), &out), 0, "%s", out);
        unlink(harness_text("%s/%s", at.spool, file));
    }
    cr_expect_eq(drain(ARGS("--timeout", "0", "--spool", "/no/such/folder"), &out), 1, "%s", out);
    cr_expect(strstr(out, "/no/such/folder"), "%s", out);
}

Test(ctl_drain, one_queue_is_proven_whatever_the_other_holds)
{
    const char *out;
    stores();
    redis_text(at.redis, "XADD {hookline}:q:crawl * id a job x");
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0", "--queue", "change"), &out), 0, "%s", out);
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0", "--queue", "crawl"), &out), 2, "%s", out);
    clear();
    sql_exec(at.db, ROW("queued", "starts = 0"));
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0", "--queue", "crawl"), &out), 0, "%s", out);
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0", "--queue", "change"), &out), 2, "%s", out);
}

Test(ctl_drain, retries_that_are_ignored_are_told_and_due_ones_are_not_ignored)
{
    const char *out;
    stores();
    sql_exec(at.db, ROW("queued", "next_attempt_at = now() + interval '1 hour'"));
    redis_text(at.redis, "ZADD {hookline}:later 99999999999999 a");
    redis_text(at.redis, "HSET {hookline}:later:jobs a x");
    const char *const *args = ARGS("--json", "--timeout", "0", "--include-retries", "ignore");
    cr_assert_eq(drain(args, &out), 0, "%s", out);
    json_t *end = end_of(out);
    cr_expect_eq(json_integer_value(json_object_get(end, "retries_ignored")), 1, "%s", out);
    json_decref(end);
    redis_text(at.redis, "HSET {hookline}:later:jobs b x");
    cr_expect_eq(drain(args, &out), 2, "half of a retry is not one: %s", out);
    redis_text(at.redis, "HDEL {hookline}:later:jobs a");
    cr_expect_eq(drain(args, &out), 2, "as many of each are no pairs: %s", out);
    cr_expect(names(out, "change", "later without its job", "a"), "%s", out);
    cr_expect(names(out, "change", "job that later does not name", "b"), "%s", out);
    redis_text(at.redis, "HSET {hookline}:later:jobs a x");
    redis_text(at.redis, "HDEL {hookline}:later:jobs b");
    redis_text(at.redis, "ZADD {hookline}:later 1 a");
    cr_expect_eq(drain(args, &out), 2, "%s", out);
    redis_text(at.redis, "ZADD {hookline}:later 99999999999999 a");
    sql_exec(at.db, "UPDATE webhook.change_events SET next_attempt_at = now()");
    cr_expect_eq(drain(args, &out), 2, "%s", out);
}

Test(ctl_drain, silent_producers_are_left_out_when_told_and_the_proof_says_so)
{
    const char *out;
    stores();
    sql_exec(at.db, "INSERT INTO webhook.producers (id, host, pid, seen_at) VALUES"
                    " ('p-1', 'far', 1, now() - interval '2 minutes')");
    cr_assert_eq(drain(ARGS("--json", "--timeout", "0", "--ignore-silent"), &out), 0, "%s", out);
    json_t *end = end_of(out), *proof = json_object_get(end, "proof");
    cr_expect_eq(json_integer_value(json_object_get(proof, "producers_ignored")), 1, "%s", out);
    json_decref(end);
    sql_exec(at.db, "UPDATE webhook.producers SET seen_at = now() - interval '20 s'");
    cr_expect_eq(drain(ARGS("--timeout", "0", "--ignore-silent"), &out), 2, "only late: %s", out);
}

Test(ctl_drain, a_redis_that_copies_another_is_not_believed)
{
    const char *out;
    stores();
    struct test_redis *master = at.redis;
    at.redis = test_redis_start();
    redis_text(at.redis, "REPLICAOF 127.0.0.1 %d", atoi(strrchr(test_redis_url(master), ':') + 1));
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 2, "%s", out);
    cr_expect(names(out, NULL, "Redis", "replica"), "%s", out);
    at.redis = master;
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 0, "%s", out);
}

Test(ctl_drain, a_redis_that_begins_to_copy_another_is_not_believed_any_more)
{
    stores();
    struct test_redis *master = test_redis_start();
    sql_exec(at.db, "INSERT INTO webhook.workers (id, host, pid) VALUES ('w', 'h', 1)");
    redis_text(at.redis, "XADD {hookline}:q:crawl * id a job x");
    struct test_proc *p = start(ARGS("--json", "--patience", "1"));
    WAIT_FOR(test_proc_logged(p, "\"draining\""), 20000);
    redis_text(at.redis, "REPLICAOF 127.0.0.1 %d", atoi(strrchr(test_redis_url(master), ':') + 1));
    cr_expect_eq(test_proc_wait(p, 30000), 2, "%s", test_proc_log(p));
    cr_expect_not(says_empty(test_proc_log(p)));
    cr_expect(names(test_proc_log(p), NULL, "Redis", "replica"), "%s", test_proc_log(p));
}

Test(ctl_drain, a_database_that_copies_another_is_not_believed)
{
    const char *out;
    stores();
    struct test_pg *primary = test_pg_start();
    at.db = test_pg_url(primary);
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 0, "%s", out);
    at.db = test_pg_url(test_pg_standby(primary));
    cr_expect_neq(drain(ARGS("--json", "--timeout", "0"), &out), 0, "%s", out);
    cr_expect_not(strstr(out, "\"empty\":true"), "%s", out);
}

/* --- between the two looks --------------------------------------------------------------- */

static const struct hidden meanwhile[] = {
  /* clang-format off */
    {{NULL}, "UPDATE webhook.queues SET generation = gen_random_uuid() WHERE name = 'change'", 0, 0, 0},
    {{NULL}, "UPDATE webhook.queues SET generation = gen_random_uuid() WHERE name = 'crawl'", 0, 0, 0},
    {{NULL}, "SELECT nextval('webhook.scrape_clock')", 0, 0, 0},
    {{NULL}, ROW("completed", "event_id = '" ID "'") "; DELETE FROM webhook.change_events", 0, 0, 0},
    {{"XADD {hookline}:q:change 99999999999999-1 id a job x",
      "XDEL {hookline}:q:change 99999999999999-1"}, NULL, 0, 0, 0},
    {{"XADD {hookline}:q:crawl 99999999999999-1 id a job x",
      "XDEL {hookline}:q:crawl 99999999999999-1"}, NULL, 0, 0, 0},
    {{"FLUSHALL"}, NULL, 0, 0, 0},
    {{"SET {hookline}:generation another"}, NULL, 0, 0, 0},
    {{NULL}, ROW("queued", "event_id = '" ID "'"), 0, 0, 0},
    {{"ZADD {hookline}:later:crawl 1 a"}, NULL, 0, 0, 0},
    {{NULL}, "INSERT INTO webhook.producers (id, host, pid, seen_at) VALUES"
     " ('p-2', 'far', 1, now() - interval '2 minutes')", 0, 0, 0},
  /* clang-format on */
};

/* As a fleet leaves it: told of its generation, and once used. */
static void used_before(void)
{
    clear();
    redis_text(at.redis, "XADD {hookline}:q:change 1-1 id a job x");
    redis_text(at.redis, "XDEL {hookline}:q:change 1-1");
    sql_exec(at.db, "UPDATE webhook.queues SET announced_at = now()");
    redis_text(at.redis, "SET {hookline}:generation %s",
        sql_text(at.db, "SELECT generation FROM webhook.queues WHERE name = 'change'"));
}

static struct test_proc *between_the_looks(void)
{
    struct test_proc *p = start(ARGS("--json", "--timeout", "0", "--settle", "1500ms"));
    WAIT_FOR(test_proc_logged(p, "\"settling\""), 20000);
    return p;
}

Test(ctl_drain, whatever_happens_between_the_two_looks_spoils_the_proof)
{
    stores();
    for (size_t i = 0; i < sizeof(meanwhile) / sizeof(meanwhile[0]); i++) {
        used_before();
        struct test_proc *p = between_the_looks();
        hide(&meanwhile[i]);
        cr_expect_eq(test_proc_wait(p, 30000), 2, "case %zu: %s", i, test_proc_log(p));
        cr_expect_not(says_empty(test_proc_log(p)), "case %zu", i);
    }
    used_before();
    struct test_proc *p = between_the_looks();
    cr_expect_eq(test_proc_wait(p, 30000), 0, "nothing happened: %s", test_proc_log(p));
}

Test(ctl_drain, a_redis_that_was_restarted_between_the_looks_spoils_the_proof)
{
    stores();
    used_before();
    struct test_proc *p = start(ARGS("--json", "--timeout", "0", "--settle", "4s"));
    WAIT_FOR(test_proc_logged(p, "\"settling\""), 20000);
    test_redis_kill(at.redis);
    test_redis_restart(at.redis);
    int code = test_proc_wait(p, 30000);
    cr_expect(code == 2 || code == 69, "%d: %s", code, test_proc_log(p));
    cr_expect_not(says_empty(test_proc_log(p)));
}

Test(ctl_drain, with_time_a_spoilt_proof_is_begun_anew_and_both_looks_are_later)
{
    stores();
    used_before();
    struct test_proc *p = start(ARGS("--json", "--timeout", "30"));
    WAIT_FOR(test_proc_logged(p, "\"settling\""), 20000);
    const char *moved = sql_text(at.db, "SELECT nextval('webhook.scrape_clock')");
    cr_expect_eq(test_proc_wait(p, 30000), 0, "%s", test_proc_log(p));
    json_t *end = end_of(test_proc_log(p));
    json_t *fingerprint = json_object_get(json_object_get(end, "proof"), "fingerprint");
    cr_expect_geq(json_integer_value(json_object_get(fingerprint, "scrape_clock")), atol(moved));
    json_decref(end);
}

/* --- waiting, and not being able to ------------------------------------------------------ */

Test(ctl_drain, ends_with_124_at_the_timeout_and_2_when_stuck_or_told_to_end)
{
    const char *out;
    stores();
    redis_text(at.redis, "XADD {hookline}:q:crawl * id a job x");
    sql_exec(at.db, "INSERT INTO webhook.workers (id, host, pid) VALUES ('w', 'h', 1)");
    cr_expect_eq(drain(ARGS("--json", "--timeout", "1500ms"), &out), 124, "%s", out);
    cr_expect(names(out, "crawl", "stream", "a"), "%s", out);
    sql_exec(at.db, "UPDATE webhook.queues SET paused_at = now() WHERE name = 'crawl'");
    cr_expect_eq(drain(ARGS("--json", "--patience", "1"), &out), 2, "%s", out);
    cr_expect(names(out, "crawl", "stream", "hooklinectl resume crawl"), "%s", out);
    sql_exec(at.db, "DELETE FROM webhook.workers");
    cr_expect_eq(drain(ARGS("--json", "--patience", "1"), &out), 2, "%s", out);
    cr_expect(names(out, "crawl", "stream", "no worker lives"), "%s", out);

    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct test_proc *p = start(ARGS("--json"));
        WAIT_FOR(test_proc_logged(p, "\"stuck\""), 20000);
        test_proc_signal(p, signals[i]);
        cr_expect_eq(test_proc_wait(p, 10000), 2, "%s", test_proc_log(p));
        cr_expect(names(test_proc_log(p), "crawl", "stream", "a"), "%s", test_proc_log(p));
        cr_expect(test_proc_logged(p, "\"interrupted\""));
    }
}

/* A hang must not keep a preStop hook beyond its time. */
Test(ctl_drain, a_store_that_hangs_is_not_waited_for_beyond_the_timeout)
{
    stores();
    struct test_pg *pg = test_pg_start();
    at.db = test_pg_url(pg);
    sql_exec(at.db, "INSERT INTO webhook.workers (id, host, pid) VALUES ('w', 'h', 1)");
    redis_text(at.redis, "XADD {hookline}:q:crawl * id a job x");
    for (int i = 0; i < 2; i++) {
        int64_t began_ms = clock_mono_ms();
        struct test_proc *p = start(ARGS("--json", "--timeout", "3", "--patience", "60"));
        WAIT_FOR(test_proc_logged(p, "\"draining\""), 20000);
        if (i)
            test_pg_pause(pg);
        else
            test_redis_pause(at.redis);
        int code = test_proc_wait(p, 30000);
        cr_expect_lt(clock_mono_ms() - began_ms, 5500, "%d", i);
        if (i)
            test_pg_resume(pg);
        else
            test_redis_resume(at.redis);
        cr_expect_eq(code, 69, "%d: %s", i, test_proc_log(p));
        cr_expect(test_proc_logged(p, i ? "PostgreSQL did not answer before the timeout"
                                        : "Redis did not answer before the timeout"),
            "%s", test_proc_log(p));
    }
}

Test(ctl_drain, stores_that_are_away_are_69_and_wrong_usage_is_64)
{
    static const char *const wrong[][4] = {
        {"drain",    "--queue",           "both" },
        {"drain",    "--include-retries", "never"},
        {"drain",    "--settle",          "10ms" },
        {"drain",    "now"              },
        {"drain", "--fence"                   },
        {"drain",     "--include-retries",                        "now"       },
    };
    const char *out;
    stores();
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(drain(wrong[i], &out), 64, "%zu: %s", i, out);
    test_redis_kill(at.redis);
    cr_expect_eq(drain(ARGS("--json"), &out), 69, "%s", out);
    cr_expect_not(says_empty(out));
    test_redis_restart(at.redis);
    at.db = "postgresql://127.0.0.1:1/x";
    cr_expect_eq(drain(ARGS("--timeout", "30"), &out), 69, "%s", out);
}

/* --- the fence --------------------------------------------------------------------------- */

/* One that goes on telling of itself. */
static void put_producer(const char *fenced)
{
    sql_exec(at.db,
        "INSERT INTO webhook.producers (id, host, pid, fenced, seen_at) VALUES"
        " ('p', 'h', 1, '%s', now() + interval '1 min')"
        " ON CONFLICT (id) DO UPDATE SET fenced = excluded.fenced, seen_at = excluded.seen_at",
        fenced);
}

Test(ctl_drain, a_fence_counts_when_every_producer_has_confirmed_it_and_stays)
{
    const char *out;
    stores();
    put_producer("{change}");
    cr_expect_eq(
        drain(ARGS("--fence", "--yes", "--json", "--timeout", "2", "--reason", "why"), &out), 124,
        "%s", out);
    cr_expect(names(out, "crawl", "fence", "has not confirmed"), "%s", out);
    cr_expect_eq(
        sql_int(at.db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL"), 2);
    cr_expect_eq(sql_int(at.db, "SELECT count(*) FROM webhook.operator_log WHERE command = 'drain'"
                                " AND affected = 2 AND outcome = 'timeout' AND reason = 'why'"),
        1);
    put_producer("{crawl,change}");
    cr_expect_eq(drain(ARGS("--fence", "--yes", "--json"), &out), 0, "%s", out);
    json_t *end = end_of(out);
    cr_expect_str_eq(json_get_string(json_object_get(end, "intake"), "crawl"), "fenced");
    cr_expect_eq(json_integer_value(json_object_get(end, "affected")), 0, "it was fenced: %s", out);
    json_decref(end);
    cr_expect_eq(
        sql_int(at.db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL"), 2);

    sql_exec(at.db, "UPDATE webhook.producers SET seen_at = now() - interval '5 s';"
                    "UPDATE webhook.queues SET fenced_at = now()");
    cr_expect_eq(drain(ARGS("--fence", "--yes", "--json", "--timeout", "0"), &out), 2, "%s", out);
    cr_expect(names(out, "change", "fence", "not confirmed"), "of a fence before: %s", out);
    sql_exec(at.db, "DELETE FROM webhook.producers");
    cr_expect_eq(drain(ARGS("--unfence", "--yes", "--timeout", "0"), &out), 0, "%s", out);
    cr_expect_eq(
        sql_int(at.db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL"), 0);
}

Test(ctl_drain, a_dry_run_changes_nothing_not_even_the_log)
{
    const char *out;
    stores();
    sql_exec(at.db, ROW("queued", "next_attempt_at = now() + interval '1 hour'"));
    cr_expect_eq(
        drain(ARGS("--fence", "--include-retries", "now", "--dry-run"), &out), 0, "%s", out);
    cr_expect(strstr(out, "1 later attempts will be made now"), "%s", out);
    cr_expect_eq(
        sql_int(at.db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL"), 0);
    cr_expect_eq(sql_int(at.db, "SELECT count(*) FROM webhook.operator_log"), 0);
    cr_expect_eq(
        sql_int(at.db, "SELECT count(*) FROM webhook.change_events WHERE next_attempt_at > now()"),
        1);
}

/* --- a real fleet ------------------------------------------------------------------------ */

static void rig_as_stores(struct rig *r)
{
    rig_start(r);
    at.db = r->db;
    at.redis = r->redis;
    at.spool = harness_text("%s/spool", harness_dir());
}

/* Posts for as long as the file is there. Sends how many were accepted. */
static pid_t racer(struct rig *r, const char *flag, int result)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int n = 0;
    struct rig_id id;
    for (; access(flag, F_OK) == 0; n++)
        if (!rig_try_post(r, harness_text("/race/%d", n), &id))
            break;
    _exit(write(result, &n, sizeof(n)) == sizeof(n) ? 0 : 1);
}

Test(ctl_drain, a_producer_that_races_is_never_called_empty_while_events_come)
{
    struct rig r;
    int fds[2], n = 0;
    const char *flag = harness_text("%s/racing", harness_dir());
    rig_as_stores(&r);
    rig_fleet(&r, 1, NULL);
    cr_assert_eq(pipe(fds), 0);
    fclose(fopen(flag, "we"));
    racer(&r, flag, fds[1]);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") > 5, 20000);
    struct test_proc *p = start(ARGS("--json"));
    WAIT_FOR(test_proc_logged(p, "\"state\""), 20000);
    for (int i = 0; i < 3; i++) { /* for as long as a proof takes, and longer */
        long before = rig_rows(&r, "rescrape_status = 'completed'");
        WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") > before + 20, 20000);
        cr_expect(test_proc_running(p), "empty amid a race: %s", test_proc_log(p));
    }
    unlink(flag);
    cr_assert_eq(read(fds[0], &n, sizeof(n)), (ssize_t)sizeof(n));
    cr_expect_eq(test_proc_wait(p, 30000), 0, "%s", test_proc_log(p));
    cr_expect(says_empty(test_proc_log(p)));
    cr_expect_eq(rig_rows(&r, "rescrape_status IN ('completed', 'superseded')"), n);
}

Test(ctl_drain, waits_for_a_job_under_way_and_makes_retries_at_once_when_asked)
{
    struct rig r;
    rig_as_stores(&r);
    rig_fleet(&r, 1, RIG_ENV("WEBHOOK_RETRY_BASE=600", "WEBHOOK_RETRY_MAX=600"));
    struct rig_id held = rig_post(&r, "/hold/1");
    WAIT_FOR(rig_status_is(&r, held, "in_progress"), 20000);
    struct test_proc *p = start(ARGS("--json", "--timeout", "60"));
    WAIT_FOR(test_proc_logged(p, "\"draining\""), 20000);
    cr_expect(test_proc_logged(p, held.text), "%s", test_proc_log(p));
    rig_release(&r);
    cr_expect_eq(test_proc_wait(p, 30000), 0, "%s", test_proc_log(p));
    cr_expect(rig_status_is(&r, held, "completed"));

    rig_firecrawl_fails(&r, 503, -1);
    struct rig_id late = rig_post(&r, "/late");
    WAIT_FOR(strcmp(rig_row(&r, late, "rescrape_status, attempts"), "queued|1") == 0, 20000);
    WAIT_FOR(redis_int(r.redis, "ZCARD {hookline}:later") == 1, 20000);
    rig_firecrawl_fails(&r, 0, 0);
    const char *out;
    cr_expect_eq(drain(ARGS("--json", "--timeout", "0"), &out), 2, "%s", out);
    cr_expect_eq(
        drain(ARGS("--json", "--timeout", "40", "--include-retries", "now", "--yes"), &out), 0,
        "%s", out);
    cr_expect(rig_status_is(&r, late, "completed"), "%s", rig_row(&r, late, "rescrape_status"));
    cr_expect_eq(
        sql_int(r.db, "SELECT affected FROM webhook.operator_log WHERE command = 'drain'"), 1);
}

Test(ctl_drain, a_fence_of_real_producers_ends_a_race_and_what_was_accepted_is_done)
{
    struct rig r;
    int fds[2], n = 0;
    struct rig_id id;
    const char *flag = harness_text("%s/racing", harness_dir()), *out;
    rig_as_stores(&r);
    rig_fleet(&r, 1, NULL);
    cr_assert_eq(pipe(fds), 0);
    fclose(fopen(flag, "we"));
    racer(&r, flag, fds[1]);
    WAIT_FOR(rig_rows(&r, "rescrape_status = 'completed'") > 5, 20000);
    cr_expect_eq(drain(ARGS("--json", "--fence", "--yes", "--timeout", "30"), &out), 0, "%s", out);
    cr_assert_eq(read(fds[0], &n, sizeof(n)), (ssize_t)sizeof(n), "the racer was refused");
    cr_expect_eq(rig_rows(&r, "rescrape_status IN ('completed', 'superseded')"), n);
    cr_expect_eq(rig_rows(&r, "true"), n);
    cr_expect_not(rig_try_post(&r, "/late", &id));
    cr_expect_eq(drain(ARGS("--unfence", "--yes", "--timeout", "0"), &out), 0, "%s", out);
    WAIT_FOR(rig_try_post(&r, "/late", &id), 20000);
}

/* --- on a terminal ----------------------------------------------------------------------- */

static int64_t fences(struct rig *r)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.queues WHERE fenced_at IS NOT NULL");
}

static int columns(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

Test(ctl_drain, the_bar_fits_the_terminal_that_it_is_on_whatever_its_size)
{
    static const int widths[] = {40, 12, 3};
    struct rig r;
    rig_as_stores(&r);
    rig_fleet(&r, 1, NULL);
    struct rig_id held = rig_post(&r, "/hold/1");
    WAIT_FOR(rig_status_is(&r, held, "in_progress"), 20000);
    struct terminal *t = terminal_start(
        &r, 100, 5, NULL, "%s drain >%s/proof", rig_program("hooklinectl"), harness_dir());
    WAIT_FOR(terminal_shows(t, "] draining, 0 of 1 done"), 20000);
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        terminal_resize(t, widths[i], 5);
        WAIT_FOR(columns(terminal_line(t, 0)) == widths[i] - 1, 20000);
        cr_expect_not(terminal_overflowed(t), "%d: %s", widths[i], terminal_text(t));
    }
    terminal_resize(t, 60, 5);
    rig_release(&r);
    cr_expect_eq(terminal_wait(t, 30000), 0, "%s", terminal_text(t));
    cr_expect_not(terminal_overflowed(t), "%s", terminal_text(t));
    cr_expect_not(terminal_shows(t, "draining"), "the bar is taken away: %s", terminal_text(t));
}

Test(ctl_drain, a_fence_that_is_to_be_lifted_is_lifted_whatever_ends_the_drain)
{
    static const char *const commands[] = {
        "%s drain --fence --unfence --yes --timeout 2",        /* 124 */
        "%s drain --fence --unfence --yes --patience 1; true", /* stuck */
        "%s drain --fence --unfence --yes --timeout 2 --json 2>&1 | head -c 1",
        "%s drain --fence --unfence --yes",
        "%s drain --fence --unfence",
    };
    struct rig r;
    rig_as_stores(&r);
    redis_text(r.redis, "XADD {hookline}:q:crawl * id a job x");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        long before = sql_int(r.db, "SELECT count(*) FROM webhook.operator_log");
        struct terminal *t =
            terminal_start(&r, 80, 24, NULL, commands[i], rig_program("hooklinectl"));
        if (i == 4) {
            WAIT_FOR(terminal_shows(t, "Go on?"), 20000);
            terminal_type(t, "y\n");
        }
        WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log") == before + 1, 20000);
        if (i == 3) {
            WAIT_FOR(fences(&r) == 2, 20000);
            terminal_hang_up(t);
        } else if (i == 4) {
            WAIT_FOR(fences(&r) == 2, 20000);
            terminal_type(t, "\003");
        }
        WAIT_FOR(sql_int(r.db, "SELECT count(*) FROM webhook.operator_log"
                               " WHERE ended_at IS NULL") == 0,
            20000);
        cr_expect_eq(fences(&r), 0, "%zu", i);
    }
    struct terminal *t = terminal_start(
        &r, 80, 24, NULL, "%s drain --fence; echo code $?", rig_program("hooklinectl"));
    WAIT_FOR(terminal_shows(t, "Go on?"), 20000);
    terminal_type(t, "\n");
    WAIT_FOR(terminal_shows(t, "code 1"), 20000);
    cr_expect(terminal_shows(t, "nothing was changed"), "%s", terminal_text(t));
    cr_expect_eq(fences(&r), 0);
}

Test(ctl_drain, what_others_wrote_commands_no_terminal_and_quiet_is_quiet)
{
    const char *out;
    stores();
    redis_text(at.redis, "XADD {hookline}:q:crawl * id \033[31mred job x");
    sql_exec(at.db, "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES"
                    " ('a.seg', E'far\\033]0;title\\007', '/s', 'h', 100)");
    cr_expect_eq(drain(ARGS("--timeout", "0"), &out), 2, "%s", out);
    cr_expect(strstr(out, "[31mred") && strstr(out, "title"), "%s", out);
    cr_expect_not(strpbrk(out, "\033\007"), "%s", out);
    cr_expect_eq(drain(ARGS("--quiet", "--json", "--timeout", "1"), &out), 124, "%s", out);
    cr_expect_eq(strncmp(out, "{\"version\":1,\"state\":\"timeout\"", 29), 0, "%s", out);
}
