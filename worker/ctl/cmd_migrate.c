/* hooklinectl migrate: applies what is pending of sql/, or shows it. The work is domain/migrate. */
#include "worker/ctl/commands.h"

#include <stdio.h>

#include "domain/migrate.h"

#define DEFAULT_WAIT_MS 60000

enum { OPT_STATUS = 1, OPT_WAIT };

/* clang-format off */
static const struct ctl_option options[] = {
    {CTL_DRY_RUN, "dry-run", NULL, "show what would be applied, change nothing"},
    {OPT_STATUS, "status", NULL, "show what is applied and what is pending"},
    {OPT_WAIT, "wait", "DURATION", "wait for another migrator or a busy table (default 60s)"},
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
        "pooler. The role must own schema webhook, or may create it.\n",
    .examples = "hooklinectl migrate --dry-run\n"
                "hooklinectl migrate --wait 5m\n",
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

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_migrate, ctl, argc, argv);
    int64_t wait_ms = DEFAULT_WAIT_MS;
    bool status = false;
    int key;

    while ((key = ctl_next(&args)) != 0) {
        if (key == OPT_WAIT && !ctl_duration(&args, "wait", &wait_ms))
            break;
        status |= key == OPT_STATUS;
    }
    if (args.done >= 0)
        return args.done;
    if (status && args.shared.dry_run)
        return ctl_usage_error(&cmd_migrate, "give --dry-run or --status, not both");

    struct config cfg;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    enum migrate_mode mode = status                ? MIGRATE_STATUS
                             : args.shared.dry_run ? MIGRATE_DRY_RUN
                                                   : MIGRATE_APPLY;
    int code = migrate(cfg.database_url, mode, wait_ms);
    config_release(&cfg);
    return code;
}
