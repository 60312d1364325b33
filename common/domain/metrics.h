/* metrics: fire and forget (reference contract sections 1.1 and 5.4). Recording copies a measurement
 * into a bounded ring in memory: no system call, no wait, no failure. The ring is flushed in batches
 * through the pool, one flush under way at a time. Where PostgreSQL is slow or away the ring fills;
 * then the oldest go and are counted, and the log has one line a minute. Over-long texts are cut to
 * their column, never the row lost. Batches commit without a sync of their own: a PostgreSQL that
 * crashes may forget the rows of its last moment (three times its wal_writer_delay, 0.6 s). */
#ifndef HL_DOMAIN_METRICS_H
#define HL_DOMAIN_METRICS_H

#include "base/buf.h"
#include "io/dbpool.h"

struct metrics;

#define METRICS_EXTRA_MAX 16384

/* pool is borrowed. capacity: measurements; 0 gives NULL: nothing is measured, and every function
 * here takes NULL. sample: millionths of the requests without an error that are recorded. */
struct metrics *metrics_new(struct loop *l, struct dbpool *pool, int64_t capacity, int64_t sample);
/* After the pool: nothing may be under way. What waits still is lost, and logged as such. */
void metrics_free(struct metrics *m);
/* The end is near: what waits is written now; done runs from the loop when all is written, or when
 * deadline_ms is over (m NULL: at once). Recording goes on. */
void metrics_drain(struct metrics *m, int64_t deadline_ms, void (*done)(void *ctx), void *ctx);

/* All texts are borrowed during the call; NULL = SQL NULL. Any bytes will do. */
struct metrics_request {
    int64_t at; /* when it came: microseconds since 1970 UTC */
    double duration_ms;
    int status;
    const char *method, *path, *request_id, *client_ip, *user_agent;
    const char *extra; /* JSON object; one of more than METRICS_EXTRA_MAX bytes is left out */
};
/* Requests with a status of 400 or more are always kept. */
void metrics_request(struct metrics *m, const struct metrics_request *r);

struct metrics_operation {
    int64_t at; /* when it began: microseconds since 1970 UTC */
    double duration_ms;
    bool success;
    const char *type, *name; /* PROTOCOL.md lists them */
    const char *error;       /* NULL unless it failed */
    const char *request_id, *job_id, *crawl_id, *document_url;
    const char *extra; /* JSON object */
};
void metrics_operation(struct metrics *m, const struct metrics_operation *o);

struct metrics_stats {
    uint64_t recorded, written, dropped; /* dropped: pushed out of a full ring */
    uint64_t refused;                    /* rows that PostgreSQL did not take, one by one */
    int64_t waiting;
};
void metrics_stats(const struct metrics *m, struct metrics_stats *out);
/* Appends the member "metrics": {"waiting": ..., "dropped": ...}. */
void metrics_put(const struct metrics *m, struct buf *json);
void metrics_log(const struct metrics *m); /* the same as a log line, for who is asked (SIGUSR2) */

#endif
