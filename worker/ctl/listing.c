/* listing: see listing.h. Owns how values look to people and to programs. */
#include "worker/ctl/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/timestamp.h"

enum { MAX_CHARS = 500, GAP = 2, NO_WIDTH = 1 << 20 };

/* --- rows -------------------------------------------------------------------------------- */

void listing_release(struct listing *l)
{
    for (size_t i = 0; i < l->used; i++)
        free(l->cells[i]);
    free(l->cells);
    l->cells = NULL;
    l->used = 0;
}

size_t listing_rows(const struct listing *l)
{
    return l->used / l->n;
}

const char *listing_cell(const struct listing *l, size_t row, size_t column)
{
    return l->cells[row * l->n + column];
}

static void add(struct listing *l, size_t column, const char *value)
{
    bool none = value && !*value && l->columns[column].kind != COLUMN_TEXT;
    l->cells[l->used++] = none ? NULL : mem_strdup(value);
}

/* The array grows by doubling: a power of two of rows fits whenever one more is added. */
static void make_room(struct listing *l)
{
    size_t rows = listing_rows(l);
    if ((rows & (rows - 1)) == 0)
        l->cells = mem_grow(l->cells, (rows ? rows * 2 : 1) * l->n * sizeof(*l->cells));
}

void listing_add(struct listing *l, const char *const *cells)
{
    make_room(l);
    for (size_t k = 0; k < l->n; k++)
        add(l, k, cells[k]);
}

void listing_add_row(struct listing *l, const PGresult *rows, int row, int first)
{
    make_room(l);
    for (size_t k = 0; k < l->n; k++) {
        int col = first + (int)k;
        add(l, k, PQgetisnull(rows, row, col) ? NULL : PQgetvalue(rows, row, col));
    }
}

void listing_add_rows(struct listing *l, const PGresult *rows)
{
    for (int i = 0; i < PQntuples(rows); i++)
        listing_add_row(l, rows, i, 0);
}

/* --- texts ------------------------------------------------------------------------------- */

void put_duration(struct buf *out, int64_t ms)
{
    int64_t s = ms / 1000;
    if (ms < 1000)
        buf_printf(out, "%lldms", (long long)ms);
    else if (s < 60)
        buf_printf(out, "%llds", (long long)s);
    else if (s < 3600)
        buf_printf(out, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    else if (s < 86400)
        buf_printf(out, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
    else
        buf_printf(out, "%lldd%02lldh", (long long)(s / 86400), (long long)(s / 3600 % 24));
}

void put_bytes(struct buf *out, int64_t bytes)
{
    static const char units[] = "kMGTP";
    double v = (double)bytes / 1024;
    if (bytes < 1024) {
        buf_printf(out, "%lldB", (long long)bytes);
        return;
    }
    size_t unit = 0;
    for (; v >= 999.5 && units[unit + 1]; unit++)
        v /= 1024;
    buf_printf(out, v < 9.95 ? "%.1f%c" : "%.0f%c", v, units[unit]);
}

void put_local_time(struct buf *out, int64_t us)
{
    char text[40];
    time_t t = (time_t)(us / 1000000);
    struct tm tm;
    if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm))
        buf_puts(out, text);
    else
        buf_putc(out, '?');
}

/* What the C library is too old to know is an emoji more often than not. */
static int columns_of(uint32_t cp)
{
    int width = cp == TEXT_INVALID ? 1 : wcwidth((wchar_t)cp);
    return width >= 0 ? width : cp >= 0x1f000 ? 2 : 1;
}

size_t text_character(const char *s, size_t len, int *columns)
{
    uint32_t cp;
    size_t n = text_next(s, len, &cp);
    *columns = columns_of(cp);
    return n;
}

static int text_width(const char *s)
{
    int sum = 0, width;
    for (size_t len = strlen(s), n; len; s += n, len -= n, sum += width)
        n = text_character(s, len, &width);
    return sum;
}

int put_cell(struct buf *out, const char *text, int columns)
{
    struct buf line = {0};
    text_one_line(text, MAX_CHARS, &line);
    text_tame(line.data, line.len);
    const char *s = buf_str(&line), *end = s + line.len;
    int sum = text_width(s);
    if (sum <= columns) {
        buf_puts(out, s);
    } else {
        int width;
        size_t len;
        for (sum = 0; len = text_character(s, (size_t)(end - s), &width), sum + width < columns;
             s += len, sum += width)
            buf_append(out, s, len);
        buf_puts(out, "…");
        sum++;
    }
    buf_release(&line);
    return sum;
}

static void put_ago(struct buf *out, int64_t us)
{
    int64_t ms = (clock_wall_us() - us) / 1000;
    put_duration(out, ms > 0 ? ms : 0);
}

/* The value as people read it, uncut. */
static void put_plain(struct buf *out, enum column_kind kind, const char *value)
{
    if (!value || !*value) {
        buf_putc(out, '-');
        return;
    }
    switch (kind) {
    case COLUMN_TIME: put_local_time(out, atoll(value)); break;
    case COLUMN_AGO: put_ago(out, atoll(value)); break;
    case COLUMN_DURATION: put_duration(out, atoll(value)); break;
    case COLUMN_BYTES: put_bytes(out, atoll(value)); break;
    case COLUMN_BOOL: buf_puts(out, *value == 't' ? "yes" : "no"); break;
    case COLUMN_TEXT:
    case COLUMN_STATE:
    case COLUMN_INT:
    case COLUMN_FLOAT:
    case COLUMN_JSON: put_cell(out, value, NO_WIDTH); break;
    }
}

/* --- the terminal ------------------------------------------------------------------------ */

bool terminal_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

int terminal_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    int given = columns ? atoi(columns) : 0;
    if (given > 0)
        return given;
    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

const char *colour_code(enum colour c, bool colour)
{
    static const char *const codes[] = {[PLAIN] = "\033[0m",
        [BOLD] = "\033[1m",
        [DIM] = "\033[2m",
        [RED] = "\033[31m",
        [GREEN] = "\033[32m",
        [YELLOW] = "\033[33m",
        [CYAN] = "\033[36m"};
    return colour ? codes[c] : "";
}

enum colour colour_of_state(const char *state)
{
    static const struct {
        const char *word;
        enum colour colour;
    } colours[] = {
        {"completed",   GREEN },
        {"ok",          GREEN },
        {"alive",       GREEN },
        {"closed",      GREEN },
        {"working",     GREEN },
        {"done",        GREEN },
        {"in_progress", CYAN  },
        {"half_open",   CYAN  },
        {"queued",      YELLOW},
        {"paused",      YELLOW},
        {"fenced",      YELLOW},
        {"quiet",       YELLOW},
        {"warning",     YELLOW},
        {"draining",    YELLOW},
        {"silent",      YELLOW},
        {"superseded",  DIM   },
        {"failed",      RED   },
        {"dead",        RED   },
        {"open",        RED   },
        {"error",       RED   },
        {"cancelled",   DIM   }
    };
    size_t len = strcspn(state, ": ");
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
        if (strlen(colours[i].word) == len && strncmp(state, colours[i].word, len) == 0)
            return colours[i].colour;
    return PLAIN;
}

/* --- the table --------------------------------------------------------------------------- */

static bool shown(const struct column *c)
{
    return c->title && c->kind != COLUMN_JSON;
}

static bool to_the_right(enum column_kind kind)
{
    return kind == COLUMN_INT || kind == COLUMN_FLOAT || kind == COLUMN_DURATION ||
           kind == COLUMN_BYTES || kind == COLUMN_AGO;
}

static void measure(const struct listing *l, int *widths)
{
    struct buf text = {0};
    for (size_t k = 0; k < l->n; k++)
        widths[k] = shown(&l->columns[k]) ? text_width(l->columns[k].title) : 0;
    for (size_t i = 0; i < l->used; i++) {
        size_t k = i % l->n;
        if (!shown(&l->columns[k]))
            continue;
        buf_clear(&text);
        put_plain(&text, l->columns[k].kind, l->cells[i]);
        int width = text_width(buf_str(&text));
        widths[k] = width > widths[k] ? width : widths[k];
    }
    buf_release(&text);
}

/* The column that gives next: the widest of those that may be cut. */
static size_t widest_of(const struct listing *l, const int *widths)
{
    size_t widest = l->n;
    for (size_t k = 0; k < l->n; k++) {
        const struct column *c = &l->columns[k];
        bool gives = shown(c) && c->shrink && widths[k] > c->shrink;
        if (gives && (widest == l->n || widths[k] > widths[widest]))
            widest = k;
    }
    return widest;
}

/* Makes columns narrower until the lines fit, or none gives any more. */
static void fit(const struct listing *l, int *widths, int width)
{
    int sum = -GAP;
    for (size_t k = 0; k < l->n; k++)
        sum += shown(&l->columns[k]) ? widths[k] + GAP : 0;
    for (; width && sum > width; sum--) {
        size_t widest = widest_of(l, widths);
        if (widest == l->n)
            return;
        widths[widest]--;
    }
}

static void pad(struct buf *out, int n)
{
    for (; n > 0; n--)
        buf_putc(out, ' ');
}

/* One line: a value for each column; those of a heading have no colour of their own. */
static void put_line(const struct listing *l, const int *widths, const char *const *texts,
    const char *const *states, bool colour, struct buf *out)
{
    int owed = 0; /* blanks that are written only if something follows */
    for (size_t k = 0; k < l->n; k++) {
        const struct column *c = &l->columns[k];
        if (!shown(c))
            continue;
        pad(out, owed);
        enum colour hue =
            states && c->kind == COLUMN_STATE && states[k] ? colour_of_state(states[k]) : PLAIN;
        struct buf cell = {0};
        int width = put_cell(&cell, texts[k], widths[k]);
        int left = to_the_right(c->kind) ? widths[k] - width : 0;
        pad(out, left);
        if (hue != PLAIN)
            buf_puts(out, colour_code(hue, colour));
        buf_append(out, buf_str(&cell), cell.len);
        if (hue != PLAIN)
            buf_puts(out, colour_code(PLAIN, colour));
        owed = widths[k] - width - left + GAP;
        buf_release(&cell);
    }
    buf_putc(out, '\n');
}

static void put_row(
    const struct listing *l, const int *widths, size_t row, bool colour, struct buf *out)
{
    struct buf *texts = mem_array(l->n, sizeof(*texts));
    const char **strings = mem_array(l->n, sizeof(*strings));
    for (size_t k = 0; k < l->n; k++) {
        put_plain(&texts[k], l->columns[k].kind, listing_cell(l, row, k));
        strings[k] = buf_str(&texts[k]);
    }
    put_line(l, widths, strings, (const char *const *)l->cells + row * l->n, colour, out);
    for (size_t k = 0; k < l->n; k++)
        buf_release(&texts[k]);
    free(texts);
    free(strings);
}

static void put_heading(const struct listing *l, const int *widths, bool colour, struct buf *out)
{
    const char **titles = mem_array(l->n, sizeof(*titles));
    for (size_t k = 0; k < l->n; k++)
        titles[k] = l->columns[k].title ? l->columns[k].title : "";
    buf_puts(out, colour_code(BOLD, colour));
    put_line(l, widths, titles, NULL, colour, out);
    out->len--; /* the colour ends before the line does */
    buf_puts(out, colour_code(PLAIN, colour));
    buf_putc(out, '\n');
    free(titles);
}

void listing_put(const struct listing *l, struct buf *out, int width, bool colour)
{
    int *widths = mem_array(l->n, sizeof(*widths));
    measure(l, widths);
    fit(l, widths, width);
    put_heading(l, widths, colour, out);
    for (size_t row = 0; row < listing_rows(l); row++)
        put_row(l, widths, row, colour, out);
    free(widths);
}

void listing_print(const struct listing *l)
{
    struct buf out = {0};
    if (!listing_rows(l))
        return;
    listing_put(l, &out, terminal_width(), terminal_colour());
    fputs(buf_str(&out), stdout);
    buf_release(&out);
}

void listing_print_one(const struct listing *l, size_t row)
{
    bool colour = terminal_colour();
    struct buf out = {0};
    int widest = 0;
    for (size_t k = 0; k < l->n; k++)
        if (shown(&l->columns[k]) && text_width(l->columns[k].title) > widest)
            widest = text_width(l->columns[k].title);
    for (size_t k = 0; k < l->n; k++) {
        const struct column *c = &l->columns[k];
        if (!shown(c))
            continue;
        const char *value = listing_cell(l, row, k);
        enum colour hue = c->kind == COLUMN_STATE && value ? colour_of_state(value) : PLAIN;
        buf_printf(&out, "%s%s%s", colour_code(BOLD, colour), c->title, colour_code(PLAIN, colour));
        pad(&out, widest - text_width(c->title) + GAP);
        buf_puts(&out, hue == PLAIN ? "" : colour_code(hue, colour));
        put_plain(&out, c->kind, value);
        buf_puts(&out, hue == PLAIN ? "" : colour_code(PLAIN, colour));
        buf_putc(&out, '\n');
    }
    fputs(buf_str(&out), stdout);
    buf_release(&out);
}

/* --- JSON -------------------------------------------------------------------------------- */

static void put_json_value(struct buf *out, enum column_kind kind, const char *value)
{
    char iso[TIMESTAMP_ISO_LEN + 1];
    if (!value) {
        buf_puts(out, "null");
        return;
    }
    switch (kind) {
    case COLUMN_TIME:
    case COLUMN_AGO:
        timestamp_iso(atoll(value), iso);
        json_put_string(out, iso);
        break;
    case COLUMN_BOOL: buf_puts(out, *value == 't' ? "true" : "false"); break;
    case COLUMN_INT:
    case COLUMN_FLOAT:
    case COLUMN_DURATION:
    case COLUMN_BYTES: buf_puts(out, value); break;
    case COLUMN_JSON: json_put_compact(out, value); break;
    case COLUMN_TEXT:
    case COLUMN_STATE: json_put_string(out, value); break;
    }
}

void listing_put_json_row(const struct listing *l, size_t row, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t k = 0; k < l->n; k++) {
        if (!l->columns[k].key)
            continue;
        json_put_key(out, l->columns[k].key);
        put_json_value(out, l->columns[k].kind, listing_cell(l, row, k));
    }
    buf_putc(out, '}');
}

void listing_put_json(const struct listing *l, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t row = 0; row < listing_rows(l); row++) {
        if (row)
            buf_putc(out, ',');
        listing_put_json_row(l, row, out);
    }
    buf_putc(out, ']');
}

/* JSON allows what steers a terminal in its texts; escaped it is the same text. */
void print_line(struct buf *b)
{
    struct buf line = {0};
    uint32_t cp;
    for (size_t i = 0, n; i < b->len; i += n) {
        n = text_next(b->data + i, b->len - i, &cp);
        if (cp < ' ')
            buf_putc(&line, ' ');
        else if (cp != TEXT_INVALID && text_steers(cp))
            buf_printf(&line, "\\u%04x", (unsigned)cp);
        else
            buf_append(&line, b->data + i, n);
    }
    buf_putc(&line, '\n');
    fwrite(buf_str(&line), 1, line.len, stdout);
    buf_release(&line);
    buf_release(b);
}

void print_tamed(struct buf *b)
{
    text_tame(b->data, b->len);
    fputs(buf_str(b), stdout);
    buf_release(b);
}
