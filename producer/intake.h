/* intake: POST /api/webhook/changedetection, from the request to the receipt. An event is safe
 * before its 202: committed in PostgreSQL (T0), or synced in the spool; with WEBHOOK_ACK=queue in
 * Redis. Answers within two seconds whatever PostgreSQL, Redis and the disk do. */
#ifndef HL_PRODUCER_INTAKE_H
#define HL_PRODUCER_INTAKE_H

#include "io/httpd.h"

void intake_changedetection(struct httpd_req *req, void *stores);

#endif
