/* httpd_listen: the listening socket, created or inherited, and errors that say what to do. */
#include "io/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INHERITED_FD = 3 }; /* SD_LISTEN_FDS_START */

static const struct {
    int error;
    const char *remedy;
} remedies[] = {
    {EADDRINUSE,    "another program has this port: stop it or choose another port"            },
    {EADDRNOTAVAIL, "no interface of this machine has this address: use one it has, or 0.0.0.0"},
    {EACCES,        "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or use a higher port"},
    {EAFNOSUPPORT,  "this address family is switched off on this machine: use the other one"   },
    {EMFILE,        "too few file descriptors: raise LimitNOFILE (ulimit -n)"                  },
};

static int fail(struct hl_err *err, const char *address, int port, int error)
{
    const char *remedy = "check address and port";
    for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++)
        if (remedies[i].error == error)
            remedy = remedies[i].remedy;
    hl_fail(err, HL_FATAL, "cannot listen on %s port %d: %s; %s", address, port, strerror(error),
        remedy);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return 0;
    if (at.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&at)->sin_port);
    if (at.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
    return 0; /* an inherited Unix socket */
}

/* An answer is one write: waiting for more of it (Nagle) only costs. Accepted sockets
 * inherit it. */
static void send_at_once(int fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static bool is_listening(int fd)
{
    int listening = 0;
    socklen_t len = sizeof(listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* -2: nothing was handed to this process. The variables are for one use only: children and a second
 * call must not take the socket again. */
static int inherited(struct hl_err *err)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (!pid || !fds || strtol(pid, NULL, 10) != (long)getpid())
        return -2;
    bool one = strcmp(fds, "1") == 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    int flags = fcntl(INHERITED_FD, F_GETFL);
    if (!one || flags < 0 || !is_listening(INHERITED_FD)) {
        hl_fail(err, HL_FATAL,
            "socket activation: exactly one listening stream socket is expected as descriptor 3 "
            "(LISTEN_FDS=1); check the .socket unit");
        return -1;
    }
    fcntl(INHERITED_FD, F_SETFL, flags | O_NONBLOCK);
    fcntl(INHERITED_FD, F_SETFD, FD_CLOEXEC);
    send_at_once(INHERITED_FD);
    return INHERITED_FD;
}

/* -1 and errno on failure. */
static int bind_one(const struct addrinfo *at, int backlog)
{
    const int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    send_at_once(fd);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int httpd_listen(const char *address, int port, int backlog, int *bound_port, struct hl_err *err)
{
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    char service[16];

    int fd = inherited(err);
    if (fd != -2) {
        if (fd >= 0)
            *bound_port = port_of(fd);
        return fd;
    }
    if (port < 0 || port > 65535) {
        hl_fail(err, HL_FATAL, "cannot listen on %s port %d: use a port from 0 to 65535", address,
            port);
        return -1;
    }
    snprintf(service, sizeof(service), "%d", port);
    int rc = getaddrinfo(address, service, &hints, &list);
    if (rc != 0) {
        hl_fail(err, HL_FATAL,
            "cannot listen on %s port %d: %s; use an address of this machine or 0.0.0.0", address,
            port, gai_strerror(rc));
        return -1;
    }
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        if ((fd = bind_one(at, backlog)) < 0)
            error = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return fail(err, address, port, error);
    *bound_port = port_of(fd);
    return fd;
}
