/* What terminals send for keys, in whatever pieces. */
#include "worker/ctl/top_keys.h"

#include <criterion/criterion.h>
#include <string.h>

static void feed(struct top_keys *k, const char *bytes)
{
    keys_feed(k, bytes, strlen(bytes));
}

Test(top_keys, sequences_are_keys)
{
    static const struct {
        const char *bytes;
        int key;
    } cases[] = {
        {"\033[A",    KEY_UP       },
        {"\033OA",    KEY_UP       },
        {"\033[B",    KEY_DOWN     },
        {"\033[5~",   KEY_PAGE_UP  },
        {"\033[6~",   KEY_PAGE_DOWN},
        {"\033[H",    KEY_HOME     },
        {"\033[4~",   KEY_END      },
        {"\033[Z",    KEY_BACKTAB  },
        {"\r",        KEY_ENTER    },
        {"\n",        KEY_ENTER    },
        {"\b",        KEY_BACKSPACE},
        {"\177",      KEY_BACKSPACE},
        {"\t",        KEY_TAB      },
        {"\xc3",      0xc3         },
        {"\033[1;5Q", KEY_NONE     },
        {"\033[25~",  KEY_NONE     },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct top_keys k = {0};
        feed(&k, cases[i].bytes);
        cr_expect_eq(keys_next(&k), cases[i].key, "case %zu", i);
        cr_expect_not(keys_partial(&k), "case %zu", i);
    }
}

Test(top_keys, a_sequence_may_come_byte_by_byte)
{
    struct top_keys k = {0};
    feed(&k, "j\033");
    cr_expect_eq(keys_next(&k), 'j');
    cr_expect_eq(keys_next(&k), KEY_NONE);
    cr_expect(keys_partial(&k));
    feed(&k, "[");
    cr_expect_eq(keys_next(&k), KEY_NONE);
    feed(&k, "Aq");
    cr_expect_eq(keys_next(&k), KEY_UP);
    cr_expect_eq(keys_next(&k), 'q');
}

Test(top_keys, escape_is_a_key_when_nothing_follows_or_something_else_does)
{
    struct top_keys k = {0};
    feed(&k, "\033");
    cr_expect_eq(keys_next(&k), KEY_NONE);
    cr_expect_eq(keys_flush(&k), KEY_ESCAPE);
    cr_expect_eq(keys_flush(&k), KEY_NONE);
    feed(&k, "\033q");
    cr_expect_eq(keys_next(&k), KEY_ESCAPE);
    cr_expect_eq(keys_next(&k), 'q');
}

Test(top_keys, a_paste_has_a_beginning_and_an_end)
{
    struct top_keys k = {0};
    feed(&k, "\033[200~p\033[201~q");
    cr_expect_eq(keys_next(&k), KEY_PASTE);
    cr_expect_eq(keys_next(&k), 'p');
    cr_expect_eq(keys_next(&k), KEY_PASTE_END);
    keys_drop(&k);
    cr_expect_eq(keys_next(&k), KEY_NONE);
}

Test(top_keys, what_never_ends_is_dropped_and_no_more_is_kept_than_fits)
{
    struct top_keys k = {0};
    char many[1000];
    memset(many, '1', sizeof(many));
    feed(&k, "\033[");
    keys_feed(&k, many, sizeof(many));
    for (int i = 0; keys_next(&k) != KEY_NONE; i++)
        cr_assert_lt(i, 1000);
    cr_expect_not(keys_partial(&k));
    feed(&k, "q");
    cr_expect_eq(keys_next(&k), 'q');
}
