/* What senders post -> a change event: the payload of reference contract section 2.1, and every
 * shape that changedetection.io gives a notification (formats, envelopes, identity in the URL). */
#include "base/json.h"
#include "base/mem.h"
#include "producer/hook.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE "sha256=00ff"
/* 2026-01-02T03:04:05.678901Z: 10:04:05 PM on the day before in New York. */
#define NOW     INT64_C(1767323045678901)
#define NOW_EST "10:04:05 PM | 01/01/2026"

/* The six fields of the contract; 2026-07-02T03:04:05Z is 11:04:05 PM on 07/01 (daylight saving).
 */
#define PLAIN                                                                                      \
    "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/a\","                                \
    "\"detected_at\":\"2026-07-02T03:04:05Z\""

struct given {
    const char *body, *query, *content_type;
    const char *signature; /* NULL = SIGNATURE */
    bool token;            /* came with a token, not signed */
    size_t len;            /* 0 = strlen(body) */
};

/* Reads a heap copy of the exact size: reading past its NUL is caught by the sanitizer. */
static enum hl_rc read_given(const struct given *g, struct change_event *ev, struct hl_err *err)
{
    size_t len = g->len ? g->len : strlen(g->body);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, g->body, len);
    copy[len] = '\0';
    *err = (struct hl_err){0};
    *ev = (struct change_event){0};
    const struct hook_input in = {.body = copy,
        .len = len,
        .query = g->query ? g->query : "",
        .content_type = g->content_type ? g->content_type : "",
        .signature = g->token       ? NULL
                     : g->signature ? g->signature
                                    : SIGNATURE,
        .now = NOW};
    struct identity who;
    enum hl_rc rc = hook_read(&in, ev, &who, err);
    free(copy);
    return rc;
}

static struct change_event taken(const struct given *g)
{
    struct change_event ev;
    struct hl_err err;
    cr_assert_eq(read_given(g, &ev, &err), HL_OK, "refused: %s\n%s", err.msg, g->body);
    return ev;
}

static void refused(const struct given *g, const char *msg)
{
    struct change_event ev;
    struct hl_err err;
    cr_assert_eq(read_given(g, &ev, &err), HL_FATAL, "taken: %s", g->body);
    cr_expect_str_eq(err.msg, msg, "%s\n%s", err.msg, g->body);
}

static const char *or_nil(const char *s)
{
    return s ? s : "(nil)";
}

#define SAME(got, want) cr_expect_str_eq(or_nil(got), or_nil(want), "%s", or_nil(got))

static void expect_event(
    const struct given *g, const char *id, const char *url, const char *diff, const char *snapshot)
{
    struct change_event ev = taken(g);
    SAME(ev.watch_id, id);
    SAME(ev.watch_url, url);
    SAME(ev.diff_summary, diff);
    SAME(ev.snapshot_url, snapshot);
    event_release(&ev);
}

static void expect_metadata(const struct given *g, const char *json)
{
    struct change_event ev = taken(g);
    cr_expect_str_eq(ev.metadata, json, "%s", ev.metadata);
    event_release(&ev);
}

static char *repeat(const char *s, size_t times)
{
    struct buf b = {0};
    while (times--)
        buf_puts(&b, s);
    return buf_detach(&b);
}

/* --- the payload of the contract --------------------------------------------------------- */

Test(hook, six_fields_become_the_columns_of_the_row)
{
    const struct given g = {.body =
                                PLAIN ",\"watch_title\":\"T\",\"diff_url\":\"http://cd/diff/1\","
                                      "\"snapshot\":\"page text\",\"more\":[1,{}]}"};
    struct change_event ev = taken(&g);
    uint8_t digest[DIGEST_LEN];
    SAME(ev.watch_id, "w1");
    SAME(ev.watch_url, "https://example.com/a");
    SAME(ev.diff_summary, "page text");
    SAME(ev.snapshot_url, "http://cd/diff/1");
    cr_expect_eq(ev.detected_at, INT64_C(1782961445000000));
    digest_sha256(g.body, strlen(g.body), digest);
    cr_expect_arr_eq(ev.body_digest, digest, DIGEST_LEN);
    cr_expect_eq(ev.id.b[6] >> 4, 7, "an id in the order of time");
    event_release(&ev);
}

Test(hook, metadata_is_exactly_what_the_contract_lists)
{
    expect_metadata(
        &(struct given){
            .body = PLAIN ",\"watch_title\":\"T \\\"1\\\"\",\"snapshot\":\"caf\\u00e9\"}"},
        "{\"watch_title\":\"T \\\"1\\\"\",\"webhook_received_at\":\"" NOW_EST "\","
        "\"signature\":\"" SIGNATURE "\",\"diff_size\":4,\"raw_payload_version\":\"1.0\","
        "\"detected_at\":\"11:04:05 PM | 07/01/2026\"}");
    expect_metadata(&(struct given){.body = PLAIN "}"},
        "{\"watch_title\":null,\"webhook_received_at\":\"" NOW_EST "\",\"signature\":\"" SIGNATURE
        "\",\"diff_size\":0,\"raw_payload_version\":\"1.0\","
        "\"detected_at\":\"11:04:05 PM | 07/01/2026\"}");
}

/* A header may hold any bytes; of several signatures in it only one has to be right. */
Test(hook, bytes_of_a_signature_that_are_no_text_do_not_get_into_the_metadata)
{
    expect_metadata(&(struct given){.body = PLAIN "}", .signature = "v1,\xff\xc3 v1,right"},
        "{\"watch_title\":null,\"webhook_received_at\":\"" NOW_EST
        "\",\"signature\":\"v1,\xef\xbf\xbd\xef\xbf\xbd v1,right\",\"diff_size\":0,"
        "\"raw_payload_version\":\"1.0\",\"detected_at\":\"11:04:05 PM | 07/01/2026\"}");
}

Test(hook, metadata_of_a_token_holds_no_signature)
{
    expect_metadata(&(struct given){.body = PLAIN "}", .token = true},
        "{\"watch_title\":null,\"webhook_received_at\":\"" NOW_EST "\",\"diff_size\":0,"
        "\"raw_payload_version\":\"1.0\",\"detected_at\":\"11:04:05 PM | 07/01/2026\"}");
}

Test(hook, two_events_never_share_an_id)
{
    const struct given g = {.body = PLAIN "}"};
    struct change_event a = taken(&g), b = taken(&g);
    cr_expect_not(uuid_equal(&a.id, &b.id), "equal bodies are two events");
    event_release(&a);
    event_release(&b);
}

Test(hook, absent_and_null_and_empty_are_told_apart_where_it_matters)
{
    expect_event(&(struct given){.body = PLAIN "}"}, "w1", "https://example.com/a", NULL, NULL);
    expect_event(&(struct given){.body = PLAIN ",\"watch_title\":null,\"diff_url\":null,"
                                               "\"snapshot\":null}"},
        "w1", "https://example.com/a", NULL, NULL);
    expect_event(&(struct given){.body = PLAIN ",\"diff_url\":\"\",\"snapshot\":\"\"}"}, "w1",
        "https://example.com/a", NULL, "");
}

/* Every form of change_events' own time is timestamp's business; here: which count, and how they
 * fail. */
Test(hook, times_are_iso_or_changedetection_ios_own)
{
    static const struct {
        const char *text;
        int64_t at;
    } rows[] = {
        {"2026-01-02T03:04:05Z",    INT64_C(1767323045000000)},
        {" 2026-01-02 03:04:05.5 ", INT64_C(1767323045500000)},
        {"20260102T030405,25+0100", INT64_C(1767319445250000)},
        {"2026-W01-5",              INT64_C(1767312000000000)},
        {"2026-01-02 03:04:05 UTC", INT64_C(1767323045000000)},
    };
    char body[300];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(body, sizeof(body),
            "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"detected_at\":\"%s\"}", rows[i].text);
        struct change_event ev = taken(&(struct given){.body = body});
        cr_expect_eq(
            ev.detected_at, rows[i].at, "%s: %lld", rows[i].text, (long long)ev.detected_at);
        event_release(&ev);
    }
    static const char *const bad[] = {
        "", "now", "2026-01-02T03:04:05z", "1767323045", "2026-01-02 03:04:05 CET", "2026-13-01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(body, sizeof(body),
            "{\"watch_id\":\"w\",\"watch_url\":\"u\",\"detected_at\":\"%s\"}", bad[i]);
        refused(&(struct given){.body = body}, "detected_at: not an ISO 8601 time");
    }
}

Test(hook, with_a_token_an_unreadable_time_is_the_time_of_receipt)
{
    expect_metadata(&(struct given){.body = "{\"watch_id\":\"w\",\"watch_url\":\"u\","
                                            "\"detected_at\":\"yesterday \\\"noon\\\"\"}",
                        .token = true},
        "{\"watch_title\":null,\"webhook_received_at\":\"" NOW_EST "\",\"diff_size\":0,"
        "\"raw_payload_version\":\"1.0\",\"detected_at\":\"" NOW_EST
        "\",\"detected_at_raw\":\"yesterday \\\"noon\\\"\"}");
    struct change_event ev =
        taken(&(struct given){.body = "{\"watch_id\":\"w\",\"watch_url\":\"u\"}", .token = true});
    cr_expect_eq(ev.detected_at, NOW);
    cr_expect(!strstr(ev.metadata, "detected_at_raw"), "%s", ev.metadata);
    event_release(&ev);
}

Test(hook, changedetection_ios_names_are_understood_but_the_contracts_win)
{
    expect_event(&(struct given){.body = "{\"watch_uuid\":\"u1\",\"watch_url\":\"u\","
                                         "\"change_datetime\":\"2026-11-23 05:34:54 UTC\"}"},
        "u1", "u", NULL, NULL);
    expect_event(&(struct given){.body = "{\"watch_uuid\":\"u1\",\"watch_id\":\"w1\","
                                         "\"watch_url\":\"u\",\"change_datetime\":\"never\","
                                         "\"detected_at\":\"2026-01-02\"}"},
        "w1", "u", NULL, NULL);
}

/* --- faults of a payload ----------------------------------------------------------------- */

Test(hook, a_faulty_payload_is_told_by_field_and_fault)
{
    static const struct {
        const char *body, *msg;
    } rows[] = {
        {"{}",                                                                  "watch_id: field required"     },
        {"{\"watch_id\":null}",                                                 "watch_id: field required"     },
        {"{\"watch_id\":\"w\"}",                                                "watch_url: field required"    },
        {"{\"watch_id\":\"w\",\"watch_url\":\"u\"}",                            "detected_at: field required"  },
        {"{\"watch_id\":1,\"watch_url\":\"u\"}",                                "watch_id: must be a string"   },
        {"{\"watch_uuid\":1,\"watch_url\":\"u\"}",                              "watch_uuid: must be a string" },
        {"{\"watch_id\":\"w\",\"watch_url\":[\"u\"]}",                          "watch_url: must be a string"  },
        {PLAIN ",\"watch_title\":true}",                                        "watch_title: must be a string"},
        {PLAIN ",\"diff_url\":{}}",                                             "diff_url: must be a string"   },
        {PLAIN ",\"snapshot\":5}",                                              "snapshot: must be a string"   },
        {"{\"watch_id\":\"w\",\"watch_url\":\"u\",\"detected_at\":1767323045}",
         "detected_at: must be a string"                                                                       },
        {"[]",                                                                  "must be a JSON object"        },
        {"\"text\"",                                                            "must be a JSON object"        },
        {"null",                                                                "must be a JSON object"        },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        refused(&(struct given){.body = rows[i].body}, rows[i].msg);
        if (i != 3) /* a token makes up for the time, for nothing else */
            refused(&(struct given){.body = rows[i].body, .token = true}, rows[i].msg);
    }
}

Test(hook, what_is_no_json_is_told_by_place_and_remedy)
{
    refused(&(struct given){.body = ""}, "line 1 column 0: the text ends too early; "
                                         "use json:// or post:// with a JSON notification body");
    refused(&(struct given){.body = PLAIN}, "line 1 column 89: the text ends too early; in a "
                                            "template write values as {{ name|tojson }}");
    refused(&(struct given){.body = PLAIN "} x"},
        "line 1 column 92: something follows the JSON text; in a template write values as "
        "{{ name|tojson }}");
    refused(&(struct given){.body = PLAIN ",\"snapshot\":\"a\\u0000b\"}"},
        "line 1 column 111: \\u0000 is not allowed; in a template write values as {{ name|tojson "
        "}}");
    refused(&(struct given){.body = PLAIN ",\"snapshot\":\"\\ud83d\"}"},
        "line 1 column 109: not valid JSON; in a template write values as {{ name|tojson }}");
    refused(&(struct given){.body = PLAIN ",\"snapshot\":\"\xff\"}"},
        "line 1 column 102: not valid UTF-8; in a template write values as {{ name|tojson }}");
}

Test(hook, a_body_with_a_nul_byte_is_refused)
{
    static const char body[] = PLAIN "}\0";
    struct change_event ev;
    struct hl_err err;
    cr_assert_eq(
        read_given(&(struct given){.body = body, .len = sizeof(body) - 1}, &ev, &err), HL_FATAL);
}

Test(hook, depth_is_bounded)
{
    char *open = repeat("[", 100000);
    struct change_event ev;
    struct hl_err err;
    cr_expect_eq(read_given(&(struct given){.body = open}, &ev, &err), HL_FATAL);
    cr_expect(strstr(err.msg, "nested deeper"), "%s", err.msg);
    free(open);
}

/* --- limits ------------------------------------------------------------------------------ */

static char *payload(const char *id, const char *url, const char *diff_url, const char *snapshot)
{
    return mem_printf("{\"watch_id\":\"%s\",\"watch_url\":\"%s\",\"diff_url\":\"%s\","
                      "\"snapshot\":\"%s\",\"detected_at\":\"2026-01-02\"}",
        id, url, diff_url, snapshot);
}

static const struct limit {
    int field; /* 0 watch_id, 1 watch_url, 2 diff_url */
    const char *unit;
    size_t times;
    const char *msg; /* NULL = fits */
} limits[] = {
    {0, "x",        255,  NULL                              },
    {0, "\xc3\xa9", 255,  NULL                              }, /* characters, not bytes */
    {0, "x",        256,  "watch_id: at most 255 characters"},
    {0, "\xc3\xa9", 256,  "watch_id: at most 255 characters"},
    {1, "x",        8192, NULL                              },
    {1, "x",        8193, "watch_url: at most 8192 bytes"   },
    {1, "\xc3\xa9", 4097, "watch_url: at most 8192 bytes"   },
    {2, "x",        8192, NULL                              },
    {2, "x",        8193, "diff_url: at most 8192 bytes"    },
};

Test(hook, what_would_not_fit_its_column_is_refused)
{
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const char *f[] = {"w", "u", "d"};
        char *text = repeat(limits[i].unit, limits[i].times);
        f[limits[i].field] = text;
        char *body = payload(f[0], f[1], f[2], "");
        if (limits[i].msg)
            refused(&(struct given){.body = body}, limits[i].msg);
        else
            expect_event(&(struct given){.body = body}, f[0], f[1], NULL, f[2]);
        free(body);
        free(text);
    }
}

Test(hook, diff_summary_is_500_code_points_whatever_their_width)
{
    static const char *const units[] = {"x", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x8e\xa3"};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        for (size_t n = 499; n <= 501; n++) {
            char *snapshot = repeat(units[i], n), *want = repeat(units[i], n > 500 ? 500 : n);
            char *body = payload("w", "u", "", snapshot), size[32];
            struct change_event ev = taken(&(struct given){.body = body});
            SAME(ev.diff_summary, want);
            snprintf(size, sizeof(size), "\"diff_size\":%zu,", n);
            cr_expect(strstr(ev.metadata, size), "%s in %s", size, ev.metadata);
            event_release(&ev);
            free(body);
            free(snapshot);
            free(want);
        }
    }
}

Test(hook, a_long_title_is_cut_between_characters)
{
    char *title = repeat("\xe6\x97\xa5", 2000), *want = repeat("\xe6\x97\xa5", 4096 / 3);
    char *body = mem_printf(PLAIN ",\"watch_title\":\"%s\"}", title);
    struct change_event ev = taken(&(struct given){.body = body});
    struct hl_err err;
    json_t *metadata = json_parse(ev.metadata, strlen(ev.metadata), &err);
    SAME(json_get_string(metadata, "watch_title"), want);
    json_decref(metadata);
    event_release(&ev);
    free(body);
    free(want);
    free(title);
}

/* Whatever is taken must pass the job's decoder, which checks every limit again. */
Test(hook, the_largest_event_fits_a_job)
{
    char *id = repeat("\xf0\x9f\x8e\xa3", 255), *url = repeat("x", 8192);
    char *title = repeat("\\u0001", 5000), *snapshot = repeat("\xf0\x9f\x8e\xa3", 100000);
    char *time = repeat("\\u0001", 1000);
    char *body = mem_printf("{\"watch_id\":\"%s\",\"watch_url\":\"%s\",\"diff_url\":\"%s\","
                            "\"snapshot\":\"%s\",\"watch_title\":\"%s\",\"detected_at\":\"%s\"}",
        id, url, url, snapshot, title, time);
    struct change_event ev = taken(&(struct given){.body = body, .token = true}), copy;
    struct buf job = {0};
    struct hl_err err;
    event_encode(&ev, &job);
    cr_expect_eq(event_decode(job.data, job.len, &copy, &err), HL_OK, "%s", err.msg);
    event_release(&copy);
    event_release(&ev);
    buf_release(&job);
    char *all[] = {id, url, title, snapshot, time, body};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* --- what changedetection.io makes of a template ----------------------------------------- */

/* Its tojson escapes < > & ' and all that is not ASCII. */
Test(hook, escapes_of_tojson_come_out_as_text)
{
    expect_event(
        &(struct given){.body = "{\n \"watch_uuid\": \"7a1c\",\n"
                                " \"watch_url\": \"http://shop.example/?a=1\\u0026b=2\",\n"
                                " \"watch_title\": \"\\u65e5\\u672c\", \"tags\": \"bridge\",\n"
                                " \"diff\": \"(changed) v1\\n(into) v2\",\n"
                                " \"diff_url\": \"http://cd.example:5000/diff/7a1c\",\n"
                                " \"snapshot\": \"caf\\u00e9 \\u2013 \\ud83c\\udfa3 \\u003cb\\u003e"
                                " it\\u0027s \\\"now\\\" back\\\\slash {{7*7}}\\n\",\n"
                                " \"change_datetime\": \"2026-11-23 05:34:54 UTC\"\n}",
            .query = "foo=bar&watch=7a1c&format=text",
            .content_type = "application/json; charset=utf-8"},
        "7a1c", "http://shop.example/?a=1&b=2",
        "caf\xc3\xa9 \xe2\x80\x93 \xf0\x9f\x8e\xa3 <b> it's \"now\" back\\slash {{7*7}}\n",
        "http://cd.example:5000/diff/7a1c");
}

/* json:// of apprise: the payload is JSON text within JSON. */
#define ENVELOPE(message)                                                                          \
    "{\"version\": \"1.0\", \"title\": \"T http://shop.example/\", \"message\": \"" message        \
    "\", \"attachments\": [], \"type\": \"info\"}"
#define INNER                                                                                      \
    "{\\n \\\"watch_uuid\\\": \\\"7a1c\\\", \\\"watch_url\\\": \\\"http://shop.example/\\\", "     \
    "\\\"snapshot\\\": \\\"\\\\u65e5 \\\\\\\"now\\\\\\\"\\\", "                                    \
    "\\\"change_datetime\\\": \\\"2026-11-23 05:34:54 UTC\\\"}"

Test(hook, the_payload_in_an_envelope_is_unwrapped)
{
    expect_event(&(struct given){.body = ENVELOPE(INNER), .content_type = "application/json"},
        "7a1c", "http://shop.example/", "\xe6\x97\xa5 \"now\"", NULL);
}

Test(hook, a_payload_that_has_a_message_of_its_own_is_no_envelope)
{
    expect_event(&(struct given){.body = PLAIN ",\"version\":\"1.0\",\"message\":\"{}\"}"}, "w1",
        "https://example.com/a", NULL, NULL);
}

Test(hook, an_envelope_around_something_else_says_what_to_change)
{
    static const char use[] = "; use json:// or post:// with a JSON notification body";
    struct change_event ev;
    struct hl_err err;
    cr_expect_eq(read_given(&(struct given){.body = ENVELOPE("http://shop.example/ had a change.\\n"
                                                             "---\\n(into) v2\\n---\\n")},
                     &ev, &err),
        HL_FATAL);
    cr_expect(strstr(err.msg, use), "%s", err.msg);
    refused(&(struct given){.body = ENVELOPE("{<br>\\n \\\"watch_uuid\\\": \\\"7a1c\\\"<br>\\n}")},
        "the JSON was broken by an HTML format: set the notification format to Plain Text");
    refused(&(struct given){.body = ENVELOPE("[]")}, "must be a JSON object");
    /* :message=msg renames the field: nothing is left that could be unwrapped */
    refused(&(struct given){.body = "{\"version\":\"1.0\",\"title\":\"T\",\"msg\":\"plain body\"}"},
        "watch_id: field required");
}

#define HTMLCOLOR                                                                                  \
    "{<br>\n \"watch_uuid\": \"7a1c\",<br>\n \"watch_url\": \"http://shop.example/\",<br>\n"       \
    " \"diff\": \"<span style=\"background-color: #fadad7;\" role=\"note\">v1</span>\",<br>\n"     \
    " \"snapshot\": \"Nav\\n&nbsp;&nbsp;* one\"<br>\n}"
#define NAIVE                                                                                      \
    "{\"url\":\"http://shop.example/\",\"snap\":\"Nav\nSite header\n\nv2 price \"now\" \xc2\xa3"   \
    "9 back\\slash\n\n<b>x</b> line\nFooter\"}"
#define DEFAULT_TEXT                                                                               \
    "http://shop.example/ had a change.\n---\n(changed) v1\n(into) v2 price \"now\" \xc2\xa3"      \
    "9\n(into) <b>x</b> line\n---\n"
#define FORM                                                                                       \
    "version=1.0&title=T+http%3A%2F%2Fshop.example&message=%7B%0A+%22watch_uuid%22%3A+%227a1c%22"  \
    "%7D&type=info"
#define XML                                                                                        \
    "<?xml version='1.0' encoding='utf-8'?>\n<soapenv:Envelope xmlns:soapenv=\"http://schemas."    \
    "xmlsoap.org/soap/envelope/\">\n<soapenv:Body><Notification><Version>1.1</Version>"            \
    "<Message>{&quot;watch_uuid&quot;:1}</Message></Notification></soapenv:Body></"                \
    "soapenv:Envelope>"

static const struct shape {
    const char *name, *body, *content_type, *msg;
} shapes[] = {
    {"htmlcolor",    HTMLCOLOR,                                 NULL,
     "the JSON was broken by an HTML format: set the notification format to Plain Text"     },
    {"html",         "{<br>\n \"watch_uuid\": \"7a1c\"<br>\n}", NULL,
     "the JSON was broken by an HTML format: set the notification format to Plain Text"     },
    {"markdown",     "<p>{\n \"watch_uuid\": \"7a1c\"\n}</p>",  NULL,
     "the JSON was broken by an HTML format: set the notification format to Plain Text"     },
    {"form",         FORM,                                      "application/x-www-form-urlencoded",
     "the body is a form (form://); use json:// or post:// with a JSON notification body"   },
    {"form unnamed", FORM,                                      NULL,
     "the body is a form (form://); use json:// or post:// with a JSON notification body"   },
    {"xml",          XML,                                       "application/xml",
     "the body is XML (xml://); use json:// or post:// with a JSON notification body"       },
    {"xml unnamed",  "\r\n" XML,                                NULL,
     "the body is XML (xml://); use json:// or post:// with a JSON notification body"       },
    {"naive",        NAIVE,                                     NULL,
     "line 1 column 41: not valid JSON; in a template write values as {{ name|tojson }}"    },
    {"default text", DEFAULT_TEXT,                              NULL,
     "line 1 column 4: not valid JSON; use json:// or post:// with a JSON notification body"},
};

Test(hook, each_broken_shape_says_what_to_change)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct given g = {
            .body = shapes[i].body, .content_type = shapes[i].content_type, .query = "format=html"};
        refused(&g, shapes[i].msg);
        g.token = true;
        refused(&g, shapes[i].msg);
    }
}

Test(hook, a_wrong_content_type_does_not_matter)
{
    static const char *const types[] = {"", "text/plain", "application/x-www-form-urlencoded",
        "application/xml", "multipart/form-data; boundary=x"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        expect_event(&(struct given){.body = PLAIN "}", .content_type = types[i]}, "w1",
            "https://example.com/a", NULL, NULL);
}

/* --- identity in the query --------------------------------------------------------------- */

#define IDENTITY                                                                                   \
    "watch_id=7a1c&watch_url=http%3A%2F%2Fshop.example%2F%3Fa%3D1%26b&title=My+shop&format=html"

Test(hook, with_identity_in_the_query_any_body_is_the_snapshot)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        expect_event(&(struct given){.body = shapes[i].body,
                         .content_type = shapes[i].content_type,
                         .query = IDENTITY,
                         .token = true},
            "7a1c", "http://shop.example/?a=1&b", shapes[i].body, NULL);
    expect_event(&(struct given){.body = "", .query = IDENTITY, .token = true}, "7a1c",
        "http://shop.example/?a=1&b", NULL, NULL);
    expect_event(&(struct given){.body = "[1,2]", .query = IDENTITY, .token = true}, "7a1c",
        "http://shop.example/?a=1&b", "[1,2]", NULL);
}

Test(hook, the_text_of_an_envelope_is_the_snapshot)
{
    expect_event(
        &(struct given){.body = ENVELOPE("had a change.\\nv2"), .query = IDENTITY, .token = true},
        "7a1c", "http://shop.example/?a=1&b", "had a change.\nv2", NULL);
}

Test(hook, a_payload_adds_what_the_query_left_open)
{
    struct change_event ev = taken(&(struct given){
        .body = "{\"watch_id\":\"other\",\"watch_url\":\"http://other/\",\"snapshot\":\"text\","
                "\"watch_title\":\"theirs\",\"diff_url\":\"http://cd/"
                "diff\",\"detected_at\":\"2026-01-02\"}",
        .query = IDENTITY,
        .token = true});
    SAME(ev.watch_id, "7a1c");
    SAME(ev.watch_url, "http://shop.example/?a=1&b");
    SAME(ev.diff_summary, "text");
    SAME(ev.snapshot_url, "http://cd/diff");
    cr_expect_eq(ev.detected_at, INT64_C(1767312000000000));
    cr_expect(strstr(ev.metadata, "\"watch_title\":\"My shop\""), "%s", ev.metadata);
    event_release(&ev);
}

Test(hook, a_payload_in_an_envelope_adds_what_the_query_left_open)
{
    expect_event(&(struct given){.body = ENVELOPE(INNER), .query = IDENTITY, .token = true}, "7a1c",
        "http://shop.example/?a=1&b", "\xe6\x97\xa5 \"now\"", NULL);
}

Test(hook, bytes_that_are_no_text_are_replaced_in_a_snapshot_and_in_the_query)
{
    static const char body[] = "a\0b\xff";
    struct change_event ev = taken(&(struct given){.body = body,
        .len = sizeof(body) - 1,
        .query = "watch_uuid=w%FF%00&watch_url=http://x/",
        .token = true});
    SAME(ev.watch_id, "w\xef\xbf\xbd");
    SAME(ev.diff_summary, "ab\xef\xbf\xbd");
    event_release(&ev);
}

Test(hook, the_other_fields_may_be_in_the_query_too)
{
    struct change_event ev = taken(&(struct given){.body = "x",
        .query = "watch_uuid=w&watch_url=u&change_datetime=2026-01-02+03%3A04%3A05+UTC"
                 "&diff_url=http%3A%2F%2Fcd%2F1",
        .token = true});
    cr_expect_eq(ev.detected_at, INT64_C(1767323045000000));
    SAME(ev.snapshot_url, "http://cd/1");
    event_release(&ev);
}

Test(hook, half_an_identity_in_the_query_is_none)
{
    static const char *const queries[] = {"watch_id=7a1c", "watch_url=http://x/",
        "watch_id=&watch_url=http://x/", "watch_id=7a1c&watch_url="};
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        expect_event(&(struct given){.body = PLAIN "}", .query = queries[i], .token = true}, "w1",
            "https://example.com/a", NULL, NULL);
        refused(&(struct given){.body = "{}", .query = queries[i], .token = true},
            "watch_id: field required");
    }
}

Test(hook, a_signature_does_not_cover_the_query_which_is_ignored)
{
    expect_event(&(struct given){.body = PLAIN "}", .query = IDENTITY}, "w1",
        "https://example.com/a", NULL, NULL);
    refused(&(struct given){.body = "{}", .query = IDENTITY}, "watch_id: field required");
}

Test(hook, limits_hold_for_the_query_too)
{
    char *id = repeat("x", 256), *query = mem_printf("watch_id=%s&watch_url=u", id);
    refused(&(struct given){.body = "x", .query = query, .token = true},
        "watch_id: at most 255 characters");
    free(query);
    free(id);
}

/* --- which event it is ------------------------------------------------------------------- */

struct keyed {
    struct given g;
    const char *webhook_id, *idempotency_key;
    bool no_dedup;
};

static enum hl_rc identify(
    const struct keyed *k, struct change_event *ev, struct identity *who, struct hl_err *err)
{
    *ev = (struct change_event){0};
    const struct hook_input in = {.body = k->g.body,
        .len = strlen(k->g.body),
        .query = k->g.query ? k->g.query : "",
        .content_type = "",
        .signature = k->g.token ? NULL : SIGNATURE,
        .now = NOW,
        .webhook_id = k->webhook_id,
        .idempotency_key = k->idempotency_key,
        .dedup = !k->no_dedup};
    return hook_read(&in, ev, who, err);
}

/* "" for an event of its own; otherwise what is remembered as seen, and the id is fixed. */
static const char *seen_of(const struct keyed *k)
{
    static struct identity who[8];
    static int at;
    struct identity again, *first = &who[at++ % 8];
    struct change_event ev;
    struct hl_err err;

    cr_assert_eq(identify(k, &ev, first, &err), HL_OK, "%s", err.msg);
    cr_expect(uuid_equal(&ev.id, &first->id));
    event_release(&ev);
    cr_assert_eq(identify(k, &ev, &again, &err), HL_OK);
    event_release(&ev);
    cr_expect_str_eq(again.seen, first->seen);
    cr_expect_eq(uuid_equal(&again.id, &first->id), first->seen[0] != '\0');
    cr_expect_eq(first->id.b[6] >> 4, first->seen[0] ? 8 : 7, "the id's version");
    return first->seen;
}

#define ID_SEEN(sha) "changedetection:id:" sha
#define SHA_K1       "6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0" /* of k1 */
#define SIMPLE       "{\"watch_id\":\"w1\",\"watch_url\":\"https://example.com/a\","
#define TIMED        SIMPLE "\"detected_at\":\"2026-01-02T03:04:05Z\"}"

Test(hook, a_key_of_the_sender_names_the_event_in_this_order)
{
    /* clang-format off */
    static const struct keyed same[] = {
        {.g = {.body = PLAIN "}"}, .webhook_id = "k1"},
        {.g = {.body = PLAIN "}"}, .idempotency_key = "k1"},
        {.g = {.body = PLAIN "}"}, .webhook_id = "k1", .idempotency_key = "k2"},
        {.g = {.body = PLAIN "}"}, .webhook_id = "", .idempotency_key = "k1"},
        {.g = {.body = PLAIN ",\"webhookId\":\"k2\"}"}, .idempotency_key = "k1"},
        {.g = {.body = PLAIN ",\"webhookId\":\"k1\"}"}},
        {.g = {.body = PLAIN ",\"scrapeId\":\"k1\"}"}},
        {.g = {.body = PLAIN ",\"webhookId\":\"k1\",\"scrapeId\":\"k2\"}"}},
        {.g = {.body = PLAIN ",\"webhookId\":null,\"scrapeId\":\"k1\"}"}},
        {.g = {.body = PLAIN ",\"webhookId\":\"\",\"scrapeId\":\"k1\"}"}},
        {.g = {.body = SIMPLE "\"webhookId\":\"k1\"}", .token = true}}, /* no time is needed */
        {.g = {.body = "{\"version\":\"1.0\",\"message\":\"{\\\"watch_id\\\":\\\"w\\\","
                       "\\\"watch_url\\\":\\\"u\\\",\\\"webhookId\\\":\\\"k1\\\"}\"}", .token = true}},
        {.g = {.body = "{\"webhookId\":\"k1\"}", .query = "watch_id=w&watch_url=u", .token = true}},
        {.g = {.body = PLAIN "}"}, .webhook_id = "k1", .no_dedup = true},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        cr_expect_str_eq(seen_of(&same[i]), ID_SEEN(SHA_K1), "row %zu", i);
    const struct keyed other = {.g = {.body = PLAIN "}"}, .webhook_id = "k2"};
    cr_expect_str_neq(seen_of(&other), ID_SEEN(SHA_K1));
}

Test(hook, ids_of_keys_and_bytes_stay_what_they_are)
{
    /* clang-format off */
    static const struct {
        struct keyed k;
        const char *id;
    } rows[] = {
        {{.g = {.body = TIMED}, .webhook_id = "k1"}, "8b46cff3-72e0-8dbb-aed0-8ebab025716b"},
        {{.g = {.body = TIMED}},                     "ce96a37a-98c1-8ceb-bbc4-7cb9816d03ea"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct change_event ev;
        struct identity who;
        struct hl_err err;
        char id[UUID_STRLEN + 1];
        cr_assert_eq(identify(&rows[i].k, &ev, &who, &err), HL_OK);
        uuid_format(&ev.id, id);
        cr_expect_str_eq(id, rows[i].id, "%s", id);
        event_release(&ev);
    }
}

Test(hook, equal_bytes_are_one_event_only_where_they_carry_a_time_of_the_senders)
{
    /* clang-format off */
    static const struct {
        struct keyed k;
        bool one;
    } rows[] = {
        {{.g = {.body = TIMED}}, true},
        {{.g = {.body = TIMED}, .no_dedup = true}, false},
        {{.g = {.body = TIMED, .token = true}}, true},
        {{.g = {.body = SIMPLE "\"change_datetime\":\"2026-01-02 03:04:05 UTC\"}",
              .token = true}}, true},
        {{.g = {.body = SIMPLE "\"detected_at\":\"2026-01-02\"}"}}, false}, /* a day is no time */
        {{.g = {.body = SIMPLE "\"detected_at\":\" 2026-01-02 \"}"}}, false},
        {{.g = {.body = SIMPLE "\"detected_at\":\"yesterday\"}", .token = true}}, false},
        {{.g = {.body = SIMPLE "\"detected_at\":null}", .token = true}}, false},
        {{.g = {.body = SIMPLE "\"webhookId\":7}", .token = true}}, false},
        {{.g = {.body = "changed", .query = "watch_id=w&watch_url=u", .token = true}}, false},
        {{.g = {.body = "changed",
              .query = "watch_id=w&watch_url=u&detected_at=2026-01-02T03:04:05Z",
              .token = true}}, true},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_expect_eq(seen_of(&rows[i].k)[0] != '\0', rows[i].one, "row %zu", i);
}

Test(hook, a_query_that_counts_is_part_of_the_bytes)
{
    static const char time[] = "&detected_at=2026-01-02T03:04:05Z";
    struct keyed a =
                     {
                         .g = {.body = "changed", .token = true}
    },
                 b = a;
    char of_a[80], of_b[80];
    snprintf(of_a, sizeof(of_a), "watch_id=w&watch_url=a%s", time);
    snprintf(of_b, sizeof(of_b), "watch_id=w&watch_url=b%s", time);
    a.g.query = of_a;
    b.g.query = of_b;
    cr_expect_str_neq(seen_of(&a), seen_of(&b));

    struct change_event ev, other;
    struct identity who;
    struct hl_err err;
    cr_assert_eq(identify(&a, &ev, &who, &err), HL_OK);
    cr_assert_eq(identify(&b, &other, &who, &err), HL_OK);
    cr_expect_arr_neq(ev.body_digest, other.body_digest, DIGEST_LEN);
    event_release(&ev);
    event_release(&other);

    const struct keyed plain =
                           {
                               .g = {.body = TIMED}
    },
                       unheeded = {.g = {.body = TIMED, .query = "watch_id=w&watch_url=a"}};
    cr_expect_str_eq(seen_of(&plain), seen_of(&unheeded), "a signed request's query says nothing");
}

Test(hook, a_key_beyond_the_limit_is_refused_by_name)
{
    char *longest = repeat("k", 255), *longer = repeat("k", 256);
    struct buf body = {0};
    buf_printf(&body, PLAIN ",\"scrapeId\":\"%s\"}", longer);
    const struct keyed fits = {.g = {.body = PLAIN "}"}, .webhook_id = longest};
    cr_expect_neq(seen_of(&fits)[0], '\0');
    /* clang-format off */
    const struct {
        struct keyed k;
        const char *msg;
    } rows[] = {
        {{.g = {.body = PLAIN "}"}, .webhook_id = longer}, "webhook-id: at most 255 bytes"},
        {{.g = {.body = PLAIN "}"}, .idempotency_key = longer},
         "Idempotency-Key: at most 255 bytes"},
        {{.g = {.body = buf_str(&body)}}, "webhookId or scrapeId: at most 255 bytes"},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct change_event ev;
        struct identity who;
        struct hl_err err;
        cr_expect_eq(identify(&rows[i].k, &ev, &who, &err), HL_FATAL);
        cr_expect_str_eq(err.msg, rows[i].msg, "%s", err.msg);
    }
    buf_release(&body);
    free(longest);
    free(longer);
}
