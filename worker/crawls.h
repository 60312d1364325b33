/* crawls: the crawl jobs of a worker process: reads them from their queue, runs
 * WEBHOOK_CRAWL_CONCURRENCY of them side by side, gives back what it has not begun. It has its own
 * connections to Redis, since its jobs may be large. */
#ifndef HL_WORKER_CRAWLS_H
#define HL_WORKER_CRAWLS_H

#include "base/config.h"
#include "worker/wires.h"

struct crawls;

struct crawls_conf { /* borrowed, wires and cfg for its whole life */
    struct wires *wires;
    const struct config *cfg;
    const char *instance;          /* consumer of the group */
    bool (*may_work)(void *ctx);   /* read now? Otherwise it asks again in a moment */
    bool (*takes_work)(void *ctx); /* false: what a read under way still brings goes back */
    void (*idle)(void *ctx);       /* nothing is in flight any more */
    void *ctx;
};
struct crawls *crawls_new(const struct crawls_conf *conf, struct hl_err *err);
/* NULL ok. Only while settled, before the wires are closed; requests under way are forgotten. */
void crawls_free(struct crawls *cs);

void crawls_read(struct crawls *cs); /* work may be taken now */
bool crawls_idle(const struct crawls *cs);
bool crawls_settled(
    const struct crawls *cs);         /* idle, and no answer is awaited for what was let go */
void crawls_abort(struct crawls *cs); /* what runs lets go; crawls_idle soon */
/* While idle: reads no more and gives its entries back to the queue; done runs from the loop. */
void crawls_leave(struct crawls *cs, void (*done)(void *ctx), void *ctx);
size_t crawls_jobs(const struct crawls *cs);
void crawls_log(const struct crawls *cs); /* a line about itself */

#endif
