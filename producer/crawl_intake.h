/* crawl_intake: POST /api/webhook/firecrawl, from the request to the answer. An event is safe before
 * its 2xx: in Redis, or, where Redis does not take it in time, synced in the spool, from which it
 * goes to Redis later (forward). PostgreSQL has no part in this. */
#ifndef HL_PRODUCER_CRAWL_INTAKE_H
#define HL_PRODUCER_CRAWL_INTAKE_H

#include "io/httpd.h"

void crawl_intake(struct httpd_req *req, void *stores);

#endif
