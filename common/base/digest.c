/* digest: see digest.h. */
#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

void digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_LEN])
{
    if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1)
        abort(); /* a crypto library without SHA-256 is no place to go on */
}

void digest_hex(const uint8_t *data, size_t len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *out++ = hex[data[i] >> 4];
        *out++ = hex[data[i] & 15];
    }
    *out = '\0';
}

void digest_hmac_bytes(
    const void *key, size_t key_len, const void *data, size_t len, uint8_t out[DIGEST_LEN])
{
    if (!HMAC(EVP_sha256(), key, (int)key_len, data, len, out, NULL))
        abort();
}

void digest_hmac(const char *key, const void *data, size_t len, uint8_t out[DIGEST_LEN])
{
    digest_hmac_bytes(key, strlen(key), data, len, out);
}

bool digest_equal(const char *expected, const char *given)
{
    size_t want = strlen(expected), have = strlen(given);
    /* Compare digests of both, so that neither length nor content shows in the time taken. */
    uint8_t a[DIGEST_LEN], b[DIGEST_LEN];
    digest_sha256(expected, want, a);
    digest_sha256(given, have, b);
    return CRYPTO_memcmp(a, b, sizeof(a)) == 0 && want == have;
}

static uint32_t crc_table[256];

/* Before main, so that no thread ever sees half a table. */
__attribute__((constructor)) static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    crc = ~crc;
    while (len--)
        crc = crc_table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}
