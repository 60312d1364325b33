/* api_fleet: GET /api/queues and GET /api/workers: how the fleet is. Each is a row of questions, one
 * after the other. */
#include "base/json.h"
#include "base/mem.h"
#include "domain/store_view.h"
#include "producer/api.h"
#include "producer/api_page.h"
#include "producer/api_queues.h"
#include "producer/api_views.h"

#include <string.h>

/* --- queues ------------------------------------------------------------------------------ */

enum { CHANGE = TAKES_CHANGE, CRAWL = TAKES_CRAWL, NQUEUES = TAKES_NQUEUES };
static const char *const names[NQUEUES] = {[CHANGE] = "change", [CRAWL] = "crawl"};

static void put_number(struct buf *b, const char *key, bool known, int64_t n)
{
    json_put_key(b, key);
    if (known && n >= 0)
        buf_printf(b, "%lld", (long long)n);
    else
        buf_puts(b, "null");
}

static void put_queue(struct buf *b, const char *name, const struct api_queue *q)
{
    json_put_key(b, name);
    buf_putc(b, '{');
    put_number(b, "length", q->counted, q->stats.length);
    put_number(b, "pending", q->counted, q->stats.pending);
    put_number(b, "lag", q->counted, q->stats.lag);
    put_number(b, "later", q->counted, q->stats.later);
    put_number(b, "dead", q->counted, q->stats.dead);
    json_put_key(b, "paused");
    buf_puts(b, q->paused ? "true" : "false");
    put_number(b, "oldest_age_ms", true, q->oldest_age_ms);
    buf_putc(b, '}');
}

static void spools_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, ",\"spools\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        api_put_text(call, "host", rows, row, 0);
        api_put_int(call, "bytes", rows, row, 1);
        api_put_int(call, "segments", rows, row, 2);
        api_put_iso(call, "seen_at", rows, row, 3);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

void api_queues_put(const struct api_queues_look *q, struct buf *b)
{
    buf_printf(b, "\"redis\":%s,\"queues\":{", q->redis ? "true" : "false");
    for (int i = 0; i < NQUEUES; i++)
        put_queue(b, names[i], &q->one[i]);
    buf_putc(b, '}');
}

static void put_queues(struct api_call *call)
{
    buf_putc(&call->out, '{');
    api_queues_put(call->own, &call->out);
    view_spools(call->stores->reads, spools_read, call);
}

static void ask_redis(struct api_call *call);

static void counted(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct api_queues_look *q = call->own;
    (void)err;
    q->redis = rc == HL_OK;
    if (rc != HL_OK) { /* no second deadline for the other one */
        q->one[CHANGE].counted = false;
        q->seen(call);
        return;
    }
    q->one[q->at].counted = true;
    q->one[q->at++].stats = *stats;
    ask_redis(call);
}

static void ask_redis(struct api_call *call)
{
    struct api_queues_look *q = call->own;
    struct queue *const queues[NQUEUES] = {
        [CHANGE] = call->stores->queue, [CRAWL] = call->stores->crawl_queue};
    if (q->at < NQUEUES && queues[q->at])
        queue_stats(queues[q->at], counted, call);
    else
        q->seen(call);
}

static void queues_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct api_queues_look *q = call->own;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    for (int row = 0; row < PQntuples(rows); row++)
        for (int i = 0; i < NQUEUES; i++)
            if (strcmp(names[i], db_text(rows, row, 0)) == 0) {
                q->one[i].paused = *db_text(rows, row, 1) == 't';
                q->one[i].oldest_age_ms = PQgetisnull(rows, row, 2) ? -1 : db_int(rows, row, 2);
            }
    ask_redis(call);
}

void api_queues_ask(struct api_call *call, void (*seen)(struct api_call *call))
{
    struct api_queues_look *q = call->own;
    q->seen = seen;
    for (int i = 0; i < NQUEUES; i++)
        q->one[i].oldest_age_ms = -1;
    view_queues(call->stores->reads, queues_read, call);
}

static void queues_go(struct api_call *call)
{
    call->own = mem_new(struct api_queues_look);
    api_queues_ask(call, put_queues);
}

const struct api_route api_queues = {.go = queues_go};

/* --- workers ----------------------------------------------------------------------------- */

static void crashes_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "],\"crashes\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        int col = 0;
        api_page_item(call);
        api_put_text(call, "worker", rows, row, col++);
        api_put_text(call, "host", rows, row, col++);
        api_put_int(call, "pid", rows, row, col++);
        api_put_text(call, "role", rows, row, col++);
        api_put_int(call, "signal", rows, row, col++);
        api_put_int(call, "exit_code", rows, row, col++);
        api_put_text(call, "cause", rows, row, col++);
        api_put_bool(call, "blamed", rows, row, col++);
        api_put_int(call, "max_rss_kb", rows, row, col++);
        api_put_int(call, "lived_ms", rows, row, col++);
        api_put_json(call, "held", rows, row, col++);
        api_put_iso(call, "crashed_at", rows, row, col++);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

/* What the process told of itself last. */
static void put_status(struct api_call *call, const PGresult *rows, int row)
{
    int col = 8;
    api_put_text(call, "phase", rows, row, col++);
    api_put_int(call, "jobs", rows, row, col++);
    api_put_int(call, "crawls", rows, row, col++);
    api_put_int(call, "oldest_ms", rows, row, col++);
    api_put_int(call, "rss_kb", rows, row, col++);
    api_put_int(call, "done", rows, row, col++);
    api_put_int(call, "restarts", rows, row, col++);
    api_put_json(call, "pool", rows, row, col++);
    api_put_json(call, "paused", rows, row, col++);
}

static void workers_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"workers\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        api_put_text(call, "id", rows, row, 0);
        api_put_text(call, "host", rows, row, 1);
        api_put_int(call, "pid", rows, row, 2);
        api_put_text(call, "state", rows, row, 3);
        api_put_iso(call, "started_at", rows, row, 4);
        api_put_iso(call, "seen_at", rows, row, 5);
        api_put_int(call, "in_progress", rows, row, 6);
        api_put_text(call, "orders", rows, row, 7);
        put_status(call, rows, row);
        buf_putc(&call->out, '}');
    }
    view_crashes(call->stores->reads, crashes_read, call);
}

static void workers_go(struct api_call *call)
{
    view_workers(call->stores->reads, workers_read, call);
}

const struct api_route api_workers = {.go = workers_go};
