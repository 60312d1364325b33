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

struct fleet {
    const struct config *cfg;
    struct obituaries *dead;
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

static void report_held(const struct prefork_exit *e, int64_t slots)
{
    const struct held *held = (const struct held *)(const void *)e->slot->extra;
    int n = 0;
    for (int64_t i = 0; i < slots; i++) {
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
    report_held(e, f->cfg->concurrency);
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

int fleet_run(const struct config *cfg)
{
    struct fleet f = {.cfg = cfg};
    /* clang-format off */
    const struct prefork_role roles[] = {
        {"worker", cfg->workers ? (int)cfg->workers : prefork_cores(), run_worker},
        {"janitor", 1, run_janitor}, /* leaves last */
        {0},
    };
    /* clang-format on */
    const struct prefork_conf conf = {.roles = roles,
        .slot_extra = (size_t)cfg->concurrency * sizeof(struct held),
        .watchdog_ms = cfg->watchdog_ms,
        .drain_timeout_ms = cfg->drain_timeout_ms,
        .on_exit = on_exit_of,
        .ctx = &f};

    f.dead = obituaries_new();
    if (!f.dead) {
        log_error("start_failed", LOG_S("error", strerror(errno)));
        return EXIT_FAILURE;
    }
    int status = prefork_run(&conf);
    obituaries_free(f.dead);
    return status;
}
