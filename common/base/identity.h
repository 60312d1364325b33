/* identity: which event a request is. Pure. Two requests of one identity are one event, for ever: it
 * gives the event its id, which is unique in PostgreSQL. Redis remembers it for a while under
 * `seen`, for when PostgreSQL cannot be asked. */
#ifndef HL_BASE_IDENTITY_H
#define HL_BASE_IDENTITY_H

#include "base/uuid.h"

#include <stdint.h>

#define IDENTITY_MAX_KEY  255 /* bytes of a sender's own key */
#define IDENTITY_SEEN_LEN 128

struct identity {
    struct uuid id;
    char seen[IDENTITY_SEEN_LEN]; /* see queue_req; "" = each request is an event of its own */
};

enum identity_kind {
    IDENTITY_ID,     /* key: the sender's own name for the event */
    IDENTITY_DIGEST, /* key: SHA-256 of what it sent, in hex */
};
/* source: who names the keys ("changedetection"); short. */
struct identity identity_of(const char *source, enum identity_kind kind, const char *key);
/* Of a request that cannot be told from another. */
struct identity identity_fresh(int64_t now_us);

#endif
