/* health: GET / and GET /health, reference contract section 1.7. */
#ifndef HL_PRODUCER_HEALTH_H
#define HL_PRODUCER_HEALTH_H

#include "io/httpd.h"

void health_root(struct httpd_req *req, void *stores);
void health_get(struct httpd_req *req, void *stores);

#endif
