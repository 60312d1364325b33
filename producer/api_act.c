/* api_act: see api_act.h. */
#include "producer/api_act.h"

#include "base/log.h"
#include "domain/store_operator.h"

#include <stdio.h>

void api_operator(const struct api_call *call, char out[])
{
    char client[CLIENT_LEN + 1];
    const char *secret = httpd_header(call->req, "Authorization");
    client_address(call->req, client);
    snprintf(out, API_OPERATOR_LEN + 1, "%s@%s", secret && *secret ? "api" : "dashboard", client);
}

static void begun(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    call->act.id = db_int(rows, 0, 0);
    call->act.then(call);
}

void api_act_begin(struct api_call *call, const char *command, const char *reason,
    const char *detail, void (*then)(struct api_call *call))
{
    char operator[API_OPERATOR_LEN + 1];
    api_operator(call, operator);
    call->act.then = then;
    store_operator_begin(call->stores->reads,
        &(struct operator_act){
            .operator= operator, .command = command, .reason = reason, .detail = detail},
        begun, call);
}

static void ended(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    (void)rows;
    if (rc != HL_OK)
        log_warn("operator_log_behind", LOG_I("id", call->act.id), LOG_S("error", err->msg));
    call->act.then(call);
}

void api_act_end(struct api_call *call, int64_t affected, const char *outcome,
    void (*then)(struct api_call *call))
{
    call->act.then = then;
    store_operator_end(call->stores->reads, call->act.id, affected, outcome, ended, call);
}

static void reply(struct api_call *call)
{
    api_reply(call, call->act.status);
}

void api_act_reply(struct api_call *call, int status, int64_t affected, const char *outcome)
{
    call->act.status = status;
    api_act_end(call, affected, outcome, reply);
}
