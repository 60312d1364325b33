/* api_views: the routes that show events, crawls, queues, workers and documents, and the one that
 * has an event tried again. /openapi.json describes their answers. */
#ifndef HL_PRODUCER_API_VIEWS_H
#define HL_PRODUCER_API_VIEWS_H

#include "io/httpd.h"

void api_events_list(struct httpd_req *req, void *stores);  /* GET /api/events */
void api_events_get(struct httpd_req *req, void *stores);   /* GET /api/events/{id} */
void api_events_retry(struct httpd_req *req, void *stores); /* POST /api/events/{id}/retry */
void api_crawls_list(struct httpd_req *req, void *stores);  /* GET /api/crawls */
void api_queues(struct httpd_req *req, void *stores);       /* GET /api/queues */
void api_workers(struct httpd_req *req, void *stores);      /* GET /api/workers */
void api_search(struct httpd_req *req, void *stores);       /* GET /api/search */
void api_rejects(struct httpd_req *req, void *stores);      /* GET /api/rejects */
void api_openapi(struct httpd_req *req, void *stores);      /* GET /openapi.json */

#endif
