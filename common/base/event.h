/* event: one change event as Hookline carries it from intake to the row: what T0 inserts, what the
 * job in the stream holds, what the spool keeps. And its codec (PROTOCOL.md, "Job"): a flat map,
 *
 *     key   type        what
 *     v     uint        version of the form, EVENT_VERSION; always the first key
 *     id    bin 16      event id (UUID)
 *     w     str         watch_id
 *     u     str         watch_url
 *     t     int         detected_at, microseconds since 1970 UTC, years 1 to 9999
 *     d     str or nil  diff_summary
 *     s     str or nil  snapshot_url
 *     m     str         metadata, text of a JSON object
 *     h     bin 32      SHA-256 of the request body, and of a NUL and the query if that counted
 *     q     str         id of the request that brought it; may be left out
 *     p     str         traceparent that came with it (base/trace.h), if one did
 *
 * Every key but "q" and "p" is there exactly once; only "v" has a fixed place. Keys a reader does not know are
 * skipped; their values are no maps or arrays either. What a reader of the same version could
 * not skip raises the version. */
#ifndef HL_BASE_EVENT_H
#define HL_BASE_EVENT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENT_VERSION 1

/* Limits that intake enforces, so that no later step can refuse a row. */
#define EVENT_MAX_WATCH_ID 255   /* characters: the column's width */
#define EVENT_MAX_URL      8192  /* bytes */
#define EVENT_MAX_TITLE    4096  /* bytes */
#define EVENT_MAX_DIFF     500   /* characters of diff_summary */
#define EVENT_MAX_METADATA 65536 /* bytes of JSON */
#define EVENT_MAX_REQUEST  100   /* bytes of the id of a request */

/* Strings are valid UTF-8 without NUL, owned by whoever made the struct (event_release frees). */
struct change_event {
    struct uuid id;
    char *watch_id;
    char *watch_url;
    int64_t detected_at;             /* microseconds since 1970 UTC */
    char *diff_summary;              /* NULL ok */
    char *snapshot_url;              /* NULL ok */
    char *metadata;                  /* JSON object text */
    uint8_t body_digest[DIGEST_LEN]; /* SHA-256 of what came: the body and, if heeded, the query */
    char *request_id; /* of the request that brought it, for its metrics; NULL: not known, as in all
                         that comes from a row */
    char *traceparent; /* that came with it, valid; NULL: none, as in all that comes from a row */
};

void event_release(struct change_event *ev);
/* Deep copy; *to is overwritten. */
void event_copy(struct change_event *to, const struct change_event *from);

/* Appends the encoded job to out. */
void event_encode(const struct change_event *ev, struct buf *out);
/* HL_FATAL: not a job (err says what is wrong with it). HL_LOST: of a newer version: leave it to
 * newer programs. On HL_OK *ev owns its strings. Every limit above is checked again. */
enum hl_rc event_decode(const void *data, size_t len, struct change_event *ev, struct hl_err *err);

#endif
