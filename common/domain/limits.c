/* limits: see limits.h. A deadline of our own, because a command of the connection that misses its
 * deadline takes the connection down, and others use it too. */
#include "domain/limits.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/list.h"
#include "base/mem.h"
#include "domain/lua_scripts.h"

#include <stdlib.h>
#include <string.h>

#define STRING(x)    #x
#define STRING_OF(x) STRING(x)

struct limits {
    struct loop *loop;
    struct redis *redis;
    char *prefix;
    int64_t max;
    int64_t blind_until_ms;
    struct list asked; /* answers that Redis owes */
};

struct ask {
    struct limits *limits;
    struct list_node node;
    struct timer patience;
    bool owed;       /* an answer of Redis is to come */
    limits_cb *done; /* NULL: answered already */
    void *ctx;
};

struct limits *limits_new(struct loop *l, struct redis *redis, const char *prefix, int64_t max)
{
    if (!max)
        return NULL;
    struct limits *x = mem_new(struct limits);
    x->loop = l;
    x->redis = redis;
    x->prefix = mem_strdup(prefix);
    x->max = max;
    list_init(&x->asked);
    return x;
}

static void ask_free(struct ask *a)
{
    timer_stop(&a->patience);
    list_remove(&a->limits->asked, &a->node);
    free(a);
}

void limits_free(struct limits *x)
{
    if (!x)
        return;
    for (struct list_node *n; (n = list_first(&x->asked));)
        ask_free(LIST_OF(n, struct ask, node));
    free(x->prefix);
    free(x);
}

int64_t limits_max(const struct limits *x)
{
    return x->max;
}

static void tell(struct ask *a, int64_t wait_s)
{
    limits_cb *done = a->done;
    a->done = NULL;
    if (done)
        done(wait_s, a->ctx);
}

/* Redis is slow: who comes next need not find that out again, nor fill its connection, which intake
 * uses too. */
static void out_of_patience(void *ctx)
{
    struct ask *a = ctx;
    if (a->owed)
        a->limits->blind_until_ms = clock_mono_ms() + LIMITS_BLIND_MS;
    tell(a, 0);
    if (!a->owed)
        ask_free(a);
}

static void counted(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct ask *a = ctx;
    int64_t wait_s = 0;
    bool sound = !err && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
    if (sound && reply->element[0]->integer > a->limits->max)
        wait_s = reply->element[1]->integer / 1000 + 1;
    tell(a, wait_s);
    ask_free(a);
}

/* The digest keeps the key short, whatever stands in the path. */
static void counter_key(struct buf *key, const char *client_key, const char *what)
{
    uint8_t digest[DIGEST_LEN];
    char hex[DIGEST_HEXLEN + 1];
    digest_sha256(what, strlen(what), digest);
    digest_hex(digest, DIGEST_LEN, hex);
    buf_printf(key, "%s:%.32s", client_key, hex);
}

static void count(struct ask *a, const char *client, const char *what)
{
    static const char window[] = STRING_OF(LIMITS_WINDOW_MS), paths[] = STRING_OF(LIMITS_PATHS);
    struct buf all = {0}, one = {0}, rest = {0};
    buf_printf(&all, "{%s}:limit:%s", a->limits->prefix, client);
    buf_printf(&rest, "%s:*", all.data);
    counter_key(&one, all.data, what);
    redis_eval(a->limits->redis, &lua_limit, 0, counted, a, 3, 5,
        (const char *const[]){one.data, all.data, rest.data, window, paths},
        (const size_t[]){one.len, all.len, rest.len, sizeof(window) - 1, sizeof(paths) - 1});
    buf_release(&all);
    buf_release(&one);
    buf_release(&rest);
}

void limits_take(struct limits *x, const char *client, const char *what, limits_cb *done, void *ctx)
{
    struct ask *a = mem_new(struct ask);
    a->limits = x;
    a->done = done;
    a->ctx = ctx;
    list_push(&x->asked, &a->node);
    a->owed = clock_mono_ms() >= x->blind_until_ms;
    timer_init(x->loop, &a->patience, out_of_patience, a);
    timer_start(&a->patience, a->owed ? LIMITS_PATIENCE_MS : 0);
    if (a->owed)
        count(a, client, what);
}
