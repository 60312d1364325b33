/* store_private: what store.c lends to the other files of the store. */
#ifndef HL_DOMAIN_STORE_PRIVATE_H
#define HL_DOMAIN_STORE_PRIVATE_H

#include "domain/store.h"
#include "domain/store_sql.h"

/* One statement as a transaction of its own, in the store's timeout, waiting included. values: one
 * for each parameter, copied, NULL = SQL NULL. */
void store_ask(struct store *s, const struct store_stmt *stmt, store_cb *cb, void *ctx,
    const char *const *values);

#endif
