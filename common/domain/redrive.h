/* redrive: what all share who plan or apply a redrive (store_failed.h has its statements): the plan's token,
 * its filter as it is written down, and the walk through its events at a pace. Does no I/O. */
#ifndef HL_DOMAIN_REDRIVE_H
#define HL_DOMAIN_REDRIVE_H

#include "domain/store_failed.h"

#define REDRIVE_TOKEN_LEN 8
#define REDRIVE_EVENTS    10000000 /* of one plan, at most */

void redrive_token(char out[REDRIVE_TOKEN_LEN + 1]); /* a new one, random */
bool redrive_is_token(const char *text);
/* Appends it as a JSON object: what is asked for, nothing else. */
void redrive_put_filter(const struct failed_filter *f, struct buf *out);

/* --- the walk ---------------------------------------------------------------------------- */

struct redrive_walk {
    double per_second;
    int64_t queued, changed; /* events put back, and left alone, so far */
    int64_t after;           /* number of the last event that was taken */
    int64_t started_ms;      /* private, as what follows */
    bool again;
};
/* now_ms: clock_mono_ms(), here and below. */
void redrive_walk_begin(struct redrive_walk *w, double per_second, int64_t now_ms);
/* How many may go now, 500 at most. What could not go in time is not made up for beyond a second's
 * worth. */
int redrive_walk_allowed(struct redrive_walk *w, int64_t now_ms);
/* Until the next one may go; not long, so that a stop is noticed. */
int64_t redrive_walk_wait_ms(const struct redrive_walk *w);
/* Counts an answer of store_redrive_apply; the number of its events. */
int redrive_walk_take(struct redrive_walk *w, const PGresult *rows);
/* Some might have gone, and nothing was left to take. True: that was all. False: the plan is to be walked
 * once more, since another process may have taken some and been killed: those are let go again. */
bool redrive_walk_over(struct redrive_walk *w);

#endif
