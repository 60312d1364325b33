/* store_transfer: what hooklinectl export and import ask of the rows. cb as in store.h. */
#ifndef HL_DOMAIN_STORE_TRANSFER_H
#define HL_DOMAIN_STORE_TRANSFER_H

#include "domain/store.h"

/* Whether anything moves: one row. */
enum transfer_column {
    TRANSFER_GENERATION, /* of change events */
    TRANSFER_PAUSE,      /* names the present pause; NULL unless all queues are paused and fenced */
    TRANSFER_RUNNING,    /* rows that living workers work on */
    TRANSFER_SPOOLS,     /* spool segments with records */
    TRANSFER_OPEN,       /* living producers that have not noted the fence */
    TRANSFER_SILENT,     /* producers not heard of for a minute that never took their leave */
};
void store_transfer_state(struct store *s, store_cb *cb, void *ctx);

/* Which events of an array of ids need no doing any more: their ids. */
void store_transfer_finished(struct store *s, const char *ids, store_cb *cb, void *ctx);

#endif
