/* api_query: see api_query.h. The faults have the shapes, and the words, of pydantic's. */
#include "producer/api_query.h"

#include "base/json.h"
#include "base/text.h"
#include "base/timestamp.h"
#include "base/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct fault {
    const char *type, *msg;
    const char *ctx; /* members of "ctx"; NULL = none */
};

/* input NULL: nothing was given. */
static void put_fault(
    struct buf *out, const char *name, const char *input, const struct fault *fault)
{
    buf_puts(out, out->len ? ",{" : "{");
    json_put_key(out, "type");
    json_put_string(out, fault->type);
    json_put_key(out, "loc");
    buf_puts(out, "[\"query\",");
    json_put_string(out, name);
    buf_puts(out, "]");
    json_put_key(out, "msg");
    json_put_string(out, fault->msg);
    json_put_key(out, "input");
    if (input)
        json_put_string(out, input);
    else
        buf_puts(out, "null");
    if (fault->ctx) {
        json_put_key(out, "ctx");
        buf_printf(out, "{%s}", fault->ctx);
    }
    buf_putc(out, '}');
}

void api_query_fault(
    struct buf *out, const char *name, const char *type, const char *msg, const char *input)
{
    put_fault(out, name, input, &(struct fault){type, msg, NULL});
}

/* --- values ------------------------------------------------------------------------------ */

/* What is beyond 64 bits becomes the end of their range, and *cut is set. */
static bool scan_int(const char *s, size_t n, int64_t *out, bool *cut)
{
    bool negative = n && *s == '-';
    size_t i = n && (*s == '-' || *s == '+');
    int64_t v = 0;
    *cut = false;
    if (i == n)
        return false;
    for (; i < n; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
        int digit = negative ? '0' - s[i] : s[i] - '0';
        *cut |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v);
    }
    *out = !*cut ? v : negative ? INT64_MIN : INT64_MAX;
    return true;
}

static void bound_fault(
    const struct api_param *p, bool low, int64_t bound, const char *text, struct buf *faults)
{
    struct buf msg = {0}, ctx = {0};
    buf_printf(&msg, "Input should be %s than or equal to %lld", low ? "greater" : "less",
        (long long)bound);
    buf_printf(&ctx, "\"%s\":%lld", low ? "ge" : "le", (long long)bound);
    put_fault(faults, p->name, text,
        &(struct fault){low ? "greater_than_equal" : "less_than_equal", msg.data, ctx.data});
    buf_release(&msg);
    buf_release(&ctx);
}

static void read_int(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults)
{
    static const struct fault parsing = {"int_parsing",
        "Input should be a valid integer, unable to parse string as an integer", NULL};
    const char *s = text;
    size_t n = strlen(text);
    int64_t most = p->max ? p->max : INT64_MAX;
    bool cut;
    text_trim(&s, &n);
    if (!scan_int(s, n, &v->n, &cut))
        put_fault(faults, p->name, text, &parsing);
    else if (v->n < p->min)
        bound_fault(p, true, p->min, text, faults);
    else if (v->n > most || cut)
        bound_fault(p, false, most, text, faults);
}

static void read_float(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults)
{
    static const struct fault parsing = {"float_parsing",
        "Input should be a valid number, unable to parse string as a number", NULL};
    const char *s = text;
    size_t n = strlen(text);
    char *end;
    text_trim(&s, &n);
    v->f = strtod(s, &end);
    if (!n || end != s + n || memchr(s, 'x', n) || memchr(s, 'X', n) || memchr(s, '(', n))
        put_fault(faults, p->name, text, &parsing);
}

static void read_bool(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults)
{
    static const char *const words[][2] = {
        {"false", "true"},
        {"0",     "1"   },
        {"no",    "yes" },
        {"off",   "on"  },
        {"f",     "t"   },
        {"n",     "y"   }
    };
    static const struct fault parsing = {
        "bool_parsing", "Input should be a valid boolean, unable to interpret input", NULL};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (int is = 0; is < 2; is++)
            if (strcasecmp(words[i][is], text) == 0) {
                v->n = is;
                return;
            }
    put_fault(faults, p->name, text, &parsing);
}

static void read_text(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults)
{
    (void)p;
    (void)text;
    (void)v;
    (void)faults;
}

static void read_time(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults)
{
    static const struct fault parsing = {"datetime_parsing",
        "Input should be a valid datetime, ISO 8601 like 2026-01-02T03:04:05Z", NULL};
    if (!timestamp_parse_iso(text, &v->n))
        put_fault(faults, p->name, text, &parsing);
}

typedef void read_fn(
    const struct api_param *p, const char *text, struct api_value *v, struct buf *faults);

static read_fn *const readers[] = {
    [API_INT] = read_int,
    [API_FLOAT] = read_float,
    [API_BOOL] = read_bool,
    [API_TEXT] = read_text,
    [API_TIME] = read_time,
};

/* --- the query --------------------------------------------------------------------------- */

/* PostgreSQL's texts hold no NUL, so it could be compared with nothing there. */
static void read_one(
    const struct api_param *p, const char *query, struct api_value *v, struct buf *faults)
{
    static const struct fault missing = {"missing", "Field required", NULL};
    static const struct fault nul = {"value_error", "Value error, holds a NUL character", NULL};
    size_t len = 0;
    char *raw = url_query_last(query, p->name, &len);
    struct buf text = {0};

    *v = (struct api_value){.given = raw && len, .n = p->def};
    if (v->given) {
        text_append_utf8(&text, raw, len);
        v->text = buf_detach(&text);
        if (memchr(raw, '\0', len))
            put_fault(faults, p->name, v->text, &nul);
        else
            readers[p->type](p, v->text, v, faults);
    } else if (p->required) {
        put_fault(faults, p->name, raw, &missing);
    }
    free(raw);
}

void api_query_read(
    const struct api_param *params, const char *query, struct api_value *values, struct buf *faults)
{
    for (int i = 0; params && params[i].name; i++)
        read_one(&params[i], query, &values[i], faults);
}
