/* breaker: see breaker.h. Owns what this process knows of each host and what it still has to write.
 * The rules are in circuit.c. A change is made here first, then written; PostgreSQL decides between
 * processes, and the next read corrects who lost. */
#include "worker/breaker.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/meter.h"
#include "worker/circuit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_CLOSED_MS = 5000, /* nothing is open: somebody else's opening is noticed after ... */
    READ_OPEN_MS = 2000,
    READ_SOON_MS = 100,
    PROBE_MARGIN_MS = 30000, /* the claim and the answer's way, besides the scrape */
    MAX_HOSTS = 1024,        /* further ones have no circuit */
};

enum unwritten { WRITTEN, OPENING, RESULT };

struct upstream {
    struct list_node node;
    char *host;
    struct circuit circuit;
    struct breaker *breaker;
    struct breaker_leave *asking; /* whose leave PostgreSQL is asked for; NULL: nobody waits */
    bool claiming;                /* that question is under way */
    bool writing;
    enum unwritten unwritten; /* PostgreSQL does not know yet */
    uint64_t changed;         /* value of breaker.changes when anything last happened here */
    uint64_t written;         /* its value when what is being written was true */
    char error[200];
};

struct breaker {
    struct store *store;
    struct circuit_conf conf;
    struct list upstreams; /* those not closed, or with failures */
    struct timer tick;
    uint64_t changes, read_from; /* a read says nothing of what has changed since it was sent */
    bool reading, stopped;
};

static void tick_in(struct breaker *b, int64_t ms)
{
    if (!b->stopped)
        timer_start(&b->tick, backoff_jitter(ms, arc4random()));
}

/* --- hosts ------------------------------------------------------------------------------- */

static struct upstream *find(const struct breaker *b, const char *host)
{
    LIST_EACH(&b->upstreams, n)
    {
        struct upstream *u = LIST_OF(n, struct upstream, node);
        if (strcmp(u->host, host) == 0)
            return u;
    }
    return NULL;
}

static void forget(struct upstream *u)
{
    list_remove(&u->breaker->upstreams, &u->node);
    free(u->host);
    free(u);
}

static bool says_nothing(const struct upstream *u)
{
    return u->circuit.state == CIRCUIT_CLOSED && !u->circuit.failures && !u->claiming &&
           !u->writing && u->unwritten == WRITTEN;
}

/* The one longest known of those that failed a little. */
static void forget_one(struct breaker *b)
{
    LIST_EACH(&b->upstreams, n)
    {
        struct upstream *u = LIST_OF(n, struct upstream, node);
        u->circuit.failures = u->circuit.state == CIRCUIT_CLOSED ? 0 : u->circuit.failures;
        if (!says_nothing(u))
            continue;
        forget(u);
        return;
    }
}

/* NULL: there are too many. */
static struct upstream *remember(struct breaker *b, const char *host)
{
    struct upstream *u = find(b, host);
    if (!u && b->upstreams.len >= MAX_HOSTS)
        forget_one(b);
    if (u || b->upstreams.len >= MAX_HOSTS)
        return u;
    u = mem_new(struct upstream);
    u->breaker = b;
    u->host = mem_strdup(host);
    list_push(&b->upstreams, &u->node);
    return u;
}

static void changed(struct upstream *u)
{
    u->changed = ++u->breaker->changes;
}

/* --- writing ----------------------------------------------------------------------------- */

/* Not written: the next tick tries again. Written, or another was faster: the next read tells. */
static void written(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct upstream *u = ctx;
    (void)err;
    u->writing = false;
    if ((rc == HL_OK || rc == HL_FATAL) && u->changed == u->written)
        u->unwritten = WRITTEN;
    changed(u);
    if (rc == HL_OK && !PQntuples(rows))
        tick_in(u->breaker, READ_SOON_MS);
    if (says_nothing(u))
        forget(u);
}

static void write_down(struct upstream *u)
{
    const struct circuit *c = &u->circuit;
    int64_t pause = c->until_ms - clock_mono_ms();
    if (u->unwritten == WRITTEN || u->writing || u->claiming || c->state == CIRCUIT_HALF_OPEN)
        return;
    u->writing = true;
    u->written = u->changed;
    if (pause < 0)
        pause = 0;
    if (u->unwritten == OPENING)
        store_upstream_open(u->breaker->store, u->host, c->failures, pause, u->error, written, u);
    else
        store_upstream_result(u->breaker->store, u->host,
            c->state == CIRCUIT_CLOSED ? "closed" : "open", c->failures, pause,
            c->state == CIRCUIT_CLOSED ? NULL : u->error, written, u);
}

/* --- reading ----------------------------------------------------------------------------- */

static void log_opened(const struct upstream *u, const char *by)
{
    log_warn("upstream_opened", LOG_S("host", u->host), LOG_S("by", by),
        LOG_I("failures", u->circuit.failures),
        LOG_I("pause_ms", u->circuit.until_ms - clock_mono_ms()), LOG_S("error", u->error));
}

static bool out_of_date(const struct upstream *u)
{
    return u->changed > u->breaker->read_from || u->writing || u->claiming ||
           u->unwritten != WRITTEN;
}

static void learn(struct breaker *b, const PGresult *rows, int row)
{
    struct upstream *u = remember(b, db_text(rows, row, 0));
    if (!u || out_of_date(u))
        return;
    bool was_closed = u->circuit.state == CIRCUIT_CLOSED;
    bool half_open = strcmp(db_text(rows, row, 1), "half_open") == 0;
    bool ours = half_open && db_text(rows, row, 4)[0] == 't';
    u->changed = b->read_from;
    if (!ours || !u->circuit.ours) {
        /* A probe of ours that we know nothing of: the answer to our question was lost. */
        u->circuit =
            (struct circuit){.state = half_open && !ours ? CIRCUIT_HALF_OPEN : CIRCUIT_OPEN,
                .failures = db_int(rows, row, 2),
                .until_ms = clock_mono_ms() + (ours ? 0 : db_int(rows, row, 3))};
    }
    if (was_closed)
        log_opened(u, "another process");
}

/* Who is in no row is closed. */
static void close_others(struct breaker *b, const PGresult *rows)
{
    LIST_EACH(&b->upstreams, n)
    {
        struct upstream *u = LIST_OF(n, struct upstream, node);
        bool listed = false;
        if (u->circuit.state == CIRCUIT_CLOSED || out_of_date(u))
            continue;
        for (int i = 0; i < PQntuples(rows) && !listed; i++)
            listed = strcmp(db_text(rows, i, 0), u->host) == 0;
        if (listed)
            continue;
        log_info("upstream_closed", LOG_S("host", u->host), LOG_S("by", "another process"));
        forget(u);
    }
}

static bool any_open(const struct breaker *b)
{
    LIST_EACH(&b->upstreams, n)
    {
        if (LIST_OF(n, struct upstream, node)->circuit.state != CIRCUIT_CLOSED)
            return true;
    }
    return false;
}

static void read_done(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct breaker *b = ctx;
    (void)err;
    b->reading = false;
    if (rc == HL_OK) {
        for (int i = 0; i < PQntuples(rows); i++)
            learn(b, rows, i);
        close_others(b, rows);
    }
    tick_in(b, any_open(b) ? READ_OPEN_MS : READ_CLOSED_MS);
}

static void tick(void *ctx)
{
    struct breaker *b = ctx;
    LIST_EACH(&b->upstreams, n)
    {
        write_down(LIST_OF(n, struct upstream, node));
    }
    if (b->reading)
        return;
    b->reading = true;
    b->read_from = b->changes;
    store_upstreams(b->store, read_done, b);
}

/* --- leave ------------------------------------------------------------------------------- */

static struct upstream *known(const struct breaker *b, const char *host)
{
    return b && host ? find(b, host) : NULL;
}

bool breaker_allows(const struct breaker *b, const char *host)
{
    return breaker_room(b, host, 1) > 0;
}

int64_t breaker_room(const struct breaker *b, const char *host, int64_t wanted)
{
    const struct upstream *u = known(b, host);
    if (!u)
        return wanted;
    switch (circuit_ask(&u->circuit, clock_mono_ms())) {
    case CIRCUIT_GO: return wanted;
    case CIRCUIT_TRY: return u->claiming || wanted < 1 ? 0 : 1;
    case CIRCUIT_WAIT: break;
    }
    return 0;
}

static enum breaker_says refuse(struct upstream *u, struct breaker_leave *leave)
{
    leave->wait_ms = circuit_wait_ms(&u->circuit, clock_mono_ms(), arc4random());
    return BREAKER_WAIT;
}

static void grant(struct upstream *u, struct breaker_leave *leave)
{
    circuit_try(&u->circuit, &u->breaker->conf, clock_mono_ms());
    changed(u);
    leave->probe = true;
    log_info("upstream_half_open", LOG_S("host", u->host));
}

static void claimed(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct upstream *u = ctx;
    struct breaker_leave *leave = u->asking;
    bool granted = rc != HL_OK || PQntuples(rows) > 0; /* PostgreSQL away: each on his own */
    (void)err;
    u->claiming = false;
    u->asking = NULL;
    changed(u);
    if (rc == HL_OK && granted)
        u->circuit.failures = db_int(rows, 0, 0); /* as the last probe left it, whoever's it was */
    if (granted && leave) {
        u->unwritten = WRITTEN; /* what we had to say of an earlier probe */
        grant(u, leave);
    } else {
        tick_in(u->breaker, READ_SOON_MS); /* what is it, then? Half open, if we had leave */
    }
    if (!leave)
        return;
    if (!granted)
        refuse(u, leave);
    leave->answer(leave, granted, leave->ctx);
}

enum breaker_says breaker_ask(struct breaker *b, struct breaker_leave *leave)
{
    struct upstream *u = known(b, leave->host);
    leave->probe = false;
    if (!u || circuit_ask(&u->circuit, clock_mono_ms()) == CIRCUIT_GO)
        return BREAKER_GO;
    if (circuit_ask(&u->circuit, clock_mono_ms()) == CIRCUIT_WAIT || u->claiming || u->writing)
        return refuse(u, leave);
    if (u->unwritten == OPENING) { /* PostgreSQL is away: we are alone with what we know */
        grant(u, leave);
        return BREAKER_GO;
    }
    u->claiming = true;
    u->asking = leave;
    store_upstream_probe(b->store, u->host, b->conf.probe_ms, claimed, u);
    return BREAKER_ASKS;
}

/* --- what came of it --------------------------------------------------------------------- */

static void note(struct upstream *u, enum circuit_change change)
{
    switch (change) {
    case CIRCUIT_SAME: return;
    case CIRCUIT_OPENS:
        log_opened(u, "this process");
        u->unwritten = OPENING;
        store_forget_upstreams(u->breaker->store, NULL, NULL);
        break;
    case CIRCUIT_REOPENS: log_opened(u, "probe"); break;
    case CIRCUIT_RETURNS: break;
    case CIRCUIT_CLOSES:
        log_info("upstream_closed", LOG_S("host", u->host), LOG_S("by", "probe"));
        break;
    }
    if (change != CIRCUIT_OPENS) /* one that was never written is opened, or of no interest */
        u->unwritten = u->unwritten != OPENING              ? RESULT
                       : u->circuit.state == CIRCUIT_CLOSED ? WRITTEN
                                                            : OPENING;
    changed(u);
    write_down(u);
    tick_in(u->breaker, READ_OPEN_MS);
}

static bool report(struct upstream *u, struct breaker_leave *leave, const struct circuit_report *r,
    const char *error)
{
    int64_t now = clock_mono_ms();
    bool spared = circuit_spares(&u->circuit, r);
    if (u->circuit.state == CIRCUIT_CLOSED || r->probe)
        snprintf(u->error, sizeof(u->error), "%s", error ? error : "");
    note(u, circuit_report(&u->circuit, &u->breaker->conf, r, now, arc4random()));
    leave->probe = false;
    leave->wait_ms = circuit_wait_ms(&u->circuit, now, arc4random());
    if (says_nothing(u))
        forget(u);
    return spared;
}

bool breaker_report(struct breaker *b, struct breaker_leave *leave, enum upstream_sign sign,
    int64_t retry_after_ms, const char *error)
{
    const struct circuit_report r = {sign, leave->probe, retry_after_ms, leave->again};
    bool fine = sign == UPSTREAM_WORKS || sign == UPSTREAM_SILENT;
    if (!b || !leave->host)
        return false;
    struct upstream *u = fine ? find(b, leave->host) : remember(b, leave->host);
    return u && report(u, leave, &r, error);
}

void breaker_return(struct breaker *b, struct breaker_leave *leave)
{
    struct upstream *u = known(b, leave->host);
    if (u && u->asking == leave)
        u->asking = NULL;
    if (leave->probe)
        breaker_report(b, leave, UPSTREAM_SILENT, -1, NULL);
}

/* --- life -------------------------------------------------------------------------------- */

struct breaker *breaker_new(struct loop *l, const struct config *cfg, struct store *store)
{
    if (!cfg->breaker_failures)
        return NULL;
    struct breaker *b = mem_new(struct breaker);
    b->store = store;
    b->conf = (struct circuit_conf){.failures = cfg->breaker_failures,
        .pause_ms = cfg->breaker_pause_ms,
        .longest_ms = cfg->retry_max_ms,
        .probe_ms = cfg->scrape_timeout_ms + PROBE_MARGIN_MS};
    list_init(&b->upstreams);
    timer_init(l, &b->tick, tick, b);
    tick_in(b, READ_SOON_MS);
    return b;
}

void breaker_show(const struct breaker *b)
{
    int64_t open = 0, half_open = 0;
    if (!b)
        return;
    LIST_EACH(&b->upstreams, n)
    {
        enum circuit_state state = LIST_OF(n, struct upstream, node)->circuit.state;
        open += state == CIRCUIT_OPEN;
        half_open += state == CIRCUIT_HALF_OPEN;
    }
    meter_set(M_BREAKER, STATE_OPEN, 0, open);
    meter_set(M_BREAKER, STATE_HALF_OPEN, 0, half_open);
}

void breaker_stop(struct breaker *b)
{
    if (!b)
        return;
    b->stopped = true;
    timer_stop(&b->tick);
}

void breaker_free(struct breaker *b)
{
    if (!b)
        return;
    for (struct list_node *n; (n = list_first(&b->upstreams));)
        forget(LIST_OF(n, struct upstream, node));
    free(b);
}
