/* session: a verb's connection to an installation: one loop with PostgreSQL and Redis on it. A
 * verb asks all its questions at once (store_*, queue_* with session_answered's bookkeeping) and
 * waits for the answers. */
#ifndef HL_WORKER_CTL_SESSION_H
#define HL_WORKER_CTL_SESSION_H

#include "base/config.h"
#include "domain/queue.h"
#include "domain/store.h"

struct session {
    struct loop *loop;
    struct offload *offload;
    struct dbpool *pool;
    struct store *store;
    struct redis *redis;
    struct queue *queue, *crawl_queue;
    int open; /* questions not answered yet */
};

enum hl_rc session_open(struct session *s, const struct config *cfg, struct hl_err *err);
void session_close(struct session *s);
/* Before a question is asked, and when its answer is there. */
void session_asked(struct session *s);
void session_answered(struct session *s);
/* Runs until every question is answered; each has a deadline of its own. */
void session_wait(struct session *s);

#endif
