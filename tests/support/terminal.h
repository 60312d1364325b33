/* terminal: a program on a pseudo-terminal of a session of its own, and what its screen shows: a small
 * terminal that knows what we write, and takes everything else for a fault. */
#ifndef HL_TESTS_TERMINAL_H
#define HL_TESTS_TERMINAL_H

#include "tests/support/fleet.h"

struct terminal;

/* Runs a command of bash with the settings of the rig; env overrides. Freed at exit. */
struct terminal *terminal_start(struct rig *r, int width, int height, const char *const *env,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void terminal_type(struct terminal *t, const char *keys);
void terminal_resize(struct terminal *t, int width, int height);
/* Nobody sits there any more. */
void terminal_hang_up(struct terminal *t);

/* What follows takes in what was written meanwhile. Texts are kept until exit. */
const char *terminal_text(struct terminal *t); /* lines without the blanks at their ends */
bool terminal_shows(struct terminal *t, const char *text);
const char *terminal_line(struct terminal *t, int row); /* from 0; negative: from the last */
/* The line that is marked (shown in reverse), "" = none. */
const char *terminal_marked(struct terminal *t);
/* As programs find it and must leave it: lines and echo, main screen, cursor, wrapping, pastes. */
bool terminal_at_rest(struct terminal *t);
/* Canonical mode and echo are off, the alternate screen is on, pastes are told from keys. */
bool terminal_taken(struct terminal *t);
/* Columns were written that are not there. */
bool terminal_overflowed(struct terminal *t);

/* What runs innermost: bash, or what it started. */
pid_t terminal_program(struct terminal *t);
bool terminal_running(struct terminal *t);
int terminal_wait(struct terminal *t, int timeout_ms); /* exit status of the command */

#endif
