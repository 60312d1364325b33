/* hooklinectl zombies: events in progress on which nobody works. Janitors reap them by themselves;
 * this shows why one is (not yet) theirs, and does it where no janitor is there. */
#include "worker/ctl/commands.h"

#include "base/json.h"
#include "domain/store_events.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/interrupt.h"
#include "worker/ctl/listing.h"
#include "worker/ctl/putback.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REAP_MAX = 500, MAX_IDS = 1000 };
enum { REAPED_STATUS = 8, REAPED_SUSPECT }; /* of store_reap, behind the columns of an event */

/* clang-format off */
static const struct ctl_option list_options[] = {CTL_READER_OPTIONS, CTL_LIMIT_OPTION, {0}};
static const struct ctl_option reap_options[] = {CTL_WRITER_OPTIONS, CTL_JSON_OPTION, {0}};
/* clang-format on */

static ctl_run_fn run_list, run_reap;

static const struct ctl_command list = {
    .name = "zombies list",
    .summary = "list events in progress on which nobody works",
    .about =
        "Lists events in progress on which nobody works, or for too long, the oldest claim first:\n"
        "  dead     their worker was declared dead\n"
        "  gone     their worker has no row any more\n"
        "  late     they are older than WEBHOOK_JOB_TIMEOUT and a lease\n"
        "  silent   their worker has not been heard of for two leases, but was not declared dead\n"
        "           yet: a janitor does that when its beat has stood still for a lease\n"
        "  unowned  the replaced service had them; they are late when the job limit has passed\n"
        "The first three can be reaped. Give it the settings of the workers.\n",
    .examples =
        "hooklinectl zombies list\n"
        "hooklinectl zombies list --json | jq -r '.zombies[] | select(.reapable).event_id'\n",
    .options = list_options,
    .run = run_list,
};

static const struct ctl_command reap = {
    .name = "zombies reap",
    .summary = "give zombies back to the queue, as a janitor does",
    .about =
        "Does what a janitor does every few seconds: events of dead and gone workers, and late\n"
        "ones, become queued again, and their jobs go to Redis; those that were started\n"
        "WEBHOOK_MAX_STARTS times fail. A worker that lives nevertheless notices that its event\n"
        "is not its own any more, and changes nothing.\n",
    .examples = "hooklinectl zombies reap --dry-run\n"
                "hooklinectl zombies reap --yes --reason 'host lost, no janitor left'\n",
    .options = reap_options,
    .run = run_reap,
};

static const struct ctl_command *const actions[] = {&list, &reap, NULL};

const struct ctl_command cmd_zombies = {
    .name = "zombies",
    .summary = "events whose worker is gone: list, reap",
    .about = "Events in progress whose worker is dead, gone or silent, or that take too long.\n",
    .actions = actions,
};

/* In the order of enum zombie_col. */
static const struct column columns[] = {
    {"change_event_id", "ROW",      COLUMN_INT,   0 },
    {"event_id",        "EVENT",    COLUMN_TEXT,  0 },
    {"watch_url",       "URL",      COLUMN_TEXT,  20},
    {"why",             "WHY",      COLUMN_STATE, 0 },
    {"reapable",        "REAPABLE", COLUMN_BOOL,  0 },
    {"claimed_at",      "CLAIMED",  COLUMN_AGO,   0 },
    {"claimed_by",      "BY",       COLUMN_TEXT,  10},
    {"claim_epoch",     "EPOCH",    COLUMN_INT,   0 },
    {"starts",          "STARTS",   COLUMN_INT,   0 },
    {"suspect",         NULL,       COLUMN_INT,   0 },
    {"host",            NULL,       COLUMN_TEXT,  0 },
    {"worker_seen_at",  "HEARD OF", COLUMN_AGO,   0 },
};

struct zombies {
    const struct ctl_args *args;
    struct session session;
    struct store_limits limits;
    struct listing found;
    size_t reapable;

    int64_t queued, failed, alone; /* of reap; those left to a solo process are queued, too */
    bool broken;                   /* not all pages were reaped */
    struct putback jobs;
};
#define ZOMBIES(args_)                                                                             \
    {                                                                                              \
        .args = (args_), .found = {.columns = columns, .n = sizeof(columns) / sizeof(*columns) }   \
    }

static int find(struct zombies *z, int max)
{
    struct answer a = {.session = &z->session};
    store_zombies(z->session.store, &z->limits, max, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    listing_release(&z->found);
    z->reapable = 0;
    for (int row = 0; code == CTL_OK && row < PQntuples(a.rows); row++) {
        listing_add_row(&z->found, a.rows, row, 0);
        z->reapable += *db_text(a.rows, row, ZOMBIE_REAPABLE) == 't';
    }
    answer_release(&a);
    return code;
}

/* --- list -------------------------------------------------------------------------------- */

static int show_list(void *ctx)
{
    struct zombies *z = ctx;
    struct buf b = {0};
    int code = find(z, z->args->shared.limit);
    if (code != CTL_OK)
        return code;
    if (z->args->shared.json) {
        buf_puts(&b, "{\"version\":1,\"zombies\":");
        listing_put_json(&z->found, &b);
        buf_putc(&b, '}');
        print_line(&b);
    } else if (listing_rows(&z->found)) {
        listing_print(&z->found);
    } else {
        puts("There are no zombies.");
    }
    return CTL_OK;
}

static int list_them(struct zombies *z)
{
    return ctl_watch(&z->args->shared, show_list, z);
}

/* --- reap -------------------------------------------------------------------------------- */

/* As the janitor does it: a suspect goes to no queue, a solo process finds it. */
static void take_reaped(struct zombies *z, const PGresult *rows, int row)
{
    bool again = strcmp(db_text(rows, row, REAPED_STATUS), "queued") == 0;
    bool suspect = *db_text(rows, row, REAPED_SUSPECT) == 't';
    z->queued += again;
    z->failed += !again;
    z->alone += again && suspect;
    if (again && suspect)
        return;
    putback_row(
        &z->jobs, rows, row, again ? QUEUE_REQUEUE : QUEUE_BURY, 0, "worker died or job timed out");
}

static int reap_page(struct zombies *z, bool *more)
{
    struct answer a = {.session = &z->session};
    store_reap(z->session.store, &z->limits, REAP_MAX, answer_keep, answer_asked(&a));
    int code = answer_wait(&a);
    *more = code != CTL_OK || PQntuples(a.rows) == REAP_MAX;
    for (int row = 0; code == CTL_OK && row < PQntuples(a.rows); row++)
        take_reaped(z, a.rows, row);
    session_wait(&z->session);
    answer_release(&a);
    return code;
}

/* Ids of what was shown, not all of very many, for the log. */
static char *detail_of(const struct zombies *z)
{
    struct buf b = {0};
    int n = 0;
    buf_puts(&b, "{\"events\":[");
    for (size_t i = 0; i < listing_rows(&z->found) && n < MAX_IDS; i++) {
        const char *id = listing_cell(&z->found, i, ZOMBIE_EVENT_ID);
        if (*listing_cell(&z->found, i, ZOMBIE_REAPABLE) != 't')
            continue;
        buf_puts(&b, n++ ? "," : "");
        json_put_string(&b, id);
    }
    buf_puts(&b, "]}");
    return buf_detach(&b);
}

static int reap_all(struct zombies *z)
{
    struct oplog log;
    bool more = true;
    char *detail = detail_of(z);
    int code = oplog_begin(&z->session, z->args, detail, &log);
    free(detail);
    z->broken = true;
    if (code != CTL_OK)
        return code;
    while (code == CTL_OK && more && !interrupted())
        code = reap_page(z, &more);
    z->broken = more || code != CTL_OK;
    int logged = oplog_end(&z->session, &log, z->queued + z->failed,
        code != CTL_OK ? "PostgreSQL failed"
        : more         ? "interrupted"
                       : "done");
    if (code == CTL_OK && more)
        return ctl_fail(CTL_NOT_EMPTY, "interrupted; there are more to reap");
    return code == CTL_OK ? logged : code;
}

static void print_json(const struct zombies *z)
{
    struct buf b = {0};
    buf_printf(&b, "{\"version\":1,\"dry_run\":%s,\"found\":%zu",
        z->args->shared.dry_run ? "true" : "false", z->reapable);
    json_put_int(&b, "affected", z->queued + z->failed);
    json_put_int(&b, "queued", z->queued);
    json_put_int(&b, "failed", z->failed);
    json_put_int(&b, "in_redis", z->jobs.taken);
    json_put_key(&b, "zombies");
    listing_put_json(&z->found, &b);
    buf_putc(&b, '}');
    print_line(&b);
}

static void tell(const struct zombies *z)
{
    int64_t reaped = z->queued + z->failed;
    if (z->args->shared.json)
        print_json(z);
    else
        printf("%lld events are queued again, %lld have failed.\n", (long long)z->queued,
            (long long)z->failed);
    if (!z->broken && reaped != (int64_t)z->reapable)
        fprintf(stderr, "hooklinectl: %zu were shown, %lld were reaped: others were at it, too\n",
            z->reapable, (long long)reaped);
    if (z->alone)
        fprintf(stderr, "hooklinectl: %lld crashed their workers, and run alone from now on\n",
            (long long)z->alone);
    putback_explain(&z->jobs);
}

static void show_found(const struct zombies *z)
{
    size_t others = listing_rows(&z->found) - z->reapable;
    if (z->args->shared.json) {
        if (z->args->shared.dry_run || !z->reapable)
            print_json(z);
        return;
    }
    listing_print(&z->found);
    if (!z->reapable)
        puts("There are no zombies to reap.");
    if (others)
        printf(
            "%zu are not to be reaped yet ('hooklinectl zombies list --help' explains).\n", others);
}

static int reap_them(struct zombies *z)
{
    int code = find(z, CTL_MAX_LIMIT);
    if (code != CTL_OK)
        return code;
    show_found(z);
    if (!z->reapable)
        return CTL_OK;
    code = confirm(z->args, "Reap %zu event%s?", z->reapable, z->reapable == 1 ? "" : "s");
    if (code >= 0)
        return code;
    interrupt_watch();
    code = reap_all(z);
    interrupt_leave();
    tell(z);
    return code;
}

/* --- the actions ------------------------------------------------------------------------- */

static int with_session(struct ctl *ctl, struct zombies *z, int (*go)(struct zombies *z))
{
    struct config cfg;
    struct hl_err err;
    int code;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    z->limits = (struct store_limits){.job_timeout_ms = cfg.job_timeout_ms,
        .lease_ms = cfg.lease_ms,
        .max_starts = cfg.max_starts};
    z->jobs.session = &z->session;
    if (session_open(&z->session, &cfg, &err) == HL_OK) {
        code = go(z);
        session_close(&z->session);
    } else {
        code = ctl_fail_err(&err);
    }
    listing_release(&z->found);
    config_release(&cfg);
    return code;
}

static int run_list(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&list, ctl, argc, argv);
    struct zombies z = ZOMBIES(&args);
    int code = ctl_parse(&args);
    return code >= 0 ? code : with_session(ctl, &z, list_them);
}

static int run_reap(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&reap, ctl, argc, argv);
    struct zombies z = ZOMBIES(&args);
    int code = ctl_parse(&args);
    if (code < 0)
        code = confirm_possible(&args);
    return code >= 0 ? code : with_session(ctl, &z, reap_them);
}
