#include "base/crawl_job.h"
#include "base/event.h"
#include "base/flatmap.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static struct crawl_job job_of(const char *body, size_t len)
{
    struct crawl_job j = {.received_at = INT64_C(1767323045123456),
        .request_id = mem_strdup("0d0b0c1a-7a86-4c5e-9a4b-0d6a3c4b5e6f"),
        .body = mem_strndup(body, len),
        .len = len};
    memset(j.id.b, 0xa5, sizeof(j.id.b));
    digest_sha256(body, len, j.digest);
    return j;
}

static char *repeated(char c, size_t n)
{
    char *s = mem_alloc(n + 1);
    memset(s, c, n);
    s[n] = '\0';
    return s;
}

/* Bytes that do not compress. */
static char *noise(size_t n)
{
    char *s = mem_alloc(n + 1);
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        s[i] = (char)(' ' + x % 95);
    }
    s[n] = '\0';
    return s;
}

/* Decodes a heap copy of the exact size: reading past the end is caught by the sanitizer. */
static enum hl_rc decode(const void *data, size_t len, struct crawl_job *j, struct hl_err *err)
{
    char *copy = mem_alloc(len + !len);
    if (len)
        memcpy(copy, data, len);
    enum hl_rc rc = crawl_job_decode(copy, len, j, err);
    free(copy);
    return rc;
}

static size_t assert_round_trip(const struct crawl_job *j)
{
    struct buf b = {0};
    struct crawl_job got;
    struct hl_err err = {0};
    crawl_job_encode(j, &b);
    cr_assert(crawl_job_is(b.data, b.len));
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_OK, "%s", err.msg);
    cr_assert(uuid_equal(&got.id, &j->id));
    cr_assert_eq(got.received_at, j->received_at);
    cr_assert_eq(got.reconciled, j->reconciled);
    cr_assert_eq(!got.request_id, !j->request_id);
    if (j->request_id)
        cr_assert_str_eq(got.request_id, j->request_id);
    cr_assert_eq(got.len, j->len);
    cr_assert(memcmp(got.body, j->body, j->len + 1) == 0, "the body ends with a NUL");
    cr_assert(memcmp(got.digest, j->digest, DIGEST_LEN) == 0);
    crawl_job_release(&got);
    cr_assert_null(got.body);
    cr_assert_eq(crawl_job_peek(b.data, b.len, &got, &err), HL_OK, "%s", err.msg);
    cr_assert(uuid_equal(&got.id, &j->id) && memcmp(got.digest, j->digest, DIGEST_LEN) == 0);
    cr_assert(!got.body && got.len == j->len && got.received_at == j->received_at);
    crawl_job_release(&got);
    size_t encoded = b.len;
    buf_release(&b);
    return encoded;
}

Test(crawl_job, survives_a_round_trip_whatever_its_size)
{
    static const size_t sizes[] = {0, 1, 2, 200, 255, 1023, 1024, 1025, 65535, 65536, 3000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char *bodies[] = {repeated('x', sizes[i]), noise(sizes[i])};
        for (int k = 0; k < 2; k++) {
            struct crawl_job j = job_of(bodies[k], sizes[i]);
            assert_round_trip(&j);
            crawl_job_release(&j);
            free(bodies[k]);
        }
    }
}

Test(crawl_job, without_a_request_is_marked_as_asked_for)
{
    struct crawl_job j = job_of("{}", 2);
    free(j.request_id);
    j.request_id = NULL;
    j.reconciled = true;
    assert_round_trip(&j);
    crawl_job_release(&j);
}

Test(crawl_job, is_compressed_from_one_kibibyte_where_that_makes_it_shorter)
{
    char *plain = repeated('x', 1024), *random = noise(100000);
    struct crawl_job below = job_of(plain, 1023), from = job_of(plain, 1024);
    cr_assert_gt(assert_round_trip(&below), 1023);
    cr_assert_lt(assert_round_trip(&from), 300);
    crawl_job_release(&below);
    crawl_job_release(&from);
    char *mixed = repeated('y', 1000000);
    memcpy(mixed, random, 100000);
    struct crawl_job large = job_of(mixed, 1000000);
    cr_assert_lt(assert_round_trip(&large), 120000);
    crawl_job_release(&large);
    free(mixed);
    free(plain);
    free(random);
}

Test(crawl_job, cut_short_anywhere_is_refused)
{
    char *body = noise(2000);
    memset(body + 500, 'z', 1000);
    struct crawl_job j = job_of(body, 2000), got;
    struct buf b = {0};
    struct hl_err err;
    crawl_job_encode(&j, &b);
    for (size_t len = 0; len < b.len; len++) {
        err.msg[0] = '\0';
        cr_assert_eq(decode(b.data, len, &got, &err), HL_FATAL, "at %zu", len);
        cr_assert(*err.msg, "at %zu", len);
    }
    buf_putc(&b, '\0');
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_FATAL);
    cr_assert_str_eq(err.msg, "1 bytes follow the crawl job");
    buf_release(&b);
    crawl_job_release(&j);
    free(body);
}

Test(crawl_job, with_any_one_byte_changed_is_refused_or_has_its_body)
{
    char *body = noise(1500);
    memset(body + 200, 'z', 1000);
    struct crawl_job j = job_of(body, 1500);
    struct buf b = {0};
    crawl_job_encode(&j, &b);
    for (size_t i = 0; i < b.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct crawl_job got;
            b.data[i] = (char)(b.data[i] ^ 1 << bit);
            if (decode(b.data, b.len, &got, NULL) == HL_OK) {
                cr_assert(got.len == 1500 && memcmp(got.body, body, 1500) == 0, "byte %zu", i);
                crawl_job_release(&got);
            }
            b.data[i] = (char)(b.data[i] ^ 1 << bit);
        }
    }
    buf_release(&b);
    crawl_job_release(&j);
    free(body);
}

/* --- hand-made ones ---------------------------------------------------------------------- */

struct made {
    uint64_t version;
    const char *kind;
    uint64_t n;
    const void *bytes;
    size_t nbytes;
    const void *digest; /* of whom; NULL = zeros */
    size_t digest_len;
    int more; /* pairs that nobody knows */
};

static void put_str(msgpack_packer *pk, const char *s)
{
    msgpack_pack_str_with_body(pk, s, strlen(s));
}

static void make(struct buf *b, const struct made *m)
{
    msgpack_packer pk;
    uint8_t digest[DIGEST_LEN] = {0}, id[16] = {1};
    if (m->digest)
        digest_sha256(m->digest, m->digest_len, digest);
    msgpack_packer_init(&pk, b, flatmap_to_buf);
    msgpack_pack_map(&pk, 9 + (size_t)m->more);
    put_str(&pk, "v");
    msgpack_pack_uint64(&pk, m->version);
    put_str(&pk, "k");
    put_str(&pk, m->kind);
    put_str(&pk, "id");
    msgpack_pack_bin_with_body(&pk, id, sizeof(id));
    put_str(&pk, "t");
    msgpack_pack_int64(&pk, 5);
    put_str(&pk, "q");
    msgpack_pack_nil(&pk);
    put_str(&pk, "c");
    msgpack_pack_false(&pk);
    put_str(&pk, "h");
    msgpack_pack_bin_with_body(&pk, digest, sizeof(digest));
    put_str(&pk, "n");
    msgpack_pack_uint64(&pk, m->n);
    put_str(&pk, "b");
    msgpack_pack_bin_with_body(&pk, m->bytes, m->nbytes);
    for (int i = 0; i < m->more; i++) {
        put_str(&pk, "new");
        msgpack_pack_int(&pk, i);
    }
}

static void assert_made(const struct made *m, enum hl_rc want, const char *text)
{
    struct buf b = {0};
    struct crawl_job got = {0};
    struct hl_err err = {0};
    make(&b, m);
    cr_assert_eq(decode(b.data, b.len, &got, &err), want, "%s: %s", text, err.msg);
    if (want != HL_OK)
        cr_assert_not_null(strstr(err.msg, text), "%s", err.msg);
    crawl_job_release(&got);
    buf_release(&b);
}

Test(crawl_job, of_a_newer_version_is_left_to_newer_programs)
{
    struct made m = {.version = 2, .kind = "crawl", .bytes = ""};
    assert_made(&m, HL_LOST, "crawl job of version 2, newer than this program's 1");
    struct buf b = {0};
    make(&b, &m);
    cr_assert(crawl_job_is(b.data, b.len));
    buf_release(&b);
}

Test(crawl_job, with_keys_nobody_knows_is_read)
{
    assert_made(&(struct made){.version = 1,
                    .kind = "crawl",
                    .n = 2,
                    .bytes = "{}",
                    .nbytes = 2,
                    .digest = "{}",
                    .digest_len = 2,
                    .more = 3},
        HL_OK, "");
}

Test(crawl_job, tells_itself_from_everything_else)
{
    struct change_event ev = {.watch_id = "w", .watch_url = "u", .metadata = "{}"};
    struct crawl_job got;
    struct buf b = {0};
    event_encode(&ev, &b);
    cr_assert_not(crawl_job_is(b.data, b.len));
    cr_assert_eq(decode(b.data, b.len, &got, NULL), HL_FATAL);
    buf_clear(&b);
    make(&b, &(struct made){.version = 1, .kind = "other", .bytes = ""});
    cr_assert_not(crawl_job_is(b.data, b.len));
    cr_assert_not(crawl_job_is("", 0));
    cr_assert_not(crawl_job_is("\x81\xa1v\x01", 4));
    cr_assert_not(crawl_job_is("{\"v\":1}", 7));
    buf_release(&b);
    struct crawl_job j = job_of("{}", 2);
    crawl_job_encode(&j, &b);
    cr_assert_neq(event_decode(b.data, b.len, &ev, NULL), HL_OK, "a change event it is not");
    buf_release(&b);
    crawl_job_release(&j);
}

Test(crawl_job, whose_body_lies_about_itself_is_refused)
{
    enum { BOMB = 64 * 1024 * 1024 };
    char *zeros = mem_zero(BOMB), *packed = mem_alloc(BOMB), *two = mem_alloc(200);
    size_t n = ZSTD_compress(packed, BOMB, zeros, BOMB, 1);
    size_t one = ZSTD_compress(two, 100, zeros, 1000, 1);
    memcpy(two + one, two, one);
    const struct {
        struct made m;
        const char *text;
    } cases[] = {
        {{1, "crawl", 5, "{}", 2, "{}", 2, 0},                               "not of the length it tells"},
        {{1, "crawl", 1, "{}", 2, "{}", 2, 0},                               "not of the length it tells"},
        {{1, "crawl", 2, "{}", 2, "[]", 2, 0},                               "not the one of its digest" },
        {{1, "crawl", 1000, packed, n, zeros, 1000, 0},                      "not of the length it tells"},
        {{1, "crawl", 2000, two, 2 * one, zeros, 2000, 0},                   "not of the length it tells"},
        {{1, "crawl", 1000, two, one - 1, zeros, 1000, 0},                   "not of the length it tells"},
        {{1, "crawl", UINT64_C(1) << 40, packed, n, zeros, 1, 0},            "not a length that can be"  },
        {{1, "crawl", (uint64_t)CRAWL_MAX_BODY + 1, packed, n, zeros, 1, 0},
         "not a length that can be"                                                                      },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_made(&cases[i].m, HL_FATAL, cases[i].text);
    assert_made(&(struct made){1, "crawl", BOMB, packed, n, zeros, BOMB, 0}, HL_OK, "");
    free(zeros);
    free(packed);
    free(two);
}

Test(crawl_job, names_its_documents_for_ever)
{
    struct uuid event =
                    {
                        .b = {1, 2, 3}
    },
                other = {.b = {1, 2, 4}};
    struct uuid first = crawl_document_id(&event, 0), second = crawl_document_id(&event, 1),
                foreign = crawl_document_id(&other, 0);
    char text[UUID_STRLEN + 1];
    cr_assert_not(uuid_equal(&first, &second));
    cr_assert_not(uuid_equal(&first, &foreign));
    uuid_format(&first, text);
    cr_assert_str_eq(text, "2a970892-64e0-8143-b641-262f3ddb14c8");
}

Test(crawl_job, its_traceparent_goes_along_where_it_is_one)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {NULL,                                                      false},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true },
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
        {"nonsense",                                                false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct crawl_job j = job_of("{}", 2), got;
        struct buf b = {0};
        struct hl_err err = {0};
        j.traceparent = mem_strdup(cases[i].text);
        crawl_job_encode(&j, &b);
        cr_assert_eq(decode(b.data, b.len, &got, &err), HL_OK, "%s", err.msg);
        cr_expect_eq(got.traceparent != NULL, cases[i].valid);
        if (got.traceparent)
            cr_expect_str_eq(got.traceparent, cases[i].text);
        crawl_job_release(&got);
        crawl_job_release(&j);
        buf_release(&b);
    }
}
