/* event: one change event as Hookline carries it from intake to the row: what T0 inserts, what the job in the
 * stream holds, what the spool keeps. And its codec: a msgpack map with a version (PROTOCOL.md, "Job"). */
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

/* Strings are valid UTF-8 without NUL, owned by whoever made the struct (event_release frees). */
struct change_event {
    struct uuid id;
    char *watch_id;
    char *watch_url;
    int64_t detected_at;             /* microseconds since 1970 UTC */
    char *diff_summary;              /* NULL ok */
    char *snapshot_url;              /* NULL ok */
    char *metadata;                  /* JSON object text */
    uint8_t body_digest[DIGEST_LEN]; /* SHA-256 of the request body as received */
};

void event_release(struct change_event *ev);

/* Appends the encoded job to out. */
void event_encode(const struct change_event *ev, struct buf *out);
/* HL_FATAL: not a job (err says what is wrong with it). HL_LOST: of a newer version: leave it to newer
 * programs. On HL_OK *ev owns its strings. Every limit above is checked again. */
enum hl_rc event_decode(const void *data, size_t len, struct change_event *ev, struct hl_err *err);

#endif
