/* depths: see depths.h. */
#include "producer/depths.h"

#include "base/mem.h"
#include "producer/stores.h"

#include <stdlib.h>

struct look {
    struct stores *stores;
    struct sampler *sampler;
    int64_t depth;
};

static int64_t depth_of(enum hl_rc rc, const struct queue_stats *stats)
{
    return rc == HL_OK ? stats->length + stats->later : -1;
}

static void told(struct look *look, int64_t crawl_depth)
{
    sampler_depths(look->sampler, look->depth, crawl_depth);
    free(look);
}

static void crawls_counted(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    (void)err;
    told(ctx, depth_of(rc, stats));
}

static void changes_counted(
    enum hl_rc rc, const struct queue_stats *stats, const struct hl_err *err, void *ctx)
{
    struct look *look = ctx;
    (void)err;
    look->depth = depth_of(rc, stats);
    if (look->depth < 0)
        told(look, -1); /* no second deadline for the other one */
    else
        queue_stats(look->stores->crawl_queue, crawls_counted, look);
}

void depths_look(struct sampler *s, void *stores)
{
    struct look *look = mem_new(struct look);
    look->stores = stores;
    look->sampler = s;
    queue_stats(look->stores->queue, changes_counted, look);
}
