/* api_routes: every route of the API that goes through api.c. */
#include "producer/api_metrics.h"
#include "producer/api_views.h"
#include "producer/health.h"
#include "producer/live.h"

/* clang-format off */
const struct api_entry api_routes[] = {
    {"GET", "/", &health_root},
    {"GET", "/health", &health_get},
    {"GET", "/api/metrics/requests", &api_metrics_requests},
    {"GET", "/api/metrics/operations", &api_metrics_operations},
    {"GET", "/api/metrics/summary", &api_metrics_summary},
    {"GET", "/api/metrics/crawls/{crawl_id}", &api_metrics_crawl},
    {"GET", "/api/events", &api_events_list},
    {"GET", "/api/events/{id}", &api_events_get},
    {"GET", "/api/events/{id}/trace", &api_events_trace},
    {"POST", "/api/events/{id}/retry", &api_events_retry},
    {"GET", "/api/crawls", &api_crawls_list},
    {"GET", "/api/live", &live_watch},
    {"GET", "/api/queues", &api_queues},
    {"POST", "/api/queues/{name}/pause", &api_queues_pause},
    {"POST", "/api/queues/{name}/resume", &api_queues_resume},
    {"GET", "/api/workers", &api_workers},
    {"POST", "/api/workers/{id}/orders", &api_workers_orders},
    {"GET", "/api/dead", &api_dead},
    {"GET", "/api/dead/events", &api_dead_events},
    {"GET", "/api/documents", &api_documents},
    {"GET", "/api/redrives", &api_redrives_list},
    {"POST", "/api/redrives", &api_redrives_plan},
    {"GET", "/api/redrives/{token}", &api_redrives_get},
    {"POST", "/api/redrives/{token}/apply", &api_redrives_apply},
    {"POST", "/api/redrives/{token}/stop", &api_redrives_stop},
    {"GET", "/api/search", &api_search},
    {"GET", "/api/rejects", &api_rejects},
    {"GET", "/api/overview", &api_overview},
    {"GET", "/api/series", &api_series},
    {"GET", "/api/sources", &api_sources},
    {"GET", "/api/upstreams", &api_upstreams},
    {"GET", "/api/system", &api_system},
    {"POST", "/api/system/log-level", &api_log_level},
    {0},
};
/* clang-format on */
