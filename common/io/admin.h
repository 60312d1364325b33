/* admin: what whoever looks after a fleet asks over HTTP, answered from the board (io/board.h) alone, so
 * that no question costs the processes at work anything, and each is answered whatever they do:
 *
 *     GET /metrics   Prometheus' text format 0.0.4
 *     GET /livez     200 while the supervisor comes round; 503: kill it
 *     GET /readyz    200 while the program does its work; 503: send nothing
 *     GET /startupz  200 once it was ready
 *
 * 503 says why, in a line of text. admin_run is a process that serves them on a port of its own. */
#ifndef HL_IO_ADMIN_H
#define HL_IO_ADMIN_H

#include "io/board.h"
#include "io/httpd.h"
#include "io/prefork.h"

#define ADMIN_METRICS "/metrics"
#define ADMIN_LIVE    "/livez"
#define ADMIN_READY   "/readyz"
#define ADMIN_STARTUP "/startupz"

enum {
    ADMIN_LIVE_MS = 10000, /* the supervisor came round, a process gave a sign of life, within it */
    ADMIN_RETRY_MS = 1000, /* between attempts to open a port that is taken */
};

struct admin {
    const struct board *board;
    enum meter_program program; /* its first role is "producer" or "worker" */
    int64_t lease_ms;           /* of METER_W: WEBHOOK_LEASE_SECONDS */
};

/* By the path: one of those above. */
void admin_answer(struct httpd_req *req, const struct admin *a);

struct admin_conf {
    enum meter_program program;
    int64_t lease_ms;
    const char *address;
    int port;
    const char *setting; /* that names the port, for errors */
};
/* Life of a prefork role with `alone` and `watches`, the last one. A port that is taken is logged
 * (admin_port_failed), once, and tried again: the others work meanwhile. Returns the exit status. */
int admin_run(struct prefork_slot *slot, const struct admin_conf *conf);

#endif
