/* cors: see cors.h. */
#include "producer/cors.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct cors {
    bool any; /* "*" */
    size_t n;
    char **origins;
};

static const char *const methods[] = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"};

static void add(struct cors *c, const char *origin, size_t len)
{
    c->origins = mem_grow(c->origins, (c->n + 1) * sizeof(*c->origins));
    c->origins[c->n++] = mem_strndup(origin, len);
    c->any |= len == 1 && *origin == '*';
}

static void add_array(struct cors *c, const char *text)
{
    json_t *list = json_parse(text, strlen(text), NULL), *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        const char *origin = json_string_value(one);
        if (origin)
            add(c, origin, strlen(origin));
    }
    json_decref(list);
}

struct cors *cors_new(const char *origins)
{
    struct cors *c = mem_new(struct cors);
    const char *p = origins + strspn(origins, ", ");
    if (*p == '[') {
        add_array(c, p);
        return c;
    }
    while (*p) {
        size_t len = strcspn(p, ", ");
        add(c, p, len);
        p += len;
        p += strspn(p, ", ");
    }
    return c;
}

void cors_free(struct cors *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        free(c->origins[i]);
    free(c->origins);
    free(c);
}

static bool allowed(const struct cors *c, const char *origin)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->origins[i], origin) == 0)
            return true;
    return c->any;
}

static bool known_method(const char *method)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i], method) == 0)
            return true;
    return false;
}

static void preflight(
    const struct cors *c, struct httpd_req *req, const char *origin, const char *method)
{
    const char *headers = httpd_header(req, "Access-Control-Request-Headers");
    bool from = allowed(c, origin), how = known_method(method);
    const char *said = from && how ? "OK"
                       : from      ? "Disallowed CORS method"
                       : how       ? "Disallowed CORS origin"
                                   : "Disallowed CORS origin, method";

    httpd_add_header(req, "Vary", "Origin");
    httpd_add_header(
        req, "Access-Control-Allow-Methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
    httpd_add_header(req, "Access-Control-Max-Age", "600");
    httpd_add_header(req, "Access-Control-Allow-Credentials", "true");
    if (from)
        httpd_add_header(req, "Access-Control-Allow-Origin", origin);
    if (headers)
        httpd_add_header(req, "Access-Control-Allow-Headers", headers);
    httpd_reply(req, from && how ? 200 : 400, "text/plain; charset=utf-8", said, strlen(said));
}

bool cors_before(const struct cors *c, struct httpd_req *req)
{
    const char *origin = httpd_header(req, "Origin");
    const char *method = httpd_header(req, "Access-Control-Request-Method");
    if (!origin)
        return false;
    if (method && strcmp(httpd_method(req), "OPTIONS") == 0) {
        preflight(c, req, origin, method);
        return true;
    }
    bool by_name = !c->any || httpd_header(req, "Cookie");
    httpd_add_header(req, "Access-Control-Allow-Credentials", "true");
    if (!by_name) {
        httpd_add_header(req, "Access-Control-Allow-Origin", "*");
    } else if (allowed(c, origin)) {
        httpd_add_header(req, "Access-Control-Allow-Origin", origin);
        httpd_add_header(req, "Vary", "Origin");
    }
    return false;
}
