/* fetched: see fetched.h. What a sign of the upstream does not tell is about the page. */
#include "worker/fetched.h"

enum meter_FETCH fetched_as(const struct scrape_result *res)
{
    switch (res->sign) {
    case UPSTREAM_SILENT: return FETCH_REFUSED;
    case UPSTREAM_THROTTLES: return FETCH_THROTTLED;
    case UPSTREAM_DOWN: return FETCH_CONNECTION;
    case UPSTREAM_FAILS: return res->err.why == HL_WHY_TIMEOUT ? FETCH_TIMEOUT : FETCH_UPSTREAM;
    case UPSTREAM_WORKS: break;
    }
    return res->rc == HL_OK ? FETCH_OK : FETCH_PAGE;
}
