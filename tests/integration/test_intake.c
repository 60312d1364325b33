/* The front door as senders meet it: a real producer with real PostgreSQL and Redis, both of which
 * are killed and paused at will. A 202 means that the event is found again, exactly once. */
#include "base/event.h"
#include "base/json.h"
#include "base/mem.h"
#include "tests/support/harness.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(intake, .timeout = 150);

#define SECRET           "0123456789abcdef0123456789abcdef"
#define TOKEN            "an-intake-token-of-forty-characters-0123"
#define PASSWORD         "database-password-never-to-be-seen"
#define ROUTE            "/api/webhook/changedetection"
#define SENDERS_PATIENCE 2.0 /* seconds */

/* --- a producer and its stores ----------------------------------------------------------- */

struct world {
    struct test_pg *pg; /* NULL: a database in the suite's cluster */
    struct test_redis *redis;
    struct test_proc *producer;
    const char *database, *spool;
    int port, fd;
};

/* The same URL with a password, which the cluster does not ask for. */
static const char *with_password(const char *url)
{
    const char *at = strchr(url, '@');
    cr_assert(at, "%s", url);
    return harness_text("%.*s:" PASSWORD "%s", (int)(at - url), url, at);
}

/* settings: "NAME=value", NULL-terminated; they win. */
static void start_producer(struct world *w, const char *const *settings)
{
    const char *env[32];
    int n = 0;
    for (; settings && settings[n]; n++)
        env[n] = settings[n];
    const char *const more[] = {"WEBHOOK_PRODUCERS=1", "WEBHOOK_RATE_LIMIT=0",
        ("WEBHOOK_SECRET=" SECRET),
        harness_text("WEBHOOK_DATABASE_URL=%s", with_password(w->database)),
        harness_text("WEBHOOK_REDIS_URL=%s", test_redis_url(w->redis)),
        harness_text("WEBHOOK_SPOOL_DIR=%s", w->spool)};
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        size_t name = strcspn(more[i], "=") + 1;
        bool given = false;
        for (int j = 0; settings && settings[j]; j++)
            given |= strncmp(settings[j], more[i], name) == 0;
        if (!given)
            env[n++] = more[i];
    }
    env[n] = NULL;
    const char *const argv[] = {harness_text("%s/hookline-producer", harness_build()), NULL};
    w->producer = test_proc_start(argv, env, w->fd);
}

static struct test_reply post_raw(
    const struct world *w, const char *path, const char *headers, const char *body)
{
    return test_http(w->port, "POST", path, headers, body, strlen(body));
}

static struct test_reply post(const struct world *w, const char *body)
{
    const char *signature = test_sign(SECRET, body, strlen(body));
    return post_raw(w, ROUTE, harness_text("X-Signature: sha256=%s\r\n", signature), body);
}

/* Each differs from all others. */
static const char *event(const char *watch_id)
{
    static int serial;
    return harness_text("{\"watch_id\":\"%s\",\"watch_url\":\"https://example.com/%s\","
                        "\"detected_at\":\"2026-01-02T03:04:05Z\",\"serial\":%d}",
        watch_id, watch_id, ++serial);
}

static struct test_reply post_event(const struct world *w, const char *watch_id)
{
    return post(w, event(watch_id));
}

static bool spool_empty(const struct world *w);

/* Until the first row, then everything is emptied again. */
static void wait_ready(struct world *w)
{
    WAIT_FOR(
        strstr(test_http(w->port, "GET", "/health", NULL, NULL, 0).body, "\"status\":\"healthy\""),
        30000);
    struct test_reply r;
    WAIT_FOR((r = post_event(w, "warm-up")).status == 202 &&
                 strcmp(test_reply_member(&r, "change_event_id"), "null") != 0,
        30000);
    WAIT_FOR(spool_empty(w), 30000);
    sql_exec(w->database, "TRUNCATE webhook.change_events");
    redis_text(w->redis, "FLUSHALL");
}

static struct world prepare(const char *database)
{
    static int serial;
    struct world w = {.database = database,
        .redis = test_redis_start(),
        .spool = harness_text("%s/spool%d", harness_dir(), ++serial)};
    w.fd = harness_listen(&w.port);
    return w;
}

static struct world start_with(const char *const *settings)
{
    struct world w = prepare(harness_database(true));
    start_producer(&w, settings);
    wait_ready(&w);
    return w;
}

static struct world start(void)
{
    return start_with(NULL);
}

/* With a cluster of its own, to be killed. */
static struct world start_apart(const char *const *settings)
{
    struct test_pg *pg = test_pg_start();
    struct world w = prepare(test_pg_url(pg));
    w.pg = pg;
    start_producer(&w, settings);
    wait_ready(&w);
    return w;
}

static void stop(struct world *w)
{
    test_proc_signal(w->producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w->producer, 30000), 0, "%s", test_proc_log(w->producer));
    test_redis_free(w->redis);
    test_pg_free(w->pg);
    close(w->fd);
}

/* --- what is where ----------------------------------------------------------------------- */

static long rows(const struct world *w)
{
    return sql_int(w->database, "SELECT count(*) FROM webhook.change_events");
}

static long rows_of(const struct world *w, const char *event_id)
{
    return sql_int(w->database,
        "SELECT count(*) FROM webhook.change_events WHERE event_id = '%s' AND rescrape_job_id = "
        "'%s' AND rescrape_status = 'queued'",
        event_id, event_id);
}

static long jobs(const struct world *w)
{
    return redis_int(w->redis, "XLEN {hookline}:q:change");
}

/* Bytes of frames in all segments, or, with text: how many segments hold it. */
static int64_t spool_look(const struct world *w, const char *text)
{
    int64_t frames = 0, holders = 0;
    DIR *d = opendir(w->spool);
    for (struct dirent *e; d && (e = readdir(d));) {
        char data[4096];
        if (!strstr(e->d_name, ".seg"))
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, data, sizeof(data));
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 8)
            frames += st.st_size - 8;
        holders += text && n > 0 && memmem(data, (size_t)n, text, strlen(text));
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
    return text ? holders : frames;
}

static bool spool_empty(const struct world *w)
{
    return spool_look(w, NULL) == 0;
}

static bool like(const char *text, const char *pattern)
{
    regex_t re;
    cr_assert_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return found;
}

static const char *health(const struct world *w)
{
    struct test_reply r = test_http(w->port, "GET", "/health", NULL, NULL, 0);
    cr_assert_eq(r.status, 200);
    cr_assert_lt(r.seconds, SENDERS_PATIENCE, "%.1f s: %s", r.seconds, r.body);
    return r.body;
}

/* Accepted in time; returns the event's id. */
static const char *accepted(const struct test_reply *r)
{
    cr_assert_eq(r->status, 202, "%d %s", r->status, r->body);
    cr_assert_lt(r->seconds, SENDERS_PATIENCE, "%.1f s", r->seconds);
    return test_reply_member(r, "job_id");
}

/* The same with a row already, or with none yet. */
static const char *accepted_with_row(const struct world *w, const struct test_reply *r)
{
    const char *id = accepted(r);
    cr_assert(like(test_reply_member(r, "change_event_id"), "^[1-9][0-9]*$"), "%s", r->body);
    cr_assert_eq(rows_of(w, id), 1);
    return id;
}

static const char *accepted_without_row(const struct test_reply *r)
{
    const char *id = accepted(r);
    cr_assert_str_eq(test_reply_member(r, "change_event_id"), "null", "%s", r->body);
    return id;
}

/* --- what an answer looks like ----------------------------------------------------------- */

#define BODY                                                                                       \
    "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/"                                    \
    "a\",\"detected_at\":\"2026-01-02T03:04:05Z\"}"
#define BODY_DIGEST "6c0a05ebbc364ab5b4bab85e4d3cf7af661cd77872f6f215331b0a9092808599"

Test(intake, what_is_refused_is_told_byte_for_byte_and_touches_nothing)
{
    /* clang-format off */
    static const struct {
        const char *headers; /* NULL: rightly signed */
        const char *body;
        int status;
        const char *answer;
    } table[] = {
        {"", BODY, 401, "{\"detail\":\"Missing X-Signature header\"}"},
        {"X-Signature:\r\n", BODY, 401, "{\"detail\":\"Missing X-Signature header\"}"},
        {"", "not json", 401, "{\"detail\":\"Missing X-Signature header\"}"},
        {"X-Signature: 00\r\n", BODY, 401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Signature: " BODY_DIGEST "\r\n", BODY " ", 401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Signature: 6C0A05EBBC364AB5B4BAB85E4D3CF7AF661CD77872F6F215331B0A9092808599\r\n", BODY,
         401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Signature: \xc3\xa9\r\n", BODY, 401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Signature: 00\r\n", "not json", 401, "{\"detail\":\"Invalid signature\"}"},
        {"X-Webhook-Token: " TOKEN "\r\n", BODY, 401,
         "{\"detail\":\"Missing X-Signature header\"}"},
        {"Authorization: Bearer " TOKEN "\r\n", BODY, 401,
         "{\"detail\":\"Missing X-Signature header\"}"},
        {NULL, "not json", 400,
         "{\"detail\":\"Invalid payload: line 1 column 3: not valid JSON; use json:// or post:// "
         "with a JSON notification body\"}"},
        {NULL, "[]", 400, "{\"detail\":\"Invalid payload: must be a JSON object\"}"},
        {NULL, "{}", 400, "{\"detail\":\"Invalid payload: watch_id: field required\"}"},
        {NULL, "{\"watch_id\":7}", 400,
         "{\"detail\":\"Invalid payload: watch_id: must be a string\"}"},
        {NULL, "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"detected_at\":\"yesterday\"}", 400,
         "{\"detail\":\"Invalid payload: detected_at: not an ISO 8601 time\"}"},
        {NULL, "{\"watch_id\":\"a\\u0000\",\"watch_url\":\"u\",\"detected_at\":\"2026-01-02\"}",
         400,
         "{\"detail\":\"Invalid payload: line 1 column 21: \\\\u0000 is not allowed; in a template "
         "write values as {{ name|tojson }}\"}"},
        {NULL, "version=1.0&title=T&message=x&type=info", 400,
         "{\"detail\":\"Invalid payload: the body is a form (form://); use json:// or post:// with "
         "a JSON notification body\"}"},
        {NULL, "{<br>\n \"watch_uuid\": \"1\"<br>\n}", 400,
         "{\"detail\":\"Invalid payload: the JSON was broken by an HTML format: set the "
         "notification format to Plain Text\"}"},
    };
    /* clang-format on */
    struct world w = start();
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct test_reply r = table[i].headers
                                  ? post_raw(&w, ROUTE, table[i].headers, table[i].body)
                                  : post(&w, table[i].body);
        cr_expect_eq(r.status, table[i].status, "row %zu: %d", i, r.status);
        cr_expect_str_eq(r.body, table[i].answer, "row %zu: %s", i, r.body);
        cr_expect_str_eq(test_reply_header(&r, "Content-Type"), "application/json");
    }
    char id[257] = "";
    memset(id, 'x', 256);
    struct test_reply r = post_event(&w, id);
    cr_expect_eq(r.status, 400);
    cr_expect_str_eq(r.body, "{\"detail\":\"Invalid payload: watch_id: at most 255 characters\"}");
    cr_expect_eq(rows(&w), 0);
    cr_expect_eq(jobs(&w), 0);
    cr_expect(spool_empty(&w));
    stop(&w);
}

/* The job of the stream's first entry. */
static struct change_event first_job(const struct world *w)
{
    struct change_event ev;
    struct hl_err err;
    redisContext *c = redisConnect("127.0.0.1", atoi(strrchr(test_redis_url(w->redis), ':') + 1));
    redisReply *r = redisCommand(c, "XRANGE {hookline}:q:change - + COUNT 1");
    cr_assert(r && r->type == REDIS_REPLY_ARRAY && r->elements == 1);
    const redisReply *fields = r->element[0]->element[1];
    cr_assert_eq(fields->elements, 4);
    cr_assert_str_eq(fields->element[0]->str, "id");
    cr_assert_str_eq(fields->element[2]->str, "job");
    const redisReply *job = fields->element[3];
    cr_assert_eq(event_decode(job->str, (size_t)job->len, &ev, &err), HL_OK, "%s", err.msg);
    char id[UUID_STRLEN + 1];
    uuid_format(&ev.id, id);
    cr_assert_str_eq(fields->element[1]->str, id);
    freeReplyObject(r);
    redisFree(c);
    return ev;
}

Test(intake, an_accepted_event_is_a_row_a_job_and_a_receipt)
{
    struct world w = start();
    const char *body =
        "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/?q=\\\"caf\\u00e9\\\"\","
        "\"detected_at\":\"2026-07-02T03:04:05.25+02:00\",\"watch_title\":\"T\","
        "\"diff_url\":\"http://cd/1\",\"snapshot\":\"a\\nb\"}";
    const char *signature = harness_text("sha256=%s", test_sign(SECRET, body, strlen(body)));
    struct test_reply r = post_raw(&w, ROUTE, harness_text("X-Signature: %s\r\n", signature), body);
    const char *id = accepted_with_row(&w, &r);
    cr_expect_str_eq(r.body,
        harness_text("{\"status\":\"queued\",\"job_id\":\"%s\",\"change_event_id\":%s,\"url\":"
                     "\"https://example.com/?q=\\\"caf\xc3\xa9\\\"\"}",
            id, sql_text(w.database, "SELECT id FROM webhook.change_events")),
        "%s", r.body);
    cr_expect_str_eq(test_reply_header(&r, "Content-Type"), "application/json");
    const char *row = sql_text(w.database,
        "SELECT concat_ws('|', watch_id, watch_url, detected_at AT TIME ZONE 'UTC', diff_summary,"
        " snapshot_url, rescrape_job_id, rescrape_status, indexed_at IS NULL,"
        " abs(extract(epoch FROM now() - created_at)) < 60, event_id, claim_epoch, starts,"
        " attempts, claimed_by IS NULL, accept_seq > 0, scrape_seq IS NULL,"
        " next_attempt_at IS NULL,"
        " body_digest = sha256(convert_to('%s', 'UTF8')),"
        " url_key = sha256(convert_to(watch_url, 'UTF8'))) FROM webhook.change_events",
        body);
    cr_expect_str_eq(row,
        harness_text("w1|https://example.com/?q=\"caf\xc3\xa9\"|2026-07-02 01:04:05.25|a\nb|"
                     "http://cd/1|%s|queued|t|t|%s|0|0|0|t|t|t|t|t|t",
            id, id),
        "%s", row);
    cr_expect_str_eq(
        sql_text(w.database, "SELECT metadata - 'webhook_received_at' FROM webhook.change_events"),
        harness_text("{\"diff_size\": 3, \"signature\": \"%s\", \"detected_at\": \"09:04:05 PM | "
                     "07/01/2026\", \"watch_title\": \"T\", \"raw_payload_version\": \"1.0\"}",
            signature),
        "%s", sql_text(w.database, "SELECT metadata FROM webhook.change_events"));
    cr_expect(like(
        sql_text(w.database, "SELECT metadata->>'webhook_received_at' FROM webhook.change_events"),
        "^[01][0-9]:[0-5][0-9]:[0-5][0-9] [AP]M \\| [01][0-9]/[0-3][0-9]/20[0-9][0-9]$"));

    cr_assert_eq(jobs(&w), 1);
    struct change_event job = first_job(&w);
    char job_id[UUID_STRLEN + 1];
    uuid_format(&job.id, job_id);
    cr_expect_str_eq(job_id, id);
    cr_expect_str_eq(job.watch_id, "w1");
    cr_expect_str_eq(job.watch_url, "https://example.com/?q=\"caf\xc3\xa9\"");
    cr_expect_str_eq(job.diff_summary, "a\nb");
    cr_expect_str_eq(job.snapshot_url, "http://cd/1");
    event_release(&job);
    cr_expect(spool_empty(&w));
    stop(&w);
}

Test(intake, bodies_that_differ_are_two_events)
{
    struct world w = start();
    struct test_reply a = post_event(&w, "w"), b = post_event(&w, "w");
    cr_assert_str_neq(accepted_with_row(&w, &a), accepted_with_row(&w, &b));
    cr_assert_eq(rows(&w), 2);
    cr_assert_eq(jobs(&w), 2);
    stop(&w);
}

#define BASIC "dXNlcjphbi1pbnRha2UtdG9rZW4tb2YtZm9ydHktY2hhcmFjdGVycy0wMTIz" /* user:TOKEN */

Test(intake, a_token_opens_in_three_forms_and_is_kept_nowhere)
{
    static const char *const right[] = {"Authorization: Bearer " TOKEN "\r\n",
        "Authorization: Basic " BASIC "\r\n", "X-Webhook-Token: " TOKEN "\r\n"};
    static const char *const wrong[] = {"Authorization: Bearer " TOKEN "x\r\n",
        "Authorization: Basic dXNlcjpwYXNz\r\n", "X-Webhook-Token: " SECRET "\r\n"};
    struct world w = start_with((const char *const[]){"WEBHOOK_INTAKE_TOKEN=" TOKEN, NULL});
    for (int i = 0; i < 3; i++) {
        struct test_reply r = post_raw(&w, ROUTE, right[i], event("w"));
        accepted_with_row(&w, &r);
        r = post_raw(&w, ROUTE, wrong[i], event("w"));
        cr_expect_eq(r.status, 401);
        cr_expect_str_eq(r.body, "{\"detail\":\"Invalid token\"}");
    }
    struct test_reply r = post_raw(&w, ROUTE, "", event("w"));
    cr_expect_eq(r.status, 401);
    r = post_event(&w, "signed"); /* works beside */
    accepted_with_row(&w, &r);
    cr_expect_eq(rows(&w), 4);
    cr_expect_eq(sql_int(w.database, "SELECT count(*) FROM webhook.change_events e WHERE "
                                     "e::text LIKE '%%forty%%' OR e::text LIKE '%%" BASIC "%%'"),
        0);
    cr_expect_eq(sql_int(w.database,
                     "SELECT count(*) FROM webhook.change_events WHERE metadata ? 'signature'"),
        1);
    stop(&w);
}

#define AUTH "X-Webhook-Token: " TOKEN "\r\n"

Test(intake, what_changedetection_io_sends_becomes_events)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_INTAKE_TOKEN=" TOKEN, NULL});
    static const char template[] = "{\"watch_uuid\": \"7a1c\", \"watch_url\": \"http://shop/\", "
                                   "\"snapshot\": \"caf\\u00e9\", \"change_datetime\": "
                                   "\"2026-11-23 05:34:54 UTC\"}";
    static const struct {
        const char *path, *headers, *body, *diff;
    } table[] = {
        {ROUTE "?format=text&foo=bar",                                              AUTH "Content-Type: application/json; charset=utf-8\r\n",
         template,                                                                                                                                        "caf\xc3\xa9"        },
        {ROUTE "/?format=text",                                                     AUTH,                                                       template, "caf\xc3\xa9"        },
        {ROUTE,                                                                     AUTH "Content-Type: application/x-www-form-urlencoded\r\n", template,
         "caf\xc3\xa9"                                                                                                                                                         },
        {ROUTE,                                                                     AUTH,
         "{\"version\": \"1.0\", \"title\": \"T\", \"message\": \"{\\\"watch_uuid\\\": "
            "\\\"7a1c\\\", "
            "\\\"watch_url\\\": \\\"http://shop/\\\", \\\"snapshot\\\": \\\"in\\\"}\", "
            "\"attachments\": [], \"type\": \"info\"}",                                                                                                   "in"                 },
        {ROUTE "?watch_id=7a1c&watch_url=http%3A%2F%2Fshop%2F&title=T&format=html", AUTH,
         "<p>had a change</p>",                                                                                                                           "<p>had a change</p>"},
        {ROUTE "?watch_id=7a1c&watch_url=http%3A%2F%2Fshop%2F&title=T&format=html", AUTH,                                                       "{<br>}",
         "{<br>}"                                                                                                                                                              },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct test_reply r = post_raw(&w, table[i].path, table[i].headers, table[i].body);
        const char *id = accepted_with_row(&w, &r);
        const char *row = sql_text(w.database,
            "SELECT watch_id || '|' || watch_url || '|' || diff_summary FROM webhook.change_events "
            "WHERE event_id = '%s'",
            id);
        cr_expect_str_eq(row, harness_text("7a1c|http://shop/|%s", table[i].diff), "%s", row);
    }
    stop(&w);
}

/* --- limits and the grammar of HTTP ------------------------------------------------------ */

static const char *padded(size_t len)
{
    const char *start =
        "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"detected_at\":\"2026-01-02\",\"pad\":\"";
    char *body = harness_hold(mem_alloc(len + 1));
    memset(body, 'x', len);
    memcpy(body, start, strlen(start));
    memcpy(body + len - 2, "\"}", 3);
    return body;
}

static const char *chunked(const char *body)
{
    size_t len = strlen(body);
    struct buf b = {0};
    buf_printf(&b,
        "POST " ROUTE " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Signature: %s\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        test_sign(SECRET, body, len));
    for (size_t at = 0; at < len; at += 60000) {
        size_t n = len - at < 60000 ? len - at : 60000;
        buf_printf(&b, "%zx\r\n%.*s\r\n", n, (int)n, body + at);
    }
    buf_puts(&b, "0\r\n\r\n");
    return harness_hold(buf_detach(&b));
}

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

Test(intake, bodies_and_headers_have_limits)
{
    enum { LIMIT = 1 << 20 };
    struct world w = start();
    struct test_reply r = post(&w, padded(LIMIT));
    accepted_with_row(&w, &r);
    r = post(&w, padded(LIMIT + 1));
    cr_expect_eq(r.status, 413, "%d", r.status);
    const char *raw = chunked(padded(LIMIT));
    cr_expect_eq(status_of(test_http_raw(w.port, raw, strlen(raw), 5000)), 202);
    raw = chunked(padded(LIMIT + 1));
    cr_expect_eq(status_of(test_http_raw(w.port, raw, strlen(raw), 5000)), 413);

    char *pad = harness_hold(mem_zero(16 * 1024 + 1));
    memset(pad, 'x', 15 * 1024);
    r = post_raw(&w, ROUTE, harness_text("X-Pad: %s\r\n", pad), BODY);
    cr_expect_eq(r.status, 401);
    memset(pad, 'x', 16 * 1024);
    r = post_raw(&w, ROUTE, harness_text("X-Pad: %s\r\n", pad), BODY);
    cr_expect_eq(r.status, 431);
    cr_expect_eq(rows(&w), 2);
    stop(&w);
}

static int dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    size_t len = strlen(text);
    cr_assert_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Until the peer closes, or `until` was seen. */
static const char *receive(int fd, const char *until)
{
    struct buf in = {0};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!until || !strstr(buf_str(&in), until)) {
        cr_assert_eq(poll(&p, 1, 30000), 1, "no more than: %s", buf_str(&in));
        ssize_t n = recv(fd, buf_reserve(&in, 4096), 4095, 0);
        if (n <= 0)
            break;
        in.len += (size_t)n;
        in.data[in.len] = '\0';
    }
    return harness_hold(buf_detach(&in));
}

static const char *signed_head(const char *body, const char *more)
{
    return harness_text("POST " ROUTE " HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\n"
                        "Content-Length: %zu\r\n%s\r\n",
        test_sign(SECRET, body, strlen(body)), strlen(body), more);
}

Test(intake, slow_senders_are_given_up)
{
    struct world w = start_with(
        (const char *const[]){"WEBHOOK_HEADER_TIMEOUT=1s", "WEBHOOK_BODY_TIMEOUT=1s", NULL});
    static const char *const parts[] = {"POST " ROUTE " HTTP/1.1\r\nHost: x\r\nX-Si",
        "POST " ROUTE " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        "POST " ROUTE " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int fd = dial(w.port);
        send_text(fd, parts[i]);
        int64_t begin = harness_now_ms();
        const char *answer = receive(fd, NULL);
        cr_expect_eq(status_of(answer), 408, "%s: %s", parts[i], answer);
        cr_expect_geq(harness_now_ms() - begin, 900);
        close(fd);
    }
    stop(&w);
}

Test(intake, connections_beyond_the_limit_wait_their_turn)
{
    struct world w = start_with((const char *const[]){"WEBHOOK_MAX_CONNECTIONS=2", NULL});
    int a = dial(w.port), b = dial(w.port), c = dial(w.port);
    const char *get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    send_text(a, get);
    send_text(b, get);
    receive(a, "\r\n\r\n{");
    receive(b, "\r\n\r\n{");
    send_text(c, get);
    struct pollfd p = {.fd = c, .events = POLLIN};
    cr_expect_eq(poll(&p, 1, 300), 0, "the third is answered while two are open");
    close(a);
    cr_expect_eq(status_of(receive(c, "\r\n\r\n{")), 200);
    close(b);
    close(c);
    stop(&w);
}

Test(intake, old_and_careful_clients_are_served)
{
    struct world w = start();
    const char *body = event("w"), *head = signed_head(body, "Expect: 100-continue\r\n");
    int fd = dial(w.port);
    send_text(fd, head);
    cr_expect_str_eq(receive(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(fd, body);
    cr_expect_eq(status_of(receive(fd, "}")), 202);
    close(fd);

    char *old = harness_text("%s%s", signed_head(body, ""), body);
    memcpy(strstr(old, "HTTP/1.1"), "HTTP/1.0", 8);
    fd = dial(w.port);
    send_text(fd, old);
    const char *answer = receive(fd, NULL); /* closed after it */
    cr_expect_eq(status_of(answer), 202, "%s", answer);
    close(fd);
    stop(&w);
}

/* --- routes ------------------------------------------------------------------------------ */

#define UUID_V4 "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

Test(intake, every_answer_has_a_fresh_id_and_its_time)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *body, *allow;
    } table[] = {
        {"GET",    "/",             200,
         "{\"service\":\"Firecrawl Search Bridge\",\"version\":\"0.1.0\",\"status\":\"running\","
            "\"docs\":\"/docs\",\"health\":\"/health\"}",                               NULL  },
        {"GET",    "/health",       200, NULL,                                          NULL  },
        {"GET",    "/nowhere",      404, "{\"detail\":\"Not Found\"}",                  NULL  },
        {"POST",   "/api/webhook/", 404, "{\"detail\":\"Not Found\"}",                  NULL  },
        {"POST",   ROUTE "//",      404, "{\"detail\":\"Not Found\"}",                  NULL  },
        {"GET",    ROUTE,           405, "{\"detail\":\"Method Not Allowed\"}",         "POST"},
        {"GET",    ROUTE "/",       405, "{\"detail\":\"Method Not Allowed\"}",         "POST"},
        {"PUT",    ROUTE,           405, "{\"detail\":\"Method Not Allowed\"}",         "POST"},
        {"HEAD",   ROUTE,           405, "",                                            "POST"},
        {"HEAD",   "/health",       405, "",                                            "GET" },
        {"POST",   "/health",       405, "{\"detail\":\"Method Not Allowed\"}",         "GET" },
        {"DELETE", "/",             405, "{\"detail\":\"Method Not Allowed\"}",         "GET" },
        {"GET",    "/health/",      307, "",                                            NULL  },
        {"POST",   ROUTE,           401, "{\"detail\":\"Missing X-Signature header\"}", NULL  },
        {"POST",   ROUTE "/",       401, "{\"detail\":\"Missing X-Signature header\"}", NULL  },
    };
    struct world w = start();
    const char *last = "";
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct test_reply r = test_http(w.port, table[i].method, table[i].path,
            "X-Request-ID: 00000000-0000-4000-8000-000000000000\r\n", NULL, 0);
        const char *id = test_reply_header(&r, "X-Request-ID");
        const char *allow = test_reply_header(&r, "Allow");
        cr_expect_eq(r.status, table[i].status, "row %zu: %d", i, r.status);
        if (table[i].body)
            cr_expect_str_eq(r.body, table[i].body, "row %zu: %s", i, r.body);
        cr_expect_str_eq(
            allow ? allow : "", table[i].allow ? table[i].allow : "", "row %zu: %s", i, allow);
        cr_assert(id && like(id, UUID_V4), "row %zu: %s", i, id);
        cr_expect_str_neq(id, last);
        cr_expect_str_neq(id, "00000000-0000-4000-8000-000000000000");
        cr_expect(like(test_reply_header(&r, "X-Process-Time"), "^[0-9]+\\.[0-9]{2}$"));
        last = id;
    }
    struct test_reply r = post_event(&w, "w");
    cr_expect(like(test_reply_header(&r, "X-Request-ID"), UUID_V4));
    cr_expect(like(test_reply_header(&r, "X-Process-Time"), "^[0-9]+\\.[0-9]{2}$"));
    stop(&w);
}

/* --- health ------------------------------------------------------------------------------ */

#define EASTERN "\"[01][0-9]:[0-5][0-9]:[0-5][0-9] [AP]M \\| [0-9]{2}/[0-9]{2}/[0-9]{4}\""
#define HEALTH(status, redis, postgres)                                                            \
    "^\\{\"status\":\"" status "\",\"services\":\\{\"redis\":\"" redis                             \
    "\",\"qdrant\":\"disabled\",\"tei\":\"disabled\",\"postgres\":\"" postgres                     \
    "\"\\},\"timestamp\":" EASTERN "\\}$"
#define UNHEALTHY "unhealthy: [a-z ]+"

static bool healthy(const struct world *w)
{
    return like(health(w), HEALTH("healthy", "healthy", "healthy"));
}

Test(intake, health_names_what_is_away_and_answers_in_time)
{
    struct world w = start_apart(NULL);
    cr_assert(healthy(&w), "%s", health(&w));

    test_redis_pause(w.redis);
    cr_expect(like(health(&w), HEALTH("degraded", UNHEALTHY, "healthy")), "%s", health(&w));
    test_redis_resume(w.redis);
    WAIT_FOR(healthy(&w), 20000);
    test_redis_kill(w.redis);
    WAIT_FOR(like(health(&w), HEALTH("degraded", UNHEALTHY, "healthy")), 20000);
    test_redis_restart(w.redis);
    WAIT_FOR(healthy(&w), 20000);

    test_pg_pause(w.pg);
    cr_expect(like(health(&w), HEALTH("degraded", "healthy", UNHEALTHY)), "%s", health(&w));
    test_redis_pause(w.redis);
    cr_expect(like(health(&w), HEALTH("degraded", UNHEALTHY, UNHEALTHY)), "%s", health(&w));
    test_redis_resume(w.redis);
    test_pg_resume(w.pg);
    WAIT_FOR(healthy(&w), 20000);
    test_pg_kill(w.pg);
    WAIT_FOR(like(health(&w), HEALTH("degraded", "healthy", UNHEALTHY)), 20000);
    test_pg_restart(w.pg);
    WAIT_FOR(healthy(&w), 20000);
    stop(&w);
}

/* --- PostgreSQL away --------------------------------------------------------------------- */

/* Three events in the dark, then light: each one row, with the id of its receipt, and its job. */
static void events_without_database(struct world *w, void (*light)(struct test_pg *))
{
    const char *ids[3];
    for (int i = 0; i < 3; i++) {
        const char *watch = harness_text("dark-%d", i);
        struct test_reply r = post_event(w, watch);
        ids[i] = accepted_without_row(&r);
        cr_assert_eq(spool_look(w, watch), 1, "%s is in the spool", watch);
        cr_assert_eq(jobs(w), i + 1, "Redis is told although there is no row");
    }
    light(w->pg);
    for (int i = 0; i < 3; i++)
        WAIT_FOR(rows_of(w, ids[i]) == 1, 30000);
    WAIT_FOR(spool_empty(w), 30000);
    cr_assert_eq(rows(w), 3);
    cr_assert_eq(jobs(w), 3);
    WAIT_FOR(healthy(w), 20000);
    struct test_reply r;
    WAIT_FOR((r = post_event(w, "after")).status == 202 &&
                 strcmp(test_reply_member(&r, "change_event_id"), "null") != 0,
        20000);
}

Test(intake, events_are_kept_while_postgres_is_dead)
{
    struct world w = start_apart(NULL);
    test_pg_kill(w.pg);
    events_without_database(&w, test_pg_restart);
    stop(&w);
}

Test(intake, events_are_kept_while_postgres_hangs)
{
    struct world w = start_apart(NULL);
    test_pg_pause(w.pg);
    events_without_database(&w, test_pg_resume);
    stop(&w);
}

Test(intake, a_row_that_postgres_refuses_is_a_dead_letter_and_holds_up_nobody)
{
    struct world w = start();
    sql_exec(
        w.database, "ALTER TABLE webhook.change_events ADD CONSTRAINT t CHECK (watch_id <> 'no')");
    struct test_reply r = post_event(&w, "no"); /* a row that PostgreSQL refuses for good */
    const char *id = accepted_without_row(&r);
    WAIT_FOR(redis_int(w.redis, "XLEN {hookline}:dead") == 1, 20000);
    const char *letter = redis_text(w.redis, "XRANGE {hookline}:dead - +");
    cr_assert(strstr(letter, id), "an audit finds it by its id: %s", letter);
    WAIT_FOR(spool_empty(&w), 20000);
    r = post_event(&w, "yes");
    accepted_with_row(&w, &r);
    cr_assert_eq(rows(&w), 1);
    stop(&w);
}

/* --- Redis away -------------------------------------------------------------------------- */

Test(intake, a_row_is_enough_while_redis_is_dead)
{
    struct world w = start();
    test_redis_kill(w.redis);
    for (int i = 0; i < 3; i++) {
        struct test_reply r = post_event(&w, "w");
        accepted_with_row(&w, &r);
    }
    cr_expect(spool_empty(&w));
    test_redis_restart(w.redis);
    WAIT_FOR(healthy(&w), 20000);
    struct test_reply r = post_event(&w, "w");
    accepted_with_row(&w, &r);
    cr_expect_eq(jobs(&w), 1);
    stop(&w);
}

Test(intake, a_row_is_enough_while_redis_hangs)
{
    struct world w = start();
    test_redis_pause(w.redis);
    for (int i = 0; i < 5; i++) {
        struct test_reply r = post_event(&w, "w");
        accepted_with_row(&w, &r);
    }
    test_redis_resume(w.redis);
    WAIT_FOR(healthy(&w), 20000);
    cr_expect_eq(rows(&w), 5);
    stop(&w);
}

Test(intake, a_redis_that_evicts_is_no_queue)
{
    struct world w = prepare(harness_database(true));
    test_redis_free(w.redis);
    w.redis = test_redis_start_with(
        (const char *const[]){"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", NULL});
    start_producer(&w, NULL);
    wait_ready(&w);
    cr_assert(test_proc_logged(w.producer, "redis_evicts"), "%s", test_proc_log(w.producer));
    struct test_reply r = post_event(&w, "w");
    accepted_with_row(&w, &r);
    cr_expect_eq(jobs(&w), 0);
    stop(&w);
}

/* --- both away --------------------------------------------------------------------------- */

static void events_in_the_spool_alone(struct world *w)
{
    struct test_reply r = post_event(w, "alone");
    const char *id = accepted_without_row(&r);
    cr_assert_eq(spool_look(w, "alone"), 1);
    r = post_event(w, "alone2");
    accepted_without_row(&r);
    test_pg_restart(w->pg);
    WAIT_FOR(rows(w) == 2, 30000);
    cr_assert_eq(rows_of(w, id), 1);
    WAIT_FOR(spool_empty(w), 30000);
    test_redis_restart(w->redis);
    WAIT_FOR(healthy(w), 20000);
}

Test(intake, the_spool_is_enough_while_both_are_dead)
{
    struct world w = start_apart(NULL);
    test_pg_kill(w.pg);
    test_redis_kill(w.redis);
    events_in_the_spool_alone(&w);
    stop(&w);
}

Test(intake, the_spool_is_enough_while_both_hang)
{
    struct world w = start_apart(NULL);
    test_pg_pause(w.pg);
    test_redis_pause(w.redis);
    events_in_the_spool_alone(&w);
    stop(&w);
}

/* A name server that swallows every question: look-ups take their full timeout. */
Test(intake, the_spool_is_enough_while_names_are_not_resolved)
{
    const char *conf = harness_text("%s/resolv.conf", harness_dir());
    FILE *f = fopen(conf, "we");
    fputs("nameserver 127.99.0.53\noptions timeout:30 attempts:1\n", f);
    fclose(f);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "127.99.0.53", &sa.sin_addr);
    int dns = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(conf, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0 ||
        bind(dns, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        cr_skip_test("replacing /etc/resolv.conf for one process is not permitted here");
    struct world w = prepare("postgresql://postgres@never.example/hookline");
    start_producer(&w, (const char *const[]){"WEBHOOK_REDIS_URL=redis://neither.example:6379",
                           "WEBHOOK_DB_CONNECT_TIMEOUT=30s", NULL});
    struct pollfd asked = {.fd = dns, .events = POLLIN};
    cr_assert_eq(poll(&asked, 1, 20000), 1);
    struct test_reply r = post_event(&w, "lost?");
    accepted_without_row(&r);
    cr_assert_eq(spool_look(&w, "lost?"), 1);
    test_proc_kill(w.producer); /* its helper thread is in the resolver for half a minute */
    test_redis_free(w.redis);
    close(w.fd);
    close(dns);
}

/* --- the spool --------------------------------------------------------------------------- */

static const char *bulky_event(int i)
{
    char *pad = harness_hold(mem_zero(8001));
    memset(pad, 'x', 8000);
    return harness_text("{\"watch_id\":\"bulk-%d\",\"watch_url\":\"https://example.com/%s\","
                        "\"diff_url\":\"http://cd/%s\",\"detected_at\":\"2026-01-02\"}",
        i, pad, pad);
}

Test(intake, a_full_spool_says_so_and_recovers)
{
    struct world w = start_apart((const char *const[]){"WEBHOOK_SPOOL_MAX_BYTES=1m", NULL});
    test_pg_kill(w.pg);
    struct test_reply r;
    int kept = 0;
    while ((r = post(&w, bulky_event(kept))).status == 202)
        cr_assert_lt(++kept, 100);
    cr_assert_gt(kept, 50);
    cr_assert_eq(r.status, 503);
    cr_assert_lt(r.seconds, SENDERS_PATIENCE);
    cr_expect_str_eq(
        r.body, "{\"detail\":\"The event cannot be stored now; try again later\"}", "%s", r.body);
    cr_expect(like(test_reply_header(&r, "Retry-After"), "^[1-9][0-9]*$"));
    cr_expect(test_proc_logged(w.producer, "WEBHOOK_SPOOL_MAX_BYTES"));
    test_pg_restart(w.pg);
    WAIT_FOR(rows(&w) == kept, 30000);
    WAIT_FOR(spool_empty(&w), 30000);
    r = post(&w, bulky_event(kept));
    accepted_with_row(&w, &r);
    stop(&w);
}

/* n events while PostgreSQL is dead; returns their ids. */
static const char **spool_events(struct world *w, int n)
{
    const char **ids = harness_hold(mem_array((size_t)n, sizeof(*ids)));
    for (int i = 0; i < n; i++) {
        struct test_reply r = post_event(w, harness_text("s-%d", i));
        ids[i] = accepted_without_row(&r);
    }
    return ids;
}

static void expect_exactly(struct world *w, const char **ids, int n)
{
    for (int i = 0; i < n; i++)
        WAIT_FOR(rows_of(w, ids[i]) == 1, 30000);
    WAIT_FOR(spool_empty(w), 30000);
    cr_assert_eq(rows(w), n);
}

Test(intake, a_killed_process_leaves_its_events_to_its_replacement)
{
    struct world w = start_apart((const char *const[]){"WEBHOOK_PRODUCERS=2", NULL});
    pid_t before[8], now[8];
    test_pg_kill(w.pg);
    const char **ids = spool_events(&w, 20);
    int n = harness_children(test_proc_pid(w.producer), NULL, before, 8);
    cr_assert_eq(n, 2);
    for (int i = 0; i < n; i++)
        kill(before[i], SIGKILL);
    WAIT_FOR(harness_proc_state(before[0]) == 0 && harness_proc_state(before[1]) == 0, 20000);
    WAIT_FOR(harness_children(test_proc_pid(w.producer), NULL, now, 8) == 2, 20000);
    test_pg_restart(w.pg);
    expect_exactly(&w, ids, 20);
    stop(&w);
}

Test(intake, a_killed_program_leaves_its_events_to_the_next_one)
{
    struct world w = start_apart(NULL);
    test_pg_kill(w.pg);
    const char **ids = spool_events(&w, 5);
    test_proc_kill(w.producer);
    test_pg_restart(w.pg);
    cr_assert_eq(rows(&w), 0);
    start_producer(&w, NULL);
    expect_exactly(&w, ids, 5);
    stop(&w);
}

Test(intake, a_program_that_ends_while_postgres_is_dead_leaves_its_events_to_the_next_one)
{
    struct world w = start_apart(NULL);
    test_pg_kill(w.pg);
    const char **ids = spool_events(&w, 5);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0);
    cr_assert(!spool_empty(&w));
    test_pg_restart(w.pg);
    start_producer(&w, NULL);
    expect_exactly(&w, ids, 5);
    stop(&w);
}

Test(intake, events_before_the_migration_are_rows_after_it)
{
    struct world w = prepare(harness_database(false));
    start_producer(&w, NULL);
    WAIT_FOR(test_proc_logged(w.producer, "waiting_for_database"), 20000);
    struct test_reply r;
    WAIT_FOR((r = test_http(w.port, "GET", "/", NULL, NULL, 0)).status == 200, 20000);
    const char **ids = spool_events(&w, 5);
    const char *const argv[] = {harness_text("%s/hooklinectl", harness_build()), "migrate", NULL};
    const char *const env[] = {harness_text("WEBHOOK_DATABASE_URL=%s", w.database), NULL};
    cr_assert_eq(test_proc_wait(test_proc_start(argv, env, -1), 60000), 0);
    expect_exactly(&w, ids, 5);
    r = post_event(&w, "after");
    accepted_with_row(&w, &r);
    const char *log = test_proc_log(w.producer), *said = strstr(log, "waiting_for_database");
    cr_expect(!strstr(said + 1, "waiting_for_database"), "said once");
    cr_expect(strstr(log, "hooklinectl migrate"), "with its remedy");
    stop(&w);
}

/* --- WEBHOOK_ACK=queue ------------------------------------------------------------------- */

static const char *const ack_queue[] = {"WEBHOOK_ACK=queue", NULL};

Test(intake, with_ack_queue_the_row_follows_the_receipt)
{
    struct world w = prepare(harness_database(true));
    start_producer(&w, ack_queue);
    WAIT_FOR(test_http(w.port, "GET", "/", NULL, NULL, 0).status == 200, 20000);
    WAIT_FOR(healthy(&w), 20000);
    struct test_reply r = post_event(&w, "w");
    const char *id = accepted_without_row(&r);
    cr_assert_eq(jobs(&w), 1, "in Redis before the 202");
    WAIT_FOR(rows_of(&w, id) == 1, 20000);
    stop(&w);
}

Test(intake, with_ack_queue_either_store_is_enough)
{
    struct test_pg *pg = test_pg_start();
    struct world w = prepare(test_pg_url(pg));
    w.pg = pg;
    start_producer(&w, ack_queue);
    struct test_reply r;
    WAIT_FOR((r = post_event(&w, "warm-up")).status == 202 && rows(&w) > 0, 30000);
    WAIT_FOR(spool_empty(&w), 30000);
    WAIT_FOR(healthy(&w), 20000);
    sql_exec(w.database, "TRUNCATE webhook.change_events");

    test_redis_pause(w.redis);
    r = post_event(&w, "no-redis");
    accepted_with_row(&w, &r);
    test_pg_pause(w.pg);
    r = post_event(&w, "nothing");
    accepted_without_row(&r);
    cr_assert_eq(spool_look(&w, "nothing"), 1);
    test_redis_resume(w.redis);
    test_pg_resume(w.pg);
    WAIT_FOR(rows(&w) == 2 && spool_empty(&w), 30000);
    WAIT_FOR(healthy(&w), 20000);

    test_pg_kill(w.pg);
    r = post_event(&w, "no-postgres");
    const char *id = accepted_without_row(&r);
    WAIT_FOR(spool_look(&w, "no-postgres") == 1, 20000);
    test_pg_restart(w.pg);
    WAIT_FOR(rows_of(&w, id) == 1, 30000);
    WAIT_FOR(spool_empty(&w), 30000);
    cr_assert_eq(rows(&w), 3);
    stop(&w);
}

/* --- many at once, and the end ----------------------------------------------------------- */

static int post_and_leave_open(const struct world *w, const char *watch_id)
{
    const char *body = event(watch_id);
    int fd = dial(w->port);
    send_text(fd, harness_text("%s%s", signed_head(body, "Connection: close\r\n"), body));
    return fd;
}

static void expect_receipts(const struct world *w, int fds[], int n)
{
    for (int i = 0; i < n; i++) {
        const char *answer = receive(fds[i], NULL), *at = strstr(answer, "\"job_id\":\"");
        cr_assert_eq(status_of(answer), 202, "%d: %s", i, answer);
        const char *id = harness_text("%.36s", at + 10);
        WAIT_FOR(rows_of(w, id) == 1, 30000);
        close(fds[i]);
    }
}

Test(intake, many_at_once_through_several_processes_are_as_many_rows)
{
    enum { N = 64 };
    struct world w = start_with((const char *const[]){"WEBHOOK_PRODUCERS=3", NULL});
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = post_and_leave_open(&w, "crowd");
    expect_receipts(&w, fds, N);
    cr_assert_eq(rows(&w), N);
    WAIT_FOR(spool_empty(&w), 20000);
    stop(&w);
}

Test(intake, many_at_once_while_postgres_hangs_are_all_kept)
{
    enum { N = 64 };
    struct world w = start_apart(NULL);
    int fds[N];
    test_pg_pause(w.pg);
    int64_t begin = harness_now_ms();
    for (int i = 0; i < N; i++)
        fds[i] = post_and_leave_open(&w, "crowd");
    for (int i = 0; i < N; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 30000), 1);
    }
    cr_expect_lt(harness_now_ms() - begin, (int)(SENDERS_PATIENCE * 1000));
    test_pg_resume(w.pg);
    expect_receipts(&w, fds, N);
    cr_assert_eq(rows(&w), N);
    WAIT_FOR(spool_empty(&w), 20000);
    stop(&w);
}

Test(intake, sigterm_loses_no_request_under_way)
{
    struct world w = start_apart(NULL);
    const char *body = event("half"), *head = signed_head(body, "");
    int half = dial(w.port), fds[9];
    send_text(half, head);
    send_text(half, harness_text("%.10s", body));
    test_pg_pause(w.pg); /* T0 of the others hangs */
    for (int i = 0; i < 8; i++)
        fds[i] = post_and_leave_open(&w, "under-way");
    /* In the hands of the process, not in the kernel's queue: it takes connections in order. */
    cr_assert_eq(test_http(w.port, "GET", "/", NULL, NULL, 0).status, 200);
    test_proc_signal(w.producer, SIGTERM);
    WAIT_FOR(test_proc_logged(w.producer, "draining"), 20000);
    send_text(half, body + 10);
    fds[8] = half;
    for (int i = 0; i < 9; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 10000), 1, "%d", i);
    }
    test_pg_resume(w.pg);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0, "%s", test_proc_log(w.producer));
    start_producer(&w, NULL); /* brings home what was spooled */
    expect_receipts(&w, fds, 9);
    cr_assert_eq(rows(&w), 9);
    stop(&w);
}

Test(intake, sigterm_waits_for_the_row_that_follows_a_receipt)
{
    struct test_pg *pg = test_pg_start();
    struct world w = prepare(test_pg_url(pg));
    w.pg = pg;
    start_producer(&w, ack_queue);
    struct test_reply r;
    WAIT_FOR((r = post_event(&w, "warm-up")).status == 202 && rows(&w) > 0, 30000);
    WAIT_FOR(spool_empty(&w) && healthy(&w), 30000);
    test_pg_pause(w.pg);
    r = post_event(&w, "follows");
    const char *id = accepted_without_row(&r);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0, "%s", test_proc_log(w.producer));
    cr_assert_eq(spool_look(&w, "follows"), 1);
    test_pg_resume(w.pg);
    start_producer(&w, ack_queue);
    WAIT_FOR(rows_of(&w, id) == 1 && spool_empty(&w), 30000);
    stop(&w);
}

/* --- secrets ----------------------------------------------------------------------------- */

static void expect_no_secret(struct test_proc *p)
{
    static const char *const secrets[] = {SECRET, "forty-characters", BASIC, PASSWORD,
        "redis-password", "feedface", BODY_DIGEST, "body-never"};
    const char *log = test_proc_log(p);
    cr_expect(strstr(log, "webhook_refused"), "it does log refusals");
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
        cr_expect(!strstr(log, secrets[i]), "%s is in the log", secrets[i]);
}

Test(intake, no_secret_is_ever_logged)
{
    struct test_pg *pg = test_pg_start();
    struct world w = prepare(test_pg_url(pg));
    w.pg = pg;
    test_redis_free(w.redis);
    w.redis = test_redis_start_with(
        (const char *const[]){"--requirepass", "redis-password-never-to-be-seen", NULL});
    const char *address = strstr(test_redis_url(w.redis), "127");
    const char *const settings[] = {"WEBHOOK_INTAKE_TOKEN=" TOKEN, "WEBHOOK_LOG_LEVEL=debug",
        harness_text("WEBHOOK_REDIS_URL=redis://:redis-password-never-to-be-seen@%s", address),
        NULL};
    start_producer(&w, settings);
    wait_ready(&w);
    static const char *const headers[] = {"X-Webhook-Token: " TOKEN "\r\n",
        "X-Webhook-Token: wrong" TOKEN "\r\n", "Authorization: Bearer " TOKEN "\r\n",
        "Authorization: Basic " BASIC "\r\n", "Authorization: wrong " TOKEN "\r\n",
        "X-Signature: feedfacefeedface\r\n", ""};
    static const char *const bodies[] = {BODY, "{\"body-never-to-be-seen\"", "{}",
        "{\"watch_id\":\"body-never-to-be-seen\",\"watch_url\":5}"};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
            for (size_t j = 0; j < sizeof(bodies) / sizeof(bodies[0]); j++)
                post_raw(&w, ROUTE, headers[i], bodies[j]);
        test_pg_kill(w.pg);
        test_redis_kill(w.redis);
    }
    test_pg_restart(w.pg);
    test_redis_restart(w.redis);
    WAIT_FOR(healthy(&w), 30000);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0);
    expect_no_secret(w.producer);

    w.database = harness_text("%s-absent", w.database);
    const char *const refused[] = {
        harness_text("WEBHOOK_REDIS_URL=redis://:redis-password-but-wrong@%s", address), NULL};
    start_producer(&w, refused); /* both stores refuse, in their own words */
    WAIT_FOR(like(health(&w), HEALTH("degraded", UNHEALTHY, UNHEALTHY)), 20000);
    struct test_reply r = post_event(&w, "w");
    accepted_without_row(&r);
    test_proc_signal(w.producer, SIGTERM);
    cr_assert_eq(test_proc_wait(w.producer, 30000), 0);
    cr_expect(!test_proc_logged(w.producer, "redis-password"));
    cr_expect(!test_proc_logged(w.producer, PASSWORD));
    test_redis_free(w.redis);
    test_pg_free(w.pg);
    close(w.fd);
}
