/* dead_look: what died: failed events (their rows) and dead letters in Redis. A letter of an event whose
 * row is failed is the same thing seen twice, and counts once. */
#ifndef HL_WORKER_CTL_DEAD_LOOK_H
#define HL_WORKER_CTL_DEAD_LOOK_H

#include "domain/queue_dead.h"
#include "domain/store_failed.h"
#include "worker/ctl/session.h"

enum dead_kind {
    DEAD_EVENT,  /* a failed row */
    DEAD_LETTER, /* the job of an event without a row, or whose row is not failed */
    DEAD_CRAWL,  /* an event of Firecrawl's */
    DEAD_BYTES,  /* no job, or in conflict with another event: can only be looked at, and purged */
};
extern const char *const dead_kind_names[];

struct dead_item { /* texts are owned; NULL = not known */
    enum dead_kind kind;
    char event_id[UUID_STRLEN + 1]; /* "" = none */
    char entry[QUEUE_ENTRY_MAX];    /* its letter; "" = none, or, of a row, not looked for */
    int64_t row_id, epoch;          /* of a failed row */
    int64_t at;                     /* when it died, microseconds since 1970 */
    int64_t attempts, bytes;        /* -1 = not known */
    char *url, *watch, *error;
    char *status; /* of its row, as it is now */
    char *blob;   /* key of what is kept beside a letter */
    char *detail; /* JSON object; of what was found by its ID */
};

struct dead_look {
    struct session *session;
    struct failed_filter filter;
    int limit;
    bool letters_only; /* letters of failed rows, too, and no rows */

    struct dead_item *items; /* the newest first */
    size_t n;
    bool more; /* the limit left some out, perhaps */

    /* of the page under way */
    struct hl_err err;
    char before[QUEUE_ENTRY_MAX];
    size_t got, first;
    bool past;                 /* older than the filter means: no other can match */
    const char *const *wanted; /* event ids, sorted; NULL = all that match */
    size_t nwanted;
};
/* All return CTL_OK, or the exit code after saying what went wrong. */
int dead_look_list(struct dead_look *look);
/* ids: of events, rows or letters; CTL_NOT_EMPTY when one of them is not dead. */
int dead_look_find(struct dead_look *look, char *const *ids, int n);
void dead_look_release(struct dead_look *look);

#endif
