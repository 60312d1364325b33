/* UTF-8: validity, cutting, cleaning. Expected texts of text_clean are those of Python 3.13. */
#include "base/text.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FFFD     "\xef\xbf\xbd"

Test(text, valid_utf8_is_what_rfc_3629_allows)
{
    static const struct {
        const char *s;
        size_t len;
        bool valid;
    } cases[] = {
        {"",                 0, true },
        {"plain",            5, true },
        {"a\0b",             3, true },
        {"\xc2\x80",         2, true }, /* first of two bytes */
        {"\xdf\xbf",         2, true }, /* last of two bytes */
        {"\xe0\xa0\x80",     3, true }, /* first of three */
        {"\xed\x9f\xbf",     3, true }, /* last before the surrogates */
        {"\xee\x80\x80",     3, true }, /* first after them */
        {"\xef\xbf\xbf",     3, true }, /* U+FFFF is a code point all the same */
        {"\xf0\x90\x80\x80", 4, true }, /* first of four */
        {"\xf4\x8f\xbf\xbf", 4, true }, /* U+10FFFF */
        {"\x80",             1, false}, /* continuation first */
        {"\xbf",             1, false},
        {"\xc0\x80",         2, false}, /* overlong NUL */
        {"\xc1\xbf",         2, false}, /* overlong */
        {"\xe0\x9f\xbf",     3, false}, /* overlong */
        {"\xf0\x8f\xbf\xbf", 4, false}, /* overlong */
        {"\xed\xa0\x80",     3, false}, /* surrogate */
        {"\xed\xbf\xbf",     3, false},
        {"\xf4\x90\x80\x80", 4, false}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff",             1, false},
        {"\xc3",             1, false}, /* cut short */
        {"\xe2\x82",         2, false},
        {"\xf0\x9f\x98",     3, false},
        {"\xe2\x82g",        3, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_eq(text_utf8_valid(cases[i].s, cases[i].len), cases[i].valid, "row %zu", i);
}

Test(text, every_code_point_but_surrogates_is_valid)
{
    for (uint32_t cp = 0x800; cp <= 0x110000; cp++) {
        char s[4] = {(char)(0xf0 | cp >> 18), (char)(0x80 | (cp >> 12 & 63)),
            (char)(0x80 | (cp >> 6 & 63)), (char)(0x80 | (cp & 63))};
        size_t skip = 0;
        if (cp < 0x10000) {
            s[1] = (char)(0xe0 | cp >> 12);
            skip = 1;
        }
        bool want = cp < 0x110000 && !(cp >= 0xd800 && cp <= 0xdfff);
        cr_assert_eq(text_utf8_valid(s + skip, 4 - skip), want, "U+%04X", cp);
    }
}

Test(text, lengths_count_code_points_and_never_cut_one)
{
    const char *s = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 2, 3, 4, 1 bytes */
    static const size_t chars[] = {0, 1, 3, 6, 10, 11, 11};
    static const size_t bytes[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11, 11};

    cr_expect_eq(text_chars(s), 5);
    cr_expect_eq(text_chars(""), 0);
    for (size_t n = 0; n < COUNT(chars); n++)
        cr_expect_eq(text_prefix_chars(s, n), chars[n], "%zu characters", n);
    for (size_t n = 0; n < COUNT(bytes); n++)
        cr_expect_eq(text_prefix_bytes(s, n), bytes[n], "%zu bytes", n);
    cr_expect_eq(text_prefix_chars(s, SIZE_MAX), 11);
    cr_expect_eq(text_prefix_bytes(s, SIZE_MAX), 11);
}

Test(text, broken_bytes_become_replacement_characters)
{
    static const struct {
        const char *s;
        size_t len;
        const char *want;
    } cases[] = {
        {"plain \xc3\xa9",   8, "plain \xc3\xa9"   },
        {"a\0b",             3, "ab"               },
        {"\xff",             1, FFFD               },
        {"caf\xe9 noir",     9, "caf" FFFD " noir" },
        {"\xc0\xaf",         2, FFFD FFFD          },
        {"\xe2\x82",         2, FFFD               }, /* cut short: one for the whole */
        {"\xe2\x82x",        3, FFFD "x"           },
        {"\xf0\x9f\x98",     3, FFFD               },
        {"\xe0\x80\x80",     3, FFFD FFFD FFFD     }, /* the second byte is already impossible */
        {"\xed\xa0\x80",     3, FFFD FFFD FFFD     },
        {"\xf4\x90\x80\x80", 4, FFFD FFFD FFFD FFFD},
        {"\xc3\xc3\xa9",     3, FFFD "\xc3\xa9"    },
        {"",                 0, ""                 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = {0};
        text_append_utf8(&out, cases[i].s, cases[i].len);
        cr_expect_str_eq(buf_str(&out), cases[i].want, "row %zu: %s", i, buf_str(&out));
        buf_release(&out);
    }
}

Test(text, appending_keeps_what_the_buffer_held)
{
    struct buf out = {0};
    buf_puts(&out, "x ");
    text_append_utf8(&out, "\xff", 1);
    text_clean("  a  b ", &out);
    text_one_line(" c\n", 9, &out);
    cr_expect_str_eq(buf_str(&out), "x " FFFD "a bc");
    text_clean("\xe2\x80\x8b \xe2\x80\x8b", &out);
    cr_expect_str_eq(buf_str(&out), "x " FFFD "a bc");
    buf_release(&out);
}

Test(text, cleaning_joins_words_by_single_blanks_and_drops_the_unprintable)
{
    /* clang-format off */
    static const struct {
        const char *s, *want;
    } cases[] = {
        {"", ""},
        {" \t\r\n\v\f ", ""},
        {"one", "one"},
        {"  one\n\n two\t three ", "one two three"},
        {"a\x1c" "b\x1d" "c\x1e" "d\x1f" "e", "a b c d e"},
        {"a\xc2\x85" "b", "a b" }, /* next line */
        {"a\xc2\xa0" "b", "a b" }, /* no-break space */
        {"a\xe1\x9a\x80" "b", "a b" }, /* ogham */
        {"a\xe2\x80\x80" "b\xe2\x80\x8a" "c", "a b c"},
        {"a\xe2\x80\xa8" "b\xe2\x80\xa9" "c", "a b c"},
        {"a\xe2\x80\xaf" "b\xe2\x81\x9f" "c\xe3\x80\x80" "d", "a b c d"},
        {"a\xe1\xa0\x8e" "b", "ab" }, /* U+180E: not white space, a format character */
        {"a\x01" "b\x7f" "c\xc2\x9f" "d", "abcd"},
        {"soft\xc2\xad" "hyphen", "softhyphen"},
        {"zero\xe2\x80\x8b" "width\xe2\x80\x8d" "!", "zerowidth!"},
        {"\xef\xbb\xbf" "bom", "bom"},
        {"bidi\xe2\x80\xae" "x\xe2\x81\xa6", "bidix"},
        {"private \xee\x80\x80\xef\xa3\xbf\xf3\xb0\x80\x80\xf4\x8f\xbf\xbd.", "private ."},
        {"non\xef\xb7\x90\xef\xbf\xbe\xef\xbf\xbf\xf0\x9f\xbf\xbe.", "non."},
        {"tag\xf3\xa0\x80\x81\xf3\xa0\x81\xbf.", "tag."},
        {"\xf0\x9f\x98\x80 caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac",
            "\xf0\x9f\x98\x80 caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac"},
        {"a \xe2\x80\x8b b", "a  b" }, /* the reference splits first, drops then */
        {"\xe2\x80\x8b\xe2\x80\x8b", ""},
        {"\xe2\x80\x8b \x01", ""},
        {"bad\xff" "byte", "bad" FFFD "byte"},
        {"# Head\n\n- item\n- item 2\n", "# Head - item - item 2"},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = {0};
        text_clean(cases[i].s, &out);
        cr_expect_str_eq(buf_str(&out), cases[i].want, "row %zu: '%s'", i, buf_str(&out));
        buf_release(&out);
    }
}

Test(text, trimming_takes_unicode_white_space_from_both_ends_only)
{
    static const struct {
        const char *s, *want;
    } cases[] = {
        {"",                               ""                },
        {"x",                              "x"               },
        {" \t\n\x1f",                      ""                },
        {" a b ",                          "a b"             },
        {"\xc2\xa0\xe3\x80\x80"
         "a\xe2\x80\xa8\xc2\x85", "a"               },
        {"\xe2\x80\x8b"
         "a\xe2\x80\x8b",         "\xe2\x80\x8b"
            "a\xe2\x80\x8b"},
        {"\xa0"
         "a\xa0",                 "\xa0"
            "a\xa0"                }, /* stray bytes are no blanks */
        {"\xff \xff",                      "\xff \xff"       },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *s = cases[i].s;
        size_t len = strlen(s);
        text_trim(&s, &len);
        char *got = strndup(s, len);
        cr_expect_str_eq(got, cases[i].want, "row %zu", i);
        free(got);
    }
}

Test(text, one_line_shows_no_control_character_and_keeps_its_limit)
{
    /* clang-format off */
    static const struct {
        const char *s;
        size_t max;
        const char *want;
    } cases[] = {
        {"", 10, ""},
        {"  two \r\n lines\t", 99, "two lines"},
        {"a\x1b[31mred\x07", 99, "a [31mred"},
        {"a\xc2\x9b" "31m", 99, "a 31m" }, /* CSI as one code point */
        {"abcdef", 3, "abc"},
        {"abcdef", 0, ""},
        {"ab cd", 2, "ab"},
        {"ab cd", 3, "ab" }, /* no blank at the end */
        {"ab cd", 4, "ab c"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 2, "\xc3\xa9\xe2\x82\xac"},
        {"x\xff" "y", 9, "x" FFFD "y"},
        {"\x01\x02", 9, ""},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out = {0};
        text_one_line(cases[i].s, cases[i].max, &out);
        cr_expect_str_eq(buf_str(&out), cases[i].want, "row %zu: '%s'", i, buf_str(&out));
        buf_release(&out);
    }
}
