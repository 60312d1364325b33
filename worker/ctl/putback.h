/* putback: the jobs of rows that are queued again go to Redis. What Redis does not take costs nothing:
 * a janitor publishes what became due. */
#ifndef HL_WORKER_CTL_PUTBACK_H
#define HL_WORKER_CTL_PUTBACK_H

#include "worker/ctl/session.h"

/* rows: of store_failed_again or store_redrive_apply. Waits until Redis has answered; how many jobs it
 * did not take. */
int64_t putback_publish(struct session *s, const PGresult *rows);

#endif
