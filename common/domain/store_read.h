/* store_read: questions of the API about metrics and crawls, each one statement and so one
 * snapshot; times are microseconds since 1970 UTC. For a store on the API's own connections: the
 * timeout is the store's. All texts are borrowed during the call. */
#ifndef HL_DOMAIN_STORE_READ_H
#define HL_DOMAIN_STORE_READ_H

#include "domain/store.h"

struct store_page {
    int64_t hours; /* rows of so many hours past */
    int64_t limit, offset;
};

/* Requests of the window, newest first, and sums: one row for each on the page, at least one (READ_ID
 * NULL when there is none). The sums are the same in each; READ_TOTAL heeds all filters, the others
 * all but min_duration_ms, and are NULL where there is nothing. */
struct store_requests_query {
    struct store_page page;
    const char *path, *method; /* NULL = any; a method in any case */
    const double *min_duration_ms;
};
enum {
    READ_REQ_TOTAL,
    READ_REQ_COUNT,
    READ_REQ_AVG,
    READ_REQ_MIN,
    READ_REQ_MAX,
    READ_REQ_ID,
    READ_REQ_AT,
    READ_REQ_METHOD,
    READ_REQ_PATH,
    READ_REQ_STATUS,
    READ_REQ_DURATION,
    READ_REQ_REQUEST_ID,
    READ_REQ_CLIENT_IP,
};
void store_read_requests(
    struct store *s, const struct store_requests_query *q, store_cb *cb, void *ctx);

/* Operations of the window, newest first; beside them, in the same rows but independent of them, sums
 * of each type in alphabetical order, which heed hours and type only. At least one row; READ_OP_ID or
 * READ_OP_SUM_TYPE is NULL behind the last of its kind. */
struct store_operations_query {
    struct store_page page;
    const char *type, *name, *document_url; /* NULL = any */
    const bool *success;
};
enum {
    READ_OP_TOTAL,
    READ_OP_ID,
    READ_OP_AT,
    READ_OP_TYPE,
    READ_OP_NAME,
    READ_OP_DURATION,
    READ_OP_SUCCESS,
    READ_OP_ERROR,
    READ_OP_REQUEST_ID,
    READ_OP_JOB_ID,
    READ_OP_URL,
    READ_OP_SUM_TYPE,
    READ_OP_SUM_AVG,
    READ_OP_SUM_MIN,
    READ_OP_SUM_MAX,
    READ_OP_SUM_COUNT,
    READ_OP_SUM_GOOD,
    READ_OP_SUM_BAD,
    READ_OP_SUM_RATE,
};
void store_read_operations(
    struct store *s, const struct store_operations_query *q, store_cb *cb, void *ctx);

/* Sums of the window: over all requests, in every row; of each type of operation; of the ten slowest
 * paths (a path with parameters counts as its pattern). READ_SUM_TYPE and READ_SUM_PATH as above. */
enum {
    READ_SUM_REQUESTS,
    READ_SUM_REQUESTS_AVG,
    READ_SUM_REQUESTS_BAD,
    READ_SUM_TYPE,
    READ_SUM_TYPE_COUNT,
    READ_SUM_TYPE_AVG,
    READ_SUM_TYPE_BAD,
    READ_SUM_PATH,
    READ_SUM_PATH_AVG,
    READ_SUM_PATH_COUNT,
};
void store_read_summary(struct store *s, int64_t hours, store_cb *cb, void *ctx);

/* The session of a crawl, or no row. */
enum {
    READ_CRAWL_ID,
    READ_CRAWL_URL,
    READ_CRAWL_STATUS,
    READ_CRAWL_SUCCESS,
    READ_CRAWL_STARTED,
    READ_CRAWL_COMPLETED,
    READ_CRAWL_DURATION,
    READ_CRAWL_E2E,
    READ_CRAWL_PAGES,
    READ_CRAWL_INDEXED,
    READ_CRAWL_FAILED,
    READ_CRAWL_CHUNKING,
    READ_CRAWL_EMBEDDING,
    READ_CRAWL_QDRANT,
    READ_CRAWL_BM25,
    READ_CRAWL_ERROR,
    READ_CRAWL_EXTRA,
};
void store_read_crawl(struct store *s, const char *crawl_id, store_cb *cb, void *ctx);

/* Operations of a crawl, oldest first, at most limit. */
enum {
    READ_STEP_URL,
    READ_STEP_TYPE,
    READ_STEP_NAME,
    READ_STEP_DURATION,
    READ_STEP_SUCCESS,
    READ_STEP_AT,
};
void store_read_crawl_steps(
    struct store *s, const char *crawl_id, int64_t limit, store_cb *cb, void *ctx);

#endif
