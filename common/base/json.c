/* json: see json.h. */
#include "base/json.h"

#include "base/mem.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson's own texts quote what they stumbled over, and that is somebody's data: ours do not. */
static const char *explain(enum json_error_code code)
{
    switch (code) {
    case json_error_invalid_utf8: return "not valid UTF-8";
    case json_error_premature_end_of_input: return "the text ends too early";
    case json_error_end_of_input_expected: return "something follows the JSON text";
    case json_error_null_character:
    case json_error_null_byte_in_key: return "\\u0000 is not allowed";
    case json_error_numeric_overflow: return "number too large";
    case json_error_out_of_memory: return "out of memory";
    default: return "not valid JSON";
    }
}

#define LITERALLY(n) #n
#define TEXT_OF(n)   LITERALLY(n)

/* Bytes before the one that opens a level, or a value, too many; len when there is none. Looked for
 * before parsing, because the parser recurses, and gives some hundred bytes to "{}". */
static size_t out_of_bounds_at(const char *data, size_t len, const char **why)
{
    int depth = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        bool opens = !in_string && (c == '[' || c == '{');
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == ']' || c == '}') {
            depth--;
        }
        depth += opens;
        values += !in_string && (opens || c == ',');
        if (depth > JSON_MAX_DEPTH || values > JSON_MAX_VALUES) {
            *why = depth > JSON_MAX_DEPTH ? "nested deeper than " TEXT_OF(JSON_MAX_DEPTH) " levels"
                                          : "more than " TEXT_OF(JSON_MAX_VALUES) " values";
            return i;
        }
    }
    return len;
}

static void refuse_at(const char *data, size_t at, const char *why, struct hl_err *err)
{
    int line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at; i++) {
        if (data[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    hl_fail(err, HL_FATAL, "line %d column %zu: %s", line, at - start + 1, why);
}

static json_t *parse(const char *data, size_t len, size_t flags, struct hl_err *err)
{
    const char *bound;
    size_t at = out_of_bounds_at(data, len, &bound);
    if (at < len) {
        refuse_at(data, at, bound, err);
        return NULL;
    }
    json_error_t why;
    json_t *root = json_loadb(data, len, JSON_DECODE_ANY | flags, &why);
    if (!root)
        hl_fail(err, HL_FATAL, "line %d column %d: %s", why.line, why.column,
            explain(json_error_code(&why)));
    return root;
}

json_t *json_parse(const char *data, size_t len, struct hl_err *err)
{
    return parse(data, len, 0, err);
}

json_t *json_parse_with_nul(const char *data, size_t len, struct hl_err *err)
{
    return parse(data, len, JSON_ALLOW_NUL, err);
}

static void string_drop_nul(json_t *v)
{
    size_t len = json_string_length(v), n = 0;
    const char *s = json_string_value(v);
    if (!memchr(s, '\0', len))
        return;
    char *kept = mem_alloc(len);
    for (size_t i = 0; i < len; i++)
        if (s[i])
            kept[n++] = s[i];
    json_string_setn_nocheck(v, kept, n);
    free(kept);
}

void json_drop_nul(json_t *v)
{
    const char *key;
    size_t i;
    json_t *child;

    if (json_is_string(v))
        string_drop_nul(v);
    json_object_foreach(v, key, child) json_drop_nul(child);
    json_array_foreach(v, i, child) json_drop_nul(child);
}

bool json_has_nul(const json_t *v)
{
    const char *key;
    size_t i;
    json_t *child;

    if (json_is_string(v) && memchr(json_string_value(v), '\0', json_string_length(v)))
        return true;
    json_object_foreach((json_t *)(uintptr_t)v, key, child) if (json_has_nul(child)) return true;
    json_array_foreach(v, i, child) if (json_has_nul(child)) return true;
    return false;
}

const char *json_get_string(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

static void put_escaped(struct buf *b, unsigned char c)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: byte, letter after \ */
    for (const char *p = named; *p; p += 2) {
        if ((unsigned char)*p == c) {
            buf_putc(b, '\\');
            buf_putc(b, p[1]);
            return;
        }
    }
    buf_printf(b, "\\u%04x", c);
}

void json_put_string(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (;;) {
        size_t plain = 0;
        while ((unsigned char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\')
            plain++;
        buf_append(b, s, plain);
        s += plain;
        if (*s == '\0')
            break;
        put_escaped(b, (unsigned char)*s++);
    }
    buf_putc(b, '"');
}

void json_put_key(struct buf *b, const char *key)
{
    if (b->len > 0 && b->data[b->len - 1] != '{')
        buf_putc(b, ',');
    json_put_string(b, key);
    buf_putc(b, ':');
}

void json_put_text(struct buf *b, const char *key, const char *text)
{
    json_put_key(b, key);
    if (text)
        json_put_string(b, text);
    else
        buf_puts(b, "null");
}

void json_put_int(struct buf *b, const char *key, int64_t n)
{
    json_put_key(b, key);
    buf_printf(b, "%lld", (long long)n);
}

/* The fewest digits behind the first one that read back as v: "d.ddde+XX" in text. */
static int shortest(double v, char *text, size_t size)
{
    int digits = 0;
    do
        snprintf(text, size, "%.*e", digits, v);
    while (strtod(text, NULL) != v && ++digits <= 16);
    return digits;
}

void json_put_double(struct buf *b, double v)
{
    char text[40];
    if (!isfinite(v)) {
        buf_puts(b, "null");
        return;
    }
    int digits = shortest(v, text, sizeof(text));
    int exponent = atoi(strchr(text, 'e') + 1);
    int decimals = digits - exponent;
    if (exponent < -4 || exponent >= 16)
        buf_puts(b, text);
    else
        buf_printf(b, "%.*f", decimals > 1 ? decimals : 1, v);
}

void json_put_2dp(struct buf *b, double v)
{
    char text[400]; /* the largest double has 309 digits */
    if (isfinite(v)) {
        snprintf(text, sizeof(text), "%.2f", v);
        v = strtod(text, NULL);
    }
    json_put_double(b, v);
}

void json_put_compact(struct buf *b, const char *json)
{
    bool in_string = false;
    for (const char *p = json; *p; p++) {
        if (in_string || !strchr(" \t\r\n", *p))
            buf_putc(b, *p);
        if (in_string && *p == '\\' && p[1])
            buf_putc(b, *++p);
        else if (*p == '"')
            in_string = !in_string;
    }
}
