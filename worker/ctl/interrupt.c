/* interrupt: see interrupt.h. */
#include "worker/ctl/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t came;
static struct sigaction before[2];

static void on_signal(int signo)
{
    (void)signo;
    came = 1;
}

void interrupt_watch(void)
{
    const struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: the loop comes round */
    came = 0;
    sigaction(SIGINT, &sa, &before[0]);
    sigaction(SIGTERM, &sa, &before[1]);
}

void interrupt_leave(void)
{
    sigaction(SIGINT, &before[0], NULL);
    sigaction(SIGTERM, &before[1], NULL);
}

bool interrupted(void)
{
    return came;
}
