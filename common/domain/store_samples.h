/* store_samples: how much went through and how it stands: webhook.samples (five seconds of the whole
 * fleet), webhook.tallies (what happened how often in an hour), webhook.log_level; and what the dashboard
 * asks about the fleet at a glance. Each is one bounded statement through a store of the caller's. Texts
 * are borrowed during the call; cb as in store.h. Times in rows are microseconds since 1970 UTC unless a
 * name says otherwise. */
#ifndef HL_DOMAIN_STORE_SAMPLES_H
#define HL_DOMAIN_STORE_SAMPLES_H

#include "domain/queue_gauges.h"
#include "domain/store.h"

#define SAMPLES_SLOT_S  5     /* of a row of webhook.samples; slots begin at multiples of it */
#define SAMPLES_CELLS   17    /* of `latency`: METER_BUCKETS_MAX and those beyond the last bound */
#define SAMPLES_DAYS    8     /* older rows go */
#define SAMPLES_POINTS  720   /* of a series */
#define TALLIES_LOOK    50000 /* rows of webhook.tallies that a question looks at, the newest */
#define TALLIES_HOSTS   200   /* upstreams that are shown */
#define OVERVIEW_LOOK   10000 /* events of a state that are counted; there may be more */
#define OVERVIEW_ERRORS 1000  /* of the latest failures: those that are looked through */

/* --- writing ----------------------------------------------------------------------------- */

/* What one process did since it last told. */
struct store_sample {
    int64_t accepted, crawl_accepted, refused, completed, superseded, retried, failed, crawl_done;
    int64_t in_flight;
    struct queues_seen queues; /* the first of a slot that is known counts */
    const char *latency;       /* text of an array: of the buckets of hookline_event_seconds */
    const char *kinds, *names, *outcomes, *counts, *took_ms; /* texts of arrays: tallies */
};
/* Adds it to the row of the present slot, and to the tallies of the present hour. It commits without a
 * sync of its own: a PostgreSQL that crashes may forget those of its last moment. No columns. */
void store_samples_add(struct store *s, const struct store_sample *x, store_cb *cb, void *ctx);
/* Of either table the oldest `max` rows of more than SAMPLES_DAYS ago. How many went. */
void store_prune_samples(struct store *s, int max, store_cb *cb, void *ctx);
void store_prune_tallies(struct store *s, int max, store_cb *cb, void *ctx);

/* --- reading ----------------------------------------------------------------------------- */

/* The last `minutes` up to the end of the last whole slot, in steps of step_s (a multiple of the slot),
 * which begin at multiples of it. A row for each step of which there is anything; none at all: one with
 * SERIES_AT NULL. Seconds since 1970. Sums, but for the greatest of depth, oldest_ms and in_flight. */
enum {
    SERIES_FROM,
    SERIES_TO,
    SERIES_AT,
    SERIES_ACCEPTED, /* change events and Firecrawl's */
    SERIES_COMPLETED,
    SERIES_FAILED,
    SERIES_SUPERSEDED,
    SERIES_RETRIED,
    SERIES_REFUSED,
    SERIES_DEPTH,
    SERIES_OLDEST_MS,
    SERIES_IN_FLIGHT,
    SERIES_LATENCY, /* text of an array */
};
void store_series(struct store *s, int minutes, int step_s, store_cb *cb, void *ctx);

/* One row: sums of the last whole minute, of the last hour, latency buckets of the last five minutes. */
enum {
    RATES_ACCEPTED,
    RATES_COMPLETED,
    RATES_FAILED,
    RATES_SUPERSEDED,
    RATES_RETRIED,
    RATES_REFUSED,
    RATES_MINUTE_CHANGES, /* accepted, without Firecrawl's */
    RATES_HOUR_FAILED,
    RATES_HOUR_RETRIED,
    RATES_HOUR_COMPLETED,
    RATES_LATENCY,
};
void store_rates(struct store *s, store_cb *cb, void *ctx);

/* name, outcome, how often, the begin of the last hour in which it happened */
void store_sources(struct store *s, int hours, store_cb *cb, void *ctx);

enum {
    UPSTREAM_HOST,
    UPSTREAM_STATE,
    UPSTREAM_FAILURES,
    UPSTREAM_RETRY_MS,
    UPSTREAM_PROBED_BY,
    UPSTREAM_LAST_ERROR,
    UPSTREAM_CHANGED,
    UPSTREAM_FETCHES,
    UPSTREAM_ERRORS, /* its own fault, or no answer; not: what it says of a page */
    UPSTREAM_THROTTLED,
    UPSTREAM_AVG_MS,
    UPSTREAM_OUTCOMES, /* JSON object */
};
/* Those with a circuit that is not closed first, then by fetches; TALLIES_HOSTS at most. */
void store_upstreams_seen(struct store *s, int hours, store_cb *cb, void *ctx);

/* One row of JSON: schema version, migrations, generations, processes, spools, log level or NULL. */
enum {
    SYSTEM_SCHEMA,
    SYSTEM_MIGRATIONS,
    SYSTEM_GENERATION,
    SYSTEM_PROCESSES,
    SYSTEM_SPOOLS,
    SYSTEM_LOG_LEVEL,
};
void store_system(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);

/* --- at a glance -------------------------------------------------------------------------- */

/* One row: events by where they stand, each at most OVERVIEW_LOOK. */
enum {
    GLANCE_QUEUED,
    GLANCE_DUE,
    GLANCE_RETRYING,  /* queued, and has failed before */
    GLANCE_OLDEST_MS, /* how long the oldest has been due; NULL = none */
    GLANCE_IN_PROGRESS,
    GLANCE_FRESH,   /* of those: begun in the last minute */
    GLANCE_ORPHANS, /* of those: the owner is dead, gone, or silent for two leases */
    GLANCE_ORPHAN_MS,
    GLANCE_FAILED,
    GLANCE_SUSPECTS,
};
void store_glance(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);

/* One row: who is there. */
enum {
    GLANCE_WORKERS,        /* living */
    GLANCE_SILENT_WORKERS, /* for two leases */
    GLANCE_DEAD_WORKERS,
    GLANCE_QUIET_WORKERS, /* of the living: told to take nothing new */
    GLANCE_WORKER_MS,     /* age of the oldest of the living; NULL = none */
    GLANCE_PRODUCERS,
    GLANCE_SILENT_PRODUCERS,
    GLANCE_SILENT_ID, /* of the silent ones that held most on their disks; NULL = none held any */
    GLANCE_SILENT_HOST,
    GLANCE_SILENT_BYTES,
    GLANCE_SILENT_MS,
    GLANCE_SPOOL_BYTES, /* of change events, that webhook.spools knows of */
    GLANCE_SPOOL_HOSTS,
    GLANCE_CRASHES,     /* of the last hour, blamed on jobs or not */
    GLANCE_CRASH_CAUSE, /* of the last one */
    GLANCE_PAUSED_MS,   /* of the queue of changes: since when; NULL = it is not */
    GLANCE_PAUSED_BY,
    GLANCE_FENCED_MS,
    GLANCE_FENCED_BY,
    GLANCE_CRAWL_PAUSED_MS, /* the same of the crawl queue */
    GLANCE_CRAWL_PAUSED_BY,
    GLANCE_CRAWL_FENCED_MS,
    GLANCE_CRAWL_FENCED_BY,
};
void store_glance_fleet(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);

/* One row: what fails, and why. */
enum {
    TROUBLE_FAILED, /* events that failed for good in the last hour, OVERVIEW_ERRORS at most */
    TROUBLE_ERROR,  /* the most frequent reason; NULL = none */
    TROUBLE_ERROR_N,
    TROUBLE_RETRY_ERROR, /* the same of events that are tried again */
    TROUBLE_RETRY_ERROR_N,
    TROUBLE_CIRCUITS,     /* open or half open */
    TROUBLE_CIRCUIT_HOST, /* of the one that opened first */
    TROUBLE_CIRCUIT_ERROR,
    TROUBLE_CIRCUIT_MS, /* until it is tried */
    TROUBLE_FETCHES,    /* of this hour and the last */
    TROUBLE_FETCH_ERRORS,
    TROUBLE_FETCH_HOST, /* with most of them */
    TROUBLE_FETCH_OUTCOME,
    TROUBLE_REFUSED,
    TROUBLE_REFUSED_REASON, /* the most frequent one */
    TROUBLE_EASED, /* circuits closed, and queues resumed or workers told to go on, in the last minute */
};
void store_glance_troubles(struct store *s, store_cb *cb, void *ctx);

#endif
