/* Answers that go on: GET /api/live of a real producer with a real PostgreSQL, read as a browser's
 * EventSource does. The producer is one in a hurry (prog_brisk_producer.c). How the bytes are framed is
 * test_httpd_stream's. */
#include "base/buf.h"
#include "base/clock.h"
#include "producer/live.h"
#include "producer/session.h"
#include "tests/support/fleet.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(live, .timeout = 90);

enum { SOON = 20000, QUIET_MS = 600 /* two questions and more */, QUESTION_MS = 200 };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define AUTH     "Authorization: Bearer " RIG_API_SECRET "\r\n"
#define EVENTS   "/api/live?of=/api/events%3Flimit%3D20"

/* --- a client ---------------------------------------------------------------------------- */

struct tail {
    int fd;
    struct buf have; /* received, not looked at */
    bool over;
};

struct message {
    char *id, *event;
    json_t *data;
};

/* Asks as HTTP/1.0, so that the stream comes bare. */
static struct tail tail_with(int port, const char *path, const char *headers, int receive_bytes)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct tail t = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (receive_bytes)
        setsockopt(t.fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    cr_assert(connect(t.fd, (const struct sockaddr *)&at, sizeof(at)) == 0, "%s", strerror(errno));
    const char *ask = harness_text("GET %s HTTP/1.0\r\n%s\r\n", path, headers);
    cr_assert(send(t.fd, ask, strlen(ask), MSG_NOSIGNAL) == (ssize_t)strlen(ask));
    return t;
}

static void tail_close(struct tail *t)
{
    close(t->fd);
    buf_release(&t->have);
}

/* Waits for some bytes; false: none came until then, or the stream is over. */
static bool tail_read(struct tail *t, int64_t end_ms)
{
    static char bytes[65536];
    int64_t left = end_ms - harness_now_ms();
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (t->over || poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
        return false;
    ssize_t n = recv(t->fd, bytes, sizeof(bytes), 0);
    t->over = n <= 0;
    if (n > 0)
        buf_append(&t->have, bytes, (size_t)n);
    return n > 0;
}

/* The next block of lines up to an empty one, without it; allocated. NULL: none until then. */
static char *tail_block(struct tail *t, int64_t end_ms)
{
    for (;;) {
        const char *data = buf_str(&t->have), *end = strstr(data, "\n\n");
        const char *head_end = strncmp(data, "HTTP/", 5) == 0 ? strstr(data, "\r\n\r\n") : NULL;
        if (head_end || end) {
            size_t len = (size_t)((head_end ? head_end : end) - data);
            char *block = strndup(data, len);
            buf_consume(&t->have, len + (head_end ? 4 : 2));
            return block;
        }
        if (!tail_read(t, end_ms))
            return NULL;
    }
}

static char *line_of(const char *block, const char *field)
{
    size_t len = strlen(field);
    for (const char *at = block; at; at = strchr(at, '\n'), at += at != NULL)
        if (strncmp(at, field, len) == 0)
            return harness_hold(strndup(at + len, strcspn(at + len, "\n")));
    return NULL;
}

/* The next message; event NULL: none in time. Texts live as long as the test. */
static struct message tail_next(struct tail *t, int timeout_ms)
{
    struct message m = {0};
    int64_t end = harness_now_ms() + timeout_ms;
    for (char *block; !m.event && (block = tail_block(t, end)); free(block)) {
        m.event = line_of(block, "event: ");
        m.id = line_of(block, "id: ");
        char *data = line_of(block, "data: ");
        m.data = data ? json_loads(data, 0, NULL) : NULL;
        cr_assert(!m.event || (m.id && m.data), "%s", block);
    }
    return m;
}

static struct message tail_expect(struct tail *t, const char *event)
{
    struct message m = tail_next(t, SOON);
    cr_assert(m.event && strcmp(m.event, event) == 0, "%s instead of %s", m.event, event);
    return m;
}

static struct tail tail_of(struct rig *r, const char *path)
{
    return tail_with(r->producer_port, path, AUTH, 0);
}

static const json_t *events_of(const struct message *m)
{
    return json_object_get(json_object_get(m->data, "answer"), "events");
}

static json_int_t number(const json_t *at, const char *key)
{
    const json_t *n = json_object_get(at, key);
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

/* Takes answers until the newest event is this one, in this state; fails after the time. */
static void see(struct tail *t, const char *id, const char *status, int within_ms)
{
    int64_t end = harness_now_ms() + within_ms;
    for (;;) {
        struct message m = tail_next(t, (int)(end - harness_now_ms()));
        cr_assert(m.event, "%s is not %s within %d ms", id, status, within_ms);
        const json_t *newest = json_array_get(events_of(&m), 0);
        const char *has = json_string_value(json_object_get(newest, "event_id"));
        const char *is = json_string_value(json_object_get(newest, "status"));
        bool seen = has && is && strcmp(has, id) == 0 && strcmp(is, status) == 0;
        json_decref(m.data);
        if (seen)
            return;
    }
}

static void put_event(struct rig *r, const char *watch)
{
    sql_exec(r->db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, event_id, rescrape_status)"
        " VALUES ('%s', 'http://page.test/', gen_random_uuid(), 'completed')",
        watch);
}

/* --- a producer in a hurry ------------------------------------------------------------------ */

static struct test_proc *brisk(
    struct rig *r, const char *const *argv, const char *const *env, int *port)
{
    int fd = harness_listen(port);
    struct test_proc *p = rig_start_program(r, argv, env, fd);
    close(fd);
    WAIT_FOR(rig_serves(*port), SOON);
    return p;
}
#define BRISK rig_program("tests/brisk_producer")
#define SPOOL harness_text("WEBHOOK_SPOOL_DIR=%s/spool-%d", harness_dir(), __LINE__)

/* It takes the place of the rig's own. */
static void hurry(struct rig *r)
{
    test_proc_signal(r->producer, SIGTERM);
    r->producer = brisk(r, (const char *const[]){BRISK, NULL}, RIG_ENV(SPOOL), &r->producer_port);
}

static void start(struct rig *r)
{
    rig_start(r);
    hurry(r);
}

/* --- what is told ------------------------------------------------------------------------ */

Test(live, an_event_that_is_posted_appears_and_completes)
{
    struct rig r;
    start(&r);
    rig_fleet(&r, 1, NULL);
    struct tail t = tail_of(&r, EVENTS);
    struct message first = tail_expect(&t, "answer");
    cr_expect_eq(number(first.data, "of"), 0);
    cr_expect_eq(json_array_size(events_of(&first)), 0);
    json_decref(first.data);
    struct rig_id id = rig_post(&r, "/hold/seen");
    see(&t, id.text, "in_progress", 3000);
    rig_release(&r);
    see(&t, id.text, "completed", 3000);
    tail_close(&t);
}

static void headers_and_first_lines_are_those_of_an_event_stream(struct rig *r)
{
    struct tail t = tail_of(r, EVENTS);
    char *head = tail_block(&t, harness_now_ms() + SOON);
    char *hello = tail_block(&t, harness_now_ms() + SOON);
    cr_assert(head && hello);
    cr_expect(strstr(head, "\r\nContent-Type: text/event-stream\r\n"), "%s", head);
    cr_expect(strstr(head, "\r\nCache-Control: no-store\r\n"), "%s", head);
    cr_expect(strstr(head, "\r\nX-Request-ID: "), "%s", head);
    cr_expect(strncmp(hello, "retry: ", 7) == 0, "%s", hello);
    cr_expect(atol(hello + 7) >= 2000 && atol(hello + 7) <= 4000, "%s", hello);
    free(head);
    free(hello);
    tail_close(&t);
}

static void several_answers_come_on_one_stream_each_under_its_number(struct rig *r)
{
    bool seen[3] = {false};
    struct tail t = tail_of(
        r, "/api/live?of=/api/events&of=/api/workers&other=x&of=%2Fapi%2Fevents%3Fstatus%3Dfailed");
    for (int i = 0; i < 3; i++) {
        struct message m = tail_expect(&t, "answer");
        json_int_t of = number(m.data, "of");
        cr_assert(of >= 0 && of < 3 && !seen[of], "%s", m.id);
        seen[of] = true;
        const json_t *answer = json_object_get(m.data, "answer");
        cr_expect(json_object_get(answer, of == 1 ? "workers" : "events"));
        json_decref(m.data);
    }
    put_event(r, "only-in-the-first");
    struct message m = tail_expect(&t, "answer");
    cr_expect_eq(number(m.data, "of"), 0);
    json_decref(m.data);
    m = tail_next(&t, QUIET_MS);
    cr_expect_null(m.event, "the others have not changed");
    tail_close(&t);
}

static void who_comes_again_gets_what_has_changed_and_nothing_else(struct rig *r)
{
    put_event(r, "one");
    static const char path[] = EVENTS "&of=/api/events%3Fstatus%3Dfailed";
    struct tail t = tail_of(r, path);
    json_decref(tail_expect(&t, "answer").data);
    struct message last = tail_expect(&t, "answer");
    json_decref(last.data);
    tail_close(&t);

    const char *again = harness_text(AUTH "Last-Event-ID: %s\r\n", last.id);
    t = tail_with(r->producer_port, path, again, 0);
    struct message m = tail_next(&t, QUIET_MS);
    cr_expect_null(m.event, "%s", m.event);
    put_event(r, "two");
    m = tail_expect(&t, "answer");
    cr_expect_eq(json_array_size(events_of(&m)), 2);
    json_decref(m.data);
    tail_close(&t);

    t = tail_with(r->producer_port, path, again, 0); /* it changed while nobody was there */
    m = tail_expect(&t, "answer");
    cr_expect_eq(number(m.data, "of"), 0);
    cr_expect_eq(json_array_size(events_of(&m)), 2);
    json_decref(m.data);
    m = tail_next(&t, QUIET_MS);
    cr_expect_null(m.event);
    tail_close(&t);

    static const char *const others[] = {"x", "", "....", "0123456789abcdef.0123456789abcdef"};
    for (size_t i = 0; i < COUNT(others); i++) {
        t = tail_with(
            r->producer_port, path, harness_text(AUTH "Last-Event-ID: %s\r\n", others[i]), 0);
        json_decref(tail_expect(&t, "answer").data);
        json_decref(tail_expect(&t, "answer").data);
        tail_close(&t);
    }
}

/* The answer is far larger than what the sockets hold between them. */
Test(live, a_slow_reader_gets_the_newest_and_none_in_between)
{
    struct rig r;
    int messages = 0;
    start(&r);
    sql_exec(r.db,
        "INSERT INTO webhook.change_events (watch_id, watch_url, event_id,"
        " rescrape_status) SELECT 'w' || n, 'http://page.test/' || repeat('x', 500) || n,"
        " gen_random_uuid(), 'completed' FROM generate_series(1, 600) n");
    static const char path[] = "/api/live?of=/api/events%3Flimit%3D600";
    struct tail slow = tail_with(r.producer_port, path, AUTH, 4096);
    struct tail fast = tail_of(&r, path);
    json_decref(tail_expect(&fast, "answer").data);
    for (int i = 1; i <= 4; i++) {
        put_event(&r, harness_text("new%d", i));
        json_decref(tail_expect(&fast, "answer").data);
    }
    for (const char *newest = ""; strcmp(newest, "new4") != 0; messages++) {
        struct message m = tail_expect(&slow, "answer");
        newest = harness_text(
            "%s", json_string_value(json_object_get(json_array_get(events_of(&m), 0), "watch_id")));
        json_decref(m.data);
    }
    cr_expect_eq(messages, 2, "the one it had begun with and the newest, not %d", messages);
    tail_close(&slow);
    tail_close(&fast);
}

/* --- what it costs ----------------------------------------------------------------------- */

static long questions(struct rig *r)
{
    return sql_int(r->db, "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
                          " WHERE query LIKE '%%websearch_to_tsquery%%'");
}

static struct tail tail_from(struct rig *r, int client, const char *path)
{
    return tail_with(
        r->producer_port, path, harness_text(AUTH "X-Forwarded-For: 192.0.2.%d\r\n", client), 0);
}

static int streams(struct rig *r)
{
    static const char name[] = "\nhookline_live_streams ";
    struct test_reply reply = test_http(r->producer_port, "GET", "/metrics", AUTH, NULL, 0);
    const char *at = strstr(reply.body, name);
    return at ? atoi(at + strlen(name)) : -1;
}

static void fifty_who_watch_one_answer_cost_as_much_as_one_and_nobody_nothing(struct rig *r)
{
    struct tail tails[50];
    sql_exec(r->db, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'");
    test_pg_kill(r->pg);
    test_pg_restart(r->pg);
    sql_exec(r->db, "CREATE EXTENSION pg_stat_statements");
    WAIT_FOR(rig_serves(r->producer_port), SOON);
    WAIT_FOR(
        test_http(r->producer_port, "GET", "/api/search?q=x", AUTH, NULL, 0).status == 200, SOON);
    long one = questions(r);
    cr_assert(one >= 1, "the statement is known by its text");
    sql_exec(r->db, "SELECT pg_stat_statements_reset()");

    int64_t begin_ms = harness_now_ms();
    for (int i = 0; i < 50; i++)
        tails[i] = tail_from(r, i % 10, "/api/live?of=/api/search%3Fq%3Dx");
    for (int i = 0; i < 50; i++)
        json_decref(tail_expect(&tails[i], "answer").data);
    WAIT_FOR(questions(r) >= 4, SOON);
    long asked = questions(r);
    int64_t took_ms = harness_now_ms() - begin_ms;
    cr_expect(asked <= took_ms / QUESTION_MS + 2, "%ld in %d ms", asked, (int)took_ms);

    for (int i = 0; i < 50; i++)
        tail_close(&tails[i]);
    WAIT_FOR(streams(r) == 0, SOON);
    WAIT_FOR(test_http(r->producer_port, "GET", "/api/queues", AUTH, NULL, 0).status == 200, SOON);
    long left = questions(r);
    poll(NULL, 0, QUIET_MS);
    cr_expect_eq(questions(r), left, "%ld, then %ld", left, questions(r));
}

/* --- who may, and how many --------------------------------------------------------------- */

static void what_cannot_be_watched_is_refused_by_name(struct rig *r)
{
    static const struct {
        const char *query;
        int status;
        const char *said;
    } cases[] = {
        {"",                                                                             422, "Field required"                        },
        {"?of=",                                                                         422, "Field required"                        },
        {"?off=/api/events",                                                             422, "Field required"                        },
        {"?of=/api/live%3Fof%3D/api/events",                                             422, "\"input\":\"/api/live?of=/api/events\""},
        {"?of=/health",                                                                  422, "\"input\":\"/health\""                 },
        {"?of=/",                                                                        422, "\"input\":\"/\""                       },
        {"?of=/api/nothing",                                                             422, "\"input\":\"/api/nothing\""            },
        {"?of=/api/events/x/retry",                                                      422, "is no GET route"                       },
        {"?of=http://other.test/api/events",                                             422, "is no GET route"                       },
        {"?of=/api/events%3Fq%3Da%20b",                                                  422, "%XX"                                   },
        {"?of=/api/events%00",                                                           422, "%XX"                                   },
        {"?of=/api/events%0D%0A",                                                        422, "%XX"                                   },
        {"?of=/api/events%2f",                                                           422, "is no GET route"                       },
        {"?of=/api%252fevents",                                                          422, "is no GET route"                       },
        {"?of=//api/events",                                                             422, "is no GET route"                       },
        {"?of=/api//events",                                                             422, "is no GET route"                       },
        {"?of=/api/../health",                                                           422, "is no GET route"                       },
        {"?of=/api/live",                                                                422, "is no GET route"                       },
        {"?of=/api/redrives/t/apply",                                                    422, "is no GET route"                       },
        {"?of=/API/events",                                                              422, "is no GET route"                       },
        {"?of=/api/events%23x",                                                          422, "%XX"                                   },
        {"?of=/api/events&of=/api/x&of=/api/y",                                          422, "\"input\":\"/api/y\""                  },
        {"?of=/api/events&of=/api/events&of=/api/events&of=/api/events&of=/api/workers", 422,
         "\"input\":\"/api/workers\""                                                                                                 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct test_reply reply = test_http(
            r->producer_port, "GET", harness_text("/api/live%s", cases[i].query), AUTH, NULL, 0);
        cr_expect_eq(reply.status, cases[i].status, "%s: %d", cases[i].query, reply.status);
        cr_expect(strstr(reply.body, cases[i].said), "%s: %s", cases[i].query, reply.body);
    }
    struct buf of = {0};
    buf_puts(&of, "/api/live?of=/api/events%3Furl%3D");
    for (int i = 0; i < 2000; i++)
        buf_putc(&of, 'x');
    struct test_reply reply = test_http(r->producer_port, "GET", of.data, AUTH, NULL, 0);
    cr_expect_eq(reply.status, 422);
    cr_expect(strstr(reply.body, "longer than 2000"), "%s", reply.body);
    buf_release(&of);
}

static void an_answer_that_is_an_error_is_told_as_trouble_once(struct rig *r)
{
    struct tail t = tail_of(r, "/api/live?of=/api/events/0&of=/api/events%3Flimit%3D0");
    for (int i = 0; i < 2; i++) {
        struct message m = tail_expect(&t, "trouble");
        cr_expect_eq(number(m.data, "status"), number(m.data, "of") ? 422 : 404);
        cr_expect(json_object_get(m.data, "detail"));
        json_decref(m.data);
    }
    struct message m = tail_next(&t, QUIET_MS);
    cr_expect_null(m.event);
    tail_close(&t);
}

static void who_may_not_read_may_not_watch(struct rig *r)
{
    cr_expect_eq(test_http(r->producer_port, "GET", EVENTS, NULL, NULL, 0).status, 401);
    cr_expect_eq(test_http(r->producer_port, "GET", EVENTS,
                     "Authorization: Bearer of-good-news\r\n", NULL, 0)
                     .status,
        401);
    cr_expect_eq(
        test_http(r->producer_port, "GET", "/api/live", NULL, NULL, 0).status, 401, "before 422");
}

static void expect_refused(int port, const char *headers, int status)
{
    struct test_reply reply = test_http(port, "GET", EVENTS, headers, NULL, 0);
    cr_expect_eq(reply.status, status, "%d %s", reply.status, reply.body);
    const char *later = test_reply_header(&reply, "Retry-After");
    cr_expect(later && atoi(later) > 0);
}

static bool opens(struct rig *r, struct tail *t)
{
    *t = tail_of(r, EVENTS);
    struct message m = tail_next(t, SOON);
    json_decref(m.data);
    if (!m.event)
        tail_close(t);
    return m.event != NULL;
}

static void one_client_has_so_many_streams_and_others_have_theirs(struct rig *r)
{
    struct tail tails[LIVE_PER_CLIENT], other;
    for (int i = 0; i < LIVE_PER_CLIENT; i++) {
        tails[i] = tail_of(r, EVENTS);
        json_decref(tail_expect(&tails[i], "answer").data);
    }
    expect_refused(r->producer_port, AUTH, 429);
    other = tail_from(r, 1, EVENTS);
    json_decref(tail_expect(&other, "answer").data);
    tail_close(&tails[0]);
    WAIT_FOR(opens(r, &tails[0]), SOON); /* the producer sees the end a moment later */
    for (int i = 0; i < LIVE_PER_CLIENT; i++)
        tail_close(&tails[i]);
    tail_close(&other);
}

static void streams_leave_connections_to_others(struct rig *r)
{
    int port;
    brisk(
        r, (const char *const[]){BRISK, NULL}, RIG_ENV("WEBHOOK_MAX_CONNECTIONS=8", SPOOL), &port);
    struct tail one = tail_with(port, EVENTS, AUTH, 0), two = tail_with(port, EVENTS, AUTH, 0);
    json_decref(tail_expect(&one, "answer").data);
    json_decref(tail_expect(&two, "answer").data);
    expect_refused(port, AUTH, 503);
    tail_close(&one);
    tail_close(&two);
}

/* Waits for a comment, and may be told things before. */
static bool goes_on(struct tail *t)
{
    bool comment = false;
    int64_t end = harness_now_ms() + SOON;
    for (char *block; !comment && (block = tail_block(t, end)); free(block))
        comment = strcmp(block, ":") == 0;
    return comment;
}

static bool ends(struct tail *t)
{
    int64_t end = harness_now_ms() + SOON;
    for (char *block; (block = tail_block(t, end)); free(block))
        ;
    return t->over;
}

static void a_stream_ends_with_the_session_and_others_go_on(struct rig *r)
{
    const struct config ours = {.api_secret_readonly = (char[]){RIG_READ_SECRET}};
    const struct session short_one = {
        .right = SESSION_READS, .expires_s = clock_wall_us() / 1000000 + 3};
    char cookie[SESSION_LEN + 1];
    session_write(&ours, &short_one, cookie);
    const char *header = harness_text("Cookie: " SESSION_COOKIE "=%s\r\n", cookie);
    struct tail t = tail_with(r->producer_port, EVENTS, header, 0), other = tail_of(r, EVENTS);
    cr_expect(goes_on(&t));
    cr_expect(ends(&t));
    cr_expect_geq(clock_wall_us() / 1000000, short_one.expires_s);
    cr_expect(goes_on(&other));
    cr_expect(goes_on(&other), "one comment after the other");
    cr_expect_eq(test_http(r->producer_port, "GET", EVENTS, header, NULL, 0).status, 401);
    tail_close(&t);
    tail_close(&other);
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static bool may_ask(int port, const char *secret)
{
    const char *header = harness_text("Authorization: %s\r\n", secret);
    return test_http(port, "GET", "/api/events", header, NULL, 0).status == 200;
}

static void a_stream_ends_when_its_secret_is_another(struct rig *r)
{
    static const char next[] = "another-secret-that-is-long-enough-for-all";
    const char *file = harness_text("%s/live.conf", harness_dir());
    int port;
    put_file(file, "WEBHOOK_API_SECRET=" RIG_API_SECRET "\n");
    struct test_proc *p = brisk(r,
        (const char *const[]){
            "/usr/bin/env", "-u", "WEBHOOK_API_SECRET", BRISK, "--config", file, NULL},
        RIG_ENV(SPOOL), &port);
    struct tail t = tail_with(port, EVENTS, AUTH, 0);
    json_decref(tail_expect(&t, "answer").data);
    put_file(file, harness_text("WEBHOOK_API_SECRET=%s\n", next));
    test_proc_signal(p, SIGHUP);
    cr_expect(ends(&t));
    WAIT_FOR(may_ask(port, next), SOON);
    cr_expect_not(may_ask(port, RIG_API_SECRET));
    tail_close(&t);
    test_proc_signal(p, SIGTERM);
}

/* --- trouble, and the end ---------------------------------------------------------------- */

static void a_lost_database_is_told_and_so_is_its_return(struct rig *r)
{
    struct tail t = tail_of(r, EVENTS);
    json_decref(tail_expect(&t, "answer").data);
    test_pg_kill(r->pg);
    struct message m = tail_expect(&t, "trouble");
    cr_expect_eq(number(m.data, "status"), 503);
    cr_expect(json_is_string(json_object_get(m.data, "detail")));
    json_decref(m.data);
    test_pg_restart(r->pg);
    for (m = tail_next(&t, SOON); m.event && strcmp(m.event, "trouble") == 0;
         m = tail_next(&t, SOON))
        json_decref(m.data); /* another one, of its way back */
    cr_assert(m.event && strcmp(m.event, "answer") == 0, "the answer as it was is told again");
    json_decref(m.data);
    put_event(r, "after");
    m = tail_expect(&t, "answer");
    cr_expect_eq(json_array_size(events_of(&m)), 1);
    json_decref(m.data);
    tail_close(&t);
}

static void a_drain_does_not_wait_for_streams(struct rig *r)
{
    struct tail tails[8];
    for (size_t i = 0; i < COUNT(tails); i++) {
        tails[i] = tail_of(r, EVENTS);
        json_decref(tail_expect(&tails[i], "answer").data);
    }
    int64_t begin_ms = harness_now_ms();
    test_proc_signal(r->producer, SIGTERM);
    cr_expect_eq(test_proc_wait(r->producer, SOON), 0);
    cr_expect(harness_now_ms() - begin_ms < 3000, "%d ms", (int)(harness_now_ms() - begin_ms));
    for (size_t i = 0; i < COUNT(tails); i++) {
        struct message m = tail_next(&tails[i], SOON);
        cr_expect(!m.event && tails[i].over);
        tail_close(&tails[i]);
    }
}

/* --- the tests ---------------------------------------------------------------------------- */

Test(live, tests_alone_are_in_a_hurry)
{
    cr_expect_eq(live_pace.question_ms, 1000);
    cr_expect_eq(live_pace.comment_ms, 15000);
}

Test(live, one_producer_tells_what_changes_to_whom_may_know)
{
    struct rig r;
    start(&r);
    who_comes_again_gets_what_has_changed_and_nothing_else(&r);
    headers_and_first_lines_are_those_of_an_event_stream(&r);
    several_answers_come_on_one_stream_each_under_its_number(&r);
    an_answer_that_is_an_error_is_told_as_trouble_once(&r);
}

Test(live, one_producer_keeps_out_who_may_not)
{
    struct rig r;
    start(&r);
    what_cannot_be_watched_is_refused_by_name(&r);
    who_may_not_read_may_not_watch(&r);
    one_client_has_so_many_streams_and_others_have_theirs(&r);
    streams_leave_connections_to_others(&r);
    a_stream_ends_when_its_secret_is_another(&r);
    a_stream_ends_with_the_session_and_others_go_on(&r);
    a_drain_does_not_wait_for_streams(&r);
}

Test(live, one_producer_spares_the_database_and_outlives_its_loss)
{
    struct rig r;
    rig_start_own_pg(&r);
    hurry(&r);
    fifty_who_watch_one_answer_cost_as_much_as_one_and_nobody_nothing(&r);
    a_lost_database_is_told_and_so_is_its_return(&r);
}
