/* http: see http.h. Owns the curl handles of a process, their descriptors and timers on the loop.
 * A call lives in one of two pools (curl multi handles). Connections are kept and shared inside a
 * pool only: a call with deny_private must never ride on a connection that a trusted call opened to
 * a private address, not even after a redirect (which CURLOPT_FRESH_CONNECT does not cover). So
 * guarded calls have a pool of their own, in which every connection has passed open_socket. */
#include "io/http.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    MAX_HEADER_BYTES = 64 * 1024, /* status line and headers of one answer */
    MAX_RETRY_AFTER_S = 30 * 24 * 3600,
};

enum { POOL_OPEN, POOL_GUARDED, NPOOLS };

struct pool {
    struct http *http;
    CURLM *multi;
    struct timer timer;
    struct list socks;
};

struct http {
    struct loop *loop;
    char *user_agent;
    struct pool pools[NPOOLS];
    struct list calls;
};

struct sock {
    struct list_node node;
    struct pool *pool;
    struct watch watch;
    int fd;
};

struct http_call {
    struct list_node node;
    struct http *http;
    struct pool *pool;
    CURL *easy;
    struct curl_slist *headers;
    struct defer deliver;
    http_cb *cb;
    void *ctx;
    CURLcode result;
    struct buf body;
    size_t max_body;
    size_t header_bytes; /* of the answer being read */
    bool deny_private;
    bool denied; /* an address of the present hop was refused */
    bool too_large;
    bool delivering; /* its callback is running */
    char detail[CURL_ERROR_SIZE];
};

/* --- addresses --------------------------------------------------------------------------- */

/* RFC 6890 and the IANA registry of special-purpose addresses. */
static const struct {
    uint32_t net;
    int bits;
} private4[] = {
    {0x00000000, 8 }, /* 0.0.0.0/8 this network, unspecified */
    {0x0a000000, 8 }, /* 10.0.0.0/8 private */
    {0x64400000, 10}, /* 100.64.0.0/10 carrier-grade NAT */
    {0x7f000000, 8 }, /* 127.0.0.0/8 loopback */
    {0xa9fe0000, 16}, /* 169.254.0.0/16 link-local, cloud metadata */
    {0xac100000, 12}, /* 172.16.0.0/12 private */
    {0xc0000000, 24}, /* 192.0.0.0/24 protocol assignments */
    {0xc0000200, 24}, /* 192.0.2.0/24 documentation */
    {0xc0586300, 24}, /* 192.88.99.0/24 6to4 relay, withdrawn */
    {0xc0a80000, 16}, /* 192.168.0.0/16 private */
    {0xc6120000, 15}, /* 198.18.0.0/15 benchmarks */
    {0xc6336400, 24}, /* 198.51.100.0/24 documentation */
    {0xcb007100, 24}, /* 203.0.113.0/24 documentation */
    {0xe0000000, 4 }, /* 224.0.0.0/4 multicast */
    {0xf0000000, 4 }, /* 240.0.0.0/4 reserved, broadcast */
};

/* First match decides; what matches nothing lies outside global unicast and is refused: loopback,
 * unspecified, IPv4-compatible, unique-local, link-local, site-local, discard, multicast. */
enum verdict6 { ALLOWED, REFUSED, EMBEDS_V4 };
static const struct {
    uint8_t net[12];
    int bits;
    enum verdict6 verdict;
    int v4_at; /* where the IPv4 address that decides begins */
} rules6[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, EMBEDS_V4, 12}, /* ::ffff:0:0/96 mapped */
    {{0x00, 0x64, 0xff, 0x9b},                   96, EMBEDS_V4, 12}, /* 64:ff9b::/96 NAT64 */
    {{0x20, 0x02},                               16, EMBEDS_V4, 2 }, /* 2002::/16 6to4 */
    {{0x20, 0x01, 0x00, 0x00},                   23, REFUSED,   0 }, /* 2001::/23 Teredo, .. */
    {{0x20, 0x01, 0x0d, 0xb8},                   32, REFUSED,   0 }, /* 2001:db8::/32 example */
    {{0x3f, 0xff},                               20, REFUSED,   0 }, /* 3fff::/20 documentation */
    {{0x20},                                     3,  ALLOWED,   0 }, /* 2000::/3 global unicast */
};

static bool private_v4(uint32_t address)
{
    for (size_t i = 0; i < sizeof(private4) / sizeof(private4[0]); i++)
        if ((address ^ private4[i].net) >> (32 - private4[i].bits) == 0)
            return true;
    return false;
}

static bool has_prefix(const uint8_t *address, const uint8_t *net, int bits)
{
    int whole = bits / 8, rest = bits % 8;
    if (memcmp(address, net, (size_t)whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ net[whole]) >> (8 - rest) == 0;
}

static bool private_v6(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof(rules6) / sizeof(rules6[0]); i++) {
        if (!has_prefix(address, rules6[i].net, rules6[i].bits))
            continue;
        if (rules6[i].verdict != EMBEDS_V4)
            return rules6[i].verdict == REFUSED;
        uint32_t v4;
        memcpy(&v4, address + rules6[i].v4_at, sizeof(v4));
        return private_v4(ntohl(v4));
    }
    return true;
}

bool http_address_is_private(const struct sockaddr *sa)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    switch (sa->sa_family) {
    case AF_INET: memcpy(&v4, sa, sizeof(v4)); return private_v4(ntohl(v4.sin_addr.s_addr));
    case AF_INET6: memcpy(&v6, sa, sizeof(v6)); return private_v6(v6.sin6_addr.s6_addr);
    default: return true; /* no address of a public web server */
    }
}

/* --- what curl asks of a call; none runs code of the call's owner ------------------------ */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_call *c = arg;
    struct sockaddr_storage sa = {0};
    (void)purpose;
    if (address->addrlen > sizeof(sa))
        return CURL_SOCKET_BAD;
    memcpy(&sa, (const char *)address + offsetof(struct curl_sockaddr, addr), address->addrlen);
    if (c->deny_private && http_address_is_private((struct sockaddr *)&sa)) {
        c->denied = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct http_call *c = arg;
    n *= size;
    if (n >= 5 && memcmp(data, "HTTP/", 5) == 0) { /* a new answer: interim, or after a redirect */
        c->header_bytes = 0;
        c->denied = false;
    }
    c->header_bytes += n;
    if (c->header_bytes <= MAX_HEADER_BYTES)
        return n;
    c->too_large = true;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct http_call *c = arg;
    n *= size;
    if (n > c->max_body - c->body.len) {
        c->too_large = true;
        return 0;
    }
    buf_append(&c->body, data, n);
    return n;
}

/* --- results ----------------------------------------------------------------------------- */

static const struct trouble {
    CURLcode code;
    enum hl_rc rc;
    enum hl_why why;
    const char *reason;
} troubles[] = {
    {CURLE_URL_MALFORMAT,            HL_FATAL, HL_WHY_OTHER,       "unusable address"            },
    {CURLE_UNSUPPORTED_PROTOCOL,     HL_FATAL, HL_WHY_OTHER,       "not an http or https address"},
    {CURLE_TOO_MANY_REDIRECTS,       HL_FATAL, HL_WHY_OTHER,       "too many redirects"          },
    {CURLE_COULDNT_RESOLVE_HOST,     HL_RETRY, HL_WHY_UNREACHABLE, "host name not found"         },
    {CURLE_COULDNT_CONNECT,          HL_RETRY, HL_WHY_UNREACHABLE, "connection failed"           },
    {CURLE_OPERATION_TIMEDOUT,       HL_RETRY, HL_WHY_TIMEOUT,     "timed out"                   },
    {CURLE_SSL_CONNECT_ERROR,        HL_RETRY, HL_WHY_OTHER,       "TLS handshake failed"        },
    {CURLE_PEER_FAILED_VERIFICATION, HL_RETRY, HL_WHY_OTHER,       "TLS certificate not trusted" },
    {CURLE_GOT_NOTHING,              HL_RETRY, HL_WHY_OTHER,       "connection closed, no answer"},
    {CURLE_PARTIAL_FILE,             HL_RETRY, HL_WHY_OTHER,       "answer cut short"            },
    {CURLE_RECV_ERROR,               HL_RETRY, HL_WHY_OTHER,       "connection broke"            },
    {CURLE_SEND_ERROR,               HL_RETRY, HL_WHY_OTHER,       "connection broke"            },
    {CURLE_BAD_CONTENT_ENCODING,     HL_RETRY, HL_WHY_OTHER,       "broken compression"          },
    {CURLE_WEIRD_SERVER_REPLY,       HL_RETRY, HL_WHY_OTHER,       "not an HTTP answer"          },
};

static const struct trouble *find_trouble(CURLcode code)
{
    static const struct trouble other = {.rc = HL_RETRY, .reason = "transfer failed"};
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++)
        if (troubles[i].code == code)
            return &troubles[i];
    return &other;
}

static bool is_web(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

static enum hl_rc explain(const struct http_call *c, const char *url, struct hl_err *err)
{
    if (c->denied && c->result == CURLE_COULDNT_CONNECT)
        return hl_fail_why(err, HL_FATAL, HL_WHY_REFUSED, "address is private");
    if (c->header_bytes > MAX_HEADER_BYTES)
        return hl_fail(
            err, HL_FATAL, "answer's headers too large: over %d bytes", MAX_HEADER_BYTES);
    if (c->too_large)
        return hl_fail(err, HL_FATAL, "answer too large: over %zu bytes", c->max_body);

    CURLcode code = c->result;
    if (code == CURLE_UNSUPPORTED_PROTOCOL && is_web(url))
        code = CURLE_WEIRD_SERVER_REPLY; /* curl's name for an answer without a status line */
    const struct trouble *t = find_trouble(code);
    const char *detail = c->detail[0] ? c->detail : curl_easy_strerror(code);
    return hl_fail_why(err, t->rc, t->why, "%s: %s", t->reason, detail);
}

/* Retry-After = HTTP-date / delay-seconds. */
static int64_t retry_after_ms(CURL *easy)
{
    struct curl_header *h;
    if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &h) != CURLHE_OK || !h->value[0])
        return -1;
    int64_t seconds = 0;
    const char *p = h->value;
    for (; *p >= '0' && *p <= '9'; p++)
        seconds = seconds < MAX_RETRY_AFTER_S ? seconds * 10 + (*p - '0') : MAX_RETRY_AFTER_S;
    if (*p) {
        time_t at = curl_getdate(h->value, NULL);
        if (at == (time_t)-1)
            return -1;
        seconds = (int64_t)at - clock_wall_us() / 1000000;
    }
    if (seconds < 0)
        return 0;
    return (seconds < MAX_RETRY_AFTER_S ? seconds : MAX_RETRY_AFTER_S) * 1000;
}

static void call_free(struct http_call *c)
{
    if (c->easy)
        curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    buf_release(&c->body);
    free(c);
}

static void deliver(void *arg)
{
    struct http_call *c = arg;
    struct hl_err err = {0};
    struct http_response res = {.retry_after_ms = -1, .content_type = "", .effective_url = ""};
    char *text = NULL;
    long sent = 0;

    if (c->easy) {
        res.sent = curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent > 0;
        if (curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &text) == CURLE_OK && text)
            res.effective_url = text;
        if (curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &text) == CURLE_OK && text)
            res.content_type = text;
        curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &res.status);
        res.retry_after_ms = retry_after_ms(c->easy);
    }
    if (c->result == CURLE_OK) {
        res.body = buf_str(&c->body);
        res.body_len = c->body.len;
    } else {
        res.rc = explain(c, res.effective_url, &err);
        res.err = &err;
        res.denied = err.why == HL_WHY_REFUSED;
        res.too_large = c->too_large;
        res.body = "";
    }
    list_remove(&c->http->calls, &c->node);
    c->delivering = true; /* from here on the http may be freed by the owner */
    c->cb(&res, c->ctx);
    call_free(c);
}

static void settle(struct http_call *c, CURLcode result)
{
    c->result = result;
    loop_defer(c->http->loop, &c->deliver, deliver, c);
}

/* --- curl on the loop -------------------------------------------------------------------- */

static void collect(struct pool *p)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(p->multi, &left));) {
        struct http_call *c = NULL;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        curl_multi_remove_handle(p->multi, m->easy_handle);
        c->pool = NULL;
        settle(c, result);
    }
}

static void act(struct pool *p, curl_socket_t fd, int what)
{
    int running;
    curl_multi_socket_action(p->multi, fd, what, &running);
    collect(p);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct pool *p = arg;
    (void)multi;
    if (ms < 0)
        timer_stop(&p->timer);
    else
        timer_start(&p->timer, ms);
    return 0;
}

static void on_ready(int what, void *arg)
{
    struct sock *s = arg;
    int flags =
        (what & WATCH_READ ? CURL_CSELECT_IN : 0) | (what & WATCH_WRITE ? CURL_CSELECT_OUT : 0);
    act(s->pool, s->fd, flags); /* s may be gone afterwards */
}

static void sock_free(struct sock *s)
{
    watch_stop(&s->watch);
    list_remove(&s->pool->socks, &s->node);
    free(s);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct pool *p = arg;
    struct sock *s = socket_arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            sock_free(s);
        curl_multi_assign(p->multi, fd, NULL);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? WATCH_READ : 0) | (what & CURL_POLL_OUT ? WATCH_WRITE : 0);
    if (s) {
        watch_set(&s->watch, events);
        return 0;
    }
    s = mem_new(struct sock);
    s->pool = p;
    s->fd = fd;
    list_push(&p->socks, &s->node);
    watch_start(p->http->loop, &s->watch, fd, events, on_ready, s);
    curl_multi_assign(p->multi, fd, s);
    return 0;
}

static bool pool_init(struct http *h, struct pool *p)
{
    p->http = h;
    list_init(&p->socks);
    timer_init(h->loop, &p->timer, on_timer, p);
    p->multi = curl_multi_init();
    return p->multi &&
           curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, set_socket) == CURLM_OK &&
           curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p) == CURLM_OK &&
           curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
           curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p) == CURLM_OK;
}

static void pool_release(struct pool *p)
{
    if (!p->http)
        return;
    if (p->multi)
        curl_multi_cleanup(p->multi);
    for (struct list_node *n; (n = list_first(&p->socks));)
        sock_free(LIST_OF(n, struct sock, node));
    timer_stop(&p->timer);
}

struct http *http_new(struct loop *l, const char *user_agent, struct hl_err *err)
{
    struct http *h = mem_new(struct http);
    h->loop = l;
    h->user_agent = mem_strdup(user_agent);
    list_init(&h->calls);
    /* Counted by curl, and never undone: a process that had a client may have another. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        goto fail;
    for (int i = 0; i < NPOOLS; i++)
        if (!pool_init(h, &h->pools[i]))
            goto fail;
    return h;
fail:
    hl_fail(err, HL_FATAL, "the HTTP client cannot be set up (libcurl %s)", curl_version());
    http_free(h);
    return NULL;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    for (struct list_node *n; (n = list_first(&h->calls));)
        http_cancel(LIST_OF(n, struct http_call, node));
    for (int i = 0; i < NPOOLS; i++)
        pool_release(&h->pools[i]);
    free(h->user_agent);
    free(h);
}

/* --- calls ------------------------------------------------------------------------------- */

/* Sets an option unless an earlier one failed. */
#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(c->easy, option, value))

static CURLcode set_policy(struct http_call *c)
{
    CURLcode rc = CURLE_OK;
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, ""); /* also ignores http_proxy and its like in the environment */
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    /* One call per connection, so that a broken connection costs one call. */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_ACCEPT_ENCODING, ""); /* everything this libcurl can undo */
    /* A call that ends while its look-up runs must not wait for the look-up's thread. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_USERAGENT, c->http->user_agent);
    return rc;
}

static CURLcode set_hooks(struct http_call *c)
{
    CURLcode rc = CURLE_OK;
    SET(CURLOPT_PRIVATE, c);
    SET(CURLOPT_ERRORBUFFER, c->detail);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, c);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, c);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, c);
    return rc;
}

static long at_least_one(int64_t ms) /* to curl 0 means no limit */
{
    return ms < 1 ? 1 : ms > INT32_MAX ? INT32_MAX : (long)ms;
}

static CURLcode set_request(struct http_call *c, const struct http_request *req)
{
    CURLcode rc = CURLE_OK;
    for (size_t i = 0; req->headers && req->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(c->headers, req->headers[i]);
        if (!longer)
            return CURLE_OUT_OF_MEMORY;
        c->headers = longer;
    }
    SET(CURLOPT_URL, req->url);
    SET(CURLOPT_HTTPHEADER, c->headers);
    SET(CURLOPT_CONNECTTIMEOUT_MS, at_least_one(req->connect_timeout_ms));
    SET(CURLOPT_TIMEOUT_MS, at_least_one(req->timeout_ms));
    SET(CURLOPT_FOLLOWLOCATION, req->max_redirects > 0 ? 1L : 0L);
    SET(CURLOPT_MAXREDIRS, (long)req->max_redirects);
    if (strcmp(req->method, "POST") == 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(req->body ? req->body_len : 0));
        SET(CURLOPT_COPYPOSTFIELDS, req->body ? req->body : "");
    } else {
        SET(CURLOPT_HTTPGET, 1L);
    }
    return rc;
}

static CURLcode begin(struct http_call *c, const struct http_request *req)
{
    c->easy = curl_easy_init();
    if (!c->easy)
        return CURLE_OUT_OF_MEMORY;
    CURLcode rc = set_policy(c);
    rc = rc ? rc : set_hooks(c);
    rc = rc ? rc : set_request(c, req);
    if (rc)
        return rc;
    struct pool *p = &c->http->pools[req->deny_private ? POOL_GUARDED : POOL_OPEN];
    if (curl_multi_add_handle(p->multi, c->easy) != CURLM_OK)
        return CURLE_FAILED_INIT;
    c->pool = p;
    return CURLE_OK;
}

struct http_call *http_start(struct http *h, const struct http_request *req, http_cb *cb, void *ctx)
{
    struct http_call *c = mem_new(struct http_call);
    c->http = h;
    c->cb = cb;
    c->ctx = ctx;
    c->max_body = req->max_body;
    c->deny_private = req->deny_private;
    list_push(&h->calls, &c->node);
    CURLcode rc = begin(c, req);
    if (rc)
        settle(c, rc);
    return c;
}

void http_cancel(struct http_call *c)
{
    if (!c || c->delivering)
        return;
    if (c->pool)
        curl_multi_remove_handle(c->pool->multi, c->easy);
    loop_defer_cancel(c->http->loop, &c->deliver);
    list_remove(&c->http->calls, &c->node);
    call_free(c);
}
