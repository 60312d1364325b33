/* crawl_effects: what a crawl job will leave in PostgreSQL: decoded, checked, its pages made ready for
 * the index. Pure; runs in a helper thread, since a job may be large. */
#ifndef HL_WORKER_CRAWL_EFFECTS_H
#define HL_WORKER_CRAWL_EFFECTS_H

#include "base/crawl_job.h"
#include "domain/store_crawl.h"
#include "worker/document.h"

enum { CRAWL_FAMILY_MAX = 64 };

/* What belongs to a page beside its row. */
struct crawl_page {
    struct document doc;
    char *metadata; /* of free() */
    char error[200];
    size_t bytes;    /* of its row, about */
    int64_t took_us; /* to make it ready */
};

struct crawl_effects {
    struct crawl_job job; /* without its body */
    struct crawl_event ev;
    char family[CRAWL_FAMILY_MAX];
    char *metadata; /* of free(); NULL = none */
    int64_t initiated_at;
    struct store_crawl_page *rows; /* these and pages: one for each document */
    struct crawl_page *pages;
    size_t npages;
};

/* index: pages go into the index. HL_FATAL: not a job, or not an event that we know; HL_LOST: of a
 * newer version. Only with HL_OK is *e to be released. */
enum hl_rc crawl_effects_read(
    const void *job, size_t len, bool index, struct crawl_effects *e, struct hl_err *err);
void crawl_effects_release(struct crawl_effects *e); /* zero-initialised ok */

/* The request that writes all of it; borrowed from *e, without done and ctx. */
struct store_crawl crawl_effects_view(const struct crawl_effects *e);

/* What PostgreSQL does not take is left out of that row: it has failed. error: of PostgreSQL. */
void crawl_effects_spoil(struct crawl_effects *e, size_t page, const char *error);

#endif
