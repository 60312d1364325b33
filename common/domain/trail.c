/* trail: see trail.h. */
#include "domain/trail.h"

#include "base/mem.h"
#include "base/text.h"
#include "domain/queue_dead.h"

#include <stdlib.h>
#include <string.h>

#define TOMBSTONE_MS INT64_C(86400000) /* PROTOCOL.md, "Redis": for which `done` is remembered */
#define HOUR_MS      INT64_C(3600000)

/* --- moments ----------------------------------------------------------------------------- */

static void add(struct trail *t, const char *const cells[TRAIL_CELLS])
{
    t->moments = mem_grow(t->moments, (t->n + 1) * sizeof(*t->moments));
    struct trail_moment *m = &t->moments[t->n];
    m->n = t->n++;
    m->at = cells[TRACE_AT] ? atoll(cells[TRACE_AT]) : INT64_MAX;
    for (int k = 0; k < TRAIL_CELLS; k++)
        m->cells[k] = text_utf8_copy(cells[k]);
}

void trail_note(struct trail *t, int64_t at_us, const char *place, const char *what, const char *by,
    char *detail)
{
    char *at = at_us ? mem_printf("%lld", (long long)at_us) : NULL;
    const char *cells[TRAIL_CELLS] = {
        [TRACE_AT] = at, [TRACE_PLACE] = place, [TRACE_WHAT] = what, [TRACE_BY] = by};
    cells[TRACE_DETAIL] = detail;
    add(t, cells);
    free(at);
    free(detail);
}

void trail_hole(struct trail *t, const char *what, const struct hl_err *err)
{
    t->holes = mem_grow(t->holes, (t->nholes + 1) * sizeof(*t->holes));
    char *text = mem_printf("%s: %s", what, err->msg);
    t->holes[t->nholes++] = text_utf8_copy(text);
    free(text);
}

static int earlier(const void *a, const void *b)
{
    const struct trail_moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->n < y->n ? -1 : 1;
}

void trail_sort(struct trail *t)
{
    if (t->n)
        qsort(t->moments, t->n, sizeof(*t->moments), earlier);
}

void trail_release(struct trail *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < TRAIL_CELLS; k++)
            free(t->moments[i].cells[k]);
    for (size_t i = 0; i < t->nholes; i++)
        free(t->holes[i]);
    free(t->moments);
    free(t->holes);
    *t = (struct trail){0};
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

void trail_rows(struct trail *t, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        const char *cells[TRAIL_CELLS];
        for (int k = 0; k < TRAIL_CELLS; k++)
            cells[k] = PQgetisnull(rows, row, k) ? NULL : PQgetvalue(rows, row, k);
        add(t, cells);
    }
}

/* --- Redis ------------------------------------------------------------------------------- */

int64_t trail_letters_since(int64_t created_us)
{
    int64_t ms = created_us / 1000;
    return ms > HOUR_MS ? ms - HOUR_MS : 0;
}

static void tell_stream(struct trail *to, const struct queue_traced *t)
{
    trail_note(to, queue_letter_us(t->entry), "redis", "on the stream", NULL,
        mem_printf("entry %s%s", t->entry, *t->consumer ? "" : ", not delivered yet"));
    if (*t->consumer)
        trail_note(to, (t->now - t->idle_ms) * 1000, "redis", "delivered", t->consumer,
            mem_printf("not acknowledged; delivered %lld time%s", (long long)t->deliveries,
                t->deliveries == 1 ? "" : "s"));
}

static void tell_marker(struct trail *to, const struct queue_traced *t)
{
    if (strncmp(t->marker, "done ", strlen("done ")) == 0)
        trail_note(to, (t->now - TOMBSTONE_MS + t->marker_ttl) * 1000, "redis", "acknowledged",
            NULL, mem_strdup("the job is done, and remembered for a day"));
    else if (*t->marker && !*t->entry && !t->later)
        trail_note(to, 0, "redis", "marker", NULL,
            mem_printf("says '%s', and nothing is there: what publishes it next puts it right",
                t->marker));
}

/* Whether it told anything. */
static bool tell_queue(struct trail *to, const struct queue_traced *t)
{
    size_t before = to->n;
    if (*t->entry)
        tell_stream(to, t);
    if (t->later)
        trail_note(to, t->due * 1000, "redis", "due in later", NULL,
            t->later_job ? NULL : mem_strdup("its job is missing there"));
    tell_marker(to, t);
    for (size_t i = 0; i < t->nletters; i++)
        trail_note(to, queue_letter_us(t->letters[i].entry), "redis", "dead letter", NULL,
            mem_printf("%s (%s)", t->letters[i].reason, t->letters[i].entry));
    return to->n > before;
}

static bool is_under_way(const char *status)
{
    return strcmp(status, "queued") == 0 || strcmp(status, "in_progress") == 0;
}

void trail_redis(
    struct trail *t, const struct trail_queue queues[TRAIL_NQUEUES], const char *status)
{
    bool known = true, any = false;
    for (int i = 0; i < TRAIL_NQUEUES; i++) {
        known &= queues[i].known;
        if (queues[i].known)
            any |= tell_queue(t, &queues[i].found);
    }
    if (!known)
        trail_hole(t, "Redis", &queues[queues[0].known ? 1 : 0].err);
    else if (!any && status && is_under_way(status))
        trail_note(t, 0, "redis", "no job", NULL, mem_strdup("a janitor publishes it"));
    else if (!any && status)
        trail_note(
            t, 0, "redis", "acknowledged", NULL, mem_strdup("nothing of it is left in Redis"));
}
