/* json: the one door to JSON. Reading is jansson's, made strict and bounded; small texts are
 * written straight into a buffer, without a tree. */
#ifndef HL_BASE_JSON_H
#define HL_BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 64 /* arrays and objects inside each other */
#define JSON_MAX_VALUES                                                                            \
    1000000 /* arrays and objects, and what they hold; some hundred MB at worst */

/* Parses one RFC 8259 text of any type; blanks may surround it, nothing else. Of a repeated key the
 * last value counts. NULL when it is not JSON, goes beyond the bounds above, is not UTF-8, has
 * \u0000 in a string or a number beyond 64 bits or a double; err then says "line N column M: why"
 * and never quotes the text. Caller frees with json_decref. */
json_t *json_parse(const char *data, size_t len, struct hl_err *err);

/* The same, but \u0000 may stand in a string: read those with json_string_length. For texts whose
 * authors we cannot send back (a page that holds one must still be indexed). */
json_t *json_parse_with_nul(const char *data, size_t len, struct hl_err *err);

/* Takes the NUL characters out of all strings of a text of at most JSON_MAX_DEPTH levels. */
void json_drop_nul(json_t *v);
/* One of its strings holds a NUL character. */
bool json_has_nul(const json_t *v);

/* The string under key, borrowed from obj; NULL when obj is no object, or has no string there. */
const char *json_get_string(const json_t *obj, const char *key);

/* Appends s (valid UTF-8) as a JSON string: UTF-8 stays as it is, what must be escaped is. */
void json_put_string(struct buf *b, const char *s);
/* Appends `"key":`, after a comma unless it is the first member of its object. */
void json_put_key(struct buf *b, const char *key);
/* A whole member: the key as above, and its value. text NULL: null. */
void json_put_text(struct buf *b, const char *key, const char *text);
void json_put_int(struct buf *b, const char *key, int64_t n);
/* Appends a number as Python writes it: the shortest decimal that reads back as the same double, with
 * a fraction ("100.0") or an exponent ("1e+16"). What JSON has no number for becomes null. */
void json_put_double(struct buf *b, double v);
/* The same of v rounded to two decimals (half-way cases by the double's exact value). */
void json_put_2dp(struct buf *b, double v);
/* Appends valid JSON text without the blanks between its tokens. */
void json_put_compact(struct buf *b, const char *json);

#endif
