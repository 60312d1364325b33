/* fleet: see fleet.h. */
#include "worker/fleet.h"

#include "base/log.h"
#include "io/prefork.h"
#include "worker/child.h"
#include "worker/janitor.h"
#include "worker/jobstate.h"
#include "worker/obituary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPORTED_JOBS = 16 }; /* of a dead worker, in the log */

enum { WORKER, JANITOR, NROLES };

struct fleet {
    const struct program *program;
    int argc;
    char **argv;
    struct config *cfg; /* a child keeps those of its fork */
    struct obituaries *dead;
    struct prefork_role roles[NROLES + 1];
    struct prefork_conf conf;
};

static void write_obituary(struct fleet *f, const struct prefork_exit *e)
{
    struct obituary o;
    if (!e->slot->instance[0])
        return;
    snprintf(o.instance, sizeof(o.instance), "%s", e->slot->instance);
    if (e->signo)
        snprintf(o.cause, sizeof(o.cause), "signal %d", e->signo);
    else
        snprintf(o.cause, sizeof(o.cause), "exit %d", e->code);
    obituaries_add(f->dead, &o);
}

static void report_held(const struct prefork_exit *e)
{
    const size_t slots = e->slot->extra_size / sizeof(struct held);
    const struct held *held = (const struct held *)(const void *)e->slot->extra;
    int n = 0;
    for (size_t i = 0; i < slots; i++) {
        char id[UUID_STRLEN + 1];
        if (!held[i].state || n++ >= REPORTED_JOBS)
            continue;
        uuid_format(&held[i].id, id);
        log_warn("job_orphaned", LOG_S("event_id", id),
            LOG_S("step", job_state_name((enum job_state)(held[i].state - 1))),
            LOG_S("worker", e->slot->instance));
    }
    if (n)
        log_warn("jobs_orphaned", LOG_S("worker", e->slot->instance), LOG_I("jobs", n));
}

static void on_exit_of(const struct prefork_exit *e, void *ctx)
{
    struct fleet *f = ctx;
    if (strcmp(e->role, "worker") != 0 || (e->code == 0 && !e->signo))
        return; /* a worker that leaves by itself has resigned */
    report_held(e);
    write_obituary(f, e);
}

static int run_worker(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return child_run(slot, f->cfg);
}

static int run_janitor(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return janitor_run(slot, f->cfg, f->dead);
}

/* What of the settings shapes the supervisor itself. */
static void follow_settings(struct fleet *f)
{
    const struct config *cfg = f->cfg;
    f->roles[WORKER].count = cfg->workers ? (int)cfg->workers : prefork_cores();
    f->conf.slot_extra = (size_t)cfg->concurrency * sizeof(struct held);
    f->conf.ready_timeout_ms = cfg->ready_timeout_ms;
    f->conf.watchdog_ms = cfg->watchdog_ms;
    f->conf.drain_timeout_ms = cfg->drain_timeout_ms;
}

static bool on_reload(void *ctx)
{
    struct fleet *f = ctx;
    if (!program_settings_again(f->program, f->argc, f->argv, f->cfg))
        return false;
    log_open("worker", (enum log_level)f->cfg->log_level, (enum log_format)f->cfg->log_format);
    follow_settings(f);
    return true;
}

int fleet_run(const struct program *program, int argc, char **argv, struct config *cfg)
{
    struct fleet f = {.program = program, .argc = argc, .argv = argv, .cfg = cfg};

    /* clang-format off */
    f.roles[WORKER] = (struct prefork_role){.name = "worker", .run = run_worker, .says_ready = true};
    f.roles[JANITOR] = (struct prefork_role){.name = "janitor", .count = 1, .run = run_janitor,
        .alone = true}; /* one reader of the obituaries; leaves last */
    /* clang-format on */
    f.conf = (struct prefork_conf){
        .roles = f.roles, .quiets = true, .on_reload = on_reload, .on_exit = on_exit_of, .ctx = &f};
    follow_settings(&f);
    f.dead = obituaries_new();
    if (!f.dead) {
        log_error("start_failed", LOG_S("error", strerror(errno)));
        return EXIT_FAILURE;
    }
    int status = prefork_run(&f.conf);
    obituaries_free(f.dead);
    return status;
}
