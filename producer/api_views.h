/* api_views: the routes that show events, crawls, queues, workers and documents, and the one that
 * has an event tried again. /openapi.json describes their answers. */
#ifndef HL_PRODUCER_API_VIEWS_H
#define HL_PRODUCER_API_VIEWS_H

#include "producer/api.h"

extern const struct api_route api_events_list;         /* GET /api/events */
extern const struct api_route api_events_get;          /* GET /api/events/{id} */
extern const struct api_route api_events_trace;        /* GET /api/events/{id}/trace */
extern const struct api_route api_events_retry;        /* POST /api/events/{id}/retry */
extern const struct api_route api_crawls_list;         /* GET /api/crawls */
extern const struct api_route api_queues;              /* GET /api/queues */
extern const struct api_route api_queues_pause;        /* POST /api/queues/{name}/pause */
extern const struct api_route api_queues_resume;       /* POST /api/queues/{name}/resume */
extern const struct api_route api_workers;             /* GET /api/workers */
extern const struct api_route api_workers_orders;      /* POST /api/workers/{id}/orders */
extern const struct api_route api_dead;                /* GET /api/dead */
extern const struct api_route api_dead_events;         /* GET /api/dead/events */
extern const struct api_route api_redrives_list;       /* GET /api/redrives */
extern const struct api_route api_redrives_plan;       /* POST /api/redrives */
extern const struct api_route api_redrives_get;        /* GET /api/redrives/{token} */
extern const struct api_route api_redrives_apply;      /* POST /api/redrives/{token}/apply */
extern const struct api_route api_redrives_stop;       /* POST /api/redrives/{token}/stop */
extern const struct api_route api_documents;           /* GET /api/documents */
extern const struct api_route api_search;              /* GET /api/search */
extern const struct api_route api_rejects;             /* GET /api/rejects */
extern const struct api_route api_overview;            /* GET /api/overview */
extern const struct api_route api_series;              /* GET /api/series */
extern const struct api_route api_sources;             /* GET /api/sources */
extern const struct api_route api_upstreams;           /* GET /api/upstreams */
extern const struct api_route api_system;              /* GET /api/system */
extern const struct api_route api_log_level;           /* POST /api/system/log-level */
void api_openapi(struct httpd_req *req, void *stores); /* GET /openapi.json */

#endif
