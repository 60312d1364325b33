/* The crawl queue against a real Redis: what a publish tells, where a job and its bytes are after
 * each operation, that nothing is left of what is done, and that readers who die are counted. */
#include "domain/queue.h"

#include "base/buf.h"
#include "base/mem.h"
#include "domain/queue_look.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 20000, TICK_MS = 5, BESIDE = 65536, MAX_READ = 300 };

#define STREAM "{t:x}:q:crawl"
#define LATER  "{t:x}:later:crawl"
#define JOBS   "{t:x}:later:crawl:jobs"
#define DEAD   "{t:x}:dead"
#define MARKER "{t:x}:job:"
#define BLOB   "{t:x}:blob:"
#define DAY_MS 86400000

static struct loop *loop;
static struct offload *offload;
static struct test_redis *server;
static struct timer tick;

struct worker {
    struct redis *redis, *reader;
    struct queue *queue;
};
static struct worker a, b;

static void on_tick(void *ctx)
{
    (void)ctx;
    timer_start(&tick, TICK_MS);
    loop_stop(loop);
}

#define RUN_UNTIL(cond)                                                                            \
    do {                                                                                           \
        int64_t end_ = harness_now_ms() + PATIENCE_MS;                                             \
        while (!(cond)) {                                                                          \
            cr_assert_lt(                                                                          \
                harness_now_ms(), end_, "line %d: waited in vain for %s", __LINE__, #cond);        \
            loop_run(loop);                                                                        \
        }                                                                                          \
    } while (0)

static struct redis *dial(void)
{
    const struct redis_conf conf = {.url = test_redis_url(server),
        .client_name = "queue-test",
        .connect_timeout_ms = 5000,
        .command_timeout_ms = 10000,
        .max_pending = 10000};
    struct hl_err err = {0};
    struct redis *r = redis_new(loop, offload, &conf, &err);
    cr_assert(r, "%s", err.msg);
    return r;
}

static bool group_is_there(void)
{
    return redis_int(server, "EXISTS " STREAM) && *redis_text(server, "XINFO GROUPS " STREAM);
}

static void worker_start(struct worker *w, const char *consumer)
{
    w->redis = dial();
    w->reader = dial();
    w->queue = queue_new(loop, w->redis, "t:x", QUEUE_CRAWL, consumer);
    RUN_UNTIL(redis_up(w->redis) && redis_up(w->reader) && group_is_there());
}

static void worker_stop(struct worker *w)
{
    redis_free(w->reader);
    redis_free(w->redis);
    queue_free(w->queue);
    *w = (struct worker){0};
}

static void start(void)
{
    struct hl_err err;
    server = test_redis_start();
    loop = loop_new(&err);
    offload = loop ? offload_new(loop, &err) : NULL;
    cr_assert(offload, "%s", err.msg);
    timer_init(loop, &tick, on_tick, NULL);
    timer_start(&tick, TICK_MS);
    worker_start(&a, "a");
}

static void stop(void)
{
    worker_stop(&a);
    worker_stop(&b);
    offload_free(offload);
    timer_stop(&tick);
    loop_free(loop);
    test_redis_free(server);
}

TestSuite(queue_crawl, .init = start, .fini = stop, .timeout = 90);

/* --- jobs: any bytes --------------------------------------------------------------------- */

struct job {
    struct uuid id;
    uint8_t digest[DIGEST_LEN];
    char *bytes;
    size_t len;
};

static struct job job_of(size_t len)
{
    struct job j = {.id = uuid_v4(), .len = len, .bytes = harness_hold(mem_alloc(len + 1))};
    for (size_t i = 0; i < len; i++)
        j.bytes[i] = (char)(i * 31 + j.id.b[15]); /* NUL and line ends among them */
    digest_sha256(j.bytes, j.len, j.digest);
    return j;
}

static const char *id_of(const struct job *j)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&j->id, id);
    return harness_text("%s", id);
}

static const char *marker(const struct job *j)
{
    return redis_text(server, "GET " MARKER "%s", id_of(j));
}

static const char *hex(const struct job *j)
{
    char text[DIGEST_HEXLEN + 1];
    digest_hex(j->digest, DIGEST_LEN, text);
    return harness_text("%s", text);
}

static bool has_blob(const struct job *j)
{
    return redis_int(server, "EXISTS " BLOB "%s", id_of(j)) == 1;
}

/* --- operations -------------------------------------------------------------------------- */

struct got {
    int calls;
    enum hl_rc rc;
    struct hl_err err;
};

static void done(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct got *g = req->ctx;
    cr_assert_eq(err == NULL, rc == HL_OK);
    g->calls++;
    g->rc = rc;
    if (err)
        g->err = *err;
}

static struct queue_req request(const struct job *j, const char *entry, struct got *g)
{
    struct queue_req r = {.id = j->id, .done = done, .ctx = g};
    snprintf(r.entry, sizeof(r.entry), "%s", entry);
    *g = (struct got){0};
    return r;
}

static struct queue_req publication(const struct job *j, struct got *g)
{
    struct queue_req r = request(j, "", g);
    r.job = j->bytes;
    r.len = j->len;
    r.digest = j->digest;
    return r;
}

static void do_req(struct worker *w, enum queue_op op, struct queue_req *r)
{
    struct got *g = r->ctx;
    queue_do(w->queue, op, r);
    cr_assert_eq(g->calls, 0, "a callback ran inside the call that armed it");
    RUN_UNTIL(g->calls);
    cr_assert_eq(g->rc, HL_OK, "%s", g->err.msg);
}

static enum queue_seen publish(const struct job *j)
{
    struct got g;
    struct queue_req r = publication(j, &g);
    do_req(&a, QUEUE_PUBLISH, &r);
    return r.was;
}

static void requeue(struct worker *w, const struct job *j, const char *entry, int64_t delay)
{
    struct got g;
    struct queue_req r = request(j, entry, &g);
    r.delay_ms = delay;
    do_req(w, QUEUE_REQUEUE, &r);
}

static void ack(struct worker *w, const struct job *j, const char *entry)
{
    struct got g;
    struct queue_req r = request(j, entry, &g);
    do_req(w, QUEUE_ACK, &r);
}

static void bury(struct worker *w, const struct job *j, const char *entry, const char *reason)
{
    struct got g;
    struct queue_req r = request(j, entry, &g);
    r.reason = reason;
    do_req(w, QUEUE_BURY, &r);
}

struct moved {
    int calls;
    enum hl_rc rc;
    int64_t n;
    bool left;
};

static void note_moved(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    struct moved *m = ctx;
    *m = (struct moved){m->calls + 1, rc, n, left};
}

static int64_t takeover(const char *consumer, bool died)
{
    struct moved m = {0};
    queue_takeover(a.queue, consumer, died, 100, note_moved, &m);
    RUN_UNTIL(m.calls);
    cr_assert_eq(m.rc, HL_OK);
    return m.n;
}

static int64_t promote(void)
{
    struct moved m = {0};
    queue_promote(a.queue, 100, note_moved, &m);
    RUN_UNTIL(m.calls);
    cr_assert_eq(m.rc, HL_OK);
    return m.n;
}

/* --- reading ----------------------------------------------------------------------------- */

struct seen {
    char entry[QUEUE_ENTRY_MAX], id[UUID_STRLEN + 1];
    char *bytes; /* NULL: beside */
    size_t len;
    int64_t starts;
};
static struct {
    int calls, n;
    enum hl_rc rc;
    struct seen seen[MAX_READ];
} batch;

static void note_entries(
    const struct queue_entry *entries, size_t n, enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    (void)ctx;
    cr_assert_eq(err == NULL, rc == HL_OK);
    batch.calls = 1;
    batch.rc = rc;
    batch.n = (int)n;
    for (size_t i = 0; i < n; i++) {
        struct seen *s = &batch.seen[i];
        *s = (struct seen){.len = entries[i].len, .starts = entries[i].starts};
        snprintf(s->entry, sizeof(s->entry), "%s", entries[i].entry);
        snprintf(s->id, sizeof(s->id), "%s", entries[i].id);
        if (!entries[i].job)
            continue;
        s->bytes = harness_hold(mem_alloc(s->len + 1));
        memcpy(s->bytes, entries[i].job, s->len);
    }
}

static int read_some(struct worker *w, const char *after)
{
    batch.calls = 0;
    queue_read(w->queue, w->reader, after, MAX_READ, after ? 0 : 50, note_entries, NULL);
    RUN_UNTIL(batch.calls);
    cr_assert_eq(batch.rc, HL_OK);
    return batch.n;
}

/* The one entry that waits. */
static struct seen take(struct worker *w, const struct job *j)
{
    cr_assert_eq(read_some(w, NULL), 1, "%d entries", batch.n);
    cr_assert_str_eq(batch.seen[0].id, id_of(j));
    return batch.seen[0];
}

static struct {
    int calls;
    enum hl_rc rc;
    char *bytes;
    size_t len;
} got_blob;

static void note_blob(
    enum hl_rc rc, const void *job, size_t len, const struct hl_err *err, void *ctx)
{
    (void)ctx;
    cr_assert_eq(err == NULL, rc == HL_OK);
    got_blob.calls++;
    got_blob.rc = rc;
    got_blob.len = len;
    got_blob.bytes = job ? harness_hold(mem_alloc(len + 1)) : NULL;
    if (job)
        memcpy(got_blob.bytes, job, len);
}

static void expect_fetched(int line, const struct job *j)
{
    memset(&got_blob, 0, sizeof(got_blob));
    queue_fetch(a.queue, id_of(j), note_blob, NULL);
    RUN_UNTIL(got_blob.calls);
    cr_assert_eq(got_blob.rc, HL_OK);
    cr_assert(got_blob.bytes, "line %d: it is gone", line);
    cr_expect_eq(got_blob.len, j->len, "line %d", line);
    cr_expect(memcmp(got_blob.bytes, j->bytes, j->len) == 0, "line %d: other bytes", line);
}
#define EXPECT_FETCHED(j) expect_fetched(__LINE__, j)

static void expect_bytes(int line, const struct seen *s, const struct job *j)
{
    cr_assert(s->bytes, "line %d", line);
    cr_expect_eq(s->len, j->len, "line %d: %zu bytes", line, s->len);
    cr_expect(memcmp(s->bytes, j->bytes, j->len) == 0, "line %d: other bytes", line);
}
#define EXPECT_BYTES(s, j) expect_bytes(__LINE__, s, j)

/* --- the whole picture ------------------------------------------------------------------- */

struct stats_got {
    int calls;
    struct queue_stats s;
};

static void note_stats(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct stats_got *g = ctx;
    (void)err;
    cr_assert_eq(rc, HL_OK);
    *g = (struct stats_got){1, *s};
}

static void expect_stats(int line, struct queue_stats want)
{
    struct stats_got g = {0};
    queue_stats(a.queue, note_stats, &g);
    RUN_UNTIL(g.calls);
    cr_expect(g.s.length == want.length && g.s.pending == want.pending && g.s.later == want.later &&
                  g.s.dead == want.dead,
        "line %d: length %lld pending %lld later %lld dead %lld", line, (long long)g.s.length,
        (long long)g.s.pending, (long long)g.s.later, (long long)g.s.dead);
}
#define EXPECT_STATS(...) expect_stats(__LINE__, (struct queue_stats){__VA_ARGS__})

static void expect_marked(int line, const struct job *j, const char *place)
{
    const char *want = harness_text("%s %s", place, hex(j));
    cr_expect_str_eq(marker(j), want, "line %d: %s", line, marker(j));
}
#define EXPECT_MARKED(j, ...) expect_marked(__LINE__, j, harness_text(__VA_ARGS__))

/* Nothing of it is there but the tombstone. */
static void expect_done(int line, const struct job *j)
{
    cr_expect_str_eq(marker(j), harness_text("done %s", hex(j)), "line %d: %s", line, marker(j));
    long left = redis_int(server, "PTTL " MARKER "%s", id_of(j));
    cr_expect(left > DAY_MS - 60000 && left <= DAY_MS, "line %d: %ld ms", line, left);
    cr_expect_str_eq(redis_text(server, "KEYS *%s*", id_of(j)), harness_text(MARKER "%s", id_of(j)),
        "line %d", line);
    cr_expect_eq(redis_int(server, "EXISTS " JOBS " " LATER), 0, "line %d", line);
}
#define EXPECT_DONE(j) expect_done(__LINE__, j)

static const size_t sizes[] = {1, BESIDE, BESIDE + 1, 300000};
#define EACH_SIZE(i) for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)

/* --- publishing -------------------------------------------------------------------------- */

Test(queue_crawl, a_job_comes_as_it_was_published_and_nothing_is_left_of_it_when_it_is_done)
{
    EACH_SIZE(i)
    {
        struct job j = job_of(sizes[i]);
        bool beside = sizes[i] > BESIDE;
        cr_expect_eq(publish(&j), QUEUE_NEW);
        cr_expect_eq(has_blob(&j), beside);
        struct seen s = take(&a, &j);
        EXPECT_MARKED(&j, STREAM " %s", s.entry);
        cr_expect_eq(s.starts, 0);
        if (beside) {
            cr_expect_null(s.bytes);
            cr_expect_eq(s.len, j.len);
            EXPECT_FETCHED(&j);
        } else {
            EXPECT_BYTES(&s, &j);
        }
        ack(&a, &j, s.entry);
        EXPECT_DONE(&j);
        EXPECT_STATS(.length = 0);
    }
}

Test(queue_crawl, a_publish_tells_whether_the_job_is_there_waits_is_delayed_or_is_done)
{
    EACH_SIZE(i)
    {
        struct job j = job_of(sizes[i]);
        cr_expect_eq(publish(&j), QUEUE_NEW);
        cr_expect_eq(publish(&j), QUEUE_DUPLICATE, "in the stream");
        struct seen s = take(&a, &j);
        cr_expect_eq(publish(&j), QUEUE_DUPLICATE, "in hand");
        requeue(&a, &j, s.entry, 60000);
        cr_expect_eq(publish(&j), QUEUE_DUPLICATE, "later");
        EXPECT_STATS(.later = 1);
        redis_text(server, "ZADD " LATER " 1 %s", id_of(&j));
        cr_expect_eq(promote(), 1);
        s = take(&a, &j);
        ack(&a, &j, s.entry);
        cr_expect_eq(publish(&j), QUEUE_DUPLICATE, "done");
        EXPECT_STATS(.length = 0);
    }
}

Test(queue_crawl, another_body_under_the_same_id_is_a_conflict_wherever_the_first_is)
{
    struct job j = job_of(100), other = job_of(100000);
    other.id = j.id;
    cr_expect_eq(publish(&j), QUEUE_NEW);
    cr_expect_eq(publish(&other), QUEUE_CONFLICT);
    cr_expect_not(has_blob(&other), "a conflict leaves nothing");
    struct seen s = take(&a, &j);
    EXPECT_BYTES(&s, &j);
    cr_expect_eq(publish(&other), QUEUE_CONFLICT);
    ack(&a, &j, s.entry);
    cr_expect_eq(publish(&other), QUEUE_CONFLICT);
    EXPECT_DONE(&j);
}

Test(queue_crawl, of_one_flush_each_is_told_its_own)
{
    struct job j = job_of(10), twin = j, large = job_of(200000), other = job_of(20);
    other.id = large.id;
    struct got g[4];
    struct queue_req r[4] = {publication(&j, &g[0]), publication(&twin, &g[1]),
        publication(&large, &g[2]), publication(&other, &g[3])};
    static const enum queue_seen want[] = {QUEUE_NEW, QUEUE_DUPLICATE, QUEUE_NEW, QUEUE_CONFLICT};
    for (int i = 0; i < 4; i++)
        queue_do(a.queue, QUEUE_PUBLISH, &r[i]);
    for (int i = 0; i < 4; i++) {
        RUN_UNTIL(g[i].calls);
        cr_expect_eq(g[i].rc, HL_OK);
        cr_expect_eq(r[i].was, want[i], "request %d: %d", i, (int)r[i].was);
    }
    EXPECT_STATS(.length = 2);
}

Test(queue_crawl, a_marker_is_not_trusted_when_the_stream_was_lost)
{
    struct job j = job_of(BESIDE + 5);
    cr_expect_eq(publish(&j), QUEUE_NEW);
    redis_text(server, "DEL " STREAM);
    cr_expect_eq(publish(&j), QUEUE_NEW);
    EXPECT_STATS(.length = 1);
}

Test(queue_crawl, a_tombstone_that_has_expired_makes_the_job_new_again)
{
    struct job j = job_of(10);
    publish(&j);
    struct seen s = take(&a, &j);
    ack(&a, &j, s.entry);
    redis_text(server, "PEXPIRE " MARKER "%s 1", id_of(&j));
    RUN_UNTIL(!*marker(&j));
    cr_expect_eq(publish(&j), QUEUE_NEW);
}

Test(queue_crawl, jobs_outlive_a_restart_of_redis)
{
    struct job small = job_of(100), large = job_of(500000);
    publish(&small);
    publish(&large);
    test_redis_kill(server);
    RUN_UNTIL(!redis_up(a.redis) && !redis_up(a.reader));
    test_redis_restart(server);
    RUN_UNTIL(redis_up(a.redis) && redis_up(a.reader));
    cr_expect_eq(publish(&small), QUEUE_DUPLICATE);
    cr_expect_eq(publish(&large), QUEUE_DUPLICATE);
    cr_expect_eq(read_some(&a, NULL), 2);
    EXPECT_BYTES(&batch.seen[0], &small);
    EXPECT_FETCHED(&large);
}

Test(queue_crawl, a_job_of_a_hundred_mebibytes_goes_through_and_leaves)
{
    struct job j = job_of((size_t)100 << 20);
    cr_expect_eq(publish(&j), QUEUE_NEW);
    struct seen s = take(&a, &j);
    cr_expect_eq(s.len, j.len);
    EXPECT_FETCHED(&j);
    ack(&a, &j, s.entry);
    EXPECT_DONE(&j);
}

/* --- done -------------------------------------------------------------------------------- */

Test(queue_crawl, an_ack_can_be_repeated)
{
    struct job j = job_of(BESIDE + 1);
    publish(&j);
    struct seen s = take(&a, &j);
    ack(&a, &j, s.entry);
    ack(&a, &j, s.entry);
    EXPECT_DONE(&j);
    EXPECT_STATS(.length = 0);
}

Test(queue_crawl, a_late_ack_takes_nothing_from_the_one_who_has_the_job_now)
{
    struct job j = job_of(BESIDE + 1);
    worker_start(&b, "b");
    publish(&j);
    struct seen late = take(&b, &j);
    cr_expect_eq(takeover("b", true), 1);
    struct seen now = take(&a, &j);
    ack(&b, &j, late.entry);
    EXPECT_MARKED(&j, STREAM " %s", now.entry);
    EXPECT_FETCHED(&j);
    ack(&a, &j, now.entry);
    EXPECT_DONE(&j);
}

/* --- put back ---------------------------------------------------------------------------- */

Test(queue_crawl, a_job_handed_back_is_read_by_another_as_it_was)
{
    worker_start(&b, "b");
    EACH_SIZE(i)
    {
        struct job j = job_of(sizes[i]);
        publish(&j);
        struct seen s = take(&a, &j);
        requeue(&a, &j, s.entry, 0);
        requeue(&a, &j, s.entry, 0);
        EXPECT_STATS(.length = 1);
        s = take(&b, &j);
        cr_expect_eq(s.len, j.len);
        cr_expect_eq(s.starts, 0);
        ack(&b, &j, s.entry);
        EXPECT_DONE(&j);
    }
}

Test(queue_crawl, a_delayed_job_comes_back_when_its_time_has_come_not_before)
{
    EACH_SIZE(i)
    {
        struct job j = job_of(sizes[i]);
        publish(&j);
        struct seen s = take(&a, &j);
        requeue(&a, &j, s.entry, 60000);
        EXPECT_MARKED(&j, "later");
        EXPECT_STATS(.later = 1);
        cr_expect_eq(promote(), 0);
        redis_text(server, "ZADD " LATER " 1 %s", id_of(&j));
        cr_expect_eq(promote(), 1);
        s = take(&a, &j);
        EXPECT_MARKED(&j, STREAM " %s", s.entry);
        if (s.bytes)
            EXPECT_BYTES(&s, &j);
        else
            EXPECT_FETCHED(&j);
        ack(&a, &j, s.entry);
        EXPECT_DONE(&j);
    }
}

Test(queue_crawl, what_is_done_is_not_put_back)
{
    struct job j = job_of(BESIDE + 1);
    publish(&j);
    struct seen s = take(&a, &j);
    ack(&a, &j, s.entry);
    requeue(&a, &j, s.entry, 0);
    requeue(&a, &j, s.entry, 1000);
    EXPECT_DONE(&j);
    EXPECT_STATS(.length = 0);
}

/* --- readers that are gone --------------------------------------------------------------- */

Test(queue_crawl, only_a_reader_that_died_is_counted)
{
    static const struct {
        bool died;
        int64_t starts; /* what the next reader sees */
    } lives[] = {
        {true,  1},
        {false, 1},
        {true,  2},
        {true,  3}
    };
    EACH_SIZE(i)
    {
        struct job j = job_of(sizes[i]);
        publish(&j);
        for (size_t k = 0; k < sizeof(lives) / sizeof(*lives); k++) {
            worker_start(&b, "b");
            (void)take(&b, &j);
            worker_stop(&b);
            cr_expect_eq(takeover("b", lives[k].died), 1);
            struct seen s = take(&a, &j);
            cr_expect_eq(s.starts, lives[k].starts, "%zu: %lld", k, (long long)s.starts);
            cr_expect_eq(s.len, j.len);
            requeue(&a, &j, s.entry, k % 2 ? 1 : 0); /* put back it keeps its count */
            if (k % 2) {
                redis_text(server, "ZADD " LATER " 1 %s", id_of(&j));
                cr_expect_eq(promote(), 1);
            }
        }
        struct seen s = take(&a, &j);
        cr_expect_eq(s.starts, 3);
        ack(&a, &j, s.entry);
        EXPECT_DONE(&j);
    }
}

Test(queue_crawl, bytes_without_an_id_are_taken_over_too)
{
    redis_text(server, "XADD " STREAM " * job what");
    worker_start(&b, "b");
    cr_assert_eq(read_some(&b, NULL), 1);
    cr_expect_str_eq(batch.seen[0].id, "");
    cr_expect_eq(takeover("b", true), 1);
    cr_assert_eq(read_some(&a, NULL), 1);
    cr_expect_eq(batch.seen[0].len, 4);
    cr_expect_eq(batch.seen[0].starts, 1);
}

Test(queue_crawl, a_reader_finds_its_own_entries_again_and_lets_go_of_deleted_ones)
{
    struct job small = job_of(10), large = job_of(BESIDE * 2), gone = job_of(10);
    publish(&small);
    publish(&large);
    publish(&gone);
    cr_assert_eq(read_some(&a, NULL), 3);
    redis_text(server, "XDEL " STREAM " %s", batch.seen[2].entry);
    cr_assert_eq(read_some(&a, "0"), 3);
    EXPECT_BYTES(&batch.seen[0], &small);
    cr_expect(!batch.seen[1].bytes && batch.seen[1].len == large.len);
    cr_expect(!batch.seen[2].bytes && batch.seen[2].len == 0);
    RUN_UNTIL(read_some(&a, "0") == 2);
}

/* --- dead letters ------------------------------------------------------------------------ */

static const char *letter(void)
{
    return redis_text(server, "XRANGE " DEAD " - +");
}

Test(queue_crawl, a_buried_job_is_a_dead_letter_with_its_bytes_and_may_come_again)
{
    struct job j = job_of(BESIDE);
    memset(j.bytes, 'x', j.len);
    publish(&j);
    struct seen s = take(&a, &j);
    bury(&a, &j, s.entry, "because");
    bury(&a, &j, s.entry, "because"); /* an answer may have been lost */
    EXPECT_STATS(.dead = 1);
    cr_expect(strstr(letter(),
                  harness_text("id\n%s\nreason\nbecause\nqueue\ncrawl\njob\nxxx", id_of(&j))),
        "%.300s", letter());
    cr_expect_str_eq(marker(&j), "");
    cr_expect_eq(publish(&j), QUEUE_NEW);
}

Test(queue_crawl, the_bytes_of_a_large_dead_job_stay_in_a_key_that_its_letter_names)
{
    struct job j = job_of(BESIDE * 3);
    publish(&j);
    struct seen s = take(&a, &j);
    bury(&a, &j, s.entry, "because");
    const char *key = harness_text(BLOB "%s:dead", id_of(&j));
    cr_expect(strstr(letter(), harness_text("blob\n%s\nlen\n%zu", key, j.len)), "%s", letter());
    cr_expect_eq(redis_int(server, "STRLEN %s", key), (long)j.len);
    cr_expect_eq(redis_int(server, "PTTL %s", key), -1);
    /* it comes again and is done: the letter keeps what it has */
    cr_expect_eq(publish(&j), QUEUE_NEW);
    s = take(&a, &j);
    ack(&a, &j, s.entry);
    cr_expect_eq(redis_int(server, "STRLEN %s", key), (long)j.len);
    cr_expect_not(has_blob(&j));
}

Test(queue_crawl, a_second_large_dead_job_of_an_event_takes_nothing_from_the_first)
{
    struct job j = job_of(BESIDE * 3), other = job_of(BESIDE * 2);
    other.id = j.id;
    publish(&j);
    struct seen s = take(&a, &j);
    bury(&a, &j, s.entry, "because");
    cr_expect_eq(publish(&other), QUEUE_NEW);
    s = take(&a, &other);
    bury(&a, &other, s.entry, "because");
    const char *key = harness_text(BLOB "%s:dead", id_of(&j));
    cr_expect_eq(redis_int(server, "STRLEN %s", key), (long)j.len);
    cr_expect_eq(redis_int(server, "STRLEN %s:%s", key, s.entry), (long)other.len);
    cr_expect(strstr(letter(), harness_text("blob\n%s:%s\nlen\n%zu", key, s.entry, other.len)));
    cr_expect_not(has_blob(&j));
}

static void quarantine(const char *entry, const char *bytes, size_t len)
{
    struct moved m = {0};
    queue_quarantine(a.queue, NULL, entry, bytes, len, "no job", note_moved, &m);
    RUN_UNTIL(m.calls);
    cr_assert_eq(m.rc, HL_OK);
}

Test(queue_crawl, what_is_no_job_is_kept_as_a_dead_letter)
{
    struct job large = job_of(BESIDE + 9);
    redis_text(server, "XADD " STREAM " * job gibberish");
    publish(&large);
    cr_assert_eq(read_some(&a, NULL), 2);
    char entries[2][QUEUE_ENTRY_MAX];
    for (int i = 0; i < 2; i++)
        memcpy(entries[i], batch.seen[i].entry, sizeof(entries[i]));
    quarantine(entries[0], "gibberish", 9);
    cr_expect(
        strstr(letter(), "id\n-\nreason\nno job\nqueue\ncrawl\njob\ngibberish"), "%s", letter());
    quarantine(entries[1], large.bytes, large.len);
    EXPECT_STATS(.dead = 2);
    cr_expect_eq(redis_int(server, "STRLEN " BLOB "%s:dead", id_of(&large)), (long)large.len);
    cr_expect_str_eq(marker(&large), "");
    quarantine("", "from elsewhere", 14);
    EXPECT_STATS(.dead = 3);
}

static int sights;

static void note_sight(const struct queue_sight *sight, void *ctx)
{
    (void)sight;
    (void)ctx;
    sights++;
}

static void note_looked(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    (void)err;
    cr_assert_eq(rc, HL_OK);
    *(bool *)ctx = true;
}

Test(queue_crawl, a_look_at_the_dead_of_the_change_queue_leaves_crawl_jobs_out)
{
    struct job j = job_of(10);
    struct queue *changes = queue_new(loop, a.redis, "t:x", QUEUE_CHANGE, NULL);
    bool looked = false;
    publish(&j);
    struct seen s = take(&a, &j);
    bury(&a, &j, s.entry, "because");
    redis_text(server, "XADD " DEAD " * id - reason other job x");
    sights = 0;
    queue_look(changes, QUEUE_AT_DEAD, note_sight, note_looked, &looked);
    RUN_UNTIL(looked);
    cr_expect_eq(sights, 1);
    queue_free(changes);
}
