/* document: what a scrape brought becomes what the index keeps. */
#include "worker/document.h"

#include "base/buf.h"
#include "base/text.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *tidied(const char *text)
{
    static char out[4096];
    struct document d;
    struct hl_err err = {0};
    cr_assert_eq(document_init(&d, "https://a.example/", NULL, NULL, NULL, text, &err), HL_OK);
    cr_assert_lt(strlen(d.text), sizeof(out));
    strcpy(out, d.text);
    document_release(&d);
    return out;
}

Test(document, text_keeps_its_lines_and_loses_the_rest)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"one",                                "one"                               },
        {"one\ntwo",                           "one\ntwo"                          },
        {"one\r\ntwo\r\n",                     "one\ntwo"                          },
        {"  one \t two  ",                     "one two"                           },
        {"one\n\ntwo",                         "one\n\ntwo"                        },
        {"one\n\n\n \t\n\ntwo",                "one\n\ntwo"                        },
        {"\n\n  \none\n\n",                    "one"                               },
        {"a\x01"
         "b\x7f"
         "c",                         "abc"                               },
        {"zero\xe2\x80\x8bwidth",              "zerowidth"                         },
        {"no\xc2\xa0"
         "break",                     "no break"                          },
        {"\xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80", "\xc3\xa9t\xc3\xa9 \xf0\x9f\x98\x80"},
        {"bad\xff"
         "byte",                      "bad\xef\xbf\xbd"
            "byte"                                        },
        {"cut \xe2\x82",                       "cut \xef\xbf\xbd"                  },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        cr_expect_str_eq(tidied(cases[i].in), cases[i].out, "case %zu", i);
}

Test(document, nothing_left_is_final)
{
    static const char *const texts[] = {
        NULL, "", " ", "\n\n\t\r\n", "\x01\x02\n\x7f", "\xe2\x80\x8b"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct document d;
        struct hl_err err = {0};
        cr_expect_eq(document_init(&d, "https://a.example/", "title", "text", "en", texts[i], &err),
            HL_FATAL, "case %zu", i);
        cr_expect_eq(err.rc, HL_FATAL);
        cr_expect_str_eq(err.msg, "Indexing failed: No content after cleaning");
        cr_expect_null(d.text);
        cr_expect_null(d.title);
        document_release(&d);
    }
}

static struct document made(
    const char *url, const char *title, const char *description, const char *language)
{
    struct document d;
    struct hl_err err = {0};
    cr_assert_eq(document_init(&d, url, title, description, language, "text", &err), HL_OK);
    return d;
}

Test(document, the_canonical_form_is_the_key_and_the_url_stays_as_it_came)
{
    struct document d = made("HTTPS://Example.COM/a?b=1#part", NULL, NULL, NULL);
    cr_expect_str_eq(d.url, "HTTPS://Example.COM/a?b=1#part");
    cr_expect_str_eq(d.canonical_url, "https://example.com/a?b=1");
    document_release(&d);
}

Test(document, a_url_without_a_canonical_form_is_its_own_key)
{
    struct document d = made("not a url", NULL, NULL, NULL);
    cr_expect_str_eq(d.url, "not a url");
    cr_expect_str_eq(d.canonical_url, "not a url");
    document_release(&d);
}

Test(document, absent_and_empty_headings_are_null)
{
    struct document none = made("https://a.example/", NULL, NULL, NULL);
    struct document empty = made("https://a.example/", "", " \n ", "\x01");
    cr_expect(!none.title && !none.description && !none.language);
    cr_expect(!empty.title && !empty.description && !empty.language);
    document_release(&none);
    document_release(&empty);
}

Test(document, headings_become_one_line_of_bounded_length)
{
    struct buf lengthy = {0};
    for (int i = 0; i < 6000; i++)
        buf_puts(&lengthy, "\xc3\xa9");
    struct document d =
        made("https://a.example/", " A\r\n title\t of  one ", buf_str(&lengthy), buf_str(&lengthy));
    cr_expect_str_eq(d.title, "A title of one");
    cr_expect_eq(text_chars(d.description), 5000);
    cr_expect_eq(text_chars(d.language), 35);
    document_release(&d);

    d = made("https://a.example/", buf_str(&lengthy), NULL, NULL);
    cr_expect_eq(text_chars(d.title), 1000);
    document_release(&d);
    buf_release(&lengthy);
}

Test(document, the_view_shows_what_the_document_owns)
{
    struct document d = made("https://a.example/x", "T", "D", "en");
    struct store_document v = document_view(&d);
    cr_expect_eq(v.canonical_url, d.canonical_url);
    cr_expect_eq(v.url, d.url);
    cr_expect_eq(v.title, d.title);
    cr_expect_eq(v.description, d.description);
    cr_expect_eq(v.language, d.language);
    cr_expect_eq(v.text, d.text);
    document_release(&d);
    cr_expect_null(d.url);
    cr_expect_null(d.text);
    document_release(&d); /* twice is fine */
}
