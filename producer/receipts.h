/* receipts: a journal of every event that was answered 202, for `hooklinectl audit`: what a sender
 * was promised, written down apart from everything the promise depends on. One file per process,
 * FOLDER/HOST-PID-NONCE.receipts, a line per answer:
 *
 *     <event id> <ISO 8601 time, UTC, microseconds> <row|spool|redis|again>
 *
 * ("again": a delivery that was known, under the id of the first), written before the answer goes
 * out, not synced: it survives the process, not the power. At 64 MiB a file becomes NAME.receipts.1,
 * .2, ... and a new one begins; none is ever deleted. A journal that cannot be written holds up no
 * event: it is logged, what is missing counted, and tried again. */
#ifndef HL_PRODUCER_RECEIPTS_H
#define HL_PRODUCER_RECEIPTS_H

#include "base/event.h"

struct receipts;

/* dir is made (mode 0700) when it is missing; NULL: no journal is wanted, and NULL comes back. */
struct receipts *receipts_new(const char *dir);
void receipts_free(struct receipts *r); /* NULL ok; a file without a line is removed */

/* where: the last word of the line. r NULL: nothing happens. */
void receipts_note(struct receipts *r, const struct change_event *ev, const char *where);

#endif
