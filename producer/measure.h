/* measure: what a producer measures: a request metric for each answer, an operation metric for each
 * webhook, from its receipt to its answer (reference contract sections 1.1 and 5.4). */
#ifndef HL_PRODUCER_MEASURE_H
#define HL_PRODUCER_MEASURE_H

#include "base/config.h"
#include "base/trace.h"
#include "domain/metrics.h"
#include "io/httpd.h"

/* For httpd_conf.on_reply. Left out: 429s of the rate limit, and without an error probes, CORS
 * preflights and whoever reads the metrics, which would otherwise be what is measured most. */
void measure_request(
    struct metrics *m, const struct config *cfg, struct httpd_req *req, int status);

struct measure_webhook {
    const char *event; /* "change", "crawl.page", ... */
    int status;        /* of the answer */
    const char *error; /* why it was refused; NULL unless status says that it was */
    const char *job_id, *crawl_id, *document_url; /* NULL = not known */
    const struct trace *trace; /* the event's; NULL: what the request says, if it does */
};
/* The traceparent that came with a request is valid. */
bool measure_trace(const struct httpd_req *req, struct trace *out);

/* Before the answer. All borrowed. */
void measure_webhook(
    struct metrics *m, struct httpd_req *req, const struct measure_webhook *webhook);

#endif
