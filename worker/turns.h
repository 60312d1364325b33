/* turns: at most so many at once for each name; the others wait in order. Pure. */
#ifndef HL_WORKER_TURNS_H
#define HL_WORKER_TURNS_H

#include "base/list.h"

#include <stdint.h>

struct turns;

struct turn {              /* embedded, zero-initialised */
    struct list_node node; /* in its name's queue, while it waits */
    struct turns_name *name;
    bool waits;
};

/* go: its turn has come; runs inside turn_end of another. */
struct turns *turns_new(int64_t at_once, void (*go)(struct turn *t));
void turns_free(struct turns *ts); /* NULL ok; all turns have ended */

/* True: at once. False: it waits for go. */
bool turn_take(struct turns *ts, struct turn *t, const char *name);
/* Done, or not wanted any more; a turn never taken is fine. */
void turn_end(struct turns *ts, struct turn *t);

#endif
