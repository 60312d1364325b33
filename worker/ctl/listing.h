/* listing: rows of a reader, for people as an aligned table, for programs as JSON. Both are made of
 * one description of the columns. */
#ifndef HL_WORKER_CTL_LISTING_H
#define HL_WORKER_CTL_LISTING_H

#include "base/buf.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a cell's text is. Cells without a value (NULL, and "" of all kinds but COLUMN_TEXT) are "-" in a
 * table and null in JSON. */
enum column_kind {
    COLUMN_TEXT,
    COLUMN_STATE, /* a status word (what follows a colon included): coloured by its first word */
    COLUMN_INT,
    COLUMN_FLOAT,    /* a decimal; printed as it is */
    COLUMN_BOOL,     /* "t" or "f", as PostgreSQL has it; yes and no in a table */
    COLUMN_TIME,     /* microseconds since 1970 UTC; local time in a table, ISO 8601 in JSON */
    COLUMN_AGO,      /* the same; in a table how long ago */
    COLUMN_DURATION, /* ms; in a table as "350ms", "12s", "3m20s", "2d4h" */
    COLUMN_BYTES,    /* in a table as "12.3M" */
    COLUMN_JSON,     /* JSON text; not in a table */
};

struct column {
    const char *key;   /* in JSON; NULL: only in the table */
    const char *title; /* NULL: only in JSON */
    enum column_kind kind;
    int shrink; /* least characters to which a long text is cut where the terminal is narrow; 0 = it
                 * is never cut */
};

/* Zero-initialise with .columns and .n set. */
struct listing {
    const struct column *columns;
    size_t n;
    char **cells; /* private: rows one after the other; NULL = no value */
    size_t used;
};
void listing_release(struct listing *l);
size_t listing_rows(const struct listing *l);
/* n texts, copied; NULL = no value. */
void listing_add(struct listing *l, const char *const *cells);
/* A row of a result: its columns from `first` on. */
void listing_add_row(struct listing *l, const PGresult *rows, int row, int first);
/* Its first max columns of every row. */
void listing_add_rows(struct listing *l, const PGresult *rows);
/* For whoever looks again: cell of a row. NULL = no value. */
const char *listing_cell(const struct listing *l, size_t row, size_t column);

/* Heading and rows to standard output; nothing when there are no rows. */
void listing_print(const struct listing *l);
/* The same appended as lines of at most width characters (0 = any), with colour or without. */
void listing_put(const struct listing *l, struct buf *out, int width, bool colour);
/* Appends a JSON array of objects. */
void listing_put_json(const struct listing *l, struct buf *out);
/* One row for people: a line "title  value" for each column with a title. */
void listing_print_one(const struct listing *l, size_t row);
/* Appends the row as one JSON object. */
void listing_put_json_row(const struct listing *l, size_t row, struct buf *out);

/* Prints b, one JSON value, as a line to standard output and empties it. */
void print_line(struct buf *b);
/* Prints b, lines that may hold anybody's words, to standard output and empties it. */
void print_tamed(struct buf *b);

/* --- texts for people, appended ---------------------------------------------------------- */

void put_duration(struct buf *out, int64_t ms);
void put_bytes(struct buf *out, int64_t bytes);
void put_local_time(struct buf *out, int64_t us);
/* Bytes of the character at s, and its columns on a terminal. len > 0. */
size_t text_character(const char *s, size_t len, int *columns);
/* One line, at most `columns` wide on a terminal, an ellipsis where it was cut; its width. */
int put_cell(struct buf *out, const char *text, int columns);

/* --- the terminal ------------------------------------------------------------------------ */

/* Standard output is one that shows colours, and NO_COLOR is not set (https://no-color.org). */
bool terminal_colour(void);
/* Its columns; $COLUMNS wins; 0 = it is no terminal: lines may have any length. */
int terminal_width(void);

enum colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, CYAN };
/* The escape sequence, or "" without colour. PLAIN ends what was begun. */
const char *colour_code(enum colour c, bool colour);
/* The colour of a status word. */
enum colour colour_of_state(const char *state);

#endif
