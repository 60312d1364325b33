/* store: see store.h. First the statements, each with its transaction and expected row count; then
 * the batching that T0, T1 and T3 share; then one function per statement. */
#include "domain/store.h"

#include "base/mem.h"
#include "base/pgarray.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_ITEMS      256
#define FLUSH_BYTES      (4 * 1024 * 1024)
#define MAX_WAITING      65536
#define MAX_PARAMS       12
#define CONFLICT_RETRIES 5 /* deadlock, serialization, a row seen by neither snapshot */
#define MAX_SINGLE       4
#define SEARCH_BYTES     (256 * 1024) /* what goes into a tsvector */

/* ================================ the statements ========================================= */

/* Columns of an event, as store_event reads them. */
#define EVENT_COLUMNS(t)                                                                           \
    t ".event_id, " t ".watch_id, " t ".watch_url, "                                               \
      "(extract(epoch FROM " t ".detected_at) * 1000000)::bigint, " t ".diff_summary, " t          \
      ".snapshot_url, coalesce(" t ".metadata, '{}'::jsonb)::text, encode(" t                      \
      ".body_digest, 'hex')"

/* Of a row c: whoever claimed it is dead or gone. */
#define NO_LIVING_OWNER                                                                            \
    "NOT EXISTS (SELECT FROM webhook.workers w WHERE w.id = c.claimed_by AND w.dead_at IS NULL)"

/* T0. One row per event asked for; id NULL: another transaction inserted it after our snapshot. */
static const struct db_stmt stmt_accept = {"accept",
    "WITH job AS ("
    "  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[],"
    "    $6::text[], $7::text[], $8::text[]) WITH ORDINALITY"
    "  AS j (event_id, watch_id, watch_url, detected, diff, snapshot, metadata, digest, n)"
    "), new AS ("
    "  INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
    "    diff_summary, snapshot_url, rescrape_job_id, rescrape_status, metadata, body_digest,"
    "    accept_seq)"
    "  SELECT event_id, watch_id, watch_url, sha256(convert_to(watch_url, 'UTF8')),"
    "    'epoch'::timestamptz + detected * interval '1 microsecond', diff, snapshot,"
    "    event_id::text, 'queued', metadata::jsonb, decode(digest, 'hex'),"
    "    nextval('webhook.scrape_clock')"
    "  FROM job j ORDER BY j.event_id" /* the same order everywhere: two flushes cannot deadlock */
    "  ON CONFLICT (event_id) DO NOTHING RETURNING id, event_id"
    ") "
    "SELECT j.n, coalesce(new.id, old.id), new.id IS NULL FROM job j"
    "  LEFT JOIN new USING (event_id)"
    "  LEFT JOIN webhook.change_events old ON old.event_id = j.event_id",
    8};

/* T1, first half: whoever claims events of one URL takes turns, so that the second half, which has
 * a later snapshot, sees the other's claim. One row. */
static const struct db_stmt stmt_lock_urls = {"lock_urls",
    "SELECT count(pg_advisory_xact_lock(key)) FROM ("
    "  SELECT DISTINCT hashtextextended(url, 0) AS key FROM unnest($1::text[]) AS j (url)"
    "  ORDER BY key) k",
    1};

/* T1, second half. One row per event asked for. */
static const struct db_stmt stmt_claim = {"claim",
    "WITH job AS ("
    "  SELECT * FROM unnest($1::uuid[]) WITH ORDINALITY AS j (event_id, n)"
    "), seen AS ("
    "  SELECT j.n, c.id, c.watch_url, c.url_key, c.next_attempt_at, CASE"
    "    WHEN c.rescrape_status = 'queued' AND c.next_attempt_at > now() THEN 'early'"
    "    WHEN c.rescrape_status = 'queued' THEN 'free'"
    "    WHEN c.rescrape_status <> 'in_progress' THEN 'done'"
    "    WHEN c.claimed_by = $2 THEN 'free'" /* our own unsure claim */
    "    WHEN " NO_LIVING_OWNER " THEN 'free' ELSE 'held' END AS state"
    "  FROM job j JOIN webhook.change_events c ON c.event_id = j.event_id"
    "  ORDER BY c.id FOR UPDATE OF c"
    "), pick AS (" /* one event per URL, none while another of it is in progress */
    "  SELECT DISTINCT ON (s.watch_url) s.id FROM seen s"
    "  WHERE s.state = 'free'"
    "    AND EXISTS (SELECT FROM webhook.workers WHERE id = $2 AND dead_at IS NULL)"
    "    AND NOT EXISTS (SELECT FROM webhook.change_events o"
    "      WHERE o.url_key = s.url_key AND o.watch_url = s.watch_url"
    "        AND o.rescrape_status = 'in_progress' AND o.id <> s.id)"
    "  ORDER BY s.watch_url, s.id"
    "), mine AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'in_progress',"
    "    rescrape_job_id = c.event_id::text, claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    starts = coalesce(c.starts, 0)"
    "      + CASE WHEN c.claimed_by = $2 AND c.rescrape_status = 'in_progress' THEN 0 ELSE 1 END,"
    "    claimed_by = $2, claimed_at = clock_timestamp(), next_attempt_at = NULL,"
    "    scrape_seq = nextval('webhook.scrape_clock')"
    "  FROM pick WHERE c.id = pick.id AND c.rescrape_status IN ('queued', 'in_progress')"
    "  RETURNING c.id, c.claim_epoch, c.starts, coalesce(c.attempts, 0) AS attempts"
    ") "
    "SELECT j.n, CASE WHEN mine.id IS NOT NULL THEN 'ours' WHEN s.id IS NULL THEN 'missing'"
    "    WHEN s.state = 'free' THEN 'busy' ELSE s.state END,"
    "  s.id, mine.claim_epoch, mine.starts, mine.attempts,"
    "  greatest(0, extract(epoch FROM s.next_attempt_at - now()) * 1000)::bigint"
    "  FROM job j LEFT JOIN seen s USING (n) LEFT JOIN mine ON mine.id = s.id",
    2};

/* Whether T3 counted: c is the row as this statement's snapshot has it, w the row updated. NULL:
 * ours in the snapshot, yet not updated: another transaction was faster, perhaps our own first try
 * that had not committed; the next snapshot tells. */
#define T3_WON                                                                                     \
    "CASE WHEN w.id IS NOT NULL THEN true"                                                         \
    "  WHEN c.rescrape_status = 'in_progress' AND c.claim_epoch = f.epoch"                         \
    "    AND c.claimed_by = $1 THEN NULL"                                                          \
    "  ELSE "

/* T3b. One row per event asked for. Document and superseding hang on the guarded update: when the
 * claim is not ours any more nothing at all is written. */
static const struct db_stmt stmt_complete = {"complete",
    "WITH fin AS ("
    "  SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[],"
    "    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]) WITH ORDINALITY"
    "  AS f (event_id, epoch, metadata, canonical, url, title, description, language, body,"
    "    searched, n)"
    "), won AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'completed', indexed_at = now(),"
    "    finished_at = now(), starts = 0,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || f.metadata::jsonb"
    "  FROM fin f WHERE c.event_id = f.event_id AND c.rescrape_status = 'in_progress'"
    "    AND c.claim_epoch = f.epoch AND c.claimed_by = $1"
    "  RETURNING f.n, c.id, c.event_id, c.watch_url, c.url_key, c.scrape_seq, c.claim_epoch"
    "), doc AS (" /* two events of one page in one flush: the later scrape only */
    "  INSERT INTO webhook.documents AS d (url_key, canonical_url, url, title, description,"
    "    language, text, content_hash, search, event_id, claim_epoch, scrape_seq)"
    "  SELECT DISTINCT ON (f.canonical) sha256(convert_to(f.canonical, 'UTF8')), f.canonical,"
    "    f.url, f.title, f.description, f.language, f.body, sha256(convert_to(f.body, 'UTF8')),"
    "    setweight(to_tsvector('simple', coalesce(f.title, '')), 'A')"
    "      || setweight(to_tsvector('simple', coalesce(f.description, '')), 'B')"
    "      || setweight(to_tsvector('simple', coalesce(f.searched, f.body)), 'C'),"
    "    w.event_id, w.claim_epoch, w.scrape_seq"
    "  FROM won w JOIN fin f USING (n) WHERE f.body IS NOT NULL"
    "  ORDER BY f.canonical, w.scrape_seq DESC"
    "  ON CONFLICT (url_key) DO UPDATE SET url = EXCLUDED.url, title = EXCLUDED.title,"
    "    description = EXCLUDED.description, language = EXCLUDED.language, text = EXCLUDED.text,"
    "    content_hash = EXCLUDED.content_hash, search = EXCLUDED.search,"
    "    event_id = EXCLUDED.event_id, claim_epoch = EXCLUDED.claim_epoch,"
    "    scrape_seq = EXCLUDED.scrape_seq, scraped_at = now(),"
    "    changed_at = CASE WHEN d.content_hash = EXCLUDED.content_hash THEN d.changed_at"
    "      ELSE now() END"
    "  WHERE d.scrape_seq < EXCLUDED.scrape_seq" /* an older fetch never replaces a newer text */
    "), older AS (" /* accepted before this scrape began: it has seen their change too */
    "  SELECT q.id, w.event_id AS by FROM won w JOIN webhook.change_events q"
    "    ON q.url_key = w.url_key AND q.watch_url = w.watch_url"
    "  WHERE q.rescrape_status = 'queued' AND q.accept_seq < w.scrape_seq"
    "  ORDER BY q.id FOR UPDATE OF q SKIP LOCKED" /* locked = being claimed: let it run */
    "), superseded AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'superseded', finished_at = now(),"
    "    next_attempt_at = NULL, metadata = coalesce(c.metadata, '{}'::jsonb)"
    "      || jsonb_build_object('superseded_by', older.by)"
    "  FROM older WHERE c.id = older.id AND c.rescrape_status = 'queued' RETURNING c.id"
    ") "
    "SELECT f.n, " T3_WON "coalesce(c.rescrape_status = 'completed'"
    "    AND c.claim_epoch = f.epoch AND c.claimed_by = $1, false) END, c.id IS NULL,"
    "  (SELECT count(*) FROM superseded)"
    "  FROM fin f LEFT JOIN won w USING (n)"
    "  LEFT JOIN webhook.change_events c ON c.event_id = f.event_id",
    11};

/* T3a, and giving work back. One row per event asked for. A repeat finds its own epoch with its own
 * status: whoever takes the row next raises the epoch. */
static const struct db_stmt stmt_settle = {"settle",
    "WITH fin AS ("
    "  SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],"
    "    $7::text[]) WITH ORDINALITY AS f (event_id, epoch, status, charge, delay_ms, metadata, n)"
    "), won AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = f.status, starts = 0,"
    "    attempts = coalesce(c.attempts, 0) + f.charge::integer,"
    "    claimed_by = CASE WHEN f.status = 'queued' THEN NULL ELSE c.claimed_by END,"
    "    finished_at = CASE WHEN f.status = 'queued' THEN NULL ELSE now() END,"
    "    next_attempt_at = CASE WHEN f.delay_ms > 0"
    "      THEN now() + f.delay_ms * interval '1 millisecond' END,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb) || f.metadata::jsonb"
    "  FROM fin f WHERE c.event_id = f.event_id AND c.rescrape_status = 'in_progress'"
    "    AND c.claim_epoch = f.epoch AND c.claimed_by = $1"
    "  RETURNING f.n, c.id"
    ") "
    "SELECT f.n, " T3_WON "coalesce(c.rescrape_status = f.status"
    "    AND c.claim_epoch = f.epoch, false) END, c.id IS NULL"
    "  FROM fin f LEFT JOIN won w USING (n)"
    "  LEFT JOIN webhook.change_events c ON c.event_id = f.event_id",
    7};

/* Lease. No row expected. */
static const struct db_stmt stmt_register = {"register",
    "INSERT INTO webhook.workers (id, host, pid) VALUES ($1, $2, $3::integer)"
    " ON CONFLICT (id) DO NOTHING",
    3};

/* Lease. No row: declared dead. Otherwise one row per row given back, or one of NULLs. A claim
 * younger than the lease may have been committed after `held` was written down: it is left alone.
 */
static const struct db_stmt stmt_renew = {"renew",
    "WITH beat AS ("
    "  UPDATE webhook.workers SET beat = beat + 1, seen_at = now()"
    "  WHERE id = $1 AND dead_at IS NULL RETURNING beat"
    "), freed AS ("
    "  UPDATE webhook.change_events c SET rescrape_status = 'queued', claimed_by = NULL,"
    "    claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    starts = greatest(coalesce(c.starts, 0) - 1, 0)"
    "  FROM beat WHERE c.claimed_by = $1 AND c.rescrape_status = 'in_progress'"
    "    AND c.event_id <> ALL ($2::uuid[])"
    "    AND c.claimed_at < clock_timestamp() - $3::bigint * interval '1 millisecond'"
    "  RETURNING c.*"
    ") "
    "SELECT " EVENT_COLUMNS("f") " FROM beat LEFT JOIN freed f ON true",
    3};

static const struct db_stmt stmt_resign = {
    "resign", "DELETE FROM webhook.workers WHERE id = $1", 1};

/* Janitor. */
static const struct db_stmt stmt_workers = {
    "workers", "SELECT id, beat FROM webhook.workers WHERE dead_at IS NULL", 0};

static const struct db_stmt stmt_declare_dead = {"declare_dead",
    "UPDATE webhook.workers SET dead_at = now(), cause = $3"
    " WHERE id = $1 AND dead_at IS NULL AND ($2::bigint < 0 OR beat = $2::bigint) RETURNING id",
    3};

static const struct db_stmt stmt_dead_workers = {"dead_workers",
    "SELECT id FROM webhook.workers WHERE dead_at IS NOT NULL ORDER BY dead_at LIMIT 100", 0};

static const struct db_stmt stmt_forget_worker = {"forget_worker",
    "DELETE FROM webhook.workers w WHERE w.id = $1 AND w.dead_at IS NOT NULL AND NOT EXISTS ("
    "  SELECT FROM webhook.change_events c"
    "  WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress') RETURNING id",
    1};

/* Janitor. A zombie is judged by its owner's life and by the time its work began, never by the
 * sender's detected_at. Any number of janitors may run: SKIP LOCKED. At most $3 rows. */
static const struct db_stmt stmt_reap = {"reap",
    "WITH zombie AS ("
    /* no join: the condition is looked at again with the row as it is once it is locked */
    "  SELECT c.id, " NO_LIVING_OWNER " AS orphan FROM webhook.change_events c"
    "  WHERE c.rescrape_status = 'in_progress' AND c.claimed_by IS NOT NULL"
    /* a worker that registered after this statement's snapshot is not seen: its claim is younger */
    "    AND (" NO_LIVING_OWNER " AND coalesce(c.claimed_at < now(), true)"
    "      OR c.claimed_at < now() - ($1::bigint + $4::bigint) * interval '1 millisecond')"
    "  ORDER BY c.id LIMIT $3::integer FOR UPDATE OF c SKIP LOCKED"
    "), reaped AS ("
    "  UPDATE webhook.change_events c SET claim_epoch = coalesce(c.claim_epoch, 0) + 1,"
    "    claimed_by = NULL,"
    "    rescrape_status = CASE WHEN coalesce(c.starts, 0) < $2::integer THEN 'queued'"
    "      WHEN z.orphan THEN 'failed: worker died ' || c.starts || ' times'"
    "      ELSE 'failed: job timeout after ' || ($1::bigint / 60000) || ' minutes' END,"
    "    finished_at = CASE WHEN coalesce(c.starts, 0) < $2::integer THEN NULL ELSE now() END,"
    "    metadata = coalesce(c.metadata, '{}'::jsonb)"
    "      || jsonb_build_object('zombie_cleanup_at', now(), 'original_detected_at', c.detected_at)"
    "  FROM zombie z WHERE c.id = z.id RETURNING c.*"
    ") "
    "SELECT " EVENT_COLUMNS("r") ", r.rescrape_status FROM reaped r ORDER BY r.id",
    4};

/* Janitor. Queued rows that may have no job in Redis; publishing them is idempotent. */
static const struct db_stmt stmt_unpublished = {"unpublished",
    "SELECT " EVENT_COLUMNS(
        "c") ", c.id FROM webhook.change_events c"
             " WHERE c.rescrape_status = 'queued' AND c.id > $1::bigint AND c.event_id IS NOT NULL"
             "   AND c.created_at < now() - $2::bigint * interval '1 millisecond'"
             "   AND (c.next_attempt_at IS NULL OR c.next_attempt_at < now())"
             " ORDER BY c.id LIMIT $3::integer",
    3};

static const struct db_stmt stmt_schema_version = {
    "schema_version", "SELECT coalesce(max(version), 0) FROM webhook.schema_migrations", 0};

static const struct db_stmt stmt_ping = {"ping", "SELECT 1", 0};

/* For people. */
static const struct db_stmt stmt_count_by_status = {"count_by_status",
    "SELECT split_part(coalesce(rescrape_status, 'none'), ':', 1) AS status, count(*)"
    " FROM webhook.change_events GROUP BY 1 ORDER BY 1",
    0};

static const struct db_stmt stmt_list_workers = {"list_workers",
    "SELECT w.id, w.host, w.pid, CASE WHEN w.dead_at IS NULL THEN 'alive' ELSE 'dead' END,"
    "  w.started_at, round(extract(epoch FROM now() - w.seen_at))::bigint,"
    "  (SELECT count(*) FROM webhook.change_events c"
    "   WHERE c.claimed_by = w.id AND c.rescrape_status = 'in_progress')"
    " FROM webhook.workers w ORDER BY w.started_at, w.id",
    0};

static const struct db_stmt stmt_search = {"search",
    "SELECT d.url, coalesce(d.title, ''), coalesce(d.description, ''),"
    "  ts_headline('simple', left(d.text, 100000), q, 'StartSel=«, StopSel=», MaxWords=30,"
    " MinWords=15, MaxFragments=1'),"
    "  ts_rank(d.search, q), d.scraped_at"
    " FROM webhook.documents d, websearch_to_tsquery('simple', $1) q WHERE d.search @@ q"
    " ORDER BY ts_rank(d.search, q) DESC, d.scraped_at DESC LIMIT $2::integer",
    2};

static const struct db_stmt stmt_list_crawls = {"list_crawls",
    "SELECT job_id, status, base_url, total_pages, pages_indexed, pages_failed, started_at,"
    "  completed_at FROM webhook.crawl_sessions WHERE $1::text IS NULL OR status = $1"
    " ORDER BY started_at DESC, id LIMIT $2::integer",
    2};

/* ================================ batching =============================================== */

enum op_kind { OP_ACCEPT, OP_CLAIM, OP_COMPLETE, OP_SETTLE, NOPS };

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

struct op_spec {
    int nparams;
    bool owner_first;             /* $1 is the owner; arrays follow */
    const struct db_stmt *before; /* runs first, in the same transaction; takes the first arrays */
    const struct db_stmt *stmt;   /* takes the rest */
    /* Adds one request to the arrays. */
    void (*put)(struct store_req *r, struct buf *arrays);
    /* Reads one result row; returns the request's outcome. */
    enum hl_rc (*get)(struct store_req *r, const PGresult *rows, int row);
};

struct store {
    struct dbpool *pool;
    char *owner;
    int64_t timeout_ms;
    struct op ops[NOPS];
};

static void put_id(struct buf *b, const struct change_event *ev)
{
    char id[UUID_STRLEN + 1];
    uuid_format(&ev->id, id);
    pgarray_text(b, id);
}

static bool is_true(const PGresult *rows, int row, int col)
{
    return db_text(rows, row, col)[0] == 't';
}

/* --- T0 ---------------------------------------------------------------------------------- */

static void put_accept(struct store_req *r, struct buf *b)
{
    const struct change_event *ev = LIST_OF(r, struct store_accept, req)->ev;
    char digest[DIGEST_HEXLEN + 1];
    digest_hex(ev->body_digest, DIGEST_LEN, digest);
    put_id(&b[0], ev);
    pgarray_text(&b[1], ev->watch_id);
    pgarray_text(&b[2], ev->watch_url);
    pgarray_int(&b[3], ev->detected_at);
    pgarray_text(&b[4], ev->diff_summary);
    pgarray_text(&b[5], ev->snapshot_url);
    pgarray_text(&b[6], ev->metadata);
    pgarray_text(&b[7], digest);
}

static enum hl_rc get_accept(struct store_req *r, const PGresult *rows, int row)
{
    struct store_accept *a = LIST_OF(r, struct store_accept, req);
    if (PQgetisnull(rows, row, 1))
        return HL_RETRY; /* inserted by another after our snapshot: the next one sees it */
    a->row_id = db_int(rows, row, 1);
    a->existed = is_true(rows, row, 2);
    return HL_OK;
}

/* --- T1 ---------------------------------------------------------------------------------- */

static void put_claim(struct store_req *r, struct buf *b)
{
    const struct change_event *ev = LIST_OF(r, struct store_claim, req)->ev;
    pgarray_text(&b[0], ev->watch_url);
    put_id(&b[1], ev);
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
    return HL_OK;
}

/* --- T3b --------------------------------------------------------------------------------- */

static enum hl_rc t3_outcome(const PGresult *rows, int row)
{
    if (PQgetisnull(rows, row, 1))
        return HL_RETRY;
    return is_true(rows, row, 1) ? HL_OK : HL_LOST;
}

/* Only the first SEARCH_BYTES are searched; the whole text is kept. NULL: all of it. */
static char *searched_part(const char *text)
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
    char *searched = searched_part(c->doc.text);
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
    free(searched);
}

static enum hl_rc get_complete(struct store_req *r, const PGresult *rows, int row)
{
    struct store_complete *c = LIST_OF(r, struct store_complete, req);
    c->gone = is_true(rows, row, 2);
    c->superseded = db_int(rows, row, 3);
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
static const struct op_spec specs[NOPS] = {
    [OP_ACCEPT]   = {.nparams = 8, .stmt = &stmt_accept, .put = put_accept, .get = get_accept},
    [OP_CLAIM]    = {.nparams = 2, .before = &stmt_lock_urls, .stmt = &stmt_claim,
                     .put = put_claim, .get = get_claim},
    [OP_COMPLETE] = {.nparams = 10, .owner_first = true, .stmt = &stmt_complete,
                     .put = put_complete, .get = get_complete},
    [OP_SETTLE]   = {.nparams = 6, .owner_first = true, .stmt = &stmt_settle,
                     .put = put_settle, .get = get_settle},
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
    struct db_call calls[2];
    int n = 0;

    for (int i = 0; i < spec->nparams; i++)
        pgarray_begin(&op->params[i]);
    for (op->nsent = 0; op->nsent < max; op->nsent++) {
        struct store_req *r = LIST_OF(list_pop(&op->left), struct store_req, item.node);
        op->sent[op->nsent] = r;
        spec->put(r, op->params);
    }
    /* The owner stands before the arrays or behind them; dbpool borrows all values. */
    op->values[0] = op->values[spec->nparams] = op->store->owner;
    for (int i = 0; i < spec->nparams; i++)
        op->values[first + i] = pgarray_end(&op->params[i]);
    if (spec->before)
        calls[n++] = (struct db_call){spec->before, op->values};
    calls[n++] =
        (struct db_call){spec->stmt, op->values + (spec->before ? spec->before->nparams : 0)};
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
    op_next(op);
    for (size_t i = 0; i < n; i++)
        op_answer(sent[i], rcs[i], &err);
}

/* Only the data itself is refused for good: classes 22 and 23, and 54, more of it than the server
 * can handle. Anything else that PostgreSQL says no to, a missing table or right, is the
 * installation's fault: the event waits until somebody mends it. */
static bool data_refused(const struct hl_err *err)
{
    static const char *const classes[] = {"22", "23", "54"};
    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
        if (strncmp(err->sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}

static void op_failed(struct op *op, enum hl_rc rc, const struct hl_err *err)
{
    struct store_req *sent[FLUSH_ITEMS];
    size_t n = op->nsent;

    if (rc == HL_FATAL && !data_refused(err))
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
    bool refused = res->rc == HL_FATAL && data_refused(res->err) && n > 1;

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

static void submit(struct store *s, enum op_kind kind, struct store_req *r, size_t bytes)
{
    r->item.bytes = bytes;
    batch_add(s->ops[kind].batch, &r->item);
}

static size_t length(const char *s)
{
    return s ? strlen(s) : 0;
}

void store_accept(struct store *s, struct store_accept *a)
{
    submit(s, OP_ACCEPT, &a->req,
        128 + length(a->ev->watch_url) + length(a->ev->metadata) + length(a->ev->diff_summary));
}

bool store_accept_undo(struct store *s, struct store_accept *a)
{
    return batch_remove(s->ops[OP_ACCEPT].batch, &a->req.item);
}

void store_claim(struct store *s, struct store_claim *c)
{
    submit(s, OP_CLAIM, &c->req, 64);
}

void store_complete(struct store *s, struct store_complete *c)
{
    submit(s, OP_COMPLETE, &c->req, 128 + length(c->doc.text) + length(c->metadata));
}

void store_settle(struct store *s, struct store_settle *f)
{
    submit(s, OP_SETTLE, &f->req, 128 + length(f->metadata));
}

/* ================================ single statements ====================================== */

struct single {
    store_cb *cb;
    void *ctx;
    char *values[MAX_SINGLE]; /* owned copies */
};

static void single_done(const struct db_result *res, void *ctx)
{
    struct single *one = ctx;
    one->cb(res->rc, res->pg, res->err, one->ctx);
    for (int i = 0; i < MAX_SINGLE; i++)
        free(one->values[i]);
    free(one);
}

/* values: as many as the statement has parameters; copied. */
static void run(struct store *s, const struct db_stmt *stmt, int64_t timeout_ms, store_cb *cb,
    void *ctx, const char *const *values)
{
    struct single *one = mem_new(struct single);
    one->cb = cb;
    one->ctx = ctx;
    for (int i = 0; i < stmt->nparams; i++)
        one->values[i] = mem_strdup(values[i]);
    struct db_call call = {stmt, (const char *const *)one->values};
    dbpool_exec(s->pool, &call, 1, timeout_ms, single_done, one);
}

struct number {
    char text[24];
};

static struct number number(int64_t v)
{
    struct number n;
    snprintf(n.text, sizeof(n.text), "%lld", (long long)v);
    return n;
}

void store_register(struct store *s, store_cb *cb, void *ctx)
{
    char host[64] = "host";
    gethostname(host, sizeof(host) - 1);
    run(s, &stmt_register, 0, cb, ctx, (const char *[]){s->owner, host, number(getpid()).text});
}

void store_renew(struct store *s, const char *held, int64_t lease_ms, store_cb *cb, void *ctx)
{
    run(s, &stmt_renew, lease_ms / 3, cb, ctx,
        (const char *[]){s->owner, held, number(lease_ms).text});
}

void store_resign(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_resign, 0, cb, ctx, (const char *[]){s->owner});
}

void store_workers(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_workers, 0, cb, ctx, NULL);
}

void store_declare_dead(
    struct store *s, const char *worker, int64_t beat, const char *cause, store_cb *cb, void *ctx)
{
    run(s, &stmt_declare_dead, 0, cb, ctx, (const char *[]){worker, number(beat).text, cause});
}

void store_dead_workers(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_dead_workers, 0, cb, ctx, NULL);
}

void store_forget_worker(struct store *s, const char *worker, store_cb *cb, void *ctx)
{
    run(s, &stmt_forget_worker, 0, cb, ctx, (const char *[]){worker});
}

void store_reap(
    struct store *s, const struct store_limits *limits, int max, store_cb *cb, void *ctx)
{
    const struct number values[] = {number(limits->job_timeout_ms), number(limits->max_starts),
        number(max), number(limits->lease_ms)};
    run(s, &stmt_reap, 0, cb, ctx,
        (const char *[]){values[0].text, values[1].text, values[2].text, values[3].text});
}

void store_unpublished(
    struct store *s, int64_t after, int64_t grace_ms, int limit, store_cb *cb, void *ctx)
{
    run(s, &stmt_unpublished, 0, cb, ctx,
        (const char *[]){number(after).text, number(grace_ms).text, number(limit).text});
}

void store_schema_version(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_schema_version, 0, cb, ctx, NULL);
}

void store_ping(struct store *s, int64_t timeout_ms, store_cb *cb, void *ctx)
{
    run(s, &stmt_ping, timeout_ms, cb, ctx, NULL);
}

void store_count_by_status(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_count_by_status, 0, cb, ctx, NULL);
}

void store_list_workers(struct store *s, store_cb *cb, void *ctx)
{
    run(s, &stmt_list_workers, 0, cb, ctx, NULL);
}

void store_search(struct store *s, const char *words, int limit, store_cb *cb, void *ctx)
{
    run(s, &stmt_search, 0, cb, ctx, (const char *[]){words, number(limit).text});
}

void store_list_crawls(struct store *s, const char *status, int limit, store_cb *cb, void *ctx)
{
    run(s, &stmt_list_crawls, 0, cb, ctx, (const char *[]){status, number(limit).text});
}

/* ================================ life, and rows read back =============================== */

struct store *store_new(struct loop *l, struct dbpool *pool, const char *owner, int64_t timeout_ms)
{
    struct store *s = mem_new(struct store);
    s->pool = pool;
    s->owner = mem_strdup(owner);
    s->timeout_ms = timeout_ms;
    for (int i = 0; i < NOPS; i++) {
        struct op *op = &s->ops[i];
        op->store = s;
        op->spec = &specs[i];
        list_init(&op->left);
        op->batch = batch_new(l, &(struct batch_conf){.max_items = FLUSH_ITEMS,
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
    for (int i = 0; i < NOPS; i++) {
        batch_free(s->ops[i].batch);
        for (int k = 0; k < MAX_PARAMS; k++)
            buf_release(&s->ops[i].params[k]);
    }
    free(s->owner);
    free(s);
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
