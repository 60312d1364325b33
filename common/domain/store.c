/* store: see store.h; the statements are in store_sql.c. First the batching that T0, T1 and T3
 * share, then one function per statement. */
#include "domain/store.h"

#include "base/mem.h"
#include "base/pgarray.h"
#include "domain/store_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_ITEMS      256
#define FLUSH_BYTES      (4 * 1024 * 1024)
#define LANES            2
#define LANE_FULL        32    /* requests that wait in one before the next is used */
#define MAX_WAITING      32768 /* of one lane */
#define MAX_PARAMS       32
#define CONFLICT_RETRIES 5            /* deadlock, serialization, a row seen by neither snapshot */
#define MAX_SINGLE       20           /* parameters of a statement, and of the one before it */
#define CLAIM_DUE_MS     5000         /* soon enough for the lease, and for a drain */
#define SEARCH_BYTES     (256 * 1024) /* what goes into a tsvector */

/* ================================ batching =============================================== */

struct op {
    struct store *store;
    const struct op_spec *spec;
    struct batch *batch;
    struct list left; /* of the flush under way: not sent yet */
    struct store_req *sent[FLUSH_ITEMS];
    size_t nsent;
    int conflicts;
    struct buf params[MAX_PARAMS];
    const char *values[MAX_PARAMS + 1];
};

struct store {
    struct dbpool *pool;
    char *owner;
    int64_t timeout_ms;
    struct op ops[NOPS][LANES];
};

static void put_id(struct buf *b, const struct change_event *ev)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&ev->id, id);
    pgarray_text(b, id);
}

static void put_digest(struct buf *b, const struct change_event *ev)
{
    char digest[DIGEST_HEXLEN + 1];
    digest_hex(ev->body_digest, DIGEST_LEN, digest);
    pgarray_text(b, digest);
}

static bool is_true(const PGresult *rows, int row, int col)
{
    return db_text(rows, row, col)[0] == 't';
}

/* --- T0 ---------------------------------------------------------------------------------- */

static void put_accept(struct store_req *r, struct buf *b)
{
    const struct change_event *ev = LIST_OF(r, struct store_accept, req)->ev;
    put_id(&b[0], ev);
    pgarray_text(&b[1], ev->watch_id);
    pgarray_text(&b[2], ev->watch_url);
    pgarray_int(&b[3], ev->detected_at);
    pgarray_text(&b[4], ev->diff_summary);
    pgarray_text(&b[5], ev->snapshot_url);
    pgarray_text(&b[6], ev->metadata);
    put_digest(&b[7], ev);
}

static enum hl_rc get_accept(struct store_req *r, const PGresult *rows, int row)
{
    struct store_accept *a = LIST_OF(r, struct store_accept, req);
    if (PQgetisnull(rows, row, 1))
        return HL_RETRY; /* inserted by another after our snapshot: the next one sees it */
    a->row_id = db_int(rows, row, 1);
    a->existed = is_true(rows, row, 2);
    a->conflict = is_true(rows, row, 3);
    return HL_OK;
}

/* --- T1 ---------------------------------------------------------------------------------- */

static void put_claim(struct store_req *r, struct buf *b)
{
    const struct store_claim *c = LIST_OF(r, struct store_claim, req);
    pgarray_text(&b[0], c->ev->watch_url);
    put_id(&b[1], c->ev);
    pgarray_int(&b[2], c->alone);
    put_digest(&b[3], c->ev);
}

static enum hl_rc get_claim(struct store_req *r, const PGresult *rows, int row)
{
    static const char *const words[] = {[CLAIM_OK] = "ours",
        [CLAIM_MISSING] = "missing",
        [CLAIM_EARLY] = "early",
        [CLAIM_BUSY] = "busy",
        [CLAIM_HELD] = "held",
        [CLAIM_DONE] = "done"};
    struct store_claim *c = LIST_OF(r, struct store_claim, req);
    for (int i = CLAIM_OK; i <= CLAIM_DONE; i++)
        if (strcmp(words[i], db_text(rows, row, 1)) == 0)
            c->state = (enum store_claim_state)i;
    c->row_id = db_int(rows, row, 2);
    c->epoch = db_int(rows, row, 3);
    c->starts = db_int(rows, row, 4);
    c->attempts = db_int(rows, row, 5);
    c->wait_ms = db_int(rows, row, 6);
    c->waited_ms = db_int(rows, row, 7);
    return HL_OK;
}

/* --- T3b --------------------------------------------------------------------------------- */

static enum hl_rc t3_outcome(const PGresult *rows, int row)
{
    if (PQgetisnull(rows, row, 1))
        return HL_RETRY;
    return is_true(rows, row, 1) ? HL_OK : HL_LOST;
}

char *store_searched(const char *text)
{
    if (!text || strlen(text) <= SEARCH_BYTES)
        return NULL;
    size_t n = SEARCH_BYTES;
    while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not inside a character */
    return mem_strndup(text, n);
}

static void put_complete(struct store_req *r, struct buf *b)
{
    struct store_complete *c = LIST_OF(r, struct store_complete, req);
    char *searched = store_searched(c->doc.text);
    put_id(&b[0], c->ev);
    pgarray_int(&b[1], c->epoch);
    pgarray_text(&b[2], c->metadata);
    pgarray_text(&b[3], c->doc.canonical_url);
    pgarray_text(&b[4], c->doc.url);
    pgarray_text(&b[5], c->doc.title);
    pgarray_text(&b[6], c->doc.description);
    pgarray_text(&b[7], c->doc.language);
    pgarray_text(&b[8], c->doc.text);
    pgarray_text(&b[9], searched);
    pgarray_int(&b[10], c->keep_older);
    free(searched);
}

static enum hl_rc get_complete(struct store_req *r, const PGresult *rows, int row)
{
    struct store_complete *c = LIST_OF(r, struct store_complete, req);
    c->gone = is_true(rows, row, 2);
    c->superseded = db_int(rows, row, 3);
    c->age_us = db_int(rows, row, 4);
    return t3_outcome(rows, row);
}

/* --- T3a --------------------------------------------------------------------------------- */

static void put_settle(struct store_req *r, struct buf *b)
{
    struct store_settle *f = LIST_OF(r, struct store_settle, req);
    put_id(&b[0], f->ev);
    pgarray_int(&b[1], f->epoch);
    pgarray_text(&b[2], f->status);
    pgarray_int(&b[3], f->charge);
    pgarray_int(&b[4], f->delay_ms);
    pgarray_text(&b[5], f->metadata);
}

static enum hl_rc get_settle(struct store_req *r, const PGresult *rows, int row)
{
    struct store_settle *f = LIST_OF(r, struct store_settle, req);
    f->gone = is_true(rows, row, 2);
    return t3_outcome(rows, row);
}

/* clang-format off */
static const struct op_spec *const specs[NOPS] = {
    [OP_ACCEPT]   = &(const struct op_spec){.nparams = 8, .see_again = true, .stmt = &stmt_accept.db,
                     .put = put_accept, .get = get_accept},
    [OP_CLAIM]    = &(const struct op_spec){.nparams = 4, .before = &stmt_lock_urls.db, .stmt = &stmt_claim.db,
                     .put = put_claim, .get = get_claim},
    [OP_COMPLETE] = &(const struct op_spec){.nparams = 11, .owner_first = true, .stmt = &stmt_complete.db,
                     .put = put_complete, .get = get_complete},
    [OP_SETTLE]   = &(const struct op_spec){.nparams = 6, .owner_first = true, .stmt = &stmt_settle.db,
                     .put = put_settle, .get = get_settle},
    [OP_CRAWL]    = &store_crawl_spec,
};
/* clang-format on */

/* --- one flush --------------------------------------------------------------------------- */

static void op_done(const struct db_result *res, void *ctx);

static void op_answer(struct store_req *r, enum hl_rc rc, const struct hl_err *err)
{
    r->done(r, rc, rc == HL_OK || rc == HL_LOST ? NULL : err);
}

/* Sends the first `max` of op->left as one statement. */
static void op_run(struct op *op, size_t max)
{
    const struct op_spec *spec = op->spec;
    int first = spec->owner_first ? 1 : 0;
    struct db_call calls[3];
    int n = 0;

    for (int i = 0; i < spec->nparams; i++)
        pgarray_begin(&op->params[i]);
    for (op->nsent = 0; op->nsent < max; op->nsent++) {
        struct store_req *r = LIST_OF(list_pop(&op->left), struct store_req, item.node);
        op->sent[op->nsent] = r;
        r->place = (int64_t)op->nsent + 1;
        spec->put(r, op->params);
    }
    /* The owner stands before the arrays or behind them; dbpool borrows all values. */
    op->values[0] = op->values[spec->nparams] = op->store->owner;
    for (int i = 0; i < spec->nparams; i++)
        op->values[first + i] = pgarray_end(&op->params[i]);
    const char *const *values = op->values;
    const struct db_stmt *const stmts[] = {spec->before, spec->stmt, spec->after};
    for (size_t i = 0; i < sizeof(stmts) / sizeof(*stmts); i++) {
        if (!stmts[i])
            continue;
        calls[n++] = (struct db_call){stmts[i], values};
        values += stmts[i]->nparams;
    }
    dbpool_exec(op->store->pool, calls, n, op->store->timeout_ms, op_done, op);
}

/* The rest of this flush goes on, or the next flush. */
static void op_next(struct op *op)
{
    op->conflicts = 0;
    if (op->left.len)
        op_run(op, op->left.len);
    else
        batch_done(op->batch);
}

/* Those whose row neither snapshot showed go again, ahead of the rest; false when there are none.
 * They are taken out of `sent`. */
static bool op_again(struct op *op, struct store_req **sent, const enum hl_rc *rcs, size_t n)
{
    bool any = false;
    if (!op->spec->see_again || op->conflicts >= CONFLICT_RETRIES)
        return false;
    for (size_t i = n; i-- > 0;) {
        if (rcs[i] != HL_RETRY)
            continue;
        list_push_front(&op->left, &sent[i]->item.node);
        sent[i] = NULL;
        any = true;
    }
    return any;
}

static void op_succeeded(struct op *op, const PGresult *rows)
{
    struct store_req *sent[FLUSH_ITEMS];
    enum hl_rc rcs[FLUSH_ITEMS];
    struct hl_err err;
    size_t n = op->nsent;

    hl_fail(&err, HL_RETRY, "%s: another transaction was faster; try again", op->spec->stmt->name);
    for (size_t i = 0; i < n; i++) {
        sent[i] = op->sent[i]; /* the next flush starts before these are answered */
        rcs[i] = HL_RETRY;
    }
    for (int row = 0; row < PQntuples(rows); row++) {
        int64_t at = db_int(rows, row, 0) - 1;
        if (at >= 0 && (size_t)at < n)
            rcs[at] = op->spec->get(sent[at], rows, row);
    }
    if (op_again(op, sent, rcs, n)) {
        op->conflicts++;
        op_run(op, op->left.len);
    } else {
        op_next(op);
    }
    for (size_t i = 0; i < n; i++)
        if (sent[i])
            op_answer(sent[i], rcs[i], &err);
}

static void op_failed(struct op *op, enum hl_rc rc, const struct hl_err *err)
{
    struct store_req *sent[FLUSH_ITEMS];
    size_t n = op->nsent;

    if (rc == HL_FATAL && !db_refuses_data(err))
        rc = HL_RETRY;
    for (size_t i = 0; i < n; i++)
        sent[i] = op->sent[i];
    op_next(op);
    for (size_t i = 0; i < n; i++)
        op_answer(sent[i], rc, err);
}

static void op_done(const struct db_result *res, void *ctx)
{
    struct op *op = ctx;
    size_t n = op->nsent;
    bool conflict = res->rc == HL_RETRY && strncmp(res->err->sqlstate, "40", 2) == 0 &&
                    op->conflicts < CONFLICT_RETRIES;
    bool refused = res->rc == HL_FATAL && db_refuses_data(res->err) && n > 1;

    if (res->rc == HL_OK) {
        op_succeeded(op, res->pg);
        return;
    }
    if (!conflict && !refused) {
        op_failed(op, res->rc, res->err);
        return;
    }
    for (size_t i = n; i-- > 0;)
        list_push_front(&op->left, &op->sent[i]->item.node);
    if (conflict)
        op->conflicts++; /* deadlock or serialization failure: rolled back, run it again */
    op_run(op, refused ? n / 2 : n); /* one is refused: halve until it stands alone */
}

static void op_flush(struct list *items, void *ctx)
{
    struct op *op = ctx;
    list_splice(&op->left, items);
    op_run(op, op->left.len);
}

static void op_refused(struct batch_item *item, void *ctx)
{
    struct op *op = ctx;
    struct hl_err err;
    hl_fail_why(&err, HL_RETRY, HL_WHY_EXHAUSTED, "%s: too many requests wait for PostgreSQL",
        op->spec->stmt->name);
    op_answer(LIST_OF(item, struct store_req, item), HL_RETRY, &err);
}

void store_submit(struct store *s, enum op_kind kind, struct store_req *r, size_t bytes)
{
    struct op *lanes = s->ops[kind];
    size_t first = batch_waiting(lanes[0].batch), second = batch_waiting(lanes[1].batch);
    r->item.bytes = bytes;
    batch_add(lanes[first >= LANE_FULL && second < first ? 1 : 0].batch, &r->item);
}

size_t store_length(const char *s)
{
    return s ? strlen(s) : 0;
}

void store_accept(struct store *s, struct store_accept *a)
{
    store_submit(s, OP_ACCEPT, &a->req,
        128 + store_length(a->ev->watch_url) + store_length(a->ev->metadata) +
            store_length(a->ev->diff_summary));
}

bool store_accept_undo(struct store *s, struct store_accept *a)
{
    struct op *lanes = s->ops[OP_ACCEPT];
    return batch_remove(lanes[0].batch, &a->req.item) || batch_remove(lanes[1].batch, &a->req.item);
}

void store_claim(struct store *s, struct store_claim *c)
{
    store_submit(s, OP_CLAIM, &c->req, 64);
}

void store_complete(struct store *s, struct store_complete *c)
{
    store_submit(
        s, OP_COMPLETE, &c->req, 128 + store_length(c->doc.text) + store_length(c->metadata));
}

void store_settle(struct store *s, struct store_settle *f)
{
    store_submit(s, OP_SETTLE, &f->req, 128 + store_length(f->metadata));
}

/* ================================ single statements ====================================== */

struct single {
    const struct store_stmt *stmt;
    store_cb *cb;
    void *ctx;
    char *values[MAX_SINGLE]; /* owned copies */
};

static void single_answer(const struct single *one, const struct db_result *res)
{
    struct hl_err err;
    if (!one->cb)
        return;
    if (res->rc == HL_OK && one->stmt->rows == ROWS_ONE && PQntuples(res->pg) != 1)
        one->cb(hl_fail(&err, HL_FATAL, "%s: %d rows came back where one was expected",
                    one->stmt->db.name, PQntuples(res->pg)),
            NULL, &err, one->ctx);
    else
        one->cb(res->rc, res->pg, res->err, one->ctx);
}

static void single_done(const struct db_result *res, void *ctx)
{
    struct single *one = ctx;
    single_answer(one, res);
    for (int i = 0; i < MAX_SINGLE; i++)
        free(one->values[i]);
    free(one);
}

/* before: NULL, or the first half of the transaction; its answer is not wanted. values: first those
 * of `before`, then those of the statement; copied. */
static void run_both(struct store *s, const struct store_stmt *before,
    const struct store_stmt *stmt, int64_t timeout_ms, store_cb *cb, void *ctx,
    const char *const *values)
{
    struct single *one = mem_new(struct single);
    struct db_call calls[2];
    int n = 0, first = before ? before->db.nparams : 0;
    if (first + stmt->db.nparams > MAX_SINGLE)
        abort();
    one->stmt = stmt;
    one->cb = cb;
    one->ctx = ctx;
    for (int i = 0; i < first + stmt->db.nparams; i++)
        one->values[i] = mem_strdup(values[i]);
    if (before)
        calls[n++] = (struct db_call){&before->db, (const char *const *)one->values};
    calls[n++] = (struct db_call){&stmt->db, (const char *const *)one->values + first};
    dbpool_exec(s->pool, calls, n, timeout_ms, single_done, one);
}

void store_ask(struct store *s, const struct store_stmt *stmt, store_cb *cb, void *ctx,
    const char *const *values)
{
    run_both(s, NULL, stmt, s->timeout_ms, cb, ctx, values);
}

void store_run(struct store *s, const struct store_stmt *stmt, int64_t timeout_ms, store_cb *cb,
    void *ctx, const char *const *values)
{
    run_both(s, NULL, stmt, timeout_ms, cb, ctx, values);
}

struct number store_number(int64_t v)
{
    struct number n;
    snprintf(n.text, sizeof(n.text), "%lld", (long long)v);
    return n;
}

/* Short names for what follows. */
#define run(...) store_run(__VA_ARGS__)

void store_register(struct store *s, store_cb *cb, void *ctx)
{
    char host[64] = "host";
    gethostname(host, sizeof(host) - 1);
    store_run(s, &stmt_register, 0, cb, ctx,
        (const char *[]){s->owner, host, store_number(getpid()).text});
}

void store_renew(struct store *s, const char *held, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_renew, lease_ms / 3, cb, ctx,
        (const char *[]){s->owner, held, store_number(lease_ms).text});
}

void store_resign(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_resign, 0, cb, ctx, (const char *[]){s->owner});
}

void store_workers(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_workers, 0, cb, ctx, NULL);
}

void store_declare_dead(
    struct store *s, const char *worker, int64_t beat, const char *cause, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_declare_dead, 0, cb, ctx,
        (const char *[]){worker, store_number(beat).text, cause});
}

void store_dead_workers(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_dead_workers, 0, cb, ctx, NULL);
}

void store_forget_worker(struct store *s, const char *worker, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_forget_worker, 0, cb, ctx, (const char *[]){worker});
}

void store_reap(
    struct store *s, const struct store_limits *limits, int max, store_cb *cb, void *ctx)
{
    const struct number values[] = {store_number(limits->job_timeout_ms),
        store_number(limits->max_starts), store_number(max), store_number(limits->lease_ms)};
    store_run(s, &stmt_reap, 0, cb, ctx,
        (const char *[]){values[0].text, values[1].text, values[2].text, values[3].text});
}

void store_crash(struct store *s, const struct store_crash *c, store_cb *cb, void *ctx)
{
    const struct number pid = store_number(c->pid), signo = store_number(c->signo),
                        code = store_number(c->exit_code), rss = store_number(c->max_rss_kb),
                        lived = store_number(c->lived_ms);
    store_run(s, &stmt_crash, 0, cb, ctx,
        (const char *[]){c->worker, c->host, pid.text, c->role, c->signo ? signo.text : NULL,
            c->exit_code >= 0 ? code.text : NULL, c->cause, c->blamed ? "t" : "f", rss.text,
            lived.text, c->held, c->suspects});
}

void store_next_suspect(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_next_suspect, 0, cb, ctx, NULL);
}

void store_identify(struct store *s, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_identify, 0, cb, ctx, (const char *[]){store_number(max).text});
}

/* --- the queue as the rows have it ------------------------------------------------------- */

static const char *due_of(const struct store_place *place)
{
    return place->due[0] ? place->due : "-infinity";
}

static void place_set(struct store_place *place, const char *due, int64_t id)
{
    snprintf(place->due, sizeof(place->due), "%s", due);
    place->id = id;
}

void store_claim_due(
    struct store *s, const struct store_place *after, int max, int look, store_cb *cb, void *ctx)
{
    run_both(s, &stmt_lock_due, &stmt_claim_due, CLAIM_DUE_MS, cb, ctx,
        (const char *[]){due_of(after), store_number(after->id).text, store_number(max).text,
            store_number(look).text, s->owner});
}

int64_t store_looked(const PGresult *rows, struct store_place *place)
{
    place_set(place, db_text(rows, 0, DUE_ATTEMPTS + 2), db_int(rows, 0, DUE_ATTEMPTS + 3));
    return db_int(rows, 0, DUE_ATTEMPTS + 1);
}

void store_unpublished(struct store *s, const struct store_place *after, int64_t grace_ms,
    int limit, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_unpublished, 0, cb, ctx,
        (const char *[]){due_of(after), store_number(after->id).text, store_number(grace_ms).text,
            store_number(limit).text});
}

bool store_went(const PGresult *rows, int limit, struct store_place *place)
{
    enum { DUE = 8, ID, UPTO };
    int n = PQntuples(rows);
    bool full = n == limit && !PQgetisnull(rows, n - 1, 0);
    if (full)
        place_set(place, db_text(rows, n - 1, DUE), db_int(rows, n - 1, ID));
    else if (n)
        place_set(place, db_text(rows, 0, UPTO), 0);
    return full;
}

void store_generation(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_generation, 0, cb, ctx, NULL);
}

void store_announced(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_announced, 0, cb, ctx, NULL);
}

void store_upstreams(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_upstreams, 0, cb, ctx, (const char *[]){s->owner});
}

void store_upstream_open(struct store *s, const char *host, int64_t failures, int64_t pause_ms,
    const char *error, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_upstream_open, 0, cb, ctx,
        (const char *[]){host, store_number(failures).text, store_number(pause_ms).text, error});
}

void store_upstream_probe(
    struct store *s, const char *host, int64_t probe_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_upstream_probe, 0, cb, ctx,
        (const char *[]){host, s->owner, store_number(probe_ms).text});
}

void store_upstream_result(struct store *s, const char *host, const char *state, int64_t failures,
    int64_t pause_ms, const char *error, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_upstream_result, 0, cb, ctx,
        (const char *[]){host, s->owner, state, store_number(failures).text,
            store_number(pause_ms).text, error});
}

void store_forget_upstreams(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_forget_upstreams, 0, cb, ctx, NULL);
}

void store_list_upstreams(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_list_upstreams, 0, cb, ctx, NULL);
}

void store_partitions(struct store *s, int64_t days, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_partitions, 0, cb, ctx, (const char *[]){store_number(days).text});
}

void store_prune_metrics(
    struct store *s, enum store_metrics table, int64_t days, int max, store_cb *cb, void *ctx)
{
    store_run(s, table == METRICS_REQUESTS ? &stmt_prune_requests : &stmt_prune_operations, 0, cb,
        ctx, (const char *[]){store_number(days).text, store_number(max).text});
}

void store_prune_crashes(struct store *s, int64_t days, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_crashes, 0, cb, ctx,
        (const char *[]){store_number(days).text, store_number(max).text});
}

void store_retention_hold(struct store *s, const char *holder, int64_t lease_ms, int64_t every_ms,
    store_cb *cb, void *ctx)
{
    run(s, &stmt_retention_hold, 0, cb, ctx,
        (const char *[]){holder, store_number(lease_ms).text, store_number(every_ms).text});
}

void store_retention_done(struct store *s, const char *holder, store_cb *cb, void *ctx)
{
    run(s, &stmt_retention_done, 0, cb, ctx, (const char *[]){holder});
}

void store_prune_events(
    struct store *s, int64_t days, int64_t after, int page, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_events, 0, cb, ctx,
        (const char *[]){
            store_number(days).text, store_number(after).text, store_number(page).text});
}

void store_prune_documents(
    struct store *s, int64_t days, const char *after, int page, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_documents, 0, cb, ctx,
        (const char *[]){store_number(days).text, after, store_number(page).text});
}

void store_spool_note(struct store *s, const char *segment, const char *host, const char *folder,
    const char *holder, int64_t bytes, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_spool_note, 0, cb, ctx,
        (const char *[]){segment, host, folder, holder, store_number(bytes).text});
}

void store_spool_gone(struct store *s, const char *segment, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_spool_gone, 0, cb, ctx, (const char *[]){segment});
}

void store_schema_version(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_schema_version, 0, cb, ctx, NULL);
}

void store_ping(struct store *s, int64_t timeout_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_ping, timeout_ms, cb, ctx, NULL);
}

void store_count_by_status(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_count_by_status, 0, cb, ctx, NULL);
}

void store_list_workers(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_list_workers, 0, cb, ctx, NULL);
}

void store_list_spools(struct store *s, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_list_spools, 0, cb, ctx, NULL);
}

void store_search(struct store *s, const char *words, int limit, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_search, 0, cb, ctx, (const char *[]){words, store_number(limit).text});
}

void store_audit_rows(struct store *s, const char *ids, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_audit_rows, 0, cb, ctx, (const char *[]){store_number(lease_ms).text, ids});
}

void store_audit_queued(struct store *s, int64_t after, int limit, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_audit_queued, 0, cb, ctx,
        (const char *[]){store_number(after).text, store_number(limit).text});
}

void store_audit_in_progress(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_run(
        s, &stmt_audit_in_progress, 0, cb, ctx, (const char *[]){store_number(lease_ms).text});
}

void store_audit_work(struct store *s, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_audit_work, 0, cb, ctx, (const char *[]){store_number(max).text});
}

/* ================================ life, and rows read back =============================== */

struct store *store_new(struct loop *l, struct dbpool *pool, const char *owner, int64_t timeout_ms)
{
    static const enum meter_STATEMENT labels[NOPS] = {[OP_ACCEPT] = STATEMENT_ACCEPT,
        [OP_CLAIM] = STATEMENT_CLAIM,
        [OP_COMPLETE] = STATEMENT_COMPLETE,
        [OP_SETTLE] = STATEMENT_SETTLE,
        [OP_CRAWL] = STATEMENT_CRAWL};
    struct store *s = mem_new(struct store);
    s->pool = pool;
    s->owner = mem_strdup(owner);
    s->timeout_ms = timeout_ms;
    for (int i = 0; i < NOPS * LANES; i++) {
        struct op *op = &s->ops[i / LANES][i % LANES];
        op->store = s;
        op->spec = specs[i / LANES];
        list_init(&op->left);
        op->batch = batch_new(l, &(struct batch_conf){.label = labels[i / LANES],
                                     .max_items = FLUSH_ITEMS,
                                     .max_bytes = FLUSH_BYTES,
                                     .max_waiting = MAX_WAITING,
                                     .flush = op_flush,
                                     .refused = op_refused,
                                     .ctx = op});
    }
    return s;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < NOPS * LANES; i++) {
        batch_free(s->ops[i / LANES][i % LANES].batch);
        for (int k = 0; k < MAX_PARAMS; k++)
            buf_release(&s->ops[i / LANES][i % LANES].params[k]);
    }
    free(s->owner);
    free(s);
}

size_t store_waiting(const struct store *s)
{
    size_t n = 0;
    for (int i = 0; i < NOPS * LANES; i++)
        n += batch_waiting(s->ops[i / LANES][i % LANES].batch);
    return n;
}

static char *copy(const PGresult *rows, int row, int col)
{
    return PQgetisnull(rows, row, col) ? NULL : mem_strdup(PQgetvalue(rows, row, col));
}

static void digest_of(const char *hex, uint8_t out[DIGEST_LEN])
{
    unsigned byte;
    memset(out, 0, DIGEST_LEN);
    for (int i = 0; i < DIGEST_LEN && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++)
        out[i] = (uint8_t)byte;
}

bool store_event(const PGresult *rows, int row, struct change_event *ev)
{
    *ev = (struct change_event){0};
    if (PQgetisnull(rows, row, 0) || !uuid_parse(db_text(rows, row, 0), &ev->id))
        return false;
    ev->watch_id = copy(rows, row, 1);
    ev->watch_url = copy(rows, row, 2);
    ev->detected_at = db_int(rows, row, 3);
    ev->diff_summary = copy(rows, row, 4);
    ev->snapshot_url = copy(rows, row, 5);
    ev->metadata = copy(rows, row, 6);
    digest_of(db_text(rows, row, 7), ev->body_digest);
    return true;
}
