/* top_view: how `top` lays out what it knows, and what of it is selected. Pure but for the clock. */
#ifndef HL_WORKER_CTL_TOP_VIEW_H
#define HL_WORKER_CTL_TOP_VIEW_H

#include "worker/ctl/top_look.h"
#include "worker/ctl/top_screen.h"

enum top_mode {
    TOP_LIST,
    TOP_EVENT, /* one event and its timeline */
    TOP_HELP,
    TOP_TYPING, /* a filter of the events, in the last line */
    TOP_ASKING, /* a question in the last line */
};

struct top_help {
    const char *keys, *what;
};

/* Zero-initialise with .help set. */
struct top_view {
    enum top_mode mode;
    const struct top_help *help; /* ends with NULL */
    struct buf typed;
    char question[256];
    char notice[256]; /* shown in the last line until a key is pressed */
    enum top_pane pane;
    int scroll; /* first line shown of the help, of an event */
    struct {
        size_t row;   /* selected */
        size_t first; /* shown */
        char *key;    /* what is selected: the row follows it */
    } at[TOP_PANES];
};
void view_release(struct top_view *v);

/* A picture of c's size. Of any height: everything, once, for no terminal. */
void view_draw(struct top_view *v, const struct top_look *l, struct canvas *c);
/* After a look: the selection stays with the thing, or where it was; at the beginning of a pane that
 * nobody has moved in. */
void view_follow(struct top_view *v, const struct top_look *l);
/* Up (negative) or down so many rows, into the next pane at the end of one. */
void view_move(struct top_view *v, const struct top_look *l, int rows);
void view_next_pane(struct top_view *v, const struct top_look *l, int panes);
/* The first column of what is selected; NULL = nothing, or another pane than this. */
const char *view_selected(const struct top_view *v, const struct top_look *l, enum top_pane pane);

#endif
