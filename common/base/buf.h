/* buf: growable bytes. Always NUL-terminated after the last byte, so data can be read as a string
 * where the content has no NUL. Zero-initialised is empty; nothing is allocated until needed. */
#ifndef HL_BASE_BUF_H
#define HL_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL while cap is 0; use buf_str() for a string that is never NULL */
    size_t len;
    size_t cap;
};

void buf_release(struct buf *b); /* frees the content; the buf may be used again */
void buf_clear(struct buf *b);   /* len = 0, memory kept */
/* Makes room for n more bytes and returns where they go; raise b->len yourself. */
char *buf_reserve(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *data, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */
const char *buf_str(const struct buf *b);
/* Hands the memory to the caller (free()); the buf is empty afterwards. Never NULL. */
char *buf_detach(struct buf *b);

#endif
