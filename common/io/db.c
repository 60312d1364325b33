/* db: see db.h and db_conn.h. Owns one PGconn: connecting, the statements prepared on it, the run
 * in flight and its deadline. A run sends each statement's parse, where it needs one, right before
 * its first execution, and one sync at the end; answers come back in that order ("rounds"). So a
 * parse that waits for a lock is under what the calls before it set, like a statement timeout. */
#include "io/db_conn.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One message of a run that is answered by one round. */
struct step {
    const struct db_stmt *stmt;
    bool parse; /* prepares the statement, else executes it */
};

enum conn_state { CONN_OPENING, CONN_IDLE, CONN_RUNNING, CONN_BROKEN };

struct db_conn {
    struct loop *loop;
    struct offload *offload;
    struct db_settings *settings;
    const struct db_conn_ops *ops;
    void *ctx;
    enum conn_state state;
    PGconn *pg;
    struct watch watch;
    struct timer timer; /* of the look-up, the attempt or the run: one at a time */
    struct defer defer; /* first step of opening, or the report of a send that failed */

    /* opening */
    int start, tried;        /* the host begun with; how many were begun */
    int host;                /* the present one */
    struct resolve *resolve; /* NULL when none is under way */
    char *addresses;         /* of the host, comma-separated; NULL = libpq finds its socket */
    char *next;              /* the first of them not tried; NULL = none left */
    struct hl_err err;       /* the most telling failure so far */

    /* running */
    const struct db_call *calls;
    int ncalls;
    struct step *steps;
    int nsteps, steps_cap;
    int rounds;      /* answered so far: steps, then the sync */
    int error_round; /* the round that error answered */
    bool sent;       /* sync included: from here on it may have happened */
    int64_t timeout_ms;
    PGresult *error, *last;

    const struct db_stmt **prepared;
    int nprepared, prepared_cap;
    bool doomed; /* the server said that it hangs up */
};

/* --- outcomes ---------------------------------------------------------------------------- */

/* First match wins. What is not here the server refuses for good: our SQL or our data is wrong. */
static const struct {
    const char *prefix;
    enum hl_rc rc;
    enum hl_why why;
} outcomes[] = {
    {"08007", HL_UNSURE, HL_WHY_OTHER      }, /* transaction resolution unknown */
    {"08",    HL_RETRY,  HL_WHY_UNREACHABLE}, /* connection */
    {"0A000", HL_RETRY,  HL_WHY_OTHER      }, /* prepared before a migration changed the types */
    {"25006", HL_RETRY,  HL_WHY_READ_ONLY  }, /* a standby */
    {"25P03", HL_RETRY,  HL_WHY_TIMEOUT    }, /* idle in transaction */
    {"25P04", HL_RETRY,  HL_WHY_TIMEOUT    }, /* transaction timeout */
    {"26000", HL_RETRY,  HL_WHY_OTHER      }, /* prepared statement is gone: a pooler between */
    {"40001", HL_RETRY,  HL_WHY_OTHER      }, /* serialization */
    {"40003", HL_UNSURE, HL_WHY_OTHER      }, /* statement completion unknown */
    {"40P01", HL_RETRY,  HL_WHY_OTHER      }, /* deadlock */
    {"42P05", HL_RETRY,  HL_WHY_OTHER      }, /* prepared statement exists: a pooler between */
    {"53100", HL_RETRY,  HL_WHY_FULL       }, /* disk full */
    {"53300", HL_RETRY,  HL_WHY_REFUSED    }, /* too many connections */
    {"53",    HL_RETRY,  HL_WHY_OTHER      }, /* resources */
    {"55P03", HL_RETRY,  HL_WHY_OTHER      }, /* lock not available */
    {"57014", HL_RETRY,  HL_WHY_TIMEOUT    }, /* cancelled, there, by timeout or hand */
    {"57P01", HL_RETRY,  HL_WHY_UNREACHABLE}, /* shutting down */
    {"57P02", HL_RETRY,  HL_WHY_UNREACHABLE}, /* crashing */
    {"57P03", HL_RETRY,  HL_WHY_UNREACHABLE}, /* starting up */
    {"57P05", HL_RETRY,  HL_WHY_UNREACHABLE}, /* idle session timeout */
    {"58",    HL_RETRY,  HL_WHY_OTHER      }, /* the server's disk or system */
};

static enum hl_rc classify(const char *sqlstate, enum hl_why *why)
{
    *why = HL_WHY_OTHER;
    if (!sqlstate || !*sqlstate)
        return HL_UNSURE;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (strncmp(sqlstate, outcomes[i].prefix, strlen(outcomes[i].prefix)) == 0) {
            *why = outcomes[i].why;
            return outcomes[i].rc;
        }
    }
    return HL_FATAL;
}

enum hl_rc db_classify(const char *sqlstate)
{
    enum hl_why why;
    return classify(sqlstate, &why);
}

bool db_refuses_data(const struct hl_err *err)
{
    static const char *const classes[] = {"22", "23", "54"};
    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
        if (strncmp(err->sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}

/* After these the connection is of no use: a standby, or its prepared statements are not ours. */
static bool spoils_connection(const char *sqlstate)
{
    static const char *const states[] = {"0A000", "25006", "26000", "42P05"};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(sqlstate, states[i]) == 0)
            return true;
    return false;
}

static void set_sqlstate(struct hl_err *err, const char *sqlstate)
{
    snprintf(err->sqlstate, sizeof(err->sqlstate), "%s", sqlstate);
}

static const char *field(const PGresult *res, int code)
{
    const char *text = res ? PQresultErrorField(res, code) : NULL;
    return text ? text : "";
}

/* --- descriptor -------------------------------------------------------------------------- */

static void on_io(int what, void *ctx);

static void listen_to(struct db_conn *c, int what)
{
    watch_stop(&c->watch);
    watch_start(c->loop, &c->watch, PQsocket(c->pg), what, on_io, c);
}

static void hang_up(struct db_conn *c)
{
    timer_stop(&c->timer);
    watch_stop(&c->watch); /* before libpq closes the descriptor */
    PQfinish(c->pg);
    c->pg = NULL;
}

/* --- opening ----------------------------------------------------------------------------- */

static void next_attempt(void *ctx);

/* Of several hosts the failure that says most is reported: one that refuses us is more news than
 * one that is away. */
static int telling(const struct hl_err *err)
{
    switch (err->why) {
    case HL_WHY_REFUSED: return 3;
    case HL_WHY_READ_ONLY: return 2;
    default: return err->rc == HL_OK ? 0 : 1;
    }
}

static void attempt_failed(struct db_conn *c, const struct hl_err *err)
{
    hang_up(c);
    if (telling(err) > telling(&c->err))
        c->err = *err;
    next_attempt(c);
}

/* The SQLSTATE in "...:  28P01: password authentication ...", the verbose form; there is no other
 * way to learn it from a connection that failed. */
static bool find_sqlstate(const char *text, char out[6])
{
    for (const char *p = text; (p = strstr(p, ":  ")); p++) {
        size_t n = strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (n == 5 && p[8] == ':') {
            memcpy(out, p + 3, 5);
            out[5] = '\0';
            return true;
        }
    }
    return false;
}

static enum hl_why why_not_connected(const PGconn *pg, const char *text, const char *sqlstate)
{
    if (strncmp(sqlstate, "57P", 3) == 0 || strncmp(sqlstate, "08", 2) == 0)
        return HL_WHY_UNREACHABLE; /* starting or stopping */
    if (*sqlstate || PQconnectionNeedsPassword(pg))
        return HL_WHY_REFUSED;
    if (strstr(text, "session is read-only") || strstr(text, "in hot standby mode"))
        return HL_WHY_READ_ONLY;
    return HL_WHY_UNREACHABLE;
}

static void libpq_attempt_failed(struct db_conn *c)
{
    const char *text = c->pg ? PQerrorMessage(c->pg) : "out of memory";
    char sqlstate[6] = "";
    struct hl_err err;

    find_sqlstate(text, sqlstate);
    hl_fail_why(&err, HL_RETRY, why_not_connected(c->pg, text, sqlstate), "%.*s",
        (int)strcspn(text, "\n"), text);
    set_sqlstate(&err, sqlstate);
    attempt_failed(c, &err);
}

static void opening_timed_out(struct db_conn *c)
{
    const struct db_host *h = &c->settings->hosts[c->host];
    struct hl_err err;

    hl_fail_why(&err, HL_RETRY, HL_WHY_UNREACHABLE, "no %s \"%.80s\" within %lld ms",
        c->resolve ? "address was found for the database host" : "connection to the database host",
        h->name      ? h->name
        : h->address ? h->address
                     : "local socket",
        (long long)c->settings->connect_timeout_ms);
    if (c->resolve)
        resolve_cancel(c->resolve);
    c->resolve = NULL;
    attempt_failed(c, &err);
}

/* libpq prints notices to standard error unless told otherwise. The one that matters is the last
 * word of a server that hangs up on an idle connection. */
static void on_notice(void *ctx, const PGresult *res)
{
    struct db_conn *c = ctx;
    if (strcmp(field(res, PG_DIAG_SEVERITY_NONLOCALIZED), "FATAL") == 0)
        c->doomed = true;
}

static void opened(struct db_conn *c)
{
    timer_stop(&c->timer);
    PQsetErrorVerbosity(c->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(c->pg, 1) < 0 || PQenterPipelineMode(c->pg) == 0) {
        libpq_attempt_failed(c);
        return;
    }
    c->state = CONN_IDLE;
    c->settings->first = c->host;
    listen_to(c, WATCH_READ);
    c->ops->opened(c->ctx);
}

/* PQconnectPoll may replace the descriptor: it is unwatched before and asked for again after. */
static void on_opening(struct db_conn *c)
{
    watch_stop(&c->watch);
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING: listen_to(c, WATCH_READ); return;
    case PGRES_POLLING_OK: opened(c); return;
    case PGRES_POLLING_FAILED: libpq_attempt_failed(c); return;
    default: listen_to(c, WATCH_WRITE); return;
    }
}

static PGconn *start_libpq(
    const struct db_settings *s, const struct db_host *h, const char *address)
{
    const char *const place[][2] = {
        {"host",     h->name},
        {"hostaddr", address},
        {"port",     h->port}
    };
    int n = s->count;

    for (size_t i = 0; i < sizeof(place) / sizeof(place[0]); i++) {
        if (!place[i][1])
            continue;
        s->keywords[n] = place[i][0];
        s->values[n++] = place[i][1];
    }
    s->keywords[n] = s->values[n] = NULL;
    return PQconnectStartParams(s->keywords, s->values, 0);
}

static void dial(struct db_conn *c, const char *address)
{
    c->pg = start_libpq(c->settings, &c->settings->hosts[c->host], address);
    if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
        libpq_attempt_failed(c);
        return;
    }
    PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE); /* for find_sqlstate */
    PQsetNoticeReceiver(c->pg, on_notice, c);
    timer_start(&c->timer, c->settings->connect_timeout_ms);
    listen_to(c, WATCH_WRITE);
}

static void on_resolved(enum hl_rc rc, const char *addresses, const struct hl_err *err, void *ctx)
{
    struct db_conn *c = ctx;
    c->resolve = NULL;
    timer_stop(&c->timer);
    if (rc != HL_OK) {
        attempt_failed(c, err);
        return;
    }
    c->next = c->addresses = mem_strdup(addresses);
    next_attempt(c);
}

static void next_host(struct db_conn *c)
{
    struct db_settings *s = c->settings;
    c->host = (c->start + c->tried++) % s->nhosts;
    const struct db_host *h = &s->hosts[c->host];
    if (!h->look_up) {
        dial(c, h->address);
        return;
    }
    timer_start(&c->timer, s->connect_timeout_ms);
    c->resolve = resolve_all_start(c->offload, h->name, on_resolved, c);
}

static void next_attempt(void *ctx)
{
    struct db_conn *c = ctx;
    if (c->next) {
        dial(c, strsep(&c->next, ","));
        return;
    }
    free(c->addresses);
    c->addresses = NULL;
    if (c->tried < c->settings->nhosts) {
        next_host(c);
        return;
    }
    struct hl_err err = c->err; /* must outlive the connection */
    c->state = CONN_BROKEN;
    c->ops->closed(&err, c->ctx);
}

/* --- running ----------------------------------------------------------------------------- */

static void add_step(struct db_conn *c, const struct db_stmt *stmt, bool parse)
{
    if (c->nsteps == c->steps_cap) {
        c->steps_cap = c->steps_cap ? c->steps_cap * 2 : 16;
        c->steps = mem_grow(c->steps, (size_t)c->steps_cap * sizeof(*c->steps));
    }
    c->steps[c->nsteps++] = (struct step){stmt, parse};
}

static bool is_prepared(const struct db_conn *c, const struct db_stmt *stmt)
{
    for (int i = 0; i < c->nprepared; i++)
        if (c->prepared[i] == stmt)
            return true;
    return false;
}

static bool send_parse(struct db_conn *c, const struct db_stmt *stmt)
{
    if (c->nprepared == c->prepared_cap) {
        c->prepared_cap = c->prepared_cap ? c->prepared_cap * 2 : 16;
        c->prepared = mem_grow(c->prepared, (size_t)c->prepared_cap * sizeof(struct db_stmt *));
    }
    c->prepared[c->nprepared++] = stmt;
    add_step(c, stmt, true);
    return PQsendPrepare(c->pg, stmt->name, stmt->sql, stmt->nparams, NULL) != 0;
}

static bool send_call(struct db_conn *c, const struct db_call *call)
{
    const struct db_stmt *s = call->stmt;
    add_step(c, s, false);
    if (c->settings->prepared)
        return PQsendQueryPrepared(c->pg, s->name, s->nparams, call->values, NULL, NULL, 0) != 0;
    return PQsendQueryParams(c->pg, s->sql, s->nparams, NULL, call->values, NULL, NULL, 0) != 0;
}

static bool send_all(struct db_conn *c)
{
    for (int i = 0; i < c->ncalls; i++) {
        const struct db_stmt *stmt = c->calls[i].stmt;
        if (c->settings->prepared && !is_prepared(c, stmt) && !send_parse(c, stmt))
            return false;
        if (!send_call(c, &c->calls[i]))
            return false;
    }
    return PQpipelineSync(c->pg) != 0;
}

/* libpq wants to hear of read *or* write while it has something left to send. */
static bool flush(struct db_conn *c)
{
    int left = PQflush(c->pg);
    if (left == 0)
        c->sent = true;
    watch_set(&c->watch, left > 0 ? WATCH_READ | WATCH_WRITE : WATCH_READ);
    return left >= 0;
}

static const char *round_name(const struct db_conn *c, int round)
{
    return round < c->nsteps ? c->steps[round].stmt->name : "commit";
}

/* Who can mend it, and how; "" when the server's own words are enough. */
static const char *remedy(const char *sqlstate)
{
    if (strcmp(sqlstate, "26000") != 0 && strcmp(sqlstate, "42P05") != 0)
        return "";
    return "; behind a pooler set WEBHOOK_DB_PREPARED=off, or use PgBouncer 1.21+ with "
           "max_prepared_statements";
}

/* Messages about data quote it after a colon: that part is not ours to repeat. */
static enum hl_rc explain_refusal(const struct db_conn *c, struct hl_err *err)
{
    const char *sqlstate = field(c->error, PG_DIAG_SQLSTATE);
    const char *text = field(c->error, PG_DIAG_MESSAGE_PRIMARY);
    const char *quote = strncmp(sqlstate, "22", 2) == 0 ? strstr(text, ": \"") : NULL;
    enum hl_why why;
    enum hl_rc rc = classify(sqlstate, &why);

    hl_fail_why(err, rc, why, "database, %s: %.*s%s", round_name(c, c->error_round),
        quote ? (int)(quote - text) : (int)strlen(text), text, remedy(sqlstate));
    set_sqlstate(err, sqlstate);
    return rc;
}

static enum hl_rc explain_loss(const struct db_conn *c, struct hl_err *err)
{
    const char *text = PQerrorMessage(c->pg);
    return hl_fail_why(err, c->sent ? HL_UNSURE : HL_RETRY, HL_WHY_UNREACHABLE,
        "the database connection broke %s: %.*s", c->sent ? "before the answer" : "while sending",
        (int)strcspn(text, "\n"), text);
}

/* Without the answer to the sync an error still decides when it came before the last statement was
 * done, since then nothing can have committed. Not so class 08: a pooler says that of a server that
 * it lost, whatever that one did. */
static bool error_decides(const struct db_conn *c, bool synced)
{
    const char *sqlstate = field(c->error, PG_DIAG_SQLSTATE);
    if (!c->error || !*sqlstate)
        return false;
    return synced || (strncmp(sqlstate, "08", 2) != 0 && c->error_round < c->nsteps);
}

/* What was to be parsed at the error or after it is the newest in prepared. */
static void forget_unparsed(struct db_conn *c)
{
    for (int i = c->error ? c->error_round : c->nsteps; i < c->nsteps; i++)
        c->nprepared -= c->steps[i].parse;
}

static void report(struct db_conn *c, struct db_result *out, bool usable)
{
    PGresult *error = c->error, *last = c->last;

    timer_stop(&c->timer);
    forget_unparsed(c);
    c->state = usable ? CONN_IDLE : CONN_BROKEN;
    if (usable)
        watch_set(&c->watch, WATCH_READ);
    else
        watch_stop(&c->watch);
    c->error = c->last = NULL;
    out->pg = out->rc == HL_OK ? last : NULL;
    c->ops->done(out, c->ctx);
    PQclear(error);
    PQclear(last);
}

static void finish(struct db_conn *c, bool synced)
{
    struct hl_err err = {0};
    struct db_result out = {.rc = HL_OK};
    bool usable = synced && PQstatus(c->pg) == CONNECTION_OK &&
                  PQtransactionStatus(c->pg) == PQTRANS_IDLE &&
                  !spoils_connection(field(c->error, PG_DIAG_SQLSTATE));

    if (c->error || !synced) {
        out.rc = error_decides(c, synced) ? explain_refusal(c, &err) : explain_loss(c, &err);
        out.err = &err;
    }
    report(c, &out, usable);
}

static void send_failed(void *ctx)
{
    finish(ctx, false);
}

static void run_timed_out(struct db_conn *c)
{
    struct hl_err err = {0};
    struct db_result out = {.rc = c->sent ? HL_UNSURE : HL_RETRY, .err = &err};

    hl_fail_why(&err, out.rc, HL_WHY_TIMEOUT, "no answer from the database to %s within %lld ms",
        c->ncalls ? round_name(c, c->rounds) : "a ping", (long long)c->timeout_ms);
    report(c, &out, false);
}

static void keep(struct db_conn *c, PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);
    bool failed = status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE;

    if (failed && !c->error) {
        c->error = res;
        c->error_round = c->rounds;
    } else if (!failed && status != PGRES_PIPELINE_ABORTED && !c->last &&
               c->rounds == c->nsteps - 1) {
        c->last = res;
    } else {
        PQclear(res);
    }
}

/* Takes what has arrived; true when the sync was answered. A NULL result ends a round. */
static bool collect(struct db_conn *c)
{
    while (!PQisBusy(c->pg) && c->rounds <= c->nsteps + 1) {
        PGresult *res = PQgetResult(c->pg);
        if (!res) {
            c->rounds++;
        } else if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
            PQclear(res);
            return true;
        } else {
            keep(c, res);
        }
    }
    return false;
}

static void on_running(struct db_conn *c)
{
    bool alive = PQconsumeInput(c->pg) != 0;
    if (collect(c))
        finish(c, true);
    else if (!alive || !flush(c))
        finish(c, false);
}

/* Parameter changes, or the end. PQisBusy is what makes libpq look at the bytes. */
static void on_idle(struct db_conn *c)
{
    struct hl_err err;
    bool alive = PQconsumeInput(c->pg) != 0;

    (void)PQisBusy(c->pg);
    for (PGnotify *n; (n = PQnotifies(c->pg));)
        PQfreemem(n);
    if (alive && !c->doomed)
        return;
    c->state = CONN_BROKEN;
    watch_stop(&c->watch);
    hl_fail_why(&err, HL_RETRY, HL_WHY_UNREACHABLE, "the database closed an idle connection");
    c->ops->closed(&err, c->ctx);
}

static void on_io(int what, void *ctx)
{
    struct db_conn *c = ctx;
    (void)what;
    switch (c->state) {
    case CONN_OPENING: on_opening(c); return;
    case CONN_IDLE: on_idle(c); return;
    case CONN_RUNNING: on_running(c); return;
    case CONN_BROKEN: return;
    }
}

static void on_deadline(void *ctx)
{
    struct db_conn *c = ctx;
    if (c->state == CONN_OPENING)
        opening_timed_out(c);
    else if (c->state == CONN_RUNNING)
        run_timed_out(c);
}

/* --- public ------------------------------------------------------------------------------ */

struct db_conn *db_open(struct loop *l, struct offload *o, struct db_settings *s,
    const struct db_conn_ops *ops, void *ctx)
{
    struct db_conn *c = mem_new(struct db_conn);

    c->loop = l;
    c->offload = o;
    c->settings = s;
    c->ops = ops;
    c->ctx = ctx;
    c->start = s->first;
    timer_init(l, &c->timer, on_deadline, c);
    loop_defer(l, &c->defer, next_attempt, c);
    return c;
}

void db_close(struct db_conn *c)
{
    if (!c)
        return;
    if (c->resolve)
        resolve_cancel(c->resolve);
    loop_defer_cancel(c->loop, &c->defer);
    hang_up(c);
    PQclear(c->error);
    PQclear(c->last);
    free(c->addresses);
    free(c->prepared);
    free(c->steps);
    free(c);
}

bool db_usable(const struct db_conn *c)
{
    return c->state == CONN_IDLE;
}

void db_run(struct db_conn *c, const struct db_call *calls, int ncalls, int64_t timeout_ms)
{
    c->state = CONN_RUNNING;
    c->calls = calls;
    c->ncalls = ncalls;
    c->timeout_ms = timeout_ms;
    c->nsteps = c->rounds = c->error_round = 0;
    c->sent = false;
    timer_start(&c->timer, timeout_ms);
    if (!send_all(c) || !flush(c))
        loop_defer(c->loop, &c->defer, send_failed, c);
}
