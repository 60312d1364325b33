/* url: taking URLs and query strings apart, and the canonical form of reference contract section
 * 5.1 rule 2. */
#ifndef HL_BASE_URL_H
#define HL_BASE_URL_H

#include "base/buf.h"

#include <stdbool.h>

/* Parts of scheme://[userinfo@][host][:port][/path][?query][#fragment] (RFC 3986 section 3, no
 * validation beyond that shape, but control characters, blanks in the host, ports outside 1 to
 * 65535 and a NUL in user or password are refused). The last @ before the path ends the userinfo.
 * Strings are allocated; url_parts_release frees them. Missing parts are NULL; user and password
 * are percent-decoded, the rest is as written, IPv6 hosts without []. A host with a comma is a
 * list ("h1:5432,h2"): it is kept whole and port is 0. */
struct url_parts {
    char *scheme; /* lower case */
    char *user, *password, *host;
    int port; /* 0 = none */
    char *path, *query, *fragment;
};
bool url_parse(
    const char *url, struct url_parts *out); /* false: not of this shape, *out all NULL */
void url_parts_release(struct url_parts *u);

/* True when url is http(s):// with one host and nothing a client library could read two ways
 * (control characters, blanks, a second @ or a backslash in the authority, escapes in the host). */
bool url_is_web(const char *url);

/* Canonical URL, reference contract section 5.1 rule 2: lower-case scheme and host, fragment
 * dropped, tracking parameters dropped, query re-encoded (application/x-www-form-urlencoded as
 * Python's urlencode does), path, port and credentials kept. False for anything but http and https
 * with a host, out is then untouched. Appends to out. */
bool url_canonical(const char *url, struct buf *out);

/* Percent-decoding in place, '+' to blank when plus is set. Returns the new length; a broken escape
 * stays as it is. The result may hold NUL bytes. */
size_t url_decode(char *s, bool plus);
/* Value of the first argument `name` in a raw query string, decoded; allocated, caller frees; NULL
 * when absent. *len (may be NULL) is its length: a NUL byte inside is the caller's to refuse. */
char *url_query_get(const char *query, const char *name, size_t *len);
/* The same of the last one. */
char *url_query_last(const char *query, const char *name, size_t *len);
/* Replaces any password in a URL (userinfo, arguments password and sslpassword) with ***, for logs;
 * also in URLs that url_parse refuses. What has no :// is all ***. Appends to out. */
void url_mask(const char *url, struct buf *out);

#endif
