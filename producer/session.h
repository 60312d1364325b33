/* session: who asks: the secrets of the read API (reference contract section 1.2), and the dashboard's
 * sign-in, which exchanges one of them for a signed cookie (PROTOCOL.md, "Dashboard"). Nothing is kept on
 * the server: the signature (HMAC-SHA256 under a key made from the secret) and the time of expiry in the
 * cookie say it all, to every process and host of the installation; a change of the secret ends all
 * sessions. */
#ifndef HL_PRODUCER_SESSION_H
#define HL_PRODUCER_SESSION_H

#include "base/config.h"
#include "io/httpd.h"

#include <stdint.h>

#define SESSION_COOKIE  "hookline_session"
#define SESSION_SECONDS (12 * 3600)
#define SESSION_CSRF    "X-CSRF-Token" /* request header of every write under a cookie */

enum session_right {
    SESSION_NONE,   /* no credentials at all */
    SESSION_WRONG,  /* some that are not right, or have expired */
    SESSION_FORGED, /* a write under a cookie without its CSRF token */
    SESSION_READS,
    SESSION_WRITES
};
/* By Authorization ("Bearer SECRET" or "SECRET") if there is one, else by the cookie. write: the request
 * changes something. Compares in constant time. */
enum session_right session_of(const struct config *cfg, const struct httpd_req *req, bool write);

/* Routes of httpd: POST /dashboard/session {"secret":"..."}, GET, DELETE. */
void session_post(struct httpd_req *req, void *stores);
void session_get(struct httpd_req *req, void *stores);
void session_delete(struct httpd_req *req, void *stores);

#endif
