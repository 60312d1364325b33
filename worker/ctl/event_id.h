/* event_id: how an operator names an event: by its id, or by the number of its row. */
#ifndef HL_WORKER_CTL_EVENT_ID_H
#define HL_WORKER_CTL_EVENT_ID_H

#include "domain/store_view.h"
#include "worker/ctl/ctl.h"

/* The text is borrowed. -1, or the exit code after saying what is wrong with it. */
int event_id_read(const struct ctl_command *command, const char *text, struct view_key *key);

#endif
