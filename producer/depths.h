/* depths: how many jobs the queues hold, for the series (domain/sampler). */
#ifndef HL_PRODUCER_DEPTHS_H
#define HL_PRODUCER_DEPTHS_H

#include "domain/sampler.h"

struct stores;
/* sampler_conf.look, with the stores as its context. */
void depths_look(struct sampler *s, void *stores);

#endif
