/* crawl_hook: what Firecrawl posts -> a crawl job and an answer, or a refusal. Pure; runs in a helper
 * thread where the body is large. Reference contract section 2.2 for the answers, byte for byte. */
#ifndef HL_PRODUCER_CRAWL_HOOK_H
#define HL_PRODUCER_CRAWL_HOOK_H

#include "base/buf.h"
#include "base/crawl_event.h"
#include "base/digest.h"
#include "base/uuid.h"
#include "producer/gate.h"

struct crawl_request { /* all borrowed */
    struct gate gate;
    struct gate_request creds; /* body included; now is the time of receipt */
    const char *request_id;
    const char *traceparent; /* as a job carries it; NULL = none */
};

struct crawl_hooked {
    enum gate_verdict gate;
    bool accepted;
    int status;        /* of the answer; of an accepted event once it is safe */
    struct buf answer; /* JSON */
    char reason[200];  /* of a refusal, for people: no part of the body */
    /* Of accepted events: */
    struct uuid id;
    uint8_t digest[DIGEST_LEN];    /* of the body */
    struct buf job;                /* encoded */
    char type[CRAWL_MAX_TYPE + 1]; /* "" = none that is one */
    char *crawl_id, *document_url; /* owned; NULL = none, or of several documents */
};

/* Fills all of *out; the caller releases it. */
void crawl_hook_read(const struct crawl_request *in, struct crawl_hooked *out);
void crawl_hooked_release(struct crawl_hooked *h);

#endif
