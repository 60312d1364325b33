/* dossier: an obituary as PostgreSQL gets it: what happened, who was held, who is suspect. */
#ifndef HL_WORKER_DOSSIER_H
#define HL_WORKER_DOSSIER_H

#include "domain/store.h"
#include "worker/obituary.h"

/* store_crash with what `one` of `all` says. */
void dossier_write(struct store *s, const struct obituaries *all, const struct obituary *one,
    store_cb *cb, void *ctx);

#endif
