/* redis: see redis.h. Owns the socket, the queues of commands and the clockwork around them:
 * connecting, handshake, deadlines, backoff. Knows RESP only through the formatter and reader of
 * hiredis, and nothing of what commands mean.
 *
 *     START -> RESOLVE -> CONNECT -> HANDSHAKE -> UP
 *       ^         any trouble in any of them      |
 *       +------ BACKOFF <-------------------------+     (redis_reset: UP -> START)
 *
 * A command is in one list at a time: waiting (no connection yet), inflight (handed to the
 * connection, in the order of the answers to come) or failed (told so at the end of the turn). */
#include "io/redis.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/url.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    DEFAULT_PORT = 6379,
    MAX_DB = 65535,
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 3000,
    LOADING_RETRY_MS = 200, /* a server that reads its data set back answers soon */
    KEEP_OUT = 1 << 20,     /* an output buffer larger than this is given back when empty */
    READ_CHUNK = 16 * 1024,
    READ_ROUNDS = 64,        /* chunks taken before others on the loop get their turn */
    MAX_COMMAND = 512 << 20, /* Redis' own limit of one argument (proto-max-bulk-len) */
    /* A peer that vanished without a word is noticed after 15 + 3 * 5 s of silence. */
    KEEP_IDLE_S = 15,
    KEEP_INTERVAL_S = 5,
    KEEP_COUNT = 3,
    USER_TIMEOUT_MS = 30000,
};

enum state { ST_BACKOFF, ST_START, ST_RESOLVE, ST_CONNECT, ST_HANDSHAKE, ST_UP };

/* Handshake answers, in the order they are asked for. The name comes last because its error is
 * ignored: what a server says unasked ("max number of clients reached") must hit another step. */
enum step { STEP_AUTH, STEP_SELECT, STEP_INFO, STEP_NAME, STEP_COUNT };

struct cmd {
    struct list_node node;
    redis_cb *cb;
    void *ctx;
    int64_t deadline_at;
    uint64_t end; /* r->queued after its last byte: what is not written completely was not sent */
    char *wire;   /* kept until sent, for scripts until answered */
    size_t wire_len;
    const struct redis_script *script; /* NULL once EVALSHA is out of the question */
    struct hl_err *err;                /* in the failed list only */
    char name[24];                     /* for error texts */
};

struct redis {
    struct loop *loop;
    struct offload *offload;
    void (*on_state)(struct redis *r, bool up, void *ctx);
    void *on_state_ctx;

    char *user, *password; /* NULL = none */
    char *host;            /* NULL: path */
    char *path;            /* of a unix socket */
    int port, db;
    char *client_name;
    char where[128]; /* the server in error texts, without credentials */
    int64_t connect_timeout_ms, command_timeout_ms;
    size_t max_pending;

    enum state state;
    int fd; /* -1 = closed */
    struct watch io;
    struct resolve *resolve;
    redisReader *reader;
    struct buf out;           /* its last queued - written bytes are still to go */
    uint64_t queued, written; /* bytes on this connection */
    enum step steps[STEP_COUNT];
    int nsteps, step; /* answers of the handshake still to come: steps[step .. nsteps) */
    struct redis_info info;

    struct list waiting, inflight, failed;
    struct list answering; /* failed commands being told just now */
    struct timer phase;    /* connecting: its deadline; in backoff: the next attempt */
    struct timer deadline; /* not later than the earliest deadline of any command */
    int64_t deadline_at;
    int64_t backoff_ms;
    struct hl_err down_err; /* why there is no connection */
    struct defer turn;
    bool owe_down; /* on_state must hear of a loss */
    bool closing;  /* redis_free was called */
    int depth;     /* calls from the loop on the stack; memory is freed when it is 0 */
};

#define CMD(n) LIST_OF(n, struct cmd, node)

static void turn(void *ctx);

/* --- life time --------------------------------------------------------------------------- */

static void destroy(struct redis *r)
{
    free(r->user);
    free(r->password);
    free(r->host);
    free(r->path);
    free(r->client_name);
    buf_release(&r->out);
    free(r);
}

/* Every call from the loop is between these two, so that a callback may free the connection. */
static void enter(struct redis *r)
{
    r->depth++;
}

static void leave(struct redis *r)
{
    if (--r->depth == 0 && r->closing)
        destroy(r);
}

/* --- the transport: the only two places that touch bytes on the wire --------------------- */

static ssize_t wire_read(struct redis *r, void *to, size_t n)
{
    return recv(r->fd, to, n, 0);
}

static ssize_t wire_write(struct redis *r, const void *from, size_t n)
{
    return send(r->fd, from, n, MSG_NOSIGNAL);
}

/* --- answering --------------------------------------------------------------------------- */

/* c is in no list any more; it is freed. The callback may do anything, freeing r included. */
static void answer(struct cmd *c, const redisReply *reply, const struct hl_err *err)
{
    if (c->cb)
        c->cb(reply, err, c->ctx);
    free(c->err);
    free(c->wire);
    free(c);
}

/* Takes c (in no list); it is answered at the end of the turn. err is copied. */
static void fail(struct redis *r, struct cmd *c, const struct hl_err *err)
{
    c->err = mem_new(struct hl_err);
    *c->err = *err;
    list_push(&r->failed, &c->node);
    if (!r->closing)
        loop_defer(r->loop, &r->turn, turn, r);
}

/* Everything waiting or in flight fails with r->down_err. */
static void fail_all(struct redis *r)
{
    int64_t now = clock_mono_ms();
    for (struct list_node *n; (n = list_pop(&r->inflight));) {
        struct hl_err err = r->down_err;
        err.rc = CMD(n)->end <= r->written ? HL_UNSURE : HL_RETRY;
        if (CMD(n)->deadline_at <= now)
            err.why = HL_WHY_TIMEOUT;
        fail(r, CMD(n), &err);
    }
    for (struct list_node *n; (n = list_pop(&r->waiting));)
        fail(r, CMD(n), &r->down_err);
    timer_stop(&r->deadline);
}

/* --- losing the connection --------------------------------------------------------------- */

static void disconnect(struct redis *r)
{
    watch_stop(&r->io);
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    if (r->reader)
        redisReaderFree(r->reader);
    r->reader = NULL;
    if (r->resolve)
        resolve_cancel(r->resolve);
    r->resolve = NULL;
    timer_stop(&r->phase);
    r->owe_down |= r->state == ST_UP;
    fail_all(r);
    buf_release(&r->out);
    r->queued = r->written = 0;
    r->nsteps = r->step = 0;
}

/* A connection or an attempt is over, r->down_err says why; the next one comes by itself. */
static void lost(struct redis *r)
{
    int64_t half = r->backoff_ms / 2;
    disconnect(r);
    r->state = ST_BACKOFF;
    timer_start(&r->phase, half + (int64_t)arc4random_uniform((uint32_t)half + 1));
    r->backoff_ms = r->backoff_ms * 2 < BACKOFF_MAX_MS ? r->backoff_ms * 2 : BACKOFF_MAX_MS;
    loop_defer(r->loop, &r->turn, turn, r);
}

static void unreachable(struct redis *r, const char *what, const char *detail)
{
    hl_fail_why(
        &r->down_err, HL_RETRY, HL_WHY_UNREACHABLE, "redis %s: %s: %s", r->where, what, detail);
    lost(r);
}

/* --- error replies ----------------------------------------------------------------------- */

/* First word of an error reply -> what the caller can do. Words not here are final. */
static const struct {
    const char *code;
    enum hl_rc rc;
    enum hl_why why;
} error_codes[] = {
    {"LOADING",     HL_RETRY, HL_WHY_OTHER    },
    {"BUSY",        HL_RETRY, HL_WHY_OTHER    },
    {"OOM",         HL_RETRY, HL_WHY_FULL     },
    {"MISCONF",     HL_RETRY, HL_WHY_FULL     },
    {"READONLY",    HL_RETRY, HL_WHY_READ_ONLY},
    {"CLUSTERDOWN", HL_RETRY, HL_WHY_OTHER    },
    {"MASTERDOWN",  HL_RETRY, HL_WHY_OTHER    },
    {"TRYAGAIN",    HL_RETRY, HL_WHY_OTHER    },
    {"NOAUTH",      HL_FATAL, HL_WHY_REFUSED  },
    {"WRONGPASS",   HL_FATAL, HL_WHY_REFUSED  },
    {"NOPERM",      HL_FATAL, HL_WHY_REFUSED  },
};

static bool has_code(const redisReply *reply, const char *code)
{
    size_t n = strlen(code);
    return strncmp(reply->str, code, n) == 0 && (reply->str[n] == ' ' || reply->str[n] == '\0');
}

/* Bytes of the text that may be shown: Redis quotes arguments of a command it does not know. */
static int shown_len(const redisReply *reply)
{
    const char *quoted = strstr(reply->str, ", with args beginning with");
    return quoted ? (int)(quoted - reply->str) : (int)strnlen(reply->str, 160);
}

static void classify(
    const struct redis *r, const char *command, const redisReply *reply, struct hl_err *err)
{
    enum hl_rc rc = HL_FATAL;
    enum hl_why why = HL_WHY_OTHER;
    for (size_t i = 0; i < sizeof(error_codes) / sizeof(error_codes[0]); i++) {
        if (!has_code(reply, error_codes[i].code))
            continue;
        rc = error_codes[i].rc;
        why = error_codes[i].why;
    }
    hl_fail_why(
        err, rc, why, "redis %s: %s: %.*s", r->where, command, shown_len(reply), reply->str);
}

/* --- commands ---------------------------------------------------------------------------- */

static struct cmd *cmd_new(
    struct redis *r, const char *name, int64_t timeout_ms, redis_cb *cb, void *ctx)
{
    struct cmd *c = mem_new(struct cmd);
    c->cb = cb;
    c->ctx = ctx;
    c->deadline_at = clock_mono_ms() + (timeout_ms > 0 ? timeout_ms : r->command_timeout_ms);
    snprintf(c->name, sizeof(c->name), "%s", name);
    return c;
}

/* lens NULL: strings. *wire is to be freed. False: too large for one command. */
static bool encode(
    int argc, const char *const *argv, const size_t *lens, char **wire, size_t *wire_len)
{
    size_t total = 0;
    for (int i = 0; i < argc; i++) {
        size_t n = lens ? lens[i] : strlen(argv[i]);
        if (n > MAX_COMMAND - total)
            return false;
        total += n;
    }
    int n = redisFormatCommandArgv(wire, argc, (const char **)argv, lens);
    if (n < 0)
        abort(); /* out of memory, as in mem.c */
    *wire_len = (size_t)n;
    return true;
}

static void arm_deadline(struct redis *r, int64_t at)
{
    if (timer_running(&r->deadline) && r->deadline_at <= at)
        return;
    r->deadline_at = at;
    timer_start(&r->deadline, at - clock_mono_ms());
}

/* To the end of the output, which is written once per turn of the loop. */
static void put(struct redis *r, struct cmd *c)
{
    buf_append(&r->out, c->wire, c->wire_len);
    r->queued += c->wire_len;
    c->end = r->queued;
    list_push(&r->inflight, &c->node);
    if (!c->script) {
        free(c->wire);
        c->wire = NULL;
    }
    loop_defer(r->loop, &r->turn, turn, r);
}

/* HL_OK when a command may be queued now. */
static enum hl_rc admit(const struct redis *r, struct hl_err *err)
{
    if (r->closing)
        return hl_fail(err, HL_FATAL, "redis %s: the connection is being closed", r->where);
    if (r->state == ST_BACKOFF) {
        *err = r->down_err;
        return err->rc;
    }
    if (r->waiting.len + r->inflight.len >= r->max_pending)
        return hl_fail_why(err, HL_RETRY, HL_WHY_EXHAUSTED,
            "redis %s: %zu commands are pending already, the most allowed", r->where,
            r->max_pending);
    return HL_OK;
}

static void submit(
    struct redis *r, struct cmd *c, int argc, const char *const *argv, const size_t *lens)
{
    struct hl_err err;
    if (admit(r, &err) != HL_OK) {
        fail(r, c, &err);
        return;
    }
    if (!encode(argc, argv, lens, &c->wire, &c->wire_len)) {
        hl_fail(&err, HL_FATAL, "redis %s: %s: a command of more than %d MiB is not sent", r->where,
            c->name, MAX_COMMAND >> 20);
        fail(r, c, &err);
        return;
    }
    if (r->state == ST_UP)
        put(r, c);
    else
        list_push(&r->waiting, &c->node);
    arm_deadline(r, c->deadline_at);
}

void redis_command(struct redis *r, int64_t timeout_ms, redis_cb *cb, void *ctx, int argc,
    const char *const *argv, const size_t *lens)
{
    submit(r, cmd_new(r, argv[0], timeout_ms, cb, ctx), argc, argv, lens);
}

void redis_call(struct redis *r, int64_t timeout_ms, redis_cb *cb, void *ctx, ...)
{
    va_list ap;
    int argc = 0;
    va_start(ap, ctx);
    while (va_arg(ap, const char *))
        argc++;
    va_end(ap);

    const char **argv = mem_array((size_t)argc + 1, sizeof(*argv));
    va_start(ap, ctx);
    for (int i = 0; i < argc; i++)
        argv[i] = va_arg(ap, const char *);
    va_end(ap);
    redis_command(r, timeout_ms, cb, ctx, argc, argv, NULL);
    free(argv);
}

/* --- scripts ----------------------------------------------------------------------------- */

static void script_hash(struct redis_script *s)
{
    uint8_t sha1[20];
    if (EVP_Digest(s->body, strlen(s->body), sha1, NULL, EVP_sha1(), NULL) != 1)
        abort(); /* Redis names scripts by SHA-1; a crypto library without it is of no use here */
    digest_hex(sha1, sizeof(sha1), s->sha1);
}

void redis_eval(struct redis *r, struct redis_script *script, int64_t timeout_ms, redis_cb *cb,
    void *ctx, int nkeys, int argc, const char *const *argv, const size_t *lens)
{
    enum { HEAD = 3 };
    char count[12];
    const char **args = mem_array((size_t)argc + HEAD, sizeof(*args));
    size_t *args_len = mem_array((size_t)argc + HEAD, sizeof(*args_len));

    if (!script->sha1[0])
        script_hash(script);
    snprintf(count, sizeof(count), "%d", nkeys);
    args[0] = "EVALSHA";
    args[1] = script->sha1;
    args[2] = count;
    for (int i = 0; i < argc; i++)
        args[HEAD + i] = argv[i];
    for (int i = 0; i < argc + HEAD; i++)
        args_len[i] = lens && i >= HEAD ? lens[i - HEAD] : strlen(args[i]);

    struct cmd *c = cmd_new(r, script->name, timeout_ms, cb, ctx);
    c->script = script;
    submit(r, c, argc + HEAD, args, args_len);
    free(args);
    free(args_len);
}

/* The server does not know the script: the same arguments behind EVAL and the text, which it keeps.
 * The command goes to the end of the pipeline; its deadline stays. */
static void put_as_eval(struct redis *r, struct cmd *c)
{
    const struct redis_script *s = c->script;
    const char *count_end = strchr(c->wire, '\n') + 1; /* "*<argc>\r\n" */
    const char *tail = strstr(c->wire, s->sha1) + strlen(s->sha1);
    struct buf wire = {0};

    buf_append(&wire, c->wire, (size_t)(count_end - c->wire));
    buf_printf(&wire, "$4\r\nEVAL\r\n$%zu\r\n", strlen(s->body));
    buf_puts(&wire, s->body);
    buf_append(&wire, tail, c->wire_len - (size_t)(tail - c->wire));
    free(c->wire);
    c->wire_len = wire.len;
    c->wire = buf_detach(&wire);
    c->script = NULL;
    put(r, c);
}

/* --- handshake --------------------------------------------------------------------------- */

static void ask(struct redis *r, enum step step, int argc, const char *const *argv)
{
    char *wire;
    size_t len;
    if (!encode(argc, argv, NULL, &wire, &len))
        abort(); /* parts of a URL are never that large */
    buf_append(&r->out, wire, len);
    free(wire);
    r->queued += len;
    r->steps[r->nsteps++] = step;
}

static void shake_hands(struct redis *r)
{
    char db[12];
    snprintf(db, sizeof(db), "%d", r->db);
    r->state = ST_HANDSHAKE;
    r->reader = redisReaderCreate();
    if (!r->reader)
        abort(); /* out of memory, as in mem.c */
    if (r->user)
        ask(r, STEP_AUTH, 3, (const char *[]){"AUTH", r->user, r->password ? r->password : ""});
    else if (r->password)
        ask(r, STEP_AUTH, 2, (const char *[]){"AUTH", r->password});
    if (r->db)
        ask(r, STEP_SELECT, 2, (const char *[]){"SELECT", db});
    ask(r, STEP_INFO, 1, (const char *[]){"INFO"});
    if (r->client_name)
        ask(r, STEP_NAME, 3, (const char *[]){"CLIENT", "SETNAME", r->client_name});
    loop_defer(r->loop, &r->turn, turn, r);
}

/* Copies the value of `key:value` from INFO's lines; "" when there is none. */
static void info_text(const char *lines, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    out[0] = '\0';
    for (const char *p = lines; p; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, key, n) != 0 || p[n] != ':')
            continue;
        snprintf(out, size, "%.*s", (int)strcspn(p + n + 1, "\r\n"), p + n + 1);
        return;
    }
}

static int64_t info_int(const char *lines, const char *key)
{
    char value[24];
    info_text(lines, key, value, sizeof(value));
    return strtoll(value, NULL, 10);
}

static void info_parse(const char *lines, struct redis_info *out)
{
    char role[16];
    info_text(lines, "run_id", out->run_id, sizeof(out->run_id));
    info_text(lines, "redis_version", out->version, sizeof(out->version));
    info_text(lines, "master_replid", out->replication_id, sizeof(out->replication_id));
    info_text(lines, "maxmemory_policy", out->maxmemory_policy, sizeof(out->maxmemory_policy));
    info_text(lines, "role", role, sizeof(role));
    out->maxmemory = info_int(lines, "maxmemory");
    out->aof_enabled = info_int(lines, "aof_enabled") != 0;
    out->loading = info_int(lines, "loading") != 0;
    out->is_replica = strcmp(role, "slave") == 0;
}

/* The server answers, but has not read its data set back yet. */
static void still_loading(struct redis *r)
{
    r->backoff_ms = LOADING_RETRY_MS;
    unreachable(r, "not ready", "the server is loading its data set");
}

static void become_up(struct redis *r)
{
    r->state = ST_UP;
    r->backoff_ms = BACKOFF_MIN_MS;
    timer_stop(&r->phase);
    for (struct list_node *n; (n = list_pop(&r->waiting));)
        put(r, CMD(n));
    if (r->on_state)
        r->on_state(r, true, r->on_state_ctx);
}

static void handshake_reply(struct redis *r, const redisReply *reply)
{
    static const char *const names[STEP_COUNT] = {
        [STEP_AUTH] = "AUTH", [STEP_SELECT] = "SELECT", [STEP_INFO] = "INFO", [STEP_NAME] = ""};
    enum step step = r->steps[r->step++];

    if (step == STEP_NAME)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (has_code(reply, "LOADING")) {
            still_loading(r);
            return;
        }
        hl_fail_why(&r->down_err, HL_RETRY, HL_WHY_REFUSED,
            "redis %s: %s refused: %.*s; check the URL and the server's ACL", r->where, names[step],
            shown_len(reply), reply->str);
        lost(r);
        return;
    }
    if (step != STEP_INFO)
        return;
    if (reply->type != REDIS_REPLY_STRING) {
        unreachable(r, "INFO", "not answered with text; is this a Redis server?");
        return;
    }
    info_parse(reply->str, &r->info);
    if (r->info.loading)
        still_loading(r);
    else
        become_up(r);
}

/* --- bytes in and out -------------------------------------------------------------------- */

static void on_reply(struct redis *r, const redisReply *reply)
{
    if (r->step < r->nsteps) {
        handshake_reply(r, reply);
        return;
    }
    struct list_node *n = list_pop(&r->inflight);
    if (!n) {
        unreachable(r, "protocol error", "an answer to no command");
        return;
    }
    struct cmd *c = CMD(n);
    if (reply->type != REDIS_REPLY_ERROR) {
        answer(c, reply, NULL);
        return;
    }
    if (c->script && has_code(reply, "NOSCRIPT")) {
        put_as_eval(r, c);
        return;
    }
    struct hl_err err;
    classify(r, c->name, reply, &err);
    answer(c, reply, &err);
}

/* A callback may close the connection: fd tells, as a new one starts at the end of the turn. */
static void take_replies(struct redis *r)
{
    while (r->fd >= 0) {
        void *reply = NULL;
        if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
            unreachable(r, "protocol error", "the answer is not RESP; is this a Redis server?");
            return;
        }
        if (!reply)
            return;
        on_reply(r, reply);
        freeReplyObject(reply);
    }
}

static void receive(struct redis *r)
{
    char chunk[READ_CHUNK];
    for (int round = 0; round < READ_ROUNDS && r->fd >= 0; round++) {
        ssize_t n = wire_read(r, chunk, sizeof(chunk));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            unreachable(r, "connection lost", n ? strerror(errno) : "closed by the server");
            return;
        }
        redisReaderFeed(r->reader, chunk, (size_t)n); /* its error shows in take_replies */
        take_replies(r);
        if (n < READ_CHUNK)
            return;
    }
}

/* What the server said before it closed is still worth reading: answers, or why it refused. */
static void write_failed(struct redis *r, int error)
{
    receive(r);
    if (r->fd >= 0)
        unreachable(r, "connection lost", strerror(error));
}

static void flush(struct redis *r)
{
    while (r->written < r->queued) {
        size_t left = (size_t)(r->queued - r->written);
        ssize_t n = wire_write(r, r->out.data + r->out.len - left, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            write_failed(r, errno);
            return;
        }
        r->written += (size_t)n;
    }
    size_t left = (size_t)(r->queued - r->written);
    if (!left && r->out.cap > KEEP_OUT)
        buf_release(&r->out);
    else if (left <= r->out.len / 2)
        buf_consume(&r->out, r->out.len - left);
    watch_set(&r->io, left ? WATCH_READ | WATCH_WRITE : WATCH_READ);
}

/* --- connecting -------------------------------------------------------------------------- */

static void connect_finished(struct redis *r)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error) {
        unreachable(r, "cannot connect", strerror(error));
        return;
    }
    watch_set(&r->io, WATCH_READ);
    shake_hands(r);
}

static void on_io(int what, void *ctx)
{
    struct redis *r = ctx;
    enter(r);
    if (r->state == ST_CONNECT) {
        connect_finished(r);
    } else {
        if (what & WATCH_READ)
            receive(r);
        if (r->fd >= 0 && what & WATCH_WRITE)
            flush(r);
    }
    leave(r);
}

/* None of these can fail in a way that matters: a socket without them works, only less well. */
static void set_tcp_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY,      1              },
        {SOL_SOCKET,  SO_KEEPALIVE,     1              },
        {IPPROTO_TCP, TCP_KEEPIDLE,     KEEP_IDLE_S    },
        {IPPROTO_TCP, TCP_KEEPINTVL,    KEEP_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT,      KEEP_COUNT     },
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        setsockopt(
            fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

static void connect_to(struct redis *r, const struct sockaddr *sa, socklen_t len)
{
    r->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) {
        unreachable(r, "cannot make a socket", strerror(errno));
        return;
    }
    if (sa->sa_family != AF_UNIX)
        set_tcp_options(r->fd);
    if (connect(r->fd, sa, len) < 0 && errno != EINPROGRESS) {
        unreachable(r, "cannot connect", strerror(errno));
        return;
    }
    r->state = ST_CONNECT; /* also when it is there already: the socket is writable then */
    watch_start(r->loop, &r->io, r->fd, WATCH_WRITE, on_io, r);
}

static void connect_unix(struct redis *r)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, r->path, strlen(r->path)); /* length was checked with the URL */
    connect_to(r, (const struct sockaddr *)&sa, sizeof(sa));
}

/* False when address is not numeric. */
static bool connect_numeric(struct redis *r, const char *address)
{
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    char port[12];
    snprintf(port, sizeof(port), "%d", r->port);
    if (getaddrinfo(address, port, &hints, &found) != 0)
        return false;
    connect_to(r, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static void on_resolved(enum hl_rc rc, const char *address, const struct hl_err *err, void *ctx)
{
    struct redis *r = ctx;
    enter(r);
    r->resolve = NULL;
    if (rc != HL_OK)
        unreachable(r, "cannot find the host", err->msg);
    else if (!connect_numeric(r, address))
        unreachable(r, "cannot use the address of the host", address);
    leave(r);
}

static void attempt(struct redis *r)
{
    timer_start(&r->phase, r->connect_timeout_ms);
    if (r->path) {
        connect_unix(r);
    } else if (!connect_numeric(r, r->host)) {
        r->state = ST_RESOLVE;
        r->resolve = resolve_start(r->offload, r->host, on_resolved, r);
    }
}

/* --- the clockwork ----------------------------------------------------------------------- */

static void on_phase(void *ctx)
{
    struct redis *r = ctx;
    enter(r);
    if (r->state == ST_BACKOFF) {
        r->state = ST_START;
        attempt(r);
    } else {
        unreachable(r, "cannot connect", "no answer within the connect timeout");
    }
    leave(r);
}

/* The timer is not moved when answers come, so it may find nothing late: then it goes on to the
 * earliest deadline there is. */
static void on_deadline(void *ctx)
{
    struct redis *r = ctx;
    int64_t now = clock_mono_ms(), next = INT64_MAX;

    LIST_EACH(&r->waiting, n)
    {
        struct hl_err err;
        if (CMD(n)->deadline_at > now) {
            next = CMD(n)->deadline_at < next ? CMD(n)->deadline_at : next;
            continue;
        }
        list_remove(&r->waiting, n);
        hl_fail_why(&err, HL_RETRY, HL_WHY_TIMEOUT, "redis %s: %s: no connection within its time",
            r->where, CMD(n)->name);
        fail(r, CMD(n), &err);
    }
    LIST_EACH(&r->inflight, n)
    {
        if (CMD(n)->deadline_at <= now) {
            unreachable(r, "connection given up, a command was not answered in time", CMD(n)->name);
            return;
        }
        next = CMD(n)->deadline_at < next ? CMD(n)->deadline_at : next;
    }
    if (next < INT64_MAX)
        arm_deadline(r, next);
}

static void answer_failed(struct redis *r)
{
    list_splice(&r->answering, &r->failed); /* what callbacks add comes next turn */
    for (struct list_node *n; (n = list_pop(&r->answering));)
        answer(CMD(n), NULL, CMD(n)->err);
}

/* End of the turn: tell what went wrong, start what was asked for, write what has gathered. */
static void turn(void *ctx)
{
    struct redis *r = ctx;
    enter(r);
    if (r->owe_down) {
        r->owe_down = false;
        if (r->on_state)
            r->on_state(r, false, r->on_state_ctx);
    }
    answer_failed(r);
    if (!r->closing && r->state == ST_START)
        attempt(r);
    if (r->fd >= 0 && r->state >= ST_HANDSHAKE)
        flush(r);
    leave(r);
}

/* --- from the URL to the first attempt --------------------------------------------------- */

/* Decimal 0 .. MAX_DB; an empty text is 0. */
static bool parse_db(const char *text, int *db)
{
    if (text[strspn(text, "0123456789")] || strlen(text) > 5)
        return false;
    *db = atoi(text);
    return *db <= MAX_DB;
}

/* Moves what is needed out of u. Returns NULL, or what is wrong with it. */
static const char *take_unix(struct redis *r, struct url_parts *u)
{
    if (u->host && *u->host)
        return "a unix URL has three slashes, as in unix:///run/redis.sock";
    if (!u->path || strlen(u->path) < 2)
        return "the path of the socket is missing, as in unix:///run/redis.sock";
    char *db = u->query ? url_query_get(u->query, "db", NULL) : NULL;
    bool ok = !db || parse_db(db, &r->db);
    free(db);
    if (!ok)
        return "db must be a database number, as in ?db=0";
    if (url_decode(u->path, false) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return "the path of a unix socket has at most 107 bytes";
    r->path = u->path;
    u->path = NULL;
    snprintf(r->where, sizeof(r->where), "%s", r->path);
    return NULL;
}

static const char *take_tcp(struct redis *r, struct url_parts *u)
{
    if (!u->host || !*u->host)
        return "the host is missing, as in redis://localhost:6379/0";
    if (!parse_db(u->path && *u->path ? u->path + 1 : "", &r->db))
        return "what follows the host must be a database number, as in redis://localhost:6379/0";
    r->host = u->host;
    u->host = NULL;
    r->port = u->port ? u->port : DEFAULT_PORT;
    snprintf(r->where, sizeof(r->where), strchr(r->host, ':') ? "[%.80s]:%d" : "%.80s:%d", r->host,
        r->port);
    return NULL;
}

static const char *take_url(struct redis *r, struct url_parts *u)
{
    const char *wrong;
    if (strcmp(u->scheme, "unix") == 0)
        wrong = take_unix(r, u);
    else if (strcmp(u->scheme, "redis") == 0)
        wrong = take_tcp(r, u);
    else
        wrong = "the scheme must be redis:// or unix://";
    if (wrong)
        return wrong;
    if (u->user && *u->user)
        r->user = mem_strdup(u->user);
    r->password = u->password;
    u->password = NULL;
    return NULL;
}

static bool parse_url(struct redis *r, const char *url, struct hl_err *err)
{
    struct url_parts u = {0};
    struct buf shown = {0};
    const char *wrong = url_parse(url, &u) ? take_url(r, &u) : "it has not the form of a URL";
    url_parts_release(&u);
    if (!wrong)
        return true;
    url_mask(url, &shown);
    hl_fail(err, HL_FATAL, "Redis URL %.80s: %s", buf_str(&shown), wrong);
    buf_release(&shown);
    return false;
}

struct redis *redis_new(
    struct loop *l, struct offload *o, const struct redis_conf *conf, struct hl_err *err)
{
    struct redis *r = mem_new(struct redis);
    if (!parse_url(r, conf->url, err)) {
        destroy(r);
        return NULL;
    }
    r->loop = l;
    r->offload = o;
    r->client_name = mem_strdup(conf->client_name);
    r->connect_timeout_ms = conf->connect_timeout_ms;
    r->command_timeout_ms = conf->command_timeout_ms;
    r->max_pending = conf->max_pending;
    r->fd = -1;
    r->backoff_ms = BACKOFF_MIN_MS;
    list_init(&r->waiting);
    list_init(&r->inflight);
    list_init(&r->failed);
    list_init(&r->answering);
    timer_init(l, &r->phase, on_phase, r);
    timer_init(l, &r->deadline, on_deadline, r);
    r->state = ST_START;
    loop_defer(l, &r->turn, turn, r);
    return r;
}

void redis_free(struct redis *r)
{
    if (!r || r->closing)
        return;
    enter(r);
    r->closing = true;
    hl_fail_why(&r->down_err, HL_RETRY, HL_WHY_UNREACHABLE, "redis %s: the connection was closed",
        r->where);
    disconnect(r);
    loop_defer_cancel(r->loop, &r->turn);
    while (r->answering.len || r->failed.len)
        answer_failed(r);
    leave(r);
}

/* In backoff there is no connection to drop, and hurrying the next attempt would defeat it. While
 * connecting the attempt goes on; only the commands waiting for it are answered. */
void redis_reset(struct redis *r)
{
    if (r->closing || r->state == ST_BACKOFF)
        return;
    hl_fail_why(&r->down_err, HL_RETRY, HL_WHY_UNREACHABLE,
        "redis %s: the connection was dropped on purpose", r->where);
    if (r->state == ST_UP) {
        disconnect(r);
        r->state = ST_START;
    } else {
        fail_all(r);
    }
    loop_defer(r->loop, &r->turn, turn, r);
}

void redis_on_state(struct redis *r, void (*fn)(struct redis *r, bool up, void *ctx), void *ctx)
{
    r->on_state = fn;
    r->on_state_ctx = ctx;
}

bool redis_up(const struct redis *r)
{
    return r->state == ST_UP;
}

const struct redis_info *redis_info(const struct redis *r)
{
    return &r->info;
}
