/* envfile: see envfile.h. */
#include "base/envfile.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLANKS " \t\r\f\v"

void env_vars_add(
    struct env_vars *vars, const char *name, size_t name_len, const char *value, int line)
{
    if (vars->len == vars->cap) {
        vars->cap = vars->cap ? vars->cap * 2 : 32;
        vars->list = mem_grow(vars->list, vars->cap * sizeof(*vars->list));
    }
    vars->list[vars->len++] = (struct env_var){
        .name = mem_strndup(name, name_len),
        .value = mem_strdup(value),
        .line = line,
    };
}

void env_vars_release(struct env_vars *vars)
{
    for (size_t i = 0; i < vars->len; i++) {
        free(vars->list[i].name);
        free(vars->list[i].value);
    }
    free(vars->list);
    *vars = (struct env_vars){0};
}

static enum hl_rc read_all(int fd, size_t max, struct buf *out, struct hl_err *err)
{
    size_t start = out->len;
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hl_fail(err, HL_FATAL, "cannot be read: %s", strerror(errno));
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > max)
            return hl_fail(err, HL_FATAL, "is larger than %zu bytes", max);
    }
    out->data[out->len] = '\0';
    if (memchr(out->data + start, '\0', out->len - start))
        return hl_fail(err, HL_FATAL, "holds a NUL byte");
    return HL_OK;
}

enum hl_rc envfile_read(const char *path, size_t max, struct buf *out, struct hl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hl_fail(err, HL_FATAL, "cannot be opened: %s", strerror(errno));
    enum hl_rc rc = read_all(fd, max, out, err);
    close(fd);
    return rc;
}

static bool ends_line(const char *s)
{
    const char *rest = s + strspn(s, BLANKS);
    return *rest == '\0' || (*rest == '#' && rest > s);
}

/* s is at the opening quote. The value goes to out. */
static const char *take_quoted(const char *s, struct buf *out)
{
    char quote = *s++;
    for (; *s != quote; s++) {
        if (*s == '\0')
            return "the quote is not closed on this line";
        if (quote == '"' && *s == '\\' && s[1] && strchr("\"\\$`", s[1]))
            s++;
        buf_putc(out, *s);
    }
    return ends_line(s + 1) ? NULL : "something follows the closing quote";
}

static void take_plain(const char *s, struct buf *out)
{
    size_t len = 0; /* up to the last byte that is neither blank nor comment */
    for (size_t i = 0; s[i] && !(s[i] == '#' && i > 0 && strchr(BLANKS, s[i - 1])); i++)
        if (!strchr(BLANKS, s[i]))
            len = i + 1;
    buf_append(out, s, len);
}

static size_t name_length(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
}

/* NULL, or what is wrong with the line. */
static const char *take_line(const char *s, int line, struct env_vars *vars)
{
    s += strspn(s, BLANKS);
    if (*s == '\0' || *s == '#' || *s == ';')
        return NULL;
    if (strncmp(s, "export", 6) == 0 && s[6] && strchr(BLANKS, s[6]))
        s += 6 + strspn(s + 6, BLANKS);
    const char *name = s;
    size_t name_len = name_length(s);
    s += name_len;
    s += strspn(s, BLANKS);
    if (name_len == 0 || *s != '=')
        return "not of the form NAME=value";
    s += 1 + strspn(s + 1, BLANKS);

    struct buf value = {0};
    const char *wrong = NULL;
    if (*s == '"' || *s == '\'')
        wrong = take_quoted(s, &value);
    else if (*s != '#')
        take_plain(s, &value);
    if (!wrong)
        env_vars_add(vars, name, name_len, buf_str(&value), line);
    buf_release(&value);
    return wrong;
}

static bool take_lines(char *text, const char *path, struct env_vars *vars, struct buf *faults)
{
    bool ok = true;
    int line = 0;
    for (char *s; (s = strsep(&text, "\n"));) {
        const char *wrong = take_line(s, ++line, vars);
        if (wrong) {
            buf_printf(faults, "%s line %d: %s\n", path, line, wrong);
            ok = false;
        }
    }
    return ok;
}

bool envfile_load(struct env_vars *vars, const char *path, struct buf *faults)
{
    static const char mark[] = "\xef\xbb\xbf"; /* byte order mark, left by some editors */
    struct buf text = {0};
    struct hl_err err;
    bool ok = envfile_read(path, ENVFILE_MAX, &text, &err) == HL_OK;
    if (!ok)
        buf_printf(faults, "%s: %s\n", path, err.msg);
    else if (text.len > 0)
        ok = take_lines(text.data + (strncmp(text.data, mark, 3) == 0 ? 3 : 0), path, vars, faults);
    buf_release(&text);
    return ok;
}
