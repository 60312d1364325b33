/* hookline-worker: the fleet. Reads its settings, then supervises workers and a janitor until
 * drained. */
#include "base/log.h"
#include "base/program.h"
#include "worker/fleet.h"

static const struct program program = {"hookline-worker", CFG_WORKER,
    "Claims change events, scrapes their pages, indexes the text.\n"
    "SIGTERM or SIGINT: take no new work, finish what runs (WEBHOOK_DRAIN_TIMEOUT), hand back the "
    "rest;\nthe second one hands back at once. SIGHUP: read the settings again. SIGUSR1: be "
    "quiet.\n"
    "SIGUSR2: log the state. SIGTTIN, SIGTTOU: one worker process more, or less.\n"};

int main(int argc, char **argv)
{
    struct config cfg;

    int status = program_settings(&program, argc, argv, &cfg);
    if (status >= 0)
        return status;
    log_open("worker", (enum log_level)cfg.log_level, (enum log_format)cfg.log_format);
    log_limit(cfg.log_burst);
    status = fleet_run(&program, argc, argv, &cfg);
    config_release(&cfg);
    return status;
}
