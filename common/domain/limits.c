/* limits: see limits.h. A deadline of our own, because a command of the connection that misses its
 * deadline takes the connection down, and others use it too. */
#include "domain/limits.h"

#include "base/digest.h"
#include "base/list.h"
#include "base/mem.h"
#include "domain/lua_scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct limits {
    struct loop *loop;
    struct redis *redis;
    char *prefix;
    int64_t max;
    struct list asked; /* answers that Redis owes */
};

struct ask {
    struct limits *limits;
    struct list_node node;
    struct timer patience;
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

static void out_of_patience(void *ctx)
{
    tell(ctx, 0);
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
static char *key_for(const struct limits *x, const char *client, const char *what)
{
    uint8_t digest[DIGEST_LEN];
    char hex[DIGEST_HEXLEN + 1];
    digest_sha256(what, strlen(what), digest);
    digest_hex(digest, DIGEST_LEN, hex);
    return mem_printf("{%s}:limit:%s:%.32s", x->prefix, client, hex);
}

void limits_take(struct limits *x, const char *client, const char *what, limits_cb *done, void *ctx)
{
    struct ask *a = mem_new(struct ask);
    char window[24];
    char *key = key_for(x, client, what);
    a->limits = x;
    a->done = done;
    a->ctx = ctx;
    list_push(&x->asked, &a->node);
    timer_init(x->loop, &a->patience, out_of_patience, a);
    timer_start(&a->patience, LIMITS_PATIENCE_MS);
    snprintf(window, sizeof(window), "%d", LIMITS_WINDOW_MS);
    redis_eval(x->redis, &lua_limit, 0, counted, a, 1, 2, (const char *const[]){key, window},
        (const size_t[]){strlen(key), strlen(window)});
    free(key);
}
