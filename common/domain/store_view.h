/* store_view: what the API shows of events, crawls, queues, workers and documents, and the one thing
 * it does to an event: it may be tried again. Each is one bounded statement through a store of the
 * caller's. Lists go from the newest to the oldest, page by page, by the place where the page before
 * ended; a page that looked at VIEW_LOOK rows ends there, however few of them it shows.
 *
 * Times in rows and questions are microseconds since 1970 UTC, unless a name says otherwise. */
#ifndef HL_DOMAIN_STORE_VIEW_H
#define HL_DOMAIN_STORE_VIEW_H

#include "domain/store.h"

#define VIEW_LOOK           20000 /* events that one page looks at */
#define VIEW_TIMELINE       200   /* its rows */
#define VIEW_CRASHES        20
#define VIEW_CRAWL_METADATA 65536  /* bytes; larger metadata of a crawl are left out of a page */
#define VIEW_TEXT           262144 /* bytes of a document's text */
#define VIEW_MATCHES        10000  /* documents among which a search ranks */

/* What follows: texts are borrowed during the call; cb as in store.h. */

struct view_events {
    const char *status;      /* queued, in_progress, completed, superseded, failed; NULL = any */
    const char *url, *watch; /* exact; NULL = any */
    const char *error; /* a part of the whole error, or of a failed status, in any case; NULL */
    const char
        *search; /* a part of the URL in any case, or a row id, or an event id (which is found
                         * however old it is); NULL = any */
    const int64_t *since, *until; /* of created_at; NULL = ever */
    int64_t before;               /* row id; 0 = from the newest */
    int limit;
};
/* Columns of an event as it is shown, and of the page. One row more than the limit: there is more
 * behind. No event: one row with VIEW_ID NULL. */
enum view_event_col {
    VIEW_EDGE, /* id of the last row looked at, when that was why the page ended; else NULL */
    VIEW_ID,
    VIEW_EVENT_ID,
    VIEW_WATCH_ID,
    VIEW_WATCH_URL,
    VIEW_STATUS,
    VIEW_DETECTED,
    VIEW_CREATED,
    VIEW_ATTEMPTS,
    VIEW_STARTS,
    VIEW_NEXT_ATTEMPT,
    VIEW_FINISHED,
    VIEW_INDEXED,
    VIEW_ERROR,
    VIEW_EVENT_COLS,
    /* and of a single one: */
    VIEW_CLAIMED_AT = VIEW_EVENT_COLS,
    VIEW_CLAIMED_BY,
    VIEW_EPOCH,
    VIEW_SUSPECT,
    VIEW_DIFF,
    VIEW_SNAPSHOT,
    VIEW_METADATA, /* JSON; the signature is left out */
};
void view_events(struct store *s, const struct view_events *q, store_cb *cb, void *ctx);

/* An event by its event id, or by its row id where event_id is NULL. */
struct view_key {
    const char *event_id; /* text of a UUID */
    int64_t row_id;
};
void view_event(struct store *s, const struct view_key *key, store_cb *cb, void *ctx);

/* What happened to it: at, what, by, epoch, duration_ms, success, detail; oldest first. */
void view_timeline(struct store *s, const struct view_key *key, store_cb *cb, void *ctx);

/* A failed event becomes queued again, as if it had never been tried. Columns of an event as it is
 * now (store_event; none when nothing was changed, or where it is a row of the replaced service, to
 * which the janitor gives what it lacks), then these. No row: no such event. */
enum { RETRY_ROW_ID = 8, RETRY_EVENT_ID, RETRY_STATUS_BEFORE, RETRY_DONE };
void view_retry(struct store *s, const struct view_key *key, store_cb *cb, void *ctx);

struct view_crawls {
    const char *status;    /* NULL = any */
    int64_t before;        /* started_at; 0 = from the newest */
    const char *before_id; /* id of the session there */
    int limit;
};
enum view_crawl_col {
    CRAWL_EDGE, /* as VIEW_EDGE: started_at and id */
    CRAWL_EDGE_ID,
    CRAWL_ID,
    CRAWL_JOB_ID,
    CRAWL_BASE_URL,
    CRAWL_STATUS,
    CRAWL_SUCCESS,
    CRAWL_STARTED,
    CRAWL_COMPLETED,
    CRAWL_DURATION_MS,
    CRAWL_E2E_MS,
    CRAWL_TOTAL_PAGES,
    CRAWL_PAGES_INDEXED,
    CRAWL_PAGES_FAILED,
    CRAWL_CHUNKING_MS,
    CRAWL_EMBEDDING_MS,
    CRAWL_QDRANT_MS,
    CRAWL_BM25_MS,
    CRAWL_ERROR,
    CRAWL_METADATA,
    CRAWL_OPERATION_TYPE,
    CRAWL_TOTAL_URLS,
    CRAWL_COMPLETED_URLS,
    CRAWL_FAILED_URLS,
};
void view_crawls(struct store *s, const struct view_crawls *q, store_cb *cb, void *ctx);

/* name, whether paused, age in ms of what has been due longest (of the queue of changes only) */
void view_queues(struct store *s, store_cb *cb, void *ctx);
/* host, bytes, segments, seen_at */
void view_spools(struct store *s, store_cb *cb, void *ctx);
/* id, host, pid, 'alive' or 'dead', started_at, seen_at, rows in progress, the order for it; and of what
 * it told last: phase, jobs, crawls, age of the oldest of them (ms; none: NULL), kB of memory, jobs
 * done, restarts, pool (JSON), queues that it has noted as paused (JSON array) */
void view_workers(struct store *s, store_cb *cb, void *ctx);
/* worker, host, pid, role, signal, exit_code, cause, blamed, max_rss_kb, lived_ms, held (JSON),
 * crashed_at of the newest VIEW_CRASHES */
void view_crashes(struct store *s, store_cb *cb, void *ctx);

/* The document of a page, by its canonical URL (url_canonical). Or no row. */
enum {
    DOCUMENT_URL,
    DOCUMENT_CANONICAL,
    DOCUMENT_TITLE,
    DOCUMENT_DESCRIPTION,
    DOCUMENT_LANGUAGE,
    DOCUMENT_TEXT, /* so many characters as VIEW_TEXT is bytes */
    DOCUMENT_CUT,  /* whether the whole is longer than VIEW_TEXT bytes */
    DOCUMENT_SCRAPED,
    DOCUMENT_HASH /* hex */
};
void view_document(struct store *s, const char *canonical, store_cb *cb, void *ctx);

/* total (at most VIEW_MATCHES), url, title, description, language, snippet (matches between « and »),
 * score, scraped_at. Nothing found: one row with url NULL. */
void view_search(struct store *s, const char *words, int limit, store_cb *cb, void *ctx);

#endif
