/* bench_request: the requests of a load: each an event of its own, signed. */
#ifndef HL_WORKER_CTL_BENCH_REQUEST_H
#define HL_WORKER_CTL_BENCH_REQUEST_H

#include "base/buf.h"
#include "worker/ctl/payload.h"

#include <stdint.h>

struct bench_request { /* all borrowed */
    enum payload_source source;
    const struct config *cfg;
    bool token;
    const char *host, *path; /* as the header and the request line have them */
    const char *run;         /* names this load among all others */
    char *const *urls;       /* taken in turn; NULL: they are made of site */
    size_t n_urls;           /* how many different ones; 0 = each event has one of its own */
    const char *site;        /* "http://bench.invalid" */
    const char *padding;     /* text that makes bodies as large as they are wanted */
};
/* The n-th, from 0: the same but for the time. Replaces what is in out. body: scratch. */
void bench_request_put(const struct bench_request *r, int64_t n, struct buf *body, struct buf *out);

#endif
