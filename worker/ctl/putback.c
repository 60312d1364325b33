/* putback: see putback.h. */
#include "worker/ctl/putback.h"

#include "base/mem.h"
#include "domain/store_failed.h"

#include <stdlib.h>

struct publication {
    struct session *session;
    struct change_event ev;
    struct queue_req req;
    int64_t *missed;
};

static void published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct publication *p = req->ctx;
    (void)err;
    *p->missed += rc != HL_OK;
    session_answered(p->session);
}

/* One that is due later waits in `later`: nobody claims it in vain. */
static void publish(struct publication *p, const PGresult *rows, int row)
{
    p->req.ev = &p->ev;
    p->req.done = published;
    p->req.ctx = p;
    p->req.delay_ms = db_int(rows, row, AGAIN_DELAY_MS);
    session_asked(p->session);
    queue_do(p->session->queue, p->req.delay_ms ? QUEUE_REQUEUE : QUEUE_PUBLISH, &p->req);
}

int64_t putback_publish(struct session *s, const PGresult *rows)
{
    int n = PQntuples(rows);
    struct publication *all = mem_array((size_t)n + 1, sizeof(*all));
    int64_t missed = 0;
    for (int i = 0; i < n; i++) {
        all[i].session = s;
        all[i].missed = &missed;
        if (store_event(rows, i, &all[i].ev))
            publish(&all[i], rows, i);
    }
    session_wait(s);
    for (int i = 0; i < n; i++)
        event_release(&all[i].ev);
    free(all);
    return missed;
}
