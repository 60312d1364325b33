/* fetch_tally: how often each host was asked and what came of it, until that is written down
 * (webhook.tallies). Bounded: TALLY_HOSTS hosts an hour, all others are "(others)". From the process's
 * own thread. */
#ifndef HL_DOMAIN_FETCH_TALLY_H
#define HL_DOMAIN_FETCH_TALLY_H

#include "base/meter.h"

#include <stdbool.h>

#define TALLY_HOSTS  100
#define TALLY_OTHERS "(others)"

struct fetch_tally;

struct fetch_tally *fetch_tally_new(void);
void fetch_tally_free(struct fetch_tally *t); /* NULL ok */
/* One fetch. host: "name:port", copied when it is new. */
void fetch_tally_count(
    struct fetch_tally *t, const char *host, enum meter_FETCH outcome, int64_t took_ms);
/* Tells everything that is not written yet; from now until fetch_tally_written that counts as on its way.
 * False: there is nothing. */
bool fetch_tally_send(struct fetch_tally *t,
    void (*put)(void *ctx, const char *host, enum meter_FETCH outcome, int64_t n, int64_t took_ms),
    void *ctx);
/* What was on its way is written, or lost; or not, then it is told again. hour: any number of the present
 * hour; with a new one the hosts of the one before make room. */
void fetch_tally_written(struct fetch_tally *t, bool written, int64_t hour);

#endif
