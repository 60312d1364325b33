/* The cookie of the dashboard's sign-in: what it says is believed when it is ours, whole and not
 * expired, and in no other case. */
#include "base/mem.h"
#include "producer/session.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW      1800000000

static char all[] = "a-secret-of-those-who-may-change-things";
static char look[] = "a-secret-of-those-who-may-look-at-things";
static char other[] = "a-secret-that-came-after-the-other-ones";
static const struct config both = {.api_secret = all, .api_secret_readonly = look};

static struct session session(enum session_right right)
{
    return (struct session){
        .right = right, .expires_s = NOW + 1, .id = {1, 2, 3, 0xff, 0, 0x80, 7, 8, 9}
    };
}

Test(session, a_cookie_says_what_was_written)
{
    static const enum session_right rights[] = {SESSION_WRITES, SESSION_READS};
    for (size_t i = 0; i < COUNT(rights); i++) {
        struct session s = session(rights[i]), got;
        char text[SESSION_LEN + 1];
        session_write(&both, &s, text);
        cr_assert_eq(strlen(text), SESSION_LEN, "%s", text);
        cr_assert(session_read(&both, text, NOW, &got));
        cr_expect_eq(got.right, s.right);
        cr_expect_eq(got.expires_s, s.expires_s);
        cr_expect_arr_eq(got.id, s.id, SESSION_ID_LEN);
    }
}

Test(session, it_ends_in_the_second_it_names)
{
    struct session s = session(SESSION_WRITES), got;
    char text[SESSION_LEN + 1];
    session_write(&both, &s, text);
    cr_expect(session_read(&both, text, NOW, &got));
    cr_expect_not(session_read(&both, text, NOW + 1, &got));
    cr_expect_not(session_read(&both, text, NOW + 1000000, &got));
}

/* Each character is replaced by every other byte, each length is tried. */
Test(session, a_cookie_that_was_altered_is_none)
{
    struct session s = session(SESSION_READS), got;
    char text[SESSION_LEN + 2] = "";
    session_write(&both, &s, text);
    for (size_t i = 0; i < SESSION_LEN; i++) {
        char was = text[i];
        for (int byte = 0; byte < 256; byte++) {
            text[i] = (char)byte;
            cr_expect_eq(session_read(&both, text, NOW, &got), text[i] == was, "%zu: %d", i, byte);
        }
        text[i] = was;
    }
    for (size_t len = 0; len < SESSION_LEN; len++) {
        char *part = mem_strndup(text, len);
        cr_expect_not(session_read(&both, part, NOW, &got), "%zu", len);
        free(part);
    }
    text[SESSION_LEN] = 'A';
    cr_expect_not(session_read(&both, text, NOW, &got), "a longer one");
}

Test(session, a_cookie_is_one_of_its_own_secret_only)
{
    const struct config changed = {.api_secret = other, .api_secret_readonly = look};
    const struct config swapped = {.api_secret = look, .api_secret_readonly = all};
    const struct config readers = {.api_secret_readonly = look};
    struct session w = session(SESSION_WRITES), r = session(SESSION_READS), got;
    char write[SESSION_LEN + 1], read[SESSION_LEN + 1];
    session_write(&both, &w, write);
    session_write(&both, &r, read);
    cr_expect_not(session_read(&changed, write, NOW, &got), "the secret was changed");
    cr_expect(session_read(&changed, read, NOW, &got));
    cr_expect_not(session_read(&swapped, write, NOW, &got));
    cr_expect_not(session_read(&swapped, read, NOW, &got));
    cr_expect_not(session_read(&readers, write, NOW, &got), "there is no such secret any more");
    cr_expect_not(session_read(&(struct config){0}, read, NOW, &got));
}

Test(session, a_token_is_one_of_its_own_session_only)
{
    struct session w = session(SESSION_WRITES), r = session(SESSION_READS), again = w;
    char one[SESSION_CSRF_LEN + 1], two[SESSION_CSRF_LEN + 1], three[SESSION_CSRF_LEN + 1];
    again.id[SESSION_ID_LEN - 1] ^= 1;
    session_csrf(&both, &w, one);
    session_csrf(&both, &again, two);
    session_csrf(&both, &r, three);
    cr_expect_eq(strlen(one), SESSION_CSRF_LEN);
    cr_expect_str_neq(one, two);
    cr_expect_str_neq(one, three);
    again.id[SESSION_ID_LEN - 1] ^= 1;
    again.expires_s++;
    session_csrf(&both, &again, two);
    cr_expect_str_eq(one, two, "it is the session's for as long as that lasts");
}

#define X79 "0123456789012345678901234567890123456789012345678901234567890123456789012345678"
Test(session, cookies_are_counted_by_name)
{
    static const struct {
        const char *header;
        int n;
        bool whole;
    } cases[] = {
        {"",                                                             0, false},
        {"a=b; hookline_sessions=x",                                     0, false},
        {"xhookline_session=" X79,                                       0, false},
        {"hookline_session=" X79,                                        1, true },
        {"a=b;hookline_session=" X79 " ;c=d",                            1, true },
        {"a=b; hookline_session=short",                                  1, false},
        {"hookline_session=" X79 "x",                                    1, false},
        {"hookline_session=",                                            1, false},
        {"hookline_session=" X79 "; hookline_session=" X79,              2, true },
        {"hookline_session=" X79 ", a=b; hookline_session=" X79 "; c=d", 2, true },
        {"hookline_session=short;hookline_session=" X79,                 2, true },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[SESSION_LEN + 1];
        int n = session_cookies(cases[i].header, out);
        cr_expect_eq(n, cases[i].n, "%s: %d", cases[i].header, n);
        cr_expect_str_eq(out, cases[i].whole ? X79 : "", "%s: %s", cases[i].header, out);
    }
}

Test(session, a_secret_gives_its_right_and_nothing_else_does)
{
    static const struct {
        const char *given;
        enum session_right right;
    } cases[] = {
        {all,                                                SESSION_WRITES},
        {look,                                               SESSION_READS },
        {"",                                                 SESSION_WRONG },
        {"Bearer ",                                          SESSION_WRONG },
        {"Bearer  a-secret-of-those-who-may-look-at-things", SESSION_WRONG },
        {"Bearer a-secret-of-those-who-may-look-at-things",  SESSION_READS },
        {"bearer a-secret-of-those-who-may-look-at-things",  SESSION_WRONG },
        {"a-secret-of-those-who-may-look-at-thing",          SESSION_WRONG },
        {"a-secret-of-those-who-may-look-at-things\xc3\xa9", SESSION_WRONG },
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        cr_expect_eq(
            session_by_header(&both, cases[i].given), cases[i].right, "%s", cases[i].given);
    cr_expect_eq(session_by_header(&(struct config){0}, ""), SESSION_WRONG, "no secret, no right");
    cr_expect_eq(
        session_by_header(&(struct config){.api_secret_readonly = look}, all), SESSION_WRONG);
}
