/* api_overview: GET /api/overview: how the fleet is, at a glance, and what somebody should know now. A
 * row of questions, one after the other; their answers are kept until the last one is there, since the
 * alerts are made of all of them. */
#include "base/json.h"
#include "base/mem.h"
#include "domain/latency.h"
#include "domain/store_samples.h"
#include "domain/store_view.h"
#include "producer/alerts.h"
#include "producer/api_page.h"
#include "producer/api_queues.h"
#include "producer/api_rate.h"
#include "producer/api_views.h"

#include <stddef.h>
#include <string.h>

enum question { RATES, GLANCE, FLEET, TROUBLES, NQUESTIONS };

struct overview {
    struct api_queues_look queues; /* first: api_queues.h */
    PGresult *rows[NQUESTIONS];
    int at; /* the question under way */
};

static const PGresult *answer_of(const struct overview *o, enum question q)
{
    return o->rows[q];
}

static int64_t number(const struct overview *o, enum question q, int col)
{
    return db_int(answer_of(o, q), 0, col);
}

static int64_t age(const struct overview *o, enum question q, int col)
{
    return PQgetisnull(answer_of(o, q), 0, col) ? -1 : db_int(answer_of(o, q), 0, col);
}

static const char *text(const struct overview *o, enum question q, int col)
{
    return PQgetisnull(answer_of(o, q), 0, col) ? NULL : db_text(answer_of(o, q), 0, col);
}

static void forget(struct overview *o)
{
    for (int i = 0; i < NQUESTIONS; i++) {
        PQclear(o->rows[i]);
        o->rows[i] = NULL;
    }
}

/* --- the facts --------------------------------------------------------------------------- */

static void queue_facts(const struct overview *o, struct fleet_facts *f)
{
    static const int first[ALERTS_QUEUES] = {GLANCE_PAUSED_MS, GLANCE_CRAWL_PAUSED_MS};
    for (int i = 0; i < ALERTS_QUEUES; i++) {
        f->queue[i].paused_ms = age(o, FLEET, first[i]);
        f->queue[i].paused_by = text(o, FLEET, first[i] + 1);
        f->queue[i].fenced_ms = age(o, FLEET, first[i] + 2);
        f->queue[i].fenced_by = text(o, FLEET, first[i] + 3);
    }
    f->redis = o->queues.redis;
    const struct api_queue *q = &o->queues.one[ALERTS_CHANGE]; /* both have one place for them */
    f->letters = q->counted ? q->stats.dead : -1;
}

static struct fleet_facts facts_of(const struct overview *o)
{
    struct fleet_facts f = {
        .counted_to = OVERVIEW_LOOK,
        .due = number(o, GLANCE, GLANCE_DUE),
        .oldest_due_ms = age(o, GLANCE, GLANCE_OLDEST_MS),
        .in_progress = number(o, GLANCE, GLANCE_IN_PROGRESS),
        .fresh = number(o, GLANCE, GLANCE_FRESH),
        .orphans = number(o, GLANCE, GLANCE_ORPHANS),
        .orphan_ms = age(o, GLANCE, GLANCE_ORPHAN_MS),
        .suspects = number(o, GLANCE, GLANCE_SUSPECTS),
        .retrying = number(o, GLANCE, GLANCE_RETRYING),
        .minute_accepted = number(o, RATES, RATES_MINUTE_CHANGES),
        .minute_done = number(o, RATES, RATES_COMPLETED) + number(o, RATES, RATES_SUPERSEDED) +
                       number(o, RATES, RATES_FAILED),
        .workers = number(o, FLEET, GLANCE_WORKERS),
        .silent_workers = number(o, FLEET, GLANCE_SILENT_WORKERS),
        .quiet_workers = number(o, FLEET, GLANCE_QUIET_WORKERS),
        .worker_ms = age(o, FLEET, GLANCE_WORKER_MS),
        .crashes = number(o, FLEET, GLANCE_CRASHES),
        .crash_cause = text(o, FLEET, GLANCE_CRASH_CAUSE),
        .spool_bytes = number(o, FLEET, GLANCE_SPOOL_BYTES),
        .spool_hosts = number(o, FLEET, GLANCE_SPOOL_HOSTS),
        .silent_producer = text(o, FLEET, GLANCE_SILENT_ID),
        .silent_host = text(o, FLEET, GLANCE_SILENT_HOST),
        .silent_bytes = number(o, FLEET, GLANCE_SILENT_BYTES),
        .silent_ms = number(o, FLEET, GLANCE_SILENT_MS),
        .failed = number(o, TROUBLES, TROUBLE_FAILED),
        .failed_to = OVERVIEW_ERRORS,
        .error = text(o, TROUBLES, TROUBLE_ERROR),
        .error_n = number(o, TROUBLES, TROUBLE_ERROR_N),
        .retry_error = text(o, TROUBLES, TROUBLE_RETRY_ERROR),
        .eased = number(o, TROUBLES, TROUBLE_EASED) > 0,
        .circuits = number(o, TROUBLES, TROUBLE_CIRCUITS),
        .circuit_host = text(o, TROUBLES, TROUBLE_CIRCUIT_HOST),
        .circuit_error = text(o, TROUBLES, TROUBLE_CIRCUIT_ERROR),
        .circuit_ms = age(o, TROUBLES, TROUBLE_CIRCUIT_MS),
        .fetches = number(o, TROUBLES, TROUBLE_FETCHES),
        .fetch_errors = number(o, TROUBLES, TROUBLE_FETCH_ERRORS),
        .fetch_host = text(o, TROUBLES, TROUBLE_FETCH_HOST),
        .fetch_outcome = text(o, TROUBLES, TROUBLE_FETCH_OUTCOME),
        .refused = number(o, TROUBLES, TROUBLE_REFUSED),
        .refused_reason = text(o, TROUBLES, TROUBLE_REFUSED_REASON),
    };
    queue_facts(o, &f);
    return f;
}

/* --- the answer -------------------------------------------------------------------------- */

struct member {
    const char *key;
    enum question of;
    int col;
};

static void put_numbers(struct api_call *call, const struct member *m)
{
    for (; m->key; m++)
        json_put_int(&call->out, m->key, number(call->own, m->of, m->col));
}

static void put_rates(struct api_call *call)
{
    static const struct member rates[] = {
        {"accepted",   RATES, RATES_ACCEPTED  },
        {"completed",  RATES, RATES_COMPLETED },
        {"failed",     RATES, RATES_FAILED    },
        {"superseded", RATES, RATES_SUPERSEDED},
        {"retried",    RATES, RATES_RETRIED   },
        {"refused",    RATES, RATES_REFUSED   },
    };
    json_put_key(&call->out, "rates");
    buf_putc(&call->out, '{');
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        json_put_key(&call->out, rates[i].key);
        api_rate_put(&call->out, (double)number(call->own, RATES, rates[i].col) / 60);
    }
    buf_putc(&call->out, '}');
}

static void put_latency(struct api_call *call)
{
    struct latency l;
    latency_read(&l, db_text(answer_of(call->own, RATES), 0, RATES_LATENCY));
    json_put_key(&call->out, "latency_ms");
    buf_puts(&call->out, "{\"p50\":");
    api_latency_put(&call->out, &l, 0.50);
    buf_puts(&call->out, ",\"p95\":");
    api_latency_put(&call->out, &l, 0.95);
    buf_puts(&call->out, ",\"p99\":");
    api_latency_put(&call->out, &l, 0.99);
    buf_putc(&call->out, '}');
}

static void put_workers(struct api_call *call)
{
    static const struct member workers[] = {
        {"alive",                FLEET, GLANCE_WORKERS},
        {"silent",        FLEET, GLANCE_SILENT_WORKERS},
        {"dead",               FLEET, GLANCE_DEAD_WORKERS},
        {0}
    };
    static const struct member producers[] = {
        {"alive",           FLEET, GLANCE_PRODUCERS},
        {"silent", FLEET, GLANCE_SILENT_PRODUCERS},
        {0         }
    };
    const struct overview *o = call->own;
    json_put_key(&call->out, "workers");
    buf_putc(&call->out, '{');
    put_numbers(call, workers);
    json_put_int(&call->out, "in_flight",
        number(o, GLANCE, GLANCE_IN_PROGRESS) - number(o, GLANCE, GLANCE_ORPHANS));
    buf_puts(&call->out, "},\"producers\":{");
    put_numbers(call, producers);
    buf_putc(&call->out, '}');
}

static void put_overview(struct api_call *call)
{
    static const struct member counts[] = {
        {"queued",            GLANCE, GLANCE_QUEUED},
        {"due",      GLANCE, GLANCE_DUE},
        {"in_progress",               GLANCE, GLANCE_IN_PROGRESS},
        {"failed",         GLANCE, GLANCE_FAILED},
        {"retrying",       GLANCE, GLANCE_RETRYING},
        {0}
    };
    struct overview *o = call->own;
    const struct fleet_facts facts = facts_of(o);
    buf_putc(&call->out, '{');
    json_put_key(&call->out, "counts");
    buf_putc(&call->out, '{');
    put_numbers(call, counts);
    json_put_int(&call->out, "counted_to", OVERVIEW_LOOK);
    buf_putc(&call->out, '}');
    put_rates(call);
    put_latency(call);
    buf_putc(&call->out, ',');
    api_queues_put(&o->queues, &call->out);
    put_workers(call);
    json_put_key(&call->out, "alerts");
    alerts_put(&facts, &call->out);
    buf_putc(&call->out, '}');
    forget(o);
    api_reply(call, 200);
}

/* --- asking ------------------------------------------------------------------------------ */

static void ask(struct api_call *call);

/* What is borrowed is copied: its rows go when this returns. */
static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct api_call *call = ctx;
    struct overview *o = call->own;
    if (rc != HL_OK) {
        forget(o);
        api_fail(call, rc, err);
        return;
    }
    o->rows[o->at++] = PQcopyResult(rows, PG_COPYRES_TUPLES);
    ask(call);
}

static void queues_seen(struct api_call *call)
{
    put_overview(call);
}

static void ask(struct api_call *call)
{
    struct overview *o = call->own;
    struct store *s = call->stores->reads;
    const int64_t lease = call->stores->cfg->lease_ms;
    switch ((enum question)o->at) {
    case RATES: store_rates(s, answered, call); break;
    case GLANCE: store_glance(s, lease, answered, call); break;
    case FLEET: store_glance_fleet(s, lease, answered, call); break;
    case TROUBLES: store_glance_troubles(s, answered, call); break;
    case NQUESTIONS: api_queues_ask(call, queues_seen); break;
    }
}

static void overview_go(struct api_call *call)
{
    call->own = mem_new(struct overview);
    ask(call);
}

const struct api_route api_overview = {.go = overview_go};
