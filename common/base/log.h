/* log: one line per happening, an event name plus fields, to standard error.
 * logfmt with a short clock on a terminal, JSON lines otherwise. Secrets and bodies are never fields.
 *
 *     log_info("job_failed", LOG_S("id", id), LOG_I("attempt", 2), LOG_S("step", "scrape"));
 *
 * Event names are snake_case, past tense or state; keys are snake_case; units live in key names. */
#ifndef HL_BASE_LOG_H
#define HL_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

struct log_field {
    const char *key;
    enum { LOG_F_STR, LOG_F_INT, LOG_F_NUM, LOG_F_BOOL } type;
    const char *s; /* NULL is printed as null */
    int64_t i;
    double d;
};

#define LOG_S(k, v)                                                                                \
    {                                                                                              \
        .key = (k), .type = LOG_F_STR, .s = (v)                                                    \
    }
#define LOG_I(k, v)                                                                                \
    {                                                                                              \
        .key = (k), .type = LOG_F_INT, .i = (int64_t)(v)                                           \
    }
#define LOG_D(k, v)                                                                                \
    {                                                                                              \
        .key = (k), .type = LOG_F_NUM, .d = (v)                                                    \
    }
#define LOG_B(k, v)                                                                                \
    {                                                                                              \
        .key = (k), .type = LOG_F_BOOL, .i = (v)                                                   \
    }

/* program: static string, shown on each line. LOG_AUTO: text when standard error is a terminal. */
void log_open(const char *program, enum log_level level, enum log_format format);
/* role and pid of a forked child ("worker-3"), shown on each line from now on; copied. */
void log_role(const char *role);
void log_set_level(enum log_level level);
/* What operators ordered (webhook.log_level): this level for so many milliseconds; "" or NULL: none, or
 * no longer. Says so in the log when it changes; ends by itself. log_set_level and log_open decide
 * what it is otherwise. */
void log_order(const char *level, int64_t left_ms);
/* Of one event name at most so many lines in ten seconds; 0 = any number. What is left out is counted,
 * and told by a line log_repeated: by the next line of that name, or by log_tick, which is due every
 * second or so, or by log_flush: at exit(), and due before _exit(). Names are string literals. */
void log_limit(int64_t lines);
void log_tick(void);
void log_flush(void);

/* Until the end of the block every line carries this trace's id; copied. */
struct trace;
struct log_scope {
    uint8_t trace[16];
};
struct log_scope log_scope_begin(const struct trace *t); /* returns what was before */
void log_scope_end(struct log_scope *before);
#define LOG_SCOPE(trace)                                                                           \
    struct log_scope log_scope_before __attribute__((cleanup(log_scope_end), unused)) =            \
        log_scope_begin(trace)

void log_write(enum log_level level, const char *event, size_t n, const struct log_field *fields);

/* The empty first element lets a line have no field at all. */
#define LOG_LINE(level, event, ...)                                                                \
    log_write(level, event,                                                                        \
        sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field) - 1,     \
        (const struct log_field[]){{0}, ##__VA_ARGS__} + 1)

#define log_debug(event, ...) LOG_LINE(LOG_DEBUG, event, ##__VA_ARGS__)
#define log_info(event, ...)  LOG_LINE(LOG_INFO, event, ##__VA_ARGS__)
#define log_warn(event, ...)  LOG_LINE(LOG_WARN, event, ##__VA_ARGS__)
#define log_error(event, ...) LOG_LINE(LOG_ERROR, event, ##__VA_ARGS__)

#endif
