/* publish: see publish.h. */
#include "producer/publish.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct publication {
    struct stores *stores;
    struct change_event ev;
    struct queue_req req;
    void (*done)(void *ctx);
    void *ctx;
};

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct publication *p = req->ctx;
    if (rc != HL_OK)
        log_warn("retry_not_published", LOG_S("error", err->msg));
    if (p->done)
        p->done(p->ctx);
    event_release(&p->ev);
    stores_intake_ends(p->stores);
    free(p);
}

bool publish_row(
    struct stores *s, const PGresult *rows, int row, void (*done)(void *ctx), void *ctx)
{
    struct publication *p = mem_new(struct publication);
    if (!stores_redis_ready(s) || !store_event(rows, row, &p->ev)) {
        free(p);
        return false;
    }
    p->stores = s;
    p->req = (struct queue_req){.ev = &p->ev, .done = published, .ctx = p};
    p->done = done;
    p->ctx = ctx;
    stores_intake_begins(s);
    queue_do(s->queue, QUEUE_PUBLISH, &p->req);
    return true;
}
