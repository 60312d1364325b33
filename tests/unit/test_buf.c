/* Growable bytes: growth, termination, formatting, consumption, hand-over. */
#include "base/buf.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

Test(buf, an_empty_buffer_reads_as_the_empty_string)
{
    struct buf b = {0};
    cr_expect_str_eq(buf_str(&b), "");
    buf_clear(&b);
    buf_consume(&b, 5);
    buf_append(&b, NULL, 0);
    buf_puts(&b, "");
    cr_expect_str_eq(buf_str(&b), "");
    cr_expect_eq(b.len, 0);
    buf_release(&b);
    buf_release(&b);
    cr_expect_null(b.data);
}

Test(buf, content_stays_terminated_and_whole_over_many_growths)
{
    struct buf b = {0};
    for (int i = 0; i < 100000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        cr_assert_eq(b.data[b.len], '\0');
    }
    cr_expect_eq(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(b.data[i], 'a' + i % 26);
    buf_release(&b);
}

Test(buf, bytes_with_nul_are_kept)
{
    struct buf b = {0};
    buf_append(&b, "a\0b", 3);
    buf_append(&b, "\0", 1);
    cr_expect_eq(b.len, 4);
    cr_expect_eq(memcmp(b.data, "a\0b\0", 5), 0);
    buf_release(&b);
}

Test(buf, reserve_gives_room_without_changing_the_content)
{
    struct buf b = {0};
    buf_puts(&b, "head");
    char *to = buf_reserve(&b, 1000);
    cr_expect_eq(b.len, 4);
    cr_expect_geq(b.cap, 1005);
    memset(to, 'x', 1000);
    b.len += 1000;
    buf_putc(&b, '!');
    cr_expect_eq(memcmp(b.data, "headx", 5), 0);
    cr_expect_eq(b.data[1004], '!');
    buf_release(&b);
}

Test(buf, formatted_text_of_every_length_arrives_whole)
{
    for (int n = 0; n < 600; n++) {
        struct buf b = {0};
        buf_puts(&b, "<");
        buf_printf(&b, "%*d|%s", n, 7, "end");
        size_t width = n > 0 ? (size_t)n : 1;
        cr_assert_eq(b.len, 1 + width + 4, "width %d", n);
        cr_assert_eq(strlen(b.data), b.len);
        cr_assert_str_eq(b.data + b.len - 5, "7|end");
        buf_release(&b);
    }
}

Test(buf, formatting_nothing_leaves_a_valid_string)
{
    struct buf b = {0};
    buf_printf(&b, "%s", "");
    cr_expect_eq(b.len, 0);
    cr_expect_str_eq(b.data, "");
    buf_release(&b);
}

Test(buf, consume_drops_from_the_front)
{
    struct buf b = {0};
    buf_puts(&b, "0123456789");
    buf_consume(&b, 0);
    cr_expect_str_eq(b.data, "0123456789");
    buf_consume(&b, 3);
    cr_expect_str_eq(b.data, "3456789");
    cr_expect_eq(b.len, 7);
    buf_consume(&b, 7);
    cr_expect_str_eq(b.data, "");
    buf_puts(&b, "again");
    buf_consume(&b, SIZE_MAX);
    cr_expect_eq(b.len, 0);
    cr_expect_str_eq(b.data, "");
    buf_release(&b);
}

Test(buf, clear_keeps_the_memory)
{
    struct buf b = {0};
    buf_puts(&b, "some text");
    size_t cap = b.cap;
    buf_clear(&b);
    cr_expect_eq(b.cap, cap);
    cr_expect_str_eq(buf_str(&b), "");
    buf_release(&b);
}

Test(buf, detach_hands_over_a_string_and_leaves_an_empty_buffer)
{
    struct buf b = {0};
    char *empty = buf_detach(&b);
    cr_expect_str_eq(empty, "");
    buf_puts(&b, "mine");
    char *text = buf_detach(&b);
    cr_expect_str_eq(text, "mine");
    cr_expect_null(b.data);
    cr_expect_eq(b.len + b.cap, 0);
    free(empty);
    free(text);
}

Test(buf, a_size_that_overflows_aborts, .signal = SIGABRT)
{
    struct buf b = {0};
    buf_puts(&b, "xyz");
    buf_reserve(&b, SIZE_MAX - 2);
}

Test(buf, the_largest_size_aborts, .signal = SIGABRT)
{
    struct buf b = {0};
    buf_reserve(&b, SIZE_MAX);
}
