/* crawl_forward: brings Firecrawl's events from their spool to Redis, whenever that is there, those of
 * producers that are gone too. A spool apart from the change events': those wait for PostgreSQL, these
 * for Redis, and neither holds up the other. */
#ifndef HL_PRODUCER_CRAWL_FORWARD_H
#define HL_PRODUCER_CRAWL_FORWARD_H

#include "producer/stores.h"

struct crawl_forward;

struct crawl_forward *crawl_forward_new(struct stores *s);
void crawl_forward_stop(struct crawl_forward *f); /* begins nothing new */
/* NULL ok; after stores_close: its requests have been answered, or forgotten. */
void crawl_forward_free(struct crawl_forward *f);

#endif
