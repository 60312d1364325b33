/* pgarray: see pgarray.h. */
#include "base/pgarray.h"

void pgarray_begin(struct buf *b)
{
    buf_clear(b);
    buf_putc(b, '{');
}

static void separate(struct buf *b)
{
    if (b->len > 1)
        buf_putc(b, ',');
}

void pgarray_text(struct buf *b, const char *s)
{
    if (!s) {
        pgarray_null(b);
        return;
    }
    separate(b);
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_putc(b, '\\');
        buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

void pgarray_int(struct buf *b, int64_t v)
{
    separate(b);
    buf_printf(b, "%lld", (long long)v);
}

void pgarray_null(struct buf *b)
{
    separate(b);
    buf_puts(b, "NULL");
}

const char *pgarray_end(struct buf *b)
{
    buf_putc(b, '}');
    return buf_str(b);
}
