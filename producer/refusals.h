/* refusals: a refused webhook, as people may see it later (domain/rejects.h): without anything that
 * would let them in. */
#ifndef HL_PRODUCER_REFUSALS_H
#define HL_PRODUCER_REFUSALS_H

#include "io/httpd.h"
#include "producer/stores.h"

/* Before the answer. source: "changedetection", "firecrawl"; reason: what the answer says;
 * authenticated: signature or token was right. Nothing happens where none are kept. */
void refusal_note(struct stores *s, struct httpd_req *req, const char *source, int status,
    const char *reason, bool authenticated);

/* For on_reply: notes what no handler has seen of a webhook: what httpd has refused by itself (413,
 * 408, 400, ...), and what met no route (404, 405): a template with a slip in its address. */
void refusal_by_httpd(struct stores *s, struct httpd_req *req, int status);

#endif
