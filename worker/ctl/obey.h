/* obey: waits until the processes of the installation have noted what they were told, as their rows
 * say. A process that has not been heard of for too long is not waited for, but named. */
#ifndef HL_WORKER_CTL_OBEY_H
#define HL_WORKER_CTL_OBEY_H

#include "base/buf.h"
#include "worker/ctl/session.h"

/* Of a row of store_fleet or store_producers. */
enum obey { OBEY_NOT_YET, OBEY_NOTED, OBEY_NOT_CONCERNED };
typedef enum obey obey_fn(const PGresult *rows, int row, void *ctx);

/* Zero-initialise; what is found in it is that of the last look. */
struct obeyed {
    int processes, noted; /* concerned; of these have noted it */
    int64_t jobs;         /* that workers have in flight, crawl jobs included */
    struct buf late;      /* ids of those that have not, "a, b and 3 more"; empty: all have */
    struct buf silent;    /* of those that have not and are not waited for */
};
void obeyed_release(struct obeyed *o);
void obeyed_put(
    struct buf *json, const char *key, const struct obeyed *o); /* a member: an object */

/* Looks until nobody is late, or timeout_ms have passed (0: once). CTL_OK, CTL_TIMEOUT (nothing was
 * said), or the exit code after saying why. silent_ms: a worker that has not renewed its lease for so
 * long works no more. */
int obey_workers(struct session *s, int64_t timeout_ms, int64_t silent_ms, obey_fn *has_noted,
    void *ctx, struct obeyed *out);
int obey_producers(struct session *s, int64_t timeout_ms, int64_t silent_ms, obey_fn *has_noted,
    void *ctx, struct obeyed *out);

#endif
