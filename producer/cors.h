/* cors: which origins a browser's page may call from (reference contract section 1.4; what is not
 * said there is as in Starlette's CORSMiddleware, credentials, all methods and headers allowed). */
#ifndef HL_PRODUCER_CORS_H
#define HL_PRODUCER_CORS_H

#include "io/httpd.h"

struct cors;

/* origins: the setting, checked: a JSON array, a list with commas or blanks, "*", or "". */
struct cors *cors_new(const char *origins);
void cors_free(struct cors *c); /* NULL ok */

/* Adds the headers that the request's origin calls for. True: it was a preflight, and is answered. */
bool cors_before(const struct cors *c, struct httpd_req *req);

#endif
