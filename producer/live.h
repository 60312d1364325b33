/* live: answers of the read API that go on: GET /api/live?of=/api/events%3Fstatus%3Dfailed is a stream of
 * server-sent events (WHATWG HTML, section 9.2), each the whole answer of that GET route, when it has
 * changed: {id: digest of the answer, event: "answer", data: the JSON on one line}; an answer that is an
 * error is event "trouble"; a comment every 15 s shows that the stream lives. `retry:` tells when to come
 * again. Who comes again with the Last-Event-ID of the present answer gets nothing until it changes.
 *
 * One question at a time for each different `of` of a process, however many watch it, once a second
 * (LIVE_MS). Who has not taken the answer before gets the next one after it has, and none in between.
 * A process has at most LIVE_MAX streams; more are refused with 503, and the page polls. */
#ifndef HL_PRODUCER_LIVE_H
#define HL_PRODUCER_LIVE_H

#include "producer/stores.h"

enum { LIVE_MS = 1000, LIVE_MAX = 256 };

struct live;

struct live *live_new(struct stores *s);
void live_stop(struct live *l); /* NULL ok; ends every stream; before the httpd goes */
void live_free(struct live *l); /* NULL ok; after the pools: no question is under way */

#endif
