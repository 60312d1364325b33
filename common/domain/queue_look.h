/* queue_look: what a queue holds, place by place, for who wants to account for every job. Only
 * reads, a bounded page at a time, so that Redis is never held up. What moves meanwhile may be seen
 * twice, or not at all: look again. For queues of change events. */
#ifndef HL_DOMAIN_QUEUE_LOOK_H
#define HL_DOMAIN_QUEUE_LOOK_H

#include "domain/queue.h"

enum queue_place {
    QUEUE_AT_STREAM,
    QUEUE_AT_LATER,      /* ids; they may be seen more than once */
    QUEUE_AT_LATER_JOBS, /* the jobs of those ids; likewise */
    QUEUE_AT_DEAD, /* a dead letter with an event's id counts as its job, whatever else it holds;
                    * those of the other queue are left out */
    QUEUE_NPLACES
};

/* Borrowed during the callback. */
struct queue_sight {
    enum queue_place place;
    bool is_job;       /* false: bytes that no program would take for a job, of whatever version */
    struct uuid id;    /* of a job */
    const char *entry; /* stream and dead; "" elsewhere */
    bool delivered;    /* stream: some worker was given it */
};
typedef void queue_look_each(const struct queue_sight *sight, void *ctx);
typedef void queue_look_done(enum hl_rc rc, const struct hl_err *err, void *ctx);
/* each for everything there, then done, once. */
void queue_look(struct queue *q, enum queue_place place, queue_look_each *each,
    queue_look_done *done, void *ctx);

/* Is the job (still) in this one place? entry "" = in `later`. */
typedef void queue_look_there(enum hl_rc rc, bool there, const struct hl_err *err, void *ctx);
void queue_look_at(
    struct queue *q, const struct uuid *id, const char *entry, queue_look_there *there, void *ctx);

/* Which of the ids (borrowed until cb; a few hundred at a time) have a marker. */
typedef void queue_look_marked(
    enum hl_rc rc, const bool *marked, size_t n, const struct hl_err *err, void *ctx);
void queue_look_markers(
    struct queue *q, const struct uuid *ids, size_t n, queue_look_marked *cb, void *ctx);

#endif
