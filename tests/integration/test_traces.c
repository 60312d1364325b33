/* Traces from outside: a sender with a traceparent, a whole Hookline, a Firecrawl that tells what it was
 * asked with, and a collector that is strict, slow, in trouble or away. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/meter.h"
#include "domain/spans.h"
#include "tests/support/canned.h"
#include "tests/support/collector.h"
#include "tests/support/fleet.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

TestSuite(traces, .timeout = 120);

enum { SOON = 30000 };
#define HOOK    "/api/webhook/changedetection"
#define CRAWLS  "/api/webhook/firecrawl"
#define TOKEN   "X-Webhook-Token: " RIG_TOKEN "\r\n"
#define TRACE   "4bf92f3577b34da6a3ce929d0e0e4736"
#define AGAIN   "4bf92f3577b34da6a3ce929d0e0e4737"
#define CRAWLED "4bf92f3577b34da6a3ce929d0e0e4738"
#define UNASKED "4bf92f3577b34da6a3ce929d0e0e4739"
#define KILLED  "4bf92f3577b34da6a3ce929d0e0e473a"
#define SENDER  "00f067aa0ba902b7"
#define SAMPLED "00-" TRACE "-" SENDER "-01"

/* --- a Firecrawl that remembers the traceparent of each page -------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct buf told; /* "/path traceparent" lines */
    int failures;    /* of /again that are still to come */
    bool killed;     /* /killed has been asked for, and got no answer */
} asked = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool answer_scrape(const struct canned_request *r)
{
    static const char key[] = "\r\ntraceparent: ", site[] = "page.test";
    const char *at = strcasestr(r->text, key), *page = strstr(r->text, site);
    page = page ? page + strlen(site) : "";
    pthread_mutex_lock(&asked.lock);
    bool silent = strncmp(page, "/killed", 7) == 0 && !asked.killed;
    bool fail = strncmp(page, "/again", 6) == 0 && asked.failures > 0 && asked.failures--;
    asked.killed |= silent;
    buf_printf(&asked.told, "%.*s %.*s\n", (int)strcspn(page, "\""), page,
        at ? (int)strcspn(at + strlen(key), "\r") : 0, at ? at + strlen(key) : "");
    pthread_mutex_unlock(&asked.lock);
    if (silent)
        return true;
    if (fail) {
        canned_answer(r, 500, "", "{\"success\":false,\"error\":\"out of order\"}");
        return true;
    }
    canned_answer(r, 200, "Content-Type: application/json\r\n",
        "{\"success\":true,\"data\":{\"markdown\":\"text\",\"metadata\":{\"statusCode\":200}}}");
    return true;
}

static const char *traceparent_of(const char *path)
{
    pthread_mutex_lock(&asked.lock);
    const char *line = strstr(buf_str(&asked.told), harness_text("%s ", path));
    const char *text = line ? line + strlen(path) + 1 : "";
    text = harness_text("%.*s", (int)strcspn(text, "\n"), text);
    pthread_mutex_unlock(&asked.lock);
    return text;
}

/* --- a rig that makes spans --------------------------------------------------------------- */

static struct rig rig;
static struct collector *collector;
static struct canned *firecrawl;
static const char *const *settings; /* of producer and worker */

static void start_producer(const char *endpoint)
{
    static const char *env[8];
    env[0] = harness_text("OTEL_EXPORTER_OTLP_ENDPOINT=%s", endpoint);
    env[1] = "OTEL_EXPORTER_OTLP_HEADERS=X-Tenant=one%20two, bad name=x";
    env[2] = "WEBHOOK_LOG_LEVEL=debug";
    env[3] = harness_text("WEBHOOK_SPOOL_DIR=%s/own-spool", harness_dir());
    settings = env;
    int fd = harness_listen(&rig.producer_port);
    rig.producer = rig_start_program(
        &rig, (const char *const[]){rig_program("hookline-producer"), NULL}, settings, fd);
    close(fd);
    WAIT_FOR(rig_serves(rig.producer_port), SOON);
}

static void start(void)
{
    rig_start(&rig);
    firecrawl = canned_start("127.0.0.1", answer_scrape, NULL);
    rig.firecrawl_port = canned_port(firecrawl);
    collector = collector_start();
}

static void stop(void)
{
    canned_stop(firecrawl);
    collector_stop(collector);
    buf_release(&asked.told);
}

/* An event with that traceparent (NULL: without); its id. */
static const char *post(const char *path, const char *traceparent)
{
    const char *header =
        traceparent ? harness_text(TOKEN "traceparent: %s\r\n", traceparent) : TOKEN;
    const char *body =
        harness_text("{\"watch_id\":\"w\",\"watch_url\":\"http://user:hunter2@page.test%s\","
                     "\"detected_at\":\"2026-11-23T10:00:00Z\"}",
            path);
    struct test_reply reply =
        test_http(rig.producer_port, "POST", HOOK, header, body, strlen(body));
    cr_assert_eq(reply.status, 202, "%d %s", reply.status, reply.body);
    cr_expect_null(test_reply_header(&reply, "traceresponse"));
    return test_reply_member(&reply, "job_id");
}

static bool completed(const char *id)
{
    struct rig_id event;
    snprintf(event.text, sizeof(event.text), "%s", id);
    return rig_status_is(&rig, event, "completed");
}

static const char *without_dashes(const char *id)
{
    char *out = harness_text("%s", id), *to = out;
    for (const char *p = id; *p; p++)
        if (*p != '-')
            *to++ = *p;
    *to = '\0';
    return out;
}

/* Every name is there once. */
static bool has_all(const char *trace_id, const char *const *names)
{
    json_t *spans = collector_spans(collector, trace_id);
    bool all = true;
    for (; *names; names++)
        all = all && collector_span(spans, *names);
    json_decref(spans);
    return all;
}

static bool has_id(json_t *spans, const char *id)
{
    size_t i;
    json_t *span;
    json_array_foreach(spans, i, span)
    {
        if (strcmp(json_get_string(span, "spanId"), id) == 0)
            return true;
    }
    return false;
}

/* Exactly one span hangs below what is outside; NULL outside: it has no parent. */
static void expect_tree(json_t *spans, const char *outside)
{
    size_t i, roots = 0;
    json_t *span;
    json_array_foreach(spans, i, span)
    {
        const char *parent = json_get_string(span, "parentSpanId");
        bool root = outside ? parent && strcmp(parent, outside) == 0 : !parent;
        roots += root;
        cr_expect(root || (parent && has_id(spans, parent)), "%s hangs below nothing that is there",
            json_get_string(span, "name"));
    }
    cr_expect_eq(roots, 1, "%zu roots", roots);
}

static void expect_below(json_t *spans, const char *name, const char *above)
{
    const char *parent = json_get_string(collector_span(spans, name), "parentSpanId");
    const char *id = json_get_string(collector_span(spans, above), "spanId");
    cr_expect(parent && id && strcmp(parent, id) == 0, "%s is not below %s", name, above);
}

static bool logged_with(struct test_proc *p, const char *event, const char *trace_id)
{
    return test_proc_logged_with(p, event, harness_text("\"trace_id\":\"%s\"", trace_id));
}

static const char *const change_spans[] = {
    "intake", "queue wait", "job", "claim", "scrape", "index", "complete", NULL};

static void expect_one_trace_from_the_sender_to_firecrawl(const char *id)
{
    WAIT_FOR(has_all(TRACE, change_spans), SOON);
    json_t *spans = collector_spans(collector, TRACE);
    expect_tree(spans, SENDER);
    expect_below(spans, "queue wait", "intake");
    expect_below(spans, "job", "intake");
    for (const char *const *step = &change_spans[3]; *step; step++)
        expect_below(spans, *step, "job");

    json_t *scrape = collector_span(spans, "scrape"), *intake = collector_span(spans, "intake");
    cr_expect_str_eq(traceparent_of("/traced?token=hunter2"),
        harness_text("00-" TRACE "-%s-01", json_get_string(scrape, "spanId")));
    cr_expect_eq(json_integer_value(json_object_get(scrape, "kind")), SPAN_CLIENT);
    cr_expect_eq(json_integer_value(json_object_get(intake, "kind")), SPAN_SERVER);
    cr_expect_str_eq(collector_attribute(scrape, "server.address"), "127.0.0.1");
    cr_expect_str_eq(collector_attribute(scrape, "http.response.status_code"), "200");
    cr_expect_str_eq(
        collector_attribute(scrape, "url.full"), "http://page.test/traced?token=REDACTED");
    cr_expect_str_eq(collector_attribute(scrape, "hookline.event_id"), id);
    cr_expect_str_eq(collector_attribute(scrape, "hookline.attempt"), "1");
    cr_expect_str_eq(
        collector_attribute(collector_span(spans, "job"), "hookline.outcome"), "completed");
    json_decref(spans);
}

static void expect_it_in_every_line_and_row(struct test_proc *fleet, const char *id)
{
    WAIT_FOR(
        logged_with(fleet, "job_claimed", TRACE) && logged_with(fleet, "job_ended", TRACE), SOON);
    WAIT_FOR(sql_int(rig.db,
                 "SELECT count(*) FROM webhook.operation_metrics WHERE job_id = '%s'"
                 " AND extra_metadata->>'trace_id' = '" TRACE "'",
                 id) == 5,
        SOON);
    cr_expect_eq(sql_int(rig.db, "SELECT count(*) FROM webhook.request_metrics"
                                 " WHERE extra_metadata->>'trace_id' = '" TRACE "'"),
        1);
}

static void expect_an_event_without_a_valid_one_to_be_its_own(const char *id)
{
    const char *trace_id = without_dashes(id);
    WAIT_FOR(has_all(trace_id, change_spans), SOON);
    json_t *spans = collector_spans(collector, trace_id);
    expect_tree(spans, NULL);
    json_decref(spans);
    cr_expect_eq(sql_int(rig.db,
                     "SELECT count(*) FROM webhook.request_metrics"
                     " WHERE extra_metadata->>'trace_id' = '%s'",
                     trace_id),
        0);
}

static void expect_who_does_not_want_spans_to_get_none(struct test_proc *fleet, const char *id)
{
    WAIT_FOR(completed(id), SOON);
    const char *sent = traceparent_of("/unasked");
    cr_expect(
        strncmp(sent, "00-" UNASKED "-", 36) == 0 && strcmp(sent + 52, "-00") == 0, "%s", sent);
    WAIT_FOR(logged_with(fleet, "job_ended", UNASKED), SOON);
    json_t *spans = collector_spans(collector, UNASKED);
    cr_expect_eq(json_array_size(spans), 0);
    json_decref(spans);
}

static size_t count_named(const char *trace_id, const char *name)
{
    json_t *found = collector_spans(collector, trace_id), *span;
    size_t i, n = 0;
    json_array_foreach(found, i, span)
    {
        n += strcmp(json_get_string(span, "name"), name) == 0;
    }
    json_decref(found);
    return n;
}

static void expect_a_failed_attempt_to_say_why_and_the_next_to_be_of_its_trace(void)
{
    WAIT_FOR(
        count_named(AGAIN, "job") == 2 && has_all(AGAIN, (const char *[]){"complete", NULL}), SOON);
    json_t *found = collector_spans(collector, AGAIN), *span;
    size_t i, failed = 0;
    json_array_foreach(found, i, span)
    {
        const char *why = json_get_string(json_object_get(span, "status"), "message");
        if (strcmp(json_get_string(span, "name"), "scrape") != 0 || !why)
            continue;
        failed++;
        cr_expect(strstr(why, "500"), "%s", why);
    }
    cr_expect_eq(failed, 1);
    expect_tree(found, SENDER);
    json_decref(found);
}

static void post_crawl_page(void)
{
    static const char body[] =
        "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c-1\",\"webhookId\":\"h-1\",\"data\":"
        "[{\"markdown\":\"text\",\"metadata\":{\"url\":\"http://page.test/"
        "c\",\"sourceURL\":\"http://page.test/"
        "c\",\"statusCode\":200,"
        "\"scrapeId\":\"s-1\"}}]}";
    const char *headers = harness_text(
        "X-Firecrawl-Signature: sha256=%s\r\ntraceparent: 00-" CRAWLED "-" SENDER "-01\r\n",
        test_sign(RIG_SECRET, body, strlen(body)));
    struct test_reply reply =
        test_http(rig.producer_port, "POST", CRAWLS, headers, body, strlen(body));
    cr_assert(reply.status >= 200 && reply.status < 300, "%d %s", reply.status, reply.body);
}

static void expect_crawl_events_to_have_theirs_too(void)
{
    static const char *const names[] = {"intake", "queue wait", "crawl", "store", NULL};
    WAIT_FOR(has_all(CRAWLED, names), SOON);
    json_t *spans = collector_spans(collector, CRAWLED);
    expect_tree(spans, SENDER);
    expect_below(spans, "queue wait", "intake");
    expect_below(spans, "crawl", "intake");
    expect_below(spans, "store", "crawl");
    json_decref(spans);
    WAIT_FOR(sql_int(rig.db, "SELECT count(*) FROM webhook.operation_metrics WHERE"
                             " operation_type IN ('webhook', 'queue', 'content_storage', 'worker')"
                             " AND extra_metadata->>'trace_id' = '" CRAWLED "'") == 4,
        SOON);
}

/* --- many at once ------------------------------------------------------------------------- */

enum { MANY = 60 };

static void post_many(void)
{
    for (int i = 0; i < MANY; i++)
        post(harness_text("/many/%d", i), harness_text("00-%032x-" SENDER "-01", i + 1));
}

/* Lines about a page of post_many; each must carry the trace that page came with. */
static int lines_of_many(struct test_proc *p)
{
    int lines = 0;
    for (const char *line = test_proc_log(p); *line; line += strcspn(line, "\n")) {
        line += *line == '\n';
        size_t len = strcspn(line, "\n");
        const char *page = memmem(line, len, "/many/", 6);
        if (!page)
            continue;
        const char *trace =
            harness_text("\"trace_id\":\"%032x\"", (unsigned)strtol(page + 6, NULL, 10) + 1);
        cr_expect(memmem(line, len, trace, strlen(trace)), "%.*s", (int)len, line);
        lines++;
    }
    return lines;
}

Test(traces, one_trace_goes_from_the_sender_to_firecrawl_and_into_every_line_and_row)
{
    static const char *const none[] = {NULL, "00-" TRACE "-" SENDER "-0",
        "ff-" TRACE "-" SENDER "-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SENDER "-01"};
    const char *own[sizeof(none) / sizeof(*none)];
    start();
    start_producer(harness_text("http://127.0.0.1:%d/", collector_port(collector)));
    struct test_proc *fleet = rig_fleet(&rig, 1, settings);
    asked.failures = 1;
    post("/again", "00-" AGAIN "-" SENDER "-01");
    post_crawl_page();
    const char *traced = post("/traced?token=hunter2", SAMPLED);
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
        own[i] = post(harness_text("/own/%zu", i), none[i]);
    const char *unasked = post("/unasked", "00-" UNASKED "-" SENDER "-00");
    post_many();

    expect_one_trace_from_the_sender_to_firecrawl(traced);
    expect_it_in_every_line_and_row(fleet, traced);
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        expect_an_event_without_a_valid_one_to_be_its_own(own[i]);
    expect_who_does_not_want_spans_to_get_none(fleet, unasked);
    expect_a_failed_attempt_to_say_why_and_the_next_to_be_of_its_trace();
    expect_crawl_events_to_have_theirs_too();
    WAIT_FOR(lines_of_many(fleet) >= 2 * MANY, SOON); /* claimed, ended */

    post("/killed", "00-" KILLED "-" SENDER "-01");
    WAIT_FOR(*traceparent_of("/killed"), SOON);
    kill(rig_worker(&rig), SIGKILL); /* the next one has the trace */
    WAIT_FOR(count_named(KILLED, "complete") == 1, SOON);
    const char *later = without_dashes(post("/after", NULL));
    WAIT_FOR(has_all(later, change_spans), SOON);
    cr_expect_str_eq(collector_faults(collector), "");
    cr_expect_not(test_proc_logged(fleet, "hunter2:") || test_proc_logged(fleet, ":hunter2"));
    stop();
}

/* --- collectors in trouble ---------------------------------------------------------------- */

static void expect_work_to_go_on(const char *collector_of_producer, const char *of_worker)
{
    const char *ids[20];
    start_producer(collector_of_producer);
    struct test_proc *fleet = rig_fleet(&rig, 1,
        RIG_ENV(
            harness_text("OTEL_EXPORTER_OTLP_ENDPOINT=%s", of_worker), "WEBHOOK_LOG_LEVEL=debug"));
    int64_t began = harness_now_ms();
    for (int i = 0; i < 20; i++)
        ids[i] = post(harness_text("/busy/%d", i), SAMPLED);
    for (int i = 0; i < 20; i++)
        WAIT_FOR(completed(ids[i]), SOON);
    cr_expect_lt(harness_now_ms() - began, 8000, "as if nobody traced it");
    test_proc_signal(rig.producer, SIGTERM);
    test_proc_signal(fleet, SIGTERM);
    began = harness_now_ms();
    cr_expect_eq(test_proc_wait(fleet, 15000), 0);
    cr_expect_eq(test_proc_wait(rig.producer, 15000), 0);
    cr_expect_lt(harness_now_ms() - began, 6000, "the last batch holds nobody up");
}

Test(traces, a_collector_that_never_answers_or_is_away_holds_nothing_up)
{
    start();
    collector_answers(collector, 0, -1);
    const char *silent = harness_text("http://127.0.0.1:%d", collector_port(collector));
    const char *away = harness_text("http://127.0.0.1:%d", harness_free_port());
    expect_work_to_go_on(silent, away);
    expect_work_to_go_on(away, silent);
    cr_expect(test_proc_logged(rig.producer, "\"spans_dropped\""));
    stop();
}

/* --- the ring, in this process ------------------------------------------------------------ */

static struct loop *loop;
static struct spans *spans;
static bool drained;

static void open_spans(void)
{
    static struct config cfg;
    struct hl_err err = {0};
    collector = collector_start();
    cfg = (struct config){
        .otlp_endpoint = harness_text("http://127.0.0.1:%d", collector_port(collector)),
        .otlp_headers = "X-Tenant = one%20two ,Refuse-Me=a%0d%0aX-B: c,refuse-me=nul%00,"
                        "refuse me=x,refuse-me,Content-Length=7,=x,,",
        .otel_service_name = "hookline"};
    loop = loop_new(&err);
    spans = spans_new(loop, &cfg, "me", &err);
    cr_assert_not_null(spans, "%s", err.msg);
}

static void close_spans(void)
{
    spans_free(spans);
    loop_free(loop);
    collector_stop(collector);
}

static void add(int n)
{
    const struct uuid id = uuid_v4();
    int64_t now = clock_wall_us();
    for (int i = 0; i < n; i++)
        spans_add(spans, &(struct span){.trace = trace_of(&id, NULL),
                             .name = "claim",
                             .kind = SPAN_CLIENT,
                             .began_at = now - 1000,
                             .ended_at = now,
                             .error = "odd \xff \"text\"\n",
                             .event_id = &id});
}

static int64_t fate(int which)
{
    return meter_get(M_SPANS, which, 0);
}

static bool turned(bool done)
{
    if (!done)
        loop_turn(loop);
    return done;
}

static void on_drained(void *ctx)
{
    (void)ctx;
    drained = true;
}

Test(traces, a_ring_goes_out_in_batches_and_is_never_larger_than_it_may)
{
    open_spans();
    add(SPANS_RING + 100);
    cr_expect_eq(fate(FATE_DROPPED), 100);
    WAIT_FOR(turned(fate(FATE_WRITTEN) == SPANS_RING), SOON);
    cr_expect_eq(collector_requests(collector), SPANS_RING / SPANS_BATCH);
    cr_expect_eq(collector_largest(collector), SPANS_BATCH);
    cr_expect_str_eq(collector_faults(collector), "");
    add(1); /* a batch that is not full waits for others, but not for long */
    int64_t began = harness_now_ms();
    WAIT_FOR(turned(fate(FATE_WRITTEN) == SPANS_RING + 1), SOON);
    cr_expect_gt(harness_now_ms() - began, SPANS_FLUSH_MS / 2);
    close_spans();
}

Test(traces, a_batch_is_tried_a_few_times_and_then_dropped)
{
    static const int later[] = {429, 502, 503, 504};
    open_spans();
    for (size_t i = 0; i < sizeof(later) / sizeof(*later); i++) {
        int before = collector_requests(collector);
        collector_answers(collector, later[i], 0);
        add(SPANS_BATCH);
        WAIT_FOR(turned(fate(FATE_DROPPED) == (int64_t)(i + 1) * SPANS_BATCH), SOON);
        cr_expect_eq(collector_requests(collector) - before, SPANS_TRIES, "%d", later[i]);
    }
    int before = collector_requests(collector);
    collector_answers(collector, 400, -1); /* it will not be better next time */
    add(SPANS_BATCH);
    WAIT_FOR(turned(fate(FATE_DROPPED) == 5 * SPANS_BATCH), SOON);
    cr_expect_eq(collector_requests(collector) - before, 1);
    collector_answers(collector, 503, 1);
    int64_t began = harness_now_ms();
    before = collector_requests(collector);
    add(SPANS_BATCH);
    WAIT_FOR(turned(collector_requests(collector) == before + 1), SOON);
    collector_answers(collector, 200, -1);
    WAIT_FOR(turned(fate(FATE_WRITTEN) == SPANS_BATCH), SOON);
    cr_expect_geq(harness_now_ms() - began, 1000, "Retry-After is heeded");
    close_spans();
}

/* What a collector was asked for, and as whom. */
static char asked_as[2][200];

static bool note_head(const struct canned_request *r)
{
    const char *as = strcasestr(r->text, "\r\nauthorization: ");
    snprintf(asked_as[0], sizeof(asked_as[0]), "%.*s", (int)strcspn(r->text, "\r"), r->text);
    snprintf(asked_as[1], sizeof(asked_as[1]), "%.*s", as ? (int)strcspn(as + 17, "\r") : 0,
        as ? as + 17 : "");
    canned_answer(r, 200, "", "{}");
    return true;
}

Test(traces, an_endpoint_may_have_a_user_a_path_and_a_query)
{
    static const struct {
        const char *endpoint, *line, *as;
    } rows[] = {
        {"http://127.0.0.1:%d",                   "POST /v1/traces HTTP/1.1",         ""},
        {"http://127.0.0.1:%d//",                 "POST /v1/traces HTTP/1.1",         ""},
        {"http://127.0.0.1:%d/otlp/",             "POST /otlp/v1/traces HTTP/1.1",    ""},
        {"http://u:p%%40@127.0.0.1:%d/a?k=v/w#f", "POST /a/v1/traces?k=v/w HTTP/1.1",
         "Basic dTpwQA=="                                                               },
    };
    struct canned *server = canned_start("127.0.0.1", note_head, NULL);
    struct hl_err err = {0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct config cfg = {.otlp_endpoint = harness_text(rows[i].endpoint, canned_port(server)),
            .otel_service_name = "hookline"};
        loop = loop_new(&err);
        spans = spans_new(loop, &cfg, "me", &err);
        drained = false;
        add(1);
        spans_drain(spans, 5000, on_drained, NULL);
        WAIT_FOR(turned(drained), SOON);
        cr_expect_str_eq(asked_as[0], rows[i].line);
        cr_expect_str_eq(asked_as[1], rows[i].as);
        spans_free(spans);
        loop_free(loop);
    }
    cr_expect_eq(fate(FATE_WRITTEN), sizeof(rows) / sizeof(*rows));
    canned_stop(server);
}

Test(traces, a_span_tells_no_secret_of_a_page_and_no_time_there_is_not)
{
    static const struct {
        const char *url, *told;
    } rows[] = {
        {"http://u:p@h.test/x?a=1&b&t=%20#f",     "http://h.test/x?a=REDACTED&b&t=REDACTED"},
        {"https://h.test?sig=a=b&&c=",            "https://h.test?sig=REDACTED&&c=REDACTED"},
        {"http://h.test/#token=1",                "http://h.test/"                         },
        {"http://h.test/a@b?c=http://u:p@x/?y=z", "http://h.test/a@b?c=REDACTED"           },
        {"no address",                            ""                                       },
    };
    const struct uuid id = uuid_v4();
    open_spans();
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        spans_add(spans, &(struct span){.trace = trace_of(&id, NULL),
                             .name = "claim",
                             .kind = SPAN_CLIENT,
                             .began_at = clock_wall_us(),
                             .ended_at = INT64_MAX,
                             .url = rows[i].url});
    spans_drain(spans, 5000, on_drained, NULL);
    WAIT_FOR(turned(drained), SOON);
    json_t *came = collector_spans(collector, NULL), *span;
    size_t i;
    json_array_foreach(came, i, span)
    {
        cr_expect_str_eq(collector_attribute(span, "url.full"), rows[i].told);
    }
    cr_expect_eq(i, sizeof(rows) / sizeof(*rows));
    json_decref(came);
    cr_expect_str_eq(collector_faults(collector), "");
    close_spans();
}

Test(traces, the_last_batch_goes_out_at_once_and_is_not_waited_for_too_long)
{
    open_spans();
    add(3);
    spans_drain(spans, 1000, on_drained, NULL);
    cr_expect_not(drained, "not inside the call");
    WAIT_FOR(turned(drained), SOON);
    cr_expect_eq(fate(FATE_WRITTEN), 3);
    close_spans();

    open_spans();
    collector_answers(collector, 0, -1);
    drained = false;
    add(3);
    int64_t began = harness_now_ms();
    spans_drain(spans, 500, on_drained, NULL);
    WAIT_FOR(turned(drained), SOON);
    cr_expect_lt(harness_now_ms() - began, 2500);
    close_spans();
}

Test(traces, without_a_collector_nothing_is_made)
{
    struct config cfg = {0};
    struct hl_err err = {0};
    cr_expect_null(spans_new(NULL, &cfg, "me", &err));
    cr_expect_eq(err.rc, HL_OK);
    spans_add(NULL, &(struct span){0});
    spans_drain(NULL, 1000, on_drained, NULL);
    cr_expect(drained);
    spans_free(NULL);
}

/* --- the level of the log ------------------------------------------------------------------ */

/* So many processes have said so. */
static bool ordered(struct test_proc *p, int processes, const char *level, bool on)
{
    const char *line = harness_text("\"event\":\"log_level\",\"log_level\":\"%s\",\"ordered\":%s",
        level, on ? "true" : "false");
    for (const char *at = test_proc_log(p); (at = strstr(at, line)); at++)
        processes--;
    return processes <= 0;
}

Test(traces, operators_change_the_level_of_every_process_and_it_comes_back_by_itself)
{
    const char *out;
    rig_start(&rig);
    struct test_proc *fleet = rig_fleet(&rig, 1, NULL);
    struct rig_id before = rig_post(&rig, "/quiet");
    WAIT_FOR(rig_status_is(&rig, before, "completed"), SOON);
    cr_expect_not(test_proc_logged(fleet, "\"job_claimed\""));

    const char *words[] = {"log-level", "debug", "--for", "4s", "--yes", "--json", NULL};
    cr_assert_eq(rig_ctl(&rig, words, &out), 0, "%s", out);
    json_t *answer = rig_json(out);
    cr_expect_str_eq(json_get_string(answer, "level"), "debug");
    cr_expect_not_null(json_get_string(answer, "until"));
    json_decref(answer);
    WAIT_FOR(ordered(fleet, 2, "debug", true) && ordered(rig.producer, 1, "debug", true), 2500);
    struct rig_id loud = rig_post(&rig, "/loud");
    WAIT_FOR(rig_status_is(&rig, loud, "completed"), SOON);
    cr_expect(logged_with(fleet, "job_claimed", without_dashes(loud.text)));

    WAIT_FOR(ordered(fleet, 2, "info", false) && ordered(rig.producer, 1, "info", false), SOON);
    struct rig_id after = rig_post(&rig, "/quiet-again");
    WAIT_FOR(rig_status_is(&rig, after, "completed"), SOON);
    cr_expect_not(logged_with(fleet, "job_claimed", without_dashes(after.text)));
    cr_expect_eq(
        sql_int(rig.db, "SELECT count(*) FROM webhook.operator_log WHERE command = 'log-level'"
                        " AND outcome = 'done'"),
        1);
}
