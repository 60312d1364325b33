/* hookline-producer: the front door. Reads its settings, opens the port, supervises its processes.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/program.h"
#include "io/admin.h"
#include "io/httpd.h"
#include "io/prefork.h"
#include "producer/server.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { PRODUCER, ADMIN, NROLES };

struct producer {
    int argc;
    char **argv;
    struct config cfg; /* a child keeps those of its fork */
    int listen_fd;
    char *host; /* the address it listens on, whatever the settings say later */
    int64_t port;
    struct prefork_role roles[NROLES + 1];
    struct prefork_conf fleet;
};

static int serve(struct prefork_slot *slot, int index, void *ctx)
{
    struct producer *p = ctx;
    (void)index;
    return server_run(slot, &p->cfg, p->listen_fd);
}

static int watch(struct prefork_slot *slot, int index, void *ctx)
{
    const struct producer *p = ctx;
    (void)index;
    close(p->listen_fd); /* clients would wait in its queue while we drain */
    return admin_run(slot, &(struct admin_conf){.program = METER_P,
                               .address = p->cfg.admin_host,
                               .port = (int)p->cfg.producer_admin_port,
                               .setting = "WEBHOOK_PRODUCER_ADMIN_PORT"});
}

/* Nobody listens any more: clients are refused at once instead of waiting in a queue. */
static void close_door(void *ctx)
{
    struct producer *p = ctx;
    close(p->listen_fd);
}

static const struct program program = {"hookline-producer", CFG_PRODUCER,
    "Accepts webhooks, keeps them safe, hands them to the workers.\n"
    "SIGTERM or SIGINT: after WEBHOOK_DRAIN_DELAY stop accepting, answer what is under way, leave; "
    "the\n"
    "second one ends the delay, a further one hurries.\nSIGHUP: read the settings again. SIGUSR2: "
    "log the state. SIGTTIN, SIGTTOU: one "
    "process more, or less.\n"};

/* What of the settings shapes the supervisor itself. */
static void follow_settings(struct producer *p)
{
    const struct config *cfg = &p->cfg;
    p->roles[ADMIN].count = cfg->producer_admin_port ? 1 : 0;
    p->roles[PRODUCER].count = cfg->producers ? (int)cfg->producers : prefork_cores();
    p->fleet.ready_timeout_ms = cfg->ready_timeout_ms;
    p->fleet.watchdog_ms = cfg->watchdog_ms;
    p->fleet.drain_delay_ms = cfg->drain_delay_ms;
    p->fleet.drain_timeout_ms = cfg->body_timeout_ms + cfg->header_timeout_ms;
    p->fleet.grace_ms = cfg->termination_grace_ms;
}

static bool on_reload(void *ctx)
{
    struct producer *p = ctx;
    if (!program_settings_again(&program, p->argc, p->argv, &p->cfg))
        return false;
    log_open("producer", (enum log_level)p->cfg.log_level, (enum log_format)p->cfg.log_format);
    log_limit(p->cfg.log_burst);
    if (p->cfg.port != p->port || strcmp(p->cfg.host, p->host) != 0)
        log_warn("address_kept", LOG_S("address", p->host), LOG_I("port", p->port),
            LOG_S("remedy", "a restart is needed to listen elsewhere"));
    follow_settings(p);
    return true;
}

static bool listen_for(struct producer *p, struct hl_err *err)
{
    int port;
    p->host = mem_strdup(p->cfg.host);
    p->port = p->cfg.port;
    p->listen_fd = httpd_listen(p->host, (int)p->port, 1024, &port, err);
    if (p->listen_fd < 0)
        return false;
    log_info("listening", LOG_S("address", p->host), LOG_I("port", port));
    return true;
}

int main(int argc, char **argv)
{
    struct producer p = {
        .argc = argc,
        .argv = argv,
        .fleet = {.on_drain = close_door, .on_reload = on_reload},
    };
    struct hl_err err;

    int status = program_settings(&program, argc, argv, &p.cfg);
    if (status >= 0)
        return status;
    log_open("producer", (enum log_level)p.cfg.log_level, (enum log_format)p.cfg.log_format);
    log_limit(p.cfg.log_burst);
    if (!listen_for(&p, &err)) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_UNAVAILABLE;
    }
    /* clang-format off */
    p.roles[PRODUCER] =
        (struct prefork_role){.name = "producer", .run = serve, .says_ready = true};
    p.roles[ADMIN] =
        (struct prefork_role){.name = "admin", .run = watch, .alone = true, .watches = true};
    /* clang-format on */
    p.fleet.roles = p.roles;
    p.fleet.ctx = &p;
    follow_settings(&p);
    status = prefork_run(&p.fleet);
    config_release(&p.cfg);
    free(p.host);
    return status;
}
