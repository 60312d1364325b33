/* trace: W3C Trace Context (traceparent, version 00) of an event. An event that comes without one is its
 * own trace: its id is the trace id, so that whoever holds the event or its row knows the trace without
 * being told. The span of its intake is named likewise, after the second half of the event id. */
#ifndef HL_BASE_TRACE_H
#define HL_BASE_TRACE_H

#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACE_PARENT_LEN 55
#define TRACE_ID_LEN     32

struct trace {
    uint8_t id[16];    /* all zeros: none */
    uint8_t parent[8]; /* the span that is above what happens next; all zeros: none */
    bool sampled;      /* whoever began it wants spans of it */
};

/* False: no valid traceparent ("" and NULL included); versions above 00 are read as 00 is. */
bool trace_parse(const char *traceparent, struct trace *out);
void trace_format(const struct trace *t, char out[TRACE_PARENT_LEN + 1]);
void trace_format_id(const struct trace *t, char out[TRACE_ID_LEN + 1]);
/* Of an event: `parent` as its job carries it, NULL = its own. */
struct trace trace_of(const struct uuid *event_id, const char *parent);
void trace_new_span(uint8_t out[8]); /* random, not zero */
/* The span of an event's intake: what trace_of gives as parent. */
void trace_intake_span(const struct uuid *event_id, uint8_t out[8]);
/* What a job carries of the header that came: version 00, allocated; NULL: nothing valid. */
char *trace_carried(const char *traceparent);
/* The header line for a server that is asked on behalf of this: "traceparent: 00-..."; `span` is the
 * caller's, above whatever that server does. Allocated. */
char *trace_header(const struct trace *t, const uint8_t span[8]);

#endif
