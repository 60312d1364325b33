/* monitor: see monitor.h. */
#include "producer/monitor.h"

#include "producer/session.h"
#include "producer/stores.h"

#include <string.h>

static void probe(struct httpd_req *req, void *ctx)
{
    const struct stores *s = ctx;
    admin_answer(req, &s->admin);
}

static void metrics(struct httpd_req *req, void *ctx)
{
    const struct stores *s = ctx;
    enum session_right right = session_of(s->cfg, req, false);
    if (right >= SESSION_READS) {
        admin_answer(req, &s->admin);
        return;
    }
    httpd_add_header(req, "WWW-Authenticate", "Bearer");
    httpd_reply_detail(req, 401, "%s",
        right == SESSION_NONE ? "Missing Authorization header" : "Invalid credentials");
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
