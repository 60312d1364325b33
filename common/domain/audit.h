/* audit: is every event in exactly one place? Gathers what was seen of each event (its receipt, its
 * row, Redis, a spool), in 20 bytes per event, and judges it. Pure: whoever looks into the stores
 * tells it what is there. */
#ifndef HL_DOMAIN_AUDIT_H
#define HL_DOMAIN_AUDIT_H

#include "base/buf.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the row says, by the word that store_audit_rows has for it. Of two readings of one event the
 * later in this list counts. */
#define AUDIT_ROWS(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(QUEUED, "queued")                                                                            \
    X(HELD, "held")   /* in progress; its owner lives */                                           \
    X(ALONE, "alone") /* in progress; its owner is dead, gone or silent */                         \
    X(COMPLETED, "completed")                                                                      \
    X(SUPERSEDED, "superseded")                                                                    \
    X(FAILED, "failed")                                                                            \
    X(FINISHED, "finished") /* any other word */

enum audit_row {
#define X(name, word) AUDIT_ROW_##name,
    AUDIT_ROWS(X)
#undef X
        AUDIT_NROWS
};
enum audit_row audit_row_of(const char *word);

/* Where else it was seen. */
enum {
    AUDIT_RECEIPT = 1,   /* it was answered 202 */
    AUDIT_LATER = 2,     /* its id waits in `later` ... */
    AUDIT_LATER_JOB = 4, /* ... and its job is there */
    AUDIT_MARKER = 8,
    AUDIT_DEAD = 16, /* dead letter */
    AUDIT_SPOOL = 32,
};

struct audit_fact {
    struct uuid id;
    uint8_t row;                /* enum audit_row */
    uint8_t waiting, delivered; /* entries in the stream, by whether a worker was given them */
    uint8_t flags;
};

/* Verdicts; what each is called in reports, and what it says of conservation. */
enum audit_class {
    AUDIT_HOME,      /* at an end */
    AUDIT_UNDER_WAY, /* safe, not at an end yet */
    AUDIT_WRONG,     /* a discrepancy */
};
/* clang-format off */
#define AUDIT_VERDICTS(X)                                                                          \
    X(COMPLETED, "completed", AUDIT_HOME, "the row is completed")                                  \
    X(SUPERSEDED, "superseded", AUDIT_HOME, "the row is superseded")                               \
    X(FAILED, "failed", AUDIT_HOME, "the row is failed")                                           \
    X(FINISHED, "finished", AUDIT_HOME, "the row has another final status")                        \
    X(BURIED, "buried", AUDIT_HOME, "no row, a dead letter: PostgreSQL refused it for good")       \
    X(QUEUED, "queued", AUDIT_UNDER_WAY, "the row is queued, its job in Redis")                    \
    X(UNPUBLISHED, "unpublished", AUDIT_UNDER_WAY, "the row is queued, without a job yet")         \
    X(IN_PROGRESS, "in_progress", AUDIT_UNDER_WAY, "in progress, with a living owner")             \
    X(REDIS_ONLY, "redis_only", AUDIT_UNDER_WAY, "only in Redis; the row follows")                 \
    X(SPOOL_ONLY, "spool_only", AUDIT_UNDER_WAY, "only in a spool; the row follows")               \
    X(LEAVING, "leaving", AUDIT_UNDER_WAY, "the row has it; its copy is still to be forgotten")    \
    X(ELSEWHERE, "elsewhere", AUDIT_UNDER_WAY, "not found; perhaps in another host's spool")       \
    X(MISSING, "missing", AUDIT_WRONG, "answered 202, and nowhere to be found")                    \
    X(DOUBLED, "doubled", AUDIT_WRONG, "more than one job in Redis")                               \
    X(STUCK, "stuck", AUDIT_WRONG, "nobody works on it, and nobody will")                          \
    X(TWO_PLACES, "two_places", AUDIT_WRONG, "a copy stayed behind that the row makes needless")
/* clang-format on */

enum audit_verdict {
#define X(name, word, class, about) AUDIT_##name##_,
    AUDIT_VERDICTS(X)
#undef X
        AUDIT_NVERDICTS
};
struct audit_verdict_info {
    const char *word, *about;
    enum audit_class class;
};
const struct audit_verdict_info *audit_verdict_info(enum audit_verdict v);

struct audit_mode {
    bool settled;    /* nothing is queued or in progress: what leaves has had its time to leave */
    bool elsewhere;  /* a living producer has events on a disk that cannot be read from here */
    bool forwarding; /* ... or on one that is: a spool forgets a segment as a whole, at its end */
};
enum audit_verdict audit_judge(const struct audit_fact *f, const struct audit_mode *mode);
/* Appends where the event was seen, for people: "row queued, stream (waiting), spool". */
void audit_where(const struct audit_fact *f, struct buf *out);

/* --- the set of all events: zero-initialise ---------------------------------------------- */

struct audit_set {
    struct audit_fact *facts; /* in the order of their ids once merged */
    size_t n;
    size_t merged; /* of them sorted, each once */
    size_t room;
    bool closed; /* audit_see passes over events that are not in it */
};
/* Something was seen of an event: adds to what is known of it. */
void audit_see(struct audit_set *s, const struct audit_fact *seen);
void audit_merge(struct audit_set *s); /* before facts are read, and before it is closed */
struct audit_fact *audit_find(struct audit_set *s, const struct uuid *id); /* of merged ones */
void audit_set_release(struct audit_set *s);

#endif
