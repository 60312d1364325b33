/* spool_push: works off the segments in a folder that no living process holds: change events into
 * PostgreSQL and Redis, Firecrawl's into Redis, as a producer would have. A record leaves the folder
 * after it is safe, and may be pushed any number of times. */
#ifndef HL_WORKER_CTL_SPOOL_PUSH_H
#define HL_WORKER_CTL_SPOOL_PUSH_H

#include "worker/ctl/session.h"

struct push {
    struct session *session; /* borrowed */
    const char *dir;
    void (*progress)(struct push *p); /* after each window; NULL ok */
    void *ctx;

    int64_t change, crawl; /* records of each queue that have gone home */
    int64_t known;         /* of them, those that were there before */
    int64_t unpublished;   /* of them, those that Redis did not take: the janitor publishes them */
    int64_t buried;        /* records that became dead letters */
    int64_t cut_bytes;     /* damaged bytes, now in NAME.cut */

    bool skipped; /* private: a record of a newer release was met */
};

/* One kind: HL_OK, also when a segment is left that cannot be read here; else what went wrong. */
enum hl_rc push_change(struct push *p, struct hl_err *err);
enum hl_rc push_crawl(struct push *p, struct hl_err *err);

#endif
