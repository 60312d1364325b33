/* store: every SQL statement of Hookline, by name. PostgreSQL is the sole arbiter: only a
 * compare-and-set on the row decides who may work on an event and whose result counts
 * (ARCHITECTURE.md, "The three transactions"). T0, T1 and T3 are batched naturally (io/batch.h):
 * one set-based statement and one commit per flush, an outcome per row. A row that PostgreSQL
 * refuses fails alone: its flush is halved until it is found. */
#ifndef HL_DOMAIN_STORE_H
#define HL_DOMAIN_STORE_H

#include "base/event.h"
#include "io/batch.h"
#include "io/dbpool.h"

struct store;

/* pool is borrowed. owner: this worker's instance id, copied; NULL in programs that claim nothing.
 * timeout_ms: deadline of one flush of T0, T1, T3, waiting for a connection included; 0 = the
 * pool's. */
struct store *store_new(struct loop *l, struct dbpool *pool, const char *owner, int64_t timeout_ms);
void store_free(struct store *s);            /* NULL ok; after the pool: nothing may be in flight */
size_t store_waiting(const struct store *s); /* batched requests that no flush has taken yet */

/* What every batched request begins with; zero-initialised, borrowed until done has run. done runs
 * from the loop, once. rc: HL_OK; HL_LOST the row is not (or no longer) ours; HL_RETRY nothing
 * happened; HL_UNSURE it may have: repeat, every request here recognises its own earlier success;
 * HL_FATAL PostgreSQL refuses this row for good. err is NULL for HL_OK and HL_LOST. */
struct store_req {
    struct batch_item item; /* private */
    int64_t place;          /* private */
    void (*done)(struct store_req *req, enum hl_rc rc, const struct hl_err *err);
    void *ctx;
};

/* The end of a single statement. rows: NULL unless rc is HL_OK; borrowed during the callback. */
typedef void store_cb(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx);

/* T0: insert the event as queued, once. */
struct store_accept {
    struct store_req req;
    const struct change_event *ev; /* borrowed */
    int64_t row_id;                /* out */
    bool existed;                  /* out: the row was there before */
    bool conflict;                 /* out: it was, of another body; nothing was written or merged */
};
void store_accept(struct store *s, struct store_accept *a);
/* Takes back a request that was not sent yet (done will not run); false when it is under way. */
bool store_accept_undo(struct store *s, struct store_accept *a);

/* T1: claim the event: in_progress, epoch + 1, owner = us. */
enum store_claim_state {
    CLAIM_OK,      /* ours: epoch, starts, attempts, waited_ms (since it was due) are set */
    CLAIM_MISSING, /* there is no row: T0 was lost; insert (store_accept) and claim again */
    CLAIM_EARLY,   /* queued, but not due for wait_ms; or the queue is paused: see again then */
    CLAIM_BUSY,    /* another event of the same URL is in progress */
    CLAIM_HELD,    /* a living owner has it; or it is a suspect, which a solo process runs; or the
                    * row is of another body */
    CLAIM_DONE,    /* terminal already */
};
struct store_claim {
    struct store_req req;
    const struct change_event *ev;
    bool alone;                   /* this process runs nothing else: suspects too */
    enum store_claim_state state; /* out */
    int64_t row_id, epoch, starts, attempts, wait_ms, waited_ms; /* out */
};
void store_claim(struct store *s, struct store_claim *c);

/* A place in the queue as the rows have it: in the order in which events became due. All zeros:
 * before the first. */
struct store_place {
    char due[40];
    int64_t id;
};

/* T1 without Redis: claims up to max queued events that are due and behind `after`, those due
 * longest first, one per URL and none of a URL in progress; looks at no more than `look` rows.
 * Nothing while the queue is paused. Columns of an event, then epoch, starts, attempts, then three
 * for store_looked, then for how many ms it was due; nothing claimed: one row without an event. Repeating recognises nothing: rows of
 * an unsure claim come back with a renewal (store_renew). */
enum { DUE_EPOCH = 8, DUE_STARTS, DUE_ATTEMPTS, DUE_WAITED_MS = DUE_ATTEMPTS + 4 };
void store_claim_due(
    struct store *s, const struct store_place *after, int max, int look, store_cb *cb, void *ctx);
/* How many rows store_claim_due has looked at; *place: the last of them. */
int64_t store_looked(const PGresult *rows, struct store_place *place);

/* T3b: the scrape succeeded: completed, document written, older queued events of this URL
 * superseded, all in one statement. Guarded by in_progress, epoch and owner. HL_LOST: not ours any
 * more; nothing was written, neither row nor document; `gone` when there is no row at all. */
struct store_document { /* borrowed; text NULL = no index wanted */
    const char *canonical_url, *url, *title, *description, *language, *text;
};
struct store_complete {
    struct store_req req;
    const struct change_event *ev;
    int64_t epoch;
    const char *metadata; /* JSON object merged into the row's; borrowed */
    struct store_document doc;
    bool keep_older;    /* older queued events of this URL run themselves: none is superseded */
    bool gone;          /* out */
    int64_t superseded; /* out: older events that this one answered */
    int64_t age_us;     /* out: since the event was accepted */
};
void store_complete(struct store *s, struct store_complete *c);

/* T3a: the attempt failed, or the work is given back. Same guard. */
struct store_settle {
    struct store_req req;
    const struct change_event *ev;
    int64_t epoch;
    const char *status;   /* "queued" or "failed: ..." (at most 50 characters); borrowed */
    bool charge;          /* counts as an attempt; a release without fault does not */
    int64_t delay_ms;     /* queued: not due before; 0 = at once */
    const char *metadata; /* JSON object merged into the row's, "{}" ok; borrowed */
    bool gone;            /* out */
};
void store_settle(struct store *s, struct store_settle *f);

/* --- the lease of a worker process, and the janitor: one statement each ------------------ */

/* In what follows cb may be NULL: fire and forget, nobody waits and a failure is nobody's. */

/* Writes this owner's row of webhook.workers. No columns. */
void store_register(struct store *s, store_cb *cb, void *ctx);
/* beat + 1, unless declared dead: then no row comes back. At once gives back every row claimed by
 * us more than a lease ago, by our beats, that is not among `held` (a commit that arrived after its
 * read-back): one result row each, columns of an event (store_event); otherwise one row with
 * event_id NULL. held: text of a uuid array, borrowed. The deadline is a third of the lease. */
void store_renew(struct store *s, const char *held, int64_t lease_ms, store_cb *cb, void *ctx);
/* Takes this owner's row away: it holds nothing any more. */
void store_resign(struct store *s, store_cb *cb, void *ctx);

/* id, beat of every worker not declared dead */
void store_workers(struct store *s, store_cb *cb, void *ctx);
/* Compare-and-set on beat (-1: known dead, whatever the beat). One row when it took effect. */
void store_declare_dead(
    struct store *s, const char *worker, int64_t beat, const char *cause, store_cb *cb, void *ctx);
/* id of every worker declared dead that still has a row */
void store_dead_workers(struct store *s, store_cb *cb, void *ctx);
/* Forgets a dead worker once it owns no row in progress. */
void store_forget_worker(struct store *s, const char *worker, store_cb *cb, void *ctx);
/* Zombies: in_progress without a living owner, or longer than job_timeout_ms + lease_ms (the owner
 * gives up a lease before job_timeout_ms, so that the two never overlap). Back to queued (epoch
 * raised) or, after max_starts starts, failed. Columns of an event plus rescrape_status and whether it
 * is a suspect, which goes to no queue. At most max rows. */
struct store_limits {
    int64_t job_timeout_ms, lease_ms, max_starts;
};
void store_reap(
    struct store *s, const struct store_limits *limits, int max, store_cb *cb, void *ctx);
/* Unfinished rows of the replaced service get event ids and what else ours have, at most max of
 * them; afterwards they are reaped and published like any other. One row (id) for each. */
void store_identify(struct store *s, int max, store_cb *cb, void *ctx);
/* A process that its supervisor saw die: its dossier (webhook.worker_crashes), its death, and when
 * it is blamed the suspects, in one transaction; writing it again changes nothing. One row for each
 * event that has failed by it, columns of an event; when there is none, the first time, one row with
 * event_id NULL; behind them rescrape_status, number of events suspected, number of those that are a
 * solo process's from now on, 1 when the process had not been declared dead before. */
struct store_crash { /* borrowed */
    const char *worker, *host, *role, *cause;
    int64_t pid, signo, exit_code; /* signo 0, exit_code -1: NULL */
    bool blamed;
    int64_t max_rss_kb, lived_ms;
    const char *held;     /* JSON array for people */
    const char *suspects; /* uuid array: what it worked on */
};
void store_crash(struct store *s, const struct store_crash *c, store_cb *cb, void *ctx);
/* The oldest suspect that a solo process may claim now: columns of an event, suspect; or no row. */
void store_next_suspect(struct store *s, store_cb *cb, void *ctx);
/* Queued events that have been due for grace_ms or longer, behind `after` in the order in which they
 * became due, at most limit of them; columns of an event. What became of the walk: store_went. */
void store_unpublished(struct store *s, const struct store_place *after, int64_t grace_ms,
    int limit, store_cb *cb, void *ctx);
/* Reads the place behind the last row of such a page, or, of one that is not full, behind all that
 * is due for so long. False: it is not full. */
bool store_went(const PGresult *rows, int limit, struct store_place *place);

/* What Redis is to know: generation, and whether Redis was ever told ('t'). No row: the queue is
 * unknown. */
void store_generation(struct store *s, store_cb *cb, void *ctx);
/* Redis has been told. */
void store_announced(struct store *s, store_cb *cb, void *ctx);

/* --- circuits of upstream hosts, shared by the fleet (webhook.upstreams); each change is a
 * compare-and-set, and a row comes back when it took effect -------------------------------- */

/* host, 'open' or 'half_open', failures in a row, ms until it may be tried (half open: until the
 * probe is given up), whether the probe is ours; of hosts whose circuit is not closed */
void store_upstreams(struct store *s, store_cb *cb, void *ctx);
/* closed -> open */
void store_upstream_open(struct store *s, const char *host, int64_t failures, int64_t pause_ms,
    const char *error, store_cb *cb, void *ctx);
/* open and due, or half open and given up -> half open, the probe ours for probe_ms; failures */
void store_upstream_probe(
    struct store *s, const char *host, int64_t probe_ms, store_cb *cb, void *ctx);
/* half open, the probe ours -> "closed", or "open" for pause_ms. error NULL: as it was. */
void store_upstream_result(struct store *s, const char *host, const char *state, int64_t failures,
    int64_t pause_ms, const char *error, store_cb *cb, void *ctx);
/* Rows that say nothing any more go. */
void store_forget_upstreams(struct store *s, store_cb *cb, void *ctx);

/* --- retention: each step deletes a bounded number of rows; repeat until nothing is left - */

/* One process of the fleet at a time: a row, when retention is the holder's for lease_ms. It becomes
 * so when nobody has it, or had it for longer than its lease, and it was last done every_ms ago; it
 * stays so, whatever the interval, while the holder asks again. */
void store_retention_hold(struct store *s, const char *holder, int64_t lease_ms, int64_t every_ms,
    store_cb *cb, void *ctx);
/* The holder has come to the end. No columns. */
void store_retention_done(struct store *s, const char *holder, store_cb *cb, void *ctx);
/* Days from today on get their partitions of the metrics tables, those older than days (0: none)
 * lose theirs. made, dropped. Nothing to do where the tables were adopted without partitions. */
void store_partitions(struct store *s, int64_t days, store_cb *cb, void *ctx);
/* Rows outside such partitions. Deleted. */
enum store_metrics { METRICS_REQUESTS, METRICS_OPERATIONS };
void store_prune_metrics(
    struct store *s, enum store_metrics table, int64_t days, int max, store_cb *cb, void *ctx);
/* Dossiers of crashes. Deleted. */
void store_prune_crashes(struct store *s, int64_t days, int max, store_cb *cb, void *ctx);
/* Finished events, from after row id `after`: deleted, last id looked at ("" at the end), whether a
 * younger one was met: then there is nothing to find behind it. */
void store_prune_events(
    struct store *s, int64_t days, int64_t after, int page, store_cb *cb, void *ctx);
/* Documents, from after the key `after` (hex, "" first): deleted, last key looked at ("" at the
 * end). */
void store_prune_documents(
    struct store *s, int64_t days, const char *after, int page, store_cb *cb, void *ctx);

/* --- spools: what is safe on a producer's disk only -------------------------------------- */

/* Writes the row of a segment that is not empty (its file's name); takes it away. No columns. */
void store_spool_note(struct store *s, const char *segment, const char *host, const char *folder,
    const char *holder, int64_t bytes, store_cb *cb, void *ctx);
void store_spool_gone(struct store *s, const char *segment, store_cb *cb, void *ctx);

/* The newest applied migration in column 0 (0 = none); HL_FATAL with SQLSTATE 42P01 or 3F000: no
 * schema. */
void store_schema_version(struct store *s, store_cb *cb, void *ctx);
/* "SELECT 1" */
void store_ping(struct store *s, int64_t timeout_ms, store_cb *cb, void *ctx);

/* --- readers for people ------------------------------------------------------------------ */

/* status word, number of events */
void store_count_by_status(struct store *s, store_cb *cb, void *ctx);
/* id, host, pid, state, started_at, seconds since seen, rows in progress */
void store_list_workers(struct store *s, store_cb *cb, void *ctx);
/* segment, host, folder, holder, bytes, seconds since seen; of both kinds of segments */
void store_list_spools(struct store *s, store_cb *cb, void *ctx);
/* url, title, description, snippet (matches between « and »), rank, scraped_at (microseconds) */
void store_search(struct store *s, const char *words, int limit, store_cb *cb, void *ctx);

/* host, state, failures, seconds until it may be tried ("" when closed), worker that tries it, last
 * error, changed_at of upstream hosts that were in trouble, the worst first */
void store_list_upstreams(struct store *s, store_cb *cb, void *ctx);

/* --- readers for an audit ---------------------------------------------------------------- */

/* ids: text of a uuid array, borrowed during the call. For each that has a row: its place in the
 * array, from 1; the row's state: first word of its status, or, in progress, "held" by an owner
 * that lives or "alone" (dead, gone, or not heard of for two leases). */
void store_audit_rows(struct store *s, const char *ids, int64_t lease_ms, store_cb *cb, void *ctx);
/* Of queued rows with id > after, in order, at most limit: id, event_id. */
void store_audit_queued(struct store *s, int64_t after, int limit, store_cb *cb, void *ctx);
/* event_id, state as above, of every row in progress */
void store_audit_in_progress(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx);
/* How many events are queued and due, how many in progress; not counted beyond max. */
void store_audit_work(struct store *s, int max, store_cb *cb, void *ctx);

/* Event columns of a result row -> event; caller releases. False when the row holds no event. */
bool store_event(const PGresult *rows, int row, struct change_event *ev);

#endif
