/* harness_http: the plainest HTTP client, for tests of servers (see harness.h). */
#include "tests/support/harness_private.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_TIMEOUT_MS = 30000 };

static int dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool ready(int fd, short what, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = what};
    return poll(&p, 1, timeout_ms) > 0;
}

/* Writes while reading: a server may answer, and close, before it has taken everything. */
static void exchange(int fd, const char *data, size_t len, int quiet_ms, struct buf *in)
{
    while (true) {
        struct pollfd p = {.fd = fd, .events = (short)(len > 0 ? POLLIN | POLLOUT : POLLIN)};
        if (poll(&p, 1, quiet_ms) <= 0)
            return;
        if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(fd, buf_reserve(in, 65536), 65535, MSG_DONTWAIT);
            if (n <= 0)
                return;
            in->len += (size_t)n;
            in->data[in->len] = '\0';
        }
        if (len > 0 && (p.revents & POLLOUT)) {
            ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0 && !ready(fd, POLLIN, 0))
                return;
            data += n > 0 ? n : 0;
            len -= n > 0 ? (size_t)n : len;
        }
    }
}

const char *test_http_raw(int port, const void *bytes, size_t len, int timeout_ms)
{
    struct buf in = {0};
    int fd = dial(port);
    if (fd < 0)
        harness_fail("nothing listens on 127.0.0.1:%d", port);
    exchange(fd, bytes, len, timeout_ms, &in);
    close(fd);
    return harness_keep(buf_detach(&in));
}

/* Finds a header in "Name: value\r\n..." lines; NULL = absent. */
static const char *find_header(const char *lines, const char *name, size_t *value_len)
{
    size_t n = strlen(name);
    for (const char *line = lines; *line;) {
        size_t len = strcspn(line, "\r\n");
        if (len > n && strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *v = line + n + 1;
            v += strspn(v, " \t");
            *value_len = (size_t)(line + len - v);
            return v;
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    return NULL;
}

static bool names(const char *headers, const char *name)
{
    size_t len;
    return headers && find_header(headers, name, &len) != NULL;
}

static void parse(struct test_reply *out, struct buf *in)
{
    char *end = in->len ? strstr(in->data, "\r\n\r\n") : NULL;
    if (!end || strncmp(in->data, "HTTP/1.", 7) != 0 || in->len < 12)
        return;
    out->status = atoi(in->data + 9);
    struct buf body = {0}; /* of any bytes */
    buf_append(&body, end + 4, in->len - (size_t)(end + 4 - in->data));
    out->body = harness_keep(buf_detach(&body));
    end[2] = '\0';
    char *first = strstr(in->data, "\r\n");
    out->headers = harness_keep(mem_strdup(first + 2));
}

struct test_reply test_http(int port, const char *method, const char *path, const char *headers,
    const void *body, size_t len)
{
    struct test_reply out = {.headers = "", .body = ""};
    struct buf req = {0}, in = {0};
    int64_t start = harness_now_ms();
    int fd = dial(port);
    if (fd < 0)
        return out;
    buf_printf(&req, "%s %s HTTP/1.1\r\nConnection: close\r\n", method, path);
    if (!names(headers, "Host"))
        buf_printf(&req, "Host: 127.0.0.1:%d\r\n", port);
    if (body && !names(headers, "Content-Length") && !names(headers, "Transfer-Encoding"))
        buf_printf(&req, "Content-Length: %zu\r\n", len);
    buf_printf(&req, "%s\r\n", headers ? headers : "");
    if (body)
        buf_append(&req, body, len);
    exchange(fd, req.data, req.len, ANSWER_TIMEOUT_MS, &in);
    close(fd);
    parse(&out, &in);
    out.seconds = (double)(harness_now_ms() - start) / 1000;
    buf_release(&req);
    buf_release(&in);
    return out;
}

const char *test_reply_header(const struct test_reply *r, const char *name)
{
    size_t len;
    const char *v = find_header(r->headers, name, &len);
    return v ? harness_keep(mem_strndup(v, len)) : NULL;
}

const char *test_sign(const char *secret, const void *body, size_t len)
{
    uint8_t mac[DIGEST_LEN];
    char *hex = mem_alloc(DIGEST_HEXLEN + 1);
    digest_hmac(secret, body, len, mac);
    digest_hex(mac, DIGEST_LEN, hex);
    return harness_keep(hex);
}

const char *test_reply_member(const struct test_reply *r, const char *key)
{
    struct hl_err err;
    json_t *obj = json_parse(r->body, strlen(r->body), &err);
    const json_t *v = json_object_get(obj, key);
    char *text = json_is_string(v) ? mem_strdup(json_string_value(v))
                 : v               ? json_dumps(v, JSON_ENCODE_ANY)
                                   : mem_strdup("");
    json_decref(obj);
    return harness_hold(text);
}
