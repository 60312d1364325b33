/* recrawl: asks Firecrawl what became of its crawls (GET /v2/crawl/{id}, /v2/batch/scrape/{id}),
 * because it does not send a webhook again that was lost. What we never heard of is put on the crawl
 * queue, under the id that its webhook would have had. Ended sessions are asked about soon after
 * their end, silent ones after WEBHOOK_CRAWL_QUIET; one session at a time, with pauses; whose turn
 * it is decides PostgreSQL, so that any number of janitors may do so. */
#ifndef HL_WORKER_RECRAWL_H
#define HL_WORKER_RECRAWL_H

#include "base/config.h"
#include "domain/queue.h"
#include "domain/store_crawl.h"

struct recrawl;

struct recrawl_conf {
    struct loop *loop;
    const struct config *cfg;
    struct store *store;
    struct redis *redis;
    struct queue *queue; /* of kind QUEUE_CRAWL */
};

/* All borrowed. NULL and err: there is no HTTP client to be had. */
struct recrawl *recrawl_new(const struct recrawl_conf *conf, struct hl_err *err);
void recrawl_free(struct recrawl *r); /* NULL ok; not while it is busy; before the loop */

/* NULL ok: nothing happens. Start does nothing where WEBHOOK_CRAWL_RECONCILE is off. */
void recrawl_start(struct recrawl *r);
void recrawl_stop(struct recrawl *r);
/* Requests under way own memory of it. */
bool recrawl_busy(const struct recrawl *r);

#endif
