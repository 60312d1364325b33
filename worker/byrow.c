/* byrow: see byrow.h. Owns the judgement whether Redis is away, and the walk through the rows that
 * are due. */
#include "worker/byrow.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    PATIENCE_MS = 3000, /* trouble for so long, and we go without Redis */
    PAUSE_MS = 1000,    /* when nothing was found */
    MAX_CLAIM = 100,
    LOOK_MORE = 50, /* rows looked at for one claim: so many, and three for each wanted */
    MAX_LOOKS = 20, /* in vain, one after the other */
};

struct byrow {
    struct byrow_conf conf;
    bool bad[BYROW_NSIGNS];
    struct timer patience, pause;
    bool away, asking, failed;
    bool plenty; /* the last claim took all it could: there is more */
    int64_t asked, look;
    int looks;
    struct store_place place;
    int64_t since_ms, claims, probed_ms;
};

static bool any_bad(const struct byrow *b)
{
    return b->bad[BYROW_READS] || b->bad[BYROW_WRITES];
}

static void probe(struct byrow *b)
{
    int64_t now = clock_mono_ms();
    if (!b->bad[BYROW_WRITES] || now - b->probed_ms < PAUSE_MS)
        return;
    b->probed_ms = now;
    b->conf.probe(b->conf.ctx);
}

/* --- claiming ---------------------------------------------------------------------------- */

static void wait_a_little(struct byrow *b)
{
    if (b->away)
        timer_start(&b->pause, backoff_jitter(PAUSE_MS, (uint32_t)clock_mono_us()));
}

static void hand_over(struct byrow *b, const PGresult *rows)
{
    struct change_event ev;
    for (int i = 0; i < PQntuples(rows); i++) {
        if (!store_event(rows, i, &ev))
            continue;
        b->claims++;
        b->conf.claimed(&ev, db_int(rows, i, DUE_EPOCH), db_int(rows, i, DUE_ATTEMPTS),
            db_int(rows, i, DUE_WAITED_MS), b->conf.ctx);
    }
}

static void ask(void *ctx);

/* The next page at once while there are any; after the last, or too many in vain, a pause. */
static void go_on(struct byrow *b, int64_t claimed, int64_t looked)
{
    bool last = looked < b->look;
    b->plenty = claimed > 0 && (claimed == b->asked || !last);
    b->looks = claimed ? 0 : b->looks + 1;
    if (claimed == b->asked || last)
        b->place = (struct store_place){0}; /* from the oldest again */
    if (b->plenty || (!last && b->looks % MAX_LOOKS))
        timer_start(&b->pause, 0);
    else
        wait_a_little(b);
}

static void answered(enum hl_rc rc, const PGresult *rows, const struct hl_err *err, void *ctx)
{
    struct byrow *b = ctx;
    int64_t before = b->claims, looked;

    b->asking = false;
    if (rc != HL_OK) {
        if (!b->failed)
            log_warn("claim_by_row_failed", LOG_S("error", err->msg));
        b->failed = true;
        b->plenty = false;
        wait_a_little(b);
    } else {
        b->failed = false;
        looked = store_looked(rows, &b->place);
        hand_over(b, rows);
        if (b->away)
            go_on(b, b->claims - before, looked);
    }
    b->conf.idle(b->conf.ctx);
}

static void ask(void *ctx)
{
    struct byrow *b = ctx;
    if (!b->away || b->asking)
        return;
    probe(b);
    int64_t room = b->conf.room(b->conf.ctx);
    if (room <= 0) { /* byrow_room goes on */
        wait_a_little(b);
        return;
    }
    b->asked = room < MAX_CLAIM ? room : MAX_CLAIM;
    b->asking = true;
    b->look = LOOK_MORE + 3 * b->asked;
    store_claim_due(b->conf.store, &b->place, (int)b->asked, (int)b->look, answered, b);
}

void byrow_room(struct byrow *b)
{
    if (b->away && b->plenty && !b->asking)
        timer_start(&b->pause, 0);
}

/* --- is Redis away? ---------------------------------------------------------------------- */

static void go_without(void *ctx)
{
    struct byrow *b = ctx;
    if (!any_bad(b))
        b->bad[BYROW_READS] = true; /* an answer that never came */
    b->away = true;
    b->since_ms = clock_mono_ms();
    b->claims = 0;
    b->looks = 0;
    b->place = (struct store_place){0};
    log_warn("claiming_by_row", LOG_B("reads_fail", b->bad[BYROW_READS]),
        LOG_B("writes_fail", b->bad[BYROW_WRITES]));
    ask(b);
}

void byrow_expect(struct byrow *b, int64_t ms)
{
    if (!b->away && !timer_running(&b->patience))
        timer_start(&b->patience, ms + PATIENCE_MS);
}

void byrow_trouble(struct byrow *b, enum byrow_sign sign)
{
    bool was_bad = any_bad(b);
    b->bad[sign] = true;
    if (!b->away && !was_bad)
        timer_start(&b->patience, PATIENCE_MS);
}

void byrow_works(struct byrow *b, enum byrow_sign sign)
{
    bool was_bad = b->bad[sign];
    b->bad[sign] = false;
    probe(b);
    if (any_bad(b))
        return;
    if (was_bad || sign == BYROW_READS)
        timer_stop(&b->patience);
    if (!b->away)
        return;
    b->away = b->plenty = false;
    timer_stop(&b->pause);
    log_info("queue_is_back", LOG_I("away_ms", clock_mono_ms() - b->since_ms),
        LOG_I("claimed_by_row", b->claims));
}

bool byrow_claims(const struct byrow *b)
{
    return b->away;
}

bool byrow_asking(const struct byrow *b)
{
    return b->asking;
}

/* --- life -------------------------------------------------------------------------------- */

struct byrow *byrow_new(const struct byrow_conf *conf)
{
    struct byrow *b = mem_new(struct byrow);
    b->conf = *conf;
    timer_init(conf->loop, &b->patience, go_without, b);
    timer_init(conf->loop, &b->pause, ask, b);
    return b;
}

void byrow_free(struct byrow *b)
{
    if (!b)
        return;
    timer_stop(&b->patience);
    timer_stop(&b->pause);
    free(b);
}
