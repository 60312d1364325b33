/* api_rate: numbers of charts, with no more digits than anybody sees. */
#ifndef HL_PRODUCER_API_RATE_H
#define HL_PRODUCER_API_RATE_H

#include "base/buf.h"
#include "domain/latency.h"

void api_rate_put(struct buf *b, double a_second); /* "0", "0.0167", "2.5", "1234.5" */
void api_latency_put(struct buf *b, const struct latency *l, double share); /* ms, or null */

#endif
