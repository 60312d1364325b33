/* server: the life of one producer process: its loop, the routes it serves, its drain. */
#ifndef HL_PRODUCER_SERVER_H
#define HL_PRODUCER_SERVER_H

#include "base/config.h"
#include "io/httpd.h"
#include "io/prefork.h"

/* prefork_role.run; listen_fd is shared by all processes. Returns the exit status. */
int server_run(struct prefork_slot *slot, const struct config *cfg, int listen_fd);

/* Every route under these settings, up to one without a method; producer/openapi.json describes them
 * all. Caller frees. */
struct httpd_route *server_routes(const struct config *cfg);

#endif
