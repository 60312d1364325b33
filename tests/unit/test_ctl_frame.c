/* The frame of hooklinectl: how rows look, which command was meant, what counts as a yes. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "worker/ctl/confirm.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/listing.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <locale.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void as_in_main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    setenv("TZ", "UTC", 1);
}
TestSuite(ctl_frame, .init = as_in_main);

/* --- listings: the table ----------------------------------------------------------------- */

static const struct column columns[] = {
    {"id",    "ID",    COLUMN_INT,   0},
    {"state", "STATE", COLUMN_STATE, 0},
    {"url",   "URL",   COLUMN_TEXT,  6},
    {"more",  NULL,    COLUMN_JSON,  0},
};
#define LISTING(c)                                                                                 \
    {                                                                                              \
        .columns = (c), .n = sizeof(c) / sizeof((c)[0])                                            \
    }
#define ROW(l, ...) listing_add((l), (const char *const[]){__VA_ARGS__})

static void expect_table(const struct listing *l, int width, bool colour, const char *expected)
{
    struct buf out = {0};
    listing_put(l, &out, width, colour);
    cr_expect_str_eq(buf_str(&out), expected);
    buf_release(&out);
}

Test(ctl_frame, numbers_stand_to_the_right_and_lines_end_without_blanks)
{
    struct listing l = LISTING(columns);
    ROW(&l, "7", "queued", "http://a/", NULL);
    ROW(&l, "1234", "failed: x", NULL, "{}");
    expect_table(&l, 0, false,
        "  ID  STATE      URL\n"
        "   7  queued     http://a/\n"
        "1234  failed: x  -\n");
    listing_release(&l);
}

Test(ctl_frame, what_may_shrink_is_cut_where_the_terminal_is_narrow)
{
    struct listing l = LISTING(columns);
    ROW(&l, "7", "queued", "http://a.long.example/", NULL);
    expect_table(&l, 24, false, "ID  STATE   URL\n 7  queued  http://a.lo…\n");
    expect_table(&l, 5, false, "ID  STATE   URL\n 7  queued  http:…\n"); /* never below its least */
    listing_release(&l);
}

Test(ctl_frame, wide_characters_take_two_columns)
{
    static const struct column two[] = {
        {"a", "A", COLUMN_TEXT, 3},
        {"b", "B", COLUMN_TEXT, 0}
    };
    struct listing l = LISTING(two);
    ROW(&l, "日本語", "x");
    ROW(&l, "é", "y");
    expect_table(&l, 0, false, "A       B\n日本語  x\né       y\n");
    expect_table(&l, 8, false, "A      B\n日本…  x\né      y\n");
    listing_release(&l);
}

Test(ctl_frame, colours_do_not_count_as_width)
{
    static const struct column two[] = {
        {"s", "S", COLUMN_STATE, 0},
        {"b", "B", COLUMN_TEXT,  0}
    };
    struct listing l = LISTING(two);
    ROW(&l, "failed: no", "x");
    ROW(&l, "odd", "y");
    expect_table(&l, 0, true,
        "\033[1mS           B\033[0m\n"
        "\033[31mfailed: no\033[0m  x\n"
        "odd         y\n");
    listing_release(&l);
}

Test(ctl_frame, a_cell_is_one_line_without_control_characters)
{
    static const struct column one[] = {
        {"a", "A", COLUMN_TEXT, 0}
    };
    struct listing l = LISTING(one);
    ROW(&l, "two\nlines \033[31m red\xff");
    struct buf out = {0};
    listing_put(&l, &out, 0, false);
    cr_expect_null(strchr(buf_str(&out), '\033'));
    cr_expect_not_null(strstr(buf_str(&out), "two lines"));
    cr_expect_eq(strchr(strchr(buf_str(&out), '\n') + 1, '\n'), buf_str(&out) + out.len - 1);
    buf_release(&out);
    listing_release(&l);
}

Test(ctl_frame, nothing_in_a_cell_steers_the_terminal)
{
    static const char *const bad[] = {"a\033]0;title\ab",
        "a\xc2\x9b"
        "31mb",
        "a\x9b"
        "31mb",
        "a\x7f"
        "b",
        "a\xe2\x80\xae"
        "b",
        "a\xe2\x81\xa6"
        "b",
        "a\xd8\x9c"
        "b",
        "a\rb", "a\bb"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf out = {0};
        put_cell(&out, bad[i], 100);
        const char *text = buf_str(&out);
        cr_expect(text[0] == 'a' && text[out.len - 1] == 'b', "%zu: %s", i, text);
        cr_expect(text_utf8_valid(text, out.len));
        for (size_t k = 0, n; k < out.len; k += n) {
            uint32_t cp;
            n = text_next(text + k, out.len - k, &cp);
            cr_expect_not(text_steers(cp), "%zu: U+%04x", i, (unsigned)cp);
        }
        buf_release(&out);
    }
}

Test(ctl_frame, json_escapes_what_steers_a_terminal_and_stays_the_same_text)
{
    static const char text[] = "{\"a\":\"\xc2\x9b"
                               "2J \x7f \xe2\x80\xae \xe6\x97\xa5 \xc3\xa9\"}";
    struct buf line = {0};
    char shown[200] = "";
    FILE *kept = stdout, *file = fmemopen(shown, sizeof(shown), "w");
    buf_puts(&line, text);
    stdout = file;
    print_line(&line);
    stdout = kept;
    fclose(file);
    cr_expect_str_eq(shown, "{\"a\":\"\\u009b2J \\u007f \\u202e \xe6\x97\xa5 \xc3\xa9\"}\n");
}

static struct buf taken;

static const char *duration(int64_t ms)
{
    buf_clear(&taken);
    put_duration(&taken, ms);
    return buf_str(&taken);
}

static const char *bytes(int64_t n)
{
    buf_clear(&taken);
    put_bytes(&taken, n);
    return buf_str(&taken);
}

Test(ctl_frame, durations_and_sizes_have_two_parts_at_most)
{
    cr_expect_str_eq(duration(350), "350ms");
    cr_expect_str_eq(duration(59999), "59s");
    cr_expect_str_eq(duration(200000), "3m20s");
    cr_expect_str_eq(duration(3600000 + 120000), "1h02m");
    cr_expect_str_eq(duration(52 * INT64_C(3600000)), "2d04h");
    cr_expect_str_eq(bytes(1023), "1023B");
    cr_expect_str_eq(bytes(1536), "1.5k");
    cr_expect_str_eq(bytes(12 << 20), "12M");
    cr_expect_str_eq(bytes(1023 << 10), "1.0M");
    buf_release(&taken);
}

/* --- listings: JSON ---------------------------------------------------------------------- */

static int64_t fixed_wall(void)
{
    return INT64_C(1000090) * 1000000;
}

Test(ctl_frame, one_description_makes_the_table_and_the_json)
{
    static const struct column all[] = {
        {"text", "TEXT", COLUMN_TEXT,     0},
        {"n",    "N",    COLUMN_INT,      0},
        {"yes",  "YES",  COLUMN_BOOL,     0},
        {"at",   "AT",   COLUMN_TIME,     0},
        {"ago",  "AGO",  COLUMN_AGO,      0},
        {"ms",   "TOOK", COLUMN_DURATION, 0},
        {"size", "SIZE", COLUMN_BYTES,    0},
        {"tree", "TREE", COLUMN_JSON,     0},
        {NULL,   "SEEN", COLUMN_TEXT,     0},
    };
    struct listing l = LISTING(all);
    clock_replace(NULL, fixed_wall);
    ROW(&l, "a\"b", "5", "t", "1000000000000", "1000000000000", "1500", "2048", "{ \"x\": [1] }",
        "only here");
    ROW(&l, "", "", "", NULL, NULL, NULL, NULL, NULL, NULL);
    expect_table(&l, 0, false,
        "TEXT  N  YES  AT                     AGO  TOOK  SIZE  SEEN\n"
        "a\"b   5  yes  1970-01-12 13:46:40  1m30s    1s  2.0k  only here\n"
        "-     -  -    -                        -     -     -  -\n");
    struct buf out = {0};
    listing_put_json(&l, &out);
    cr_expect_str_eq(buf_str(&out),
        "[{\"text\":\"a\\\"b\",\"n\":5,\"yes\":true,\"at\":\"1970-01-12T13:46:40Z\","
        "\"ago\":\"1970-01-12T13:46:40Z\",\"ms\":1500,\"size\":2048,\"tree\":{\"x\":[1]}},"
        "{\"text\":\"\",\"n\":null,\"yes\":null,\"at\":null,\"ago\":null,\"ms\":null,"
        "\"size\":null,\"tree\":null}]");
    clock_replace(NULL, NULL);
    buf_release(&out);
    listing_release(&l);
}

Test(ctl_frame, many_rows_are_all_kept)
{
    static const struct column one[] = {
        {"n", "N", COLUMN_INT, 0}
    };
    struct listing l = LISTING(one);
    char text[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        ROW(&l, text);
    }
    cr_assert_eq(listing_rows(&l), 1000);
    for (size_t i = 0; i < 1000; i++)
        cr_assert_eq((size_t)atoi(listing_cell(&l, i, 0)), i);
    listing_release(&l);
}

/* --- commands ---------------------------------------------------------------------------- */

Test(ctl_frame, a_misspelt_verb_finds_the_right_one)
{
    static const struct {
        const char *typed, *meant;
    } cases[] = {
        {"statsu",                                       "status" },
        {"stat",                                         "status" },
        {"aduit",                                        "audit"  },
        {"migrated",                                     "migrate"},
        {"sned",                                         "send"   },
        {"rejetcs",                                      "rejects"},
        {"xyzzy",                                        NULL     },
        {"",                                             NULL     },
        {"a-word-that-is-longer-than-any-verb-could-be", NULL     },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *found = ctl_nearest(ctl_commands, cases[i].typed);
        if (cases[i].meant)
            cr_expect(found && strcmp(found, cases[i].meant) == 0, "%s: %s", cases[i].typed,
                found ? found : "nothing");
        else
            cr_expect_null(found, "%s: %s", cases[i].typed, found);
    }
}

static void check_options(const struct ctl_command *c)
{
    int n = 0;
    for (const struct ctl_option *o = c->options; o && o->key; o++, n++) {
        cr_expect(o->name && *o->name && o->help && *o->help, "%s: option %d", c->name, n);
        for (const struct ctl_option *other = c->options; other < o; other++)
            cr_expect(other->key != o->key && strcmp(other->name, o->name) != 0, "%s: --%s twice",
                c->name, o->name);
    }
    cr_expect_leq(n, CTL_MAX_OPTIONS, "%s", c->name);
}

static void check_command(const struct ctl_command *c, const char *noun)
{
    cr_assert(c->name && c->summary && c->about);
    if (noun)
        cr_expect(strncmp(c->name, noun, strlen(noun)) == 0 && c->name[strlen(noun)] == ' ',
            "%s is an action of %s", c->name, noun);
    cr_expect_neq(c->summary[strlen(c->summary) - 1], '.', "%s", c->name);
    cr_expect_eq(c->about[strlen(c->about) - 1], '\n', "%s", c->name);
    cr_expect_neq(c->actions == NULL, c->run == NULL, "%s is either a noun or runs", c->name);
    if (c->run) {
        cr_expect(c->examples && strstr(c->examples, c->name), "%s has no example", c->name);
        cr_expect(c->examples && c->examples[strlen(c->examples) - 1] == '\n', "%s", c->name);
    }
    check_options(c);
}

Test(ctl_frame, every_command_is_whole_and_found_by_its_name)
{
    for (const struct ctl_command *const *c = ctl_commands; *c; c++) {
        check_command(*c, NULL);
        cr_expect_eq(ctl_find(ctl_commands, (*c)->name), *c, "%s", (*c)->name);
        for (const struct ctl_command *const *a = (*c)->actions; a && *a; a++) {
            check_command(*a, (*c)->name);
            cr_expect_eq(ctl_find((*c)->actions, ctl_word(*a)), *a, "%s", (*a)->name);
        }
    }
}

/* --- confirm ----------------------------------------------------------------------------- */

static const struct ctl_command writer = {.name = "writer", .summary = "w", .about = "w\n"};

/* Standard input says that; the questions go nowhere. */
static void answers(const char *text)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    close(ends[1]);
    cr_assert_geq(dup2(ends[0], STDIN_FILENO), 0);
    close(ends[0]);
    clearerr(stdin);
    setvbuf(stdin, NULL, _IONBF, 0); /* what one question leaves is for the next */
}

Test(ctl_frame, only_a_yes_is_a_yes)
{
    static const struct {
        const char *typed;
        int code;
    } cases[] = {
        {"y\n",    -1       },
        {"YES\n",  -1       },
        {"yes",    -1       },
        {"n\n",    CTL_ERROR},
        {"\n",     CTL_ERROR},
        {"",       CTL_ERROR},
        {"yeah\n", CTL_ERROR},
        {"y y\n",  CTL_ERROR}
    };
    struct ctl_args args = {.command = &writer};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        answers(cases[i].typed);
        cr_expect_eq(confirm(&args, "Do it?"), cases[i].code, "'%s'", cases[i].typed);
    }
}

Test(ctl_frame, a_dry_run_ends_before_the_question_and_yes_answers_it)
{
    answers("y\n");
    struct ctl_args dry =
                        {
                            .command = &writer, .shared = {.dry_run = true, .yes = true}
    },
                    yes = {.command = &writer, .shared = {.yes = true}};
    cr_expect_eq(confirm(&dry, "Do it?"), CTL_OK);
    cr_expect_eq(confirm_loss(&dry, 3, "3", "Do it?"), CTL_OK);
    cr_expect_eq(confirm(&yes, "Do it?"), -1);
}

Test(ctl_frame, nobody_can_be_asked_without_a_terminal)
{
    int keyboard, terminal;
    struct ctl_args args = {.command = &writer}, yes = {.command = &writer, .shared.yes = true};
    answers("y\n");
    cr_expect_eq(confirm_possible(&args), CTL_USAGE);
    cr_expect_eq(confirm_possible(&yes), -1);
    cr_assert_eq(openpty(&keyboard, &terminal, NULL, NULL, NULL), 0);
    cr_assert_geq(dup2(terminal, STDIN_FILENO), 0);
    cr_expect_eq(confirm_possible(&args), -1);
}

Test(ctl_frame, what_cannot_be_had_back_needs_the_number)
{
    int keyboard, terminal;
    struct ctl_args yes = {.command = &writer, .shared.yes = true}, args = {.command = &writer};
    answers("");
    cr_expect_eq(confirm_loss(&yes, 12, "12", "Lose?"), -1);
    cr_expect_eq(confirm_loss(&yes, 12, "13", "Lose?"), CTL_ERROR);
    cr_expect_eq(confirm_loss(&yes, 12, NULL, "Lose?"), CTL_USAGE, "--yes alone is not enough");

    cr_assert_eq(openpty(&keyboard, &terminal, NULL, NULL, NULL), 0);
    cr_assert_geq(dup2(terminal, STDIN_FILENO), 0);
    clearerr(stdin);
    static const struct {
        const char *typed;
        int code;
    } cases[] = {
        {"y\n12\n", -1       },
        {"y\n1\n",  CTL_ERROR},
        {"y\ny\n",  CTL_ERROR},
        {"n\n",     CTL_ERROR}
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].typed);
        cr_assert_eq(write(keyboard, cases[i].typed, len), (ssize_t)len);
        cr_expect_eq(confirm_loss(&args, 12, NULL, "Lose?"), cases[i].code, "%zu", i);
    }
}
