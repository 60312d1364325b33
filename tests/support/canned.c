/* canned: see canned.h. */
#include "tests/support/canned.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 256 };

struct connection {
    struct canned *server;
    pthread_t thread;
    int fd, number;
};

struct canned {
    int fd, port;
    canned_fn *fn;
    void *ctx;
    pthread_t acceptor;
    pthread_mutex_t lock; /* the rest */
    struct connection connections[MAX_CONNECTIONS];
    int nconnections, nrequests;
};

/* Bytes of the first whole request in b, 0 when more must be read. */
static size_t whole_request(const struct buf *b)
{
    const char *end = strstr(buf_str(b), "\r\n\r\n");
    if (!end)
        return 0;
    const char *length = strcasestr(b->data, "\r\nContent-Length:");
    size_t size = (size_t)(end - b->data) + 4;
    if (length && length < end)
        size += strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
    return b->len >= size ? size : 0;
}

static bool serve_one(struct connection *k, struct buf *in, int nth)
{
    struct canned *c = k->server;
    size_t size;
    while ((size = whole_request(in)) == 0) {
        ssize_t n = recv(k->fd, buf_reserve(in, 4096), 4096, 0);
        if (n <= 0)
            return false;
        in->len += (size_t)n;
        in->data[in->len] = '\0';
    }
    pthread_mutex_lock(&c->lock);
    c->nrequests++;
    pthread_mutex_unlock(&c->lock);

    char *text = mem_strndup(in->data, size);
    const struct canned_request r = {
        .fd = k->fd, .connection = k->number, .nth = nth, .text = text, .ctx = c->ctx};
    bool keep = c->fn(&r);
    free(text);
    buf_consume(in, size);
    return keep;
}

static void *serve(void *arg)
{
    struct connection *k = arg;
    struct buf in = {0};
    for (int nth = 1; serve_one(k, &in, nth); nth++)
        ;
    shutdown(k->fd, SHUT_RDWR); /* closed by canned_stop: the number stays ours until then */
    buf_release(&in);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct canned *c = arg;
    for (int fd; (fd = accept(c->fd, NULL, NULL)) >= 0;) {
        pthread_mutex_lock(&c->lock);
        if (c->nconnections == MAX_CONNECTIONS)
            abort();
        struct connection *k = &c->connections[c->nconnections++];
        *k = (struct connection){.server = c, .fd = fd, .number = c->nconnections};
        if (pthread_create(&k->thread, NULL, serve, k) != 0)
            abort();
        pthread_mutex_unlock(&c->lock);
    }
    return NULL;
}

struct canned *canned_start(const char *address, canned_fn *fn, void *ctx)
{
    struct canned *c = mem_new(struct canned);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof(sa);
    c->fn = fn;
    c->ctx = ctx;
    pthread_mutex_init(&c->lock, NULL);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, address, &sa.sin_addr) != 1 ||
        bind(c->fd, (struct sockaddr *)&sa, len) < 0 || listen(c->fd, 128) < 0 ||
        getsockname(c->fd, (struct sockaddr *)&sa, &len) < 0) {
        perror("canned_start");
        abort();
    }
    c->port = ntohs(sa.sin_port);
    if (pthread_create(&c->acceptor, NULL, accept_all, c) != 0)
        abort();
    return c;
}

void canned_stop(struct canned *c)
{
    shutdown(c->fd, SHUT_RDWR); /* wakes accept */
    pthread_join(c->acceptor, NULL);
    close(c->fd);
    for (int i = 0; i < c->nconnections; i++) {
        shutdown(c->connections[i].fd, SHUT_RDWR);
        pthread_join(c->connections[i].thread, NULL);
        close(c->connections[i].fd);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int canned_port(const struct canned *c)
{
    return c->port;
}

static int locked_read(struct canned *c, const int *number)
{
    pthread_mutex_lock(&c->lock);
    int n = *number;
    pthread_mutex_unlock(&c->lock);
    return n;
}

int canned_connections(struct canned *c)
{
    return locked_read(c, &c->nconnections);
}

int canned_requests(struct canned *c)
{
    return locked_read(c, &c->nrequests);
}

bool canned_path_is(const struct canned_request *r, const char *path)
{
    const char *blank = strchr(r->text, ' ');
    size_t len = strlen(path);
    return blank && strncmp(blank + 1, path, len) == 0 && blank[1 + len] == ' ';
}

void canned_send(const struct canned_request *r, const void *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(r->fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

void canned_printf(const struct canned_request *r, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    canned_send(r, b.data, b.len);
    buf_release(&b);
}

void canned_answer(
    const struct canned_request *r, int status, const char *headers, const char *body)
{
    canned_printf(r, "HTTP/1.1 %d Canned\r\nContent-Length: %zu\r\n%s\r\n%s", status, strlen(body),
        headers, body);
}
