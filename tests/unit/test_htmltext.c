/* HTML to text: layout, what is left out, encodings, refusals, and hostile pages. */
#include "worker/htmltext.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
    const char *html, *want;
};

static void expect_text(const char *html, const char *want)
{
    struct htmltext h;
    struct hl_err err = {0};
    enum hl_rc rc = htmltext_extract(html, strlen(html), "text/html", &h, &err);
    const char *got = rc == HL_OK ? buf_str(&h.text) : err.msg;
    cr_expect_str_eq(got, want, "\n%s\ngave\n%s\nwant\n%s", html, got, want);
    htmltext_release(&h);
}

static void expect_all(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_text(rows[i].html, rows[i].want);
}

Test(htmltext, blocks_become_lines_and_paragraphs)
{
    /* clang-format off */
    static const struct row rows[] = {
        {"plain words", "plain words"},
        {"<p>one<p>two", "one\n\ntwo"},
        {"<p>one</p>\n\n\n<p></p><p> </p><p>two</p>", "one\n\ntwo"},
        {"<div>one</div><div>two</div>", "one\ntwo"},
        {"<div><div><div>one</div></div></div><div><p>two</div>", "one\n\ntwo"},
        {"a<br>b<br><br><br>c", "a\nb\n\nc"},
        {"  a \n\t b&nbsp;&nbsp;c  ", "a b c"},
        {"a<b>b</b> <i> c</i>", "ab c"},
        {"<h1>Top</h1><p>x</p><h3>Sub <em>head</em></h3>y", "# Top\n\nx\n\n### Sub head\n\ny"},
        {"<h1></h1><h2> </h2>x", "x"},
        {"a<hr>b", "a\n\nb"},
        {"<blockquote>said</blockquote>then", "said\n\nthen"},
        {"<p>see <a href='http://x/y'>the link</a>, ok", "see the link, ok"},
        {"<img src=x alt=y>a", "a"},
        {"<dl><dt>term<dd>meaning</dl>", "term\nmeaning"},
        {"<section>a</section><section>b</section>", "a\n\nb"},
        {"&lt;b&gt; &amp;amp; &eacute; &#8364; &#x1F600;",
            "<b> &amp; \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    };
    /* clang-format on */
    expect_all(rows, COUNT(rows));
}

Test(htmltext, lists_tables_and_preformatted_text_keep_their_structure)
{
    /* clang-format off */
    static const struct row rows[] = {
        {"<ul><li>one<li>two</ul>", "- one\n- two"},
        {"x<ul><li> <li>one</ul>y", "x\n\n- one\n\ny"},
        {"<ol><li><p>one</p></li><li><p>two</p><p>more</p></ol>", "- one\n- two\nmore"},
        {"<ul><li>a<ul><li>b<ol><li>c</ol></ul><li>d</ul>", "- a\n  - b\n    - c\n- d"},
        {"<ul><li><a href=x>a</a> <b>b</b></ul>", "- a b"},
        {"<table><tr><th>a</th> <th>b</th></tr><tr><td>1</td><td></td><td>3</td></tr></table>",
            "a | b\n1 | 3"},
        {"<table><caption>cap</caption><tr><td>x y</table>z", "cap\nx y\n\nz"},
        {"<pre>\nint x;\n\n\n    y = 1;  \n</pre>z", "int x;\n\n    y = 1;\n\nz"},
        {"<pre><i>  </i><b>if</b> x  \n\t<b>y</b> </pre>", "  if x\n\ty"},
        {"<pre>a  <b>b</b>  c\r\nd</pre>", "a  b  c\nd"},
    };
    /* clang-format on */
    expect_all(rows, COUNT(rows));
}

Test(htmltext, what_is_not_content_is_left_out)
{
    static const char *const parts[] = {"<script>no</script>",
        "<script>if (a < b) '</p>no'</script>", "<style>p { no }</style>",
        "<noscript>no</noscript>", "<template><p>no</p></template>",
        "<svg><title>no</title><text>no</text></svg>", "<iframe>no</iframe>", "<nav>no</nav>",
        "<header>no</header>", "<footer><div>no</div></footer>", "<aside>no</aside>",
        "<button>no</button>", "<select><option>no</select>", "<textarea>no</textarea>",
        "<input value=no>", "<div hidden>no</div>", "<div hidden=''><p>no</p></div>",
        "<p aria-hidden=true>no</p>", "<p aria-hidden=TRUE>no</p>",
        "<i style='display:none'>no</i>", "<i style='color:red;DISPLAY : None !important'>no</i>",
        "<!-- no -->", "<!-- <p>no</p> -->", "<object>no</object>", "<canvas>no</canvas>",
        "<video>no</video>"};
    for (size_t i = 0; i < COUNT(parts); i++) {
        char html[256];
        snprintf(html, sizeof(html), "<body><p>before</p>%s<p>after</p></body>", parts[i]);
        expect_text(html, "before\n\nafter");
    }
    expect_text(
        "<p aria-hidden=false style='display:block'>yes<p style='display'>yes", "yes\n\nyes");
    expect_text("<form><label>Name</label> <input></form>", "Name");
}

#define LONG_TEXT                                                                                  \
    "A sentence that is long enough to count as the content of a page when it is said four "       \
    "times. "

Test(htmltext, main_content_is_preferred_when_it_is_substantial)
{
    static const char much[] = LONG_TEXT LONG_TEXT LONG_TEXT "The end.";
    /* clang-format off */
    static const struct {
        const char *before, *after;
        bool chosen;
    } rows[] = {
        {"<div>around</div><main>", "</main><div>around</div>", true},
        {"<div>around</div><div role=main>", "</div>", true},
        {"<div>around</div><article>", "</article>", true},
        {"<main><div>", "</div></main><article>around</article>", true},
        {"<article>around</article><article>", "</article>", false}, /* a list of articles */
        {"<div>around</div><div>", "</div>", false},
        {"<main>around</main><div>", "</div>", false}, /* too little */
        {"<main hidden>around</main><p>around</p><div role='main'>", "</div>", true},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct htmltext h;
        struct buf html = {0};
        buf_printf(&html, "<body>%s%s%s</body>", rows[i].before, much, rows[i].after);
        cr_assert_eq(htmltext_extract(html.data, html.len, "", &h, NULL), HL_OK);
        cr_expect(strstr(buf_str(&h.text), much), "row %zu", i);
        cr_expect_eq(!strstr(buf_str(&h.text), "around"), rows[i].chosen, "row %zu: %s", i,
            buf_str(&h.text));
        htmltext_release(&h);
        buf_release(&html);
    }
    expect_text("<p>out</p><main>in the main</main>", "in the main");
    expect_text(
        "<p>a longer text outside of it</p><main>in</main>", "a longer text outside of it\n\nin");
}

Test(htmltext, title_description_and_language_are_found)
{
    /* clang-format off */
    static const struct {
        const char *html, *title, *description, *language;
    } rows[] = {
        {"<html lang=en><title> A\n &amp; B </title><meta name=Description content=' d  e '>x",
            "A & B", "d e", "en"},
        {"<html lang=' de-CH '><meta property='og:title' content='OG'><meta "
            "property='og:description' content='OGD'>x", "OG", "OGD", "de-CH"},
        {"<title></title><meta property='og:title' content='OG'>x", "OG", "", ""},
        {"<title>T</title><meta property='og:title' content='OG'><meta property='og:description' "
            "content=o><meta name=description content=d>x", "T", "d", ""},
        {"<html xml:lang=fr><body>x", "", "", "fr"},
        {"<html lang='<script>'><body>x<svg><title>no</title></svg>", "", "", ""},
        {"<html lang=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa><body>x", "", "", ""},
        {"<meta name=description><meta name=description content=''><meta name=description "
            "content=d>x", "", "d", ""},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct htmltext h;
        cr_assert_eq(
            htmltext_extract(rows[i].html, strlen(rows[i].html), "text/html", &h, NULL), HL_OK);
        cr_expect_str_eq(buf_str(&h.title), rows[i].title, "row %zu: %s", i, buf_str(&h.title));
        cr_expect_str_eq(buf_str(&h.description), rows[i].description, "row %zu", i);
        cr_expect_str_eq(buf_str(&h.language), rows[i].language, "row %zu", i);
        cr_expect_str_eq(buf_str(&h.text), "x", "row %zu: %s", i, buf_str(&h.text));
        htmltext_release(&h);
    }
}

Test(htmltext, encoding_comes_from_bom_header_meta_and_guess_in_this_order)
{
    /* clang-format off */
    static const struct {
        const char *type, *body;
        size_t len;
        const char *want;
    } rows[] = {
#define BODY(s) s, sizeof(s) - 1
        {"text/html", BODY("caf\xc3\xa9"), "caf\xc3\xa9"},
        {"text/html", BODY("caf\xe9 \x80 \x93"), "caf\xc3\xa9 \xe2\x82\xac \xe2\x80\x9c"},
        {"text/html; charset=utf-8", BODY("caf\xe9"), "caf\xef\xbf\xbd"},
        {"text/html; charset=\"ISO-8859-1\"", BODY("\xc3\xa9 \x80"),
            "\xc3\x83\xc2\xa9 \xe2\x82\xac"},
        {"Text/HTML;Charset=windows-1251", BODY("<meta charset=utf-8>\xcf\xf0"),
            "\xd0\x9f\xd1\x80"},
        {"text/html", BODY("<meta charset=windows-1251>\xcf\xf0"), "\xd0\x9f\xd1\x80"},
        {"text/html",
            BODY("<META http-equiv=Content-Type content='text/html; charset=koi8-r'>\xd0"),
            "\xd0\xbf"},
        {"text/html", BODY("<meta name=x><meta charset = 'shift_jis' >\x93\xfa\x96\x7b"),
            "\xe6\x97\xa5\xe6\x9c\xac"},
        {"text/html; charset=utf-8", BODY("<meta charset=koi8-r>\xc3\xa9"), "\xc3\xa9"},
        {"text/html; charset=koi8-r", BODY("\xef\xbb\xbf\xc3\xa9"), "\xc3\xa9"},
        {"", BODY("\xff\xfe<\0p\0>\0\xe9\0"), "\xc3\xa9"},
        {"", BODY("\xfe\xff\0<\0p\0>\0\xe9"), "\xc3\xa9"},
        {"text/html", BODY("<meta charset=utf-16>\xc3\xa9"), "\xc3\xa9"},
        {"text/html; charset=no-such", BODY("\xc3\xa9"), "\xc3\xa9"},
        {"text/html; charset=no-such", BODY("\xe9"), "\xc3\xa9"},
        {"text/html; charset=UTF-8//TRANSLIT", BODY("\xc3\xa9"), "\xc3\xa9"},
        {"text/html; charset=gbk", BODY("\xc8\xd5\xff!"), "\xe6\x97\xa5\xef\xbf\xbd!"},
        {"text/html", BODY("a\0b"), "ab"},
        {"text/plain; charset=iso-8859-1", BODY("\xe9\n"), "\xc3\xa9\n"},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct htmltext h;
        enum hl_rc rc = htmltext_extract(rows[i].body, rows[i].len, rows[i].type, &h, NULL);
        cr_expect_eq(rc, HL_OK, "row %zu", i);
        cr_expect_str_eq(buf_str(&h.text), rows[i].want, "row %zu: %s", i, buf_str(&h.text));
        htmltext_release(&h);
    }
}

Test(htmltext, text_that_is_not_html_is_taken_as_it_is)
{
    static const char *const types[] = {"text/plain", "text/markdown; charset=utf-8",
        "application/json", "application/ld+json", "text/xml", "application/rss+xml",
        " TEXT/PLAIN "};
    static const char body[] = " <p>1 & 2</p>\n\n\n  {\"a\": 1}\n";
    for (size_t i = 0; i < COUNT(types); i++) {
        struct htmltext h;
        cr_expect_eq(
            htmltext_extract(body, strlen(body), types[i], &h, NULL), HL_OK, "%s", types[i]);
        cr_expect_str_eq(buf_str(&h.text), body, "%s", types[i]);
        cr_expect_eq(h.title.len, 0);
        htmltext_release(&h);
    }
}

Test(htmltext, types_that_hold_no_text_are_refused_by_name)
{
    static const char *const types[] = {"application/pdf", "image/png", "image/svg+xml",
        "video/mp4", "application/octet-stream", "application/zip"};
    for (size_t i = 0; i < COUNT(types); i++) {
        struct htmltext h;
        struct hl_err err = {0};
        cr_expect_eq(htmltext_extract("<p>x", 4, types[i], &h, &err), HL_FATAL, "%s", types[i]);
        cr_expect_eq(err.rc, HL_FATAL);
        cr_expect(strstr(err.msg, types[i]), "%s", err.msg);
        cr_expect_eq(h.text.len, 0);
        htmltext_release(&h);
    }
}

Test(htmltext, bytes_without_a_type_are_refused_when_they_are_binary)
{
    struct htmltext h;
    struct hl_err err = {0};
    cr_expect_eq(htmltext_extract("%PDF-1.7 x", 10, "", &h, &err), HL_FATAL);
    cr_expect(strstr(err.msg, "binary"), "%s", err.msg);
    cr_expect_eq(htmltext_extract("\x89PNG\0\0x", 7, "", &h, NULL), HL_FATAL);
}

Test(htmltext, pages_without_readable_text_are_refused)
{
    static const char *const pages[] = {"", " \n",
        "<html><head><title>T</title></head><body></body></html>",
        "<body><script>x()</script><nav>menu</nav></body>", "<", "<!-- only -->", "&nbsp;",
        "<p> &#160; </p>"};
    for (size_t i = 0; i < COUNT(pages); i++)
        expect_text(pages[i], "no readable text in the page");

    struct htmltext h;
    cr_expect_eq(htmltext_extract(" \xc2\xa0\n", 4, "text/plain", &h, NULL), HL_FATAL);
    cr_expect_eq(htmltext_extract(NULL, 0, "text/html", &h, NULL), HL_FATAL);
}

static void repeat(struct buf *b, const char *s, size_t n)
{
    while (n--)
        buf_puts(b, s);
}

/* A stack of 8 MB would not survive recursion over these, nor a minute quadratic work. */
Test(htmltext, hostile_pages_cost_neither_stack_nor_minutes, .timeout = 60)
{
    static const struct {
        const char *head, *unit;
        size_t n;
        const char *tail;
    } pages[] = {
        {"first",           "<div>",        100000, "deep"      },
        {"first",           "<ul><li>",     100000, "deep"      },
        {"first",           "<svg>",        100000, "deep"      },
        {"first",           "<x><y>",       50000,  "deep"      },
        {"first",           "</x>",         200000, "last"      },
        {"first",           "<b>x</b></i>", 100000, "last"      },
        {"first",           "<",            500000, ""          },
        {"first",           "<!--",         100000, ""          },
        {"first",           "&amp",         200000, ""          },
        {"first<p ",        "a=b ",         200000, ">last"     },
        {"first<p style='", "display ",     200000, "'>last"    },
        {"first<pre>",      " \n",          200000, "</pre>last"},
    };
    for (size_t i = 0; i < COUNT(pages); i++) {
        struct htmltext h;
        struct buf html = {0};
        buf_puts(&html, pages[i].head);
        repeat(&html, pages[i].unit, pages[i].n);
        buf_puts(&html, pages[i].tail);
        cr_expect_eq(
            htmltext_extract(html.data, html.len, "text/html", &h, NULL), HL_OK, "row %zu", i);
        cr_expect_eq(strncmp(buf_str(&h.text), "first", 5), 0, "row %zu", i);
        if (strcmp(pages[i].tail, "deep") != 0)
            cr_expect(strstr(buf_str(&h.text), pages[i].tail + strspn(pages[i].tail, ">'</pre")),
                "row %zu", i);
        htmltext_release(&h);
        buf_release(&html);
    }
}

/* 300,000 different attributes are 4.5e10 comparisons if nothing bounds them. */
Test(htmltext, a_tag_with_countless_attributes_is_bounded)
{
    struct htmltext h;
    struct buf html = {0};
    buf_puts(&html, "first<p ");
    for (int i = 0; i < 300000; i++)
        buf_printf(&html, "a%d ", i);
    buf_puts(&html, ">second<p hidden>no<p>third");
    clock_t start = clock();
    cr_expect_eq(htmltext_extract(html.data, html.len, "text/html", &h, NULL), HL_OK);
    cr_expect_str_eq(buf_str(&h.text), "first\n\nsecond\n\nthird");
    cr_expect_lt((double)(clock() - start) / CLOCKS_PER_SEC, 10.0);
    htmltext_release(&h);
    buf_release(&html);
}

Test(htmltext, broken_pages_print_nothing_to_standard_error)
{
    static const char html[] =
        "<p <b>a</i></zzz><x:y z=\"&bogus;&#xfffffff;\">\x01 <![CDATA[ <!DOCTYPE <?php ?> b";
    char seen[256];
    int fds[2], saved = dup(STDERR_FILENO);
    struct htmltext h;

    cr_assert_eq(pipe(fds), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    dup2(fds[1], STDERR_FILENO);
    enum hl_rc rc = htmltext_extract(html, sizeof(html) - 1, "text/html", &h, NULL);
    dup2(saved, STDERR_FILENO);
    cr_expect_eq(rc, HL_OK);
    cr_expect_eq(read(fds[0], seen, sizeof(seen)), -1);
    htmltext_release(&h);
}

Test(htmltext, external_entities_are_never_loaded)
{
    static const char html[] =
        "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><p>a &x; b</p>";
    struct htmltext h;
    cr_assert_eq(
        htmltext_extract(html, sizeof(html) - 1, "application/xhtml+xml", &h, NULL), HL_OK);
    cr_expect_null(strstr(buf_str(&h.text), "root:"));
    htmltext_release(&h);
}
