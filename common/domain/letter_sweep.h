/* letter_sweep: the letters of events that are queued again have had their day, and go; those of what
 * happened since stay. Only tidying: a letter that stays is told from its row, and goes with the next
 * 'dead retry'. Asynchronous; what Redis does not answer is given up. */
#ifndef HL_DOMAIN_LETTER_SWEEP_H
#define HL_DOMAIN_LETTER_SWEEP_H

#include "domain/queue_dead.h"

struct letter_sweep { /* private */
    struct queue *queue;
    char newest[QUEUE_ENTRY_MAX]; /* letter, when it began; "" = there was none, or no answer */
    char (*ids)[UUID_STRLEN + 1];
    size_t n, room;
    void (*done)(void *ctx);
    void *ctx;

    /* of the page under way */
    char before[QUEUE_ENTRY_MAX];
    char found[QUEUE_LETTERS_MAX][QUEUE_ENTRY_MAX];
    size_t nfound, got;
};
/* Before the first event is put back; done runs when it is known which letters are old. queue: of
 * changes. */
void letter_sweep_begin(
    struct letter_sweep *s, struct queue *queue, void (*done)(void *ctx), void *ctx);
/* This event was put back. True: so many were that it is time for a walk. */
bool letter_sweep_note(struct letter_sweep *s, const char *event_id);
/* Walks along the old letters, and drops those of the events noted so far, which are forgotten then; done
 * runs at its end. False: there is nothing to do, and done will not run. */
bool letter_sweep_walk(struct letter_sweep *s, void (*done)(void *ctx), void *ctx);
void letter_sweep_release(struct letter_sweep *s); /* nothing under way */

#endif
