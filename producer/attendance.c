/* attendance: see attendance.h. One question at a time. */
#include "producer/attendance.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "base/pgarray.h"
#include "domain/store_orders.h"
#include "io/pulse.h"
#include "producer/stores.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_MS = 1000,
    LOOK_SOON_MS = 50, /* while a fence is heard that cannot be noted yet */
    WRITE_MS = 2000,   /* the row, at most so often unless what is noted changes */
    PATIENCE_MS = 1000,
    NEIGHBOURS_MS = 10000,
    STEADY_MS =
        20000, /* PostgreSQL answers for so long: whatever can be adopted is, and has its row */
    SILENT_MS = 60000, /* of a host or container that was started anew since */
};

struct attendance {
    struct stores *stores;
    struct timer look, patience, leave_limit;
    char host[64];
    char *id, *place;
    bool closed[TAKES_NQUEUES]; /* as heard last */
    bool noted[TAKES_NQUEUES];
    bool told[TAKES_NQUEUES]; /* the row may say that it is noted */
    bool has_row, unwritten;  /* the row is there; what is noted is not in it */
    bool busy, writing, stopped, leaving;
    int64_t written_ms, steady_ms, neighbours_ms; /* steady: since when; 0 = not */
    struct buf fenced, status;
    void (*heard)(void *ctx); /* NULL once it was called */
    void *heard_ctx;
    void (*left)(void *ctx);
    void *left_ctx;
};

static const char *const names[TAKES_NQUEUES] = {
    [TAKES_CHANGE] = "change", [TAKES_CRAWL] = "crawl"};

static void has_heard(void *ctx)
{
    struct attendance *a = ctx;
    void (*heard)(void *ctx) = a->heard;
    timer_stop(&a->patience);
    a->heard = NULL;
    if (heard)
        heard(a->heard_ctx);
}

/* --- what is told ------------------------------------------------------------------------ */

/* False: a fence is heard that cannot be noted yet. */
static bool take_note(struct attendance *a)
{
    const struct stores *s = a->stores;
    bool all = true;
    for (int i = 0; i < TAKES_NQUEUES; i++) {
        bool note = a->closed[i] && (a->noted[i] || !s->taking[i]);
        a->unwritten |= note != a->noted[i];
        a->noted[i] = note;
        all = all && note == a->closed[i];
    }
    return all;
}

static const char *fenced(struct attendance *a)
{
    pgarray_begin(&a->fenced);
    for (int i = 0; i < TAKES_NQUEUES; i++)
        if (a->noted[i])
            pgarray_text(&a->fenced, names[i]);
    return pgarray_end(&a->fenced);
}

static void put_pool(struct buf *b, const struct stores *s)
{
    struct dbpool_stats pool;
    dbpool_stats(s->pool, &pool);
    json_put_key(b, "pool");
    buf_printf(b, "{\"open\":%d,\"busy\":%d,\"max\":%lld}", pool.open, pool.busy,
        (long long)s->cfg->db_pool_size + s->cfg->db_max_overflow);
}

static const char *status(struct attendance *a)
{
    const struct stores *s = a->stores;
    struct buf *b = &a->status;
    buf_clear(b);
    buf_putc(b, '{');
    json_put_int(b, "accepted", s->accepted);
    json_put_int(b, "refused", s->refused);
    json_put_int(b, "in_memory", s->taking[TAKES_CHANGE]);
    json_put_int(b, "crawl_in_memory", s->taking[TAKES_CRAWL]);
    json_put_int(b, "spool_bytes", spool_folder_depth(s->spool));
    json_put_int(b, "crawl_spool_bytes", spool_folder_depth(s->crawl_spool));
    put_pool(b, s);
    metrics_put(s->metrics, b);
    json_put_int(b, "rss_kb", pulse_rss() / 1024);
    json_put_text(b, "folder", s->cfg->spool_dir);
    json_put_text(b, "place", a->place);
    buf_putc(b, '}');
    return buf_str(b);
}

/* --- neighbours -------------------------------------------------------------------------- */

/* One that has ended and that nobody has waited for holds nothing any more. */
static bool is_zombie(pid_t pid)
{
    char path[32], stat[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(stat, 1, sizeof(stat) - 1, f);
    fclose(f);
    stat[n] = '\0';
    const char *state = strrchr(stat, ')'); /* a name may have anything in it */
    return state && (strncmp(state, ") Z", 3) == 0 || strncmp(state, ") X", 3) == 0);
}

static bool has_ended(pid_t pid)
{
    return (kill(pid, 0) < 0 && errno == ESRCH) || is_zombie(pid);
}

/* Its pid means something here only when it was given in the same place. */
static bool is_gone(const struct attendance *a, const PGresult *rows, int row)
{
    pid_t pid = (pid_t)db_int(rows, row, NEIGHBOUR_PID);
    if (strcmp(db_text(rows, row, NEIGHBOUR_ID), a->id) == 0 || pid <= 0)
        return false;
    if (strcmp(db_text(rows, row, NEIGHBOUR_PLACE), a->place) != 0)
        return db_int(rows, row, NEIGHBOUR_SILENT_MS) > SILENT_MS;
    return pid == getpid() || has_ended(pid);
}

static void got_neighbours(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct attendance *a = ctx;
    (void)err;
    if (a->stopped || rc != HL_OK)
        return;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (!is_gone(a, rows, i))
            continue;
        const char *id = db_text(rows, i, NEIGHBOUR_ID);
        log_info("producer_forgotten", LOG_S("producer", id));
        store_producer_left(a->stores->store, id, NULL, NULL);
    }
}

static void look_at_neighbours(struct attendance *a, int64_t now)
{
    if (!a->steady_ms)
        a->steady_ms = now;
    if (now - a->steady_ms < STEADY_MS || now - a->neighbours_ms < NEIGHBOURS_MS)
        return;
    a->neighbours_ms = now;
    store_neighbours(a->stores->store, a->host, a->stores->cfg->spool_dir, got_neighbours, a);
    store_forget_producers(a->stores->store, NULL, NULL);
}

/* --- leaving ----------------------------------------------------------------------------- */

static void has_left(void *ctx)
{
    struct attendance *a = ctx;
    attendance_stop(a);
    a->left(a->left_ctx);
}

static void row_gone(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct attendance *a = ctx;
    (void)rc; /* it is a neighbour's to take away, then */
    (void)rows;
    (void)err;
    if (!a->stopped)
        has_left(a);
}

static void hides(const struct spool_segment *g, void *ctx)
{
    bool *hidden = ctx;
    *hidden |= g->bytes && !g->listed;
}

/* On disk, and nobody on another host knows. */
static bool hides_any(const struct attendance *a)
{
    const struct stores *s = a->stores;
    bool hidden = s->spool_rows_behind[TAKES_CHANGE] || s->spool_rows_behind[TAKES_CRAWL];
    spool_each(s->spool, hides, &hidden);
    spool_each(s->crawl_spool, hides, &hidden);
    return hidden;
}

static void take_row_away(struct attendance *a)
{
    if (a->has_row && !hides_any(a))
        store_producer_left(a->stores->store, a->id, row_gone, a);
    else
        timer_start(&a->leave_limit, 0);
}

void attendance_leave(struct attendance *a, void (*done)(void *ctx), void *ctx)
{
    a->left = done;
    a->left_ctx = ctx;
    a->leaving = true;
    timer_stop(&a->look);
    timer_start(&a->leave_limit, PATIENCE_MS);
    if (!a->busy) /* else its answer does: a row must not be written behind its end */
        take_row_away(a);
}

/* --- asking ------------------------------------------------------------------------------ */

/* It opens only when the row does not say any more that it is shut: whoever gives the next order would
 * believe it. Without PostgreSQL it opens all the same. */
static void shut_or_open(struct attendance *a)
{
    struct stores *s = a->stores;
    for (int i = 0; i < TAKES_NQUEUES; i++) {
        bool shut = a->closed[i] || a->told[i];
        if (shut != s->fenced[i])
            log_warn(shut ? "intake_fenced" : "intake_open", LOG_S("queue", names[i]));
        s->fenced[i] = shut;
    }
}

/* What was noted is as it was when the row was written: it changes only between two questions. */
static void obey(struct attendance *a, const PGresult *rows)
{
    log_order(db_text(rows, 0, TAKES_NQUEUES), db_int(rows, 0, TAKES_NQUEUES + 1));
    for (int i = 0; i < TAKES_NQUEUES; i++) {
        a->closed[i] = *db_text(rows, 0, i) == 't';
        if (a->writing)
            a->told[i] = a->noted[i];
    }
    shut_or_open(a);
}

static void failed(struct attendance *a)
{
    a->steady_ms = 0;
    a->unwritten = true;
    for (int i = 0; i < TAKES_NQUEUES; i++)
        a->told[i] &= a->closed[i];
    shut_or_open(a);
    if (a->leaving)
        timer_start(&a->leave_limit, 0);
    else
        timer_start(&a->look, LOOK_MS);
}

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct attendance *a = ctx;
    bool had_row = a->has_row;
    (void)err; /* who waits for the schema says what is wrong with PostgreSQL */
    a->busy = false;
    if (a->stopped)
        return;
    if (rc != HL_OK) {
        failed(a);
        has_heard(a);
        return;
    }
    a->has_row |= a->writing;
    obey(a, rows);
    if (a->leaving) {
        take_row_away(a);
        return;
    }
    if (!had_row) { /* a fence given meanwhile was not heard, and whoever gave it has not seen us */
        timer_start(&a->look, 0);
        return;
    }
    bool all = take_note(a);
    look_at_neighbours(a, clock_mono_ms());
    timer_start(&a->look, a->unwritten || !all ? LOOK_SOON_MS : LOOK_MS);
    has_heard(a);
}

static void look(void *ctx)
{
    struct attendance *a = ctx;
    struct store *store = a->stores->store;
    int64_t now = clock_mono_ms();
    take_note(a);
    a->busy = true;
    a->writing = a->unwritten || now - a->written_ms >= WRITE_MS;
    if (!a->writing) {
        store_fences(store, answered, a);
        return;
    }
    a->unwritten = false;
    a->written_ms = now;
    for (int i = 0; i < TAKES_NQUEUES; i++)
        a->told[i] |= a->noted[i];
    const struct store_producer row = {
        .id = a->id, .host = a->host, .pid = getpid(), .fenced = fenced(a), .status = status(a)};
    store_attend(store, &row, answered, a);
}

/* --- life -------------------------------------------------------------------------------- */

/* Where our pid is one: the machine since its start, and the namespace. */
static char *name_place(void)
{
    char boot[40] = "", space[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f) {
        if (!fgets(boot, sizeof(boot), f))
            boot[0] = '\0';
        fclose(f);
    }
    boot[strcspn(boot, "\n")] = '\0';
    if (readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0)
        space[0] = '\0';
    return mem_printf("%s %s", boot, space);
}

struct attendance *attendance_new(struct stores *s, void (*heard)(void *ctx), void *ctx)
{
    struct attendance *a = mem_new(struct attendance);
    a->stores = s;
    a->heard = heard;
    a->heard_ctx = ctx;
    a->unwritten = true;
    gethostname(a->host, sizeof(a->host) - 1);
    a->id = mem_printf("%s-%d-%08x", a->host, (int)getpid(), arc4random());
    a->place = name_place();
    timer_init(s->loop, &a->look, look, a);
    timer_init(s->loop, &a->patience, has_heard, a);
    timer_init(s->loop, &a->leave_limit, has_left, a);
    timer_start(&a->look, 0);
    timer_start(&a->patience, PATIENCE_MS);
    return a;
}

void attendance_stop(struct attendance *a)
{
    if (!a)
        return;
    a->stopped = true;
    timer_stop(&a->look);
    timer_stop(&a->patience);
    timer_stop(&a->leave_limit);
}

void attendance_free(struct attendance *a)
{
    if (!a)
        return;
    buf_release(&a->fenced);
    buf_release(&a->status);
    free(a->id);
    free(a->place);
    free(a);
}
