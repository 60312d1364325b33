/* redrive_apply: see redrive_apply.h. Owns the pace and the progress of a redrive. */
#include "worker/ctl/redrive_apply.h"

#include "base/clock.h"
#include "domain/store_failed.h"
#include "worker/ctl/dead_sweep.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <unistd.h>

enum { AT_ONCE = 500, LOOK_MS = 1000, SHORTEST_MS = 50, SAY_MS = 5000, SAY_TERMINAL_MS = 200 };

/* --- progress ---------------------------------------------------------------------------- */

struct run {
    struct redrive_apply *a;
    int64_t started_at, said_at;
    int64_t after; /* number of the last event that was taken */
    bool again;    /* the plan is walked once more: somebody else may have let go of some */
    struct dead_sweep sweep;
};

static int64_t taken(const struct redrive_apply *a)
{
    return a->queued + a->changed;
}

static void put_progress(const struct run *r, struct buf *b)
{
    const struct redrive_apply *a = r->a;
    int64_t done = taken(a), left = a->left > done ? a->left - done : 0, all = done + left;
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

/* --- the pace ---------------------------------------------------------------------------- */

/* How many may go now. What could not go in time is not made up for beyond a second's worth. */
static int allowed(struct run *r)
{
    const double rate = r->a->per_second / 1000;
    int64_t now = clock_mono_ms();
    double n = (double)(now - r->started_at) * rate - (double)taken(r->a) + 1;
    double most = r->a->per_second > 1 ? r->a->per_second : 1;
    if (n > most) {
        r->started_at = now - (int64_t)(((double)taken(r->a) + most - 1) / rate);
        n = most;
    }
    return n < 1 ? 0 : n > AT_ONCE ? AT_ONCE : (int)n;
}

/* Until the next one may go; not long, so that a stop is noticed. */
static int64_t wait_ms(const struct run *r)
{
    int64_t ms = (int64_t)(1000 / r->a->per_second);
    return ms > LOOK_MS ? LOOK_MS : ms < SHORTEST_MS ? SHORTEST_MS : ms;
}

/* --- batch by batch ---------------------------------------------------------------------- */

/* Counts what a batch did; the number of its events. */
static int count(struct run *r, const PGresult *rows)
{
    int n = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (PQgetisnull(rows, i, AGAIN_N))
            continue;
        bool done = *db_text(rows, i, AGAIN_DONE) == 't';
        r->a->queued += done;
        r->a->changed += !done;
        r->after = db_int(rows, i, AGAIN_N);
        if (done)
            dead_sweep_note(&r->sweep, db_text(rows, i, 0));
        n++;
    }
    return n;
}

/* One batch of at most max, in *n how many it was; *over: that was the end of it. */
static int batch(struct run *r, int max, int *n, bool *over)
{
    struct redrive_apply *a = r->a;
    struct answer answer = {.session = a->session};
    store_redrive_apply(a->session->store, a->token, r->after, max, a->jitter_ms, answer_keep,
        answer_asked(&answer));
    int code = answer_wait(&answer);
    if (code == CTL_OK && PQgetisnull(answer.rows, 0, AGAIN_STATE)) {
        a->end = REDRIVE_WAS_STOPPED;
        *over = true;
    } else if (code == CTL_OK) {
        *n = count(r, answer.rows);
        a->jobs.err = (struct hl_err){0}; /* Redis may be back */
        putback_again(&a->jobs, answer.rows);
    }
    answer_release(&answer);
    return code;
}

/* Nothing is left, unless another process took some, and was killed: those are let go again. */
static bool at_end(struct run *r)
{
    if (r->again)
        return true;
    r->again = true;
    r->after = 0;
    return false;
}

static int all_batches(struct run *r)
{
    bool over = false;
    while (!over) {
        int max = allowed(r), n = 0, code = batch(r, max, &n, &over);
        if (code != CTL_OK)
            return code;
        if (n)
            r->again = false;
        else if (max && !over)
            over = at_end(r);
        say(r);
        if (!over && interrupted()) {
            r->a->end = REDRIVE_INTERRUPTED;
            over = true;
        } else if (!over && (n == max || !max)) {
            session_pause(r->a->session, wait_ms(r));
        }
    }
    return CTL_OK;
}

int redrive_apply(struct redrive_apply *a)
{
    const int64_t now = clock_mono_ms();
    struct run r = {.a = a, .started_at = now, .said_at = now};
    a->end = REDRIVE_ALL_DONE;
    a->jobs.session = a->session;
    dead_sweep_begin(&r.sweep, a->session);
    int code = all_batches(&r);
    say_no_more(&r);
    dead_sweep_end(&r.sweep);
    return code;
}
