/* audit: see audit.h. */
#include "domain/audit.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 1024, MAX_SEEN = 255 };

/* --- words ------------------------------------------------------------------------------- */

static const char *const row_words[AUDIT_NROWS] = {
#define X(name, word) [AUDIT_ROW_##name] = (word),
    AUDIT_ROWS(X)
#undef X
};

enum audit_row audit_row_of(const char *word)
{
    for (int i = 0; i < AUDIT_NROWS; i++)
        if (strcmp(row_words[i], word) == 0)
            return (enum audit_row)i;
    return AUDIT_ROW_FINISHED;
}

static const struct audit_verdict_info verdicts[AUDIT_NVERDICTS] = {
#define X(name, word, class, about) [AUDIT_##name##_] = {word, about, class},
    AUDIT_VERDICTS(X)
#undef X
};

const struct audit_verdict_info *audit_verdict_info(enum audit_verdict v)
{
    return &verdicts[v];
}

/* --- judging ----------------------------------------------------------------------------- */

/* Where an event is besides its row. HALF: of what `later` keeps, the id or the job only: no worker
 * will ever be given it. */
enum place { NOWHERE, DEAD, HALF, REDIS, SPOOL, BOTH, NPLACES };

static bool job_in_later(const struct audit_fact *f)
{
    return (f->flags & AUDIT_LATER) && (f->flags & AUDIT_LATER_JOB);
}

static int jobs_in_redis(const struct audit_fact *f)
{
    return f->waiting + f->delivered + job_in_later(f);
}

static enum place place_of(const struct audit_fact *f)
{
    bool redis = jobs_in_redis(f) > 0, spool = f->flags & AUDIT_SPOOL;
    if (spool)
        return redis ? BOTH : SPOOL;
    if (redis)
        return REDIS;
    if (f->flags & (AUDIT_LATER | AUDIT_LATER_JOB))
        return HALF;
    return f->flags & AUDIT_DEAD ? DEAD : NOWHERE;
}

/* What a row and a place mean together. OF_ROW: what the row says. */
#define V(name) AUDIT_##name##_
enum { OF_ROW = AUDIT_NVERDICTS };

/* clang-format off */
static const uint8_t unfinished[AUDIT_ROW_ALONE + 1][NPLACES] = {
    [AUDIT_ROW_NONE] = {
        [NOWHERE] = V(MISSING), [DEAD] = V(BURIED), [HALF] = V(STUCK),
        [REDIS] = V(REDIS_ONLY), [SPOOL] = V(SPOOL_ONLY), [BOTH] = V(SPOOL_ONLY)},
    [AUDIT_ROW_QUEUED] = {
        [NOWHERE] = V(UNPUBLISHED), [DEAD] = V(UNPUBLISHED), [HALF] = V(UNPUBLISHED),
        [REDIS] = V(QUEUED), [SPOOL] = V(LEAVING), [BOTH] = V(LEAVING)},
    [AUDIT_ROW_HELD] = {
        [NOWHERE] = V(IN_PROGRESS), [DEAD] = V(IN_PROGRESS), [HALF] = V(IN_PROGRESS),
        [REDIS] = V(IN_PROGRESS), [SPOOL] = V(LEAVING), [BOTH] = V(LEAVING)},
    [AUDIT_ROW_ALONE] = {
        [NOWHERE] = V(STUCK), [DEAD] = V(STUCK), [HALF] = V(STUCK),
        [REDIS] = V(STUCK), [SPOOL] = V(STUCK), [BOTH] = V(STUCK)},
};
static const uint8_t finished[NPLACES] = {
    [NOWHERE] = OF_ROW, [DEAD] = OF_ROW, [HALF] = V(LEAVING),
    [REDIS] = V(LEAVING), [SPOOL] = V(LEAVING), [BOTH] = V(LEAVING),
};
static const enum audit_verdict ends[AUDIT_NROWS] = {
    [AUDIT_ROW_COMPLETED] = V(COMPLETED), [AUDIT_ROW_SUPERSEDED] = V(SUPERSEDED),
    [AUDIT_ROW_FAILED] = V(FAILED), [AUDIT_ROW_FINISHED] = V(FINISHED),
};
/* clang-format on */

enum audit_verdict audit_judge(const struct audit_fact *f, const struct audit_mode *mode)
{
    enum place place = place_of(f);
    unsigned v = f->row > AUDIT_ROW_ALONE ? finished[place] : unfinished[f->row][place];

    if (jobs_in_redis(f) > 1 && f->row != AUDIT_ROW_ALONE)
        return V(DOUBLED);
    if (v == OF_ROW)
        return ends[f->row];
    if (v == V(LEAVING) && mode->settled && !((f->flags & AUDIT_SPOOL) && mode->forwarding))
        return V(TWO_PLACES);
    if (v == V(MISSING) && mode->elsewhere)
        return V(ELSEWHERE);
    return (enum audit_verdict)v;
}

/* --- telling ----------------------------------------------------------------------------- */

static void add_place(struct buf *out, size_t start, bool there, const char *what, int times)
{
    if (!there)
        return;
    if (out->len > start)
        buf_puts(out, ", ");
    buf_puts(out, what);
    if (times > 1)
        buf_printf(out, " %d times", times);
}

void audit_where(const struct audit_fact *f, struct buf *out)
{
    static const char *const rows[AUDIT_NROWS] = {
        [AUDIT_ROW_QUEUED] = "row queued",
        [AUDIT_ROW_HELD] = "row in progress",
        [AUDIT_ROW_ALONE] = "row in progress without a living owner",
        [AUDIT_ROW_COMPLETED] = "row completed",
        [AUDIT_ROW_SUPERSEDED] = "row superseded",
        [AUDIT_ROW_FAILED] = "row failed",
        [AUDIT_ROW_FINISHED] = "row of another status",
    };
    size_t start = out->len;
    bool id = f->flags & AUDIT_LATER, job = f->flags & AUDIT_LATER_JOB;

    add_place(out, start, f->row != AUDIT_ROW_NONE, rows[f->row], 1);
    add_place(out, start, f->waiting, "stream (waiting)", f->waiting);
    add_place(out, start, f->delivered, "stream (delivered)", f->delivered);
    add_place(out, start, id && job, "later", 1);
    add_place(out, start, id && !job, "later, without its job", 1);
    add_place(out, start, job && !id, "later:jobs, without its time", 1);
    add_place(out, start, f->flags & AUDIT_SPOOL, "spool", 1);
    add_place(out, start, f->flags & AUDIT_MARKER, "marker", 1);
    add_place(out, start, f->flags & AUDIT_DEAD, "dead letter", 1);
    if (out->len == start)
        buf_puts(out, "nowhere");
}

/* --- the set ----------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct audit_fact *fa = a, *fb = b;
    return memcmp(fa->id.b, fb->id.b, sizeof(fa->id.b));
}

static uint8_t sum(uint8_t a, uint8_t b)
{
    return a + b > MAX_SEEN ? MAX_SEEN : (uint8_t)(a + b);
}

static void combine(struct audit_fact *f, const struct audit_fact *more)
{
    f->row = f->row > more->row ? f->row : more->row;
    f->waiting = sum(f->waiting, more->waiting);
    f->delivered = sum(f->delivered, more->delivered);
    f->flags |= more->flags;
}

void audit_merge(struct audit_set *s)
{
    size_t kept = 0;
    if (s->merged == s->n)
        return;
    qsort(s->facts, s->n, sizeof(*s->facts), by_id);
    for (size_t i = 1; i < s->n; i++) {
        if (by_id(&s->facts[kept], &s->facts[i]) == 0)
            combine(&s->facts[kept], &s->facts[i]);
        else
            s->facts[++kept] = s->facts[i];
    }
    s->n = s->merged = kept + 1;
}

struct audit_fact *audit_find(struct audit_set *s, const struct uuid *id)
{
    const struct audit_fact wanted = {.id = *id};
    if (!s->merged)
        return NULL;
    return bsearch(&wanted, s->facts, s->merged, sizeof(*s->facts), by_id);
}

/* An event is seen in several places; room grows with the events, not with the sightings. */
static void make_room(struct audit_set *s)
{
    audit_merge(s);
    if (s->n >= s->room / 2) {
        s->room = s->room ? s->room * 2 : FIRST_ROOM;
        if (s->room > SIZE_MAX / sizeof(*s->facts))
            abort();
        s->facts = mem_grow(s->facts, s->room * sizeof(*s->facts));
    }
}

void audit_see(struct audit_set *s, const struct audit_fact *seen)
{
    if (s->closed) {
        struct audit_fact *f = audit_find(s, &seen->id);
        if (f)
            combine(f, seen);
        return;
    }
    if (s->n == s->room)
        make_room(s);
    s->facts[s->n++] = *seen;
}

void audit_set_release(struct audit_set *s)
{
    free(s->facts);
    *s = (struct audit_set){0};
}
