/* gate: see gate.h. */
#include "producer/gate.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- X-Signature ------------------------------------------------------------------------- */

/* The original removes every occurrence of the prefix, so "sha256=sha256=..." is fine too. */
static bool signature_right(const char *secret, const struct gate_request *r)
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
    digest_hmac(secret, r->body, r->len, mac);
    digest_hex(mac, sizeof(mac), want);
    bool right = digest_equal(want, buf_str(&given));
    buf_release(&given);
    return right;
}

/* --- base64 ------------------------------------------------------------------------------ */

/* NUL-terminated, to be cleansed and freed by the caller; NULL when it is no base64. Padding may be
 * left out. */
static unsigned char *decode_base64(const char *text, size_t *len)
{
    struct buf padded = {0};
    size_t given = strlen(text), pad = 0;

    if (given == 0 || given % 4 == 1 || given > 4096)
        return NULL;
    buf_append(&padded, text, given);
    while (padded.len % 4)
        buf_putc(&padded, '=');
    while (pad < 2 && padded.data[padded.len - 1 - pad] == '=')
        pad++;
    unsigned char *plain = mem_zero(padded.len + 1);
    int n = EVP_DecodeBlock(plain, (const unsigned char *)padded.data, (int)padded.len);
    OPENSSL_cleanse(padded.data, padded.len);
    buf_release(&padded);
    *len = n > 0 ? (size_t)n - pad : 0;
    if (n > 0)
        return plain;
    free(plain);
    return NULL;
}

static void forget(void *secret, size_t len)
{
    if (secret)
        OPENSSL_cleanse(secret, len);
    free(secret);
}

/* --- webhook-signature ------------------------------------------------------------------- */

static enum gate_verdict check_time(const struct gate_request *r)
{
    if (!r->id || !*r->id)
        return GATE_NO_ID;
    if (!r->timestamp || !*r->timestamp)
        return GATE_NO_TIMESTAMP;
    size_t digits = strspn(r->timestamp, "0123456789");
    if (r->timestamp[digits] || digits > 15)
        return GATE_BAD_TIMESTAMP;
    int64_t age = r->now / 1000000 - strtoll(r->timestamp, NULL, 10);
    if (age > GATE_TOLERANCE_S)
        return GATE_TOO_OLD;
    return age < -GATE_TOLERANCE_S ? GATE_TOO_NEW : GATE_SIGNED;
}

/* What does not decode is no such secret but a key that happens to begin like one. */
static void standard_mac(const char *secret, const struct buf *text, uint8_t mac[DIGEST_LEN])
{
    size_t len = 0;
    bool encoded = strncmp(secret, "whsec_", 6) == 0;
    unsigned char *key = encoded ? decode_base64(secret + 6, &len) : NULL;
    if (key)
        digest_hmac_bytes(key, len, text->data, text->len, mac);
    else
        digest_hmac(secret, text->data, text->len, mac);
    forget(key, len);
}

/* One of those given has to be right: a sender that changes its key signs with both. Other versions
 * than v1 do not count. */
static bool standard_right(const char *secret, const struct buf *text, const char *given)
{
    uint8_t mac[DIGEST_LEN];
    char want[64] = "v1,", *rest;
    char *list = mem_strdup(given);
    bool right = false;

    standard_mac(secret, text, mac);
    EVP_EncodeBlock((unsigned char *)want + 3, mac, sizeof(mac));
    for (char *one = strtok_r(list, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        right |= digest_equal(want, one);
    free(list);
    return right;
}

/* --- either, under either key ------------------------------------------------------------ */

static bool right_under(const char *secret, const struct gate_request *r, const struct buf *text)
{
    if (!secret)
        return false;
    return text->len ? standard_right(secret, text, r->standard) : signature_right(secret, r);
}

/* text: what webhook-signature covers; empty: the body alone is signed. */
static enum gate_verdict check_keys(
    const struct gate *g, const struct gate_request *r, const struct buf *text)
{
    if (right_under(g->secret, r, text))
        return GATE_SIGNED;
    return right_under(g->previous, r, text) ? GATE_SIGNED_PREVIOUS : GATE_BAD_SIGNATURE;
}

static enum gate_verdict check_standard(const struct gate *g, const struct gate_request *r)
{
    enum gate_verdict verdict = check_time(r);
    struct buf text = {0};

    if (verdict != GATE_SIGNED)
        return verdict;
    buf_printf(&text, "%s.%s.", r->id, r->timestamp);
    buf_append(&text, r->body, r->len);
    verdict = check_keys(g, r, &text);
    buf_release(&text);
    return verdict;
}

/* --- tokens ------------------------------------------------------------------------------ */

/* Password of "Basic base64(user:password)" (RFC 7617); NULL when it is not of that form. */
static char *basic_password(const char *encoded)
{
    size_t len;
    unsigned char *plain = decode_base64(encoded, &len);
    char *colon = plain ? memchr(plain, ':', len) : NULL;
    char *password = colon ? mem_strdup(colon + 1) : NULL;
    forget(plain, plain ? len : 0);
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
    forget(password, password ? strlen(password) : 0);
    return verdict(right);
}

static enum gate_verdict check_token(const struct gate *g, const struct gate_request *r)
{
    if (!g->token)
        return GATE_MISSING;
    if (r->webhook_token)
        return verdict(digest_equal(g->token, r->webhook_token));
    if (r->authorization)
        return authorization(g, r->authorization);
    return GATE_MISSING;
}

/* --- public ------------------------------------------------------------------------------ */

enum gate_verdict gate_check(const struct gate *g, const struct gate_request *r)
{
    if (r->standard && *r->standard)
        return check_standard(g, r);
    if (r->signature && *r->signature)
        return check_keys(g, r, &(struct buf){0});
    return check_token(g, r);
}

enum gate_verdict gate_check_firecrawl(const struct gate *g, const struct gate_request *r)
{
    static const char prefix[] = "sha256=", digits[] = "0123456789abcdefABCDEF";
    const char *s = r->signature ? r->signature : "";
    size_t len = strlen(s), skip = sizeof(prefix) - 1;

    text_trim(&s, &len);
    if (len == 0)
        return check_token(g, r);
    if (len != skip + DIGEST_HEXLEN || strncmp(s, prefix, skip) != 0 ||
        strspn(s + skip, digits) < DIGEST_HEXLEN)
        return GATE_BAD_SHAPE;
    char *trimmed = mem_strndup(s, len);
    struct gate_request bare = *r;
    bare.signature = trimmed;
    enum gate_verdict found = check_keys(g, &bare, &(struct buf){0});
    free(trimmed);
    return found;
}
