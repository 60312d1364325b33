/* pgarray: one-dimensional PostgreSQL array literals in text format (PostgreSQL documentation,
 * "Array Input and Output Syntax"), for unnest($1::text[]). */
#ifndef HL_BASE_PGARRAY_H
#define HL_BASE_PGARRAY_H

#include "base/buf.h"

#include <stdint.h>

void pgarray_begin(struct buf *b);               /* clears b, writes { */
void pgarray_text(struct buf *b, const char *s); /* NULL = SQL NULL */
void pgarray_int(struct buf *b, int64_t v);
void pgarray_null(struct buf *b);
const char *pgarray_end(struct buf *b); /* writes }, returns the string (borrowed) */

#endif
