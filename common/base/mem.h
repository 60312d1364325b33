/* mem: allocation that does not fail. When memory is out the process says so and aborts: it is
 * supervised, owns nothing that is not also in PostgreSQL, Redis or the spool, and is replaced. */
#ifndef HL_BASE_MEM_H
#define HL_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size)
    __attribute__((malloc, returns_nonnull, alloc_size(1), warn_unused_result));
void *mem_zero(size_t size)
    __attribute__((malloc, returns_nonnull, alloc_size(1), warn_unused_result));
/* n * size bytes of zeros; aborts on overflow. */
void *mem_array(size_t n, size_t size)
    __attribute__((malloc, returns_nonnull, alloc_size(1, 2), warn_unused_result));
void *mem_grow(void *p, size_t size)
    __attribute__((returns_nonnull, alloc_size(2), warn_unused_result));
/* Copies; NULL gives NULL. Caller frees with free(). */
char *mem_strdup(const char *s) __attribute__((warn_unused_result));
char *mem_strndup(const char *s, size_t n) __attribute__((warn_unused_result));
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), warn_unused_result));

#define mem_new(type) ((type *)mem_zero(sizeof(type)))

#endif
