/* admission: what the webhook routes share before they look at a request's content: its credentials,
 * and who still signs with the previous secret. */
#ifndef HL_PRODUCER_ADMISSION_H
#define HL_PRODUCER_ADMISSION_H

#include "io/httpd.h"
#include "producer/gate.h"
#include "producer/stores.h"

/* What the answer says while the queue is fenced; a sender may try again after so many seconds. */
#define ADMISSION_FENCED       "Intake is fenced by an operator; try again later"
#define ADMISSION_FENCED_RETRY "30"

/* The keys that count, borrowed from the settings. */
struct gate admission_gate(const struct stores *s);
/* Body, time and every header that gate_request knows; the signature is in this header. Borrowed from
 * the request. */
struct gate_request admission_credentials(struct httpd_req *req, const char *signature_header);
/* Counts who was; tells the log, not too often, of whoever has still to be given the new secret. */
void admission_count(struct stores *s, enum gate_verdict verdict, const char *peer);

#endif
