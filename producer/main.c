/* hookline-producer: the front door. Reads its settings, opens the port, supervises its processes.
 */
#include "base/log.h"
#include "base/program.h"
#include "io/httpd.h"
#include "io/prefork.h"
#include "producer/server.h"

#include <sysexits.h>
#include <unistd.h>

struct producer {
    struct config cfg;
    int listen_fd;
};

static int serve(struct prefork_slot *slot, int index, void *ctx)
{
    struct producer *p = ctx;
    (void)index;
    return server_run(slot, &p->cfg, p->listen_fd);
}

/* Nobody listens any more: clients are refused at once instead of waiting in a queue. */
static void close_door(void *ctx)
{
    struct producer *p = ctx;
    close(p->listen_fd);
}

static const struct program program = {"hookline-producer", CFG_PRODUCER,
    "Accepts webhooks, keeps them safe, hands them to the workers.\n"
    "SIGTERM or SIGINT: stop accepting, answer what is under way, leave; the second one "
    "hurries.\n"};

int main(int argc, char **argv)
{
    struct producer p = {0};
    struct hl_err err;
    int port;

    int status = program_settings(&program, argc, argv, &p.cfg);
    if (status >= 0)
        return status;
    log_open("producer", (enum log_level)p.cfg.log_level, (enum log_format)p.cfg.log_format);
    p.listen_fd = httpd_listen(p.cfg.host, (int)p.cfg.port, 1024, &port, &err);
    if (p.listen_fd < 0) {
        log_error("start_failed", LOG_S("error", err.msg));
        return EX_UNAVAILABLE;
    }
    log_info("listening", LOG_S("address", p.cfg.host), LOG_I("port", port));
    /* clang-format off */
    const struct prefork_role roles[] = {
        {"producer", p.cfg.producers ? (int)p.cfg.producers : prefork_cores(), serve},
        {0},
    };
    /* clang-format on */
    const struct prefork_conf fleet = {.roles = roles,
        .watchdog_ms = p.cfg.watchdog_ms,
        .drain_timeout_ms = p.cfg.body_timeout_ms + p.cfg.header_timeout_ms,
        .on_drain = close_door,
        .ctx = &p};
    status = prefork_run(&fleet);
    config_release(&p.cfg);
    return status;
}
