/* URLs: the split, the canonical form (expected values are those of Python's urllib), masking. */
#include "base/url.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *shown(const char *s)
{
    return s ? s : "-";
}

/* All parts in one string, "-" for a missing one. */
static void describe(const char *url, char out[512])
{
    struct url_parts u;
    if (!url_parse(url, &u)) {
        cr_expect(!u.scheme && !u.user && !u.password && !u.host && !u.path, "%s", url);
        snprintf(out, 512, "refused");
        return;
    }
    snprintf(out, 512, "%s %s %s %s %d %s %s %s", u.scheme, shown(u.user), shown(u.password),
        shown(u.host), u.port, shown(u.path), shown(u.query), shown(u.fragment));
    url_parts_release(&u);
    cr_expect_null(u.scheme);
}

struct row {
    const char *s, *want;
};

static void expect_parts(const struct row *rows, size_t n)
{
    char got[512];
    for (size_t i = 0; i < n; i++) {
        describe(rows[i].s, got);
        cr_expect_str_eq(got, rows[i].want, "'%s' gave '%s'", rows[i].s, got);
    }
}

Test(url, parts_of_web_and_server_addresses)
{
    /* clang-format off */
    static const struct row rows[] = {
        {"http://example.com", "http - - example.com 0 - - -"},
        {"HTTPS://Example.COM:8443/A%20b?x=1&y#frag",
            "https - - Example.COM 8443 /A%20b x=1&y frag"},
        {"http://h?q", "http - - h 0 - q -"},
        {"http://h#f?g/h", "http - - h 0 - - f?g/h"},
        {"http://h/?", "http - - h 0 /  -"},
        {"http://h:/", "http - - h 0 / - -"},
        {"http://[2001:db8::1]:80/p", "http - - 2001:db8::1 80 /p - -"},
        {"http://[::1]", "http - - ::1 0 - - -"},
        {"redis://localhost:6379/0", "redis - - localhost 6379 /0 - -"},
        {"rediss://:p%40ss@r.example/2", "rediss  p@ss r.example 0 /2 - -"},
        {"rediss://user:a:b@r", "rediss user a:b r 0 - - -"},
        {"redis://user@r", "redis user - r 0 - - -"},
        {"redis://u:p@w@r:1", "redis u p@w r 1 - - -"},
        {"unix:///run/redis.sock?db=1", "unix - - - 0 /run/redis.sock db=1 -"},
        {"unix://:secret@/run/redis.sock", "unix  secret - 0 /run/redis.sock - -"},
        {"postgres://u:p@h1:5432,h2/db?x=y", "postgres u p h1:5432,h2 0 /db x=y -"},
        {"postgresql://[::1]:5432,[::2]:5433/db", "postgresql - - [::1]:5432,[::2]:5433 0 /db - -"},
        {"postgresql:///db?host=/tmp", "postgresql - - - 0 /db host=/tmp -"},
        {"postgresql+asyncpg://u:p@h/db", "postgresql+asyncpg u p h 0 /db - -"},
        {"postgres://a%2Fb:%2b+%@h", "postgres a/b ++% h 0 - - -"},
        {"x://", "x - - - 0 - - -"},
        {"http://h:65535", "http - - h 65535 - - -"},
        {"http://caf\xc3\xa9.fr/\xc3\xa9", "http - - caf\xc3\xa9.fr 0 /\xc3\xa9 - -"},
        {"http://h/a b", "http - - h 0 /a b - -"},
    };
    /* clang-format on */
    expect_parts(rows, COUNT(rows));
}

Test(url, what_has_not_the_shape_of_a_url_is_refused)
{
    static const char *const rows[] = {"", ":", "://", "://h", "h", "h/p", "/p", "//h/p", "http",
        "http:", "http:/h", "http//h", "mailto:a@b", "1http://h", "-x://h", "ht tp://h", "h_p://h",
        "http://h:x", "http://h:80x", "http://h:-1", "http://h:0", "http://h:65536",
        "http://h:999999", "http://h:1:2", "http://::1/", "http://[::1", "http://::1]", "http://[]",
        "http://[::1]x", "http://[[::1]]", "http://[::1]:x", "http://a[b]c/", "http://ex ample/",
        "http://h\n/", "http://h/\x01", "http://h/\x7f", "\thttp://h", "http://u%00:p@h",
        "http://u:p%00x@h"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char got[512];
        describe(rows[i], got);
        cr_expect_str_eq(got, "refused", "'%s' gave '%s'", rows[i], got);
    }
}

/* Every string of five characters that mean something in a URL, behind a scheme. */
Test(url, no_combination_of_delimiters_crashes)
{
    static const char set[] = "/:@[],%?#a1";
    size_t n = sizeof(set) - 1;
    for (size_t code = 0; code < n * n * n * n * n; code++) {
        char url[32] = "http://";
        size_t rest = code;
        for (int i = 7; i < 12; i++, rest /= n)
            url[i] = set[rest % n];
        struct url_parts u;
        struct buf out = {0};
        bool parsed = url_parse(url, &u);
        cr_assert(!parsed || u.port <= 65535);
        cr_assert(!url_canonical(url, &out) || parsed || strchr(url, '@'), "%s", url);
        url_mask(url, &out);
        url_parts_release(&u);
        buf_release(&out);
    }
}

Test(url, web_addresses_are_those_every_client_reads_alike)
{
    static const struct {
        const char *url;
        bool web;
    } rows[] = {
        {"http://example.com",                 true },
        {"HTTPS://u:p@example.com:8443/a?b#c", true },
        {"http://[::1]/",                      true },
        {"http://h/a\\b",                      true },
        {"http://h/a%20b",                     true },
        {"http://h/@user",                     true },
        {"ftp://example.com",                  false},
        {"httpx://example.com",                false},
        {"javascript://example.com",           false},
        {"file:///etc/passwd",                 false},
        {"http:///path",                       false},
        {"http://",                            false},
        {"http://:80/",                        false},
        {"http://u@/",                         false},
        {"http://good\\@evil/",                false},
        {"http://good\\.evil/",                false},
        {"http://a@b@c/",                      false},
        {"http://a,b/",                        false},
        {"http://127%2e0.0.1/",                false},
        {"http://h/a b",                       false},
        {" http://h/",                         false},
        {"http://h/\r\nX: y",                  false},
        {"http://h:99999/",                    false},
        {"example.com",                        false},
        {"",                                   false},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        cr_expect_eq(url_is_web(rows[i].url), rows[i].web, "%s", rows[i].url);
}

Test(url, canonical_form_drops_tracking_and_re_encodes_the_query)
{
    /* clang-format off */
    static const struct row rows[] = {
        {"HTTP://Example.COM", "http://example.com"},
        {"https://Example.com:443/Path/%7Ex/", "https://example.com:443/Path/%7Ex/"},
        {"https://User:PaSs@HOST/", "https://User:PaSs@host/"},
        {"http://[FE80::A]:8080/x", "http://[fe80::a]:8080/x"},
        {"http://h/a#frag", "http://h/a"},
        {"http://h/a?#frag", "http://h/a"},
        {"http://h?utm_source=x", "http://h"},
        {"http://h/?a=1&utm_source=x&b=2&UTM_Medium=y&gclid=z&fbclid=1", "http://h/?a=1&b=2"},
        {"http://h/?utm%5Fterm=x&a", "http://h/?a="},
        {"http://h/?utm_campaign&utm_content=&_ga=1&_gac=1&_gl=1&gclsrc=1&msclkid=1&twclid=1",
            "http://h/"},
        {"http://h/?li_fat_id=1&mc_cid=1&mc_eid=1&_hsenc=1&_hsmi=1", "http://h/"},
        {"http://h/?hsCtaTracking=1&utm_id=2", "http://h/?hsCtaTracking=1&utm_id=2"},
        {"http://h/?a=b=c&&d&=e", "http://h/?a=b%3Dc&d=&=e"},
        {"http://h/?q=a+b%20c&x=~-_.*", "http://h/?q=a+b+c&x=~-_.%2A"},
        {"http://h/?q=caf%C3%A9&r=\xc3\xa9/:@", "http://h/?q=caf%C3%A9&r=%C3%A9%2F%3A%40"},
        {"http://h/?q=%ff%e2%82&r=%zz%4", "http://h/?q=%EF%BF%BD%EF%BF%BD&r=%25zz%254"},
        {"http://h/?q=a%00b", "http://h/?q=a%00b"},
        {"http://h/?gclid%00=1", "http://h/?gclid%00=1"},
        {"http://h/a;p=1?b;c=2", "http://h/a;p=1?b%3Bc=2"},
        {"ftp://h/", NULL},
        {"http:///x", NULL},
        {"not a url", NULL},
        {"", NULL},
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out = {0};
        buf_putc(&out, '>');
        bool ok = url_canonical(rows[i].s, &out);
        cr_expect_eq(ok, rows[i].want != NULL, "%s", rows[i].s);
        cr_expect_str_eq(buf_str(&out) + 1, rows[i].want ? rows[i].want : "", "%s gave %s",
            rows[i].s, buf_str(&out));
        buf_release(&out);
    }
}

Test(url, canonical_form_is_its_own_canonical_form)
{
    struct buf once = {0}, twice = {0};
    cr_assert(url_canonical("HTTP://A:b@C:1/D?e=%2f+%ff&f&utm_term=1#g", &once));
    cr_assert(url_canonical(buf_str(&once), &twice));
    cr_expect_str_eq(buf_str(&twice), buf_str(&once));
    buf_release(&once);
    buf_release(&twice);
}

Test(url, decoding_leaves_broken_escapes_as_they_are)
{
    static const struct {
        const char *s;
        bool plus;
        const char *want;
        size_t len;
    } rows[] = {
        {"",        false, "",         0},
        {"a%20b+c", false, "a b+c",    5},
        {"a%20b+c", true,  "a b c",    5},
        {"%2B",     true,  "+",        1},
        {"%",       false, "%",        1},
        {"%4",      false, "%4",       2},
        {"%g1%1g",  false, "%g1%1g",   6},
        {"%%41",    false, "%A",       2},
        {"%c3%A9",  false, "\xc3\xa9", 2},
        {"a%00b",   false, "a\0b",     3},
        {"%2541",   false, "%41",      3},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char s[32];
        snprintf(s, sizeof(s), "%s", rows[i].s);
        size_t len = url_decode(s, rows[i].plus);
        cr_expect_eq(len, rows[i].len, "%s", rows[i].s);
        cr_expect_eq(memcmp(s, rows[i].want, rows[i].len + 1), 0, "%s gave %s", rows[i].s, s);
    }
}

Test(url, query_arguments_are_found_by_their_decoded_name)
{
    static const struct {
        const char *query, *name, *want;
        size_t len;
    } rows[] = {
        {"a=1&b=2",        "b",     "2",    1},
        {"a=1&a=2",        "a",     "1",    1},
        {"aa=1&a=2",       "a",     "2",    1},
        {"tok%65n=x+y%21", "token", "x y!", 4},
        {"a",              "a",     "",     0},
        {"a=",             "a",     "",     0},
        {"&&a=b=c&",       "a",     "b=c",  3},
        {"a=x%00y",        "a",     "x\0y", 3},
        {"a%00=1&a=2",     "a",     "2",    1},
        {"",               "a",     NULL,   0},
        {"ab=1",           "a",     NULL,   0},
        {"A=1",            "a",     NULL,   0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t len = 99;
        char *got = url_query_get(rows[i].query, rows[i].name, &len);
        cr_expect_eq(got != NULL, rows[i].want != NULL, "%s", rows[i].query);
        if (got && rows[i].want) {
            cr_expect_eq(len, rows[i].len, "%s", rows[i].query);
            cr_expect_eq(memcmp(got, rows[i].want, rows[i].len + 1), 0, "%s", rows[i].query);
        }
        free(got);
        free(url_query_get(rows[i].query, rows[i].name, NULL));
    }
}

Test(url, masking_hides_passwords_wherever_they_stand)
{
    static const struct row rows[] = {
        {"redis://localhost:6379/0",                   "redis://localhost:6379/0"               },
        {"redis://:SECRET@h:1/0",                      "redis://:***@h:1/0"                     },
        {"redis://u:SECRET@h",                         "redis://u:***@h"                        },
        {"redis://u@h",                                "redis://u@h"                            },
        {"redis://u:@h",                               "redis://u:***@h"                        },
        {"postgres://u:SECRET@h1:5432,h2/db?x=y",      "postgres://u:***@h1:5432,h2/db?x=y"     },
        {"postgres://u:SEC@RET@h/db",                  "postgres://u:***@h/db"                  },
        {"postgres://u:SEC/RET@h/db",                  "postgres://u:***@h/db"                  },
        {"postgres://:12/SECRET@h/db",                 "postgres://:***@h/db"                   },
        {"postgres://u:SEC?RET#@h:x/db",               "postgres://u:***@h:x/db"                },
        {"postgres://h/db?user=u&password=SECRET&x=1", "postgres://h/db?user=u&password=***&x=1"},
        {"postgres://h/db?sslpassword=SECRET",         "postgres://h/db?sslpassword=***"        },
        {"postgres://h/db?PassWord=SECRET#x",          "postgres://h/db?PassWord=***#x"         },
        {"unix:///run/r.sock?db=1&password=SECRET",    "unix:///run/r.sock?db=1&password=***"   },
        {"http://h:80/@user",                          "http://h:80/@user"                      },
        {"http://u:SECRET@h/@user",                    "http://u:***@h/@user"                   },
        {"postgres://u:SECRET\n@h/db",                 "postgres://u:***@h/db"                  },
        {"host=h password=SECRET",                     "***"                                    },
        {"SECRET",                                     "***"                                    },
        {"",                                           ""                                       },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out = {0};
        url_mask(rows[i].s, &out);
        cr_expect_str_eq(buf_str(&out), rows[i].want, "'%s' gave '%s'", rows[i].s, buf_str(&out));
        cr_expect_null(strstr(buf_str(&out), "RET"));
        buf_release(&out);
    }
}

Test(url, of_a_repeated_argument_the_last_one_can_be_had)
{
    static const struct {
        const char *query, *value;
    } rows[] = {
        {"a=1&b=2&a=3", "3"  },
        {"a=1&%61=x+y", "x y"},
        {"a=1&a",       ""   },
        {"a=1&a=",      ""   },
        {"b=1",         NULL },
        {"",            NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = 99;
        char *got = url_query_last(rows[i].query, "a", &len);
        cr_expect(rows[i].value ? got && strcmp(got, rows[i].value) == 0 : !got, "%s: %s",
            rows[i].query, got ? got : "NULL");
        cr_expect(!got || len == strlen(got));
        free(got);
    }
}
