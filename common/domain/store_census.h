/* store_census: what PostgreSQL knows of work that is not done, and of who might bring more; and how
 * a drain hastens it. Each is one statement and so one snapshot; times are microseconds since 1970 UTC,
 * ages ms of the server's clock. All texts are borrowed during the call; cb as in store.h. */
#ifndef HL_DOMAIN_STORE_CENSUS_H
#define HL_DOMAIN_STORE_CENSUS_H

#include "domain/store.h"

/* Unfinished events, and what changes whenever anything happened. One row. */
enum census_col {
    CENSUS_DUE,      /* queued, may run now */
    CENSUS_LATER,    /* queued, for a later attempt */
    CENSUS_NEXT_DUE, /* the first of those; NULL = none */
    CENSUS_IN_PROGRESS,
    CENSUS_ORPHANED,     /* of those: the owner is dead, or gone */
    CENSUS_SUSPECTS,     /* unfinished, for a solo process only */
    CENSUS_UNIDENTIFIED, /* unfinished rows of the replaced service, without an event id yet */
    CENSUS_OLDEST,       /* created_at of the oldest unfinished; NULL = none */
    CENSUS_CLOCK,        /* webhook.scrape_clock: each acceptance and each claim moves it */
    CENSUS_SERIAL,       /* last row id given; NULL = may not be read */
    CENSUS_SERVER,       /* when this server started, and the database's oid */
    CENSUS_STANDBY,      /* 't': it replays another server's log, and may be behind */
    CENSUS_GENERATION,   /* of the queue of changes */
    CENSUS_ANNOUNCED,    /* 't': Redis was told of it */
    CENSUS_GENERATION_CRAWL,
    CENSUS_NOW,
    CENSUS_CRAWLS_TO_ASK, /* sessions about which Firecrawl is still to be asked */
};
void store_census(struct store *s, store_cb *cb, void *ctx);

/* Who and what there is: one row each, CENSUS_MEMBERS at most. */
#define CENSUS_MEMBERS 10000
enum census_member_col {
    MEMBER_WHAT, /* 'spool', 'producer', 'worker', 'upstream', 'queue' */
    MEMBER_NAME, /* segment; id; id; host; queue */
    MEMBER_HOST, /* spool, producer, worker */
    MEMBER_TEXT, /* spool: folder; producer: queues that it refuses, by commas; worker: what it does
                 * ('working', 'quiet', ...), NULL = not told; upstream: state */
    MEMBER_AGE, /* since it was seen; queue: since it was paused, NULL = is not; upstream: until it may
                 * be tried */
    MEMBER_N, /* spool, producer (of changes): bytes in it; upstream: failures; worker: jobs in progress; queue: ms
                 * since it was fenced, NULL = is not */
    MEMBER_BY,           /* queue: who fenced, else paused it */
    MEMBER_CRAWL_BYTES,  /* producer: in its spool of Firecrawl's events */
    MEMBER_MEMORY,       /* producer: changes that it took in and whose end it does not know yet */
    MEMBER_CRAWL_MEMORY, /* the same of Firecrawl's events */
    MEMBER_NOW,          /* of the statement */
};
void store_census_fleet(struct store *s, store_cb *cb, void *ctx);

/* Unfinished events by name, at most `most` of each kind, oldest first: kind ('due', 'later',
 * 'in_progress'), event id (of a row that has none: "row N"), url, since when it is in this state or,
 * later, when it is due; owner or NULL. */
void store_census_names(struct store *s, int most, store_cb *cb, void *ctx);

/* Queued events whose time has not come are due now, at most max of them; a row (event id) for each. */
void store_hasten(struct store *s, int max, store_cb *cb, void *ctx);

#endif
