/* Published test vectors of SHA-256, HMAC-SHA256 and CRC-32C, and comparison. */
#include "base/digest.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *hex_of(const uint8_t digest[DIGEST_LEN])
{
    static char out[DIGEST_HEXLEN + 1];
    digest_hex(digest, DIGEST_LEN, out);
    return out;
}

Test(digest, sha256_vectors_of_fips_180)
{
    /* clang-format off */
    static const struct {
        const char *data, *want;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t d[DIGEST_LEN];
        digest_sha256(rows[i].data, strlen(rows[i].data), d);
        cr_expect_str_eq(hex_of(d), rows[i].want);
    }
}

Test(digest, hmac_vectors_of_the_contract_and_of_rfc_4231)
{
    static const char key[] = "0123456789abcdef0123456789abcdef";
    /* clang-format off */
    static const struct {
        const char *key, *data, *want;
    } rows[] = {
        {key, "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/"
            "a\",\"detected_at\":\"2026-01-02T03:04:05Z\"}",
            "6c0a05ebbc364ab5b4bab85e4d3cf7af661cd77872f6f215331b0a9092808599"},
        {key, "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c1\",\"data\":[],"
            "\"metadata\":{\"url\":\"https://example.com\"}}",
            "02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a085"},
        {key, "", "796cd3078af14636753d26b3b5555422ff55a3e261cf847b48e95371b9bd0aa2"},
        {"Jefe", "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {"", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t d[DIGEST_LEN];
        digest_hmac(rows[i].key, rows[i].data, strlen(rows[i].data), d);
        cr_expect_str_eq(hex_of(d), rows[i].want, "row %zu: %s", i, hex_of(d));
    }
}

Test(digest, hmac_takes_an_empty_body_without_a_pointer_and_a_long_key)
{
    uint8_t d[DIGEST_LEN];
    char key[132];
    digest_hmac("0123456789abcdef0123456789abcdef", NULL, 0, d);
    cr_expect_str_eq(hex_of(d), "796cd3078af14636753d26b3b5555422ff55a3e261cf847b48e95371b9bd0aa2");

    memset(key, 0xaa, 131);
    key[131] = '\0';
    static const char data[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    digest_hmac(key, data, strlen(data), d); /* RFC 4231 case 6 */
    cr_expect_str_eq(hex_of(d), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

Test(digest, hex_is_lower_case_and_terminated)
{
    static const uint8_t bytes[] = {0x00, 0x0f, 0xf0, 0xff, 0xab};
    char out[11] = "xxxxxxxxxx";
    digest_hex(bytes, 5, out);
    cr_expect_str_eq(out, "000ff0ffab");
    digest_hex(bytes, 0, out);
    cr_expect_str_eq(out, "");
}

Test(digest, equality_is_exact)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"",         "",         true },
        {"abc",      "abc",      true },
        {"abc",      "abd",      false},
        {"abc",      "ABC",      false},
        {"abc",      "ab",       false},
        {"ab",       "abc",      false},
        {"",         "a",        false},
        {"a",        "",         false},
        {"\xff\xfe", "\xff\xfe", true },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        cr_expect_eq(digest_equal(rows[i].a, rows[i].b), rows[i].equal, "row %zu", i);
}

Test(digest, crc32c_vectors_of_rfc_3720)
{
    uint8_t zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xff, sizeof(ones));
    for (int i = 0; i < 32; i++)
        rising[i] = (uint8_t)i;
    cr_expect_eq(digest_crc32c(0, "123456789", 9), 0xe3069283u);
    cr_expect_eq(digest_crc32c(0, zeros, 32), 0x8a9136aau);
    cr_expect_eq(digest_crc32c(0, ones, 32), 0x62a8ab43u);
    cr_expect_eq(digest_crc32c(0, rising, 32), 0x46dd794eu);
    cr_expect_eq(digest_crc32c(0, "", 0), 0);
}

Test(digest, crc32c_may_be_computed_in_pieces)
{
    static const char data[] = "123456789";
    for (size_t cut = 0; cut <= 9; cut++) {
        uint32_t crc = digest_crc32c(0, data, cut);
        cr_expect_eq(digest_crc32c(crc, &data[cut], 9 - cut), 0xe3069283u, "cut at %zu", cut);
    }
}
