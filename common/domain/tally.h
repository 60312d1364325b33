/* tally: how often each host was asked and what came of it, until that is written down
 * (webhook.tallies). Bounded: TALLY_HOSTS hosts an hour, all others are "(others)". From the process's
 * own thread. */
#ifndef HL_DOMAIN_TALLY_H
#define HL_DOMAIN_TALLY_H

#include "base/meter.h"

#include <stdbool.h>

#define TALLY_HOSTS  100
#define TALLY_OTHERS "(others)"

struct tally;

struct tally *tally_new(void);
void tally_free(struct tally *t); /* NULL ok */
/* One fetch. host: "name:port", copied when it is new. */
void tally_count(struct tally *t, const char *host, enum meter_FETCH outcome, int64_t took_ms);
/* Tells everything that is not written yet; from now until tally_written that counts as on its way.
 * False: there is nothing. */
bool tally_send(struct tally *t,
    void (*put)(void *ctx, const char *host, enum meter_FETCH outcome, int64_t n, int64_t took_ms),
    void *ctx);
/* What was on its way is written, or lost; or not, then it is told again. hour: any number of the present
 * hour; with a new one the hosts of the one before make room. */
void tally_written(struct tally *t, bool written, int64_t hour);

#endif
