/* pause: does nothing until it is told to end, and reaps what is orphaned to it. The first process of
 * each node's namespaces, and of each pod's. Linked statically: it stands in an image of its own. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void leave(int signo)
{
    (void)signo;
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
    for (;;)
        pause();
}
