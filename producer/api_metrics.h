/* api_metrics: GET /api/metrics/requests, operations, summary, crawls/{crawl_id}, reference contract
 * section 1.7. */
#ifndef HL_PRODUCER_API_METRICS_H
#define HL_PRODUCER_API_METRICS_H

#include "io/httpd.h"

void api_metrics_requests(struct httpd_req *req, void *stores);
void api_metrics_operations(struct httpd_req *req, void *stores);
void api_metrics_summary(struct httpd_req *req, void *stores);
void api_metrics_crawl(struct httpd_req *req, void *stores);

#endif
