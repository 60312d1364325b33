/* store_doctor: what `hooklinectl doctor` asks PostgreSQL about itself and about the fleet. cb as in
 * store.h. */
#ifndef HL_DOMAIN_STORE_DOCTOR_H
#define HL_DOMAIN_STORE_DOCTOR_H

#include "domain/store.h"

/* The columns of its one row. */
enum {
    SERVER_VERSION,
    SERVER_VERSION_NUM,
    SERVER_ENCODING,
    SERVER_MAX_CONNECTIONS,
    SERVER_RESERVED, /* of them for superusers and members of pg_use_reserved_connections */
    SERVER_IN_USE,
    SERVER_ROLE_LIMIT,     /* connections of our role; -1 = as many as there are */
    SERVER_DATABASE_LIMIT, /* of our database; likewise */
    SERVER_SYNCHRONOUS_COMMIT,
    SERVER_FSYNC,
    SERVER_FULL_PAGE_WRITES,
    SERVER_PORT, /* that the server itself listens at; null by a local socket */
    SERVER_COLUMNS,
};
void store_doctor_server(struct store *s, store_cb *cb, void *ctx);

/* The columns of its one row; living: heard of within silent_ms. */
enum {
    FLEET_WORKERS,       /* living */
    FLEET_WORKERS_TOLD,  /* of them, those that tell how large their pools may become */
    FLEET_WORKERS_POOLS, /* connections of these pools */
    FLEET_PRODUCERS,     /* likewise */
    FLEET_PRODUCERS_TOLD,
    FLEET_PRODUCERS_POOLS,
    FLEET_SILENT_PRODUCERS, /* not heard of, and they did not sign off */
    FLEET_SILENT_SPOOLS,    /* segments with records that nobody tells of any more */
    FLEET_SILENT_BYTES,
    FLEET_PAUSED, /* names of queues, with commas */
    FLEET_FENCED, /* likewise */
    FLEET_COLUMNS,
};
void store_doctor_fleet(struct store *s, int64_t silent_ms, store_cb *cb, void *ctx);

#endif
