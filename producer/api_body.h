/* api_body: a request's body, a JSON object of at most API_MAX_BODY bytes, against the route's table of
 * members (producer/api.h). */
#ifndef HL_PRODUCER_API_BODY_H
#define HL_PRODUCER_API_BODY_H

#include "producer/api.h"

/* Fills call->members, one for each of the route's; a member that is null, or an empty text, counts as not
 * given. No body is an object without members. False: the call has ended: with 415 (not
 * application/json), 400 (no JSON) or 422 (the faults, in the shape of the query's). True as well where
 * the route takes no body. */
bool api_body_read(struct api_call *call);

#endif
