/* mem: see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *check(void *p)
{
    static const char text[] = "out of memory: aborting, the supervisor starts a replacement\n";
    if (!p) {
        if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
            /* nobody left to tell */
        }
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return check(malloc(size ? size : 1));
}

void *mem_zero(size_t size)
{
    return check(calloc(1, size ? size : 1));
}

void *mem_array(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size ? size : 1)); /* calloc checks the product */
}

void *mem_grow(void *p, size_t size)
{
    return check(realloc(p, size ? size : 1));
}

char *mem_strdup(const char *s)
{
    return s ? check(strdup(s)) : NULL;
}

char *mem_strndup(const char *s, size_t n)
{
    return s ? check(strndup(s, n)) : NULL;
}

char *mem_printf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    return check(n < 0 ? NULL : out);
}
