/* api_system: GET /api/system, and POST /api/system/log-level, which tells every process how much to
 * write to its log, for a while. */
#include "base/json.h"
#include "domain/store_samples.h"
#include "producer/api.h"
#include "producer/api_views.h"
#include "producer/client.h"

#include <stdio.h>
#include <string.h>

enum { MOST_MINUTES = 24 * 60, MINUTES = 10 };

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

static bool is_level(const char *s)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        if (strcmp(levels[i], s) == 0)
            return true;
    return false;
}

struct order {
    const char *level; /* NULL: none any more */
    int64_t minutes;
};

/* What is wrong with the body; NULL = nothing. */
static const char *read_order(const json_t *body, struct order *out)
{
    const json_t *level = json_object_get(body, "level"), *m = json_object_get(body, "minutes");
    if (!json_is_object(body) || !level)
        return "the body must be an object with \"level\": debug, info, warn, error, or null";
    out->level = json_string_value(level);
    out->minutes = m && !json_is_null(m) ? json_integer_value(m) : MINUTES;
    if (!json_is_null(level) && (!out->level || !is_level(out->level)))
        return "\"level\" must be debug, info, warn, error, or null";
    if (out->minutes < 1 || out->minutes > MOST_MINUTES)
        return "\"minutes\" must be a whole number from 1 to 1440";
    return NULL;
}

static void level_set(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    if (rc != HL_OK) {
        api_fail(call, rc, err);
        return;
    }
    buf_putc(&call->out, '{');
    api_put_text(call, "level", rows, 0, 0);
    api_put_iso(call, "until", rows, 0, 1);
    api_put_text(call, "by", rows, 0, 2);
    buf_putc(&call->out, '}');
    api_reply(call, 200);
}

static void level_go(struct api_call *call)
{
    struct hl_err err;
    struct order order;
    size_t len;
    char client[CLIENT_LEN + 1], by[CLIENT_LEN + 16];
    const char *text = httpd_body(call->req, &len);
    json_t *body = json_parse(text, len, &err);
    const char *fault = body ? read_order(body, &order) : err.msg;
    if (fault) {
        api_detail(call, body ? 422 : 400, "%s%s", body ? "" : "the body is not JSON: ", fault);
    } else {
        client_address(call->req, client);
        snprintf(by, sizeof(by), "dashboard@%s", client);
        store_log_level(call->stores->store, order.level, order.minutes, by, level_set, call);
    }
    json_decref(body);
}

const struct api_route api_log_level = {.go = level_go};
