/* signin: POST, GET and DELETE /dashboard/session (session.h has the handlers). Whoever fails to sign in
 * waits for the answer, twice as long each time, and may not try again meanwhile; others do not notice.
 * The table and those who wait are bounded; what is old is forgotten. */
#ifndef HL_PRODUCER_SIGNIN_H
#define HL_PRODUCER_SIGNIN_H

#include "io/loop.h"

#define SIGNIN_FIRST_MS   250
#define SIGNIN_LONGEST_MS 4000
#define SIGNIN_FORGET_MS  (15 * 60 * 1000)
#define SIGNIN_WAITING    64  /* further ones are refused at once */
#define SIGNIN_CLIENTS    256 /* addresses remembered; the one that failed longest ago makes room */

struct signins;
struct signins *signins_new(struct loop *l);
void signins_free(struct signins *s); /* NULL ok; who waits is not answered any more */

#endif
