/* lease: one lease per worker process, whatever it has in flight. A row in webhook.workers whose
 * beat counter moves; sweepers watch the counter on their own monotonic clocks. A process that
 * cannot renew stops before anyone may call it dead. */
#ifndef HL_WORKER_LEASE_H
#define HL_WORKER_LEASE_H

#include "domain/store.h"

struct lease;

struct lease_conf {
    int64_t lease_ms;
    /* uuid array text of the events this process holds or is claiming; borrowed until the next
     * call. */
    const char *(*held)(void *ctx);
    void (*granted)(void *ctx); /* the first renewal, and the first after a fence */
    void (*fenced)(
        void *ctx);          /* could not renew for two thirds of the lease: let go of everything */
    void (*dead)(void *ctx); /* somebody declared us dead */
    void (*freed)(const struct change_event *ev, void *ctx); /* a row of ours nobody knew about went
                                   back to queued; borrowed */
    void *ctx;
};

/* store: over a pool of its own, so that a renewal never waits behind work. Registers at once. */
struct lease *lease_new(struct loop *l, struct store *store, const struct lease_conf *conf);
void lease_free(struct lease *l); /* NULL ok; free the pool first */
bool lease_good(const struct lease *l);
int64_t lease_age_ms(const struct lease *l); /* since it was last renewed; -1 = never */

#endif
