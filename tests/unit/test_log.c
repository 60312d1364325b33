/* Log lines as they leave the process: standard error is a pipe here. */
#include "base/log.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    log_info("three");
    const char *lines = captured();
    cr_expect_null(strstr(lines, "\"one\""));
    cr_expect_not_null(strstr(lines, "\"three\""));
    cr_expect_not_null(strstr(lines, "\"log_lines_dropped\",\"lines\":2"), "%s", lines);
}
