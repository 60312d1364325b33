/* api_documents: GET /api/documents: what the index has of one page. */
#include "base/json.h"
#include "base/text.h"
#include "base/url.h"
#include "domain/store_view.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

#include <string.h>

enum { URL, EVENT };
static const struct api_param params[] = {
    [URL] = {"url",   API_TEXT, 0, 0, 0, false},
    [EVENT] = {"event", API_TEXT, 0, 0, 0, false},
    {NULL,    API_INT,  0, 0, 0, false},
};

static void put_text(struct api_call *call, const PGresult *rows)
{
    const char *text = db_text(rows, 0, DOCUMENT_TEXT);
    struct buf cut = {0};
    buf_append(&cut, text, text_prefix_bytes(text, VIEW_TEXT));
    json_put_text(&call->out, "text", buf_str(&cut));
    buf_release(&cut);
    api_put_bool(call, "truncated", rows, 0, DOCUMENT_CUT);
}

static void none(struct api_call *call)
{
    buf_puts(&call->out, "{\"document\":null}");
    api_reply(call, 200);
}

static void found(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        none(call);
        return;
    }
    buf_puts(&call->out, "{\"document\":{");
    api_put_text(call, "url", rows, 0, DOCUMENT_URL);
    api_put_text(call, "canonical_url", rows, 0, DOCUMENT_CANONICAL);
    api_put_text(call, "title", rows, 0, DOCUMENT_TITLE);
    api_put_text(call, "description", rows, 0, DOCUMENT_DESCRIPTION);
    api_put_text(call, "language", rows, 0, DOCUMENT_LANGUAGE);
    put_text(call, rows);
    api_put_iso(call, "scraped_at", rows, 0, DOCUMENT_SCRAPED);
    api_put_text(call, "content_hash", rows, 0, DOCUMENT_HASH);
    buf_puts(&call->out, "}}");
    api_reply(call, 200);
}

static void show(struct api_call *call, const char *url)
{
    struct buf canonical = {0};
    if (url_canonical(url, &canonical))
        view_document(call->stores->reads, buf_str(&canonical), found, call);
    else
        none(call); /* nothing is fetched from there */
    buf_release(&canonical);
}

static void event_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK)
        api_fail(call, rc, err);
    else if (PQntuples(rows) == 0)
        none(call);
    else
        show(call, db_text(rows, 0, VIEW_WATCH_URL));
}

static void go(struct api_call *call)
{
    struct view_key key;
    const char *url = call->values[URL].text, *event = call->values[EVENT].text;
    if (!url == !event)
        api_page_fault(call, URL, "Value error, give `url` or `event`, one of them");
    else if (url && !url_is_web(url))
        api_page_fault(call, URL, "Value error, no URL of a page (http or https)");
    else if (event && !api_page_event(event, &key))
        api_page_fault(call, EVENT, "Value error, neither an event id nor the number of a row");
    else if (event)
        view_event(call->stores->reads, &key, event_read, call);
    else
        show(call, url);
}

const struct api_route api_documents = {.params = params, .go = go};
