/* notify: what a supervisor tells the service manager that started it: sd_notify(3)'s protocol, one
 * datagram for each message to the socket that NOTIFY_SOCKET names. Without that variable nothing is told,
 * and all of this does nothing. */
#ifndef HL_IO_NOTIFY_H
#define HL_IO_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    struct sockaddr_un to;
    socklen_t to_len;     /* 0: there is nobody to tell */
    int64_t alive_every;  /* ms; 0: nobody waits for signs of life */
    int64_t alive_due_at; /* clock_mono_ms() */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment: they are
 * for this process only. */
void notify_init(struct notify *n);
/* "READY=1\nSTATUS=..." for example. False when it could not be said now, and may be tried again. */
bool notify_tell(const struct notify *n, const char *message);
/* To be called several times within the manager's watchdog time (at least 1 s is assumed). */
void notify_alive(struct notify *n, int64_t now_ms);

#endif
