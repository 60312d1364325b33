/* putback: see putback.h. */
#include "worker/ctl/putback.h"

#include "base/mem.h"
#include "domain/store_failed.h"

#include <stdio.h>
#include <stdlib.h>

struct move {
    struct queue_req req;
    struct change_event ev;
    struct putback *putback;
};

static void moved(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct move *m = req->ctx;
    struct putback *p = m->putback;
    p->taken += rc == HL_OK;
    p->left += rc != HL_OK;
    if (rc != HL_OK && p->err.rc == HL_OK)
        p->err = *err;
    event_release(&m->ev);
    free(m);
    session_answered(p->session);
}

void putback_row(struct putback *p, const PGresult *rows, int row, enum queue_op op,
    int64_t delay_ms, const char *reason)
{
    struct move *m = mem_new(struct move);
    if (p->err.rc != HL_OK || !store_event(rows, row, &m->ev)) {
        p->left++;
        free(m);
        return;
    }
    m->putback = p;
    m->req = (struct queue_req){
        .ev = &m->ev, .reason = reason, .delay_ms = delay_ms, .done = moved, .ctx = m};
    session_asked(p->session);
    queue_do(p->session->queue, op, &m->req);
}

/* One that is due later waits in `later`: nobody claims it in vain. */
void putback_again(struct putback *p, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        int64_t delay_ms = db_int(rows, row, AGAIN_DELAY_MS);
        if (!PQgetisnull(rows, row, AGAIN_ROW_ID))
            putback_row(p, rows, row, delay_ms ? QUEUE_REQUEUE : QUEUE_PUBLISH, delay_ms, NULL);
    }
    session_wait(p->session);
}

void putback_explain(const struct putback *p)
{
    if (!p->left)
        return;
    fprintf(stderr, "hooklinectl: %lld of them are not in Redis yet; a janitor brings them there",
        (long long)p->left);
    fprintf(stderr, p->err.rc == HL_OK ? ".\n" : ": %s\n", p->err.msg);
}
