/* top_screen: see top_screen.h. Owns the terminal's modes, and what was drawn last. */
#include "worker/ctl/top_screen.h"

#include "base/mem.h"
#include "worker/ctl/listing.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Alternate screen, no cursor, no wrapping at the edge, pastes told from keys; and all of that taken
 * back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l\033[?2004h\033[2J"
#define LEAVE "\033[0m\033[?2004l\033[?7h\033[?25h\033[?1049l"

enum { MAX_SIDE = 2000 };

/* --- the picture ------------------------------------------------------------------------- */

void canvas_release(struct canvas *c)
{
    for (int i = 0; i < c->n; i++)
        buf_release(&c->lines[i]);
    free(c->lines);
    *c = (struct canvas){0};
}

void canvas_begin(struct canvas *c, int width, int height, bool colour)
{
    canvas_release(c);
    c->width = width;
    c->height = height;
    c->colour = colour;
}

bool canvas_full(const struct canvas *c)
{
    return c->height && c->n >= c->height;
}

/* A line to write into; NULL when there is no room. */
static struct buf *next_line(struct canvas *c)
{
    if (canvas_full(c))
        return NULL;
    c->lines = mem_grow(c->lines, (size_t)(c->n + 1) * sizeof(*c->lines));
    c->lines[c->n] = (struct buf){0};
    return &c->lines[c->n++];
}

/* Bytes of the colour code at s. */
static size_t code_length(const char *s, size_t n)
{
    size_t i = 1;
    while (i < n && s[i] != 'm')
        i++;
    return i < n ? i + 1 : n;
}

/* Appends n bytes of a line, cut to width; its columns. */
static int put_cut(struct buf *out, const char *s, size_t n, int width, bool coloured)
{
    int sum = 0, columns;
    bool codes = false;
    for (size_t i = 0; i < n;) {
        if (s[i] == '\033') {
            size_t len = code_length(s + i, n - i);
            if (coloured)
                buf_append(out, s + i, len);
            codes |= coloured;
            i += len;
            continue;
        }
        size_t len = text_character(s + i, n - i, &columns);
        if (width && sum + columns > width)
            break;
        buf_append(out, s + i, len);
        sum += columns;
        i += len;
    }
    if (codes)
        buf_puts(out, "\033[0m");
    return sum;
}

void canvas_add(struct canvas *c, const char *lines)
{
    for (;;) {
        size_t len = strcspn(lines, "\n");
        struct buf *line = next_line(c);
        if (line)
            put_cut(line, lines, len, c->width, true);
        if (!lines[len] || !lines[len + 1])
            return;
        lines += len + 1;
    }
}

void canvas_add_marked(struct canvas *c, const char *text)
{
    struct buf *line = next_line(c);
    if (!line)
        return;
    buf_puts(line, "\033[7m");
    for (int n = put_cut(line, text, strcspn(text, "\n"), c->width, false); n < c->width; n++)
        buf_putc(line, ' ');
    buf_puts(line, "\033[0m");
}

void canvas_fill(struct canvas *c, int n)
{
    while (c->n < n && next_line(c))
        ;
}

/* --- the terminal ------------------------------------------------------------------------ */

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT, SIGTRAP,
    SIGSYS, SIGXCPU, SIGXFSZ, SIGUSR1, SIGUSR2};
enum { NFATAL = sizeof(fatal_signals) / sizeof(fatal_signals[0]) };

static struct {
    volatile sig_atomic_t open;
    bool hooked;
    struct termios found; /* its modes before us */
    struct sigaction before[NFATAL];
    struct canvas shown;
} term;

/* The shell's, or another job's, is the terminal: who changes its modes then is stopped. */
static bool in_background(void)
{
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    return foreground > 0 && foreground != getpgrp();
}

/* All that is needed to leave, safe in a signal's handler. */
static void give_back(void)
{
    if (!term.open)
        return;
    term.open = 0;
    ssize_t n = write(STDOUT_FILENO, LEAVE, sizeof(LEAVE) - 1);
    (void)n; /* gone: nobody sees it */
    if (!in_background())
        tcsetattr(STDIN_FILENO, TCSANOW, &term.found);
}

/* What would have happened without us happens then. */
static void on_fatal(int signo)
{
    int saved = errno;
    give_back();
    for (int i = 0; i < NFATAL; i++)
        if (fatal_signals[i] == signo)
            sigaction(signo, &term.before[i], NULL);
    raise(signo);
    errno = saved;
}

static void hook_exits(void)
{
    struct sigaction action = {.sa_handler = on_fatal};
    if (term.hooked)
        return;
    term.hooked = true;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < NFATAL; i++)
        sigaction(fatal_signals[i], &action, &term.before[i]);
    atexit(give_back);
}

static bool write_all(const char *data, size_t n)
{
    while (n) {
        ssize_t done = write(STDOUT_FILENO, data, n);
        if (done < 0 && errno == EAGAIN) /* whoever shares the terminal wants it so */
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        else if (done < 0 && errno != EINTR)
            return false;
        data += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

enum hl_rc screen_open(struct hl_err *err)
{
    struct termios modes;
    if (term.open)
        return HL_OK;
    if (tcgetattr(STDIN_FILENO, &term.found) != 0)
        return hl_fail(err, HL_FATAL, "cannot read the terminal's modes: %s", strerror(errno));
    modes = term.found;
    modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    modes.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR | IGNCR);
    modes.c_cc[VMIN] = 1;
    modes.c_cc[VTIME] = 0;
    hook_exits();
    term.open = 1;
    screen_forget();
    if (tcsetattr(STDIN_FILENO, TCSANOW, &modes) == 0 && write_all(ENTER, sizeof(ENTER) - 1))
        return HL_OK;
    give_back();
    return hl_fail(err, HL_FATAL, "cannot set the terminal's modes: %s", strerror(errno));
}

void screen_close(void)
{
    give_back();
    screen_forget();
}

bool screen_is_open(void)
{
    return term.open;
}

bool screen_resume(void)
{
    return !in_background() && screen_open(NULL) == HL_OK;
}

void screen_size(int *width, int *height)
{
    struct winsize size;
    *width = 80;
    *height = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col || !size.ws_row)
        return;
    *width = size.ws_col < MAX_SIDE ? size.ws_col : MAX_SIDE;
    *height = size.ws_row < MAX_SIDE ? size.ws_row : MAX_SIDE;
}

void screen_forget(void)
{
    canvas_release(&term.shown);
}

static bool same_line(const struct canvas *a, const struct canvas *b, int i)
{
    static const struct buf none;
    const struct buf *x = i < a->n ? &a->lines[i] : &none, *y = i < b->n ? &b->lines[i] : &none;
    return x->len == y->len && memcmp(buf_str(x), buf_str(y), x->len) == 0;
}

static void keep(const struct canvas *c)
{
    canvas_begin(&term.shown, c->width, c->height, c->colour);
    for (int i = 0; i < c->n; i++) {
        struct buf *line = next_line(&term.shown);
        buf_append(line, buf_str(&c->lines[i]), c->lines[i].len);
    }
}

bool screen_show(const struct canvas *c)
{
    struct buf out = {0};
    if (!term.open)
        return true;
    bool fresh = term.shown.width != c->width || term.shown.height != c->height;
    if (fresh)
        buf_puts(&out, "\033[0m\033[2J");
    for (int i = 0; i < c->height; i++) {
        if (!fresh && same_line(c, &term.shown, i))
            continue;
        /* Erased before, not behind: at the edge that would take the last character. */
        buf_printf(&out, "\033[%d;1H\033[2K", i + 1);
        if (i < c->n)
            buf_append(&out, buf_str(&c->lines[i]), c->lines[i].len);
    }
    bool fine = write_all(buf_str(&out), out.len);
    buf_release(&out);
    keep(c);
    return fine;
}

void screen_suspend(void)
{
    struct sigaction stop = {.sa_handler = SIG_DFL}, ours;
    sigemptyset(&stop.sa_mask);
    screen_close();
    sigaction(SIGTSTP, &stop, &ours);
    raise(SIGTSTP); /* goes on here when continued */
    sigaction(SIGTSTP, &ours, NULL);
}
