/* client: see client.h. */
#include "producer/client.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static bool is_address(const char *text)
{
    struct in6_addr any;
    return inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1;
}

/* The element of a list with commas that ends before `end`, without blanks; "" when it is too long
 * for an address. Where it begins. */
static const char *element(const char *list, const char *end, char out[CLIENT_LEN + 1])
{
    const char *start = end;
    while (start > list && start[-1] != ',')
        start--;
    const char *from = start + strspn(start, " \t");
    size_t n = from < end ? (size_t)(end - from) : 0;
    while (n && (from[n - 1] == ' ' || from[n - 1] == '\t'))
        n--;
    snprintf(out, CLIENT_LEN + 1, "%.*s", n <= CLIENT_LEN ? (int)n : 0, from);
    return start;
}

void client_address(const struct httpd_req *req, char out[CLIENT_LEN + 1])
{
    const char *peer = httpd_peer(req);
    const char *list = is_loopback(peer) ? httpd_header(req, "X-Forwarded-For") : NULL;
    const char *end = list ? list + strlen(list) : NULL;
    while (end) {
        const char *start = element(list, end, out);
        if (!is_address(out))
            break; /* whoever wrote that, wrote what stands before it too */
        if (!is_loopback(out))
            return;
        end = start > list ? start - 1 : NULL;
    }
    snprintf(out, CLIENT_LEN + 1, "%s", peer);
}

bool client_is_secure(const struct httpd_req *req)
{
    const char *list = is_loopback(httpd_peer(req)) ? httpd_header(req, "X-Forwarded-Proto") : NULL;
    char last[CLIENT_LEN + 1];
    if (!list)
        return false;
    element(list, list + strlen(list), last); /* the one that our proxy wrote */
    return strcasecmp(last, "https") == 0;
}
