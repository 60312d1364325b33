/* Array literals as PostgreSQL reads them. */
#include "base/pgarray.h"

#include <criterion/criterion.h>
#include <stdint.h>

Test(pgarray, an_array_of_nothing_is_empty_braces)
{
    struct buf b = {0};
    pgarray_begin(&b);
    cr_expect_str_eq(pgarray_end(&b), "{}");
    buf_release(&b);
}

Test(pgarray, text_is_always_quoted_so_that_it_means_itself)
{
    struct buf b = {0};
    pgarray_begin(&b);
    pgarray_text(&b, "plain");
    pgarray_text(&b, "");
    pgarray_text(&b, "NULL");
    pgarray_text(&b, NULL);
    pgarray_text(&b, "a,b {c} \"d\" \\e\nf");
    pgarray_text(&b, "caf\xc3\xa9");
    cr_expect_str_eq(pgarray_end(&b),
        "{\"plain\",\"\",\"NULL\",NULL,\"a,b {c} \\\"d\\\" \\\\e\nf\",\"caf\xc3\xa9\"}");
    buf_release(&b);
}

Test(pgarray, numbers_and_nulls_are_bare)
{
    struct buf b = {0};
    pgarray_begin(&b);
    pgarray_null(&b);
    pgarray_int(&b, 0);
    pgarray_int(&b, INT64_MIN);
    pgarray_int(&b, INT64_MAX);
    pgarray_null(&b);
    cr_expect_str_eq(pgarray_end(&b), "{NULL,0,-9223372036854775808,9223372036854775807,NULL}");
    buf_release(&b);
}

Test(pgarray, a_buffer_may_be_used_again)
{
    struct buf b = {0};
    for (int i = 0; i < 3; i++) {
        pgarray_begin(&b);
        pgarray_int(&b, i);
        pgarray_end(&b);
    }
    cr_expect_str_eq(buf_str(&b), "{2}");
    buf_release(&b);
}
