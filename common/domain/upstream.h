/* upstream: looks into the queue of a Firecrawl whose PostgreSQL schema lives in our database, for
 * people. Owns every statement about tables that are not ours. Nothing is assumed of them: schema,
 * tables, columns and rights are looked up in the catalog, and the SELECT is made of what is there.
 * Never writes: each statement runs in a READ ONLY transaction with a deadline and a LIMIT. */
#ifndef HL_DOMAIN_UPSTREAM_H
#define HL_DOMAIN_UPSTREAM_H

#include "io/dbpool.h"

#include <stdbool.h>

/* Counting looks at no more jobs than this. */
#define UPSTREAM_COUNTED 100000

enum upstream_place {
    UPSTREAM_FOUND,
    UPSTREAM_MISSING,   /* no such table in any schema looked in; explained */
    UPSTREAM_FORBIDDEN, /* it is there, but not for our role; explained, with the remedy */
};

/* One row of upstream_list.rows, all texts; NULL where Firecrawl has nothing, or no such column. */
enum upstream_column {
    UPSTREAM_PART, /* "job": all columns; "count": status and, in the column id, the number */
    UPSTREAM_ID,
    UPSTREAM_STATUS, /* Firecrawl's word, or "backlog" */
    UPSTREAM_CRAWL,  /* the crawl's id; NULL = a page asked for by itself */
    UPSTREAM_MODE,
    UPSTREAM_URL,
    UPSTREAM_CREATED,
    UPSTREAM_FINISHED,
    UPSTREAM_ERROR,
    UPSTREAM_COLUMNS,
};

struct upstream_list {
    /* The question; borrowed until done has run. */
    const char *schema; /* NULL = nuq, then public */
    const char *status; /* NULL = any */
    int limit;          /* jobs, newest first */
    int64_t timeout_ms; /* of each of the two transactions */
    /* Runs once, from the loop. rc as in db_result; err is NULL for HL_OK. */
    void (*done)(struct upstream_list *l, enum hl_rc rc, const struct hl_err *err);
    void *ctx;

    /* The answer, for the time of done. */
    enum upstream_place place;
    const char *explained; /* not FOUND: one line for people */
    const char *found;     /* FOUND: the schema's name, as it is in the catalog */
    const PGresult *rows;  /* FOUND: jobs, then counts */
};

/* pool is borrowed and must not prepare statements (db_conf.prepared off): these are made anew each
 * time. */
void upstream_list(struct dbpool *pool, struct upstream_list *list);

#endif
