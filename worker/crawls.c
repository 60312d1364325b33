/* crawls: see crawls.h. A job that was read waits here until there is room for its bytes. One with
 * which a reader has died runs with no other beside it, and the next of its kind goes back to the
 * queue: whoever dies again with it counts against no other. */
#include "worker/crawls.h"

#include "base/log.h"
#include "base/mem.h"
#include "worker/crawl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_BLOCK_MS = 2000,
    READ_RETRY_MS = 500,
    OWN_CHECK_MS = 60000, /* entries given to us that nobody works on are looked for */
    LEAVE_PAGE = 100,
};
/* Bytes of jobs in flight, as they travel, and of those read, which are compressed no more: made ready
 * they are some times as large. One that is larger runs alone. */
#define MAX_BYTES ((size_t)16 << 20)
#define MAX_SWELL ((size_t)32 << 20)

struct crawls {
    struct crawls_conf conf;
    struct redis *redis, *reader;
    struct queue *queue;
    struct offload *offload;
    struct crawl_env env;

    struct list running, waiting;    /* of crawl_link */
    struct list orphans;             /* let go of; an answer for them is awaited */
    size_t bytes;                    /* of those running, */
    size_t swell;                    /* and, decoded, of those that are read or have been */
    char own_after[QUEUE_ENTRY_MAX]; /* our own entries are being looked through: behind this one */
    bool reading, read_own;
    bool suspects; /* the last read brought one, where more may be: the next brings one entry */
    bool leaving;
    int64_t jobs_done;
    struct defer kick;
    struct timer retry, own_check;
    void (*left)(void *ctx);
    void *left_ctx;
};

/* --- what runs --------------------------------------------------------------------------- */

static struct crawl *first(const struct list *l)
{
    struct list_node *n = list_first(l);
    return n ? crawl_of(n) : NULL;
}

static bool alone_running(const struct crawls *cs)
{
    return cs->running.len && crawl_suspect(first(&cs->running));
}

static bool room_for(const struct crawls *cs, const struct crawl *c)
{
    if (!cs->running.len)
        return true;
    return !crawl_suspect(c) && !alone_running(cs) && cs->bytes + crawl_bytes(c) <= MAX_BYTES;
}

static void start_waiting(struct crawls *cs)
{
    for (struct crawl *c; (c = first(&cs->waiting)) && room_for(cs, c);) {
        list_remove(&cs->waiting, crawl_link(c));
        list_push(&cs->running, crawl_link(c));
        cs->bytes += crawl_bytes(c);
        crawl_start(c);
    }
}

/* In the order in which they came: a large one waits for its turn, not for ever. */
static bool admits(struct crawl *c, void *ctx)
{
    struct crawls *cs = ctx;
    LIST_EACH(&cs->running, n)
    {
        struct crawl *other = crawl_of(n);
        if (other == c)
            break;
        if (crawl_parked(other))
            return false;
    }
    if (cs->swell && cs->swell + crawl_swell(c) > MAX_SWELL)
        return false;
    cs->swell += crawl_swell(c);
    return true;
}

static void unpark(struct crawls *cs)
{
    LIST_EACH(&cs->running, n)
    {
        crawl_unpark(crawl_of(n));
    }
}

/* What has not begun goes back to the queue. */
static void hand_back_waiting(struct crawls *cs)
{
    for (struct list_node *n; (n = list_pop(&cs->waiting));)
        crawl_hand_back(crawl_of(n));
}

static void go_on(void *ctx)
{
    struct crawls *cs = ctx;
    if (!cs->conf.takes_work(cs->conf.ctx))
        hand_back_waiting(cs);
    unpark(cs);
    start_waiting(cs);
    if (crawls_idle(cs))
        cs->conf.idle(cs->conf.ctx);
    crawls_read(cs);
}

static void remove_running(struct crawls *cs, struct crawl *c)
{
    cs->bytes -= crawl_bytes(c);
    cs->swell -= crawl_parked(c) ? 0 : crawl_swell(c);
    list_remove(&cs->running, crawl_link(c));
    loop_defer(cs->conf.wires->loop, &cs->kick, go_on, cs);
}

static void job_done(struct crawl *c, bool again, void *ctx)
{
    struct crawls *cs = ctx;
    if (crawl_orphan(c)) {
        list_remove(&cs->orphans, crawl_link(c));
        return;
    }
    cs->read_own |= again;
    cs->jobs_done += !again;
    remove_running(cs, c);
}

static void job_orphaned(struct crawl *c, void *ctx)
{
    struct crawls *cs = ctx;
    remove_running(cs, c);
    list_push(&cs->orphans, crawl_link(c));
}

/* --- reading ----------------------------------------------------------------------------- */

static bool has_entry(const struct list *l, const char *entry)
{
    LIST_EACH(l, n)
    {
        if (strcmp(crawl_entry(crawl_of(n)), entry) == 0)
            return true;
    }
    return false;
}

static int64_t room(const struct crawls *cs)
{
    return cs->conf.cfg->crawl_concurrency - (int64_t)cs->running.len - (int64_t)cs->waiting.len;
}

static bool suspect_waits(const struct crawls *cs)
{
    return alone_running(cs) || (cs->waiting.len && crawl_suspect(first(&cs->waiting)));
}

static void take(struct crawls *cs, const struct queue_entry *e)
{
    if (has_entry(&cs->running, e->entry) || has_entry(&cs->waiting, e->entry))
        return; /* read again */
    if (room(cs) <= 0) {
        cs->read_own = true;
        return;
    }
    struct crawl *c = crawl_new(&cs->env, e);
    bool second = crawl_suspect(c) && suspect_waits(cs);
    cs->suspects |= crawl_suspect(c);
    if (second || !cs->conf.takes_work(cs->conf.ctx))
        crawl_hand_back(c);
    else if (crawl_suspect(c)) /* nothing more is read until it has run */
        list_push_front(&cs->waiting, crawl_link(c));
    else
        list_push(&cs->waiting, crawl_link(c));
}

static void read_done(
    const struct queue_entry *entries, size_t n, enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    struct crawls *cs = ctx;
    cs->reading = false;
    cs->suspects = false;
    if (cs->own_after[0]) /* the next page, or the end of our own entries */
        snprintf(cs->own_after, sizeof(cs->own_after), "%s", n ? entries[n - 1].entry : "");
    for (size_t i = 0; i < n; i++)
        if (entries[i].job || entries[i].len)
            take(cs, &entries[i]);
    if (cs->leaving)
        return;
    if (rc == HL_OK) {
        go_on(cs);
        return;
    }
    log_warn("crawl_queue_read_failed", LOG_S("error", err->msg));
    cs->read_own = true; /* an answer may have been lost on its way */
    cs->own_after[0] = '\0';
    timer_start(&cs->retry, READ_RETRY_MS);
}

/* Who has jobs waiting, or one that runs alone, reads no further. */
static bool wants_more(const struct crawls *cs)
{
    return !cs->reading && !cs->leaving && room(cs) > 0 && !cs->waiting.len && !alone_running(cs) &&
           cs->bytes < MAX_BYTES;
}

void crawls_read(struct crawls *cs)
{
    const struct crawls_conf *conf = &cs->conf;
    if (!wants_more(cs) || !conf->takes_work(conf->ctx) || !redis_up(cs->reader))
        return;
    if (!conf->may_work(conf->ctx)) {
        timer_start(&cs->retry, READ_RETRY_MS);
        return;
    }
    if (cs->read_own && !cs->own_after[0])
        snprintf(cs->own_after, sizeof(cs->own_after), "0");
    bool own = cs->own_after[0] != '\0';
    cs->read_own = cs->read_own && !own;
    cs->reading = true;
    queue_read(cs->queue, cs->reader, own ? cs->own_after : NULL, cs->suspects ? 1 : (int)room(cs),
        READ_BLOCK_MS, read_done, cs);
}

static void read_again(void *ctx)
{
    crawls_read(ctx);
}

static void check_own(void *ctx)
{
    struct crawls *cs = ctx;
    cs->read_own = true;
    timer_start(&cs->own_check, OWN_CHECK_MS);
}

static void reader_state(struct redis *r, bool up, void *ctx)
{
    struct crawls *cs = ctx;
    (void)r;
    if (!up)
        return;
    cs->read_own = true;
    loop_defer(cs->conf.wires->loop, &cs->kick, go_on, cs);
}

/* --- the end ----------------------------------------------------------------------------- */

bool crawls_idle(const struct crawls *cs)
{
    return !cs->running.len && !cs->waiting.len;
}

bool crawls_settled(const struct crawls *cs)
{
    return crawls_idle(cs) && !cs->orphans.len;
}

void crawls_abort(struct crawls *cs)
{
    hand_back_waiting(cs);
    LIST_EACH(&cs->running, n)
    {
        crawl_abort(crawl_of(n));
    }
}

static void entries_left(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct crawls *cs = ctx;
    if (moved)
        log_info("crawl_jobs_handed_back", LOG_I("entries", moved));
    if (rc == HL_OK && left)
        queue_takeover(cs->queue, cs->conf.instance, false, LEAVE_PAGE, entries_left, cs);
    else
        cs->left(cs->left_ctx);
}

void crawls_leave(struct crawls *cs, void (*done)(void *ctx), void *ctx)
{
    cs->leaving = true;
    cs->left = done;
    cs->left_ctx = ctx;
    redis_free(cs->reader);
    cs->reader = NULL;
    hand_back_waiting(cs);
    queue_takeover(cs->queue, cs->conf.instance, false, LEAVE_PAGE, entries_left, cs);
}

/* --- life -------------------------------------------------------------------------------- */

size_t crawls_jobs(const struct crawls *cs)
{
    return cs->running.len + cs->waiting.len;
}

void crawls_log(const struct crawls *cs)
{
    log_info("state_crawls", LOG_I("jobs", cs->running.len), LOG_I("waiting", cs->waiting.len),
        LOG_I("bytes", cs->bytes), LOG_I("swell", cs->swell), LOG_B("alone", alone_running(cs)),
        LOG_I("jobs_done", cs->jobs_done), LOG_I("queue_waiting", queue_waiting(cs->queue)));
}

static bool dial(struct crawls *cs, struct hl_err *err)
{
    const struct crawls_conf *conf = &cs->conf;
    cs->redis = wires_redis(conf->wires, conf->cfg, conf->instance, err);
    cs->reader = cs->redis ? wires_redis(conf->wires, conf->cfg, conf->instance, err) : NULL;
    cs->offload = cs->reader ? offload_new(conf->wires->loop, err) : NULL;
    return cs->offload != NULL;
}

struct crawls *crawls_new(const struct crawls_conf *conf, struct hl_err *err)
{
    struct crawls *cs = mem_new(struct crawls);
    struct loop *loop = conf->wires->loop;

    cs->conf = *conf;
    list_init(&cs->running);
    list_init(&cs->waiting);
    list_init(&cs->orphans);
    timer_init(loop, &cs->retry, read_again, cs);
    timer_init(loop, &cs->own_check, check_own, cs);
    if (!dial(cs, err)) {
        crawls_free(cs);
        return NULL;
    }
    cs->queue = queue_new(loop, cs->redis, conf->cfg->queue_prefix, QUEUE_CRAWL, conf->instance);
    cs->env = (struct crawl_env){.loop = loop,
        .store = conf->wires->store,
        .queue = cs->queue,
        .offload = cs->offload,
        .metrics = conf->wires->metrics,
        .spans = conf->wires->spans,
        .instance = conf->instance,
        .index = conf->cfg->index == INDEX_POSTGRES,
        .max_starts = conf->cfg->max_starts,
        .admits = admits,
        .done = job_done,
        .orphaned = job_orphaned,
        .ctx = cs};
    redis_on_state(cs->reader, reader_state, cs);
    timer_start(&cs->own_check, OWN_CHECK_MS);
    return cs;
}

void crawls_free(struct crawls *cs)
{
    if (!cs)
        return;
    cs->leaving = true; /* whatever is answered from here on leads nowhere */
    timer_stop(&cs->retry);
    timer_stop(&cs->own_check);
    loop_defer_cancel(cs->conf.wires->loop, &cs->kick);
    redis_free(cs->reader);
    redis_free(cs->redis);
    queue_free(cs->queue);
    offload_free(cs->offload);
    loop_defer_cancel(cs->conf.wires->loop, &cs->kick);
    free(cs);
}
