/* republish: see republish.h. */
#include "worker/ctl/republish.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct move {
    struct queue_req req;
    struct change_event ev;
    struct republish *republish;
};

static void moved(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct move *m = req->ctx;
    struct republish *r = m->republish;
    if (rc == HL_OK)
        r->moved++;
    else if (r->left++ == 0)
        r->err = *err;
    event_release(&m->ev);
    free(m);
    session_answered(r->session);
}

void republish_row(
    struct republish *r, const PGresult *rows, int row, enum queue_op op, const char *reason)
{
    struct move *m = mem_new(struct move);
    if (r->left || !store_event(rows, row, &m->ev)) {
        r->left++;
        free(m);
        return;
    }
    m->republish = r;
    m->req = (struct queue_req){.ev = &m->ev, .reason = reason, .done = moved, .ctx = m};
    session_asked(r->session);
    queue_do(r->session->queue, op, &m->req);
}

void republish_explain(const struct republish *r)
{
    if (!r->left)
        return;
    fprintf(stderr, "hooklinectl: %lld of them are not in Redis yet; a janitor brings them there",
        (long long)r->left);
    fprintf(stderr, r->err.rc == HL_OK ? ".\n" : ": %s\n", r->err.msg);
}
