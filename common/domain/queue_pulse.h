/* queue_pulse: how much goes through a queue's stream, for who reads it twice. */
#ifndef HL_DOMAIN_QUEUE_PULSE_H
#define HL_DOMAIN_QUEUE_PULSE_H

#include "domain/queue.h"

struct queue_pulse {
    int64_t added;     /* entries that ever came in, retries included; -1 = not known */
    int64_t length;    /* those that are in it now: added - length have left */
    int64_t oldest_ms; /* when the oldest of those came in, ms since 1970 by Redis; -1 = none */
};
typedef void queue_pulse_cb(
    enum hl_rc rc, const struct queue_pulse *pulse, const struct hl_err *err, void *ctx);
void queue_pulse(struct queue *q, queue_pulse_cb *cb, void *ctx);

#endif
