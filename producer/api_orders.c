/* api_orders: what operators tell the fleet: POST /api/workers/{id}/orders,
 * POST /api/queues/{name}/pause and /resume. */
#include "base/json.h"
#include "base/pgarray.h"
#include "domain/store_orders.h"
#include "producer/api.h"
#include "producer/api_act.h"
#include "producer/api_views.h"

#include <string.h>

/* {"worker":"w1"...}: what the log says, and the answer begins with. */
static void put_place(struct buf *b, const char *key, const char *value)
{
    buf_putc(b, '{');
    json_put_text(b, key, value);
}

/* --- a worker ---------------------------------------------------------------------------- */

enum { ORDER };
static const char *const orders[] = {"quiet", "kick", NULL};
static const struct api_member order_members[] = {
    [ORDER] = {.name = "order",   .type = API_TEXT, .required = true, .words = orders},
    {.name = NULL},
};

static void ordered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        api_put_detail(call, "No living worker: %s", api_place(call, "id"));
        api_act_reply(call, 404, 0, "no living worker");
        return;
    }
    put_place(&call->out, "id", api_place(call, "id"));
    json_put_text(&call->out, "order", call->members[ORDER].text);
    buf_putc(&call->out, '}');
    api_act_reply(call, 200, 1, "done");
}

static void give_order(struct api_call *call)
{
    struct buf ids = {0};
    pgarray_begin(&ids);
    pgarray_text(&ids, api_place(call, "id"));
    store_order(call->stores->reads, pgarray_end(&ids), call->members[ORDER].text, ordered, call);
    buf_release(&ids);
}

static void order_go(struct api_call *call)
{
    struct buf detail = {0};
    const char *order = call->members[ORDER].text;
    put_place(&detail, "worker", api_place(call, "id"));
    json_put_text(&detail, "order", order);
    buf_putc(&detail, '}');
    api_act_begin(call, "workers order", NULL, buf_str(&detail), give_order);
    buf_release(&detail);
}

const struct api_route api_workers_orders = {.members = order_members, .go = order_go};

/* --- a queue ----------------------------------------------------------------------------- */

enum { REASON };
static const struct api_member pause_members[] = {
    [REASON] = {.name = "reason", .type = API_TEXT, .max = 1000},
    {.name = NULL    },
};

static bool is_pause(const struct api_call *call)
{
    return call->entry->route == &api_queues_pause;
}

static void told(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    put_place(&call->out, "queue", api_place(call, "name"));
    buf_printf(&call->out, ",\"paused\":%s,\"changed\":%s}", is_pause(call) ? "true" : "false",
        PQntuples(rows) ? "true" : "false");
    api_act_reply(call, 200, PQntuples(rows), "done");
}

static void tell_queue(struct api_call *call)
{
    char operator[API_OPERATOR_LEN + 1];
    struct buf names = {0};
    api_operator(call, operator);
    pgarray_begin(&names);
    pgarray_text(&names, api_place(call, "name"));
    store_pause(call->stores->reads, pgarray_end(&names), is_pause(call), operator, told, call);
    buf_release(&names);
}

static void queue_go(struct api_call *call)
{
    const char *name = api_place(call, "name");
    struct buf detail = {0};
    if (strcmp(name, "change") != 0 && strcmp(name, "crawl") != 0) {
        api_detail(call, 404, "No such queue: %s; there are 'change' and 'crawl'", name);
        return;
    }
    put_place(&detail, "queue", name);
    buf_putc(&detail, '}');
    api_act_begin(call, is_pause(call) ? "pause" : "resume", call->members[REASON].text,
        buf_str(&detail), tell_queue);
    buf_release(&detail);
}

const struct api_route api_queues_pause = {.members = pause_members, .go = queue_go};
const struct api_route api_queues_resume = {.members = pause_members, .go = queue_go};
