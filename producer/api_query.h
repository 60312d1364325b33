/* api_query: a request's query against a table of parameters (producer/api.h). */
#ifndef HL_PRODUCER_API_QUERY_H
#define HL_PRODUCER_API_QUERY_H

#include "producer/api.h"

/* Fills values, one for each of params (NULL = none). Each fault appends an element of the 422's
 * "detail" to faults, with commas between; nothing appended: all is well. Texts are allocated. */
void api_query_read(const struct api_param *params, const char *query, struct api_value *values,
    struct buf *faults);
/* Appends one such element; input NULL: nothing was given. */
void api_query_fault(
    struct buf *faults, const char *name, const char *type, const char *msg, const char *input);

#endif
