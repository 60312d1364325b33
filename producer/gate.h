/* gate: who may post to a webhook route. Pure; may run in a helper thread. Reference contract section
 * 2.1 for X-Signature, 2.2 for X-Firecrawl-Signature, standardwebhooks.com (specification 1.0) for
 * webhook-signature; tokens for senders that cannot compute any. All comparisons take constant
 * time. */
#ifndef HL_PRODUCER_GATE_H
#define HL_PRODUCER_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_TOLERANCE_S 300 /* between a sender's clock and ours: webhook-timestamp */

/* All borrowed. Standard Webhooks' form of a secret, "whsec_<base64>", stands for the decoded bytes
 * there; X-Signature's key is the text as it is. */
struct gate {
    const char *secret;   /* HMAC key */
    const char *previous; /* the key before it, accepted beside it; NULL = none */
    const char *token;    /* intake token, NULL = none accepted */
};

/* Headers as received, NULL = absent. */
struct gate_request {
    const char *signature; /* X-Signature; of Firecrawl's X-Firecrawl-Signature */
    const char *standard;  /* webhook-signature: "v1,<base64>", several separated by blanks */
    const char *id;        /* webhook-id */
    const char *timestamp; /* webhook-timestamp: seconds since 1970 UTC */
    const char
        *authorization; /* Authorization: "Bearer <token>" or Basic with the token as password */
    const char *webhook_token; /* X-Webhook-Token */
    const void *body;
    size_t len;
    int64_t now; /* microseconds since 1970 UTC */
};

enum gate_verdict {
    GATE_SIGNED,          /* the signature was right */
    GATE_SIGNED_PREVIOUS, /* it was right under the previous key */
    GATE_TOKEN,           /* the token was right */
    GATE_MISSING,         /* nothing that counts was given */
    GATE_BAD_SIGNATURE,
    GATE_BAD_SHAPE, /* Firecrawl's only: no signature at all */
    GATE_BAD_TOKEN,
    GATE_NO_ID, /* webhook-signature without webhook-id, ... */
    GATE_NO_TIMESTAMP,
    GATE_BAD_TIMESTAMP,
    GATE_TOO_OLD,
    GATE_TOO_NEW,
};
/* A signature, where given, decides alone; of two, webhook-signature, which covers more. */
enum gate_verdict gate_check(const struct gate *g, const struct gate_request *r);
/* Firecrawl's kind (reference contract section 2.2): "sha256=" and 64 hex digits; no other kind
 * counts. A Firecrawl without a secret signs nothing: then a token will do. */
enum gate_verdict gate_check_firecrawl(const struct gate *g, const struct gate_request *r);

#endif
