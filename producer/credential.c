/* credential: see credential.h. */
#include "producer/credential.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

bool credential_is_named(const char *name)
{
    static const char *const parts[] = {"auth", "token", "secret", "pass", "key", "credential",
        "session", "cookie", "signature", "jwt"};
    if (strcasecmp(name, "Idempotency-Key") == 0)
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (strcasestr(name, parts[i]))
            return true;
    return false;
}
