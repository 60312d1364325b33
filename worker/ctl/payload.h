/* payload: what senders post: the bodies of both sources, the routes they go to, how they are signed. */
#ifndef HL_WORKER_CTL_PAYLOAD_H
#define HL_WORKER_CTL_PAYLOAD_H

#include "base/buf.h"
#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>

enum payload_source { PAYLOAD_CHANGE, PAYLOAD_CRAWL };
#define PAYLOAD_SOURCES "changedetection or firecrawl"

/* "changedetection", "firecrawl"; false: neither. */
bool payload_source(const char *word, enum payload_source *source);
const char *payload_source_name(enum payload_source source);
/* Of a producer: "/api/webhook/...". */
const char *payload_route(enum payload_source source);

/* Texts are borrowed and valid UTF-8; NULL = absent. */
struct payload_change {
    const char *watch_id, *url, *title, *detected_at, *diff_url, *snapshot;
};
void payload_put_change(struct buf *out, const struct payload_change *p);

struct payload_crawl {
    const char *type, *crawl;           /* "crawl.page"; id of the crawl */
    const char *url, *title, *markdown; /* of the page; type without one: url of the crawl */
    const char *scrape_id;              /* of a page */
};
void payload_put_crawl(struct buf *out, const struct payload_crawl *p);
bool payload_is_page(const char *type);

/* The header that lets a body in: signed, or WEBHOOK_INTAKE_TOKEN. Caller frees. */
char *payload_credential(
    enum payload_source source, const struct config *cfg, bool token, const void *body, size_t len);
/* Whether what that takes is set. -1: go on; else the exit code, after saying what is not. */
int payload_can_sign(const struct config *cfg, bool token);
/* Where to post: `to`, or by default the producer on this machine; NULL after saying why. Caller
 * frees. */
char *payload_target(enum payload_source source, const struct config *cfg, const char *to);

#endif
