/* uuid: RFC 9562 identifiers. */
#ifndef HL_BASE_UUID_H
#define HL_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

struct uuid {
    uint8_t b[16];
};

#define UUID_STRLEN 36

struct uuid uuid_v4(void);            /* random (RFC 9562 section 5.4), kernel entropy, pooled */
struct uuid uuid_v7(int64_t wall_ms); /* time-ordered (section 5.7) */
/* Version 8 (section 5.8) from the first 16 bytes of a digest: the same input gives the same id. */
struct uuid uuid_from_digest(const uint8_t digest[32]);
void uuid_format(const struct uuid *u, char out[UUID_STRLEN + 1]); /* lower case, with dashes */
bool uuid_parse(const char *s, struct uuid *out);                  /* exactly that form, any case */
bool uuid_equal(const struct uuid *a, const struct uuid *b);

#endif
