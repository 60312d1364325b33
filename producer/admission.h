/* admission: what the webhook routes share before they look at a request's content: its credentials,
 * and who still signs with the previous secret. */
#ifndef HL_PRODUCER_ADMISSION_H
#define HL_PRODUCER_ADMISSION_H

#include "io/httpd.h"
#include "producer/gate.h"
#include "producer/stores.h"

/* The keys that count, borrowed from the settings. */
struct gate admission_gate(const struct stores *s);
/* Body, time and every header that gate_request knows; the signature is in this header. Borrowed from
 * the request. */
struct gate_request admission_credentials(struct httpd_req *req, const char *signature_header);
/* Admitted by its signature or its token. */
bool admission_granted(enum gate_verdict verdict);
/* Counts who was; tells the log, not too often, of whoever has still to be given the new secret. */
void admission_count(struct stores *s, enum gate_verdict verdict, const char *peer);

#endif
