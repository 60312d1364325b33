/* session: a verb's connection to an installation: one loop with PostgreSQL and Redis on it. A
 * verb asks all its questions at once (store_*, queue_* with session_answered's bookkeeping) and
 * waits for the answers. */
#ifndef HL_WORKER_CTL_SESSION_H
#define HL_WORKER_CTL_SESSION_H

#include "base/config.h"
#include "domain/queue.h"
#include "domain/store.h"
#include "worker/ctl/ctl.h"

struct session {
    const struct config *cfg; /* borrowed */
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
/* For readers: loads the settings, opens s, ctl_watch(show), closes it; an exit code. */
int session_watch(
    const struct ctl_args *args, struct session *s, int (*show)(void *ctx), void *ctx);
/* Before a question is asked, and when its answer is there. */
void session_asked(struct session *s);
void session_answered(struct session *s);
/* Runs until every question is answered; each has a deadline of its own. */
void session_wait(struct session *s);
/* The same, no longer than until then (clock_mono_ms): what is not answered by then fails, and the
 * session has new connections. False when that was so. */
bool session_wait_until(struct session *s, int64_t until_ms);
/* The loop goes on for so long. */
void session_pause(struct session *s, int64_t ms);
/* Redis (which has answered) forgets keys when it is full; says so. */
bool session_redis_evicts(const struct session *s);

/* The answer of one question to the store, kept:
 *
 *     struct answer a = {.session = s};
 *     view_workers(s->store, answer_keep, answer_asked(&a));
 *     session_wait(s);
 *     if (a.rc != HL_OK) ... a.err;  a.rows
 *     answer_release(&a); */
struct answer {
    struct session *session;
    enum hl_rc rc;
    struct hl_err err;
    PGresult *rows; /* NULL unless HL_OK */
};
struct answer *answer_asked(struct answer *a);
store_cb answer_keep;
/* session_wait, for a single one; CTL_OK, or the exit code after saying what went wrong. */
int answer_wait(struct answer *a);
void answer_release(struct answer *a);

/* user@host, as far as they are known; caller frees. */
char *operator_name(void);

/* What an operator does is written to webhook.operator_log before it is done (a failure there means
 * that it must not be), and what came of it afterwards. */
struct oplog {
    int64_t id;
};
/* detail: a JSON object, borrowed; NULL = {}. CTL_OK, or the exit code after saying why. */
int oplog_begin(
    struct session *s, const struct ctl_args *args, const char *detail, struct oplog *log);
/* outcome: "done", or what went wrong; affected: how many things were changed. */
int oplog_end(struct session *s, const struct oplog *log, int64_t affected, const char *outcome);

#endif
