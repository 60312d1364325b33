/* halt: see halt.h. */
#include "worker/ctl/halt.h"

#include "base/json.h"
#include "base/pgarray.h"
#include "domain/store_orders.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/obey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANGE, CRAWL, NQUEUES };
enum {
    TIMEOUT_MS = 10000,
    SILENT_LEASES = 2,
    PRODUCER_SILENT_MAX_MS = 60000, /* then it is gone, or cut off */
};

static const char *const names[NQUEUES] = {[CHANGE] = "change", [CRAWL] = "crawl"};

/* clang-format off */
static const struct column columns[] = {
    {"queue",     "QUEUE",     COLUMN_TEXT, 0},
    {"paused_at", "PAUSED",    COLUMN_AGO,  0},
    {"paused_by", "BY",        COLUMN_TEXT, 12},
    {"fenced_at", "FENCED",    COLUMN_AGO,  0},
    {"fenced_by", "BY",        COLUMN_TEXT, 12},
};
/* clang-format on */

struct halt {
    struct ctl_args args;
    bool on, intake; /* intake: nothing else */
    bool queues[NQUEUES];
    int64_t timeout_ms;
    struct config cfg;
    struct session session;
    struct buf list, detail; /* the queues as an array; for the log */
    char words[32];          /* and for people: "change and crawl" */
    struct obeyed workers, producers;
    int64_t affected;
};

static bool tells_workers(const struct halt *h)
{
    return !h->intake;
}

static bool tells_producers(const struct halt *h)
{
    return h->intake || !h->on;
}

/* --- who has noted it -------------------------------------------------------------------- */

static enum obey noted(const struct halt *h, const PGresult *rows, int row, int change, int crawl)
{
    const int column[NQUEUES] = {[CHANGE] = change, [CRAWL] = crawl};
    for (int i = 0; i < NQUEUES; i++)
        if (h->queues[i] && (*db_text(rows, row, column[i]) == 't') != h->on)
            return OBEY_NOT_YET;
    return OBEY_NOTED;
}

static enum obey worker_noted(const PGresult *rows, int row, void *ctx)
{
    return noted(ctx, rows, row, FLEET_NOTED_CHANGE, FLEET_NOTED_CRAWL);
}

static enum obey producer_noted(const PGresult *rows, int row, void *ctx)
{
    return noted(ctx, rows, row, PRODUCER_FENCED_CHANGE, PRODUCER_FENCED_CRAWL);
}

/* CTL_TIMEOUT when somebody is late; both are looked at in any case. */
static int look(struct halt *h, int64_t timeout_ms)
{
    struct session *s = &h->session;
    int code = CTL_OK, other = CTL_OK;
    if (tells_workers(h))
        code = obey_workers(
            s, timeout_ms, SILENT_LEASES * h->cfg.lease_ms, worker_noted, h, &h->workers);
    if (tells_producers(h) && (code == CTL_OK || code == CTL_TIMEOUT))
        other =
            obey_producers(s, timeout_ms, PRODUCER_SILENT_MAX_MS, producer_noted, h, &h->producers);
    return code ? code : other;
}

/* --- what is shown ----------------------------------------------------------------------- */

static bool is_chosen(const struct halt *h, const char *name)
{
    for (int i = 0; i < NQUEUES; i++)
        if (h->queues[i] && strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The queues as they are. */
static int show(struct halt *h)
{
    struct listing l = {.columns = columns, .n = sizeof(columns) / sizeof(*columns)};
    struct answer a = {.session = &h->session};
    store_queue_orders(h->session.store, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    for (int i = 0; code == CTL_OK && i < PQntuples(a.rows); i++)
        if (is_chosen(h, db_text(a.rows, i, 0)))
            listing_add_row(&l, a.rows, i, 0);
    if (code == CTL_OK && !h->args.shared.json)
        listing_print(&l);
    listing_release(&l);
    answer_release(&a);
    return code;
}

static const char *deed(const struct halt *h)
{
    if (h->on)
        return h->intake ? "Fence the intake of" : "Pause";
    return h->intake ? "Open the intake of" : "Resume and unfence";
}

static int agreed(const struct halt *h)
{
    if (tells_workers(h))
        return confirm(&h->args, "%s %s? %d worker processes, %lld jobs in flight.", deed(h),
            h->words, h->workers.processes, (long long)h->workers.jobs);
    return confirm(
        &h->args, "%s %s? %d producer processes.", deed(h), h->words, h->producers.processes);
}

static void print_json(const struct halt *h, bool done)
{
    struct buf b = {0};
    buf_printf(&b, "{\"version\":1,\"dry_run\":%s,\"queues\":[",
        h->args.shared.dry_run ? "true" : "false");
    const char *comma = "";
    for (int i = 0; i < NQUEUES; i++) {
        if (h->queues[i])
            buf_printf(&b, "%s\"%s\"", comma, names[i]);
        comma = b.data[b.len - 1] == '[' ? "" : ",";
    }
    buf_puts(&b, "]");
    json_put_text(&b, "did", !done ? NULL : h->on ? (h->intake ? "fence" : "pause") : "resume");
    if (tells_workers(h)) {
        obeyed_put(&b, "workers", &h->workers);
        json_put_int(&b, "jobs", h->workers.jobs);
    }
    if (tells_producers(h))
        obeyed_put(&b, "producers", &h->producers);
    json_put_int(&b, "affected", h->affected);
    buf_putc(&b, '}');
    print_line(&b);
    buf_release(&b);
}

static const char *state_of(const struct halt *h)
{
    if (h->on)
        return h->intake ? "fenced: nothing is taken in" : "paused: nothing begins";
    return h->intake ? "open: events are taken in" : "going on";
}

static void print_end(const struct halt *h)
{
    if (h->args.shared.json) {
        print_json(h, true);
        return;
    }
    printf("%s: %s.", h->words, state_of(h));
    if (tells_workers(h))
        printf(" %d of %d worker processes have noted it.", h->workers.noted, h->workers.processes);
    if (tells_producers(h))
        printf(" %d of %d producer processes have noted it.", h->producers.noted,
            h->producers.processes);
    if (h->on && !h->intake && h->workers.jobs)
        printf(" %lld jobs are still in flight, and are finished.", (long long)h->workers.jobs);
    putchar('\n');
}

static void name_silent(const char *what, const struct obeyed *o, const char *remedy)
{
    if (o->silent.len)
        ctl_fail(
            CTL_NOT_EMPTY, "%s not heard of for long: %s; %s", what, buf_str(&o->silent), remedy);
}

static void name_late(const char *what, const struct obeyed *o, int64_t timeout_ms)
{
    struct buf within = {0};
    put_duration(&within, timeout_ms);
    if (o->late.len)
        ctl_fail(CTL_TIMEOUT, "%s that did not note it within %s: %s", what, buf_str(&within),
            buf_str(&o->late));
    buf_release(&within);
}

/* Who did not note it, and what that means. The exit code. */
static int judge(const struct halt *h, int code)
{
    name_silent("workers", &h->workers, "their leases are over, they begin nothing");
    name_silent("producers", &h->producers,
        "if they run, they may still take events in: look at their connection to PostgreSQL");
    name_late("workers", &h->workers, h->timeout_ms);
    name_late("producers", &h->producers, h->timeout_ms);
    if (code != CTL_OK)
        return code;
    return h->on && h->producers.silent.len ? CTL_NOT_EMPTY : CTL_OK;
}

/* --- what is done ------------------------------------------------------------------------ */

typedef void order_fn(
    struct store *s, const char *queues, bool on, const char *by, store_cb *cb, void *ctx);

static int give(struct halt *h, order_fn *order, const char *by)
{
    struct answer a = {.session = &h->session};
    order(h->session.store, buf_str(&h->list), h->on, by, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    if (code == CTL_OK)
        h->affected += PQntuples(a.rows);
    answer_release(&a);
    return code;
}

static int give_orders(struct halt *h)
{
    char *by = operator_name();
    int code = tells_workers(h) ? give(h, store_pause, by) : CTL_OK;
    if (code == CTL_OK && tells_producers(h))
        code = give(h, store_fence, by);
    free(by);
    return code;
}

static int execute(struct halt *h)
{
    struct oplog log;
    int code = oplog_begin(&h->session, &h->args, buf_str(&h->detail), &log);
    if (code != CTL_OK)
        return code;
    code = give_orders(h);
    if (code != CTL_OK) {
        oplog_end(&h->session, &log, h->affected, "failed");
        return code;
    }
    code = look(h, h->timeout_ms);
    int logged = oplog_end(&h->session, &log, h->affected,
        code == CTL_OK ? "done" : "done, but not noted by all in time");
    if (code != CTL_OK && code != CTL_TIMEOUT)
        return code;
    print_end(h);
    code = judge(h, code);
    return code ? code : logged;
}

static int run(struct halt *h)
{
    int code = show(h);
    if (code == CTL_OK)
        code = look(h, 0);
    if (code != CTL_OK && code != CTL_TIMEOUT)
        return code;
    code = agreed(h);
    if (code < 0)
        return execute(h);
    if (h->args.shared.dry_run && h->args.shared.json)
        print_json(h, false);
    return code;
}

/* --- the command line -------------------------------------------------------------------- */

static bool choose(struct halt *h, const char *word)
{
    for (int i = 0; i < NQUEUES; i++)
        if (strcmp(word, names[i]) == 0)
            return h->queues[i] = true;
    h->args.done =
        ctl_usage_error(h->args.command, "there is no queue '%s': expected change or crawl", word);
    return false;
}

static void describe(struct halt *h)
{
    pgarray_begin(&h->list);
    buf_puts(&h->detail, "{\"queues\":[");
    for (int i = 0; i < NQUEUES; i++) {
        if (!h->queues[i])
            continue;
        pgarray_text(&h->list, names[i]);
        buf_printf(&h->detail, "%s\"%s\"", h->words[0] ? "," : "", names[i]);
        size_t len = strlen(h->words);
        snprintf(h->words + len, sizeof(h->words) - len, "%s%s", len ? " and " : "", names[i]);
    }
    pgarray_end(&h->list);
    buf_printf(&h->detail, "],\"intake\":%s}", tells_producers(h) ? "true" : "false");
}

/* -1: go on; else the exit code. */
static int parse(struct halt *h)
{
    struct ctl_args *args = &h->args;
    for (int key; (key = ctl_next(args)) != 0;) {
        h->intake |= key == HALT_INTAKE;
        if (key == HALT_TIMEOUT && !ctl_duration(args, "timeout", &h->timeout_ms))
            break;
    }
    if (args->done >= 0)
        return args->done;
    for (int i = args->rest; i < args->argc; i++)
        if (!choose(h, args->argv[i]))
            return args->done;
    if (args->rest == args->argc)
        h->queues[CHANGE] = h->queues[CRAWL] = true;
    describe(h);
    return confirm_possible(args);
}

int halt_run(const struct ctl_command *command, struct ctl *ctl, int argc, char **argv, bool on)
{
    struct halt h = {
        .args = CTL_ARGS(command, ctl, argc, argv), .on = on, .timeout_ms = TIMEOUT_MS};
    struct hl_err err;
    int code = parse(&h);
    if (code < 0 && !ctl_config(ctl, &h.cfg))
        code = CTL_ERROR;
    if (code < 0) {
        code = session_open(&h.session, &h.cfg, &err) == HL_OK ? run(&h) : ctl_fail_err(&err);
        session_close(&h.session);
        config_release(&h.cfg);
    }
    buf_release(&h.list);
    buf_release(&h.detail);
    obeyed_release(&h.workers);
    obeyed_release(&h.producers);
    return code;
}
