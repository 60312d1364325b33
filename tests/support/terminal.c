/* terminal: see terminal.h. */
#include "tests/support/terminal.h"

#include "base/buf.h"
#include "base/mem.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { MOST_ROWS = 100, MOST_COLUMNS = 300, SEQUENCE = 32, SOON = 20000 };

struct cell {
    char bytes[5]; /* of one character; "" = blank */
    bool reverse;
};

struct terminal {
    struct test_proc *proc;
    int master, slave;
    int width, height, row, column;
    int height_before; /* what was on its way when the size changed is laid out for this one */
    struct cell main[MOST_ROWS][MOST_COLUMNS], alternate[MOST_ROWS][MOST_COLUMNS];
    bool on_alternate, hidden, no_wrap, pastes, reverse, overflowed;
    char sequence[SEQUENCE]; /* one that is not all there */
    size_t n;
};

typedef struct cell cell_row[MOST_COLUMNS];

static cell_row *cells(struct terminal *t)
{
    return t->on_alternate ? t->alternate : t->main;
}

/* --- what programs write ----------------------------------------------------------------- */

static void erase(struct terminal *t, int row, int from, int to)
{
    for (int i = from; i < to && i < MOST_COLUMNS; i++)
        cells(t)[row][i] = (struct cell){0};
}

static void erase_all(struct terminal *t)
{
    for (int i = 0; i < MOST_ROWS; i++)
        erase(t, i, 0, MOST_COLUMNS);
}

static void line_feed(struct terminal *t)
{
    if (++t->row < t->height)
        return;
    t->row = t->height - 1;
    memmove(cells(t)[0], cells(t)[1], sizeof(cell_row) * (size_t)t->row);
    erase(t, t->row, 0, MOST_COLUMNS);
}

static void put_character(struct terminal *t, const char *bytes)
{
    if (t->column >= t->width && !t->no_wrap) {
        t->column = 0;
        line_feed(t);
    }
    if (t->column >= t->width) {
        t->overflowed = true;
        t->column = t->width - 1;
    }
    struct cell *c = &cells(t)[t->row][t->column++];
    *c = (struct cell){.reverse = t->reverse};
    memcpy(c->bytes, bytes, strnlen(bytes, sizeof(c->bytes) - 1));
}

static void set_mode(struct terminal *t, const char *mode, bool on)
{
    if (strcmp(mode, "?1049") == 0) {
        t->on_alternate = on;
        if (on)
            erase_all(t);
    } else if (strcmp(mode, "?25") == 0) {
        t->hidden = !on;
    } else if (strcmp(mode, "?7") == 0) {
        t->no_wrap = !on;
    } else {
        cr_assert_str_eq(mode, "?2004", "a mode we do not know");
        t->pastes = on;
    }
}

static void move_to(struct terminal *t, const char *to)
{
    int row = 1, column = 1;
    sscanf(to, "%d;%d", &row, &column);
    cr_assert(row >= 1 && column >= 1 && (row <= t->height || row <= t->height_before),
        "beyond the screen: %s", to);
    t->row = (row < t->height ? row : t->height) - 1; /* as terminals do */
    t->column = column - 1;
}

static void do_sequence(struct terminal *t, char *parameters, char end)
{
    switch (end) {
    case 'H': move_to(t, parameters); break;
    case 'J':
        cr_assert_str_eq(parameters, "2");
        erase_all(t);
        break;
    case 'K': erase(t, t->row, *parameters == '2' ? 0 : t->column, MOST_COLUMNS); break;
    case 'm': t->reverse = strcmp(parameters, "7") == 0; break;
    case 'h': set_mode(t, parameters, true); break;
    case 'l': set_mode(t, parameters, false); break;
    default: cr_assert_fail("a sequence we do not know: %s%c", parameters, end);
    }
}

/* Bytes of the character that begins with this one. */
static size_t character_length(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static void take_sequence(struct terminal *t)
{
    char end = t->sequence[t->n - 1];
    bool ended = t->n > 2 && end >= 0x40 && end <= 0x7e;
    cr_assert(t->n < 2 || t->sequence[1] == '[', "a sequence we do not know");
    cr_assert_lt(t->n, (size_t)SEQUENCE - 1, "a sequence without an end");
    if (!ended)
        return;
    t->sequence[t->n - 1] = '\0';
    do_sequence(t, t->sequence + 2, end);
    t->n = 0;
}

static void take_control(struct terminal *t, char c)
{
    t->n = 0;
    switch (c) {
    case '\r': t->column = 0; break;
    case '\n': line_feed(t); break;
    case '\b': t->column -= t->column > 0; break;
    case '\a': break;
    default: cr_assert_fail("a control character: %d", c);
    }
}

static void take_byte(struct terminal *t, char byte)
{
    t->sequence[t->n++] = byte;
    t->sequence[t->n] = '\0';
    if (t->sequence[0] == '\033') {
        take_sequence(t);
    } else if ((unsigned char)t->sequence[0] < ' ') {
        take_control(t, byte);
    } else if (t->n == character_length((unsigned char)t->sequence[0])) {
        put_character(t, t->sequence);
        t->n = 0;
    }
}

static void take_in(struct terminal *t)
{
    char bytes[4096];
    ssize_t n;
    while (t->master >= 0 && (n = read(t->master, bytes, sizeof(bytes))) > 0)
        for (ssize_t i = 0; i < n; i++)
            take_byte(t, bytes[i]);
}

/* --- what it shows ----------------------------------------------------------------------- */

static void put_row(struct terminal *t, int row, struct buf *out)
{
    size_t end = out->len;
    for (int i = 0; i < t->width; i++) {
        const struct cell *c = &cells(t)[row][i];
        buf_puts(out, *c->bytes ? c->bytes : " ");
        if (*c->bytes && *c->bytes != ' ')
            end = out->len;
    }
    if (out->data)
        out->data[out->len = end] = '\0';
}

const char *terminal_text(struct terminal *t)
{
    struct buf out = {0};
    take_in(t);
    for (int i = 0; i < t->height; i++) {
        put_row(t, i, &out);
        buf_putc(&out, '\n');
    }
    return harness_hold(buf_detach(&out));
}

bool terminal_shows(struct terminal *t, const char *text)
{
    return strstr(terminal_text(t), text) != NULL;
}

const char *terminal_line(struct terminal *t, int row)
{
    struct buf out = {0};
    take_in(t);
    put_row(t, row < 0 ? t->height + row : row, &out);
    return harness_hold(buf_detach(&out));
}

const char *terminal_marked(struct terminal *t)
{
    take_in(t);
    for (int i = 0; i < t->height; i++)
        if (cells(t)[i][0].reverse)
            return terminal_line(t, i);
    return "";
}

static tcflag_t modes(const struct terminal *t)
{
    struct termios now;
    cr_assert_eq(tcgetattr(t->slave, &now), 0);
    return now.c_lflag & (ICANON | ECHO | ISIG);
}

bool terminal_at_rest(struct terminal *t)
{
    take_in(t);
    return !t->on_alternate && !t->hidden && !t->no_wrap && !t->pastes && !t->reverse &&
           modes(t) == (ICANON | ECHO | ISIG);
}

bool terminal_taken(struct terminal *t)
{
    take_in(t);
    return t->on_alternate && t->hidden && t->pastes && modes(t) == ISIG;
}

bool terminal_overflowed(struct terminal *t)
{
    take_in(t);
    return t->overflowed;
}

/* --- life -------------------------------------------------------------------------------- */

struct terminal *terminal_start(
    struct rig *r, int width, int height, const char *const *env, const char *fmt, ...)
{
    struct terminal *t = harness_hold(mem_new(struct terminal));
    char path[64];
    va_list ap;
    struct buf command = {0};

    t->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    cr_assert(t->master >= 0 && grantpt(t->master) == 0 && unlockpt(t->master) == 0 &&
              ptsname_r(t->master, path, sizeof(path)) == 0);
    t->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC); /* the modes outlive the program */
    cr_assert_geq(t->slave, 0);
    terminal_resize(t, width, height);

    va_start(ap, fmt);
    buf_vprintf(&command, fmt, ap);
    va_end(ap);
    const char *within = harness_text(
        "exec setsid --ctty --wait bash -c '%s' <%s >%s 2>&1", buf_str(&command), path, path);
    buf_release(&command);
    t->proc = rig_start_program(r, RIG_ENV("/bin/bash", "-c", within), env, -1);
    return t;
}

void terminal_type(struct terminal *t, const char *keys)
{
    size_t n = strlen(keys);
    take_in(t);
    cr_assert_eq(write(t->master, keys, n), (ssize_t)n);
}

void terminal_resize(struct terminal *t, int width, int height)
{
    const struct winsize size = {.ws_col = (unsigned short)width, .ws_row = (unsigned short)height};
    cr_assert(width <= MOST_COLUMNS && height <= MOST_ROWS);
    take_in(t);
    t->width = width;
    t->height_before = t->height;
    t->height = height;
    if (t->row >= height)
        t->row = height - 1;
    cr_assert_eq(ioctl(t->master, TIOCSWINSZ, &size), 0);
}

void terminal_hang_up(struct terminal *t)
{
    take_in(t);
    close(t->master);
    t->master = -1;
}

pid_t terminal_program(struct terminal *t)
{
    pid_t pid = test_proc_pid(t->proc), child;
    while (harness_children(pid, NULL, &child, 1) == 1)
        pid = child;
    return pid;
}

bool terminal_running(struct terminal *t)
{
    return test_proc_running(t->proc);
}

int terminal_wait(struct terminal *t, int timeout_ms)
{
    int64_t end = harness_now_ms() + timeout_ms;
    while (test_proc_running(t->proc)) {
        take_in(t); /* who writes must not wait for us */
        harness_wait_step(end, "the program ends", __FILE__, __LINE__);
    }
    return test_proc_wait(t->proc, timeout_ms);
}
