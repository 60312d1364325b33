/* store_operator: what operators did (webhook.operator_log). All texts are borrowed during the call;
 * cb as in store.h. */
#ifndef HL_DOMAIN_STORE_OPERATOR_H
#define HL_DOMAIN_STORE_OPERATOR_H

#include "domain/store.h"

struct operator_act {
    const char *operator, * command; /* user@host; as the tool names it: "dead retry" */
    const char *reason;              /* NULL = none was given */
    const char *detail;              /* JSON object */
};
/* Its id. */
void store_operator_begin(struct store *s, const struct operator_act *act, store_cb *cb, void *ctx);
/* No columns. */
void store_operator_end(
    struct store *s, int64_t id, int64_t affected, const char *outcome, store_cb *cb, void *ctx);

#endif
