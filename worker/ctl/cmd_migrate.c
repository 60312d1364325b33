/* hooklinectl migrate: applies what is pending of sql/, shows it, or waits until somebody else has applied
 * it. The work is domain/migrate. */
#include "worker/ctl/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "domain/migrate.h"
#include "worker/ctl/session.h"

#define DEFAULT_WAIT_MS 60000

enum { OPT_STATUS = 1, OPT_WAIT, OPT_AWAIT, AWAIT_POLL_MS = 500, AWAIT_FIRST_MS = 1000 };

/* clang-format off */
static const struct ctl_option options[] = {
    {CTL_DRY_RUN, "dry-run", NULL, "show what would be applied, change nothing"},
    {OPT_STATUS, "status", NULL, "show what is applied and what is pending"},
    {OPT_WAIT, "wait", "DURATION", "wait for another migrator or a busy table (default 60s)"},
    {OPT_AWAIT, "await", "DURATION", "apply nothing: wait so long for another to have done it"},
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_migrate = {
    .name = "migrate",
    .summary = "bring the database schema up to date",
    .about =
        "Brings the database of WEBHOOK_DATABASE_URL up to the schema of this release. Safe to\n"
        "run twice, and from several places at once. Connect directly, not through a transaction\n"
        "pooler. The role must own schema webhook, or may create it.\n"
        "With --await it applies nothing and waits, by any connection that may read, until the\n"
        "schema is at least that of this release; exits with 124 when that takes too long.\n",
    .examples = "hooklinectl migrate --dry-run\n"
                "hooklinectl migrate --wait 5m\n"
                "hooklinectl migrate --await 5m\n",
    .options = options,
    .run = run,
};

static int migrate(const char *url, enum migrate_mode mode, int64_t wait_ms)
{
    struct buf lines = {0};
    struct hl_err err;
    enum hl_rc rc = migrate_run(url, mode, wait_ms, &lines, &err);
    fputs(buf_str(&lines), stdout);
    buf_release(&lines);
    if (rc == HL_OK)
        return CTL_OK;
    int code = ctl_fail_err(&err);
    if (code == CTL_UNREACHABLE)
        fputs("Is WEBHOOK_DATABASE_URL right, and the server running?\n", stderr);
    return code;
}

/* --- waiting for another ------------------------------------------------------------------ */

/* As the programs look at it: one that is newer is fine. Else *why says what is missing; caller frees. */
static bool schema_is_there(const struct answer *a, bool answered, char **why)
{
    if (!answered) {
        *why = mem_strdup("PostgreSQL does not answer");
    } else if (a->rc != HL_OK) {
        bool none = strcmp(a->err.sqlstate, "42P01") == 0 || strcmp(a->err.sqlstate, "3F000") == 0;
        *why = mem_strdup(none ? "there is no schema yet" : a->err.msg);
    } else if (db_int(a->rows, 0, 0) < migrate_latest()) {
        *why = mem_printf("the schema is at version %lld, this release needs %d",
            (long long)db_int(a->rows, 0, 0), migrate_latest());
    } else {
        printf("the schema is at version %lld, this release needs %d\n",
            (long long)db_int(a->rows, 0, 0), migrate_latest());
        return true;
    }
    return false;
}

/* Each reason for waiting is said when it begins. One that only the end of our time gave is none, unless
 * there is no other. */
static void keep_reason(char **reason, char *why, bool answered)
{
    if (*reason && (!answered || strcmp(*reason, why) == 0)) {
        free(why);
        return;
    }
    ctl_fail(CTL_TIMEOUT, "waiting: %s", why);
    free(*reason);
    *reason = why;
}

/* Whoever has no time at all still gets an answer to one question. */
static int64_t time_for_question(int64_t until, bool first)
{
    int64_t least = clock_mono_ms() + AWAIT_FIRST_MS;
    return first && until < least ? least : until;
}

static int await_schema(struct session *s, int64_t wait_ms)
{
    int64_t until = clock_mono_ms() + wait_ms, left;
    char *reason = NULL, *why;
    do {
        struct answer a = {.session = s};
        store_schema_version(s->store, answer_keep, answer_asked(&a));
        bool answered = session_wait_until(s, time_for_question(until, !reason));
        bool there = schema_is_there(&a, answered, &why);
        answer_release(&a);
        if (there) {
            free(reason);
            return CTL_OK;
        }
        keep_reason(&reason, why, answered);
        left = until - clock_mono_ms();
        if (left > 0)
            session_pause(s, left < AWAIT_POLL_MS ? left : AWAIT_POLL_MS);
    } while (left > 0);
    int code = ctl_fail(CTL_TIMEOUT, "gave up waiting: %s", reason);
    fputs("'hooklinectl migrate' of this release applies what is missing.\n", stderr);
    free(reason);
    return code;
}

static int await(const struct config *cfg, int64_t wait_ms)
{
    struct session s;
    struct hl_err err;
    int code =
        session_open(&s, cfg, &err) == HL_OK ? await_schema(&s, wait_ms) : ctl_fail_err(&err);
    session_close(&s);
    return code;
}

/* --- the command line --------------------------------------------------------------------- */

struct choice {
    bool status, wait, await;
    int64_t wait_ms, await_ms;
};

/* -1: go on; else the exit code. */
static int parse(struct ctl_args *args, struct choice *c)
{
    for (int key; (key = ctl_next(args)) != 0;) {
        c->status |= key == OPT_STATUS;
        c->wait |= key == OPT_WAIT;
        c->await |= key == OPT_AWAIT;
        if (key == OPT_WAIT && !ctl_duration(args, "wait", &c->wait_ms))
            break;
        if (key == OPT_AWAIT && !ctl_duration(args, "await", &c->await_ms))
            break;
    }
    if (args->done >= 0)
        return args->done;
    if (c->status && args->shared.dry_run)
        return ctl_usage_error(&cmd_migrate, "give --dry-run or --status, not both");
    if (c->await && (c->status || c->wait || args->shared.dry_run))
        return ctl_usage_error(&cmd_migrate, "--await stands alone: it applies and shows nothing");
    return -1;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_migrate, ctl, argc, argv);
    struct choice c = {.wait_ms = DEFAULT_WAIT_MS};
    int code = parse(&args, &c);
    if (code >= 0)
        return code;

    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    enum migrate_mode mode = c.status              ? MIGRATE_STATUS
                             : args.shared.dry_run ? MIGRATE_DRY_RUN
                                                   : MIGRATE_APPLY;
    code = c.await ? await(&cfg, c.await_ms) : migrate(cfg.database_url, mode, c.wait_ms);
    config_release(&cfg);
    return code;
}
