/* api_crawls: GET /api/crawls: sessions, newest first. One of them, with its pages, is
 * GET /api/metrics/crawls/{crawl_id}. */
#include "domain/store_view.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

enum { STATUS, LIMIT, AFTER };
static const struct api_param params[] = {
    [STATUS] = {"status", API_TEXT, 0, 0,    0,   false},
    [LIMIT] = {"limit",  API_INT,  1, 1000, 100, false},
    [AFTER] = {"after",  API_TEXT, 0, 0,    0,   false},
    {NULL,     API_INT,  0, 0,    0,   false},
};

static void put_crawl(struct api_call *call, const PGresult *r, int row)
{
    api_put_text(call, "crawl_id", r, row, CRAWL_JOB_ID);
    api_put_text(call, "crawl_url", r, row, CRAWL_BASE_URL);
    api_put_text(call, "operation_type", r, row, CRAWL_OPERATION_TYPE);
    api_put_text(call, "status", r, row, CRAWL_STATUS);
    api_put_bool(call, "success", r, row, CRAWL_SUCCESS);
    api_put_iso(call, "started_at", r, row, CRAWL_STARTED);
    api_put_iso(call, "completed_at", r, row, CRAWL_COMPLETED);
    api_put_double(call, "duration_ms", r, row, CRAWL_DURATION_MS);
    api_put_double(call, "e2e_duration_ms", r, row, CRAWL_E2E_MS);
    api_put_int(call, "total_pages", r, row, CRAWL_TOTAL_PAGES);
    api_put_int(call, "pages_indexed", r, row, CRAWL_PAGES_INDEXED);
    api_put_int(call, "pages_failed", r, row, CRAWL_PAGES_FAILED);
    api_put_int(call, "total_urls", r, row, CRAWL_TOTAL_URLS);
    api_put_int(call, "completed_urls", r, row, CRAWL_COMPLETED_URLS);
    api_put_int(call, "failed_urls", r, row, CRAWL_FAILED_URLS);
    buf_puts(&call->out, ",\"aggregate_timing\":{");
    api_put_double(call, "chunking_ms", r, row, CRAWL_CHUNKING_MS);
    api_put_double(call, "embedding_ms", r, row, CRAWL_EMBEDDING_MS);
    api_put_double(call, "qdrant_ms", r, row, CRAWL_QDRANT_MS);
    api_put_double(call, "bm25_ms", r, row, CRAWL_BM25_MS);
    buf_putc(&call->out, '}');
    api_put_text(call, "error_message", r, row, CRAWL_ERROR);
    api_put_json(call, "extra_metadata", r, row, CRAWL_METADATA);
}

static const struct api_page page = {.key = "crawls",
    .limit = LIMIT,
    .id = CRAWL_ID,
    .place = CRAWL_STARTED,
    .place_id = CRAWL_ID,
    .edge = CRAWL_EDGE,
    .edge_id = CRAWL_EDGE_ID,
    .put = put_crawl};

static void page_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    api_page_rows(call, &page, rows);
}

/* Any word: sessions of the replaced service may have others than ours. */
static void go(struct api_call *call)
{
    struct view_crawls q = {
        .status = call->values[STATUS].text, .limit = (int)call->values[LIMIT].n};
    if (api_page_after(call, AFTER, &q.before, &q.before_id))
        view_crawls(call->stores->reads, &q, page_read, call);
}

const struct api_route api_crawls_list = {.params = params, .go = go};
