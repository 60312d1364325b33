/* Firecrawl's webhooks as Firecrawl meets them: a real producer and a real Redis, which is killed,
 * paused and filled. PostgreSQL is away all the time: it has no part in this. A 2xx means that the
 * event is found on the crawl queue, exactly once. */
#include "base/buf.h"
#include "base/crawl_job.h"
#include "base/json.h"
#include "base/mem.h"
#include "io/spool_file.h"
#include "tests/support/harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(crawl_intake, .timeout = 150);

#define SECRET   "0123456789abcdef0123456789abcdef"
#define TOKEN    "an-intake-token-of-forty-characters-0123"
#define ROUTE    "/api/webhook/firecrawl"
#define PATIENCE 2.0 /* seconds; Firecrawl has ten */
#define MIB      (1024 * 1024)

/* --- a producer and its Redis ------------------------------------------------------------ */

struct world {
    struct test_redis *redis;
    struct test_proc *producer;
    const char *spool;
    int port, fd;
};

static bool serves(const struct world *w)
{
    struct test_reply r = test_http(w->port, "GET", "/health", NULL, NULL, 0);
    return strstr(r.body, "\"redis\":\"healthy\"") != NULL;
}

/* settings: "NAME=value", NULL-terminated; they win. "NAME=": it is not set. */
static void start_producer(struct world *w, const char *const *settings)
{
    const char *const usual[] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_SECRET=" SECRET,
        "WEBHOOK_INTAKE_TOKEN=" TOKEN,
        harness_text("WEBHOOK_DATABASE_URL=postgresql://u@127.0.0.1:%d/x", harness_free_port()),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", w->spool)};
    const char *env[16] = {0};
    int n = 0, wanted = 0;
    for (; settings && settings[wanted]; wanted++)
        if (settings[wanted][strcspn(settings[wanted], "=") + 1])
            env[n++] = settings[wanted];
    for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++) {
        size_t name = strcspn(usual[i], "=") + 1;
        bool given = false;
        for (int j = 0; j < wanted; j++)
            given |= strncmp(settings[j], usual[i], name) == 0;
        if (!given)
            env[n++] = usual[i];
    }
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    w->producer = test_proc_start(argv, env, w->fd);
    WAIT_FOR(serves(w), 30000);
}

static struct world start_with(const char *const *settings)
{
    static int serial;
    struct world w = {
        .redis = test_redis_start(), .spool = harness_text("%s/spool%d", harness_dir(), ++serial)};
    w.fd = harness_listen(&w.port);
    start_producer(&w, settings);
    return w;
}

static struct world start(void)
{
    return start_with(NULL);
}

static void stop(struct world *w)
{
    test_proc_signal(w->producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w->producer, 30000), 0, "%s", test_proc_log(w->producer));
    test_redis_free(w->redis);
    close(w->fd);
}

static struct test_reply post_raw(
    const struct world *w, const char *headers, const char *body, size_t len)
{
    return test_http(w->port, "POST", ROUTE, headers, body, len);
}

static const char *signature(const char *body, size_t len)
{
    return harness_text("X-Firecrawl-Signature: sha256=%s\r\n", test_sign(SECRET, body, len));
}

static struct test_reply post_bytes(const struct world *w, const char *body, size_t len)
{
    return post_raw(w, signature(body, len), body, len);
}

static struct test_reply post(const struct world *w, const char *body)
{
    return post_bytes(w, body, strlen(body));
}

/* --- what is where ----------------------------------------------------------------------- */

static long jobs(const struct world *w)
{
    return redis_int(w->redis, "XLEN {hookline}:q:crawl");
}

static long dead(const struct world *w)
{
    return redis_int(w->redis, "XLEN {hookline}:dead");
}

/* Bytes of frames in all segments of crawl events. */
static int64_t spooled(const struct world *w)
{
    int64_t frames = 0;
    DIR *d = opendir(w->spool);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        size_t len = strlen(e->d_name);
        if (len > 6 && strcmp(e->d_name + len - 6, ".crawl") == 0 &&
            fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            frames += st.st_size - 8;
    }
    if (d)
        closedir(d);
    return frames;
}

static redisReply *ask(const struct world *w, const char *fmt, const char *arg)
{
    redisContext *c = redisConnect("127.0.0.1", atoi(strrchr(test_redis_url(w->redis), ':') + 1));
    redisReply *r = redisCommand(c, fmt, arg);
    cr_assert(r && r->type != REDIS_REPLY_ERROR);
    redisFree(c);
    return r;
}

/* The newest job of the queue, decoded; the caller releases it. */
static struct crawl_job last_job(const struct world *w)
{
    struct crawl_job job;
    struct hl_err err;
    char id[UUID_STRLEN + 1];
    redisReply *r = ask(w, "XREVRANGE {hookline}:q:crawl + - COUNT %s", "1"), *blob = NULL;
    cr_assert_eq(r->elements, 1);
    const redisReply *fields = r->element[0]->element[1], *bytes = fields->element[3];
    if (strcmp(fields->element[2]->str, "len") == 0)
        bytes = blob = ask(w, "GET {hookline}:blob:%s", fields->element[1]->str);
    cr_assert_eq(crawl_job_decode(bytes->str, bytes->len, &job, &err), HL_OK, "%s", err.msg);
    uuid_format(&job.id, id);
    cr_assert_str_eq(fields->element[1]->str, id);
    freeReplyObject(r);
    if (blob)
        freeReplyObject(blob);
    return job;
}

static void expect_last_job(const struct world *w, const char *body, size_t len)
{
    struct crawl_job job = last_job(w);
    cr_expect_eq(job.len, len);
    cr_expect(job.len == len && memcmp(job.body, body, len) == 0);
    cr_expect(!job.reconciled && job.request_id && strlen(job.request_id) == UUID_STRLEN);
    cr_expect_gt(job.received_at, INT64_C(1700000000000000));
    crawl_job_release(&job);
}

static void expect_nothing_kept(const struct world *w)
{
    cr_expect_eq(jobs(w), 0);
    cr_expect_str_eq(redis_text(w->redis, "KEYS {hookline}:[qjbsd]*"), "",
        "no entry, no marker, no large job, no dead letter");
    cr_expect_eq(spooled(w), 0);
}

static void expect_reply(const struct test_reply *r, int status, const char *body)
{
    cr_expect_eq(r->status, status, "%d %s", r->status, r->body);
    cr_expect_str_eq(r->body, body);
    cr_expect_str_eq(test_reply_header(r, "Content-Type"), "application/json");
}

/* --- events ------------------------------------------------------------------------------ */

#define STARTED                                                                                    \
    "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c1\",\"data\":[],\"metadata\":{"        \
    "\"url\":\"https://example.com\"}}"
#define STARTED_DIGEST "02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a085"
#define DOC(n)                                                                                     \
    "{\"markdown\":\"# " n "\",\"metadata\":{\"url\":\"https://e.com/" n                           \
    "\",\"statusCode\":200,\"scrapeId\":\"" n "\"}}"
#define PAGE(id, documents)                                                                        \
    "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"" id "\",\"data\":[" documents             \
    "],\"metadata\":{}}"
#define SHAPE(errors)                                                                              \
    "{\"detail\":{\"error\":\"Invalid webhook payload structure\",\"validation_errors\":[" errors  \
    "],\"hint\":\"Check data array structure matches Firecrawl API spec\"}}"

/* A page whose text does not compress, of so many bytes. */
static char *large_page(const char *id, size_t len)
{
    char *head = harness_text(
        "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"%s\",\"data\":[{\"metadata\":{\"url\":"
        "\"https://e.com/\",\"statusCode\":200,\"scrapeId\":\"%s\"},\"markdown\":\"",
        id, id);
    static const char tail[] = "\"}]}";
    char *body = harness_hold(mem_zero(len + 1));
    uint32_t x = 88172645;
    size_t at = strlen(head);
    memcpy(body, head, at);
    for (; at < len - strlen(tail); at++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        body[at] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"[x >> 26];
    }
    memcpy(body + at, tail, strlen(tail));
    return body;
}

/* --- the contract's tables --------------------------------------------------------------- */

Test(crawl_intake, what_is_refused_is_told_byte_for_byte_and_touches_nothing)
{
    /* clang-format off */
    static const struct {
        const char *headers; /* NULL: rightly signed */
        const char *body;
        int status;
        const char *answer;
    } table[] = {
        {"", STARTED, 401, "{\"detail\":\"Missing X-Firecrawl-Signature header\"}"},
        {"X-Firecrawl-Signature: \r\n", STARTED, 401,
         "{\"detail\":\"Missing X-Firecrawl-Signature header\"}"},
        {"X-Signature: " STARTED_DIGEST "\r\n", STARTED, 401,
         "{\"detail\":\"Missing X-Firecrawl-Signature header\"}"},
        {"X-Firecrawl-Signature: " STARTED_DIGEST "\r\n", STARTED, 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {"X-Firecrawl-Signature: SHA256=" STARTED_DIGEST "\r\n", STARTED, 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {"X-Firecrawl-Signature: sha256=\r\n", STARTED, 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {"X-Firecrawl-Signature: sha256=" STARTED_DIGEST "0\r\n", STARTED, 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {"X-Firecrawl-Signature: sha256=" STARTED_DIGEST "\r\nX-Firecrawl-Signature: sha256="
         STARTED_DIGEST "\r\n", STARTED, 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {"X-Firecrawl-Signature: sha256=" STARTED_DIGEST "\r\n", STARTED " ", 401,
         "{\"detail\":\"Invalid signature\"}"},
        {"X-Firecrawl-Signature: sha256="
         "02D0F5F5789A953F933B7C92A5A83F9478561F2919429DB75669FE340AA1A085\r\n", STARTED, 401,
         "{\"detail\":\"Invalid signature\"}"},
        {"X-Firecrawl-Signature: sha256=" STARTED_DIGEST "\r\nX-Webhook-Token: " TOKEN "\r\n",
         STARTED "\n", 401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Webhook-Token: wrong\r\n", STARTED, 401, "{\"detail\":\"Invalid token\"}"},
        {"Authorization: Bearer wrong\r\n", STARTED, 401, "{\"detail\":\"Invalid token\"}"},
        {"X-Firecrawl-Signature: rubbish\r\n", "not json", 400,
         "{\"detail\":\"Invalid signature format, expected sha256=<digest>\"}"},
        {NULL, "not json", 400, "{\"detail\":\"Invalid payload: line 1 column 3: not valid JSON\"}"},
        {NULL, "", 400, "{\"detail\":\"Invalid payload: line 1 column 0: the text ends too early\"}"},
        {NULL, "[]", 400, "{\"detail\":\"Invalid payload: must be a JSON object\"}"},
        {NULL, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":null}", 400,
         "{\"detail\":\"Invalid payload: data: must be an array, not null\"}"},
        {NULL, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"a\\u0000\"}", 400,
         "{\"detail\":\"Invalid payload: line 1 column 50: \\\\u0000 is not allowed\"}"},
        {NULL, "{\"a\\u0000\":1}", 400,
         "{\"detail\":\"Invalid payload: line 1 column 10: \\\\u0000 is not allowed\"}"},
        {NULL, "{\"success\":true,\"type\":\"\xff\"}", 400,
         "{\"detail\":\"Invalid payload: line 1 column 24: not valid UTF-8\"}"},
        {NULL, "{\"success\":\"maybe\",\"type\":\"crawl.started\",\"id\":\"c\"}", 422,
         SHAPE("{\"type\":\"bool_parsing\",\"loc\":[\"success\"],\"msg\":\"Input should be a valid "
               "boolean, unable to interpret input\",\"input\":\"maybe\"}")},
        {NULL, "{\"success\":true,\"type\":\"unknown\",\"id\":\"c\"}", 422,
         SHAPE("{\"type\":\"string_pattern_mismatch\",\"loc\":[\"type\"],\"msg\":\"String should "
               "match pattern '^[A-Za-z0-9_-]+\\\\.[A-Za-z0-9_.-]+$'\",\"input\":\"unknown\"}")},
        {NULL, "{\"success\":true,\"type\":\"crawl.started\",\"id\":7}", 422,
         SHAPE("{\"type\":\"string_type\",\"loc\":[\"id\"],\"msg\":\"Input should be a valid "
               "string\",\"input\":7}")},
        {NULL, PAGE("c", DOC("1") ",{\"metadata\":{\"url\":\"u\"}}"), 422,
         SHAPE("{\"type\":\"missing\",\"loc\":[\"data\",1,\"metadata\",\"statusCode\"],\"msg\":"
               "\"Field required\",\"input\":{\"url\":\"u\"}}")},
    };
    /* clang-format on */
    struct world w = start();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct test_reply r =
            table[i].headers ? post_raw(&w, table[i].headers, table[i].body, strlen(table[i].body))
                             : post(&w, table[i].body);
        expect_reply(&r, table[i].status, table[i].answer);
        cr_expect(test_reply_header(&r, "X-Request-ID") && test_reply_header(&r, "X-Process-Time"));
    }
    cr_expect(test_proc_logged(w.producer, "data.1.metadata.statusCode: Field required"));
    expect_nothing_kept(&w);
    stop(&w);
}

Test(crawl_intake, every_type_is_answered_as_the_contract_says_and_is_a_job)
{
    static const char *const lifecycle[] = {"crawl.started", "crawl.completed", "crawl.failed",
        "crawl.cancelled", "batch_scrape.started", "batch_scrape.completed", "batch_scrape.failed",
        "extract.started", "extract.completed", "extract.failed", "agent.action", "monitor.page",
        "monitor.check.completed"};
    struct world w = start();
    long n = 0;
    for (size_t i = 0; i < sizeof(lifecycle) / sizeof(*lifecycle); i++) {
        const char *body = harness_text(
            "{\"success\":true,\"type\":\"%s\",\"id\":\"c\",\"data\":[],\"metadata\":{}}",
            lifecycle[i]);
        struct test_reply r = post(&w, body);
        expect_reply(&r, 200,
            harness_text("{\"status\":\"acknowledged\",\"event_type\":\"%s\"}", lifecycle[i]));
        cr_assert_eq(jobs(&w), ++n);
        expect_last_job(&w, body, strlen(body));
    }
    static const char *const pages[] = {"crawl.page", "batch_scrape.page"};
    for (size_t i = 0; i < 2; i++) {
        const char *body = harness_text(
            "{\"success\":true,\"type\":\"%s\",\"id\":\"c\",\"data\":[],\"metadata\":{}}",
            pages[i]);
        struct test_reply r = post(&w, body);
        expect_reply(&r, 200, "{\"status\":\"no_documents\",\"queued_jobs\":0,\"job_ids\":[]}");
        cr_assert_eq(jobs(&w), ++n);
        expect_last_job(&w, body, strlen(body));
    }
    stop(&w);
}

Test(crawl_intake, a_page_event_names_a_job_for_each_document)
{
    struct world w = start();
    const char *body = PAGE("c", DOC("1") "," DOC("2") "," DOC("3"));
    char ids[3][UUID_STRLEN + 1];
    struct test_reply r = post(&w, body);
    cr_assert_eq(jobs(&w), 1, "one job, whatever the number of documents");
    struct crawl_job job = last_job(&w);
    for (size_t i = 0; i < 3; i++) {
        struct uuid id = crawl_document_id(&job.id, i);
        uuid_format(&id, ids[i]);
    }
    crawl_job_release(&job);
    expect_reply(&r, 202,
        harness_text("{\"status\":\"queued\",\"queued_jobs\":3,\"job_ids\":[\"%s\",\"%s\",\"%s\"]}",
            ids[0], ids[1], ids[2]));
    cr_expect_eq(spooled(&w), 0);
    stop(&w);
}

Test(crawl_intake, an_event_without_success_is_acknowledged_and_recorded)
{
    static const struct {
        const char *body, *id;
    } table[] = {
        {"{\"success\":false,\"type\":\"extract.failed\",\"id\":\"x\",\"error\":\"boom\"}",
         "\"x\""                                                                                   },
        {"{\"success\":false,\"type\":\"crawl.cancelled\",\"id\":\"x\"}",                   "\"x\""},
        {"{\"success\":false,\"type\":\"crawl.page\",\"jobId\":\"j\",\"data\":[7]}",        "null" },
        {"{\"success\":false,\"id\":7,\"data\":null}",                                      "7"    },
        {"{\"success\":false,\"id\":[1]}",                                                  "null" },
        {"{\"success\":false}",                                                             "null" },
    };
    struct world w = start();
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        struct test_reply r = post(&w, table[i].body);
        expect_reply(&r, 200,
            harness_text("{\"status\":\"acknowledged\",\"message\":\"Failed event received and "
                         "logged\",\"event_id\":%s}",
                table[i].id));
        cr_assert_eq(jobs(&w), (long)i + 1);
        expect_last_job(&w, table[i].body, strlen(table[i].body));
    }
    struct test_reply r =
        post(&w, "{\"success\":\"false\",\"type\":\"crawl.failed\",\"id\":\"t\"}");
    expect_reply(&r, 200, "{\"status\":\"acknowledged\",\"event_type\":\"crawl.failed\"}");
    stop(&w);
}

/* --- who may post ------------------------------------------------------------------------ */

Test(crawl_intake, signature_and_token_open_and_the_previous_secret_still_counts)
{
    static const char *const ways[] = {"X-Firecrawl-Signature: sha256=" STARTED_DIGEST "\r\n",
        "X-Firecrawl-Signature:   sha256=" STARTED_DIGEST "  \r\n",
        "x-firecrawl-signature: sha256=" STARTED_DIGEST "\r\n",
        "Authorization: Bearer " TOKEN "\r\n", "X-Webhook-Token: " TOKEN "\r\n"};
    struct world w =
        start_with((const char *const[]){"WEBHOOK_SECRET=another-secret-of-more-than-32-characters",
            "WEBHOOK_SECRET_PREVIOUS=" SECRET, NULL});
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        struct test_reply r = post_raw(&w, ways[i], STARTED, strlen(STARTED));
        expect_reply(&r, 200, "{\"status\":\"acknowledged\",\"event_type\":\"crawl.started\"}");
    }
    cr_expect_eq(jobs(&w), 1);
    cr_expect(test_proc_logged(w.producer, "previous_secret_used"));
    cr_expect_not(test_proc_logged(w.producer, SECRET));
    cr_expect_not(test_proc_logged(w.producer, TOKEN));
    stop(&w);
}

Test(crawl_intake, without_a_token_set_none_counts)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_INTAKE_TOKEN=", NULL});
    struct test_reply r = post_raw(&w, "X-Webhook-Token: " TOKEN "\r\n", STARTED, strlen(STARTED));
    expect_reply(&r, 401, "{\"detail\":\"Missing X-Firecrawl-Signature header\"}");
    expect_nothing_kept(&w);
    stop(&w);
}

/* As a newer Firecrawl signs them, byte for byte. */
Test(crawl_intake, signed_events_of_firecrawls_are_taken_as_they_come)
{
    /* clang-format off */
    static const struct {
        const char *signature, *body;
        int status;
    } sent[] = {
        {"17af112224da6a549909443da357d424264134a0832f448fa6d5270147a120b4",
         "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"e6a02039-51ab-4fa7-9cd6-"
         "515a079d8e47\",\"webhookId\":\"7d0c3a61-0f8e-4c3b-9a55-0d4f5f5b7a01\",\"data\":[],"
         "\"metadata\":{\"watch_uuid\":\"6a4b7d5c-fd4f-44e8-9ab2-2df70a5f7bd6\"}}", 200},
        {"3aecfe3508360d6de01abec7f075c5f5f4443f15115da9bfc8d96a3bfb14123a",
         "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"e6a02039-51ab-4fa7-9cd6-515a079d8e47"
         "\",\"webhookId\":\"7d0c3a61-0f8e-4c3b-9a55-0d4f5f5b7a02\",\"data\":[{\"markdown\":\"# "
         "Page\\n\\ncaf\xc3\xa9 \xe2\x80\x93 \xe6\x97\xa5\xe6\x9c\xac\",\"metadata\":{\"title\":"
         "\"Page\",\"language\":\"en\",\"scrapeId\":\"3fe0313c-63c6-4597-95ad-9cb6b9a9f54c\","
         "\"sourceURL\":\"https://site.example/\",\"url\":\"https://site.example/\",\"statusCode\":"
         "200,\"contentType\":\"text/html; charset=utf-8\",\"proxyUsed\":\"basic\",\"cacheState\":"
         "\"hit\",\"cachedAt\":\"2026-01-01T00:00:00.000Z\",\"creditsUsed\":1}}],\"metadata\":{}}",
         202},
        {"87d1eb56c6af38e469418dac4950ca08be29353d7d2f084456ac01db8e557f0d",
         "{\"success\":true,\"type\":\"crawl.completed\",\"id\":\"e6a02039-51ab-4fa7-9cd6-"
         "515a079d8e47\",\"webhookId\":\"7d0c3a61-0f8e-4c3b-9a55-0d4f5f5b7a03\",\"data\":[],"
         "\"metadata\":{}}", 200},
        {"fa04e81d72afd1ba6b2e88534cfc34806a4e2454b7089188be42907c428a1b87",
         "{\"success\":false,\"type\":\"crawl.cancelled\",\"id\":\"e6a02039-51ab-4fa7-9cd6-"
         "515a079d8e47\",\"webhookId\":\"7d0c3a61-0f8e-4c3b-9a55-0d4f5f5b7a04\",\"data\":[],"
         "\"error\":\"<text>\",\"metadata\":{}}", 200},
        {"efad9eaa9d8dffb9f04427f5148885bd03c3b6ed00d215f1f7bdac6373043078",
         "{\"success\":false,\"type\":\"extract.failed\",\"id\":\"0f6a5cf4-6d10-4b7e-8f1e-"
         "3a3b7f1f0c55\",\"webhookId\":\"7d0c3a61-0f8e-4c3b-9a55-0d4f5f5b7a05\",\"data\":[],"
         "\"error\":\"<text>\",\"metadata\":{}}", 200},
    };
    /* clang-format on */
    struct world w = start_with((const char *const[]){
        "WEBHOOK_SECRET=whsec-sample-0123456789", "WEBHOOK_TEST_MODE=true", NULL});
    enum { N = sizeof(sent) / sizeof(*sent) };
    for (size_t i = 0; i < N; i++) {
        const char *headers = harness_text("Content-Type: application/json\r\n"
                                           "X-Firecrawl-Signature: sha256=%s\r\naccept: */*\r\n"
                                           "accept-language: *\r\nsec-fetch-mode: cors\r\n"
                                           "user-agent: undici\r\n",
            sent[i].signature);
        struct test_reply r = post_raw(&w, headers, sent[i].body, strlen(sent[i].body));
        cr_expect_eq(r.status, sent[i].status, "%zu: %d %s", i, r.status, r.body);
        expect_last_job(&w, sent[i].body, strlen(sent[i].body));
        char *other = harness_hold(mem_strdup(sent[i].body));
        other[20] ^= 1;
        r = post_raw(&w, headers, other, strlen(other));
        cr_expect_eq(r.status, 401, "%zu: every byte is signed", i);
    }
    cr_expect_eq(jobs(&w), N);
    stop(&w);
}

Test(crawl_intake, the_route_takes_a_slash_more_and_no_other_method)
{
    struct world w = start();
    const char *headers = signature(STARTED, strlen(STARTED));
    struct test_reply r = test_http(w.port, "POST", ROUTE "/", headers, STARTED, strlen(STARTED));
    cr_expect_eq(r.status, 200);
    r = test_http(w.port, "GET", ROUTE, NULL, NULL, 0);
    cr_expect_eq(r.status, 405);
    stop(&w);
}

Test(crawl_intake, each_webhook_is_measured_under_its_type)
{
    const char *db = harness_database(true);
    struct world w =
        start_with((const char *const[]){harness_text("WEBHOOK_DATABASE_URL=%s", db), NULL});
    const char *measured = "SELECT coalesce(string_agg(concat_ws('|', operation_name, success, "
                           "crawl_id, document_url, duration_ms > 0, job_id IS NOT NULL), ' ' "
                           "ORDER BY id), '') FROM webhook.operation_metrics";
    post(&w, STARTED);
    post(&w, PAGE("c", DOC("1")));
    post(&w, PAGE("c", DOC("1") "," DOC("2")));
    post(&w, PAGE("c", "7"));
    post(&w, "{\"success\":false}");
    const char *want = "crawl.started|t|c1|t|t crawl.page|t|c|https://e.com/1|t|t "
                       "crawl.page|t|c|t|t crawl|f|t|f crawl|t|t|t";
    WAIT_FOR(strcmp(sql_text(db, "%s", measured), want) == 0, 20000);
    stop(&w);
}

/* --- what comes again -------------------------------------------------------------------- */

Test(crawl_intake, a_repeated_event_has_the_same_answer_and_one_job)
{
    static const char *const bodies[] = {STARTED, PAGE("c", DOC("1")), PAGE("c", ""),
        "{\"success\":false,\"type\":\"crawl.failed\",\"id\":\"c\"}"};
    struct world w = start();
    for (size_t i = 0; i < 4; i++) {
        struct test_reply first = post(&w, bodies[i]);
        cr_expect_null(test_reply_header(&first, "Hookline-Duplicate"));
        for (int again = 0; again < 3; again++) {
            struct test_reply r = post(&w, bodies[i]);
            expect_reply(&r, first.status, first.body);
            cr_expect_str_eq(test_reply_header(&r, "Hookline-Duplicate"), "true");
        }
        cr_expect_eq(jobs(&w), (long)i + 1);
    }
    stop(&w);
}

Test(crawl_intake, pages_of_one_crawl_are_told_apart_by_their_scrapeId)
{
    struct world w = start();
    struct test_reply a = post(&w, PAGE("c", DOC("1"))), b = post(&w, PAGE("c", DOC("2")));
    cr_expect(a.status == 202 && b.status == 202);
    cr_expect_str_neq(a.body, b.body);
    cr_expect_eq(jobs(&w), 2);
    stop(&w);
}

Test(crawl_intake, another_body_under_the_same_id_is_a_conflict)
{
    struct world w = start();
    struct test_reply r = post(&w, "{\"success\":true,\"type\":\"crawl.completed\",\"id\":\"c\"}");
    cr_assert_eq(r.status, 200);
    r = post(&w, "{\"success\":true,\"type\":\"crawl.completed\",\"id\":\"c\",\"data\":[]}");
    expect_reply(&r, 409,
        "{\"detail\":\"Another event came under this id before, with a different body; each event "
        "needs a webhookId, and each page a scrapeId, of its own\"}");
    cr_expect_eq(jobs(&w), 1);
    r = post(&w, "{\"success\":true,\"type\":\"crawl.completed\",\"id\":\"c\",\"data\":[],"
                 "\"webhookId\":\"w\"}");
    cr_expect_eq(r.status, 200);
    cr_expect_eq(jobs(&w), 2);
    stop(&w);
}

/* --- Redis away -------------------------------------------------------------------------- */

static void expect_spooled(const struct test_reply *r, int status)
{
    cr_expect_eq(r->status, status, "%d %s", r->status, r->body);
    cr_expect_lt(r->seconds, PATIENCE, "%.1f s", r->seconds);
}

Test(crawl_intake, events_wait_in_the_spool_while_redis_is_away)
{
    struct world w = start();
    test_redis_kill(w.redis);
    struct test_reply page = post(&w, PAGE("c", DOC("1"))), started = post(&w, STARTED);
    expect_spooled(&page, 202);
    cr_expect(strstr(page.body, "\"queued_jobs\":1"), "%s", page.body);
    expect_spooled(&started, 200);
    char *large = large_page("large", 3 * MIB);
    struct test_reply big = post_bytes(&w, large, 3 * MIB);
    expect_spooled(&big, 202);
    cr_expect_gt(spooled(&w), 2 * MIB);
    test_redis_restart(w.redis);
    WAIT_FOR(jobs(&w) == 3 && spooled(&w) == 0, 30000);
    expect_last_job(&w, large, 3 * MIB);
    struct test_reply again = post(&w, PAGE("c", DOC("1")));
    expect_reply(&again, 202, page.body);
    cr_expect_str_eq(test_reply_header(&again, "Hookline-Duplicate"), "true");
    cr_expect_eq(jobs(&w), 3);
    cr_expect_eq(dead(&w), 0);
    stop(&w);
}

Test(crawl_intake, an_event_that_redis_takes_late_is_there_once)
{
    struct world w = start();
    test_redis_pause(w.redis);
    struct test_reply r = post(&w, PAGE("c", DOC("1")));
    expect_spooled(&r, 202);
    cr_expect_gt(spooled(&w), 0);
    test_redis_resume(w.redis);
    WAIT_FOR(jobs(&w) >= 1 && spooled(&w) == 0, 30000);
    cr_expect_eq(jobs(&w), 1);
    cr_expect_eq(dead(&w), 0);
    stop(&w);
}

Test(crawl_intake, events_wait_in_the_spool_while_redis_is_full)
{
    struct world w = start();
    redis_text(w.redis, "CONFIG SET maxmemory 1");
    struct test_reply r = post(&w, STARTED);
    expect_spooled(&r, 200);
    cr_expect_gt(spooled(&w), 0);
    redis_text(w.redis, "CONFIG SET maxmemory 0");
    WAIT_FOR(jobs(&w) == 1 && spooled(&w) == 0, 30000);
    stop(&w);
}

Test(crawl_intake, what_a_killed_producer_spooled_another_brings_home)
{
    struct world w = start();
    test_redis_kill(w.redis);
    struct test_reply r = post(&w, PAGE("c", DOC("1")));
    expect_spooled(&r, 202);
    test_proc_kill(w.producer);
    test_redis_restart(w.redis);
    start_producer(&w, NULL);
    WAIT_FOR(jobs(&w) == 1 && spooled(&w) == 0, 30000);
    stop(&w);
}

Test(crawl_intake, a_conflict_found_behind_the_answer_is_a_dead_letter)
{
    struct world w = start();
    struct test_reply r = post(&w, STARTED);
    cr_assert_eq(r.status, 200);
    test_redis_kill(w.redis);
    r = post(&w, "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c1\"}");
    expect_spooled(&r, 200);
    r = post(&w, PAGE("c1", DOC("1")));
    expect_spooled(&r, 202);
    test_redis_restart(w.redis);
    WAIT_FOR(spooled(&w) == 0, 30000);
    cr_expect_eq(jobs(&w), 2);
    cr_expect_eq(dead(&w), 1);
    cr_expect(test_proc_logged(w.producer, "same id, other body"));
    stop(&w);
}

/* A segment that a dead producer left. */
static void leave_segment(const struct world *w, const char *name, struct buf *records)
{
    const char *path = harness_text("%s/%s", w->spool, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, records->data, records->len) == (ssize_t)records->len);
    close(fd);
    buf_release(records);
}

static void put_job(struct buf *records, const char *body, int version)
{
    struct crawl_job job = {.body = (char *)body, .len = strlen(body), .id = uuid_v4()};
    struct buf bytes = {0};
    digest_sha256(body, strlen(body), job.digest);
    crawl_job_encode(&job, &bytes);
    bytes.data[3] = (char)version; /* map, "v", its value */
    spool_put_frame(records, bytes.data, bytes.len);
    buf_release(&bytes);
}

Test(crawl_intake, what_no_job_is_in_a_spool_is_buried_and_what_is_newer_is_left)
{
    struct world w = start();
    struct buf records = {0}, newer = {0};
    buf_puts(&records, SPOOL_MAGIC);
    put_job(&records, "{\"a\":1}", CRAWL_JOB_VERSION);
    spool_put_frame(&records, "no job", 6);
    put_job(&records, "{\"a\":2}", CRAWL_JOB_VERSION);
    buf_puts(&newer, SPOOL_MAGIC);
    put_job(&newer, "{\"a\":3}", CRAWL_JOB_VERSION + 1);
    size_t left = newer.len - strlen(SPOOL_MAGIC);
    leave_segment(&w, "newer.crawl", &newer);
    leave_segment(&w, "older.crawl", &records);
    WAIT_FOR(jobs(&w) == 2 && dead(&w) == 1 && spooled(&w) == (int64_t)left, 30000);
    cr_expect(strstr(redis_text(w.redis, "XRANGE {hookline}:dead - +"), "unreadable spool record"));
    stop(&w);
    cr_expect_eq(spooled(&w), (int64_t)left, "a newer program will find it");
}

Test(crawl_intake, what_can_be_kept_nowhere_is_sent_back)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_SPOOL_MAX_BYTES=1m", NULL});
    char *large = large_page("large", 2 * MIB);
    test_redis_kill(w.redis);
    struct test_reply r = post_bytes(&w, large, 2 * MIB);
    expect_reply(&r, 503, "{\"detail\":\"The event cannot be stored now; try again later\"}");
    cr_expect_str_eq(test_reply_header(&r, "Retry-After"), "5");
    cr_expect_lt(r.seconds, PATIENCE);
    cr_expect_eq(spooled(&w), 0);
    r = post(&w, STARTED);
    expect_spooled(&r, 200);
    test_redis_restart(w.redis);
    WAIT_FOR(jobs(&w) == 1 && spooled(&w) == 0, 30000);
    stop(&w);
}

static struct test_reply post_change(const struct world *w, const char *watch_id)
{
    const char *body = harness_text("{\"watch_id\":\"%s\",\"watch_url\":\"https://e.com/\","
                                    "\"detected_at\":\"2026-01-02T03:04:05Z\"}",
        watch_id);
    const char *headers =
        harness_text("X-Signature: %s\r\n", test_sign(SECRET, body, strlen(body)));
    return test_http(w->port, "POST", "/api/webhook/changedetection", headers, body, strlen(body));
}

Test(crawl_intake, change_events_in_the_spool_do_not_wait_for_redis)
{
    struct test_pg *pg = test_pg_start();
    const char *db = test_pg_url(pg);
    struct world w =
        start_with((const char *const[]){harness_text("WEBHOOK_DATABASE_URL=%s", db), NULL});
    test_redis_kill(w.redis);
    test_pg_kill(pg);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(post(&w, harness_text(PAGE("c%d", DOC("1")), i)).status, 202);
    cr_assert_eq(post_change(&w, "w").status, 202);
    int64_t crawls = spooled(&w);
    test_pg_restart(pg);
    WAIT_FOR(sql_int(db, "SELECT count(*) FROM webhook.change_events") == 1, 30000);
    cr_expect_eq(spooled(&w), crawls, "these wait, and nothing of them is written again");
    test_redis_restart(w.redis);
    WAIT_FOR(jobs(&w) == 200 && spooled(&w) == 0, 30000);
    stop(&w);
    test_pg_free(pg);
}

Test(crawl_intake, crawl_events_leave_half_of_the_spool_to_change_events)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_SPOOL_MAX_BYTES=1m", NULL});
    char *one = large_page("one", 520 * 1024), *two = large_page("two", 520 * 1024);
    test_redis_kill(w.redis);
    cr_expect_eq(post_bytes(&w, one, 520 * 1024).status, 202); /* 390 KiB, compressed */
    cr_expect_eq(post_bytes(&w, two, 520 * 1024).status, 503);
    cr_expect_eq(post_change(&w, "w").status, 202);
    test_redis_restart(w.redis);
    WAIT_FOR(jobs(&w) == 1 && spooled(&w) == 0, 30000);
    cr_expect_eq(post_bytes(&w, two, 520 * 1024).status, 202);
    stop(&w);
}

/* --- size -------------------------------------------------------------------------------- */

struct sender {
    const struct world *w;
    const char *body;
    size_t len;
    const char *headers;
    struct test_reply reply;
};

static void *send_large(void *arg)
{
    struct sender *s = arg;
    s->reply = post_raw(s->w, s->headers, s->body, s->len);
    return NULL;
}

Test(crawl_intake, a_large_event_holds_up_no_small_ones)
{
    struct world w = start();
    char *large = large_page("large", 20 * MIB);
    struct sender s = {&w, large, 20 * MIB, signature(large, 20 * MIB), {0}};
    pthread_t thread;
    double slowest = 0;
    int n = 0;
    cr_assert_eq(pthread_create(&thread, NULL, send_large, &s), 0);
    do {
        struct test_reply r = post(&w, harness_text(PAGE("c%d", DOC("1")), n++));
        cr_assert_eq(r.status, 202);
        slowest = r.seconds > slowest ? r.seconds : slowest;
    } while (pthread_tryjoin_np(thread, NULL) != 0);
    cr_expect_eq(s.reply.status, 202, "%d %s", s.reply.status, s.reply.body);
    cr_expect_lt(slowest, 1.0, "%.2f s", slowest);
    cr_expect_gt(n, 3, "%d", n);
    WAIT_FOR(jobs(&w) == n + 1, 10000); /* one that waited too long for Redis came by the spool */
    cr_expect_eq(redis_int(w.redis, "EXISTS {hookline}:blob:%s",
                     redis_text(w.redis, "KEYS {hookline}:blob:*") + strlen("{hookline}:blob:")),
        1);
    stop(&w);
}

/* A line about itself says so, by and by. */
static bool crunches(const struct world *w, int n)
{
    test_proc_signal(w->producer, SIGUSR2);
    return test_proc_logged(w->producer, harness_text("\"large_bodies\":%d,", n));
}

Test(crawl_intake, more_large_events_than_may_wait_are_sent_back)
{
    enum { CROWD = 40, WAITING = 32, LEN = 260 * 1024 };
    struct world w = start();
    char *slow = large_page("slow", 30 * MIB);
    struct sender first = {&w, slow, 30 * MIB, signature(slow, 30 * MIB), {0}}, crowd[CROWD];
    pthread_t thread, threads[CROWD];
    int taken = 0, back = 0;
    for (int i = 0; i < CROWD; i++) {
        char *body = large_page(harness_text("%d", i), LEN);
        crowd[i] = (struct sender){&w, body, LEN, signature(body, LEN), {0}};
    }
    cr_assert_eq(pthread_create(&thread, NULL, send_large, &first), 0);
    WAIT_FOR(crunches(&w, 1), 10000);
    for (int i = 0; i < CROWD; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_large, &crowd[i]), 0);
    struct test_reply small = post(&w, PAGE("c", DOC("1")));
    cr_expect(small.status == 202 && small.seconds < 1.0, "small ones do not wait with them");
    pthread_join(thread, NULL);
    for (int i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
        struct test_reply *r = &crowd[i].reply;
        taken += r->status == 202;
        back += r->status == 503 && strstr(r->body, "Too many large events at a time") &&
                strcmp(test_reply_header(r, "Retry-After"), "5") == 0;
    }
    cr_expect_eq(first.reply.status, 202);
    cr_expect(back > 0 && taken + back == CROWD && taken >= WAITING - 1, "%d, %d", taken, back);
    struct test_reply again = post_bytes(&w, crowd[0].body, LEN);
    cr_expect_eq(again.status, 202, "there is room again: %d %s", again.status, again.body);
    WAIT_FOR(spooled(&w) == 0 && redis_int(w.redis, "EXISTS {hookline}:q:crawl") == 1, 10000);
    cr_expect_geq(jobs(&w), taken + 2);
    cr_expect_leq(jobs(&w), taken + 3);
    stop(&w);
}

Test(crawl_intake, a_large_body_reaches_the_queue_unchanged)
{
    struct world w = start();
    char *large = large_page("large", 20 * MIB);
    struct test_reply r = post_bytes(&w, large, 20 * MIB);
    cr_assert_eq(r.status, 202);
    expect_last_job(&w, large, 20 * MIB);
    stop(&w);
}

Test(crawl_intake, the_body_limit_is_the_routes_own)
{
    struct world w = start();
    char *huge = large_page("huge", 40 * MIB);
    struct test_reply r = post_bytes(&w, huge, 40 * MIB);
    cr_expect_eq(r.status, 413, "%d %s", r.status, r.body);
    cr_expect(*test_reply_member(&r, "detail"));
    expect_nothing_kept(&w);
    stop(&w);
    w = start_with((const char *const[]){"WEBHOOK_CRAWL_MAX_BODY_BYTES=2k", NULL});
    char *small = large_page("small", 2048), *over = large_page("over", 2049);
    r = post_bytes(&w, small, 2048);
    cr_expect_eq(r.status, 202);
    r = post_bytes(&w, over, 2049);
    cr_expect_eq(r.status, 413);
    cr_expect_eq(jobs(&w), 1);
    stop(&w);
}

Test(crawl_intake, large_bodies_that_do_not_fit_into_memory_are_sent_back)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_MAX_BUFFERED_BYTES=1m", NULL});
    char *large = large_page("large", 2 * MIB), *small = large_page("small", MIB / 2);
    struct test_reply r = post_bytes(&w, large, 2 * MIB);
    cr_expect_eq(r.status, 503, "%d %s", r.status, r.body);
    cr_expect_str_eq(test_reply_header(&r, "Retry-After"), "5");
    r = post_bytes(&w, small, MIB / 2);
    cr_expect_eq(r.status, 202, "%d %s", r.status, r.body);
    stop(&w);
}

/* --- hostile ----------------------------------------------------------------------------- */

static void repeat(struct buf *b, const char *unit, int n)
{
    while (n--)
        buf_puts(b, unit);
}

Test(crawl_intake, hostile_bodies_are_refused_with_a_place_and_leave_nothing)
{
    struct world w = start();
    struct buf b = {0};
    buf_puts(&b, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[" DOC("1"));
    repeat(&b, "," DOC("1"), 9999);
    buf_puts(&b, "]}");
    struct test_reply r = post_bytes(&w, b.data, b.len); /* large: through the helper thread */
    cr_expect_eq(r.status, 422, "%d", r.status);
    cr_expect(strstr(r.body, "\"type\":\"too_long\",\"loc\":[\"data\"]"), "%s", r.body);
    cr_expect_lt(strlen(r.body), 1000);

    buf_clear(&b);
    buf_puts(&b, "{\"success\":true,\"data\":");
    repeat(&b, "[", 500000);
    r = post_bytes(&w, b.data, b.len);
    expect_reply(&r, 400,
        "{\"detail\":\"Invalid payload: line 1 column 87: nested deeper than 64 levels\"}");

    buf_clear(&b);
    buf_puts(&b, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[{}");
    repeat(&b, ",{}", 999);
    buf_puts(&b, "]}");
    r = post_bytes(&w, b.data, b.len);
    cr_expect_eq(r.status, 422);
    cr_expect_lt(strlen(r.body), 4000);

    r = post_bytes(&w, "{\"success\":true,\"id\":\"a\0b\"}", 27);
    cr_expect_eq(r.status, 400, "%d %s", r.status, r.body);
    r = post(&w, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"\\ud800\"}");
    cr_expect_eq(r.status, 400, "%d %s", r.status, r.body);
    expect_nothing_kept(&w);
    buf_release(&b);
    stop(&w);
}
