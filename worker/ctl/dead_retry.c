/* dead_retry: see dead_retry.h. */
#include "worker/ctl/dead_retry.h"

#include "base/crawl_job.h"
#include "worker/ctl/dead_sweep.h"
#include "worker/ctl/interrupt.h"

#include <string.h>

enum { ROWS_AT_ONCE = 500 };

/* --- rows -------------------------------------------------------------------------------- */

static void put_number(struct buf *b, int64_t n)
{
    buf_printf(b, "%s%lld", b->len ? "," : "{", (long long)n);
}

static int rows_again(
    struct dead_retry *r, struct dead_sweep *sweep, const char *ids, const char *epochs, int64_t n)
{
    struct answer a = {.session = r->session};
    store_failed_again(r->session->store, ids, epochs, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK) {
        putback_again(&r->jobs, a.rows);
        r->done += PQntuples(a.rows);
        r->changed += n - PQntuples(a.rows);
        for (int row = 0; row < PQntuples(a.rows); row++)
            dead_sweep_note(sweep, db_text(a.rows, row, 0));
    }
    answer_release(&a);
    return code;
}

/* The next rows from *at on. */
static int retry_some_rows(struct dead_retry *r, struct dead_sweep *sweep, size_t *at)
{
    struct buf ids = {0}, epochs = {0};
    int n = 0;
    for (; *at < r->n && n < ROWS_AT_ONCE; ++*at) {
        if (r->items[*at].kind != DEAD_EVENT)
            continue;
        put_number(&ids, r->items[*at].row_id);
        put_number(&epochs, r->items[*at].epoch);
        n++;
    }
    buf_putc(&ids, '}');
    buf_putc(&epochs, '}');
    int code = n ? rows_again(r, sweep, buf_str(&ids), buf_str(&epochs), n) : CTL_OK;
    buf_release(&ids);
    buf_release(&epochs);
    return code;
}

static int retry_rows(struct dead_retry *r)
{
    struct dead_sweep sweep;
    int code = CTL_OK;
    dead_sweep_begin(&sweep, r->session);
    for (size_t at = 0; at < r->n && code == CTL_OK && !interrupted();)
        code = retry_some_rows(r, &sweep, &at);
    dead_sweep_end(&sweep);
    return code;
}

/* --- letters ----------------------------------------------------------------------------- */

/* The letter that is being put back. */
struct one {
    struct dead_retry *retry;
    const struct dead_item *item;
    struct hl_err err;
    uint8_t digest[DIGEST_LEN];
    bool sound; /* a crawl job is there, and is that of its event */
    enum queue_revived how;
};

static void got_job(struct one *o, const void *job, size_t len)
{
    struct crawl_job j;
    char id[UUID_STRLEN + 1];
    if (!job)
        return;
    if (crawl_job_peek(job, len, &j, NULL) != HL_OK)
        return;
    uuid_format(&j.id, id);
    o->sound = strcmp(id, o->item->event_id) == 0;
    memcpy(o->digest, j.digest, DIGEST_LEN);
    crawl_job_release(&j);
}

static void got_letter(enum hl_rc rc, const struct queue_letter *letters, size_t n,
    const struct hl_err *err, void *ctx)
{
    struct one *o = ctx;
    if (rc != HL_OK)
        o->err = *err;
    else if (n)
        got_job(o, letters[0].job, letters[0].len);
    session_answered(o->retry->session);
}

static void got_blob(
    enum hl_rc rc, const void *job, size_t len, const struct hl_err *err, void *ctx)
{
    struct one *o = ctx;
    if (rc != HL_OK)
        o->err = *err;
    else
        got_job(o, job, len);
    session_answered(o->retry->session);
}

/* The digest of a crawl job, by which a repetition is known. */
static void read_job(struct one *o)
{
    struct session *s = o->retry->session;
    session_asked(s);
    if (o->item->blob)
        queue_letter_fetch(s->crawl_queue, o->item->blob, got_blob, o);
    else
        queue_letter(s->crawl_queue, o->item->entry, got_letter, o);
    session_wait(s);
}

static void revived(enum hl_rc rc, enum queue_revived how, const struct hl_err *err, void *ctx)
{
    struct one *o = ctx;
    if (rc != HL_OK)
        o->err = *err;
    o->how = how;
    session_answered(o->retry->session);
}

static void revive(struct one *o, bool crawl)
{
    struct session *s = o->retry->session;
    struct uuid id;
    if (!uuid_parse(o->item->event_id, &id)) {
        o->how = REVIVED_NO_JOB;
        return;
    }
    session_asked(s);
    queue_revive(crawl ? s->crawl_queue : s->queue, o->item->entry, &id, crawl ? o->digest : NULL,
        revived, o);
    session_wait(s);
}

static void count(struct one *o)
{
    struct dead_retry *r = o->retry;
    switch (o->how) {
    case REVIVED: r->done++; return;
    case REVIVED_GONE:
    case REVIVED_ALREADY: r->changed++; return;
    case REVIVED_NO_JOB:
    case REVIVED_CONFLICT: break;
    }
    r->refused++;
    ctl_fail(CTL_NOT_EMPTY,
        o->how == REVIVED_CONFLICT
            ? "%s cannot be put back: another body came under its event's id since"
            : "%s cannot be put back: it is no job of this version, or its bytes are gone",
        o->item->entry);
}

static void dropped(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    (void)rc; /* one that stays is told from its row, and goes with the next retry */
    (void)moved;
    (void)left;
    session_answered(ctx);
}

/* The event of a letter has a row that is not failed: it was put back already, or is done. */
static void drop_letter(struct one *o)
{
    struct session *s = o->retry->session;
    const char *entry = o->item->entry;
    session_asked(s);
    queue_letters_drop(s->queue, &entry, 1, dropped, s);
    session_wait(s);
    o->how = REVIVED_ALREADY;
}

static int retry_letter(struct dead_retry *r, const struct dead_item *item)
{
    struct one o = {.retry = r, .item = item, .how = REVIVED_NO_JOB};
    const bool crawl = item->kind == DEAD_CRAWL;
    if (crawl)
        read_job(&o);
    if (item->kind == DEAD_LETTER && item->status)
        drop_letter(&o);
    else if (!o.err.rc && (item->kind == DEAD_LETTER || (crawl && o.sound)))
        revive(&o, crawl);
    if (o.err.rc)
        return ctl_fail_err(&o.err);
    count(&o);
    return CTL_OK;
}

int dead_retry(struct dead_retry *r)
{
    r->jobs.session = r->session;
    int code = retry_rows(r);
    for (size_t i = 0; i < r->n && code == CTL_OK && !interrupted(); i++)
        if (r->items[i].kind != DEAD_EVENT)
            code = retry_letter(r, &r->items[i]);
    return code;
}
