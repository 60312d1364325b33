/* queue_transfer: everything that Redis holds of an installation, read page by page, to be put into
 * another Redis. Jobs of both queues, delivered or not, what is kept beside them, dead letters, refused
 * webhooks, and what is remembered for a while. Not the markers of jobs: they are made anew. */
#ifndef HL_DOMAIN_QUEUE_TRANSFER_H
#define HL_DOMAIN_QUEUE_TRANSFER_H

#include "io/redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transfer;

/* redis is borrowed; free it before the transfer, so that it can answer. */
struct transfer *transfer_new(struct redis *redis, const char *prefix);
void transfer_free(struct transfer *t); /* NULL ok */

enum { TRANSFER_TEXTS = 4, TRANSFER_MAX_VALUES = 4000 };

enum transfer_kind {
    TRANSFER_SEEN,
    TRANSFER_DONE,
    TRANSFER_LATER,
    TRANSFER_JOB,
    TRANSFER_BLOB,
    TRANSFER_DEAD,
    TRANSFER_REJECT,
    TRANSFER_FINISHED, /* only put: a job that needs no doing any more */
    TRANSFER_END,      /* only put: the last one */
    TRANSFER_NKINDS
};
/* The name of a kind, and of each of its texts (NULL = it has no more). */
struct transfer_kind_info {
    const char *name, *texts[TRANSFER_TEXTS];
};
extern const struct transfer_kind_info transfer_kinds[TRANSFER_NKINDS];
/* Indexes of texts. */
enum { LATER_QUEUE = 0, LATER_ID, LATER_DIGEST, LATER_DUE };
enum { JOB_QUEUE = 0, JOB_ENTRY, JOB_ID, JOB_DIGEST };
enum { FINISHED_QUEUE = 0, FINISHED_ID, FINISHED_DIGEST, FINISHED_UNTIL };
enum { BLOB_NAME = 0, BLOB_OFFSET };

struct transfer_value {
    const char *data;
    size_t len;
};
struct transfer_record {
    enum transfer_kind kind;
    const char *texts[TRANSFER_TEXTS]; /* UTF-8; "" = none */
    const struct transfer_value *values;
    size_t n;
    /* Read, not put: kept beside it under this name, of so many bytes; transfer_blob reads it. */
    const char *blob;
    int64_t blob_len;
};

/* In the order in which they are read, so that what moves on meanwhile is rather seen twice than
 * never. */
enum transfer_place {
    TRANSFER_AT_SEEN,
    TRANSFER_AT_DONE,
    TRANSFER_AT_LATER,
    TRANSFER_AT_LATER_CRAWL,
    TRANSFER_AT_DEAD,
    TRANSFER_AT_REJECTS,
    TRANSFER_AT_CRAWL,
    TRANSFER_AT_CHANGE,
    TRANSFER_NPLACES
};
extern const char *const transfer_places[TRANSFER_NPLACES]; /* names */
/* Streams go on behind any entry; the others only behind a cursor of this connection. */
bool transfer_is_stream(enum transfer_place place);

/* Borrowed during the callback. */
typedef void transfer_each(const struct transfer_record *r, void *ctx);
/* next: what to ask for; "" = that was all. */
typedef void transfer_page_done(
    enum hl_rc rc, const char *next, const struct hl_err *err, void *ctx);
/* A page behind `after` ("" = from the beginning). */
void transfer_page(struct transfer *t, enum transfer_place place, const char *after,
    transfer_each *each, transfer_page_done *done, void *ctx);

/* A piece of what is kept beside; none: it is gone, or at an end. Borrowed during the callback. */
typedef void transfer_blob_cb(
    enum hl_rc rc, const void *data, size_t len, const struct hl_err *err, void *ctx);
void transfer_blob(
    struct transfer *t, const char *name, int64_t offset, transfer_blob_cb *cb, void *ctx);

/* What Redis takes itself for; no bytes: nothing. */
void transfer_generation(struct transfer *t, transfer_blob_cb *cb, void *ctx);

/* What the Redis that takes a file in knows of it. */
struct transfer_state {
    bool done;       /* the records were put; false: the note says otherwise, nothing was */
    int64_t records; /* of the file that are done */
    int64_t put, known, finished; /* jobs: put, there already, finished elsewhere */
    bool whole;                   /* TRANSFER_END was among them */
};
typedef void transfer_put_cb(
    enum hl_rc rc, const struct transfer_state *state, const struct hl_err *err, void *ctx);
/* Puts records (borrowed during the call) in one step, where `before` records of this file are done
 * already; `after`: with these. file: its digest. No records: only asks. */
void transfer_put(struct transfer *t, const char *file, int64_t before, int64_t after,
    const struct transfer_record *records, size_t n, transfer_put_cb *cb, void *ctx);

#endif
