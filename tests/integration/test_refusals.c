/* What the real producer keeps of a webhook that it refuses: enough to see and repeat it, nothing that
 * would let anybody in. */
#include "tests/support/fleet.h"

#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(refusals, .timeout = 120);

#define ROUTE  "/api/webhook/changedetection"
#define STREAM "{hookline}:rejects"

static struct rig rig;

/* --- posting ----------------------------------------------------------------------------- */

static struct test_reply post(const char *path, const char *headers, const char *body)
{
    return test_http(rig.producer_port, "POST", path, headers, body, strlen(body));
}

static const char *signature(const char *body)
{
    return harness_text("X-Signature: sha256=%s\r\n", test_sign(RIG_SECRET, body, strlen(body)));
}

#define TOKEN_HEADER "X-Webhook-Token: " RIG_TOKEN "\r\n"

/* --- what is kept ------------------------------------------------------------------------ */

static bool are_kept(long n)
{
    return redis_int(rig.redis, "XLEN " STREAM) == n;
}

/* Everything that is there, as one JSON text. No blanks: redis_text splits its line there. */
static const char *dump(void)
{
    return redis_text(rig.redis, "EVAL return\tcjson.encode(redis.call('XRANGE',KEYS[1],'-','+')) "
                                 "1 " STREAM);
}

/* A field of the newest entry; "" = it has none. */
static const char *newest(const char *field)
{
    struct hl_err err;
    const char *text = dump();
    json_t *all = json_parse_with_nul(text, strlen(text), &err), *v;
    cr_assert(all, "%s: %s", err.msg, text);
    const json_t *fields = json_array_get(json_array_get(all, json_array_size(all) - 1), 1);
    const char *found = "";
    for (size_t i = 0; (v = json_array_get(fields, i)); i += 2)
        if (strcmp(json_string_value(v), field) == 0)
            found = harness_text("%s", json_string_value(json_array_get(fields, i + 1)));
    json_decref(all);
    return found;
}

#define EXPECT_FIELD(field, value)                                                                 \
    cr_expect_str_eq(newest(field), value, "%s: %s", field, newest(field))

/* --- handlers' refusals ------------------------------------------------------------------ */

Test(refusals, a_refusal_is_kept_with_what_is_needed_to_see_and_repeat_it)
{
    rig_start(&rig);
    const char *body = "{\"watch_id\": {{ broken }}}";
    struct test_reply r = post(ROUTE "?watch_url=u",
        harness_text("%sContent-Type: application/json\r\nIdempotency-Key: k1\r\n"
                     "User-Agent: apprise\r\n",
            signature(body)),
        body);
    cr_assert_eq(r.status, 400);
    WAIT_FOR(are_kept(1), 5000);
    EXPECT_FIELD("status", "400");
    EXPECT_FIELD("source", "changedetection");
    EXPECT_FIELD("method", "POST");
    EXPECT_FIELD("path", ROUTE);
    EXPECT_FIELD("query", "watch_url=u");
    EXPECT_FIELD("peer", "127.0.0.1");
    EXPECT_FIELD("authenticated", "1");
    EXPECT_FIELD("body", body);
    EXPECT_FIELD("len", harness_text("%zu", strlen(body)));
    EXPECT_FIELD("request_id", test_reply_header(&r, "X-Request-ID"));
    cr_expect(strstr(test_reply_member(&r, "detail"), newest("reason")), "%s", newest("reason"));
    const char *headers = newest("headers");
    cr_expect(strstr(headers, "\"Idempotency-Key\":\"k1\""), "%s", headers);
    cr_expect(strstr(headers, "\"Content-Type\":\"application/json\""), "%s", headers);
    cr_expect(strstr(headers, "\"User-Agent\":\"apprise\""), "%s", headers);
    cr_expect(strstr(headers, "\"X-Signature\":\"sha256=[64 characters]\""), "%s", headers);
}

Test(refusals, each_kind_of_refusal_is_kept)
{
#define EVENT(extra)                                                                               \
    "{\"watch_id\":\"w\",\"watch_url\":\"http://x/"                                                \
    "\",\"detected_at\":\"2026-01-02T03:04:05Z\"" extra "}"
    static const struct {
        const char *path, *headers, *body; /* headers NULL: signed */
        int status;
        const char *authenticated;
    } cases[] = {
        {ROUTE,                          "",                                      EVENT(""),         401, "0"},
        {ROUTE,                          "X-Signature: sha256=00\r\n",            EVENT(""),         401, "0"},
        {ROUTE,                          "X-Webhook-Token: wrong\r\n",            EVENT(""),         401, "0"},
        {ROUTE,                          NULL,                                    "[]",              400, "1"},
        {ROUTE,                          TOKEN_HEADER,                            "[1]",             400, "1"},
        {ROUTE,                          TOKEN_HEADER "Idempotency-Key: one\r\n", EVENT(",\"a\":2"), 409, "1"},
        {"/api/webhook/changedetectoin", TOKEN_HEADER,                            EVENT(""),         404, "0"},
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    rig_start(&rig);
    cr_assert_eq(
        post(ROUTE, TOKEN_HEADER "Idempotency-Key: one\r\n", EVENT(",\"a\":1")).status, 202);
    for (int i = 0; i < N; i++) {
        const char *headers = cases[i].headers ? cases[i].headers : signature(cases[i].body);
        cr_expect_eq(post(cases[i].path, headers, cases[i].body).status, cases[i].status, "%d", i);
        WAIT_FOR(are_kept(i + 1), 5000);
        EXPECT_FIELD("status", harness_text("%d", cases[i].status));
        EXPECT_FIELD("authenticated", cases[i].authenticated);
        EXPECT_FIELD("body", cases[i].body);
    }
    cr_expect_eq(test_http(rig.producer_port, "GET", "/nowhere", NULL, NULL, 0).status, 404);
    cr_expect_eq(post(ROUTE, TOKEN_HEADER, EVENT("")).status, 202);
    cr_expect(are_kept(N), "no other route, nothing that is accepted");
}

/* --- httpd's own ------------------------------------------------------------------------- */

Test(refusals, what_is_refused_before_it_was_read_is_kept)
{
    static const struct {
        const char *request;
        const char *status, *len;
    } cases[] = {
        {"POST " ROUTE " HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",               "413",
         "99999999"                                                                                        },
        {"POST " ROUTE " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
         "400",                                                                                         "1"},
        {"GET " ROUTE "?url=x HTTP/1.1\r\nHost: h\r\n\r\n",                                      "405", "0"},
    };
    rig_start(&rig);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *request = cases[i].request;
        test_http_raw(rig.producer_port, request, strlen(request), 300);
        WAIT_FOR(are_kept((long)i + 1), 5000);
        EXPECT_FIELD("status", cases[i].status);
        EXPECT_FIELD("authenticated", "0");
        EXPECT_FIELD("len", cases[i].len);
        EXPECT_FIELD("body", "");
    }
}

/* --- secrets ----------------------------------------------------------------------------- */

#define ENCODED_TOKEN "a%2Dtoken-for-senders-that-cannot-sign-webhooks" /* RIG_TOKEN */

Test(refusals, no_secret_reaches_redis)
{
    /* clang-format off */
    static const char *const requests[][3] = {
        {"", "Authorization: Bearer " RIG_TOKEN "\r\nCookie: sid=abcdef\r\n", "[]"},
        {"", TOKEN_HEADER "Proxy-Authorization: Basic cHJveHk=\r\n", "[]"},
        {"?token=" RIG_TOKEN "&a=1&API%5Fkey=hunter2-in-a-query", "X-Other: " RIG_SECRET "\r\n",
         "[]"},
        {"?x=" ENCODED_TOKEN "&" ENCODED_TOKEN, "", "[]"},
        {"/" ENCODED_TOKEN, "", "[]"},
        {"?x=" RIG_READ_SECRET, "X-Other: " RIG_READ_SECRET "\r\n", "[]"},
        {"?x=" RIG_SECRET, "X-Api-Key: hunter2-in-a-header\r\n", "{\"t\":\"" RIG_TOKEN "\"}"},
        {"", "X-Signature: sha256=deadbeefdeadbeef\r\nwebhook-signature: v1,deadbeef\r\n", "[]"},
        {"", "X-Firecrawl-Signature: " RIG_SECRET "\r\nX-Auth: hunter2-again\r\n", "[]"},
    };
    /* clang-format on */
    static const char *const secrets[] = {RIG_TOKEN, RIG_SECRET, RIG_READ_SECRET,
        "senders-that-cannot", "hunter2", "deadbeef", "abcdef", "cHJveHk", "Bearer"};
    enum { N = sizeof(requests) / sizeof(*requests) };
    rig_start(&rig);
    for (int i = 0; i < N; i++)
        cr_expect_geq(
            post(harness_text(ROUTE "%s", requests[i][0]), requests[i][1], requests[i][2]).status,
            400);
    WAIT_FOR(are_kept(N), 5000);
    const char *all = dump();
    for (size_t i = 0; i < sizeof(secrets) / sizeof(*secrets); i++)
        cr_expect_not(strstr(all, secrets[i]), "%s: %s", secrets[i], all);
    cr_expect(strstr(all, "token=***&a=1&API%5Fkey=***"), "%s", all);
    cr_expect(strstr(all, "[19 characters]"), "%s", all);
}

Test(refusals, of_long_headers_as_many_as_fit_are_kept)
{
    rig_start(&rig);
    char *value = harness_hold(mem_zero(3001));
    memset(value, 'v', 3000);
    post(ROUTE, harness_text("X-A: %s\r\nX-B: %s\r\nX-C: c\r\n", value, value), "[]");
    WAIT_FOR(are_kept(1), 5000);
    const char *headers = newest("headers");
    cr_expect(strstr(headers, "X-A") && strstr(headers, "X-C"), "%s", headers);
    cr_expect_not(strstr(headers, "X-B"), "%s", headers);
}

/* --- Redis away -------------------------------------------------------------------------- */

Test(refusals, a_refusal_waits_until_redis_is_back)
{
    rig_start(&rig);
    test_redis_kill(rig.redis);
    cr_expect_eq(post(ROUTE, TOKEN_HEADER, "[]").status, 400);
    test_redis_restart(rig.redis);
    WAIT_FOR(are_kept(1), 20000);
    EXPECT_FIELD("body", "[]");
}
