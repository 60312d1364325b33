/* fetched: what came of a fetch, in the words that are counted. Pure. */
#ifndef HL_WORKER_FETCHED_H
#define HL_WORKER_FETCHED_H

#include "base/meter.h"
#include "worker/scrape.h"

/* FETCH_REFUSED: nobody was asked. */
enum meter_FETCH fetched_as(const struct scrape_result *res);

#endif
