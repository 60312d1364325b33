/* turns: see turns.h. A name is kept while anybody holds or awaits a turn of it; that many are few
 * enough for a walk. */
#include "worker/turns.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct turns_name {
    struct list_node node;
    char *text;
    int64_t running;
    struct list waiting;
};

struct turns {
    int64_t at_once;
    void (*go)(struct turn *t);
    struct list names;
};

struct turns *turns_new(int64_t at_once, void (*go)(struct turn *t))
{
    struct turns *ts = mem_new(struct turns);
    ts->at_once = at_once;
    ts->go = go;
    list_init(&ts->names);
    return ts;
}

static void forget(struct turns *ts, struct turns_name *name)
{
    list_remove(&ts->names, &name->node);
    free(name->text);
    free(name);
}

void turns_free(struct turns *ts)
{
    if (!ts)
        return;
    for (struct list_node *n; (n = list_first(&ts->names));)
        forget(ts, LIST_OF(n, struct turns_name, node));
    free(ts);
}

static struct turns_name *name_of(struct turns *ts, const char *text)
{
    LIST_EACH(&ts->names, n)
    {
        struct turns_name *name = LIST_OF(n, struct turns_name, node);
        if (strcmp(name->text, text) == 0)
            return name;
    }
    struct turns_name *name = mem_new(struct turns_name);
    name->text = mem_strdup(text);
    list_init(&name->waiting);
    list_push(&ts->names, &name->node);
    return name;
}

bool turn_take(struct turns *ts, struct turn *t, const char *name)
{
    t->name = name_of(ts, name);
    t->waits = t->name->running >= ts->at_once;
    if (t->waits)
        list_push(&t->name->waiting, &t->node);
    else
        t->name->running++;
    return !t->waits;
}

void turn_end(struct turns *ts, struct turn *t)
{
    struct turns_name *name = t->name;
    if (!name)
        return;
    t->name = NULL;
    if (t->waits) {
        t->waits = false;
        list_remove(&name->waiting, &t->node);
        return; /* those it waited for are still there */
    }
    name->running--;
    struct list_node *n = list_pop(&name->waiting);
    if (n) {
        struct turn *next = LIST_OF(n, struct turn, node);
        next->waits = false;
        name->running++;
        ts->go(next); /* may end at once, and the name with it */
    } else if (!name->running) {
        forget(ts, name);
    }
}
