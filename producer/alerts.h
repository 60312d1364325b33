/* alerts: what an operator should know now, from what is known of the fleet: is it keeping up, what is
 * failing and why, is anything stuck. Pure. */
#ifndef HL_PRODUCER_ALERTS_H
#define HL_PRODUCER_ALERTS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { ALERTS_CHANGE, ALERTS_CRAWL, ALERTS_QUEUES };

/* Texts are borrowed; NULL = unknown, or none. Ages in ms, -1 = not so. Numbers of events stop at
 * `counted_to`. */
struct fleet_facts {
    int64_t counted_to;
    int64_t due, oldest_due_ms, in_progress;
    int64_t fresh;              /* of in_progress: begun in the last minute */
    int64_t orphans, orphan_ms; /* in progress, and nobody is at it; of the oldest */
    int64_t suspects;
    int64_t minute_accepted, minute_done; /* change events; done: completed, superseded, failed */

    int64_t workers, silent_workers, quiet_workers; /* processes; quiet: of `workers` */
    int64_t worker_ms;                              /* age of the oldest of `workers` */
    int64_t crashes;                                /* of the last hour */
    const char *crash_cause;

    struct {
        int64_t paused_ms, fenced_ms;
        const char *paused_by, *fenced_by;
    } queue[ALERTS_QUEUES];
    bool redis;
    int64_t letters; /* dead letters, of both queues; -1 = unknown */

    int64_t spool_bytes, spool_hosts;          /* of events that are on producers' disks only */
    const char *silent_producer, *silent_host; /* of the one that holds most */
    int64_t silent_bytes, silent_ms;

    int64_t failed; /* for good, in the last hour, `failed_to` at most */
    int64_t failed_to;
    const char *error; /* the most frequent reason */
    int64_t error_n;
    int64_t retrying;
    const char *retry_error;

    bool eased;                               /* in the last minute what held work back went away */
    int64_t circuits;                         /* open or half open */
    const char *circuit_host, *circuit_error; /* of the oldest */
    int64_t circuit_ms;                       /* until it is tried */
    int64_t fetches, fetch_errors;            /* of the last hour or two */
    const char *fetch_host, *fetch_outcome;
    int64_t refused; /* webhooks; likewise */
    const char *refused_reason;
};

/* Appends "[{level, what, text, view}, ...]": errors first, then warnings, then notes; none: "[]". */
void alerts_put(const struct fleet_facts *f, struct buf *json);

#endif
