/* server: one producer process: its loop and connections, and the routes they serve. */
#ifndef HL_PRODUCER_SERVER_H
#define HL_PRODUCER_SERVER_H

#include "base/config.h"
#include "domain/queue.h"
#include "domain/store.h"
#include "io/httpd.h"
#include "io/prefork.h"
#include "io/spool.h"

struct forward;

struct server {
    const struct config *cfg;
    struct loop *loop;
    struct offload *names, *disk; /* apart: a look-up that hangs must not hold up the spool */
    struct dbpool *pool;
    struct store *store;
    struct redis *redis;
    struct queue *queue;
    struct spool *spool;
    struct forward *forward;
    struct httpd *httpd;
    struct prefork_slot *slot;
    struct timer heartbeat, schema_check;
    struct sigwatch term, hurry;
    int listen_fd;     /* this process's copy; closed when the drain begins */
    bool schema_ready; /* the migrations this program needs are applied */
    bool said_waiting, redis_evicts;
    bool draining, drained;
    int intakes; /* requests accepted and not finished */
};

/* The life of a producer process (prefork_role.run); listen_fd is shared by all of them. */
int server_run(struct prefork_slot *slot, const struct config *cfg, int listen_fd);

/* True when T0 may be tried: PostgreSQL answers and has the schema. */
bool server_database_ready(const struct server *s);
/* True when Redis may be told: it answers, and does not evict. */
bool server_redis_ready(const struct server *s);
/* An intake ended; a draining server leaves once none is left. */
void server_intake_done(struct server *s);

#endif
