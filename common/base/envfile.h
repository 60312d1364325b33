/* envfile: files of NAME=value lines, as systemd's EnvironmentFile= and dotenv read them:
 *
 *     # comment                 or ; comment
 *     NAME=plain text           blanks around it are dropped
 *     export NAME='as it is'    between single quotes nothing is special
 *     NAME="a \"b\" \\ c"       between double quotes \ keeps its meaning before " \ $ and `
 *     NAME=value # comment      as dotenv has it; systemd would keep the comment
 *
 * One line each; nothing is expanded. Any other line is a fault. */
#ifndef HL_BASE_ENVFILE_H
#define HL_BASE_ENVFILE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define ENVFILE_MAX (1024 * 1024) /* bytes */

struct env_var {
    char *name, *value;
    int line; /* 0 = not from a file */
};

/* Zero-initialised is empty. */
struct env_vars {
    struct env_var *list;
    size_t len, cap;
};

/* Strings are copied. */
void env_vars_add(
    struct env_vars *vars, const char *name, size_t name_len, const char *value, int line);
void env_vars_release(struct env_vars *vars);

/* Appends the whole file to out. HL_FATAL: unreadable, larger than max bytes, holds a NUL byte. */
enum hl_rc envfile_read(const char *path, size_t max, struct buf *out, struct hl_err *err);

/* Adds the variables of the file, in order. False when there are faults: one line each is appended
 * to faults, with path and line number, and never with a part of the line. */
bool envfile_load(struct env_vars *vars, const char *path, struct buf *faults);

#endif
