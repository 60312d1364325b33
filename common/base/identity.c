/* identity: see identity.h. */
#include "base/identity.h"

#include "base/buf.h"
#include "base/digest.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[] = {[IDENTITY_ID] = "id", [IDENTITY_DIGEST] = "digest"};

static struct uuid id_of(const char *source, const char *kind, const char *key)
{
    struct buf text = {0};
    uint8_t digest[DIGEST_LEN];

    buf_append(&text, "hookline/event", sizeof("hookline/event")); /* each ends with its NUL */
    buf_append(&text, source, strlen(source) + 1);
    buf_append(&text, kind, strlen(kind) + 1);
    buf_puts(&text, key);
    digest_sha256(text.data, text.len, digest);
    buf_release(&text);
    return uuid_from_digest(digest);
}

struct identity identity_of(const char *source, enum identity_kind kind, const char *key)
{
    struct identity out = {.id = id_of(source, kinds[kind], key)};
    uint8_t digest[DIGEST_LEN];
    char hex[DIGEST_HEXLEN + 1];

    digest_sha256(key, strlen(key), digest);
    digest_hex(digest, sizeof(digest), hex);
    snprintf(out.seen, sizeof(out.seen), "%s:%s:%s", source, kinds[kind], hex);
    return out;
}

struct identity identity_fresh(int64_t now_us)
{
    return (struct identity){.id = uuid_v7(now_us / 1000)};
}
