/* One delivery is one event, however often its sender repeats it, whichever producer it meets and
 * whatever dies in between; and the signatures that say who sends. Real producers, PostgreSQL and
 * Redis. */
#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <glob.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

TestSuite(intake_once, .timeout = 150);

#define SECRET   "0123456789abcdef0123456789abcdef"
#define PREVIOUS "fedcba9876543210fedcba9876543210"
#define WHSEC    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define TOKEN    "an-intake-token-of-forty-characters-0123"
#define ROUTE    "/api/webhook/changedetection"
#define KEY      "Idempotency-Key: k1\r\n"

enum { MAX_PRODUCERS = 2 };

struct door { /* one producer program with a spool of its own */
    struct test_proc *producer;
    int port, fd;
};

struct world {
    struct test_pg *pg; /* NULL: a database in the suite's cluster */
    struct test_redis *redis;
    const char *database;
    struct door doors[MAX_PRODUCERS];
    int n;
};

static void open_door(struct world *w, const char *const *settings)
{
    struct door *d = &w->doors[w->n];
    const char *env[16];
    int n = 0;
    for (; settings && settings[n]; n++)
        env[n] = settings[n];
    const char *const more[] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_RATE_LIMIT=0",
        "WEBHOOK_INTAKE_TOKEN=" TOKEN, "WEBHOOK_LOG_FORMAT=json",
        harness_text("WEBHOOK_DATABASE_URL=%s", w->database),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s/spool%d", harness_dir(), w->n)};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        env[n++] = more[i];
    bool own_secret = settings && settings[0] && strncmp(settings[0], "WEBHOOK_SECRET=", 15) == 0;
    env[n++] = own_secret ? NULL : "WEBHOOK_SECRET=" SECRET;
    env[n] = NULL;
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    d->fd = harness_listen(&d->port);
    d->producer = test_proc_start(argv, env, d->fd);
    w->n++;
}

static struct test_reply post_at(
    const struct world *w, int door, const char *headers, const char *body)
{
    return test_http(w->doors[door].port, "POST", ROUTE, headers, body, strlen(body));
}

static struct test_reply post(const struct world *w, const char *headers, const char *body)
{
    return post_at(w, 0, headers, body);
}

static const char *with_token(const char *headers)
{
    return harness_text("X-Webhook-Token: " TOKEN "\r\n%s", headers);
}

static const char *with_signature(const char *headers, const char *body)
{
    return harness_text("X-Signature: %s\r\n%s", test_sign(SECRET, body, strlen(body)), headers);
}

#define BODY                                                                                       \
    "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/a\","                                \
    "\"detected_at\":\"2026-01-02T03:04:05Z\"}"
#define OTHER                                                                                      \
    "{\"watch_id\":\"w2\",\"watch_url\":\"https://example.com/b\","                                \
    "\"detected_at\":\"2026-01-02T03:04:05Z\"}"
#define UNTIMED "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/a\"}"

static bool ready(const struct world *w, int door)
{
    struct test_reply r = test_http(w->doors[door].port, "GET", "/health", NULL, NULL, 0);
    if (!strstr(r.body, "\"status\":\"healthy\""))
        return false;
    r = post_at(w, door, with_token(harness_text("webhook-id: warm-up-%d\r\n", door)), UNTIMED);
    return r.status == 202 && sql_int(w->database, "SELECT count(*) FROM webhook.change_events");
}

/* What a producer took in before it knew its tables has become rows. */
static bool spools_empty(void)
{
    glob_t found;
    struct stat st;
    bool empty = true;
    if (glob(harness_text("%s/spool*/*.seg", harness_dir()), 0, NULL, &found) != 0)
        return true;
    for (size_t i = 0; i < found.gl_pathc; i++)
        if (stat(found.gl_pathv[i], &st) == 0 && st.st_size > 8) /* more than its head */
            empty = false;
    globfree(&found);
    return empty;
}

static void wait_ready(const struct world *w)
{
    for (int i = 0; i < w->n; i++)
        WAIT_FOR(ready(w, i), 30000);
    WAIT_FOR(sql_int(w->database, "SELECT count(*) FROM webhook.change_events") == w->n, 30000);
    WAIT_FOR(spools_empty(), 30000);
    sql_exec(w->database, "TRUNCATE webhook.change_events");
    redis_text(w->redis, "FLUSHALL");
}

static struct world start_at(struct test_pg *pg, int producers, const char *const *settings)
{
    struct world w = {.pg = pg,
        .database = pg ? test_pg_url(pg) : harness_database(true),
        .redis = test_redis_start()};
    while (w.n < producers)
        open_door(&w, settings);
    wait_ready(&w);
    return w;
}

static struct world start(const char *const *settings)
{
    return start_at(NULL, 1, settings);
}

static void stop(struct world *w)
{
    for (int i = 0; i < w->n; i++) {
        struct test_proc *p = w->doors[i].producer;
        test_proc_signal(p, SIGTERM);
        cr_assert_eq(test_proc_wait(p, 30000), 0, "%s", test_proc_log(p));
        close(w->doors[i].fd);
    }
    test_redis_free(w->redis);
    test_pg_free(w->pg);
}

static long rows(const struct world *w)
{
    return sql_int(w->database, "SELECT count(*) FROM webhook.change_events");
}

static long jobs(const struct world *w)
{
    return redis_int(w->redis, "XLEN {hookline}:q:change");
}

static bool duplicate(const struct test_reply *r)
{
    const char *value = test_reply_header(r, "Hookline-Duplicate");
    return value && strcmp(value, "true") == 0;
}

#define EXPECT_NEW(r)                                                                              \
    cr_assert((r).status == 202 && !test_reply_header(&(r), "Hookline-Duplicate"), "%d %s%s",      \
        (r).status, (r).headers, (r).body)
#define EXPECT_DUPLICATE(r)                                                                        \
    cr_assert((r).status == 202 && duplicate(&(r)), "%d %s%s", (r).status, (r).headers, (r).body)
#define EXPECT_CONFLICT(r)                                                                         \
    do {                                                                                           \
        cr_assert_eq((r).status, 409, "%d %s", (r).status, (r).body);                              \
        cr_assert(strstr((r).body, "with a different body"), "%s", (r).body);                      \
    } while (0)

/* --- repeated deliveries ----------------------------------------------------------------- */

Test(intake_once, a_repeated_delivery_gets_the_original_receipt)
{
    static const struct {
        const char *headers, *body;
        bool token;
    } rows_[] = {
        {"webhook-id: k1\r\n",      BODY,                                                            false},
        {"Idempotency-Key: k2\r\n", BODY,                                                            false},
        {"Idempotency-Key: k3\r\n", UNTIMED,                                                         true },
        {"",                        "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"webhookId\":\"k4\"}", true },
        {"",                        "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"scrapeId\":\"k5\"}",  true },
        {"",                        BODY,                                                            false},
        {"",                        OTHER,                                                           true },
    };
    enum { N = sizeof(rows_) / sizeof(rows_[0]) };
    struct world w = start(NULL);
    for (int i = 0; i < N; i++) {
        const char *headers = rows_[i].token ? with_token(rows_[i].headers)
                                             : with_signature(rows_[i].headers, rows_[i].body);
        struct test_reply first = post(&w, headers, rows_[i].body);
        struct test_reply again = post(&w, headers, rows_[i].body);
        EXPECT_NEW(first);
        EXPECT_DUPLICATE(again);
        cr_expect_str_eq(again.body, first.body, "row %d: %s", i, again.body);
        cr_expect_eq(rows(&w), i + 1, "row %d", i);
        cr_expect_eq(jobs(&w), i + 1, "row %d", i);
    }
    stop(&w);
}

Test(intake_once, equal_notices_without_a_time_are_two_events)
{
    struct world w = start(NULL);
    for (int i = 0; i < 2; i++) {
        struct test_reply r = post(&w, with_token(""), UNTIMED);
        EXPECT_NEW(r);
    }
    cr_expect_eq(rows(&w), 2);
    stop(&w);
}

Test(intake_once, without_a_window_only_keys_make_one_event)
{
    struct world w = start((const char *const[]){"WEBHOOK_DEDUP_WINDOW=0", NULL});
    for (int i = 0; i < 2; i++) {
        struct test_reply r = post(&w, with_token(""), BODY);
        EXPECT_NEW(r);
    }
    struct test_reply first = post(&w, with_token(KEY), BODY),
                      again = post(&w, with_token(KEY), BODY);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_eq(rows(&w), 3);
    cr_expect_str_eq(redis_text(w.redis, "KEYS {hookline}:seen:*"), "");
    stop(&w);
}

Test(intake_once, another_body_under_a_key_is_told_and_changes_nothing)
{
    struct world w = start(NULL);
    struct test_reply first = post(&w, with_token(KEY), BODY);
    const char *row = "SELECT e::text FROM webhook.change_events e";
    const char *before = sql_text(w.database, "%s", row);
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    struct test_reply again = post(&w, with_token(KEY), BODY);
    EXPECT_NEW(first);
    EXPECT_CONFLICT(other);
    EXPECT_DUPLICATE(again);
    cr_expect_eq(rows(&w), 1);
    cr_expect_eq(jobs(&w), 1);
    cr_expect_str_eq(sql_text(w.database, "%s", row), before);
    cr_expect(test_proc_logged(w.doors[0].producer, "event_conflict"));
    stop(&w);
}

Test(intake_once, a_key_that_is_too_long_is_refused_by_name)
{
    struct world w = start(NULL);
    char key[257] = "";
    memset(key, 'k', 256);
    struct test_reply r = post(&w, with_token(harness_text("webhook-id: %s\r\n", key)), BODY);
    cr_expect_eq(r.status, 400);
    cr_expect_str_eq(r.body, "{\"detail\":\"Invalid payload: webhook-id: at most 255 bytes\"}");
    cr_expect_eq(rows(&w), 0);
    stop(&w);
}

/* --- many at the same moment ------------------------------------------------------------- */

static int dial(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* All but the last byte: the request is not there before that has been sent. */
static int post_but_the_end(const struct world *w, int door, const char *headers, const char *body)
{
    const char *text = harness_text("POST " ROUTE " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                                    "Content-Length: %zu\r\n%s\r\n%s",
        strlen(body), headers, body);
    size_t len = strlen(text) - 1;
    int fd = dial(w->doors[door].port);
    cr_assert_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
    return fd;
}

static void post_the_end(int fd, const char *body)
{
    cr_assert_eq(send(fd, body + strlen(body) - 1, 1, MSG_NOSIGNAL), 1);
}

/* All that comes until the other side closes; "" when it broke off. */
static const char *answer(int fd)
{
    char *text = mem_zero(4096);
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 30000), 1, "no answer");
        ssize_t n = recv(fd, text + len, 4095 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    return harness_hold(text);
}

enum { CROWD = 64 };

/* Posts at both producers at once; all receipts are equal, and one is the first. */
static void crowd(struct world *w, const char *headers, const char *body)
{
    int fds[CROWD], firsts = 0;
    const char *receipt = NULL;
    for (int i = 0; i < CROWD; i++)
        fds[i] = post_but_the_end(w, i % w->n, headers, body);
    for (int i = 0; i < CROWD; i++)
        post_the_end(fds[i], body);
    for (int i = 0; i < CROWD; i++) {
        const char *text = answer(fds[i]), *end = strstr(text, "\r\n\r\n");
        cr_assert(strncmp(text, "HTTP/1.1 202 ", 13) == 0 && end, "%d: %s", i, text);
        if (!receipt)
            receipt = end;
        cr_expect_str_eq(end, receipt, "%d: %s", i, text);
        firsts += strstr(text, "Hookline-Duplicate: true") == NULL;
    }
    cr_expect_eq(firsts, 1, "%d", firsts);
}

Test(intake_once, sixty_four_at_once_on_two_producers_are_one_row_and_equal_receipts)
{
    struct world w = start_at(NULL, 2, NULL);
    for (int round = 1; round <= 10; round++) {
        crowd(&w, with_token(harness_text("Idempotency-Key: crowd-%d\r\n", round)), BODY);
        cr_assert_eq(rows(&w), round);
        cr_assert_eq(jobs(&w), round);
    }
    crowd(&w, with_token(""), BODY); /* by their bytes */
    cr_assert_eq(rows(&w), 11);
    stop(&w);
}

Test(intake_once, sixty_four_at_once_are_one_job_when_redis_answers_alone)
{
    struct world w = start_at(NULL, 2, (const char *const[]){"WEBHOOK_ACK=queue", NULL});
    for (int round = 1; round <= 10; round++) {
        crowd(&w, with_token(harness_text("Idempotency-Key: crowd-%d\r\n", round)), BODY);
        WAIT_FOR(rows(&w) == round, 20000);
        cr_assert_eq(jobs(&w), round);
    }
    stop(&w);
}

/* --- who remembers ----------------------------------------------------------------------- */

Test(intake_once, the_row_decides_when_redis_has_forgotten)
{
    struct world w = start(NULL);
    struct test_reply first = post(&w, with_token(KEY), BODY);
    redis_text(w.redis, "FLUSHALL");
    struct test_reply again = post(&w, with_token(KEY), BODY);
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(again.body, first.body);
    EXPECT_CONFLICT(other);
    cr_expect_eq(rows(&w), 1);
    stop(&w);
}

Test(intake_once, the_row_decides_while_redis_is_dead)
{
    struct world w = start(NULL);
    test_redis_kill(w.redis);
    struct test_reply first = post(&w, with_token(KEY), BODY),
                      again = post(&w, with_token(KEY), BODY);
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(again.body, first.body);
    EXPECT_CONFLICT(other);
    cr_expect_eq(rows(&w), 1);
    stop(&w);
}

Test(intake_once, redis_decides_while_postgres_is_dead)
{
    struct world w = start_at(test_pg_start(), 1, NULL);
    const char *fresh = with_token("Idempotency-Key: while-dead\r\n");
    struct test_reply before = post(&w, with_token(KEY), BODY);
    EXPECT_NEW(before);
    test_pg_kill(w.pg);
    struct test_reply again = post(&w, with_token(KEY), BODY);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(test_reply_member(&again, "job_id"), test_reply_member(&before, "job_id"));
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    EXPECT_CONFLICT(other);
    struct test_reply first = post(&w, fresh, OTHER);
    again = post(&w, fresh, OTHER);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(again.body, first.body);
    cr_expect_eq(jobs(&w), 2);

    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w) == 2, 30000);
    WAIT_FOR(strcmp(test_reply_member(&again, "change_event_id"), "null") != 0 ||
                 (again = post(&w, fresh, OTHER), false),
        30000);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(test_reply_member(&again, "job_id"), test_reply_member(&first, "job_id"));
    cr_expect_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events"
                                     " WHERE watch_url LIKE '%%/a'"),
        1);
    cr_expect_eq(rows(&w), 2);
    stop(&w);
}

Test(intake_once, with_ack_queue_redis_decides_and_what_it_forgot_is_a_dead_letter)
{
    struct world w = start((const char *const[]){"WEBHOOK_ACK=queue", NULL});
    struct test_reply first = post(&w, with_token(KEY), BODY),
                      again = post(&w, with_token(KEY), BODY);
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(again.body, first.body);
    EXPECT_CONFLICT(other);
    WAIT_FOR(rows(&w) == 1, 20000);

    redis_text(w.redis, "FLUSHALL");
    other = post(&w, with_token(KEY), OTHER);
    EXPECT_NEW(other); /* nobody knew better before the answer */
    WAIT_FOR(redis_int(w.redis, "XLEN {hookline}:dead") == 1, 20000);
    cr_expect(strstr(redis_text(w.redis, "XRANGE {hookline}:dead - +"), "same id, other body"));
    cr_expect(test_proc_logged(w.doors[0].producer, "event_conflict"));
    cr_expect_eq(rows(&w), 1);
    cr_expect_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events"
                                     " WHERE watch_url LIKE '%%/a'"),
        1);
    stop(&w);
}

Test(intake_once, a_conflict_found_behind_a_202_waits_in_the_spool_while_redis_takes_no_dead_letter)
{
    struct world w = start((const char *const[]){"WEBHOOK_ACK=queue", NULL});
    struct test_reply first = post(&w, with_token(KEY), BODY);
    EXPECT_NEW(first);
    WAIT_FOR(rows(&w) == 1, 20000);
    redis_text(w.redis, "FLUSHALL");
    redis_text(w.redis, "SET {hookline}:dead in-the-way");
    struct test_reply other = post(&w, with_token(KEY), OTHER);
    EXPECT_NEW(other);
    WAIT_FOR(test_proc_logged(w.doors[0].producer, "dead_letters_wait"), 20000);
    redis_text(w.redis, "DEL {hookline}:dead");
    WAIT_FOR(redis_int(w.redis, "XLEN {hookline}:dead") == 1, 20000);
    stop(&w);
}

/* --- a producer that dies ---------------------------------------------------------------- */

/* While Redis hangs the row is there for 300 ms before the answer is. "" when it died in that
 * time. */
static const char *killed_before_its_answer(struct world *w, const char *headers)
{
    pid_t child;
    test_redis_pause(w->redis);
    int fd = post_but_the_end(w, 0, headers, BODY);
    post_the_end(fd, BODY);
    WAIT_FOR(rows(w) == 1, 20000);
    cr_assert_eq(harness_children(test_proc_pid(w->doors[0].producer), NULL, &child, 1), 1);
    kill(child, SIGKILL);
    const char *text = answer(fd);
    test_redis_resume(w->redis);
    return text;
}

Test(intake_once, a_producer_killed_before_its_answer_leaves_the_receipt_to_the_retry)
{
    struct world w = start(NULL);
    const char *headers = "";
    for (int i = 0;; i++) { /* until the kill came in time */
        cr_assert_lt(i, 10);
        headers = with_token(harness_text("webhook-id: crash-%d\r\n", i));
        if (!*killed_before_its_answer(&w, headers))
            break;
        sql_exec(w.database, "TRUNCATE webhook.change_events");
    }
    const char *id = sql_text(w.database, "SELECT event_id FROM webhook.change_events");
    const char *row = sql_text(w.database, "SELECT id FROM webhook.change_events");
    struct test_reply again;
    WAIT_FOR((again = post(&w, headers, BODY)).status == 202 &&
                 strcmp(test_reply_member(&again, "change_event_id"), "null") != 0,
        30000);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(test_reply_member(&again, "job_id"), id);
    cr_expect_str_eq(test_reply_member(&again, "change_event_id"), row);
    cr_expect_eq(rows(&w), 1);
    stop(&w);
}

/* --- signatures -------------------------------------------------------------------------- */

/* Headers of a delivery that is so many seconds old; key: the decoded one. */
static const char *standard(
    const void *key, size_t key_len, const char *id, int age, const char *body)
{
    char mac64[64];
    uint8_t mac[DIGEST_LEN];
    long at = (long)time(NULL) - age;
    const char *text = harness_text("%s.%ld.%s", id, at, body);
    digest_hmac_bytes(key, key_len, text, strlen(text), mac);
    EVP_EncodeBlock((unsigned char *)mac64, mac, sizeof(mac));
    return harness_text("webhook-id: %s\r\nwebhook-timestamp: %ld\r\n"
                        "webhook-signature: v1,bm90IG91cnM= v1,%s\r\n",
        id, at, mac64);
}

Test(intake_once, standard_webhooks_are_verified_and_known_by_their_id)
{
    uint8_t key[32];
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)i;
    struct world w = start((const char *const[]){"WEBHOOK_SECRET=" WHSEC, NULL});
    struct test_reply first = post(&w, standard(key, 32, "msg_1", 200, BODY), BODY);
    struct test_reply again = post(&w, standard(key, 32, "msg_1", 0, BODY), BODY);
    struct test_reply next = post(&w, standard(key, 32, "msg_2", 0, BODY), BODY);
    EXPECT_NEW(first);
    EXPECT_DUPLICATE(again);
    cr_expect_str_eq(again.body, first.body);
    EXPECT_NEW(next);
    cr_expect_eq(rows(&w), 2);
    cr_expect_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events"
                                     " WHERE metadata ->> 'signature' LIKE 'v1,%% v1,%%'"),
        2);

    const struct {
        const char *headers, *body, *detail;
    } refused[] = {
        {standard(key, 32,       "msg_3",                                    400, BODY), BODY,
         "The webhook-timestamp is more than 5 minutes old"},
        {standard(key,       32,           "msg_3",                 -400, BODY), BODY,
         "The webhook-timestamp is more than 5 minutes ahead of this clock"},
        {standard(key, 32, "msg_3",                          0, OTHER), BODY, "Invalid signature"},
        {standard(key,       31,           "msg_3", 0, BODY), BODY, "Invalid signature"},
        {"webhook-signature: v1,AAAA\r\nwebhook-timestamp: 1\r\n", BODY,
         "Missing webhook-id header"                                         },
        {"webhook-signature: v1,AAAA\r\nwebhook-id: m\r\n",      BODY,
         "Missing webhook-timestamp header"                                },
        {"webhook-signature: v1,AAAA\r\nwebhook-id: m\r\nwebhook-timestamp: now\r\n", BODY,
         "Invalid webhook-timestamp header: must be seconds since 1970"                         },
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct test_reply r = post(&w, refused[i].headers, refused[i].body);
        cr_expect_eq(r.status, 401, "row %zu: %d", i, r.status);
        cr_expect_str_eq(
            test_reply_member(&r, "detail"), refused[i].detail, "row %zu: %s", i, r.body);
    }
    cr_expect_eq(rows(&w), 2);
    stop(&w);
}

Test(intake_once, the_previous_secret_is_accepted_and_the_log_says_so_once)
{
    struct world w = start((const char *const[]){"WEBHOOK_SECRET_PREVIOUS=" PREVIOUS, NULL});
    for (int i = 0; i < 3; i++) {
        const char *now = standard(SECRET, strlen(SECRET), harness_text("now_%d", i), 0, BODY);
        const char *old = standard(PREVIOUS, strlen(PREVIOUS), harness_text("old_%d", i), 0, BODY);
        struct test_reply a = post(&w, now, BODY), b = post(&w, old, BODY);
        EXPECT_NEW(a);
        EXPECT_NEW(b);
    }
    struct test_reply r = post(
        &w, harness_text("X-Signature: %s\r\n", test_sign(PREVIOUS, OTHER, strlen(OTHER))), OTHER);
    EXPECT_NEW(r);
    r = post(
        &w, harness_text("X-Signature: %s\r\n", test_sign(WHSEC, OTHER, strlen(OTHER))), OTHER);
    cr_expect_eq(r.status, 401);
    cr_expect_eq(rows(&w), 7);
    const char *log = test_proc_log(w.doors[0].producer);
    const char *told = strstr(log, "previous_secret_used");
    cr_assert(told, "%s", log);
    cr_expect_null(strstr(told + 1, "previous_secret_used"), "at most once a minute");
    cr_expect_null(strstr(log, PREVIOUS), "no secret is logged");
    stop(&w);
}
