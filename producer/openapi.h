/* openapi: producer/openapi.json, embedded at build time (common/embed.sh). */
#ifndef HL_PRODUCER_OPENAPI_H
#define HL_PRODUCER_OPENAPI_H

#include <stddef.h>

extern const char openapi_json[];
extern const size_t openapi_json_len;

#endif
