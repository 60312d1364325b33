/* recrawl: see recrawl.h. A look is a row of steps, each started by the answer of the one before:
 * whose turn it is, a page of Firecrawl's answer, which of its documents are missing, their jobs one
 * by one, the next page; then what is kept of it in the session. */
#include "worker/recrawl.h"

#include "base/clock.h"
#include "base/crawl_job.h"
#include "base/identity.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "base/trace.h"
#include "io/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ANSWER ((size_t)64 * 1024 * 1024)

enum {
    LOOK_MS = 5000,          /* at most, when it is nobody's turn */
    SESSION_PAUSE_MS = 1000, /* between two sessions, */
    PAGE_PAUSE_MS = 100,     /* and between two pages of one */
    CONNECT_MS = 5000,
    ANSWER_MS = 30000,
    LEASE_MS = 15 * 60 * 1000, /* a look that is not heard of for so long is another's, */
    SESSION_MS = LEASE_MS / 2, /* and none takes longer: others wait */
    MAX_PAGES = 2000,          /* of one answer: a hundred documents each, or 10 MiB */
    MAX_QUERY = 2048,
    MAX_SHORT_TRIES = 6,         /* an ended crawl stays short: some pages never came to be */
    MAX_FAILED_TRIES = 24,       /* Firecrawl keeps results for a day */
    FIRST_AGAIN_MS = 60 * 1000,  /* doubled with each try, */
    LAST_AGAIN_MS = 3600 * 1000, /* up to an hour */
    FIRST_PAUSE_MS = 5000, /* of all sessions while Firecrawl is in trouble, doubled likewise */
    LAST_PAUSE_MS = 5 * 60 * 1000,
};

/* The session in hand, and what Firecrawl has said of it so far. */
struct session {
    char *id, *query; /* query: of the next page; NULL = none */
    char *mark;       /* one that was; meeting it again means that we go round in circles */
    bool batch, ended;
    int64_t tries, began_ms;
    char status[24];
    int64_t completed, total, documents, filled, unreadable;
    int pages;
    json_t *answer;      /* the page in hand, */
    size_t *missing;     /* its documents that we have no page of, */
    size_t nmissing, at; /* and how many of them have been seen to */
};

struct recrawl {
    struct recrawl_conf conf;
    struct http *http;
    struct http_call *call;
    struct timer next; /* look, or the next page */
    bool running, looking;
    bool paused;      /* between two pages */
    bool closing;     /* the job under way is the session's end */
    int64_t troubles; /* in a row */
    struct session session;
    struct buf job;
    struct queue_req req;
};

/* --- the end of a look ------------------------------------------------------------------- */

static void look(void *ctx);
static void ask(struct recrawl *r);

static void session_release(struct session *s)
{
    free(s->id);
    free(s->query);
    free(s->mark);
    free(s->missing);
    json_decref(s->answer);
    *s = (struct session){0};
}

static void rest(struct recrawl *r, int64_t ms)
{
    session_release(&r->session);
    r->looking = r->paused = r->closing = false;
    if (r->running)
        timer_start(&r->next, ms);
}

/* first, doubled n - 1 times, last at most. */
static int64_t doubled(int64_t first, int64_t last, int64_t n)
{
    for (int64_t i = 1; i < n && first < last; i++)
        first *= 2;
    return first < last ? first : last;
}

static int64_t look_every(const struct recrawl *r)
{
    int64_t ms = r->conf.cfg->crawl_quiet_ms / 4;
    return ms < LOOK_MS ? ms : LOOK_MS;
}

static void kept(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct recrawl *r = ctx;
    (void)rows;
    (void)err; /* its lease runs out: another look asks again */
    int64_t pause = r->troubles ? doubled(FIRST_PAUSE_MS, LAST_PAUSE_MS, r->troubles) : 0;
    rest(r, rc != HL_OK ? LOOK_MS : pause > SESSION_PAUSE_MS ? pause : SESSION_PAUSE_MS);
}

/* reported -1: Firecrawl has told nothing; again_ms -1: that was all. */
static void keep(struct recrawl *r, int64_t reported, int64_t again_ms)
{
    store_crawl_asked(r->conf.store, r->session.id, reported, again_ms, kept, r);
}

/* Of this session's, or everybody's, trouble: asked again later. */
static void put_off(struct recrawl *r, bool everybody, const char *why)
{
    const struct session *s = &r->session;
    int64_t again = doubled(FIRST_AGAIN_MS, LAST_AGAIN_MS, s->tries);
    bool last = s->tries >= MAX_FAILED_TRIES;
    r->troubles = everybody ? r->troubles + 1 : 0;
    log_warn("crawl_not_reconciled", LOG_S("crawl_id", s->id), LOG_S("error", why),
        LOG_I("try", s->tries), LOG_B("given_up", last));
    keep(r, -1, last ? -1 : again);
}

/* --- what ends a session's turn ---------------------------------------------------------- */

static bool is_end(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

/* Still working: the next word may be a webhook. Ended, but not with all pages, or with some that
 * are only now on their way: once more. */
static int64_t again_ms(const struct recrawl *r)
{
    const struct session *s = &r->session;
    bool complete = s->completed >= s->total && s->documents >= s->completed;
    if (!is_end(s->status))
        return r->conf.cfg->crawl_quiet_ms;
    if ((complete && !s->filled) || s->tries >= MAX_SHORT_TRIES)
        return -1;
    return doubled(FIRST_AGAIN_MS, LAST_AGAIN_MS, s->tries);
}

static void all_read(struct recrawl *r)
{
    const struct session *s = &r->session;
    r->troubles = 0;
    log_info("crawl_reconciled", LOG_S("crawl_id", s->id), LOG_S("status", s->status),
        LOG_I("pages", s->documents), LOG_I("filled_in", s->filled),
        LOG_I("unreadable", s->unreadable), LOG_B("end_filled_in", r->closing));
    keep(r, s->total, again_ms(r));
}

/* --- jobs -------------------------------------------------------------------------------- */

static void next_document(struct recrawl *r);

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct recrawl *r = req->ctx;
    if (rc != HL_OK) {
        put_off(r, false, err->msg);
        return;
    }
    if (r->closing) {
        all_read(r);
        return;
    }
    r->session.filled += req->was == QUEUE_NEW;
    next_document(r);
}

/* The event's id is its webhook's; false: it is no event that a worker could read. */
static bool fill_job(struct recrawl *r, const char *body, size_t len)
{
    struct crawl_event ev = {0};
    struct buf problems = {0}, key = {0};
    struct hl_err err;
    struct crawl_job job = {.received_at = clock_wall_us(), .reconciled = true, .len = len};
    enum crawl_verdict verdict = crawl_event_read(body, len, &ev, &problems, &err);
    buf_release(&problems);
    if (verdict == CRAWL_NOT_JSON)
        return false;
    digest_sha256(body, len, job.digest);
    crawl_event_key(&ev, job.digest, &key);
    job.id = identity_of("firecrawl", IDENTITY_ID, buf_str(&key)).id;
    job.body = mem_strndup(body, len);
    buf_clear(&r->job);
    crawl_job_encode(&job, &r->job);
    r->req.id = job.id;
    crawl_job_release(&job);
    buf_release(&key);
    crawl_event_release(&ev);
    return verdict == CRAWL_OK || verdict == CRAWL_UNSUCCESSFUL;
}

/* Takes event. A digest of zeros: in whatever words its webhook comes, it is the same. */
static bool publish(struct recrawl *r, json_t *event)
{
    static const uint8_t in_other_words[DIGEST_LEN];
    char *body = event ? json_dumps(event, JSON_COMPACT) : NULL;
    bool readable = body && fill_job(r, body, strlen(body));
    free(body);
    json_decref(event);
    if (!readable)
        return false;
    struct uuid id = r->req.id;
    r->req = (struct queue_req){.id = id,
        .job = r->job.data,
        .len = r->job.len,
        .digest = in_other_words,
        .done = published,
        .ctx = r};
    queue_do(r->conf.queue, QUEUE_PUBLISH, &r->req);
    return true;
}

static json_t *event_of(const struct session *s, const char *kind, json_t *data)
{
    char type[48];
    snprintf(type, sizeof(type), "%s.%s", s->batch ? "batch_scrape" : "crawl", kind);
    return json_pack("{s:b, s:s, s:s, s:o, s:{}}", "success", strcmp(kind, "failed") != 0, "type",
        type, "id", s->id, "data", data, "metadata");
}

/* A crawl whose end nobody told us of. */
static void close_session(struct recrawl *r)
{
    const struct session *s = &r->session;
    r->closing = is_end(s->status) && !s->ended;
    if (!r->closing || !publish(r, event_of(s, s->status, json_array())))
        all_read(r);
}

static void next_page(struct recrawl *r)
{
    struct session *s = &r->session;
    if (!s->query || s->pages >= MAX_PAGES) {
        close_session(r);
        return;
    }
    if (clock_mono_ms() - s->began_ms > SESSION_MS) {
        put_off(r, false, "its pages take too long to read");
        return;
    }
    r->paused = true;
    if (r->running)
        timer_start(&r->next, PAGE_PAUSE_MS);
    else
        rest(r, 0);
}

static void next_document(struct recrawl *r)
{
    struct session *s = &r->session;
    while (s->at < s->nmissing) {
        json_t *d = json_array_get(json_object_get(s->answer, "data"), s->missing[s->at++]);
        if (d && publish(r, event_of(s, "page", json_pack("[O]", d))))
            return;
        s->unreadable++;
    }
    next_page(r);
}

/* --- a page of Firecrawl's answer -------------------------------------------------------- */

static void missing_known(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct recrawl *r = ctx;
    struct session *s = &r->session;
    (void)err; /* its lease runs out */
    if (rc != HL_OK) {
        rest(r, LOOK_MS);
        return;
    }
    if (PQntuples(rows) && db_int(rows, 0, 0) == 0) {
        put_off(r, false, "the intake of crawl events is fenced");
        return;
    }
    free(s->missing);
    s->at = 0;
    s->nmissing = (size_t)PQntuples(rows);
    s->missing = mem_array(s->nmissing, sizeof(*s->missing));
    for (size_t i = 0; i < s->nmissing; i++)
        s->missing[i] = (size_t)db_int(rows, (int)i, 0) - 1;
    next_document(r);
}

/* Asked of an answer without any as well: the end of the crawl may have to be filled in. */
static void find_missing(struct recrawl *r, const json_t *data)
{
    struct buf ids = {0}, urls = {0};
    pgarray_begin(&ids);
    pgarray_begin(&urls);
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *metadata = json_object_get(json_array_get(data, i), "metadata");
        const char *source = json_get_string(metadata, "sourceURL");
        pgarray_text(&ids, json_get_string(metadata, "scrapeId"));
        pgarray_text(&urls, source ? source : json_get_string(metadata, "url"));
    }
    store_crawl_missing(
        r->conf.store, r->session.id, pgarray_end(&ids), pgarray_end(&urls), missing_known, r);
    buf_release(&ids);
    buf_release(&urls);
}

/* Only its query counts: it is made from what Firecrawl takes for its own address. NULL = none, or
 * one that leads nowhere. */
static char *query_of(const json_t *answer)
{
    const char *next = json_get_string(answer, "next"), *query = next ? strchr(next, '?') : NULL;
    size_t len = query ? strcspn(query, "#") : 0;
    if (len < 2 || len > MAX_QUERY || json_array_size(json_object_get(answer, "data")) == 0)
        return NULL;
    for (size_t i = 0; i < len; i++)
        if (query[i] <= ' ' || query[i] > '~')
            return NULL;
    return mem_strndup(query, len);
}

/* The next query, unless it is the one that was marked: marks are ever farther apart, so that one is
 * in any circle, and no other memory of the way is needed. */
static void take_query(struct session *s)
{
    free(s->query);
    s->query = query_of(s->answer);
    if (s->query && s->mark && strcmp(s->query, s->mark) == 0) {
        free(s->query);
        s->query = NULL;
    }
    if (s->pages & (s->pages - 1))
        return;
    free(s->mark);
    s->mark = mem_strdup(s->query);
}

static void read_page(struct recrawl *r)
{
    struct session *s = &r->session;
    const json_t *data = json_object_get(s->answer, "data");
    const char *status = json_get_string(s->answer, "status");
    snprintf(s->status, sizeof(s->status), "%s", status ? status : "");
    s->completed = json_integer_value(json_object_get(s->answer, "completed"));
    s->total = json_integer_value(json_object_get(s->answer, "total"));
    s->documents += (int64_t)json_array_size(data);
    s->pages++;
    take_query(s);
    find_missing(r, data);
}

static bool is_answer(const json_t *root)
{
    const json_t *total = json_object_get(root, "total");
    return json_is_true(json_object_get(root, "success")) && json_get_string(root, "status") &&
           json_is_array(json_object_get(root, "data")) && json_integer_value(total) >= 0 &&
           json_integer_value(total) <= INT32_MAX;
}

static void unknown(struct recrawl *r)
{
    r->troubles = 0;
    log_info("crawl_unknown", LOG_S("crawl_id", r->session.id),
        LOG_S("because", "Firecrawl does not know it, or not any more"));
    keep(r, -1, -1);
}

static void answered(const struct http_response *res, void *ctx)
{
    struct recrawl *r = ctx;
    struct hl_err err;
    char why[64];

    r->call = NULL;
    snprintf(why, sizeof(why), "Firecrawl answered %ld", res->status);
    if (res->rc != HL_OK) {
        put_off(r, res->rc == HL_RETRY, res->err->msg);
    } else if (res->status == 404) {
        unknown(r);
    } else if (res->status != 200) {
        put_off(r, true, why);
    } else {
        json_decref(r->session.answer);
        r->session.answer = json_parse_with_nul(res->body, res->body_len, &err);
        if (is_answer(r->session.answer))
            read_page(r);
        else
            put_off(r, false, "Firecrawl's answer is not what it should be");
    }
}

/* Each question is a trace of its own, which nobody records: Firecrawl's log tells it by that. */
static char *own_trace(void)
{
    struct uuid id = uuid_v4();
    struct trace t = trace_of(&id, NULL);
    uint8_t span[8];
    t.sampled = false;
    trace_new_span(span);
    return trace_header(&t, span);
}

static void ask(struct recrawl *r)
{
    const struct session *s = &r->session;
    const struct config *cfg = r->conf.cfg;
    const char *base = cfg->firecrawl_api_url, *key = cfg->firecrawl_api_key;
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    char *url = mem_printf("%.*s/v2/%s/%s%s", (int)len, base, s->batch ? "batch/scrape" : "crawl",
        s->id, s->query ? s->query : "");
    char *bearer = key && *key ? mem_printf("Authorization: Bearer %s", key) : NULL;
    char *traceparent = own_trace();
    const char *headers[] = {"Accept: application/json", traceparent, bearer, NULL};
    const struct http_request req = {.method = "GET",
        .url = url,
        .headers = headers,
        .connect_timeout_ms = CONNECT_MS,
        .timeout_ms = ANSWER_MS,
        .max_body = MAX_ANSWER};
    r->call = http_start(r->http, &req, answered, r);
    free(url);
    free(traceparent);
    free(bearer);
}

/* --- whose turn it is -------------------------------------------------------------------- */

/* What may stand in a path as it is: ids come from events, which may say anything. */
static bool is_plain(const char *id)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return *id && id[strspn(id, plain)] == '\0';
}

static void taken(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct recrawl *r = ctx;
    struct session *s = &r->session;
    (void)err; /* the sweeps say so */
    if (rc != HL_OK || !PQntuples(rows)) {
        rest(r, look_every(r));
        return;
    }
    s->id = mem_strdup(db_text(rows, 0, 0));
    s->batch = strcmp(db_text(rows, 0, 1), "scrape_batch") == 0;
    s->ended = is_end(db_text(rows, 0, 2));
    s->tries = db_int(rows, 0, 3);
    s->began_ms = clock_mono_ms();
    if (!r->running)
        rest(r, 0);
    else if (is_plain(s->id))
        ask(r);
    else
        unknown(r);
}

static void due_set(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct recrawl *r = ctx;
    (void)rows;
    (void)err;
    if (rc == HL_OK && r->running)
        store_crawl_take(r->conf.store, LEASE_MS, taken, r);
    else
        rest(r, look_every(r));
}

/* Without Redis nothing could be filled in. */
static void look(void *ctx)
{
    struct recrawl *r = ctx;
    if (r->paused) {
        r->paused = false;
        ask(r);
        return;
    }
    if (!redis_up(r->conf.redis)) {
        rest(r, look_every(r));
        return;
    }
    r->looking = true;
    store_crawl_due(r->conf.store, r->conf.cfg->crawl_quiet_ms, due_set, r);
}

/* --- life -------------------------------------------------------------------------------- */

struct recrawl *recrawl_new(const struct recrawl_conf *conf, struct hl_err *err)
{
    struct http *http =
        http_new(conf->loop, "Hookline/" HOOKLINE_VERSION " (+webhook bridge)", err);
    if (!http)
        return NULL;
    struct recrawl *r = mem_new(struct recrawl);
    r->conf = *conf;
    r->http = http;
    timer_init(conf->loop, &r->next, look, r);
    return r;
}

void recrawl_free(struct recrawl *r)
{
    if (!r)
        return;
    http_free(r->http);
    session_release(&r->session);
    buf_release(&r->job);
    free(r);
}

void recrawl_start(struct recrawl *r)
{
    if (!r || !r->conf.cfg->crawl_reconcile)
        return;
    r->running = true;
    timer_start(&r->next, look_every(r));
}

/* A session in hand is another look's when its lease has run out. */
void recrawl_stop(struct recrawl *r)
{
    if (!r)
        return;
    r->running = false;
    timer_stop(&r->next);
    if (!r->call && !r->paused)
        return;
    http_cancel(r->call);
    r->call = NULL;
    rest(r, 0);
}

bool recrawl_busy(const struct recrawl *r)
{
    return r && r->looking;
}
