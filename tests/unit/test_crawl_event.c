#include "base/crawl_event.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct crawl_event ev;
static struct buf problems;
static struct hl_err err;

static void forget(void)
{
    crawl_event_release(&ev);
    buf_release(&problems);
}
TestSuite(crawl_event, .fini = forget);

static enum crawl_verdict read_bytes(const char *body, size_t len)
{
    char *copy = mem_alloc(len + 1); /* of the exact size: the sanitizer sees who reads on */
    memcpy(copy, body, len);
    copy[len] = '\0';
    forget();
    enum crawl_verdict v = crawl_event_read(copy, len, &ev, &problems, &err);
    free(copy);
    return v;
}

static enum crawl_verdict read_text(const char *body)
{
    return read_bytes(body, strlen(body));
}

static void assert_same(const char *a, const char *b)
{
    cr_assert_eq(!a, !b, "%s, not %s", a ? a : "NULL", b ? b : "NULL");
    if (a)
        cr_assert_str_eq(a, b);
}

/* "{}" grown by members; each test says only what it is about. */
#define DOC(more) "{\"metadata\":{\"url\":\"https://e.com/\",\"statusCode\":200" more "}}"
#define PAGE(documents)                                                                            \
    "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c1\",\"data\":[" documents "]}"

/* --- what is accepted -------------------------------------------------------------------- */

Test(crawl_event, of_every_type_is_read)
{
    static const struct {
        const char *type, *family;
        enum crawl_kind kind;
    } types[] = {
        {"crawl.started",           "crawl",        CRAWL_STARTED  },
        {"crawl.page",              "crawl",        CRAWL_PAGE     },
        {"crawl.completed",         "crawl",        CRAWL_COMPLETED},
        {"crawl.failed",            "crawl",        CRAWL_FAILED   },
        {"crawl.cancelled",         "crawl",        CRAWL_CANCELLED},
        {"batch_scrape.started",    "batch_scrape", CRAWL_STARTED  },
        {"batch_scrape.page",       "batch_scrape", CRAWL_PAGE     },
        {"batch_scrape.completed",  "batch_scrape", CRAWL_COMPLETED},
        {"batch_scrape.failed",     "batch_scrape", CRAWL_FAILED   },
        {"extract.started",         "extract",      CRAWL_STARTED  },
        {"extract.completed",       "extract",      CRAWL_COMPLETED},
        {"extract.failed",          "extract",      CRAWL_FAILED   },
        {"agent.action",            "agent",        CRAWL_OTHER    },
        {"monitor.page",            "monitor",      CRAWL_OTHER    },
        {"monitor.check.completed", "monitor",      CRAWL_OTHER    },
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        char body[200], family[20];
        snprintf(
            body, sizeof(body), "{\"success\":true,\"type\":\"%s\",\"id\":\"c1\"}", types[i].type);
        cr_assert_eq(read_text(body), CRAWL_OK, "%s: %s", types[i].type, buf_str(&problems));
        cr_assert_eq(ev.kind, types[i].kind, "%s", types[i].type);
        cr_assert_str_eq(ev.type, types[i].type);
        cr_assert_str_eq(ev.id, "c1");
        cr_assert(ev.success && !ev.metadata && !ev.error && !ev.webhook_id && !ev.ndocuments);
        crawl_event_family(&ev, family, sizeof(family));
        cr_assert_str_eq(family, types[i].family);
        cr_assert_eq(problems.len, 0);
    }
}

Test(crawl_event, a_page_that_holds_nul_characters_is_read_without_them)
{
    cr_assert_eq(read_text(PAGE("{\"markdown\":\"\\u0000a\\u0000b\",\"html\":\"\\u0000\","
                                "\"metadata\":{\"url\":\"https://e.com/\",\"statusCode\":200,"
                                "\"other\":[{\"deep\":\"\\u0000\"}]}}")),
        CRAWL_OK);
    assert_same(ev.documents[0].markdown, "ab");
    assert_same(ev.documents[0].html, "");
    char *text = json_dumps(ev.tree, 0);
    cr_assert(text && !strstr(text, "u0000"), "nowhere");
    free(text);
}

Test(crawl_event, gives_the_members_of_its_documents)
{
    cr_assert_eq(read_text(PAGE("{\"markdown\":\"# M\",\"html\":null,\"links\":[1],\"metadata\":{"
                                "\"url\":\"https://e.com/b\",\"sourceURL\":\"https://e.com/a\","
                                "\"statusCode\":404,\"title\":\"T\",\"description\":\"D\","
                                "\"language\":\"de\",\"scrapeId\":\"s1\",\"proxyUsed\":\"basic\","
                                "\"cacheState\":\"hit\",\"cachedAt\":null,\"creditsUsed\":1,"
                                "\"ogTitle\":7}}," DOC(""))),
        CRAWL_OK);
    cr_assert_eq(ev.ndocuments, 2);
    const struct crawl_document *d = &ev.documents[0];
    assert_same(d->url, "https://e.com/b");
    assert_same(d->source_url, "https://e.com/a");
    assert_same(d->markdown, "# M");
    assert_same(d->html, NULL);
    assert_same(d->title, "T");
    assert_same(d->description, "D");
    assert_same(d->language, "de");
    assert_same(d->scrape_id, "s1");
    cr_assert_eq(d->status_code, 404);
    assert_same(json_get_string(d->metadata, "proxyUsed"), "basic");
    d = &ev.documents[1];
    assert_same(d->url, "https://e.com/");
    cr_assert(!d->source_url && !d->markdown && !d->title && !d->scrape_id);
    cr_assert_eq(d->status_code, 200);
}

Test(crawl_event, of_the_oldest_version_has_its_id_under_jobId)
{
    cr_assert_eq(
        read_text("{\"success\":true,\"type\":\"crawl.started\",\"jobId\":\"j\"}"), CRAWL_OK);
    assert_same(ev.id, "j");
    read_text("{\"success\":true,\"type\":\"crawl.started\",\"jobId\":\"j\",\"id\":\"i\"}");
    assert_same(ev.id, "i");
    read_text("{\"success\":true,\"type\":\"crawl.started\",\"jobId\":\"j\",\"id\":null}");
    assert_same(ev.id, "j");
}

Test(crawl_event, has_values_coerced_as_the_contract_says)
{
    static const struct {
        const char *success;
        bool is;
    } bools[] = {
        {"true",      true },
        {"1",         true },
        {"1.0",       true },
        {"\"true\"",  true },
        {"\"YES\"",   true },
        {"\"on\"",    true },
        {"\"t\"",     true },
        {"\"1\"",     true },
        {"0",         false},
        {"0.0",       false},
        {"\"false\"", false},
        {"\"False\"", false},
        {"\"no\"",    false},
        {"\"off\"",   false},
        {"\"f\"",     false},
        {"\"n\"",     false},
        {"\"0\"",     false},
        {"\"y\"",     true },
    };
    for (size_t i = 0; i < sizeof(bools) / sizeof(*bools); i++) {
        char body[200];
        snprintf(body, sizeof(body), "{\"success\":%s,\"type\":\"crawl.page\",\"id\":\"c\"}",
            bools[i].success);
        cr_assert_eq(read_text(body), CRAWL_OK, "%s", bools[i].success);
        cr_assert_eq(ev.success, bools[i].is, "%s", bools[i].success);
    }
    static const struct {
        const char *status;
        int64_t is;
    } ints[] = {
        {"\"404\"",  404},
        {"\" -1 \"", -1 },
        {"200.0",    200},
        {"true",     1  },
        {"0",        0  }
    };
    for (size_t i = 0; i < sizeof(ints) / sizeof(*ints); i++) {
        char body[300];
        snprintf(body, sizeof(body), PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":%s}}"),
            ints[i].status);
        cr_assert_eq(read_text(body), CRAWL_OK, "%s", ints[i].status);
        cr_assert_eq(ev.documents[0].status_code, ints[i].is, "%s", ints[i].status);
    }
}

Test(crawl_event, of_an_unknown_type_is_accepted_whatever_its_data)
{
    cr_assert_eq(read_text("{\"success\":true,\"type\":\"monitor.page\",\"id\":\"m\","
                           "\"data\":{\"a\":1},\"metadata\":[],\"error\":5}"),
        CRAWL_OK);
    cr_assert(!ev.metadata && !ev.error && !ev.ndocuments);
}

Test(crawl_event, without_success_short_cuts_before_all_validation)
{
    cr_assert_eq(read_text("{\"success\":false,\"type\":\"extract.failed\",\"id\":\"x\","
                           "\"webhookId\":\"w\",\"data\":[7],\"error\":\"boom\",\"metadata\":{}}"),
        CRAWL_UNSUCCESSFUL);
    assert_same(ev.type, "extract.failed");
    assert_same(ev.id, "x");
    assert_same(ev.error, "boom");
    assert_same(ev.webhook_id, "w");
    cr_assert(ev.kind == CRAWL_FAILED && ev.metadata && !ev.ndocuments && !ev.success);
    cr_assert_eq(problems.len, 0);
    static const char *const others[] = {"{\"success\":false}",
        "{\"success\":false,\"type\":5,\"id\":7,\"data\":null}",
        "{\"success\":false,\"type\":\"no dot\",\"id\":\"\"}",
        "{\"success\":false,\"type\":\"a.b\\nc\",\"id\":\"a\\nb\",\"error\":{},\"metadata\":1}"};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        cr_assert_eq(read_text(others[i]), CRAWL_UNSUCCESSFUL, "%s", others[i]);
        cr_assert(!ev.type && !ev.id && !ev.error && !ev.metadata && ev.kind == CRAWL_OTHER);
    }
}

/* --- what is no JSON object -------------------------------------------------------------- */

Test(crawl_event, that_is_no_json_object_is_told_where)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"",                                                  "line 1 column 0: the text ends too early"        },
        {"[]",                                                "must be a JSON object"                           },
        {"null",                                              "must be a JSON object"                           },
        {"\"text\"",                                          "must be a JSON object"                           },
        {"{\"success\":true,",                                "line 1 column 16: the text ends too early"       },
        {"{\"success\":true,\"data\":null}",                  "data: must be an array, not null"                },
        {"{\"a\":\"x\\u0000y\"}",                             "line 1 column 15: \\u0000 is not allowed"        },
        {"{\"data\":[{\"metadata\":{\"url\":\"\\u0000\"}}]}",
         "line 1 column 36: \\u0000 is not allowed"                                                             },
        {"{\"a\\u0000\":1}",                                  "line 1 column 10: \\u0000 is not allowed"        },
        {"{\"a\":\"\xff\"}",                                  "line 1 column 6: not valid UTF-8"                },
        {"{\"a\":\"\\ud800\"}",                               "line 1 column 13: not valid JSON"                },
        {"{\n\"a\":123456789012345678901234567890}",          "line 2 column 34: number too large"              },
        {"{} {}",                                             "line 1 column 4: something follows the JSON text"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(read_text(cases[i].body), CRAWL_NOT_JSON, "%s", cases[i].body);
        cr_expect_str_eq(err.msg, cases[i].why);
        cr_assert_eq(problems.len, 0);
    }
    cr_assert_eq(read_bytes("{\"a\":\"x\0y\"}", 11), CRAWL_NOT_JSON);
}

Test(crawl_event, that_nests_too_deep_is_no_json)
{
    struct buf b = {0};
    buf_puts(&b, "{\"success\":true,\"data\":");
    for (int i = 0; i < 100000; i++)
        buf_putc(&b, '[');
    cr_assert_eq(read_bytes(b.data, b.len), CRAWL_NOT_JSON);
    cr_assert_str_eq(err.msg, "line 1 column 87: nested deeper than 64 levels");
    buf_release(&b);
}

/* --- what is of another shape ------------------------------------------------------------ */

#define ONE(type, loc, msg, input)                                                                 \
    "[{\"type\":\"" type "\",\"loc\":[" loc "],\"msg\":\"" msg "\",\"input\":" input "}]"

Test(crawl_event, of_another_shape_is_told_which_member)
{
    static const struct {
        const char *body, *problems;
    } cases[] = {
        {"{\"type\":\"crawl.page\",\"id\":\"c\"}",                                         ONE("missing",     "\"success\"",                             "Field required",
         "{\"type\":\"crawl.page\",\"id\":\"c\"}")                                                                                                                                                                                     },
        {"{\"success\":null,\"type\":\"crawl.page\",\"id\":\"c\"}",
         ONE("bool_type",                                                                                     "\"success\"",                             "Input should be a valid boolean",          "null")                           },
        {"{\"success\":\"maybe\",\"type\":\"crawl.page\",\"id\":\"c\"}",
         ONE("bool_parsing",                                                                                  "\"success\"",
         "Input should be a valid boolean, unable to interpret input",                                                                                                                               "\"maybe\"")                      },
        {"{\"success\":2,\"type\":\"crawl.page\",\"id\":\"c\"}",
         ONE("bool_parsing",                                                                                  "\"success\"",
         "Input should be a valid boolean, unable to interpret input",                                                                                                                               "2")                              },
        {"{\"success\":true,\"id\":\"c\"}",
         ONE("missing",                                                                                       "\"type\"",                                "Field required",                           "{\"success\":true,\"id\":\"c\"}")},
        {"{\"success\":true,\"type\":7,\"id\":\"c\"}",
         ONE("string_type",                                                                                   "\"type\"",                                "Input should be a valid string",           "7")                              },
        {"{\"success\":true,\"type\":\"page\",\"id\":\"c\"}",
         ONE("string_pattern_mismatch",                                                                       "\"type\"",
         "String should match pattern '^[A-Za-z0-9_-]+\\\\.[A-Za-z0-9_.-]+$'",                                                                                                                       "\"page\"")                       },
        {"{\"success\":true,\"type\":\"crawl.page\"}",
         ONE("missing",                                                                                       "\"id\"",                                  "Field required",
         "{\"success\":true,\"type\":\"crawl.page\"}")                                                                                                                                                                                 },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":5}",
         ONE("string_type",                                                                                   "\"id\"",                                  "Input should be a valid string",           "5")                              },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":null}",
         ONE("string_type",                                                                                   "\"id\"",                                  "Input should be a valid string",           "null")                           },
        {"{\"success\":true,\"type\":\"crawl.page\",\"jobId\":\"\"}",
         ONE("string_too_short",                                                                              "\"jobId\"",                               "String should have at least 1 character",
         "\"\"")                                                                                                                                                                                                                       },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"a\\nb\"}",
         ONE("string_pattern_mismatch",                                                                       "\"id\"",                                  "String should hold no control characters",
         "\"a\\nb\"")                                                                                                                                                                                                                  },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"metadata\":null}",
         ONE("dict_type",                                                                                     "\"metadata\"",                            "Input should be a valid dictionary",       "null")                           },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"metadata\":[1]}",
         ONE("dict_type",                                                                                     "\"metadata\"",                            "Input should be a valid dictionary",       "[1]")                            },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"error\":[]}",
         ONE("string_type",                                                                                   "\"error\"",                               "Input should be a valid string",           "[]")                             },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":{}}",
         ONE("list_type",                                                                                     "\"data\"",                                "Input should be a valid list",             "{}")                             },
        {"{\"success\":true,\"type\":\"crawl.started\",\"id\":\"c\",\"data\":[{},\"x\"]}",
         ONE("dict_type",                                                                                     "\"data\",1",                              "Input should be a valid dictionary",       "\"x\"")                          },
        {PAGE("3"),                                                                        ONE("dict_type",   "\"data\",0",                              "Input should be a valid dictionary",       "3")                              },
        {PAGE("{}"),                                                                       ONE("missing",     "\"data\",0,\"metadata\"",                 "Field required",                           "{}")                             },
        {PAGE("{\"metadata\":[]}"),                                                        ONE("dict_type",   "\"data\",0,\"metadata\"",
         "Input should be a valid dictionary",                                                                                                                                                       "[]")                             },
        {PAGE(DOC("") ",{\"metadata\":{\"statusCode\":200}}"),
         ONE("missing",                                                                                       "\"data\",1,\"metadata\",\"url\"",         "Field required",
         "{\"statusCode\":200}")                                                                                                                                                                                                       },
        {PAGE("{\"metadata\":{\"url\":null,\"statusCode\":200}}"),
         ONE("string_type",                                                                                   "\"data\",0,\"metadata\",\"url\"",         "Input should be a valid string",
         "null")                                                                                                                                                                                                                       },
        {PAGE("{\"metadata\":{\"url\":\"\",\"statusCode\":200}}"),
         ONE("string_too_short",                                                                              "\"data\",0,\"metadata\",\"url\"",
         "String should have at least 1 character",                                                                                                                                                  "\"\"")                           },
        {PAGE("{\"metadata\":{\"url\":\"u\"}}"),
         ONE("missing",                                                                                       "\"data\",0,\"metadata\",\"statusCode\"",  "Field required",
         "{\"url\":\"u\"}")                                                                                                                                                                                                            },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":null}}"),
         ONE("int_type",                                                                                      "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be a valid integer",                                                                                                                                                          "null")                           },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":\"ok\"}}"),
         ONE("int_parsing",                                                                                   "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be a valid integer, unable to parse string as an integer",                                                                                                                    "\"ok\"")                         },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":\"+\"}}"),
         ONE("int_parsing",                                                                                   "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be a valid integer, unable to parse string as an integer",                                                                                                                    "\"+\"")                          },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":200.5}}"),
         ONE("int_from_float",                                                                                "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be a valid integer, got a number with a fractional part",                                                                                                                     "200.5")                          },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":2147483648}}"),
         ONE("less_than_equal",                                                                               "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be less than or equal to 2147483647",                                                                                                                                         "2147483648")                     },
        {PAGE("{\"metadata\":{\"url\":\"u\",\"statusCode\":\"-99999999999999999999\"}}"),
         ONE("greater_than_equal",                                                                            "\"data\",0,\"metadata\",\"statusCode\"",
         "Input should be greater than or equal to -2147483648",                                                                                                                                     "\"-99999999999999999999\"")      },
        {PAGE("{\"markdown\":5,\"metadata\":{\"url\":\"u\",\"statusCode\":200}}"),
         ONE("string_type",                                                                                   "\"data\",0,\"markdown\"",                 "Input should be a valid string",           "5")                              },
        {PAGE(DOC(",\"title\":[\"a\"]")),                                                  ONE("string_type", "\"data\",0,\"metadata\",\"title\"",
         "Input should be a valid string",                                                                                                                                                           "[\"a\"]")                        },
        {PAGE(DOC(",\"creditsUsed\":\"x\"")),
         ONE("int_parsing",                                                                                   "\"data\",0,\"metadata\",\"creditsUsed\"",
         "Input should be a valid integer, unable to parse string as an integer",                                                                                                                    "\"x\"")                          },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        cr_assert_eq(read_text(cases[i].body), CRAWL_INVALID, "%s", cases[i].body);
        cr_expect_str_eq(buf_str(&problems), cases[i].problems);
    }
}

Test(crawl_event, refuses_numbers_for_every_text)
{
    static const char *const names[] = {"title", "description", "contentType", "scrapeId",
        "sourceURL", "proxyUsed", "cacheState", "cachedAt", "language", "country"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char body[300], loc[100];
        snprintf(body, sizeof(body), PAGE(DOC(",\"%s\":1")), names[i]);
        snprintf(loc, sizeof(loc), "\"loc\":[\"data\",0,\"metadata\",\"%s\"]", names[i]);
        cr_assert_eq(read_text(body), CRAWL_INVALID, "%s", names[i]);
        cr_assert_not_null(strstr(buf_str(&problems), loc), "%s", buf_str(&problems));
        snprintf(body, sizeof(body), PAGE(DOC(",\"%s\":null")), names[i]);
        cr_assert_eq(read_text(body), CRAWL_OK, "%s may be null", names[i]);
    }
}

Test(crawl_event, has_everything_wrong_reported_together)
{
    cr_assert_eq(read_text("{\"success\":[],\"type\":1,\"data\":2}"), CRAWL_INVALID);
    json_t *all = json_parse(problems.data, problems.len, &err);
    cr_assert_eq(json_array_size(all), 4, "%s", problems.data);
    json_decref(all);
}

/* --- bounds ------------------------------------------------------------------------------ */

static void fill(struct buf *b, const char *unit, size_t n)
{
    while (n--)
        buf_puts(b, unit);
}

Test(crawl_event, may_have_a_thousand_documents_and_no_more)
{
    for (int n = 1000; n <= 10000; n += 9000) {
        struct buf b = {0};
        buf_puts(&b, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[" DOC(""));
        fill(&b, "," DOC(""), (size_t)n - 1);
        buf_puts(&b, "]}");
        cr_assert_eq(read_bytes(b.data, b.len), n == 1000 ? CRAWL_OK : CRAWL_INVALID);
        buf_release(&b);
    }
    cr_assert_not_null(strstr(problems.data,
        "[{\"type\":\"too_long\",\"loc\":[\"data\"],\"msg\":\"List should have at most 1000 items "
        "after validation, not 10000\",\"input\":\"[{"));
    cr_assert_lt(problems.len, 500);
}

Test(crawl_event, tells_twenty_problems_and_no_more)
{
    struct buf b = {0};
    buf_puts(&b, "{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[{}");
    fill(&b, ",{}", 999);
    buf_puts(&b, "]}");
    cr_assert_eq(read_bytes(b.data, b.len), CRAWL_INVALID);
    json_t *all = json_parse(problems.data, problems.len, &err);
    cr_assert_eq(json_array_size(all), 20, "%s", err.msg);
    json_decref(all);
    buf_release(&b);
}

Test(crawl_event, has_long_inputs_cut_between_characters)
{
    struct buf b = {0};
    buf_puts(&b, "{\"success\":\"x");
    fill(&b, "\xc3\xa9", 5000);
    buf_puts(&b, "\",\"type\":\"crawl.page\",\"id\":\"c\",\"error\":[\"");
    fill(&b, "\xc3\xa9", 5000);
    buf_puts(&b, "\"]}");
    cr_assert_eq(read_bytes(b.data, b.len), CRAWL_INVALID);
    json_t *all = json_parse(problems.data, problems.len, &err);
    cr_assert_eq(json_array_size(all), 2, "%s", err.msg);
    cr_assert_eq(strlen(json_get_string(json_array_get(all, 0), "input")), 199);
    cr_assert_eq(strlen(json_get_string(json_array_get(all, 1), "input")), 200);
    json_decref(all);
    buf_release(&b);
}

Test(crawl_event, has_its_id_type_and_urls_bounded)
{
    static const struct {
        const char *before, *unit, *after, *loc, *msg;
        size_t max;
    } cases[] = {
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"",        "\xe6\x97\xa5", "\"}",
         "\"loc\":[\"id\"]",                                                                                                                        "at most 255 characters", 255 },
        {"{\"success\":true,\"id\":\"c\",\"type\":\"a.",               "b",            "\"}",    "\"loc\":[\"type\"]",
         "at most 100 characters",                                                                                                                                            98  },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[{\"metadata\":{"
         "\"statusCode\":200,\"url\":\"",                     "u",            "\"}}]}", "\"loc\":[\"data\",0,\"metadata\",\"url\"]",       "at most 8192 bytes",     8192},
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"c\",\"data\":[{\"metadata\":{"
         "\"statusCode\":200,\"url\":\"u\",\"sourceURL\":\"", "u",            "\"}}]}", "\"loc\":[\"data\",0,\"metadata\",\"sourceURL\"]", "at most 8192 bytes",
         8192                                                                                                                                                                     },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (size_t more = 0; more < 2; more++) {
            struct buf b = {0};
            buf_puts(&b, cases[i].before);
            fill(&b, cases[i].unit, cases[i].max + more);
            buf_puts(&b, cases[i].after);
            cr_assert_eq(read_bytes(b.data, b.len), more ? CRAWL_INVALID : CRAWL_OK, "%zu", i);
            buf_release(&b);
        }
        cr_assert_not_null(strstr(problems.data, cases[i].loc), "%s", problems.data);
        cr_assert_not_null(strstr(problems.data, cases[i].msg), "%s", problems.data);
        cr_assert_not_null(strstr(problems.data, "string_too_long"));
    }
}

/* --- which event it is ------------------------------------------------------------------- */

#define EVENT(type, more) "{\"success\":true,\"type\":\"" type "\",\"id\":\"c1\"" more "}"
#define HEX               "0101010101010101010101010101010101010101010101010101010101010101"

Test(crawl_event, is_named_by_its_crawl_its_type_and_what_tells_it_from_others)
{
    static const struct {
        const char *body, *key;
    } cases[] = {
        {EVENT("crawl.started",                                              ""),                                            "c1\ncrawl.started\n"},
        {EVENT("crawl.completed",                                                                  ""),                                                                                          "c1\ncrawl.completed\n"},
        {EVENT("crawl.failed",                                           ""),"c1\ncrawl.failed\n"},
        {EVENT("crawl.cancelled",                     ""),                                                "c1\ncrawl.cancelled\n"},
        {EVENT("crawl.started",                                            ",\"webhookId\":\"w\""),                                                                   "c1\ncrawl.started\nw"},
        {EVENT("crawl.started",                                                                  ",\"webhookId\":\"\""),                                                                                            "c1\ncrawl.started\n"},
        {EVENT("agent.action",                                            ""),                        "c1\nagent.action\n" HEX},
        {EVENT("agent.action",",\"webhookId\":\"w\""),"c1\nagent.action\nw"},
        {EVENT("crawl.page",                                               ""),                                               "c1\ncrawl.page\n" HEX},
        {EVENT("crawl.page",                                                                  ",\"data\":[" DOC("") "]"),                                                                                             "c1\ncrawl.page\n" HEX},
        {EVENT("crawl.page",                                             ",\"data\":[" DOC(",\"scrapeId\":\"s\"") "]"),                                                                                                                                                                                   "c1\ncrawl.page\ns"},
        {EVENT("crawl.page",                 ",\"webhookId\":\"w\",\"data\":[" DOC(",\"scrapeId\":\"s\"") "]"),
         "c1\ncrawl.page\ns"},
        {EVENT("crawl.page",                                                 ",\"webhookId\":\"w\",\"data\":[" DOC("") "]"),    "c1\ncrawl.page\nw"},
        {EVENT("crawl.page",                                                                  ",\"webhookId\":\"w\",\"data\":[" DOC(",\"scrapeId\":\"s\"") "," DOC(
                                 ",\"scrapeId\":\"t\"") "]"),
         "c1\ncrawl.page\nw"},
        {"{\"success\":false,\"type\":\"crawl.failed\",\"id\":\"c1\"}",                                               "c1\ncrawl.failed\n"},
        {"{\"success\":false,\"type\":\"crawl.failed\"}","\ncrawl.failed\n" HEX                                                                                               },
        {"{\"success\":false}",                                                 "\n\n" HEX},
    };
    uint8_t digest[DIGEST_LEN];
    struct buf key = {0};
    memset(digest, 1, sizeof(digest));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        buf_clear(&key);
        cr_assert_leq(read_text(cases[i].body), CRAWL_UNSUCCESSFUL, "%s", cases[i].body);
        crawl_event_key(&ev, digest, &key);
        cr_assert_str_eq(buf_str(&key), cases[i].key);
    }
    buf_release(&key);
}

/* --- as Firecrawl sent them -------------------------------------------------------------- */

Test(crawl_event, is_read_as_firecrawl_was_seen_to_send_it)
{
    static const struct {
        const char *body;
        enum crawl_kind kind;
        const char *scrape_id;
        int64_t status;
    } sent[] = {
        {"{\"success\":true,\"type\":\"crawl.started\",\"id\":\"e6a02039-51ab-4fa7-9cd6-"
         "515a079d8e47\","
         "\"data\":[],\"metadata\":{\"watch_uuid\":\"6a4b7d5c-fd4f-44e8-9ab2-2df70a5f7bd6\"}}", CRAWL_STARTED,   NULL,                                   0  },
        {"{\"success\":true,\"type\":\"crawl.page\",\"id\":\"e6a02039-51ab-4fa7-9cd6-"
         "515a079d8e47\","
         "\"data\":[{\"markdown\":\"Page /nav\\n=========\\n\\nHello **world**, caf\xc3\xa9 "
         "\xe2\x80\x93 "
         "\xe6\x97\xa5\xe6\x9c\xac.\",\"metadata\":{\"title\":\"Page /nav\",\"description\":\"A "
         "small "
         "test page\",\"language\":\"en\",\"ogTitle\":\"OG Page /nav\",\"ogLocaleAlternate\":[],"
         "\"scrapeId\":\"9767029b-3a53-4fb6-b3e1-dc77bd62b18a\",\"og:title\":\"OG Page /nav\","
         "\"sourceURL\":\"http://198.18.0.10:9001/nav\",\"url\":\"http://198.18.0.10:9001/nav\","
         "\"statusCode\":200,\"contentType\":\"text/html; charset=utf-8\",\"proxyUsed\":\"basic\","
         "\"creditsUsed\":1}}],\"metadata\":{\"watch_uuid\":\"6a4b7d5c-fd4f-44e8-9ab2-"
         "2df70a5f7bd6\"}}",                                                                    CRAWL_PAGE,      "9767029b-3a53-4fb6-b3e1-dc77bd62b18a", 200},
        {"{\"success\":true,\"type\":\"crawl.completed\",\"id\":"
         "\"e6a02039-51ab-4fa7-9cd6-515a079d8e47\",\"data\":[],\"metadata\":{}}",               CRAWL_COMPLETED, NULL,                                   0  },
        {"{\"success\":true,\"type\":\"batch_scrape.page\",\"id\":"
         "\"c6548c94-a840-4b67-a4f6-31e72d4a7ed6\",\"data\":[{\"markdown\":\"Not found\","
         "\"metadata\":{\"scrapeId\":\"18abe47b-ad4d-4e02-b097-5911ba81670a\","
         "\"sourceURL\":\"http://198.18.0.10:9001/missing\","
         "\"url\":\"http://198.18.0.10:9001/missing\",\"statusCode\":404,\"proxyUsed\":\"basic\","
         "\"creditsUsed\":1}}],\"metadata\":{\"k\":\"v\"}}",                                    CRAWL_PAGE,      "18abe47b-ad4d-4e02-b097-5911ba81670a", 404},
    };
    for (size_t i = 0; i < sizeof(sent) / sizeof(*sent); i++) {
        cr_assert_eq(read_text(sent[i].body), CRAWL_OK, "%s", buf_str(&problems));
        cr_assert_eq(ev.kind, sent[i].kind);
        cr_assert_eq(ev.ndocuments, sent[i].scrape_id ? 1 : 0);
        if (!sent[i].scrape_id)
            continue;
        assert_same(ev.documents[0].scrape_id, sent[i].scrape_id);
        cr_assert_eq(ev.documents[0].status_code, sent[i].status);
    }
}
