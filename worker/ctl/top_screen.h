/* top_screen: a picture of lines, and the terminal that shows it. The terminal is left as it was found,
 * whatever ends the process but SIGKILL. A process has one. */
#ifndef HL_WORKER_CTL_TOP_SCREEN_H
#define HL_WORKER_CTL_TOP_SCREEN_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

struct canvas {
    int width, height; /* 0 = any */
    bool colour;
    struct buf *lines; /* none is wider than width */
    int n;             /* at most height */
};
/* Empties it. */
void canvas_begin(struct canvas *c, int width, int height, bool colour);
void canvas_release(struct canvas *c);
/* Further lines, each ended by '\n' but the last; colour codes (colour_code) count no width. What is
 * too wide is cut, lines that do not fit any more are dropped. */
void canvas_add(struct canvas *c, const char *lines);
/* One line, marked over the whole width. */
void canvas_add_marked(struct canvas *c, const char *line);
/* Empty lines until there are n. */
void canvas_fill(struct canvas *c, int n);
bool canvas_full(const struct canvas *c);

/* Takes the terminal of standard input and output: keys come one by one and unseen, the picture covers
 * what was there. Signals made by keys stay. */
enum hl_rc screen_open(struct hl_err *err);
/* Gives it back; fine when it is not ours. */
void screen_close(void);
void screen_size(int *width, int *height);
/* Writes the lines that changed; false when the terminal is gone. Nothing while it is not ours. */
bool screen_show(const struct canvas *c);
/* Somebody else may have written: the next picture is drawn anew. */
void screen_forget(void);
/* What Ctrl-Z asks for: gives the terminal back and stops. Returns when continued. */
void screen_suspend(void);
/* Takes the terminal again; false while another job has it. */
bool screen_resume(void);
bool screen_is_open(void);

#endif
