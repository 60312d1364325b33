/* fleet: see fleet.h. */
#include "worker/fleet.h"

#include "base/log.h"
#include "worker/child.h"
#include "worker/janitor.h"
#include "worker/jobstate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REPORTED_JOBS = 16 }; /* of a dead worker, in the log */

/* A ring in shared memory: the supervisor writes, the janitor reads. */
struct obituaries {
    _Atomic uint32_t written, handled;
    struct obituary ring[FLEET_OBITUARIES];
};

struct fleet {
    const struct config *cfg;
    struct obituaries *dead;
    int fd; /* eventfd, inherited by every child */
};

const struct config *fleet_config(const struct fleet *f)
{
    return f->cfg;
}

int fleet_obituary_fd(const struct fleet *f)
{
    return f->fd;
}

bool fleet_obituary(struct fleet *f, struct obituary *out)
{
    uint32_t next = atomic_load(&f->dead->handled);
    if (next == atomic_load(&f->dead->written))
        return false;
    *out = f->dead->ring[next % FLEET_OBITUARIES];
    return true;
}

void fleet_obituary_done(struct fleet *f)
{
    atomic_fetch_add(&f->dead->handled, 1);
}

/* A full ring means that the janitor cannot reach PostgreSQL; the lease runs out instead. */
static void write_obituary(struct fleet *f, const struct prefork_exit *e)
{
    uint32_t n = atomic_load(&f->dead->written);
    struct obituary *o = &f->dead->ring[n % FLEET_OBITUARIES];

    if (!e->slot->instance[0] || n - atomic_load(&f->dead->handled) >= FLEET_OBITUARIES)
        return;
    snprintf(o->instance, sizeof(o->instance), "%s", e->slot->instance);
    if (e->signo)
        snprintf(o->cause, sizeof(o->cause), "signal %d", e->signo);
    else
        snprintf(o->cause, sizeof(o->cause), "exit %d", e->code);
    atomic_store(&f->dead->written, n + 1);
    if (write(f->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) {
        /* the janitor looks at the ring on every sweep in any case */
    }
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
    (void)index;
    return child_run(slot, ctx);
}

static int run_janitor(struct prefork_slot *slot, int index, void *ctx)
{
    (void)index;
    return janitor_run(slot, ctx);
}

int fleet_run(const struct config *cfg)
{
    struct fleet f = {.cfg = cfg};
    const struct prefork_role roles[] = {
        {"worker",    cfg->workers ? (int)cfg->workers : prefork_cores(), run_worker},
        {"janitor", 1, run_janitor},
        {0  },
    };
    const struct prefork_conf conf = {.roles = roles,
        .slot_extra = (size_t)cfg->concurrency * sizeof(struct held),
        .watchdog_ms = cfg->watchdog_ms,
        .drain_timeout_ms = cfg->drain_timeout_ms,
        .on_exit = on_exit_of,
        .ctx = &f};

    f.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f.dead = mmap(NULL, sizeof(*f.dead), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f.fd < 0 || f.dead == MAP_FAILED) {
        log_error("start_failed", LOG_S("error", strerror(errno)));
        return EXIT_FAILURE;
    }
    int status = prefork_run(&conf);
    munmap(f.dead, sizeof(*f.dead));
    close(f.fd);
    return status;
}
