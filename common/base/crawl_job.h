/* crawl_job: an event of Firecrawl's as Hookline carries it from intake to worker: what the queue
 * "crawl" and the spool hold. And its codec (PROTOCOL.md, "Crawl job"): a flat map as in event.h,
 *
 *     key   type        what
 *     v     uint        version of the form, CRAWL_JOB_VERSION; always the first key
 *     k     str         "crawl": tells it from a change event in the spool
 *     id    bin 16      event id (UUID)
 *     t     int         received_at, microseconds since 1970 UTC
 *     q     str or nil  X-Request-ID of the request that brought it
 *     c     bool        asked for by us (reconciled), not sent
 *     h     bin 32      SHA-256 of the body
 *     n     uint        bytes of the body
 *     b     bin         the body as it came, compressed (zstd) when shorter than n
 *     p     str         traceparent that came with it (base/trace.h), if one did */
#ifndef HL_BASE_CRAWL_JOB_H
#define HL_BASE_CRAWL_JOB_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRAWL_JOB_VERSION 1
#define CRAWL_MAX_BODY    (128 * 1024 * 1024) /* bytes; the setting's upper bound */

struct crawl_job {
    struct uuid id;
    int64_t received_at; /* microseconds since 1970 UTC */
    char *request_id;    /* owned; NULL = none */
    char *traceparent;   /* owned; NULL = none came */
    bool reconciled;
    uint8_t digest[DIGEST_LEN];
    char *body; /* owned, NUL-terminated after len */
    size_t len;
};

void crawl_job_release(struct crawl_job *j);

/* Appends the encoded job to out. Compresses bodies from 1 KiB on: about 2 ms a MiB; may run in a
 * helper thread. */
void crawl_job_encode(const struct crawl_job *j, struct buf *out);
/* HL_FATAL: no crawl job (err says what is wrong with it); HL_LOST: of a newer version. The body is
 * decompressed, never beyond CRAWL_MAX_BODY, and checked against its digest. */
enum hl_rc crawl_job_decode(const void *data, size_t len, struct crawl_job *j, struct hl_err *err);
/* The same, but the body is only looked at from outside: j gets all but body. */
enum hl_rc crawl_job_peek(const void *data, size_t len, struct crawl_job *j, struct hl_err *err);
/* Its "k" says so: a crawl job, of whatever version. Looks at the first keys only. */
bool crawl_job_is(const void *data, size_t len);

/* Of the document with this place in its event, as answers and metrics name it: a UUID of version 8
 * (RFC 9562) from the event's id and the place. */
struct uuid crawl_document_id(const struct uuid *event, size_t place);

#endif
