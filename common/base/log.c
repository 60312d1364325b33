/* log: see log.h. A line is built in one buffer and written by one write(2), so that lines of
 * several processes sharing the descriptor do not mix. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/meter.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *program;
    char role[32];
    enum log_level level;
    enum log_format format;
} sink = {.program = "hookline", .level = LOG_INFO, .format = LOG_TEXT};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_open(const char *program, enum log_level level, enum log_format format)
{
    sink.program = program;
    sink.level = level;
    sink.format = format;
    if (format == LOG_AUTO)
        sink.format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
}

void log_role(const char *role)
{
    snprintf(sink.role, sizeof(sink.role), "%s", role);
}

void log_set_level(enum log_level level)
{
    sink.level = level;
}

/* RFC 8259 string; also used for logfmt values that need quotes. Bytes that are not UTF-8 pass
 * as they are: a log must not fail on what it reports. */
static void put_quoted(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\u%04x", c);
        else
            buf_putc(b, (char)c);
    }
    buf_putc(b, '"');
}

static void put_word(struct buf *b, const char *s)
{
    int plain = *s != '\0';
    for (const char *p = s; *p && plain; p++)
        plain = (unsigned char)*p > ' ' && *p != '"' && *p != '=' && *p != '\\' && *p != 0x7f;
    if (plain)
        buf_puts(b, s);
    else
        put_quoted(b, s);
}

static void put_value(struct buf *b, const struct log_field *f)
{
    switch (f->type) {
    case LOG_F_INT: buf_printf(b, "%lld", (long long)f->i); return;
    case LOG_F_NUM: buf_printf(b, isfinite(f->d) ? "%.3f" : "null", f->d); return;
    case LOG_F_BOOL: buf_puts(b, f->i ? "true" : "false"); return;
    case LOG_F_STR: break;
    }
    if (!f->s)
        buf_puts(b, "null");
    else if (sink.format == LOG_JSON)
        put_quoted(b, f->s);
    else
        put_word(b, f->s);
}

static void put_head(struct buf *b, enum log_level level, const char *event)
{
    int64_t now = clock_wall_us();
    time_t secs = (time_t)(now / 1000000);
    struct tm tm;
    char stamp[40];

    if (sink.format == LOG_JSON) {
        gmtime_r(&secs, &tm);
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
        buf_printf(b, "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"program\":\"%s\",\"pid\":%d",
            stamp, (int)(now / 1000 % 1000), level_names[level], sink.program, (int)getpid());
        if (sink.role[0])
            buf_printf(b, ",\"role\":\"%s\"", sink.role);
        buf_printf(b, ",\"event\":\"%s\"", event);
        return;
    }
    localtime_r(&secs, &tm);
    strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
    buf_printf(
        b, "%s.%03d %-5s %s", stamp, (int)(now / 1000 % 1000), level_names[level], sink.program);
    if (sink.role[0])
        buf_printf(b, "/%s", sink.role);
    buf_printf(b, "[%d] %s", (int)getpid(), event);
}

/* A sink that is stuck or gone must not stop the work: a line it cannot take at once is dropped,
 * and counted on the first one that gets through again. A pipe that is ready takes PIPE_BUF bytes.
 */
static void put_line(struct buf *line)
{
    static uint64_t dropped;
    struct pollfd sink_fd = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (line->len > PIPE_BUF) { /* keeps its end, so that JSON readers stay in step by lines */
        line->len = PIPE_BUF;
        line->data[PIPE_BUF - 1] = '\n';
    }
    if (poll(&sink_fd, 1, 0) == 0 || write(STDERR_FILENO, line->data, line->len) < 0) {
        dropped++;
        return;
    }
    if (dropped) {
        uint64_t n = dropped;
        dropped = 0;
        log_warn("log_lines_dropped", LOG_I("lines", n));
    }
}

void log_write(enum log_level level, const char *event, size_t n, const struct log_field *fields)
{
    if (level < sink.level)
        return;
    meter_inc(M_LOG_LINES, level, 0);
    struct buf b = {0};
    put_head(&b, level, event);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, sink.format == LOG_JSON ? ",\"%s\":" : " %s=", fields[i].key);
        put_value(&b, &fields[i]);
    }
    buf_puts(&b, sink.format == LOG_JSON ? "}\n" : "\n");
    put_line(&b);
    buf_release(&b);
}
