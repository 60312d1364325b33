/* batch: see batch.h. */
#include "io/batch.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

struct batch {
    struct loop *loop;
    struct batch_conf conf;
    struct list waiting, refused;
    struct defer kick, refuse;
    bool in_flight;
    int64_t sent_us; /* that flush */
};

struct batch *batch_new(struct loop *l, const struct batch_conf *conf)
{
    struct batch *b = mem_new(struct batch);
    b->loop = l;
    b->conf = *conf;
    list_init(&b->waiting);
    list_init(&b->refused);
    return b;
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    loop_defer_cancel(b->loop, &b->kick);
    loop_defer_cancel(b->loop, &b->refuse);
    while (list_pop(&b->waiting) || list_pop(&b->refused))
        ;
    free(b);
}

static void flush(void *ctx)
{
    struct batch *b = ctx;
    struct list items;
    size_t bytes = 0;

    if (b->in_flight || !b->waiting.len)
        return;
    list_init(&items);
    LIST_EACH(&b->waiting, n)
    {
        bytes += LIST_OF(n, struct batch_item, node)->bytes;
        if (items.len && (items.len >= b->conf.max_items || bytes > b->conf.max_bytes))
            break;
        list_remove(&b->waiting, n);
        list_push(&items, n);
    }
    b->in_flight = true;
    b->sent_us = clock_mono_us();
    meter_observe(M_BATCH, b->conf.label, (int64_t)items.len);
    b->conf.flush(&items, b->conf.ctx);
}

static void answer_refused(void *ctx)
{
    struct batch *b = ctx;
    struct list items;

    list_init(&items);
    list_splice(&items, &b->refused);
    for (struct list_node *n; (n = list_pop(&items));)
        b->conf.refused(LIST_OF(n, struct batch_item, node), b->conf.ctx);
}

void batch_refuse(struct batch *b, struct batch_item *item)
{
    list_push(&b->refused, &item->node);
    loop_defer(b->loop, &b->refuse, answer_refused, b);
}

void batch_add(struct batch *b, struct batch_item *item)
{
    if (b->waiting.len >= b->conf.max_waiting) {
        batch_refuse(b, item);
        return;
    }
    list_push(&b->waiting, &item->node);
    if (!b->in_flight)
        loop_defer(b->loop, &b->kick, flush, b);
}

bool batch_remove(struct batch *b, struct batch_item *item)
{
    LIST_EACH(&b->waiting, n)
    {
        if (n == &item->node) {
            list_remove(&b->waiting, n);
            return true;
        }
    }
    return false;
}

void batch_done(struct batch *b)
{
    b->in_flight = false;
    meter_observe(M_FLUSH, b->conf.label, clock_mono_us() - b->sent_us);
    if (b->waiting.len)
        loop_defer(b->loop, &b->kick, flush, b);
}

size_t batch_waiting(const struct batch *b)
{
    return b->waiting.len;
}
