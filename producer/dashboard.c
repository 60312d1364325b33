/* dashboard: see dashboard.h. */
#include "producer/dashboard.h"

#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
    const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"      },
    {".js",   "text/javascript; charset=utf-8"},
    {".css",  "text/css; charset=utf-8"       },
    {".svg",  "image/svg+xml"                 },
    {".png",  "image/png"                     },
    {".json", "application/json"              },
    {".txt",  "text/plain; charset=utf-8"     },
};

static const char *type_of(const char *name)
{
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < COUNT(types); i++)
        if (strcmp(types[i].ending, ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

/* RFC 9110 section 13.1.2: a list of tags, compared weakly; ours have no comma. */
static bool is_known(const char *list, const char *etag)
{
    size_t len, want = strlen(etag);
    for (; *list; list += len) {
        list += strspn(list, ", \t");
        len = strcspn(list, ", \t");
        const char *tag = strncmp(list, "W/", 2) == 0 ? list + 2 : list;
        size_t tag_len = len - (size_t)(tag - list);
        if ((tag_len == want && memcmp(tag, etag, want) == 0) || (len == 1 && *list == '*'))
            return true;
    }
    return false;
}

/* RFC 9110 section 12.4.2: a weight of zero refuses. text: what stands behind a coding, up to a comma. */
static bool is_refused(const char *text)
{
    text += strspn(text, " \t;");
    if (strncasecmp(text, "q=0", 3) != 0)
        return false;
    text += 3;
    text += *text == '.' ? 1 + strspn(text + 1, "0") : 0;
    return !*text || strchr(", \t", *text);
}

bool dashboard_may_zip(const char *accepted)
{
    enum { UNSAID, NO, YES } zip = UNSAID, any = UNSAID;
    if (!accepted)
        return true;
    for (; *accepted; accepted += strcspn(accepted, ",")) {
        accepted += strspn(accepted, ", \t");
        size_t len = strcspn(accepted, ",; \t");
        int says = is_refused(accepted + len) ? NO : YES;
        if ((len == 4 && strncasecmp(accepted, "gzip", len) == 0) ||
            (len == 6 && strncasecmp(accepted, "x-gzip", len) == 0))
            zip = says;
        else if (len == 1 && *accepted == '*')
            any = says;
    }
    return (zip == UNSAID ? any : zip) == YES;
}

static const struct dashboard_file *file_of(const char *name)
{
    for (const struct dashboard_file *f = dashboard_files; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

void dashboard_serve(struct httpd_req *req, void *stores)
{
    const char *name = httpd_param(req, "file"), *known = httpd_header(req, "If-None-Match");
    const struct dashboard_file *f = file_of(name ? name : "index.html");
    (void)stores;
    if (!f) {
        httpd_reply_detail(req, 404, "Not Found");
        return;
    }
    httpd_add_header(req, "Vary", "Accept-Encoding");
    if (!dashboard_may_zip(httpd_header(req, "Accept-Encoding"))) {
        httpd_reply_detail(req, 406, "There is only a form of this coded with gzip: accept that");
        return;
    }
    httpd_add_header(req, "ETag", f->etag);
    httpd_add_header(req, "Cache-Control", "no-cache");
    if (known && is_known(known, f->etag)) {
        httpd_reply(req, 304, NULL, NULL, 0);
        return;
    }
    httpd_add_header(req, "Content-Encoding", "gzip");
    httpd_reply(req, 200, type_of(f->name), f->data, f->len);
}

bool dashboard_owns(const char *path)
{
    static const char root[] = "/dashboard";
    const char *rest = path + sizeof(root) - 1;
    return strncmp(path, root, sizeof(root) - 1) == 0 && (!*rest || *rest == '/');
}

void dashboard_headers(struct httpd_req *req)
{
    static const char *const headers[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
            " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"         },
        {"X-Content-Type-Options",       "nosniff"                                                     },
        {"X-Frame-Options",              "DENY"                                                        },
        {"Referrer-Policy",              "no-referrer"                                                 },
        {"Cross-Origin-Opener-Policy",   "same-origin"                                                 },
        {"Cross-Origin-Resource-Policy", "same-origin"                                                 },
        {"Permissions-Policy",           "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
    };
    for (size_t i = 0; i < COUNT(headers); i++)
        httpd_add_header(req, headers[i][0], headers[i][1]);
}
