/* queue_dead: the dead letters of both queues, for who looks at them, wants their jobs done after all,
 * or wants them gone. A letter is named by its stream entry. */
#ifndef HL_DOMAIN_QUEUE_DEAD_H
#define HL_DOMAIN_QUEUE_DEAD_H

#include "domain/queue.h"

#define QUEUE_LETTERS_MAX 200 /* in one answer */

/* Borrowed during the callback. */
struct queue_letter {
    const char *entry, *reason;
    const char *id;  /* of the event; "-" = of no event, or in conflict with the event of that id */
    bool crawl;      /* of the queue of crawls */
    const void *job; /* its bytes; NULL = they are kept beside, */
    const char *blob; /* in this key; NULL = they are not */
    size_t len;       /* of the job */
};
typedef void queue_letters_cb(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx);

bool queue_letter_is_entry(const char *text); /* "<ms>-<seq>" */
/* When that came, microseconds since 1970; the end of time where somebody gave it a number too large. */
int64_t queue_letter_us(const char *entry);
/* The newest before that entry ("" = of all), at most count, the newest first. */
void queue_letters(struct queue *q, const char *before, int count, queue_letters_cb *cb, void *ctx);
/* That one; none comes when it is gone. */
void queue_letter(struct queue *q, const char *entry, queue_letters_cb *cb, void *ctx);
/* What is kept beside a letter; NULL: it is gone. */
void queue_letter_fetch(struct queue *q, const char *blob, queue_fetch_cb *cb, void *ctx);

enum queue_revived {
    REVIVED_GONE,     /* there is no such letter */
    REVIVED,          /* it is a job again */
    REVIVED_ALREADY,  /* it was one already, or is done; the letter is gone */
    REVIVED_NO_JOB,   /* it is no such job, or its bytes are lost; nothing was done, as with */
    REVIVED_CONFLICT, /* another body came under this id since */
};
typedef void queue_revived_cb(
    enum hl_rc rc, enum queue_revived how, const struct hl_err *err, void *ctx);
/* q: the queue of its kind. id: the event's. digest: of the body, of a crawl job; else NULL. May be
 * repeated. */
void queue_revive(struct queue *q, const char *entry, const struct uuid *id, const uint8_t *digest,
    queue_revived_cb *cb, void *ctx);
/* Letters go for good, with what is kept beside them; cb gets how many there were. At most
 * QUEUE_LETTERS_MAX entries. */
void queue_letters_drop(
    struct queue *q, const char *const *entries, size_t n, queue_moved_cb *cb, void *ctx);

#endif
