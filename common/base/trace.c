/* trace: see trace.h. */
#include "base/trace.h"

#include "base/digest.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ID = 3, AT_PARENT = 36, AT_FLAGS = 53 }; /* version-id-parent-flags */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* upper case is not valid here */
}

static bool read_hex(const char *s, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(s[2 * i]), low = high < 0 ? -1 : hex_digit(s[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool all_zero(const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b[i])
            return false;
    return true;
}

/* Of version 00 nothing may follow; later ones may go on behind a dash. */
static bool right_length(const char *s, uint8_t version)
{
    size_t len = strlen(s);
    return len == TRACE_PARENT_LEN ||
           (version > 0 && len > TRACE_PARENT_LEN && s[TRACE_PARENT_LEN] == '-');
}

bool trace_parse(const char *traceparent, struct trace *out)
{
    const char *s = traceparent;
    struct trace t;
    uint8_t version, flags;

    if (!s || strnlen(s, TRACE_PARENT_LEN) < TRACE_PARENT_LEN)
        return false;
    if (!read_hex(s, &version, 1) || version == 0xff || !right_length(s, version))
        return false;
    if (s[AT_ID - 1] != '-' || s[AT_PARENT - 1] != '-' || s[AT_FLAGS - 1] != '-')
        return false;
    if (!read_hex(s + AT_ID, t.id, sizeof(t.id)) ||
        !read_hex(s + AT_PARENT, t.parent, sizeof(t.parent)) || !read_hex(s + AT_FLAGS, &flags, 1))
        return false;
    if (all_zero(t.id, sizeof(t.id)) || all_zero(t.parent, sizeof(t.parent)))
        return false;
    t.sampled = flags & 1;
    *out = t;
    return true;
}

void trace_format(const struct trace *t, char out[TRACE_PARENT_LEN + 1])
{
    memcpy(out, "00-", 3);
    digest_hex(t->id, sizeof(t->id), out + AT_ID);
    out[AT_PARENT - 1] = '-';
    digest_hex(t->parent, sizeof(t->parent), out + AT_PARENT);
    memcpy(out + AT_FLAGS - 1, t->sampled ? "-01" : "-00", sizeof("-00"));
}

void trace_format_id(const struct trace *t, char out[TRACE_ID_LEN + 1])
{
    digest_hex(t->id, sizeof(t->id), out);
}

void trace_intake_span(const struct uuid *event_id, uint8_t out[8])
{
    memcpy(out, event_id->b + 8, 8);
    if (all_zero(out, 8))
        out[7] = 1;
}

struct trace trace_of(const struct uuid *event_id, const char *parent)
{
    struct trace t;
    if (!trace_parse(parent, &t)) {
        t.sampled = true;
        memcpy(t.id, event_id->b, sizeof(t.id));
    }
    trace_intake_span(event_id, t.parent);
    return t;
}

void trace_new_span(uint8_t out[8])
{
    do
        arc4random_buf(out, 8);
    while (all_zero(out, 8));
}

char *trace_carried(const char *traceparent)
{
    struct trace t;
    char text[TRACE_PARENT_LEN + 1];
    if (!trace_parse(traceparent, &t))
        return NULL;
    trace_format(&t, text);
    return mem_strdup(text);
}

char *trace_header(const struct trace *t, const uint8_t span[8])
{
    struct trace below = *t;
    char text[TRACE_PARENT_LEN + 1];
    memcpy(below.parent, span, sizeof(below.parent));
    trace_format(&below, text);
    return mem_printf("traceparent: %s", text);
}
