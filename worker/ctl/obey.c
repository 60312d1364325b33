/* obey: see obey.h. */
#include "worker/ctl/obey.h"

#include "base/clock.h"
#include "base/json.h"
#include "domain/store_orders.h"

#include <string.h>

enum { LOOK_MS = 100, NAMED = 20 };

/* What of the rows of a kind of process is read here. */
struct kind {
    void (*ask)(struct store *s, store_cb *cb, void *ctx);
    int id, silent_ms;
    int state; /* "alive" are those that count; -1: all of them */
    int jobs, crawls;
};
static const struct kind workers = {.ask = store_fleet,
    .id = FLEET_ID,
    .silent_ms = FLEET_SILENT_MS,
    .state = FLEET_STATE,
    .jobs = FLEET_JOBS,
    .crawls = FLEET_CRAWLS};
static const struct kind producers = {.ask = store_producers,
    .id = PRODUCER_ID,
    .silent_ms = PRODUCER_SILENT_MS,
    .state = -1,
    .jobs = -1};

struct wait {
    const struct kind *kind;
    int64_t silent_ms;
    obey_fn *has_noted;
    void *ctx;
};

static void name(struct buf *b, int n, const char *id)
{
    if (n < NAMED)
        buf_printf(b, "%s%s", n ? ", " : "", id);
}

static void name_rest(struct buf *b, int n)
{
    if (n > NAMED)
        buf_printf(b, " and %d more", n - NAMED);
}

static void count(const struct wait *w, const PGresult *rows, struct obeyed *out)
{
    const struct kind *k = w->kind;
    int late = 0, silent = 0;
    obeyed_release(out);
    for (int i = 0; i < PQntuples(rows); i++) {
        if (k->state >= 0 && strcmp(db_text(rows, i, k->state), "alive") != 0)
            continue;
        enum obey noted = w->has_noted(rows, i, w->ctx);
        if (noted == OBEY_NOT_CONCERNED)
            continue;
        out->processes++;
        out->noted += noted == OBEY_NOTED;
        if (k->jobs >= 0)
            out->jobs += db_int(rows, i, k->jobs) + db_int(rows, i, k->crawls);
        if (noted == OBEY_NOTED)
            continue;
        if (db_int(rows, i, k->silent_ms) > w->silent_ms)
            name(&out->silent, silent++, db_text(rows, i, k->id));
        else
            name(&out->late, late++, db_text(rows, i, k->id));
    }
    name_rest(&out->late, late);
    name_rest(&out->silent, silent);
}

static int look(struct session *s, const struct wait *w, struct obeyed *out)
{
    struct answer a = {.session = s};
    w->kind->ask(s->store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        count(w, a.rows, out);
    answer_release(&a);
    return code;
}

static int wait_for(struct session *s, const struct wait *w, int64_t timeout_ms, struct obeyed *out)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    for (;;) {
        int code = look(s, w, out);
        if (code != CTL_OK || !out->late.len)
            return code;
        if (clock_mono_ms() >= end)
            return CTL_TIMEOUT;
        session_pause(s, LOOK_MS);
    }
}

int obey_workers(struct session *s, int64_t timeout_ms, int64_t silent_ms, obey_fn *has_noted,
    void *ctx, struct obeyed *out)
{
    return wait_for(s, &(struct wait){&workers, silent_ms, has_noted, ctx}, timeout_ms, out);
}

int obey_producers(struct session *s, int64_t timeout_ms, int64_t silent_ms, obey_fn *has_noted,
    void *ctx, struct obeyed *out)
{
    return wait_for(s, &(struct wait){&producers, silent_ms, has_noted, ctx}, timeout_ms, out);
}

void obeyed_put(struct buf *json, const char *key, const struct obeyed *o)
{
    json_put_key(json, key);
    buf_putc(json, '{');
    json_put_int(json, "processes", o->processes);
    json_put_int(json, "noted", o->noted);
    json_put_text(json, "late", o->late.len ? buf_str(&o->late) : NULL);
    json_put_text(json, "silent", o->silent.len ? buf_str(&o->silent) : NULL);
    buf_putc(json, '}');
}

void obeyed_release(struct obeyed *o)
{
    buf_release(&o->late);
    buf_release(&o->silent);
    *o = (struct obeyed){0};
}
