/* redrive: what is written down of a plan, and the pace of its walk. */
#include "domain/redrive.h"

#include <criterion/criterion.h>
#include <string.h>

Test(redrive, a_token_is_eight_hexadecimal_digits)
{
    char token[REDRIVE_TOKEN_LEN + 1], other[REDRIVE_TOKEN_LEN + 1];
    redrive_token(token);
    redrive_token(other);
    cr_expect(redrive_is_token(token), "%s", token);
    cr_expect_str_neq(token, other);
    static const char *const none[] = {
        "", "1f0c93a", "1f0c93abc", "1F0C93AB", "1f0c93a/", "1f0c93ag"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        cr_expect(!redrive_is_token(none[i]), "%s", none[i]);
}

Test(redrive, a_filter_is_written_as_it_was_given)
{
    const int64_t since = 0, until = 1767225600000000;
    struct buf b = {0};
    redrive_put_filter(&(struct failed_filter){0}, &b);
    cr_expect_str_eq(buf_str(&b), "{}");
    buf_clear(&b);
    redrive_put_filter(
        &(struct failed_filter){
            .url = "http://a/", .watch = "w", .since = &since, .until = &until, .error = "\"x\""},
        &b);
    cr_expect_str_eq(buf_str(&b),
        "{\"url\":\"http://a/\",\"watch_id\":\"w\",\"since\":\"1970-01-01T00:00:00Z\","
        "\"until\":\"2026-01-01T00:00:00Z\",\"error\":\"\\\"x\\\"\"}");
    buf_release(&b);
}

Test(redrive, the_walk_keeps_its_pace_and_does_not_make_up_for_more_than_a_second)
{
    struct redrive_walk w;
    redrive_walk_begin(&w, 10, 1000);
    cr_expect_eq(redrive_walk_allowed(&w, 1000), 1, "the first goes at once");
    w.queued = 1;
    cr_expect_eq(redrive_walk_allowed(&w, 1050), 0);
    cr_expect_eq(redrive_walk_allowed(&w, 1100), 1);
    cr_expect_eq(redrive_walk_allowed(&w, 1300), 3);
    cr_expect_eq(redrive_walk_allowed(&w, 61000), 10, "a minute away is worth a second");
    w.queued += 10;
    cr_expect_eq(redrive_walk_allowed(&w, 61000), 0);
    cr_expect_eq(redrive_walk_wait_ms(&w), 100);
    redrive_walk_begin(&w, 100000, 0);
    cr_expect_eq(redrive_walk_allowed(&w, 1000), 500, "so many at once, and no more");
    cr_expect_eq(redrive_walk_wait_ms(&w), 50);
    redrive_walk_begin(&w, 0.01, 0);
    cr_expect_eq(redrive_walk_wait_ms(&w), 1000, "a stop is to be noticed");
}

Test(redrive, a_walk_is_over_when_a_second_round_finds_nothing_either)
{
    struct redrive_walk w;
    redrive_walk_begin(&w, 10, 0);
    w.after = 7;
    cr_expect(!redrive_walk_over(&w));
    cr_expect_eq(w.after, 0, "from the beginning");
    cr_expect(redrive_walk_over(&w));
}
