/* scrape_kind: what one way of scraping must know; private to the scrapers. Each way is two pure
 * functions around one HTTP call, which scrape.c makes. */
#ifndef HL_WORKER_SCRAPE_KIND_H
#define HL_WORKER_SCRAPE_KIND_H

#include "io/http.h"
#include "worker/scrape.h"

enum { SCRAPE_MAX_HEADERS = 5 };

/* The call to make. url, headers and body are owned here and freed by scrape.c, which also points
 * http at them and sets its timeouts; a way of scraping fills in the rest of http. */
struct scrape_request {
    struct http_request http;
    char *url;
    char *headers[SCRAPE_MAX_HEADERS + 1]; /* one is left for scrape.c */
    struct buf body;
};

struct scrape_kind {
    /* HL_FATAL and err when no request can be made of this URL. */
    enum hl_rc (*prepare)(
        const struct config *cfg, const char *url, struct scrape_request *req, struct hl_err *err);
    /* Turns any answer, or none, into *out (empty, retry_after_ms -1). */
    void (*read)(const struct http_response *res, struct scrape_result *out);
};
extern const struct scrape_kind scrape_firecrawl, scrape_direct;

/* A failure: its outcome, the explanation when there is more to say (NULL ok; copied), and the
 * reason where the outcome has none of its own. */
void scrape_fail(struct scrape_result *out, const struct scrape_outcome *how, const char *detail,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The failure of a call without answer. who: put before the reason ("Firecrawl: "; "" = none). */
void scrape_fail_call(struct scrape_result *out, const struct http_response *res, const char *who);
/* The failure of a page that answered with an error status, to us (SAID_PAGE) or to Firecrawl
 * (SAID_REPORTED); detail may be NULL. */
void scrape_fail_target(
    struct scrape_result *out, enum scrape_saying saying, long status, const char *detail);

void scrape_result_release(struct scrape_result *res);

/* An answer of Firecrawl's. retry_after_ms: of its header, -1 = none. */
void firecrawl_parse(
    long status, int64_t retry_after_ms, const char *body, size_t len, struct scrape_result *out);

#endif
