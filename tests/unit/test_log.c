/* Log lines as they leave the process: standard error is a pipe here. */
#include "base/log.h"

#include "base/clock.h"
#include "base/trace.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char seen[8192];
static int saved, fds[2];

static void capture(void)
{
    cr_assert_eq(pipe(fds), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
}

/* What was written since capture. */
static const char *captured(void)
{
    dup2(saved, STDERR_FILENO);
    ssize_t n = read(fds[0], seen, sizeof(seen) - 1);
    seen[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    close(fds[1]);
    return seen;
}

static int64_t fixed_wall(void)
{
    return INT64_C(1767323045678901); /* 2026-01-02T03:04:05.678901Z */
}

Test(log, a_json_line_carries_time_level_program_and_fields)
{
    char want[512];
    clock_replace(NULL, fixed_wall);
    log_open("prog", LOG_INFO, LOG_JSON);
    capture();
    log_warn("job_failed", LOG_S("id", "a-1"), LOG_I("attempt", -2), LOG_D("seconds", 1.5),
        LOG_B("again", 1), LOG_B("last", 0), LOG_S("none", NULL), LOG_D("bad", NAN),
        LOG_I("big", INT64_MAX));
    snprintf(want, sizeof(want),
        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"program\":\"prog\",\"pid\":%d,"
        "\"event\":\"job_failed\",\"id\":\"a-1\",\"attempt\":-2,\"seconds\":1.500,\"again\":true,"
        "\"last\":false,\"none\":null,\"bad\":null,\"big\":9223372036854775807}\n",
        (int)getpid());
    cr_expect_str_eq(captured(), want);
}

Test(log, json_strings_are_escaped_so_that_a_parser_gets_them_back)
{
    static const char nasty[] = "quote \" back\\slash \n\r\t \x01\x1f\x7f caf\xc3\xa9 </script>";
    log_open("prog", LOG_INFO, LOG_JSON);
    capture();
    log_info("odd", LOG_S("text", nasty), LOG_S("empty", ""));
    const char *line = captured();
    json_error_t error;
    json_t *root = json_loads(line, 0, &error);
    cr_assert_not_null(root, "%s: %s", error.text, line);
    cr_expect_str_eq(json_string_value(json_object_get(root, "text")), nasty);
    cr_expect_str_eq(json_string_value(json_object_get(root, "empty")), "");
    cr_expect_eq(strchr(line, '\n'), line + strlen(line) - 1, "more than one line: %s", line);
    json_decref(root);
}

Test(log, a_line_may_have_no_field)
{
    log_open("prog", LOG_DEBUG, LOG_JSON);
    capture();
    log_debug("idle");
    const char *line = captured();
    cr_expect(strstr(line, "\"event\":\"idle\"}\n"), "%s", line);
}

Test(log, lines_below_the_level_are_not_written)
{
    static const struct {
        enum log_level level;
        const char *want;
    } rows[] = {
        {LOG_DEBUG, "diwe"},
        {LOG_INFO,  "iwe" },
        {LOG_WARN,  "we"  },
        {LOG_ERROR, "e"   }
    };
    for (int set = 0; set < 2; set++) {
        for (size_t i = 0; i < 4; i++) {
            char got[8] = "";
            log_open("prog", set ? LOG_ERROR : rows[i].level, LOG_JSON);
            if (set)
                log_set_level(rows[i].level);
            capture();
            log_debug("xd");
            log_info("xi");
            log_warn("xw");
            log_error("xe");
            size_t n = 0;
            for (const char *p = captured(); (p = strstr(p, "\"event\":\"x")); p += 10)
                got[n++] = p[10];
            cr_expect_str_eq(got, rows[i].want, "level %zu", i);
        }
    }
}

Test(log, each_level_has_its_name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    log_open("prog", LOG_DEBUG, LOG_JSON);
    for (int i = 0; i < 4; i++) {
        char want[40];
        snprintf(want, sizeof(want), "\"level\":\"%s\"", names[i]);
        capture();
        log_write((enum log_level)i, "x", 0, NULL);
        cr_expect(strstr(captured(), want), "%s", seen);
    }
}

Test(log, text_quotes_what_would_not_read_as_one_word)
{
    char want[256];
    setenv("TZ", "UTC", 1);
    clock_replace(NULL, fixed_wall);
    log_open("prog", LOG_INFO, LOG_TEXT);
    log_role("worker-3");
    capture();
    log_info("claimed", LOG_S("id", "a-1"), LOG_S("why", "two words"), LOG_S("eq", "a=b"),
        LOG_S("q", "\""), LOG_S("esc", "\x1b[31m"), LOG_S("empty", ""), LOG_S("nl", "a\nb"),
        LOG_S("none", NULL), LOG_B("ok", 1));
    snprintf(want, sizeof(want),
        "03:04:05.678 info  prog/worker-3[%d] claimed id=a-1 why=\"two words\" eq=\"a=b\" "
        "q=\"\\\"\" "
        "esc=\"\\u001b[31m\" empty=\"\" nl=\"a\\u000ab\" none=null ok=true\n",
        (int)getpid());
    cr_expect_str_eq(captured(), want);
}

Test(log, the_role_is_shown_in_json_and_cut_when_too_long)
{
    char role[100];
    memset(role, 'r', sizeof(role) - 1);
    role[sizeof(role) - 1] = '\0';
    log_open("prog", LOG_INFO, LOG_JSON);
    log_role(role);
    capture();
    log_info("x");
    cr_expect(strstr(captured(), ",\"role\":\"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\","), "%s", seen);
}

Test(log, automatic_format_is_json_when_nobody_looks)
{
    capture();
    log_open("prog", LOG_INFO, LOG_AUTO);
    log_info("x");
    cr_expect_eq(captured()[0], '{');
}

Test(log, a_closed_standard_error_is_no_trouble)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    int keep = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_error("lost", LOG_S("why", "nobody listens"));
    dup2(keep, STDERR_FILENO);
    cr_expect(1);
}

Test(log, a_stuck_reader_loses_lines_and_is_told_how_many)
{
    char junk[4096];
    log_open("prog", LOG_INFO, LOG_JSON);
    capture();
    memset(junk, 'x', sizeof(junk));
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    while (write(fds[1], junk, sizeof(junk)) > 0)
        ;
    fcntl(fds[1], F_SETFL, 0); /* from here on a write would block for ever */
    log_info("one");
    log_info("two");
    while (read(fds[0], junk, sizeof(junk)) > 0)
        ;
    {
        LOG_SCOPE(&(const struct trace){.id = {0xab}});
        log_info("three");
    }
    const char *lines = captured();
    cr_expect_not_null(strstr(strstr(lines, "\"three\""), "ab00"), "%s", lines);
    cr_expect_null(strstr(strstr(lines, "log_lines_dropped"), "trace_id"), "it is nobody's");
    cr_expect_null(strstr(lines, "\"one\""));
    cr_expect_not_null(strstr(lines, "\"three\""));
    cr_expect_not_null(strstr(lines, "\"log_lines_dropped\",\"lines\":2"), "%s", lines);
}

Test(log, a_line_that_would_be_too_long_keeps_its_form_and_loses_ends_of_texts)
{
    static char text[9000];
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    static const struct {
        enum log_format format;
        const char *end;
    } rows[] = {
        {LOG_JSON, ",\"attempt\":7}\n"},
        {LOG_TEXT, " attempt=7\n"     }
    };
    for (size_t i = 0; i < 2; i++) {
        log_open("prog", LOG_INFO, rows[i].format);
        capture();
        log_info("long", LOG_S("a", text), LOG_S("b", text + 1), LOG_S("c", text), LOG_S("d", text),
            LOG_S("e", text), LOG_I("attempt", 7));
        const char *line = captured();
        size_t len = strlen(line), end = strlen(rows[i].end);
        cr_expect(len <= 4096 && len > 3000, "%zu bytes", len);
        cr_expect_str_eq(line + len - end, rows[i].end);
    }
    log_open("prog", LOG_INFO, LOG_JSON);
    capture();
    log_info("long", LOG_S("a", text), LOG_I("attempt", 7));
    json_t *root = json_loads(captured(), 0, NULL);
    cr_assert_not_null(root, "%s", seen);
    const char *a = json_string_value(json_object_get(root, "a"));
    cr_expect(strlen(a) > 1000 && strcmp(a + strlen(a) - 5, "\xc3\xa9...") == 0, "%s", a);
    json_decref(root);
}

/* --- whose line it is -------------------------------------------------------------------- */

static void log_within(const struct trace *t, const char *event)
{
    LOG_SCOPE(t);
    log_write(LOG_INFO, event, 0, NULL);
}

Test(log, lines_within_a_scope_carry_its_trace_and_those_behind_it_do_not)
{
    static const struct trace outer =
                                  {
                                      .id = {0xab, 1}
    },
                              inner = {.id = {0xcd, 2}};
    log_open("prog", LOG_INFO, LOG_JSON);
    capture();
    log_info("before");
    {
        LOG_SCOPE(&outer);
        log_info("outside", LOG_I("n", 1));
        log_within(&inner, "inside");
        log_info("outside_again");
    }
    log_info("after");
    const char *text = captured();
    cr_expect(strstr(text, "\"event\":\"before\"}"), "%s", text);
    cr_expect(
        strstr(text, "\"outside\",\"trace_id\":\"ab010000000000000000000000000000\",\"n\":1}"),
        "%s", text);
    cr_expect(
        strstr(text, "\"inside\",\"trace_id\":\"cd020000000000000000000000000000\"}"), "%s", text);
    cr_expect(strstr(text, "\"outside_again\",\"trace_id\":\"ab01"), "%s", text);
    cr_expect(strstr(text, "\"event\":\"after\"}"), "%s", text);
}

/* --- the level that operators order ------------------------------------------------------ */

static int64_t now_us;

static int64_t fixed_mono(void)
{
    return now_us;
}

static void at(int64_t ms)
{
    now_us = 1000000000 + ms * 1000;
    clock_replace(fixed_mono, fixed_wall);
}

Test(log, an_ordered_level_holds_until_its_time_is_over_and_says_so_once)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    at(0);
    capture();
    log_debug("too_early");
    log_order("debug", 5000);
    log_order("debug", 4900); /* heard again */
    log_debug("in_time");
    at(6000);
    log_debug("too_late");
    log_order("loud", 5000); /* of a program that knows more levels */
    log_debug("still_too_late");
    const char *text = captured();
    cr_expect_not(strstr(text, "too_early"));
    cr_expect(strstr(text, "in_time"));
    cr_expect_not(strstr(text, "too_late"));
    const char *said =
        strstr(text, "\"event\":\"log_level\",\"log_level\":\"debug\",\"ordered\":true");
    cr_assert_not_null(said, "%s", text);
    cr_expect_not(strstr(strchr(said, '\n'), "\"ordered\":true"), "%s", text);
    cr_expect(strstr(said, "\"log_level\":\"info\",\"ordered\":false"), "%s", text);
}

Test(log, an_order_taken_back_ends_at_once_and_settings_read_again_do_not_end_it)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    at(0);
    capture();
    log_order("error", 5000);
    log_open("prog", LOG_WARN, LOG_JSON);
    log_warn("not_said");
    log_order("", 0);
    log_warn("said");
    const char *text = captured();
    cr_expect_not(strstr(text, "not_said"), "%s", text);
    cr_expect(strstr(text, "\"said\""), "%s", text);
}

/* --- lines that repeat ------------------------------------------------------------------- */

static int lines_of(const char *text, const char *event)
{
    char key[64];
    int n = 0;
    snprintf(key, sizeof(key), "\"event\":\"%s\"", event);
    for (const char *p = text; (p = strstr(p, key)); p++)
        n++;
    return n;
}

Test(log, what_repeats_too_often_is_counted_and_told_when_its_ten_seconds_are_over)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    log_limit(3);
    at(0);
    capture();
    for (int i = 0; i < 10; i++)
        log_warn("again");
    log_error("something_else"); /* another name is another matter */
    log_debug("below_the_level");
    at(9999);
    log_tick();
    at(10000);
    log_tick(); /* the process need not say anything more */
    log_tick();
    log_warn("again");
    const char *text = captured(), *told = strstr(text, "log_repeated");
    cr_expect_eq(lines_of(text, "again"), 4, "%s", text);
    cr_expect_eq(lines_of(text, "something_else"), 1);
    cr_expect_eq(lines_of(text, "log_repeated"), 1, "%s", text);
    cr_assert_not_null(told);
    cr_expect(strstr(told, "\"event_name\":\"again\",\"lines\":7,\"in_s\":10.000}"), "%s", text);
    log_limit(0);
}

Test(log, the_next_line_of_a_name_tells_what_was_left_out_before_it)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    log_limit(1);
    at(0);
    capture();
    log_info("again");
    log_info("again");
    at(12000);
    log_info("again");
    const char *text = captured(), *told = strstr(text, "log_repeated");
    cr_assert_not_null(told, "%s", text);
    cr_expect(strstr(told, "\"lines\":1,\"in_s\":12.000"), "%s", text);
    cr_expect_eq(lines_of(told, "again"), 1, "%s", text);
    log_limit(0);
}

Test(log, who_leaves_tells_what_was_left_out_and_in_text_too)
{
    log_open("prog", LOG_INFO, LOG_TEXT);
    log_limit(2);
    at(0);
    capture();
    if (fork() == 0) {
        for (int i = 0; i < 7; i++)
            log_warn("again", LOG_I("n", i));
        exit(0); /* log_flush */
    }
    wait(NULL);
    log_flush(); /* nothing: the child said it */
    const char *text = captured(), *told = strstr(text, "log_repeated");
    cr_assert_not_null(told, "%s", text);
    cr_expect(strstr(told, " event_name=again lines=5 in_s=0.000\n"), "%s", text);
    cr_expect_not(strstr(told + 1, "log_repeated"), "%s", text);
    log_limit(0);
}

Test(log, without_a_limit_every_line_is_written)
{
    log_open("prog", LOG_INFO, LOG_JSON);
    log_limit(0);
    capture();
    for (int i = 0; i < 50; i++)
        log_info("again");
    cr_expect_eq(lines_of(captured(), "again"), 50);
}
