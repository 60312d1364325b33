/* api_redrives: failed events tried again as planned: GET and POST /api/redrives, GET
 * /api/redrives/{token}, POST /api/redrives/{token}/apply and /stop. The work is done by redrives, behind
 * the answers. */
#include "base/json.h"
#include "base/mem.h"
#include "producer/api.h"
#include "producer/api_act.h"
#include "producer/api_page.h"
#include "producer/api_views.h"
#include "producer/redrives.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLE = 20,   /* events that a plan shows */
    LOOK = 10000,  /* events of which it says why they failed, and on how many pages */
    LISTED = 50,   /* plans */
    WAIT_MS = 2000 /* for a plan to be made, before the answer is 202 */
};

/* --- plans as they are ------------------------------------------------------------------- */

static void put_plan(struct api_call *call, const PGresult *rows, int row)
{
    api_put_text(call, "token", rows, row, REDRIVE_TOKEN);
    api_put_text(call, "state", rows, row, REDRIVE_STATE);
    api_put_int(call, "total", rows, row, REDRIVE_TOTAL);
    api_put_int(call, "left", rows, row, REDRIVE_LEFT);
    api_put_int(call, "queued", rows, row, REDRIVE_QUEUED);
    api_put_int(call, "changed", rows, row, REDRIVE_CHANGED);
    api_put_int(call, "urls", rows, row, REDRIVE_URLS);
    api_put_iso(call, "planned_at", rows, row, REDRIVE_PLANNED_AT);
    api_put_iso(call, "changed_at", rows, row, REDRIVE_CHANGED_AT);
    api_put_text(call, "by", rows, row, REDRIVE_BY);
    api_put_text(call, "reason", rows, row, REDRIVE_REASON);
    api_put_json(call, "filter", rows, row, REDRIVE_FILTER);
}

static void listed(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, "{\"redrives\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        put_plan(call, rows, row);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, 200);
}

static void list_go(struct api_call *call)
{
    store_redrives(call->stores->reads, NULL, LISTED, 0, listed, call);
}

const struct api_route api_redrives_list = {.go = list_go};

/* --- one of them ------------------------------------------------------------------------- */

/* What a call is about, from its first question on. */
struct about {
    char token[REDRIVE_TOKEN_LEN + 1];
    int status;         /* of the answer that shows the plan */
    struct timer timer; /* of who waits for a plan to be made */
};

static struct about *about(struct api_call *call)
{
    if (!call->own)
        call->own = mem_new(struct about);
    return call->own;
}

static void no_plan(struct api_call *call)
{
    api_detail(call, 404, "There is no plan %s", about(call)->token);
}

static void items_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, ",\"items\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        int col = 0;
        api_page_item(call);
        api_put_int(call, "n", rows, row, col++);
        api_put_int(call, "change_event_id", rows, row, col++);
        api_put_text(call, "event_id", rows, row, col++);
        api_put_text(call, "watch_id", rows, row, col++);
        api_put_text(call, "url", rows, row, col++);
        api_put_text(call, "error", rows, row, col++);
        api_put_text(call, "outcome", rows, row, col++);
        api_put_text(call, "status", rows, row, col++);
        buf_putc(&call->out, '}');
    }
    buf_puts(&call->out, "]}");
    api_reply(call, about(call)->status);
}

static void errors_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_puts(&call->out, ",\"errors\":[");
    for (int row = 0; row < PQntuples(rows); row++) {
        api_page_item(call);
        api_put_text(call, "status", rows, row, 0);
        api_put_int(call, "events", rows, row, 1);
        api_put_int(call, "urls", rows, row, 2);
        buf_putc(&call->out, '}');
    }
    buf_putc(&call->out, ']');
    store_redrive_items(call->stores->reads, about(call)->token, SAMPLE, items_read, call);
}

static void plan_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        no_plan(call);
        return;
    }
    buf_putc(&call->out, '{');
    put_plan(call, rows, 0);
    buf_printf(
        &call->out, ",\"sampled\":%s", db_int(rows, 0, REDRIVE_LEFT) > LOOK ? "true" : "false");
    store_redrive_errors(call->stores->reads, about(call)->token, LOOK, errors_read, call);
}

/* Ends the call with the plan as it is now. */
static void show(struct api_call *call, int status)
{
    about(call)->status = status;
    store_redrives(call->stores->reads, about(call)->token, 1, LOOK, plan_read, call);
}

/* The plan that the path names; false: there can be none, and the call has ended. */
static bool read_token(struct api_call *call)
{
    const char *token = api_place(call, "token");
    if (redrive_is_token(token)) {
        snprintf(about(call)->token, sizeof(about(call)->token), "%s", token);
        return true;
    }
    api_detail(call, 404, "There is no plan %s; its name has eight digits, as in 1f0c93ab", token);
    return false;
}

static void get_go(struct api_call *call)
{
    if (read_token(call))
        show(call, 200);
}

const struct api_route api_redrives_get = {.go = get_go};

/* --- a new one --------------------------------------------------------------------------- */

enum { PLAN_ERROR, PLAN_URL, PLAN_WATCH, PLAN_SINCE, PLAN_UNTIL, PLAN_REASON };
static const struct api_member plan_members[] = {
    [PLAN_ERROR] = {.name = "filter.error", .type = API_TEXT},
    [PLAN_URL] = {.name = "filter.url",                      .type = API_TEXT},
    [PLAN_WATCH] = {.name = "filter.watch",.type = API_TEXT},
    [PLAN_SINCE] = {.name = "filter.since", .type = API_TIME},
    [PLAN_UNTIL] = {.name = "filter.until",                      .type = API_TIME},
    [PLAN_REASON] = {.name = "reason",      .type = API_TEXT, .max = 1000},
    {.name = NULL},
};

static struct failed_filter filter_of(const struct api_call *call)
{
    const struct api_value *m = call->members;
    return (struct failed_filter){.url = m[PLAN_URL].text,
        .watch = m[PLAN_WATCH].text,
        .since = m[PLAN_SINCE].given ? &m[PLAN_SINCE].n : NULL,
        .until = m[PLAN_UNTIL].given ? &m[PLAN_UNTIL].n : NULL,
        .error = m[PLAN_ERROR].text};
}

static void planned(enum planned how, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    timer_stop(&about(call)->timer);
    switch (how) {
    case PLANNED_DONE: show(call, 201); break;
    case PLANNED_NOTHING:
        api_detail(call, 404, "No failed event is meant; nothing was planned");
        break;
    case PLANNED_INTERRUPTED:
        api_header(call, "Retry-After", "5");
        api_detail(call, 503, "This producer is being stopped; nothing was planned");
        break;
    case PLANNED_FAILED: api_fail(call, err->rc, err); break;
    }
}

static void waited(void *ctx)
{
    struct api_call *call = ctx;
    redrives_leave(call->stores->redrives, about(call)->token);
    show(call, 202);
}

static void make_plan(struct api_call *call)
{
    char operator[API_OPERATOR_LEN + 1];
    const struct failed_filter filter = filter_of(call);
    struct buf text = {0};
    api_operator(call, operator);
    redrive_put_filter(&filter, &text);
    timer_init(call->stores->loop, &about(call)->timer, waited, call);
    timer_start(&about(call)->timer, WAIT_MS);
    redrives_plan(call->stores->redrives,
        &(struct redrive){.token = about(call)->token,
            .by = operator,
            .reason = call->members[PLAN_REASON].text,
            .filter = buf_str(&text)},
        &filter, api_act_hand_over(call), planned, call);
    buf_release(&text);
}

/* False: too many are under way here, and the call has ended. */
static bool has_place(struct api_call *call)
{
    if (redrives_free_place(call->stores->redrives))
        return true;
    api_header(call, "Retry-After", "5");
    api_detail(
        call, 503, "This producer makes and applies as many plans as it may, or is being stopped");
    return false;
}

static void plan_go(struct api_call *call)
{
    const struct failed_filter filter = filter_of(call);
    struct buf detail = {0};
    if (!has_place(call))
        return;
    redrive_token(about(call)->token);
    buf_putc(&detail, '{');
    json_put_text(&detail, "token", about(call)->token);
    json_put_key(&detail, "filter");
    redrive_put_filter(&filter, &detail);
    buf_putc(&detail, '}');
    api_act_begin(
        call, "redrive plan", call->members[PLAN_REASON].text, buf_str(&detail), make_plan);
    buf_release(&detail);
}

const struct api_route api_redrives_plan = {.members = plan_members, .go = plan_go};

/* --- applied, stopped -------------------------------------------------------------------- */

enum { PER_SECOND };
static const struct api_member apply_members[] = {
    [PER_SECOND] = {.name = "per_second", .type = API_INT, .min = 1, .max = 100000, .def = 10},
    {.name = NULL           },
};

static bool is_apply(const struct api_call *call)
{
    return call->entry->route == &api_redrives_apply;
}

static void refused(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    const char *token = about(call)->token;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    const char *state = PQntuples(rows) ? db_text(rows, 0, REDRIVE_STATE) : "forgotten";
    if (!is_apply(call))
        api_put_detail(call, "The plan %s is not being applied: it is %s", token, state);
    else if (strcmp(state, "applying") == 0)
        api_put_detail(call, "The plan %s is being applied already; stop it first", token);
    else if (strcmp(state, "planning") == 0)
        api_put_detail(call, "The plan %s is still being made", token);
    else if (strcmp(state, "abandoned") == 0)
        api_put_detail(call,
            "Who was making the plan %s is gone, and it may lack events: make another", token);
    else
        api_put_detail(call, "The plan %s cannot be applied: it is %s", token, state);
    api_act_reply(call, 409, 0, "refused");
}

static void refuse(struct api_call *call)
{
    store_redrives(call->stores->reads, about(call)->token, 1, 0, refused, call);
}

static void stop_ended(struct api_call *call)
{
    show(call, 200);
}

static void stopped(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK)
        api_fail(call, rc, err);
    else if (PQntuples(rows) == 0)
        refuse(call);
    else
        api_act_end(call, 1, "done", stop_ended);
}

/* From here on the plan says that it is being applied: whatever becomes of this call, it is. */
static void taken(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        refuse(call);
        return;
    }
    redrives_apply(call->stores->redrives, about(call)->token, (double)call->members[PER_SECOND].n,
        api_act_hand_over(call));
    show(call, 202);
}

static void change(struct api_call *call)
{
    if (is_apply(call))
        store_redrive_take(call->stores->reads, about(call)->token, taken, call);
    else
        store_redrive_state(call->stores->reads, about(call)->token, "stopped", stopped, call);
}

static void known(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct buf detail = {0};
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (PQntuples(rows) == 0) {
        no_plan(call);
        return;
    }
    buf_putc(&detail, '{');
    json_put_text(&detail, "token", about(call)->token);
    if (is_apply(call))
        json_put_int(&detail, "left", db_int(rows, 0, REDRIVE_LEFT));
    buf_putc(&detail, '}');
    api_act_begin(
        call, is_apply(call) ? "redrive apply" : "redrive stop", NULL, buf_str(&detail), change);
    buf_release(&detail);
}

static void change_go(struct api_call *call)
{
    if (read_token(call) && (!is_apply(call) || has_place(call)))
        store_redrives(call->stores->reads, about(call)->token, 1, 0, known, call);
}

static const struct api_member stop_members[] = {{.name = NULL}};

const struct api_route api_redrives_apply = {.members = apply_members, .go = change_go};
const struct api_route api_redrives_stop = {.members = stop_members, .go = change_go};
