/* store_operator: see store_operator.h. */
#include "domain/store_operator.h"

#include "domain/store_private.h"

STMT(operator_begin, "operator", ROWS_ONE, 4,
    "INSERT INTO webhook.operator_log (operator, command, reason, detail)"
    " VALUES ($1, $2, $3, $4::jsonb) RETURNING id");

STMT(operator_end, "operator", ROWS_NONE, 3,
    "UPDATE webhook.operator_log SET affected = $2, outcome = $3, ended_at = now()"
    " WHERE id = $1::bigint");

void store_operator_begin(struct store *s, const struct operator_act *act, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_operator_begin, cb, ctx,
        (const char *[]){act->operator, act->command, act->reason, act->detail});
}

void store_operator_end(
    struct store *s, int64_t id, int64_t affected, const char *outcome, store_cb *cb, void *ctx)
{
    store_ask(s, &stmt_operator_end, cb, ctx,
        (const char *[]){store_number(id).text, store_number(affected).text, outcome});
}
