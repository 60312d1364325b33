/* queue_census against a real Redis: whatever either queue holds, wherever it is, is counted and named. */
#include "domain/queue_census.h"

#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define P "{t}:"

static struct loop *loop;
static struct offload *offload;
static struct redis *redis;
static struct queue *change, *crawl;
static struct test_redis *server;

static void start(void)
{
    struct hl_err err;
    server = test_redis_start();
    const struct redis_conf conf = {.url = test_redis_url(server),
        .client_name = "census-test",
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 10000,
        .max_pending = 100};
    loop = loop_new(&err);
    offload = offload_new(loop, &err);
    redis = redis_new(loop, offload, &conf, &err);
    cr_assert(redis);
    change = queue_new(loop, redis, "t", QUEUE_CHANGE, NULL);
    crawl = queue_new(loop, redis, "t", QUEUE_CRAWL, NULL);
}

static void stop(void)
{
    redis_free(redis);
    queue_free(change);
    queue_free(crawl);
    offload_free(offload);
    loop_free(loop);
    test_redis_free(server);
}

TestSuite(queue_census, .init = start, .fini = stop, .timeout = 60);

/* --- asking ------------------------------------------------------------------------------ */

/* What the tests look at, of one queue; ids joined by blanks. */
struct seen {
    enum hl_rc rc;
    struct queue_tallies all;
    const char *generation;
    struct {
        const char *last, *first, *waiting, *delivered, *later, *orphans;
    } ids[2];
};

static const char *joined(const struct queue_ids *ids)
{
    const char *text = "";
    for (size_t i = 0; i < ids->n; i++)
        text = harness_text("%s%s%s", text, i ? " " : "", ids->texts[i]);
    return text;
}

static void saw(enum hl_rc rc, const struct queue_tallies *t, const struct hl_err *err, void *ctx)
{
    struct seen *s = ctx;
    cr_assert(t || rc != HL_OK, "%s", err->msg);
    s->rc = rc;
    for (int i = 0; t && i < 2; i++) {
        const struct queue_tally *q = &t->queues[i];
        s->all = *t;
        s->generation = harness_text("%s", t->generation);
        s->ids[i].last = harness_text("%s", q->last_id);
        s->ids[i].first = harness_text("%s", q->first_id);
        s->ids[i].waiting = joined(&q->waiting);
        s->ids[i].delivered = joined(&q->delivered);
        s->ids[i].later = joined(&q->later_ids);
        s->ids[i].orphans = joined(&q->later_orphans);
    }
    loop_stop(loop);
}

static struct seen look(void)
{
    struct seen s = {0};
    queue_tally(change, crawl, saw, &s);
    loop_run(loop);
    return s;
}

static int64_t moved_n;
static bool moved_left;
static void moved(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    (void)ctx;
    cr_assert_eq(rc, HL_OK);
    moved_n = n;
    moved_left = left;
    loop_stop(loop);
}

/* --- tests ------------------------------------------------------------------------------- */

static int64_t held_by(const struct queue_tally *q)
{
    return q->length + q->pending + q->later + q->later_jobs;
}

Test(queue_census, a_redis_that_was_never_used_holds_nothing_and_has_no_generation)
{
    struct seen s = look();
    cr_assert_eq(s.rc, HL_OK);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(held_by(&s.all.queues[i]), 0);
        cr_expect_not(s.all.queues[i].group);
        cr_expect_eq(s.all.queues[i].next_due_ms, -1);
        cr_expect_str_eq(s.ids[i].last, "");
    }
    cr_expect_str_eq(s.generation, "");
    cr_expect_eq(strlen(s.all.run_id), 40);
    cr_expect_gt(s.all.at_ms, INT64_C(1600000000000));
}

Test(queue_census, each_place_of_each_queue_is_counted_and_named)
{
    static const struct {
        const char *stream, *later, *jobs;
    } keys[2] = {
        {P "q:change", P "later",       P "later:jobs"      },
        {P "q:crawl",  P "later:crawl", P "later:crawl:jobs"},
    };
    for (int i = 0; i < 2; i++) {
        redis_text(server, "FLUSHALL");
        redis_text(server, "XGROUP CREATE %s workers 0 MKSTREAM", keys[i].stream);
        redis_text(server, "XADD %s 1-1 id given job x", keys[i].stream);
        redis_text(server, "XADD %s 2-1 id waits job x", keys[i].stream);
        redis_text(server, "XREADGROUP GROUP workers w COUNT 1 STREAMS %s >", keys[i].stream);
        redis_text(server, "ZADD %s 1000 due 99999999999999 late", keys[i].later);
        redis_text(server, "HSET %s late x lost x", keys[i].jobs);
        struct seen s = look();
        const struct queue_tally *q = &s.all.queues[i];
        cr_expect_eq(q->length, 2);
        cr_expect_eq(q->pending, 1);
        cr_expect_eq(q->added, 2);
        cr_expect(q->group);
        cr_expect_eq(q->later, 2);
        cr_expect_eq(q->later_due, 1);
        cr_expect_eq(q->later_jobs, 2);
        cr_expect_eq(q->next_due_ms, 1000);
        cr_expect_str_eq(s.ids[i].last, "2-1");
        cr_expect_str_eq(s.ids[i].first, "1-1");
        cr_expect_str_eq(s.ids[i].waiting, "waits");
        cr_expect_str_eq(s.ids[i].delivered, "given");
        cr_expect_str_eq(s.ids[i].later, "due late");
        cr_expect_str_eq(s.ids[i].orphans, "lost");
        cr_expect_eq(held_by(&s.all.queues[1 - i]), 0, "the other queue holds nothing");
    }
}

Test(queue_census, pending_entries_that_were_deleted_are_still_pending)
{
    redis_text(server, "XGROUP CREATE " P "q:change workers 0 MKSTREAM");
    redis_text(server, "XADD " P "q:change 5-1 id a job x");
    redis_text(server, "XREADGROUP GROUP workers w COUNT 1 STREAMS " P "q:change >");
    redis_text(server, "XDEL " P "q:change 5-1");
    struct seen s = look();
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].length, 0);
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].pending, 1);
    cr_expect_str_eq(s.ids[QUEUE_CHANGE].delivered, "5-1");
}

Test(queue_census, without_a_group_all_entries_wait_and_nameless_ones_go_by_their_place)
{
    redis_text(server, "XADD " P "q:crawl 7-1 x y");
    struct seen s = look();
    cr_expect_eq(s.all.queues[QUEUE_CRAWL].length, 1);
    cr_expect_not(s.all.queues[QUEUE_CRAWL].group);
    cr_expect_str_eq(s.ids[QUEUE_CRAWL].waiting, "7-1");
}

Test(queue_census, dead_letters_generation_and_what_once_passed_are_told)
{
    redis_text(server, "XADD " P "dead * id a reason r job x");
    redis_text(server, "SET " P "generation g-1");
    redis_text(server, "XADD " P "q:change 9-1 id a job x");
    redis_text(server, "XDEL " P "q:change 9-1");
    struct seen s = look();
    cr_expect_eq(s.all.dead, 1);
    cr_expect_str_eq(s.generation, "g-1");
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].length, 0);
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].added, 1);
    cr_expect_str_eq(s.ids[QUEUE_CHANGE].last, "9-1");
}

Test(queue_census, no_more_ids_than_it_takes_are_named_but_all_are_counted)
{
    for (int i = 0; i < 50; i++)
        redis_text(server, "XADD " P "q:change * id n%d job x", i);
    struct seen s = look();
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].length, 50);
    cr_expect(strstr(s.ids[QUEUE_CHANGE].waiting, "n19"));
    cr_expect_not(strstr(s.ids[QUEUE_CHANGE].waiting, "n20"));
}

Test(queue_census, a_key_of_another_kind_is_an_error_and_no_empty_queue)
{
    redis_text(server, "SET " P "later:crawl x");
    struct seen s = look();
    cr_expect_eq(s.rc, HL_FATAL);
}

Test(queue_census, hastened_jobs_are_due_now_and_stay_where_they_are)
{
    redis_text(server, "ZADD " P "later 1000 a 99999999999998 b 99999999999999 c");
    redis_text(server, "HSET " P "later:jobs a x b x c x");
    queue_hasten(change, 1, moved, NULL);
    loop_run(loop);
    cr_expect_eq(moved_n, 1);
    cr_expect(moved_left);
    queue_hasten(change, 10, moved, NULL);
    loop_run(loop);
    cr_expect_eq(moved_n, 1);
    cr_expect_not(moved_left);
    struct seen s = look();
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].later, 3);
    cr_expect_eq(s.all.queues[QUEUE_CHANGE].later_due, 3);
    cr_expect_str_eq(redis_text(server, "ZSCORE " P "later a"), "1000");
}
