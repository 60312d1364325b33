/* api_samples: GET /api/series, /api/sources and /api/upstreams: what charts show of the past. */
#include "base/json.h"
#include "base/timestamp.h"
#include "domain/store_samples.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_rate.h"
#include "producer/api_views.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MINUTES = 7 * 24 * 60, MOST_HOURS = 7 * 24 };

/* --- the series -------------------------------------------------------------------------- */

static int step_for(int64_t minutes)
{
    static const int steps[] = {SAMPLES_SLOT_S, 10, 15, 30, 60, 120, 300, 600, 900};
    size_t i = 0;
    while (
        i + 1 < sizeof(steps) / sizeof(*steps) && minutes * 60 > (int64_t)steps[i] * SAMPLES_POINTS)
        i++;
    return steps[i];
}

static void put_time(struct api_call *call, const char *key, int64_t epoch_s)
{
    char text[TIMESTAMP_ISO_LEN + 1];
    timestamp_iso(epoch_s * 1000000, text);
    json_put_text(&call->out, key, text);
}

static void put_gauge(struct buf *b, const PGresult *rows, int row, int col)
{
    if (PQgetisnull(rows, row, col))
        buf_puts(b, ",null");
    else
        buf_printf(b, ",%lld", (long long)db_int(rows, row, col));
}

/* The last step may not be over: its rate is that of the part of it that is. */
static void put_point(struct buf *b, const PGresult *rows, int row, int step)
{
    static const double shares[] = {0.50, 0.95, 0.99};
    int64_t at = db_int(rows, row, SERIES_AT), left = db_int(rows, row, SERIES_TO) - at;
    double seconds = (double)(left < step ? left : step);
    struct latency l;
    buf_printf(b, "%s[%lld", b->data[b->len - 1] == '[' ? "" : ",", (long long)at);
    for (int col = SERIES_ACCEPTED; col <= SERIES_REFUSED; col++) {
        buf_putc(b, ',');
        api_rate_put(b, (double)db_int(rows, row, col) / seconds);
    }
    for (int col = SERIES_DEPTH; col <= SERIES_IN_FLIGHT; col++)
        put_gauge(b, rows, row, col);
    latency_read(&l, db_text(rows, row, SERIES_LATENCY));
    for (size_t i = 0; i < sizeof(shares) / sizeof(*shares); i++) {
        buf_putc(b, ',');
        api_latency_put(b, &l, shares[i]);
    }
    buf_putc(b, ']');
}

static void series_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    int step = step_for(call->values[0].n);
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_putc(&call->out, '{');
    json_put_int(&call->out, "step_s", step);
    put_time(call, "from", db_int(rows, 0, SERIES_FROM));
    put_time(call, "to", db_int(rows, 0, SERIES_TO));
    buf_puts(&call->out, ",\"points\":[");
    for (int row = 0; row < PQntuples(rows); row++)
        if (!PQgetisnull(rows, row, SERIES_AT))
            put_point(&call->out, rows, row, step);
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void series_go(struct api_call *call)
{
    int minutes = (int)call->values[0].n;
    store_series(call->stores->reads, minutes, step_for(minutes), series_read, call);
}

static const struct api_param minutes[] = {
    {.name = "minutes", .type = API_INT, .min = 1, .max = MOST_MINUTES, .def = 60},
    {0        },
};
const struct api_route api_series = {.params = minutes, .go = series_go};

/* --- sources ----------------------------------------------------------------------------- */

static const struct api_param hours[] = {
    {.name = "hours", .type = API_INT, .min = 1, .max = MOST_HOURS, .def = 24},
    {0      },
};

static bool is_refusal(const char *outcome)
{
    return strcmp(outcome, "accepted") != 0 && strcmp(outcome, "duplicate") != 0;
}

/* Rows of one source, the most frequent outcome first. */
static void put_source(struct api_call *call, const PGresult *rows, const char *name)
{
    int64_t accepted = 0, duplicate = 0, refused = 0, last = 0;
    struct buf reasons = {0};
    buf_putc(&reasons, '{');
    for (int row = 0; row < PQntuples(rows); row++) {
        const char *outcome = db_text(rows, row, 1);
        int64_t n = db_int(rows, row, 2);
        if (strcmp(db_text(rows, row, 0), name) != 0)
            continue;
        if (!is_refusal(outcome)) {
            *(*outcome == 'a' ? &accepted : &duplicate) += n;
            continue;
        }
        refused += n;
        last = last > db_int(rows, row, 3) ? last : db_int(rows, row, 3);
        json_put_int(&reasons, outcome, n);
    }
    buf_putc(&reasons, '}');
    api_page_item(call);
    json_put_text(&call->out, "name", name);
    json_put_int(&call->out, "accepted", accepted);
    json_put_int(&call->out, "duplicate", duplicate);
    json_put_int(&call->out, "refused", refused);
    json_put_key(&call->out, "reasons");
    buf_append(&call->out, reasons.data, reasons.len);
    if (last)
        put_time(call, "last_refused", last / 1000000);
    else
        json_put_text(&call->out, "last_refused", NULL);
    buf_putc(&call->out, '}');
    buf_release(&reasons);
}

static void sources_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"sources\":[");
    put_source(call, rows, "change");
    put_source(call, rows, "crawl");
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void sources_go(struct api_call *call)
{
    store_sources(call->stores->reads, (int)call->values[0].n, sources_read, call);
}

const struct api_route api_sources = {.params = hours, .go = sources_go};

/* --- upstreams --------------------------------------------------------------------------- */

static void put_average(struct api_call *call, const PGresult *rows, int row)
{
    json_put_key(&call->out, "avg_ms");
    if (PQgetisnull(rows, row, UPSTREAM_AVG_MS))
        buf_puts(&call->out, "null");
    else
        api_rate_put(&call->out, strtod(db_text(rows, row, UPSTREAM_AVG_MS), NULL));
}

static void upstreams_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"upstreams\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        api_put_text(call, "host", rows, row, UPSTREAM_HOST);
        api_put_text(call, "state", rows, row, UPSTREAM_STATE);
        api_put_int(call, "failures", rows, row, UPSTREAM_FAILURES);
        api_put_int(call, "retry_in_ms", rows, row, UPSTREAM_RETRY_MS);
        api_put_text(call, "probed_by", rows, row, UPSTREAM_PROBED_BY);
        api_put_text(call, "last_error", rows, row, UPSTREAM_LAST_ERROR);
        api_put_iso(call, "changed_at", rows, row, UPSTREAM_CHANGED);
        api_put_int(call, "fetches", rows, row, UPSTREAM_FETCHES);
        api_put_int(call, "errors", rows, row, UPSTREAM_ERRORS);
        api_put_int(call, "throttled", rows, row, UPSTREAM_THROTTLED);
        put_average(call, rows, row);
        api_put_json(call, "outcomes", rows, row, UPSTREAM_OUTCOMES);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void upstreams_go(struct api_call *call)
{
    store_upstreams_seen(call->stores->reads, (int)call->values[0].n, upstreams_read, call);
}

const struct api_route api_upstreams = {.params = hours, .go = upstreams_go};
