/* session: see session.h. Cookie and CSRF token have keys of their own, made from the secret of the
 * right that they give, so that neither passes for the other, nor a reader's for a writer's. */
#include "producer/session.h"

#include "base/clock.h"
#include "base/digest.h"

#include <openssl/crypto.h>
#include <string.h>

enum {
    VERSION = 1,
    AT_ROLE = 1,
    AT_EXPIRES = 2,
    AT_ID = 10,
    PAYLOAD_LEN = AT_ID + SESSION_ID_LEN,
    PAYLOAD_CHARS = 35,
    MAC_CHARS = 43,
};
_Static_assert((PAYLOAD_LEN * 8 + 5) / 6 == PAYLOAD_CHARS, "base64 without padding");
_Static_assert(PAYLOAD_CHARS + 1 + MAC_CHARS == SESSION_LEN, "payload, dot, signature");

#define FOR_COOKIE "hookline dashboard cookie 1"
#define FOR_CSRF   "hookline dashboard csrf 1"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* --- secrets ----------------------------------------------------------------------------- */

static bool is_ascii(const char *s)
{
    while (*s && (unsigned char)*s < 0x80)
        s++;
    return !*s;
}

enum session_right session_by_secret(const struct config *cfg, const char *secret)
{
    const char *all = cfg->api_secret, *look = cfg->api_secret_readonly;
    /* Both are always compared: the time says nothing about which one it was. */
    bool writes = digest_equal(all ? all : "", secret) & (all != NULL);
    bool reads = digest_equal(look ? look : "", secret) & (look != NULL);
    if (!is_ascii(secret))
        return SESSION_WRONG;
    return writes ? SESSION_WRITES : reads ? SESSION_READS : SESSION_WRONG;
}

/* Reference contract section 1.2: "Bearer <secret>" exactly so, or the bare secret. */
enum session_right session_by_header(const struct config *cfg, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    bool with_scheme = strncmp(authorization, scheme, sizeof(scheme) - 1) == 0;
    return session_by_secret(cfg, with_scheme ? authorization + sizeof(scheme) - 1 : authorization);
}

/* --- the cookie -------------------------------------------------------------------------- */

static const char *secret_of(const struct config *cfg, enum session_right right)
{
    return right == SESSION_WRITES  ? cfg->api_secret
           : right == SESSION_READS ? cfg->api_secret_readonly
                                    : NULL;
}

static void sign(
    const char *secret, const char *purpose, const void *data, size_t len, uint8_t mac[DIGEST_LEN])
{
    uint8_t key[DIGEST_LEN];
    digest_hmac(secret, purpose, strlen(purpose), key);
    digest_hmac_bytes(key, sizeof(key), data, len, mac);
    OPENSSL_cleanse(key, sizeof(key));
}

/* RFC 4648 section 5, without padding; NUL-terminated. */
static void encode(const uint8_t *data, size_t len, char *out)
{
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (held += 8; held >= 6; held -= 6)
            *out++ = digits[bits >> (held - 6) & 63];
    }
    if (held)
        *out++ = digits[bits << (6 - held) & 63];
    *out = '\0';
}

/* Of so many characters as len bytes have; bits behind the last byte are the signature's business. */
static bool decode(const char *text, uint8_t *out, size_t len)
{
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < len; text++) {
        const char *digit = *text ? strchr(digits, *text) : NULL;
        if (!digit)
            return false;
        bits = bits << 6 | (uint32_t)(digit - digits);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[i++] = (uint8_t)(bits >> held);
        }
    }
    return true;
}

static void sign_cookie(const char *secret, const char *payload, char out[MAC_CHARS + 1])
{
    uint8_t mac[DIGEST_LEN];
    sign(secret, FOR_COOKIE, payload, PAYLOAD_CHARS, mac);
    encode(mac, sizeof(mac), out);
}

void session_write(const struct config *cfg, const struct session *s, char out[SESSION_LEN + 1])
{
    uint8_t payload[PAYLOAD_LEN] = {VERSION, s->right == SESSION_WRITES ? 'w' : 'r'};
    for (int i = 0; i < 8; i++)
        payload[AT_EXPIRES + i] = (uint8_t)((uint64_t)s->expires_s >> (56 - 8 * i));
    memcpy(payload + AT_ID, s->id, SESSION_ID_LEN);
    encode(payload, sizeof(payload), out);
    out[PAYLOAD_CHARS] = '.';
    sign_cookie(secret_of(cfg, s->right), out, out + PAYLOAD_CHARS + 1);
}

static bool unpack(const uint8_t payload[PAYLOAD_LEN], struct session *out)
{
    uint64_t expires = 0;
    for (int i = 0; i < 8; i++)
        expires = expires << 8 | payload[AT_EXPIRES + i];
    out->right = payload[AT_ROLE] == 'w'   ? SESSION_WRITES
                 : payload[AT_ROLE] == 'r' ? SESSION_READS
                                           : SESSION_WRONG;
    out->expires_s = (int64_t)expires;
    memcpy(out->id, payload + AT_ID, SESSION_ID_LEN);
    return payload[0] == VERSION && out->right != SESSION_WRONG;
}

bool session_read(const struct config *cfg, const char *text, int64_t now_s, struct session *out)
{
    uint8_t payload[PAYLOAD_LEN];
    char want[MAC_CHARS + 1];
    if (strlen(text) != SESSION_LEN || text[PAYLOAD_CHARS] != '.' ||
        !decode(text, payload, sizeof(payload)) || !unpack(payload, out))
        return false;
    const char *secret = secret_of(cfg, out->right);
    if (!secret)
        return false;
    sign_cookie(secret, text, want);
    return digest_equal(want, text + PAYLOAD_CHARS + 1) && now_s < out->expires_s;
}

void session_csrf(const struct config *cfg, const struct session *s, char out[SESSION_CSRF_LEN + 1])
{
    uint8_t mac[DIGEST_LEN];
    sign(secret_of(cfg, s->right), FOR_CSRF, s->id, SESSION_ID_LEN, mac);
    digest_hex(mac, sizeof(mac), out);
}

/* Commas too: a repeated header was joined with them. */
int session_cookies(const char *header, char out[SESSION_LEN + 1])
{
    static const char name[] = SESSION_COOKIE "=";
    int n = 0;
    *out = '\0';
    for (size_t len; *header; header += len) {
        header += strspn(header, "; ,\t");
        len = strcspn(header, "; ,\t");
        size_t skip = sizeof(name) - 1;
        if (strncmp(header, name, skip) != 0)
            continue;
        n++;
        if (len - skip != SESSION_LEN)
            continue;
        memcpy(out, header + skip, SESSION_LEN);
        out[SESSION_LEN] = '\0';
    }
    return n;
}

/* --- requests ---------------------------------------------------------------------------- */

/* How many are offered. */
static int offered(const struct httpd_req *req, char out[SESSION_LEN + 1])
{
    const char *header = httpd_header(req, "Cookie");
    *out = '\0';
    return header ? session_cookies(header, out) : 0;
}

bool session_is_offered(const struct httpd_req *req)
{
    char cookie[SESSION_LEN + 1];
    return offered(req, cookie) > 0;
}

bool session_of_cookie(const struct config *cfg, const struct httpd_req *req, struct session *out)
{
    char cookie[SESSION_LEN + 1];
    return offered(req, cookie) == 1 && session_read(cfg, cookie, clock_wall_us() / 1000000, out);
}

bool session_is_foreign(const struct httpd_req *req)
{
    const char *site = httpd_header(req, "Sec-Fetch-Site");
    return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
}

static bool has_csrf(const struct config *cfg, const struct httpd_req *req, const struct session *s)
{
    const char *given = httpd_header(req, SESSION_CSRF);
    char want[SESSION_CSRF_LEN + 1];
    session_csrf(cfg, s, want);
    return given && digest_equal(want, given);
}

enum session_right session_of(const struct config *cfg, const struct httpd_req *req, bool write)
{
    const char *given = httpd_header(req, "Authorization");
    struct session s;
    if (given && *given)
        return session_by_header(cfg, given);
    if (!cfg->dashboard || !session_is_offered(req))
        return SESSION_NONE;
    if (!session_of_cookie(cfg, req, &s))
        return SESSION_WRONG;
    if (session_is_foreign(req))
        return write ? SESSION_FORGED : SESSION_WRONG;
    return write && !has_csrf(cfg, req, &s) ? SESSION_FORGED : s.right;
}
