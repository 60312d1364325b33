/* session: who asks: the secrets of the API (reference contract section 1.2), and the dashboard's
 * sign-in, which exchanges one of them for a signed cookie (PROTOCOL.md, "Dashboard"). Nothing is kept on
 * the server: the signature (HMAC-SHA256 under a key made from the secret) and the time of expiry in the
 * cookie say it all, to every process and host of the installation; a change of the secret ends all
 * sessions. */
#ifndef HL_PRODUCER_SESSION_H
#define HL_PRODUCER_SESSION_H

#include "base/config.h"
#include "io/httpd.h"

#include <stdbool.h>
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

/* The same of the value of Authorization alone, and of a secret alone. */
enum session_right session_by_header(const struct config *cfg, const char *authorization);
enum session_right session_by_secret(const struct config *cfg, const char *secret);
#define SESSION_FORGED_SAYS                                                                        \
    "A change needs the " SESSION_CSRF " of the session, from a page of this server"

/* --- the cookie: base64url(payload).base64url(HMAC-SHA256). Pure ------------------------------ */
#define SESSION_ID_LEN 16
#define SESSION_LEN    79 /* characters of the cookie's value */
struct session {
    enum session_right right; /* READS or WRITES */
    int64_t expires_s;        /* seconds since 1970 UTC */
    uint8_t id[SESSION_ID_LEN];
};
/* The secret of its right is set. */
void session_write(const struct config *cfg, const struct session *s, char out[SESSION_LEN + 1]);
/* False: it is none of ours, has been altered, or has expired. */
bool session_read(const struct config *cfg, const char *text, int64_t now_s, struct session *out);
#define SESSION_CSRF_LEN 64
void session_csrf(
    const struct config *cfg, const struct session *s, char out[SESSION_CSRF_LEN + 1]);
/* How many cookies of that name are in the value of a Cookie header; *out is filled when it is one that
 * may be right. */
int session_cookies(const char *header, char out[SESSION_LEN + 1]);

/* --- requests ------------------------------------------------------------------------------- */
bool session_is_offered(const struct httpd_req *req); /* there is such a cookie, of any value */
/* The session of a request's cookie. */
bool session_of_cookie(const struct config *cfg, const struct httpd_req *req, struct session *out);
/* The browser says that a page of another origin has sent it. */
bool session_is_foreign(const struct httpd_req *req);

#define SESSION_MAX_BODY (16 * 1024)
/* Routes of httpd: POST /dashboard/session {"secret":"..."}, GET, DELETE. */
void session_post(struct httpd_req *req, void *stores);
void session_get(struct httpd_req *req, void *stores);
void session_delete(struct httpd_req *req, void *stores);

#endif
