/* dashboard: GET /dashboard and /dashboard/{file}: the pages, compressed and embedded at build time
 * (common/embed.sh, producer/dashboard/), and the headers that keep them from being abused. */
#ifndef HL_PRODUCER_DASHBOARD_H
#define HL_PRODUCER_DASHBOARD_H

#include "io/httpd.h"

#include <stdbool.h>
#include <stddef.h>

struct dashboard_file {
    const char *name, *etag; /* the digest of data, in quotes */
    const char *data;        /* gzip (RFC 1952) */
    size_t len;
};
extern const struct dashboard_file dashboard_files[]; /* ends with name NULL */

/* An answer coded with gzip suits who sent this Accept-Encoding (RFC 9110 section 12.5.3); NULL = none. */
bool dashboard_may_zip(const char *accepted);
/* Handler of httpd for both routes. */
void dashboard_serve(struct httpd_req *req, void *stores);
/* The path is /dashboard or lies below. */
bool dashboard_owns(const char *path);
/* Adds what every answer there says to the browser. */
void dashboard_headers(struct httpd_req *req);

#endif
