/* store_failed: failed events for who wants them done after all: they are listed, put back at once, or
 * planned and put back little by little (a redrive). An event is put back as it was seen, or not at all:
 * one that was tried meanwhile has another epoch. Each call is one bounded statement.
 *
 * Times are microseconds since 1970 UTC. Texts are borrowed during the call; cb as in store.h. */
#ifndef HL_DOMAIN_STORE_FAILED_H
#define HL_DOMAIN_STORE_FAILED_H

#include "domain/store.h"

#define FAILED_LOOK      20000 /* events that one statement looks at */
#define FAILED_GROUPED   10000 /* failed events among which reasons are counted */
#define REDRIVE_PLAN_S   60    /* nor one that is being made, for so long: who made it was killed */
#define REDRIVE_SILENT_S 10    /* a plan that is being applied is touched every second or so */
#define REDRIVE_DAYS     30    /* a plan that nobody touched for so long is forgotten */

struct failed_filter {
    const char *url, *watch;      /* exact; NULL = any */
    const int64_t *since, *until; /* of the time when they failed; NULL = ever */
    const char *error;            /* a part of it, in any case; NULL = any */
};

/* --- listed ------------------------------------------------------------------------------ */

/* Those with row ids below `before` (0 = the newest), from the highest id on, at most limit. At least
 * one row comes: FAILED_EDGE is where to look on when fewer came than asked for; NULL = that was all.
 * No event: FAILED_ID is NULL. */
enum failed_col {
    FAILED_EDGE,
    FAILED_ID,
    FAILED_EVENT_ID,
    FAILED_EPOCH,
    FAILED_AT, /* when it failed; of rows of the replaced service, when it was received */
    FAILED_URL,
    FAILED_WATCH_ID,
    FAILED_ATTEMPTS,
    FAILED_ERROR,
};
void store_failed(struct store *s, const struct failed_filter *f, int64_t before, int limit,
    store_cb *cb, void *ctx);
/* Why events failed: among the FAILED_GROUPED that failed last, the 100 most frequent reasons. status: a
 * part of the failed status, in any case; NULL = any. At least one row; without a failed event its first
 * columns are NULL. */
enum {
    GROUP_REASON, /* the status behind "failed: "; where it has none, the error */
    GROUP_EVENTS,
    GROUP_URLS, /* different ones */
    GROUP_NEWEST,
    GROUP_OLDEST,
    GROUP_COUNTED, /* failed events in all, the same in each row */
    GROUP_COMPLETE /* there were no further ones to look at; the same in each row */
};
void store_failed_groups(struct store *s, const char *status, const int64_t *since,
    const int64_t *until, store_cb *cb, void *ctx);
/* ids: text of a uuid array. The event_id and rescrape_status of those that have a row. */
void store_failed_known(struct store *s, const char *ids, store_cb *cb, void *ctx);

/* --- put back ---------------------------------------------------------------------------- */

/* A row for each event that was put back, of store_event's columns (no event: a row of the replaced
 * service, to which the janitor gives what it lacks), then these. */
enum { AGAIN_ROW_ID = 8, AGAIN_DELAY_MS, AGAIN_DONE, AGAIN_N, AGAIN_STATE };

/* ids, epochs: texts of bigint arrays of equal length. AGAIN_DELAY_MS is the last column. */
void store_failed_again(
    struct store *s, const char *ids, const char *epochs, store_cb *cb, void *ctx);

/* --- redrives ---------------------------------------------------------------------------- */

/* States: planning, planned, applying, stopped, done. */
struct redrive {
    const char *token, *by, *reason, *filter; /* reason NULL = none; filter: a JSON object */
};
/* Makes an empty plan, and forgets a few that are old. No columns. */
void store_redrive_begin(struct store *s, const struct redrive *r, store_cb *cb, void *ctx);
/* Adds failed events with row ids above `after`, numbered from n + 1 on, at most limit. One row: the
 * highest id looked at (NULL: there are no more), how many were added. */
void store_redrive_add(struct store *s, const char *token, const struct failed_filter *f,
    int64_t after, int64_t n, int limit, store_cb *cb, void *ctx);
/* The plan is made, of so many events. No columns. */
void store_redrive_planned(
    struct store *s, const char *token, int64_t total, store_cb *cb, void *ctx);
void store_redrive_drop(struct store *s, const char *token, store_cb *cb, void *ctx);

/* The newest plans, or that one. Events that are left are looked at to `look` of them (REDRIVE_URLS). */
enum redrive_col {
    REDRIVE_TOKEN,
    REDRIVE_STATE,
    REDRIVE_TOTAL,
    REDRIVE_LEFT,
    REDRIVE_QUEUED,
    REDRIVE_CHANGED, /* left alone: tried meanwhile */
    REDRIVE_URLS,    /* different ones; of a single plan only, else NULL */
    REDRIVE_PLANNED_AT,
    REDRIVE_CHANGED_AT,
    REDRIVE_BY,
    REDRIVE_REASON,
    REDRIVE_FILTER,
    REDRIVE_COLS
};
void store_redrives(
    struct store *s, const char *token, int limit, int look, store_cb *cb, void *ctx);
/* Of the first `look` events that a plan has left: status (the reason in short), events, urls; most
 * first. */
void store_redrive_errors(struct store *s, const char *token, int look, store_cb *cb, void *ctx);
/* n, row id, event id, watch_id, watch_url, error, outcome, status as it is now; in order. */
void store_redrive_items(struct store *s, const char *token, int limit, store_cb *cb, void *ctx);

/* Puts a plan into another state, where that is possible: 'applying' unless it is still being made or
 * done; 'stopped' where it is being applied; 'done' where nothing is left of it. One row if so. */
void store_redrive_state(
    struct store *s, const char *token, const char *state, store_cb *cb, void *ctx);
/* Puts it into the state 'applying' for one who wants to be the only one: not while somebody applies it who
 * touched it within REDRIVE_SILENT_S. One row if so. */
void store_redrive_take(struct store *s, const char *token, store_cb *cb, void *ctx);
/* The next events of a plan that is being applied, behind number `after`, at most max; due within
 * jitter_ms. At least one row comes; AGAIN_STATE NULL: it is not being applied (any more). A row
 * without AGAIN_N is no event; without AGAIN_DONE it was left alone. */
void store_redrive_apply(struct store *s, const char *token, int64_t after, int max,
    int64_t jitter_ms, store_cb *cb, void *ctx);

#endif
