/* db_conn: what db.c and db_settings.c offer to dbpool.c, and to nobody else. */
#ifndef HL_IO_DB_CONN_H
#define HL_IO_DB_CONN_H

#include "io/db.h"

/* --- settings: the URL taken apart, once per pool ---------------------------------------- */

/* One server of the URL's list. */
struct db_host {
    char *name;    /* as written, also for TLS and the password file; NULL = the default socket */
    char *address; /* numeric, NULL = look the name up first, or a socket */
    char *port;    /* NULL = libpq's default */
    bool look_up;
};

struct db_settings {
    const char **keywords, **values; /* for PQconnectStartParams, without host; NULL-terminated */
    int count;                       /* of keywords; DB_SPARE further places are allocated */
    struct db_host *hosts;
    int nhosts;
    int first; /* the host that answered last: where the next attempt begins */
    int64_t connect_timeout_ms;
    bool prepared;
};
enum { DB_SPARE = 4 }; /* host, hostaddr, port, and the terminator */

/* NULL and err (naming the fault, never quoting a password) when the URL is not usable. */
struct db_settings *db_settings_new(const struct db_conf *conf, struct hl_err *err);
void db_settings_free(struct db_settings *s); /* NULL ok */

/* --- connection -------------------------------------------------------------------------- */

/* All run from the loop, as the last thing that the connection does: db_close is fine in each. */
struct db_conn_ops {
    void (*opened)(void *ctx);
    /* Could not be opened (err->why: UNREACHABLE, REFUSED, READ_ONLY), or broke while idle. */
    void (*closed)(const struct hl_err *err, void *ctx);
    /* Answer to db_run. The connection is idle again if db_usable, of no more use otherwise. */
    void (*done)(const struct db_result *res, void *ctx);
};

/* Starts connecting: the hosts in turn, each of their addresses for at most the connect timeout.
 * s, ops are borrowed and outlive the connection. */
struct db_conn *db_open(struct loop *l, struct offload *o, struct db_settings *s,
    const struct db_conn_ops *ops, void *ctx);
void db_close(struct db_conn *c);        /* NULL ok; at any time; no callback afterwards */
bool db_usable(const struct db_conn *c); /* connected, idle, outside any transaction */

/* Sends ncalls statements as one transaction on a usable connection. calls and their values are
 * borrowed until done. ncalls 0 is a ping: one round trip that runs nothing. */
void db_run(struct db_conn *c, const struct db_call *calls, int ncalls, int64_t timeout_ms);

#endif
