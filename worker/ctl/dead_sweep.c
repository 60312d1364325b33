/* dead_sweep: see dead_sweep.h. */
#include "worker/ctl/dead_sweep.h"

static void answered(void *ctx)
{
    session_answered(ctx);
}

static void walk(struct dead_sweep *sweep)
{
    session_asked(sweep->session);
    if (!letter_sweep_walk(&sweep->letters, answered, sweep->session))
        session_answered(sweep->session);
    session_wait(sweep->session);
}

void dead_sweep_begin(struct dead_sweep *sweep, struct session *s)
{
    sweep->session = s;
    session_asked(s);
    letter_sweep_begin(&sweep->letters, s->queue, answered, s);
    session_wait(s);
}

void dead_sweep_note(struct dead_sweep *sweep, const char *event_id)
{
    if (letter_sweep_note(&sweep->letters, event_id))
        walk(sweep);
}

void dead_sweep_end(struct dead_sweep *sweep)
{
    walk(sweep);
    letter_sweep_release(&sweep->letters);
}
