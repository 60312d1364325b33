/* spool_push: see spool_push.h. A window of records at a time: it is committed to the spool when each
 * of them is safe. One that can never be ends it: what came before is committed, then it becomes a
 * dead letter, alone, so that a push that is repeated buries no other again. */
#include "worker/ctl/spool_push.h"

#include "base/crawl_job.h"
#include "base/mem.h"
#include "io/spool.h"
#include "io/spool_file.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 64 };

enum fate {
    ENDS_HOME,    /* safe */
    ENDS_REFUSED, /* a dead letter */
    ENDS_NEWER,   /* for a newer program: its segment is left */
    ENDS_FAILED,  /* not now */
};

struct record {
    struct push *push;
    struct spool_record bytes; /* the spool's, until the window ends */
    enum fate fate;
    const char *refusal; /* ENDS_REFUSED: why */
    bool known;
    struct change_event ev; /* of a change event */
    struct store_accept accept;
    struct crawl_job job; /* of Firecrawl's, without its body */
    struct queue_req publish;
    struct hl_err err; /* ENDS_FAILED */
};

struct kind {
    const char *suffix;
    void (*send)(struct record *records, size_t n); /* decides every record's fate */
    void (*release)(struct record *r);
    bool letters_have_ids;
};

/* --- change events: PostgreSQL, then Redis ----------------------------------------------- */

static void fail(struct record *r, const struct hl_err *err)
{
    r->fate = ENDS_FAILED;
    r->err = *err;
}

static void refuse(struct record *r, const char *why)
{
    r->fate = ENDS_REFUSED;
    r->refusal = why;
}

static void accepted(struct store_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    r->known = rc == HL_OK && r->accept.existed;
    if (rc == HL_OK && r->accept.conflict)
        refuse(r, "same id, other body");
    else if (rc == HL_FATAL)
        refuse(r, "refused by PostgreSQL");
    else if (rc != HL_OK)
        fail(r, err);
    session_answered(r->push->session);
}

static void change_published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    (void)err;
    r->push->unpublished += rc != HL_OK; /* the janitor publishes rows that have no job */
    session_answered(r->push->session);
}

static void decode_change(struct record *r)
{
    struct hl_err err;
    enum hl_rc rc = event_decode(r->bytes.data, r->bytes.len, &r->ev, &err);
    if (rc == HL_LOST)
        r->fate = ENDS_NEWER;
    else if (rc != HL_OK)
        refuse(r, "unreadable spool record");
}

static void send_change(struct record *records, size_t n)
{
    struct session *s = records->push->session;
    for (size_t i = 0; i < n; i++) {
        struct record *r = &records[i];
        decode_change(r);
        if (r->fate != ENDS_HOME)
            continue;
        r->accept.ev = &r->ev;
        r->accept.req.done = accepted;
        r->accept.req.ctx = r;
        session_asked(s);
        store_accept(s->store, &r->accept);
    }
    session_wait(s);
    for (size_t i = 0; i < n; i++) {
        struct record *r = &records[i];
        if (r->fate != ENDS_HOME || r->known)
            continue;
        r->publish = (struct queue_req){.ev = &r->ev, .done = change_published, .ctx = r};
        session_asked(s);
        queue_do(s->queue, QUEUE_PUBLISH, &r->publish);
    }
    session_wait(s);
}

static void release_change(struct record *r)
{
    event_release(&r->ev);
}

/* --- Firecrawl's events: Redis ----------------------------------------------------------- */

static void crawl_published(struct queue_req *req, enum hl_rc rc, const struct hl_err *err)
{
    struct record *r = req->ctx;
    if (rc != HL_OK)
        fail(r, err);
    else if (req->was == QUEUE_CONFLICT)
        refuse(r, "same id, other body");
    else
        r->known = req->was == QUEUE_DUPLICATE;
    session_answered(r->push->session);
}

static void send_crawl(struct record *records, size_t n)
{
    struct session *s = records->push->session;
    for (size_t i = 0; i < n; i++) {
        struct record *r = &records[i];
        struct hl_err err;
        enum hl_rc rc = crawl_job_peek(r->bytes.data, r->bytes.len, &r->job, &err);
        if (rc == HL_LOST)
            r->fate = ENDS_NEWER;
        else if (rc != HL_OK)
            refuse(r, "unreadable spool record");
        if (rc != HL_OK)
            continue;
        r->publish = (struct queue_req){.id = r->job.id,
            .job = r->bytes.data,
            .len = r->bytes.len,
            .digest = r->job.digest,
            .done = crawl_published,
            .ctx = r};
        session_asked(s);
        queue_do(s->crawl_queue, QUEUE_PUBLISH, &r->publish);
    }
    session_wait(s);
}

static void release_crawl(struct record *r)
{
    crawl_job_release(&r->job);
}

static const struct kind change_kind = {.suffix = SPOOL_SEGMENT,
    .send = send_change,
    .release = release_change,
    .letters_have_ids = true};
static const struct kind crawl_kind = {
    .suffix = SPOOL_CRAWL, .send = send_crawl, .release = release_crawl};

static bool is_change(const struct kind *k)
{
    return k == &change_kind;
}

/* --- a window ---------------------------------------------------------------------------- */

struct burial {
    struct session *session;
    enum hl_rc rc;
};

static void buried(enum hl_rc rc, int64_t moved, bool left, void *ctx)
{
    struct burial *b = ctx;
    (void)moved;
    (void)left;
    b->rc = rc;
    session_answered(b->session);
}

/* The id tells an audit that the event has this place; in a conflict it is another event's. */
static enum hl_rc bury(const struct kind *k, const struct record *r, struct hl_err *err)
{
    struct session *s = r->push->session;
    struct burial b = {.session = s};
    char id[UUID_STRLEN + 1];
    bool ours = k->letters_have_ids && r->ev.watch_url && !r->accept.conflict;
    uuid_format(&r->ev.id, id);
    session_asked(s);
    queue_quarantine(is_change(k) ? s->queue : s->crawl_queue, ours ? id : NULL, "", r->bytes.data,
        r->bytes.len, r->refusal, buried, &b);
    session_wait(s);
    if (b.rc == HL_OK)
        return HL_OK;
    return hl_fail_why(err, HL_RETRY, HL_WHY_UNREACHABLE,
        "Redis did not take a dead letter (%s); nothing of it is lost, push again when Redis is "
        "back",
        r->refusal);
}

static struct record *records_of(
    struct push *p, const struct kind *k, const struct spool_record *window, size_t n)
{
    struct record *records = mem_array(n, sizeof(*records));
    for (size_t i = 0; i < n; i++) {
        records[i].push = p;
        records[i].bytes = window[i];
    }
    k->send(records, n);
    return records;
}

/* Records that were counted home. */
static void count_home(struct push *p, const struct kind *k, const struct record *r, size_t n)
{
    *(is_change(k) ? &p->change : &p->crawl) += (int64_t)n;
    for (size_t i = 0; i < n; i++)
        p->known += r[i].known;
}

/* Those before `stopper` are safe: the spool forgets them. Then it is read alone, and decided. */
static enum hl_rc end_at(struct push *p, struct spool *spool, const struct kind *k,
    const struct record *records, size_t stopper, struct hl_err *err)
{
    struct spool_record window[WINDOW];
    struct record r = records[stopper];
    spool_rewind(spool);
    if (stopper) {
        spool_read(spool, window, stopper);
        spool_commit(spool);
    }
    if (r.fate == ENDS_FAILED) {
        *err = r.err;
        return err->rc;
    }
    if (spool_read(spool, window, 1) != 1)
        return hl_fail(err, HL_RETRY, "the spool in %s cannot be read any more", p->dir);
    if (r.fate == ENDS_NEWER) {
        p->skipped = true;
        spool_skip(spool);
        return HL_OK;
    }
    r.bytes = window[0];
    enum hl_rc rc = bury(k, &r, err);
    if (rc != HL_OK) {
        spool_rewind(spool);
        return rc;
    }
    p->buried++;
    spool_commit(spool);
    return HL_OK;
}

static enum hl_rc push_window(struct push *p, struct spool *spool, const struct kind *k,
    const struct spool_record *window, size_t n, struct hl_err *err)
{
    struct record *records = records_of(p, k, window, n);
    enum hl_rc rc = HL_OK;
    size_t safe = 0;
    while (safe < n && records[safe].fate == ENDS_HOME)
        safe++;
    count_home(p, k, records, safe);
    if (safe == n)
        spool_commit(spool);
    else
        rc = end_at(p, spool, k, records, safe, err);
    for (size_t i = 0; i < n; i++)
        k->release(&records[i]);
    free(records);
    return rc;
}

/* --- a folder ---------------------------------------------------------------------------- */

struct emptied {
    char **names;
    size_t n;
};

static void note_emptied(const struct spool_segment *g, void *ctx)
{
    struct emptied *e = ctx;
    if (g->bytes > 0 || !g->listed)
        return;
    e->names = mem_grow(e->names, (e->n + 1) * sizeof(*e->names));
    e->names[e->n++] = mem_strdup(g->name);
}

/* Their rows of webhook.spools, then their files: no row is left behind. */
static enum hl_rc forget_emptied(struct push *p, struct spool *spool, struct hl_err *err)
{
    struct emptied e = {0};
    enum hl_rc rc = HL_OK;
    spool_each(spool, note_emptied, &e);
    for (size_t i = 0; i < e.n; i++) {
        struct answer a = {.session = p->session};
        if (rc == HL_OK) {
            store_spool_gone(p->session->store, e.names[i], answer_keep, answer_asked(&a));
            session_wait(p->session);
            rc = a.rc;
            if (rc == HL_OK)
                spool_unlist(spool, e.names[i]);
            else
                *err = a.err;
            answer_release(&a);
        }
        free(e.names[i]);
    }
    free(e.names);
    return rc;
}

/* All that is adopted. */
static enum hl_rc push_adopted(
    struct push *p, struct spool *spool, const struct kind *k, struct hl_err *err)
{
    struct spool_record window[WINDOW];
    enum hl_rc rc = HL_OK;
    for (size_t n; rc == HL_OK && (n = spool_read(spool, window, WINDOW)) > 0;) {
        rc = push_window(p, spool, k, window, n, err);
        if (p->progress)
            p->progress(p);
    }
    enum hl_rc forgotten = forget_emptied(p, spool, rc == HL_OK ? err : &(struct hl_err){0});
    return rc == HL_OK ? forgotten : rc;
}

/* A segment that was skipped, or that the disk does not give, is let go of: adopting it again would
 * begin it anew. */
static enum hl_rc push_kind(struct push *p, const struct kind *k, struct hl_err *err)
{
    struct spool *spool = spool_open_left(p->session->loop, p->session->offload, p->dir, k->suffix);
    enum hl_rc rc;
    int adopted;

    spool_keep_listed(spool); /* a dead producer may have told of them */
    p->skipped = false;
    do {
        adopted = spool_adopt(spool); /* a bounded number of them */
        rc = push_adopted(p, spool, k, err);
    } while (rc == HL_OK && adopted && !p->skipped && !spool_faults(spool).unreadable);
    p->cut_bytes += spool_faults(spool).cut_bytes;
    spool_close(spool);
    return rc;
}

enum hl_rc push_change(struct push *p, struct hl_err *err)
{
    return push_kind(p, &change_kind, err);
}

enum hl_rc push_crawl(struct push *p, struct hl_err *err)
{
    return push_kind(p, &crawl_kind, err);
}
