/* server: see server.h. Builds everything after the fork, serves until SIGTERM, drains. */
#include "producer/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "domain/queue_gauges.h"
#include "domain/sampler.h"
#include "io/httpd.h"
#include "io/pulse.h"
#include "producer/api.h"
#include "producer/api_views.h"
#include "producer/attendance.h"
#include "producer/crawl_forward.h"
#include "producer/crawl_intake.h"
#include "producer/dashboard.h"
#include "producer/forward.h"
#include "producer/gauges.h"
#include "producer/intake.h"
#include "producer/live.h"
#include "producer/measure.h"
#include "producer/monitor.h"
#include "producer/redrives.h"
#include "producer/refusals.h"
#include "producer/session.h"
#include "producer/signin.h"
#include "producer/stores.h"
#include "producer/tally.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HEARTBEAT_MS = 500,
    LOOK_EVERY = 4,      /* beats */
    OWN_DELAY_MS = 1000, /* beyond WEBHOOK_DRAIN_DELAY, for the supervisor's word to come first */
    LAST_SAMPLE_MS = 500,
    LAST_METRICS_MS = 1000,
    LAST_SPANS_MS = 1000
};

struct server {
    struct stores stores;
    struct loop *loop;
    struct forward *forward;
    struct crawl_forward *crawl_forward;
    struct attendance *attendance;
    struct live *live;
    struct queue_gauges *queues;
    struct sampler *sampler;
    struct httpd_route *routes; /* with the limits that the settings give */
    struct httpd *httpd;
    struct prefork_slot *slot;
    struct timer heartbeat, delay;
    struct pulse pulse;
    struct sigwatch term, hurry, state;
    int listen_fd; /* this process's copy; closed when the drain begins */
    bool draining, drained, leaving;
};

/* clang-format off */
static const struct httpd_route own_routes[] = {
    {"GET", "/openapi.json", api_openapi, 0, 0},
    {"POST", "/api/webhook/changedetection", intake_changedetection, 0, HTTPD_ANY_SLASH},
    {"POST", "/api/webhook/firecrawl", crawl_intake, 0, HTTPD_ANY_SLASH},
};
static const struct httpd_route dashboard_routes[] = {
    {"POST", "/dashboard/session", session_post, SESSION_MAX_BODY, 0},
    {"GET", "/dashboard/session", session_get, 0, 0},
    {"DELETE", "/dashboard/session", session_delete, 0, 0},
    {"GET", "/dashboard", dashboard_serve, 0, HTTPD_ANY_SLASH},
    {"GET", "/dashboard/{file}", dashboard_serve, 0, 0},
};
/* clang-format on */

/* Every answer carries its id and the time it took (reference contract section 1.1). */
static void on_reply(struct httpd_req *req, int status, void *ctx)
{
    struct stores *s = ctx;
    char took[32];
    int64_t took_us = clock_mono_us() - httpd_started_us(req);
    if (atomic_load(&s->admin.board->draining))
        httpd_last(req); /* the client's next connection goes to somebody who stays */
    refusal_by_httpd(s, req, status);
    tally_reply(s, req, status, took_us);
    snprintf(took, sizeof(took), "%.2f", (double)took_us / 1000);
    httpd_add_header(req, "X-Request-ID", httpd_request_id(req));
    httpd_add_header(req, "X-Process-Time", took);
    if (dashboard_owns(httpd_path(req)))
        dashboard_headers(req);
    measure_request(s->metrics, s->cfg, req, status);
}

static int connections(const struct server *s)
{
    return s->httpd ? httpd_connections(s->httpd) : 0;
}

/* --- the end ----------------------------------------------------------------------------- */

static void leave(void *ctx)
{
    struct server *s = ctx;
    loop_stop(s->loop);
}

static void measured(void *ctx)
{
    struct server *s = ctx;
    spans_drain(s->stores.spans, LAST_SPANS_MS, leave, s);
}

static void sampled(void *ctx)
{
    struct server *s = ctx;
    metrics_drain(s->stores.metrics, LAST_METRICS_MS, measured, s);
}

static void took_leave(void *ctx)
{
    struct server *s = ctx;
    sampler_leave(s->sampler, LAST_SAMPLE_MS, sampled, s);
}

/* Last of all we take our leave, and what was measured is written, if PostgreSQL and the collector have
 * time for it. */
static void leave_if_done(void *ctx)
{
    struct server *s = ctx;
    if (!s->drained || s->stores.intakes || s->leaving)
        return;
    s->leaving = true;
    attendance_leave(s->attendance, took_leave, s);
}

static void drained(void *ctx)
{
    struct server *s = ctx;
    s->drained = true;
    leave_if_done(s);
}

/* What was answered 202 is safe; connections are cut. */
static void on_hurry(void *ctx)
{
    struct server *s = ctx;
    loop_stop(s->loop);
}

static void drain(void *ctx)
{
    struct server *s = ctx;
    if (s->draining)
        return;
    s->draining = true;
    timer_stop(&s->delay);
    log_info(
        "draining", LOG_I("connections", connections(s)), LOG_I("requests", s->stores.intakes));
    if (s->httpd)
        httpd_drain(s->httpd, drained, s);
    else
        drained(s);
    close(s->listen_fd);
    redrives_drain(s->stores.redrives);
}

/* A service manager that tells the whole group does not mean "before the others" by it. */
static void on_term(void *ctx)
{
    struct server *s = ctx;
    int64_t delay_ms = s->stores.cfg->drain_delay_ms;
    if (!delay_ms || prefork_must_leave(s->slot))
        drain(s);
    else if (!s->draining && !timer_running(&s->delay))
        timer_start(&s->delay, delay_ms + OWN_DELAY_MS);
}

static void on_state(void *ctx)
{
    const struct server *s = ctx;
    log_info("state", LOG_I("connections", connections(s)), LOG_I("requests", s->stores.intakes),
        LOG_I("spool_bytes", spool_depth(s->stores.spool)), LOG_B("draining", s->draining),
        LOG_B("database_ready", stores_database_ready(&s->stores)),
        LOG_B("redis_ready", stores_redis_ready(&s->stores)),
        LOG_I("store_waiting", store_waiting(s->stores.store)),
        LOG_I("queue_waiting", queue_waiting(s->stores.queue)),
        LOG_I("crawl_queue_waiting", queue_waiting(s->stores.crawl_queue)),
        LOG_I("crawl_spool_bytes", spool_depth(s->stores.crawl_spool)),
        LOG_I("large_bodies", s->stores.crunching),
        LOG_I("rejects_dropped", rejects_dropped(s->stores.rejects)));
    connect_log_pool("work", s->stores.pool);
    connect_log_pool("reads", s->stores.read_pool);
    metrics_log(s->stores.metrics);
}

/* One process looks for all: the gauges are the highest of all, and one that looks no more would hold
 * what it saw last against the others. */
static void look_at_queues(struct server *s)
{
    if (s->stores.schema_ready && !s->draining && board_is_first(s->slot->board, s->slot->place))
        queue_gauges_start(s->queues);
    else
        queue_gauges_stop(s->queues);
}

static void heartbeat(void *ctx)
{
    struct server *s = ctx;
    if (!prefork_beat(s->slot))
        drain(s); /* the supervisor is gone and its death signal was missed */
    log_tick();
    if (s->pulse.beats % LOOK_EVERY == 0)
        gauges_look(&s->stores);
    gauges_show(&s->stores, connections(s));
    look_at_queues(s);
    pulse_beat(&s->pulse, HEARTBEAT_MS);
    timer_start(&s->heartbeat, HEARTBEAT_MS);
}

/* --- building ---------------------------------------------------------------------------- */

static bool may_sample(void *ctx)
{
    const struct server *s = ctx;
    return stores_database_ready(&s->stores);
}

static struct queues_seen queues_seen(void *ctx)
{
    const struct server *s = ctx;
    return queue_gauges_seen(s->queues);
}

static void start_sampler(struct server *s)
{
    s->sampler = sampler_new(&(struct sampler_conf){.loop = s->loop,
        .store = s->stores.store,
        .ready = may_sample,
        .queues = queues_seen,
        .ctx = s});
    sampler_start(s->sampler);
}

static void add_route(struct httpd_route **routes, size_t *n, const struct httpd_route *one)
{
    *routes = mem_grow(*routes, (*n + 2) * sizeof(**routes));
    (*routes)[(*n)++] = *one;
    (*routes)[*n] = (struct httpd_route){0};
}

struct httpd_route *server_routes(const struct config *cfg)
{
    struct httpd_route *routes = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sizeof(own_routes) / sizeof(*own_routes); i++) {
        struct httpd_route r = own_routes[i];
        if (r.handler == crawl_intake)
            r.max_body = (size_t)cfg->crawl_max_body_bytes;
        add_route(&routes, &n, &r);
    }
    for (const struct httpd_route *r = monitor_routes; r->method && !cfg->producer_admin_port; r++)
        add_route(&routes, &n, r);
    for (size_t i = 0; cfg->dashboard && i < sizeof(dashboard_routes) / sizeof(*dashboard_routes);
         i++)
        add_route(&routes, &n, &dashboard_routes[i]);
    for (const struct api_entry *e = api_routes; e->method; e++)
        add_route(&routes, &n,
            &(struct httpd_route){
                e->method, e->path, api_serve, e->route->members ? API_MAX_BODY : 0, 0});
    return routes;
}

/* When it is known what is fenced; whoever has connected waits so long. */
static void open_door(void *ctx)
{
    struct server *s = ctx;
    const struct config *cfg = s->stores.cfg;
    const struct httpd_conf conf = {
        .routes = s->routes,
        .ctx = &s->stores,
        .max_header = (size_t)cfg->max_header_bytes,
        .max_body = (size_t)cfg->max_body_bytes,
        .max_buffered = (size_t)cfg->max_buffered_bytes,
        .max_connections = (int)cfg->max_connections,
        .header_timeout_ms = cfg->header_timeout_ms,
        .body_timeout_ms = cfg->body_timeout_ms,
        .idle_timeout_ms = cfg->idle_timeout_ms,
        .write_timeout_ms = cfg->idle_timeout_ms,
        .before = api_before,
        .on_reply = on_reply,
    };
    if (s->draining)
        return;
    s->httpd = httpd_new(s->loop, s->listen_fd, &conf);
    prefork_ready(s->slot);
}

static void close_all(struct server *s)
{
    timer_stop(&s->heartbeat);
    timer_stop(&s->delay);
    sigwatch_stop(&s->term);
    sigwatch_stop(&s->hurry);
    sigwatch_stop(&s->state);
    live_stop(s->live);
    httpd_free(s->httpd);
    free(s->routes);
    forward_stop(s->forward);
    crawl_forward_stop(s->crawl_forward);
    attendance_stop(s->attendance);
    queue_gauges_stop(s->queues);
    sampler_stop(s->sampler);
    stores_close(&s->stores);
    redrives_free(s->stores.redrives);
    signins_free(s->stores.signins);
    forward_free(s->forward); /* they own requests that the stores still had */
    crawl_forward_free(s->crawl_forward);
    attendance_free(s->attendance);
    live_free(s->live); /* its questions have been answered by then */
    queue_gauges_free(s->queues);
    sampler_free(s->sampler);
    loop_free(s->loop);
}

int server_run(struct prefork_slot *slot, const struct config *cfg, int listen_fd)
{
    struct server s = {.slot = slot, .listen_fd = listen_fd};
    struct hl_err err = {0};

    s.loop = loop_new(&err);
    if (!s.loop || !stores_open(&s.stores, s.loop, cfg, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EXIT_FAILURE; /* the supervisor tries again, slower each time */
    }
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is answered like a full disk */
    s.stores.admin = (struct admin){.board = slot->board, .program = METER_P};
    s.stores.idle = leave_if_done;
    s.stores.idle_ctx = &s;
    sigwatch_start(s.loop, &s.term, SIGTERM, on_term, &s);
    sigwatch_start(s.loop, &s.hurry, PREFORK_HURRY, on_hurry, &s);
    sigwatch_start(s.loop, &s.state, PREFORK_STATE, on_state, &s);
    timer_init(s.loop, &s.heartbeat, heartbeat, &s);
    timer_init(s.loop, &s.delay, drain, &s);
    s.queues = queue_gauges_new(&(struct queue_gauges_conf){.loop = s.loop,
        .store = s.stores.reads,
        .redis = s.stores.redis,
        .change = s.stores.queue,
        .crawl = s.stores.crawl_queue});
    heartbeat(&s);
    s.stores.redrives = redrives_new(&s.stores);
    s.stores.signins = signins_new(s.loop);
    s.forward = forward_new(&s.stores);
    s.crawl_forward = crawl_forward_new(&s.stores);
    s.stores.live = s.live = live_new(&s.stores);
    s.routes = server_routes(cfg);
    s.attendance = attendance_new(&s.stores, open_door, &s);
    start_sampler(&s);
    loop_run(s.loop);
    /* Hurried: the kernel takes back the rest, and exit() nothing, since a helper thread may be at work
     * with what that takes apart (OpenSSL's tables). */
    if (s.stores.intakes) {
        log_flush();
        _exit(EXIT_FAILURE);
    }
    close_all(&s);
    return EXIT_SUCCESS;
}
