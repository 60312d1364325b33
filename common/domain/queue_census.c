/* queue_census: see queue_census.h. */
#include "domain/queue_census.h"

#include "base/mem.h"
#include "domain/lua_scripts.h"
#include "domain/queue_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, NKEYS = 8 };

/* Places in the script's answers. */
enum { ALL_AT, ALL_DEAD, ALL_GENERATION, ALL_RUN_ID, ALL_COPY, ALL_CHANGE, ALL_CRAWL, ALL_N };
enum {
    Q_LENGTH,
    Q_ADDED,
    Q_LAST,
    Q_GROUP,
    Q_PENDING,
    Q_FIRST,
    Q_LATER,
    Q_DUE,
    Q_JOBS,
    Q_NEXT,
    Q_WAITING,
    Q_DELIVERED,
    Q_LATER_IDS,
    Q_ORPHANS,
    Q_NORPHANS,
    Q_N
};

/* --- reading the answer ------------------------------------------------------------------ */

static bool is_array(const redisReply *r, size_t n)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements == n;
}

static int64_t integer(const redisReply *r)
{
    return r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
}

static char *text(const redisReply *r)
{
    return mem_strdup(r->type == REDIS_REPLY_STRING ? r->str : "");
}

static void read_ids(const redisReply *r, struct queue_ids *ids)
{
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
        if (ids->n < QUEUE_CENSUS_IDS)
            ids->texts[ids->n++] = text(r->element[i]);
}

static void read_queue(const redisReply *r, struct queue_tally *t)
{
    redisReply **e = r->element;
    t->length = integer(e[Q_LENGTH]);
    t->added = integer(e[Q_ADDED]);
    t->last_id = text(e[Q_LAST]);
    t->group = integer(e[Q_GROUP]) == 1;
    t->pending = integer(e[Q_PENDING]);
    t->first_id = text(e[Q_FIRST]);
    t->later = integer(e[Q_LATER]);
    t->later_due = integer(e[Q_DUE]);
    t->later_jobs = integer(e[Q_JOBS]);
    char *next = text(e[Q_NEXT]);
    t->next_due_ms = *next ? (int64_t)strtod(next, NULL) : -1;
    free(next);
    read_ids(e[Q_WAITING], &t->waiting);
    read_ids(e[Q_DELIVERED], &t->delivered);
    read_ids(e[Q_LATER_IDS], &t->later_ids);
    read_ids(e[Q_ORPHANS], &t->later_orphans);
    t->orphans = integer(e[Q_NORPHANS]);
}

static void release_ids(struct queue_ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        free(ids->texts[i]);
}

static void release(struct queue_tallies *t)
{
    free(t->generation);
    for (int i = 0; i < 2; i++) {
        struct queue_tally *q = &t->queues[i];
        free(q->last_id);
        free(q->first_id);
        release_ids(&q->waiting);
        release_ids(&q->delivered);
        release_ids(&q->later_ids);
        release_ids(&q->later_orphans);
    }
}

struct tally_call {
    queue_tally_cb *cb;
    void *ctx;
};

static void tallied(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct tally_call call = *(struct tally_call *)ctx;
    struct queue_tallies t = {0};
    struct hl_err strange;

    free(ctx);
    if (!err && (!is_array(reply, ALL_N) || !is_array(reply->element[ALL_CHANGE], Q_N) ||
                    !is_array(reply->element[ALL_CRAWL], Q_N))) {
        hl_fail(&strange, HL_FATAL, "redis: census: not the answer of our script");
        err = &strange;
    }
    if (err) {
        call.cb(err->rc, NULL, err, call.ctx);
        return;
    }
    t.at_ms = integer(reply->element[ALL_AT]);
    t.dead = integer(reply->element[ALL_DEAD]);
    t.generation = text(reply->element[ALL_GENERATION]);
    const redisReply *id = reply->element[ALL_RUN_ID];
    snprintf(t.run_id, sizeof(t.run_id), "%s", id->type == REDIS_REPLY_STRING ? id->str : "");
    t.replica = integer(reply->element[ALL_COPY]) != 0;
    read_queue(reply->element[ALL_CHANGE], &t.queues[QUEUE_CHANGE]);
    read_queue(reply->element[ALL_CRAWL], &t.queues[QUEUE_CRAWL]);
    call.cb(HL_OK, &t, NULL, call.ctx);
    release(&t);
}

void queue_tally(struct queue *change, struct queue *crawl, queue_tally_cb *cb, void *ctx)
{
    const struct queue_keys a = queue_keys(change), b = queue_keys(crawl);
    struct tally_call *call = mem_new(struct tally_call);
    char most[16];

    *call = (struct tally_call){cb, ctx};
    snprintf(most, sizeof(most), "%d", QUEUE_CENSUS_IDS);
    const char *const argv[] = {a.stream, a.later, a.later_jobs, b.stream, b.later, b.later_jobs,
        a.dead, a.generation, a.group, most};
    enum { ARGC = sizeof(argv) / sizeof(*argv) };
    size_t lens[ARGC];
    for (size_t i = 0; i < ARGC; i++)
        lens[i] = strlen(argv[i]);
    redis_eval(a.redis, &lua_census, TIMEOUT_MS, tallied, call, NKEYS, ARGC, argv, lens);
}

/* --- what waits, now --------------------------------------------------------------------- */

struct hasten_call {
    int max;
    queue_moved_cb *cb;
    void *ctx;
};

static void hastened(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct hasten_call call = *(struct hasten_call *)ctx;
    int64_t moved = err ? 0 : integer(reply);
    free(ctx);
    call.cb(err ? err->rc : HL_OK, moved, moved >= call.max, call.ctx);
}

void queue_hasten(struct queue *q, int max, queue_moved_cb *cb, void *ctx)
{
    const struct queue_keys k = queue_keys(q);
    struct hasten_call *call = mem_new(struct hasten_call);
    char most[16];

    *call = (struct hasten_call){max, cb, ctx};
    snprintf(most, sizeof(most), "%d", max);
    const char *const argv[] = {k.later, most};
    const size_t lens[] = {strlen(k.later), strlen(most)};
    redis_eval(k.redis, &lua_hasten, TIMEOUT_MS, hastened, call, 1, 2, argv, lens);
}
