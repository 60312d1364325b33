/* letters: dead letters that Redis could not take. The rows say how their events ended; the letters
 * are for people, and kept in memory until Redis is back. */
#ifndef HL_WORKER_LETTERS_H
#define HL_WORKER_LETTERS_H

#include "domain/queue.h"

struct letters;

struct letters *letters_new(struct queue *q); /* borrowed */
/* Whatever was not sent is logged. NULL ok; after the queue's connection: nothing is under way. */
void letters_free(struct letters *ls);

/* Both copied. Of too many the newest is logged and forgotten. */
void letters_keep(struct letters *ls, const struct change_event *ev, const char *reason);
/* Redis may take them now; those that it does not take are kept. */
void letters_send(struct letters *ls);
/* Says in the log that there will be none. */
void letters_report(const struct change_event *ev, const char *reason);

#endif
