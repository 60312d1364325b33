/* interrupt: SIGINT and SIGTERM while a writer writes: it ends what is under way, and says in
 * webhook.operator_log that it was interrupted. */
#ifndef HL_WORKER_CTL_INTERRUPT_H
#define HL_WORKER_CTL_INTERRUPT_H

#include <stdbool.h>

/* From now on the two signals are only noted; interrupt_leave: they end the process again. */
void interrupt_watch(void);
void interrupt_leave(void);
/* One of them came since interrupt_watch. */
bool interrupted(void);

#endif
