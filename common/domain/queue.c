/* queue: see queue.h. */
#include "domain/queue.h"

#include "base/mem.h"
#include "domain/lua_scripts.h"
#include "domain/queue_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP       "workers"
#define DEAD_KEPT   "100000"
#define FLUSH_ITEMS 256
#define FLUSH_BYTES (1024 * 1024)
#define MAX_WAITING 65536
#define TIMEOUT_MS  5000
#define BYTES_A_MS  4096 /* the slowest link that a large job is given time for: 4 MiB a second */
#define BESIDE      "65536"    /* crawl jobs of more bytes have a key of their own */
#define TOMBSTONE   "86400000" /* ms for which a crawl job that is done is remembered */
#define LARGEST     (INT64_C(160) * 1024 * 1024) /* bytes: no crawl job has more */

struct op {
    struct queue *q;
    struct batch *batch;
    struct list sent; /* requests of the flush in flight, in order */
};

struct queue {
    enum queue_kind kind;
    struct redis *redis;
    char *consumer; /* NULL = publishes only */
    char *alive;    /* key of the lease mirror */
    char *generation, *reconciler;
    char *stream, *later, *later_jobs, *dead, *marker_prefix, *seen_prefix, *blob_prefix;
    struct op ops[QUEUE_NOPS];
};

/* --- arguments: small ones in one flat buffer, large ones where they are ----------------- */

struct arg {
    const void *borrowed; /* NULL = the next len bytes of the buffer */
    size_t len;
};

struct args {
    struct buf bytes;
    struct buf list; /* struct arg each */
    int n;
};

static void arg_push(struct args *a, const void *borrowed, size_t len)
{
    const struct arg arg = {borrowed, len};
    buf_append(&a->list, &arg, sizeof(arg));
    a->n++;
}

static void arg_add(struct args *a, const void *data, size_t len)
{
    buf_append(&a->bytes, data, len);
    arg_push(a, NULL, len);
}

static void arg_str(struct args *a, const char *s)
{
    arg_add(a, s, strlen(s));
}

static void arg_key(struct args *a, const char *prefix, const char *name)
{
    size_t before = a->bytes.len;
    buf_printf(&a->bytes, "%s%s", prefix, name);
    arg_push(a, NULL, a->bytes.len - before);
}

static const struct uuid *id_of(const struct queue_req *r)
{
    return r->ev ? &r->ev->id : &r->id;
}

static void arg_id_key(struct args *a, const char *prefix, const struct queue_req *r)
{
    char id[UUID_STRLEN + 1];
    uuid_format(id_of(r), id);
    arg_key(a, prefix, id);
}

static void arg_id(struct args *a, const struct queue_req *r)
{
    arg_id_key(a, "", r);
}

/* The keys of one request, by what the script takes. */
static void key_marker(struct args *a, const struct queue *q, const struct queue_req *r)
{
    arg_id_key(a, q->marker_prefix, r);
}

/* A script's keys must be there: without one it stands for nothing. */
static void key_seen(struct args *a, const struct queue *q, const struct queue_req *r)
{
    arg_key(a, q->seen_prefix, r->seen ? r->seen : "-");
}

static void key_blob(struct args *a, const struct queue *q, const struct queue_req *r)
{
    arg_id_key(a, q->blob_prefix, r);
}

static void arg_payload(struct args *a, const struct change_event *ev)
{
    struct buf job = {0};
    event_encode(ev, &job);
    arg_add(a, job.data, job.len);
    buf_release(&job);
}

static void args_eval(struct args *a, struct queue *q, struct redis_script *script, int nkeys,
    redis_cb *cb, void *ctx)
{
    const struct arg *list = (const struct arg *)(void *)a->list.data;
    const char **argv = mem_array((size_t)a->n, sizeof(*argv));
    size_t *lens = mem_array((size_t)a->n, sizeof(*lens));
    size_t at = 0, total = 0;
    for (int i = 0; i < a->n; i++) {
        argv[i] = list[i].borrowed ? list[i].borrowed : a->bytes.data + at;
        at += list[i].borrowed ? 0 : list[i].len;
        lens[i] = list[i].len;
        total += lens[i];
    }
    redis_eval(q->redis, script, TIMEOUT_MS + (int64_t)total / BYTES_A_MS, cb, ctx, nkeys, a->n,
        argv, lens);
    free(argv);
    free(lens);
    buf_release(&a->bytes);
    buf_release(&a->list);
}

/* --- batched operations ------------------------------------------------------------------ */

/* What Redis remembers: the event and its body. */
static void arg_seen(struct args *a, const struct queue_req *r)
{
    char id[UUID_STRLEN + 1], digest[DIGEST_HEXLEN + 1], value[sizeof(id) + sizeof(digest)];
    if (!r->seen) {
        arg_str(a, "");
        return;
    }
    uuid_format(&r->ev->id, id);
    digest_hex(r->ev->body_digest, DIGEST_LEN, digest);
    snprintf(value, sizeof(value), "%s %s", id, digest);
    arg_str(a, value);
}

static void arg_int(struct args *a, int64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    arg_str(a, text);
}

static void put_job(struct args *a, const struct queue_req *r)
{
    arg_id(a, r);
    arg_payload(a, r->ev);
    arg_seen(a, r);
    arg_int(a, r->seen_ms);
}

/* The answer of publish: for each job what `seen` was. */
static void get_seen(struct queue_req *r, const redisReply *was)
{
    if (was->type == REDIS_REPLY_INTEGER)
        r->was = (enum queue_seen)was->integer;
}

static void put_requeue(struct args *a, const struct queue_req *r)
{
    arg_id(a, r);
    arg_str(a, r->entry);
    arg_int(a, r->delay_ms);
    arg_payload(a, r->ev);
}

static void put_entry(struct args *a, const struct queue_req *r)
{
    arg_str(a, r->entry);
}

static void put_bury(struct args *a, const struct queue_req *r)
{
    arg_str(a, r->entry);
    arg_id(a, r);
    arg_str(a, r->reason);
    arg_payload(a, r->ev);
}

static void put_crawl_job(struct args *a, const struct queue_req *r)
{
    char digest[DIGEST_HEXLEN + 1];
    digest_hex(r->digest, DIGEST_LEN, digest);
    arg_id(a, r);
    arg_str(a, digest);
    arg_push(a, r->job, r->len);
}

static void put_crawl_requeue(struct args *a, const struct queue_req *r)
{
    arg_id(a, r);
    arg_str(a, r->entry);
    arg_int(a, r->delay_ms);
}

static void put_crawl_bury(struct args *a, const struct queue_req *r)
{
    arg_str(a, r->entry);
    arg_id(a, r);
    arg_str(a, r->reason);
    if (r->job)
        arg_push(a, r->job, r->len);
    else
        arg_str(a, "");
}

/* What each script takes before and for each request (see the scripts' own headers). */
/* clang-format off */
static const struct spec {
    struct redis_script *script;
    bool later_key, later_jobs_key, dead_key;
    void (*keys[2])(struct args *a, const struct queue *q, const struct queue_req *r); /* of each */
    const char *more; /* one further argument behind the group */
    bool prefixes;    /* and those of markers and large jobs */
    void (*put)(struct args *a, const struct queue_req *r);
    void (*get)(struct queue_req *r, const redisReply *element); /* an array comes back */
} specs[][QUEUE_NOPS] = {
    [QUEUE_CHANGE] = {
        [QUEUE_PUBLISH] = {.script = &lua_publish, .later_key = true, .later_jobs_key = true,
                           .keys = {key_marker, key_seen}, .put = put_job, .get = get_seen},
        [QUEUE_REQUEUE] = {.script = &lua_requeue, .later_key = true, .later_jobs_key = true,
                           .keys = {key_marker}, .put = put_requeue},
        [QUEUE_ACK]     = {.script = &lua_ack, .keys = {key_marker}, .put = put_entry},
        [QUEUE_BURY]    = {.script = &lua_bury, .dead_key = true, .keys = {key_marker},
                           .more = DEAD_KEPT, .put = put_bury},
    },
    [QUEUE_CRAWL] = {
        [QUEUE_PUBLISH] = {.script = &lua_crawl_publish, .later_key = true,
                           .keys = {key_marker, key_blob}, .more = BESIDE, .put = put_crawl_job,
                           .get = get_seen},
        [QUEUE_REQUEUE] = {.script = &lua_crawl_requeue, .later_key = true, .later_jobs_key = true,
                           .keys = {key_marker}, .put = put_crawl_requeue},
        [QUEUE_ACK]     = {.script = &lua_crawl_ack, .keys = {key_marker, key_blob},
                           .more = TOMBSTONE, .put = put_entry},
        [QUEUE_BURY]    = {.script = &lua_crawl_bury, .dead_key = true, .more = DEAD_KEPT,
                           .prefixes = true, .put = put_crawl_bury},
    },
};
/* clang-format on */

static const struct spec *spec_of(const struct op *op)
{
    return &specs[op->q->kind][op - op->q->ops];
}

static void answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct op *op = ctx;
    struct list done;
    enum hl_rc rc = err ? err->rc : HL_OK;
    const struct spec *spec = spec_of(op);
    bool each = !err && spec->get && reply->type == REDIS_REPLY_ARRAY;

    list_init(&done);
    list_splice(&done, &op->sent);
    batch_done(op->batch);
    for (size_t i = 0; done.len; i++) {
        struct queue_req *r = LIST_OF(list_pop(&done), struct queue_req, item.node);
        if (each && i < reply->elements)
            spec->get(r, reply->element[i]);
        r->done(r, rc, err);
    }
}

static void flush(struct list *items, void *ctx)
{
    struct op *op = ctx;
    struct queue *q = op->q;
    const struct spec *spec = spec_of(op);
    struct args a = {0};

    list_splice(&op->sent, items);
    arg_str(&a, q->stream);
    if (spec->later_key)
        arg_str(&a, q->later);
    if (spec->later_jobs_key)
        arg_str(&a, q->later_jobs);
    if (spec->dead_key)
        arg_str(&a, q->dead);
    for (size_t i = 0; i < 2 && spec->keys[i]; i++)
        LIST_EACH(&op->sent, n)
        {
            spec->keys[i](&a, q, LIST_OF(n, struct queue_req, item.node));
        }
    int nkeys = a.n;
    arg_str(&a, GROUP);
    if (spec->more)
        arg_str(&a, spec->more);
    if (spec->prefixes) {
        arg_str(&a, q->marker_prefix);
        arg_str(&a, q->blob_prefix);
    }
    LIST_EACH(&op->sent, n)
    {
        spec->put(&a, LIST_OF(n, struct queue_req, item.node));
    }
    args_eval(&a, q, spec->script, nkeys, answered, op);
}

void queue_do(struct queue *q, enum queue_op op, struct queue_req *req)
{
    req->item.bytes = 256 + (req->job ? req->len : 0);
    if (req->ev)
        req->item.bytes +=
            (req->ev->metadata ? strlen(req->ev->metadata) : 0) + strlen(req->ev->watch_url);
    batch_add(q->ops[op].batch, &req->item);
}

size_t queue_waiting(const struct queue *q)
{
    size_t n = 0;
    for (int i = 0; i < QUEUE_NOPS; i++)
        n += batch_waiting(q->ops[i].batch);
    return n;
}

bool queue_undo(struct queue *q, enum queue_op op, struct queue_req *req)
{
    return batch_remove(q->ops[op].batch, &req->item);
}

static void refused(struct batch_item *item, void *ctx)
{
    struct queue_req *r = LIST_OF(item, struct queue_req, item);
    struct hl_err err;
    (void)ctx;
    hl_fail_why(&err, HL_RETRY, HL_WHY_EXHAUSTED, "too many requests wait for Redis");
    r->done(r, HL_RETRY, &err);
}

/* --- reading ----------------------------------------------------------------------------- */

struct read_call {
    struct queue *q;
    queue_read_cb *cb;
    void *ctx;
};

static bool is_text(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STRING;
}

static bool is_array(const redisReply *r, size_t at_least)
{
    return r && r->type == REDIS_REPLY_ARRAY && r->elements >= at_least;
}

/* [id, [field, value, ...]]; a crawl job with `len` in place of `job` is kept beside. */
static bool entry_of(const redisReply *r, struct queue_entry *out)
{
    bool job = false;
    if (!is_array(r, 2) || !is_text(r->element[0]))
        return false;
    *out = (struct queue_entry){.entry = r->element[0]->str, .job = "", .id = ""};
    const redisReply *fields = r->element[1];
    for (size_t i = 0; is_array(fields, i + 2); i += 2) {
        const redisReply *key = fields->element[i], *value = fields->element[i + 1];
        if (!is_text(key) || !is_text(value))
            continue;
        if (strcmp(key->str, "id") == 0)
            out->id = value->str;
        else if (strcmp(key->str, "starts") == 0)
            out->starts = strtoll(value->str, NULL, 10);
        else if (strcmp(key->str, "job") == 0) {
            job = true;
            out->job = value->str;
            out->len = value->len;
        } else if (strcmp(key->str, "len") == 0 && !job) {
            out->len = strtoul(value->str, NULL, 10);
            out->job = out->len ? NULL : "";
        }
    }
    return true;
}

/* An own entry that was deleted meanwhile comes back with nil for its fields: let go of it. */
static void let_go_of_deleted(struct queue *q, const redisReply *r, struct queue_entry *e)
{
    if (r->element[1]->type != REDIS_REPLY_NIL)
        return;
    e->job = NULL;
    e->len = 0;
    redis_call(q->redis, TIMEOUT_MS, NULL, NULL, "XACK", q->stream, GROUP, e->entry, NULL);
}

static void create_group(struct queue *q)
{
    redis_call(q->redis, TIMEOUT_MS, NULL, NULL, "XGROUP", "CREATE", q->stream, GROUP, "0",
        "MKSTREAM", NULL);
}

/* Gone before this read, or (Redis 7.0: UNBLOCKED) the whole stream while it waited. */
static bool group_lost(const redisReply *reply)
{
    return reply && reply->type == REDIS_REPLY_ERROR &&
           (strncmp(reply->str, "NOGROUP", 7) == 0 || strncmp(reply->str, "UNBLOCKED", 9) == 0);
}

static void read_done(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct read_call call = *(struct read_call *)ctx;
    struct queue_entry *entries = NULL;
    struct hl_err lost;
    size_t n = 0;

    free(ctx);
    if (err && group_lost(reply)) {
        create_group(call.q);
        lost = *err;
        lost.rc = HL_RETRY;
        err = &lost;
    }
    /* [[stream, [entry, ...]]] or nil when nothing came in time */
    if (!err && is_array(reply, 1) && is_array(reply->element[0], 2)) {
        const redisReply *list = reply->element[0]->element[1];
        entries = mem_array(list->elements, sizeof(*entries));
        for (size_t i = 0; is_array(list, i + 1); i++)
            if (entry_of(list->element[i], &entries[n]))
                let_go_of_deleted(call.q, list->element[i], &entries[n++]);
    }
    call.cb(entries, n, err ? err->rc : HL_OK, err, call.ctx);
    free(entries);
}

void queue_read(struct queue *q, struct redis *reader, const char *after, int count,
    int64_t block_ms, queue_read_cb *cb, void *ctx)
{
    char count_s[16], block_s[24];
    struct read_call *call = mem_new(struct read_call);

    *call = (struct read_call){.q = q, .cb = cb, .ctx = ctx};
    snprintf(count_s, sizeof(count_s), "%d", count);
    snprintf(block_s, sizeof(block_s), "%lld", (long long)block_ms);
    if (after)
        redis_call(reader, TIMEOUT_MS, read_done, call, "XREADGROUP", "GROUP", GROUP, q->consumer,
            "COUNT", count_s, "STREAMS", q->stream, after, NULL);
    else
        redis_call(reader, block_ms + TIMEOUT_MS, read_done, call, "XREADGROUP", "GROUP", GROUP,
            q->consumer, "COUNT", count_s, "BLOCK", block_s, "STREAMS", q->stream, ">", NULL);
}

/* --- large crawl jobs -------------------------------------------------------------------- */

struct fetch_call {
    queue_fetch_cb *cb;
    void *ctx;
};

static void fetched(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct fetch_call call = *(struct fetch_call *)ctx;
    bool there = !err && is_text(reply);
    free(ctx);
    call.cb(
        err ? err->rc : HL_OK, there ? reply->str : NULL, there ? reply->len : 0, err, call.ctx);
}

void queue_fetch_key(struct queue *q, const char *key, queue_fetch_cb *cb, void *ctx)
{
    struct fetch_call *call = mem_new(struct fetch_call);
    *call = (struct fetch_call){cb, ctx};
    redis_call(q->redis, TIMEOUT_MS + LARGEST / BYTES_A_MS, fetched, call, "GET", key, NULL);
}

void queue_fetch(struct queue *q, const char *id, queue_fetch_cb *cb, void *ctx)
{
    char *key = mem_printf("%s%s", q->blob_prefix, id);
    queue_fetch_key(q, key, cb, ctx);
    free(key);
}

/* --- the janitor's moves ----------------------------------------------------------------- */

struct move_call {
    queue_moved_cb *cb;
    void *ctx;
    int limit; /* promote: a full batch means that more wait */
};

static void quarantined(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct move_call call = *(struct move_call *)ctx;
    (void)reply;
    free(ctx);
    if (call.cb)
        call.cb(err ? err->rc : HL_OK, err ? 0 : 1, false, call.ctx);
}

void queue_quarantine(struct queue *q, const char *id, const char *entry, const void *bytes,
    size_t len, const char *reason, queue_moved_cb *cb, void *ctx)
{
    const struct spec *bury = &specs[q->kind][QUEUE_BURY];
    struct move_call *call = mem_new(struct move_call);
    struct args a = {0};
    arg_str(&a, q->stream);
    arg_str(&a, q->dead);
    if (bury->keys[0])
        arg_key(&a, q->marker_prefix, "-");
    int nkeys = a.n;
    arg_str(&a, GROUP);
    arg_str(&a, DEAD_KEPT);
    if (bury->prefixes) {
        arg_str(&a, q->marker_prefix);
        arg_str(&a, q->blob_prefix);
    }
    arg_str(&a, entry);
    arg_str(&a, id ? id : "-");
    arg_str(&a, reason);
    arg_push(&a, len ? bytes : NULL, len);
    *call = (struct move_call){.cb = cb, .ctx = ctx};
    args_eval(&a, q, bury->script, nkeys, quarantined, call);
}

static void promoted(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct move_call call = *(struct move_call *)ctx;
    int64_t n = !err && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    free(ctx);
    call.cb(err ? err->rc : HL_OK, n, n >= call.limit, call.ctx);
}

void queue_promote(struct queue *q, int limit, queue_moved_cb *cb, void *ctx)
{
    struct move_call *call = mem_new(struct move_call);
    struct args a = {0};
    char max[16];

    *call = (struct move_call){.cb = cb, .ctx = ctx, .limit = limit};
    snprintf(max, sizeof(max), "%d", limit);
    arg_str(&a, q->stream);
    arg_str(&a, q->later);
    arg_str(&a, q->later_jobs);
    arg_str(&a, max);
    arg_str(&a, q->marker_prefix);
    args_eval(&a, q, q->kind == QUEUE_CRAWL ? &lua_crawl_promote : &lua_promote, 3, promoted, call);
}

static void taken_over(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct move_call call = *(struct move_call *)ctx;
    int64_t moved = 0, left = 0;
    free(ctx);
    if (!err && is_array(reply, 2)) {
        moved = reply->element[0]->integer;
        left = reply->element[1]->integer;
    }
    call.cb(err ? err->rc : HL_OK, moved, left > 0, call.ctx);
}

void queue_takeover(
    struct queue *q, const char *consumer, bool died, int limit, queue_moved_cb *cb, void *ctx)
{
    struct move_call *call = mem_new(struct move_call);
    struct args a = {0};
    char max[16];

    *call = (struct move_call){.cb = cb, .ctx = ctx};
    snprintf(max, sizeof(max), "%d", limit);
    arg_str(&a, q->stream);
    arg_str(&a, GROUP);
    arg_str(&a, consumer);
    arg_str(&a, max);
    arg_str(&a, q->marker_prefix);
    if (q->kind == QUEUE_CRAWL)
        arg_str(&a, died ? "1" : "0");
    args_eval(
        &a, q, q->kind == QUEUE_CRAWL ? &lua_crawl_takeover : &lua_takeover, 1, taken_over, call);
}

struct names_call {
    queue_names_cb *cb;
    void *ctx;
};

/* XINFO CONSUMERS: [[name, value, ...], ...] */
static void consumers_answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct names_call call = *(struct names_call *)ctx;
    const char **names = NULL;
    size_t n = 0;

    free(ctx);
    if (!err && is_array(reply, 1))
        names = mem_array(reply->elements, sizeof(*names));
    for (size_t i = 0; names && i < reply->elements; i++) {
        const redisReply *c = reply->element[i];
        if (is_array(c, 2) && is_text(c->element[1]))
            names[n++] = c->element[1]->str;
    }
    call.cb(err ? err->rc : HL_OK, names, n, call.ctx);
    free(names);
}

void queue_consumers(struct queue *q, queue_names_cb *cb, void *ctx)
{
    struct names_call *call = mem_new(struct names_call);
    *call = (struct names_call){cb, ctx};
    redis_call(q->redis, TIMEOUT_MS, consumers_answered, call, "XINFO", "CONSUMERS", q->stream,
        GROUP, NULL);
}

struct done_call {
    queue_done_cb *cb;
    void *ctx;
};

static void done_answered(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct done_call call = *(struct done_call *)ctx;
    (void)reply;
    free(ctx);
    if (call.cb)
        call.cb(err ? err->rc : HL_OK, err, call.ctx);
}

static struct done_call *done_call(queue_done_cb *cb, void *ctx)
{
    struct done_call *call = mem_new(struct done_call);
    *call = (struct done_call){cb, ctx};
    return call;
}

void queue_alive(struct queue *q, int64_t ttl_ms, queue_done_cb *cb, void *ctx)
{
    char ttl[24];
    snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_ms);
    redis_call(q->redis, TIMEOUT_MS, done_answered, done_call(cb, ctx), "SET", q->alive, "1", "PX",
        ttl, NULL);
}

/* --- which generation, and who looks after it -------------------------------------------- */

struct census_call {
    queue_census_cb *cb;
    void *ctx;
};

static void attended(const redisReply *reply, const struct hl_err *err, void *ctx)
{
    struct census_call call = *(struct census_call *)ctx;
    struct queue_census census = {.generation = ""};
    struct hl_err strange;

    free(ctx);
    if (!err && (!is_array(reply, 3) || !is_text(reply->element[0]))) {
        hl_fail(&strange, HL_RETRY, "redis: attend: not the answer of our script");
        err = &strange;
    }
    if (!err)
        census = (struct queue_census){.generation = reply->element[0]->str,
            .in_office = reply->element[1]->integer == 1,
            .group_created = reply->element[2]->integer == 1};
    call.cb(err ? err->rc : HL_OK, &census, err, call.ctx);
}

void queue_attend(
    struct queue *q, const char *who, int64_t office_ms, queue_census_cb *cb, void *ctx)
{
    struct census_call *call = mem_new(struct census_call);
    struct args a = {0};
    char ms[24];

    *call = (struct census_call){cb, ctx};
    snprintf(ms, sizeof(ms), "%lld", (long long)office_ms);
    arg_str(&a, q->stream);
    arg_str(&a, q->generation);
    arg_str(&a, q->reconciler);
    arg_str(&a, GROUP);
    arg_str(&a, who);
    arg_str(&a, ms);
    args_eval(&a, q, &lua_attend, 3, attended, call);
}

void queue_remember(struct queue *q, const char *generation, queue_done_cb *cb, void *ctx)
{
    redis_call(q->redis, TIMEOUT_MS, done_answered, done_call(cb, ctx), "SET", q->generation,
        generation, NULL);
}

/* --- statistics: four pipelined commands, the last answer ends the call ------------------ */

struct stats_call {
    struct queue_stats stats;
    struct hl_err err;
    queue_stats_cb *cb;
    void *ctx;
};

static void note_error(struct stats_call *c, const struct hl_err *err)
{
    if (err && c->err.rc == HL_OK)
        c->err = *err;
}

static int64_t integer_of(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
}

static void stat_length(const redisReply *r, const struct hl_err *err, void *ctx)
{
    struct stats_call *c = ctx;
    note_error(c, err);
    c->stats.length = integer_of(r);
}

static void stat_later(const redisReply *r, const struct hl_err *err, void *ctx)
{
    struct stats_call *c = ctx;
    note_error(c, err);
    c->stats.later = integer_of(r);
}

static void stat_dead(const redisReply *r, const struct hl_err *err, void *ctx)
{
    struct stats_call *c = ctx;
    note_error(c, err);
    c->stats.dead = integer_of(r);
}

/* XINFO GROUPS: [[name, value, ...], ...]; a stream that does not exist yet is an error reply. */
static void stat_groups(const redisReply *r, const struct hl_err *err, void *ctx)
{
    struct stats_call *c = ctx;
    if (err && err->rc != HL_FATAL)
        note_error(c, err);
    const redisReply *g = !err && is_array(r, 1) ? r->element[0] : NULL;
    for (size_t i = 0; is_array(g, i + 2); i += 2) {
        const redisReply *value = g->element[i + 1];
        if (!is_text(g->element[i]))
            continue;
        if (strcmp(g->element[i]->str, "pending") == 0)
            c->stats.pending = integer_of(value);
        if (strcmp(g->element[i]->str, "lag") == 0)
            c->stats.lag = value->type == REDIS_REPLY_INTEGER ? value->integer : -1;
    }
    /* Redis does not know it while the entry delivered last is deleted and older ones are pending.
     * Every entry is either pending or undelivered: that tells it too. */
    if (c->stats.lag < 0 && c->stats.length >= c->stats.pending)
        c->stats.lag = c->stats.length - c->stats.pending;
    c->cb(c->err.rc, &c->stats, c->err.rc == HL_OK ? NULL : &c->err, c->ctx);
    free(c);
}

void queue_stats(struct queue *q, queue_stats_cb *cb, void *ctx)
{
    struct stats_call *c = mem_new(struct stats_call);
    c->cb = cb;
    c->ctx = ctx;
    redis_call(q->redis, TIMEOUT_MS, stat_length, c, "XLEN", q->stream, NULL);
    redis_call(q->redis, TIMEOUT_MS, stat_later, c, "ZCARD", q->later, NULL);
    redis_call(q->redis, TIMEOUT_MS, stat_dead, c, "XLEN", q->dead, NULL);
    redis_call(q->redis, TIMEOUT_MS, stat_groups, c, "XINFO", "GROUPS", q->stream, NULL);
}

/* --- life -------------------------------------------------------------------------------- */

static void redis_state(struct redis *r, bool up, void *ctx)
{
    struct queue *q = ctx;
    (void)r;
    if (up)
        create_group(q);
}

struct queue *queue_new(struct loop *l, struct redis *redis, const char *prefix,
    enum queue_kind kind, const char *consumer)
{
    static const struct {
        const char *name, *later;
    } kinds[] = {
        [QUEUE_CHANGE] = {"change", "later"      },
        [QUEUE_CRAWL] = {"crawl",  "later:crawl"},
    };
    static const enum meter_STATEMENT labels[QUEUE_NOPS] = {[QUEUE_PUBLISH] = STATEMENT_PUBLISH,
        [QUEUE_REQUEUE] = STATEMENT_REQUEUE,
        [QUEUE_ACK] = STATEMENT_ACK,
        [QUEUE_BURY] = STATEMENT_BURY};
    struct queue *q = mem_new(struct queue);
    q->kind = kind;
    q->redis = redis;
    q->consumer = mem_strdup(consumer);
    q->stream = mem_printf("{%s}:q:%s", prefix, kinds[kind].name);
    q->later = mem_printf("{%s}:%s", prefix, kinds[kind].later);
    q->later_jobs = mem_printf("{%s}:%s:jobs", prefix, kinds[kind].later);
    q->dead = mem_printf("{%s}:dead", prefix);
    q->marker_prefix = mem_printf("{%s}:job:", prefix);
    q->seen_prefix = mem_printf("{%s}:seen:", prefix);
    q->blob_prefix = mem_printf("{%s}:blob:", prefix);
    q->generation = mem_printf("{%s}:generation", prefix);
    q->reconciler = mem_printf("{%s}:reconciler", prefix);
    q->alive = mem_printf("{%s}:worker:%s", prefix, consumer ? consumer : "-");
    for (int i = 0; i < QUEUE_NOPS; i++) {
        struct op *op = &q->ops[i];
        op->q = q;
        list_init(&op->sent);
        op->batch = batch_new(l, &(struct batch_conf){.label = labels[i],
                                     .max_items = FLUSH_ITEMS,
                                     .max_bytes = FLUSH_BYTES,
                                     .max_waiting = MAX_WAITING,
                                     .flush = flush,
                                     .refused = refused,
                                     .ctx = op});
    }
    if (consumer)
        redis_on_state(redis, redis_state, q);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    for (int i = 0; i < QUEUE_NOPS; i++)
        batch_free(q->ops[i].batch);
    free(q->consumer);
    free(q->stream);
    free(q->later);
    free(q->later_jobs);
    free(q->dead);
    free(q->marker_prefix);
    free(q->seen_prefix);
    free(q->blob_prefix);
    free(q->alive);
    free(q->generation);
    free(q->reconciler);
    free(q);
}

struct queue_keys queue_keys(const struct queue *q)
{
    return (struct queue_keys){.kind = q->kind,
        .redis = q->redis,
        .stream = q->stream,
        .group = GROUP,
        .later = q->later,
        .later_jobs = q->later_jobs,
        .dead = q->dead,
        .marker_prefix = q->marker_prefix,
        .generation = q->generation,
        .blob_prefix = q->blob_prefix};
}
