/* Who may post: signatures by the vectors of reference contract section 2, tokens in three forms.
 */
#include "producer/gate.h"

#include <criterion/criterion.h>
#include <string.h>

#define KEY   "0123456789abcdef0123456789abcdef"
#define TOKEN "an-intake-token-of-forty-characters-0123"
#define BODY                                                                                       \
    "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/"                                    \
    "a\",\"detected_at\":\"2026-01-02T03:04:05Z\"}"
#define DIGEST "6c0a05ebbc364ab5b4bab85e4d3cf7af661cd77872f6f215331b0a9092808599"
#define CRAWL_BODY                                                                                 \
    "{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c1\",\"data\":[],\"metadata\":{"        \
    "\"url\":\"https://example.com\"}}"

static const struct gate with_token = {.secret = KEY, .token = TOKEN};
static const struct gate without_token = {.secret = KEY};

static enum gate_verdict check_signed(const char *body, const char *signature)
{
    return gate_check(&without_token,
        &(struct gate_request){.signature = signature, .body = body, .len = strlen(body)});
}

Test(gate, the_contracts_vectors_are_right)
{
    static const struct {
        const char *body, *digest;
    } vectors[] = {
        {BODY,       DIGEST                                                            },
        {CRAWL_BODY, "02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a085"},
        {"",         "796cd3078af14636753d26b3b5555422ff55a3e261cf847b48e95371b9bd0aa2"},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        cr_expect_eq(
            check_signed(vectors[i].body, vectors[i].digest), GATE_SIGNED, "%s", vectors[i].body);
}

Test(gate, a_signature_is_taken_with_and_without_its_prefix_and_nothing_else)
{
    static const struct {
        const char *signature;
        enum gate_verdict verdict;
    } rows[] = {
        {DIGEST,                                                             GATE_SIGNED       },
        {"sha256=" DIGEST,                                                   GATE_SIGNED       },
        {"sha256=sha256=" DIGEST,                                            GATE_SIGNED       },
        {DIGEST "sha256=",                                                   GATE_SIGNED       }, /* every occurrence is removed */
        {"sha256=",                                                          GATE_BAD_SIGNATURE},
        {"SHA256=" DIGEST,                                                   GATE_BAD_SIGNATURE},
        {"6C0A05EBBC364AB5B4BAB85E4D3CF7AF661CD77872F6F215331B0A9092808599", GATE_BAD_SIGNATURE},
        {"6c0a05ebbc364ab5b4bab85e4d3cf7af661cd77872f6f215331b0a909280859",  GATE_BAD_SIGNATURE},
        {DIGEST "0",                                                         GATE_BAD_SIGNATURE},
        {DIGEST ", " DIGEST,                                                 GATE_BAD_SIGNATURE}, /* the header twice */
        {"\xc3\xa9",                                                         GATE_BAD_SIGNATURE}, /* a 500 in the original */
        {TOKEN,                                                              GATE_BAD_SIGNATURE},
        {"",                                                                 GATE_MISSING      },
        {NULL,                                                               GATE_MISSING      },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(check_signed(BODY, rows[i].signature), rows[i].verdict, "row %zu: %s", i,
            rows[i].signature ? rows[i].signature : "(none)");
}

Test(gate, a_signature_covers_every_byte_of_the_body)
{
    char body[] = BODY;
    for (size_t i = 0; i < sizeof(body) - 1; i++) {
        body[i] ^= 1;
        cr_expect_eq(check_signed(body, DIGEST), GATE_BAD_SIGNATURE, "byte %zu", i);
        body[i] ^= 1;
    }
    cr_expect_eq(check_signed(BODY " ", DIGEST), GATE_BAD_SIGNATURE);
}

/* user:TOKEN, :TOKEN, user:TOKEN with the last character missing, user (no colon) */
#define BASIC       "dXNlcjphbi1pbnRha2UtdG9rZW4tb2YtZm9ydHktY2hhcmFjdGVycy0wMTIz"
#define BASIC_EMPTY "OmFuLWludGFrZS10b2tlbi1vZi1mb3J0eS1jaGFyYWN0ZXJzLTAxMjM="
#define BASIC_SHORT "dXNlcjphbi1pbnRha2UtdG9rZW4tb2YtZm9ydHktY2hhcmFjdGVycy0wMTI="

static const struct token_row {
    const char *authorization, *webhook_token;
    enum gate_verdict verdict;
} token_rows[] = {
    {"Bearer " TOKEN,      NULL,                                       GATE_TOKEN    },
    {"bearer " TOKEN,      NULL,                                       GATE_TOKEN    },
    {"Basic " BASIC,       NULL,                                       GATE_TOKEN    },
    {"basic " BASIC_EMPTY, NULL,                                       GATE_TOKEN    },
    {NULL,                 TOKEN,                                      GATE_TOKEN    },
    {"Bearer wrong",       TOKEN,                                      GATE_TOKEN    }, /* the header of our own speaks first */
    {"Bearer " TOKEN "x",  NULL,                                       GATE_BAD_TOKEN},
    {"Bearer  " TOKEN,     NULL,                                       GATE_BAD_TOKEN},
    {"Bearer ",            NULL,                                       GATE_BAD_TOKEN},
    {"Bearer",             NULL,                                       GATE_BAD_TOKEN},
    {TOKEN,                NULL,                                       GATE_BAD_TOKEN},
    {"Digest " TOKEN,      NULL,                                       GATE_BAD_TOKEN},
    {"Basic " BASIC_SHORT, NULL,                                       GATE_BAD_TOKEN},
    {"Basic dXNlcg==",     NULL,                                       GATE_BAD_TOKEN}, /* no colon */
    {"Basic dXNlcjo=",     NULL,                                       GATE_BAD_TOKEN}, /* no password */
    {"Basic ",             NULL,                                       GATE_BAD_TOKEN},
    {"Basic " BASIC "A",   NULL,                                       GATE_BAD_TOKEN}, /* not base64 */
    {"Basic !!!!",         NULL,                                       GATE_BAD_TOKEN},
    {NULL,                 "an-intake-token-of-forty-characters-012",  GATE_BAD_TOKEN},
    {NULL,                 TOKEN "4",                                  GATE_BAD_TOKEN},
    {NULL,                 "AN-INTAKE-TOKEN-OF-FORTY-CHARACTERS-0123", GATE_BAD_TOKEN},
    {NULL,                 "",                                         GATE_BAD_TOKEN},
    {NULL,                 KEY,                                        GATE_BAD_TOKEN}, /* the key of the signatures is no token */
    {NULL,                 NULL,                                       GATE_MISSING  },
};

Test(gate, a_token_is_taken_in_three_forms)
{
    for (size_t i = 0; i < sizeof(token_rows) / sizeof(token_rows[0]); i++) {
        const struct token_row *row = &token_rows[i];
        struct gate_request r = {
            .authorization = row->authorization, .webhook_token = row->webhook_token, .body = ""};
        cr_expect_eq(gate_check(&with_token, &r), row->verdict, "row %zu", i);
    }
}

Test(gate, no_token_counts_unless_one_is_set)
{
    for (size_t i = 0; i < sizeof(token_rows) / sizeof(token_rows[0]); i++) {
        struct gate_request r = {.authorization = token_rows[i].authorization,
            .webhook_token = token_rows[i].webhook_token,
            .body = ""};
        cr_expect_eq(gate_check(&without_token, &r), GATE_MISSING, "row %zu", i);
    }
}

Test(gate, a_signature_decides_alone_where_one_is_given)
{
    struct gate_request r = {
        .signature = "0000", .webhook_token = TOKEN, .body = BODY, .len = strlen(BODY)};
    cr_assert_eq(gate_check(&with_token, &r), GATE_BAD_SIGNATURE);
    r.signature = DIGEST;
    r.webhook_token = "wrong";
    cr_assert_eq(gate_check(&with_token, &r), GATE_SIGNED);
}

/* --- Standard Webhooks: the vectors are openssl's -------------------------------------------- */

#define TIME     "1767323045" /* of NOW */
#define NOW      (INT64_C(1767323045) * 1000000 + 678901)
#define PREVIOUS "fedcba9876543210fedcba9876543210"
#define MAC      "oLtbMUZNa9HDMTKS/M7ln/psCgHEbfOrmP8licImkK8=" /* msg_1.TIME.BODY under KEY */
#define MAC_PREV "M2eZOphiZ805ckDjGUtA/s1y/fjrCqSt8zZJpsRjFiU="
#define HEX_PREV "e332eaad388c45bb3e04b966e148b2d41b99707c4a0079bc8645aa8191dc55b8"
#define WHSEC    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* bytes 0 to 31 */
#define MAC_SEC  "gtt0cqHMu7El2ELfQYBjEpkOEp7Qn5tz8nXcXq1iqDM="

static struct gate_request standard(const char *signature)
{
    return (struct gate_request){.standard = signature,
        .id = "msg_1",
        .timestamp = TIME,
        .body = BODY,
        .len = strlen(BODY),
        .now = NOW};
}

Test(gate, the_published_example_of_standard_webhooks_is_right)
{
    const struct gate gate = {.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
    const struct gate_request r = {.standard = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        .id = "msg_p5jXN8AQM9LWM0D4loKWxJek",
        .timestamp = "1614265330",
        .body = "{\"test\": 2432232314}",
        .len = 20,
        .now = INT64_C(1614265330) * 1000000};
    cr_assert_eq(gate_check(&gate, &r), GATE_SIGNED);
}

Test(gate, a_standard_secret_is_decoded_and_any_other_is_the_key_as_it_is)
{
    static const struct {
        const char *secret, *signature;
    } rows[] = {
        {KEY,                                                 "v1," MAC                                        },
        {WHSEC,                                               "v1," MAC_SEC                                    }, /* a key with a NUL */
        {"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "v1," MAC_SEC                                    }, /* without padding */
        {"whsec_not base64, so it is the key",                "v1,YvBlrZ2XfjyIvsjuSL6xIdCm/h0Oj0PZYR4y3qawj0o="},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct gate gate = {.secret = rows[i].secret};
        const struct gate_request r = standard(rows[i].signature);
        cr_expect_eq(gate_check(&gate, &r), GATE_SIGNED, "%s", rows[i].secret);
    }
}

Test(gate, one_right_signature_of_several_is_enough_and_other_versions_do_not_count)
{
    static const struct {
        const char *signature;
        enum gate_verdict verdict;
    } rows[] = {
        {"v1," MAC,                       GATE_SIGNED       },
        {"v1," MAC_SEC " v1," MAC,        GATE_SIGNED       },
        {"v1a,c2lnbmF0dXJl  v1," MAC " ", GATE_SIGNED       },
        {"v1," MAC_SEC,                   GATE_BAD_SIGNATURE},
        {"v1a," MAC,                      GATE_BAD_SIGNATURE},
        {"v2," MAC,                       GATE_BAD_SIGNATURE},
        {"V1," MAC,                       GATE_BAD_SIGNATURE},
        {"v1, " MAC,                      GATE_BAD_SIGNATURE},
        {MAC,                             GATE_BAD_SIGNATURE},
        {"v1," MAC "=",                   GATE_BAD_SIGNATURE},
        {"v1,",                           GATE_BAD_SIGNATURE},
        {"v1," DIGEST,                    GATE_BAD_SIGNATURE}, /* the other kind */
        {" ",                             GATE_BAD_SIGNATURE},
        {"",                              GATE_MISSING      },
        {NULL,                            GATE_MISSING      },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct gate_request r = standard(rows[i].signature);
        cr_expect_eq(gate_check(&without_token, &r), rows[i].verdict, "row %zu", i);
    }
}

Test(gate, a_standard_signature_covers_id_time_and_body)
{
    struct gate_request r = standard("v1," MAC);
    r.id = "msg_2";
    cr_expect_eq(gate_check(&without_token, &r), GATE_BAD_SIGNATURE);
    r = standard("v1," MAC);
    r.timestamp = "1767323046";
    cr_expect_eq(gate_check(&without_token, &r), GATE_BAD_SIGNATURE);
    r = standard("v1," MAC);
    r.len--;
    cr_expect_eq(gate_check(&without_token, &r), GATE_BAD_SIGNATURE);
}

Test(gate, a_standard_signature_needs_its_id_and_a_time_near_ours)
{
    static const struct {
        const char *id, *timestamp;
        int64_t late_s; /* of our clock */
        enum gate_verdict verdict;
    } rows[] = {
        {"msg_1", TIME,                   300,  GATE_SIGNED       },
        {"msg_1", TIME,                   -300, GATE_SIGNED       },
        {"msg_1", TIME,                   301,  GATE_TOO_OLD      },
        {"msg_1", TIME,                   -301, GATE_TOO_NEW      },
        {"msg_1", "0",                    0,    GATE_TOO_OLD      },
        {"msg_1", "999999999999999",      0,    GATE_TOO_NEW      },
        {"msg_1", "99999999999999999999", 0,    GATE_BAD_TIMESTAMP},
        {"msg_1", "2026-01-02T03:04:05Z", 0,    GATE_BAD_TIMESTAMP},
        {"msg_1", "-1767323045",          0,    GATE_BAD_TIMESTAMP},
        {"msg_1", TIME ".5",              0,    GATE_BAD_TIMESTAMP},
        {"msg_1", "",                     0,    GATE_NO_TIMESTAMP },
        {"msg_1", NULL,                   0,    GATE_NO_TIMESTAMP },
        {"",      TIME,                   0,    GATE_NO_ID        },
        {NULL,    TIME,                   0,    GATE_NO_ID        },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gate_request r = standard("v1," MAC);
        r.id = rows[i].id;
        r.timestamp = rows[i].timestamp;
        r.now += rows[i].late_s * 1000000;
        cr_expect_eq(gate_check(&without_token, &r), rows[i].verdict, "row %zu", i);
    }
}

Test(gate, the_previous_key_is_told_apart_for_both_kinds_of_signature)
{
    static const struct gate gate = {.secret = KEY, .previous = PREVIOUS, .token = TOKEN};
    static const struct {
        const char *signature, *standard;
        enum gate_verdict verdict;
    } rows[] = {
        {DIGEST,             NULL,                      GATE_SIGNED         },
        {HEX_PREV,           NULL,                      GATE_SIGNED_PREVIOUS},
        {"sha256=" HEX_PREV, NULL,                      GATE_SIGNED_PREVIOUS},
        {NULL,               "v1," MAC,                 GATE_SIGNED         },
        {NULL,               "v1," MAC_PREV,            GATE_SIGNED_PREVIOUS},
        {NULL,               "v1," MAC_PREV " v1," MAC, GATE_SIGNED         },
        {NULL,               "v1," MAC_SEC,             GATE_BAD_SIGNATURE  },
        {MAC_PREV,           NULL,                      GATE_BAD_SIGNATURE  },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gate_request r = standard(rows[i].standard);
        r.signature = rows[i].signature;
        cr_expect_eq(gate_check(&gate, &r), rows[i].verdict, "row %zu", i);
        if (rows[i].verdict == GATE_SIGNED_PREVIOUS)
            cr_expect_eq(gate_check(&with_token, &r), GATE_BAD_SIGNATURE, "row %zu: unset", i);
    }
}

Test(gate, of_two_signatures_the_standard_one_decides)
{
    struct gate_request r = standard("v1," MAC_SEC);
    r.signature = DIGEST;
    r.webhook_token = TOKEN;
    cr_expect_eq(gate_check(&with_token, &r), GATE_BAD_SIGNATURE);
    r.standard = "v1," MAC;
    r.signature = "0000";
    cr_expect_eq(gate_check(&with_token, &r), GATE_SIGNED);
}

/* --- Firecrawl's ------------------------------------------------------------------------- */

#define CRAWL_DIGEST "02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a085"

static enum gate_verdict check_crawl(const struct gate *g, struct gate_request r)
{
    r.body = CRAWL_BODY;
    r.len = strlen(CRAWL_BODY);
    return gate_check_firecrawl(g, &r);
}

Test(gate, firecrawls_signature_has_one_form_only)
{
    static const struct {
        const char *signature;
        enum gate_verdict verdict;
    } rows[] = {
        {"sha256=" CRAWL_DIGEST,                                                    GATE_SIGNED       },
        {"  sha256=" CRAWL_DIGEST "\t",                                             GATE_SIGNED       },
        {"sha256=02D0F5F5789A953F933B7C92A5A83F9478561F2919429DB75669FE340AA1A085",
         GATE_BAD_SIGNATURE                                                                           },
        {"sha256=" DIGEST,                                                          GATE_BAD_SIGNATURE},
        {"SHA256=" CRAWL_DIGEST,                                                    GATE_BAD_SHAPE    },
        {CRAWL_DIGEST,                                                              GATE_BAD_SHAPE    },
        {"sha256=",                                                                 GATE_BAD_SHAPE    },
        {"sha256=" CRAWL_DIGEST "0",                                                GATE_BAD_SHAPE    },
        {"sha256=02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a08",  GATE_BAD_SHAPE    },
        {"sha256=02d0f5f5789a953f933b7c92a5a83f9478561f2919429db75669fe340aa1a08g", GATE_BAD_SHAPE    },
        {"sha256= " CRAWL_DIGEST,                                                   GATE_BAD_SHAPE    },
        {"sha256=sha256=" CRAWL_DIGEST,                                             GATE_BAD_SHAPE    },
        {"sha256=" CRAWL_DIGEST ", sha256=" CRAWL_DIGEST,                           GATE_BAD_SHAPE    }, /* the header twice */
        {TOKEN,                                                                     GATE_BAD_SHAPE    },
        {"",                                                                        GATE_MISSING      },
        {" ",                                                                       GATE_MISSING      },
        {NULL,                                                                      GATE_MISSING      },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(
            check_crawl(&with_token, (struct gate_request){.signature = rows[i].signature}),
            rows[i].verdict, "%s", rows[i].signature);
}

Test(gate, firecrawls_signature_covers_every_byte_and_counts_under_the_previous_key_too)
{
    const struct gate changed = {
        .secret = "another-key-of-forty-characters-01234567", .previous = KEY};
    const char *signature = "sha256=" CRAWL_DIGEST;
    char body[] = CRAWL_BODY;
    cr_expect_eq(
        check_crawl(&changed, (struct gate_request){.signature = signature}), GATE_SIGNED_PREVIOUS);
    for (size_t i = 0; i < sizeof(body) - 1; i++) {
        body[i] ^= 1;
        const struct gate_request r = {
            .signature = signature, .body = body, .len = sizeof(body) - 1};
        cr_expect_eq(gate_check_firecrawl(&without_token, &r), GATE_BAD_SIGNATURE, "%zu", i);
        body[i] ^= 1;
    }
}

Test(gate, a_firecrawl_that_signs_nothing_needs_the_token)
{
    const struct {
        const struct gate *gate;
        struct gate_request r;
        enum gate_verdict verdict;
    } rows[] = {
        {&with_token,    {.webhook_token = TOKEN},                                GATE_TOKEN        },
        {&with_token,    {.authorization = "Bearer " TOKEN},                      GATE_TOKEN        },
        {&with_token,    {.signature = "", .webhook_token = TOKEN},               GATE_TOKEN        },
        {&with_token,    {.webhook_token = "wrong"},                              GATE_BAD_TOKEN    },
        {&with_token,    {.authorization = "Bearer wrong"},                       GATE_BAD_TOKEN    },
        {&without_token, {.webhook_token = TOKEN},                                GATE_MISSING      },
        {&with_token,    {.signature = "sha256=" DIGEST, .webhook_token = TOKEN}, GATE_BAD_SIGNATURE},
        {&with_token,    {.signature = "rubbish", .webhook_token = TOKEN},        GATE_BAD_SHAPE    },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(check_crawl(rows[i].gate, rows[i].r), rows[i].verdict, "row %zu", i);
}

Test(gate, no_other_kind_of_signature_counts_for_firecrawl)
{
    const struct gate_request r = {.standard = "v1,x", .id = "i", .timestamp = "1"};
    cr_expect_eq(check_crawl(&without_token, r), GATE_MISSING);
}
