/* store_samples: see store_samples.h; the statements are in store_samples_sql.c. */
#include "domain/store_samples.h"

#include "domain/store_private.h"

enum { ADD_TIMEOUT_MS = 4000 };

void store_samples_add(struct store *s, const struct store_sample *x, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_samples_add, ADD_TIMEOUT_MS, cb, ctx,
        (const char *[]){store_number(x->accepted).text, store_number(x->crawl_accepted).text,
            store_number(x->refused).text, store_number(x->completed).text,
            store_number(x->superseded).text, store_number(x->retried).text,
            store_number(x->failed).text, store_number(x->crawl_done).text,
            store_number(x->in_flight).text, store_number(x->queues.jobs[QUEUED_CHANGE]).text,
            store_number(x->queues.jobs[QUEUED_CRAWL]).text, store_number(x->queues.oldest_ms).text,
            x->latency, x->kinds, x->names, x->outcomes, x->counts, x->took_ms});
}

void store_prune_samples(struct store *s, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_samples, 0, cb, ctx, (const char *[]){store_number(max).text});
}

void store_prune_tallies(struct store *s, int max, store_cb *cb, void *ctx)
{
    store_run(s, &stmt_prune_tallies, 0, cb, ctx, (const char *[]){store_number(max).text});
}

void store_series(struct store *s, int minutes, int step_s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_series, cb, ctx,
        (const char *[]){store_number(minutes).text, store_number(step_s).text});
}

void store_rates(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_rates, cb, ctx, NULL);
}

void store_sources(struct store *s, int hours, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_sources, cb, ctx, (const char *[]){store_number(hours).text});
}

void store_upstreams_seen(struct store *s, int hours, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_upstreams_seen, cb, ctx, (const char *[]){store_number(hours).text});
}

void store_system(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_system, cb, ctx, (const char *[]){store_number(lease_ms).text});
}

void store_glance(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_glance, cb, ctx, (const char *[]){store_number(lease_ms).text});
}

void store_glance_fleet(struct store *s, int64_t lease_ms, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_glance_fleet, cb, ctx, (const char *[]){store_number(lease_ms).text});
}

void store_glance_troubles(struct store *s, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_glance_troubles, cb, ctx, NULL);
}
