/* bench_wait: see bench_wait.h. */
#include "worker/ctl/bench_wait.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pgarray.h"
#include "domain/store_timing.h"

enum { BATCH = 1000, PAUSE_MS = 200, TELL_MS = 1000 };

/* --- the clock --------------------------------------------------------------------------- */

static int look_at_clock(struct session *s, struct clock_look *look)
{
    struct answer a = {.session = s};
    look->before = clock_wall_us();
    store_clock(s->store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    look->after = clock_wall_us();
    look->there = code == CTL_OK ? db_int(a.rows, 0, 0) : 0;
    answer_release(&a);
    return code;
}

int bench_wait_clock(struct session *s, struct bench_wait *w)
{
    struct clock_look looks[EXAM_TIMES];
    int code = look_at_clock(s, &looks[0]); /* opens the connection */
    for (int i = 0; i < EXAM_TIMES && code == CTL_OK; i++)
        code = look_at_clock(s, &looks[i]);
    if (code == CTL_OK)
        w->skew = skew_of(looks, EXAM_TIMES);
    return code;
}

/* --- the events -------------------------------------------------------------------------- */

static void count(struct bench_wait *w, const struct bench_plan *plan,
    const struct bench_load *load, int64_t n, const char *status, int64_t finished_us)
{
    int64_t due = load->start_us + pace_due_us(&plan->pace, n);
    if (strcmp(status, "completed") == 0) {
        w->completed++;
        histogram_add(&w->completed_us, finished_us - w->skew.ahead - due);
    } else if (strcmp(status, "superseded") == 0) {
        w->superseded++;
    } else {
        w->failed++;
    }
}

static void put_ids(const struct bench_kept *kept, size_t n, struct buf *ids)
{
    char text[UUID_STRLEN + 1];
    pgarray_begin(ids);
    for (size_t i = 0; i < n; i++) {
        uuid_format(&kept[i].id, text);
        pgarray_text(ids, text);
    }
    pgarray_end(ids);
}

/* Takes those that are at an end out of n of them: the rest moves to the front. How many are left. */
static size_t take_finished(struct bench_wait *w, const struct bench_plan *plan,
    const struct bench_load *load, struct bench_kept *kept, size_t n, const PGresult *rows)
{
    bool gone[BATCH] = {false};
    size_t left = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        int64_t at = db_int(rows, i, 0) - 1;
        count(w, plan, load, kept[at].n, PQgetvalue(rows, i, 1), db_int(rows, i, 2));
        gone[at] = true;
    }
    for (size_t i = 0; i < n; i++)
        if (!gone[i])
            kept[left++] = kept[i];
    return left;
}

/* Asks of all that are left, once. What could not be asked stays. */
static int look(
    struct session *s, struct bench_wait *w, const struct bench_plan *plan, struct bench_load *load)
{
    struct buf ids = {0};
    size_t left = 0, from = 0;
    int code = CTL_OK;
    while (from < load->n_kept && code == CTL_OK) {
        struct bench_kept *kept = load->kept + from;
        size_t n = load->n_kept - from < BATCH ? load->n_kept - from : BATCH;
        struct answer a = {.session = s};
        from += n;
        put_ids(kept, n, &ids);
        store_finished(s->store, buf_str(&ids), answer_keep, answer_asked(&a));
        code = answer_wait(&a);
        if (code == CTL_OK)
            n = take_finished(w, plan, load, kept, n, a.rows);
        memmove(load->kept + left, kept, n * sizeof(*kept));
        left += n;
        answer_release(&a);
    }
    memmove(load->kept + left, load->kept + from, (load->n_kept - from) * sizeof(*load->kept));
    load->n_kept -= from - left;
    buf_release(&ids);
    return code;
}

static void on_signal(void *ctx)
{
    struct bench_wait *w = ctx;
    w->broken_off = true;
}

int bench_wait_run(struct session *s, struct bench_wait *w, const struct bench_plan *plan,
    struct bench_load *load, int64_t timeout_ms)
{
    int64_t end = clock_mono_ms() + timeout_ms, told = clock_mono_ms();
    struct sigwatch ends[2] = {0};
    int code;
    w->broken_off = load->broken_off; /* then one look is enough */
    sigwatch_start(s->loop, &ends[0], SIGINT, on_signal, w);
    sigwatch_start(s->loop, &ends[1], SIGTERM, on_signal, w);
    while ((code = look(s, w, plan, load)) == CTL_OK && load->n_kept > 0 && !w->broken_off &&
           clock_mono_ms() < end) {
        if (plan->progress && clock_mono_ms() - told >= TELL_MS) {
            told = clock_mono_ms();
            fprintf(stderr, "waiting for %zu events to be completed\n", load->n_kept);
        }
        session_pause(s, PAUSE_MS);
    }
    w->unfinished = (int64_t)load->n_kept;
    w->broken_off |= code != CTL_OK;
    sigwatch_stop(&ends[0]);
    sigwatch_stop(&ends[1]);
    return code;
}
