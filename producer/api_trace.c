/* api_trace: GET /api/events/{id}/trace: everything that PostgreSQL and Redis know of one event, as
 * `hooklinectl events trace` tells it. The row comes first: it says where else to look. */
#include "base/json.h"
#include "base/mem.h"
#include "base/timestamp.h"
#include "base/url.h"
#include "base/uuid.h"
#include "domain/store_view.h"
#include "domain/trail.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_views.h"

#include <stdlib.h>
#include <string.h>

struct look {
    struct in_redis {
        struct api_call *call;
        struct trail_queue *queue;
    } redis[TRAIL_NQUEUES];
    struct trail_queue queues[TRAIL_NQUEUES];
    struct trail trail;
    struct view_key key;
    bool has_id;
    struct uuid id;
    int64_t created_us;          /* 0 = not known */
    char *row_id, *url, *status; /* of the row; NULL = none */
};

static void look_release(struct look *l)
{
    trail_release(&l->trail);
    free(l->row_id);
    free(l->url);
    free(l->status);
}

/* --- the answer -------------------------------------------------------------------------- */

static void put_raw(struct buf *b, const char *key, const char *value)
{
    json_put_key(b, key);
    buf_puts(b, value ? value : "null");
}

static void put_moment(struct buf *b, const struct trail_moment *m)
{
    char at[TIMESTAMP_ISO_LEN + 1];
    const char *success = m->cells[TRACE_SUCCESS];
    if (m->at != INT64_MAX)
        timestamp_iso(m->at, at);
    json_put_text(b, "at", m->at == INT64_MAX ? NULL : at);
    json_put_text(b, "place", m->cells[TRACE_PLACE]);
    json_put_text(b, "what", m->cells[TRACE_WHAT]);
    json_put_text(b, "by", m->cells[TRACE_BY]);
    put_raw(b, "epoch", m->cells[TRACE_EPOCH]);
    put_raw(b, "duration_ms", m->cells[TRACE_DURATION_MS]);
    put_raw(b, "success", !success ? NULL : *success == 't' ? "true" : "false");
    put_raw(b, "http_status", m->cells[TRACE_HTTP_STATUS]);
    json_put_text(b, "detail", m->cells[TRACE_DETAIL]);
}

static void put_trail(struct api_call *call, const struct look *l)
{
    struct buf *b = &call->out;
    char id[UUID_STRLEN + 1];
    if (l->has_id)
        uuid_format(&l->id, id);
    buf_putc(b, '{');
    json_put_text(b, "event_id", l->has_id ? id : NULL);
    put_raw(b, "change_event_id", l->row_id);
    json_put_text(b, "status", l->status && *l->status ? l->status : NULL);
    json_put_text(b, "watch_url", l->url);
    buf_puts(b, ",\"trace\":[");
    for (size_t i = 0; i < l->trail.n; i++) {
        api_page_item(call);
        put_moment(b, &l->trail.moments[i]);
        buf_putc(b, '}');
    }
    buf_puts(b, "],\"not_asked\":[");
    for (size_t i = 0; i < l->trail.nholes; i++) {
        if (i)
            buf_putc(b, ',');
        json_put_string(b, l->trail.holes[i]);
    }
    buf_puts(b, "]}");
}

static void tell(struct api_call *call)
{
    struct look *l = call->own;
    bool known = l->trail.n || l->trail.nholes;
    if (l->has_id)
        trail_redis(&l->trail, l->queues, l->status);
    known |= l->trail.n > 0;
    trail_sort(&l->trail);
    if (known)
        put_trail(call, l);
    look_release(l);
    if (known)
        api_reply(call, 200);
    else
        api_detail(call, 404, "Nobody knows an event: %s", api_place(call, "id"));
}

static void answered(struct api_call *call)
{
    if (--call->pending == 0)
        tell(call);
}

/* --- the questions ----------------------------------------------------------------------- */

static void moments_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct look *l = call->own;
    if (rc == HL_OK)
        trail_rows(&l->trail, rows);
    else
        trail_hole(&l->trail, "PostgreSQL", err);
    answered(call);
}

static void ask_store(struct api_call *call, struct look *l)
{
    struct buf canonical = {0};
    bool known = l->url && url_canonical(l->url, &canonical);
    const struct store_trace q = {.event_id = l->key.event_id,
        .row_id = l->key.row_id,
        .canonical = known ? buf_str(&canonical) : NULL};
    store_trace(call->stores->reads, &q, moments_read, call);
    buf_release(&canonical);
}

static void traced(
    enum hl_rc rc, const struct queue_traced *found, const struct hl_err *err, void *ctx)
{
    struct in_redis *r = ctx;
    r->queue->known = rc == HL_OK;
    if (r->queue->known)
        r->queue->found = *found;
    else
        r->queue->err = *err;
    answered(r->call);
}

static void ask_redis(struct api_call *call, struct look *l)
{
    struct queue *const queues[TRAIL_NQUEUES] = {call->stores->queue, call->stores->crawl_queue};
    for (int i = 0; i < TRAIL_NQUEUES; i++) {
        l->redis[i] = (struct in_redis){.call = call, .queue = &l->queues[i]};
        queue_trace(queues[i], &l->id, trail_letters_since(l->created_us), traced, &l->redis[i]);
    }
}

static void take_row(struct look *l, const PGresult *rows)
{
    l->row_id = mem_strdup(db_text(rows, 0, VIEW_ID));
    l->url = mem_strdup(db_text(rows, 0, VIEW_WATCH_URL));
    l->status = mem_strdup(db_text(rows, 0, VIEW_STATUS));
    l->created_us = db_int(rows, 0, VIEW_CREATED);
    l->has_id |= uuid_parse(db_text(rows, 0, VIEW_EVENT_ID), &l->id);
}

/* All are counted before the first is asked: an answer may come at once. */
static void row_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct look *l = call->own;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows))
        take_row(l, rows);
    call->pending = 1 + (l->has_id ? TRAIL_NQUEUES : 0);
    if (l->has_id)
        ask_redis(call, l);
    ask_store(call, l);
}

static void go(struct api_call *call)
{
    struct look *l = mem_new(struct look);
    call->own = l;
    if (!api_page_event(api_place(call, "id"), &l->key)) {
        api_detail(call, 404, "No event can have this id: %s", api_place(call, "id"));
        return;
    }
    l->has_id = l->key.event_id && uuid_parse(l->key.event_id, &l->id);
    view_event(call->stores->reads, &l->key, row_read, call);
}

const struct api_route api_events_trace = {.go = go};
