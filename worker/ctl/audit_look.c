/* audit_look: see audit_look.h. Asks one question at a time and waits for its answer. */
#include "worker/ctl/audit_look.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/pgarray.h"
#include "domain/queue_look.h"
#include "io/spool_file.h"
#include "io/spool_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ROW_BATCH = 2000,
    QUEUED_PAGE = 5000,
    MARKER_BATCH = 500,
    MAX_WORK = 1000,
    SILENT_S = 30, /* a producer writes its spool's row every 5 s */
    PROGRESS_AFTER_MS = 2000,
    PROGRESS_EVERY_MS = 200,
};

/* --- questions --------------------------------------------------------------------------- */

static bool fine(const struct audit_look *l)
{
    return l->err.rc == HL_OK;
}

static void note(struct audit_look *l, enum hl_rc rc, const struct hl_err *err)
{
    if (rc != HL_OK && fine(l))
        l->err = *err;
}

static void ask(struct audit_look *l)
{
    session_asked(l->session);
}

static void answered(struct audit_look *l, enum hl_rc rc, const struct hl_err *err)
{
    note(l, rc, err);
    session_answered(l->session);
}

static bool await(struct audit_look *l)
{
    session_wait(l->session);
    return fine(l);
}

static void progress(struct audit_look *l, const char *what, size_t done)
{
    int64_t now = clock_mono_ms();
    if (!l->started_at)
        l->started_at = now;
    if (now - l->started_at < PROGRESS_AFTER_MS || now - l->said_at < PROGRESS_EVERY_MS ||
        !isatty(STDERR_FILENO))
        return;
    l->said_at = now;
    fprintf(stderr, "\r\033[K%s: %zu", what, done);
}

static void progress_end(struct audit_look *l)
{
    if (l->said_at)
        fputs("\r\033[K", stderr);
    l->started_at = l->said_at = 0;
}

static void see(struct audit_look *l, const struct uuid *id, enum audit_row row, unsigned flags)
{
    audit_see(
        l->set, &(struct audit_fact){.id = *id, .row = (uint8_t)row, .flags = (uint8_t)flags});
}

/* --- rows -------------------------------------------------------------------------------- */

static void got_rows(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++) {
        int64_t n = db_int(rows, i, 0);
        struct audit_fact *f = NULL;
        if (n >= 1 && (size_t)n <= l->nasked)
            f = audit_find(l->set, &l->asked[n - 1]);
        if (f)
            f->row = (uint8_t)audit_row_of(db_text(rows, i, 1));
    }
    answered(l, rc, err);
}

static void ask_rows(struct audit_look *l)
{
    struct buf ids = {0};
    char text[UUID_STRLEN + 1];
    pgarray_begin(&ids);
    for (size_t i = 0; i < l->nasked; i++) {
        uuid_format(&l->asked[i], text);
        pgarray_text(&ids, text);
    }
    ask(l);
    store_audit_rows(l->session->store, pgarray_end(&ids), l->lease_ms, got_rows, l);
    await(l);
    buf_release(&ids);
}

/* Asks in batches about the events of the (merged) set that match. */
static bool in_batches(struct audit_look *l, const char *what, size_t batch,
    bool (*match)(const struct audit_fact *), void (*put)(struct audit_look *))
{
    l->asked = mem_array(batch, sizeof(*l->asked));
    l->nasked = 0;
    for (size_t i = 0; fine(l) && i < l->set->n; i++) {
        if (match(&l->set->facts[i]))
            l->asked[l->nasked++] = l->set->facts[i].id;
        if (l->nasked < batch)
            continue;
        put(l);
        l->nasked = 0;
        progress(l, what, i + 1);
    }
    if (fine(l) && l->nasked)
        put(l);
    free(l->asked);
    l->asked = NULL;
    return fine(l);
}

static bool without_row(const struct audit_fact *f)
{
    return f->row == AUDIT_ROW_NONE;
}

static void got_queued(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    struct uuid id;
    l->got = rc == HL_OK ? (size_t)PQntuples(rows) : 0;
    for (int i = 0; i < (int)l->got; i++) {
        l->after = db_int(rows, i, 0);
        if (uuid_parse(db_text(rows, i, 1), &id))
            see(l, &id, AUDIT_ROW_QUEUED, 0);
    }
    answered(l, rc, err);
}

static void got_in_progress(
    enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    struct uuid id;
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++)
        if (uuid_parse(db_text(rows, i, 0), &id))
            see(l, &id, audit_row_of(db_text(rows, i, 1)), 0);
    answered(l, rc, err);
}

/* Rows that are not at an end, receipt or not. */
static bool look_open_rows(struct audit_look *l)
{
    size_t n = 0;
    l->after = 0;
    do {
        ask(l);
        store_audit_queued(l->session->store, l->after, QUEUED_PAGE, got_queued, l);
        await(l);
        progress(l, "queued rows", n += l->got);
    } while (fine(l) && l->got == QUEUED_PAGE);
    if (!fine(l))
        return false;
    ask(l);
    store_audit_in_progress(l->session->store, l->lease_ms, got_in_progress, l);
    return await(l);
}

/* --- Redis ------------------------------------------------------------------------------- */

/* What a closed set sees of jobs is kept, to be checked for doubles. */
static void keep_spot(struct audit_look *l, const struct queue_sight *s)
{
    if (!l->set->closed || !audit_find(l->set, &s->id))
        return;
    if (l->nspots % 64 == 0)
        l->spots = mem_grow(l->spots, (l->nspots + 64) * sizeof(*l->spots));
    struct audit_spot *spot = &l->spots[l->nspots++];
    *spot = (struct audit_spot){.id = s->id, .delivered = s->delivered};
    snprintf(spot->entry, sizeof(spot->entry), "%s", s->entry);
}

static void saw_job(const struct queue_sight *s, void *ctx)
{
    struct audit_look *l = ctx;
    static const uint8_t flags[QUEUE_NPLACES] = {[QUEUE_AT_LATER] = AUDIT_LATER,
        [QUEUE_AT_LATER_JOBS] = AUDIT_LATER_JOB,
        [QUEUE_AT_DEAD] = AUDIT_DEAD};
    struct audit_fact f = {.id = s->id, .flags = flags[s->place]};

    progress(l, "jobs in Redis", ++l->got);
    if (!s->is_job) {
        *(s->place == QUEUE_AT_DEAD ? &l->no_job_letters : &l->no_jobs) += 1;
        return;
    }
    if (s->place == QUEUE_AT_STREAM)
        *(s->delivered ? &f.delivered : &f.waiting) = 1;
    if (s->place == QUEUE_AT_STREAM || s->place == QUEUE_AT_LATER)
        keep_spot(l, s);
    audit_see(l->set, &f);
}

static void place_done(enum hl_rc rc, const struct hl_err *err, void *ctx)
{
    answered(ctx, rc, err);
}

static void spot_there(enum hl_rc rc, bool there, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    l->spots[l->got].there = there;
    answered(l, rc, err);
}

/* A job that moved while the places were read was seen in two of them. It had two jobs at once if
 * its earlier places still hold it after the last was seen. */
static bool check_spots(struct audit_look *l)
{
    for (l->got = 0; fine(l) && l->got < l->nspots; l->got++) {
        const struct audit_spot *s = &l->spots[l->got];
        const struct audit_fact *f = audit_find(l->set, &s->id);
        if (f->waiting + f->delivered + !!(f->flags & AUDIT_LATER) < 2)
            continue;
        ask(l);
        queue_look_at(l->session->queue, &s->id, s->entry, spot_there, l);
        if (!await(l))
            break;
        struct audit_fact *gone = audit_find(l->set, &s->id);
        if (l->spots[l->got].there)
            continue;
        if (!*s->entry)
            gone->flags &= (uint8_t)~AUDIT_LATER;
        else
            *(s->delivered ? &gone->delivered : &gone->waiting) -= 1;
    }
    free(l->spots);
    l->spots = NULL;
    l->nspots = 0;
    return fine(l);
}

static bool look_redis(struct audit_look *l)
{
    static const enum queue_place order[] = {
        QUEUE_AT_LATER, QUEUE_AT_LATER_JOBS, QUEUE_AT_STREAM, QUEUE_AT_DEAD};
    l->no_jobs = l->no_job_letters = 0;
    l->got = 0;
    for (size_t i = 0; fine(l) && i < sizeof(order) / sizeof(*order); i++) {
        ask(l);
        queue_look(l->session->queue, order[i], saw_job, place_done, l);
        await(l);
    }
    return fine(l) && check_spots(l);
}

static bool unfinished(const struct audit_fact *f)
{
    return f->row <= AUDIT_ROW_ALONE;
}

static void got_markers(
    enum hl_rc rc, const bool *marked, size_t n, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    for (size_t i = 0; rc == HL_OK && i < n; i++)
        if (marked[i])
            audit_find(l->set, &l->asked[i])->flags |= AUDIT_MARKER;
    answered(l, rc, err);
}

static void ask_markers(struct audit_look *l)
{
    ask(l);
    queue_look_markers(l->session->queue, l->asked, l->nasked, got_markers, l);
    await(l);
}

/* --- spools ------------------------------------------------------------------------------ */

static void keep_local(struct audit_look *l, const char *segment)
{
    if (l->nlocal && strcmp(l->local[l->nlocal - 1], segment) == 0)
        return;
    l->local = mem_grow(l->local, (l->nlocal + 1) * sizeof(*l->local));
    l->local[l->nlocal++] = mem_strdup(segment);
}

static void forget_local(struct audit_look *l)
{
    for (size_t i = 0; i < l->nlocal; i++)
        free(l->local[i]);
    free(l->local);
    l->local = NULL;
    l->nlocal = 0;
}

static bool saw_record(const struct spool_sight *s, void *ctx)
{
    struct audit_look *l = ctx;
    struct change_event ev;
    enum hl_rc rc;

    keep_local(l, s->segment);
    if (!s->record) {
        l->spool_no_frames++;
        return true;
    }
    progress(l, "records in spools", (size_t)++l->spool_records);
    rc = event_decode(s->record, s->len, &ev, NULL);
    if (rc != HL_OK) {
        l->spool_no_jobs++;
        return true;
    }
    see(l, &ev.id, AUDIT_ROW_NONE, AUDIT_SPOOL);
    event_release(&ev);
    return true;
}

static bool look_spools(struct audit_look *l)
{
    l->spool_records = l->spool_no_jobs = l->spool_no_frames = 0;
    forget_local(l);
    for (size_t i = 0; fine(l) && i < l->nspools; i++)
        spool_scan(l->spools[i], saw_record, l, &l->err);
    return fine(l);
}

static void forget_segments(struct audit_look *l)
{
    for (size_t i = 0; i < l->nsegments; i++) {
        free(l->segments[i].name);
        free(l->segments[i].host);
        free(l->segments[i].folder);
    }
    free(l->segments);
    l->segments = NULL;
    l->nsegments = 0;
}

static bool folder_is_read(const struct audit_look *l, const char *host, const char *folder)
{
    char own[64] = "host";
    gethostname(own, sizeof(own) - 1);
    for (size_t i = 0; strcmp(host, own) == 0 && i < l->nspools; i++)
        if (strcmp(l->spools[i], folder) == 0)
            return true;
    return false;
}

/* Read here: what is left in it was seen. A file that is not there any more came home meanwhile,
 * unless nobody has spoken of it for long: then it was lost with its disk. */
static bool is_read(
    const struct audit_look *l, const char *name, const char *host, const char *folder, bool silent)
{
    for (size_t i = 0; i < l->nlocal; i++)
        if (strcmp(l->local[i], name) == 0)
            return true;
    return !silent && folder_is_read(l, host, folder);
}

enum { LISTED_SEGMENT, LISTED_HOST, LISTED_FOLDER, LISTED_HOLDER, LISTED_BYTES, LISTED_SEEN };

/* Of Firecrawl's events there are no receipts: they are none of an audit's business. */
static bool is_listed(const PGresult *rows, int i)
{
    return db_int(rows, i, LISTED_BYTES) > 0 &&
           spool_is_segment(db_text(rows, i, LISTED_SEGMENT), SPOOL_SEGMENT);
}

static void got_segments(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct audit_look *l = ctx;
    int n = rc == HL_OK ? PQntuples(rows) : 0;

    l->segments = mem_array((size_t)n + 1, sizeof(*l->segments));
    for (int i = 0; i < n; i++) {
        const char *name = db_text(rows, i, LISTED_SEGMENT), *host = db_text(rows, i, LISTED_HOST);
        const char *folder = db_text(rows, i, LISTED_FOLDER);
        bool silent = db_int(rows, i, LISTED_SEEN) > SILENT_S;
        if (!is_listed(rows, i))
            continue;
        if (is_read(l, name, host, folder, silent)) {
            l->forwarding |= !silent;
            continue;
        }
        l->segments[l->nsegments++] = (struct audit_segment){.name = mem_strdup(name),
            .host = mem_strdup(host),
            .folder = mem_strdup(folder),
            .bytes = db_int(rows, i, LISTED_BYTES),
            .seen_s = db_int(rows, i, LISTED_SEEN),
            .silent = silent};
    }
    answered(l, rc, err);
}

static bool look_segments(struct audit_look *l)
{
    forget_segments(l);
    l->forwarding = false;
    ask(l);
    store_list_spools(l->session->store, got_segments, l);
    return await(l);
}

/* --- all of it --------------------------------------------------------------------------- */

static bool look_in_order(struct audit_look *l)
{
    audit_merge(l->set);
    if (!in_batches(l, "rows", ROW_BATCH, without_row, ask_rows))
        return false;
    if (!l->set->closed && !look_open_rows(l))
        return false;
    audit_merge(l->set);
    if (!look_redis(l) || !look_spools(l) || !look_segments(l))
        return false;
    audit_merge(l->set);
    return in_batches(l, "rows", ROW_BATCH, without_row, ask_rows) &&
           in_batches(l, "markers", MARKER_BATCH, unfinished, ask_markers);
}

bool audit_look_all(struct audit_look *l, struct audit_set *set)
{
    l->set = set;
    l->err = (struct hl_err){0};
    bool done = look_in_order(l);
    progress_end(l);
    return done;
}

void audit_look_release(struct audit_look *l)
{
    forget_segments(l);
    forget_local(l);
    free(l->spots);
}

/* --- is it quiet? ------------------------------------------------------------------------ */

struct work_call {
    struct audit_look *look;
    struct audit_work *work;
};

/* The first in a folder says enough: this is asked several times a second, beside the producers that
 * bring a spool home. */
static bool count_record(const struct spool_sight *s, void *ctx)
{
    struct work_call *c = ctx;
    c->work->spooled_bytes += s->record ? (int64_t)s->len : 0;
    return !s->record;
}

static void count_segments(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct work_call *c = ctx;
    for (int i = 0; rc == HL_OK && i < PQntuples(rows); i++)
        c->work->spooled_bytes += is_listed(rows, i) ? db_int(rows, i, LISTED_BYTES) : 0;
    answered(c->look, rc, err);
}

static void count_queue(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct work_call *c = ctx;
    c->work->stream = stats->length;
    c->work->later = stats->later;
    answered(c->look, rc, err);
}

static void count_rows(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct work_call *c = ctx;
    if (rc == HL_OK) {
        c->work->due = db_int(rows, 0, 0);
        c->work->in_progress = db_int(rows, 0, 1);
    }
    answered(c->look, rc, err);
}

bool audit_look_work(struct audit_look *l, struct audit_work *work)
{
    struct work_call c = {l, work};
    *work = (struct audit_work){0};
    l->err = (struct hl_err){0};
    for (size_t i = 0; fine(l) && i < l->nspools; i++)
        spool_scan(l->spools[i], count_record, &c, &l->err);
    if (!fine(l))
        return false;
    ask(l);
    store_list_spools(l->session->store, count_segments, &c);
    if (!await(l))
        return false;
    ask(l);
    queue_stats(l->session->queue, count_queue, &c);
    if (!await(l))
        return false;
    ask(l);
    store_audit_work(l->session->store, MAX_WORK, count_rows, &c);
    return await(l);
}
