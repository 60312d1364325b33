/* doctor_stores: what is to be said of Redis, PostgreSQL, and of what the fleet left in them. See
 * doctor.h. All is asked before the first check runs; the checks only judge. */
#include "worker/ctl/doctor.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/url.h"
#include "domain/migrate.h"
#include "domain/store_doctor.h"
#include "domain/store_timing.h"
#include "io/prefork.h"
#include "worker/ctl/skew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REDIS_OLDEST = 7,         /* README.md, "What it needs" */
    POSTGRES_OLDEST = 130000, /* likewise */
    POSTGRES_PORT = 5432,
    SILENT_MS = 60000,        /* a process not heard of for longer */
    SLOW_US = 10000,          /* a round trip */
    SKEW_US = 1000000,        /* clocks that far apart confuse people, */
    SKEW_WRONG_US = 60000000, /* and that far programs as well */
    SUPERVISORS = 10,         /* connections: supervisors, janitor, tools */
    LEASE = 1,                /* connections of a worker process beside its pool ... */
    JANITOR = 2,              /* ... and of each supervisor's */
    SOLO = 3,
};

/* --- asking ------------------------------------------------------------------------------ */

static void examined(struct redis_exam *e, enum hl_rc rc, const struct hl_err *err)
{
    struct doctor *d = e->ctx;
    if (rc != HL_OK)
        d->redis_err = *err;
    session_answered(&d->session);
}

static void ask_redis(struct doctor *d)
{
    d->redis = (struct redis_exam){.done = examined, .ctx = d};
    session_asked(&d->session);
    redis_exam(d->session.redis, &d->redis);
    session_wait(&d->session);
}

typedef void ask_fn(struct store *s, store_cb *cb, void *ctx);

static bool ask_store(struct doctor *d, ask_fn *ask, struct answer *a)
{
    *a = (struct answer){.session = &d->session};
    ask(d->session.store, answer_keep, answer_asked(a));
    session_wait(&d->session);
    return a->rc == HL_OK;
}

/* The first question finds the connection open: store_doctor_server was asked before. */
static void ask_clock(struct doctor *d, struct clock_look *look, struct hl_err *err)
{
    struct answer a;
    look->before = clock_wall_us();
    bool fine = ask_store(d, store_clock, &a);
    look->after = clock_wall_us();
    look->there = fine ? db_int(a.rows, 0, 0) : 0;
    if (!fine)
        *err = a.err;
    answer_release(&a);
}

static void ask_clocks(struct doctor *d)
{
    for (int i = 0; i < EXAM_TIMES && d->db_err.rc == HL_OK; i++)
        ask_clock(d, &d->db_looks[i], &d->db_err);
}

static void ask_fleet(struct store *s, store_cb *cb, void *ctx)
{
    store_doctor_fleet(s, SILENT_MS, cb, ctx);
}

/* -1: there is no schema of ours, or none that we may see. */
static int ask_schema(struct doctor *d)
{
    struct answer a;
    int version = ask_store(d, store_schema_version, &a) ? (int)db_int(a.rows, 0, 0) : -1;
    answer_release(&a);
    return version;
}

static void ask_postgres(struct doctor *d)
{
    if (!ask_store(d, store_doctor_server, &d->server)) {
        d->db_err = d->server.err;
        return;
    }
    d->schema = ask_schema(d);
    ask_clocks(d);
    if (d->schema >= migrate_latest())
        ask_store(d, ask_fleet, &d->fleet);
}

void doctor_ask(struct doctor *d)
{
    d->schema = -1;
    if (!d->asks)
        return;
    ask_redis(d);
    ask_postgres(d);
}

void doctor_release_answers(struct doctor *d)
{
    answer_release(&d->server);
    answer_release(&d->fleet);
}

static bool redis_known(const struct doctor *d)
{
    return d->asks && d->redis_err.rc == HL_OK;
}

static bool db_known(const struct doctor *d)
{
    return d->asks && d->db_err.rc == HL_OK;
}

/* --- Redis ------------------------------------------------------------------------------- */

static const char *redis_remedy(const struct hl_err *err)
{
    if (err->why == HL_WHY_REFUSED)
        return "Correct user and password in WEBHOOK_REDIS_URL, or let that user run every command "
               "that it names (ACL SETUSER).";
    return "Is WEBHOOK_REDIS_URL right, the server running, and reachable from here?";
}

void doctor_redis(struct doctor *d)
{
    const struct redis_exam *r = &d->redis;
    if (!d->asks)
        return;
    if (!redis_known(d))
        doctor_say(d, DOCTOR_ERROR, redis_remedy(&d->redis_err), "%s", d->redis_err.msg);
    else if (strcmp(r->role, "master") != 0)
        doctor_say(d, DOCTOR_ERROR, "Point WEBHOOK_REDIS_URL at the primary.",
            "this Redis is a replica: it takes no jobs");
    else if (atoi(r->version) < REDIS_OLDEST)
        doctor_say(d, DOCTOR_ERROR, "Install Redis 7.0 or later.", "this is Redis %s", r->version);
    else if (r->max_clients > 0 && r->clients > r->max_clients / 10 * 9)
        doctor_say(d, DOCTOR_WARNING, "Raise maxclients, or find out who connects.",
            "%lld of %lld clients are connected", (long long)r->clients, (long long)r->max_clients);
    else
        doctor_say(d, DOCTOR_OK, NULL, "Redis %s answers", r->version);
}

void doctor_durability(struct doctor *d)
{
    const struct redis_exam *r = &d->redis;
    if (!redis_known(d))
        return;
    if (r->aof_broken || r->snapshot_broken)
        doctor_say(d, DOCTOR_ERROR, "Look into Redis's log and at its disk.", "the last %s failed",
            r->aof_broken ? "write to the append-only file" : "snapshot");
    else if (!r->aof_enabled)
        doctor_say(d, DOCTOR_WARNING, "CONFIG SET appendonly yes, and in its configuration.",
            "there is no append-only file");
    else if (strcmp(r->appendfsync, "no") == 0)
        doctor_say(d, DOCTOR_WARNING, "Set appendfsync everysec.",
            "the append-only file is synced when the kernel likes to (appendfsync no)");
    else
        doctor_say(d, DOCTOR_OK, NULL, "append-only file on%s%s",
            *r->appendfsync ? ", appendfsync " : "", r->appendfsync);
}

void doctor_redis_memory(struct doctor *d)
{
    const struct redis_exam *r = &d->redis;
    struct buf used = {0}, max = {0};
    if (!redis_known(d))
        return;
    put_bytes(&used, r->memory);
    put_bytes(&max, r->max_memory);
    bool evicts = *r->policy && strcmp(r->policy, "noeviction") != 0;
    if (evicts && r->max_memory > 0)
        doctor_say(d, DOCTOR_ERROR, "Set maxmemory-policy noeviction.",
            "at %s Redis deletes keys (maxmemory-policy %s); %lld so far: producers do not use it",
            buf_str(&max), r->policy, (long long)r->evicted);
    else if (evicts)
        doctor_say(d, DOCTOR_WARNING, "Set maxmemory-policy noeviction.",
            "maxmemory-policy is %s: harmless until somebody sets maxmemory", r->policy);
    else if (r->max_memory > 0 && r->memory > r->max_memory / 10 * 8)
        doctor_say(d, DOCTOR_WARNING, "Raise maxmemory, or find out what fills it.",
            "%s of %s are used: beyond, Redis refuses jobs", buf_str(&used), buf_str(&max));
    else
        doctor_say(d, DOCTOR_OK, NULL, "%s, %s used%s%s",
            *r->policy ? r->policy : "what is done when it is full is not told", buf_str(&used),
            r->max_memory > 0 ? " of " : "", r->max_memory > 0 ? buf_str(&max) : "");
    buf_release(&used);
    buf_release(&max);
}

/* --- PostgreSQL -------------------------------------------------------------------------- */

static const char *server_text(const struct doctor *d, int column)
{
    return db_text(d->server.rows, 0, column);
}

static bool server_is(const struct doctor *d, int column, const char *word)
{
    return strcmp(server_text(d, column), word) == 0;
}

/* Settings of the server that cost events; true when there was nothing to say. */
static bool postgres_is_safe(struct doctor *d)
{
    bool synced = server_is(d, SERVER_FSYNC, "on");
    bool whole = server_is(d, SERVER_FULL_PAGE_WRITES, "on");
    bool waits = !server_is(d, SERVER_SYNCHRONOUS_COMMIT, "off");
    if (!synced || !whole)
        doctor_say(d, DOCTOR_ERROR, "Set it on, in postgresql.conf.",
            "%s is off: a crash of its host may destroy the database",
            synced ? "full_page_writes" : "fsync");
    if (!waits)
        doctor_say(d, DOCTOR_ERROR, "Set synchronous_commit on, or local, for this role.",
            "synchronous_commit is off: a crash loses events that were answered 202");
    return synced && whole && waits;
}

/* Connections are made to servers that take writes only. */
static const char *postgres_remedy(const struct hl_err *err)
{
    switch (err->why) {
    case HL_WHY_READ_ONLY:
        return "Point WEBHOOK_DATABASE_URL at the primary; unset default_transaction_read_only "
               "where that is it.";
    case HL_WHY_REFUSED:
        return "Correct user, password or database in WEBHOOK_DATABASE_URL, or let them in "
               "(pg_hba.conf, max_connections).";
    default: return "Is WEBHOOK_DATABASE_URL right, the server running, and reachable from here?";
    }
}

void doctor_postgres(struct doctor *d)
{
    if (!d->asks)
        return;
    if (!db_known(d))
        doctor_say(d, DOCTOR_ERROR, postgres_remedy(&d->db_err), "%s", d->db_err.msg);
    else if (db_int(d->server.rows, 0, SERVER_VERSION_NUM) < POSTGRES_OLDEST)
        doctor_say(d, DOCTOR_ERROR, "Use PostgreSQL 13 or later.", "this is PostgreSQL %s",
            server_text(d, SERVER_VERSION));
    else if (!server_is(d, SERVER_ENCODING, "UTF8"))
        doctor_say(d, DOCTOR_ERROR, "Make the database with ENCODING 'UTF8'.",
            "the database's encoding is %s: not every page fits in",
            server_text(d, SERVER_ENCODING));
    else if (postgres_is_safe(d))
        doctor_say(d, DOCTOR_OK, NULL, "PostgreSQL %s answers", server_text(d, SERVER_VERSION));
}

void doctor_schema(struct doctor *d)
{
    int latest = migrate_latest();
    if (!db_known(d))
        return;
    if (d->schema < 0)
        doctor_say(d, DOCTOR_ERROR, "Run: hooklinectl migrate",
            "there is no schema of Hookline's in this database, or this role may not see it");
    else if (d->schema < latest)
        doctor_say(d, DOCTOR_ERROR, "Run: hooklinectl migrate",
            "migration %d is applied, this release needs %d", d->schema, latest);
    else if (d->schema > latest)
        doctor_say(d, DOCTOR_WARNING, "Install the newer release here, too.",
            "migration %d is applied, this release knows %d only: another one is newer", d->schema,
            latest);
    else
        doctor_say(d, DOCTOR_OK, NULL, "all %d migrations are applied", latest);
}

static int64_t fleet_int(const struct doctor *d, int column)
{
    return db_int(d->fleet.rows, 0, column);
}

/* What processes may open: as they tell, and those that do not, as our settings would have it. */
static int64_t most_connections(const struct doctor *d)
{
    const struct config *c = &d->cfg;
    int64_t pool = c->db_pool_size + c->db_max_overflow;
    int64_t workers = fleet_int(d, FLEET_WORKERS), producers = fleet_int(d, FLEET_PRODUCERS);
    return fleet_int(d, FLEET_WORKERS_POOLS) + fleet_int(d, FLEET_PRODUCERS_POOLS) +
           (workers - fleet_int(d, FLEET_WORKERS_TOLD)) * pool +
           (producers - fleet_int(d, FLEET_PRODUCERS_TOLD)) * pool + workers + /* the lease's */
           producers * c->read_connections + SUPERVISORS;
}

/* The least of what server, database and role allow. */
static int64_t allowed_connections(const struct doctor *d)
{
    int64_t allowed = db_int(d->server.rows, 0, SERVER_MAX_CONNECTIONS) -
                      db_int(d->server.rows, 0, SERVER_RESERVED);
    static const int limits[] = {SERVER_ROLE_LIMIT, SERVER_DATABASE_LIMIT};
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        int64_t limit = db_int(d->server.rows, 0, limits[i]);
        if (limit >= 0 && limit < allowed)
            allowed = limit;
    }
    return allowed;
}

/* PostgreSQL itself listens elsewhere than where we connect to: a pooler, or a mapped port. */
static bool is_indirect(const struct doctor *d)
{
    struct url_parts u;
    int64_t port = db_int(d->server.rows, 0, SERVER_PORT);
    if (!port || !url_parse(d->cfg.database_url, &u))
        return false;
    bool list = strchr(u.host ? u.host : "", ',') != NULL;
    int64_t ours = u.port ? u.port : POSTGRES_PORT;
    url_parts_release(&u);
    return !list && ours != port;
}

static void say_too_many(struct doctor *d, const char *who, long long allowed, const char *todo)
{
    if (is_indirect(d))
        doctor_say(d, DOCTOR_WARNING,
            "If that is a pooler, let it take so many clients (max_client_conn) with pools that "
            "PostgreSQL can fill; else lower WEBHOOK_DB_POOL_SIZE, or raise max_connections.",
            "%s; PostgreSQL gives us %lld, and something between us and its port %lld", who,
            allowed, (long long)db_int(d->server.rows, 0, SERVER_PORT));
    else
        doctor_say(d, DOCTOR_ERROR, todo, "%s; PostgreSQL gives us %lld", who, allowed);
}

/* What so many replicas may open at once; README says the same ("connections to PostgreSQL"). */
static int64_t planned_connections(const struct doctor *d, int64_t producers, int64_t workers)
{
    const struct config *c = &d->cfg;
    int64_t pool = c->db_pool_size + c->db_max_overflow;
    int64_t producer = producers * (pool + c->read_connections);
    int64_t worker = workers * (pool + LEASE) + JANITOR + SOLO;
    return d->producers * producer + d->workers * worker + SUPERVISORS;
}

static void look_at_plan(struct doctor *d, long long allowed, const char *todo)
{
    int64_t producers = d->cfg.producers ? d->cfg.producers : prefork_cores();
    int64_t workers = d->cfg.workers ? d->cfg.workers : prefork_cores();
    long long most = planned_connections(d, producers, workers);
    bool guessed = !d->cfg.producers || !d->cfg.workers;
    char *who =
        mem_printf("%d producer and %d worker replicas (of %lld and %lld processes%s) may open "
                   "%lld connections",
            d->producers, d->workers, (long long)producers, (long long)workers,
            guessed ? ", where none are set one for each core here" : "", most);
    if (most > allowed)
        say_too_many(d, who, allowed, todo);
    else
        doctor_say(d, DOCTOR_OK, NULL, "%s of %lld", who, allowed);
    free(who);
}

static void look_at_fleet(struct doctor *d, long long allowed, const char *todo)
{
    long long most = most_connections(d);
    long long workers = fleet_int(d, FLEET_WORKERS), producers = fleet_int(d, FLEET_PRODUCERS);
    long long used = db_int(d->server.rows, 0, SERVER_IN_USE);
    char *who = mem_printf("%lld worker and %lld producer processes may open %lld connections",
        workers, producers, most);
    if (most > allowed)
        say_too_many(d, who, allowed, todo);
    else if (used > allowed / 10 * 9)
        doctor_say(d, DOCTOR_WARNING, todo, "%lld of %lld connections are in use, by all together",
            used, allowed);
    else
        doctor_say(d, DOCTOR_OK, NULL, "%s of %lld", who, allowed);
    free(who);
}

void doctor_connections(struct doctor *d)
{
    const char *todo = "Lower WEBHOOK_DB_POOL_SIZE or WEBHOOK_DB_MAX_OVERFLOW, run fewer "
                       "processes, raise max_connections, or put PgBouncer in between.";
    if (!db_known(d))
        return;
    long long allowed = allowed_connections(d);
    if (d->fleet.rows)
        look_at_fleet(d, allowed, todo);
    if (d->producers || d->workers)
        look_at_plan(d, allowed, todo);
}

/* --- round trips and clocks -------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static int64_t median_trip(const struct clock_look *looks)
{
    int64_t trips[EXAM_TIMES];
    for (int i = 0; i < EXAM_TIMES; i++)
        trips[i] = looks[i].after - looks[i].before;
    qsort(trips, EXAM_TIMES, sizeof(*trips), by_size);
    return trips[EXAM_TIMES / 2];
}

static void say_latency(struct doctor *d, const char *store, const struct clock_look *looks)
{
    int64_t trip = median_trip(looks);
    bool slow = trip > SLOW_US;
    doctor_say(d, slow ? DOCTOR_WARNING : DOCTOR_OK,
        slow ? "Run the programs near their stores; look at the load of that host." : NULL,
        "%s answers within %.2f ms (median of %d)", store, (double)trip / 1000, EXAM_TIMES);
}

void doctor_latency(struct doctor *d)
{
    if (redis_known(d))
        say_latency(d, "Redis", d->redis.looks);
    if (db_known(d))
        say_latency(d, "PostgreSQL", d->db_looks);
}

static void say_clock(struct doctor *d, const char *store, const struct clock_look *looks)
{
    struct skew s = skew_of(looks, EXAM_TIMES);
    int64_t off = (s.ahead < 0 ? -s.ahead : s.ahead) - s.unsure;
    enum doctor_level level = off > SKEW_WRONG_US ? DOCTOR_ERROR
                              : off > SKEW_US     ? DOCTOR_WARNING
                                                  : DOCTOR_OK;
    doctor_say(d, level,
        level == DOCTOR_OK ? NULL : "Let chrony or systemd-timesyncd set the clocks of both hosts.",
        "the clock of %s is %.1f ms %s ours (within %.1f ms)", store,
        (double)(s.ahead < 0 ? -s.ahead : s.ahead) / 1000, s.ahead < 0 ? "behind" : "ahead of",
        (double)s.unsure / 1000);
}

void doctor_clocks(struct doctor *d)
{
    if (redis_known(d))
        say_clock(d, "Redis", d->redis.looks);
    if (db_known(d))
        say_clock(d, "PostgreSQL", d->db_looks);
}

/* --- the fleet --------------------------------------------------------------------------- */

static bool say_orders(struct doctor *d, int column, const char *what, const char *todo)
{
    const char *queues = db_text(d->fleet.rows, 0, column);
    if (*queues)
        doctor_say(d, DOCTOR_WARNING, todo, "%s: %s", what, queues);
    return !*queues;
}

void doctor_fleet(struct doctor *d)
{
    if (!db_known(d) || d->schema < migrate_latest())
        return;
    if (d->fleet.rc != HL_OK) {
        doctor_say(d, DOCTOR_ERROR,
            strcmp(d->fleet.err.sqlstate, "42501") == 0
                ? "Give this role the rights on schema webhook that its owner has."
                : "Look for locks that are held long (pg_locks), and at the server's load.",
            "what the processes tell cannot be read: %s", d->fleet.err.msg);
        return;
    }
    long long workers = fleet_int(d, FLEET_WORKERS), spools = fleet_int(d, FLEET_SILENT_SPOOLS);
    long long silent = fleet_int(d, FLEET_SILENT_PRODUCERS);
    bool fine = workers > 0;
    if (!workers)
        doctor_say(d, DOCTOR_WARNING, "Start hookline-worker.", "no worker process is alive");
    fine &= say_orders(d, FLEET_PAUSED, "an operator has paused", "hooklinectl resume");
    fine &=
        say_orders(d, FLEET_FENCED, "an operator has fenced the intake of", "hooklinectl resume");
    if (silent)
        doctor_say(d, DOCTOR_WARNING,
            "Start them again on their hosts, or push their spools: hooklinectl spool push.",
            "%lld producer processes went silent without signing off", silent);
    if (spools)
        doctor_say(d, DOCTOR_WARNING,
            "'hooklinectl spool list' names them. Start a producer there, or copy the folder and "
            "run 'hooklinectl spool push'.",
            "%lld spool segments (%lld bytes) of producers that are gone wait on their disks",
            spools, (long long)fleet_int(d, FLEET_SILENT_BYTES));
    if (fine && !silent && !spools)
        doctor_say(
            d, DOCTOR_OK, NULL, "%lld worker processes are alive, nothing is paused", workers);
}
