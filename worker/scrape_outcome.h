/* scrape_outcome: the one table of what the end of a scrape means: whether trying again may help,
 * and what it tells about the upstream, the server that was asked: Firecrawl, or the page's own.
 * Pure. Transport trouble comes sorted into passing and final by io/http. */
#ifndef HL_WORKER_SCRAPE_OUTCOME_H
#define HL_WORKER_SCRAPE_OUTCOME_H

#include "base/err.h"
#include "base/meter.h"

#define SCRAPE_SAYINGS(X)                                                                          \
    X(NO_CALL)       /* the URL is unusable, or its address refused: nobody was asked */           \
    X(NO_CONNECTION) /* look-up, connection or its handshake failed */                             \
    X(NO_ANSWER)     /* asked, but then a deadline or a broken connection: http's HL_RETRY */      \
    X(UNUSABLE)      /* an answer we do not take, too large for one: http's HL_FATAL */            \
    X(FIRECRAWL)     /* Firecrawl's own failure: status, code */                                   \
    X(BROKEN)        /* Firecrawl's answer cannot be understood */                                 \
    X(NO_TEXT)       /* Firecrawl calls it a success, without the page's text */                   \
    X(REPORTED)      /* the page's status, as Firecrawl reports it */                              \
    X(PAGE)          /* the page's status, as its own server gave it */                            \
    X(NO_INDEX)      /* the page came, with nothing in it to index */                              \
    X(SUCCESS)

enum scrape_saying {
#define X(name) SAID_##name,
    SCRAPE_SAYINGS(X)
#undef X
};

/* What an outcome tells about the upstream. */
enum upstream_sign {
    UPSTREAM_SILENT,   /* nothing: it was not asked */
    UPSTREAM_WORKS,    /* it answers, whatever it says about the page */
    UPSTREAM_FAILS,    /* its own fault, though the page may have brought it about */
    UPSTREAM_DOWN,     /* its own fault and surely not the page's: no connection */
    UPSTREAM_THROTTLES /* it asks for a pause */
};

struct scrape_outcome {
    enum hl_rc rc;
    enum upstream_sign sign;
    const char *reason; /* NULL = named by status, or by who noticed */
    enum meter_FETCH fetch;
};

/* status: HTTP's, 0 = none. code: Firecrawl's, NULL = none. */
const struct scrape_outcome *scrape_outcome(
    enum scrape_saying saying, long status, const char *code);

#endif
