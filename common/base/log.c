/* log: see log.h. A line is built in one buffer and written by one write(2), so that lines of
 * several processes sharing the descriptor do not mix. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/meter.h"
#include "base/trace.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *program;
    char role[32];
    enum log_level level;
    enum log_format format;
    bool ordered; /* `order` counts instead of level, until then */
    enum log_level order;
    int64_t until_ms;
} sink = {.program = "hookline", .level = LOG_INFO, .format = LOG_TEXT};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const struct trace nobody; /* whose lines are about no event */

void log_open(const char *program, enum log_level level, enum log_format format)
{
    sink.program = program;
    sink.level = level;
    sink.format = format;
    if (format == LOG_AUTO)
        sink.format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
}

void log_set_level(enum log_level level)
{
    sink.level = level;
}

/* --- the level that operators order ------------------------------------------------------ */

static enum log_level level_now(void)
{
    if (sink.ordered && clock_mono_ms() >= sink.until_ms)
        log_order(NULL, 0);
    return sink.ordered ? sink.order : sink.level;
}

static bool level_named(const char *name, enum log_level *out)
{
    for (size_t i = 0; name && i < sizeof(level_names) / sizeof(*level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_order(const char *level, int64_t left_ms)
{
    enum log_level order = sink.level;
    bool ordered = left_ms > 0 && level_named(level, &order);
    bool news = ordered != sink.ordered || (ordered && order != sink.order);

    sink.ordered = ordered;
    sink.order = order;
    sink.until_ms = clock_mono_ms() + left_ms;
    if (!news)
        return;
    LOG_SCOPE(&nobody); /* whose line it was that found the time over does not matter */
    log_info("log_level", LOG_S("log_level", level_names[order]), LOG_B("ordered", ordered),
        LOG_I("for_ms", ordered ? left_ms : 0));
}

/* --- whose line it is -------------------------------------------------------------------- */

static struct log_scope scope;

struct log_scope log_scope_begin(const struct trace *t)
{
    struct log_scope before = scope;
    memcpy(scope.trace, t->id, sizeof(scope.trace));
    return before;
}

void log_scope_end(struct log_scope *before)
{
    scope = *before;
}

/* --- lines that repeat ------------------------------------------------------------------- */

enum { WINDOW_MS = 10000, REPEATS = 256 /* event names; those beyond are not limited */ };

static struct repeat {
    const char *event; /* NULL = free */
    enum log_level level;
    int64_t since_ms, lines, left_out;
} repeats[REPEATS];
static int64_t burst;

void log_role(const char *role)
{
    snprintf(sink.role, sizeof(sink.role), "%s", role);
    memset(repeats, 0, sizeof(repeats)); /* what was left out is the parent's to tell */
}

/* What was left out is told by whoever leaves, too. */
void log_limit(int64_t lines)
{
    static bool told_at_exit;
    burst = lines;
    if (burst > 0 && !told_at_exit)
        told_at_exit = atexit(log_flush) == 0;
}

static struct repeat *repeat_of(const char *event)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (const char *p = event; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619U;
    for (uint32_t i = 0; i < REPEATS; i++) {
        struct repeat *r = &repeats[(hash + i) % REPEATS];
        if (!r->event)
            r->event = event;
        if (r->event == event || strcmp(r->event, event) == 0)
            return r;
    }
    return NULL;
}

static void emit(enum log_level level, const char *event, size_t n, const struct log_field *fields);

/* The window is over. It is said at the level of what was left out. */
static void close_window(struct repeat *r, int64_t now)
{
    int64_t left_out = r->left_out;
    const struct log_field fields[] = {LOG_S("event_name", r->event), LOG_I("lines", left_out),
        LOG_D("in_s", (double)(now - r->since_ms) / 1000)};

    r->since_ms = now;
    r->lines = r->left_out = 0;
    if (!left_out)
        return;
    LOG_SCOPE(&nobody);
    emit(r->level, "log_repeated", sizeof(fields) / sizeof(*fields), fields);
}

static bool too_often(enum log_level level, const char *event)
{
    struct repeat *r = burst > 0 ? repeat_of(event) : NULL;
    if (!r)
        return false;
    int64_t now = clock_mono_ms();
    if (now - r->since_ms >= WINDOW_MS)
        close_window(r, now);
    if (r->lines++ < burst)
        return false;
    r->level = r->left_out++ && r->level > level ? r->level : level;
    return true;
}

static void close_windows(int64_t min_age_ms)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; burst > 0 && i < REPEATS; i++)
        if (repeats[i].left_out && now - repeats[i].since_ms >= min_age_ms)
            close_window(&repeats[i], now);
}

void log_tick(void)
{
    close_windows(WINDOW_MS);
    level_now(); /* an order that is over is so for a silent process too */
}

void log_flush(void)
{
    close_windows(0);
}

/* --- one line ---------------------------------------------------------------------------- */

/* A pipe that is ready takes PIPE_BUF bytes at once. What is too long loses ends of its texts, so that
 * it is a whole line all the same. */
enum {
    LINE_MAX_BYTES = PIPE_BUF - 2, /* without its end */
    TEXT_MAX_BYTES = 1024,         /* as written, of one field */
    TEXT_ROOM = LINE_MAX_BYTES - 512,
};

static bool is_inside_char(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* RFC 8259 string; also used for logfmt values that need quotes. Bytes that are not UTF-8 pass
 * as they are: a log must not fail on what it reports. */
static void put_quoted(struct buf *b, const char *s)
{
    size_t end = b->len + TEXT_MAX_BYTES < TEXT_ROOM ? b->len + TEXT_MAX_BYTES : TEXT_ROOM;
    buf_putc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (b->len >= end && !is_inside_char(c)) {
            buf_puts(b, "...");
            break;
        }
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
    bool plain = *s && strlen(s) < TEXT_MAX_BYTES;
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

/* What would make the line too long is left out. */
static void put_field(struct buf *b, const struct log_field *f)
{
    size_t before = b->len;
    buf_printf(b, sink.format == LOG_JSON ? ",\"%s\":" : " %s=", f->key);
    put_value(b, f);
    if (b->len > LINE_MAX_BYTES)
        b->len = before;
}

static void put_trace(struct buf *b)
{
    struct trace t = {0};
    char id[TRACE_ID_LEN + 1];
    if (memcmp(scope.trace, t.id, sizeof(t.id)) == 0)
        return;
    memcpy(t.id, scope.trace, sizeof(t.id));
    trace_format_id(&t, id);
    put_field(b, &(struct log_field)LOG_S("trace_id", id));
}

static bool emit_line(
    enum log_level level, const char *event, size_t n, const struct log_field *fields)
{
    struct pollfd sink_fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct buf b = {0};
    put_head(&b, level, event);
    put_trace(&b);
    for (size_t i = 0; i < n; i++)
        put_field(&b, &fields[i]);
    buf_puts(&b, sink.format == LOG_JSON ? "}\n" : "\n");
    bool took = poll(&sink_fd, 1, 0) != 0 && write(STDERR_FILENO, b.data, b.len) >= 0;
    buf_release(&b);
    return took;
}

/* A sink that is stuck or gone must not stop the work: a line it cannot take at once is dropped, and
 * counted when one gets through again. */
static void emit(enum log_level level, const char *event, size_t n, const struct log_field *fields)
{
    static int64_t dropped;
    if (!emit_line(level, event, n, fields)) {
        dropped++;
    } else if (dropped) {
        LOG_SCOPE(&nobody);
        if (emit_line(LOG_WARN, "log_lines_dropped", 1,
                (const struct log_field[]){LOG_I("lines", dropped)}))
            dropped = 0;
    }
}

void log_write(enum log_level level, const char *event, size_t n, const struct log_field *fields)
{
    if (level < level_now())
        return;
    meter_inc(M_LOG_LINES, level, 0);
    if (!too_often(level, event))
        emit(level, event, n, fields);
}
