/* fleet: see fleet.h. */
#include "worker/fleet.h"

#include "base/log.h"
#include "io/admin.h"
#include "io/prefork.h"
#include "worker/child.h"
#include "worker/janitor.h"
#include "worker/obituary.h"
#include "worker/solo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPORTED_JOBS = 16 }; /* of a dead worker, in the log */

enum { WORKER, SOLO, JANITOR, ADMIN, NROLES };

struct fleet {
    const struct program *program;
    int argc;
    char **argv;
    struct config *cfg; /* a child keeps those of its fork */
    struct obituaries *dead;
    struct prefork_role roles[NROLES + 1];
    struct prefork_conf conf;
};

static const struct held *held_of(const struct prefork_exit *e)
{
    return (const struct held *)(const void *)e->slot->extra;
}

/* It may have been started under other settings than ours are now. */
static size_t slots_of(const struct prefork_exit *e)
{
    return e->slot->extra_size / sizeof(struct held);
}

/* Its slot may have run wild with the process: what it calls itself is cut to what a name is. */
static void put_name(char *out, size_t size, const struct prefork_slot *slot)
{
    size_t n = 0;
    while (n < size - 1 && n < sizeof(slot->instance) && slot->instance[n] > ' ' &&
           slot->instance[n] < 0x7f) {
        out[n] = slot->instance[n];
        n++;
    }
    out[n] = '\0';
}

static void put_cause(char *out, size_t size, const struct prefork_exit *e)
{
    if (e->oom)
        snprintf(out, size, "out of memory");
    else if (e->hung)
        snprintf(out, size, "hung");
    else if (e->signo)
        snprintf(out, size, "signal %d (%s)", e->signo, strsignal(e->signo));
    else
        snprintf(out, size, "exit %d", e->code);
}

static void write_obituary(struct fleet *f, const struct prefork_exit *e)
{
    struct obituary o = {.pid = e->pid,
        .signo = e->signo,
        .code = e->code,
        .crash = e->crash,
        .max_rss_kb = e->max_rss_kb,
        .lived_ms = e->lived_ms};
    put_name(o.instance, sizeof(o.instance), e->slot);
    put_cause(o.cause, sizeof(o.cause), e);
    snprintf(o.role, sizeof(o.role), "%s", e->role);
    if (!o.instance[0])
        return;
    if (!obituaries_add(f->dead, &o, held_of(e), slots_of(e)))
        log_error("obituary_lost", LOG_S("worker", o.instance), LOG_B("crash", o.crash),
            LOG_S("remedy", "the janitor does not reach PostgreSQL; the worker's lease decides"));
    else if (o.nlost && o.crash)
        log_error("blame_lost", LOG_S("worker", o.instance), LOG_I("jobs", (int64_t)o.nlost));
}

/* Every job that was held, counted; the first of them by name. */
static int report_held(const struct prefork_exit *e, const char *worker)
{
    const struct held *held = held_of(e);
    int n = 0;
    for (size_t i = 0; i < slots_of(e); i++) {
        char id[UUID_STRLEN + 1];
        if (!held[i].state || n++ >= REPORTED_JOBS)
            continue;
        uuid_format(&held[i].id, id);
        log_warn("job_orphaned", LOG_S("event_id", id), LOG_S("step", held_step(&held[i])),
            LOG_S("worker", worker));
    }
    return n;
}

static void report(const struct prefork_exit *e)
{
    char worker[sizeof(e->slot->instance)], cause[64];
    put_name(worker, sizeof(worker), e->slot);
    put_cause(cause, sizeof(cause), e);
    int held = report_held(e, worker);
    LOG_LINE(e->crash ? LOG_ERROR : LOG_WARN, e->crash ? "worker_crashed" : "worker_lost",
        LOG_S("worker", worker), LOG_S("role", e->role), LOG_S("cause", cause),
        LOG_I("signal", e->signo), LOG_I("code", e->code), LOG_I("max_rss_kb", e->max_rss_kb),
        LOG_I("lived_ms", e->lived_ms), LOG_I("held", held));
}

static bool has_jobs(const struct prefork_exit *e)
{
    const struct held *held = held_of(e);
    for (size_t i = 0; i < slots_of(e); i++)
        if (held[i].state)
            return true;
    return false;
}

/* A worker that leaves by itself has resigned, or has been told that it is dead already. */
static void on_exit_of(const struct prefork_exit *e, void *ctx)
{
    struct fleet *f = ctx;
    bool left = !e->signo && (e->code == 0 || e->code == PREFORK_AGAIN);
    if (strcmp(e->role, "worker") != 0 && strcmp(e->role, "solo") != 0)
        return;
    if (left && !has_jobs(e))
        return;
    report(e);
    write_obituary(f, e);
}

static int run_worker(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return child_run(slot, f->cfg);
}

static int run_solo(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return solo_run(slot, f->cfg);
}

static int run_janitor(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return janitor_run(slot, f->cfg, f->dead);
}

static int run_admin(struct prefork_slot *slot, int index, void *ctx)
{
    const struct fleet *f = ctx;
    (void)index;
    return admin_run(slot, &(struct admin_conf){.program = METER_W,
                               .lease_ms = f->cfg->lease_ms,
                               .address = f->cfg->admin_host,
                               .port = (int)f->cfg->admin_port,
                               .setting = "WEBHOOK_ADMIN_PORT"});
}

/* What of the settings shapes the supervisor itself. */
static void follow_settings(struct fleet *f)
{
    const struct config *cfg = f->cfg;
    f->roles[WORKER].count = cfg->workers ? (int)cfg->workers : prefork_cores();
    f->roles[ADMIN].count = cfg->admin_port ? 1 : 0;
    f->conf.slot_extra = (size_t)cfg->concurrency * sizeof(struct held);
    f->conf.ready_timeout_ms = cfg->ready_timeout_ms;
    f->conf.watchdog_ms = cfg->watchdog_ms;
    f->conf.drain_timeout_ms = cfg->drain_timeout_ms;
    f->conf.grace_ms = cfg->termination_grace_ms;
}

static bool on_reload(void *ctx)
{
    struct fleet *f = ctx;
    if (!program_settings_again(f->program, f->argc, f->argv, f->cfg))
        return false;
    log_open("worker", (enum log_level)f->cfg->log_level, (enum log_format)f->cfg->log_format);
    log_limit(f->cfg->log_burst);
    follow_settings(f);
    return true;
}

int fleet_run(const struct program *program, int argc, char **argv, struct config *cfg)
{
    struct fleet f = {.program = program, .argc = argc, .argv = argv, .cfg = cfg};

    /* clang-format off */
    f.roles[WORKER] = (struct prefork_role){.name = "worker", .run = run_worker, .says_ready = true};
    f.roles[SOLO] = (struct prefork_role){.name = "solo", .count = 1, .run = run_solo, .alone = true};
    f.roles[JANITOR] = (struct prefork_role){.name = "janitor", .count = 1, .run = run_janitor,
        .alone = true}; /* one reader of the obituaries; leaves behind those who may die */
    f.roles[ADMIN] = (struct prefork_role){.name = "admin", .run = run_admin, .alone = true,
        .watches = true};
    /* clang-format on */
    f.conf = (struct prefork_conf){
        .roles = f.roles, .quiets = true, .on_reload = on_reload, .on_exit = on_exit_of, .ctx = &f};
    follow_settings(&f);
    /* A janitor that is stopped, or has no PostgreSQL, finds them all later. */
    f.dead = obituaries_new(OBITUARIES_KEPT * (size_t)cfg->concurrency);
    if (!f.dead) {
        log_error("start_failed", LOG_S("error", strerror(errno)));
        return EXIT_FAILURE;
    }
    int status = prefork_run(&f.conf);
    obituaries_free(f.dead);
    return status;
}
