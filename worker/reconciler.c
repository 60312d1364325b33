/* reconciler: see reconciler.h. A look is a row of steps, each started by the answer of the one
 * before: what PostgreSQL says the generation is, what Redis says, what became due, and a page of
 * the walk. Whatever fails ends the look; the next one begins there again. */
#include "worker/reconciler.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 500,           /* rows */
    GRACE_MS = 10000,     /* a row this young is still being published by its producer */
    LOST_GRACE_MS = 1000, /* that is no reason to wait when Redis has lost what it had */
    PAGE_PAUSE_MS = 100,  /* while there is more: at most 5000 rows a second */
    OFFICE_LOOKS = 3,     /* an office not renewed for so many looks is free */
    GENERATION_LEN = 128, /* "rebuilding <name> <uuid>" */
};

/* Redis' copy of the generation while the rows are being walked through: who finds another's has
 * found a rebuilding that was not finished. */
#define REBUILDING "rebuilding "

struct reconciler {
    struct reconciler_conf conf;
    struct timer next;
    bool running, looking, complained;
    bool in_office, reconnected;
    char name[UUID_STRLEN + 1];

    char generation[UUID_STRLEN + 1]; /* as PostgreSQL has it */
    bool announced;                   /* Redis was told once */
    char run_id[41], replication_id[41];

    const char *walking, *walk_next; /* why all rows are looked at; why once more after that */
    bool told;                       /* Redis holds our mark of a rebuilding */
    struct store_place walk, recent; /* how far the walk is, how far the looks at what is new are */
    bool has_recent;

    struct store_place *place, place_after; /* of the page in hand: walk or recent */
    bool page_full, page_read, page_failed;
    int moves; /* publishes under way */
    int64_t published;
};

static void look(void *ctx);

static void look_ends(struct reconciler *r, bool more)
{
    r->looking = false;
    if (r->running)
        timer_start(&r->next, more ? PAGE_PAUSE_MS : r->conf.every_ms);
}

/* True when this look is over because of err. */
static bool gave_up(struct reconciler *r, enum hl_rc rc, const struct hl_err *err)
{
    if (rc == HL_OK)
        return false;
    if (!r->complained)
        log_warn("reconcile_failed", LOG_S("error", err->msg));
    r->complained = true;
    look_ends(r, false);
    return true;
}

void reconciler_walk(struct reconciler *r, const char *why)
{
    r->walk_next = why;
    if (r->running && !r->looking && !r->walking)
        timer_start(&r->next, 0);
}

/* Between two pages only: a reason that comes up meanwhile is one to look at all rows, not at the
 * rest of them. */
static void begin_walk(struct reconciler *r)
{
    if (r->walking || !r->walk_next)
        return;
    r->walking = r->walk_next;
    r->walk_next = NULL;
    r->walk = (struct store_place){0};
    r->published = 0;
}

/* --- a page of rows ---------------------------------------------------------------------- */

struct move {
    struct queue_req req;
    struct change_event ev;
    struct reconciler *reconciler;
};

static void page_done(struct reconciler *r);

static void moved(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct move *m = req->ctx;
    struct reconciler *r = m->reconciler;
    (void)err;
    r->page_failed |= rc != HL_OK;
    if (rc == HL_OK && req->was == QUEUE_NEW)
        meter_inc(M_REPUBLISHED, 0, 0);
    r->moves--;
    event_release(&m->ev);
    free(m);
    page_done(r);
}

static void publish(struct reconciler *r, const PGresult *rows, int row)
{
    struct move *m = mem_new(struct move);
    m->reconciler = r;
    if (!store_event(rows, row, &m->ev)) {
        free(m);
        return;
    }
    m->req = (struct queue_req){.ev = &m->ev, .done = moved, .ctx = m};
    r->moves++;
    r->published++;
    queue_do(r->conf.queue, QUEUE_PUBLISH, &m->req);
}

static void page_answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    r->page_full = store_went(rows, PAGE, &r->place_after);
    r->page_failed = false;
    for (int i = 0; i < PQntuples(rows); i++)
        publish(r, rows, i);
    r->page_read = true;
    page_done(r);
}

static void read_page(struct reconciler *r, struct store_place *place)
{
    bool soon = place == &r->walk && r->walking;
    r->place = place;
    r->page_read = false;
    store_unpublished(
        r->conf.store, place, soon ? LOST_GRACE_MS : GRACE_MS, PAGE, page_answered, r);
}

/* --- the walk ---------------------------------------------------------------------------- */

static void rebuilt(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    if (!r->announced)
        store_announced(r->conf.store, NULL, NULL);
    look_ends(r, r->walk_next != NULL);
}

static void walk_ends(struct reconciler *r)
{
    bool told = r->told;
    if (r->walking)
        log_info("rows_reconciled", LOG_S("because", r->walking), LOG_I("rows", r->published));
    r->walking = NULL;
    r->walk = (struct store_place){0};
    r->published = 0;
    r->told = false;
    if (told)
        queue_remember(r->conf.queue, r->generation, rebuilt, r);
    else
        look_ends(r, r->walk_next != NULL);
}

/* A page was read, and its jobs were published. If not, the next look reads it again. */
static void page_done(struct reconciler *r)
{
    if (!r->page_read || r->moves)
        return;
    r->page_read = false;
    if (r->page_failed) {
        look_ends(r, false);
        return;
    }
    r->complained = false;
    *r->place = r->place_after;
    if (r->page_full)
        look_ends(r, r->walking || r->walk_next || r->place == &r->recent);
    else if (r->place == &r->recent)
        read_page(r, &r->walk);
    else
        walk_ends(r);
}

/* Where the looks at what is new begin. What is older the walk finds that comes with the office. */
static void recent_known(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    store_went(rows, 0, &r->recent);
    r->has_recent = true;
    read_page(r, &r->walk);
}

static void read_rows(struct reconciler *r)
{
    static const struct store_place first;
    begin_walk(r);
    if (r->has_recent)
        read_page(r, &r->recent);
    else
        store_unpublished(r->conf.store, &first, GRACE_MS, 0, recent_known, r);
}

/* --- what Redis knows -------------------------------------------------------------------- */

static void told_rebuilding(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    r->told = true;
    read_rows(r);
}

/* From the oldest row on, whatever was walked so far: it is gone again. */
static void rebuild(struct reconciler *r, const char *found)
{
    char mark[GENERATION_LEN];
    if (r->announced || r->told)
        log_error("redis_amnesia", LOG_S("found", found), LOG_S("generation", r->generation),
            LOG_S("remedy", "none needed: all rows that wait are published again"));
    else
        log_info("redis_is_new", LOG_S("generation", r->generation));
    r->walking = r->announced ? "redis lost its data" : "redis is new";
    r->walk_next = NULL;
    r->walk = (struct store_place){0};
    r->published = 0;
    snprintf(mark, sizeof(mark), REBUILDING "%s %s", r->name, r->generation);
    queue_remember(r->conf.queue, mark, told_rebuilding, r);
}

static bool our_mark(const struct reconciler *r, const char *generation)
{
    size_t head = strlen(REBUILDING);
    return r->told && strncmp(generation, REBUILDING, head) == 0 &&
           strncmp(generation + head, r->name, strlen(r->name)) == 0;
}

/* Who is in office looks for all. Only what we alone know of is a reason to walk. */
static void stand_by(struct reconciler *r)
{
    if (r->told)
        r->walking = NULL;
    r->in_office = r->has_recent = r->told = r->reconnected = false;
    begin_walk(r);
    if (r->walking)
        read_page(r, &r->walk);
    else
        look_ends(r, false);
}

static void attended(
    enum hl_rc rc, const struct queue_census *census, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    if (!census->in_office) {
        stand_by(r);
        return;
    }
    if (!r->in_office)
        reconciler_walk(r, "took office");
    else if (r->reconnected)
        reconciler_walk(r, "redis was away");
    r->in_office = true;
    r->reconnected = false;
    if (census->group_created && strcmp(census->generation, r->generation) == 0) {
        log_error("redis_amnesia", LOG_S("found", "no consumer group"),
            LOG_S("generation", r->generation), LOG_S("remedy", "none needed: it was made again"));
        reconciler_walk(r, "the group was gone");
    }
    if (strcmp(census->generation, r->generation) == 0 || our_mark(r, census->generation))
        read_rows(r);
    else
        rebuild(r, *census->generation ? census->generation : "nothing");
}

/* A restarted or another server may lack what the old one had accepted last, though it knows the
 * generation. */
static void compare_server(struct reconciler *r)
{
    const struct redis_info *info = redis_info(r->conf.redis);
    if (r->run_id[0] && (strcmp(r->run_id, info->run_id) != 0 ||
                            strcmp(r->replication_id, info->replication_id) != 0)) {
        log_warn("redis_restarted", LOG_S("run_id", info->run_id),
            LOG_S("replication_id", info->replication_id));
    }
    snprintf(r->run_id, sizeof(r->run_id), "%s", info->run_id);
    snprintf(r->replication_id, sizeof(r->replication_id), "%s", info->replication_id);
}

static void redis_state(struct redis *redis, bool up, void *ctx)
{
    struct reconciler *r = ctx;
    (void)redis;
    if (!up)
        return;
    compare_server(r);
    r->reconnected = true;
    if (r->running && !r->looking)
        timer_start(&r->next, 0);
}

/* --- a look ------------------------------------------------------------------------------ */

static void generation_read(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct reconciler *r = ctx;
    if (gave_up(r, rc, err))
        return;
    if (!PQntuples(rows)) {
        look_ends(r, false);
        return;
    }
    snprintf(r->generation, sizeof(r->generation), "%s", db_text(rows, 0, 0));
    r->announced = db_text(rows, 0, 1)[0] == 't';
    queue_attend(r->conf.queue, r->name, OFFICE_LOOKS * r->conf.every_ms, attended, r);
}

static void look(void *ctx)
{
    struct reconciler *r = ctx;
    if (r->looking)
        return;
    if (!redis_up(r->conf.redis)) { /* redis_state goes on */
        look_ends(r, false);
        return;
    }
    r->looking = true;
    store_generation(r->conf.store, generation_read, r);
}

/* --- life -------------------------------------------------------------------------------- */

struct reconciler *reconciler_new(const struct reconciler_conf *conf)
{
    struct reconciler *r = mem_new(struct reconciler);
    struct uuid name = uuid_v4();
    r->conf = *conf;
    uuid_format(&name, r->name);
    timer_init(conf->loop, &r->next, look, r);
    redis_on_state(conf->redis, redis_state, r);
    return r;
}

void reconciler_free(struct reconciler *r)
{
    free(r);
}

void reconciler_start(struct reconciler *r)
{
    r->running = true;
    timer_start(&r->next, 0);
}

void reconciler_stop(struct reconciler *r)
{
    r->running = false;
    timer_stop(&r->next);
}

bool reconciler_busy(const struct reconciler *r)
{
    return r->looking;
}
