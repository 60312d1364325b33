/* census: one look at everything that an installation has not done yet, wherever it may be, for drain
 * and queues. Places are read in the direction in which events move: spools here, what is known of
 * spools elsewhere, Redis, rows; what moves on meanwhile is met again further on. */
#ifndef HL_WORKER_CTL_CENSUS_H
#define HL_WORKER_CTL_CENSUS_H

#include "base/buf.h"
#include "domain/queue_census.h"
#include "domain/store_census.h"
#include "worker/ctl/session.h"

enum census_retries { RETRIES_WAIT, RETRIES_NOW, RETRIES_IGNORE };

/* What is asked. */
struct census_ask {
    bool queues[2];      /* by enum queue_kind */
    const char **spools; /* folders, borrowed */
    size_t nspools;
    bool spools_must_be; /* a folder that is not there is a fault: somebody named it */
    enum census_retries retries;
    bool ignore_silent; /* producers that are not heard of any more hinder nothing */
    bool must_be_fenced;
    int64_t lease_ms;
    int64_t until_ms; /* wait for answers no longer (clock_mono_ms); 0 = as long as each may take */
};

/* Something that is left, or hinders. */
struct census_left {
    const char *queue; /* "change", "crawl", NULL = both; static, like place */
    const char *place; /* "stream", "pending", "later", "rows queued", ... */
    int64_t n;         /* of events, or of bytes in a spool; 0 = hinders only */
    bool bytes;
    char *what; /* more about it: where, and of a spool which file; NULL = nothing */
    char *ids[QUEUE_CENSUS_IDS];
    size_t nids;
    char *stuck; /* why it cannot go away by waiting, and what to do; NULL = it can */
};

struct census_worker_count {
    int64_t alive, quiet, silent;
};

struct census {
    enum hl_rc rc; /* HL_OK, or what could not be asked */
    struct hl_err err;
    int64_t at_us;    /* our clock, when it began */
    int64_t began_ms; /* the same, of the clock that nobody sets */
    int64_t fleet_us; /* PostgreSQL's clock, when producers were looked at */
    char *
        heard_of; /* the producer that has not told anew of itself for longest; NULL = none has to */
    int64_t heard_us; /* when it has */
    struct census_left *left;
    size_t nleft;
    char *fingerprint; /* JSON object: the same twice = nothing happened between */

    /* for people */
    int64_t events;                 /* about how many are not done */
    int64_t ignored;                /* retries that were not counted */
    int64_t later;                  /* wait for a later attempt */
    int64_t next_due_us, oldest_us; /* 0 = none */
    int64_t in_progress;
    struct census_worker_count workers;
    int64_t producers, producers_silent;
    bool fenced[2], paused[2];
    int64_t fenced_ms[2]; /* for how long */
    char *upstream;       /* one whose circuit is open; NULL = none */
    int64_t upstream_ms;
    struct queue_tally_numbers {
        int64_t length, pending, later, added,
            oldest_ms; /* oldest_ms: age of the first; -1 = none */
    } numbers[2];
    int64_t dead, rows_due, rows_oldest_ms; /* -1 = none */
    int64_t crawls_to_ask; /* sessions: what Firecrawl tells of them may become jobs */
    size_t folders_read;
};

void census_take(struct session *s, const struct census_ask *ask, struct census *c);
void census_release(struct census *c);

/* It is read, and nothing is left and nothing hinders. */
bool census_empty(const struct census *c);
/* All producers have told of themselves so late that it was all they knew after the first look. What
 * one had taken in before is in its tale then, or is where this look would have found it: one that is
 * cut off, or was killed, may have it on a disk that nobody else sees. */
bool census_heard_since(const struct census *c, const struct census *first);
/* That is what is missing. */
void census_leave_unheard(struct census *c);
/* Something is left, and all of it is stuck. */
bool census_stuck(const struct census *c);

/* What is left, as lines for people, and as a JSON array. */
void census_put_left(const struct census *c, struct buf *out);
void census_put_left_json(const struct census *c, struct buf *out);

#endif
