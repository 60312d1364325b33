/* tally: counts each webhook once, when it is answered, by what became of it. Whoever decides notes why;
 * what httpd refuses by itself is told by its status. */
#ifndef HL_PRODUCER_TALLY_H
#define HL_PRODUCER_TALLY_H

#include "base/meter.h"
#include "io/httpd.h"
#include "producer/gate.h"
#include "producer/stores.h"

/* Before the answer, one of these; the last one counts. */
void tally_accepted(struct httpd_req *req, enum meter_SAFE where);
void tally_duplicate(struct httpd_req *req);
void tally_refused(struct httpd_req *req, enum meter_REASON why);
enum meter_REASON tally_reason(enum gate_verdict verdict); /* of one that does not admit */

/* For on_reply: counts the answer, of whatever route. took_us: since the first byte. */
void tally_reply(struct stores *s, struct httpd_req *req, int status, int64_t took_us);

#endif
