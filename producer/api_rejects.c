/* api_rejects: GET /api/rejects: webhooks that were refused, newest first. */
#include "base/json.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

enum { LIMIT, BEFORE };
static const struct api_param params[] = {
    [LIMIT] = {"limit",  API_INT,  1, 100, 20, false},
    [BEFORE] = {"before", API_TEXT, 0, 0,   0,  false},
    {NULL,     API_INT,  0, 0,   0,  false},
};

/* Any bytes, as text. */
static void put_body(struct buf *b, const struct reject_entry *e)
{
    struct buf text = {0};
    if (e->kept)
        text_append_utf8(&text, e->reject.body, e->kept);
    json_put_text(b, "body", buf_str(&text));
    buf_release(&text);
}

static void put_entry(struct api_call *call, const struct reject_entry *e)
{
    struct buf *b = &call->out;
    const struct reject *r = &e->reject;
    char at[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(r->at, at);
    api_page_item(call);
    json_put_text(b, "id", e->id);
    json_put_text(b, "at", at);
    json_put_text(b, "source", r->source);
    json_put_text(b, "method", r->method);
    json_put_text(b, "path", r->path);
    json_put_text(b, "query", r->query);
    json_put_text(b, "peer", r->peer);
    json_put_text(b, "request_id", r->request_id);
    buf_printf(b, ",\"status\":%d", r->status);
    json_put_text(b, "reason", r->reason);
    buf_printf(b, ",\"authenticated\":%s,\"headers\":%s", r->authenticated ? "true" : "false",
        r->headers ? r->headers : "{}");
    put_body(b, e);
    buf_printf(b, ",\"body_bytes\":%zu}", r->len);
}

static void listed(enum hl_rc rc, const struct reject_entry *entries, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    bool full = rc == HL_OK && n >= (size_t)call->values[LIMIT].n;
    if (rc == HL_FATAL) {
        api_fail(call, rc, err);
        return;
    }
    if (rc != HL_OK) {
        api_header(call, "Retry-After", "5");
        api_detail(call, 503, "Redis cannot be asked now");
        return;
    }
    buf_puts(&call->out, "{\"rejects\":[");
    for (size_t i = 0; i < n; i++)
        put_entry(call, &entries[i]);
    api_page_end(call, full, full ? entries[n - 1].id : NULL, NULL);
}

static void go(struct api_call *call)
{
    const char *before = call->values[BEFORE].text;
    struct rejects *rejects = call->stores->rejects;
    if (before && !rejects_is_id(before))
        api_page_refuse(call, BEFORE);
    else if (rejects)
        rejects_list(rejects, before, (int)call->values[LIMIT].n, listed, call);
    else
        listed(HL_OK, NULL, 0, NULL, call); /* none are kept */
}

const struct api_route api_rejects = {.params = params, .go = go};
