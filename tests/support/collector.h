/* collector: a stand-in OpenTelemetry collector in the test's process, strict about OTLP's JSON. */
#ifndef HL_TESTS_COLLECTOR_H
#define HL_TESTS_COLLECTOR_H

#include "base/json.h"

struct collector;

struct collector *collector_start(void);
void collector_stop(struct collector *c);
int collector_port(struct collector *c);
/* What it answers from now on: a status, with Retry-After unless that is negative; 0 = nothing, ever. */
void collector_answers(struct collector *c, int status, int retry_after_s);
int collector_requests(struct collector *c);
/* The most spans that came with one request. */
int collector_largest(struct collector *c);
/* What was wrong with what came, a line each; "" = nothing. Kept until the next call. */
const char *collector_faults(struct collector *c);
/* The spans that came and were taken, of one trace (NULL: of all), without doubles; caller: json_decref. */
json_t *collector_spans(struct collector *c, const char *trace_id);
/* Of spans as above, the one of that name; NULL unless there is exactly one. Borrowed. */
json_t *collector_span(json_t *spans, const char *name);
/* An attribute's value as text; "" = absent. */
const char *collector_attribute(json_t *span, const char *key);

#endif
