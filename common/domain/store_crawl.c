/* store_crawl: see store_crawl.h; the statements are in store_crawl_sql.c. Owns how an event and its
 * pages become parameters; the batching is store.c's. */
#include "domain/store_crawl.h"

#include "base/mem.h"
#include "base/pgarray.h"
#include "domain/store_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Arrays of the three statements, one behind the other. */
enum {
    LOCK_KEYS = 0,
    LOCK_CRAWLS,
    EVENT,
    PAGE = EVENT + 13,
    SUM_CRAWLS = PAGE + 16,
    NPARAMS,
};

static const char *const kinds[] = {[CRAWL_STARTED] = "started",
    [CRAWL_PAGE] = "page",
    [CRAWL_COMPLETED] = "completed",
    [CRAWL_FAILED] = "failed",
    [CRAWL_CANCELLED] = "cancelled",
    [CRAWL_OTHER] = "other"};

/* Of its contents: the words of the replaced service, and for what it did not know the like. */
static void put_source(struct buf *b, const char *family)
{
    char source[64];
    bool batch = family && strcmp(family, "batch_scrape") == 0;
    snprintf(source, sizeof(source), "firecrawl_%s", batch ? "batch" : family ? family : "crawl");
    pgarray_text(b, source);
}

static void put_event(const struct store_crawl *c, const char *id, struct buf *b)
{
    pgarray_text(&b[0], id);
    pgarray_text(&b[1], c->crawl_id);
    pgarray_text(&b[2], c->type ? c->type : "");
    pgarray_text(&b[3], kinds[c->kind]);
    pgarray_int(&b[4], c->received_at);
    pgarray_int(&b[5], c->success);
    pgarray_text(&b[6], c->error);
    pgarray_int(&b[7], c->documents);
    pgarray_text(&b[8], c->metadata);
    pgarray_int(&b[9], c->initiated_at);
    pgarray_int(&b[10], c->reconciled);
    pgarray_text(&b[11], c->base_url);
    put_source(&b[12], c->family);
}

static void put_page(const struct store_crawl_page *p, int64_t place, struct buf *b)
{
    char *searched = store_searched(p->doc.text);
    pgarray_int(&b[0], place);
    pgarray_text(&b[1], p->url);
    pgarray_text(&b[2], p->source_url);
    pgarray_text(&b[3], p->scrape_id);
    pgarray_int(&b[4], p->status_code);
    pgarray_text(&b[5], p->error);
    pgarray_text(&b[6], p->markdown);
    pgarray_text(&b[7], p->html);
    pgarray_text(&b[8], p->metadata);
    pgarray_text(&b[9], p->doc.canonical_url);
    pgarray_text(&b[10], p->doc.url);
    pgarray_text(&b[11], p->doc.title);
    pgarray_text(&b[12], p->doc.description);
    pgarray_text(&b[13], p->doc.language);
    pgarray_text(&b[14], p->doc.text);
    pgarray_text(&b[15], searched);
    free(searched);
}

static void put_crawl(struct store_req *r, struct buf *b)
{
    const struct store_crawl *c = LIST_OF(r, struct store_crawl, req);
    char id[UUID_STRLEN + 1];
    uuid_format(&c->event_id, id);
    pgarray_text(&b[LOCK_KEYS], c->crawl_id ? c->crawl_id : id);
    pgarray_text(&b[LOCK_CRAWLS], c->crawl_id);
    put_event(c, id, &b[EVENT]);
    for (size_t i = 0; i < c->npages; i++)
        put_page(&c->pages[i], r->place, &b[PAGE]);
    pgarray_text(&b[SUM_CRAWLS], c->crawl_id);
}

static enum hl_rc get_crawl(struct store_req *r, const PGresult *rows, int row)
{
    struct store_crawl *c = LIST_OF(r, struct store_crawl, req);
    c->known = db_text(rows, row, 1)[0] == 't';
    c->stored = db_int(rows, row, 2);
    return HL_OK;
}

const struct op_spec store_crawl_spec = {
    .nparams = NPARAMS,
    .before = &stmt_crawl_lock.db,
    .stmt = &stmt_crawl_keep.db,
    .after = &stmt_crawl_sum.db,
    .put = put_crawl,
    .get = get_crawl,
};

size_t store_crawl_bytes(const struct store_crawl_page *p)
{
    return 256 + store_length(p->markdown) + store_length(p->html) + store_length(p->metadata) +
           store_length(p->doc.text);
}

void store_crawl(struct store *s, struct store_crawl *c)
{
    size_t bytes = 256 + store_length(c->metadata);
    for (size_t i = 0; i < c->npages; i++)
        bytes += store_crawl_bytes(&c->pages[i]);
    store_submit(s, OP_CRAWL, &c->req, bytes);
}

void store_crawl_due(struct store *s, int64_t quiet_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_crawl_due, 0, cb, ctx, (const char *[]){store_number(quiet_ms).text});
}

void store_crawl_take(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_crawl_take, 0, cb, ctx, (const char *[]){store_number(lease_ms).text});
}

void store_crawl_missing(struct store *s, const char *crawl_id, const char *scrape_ids,
    const char *urls, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_crawl_missing, 0, cb, ctx, (const char *[]){crawl_id, scrape_ids, urls});
}

void store_crawl_asked(struct store *s, const char *crawl_id, int64_t reported, int64_t again_ms,
    store_cb *cb, void *ctx)
{
    store_run(s, &stmt_crawl_asked, 0, cb, ctx,
        (const char *[]){crawl_id, store_number(reported).text, store_number(again_ms).text});
}

void store_prune_crawls(struct store *s, int64_t days, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_crawls, 0, cb, ctx,
        (const char *[]){store_number(days).text, store_number(max).text});
}
