/* redrive_apply: see redrive_apply.h. Owns the pace and the progress of a redrive. */
#include "worker/ctl/redrive_apply.h"

#include "base/clock.h"
#include "base/mem.h"
#include "domain/store_failed.h"
#include "worker/ctl/dead_retry.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/putback.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LETTERS_AT_ONCE = 10000 };
enum { AT_ONCE = 500, LOOK_MS = 1000, SHORTEST_MS = 50, SAY_MS = 5000, SAY_TERMINAL_MS = 200 };

static volatile sig_atomic_t interrupted;

static void interrupt(int signo)
{
    (void)signo;
    interrupted = 1;
}

static void watch_signals(struct sigaction old[2])
{
    const struct sigaction sa = {.sa_handler = interrupt}; /* no SA_RESTART: the loop comes round */
    interrupted = 0;
    sigaction(SIGINT, &sa, &old[0]);
    sigaction(SIGTERM, &sa, &old[1]);
}

static void leave_signals(const struct sigaction old[2])
{
    sigaction(SIGINT, &old[0], NULL);
    sigaction(SIGTERM, &old[1], NULL);
}

/* --- progress ---------------------------------------------------------------------------- */

struct run {
    struct redrive_apply *a;
    int64_t started_at, said_at;
    int64_t after; /* number of the last event that was taken */
    bool again;    /* the plan is walked once more: somebody else may have let go of some */

    char **ids; /* of events that were put back, whose letters are not looked for yet */
    size_t nids;
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

/* --- the letters of what was put back ------------------------------------------------------ */

/* Only tidying: without Redis they stay, and whoever looks at them sees that their rows are queued. */
static void drop_letters(struct run *r)
{
    if (r->nids && !r->a->missed)
        dead_drop_letters(r->a->session, (const char **)r->ids, r->nids);
    while (r->nids)
        free(r->ids[--r->nids]);
}

static void note_id(struct run *r, const char *id)
{
    if (!*id)
        return;
    if (r->nids == LETTERS_AT_ONCE)
        drop_letters(r);
    r->ids[r->nids++] = mem_strdup(id);
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
            note_id(r, db_text(rows, i, 0));
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
        a->missed += putback_publish(a->session, answer.rows);
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
        if (!over && interrupted) {
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
    struct sigaction old[2];
    const int64_t now = clock_mono_ms();
    struct run r = {.a = a, .started_at = now, .said_at = now};
    a->end = REDRIVE_ALL_DONE;
    r.ids = mem_array(LETTERS_AT_ONCE, sizeof(*r.ids));
    watch_signals(old);
    int code = all_batches(&r);
    leave_signals(old);
    say_no_more(&r);
    drop_letters(&r);
    free(r.ids);
    return code;
}
