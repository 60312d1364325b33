/* monitor: see monitor.h. */
#include "producer/monitor.h"

#include "base/digest.h"
#include "producer/stores.h"

#include <string.h>

static void probe(struct httpd_req *req, void *ctx)
{
    const struct stores *s = ctx;
    admin_answer(req, &s->admin);
}

/* As for the read API: "Bearer SECRET", or the bare secret. */
static bool may_scrape(const struct config *cfg, const char *given)
{
    static const char scheme[] = "Bearer ";
    if (strncmp(given, scheme, sizeof(scheme) - 1) == 0)
        given += sizeof(scheme) - 1;
    return (cfg->api_secret && digest_equal(cfg->api_secret, given)) ||
           (cfg->api_secret_readonly && digest_equal(cfg->api_secret_readonly, given));
}

static void metrics(struct httpd_req *req, void *ctx)
{
    const struct stores *s = ctx;
    const char *given = httpd_header(req, "Authorization");
    if (given && may_scrape(s->cfg, given)) {
        admin_answer(req, &s->admin);
        return;
    }
    httpd_add_header(req, "WWW-Authenticate", "Bearer");
    httpd_reply_detail(
        req, 401, "%s", given ? "Invalid credentials" : "Missing Authorization header");
}

const struct httpd_route monitor_routes[] = {
    {"GET",    ADMIN_METRICS, metrics, 0, 0},
    {"GET", ADMIN_LIVE, probe, 0, 0},
    {"GET",       ADMIN_READY, probe, 0, 0},
    {"GET",    ADMIN_STARTUP, probe, 0, 0},
    {0  },
};

bool monitor_is_probe(const char *path)
{
    for (const struct httpd_route *r = monitor_routes; r->method; r++)
        if (r->handler == probe && strcmp(r->path, path) == 0)
            return true;
    return false;
}
