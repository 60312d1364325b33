/* relay: see relay.h. One connection at a time. */
#include "tests/support/relay.h"

#include "tests/support/harness.h"
#include "tests/support/harness_private.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    int listen_fd, server_port;
    _Atomic int mishap;
    pthread_t thread;
} relay;

static int dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool pass(int from, int to, enum mishap if_this)
{
    char bytes[65536];
    int expected = (int)if_this;
    ssize_t n = read(from, bytes, sizeof(bytes));
    if (n <= 0 || atomic_compare_exchange_strong(&relay.mishap, &expected, NOTHING))
        return false;
    return send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *relay_main(void *arg)
{
    for (int client; (client = accept(relay.listen_fd, NULL, NULL)) >= 0; close(client)) {
        struct pollfd p[2] = {
            {client,                  POLLIN, 0},
            {dial(relay.server_port), POLLIN, 0}
        };
        while (p[1].fd >= 0 && poll(p, 2, -1) > 0) {
            if (p[0].revents && !pass(client, p[1].fd, LOSE_REQUEST))
                break;
            if (p[1].revents && !pass(p[1].fd, client, LOSE_ANSWER))
                break;
        }
        if (p[1].fd >= 0)
            close(p[1].fd);
    }
    return arg;
}

const char *relay_start(const char *url)
{
    int port;
    relay.listen_fd = harness_listen(&port);
    relay.server_port = atoi(strrchr(url, ':') + 1);
    if (pthread_create(&relay.thread, NULL, relay_main, NULL) != 0)
        harness_fail("no thread for the relay");
    return harness_text("postgresql://postgres@127.0.0.1:%d/%s", port, strrchr(url, '/') + 1);
}

void relay_break_next(enum mishap how)
{
    atomic_store(&relay.mishap, (int)how);
}

bool relay_broke(void)
{
    return atomic_load(&relay.mishap) == NOTHING;
}
