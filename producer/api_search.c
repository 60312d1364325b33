/* api_search: GET /api/search: documents that hold the words, the best first. */
#include "base/json.h"
#include "domain/store_view.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

enum { WORDS, LIMIT };
static const struct api_param params[] = {
    [WORDS] = {"q",     API_TEXT, 0, 0,   0,  true },
    [LIMIT] = {"limit", API_INT,  1, 100, 10, false},
    {NULL,    API_INT,  0, 0,   0,  false},
};

enum { TOTAL, URL, TITLE, DESCRIPTION, LANGUAGE, SNIPPET, SCORE, SCRAPED };

static void found(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"query\":");
    json_put_string(&call->out, call->values[WORDS].text);
    api_put_int(call, "total", rows, 0, TOTAL);
    buf_puts(&call->out, ",\"results\":[");
    for (int row = 0; row < PQntuples(rows) && !PQgetisnull(rows, row, URL); row++) {
        api_page_item(call);
        api_put_text(call, "url", rows, row, URL);
        api_put_text(call, "title", rows, row, TITLE);
        api_put_text(call, "description", rows, row, DESCRIPTION);
        api_put_text(call, "language", rows, row, LANGUAGE);
        api_put_text(call, "snippet", rows, row, SNIPPET);
        api_put_double(call, "score", rows, row, SCORE);
        api_put_iso(call, "scraped_at", rows, row, SCRAPED);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void go(struct api_call *call)
{
    view_search(
        call->stores->reads, call->values[WORDS].text, (int)call->values[LIMIT].n, found, call);
}

const struct api_route api_search = {.params = params, .go = go};
