/* text: UTF-8 in the few ways Hookline needs it. Lengths in bytes unless a name says chars. */
#ifndef HL_BASE_TEXT_H
#define HL_BASE_TEXT_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool text_utf8_valid(const char *s, size_t len); /* RFC 3629: no overlong forms, no surrogates */
size_t text_chars(const char *s);                /* code points of valid UTF-8 */
/* Bytes of the longest prefix with at most max_chars code points. */
size_t text_prefix_chars(const char *s, size_t max_chars);
/* Bytes of the longest prefix of at most max_bytes that does not cut a code point. */
size_t text_prefix_bytes(const char *s, size_t max_bytes);
/* Appends s, NUL dropped, and each longest run of bytes that could have begun a code point but did
 * not replaced by one U+FFFD (Unicode 15, section 3.9, as Python's errors='replace' does). */
void text_append_utf8(struct buf *out, const char *s, size_t len);
/* The same of a text, as a copy; caller frees. NULL gives NULL. */
char *text_utf8_copy(const char *s);

/* Narrows *s, *len to leave out Unicode white space at both ends, as Python's str.strip() does. */
void text_trim(const char **s, size_t *len);

/* Reference contract section 5.1 rule 1: split on any Unicode white space (Python's str.split()),
 * join with single blanks, drop what is not printable: categories Cc, Cf, Co, Zl, Zp and the
 * noncharacters of Unicode 15.1. Unassigned code points, which str.isprintable() refuses too, stay:
 * a table of them would age with every Unicode version. Bytes that are not UTF-8 become U+FFFD.
 * Appends to out; empty result = no content. */
void text_clean(const char *s, struct buf *out);

/* A valid UTF-8 copy for display: one line, runs of white space and control characters as one
 * blank, at most max_chars code points, trimmed. Appends to out. */
void text_one_line(const char *s, size_t max_chars, struct buf *out);

/* In place: what would steer a terminal becomes blanks (controls other than \n and \t, marks that
 * change the direction of writing), bytes that are not UTF-8 become '?'. The length stays. */
void text_tame(char *s, size_t len);
/* A code point that steers a terminal: a control, or a mark of direction. */
bool text_steers(uint32_t cp);
/* Bytes of the code point at s (len > 0), which is stored; TEXT_INVALID where they are not UTF-8. */
size_t text_next(const char *s, size_t len, uint32_t *cp);
#define TEXT_INVALID UINT32_MAX

#endif
