/* api_metrics: see api_metrics.h. Each route: its parameters, its question, its answer. */
#include "producer/api_metrics.h"

#include "base/json.h"
#include "base/mem.h"
#include "domain/store_read.h"
#include "producer/api.h"
#include "producer/api_page.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 10000 }; /* operations of a crawl in one answer */

#define HOURS                                                                                      \
    {                                                                                              \
        "hours", API_INT, 1, 168, 24, false                                                        \
    }
/* The first three of both lists; read by page_of. */
#define PAGE {"limit", API_INT, 1, 1000, 100, false}, {"offset", API_INT, 0, 0, 0, false}, HOURS
#define END                                                                                        \
    {                                                                                              \
        NULL, API_INT, 0, 0, 0, false                                                              \
    }

static struct store_page page_of(const struct api_call *call)
{
    const struct api_value *v = call->values;
    return (struct store_page){.limit = v[0].n, .offset = v[1].n, .hours = v[2].n};
}

static void put_page(struct api_call *call, const PGresult *rows, int total)
{
    const struct store_page page = page_of(call);
    api_put_int(call, "total", rows, 0, total);
    buf_printf(&call->out, ",\"limit\":%lld,\"offset\":%lld", (long long)page.limit,
        (long long)page.offset);
}

/* A mean, least or most of nothing is 0.0. */
static void put_sum(struct api_call *call, const char *key, const PGresult *rows, int col)
{
    if (!PQgetisnull(rows, 0, col)) {
        api_put_2dp(call, key, rows, 0, col);
        return;
    }
    json_put_key(&call->out, key);
    buf_puts(&call->out, "0.0");
}

/* --- requests ---------------------------------------------------------------------------- */

/* clang-format off */
static const struct api_param requests_params[] = {
    PAGE,
    {"path", API_TEXT, 0, 0, 0, false},
    {"method", API_TEXT, 0, 0, 0, false},
    {"min_duration_ms", API_FLOAT, 0, 0, 0, false},
    END,
};
/* clang-format on */

static void put_request(struct api_call *call, const PGresult *rows, int i)
{
    api_page_item(call);
    api_put_text(call, "id", rows, i, READ_REQ_ID);
    api_put_eastern(call, "timestamp", rows, i, READ_REQ_AT);
    api_put_text(call, "method", rows, i, READ_REQ_METHOD);
    api_put_text(call, "path", rows, i, READ_REQ_PATH);
    api_put_int(call, "status_code", rows, i, READ_REQ_STATUS);
    api_put_2dp(call, "duration_ms", rows, i, READ_REQ_DURATION);
    api_put_text(call, "request_id", rows, i, READ_REQ_REQUEST_ID);
    api_put_text(call, "client_ip", rows, i, READ_REQ_CLIENT_IP);
    buf_putc(&call->out, '}');
}

static void requests_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"metrics\":[");
    for (int i = 0; i < PQntuples(rows) && !PQgetisnull(rows, i, READ_REQ_ID); i++)
        put_request(call, rows, i);
    buf_putc(&call->out, ']');
    put_page(call, rows, READ_REQ_TOTAL);
    buf_puts(&call->out, ",\"summary\":{");
    put_sum(call, "avg_duration_ms", rows, READ_REQ_AVG);
    put_sum(call, "min_duration_ms", rows, READ_REQ_MIN);
    put_sum(call, "max_duration_ms", rows, READ_REQ_MAX);
    api_put_int(call, "total_requests", rows, 0, READ_REQ_COUNT);
    buf_puts(&call->out, "}}");
    api_reply(call, 200);
}

static void ask_requests(struct api_call *call)
{
    enum { PATH = 3, METHOD, MIN_DURATION };
    const struct api_value *v = call->values;
    const struct store_requests_query q = {
        .page = page_of(call),
        .path = v[PATH].text,
        .method = v[METHOD].text,
        .min_duration_ms = v[MIN_DURATION].given ? &v[MIN_DURATION].f : NULL,
    };
    store_read_requests(call->stores->reads, &q, requests_read, call);
}

const struct api_route api_metrics_requests = {
    .limited = true, .params = requests_params, .go = ask_requests};

/* --- operations -------------------------------------------------------------------------- */

/* clang-format off */
static const struct api_param operations_params[] = {
    PAGE,
    {"operation_type", API_TEXT, 0, 0, 0, false},
    {"operation_name", API_TEXT, 0, 0, 0, false},
    {"document_url", API_TEXT, 0, 0, 0, false},
    {"success", API_BOOL, 0, 0, 0, false},
    END,
};
/* clang-format on */

static void put_operation(struct api_call *call, const PGresult *rows, int i)
{
    api_page_item(call);
    api_put_text(call, "id", rows, i, READ_OP_ID);
    api_put_eastern(call, "timestamp", rows, i, READ_OP_AT);
    api_put_text(call, "operation_type", rows, i, READ_OP_TYPE);
    api_put_text(call, "operation_name", rows, i, READ_OP_NAME);
    api_put_2dp(call, "duration_ms", rows, i, READ_OP_DURATION);
    api_put_bool(call, "success", rows, i, READ_OP_SUCCESS);
    api_put_text(call, "error_message", rows, i, READ_OP_ERROR);
    api_put_text(call, "request_id", rows, i, READ_OP_REQUEST_ID);
    api_put_text(call, "job_id", rows, i, READ_OP_JOB_ID);
    api_put_text(call, "document_url", rows, i, READ_OP_URL);
    buf_putc(&call->out, '}');
}

static void put_type(struct api_call *call, const PGresult *rows, int i)
{
    json_put_key(&call->out, db_text(rows, i, READ_OP_SUM_TYPE));
    buf_putc(&call->out, '{');
    api_put_2dp(call, "avg_duration_ms", rows, i, READ_OP_SUM_AVG);
    api_put_2dp(call, "min_duration_ms", rows, i, READ_OP_SUM_MIN);
    api_put_2dp(call, "max_duration_ms", rows, i, READ_OP_SUM_MAX);
    api_put_int(call, "total_operations", rows, i, READ_OP_SUM_COUNT);
    api_put_int(call, "successful_operations", rows, i, READ_OP_SUM_GOOD);
    api_put_int(call, "failed_operations", rows, i, READ_OP_SUM_BAD);
    api_put_2dp(call, "success_rate", rows, i, READ_OP_SUM_RATE);
    buf_putc(&call->out, '}');
}

static void operations_read(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"metrics\":[");
    for (int i = 0; i < PQntuples(rows) && !PQgetisnull(rows, i, READ_OP_ID); i++)
        put_operation(call, rows, i);
    buf_putc(&call->out, ']');
    put_page(call, rows, READ_OP_TOTAL);
    buf_puts(&call->out, ",\"summary_by_type\":{");
    for (int i = 0; i < PQntuples(rows) && !PQgetisnull(rows, i, READ_OP_SUM_TYPE); i++)
        put_type(call, rows, i);
    buf_puts(&call->out, "}}");
    api_reply(call, 200);
}

static void ask_operations(struct api_call *call)
{
    enum { TYPE = 3, NAME, DOCUMENT_URL, SUCCESS };
    const struct api_value *v = call->values;
    const bool success = v[SUCCESS].n;
    const struct store_operations_query q = {
        .page = page_of(call),
        .type = v[TYPE].text,
        .name = v[NAME].text,
        .document_url = v[DOCUMENT_URL].text,
        .success = v[SUCCESS].given ? &success : NULL,
    };
    store_read_operations(call->stores->reads, &q, operations_read, call);
}

const struct api_route api_metrics_operations = {
    .limited = true, .params = operations_params, .go = ask_operations};

/* --- summary ----------------------------------------------------------------------------- */

static const struct api_param summary_params[] = {HOURS, END};

static void put_types(struct api_call *call, const PGresult *rows)
{
    for (int i = 0; i < PQntuples(rows) && !PQgetisnull(rows, i, READ_SUM_TYPE); i++) {
        json_put_key(&call->out, db_text(rows, i, READ_SUM_TYPE));
        buf_putc(&call->out, '{');
        api_put_int(call, "total_operations", rows, i, READ_SUM_TYPE_COUNT);
        api_put_2dp(call, "avg_duration_ms", rows, i, READ_SUM_TYPE_AVG);
        api_put_int(call, "error_count", rows, i, READ_SUM_TYPE_BAD);
        buf_putc(&call->out, '}');
    }
}

static void put_paths(struct api_call *call, const PGresult *rows)
{
    for (int i = 0; i < PQntuples(rows) && !PQgetisnull(rows, i, READ_SUM_PATH); i++) {
        api_page_item(call);
        api_put_text(call, "path", rows, i, READ_SUM_PATH);
        api_put_2dp(call, "avg_duration_ms", rows, i, READ_SUM_PATH_AVG);
        api_put_int(call, "request_count", rows, i, READ_SUM_PATH_COUNT);
        buf_putc(&call->out, '}');
    }
}

static void summary_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_printf(
        &call->out, "{\"time_period_hours\":%lld,\"requests\":{", (long long)call->values[0].n);
    api_put_int(call, "total", rows, 0, READ_SUM_REQUESTS);
    put_sum(call, "avg_duration_ms", rows, READ_SUM_REQUESTS_AVG);
    api_put_int(call, "error_count", rows, 0, READ_SUM_REQUESTS_BAD);
    buf_puts(&call->out, "},\"operations_by_type\":{");
    put_types(call, rows);
    buf_puts(&call->out, "},\"slowest_endpoints\":[");
    put_paths(call, rows);
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void ask_summary(struct api_call *call)
{
    store_read_summary(call->stores->reads, call->values[0].n, summary_read, call);
}

const struct api_route api_metrics_summary = {
    .limited = true, .params = summary_params, .go = ask_summary};

/* --- one crawl --------------------------------------------------------------------------- */

/* clang-format off */
static const struct api_param crawl_params[] = {
    {"include_per_page", API_BOOL, 0, 0, 0, false},
    END,
};
/* clang-format on */

static void put_step(struct api_call *call, const PGresult *rows, int i)
{
    api_page_item(call);
    api_put_text(call, "url", rows, i, READ_STEP_URL);
    api_put_text(call, "operation_type", rows, i, READ_STEP_TYPE);
    api_put_text(call, "operation_name", rows, i, READ_STEP_NAME);
    api_put_double(call, "duration_ms", rows, i, READ_STEP_DURATION);
    api_put_bool(call, "success", rows, i, READ_STEP_SUCCESS);
    api_put_iso(call, "timestamp", rows, i, READ_STEP_AT);
    buf_putc(&call->out, '}');
}

/* own: the end of the answer, which stands behind the steps. */
static void steps_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) > MAX_STEPS)
        api_header(call, "Hookline-Truncated", "per_page_metrics");
    json_put_key(&call->out, "per_page_metrics");
    buf_putc(&call->out, '[');
    for (int i = 0; i < PQntuples(rows) && i < MAX_STEPS; i++)
        put_step(call, rows, i);
    buf_putc(&call->out, ']');
    buf_puts(&call->out, call->own);
    api_reply(call, 200);
}

static void put_session(struct api_call *call, const PGresult *rows)
{
    buf_putc(&call->out, '{');
    api_put_text(call, "crawl_id", rows, 0, READ_CRAWL_ID);
    api_put_text(call, "crawl_url", rows, 0, READ_CRAWL_URL);
    api_put_text(call, "status", rows, 0, READ_CRAWL_STATUS);
    api_put_bool(call, "success", rows, 0, READ_CRAWL_SUCCESS);
    api_put_iso(call, "started_at", rows, 0, READ_CRAWL_STARTED);
    api_put_iso(call, "completed_at", rows, 0, READ_CRAWL_COMPLETED);
    api_put_double(call, "duration_ms", rows, 0, READ_CRAWL_DURATION);
    api_put_double(call, "e2e_duration_ms", rows, 0, READ_CRAWL_E2E);
    api_put_int(call, "total_pages", rows, 0, READ_CRAWL_PAGES);
    api_put_int(call, "pages_indexed", rows, 0, READ_CRAWL_INDEXED);
    api_put_int(call, "pages_failed", rows, 0, READ_CRAWL_FAILED);
    json_put_key(&call->out, "aggregate_timing");
    buf_putc(&call->out, '{');
    api_put_double(call, "chunking_ms", rows, 0, READ_CRAWL_CHUNKING);
    api_put_double(call, "embedding_ms", rows, 0, READ_CRAWL_EMBEDDING);
    api_put_double(call, "qdrant_ms", rows, 0, READ_CRAWL_QDRANT);
    api_put_double(call, "bm25_ms", rows, 0, READ_CRAWL_BM25);
    buf_putc(&call->out, '}');
}

static void put_session_end(struct api_call *call, const PGresult *rows)
{
    api_put_text(call, "error_message", rows, 0, READ_CRAWL_ERROR);
    api_put_json(call, "extra_metadata", rows, 0, READ_CRAWL_EXTRA);
    buf_putc(&call->out, '}');
}

/* The end of the answer is written now, while the row is there, and waits in own. */
static void ask_steps(struct api_call *call, const PGresult *rows)
{
    struct buf *out = &call->out;
    size_t at = out->len;
    put_session_end(call, rows);
    call->own = mem_strdup(out->data + at);
    out->len = at;
    out->data[at] = '\0';
    store_read_crawl_steps(
        call->stores->reads, api_place(call, "crawl_id"), MAX_STEPS + 1, steps_read, call);
}

static void crawl_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (!PQntuples(rows)) {
        api_detail(call, 404, "Crawl not found: %s", api_place(call, "crawl_id"));
        return;
    }
    put_session(call, rows);
    if (call->values[0].n) {
        ask_steps(call, rows);
        return;
    }
    buf_puts(&call->out, ",\"per_page_metrics\":null");
    put_session_end(call, rows);
    api_reply(call, 200);
}

static void ask_crawl(struct api_call *call)
{
    store_read_crawl(call->stores->reads, api_place(call, "crawl_id"), crawl_read, call);
}

const struct api_route api_metrics_crawl = {
    .limited = true, .params = crawl_params, .go = ask_crawl};
