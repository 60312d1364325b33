/* store_crawl: what the events of a crawl leave in PostgreSQL. Each event is one request of a batch
 * (io/batch.h); one transaction for all that came meanwhile: the sessions' locks, in order; the rows of
 * events, pages, contents and documents, each at most once; then every session concerned is computed
 * anew from what is kept of it (sql/011). So any order of delivery, with any repetition, ends in the
 * same rows. Reference contract sections 2.2, 5.5 and 7.2. */
#ifndef HL_DOMAIN_STORE_CRAWL_H
#define HL_DOMAIN_STORE_CRAWL_H

#include "base/crawl_event.h"
#include "domain/store.h"

struct store_crawl_page { /* all borrowed; texts are UTF-8 without NUL; NULL = SQL NULL */
    const char *url;      /* as indexed and counted */
    const char *source_url, *scrape_id;
    int64_t status_code;
    const char *error; /* why it is not indexed; NULL = it is */
    const char *markdown, *html;
    const char *metadata; /* JSON object: the known members of the document's, nulls included */
    struct store_document doc; /* text NULL = goes into no index */
};

/* Zero-initialised but for what is set; borrowed until done has run. done as in store_req: HL_FATAL:
 * PostgreSQL refuses a value of it for good; with one page at a time it tells which. */
struct store_crawl {
    struct store_req req;
    struct uuid event_id;
    const char *crawl_id; /* NULL: of no crawl; only recorded */
    const char *type, *family;
    enum crawl_kind kind;
    int64_t received_at;  /* microseconds since 1970 UTC */
    int64_t initiated_at; /* likewise; 0 = not known */
    bool success, reconciled;
    const char *error;    /* NULL = none */
    const char *metadata; /* JSON object, the caller's; NULL = none */
    const char *base_url; /* metadata.url; NULL = none */
    int64_t documents;    /* in the whole event, pages here or not */
    const struct store_crawl_page *pages;
    size_t npages;
    bool known;     /* out: the event had been recorded before */
    int64_t stored; /* out: contents that were new */
};
void store_crawl(struct store *s, struct store_crawl *c);
size_t store_crawl_bytes(const struct store_crawl_page *p); /* about what it sends */

/* --- asking Firecrawl (WEBHOOK_CRAWL_RECONCILE) ------------------------------------------ */

/* Sets the time at which a session may be asked about: ended ones soon, silent ones after quiet_ms.
 * Bounded, cheap when there is nothing to do. */
void store_crawl_due(struct store *s, int64_t quiet_ms, store_cb *cb, void *ctx);
/* Takes one session whose time has come: nobody else gets it for lease_ms. One row (job_id,
 * operation_type, status, tries, this one included, since it ended), or none: always, while the queue
 * of crawl jobs is fenced. */
void store_crawl_take(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);
/* Which of these scrape ids (text of a text array) and URLs the crawl has pages of: place in the
 * arrays, from 1, of those it has not. The first row is 0 when the queue of crawl jobs is fenced. */
void store_crawl_missing(struct store *s, const char *crawl_id, const char *scrape_ids,
    const char *urls, store_cb *cb, void *ctx);
/* What Firecrawl said: so many pages in all (-1 = nothing); it is asked again in again_ms (-1 =
 * never). */
void store_crawl_asked(struct store *s, const char *crawl_id, int64_t reported, int64_t again_ms,
    store_cb *cb, void *ctx);

/* Retention: one step of at most max sessions that ended more than days ago, with their events,
 * pages and contents, and of as many events of no crawl. Deleted; repeat until it is 0. */
void store_prune_crawls(struct store *s, int64_t days, int max, store_cb *cb, void *ctx);

#endif
