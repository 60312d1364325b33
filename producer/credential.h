/* credential: which headers and arguments of a request may hold what lets somebody in. */
#ifndef HL_PRODUCER_CREDENTIAL_H
#define HL_PRODUCER_CREDENTIAL_H

#include <stdbool.h>

/* Told by its name, in any case: nobody keeps or shows its value. */
bool credential_is_named(const char *name);

#endif
