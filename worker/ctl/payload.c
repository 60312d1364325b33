/* payload: see payload.h. */
#include "worker/ctl/payload.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/post.h"

static const struct {
    const char *name, *route, *signature;
} sources[] = {
    [PAYLOAD_CHANGE] = {.name = "changedetection",
                        .route = "/api/webhook/changedetection",
                        .signature = "X-Signature"          },
    [PAYLOAD_CRAWL] = {.name = "firecrawl",
                        .route = "/api/webhook/firecrawl",
                        .signature = "X-Firecrawl-Signature"},
};

bool payload_source(const char *word, enum payload_source *source)
{
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (strcmp(word, sources[i].name) == 0) {
            *source = (enum payload_source)i;
            return true;
        }
    }
    return false;
}

const char *payload_source_name(enum payload_source source)
{
    return sources[source].name;
}

const char *payload_route(enum payload_source source)
{
    return sources[source].route;
}

/* --- bodies ------------------------------------------------------------------------------ */

static void put_member(struct buf *out, const char *key, const char *value)
{
    if (!value)
        return;
    json_put_key(out, key);
    json_put_string(out, value);
}

void payload_put_change(struct buf *out, const struct payload_change *p)
{
    buf_putc(out, '{');
    put_member(out, "watch_id", p->watch_id);
    put_member(out, "watch_url", p->url);
    put_member(out, "watch_title", p->title);
    put_member(out, "detected_at", p->detected_at);
    put_member(out, "diff_url", p->diff_url);
    put_member(out, "snapshot", p->snapshot);
    buf_putc(out, '}');
}

bool payload_is_page(const char *type)
{
    const char *dot = strchr(type, '.');
    return dot && strcmp(dot, ".page") == 0;
}

static void put_page(struct buf *out, const struct payload_crawl *p)
{
    buf_putc(out, '{');
    put_member(out, "markdown", p->markdown);
    json_put_key(out, "metadata");
    buf_putc(out, '{');
    put_member(out, "url", p->url);
    put_member(out, "sourceURL", p->url);
    put_member(out, "title", p->title);
    put_member(out, "scrapeId", p->scrape_id);
    json_put_int(out, "statusCode", 200);
    buf_puts(out, "}}");
}

void payload_put_crawl(struct buf *out, const struct payload_crawl *p)
{
    bool page = payload_is_page(p->type);
    buf_puts(out, "{\"success\":true");
    put_member(out, "type", p->type);
    put_member(out, "id", p->crawl);
    json_put_key(out, "data");
    buf_putc(out, '[');
    if (page)
        put_page(out, p);
    buf_putc(out, ']');
    json_put_key(out, "metadata");
    buf_putc(out, '{');
    if (!page)
        put_member(out, "url", p->url);
    buf_puts(out, "}}");
}

/* --- on the way -------------------------------------------------------------------------- */

char *payload_credential(
    enum payload_source source, const struct config *cfg, bool token, const void *body, size_t len)
{
    return token ? mem_printf("X-Webhook-Token: %s", cfg->intake_token)
                 : post_signature(sources[source].signature, cfg->webhook_secret, body, len);
}

int payload_can_sign(const struct config *cfg, bool token)
{
    const char *secret = token ? cfg->intake_token : cfg->webhook_secret;
    if (secret && *secret)
        return -1;
    return ctl_fail(CTL_ERROR, "%s is not set: give the %s of the producer",
        token ? "WEBHOOK_INTAKE_TOKEN" : "WEBHOOK_SECRET", token ? "token" : "secret");
}

char *payload_target(enum payload_source source, const struct config *cfg, const char *to)
{
    if (to)
        return mem_strdup(to);
    if (cfg->port != 0)
        return mem_printf("http://127.0.0.1:%lld%s", (long long)cfg->port, payload_route(source));
    ctl_fail(CTL_ERROR, "WEBHOOK_PORT is 0, which means any: give the address with --to");
    return NULL;
}
