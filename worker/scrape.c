/* scrape: see scrape.h. Owns the HTTP client of the scrapes and the calls under way; what is asked
 * and how answers read is the business of firecrawl.c and direct.c. */
#include "worker/scrape.h"

#include "base/list.h"
#include "base/mem.h"
#include "worker/scrape_kind.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_TIMEOUT_MS = 10000 };

struct scraper {
    struct loop *loop;
    const struct config *cfg;
    const struct scrape_kind *kind;
    struct http *http;
    struct list scrapes;
};

struct scrape {
    struct list_node node;
    struct scraper *scraper;
    struct http_call *call; /* NULL: refused without a call */
    struct defer refuse;
    struct hl_err refusal;
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
    free(out->detail);
    out->detail = mem_strdup(detail);
}

void scrape_fail_call(struct scrape_result *out, const struct http_response *res, const char *who)
{
    int reason = (int)strcspn(res->err->msg, ":"); /* "reason: detail", see http.h */
    enum scrape_saying saying = res->denied                           ? SAID_NO_CALL
                                : res->rc == HL_FATAL                 ? SAID_UNUSABLE
                                : res->err->why == HL_WHY_UNREACHABLE ? SAID_NO_CONNECTION
                                                                      : SAID_NO_ANSWER;
    scrape_fail(
        out, scrape_outcome(saying, 0, NULL), res->err->msg, "%s%.*s", who, reason, res->err->msg);
    out->err.why = res->err->why;
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

/* --- scrapes ----------------------------------------------------------------------------- */

static void deliver(struct scrape *x, struct scrape_result *out)
{
    list_remove(&x->scraper->scrapes, &x->node);
    x->delivering = true; /* from here on the scraper may be freed by the owner */
    x->cb(out, x->ctx);
    scrape_result_release(out);
    free(x);
}

static void on_answer(const struct http_response *res, void *ctx)
{
    struct scrape *x = ctx;
    struct scrape_result out = {.retry_after_ms = -1};
    x->scraper->kind->read(res, &out);
    if (out.rc == HL_OK)
        out.sign = scrape_outcome(SAID_SUCCESS, 0, NULL)->sign;
    deliver(x, &out);
}

static void on_refuse(void *ctx)
{
    struct scrape *x = ctx;
    struct scrape_result out = {.retry_after_ms = -1};
    scrape_fail(&out, scrape_outcome(SAID_NO_CALL, 0, NULL), NULL, "%s", x->refusal.msg);
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

struct scrape *scrape_start(struct scraper *s, const char *url, scrape_cb *cb, void *ctx)
{
    struct scrape *x = mem_new(struct scrape);
    x->scraper = s;
    x->cb = cb;
    x->ctx = ctx;
    list_push(&s->scrapes, &x->node);

    struct scrape_request req = {0};
    if (s->kind->prepare(s->cfg, url, &req, &x->refusal) == HL_OK)
        x->call = call(x, &req);
    else
        loop_defer(s->loop, &x->refuse, on_refuse, x);
    request_release(&req);
    return x;
}

void scrape_cancel(struct scrape *x)
{
    if (!x || x->delivering)
        return;
    http_cancel(x->call);
    loop_defer_cancel(x->scraper->loop, &x->refuse);
    list_remove(&x->scraper->scrapes, &x->node);
    free(x);
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
    list_init(&s->scrapes);
    return s;
}

void scraper_free(struct scraper *s)
{
    if (!s)
        return;
    for (struct list_node *n; (n = list_first(&s->scrapes));)
        scrape_cancel(LIST_OF(n, struct scrape, node));
    http_free(s->http);
    free(s);
}
