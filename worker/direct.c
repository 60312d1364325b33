/* direct: fetches a page itself, for set-ups without Firecrawl. Static HTML and plain text only: no
 * scripts run. Private addresses are refused unless WEBHOOK_DIRECT_ALLOW_PRIVATE allows them. */
#include "base/mem.h"
#include "base/url.h"
#include "worker/htmltext.h"
#include "worker/scrape_kind.h"

#include <stdlib.h>

enum { MAX_REDIRECTS = 5 };

static enum hl_rc prepare(
    const struct config *cfg, const char *url, struct scrape_request *req, struct hl_err *err)
{
    if (!url_is_web(url))
        return hl_fail(err, HL_FATAL, "not a web address");
    req->url = mem_strdup(url);
    req->headers[0] =
        mem_strdup("Accept: text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1");
    req->http.method = "GET";
    req->http.max_body = (size_t)cfg->direct_max_bytes;
    req->http.max_redirects = MAX_REDIRECTS;
    req->http.deny_private = !cfg->direct_allow_private;
    return HL_OK;
}

static char *take(struct buf *b)
{
    return b->len > 0 ? buf_detach(b) : NULL;
}

static void read_page(const struct http_response *res, struct scrape_result *out)
{
    struct htmltext page = {0};
    struct hl_err fault;
    if (htmltext_extract(res->body, res->body_len, res->content_type, &page, &fault) != HL_OK) {
        scrape_fail(out, scrape_outcome(SAID_NO_INDEX, res->status, NULL), NULL, "%s", fault.msg);
    } else {
        out->text = buf_detach(&page.text);
        out->title = take(&page.title);
        out->description = take(&page.description);
        out->language = take(&page.language);
    }
    htmltext_release(&page);
}

static void read_answer(const struct http_response *res, struct scrape_result *out)
{
    if (res->rc != HL_OK) {
        scrape_fail_call(out, res, "");
        return;
    }
    out->target_status = res->status;
    out->retry_after_ms = res->retry_after_ms;
    out->final_url = mem_strdup(res->effective_url);
    if (res->status < 200 || res->status > 299) /* 3xx: one that leads nowhere */
        scrape_fail_target(out, SAID_PAGE, res->status, NULL);
    else
        read_page(res, out);
}

const struct scrape_kind scrape_direct = {.prepare = prepare, .read = read_answer};
