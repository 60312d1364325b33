/* api: asking the API of a rig's producer, and what there is to ask about. */
#ifndef HL_TESTS_API_H
#define HL_TESTS_API_H

#include "tests/support/fleet.h"

#include <jansson.h>

/* Asks with the secret of the API; body NULL: none, else it is sent as JSON. Fails the test unless that is
 * the status, and the answer JSON. Caller: json_decref. */
json_t *api_ask_json(
    struct rig *r, const char *method, const char *path, const char *body, int status);
/* A member as text, and of a number's; "" and -1 where there is no such. */
const char *api_text(const json_t *at, const char *key);
json_int_t api_number(const json_t *at, const char *key);
/* One member of such an answer. */
const char *api_answer_text(struct rig *r, const char *method, const char *path, const char *body,
    int status, const char *key);

/* n rows of failed events, as a fleet leaves them: watches w<first>.., pages RIG_SITE/p<first>.. */
void rig_fail_events(struct rig *r, int first, int n, const char *error);
/* Another producer, in place of rig.producer. */
void rig_producer_again(struct rig *r);

#endif
