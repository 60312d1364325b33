/* top_look: what `top` knows of the fleet. Both stores are asked again and again, each in rounds of its
 * own: while one is away, what it said last stays, with the time since when. */
#ifndef HL_WORKER_CTL_TOP_LOOK_H
#define HL_WORKER_CTL_TOP_LOOK_H

#include "domain/queue_pulse.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/session.h"

enum top_store { TOP_POSTGRES, TOP_REDIS, TOP_STORES };
enum top_pane { PANE_QUEUES, PANE_UPSTREAMS, PANE_WORKERS, PANE_EVENTS, TOP_PANES };

/* The first column of each pane names the thing; these are looked at, too. */
enum { QUEUE_ROW_STATE = 1 };
enum { WORKER_ROW_ORDERS = 5 };

struct top_health {
    bool answered;   /* at least once */
    int64_t away_us; /* since when it does not answer; 0 = it does */
    struct hl_err err;
};

/* Of a queue, as read twice. */
struct top_queue {
    const char *name;
    bool counted, told; /* Redis, PostgreSQL said something */
    struct queue_stats stats;
    struct queue_pulse pulse;
    int64_t pulse_ms; /* when that was read; 0 = never */
    double in, out;   /* a second; negative = not known */
    bool paused, fenced;
    char *paused_by;   /* NULL = nobody */
    int64_t oldest_ms; /* age of what has been due longest, by the rows; -1 = none */
};
enum { TOP_QUEUES = 2 };

/* Connections of all living workers that told. */
struct top_pool {
    int workers;
    int64_t open, busy, max;
};

struct top_look {
    struct session *session;
    int64_t lease_ms;
    char *search;   /* which events; "" = all */
    int64_t opened; /* row id of the event that is looked at closely; 0 = none */
    void (*changed)(void *ctx);
    void *ctx;

    struct top_health stores[TOP_STORES];
    struct listing panes[TOP_PANES];
    struct listing event, timeline; /* of the opened one; no rows: not known (yet) */
    struct top_pool pool;

    /* private */
    struct top_queue queues[TOP_QUEUES];
    struct hl_err errs[TOP_STORES]; /* the first one of the round */
    int asked[TOP_STORES];          /* questions of the round that are not answered yet */
    bool again[TOP_STORES];         /* another round right after this one */
    int64_t asked_event;            /* the one the round asks for */
    int64_t workers_ms;             /* when the workers were read last */
    bool closing;
};

/* session and changed are borrowed; changed runs after every round. */
void look_init(struct top_look *l, struct session *session, int64_t lease_ms,
    void (*changed)(void *ctx), void *ctx);
/* From here on answers are ignored; before the session is closed. */
void look_end(struct top_look *l);
void look_release(struct top_look *l); /* after the session was closed */

/* A round of each store that is not in one. */
void look_again(struct top_look *l);
/* The same, and of those that are in one another right after it. */
void look_now(struct top_look *l);
bool look_busy(const struct top_look *l);
/* Words, all of which an event must have: a status, or a part of its URL, watch, id or error. */
void look_search(struct top_look *l, const char *words);
void look_open(struct top_look *l, int64_t row_id); /* 0: none any more */

#endif
