/* digest: SHA-256 and HMAC-SHA256 through OpenSSL, comparison in constant time, CRC32C. */
#ifndef HL_BASE_DIGEST_H
#define HL_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEN    32
#define DIGEST_HEXLEN 64

void digest_sha256(const void *data, size_t len, uint8_t out[DIGEST_LEN]);
void digest_hex(const uint8_t *data, size_t len, char *out); /* 2 * len + 1 bytes, lower case */

/* HMAC-SHA256 (RFC 2104). */
void digest_hmac(const char *key, const void *data, size_t len, uint8_t out[DIGEST_LEN]);
/* The same under a key of any bytes. */
void digest_hmac_bytes(
    const void *key, size_t key_len, const void *data, size_t len, uint8_t out[DIGEST_LEN]);

/* Equal strings, in time that depends on the length of `given` only. */
bool digest_equal(const char *expected, const char *given);

/* CRC-32C (Castagnoli, RFC 3720 section 12.1); crc 0 to start, the previous result to go on. */
uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len);

#endif
