/* W3C Trace Context, level 1: what is a traceparent, and what an event makes of it. */
#include "base/trace.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ID     "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

Test(trace, what_is_a_traceparent_and_what_is_none)
{
    static const struct {
        const char *what, *text;
        bool valid, sampled;
    } cases[] = {
        {"sampled",                            "00-" ID "-" PARENT "-01",                           true,  true },
        {"not sampled",                        "00-" ID "-" PARENT "-00",                           true,  false},
        {"other flags are ignored",            "00-" ID "-" PARENT "-fe",                           true,  false},
        {"all flags",                          "00-" ID "-" PARENT "-ff",                           true,  true },
        {"NULL",                               NULL,                                                false, false},
        {"empty",                              "",                                                  false, false},
        {"cut short",                          "00-" ID "-" PARENT "-0",                            false, false},
        {"only a dash more",                   "00-" ID "-" PARENT "-01-",                          false, false},
        {"version 00 with more behind",        "00-" ID "-" PARENT "-01-more",                      false, false},
        {"later version",                      "01-" ID "-" PARENT "-01",                           true,  true },
        {"later version with more behind",     "cc-" ID "-" PARENT "-01-what-the-future-has",       true,
         true                                                                                                   },
        {"later version, more without a dash", "cc-" ID "-" PARENT "-01.more",                      false, false},
        {"version ff",                         "ff-" ID "-" PARENT "-01",                           false, false},
        {"version of upper case",              "0A-" ID "-" PARENT "-01",                           false, false},
        {"version that is no number",          "xy-" ID "-" PARENT "-01",                           false, false},
        {"upper case id",                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", false, false},
        {"upper case parent",                  "00-" ID "-00F067AA0BA902B7-01",                     false, false},
        {"upper case flags",                   "00-" ID "-" PARENT "-0A",                           false, false},
        {"zero id",                            "00-00000000000000000000000000000000-" PARENT "-01", false, false},
        {"zero parent",                        "00-" ID "-0000000000000000-01",                     false, false},
        {"letter beyond f",                    "00-4bf92f3577b34da6a3ce929d0e0e473g-" PARENT "-01", false, false},
        {"no dash behind the version",         "00_" ID "-" PARENT "-01",                           false, false},
        {"no dash behind the id",              "00-" ID "_" PARENT "-01",                           false, false},
        {"no dash behind the parent",          "00-" ID "-" PARENT "_01",                           false, false},
        {"space in front",                     " 00-" ID "-" PARENT "-01",                          false, false},
        {"space behind",                       "00-" ID "-" PARENT "-01 ",                          false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct trace t = {.sampled = true};
        char id[TRACE_ID_LEN + 1];
        cr_expect_eq(trace_parse(cases[i].text, &t), cases[i].valid, "%s", cases[i].what);
        if (!cases[i].valid)
            continue;
        trace_format_id(&t, id);
        cr_expect_str_eq(id, ID, "%s", cases[i].what);
        cr_expect_eq(t.sampled, cases[i].sampled, "%s", cases[i].what);
    }
}

Test(trace, is_carried_in_the_words_of_version_00)
{
    char *text = trace_carried("cc-" ID "-" PARENT "-0f-more");
    cr_expect_str_eq(text, "00-" ID "-" PARENT "-01");
    free(text);
    cr_expect_null(trace_carried("nonsense"));
    cr_expect_null(trace_carried(NULL));
}

static const struct uuid event = {
    {0x01, 0x9b, 0, 0, 0, 0, 0x70, 0, 0x80, 1, 2, 3, 4, 5, 6, 7}
};

Test(trace, an_event_without_one_is_its_own)
{
    static const char *const none[] = {NULL, "", "00-" ID "-" PARENT "-xx"};
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        struct trace t = trace_of(&event, none[i]);
        char text[TRACE_PARENT_LEN + 1];
        trace_format(&t, text);
        cr_expect_str_eq(text, "00-019b0000000070008001020304050607-8001020304050607-01");
    }
}

Test(trace, an_event_with_one_belongs_to_it_below_the_span_of_its_intake)
{
    struct trace t = trace_of(&event, "00-" ID "-" PARENT "-00");
    char text[TRACE_PARENT_LEN + 1];
    trace_format(&t, text);
    cr_expect_str_eq(text, "00-" ID "-8001020304050607-00");
}

Test(trace, spans_are_never_zero_and_hardly_ever_the_same)
{
    uint8_t zero[8] = {0}, a[8], b[8];
    trace_new_span(a);
    trace_new_span(b);
    cr_expect_arr_neq(a, zero, 8);
    cr_expect_arr_neq(a, b, 8);
    trace_intake_span(&(struct uuid){{1}}, a);
    cr_expect_arr_neq(a, zero, 8);
}

Test(trace, whoever_is_asked_gets_the_span_that_asks)
{
    struct trace t = trace_of(&event, "00-" ID "-" PARENT "-01");
    char *line = trace_header(&t, (const uint8_t *)"\x1\x2\x3\x4\x5\x6\x7\x8");
    cr_expect_str_eq(line, "traceparent: 00-" ID "-0102030405060708-01");
    free(line);
}
