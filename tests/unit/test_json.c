#include "base/json.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool parses(const char *text, size_t len, struct hl_err *err)
{
    /* A heap copy of the exact size: reading past the end is caught by the address sanitizer. */
    char *copy = mem_alloc(len);
    memcpy(copy, text, len);
    json_t *root = json_parse(copy, len, err);
    free(copy);
    json_decref(root);
    return root != NULL;
}

static char *nested(int depth)
{
    struct buf b = {0};
    for (int i = 0; i < depth; i++)
        buf_putc(&b, '[');
    for (int i = 0; i < depth; i++)
        buf_putc(&b, ']');
    return buf_detach(&b);
}

Test(json, valid_texts_of_every_type_are_accepted)
{
    static const char *const good[] = {"{}", "[]", "\"a\"", "1", "-0.5e3", "true", "null",
        " \n{\"a\":[1,{\"b\":null}]}\t", "{\"\":\"\"}", "\"\\ud83d\\ude00\"", "\"\xc3\xa9\"",
        "9223372036854775807"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        cr_assert(parses(good[i], strlen(good[i]), NULL), "%s", good[i]);
}

Test(json, invalid_texts_are_refused_with_the_place_and_the_reason)
{
    static const struct {
        const char *text;
        size_t len;
        const char *says;
    } bad[] = {
#define TEXT(s) s, sizeof(s) - 1
        {TEXT(""),                    "the text ends too early"           },
        {TEXT("{\"a\":1"),            "the text ends too early"           },
        {TEXT("{\"a\" 1}"),           "line 1 column 6: not valid JSON"   },
        {TEXT("{}\n{}"),              "line 2 column 1: something follows"},
        {TEXT("{\"a\":01}"),          "not valid JSON"                    },
        {TEXT("{a:1}"),               "not valid JSON"                    },
        {TEXT("[1,]"),                "not valid JSON"                    },
        {TEXT("NaN"),                 "not valid JSON"                    },
        {TEXT("\"\xff\""),            "not valid UTF-8"                   },
        {TEXT("\"\xc0\xaf\""),        "not valid UTF-8"                   },
        {TEXT("\"\xed\xa0\x80\""),    "not valid UTF-8"                   },
        {TEXT("\"\\ud800\""),         "not valid JSON"                    },
        {TEXT("\"\\u0000\""),         "\\u0000 is not allowed"            },
        {TEXT("{\"a\\u0000\":1}"),    "\\u0000 is not allowed"            },
        {TEXT("\"a\0b\""),            "not valid JSON"                    },
        {TEXT("{}\0"),                "line 1 column"                     },
        {TEXT("1e999"),               "number too large"                  },
        {TEXT("9223372036854775808"), "number too large"                  },
#undef TEXT
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct hl_err err = {0};
        cr_assert(!parses(bad[i].text, bad[i].len, &err), "%s", bad[i].text);
        cr_assert_eq(err.rc, HL_FATAL);
        cr_assert(strncmp(err.msg, "line ", 5) == 0, "%s", err.msg);
        cr_assert(strstr(err.msg, bad[i].says), "%s: %s", bad[i].text, err.msg);
    }
}

Test(json, an_error_never_quotes_the_text)
{
    static const char *const bad[] = {"{\"token\":hunter2}", "{\"a\":\"hunter2", "hunter2",
        "{\"a\":\"hunter2\\ud800\"}", "{\"hunter2\" \"hunter2\"}", "[\"hunter2\"] hunter2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct hl_err err = {0};
        cr_assert(!parses(bad[i], strlen(bad[i]), &err));
        cr_assert(!strstr(err.msg, "hunter2"), "%s", err.msg);
    }
}

Test(json, nesting_is_bounded_before_the_parser_recurses)
{
    char *fits = nested(JSON_MAX_DEPTH);
    char *deep = nested(JSON_MAX_DEPTH + 1);
    char *bomb = nested(1000000);
    struct hl_err err = {0};
    cr_assert(parses(fits, strlen(fits), NULL));
    cr_assert(!parses(deep, strlen(deep), &err));
    cr_assert_str_eq(err.msg, "line 1 column 65: nested deeper than 64 levels");
    cr_assert(!parses(bomb, strlen(bomb), NULL));
    free(fits);
    free(deep);
    free(bomb);
}

Test(json, values_are_counted_before_the_parser_makes_them)
{
    struct buf b = {0};
    struct hl_err err = {0};
    buf_puts(&b, "[\"[,{\\\",\"");
    for (int i = 3; i <= JSON_MAX_VALUES; i++)
        buf_puts(&b, ",1");
    buf_puts(&b, "]");
    cr_assert(parses(buf_str(&b), b.len, NULL));
    b.len--;
    buf_puts(&b, ",\n1,1]");
    cr_assert(!parses(buf_str(&b), b.len, &err));
    cr_assert_str_eq(err.msg, "line 2 column 2: more than 1000000 values");
    buf_release(&b);
}

Test(json, objects_count_as_levels_and_their_line_is_named)
{
    struct buf b = {0};
    for (int i = 0; i <= JSON_MAX_DEPTH; i++)
        buf_puts(&b, "\n{\"a\":");
    struct hl_err err = {0};
    cr_assert(!parses(buf_str(&b), b.len, &err));
    cr_assert_str_eq(err.msg, "line 66 column 1: nested deeper than 64 levels");
    buf_release(&b);
}

Test(json, brackets_inside_strings_are_not_nesting)
{
    struct buf b = {0};
    buf_puts(&b, "[\"\\\"");
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "[{\\\\");
    buf_puts(&b, "\"]");
    cr_assert(parses(buf_str(&b), b.len, NULL));
    buf_release(&b);
}

Test(json, the_last_of_repeated_keys_counts)
{
    static const char text[] = "{\"a\":\"first\",\"a\":\"last\"}";
    json_t *root = json_parse(text, strlen(text), NULL);
    cr_assert_str_eq(json_get_string(root, "a"), "last");
    json_decref(root);
}

Test(json, get_string_gives_strings_only)
{
    static const char text[] = "{\"s\":\"x\",\"n\":1,\"z\":null,\"o\":{}}";
    json_t *root = json_parse(text, strlen(text), NULL);
    cr_assert_str_eq(json_get_string(root, "s"), "x");
    cr_assert_null(json_get_string(root, "n"));
    cr_assert_null(json_get_string(root, "z"));
    cr_assert_null(json_get_string(root, "o"));
    cr_assert_null(json_get_string(root, "absent"));
    cr_assert_null(json_get_string(json_object_get(root, "n"), "s"), "not an object");
    cr_assert_null(json_get_string(NULL, "s"));
    json_decref(root);
}

Test(json, written_strings_escape_only_what_must_be)
{
    struct buf b = {0};
    json_put_string(&b, "a\"b\\c/d\b\f\n\r\t\x01\x1f\x7f \xc3\xa9\xf0\x9f\x98\x80");
    cr_assert_str_eq(
        buf_str(&b), "\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\x7f \xc3\xa9\xf0\x9f\x98\x80\"");
    buf_release(&b);
}

Test(json, written_strings_read_back_the_same)
{
    for (int c = 1; c < 0x80; c++) {
        char s[] = {'<', (char)c, '>', '\0'};
        struct buf b = {0};
        json_put_string(&b, s);
        json_t *root = json_parse(buf_str(&b), b.len, NULL);
        cr_assert_str_eq(json_string_value(root), s, "byte %d", c);
        json_decref(root);
        buf_release(&b);
    }
}

Test(json, keys_bring_their_commas)
{
    struct buf b = {0};
    buf_putc(&b, '{');
    json_put_key(&b, "a");
    buf_putc(&b, '{');
    json_put_key(&b, "b\"");
    json_put_string(&b, "{");
    buf_putc(&b, '}');
    json_put_key(&b, "c");
    buf_printf(&b, "%d}", 1);
    cr_assert_str_eq(buf_str(&b), "{\"a\":{\"b\\\"\":\"{\"},\"c\":1}");
    buf_release(&b);
}

static char *written(void (*put)(struct buf *b, double v), double v)
{
    struct buf b = {0};
    put(&b, v);
    return buf_detach(&b);
}

/* Left: json_put_double, right: json_put_2dp; as Python's repr(v) and repr(round(v, 2)). */
Test(json, numbers_are_written_as_python_writes_them)
{
    static const struct {
        double v;
        const char *whole, *rounded;
    } rows[] = {
        {0,                      "0.0",                     "0.0"                    },
        {-0.0,                   "-0.0",                    "-0.0"                   },
        {100,                    "100.0",                   "100.0"                  },
        {7.956,                  "7.956",                   "7.96"                   },
        {0.1 + 0.2,              "0.30000000000000004",     "0.3"                    },
        {185.1409319999675,      "185.1409319999675",       "185.14"                 },
        {2.675,                  "2.675",                   "2.67"                   }, /* the double is a little less */
        {0.125,                  "0.125",                   "0.12"                   }, /* exactly half-way: to even */
        {0.375,                  "0.375",                   "0.38"                   },
        {-1.005,                 "-1.005",                  "-1.0"                   },
        {0.001,                  "0.001",                   "0.0"                    },
        {0.0001,                 "0.0001",                  "0.0"                    },
        {0.00001,                "1e-05",                   "0.0"                    },
        {1.5e-7,                 "1.5e-07",                 "0.0"                    },
        {123456789.987654321,    "123456789.98765433",      "123456789.99"           },
        {9007199254740992,       "9007199254740992.0",      "9007199254740992.0"     },
        {9999999999999998,       "9999999999999998.0",      "9999999999999998.0"     },
        {1e15,                   "1000000000000000.0",      "1000000000000000.0"     },
        {1e16,                   "1e+16",                   "1e+16"                  },
        {12345678901234567890.0, "1.2345678901234567e+19",  "1.2345678901234567e+19" },
        {5e-324,                 "5e-324",                  "0.0"                    },
        {1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"},
        {INFINITY,               "null",                    "null"                   },
        {-INFINITY,              "null",                    "null"                   },
        {NAN,                    "null",                    "null"                   },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char *whole = written(json_put_double, rows[i].v);
        char *rounded = written(json_put_2dp, rows[i].v);
        cr_expect_str_eq(whole, rows[i].whole);
        cr_expect_str_eq(rounded, rows[i].rounded, "%s becomes %s", whole, rounded);
        free(whole);
        free(rounded);
    }
}

Test(json, any_double_reads_back_the_same_and_is_json)
{
    srand48(20261123);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = (uint64_t)mrand48() << 32 | (uint32_t)mrand48();
        double v, back;
        memcpy(&v, &bits, sizeof(v));
        if (i % 2)
            v = (double)mrand48() / (1 << i % 30);
        if (!isfinite(v))
            continue;
        char *text = written(json_put_double, v);
        json_t *root = json_loads(text, JSON_DECODE_ANY, NULL);
        back = strtod(text, NULL);
        cr_assert(v == back && signbit(v) == signbit(back), "%.17g became %s", v, text);
        cr_assert(json_is_real(root), "%s", text);
        cr_assert(strlen(text) <= 24, "%s", text);
        json_decref(root);
        free(text);
    }
}

Test(json, blanks_between_tokens_are_left_out)
{
    struct buf b = {0};
    json_put_compact(
        &b, " {\"a b\" : [1, 2.50 ,\tnull],\r\n\"c\\\" d\" : \"e\\\\\" , \"f\":\" : , \"} ");
    cr_assert_str_eq(buf_str(&b), "{\"a b\":[1,2.50,null],\"c\\\" d\":\"e\\\\\",\"f\":\" : , \"}");
    buf_release(&b);
}

Test(json, a_member_has_its_text_or_null_or_its_number)
{
    struct buf b = {0};
    buf_putc(&b, '{');
    json_put_text(&b, "name", "caf\xc3\xa9 \"x\"");
    json_put_text(&b, "none", NULL);
    json_put_int(&b, "least", INT64_MIN);
    json_put_int(&b, "zero", 0);
    buf_putc(&b, '}');
    cr_assert_str_eq(buf_str(&b), "{\"name\":\"caf\xc3\xa9 \\\"x\\\"\",\"none\":null,"
                                  "\"least\":-9223372036854775808,\"zero\":0}");
    buf_release(&b);
}
