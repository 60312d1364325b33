/* audit_look: reads what PostgreSQL, Redis and the spools hold of events into an audit_set, in an
 * order in which an event that moves meanwhile is seen at least once: rows, Redis, spools, and once
 * more the rows of what had none. */
#ifndef HL_WORKER_CTL_AUDIT_LOOK_H
#define HL_WORKER_CTL_AUDIT_LOOK_H

#include "domain/audit.h"
#include "worker/ctl/session.h"

/* A segment on a disk that is not read here. */
struct audit_segment {
    char *name, *host, *folder;
    int64_t bytes, seen_s;
    bool silent; /* its producer has not been heard of: nobody brings these events home */
};

/* A job in Redis of an event that is looked at once more. */
struct audit_spot {
    struct uuid id;
    char entry[QUEUE_ENTRY_MAX]; /* "" = in `later` */
    bool delivered, there;
};

struct audit_look {
    struct session *session; /* borrowed, like what follows */
    const char *const *spools;
    size_t nspools;
    int64_t lease_ms;

    struct audit_set *set;  /* being filled */
    struct hl_err err;      /* the first trouble; HL_OK = none */
    int64_t no_jobs;        /* entries of the stream that no program would take for a job */
    int64_t no_job_letters; /* dead letters that name no event */
    int64_t spool_records, spool_no_jobs, spool_no_frames;
    struct audit_segment *segments;
    size_t nsegments;
    bool forwarding;             /* a living producer has events in a segment that was read */
    int64_t started_at, said_at; /* of progress */

    /* of the question under way */
    struct uuid *asked;
    size_t nasked;
    int64_t after;
    size_t got;
    struct audit_spot *spots;
    size_t nspots;
    char **local; /* names of segments that were read */
    size_t nlocal;
};

/* Adds everything to the set, which holds the receipts already; of a closed set, what is known of
 * its events. False: look->err. */
bool audit_look_all(struct audit_look *look, struct audit_set *set);
void audit_look_release(struct audit_look *look);

/* What keeps the fleet from being quiet. */
struct audit_work {
    int64_t due, in_progress; /* not counted beyond 1000 */
    int64_t stream, later;
    int64_t spooled_bytes; /* at least */
};
/* Read in the order in which events move, so that none slips by: spools, Redis, rows. */
bool audit_look_work(struct audit_look *look, struct audit_work *work);

#endif
