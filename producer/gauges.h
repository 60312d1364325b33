/* gauges: what a producer process shows of its present state (base/meter.h). */
#ifndef HL_PRODUCER_GAUGES_H
#define HL_PRODUCER_GAUGES_H

#include "producer/stores.h"

/* With each heartbeat: looks at memory only. */
void gauges_show(const struct stores *s, int connections);
/* Every second or two: looks at the spool's folder. */
void gauges_look(struct stores *s);

#endif
