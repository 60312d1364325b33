/* notify: see notify.h. */
#include "io/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A path, or '@' and a name that is in no folder. Whatever else it may be, we do not know it. */
static void take_address(struct notify *n, const char *name)
{
    size_t len = name ? strlen(name) : 0;
    if (len < 2 || len >= sizeof(n->to.sun_path) || (name[0] != '/' && name[0] != '@'))
        return;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, name, len);
    if (name[0] == '@')
        n->to.sun_path[0] = '\0';
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void notify_init(struct notify *n)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    *n = (struct notify){0};
    take_address(n, getenv("NOTIFY_SOCKET"));
    if (usec && (!pid || strtoll(pid, NULL, 10) == getpid()))
        n->alive_every = strtoll(usec, NULL, 10) / 1000 / 2; /* as sd_watchdog_enabled(3) advises */
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

bool notify_tell(const struct notify *n, const char *message)
{
    if (!n->to_len)
        return true;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t sent = sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT,
        (const struct sockaddr *)&n->to, n->to_len);
    close(fd);
    return sent >= 0;
}

void notify_alive(struct notify *n, int64_t now_ms)
{
    if (n->alive_every <= 0 || now_ms < n->alive_due_at)
        return;
    if (notify_tell(n, "WATCHDOG=1"))
        n->alive_due_at = now_ms + n->alive_every;
}
