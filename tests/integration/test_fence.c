/* Producers as an operator finds them in webhook.producers, and what they make of a fence: nothing of
 * that queue is let in, and the row says so only when nothing let in before is under way. What a disk
 * has of either queue stands in webhook.spools. */
#include "base/mem.h"
#include "tests/support/fleet.h"
#include "tests/support/store_bench.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SOON = 20000,
    REDIS_MS = 2000, /* the producer's patience with a command */
    TAKEN = 200,     /* Firecrawl's answer */
};

#define FENCE(what)  "UPDATE webhook.queues SET fenced_at = now() WHERE name = '" what "'"
#define OPEN(what)   "UPDATE webhook.queues SET fenced_at = NULL WHERE name = '" what "'"
#define FENCED(what) "'" what "' = ANY (fenced)"
#define REFUSED      "{\"detail\":\"Intake is fenced by an operator; try again later\"}"

TestSuite(fence, .timeout = 120);

static long producers(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.producers WHERE %s", where);
}

static long spools(struct rig *r, const char *where)
{
    return sql_int(r->db, "SELECT count(*) FROM webhook.spools WHERE %s", where);
}

static struct test_reply post_change(struct rig *r, const char *path)
{
    const char *body = harness_text("{\"watch_id\":\"w\",\"watch_url\":\"%s%s\",\"detected_at\":"
                                    "\"2026-11-23T10:00:00Z\"}",
        RIG_SITE, path);
    return test_http(r->producer_port, "POST", "/api/webhook/changedetection",
        "Content-Type: application/json\r\nAuthorization: Bearer " RIG_TOKEN "\r\n", body,
        strlen(body));
}

static struct test_reply post_crawl(struct rig *r, const char *id)
{
    const char *body =
        harness_text("{\"success\":true,\"type\":\"crawl.started\",\"id\":\"%s\",\"data\":[]}", id);
    const char *headers =
        harness_text("Content-Type: application/json\r\nX-Firecrawl-Signature: sha256=%s\r\n",
            test_sign(RIG_SECRET, body, strlen(body)));
    return test_http(
        r->producer_port, "POST", "/api/webhook/firecrawl", headers, body, strlen(body));
}

static void expect_refused(const struct test_reply *reply)
{
    cr_expect_eq(reply->status, 503);
    cr_expect_str_eq(reply->body, REFUSED);
    const char *after = test_reply_header(reply, "Retry-After");
    cr_expect(after && strcmp(after, "30") == 0, "%s", reply->headers);
}

static void start_producer(struct rig *r)
{
    int fd = harness_listen(&r->producer_port);
    r->producer = rig_start_program(
        r, (const char *const[]){rig_program("hookline-producer"), NULL}, NULL, fd);
    close(fd);
}

Test(fence, a_fenced_queue_takes_nothing_in_and_the_other_goes_on)
{
    struct rig r;
    rig_start(&r);
    WAIT_FOR(producers(&r, "fenced = '{}'") >= 1, SOON);
    cr_expect_eq(post_change(&r, "/before").status, 202);

    sql_exec(r.db, FENCE("change"));
    WAIT_FOR(producers(&r, "NOT " FENCED("change")) == 0, SOON);
    struct test_reply reply = post_change(&r, "/fenced");
    expect_refused(&reply);
    cr_expect_eq(post_crawl(&r, "crawl-1").status, TAKEN);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:rejects") == 1, SOON);
    cr_expect_eq(producers(&r, FENCED("crawl")), 0);

    sql_exec(r.db, OPEN("change") ";" FENCE("crawl"));
    WAIT_FOR(producers(&r, FENCED("change") " OR NOT " FENCED("crawl")) == 0, SOON);
    cr_expect_eq(post_change(&r, "/after").status, 202);
    reply = post_crawl(&r, "crawl-2");
    expect_refused(&reply);
    cr_expect_eq(rig_rows(&r, "watch_url LIKE '%/fenced'"), 0);
    cr_expect_eq(rig_rows(&r, "true"), 2);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:rejects") == 2, SOON);
}

Test(fence, who_may_not_post_is_told_so_and_not_of_the_fence)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, FENCE("change"));
    WAIT_FOR(producers(&r, "NOT " FENCED("change")) == 0, SOON);
    struct test_reply reply =
        test_http(r.producer_port, "POST", "/api/webhook/changedetection", NULL, "{}", 2);
    cr_expect_eq(reply.status, 401);
}

/* Its client has its answer from the spool, while Redis may still take the same event. */
Test(fence, it_is_acknowledged_only_when_nothing_let_in_before_is_under_way)
{
    struct rig r;
    rig_start(&r);
    cr_expect_eq(post_crawl(&r, "crawl-1").status, TAKEN);
    test_redis_pause(r.redis);
    int64_t began = harness_now_ms();
    cr_expect_eq(post_crawl(&r, "crawl-2").status, TAKEN);
    sql_exec(r.db, FENCE("crawl"));
    WAIT_FOR(producers(&r, FENCED("crawl")) >= 1, SOON);
    cr_expect_geq(harness_now_ms() - began, REDIS_MS - 100);
    struct test_reply reply = post_crawl(&r, "crawl-3");
    expect_refused(&reply);
    test_redis_resume(r.redis);
}

/* The fence falls when a starting producer has looked, and has no row yet that it could be waited for by. */
Test(fence, a_producer_opens_when_it_has_heard_its_orders_behind_its_row)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db,
        "CREATE FUNCTION webhook.put_fence() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE webhook.queues SET fenced_at = now() WHERE name = 'change'; RETURN new; END $$;"
        "CREATE TRIGGER put_fence BEFORE INSERT ON webhook.producers"
        " FOR EACH ROW EXECUTE FUNCTION webhook.put_fence()");
    start_producer(&r);
    struct test_reply reply;
    WAIT_FOR((reply = post_change(&r, "/early")).status != 0, SOON);
    expect_refused(&reply);
    cr_expect_eq(rig_rows(&r, "true"), 0);
}

/* Who fences it again would go by the row. */
Test(fence, a_queue_opens_only_when_the_row_says_its_fence_is_noted_no_more)
{
    struct rig r;
    rig_start(&r);
    sql_exec(r.db, FENCE("change"));
    WAIT_FOR(producers(&r, "true") >= 1, SOON);
    WAIT_FOR(producers(&r, "NOT " FENCED("change")) == 0, SOON);
    sql_exec(r.db,
        "CREATE FUNCTION webhook.tell_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(0.7); RETURN new; END $$;"
        "CREATE TRIGGER tell_late BEFORE UPDATE ON webhook.producers FOR EACH ROW"
        " WHEN (old.fenced <> new.fenced) EXECUTE FUNCTION webhook.tell_late();" OPEN("change"));
    WAIT_FOR(post_change(&r, "/open").status == 202, SOON);
    cr_expect_eq(producers(&r, FENCED("change")), 0);
}

/* Sends it again and again, until it is killed. */
static pid_t insist(struct rig *r, const char *headers, const char *body, size_t len)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        test_http(r->producer_port, "POST", "/api/webhook/firecrawl", headers, body, len);
}

Test(fence, it_is_acknowledged_while_large_events_are_read_only_to_be_refused)
{
    enum { LARGE = 4 << 20, SENDERS = 4 };
    struct rig r;
    pid_t senders[SENDERS];
    rig_start(&r);
    char *body = mem_alloc(LARGE + 256);
    int len = sprintf(body, "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c\",\"data\":[],"
                            "\"metadata\":{\"note\":\"");
    memset(body + len, 'x', LARGE);
    len += LARGE;
    len += sprintf(body + len, "\"}}");
    const char *headers =
        harness_text("Content-Type: application/json\r\nX-Firecrawl-Signature: sha256=%s\r\n",
            test_sign(RIG_SECRET, body, (size_t)len));
    for (int i = 0; i < SENDERS; i++)
        senders[i] = insist(&r, headers, body, (size_t)len);
    WAIT_FOR(redis_int(r.redis, "XLEN {hookline}:q:crawl") > 0, SOON);
    sql_exec(r.db, FENCE("crawl"));
    WAIT_FOR(producers(&r, "NOT " FENCED("crawl")) == 0, SOON);
    long taken = redis_int(r.redis, "XLEN {hookline}:q:crawl");
    WAIT_FOR(producers(&r, "(status->>'refused')::int > 8") >= 1, SOON);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:crawl"), taken);
    for (int i = 0; i < SENDERS; i++)
        kill(senders[i], SIGKILL);
    free(body);
}

Test(fence, what_comes_while_a_producer_starts_is_not_let_in_either)
{
    struct rig r;
    pid_t children[64];
    rig_start(&r);
    sql_exec(r.db, FENCE("change"));
    WAIT_FOR(producers(&r, "NOT " FENCED("change")) == 0, SOON);
    int n = harness_children(test_proc_pid(r.producer), NULL, children, 64);
    for (int i = 0; i < n; i++)
        kill(children[i], SIGKILL);
    int refused = 0;
    for (int64_t end = harness_now_ms() + SOON; refused < 10 && harness_now_ms() < end;) {
        int status = post_change(&r, "/soon").status;
        cr_assert_neq(status, 202);
        refused += status == 503;
    }
    cr_expect_eq(refused, 10);
    cr_expect_eq(rig_rows(&r, "true"), 0);
}

Test(fence, without_postgresql_the_door_opens_and_the_last_word_of_a_fence_stays)
{
    struct rig r;
    rig_start_own_pg(&r);
    sql_exec(r.db, FENCE("crawl"));
    WAIT_FOR(producers(&r, "NOT " FENCED("crawl")) == 0, SOON);
    test_pg_kill(r.pg);
    struct test_reply reply = post_crawl(&r, "crawl-1");
    expect_refused(&reply);
    cr_expect_eq(post_change(&r, "/spooled").status, 202);
    start_producer(&r); /* a further one */
    WAIT_FOR(post_change(&r, "/spooled/too").status == 202, SOON);
}

/* --- the spools -------------------------------------------------------------------------- */

Test(fence, what_a_dead_producer_has_left_on_disk_is_brought_home_behind_the_fence)
{
    struct rig r;
    rig_start_own_pg(&r);
    test_pg_kill(r.pg);
    cr_assert_eq(post_change(&r, "/spooled").status, 202);
    test_proc_kill(r.producer);
    test_pg_restart(r.pg);
    sql_exec(r.db, FENCE("change"));
    start_producer(&r);
    WAIT_FOR(rig_rows(&r, "watch_url LIKE '%/spooled'") == 1, SOON);
    WAIT_FOR(spools(&r, "true") == 0, SOON);
    struct test_reply reply = post_change(&r, "/late");
    expect_refused(&reply);
}

Test(fence, crawl_events_on_a_disk_stand_in_the_list_of_spools_until_redis_has_them)
{
    struct rig r;
    rig_start(&r);
    test_redis_kill(r.redis);
    cr_assert_eq(post_crawl(&r, "crawl-1").status, TAKEN);
    WAIT_FOR(spools(&r, "segment LIKE '%.crawl' AND bytes > 0") == 1, SOON);
    cr_expect_eq(spools(&r, "segment LIKE '%.seg'"), 0);
    test_redis_restart(r.redis);
    WAIT_FOR(spools(&r, "true") == 0, SOON);
    cr_expect_eq(redis_int(r.redis, "XLEN {hookline}:q:crawl"), 1);
}

/* --- coming and going -------------------------------------------------------------------- */

Test(fence, a_producer_tells_what_it_took_and_takes_its_leave)
{
    struct rig r;
    rig_start(&r);
    cr_expect_eq(post_change(&r, "/ok").status, 202);
    test_http(r.producer_port, "POST", "/api/webhook/changedetection", NULL, "{}", 2);
    WAIT_FOR(producers(&r, "status->>'accepted' = '1' AND status->>'refused' = '1'"
                           " AND status->>'spool_bytes' = '0' AND pid > 1") == 1,
        SOON);
    test_proc_signal(r.producer, SIGTERM);
    cr_expect_eq(test_proc_wait(r.producer, SOON), 0);
    cr_expect_eq(producers(&r, "true"), 0);
}

Test(fence, the_row_of_a_killed_producer_goes_when_a_neighbour_has_had_time_to_take_over)
{
    struct rig r;
    pid_t children[64];
    rig_start(&r);
    WAIT_FOR(producers(&r, "true") >= 1, SOON);
    long all = producers(&r, "true");
    int n = harness_children(test_proc_pid(r.producer), NULL, children, 64);
    cr_assert_geq(n, 1);
    kill(children[0], SIGKILL);
    WAIT_FOR(producers(&r, "true") == all + 1, SOON);
    const char *gone = harness_text("pid = %d", (int)children[0]);
    cr_expect_eq(producers(&r, gone), 1);
    WAIT_FOR(producers(&r, gone) == 0, 60000);
    cr_expect_eq(producers(&r, "true"), all);
}

/* Where the first process of a container waits for no orphans. */
Test(fence, the_row_of_an_ended_producer_goes_though_nobody_waited_for_the_process)
{
    struct rig r;
    siginfo_t ended;
    rig_start(&r);
    WAIT_FOR(producers(&r, "true") >= 1, SOON);
    pid_t zombie = fork();
    if (zombie == 0)
        _exit(0);
    cr_assert_eq(waitid(P_PID, (id_t)zombie, &ended, WEXITED | WNOWAIT), 0);
    sql_exec(r.db,
        "INSERT INTO webhook.producers (id, host, pid, fenced, status)"
        " SELECT 'zombie', host, %d, fenced, status FROM webhook.producers LIMIT 1",
        (int)zombie);
    WAIT_FOR(producers(&r, "id = 'zombie'") == 0, 60000);
    cr_expect_eq(waitpid(zombie, NULL, 0), zombie);
}

/* --- the list ---------------------------------------------------------------------------- */

TestSuite(fence_store, .init = bench_start, .fini = bench_stop, .timeout = 60);

Test(fence_store, the_list_of_spools_has_segments_of_both_queues)
{
    struct store *s = bench_store(NULL);
    struct bench_rows r;
    store_spool_note(s, "host-1-abc.crawl", "host", "/spool", "host-1", 10, NULL, NULL);
    store_spool_note(s, "host-1-abc.seg", "host", "/spool", "host-1", 20, NULL, NULL);
    BENCH_UNTIL(bench_count("webhook.spools") == 2);
    BENCH_ASK(r, store_list_spools(s, BENCH_CB(r)));
    cr_assert_eq(bench_nrows(&r), 2);
    cr_expect_str_eq(bench_cell(&r, 0, 0), "host-1-abc.crawl");
    cr_expect_str_eq(bench_cell(&r, 1, 0), "host-1-abc.seg");
}
