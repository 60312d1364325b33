/* spans: what was done for an event and how long it took, for an OpenTelemetry collector: OTLP over HTTP
 * as JSON, POST {OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces. Fire and forget: adding a span writes it into a
 * bounded ring in memory, without a system call, a wait or a failure. The ring goes out in batches, one
 * request under way at a time. A collector that says "later" (429, 502, 503, 504), or that cannot be
 * reached, is asked a few times more; then the batch is dropped. Where the ring is full, what is new is.
 * Dropped spans are counted (hookline_spans_total), and the log has one line a minute. */
#ifndef HL_DOMAIN_SPANS_H
#define HL_DOMAIN_SPANS_H

#include "base/config.h"
#include "base/trace.h"
#include "io/loop.h"

struct spans;

enum {
    SPANS_RING = 4096,
    SPANS_BATCH = 512,
    SPANS_FLUSH_MS = 2000, /* a batch that is not full waits so long */
    SPANS_TRIES = 4,       /* of a batch */
};

/* NULL without an endpoint in the settings: nothing is recorded, and every function here takes NULL.
 * NULL and a filled err when there is no HTTP client to be had. instance: of this process, copied. */
struct spans *spans_new(
    struct loop *l, const struct config *cfg, const char *instance, struct hl_err *err);
void spans_free(struct spans *s); /* what waits is lost */
/* The end is near: what waits is sent now, and not tried again; done runs from the loop when that is
 * answered, or when deadline_ms is over (s NULL: at once). */
void spans_drain(struct spans *s, int64_t deadline_ms, void (*done)(void *ctx), void *ctx);

/* As OTLP numbers them. */
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER };

struct span {
    struct trace trace; /* its .parent is the span above; not sampled: no span is made of it */
    uint8_t id[8];      /* all zeros: a new one */
    const char *name;   /* closed list: PROTOCOL.md, "Traces" */
    enum span_kind kind;
    int64_t began_at, ended_at; /* microseconds since 1970 UTC */
    const char *error;          /* why it failed; NULL: it did not */
    /* Attributes; NULL or 0: not there. All borrowed, cut to fit. */
    const struct uuid *event_id;
    const char *url;     /* url.full; user and password are taken out */
    const char *host;    /* server.address */
    const char *worker;  /* hookline.worker */
    const char *outcome; /* hookline.outcome */
    int64_t attempt;
    long status; /* http.response.status_code */
};
void spans_add(struct spans *s, const struct span *span);

#endif
