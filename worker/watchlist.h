/* watchlist: which workers have shown no new beat for a whole lease, on this process's own
 * monotonic clock, with reads succeeding all the while. Pure: no wall clock and no database clock
 * is involved, and an outage of the database declares nobody dead. */
#ifndef HL_WORKER_WATCHLIST_H
#define HL_WORKER_WATCHLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watchlist;

/* lease_ms: how long a beat may stand still. max_gap_ms: reads further apart than this prove
 * nothing: all ages start again. */
struct watchlist *watchlist_new(int64_t lease_ms, int64_t max_gap_ms);
void watchlist_free(struct watchlist *w); /* NULL ok */

void watchlist_begin(struct watchlist *w, int64_t now_ms); /* a read succeeded; its rows follow */
/* One row of the read. True: its beat has stood still for a whole lease. name is copied. */
bool watchlist_seen(struct watchlist *w, const char *name, int64_t beat);
void watchlist_end(struct watchlist *w); /* forgets who was not in the read */
/* Reads have succeeded for a whole lease: after an outage nobody is judged before everybody could
 * have spoken again. */
bool watchlist_settled(const struct watchlist *w);
bool watchlist_has(const struct watchlist *w, const char *name); /* was in the last read */

#endif
