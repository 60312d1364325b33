/* scrape_outcome: see scrape_outcome.h. */
#include "worker/scrape_outcome.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* First match decides: codes say more than statuses. Retries are bounded, so a doubtful case is
 * tried again rather than lost.
 *
 * A name that does not resolve is tried again. Resolvers fail for minutes, while a page that has
 * just changed has rarely lost its name: a dead domain costs a few cheap calls, a resolver's bad
 * minute would cost the change.
 *
 * A failure that Firecrawl gives a code of the page's is no sign against Firecrawl: many dead pages
 * do not make it dead. A call that got no answer in time is: it was told to give up before us. */
/* clang-format off */
static const struct row {
    enum scrape_saying saying;
    const char *code; /* NULL = by status; "X_*": every code that begins so */
    long from, to;    /* of the status */
    struct scrape_outcome outcome;
} rows[] = {
#define BY(saying, from, to)      SAID_##saying, NULL, from, to
#define ALWAYS(saying)            BY(saying, LONG_MIN, LONG_MAX)
#define CODE(code)                SAID_FIRECRAWL, code, LONG_MIN, LONG_MAX
    {ALWAYS(SUCCESS),             {HL_OK,    UPSTREAM_WORKS,     NULL, FETCH_OK}},
    {ALWAYS(NO_CALL),             {HL_FATAL, UPSTREAM_SILENT,    NULL, FETCH_REFUSED}},
    {ALWAYS(NO_CONNECTION),       {HL_RETRY, UPSTREAM_DOWN,      NULL, FETCH_CONNECTION}},
    {ALWAYS(NO_ANSWER),           {HL_RETRY, UPSTREAM_FAILS,     NULL, FETCH_TIMEOUT}},
    {ALWAYS(UNUSABLE),            {HL_FATAL, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},
    {ALWAYS(NO_INDEX),            {HL_FATAL, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},
    {ALWAYS(BROKEN),              {HL_RETRY, UPSTREAM_FAILS,     "Firecrawl's answer is not JSON", FETCH_UPSTREAM}},
    {ALWAYS(NO_TEXT),             {HL_RETRY, UPSTREAM_WORKS,     "no text in Firecrawl's answer", FETCH_UPSTREAM}},

    {BY(REPORTED, 408, 408),      {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_TIMEOUT}},
    {BY(REPORTED, 425, 425),      {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},
    {BY(REPORTED, 429, 429),      {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_THROTTLED}},
    {BY(REPORTED, 500, LONG_MAX), {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},
    {ALWAYS(REPORTED),            {HL_FATAL, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},

    {BY(PAGE, 408, 408),          {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_TIMEOUT}},
    {BY(PAGE, 425, 425),          {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},
    {BY(PAGE, 429, 429),          {HL_RETRY, UPSTREAM_THROTTLES, NULL, FETCH_THROTTLED}},
    {BY(PAGE, 502, 504),          {HL_RETRY, UPSTREAM_FAILS,     NULL, FETCH_UPSTREAM}},
    {BY(PAGE, 500, LONG_MAX),     {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_UPSTREAM}},
    {ALWAYS(PAGE),                {HL_FATAL, UPSTREAM_WORKS,     NULL, FETCH_PAGE}},

    {CODE("SCRAPE_TIMEOUT"),                {HL_RETRY, UPSTREAM_WORKS, "Scrape timed out", FETCH_TIMEOUT}},
    {CODE("CONCURRENCY_QUEUE_TIMEOUT"),     {HL_RETRY, UPSTREAM_WORKS, "Scrape timed out in queue", FETCH_TIMEOUT}},
    {CODE("SCRAPE_ALL_ENGINES_FAILED"),     {HL_RETRY, UPSTREAM_WORKS, "All scraping engines failed", FETCH_PAGE}},
    {CODE("SCRAPE_DNS_RESOLUTION_ERROR"),   {HL_RETRY, UPSTREAM_WORKS, "host name not found", FETCH_PAGE}},
    {CODE("SCRAPE_SSL_ERROR"),              {HL_RETRY, UPSTREAM_WORKS, "target's certificate refused", FETCH_PAGE}},
    {CODE("SCRAPE_SITE_ERROR"),             {HL_RETRY, UPSTREAM_WORKS, "target cannot be loaded", FETCH_PAGE}},
    {CODE("SCRAPE_UNSUPPORTED_FILE_ERROR"), {HL_FATAL, UPSTREAM_WORKS, "file type not supported", FETCH_PAGE}},
    {CODE("SCRAPE_ZDR_VIOLATION_ERROR"),    {HL_FATAL, UPSTREAM_WORKS, "zero data retention violated", FETCH_PAGE}},
    {BY(FIRECRAWL, 200, 299),     {HL_RETRY, UPSTREAM_WORKS,     "Firecrawl reported a failure", FETCH_UPSTREAM}},
    {BY(FIRECRAWL, 408, 408),     {HL_RETRY, UPSTREAM_WORKS,     "Scrape timed out", FETCH_TIMEOUT}},
    {BY(FIRECRAWL, 425, 425),     {HL_RETRY, UPSTREAM_WORKS,     NULL, FETCH_UPSTREAM}},
    {BY(FIRECRAWL, 429, 429),     {HL_RETRY, UPSTREAM_THROTTLES, NULL, FETCH_THROTTLED}},
    {SAID_FIRECRAWL, "SCRAPE_*", 500, 599, {HL_RETRY, UPSTREAM_WORKS, NULL, FETCH_PAGE}},
    {BY(FIRECRAWL, 500, 599),     {HL_RETRY, UPSTREAM_FAILS,     NULL, FETCH_UPSTREAM}},
    {ALWAYS(FIRECRAWL),           {HL_FATAL, UPSTREAM_WORKS,     NULL, FETCH_UPSTREAM}},
};
/* clang-format on */

static bool has_code(const struct row *r, const char *code)
{
    size_t len = strcspn(r->code, "*");
    return code && strncmp(code, r->code, len) == 0 && (r->code[len] || !code[len]);
}

const struct scrape_outcome *scrape_outcome(
    enum scrape_saying saying, long status, const char *code)
{
    const struct row *r = rows;
    while (r->saying != saying || (r->code && !has_code(r, code)) || status < r->from ||
           status > r->to)
        r++; /* for each saying there is a row that always applies */
    return &r->outcome;
}
