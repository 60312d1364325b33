/* health: GET / and GET /health, reference contract section 1.7. */
#ifndef HL_PRODUCER_HEALTH_H
#define HL_PRODUCER_HEALTH_H

#include "producer/api.h"

extern const struct api_route health_root;
extern const struct api_route health_get;

#endif
