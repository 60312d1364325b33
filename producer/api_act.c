/* api_act: see api_act.h. */
#include "producer/api_act.h"

#include "base/log.h"
#include "base/mem.h"
#include "domain/store_operator.h"

#include <stdio.h>
#include <stdlib.h>

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

static void log_end(enum hl_rc rc, int64_t id, const struct hl_err *err)
{
    if (rc != HL_OK)
        log_warn("operator_log_behind", LOG_I("id", id), LOG_S("error", err->msg));
}

static void ended(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    (void)rows;
    log_end(rc, api_act_hand_over(call), err);
    call->act.then(call);
}

void api_act_end(struct api_call *call, int64_t affected, const char *outcome,
    void (*then)(struct api_call *call))
{
    call->act.then = then;
    store_operator_end(call->stores->reads, call->act.id, affected, outcome, ended, call);
}

int64_t api_act_hand_over(struct api_call *call)
{
    int64_t id = call->act.id;
    call->act.id = 0;
    return id;
}

struct broken_act {
    struct stores *stores;
    int64_t id;
};

static void break_ended(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct broken_act *act = ctx;
    (void)rows;
    log_end(rc, act->id, err);
    stores_intake_ends(act->stores);
    free(act);
}

void api_act_break(struct api_call *call, enum hl_rc rc)
{
    if (!call->act.id)
        return;
    struct broken_act *act = mem_new(struct broken_act);
    *act = (struct broken_act){.stores = call->stores, .id = api_act_hand_over(call)};
    stores_intake_begins(act->stores);
    store_operator_end(act->stores->reads, act->id, 0, rc == HL_UNSURE ? "unsure" : "broken off",
        break_ended, act);
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
