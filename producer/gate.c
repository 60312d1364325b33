/* gate: see gate.h. */
#include "producer/gate.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The original removes every occurrence of the prefix, so "sha256=sha256=..." is fine too. */
static bool signature_right(const struct gate *g, const struct gate_request *r)
{
    static const char prefix[] = "sha256=";
    uint8_t mac[DIGEST_LEN];
    char want[DIGEST_HEXLEN + 1];
    struct buf given = {0};

    for (const char *p = r->signature; *p;) {
        if (strncmp(p, prefix, sizeof(prefix) - 1) == 0)
            p += sizeof(prefix) - 1;
        else
            buf_putc(&given, *p++);
    }
    digest_hmac(g->secret, r->body, r->len, mac);
    digest_hex(mac, sizeof(mac), want);
    bool right = digest_equal(want, buf_str(&given));
    buf_release(&given);
    return right;
}

/* Password of "Basic base64(user:password)" (RFC 7617); NULL when it is not of that form. */
static char *basic_password(const char *encoded)
{
    size_t len = strlen(encoded);
    if (len == 0 || len % 4 || len > 4096)
        return NULL;
    unsigned char *plain = mem_zero(len + 1);
    int n = EVP_DecodeBlock(plain, (const unsigned char *)encoded, (int)len);
    char *colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
    char *password = colon ? mem_strdup(colon + 1) : NULL; /* padding decodes to NUL bytes */
    OPENSSL_cleanse(plain, len);
    free(plain);
    return password;
}

static enum gate_verdict verdict(bool right)
{
    return right ? GATE_TOKEN : GATE_BAD_TOKEN;
}

static enum gate_verdict authorization(const struct gate *g, const char *value)
{
    if (strncasecmp(value, "Bearer ", 7) == 0)
        return verdict(digest_equal(g->token, value + 7));
    if (strncasecmp(value, "Basic ", 6) != 0)
        return GATE_BAD_TOKEN;
    char *password = basic_password(value + 6);
    bool right = password && digest_equal(g->token, password);
    if (password)
        OPENSSL_cleanse(password, strlen(password));
    free(password);
    return verdict(right);
}

enum gate_verdict gate_check(const struct gate *g, const struct gate_request *r)
{
    if (r->signature && *r->signature)
        return signature_right(g, r) ? GATE_SIGNED : GATE_BAD_SIGNATURE;
    if (!g->token)
        return GATE_MISSING;
    if (r->webhook_token)
        return verdict(digest_equal(g->token, r->webhook_token));
    if (r->authorization)
        return authorization(g, r->authorization);
    return GATE_MISSING;
}
