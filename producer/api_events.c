/* api_events: GET /api/events, GET /api/events/{id}, POST /api/events/{id}/retry. */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "domain/store_view.h"
#include "producer/api.h"
#include "producer/api_act.h"
#include "producer/api_page.h"
#include "producer/api_views.h"
#include "producer/publish.h"

#include <stdlib.h>
#include <string.h>

#define NOT_FOUND "Event not found: %s"

/* --- what is shown of an event ----------------------------------------------------------- */

typedef void put_fn(struct api_call *call, const char *key, const PGresult *r, int row, int col);

struct member {
    const char *name;
    put_fn *put;
    int col;
};

/* clang-format off */
static const struct member shown[] = {
    {"event_id",        api_put_text, VIEW_EVENT_ID},
    {"change_event_id", api_put_int,  VIEW_ID},
    {"watch_id",        api_put_text, VIEW_WATCH_ID},
    {"watch_url",       api_put_text, VIEW_WATCH_URL},
    {"status",          api_put_text, VIEW_STATUS},
    {"detected_at",     api_put_iso,  VIEW_DETECTED},
    {"created_at",      api_put_iso,  VIEW_CREATED},
    {"attempts",        api_put_int,  VIEW_ATTEMPTS},
    {"starts",          api_put_int,  VIEW_STARTS},
    {"next_attempt_at", api_put_iso,  VIEW_NEXT_ATTEMPT},
    {"finished_at",     api_put_iso,  VIEW_FINISHED},
    {"indexed_at",      api_put_iso,  VIEW_INDEXED},
    {"error",           api_put_text, VIEW_ERROR},
    {NULL, NULL, 0},
};
static const struct member shown_alone[] = {
    {"claimed_at",   api_put_iso,  VIEW_CLAIMED_AT},
    {"claimed_by",   api_put_text, VIEW_CLAIMED_BY},
    {"claim_epoch",  api_put_int,  VIEW_EPOCH},
    {"suspect",      api_put_int,  VIEW_SUSPECT},
    {"diff_summary", api_put_text, VIEW_DIFF},
    {"snapshot_url", api_put_text, VIEW_SNAPSHOT},
    {"metadata",     api_put_json, VIEW_METADATA},
    {NULL, NULL, 0},
};
static const struct member moment[] = {
    {"at",          api_put_iso,    0},
    {"what",        api_put_text,   1},
    {"by",          api_put_text,   2},
    {"epoch",       api_put_int,    3},
    {"duration_ms", api_put_double, 4},
    {"success",     api_put_bool,   5},
    {"detail",      api_put_text,   6},
    {NULL, NULL, 0},
};
/* clang-format on */

static void put_members(
    struct api_call *call, const struct member *members, const PGresult *r, int row)
{
    for (; members->name; members++)
        members->put(call, members->name, r, row, members->col);
}

/* --- the list ---------------------------------------------------------------------------- */

enum {
    LIST_STATUS,
    LIST_URL,
    LIST_WATCH,
    LIST_SEARCH,
    LIST_SINCE,
    LIST_UNTIL,
    LIST_LIMIT,
    LIST_AFTER
};
static const struct api_param list_params[] = {
    [LIST_STATUS] = {"status", API_TEXT, 0, 0,    0,   false},
    [LIST_URL] = {"url",    API_TEXT, 0, 0,    0,   false},
    [LIST_WATCH] = {"watch",  API_TEXT, 0, 0,    0,   false},
    [LIST_SEARCH] = {"search", API_TEXT, 0, 0,    0,   false},
    [LIST_SINCE] = {"since",  API_TIME, 0, 0,    0,   false},
    [LIST_UNTIL] = {"until",  API_TIME, 0, 0,    0,   false},
    [LIST_LIMIT] = {"limit",  API_INT,  1, 1000, 100, false},
    [LIST_AFTER] = {"after",  API_TEXT, 0, 0,    0,   false},
    {NULL,     API_INT,  0, 0,    0,   false},
};

static void put_event(struct api_call *call, const PGresult *rows, int row)
{
    put_members(call, shown, rows, row);
}

static const struct api_page page = {.key = "events",
    .limit = LIST_LIMIT,
    .id = VIEW_ID,
    .place = VIEW_ID,
    .place_id = -1,
    .edge = VIEW_EDGE,
    .edge_id = -1,
    .put = put_event};

static void list_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
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
    static const char *const words[] = {
        "queued", "in_progress", "completed", "superseded", "failed", NULL};
    const struct api_value *v = call->values;
    struct view_events q = {.status = v[LIST_STATUS].text,
        .url = v[LIST_URL].text,
        .watch = v[LIST_WATCH].text,
        .search = v[LIST_SEARCH].text,
        .since = api_page_time(&v[LIST_SINCE]),
        .until = api_page_time(&v[LIST_UNTIL]),
        .limit = (int)v[LIST_LIMIT].n};
    if (api_page_word(call, LIST_STATUS, words) &&
        api_page_after(call, LIST_AFTER, &q.before, NULL))
        view_events(call->stores->reads, &q, list_read, call);
}

const struct api_route api_events_list = {.params = list_params, .go = list_go};

/* --- one event --------------------------------------------------------------------------- */

/* False: the path names neither, so there is no such event. */
static bool read_key(struct api_call *call, struct view_key *key)
{
    return api_page_event(api_place(call, "id"), key);
}

static void not_found(struct api_call *call)
{
    api_detail(call, 404, NOT_FOUND, api_place(call, "id"));
}

static void timeline_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        put_members(call, moment, rows, row);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void event_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        not_found(call);
        return;
    }
    buf_putc(&call->out, '{');
    put_members(call, shown, rows, 0);
    put_members(call, shown_alone, rows, 0);
    buf_puts(&call->out, ",\"timeline\":[");
    const struct view_key key = {.row_id = db_int(rows, 0, VIEW_ID)};
    view_timeline(call->stores->reads, &key, timeline_read, call);
}

static void get_go(struct api_call *call)
{
    struct view_key key;
    if (read_key(call, &key))
        view_event(call->stores->reads, &key, event_read, call);
    else
        not_found(call);
}

const struct api_route api_events_get = {.go = get_go};

/* --- tried again ------------------------------------------------------------------------- */

static void put_queued(struct api_call *call, const PGresult *rows)
{
    log_info("event_retried", LOG_S("event_id", db_text(rows, 0, RETRY_EVENT_ID)),
        LOG_I("change_event_id", db_int(rows, 0, RETRY_ROW_ID)),
        LOG_S("was", db_text(rows, 0, RETRY_STATUS_BEFORE)),
        LOG_S("request_id", api_request_id(call)));
    buf_puts(&call->out, "{\"status\":\"queued\"");
    api_put_text(call, "event_id", rows, 0, RETRY_EVENT_ID);
    api_put_int(call, "change_event_id", rows, 0, RETRY_ROW_ID);
    buf_putc(&call->out, '}');
}

/* Nobody waits for Redis: the row is queued. */
static void retried(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
    } else if (PQntuples(rows) == 0) {
        api_put_detail(call, NOT_FOUND, api_place(call, "id"));
        api_act_reply(call, 404, 0, "no such event");
    } else if (*db_text(rows, 0, RETRY_DONE) != 't') {
        const char *was = db_text(rows, 0, RETRY_STATUS_BEFORE);
        api_put_detail(call, "Event is %s; only failed events can be retried",
            *was ? was : "without a status");
        api_act_reply(call, 409, 0, "had not failed");
    } else {
        publish_row(call->stores, rows, 0, NULL, NULL);
        put_queued(call, rows);
        api_act_reply(call, 202, 1, "done");
    }
}

static void retry_now(struct api_call *call)
{
    struct view_key key;
    if (read_key(call, &key))
        view_retry(call->stores->store, &key, retried, call);
}

static void retry_go(struct api_call *call)
{
    struct view_key key;
    struct buf detail = {0};
    if (!read_key(call, &key)) {
        not_found(call);
        return;
    }
    buf_putc(&detail, '{');
    json_put_text(&detail, "event", api_place(call, "id"));
    buf_putc(&detail, '}');
    api_act_begin(call, "events retry", NULL, buf_str(&detail), retry_now);
    buf_release(&detail);
}

const struct api_route api_events_retry = {.go = retry_go};
