/* secrets: see secrets.h. Other people's are known by the names that they come under, ours by
 * themselves, whatever they come under. */
#include "producer/secrets.h"

#include "base/mem.h"
#include "base/url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool secrets_named(const char *name)
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

enum { OURS = 5 };

static const char *ours(const struct config *cfg, int i)
{
    const char *const secrets[OURS] = {cfg->webhook_secret, cfg->webhook_secret_previous,
        cfg->intake_token, cfg->api_secret, cfg->api_secret_readonly};
    return secrets[i];
}

/* The first place of it; NULL = none. */
static char *find(char *data, size_t len, const char *secret)
{
    size_t n = secret ? strlen(secret) : 0;
    return n && len ? memmem(data, len, secret, n) : NULL;
}

bool secrets_in(const struct config *cfg, const char *data, size_t len)
{
    for (int i = 0; i < OURS; i++)
        if (find((char *)data, len, ours(cfg, i)))
            return true;
    return false;
}

void secrets_mask(const struct config *cfg, char *data, size_t len)
{
    for (int i = 0; i < OURS; i++) {
        char *rest = data, *end = data + len;
        for (char *at; (at = find(rest, (size_t)(end - rest), ours(cfg, i)));) {
            rest = at + strlen(ours(cfg, i));
            memset(at, '*', (size_t)(rest - at));
        }
    }
}

char *secrets_path(const struct config *cfg, const char *path)
{
    char *decoded = mem_strdup(path);
    size_t len = url_decode(decoded, false);
    if (!secrets_in(cfg, decoded, len)) {
        free(decoded);
        return mem_strdup(path);
    }
    secrets_mask(cfg, decoded, len);
    return decoded;
}
