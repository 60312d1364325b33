/* hooklinectl drain: waits until nothing is left, and proves it. Deletes nothing. */
#include "worker/ctl/commands.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "domain/store_orders.h"
#include "worker/ctl/drain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_QUEUE = 1,
    OPT_FENCE,
    OPT_UNFENCE,
    OPT_RETRIES,
    OPT_TIMEOUT,
    OPT_SETTLE,
    OPT_PATIENCE,
    OPT_SPOOL,
    OPT_IGNORE_SILENT,
    OPT_QUIET,
};
enum {
    SETTLE_MS = 1000,
    PATIENCE_MS = 30000,
    SLICE_MS = 50,
    HASTEN_EVERY_MS = 5000,
    HASTEN_BATCH = 1000,
    MAX_SPOOLS = 64,
};

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_QUEUE, "queue", "NAME", "change or crawl only (default: both)"},
    {OPT_FENCE, "fence", NULL, "first have all producers refuse events (503); it stays so"},
    {OPT_UNFENCE, "unfence", NULL, "lift the fence at the end, however it ends"},
    {OPT_RETRIES, "include-retries", "HOW", "now: what waits is due; wait (default): for it; ignore: leave it out"},
    {OPT_TIMEOUT, "timeout", "DURATION", "wait no longer (124); 0: look, do not wait"},
    {OPT_SETTLE, "settle", "DURATION", "between the two looks (default and least 1s)"},
    {OPT_PATIENCE, "patience", "DURATION", "end with 2 when all that is left is stuck so long (default 30s)"},
    {OPT_SPOOL, "spool", "DIR", "folder of a spool, not WEBHOOK_SPOOL_DIR; may be repeated"},
    {OPT_IGNORE_SILENT, "ignore-silent", NULL, "leave out producers not heard of for a minute"},
    {OPT_QUIET, "quiet", NULL, "no progress"},
    CTL_JSON_OPTION,
    CTL_WRITER_OPTIONS,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_drain = {
    .name = "drain",
    .summary = "wait until nothing is left, and prove it",
    .about =
        "Waits until the fleet has done all its work. It deletes nothing. Ends with 0 and a proof\n"
        "when two looks, a second apart, find nothing in streams, pending lists, later sets,\n"
        "spools and unfinished rows, and nothing happened between the two: same generations,\n"
        "same Redis, nothing added, accepted or claimed.\n"
        "\n"
        "With --fence producers refuse new events first, and go on refusing them: without it\n"
        "the proof is of that moment. Spools of other hosts are known from webhook.spools. A\n"
        "producer that fell silent hinders the proof, since nobody knows what it holds.\n"
        "\n"
        "Exits with 2 when something is left (stuck, interrupted, --timeout 0), 69 when a store\n"
        "cannot be reached, 124 at the timeout; what is left is named.\n",
    .examples = "hooklinectl drain --timeout 100\n"
                "hooklinectl drain --fence --yes --reason 'move to another host'\n"
                "hooklinectl drain --queue crawl --timeout 0 --json | jq .left\n"
                "hooklinectl drain --unfence --timeout 0 --yes\n",
    .options = options,
    .run = run,
};

static const char *const queue_names[] = {[QUEUE_CHANGE] = "change", [QUEUE_CRAWL] = "crawl"};
static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
    (void)signo;
    interrupted = 1;
}

/* --- the command line -------------------------------------------------------------------- */

static bool take_queue(struct ctl_args *args, struct drain *d)
{
    for (int k = 0; k < 2; k++)
        d->ask.queues[k] = strcmp(args->value, queue_names[k]) == 0;
    if (d->ask.queues[QUEUE_CHANGE] || d->ask.queues[QUEUE_CRAWL])
        return true;
    args->done =
        ctl_usage_error(args->command, "--queue %s: expected change or crawl", args->value);
    return false;
}

static bool take_retries(struct ctl_args *args, struct drain *d)
{
    static const char *const words[] = {
        [RETRIES_WAIT] = "wait", [RETRIES_NOW] = "now", [RETRIES_IGNORE] = "ignore"};
    for (int i = 0; i < 3; i++)
        if (strcmp(args->value, words[i]) == 0) {
            d->ask.retries = (enum census_retries)i;
            return true;
        }
    args->done = ctl_usage_error(
        args->command, "--include-retries %s: expected now, wait or ignore", args->value);
    return false;
}

static bool take_spool(struct ctl_args *args, struct drain *d)
{
    if (d->ask.nspools == MAX_SPOOLS) {
        args->done = ctl_usage_error(args->command, "more than %d spools", MAX_SPOOLS);
        return false;
    }
    d->ask.spools[d->ask.nspools++] = args->value;
    d->ask.spools_must_be = true;
    return true;
}

static bool take_settle(struct ctl_args *args, struct drain *d)
{
    if (!ctl_duration(args, "settle", &d->settle_ms))
        return false;
    if (d->settle_ms >= SETTLE_MS)
        return true;
    args->done = ctl_usage_error(args->command, "--settle %s: at least 1s", args->value);
    return false;
}

static bool take(struct ctl_args *args, int key, struct drain *d)
{
    switch (key) {
    case OPT_QUEUE: return take_queue(args, d);
    case OPT_FENCE: return d->fence = true;
    case OPT_UNFENCE: return d->unfence = true;
    case OPT_RETRIES: return take_retries(args, d);
    case OPT_TIMEOUT: return ctl_duration(args, "timeout", &d->timeout_ms);
    case OPT_SETTLE: return take_settle(args, d);
    case OPT_PATIENCE: return ctl_duration(args, "patience", &d->patience_ms);
    case OPT_SPOOL: return take_spool(args, d);
    case OPT_IGNORE_SILENT: return d->ask.ignore_silent = true;
    default: return d->quiet = true;
    }
}

static bool writes(const struct drain *d)
{
    return d->fence || d->unfence || d->ask.retries == RETRIES_NOW;
}

/* --- what it orders ---------------------------------------------------------------------- */

static void put_queues(const struct drain *d, struct buf *b)
{
    for (int k = 0; k < 2; k++)
        if (d->ask.queues[k])
            buf_printf(b, "%s%s", b->len && b->data[b->len - 1] != '{' ? "," : "", queue_names[k]);
}

/* CTL_OK, or the exit code after saying what went wrong. */
static int fence(struct drain *d, bool on)
{
    struct answer a = {.session = &d->session};
    struct buf queues = {0};
    char *who = operator_name();
    buf_putc(&queues, '{');
    put_queues(d, &queues);
    buf_putc(&queues, '}');
    store_fence(d->session.store, buf_str(&queues), on, who, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        d->fences += PQntuples(a.rows);
    answer_release(&a);
    buf_release(&queues);
    free(who);
    return code;
}

/* Whatever happened before. */
static int lift(struct drain *d)
{
    int code = d->unfence ? fence(d, false) : CTL_OK;
    if (code == CTL_OK)
        return CTL_OK;
    d->unfence = false;
    return ctl_fail(code, "the fence was not lifted; `hooklinectl resume --intake` does it");
}

struct moved {
    struct session *session;
    bool ok, left;
};

static void moved(enum hl_rc rc, int64_t n, bool left, void *ctx)
{
    struct moved *m = ctx;
    (void)n;
    m->ok = rc == HL_OK;
    m->left = left;
    session_answered(m->session);
}

static void wait_for(struct drain *d)
{
    if (d->ask.until_ms)
        session_wait_until(&d->session, d->ask.until_ms);
    else
        session_wait(&d->session);
}

/* Rows first: a job that came before its row would be sent back. A failure passes: the next look
 * tries again. */
static void hasten(struct drain *d)
{
    struct session *s = &d->session;
    for (int n = HASTEN_BATCH; d->ask.queues[QUEUE_CHANGE] && n == HASTEN_BATCH && !interrupted;) {
        struct answer a = {.session = s};
        store_hasten(s->store, HASTEN_BATCH, answer_keep, answer_asked(&a));
        wait_for(d);
        n = a.rc == HL_OK ? PQntuples(a.rows) : 0;
        d->hastened += n;
        answer_release(&a);
    }
    for (int k = 0; k < 2; k++) {
        struct moved m = {.session = s, .left = d->ask.queues[k]};
        while (m.left && !interrupted) {
            session_asked(s);
            queue_hasten(k == QUEUE_CRAWL ? s->crawl_queue : s->queue, HASTEN_BATCH, moved, &m);
            wait_for(d);
            m.left = m.left && m.ok;
        }
    }
}

/* --- look, wait, look again -------------------------------------------------------------- */

static void measure(struct drain *d)
{
    int64_t now = clock_mono_ms();
    if (d->now.rc != HL_OK)
        return;
    if (d->last_events >= 0 && now > d->last_ms) {
        int64_t went = d->last_events - d->now.events;
        double rate = (double)(went > 0 ? went : 0) * 1000 / (double)(now - d->last_ms);
        d->done += went > 0 ? went : 0;
        d->rate = d->rate > 0 ? 0.8 * d->rate + 0.2 * rate : rate;
    }
    d->last_events = d->now.events;
    d->last_ms = now;
}

/* Nothing is left. Two looks prove it when nothing happened between them, and all producers have told
 * of themselves since the first; what did happen makes this look the first one. */
static enum drain_state settle(struct drain *d)
{
    d->compared = d->has_first;
    d->has_first = d->has_first && strcmp(d->first.fingerprint, d->now.fingerprint) == 0;
    bool proven = d->has_first && d->now.began_ms - d->first.began_ms >= d->settle_ms &&
                  census_heard_since(&d->now, &d->first);
    return proven ? DRAIN_EMPTY : DRAIN_SETTLING;
}

static bool fence_is_open(const struct census *c)
{
    for (size_t i = 0; i < c->nleft; i++)
        if (strcmp(c->left[i].place, "fence") == 0)
            return true;
    return false;
}

static enum drain_state judge(struct drain *d)
{
    if (d->now.rc != HL_OK)
        return DRAIN_UNREACHABLE;
    if (census_empty(&d->now))
        return settle(d);
    d->has_first = false;
    if (census_stuck(&d->now))
        return DRAIN_STUCK;
    return fence_is_open(&d->now) ? DRAIN_FENCING : DRAIN_DRAINING;
}

/* A store that hangs is not waited for beyond the timeout, but for the look that comes behind it. */
static int64_t patience_until(const struct drain *d)
{
    int64_t end = d->started_ms + d->timeout_ms, least = clock_mono_ms() + SETTLE_MS;
    if (d->timeout_ms <= 0)
        return 0;
    return end > least ? end : least;
}

static void look(struct drain *d)
{
    if (d->state == DRAIN_SETTLING && !d->has_first) { /* the last look found nothing */
        census_release(&d->first);
        d->first = d->now;
        d->now = (struct census){0};
        d->has_first = true;
    } else {
        census_release(&d->now);
    }
    d->ask.until_ms = patience_until(d);
    census_take(&d->session, &d->ask, &d->now);
    measure(d);
    d->state = judge(d);
    int64_t now = clock_mono_ms();
    bool trouble = d->state == DRAIN_STUCK || d->state == DRAIN_UNREACHABLE;
    d->trouble_ms = !trouble ? 0 : d->trouble_ms ? d->trouble_ms : now;
}

static void end_at_timeout(struct drain *d)
{
    bool unheard = d->state == DRAIN_SETTLING && d->has_first && d->now.heard_of;
    if (unheard)
        census_leave_unheard(&d->now);
    if (d->state != DRAIN_UNREACHABLE)
        d->state = d->timeout_ms ? DRAIN_TIMEOUT : DRAIN_NOT_EMPTY;
}

/* Whether there is no more time. For a first look that found nothing there is a second one, and where
 * nobody was to wait, as many as it takes to hear of all producers. */
static bool late(const struct drain *d, int64_t now)
{
    if (d->timeout_ms < 0 || now - d->started_ms < d->timeout_ms)
        return false;
    return d->state != DRAIN_SETTLING || (d->compared && (d->timeout_ms || !d->has_first));
}

/* True when it is over: the state says how. */
static bool over(struct drain *d)
{
    int64_t now = clock_mono_ms();
    if (d->state == DRAIN_EMPTY)
        return true;
    if (interrupted)
        d->state = DRAIN_INTERRUPTED;
    else if (late(d, now))
        end_at_timeout(d);
    else
        return d->trouble_ms && now - d->trouble_ms >= d->patience_ms;
    return true;
}

/* A look that takes long, since much is left, is not taken all the time. */
static int64_t until_next_look(const struct drain *d)
{
    int64_t now = clock_mono_ms(), took = now - d->now.began_ms;
    if (d->state == DRAIN_SETTLING && !d->has_first)
        return now + d->settle_ms;
    return now + (took > SETTLE_MS ? took : SETTLE_MS);
}

/* Not only with the look after the next: signals, and the deadline, are heeded in between. The second
 * look is waited for even behind the deadline, when the first found nothing. */
static void wait_a_little(struct drain *d)
{
    int64_t end = until_next_look(d);
    while (!interrupted && clock_mono_ms() < end) {
        if (d->state != DRAIN_SETTLING && d->timeout_ms >= 0 &&
            clock_mono_ms() - d->started_ms >= d->timeout_ms)
            return;
        session_pause(&d->session, SLICE_MS);
    }
}

static void drain(struct drain *d)
{
    int64_t hastened_ms = 0;
    d->started_ms = clock_mono_ms();
    if (writes(d)) /* the look before the question went well */
        measure(d);
    for (;;) {
        look(d);
        if (over(d))
            return;
        drain_progress(d);
        if (d->state == DRAIN_UNREACHABLE && d->last_events < 0)
            return; /* it never answered: there may be nobody to wait for */
        int64_t now = clock_mono_ms();
        if (d->ask.retries == RETRIES_NOW && d->now.rc == HL_OK && !census_empty(&d->now) &&
            (!hastened_ms || now - hastened_ms >= HASTEN_EVERY_MS)) {
            hasten(d);
            hastened_ms = now;
        }
        wait_a_little(d);
    }
}

/* --- from the question to the answer ----------------------------------------------------- */

static int exit_code(struct drain *d)
{
    switch (d->state) {
    case DRAIN_EMPTY: return CTL_OK;
    case DRAIN_TIMEOUT: return ctl_fail(CTL_TIMEOUT, "not empty at the timeout");
    case DRAIN_INTERRUPTED: return ctl_fail(CTL_NOT_EMPTY, "interrupted before it was empty");
    case DRAIN_UNREACHABLE:
        if (d->now.err.why == HL_WHY_TIMEOUT) /* of a store, which is not the time that we had */
            return ctl_fail(CTL_UNREACHABLE, "%s", d->now.err.msg);
        return ctl_fail_err(&d->now.err);
    case DRAIN_STUCK: return ctl_fail(CTL_NOT_EMPTY, "not empty, and what is left is stuck");
    default: return ctl_fail(CTL_NOT_EMPTY, "not empty");
    }
}

static int finish(struct drain *d, const struct oplog *log)
{
    const char *outcome = d->state == DRAIN_EMPTY ? "done" : drain_state_name(d->state);
    drain_progress_ends(d);
    int lifted = lift(d), logged = CTL_OK;
    drain_report(d);
    int code = exit_code(d);
    if (log->id)
        logged = oplog_end(&d->session, log, d->fences + d->hastened, outcome);
    return code ? code : lifted ? lifted : logged;
}

/* What will be touched, and the question; -1: go on. */
static int ask_first(struct drain *d)
{
    struct buf queues = {0};
    put_queues(d, &queues);
    census_take(&d->session, &d->ask, &d->now);
    if (d->now.rc != HL_OK) {
        buf_release(&queues);
        return ctl_fail_err(&d->now.err);
    }
    fprintf(stderr, "About %lld events are not done. ", (long long)d->now.events);
    if (d->fence)
        fprintf(stderr, "%lld producers will refuse events of %s. ", (long long)d->now.producers,
            buf_str(&queues));
    if (d->fence && !d->now.producers)
        fputs("(One that is not in webhook.producers would not know.) ", stderr);
    if (d->unfence)
        fprintf(stderr, "At the end the fence of %s is lifted. ", buf_str(&queues));
    if (d->ask.retries == RETRIES_NOW)
        fprintf(stderr, "%lld later attempts will be made now.", (long long)d->now.later);
    fputc('\n', stderr);
    buf_release(&queues);
    return confirm(d->args, "Go on?");
}

static int order(struct drain *d, struct oplog *log)
{
    struct buf detail = {0};
    int code = ask_first(d);
    if (code >= 0)
        return code;
    buf_puts(&detail, "{\"queues\":\"");
    put_queues(d, &detail);
    buf_printf(&detail, "\",\"fence\":%s,\"unfence\":%s,\"retries_now\":%s}",
        d->fence ? "true" : "false", d->unfence ? "true" : "false",
        d->ask.retries == RETRIES_NOW ? "true" : "false");
    code = oplog_begin(&d->session, d->args, buf_str(&detail), log);
    buf_release(&detail);
    if (code != CTL_OK || !d->fence)
        return code == CTL_OK ? -1 : code;
    d->ask.must_be_fenced = true;
    code = fence(d, true);
    if (code == CTL_OK)
        return -1;
    lift(d); /* it may have been set, for all we know */
    oplog_end(&d->session, log, d->fences, "failed");
    return code;
}

static int run_drain(struct drain *d, const struct config *cfg)
{
    struct hl_err err;
    struct oplog log = {0};
    int code = -1;

    if (!d->ask.nspools)
        d->ask.spools[d->ask.nspools++] = cfg->spool_dir;
    d->ask.lease_ms = cfg->lease_ms;
    if (session_open(&d->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    if (writes(d))
        code = order(d, &log);
    else if (d->args->shared.dry_run)
        d->timeout_ms = 0;
    if (code < 0) {
        drain(d);
        code = finish(d, &log);
    }
    census_release(&d->now);
    census_release(&d->first);
    session_close(&d->session);
    return code;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_drain, ctl, argc, argv);
    const char *spools[MAX_SPOOLS];
    struct drain d = {
        .args = &args,
        .ask = {.queues = {true, true}, .spools = spools},
        .settle_ms = SETTLE_MS,
        .patience_ms = PATIENCE_MS,
        .timeout_ms = -1,
        .last_events = -1
    };
    struct config cfg;

    for (int key; (key = ctl_next(&args)) != 0;)
        if (!take(&args, key, &d))
            break;
    if (args.done >= 0)
        return args.done;
    int code = writes(&d) ? confirm_possible(&args) : -1;
    if (code >= 0)
        return code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    const struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    code = run_drain(&d, &cfg);
    config_release(&cfg);
    return code;
}
