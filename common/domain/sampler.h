/* sampler: adds what this process counts (base/meter.h) to webhook.samples and webhook.tallies, every
 * five seconds, at a moment of its own, and only when there is news. Fire and forget: it delays nothing
 * and fails nothing. What could not be written is part of what is written the next time; where nobody
 * knows whether it was (the connection broke behind the statement), it counts as written: a little may
 * be missing in a chart, nothing is there twice. So a process that is killed, or a PostgreSQL that is,
 * takes five seconds of one process with it, at most. */
#ifndef HL_DOMAIN_SAMPLER_H
#define HL_DOMAIN_SAMPLER_H

#include "base/meter.h"
#include "domain/queue_gauges.h"
#include "io/loop.h"

struct sampler;
struct store;

#define SAMPLER_EVERY_MS 5000
#define SAMPLER_SIGN_MS  60000 /* who looks at the queues writes so often, at least */

struct sampler_conf {
    struct loop *loop;
    struct store *store;             /* borrowed */
    bool (*ready)(void *ctx);        /* PostgreSQL may be asked; NULL = always */
    int64_t (*in_flight)(void *ctx); /* jobs in hand; NULL = this process has none */
    /* How full the queues are, as far as this process knows. NULL: it does not look. */
    struct queues_seen (*queues)(void *ctx);
    void *ctx;
    int64_t every_ms; /* 0 = SAMPLER_EVERY_MS */
};

/* Counts from now on: what a process before this one has in the same cells is its own. */
struct sampler *sampler_new(const struct sampler_conf *conf);
void sampler_start(struct sampler *s);
/* A page was asked for. host: "name:port", NULL = nobody was. s NULL ok. */
void sampler_fetched(
    struct sampler *s, const char *host, enum meter_FETCH outcome, int64_t took_ms);
/* The end is near: what is new is written now; done runs from the loop, in deadline_ms at most. */
void sampler_leave(struct sampler *s, int64_t deadline_ms, void (*done)(void *ctx), void *ctx);
void sampler_stop(struct sampler *s); /* NULL ok; before the loop and the pool go */
void sampler_free(struct sampler *s); /* NULL ok; stopped, and after the pool */

#endif
