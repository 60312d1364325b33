/* tally: see tally.h. A note is kept with its request, as a pointer to its line of a table. */
#include "producer/tally.h"

#include <string.h>

#define WEBHOOKS  "/api/webhook/"
#define FIRECRAWL WEBHOOKS "firecrawl"

enum end { ACCEPTED, DUPLICATE, REFUSED, NENDS };
enum { MAX_LABELS = 16 };

_Static_assert((int)SAFE_COUNT <= MAX_LABELS && (int)REASON_COUNT <= MAX_LABELS, "notes has all");

static char notes[NENDS][MAX_LABELS]; /* only their addresses count */

static void note(struct httpd_req *req, enum end end, int label)
{
    httpd_set_user(req, &notes[end][label]);
}

void tally_accepted(struct httpd_req *req, enum meter_SAFE where)
{
    note(req, ACCEPTED, (int)where);
}

void tally_duplicate(struct httpd_req *req)
{
    note(req, DUPLICATE, 0);
}

void tally_refused(struct httpd_req *req, enum meter_REASON why)
{
    note(req, REFUSED, (int)why);
}

enum meter_REASON tally_reason(enum gate_verdict verdict)
{
    switch (verdict) {
    case GATE_MISSING:
    case GATE_NO_ID: return REASON_CREDENTIALS;
    case GATE_BAD_SIGNATURE:
    case GATE_BAD_SHAPE: return REASON_SIGNATURE;
    case GATE_BAD_TOKEN: return REASON_TOKEN;
    case GATE_NO_TIMESTAMP:
    case GATE_BAD_TIMESTAMP:
    case GATE_TOO_OLD:
    case GATE_TOO_NEW: return REASON_TIMESTAMP;
    case GATE_SIGNED:
    case GATE_SIGNED_PREVIOUS:
    case GATE_TOKEN: break;
    }
    return REASON_OTHER;
}

/* No handler has seen it. */
static enum meter_REASON reason_of(int status)
{
    switch (status) {
    case 408: return REASON_SLOW;
    case 413: return REASON_TOO_LARGE;
    case 503: return REASON_BUSY; /* too many large bodies at once */
    case 404:
    case 405: return REASON_OTHER;
    default: return REASON_PROTOCOL;
    }
}

static void count(enum meter_SOURCE source, const char *noted, int status, int64_t took_us)
{
    ptrdiff_t at = noted ? noted - notes[0] : -1;
    int label = (int)(at % MAX_LABELS);
    if (at < 0) {
        if (status >= 400)
            meter_inc(M_REFUSED, (int)source, (int)reason_of(status));
        return;
    }
    switch ((enum end)(at / MAX_LABELS)) {
    case ACCEPTED: meter_inc(M_ACCEPTED, (int)source, label); break;
    case DUPLICATE: meter_inc(M_DUPLICATES, (int)source, 0); break;
    case REFUSED: meter_inc(M_REFUSED, (int)source, label); return;
    case NENDS: return;
    }
    meter_observe(M_ACCEPT, (int)source, took_us);
}

void tally_reply(struct stores *s, struct httpd_req *req, int status, int64_t took_us)
{
    const char *path = httpd_path(req);
    meter_inc(M_REQUESTS, 0, 0);
    if (strncmp(path, WEBHOOKS, strlen(WEBHOOKS)) != 0)
        return;
    bool crawl = strncmp(path, FIRECRAWL, strlen(FIRECRAWL)) == 0;
    count(crawl ? SOURCE_CRAWL : SOURCE_CHANGE, httpd_user(req), status, took_us);
    if (!httpd_route_path(req))
        return;
    if (status < 300)
        s->accepted++;
    else
        s->refused++;
}
