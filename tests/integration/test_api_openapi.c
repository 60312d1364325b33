/* /openapi.json is true: it names the routes that the server has, all of them and no others, and
 * whatever the server answers on them fits what is written there, member by member. Each documented
 * status is provoked, with PostgreSQL, Redis and limits in the state it takes. */
#include "base/buf.h"
#include "base/clock.h"
#include "producer/dashboard.h"
#include "producer/openapi.h"
#include "producer/server.h"
#include "producer/session.h"
#include "tests/support/fleet.h"
#include "tests/support/schema.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(api_openapi, .timeout = 90);

enum { SOON = 20000 };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static json_t *document(void)
{
    json_error_t err;
    json_t *doc = json_loadb(openapi_json, openapi_json_len, JSON_REJECT_DUPLICATES, &err);
    cr_assert_not_null(doc, "line %d: %s", err.line, err.text);
    return doc;
}

static const json_t *get(const json_t *at, const char *a, const char *b, const char *c)
{
    at = json_object_get(at, a);
    at = b ? json_object_get(at, b) : at;
    return c ? json_object_get(at, c) : at;
}

static const char *lower(const char *method)
{
    return strcmp(method, "GET") == 0 ? "get" : strcmp(method, "DELETE") == 0 ? "delete" : "post";
}

/* --- the document ------------------------------------------------------------------------ */

static const struct httpd_route *routes(void)
{
    static const struct config cfg = {.dashboard = true};
    static struct httpd_route *all;
    if (!all)
        all = server_routes(&cfg);
    return all;
}

/* The dashboard's pages are for browsers; its sign-in is for programs too, and documented. */
static bool is_page(const struct httpd_route *r)
{
    return r->handler == dashboard_serve;
}

static bool is_route(const char *method, const char *path)
{
    for (const struct httpd_route *r = routes(); r->method; r++)
        if (strcmp(lower(r->method), method) == 0 && strcmp(r->path, path) == 0)
            return true;
    return false;
}

Test(api_openapi, its_paths_are_the_routes_of_the_server)
{
    json_t *doc = document(), *item, *op;
    const char *path, *method;
    for (const struct httpd_route *r = routes(); r->method; r++)
        cr_expect(is_page(r) || get(doc, "paths", r->path, lower(r->method)),
            "%s %s is not in the document", r->method, r->path);
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
            cr_expect(is_route(method, path), "%s %s is no route", method, path);
    }
    json_decref(doc);
}

/* Each "$ref" leads somewhere; each object that names its members says whether there may be others. */
static void look_through(const json_t *doc, const json_t *at, const char *path)
{
    const char *key;
    size_t i;
    json_t *child;
    cr_expect_not_null(schema_resolve(doc, at), "%s leads to nothing", path);
    if (json_is_object(json_object_get(at, "properties")) && json_object_get(at, "type"))
        cr_expect_not_null(json_object_get(at, "additionalProperties"), "%s is open", path);
    json_object_foreach((json_t *)at, key, child)
        look_through(doc, child, harness_text("%s/%s", path, key));
    json_array_foreach(at, i, child) look_through(doc, child, harness_text("%s/%zu", path, i));
}

Test(api_openapi, its_references_lead_somewhere_and_its_answers_are_closed)
{
    json_t *doc = document();
    look_through(doc, doc, "#");
    json_decref(doc);
}

/* --- what is asked ----------------------------------------------------------------------- */

/* clang-format off */
static const char rows[] =
    "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, rescrape_status, attempts,"
    "  next_attempt_at, finished_at, indexed_at, claimed_at, claimed_by, claim_epoch, metadata,"
    "  diff_summary, snapshot_url, body_digest, url_key)"
    " SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, 'w' || n, 'http://page.test/' || n,"
    "  status, 1, CASE WHEN status = 'queued' THEN now() + interval '1 hour' END,"
    "  CASE WHEN n > 2 THEN now() END, CASE WHEN n = 3 THEN now() END,"
    "  CASE WHEN n > 1 THEN now() END, CASE WHEN n > 1 THEN 'worker-1' END, 1,"
    "  '{\"watch_title\": \"T\", \"signature\": \"s\", \"error\": \"HTTP 404\", \"superseded_by\": \"x\"}',"
    "  'it changed', 'http://page.test/diff', sha256('x'), sha256('y')"
    " FROM unnest(ARRAY['queued', 'in_progress', 'completed', 'superseded', 'failed: gone',"
    "  'failed: gone']) WITH ORDINALITY AS s (status, n);"
    "INSERT INTO webhook.change_events (watch_id, watch_url, rescrape_status) VALUES"
    "  ('old', 'http://page.test/old', 'completed'), ('older', 'http://page.test/old', NULL);"
    "INSERT INTO webhook.operation_metrics (id, \"timestamp\", operation_type, operation_name,"
    "  duration_ms, success, error_message, job_id, document_url, crawl_id, created_at)"
    " SELECT gen_random_uuid(), now(), 'rescrape', 'scrape', 12.5, n = 1, CASE WHEN n = 2 THEN 'no' END,"
    "  '00000000-0000-4000-8000-000000000005', 'http://page.test/5', 'crawl-1', now()"
    " FROM generate_series(1, 2) n;"
    "INSERT INTO webhook.request_metrics (id, \"timestamp\", method, path, status_code, duration_ms,"
    "  created_at) VALUES (gen_random_uuid(), now(), 'GET', '/health', 200, 1.5, now());"
    "INSERT INTO webhook.workers (id, host, pid, dead_at) VALUES ('worker-1', 'host', 1, NULL),"
    "  ('worker-2', 'host', 2, now());"
    "INSERT INTO webhook.worker_crashes (worker, host, pid, role, signal, cause, blamed, held) VALUES"
    "  ('worker-2', 'host', 2, 'worker', 11, 'signal 11', true,"
    "   '[{\"event_id\": \"00000000-0000-4000-8000-000000000005\", \"step\": \"scrape\"}]'),"
    "  ('worker-3', 'host', 3, 'solo', NULL, 'hung', false, '[]');"
    "INSERT INTO webhook.crawl_sessions (id, job_id, base_url, started_at, completed_at, status, success,"
    "  duration_ms, e2e_duration_ms, operation_type, extra_metadata, error_message) VALUES"
    "  (gen_random_uuid(), 'crawl-1', 'http://page.test/', now(), now(), 'failed', false, 1.5, 2,"
    "   'crawl', '{\"url\": \"http://page.test/\"}', 'no'),"
    "  (gen_random_uuid(), 'crawl-2', 'http://page.test/', now(), NULL, 'in_progress', NULL, NULL, NULL,"
    "   'extract', NULL, NULL);"
    "INSERT INTO webhook.documents (url_key, canonical_url, url, title, text, content_hash, search,"
    "  scrape_seq) VALUES (sha256('http://page.test/5'), 'http://page.test/5', 'http://page.test/5', 'A heron', 'grey heron', '',"
    "  to_tsvector('simple', 'grey heron'), 1);"
    "INSERT INTO webhook.redrives (token, planned_by, total) VALUES ('0000000a', 'me@host', 1);"
    "INSERT INTO webhook.redrive_items (token, n, row_id, claim_epoch) SELECT '0000000a', i, 5, 7"
    "  FROM generate_series(1, 100) i;"
    "INSERT INTO webhook.samples (at, accepted, completed, depth, latency) SELECT now() - n * interval '5 s',"
    "  5, 4, 3, '{0,1,2,3,0,0,0,0,0,0,0,0,0,0,0,1,0}' FROM generate_series(1, 100) n;"
    "INSERT INTO webhook.tallies (hour, kind, name, outcome, n, took_ms) VALUES"
    "  (date_trunc('hour', now()), 'source', 'change', 'accepted', 7, 0),"
    "  (date_trunc('hour', now()), 'source', 'change', 'signature', 2, 0),"
    "  (date_trunc('hour', now()), 'upstream', 'page.test:80', 'ok', 3, 100),"
    "  (date_trunc('hour', now()), 'upstream', 'page.test:80', 'timeout', 3, 100);"
    "INSERT INTO webhook.upstreams (host, state, failures, open_until, last_error)"
    "  VALUES ('other.test:80', 'open', 5, now() + interval '1 hour', 'HTTP 503');"
    "INSERT INTO webhook.spools (segment, host, folder, holder, bytes) VALUES ('h-1.seg', 'h', '/s', 'h', 5)";

enum phase { UP, STRICT, NO_REDIS, NO_POSTGRES }; /* STRICT: the other producer; it has low limits */
enum who {
    NOBODY, READER, WRITER, LOOKER, STRANGER, SENDER, FORGER, PAGE_JSON, PAGE_FOREIGN, SIGNED, SIGNED_CSRF
};

#define HOOK "/api/webhook/changedetection"
#define ID   "00000000-0000-4000-8000-00000000000"
#define FIRE "/api/webhook/firecrawl"
#define PAGE(text)                                                                                 \
    "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[{\"markdown\":\"" text "\","              \
    "\"metadata\":{\"url\":\"http://page.test/c\",\"statusCode\":200,\"scrapeId\":\"s1\"}}]}"
#define NOTE "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/n\"}"
static const struct ask {
    enum phase phase;
    int status;
    const char *method, *path;
    enum who who;
    const char *body;
} asks[] = {
    {UP, 200, "GET", "/", NOBODY, NULL},
    {UP, 200, "GET", "/health", NOBODY, NULL},
    {UP, 200, "GET", "/openapi.json", NOBODY, NULL},
    {UP, 200, "GET", "/metrics", READER, NULL},
    {UP, 401, "GET", "/metrics", STRANGER, NULL},
    {UP, 200, "GET", "/livez", NOBODY, NULL},
    {UP, 200, "GET", "/readyz", NOBODY, NULL},
    {UP, 200, "GET", "/startupz", NOBODY, NULL},
    {UP, 202, "POST", HOOK, SENDER, NOTE},
    {UP, 409, "POST", HOOK, SENDER, "{\"watch_id\":\"w\",\"watch_url\":\"http://page.test/other\"}"},
    {UP, 400, "POST", HOOK, SENDER, "{\"watch_url\":1}"},
    {UP, 401, "POST", HOOK, FORGER, NOTE},
    {UP, 200, "POST", FIRE, SENDER, "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c\"}"},
    {UP, 200, "POST", FIRE, SENDER, "{\"success\":false,\"type\":\"crawl.page\",\"id\":\"c\",\"error\":\"no\"}"},
    {UP, 200, "POST", FIRE, SENDER, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[]}"},
    {UP, 202, "POST", FIRE, SENDER, PAGE("one")},
    {UP, 202, "POST", FIRE, SENDER, PAGE("one")}, /* again: the same answer */
    {UP, 409, "POST", FIRE, SENDER, PAGE("another")},
    {UP, 400, "POST", FIRE, SENDER, "no JSON"},
    {UP, 422, "POST", FIRE, SENDER, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[1,{}]}"},
    {UP, 401, "POST", FIRE, FORGER, PAGE("one")},
    {UP, 200, "GET", "/api/metrics/requests", READER, NULL},
    {UP, 200, "GET", "/api/metrics/operations", READER, NULL},
    {UP, 200, "GET", "/api/metrics/summary?hours=1", READER, NULL},
    {UP, 200, "GET", "/api/metrics/crawls/crawl-1?include_per_page=yes", READER, NULL},
    {UP, 200, "GET", "/api/metrics/crawls/crawl-2", READER, NULL},
    {UP, 404, "GET", "/api/metrics/crawls/none", READER, NULL},
    {UP, 200, "GET", "/api/events", READER, NULL},
    {UP, 200, "GET", "/api/events?limit=2", READER, NULL},
    {UP, 200, "GET", "/api/events?status=superseded&watch=none", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "1", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "2", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "3", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "4", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "5", READER, NULL},
    {UP, 200, "GET", "/api/events/7", READER, NULL}, /* of the replaced service */
    {UP, 200, "GET", "/api/events/8", READER, NULL}, /* without a status */
    {UP, 404, "GET", "/api/events/" ID "0", READER, NULL},
    {UP, 404, "GET", "/api/events/12345678901234567890", READER, NULL},
    {UP, 202, "POST", "/api/events/" ID "6/retry", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "6", READER, NULL}, /* with a retry in its timeline */
    {UP, 409, "POST", "/api/events/" ID "6/retry", READER, NULL},
    {UP, 409, "POST", "/api/events/8/retry", READER, NULL},
    {UP, 404, "POST", "/api/events/no-id/retry", READER, NULL},
    {UP, 200, "GET", "/api/crawls", READER, NULL},
    {UP, 200, "GET", "/api/crawls?limit=1", READER, NULL},
    {UP, 200, "GET", "/api/queues", READER, NULL},
    {UP, 200, "GET", "/api/workers", READER, NULL},
    {UP, 200, "GET", "/api/events/" ID "5/trace", READER, NULL},
    {UP, 200, "GET", "/api/events/7/trace", READER, NULL},
    {UP, 404, "GET", "/api/events/" ID "0/trace", READER, NULL},
    {UP, 404, "GET", "/api/events/no-id/trace", READER, NULL},
    {UP, 401, "GET", "/api/events/1/trace", NOBODY, NULL},
    {UP, 201, "POST", "/api/redrives", WRITER, "{\"filter\":{\"error\":\"GONE\"},\"reason\":\"back\"}"},
    {UP, 404, "POST", "/api/redrives", WRITER, "{\"filter\":{\"error\":\"none\"}}"},
    {UP, 200, "GET", "/api/redrives", READER, NULL},
    {UP, 401, "GET", "/api/redrives", NOBODY, NULL},
    {UP, 200, "GET", "/api/redrives/0000000a", READER, NULL},
    {UP, 404, "GET", "/api/redrives/0000000b", READER, NULL},
    {UP, 404, "GET", "/api/redrives/x", READER, NULL},
    {UP, 401, "GET", "/api/redrives/0000000a", NOBODY, NULL},
    {UP, 409, "POST", "/api/redrives/0000000a/stop", WRITER, "{}"},
    {UP, 202, "POST", "/api/redrives/0000000a/apply", WRITER, "{\"per_second\":1}"},
    {UP, 409, "POST", "/api/redrives/0000000a/apply", WRITER, NULL},
    {UP, 200, "POST", "/api/redrives/0000000a/stop", WRITER, NULL},
    {UP, 404, "POST", "/api/redrives/0000000b/stop", WRITER, NULL},
    {UP, 404, "POST", "/api/redrives/0000000b/apply", WRITER, NULL},
    {UP, 400, "POST", "/api/redrives", WRITER, "{"},
    {UP, 415, "POST", "/api/redrives", READER, "{}"},
    {UP, 422, "POST", "/api/redrives", WRITER, "{\"filter\":{\"since\":\"x\"}}"},
    {UP, 401, "POST", "/api/redrives", NOBODY, NULL},
    {UP, 400, "POST", "/api/redrives/0000000a/apply", WRITER, "{"},
    {UP, 415, "POST", "/api/redrives/0000000a/apply", READER, "{}"},
    {UP, 422, "POST", "/api/redrives/0000000a/apply", WRITER, "{\"per_second\":0}"},
    {UP, 401, "POST", "/api/redrives/0000000a/apply", NOBODY, NULL},
    {UP, 400, "POST", "/api/redrives/0000000a/stop", WRITER, "{"},
    {UP, 415, "POST", "/api/redrives/0000000a/stop", READER, "{}"},
    {UP, 422, "POST", "/api/redrives/0000000a/stop", WRITER, "{\"a\":0}"},
    {UP, 401, "POST", "/api/redrives/0000000a/stop", NOBODY, NULL},
    {UP, 200, "POST", "/api/queues/crawl/pause", WRITER, "{\"reason\":\"a look\"}"},
    {UP, 404, "POST", "/api/queues/none/pause", WRITER, "{\"reason\":\"a look\"}"},
    {UP, 400, "POST", "/api/queues/crawl/pause", WRITER, "{"},
    {UP, 415, "POST", "/api/queues/crawl/pause", READER, "{}"},
    {UP, 422, "POST", "/api/queues/crawl/pause", WRITER, "{\"why\":1}"},
    {UP, 401, "POST", "/api/queues/crawl/pause", NOBODY, NULL},
    {UP, 200, "POST", "/api/queues/crawl/resume", WRITER, ""},
    {UP, 404, "POST", "/api/queues/none/resume", WRITER, ""},
    {UP, 400, "POST", "/api/queues/crawl/resume", WRITER, "{"},
    {UP, 415, "POST", "/api/queues/crawl/resume", READER, "{}"},
    {UP, 422, "POST", "/api/queues/crawl/resume", WRITER, "{\"reason\":1}"},
    {UP, 401, "POST", "/api/queues/crawl/resume", NOBODY, NULL},
    {UP, 200, "POST", "/api/workers/worker-1/orders", WRITER, "{\"order\":null}"},
    {UP, 404, "POST", "/api/workers/none/orders", WRITER, "{\"order\":null}"},
    {UP, 400, "POST", "/api/workers/worker-1/orders", WRITER, "{"},
    {UP, 415, "POST", "/api/workers/worker-1/orders", READER, "{}"},
    {UP, 422, "POST", "/api/workers/worker-1/orders", WRITER, "{\"order\":\"dance\"}"},
    {UP, 401, "POST", "/api/workers/worker-1/orders", NOBODY, NULL},
    {UP, 200, "GET", "/api/events?search=PAGE.test", READER, NULL},
    {UP, 200, "GET", "/api/dead", READER, NULL},
    {UP, 200, "GET", "/api/dead?status=none", READER, NULL},
    {UP, 422, "GET", "/api/dead?since=x", READER, NULL},
    {UP, 401, "GET", "/api/dead", NOBODY, NULL},
    {UP, 200, "GET", "/api/dead/events?limit=1", READER, NULL},
    {UP, 200, "GET", "/api/dead/events?error=none", READER, NULL},
    {UP, 422, "GET", "/api/dead/events?after=x", READER, NULL},
    {UP, 401, "GET", "/api/dead/events", NOBODY, NULL},
    {UP, 200, "GET", "/api/documents?url=HTTP://page.test/5", READER, NULL},
    {UP, 200, "GET", "/api/documents?event=" ID "1", READER, NULL},
    {UP, 422, "GET", "/api/documents", READER, NULL},
    {UP, 401, "GET", "/api/documents", NOBODY, NULL},
    {UP, 200, "GET", "/api/search?q=heron", READER, NULL},
    {UP, 200, "GET", "/api/search?q=nothing+of+the+kind", READER, NULL},
    {UP, 200, "GET", "/api/rejects", READER, NULL},
    {UP, 200, "GET", "/api/overview", READER, NULL},
    {UP, 200, "GET", "/api/series", READER, NULL},
    {UP, 200, "GET", "/api/series?minutes=10080", READER, NULL},
    {UP, 422, "GET", "/api/series?minutes=10081", READER, NULL},
    {UP, 200, "GET", "/api/sources?hours=1", READER, NULL},
    {UP, 422, "GET", "/api/sources?hours=0", READER, NULL},
    {UP, 200, "GET", "/api/upstreams?hours=168", READER, NULL},
    {UP, 422, "GET", "/api/upstreams?hours=169", READER, NULL},
    {UP, 200, "POST", "/api/system/log-level", WRITER, "{\"level\":\"debug\",\"minutes\":5}"},
    {UP, 200, "GET", "/api/system", READER, NULL},
    {UP, 200, "POST", "/api/system/log-level", WRITER, "{\"level\":null}"},
    {UP, 200, "GET", "/api/system", READER, NULL},
    {UP, 400, "POST", "/api/system/log-level", WRITER, "debug"},
    {UP, 415, "POST", "/api/system/log-level", READER, "{\"level\":null}"},
    {UP, 422, "POST", "/api/system/log-level", WRITER, "{\"level\":\"loud\"}"},
    {UP, 401, "GET", "/api/overview", NOBODY, NULL},
    {UP, 401, "GET", "/api/series", STRANGER, NULL},
    {UP, 401, "GET", "/api/sources", NOBODY, NULL},
    {UP, 401, "GET", "/api/upstreams", NOBODY, NULL},
    {UP, 401, "GET", "/api/system", STRANGER, NULL},
    {UP, 401, "POST", "/api/system/log-level", NOBODY, "{\"level\":null}"},
    {UP, 200, "GET", "/api/rejects?limit=1", READER, NULL},
    {UP, 422, "GET", "/api/live?of=/api/live", READER, NULL},
    {UP, 401, "GET", "/api/live?of=/api/events", STRANGER, NULL},
    {UP, 422, "GET", "/api/metrics/requests?limit=0", READER, NULL},
    {UP, 422, "GET", "/api/metrics/operations?success=perhaps", READER, NULL},
    {UP, 422, "GET", "/api/metrics/summary?hours=x", READER, NULL},
    {UP, 422, "GET", "/api/metrics/crawls/crawl-1?include_per_page=2", READER, NULL},
    {UP, 422, "GET", "/api/events?status=lost", READER, NULL},
    {UP, 422, "GET", "/api/events?after=x&limit=5", READER, NULL},
    {UP, 422, "GET", "/api/events?since=yesterday&limit=1001", READER, NULL},
    {UP, 422, "GET", "/api/crawls?after=17", READER, NULL},
    {UP, 422, "GET", "/api/search", READER, NULL},
    {UP, 422, "GET", "/api/search?q=", READER, NULL},
    {UP, 422, "GET", "/api/rejects?before=x", READER, NULL},
    {UP, 401, "GET", "/api/metrics/requests", NOBODY, NULL},
    {UP, 401, "GET", "/api/metrics/operations", STRANGER, NULL},
    {UP, 401, "GET", "/api/metrics/summary", NOBODY, NULL},
    {UP, 401, "GET", "/api/metrics/crawls/crawl-1", STRANGER, NULL},
    {UP, 401, "GET", "/api/events", NOBODY, NULL},
    {UP, 401, "GET", "/api/events?limit=0", STRANGER, NULL},
    {UP, 401, "GET", "/api/events/" ID "1", NOBODY, NULL},
    {UP, 401, "POST", "/api/events/" ID "5/retry", NOBODY, NULL},
    {UP, 403, "POST", "/api/events/" ID "5/retry", LOOKER, NULL},
    {UP, 200, "POST", "/dashboard/session", PAGE_JSON, "{\"secret\":\"" RIG_READ_SECRET "\"}"},
    {UP, 401, "POST", "/dashboard/session", PAGE_JSON, "{\"secret\":\"guessed\"}"},
    {UP, 403, "POST", "/dashboard/session", PAGE_FOREIGN, "{\"secret\":\"guessed\"}"},
    {UP, 415, "POST", "/dashboard/session", NOBODY, "{\"secret\":\"guessed\"}"},
    {UP, 422, "POST", "/dashboard/session", PAGE_JSON, "{\"secret\":1}"},
    {UP, 200, "GET", "/dashboard/session", SIGNED, NULL},
    {UP, 200, "GET", "/dashboard/session", NOBODY, NULL},
    {UP, 403, "DELETE", "/dashboard/session", SIGNED, NULL},
    {UP, 204, "DELETE", "/dashboard/session", SIGNED_CSRF, NULL},
    {UP, 401, "GET", "/api/crawls", NOBODY, NULL},
    {UP, 401, "GET", "/api/queues", STRANGER, NULL},
    {UP, 401, "GET", "/api/workers", NOBODY, NULL},
    {UP, 401, "GET", "/api/search", NOBODY, NULL},
    {UP, 401, "GET", "/api/rejects", NOBODY, NULL},
    {STRICT, 429, "GET", "/", NOBODY, NULL},
    {STRICT, 429, "GET", "/health", NOBODY, NULL},
    {STRICT, 429, "GET", "/api/metrics/requests", READER, NULL},
    {STRICT, 429, "GET", "/api/metrics/operations", READER, NULL},
    {STRICT, 429, "GET", "/api/metrics/summary", READER, NULL},
    {STRICT, 429, "GET", "/api/metrics/crawls/crawl-1", READER, NULL},
    {STRICT, 429, "POST", "/dashboard/session", PAGE_JSON, "{\"secret\":\"guessed\"}"},
    {STRICT, 413, "POST", HOOK, SENDER, NULL}, /* a body of 2000 bytes */
    {STRICT, 413, "POST", FIRE, SENDER, NULL},
    {NO_REDIS, 200, "GET", "/health", NOBODY, NULL},
    {NO_REDIS, 200, "GET", "/api/queues", READER, NULL},
    {NO_REDIS, 200, "GET", "/api/dead", READER, NULL},
    {NO_REDIS, 200, "GET", "/api/events/" ID "5/trace", READER, NULL},
    {NO_REDIS, 200, "GET", "/api/overview", READER, NULL},
    {NO_REDIS, 202, "POST", "/api/events/" ID "5/retry", READER, NULL},
    {NO_REDIS, 503, "GET", "/api/rejects", READER, NULL},
    {NO_REDIS, 202, "POST", FIRE, SENDER, PAGE("one")},
    {NO_POSTGRES, 503, "GET", "/api/metrics/requests", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/metrics/operations", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/metrics/summary", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/metrics/crawls/crawl-1", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/events", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/events/" ID "1", READER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/events/" ID "1/retry", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/crawls", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/queues", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/workers", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/events/1/trace", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/redrives", READER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/redrives", WRITER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/redrives/0000000a", READER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/redrives/0000000a/apply", WRITER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/redrives/0000000a/stop", WRITER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/workers/worker-1/orders", WRITER, "{\"order\":null}"},
    {NO_POSTGRES, 503, "POST", "/api/queues/crawl/pause", WRITER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/queues/crawl/resume", WRITER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/dead", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/dead/events", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/documents?event=1", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/overview", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/series", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/sources", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/upstreams", READER, NULL},
    {NO_POSTGRES, 503, "GET", "/api/system", READER, NULL},
    {NO_POSTGRES, 503, "POST", "/api/system/log-level", WRITER, "{\"level\":null}"},
    {NO_POSTGRES, 503, "GET", "/api/search?q=heron", READER, NULL},
    {NO_POSTGRES, 202, "POST", HOOK, SENDER, NOTE},
};

/* Proved where a disk can be full (test_spool_faults), where all that can be ill is (test_admin), without
 * secrets (test_dashboard_session), with streams (test_live), with many events (test_api_redrive). */
static const char *const elsewhere[] = {"post " HOOK " 503", "post " FIRE " 503", "get /livez 503",
    "get /readyz 503", "get /startupz 503", "post /dashboard/session 503", "get /api/live 200",
    "get /api/live 429", "get /api/live 503", "post /api/redrives 202"};

static const char *headers[] = {
    [NOBODY] = NULL,
    [READER] = "Authorization: Bearer " RIG_API_SECRET "\r\n",
    [STRANGER] = "Authorization: Bearer of-good-news\r\n",
    [WRITER] = "Authorization: " RIG_API_SECRET "\r\nContent-Type: application/json\r\n",
    [SENDER] = "X-Webhook-Token: " RIG_TOKEN "\r\nIdempotency-Key: one\r\n",
    [FORGER] = "X-Webhook-Token: made-up\r\n",
    [LOOKER] = "Authorization: Bearer " RIG_READ_SECRET "\r\n",
    [PAGE_JSON] = "Content-Type: application/json\r\n",
    [PAGE_FOREIGN] = "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n",
    [SIGNED] = NULL, /* sign_in makes them */
    [SIGNED_CSRF] = NULL,
};
/* clang-format on */

static void sign_in(void)
{
    const struct config cfg = {.api_secret = (char[]){RIG_API_SECRET}};
    const struct session s = {
        .right = SESSION_WRITES, .expires_s = clock_wall_us() / 1000000 + 600};
    char cookie[SESSION_LEN + 1], csrf[SESSION_CSRF_LEN + 1];
    session_write(&cfg, &s, cookie);
    session_csrf(&cfg, &s, csrf);
    headers[SIGNED] = harness_text("Cookie: " SESSION_COOKIE "=%s\r\n", cookie);
    headers[SIGNED_CSRF] = harness_text("%s" SESSION_CSRF ": %s\r\n", headers[SIGNED], csrf);
}

/* --- asking ------------------------------------------------------------------------------ */

static bool segments_fit(const char *pattern, const char *path)
{
    while (*pattern || *path) {
        size_t p = strcspn(pattern, "/"), n = strcspn(path, "/");
        bool any = *pattern == '{' && n;
        if (!any && (p != n || strncmp(pattern, path, n) != 0))
            return false;
        pattern += p + (pattern[p] == '/');
        path += n + (path[n] == '/');
    }
    return true;
}

/* The path of the document that a request is for. */
static const char *documented(const json_t *doc, const char *request)
{
    const char *path = harness_text("%.*s", (int)strcspn(request, "?"), request), *found = NULL;
    const char *pattern;
    json_t *item;
    json_object_foreach(json_object_get(doc, "paths"), pattern, item)
    {
        if (strcmp(pattern, path) == 0)
            return harness_text("%s", pattern);
        if (segments_fit(pattern, path))
            found = harness_text("%s", pattern);
    }
    cr_assert_not_null(found, "%s is not in the document", path);
    return found;
}

static struct test_reply send_ask(const struct ask *ask, int port)
{
    char large[2000];
    memset(large, ' ', sizeof(large));
    bool is_large = ask->status == 413;
    return test_http(port, ask->method, ask->path, headers[ask->who], is_large ? large : ask->body,
        is_large    ? sizeof(large)
        : ask->body ? strlen(ask->body)
                    : 0);
}

/* A limit is one a minute, and a new minute may begin; a loss is seen a moment later, and so is that the
 * program is ready. */
static struct test_reply answer_to(const struct ask *ask, int port)
{
    struct test_reply reply = send_ask(ask, port);
    int64_t end = harness_now_ms() + SOON;
    while (reply.status != ask->status && (ask->phase != UP || reply.status == 503) &&
           harness_now_ms() < end)
        reply = send_ask(ask, port);
    return reply;
}

static void check_answer(
    const json_t *doc, const struct ask *ask, const struct test_reply *reply, const char *path)
{
    const char *status = harness_text("%d", ask->status);
    const json_t *op = get(doc, "paths", path, lower(ask->method));
    const json_t *response = schema_resolve(doc, get(op, "responses", status, NULL));
    const json_t *content = get(response, "content", NULL, NULL);
    const json_t *schema = get(get(content, "application/json", NULL, NULL), "schema", NULL, NULL);
    json_error_t err;
    const char *type = test_reply_header(reply, "Content-Type");
    json_t *body = json_loads(reply->body, JSON_REJECT_DUPLICATES, &err);

    cr_expect_not_null(response, "%s %s: %s is not documented", ask->method, path, status);
    if (get(content, "text/plain", NULL, NULL)) {
        cr_expect(type && strncmp(type, "text/plain;", 11) == 0, "%s: %s", ask->path, type);
        json_decref(body);
        return;
    }
    if (ask->status == 204) {
        cr_expect(!*reply->body && !type && !body, "%s", reply->body);
        return;
    }
    cr_expect(type && strcmp(type, "application/json") == 0, "%s: %s", ask->path, type);
    cr_expect_not_null(body, "%s: %s: %s", ask->path, err.text, reply->body);
    const char *said = body && schema ? schema_fault(doc, schema, body) : NULL;
    cr_expect_null(said, "%s %s, %s: %s in %s", ask->method, ask->path, status, said, reply->body);
    json_decref(body);
}

/* Notes in `seen` what was answered. */
static void ask_all(const json_t *doc, json_t *seen, enum phase phase, int port)
{
    for (size_t i = 0; i < COUNT(asks); i++) {
        const struct ask *ask = &asks[i];
        if (ask->phase != phase)
            continue;
        struct test_reply reply = answer_to(ask, port);
        cr_expect_eq(reply.status, ask->status, "%s %s: %d, not %d: %s", ask->method, ask->path,
            reply.status, ask->status, reply.body);
        if (reply.status != ask->status)
            continue;
        const char *path = documented(doc, ask->path);
        check_answer(doc, ask, &reply, path);
        json_object_set_new(
            seen, harness_text("%s %s %d", lower(ask->method), path, ask->status), json_true());
    }
}

static void expect_all_seen(const json_t *doc, json_t *seen)
{
    const char *path, *method, *status;
    json_t *item, *op, *response;
    for (size_t i = 0; i < COUNT(elsewhere); i++)
        json_object_set_new(seen, elsewhere[i], json_true());
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        json_object_foreach(item, method, op)
        {
            json_object_foreach(json_object_get(op, "responses"), status, response)
            {
                const char *one = harness_text("%s %s %s", method, path, status);
                cr_expect(strcmp(status, "default") == 0 || json_object_get(seen, one),
                    "%s: documented, and nothing here asks for it", one);
            }
        }
    }
}

static int strict_producer(struct rig *r)
{
    int port, fd = harness_listen(&port);
    rig_start_program(r, (const char *const[]){rig_program("hookline-producer"), NULL},
        RIG_ENV("WEBHOOK_RATE_LIMIT=1", "WEBHOOK_MAX_BODY_BYTES=1024",
            "WEBHOOK_CRAWL_MAX_BODY_BYTES=1024",
            harness_text("WEBHOOK_SPOOL_DIR=%s/spool2", harness_dir())),
        fd);
    close(fd);
    WAIT_FOR(test_http(port, "GET", "/openapi.json", NULL, NULL, 0).status == 200, SOON);
    return port;
}

Test(api_openapi, every_documented_answer_is_given_as_documented)
{
    struct rig r;
    json_t *doc = document(), *seen = json_object();
    rig_start_own_pg(&r);
    sql_exec(r.db, "%s", rows);
    sign_in();
    ask_all(doc, seen, UP, r.producer_port);
    ask_all(doc, seen, STRICT, strict_producer(&r));
    test_redis_kill(r.redis);
    ask_all(doc, seen, NO_REDIS, r.producer_port);
    test_redis_restart(r.redis);
    test_pg_kill(r.pg);
    ask_all(doc, seen, NO_POSTGRES, r.producer_port);
    expect_all_seen(doc, seen);
    json_decref(seen);
    json_decref(doc);
}

Test(api_openapi, what_is_no_route_is_refused_as_documented)
{
    struct rig r;
    json_t *doc = document();
    const json_t *server = get(doc, "components", "responses", "Server");
    const json_t *schema =
        get(get(server, "content", "application/json", NULL), "schema", NULL, NULL);
    rig_start(&r);
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {
        {"GET",  "/nowhere",            404},
        {"POST", "/api/events",         405},
        {"GET",  "/api/events/",        307},
        {"GET",  "/api/events/x/retry", 405}
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct test_reply reply =
            test_http(r.producer_port, cases[i].method, cases[i].path, headers[READER], NULL, 0);
        cr_expect_eq(reply.status, cases[i].status, "%s: %d", cases[i].path, reply.status);
        if (reply.status < 400)
            continue;
        json_t *body = json_loads(reply.body, 0, NULL);
        const char *said = schema_fault(doc, schema, body);
        cr_expect_null(said, "%s: %s", cases[i].path, said);
        json_decref(body);
    }
    json_decref(doc);
}
