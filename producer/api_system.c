/* api_system: GET /api/system, and POST /api/system/log-level, which tells every process how much to
 * write to its log, for a while. */
#include "base/json.h"
#include "domain/store_orders.h"
#include "domain/store_samples.h"
#include "producer/api.h"
#include "producer/api_act.h"
#include "producer/api_views.h"

/* --- how it is --------------------------------------------------------------------------- */

static void system_read(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct buf settings = {0};
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_putc(&call->out, '{');
    json_put_text(&call->out, "version", HOOKLINE_VERSION);
    json_put_key(&call->out, "schema");
    buf_putc(&call->out, '{');
    api_put_int(call, "version", rows, 0, SYSTEM_SCHEMA);
    api_put_json(call, "migrations", rows, 0, SYSTEM_MIGRATIONS);
    buf_putc(&call->out, '}');
    api_put_json(call, "generation", rows, 0, SYSTEM_GENERATION);
    api_put_json(call, "processes", rows, 0, SYSTEM_PROCESSES);
    api_put_json(call, "spools", rows, 0, SYSTEM_SPOOLS);
    api_put_json(call, "log_level", rows, 0, SYSTEM_LOG_LEVEL);
    config_print(call->stores->cfg, CFG_PRODUCER, &settings);
    json_put_text(&call->out, "settings", buf_str(&settings));
    buf_release(&settings);
    buf_putc(&call->out, '}');
    api_reply(call, 200);
}

static void system_go(struct api_call *call)
{
    store_system(call->stores->reads, call->stores->cfg->lease_ms, system_read, call);
}

const struct api_route api_system = {.go = system_go};

/* --- the level --------------------------------------------------------------------------- */

enum { LEVEL, FOR };
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const struct api_member level_members[] = {
    [LEVEL] = {.name = "level",   .type = API_TEXT, .required = true, .words = levels},
    [FOR] = {.name = "minutes", .type = API_INT, .min = 1, .max = 24 * 60, .def = 10},
    {.name = NULL                },
};

/* Ended: no row, or the one that is gone. */
static void level_set(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    if (call->members[LEVEL].text) {
        buf_putc(&call->out, '{');
        api_put_text(call, "level", rows, 0, 0);
        api_put_iso(call, "until", rows, 0, 1);
        api_put_text(call, "by", rows, 0, 2);
        buf_putc(&call->out, '}');
    } else {
        buf_puts(&call->out, "{\"level\":null,\"until\":null,\"by\":null}");
    }
    api_act_reply(call, 200, PQntuples(rows), "done");
}

static void set_level(struct api_call *call)
{
    char operator[API_OPERATOR_LEN + 1];
    api_operator(call, operator);
    store_set_log_level(call->stores->reads, call->members[LEVEL].text,
        call->members[FOR].n * 60000, operator, level_set, call);
}

static void level_go(struct api_call *call)
{
    struct buf detail = {0};
    buf_putc(&detail, '{');
    json_put_text(&detail, "level", call->members[LEVEL].text);
    json_put_int(&detail, "minutes", call->members[FOR].n);
    buf_putc(&detail, '}');
    api_act_begin(call, "log-level", NULL, buf_str(&detail), set_level);
    buf_release(&detail);
}

const struct api_route api_log_level = {.members = level_members, .go = level_go};
