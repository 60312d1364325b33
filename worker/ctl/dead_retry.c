/* dead_retry: see dead_retry.h. */
#include "worker/ctl/dead_retry.h"

#include "base/crawl_job.h"
#include "base/mem.h"
#include "worker/ctl/putback.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_AT_ONCE = 500 };

/* --- rows -------------------------------------------------------------------------------- */

static void put_number(struct buf *b, int64_t n)
{
    buf_printf(b, "%s%lld", b->len ? "," : "{", (long long)n);
}

/* Their letters have had their day: the rows are queued. */
static void dropped(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    (void)rc; /* one that stays is told from its row, and goes with the next retry */
    (void)moved;
    (void)left;
    session_answered(ctx);
}

static void drop_letters(struct session *s, const struct dead_look *look)
{
    for (size_t i = 0; i < look->n; i++) {
        const char *entry = look->items[i].entry;
        session_asked(s);
        queue_letters_drop(s->queue, &entry, 1, dropped, s);
    }
    session_wait(s);
}

int dead_drop_letters(struct session *s, const char **ids, size_t n)
{
    struct dead_look look = {.session = s};
    qsort(ids, n, sizeof(*ids), dead_compare_ids);
    int code = n ? dead_look_letters_of(&look, ids, n) : CTL_OK;
    if (code == CTL_OK)
        drop_letters(s, &look);
    dead_look_release(&look);
    return code;
}

static int drop_letters_of(struct session *s, const PGresult *rows)
{
    const int n = PQntuples(rows);
    const char **ids = mem_array((size_t)n + 1, sizeof(*ids));
    size_t named = 0;
    for (int i = 0; i < n; i++)
        if (!PQgetisnull(rows, i, 0))
            ids[named++] = db_text(rows, i, 0);
    int code = dead_drop_letters(s, ids, named);
    free(ids);
    return code;
}

static int rows_again(struct dead_retry *r, const char *ids, const char *epochs, int64_t n)
{
    struct answer a = {.session = r->session};
    store_failed_again(r->session->store, ids, epochs, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK) {
        int64_t missed = putback_publish(r->session, a.rows);
        r->done += PQntuples(a.rows);
        r->changed += n - PQntuples(a.rows);
        r->missed += missed;
        code = drop_letters_of(r->session, a.rows);
    }
    answer_release(&a);
    return code;
}

static int retry_rows(struct dead_retry *r)
{
    int code = CTL_OK;
    for (size_t at = 0; at < r->n && code == CTL_OK;) {
        struct buf ids = {0}, epochs = {0};
        int n = 0;
        for (; at < r->n && n < ROWS_AT_ONCE; at++) {
            if (r->items[at].kind != DEAD_EVENT)
                continue;
            put_number(&ids, r->items[at].row_id);
            put_number(&epochs, r->items[at].epoch);
            n++;
        }
        buf_putc(&ids, '}');
        buf_putc(&epochs, '}');
        code = n ? rows_again(r, buf_str(&ids), buf_str(&epochs), n) : CTL_OK;
        buf_release(&ids);
        buf_release(&epochs);
    }
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
    int code = retry_rows(r);
    for (size_t i = 0; i < r->n && code == CTL_OK; i++)
        if (r->items[i].kind != DEAD_EVENT)
            code = retry_letter(r, &r->items[i]);
    return code;
}
