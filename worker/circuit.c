/* circuit: see circuit.h. */
#include "worker/circuit.h"

#include "base/backoff.h"

enum {
    LONGEST_PAUSE = 10, /* of the first one */
    SHORTEST_MS = 1000, /* an upstream that asks for no pause at all gets this one */
    SPREAD_MS = 1000,   /* behind the end of a pause */
    LOOK_AGAIN_MS = 2000,
    LOOK_AGAIN_SPREAD_MS = 4000,
};

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum circuit_leave circuit_ask(const struct circuit *c, int64_t now_ms)
{
    if (c->state == CIRCUIT_CLOSED)
        return CIRCUIT_GO;
    return c->until_ms <= now_ms ? CIRCUIT_TRY : CIRCUIT_WAIT;
}

int64_t circuit_wait_ms(const struct circuit *c, int64_t now_ms, uint32_t random)
{
    if (c->state == CIRCUIT_OPEN && c->until_ms > now_ms)
        return c->until_ms - now_ms + random % SPREAD_MS;
    return LOOK_AGAIN_MS + random % LOOK_AGAIN_SPREAD_MS; /* somebody tries it at this moment */
}

void circuit_try(struct circuit *c, const struct circuit_conf *conf, int64_t now_ms)
{
    c->state = CIRCUIT_HALF_OPEN;
    c->until_ms = now_ms + conf->probe_ms;
    c->ours = true;
}

static bool is_failure(enum upstream_sign sign)
{
    return sign == UPSTREAM_FAILS || sign == UPSTREAM_DOWN || sign == UPSTREAM_THROTTLES;
}

bool circuit_spares(const struct circuit *c, const struct circuit_report *r)
{
    if (c->state == CIRCUIT_CLOSED || !is_failure(r->sign))
        return false;
    return !(r->probe && r->sign == UPSTREAM_FAILS);
}

/* failures counts on while it is open, so it also tells how often its probes have failed: with each
 * further conf->failures of them the pause doubles. */
static int64_t pause_ms(const struct circuit *c, const struct circuit_conf *conf,
    const struct circuit_report *r, uint32_t random)
{
    int64_t asked = min(r->retry_after_ms, conf->longest_ms);
    if (r->sign == UPSTREAM_THROTTLES && asked >= 0)
        return max(asked, SHORTEST_MS);
    int64_t times = 1;
    for (int64_t n = c->failures / conf->failures; n > 1 && times < LONGEST_PAUSE; n--)
        times *= 2;
    return max(backoff_jitter(conf->pause_ms * min(times, LONGEST_PAUSE), random), asked);
}

static void open(struct circuit *c, int64_t until_ms)
{
    c->state = CIRCUIT_OPEN;
    c->until_ms = until_ms;
    c->ours = false;
}

static enum circuit_change report_closed(struct circuit *c, const struct circuit_conf *conf,
    const struct circuit_report *r, int64_t now_ms, uint32_t random)
{
    if (r->sign == UPSTREAM_WORKS)
        c->failures = 0;
    /* A page that has failed before is more likely to blame than its upstream. */
    if (!is_failure(r->sign) || (r->sign == UPSTREAM_FAILS && r->again))
        return CIRCUIT_SAME;
    c->failures++;
    if (r->sign != UPSTREAM_THROTTLES && c->failures < conf->failures)
        return CIRCUIT_SAME;
    c->failures = conf->failures;
    open(c, now_ms + pause_ms(c, conf, r, random));
    return CIRCUIT_OPENS;
}

/* A page may have brought this failure about: others try, one after the other, before it counts.
 * Otherwise a few pages that always fail would keep the circuit open for all. */
static bool in_doubt(
    const struct circuit *c, const struct circuit_conf *conf, const struct circuit_report *r)
{
    return r->sign == UPSTREAM_FAILS && r->retry_after_ms < 0 && c->failures % conf->failures;
}

static enum circuit_change report_probe(struct circuit *c, const struct circuit_conf *conf,
    const struct circuit_report *r, int64_t now_ms, uint32_t random)
{
    if (r->sign == UPSTREAM_WORKS) {
        *c = (struct circuit){.state = CIRCUIT_CLOSED};
        return CIRCUIT_CLOSES;
    }
    if (r->sign == UPSTREAM_SILENT) {
        open(c, now_ms);
        return CIRCUIT_RETURNS;
    }
    c->failures++;
    if (in_doubt(c, conf, r)) {
        open(c, now_ms);
        return CIRCUIT_RETURNS;
    }
    c->failures = (c->failures + conf->failures - 1) / conf->failures * conf->failures;
    open(c, now_ms + pause_ms(c, conf, r, random));
    return CIRCUIT_REOPENS;
}

/* What was under way when it opened says nothing about now. */
enum circuit_change circuit_report(struct circuit *c, const struct circuit_conf *conf,
    const struct circuit_report *r, int64_t now_ms, uint32_t random)
{
    if (c->state == CIRCUIT_CLOSED)
        return report_closed(c, conf, r, now_ms, random);
    if (c->state == CIRCUIT_HALF_OPEN && c->ours && r->probe)
        return report_probe(c, conf, r, now_ms, random);
    return CIRCUIT_SAME;
}
