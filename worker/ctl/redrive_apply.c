/* redrive_apply: see redrive_apply.h. Owns the progress of a redrive. */
#include "worker/ctl/redrive_apply.h"

#include "base/clock.h"
#include "domain/redrive.h"
#include "worker/ctl/dead_sweep.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <unistd.h>

enum { SAY_MS = 5000, SAY_TERMINAL_MS = 200 };

/* --- progress ---------------------------------------------------------------------------- */

struct run {
    struct redrive_apply *a;
    int64_t said_at;
    struct redrive_walk walk;
    struct dead_sweep sweep;
};

static void put_progress(const struct run *r, struct buf *b)
{
    const struct redrive_apply *a = r->a;
    int64_t done = a->queued + a->changed, left = a->left > done ? a->left - done : 0,
            all = done + left;
    buf_printf(b, "redrive %s: %lld of %lld", a->token, (long long)done, (long long)all);
    if (a->changed)
        buf_printf(b, ", %lld left alone", (long long)a->changed);
    if (left) {
        buf_puts(b, ", about ");
        put_duration(b, (int64_t)((double)left / a->per_second * 1000));
        buf_puts(b, " left");
    }
}

static void say(struct run *r)
{
    bool terminal = isatty(STDERR_FILENO);
    int64_t now = clock_mono_ms();
    struct buf b = {0};
    if (!r->a->progress || now - r->said_at < (terminal ? SAY_TERMINAL_MS : SAY_MS))
        return;
    r->said_at = now;
    put_progress(r, &b);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", buf_str(&b));
    buf_release(&b);
}

static void say_no_more(const struct run *r)
{
    if (r->a->progress && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

/* --- batch by batch ---------------------------------------------------------------------- */

/* What a batch did; the number of its events. */
static int take(struct run *r, const PGresult *rows)
{
    int n = redrive_walk_take(&r->walk, rows);
    r->a->queued = r->walk.queued;
    r->a->changed = r->walk.changed;
    for (int i = 0; i < PQntuples(rows); i++)
        if (*db_text(rows, i, AGAIN_DONE) == 't')
            dead_sweep_note(&r->sweep, db_text(rows, i, 0));
    return n;
}

/* One batch of at most max, in *n how many it was; *over: that was the end of it. */
static int batch(struct run *r, int max, int *n, bool *over)
{
    struct redrive_apply *a = r->a;
    struct answer answer = {.session = a->session};
    store_redrive_apply(a->session->store, a->token, r->walk.after, max, a->jitter_ms, answer_keep,
        answer_asked(&answer));
    int code = answer_wait(&answer);
    if (code == CTL_OK && PQgetisnull(answer.rows, 0, AGAIN_STATE)) {
        a->end = REDRIVE_WAS_STOPPED;
        *over = true;
    } else if (code == CTL_OK) {
        *n = take(r, answer.rows);
        a->jobs.err = (struct hl_err){0}; /* Redis may be back */
        putback_again(&a->jobs, answer.rows);
    }
    answer_release(&answer);
    return code;
}

static int all_batches(struct run *r)
{
    bool over = false;
    while (!over) {
        int max = redrive_walk_allowed(&r->walk, clock_mono_ms()), n = 0,
            code = batch(r, max, &n, &over);
        if (code != CTL_OK)
            return code;
        if (max && !n && !over)
            over = redrive_walk_over(&r->walk);
        say(r);
        if (!over && interrupted()) {
            r->a->end = REDRIVE_INTERRUPTED;
            over = true;
        } else if (!over && (n == max || !max)) {
            session_pause(r->a->session, redrive_walk_wait_ms(&r->walk));
        }
    }
    return CTL_OK;
}

int redrive_apply(struct redrive_apply *a)
{
    const int64_t now = clock_mono_ms();
    struct run r = {.a = a, .said_at = now};
    redrive_walk_begin(&r.walk, a->per_second, now);
    a->end = REDRIVE_ALL_DONE;
    a->jobs.session = a->session;
    dead_sweep_begin(&r.sweep, a->session);
    int code = all_batches(&r);
    say_no_more(&r);
    dead_sweep_end(&r.sweep);
    return code;
}
