#include "base/event.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static struct change_event sample(void)
{
    struct change_event ev = {
        .watch_id = "watch-\xc3\xa9",
        .watch_url = "https://example.com/a?b=c",
        .detected_at = INT64_C(1767323045123456),
        .diff_summary = "+ new line\n- old line",
        .snapshot_url = "https://changes.example.com/watch-1",
        .metadata = "{\"signature\":\"abc\"}",
    };
    memset(ev.id.b, 0xa5, sizeof(ev.id.b));
    memset(ev.body_digest, 0x5a, sizeof(ev.body_digest));
    return ev;
}

/* Decodes a heap copy of the exact size: reading past the end is caught by the sanitizer. */
static enum hl_rc decode(const void *data, size_t len, struct change_event *ev, struct hl_err *err)
{
    char *copy = mem_alloc(len);
    if (len)
        memcpy(copy, data, len);
    enum hl_rc rc = event_decode(copy, len, ev, err);
    free(copy);
    return rc;
}

static void assert_same_text(const char *a, const char *b)
{
    cr_assert_eq(!a, !b);
    if (a)
        cr_assert_str_eq(a, b);
}

static void assert_round_trip(const struct change_event *ev)
{
    struct buf b = {0};
    struct change_event got;
    struct hl_err err = {0};
    event_encode(ev, &b);
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_OK, "%s", err.msg);
    cr_assert(uuid_equal(&got.id, &ev->id));
    cr_assert_eq(got.detected_at, ev->detected_at);
    cr_assert_arr_eq(got.body_digest, ev->body_digest, DIGEST_LEN);
    assert_same_text(got.watch_id, ev->watch_id);
    assert_same_text(got.watch_url, ev->watch_url);
    assert_same_text(got.diff_summary, ev->diff_summary);
    assert_same_text(got.snapshot_url, ev->snapshot_url);
    assert_same_text(got.metadata, ev->metadata);
    assert_same_text(got.request_id, ev->request_id);
    assert_same_text(got.traceparent, ev->traceparent);
    event_release(&got);
    cr_assert_null(got.watch_id);
    buf_release(&b);
}

static char *repeated(const char *unit, size_t n)
{
    struct buf b = {0};
    while (n--)
        buf_puts(&b, unit);
    return buf_detach(&b);
}

/* A JSON object of exactly len bytes. */
static char *metadata_of(size_t len)
{
    char *s = repeated("x", len);
    memcpy(s, "{\"k\":\"", 6);
    memcpy(s + len - 2, "\"}", 2);
    return s;
}

Test(event, survives_a_round_trip)
{
    struct change_event ev = sample();
    assert_round_trip(&ev);
}

Test(event, survives_a_round_trip_without_its_optional_parts)
{
    struct change_event ev = sample();
    ev.diff_summary = ev.snapshot_url = NULL;
    ev.metadata = "{}";
    assert_round_trip(&ev);
}

/* The version stays: readers of before skip a key that they do not know. */
Test(event, carries_the_id_of_its_request_where_that_is_known)
{
    struct change_event ev = sample(), copy;
    ev.request_id = "6f1c7a90-1111-4222-8333-0123456789ab";
    assert_round_trip(&ev);
    event_copy(&copy, &ev);
    cr_assert_str_eq(copy.request_id, ev.request_id);
    cr_assert_neq(copy.request_id, ev.request_id);
    event_release(&copy);
    cr_assert_null(copy.request_id);
}

Test(event, keeps_empty_strings_apart_from_absent_ones)
{
    struct change_event ev = sample();
    ev.watch_id = ev.watch_url = ev.diff_summary = "";
    ev.snapshot_url = NULL;
    assert_round_trip(&ev);
}

Test(event, survives_a_round_trip_at_every_limit)
{
    struct change_event ev = sample();
    ev.watch_id = repeated("\xf0\x9f\x98\x80", EVENT_MAX_WATCH_ID);
    ev.watch_url = repeated("u", EVENT_MAX_URL);
    ev.snapshot_url = repeated("s", EVENT_MAX_URL);
    ev.diff_summary = repeated("\xe2\x82\xac", EVENT_MAX_DIFF);
    ev.metadata = metadata_of(EVENT_MAX_METADATA);
    static const int64_t times[] = {
        0, -1, 1, 127, 128, -33, INT64_C(-62135596800000000), INT64_C(253402300799999999)};
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        ev.detected_at = times[i];
        assert_round_trip(&ev);
    }
    event_release(&ev); /* every string of it is allocated here */
}

Test(event, appends_to_what_the_buffer_holds)
{
    struct change_event ev = sample(), got;
    struct buf b = {0};
    buf_puts(&b, "head");
    event_encode(&ev, &b);
    cr_assert_eq(memcmp(b.data, "head", 4), 0);
    cr_assert_eq(decode(b.data + 4, b.len - 4, &got, NULL), HL_OK);
    event_release(&got);
    buf_release(&b);
}

/* The form is a protocol between releases: these bytes must decode for ever. */
Test(event, bytes_of_version_1_do_not_change)
{
    struct change_event ev = sample();
    ev.watch_id = "w1";
    ev.watch_url = "http://e/";
    ev.snapshot_url = NULL;
    ev.diff_summary = "d";
    ev.metadata = "{}";
    ev.detected_at = 1;
    struct buf b = {0}, want = {0};
    event_encode(&ev, &b);
    buf_puts(&want, "\x89\xa1v\x01\xa2id\xc4\x10");
    buf_append(&want, ev.id.b, sizeof(ev.id.b));
    buf_puts(&want, "\xa1w\xa2w1\xa1u\xa9http://e/\xa1t\x01\xa1"
                    "d\xa1"
                    "d\xa1s\xc0\xa1m\xa2{}\xa1h\xc4\x20");
    buf_append(&want, ev.body_digest, DIGEST_LEN);
    cr_assert_eq(b.len, want.len);
    cr_assert_eq(memcmp(b.data, want.data, want.len), 0);
    buf_release(&b);
    buf_release(&want);
}

Test(event, every_truncation_is_refused)
{
    struct change_event ev = sample(), got = {0};
    struct buf b = {0};
    event_encode(&ev, &b);
    for (size_t len = 0; len < b.len; len++) {
        struct hl_err err = {0};
        cr_assert_eq(decode(b.data, len, &got, &err), HL_FATAL, "%zu bytes", len);
        cr_assert_neq(err.msg[0], '\0');
        cr_assert_null(got.watch_id, "output written on failure");
    }
    buf_release(&b);
}

Test(event, what_follows_the_job_is_refused)
{
    struct change_event ev = sample(), got;
    struct hl_err err;
    struct buf b = {0};
    event_encode(&ev, &b);
    buf_append(&b, "\xc0", 1);
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_FATAL);
    cr_assert_str_eq(err.msg, "1 bytes follow the job");
    buf_release(&b);
}

static void assert_within_limits(const struct change_event *ev)
{
    cr_assert(ev->watch_id && strlen(ev->watch_id) <= 4 * EVENT_MAX_WATCH_ID);
    cr_assert(ev->watch_url && strlen(ev->watch_url) <= EVENT_MAX_URL);
    cr_assert(ev->metadata && ev->metadata[0] == '{');
}

Test(event, no_corrupted_byte_does_harm, .timeout = 120)
{
    struct change_event ev = sample(), got;
    struct buf b = {0};
    event_encode(&ev, &b);
    for (size_t at = 0; at < b.len; at++) {
        for (int x = 1; x < 256; x++) {
            b.data[at] = (char)(b.data[at] ^ x);
            if (decode(b.data, b.len, &got, NULL) == HL_OK) {
                assert_within_limits(&got);
                event_release(&got);
            }
            b.data[at] = (char)(b.data[at] ^ x);
        }
    }
    buf_release(&b);
}

/* --- jobs put together by hand ----------------------------------------------------------- */

#define RAW(s)                                                                                     \
    {                                                                                              \
        (s), sizeof(s) - 1                                                                         \
    }
struct raw {
    const char *data;
    size_t len;
};

static void put_raw(struct buf *b, struct raw r)
{
    buf_append(b, r.data, r.len);
}

static const struct {
    const char *key;
    struct raw value;
} valid[] = {
    {"v",  RAW("\x01")                                    },
    {"id", RAW("\xc4\x10"
               "0123456789abcdef")              },
    {"w",  RAW("\xa1w")                                   },
    {"u",  RAW("\xa1u")                                   },
    {"t",  RAW("\x05")                                    },
    {"d",  RAW("\xc0")                                    },
    {"s",  RAW("\xc0")                                    },
    {"m",  RAW("\xa2{}")                                  },
    {"h",  RAW("\xc4\x20"
              "0123456789abcdef0123456789abcdef")},
};
#define NVALID (sizeof(valid) / sizeof(*valid))

static void put_pair(struct buf *b, const char *key, struct raw value)
{
    buf_putc(b, (char)(0xa0 | strlen(key)));
    buf_puts(b, key);
    put_raw(b, value);
}

/* The valid job with one value replaced (key known), one pair added (key unknown), or the key left
 * out (value.data NULL). */
static enum hl_rc decode_with(const char *key, struct raw value, struct hl_err *err)
{
    struct buf pairs = {0}, b = {0};
    struct change_event got = {0};
    int n = 0;
    bool known = false;
    for (size_t i = 0; i < NVALID; i++) {
        bool hit = strcmp(valid[i].key, key) == 0;
        known = known || hit;
        if (hit && !value.data)
            continue;
        put_pair(&pairs, valid[i].key, hit ? value : valid[i].value);
        n++;
    }
    if (!known) {
        put_pair(&pairs, key, value);
        n++;
    }
    buf_putc(&b, (char)(0x80 | n));
    buf_append(&b, pairs.data, pairs.len);
    enum hl_rc rc = decode(b.data, b.len, &got, err);
    event_release(&got);
    buf_release(&pairs);
    buf_release(&b);
    return rc;
}

Test(event, every_key_is_needed)
{
    for (size_t i = 0; i < NVALID; i++) {
        struct hl_err err = {0};
        cr_assert_eq(decode_with(valid[i].key, (struct raw){0}, &err), HL_FATAL);
        if (i > 0)
            cr_assert(strncmp(err.msg, "job has no ", 11) == 0, "%s: %s", valid[i].key, err.msg);
    }
}

Test(event, wrong_values_are_refused_by_name)
{
    /* clang-format off */
    static const struct {
        const char *key;
        struct raw value;
        const char *says;
    } bad[] = {
        {"v", RAW("\x00"), "version"},
        {"v", RAW("\xff"), "version"},
        {"v", RAW("\xa1\x31"), "version"},
        {"v", RAW("\x91\x01"), "version"},
        {"id",
         RAW("\xc4\x0f"
                "0123456789abcde"),
         "event id of the job is not bytes of the right length"},
        {"id",
         RAW("\xb0"
                "0123456789abcdef"),
         "event id of the job is not bytes"},
        {"id", RAW("\xc0"), "event id"},
        {"w", RAW("\xc0"), "watch_id of the job is not a string"},
        {"w", RAW("\x01"), "watch_id of the job is not a string"},
        {"w", RAW("\xc4\x01w"), "watch_id of the job is not a string"},
        {"w", RAW("\xa3w\0w"), "watch_id of the job holds a NUL byte"},
        {"w", RAW("\xa1\xff"), "watch_id of the job is not valid UTF-8"},
        {"w", RAW("\xa3\xed\xa0\x80"), "watch_id of the job is not valid UTF-8"},
        {"u", RAW("\xc0"), "watch_url of the job is not a string"},
        {"u", RAW("\xa2\xc0\xaf"), "watch_url of the job is not valid UTF-8"},
        {"t", RAW("\xc0"), "detected_at of the job is not a time"},
        {"t", RAW("\xcb\x3f\xf0\0\0\0\0\0\0"), "detected_at of the job is not a time"},
        {"t", RAW("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "detected_at"},
        {"t", RAW("\xd3\x80\0\0\0\0\0\0\0"), "detected_at"},
        {"d", RAW("\xc2"), "diff_summary of the job is not a string"},
        {"s", RAW("\xa1\0"), "snapshot_url of the job holds a NUL byte"},
        {"m", RAW("\xc0"), "metadata of the job is not a string"},
        {"m", RAW("\xa0"), "metadata of the job is not a JSON object"},
        {"m", RAW("\xa2[]"), "metadata of the job is not a JSON object"},
        {"m", RAW("\xa3{}}"), "metadata of the job is not a JSON object"},
        {"m", RAW("\x80"), "nested"},
        {"h", RAW("\xc4\x01h"), "body digest of the job is not bytes of the right length"},
        {"q", RAW("\xc0"), "request id of the job is not a string"},
        {"q", RAW("\xa1\xff"), "request id of the job is not valid UTF-8"},
        {"q", RAW("\xa3r\0r"), "request id of the job holds a NUL byte"},
        {"x", RAW("\x80"), "nested"},
        {"x", RAW("\x91\xc0"), "nested"},
        {"x", RAW("\xdd\xff\xff\xff\xff"), "nested"},
        {"x", RAW("\xdf\xff\xff\xff\xff"), "nested"},
        {"x", RAW("\xdc\xff\xff"), "nested"},
        {"x", RAW("\xdb\xff\xff\xff\xff"), "cut short"},
        {"x", RAW("\xc1"), "cut short"},
        {"w\xa1w", RAW(""), "cut short"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct hl_err err = {0};
        cr_assert_eq(decode_with(bad[i].key, bad[i].value, &err), HL_FATAL, "case %zu", i);
        cr_assert(strstr(err.msg, bad[i].says), "case %zu: %s", i, err.msg);
    }
}

Test(event, a_key_given_twice_is_refused)
{
    struct buf b = {0};
    struct change_event got;
    struct hl_err err;
    buf_putc(&b, (char)(0x80 | (NVALID + 1)));
    for (size_t i = 0; i < NVALID; i++)
        put_pair(&b, valid[i].key, valid[i].value);
    put_pair(&b, "w", (struct raw)RAW("\xa1x"));
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_FATAL);
    cr_assert_str_eq(err.msg, "job has its watch_id twice");
    buf_release(&b);
}

Test(event, keys_it_does_not_know_are_skipped)
{
    static const struct raw extras[] = {RAW("\xc0"), RAW("\xc3"), RAW("\x2a"), RAW("\xa3new"),
        RAW("\xc4\x03\0\0\0"), RAW("\xcb\x3f\xf0\0\0\0\0\0\0"), RAW("\xd4\x01x")};
    for (size_t i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
        struct hl_err err = {0};
        cr_assert_eq(decode_with("zz", extras[i], &err), HL_OK, "case %zu: %s", i, err.msg);
    }
}

Test(event, the_order_after_the_version_is_free)
{
    struct buf b = {0};
    struct change_event got;
    buf_putc(&b, (char)(0x80 | NVALID));
    put_pair(&b, valid[0].key, valid[0].value);
    for (size_t i = NVALID - 1; i > 0; i--)
        put_pair(&b, valid[i].key, valid[i].value);
    cr_assert_eq(decode(b.data, b.len, &got, NULL), HL_OK);
    cr_assert_str_eq(got.watch_id, "w");
    event_release(&got);
    buf_release(&b);
}

Test(event, a_newer_version_is_left_to_newer_programs_whatever_else_it_holds)
{
    static const struct raw newer[] = {RAW("\x89\xa1v\x02"), RAW("\x82\xa1v\x02\xa1w\x80"),
        RAW("\xde\xff\xff\xa1v\xcf\xff\xff\xff\xff\xff\xff\xff\xff")};
    struct change_event got;
    for (size_t i = 0; i < sizeof(newer) / sizeof(*newer); i++) {
        struct hl_err err = {0};
        cr_assert_eq(decode(newer[i].data, newer[i].len, &got, &err), HL_LOST, "case %zu", i);
        cr_assert(strstr(err.msg, "newer than this program's 1"), "%s", err.msg);
    }
}

Test(event, things_that_are_no_jobs_are_refused)
{
    static const struct raw bad[] = {RAW(""), RAW("\xc0"), RAW("\x80"), RAW("\x81"), RAW("\xde"),
        RAW("\xde\x00"), RAW("\xde\x00\x09"), RAW("\x99\xa1v\x01"), RAW("\xdf\x00\x00\x00\x09"),
        RAW("\x81\xa1w\xa1w"), RAW("\x81\xa1v\x01"), RAW("\xde\x00\x41\xa1v\x01"), RAW("hello"),
        RAW("\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81")};
    struct change_event got;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(decode(bad[i].data, bad[i].len, &got, NULL), HL_FATAL, "case %zu", i);
}

Test(event, a_nesting_bomb_is_refused)
{
    char *bomb = repeated("\x91", 1000000);
    struct change_event got;
    cr_assert_eq(decode(bomb, 1000000, &got, NULL), HL_FATAL);
    free(bomb);
}

Test(event, one_more_than_each_limit_is_refused)
{
    /* clang-format off */
    static const struct {
        size_t offset;
        const char *unit;
        size_t n;
        const char *says;
    } over[] = {
        {offsetof(struct change_event, watch_id), "\xc3\xa9", EVENT_MAX_WATCH_ID + 1, "watch_id"},
        {offsetof(struct change_event, watch_id), "w", EVENT_MAX_WATCH_ID + 1, "watch_id"},
        {offsetof(struct change_event, watch_url), "u", EVENT_MAX_URL + 1, "watch_url"},
        {offsetof(struct change_event, snapshot_url), "s", EVENT_MAX_URL + 1, "snapshot_url"},
        {offsetof(struct change_event, diff_summary), "d", EVENT_MAX_DIFF + 1, "diff_summary"},
        {offsetof(struct change_event, metadata), "m", EVENT_MAX_METADATA + 1, "metadata"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(over) / sizeof(*over); i++) {
        struct change_event ev = sample(), got;
        struct hl_err err = {0};
        struct buf b = {0};
        char *text = repeated(over[i].unit, over[i].n);
        *(char **)((char *)&ev + over[i].offset) = text;
        event_encode(&ev, &b);
        cr_assert_eq(decode(b.data, b.len, &got, &err), HL_FATAL, "%s", over[i].says);
        cr_assert(strstr(err.msg, over[i].says) && strstr(err.msg, "is too long"), "%s", err.msg);
        buf_release(&b);
        free(text);
    }
}

#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Test(event, its_traceparent_goes_along)
{
    struct change_event ev = sample(), copy;
    ev.traceparent = (char *)TRACEPARENT;
    assert_round_trip(&ev);
    ev.request_id = (char *)"request-1";
    assert_round_trip(&ev);
    event_copy(&copy, &ev);
    cr_expect_str_eq(copy.traceparent, TRACEPARENT);
    event_release(&copy);
}

Test(event, a_traceparent_that_is_none_costs_no_event)
{
    struct change_event ev = sample(), got;
    struct buf b = {0};
    struct hl_err err;
    ev.traceparent = (char *)"nonsense";
    event_encode(&ev, &b);
    cr_assert_eq(decode(b.data, b.len, &got, &err), HL_OK, "%s", err.msg);
    cr_expect_null(got.traceparent);
    event_release(&got);
    buf_release(&b);
}
