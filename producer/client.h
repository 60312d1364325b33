/* client: who sent a request. */
#ifndef HL_PRODUCER_CLIENT_H
#define HL_PRODUCER_CLIENT_H

#include "io/httpd.h"

#include <stdbool.h>

#define CLIENT_LEN 45 /* the longest numeric address */

/* The peer's numeric address; where that is loopback, so a proxy of ours, the last address in
 * X-Forwarded-For that is not (reference contract section 1.1). */
void client_address(const struct httpd_req *req, char out[CLIENT_LEN + 1]);
/* The client speaks TLS, with a proxy of ours, which says so (X-Forwarded-Proto). */
bool client_is_secure(const struct httpd_req *req);

#endif
