/* hook: what changedetection.io (or anyone signing) posts -> a change event. Pure. Reference
 * contract section 2.1 for the payload; the rest follows what real senders were seen to send:
 * json:// wraps the text in an envelope, URL templates put the identity into the query, watch_uuid
 * and change_datetime are changedetection.io's own names. */
#ifndef HL_PRODUCER_HOOK_H
#define HL_PRODUCER_HOOK_H

#include "base/event.h"
#include "base/identity.h"

#include <stdbool.h>

struct hook_input {
    const char *body; /* any bytes, NUL-terminated after len */
    size_t len;
    const char *query;        /* raw query string */
    const char *content_type; /* "" when absent; only a hint for better refusals */
    const char *signature; /* header value when the request was signed; NULL = came with a token */
    int64_t now;           /* microseconds since 1970 UTC */
    const char *webhook_id, *idempotency_key; /* headers of these names; NULL or "" = absent */
    bool dedup; /* equal bytes are one event where they carry their sender's time */
};

/* HL_OK: *ev is filled (caller releases) and *who says which event it is; ev->id is its id. The
 * sender's own key decides: webhook-id, Idempotency-Key, the members webhookId or scrapeId; else
 * the bytes, where they carry a time of the sender's: without one, two equal notices may be two
 * changes. HL_FATAL: err->msg says what is wrong
 * and what to change at the sender; the answer is 400 "Invalid payload: <msg>". With a token what
 * can be understood is not refused: that sender makes one attempt and never repeats. A query is
 * heeded with a token only: a signature does not cover it. */
enum hl_rc hook_read(
    const struct hook_input *in, struct change_event *ev, struct identity *who, struct hl_err *err);

#endif
