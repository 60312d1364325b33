/* redis: one Redis connection on the loop: own transport, hiredis as the RESP codec only.
 * Pipelined, answers in order, a deadline per command, reconnect with jittered backoff, AUTH with
 * ACL user, database number, redis:// and unix://. Each (re)connect runs the handshake and reads
 * INFO; commands are accepted before it is done and sent after it. */
#ifndef HL_IO_REDIS_H
#define HL_IO_REDIS_H

#include "io/loop.h"
#include "io/offload.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

struct redis;

struct redis_conf {
    const char *url;         /* redis://[user][:password]@host[:port][/db], unix:///path[?db=n] */
    const char *client_name; /* CLIENT SETNAME; no blanks */
    int64_t connect_timeout_ms; /* look-up, connect and handshake together */
    int64_t command_timeout_ms; /* default deadline of a command */
    size_t max_pending; /* commands waiting or in flight; more are refused HL_RETRY/EXHAUSTED */
};

/* What INFO said at the last handshake. */
struct redis_info {
    char run_id[41];
    char version[16];
    char replication_id[41];
    char maxmemory_policy[24];
    int64_t maxmemory; /* bytes, 0 = no limit */
    bool aof_enabled;
    bool loading;
    bool is_replica;
};

struct redis *redis_new(struct loop *l, struct offload *o, const struct redis_conf *conf,
    struct hl_err *err);          /* NULL: the URL is unusable. conf's strings are copied */
void redis_free(struct redis *r); /* NULL ok; pending commands are answered from inside this call */

/* fn runs when the handshake is done (up) and when an established connection is lost (down). */
void redis_on_state(struct redis *r, void (*fn)(struct redis *r, bool up, void *ctx), void *ctx);
bool redis_up(const struct redis *r);
const struct redis_info *redis_info(const struct redis *r); /* of the last handshake */

/* reply is borrowed and valid during the callback only. err is NULL on success.
 * err->rc: HL_RETRY  not sent, or refused in a way that passes (LOADING, BUSY, OOM, READONLY,
 *                    MISCONF, CLUSTERDOWN, MASTERDOWN, TRYAGAIN);
 *          HL_FATAL  an error reply that will not pass (reply is set);
 *          HL_UNSURE sent, no answer (connection lost, deadline). A missed deadline closes the
 *                    connection: answers come in order, a late one would be taken for the next. */
typedef void redis_cb(const redisReply *reply, const struct hl_err *err, void *ctx);

/* Arguments are copied. timeout_ms 0 = default. While the connection is in backoff the command is
 * refused (HL_RETRY, unreachable) from the loop, at once. cb may be NULL (answer not wanted). */
void redis_command(struct redis *r, int64_t timeout_ms, redis_cb *cb, void *ctx, int argc,
    const char *const *argv, const size_t *lens);
/* Convenience: NULL-terminated list of strings. */
void redis_call(struct redis *r, int64_t timeout_ms, redis_cb *cb, void *ctx, ...)
    __attribute__((sentinel));

/* A Lua script in static storage. Called by EVALSHA; on NOSCRIPT sent once more as EVAL. */
struct redis_script {
    const char *name;
    const char *body;
    char sha1[41]; /* filled at first use */
};
/* argv: nkeys keys, then the arguments. */
void redis_eval(struct redis *r, struct redis_script *script, int64_t timeout_ms, redis_cb *cb,
    void *ctx, int nkeys, int argc, const char *const *argv, const size_t *lens);

/* Drops the connection now and reconnects (a reader that must stop a blocking command). Pending
 * commands are answered HL_UNSURE or HL_RETRY from the loop. */
void redis_reset(struct redis *r);

#endif
