/* signin: POST, GET and DELETE /dashboard/session (session.h has the handlers). Who fails to sign in waits
 * for the answer, and may not try again meanwhile (slowdown.h); others do not notice. */
#ifndef HL_PRODUCER_SIGNIN_H
#define HL_PRODUCER_SIGNIN_H

#include "io/loop.h"

#define SIGNIN_WAITING 64 /* for their answers, at most; further ones are refused at once */

struct signins;
struct signins *signins_new(struct loop *l);
void signins_free(struct signins *s); /* NULL ok; who waits is not answered any more */

#endif
