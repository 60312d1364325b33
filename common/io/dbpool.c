/* dbpool: see dbpool.h. Owns the connections (each in a slot), who uses which, who waits, and when
 * to try again. Slots and requests move between lists; counting a list is the metric. Callers'
 * callbacks run from a connection's answer or from `deliver`, always as the last thing there. */
#include "io/dbpool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "io/db_conn.h"

#include <stdlib.h>
#include <string.h>

enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 5000 };

enum slot_state { SLOT_CONNECTING, SLOT_PINGING, SLOT_IDLE, SLOT_BUSY, SLOT_NSTATES };

struct slot {
    struct list_node node; /* in pool->slots[state] */
    enum slot_state state;
    struct dbpool *pool;
    struct db_conn *conn;
    struct db_req *req; /* BUSY only */
    int64_t idle_since_ms;
    struct timer age;
    bool worn; /* over its age: closed when returned */
};

struct db_req {
    struct list_node node; /* in *list; in none while running */
    struct list *list;
    struct dbpool *pool;
    struct slot *slot; /* NULL unless running */
    struct timer wait;
    int64_t asked_us;
    int64_t deadline_ms; /* of everything; 0 = the statement time once it runs */
    db_cb *cb;
    void *ctx;
    struct hl_err err;       /* what deliver answers */
    char limit[24];          /* of each statement, in ms, for the server */
    const char *limit_value; /* = limit, as stmt_limit's parameter */
    int ncalls;
    struct db_call calls[]; /* the first is stmt_limit */
};

struct dbpool {
    struct loop *loop;
    struct offload *offload;
    struct db_conf conf; /* its strings are not kept: settings has what is needed */
    struct db_settings *settings;
    struct list slots[SLOT_NSTATES];
    struct list waiting;
    struct list finished; /* refused or given up; deliver tells them */
    struct defer deliver;
    struct timer retry; /* running: no connection attempt before it fires */
    int fails;          /* backoffs in a row */
    bool up, closing;
    struct hl_err down; /* why the last attempt failed */
    struct dbpool_stats counts;
};

static int count(const struct dbpool *p, enum slot_state state)
{
    return (int)p->slots[state].len;
}

static int open_count(const struct dbpool *p)
{
    return count(p, SLOT_PINGING) + count(p, SLOT_IDLE) + count(p, SLOT_BUSY);
}

/* --- requests ---------------------------------------------------------------------------- */

static void show_waiting(const struct dbpool *p)
{
    meter_set(M_POOL, p->conf.label, USE_WAITING, (int64_t)p->waiting.len);
}

static void req_move(struct db_req *r, struct list *to)
{
    timer_stop(&r->wait);
    if (r->list)
        list_remove(r->list, &r->node);
    r->list = to;
    if (to)
        list_push(to, &r->node);
    show_waiting(r->pool);
}

static void req_free(struct db_req *r)
{
    req_move(r, NULL);
    free(r);
}

static void answer(struct db_req *r, const struct db_result *res)
{
    db_cb *cb = r->cb;
    void *ctx = r->ctx;
    req_free(r);
    cb(res, ctx);
}

static void answer_error(struct db_req *r)
{
    struct hl_err err = r->err;
    answer(r, &(struct db_result){.rc = err.rc, .err = &err});
}

/* One request per run, so that nothing of the pool is touched after a callback. */
static void deliver(void *ctx)
{
    struct dbpool *p = ctx;
    struct list_node *n = list_first(&p->finished);
    if (!n)
        return;
    if (p->finished.len > 1)
        loop_defer(p->loop, &p->deliver, deliver, p);
    answer_error(LIST_OF(n, struct db_req, node));
}

/* A unit of work that gets no connection, or whose connection failed it. */
static void count_refusal(const struct dbpool *p, enum hl_why why)
{
    static const signed char labels[] = {[HL_WHY_EXHAUSTED] = REFUSAL_EXHAUSTED,
        [HL_WHY_UNREACHABLE] = REFUSAL_UNREACHABLE,
        [HL_WHY_REFUSED] = REFUSAL_REFUSED,
        [HL_WHY_READ_ONLY] = REFUSAL_READ_ONLY,
        [HL_WHY_TIMEOUT] = REFUSAL_TIMED_OUT,
        [HL_WHY_OTHER] = REFUSAL_UNREACHABLE,
        [HL_WHY_FULL] = REFUSAL_UNREACHABLE};
    if (!p->closing)
        meter_inc(M_POOL_REFUSED, p->conf.label, labels[why]);
}

static void give_up(struct db_req *r, const struct hl_err *err)
{
    struct dbpool *p = r->pool;
    r->err = *err;
    count_refusal(p, err->why);
    if (err->why == HL_WHY_EXHAUSTED)
        p->counts.exhausted++;
    req_move(r, &p->finished);
    loop_defer(p->loop, &p->deliver, deliver, p);
}

static void give_up_all(struct dbpool *p, const struct hl_err *err)
{
    for (struct list_node *n; (n = list_first(&p->waiting));)
        give_up(LIST_OF(n, struct db_req, node), err);
}

static void waited_too_long(void *ctx)
{
    struct db_req *r = ctx;
    struct dbpool *p = r->pool;
    struct hl_err err;

    if (open_count(p) > 0)
        hl_fail_why(&err, HL_RETRY, HL_WHY_EXHAUSTED,
            "no database connection became free in time: %d open, %zu requests waiting; look for "
            "slow statements or raise the pool size",
            open_count(p), p->waiting.len);
    else
        hl_fail_why(&err, HL_RETRY, HL_WHY_UNREACHABLE,
            "the database did not let us connect in time%s%s", *p->down.msg ? ": " : "",
            p->down.msg);
    give_up(r, &err);
}

/* --- slots ------------------------------------------------------------------------------- */

static void pump(struct dbpool *p);
static const struct db_conn_ops slot_ops;

static void show_slots(const struct dbpool *p)
{
    meter_set(M_POOL, p->conf.label, USE_BUSY, open_count(p) - count(p, SLOT_IDLE));
    meter_set(M_POOL, p->conf.label, USE_IDLE, count(p, SLOT_IDLE));
}

static void slot_move(struct slot *s, enum slot_state to)
{
    list_remove(&s->pool->slots[s->state], &s->node);
    s->state = to;
    list_push(&s->pool->slots[to], &s->node);
    show_slots(s->pool);
}

static void slot_close(struct slot *s)
{
    list_remove(&s->pool->slots[s->state], &s->node);
    show_slots(s->pool);
    timer_stop(&s->age);
    db_close(s->conn);
    free(s);
}

static void close_idle(struct dbpool *p, int64_t idle_before_ms)
{
    LIST_EACH(&p->slots[SLOT_IDLE], n)
    {
        struct slot *s = LIST_OF(n, struct slot, node);
        if (s->idle_since_ms <= idle_before_ms)
            slot_close(s);
    }
}

static void run(struct slot *s, struct db_req *r)
{
    int64_t left_ms = r->pool->conf.statement_timeout_ms;
    if (r->deadline_ms)
        left_ms = r->deadline_ms - clock_mono_ms();
    meter_observe(M_POOL_WAIT, r->pool->conf.label, clock_mono_us() - r->asked_us);
    req_move(r, NULL);
    r->slot = s;
    s->req = r;
    slot_move(s, SLOT_BUSY);
    if (left_ms < 1)
        left_ms = 1;
    snprintf(r->limit, sizeof(r->limit), "%lld", (long long)(left_ms - left_ms / 10));
    db_run(s->conn, r->calls, r->ncalls, left_ms);
}

/* After a connection proved to be alive: to who waits longest, without another ping; to rest; or
 * away, when it is one too many. */
static void slot_release(struct slot *s)
{
    struct dbpool *p = s->pool;
    struct list_node *first = list_first(&p->waiting);
    bool surplus = !first && open_count(p) > p->conf.pool_size;

    if (s->worn || surplus || !db_usable(s->conn)) {
        slot_close(s);
    } else if (first) {
        run(s, LIST_OF(first, struct db_req, node));
    } else {
        s->idle_since_ms = clock_mono_ms();
        slot_move(s, SLOT_IDLE);
    }
}

static void slot_aged(void *ctx)
{
    struct slot *s = ctx;
    s->worn = true;
    if (s->state == SLOT_IDLE)
        slot_close(s);
}

static void slot_open(struct dbpool *p)
{
    struct slot *s = mem_new(struct slot);
    s->pool = p;
    s->state = SLOT_CONNECTING;
    timer_init(p->loop, &s->age, slot_aged, s);
    list_push(&p->slots[SLOT_CONNECTING], &s->node);
    s->conn = db_open(p->loop, p->offload, p->settings, &slot_ops, s);
}

static int64_t less_up_to(int64_t ms, int64_t part)
{
    return ms - (int64_t)arc4random_uniform((uint32_t)(ms / part + 1));
}

static void on_opened(void *ctx)
{
    struct slot *s = ctx;
    struct dbpool *p = s->pool;

    p->counts.connects++;
    p->up = true;
    p->fails = 0;
    timer_stop(&p->retry);
    if (p->conf.max_age_ms > 0)
        timer_start(&s->age, less_up_to(p->conf.max_age_ms, 10));
    slot_move(s, SLOT_BUSY); /* so that it counts as open */
    slot_release(s);
    pump(p);
}

static void count_failure(struct dbpool *p, enum hl_why why)
{
    if (why == HL_WHY_REFUSED)
        p->counts.refused++;
    else if (why == HL_WHY_READ_ONLY)
        p->counts.read_only++;
    else
        p->counts.unreachable++;
}

static void start_backoff(struct dbpool *p)
{
    int64_t ms = BACKOFF_MIN_MS;
    if (timer_running(&p->retry))
        return; /* several attempts at once failed: that is one failure */
    for (int i = 0; i < p->fails && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    p->fails++;
    timer_start(&p->retry, less_up_to(ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS, 2));
}

/* Who waits is told at once when there is nothing left to wait for. With other connections open a
 * failure ("too many connections") only means waiting for one of them. */
static void connect_failed(struct slot *s, const struct hl_err *err)
{
    struct dbpool *p = s->pool;

    p->down = *err;
    count_failure(p, err->why);
    slot_close(s);
    start_backoff(p);
    if (open_count(p) > 0 || count(p, SLOT_CONNECTING) > 0)
        return;
    p->up = false;
    give_up_all(p, err);
}

static void on_closed(const struct hl_err *err, void *ctx)
{
    struct slot *s = ctx;
    struct dbpool *p = s->pool;
    if (s->state == SLOT_CONNECTING)
        connect_failed(s, err);
    else
        slot_close(s);
    pump(p);
}

/* One dead idle connection makes the others that rested as long suspect: they go too, so that a
 * request does not try them one after another. */
static void pinged(struct slot *s, enum hl_rc rc)
{
    struct dbpool *p = s->pool;
    if (rc != HL_OK)
        close_idle(p, clock_mono_ms() - p->conf.pre_ping_after_ms);
    slot_release(s);
    pump(p);
}

static void finished(struct slot *s, const struct db_result *res)
{
    struct dbpool *p = s->pool;
    struct db_req *r = s->req;

    r->slot = NULL;
    s->req = NULL;
    slot_release(s);
    if (res->err && (res->err->why == HL_WHY_TIMEOUT || res->err->why == HL_WHY_READ_ONLY))
        count_refusal(p, res->err->why);
    if (res->err && res->err->why == HL_WHY_TIMEOUT)
        p->counts.timed_out++;
    if (res->err && res->err->why == HL_WHY_READ_ONLY) {
        p->counts.read_only++;
        close_idle(p, INT64_MAX); /* all lead to a server that was demoted */
    }
    pump(p);
    answer(r, res);
}

static void on_done(const struct db_result *res, void *ctx)
{
    struct slot *s = ctx;
    if (s->state == SLOT_PINGING)
        pinged(s, res->rc);
    else
        finished(s, res);
}

static const struct db_conn_ops slot_ops = {
    .opened = on_opened, .closed = on_closed, .done = on_done};

/* --- who gets what ----------------------------------------------------------------------- */

/* Connections that will serve someone who waits. */
static size_t preparing(const struct dbpool *p)
{
    return p->slots[SLOT_CONNECTING].len + p->slots[SLOT_PINGING].len;
}

static bool may_connect(const struct dbpool *p)
{
    int total = open_count(p) + count(p, SLOT_CONNECTING);
    if (timer_running(&p->retry) || total >= p->conf.pool_size + p->conf.max_overflow)
        return false;
    return open_count(p) > 0 || total == 0; /* the first one goes alone */
}

static bool rested(const struct dbpool *p, const struct slot *s)
{
    return clock_mono_ms() - s->idle_since_ms >= p->conf.pre_ping_after_ms;
}

/* Gives free connections to who waits, freshest first, and starts as many more as are missing. Runs
 * no callback. */
static void pump(struct dbpool *p)
{
    while (p->waiting.len && count(p, SLOT_IDLE)) {
        struct slot *s = LIST_OF(list_last(&p->slots[SLOT_IDLE]), struct slot, node);
        if (!rested(p, s)) {
            run(s, LIST_OF(list_first(&p->waiting), struct db_req, node));
        } else if (preparing(p) < p->waiting.len) {
            slot_move(s, SLOT_PINGING);
            db_run(s->conn, NULL, 0, p->settings->connect_timeout_ms);
        } else {
            break;
        }
    }
    while (preparing(p) < p->waiting.len && may_connect(p))
        slot_open(p);
}

/* While down the pool tries by itself, so that it is up again without anyone asking. */
static void on_retry(void *ctx)
{
    struct dbpool *p = ctx;
    if (!p->up && open_count(p) == 0 && count(p, SLOT_CONNECTING) == 0)
        slot_open(p);
    pump(p);
}

/* --- public ------------------------------------------------------------------------------ */

struct dbpool *dbpool_new(
    struct loop *l, struct offload *o, const struct db_conf *conf, struct hl_err *err)
{
    struct db_settings *settings = db_settings_new(conf, err);
    if (!settings)
        return NULL;

    struct dbpool *p = mem_new(struct dbpool);
    p->loop = l;
    p->offload = o;
    p->conf = *conf;
    p->conf.url = p->conf.application_name = NULL;
    p->settings = settings;
    p->up = true;
    meter_set(M_POOL_MAX, conf->label, 0, conf->pool_size + conf->max_overflow);
    for (int i = 0; i < SLOT_NSTATES; i++)
        list_init(&p->slots[i]);
    list_init(&p->waiting);
    list_init(&p->finished);
    timer_init(l, &p->retry, on_retry, p);
    return p;
}

static void free_slots(struct dbpool *p)
{
    struct hl_err unsure;
    hl_fail(&unsure, HL_UNSURE, "the program closed its database connections before the answer");
    for (int i = 0; i < SLOT_NSTATES; i++) {
        for (struct list_node *n; (n = list_first(&p->slots[i]));) {
            struct slot *s = LIST_OF(n, struct slot, node);
            if (s->req) {
                s->req->slot = NULL;
                give_up(s->req, &unsure);
            }
            slot_close(s);
        }
    }
}

static void fail_closing(struct hl_err *err)
{
    hl_fail(err, HL_RETRY, "the program is closing its database connections");
}

void dbpool_free(struct dbpool *p)
{
    struct hl_err err;
    if (!p)
        return;
    p->closing = true;
    free_slots(p);
    fail_closing(&err);
    give_up_all(p, &err);
    for (struct list_node *n; (n = list_first(&p->finished));)
        answer_error(LIST_OF(n, struct db_req, node));
    loop_defer_cancel(p->loop, &p->deliver);
    timer_stop(&p->retry);
    db_settings_free(p->settings);
    free(p);
}

/* The server gives up a little before we do: then we mostly know that nothing happened, and a
 * statement whose connection we closed at its deadline would go on waiting for its lock there.
 * And the plan is the generic one: our statements take arrays whose contents PostgreSQL would look
 * at anew for every execution, only to come to the same plan; planning would cost more than running
 * them. And a host that loses its power amid a transaction, its locks held and the rest of it unsent,
 * is missed in half a minute, not in the two hours of a server's kernel. Local to the transaction, so
 * nothing is left on the connection. */
static const struct db_stmt stmt_limit = {"limit",
    "SELECT set_config('statement_timeout', $1, true),"
    " set_config('plan_cache_mode', 'force_generic_plan', true),"
    " set_config('tcp_keepalives_idle', '10', true),"
    " set_config('tcp_keepalives_interval', '5', true),"
    " set_config('tcp_keepalives_count', '3', true)",
    1};

static struct db_req *req_new(
    struct dbpool *p, const struct db_call *calls, int ncalls, db_cb *cb, void *ctx)
{
    struct db_req *r = mem_zero(sizeof(*r) + ((size_t)ncalls + 1) * sizeof(*calls));
    r->pool = p;
    r->asked_us = clock_mono_us();
    r->cb = cb;
    r->ctx = ctx;
    r->ncalls = ncalls + 1;
    r->limit_value = r->limit;
    r->calls[0] = (struct db_call){&stmt_limit, &r->limit_value};
    memcpy(r->calls + 1, calls, (size_t)ncalls * sizeof(*calls));
    return r;
}

static void wait_for_connection(struct db_req *r, int64_t timeout_ms)
{
    struct dbpool *p = r->pool;
    struct hl_err err;

    if (p->waiting.len > (size_t)p->conf.max_waiters) {
        hl_fail_why(&err, HL_RETRY, HL_WHY_EXHAUSTED,
            "%d requests wait for a database connection already; look for slow statements or "
            "raise the pool size",
            p->conf.max_waiters);
        give_up(r, &err);
        return;
    }
    bool shorter = timeout_ms > 0 && timeout_ms < p->conf.pool_timeout_ms;
    timer_init(p->loop, &r->wait, waited_too_long, r);
    timer_start(&r->wait, shorter ? timeout_ms : p->conf.pool_timeout_ms);
}

struct db_req *dbpool_exec(struct dbpool *p, const struct db_call *calls, int ncalls,
    int64_t timeout_ms, db_cb *cb, void *ctx)
{
    struct db_req *r = req_new(p, calls, ncalls, cb, ctx);
    struct hl_err err;

    if (timeout_ms > 0)
        r->deadline_ms = clock_mono_ms() + timeout_ms;
    if (p->closing) {
        fail_closing(&err);
        give_up(r, &err);
        return r;
    }
    if (!p->up && timer_running(&p->retry)) {
        give_up(r, &p->down);
        return r;
    }
    req_move(r, &p->waiting);
    pump(p);
    if (r->list == &p->waiting)
        wait_for_connection(r, timeout_ms);
    return r;
}

void db_req_cancel(struct db_req *r)
{
    struct dbpool *p = r->pool;
    if (r->slot)
        slot_close(r->slot);
    req_free(r);
    if (!p->closing)
        pump(p);
}

void dbpool_stats(const struct dbpool *p, struct dbpool_stats *out)
{
    *out = p->counts;
    out->open = open_count(p);
    out->idle = count(p, SLOT_IDLE);
    out->busy = out->open - out->idle;
    out->waiting = (int)p->waiting.len;
}

bool dbpool_up(const struct dbpool *p)
{
    return p->up;
}

const char *db_text(const PGresult *r, int row, int col)
{
    if (row < 0 || row >= PQntuples(r) || col < 0 || col >= PQnfields(r))
        return "";
    return PQgetvalue(r, row, col);
}

int64_t db_int(const PGresult *r, int row, int col)
{
    return strtoll(db_text(r, row, col), NULL, 10);
}
