/* hooklinectl audit: every event that was answered 202 is in exactly one place, or is named. */
#include "worker/ctl/commands.h"

#include "base/clock.h"
#include "base/mem.h"
#include "worker/ctl/audit_report.h"
#include "worker/ctl/folders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_WAIT = 1, OPT_RECEIPTS, OPT_SPOOL, OPT_LIMIT };
enum { DEFAULT_LIMIT = 100, MAX_LIMIT = 1000000 };
enum {
    WAIT_MS = 60000,
    POLL_MS = 250,
    /* What looks wrong is read again for six seconds before it is accused: longer than a janitor's
     * sweep, or a producer's word of a new spool, takes. */
    RECHECK_MS = 1000,
    RECHECKS = 6,
};

/* clang-format off */
static const struct ctl_option options[] = {
    {OPT_WAIT, "wait", "[=DURATION]", "wait until nothing is under way (default 60s)"},
    {OPT_RECEIPTS, "receipts", "DIR", "folder of producers' receipts; may be repeated"},
    {OPT_SPOOL, "spool", "DIR", "folder of a spool; may be repeated"},
    {OPT_LIMIT, "limit", "N", "name at most N events (default 100)"},
    CTL_JSON_OPTION,
    {0},
};
/* clang-format on */

static ctl_run_fn run;

const struct ctl_command cmd_audit = {
    .name = "audit",
    .summary = "prove that no accepted event is missing, doubled or stuck",
    .about =
        "Proves that every event answered 202 is in exactly one place, from the producers'\n"
        "receipts (WEBHOOK_RECEIPTS_DIR), the rows, Redis and the spools (WEBHOOK_SPOOL_DIR).\n"
        "Names those that are missing, doubled, stuck or in two places, and exits with 3.\n"
        "Only looks. A fleet at work is no discrepancy; with --wait what a finished event left\n"
        "behind is. Exits with 124 when it does not become quiet in time.\n",
    .examples = "hooklinectl audit --wait=2m --receipts /var/lib/hookline/receipts\n"
                "hooklinectl audit --json | jq '.discrepancies[]'\n",
    .options = options,
    .run = run,
};

struct audit_run {
    const struct ctl_args *args;
    struct session session;
    struct audit_look look;
    struct audit_set set;
    struct audit_receipts receipts;
    struct audit_report report;
    struct folders journals, spools; /* borrowed from argv and the settings */
    int64_t wait_ms;                 /* -1 = no waiting */
    int64_t retention_days;          /* older events may have lost their rows; 0 = none */
};

/* --- waiting ----------------------------------------------------------------------------- */

static bool nothing_left(const struct audit_work *w)
{
    return !w->due && !w->in_progress && !w->stream && !w->later && !w->spooled_bytes;
}

/* A store that cannot be asked now is one reason more to wait. What left its copies behind had its
 * time to forget them when at the end no row is queued or in progress. */
static void wait_until_quiet(struct audit_run *a)
{
    int64_t end = clock_mono_ms() + a->wait_ms;
    struct audit_report *r = &a->report;

    r->waited = true;
    for (;;) {
        bool known = audit_look_work(&a->look, &r->work);
        r->quiet = known && nothing_left(&r->work);
        r->mode.settled = known && !r->work.due && !r->work.in_progress;
        int64_t left = end - clock_mono_ms();
        if (r->quiet || left <= 0)
            return;
        session_pause(&a->session, left < POLL_MS ? left : POLL_MS);
    }
}

/* --- looking, and looking again ---------------------------------------------------------- */

/* An hour later than retention goes now: it may go on while we look, and by another clock. */
static int64_t kept_since_us(int64_t retention_days)
{
    if (!retention_days)
        return 0;
    return clock_wall_us() - (retention_days * 24 - 1) * INT64_C(3600000000);
}

static bool read_receipts(struct audit_run *a)
{
    int64_t since_us = kept_since_us(a->retention_days);
    for (int i = 0; i < a->journals.n; i++)
        if (audit_receipts_read(
                &a->receipts, a->journals.dirs[i], since_us, &a->set, &a->look.err) != HL_OK)
            return false;
    return true;
}

/* A living producer of another host has events that cannot be looked at. */
static bool events_elsewhere(const struct audit_look *l)
{
    for (size_t i = 0; i < l->nsegments; i++)
        if (!l->segments[i].silent)
            return true;
    return false;
}

static void take_mode(struct audit_run *a)
{
    a->report.mode.elsewhere = events_elsewhere(&a->look);
    a->report.mode.forwarding = a->look.forwarding;
}

/* Of everything that looks wrong, what is known for good: its id and its receipt. */
static void take_suspects(struct audit_run *a, struct audit_set *suspects)
{
    for (size_t i = 0; i < a->set.n; i++) {
        const struct audit_fact *f = &a->set.facts[i];
        if (audit_verdict_info(audit_judge(f, &a->report.mode))->class == AUDIT_WRONG)
            audit_see(
                suspects, &(struct audit_fact){.id = f->id, .flags = f->flags & AUDIT_RECEIPT});
    }
    audit_merge(suspects);
    suspects->closed = true;
}

static bool look_again(struct audit_run *a, struct audit_set *suspects)
{
    if (!audit_look_all(&a->look, suspects))
        return false;
    for (size_t i = 0; i < suspects->n; i++)
        *audit_find(&a->set, &suspects->facts[i].id) = suspects->facts[i];
    take_mode(a);
    return true;
}

static bool look(struct audit_run *a)
{
    if (!read_receipts(a) || !audit_look_all(&a->look, &a->set))
        return false;
    take_mode(a);
    for (int i = 0; i < RECHECKS; i++) {
        struct audit_set suspects = {0};
        take_suspects(a, &suspects);
        bool go_on = suspects.n > 0;
        if (go_on) {
            session_pause(&a->session, RECHECK_MS);
            go_on = look_again(a, &suspects);
        }
        audit_set_release(&suspects);
        if (!go_on)
            break;
    }
    return a->look.err.rc == HL_OK;
}

/* --- the verb ---------------------------------------------------------------------------- */

static int report(struct audit_run *a)
{
    struct audit_report *r = &a->report;
    r->set = &a->set;
    r->look = &a->look;
    r->receipts = &a->receipts;
    size_t wrong = audit_report_count(r);
    if (a->args->shared.json)
        audit_report_json(r);
    else
        audit_report_text(r);
    if (wrong)
        return CTL_DISCREPANCY;
    return r->waited && !r->quiet ? CTL_TIMEOUT : CTL_OK;
}

static int audit(struct audit_run *a, const struct config *cfg)
{
    struct hl_err err;
    if (session_open(&a->session, cfg, &err) != HL_OK)
        return ctl_fail_err(&err);
    a->look = (struct audit_look){.session = &a->session,
        .spools = a->spools.dirs,
        .nspools = (size_t)a->spools.n,
        .lease_ms = cfg->lease_ms};
    a->retention_days = cfg->event_retention_days;
    if (a->wait_ms >= 0)
        wait_until_quiet(a);
    a->look.err = (struct hl_err){0};
    int code = look(a) ? report(a) : ctl_fail_err(&a->look.err);
    audit_look_release(&a->look);
    audit_set_release(&a->set);
    session_close(&a->session);
    return code;
}

static bool take_option(struct ctl_args *args, int key, struct audit_run *a)
{
    switch (key) {
    case OPT_WAIT:
        a->wait_ms = WAIT_MS;
        return !args->value || ctl_duration(args, "wait", &a->wait_ms);
    case OPT_RECEIPTS: return folders_add(args, &a->journals);
    case OPT_SPOOL: return folders_add(args, &a->spools);
    default: return ctl_count(args, "limit", MAX_LIMIT, &a->report.limit);
    }
}

static int run(struct ctl *ctl, int argc, char **argv)
{
    struct ctl_args args = CTL_ARGS(&cmd_audit, ctl, argc, argv);
    struct audit_run a = {.args = &args, .wait_ms = -1, .report.limit = DEFAULT_LIMIT};
    struct config cfg;
    int key;

    while ((key = ctl_next(&args)) != 0)
        if (!take_option(&args, key, &a))
            break;
    if (args.done >= 0)
        return args.done;
    if (!ctl_config(ctl, &cfg))
        return CTL_ERROR;
    if (!a.journals.n && cfg.receipts_dir) /* that one must be there */
        a.journals.dirs[a.journals.n++] = cfg.receipts_dir;
    folders_default(&a.spools, cfg.spool_dir);
    int code = audit(&a, &cfg);
    config_release(&cfg);
    return code;
}
