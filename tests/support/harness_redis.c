/* harness_redis: private Redis servers for tests (see harness.h). */
#include "tests/support/harness_private.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { START_TIMEOUT_MS = 15000, MAX_ARGS = 64 };

struct test_redis {
    struct test_proc *proc; /* NULL = not running */
    char *dir;
    int port;
    char *url;
    char *options[MAX_ARGS]; /* further ones, NULL-terminated */
    const char *password;    /* among the options; NULL = none */
};

static redisContext *connect_to(struct test_redis *r)
{
    const struct timeval limit = {.tv_sec = 5};
    redisContext *c = redisConnectWithTimeout("127.0.0.1", r->port, limit);
    if (!c || c->err) {
        redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, limit);
    if (r->password)
        freeReplyObject(redisCommand(c, "AUTH %s", r->password));
    return c;
}

/* Without fsync what it has answered for is always written, and outlives its process. With "everysec"
 * it puts off writing for up to two seconds while the disk is busy with the fsync before. */
static void start_server(struct test_redis *r)
{
    enum { OURS = 19 };
    char port[16];
    snprintf(port, sizeof(port), "%d", r->port);
    const char *argv[OURS + MAX_ARGS + 1] = {"redis-server", "--port", port, "--bind", "127.0.0.1",
        "--dir", r->dir, "--save", "", "--appendonly", "yes", "--appendfsync", "no",
        "--maxmemory-policy", "noeviction", "--enable-debug-command", "local", "--daemonize", "no"};
    for (int i = 0; r->options[i]; i++)
        argv[OURS + i] = r->options[i];
    r->proc = harness_spawn(
        &(struct spawn){.argv = argv, .name = "redis", .listen_fd = -1, .death_signal = SIGKILL});
}

/* Until it answers, and no longer says that it is loading; false when it ended instead. */
static bool wait_ready(struct test_redis *r)
{
    int64_t end = harness_now_ms() + START_TIMEOUT_MS;
    while (test_proc_running(r->proc)) {
        redisContext *c = connect_to(r);
        redisReply *reply = c ? redisCommand(c, "PING") : NULL;
        bool ok = reply && strncmp(reply->str, "LOADING", 7) != 0;
        freeReplyObject(reply);
        redisFree(c);
        if (ok)
            return true;
        harness_wait_step(end, "Redis answers", __FILE__, __LINE__);
    }
    return false;
}

static void copy_options(struct test_redis *r, const char *const *options)
{
    int n = 0;
    for (; options && options[n]; n++) {
        if (n >= MAX_ARGS - 1)
            harness_fail("too many options for redis-server");
        r->options[n] = mem_strdup(options[n]);
        if (n > 0 && strcmp(options[n - 1], "--requirepass") == 0)
            r->password = r->options[n];
    }
}

struct test_redis *test_redis_start_with(const char *const *options)
{
    static int serial;
    struct test_redis *r = mem_new(struct test_redis);
    r->dir = mem_printf("%s/redis%d", harness_dir(), ++serial);
    if (mkdir(r->dir, 0700) < 0)
        harness_fail("mkdir %s: %s", r->dir, strerror(errno));
    copy_options(r, options);
    for (int tries = 0; tries < 5; tries++) {
        r->port = harness_free_port();
        start_server(r);
        if (wait_ready(r))
            break;
        if (tries == 4)
            harness_fail("Redis does not start");
    }
    r->url = mem_printf("redis://127.0.0.1:%d/0", r->port);
    return r;
}

struct test_redis *test_redis_start(void)
{
    return test_redis_start_with(NULL);
}

const char *test_redis_url(struct test_redis *r)
{
    return r->url;
}

void test_redis_kill(struct test_redis *r)
{
    if (!r->proc)
        return;
    test_proc_kill(r->proc);
    test_proc_free(r->proc);
    r->proc = NULL;
}

void test_redis_restart(struct test_redis *r)
{
    test_redis_kill(r);
    start_server(r);
    if (!wait_ready(r))
        harness_fail("Redis does not start again");
}

void test_redis_pause(struct test_redis *r)
{
    test_proc_signal(r->proc, SIGSTOP);
}

void test_redis_resume(struct test_redis *r)
{
    test_proc_signal(r->proc, SIGCONT);
}

void test_redis_free(struct test_redis *r)
{
    if (!r)
        return;
    test_redis_kill(r);
    harness_remove_tree(r->dir);
    for (char **o = r->options; *o; o++)
        free(*o);
    free(r->dir);
    harness_keep(r->url);
    free(r);
}

/* --- commands ---------------------------------------------------------------------------- */
static void print_reply(const redisReply *r, struct buf *out)
{
    switch (r->type) {
    case REDIS_REPLY_INTEGER: buf_printf(out, "%lld", r->integer); break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR: buf_append(out, r->str, (size_t)r->len); break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < r->elements; i++) {
            if (i > 0)
                buf_putc(out, '\n');
            print_reply(r->element[i], out);
        }
        break;
    default: break; /* nil is "" */
    }
}

static const char *run(struct test_redis *r, const char *fmt, va_list ap)
{
    const char *argv[MAX_ARGS];
    int argc = 0;
    struct buf line = {0}, out = {0};
    buf_vprintf(&line, fmt, ap);
    char *rest;
    for (char *w = strtok_r(line.data, " ", &rest); w && argc < MAX_ARGS;
         w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    redisContext *c = connect_to(r);
    if (!c)
        harness_fail("cannot connect to Redis on port %d", r->port);
    redisReply *reply = redisCommandArgv(c, argc, argv, NULL);
    if (!reply)
        harness_fail("Redis: %s: %s", fmt, c->errstr);
    print_reply(reply, &out);
    if (reply->type == REDIS_REPLY_ERROR)
        harness_fail("Redis: %s: %s", fmt, buf_str(&out));
    freeReplyObject(reply);
    redisFree(c);
    buf_release(&line);
    return harness_keep(buf_detach(&out));
}

const char *redis_text(struct test_redis *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *v = run(r, fmt, ap);
    va_end(ap);
    return v;
}

long redis_int(struct test_redis *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *v = run(r, fmt, ap);
    va_end(ap);
    char *end;
    long n = strtol(v, &end, 10);
    if (!*v || *end)
        harness_fail("not a number but \"%s\": %s", v, fmt);
    return n;
}
