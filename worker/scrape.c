/* scrape: see scrape.h. Owns the HTTP client of the scrapes and the calls under way; what is asked
 * and how answers read is the business of firecrawl.c and direct.c. */
#include "worker/scrape.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/url.h"
#include "worker/scrape_kind.h"
#include "worker/turns.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 10000,
    MAX_HOST_BYTES = 300, /* longer ones are no names */
};

struct scraper {
    struct loop *loop;
    const struct config *cfg;
    const struct scrape_kind *kind;
    struct http *http;
    struct turns *turns; /* NULL: no limit for each host */
    bool (*may_ask)(void *ctx);
    struct list scrapes;
};

struct scrape {
    struct list_node node;
    struct scraper *scraper;
    char *url;
    char *header; /* for Firecrawl; NULL = none */
    struct turn turn;
    struct http_call *call; /* NULL: it waits, or is refused without a call */
    struct defer refuse;
    struct hl_err refusal;
    bool held_off;
    scrape_cb *cb;
    void *ctx;
    bool delivering; /* its callback is running */
};

/* --- results ----------------------------------------------------------------------------- */

void scrape_fail(struct scrape_result *out, const struct scrape_outcome *how, const char *detail,
    const char *fmt, ...)
{
    char reason[sizeof(out->err.msg)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    out->rc = hl_fail(&out->err, how->rc, "%s", how->reason ? how->reason : reason);
    out->sign = how->sign;
    out->fetch = how->fetch;
    free(out->detail);
    out->detail = mem_strdup(detail);
}

void scrape_fail_call(struct scrape_result *out, const struct http_response *res, const char *who)
{
    int reason = (int)strcspn(res->err->msg, ":"); /* "reason: detail", see http.h */
    enum scrape_saying saying = res->denied           ? SAID_NO_CALL
                                : res->rc == HL_FATAL ? SAID_UNUSABLE
                                : res->sent           ? SAID_NO_ANSWER
                                                      : SAID_NO_CONNECTION;
    scrape_fail(
        out, scrape_outcome(saying, 0, NULL), res->err->msg, "%s%.*s", who, reason, res->err->msg);
    out->err.why = res->err->why;
    if (saying == SAID_NO_ANSWER && res->err->why != HL_WHY_TIMEOUT)
        out->fetch = FETCH_CONNECTION;
}

void scrape_fail_target(
    struct scrape_result *out, enum scrape_saying saying, long status, const char *detail)
{
    scrape_fail(out, scrape_outcome(saying, status, NULL), detail, "target answered %ld", status);
    out->target_status = status;
}

void scrape_result_release(struct scrape_result *res)
{
    free(res->text);
    free(res->title);
    free(res->description);
    free(res->language);
    free(res->final_url);
    free(res->detail);
    *res = (struct scrape_result){0};
}

/* --- hosts ------------------------------------------------------------------------------- */

char *scrape_upstream(const struct config *cfg, const char *url)
{
    struct url_parts u;
    char *host = NULL;
    if (cfg->scraper == SCRAPER_FIRECRAWL)
        url = cfg->firecrawl_api_url;
    if (!url || !url_parse(url, &u))
        return NULL;
    if (u.host && *u.host && strlen(u.host) <= MAX_HOST_BYTES) {
        int port = u.port ? u.port : strcmp(u.scheme, "https") == 0 ? 443 : 80;
        host = mem_printf(strchr(u.host, ':') ? "[%s]:%d" : "%s:%d", u.host, port);
        for (char *p = host; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 'a' - 'A') : *p;
    }
    url_parts_release(&u);
    return host;
}

/* --- scrapes ----------------------------------------------------------------------------- */

static void leave(struct scrape *x)
{
    list_remove(&x->scraper->scrapes, &x->node);
    turn_end(x->scraper->turns, &x->turn);
}

static void scrape_free(struct scrape *x)
{
    free(x->url);
    free(x->header);
    free(x);
}

static void deliver(struct scrape *x, struct scrape_result *out)
{
    leave(x);
    x->delivering = true; /* from here on the scraper may be freed by the owner */
    x->cb(out, x->ctx);
    scrape_result_release(out);
    scrape_free(x);
}

static void scrape_succeed(struct scrape_result *out)
{
    const struct scrape_outcome *how = scrape_outcome(SAID_SUCCESS, 0, NULL);
    out->sign = how->sign;
    out->fetch = how->fetch;
}

static void on_answer(const struct http_response *res, void *ctx)
{
    struct scrape *x = ctx;
    struct scrape_result out = {.retry_after_ms = -1};
    x->scraper->kind->read(res, &out);
    if (out.rc == HL_OK)
        scrape_succeed(&out);
    deliver(x, &out);
}

static void on_refuse(void *ctx)
{
    struct scrape *x = ctx;
    struct scrape_result out = {.retry_after_ms = -1};
    scrape_fail(&out, scrape_outcome(SAID_NO_CALL, 0, NULL), NULL, "%s", x->refusal.msg);
    if (x->held_off) {
        out.rc = HL_RETRY;
        out.held_off = true;
    }
    deliver(x, &out);
}

static void request_release(struct scrape_request *req)
{
    free(req->url);
    for (size_t i = 0; req->headers[i]; i++)
        free(req->headers[i]);
    buf_release(&req->body);
}

static struct http_call *call(struct scrape *x, struct scrape_request *req)
{
    req->http.url = req->url;
    req->http.headers = (const char *const *)req->headers;
    req->http.body = req->body.data;
    req->http.body_len = req->body.len;
    req->http.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    req->http.timeout_ms = x->scraper->cfg->scrape_timeout_ms;
    return http_start(x->scraper->http, &req->http, on_answer, x);
}

/* Sites are no business of our traces: only a server of our own hears of them. */
static void add_header(const struct scrape *x, struct scrape_request *req)
{
    size_t n = 0;
    while (req->headers[n])
        n++;
    if (x->header && x->scraper->cfg->scraper == SCRAPER_FIRECRAWL && n < SCRAPE_MAX_HEADERS)
        req->headers[n] = mem_strdup(x->header);
}

static void begin(struct scrape *x)
{
    struct scraper *s = x->scraper;
    struct scrape_request req = {0};
    if (s->kind->prepare(s->cfg, x->url, &req, &x->refusal) == HL_OK) {
        add_header(x, &req);
        x->call = call(x, &req);
    } else {
        loop_defer(s->loop, &x->refuse, on_refuse, x);
    }
    request_release(&req);
}

/* Its turn has come. */
static void go(struct turn *t)
{
    struct scrape *x = LIST_OF(t, struct scrape, turn);
    if (!x->scraper->may_ask || x->scraper->may_ask(x->ctx)) {
        begin(x);
        return;
    }
    x->held_off = true;
    loop_defer(x->scraper->loop, &x->refuse, on_refuse, x);
}

static bool take_turn(struct scrape *x)
{
    struct scraper *s = x->scraper;
    char *host = s->turns ? scrape_upstream(s->cfg, x->url) : NULL;
    bool now = !host || turn_take(s->turns, &x->turn, host);
    free(host);
    return now;
}

struct scrape *scrape_start(struct scraper *s, const char *url, scrape_cb *cb, void *ctx)
{
    return scrape_start_traced(s, url, NULL, cb, ctx);
}

struct scrape *scrape_start_traced(
    struct scraper *s, const char *url, const char *header, scrape_cb *cb, void *ctx)
{
    struct scrape *x = mem_new(struct scrape);
    x->scraper = s;
    x->url = mem_strdup(url);
    x->header = mem_strdup(header);
    x->cb = cb;
    x->ctx = ctx;
    list_push(&s->scrapes, &x->node);
    if (take_turn(x))
        begin(x);
    return x;
}

bool scrape_waits(const struct scrape *x)
{
    return x && x->turn.waits;
}

void scrape_cancel(struct scrape *x)
{
    if (!x || x->delivering)
        return;
    http_cancel(x->call);
    loop_defer_cancel(x->scraper->loop, &x->refuse);
    leave(x);
    scrape_free(x);
}

void scraper_guard(struct scraper *s, bool (*may_ask)(void *ctx))
{
    s->may_ask = may_ask;
}

struct scraper *scraper_new(struct loop *l, const struct config *cfg, struct hl_err *err)
{
    static const struct scrape_kind *const kinds[] = {
        [SCRAPER_FIRECRAWL] = &scrape_firecrawl, [SCRAPER_DIRECT] = &scrape_direct};
    struct http *http = http_new(l, "Hookline/" HOOKLINE_VERSION " (+webhook bridge)", err);
    if (!http)
        return NULL;
    struct scraper *s = mem_new(struct scraper);
    s->loop = l;
    s->cfg = cfg;
    s->kind = kinds[cfg->scraper];
    s->http = http;
    if (cfg->scraper == SCRAPER_DIRECT && cfg->direct_per_host > 0)
        s->turns = turns_new(cfg->direct_per_host, go);
    list_init(&s->scrapes);
    return s;
}

void scraper_free(struct scraper *s)
{
    if (!s)
        return;
    for (struct list_node *n; (n = list_last(&s->scrapes));) /* those that wait, first */
        scrape_cancel(LIST_OF(n, struct scrape, node));
    turns_free(s->turns);
    http_free(s->http);
    free(s);
}
