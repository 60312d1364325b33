/* watchlist: see watchlist.h. */
#include "worker/watchlist.h"

#include "base/list.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct watched {
    struct list_node node;
    char *name;
    int64_t beat, since_ms;
    bool in_read;
};

struct watchlist {
    int64_t lease_ms, max_gap_ms, now_ms;
    int64_t gap_ms; /* when the last gap ended */
    struct list all;
};

struct watchlist *watchlist_new(int64_t lease_ms, int64_t max_gap_ms)
{
    struct watchlist *w = mem_new(struct watchlist);
    w->lease_ms = lease_ms;
    w->max_gap_ms = max_gap_ms;
    list_init(&w->all);
    return w;
}

static void forget(struct watchlist *w, struct watched *x)
{
    list_remove(&w->all, &x->node);
    free(x->name);
    free(x);
}

void watchlist_free(struct watchlist *w)
{
    if (!w)
        return;
    LIST_EACH(&w->all, n)
    {
        forget(w, LIST_OF(n, struct watched, node));
    }
    free(w);
}

static struct watched *find(const struct watchlist *w, const char *name)
{
    LIST_EACH(&w->all, n)
    {
        struct watched *x = LIST_OF(n, struct watched, node);
        if (strcmp(x->name, name) == 0)
            return x;
    }
    return NULL;
}

void watchlist_begin(struct watchlist *w, int64_t now_ms)
{
    bool gap = now_ms - w->now_ms > w->max_gap_ms;
    w->now_ms = now_ms;
    if (gap)
        w->gap_ms = now_ms;
    LIST_EACH(&w->all, n)
    {
        struct watched *x = LIST_OF(n, struct watched, node);
        x->in_read = false;
        if (gap)
            x->since_ms = now_ms;
    }
}

bool watchlist_seen(struct watchlist *w, const char *name, int64_t beat)
{
    struct watched *x = find(w, name);
    if (!x) {
        x = mem_new(struct watched);
        x->name = mem_strdup(name);
        x->beat = beat;
        x->since_ms = w->now_ms;
        list_push(&w->all, &x->node);
    }
    x->in_read = true;
    if (x->beat != beat) {
        x->beat = beat;
        x->since_ms = w->now_ms;
    }
    return w->now_ms - x->since_ms >= w->lease_ms;
}

void watchlist_end(struct watchlist *w)
{
    LIST_EACH(&w->all, n)
    {
        struct watched *x = LIST_OF(n, struct watched, node);
        if (!x->in_read)
            forget(w, x);
    }
}

bool watchlist_settled(const struct watchlist *w)
{
    return w->gap_ms > 0 && w->now_ms - w->gap_ms >= w->lease_ms;
}

bool watchlist_has(const struct watchlist *w, const char *name)
{
    return find(w, name) != NULL;
}
