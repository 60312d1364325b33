/* monitor: what io/admin answers, on the producer's own port, for when it has no other one for that
 * (WEBHOOK_PRODUCER_ADMIN_PORT=0). Whoever reaches the port may probe; metrics need a secret of the
 * API. */
#ifndef HL_PRODUCER_MONITOR_H
#define HL_PRODUCER_MONITOR_H

#include "io/httpd.h"

#include <stdbool.h>

extern const struct httpd_route monitor_routes[]; /* ends with method NULL; their context: stores */
/* It is a probe: not worth a row among the measured requests. */
bool monitor_is_probe(const char *path);

#endif
