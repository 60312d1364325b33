/* gate: who may post to a webhook route. Pure. Reference contract section 2.1 for the signature;
 * tokens for senders that cannot compute one. All comparisons take constant time. */
#ifndef HL_PRODUCER_GATE_H
#define HL_PRODUCER_GATE_H

#include <stddef.h>

struct gate {
    const char *secret; /* HMAC key; borrowed */
    const char *token;  /* intake token, NULL = none accepted; borrowed */
};

/* Headers as received, NULL = absent. */
struct gate_request {
    const char *signature; /* X-Signature */
    const char
        *authorization; /* Authorization: "Bearer <token>" or Basic with the token as password */
    const char *webhook_token; /* X-Webhook-Token */
    const void *body;
    size_t len;
};

enum gate_verdict {
    GATE_SIGNED,  /* the body's HMAC was right */
    GATE_TOKEN,   /* the token was right */
    GATE_MISSING, /* nothing that counts was given */
    GATE_BAD_SIGNATURE,
    GATE_BAD_TOKEN,
};
/* A signature, where given, decides alone. */
enum gate_verdict gate_check(const struct gate *g, const struct gate_request *r);

#endif
