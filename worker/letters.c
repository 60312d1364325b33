/* letters: see letters.h. */
#include "worker/letters.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum { MAX_LETTERS = 1000 };

struct letters {
    struct queue *queue;
    struct list kept;
};

struct letter {
    struct list_node node;
    struct letters *letters;
    struct queue_req req;
    struct change_event ev;
    char *reason;
};

static void letter_free(struct letter *l)
{
    event_release(&l->ev);
    free(l->reason);
    free(l);
}

void letters_report(const struct change_event *ev, const char *reason)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&ev->id, id);
    log_error("dead_letter_not_written", LOG_S("event_id", id), LOG_S("reason", reason));
}

void letters_keep(struct letters *ls, const struct change_event *ev, const char *reason)
{
    if (ls->kept.len >= MAX_LETTERS) {
        letters_report(ev, reason);
        return;
    }
    struct letter *l = mem_new(struct letter);
    l->letters = ls;
    event_copy(&l->ev, ev);
    l->reason = mem_strdup(reason);
    list_push(&ls->kept, &l->node);
}

static void sent(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct letter *l = req->ctx;
    (void)err;
    if (rc == HL_RETRY || rc == HL_UNSURE) {
        list_push(&l->letters->kept, &l->node);
        return;
    }
    if (rc != HL_OK)
        letters_report(&l->ev, l->reason);
    letter_free(l);
}

void letters_send(struct letters *ls)
{
    for (struct list_node *n; (n = list_pop(&ls->kept));) {
        struct letter *l = LIST_OF(n, struct letter, node);
        l->req = (struct queue_req){.ev = &l->ev, .reason = l->reason, .done = sent, .ctx = l};
        queue_do(ls->queue, QUEUE_BURY, &l->req);
    }
}

struct letters *letters_new(struct queue *q)
{
    struct letters *ls = mem_new(struct letters);
    ls->queue = q;
    list_init(&ls->kept);
    return ls;
}

void letters_free(struct letters *ls)
{
    if (!ls)
        return;
    for (struct list_node *n; (n = list_pop(&ls->kept));) {
        struct letter *l = LIST_OF(n, struct letter, node);
        letters_report(&l->ev, l->reason);
        letter_free(l);
    }
    free(ls);
}
