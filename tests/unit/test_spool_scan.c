/* spool_scan: what lies in a folder of spool segments, and what is no frame. */
#include "io/spool_scan.h"

#include "base/buf.h"
#include "io/spool_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static struct buf seen; /* "SEGMENT:record " or "SEGMENT?length " */
static int enough;      /* after so many sights; 0 = never */

static void start(void)
{
    snprintf(dir, sizeof(dir), "/tmp/hookline-scan-XXXXXX");
    cr_assert(mkdtemp(dir));
    enough = 0;
}

static void stop(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
    buf_release(&seen);
}

TestSuite(spool_scan, .init = start, .fini = stop, .timeout = 30);

static bool see(const struct spool_sight *s, void *ctx)
{
    (void)ctx;
    if (s->record)
        buf_printf(&seen, "%s:%.*s ", s->segment, (int)(s->len < 20 ? s->len : 20),
            (const char *)s->record);
    else
        buf_printf(&seen, "%s?%zu ", s->segment, s->len);
    return --enough != 0;
}

static const char *scan(void)
{
    struct hl_err err = {0};
    buf_clear(&seen);
    cr_assert_eq(spool_scan(dir, see, NULL, &err), HL_OK, "%s", err.msg);
    return buf_str(&seen);
}

static void write_file(const char *name, const struct buf *b)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert(f);
    cr_assert_eq(fwrite(b->data, 1, b->len, f), b->len);
    fclose(f);
}

static struct buf segment(void)
{
    struct buf b = {0};
    buf_append(&b, SPOOL_MAGIC, SPOOL_START);
    return b;
}

Test(spool_scan, every_whole_frame_is_seen_in_order_and_nothing_of_an_empty_segment)
{
    struct buf b = segment();
    write_file("empty.seg", &b);
    spool_put_frame(&b, "one", 3);
    spool_put_frame(&b, "two", 3);
    write_file("a.seg", &b);
    write_file("a.seg.cut", &b);
    write_file("notes.txt", &b);
    cr_expect_str_eq(scan(), "a.seg:one a.seg:two ");
    b.len = 5; /* being made */
    write_file("a.seg", &b);
    cr_expect_str_eq(scan(), "");
    buf_release(&b);
}

Test(spool_scan, a_torn_tail_is_no_frame_and_damage_does_not_hide_what_is_behind)
{
    struct buf b = segment();
    spool_put_frame(&b, "one", 3);
    spool_put_frame(&b, "damaged", 7);
    spool_put_frame(&b, "three", 5);
    b.data[SPOOL_START + SPOOL_FRAME_HEAD + 3 + SPOOL_FRAME_HEAD] ^= 1;
    buf_append(&b, "\x20\0\0\0torn", 8);
    write_file("a.seg", &b);
    cr_expect_str_eq(scan(), "a.seg:one a.seg?15 a.seg:three a.seg?8 ");
    buf_release(&b);
}

Test(spool_scan, a_file_that_is_no_segment_is_no_frame_as_a_whole)
{
    struct buf b = {0};
    buf_puts(&b, "some other file");
    write_file("a.seg", &b);
    cr_expect_str_eq(scan(), "a.seg?15 ");
    buf_release(&b);
}

Test(spool_scan, segments_larger_than_the_window_are_seen_whole)
{
    enum { RECORDS = 300, SIZE = 50000 };
    struct buf b = segment(), record = {0};
    int n = 0;
    for (int i = 0; i < RECORDS; i++) {
        buf_clear(&record);
        buf_printf(&record, "record %d", i);
        memset(buf_reserve(&record, SIZE), 'x', SIZE);
        record.len += SIZE;
        spool_put_frame(&b, record.data, record.len);
    }
    write_file("a.seg", &b);
    for (const char *p = scan(); (p = strstr(p, "a.seg:record ")); p++)
        n++;
    cr_expect_eq(n, RECORDS);
    buf_release(&b);
    buf_release(&record);
}

Test(spool_scan, it_stops_when_that_is_enough)
{
    struct buf b = segment();
    spool_put_frame(&b, "one", 3);
    spool_put_frame(&b, "two", 3);
    write_file("a.seg", &b);
    write_file("b.seg", &b);
    enough = 1;
    cr_expect_eq(strlen(scan()), strlen("a.seg:one "), "%s", buf_str(&seen));
    buf_release(&b);
}

Test(spool_scan, a_folder_that_is_not_there_is_named)
{
    struct hl_err err = {0};
    cr_expect_eq(spool_scan("/nowhere/at/all", see, NULL, &err), HL_FATAL);
    cr_expect(strstr(err.msg, "/nowhere/at/all"), "%s", err.msg);
}
