/* connect: what every program that talks to PostgreSQL and Redis does the same way: turns its
 * settings into connection settings, and waits for the schema it needs. */
#ifndef HL_DOMAIN_CONNECT_H
#define HL_DOMAIN_CONNECT_H

#include "base/config.h"
#include "domain/store.h"
#include "io/redis.h"

/* name: shown to the server, "program:instance"; borrowed by the result like cfg's strings. Adjust
 * what differs (pool size, deadlines) before use. */
struct db_conf connect_db_conf(const struct config *cfg, const char *name);
struct redis_conf connect_redis_conf(const struct config *cfg, const char *name);

/* Asks every second until the newest migration built into this program is applied, then calls
 * ready, once. Logs when it has to wait, once, and when the wait is over. Embedded in its owner. */
struct schema_wait {
    struct store *store;
    struct timer again;
    const char *remedy;
    void (*ready)(void *ctx);
    void *ctx;
    bool said_waiting;
};
/* remedy: what the log line tells people to do; static. */
void schema_wait_start(struct loop *l, struct schema_wait *w, struct store *store,
    const char *remedy, void (*ready)(void *ctx), void *ctx);
void schema_wait_stop(
    struct schema_wait *w); /* a question under way must be answered or dropped first */

/* A log line with what the pool does and did; name: which of them ("work", "lease"). */
void connect_log_pool(const char *name, const struct dbpool *p);

#endif
