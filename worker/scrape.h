/* scrape: fetches the text of a page, through Firecrawl or directly, as WEBHOOK_SCRAPER says. */
#ifndef HL_WORKER_SCRAPE_H
#define HL_WORKER_SCRAPE_H

#include "base/config.h"
#include "io/loop.h"
#include "worker/scrape_outcome.h"

#include <stdint.h>

/* Owned by the scraper and valid during the callback; a field is taken by setting it to NULL. */
struct scrape_result {
    enum hl_rc
        rc; /* HL_OK; HL_RETRY: may work later; HL_FATAL: will not, for this page and set-up */
    enum upstream_sign sign; /* what this tells about the server asked */
    enum meter_FETCH fetch;  /* what came of it, as it is counted */
    char *text;              /* UTF-8, Markdown or plain; may be empty; NULL unless HL_OK */
    char *title, *description, *language, *final_url; /* NULL = not known */
    long target_status;     /* the page's own HTTP status; 0 = not known */
    int64_t retry_after_ms; /* asked for by the other side; -1 = none */
    bool held_off;     /* nobody was asked: may_ask said no when its turn came; rc is HL_RETRY */
    struct hl_err err; /* msg: a short reason that reads well behind "failed: " */
    char *detail;      /* the longer explanation; NULL = the reason says it all */
};
typedef void scrape_cb(struct scrape_result *res, void *ctx);

struct scraper;
struct scrape;

/* cfg: borrowed for the scraper's life. Make it after the fork. NULL and err on failure. */
struct scraper *scraper_new(struct loop *l, const struct config *cfg, struct hl_err *err);
void scraper_free(struct scraper *s); /* NULL ok; running scrapes are dropped without callback */

/* With WEBHOOK_SCRAPER=direct a scrape may have to wait until fewer than WEBHOOK_DIRECT_PER_HOST
 * others fetch from its host. Then may_ask is asked, with the scrape's ctx, whether it still should;
 * NULL = always. */
void scraper_guard(struct scraper *s, bool (*may_ask)(void *ctx));

/* Ends within cfg->scrape_timeout_ms, not counting time in which it waits for others, always through
 * cb, never inside this call. url is copied. */
struct scrape *scrape_start(struct scraper *s, const char *url, scrape_cb *cb, void *ctx);
/* header: a further line for a server of our own (traceparent, for Firecrawl), NULL = none; copied. The
 * sites that are scraped directly never get it. */
struct scrape *scrape_start_traced(
    struct scraper *s, const char *url, const char *header, scrape_cb *cb, void *ctx);
bool scrape_waits(const struct scrape *x); /* for others of its host; NULL: no */
void scrape_cancel(struct scrape *x);      /* NULL ok; cb will not run; fine inside its own cb */

/* host:port of the server that is asked for this URL: Firecrawl's, or the page's own (url NULL then
 * gives NULL). NULL when there is none. Returned, caller frees. */
char *scrape_upstream(const struct config *cfg, const char *url);

#endif
