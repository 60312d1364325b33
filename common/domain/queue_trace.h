/* queue_trace: where one job is in Redis, and its dead letters. Only reads. */
#ifndef HL_DOMAIN_QUEUE_TRACE_H
#define HL_DOMAIN_QUEUE_TRACE_H

#include "domain/queue.h"

#define QUEUE_TRACE_LETTERS 10

struct queue_traced_letter {
    char entry
        [QUEUE_ENTRY_MAX]; /* when it was buried: milliseconds of Redis' clock, "-" and a number */
    char reason[256];
};

/* Times are milliseconds of Redis' clock. */
struct queue_traced {
    int64_t now;
    char marker[200];            /* as PROTOCOL.md has it; "" = none */
    int64_t marker_ttl;          /* ms; negative = none */
    char entry[QUEUE_ENTRY_MAX]; /* in the stream, as the marker says; "" = not there */
    char consumer[200];          /* who was given it and has not acknowledged; "" = nobody */
    int64_t idle_ms, deliveries; /* since when, and how often */
    bool later, later_job;       /* its id waits in `later`, until: */
    int64_t due;
    struct queue_traced_letter letters[QUEUE_TRACE_LETTERS]; /* the newest, the oldest first */
    size_t nletters;
};
/* t: NULL unless HL_OK; borrowed during the callback. */
typedef void queue_trace_cb(
    enum hl_rc rc, const struct queue_traced *t, const struct hl_err *err, void *ctx);
/* letters_since: those buried before are not looked for, ms; 0 = all. Walks through the dead letters,
 * page by page. */
void queue_trace(
    struct queue *q, const struct uuid *id, int64_t letters_since, queue_trace_cb *cb, void *ctx);

#endif
