/* store_events: what operators look for among events, and do to them, many at a time. cb as in
 * store.h; times are microseconds since 1970 UTC. */
#ifndef HL_DOMAIN_STORE_EVENTS_H
#define HL_DOMAIN_STORE_EVENTS_H

#include "domain/store.h"

#define STORE_RETRY_MAX 100 /* events of one store_retry */

/* A failed event as somebody saw it. */
struct store_failed {
    int64_t id;          /* of its row */
    int64_t finished_at; /* 0 = none, as in rows of the replaced service */
};
/* Failed events become queued again, as if they had never been tried, unless something happened to
 * them since they were seen. by: who wants it ("operator"), for the row. At most STORE_RETRY_MAX. One
 * row for each that is queued now: columns of an event (store_event), then its row id. */
enum { STORE_RETRIED_ID = 8 };
void store_retry(struct store *s, const struct store_failed *events, size_t n, const char *by,
    store_cb *cb, void *ctx);

/* Events in progress on which nobody works any more, or for too long; the oldest first. */
enum zombie_col {
    ZOMBIE_ID,
    ZOMBIE_EVENT_ID,
    ZOMBIE_URL,
    ZOMBIE_WHY, /* enum-like word: dead, gone, late, silent, unowned */
    ZOMBIE_REAPABLE,
    ZOMBIE_CLAIMED_AT,
    ZOMBIE_CLAIMED_BY,
    ZOMBIE_EPOCH,
    ZOMBIE_STARTS,
    ZOMBIE_SUSPECT,
    ZOMBIE_HOST, /* of its worker, where that has a row, */
    ZOMBIE_SEEN, /* and when it was heard of last */
};
/* limits: as for store_reap, which takes those that are reapable: their worker is declared dead or
 * has no row (gone), or they are late. The others are for people: the worker has been silent for two
 * leases, but nobody has declared it dead; or the row, of the replaced service, names none. */
void store_zombies(
    struct store *s, const struct store_limits *limits, int max, store_cb *cb, void *ctx);

/* Everything that PostgreSQL knows of what happened to an event, be it a row of webhook.change_events
 * or one of Firecrawl's (then also by the id of one of its documents): the row, the requests and steps
 * that were measured, processes that died with it, what operators did to it, its document. No row:
 * nothing is known of it. Oldest first; at most TRACE_ROWS. */
#define TRACE_ROWS 1000
enum trace_col {
    TRACE_AT,    /* NULL = it has no time of its own */
    TRACE_PLACE, /* row, request, metrics, crash, operator, index, crawl */
    TRACE_WHAT,
    TRACE_BY,
    TRACE_EPOCH,
    TRACE_DURATION_MS,
    TRACE_SUCCESS,
    TRACE_HTTP_STATUS,
    TRACE_DETAIL,
};
struct store_trace {       /* borrowed */
    const char *event_id;  /* text of a UUID; NULL: */
    int64_t row_id;        /* by this */
    const char *canonical; /* URL under which its document would be; NULL = unknown */
};
void store_trace(struct store *s, const struct store_trace *t, store_cb *cb, void *ctx);

#endif
