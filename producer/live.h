/* live: answers of the API that go on: GET /api/live?of=/api/events%3Fstatus%3Dfailed is a stream of
 * server-sent events (WHATWG HTML, section 9.2). `of` is a GET target of the API, up to four of them, so
 * that a page needs one stream only. Each answer that has changed is one event:
 *
 *     id: <digest of what this client knows of each `of`, opaque>
 *     event: answer
 *     data: {"of":0,"answer":<the JSON of that GET>}
 *
 * An answer that is an error is event "trouble", {"of":0,"status":503,"detail":"..."}. A comment every
 * 15 s shows that the stream lives; `retry:` tells when to come again. Who comes again with the
 * Last-Event-ID of the present answers, to whatever process, gets nothing until they change.
 *
 * One question at a time for each different `of` of a process, however many watch it, once a second,
 * less often while it is slow or fails; nobody watches: nobody asks. Who has not taken what was
 * sent before gets the newest answer after it has, and none in between. A process has at most LIVE_MAX
 * streams, LIVE_PER_CLIENT of one address, and leaves three of four connections to others; more are
 * refused, and the page polls. Credentials are looked at again every 15 s. */
#ifndef HL_PRODUCER_LIVE_H
#define HL_PRODUCER_LIVE_H

#include "producer/api.h"

enum { LIVE_MAX = 256, LIVE_PER_CLIENT = 16, LIVE_OF_MAX = 4 };

/* How often a question is put, and a comment sent and the credentials looked at: 1 s, 15 s. Tests are in a
 * hurry (tests/support/prog_brisk_producer.c). */
struct live_pace {
    int64_t question_ms, comment_ms;
};
extern struct live_pace live_pace;

struct live;

extern const struct api_route live_watch; /* GET /api/live; asks stores->live */

struct live *live_new(struct stores *s);
void live_stop(struct live *l); /* NULL ok; ends every stream; before the httpd goes */
void live_free(struct live *l); /* NULL ok; after the pools: no question is under way */

#endif
