/* api_metrics: GET /api/metrics/requests, operations, summary, crawls/{crawl_id}, reference contract
 * section 1.7. */
#ifndef HL_PRODUCER_API_METRICS_H
#define HL_PRODUCER_API_METRICS_H

#include "producer/api.h"

extern const struct api_route api_metrics_requests;
extern const struct api_route api_metrics_operations;
extern const struct api_route api_metrics_summary;
extern const struct api_route api_metrics_crawl;

#endif
