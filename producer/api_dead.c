/* api_dead: GET /api/dead: why events failed; GET /api/dead/events: which. */
#include "base/json.h"
#include "base/mem.h"
#include "domain/queue_dead.h"
#include "domain/store_failed.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

#include <stdio.h>

enum { LETTER_PAGES = 10 };

/* --- groups ------------------------------------------------------------------------------ */

enum { STATUS, SINCE, UNTIL };
static const struct api_param params[] = {
    [STATUS] = {"status", API_TEXT, 0, 0, 0, false},
    [SINCE] = {"since",  API_TIME, 0, 0, 0, false},
    [UNTIL] = {"until",  API_TIME, 0, 0, 0, false},
    {NULL,     API_INT,  0, 0, 0, false},
};

/* One stream has the letters of both queues: they are counted page by page, the newest first. */
struct letters {
    char before[QUEUE_ENTRY_MAX];
    int pages;
    int64_t change, crawl;
};

static void put_count(struct buf *b, const char *key, bool known, int64_t n)
{
    json_put_key(b, key);
    if (known)
        buf_printf(b, "%lld", (long long)n);
    else
        buf_puts(b, "null");
}

static void put_letters(struct api_call *call, bool known, bool all)
{
    const struct letters *l = call->own;
    put_count(&call->out, "change_letters", known, l->change);
    put_count(&call->out, "crawl_letters", known, l->crawl);
    buf_printf(&call->out, ",\"letters_complete\":%s}", all ? "true" : "false");
    api_reply(call, 200);
}

static void count_letters(struct api_call *call);

static void got_letters(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct letters *l = call->own;
    (void)err;
    for (size_t i = 0; rc == HL_OK && i < n; i++) {
        l->crawl += letters[i].crawl;
        l->change += !letters[i].crawl;
        snprintf(l->before, sizeof(l->before), "%s", letters[i].entry);
    }
    if (rc == HL_OK && n == QUEUE_LETTERS_MAX && ++l->pages < LETTER_PAGES)
        count_letters(call);
    else
        put_letters(call, rc == HL_OK, rc == HL_OK && n < QUEUE_LETTERS_MAX);
}

static void count_letters(struct api_call *call)
{
    const struct letters *l = call->own;
    queue_letters(call->stores->queue, l->before, QUEUE_LETTERS_MAX, got_letters, call);
}

static void grouped(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"groups\":[");
    for (int row = 0; row < PQntuples(rows) && !PQgetisnull(rows, row, GROUP_REASON); row++) {
        api_page_item(call);
        api_put_text(call, "error", rows, row, GROUP_REASON);
        api_put_int(call, "events", rows, row, GROUP_EVENTS);
        api_put_int(call, "urls", rows, row, GROUP_URLS);
        api_put_iso(call, "newest_at", rows, row, GROUP_NEWEST);
        api_put_iso(call, "oldest_at", rows, row, GROUP_OLDEST);
        buf_putc(&call->out, '}');
    }
    buf_putc(&call->out, ']');
    api_put_int(call, "counted", rows, 0, GROUP_COUNTED);
    api_put_bool(call, "complete", rows, 0, GROUP_COMPLETE);
    call->own = mem_new(struct letters);
    count_letters(call);
}

static void go(struct api_call *call)
{
    const struct api_value *v = call->values;
    store_failed_groups(call->stores->reads, v[STATUS].text, api_page_time(&v[SINCE]),
        api_page_time(&v[UNTIL]), grouped, call);
}

const struct api_route api_dead = {.params = params, .go = go};

/* --- events ------------------------------------------------------------------------------ */

enum { LIST_ERROR, LIST_URL, LIST_WATCH, LIST_SINCE, LIST_UNTIL, LIST_LIMIT, LIST_AFTER };
static const struct api_param list_params[] = {
    [LIST_ERROR] = {"error", API_TEXT, 0, 0,    0,   false},
    [LIST_URL] = {"url",   API_TEXT, 0, 0,    0,   false},
    [LIST_WATCH] = {"watch", API_TEXT, 0, 0,    0,   false},
    [LIST_SINCE] = {"since", API_TIME, 0, 0,    0,   false},
    [LIST_UNTIL] = {"until", API_TIME, 0, 0,    0,   false},
    [LIST_LIMIT] = {"limit", API_INT,  1, 1000, 100, false},
    [LIST_AFTER] = {"after", API_TEXT, 0, 0,    0,   false},
    {NULL,    API_INT,  0, 0,    0,   false},
};

static void put_event(struct api_call *call, const PGresult *rows, int row)
{
    api_put_int(call, "change_event_id", rows, row, FAILED_ID);
    api_put_text(call, "event_id", rows, row, FAILED_EVENT_ID);
    api_put_text(call, "url", rows, row, FAILED_URL);
    api_put_text(call, "watch_id", rows, row, FAILED_WATCH_ID);
    api_put_iso(call, "failed_at", rows, row, FAILED_AT);
    api_put_int(call, "attempts", rows, row, FAILED_ATTEMPTS);
    api_put_text(call, "error", rows, row, FAILED_ERROR);
}

static const struct api_page page = {.key = "events",
    .limit = LIST_LIMIT,
    .id = FAILED_ID,
    .place = FAILED_ID,
    .place_id = -1,
    .edge = FAILED_EDGE,
    .edge_id = -1,
    .put = put_event};

static void listed(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    api_page_rows(call, &page, rows);
}

static void list_go(struct api_call *call)
{
    const struct api_value *v = call->values;
    int64_t before = 0;
    const struct failed_filter f = {.url = v[LIST_URL].text,
        .watch = v[LIST_WATCH].text,
        .since = api_page_time(&v[LIST_SINCE]),
        .until = api_page_time(&v[LIST_UNTIL]),
        .error = v[LIST_ERROR].text};
    if (api_page_after(call, LIST_AFTER, &before, NULL))
        store_failed(call->stores->reads, &f, before, (int)v[LIST_LIMIT].n + 1, listed, call);
}

const struct api_route api_dead_events = {.params = list_params, .go = list_go};
