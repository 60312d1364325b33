/* limits: how often one client may ask for one thing, counted in Redis by all processes together, in
 * fixed windows that begin with the first request (reference contract section 1.3). Where Redis is
 * away, or slower than LIMITS_PATIENCE_MS, everybody may; in the second after that without waiting. */
#ifndef HL_DOMAIN_LIMITS_H
#define HL_DOMAIN_LIMITS_H

#include "io/redis.h"

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_WINDOW_MS   60000
#define LIMITS_PATIENCE_MS 100
#define LIMITS_BLIND_MS    1000 /* after a request lost its patience nobody waits for Redis */
#define LIMITS_PATHS       1000 /* counters of one client; what it asks for besides shares another */

struct limits;

/* redis is borrowed. max: requests in a window; 0 gives NULL: no limit. */
struct limits *limits_new(struct loop *l, struct redis *redis, const char *prefix, int64_t max);
/* After redis, which has answered all by then. NULL ok. Who waits is not answered any more. */
void limits_free(struct limits *x);
int64_t limits_max(const struct limits *x);

/* Counts one request of client for what. done runs from the loop, once; wait_s: seconds until the
 * window ends, 0 = go on. x is not NULL. */
typedef void limits_cb(int64_t wait_s, void *ctx);
void limits_take(
    struct limits *x, const char *client, const char *what, limits_cb *done, void *ctx);

#endif
