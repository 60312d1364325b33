/* secrets: what may not be seen of a request later, in a row, an entry or a log. */
#ifndef HL_PRODUCER_SECRETS_H
#define HL_PRODUCER_SECRETS_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether a header or an argument of this name, in any case, holds credentials. */
bool secrets_named(const char *name);
/* Whether one of our own secrets is in there. */
bool secrets_in(const struct config *cfg, const char *data, size_t len);
/* Asterisks in place of our own secrets, as often as they are there. */
void secrets_mask(const struct config *cfg, char *data, size_t len);
/* The path of a request as it may be seen: as it was sent or, with one of our own secrets in it, decoded and
 * masked. The caller frees. */
char *secrets_path(const struct config *cfg, const char *path);

#endif
