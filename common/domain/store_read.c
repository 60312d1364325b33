/* store_read: see store_read.h; the statements are in store_read_sql.c. */
#include "domain/store_read.h"

#include "domain/store_private.h"

#include <stdio.h>

struct text {
    char s[32];
};

static struct text integer(int64_t v)
{
    struct text t;
    snprintf(t.s, sizeof(t.s), "%lld", (long long)v);
    return t;
}

/* Behind any row there is; sums with the numbers of rows stay within 64 bits. */
static struct text offset(int64_t v)
{
    return integer(v < INT64_MAX / 2 ? v : INT64_MAX / 2);
}

static struct text real(double v)
{
    struct text t;
    snprintf(t.s, sizeof(t.s), "%.17g", v);
    return t;
}

void store_read_requests(
    struct store *s, const struct store_requests_query *q, store_cb *cb, void *ctx)
{
    const struct text least = real(q->min_duration_ms ? *q->min_duration_ms : 0);
    store_ask(s, &stmt_read_requests, cb, ctx,
        (const char *[]){integer(q->page.hours).s, integer(q->page.limit).s,
            offset(q->page.offset).s, q->path, q->method, q->min_duration_ms ? least.s : NULL});
}

void store_read_operations(
    struct store *s, const struct store_operations_query *q, store_cb *cb, void *ctx)
{
    const char *success = !q->success ? NULL : *q->success ? "t" : "f";
    store_ask(s, &stmt_read_operations, cb, ctx,
        (const char *[]){integer(q->page.hours).s, integer(q->page.limit).s,
            offset(q->page.offset).s, q->type, q->name, q->document_url, success});
}

void store_read_summary(struct store *s, int64_t hours, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_read_summary, cb, ctx, (const char *[]){integer(hours).s});
}

void store_read_crawl(struct store *s, const char *crawl_id, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_read_crawl, cb, ctx, (const char *[]){crawl_id});
}

void store_read_crawl_steps(
    struct store *s, const char *crawl_id, int64_t limit, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_read_crawl_steps, cb, ctx, (const char *[]){crawl_id, integer(limit).s});
}
