/* queue against a real Redis: where a job is after each operation, that repeating one does no
 * harm, and that the group's lag stays known, since only delivered entries are deleted. */
#include "domain/queue.h"

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 15000, TICK_MS = 5, MAX_EVENTS = 700, MAX_READ = 700 };

#define STREAM "{t:x}:q:change"
#define LATER  "{t:x}:later"
#define JOBS   "{t:x}:later:jobs"
#define DEAD   "{t:x}:dead"
#define MARKER "{t:x}:job:"

static struct loop *loop;
static struct offload *offload;
static struct test_redis *server;
static struct timer tick;

/* --- one worker: a queue with its consumer, and its reader ------------------------------- */

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
    w->queue = queue_new(loop, w->redis, "t:x", QUEUE_CHANGE, consumer);
    RUN_UNTIL(redis_up(w->redis) && redis_up(w->reader) && group_is_there());
}

static void worker_stop(struct worker *w)
{
    redis_free(w->reader);
    redis_free(w->redis);
    queue_free(w->queue);
    *w = (struct worker){0};
}

static struct change_event events[MAX_EVENTS];
static int nevents;

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
    for (int i = 0; i < nevents; i++)
        event_release(&events[i]);
    offload_free(offload);
    timer_stop(&tick);
    loop_free(loop);
    test_redis_free(server);
}

TestSuite(queue, .init = start, .fini = stop, .timeout = 60);

static struct change_event *event(void)
{
    cr_assert_lt(nevents, MAX_EVENTS);
    struct change_event *ev = &events[nevents++];
    *ev = (struct change_event){.id = uuid_v4(),
        .watch_id = mem_strdup("watch"),
        .watch_url = mem_strdup("https://example.com/"),
        .detected_at = INT64_C(1767323045123456),
        .metadata = mem_strdup("{}")};
    return ev;
}

static const char *id_of(const struct change_event *ev)
{
    static char ids[8][UUID_STRLEN + 1];
    static int next;
    char *id = ids[next++ % 8];
    uuid_format(&ev->id, id);
    return id;
}

static const char *marker(const struct change_event *ev)
{
    return redis_text(server, "GET " MARKER "%s", id_of(ev));
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

static struct queue_req request(const struct change_event *ev, const char *entry, struct got *g)
{
    struct queue_req r = {.ev = ev, .done = done, .ctx = g};
    snprintf(r.entry, sizeof(r.entry), "%s", entry);
    *g = (struct got){0};
    return r;
}

static void do_req(struct worker *w, enum queue_op op, struct queue_req *r)
{
    struct got *g = r->ctx;
    queue_do(w->queue, op, r);
    cr_assert_eq(g->calls, 0, "a callback ran inside the call that armed it");
    RUN_UNTIL(g->calls);
    cr_assert_eq(g->rc, HL_OK, "%s", g->err.msg);
    cr_assert_eq(g->calls, 1);
}

static void publish(const struct change_event *ev)
{
    struct got g;
    struct queue_req r = request(ev, "", &g);
    do_req(&a, QUEUE_PUBLISH, &r);
}

static void requeue(
    struct worker *w, const struct change_event *ev, const char *entry, int64_t delay)
{
    struct got g;
    struct queue_req r = request(ev, entry, &g);
    r.delay_ms = delay;
    do_req(w, QUEUE_REQUEUE, &r);
}

static void ack(struct worker *w, const struct change_event *ev, const char *entry)
{
    struct got g;
    struct queue_req r = request(ev, entry, &g);
    do_req(w, QUEUE_ACK, &r);
}

static void bury(const struct change_event *ev, const char *entry, const char *reason)
{
    struct got g;
    struct queue_req r = request(ev, entry, &g);
    r.reason = reason;
    do_req(&a, QUEUE_BURY, &r);
}

/* --- reading ----------------------------------------------------------------------------- */

static struct {
    int calls;
    enum hl_rc rc;
    int n;
    char entries[MAX_READ][QUEUE_ENTRY_MAX];
    struct uuid ids[MAX_READ]; /* zero for what is no job */
    bool traced[MAX_READ];     /* the job has a traceparent */
    char first_bytes[64];
    size_t first_len;
    int deleted; /* own entries that came back without their job */
} batch;

static void note_entries(
    const struct queue_entry *entries, size_t n, enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    (void)ctx;
    cr_assert_eq(err == NULL, rc == HL_OK);
    memset(&batch, 0, sizeof(batch));
    batch.calls = 1;
    batch.rc = rc;
    for (size_t i = 0; i < n; i++) {
        struct change_event ev;
        if (!entries[i].job) {
            batch.deleted++;
            continue;
        }
        batch.n++;
        snprintf(batch.entries[i], QUEUE_ENTRY_MAX, "%s", entries[i].entry);
        if (event_decode(entries[i].job, entries[i].len, &ev, NULL) != HL_OK)
            continue;
        batch.ids[i] = ev.id;
        batch.traced[i] = ev.traceparent != NULL;
        event_release(&ev);
    }
    if (n && entries[0].job) {
        batch.first_len = entries[0].len;
        memcpy(batch.first_bytes, entries[0].job,
            entries[0].len < sizeof(batch.first_bytes) ? entries[0].len : 0);
    }
}

static int read_some(struct worker *w, bool own, int count)
{
    batch.calls = 0;
    queue_read(w->queue, w->reader, own ? "0" : NULL, count, own ? 0 : 50, note_entries, NULL);
    cr_assert_eq(batch.calls, 0, "a callback ran inside the call that armed it");
    RUN_UNTIL(batch.calls);
    return batch.n;
}

/* The one entry that waits, which must be this event's. */
static const char *take(struct worker *w, const struct change_event *ev)
{
    cr_assert_eq(read_some(w, false, 100), 1, "%d entries", batch.n);
    cr_assert_eq(batch.rc, HL_OK);
    cr_assert(uuid_equal(&batch.ids[0], &ev->id));
    return batch.entries[0];
}

/* --- the whole picture ------------------------------------------------------------------- */

struct stats_got {
    int calls;
    enum hl_rc rc;
    struct queue_stats s;
};

static void note_stats(
    enum hl_rc rc, const struct queue_stats *s, const struct hl_err *err, void *ctx)
{
    struct stats_got *g = ctx;
    cr_assert_eq(err == NULL, rc == HL_OK);
    *g = (struct stats_got){1, rc, *s};
}

static struct queue_stats stats(void)
{
    struct stats_got g = {0};
    queue_stats(a.queue, note_stats, &g);
    RUN_UNTIL(g.calls);
    cr_assert_eq(g.rc, HL_OK);
    return g.s;
}

static void expect_stats(int line, struct queue_stats want)
{
    struct queue_stats got = stats();
    cr_expect(got.length == want.length && got.pending == want.pending && got.lag == want.lag &&
                  got.later == want.later && got.dead == want.dead,
        "line %d: length %lld pending %lld lag %lld later %lld dead %lld", line,
        (long long)got.length, (long long)got.pending, (long long)got.lag, (long long)got.later,
        (long long)got.dead);
}
#define EXPECT_STATS(...) expect_stats(__LINE__, (struct queue_stats){__VA_ARGS__})

static void expect_marked(int line, const struct change_event *ev, const char *entry)
{
    char want[128];
    snprintf(want, sizeof(want), STREAM " %s", entry);
    cr_expect_str_eq(marker(ev), want, "line %d: %s", line, marker(ev));
}
#define EXPECT_MARKED(ev, entry) expect_marked(__LINE__, ev, entry)

/* --- publishing -------------------------------------------------------------------------- */

Test(queue, publishing_is_idempotent_while_the_job_is_in_the_queue)
{
    struct change_event *ev = event();
    publish(ev);
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
    const char *entry = take(&a, ev);
    EXPECT_MARKED(ev, entry);
    publish(ev);
    EXPECT_STATS(.length = 1, .pending = 1);
    ack(&a, ev, entry);
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
}

Test(queue, an_event_twice_in_one_flush_is_one_entry)
{
    struct change_event *ev = event();
    struct got g[2];
    struct queue_req r[2] = {request(ev, "", &g[0]), request(ev, "", &g[1])};
    queue_do(a.queue, QUEUE_PUBLISH, &r[0]);
    queue_do(a.queue, QUEUE_PUBLISH, &r[1]);
    RUN_UNTIL(g[0].calls && g[1].calls);
    EXPECT_STATS(.length = 1, .lag = 1);
}

/* --- what was seen ----------------------------------------------------------------------- */

#define SEEN  "source:id:00ff"
#define LASTS 600000

static struct queue_req seen_request(const struct change_event *ev, struct got *g)
{
    struct queue_req r = request(ev, "", g);
    r.seen = SEEN;
    r.seen_ms = LASTS;
    return r;
}

static enum queue_seen publish_seen(const struct change_event *ev)
{
    struct got g;
    struct queue_req r = seen_request(ev, &g);
    do_req(&a, QUEUE_PUBLISH, &r);
    return r.was;
}

static struct change_event *with_body(const struct change_event *ev, int body)
{
    struct change_event *other = event();
    other->id = ev->id;
    other->body_digest[0] = (uint8_t)body;
    return other;
}

Test(queue, an_event_is_remembered_as_seen_together_with_its_job)
{
    struct change_event *ev = event();
    cr_expect_eq(publish_seen(ev), QUEUE_NEW);
    EXPECT_STATS(.length = 1, .lag = 1);
    cr_expect_str_eq(
        redis_text(server, "GET {t:x}:seen:" SEEN), harness_text("%s %064d", id_of(ev), 0));
    long lasts = redis_int(server, "PTTL {t:x}:seen:" SEEN);
    cr_expect(lasts > LASTS - 60000 && lasts <= LASTS, "%ld", lasts);
}

Test(queue, what_was_seen_is_not_published_again_even_when_its_job_is_done)
{
    struct change_event *ev = event();
    cr_expect_eq(publish_seen(ev), QUEUE_NEW);
    cr_expect_eq(publish_seen(ev), QUEUE_DUPLICATE);
    EXPECT_STATS(.length = 1, .lag = 1);
    ack(&a, ev, take(&a, ev));
    cr_expect_eq(publish_seen(ev), QUEUE_DUPLICATE);
    EXPECT_STATS(.length = 0);
    publish(ev); /* a sweeper's, who knows the row */
    EXPECT_STATS(.length = 1, .lag = 1);
}

Test(queue, another_body_under_what_was_seen_is_a_conflict_and_changes_nothing)
{
    struct change_event *ev = event();
    cr_expect_eq(publish_seen(ev), QUEUE_NEW);
    cr_expect_eq(publish_seen(with_body(ev, 1)), QUEUE_CONFLICT);
    EXPECT_STATS(.length = 1, .lag = 1);
    cr_expect_eq(publish_seen(ev), QUEUE_DUPLICATE, "the first is still what was seen");
}

Test(queue, what_was_seen_too_long_ago_is_new)
{
    struct change_event *ev = event();
    struct got g;
    struct queue_req r = seen_request(ev, &g);
    r.seen_ms = 1;
    do_req(&a, QUEUE_PUBLISH, &r);
    RUN_UNTIL(!redis_int(server, "EXISTS {t:x}:seen:" SEEN));
    cr_expect_eq(publish_seen(ev), QUEUE_NEW);
}

Test(queue, of_one_flush_each_is_told_its_own)
{
    struct change_event *ev = event(), *other = event(),
                        *evs[] = {other, ev, with_body(ev, 1), ev, other};
    static const enum queue_seen want[] = {
        QUEUE_NEW, QUEUE_NEW, QUEUE_CONFLICT, QUEUE_DUPLICATE, QUEUE_HELD};
    struct got g[5];
    struct queue_req r[5];
    for (int i = 0; i < 5; i++) {
        r[i] = seen_request(evs[i], &g[i]);
        if (evs[i] == other)
            r[i].seen = NULL;
        queue_do(a.queue, QUEUE_PUBLISH, &r[i]);
    }
    RUN_UNTIL(g[4].calls);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(r[i].was, want[i], "%d: %d", i, (int)r[i].was);
    EXPECT_STATS(.length = 2, .lag = 2);
    cr_expect_eq(redis_int(server, "EXISTS {t:x}:seen:-"), 0, "nothing stands for none");
}

Test(queue, a_marker_is_not_trusted_when_its_entry_is_gone)
{
    struct change_event *ev = event();
    publish(ev);
    const char *entry = take(&a, ev);
    redis_int(server, "XACK " STREAM " workers %s", entry);
    redis_int(server, "XDEL " STREAM " %s", entry);
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
    EXPECT_MARKED(ev, take(&a, ev));
}

Test(queue, a_marker_is_not_trusted_when_later_has_lost_the_job)
{
    struct change_event *ev = event();
    requeue(&a, ev, "", 3600000);
    publish(ev);
    EXPECT_STATS(.later = 1);
    redis_int(server, "ZREM " LATER " %s", id_of(ev));
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
    take(&a, ev);
}

Test(queue, a_marker_of_another_shape_is_not_trusted)
{
    static const char *const markers[] = {"nonsense", "{t:x}:other", "{t:x}:other 1-1"};
    for (int i = 0; i < 3; i++) {
        struct change_event *ev = event();
        char key[128];
        snprintf(key, sizeof(key), MARKER "%s", id_of(ev));
        redis_call(a.redis, 0, NULL, NULL, "SET", key, markers[i], NULL);
        publish(ev);
        EXPECT_MARKED(ev, take(&a, ev));
    }
}

Test(queue, a_job_survives_the_way_through_redis)
{
    struct change_event *ev = event();
    ev->diff_summary = mem_strdup("\xc3\xa9 \"quoted\"\r\n");
    memset(ev->body_digest, 0, sizeof(ev->body_digest)); /* NUL bytes in the payload */
    publish(ev);
    cr_assert_eq(read_some(&a, false, 1), 1);
    struct buf want = {0};
    event_encode(ev, &want);
    cr_expect_eq(batch.first_len, want.len);
    cr_expect(uuid_equal(&batch.ids[0], &ev->id));
    buf_release(&want);
}

/* --- reading ----------------------------------------------------------------------------- */

Test(queue, a_read_takes_at_most_count_and_waits_no_longer_than_asked)
{
    for (int i = 0; i < 5; i++)
        publish(event());
    cr_expect_eq(read_some(&a, false, 3), 3);
    cr_expect_eq(read_some(&a, false, 3), 2);
    cr_expect_eq(read_some(&a, false, 3), 0, "nothing came");
    cr_expect_eq(batch.rc, HL_OK);
}

Test(queue, a_waiting_read_gets_what_is_published)
{
    batch.calls = 0;
    queue_read(a.queue, a.reader, NULL, 10, 10000, note_entries, NULL);
    struct change_event *ev = event();
    publish(ev);
    RUN_UNTIL(batch.calls);
    cr_assert_eq(batch.n, 1);
    cr_expect(uuid_equal(&batch.ids[0], &ev->id));
}

Test(queue, own_entries_come_again_until_they_are_acked)
{
    struct change_event *evs[3];
    char first[QUEUE_ENTRY_MAX];
    worker_start(&b, "b");
    for (int i = 0; i < 3; i++)
        publish(evs[i] = event());
    cr_assert_eq(read_some(&a, false, 2), 2);
    snprintf(first, sizeof(first), "%s", batch.entries[0]);
    cr_assert_eq(read_some(&b, false, 2), 1);

    worker_stop(&a);
    worker_start(&a, "a");
    cr_assert_eq(read_some(&a, true, 10), 2, "and not what another has");
    cr_expect(uuid_equal(&batch.ids[0], &evs[0]->id) && uuid_equal(&batch.ids[1], &evs[1]->id));
    ack(&a, evs[0], first);
    cr_expect_eq(read_some(&a, true, 10), 1);
}

Test(queue, own_entries_are_read_page_by_page)
{
    char after[QUEUE_ENTRY_MAX] = "0";
    struct change_event *evs[5];
    for (int i = 0; i < 5; i++)
        publish(evs[i] = event());
    cr_assert_eq(read_some(&a, false, 5), 5);
    for (int seen = 0, page = 0; page < 4; page++) {
        static const int sizes[] = {2, 2, 1, 0};
        batch.calls = 0;
        queue_read(a.queue, a.reader, after, 2, 0, note_entries, NULL);
        RUN_UNTIL(batch.calls);
        cr_assert_eq(batch.n, sizes[page], "page %d", page);
        for (int i = 0; i < batch.n; i++, seen++) {
            cr_expect(uuid_equal(&batch.ids[i], &evs[seen]->id));
            snprintf(after, sizeof(after), "%s", batch.entries[i]);
        }
    }
}

Test(queue, an_own_entry_that_was_deleted_is_let_go_of)
{
    struct change_event *ev = event();
    publish(ev);
    redis_int(server, "XDEL " STREAM " %s", take(&a, ev));
    cr_expect_eq(read_some(&a, true, 10), 0);
    RUN_UNTIL(stats().pending == 0);
}

Test(queue, a_lost_group_is_created_again_and_misses_nothing)
{
    struct change_event *ev = event();
    publish(ev);
    redis_int(server, "XGROUP DESTROY " STREAM " workers");
    read_some(&a, false, 10);
    cr_expect_eq(batch.rc, HL_RETRY);
    take(&a, ev);

    redis_text(server, "FLUSHALL");
    read_some(&a, true, 10);
    cr_expect_eq(batch.rc, HL_RETRY);
    publish(ev);
    take(&a, ev);
}

/* Whether the group or the whole stream goes while a read waits, the reader is told to come again.
 */
Test(queue, a_group_lost_during_a_read_is_created_again)
{
    static const char *const losses[] = {"XGROUP DESTROY " STREAM " workers", "FLUSHALL"};
    for (int i = 0; i < 2; i++) {
        batch.calls = 0;
        queue_read(a.queue, a.reader, NULL, 10, 10000, note_entries, NULL);
        RUN_UNTIL(strstr(redis_text(server, "INFO clients"), "blocked_clients:1"));
        redis_text(server, "%s", losses[i]);
        RUN_UNTIL(batch.calls);
        cr_expect_eq(batch.rc, HL_RETRY, "%s: %s", losses[i], hl_rc_name(batch.rc));
        RUN_UNTIL(group_is_there());
        struct change_event *ev = event();
        publish(ev);
        ack(&a, ev, take(&a, ev));
    }
}

Test(queue, the_group_is_there_whenever_the_connection_comes_up)
{
    test_redis_kill(server);
    RUN_UNTIL(!redis_up(a.redis));
    test_redis_restart(server);
    RUN_UNTIL(redis_up(a.redis) && redis_up(a.reader) && group_is_there());
    struct change_event *ev = event();
    publish(ev);
    take(&a, ev);
}

/* --- acking ------------------------------------------------------------------------------ */

Test(queue, ack_removes_entry_and_marker)
{
    struct change_event *ev = event();
    publish(ev);
    const char *entry = take(&a, ev);
    ack(&a, ev, entry);
    EXPECT_STATS(0);
    cr_expect_str_eq(marker(ev), "");
    ack(&a, ev, entry); /* repeated: nothing happens */
    EXPECT_STATS(0);
}

Test(queue, ack_leaves_a_marker_that_names_another_place)
{
    struct change_event *ev = event(), *elsewhere = event();
    char old[QUEUE_ENTRY_MAX];
    publish(ev);
    snprintf(old, sizeof(old), "%s", take(&a, ev));
    requeue(&a, ev, old, 0);
    const char *place = marker(ev);
    ack(&a, ev, old);
    cr_expect_str_eq(marker(ev), place);
    EXPECT_STATS(.length = 1, .lag = 1);
    ack(&a, ev, take(&a, ev));

    publish(elsewhere);
    snprintf(old, sizeof(old), "%s", take(&a, elsewhere));
    requeue(&a, elsewhere, old, 3600000);
    ack(&a, elsewhere, old);
    cr_expect_str_eq(marker(elsewhere), "later");
    EXPECT_STATS(.later = 1);
}

Test(queue, ack_of_a_job_without_an_entry_does_not_hurt_its_neighbours)
{
    struct change_event *ev = event(), *other = event();
    struct got g[2];
    publish(ev);
    struct queue_req r[2] = {request(other, "", &g[0]), request(ev, take(&a, ev), &g[1])};
    queue_do(a.queue, QUEUE_ACK, &r[0]);
    queue_do(a.queue, QUEUE_ACK, &r[1]);
    RUN_UNTIL(g[0].calls && g[1].calls);
    cr_expect_eq(g[0].rc, HL_OK, "%s", g[0].err.msg);
    cr_expect_eq(g[1].rc, HL_OK, "%s", g[1].err.msg);
    EXPECT_STATS(0);
    cr_expect_str_eq(marker(ev), "");
}

/* --- requeueing -------------------------------------------------------------------------- */

Test(queue, requeue_now_moves_a_delivered_entry)
{
    struct change_event *ev = event();
    char old[QUEUE_ENTRY_MAX];
    publish(ev);
    snprintf(old, sizeof(old), "%s", take(&a, ev));
    requeue(&a, ev, old, 0);
    EXPECT_STATS(.length = 1, .lag = 1);
    const char *entry = take(&a, ev);
    cr_expect_neq(strcmp(entry, old), 0);
    EXPECT_MARKED(ev, entry);
}

Test(queue, requeue_for_later_moves_a_delivered_entry)
{
    struct change_event *ev = event();
    publish(ev);
    requeue(&a, ev, take(&a, ev), 3600000);
    EXPECT_STATS(.later = 1);
    cr_expect_str_eq(marker(ev), "later");
    cr_expect_eq(redis_int(server, "HLEN " JOBS), 1);
    long long due = atoll(redis_text(server, "ZSCORE " LATER " %s", id_of(ev)));
    long long now = atoll(redis_text(server, "TIME")) * 1000;
    cr_expect(due > now + 3590000 && due < now + 3610000, "by Redis' clock");
}

/* What the row does not know (a traceparent) stays with the job; but the row says which body counts. */
Test(queue, requeue_from_a_row_keeps_the_job_of_the_same_body_only)
{
    struct change_event *ev = event(), row = *ev, other = *ev;
    ev->traceparent = mem_strdup("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    other.body_digest[0] ^= 1;
    publish(ev);
    take(&a, ev);
    requeue(&a, &row, "", 0);
    take(&a, ev);
    cr_expect(batch.traced[0], "the same body");
    requeue(&a, &other, "", 0);
    take(&a, ev);
    cr_expect(!batch.traced[0], "another body");
    EXPECT_STATS(.length = 1, .pending = 1);
}

Test(queue, requeue_of_a_delayed_job_moves_its_time)
{
    struct change_event *ev = event();
    requeue(&a, ev, "", 3600000);
    const char *due = redis_text(server, "ZSCORE " LATER " %s", id_of(ev));
    requeue(&a, ev, "", 7200000);
    EXPECT_STATS(.later = 1);
    cr_expect_gt(atoll(redis_text(server, "ZSCORE " LATER " %s", id_of(ev))), atoll(due) + 3000000);
    requeue(&a, ev, "", 0);
    EXPECT_STATS(.length = 1, .lag = 1);
    cr_expect_eq(redis_int(server, "HLEN " JOBS), 0);
    EXPECT_MARKED(ev, take(&a, ev));
}

Test(queue, requeue_of_an_unknown_job_adds_it)
{
    struct change_event *now = event(), *later = event();
    requeue(&a, later, "", 3600000);
    requeue(&a, now, "", 0);
    EXPECT_STATS(.length = 1, .lag = 1, .later = 1);
    EXPECT_MARKED(now, take(&a, now));
}

Test(queue, requeue_of_an_undelivered_entry_leaves_it_alone)
{
    struct change_event *ev = event();
    publish(ev);
    const char *place = marker(ev);
    requeue(&a, ev, "", 0);
    requeue(&a, ev, "", 3600000);
    cr_expect_str_eq(marker(ev), place);
    EXPECT_STATS(.length = 1, .lag = 1);
}

Test(queue, requeue_repeated_is_one_entry)
{
    struct change_event *ev = event();
    publish(ev);
    char old[QUEUE_ENTRY_MAX];
    snprintf(old, sizeof(old), "%s", take(&a, ev));
    requeue(&a, ev, old, 0);
    requeue(&a, ev, old, 0);
    EXPECT_STATS(.length = 1, .lag = 1);
}

/* The marker was lost and the job published again: the entry in hand must not stay pending for
 * ever. */
Test(queue, requeue_lets_go_of_the_entry_in_hand_when_the_marker_names_another)
{
    struct change_event *ev = event();
    char hand[QUEUE_ENTRY_MAX];
    publish(ev);
    snprintf(hand, sizeof(hand), "%s", take(&a, ev));
    redis_int(server, "DEL " MARKER "%s", id_of(ev));
    publish(ev);
    EXPECT_STATS(.length = 2, .pending = 1, .lag = 1);
    requeue(&a, ev, hand, 3600000);
    EXPECT_STATS(.length = 1, .lag = 1);
    EXPECT_MARKED(ev, take(&a, ev));
}

/* --- later ------------------------------------------------------------------------------- */

struct moved {
    int calls;
    enum hl_rc rc;
    int64_t n;
    bool left;
};

static void note_moved(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    *(struct moved *)ctx = (struct moved){1, rc, n, left};
}

static struct moved promote(int limit)
{
    struct moved m = {0};
    queue_promote(a.queue, limit, note_moved, &m);
    RUN_UNTIL(m.calls);
    cr_assert_eq(m.rc, HL_OK);
    return m;
}

Test(queue, promote_moves_what_is_due_by_redis_clock)
{
    struct change_event *soon = event(), *later = event();
    requeue(&a, soon, "", 1);
    requeue(&a, later, "", 3600000);
    struct moved m = {0};
    RUN_UNTIL((m = promote(10)).n);
    cr_expect_eq(m.n, 1);
    cr_expect_not(m.left);
    EXPECT_STATS(.length = 1, .lag = 1, .later = 1);
    cr_expect_eq(redis_int(server, "HLEN " JOBS), 1);
    EXPECT_MARKED(soon, take(&a, soon));
    cr_expect_str_eq(marker(later), "later");
    cr_expect_eq(promote(10).n, 0);
}

Test(queue, promote_takes_a_few_at_a_time_the_longest_due_first)
{
    struct change_event *evs[5];
    for (int i = 0; i < 5; i++) {
        evs[i] = event();
        requeue(&a, evs[i], "", 3600000);
        redis_int(server, "ZADD " LATER " %d %s", 1000 + i, id_of(evs[i]));
    }
    struct moved m = promote(3);
    cr_expect(m.n == 3 && m.left);
    m = promote(3);
    cr_expect(m.n == 2 && !m.left);
    cr_assert_eq(read_some(&a, false, 10), 5);
    for (int i = 0; i < 5; i++)
        cr_expect(uuid_equal(&batch.ids[i], &evs[i]->id));
}

Test(queue, a_delayed_job_whose_payload_is_lost_can_be_published_again)
{
    struct change_event *ev = event();
    requeue(&a, ev, "", 1);
    redis_int(server, "DEL " JOBS);
    RUN_UNTIL(promote(10).n);
    EXPECT_STATS(0);
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
}

/* --- taking over ------------------------------------------------------------------------- */

static struct moved takeover(const char *consumer, int limit)
{
    struct moved m = {0};
    queue_takeover(a.queue, consumer, false, limit, note_moved, &m);
    RUN_UNTIL(m.calls);
    cr_assert_eq(m.rc, HL_OK);
    return m;
}

struct names {
    int calls;
    char text[256];
};

static void note_names(enum hl_rc rc, const char *const *names, size_t n, void *ctx)
{
    struct names *g = ctx;
    cr_assert_eq(rc, HL_OK);
    g->calls++;
    for (size_t i = 0; i < n; i++)
        snprintf(g->text + strlen(g->text), sizeof(g->text) - strlen(g->text), "%s ", names[i]);
}

static struct names consumers(void)
{
    struct names g = {0};
    queue_consumers(a.queue, note_names, &g);
    RUN_UNTIL(g.calls);
    return g;
}

Test(queue, takeover_puts_the_entries_of_the_dead_back)
{
    struct change_event *evs[3];
    worker_start(&b, "b");
    for (int i = 0; i < 3; i++)
        publish(evs[i] = event());
    cr_assert_eq(read_some(&b, false, 10), 3);
    publish(event());
    cr_assert_eq(read_some(&a, false, 10), 1);
    cr_expect_str_eq(consumers().text, "a b ");

    struct moved m = takeover("b", 10);
    cr_expect(m.n == 3 && !m.left);
    cr_expect_str_eq(consumers().text, "a ");
    EXPECT_STATS(.length = 4, .pending = 1, .lag = 3);
    cr_assert_eq(read_some(&a, false, 10), 3);
    for (int i = 0; i < 3; i++) {
        cr_expect(uuid_equal(&batch.ids[i], &evs[i]->id));
        EXPECT_MARKED(evs[i], batch.entries[i]);
    }
}

Test(queue, takeover_keeps_a_consumer_that_still_has_entries)
{
    worker_start(&b, "b");
    for (int i = 0; i < 5; i++)
        publish(event());
    cr_assert_eq(read_some(&b, false, 10), 5);
    for (int left = 5; left > 0; left -= 2) {
        cr_expect(strstr(consumers().text, "b "), "%d left", left);
        struct moved m = takeover("b", 2);
        cr_expect_eq(m.n, left < 2 ? left : 2);
        cr_expect_eq(m.left, left > 2);
    }
    cr_expect_not(strstr(consumers().text, "b "));
    cr_expect_eq(read_some(&a, false, 10), 5);
    EXPECT_STATS(.length = 5, .pending = 5);
}

Test(queue, takeover_skips_jobs_that_are_elsewhere_by_now)
{
    struct change_event *evs[3];
    char hand[3][QUEUE_ENTRY_MAX];
    worker_start(&b, "b");
    for (int i = 0; i < 3; i++)
        publish(evs[i] = event());
    cr_assert_eq(read_some(&b, false, 10), 3);
    memcpy(hand, batch.entries, sizeof(hand));
    /* as if b's own entry had stayed behind: the marker names another place */
    redis_text(server, "SET " MARKER "%s later", id_of(evs[0]));
    redis_int(server, "ZADD " LATER " 99999999999999 %s", id_of(evs[0]));
    redis_int(server, "XDEL " STREAM " %s", hand[1]);
    struct moved m = takeover("b", 10);
    cr_expect(m.n == 1 && !m.left, "%lld", (long long)m.n);
    cr_expect_str_eq(marker(evs[0]), "later");
    EXPECT_STATS(.length = 1, .lag = 1, .later = 1);
    EXPECT_MARKED(evs[2], take(&a, evs[2]));
}

Test(queue, takeover_of_nobody_is_no_error)
{
    struct moved m = takeover("nobody", 10);
    cr_expect(m.n == 0 && !m.left);
    redis_text(server, "FLUSHALL");
    m = takeover("nobody", 10);
    cr_expect(m.n == 0 && !m.left);
}

/* Entries that are none of ours keep all their bytes, however many of them there are. */
Test(queue, takeover_loses_no_foreign_entry)
{
    worker_start(&b, "b");
    redis_text(server, "XADD " STREAM " * job one");
    redis_text(server, "XADD " STREAM " * job two");
    redis_text(server, "XADD " STREAM " * other three");
    cr_assert_eq(read_some(&b, false, 10), 3);
    takeover("b", 10);
    cr_expect_eq(read_some(&a, false, 10), 3);
    const char *all = redis_text(server, "XRANGE " STREAM " - +");
    cr_expect(strstr(all, "one") && strstr(all, "two") && strstr(all, "three"), "%s", all);
}

/* --- the dead ---------------------------------------------------------------------------- */

/* Fields of the newest dead letter. */
static redisReply *dead_letter(redisContext **c)
{
    *c = redisConnect("127.0.0.1", atoi(strrchr(test_redis_url(server), ':') + 1));
    redisReply *r = redisCommand(*c, "XREVRANGE %s + - COUNT 1", DEAD);
    cr_assert(r && r->type == REDIS_REPLY_ARRAY && r->elements == 1);
    return r;
}

static void expect_dead(const char *id, const char *reason, const void *bytes, size_t len)
{
    redisContext *c;
    redisReply *r = dead_letter(&c), *f = r->element[0]->element[1];
    cr_assert_eq(f->elements, 6);
    cr_expect_str_eq(f->element[0]->str, "id");
    cr_expect_str_eq(f->element[1]->str, id);
    cr_expect_str_eq(f->element[2]->str, "reason");
    cr_expect_str_eq(f->element[3]->str, reason);
    cr_expect_str_eq(f->element[4]->str, "job");
    cr_expect_eq((size_t)f->element[5]->len, len);
    cr_expect_arr_eq(f->element[5]->str, bytes, len);
    freeReplyObject(r);
    redisFree(c);
}

Test(queue, a_buried_job_keeps_bytes_and_reason)
{
    struct change_event *ev = event();
    struct buf job = {0};
    event_encode(ev, &job);
    publish(ev);
    bury(ev, take(&a, ev), "scrape failed: 404 Not Found");
    EXPECT_STATS(.dead = 1);
    cr_expect_str_eq(marker(ev), "");
    expect_dead(id_of(ev), "scrape failed: 404 Not Found", job.data, job.len);

    struct change_event *unknown = event();
    bury(unknown, "", "no entry");
    EXPECT_STATS(.dead = 2);
    buf_release(&job);
}

Test(queue, a_quarantined_entry_keeps_its_bytes)
{
    static const char bytes[] = "\xc1\0\r\n not a job";
    const char *const argv[] = {"XADD", STREAM, "*", "job", bytes};
    const size_t lens[] = {4, strlen(STREAM), 1, 3, sizeof(bytes)};
    redis_command(a.redis, 0, NULL, NULL, 5, argv, lens);
    RUN_UNTIL(read_some(&a, false, 10) == 1);
    cr_assert_eq(batch.first_len, sizeof(bytes));
    queue_quarantine(a.queue, NULL, batch.entries[0], batch.first_bytes, batch.first_len,
        "no job: x", NULL, NULL);
    RUN_UNTIL(stats().dead == 1);
    EXPECT_STATS(.dead = 1);
    expect_dead("-", "no job: x", bytes, sizeof(bytes));
}

/* --- batches, stats, keys ---------------------------------------------------------------- */

static long evalsha_calls(void)
{
    const char *at = strstr(redis_text(server, "INFO commandstats"), "cmdstat_evalsha:calls=");
    return at ? atol(strchr(at, '=') + 1) : 0;
}

static struct queue_req many[600];
static struct got many_got[600];

static bool all_done(int n)
{
    for (int i = 0; i < n; i++)
        if (!many_got[i].calls)
            return false;
    return true;
}

static void do_many(enum queue_op op, struct change_event *const *evs, int n, bool with_entries)
{
    for (int i = 0; i < n; i++) {
        many[i] = request(evs[i], with_entries ? batch.entries[i] : "", &many_got[i]);
        many[i].reason = "many";
        queue_do(a.queue, op, &many[i]);
    }
    RUN_UNTIL(all_done(n));
    for (int i = 0; i < n; i++)
        cr_assert_eq(many_got[i].rc, HL_OK, "%s", many_got[i].err.msg);
}

Test(queue, what_is_asked_in_one_turn_is_one_script_call_of_at_most_256)
{
    static const enum queue_op ops[] = {QUEUE_PUBLISH, QUEUE_REQUEUE, QUEUE_BURY};
    static struct change_event *evs[600];
    for (int i = 0; i < 600; i++)
        evs[i] = event();
    do_many(QUEUE_PUBLISH, evs, 1, false); /* the scripts become known, one call each fails */
    cr_assert_eq(read_some(&a, false, 1), 1);
    do_many(QUEUE_REQUEUE, evs, 1, true);
    cr_assert_eq(read_some(&a, false, 1), 1);
    do_many(QUEUE_ACK, evs, 1, true);
    do_many(QUEUE_BURY, evs, 1, false);

    long before = evalsha_calls();
    do_many(QUEUE_PUBLISH, evs, 256, false);
    cr_expect_eq(evalsha_calls() - before, 1);
    cr_assert_eq(read_some(&a, false, 256), 256);
    before = evalsha_calls();
    do_many(QUEUE_ACK, evs, 256, true);
    cr_expect_eq(evalsha_calls() - before, 1);
    EXPECT_STATS(.dead = 1);
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        before = evalsha_calls();
        do_many(ops[k], evs, 600, false);
        cr_expect_eq(evalsha_calls() - before, 3, "operation %d", (int)ops[k]);
    }
}

Test(queue, a_request_not_sent_yet_can_be_taken_back)
{
    struct change_event *ev = event(), *other = event();
    struct got g[2];
    struct queue_req r[2] = {request(ev, "", &g[0]), request(other, "", &g[1])};
    queue_do(a.queue, QUEUE_PUBLISH, &r[0]);
    queue_do(a.queue, QUEUE_PUBLISH, &r[1]);
    cr_expect(queue_undo(a.queue, QUEUE_PUBLISH, &r[0]));
    RUN_UNTIL(g[1].calls);
    cr_expect_eq(g[0].calls, 0);
    cr_expect_not(queue_undo(a.queue, QUEUE_PUBLISH, &r[1]));
    take(&a, other);
}

Test(queue, without_redis_requests_are_answered_and_the_queue_goes_on_later)
{
    struct change_event *ev = event();
    struct got g;
    struct queue_req r = request(ev, "", &g);
    test_redis_kill(server);
    queue_do(a.queue, QUEUE_PUBLISH, &r);
    RUN_UNTIL(g.calls);
    cr_expect(g.rc == HL_RETRY || g.rc == HL_UNSURE, "%s", hl_rc_name(g.rc));
    test_redis_restart(server);
    RUN_UNTIL(redis_up(a.redis) && redis_up(a.reader));
    publish(ev);
    EXPECT_STATS(.length = 1, .lag = 1);
}

Test(queue, stats_of_an_empty_redis_are_nothing)
{
    redis_text(server, "FLUSHALL");
    EXPECT_STATS(0);
}

/* Every operation in every order it may come; the lag must be a number throughout, and right. */
Test(queue, the_lag_stays_known_through_all_operations)
{
    worker_start(&b, "b");
    unsigned dice = 12345;
    int undelivered = 0;
    for (int round = 0; round < 60; round++) {
        struct change_event *ev = event();
        publish(ev);
        publish(event());
        undelivered += 2;
        struct worker *w = round % 2 ? &a : &b;
        int n = read_some(w, false, 1);
        cr_assert_eq(n, 1);
        undelivered--;
        struct change_event *got = NULL;
        for (int i = 0; i < nevents && !got; i++)
            if (uuid_equal(&events[i].id, &batch.ids[0]))
                got = &events[i];
        char entry[QUEUE_ENTRY_MAX];
        snprintf(entry, sizeof(entry), "%s", batch.entries[0]);
        dice = dice * 1103515245 + 12345;
        switch (dice >> 16 & 7) {
        case 0:
        case 1:
        case 2: ack(w, got, entry); break;
        case 3:
            requeue(w, got, entry, 0);
            undelivered++;
            break;
        case 4: requeue(w, got, entry, 3600000); break;
        case 5: bury(got, entry, "x"); break;
        case 6: undelivered += (int)takeover("b", 100).n; break;
        default:
            requeue(w, ev, "", 0); /* as a rule not delivered yet */
            undelivered += got == ev;
        }
        struct queue_stats s = stats();
        cr_assert_geq(s.lag, 0, "round %d: the lag is unknown", round);
        cr_assert_eq(s.lag, undelivered, "round %d: %lld", round, (long long)s.lag);
        cr_assert_eq(s.length, s.lag + s.pending, "round %d", round);
    }
    read_some(&a, false, MAX_READ);
    cr_expect(strstr(redis_text(server, "XINFO GROUPS " STREAM), "lag\n0"), "Redis knows it too");
}

/* --- which generation, and who looks after it -------------------------------------------- */

struct attended {
    int calls;
    enum hl_rc rc;
    char generation[64];
    bool in_office, group_created;
};

static void on_attended(
    enum hl_rc rc, const struct queue_census *census, const struct hl_err *err, void *ctx)
{
    struct attended *got = ctx;
    (void)err;
    got->calls++;
    got->rc = rc;
    snprintf(got->generation, sizeof(got->generation), "%s", census->generation);
    got->in_office = census->in_office;
    got->group_created = census->group_created;
}

static struct attended attend(const char *who, int64_t office_ms)
{
    struct attended got = {0};
    queue_attend(a.queue, who, office_ms, on_attended, &got);
    RUN_UNTIL(got.calls);
    cr_assert_eq(got.rc, HL_OK);
    return got;
}

static void on_remembered(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    (void)err;
    *(int *)ctx = rc == HL_OK ? 1 : -1;
}

Test(queue, a_generation_is_remembered_until_redis_forgets)
{
    int done = 0;
    cr_expect_str_empty(attend("me", 60000).generation);
    queue_remember(a.queue, "first", on_remembered, &done);
    RUN_UNTIL(done == 1);
    cr_expect_str_eq(attend("me", 60000).generation, "first");
    redis_text(server, "FLUSHALL");
    struct attended got = attend("me", 60000);
    cr_expect_str_empty(got.generation);
    cr_expect(got.group_created);
    cr_expect(group_is_there());
    cr_expect_not(attend("me", 60000).group_created);
}

Test(queue, one_at_a_time_is_in_office)
{
    cr_expect(attend("me", 60000).in_office);
    cr_expect_not(attend("you", 60000).in_office);
    cr_expect(attend("me", 50).in_office, "and may shorten it");
    RUN_UNTIL(attend("you", 60000).in_office);
    cr_expect_not(attend("me", 60000).in_office);
}

Test(queue, everything_lives_under_one_hash_tag)
{
    struct change_event *ev = event();
    publish(ev);
    bury(ev, take(&a, ev), "x");
    requeue(&a, event(), "", 3600000);
    publish_seen(event());
    queue_alive(a.queue, 60000, NULL, NULL);
    attend("me", 60000);
    queue_remember(a.queue, "g", NULL, NULL);
    RUN_UNTIL(redis_int(server, "EXISTS {t:x}:worker:a {t:x}:generation") == 2);
    cr_expect_leq(redis_int(server, "PTTL {t:x}:worker:a"), 60000);
    cr_expect_gt(redis_int(server, "PTTL {t:x}:worker:a"), 0);
    char *keys = mem_strdup(redis_text(server, "KEYS *"));
    int n = 0;
    for (char *k = strtok(keys, "\n"); k; k = strtok(NULL, "\n"), n++)
        cr_expect_eq(strncmp(k, "{t:x}:", 6), 0, "%s", k);
    /* stream, later, its jobs, dead, two markers, seen, worker, generation, reconciler */
    cr_expect_eq(n, 10);
    free(keys);
}
