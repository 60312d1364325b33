/* trace: `hooklinectl events trace`: everything that is known of one event, wherever it is known, in
 * the order of time. */
#ifndef HL_WORKER_CTL_TRACE_H
#define HL_WORKER_CTL_TRACE_H

#include "worker/ctl/ctl.h"

extern const struct ctl_command events_trace;

#endif
